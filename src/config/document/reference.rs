//! The reference of all settings, for the README.

use std::fmt::Write;

use super::{default_text, root, type_text, variable};
use crate::config::section::SectionDoc;
use crate::config::setting::Doc;

/// A Markdown table for each section of the file.
pub fn reference_markdown() -> String {
    let mut text = String::new();
    for section in &root().sections {
        write_section(&mut text, section);
    }
    text
}

fn write_section(text: &mut String, section: &SectionDoc) {
    if !section.settings.is_empty() {
        let heading = match section.examples {
            [] => format!("[{}]", section.path),
            _ => format!("[[{}]]", section.path),
        };
        let separator = if text.is_empty() { "" } else { "\n" };
        write!(text, "{separator}#### `{heading}`\n\n{}\n\n{COLUMNS}", section.about).expect("a string takes all");
        for (doc, default) in &section.settings {
            let cells = [
                format!("`{}`", doc.key),
                type_text(doc),
                code(&default_text(doc, default)),
                doc.reload.as_str().to_owned(),
                meaning(section, doc),
            ];
            writeln!(text, "| {} |", cells.map(|cell| cell.replace('|', "\\|")).join(" | "))
                .expect("a string takes all");
        }
    }
    for section in &section.sections {
        write_section(text, section);
    }
}

const COLUMNS: &str = "| Setting | Type | Default | Reload | Meaning and cost |\n|---|---|---|---|---|\n";

/// TOML as code, words as they are.
fn code(default: &str) -> String {
    match default.chars().next() {
        Some('"' | '[' | '0'..='9') => format!("`{default}`"),
        _ if default == "true" || default == "false" => format!("`{default}`"),
        _ => default.to_owned(),
    }
}

fn meaning(section: &SectionDoc, doc: &Doc) -> String {
    let mut text = doc.meaning.to_owned();
    if doc.secret {
        let variable = variable(section, doc);
        write!(text, " Also as `{}_file`, or in the environment as `{variable}` or `{variable}_FILE`.", doc.key)
            .expect("a string takes all");
    }
    if !doc.cost.starts_with("None") {
        write!(text, " *Cost: {}*", doc.cost).expect("a string takes all");
    }
    text
}
