//! One row of the settings table: a key with its meaning, and the way between the file and the program's types.

use std::ops::Range;
use std::path::Path;

use serde::Serialize;
use serde_json::Value as Json;

use super::kind::{Fault, Item, Kind};

/// When a changed setting takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Reload {
    /// At once, without touching a connection.
    Live,
    /// Its listener is opened anew; others, and connections in flight, go on.
    Listener,
    /// Only when the program starts.
    Restart,
}

impl Reload {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Listener => "listener",
            Self::Restart => "restart",
        }
    }
}

/// What is known of a setting without its type.
#[derive(Clone, Debug)]
pub(crate) struct Doc {
    /// The last part of its path.
    pub(crate) key: &'static str,
    /// What its value is, with an article.
    pub(crate) noun: String,
    /// The values allowed; empty: all.
    pub(crate) range: String,
    /// What a number counts; empty where the value says it.
    pub(crate) unit: &'static str,
    /// What it does.
    pub(crate) meaning: &'static str,
    /// What raising or setting it costs.
    pub(crate) cost: &'static str,
    /// When a change takes effect.
    pub(crate) reload: Reload,
    /// It has no default and must be given.
    pub(crate) required: bool,
    /// It is never shown, has a `…_file` twin and an environment variable.
    pub(crate) secret: bool,
    /// It excludes other settings of its section: the sample shows it apart from them.
    pub(crate) alternative: bool,
    /// A valid value in TOML for the sample, where the default is none.
    pub(crate) example: &'static str,
    /// The default in words, where it depends on something.
    pub(crate) default_words: &'static str,
}

type Read<S> = Box<dyn Fn(&mut S, &Item<'_>, &Path) -> Result<(), Vec<Fault>> + Send + Sync>;
type Show<S> = Box<dyn Fn(&S) -> Json + Send + Sync>;
type Same<S> = Box<dyn Fn(&S, &S) -> bool + Send + Sync>;

/// A setting of a section whose values are in an `S`.
pub(crate) struct Setting<S> {
    pub(crate) doc: Doc,
    read: Read<S>,
    show: Show<S>,
    same: Same<S>,
}

impl<S: 'static> Setting<S> {
    /// A setting that reloads live; the rest is said by the methods below.
    pub(crate) fn new<K: Kind>(
        key: &'static str,
        kind: K,
        get: impl Fn(&S) -> K::Value + Clone + Send + Sync + 'static,
        set: impl Fn(&mut S, K::Value) + Send + Sync + 'static,
    ) -> Self {
        let doc = Doc {
            key,
            noun: kind.noun(),
            range: kind.range(),
            unit: "",
            meaning: "",
            cost: "",
            reload: Reload::Live,
            required: false,
            secret: false,
            alternative: false,
            example: "",
            default_words: "",
        };
        let kind = std::sync::Arc::new(kind);
        let (reader, shower, got) = (kind.clone(), kind, get.clone());
        Self {
            doc,
            read: Box::new(move |target, item, base| {
                set(target, reader.read(item, base)?);
                Ok(())
            }),
            show: Box::new(move |target| shower.show(&got(target))),
            same: Box::new(move |one, other| get(one) == get(other)),
        }
    }

    /// What it does.
    pub(crate) fn means(mut self, meaning: &'static str) -> Self {
        self.doc.meaning = meaning;
        self
    }

    /// What raising or setting it costs.
    pub(crate) fn costs(mut self, cost: &'static str) -> Self {
        self.doc.cost = cost;
        self
    }

    /// What the number counts.
    pub(crate) fn unit(mut self, unit: &'static str) -> Self {
        self.doc.unit = unit;
        self
    }

    /// When a change takes effect.
    pub(crate) fn reloads(mut self, reload: Reload) -> Self {
        self.doc.reload = reload;
        self
    }

    /// It must be given.
    pub(crate) fn required(mut self) -> Self {
        self.doc.required = true;
        self
    }

    /// It is a secret.
    pub(crate) fn secret(mut self) -> Self {
        self.doc.secret = true;
        self
    }

    /// It excludes other settings of its section.
    pub(crate) fn alternative(mut self) -> Self {
        self.doc.alternative = true;
        self
    }

    /// A valid value in TOML, shown where there is no default.
    pub(crate) fn example(mut self, toml: &'static str) -> Self {
        self.doc.example = toml;
        self
    }

    /// The default in words.
    pub(crate) fn by_default(mut self, words: &'static str) -> Self {
        self.doc.default_words = words;
        self
    }

    /// Reads the value from the file.
    pub(crate) fn read(&self, target: &mut S, item: &Item<'_>, base: &Path) -> Result<(), Vec<Fault>> {
        (self.read)(target, item, base)
    }

    /// Reads a value that stands elsewhere; faults point at `span`.
    pub(crate) fn read_text(
        &self,
        target: &mut S,
        text: String,
        span: Range<usize>,
        base: &Path,
    ) -> Result<(), Vec<Fault>> {
        let item = Item::new(span, toml::de::DeValue::String(text.into()));
        (self.read)(target, &item, base)
    }

    /// The value as JSON, secrets hidden.
    pub(crate) fn show(&self, target: &S) -> Json {
        (self.show)(target)
    }

    /// Whether two sections agree in it.
    pub(crate) fn is_same(&self, one: &S, other: &S) -> bool {
        (self.same)(one, other)
    }
}

/// A row: the type that holds the section, the key, the kind, and the field.
macro_rules! setting {
    ($section:ty, $key:literal, $kind:expr, $($field:ident).+) => {
        $crate::config::setting::Setting::<$section>::new(
            $key,
            $kind,
            |section: &$section| section.$($field).+.clone(),
            |section: &mut $section, value| section.$($field).+ = value,
        )
    };
}

pub(crate) use setting;
