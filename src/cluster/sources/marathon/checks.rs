//! Which of an app's health checks looks at which of its ports, as marathon-lb has it. Pure.

use std::sync::Arc;
use std::time::Duration;

use super::wire::{App, HealthCheck};
use crate::labels::ports::MAX_PORTS;
use crate::model::check::{CheckAt, CheckKind, CheckSpec};
use crate::model::task::Checked;

/// The first check that names the port's index, or has a port of its own, which then speaks for every port. One that
/// names neither looks at no port.
pub(super) fn of_port(app: &App, index: usize) -> Option<&HealthCheck> {
    let looks = |check: &&HealthCheck| {
        check.port.is_some_and(|port| port != 0) || check.port_index.is_some_and(|at| usize::from(at) == index)
    };
    app.health_checks.iter().flatten().find(looks)
}

/// What checks the first `count` ports: those whose check speaks plain HTTP from Marathon are HTTP's where nothing else is
/// said.
pub(super) fn checked(app: &App, count: usize) -> Box<[Checked]> {
    let kind = |index| match of_port(app, index).map(|check| check.protocol.as_deref().unwrap_or("HTTP")) {
        None => Checked::No,
        Some("HTTP") => Checked::Http,
        Some("HTTPS" | "MESOS_HTTP" | "MESOS_HTTPS") => Checked::OtherHttp,
        Some(_) => Checked::Other,
    };
    let all: Vec<Checked> = (0..count.min(MAX_PORTS)).map(kind).collect();
    let length = all.iter().rposition(|checked| *checked != Checked::No).map_or(0, |last| last + 1);
    all[..length].into()
}

/// The checks of the first `count` ports, to be made here, too, as marathon-lb lets HAProxy make them. One with a port of
/// its own asks there.
pub(super) fn active(app: &App, count: usize) -> Box<[Option<Arc<CheckSpec>>]> {
    (0..count.min(MAX_PORTS)).map(|index| of_port(app, index).and_then(spec).map(Arc::new)).collect()
}

fn spec(check: &HealthCheck) -> Option<CheckSpec> {
    let kind = match check.protocol.as_deref().unwrap_or("HTTP") {
        "HTTP" | "HTTPS" | "MESOS_HTTP" | "MESOS_HTTPS" => CheckKind::Http,
        "TCP" | "MESOS_TCP" => CheckKind::Tcp,
        _ => return None,
    };
    // A path is sent as it is: one that is none would be another request.
    let path = check.path.as_deref().unwrap_or("/");
    let is_path = path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic());
    let seconds = |seconds: Option<f64>, default: u64| {
        let said = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        said.map_or(Duration::from_secs(default), |said| said.clamp(SHORTEST, LONGEST))
    };
    Some(CheckSpec {
        kind,
        path: if is_path { path.into() } else { "/".into() },
        interval: Some(seconds(check.interval_seconds, 60)),
        timeout: Some(seconds(check.timeout_seconds, 20)),
        fall: Some(check.max_consecutive_failures.unwrap_or(3).saturating_add(1)),
        at: check.port.filter(|port| *port != 0).map_or(CheckAt::Endpoint, CheckAt::Port),
    })
}

/// Whatever an app says, it is asked neither all the time nor never.
const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(checks: &serde_json::Value, expected: &[usize]) {
        let app: App = serde_json::from_value(json!({ "id": "/a", "healthChecks": checks })).unwrap();
        let kinds = checked(&app, 3);
        let http: Vec<usize> = (0..kinds.len()).filter(|index| kinds[*index] == Checked::Http).collect();
        assert_eq!(http, expected, "{checks}");
    }

    #[test]
    fn the_first_check_of_a_port_says_whether_it_speaks_http() {
        check(&json!(null), &[]);
        check(&json!([{ "protocol": "HTTP", "portIndex": 1 }]), &[1]);
        check(&json!([{ "protocol": "HTTP", "portIndex": 9 }]), &[]);
        // One that names no port looks at none.
        check(&json!([{ "protocol": "HTTP" }]), &[]);
        // A port of its own: every port, unless one before it is the port's.
        check(&json!([{ "protocol": "HTTP", "port": 1024 }]), &[0, 1, 2]);
        check(&json!([{ "protocol": "TCP", "portIndex": 1 }, { "protocol": "HTTP", "port": 1024 }]), &[0, 2]);
        check(&json!([{ "protocol": "HTTP", "port": 0, "portIndex": 2 }]), &[2]);
        // Later ones of the same port count for nothing.
        check(&json!([{ "protocol": "TCP", "portIndex": 0 }, { "protocol": "HTTP", "portIndex": 0 }]), &[]);
        for other in ["HTTPS", "MESOS_HTTP", "MESOS_HTTPS", "TCP", "MESOS_TCP", "COMMAND", "http"] {
            check(&json!([{ "protocol": other, "portIndex": 0 }]), &[]);
            let one = json!({ "healthChecks": [{ "protocol": other, "portIndex": 1 }] });
            let kind = if other.contains("HTTP") { Checked::OtherHttp } else { Checked::Other };
            assert_eq!(&*checked(&serde_json::from_value(one).unwrap(), 3), [Checked::No, kind], "{other}");
        }
    }

    #[test]
    fn checks_are_made_as_marathon_makes_them() {
        let of = |check: serde_json::Value| {
            let app: App = serde_json::from_value(json!({ "healthChecks": [check] })).unwrap();
            let specs = active(&app, 2);
            assert_eq!((specs.len(), &specs[1]), (2, &None));
            specs[0].as_deref().cloned()
        };
        let check = json!({ "protocol": "MESOS_HTTP", "portIndex": 0, "path": "/health?x=1", "intervalSeconds": 7,
            "timeoutSeconds": 2.5, "maxConsecutiveFailures": 0 });
        let expected = CheckSpec {
            kind: CheckKind::Http,
            path: "/health?x=1".into(),
            interval: Some(Duration::from_secs(7)),
            timeout: Some(Duration::from_millis(2500)),
            fall: Some(1),
            at: CheckAt::Endpoint,
        };
        assert_eq!(of(check), Some(expected));
        let plain = of(json!({ "protocol": "TCP", "portIndex": 0 })).unwrap();
        assert_eq!((plain.kind, plain.interval, plain.fall), (CheckKind::Tcp, Some(Duration::from_secs(60)), Some(4)));
        assert_eq!(of(json!({ "protocol": "COMMAND", "portIndex": 0 })), None);
        // What is no path and no time does no harm.
        let odd = json!({ "portIndex": 0, "path": "/ HTTP/1.1", "intervalSeconds": 0, "timeoutSeconds": -1 });
        let odd = of(odd).unwrap();
        assert_eq!((&*odd.path, odd.interval, odd.timeout), ("/", Some(SHORTEST), Some(Duration::from_secs(20))));
        let own: App = serde_json::from_value(json!({ "healthChecks": [{ "protocol": "HTTP", "port": 99 }] })).unwrap();
        let at: Vec<_> = active(&own, 2).iter().map(|spec| spec.as_ref().unwrap().at.clone()).collect();
        assert_eq!(at, [CheckAt::Port(99), CheckAt::Port(99)]);
    }
}
