//! Paths and query strings: percent-decoding with limits, parameters with clear refusals.

use std::str::FromStr;

use super::reply::ApiError;

/// The most parameters a query may have.
const MAX_PARAMETERS: usize = 32;

/// The parameters of a call, in the order given.
#[derive(Debug, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    /// Reads the query string.
    ///
    /// # Errors
    /// Too many parameters, or text that is not percent-encoded UTF-8.
    pub(crate) fn parse(text: &str) -> Result<Self, ApiError> {
        let mut parameters = Vec::new();
        for part in text.split('&').filter(|part| !part.is_empty()) {
            if parameters.len() == MAX_PARAMETERS {
                let message = format!("the query has more than {MAX_PARAMETERS} parameters");
                return Err(ApiError::bad_request(message, "leave some out"));
            }
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            parameters.push((decode(&key.replace('+', " "))?, decode(&value.replace('+', " "))?));
        }
        Ok(Self(parameters))
    }

    /// Refuses parameters that the call does not know: a misspelt filter must not pass for none.
    ///
    /// # Errors
    /// Names the unknown parameter and those that exist.
    pub(crate) fn only(&self, known: &[&str]) -> Result<(), ApiError> {
        match self.0.iter().find(|(key, _)| !known.contains(&key.as_str())) {
            None => Ok(()),
            Some((key, _)) if known.is_empty() => {
                Err(ApiError::bad_request(format!("unknown parameter {key:?}"), "this call takes none"))
            }
            Some((key, _)) => {
                let mend = format!("use one of: {}", known.join(", "));
                Err(ApiError::bad_request(format!("unknown parameter {key:?}"), mend))
            }
        }
    }

    /// The first value of a parameter; an empty one counts as absent.
    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        let found = self.0.iter().find(|(k, _)| k == key);
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// Every value of a parameter.
    pub(crate) fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(k, _)| k == key).map(|(_, value)| value.as_str())
    }

    /// The first value of a parameter as a number.
    ///
    /// # Errors
    /// It is no such number.
    pub(crate) fn number<N: FromStr>(&self, key: &str) -> Result<Option<N>, ApiError> {
        let Some(text) = self.text(key) else { return Ok(None) };
        let invalid = |_| ApiError::bad_request(format!("{key}={text:?} is not a whole number"), "give digits only");
        text.parse().map(Some).map_err(invalid)
    }

    /// A number that must be given.
    ///
    /// # Errors
    /// It is absent or no number.
    pub(crate) fn required<N: FromStr>(&self, key: &str) -> Result<N, ApiError> {
        let absent = || ApiError::bad_request(format!("the parameter {key} is missing"), format!("add {key}=NUMBER"));
        self.number(key)?.ok_or_else(absent)
    }
}

/// Undoes percent-encoding.
///
/// # Errors
/// A `%` without two hex digits, or bytes that are not UTF-8.
pub(crate) fn decode(text: &str) -> Result<String, ApiError> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let decoded = match byte {
            b'%' => hex(bytes.next()).zip(hex(bytes.next())).map(|(high, low)| high << 4 | low),
            other => Some(other),
        };
        out.push(decoded.ok_or_else(|| not_encoded(text))?);
    }
    String::from_utf8(out).map_err(|_| not_encoded(text))
}

/// Percent-encodes everything that has a meaning in a query or would not survive a path; slashes stay.
pub(crate) fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' | b':' => out.push(byte.into()),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

fn hex(byte: Option<u8>) -> Option<u8> {
    let digit = char::from(byte?).to_digit(16)?;
    u8::try_from(digit).ok()
}

fn not_encoded(text: &str) -> ApiError {
    let shown: String = text.chars().take(100).collect();
    ApiError::bad_request(format!("{shown:?} is not percent-encoded UTF-8"), "encode each byte as % and two hex digits")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decoding() {
        let check = |text: &str, expected: Option<&str>| assert_eq!(decode(text).ok().as_deref(), expected, "{text}");
        check("a%2fb", Some("a/b"));
        check("%C3%A9", Some("é"));
        check("%", None);
        check("%1", None);
        check("%zz", None);
        check("%ff", None);
    }

    #[test]
    fn encoding_is_undone_by_decoding() {
        for text in ["a b&c=d", "100%", "é/ü:1", "x+y#?"] {
            assert_eq!(decode(&encode(text)).unwrap(), text);
        }
    }

    #[test]
    fn parameters() {
        let query = Query::parse("a=1&b=x+y&a=2&c=").unwrap();
        assert_eq!(query.text("a"), Some("1"));
        assert_eq!(query.all("a").count(), 2);
        assert_eq!(query.text("b"), Some("x y"));
        assert_eq!(query.text("c"), None);
        assert_eq!(query.required::<u64>("a").unwrap(), 1);
        assert!(query.number::<u64>("b").is_err());
        assert!(query.required::<u64>("missing").is_err());
        assert!(query.only(&["a", "b", "c"]).is_ok());
        assert!(query.only(&["a", "b"]).unwrap_err().detail.message.contains("\"c\""));
        assert!(Query::parse(&"a=1&".repeat(33)).is_err());
    }
}
