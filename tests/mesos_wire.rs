//! The messages' numbers and names, against recordings: what a real master says in protobuf and in JSON decodes to
//! the same, and is written back as it was read. And the decoders, against arbitrary bytes and arbitrary chunks.

mod mesos_support;

use mesos_support::recordings::{bytes, records};
use pointsman::cluster::sources::mesos::decode::{StreamDecoder, fuzz_event, fuzz_recordio};
use pointsman::cluster::sources::mesos::schema::Item;
use pointsman::cluster::sources::mesos::wire::{Event, Response};
use pointsman::config::checked::MesosEncoding;
use proptest::prelude::*;
use prost::Message;
use serde_json::Value;

fn content(record: &[u8]) -> &[u8] {
    &record[record.iter().position(|byte| *byte == b'\n').unwrap() + 1..]
}

#[test]
fn answers_in_both_encodings_are_equal() {
    for call in ["GET_STATE", "GET_TASKS", "GET_AGENTS", "GET_FRAMEWORKS", "GET_MASTER"] {
        let json: Response = serde_json::from_slice(&bytes(&format!("scenario/calls/{call}.json"))).unwrap();
        let protobuf = Response::decode(&*bytes(&format!("scenario/calls/{call}.protobuf.bin"))).unwrap();
        assert_eq!(comparable(&json), comparable(&protobuf), "{call}");
        assert_ne!(json, Response { r#type: json.r#type, ..Response::default() }, "{call} has content");
        let text = serde_json::to_vec(&json).unwrap();
        assert_eq!(serde_json::from_slice::<Response>(&text).unwrap(), json, "{call}");
        assert_eq!(Response::decode(&*json.encode_to_vec()).unwrap(), json, "{call}");
    }
}

#[test]
fn events_in_both_encodings_are_equal() {
    for recording in ["scenario/subscribe-full", "scenario/subscribe-populated"] {
        let json = bytes(&format!("{recording}.json.recordio"));
        let protobuf = bytes(&format!("{recording}.protobuf.recordio"));
        let (json, protobuf) = (records(&json), records(&protobuf));
        assert_eq!(json.len(), protobuf.len());
        for (json, protobuf) in json.into_iter().zip(protobuf) {
            let event: Event = serde_json::from_slice(content(json)).unwrap();
            assert_eq!(comparable(&event), comparable(&Event::decode(content(protobuf)).unwrap()));
        }
    }
}

/// A message in JSON, without what depends on the encoding or the moment: a master writes defaults in JSON only,
/// and lists in no particular order.
fn comparable(message: &impl serde::Serialize) -> Value {
    fn normalise(value: &mut Value) {
        match value {
            Value::Object(members) => {
                members.retain(|name, member| !(name == "protocol" && member == "IPv4"));
                members.values_mut().for_each(normalise);
            }
            Value::Array(elements) => {
                elements.iter_mut().for_each(normalise);
                elements.sort_by_cached_key(Value::to_string);
            }
            Value::Number(number) if number.is_f64() => {
                // Times in JSON are rounded by who writes and who reads them.
                *value = Value::from(number.as_f64().map(|number| (number * 1000.0).round()));
            }
            _ => {}
        }
    }
    let mut value = serde_json::to_value(message).unwrap();
    normalise(&mut value);
    value
}

fn items(encoding: MesosEncoding, chunks: &[&[u8]]) -> (Vec<Item>, Option<String>) {
    let (mut decoder, mut items) = (StreamDecoder::new(encoding), Vec::new());
    for chunk in chunks {
        if let Err(error) = decoder.push(chunk, &mut items) {
            return (items, Some(error.to_string()));
        }
    }
    (items, None)
}

fn cut<'a>(bytes: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut places: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    places.sort_unstable();
    let (mut chunks, mut from) = (Vec::new(), 0);
    for place in places {
        chunks.push(&bytes[from..place]);
        from = place;
    }
    chunks.push(&bytes[from..]);
    chunks
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn chunks_make_no_difference(
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..40),
        spoiled in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        for (name, encoding) in [("json", MesosEncoding::Json), ("protobuf", MesosEncoding::Protobuf)] {
            let mut body = bytes(&format!("scenario/subscribe-populated.{name}.recordio"));
            for (place, byte) in &spoiled {
                let place = place.index(body.len());
                body[place] = *byte;
            }
            prop_assert_eq!(items(encoding, &cut(&body, &cuts)), items(encoding, &[&body]));
        }
    }

    #[test]
    fn arbitrary_bytes_do_no_harm(data in prop::collection::vec(any::<u8>(), 0..2000)) {
        fuzz_recordio(&data);
        fuzz_event(&data);
    }
}

#[test]
fn spoiled_recordings_do_no_harm() {
    let seed = fastrand::u64(..);
    println!("spoiled from seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    for name in ["json", "protobuf"] {
        let body = bytes(&format!("scenario/subscribe-full.{name}.recordio"));
        for record in records(&body) {
            let mut record = content(record).to_vec();
            for _ in 0..random.usize(1..4) {
                let place = random.usize(..record.len());
                record[place] = random.u8(..);
            }
            record.truncate(random.usize(..=record.len()));
            fuzz_event(&record);
        }
    }
}
