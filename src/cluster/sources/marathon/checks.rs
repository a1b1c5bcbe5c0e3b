//! Which of an app's health checks looks at which of its ports, as marathon-lb has it. Pure.

use super::wire::{App, HealthCheck};
use crate::labels::ports::MAX_PORTS;

/// The first check that names the port's index, or has a port of its own, which then speaks for every port. One that
/// names neither looks at no port.
pub(super) fn of_port(app: &App, index: usize) -> Option<&HealthCheck> {
    let looks = |check: &&HealthCheck| {
        check.port.is_some_and(|port| port != 0) || check.port_index.is_some_and(|at| usize::from(at) == index)
    };
    app.health_checks.iter().flatten().find(looks)
}

/// The indices of those of the first `count` ports whose check speaks plain HTTP from Marathon: they are HTTP's where
/// nothing else is said.
pub(super) fn http_checked(app: &App, count: usize) -> Box<[u16]> {
    let is_http = |index: &u16| {
        let check = of_port(app, usize::from(*index));
        check.is_some_and(|check| check.protocol.as_deref().is_none_or(|protocol| protocol == "HTTP"))
    };
    let count = u16::try_from(count.min(MAX_PORTS)).unwrap_or(u16::MAX);
    (0..count).filter(is_http).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(checks: serde_json::Value, expected: &[u16]) {
        let app: App = serde_json::from_value(json!({ "id": "/a", "healthChecks": checks })).unwrap();
        assert_eq!(&*http_checked(&app, 3), expected, "{checks}");
    }

    #[test]
    fn the_first_check_of_a_port_says_whether_it_speaks_http() {
        check(json!(null), &[]);
        check(json!([{ "protocol": "HTTP", "portIndex": 1 }]), &[1]);
        check(json!([{ "protocol": "HTTP", "portIndex": 9 }]), &[]);
        // One that names no port looks at none.
        check(json!([{ "protocol": "HTTP" }]), &[]);
        // A port of its own: every port, unless one before it is the port's.
        check(json!([{ "protocol": "HTTP", "port": 1024 }]), &[0, 1, 2]);
        check(json!([{ "protocol": "TCP", "portIndex": 1 }, { "protocol": "HTTP", "port": 1024 }]), &[0, 2]);
        check(json!([{ "protocol": "HTTP", "port": 0, "portIndex": 2 }]), &[2]);
        // Later ones of the same port count for nothing.
        check(json!([{ "protocol": "TCP", "portIndex": 0 }, { "protocol": "HTTP", "portIndex": 0 }]), &[]);
        for other in ["HTTPS", "MESOS_HTTP", "MESOS_HTTPS", "TCP", "MESOS_TCP", "COMMAND", "http"] {
            check(json!([{ "protocol": other, "portIndex": 0 }]), &[]);
        }
    }
}
