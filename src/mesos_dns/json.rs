//! JSON with places: the values of an object as they stand in the text, so that a message can say where a fault is.

use std::fmt;
use std::ops::Range;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// A key of an object and its value's text.
#[derive(Clone, Debug)]
pub(super) struct Entry<'a> {
    /// The key, as it is meant.
    pub(super) key: String,
    /// The value.
    pub(super) value: Value<'a>,
}

/// A value's text and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Value<'a> {
    /// The JSON.
    pub(super) text: &'a str,
    /// Octets from the document's beginning.
    pub(super) span: Range<usize>,
}

impl<'a> Value<'a> {
    /// The whole document.
    pub(super) fn document(text: &'a str) -> Self {
        Self { text, span: 0..text.len() }
    }

    /// Reads it as `T`.
    pub(super) fn read<T: Deserialize<'a>>(&self) -> Option<T> {
        serde_json::from_str(self.text).ok()
    }

    /// The entries of the object that it is, in their order; keys may repeat.
    ///
    /// # Errors
    /// It is no JSON, or another thing than an object.
    pub(super) fn entries(&self) -> Result<Vec<Entry<'a>>, serde_json::Error> {
        let RawEntries(entries) = serde_json::from_str(self.text)?;
        let entry = |(key, raw): (String, &'a RawValue)| Entry { key, value: self.part(raw) };
        Ok(entries.into_iter().map(entry).collect())
    }

    /// What kind of value it is, with its article.
    pub(super) fn noun(&self) -> &'static str {
        match self.text.as_bytes().first() {
            Some(b'"') => "a string",
            Some(b'{') => "an object",
            Some(b'[') => "a list",
            Some(b't' | b'f') => "a truth value",
            Some(b'n') => "null",
            _ if self.text.contains(['.', 'e', 'E']) => "a fraction",
            _ => "a whole number",
        }
    }

    fn part(&self, raw: &'a RawValue) -> Self {
        // A raw value that is borrowed is a part of the text it was read from.
        let start = self.span.start + (raw.get().as_ptr().addr() - self.text.as_ptr().addr());
        Self { text: raw.get(), span: start..start + raw.get().len() }
    }
}

struct RawEntries<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for RawEntries<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EntriesVisitor(std::marker::PhantomData))
    }
}

struct EntriesVisitor<'a>(std::marker::PhantomData<&'a ()>);

impl<'de: 'a, 'a> Visitor<'de> for EntriesVisitor<'a> {
    type Value = RawEntries<'a>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawEntries<'a>, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry::<String, &'de RawValue>()? {
            entries.push(entry);
        }
        Ok(RawEntries(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_know_their_places() {
        let text = r#" {"a": 1, "b" : ["x", {"c":true}], "a": null}"#;
        let entries = Value::document(text).entries().unwrap();
        let shown: Vec<_> = entries.iter().map(|e| (&*e.key, &text[e.value.span.clone()], e.value.noun())).collect();
        let list = r#"["x", {"c":true}]"#;
        assert_eq!(shown, [("a", "1", "a whole number"), ("b", list, "a list"), ("a", "null", "null")]);
        let deeper = Value::document(r#"{"x": {"c" : true}}"#).entries().unwrap();
        let inner = deeper[0].value.entries().unwrap();
        assert_eq!((inner[0].value.text, inner[0].value.span.clone()), ("true", 13..17));
        assert!(Value::document("[1]").entries().is_err());
    }
}
