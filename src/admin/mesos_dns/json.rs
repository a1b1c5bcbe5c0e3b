//! JSON as Mesos-DNS writes it: each level indented by one space and every line but the first by one more, with the
//! escapes of Go.

use serde::Serialize;
use serde_json::ser::{PrettyFormatter, Serializer};

/// The document as Mesos-DNS would write it.
pub(super) fn indented(document: &impl Serialize) -> String {
    let mut octets = Vec::new();
    let mut serializer = Serializer::with_formatter(&mut octets, PrettyFormatter::with_indent(b" "));
    document.serialize(&mut serializer).expect("documents of strings and numbers are valid JSON");
    let text = String::from_utf8(octets).expect("JSON is UTF-8");
    let mut out = String::with_capacity(text.len() + text.len() / 8);
    for c in text.chars() {
        match c {
            // A line end in a string is escaped already: this one is between values.
            '\n' => out.push_str("\n "),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_look_as_those_of_mesos_dns() {
        let document = serde_json::json!({"a": ["x<&>\n", {}], "b": []});
        let expected = "{\n  \"a\": [\n   \"x\\u003c\\u0026\\u003e\\n\",\n   {}\n  ],\n  \"b\": []\n }";
        assert_eq!(indented(&document), expected);
    }
}
