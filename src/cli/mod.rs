//! The command line, one file a subcommand.
//!
//! Most commands ask a running instance through its admin API. What they print is for people, or JSON with `--json`;
//! what a command comes to is its exit code, see [`EXIT_CODES`].

mod check;
mod client;
mod config;
mod demo;
mod deploys;
mod drain;
mod explain;
mod failure;
mod migrate;
mod problems;
mod resolve;
mod serve;
mod services;
mod show;
mod sources;
mod table;
mod tasks;
mod watch;
mod weight;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use client::Client;
use failure::Failure;

/// Where the socket lies if nothing else is said.
pub const DEFAULT_SOCKET: &str = "/run/pointsman/admin.sock";
/// Where an instance is looked for if there is no socket.
pub const DEFAULT_URL: &str = "http://127.0.0.1:18080";

const EXIT_CODES: &str = "\
Exit codes:
  0  done; the answer is positive
  1  the answer is negative: no such service, task or name, no route, a problem was found
  2  wrong usage, or an invalid configuration file
  3  no instance answers, or it answers with something that is no answer
  4  the instance refuses the command, or cannot do it now
  5  the program itself failed (serve, demo)

Where the instance is: --admin, else the variable POINTSMAN_ADMIN, else the socket
/run/pointsman/admin.sock if it exists, else http://127.0.0.1:18080.
The token's file: --token-file, else the variable POINTSMAN_TOKEN_FILE.";

/// Service discovery and dynamic load balancing for clusters.
#[derive(Debug, Parser)]
#[command(name = "pointsman", version, about, after_help = EXIT_CODES)]
struct Arguments {
    #[command(flatten)]
    instance: Instance,
    /// Print JSON for machines
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

/// Which instance is asked, and how.
#[derive(Debug, Args)]
struct Instance {
    /// The instance to ask: path of its Unix socket, or http(s)://host:port
    #[arg(long, global = true, value_name = "PATH|URL")]
    admin: Option<String>,
    /// File with the token that allows changes over TCP
    #[arg(long, global = true, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// PEM file with the authorities to trust for https
    #[arg(long, global = true, value_name = "FILE", default_value = "/etc/ssl/certs/ca-certificates.crt")]
    ca: PathBuf,
}

impl Instance {
    /// Takes from the environment what the command line leaves open; an empty variable counts as unset.
    fn or_environment(mut self) -> Self {
        #[expect(clippy::disallowed_methods, reason = "the two variables that the help names")]
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        self.admin = self.admin.or_else(|| variable("POINTSMAN_ADMIN").map(|v| v.to_string_lossy().into_owned()));
        self.token_file = self.token_file.or_else(|| variable("POINTSMAN_TOKEN_FILE").map(PathBuf::from));
        self
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run: keep the table, answer DNS and HTTP
    Serve(serve::Arguments),
    /// Run an embedded cluster to look at and play with
    Demo(demo::Arguments),
    /// Check a configuration file
    Check(check::Arguments),
    /// Print the commented sample configuration or the reference of all settings
    Config(config::Arguments),
    /// Print the configuration that does what another program's does
    Migrate(migrate::Arguments),
    /// List services, or show one with its endpoints and routes
    Services(services::Arguments),
    /// List tasks, or show one
    Tasks(tasks::Arguments),
    /// Look a DNS name up in the table
    Resolve(resolve::Arguments),
    /// Say why a URL or a DNS name is answered as it is
    Explain(explain::Arguments),
    /// Follow the changes of the table
    Watch(watch::Arguments),
    /// List what is wrong with tasks, services and sources
    Problems(problems::Arguments),
    /// Show the sources, or accept removals that are held back
    Sources(sources::Arguments),
    /// Take a task or an agent out of service and wait until nothing is in flight there, or list what is out
    Drain(drain::Drain),
    /// Share a service's requests between its versions, or show how they are shared
    Weight(weight::Arguments),
    /// Put a task or an agent back into service
    Undrain(drain::Undrain),
    /// List deploys with what was lost meanwhile, or show one with its endpoints
    Deploys(deploys::Arguments),
    /// Show the table's version, its history, or what differs between two versions
    Table(table::Arguments),
    /// Print the version of this program
    Version,
}

/// What a command that could be carried out comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// Exit code 0.
    Positive,
    /// Exit code 1.
    Negative,
}

/// How a command prints.
struct Output<'a> {
    json: bool,
    out: &'a mut dyn Write,
}

/// Runs the command that the process's arguments name.
pub fn main() -> ExitCode {
    // Usage errors end here with exit code 2, help and version with 0.
    let arguments = Arguments::parse();
    let mut out = io::stdout().lock();
    let result = run(arguments, &mut out).and_then(|verdict| out.flush().map(|()| verdict).map_err(Failure::from));
    match result {
        Ok(Verdict::Positive) => ExitCode::SUCCESS,
        Ok(Verdict::Negative) => ExitCode::from(1),
        // Whoever reads us has seen enough (`| head`): that is no failure.
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(failure) => {
            // Nobody is left to tell where standard error is closed too.
            let _ = writeln!(io::stderr(), "pointsman: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}

fn run(arguments: Arguments, out: &mut dyn Write) -> Result<Verdict, Failure> {
    let Arguments { instance, json, command } = arguments;
    let instance = instance.or_environment();
    let mut output = Output { json, out };
    let client = || Client::new(&instance);
    match command {
        Command::Serve(arguments) => serve::run(&arguments),
        Command::Demo(arguments) => demo::run(&arguments, &mut output),
        Command::Check(arguments) => check::run(&arguments, &mut output),
        Command::Config(arguments) => config::run(&arguments, &mut output),
        Command::Migrate(arguments) => migrate::run(&arguments, &mut output),
        Command::Services(arguments) => services::run(&arguments, &client()?, &mut output),
        Command::Tasks(arguments) => tasks::run(&arguments, &client()?, &mut output),
        Command::Resolve(arguments) => resolve::run(&arguments, &client()?, &mut output),
        Command::Explain(arguments) => explain::run(&arguments, &client()?, &mut output),
        Command::Watch(arguments) => watch::run(&arguments, &client()?, &mut output),
        Command::Problems(arguments) => problems::run(&arguments, &client()?, &mut output),
        Command::Sources(arguments) => sources::run(&arguments, &client()?, &mut output),
        Command::Drain(arguments) => drain::drain(&arguments, &client()?, &mut output),
        Command::Weight(arguments) => weight::run(&arguments, &client()?, &mut output),
        Command::Undrain(arguments) => drain::undrain(&arguments, &client()?, &mut output),
        Command::Deploys(arguments) => deploys::run(&arguments, &client()?, &mut output),
        Command::Table(arguments) => table::run(&arguments, &client()?, &mut output),
        Command::Version => version(&mut output),
    }
}

fn version(output: &mut Output<'_>) -> Result<Verdict, Failure> {
    let version = env!("CARGO_PKG_VERSION");
    if output.json {
        writeln!(output.out, "{}", serde_json::json!({ "version": version }))?;
    } else {
        writeln!(output.out, "pointsman {version}")?;
    }
    Ok(Verdict::Positive)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }
}
