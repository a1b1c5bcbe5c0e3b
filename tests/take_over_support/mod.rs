//! A program that can be replaced while it serves, what it serves, and who asks meanwhile.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

pub mod asking;
pub mod manager;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::Command;

use crate::common::ports;
use crate::common::program::{Folder, Program};
use crate::faults_support::task::Task;
use crate::faults_support::{Authority, HOST, HOST2};
use crate::load::Target;

/// Where it listens.
#[derive(Clone, Copy)]
pub struct Places {
    pub http: SocketAddr,
    pub https: SocketAddr,
    pub dns: SocketAddr,
}

impl Places {
    pub fn unused() -> Self {
        Self { http: ports::unused(), https: ports::unused(), dns: ports::unused() }
    }
}

/// A program that can be replaced, and what it serves.
pub struct World {
    pub folder: Folder,
    pub program: Program,
    pub target: Target,
    pub dns: SocketAddr,
    pub tasks: Vec<Task>,
}

impl World {
    pub fn start(drain_time: &str) -> Self {
        Self::start_with(drain_time, "")
    }

    /// With these settings beside.
    pub fn start_with(drain_time: &str, more: &str) -> Self {
        Self::start_at(Places::unused(), drain_time, more, Folder::start)
    }

    /// Listens there, and is started by this.
    pub fn start_at(places: Places, drain_time: &str, more: &str, start: impl FnOnce(&Folder) -> Program) -> Self {
        let tasks: Vec<Task> = (0..2).map(|number| Task::start(&format!("task-{number}"))).collect();
        let (folder, authority) = (Folder::new(), Authority::new());
        std::fs::create_dir(folder.path("certificates")).unwrap();
        authority.write_pair(&folder.path("certificates"));
        let Places { http, https, dns } = places;
        folder.configure(&format!(
            "[server]\nworkers = 2\ndrain_time = \"{drain_time}\"\nhand_over = \"hand-over\"\n\
             [state]\npath = \"state\"\n\
             [dns]\nlisten = [\"{dns}\"]\n\
             [[sources.file]]\nname = \"static\"\npath = \"services.toml\"\nzones = [\"corp.test\"]\n\
             [[proxy.listeners]]\nname = \"http\"\naddress = \"{http}\"\n\
             [[proxy.listeners]]\nname = \"https\"\naddress = \"{https}\"\ncertificates = \"certificates\"\n{more}"
        ));
        let endpoints: Vec<_> = tasks.iter().map(|task| task.address.to_string()).collect();
        let service = |name: &str, protocol: &str, host: &str| {
            format!(
                "[[services]]\nname = \"{name}\"\nprotocol = \"{protocol}\"\nhosts = [\"{host}\"]\n\
                 endpoints = {endpoints:?}\n"
            )
        };
        let record = "[[records]]\nname = \"www.corp.test\"\ntype = \"A\"\nvalue = \"192.0.2.1\"\n";
        folder.write("services.toml", service("web", "http", HOST) + &service("rpc", "h2c", HOST2) + record);
        let mut program = start(&folder);
        program.until_ready();
        let target = Target { http, https, host: HOST, host2: HOST2, tls: authority.connectors() };
        Self { program, folder, target, dns, tasks }
    }

    /// Replaces the program; the former one, which drains.
    pub fn replace(&mut self) -> Program {
        replace(&self.folder, &mut self.program, successor(&self.folder))
    }
}

/// The command of another instance on this folder that takes over.
pub fn successor(folder: &Folder) -> Command {
    let mut command = folder.command();
    command.arg("--take-over");
    command
}

/// Starts a command that takes over, and waits until it has; the former program, which drains.
pub fn replace(folder: &Folder, program: &mut Program, command: Command) -> Program {
    let count = |program: &Program| program.log().matches("another process has taken over").count();
    let before = count(program);
    let former = std::mem::replace(program, folder.start_by(command));
    // The API is the new one's from then on.
    program.until("the former one has let go", |program| count(program) > before);
    program.until_ready();
    former
}

/// The sockets that listen for TCP, or take datagrams, at an address, by the numbers that the kernel knows them by: those of two
/// moments are equal where the sockets themselves went along.
pub fn sockets(kind: &str, address: SocketAddr) -> BTreeSet<u64> {
    // The states of sockets that listen, and of those for datagrams without a peer.
    let state = if kind == "tcp" { "0A" } else { "07" };
    let port = format!(":{:04X}", address.port());
    // The kernel lists them piece by piece: while others come and go, one look may miss a socket.
    let look = |_| std::fs::read_to_string(format!("/proc/net/{kind}")).unwrap();
    let text: String = (0..3).map(look).collect();
    let number = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        (words[1].ends_with(&port) && words[3] == state).then(|| words[9].parse().unwrap())
    };
    text.lines().filter_map(number).collect()
}
