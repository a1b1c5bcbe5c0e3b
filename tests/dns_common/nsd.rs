//! A real NSD beside the tests, with a folder of its own.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command};

/// A running NSD; ended, with its children, when it is dropped.
pub struct Nsd {
    pub address: SocketAddr,
    process: Child,
    _files: tempfile::TempDir,
}

impl Nsd {
    /// Starts one with these options of the server, and these keys and zones; the file `zone` holds `zone`. `None`, with a
    /// message, where NSD is not installed. It may not answer yet.
    pub fn start(address: SocketAddr, options: &str, zones: &str, zone: Option<&str>) -> Option<Self> {
        let program = ["/usr/sbin/nsd", "/usr/local/sbin/nsd"].into_iter().find(|path| Path::new(path).exists());
        let Some(program) = program else {
            println!("SKIP: NSD is not installed (Debian: nsd)");
            return None;
        };
        let files = tempfile::tempdir().unwrap();
        let folder = files.path().display();
        if let Some(zone) = zone {
            std::fs::write(files.path().join("zone"), zone).unwrap();
        }
        let config = format!(
            "server:\n server-count: 1\n ip-address: {}@{}\n username: \"\"\n chroot: \"\"\n zonesdir: \"{folder}\"\n \
             pidfile: \"\"\n xfrdfile: \"{folder}/xfrd\"\n xfrdir: \"{folder}\"\n zonelistfile: \"{folder}/list\"\n \
             logfile: \"{folder}/log\"\n {options}\nremote-control:\n control-enable: no\n{zones}",
            address.ip(),
            address.port()
        );
        std::fs::write(files.path().join("nsd.conf"), config).unwrap();
        let process = Command::new(program).arg("-d").arg("-c").arg(files.path().join("nsd.conf")).spawn().unwrap();
        Some(Self { address, process, _files: files })
    }
}

impl Drop for Nsd {
    fn drop(&mut self) {
        // SIGTERM, so that it ends its children.
        let id = nix::unistd::Pid::from_raw(self.process.id().try_into().unwrap());
        let _ = nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGTERM);
        let _ = self.process.wait();
    }
}
