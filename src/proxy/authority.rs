//! What `Host` and `:authority` may be, and the host that routes are looked up by.
//!
//! Pure. Accepted is `uri-host [ ":" port ]` of RFC 9110 section 7.2 without userinfo; nothing is guessed.

use std::borrow::Cow;
use std::net::Ipv6Addr;

/// Why a text is no authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAuthority {
    /// Nothing there.
    #[error("it is empty")]
    Empty,
    /// Longer than a name and a port can be.
    #[error("it is longer than 260 characters")]
    TooLong,
    /// A character that no host name has: userinfo, a path, a list.
    #[error("a character cannot be in a host name")]
    Character,
    /// Not an IPv6 address between the brackets.
    #[error("the brackets do not hold an IPv6 address")]
    Address,
    /// Not a port.
    #[error("the port is not a number from 0 to 65535")]
    Port,
}

/// 253 characters of a name, brackets or a final dot, a colon and a port.
const MAX_LENGTH: usize = 260;

/// The host that routes are looked up by: lower case, without port and final dot.
///
/// # Errors
/// What is wrong with the text.
pub fn authority_to_host(authority: &str) -> Result<Cow<'_, str>, InvalidAuthority> {
    if authority.is_empty() {
        return Err(InvalidAuthority::Empty);
    }
    if authority.len() > MAX_LENGTH {
        return Err(InvalidAuthority::TooLong);
    }
    let (host, port) = split(authority)?;
    if port.is_some_and(|port| !is_port(port)) {
        return Err(InvalidAuthority::Port);
    }
    let host = match host.strip_suffix('.') {
        Some(name) if !host.starts_with('[') => name,
        _ => host,
    };
    // One final dot is the root's; a second one has nothing before it.
    if host.is_empty() || host.ends_with('.') {
        return Err(InvalidAuthority::Empty);
    }
    Ok(match host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        true => Cow::Owned(host.to_ascii_lowercase()),
        false => Cow::Borrowed(host),
    })
}

/// The port that is written in an authority, if one is.
pub fn authority_port(authority: &str) -> Option<u16> {
    split(authority).ok()?.1?.parse().ok()
}

fn split(authority: &str) -> Result<(&str, Option<&str>), InvalidAuthority> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (address, after) = rest.split_once(']').ok_or(InvalidAuthority::Address)?;
        // Zone identifiers are a matter of one host (RFC 6874 section 4): `Ipv6Addr` refuses them.
        address.parse::<Ipv6Addr>().map_err(|_| InvalidAuthority::Address)?;
        let host = &authority[..address.len() + 2];
        return match after {
            "" => Ok((host, None)),
            _ => after.strip_prefix(':').map(|port| (host, Some(port))).ok_or(InvalidAuthority::Character),
        };
    }
    // A loop of our own: names are short, and every request has one.
    let end = authority.bytes().position(|byte| !is_host_character(byte));
    match end.map(|end| (authority.as_bytes()[end], &authority[..end], &authority[end..])) {
        None => Ok((authority, None)),
        Some((b':', host, port)) => Ok((host, Some(&port[1..]))),
        Some(_) => Err(InvalidAuthority::Character),
    }
}

fn is_host_character(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_')
}

/// An empty port is allowed (RFC 3986 section 3.2.3: `port = *DIGIT`).
fn is_port(text: &str) -> bool {
    text.is_empty() || (text.len() <= 5 && text.bytes().all(|b| b.is_ascii_digit()) && text.parse::<u16>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(authority: &str, expected: Result<&str, InvalidAuthority>) {
        assert_eq!(authority_to_host(authority).as_deref(), expected.as_ref().copied(), "{authority:?}");
    }

    #[test]
    fn hosts() {
        check("example.com", Ok("example.com"));
        check("Example.COM:8080", Ok("example.com"));
        check("example.com.", Ok("example.com"));
        check("example.com.:80", Ok("example.com"));
        check("example.com:", Ok("example.com"));
        check("a_b.example.com", Ok("a_b.example.com"));
        check("127.0.0.1:80", Ok("127.0.0.1"));
        check("[::1]", Ok("[::1]"));
        check("[2001:DB8::1]:443", Ok("[2001:db8::1]"));
    }

    #[test]
    fn refusals() {
        check("", Err(InvalidAuthority::Empty));
        check(".", Err(InvalidAuthority::Empty));
        check(":80", Err(InvalidAuthority::Empty));
        check("user@example.com", Err(InvalidAuthority::Character));
        check("user:pass@example.com", Err(InvalidAuthority::Port));
        check("example.com/path", Err(InvalidAuthority::Character));
        check("a.example,b.example", Err(InvalidAuthority::Character));
        check("a b", Err(InvalidAuthority::Character));
        check("..", Err(InvalidAuthority::Empty));
        check("example.com..", Err(InvalidAuthority::Empty));
        check("example.com:65536", Err(InvalidAuthority::Port));
        check("example.com:+80", Err(InvalidAuthority::Port));
        check("example.com:80:80", Err(InvalidAuthority::Port));
        check("[::1", Err(InvalidAuthority::Address));
        check("[::1%eth0]", Err(InvalidAuthority::Address));
        check("[127.0.0.1]", Err(InvalidAuthority::Address));
        check("[::1]x", Err(InvalidAuthority::Character));
        check("::1", Err(InvalidAuthority::Port));
        check(&"a".repeat(261), Err(InvalidAuthority::TooLong));
    }

    proptest! {
        #[test]
        fn a_host_is_found_again_from_itself(authority in "\\PC{0,40}") {
            if let Ok(host) = authority_to_host(&authority) {
                prop_assert_eq!(authority_to_host(&host).map(Cow::into_owned), Ok(host.clone().into_owned()));
                let wrong = |c: char| matches!(c, '/' | '@' | ',' | ' ' | '#' | '?') || c.is_uppercase();
                prop_assert!(!host.contains(wrong));
            }
        }
    }
}
