//! Values that say what a route does with its requests and answers, and what they come to.
//!
//! A target that cannot be understood makes no route: what was to be sent elsewhere, or answered here, is not passed on.
//! A header change that cannot be understood is left out, and the rest counts.

use std::sync::Arc;

use super::asked::is_token;
use super::host::HostPattern;
use super::keys::Field;
use super::statements::{Place, Said, Statements};
use super::value::{Fault, Value, shorten};
use crate::model::actions::{Actions, Change, FieldChange, Instead};
use crate::model::id::Version;
use crate::model::problem::ProblemCode;
use crate::model::refinement::{PathMeaning, Refinement};
use crate::model::template::{InvalidTemplate, Template};
use crate::model::weights::Shares;

/// A kind of value that says what is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    Location,
    RedirectStatus,
    Status,
    Body,
    MediaType,
    Rewrite,
    Host,
    Fields,
    Split,
}

/// Such a value that has been understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Acted {
    Template(Template),
    Status(u16),
    Text(Arc<str>),
    Fields(Box<[FieldChange]>),
    Split(Box<[(Version, u32)]>),
}

/// Everything that says what is done.
pub(super) const FIELDS: [Field; 12] = [
    Field::Filters,
    Field::Timeout,
    Field::Split,
    Field::Redirect,
    Field::RedirectStatus,
    Field::Answer,
    Field::AnswerBody,
    Field::AnswerType,
    Field::Rewrite,
    Field::RewriteHost,
    Field::RequestHeaders,
    Field::AnswerHeaders,
];

/// Changes of one label at most.
const MAX_CHANGES: usize = 32;

/// Header fields that are of one hop, that say how long a message is, or that this proxy writes itself.
const PROTECTED: &[&str] = &[
    "connection",
    "content-length",
    "date",
    "expect",
    "forwarded",
    "host",
    "http2-settings",
    "keep-alive",
    "max-forwards",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "proxy-status",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
    "x-real-ip",
];

impl Act {
    /// How the value is described to people.
    pub(crate) fn describe(self) -> &'static str {
        match self {
            Self::Location => "a URL or a path, with places",
            Self::RedirectStatus => "301, 302, 303, 307 or 308",
            Self::Status => "200 to 599",
            Self::Body => "a text",
            Self::MediaType => "a media type",
            Self::Rewrite => "a path, with places",
            Self::Host => "a host",
            Self::Split => "versions with their shares, `version=share`, separated by commas; or one version",
            Self::Fields => "`Name=value`, `+Name=value` or `-Name`, separated by `;` (`\\;` is the sign itself)",
        }
    }

    /// Reads a value.
    pub(crate) fn read(self, text: &str) -> Result<Acted, Fault> {
        match self {
            Self::Location => Template::location(text).map(Acted::Template).map_err(|error| template_fault(&error)),
            Self::Rewrite => Template::path(text).map(Acted::Template).map_err(|error| template_fault(&error)),
            Self::RedirectStatus => match text.parse() {
                Ok(status @ (301 | 302 | 303 | 307 | 308)) => Ok(Acted::Status(status)),
                _ => Err(Fault::new("it is no status of a redirect", "write 301, 302, 303, 307 or 308")),
            },
            Self::Status => match text.parse() {
                Ok(status @ 200..=599) => Ok(Acted::Status(status)),
                _ => Err(Fault::new("it is no status of an answer", "write a number from 200 to 599")),
            },
            Self::Body => Ok(Acted::Text(text.into())),
            Self::MediaType => media_type(text).map(Acted::Text),
            Self::Host => match HostPattern::parse(text) {
                Ok(HostPattern::Exact(name)) => Ok(Acted::Text(name)),
                _ => Err(Fault::new("it is no host", "write one host name, without scheme and port")),
            },
            Self::Fields => changes(text).map(Acted::Fields),
            Self::Split => split(text).map(Acted::Split),
        }
    }
}

fn template_fault(error: &InvalidTemplate) -> Fault {
    Fault::new(error.to_string(), error.mend())
}

/// RFC 9110 section 8.3.1, loosely: a type, a slash, a subtype, and whatever parameters.
fn media_type(text: &str) -> Result<Arc<str>, Fault> {
    let (kind, parameters) = text.split_once(';').unwrap_or((text, ""));
    let good = kind.trim().split_once('/').is_some_and(|(kind, subtype)| is_token(kind) && is_token(subtype));
    match good && is_value(parameters) {
        true => Ok(text.into()),
        false => Err(Fault::new("it is no media type", "write one such as `text/html; charset=utf-8`")),
    }
}

/// RFC 9110 section 5.5, without what is not ASCII.
fn is_value(text: &str) -> bool {
    text.bytes().all(|byte| byte == b' ' || byte == b'\t' || byte.is_ascii_graphic())
}

/// Versions and their shares; a version alone has all.
pub(super) fn split(text: &str) -> Result<Shares, Fault> {
    let form = "write `blue=90, green=10`, or one version alone";
    let mut out: Vec<(Version, u32)> = Vec::new();
    for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        let (version, share) = word.rsplit_once('=').unwrap_or((word, "1"));
        let version = version.trim();
        let share = share.trim().parse::<u16>();
        let (false, Ok(share)) = (version.is_empty() || version.len() > 253, share) else {
            return Err(Fault::new(format!("{:?} is no version with a share of 0 to 65535", shorten(word, 64)), form));
        };
        if out.iter().any(|(known, _)| known.as_str() == version) {
            return Err(Fault::new(format!("the version {:?} is there twice", shorten(version, 64)), form));
        }
        out.push((version.into(), share.into()));
    }
    match out.len() {
        0 => Err(Fault::new("it names no version", form)),
        1..=MAX_CHANGES if out.iter().any(|(_, share)| *share > 0) => Ok(out.into()),
        1..=MAX_CHANGES => Err(Fault::new("no version has a share", form)),
        _ => Err(Fault::new(format!("it names more than {MAX_CHANGES} versions"), form)),
    }
}

fn changes(text: &str) -> Result<Box<[FieldChange]>, Fault> {
    let mut words = vec![String::new()];
    let mut signs = text.chars().peekable();
    while let Some(sign) = signs.next() {
        match sign {
            '\\' if signs.next_if_eq(&';').is_some() => words.last_mut().into_iter().for_each(|word| word.push(';')),
            ';' => words.push(String::new()),
            other => words.last_mut().into_iter().for_each(|word| word.push(other)),
        }
    }
    let words = words.iter().map(|word| word.trim()).filter(|word| !word.is_empty());
    let out: Vec<FieldChange> = words.take(MAX_CHANGES + 1).map(change).collect::<Result<_, _>>()?;
    match out.len() {
        0 => Err(Fault::new("it changes nothing", "write `Name=value`, or leave the label out")),
        1..=MAX_CHANGES => Ok(out.into()),
        _ => Err(Fault::new(format!("it has more than {MAX_CHANGES} changes"), "change less")),
    }
}

fn change(word: &str) -> Result<FieldChange, Fault> {
    let form = "write `Name=value` to set, `+Name=value` to add, `-Name` to remove";
    let (sign, rest) = match word.split_at_checked(1) {
        Some((sign @ ("+" | "-"), rest)) => (sign, rest),
        _ => ("", word),
    };
    let (name, value) = match (sign, rest.split_once('=')) {
        ("-", None) => (rest, None),
        ("-", Some(_)) | (_, None) => {
            return Err(Fault::new(format!("{:?} is no change", shorten(word, 64)), form));
        }
        (_, Some((name, value))) => (name.trim(), Some(value.trim())),
    };
    let name = name.trim().to_ascii_lowercase();
    if !is_token(&name) {
        return Err(Fault::new(format!("{:?} is no name of a header field", shorten(&name, 64)), form));
    }
    if is_protected_field(&name) {
        let wrong = format!("the header field {:?} is not a route's to change", shorten(&name, 64));
        return Err(Fault::new(wrong, "use another field; for `Host` there is `rewrite_host`"));
    }
    if value.is_some_and(|value| !is_value(value)) {
        return Err(Fault::new(
            format!("the value of {name:?} has a character that is not ASCII"),
            "write it in ASCII",
        ));
    }
    let change = match (sign, value) {
        (_, None) => Change::Remove,
        ("+", Some(value)) => Change::Add(value.into()),
        (_, Some(value)) => Change::Set(value.into()),
    };
    Ok(FieldChange { name: name.into(), change })
}

/// Whether a header field is of one hop, or one that this proxy writes.
pub(crate) fn is_protected_field(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    PROTECTED.contains(&&*name) || name.starts_with("x-forwarded-") || name.starts_with("x-pointsman-")
}

/// What a route does; `None`: something that cannot be understood makes no route.
pub(super) fn of_route(
    place: &Place,
    refined: Option<&Refinement>,
    statements: &mut Statements,
) -> Option<Option<Arc<Actions>>> {
    let at = |field| statements.at(place.clone(), field).cloned();
    let is_lost = |field| matches!(at(field), Some(Said { value: Value::Nothing, .. }));
    let decisive =
        [Field::Split, Field::Redirect, Field::RedirectStatus, Field::Answer, Field::Rewrite, Field::RewriteHost];
    if decisive.into_iter().any(is_lost) {
        return None;
    }
    let (redirect, answer, rewrite) = (at(Field::Redirect), at(Field::Answer), at(Field::Rewrite));
    for said in [&redirect, &rewrite].into_iter().flatten() {
        check_places(said, refined, statements)?;
    }
    if let (Some(first), Some(second)) = (&redirect, &answer) {
        let message = format!("`{}` sends requests elsewhere already, and counts", first.label);
        statements.complaints.add(ProblemCode::InvalidLabel, &second.label, message, "remove one of the two labels");
    }
    let at = |field| statements.at(place.clone(), field).map(|said| &said.value);
    let text = |field| match at(field) {
        Some(Value::Act(Acted::Text(text))) => Some(text.clone()),
        _ => None,
    };
    let status = |field| match at(field) {
        Some(Value::Act(Acted::Status(status))) => Some(*status),
        _ => None,
    };
    let fields = |field| match at(field) {
        Some(Value::Act(Acted::Fields(changes))) => changes.clone(),
        _ => Box::default(),
    };
    let instead = match (template(redirect), status(Field::Answer)) {
        (Some(location), _) => {
            Some(Instead::Redirect { status: status(Field::RedirectStatus).unwrap_or(302), location })
        }
        (None, Some(status)) => Some(Instead::Answer {
            status,
            content_type: text(Field::AnswerType).unwrap_or_else(|| "text/plain; charset=utf-8".into()),
            body: text(Field::AnswerBody).unwrap_or_else(|| words(status)),
        }),
        (None, None) => None,
    };
    let actions = Actions {
        instead,
        path: template(rewrite),
        host: text(Field::RewriteHost),
        request: fields(Field::RequestHeaders),
        answer: fields(Field::AnswerHeaders),
        filters: match at(Field::Filters) {
            Some(Value::List(names)) => names.iter().map(|name| name.as_str().into()).collect(),
            _ => Box::default(),
        },
        timeout: match at(Field::Timeout) {
            Some(Value::Time(time)) => Some(*time),
            _ => None,
        },
        split: match at(Field::Split) {
            Some(Value::Act(Acted::Split(split))) => split.clone(),
            _ => Box::default(),
        },
    };
    Some(actions.shared())
}

fn template(said: Option<Said>) -> Option<Template> {
    match said?.value {
        Value::Act(Acted::Template(template)) => Some(template),
        _ => None,
    }
}

/// Whether the places of a template are ones that the route's requests have.
fn check_places(said: &Said, refined: Option<&Refinement>, statements: &mut Statements) -> Option<()> {
    let Value::Act(Acted::Template(template)) = &said.value else { return Some(()) };
    let groups = match refined.map(|refined| &refined.path) {
        Some(PathMeaning::Pattern(pattern)) => Some(pattern.group_count()),
        _ => None,
    };
    let (message, mend) = match groups {
        Some(_) if template.has_rest() => {
            ("`{rest}` follows a path, and the route has an expression".to_owned(), "use groups: `{1}`")
        }
        known if usize::from(template.groups()) > known.unwrap_or(0) => {
            let known = known.unwrap_or(0);
            let message = format!("it names group {}, and the route's `path_regex` has {known}", template.groups());
            (message, "put parentheses around parts of `path_regex`, or use `{path}` and `{rest}`")
        }
        _ => return Some(()),
    };
    let label = said.label.clone();
    statements.complaints.add(ProblemCode::InvalidLabel, &label, message, mend);
    None
}

/// The status in words; nothing where RFC 9110 has no content.
fn words(status: u16) -> Arc<str> {
    match http::StatusCode::from_u16(status) {
        Ok(status) if !matches!(status.as_u16(), 204 | 205 | 304) => format!("{status}\n").into(),
        _ => "".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Option<String> {
        let read = changes(text).ok()?;
        Some(read.iter().map(|change| format!("{:?} {}", change.change, change.name)).collect::<Vec<_>>().join("; "))
    }

    #[test]
    fn header_changes_are_read() {
        assert_eq!(shown("X-A = b=c ;+X-B=d;; -X-C").as_deref(), Some("Set(\"b=c\") x-a; Add(\"d\") x-b; Remove x-c"));
        assert_eq!(shown(r"X-A=b\; c; X-D=").as_deref(), Some("Set(\"b; c\") x-a; Set(\"\") x-d"));
        let names = ["Host", "x-forwarded-for", "Connection", "content-length", "X-Pointsman-Reason", "a b", ""];
        for wrong in
            names.map(|name| format!("{name}=1")).iter().map(String::as_str).chain(["", ";", "x", "-x=1", "x=ü"])
        {
            assert_eq!(shown(wrong), None, "{wrong}");
        }
        assert_eq!(shown(&"x=1;".repeat(33)), None);
    }

    #[test]
    fn splits_are_read() {
        let read =
            |text| split(text).ok().map(|all| all.iter().map(|(v, share)| format!("{v}:{share}")).collect::<Vec<_>>());
        assert_eq!(read("blue=90, green = 10").unwrap(), ["blue:90", "green:10"]);
        assert_eq!(read("v=2=1,v=3=0").unwrap(), ["v=2:1", "v=3:0"]);
        assert_eq!(read("green").unwrap(), ["green:1"]);
        for wrong in ["", ",", "=1", "a=x", "a=-1", "a=1,a=2", "a=0", "a=65536"] {
            assert!(read(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn answers_are_read() {
        let read = |act: Act, text| act.read(text).is_ok();
        assert!(read(Act::Status, "200") && read(Act::Status, "599"));
        assert!(!read(Act::Status, "101") && !read(Act::Status, "600") && !read(Act::Status, "ok"));
        assert!(read(Act::RedirectStatus, "308") && !read(Act::RedirectStatus, "304"));
        assert!(read(Act::MediaType, "text/html; charset=utf-8") && !read(Act::MediaType, "html"));
        assert!(read(Act::Host, "a.test") && !read(Act::Host, "*.a.test") && !read(Act::Host, "a:80"));
        assert_eq!((&*words(503), &*words(204)), ("503 Service Unavailable\n", ""));
    }
}
