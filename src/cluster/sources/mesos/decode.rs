//! Bytes of a response in, items out: RecordIO framing around one of the two encodings, behind one interface.
//!
//! Invariants: the items do not depend on how the bytes are cut; memory is bounded by the largest element accepted;
//! an ordinary event that cannot be read spoils only itself, a snapshot whose structure is broken ends the stream
//! (what it did not list would count as absent).

use thiserror::Error;

use super::json::JsonDecoder;
use super::protobuf::ProtobufDecoder;
use super::recordio::{Piece, RecordError, RecordReader};
use super::schema::{Element, Item, Node, UnreadableElement};
use super::wire::event_type;
use crate::config::checked::MesosEncoding;

/// A response cannot be read any further.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum DecodeError {
    /// The framing is broken.
    #[error("the stream is not RecordIO: {0}")]
    Record(#[from] RecordError),
    /// The structure of a protobuf message is broken.
    #[error("malformed protobuf message: {what}, {offset} bytes into it")]
    Protobuf {
        /// What is wrong.
        what: &'static str,
        /// Where.
        offset: u64,
    },
    /// The structure of a JSON object is broken.
    #[error("malformed JSON object: {what}, {offset} bytes into it")]
    Json {
        /// What is wrong.
        what: &'static str,
        /// Where.
        offset: u64,
    },
}

/// Decodes the endless answer to SUBSCRIBE.
#[derive(Debug)]
pub struct StreamDecoder {
    encoding: MesosEncoding,
    records: RecordReader,
    message: Message,
    record: Record,
}

/// What is known of the record that is being read.
#[derive(Debug, Default)]
struct Record {
    kind: Option<i32>,
    is_snapshot: bool,
    has_content: bool,
    /// Its structure is broken; the rest is passed over.
    is_broken: bool,
}

/// Decodes one answer that is a single message, such as that to GET_AGENTS.
#[derive(Debug)]
pub struct ResponseDecoder(Message);

#[derive(Debug)]
enum Message {
    Protobuf(ProtobufDecoder),
    Json(JsonDecoder),
}

impl Message {
    fn new(encoding: MesosEncoding, root: Node, length: u64) -> Self {
        match encoding {
            MesosEncoding::Protobuf => Self::Protobuf(ProtobufDecoder::new(root, length)),
            MesosEncoding::Json => Self::Json(JsonDecoder::new(root)),
        }
    }

    fn push(&mut self, bytes: &[u8], items: &mut Vec<Item>) -> Result<(), DecodeError> {
        match self {
            Self::Protobuf(decoder) => decoder.push(bytes, items),
            Self::Json(decoder) => decoder.push(bytes, items),
        }
    }

    fn finish(&mut self) -> Result<(), DecodeError> {
        match self {
            Self::Protobuf(decoder) => decoder.finish(),
            Self::Json(decoder) => decoder.finish(),
        }
    }
}

impl StreamDecoder {
    /// A decoder at the start of an answer.
    pub fn new(encoding: MesosEncoding) -> Self {
        let message = Message::new(encoding, Node::Event, 0);
        Self { encoding, records: RecordReader::default(), message, record: Record::default() }
    }

    /// Takes in more bytes and appends what they complete.
    ///
    /// # Errors
    /// The stream cannot be read any further: it has to be opened anew.
    pub fn push(&mut self, mut input: &[u8], items: &mut Vec<Item>) -> Result<(), DecodeError> {
        while let Some(piece) = self.records.next(&mut input)? {
            match piece {
                Piece::Start(length) => {
                    self.message = Message::new(self.encoding, Node::Event, length);
                    self.record = Record::default();
                }
                Piece::Body(bytes) => self.body(bytes, items)?,
                Piece::End => self.end(items)?,
            }
        }
        Ok(())
    }

    /// Whether the answer may end here without a record being cut.
    pub fn is_between_records(&self) -> bool {
        self.records.is_between_records()
    }

    fn body(&mut self, bytes: &[u8], items: &mut Vec<Item>) -> Result<(), DecodeError> {
        if self.record.is_broken {
            return Ok(());
        }
        let before = items.len();
        let result = self.message.push(bytes, items);
        // The type stands among the members in any order; it is told once the record is complete.
        let mut kept = before;
        for at in before..items.len() {
            match items[at] {
                Item::UnknownEvent(kind) => self.record.kind = Some(kind),
                Item::SnapshotStarted if self.record.is_snapshot => {}
                _ => {
                    self.record.is_snapshot |= items[at] == Item::SnapshotStarted;
                    items.swap(kept, at);
                    kept += 1;
                }
            }
        }
        self.record.has_content |= kept > before;
        items.truncate(kept);
        result.or_else(|error| self.broken(error, items))
    }

    fn end(&mut self, items: &mut Vec<Item>) -> Result<(), DecodeError> {
        if self.record.is_broken {
            return Ok(());
        }
        if let Err(error) = self.message.finish() {
            return self.broken(error, items);
        }
        match self.record.kind {
            _ if self.record.is_snapshot => items.push(Item::SnapshotFinished),
            Some(HEARTBEAT) => items.push(Item::Heartbeat),
            kind if !self.record.has_content => items.push(Item::UnknownEvent(kind.unwrap_or(-1))),
            _ => {}
        }
        Ok(())
    }

    fn broken(&mut self, error: DecodeError, items: &mut Vec<Item>) -> Result<(), DecodeError> {
        if self.record.is_snapshot {
            return Err(error);
        }
        self.record.is_broken = true;
        let error = UnreadableElement::Malformed(error.to_string());
        items.push(Item::Unreadable { element: Element::EventType, task: None, error });
        Ok(())
    }
}

impl ResponseDecoder {
    /// A decoder at the start of an answer.
    pub fn new(encoding: MesosEncoding) -> Self {
        Self(Message::new(encoding, Node::Response, u64::MAX))
    }

    /// Takes in more bytes and appends what they complete.
    ///
    /// # Errors
    /// The answer is malformed.
    pub fn push(&mut self, input: &[u8], items: &mut Vec<Item>) -> Result<(), DecodeError> {
        self.0.push(input, items)
    }

    /// The answer is complete.
    ///
    /// # Errors
    /// It ended too early.
    pub fn finish(&mut self) -> Result<(), DecodeError> {
        self.0.finish()
    }
}

/// `Event.Type.HEARTBEAT`.
const HEARTBEAT: i32 = 9;

/// Feeds arbitrary bytes to the framing: must neither panic nor loop.
#[doc(hidden)]
pub fn fuzz_recordio(data: &[u8]) {
    let (mut reader, mut input) = (RecordReader::default(), data);
    while let Ok(Some(_)) = reader.next(&mut input) {}
}

/// Feeds arbitrary bytes to both decoders, as a stream and as the content of one record: must neither panic nor
/// loop.
#[doc(hidden)]
pub fn fuzz_event(data: &[u8]) {
    let framed = [format!("{}\n", data.len()).as_bytes(), data].concat();
    for encoding in [MesosEncoding::Protobuf, MesosEncoding::Json] {
        for bytes in [data, &framed] {
            let mut items = Vec::new();
            let _ = StreamDecoder::new(encoding).push(bytes, &mut items);
        }
        let mut response = ResponseDecoder::new(encoding);
        let _ = response.push(data, &mut Vec::new()).and_then(|()| response.finish());
    }
    debug_assert_eq!(event_type::number("HEARTBEAT"), HEARTBEAT);
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;
    use crate::cluster::sources::mesos::schema::TaskIdentity;
    use crate::cluster::sources::mesos::wire;

    fn decoded(encoding: MesosEncoding, chunks: &[&[u8]]) -> Result<Vec<Item>, DecodeError> {
        let (mut decoder, mut items) = (StreamDecoder::new(encoding), Vec::new());
        for chunk in chunks {
            decoder.push(chunk, &mut items)?;
        }
        Ok(items)
    }

    fn record(body: &[u8]) -> Vec<u8> {
        [format!("{}\n", body.len()).as_bytes(), body].concat()
    }

    fn json(body: &str) -> Result<Vec<Item>, DecodeError> {
        decoded(MesosEncoding::Json, &[&record(body.as_bytes())])
    }

    fn named(name: &str) -> Item {
        Item::Task(Box::new(wire::Task { name: Some(name.into()), ..Default::default() }))
    }

    #[test]
    fn members_come_in_any_order_and_unknown_ones_are_passed_over() {
        let items = json(
            r#" { "subscribed" : {"heartbeat_interval_seconds":15.0,"new":[{"}":"]"}],"get_state":{"x":"\"}",
            "get_tasks":{"completed_tasks":[{"name":"no"}],"tasks":[ {"name":"a\"}]"} , {"name":"b"}],
            "unreachable_tasks":[]},"get_agents":{"recovered_agents":[{"hostname":"h"}]},"get_frameworks":null}},
            "other":1e9,"type":"SUBSCRIBED"} "#,
        )
        .unwrap();
        let recovered = wire::AgentInfo { hostname: Some("h".into()), ..Default::default() };
        let expected = [
            Item::SnapshotStarted,
            Item::HeartbeatInterval(15.0),
            named("a\"}]"),
            named("b"),
            Item::RecoveredAgent(Box::new(recovered)),
            Item::SnapshotFinished,
        ];
        assert_eq!(items, expected);
    }

    #[test]
    fn an_escaped_name_is_the_name() {
        let items = json(r#"{"\u0074ype":"HEARTBEAT"}"#).unwrap();
        assert_eq!(items, [Item::Heartbeat]);
    }

    #[test]
    fn one_bad_element_spoils_only_itself() {
        let items = json(
            r#"{"type":"SUBSCRIBED","subscribed":{"get_state":{"get_tasks":{"tasks":[{"name":1},{"name":"b"},7]}}}}"#,
        )
        .unwrap();
        assert!(matches!(items[1], Item::Unreadable { element: Element::Task, .. }), "{items:?}");
        assert_eq!(items[2], named("b"));
        assert!(matches!(items[3], Item::Unreadable { element: Element::Task, .. }), "{items:?}");
        assert_eq!(items[4], Item::SnapshotFinished);

        // The same in protobuf: a task whose name is no text (field 1, wire type 0).
        let tasks = [&[0x12, 2, 0x08, 1][..], &[0x12, 3, 0x0a, 1, b'b']].concat();
        let body = nested(&[2, 1, 1], &tasks);
        let items = decoded(MesosEncoding::Protobuf, &[&record(&body)]).unwrap();
        assert!(matches!(items[1], Item::Unreadable { element: Element::Task, .. }), "{items:?}");
        assert_eq!(items[2..], [named("b"), Item::SnapshotFinished]);
    }

    #[test]
    fn an_element_that_cannot_be_read_still_tells_of_which_task_it_speaks() {
        let known = Some(TaskIdentity { framework: "f".into(), task: "t".into() });
        let of = |items: Vec<Item>| match items.into_iter().find(|item| matches!(item, Item::Unreadable { .. })) {
            Some(Item::Unreadable { task, .. }) => task,
            other => panic!("it was readable: {other:?}"),
        };
        let task = r#"{"task_id":{"value":"t"},"framework_id":{"value":"f"},"name":7}"#;
        let snapshot =
            format!(r#"{{"type":"SUBSCRIBED","subscribed":{{"get_state":{{"get_tasks":{{"tasks":[{task}]}}}}}}}}"#);
        assert_eq!(of(json(&snapshot).unwrap()), known);
        let added = format!(r#"{{"type":"TASK_ADDED","task_added":{{"task":{task}}}}}"#);
        assert_eq!(of(json(&added).unwrap()), known);
        let updated = r#"{"type":"TASK_UPDATED","task_updated":{"framework_id":{"value":"f"},"state":[],
            "status":{"task_id":{"value":"t"}}}}"#;
        assert_eq!(of(json(updated).unwrap()), known);

        // In protobuf: a label's value that is no UTF-8.
        let label = wire::Labels { labels: vec![wire::Label { key: Some("k".into()), value: Some("@@".into()) }] };
        let id = |value: &str| Some(wire::Id { value: Some(value.into()) });
        let task = wire::Task { task_id: id("t"), framework_id: id("f"), labels: Some(label), ..Default::default() };
        let added = wire::Event {
            r#type: Some(2),
            task_added: Some(wire::TaskAdded { task: Some(task) }),
            ..Default::default()
        };
        let mut bytes = added.encode_to_vec();
        let at = bytes.windows(2).position(|two| two == b"@@").unwrap();
        bytes[at] = 0xff;
        assert_eq!(of(decoded(MesosEncoding::Protobuf, &[&record(&bytes)]).unwrap()), known);
    }

    #[test]
    fn an_executors_message_may_be_any_bytes() {
        let text = br#"{"type":"TASK_UPDATED","task_updated":{"state":"TASK_FAILED","status":{"message":"#;
        let stream = record(&[&text[..], b"\"\xff\xfe\"}}}"].concat());
        let items = decoded(MesosEncoding::Json, &[&stream]).unwrap();
        assert!(matches!(&items[..], [Item::TaskUpdated(_)]), "{items:?}");
        let status = wire::TaskStatus { message: Some(vec![0xff, 0xfe]), ..Default::default() };
        let updated = wire::TaskUpdated { status: Some(status), ..Default::default() };
        let event = wire::Event { r#type: Some(3), task_updated: Some(updated), ..Default::default() };
        let items = decoded(MesosEncoding::Protobuf, &[&record(&event.encode_to_vec())]).unwrap();
        assert!(matches!(&items[..], [Item::TaskUpdated(_)]), "{items:?}");
    }

    fn nested(path: &[u8], content: &[u8]) -> Vec<u8> {
        path.iter().rev().fold(content.to_vec(), |content, field| {
            let mut message = vec![field << 3 | 2];
            prost::encoding::encode_varint(content.len() as u64, &mut message);
            message.extend(content);
            message
        })
    }

    #[test]
    fn a_broken_event_is_passed_over_and_a_broken_snapshot_ends_the_stream() {
        let heartbeat = record(br#"{"type":"HEARTBEAT"}"#);
        let broken = record(b"{\"type\":\"TASK_ADDED\",]");
        let items = decoded(MesosEncoding::Json, &[&broken, &heartbeat]).unwrap();
        assert!(matches!(items[0], Item::Unreadable { .. }), "{items:?}");
        assert_eq!(items[1..], [Item::Heartbeat]);

        for broken in [
            &br#"{"type":"SUBSCRIBED","subscribed":{"get_state":{"get_tasks":{"tasks":[{}"#[..],
            br#"{"subscribed":{"get_state":[1,2]}, : }"#,
        ] {
            let result = decoded(MesosEncoding::Json, &[&record(broken)]);
            assert!(matches!(result, Err(DecodeError::Json { .. })), "{result:?}");
        }
        // An inner message longer than the one around it.
        let result = decoded(MesosEncoding::Protobuf, &[&record(&[0x12, 4, 0x0a, 9, 0, 0])]);
        assert!(matches!(result, Err(DecodeError::Protobuf { .. })), "{result:?}");
    }

    #[test]
    fn what_is_too_large_is_not_gathered() {
        let text =
            "x".repeat(usize::try_from(crate::cluster::sources::mesos::schema::MAX_SNAPSHOT_ELEMENT_BYTES).unwrap());
        let body = format!(
            r#"{{"type":"SUBSCRIBED","subscribed":{{"get_state":{{"get_tasks":{{"tasks":[{{"name":"{text}"}},{{"name":"b"}}]}}}}}}}}"#
        );
        let stream = record(body.as_bytes());
        let items = decoded(MesosEncoding::Json, &stream.chunks(65_536).collect::<Vec<_>>()).unwrap();
        let is_too_large =
            |item: &Item| matches!(item, Item::Unreadable { error: UnreadableElement::TooLarge { .. }, .. });
        assert!(is_too_large(&items[1]));
        assert_eq!(items[2], named("b"));

        let task = wire::Task { name: Some(text), ..Default::default() };
        let get_tasks = wire::GetTasks { tasks: vec![task], ..Default::default() };
        let get_state = wire::GetState { get_tasks: Some(get_tasks), ..Default::default() };
        let subscribed = wire::Subscribed { get_state: Some(get_state), heartbeat_interval_seconds: None };
        let event = wire::Event { subscribed: Some(subscribed), ..Default::default() };
        let stream = record(&event.encode_to_vec());
        let items = decoded(MesosEncoding::Protobuf, &stream.chunks(65_536).collect::<Vec<_>>()).unwrap();
        assert!(is_too_large(&items[1]));
    }

    #[test]
    fn events_of_the_future_are_named_by_number() {
        assert_eq!(json(r#"{"type":"NEW","new":{}}"#).unwrap(), [Item::UnknownEvent(-1)]);
        assert_eq!(decoded(MesosEncoding::Protobuf, &[b"2\n\x08\x63"]).unwrap(), [Item::UnknownEvent(99)]);
        assert_eq!(decoded(MesosEncoding::Protobuf, &[b"2\n\x08\x09"]).unwrap(), [Item::Heartbeat]);
    }

    #[test]
    fn an_answer_that_ends_early_is_not_complete() {
        let whole = br#"{"type":"GET_AGENTS","get_agents":{"agents":[{"active":true}]}}"#;
        for cut in 0..whole.len() {
            let mut decoder = ResponseDecoder::new(MesosEncoding::Json);
            let result = decoder.push(&whole[..cut], &mut Vec::new()).and_then(|()| decoder.finish());
            assert!(result.is_err(), "{cut}");
        }
        let mut items = Vec::new();
        let mut decoder = ResponseDecoder::new(MesosEncoding::Json);
        decoder.push(whole, &mut items).and_then(|()| decoder.finish()).unwrap();
        assert_eq!(items.len(), 1);
    }
}
