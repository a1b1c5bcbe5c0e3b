//! What a configuration must know of the machine that it is in force on.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::config::Config;
use crate::dns::transport::bind::own_addresses;

/// The configuration with the machine's addresses as they are now: at a start, and at each reload.
pub(super) fn on_this_machine(config: Config) -> Config {
    let everywhere = [(Ipv4Addr::UNSPECIFIED, 0).into(), (Ipv6Addr::UNSPECIFIED, 0).into()];
    let machine = own_addresses(&everywhere).iter().map(std::net::IpAddr::to_canonical).collect();
    Config { machine, ..config }
}
