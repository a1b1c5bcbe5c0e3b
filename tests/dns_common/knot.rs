//! A real Knot DNS beside the tests, with a folder of its own.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A running Knot; ended when it is dropped.
pub struct Knot {
    pub address: SocketAddr,
    process: Child,
    _files: tempfile::TempDir,
}

impl Knot {
    /// Starts one that serves `zone`, a zone file, as the zone `name`. `None`, with a message, where Knot is not installed.
    /// It may not answer yet.
    pub fn start(address: SocketAddr, name: &str, zone: &str) -> Option<Self> {
        let program = ["/usr/sbin/knotd", "/usr/local/sbin/knotd"].into_iter().find(|path| Path::new(path).exists());
        let Some(program) = program else {
            println!("SKIP: Knot DNS is not installed (Debian: knot)");
            return None;
        };
        let files = tempfile::tempdir().unwrap();
        let folder = files.path().display();
        std::fs::write(files.path().join("zone"), zone).unwrap();
        let config = format!(
            "server:\n  rundir: \"{folder}\"\n  listen: {}@{}\n  udp-workers: 1\n  tcp-workers: 1\n  background-workers: 1\n\
             control:\n  listen: \"{folder}/socket\"\ndatabase:\n  storage: \"{folder}\"\nlog:\n  - target: \"{folder}/log\"\n    any: info\n\
             zone:\n  - domain: {name}\n    file: \"{folder}/zone\"\n    journal-content: none\n    zonefile-sync: -1\n",
            address.ip(),
            address.port()
        );
        std::fs::write(files.path().join("knot.conf"), config).unwrap();
        let mut command = Command::new(program);
        command.arg("-c").arg(files.path().join("knot.conf")).stdout(Stdio::null()).stderr(Stdio::null());
        Some(Self { address, process: command.spawn().unwrap(), _files: files })
    }
}

impl Drop for Knot {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
