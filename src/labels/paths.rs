//! The `PATH` label of marathon-lb. It goes into HAProxy's file behind `path_beg`, and may begin with flags: those that say
//! how paths are compared are understood, what is left is refused with what does it here.

use std::sync::Arc;

use super::MAX_ROUTES;
use super::asked;
use super::complaint::Complaints;
use super::keys::Field;
use super::path;
use super::value::{Fault, Value, path_fault, shorten};
use crate::model::task::Label;

/// How a word is compared with a path.
#[derive(Clone, Copy)]
enum Method {
    /// `path_beg` itself, or `-m beg`.
    Prefix,
    /// `-m str`.
    Exact,
    /// `-m reg`: anywhere in the path.
    Expression,
}

/// How paths are compared, and what is left of the label.
struct Flags {
    method: Method,
    any_case: bool,
}

/// What a `PATH` label asks for, one route each: in which field, and what. Nothing where a flag cannot be obeyed that says
/// what the words mean.
pub(super) fn read(label: &Label, complaints: &mut Complaints) -> Vec<(Field, Value)> {
    let mut complain = |fault: Fault| complaints.value(&label.key, &label.value, fault);
    let mut words = label.value.split_ascii_whitespace().peekable();
    let Some(flags) = flags(&mut words, &mut complain) else { return Vec::new() };
    let mut out = Vec::new();
    for word in words.take(MAX_ROUTES + 1) {
        match flags.path(word) {
            Ok(path) if out.contains(&path) => {}
            Ok(path) => out.push(path),
            Err(fault) => complain(fault),
        }
    }
    out
}

/// Takes the flags from the beginning; `None`: the words after them mean what is not known here.
fn flags<'a>(
    words: &mut std::iter::Peekable<impl Iterator<Item = &'a str>>,
    complain: &mut impl FnMut(Fault),
) -> Option<Flags> {
    let mut flags = Flags { method: Method::Prefix, any_case: false };
    while let Some(flag) = words.next_if(|word| word.starts_with('-')) {
        match flag {
            "--" => break,
            "-i" => flags.any_case = true,
            "-f" => {
                let file = shorten(words.next().unwrap_or_default(), 64);
                let wrong = format!("the file {file:?} lies at the balancer, and none that a label names is read");
                complain(Fault::new(wrong, "write the paths themselves, separated by spaces"));
            }
            "-m" => match words.next().unwrap_or_default() {
                "beg" => flags.method = Method::Prefix,
                "str" => flags.method = Method::Exact,
                "reg" => flags.method = Method::Expression,
                other => {
                    let wrong = format!("`-m {}` is no way of comparing that is known here", shorten(other, 32));
                    complain(Fault::new(wrong, equivalent(other)));
                    return None;
                }
            },
            other => {
                let wrong = format!("{:?} is a flag of HAProxy, and refused", shorten(other, 32));
                complain(Fault::new(
                    wrong,
                    "write path prefixes alone, separated by spaces; `-i` before them is known",
                ));
                return None;
            }
        }
    }
    Some(flags)
}

/// What does the same as a way of comparing of HAProxy's.
fn equivalent(method: &str) -> &'static str {
    match method {
        "end" => "use `pointsman.{port}.path_regex`: `.*[.]php` is every path that ends so",
        "sub" => "use `pointsman.{port}.path_regex`: `.*word.*` is every path that has it",
        "dir" | "dom" => "use `pointsman.{port}.path_regex`: `(/.*)?/word(/.*)?` is every path with this segment",
        "len" => "use `pointsman.{port}.path_regex`: `.{1,20}` is every path of so many octets",
        _ => "write path prefixes alone, or use `pointsman.{port}.path_exact` or `pointsman.{port}.path_regex`",
    }
}

impl Flags {
    fn path(&self, word: &str) -> Result<(Field, Value), Fault> {
        if word.starts_with('-') {
            let wrong = format!("{:?} stands behind a path, where flags mean nothing", shorten(word, 32));
            return Err(Fault::new(wrong, "write flags before the paths"));
        }
        // Without letters there are no capitals.
        let any_case = self.any_case && word.bytes().any(|byte| byte.is_ascii_alphabetic());
        match self.method {
            Method::Prefix => {
                let path = path::prefix(word).map_err(|error| path_fault(&error))?;
                let path = if any_case { Value::AnyCase(lower(&path)) } else { Value::Text(path) };
                Ok((Field::Path, path))
            }
            Method::Exact if any_case => {
                let path = asked::exact_path(word)?;
                Ok((Field::PathPattern, Value::Pattern(asked::pattern(&format!("(?i){}", quoted(&path)))?)))
            }
            Method::Exact => Ok((Field::ExactPath, Value::Text(asked::exact_path(word)?))),
            // HAProxy looks for it anywhere in the path, ours stand for the whole; `^` and `$` are the path's ends still.
            Method::Expression => {
                let case = if any_case { "i" } else { "" };
                Ok((Field::PathPattern, Value::Pattern(asked::pattern(&format!(".*(?{case}:{word}).*"))?)))
            }
        }
    }
}

fn lower(path: &str) -> Arc<str> {
    path.to_ascii_lowercase().into()
}

/// A path as an expression that stands for it.
fn quoted(path: &str) -> String {
    let mut out = String::with_capacity(path.len() * 2);
    for character in path.chars() {
        if !character.is_ascii_alphanumeric() && character != '/' {
            out.push('\\');
        }
        out.push(character);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a label comes to, `field value` each, and how many problems there are.
    fn check(text: &str, expected: &[&str], problems: usize) {
        let mut complaints = Complaints::default();
        let label = Label { key: "HAPROXY_0_PATH".into(), value: text.into() };
        let shown = read(&label, &mut complaints).into_iter().map(|(field, value)| match value {
            Value::Text(path) => format!("{field:?} {path}"),
            Value::AnyCase(path) => format!("{field:?} -i {path}"),
            Value::Pattern(pattern) => format!("{field:?} {pattern}"),
            other => format!("{other:?}"),
        });
        assert_eq!(shown.collect::<Vec<_>>(), expected, "{text}");
        assert_eq!(complaints.finish().len(), problems, "{text}");
    }

    #[test]
    fn prefixes() {
        check("/a /b/ /a", &["Path /a", "Path /b"], 0);
        check("-m beg -- /a", &["Path /a"], 0);
        check("a /b", &["Path /b"], 1);
        check("", &[], 0);
    }

    #[test]
    fn capitals_do_not_matter_with_a_flag() {
        check("-i /Multiple /paths /multiple", &["Path -i /multiple", "Path -i /paths"], 0);
        check("-i / /1", &["Path /", "Path /1"], 0);
        check("/a -i /b", &["Path /a", "Path /b"], 1);
    }

    #[test]
    fn other_ways_of_comparing() {
        check("-m str /a /b/", &["ExactPath /a", "ExactPath /b/"], 0);
        check("-i -m str /A.b", &["PathPattern (?i)/A\\.b"], 0);
        check("-m reg ^/v[0-9]+/ x$", &["PathPattern .*(?:^/v[0-9]+/).*", "PathPattern .*(?:x$).*"], 0);
        check("-m reg -i ^/a", &["PathPattern .*(?i:^/a).*"], 0);
        check("-m reg (", &[], 1);
        for refused in ["-m end .php", "-m sub x", "-m", "-n /a", "-u x /a", "-x"] {
            check(refused, &[], 1);
        }
    }

    #[test]
    fn a_file_is_no_path() {
        check("-f /etc/paths /a", &["Path /a"], 1);
        check("-f /etc/paths", &[], 1);
        check("-f", &[], 1);
    }

    #[test]
    fn expressions_are_looked_for_anywhere_in_the_path() {
        let matches = |text: &str, path: &str| {
            let label = Label { key: "HAPROXY_0_PATH".into(), value: text.into() };
            let read = read(&label, &mut Complaints::default());
            let [(_, Value::Pattern(pattern))] = &read[..] else { panic!("{text}: {read:?}") };
            pattern.matches(path.as_bytes())
        };
        for (text, path, expected) in [
            ("-m reg ^/v[0-9]", "/v1/users", true),
            ("-m reg ^/v[0-9]", "/api/v1", false),
            ("-m reg [.]php$", "/a/b.php", true),
            ("-m reg [.]php$", "/a/b.php5", false),
            ("-m reg ^/a|^/b$", "/b", true),
            ("-m reg ^/a|^/b$", "/bc", false),
            ("-m reg users", "/v1/users/7", true),
            ("-i -m reg ^/Api", "/aPI/x", true),
            ("-i -m str /A.b", "/a.B", true),
            ("-i -m str /A.b", "/axb", false),
        ] {
            assert_eq!(matches(text, path), expected, "{text} {path}");
        }
    }
}
