//! The sample file: every setting with what is known of it, a small working configuration in force.

use super::{default_text, root, toml_literal, type_text, variable};
use crate::config::section::{Example, SectionDoc};
use crate::config::setting::Doc;

/// The complete, commented configuration file.
pub fn sample_file() -> String {
    let mut sample = Sample { text: String::new() };
    sample.text.push_str(HEAD);
    for section in &root().sections {
        sample.section(section);
    }
    sample.text
}

const HEAD: &str = "\
# The configuration of Pointsman: every setting, with its default.
#
# Made by `pointsman config sample`; change what you need and leave out the rest. A line that begins with `#` and a key
# (no space between) is a setting that is not in force: take the `#` away to set it. `pointsman check FILE` tells all
# faults of a file with their places.
#
# Durations are written like \"250ms\", \"10s\", \"5m\", \"1h\", \"1d\"; sizes like \"64KiB\" or as a number of octets. Relative
# paths start at this file's folder. The file is watched; SIGHUP reads it again too. Each setting says when a change
# takes effect: `live` at once, without touching a connection; `listener` by opening its listener anew; `restart` only
# at a start (a reload that changes one of these is refused as a whole).
";

/// Settings outside lists that are in force in the sample, at their example.
const IN_FORCE: &[&str] = &["dns.listen", "admin.listen"];

struct Sample {
    text: String,
}

impl Sample {
    fn section(&mut self, section: &SectionDoc) {
        if section.list {
            return self.list(section);
        }
        if !section.settings.is_empty() {
            self.text.push_str("\n\n");
            self.prose(section.about);
            self.line("", &format!("[{}]", section.path));
            for (doc, default) in &section.settings {
                self.describe(section, doc, default);
                let in_force = IN_FORCE.contains(&format!("{}.{}", section.path, doc.key).as_str());
                self.line(if in_force { "" } else { "#" }, &assignment(doc, default));
            }
        }
        for section in &section.sections {
            self.section(section);
        }
    }

    /// The first example with all settings explained, then the others as they are.
    fn list(&mut self, section: &SectionDoc) {
        let Some((first, others)) = section.examples.split_first() else { return };
        self.text.push_str("\n\n");
        self.prose(section.about);
        self.text.push_str("#\n");
        self.prose(first.about);
        self.line(mark(first), &format!("[[{}]]", section.path));
        for (doc, default) in &section.settings {
            self.describe(section, doc, default);
            match first.values.iter().find(|(key, _)| *key == doc.key) {
                Some((key, value)) => self.line(mark(first), &format!("{key} = {value}")),
                // A space keeps what excludes another setting from being taken for one.
                None if doc.alternative => self.line("# ", &assignment(doc, default)),
                None => self.line("#", &assignment(doc, default)),
            }
        }
        for section in &section.sections {
            self.subsection(section);
        }
        for example in others {
            self.text.push('\n');
            self.prose(example.about);
            self.line(mark(example), &format!("[[{}]]", section.path));
            for (key, value) in example.values {
                self.line(mark(example), &format!("{key} = {value}"));
            }
        }
    }

    fn subsection(&mut self, section: &SectionDoc) {
        self.text.push('\n');
        self.prose(section.about);
        // A list within an entry of a list: one entry of it.
        let heading = match section.examples {
            [] => format!("[{}]", section.path),
            _ => format!("[[{}]]", section.path),
        };
        self.line("#", &heading);
        let shown = section.examples.first().map_or(&[][..], |example| example.values);
        for (doc, default) in &section.settings {
            self.describe(section, doc, default);
            match shown.iter().find(|(key, _)| *key == doc.key) {
                Some((key, value)) => self.line("#", &format!("{key} = {value}")),
                None => self.line("#", &assignment(doc, default)),
            }
        }
    }

    fn describe(&mut self, section: &SectionDoc, doc: &Doc, default: &serde_json::Value) {
        self.text.push('\n');
        self.prose(doc.meaning);
        if doc.secret {
            let variable = variable(section, doc);
            self.prose(&format!(
                "Given in a file as here, as `{} = \"…\"`, or in the environment as {variable} or {variable}_FILE.",
                doc.key
            ));
        }
        self.prose(&format!(
            "Type: {}. Default: {}. Reload: {}.",
            type_text(doc),
            default_text(doc, default),
            doc.reload.as_str()
        ));
        if !doc.cost.starts_with("None") {
            self.prose(&format!("Cost: {}", doc.cost));
        }
    }

    fn line(&mut self, mark: &str, text: &str) {
        self.text.push_str(mark);
        self.text.push_str(text);
        self.text.push('\n');
    }

    /// A comment, broken into lines.
    fn prose(&mut self, text: &str) {
        let mut line = String::from("#");
        for word in text.split(' ') {
            if line.chars().count() + 1 + word.chars().count() > WIDTH {
                self.line("", &line);
                line = String::from("#");
            }
            line.push(' ');
            line.push_str(word);
        }
        self.line("", &line);
    }
}

fn mark(example: &Example) -> &'static str {
    if example.active { "" } else { "#" }
}

fn assignment(doc: &Doc, default: &serde_json::Value) -> String {
    if doc.secret {
        return format!("{}_file = \"/etc/pointsman/{}\"", doc.key, doc.key.replace('_', "-"));
    }
    let literal = match (doc.example, toml_literal(default)) {
        // A default that depends on the machine must not depend on where the sample was made.
        (example, literal) if literal.is_empty() || !doc.default_words.is_empty() => example.to_owned(),
        (_, literal) => literal,
    };
    format!("{} = {literal}", doc.key)
}

/// Characters in a line of comment.
const WIDTH: usize = 110;
