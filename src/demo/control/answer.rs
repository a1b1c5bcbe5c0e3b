//! The control listener's answers.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, HeaderMap, HeaderValue, ORIGIN};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::{COMMANDS, Command, query_value};
use crate::demo::feed::Feed;
use crate::demo::master::Masters;
use crate::demo::scheduler::agents::Loss;
use crate::demo::scheduler::{Scheduler, SchedulerError};
use crate::demo::serve::Answers;

/// Answers `GET /demo` and `POST /demo/…`.
#[derive(Clone, Debug)]
pub(in crate::demo) struct Control {
    feed: Arc<Feed>,
    masters: Arc<Masters>,
    scheduler: Arc<Scheduler>,
}

impl Answers for Control {
    type Body = Full<Bytes>;

    async fn answer(&self, _client: SocketAddr, request: Request<Incoming>) -> Response<Full<Bytes>> {
        if !is_local(request.headers()) {
            let text = "only for this machine: use a loopback address as the host, and no web page's request";
            return answer(StatusCode::FORBIDDEN, &json!({ "error": text }));
        }
        let uri = request.uri();
        let query = uri.query().unwrap_or_default();
        match (request.method(), uri.path()) {
            (&Method::GET, "/demo") => answer(StatusCode::OK, &self.overview()),
            (&Method::POST, path) => {
                let verb = path.strip_prefix("/demo/").unwrap_or_default();
                match Command::from_parts(verb, |name| query_value(query, name)) {
                    Some(command) => self.run(command).await,
                    None => answer(StatusCode::BAD_REQUEST, &json!({ "error": format!("commands are {COMMANDS}") })),
                }
            }
            (_, "/demo") => answer(StatusCode::METHOD_NOT_ALLOWED, &json!({ "error": "GET /demo shows the cluster" })),
            _ => answer(StatusCode::NOT_FOUND, &json!({ "error": "GET /demo, or POST /demo/<command>" })),
        }
    }
}

impl Control {
    pub(in crate::demo) fn new(feed: Arc<Feed>, masters: Arc<Masters>, scheduler: Arc<Scheduler>) -> Self {
        Self { feed, masters, scheduler }
    }

    async fn run(&self, command: Command) -> Response<Full<Bytes>> {
        match self.scheduler.run(command).await {
            Ok(done) => answer(StatusCode::OK, &json!({ "done": done })),
            Err(error) => answer(status(&error), &json!({ "error": error.to_string() })),
        }
    }

    fn overview(&self) -> Value {
        let apps: Vec<Value> = self
            .scheduler
            .apps()
            .iter()
            .map(|app| json!({ "app": app.name, "version": app.version_name(), "instances": app.instances }))
            .collect();
        let (agents, tasks) = self.feed.read(|model| {
            let agents: Vec<Value> = model.agents().values().map(|agent| {
                let standing = format!("{:?}", agent.standing).to_lowercase();
                json!({ "agent": agent.hostname, "address": agent.ip, "standing": standing, "connected": agent.connected })
            }).collect();
            let tasks: Vec<Value> = model.tasks().iter().map(|(id, task)| {
                json!({
                    "task": id, "app": task.app, "version": format!("v{}", task.version), "agent": task.agent,
                    "state": task.state.name(), "healthy": task.healthy, "address": self.scheduler.address(id),
                })
            }).collect();
            (agents, tasks)
        });
        let leader = self.masters.leader().map(|leader| self.masters.addresses()[leader]);
        json!({ "masters": self.masters.addresses(), "leader": leader, "apps": apps, "agents": agents, "tasks": tasks })
    }
}

impl Scheduler {
    /// Does what a command says; returns what was done, in words.
    ///
    /// # Errors
    /// See [`SchedulerError`].
    pub async fn run(&self, command: Command) -> Result<String, SchedulerError> {
        Ok(match command {
            Command::Scale { app, instances } => {
                self.scale(&app, instances).await?;
                format!("{app} has {instances} instances")
            }
            Command::Deploy { app } => {
                self.deploy(&app).await?;
                format!("{app} is rolled out")
            }
            Command::Crash { app } => format!("{} crashes", self.crash(&app)?),
            Command::Sicken { app } => format!("{} fails its health checks from now on", self.set_sick(&app, true)?),
            Command::Heal { app } => format!("{} passes its health checks from now on", self.set_sick(&app, false)?),
            Command::KillAgent { agent } => {
                format!("{} is given up; its tasks go on", self.kill_agent(agent.as_deref(), Loss::Agent).await?)
            }
            Command::KillMachine { agent } => {
                format!("{} is given up, with its tasks", self.kill_agent(agent.as_deref(), Loss::Machine).await?)
            }
            Command::ReviveAgent { agent } => format!("{} is back", self.revive_agent(agent.as_deref())?),
            Command::RemoveAgent { agent } => format!("{} is removed", self.remove_agent(agent.as_deref())?),
            Command::FailOver => format!("{} leads and knows all agents again", self.fail_over().await?),
        })
    }
}

fn status(error: &SchedulerError) -> StatusCode {
    match error {
        SchedulerError::UnknownApp { .. }
        | SchedulerError::UnknownTask { .. }
        | SchedulerError::UnknownAgent { .. } => StatusCode::NOT_FOUND,
        SchedulerError::TooMany { .. } => StatusCode::BAD_REQUEST,
        SchedulerError::Model(_) | SchedulerError::NotReady { .. } => StatusCode::CONFLICT,
        SchedulerError::Listen { .. } | SchedulerError::Stopping => StatusCode::SERVICE_UNAVAILABLE,
    }
}

fn is_local(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(HOST).and_then(|host| host.to_str().ok()) else { return false };
    let name = host.parse::<SocketAddr>().map(|address| address.ip()).or_else(|_| host.parse::<IpAddr>());
    let named = host.split(':').next() == Some("localhost");
    !headers.contains_key(ORIGIN) && (named || name.is_ok_and(|ip| ip.is_loopback()))
}

fn answer(status: StatusCode, value: &Value) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::from(format!("{value}\n")));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(host: &'static str, expected: bool) {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_static(host));
        assert_eq!(is_local(&headers), expected, "{host}");
        headers.insert(ORIGIN, HeaderValue::from_static("http://localhost"));
        assert!(!is_local(&headers), "a web page's request to {host}");
    }

    #[test]
    fn only_this_machine_acts() {
        local("127.0.0.1:18051", true);
        local("localhost:18051", true);
        local("[::1]:18051", true);
        local("demo.example.com:18051", false);
        local("10.0.0.1", false);
    }
}
