//! Upstream DNS servers: `10.0.0.53`, `tcp://10.0.0.53:5353`, `tls://1.1.1.1#cloudflare-dns.com`.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use rustls_pki_types::ServerName;
use serde_json::Value as Json;

use super::{Fault, Item, Kind, clip};
use crate::config::checked::{UpstreamServer, UpstreamTransport};

/// One upstream DNS server.
pub(crate) struct Upstream;

impl Kind for Upstream {
    type Value = UpstreamServer;

    fn noun(&self) -> String {
        "a DNS server".into()
    }

    fn example(&self) -> String {
        "\"10.0.0.53\"".into()
    }

    fn read(&self, item: &Item<'_>, _base: &Path) -> Result<UpstreamServer, Vec<Fault>> {
        let text = self.string(item)?;
        parse(text).ok_or_else(|| {
            let message = format!("{:?} is no DNS server", clip(text));
            let mend = "write it like \"10.0.0.53\", \"tcp://10.0.0.53:5353\" or \"tls://1.1.1.1#cloudflare-dns.com\"; host \
                        names are not resolved";
            Fault::one(item.span(), message, mend)
        })
    }

    fn show(&self, value: &UpstreamServer) -> Json {
        value.to_string().into()
    }
}

fn parse(text: &str) -> Option<UpstreamServer> {
    let (scheme, rest) = text.split_once("://").unwrap_or(("udp", text));
    let (address, name) = match rest.split_once('#') {
        Some((address, name)) => (address, Some(name)),
        None => (rest, None),
    };
    let port = if scheme == "tls" { 853 } else { 53 };
    let bare = address.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(address);
    let address = match address.parse::<SocketAddr>() {
        Ok(address) => address,
        Err(_) => SocketAddr::new(bare.parse::<IpAddr>().ok()?, port),
    };
    if address.port() == 0 || address.ip().is_unspecified() || address.ip().is_multicast() {
        return None;
    }
    let transport = match (scheme, name) {
        ("udp", None) => UpstreamTransport::Udp,
        ("tcp", None) => UpstreamTransport::Tcp,
        ("tls", name) => {
            let name: Arc<str> = name.map_or_else(|| address.ip().to_string().into(), Into::into);
            ServerName::try_from(&*name).ok()?;
            UpstreamTransport::Tls(name)
        }
        _ => return None,
    };
    Some(UpstreamServer { address, transport })
}

#[cfg(test)]
mod tests {
    use super::super::tests::read;
    use super::*;

    #[test]
    fn servers() {
        for (text, shown) in [
            ("10.0.0.53", "10.0.0.53:53"),
            ("10.0.0.53:5353", "10.0.0.53:5353"),
            ("udp://10.0.0.53", "10.0.0.53:53"),
            ("::1", "[::1]:53"),
            ("[::1]", "[::1]:53"),
            ("[::1]:54", "[::1]:54"),
            ("tcp://10.0.0.53", "tcp://10.0.0.53:53"),
            ("tls://1.1.1.1#cloudflare-dns.com", "tls://1.1.1.1:853#cloudflare-dns.com"),
            ("tls://1.1.1.1", "tls://1.1.1.1:853#1.1.1.1"),
            ("tls://[::1]:8853#dns.example", "tls://[::1]:8853#dns.example"),
        ] {
            let server = read(&Upstream, &format!("{text:?}")).unwrap();
            assert_eq!(server.to_string(), shown, "{text}");
            assert_eq!(read(&Upstream, &format!("{shown:?}")), Ok(server), "{shown}");
        }
    }

    #[test]
    fn what_is_no_server_is_refused_with_the_mend() {
        for text in
            ["", "dns.example", "10.0.0.53:0", "0.0.0.0", "https://1.1.1.1", "1.1.1.1#name", "tls://1.1.1.1#a b"]
        {
            let error = read(&Upstream, &format!("{text:?}")).unwrap_err();
            assert!(error.contains("is no DNS server; write it like"), "{text}: {error}");
        }
    }
}
