//! Texts with places for parts of a request: `https://{host}{path}{query}`.
//!
//! Pure. What is put in has passed the gate: it is visible ASCII, and a path is in normal form.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The longest template, in octets.
pub const MAX_TEMPLATE: usize = 1024;

/// A text with places.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Template(Box<[Piece]>);

/// A piece of a template.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
enum Piece {
    Text(Arc<str>),
    Scheme,
    Host,
    Path,
    /// What follows the route's path, without the slash between.
    Rest,
    /// With its `?`; nothing where there is none.
    Query,
    /// What a group of the route's expression stands for.
    Group(u8),
}

/// The names of places, but for groups.
const PLACES: [(&str, Piece); 5] = [
    ("scheme", Piece::Scheme),
    ("host", Piece::Host),
    ("path", Piece::Path),
    ("rest", Piece::Rest),
    ("query", Piece::Query),
];

/// What is put in.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    /// `http` or `https`.
    pub scheme: &'a str,
    /// The host, without port.
    pub host: &'a str,
    /// The path, in normal form.
    pub path: &'a str,
    /// What follows the `?`.
    pub query: Option<&'a str>,
    /// The route's path.
    pub prefix: &'a str,
    /// What the groups of the route's expression stand for, from 1.
    pub groups: &'a [&'a str],
}

/// Why a text is no template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTemplate {
    /// Longer than [`MAX_TEMPLATE`].
    #[error("it is longer than {MAX_TEMPLATE} octets")]
    TooLong,
    /// It begins with something else than it may.
    #[error("it does not begin with {0}")]
    Beginning(&'static str),
    /// A character that no URL has.
    #[error("the character {0:?} cannot be in a URL")]
    Character(char),
    /// A place of no such name.
    #[error("there is no place `{{{0}}}`")]
    Place(String),
    /// A `{` or `}` alone.
    #[error("a brace has no partner")]
    Brace,
    /// The host of the target would be whatever a client writes.
    #[error("a part of the request's path would become a part of the host")]
    Authority,
    /// A fragment, which is never sent.
    #[error("it has a fragment (`#`)")]
    Fragment,
}

impl InvalidTemplate {
    /// What to do about it.
    pub fn mend(&self) -> &'static str {
        match self {
            Self::TooLong => "write a shorter one",
            Self::Beginning(_) => {
                "write a path such as `/new{path}`, or for redirects a URL as `https://{host}{path}{query}`"
            }
            Self::Character(_) => "percent-encode the character",
            Self::Place(_) => "the places are `{scheme}`, `{host}`, `{path}`, `{rest}`, `{query}` and `{1}` to `{9}`",
            Self::Brace => "write places as `{path}`; a brace itself is `%7B` or `%7D`",
            Self::Authority => "put a `/` before it",
            Self::Fragment => "leave out what follows `#`",
        }
    }
}

impl Template {
    /// Reads where a redirect leads: a URL of `http` or `https`, or a path on the same host.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn location(text: &str) -> Result<Self, InvalidTemplate> {
        let read = Self::parse(text)?;
        if text.starts_with("//") {
            return Err(InvalidTemplate::Beginning("one `/`"));
        }
        if text.starts_with('/') || text.starts_with("{path}") {
            return Ok(read);
        }
        let rest = ["http://", "https://", "{scheme}://"].into_iter().find_map(|start| text.strip_prefix(start));
        let rest = rest.filter(|rest| !rest.is_empty() && !rest.starts_with(['/', '?', ':']));
        let rest = rest.ok_or(InvalidTemplate::Beginning("`/`, `http://` or `https://` and a host"))?;
        Self::parse(rest)?.check_authority()?;
        Ok(read)
    }

    /// Reads the path, perhaps with a query, that a request is passed on with.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn path(text: &str) -> Result<Self, InvalidTemplate> {
        let read = Self::parse(text)?;
        match text.contains('#') {
            true => Err(InvalidTemplate::Fragment),
            false if text.starts_with('/') || text.starts_with("{path}") => Ok(read),
            false => Err(InvalidTemplate::Beginning("`/`")),
        }
    }

    fn parse(text: &str) -> Result<Self, InvalidTemplate> {
        if text.len() > MAX_TEMPLATE {
            return Err(InvalidTemplate::TooLong);
        }
        let mut pieces = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let end = rest.find(['{', '}']).unwrap_or(rest.len());
            let (plain, after) = rest.split_at(end);
            if let Some(bad) = plain.chars().find(|c| !c.is_ascii_graphic() || "\"<>\\^`|".contains(*c)) {
                return Err(InvalidTemplate::Character(bad));
            }
            if !plain.is_empty() {
                pieces.push(Piece::Text(plain.into()));
            }
            if after.is_empty() {
                break;
            }
            let (name, after) =
                after.strip_prefix('{').and_then(|after| after.split_once('}')).ok_or(InvalidTemplate::Brace)?;
            pieces.push(place(name)?);
            rest = after;
        }
        Ok(Self(pieces.into()))
    }

    /// The authority ends at the first slash: nothing before it may be what a client writes, but the host itself, whole.
    fn check_authority(&self) -> Result<(), InvalidTemplate> {
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => {
                    let end = text.find(['/', '?', '#']);
                    if text[..end.unwrap_or(text.len())].contains('@') {
                        return Err(InvalidTemplate::Character('@'));
                    }
                    if end.is_some() {
                        return Ok(());
                    }
                }
                Piece::Path | Piece::Query => return Ok(()),
                Piece::Host => {}
                Piece::Rest | Piece::Group(_) | Piece::Scheme => return Err(InvalidTemplate::Authority),
            }
        }
        Ok(())
    }

    /// The highest group it names; 0: none.
    pub fn groups(&self) -> u8 {
        self.0.iter().map(|piece| if let Piece::Group(number) = piece { *number } else { 0 }).max().unwrap_or(0)
    }

    /// Whether it names what follows the route's path.
    pub fn has_rest(&self) -> bool {
        self.0.contains(&Piece::Rest)
    }

    /// The text with everything put in.
    pub fn fill(&self, parts: &Parts<'_>) -> String {
        let mut out = String::with_capacity(64 + parts.path.len() + parts.query.map_or(0, str::len));
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Scheme => out.push_str(parts.scheme),
                Piece::Host => out.push_str(parts.host),
                Piece::Path => out.push_str(parts.path),
                Piece::Rest => out.push_str(rest(parts)),
                Piece::Query => {
                    if let Some(query) = parts.query {
                        out.push('?');
                        out.push_str(query);
                    }
                }
                Piece::Group(number) => {
                    out.push_str(parts.groups.get(usize::from(*number) - 1).copied().unwrap_or_default());
                }
            }
        }
        out
    }
}

fn rest<'a>(parts: &Parts<'a>) -> &'a str {
    // The request is the route's own already, and some routes do not mind capitals.
    let rest = match parts.path.split_at_checked(parts.prefix.len()) {
        Some((start, rest)) if start.eq_ignore_ascii_case(parts.prefix) => rest,
        _ => parts.path,
    };
    rest.trim_start_matches('/')
}

fn place(name: &str) -> Result<Piece, InvalidTemplate> {
    if let [digit @ b'1'..=b'9'] = name.as_bytes() {
        return Ok(Piece::Group(digit - b'0'));
    }
    let found = PLACES.iter().find(|(known, _)| *known == name);
    found.map(|(_, piece)| piece.clone()).ok_or_else(|| InvalidTemplate::Place(name.chars().take(32).collect()))
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => f.write_str(text)?,
                Piece::Group(number) => write!(f, "{{{number}}}")?,
                named => {
                    let name = PLACES.iter().find(|(_, piece)| piece == named).map_or("", |(name, _)| name);
                    write!(f, "{{{name}}}")?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn filled(template: &Template) -> String {
        let groups = ["one", "two"];
        template.fill(&Parts {
            scheme: "http",
            host: "a.test",
            path: "/old/x",
            query: Some("q"),
            prefix: "/old",
            groups: &groups,
        })
    }

    #[test]
    fn places_are_filled() {
        for (text, expected) in [
            ("https://{host}{path}{query}", "https://a.test/old/x?q"),
            ("{scheme}://new.test:81/{rest}", "http://new.test:81/x"),
            ("/new{path}", "/new/old/x"),
            ("{path}", "/old/x"),
            ("/{2}/{1}{3}#top", "/two/one#top"),
            ("https://www.{host}", "https://www.a.test"),
        ] {
            let read = Template::location(text).unwrap();
            assert_eq!((filled(&read).as_str(), read.to_string().as_str()), (expected, text));
        }
        assert_eq!(filled(&Template::path("/{rest}?v={1}").unwrap()), "/x?v=one");
    }

    #[test]
    fn wrong_ones_are_refused() {
        for wrong in
            ["", "x", "//a.test/", "ftp://a/", "https://", "https:///x", "/{x}", "/{", "/}", "/{0}", "/a b", "/ü"]
        {
            assert!(Template::location(wrong).is_err(), "{wrong}");
        }
        // Nobody but the template says which host a client is sent to.
        for wrong in ["https://{rest}", "https://{host}{1}/", "https://{1}.a.test/", "https://a@b/", "https://x{rest}"]
        {
            assert!(Template::location(wrong).is_err(), "{wrong}");
        }
        for wrong in ["https://a/", "x", "", "/a#b", "{rest}"] {
            assert!(Template::path(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn what_is_read_is_shown(text in "/[a-z{}0-9/:?=.]{0,24}") {
            if let Ok(read) = Template::location(&text) {
                prop_assert_eq!(read.to_string(), text);
            }
        }
    }
}
