//! Sections of the file: tables of settings, tables within tables, and lists of tables.
//!
//! A section is read, shown, compared and described by walking its rows; nothing else knows the file's layout.

use std::collections::HashMap;
use std::ops::Range;

use serde_json::{Map, Value as Json};
use toml::de::{DeTable, DeValue};

use super::kind::{Item, type_noun};
use super::nearest::nearest;
use super::reader::{Place, Reader};
use super::setting::{Doc, Reload, Setting};

/// A table of the file whose values are in an `S`.
pub(crate) struct Section<S> {
    name: &'static str,
    about: &'static str,
    settings: Vec<Setting<S>>,
    sections: Vec<Self>,
    lists: Vec<List<S>>,
    presence: Option<Presence<S>>,
}

/// For a section that means something by being there.
pub(crate) struct Presence<S> {
    /// Whether it is.
    pub(crate) is_present: fn(&S) -> bool,
    /// Notes that it is.
    pub(crate) note: fn(&mut S),
}

/// A list of tables.
struct List<S> {
    name: &'static str,
    about: &'static str,
    most: usize,
    reload: Reload,
    examples: &'static [Example],
    entries: Box<dyn Entries<S>>,
}

/// How entries of a list are shown in the sample.
pub(crate) struct Example {
    /// What it shows.
    pub(crate) about: &'static str,
    /// Whether it is in force in the sample, or commented out.
    pub(crate) active: bool,
    /// Keys (with their subsection) and values in TOML.
    pub(crate) values: &'static [(&'static str, &'static str)],
}

/// What is said of a list.
pub(crate) struct ListRules {
    /// Entries at most.
    pub(crate) most: usize,
    /// When an added or removed entry takes effect.
    pub(crate) reload: Reload,
    /// Entries for the sample; the first one is followed by all other settings, commented.
    pub(crate) examples: &'static [Example],
}

/// A setting that differs between two configurations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    /// The setting, entries of lists by name: `sources.mesos[main].zone`.
    pub(crate) key: String,
    /// When it takes effect.
    pub(crate) reload: Reload,
}

/// A section as the generators see it.
pub(crate) struct SectionDoc {
    /// `proxy.limits`, `sources.mesos`.
    pub(crate) path: String,
    pub(crate) about: &'static str,
    /// Whether it is a list of tables, or within one.
    pub(crate) list: bool,
    pub(crate) settings: Vec<(Doc, Json)>,
    pub(crate) sections: Vec<Self>,
    pub(crate) examples: &'static [Example],
}

impl<S: 'static> Section<S> {
    /// An empty section; the root's name is empty.
    pub(crate) fn new(name: &'static str, about: &'static str) -> Self {
        Self { name, about, settings: Vec::new(), sections: Vec::new(), lists: Vec::new(), presence: None }
    }

    /// … with settings.
    pub(crate) fn settings(mut self, settings: impl IntoIterator<Item = Setting<S>>) -> Self {
        self.settings.extend(settings);
        self
    }

    /// … with a section within.
    pub(crate) fn section(mut self, section: Self) -> Self {
        self.sections.push(section);
        self
    }

    /// … that means something by being there.
    pub(crate) fn presence(mut self, presence: Presence<S>) -> Self {
        self.presence = Some(presence);
        self
    }

    /// … with a list of tables within, each of them described by `entry`.
    pub(crate) fn list<E: Entry>(
        mut self,
        rules: &ListRules,
        entry: Section<E>,
        entries: fn(&S) -> &Vec<E>,
        entries_mut: fn(&mut S) -> &mut Vec<E>,
    ) -> Self {
        self.lists.push(List {
            name: entry.name,
            about: entry.about,
            most: rules.most,
            reload: rules.reload,
            examples: rules.examples,
            entries: Box::new(TypedEntries { section: entry, entries, entries_mut }),
        });
        self
    }

    /// Reads a table of the file into `target`, noting every fault. Absent tables are read too: their secrets may
    /// come from the environment.
    pub(crate) fn read(&self, target: &mut S, table: Option<&DeTable<'_>>, at: &Place, reader: &mut Reader<'_>) {
        if let (Some(presence), Some(_)) = (&self.presence, table) {
            (presence.note)(target);
        }
        for (key, item) in table.into_iter().flatten() {
            let place = at.child(key.get_ref(), item.span());
            reader.note(&place);
            self.read_key(target, key.get_ref(), key.span(), item, &place, reader);
        }
        let find = |name: &str| table.and_then(|table| table.get(name));
        for setting in &self.settings {
            if setting.doc.secret {
                reader.secret(setting, target, find, at);
            }
            if setting.doc.required && table.is_some() && find(setting.doc.key).is_none() {
                let place = at.child(setting.doc.key, at.span.clone());
                let mend = format!("add it like `{} = {}`", setting.doc.key, setting.doc.example);
                reader.fault(&place, "the setting is missing", mend);
            }
        }
        for section in &self.sections {
            let item = find(section.name);
            let place = at.child(section.name, item.map_or(at.span.clone(), Item::span));
            section.read(target, item.and_then(|item| as_table(item)), &place, reader);
        }
    }

    fn read_key(
        &self,
        target: &mut S,
        key: &str,
        key_span: Range<usize>,
        item: &Item<'_>,
        place: &Place,
        reader: &mut Reader<'_>,
    ) {
        if let Some(setting) = self.settings.iter().find(|setting| setting.doc.key == key) {
            let read = setting.read(target, item, reader.base());
            reader.faults(place, read);
        } else if let Some(list) = self.lists.iter().find(|list| list.name == key) {
            list.read(target, item, place, reader);
        } else if self.sections.iter().any(|section| section.name == key) {
            if as_table(item).is_none() {
                let message = format!("found {}, expected a section", type_noun(item.get_ref()));
                reader.fault(place, message, format!("write it as [{}] with its settings below", place.path));
            }
        } else if !self.is_twin(key) {
            reader.fault(&place.at(key_span), "there is no such key", self.suggestion(key, place));
        }
    }

    /// Whether the key is a secret's `…_file`, which is read with the secret.
    fn is_twin(&self, key: &str) -> bool {
        let of = |setting: &Setting<S>| setting.doc.secret && key.strip_suffix("_file") == Some(setting.doc.key);
        self.settings.iter().any(of)
    }

    fn suggestion(&self, key: &str, place: &Place) -> String {
        let twins = self.settings.iter().filter(|s| s.doc.secret).map(|s| format!("{}_file", s.doc.key));
        let known: Vec<String> = self.keys().map(str::to_owned).chain(twins).collect();
        if let Some(near) = nearest(key, known.iter().map(String::as_str)) {
            return format!("did you mean `{near}`?");
        }
        let here = match place.path.rsplit_once('.') {
            Some((section, _)) => format!("known in [{section}]"),
            None => "known here".to_owned(),
        };
        format!("remove it; {here}: {}", known.join(", "))
    }

    fn keys(&self) -> impl Iterator<Item = &'static str> {
        let settings = self.settings.iter().map(|setting| setting.doc.key);
        settings.chain(self.sections.iter().map(|section| section.name)).chain(self.lists.iter().map(|list| list.name))
    }

    /// The section as JSON, secrets hidden.
    pub(crate) fn show(&self, target: &S) -> Json {
        if self.presence.as_ref().is_some_and(|presence| !(presence.is_present)(target)) {
            return Json::Null;
        }
        let settings = self.settings.iter().map(|setting| (setting.doc.key.to_owned(), setting.show(target)));
        let sections = self.sections.iter().map(|section| (section.name.to_owned(), section.show(target)));
        let lists = self.lists.iter().map(|list| (list.name.to_owned(), list.entries.show(target)));
        Json::Object(settings.chain(sections).chain(lists).collect::<Map<_, _>>())
    }

    /// What differs between two configurations.
    pub(crate) fn changes(&self, old: &S, new: &S, path: &str, found: &mut Vec<Change>) {
        for setting in self.settings.iter().filter(|setting| !setting.is_same(old, new)) {
            found.push(Change { key: join(path, setting.doc.key), reload: setting.doc.reload });
        }
        if let Some(presence) = &self.presence
            && (presence.is_present)(old) != (presence.is_present)(new)
        {
            found.push(Change { key: path.to_owned(), reload: Reload::Live });
        }
        for section in &self.sections {
            section.changes(old, new, &join(path, section.name), found);
        }
        for list in &self.lists {
            list.entries.changes(old, new, &join(path, list.name), list.reload, found);
        }
    }

    /// What the generators need to know; `defaults` is the section with nothing set.
    pub(crate) fn describe(&self, defaults: &S, path: &str, list: bool) -> SectionDoc {
        let sections = self.sections.iter().map(|section| section.describe(defaults, &join(path, section.name), list));
        let lists = self.lists.iter().map(|list| {
            let doc = list.entries.describe(&join(path, list.name));
            SectionDoc { about: list.about, examples: list.examples, ..doc }
        });
        SectionDoc {
            path: path.to_owned(),
            about: self.about,
            list,
            settings: self.settings.iter().map(|setting| (setting.doc.clone(), setting.show(defaults))).collect(),
            sections: sections.chain(lists).collect(),
            examples: &[],
        }
    }
}

/// What an entry of a list must be able to say.
pub(crate) trait Entry: Default + 'static {
    /// Its name within the list; `None`: it is known by its position.
    fn name(&self) -> Option<String>;
}

/// A list of entries whose type is hidden.
trait Entries<S>: Send + Sync {
    fn read_one(&self, target: &mut S, table: &DeTable<'_>, at: &Place, reader: &mut Reader<'_>);
    fn show(&self, target: &S) -> Json;
    fn changes(&self, old: &S, new: &S, path: &str, reload: Reload, found: &mut Vec<Change>);
    fn describe(&self, path: &str) -> SectionDoc;
}

struct TypedEntries<S, E> {
    section: Section<E>,
    entries: fn(&S) -> &Vec<E>,
    entries_mut: fn(&mut S) -> &mut Vec<E>,
}

impl<S: 'static, E: Entry> Entries<S> for TypedEntries<S, E> {
    fn read_one(&self, target: &mut S, table: &DeTable<'_>, at: &Place, reader: &mut Reader<'_>) {
        let mut entry = E::default();
        self.section.read(&mut entry, Some(table), at, reader);
        (self.entries_mut)(target).push(entry);
    }

    fn show(&self, target: &S) -> Json {
        (self.entries)(target).iter().map(|entry| self.section.show(entry)).collect()
    }

    fn changes(&self, old: &S, new: &S, path: &str, reload: Reload, found: &mut Vec<Change>) {
        let (old, new) = (by_name((self.entries)(old)), by_name((self.entries)(new)));
        for (name, entry) in &new {
            match old.get(name) {
                Some(former) => self.section.changes(former, entry, &format!("{path}[{name}]"), found),
                None => found.push(Change { key: format!("{path}[{name}]"), reload }),
            }
        }
        let gone = old.keys().filter(|name| !new.contains_key(*name));
        found.extend(gone.map(|name| Change { key: format!("{path}[{name}]"), reload }));
    }

    fn describe(&self, path: &str) -> SectionDoc {
        self.section.describe(&E::default(), path, true)
    }
}

/// A path as the header of a table has it: without the places of entries in their lists.
fn header(path: &str) -> String {
    let mut depth = 0;
    let outside = |character: &char| {
        depth += u32::from(*character == '[');
        let is_outside = depth == 0;
        depth -= u32::from(*character == ']');
        is_outside
    };
    path.chars().filter(outside).collect()
}

impl<S: 'static> List<S> {
    fn read(&self, target: &mut S, item: &Item<'_>, place: &Place, reader: &mut Reader<'_>) {
        let DeValue::Array(items) = item.get_ref() else {
            let message = format!("found {}, expected a list of tables", type_noun(item.get_ref()));
            return reader.fault(place, message, format!("write [[{}]] with double brackets", header(&place.path)));
        };
        if items.len() > self.most {
            let message = format!("{} entries are here, {} are allowed", items.len(), self.most);
            return reader.fault(place, message, "remove some");
        }
        for (position, item) in items.iter().enumerate() {
            let Some(table) = as_table(item) else {
                let message = format!("found {}, expected a table", type_noun(item.get_ref()));
                reader.fault(&place.at(item.span()), message, format!("write it as [[{}]]", header(&place.path)));
                continue;
            };
            let name = table.get("name").and_then(|name| name.get_ref().as_str());
            let entry = place.entry(position, name, item.span());
            reader.note(&entry);
            self.entries.read_one(target, table, &entry, reader);
        }
    }
}

fn by_name<E: Entry>(entries: &[E]) -> HashMap<String, &E> {
    let named = |(position, entry): (usize, _)| (E::name(entry).unwrap_or_else(|| position.to_string()), entry);
    entries.iter().enumerate().map(named).collect()
}

fn as_table<'a, 'i>(item: &'a Item<'i>) -> Option<&'a DeTable<'i>> {
    match item.get_ref() {
        DeValue::Table(table) => Some(table),
        _ => None,
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}
