//! An agent with a network of its own, which can be cut off: packets to and from it vanish, nothing is refused.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Command;

/// A network namespace, joined to this machine's network by a pair of virtual devices; removed when it is dropped.
pub struct Namespace {
    name: String,
    here: Ipv4Addr,
    there: Ipv4Addr,
    next_port: u16,
}

impl Namespace {
    /// Makes one; `None`, said as a skip: it is not permitted, or there is no `ip`.
    pub fn make() -> Option<Self> {
        let id = std::process::id();
        let [_, _, high, low] = id.to_be_bytes();
        let address = |last| Ipv4Addr::new(10, high | 128, low, last);
        let namespace = Self { name: format!("pointsman-{id}"), here: address(1), there: address(2), next_port: 8000 };
        let (name, mine, other) = (&namespace.name, format!("pm{id}a"), format!("pm{id}b"));
        let (here, there) = (format!("{}/24", namespace.here), format!("{}/24", namespace.there));
        let commands: [&[&str]; 6] = [
            &["netns", "add", name],
            &["link", "add", &mine, "type", "veth", "peer", "name", &other, "netns", name],
            &["address", "add", &here, "dev", &mine],
            &["link", "set", &mine, "up"],
            &["-n", name, "address", "add", &there, "dev", &other],
            &["-n", name, "link", "set", &other, "up"],
        ];
        for command in commands {
            if let Err(why) = ip(command) {
                println!("SKIP: no network namespace can be made here (`ip {}`: {why})", command.join(" "));
                return None;
            }
        }
        Some(namespace)
    }

    /// The command that runs another inside.
    pub fn around(&self) -> [&str; 4] {
        ["ip", "netns", "exec", &self.name]
    }

    /// An address inside that nobody has.
    pub fn address(&mut self) -> SocketAddr {
        self.next_port += 1;
        SocketAddr::new(IpAddr::V4(self.there), self.next_port)
    }

    /// From now on everything that is sent to this machine from inside vanishes, answers to a SYN too.
    pub fn cut(&self) {
        self.route("add");
    }

    /// Undoes it.
    pub fn heal(&self) {
        self.route("delete");
    }

    fn route(&self, what: &str) {
        let here = format!("{}/32", self.here);
        ip(&["-n", &self.name, "route", what, "blackhole", &here]).unwrap();
    }
}

fn ip(arguments: &[&str]) -> Result<(), String> {
    let output = Command::new("ip").args(arguments).output().map_err(|error| error.to_string())?;
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // The devices go with it.
        let _ = ip(&["netns", "delete", &self.name]);
    }
}
