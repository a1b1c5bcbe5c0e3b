//! What is gathered while the file is walked: faults, and where each setting stands.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;

use super::environment::Environment;
use super::kind::text::FILE;
use super::kind::{Fault, Item, Kind};
use super::setting::Setting;

/// A place in the file: the path of a setting or a section, and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// `proxy.limits.header`, `sources.mesos[0]`.
    pub(crate) path: String,
    /// The same for environment variables: `PROXY_LIMITS_HEADER`, `SOURCES_MESOS_MAIN`.
    variable: String,
    /// Where it stands, in octets.
    pub(crate) span: Range<usize>,
}

impl Place {
    /// The whole file.
    pub(crate) fn root() -> Self {
        Self { path: String::new(), variable: String::new(), span: 0..0 }
    }

    /// A key of the section.
    pub(crate) fn child(&self, key: &str, span: Range<usize>) -> Self {
        // An unknown key can be any text; a message shows one line of it.
        let key: String = key.chars().take(64).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
        let join = |path: &str, separator: &str, key: &str| match path {
            "" => key.to_owned(),
            path => format!("{path}{separator}{key}"),
        };
        Self { path: join(&self.path, ".", &key), variable: join(&self.variable, "_", &variable_part(&key)), span }
    }

    /// An entry of the list.
    pub(crate) fn entry(&self, position: usize, name: Option<&str>, span: Range<usize>) -> Self {
        let name = name.map_or_else(|| position.to_string(), variable_part);
        Self { path: format!("{}[{position}]", self.path), variable: format!("{}_{name}", self.variable), span }
    }

    /// The same path, another spot.
    pub(crate) fn at(&self, span: Range<usize>) -> Self {
        Self { span, ..self.clone() }
    }
}

/// Gathers what a walk over the file finds.
pub(crate) struct Reader<'a> {
    base: &'a Path,
    environment: Environment<'a>,
    found: Vec<Placed>,
    spans: HashMap<String, Range<usize>>,
}

/// A fault with the setting that it belongs to.
pub(crate) struct Placed {
    pub(crate) key: String,
    pub(crate) fault: Fault,
}

impl<'a> Reader<'a> {
    /// Relative paths start at `base`.
    pub(crate) fn new(base: &'a Path, environment: Environment<'a>) -> Self {
        Self { base, environment, found: Vec::new(), spans: HashMap::new() }
    }

    /// The folder that relative paths start from.
    pub(crate) fn base(&self) -> &'a Path {
        self.base
    }

    /// Remembers where a setting stands.
    pub(crate) fn note(&mut self, place: &Place) {
        self.spans.insert(place.path.clone(), place.span.clone());
    }

    /// Whether the file has the setting or section.
    pub(crate) fn has(&self, path: &str) -> bool {
        self.spans.contains_key(path)
    }

    /// A fault at a place.
    pub(crate) fn fault(&mut self, place: &Place, message: impl Into<String>, mend: impl Into<String>) {
        self.faults::<()>(place, Err(Fault::one(place.span.clone(), message, mend)));
    }

    /// A fault of a setting that was walked over, or, where it is not in the file, of the nearest section above.
    pub(crate) fn fault_of(&mut self, path: &str, message: impl Into<String>, mend: impl Into<String>) {
        let mut above = path;
        let span = loop {
            if let Some(span) = self.spans.get(above) {
                break Some(span.clone());
            }
            match above.rsplit_once('.') {
                Some((shorter, _)) => above = shorter,
                None => break None,
            }
        };
        let fault = Fault { span, message: message.into(), mend: mend.into() };
        self.found.push(Placed { key: path.to_owned(), fault });
    }

    /// Notes the faults of a reading.
    pub(crate) fn faults<T>(&mut self, place: &Place, reading: Result<T, Vec<Fault>>) {
        let faults = reading.err().into_iter().flatten();
        self.found.extend(faults.map(|fault| Placed { key: place.path.clone(), fault }));
    }

    /// Everything that was found.
    pub(crate) fn into_faults(self) -> Vec<Placed> {
        self.found
    }

    /// Reads a secret that does not stand in the file itself: an environment variable comes before a file that the
    /// environment names, that before a file that the configuration names.
    pub(crate) fn secret<'f, 'i: 'f, S: 'static>(
        &mut self,
        setting: &Setting<S>,
        target: &mut S,
        find: impl Fn(&str) -> Option<&'f Item<'i>>,
        section: &Place,
    ) {
        let (key, twin) = (setting.doc.key, format!("{}_file", setting.doc.key));
        let file = find(&twin);
        let place = section.child(key, find(key).or(file).map_or(section.span.clone(), Item::span));
        if let (Some(_), Some(file)) = (find(key), file) {
            let place = section.child(&twin, file.span());
            return self.fault(&place, format!("`{key}` and `{twin}` are both given"), "remove one of the two");
        }
        let variable = format!("POINTSMAN_{}", place.variable);
        let file_variable = format!("{variable}_FILE");
        match (self.environment.variable(&variable), self.environment.variable(&file_variable)) {
            (Some(_), Some(_)) => {
                let message = format!("the environment has both {variable} and {file_variable}");
                self.fault(&place, message, "unset one of the two");
            }
            (Some(text), None) => {
                let read = setting.read_text(target, text.trim().to_owned(), place.span.clone(), self.base);
                self.faults(&place, read.map_err(|faults| from_elsewhere(faults, &variable)));
            }
            (None, Some(path)) => self.secret_file(setting, target, Path::new(&path), &place, &file_variable),
            (None, None) => {
                let Some(item) = file else { return };
                let place = section.child(&twin, item.span());
                match FILE.read(item, self.base) {
                    Ok(path) => self.secret_file(setting, target, &path, &place, ""),
                    Err(faults) => self.faults::<()>(&place, Err(faults)),
                }
            }
        }
    }

    fn secret_file<S: 'static>(
        &mut self,
        setting: &Setting<S>,
        target: &mut S,
        path: &Path,
        place: &Place,
        variable: &str,
    ) {
        let named = match variable {
            "" => format!("the file {}", path.display()),
            variable => format!("the file {} of {variable}", path.display()),
        };
        match self.environment.file(path) {
            Ok(text) => {
                let read = setting.read_text(target, text, place.span.clone(), self.base);
                self.faults(place, read.map_err(|faults| from_elsewhere(faults, &named)));
            }
            Err(error) => {
                let message = format!("{named} with the secret cannot be read: {error}");
                self.fault(place, message, "check the path and who may read it");
            }
        }
    }
}

fn from_elsewhere(mut faults: Vec<Fault>, origin: &str) -> Vec<Fault> {
    for fault in &mut faults {
        fault.message = format!("{} (from {origin})", fault.message);
    }
    faults
}

/// The key as it is in an environment variable.
fn variable_part(key: &str) -> String {
    key.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect()
}
