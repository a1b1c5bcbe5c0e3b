//! Asks each server for a name that only this process knows, to see whether it leads back to us: see [`loops`].
//!
//! Once when it is configured, and again at a slow interval, since others change their configuration too. Before that where
//! there is doubt: a server that leads back to us does not answer, and one that comes back may not be what it was.

use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout};

use super::exchange::{Question, secret};
use super::key::Key;
use super::loops;
use super::message::TtlBounds;
use super::resolver::Forwarder;
use super::settings::{Group, Settings};
use crate::dns::wire::record_type;

/// Between two probes of a server that is in no doubt; a quarter more or less, so that workers and instances do not probe
/// together.
const INTERVAL: Duration = Duration::from_secs(300);

/// … and of one that leads back to us.
const LOOP_RECHECK: Duration = Duration::from_secs(60);

/// … and the least, whatever the doubt: a server that is down fails with each question.
const PAUSE: Duration = Duration::from_secs(2);

/// Probes a server as long as these are the settings.
pub(super) async fn watch(forwarder: Weak<Forwarder>, settings: Rc<Settings>, group: Rc<Group>, at: usize) {
    let server = group.servers[at].clone();
    let address = server.config.address;
    let Some(question) = probe(&loops::label(address), &group.zone, settings.bounds()) else { return };
    let mut random = fastrand::Rng::with_seed(secret());
    loop {
        let since = Instant::now();
        // On the heap, for the time that it takes: most of the time nothing is asked.
        let _ = timeout(settings.timeout(), Box::pin(server.ask(&question))).await;
        let interval = if loops::settle(address, since) { LOOP_RECHECK } else { INTERVAL };
        sleep(PAUSE).await;
        let rest = interval.mul_f64(0.75 + random.f64() / 2.0);
        let _ = timeout(rest, group.doubts[at].notified()).await;
        // Not for a configuration that is gone.
        if !forwarder.upgrade().is_some_and(|forwarder| forwarder.runs_on(&settings)) {
            return;
        }
    }
}

/// The question for a name that nobody else answers for: below the zone, or where tests have their names (RFC 6761 §6.2).
fn probe(label: &str, zone: &[u8], bounds: TtlBounds) -> Option<Question> {
    let mut wire = vec![u8::try_from(label.len()).unwrap_or(0)];
    wire.extend_from_slice(label.as_bytes());
    wire.extend_from_slice(if zone.len() > 1 { zone } else { b"\x04test\x00" });
    let key = Key::of_name(&wire, record_type::TXT)?;
    Some(Question { key, bounds, random_case: false })
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use tokio::task::LocalSet;

    use super::super::metrics::ForwardMetrics;
    use super::*;
    use crate::config::checked::{ForwardConfig, UpstreamServer, UpstreamTransport};

    /// A server that never answers, and forwarding to it.
    fn silent() -> (UdpSocket, ForwardConfig) {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let address = socket.local_addr().unwrap();
        let upstreams = vec![UpstreamServer { address, transport: UpstreamTransport::Udp }];
        (socket, ForwardConfig { upstreams, ..ForwardConfig::default() })
    }

    fn probes(socket: &UdpSocket) -> usize {
        let mut buffer = [0; 512];
        std::iter::from_fn(|| socket.recv(&mut buffer).ok()).count()
    }

    #[tokio::test(start_paused = true)]
    async fn servers_are_probed_again_at_a_slow_interval_while_they_are_configured() {
        let (socket, config) = silent();
        let forwarder = Rc::new(Forwarder::new(ForwardMetrics::default()));
        let local = LocalSet::new();
        local.run_until(async { forwarder.configure(&config) }).await;
        local.run_until(sleep(Duration::from_secs(60))).await;
        assert_eq!(probes(&socket), 1, "one at the start");
        local.run_until(sleep(Duration::from_secs(3600))).await;
        let count = probes(&socket);
        assert!((9..=16).contains(&count), "{count} probes in an hour");
        local.run_until(async { forwarder.configure(&ForwardConfig::default()) }).await;
        local.run_until(sleep(Duration::from_secs(3600))).await;
        assert_eq!(probes(&socket), 0, "its configuration is gone");
    }

    #[tokio::test(start_paused = true)]
    async fn a_doubt_brings_the_next_probe_forward_and_many_bring_few() {
        let (socket, config) = silent();
        let settings = Rc::new(Settings::new(&config, &ForwardMetrics::default()));
        let forwarder = Rc::new(Forwarder::new(ForwardMetrics::default()));
        let local = LocalSet::new();
        local.run_until(async { forwarder.configure(&config) }).await;
        // It is the forwarder's own settings that count.
        let group = forwarder.groups().remove(0);
        assert!(!forwarder.runs_on(&settings));
        local.run_until(sleep(Duration::from_secs(30))).await;
        assert_eq!(probes(&socket), 1);
        group.failed(0, Duration::ZERO);
        local.run_until(sleep(Duration::from_secs(30))).await;
        assert_eq!(probes(&socket), 0, "one loss is no doubt");
        for _ in 0..3000 {
            group.failed(0, Duration::ZERO);
            local.run_until(sleep(Duration::from_millis(10))).await;
        }
        let count = probes(&socket);
        assert!((3..=16).contains(&count), "{count} probes in half a minute");
        local.run_until(sleep(Duration::from_secs(30))).await;
        let _ = probes(&socket);
        group.answered(0, Duration::from_millis(1));
        local.run_until(sleep(Duration::from_secs(30))).await;
        assert_eq!(probes(&socket), 1, "it has come back");
        group.answered(0, Duration::from_millis(1));
        local.run_until(sleep(Duration::from_secs(30))).await;
        assert_eq!(probes(&socket), 0);
    }
}
