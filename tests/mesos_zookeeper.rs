//! Leader detection with a real ZooKeeper (Debian package `zookeeper`), which is started on a free port.
//! Skipped, with a message, where there is none.

mod mesos_support;
#[path = "common/ports.rs"]
mod ports;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mesos_support::facts::{Model, Source, config};
use mesos_support::master::{Answer, Body, End, Master};
use mesos_support::recordings::bytes;
use pointsman::cluster::event::Fact;
use pointsman::config::checked::{Masters, MesosConfig, MesosEncoding};
use pointsman::model::network::MastersFacts;
use zookeeper_client as zk;

const JAR: &str = "/usr/share/java/zookeeper.jar";

/// A ZooKeeper of this test; ends with it.
struct ZooKeeper {
    process: Child,
    address: SocketAddr,
    folder: tempfile::TempDir,
}

impl ZooKeeper {
    /// `None` where ZooKeeper or Java is not installed.
    fn start() -> Option<Self> {
        let has_java = Command::new("java").arg("-version").stderr(Stdio::null()).status().is_ok_and(|s| s.success());
        if !Path::new(JAR).exists() || !has_java {
            println!(
                "SKIP: no ZooKeeper ({JAR} and java are needed; Debian packages zookeeper and default-jre-headless)"
            );
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let address = ports::unused();
        let process = launch(folder.path(), address);
        let zookeeper = Self { process, address, folder };
        zookeeper.wait();
        Some(zookeeper)
    }

    /// Waits until it answers.
    fn wait(&self) {
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(60) {
            if let Ok(mut socket) = TcpStream::connect(self.address) {
                let mut answer = String::new();
                socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
                let _ = socket.write_all(b"srvr").and_then(|()| socket.read_to_string(&mut answer));
                if answer.contains("Mode: standalone") {
                    return;
                }
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("ZooKeeper does not answer; its output is in {}", self.folder.path().display());
    }

    fn restart(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        self.process = launch(self.folder.path(), self.address);
        self.wait();
    }
}

impl Drop for ZooKeeper {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn launch(folder: &Path, address: SocketAddr) -> Child {
    let settings = format!(
        "dataDir={}\nclientPort={}\nclientPortAddress={}\ntickTime=500\nadmin.enableServer=false\n4lw.commands.whitelist=srvr\n",
        folder.join("data").display(),
        address.port(),
        address.ip()
    );
    std::fs::write(folder.join("zoo.cfg"), settings).unwrap();
    let log = std::fs::File::create(folder.join("log")).unwrap();
    Command::new("java")
        .args(["-Xmx128m", "-cp", JAR, "org.apache.zookeeper.server.quorum.QuorumPeerMain"])
        .arg(folder.join("zoo.cfg"))
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .expect("java runs")
}

/// The nodes that masters would make.
struct Nodes {
    client: zk::Client,
    acls: zk::Acls<'static>,
}

impl Nodes {
    async fn connect(address: SocketAddr) -> Self {
        Self { client: zk::Client::connect(&address.to_string()).await.unwrap(), acls: zk::Acls::anyone_all() }
    }

    /// What they make as this user is that user's alone.
    async fn connect_as(address: SocketAddr, auth: &str) -> Self {
        let connector = zk::Client::connector().with_auth("digest", auth.as_bytes());
        Self { client: connector.connect(&address.to_string()).await.unwrap(), acls: zk::Acls::creator_all() }
    }

    async fn make_path(&self) {
        let options = zk::CreateMode::Persistent.with_acls(self.acls);
        self.client.create("/mesos", b"", &options).await.unwrap();
        self.client.create("/mesos/log_replicas", b"", &options).await.unwrap();
    }

    /// Adds a master's node, as recorded but for its address. Gives its path.
    async fn add(&self, master: SocketAddr) -> String {
        let value = String::from_utf8(bytes("zookeeper/znode-A-alone-json.info_0000000001")).unwrap();
        let value = value.replace("5050", &master.port().to_string());
        let options = zk::CreateMode::EphemeralSequential.with_acls(self.acls);
        let (_, sequence) = self.client.create("/mesos/json.info_", value.as_bytes(), &options).await.unwrap();
        format!("/mesos/json.info_{sequence}")
    }

    async fn remove(&self, path: &str) {
        self.client.delete(path, None).await.unwrap();
    }
}

fn populated() -> Master {
    let stream =
        || Answer::Stream(Body::by_record(&bytes("zookeeper/kill9-subscribe-new-leader.recordio"), true, End::Hold));
    Master::start(vec![stream(), stream(), stream()], None)
}

fn watching(address: SocketAddr) -> MesosConfig {
    let servers = vec![address.to_string()];
    MesosConfig {
        masters: Masters::ZooKeeper { servers, path: "/mesos".into(), auth: None },
        ..config(&[], MesosEncoding::Json)
    }
}

fn masters(facts: &[Fact]) -> Option<&MastersFacts> {
    facts.iter().rev().find_map(|fact| match fact {
        Fact::Masters(masters) => Some(masters),
        _ => None,
    })
}

/// Runs the ZooKeeper client's own tasks.
struct OnRuntime(tokio::runtime::Handle);

impl spawns_core::Spawn for OnRuntime {
    fn spawn(&self, task: spawns_core::Task) {
        self.0.spawn(Box::into_pin(task.future));
    }
}

#[test]
fn the_leader_is_followed_from_change_to_change() {
    let Some(mut zookeeper) = ZooKeeper::start() else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let spawner = OnRuntime(runtime.handle().clone());
    let _scope = spawns_core::enter(&spawner);
    // Neither the order of their nodes nor the leader's place is that of their addresses.
    let mut all = [populated(), populated(), populated(), populated()];
    all.sort_by_key(|master| std::cmp::Reverse(master.address));
    let [first, second, beside, third] = all;

    // Before any master there is no path.
    let mut source = Source::start(watching(zookeeper.address));
    let loss = source.next_loss();
    assert!(loss.contains("no node /mesos"), "{loss}");

    // Two masters come, the first one leads. It is the first of the list too, whatever the addresses are.
    let nodes = runtime.block_on(Nodes::connect(zookeeper.address));
    runtime.block_on(nodes.make_path());
    let node = runtime.block_on(nodes.add(first.address));
    let facts = source.until(|fact| matches!(fact, Fact::Live));
    assert_eq!(masters(&facts).unwrap().leader, Some(first.address));
    assert_eq!(Model::of(&facts).tasks.len(), 6);
    runtime.block_on(nodes.add(second.address));
    let facts = source.until(|fact| matches!(fact, Fact::Masters(_)));
    let both = vec![first.address, second.address];
    assert_eq!(masters(&facts).unwrap(), &MastersFacts { leader: Some(first.address), masters: both });
    let beside_node = runtime.block_on(nodes.add(beside.address));
    let facts = source.until(|fact| matches!(fact, Fact::Masters(_)));
    let by_address = vec![first.address, beside.address, second.address];
    assert_eq!(masters(&facts).unwrap(), &MastersFacts { leader: Some(first.address), masters: by_address });
    runtime.block_on(nodes.remove(&beside_node));
    source.until(|fact| matches!(fact, Fact::Masters(_)));

    // The leader's node goes while its stream stays open: it hangs. The next one is followed at once.
    runtime.block_on(nodes.remove(&node));
    let facts = source.until(|fact| matches!(fact, Fact::Live));
    let alone = vec![second.address];
    assert_eq!(masters(&facts).unwrap(), &MastersFacts { leader: Some(second.address), masters: alone });
    let losses = mesos_support::facts::losses(&facts);
    assert_eq!(losses, [format!("the leader changed from {} to {}", first.address, second.address)]);

    // ZooKeeper is away for a moment: the stream goes on, and later changes are seen.
    zookeeper.restart();
    drop(nodes);
    let nodes = runtime.block_on(Nodes::connect(zookeeper.address));
    runtime.block_on(nodes.add(third.address));
    let facts = source.until(|fact| matches!(fact, Fact::Live));
    assert_eq!(masters(&facts).unwrap().leader, Some(third.address));
    source.stop();
}

#[test]
fn nodes_that_are_their_makers_alone_are_read_with_its_name_and_password() {
    let Some(zookeeper) = ZooKeeper::start() else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let spawner = OnRuntime(runtime.handle().clone());
    let _scope = spawns_core::enter(&spawner);
    let leader = populated();
    let nodes = runtime.block_on(Nodes::connect_as(zookeeper.address, "mesos:s3cret"));
    runtime.block_on(nodes.make_path());
    runtime.block_on(nodes.add(leader.address));

    // As the file says it: the setting, its check, the source.
    let configured = |auth: &str| {
        let text = format!(
            "[[sources.mesos]]\nname = \"prod\"\nzone = \"mesos\"\nmasters = \"zk://{}/mesos\"\nencoding = \"json\"\n\
             agents_interval = \"0s\"\nmax_backoff = \"100ms\"\n{auth}",
            zookeeper.address
        );
        let checked = pointsman::config::check(&text, Path::new("p.toml"), pointsman::config::Environment::empty());
        checked.unwrap_or_else(|errors| panic!("{errors}")).mesos.remove(0)
    };
    for auth in ["", "zookeeper_auth = \"mesos:wrong\"\n"] {
        let mut source = Source::start(configured(auth));
        let loss = source.next_loss();
        assert!(loss.contains("cannot be asked for the masters at /mesos") && loss.contains("auth"), "{auth}: {loss}");
        assert!(!loss.contains("wrong"), "the password is told: {loss}");
        source.stop();
    }
    let mut source = Source::start(configured("zookeeper_auth = \"mesos:s3cret\"\n"));
    let facts = source.until(|fact| matches!(fact, Fact::Live));
    assert_eq!(masters(&facts).unwrap().leader, Some(leader.address));
    source.stop();
}
