//! A service manager that opens sockets for the program, as systemd does.
#![allow(dead_code, reason = "each test program uses a part")]

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::process::{Command, Stdio};

use crate::common::program::{Folder, Program, pointsman};

/// Starts an instance that inherits three sockets from its service manager, as systemd passes them, by these names.
pub fn start_with(folder: &Folder, names: &str, sockets: [BorrowedFd<'_>; 3]) -> Program {
    // A shell puts them where systemd does, from descriptor 3 on, and becomes the program.
    let mut command = Command::new("/bin/sh");
    let script = "log=$1; names=$2; shift 2; exec 3<&0 4<&1 5<&2 </dev/null >>\"$log\" 2>&1; \
                  LISTEN_PID=$$ LISTEN_FDS=3 LISTEN_FDNAMES=$names exec \"$@\"";
    command.args(["-c", script, "sh"]).arg(folder.path("log")).arg(names).arg(pointsman().get_program());
    command.arg("serve").arg("--config").arg(folder.path("pointsman.toml"));
    let [first, second, third] = sockets.map(|socket| Stdio::from(socket.try_clone_to_owned().unwrap()));
    command.stdin(first).stdout(second).stderr(third);
    folder.adopt(command.spawn().unwrap())
}

/// One that holds the sockets of a listener called `http` and of DNS.
pub struct Manager {
    http: TcpListener,
    udp: UdpSocket,
    tcp: TcpListener,
}

impl Manager {
    pub fn open(http: SocketAddr, dns: SocketAddr) -> Self {
        let (http, tcp) = (TcpListener::bind(http).unwrap(), TcpListener::bind(dns).unwrap());
        Self { http, udp: UdpSocket::bind(dns).unwrap(), tcp }
    }

    pub fn start(&self, folder: &Folder) -> Program {
        start_with(folder, "http:dns:dns", [self.http.as_fd(), self.udp.as_fd(), self.tcp.as_fd()])
    }
}
