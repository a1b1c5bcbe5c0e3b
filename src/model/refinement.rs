//! What a route asks of a request beside its host and a path prefix.
//!
//! Pure: a request's head goes in as texts, so that whoever has read it, and however, asks the same code.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::pattern::Pattern;

/// The head of a request, as far as routes look at it.
#[derive(Clone, Copy)]
pub struct Head<'a> {
    /// Lower case, without port and final dot.
    pub host: &'a str,
    /// In normal form, as it is forwarded: begins with `/`, no query.
    pub path: &'a str,
    /// What follows the `?`.
    pub query: Option<&'a str>,
    /// The method, in the client's capitals.
    pub method: &'a str,
    /// The header fields.
    pub fields: &'a dyn Fields,
}

/// Header fields, however they are kept.
pub trait Fields {
    /// Whether one of the values of the field `name` (in lower case) passes `test`.
    fn any(&self, name: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> bool;
}

impl Fields for http::HeaderMap {
    fn any(&self, name: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        self.get_all(name).iter().any(|value| test(value.as_bytes()))
    }
}

/// What a route asks beside its host and a path prefix: everything here must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Refinement {
    /// How the route's path is meant.
    pub path: PathMeaning,
    /// One of these methods; empty: any. Sorted.
    pub methods: Box<[Arc<str>]>,
    /// All of these. Sorted.
    pub conditions: Box<[Condition]>,
}

/// How a route's path is meant.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum PathMeaning {
    /// With everything below it.
    #[default]
    Prefix,
    /// The path itself and nothing else.
    Exact,
    /// Every path that the expression stands for.
    Pattern(Pattern),
    /// With everything below it, whatever the capitals. The path itself is in lower case. At the end: stored states tell
    /// these apart by their place here.
    AnyCase,
}

/// Something that a request must have.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Condition {
    /// Where it is looked for.
    pub part: Part,
    /// Its name; of a header field in lower case.
    pub name: Arc<str>,
    /// What its value must be. Of several values one suffices.
    pub test: Test,
}

/// A part of a request that has names and values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Part {
    /// Header fields.
    Header,
    /// Parameters of the query, decoded.
    Query,
    /// Cookies.
    Cookie,
}

impl Part {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Header => "header",
            Self::Query => "query",
            Self::Cookie => "cookie",
        }
    }
}

/// What a value must be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Test {
    /// There, whatever it is.
    Present,
    /// Exactly this.
    Equals(Arc<str>),
    /// What the expression stands for.
    Matches(Pattern),
}

/// How much a route asks, the most first: by the Gateway API's order, method, then header fields (and cookies, which are
/// in one), then parameters of the query.
pub type Demand = (Reverse<bool>, Reverse<usize>, Reverse<usize>);

impl Refinement {
    /// The refinement, if it asks for anything.
    pub fn shared(mut self) -> Option<Arc<Self>> {
        self.methods.sort();
        self.conditions.sort();
        (self != Self::default()).then(|| Arc::new(self))
    }

    /// How much it asks.
    pub fn demand(&self) -> Demand {
        let queries = self.conditions.iter().filter(|condition| condition.part == Part::Query).count();
        (Reverse(!self.methods.is_empty()), Reverse(self.conditions.len() - queries), Reverse(queries))
    }

    /// Whether a request of another path has everything that is asked for.
    pub fn accepts(&self, head: &Head<'_>) -> bool {
        self.has_method(head) && self.conditions.iter().all(|condition| condition.holds(head))
    }

    fn has_method(&self, head: &Head<'_>) -> bool {
        self.methods.is_empty() || self.methods.iter().any(|method| **method == *head.method)
    }

    /// What a request of its path lacks, one thing each, for people: names of fields, and no values, which may be secrets.
    pub fn lacks(&self, head: &Head<'_>) -> Vec<String> {
        let methods = (!self.has_method(head)).then(|| format!("method {}", self.methods.join(" or ")));
        let conditions = self.conditions.iter().filter(|condition| !condition.holds(head));
        methods.into_iter().chain(conditions.map(Condition::named)).collect()
    }
}

impl Condition {
    /// The part and the name.
    fn named(&self) -> String {
        format!("{} {}", self.part.as_str(), self.name)
    }

    fn holds(&self, head: &Head<'_>) -> bool {
        match self.part {
            Part::Header => head.fields.any(&self.name, &mut |value| self.test.passes(value)),
            Part::Query => parameters(head.query.unwrap_or_default())
                .any(|(name, value)| *name == *self.name.as_bytes() && self.test.passes(&value)),
            Part::Cookie => head.fields.any("cookie", &mut |value| {
                cookies(value).any(|(name, value)| *name == *self.name.as_bytes() && self.test.passes(value))
            }),
        }
    }
}

impl Test {
    fn passes(&self, value: &[u8]) -> bool {
        match self {
            Self::Present => true,
            Self::Equals(text) => *text.as_bytes() == *value,
            Self::Matches(pattern) => pattern.matches(value),
        }
    }
}

/// The parameters of a query, decoded (application/x-www-form-urlencoded, as the URL Standard reads it).
fn parameters(query: &str) -> impl Iterator<Item = (Cow<'_, [u8]>, Cow<'_, [u8]>)> {
    query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decoded(name), decoded(value))
    })
}

fn decoded(text: &str) -> Cow<'_, [u8]> {
    if !text.contains(['%', '+']) {
        return Cow::Borrowed(text.as_bytes());
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let digit = |at: usize| after.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        let (byte, next) = match (first, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => (u8::try_from(high * 16 + low).unwrap_or_default(), &after[2..]),
            (b'+', ..) => (b' ', after),
            _ => (first, after),
        };
        out.push(byte);
        rest = next;
    }
    Cow::Owned(out)
}

/// The cookies of one field (RFC 6265 section 4.2.1).
fn cookies(field: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    field.split(|byte| *byte == b';').filter_map(|pair| {
        let at = pair.iter().position(|byte| *byte == b'=')?;
        Some((pair[..at].trim_ascii(), pair[at + 1..].trim_ascii()))
    })
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = self.part.as_str();
        match &self.test {
            Test::Present => write!(f, "{part} {}", self.name),
            Test::Equals(text) => write!(f, "{part} {}={text}", self.name),
            Test::Matches(pattern) => write!(f, "{part} {}=~{pattern}", self.name),
        }
    }
}

impl Refinement {
    /// What is asked, one thing each, for people.
    pub fn describe(&self) -> Vec<String> {
        let path = match &self.path {
            PathMeaning::Prefix => None,
            PathMeaning::Exact => Some("exact path".to_owned()),
            PathMeaning::Pattern(_) => Some("path by expression".to_owned()),
            PathMeaning::AnyCase => Some("path in capitals or not".to_owned()),
        };
        let methods = (!self.methods.is_empty()).then(|| format!("method {}", self.methods.join(" or ")));
        path.into_iter().chain(methods).chain(self.conditions.iter().map(ToString::to_string)).collect()
    }
}

impl fmt::Display for Refinement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, " [{}]", self.describe().join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderMap;
    use proptest::prelude::*;

    fn condition(part: Part, name: &str, test: Test) -> Condition {
        Condition { part, name: name.into(), test }
    }

    fn holds(condition: &Condition, query: Option<&str>, lines: &[(&'static str, &str)]) -> bool {
        let mut fields = HeaderMap::new();
        for (name, value) in lines {
            fields.append(*name, value.parse().unwrap());
        }
        condition.holds(&Head { host: "a", path: "/", query, method: "GET", fields: &fields })
    }

    #[test]
    fn header_fields() {
        let version = condition(Part::Header, "x-v", Test::Equals("2".into()));
        assert!(holds(&version, None, &[("x-v", "2")]));
        assert!(holds(&version, None, &[("x-v", "1"), ("x-v", "2")]));
        assert!(!holds(&version, None, &[("x-v", "22")]) && !holds(&version, None, &[]));
        let pattern = condition(Part::Header, "x-v", Test::Matches(Pattern::parse("[23]").unwrap()));
        assert!(holds(&pattern, None, &[("x-v", "3")]) && !holds(&pattern, None, &[("x-v", "33")]));
        assert!(holds(&condition(Part::Header, "x-v", Test::Present), None, &[("x-v", "")]));
    }

    #[test]
    fn queries_are_decoded() {
        let flag = condition(Part::Query, "a b", Test::Equals("ü/".into()));
        for (query, expected) in [
            ("a+b=%C3%BC/", true),
            ("x&a%20b=%c3%bc%2f", true),
            ("a%20b=u", false),
            ("a b=%C3%BC", false),
            ("", false),
            ("a+b", false),
        ] {
            assert_eq!(holds(&flag, Some(query), &[]), expected, "{query}");
        }
        assert!(holds(&condition(Part::Query, "debug", Test::Present), Some("x=1&debug"), &[]));
        assert!(!holds(&condition(Part::Query, "debug", Test::Present), None, &[]));
        assert_eq!(*decoded("%zz%4%"), *b"%zz%4%");
    }

    #[test]
    fn cookies_may_stand_in_several_fields() {
        let canary = condition(Part::Cookie, "canary", Test::Equals("yes".into()));
        assert!(holds(&canary, None, &[("cookie", "a=b; canary=yes")]));
        assert!(holds(&canary, None, &[("cookie", "a=b"), ("cookie", "canary=yes")]));
        assert!(!holds(&canary, None, &[("cookie", "xcanary=yes; canary=no; canary")]));
    }

    #[test]
    fn what_is_asked_in_another_order_is_the_same() {
        let one = condition(Part::Header, "a", Test::Present);
        let two = condition(Part::Query, "b", Test::Present);
        let of = |conditions: &[&Condition], methods: &[&str]| {
            let conditions = conditions.iter().map(|condition| (*condition).clone()).collect();
            let methods = methods.iter().map(|method| (*method).into()).collect();
            Refinement { conditions, methods, ..Refinement::default() }.shared()
        };
        assert_eq!(of(&[&one, &two], &["PUT", "GET"]), of(&[&two, &one], &["GET", "PUT"]));
        assert_eq!(of(&[], &[]), None);
        let both = of(&[&one, &two], &["PUT", "GET"]).unwrap();
        assert_eq!(both.to_string(), " [method GET or PUT, header a, query b]");
        assert!(both.demand() < of(&[&one, &two], &[]).unwrap().demand());
    }

    proptest! {
        /// Whatever is written, a parameter is found under its name, as its encoding was.
        #[test]
        fn parameters_round_trip(name in "[^\0]{0,8}", value in "[^\0]{0,8}") {
            let encode = |text: &str| text.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
            let query = format!("x=1&{}={}&y", encode(&name), encode(&value));
            let found = parameters(&query).any(|(a, b)| *a == *name.as_bytes() && *b == *value.as_bytes());
            prop_assert!(found);
        }
    }
}
