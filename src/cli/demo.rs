//! `pointsman demo`: runs an embedded cluster with everything that serves it, or acts on one that runs.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use super::failure::Failure;
use super::{Output, Verdict};
use crate::config::Config;
use crate::config::checked::{ListenerConfig, LogConfig, MesosConfig};
use crate::demo::control::{self, Command};
use crate::demo::narrate::Addresses;
use crate::demo::options::{DEFAULT_CONTROL, Pace};
use crate::demo::{DemoCluster, DemoOptions, Hooks};
use crate::deploys::record::Deploy;
use crate::server::{Options, start_logging};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Act on the demo that runs: a line as it could be typed there, such as `deploy web` or `scale web 5`
    #[arg(long = "do", value_name = "COMMAND")]
    act: Option<String>,
    /// Roll out the next version of an app on the demo that runs
    #[arg(long, value_name = "APP", conflicts_with = "act")]
    deploy: Option<String>,
    /// DNS over UDP and TCP
    #[arg(long, value_name = "ADDRESS", default_value_t = local(15_353))]
    dns: SocketAddr,
    /// HTTP
    #[arg(long, value_name = "ADDRESS", default_value_t = local(18_081))]
    proxy: SocketAddr,
    /// The admin API
    #[arg(long = "api", value_name = "ADDRESS", default_value_t = local(18_080))]
    api: SocketAddr,
    /// The masters, by commas
    #[arg(long, value_name = "ADDRESSES", value_delimiter = ',')]
    masters: Vec<SocketAddr>,
    /// What acts on the demo
    #[arg(long, value_name = "ADDRESS", default_value_t = DEFAULT_CONTROL)]
    control: SocketAddr,
    /// Agents of the cluster
    #[arg(long, value_name = "N", default_value_t = 3)]
    agents: u8,
    /// Worker threads; 0: one a core
    #[arg(long, value_name = "N", default_value_t = 0)]
    workers: usize,
    /// Let everything happen as fast as it goes: for scripts rather than for watching
    #[arg(long)]
    fast: bool,
    /// Log level
    #[arg(long, value_name = "LEVEL", default_value = "warn")]
    log: String,
}

pub(super) fn run(arguments: &Arguments, output: &mut Output<'_>) -> Result<Verdict, Failure> {
    let line = arguments.act.clone().or_else(|| arguments.deploy.as_ref().map(|app| format!("deploy {app}")));
    if let Some(line) = line {
        return act(arguments, &line, output);
    }
    let log = LogConfig { level: arguments.log.clone(), ..LogConfig::default() };
    start_logging(&log).map_err(|error| Failure::Usage(format!("--log: {error}")))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("demo")
        .enable_all()
        .build()
        .map_err(program)?;
    runtime.block_on(async {
        let cluster = DemoCluster::start(options(arguments)).await.map_err(program)?;
        let config = config(arguments, cluster.masters());
        let server = tokio::task::block_in_place(|| super::serve::start(config, Options::default()))?;
        let addresses = Addresses {
            dns: server.addresses().dns.first().copied().unwrap_or(arguments.dns),
            proxy: server.addresses().proxy.first().copied().unwrap_or(arguments.proxy),
            admin: server.addresses().admin.unwrap_or(arguments.api),
            orders: socket(arguments.api),
            zone: ZONE.into(),
        };
        let (say, lines) = crate::demo::run::lines();
        let deploys = tokio::spawn(tell_deploys(server.deploys().clone(), say.clone()));
        let versions = tokio::spawn(tell_versions(server.table().clone(), say));
        let told = crate::demo::run(cluster, Hooks { addresses, lines }, |line| {
            // Whoever listens may have gone; the demo ends with its signals, not with its reader.
            let _ = writeln!(output.out, "{line}").and_then(|()| output.out.flush());
        })
        .await;
        for telling in [versions, deploys] {
            telling.abort();
            let _ = telling.await;
        }
        tokio::task::block_in_place(|| server.stop(std::time::Duration::from_secs(2)));
        told.map_err(program)
    })?;
    Ok(Verdict::Positive)
}

/// A line for each new table: its version, and what led to it.
async fn tell_versions(
    table: std::sync::Arc<crate::table::handle::TableHandle>,
    say: tokio::sync::mpsc::Sender<String>,
) {
    let mut generations = table.watch();
    let mut told = table.load().generation;
    while generations.changed().await.is_ok() {
        let lines: Vec<String> = {
            let history = table.history();
            let news = history.iter().filter(|version| version.table.generation > told);
            let line = |version: &crate::table::history::Version| {
                format!("table {}: {}", version.table.generation, version.record.causes.join("; "))
            };
            news.map(line).collect()
        };
        told = *generations.borrow();
        for line in lines {
            // A reader that is too slow misses lines rather than holding the demo up.
            let _ = say.try_send(line);
        }
    }
}

/// A line for each deploy that is over, with what was lost meanwhile.
async fn tell_deploys(ledger: crate::deploys::run::SharedLedger, say: tokio::sync::mpsc::Sender<String>) {
    let mut told = std::collections::HashSet::new();
    let mut looks = tokio::time::interval(std::time::Duration::from_millis(200));
    loop {
        looks.tick().await;
        let lines: Vec<String> = {
            let ledger = ledger.lock();
            let over = ledger.deploys().into_iter().filter(|deploy| deploy.ended.is_some());
            over.filter(|deploy| told.insert(deploy.id)).map(deploy_line).collect()
        };
        for line in lines {
            let _ = say.try_send(line);
        }
    }
}

fn deploy_line(deploy: &Deploy) -> String {
    let took = deploy.ended.map(|at| at.since(deploy.began)).unwrap_or_default().as_secs_f64();
    let (service, outcome) = (deploy.service.name(), deploy.outcome.as_str());
    let from: Vec<&str> = deploy.from.iter().map(|version| version.as_str()).collect();
    let from = if from.is_empty() { "nothing".to_owned() } else { from.join(", ") };
    let (lost, of) = (deploy.tally.lost, deploy.tally.requests);
    format!("deploy of {service} from {from} to {}: {outcome} in {took:.1} s, lost: {lost} of {of}", deploy.to)
}

/// The zone of the demo's names.
const ZONE: &str = "mesos";

fn options(arguments: &Arguments) -> DemoOptions {
    let defaults = DemoOptions::default();
    DemoOptions {
        masters: if arguments.masters.is_empty() { defaults.masters } else { arguments.masters.clone() },
        control: arguments.control,
        agents: arguments.agents,
        pace: if arguments.fast { Pace::fast() } else { defaults.pace },
        ..defaults
    }
}

/// The ordinary configuration, pointed at the embedded masters; loopback addresses are accepted here alone.
fn config(arguments: &Arguments, masters: &[SocketAddr]) -> Config {
    let mut config = Config::default();
    let masters: Vec<String> = masters.iter().map(ToString::to_string).collect();
    let masters: Vec<&str> = masters.iter().map(String::as_str).collect();
    let mut mesos = MesosConfig::with_masters("demo", ZONE, &masters);
    mesos.max_backoff = std::time::Duration::from_secs(2);
    config.mesos.push(mesos);
    let loopback = ipnet::Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8);
    config.upstreams.allowed_networks.push(loopback.into());
    config.dns.listen.push(arguments.dns);
    config.proxy.listeners.push(ListenerConfig::plain("http", arguments.proxy));
    config.admin.listen = Some(arguments.api);
    // What changes something goes by a socket: `pointsman drain` can be tried.
    config.admin.socket = Some(socket(arguments.api));
    if arguments.workers > 0 {
        config.server.workers = arguments.workers;
    }
    config
}

/// Where the demo takes orders: two demos have two sockets.
fn socket(api: SocketAddr) -> PathBuf {
    std::env::temp_dir().join(format!("pointsman-demo-{}.sock", api.port()))
}

fn act(arguments: &Arguments, line: &str, output: &mut Output<'_>) -> Result<Verdict, Failure> {
    let command: Command = line.parse().map_err(|error| Failure::Usage(format!("{error}")))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(program)?;
    let said = runtime.block_on(control::send(arguments.control, &command))?;
    writeln!(output.out, "{said}")?;
    Ok(Verdict::Positive)
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

fn program(error: impl std::fmt::Display) -> Failure {
    Failure::Program(error.to_string())
}
