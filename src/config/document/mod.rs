//! Texts made from the settings: the sample file and the reference.

mod reference;
mod sample;

pub use reference::reference_markdown;
pub use sample::sample_file;

use serde_json::Value as Json;

use super::raw::Raw;
use super::section::SectionDoc;
use super::setting::Doc;
use super::settings;

/// The whole file, described.
fn root() -> SectionDoc {
    settings::root().describe(&Raw::default(), "", false)
}

/// The value in TOML; empty for none.
fn toml_literal(value: &Json) -> String {
    match value {
        Json::Null => String::new(),
        Json::Array(items) if items.is_empty() => String::new(),
        // JSON's escapes of strings are a subset of TOML's.
        Json::String(_) | Json::Bool(_) | Json::Number(_) => value.to_string(),
        Json::Array(items) => format!("[{}]", items.iter().map(toml_literal).collect::<Vec<_>>().join(", ")),
        Json::Object(_) => String::new(),
    }
}

/// The default in words or TOML.
fn default_text(doc: &Doc, default: &Json) -> String {
    if doc.required {
        return "none: it must be given".into();
    }
    match (doc.default_words, toml_literal(default)) {
        ("", literal) if literal.is_empty() => "none".into(),
        ("", literal) => literal,
        (words, _) => words.into(),
    }
}

/// What a value is: its type, the values allowed, what a number counts.
fn type_text(doc: &Doc) -> String {
    let noun = doc.noun.strip_prefix("an ").or_else(|| doc.noun.strip_prefix("a ")).unwrap_or(&doc.noun);
    let range = if doc.range.is_empty() { String::new() } else { format!(", {}", doc.range) };
    let unit = if doc.unit.is_empty() { String::new() } else { format!(" ({})", doc.unit) };
    format!("{noun}{range}{unit}")
}

/// The environment variable of a secret.
fn variable(section: &SectionDoc, doc: &Doc) -> String {
    let path = section.path.replace('.', "_").to_ascii_uppercase();
    let name = if section.list { "_<NAME>" } else { "" };
    format!("POINTSMAN_{path}{name}_{}", doc.key.to_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn each(section: &SectionDoc, visit: &mut impl FnMut(&SectionDoc, &Doc, &Json)) {
        for (doc, default) in &section.settings {
            visit(section, doc, default);
        }
        for section in &section.sections {
            each(section, visit);
        }
    }

    #[test]
    fn every_setting_is_documented() {
        let mut settings = 0;
        each(&root(), &mut |section, doc, default| {
            settings += 1;
            let path = format!("{}.{}", section.path, doc.key);
            assert!(doc.meaning.ends_with('.') || doc.meaning.ends_with('…'), "{path}: meaning");
            assert!(doc.cost.ends_with('.'), "{path}: cost");
            let has_literal = !toml_literal(default).is_empty() || !doc.example.is_empty();
            assert!(has_literal || doc.secret, "{path}: neither default nor example");
            let is_number = doc.noun == "a whole number";
            assert!(!is_number || !doc.unit.is_empty() || doc.key == "srv_weight", "{path}: unit");
        });
        assert!(settings > 70, "only {settings} settings");
    }

    #[test]
    fn literals() {
        assert_eq!(toml_literal(&serde_json::json!(["a\"b", 1, 0.5, true])), r#"["a\"b", 1, 0.5, true]"#);
        assert_eq!(toml_literal(&Json::Null), "");
        assert_eq!(toml_literal(&serde_json::json!([])), "");
    }
}
