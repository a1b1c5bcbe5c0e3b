//! Which call a request is.

use http::Method;

use super::reply::ApiError;

/// What a listener serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Everything.
    Api,
    /// Metrics and health alone.
    Metrics,
    /// Mesos-DNS's API and nothing else.
    MesosDns,
}

macro_rules! endpoints {
    ($($(#[$doc:meta])* $name:ident = $template:literal, $allow:literal;)*) => {
        /// A call, without its arguments.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Endpoint { $($(#[$doc])* $name),* }

        impl Endpoint {
            /// Every call.
            #[cfg(test)]
            pub(crate) const ALL: &[Self] = &[$(Self::$name),*];

            /// The path with its arguments in braces: the name in the metrics and in the OpenAPI document.
            pub(crate) fn template(self) -> &'static str {
                match self { $(Self::$name => $template),* }
            }

            /// The methods allowed.
            fn allow(self) -> &'static str {
                match self { $(Self::$name => $allow),* }
            }
        }
    };
}

endpoints! {
    Services = "/v1/services", "GET, HEAD";
    Service = "/v1/services/{service}", "GET, HEAD";
    Tasks = "/v1/tasks", "GET, HEAD";
    Task = "/v1/tasks/{task}", "GET, HEAD";
    Table = "/v1/table", "GET, HEAD";
    History = "/v1/table/history", "GET, HEAD";
    Difference = "/v1/table/diff", "GET, HEAD";
    Version = "/v1/table/{generation}", "GET, HEAD";
    Explain = "/v1/explain", "GET, HEAD";
    Problems = "/v1/problems", "GET, HEAD";
    Sources = "/v1/sources", "GET, HEAD";
    AcceptRemovals = "/v1/sources/{source}/accept-removals", "POST";
    Deploys = "/v1/deploys", "GET, HEAD";
    Deploy = "/v1/deploys/{deploy}", "GET, HEAD";
    Certificates = "/v1/certificates", "GET, HEAD";
    Drains = "/v1/drains", "GET, HEAD";
    DrainTask = "/v1/drains/tasks/{task}", "GET, HEAD, PUT, DELETE";
    DrainAgent = "/v1/drains/agents/{agent}", "GET, HEAD, PUT, DELETE";
    Weights = "/v1/weights/{service}", "GET, HEAD, PUT, DELETE";
    Events = "/v1/events", "GET";
    Config = "/v1/config", "GET, HEAD";
    Log = "/v1/log", "PUT";
    Targets = "/v1/prometheus/targets", "GET, HEAD";
    OpenApi = "/v1/openapi.json", "GET, HEAD";
    Alive = "/healthz", "GET, HEAD";
    Ready = "/readyz", "GET, HEAD";
    Metrics = "/metrics", "GET, HEAD";
}

/// The call that a path means, with its argument still percent-encoded.
pub(crate) fn endpoint(scope: Scope, path: &str) -> Result<(Endpoint, &str), ApiError> {
    let found = match (scope, path) {
        (Scope::MesosDns, _) => None,
        (_, "/healthz") => Some((Endpoint::Alive, "")),
        (_, "/readyz") => Some((Endpoint::Ready, "")),
        (_, "/metrics") => Some((Endpoint::Metrics, "")),
        (Scope::Metrics, _) => None,
        (Scope::Api, path) => path.strip_prefix("/v1/").and_then(api),
    };
    let mend = match scope {
        Scope::Api => "/v1/openapi.json lists every path",
        Scope::MesosDns => "this listener has the paths of Mesos-DNS alone",
        Scope::Metrics => "this listener has /metrics, /healthz and /readyz; the others are on the admin listener",
    };
    found.ok_or_else(|| ApiError::not_found("there is no such path", mend))
}

/// Whether the call has this method.
///
/// # Errors
/// 405 with those it has.
pub(crate) fn check_method(endpoint: Endpoint, method: &Method) -> Result<(), ApiError> {
    let allow = endpoint.allow();
    if allow.split(", ").any(|allowed| allowed == method.as_str()) {
        return Ok(());
    }
    Err(ApiError::method_not_allowed(allow))
}

fn api(path: &str) -> Option<(Endpoint, &str)> {
    let plain = |endpoint| Some((endpoint, ""));
    match path {
        "services" => plain(Endpoint::Services),
        "tasks" => plain(Endpoint::Tasks),
        "table" => plain(Endpoint::Table),
        "table/history" => plain(Endpoint::History),
        "table/diff" => plain(Endpoint::Difference),
        "explain" => plain(Endpoint::Explain),
        "problems" => plain(Endpoint::Problems),
        "sources" => plain(Endpoint::Sources),
        "deploys" => plain(Endpoint::Deploys),
        "certificates" => plain(Endpoint::Certificates),
        "drains" => plain(Endpoint::Drains),
        "events" => plain(Endpoint::Events),
        "config" => plain(Endpoint::Config),
        "log" => plain(Endpoint::Log),
        "prometheus/targets" => plain(Endpoint::Targets),
        "openapi.json" => plain(Endpoint::OpenApi),
        _ => with_argument(path),
    }
}

fn with_argument(path: &str) -> Option<(Endpoint, &str)> {
    let (family, argument) = path.split_once('/')?;
    if argument.is_empty() {
        return None;
    }
    match family {
        // The ids of services and tasks hold slashes.
        "services" => Some((Endpoint::Service, argument)),
        "tasks" => Some((Endpoint::Task, argument)),
        "deploys" if !argument.contains('/') => Some((Endpoint::Deploy, argument)),
        "table" if !argument.contains('/') => Some((Endpoint::Version, argument)),
        "weights" => Some((Endpoint::Weights, argument)),
        "drains" => match argument.split_once('/')? {
            (_, "") => None,
            ("tasks", task) => Some((Endpoint::DrainTask, task)),
            ("agents", agent) => Some((Endpoint::DrainAgent, agent)),
            _ => None,
        },
        "sources" => {
            let name = argument.strip_suffix("/accept-removals")?;
            (!name.is_empty() && !name.contains('/')).then_some((Endpoint::AcceptRemovals, name))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, expected: Option<(Endpoint, &str)>) {
        assert_eq!(endpoint(Scope::Api, path).ok(), expected, "{path}");
    }

    #[test]
    fn paths() {
        check("/v1/services", Some((Endpoint::Services, "")));
        check("/v1/services/", None);
        check("/v1/services/c/n/web/http", Some((Endpoint::Service, "c/n/web/http")));
        check("/v1/table/7", Some((Endpoint::Version, "7")));
        check("/v1/table/diff", Some((Endpoint::Difference, "")));
        check("/v1/table/7/8", None);
        check("/v1/sources/prod/accept-removals", Some((Endpoint::AcceptRemovals, "prod")));
        check("/v1/sources//accept-removals", None);
        check("/v1/sources/prod", None);
        check("/v1/weights/c/f/web/0", Some((Endpoint::Weights, "c/f/web/0")));
        check("/v1/weights/", None);
        check("/v1/drains", Some((Endpoint::Drains, "")));
        check("/v1/drains/tasks/c/f/t", Some((Endpoint::DrainTask, "c/f/t")));
        check("/v1/drains/agents/a", Some((Endpoint::DrainAgent, "a")));
        check("/v1/drains/agents/", None);
        check("/v1/drains/others/a", None);
        check("/healthz", Some((Endpoint::Alive, "")));
        check("/", None);
        check("/v1", None);
        assert!(endpoint(Scope::Metrics, "/v1/services").is_err());
        assert!(endpoint(Scope::Metrics, "/metrics").is_ok());
    }

    #[test]
    fn every_template_leads_to_its_endpoint() {
        for known in Endpoint::ALL {
            assert_eq!(endpoint(Scope::Api, known.template()).map(|(found, _)| found), Ok(*known));
        }
    }

    #[test]
    fn methods() {
        assert!(check_method(Endpoint::Table, &Method::HEAD).is_ok());
        assert!(check_method(Endpoint::Log, &Method::PUT).is_ok());
        assert_eq!(check_method(Endpoint::Log, &Method::GET).unwrap_err().allow, Some("PUT"));
        assert_eq!(check_method(Endpoint::AcceptRemovals, &Method::GET).unwrap_err().allow, Some("POST"));
    }
}
