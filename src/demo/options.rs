//! How the embedded cluster is set up: addresses, size, pace.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::app::{AppSpec, default_apps};

/// Where the control listener is unless said otherwise.
pub const DEFAULT_CONTROL: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 18_051);

/// Everything that can be set.
#[derive(Clone, Debug)]
pub struct DemoOptions {
    /// The masters' listeners, at least one; port 0 takes a free one.
    pub masters: Vec<SocketAddr>,
    /// The control listener.
    pub control: SocketAddr,
    /// How many agents there are; each has a loopback address of its own, from 127.0.0.2 on.
    pub agents: u8,
    /// What runs at the start.
    pub apps: Vec<AppSpec>,
    /// Seeds ids and everything else drawn at random.
    pub seed: u64,
    /// Old instances replaced at a time in a roll-out.
    pub deploy_batch: usize,
    /// How long things take.
    pub pace: Pace,
}

/// How long things take in the embedded cluster.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// From STAGING to STARTING, and from STARTING to RUNNING.
    pub launch: Duration,
    /// Between two health checks of a task; the first comes one interval after RUNNING.
    pub health_interval: Duration,
    /// What a task has in flight may go on this long after its grace period.
    pub finish_limit: Duration,
    /// From an agent's last sign of life until the master gives it up.
    pub agent_timeout: Duration,
    /// From a leader's death until another is elected; the others redirect to the dead one meanwhile.
    pub election: Duration,
    /// From the election until the new leader answers; it says 503 meanwhile.
    pub recovery: Duration,
    /// Between the returns of two agents to the new leader; the first is back before it answers.
    pub agent_return: Duration,
    /// Between two heartbeats on a stream.
    pub heartbeat: Duration,
    /// How long an operation waits for instances to become ready.
    pub ready_limit: Duration,
}

impl Default for DemoOptions {
    fn default() -> Self {
        let local = |port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
        Self {
            masters: vec![local(15_050), local(15_060), local(15_070)],
            control: DEFAULT_CONTROL,
            agents: 3,
            apps: default_apps(),
            seed: 1,
            deploy_batch: 1,
            pace: Pace::default(),
        }
    }
}

impl DemoOptions {
    /// What tests start: free ports and everything as fast as it goes.
    pub fn fast() -> Self {
        let free = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
        Self { masters: vec![free; 3], control: free, pace: Pace::fast(), ..Self::default() }
    }
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            launch: Duration::from_millis(400),
            health_interval: Duration::from_secs(1),
            finish_limit: Duration::from_secs(30),
            agent_timeout: Duration::from_secs(4),
            election: Duration::from_secs(3),
            recovery: Duration::from_secs(1),
            agent_return: Duration::from_secs(2),
            heartbeat: Duration::from_secs(15),
            ready_limit: Duration::from_secs(60),
        }
    }
}

impl Pace {
    /// Everything as fast as it goes while each step is still seen.
    pub fn fast() -> Self {
        Self {
            launch: Duration::from_millis(5),
            health_interval: Duration::from_millis(20),
            finish_limit: Duration::from_secs(10),
            agent_timeout: Duration::from_millis(50),
            election: Duration::from_millis(100),
            recovery: Duration::from_millis(100),
            agent_return: Duration::from_millis(100),
            heartbeat: Duration::from_secs(15),
            ready_limit: Duration::from_secs(30),
        }
    }
}
