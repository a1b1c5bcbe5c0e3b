//! What tests of ACME share: `pebble`, names that lead to this machine, an authority that says what a test wants, and a client
//! that looks at certificates.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test that cannot go on fails")]

pub mod fake;
pub mod shown;

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::authority::Authority;
use crate::common::ports;
use crate::common::program::{Folder, Program, listens, until};

/// The zone whose every name leads to 127.0.0.1.
pub const ZONE: &str = "acme.test";

/// A running `pebble`, its files, and the server that it looks names up at.
pub struct Pebble {
    child: Option<Child>,
    folder: Folder,
    pub address: SocketAddr,
    environment: Vec<(String, String)>,
    names: Names,
}

/// How it is started.
pub struct Setup {
    pub http: SocketAddr,
    pub https: SocketAddr,
    /// How long certificates are good for, in seconds.
    pub life: u64,
    pub external_account: bool,
    pub environment: &'static [(&'static str, &'static str)],
}

impl Default for Setup {
    fn default() -> Self {
        let (http, https) = (ports::unused(), ports::unused());
        Self { http, https, life: 90 * 86_400, external_account: false, environment: &[] }
    }
}

/// The key of the external account that it knows, as `kid-1`.
pub const EXTERNAL_KEY: &str = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";

/// A server for names.
struct Names {
    _program: Program,
    _folder: Folder,
    address: SocketAddr,
}

impl Names {
    fn start() -> Self {
        let (folder, address) = (Folder::new(), ports::unused());
        folder
            .write("services.toml", format!("[[records]]\nname = \"*.{ZONE}\"\ntype = \"A\"\nvalue = \"127.0.0.1\"\n"));
        folder.configure(&format!(
            "[dns]\nlisten = [\"{address}\"]\n\
             [[sources.file]]\nname = \"names\"\npath = \"services.toml\"\nzones = [\"{ZONE}\"]\n"
        ));
        let mut program = folder.start();
        program.until_ready();
        Self { _program: program, _folder: folder, address }
    }
}

impl Pebble {
    /// Starts it; `None`, said as a skip, where it is not installed.
    pub fn start(setup: &Setup) -> Option<Self> {
        let mut pebble = Self::prepare(setup)?;
        pebble.run();
        Some(pebble)
    }

    /// Everything but the process.
    pub fn prepare(setup: &Setup) -> Option<Self> {
        let found = Command::new("pebble").arg("-help").stdout(Stdio::null()).stderr(Stdio::null()).status();
        if found.is_err() {
            println!("SKIP: pebble is not installed");
            return None;
        }
        let (folder, address, authority) = (Folder::new(), ports::unused(), Authority::new());
        authority.write(&folder.path("ca.pem"));
        let (certificate, key) = authority.issue(&["127.0.0.1"]).write(&folder.path(""), "pebble");
        let config = serde_json::json!({ "pebble": {
            "listenAddress": address.to_string(),
            "managementListenAddress": "",
            "certificate": certificate,
            "privateKey": key,
            "httpPort": setup.http.port(),
            "tlsPort": setup.https.port(),
            "ocspResponderURL": "",
            "externalAccountBindingRequired": setup.external_account,
            "externalAccountMACKeys": { "kid-1": EXTERNAL_KEY },
            "certificateValidityPeriod": setup.life,
        }});
        folder.write("pebble.json", config.to_string());
        let own = setup.environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        // By chance is refused only what a test asks for; of equal names the last one counts.
        let usual = [("PEBBLE_VA_NOSLEEP", "1"), ("PEBBLE_WFE_NONCEREJECT", "0")];
        let usual = usual.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
        let environment = usual.chain(own).collect();
        Some(Self { child: None, folder, address, environment, names: Names::start() })
    }

    /// Starts the process; what a former one knew is forgotten.
    pub fn run(&mut self) {
        self.stop();
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.folder.path("log")).unwrap();
        let mut command = Command::new("pebble");
        command.arg("-config").arg(self.folder.path("pebble.json"));
        command.arg("-dnsserver").arg(self.names.address.to_string());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.child = Some(command.spawn().unwrap());
        until("pebble listens", || listens(self.address));
    }

    /// Ends the process.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// The part of an entry that says whom to ask.
    pub fn entry(&self) -> String {
        entry(&format!("https://{}/dir", self.address), &self.folder.path("ca.pem"))
    }

    /// What it said so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path("log")).unwrap_or_default()
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        self.stop();
        if std::thread::panicking() {
            println!("pebble said:\n{}", self.log());
        }
    }
}

/// The beginning of an entry of `[[proxy.acme]]`, with pauses that a test can wait for.
pub fn entry(directory: &str, ca: &Path) -> String {
    format!(
        "[[proxy.acme]]\nname = \"test\"\ndirectory = \"{directory}\"\nca = \"{}\"\nterms_agreed = true\n\
         folder = \"certificates\"\nretry = \"1s\"\nmax_retry = \"2s\"\n",
        ca.display()
    )
}

/// A proxy that gets certificates.
pub struct World {
    pub folder: Folder,
    pub program: Program,
    pub http: SocketAddr,
    pub https: SocketAddr,
}

impl World {
    /// Starts one at these addresses, with this entry.
    pub fn start(http: SocketAddr, https: SocketAddr, entry: &str) -> Self {
        Self::start_in(Folder::new(), http, https, entry)
    }

    pub fn start_in(folder: Folder, http: SocketAddr, https: SocketAddr, entry: &str) -> Self {
        if !folder.path("services.toml").exists() {
            folder.write("services.toml", "# nothing\n");
        }
        folder.configure(&settings(http, https, entry));
        let mut program = folder.start();
        program.until_ready();
        Self { folder, program, http, https }
    }

    /// Changes the entry while it runs.
    pub fn reload(&mut self, entry: &str) {
        let after = self.program.api("/v1/config").1["last_reload"]["at"].as_u64().unwrap();
        self.folder.configure(&settings(self.http, self.https, entry));
        self.program.until_reload("applied", after);
    }

    /// What the API says of a certificate.
    pub fn certificate(&self, name: &str) -> serde_json::Value {
        certificate(&self.program, name)
    }

    /// Waits until a certificate is in a state.
    pub fn until(&mut self, name: &str, what: &str, condition: impl Fn(&serde_json::Value) -> bool) {
        self.program.until(&format!("{name} {what}"), |program| condition(&certificate(program, name)));
    }

    pub fn until_valid(&mut self, name: &str) {
        self.until(name, "is valid", |seen| seen["state"] == "valid");
    }

    /// How often the log has a message.
    pub fn count(&self, message: &str) -> usize {
        self.program.log().matches(message).count()
    }

    /// Its own files.
    pub fn own(&self, path: &str) -> std::path::PathBuf {
        self.folder.path("certificates").join(".acme").join(path)
    }
}

fn certificate(program: &Program, name: &str) -> serde_json::Value {
    let (status, answer) = program.api("/v1/certificates");
    assert_eq!(status, 200, "{answer}");
    let all = answer["authorities"].as_array().unwrap().iter().flat_map(|one| one["certificates"].as_array().unwrap());
    all.into_iter().find(|one| one["name"] == name).cloned().unwrap_or_default()
}

fn settings(http: SocketAddr, https: SocketAddr, entry: &str) -> String {
    format!(
        "[[sources.file]]\nname = \"static\"\npath = \"services.toml\"\n\
         [[proxy.listeners]]\nname = \"http\"\naddress = \"{http}\"\n\
         [[proxy.listeners]]\nname = \"https\"\naddress = \"{https}\"\ncertificates = \"certificates\"\n{entry}"
    )
}
