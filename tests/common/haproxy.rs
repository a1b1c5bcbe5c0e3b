//! A HAProxy of a test's own.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub struct Haproxy {
    child: Child,
    _folder: tempfile::TempDir,
}

impl Haproxy {
    /// Runs this configuration until it is dropped, once all `addresses` accept; `None`, said as a skip, where it is not
    /// installed.
    pub fn start(configuration: &str, addresses: &[SocketAddr]) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("haproxy.cfg");
        let defaults = "defaults\n  timeout connect 5s\n  timeout client 30s\n  timeout server 30s\n";
        std::fs::File::create(&file).unwrap().write_all(format!("{defaults}{configuration}").as_bytes()).unwrap();
        let program = ["haproxy", "/usr/sbin/haproxy"].into_iter().find_map(|program| {
            let mut command = Command::new(program);
            command.arg("-db").arg("-f").arg(&file).stdin(Stdio::null()).stdout(Stdio::null());
            command.spawn().ok()
        });
        let Some(child) = program else {
            println!("SKIP: haproxy is not installed");
            return None;
        };
        let mut started = Self { child, _folder: folder };
        let deadline = Instant::now() + Duration::from_secs(20);
        while !addresses.iter().all(|address| TcpStream::connect(address).is_ok()) {
            assert!(started.child.try_wait().unwrap().is_none(), "haproxy does not run with\n{configuration}");
            assert!(Instant::now() < deadline, "haproxy does not accept");
            std::thread::sleep(Duration::from_millis(10));
        }
        Some(started)
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
