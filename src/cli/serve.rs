//! `pointsman serve`: runs the program.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Verdict;
use super::failure::Failure;
use crate::admin::ReloadOutcome;
use crate::config::{Config, ConfigErrors};
use crate::server::signals::{Request, Signals};
use crate::server::{ConfigFile, LoadConfig, Options, Server, TakeOver, notices, notify, start_logging};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The configuration file
    #[arg(long, value_name = "FILE", default_value = "/etc/pointsman/pointsman.toml")]
    config: PathBuf,
    /// Run in place of Mesos-DNS with its own file (config.json), as it is
    #[arg(long, value_name = "FILE", conflicts_with = "config")]
    mesos_dns_config: Option<PathBuf>,
    /// Take over from the running process, without losing a request (setting server.hand_over)
    #[arg(long)]
    take_over: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<Verdict, Failure> {
    let file = ConfigFile::follow(arguments.mesos_dns_config.as_ref().unwrap_or(&arguments.config));
    let usage = |errors: ConfigErrors| Failure::Usage(errors.to_string());
    let (path, load, config): (_, LoadConfig, _) = match &arguments.mesos_dns_config {
        None => (&arguments.config, crate::config::load, crate::config::load(&arguments.config).map_err(usage)?),
        // Read for what it says of logging; what it warns of is told once there is a log.
        Some(path) => (path, load_mesos_dns, crate::mesos_dns::load(path).map_err(usage)?.config),
    };
    let log = start_logging(&config.log).map_err(|error| Failure::Usage(format!("log.level: {error}")))?;
    let config = if arguments.mesos_dns_config.is_some() { load(path).map_err(usage)? } else { config };
    let inherited = notify::Inherited::take_all();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(program)?;
    // From here on no signal ends us unprepared: whoever sends one may do so as soon as the process exists.
    let mut signals = {
        let _inside = runtime.enter();
        Signals::take().map_err(program)?
    };
    let take_over = if arguments.take_over { Some(take_over(&config)?) } else { None };
    let is_successor = take_over.is_some();
    let server = start(config, Options { config: Some(file), load, log: Some(log), inherited, take_over })?;
    notices::tell(&server.table().load().config);
    if is_successor {
        notify::taken_over()
    } else {
        notify::ready()
    }
    let ending = runtime.block_on(wait(&server, &mut signals));
    if ending == Ending::Stopped {
        notify::stopping();
    }
    // A reload may have changed it.
    let drain_time = server.table().load().config.server.drain_time;
    tracing::info!(drain_time = ?drain_time, "stopping; a second signal ends at once");
    let stopped = runtime.block_on(stop(server, ending, drain_time, &mut signals));
    // Whatever was given up ends with the process.
    runtime.shutdown_background();
    stopped?;
    tracing::info!("stopped");
    Ok(Verdict::Positive)
}

/// Reads a Mesos-DNS file and logs what is not obeyed.
fn load_mesos_dns(path: &Path) -> Result<Config, ConfigErrors> {
    let loaded = crate::mesos_dns::load(path)?;
    for warning in &loaded.migration.warnings {
        tracing::warn!(option = %warning.option, reason = %warning.reason, "Mesos-DNS option is not obeyed to the letter");
    }
    Ok(loaded.config)
}

/// Starts the server; what goes wrong is the user's to mend.
pub(super) fn start(config: Config, options: Options) -> Result<Server, Failure> {
    let server = Server::start(config, options).map_err(|error| Failure::Program(error.to_string()))?;
    let addresses = server.addresses();
    tracing::info!(dns = ?addresses.dns, dns_tls = ?addresses.dns_tls, dns_https = ?addresses.dns_https, proxy = ?addresses.proxy, admin = ?addresses.admin, mesos_dns = ?addresses.mesos_dns, "serving");
    Ok(server)
}

/// Asks the running process for its sockets.
fn take_over(config: &Config) -> Result<TakeOver, Failure> {
    let path = config.server.hand_over.as_ref().ok_or_else(|| {
        Failure::Usage("--take-over needs the setting server.hand_over, the socket that the running process has".into())
    })?;
    TakeOver::begin(path, config.server.workers.max(1)).map_err(program)
}

/// Why the program ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// It was told to.
    Stopped,
    /// Another process has taken over.
    TakenOver,
}

/// Waits for the signal to stop, or until another process has taken over; SIGHUP reads the configuration again.
async fn wait(server: &Server, signals: &mut Signals) -> Ending {
    let mut taken_over = std::pin::pin!(server.taken_over());
    loop {
        // Cancel safe, both.
        let request = tokio::select! {
            () = &mut taken_over => return Ending::TakenOver,
            request = signals.next() => request,
        };
        if request == Request::Stop {
            return Ending::Stopped;
        }
        notify::reloading();
        let status = server.reloader().reload().await;
        notify::reloaded(status.outcome == ReloadOutcome::Applied);
    }
}

/// Stops with draining; a second signal gives up what is still in flight.
async fn stop(server: Server, ending: Ending, drain_time: Duration, signals: &mut Signals) -> Result<(), Failure> {
    let hurry = server.hurry_handle();
    let mut stopped = tokio::task::spawn_blocking(move || match ending {
        Ending::Stopped => server.stop(drain_time),
        Ending::TakenOver => server.end(drain_time),
    });
    loop {
        // Cancel safe: a signal that is not taken here is taken in the next turn.
        tokio::select! {
            ended = &mut stopped => return ended.map_err(program),
            request = signals.next() => if request == Request::Stop {
                break;
            },
        }
    }
    hurry.now();
    match tokio::time::timeout(LAST_WAIT, stopped).await {
        Ok(ended) => ended.map_err(program),
        Err(_) => {
            tracing::warn!("what did not end in time is given up");
            Ok(())
        }
    }
}

/// What a second signal leaves for storing the state.
const LAST_WAIT: Duration = Duration::from_secs(5);

fn program(error: impl std::fmt::Display) -> Failure {
    Failure::Program(error.to_string())
}
