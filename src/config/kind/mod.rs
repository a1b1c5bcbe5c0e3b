//! Kinds of values: each reads a TOML value, says what it expected where it cannot, and shows a value as JSON.
//!
//! Pure: no kind opens a file or asks a clock. A list reports every element that is at fault, not the first one.

pub(crate) mod algorithm;
pub(crate) mod cookie;
pub(crate) mod duration;
pub(crate) mod fields;
pub(crate) mod masters;
pub(crate) mod network;
pub(crate) mod number;
pub(crate) mod ports;
pub(crate) mod size;
pub(crate) mod text;
pub(crate) mod tsig;
pub(crate) mod upstream;
pub(crate) mod url;

use std::ops::Range;
use std::path::Path;

use serde_json::Value as Json;
use toml::Spanned;
use toml::de::DeValue;

/// A value in the file, with its place.
pub(crate) type Item<'i> = Spanned<DeValue<'i>>;

/// One kind of value.
pub(crate) trait Kind: Send + Sync + 'static {
    /// What it reads to.
    type Value: Clone + PartialEq + 'static;

    /// What it is, with its article: `a duration`.
    fn noun(&self) -> String;

    /// The values allowed, where not all are: `1ms to 1h`.
    fn range(&self) -> String {
        String::new()
    }

    /// A valid value in TOML, for messages.
    fn example(&self) -> String;

    /// Reads a value; `base` is the folder that relative paths start from.
    fn read(&self, item: &Item<'_>, base: &Path) -> Result<Self::Value, Vec<Fault>>;

    /// The value as JSON, null where it is absent. What must stay secret is hidden here.
    fn show(&self, value: &Self::Value) -> Json;

    /// That the value is of another type.
    fn wrong_type(&self, item: &Item<'_>) -> Vec<Fault> {
        Fault::one(
            item.span(),
            format!("found {}, expected {}", type_noun(item.get_ref()), self.noun()),
            format!("write it like {}", self.example()),
        )
    }

    /// The string in the file, or that there is none.
    fn string<'a>(&self, item: &'a Item<'_>) -> Result<&'a str, Vec<Fault>> {
        item.get_ref().as_str().ok_or_else(|| self.wrong_type(item))
    }
}

/// What is wrong at one place of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Where, in octets from the file's beginning; `None` where the fault does not lie in the file.
    pub(crate) span: Option<Range<usize>>,
    /// What is wrong.
    pub(crate) message: String,
    /// How to mend it.
    pub(crate) mend: String,
}

impl Fault {
    /// A list with this one fault.
    pub(crate) fn one(span: Range<usize>, message: impl Into<String>, mend: impl Into<String>) -> Vec<Self> {
        vec![Self { span: Some(span), message: message.into(), mend: mend.into() }]
    }
}

/// A value that may be absent.
pub(crate) struct Optional<K>(pub(crate) K);

impl<K: Kind> Kind for Optional<K> {
    type Value = Option<K::Value>;

    fn noun(&self) -> String {
        self.0.noun()
    }

    fn range(&self) -> String {
        self.0.range()
    }

    fn example(&self) -> String {
        self.0.example()
    }

    fn read(&self, item: &Item<'_>, base: &Path) -> Result<Self::Value, Vec<Fault>> {
        self.0.read(item, base).map(Some)
    }

    fn show(&self, value: &Self::Value) -> Json {
        value.as_ref().map_or(Json::Null, |value| self.0.show(value))
    }
}

/// A list of values, each at most once.
pub(crate) struct Many<K> {
    element: K,
    plural: &'static str,
    least: usize,
    most: usize,
}

impl<K: Kind> Many<K> {
    /// A list of at most `most` elements, called by their plural.
    pub(crate) fn new(element: K, plural: &'static str, most: usize) -> Self {
        Self { element, plural, least: 0, most }
    }

    /// … that is not empty.
    pub(crate) fn some(self) -> Self {
        Self { least: 1, ..self }
    }
}

impl<K: Kind> Kind for Many<K> {
    type Value = Vec<K::Value>;

    fn noun(&self) -> String {
        format!("a list of {}", self.plural)
    }

    fn range(&self) -> String {
        match (self.least, self.element.range().as_str()) {
            (0, "") => format!("at most {}", self.most),
            (least, "") => format!("{least} to {}", self.most),
            (0, range) => format!("at most {}, each {range}", self.most),
            (least, range) => format!("{least} to {}, each {range}", self.most),
        }
    }

    fn example(&self) -> String {
        format!("[{}]", self.element.example())
    }

    fn read(&self, item: &Item<'_>, base: &Path) -> Result<Self::Value, Vec<Fault>> {
        let DeValue::Array(items) = item.get_ref() else { return Err(self.wrong_type(item)) };
        if items.len() < self.least || items.len() > self.most {
            let message = format!("{} {} are here, {} are allowed", items.len(), self.plural, self.range());
            return Err(Fault::one(item.span(), message, format!("write it like {}", self.example())));
        }
        let (mut values, mut faults) = (Vec::new(), Vec::new());
        for item in items {
            match self.element.read(item, base) {
                Ok(value) if values.contains(&value) => faults.extend(repeated(item)),
                Ok(value) => values.push(value),
                Err(found) => faults.extend(found),
            }
        }
        if faults.is_empty() { Ok(values) } else { Err(faults) }
    }

    fn show(&self, value: &Self::Value) -> Json {
        value.iter().map(|value| self.element.show(value)).collect()
    }
}

fn repeated(item: &Item<'_>) -> Vec<Fault> {
    Fault::one(item.span(), "the value stands in the list twice", "remove one of the two")
}

/// True or false.
pub(crate) struct Flag;

impl Kind for Flag {
    type Value = bool;

    fn noun(&self) -> String {
        "a boolean".into()
    }

    fn example(&self) -> String {
        "true".into()
    }

    fn read(&self, item: &Item<'_>, _base: &Path) -> Result<bool, Vec<Fault>> {
        item.get_ref().as_bool().ok_or_else(|| self.wrong_type(item))
    }

    fn show(&self, value: &bool) -> Json {
        (*value).into()
    }
}

/// One of a few words.
pub(crate) struct Choice<T: 'static>(pub(crate) &'static [(&'static str, T)]);

impl<T: Copy + PartialEq + Send + Sync + 'static> Kind for Choice<T> {
    type Value = T;

    fn noun(&self) -> String {
        "a word".into()
    }

    fn range(&self) -> String {
        let words: Vec<String> = self.0.iter().map(|(word, _)| format!("{word:?}")).collect();
        words.join(" or ")
    }

    fn example(&self) -> String {
        self.0.first().map(|(word, _)| format!("{word:?}")).unwrap_or_default()
    }

    fn read(&self, item: &Item<'_>, _base: &Path) -> Result<T, Vec<Fault>> {
        let text = self.string(item)?;
        let known = self.0.iter().find(|(word, _)| *word == text);
        known.map(|(_, value)| *value).ok_or_else(|| {
            Fault::one(
                item.span(),
                format!("{:?} is none of the words known here", clip(text)),
                format!("write {}", self.range()),
            )
        })
    }

    fn show(&self, value: &T) -> Json {
        self.0.iter().find(|(_, known)| known == value).map_or(Json::Null, |(word, _)| (*word).into())
    }
}

/// What a TOML value is, with its article.
pub(crate) fn type_noun(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a decimal number",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// The text, cut where it would swamp a message.
pub(crate) fn clip(text: &str) -> &str {
    match text.char_indices().nth(LONGEST_QUOTE) {
        Some((end, _)) => &text[..end],
        None => text,
    }
}

/// Characters of a value that a message repeats.
const LONGEST_QUOTE: usize = 80;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Reads `value = <toml>` as the kind; a fault as `message; mend`.
    pub(crate) fn read<K: Kind>(kind: &K, toml: &str) -> Result<K::Value, String> {
        let text = format!("value = {toml}");
        let table = toml::de::DeTable::parse(&text).unwrap();
        let item = table.get_ref().get("value").unwrap();
        kind.read(item, Path::new("/base")).map_err(|faults| {
            let lines: Vec<String> = faults.iter().map(|fault| format!("{}; {}", fault.message, fault.mend)).collect();
            lines.join("\n")
        })
    }

    #[test]
    fn lists_report_every_fault() {
        let kind = Many::new(Choice(&[("a", 1), ("b", 2)]), "words", 3);
        assert_eq!(read(&kind, r#"["b", "a"]"#), Ok(vec![2, 1]));
        assert_eq!(
            read(&kind, r#"["b", "c", 1, "b"]"#).unwrap_err(),
            "4 words are here, at most 3, each \"a\" or \"b\" are allowed; write it like [\"a\"]"
        );
        assert_eq!(
            read(&kind, r#"["c", 1]"#).unwrap_err(),
            "\"c\" is none of the words known here; write \"a\" or \"b\"\n\
             found a whole number, expected a word; write it like \"a\""
        );
        assert_eq!(
            read(&kind, r#"["a", "a"]"#).unwrap_err(),
            "the value stands in the list twice; remove one of the two"
        );
        assert!(read(&kind.some(), "[]").is_err());
    }

    #[test]
    fn quotes_are_cut_on_character_bounds() {
        assert_eq!(clip(&"é".repeat(100)), "é".repeat(80));
        assert_eq!(clip("short"), "short");
    }
}
