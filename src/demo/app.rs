//! Apps: what the scheduler keeps running.

use std::time::Duration;

/// An app, as Marathon has them: so many equal instances of one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppSpec {
    /// Its id without the leading slash: lower-case letters, digits, `-`.
    pub name: String,
    /// Instances wanted.
    pub instances: usize,
    /// Rises with every roll-out, from 1.
    pub version: u32,
    /// What its instances speak.
    pub protocol: AppProtocol,
    /// Labels beside `version`.
    pub labels: Vec<(String, String)>,
    /// Whether instances are checked; unchecked ones are ready as soon as they run.
    pub checked: bool,
    /// A third of the time its instances fail their checks: the length of that third.
    pub sick_for: Option<Duration>,
    /// How long instances go on serving after they were told to end.
    pub kill_grace: Duration,
}

/// What an instance speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppProtocol {
    /// HTTP/1.1.
    Http,
    /// Bytes that come back as they went.
    TcpEcho,
}

impl AppSpec {
    /// An HTTP app with a health check and these labels.
    pub fn http(name: &str, instances: usize, labels: &[(&str, &str)]) -> Self {
        Self {
            name: name.to_owned(),
            instances,
            version: 1,
            protocol: AppProtocol::Http,
            labels: labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            checked: true,
            sick_for: None,
            kill_grace: Duration::from_secs(3),
        }
    }

    /// The version as tasks say it.
    pub fn version_name(&self) -> String {
        format!("v{}", self.version)
    }

    /// The name of its port.
    pub fn port_name(&self) -> &'static str {
        match self.protocol {
            AppProtocol::Http => "http",
            AppProtocol::TcpEcho => "echo",
        }
    }
}

/// What the demo starts with.
pub fn default_apps() -> Vec<AppSpec> {
    let route = |host| [("HAPROXY_GROUP", "external"), ("HAPROXY_0_VHOST", host)];
    let api = [route("web.demo.localhost").as_slice(), &[("HAPROXY_0_PATH", "/api")]].concat();
    vec![
        AppSpec::http("web", 3, &route("web.demo.localhost")),
        AppSpec::http("api", 2, &api),
        AppSpec { protocol: AppProtocol::TcpEcho, ..AppSpec::http("echo", 1, &[]) },
        AppSpec { sick_for: Some(Duration::from_secs(10)), ..AppSpec::http("sick", 2, &route("sick.demo.localhost")) },
    ]
}
