//! How the data of DNS records is written for people (RFC 1035 section 5.1).

use std::fmt;

use super::event::{Binding, RecordData};

impl RecordData {
    /// What its type is called.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::A(_) => "A",
            Self::Aaaa(_) => "AAAA",
            Self::Srv { .. } => "SRV",
            Self::Cname(_) => "CNAME",
            Self::Ptr(_) => "PTR",
            Self::Ns(_) => "NS",
            Self::Svcb(_) => "SVCB",
            Self::Https(_) => "HTTPS",
            Self::Txt(_) => "TXT",
            Self::Mx { .. } => "MX",
            Self::Opaque(data) => match data.record_type {
                43 => "DS",
                257 => "CAA",
                44 => "SSHFP",
                52 => "TLSA",
                _ => "OTHER",
            },
        }
    }
}

impl fmt::Display for RecordData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::A(address) => address.fmt(f),
            Self::Aaaa(address) => address.fmt(f),
            Self::Srv { priority, weight, port, target } => write!(f, "{priority} {weight} {port} {target}."),
            Self::Cname(target) | Self::Ptr(target) | Self::Ns(target) => write!(f, "{target}."),
            Self::Svcb(binding) | Self::Https(binding) => {
                let Binding { priority, target, port, alpn } = &**binding;
                let alpn = if alpn.is_empty() { String::new() } else { format!(" alpn={}", alpn.join(",")) };
                let default = if binding.is_without_default() { " no-default-alpn" } else { "" };
                write!(f, "{priority} {target}.{alpn}{default} port={port}")
            }
            Self::Txt(strings) => {
                let quoted: Vec<String> = strings.iter().map(|text| format!("{text:?}")).collect();
                f.write_str(&quoted.join(" "))
            }
            Self::Mx { preference, exchange } => write!(f, "{preference} {exchange}."),
            // RFC 3597 §5.
            Self::Opaque(data) => {
                let hex: String = data.octets.iter().map(|octet| format!("{octet:02x}")).collect();
                write!(f, "\\# {} {hex}", data.octets.len())
            }
        }
    }
}
