//! What the server tells of itself, in the class CH: which one it is and which program (RFC 4892), each by choice.

use std::sync::Arc;

use super::wire::query::Question;
use super::wire::record::{Data, Owner};
use super::wire::response::{Response, Section};
use super::wire::{CLASS_CH, Rcode, flags, record_type};
use crate::cluster::event::RecordData;
use crate::config::checked::DnsConfig;

/// What `version.bind` says where it is told.
const VERSION: &str = concat!("Pointsman ", env!("CARGO_PKG_VERSION"));

/// Writes what there is to say and returns the code and flags that go with it. What is not told is REFUSED.
pub(super) fn resolve(config: &DnsConfig, question: &Question<'_>, response: &mut Response<'_>) -> (Rcode, u16) {
    let Some(text) = told(config, question.name) else { return (Rcode::Refused, 0) };
    if matches!(question.record_type, record_type::TXT | record_type::ANY) {
        response.of_class(CLASS_CH);
        let data = RecordData::Txt([text].into());
        response.record(Section::Answer, Owner::Question, 0, Data::Record(&data));
    }
    (Rcode::NoError, flags::AA)
}

fn told(config: &DnsConfig, name: &str) -> Option<Arc<str>> {
    match name {
        "version.bind" | "version.server" => config.tell_version.then(|| VERSION.into()),
        "id.server" | "hostname.bind" => config.identity.clone(),
        _ => None,
    }
}
