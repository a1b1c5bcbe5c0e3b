//! Addresses and networks.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use ipnet::IpNet;
use serde_json::Value as Json;

use super::{Fault, Item, Kind, clip};

/// An address with a port.
pub(crate) struct Socket;

impl Kind for Socket {
    type Value = SocketAddr;

    fn noun(&self) -> String {
        "an address with a port".into()
    }

    fn example(&self) -> String {
        "\"0.0.0.0:80\" or \"[::]:80\"".into()
    }

    fn read(&self, item: &Item<'_>, _base: &Path) -> Result<SocketAddr, Vec<Fault>> {
        let text = self.string(item)?;
        text.parse().map_err(|_| {
            let message = format!("{:?} is no address with a port", clip(text));
            Fault::one(item.span(), message, format!("write it like {}; host names are not resolved", self.example()))
        })
    }

    fn show(&self, value: &SocketAddr) -> Json {
        value.to_string().into()
    }
}

/// An address without port.
pub(crate) struct Address;

impl Kind for Address {
    type Value = IpAddr;

    fn noun(&self) -> String {
        "an address".into()
    }

    fn example(&self) -> String {
        "\"10.0.0.1\"".into()
    }

    fn read(&self, item: &Item<'_>, _base: &Path) -> Result<IpAddr, Vec<Fault>> {
        let text = self.string(item)?;
        text.parse().map_err(|_| {
            let message = format!("{:?} is no address", clip(text));
            Fault::one(item.span(), message, format!("write it like {}, without a port", self.example()))
        })
    }

    fn show(&self, value: &IpAddr) -> Json {
        value.to_string().into()
    }
}

/// A network, or one address.
pub(crate) struct Network;

impl Kind for Network {
    type Value = IpNet;

    fn noun(&self) -> String {
        "a network".into()
    }

    fn example(&self) -> String {
        "\"10.0.0.0/8\"".into()
    }

    fn read(&self, item: &Item<'_>, _base: &Path) -> Result<IpNet, Vec<Fault>> {
        let text = self.string(item)?;
        let network = text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
        let Some(network) = network else {
            let message = format!("{:?} is no network", clip(text));
            return Err(Fault::one(item.span(), message, format!("write it like {}", self.example())));
        };
        if network != network.trunc() {
            let message = format!("{network} is an address within a network");
            return Err(Fault::one(
                item.span(),
                message,
                format!("write \"{}\" or \"{}\"", network.trunc(), network.addr()),
            ));
        }
        Ok(network)
    }

    fn show(&self, value: &IpNet) -> Json {
        value.to_string().into()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::read;
    use super::*;

    #[test]
    fn networks() {
        assert_eq!(read(&Network, "\"10.0.0.0/8\"").unwrap().to_string(), "10.0.0.0/8");
        assert_eq!(read(&Network, "\"::1\"").unwrap().to_string(), "::1/128");
        assert_eq!(
            read(&Network, "\"10.0.0.1/8\"").unwrap_err(),
            "10.0.0.1/8 is an address within a network; write \"10.0.0.0/8\" or \"10.0.0.1\""
        );
        assert!(read(&Network, "\"example.com\"").is_err());
    }

    #[test]
    fn addresses() {
        assert_eq!(read(&Socket, "\"127.0.0.1:80\"").unwrap().port(), 80);
        assert!(read(&Socket, "\"localhost:80\"").is_err());
        assert!(read(&Address, "\"127.0.0.1:80\"").is_err());
    }
}
