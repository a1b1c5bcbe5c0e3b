//! Header fields whose values are secrets, as OpenTelemetry's `OTEL_EXPORTER_OTLP_HEADERS` has them.

use std::path::Path;

use http::{HeaderName, HeaderValue};
use serde_json::Value as Json;

use super::{Fault, Item, Kind};
use crate::config::checked::Secret;
use crate::config::otlp::SecretField;

/// A list of such fields, never shown, not even in a message about it.
pub(crate) struct SecretFields;

const MOST: usize = 64;

/// Fields that say how a request is to be read: they are the client's.
const OURS: [&str; 8] =
    ["connection", "content-encoding", "content-length", "content-type", "host", "te", "transfer-encoding", "upgrade"];

impl Kind for SecretFields {
    type Value = Vec<SecretField>;

    fn noun(&self) -> String {
        "a secret".into()
    }

    fn range(&self) -> String {
        format!("1 to {MOST} fields like NAME=VALUE, with commas between")
    }

    fn example(&self) -> String {
        "\"…\"".into()
    }

    fn read(&self, item: &Item<'_>, _base: &Path) -> Result<Self::Value, Vec<Fault>> {
        let parts = self.string(item)?.split([',', '\n']).map(str::trim).filter(|part| !part.is_empty());
        let fields: Option<Vec<_>> = parts.map(parse).collect();
        fields.filter(|fields| (1..=MOST).contains(&fields.len())).ok_or_else(|| {
            let mend = format!("write {}; {} are not among them", self.range(), OURS.join(", "));
            Fault::one(item.span(), "the secret is no list of header fields", mend)
        })
    }

    fn show(&self, value: &Self::Value) -> Json {
        if value.is_empty() { Json::Null } else { "[hidden]".into() }
    }
}

fn parse(text: &str) -> Option<SecretField> {
    let (name, value) = text.split_once('=')?;
    let name = HeaderName::from_bytes(name.trim().as_bytes()).ok()?;
    let value = decoded(value.trim())?;
    let is_good = HeaderValue::from_str(&value).is_ok() && !OURS.contains(&name.as_str());
    is_good.then(|| SecretField { name: name.as_str().into(), value: Secret(value) })
}

/// Without percent-encoding (RFC 3986 section 2.1). A `%` that begins none stands for itself: keys may have one.
fn decoded(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&octet, more)) = rest.split_first() {
        let hex = |at: usize| more.get(at).and_then(|digit| char::from(*digit).to_digit(16));
        let pair = hex(0).zip(hex(1)).filter(|_| octet == b'%');
        match pair.and_then(|(high, low)| u8::try_from(high * 16 + low).ok()) {
            Some(octet) => {
                out.push(octet);
                rest = &more[2..];
            }
            None => {
                out.push(octet);
                rest = more;
            }
        }
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::super::tests::read;
    use super::*;

    #[test]
    fn fields_are_read_as_opentelemetry_reads_them() {
        let fields = read(&SecretFields, "\"Api-Key=s3cret%3D%20x, x-tenant = 100%\"").unwrap();
        let pairs: Vec<_> = fields.iter().map(|field| (&*field.name, &*field.value.0)).collect();
        assert_eq!(pairs, [("api-key", "s3cret= x"), ("x-tenant", "100%")]);
        assert!(!format!("{fields:?}").contains("s3cret"), "hidden: {fields:?}");
        assert_eq!(SecretFields.show(&fields), "[hidden]");
        for wrong in ["\"\"", "\"name\"", "\"a b=c\"", "\"Host=x\"", "\"a=%0d%0ab\""] {
            let refused = read(&SecretFields, wrong).unwrap_err();
            assert!(refused.contains("no list of header fields"), "{wrong}: {refused}");
        }
    }
}
