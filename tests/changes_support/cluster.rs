//! The cluster: a master that speaks the operator API, tasks that are places where one of a few real servers listens,
//! and the truth about who has which place.
//!
//! Every address of 127.0.0.0/8 leads to this machine, so that a server on some ports of all of them is there for as
//! many tasks as there are agents times ports.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use pointsman::cluster::sources::mesos::wire;
use pointsman::demo::app::AppSpec;
use pointsman::demo::cluster::{ClusterModel, TaskState};
use pointsman::demo::feed::Feed;
use pointsman::demo::master::Masters;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// Ports that the servers listen on.
const PORTS: usize = 50;
/// How long after an endpoint's end an answer may still come from it: events are on their way, and machines are busy.
pub const GRACE: Duration = Duration::from_secs(5);

/// The cluster.
pub struct Cluster {
    feed: Arc<Feed>,
    masters: Masters,
    truth: Mutex<Truth>,
}

struct Truth {
    apps: Vec<App>,
    /// Places that nobody has, the one that was free longest first.
    free: VecDeque<(Arc<str>, SocketAddr)>,
    random: fastrand::Rng,
    /// Places that tasks were given so far.
    given_out: usize,
}

struct App {
    spec: AppSpec,
    /// Tasks that run, the oldest first.
    running: VecDeque<(String, Arc<str>, SocketAddr)>,
    /// When the places that it had were given up.
    ended: HashMap<SocketAddr, Instant>,
}

impl Cluster {
    /// So many apps with so many tasks each. Must be called within a runtime.
    pub async fn start(apps: usize, tasks: usize) -> Arc<Self> {
        let ports = serve();
        let mut model = ClusterModel::new(1);
        model.connect_framework();
        let mut free = VecDeque::new();
        // A quarter more places than tasks: one that was given up is not taken at once.
        for agent in 0..(apps * tasks * 5 / 4).div_ceil(ports.len()) + 1 {
            let [high, low] = u16::try_from(agent).unwrap().to_be_bytes();
            let ip = Ipv4Addr::new(127, 1, high, low);
            let (id, _) = model.add_agent(&format!("agent-{agent}.test"), IpAddr::V4(ip));
            let id: Arc<str> = id.into();
            free.extend(ports.iter().map(|port| (id.clone(), SocketAddr::V4(SocketAddrV4::new(ip, *port)))));
        }
        let mut truth = Truth { apps: Vec::new(), free, random: fastrand::Rng::with_seed(1), given_out: 0 };
        let now = pointsman::model::time::Timestamp::now();
        for number in 0..apps {
            truth.apps.push(App::new(&format!("app-{number}")));
            for _ in 0..tasks {
                truth.launch(&mut model, number, now);
            }
        }
        let feed = Arc::new(Feed::new(model));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let id = "00000000-0000-4000-8000-000000000001".to_owned();
        let masters = Masters::start(feed.clone(), vec![(listener, address)], vec![id], Duration::from_secs(15));
        Arc::new(Self { feed, masters, truth: Mutex::new(truth) })
    }

    /// Where its master listens.
    pub fn master(&self) -> SocketAddr {
        self.masters.addresses()[0]
    }

    /// The host of an app.
    pub fn host(app: usize) -> String {
        format!("app-{app}.test")
    }

    /// One app gets a new task and loses its oldest: two changes.
    pub fn change(&self) {
        let mut truth = self.truth.lock().unwrap();
        self.feed.change(|model, now| {
            let count = truth.apps.len();
            let app = truth.random.usize(..count);
            let mut events = truth.launch(model, app, now);
            events.extend(truth.end_oldest(model, app, now));
            events
        });
    }

    /// A new app with one task; its number.
    pub fn add_app(&self) -> usize {
        let mut truth = self.truth.lock().unwrap();
        let number = truth.apps.len();
        truth.apps.push(App::new(&format!("app-{number}")));
        self.feed.change(|model, now| truth.launch(model, number, now));
        number
    }

    /// Ends the only task of an app that [`Cluster::add_app`] made.
    pub fn end_app(&self, app: usize) {
        let mut truth = self.truth.lock().unwrap();
        self.feed.change(|model, now| truth.end_oldest(model, app, now));
    }

    /// Which apps have, or had a moment ago, a task at an address: for the message of a test that fails.
    pub fn whose(&self, ip: IpAddr) -> String {
        let truth = self.truth.lock().unwrap();
        let mut owners = Vec::new();
        for (number, app) in truth.apps.iter().enumerate() {
            if app.running.iter().any(|(.., place)| place.ip() == ip) {
                owners.push(format!("app {number}"));
            }
            let ended = app.ended.iter().filter(|(place, _)| place.ip() == ip);
            owners.extend(ended.map(|(_, ended)| format!("app {number} until {:?} ago", ended.elapsed())));
        }
        format!("of {} places given out: {}", truth.given_out, owners.join(", "))
    }

    /// Whether an app has, or had a moment before `asked`, a task at this address; the port may be unknown.
    pub fn is_right(&self, app: usize, ip: IpAddr, port: Option<u16>, asked: Instant) -> bool {
        let truth = self.truth.lock().unwrap();
        let app = &truth.apps[app];
        let is_it = |place: &SocketAddr| place.ip() == ip && port.is_none_or(|port| place.port() == port);
        app.running.iter().any(|(.., place)| is_it(place))
            || app.ended.iter().any(|(place, ended)| is_it(place) && *ended + GRACE > asked)
    }
}

impl App {
    fn new(name: &str) -> Self {
        let host = format!("{name}.test");
        let labels = [("HAPROXY_GROUP", "external"), ("HAPROXY_0_VHOST", host.as_str())];
        let spec = AppSpec { checked: false, ..AppSpec::http(name, 1, &labels) };
        Self { spec, running: VecDeque::new(), ended: HashMap::new() }
    }
}

impl Truth {
    fn launch(
        &mut self,
        model: &mut ClusterModel,
        app: usize,
        now: pointsman::model::time::Timestamp,
    ) -> Vec<wire::Event> {
        let (agent, place) = self.free.pop_front().expect("there are more places than tasks");
        self.given_out += 1;
        let app = &mut self.apps[app];
        let (id, mut events) = model.launch(&app.spec, &agent, place.port()).unwrap();
        events.extend(model.update(&id, TaskState::Running, None, now));
        app.ended.remove(&place);
        app.running.push_back((id, agent, place));
        events
    }

    fn end_oldest(
        &mut self,
        model: &mut ClusterModel,
        app: usize,
        now: pointsman::model::time::Timestamp,
    ) -> Vec<wire::Event> {
        let app = &mut self.apps[app];
        let Some((id, agent, place)) = app.running.pop_front() else { return Vec::new() };
        app.ended.retain(|_, ended| ended.elapsed() < 2 * GRACE);
        app.ended.insert(place, Instant::now());
        self.free.push_back((agent, place));
        model.update(&id, TaskState::Killed, None, now)
    }
}

/// Starts the servers behind all tasks; their ports. They have a thread of their own: no answer waits for what the cluster
/// does, which would be taken for the program's.
fn serve() -> Vec<u16> {
    let listeners: Vec<std::net::TcpListener> = (0..PORTS)
        .map(|_| {
            let port = super::super::common::ports::unused().port();
            let listener = std::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap();
            listener.set_nonblocking(true).unwrap();
            listener
        })
        .collect();
    let ports = listeners.iter().map(|listener| listener.local_addr().unwrap().port()).collect();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            for listener in listeners {
                let listener = TcpListener::from_std(listener).unwrap();
                tokio::spawn(async move {
                    while let Ok((stream, _)) = listener.accept().await {
                        tokio::spawn(answer(stream));
                    }
                });
            }
            // As long as the program of the test.
            std::future::pending::<()>().await;
        });
    });
    ports
}

/// Says at which address a request arrived. Requests have no content.
async fn answer(stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let place = stream.local_addr()?.to_string();
    let reply = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{place}", place.len());
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    loop {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        if line == "\r\n" {
            stream.write_all(reply.as_bytes()).await?;
        }
    }
}
