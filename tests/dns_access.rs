//! Who is answered, and how often: through real sockets.

mod dns_common;

use std::net::{SocketAddr, UdpSocket};

use dns_common::{PATIENCE, Server, ask_udp, framed, names, query, read_answer};
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RecordType;
use pointsman::config::checked::{TsigAlgorithm, TsigKey};
use pointsman::dns::metrics::Count;
use std::io::Write as _;

/// A question from one address of this machine; `None`: no answer within a moment in which others are answered.
fn ask_from(server: &Server, from: [u8; 4], message: &[u8]) -> Option<Message> {
    let socket = UdpSocket::bind(SocketAddr::from((from, 0))).unwrap();
    socket.connect(server.address).unwrap();
    socket.send(message).unwrap();
    // What was sent later is answered later: once this other one is there, the first has been decided.
    ask_udp(server.address, &query(9, "gone.mesos.", RecordType::A));
    socket.set_nonblocking(true).unwrap();
    let mut buffer = [0; 4096];
    let length = socket.recv(&mut buffer).ok()?;
    Some(Message::from_vec(&buffer[..length]).unwrap())
}

#[test]
fn clients_outside_the_list_are_refused_with_the_reason() {
    let mut names = names();
    names.config.allow = vec!["127.0.0.1/32".parse().unwrap()];
    let server = Server::start(names);
    let web = query(1, "web.marathon.mesos.", RecordType::A);
    assert_eq!(ask_from(&server, [127, 0, 0, 1], &web).unwrap().metadata.response_code, ResponseCode::NoError);
    let refused = ask_from(&server, [127, 0, 0, 2], &web).unwrap();
    assert_eq!((refused.metadata.response_code, refused.answers.len()), (ResponseCode::Refused, 0));
    let mut with_edns = web.clone();
    with_edns[11] = 1;
    with_edns.extend([0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]);
    let refused = ask_from(&server, [127, 0, 0, 2], &with_edns).unwrap();
    let edns = refused.edns.unwrap();
    let option =
        edns.options().as_ref().iter().find(|(code, _)| u16::from(*code) == 15).map(|(_, value)| value.clone());
    assert_eq!(<Vec<u8>>::try_from(&option.unwrap()).unwrap(), [0, 18], "RFC 8914: Prohibited");
    assert_eq!(server.counted(Count::Denied), 2);
}

#[test]
fn a_flood_of_one_question_is_limited_and_a_real_client_still_gets_through() {
    let mut names = names();
    names.config.rate_limit.responses_per_second = 1;
    names.config.rate_limit.exempt = vec!["127.0.0.1/32".parse().unwrap()];
    let server = Server::start(names);
    let victim = [127, 9, 9, 9];
    let web = query(1, "web.marathon.mesos.", RecordType::A);
    let mut seen = [0; 3];
    for _ in 0..60 {
        seen[match ask_from(&server, victim, &web) {
            None => 2,
            Some(answer) if answer.metadata.truncation => {
                assert!(answer.answers.is_empty());
                1
            }
            Some(_) => 0,
        }] += 1;
    }
    let [sent, slipped, dropped] = seen;
    assert!(sent >= 1 && slipped >= 10 && dropped >= 10, "{seen:?}");
    assert_eq!(server.counted(Count::LimitedSlipped), slipped);
    assert_eq!(server.counted(Count::LimitedDropped), dropped);
    // Over TCP, and from a network that is exempt, as often as anybody likes.
    let mut stream = server.connect();
    for _ in 0..20 {
        stream.write_all(&framed(&web)).unwrap();
        assert_eq!(read_answer(&mut stream).answers.len(), 1);
        assert_eq!(ask_udp(server.address, &web).answers.len(), 1);
    }
}

/// How often a message from a victim's address is answered, of sixty times within a moment.
fn answered(server: &Server, message: &[u8]) -> usize {
    (0..60).filter(|_| ask_from(server, [127, 9, 9, 9], message).is_some()).count()
}

#[test]
fn what_is_rejected_is_limited_too() {
    let mut names = names();
    names.config.rate_limit.responses_per_second = 1;
    names.config.rate_limit.slip = 0;
    names.config.rate_limit.exempt = vec!["127.0.0.1/32".parse().unwrap()];
    names.config.transfer.keys = vec![TsigKey {
        name: "k1.example".into(),
        algorithm: TsigAlgorithm::HmacSha256,
        secret: b"0123456789abcdef0123456789abcdef".to_vec(),
    }];
    let web = query(1, "web.marathon.mesos.", RecordType::A);
    let mut status = web.clone();
    status[2] |= 2 << 3;
    let two_questions = [&[0, 1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0][..], &web[12..], &web[12..]].concat();
    for (what, message) in [("opcode", status), ("two questions", two_questions), ("signature", badly_signed(&web))] {
        let server = Server::start(names.clone());
        let count = answered(&server, &message);
        // Busy machines take several seconds for sixty.
        assert!((1..40).contains(&count), "{what}: {count}");
        assert_eq!(server.counted(Count::LimitedDropped), 60 - u64::try_from(count).unwrap(), "{what}");
    }
    // Who may not ask is told that, and not what is wrong with a signature.
    names.config.allow = vec!["127.0.0.1/32".parse().unwrap()];
    names.config.rate_limit.responses_per_second = 0;
    let server = Server::start(names);
    let answer = ask_from(&server, [127, 0, 0, 2], &badly_signed(&web)).unwrap();
    assert_eq!(answer.metadata.response_code, ResponseCode::Refused);
    assert_eq!(server.counted(Count::BadSignatures), 0);
    let answer = ask_from(&server, [127, 0, 0, 1], &badly_signed(&web)).unwrap();
    assert_eq!(answer.metadata.response_code, ResponseCode::NotAuth);
}

/// A query with a signature by a key that nobody has.
fn badly_signed(query: &[u8]) -> Vec<u8> {
    let algorithm = b"\x0bhmac-sha256\0";
    let data = [&algorithm[..], &[0, 0, 0x67, 0x12, 0x34, 0x56, 1, 44, 0, 4], b"MACS", &[0, 1, 0, 0, 0, 0]].concat();
    let length = u8::try_from(data.len()).unwrap();
    let record = [&b"\x03key\0\0\xfa\0\xff\0\0\0\0\0"[..], &[length], &data].concat();
    let mut message = [query, &record].concat();
    message[11] = 1;
    message
}

#[test]
fn who_shows_a_cookie_is_not_limited() {
    let mut names = names();
    names.config.rate_limit.responses_per_second = 1;
    names.config.rate_limit.slip = 0;
    let server = Server::start(names);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(server.address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let with_cookie = |cookie: &[u8]| {
        let mut message = query(1, "web.marathon.mesos.", RecordType::A);
        message[11] = 1;
        let length = u8::try_from(cookie.len()).unwrap();
        message.extend([0, 0, 41, 4, 208, 0, 0, 0, 0, 0, length + 4, 0, 10, 0, length]);
        message.extend(cookie);
        message
    };
    let ask = |cookie: &[u8]| {
        socket.send(&with_cookie(cookie)).unwrap();
        let mut buffer = [0; 4096];
        let length = socket.recv(&mut buffer).unwrap();
        assert_eq!(Message::from_vec(&buffer[..length]).unwrap().answers.len(), 1);
        // The last 24 octets: ours is the only option.
        buffer[length - 24..length].to_vec()
    };
    let cookie = ask(b"clientsc");
    for _ in 0..50 {
        ask(&cookie);
    }
    assert_eq!(server.counted(Count::LimitedDropped), 0);
}
