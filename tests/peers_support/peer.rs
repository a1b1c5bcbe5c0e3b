//! Those that are compared, each with a server of its own behind, as a plain reverse proxy.

use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};

use super::backend::Backend;
use super::cases::Case;
use super::client::{Conversation, Outcome};
use crate::common::ports::unused;
use crate::common::program::{Folder, Program, until};
use crate::haproxy::Haproxy;

pub struct Peer {
    pub name: &'static str,
    address: SocketAddr,
    backend: Backend,
    _running: Running,
}

/// What ends when it is dropped.
enum Running {
    Pointsman { _program: Program, _folder: Folder },
    Nginx { _nginx: Nginx },
    Haproxy { _haproxy: Haproxy },
}

impl Peer {
    pub fn pointsman() -> Self {
        let (folder, backend, address) = (Folder::new(), Backend::start(), unused());
        folder.serve_web(&[backend.address]);
        folder.configure(&format!(
            "[[sources.file]]\nname = \"static\"\npath = \"services.toml\"\n\
             [[proxy.listeners]]\nname = \"http\"\naddress = \"{address}\"\n"
        ));
        let mut program = folder.start();
        program.until_ready();
        let running = Running::Pointsman { _program: program, _folder: folder };
        Self { name: "pointsman", address, backend, _running: running }
    }

    /// `None`, said as a skip: it is not installed.
    pub fn nginx() -> Option<Self> {
        let (backend, address) = (Backend::start(), unused());
        let nginx = Nginx::start(address, backend.address)?;
        Some(Self { name: "nginx", address, backend, _running: Running::Nginx { _nginx: nginx } })
    }

    /// `None`, said as a skip: it is not installed.
    pub fn haproxy() -> Option<Self> {
        let (backend, address) = (Backend::start(), unused());
        // Neither says anything of the client, as ours says it in fields that are not compared.
        let configuration = format!(
            "frontend f\n  mode http\n  bind {address}\n  default_backend b\n\
             backend b\n  mode http\n  server s {}\n",
            backend.address
        );
        let haproxy = Haproxy::start(&configuration, &[address])?;
        Some(Self { name: "haproxy", address, backend, _running: Running::Haproxy { _haproxy: haproxy } })
    }

    pub fn ask(&self, case: &Case) -> Outcome {
        self.backend.take_seen();
        let heard = Conversation::hold(self.address, case);
        Outcome::of(case, &heard, &self.backend.take_seen())
    }
}

/// One process of nginx.
struct Nginx {
    child: Child,
    _folder: tempfile::TempDir,
}

impl Nginx {
    fn start(address: SocketAddr, backend: SocketAddr) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().display();
        let file = folder.path().join("nginx.conf");
        // As its manual shows it for a server behind that speaks HTTP/1.1. Bodies of any size, as the others let them pass;
        // `proxy_redirect` would change what the server behind says.
        let configuration = format!(
            "daemon off; master_process off; pid {path}/pid; error_log stderr crit;\nevents {{ }}\nhttp {{\n\
             access_log off; client_max_body_size 0;\n\
             client_body_temp_path {path}/body; proxy_temp_path {path}/proxy; fastcgi_temp_path {path}/fastcgi;\n\
             uwsgi_temp_path {path}/uwsgi; scgi_temp_path {path}/scgi;\n\
             server {{ listen {address}; location / {{\n\
             proxy_pass http://{backend}; proxy_http_version 1.1; proxy_redirect off;\n\
             proxy_set_header Connection \"\"; proxy_set_header Host $http_host;\n}} }} }}\n"
        );
        std::fs::write(&file, configuration).unwrap();
        let program = ["nginx", "/usr/sbin/nginx"].into_iter().find_map(|program| {
            let mut command = Command::new(program);
            command.args(["-e", "stderr", "-p"]).arg(folder.path()).arg("-c").arg(&file);
            command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().ok()
        });
        let Some(child) = program else {
            println!("SKIP: nginx is not installed");
            return None;
        };
        let mut nginx = Self { child, _folder: folder };
        until("nginx listens", || {
            assert!(nginx.child.try_wait().unwrap().is_none(), "nginx does not run");
            TcpStream::connect(address).is_ok()
        });
        Some(nginx)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
