//! In place of Mesos-DNS: its configuration file, read as it is.
//!
//! ```text
//!  config.json ── json ──▶ options ──▶ migration (TOML, warnings) ──▶ config::check ──▶ Config
//! ```
//!
//! Not here: its names ([`crate::table::names`]) and its HTTP API ([`crate::admin::mesos_dns`]).

mod json;
mod migration;
mod options;
mod resolv_conf;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

pub use migration::{Migration, Warning};
pub use options::Options;

use crate::config::{self, Config, ConfigError, ConfigErrors, Environment, Lines};
use crate::dns::transport::bind::own_addresses;
use options::Fault;

/// The largest file, octets.
const LONGEST_FILE: u64 = 4 << 20;

/// The machine that a file is read on.
#[derive(Clone, Copy, Debug)]
pub struct Machine<'a> {
    /// Where relative paths start: where Mesos-DNS was started.
    pub folder: &'a Path,
    /// What its `/etc/resolv.conf` says; empty: nothing.
    pub resolv_conf: &'a str,
    /// Its addresses other than loopback.
    pub own: &'a [IpAddr],
}

/// What a Mesos-DNS file comes to.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What the program runs on.
    pub config: Config,
    /// The same as a file, with what is not obeyed.
    pub migration: Migration,
}

/// Reads a Mesos-DNS file with the process's environment; relative paths in it start at the current folder.
///
/// # Errors
/// Everything that is wrong with it, with its places.
pub fn load(path: &Path) -> Result<Loaded, ConfigErrors> {
    let fault = |message: String, mend: &str| {
        let (file, mend) = (path.display().to_string(), mend.to_owned());
        ConfigErrors::new(vec![ConfigError { file, line: None, column: None, key: String::new(), message, mend }])
    };
    let text = config::read_bounded(path, LONGEST_FILE)
        .map_err(|error| fault(format!("the file cannot be read: {error}"), "check the path and who may read it"))?;
    let folder = std::env::current_dir()
        .map_err(|error| fault(format!("the current folder is not known: {error}"), "start in another folder"))?;
    // Without the file there are no resolvers of the system, and a warning says so where they are wanted.
    let resolv_conf = config::read_bounded(Path::new(resolv_conf::PATH), LONGEST_FILE).unwrap_or_default();
    let everywhere: [IpAddr; 2] = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
    let own = own_addresses(&everywhere.map(|any| SocketAddr::new(any, 53)));
    let machine = Machine { folder: &folder, resolv_conf: &resolv_conf, own: &own };
    check_on(machine, &text, path, Environment::process())
}

/// Checks the text of a Mesos-DNS file; relative paths in it start at `folder`, and the system has no resolvers.
///
/// # Errors
/// As [`load`].
pub fn check(text: &str, path: &Path, folder: &Path, environment: Environment<'_>) -> Result<Loaded, ConfigErrors> {
    check_on(Machine { folder, resolv_conf: "", own: &[] }, text, path, environment)
}

/// Checks the text of a Mesos-DNS file as it is read on `machine`.
///
/// # Errors
/// As [`load`].
pub fn check_on(
    machine: Machine<'_>,
    text: &str,
    path: &Path,
    environment: Environment<'_>,
) -> Result<Loaded, ConfigErrors> {
    let lines = Lines::of(text);
    let refuse = |faults: Vec<Fault>| {
        let place = |fault: &Fault| fault.span.as_ref().map(|span| lines.place(span));
        let error = |fault: Fault| ConfigError {
            file: path.display().to_string(),
            line: place(&fault).map(|(line, _)| line),
            column: place(&fault).map(|(_, column)| column),
            key: fault.option,
            message: fault.message,
            mend: fault.mend,
        };
        ConfigErrors::new(faults.into_iter().map(error).collect())
    };
    let options = Options::read(text).map_err(refuse)?;
    let migration = Migration::new(&options, machine);
    match config::check(&migration.text, &machine.folder.join("mesos-dns.toml"), environment) {
        Ok(config) => Ok(Loaded { config, migration }),
        // What our own settings refuse is told of the option that the line comes from.
        Err(errors) => {
            let option = |error: &ConfigError| error.line.and_then(|line| migration.origin(line));
            let faults = errors.errors.iter().map(|error| Fault {
                option: option(error).unwrap_or_default().to_owned(),
                span: option(error).and_then(|option| options.place(option)),
                message: error.message.clone(),
                mend: error.mend.clone(),
            });
            Err(refuse(faults.collect()))
        }
    }
}

/// What the fuzzer calls: whatever the octets are, nothing panics, a refusal says why, and what is accepted is a file
/// that our own reader accepts.
#[doc(hidden)]
pub fn fuzz_mesos_dns_config(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    match check(&text, Path::new("config.json"), Path::new("/etc/mesos-dns"), Environment::empty()) {
        Ok(loaded) => {
            let again = config::check(&loaded.migration.text, Path::new("/etc/mesos-dns/x.toml"), Environment::empty());
            assert_eq!(again.as_ref(), Ok(&loaded.config), "the printed file says the same");
        }
        Err(errors) => assert!(!errors.to_string().is_empty(), "a refusal says why"),
    }
}
