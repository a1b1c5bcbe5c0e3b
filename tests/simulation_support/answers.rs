//! What clients get: the DNS server's answer function and the proxy's route function over a table.

use std::collections::BTreeSet;

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use http::HeaderMap;
use pointsman::dns::answer::{Authority, answer};
use pointsman::dns::wire::Transport;
use pointsman::model::refinement::Head;
use pointsman::model::time::Timestamp;
use pointsman::proxy::reason::Reason;
use pointsman::proxy::route;
use pointsman::table::Table;

/// The ports that DNS gives for an app's instances.
pub fn srv_ports(table: &Table, app: &str, random: &mut fastrand::Rng) -> BTreeSet<u16> {
    let name = Name::from_ascii(format!("_http._{app}._tcp.marathon.mesos.")).unwrap();
    let mut query = Message::new(random.u16(..), MessageType::Query, OpCode::Query);
    query.add_query(Query::query(name, RecordType::SRV));
    let mut out = Vec::new();
    let authority = Authority { names: table, own_addresses: &[] };
    answer(&authority, Transport::Tcp, &query.to_vec().unwrap(), random, &mut out);
    let message = Message::from_vec(&out).expect("an answer that others can read");
    assert!(
        matches!(
            message.metadata.response_code,
            ResponseCode::NoError | ResponseCode::NXDomain | ResponseCode::ServFail
        ),
        "{message:?}"
    );
    let srv = |record: &hickory_proto::rr::Record| match &record.data {
        RData::SRV(srv) => Some(srv.port),
        _ => None,
    };
    message.answers.iter().filter_map(srv).collect()
}

/// The ports of the endpoints that the proxy chooses among for an app's requests.
pub fn proxy_ports(table: &Table, app: &str, random: &mut fastrand::Rng) -> BTreeSet<u16> {
    let host = format!("{app}.example.com");
    let fields = HeaderMap::new();
    let head = Head { host: &host, path: "/", query: None, method: "GET", fields: &fields };
    let destination = match route::find(table, &head, &fields, Timestamp::now, random) {
        Ok(destination) => destination,
        Err(Reason::NoRoute) => return BTreeSet::new(),
        Err(reason) => {
            assert!(!table.ready, "{host}: {reason:?}");
            return BTreeSet::new();
        }
    };
    let endpoints = destination.service.available.iter().filter(|endpoint| endpoint.protocol.is_http());
    let ports: BTreeSet<u16> = endpoints.map(|endpoint| endpoint.address.port()).collect();
    assert_eq!(destination.has_another(&[]), !ports.is_empty(), "{host}");
    ports
}
