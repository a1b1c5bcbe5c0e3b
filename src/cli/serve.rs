//! `pointsman serve`: runs the program.

use std::path::PathBuf;

use super::Verdict;
use super::failure::Failure;
use crate::server::signals::{Request, Signals};
use crate::server::{Options, Server, notify, start_logging};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The configuration file
    #[arg(long, value_name = "FILE", default_value = "/etc/pointsman/pointsman.toml")]
    config: PathBuf,
}

pub(super) fn run(arguments: &Arguments) -> Result<Verdict, Failure> {
    let config = crate::config::load(&arguments.config).map_err(|errors| Failure::Usage(errors.to_string()))?;
    let log = start_logging(&config.log).map_err(|error| Failure::Usage(format!("log.level: {error}")))?;
    let inherited = notify::Inherited::take_all();
    let server = start(config, Options { config_path: Some(arguments.config.clone()), log: Some(log), inherited })?;
    notify::ready();
    wait(&server)?;
    notify::stopping();
    // A reload may have changed it.
    let drain_time = server.table().load().config.server.drain_time;
    stop(server, drain_time)?;
    Ok(Verdict::Positive)
}

/// Starts the server; what goes wrong is the user's to mend.
pub(super) fn start(config: crate::config::Config, options: Options) -> Result<Server, Failure> {
    let server = Server::start(config, options).map_err(|error| Failure::Program(error.to_string()))?;
    let addresses = server.addresses();
    tracing::info!(dns = ?addresses.dns, proxy = ?addresses.proxy, admin = ?addresses.admin, "serving");
    Ok(server)
}

/// Waits for the signal to stop; SIGHUP reads the configuration again.
fn wait(server: &Server) -> Result<(), Failure> {
    runtime()?.block_on(async {
        let mut signals = Signals::take().map_err(program)?;
        while signals.next().await == Request::Reload {
            server.reloader().reload().await;
        }
        Ok(())
    })
}

/// Stops with draining; a second signal gives up what is still in flight.
fn stop(server: Server, drain_time: std::time::Duration) -> Result<(), Failure> {
    tracing::info!(drain_time = ?drain_time, "stopping; a second signal ends at once");
    let runtime = runtime()?;
    let hurry = server.hurry_handle();
    runtime.block_on(async {
        let mut signals = Signals::take().map_err(program)?;
        let mut stopped = tokio::task::spawn_blocking(move || server.stop(drain_time));
        loop {
            tokio::select! {
                ended = &mut stopped => return ended.map_err(|error| Failure::Program(error.to_string())),
                request = signals.next() => if request == Request::Stop {
                    hurry.now();
                },
            }
        }
    })?;
    tracing::info!("stopped");
    Ok(())
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(program)
}

fn program(error: impl std::fmt::Display) -> Failure {
    Failure::Program(error.to_string())
}
