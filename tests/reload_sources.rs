//! A source whose entry changes is opened anew while the program runs, and what is served goes on.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod marathon_common;
mod mesos_support;
mod proxy_common;

use marathon_common::Running;
use mesos_support::master::{Answer, Body, End, Master};
use mesos_support::recordings::bytes;
use pointsman::config::checked::{MesosConfig, MesosCredentials, MesosEncoding, Secret};

fn populated() -> Answer {
    Answer::Stream(Body::by_record(&bytes("zookeeper/kill9-subscribe-new-leader.recordio"), true, End::Hold))
}

fn token(token: &str) -> Option<MesosCredentials> {
    Some(MesosCredentials::Token(Secret(token.into())))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_token_is_sent_and_a_new_zone_needs_no_new_stream() {
    let master = Master::start(vec![populated(), populated()], None);
    let server = Running::start(|config| {
        let masters = [master.address.to_string()];
        config.mesos.push(MesosConfig {
            encoding: MesosEncoding::Json,
            credentials: token("one"),
            ..MesosConfig::with_masters("prod", "mesos", &[&masters[0]])
        });
    });
    server.table_until("the snapshot", |table| table.tasks.len() == 6).await;
    let tokens = || -> Vec<String> {
        let line = |request: &String| {
            let line = request.lines().find_map(|line| line.strip_prefix("authorization: ").map(str::to_owned));
            line.expect("a token is sent")
        };
        master.requests().iter().filter(|request| request.contains("SUBSCRIBE")).map(line).collect()
    };
    assert_eq!(tokens(), ["token=one"]);
    // Another zone: the same stream.
    server.reload(|config| config.mesos[0].zone = "cluster".into()).await;
    server.table_until("the zone", |table| table.names.zones().any(|zone| &*zone.name == "cluster")).await;
    assert_eq!((tokens().len(), server.table().tasks.len()), (1, 6));
    // Another token: another stream, while what was known is served.
    server.reload(|config| config.mesos[0].credentials = token("two")).await;
    proxy_common::until("the source is opened anew", || {
        assert_eq!(server.table().tasks.len(), 6, "what is served goes on");
        tokens().len() == 2
    })
    .await;
    assert_eq!(tokens(), ["token=one", "token=two"]);
}
