//! A small Marathon: documents over HTTP, events over SSE, a leader that moves. It counts what it is asked.
#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use pointsman::config::Config;
use pointsman::config::checked::MarathonConfig;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast;

use super::{Running, get};
use crate::proxy_common::{Backend, body, soon, status};

/// What it knows.
#[derive(Default)]
pub struct State {
    /// Apps with their tasks, by id. A value that is no object stands for a document that is wrong.
    pub apps: BTreeMap<String, Value>,
    /// Statuses of pods, by id.
    pub pods: BTreeMap<String, Value>,
    /// What `/v2/deployments` lists; nothing: this Marathon has no such list.
    pub deployments: Option<Vec<Value>>,
    /// Text in place of the list of apps.
    pub garbage: Option<String>,
    /// A status and text in place of what is at a path, without its query.
    pub instead: BTreeMap<String, (u16, String)>,
    /// The `Authorization` of every request.
    pub credentials: Vec<Option<String>>,
    /// Where it sends those who want events: it is not the leader.
    pub leader: Option<SocketAddr>,
    /// The `Authorization` it wants.
    pub wants: Option<String>,
    /// Every path it was asked for.
    pub asked: Vec<String>,
    /// Does not answer at all.
    pub down: bool,
    /// How long answers about one app take to arrive.
    pub slow: Duration,
}

/// A running Marathon.
pub struct Marathon {
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
    events: broadcast::Sender<Vec<u8>>,
    cut: broadcast::Sender<()>,
    task: tokio::task::JoinHandle<()>,
}

pub const FRAMEWORK: &str = "96d7da70-b731-4cfb-96a7-0ee877af615d-0000";

impl Marathon {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        let (events, cut) = (broadcast::channel(4096).0, broadcast::channel(4).0);
        let (shared, sender, cutter) = (state.clone(), events.clone(), cut.clone());
        let task = tokio::spawn(async move {
            let mut conversations = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                conversations.spawn(converse(stream, shared.clone(), sender.clone(), cutter.clone()));
            }
        });
        Self { address, state, events, cut, task }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Adds or replaces an app.
    pub fn put(&self, app: Value) {
        let id = app["id"].as_str().unwrap_or("/wrong").to_owned();
        self.state().apps.insert(id, app);
    }

    /// Tells all who follow. The data is an object.
    pub fn tell(&self, kind: &str, mut data: Value) {
        data["eventType"] = kind.into();
        self.tell_raw(format!("event: {kind}\r\ndata: {data}\r\n\r\n").as_bytes());
    }

    pub fn tell_raw(&self, bytes: &[u8]) {
        // Nobody may be following.
        let _ = self.events.send(bytes.to_vec());
    }

    /// An app changed: the event that says so.
    pub fn changed(&self, id: &str) {
        self.tell("instance_changed_event", json!({ "runSpecId": id, "condition": "Running" }));
    }

    /// Cuts every stream of events.
    pub fn cut(&self) {
        let _ = self.cut.send(());
    }

    /// How many follow.
    pub fn followers(&self) -> usize {
        self.events.receiver_count()
    }

    /// How often a path that begins like this was asked for.
    pub fn asked(&self, start: &str) -> usize {
        self.state().asked.iter().filter(|path| path.starts_with(start)).count()
    }
}

impl Drop for Marathon {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A task of an app at a backend.
pub fn task(app: &str, number: u32, backend: SocketAddr) -> Value {
    let name = app.trim_start_matches('/').replace('/', "_");
    json!({
        "id": format!("{name}.instance-c9de6033-b669-11e6-a48f-{number:012x}._app.1"),
        "appId": app, "host": "127.0.0.1", "slaveId": "agent-1", "ports": [backend.port()],
        "state": "TASK_RUNNING", "version": "2026-01-01T00:00:00.000Z",
    })
}

/// An app with one port in host networking.
pub fn app(id: &str, service_port: u16, labels: &Value, tasks: &[Value]) -> Value {
    json!({
        "id": id, "labels": labels, "networks": [{ "mode": "host" }],
        "portDefinitions": [{ "port": service_port, "protocol": "tcp", "name": "http" }],
        "healthChecks": [], "tasks": tasks,
    })
}

/// An app for a host, with a task for each backend.
pub fn web(id: &str, host: &str, backends: &[&Backend]) -> Value {
    let tasks = backends.iter().map(|backend| task(id, u32::from(backend.address.port()), backend.address));
    let tasks: Vec<Value> = tasks.collect();
    app(id, 0, &json!({ "HAPROXY_GROUP": "external", "HAPROXY_0_VHOST": host }), &tasks)
}

/// A server whose one source is a Marathon at these addresses.
pub fn following(marathons: &[&Marathon], change: impl FnOnce(&mut Config)) -> Running {
    Running::start(|config| {
        let urls: Vec<String> = marathons.iter().map(|marathon| marathon.url()).collect();
        let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
        let mut source = MarathonConfig::with_urls("marathon", &urls);
        source.max_backoff = Duration::from_millis(50);
        config.marathon.push(source);
        config.server.service_retention = Duration::ZERO;
        change(config);
    })
}

/// Waits until a host answers with this text.
pub async fn answers(server: &Running, host: &str, expected: &str) {
    let wait = async {
        while body(&get(server.http, host, "/").await) != expected {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon(wait).await;
}

/// Waits until a host answers with this status.
pub async fn answers_status(server: &Running, host: &str, expected: u16) {
    let wait = async {
        while status(&get(server.http, host, "/").await) != expected {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon(wait).await;
}

async fn converse(
    mut stream: TcpStream,
    state: Arc<Mutex<State>>,
    events: broadcast::Sender<Vec<u8>>,
    cut: broadcast::Sender<()>,
) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte).await {
            Ok(1) => head.push(byte[0]),
            _ => return,
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let (follow, answer, pause) = {
        let mut state = state.lock().unwrap();
        if state.down {
            return;
        }
        state.asked.push(path.clone());
        let sent = head.lines().find_map(|line| line.strip_prefix("authorization: "));
        state.credentials.push(sent.map(str::to_owned));
        let (follow, answer) = answer(&state, &path, &head);
        (follow, answer, if path.starts_with("/v2/apps/") { state.slow } else { Duration::ZERO })
    };
    tokio::time::sleep(pause).await;
    if !follow {
        let _ = stream.write_all(answer.as_bytes()).await;
        return;
    }
    let (mut events, mut cut) = (events.subscribe(), cut.subscribe());
    if stream.write_all(answer.as_bytes()).await.is_err() {
        return;
    }
    let mut gone = [0];
    loop {
        tokio::select! {
            event = events.recv() => match event {
                Ok(bytes) => if stream.write_all(&bytes).await.is_err() { return },
                Err(_) => return,
            },
            _ = cut.recv() => return,
            _ = stream.read(&mut gone) => return,
        }
    }
}

/// Whether the stream of events follows, and what is sent.
fn answer(state: &State, path: &str, head: &str) -> (bool, String) {
    let plain = |status: &str, body: &str| {
        (false, format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len()))
    };
    if let Some(wanted) = &state.wants {
        let sent = head.lines().find_map(|line| line.strip_prefix("authorization: "));
        if sent != Some(wanted) {
            return plain("401 Unauthorized", "{}");
        }
    }
    let name = path.split('?').next().unwrap_or_default();
    if let Some((status, text)) = state.instead.get(name) {
        return plain(&format!("{status} Instead"), text);
    }
    match name {
        "/v2/info" => {
            let info = json!({ "name": "marathon", "frameworkId": FRAMEWORK, "marathon_config": {
                "framework_name": "marathon", "mesos_role": "slave_public" } });
            plain("200 OK", &info.to_string())
        }
        "/v2/events" => match state.leader {
            Some(leader) => {
                let location = format!("http://{leader}{path}");
                (
                    false,
                    format!(
                        "HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                    ),
                )
            }
            None => {
                (true, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n".to_owned())
            }
        },
        "/v2/apps" => match &state.garbage {
            Some(garbage) => plain("200 OK", garbage),
            None => {
                let apps: Vec<&Value> = state.apps.values().collect();
                plain("200 OK", &json!({ "apps": apps }).to_string())
            }
        },
        "/v2/deployments" => match &state.deployments {
            Some(all) => plain("200 OK", &json!(all).to_string()),
            None => plain("404 Not Found", r#"{"message":"does not exist"}"#),
        },
        "/v2/pods::status" => plain("200 OK", &json!(state.pods.values().collect::<Vec<_>>()).to_string()),
        _ => {
            let app = name.strip_prefix("/v2/apps").and_then(|id| state.apps.get(id));
            let pod = name.strip_prefix("/v2/pods").and_then(|id| state.pods.get(id.strip_suffix("::status")?));
            match (app, pod) {
                (Some(app), _) => plain("200 OK", &json!({ "app": app }).to_string()),
                (None, Some(pod)) => plain("200 OK", &pod.to_string()),
                (None, None) => plain("404 Not Found", r#"{"message":"does not exist"}"#),
            }
        }
    }
}
