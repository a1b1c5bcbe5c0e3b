//! Regular expressions, as labels and files bring them.
//!
//! They come from whoever can start a task, and are tried against what whoever can send a request writes. So each is
//! turned into a finite automaton beforehand, of bounded size: a look-up takes one step an octet whatever the expression,
//! and needs neither memory nor a lock. A pattern stands for the whole text; octets are compared, not characters.

use std::cmp::Ordering;
use std::error::Error;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use regex_automata::dfa::{Automaton, StartKind, dense};
use regex_automata::nfa::thompson::{self, pikevm::PikeVM};
use regex_automata::util::syntax;
use regex_automata::{Anchored, Input, MatchKind, PatternID};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The longest expression, in octets.
pub const MAX_PATTERN: usize = 256;
/// The largest automaton, in octets.
const MAX_AUTOMATON: usize = 64 << 10;
/// The most memory that making one may take, beside the automaton itself.
const MAX_MAKING: usize = 256 << 10;
/// How deep groups may be nested.
const MAX_NESTING: u32 = 32;

/// Why a text is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPattern {
    /// Nothing there.
    #[error("it is empty")]
    Empty,
    /// Longer than [`MAX_PATTERN`].
    #[error("it is longer than {MAX_PATTERN} octets")]
    TooLong,
    /// Not an expression that is understood.
    #[error("it is no regular expression: {0}")]
    Syntax(String),
    /// Its automaton is larger than [`MAX_AUTOMATON`].
    #[error("its automaton would take more than {} KiB", MAX_AUTOMATON >> 10)]
    TooLarge,
}

impl InvalidPattern {
    /// What to do about it.
    pub fn mend(&self) -> &'static str {
        match self {
            Self::Empty => "write an expression such as `v[0-9]+`, or leave it out",
            Self::TooLong => "write a shorter expression, or several routes",
            Self::Syntax(_) => "write a regular expression without look-around and back-references; `\\` quotes a sign",
            Self::TooLarge => "write smaller repetitions, `+` in place of `{1,100}`, or several routes",
        }
    }
}

/// A regular expression that can be tried. Two are equal if they are written alike.
#[derive(Clone)]
pub struct Pattern(Arc<Compiled>);

struct Compiled {
    text: Box<str>,
    automaton: dense::DFA<Vec<u32>>,
    /// Finds what groups stand for, where there are any.
    groups: Option<PikeVM>,
}

impl Pattern {
    /// Reads an expression.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub fn parse(text: &str) -> Result<Self, InvalidPattern> {
        match text.len() {
            0 => return Err(InvalidPattern::Empty),
            1..=MAX_PATTERN => {}
            _ => return Err(InvalidPattern::TooLong),
        }
        // Of all matches the longest is found: whether it is the whole text is then asked once.
        let automaton = dense::Builder::new()
            .configure(
                dense::Config::new()
                    .start_kind(StartKind::Anchored)
                    .match_kind(MatchKind::All)
                    .dfa_size_limit(Some(MAX_AUTOMATON))
                    .determinize_size_limit(Some(MAX_MAKING)),
            )
            .thompson(nfa())
            .syntax(rules())
            .build(text)
            .map_err(|error| fault(&error))?;
        Ok(Self(Arc::new(Compiled { text: text.into(), automaton, groups: group_finder(text) })))
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.0.text
    }

    /// Whether it stands for all of `text`.
    pub fn matches(&self, text: &[u8]) -> bool {
        let input = Input::new(text).anchored(Anchored::Yes);
        let found = self.0.automaton.try_search_fwd(&input);
        found.is_ok_and(|found| found.is_some_and(|found| found.offset() == text.len()))
    }

    /// How many groups it has.
    pub fn group_count(&self) -> usize {
        self.0.groups.as_ref().map_or(0, count)
    }

    /// What its groups stand for in a text that it stands for as a whole, from 1. It takes memory, and time by the
    /// length of the text and of the expression, and no more.
    pub fn groups<'t>(&self, text: &'t str) -> Vec<&'t str> {
        let Some(vm) = &self.0.groups else { return Vec::new() };
        let mut found = vm.create_captures();
        vm.captures(&mut vm.create_cache(), Input::new(text).anchored(Anchored::Yes), &mut found);
        let group = |at| found.get_group(at).and_then(|span| text.get(span.start..span.end)).unwrap_or_default();
        (1..=count(vm)).map(group).collect()
    }
}

/// Of all ways to match the one that takes the whole text is looked for.
fn group_finder(text: &str) -> Option<PikeVM> {
    let whole = || PikeVM::builder().thompson(nfa()).syntax(rules()).build(&format!("(?:{text})\\z")).ok();
    if text.contains('(') { whole().filter(|vm| count(vm) > 0) } else { None }
}

fn count(vm: &PikeVM) -> usize {
    vm.get_nfa().group_info().group_len(PatternID::ZERO).saturating_sub(1)
}

fn nfa() -> thompson::Config {
    thompson::Config::new().utf8(false).nfa_size_limit(Some(MAX_AUTOMATON))
}

fn rules() -> syntax::Config {
    syntax::Config::new().unicode(false).utf8(false).nest_limit(MAX_NESTING)
}

/// What the maker of automata says, in one line.
fn fault(error: &dense::BuildError) -> InvalidPattern {
    if error.is_size_limit_exceeded() {
        return InvalidPattern::TooLarge;
    }
    let mut innermost: &(dyn Error + 'static) = error;
    while let Some(source) = innermost.source() {
        innermost = source;
        if let Some(nfa) = innermost.downcast_ref::<thompson::BuildError>()
            && nfa.size_limit().is_some()
        {
            return InvalidPattern::TooLarge;
        }
    }
    let text = innermost.to_string();
    let last = text.lines().next_back().unwrap_or_default();
    InvalidPattern::Syntax(last.trim_start_matches("error: ").to_owned())
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Pattern {}

impl PartialOrd for Pattern {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Pattern {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl Hash for Pattern {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

/// Stored as it was written, and made anew: automata are this program's own affair.
impl Serialize for Pattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, text: &str, expected: bool) {
        assert_eq!(Pattern::parse(pattern).unwrap().matches(text.as_bytes()), expected, "{pattern} {text}");
    }

    #[test]
    fn the_whole_text_is_meant() {
        check("a|ab", "ab", true);
        check("ab|a", "a", true);
        check("a|ab", "abc", false);
        check("b", "ab", false);
        check("v[0-9]+", "v12", true);
        check("v[0-9]+?", "v12", true);
        check("^/api/v[0-9]$", "/api/v1", true);
        check("(?i)chrome.*", "Chrome/1", true);
        check(".*", "", true);
        check(r"\d+", "٣", false);
    }

    #[test]
    fn octets_that_are_no_text_are_compared_too() {
        assert!(Pattern::parse("a.*").unwrap().matches(b"a\xff\xfe"));
        assert!(Pattern::parse("é").unwrap().matches("é".as_bytes()));
    }

    #[test]
    fn what_cannot_be_used_is_refused() {
        let wrong = |text: &str| Pattern::parse(text).unwrap_err();
        assert_eq!(wrong(""), InvalidPattern::Empty);
        assert_eq!(wrong(&"a".repeat(MAX_PATTERN + 1)), InvalidPattern::TooLong);
        assert_eq!(wrong("(a"), InvalidPattern::Syntax("unclosed group".into()));
        assert!(matches!(wrong(r"(a)\1"), InvalidPattern::Syntax(_)));
        assert!(matches!(wrong("(?=a)"), InvalidPattern::Syntax(_)));
        // What would take long or much to make costs neither.
        for greedy in ["(a{100}){100}", "((a{50}){50}){50}", "(.*a.{20}b){9}", "[ab]*a[ab]{18}"] {
            assert_eq!(wrong(greedy), InvalidPattern::TooLarge, "{greedy}");
        }
        assert!(Pattern::parse(&"(".repeat(200)).is_err());
    }

    #[test]
    fn patterns_are_what_is_written() {
        let pattern = Pattern::parse("a+").unwrap();
        let stored = postcard::to_allocvec(&pattern).unwrap();
        assert_eq!(postcard::from_bytes::<Pattern>(&stored).unwrap(), pattern);
        assert!(postcard::from_bytes::<Pattern>(&postcard::to_allocvec("(").unwrap()).is_err());
        assert!(Pattern::parse("a").unwrap() < Pattern::parse("b").unwrap());
    }
}
