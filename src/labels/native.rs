//! Reads labels of the native scheme, `pointsman.…`.

use std::sync::Arc;

use super::complaint::{Complaints, did_you_mean, nearest};
use super::keys::{About, KEYS, Key, PREFIX, native};
use super::ports::TaskPort;
use super::statements::{Place, Said, Statements, default_route};
use super::value::{Fault, Kind, Value};
use super::{MAX_KEY, MAX_LABELS, MAX_VALUE};
use crate::model::problem::ProblemCode;
use crate::model::task::{Label, TaskDefinition};

/// The longest name of a route.
const MAX_ROUTE_NAME: usize = 63;

/// Where a label speaks, and how surely: what names its port goes before what means the first one by default.
struct Address {
    place: Place,
    key: &'static Key,
    is_default: bool,
}

/// Why a label speaks of nothing.
enum Lost {
    UnknownKey { written: String },
    MissingPort { port: String },
    OfTask { key: &'static Key },
    RouteName,
}

/// Reads all native labels of a task and of its discovery ports.
pub(super) fn read(definition: &TaskDefinition, ports: &[TaskPort], statements: &mut Statements) {
    let mut addressed = Vec::new();
    for label in ours(&definition.labels, statements) {
        let rest = strip(&label.key).unwrap_or_default();
        collect(label, of_task(rest, ports), ports, &mut addressed, statements);
    }
    let announced = definition.discovery.iter().flat_map(|discovery| discovery.ports.iter());
    for port in announced.take(ports.len().saturating_mul(4)) {
        let is_it = |known: &&TaskPort| {
            let number = Some(port.number);
            known.name == port.name
                && (known.number == port.number || known.host == number || known.container == number)
        };
        let Some(index) = ports.iter().find(is_it).map(|known| known.index) else { continue };
        for label in ours(&port.labels, statements) {
            let rest = strip(&label.key).unwrap_or_default();
            collect(
                label,
                of_port(rest, index).ok_or_else(|| unknown_of_port(rest, "")),
                ports,
                &mut addressed,
                statements,
            );
        }
    }
    addressed.sort_by_key(|(address, _)| address.is_default);
    for (address, said) in addressed {
        statements.say(address.place, address.key.field, said);
    }
    let version = definition.labels.iter().find(|label| &*label.key == "version");
    if let Some(label) = version
        && let Some(key) = native("version")
        && let Some(value) = Kind::Version.read(&label.value, &mut Vec::new())
    {
        let said = Said { value, label: label.key.clone(), text: label.value.clone() };
        statements.say_if_silent(Place::Task, key.field, said);
    }
}

/// Our labels of a list, in the order of their keys and within bounds.
fn ours<'a>(labels: &'a [Label], statements: &mut Statements) -> Vec<&'a Label> {
    sorted(labels.iter().filter(|label| strip(&label.key).is_some()), &mut statements.complaints)
}

/// Labels in the order of their keys, those past a bound replaced by a problem.
pub(super) fn sorted<'a>(labels: impl Iterator<Item = &'a Label>, complaints: &mut Complaints) -> Vec<&'a Label> {
    let mut out: Vec<&Label> = labels.collect();
    // Stable: labels with one key keep the source's order, so that the first of them counts.
    out.sort_by(|a, b| a.key.cmp(&b.key));
    if let Some(extra) = out.get(MAX_LABELS) {
        let message = format!("there are {} labels of ours, and only the first {MAX_LABELS} count", out.len());
        complaints.add(ProblemCode::InvalidLabel, &extra.key, message, "use fewer labels");
        out.truncate(MAX_LABELS);
    }
    out.retain(|label| {
        let fits = label.key.len() <= MAX_KEY && label.value.len() <= MAX_VALUE;
        if !fits {
            let message = format!("the key is longer than {MAX_KEY} bytes or the value longer than {MAX_VALUE}");
            complaints.add(ProblemCode::InvalidLabel, &label.key, message, "write a shorter label");
        }
        fits
    });
    out
}

/// What follows the prefix, if the key has it in any case.
fn strip(key: &str) -> Option<&str> {
    let (prefix, rest) = key.split_at_checked(PREFIX.len())?;
    prefix.eq_ignore_ascii_case(PREFIX).then_some(rest)
}

fn collect(
    label: &Label,
    address: Result<Address, Lost>,
    ports: &[TaskPort],
    addressed: &mut Vec<(Address, Said)>,
    statements: &mut Statements,
) {
    let address = match address {
        Ok(address) => address,
        Err(lost) => return complain(label, lost, ports, &mut statements.complaints),
    };
    if ports.is_empty() && matches!(address.place, Place::Port(_) | Place::Route(..)) {
        return complain(label, Lost::MissingPort { port: "0".into() }, ports, &mut statements.complaints);
    }
    if addressed.len() >= MAX_LABELS {
        let message = format!("the task and its ports have more than {MAX_LABELS} labels of ours");
        return statements.complaints.add(ProblemCode::InvalidLabel, &label.key, message, "use fewer labels");
    }
    if let Some(value) = value(label, address.key.kind, &mut statements.complaints) {
        addressed.push((address, Said { value, label: label.key.clone(), text: label.value.clone() }));
    }
}

/// Reads a label's value; what is wrong with it becomes a problem.
pub(super) fn value(label: &Label, kind: Kind, complaints: &mut Complaints) -> Option<Value> {
    let mut faults: Vec<Fault> = Vec::new();
    let value = kind.read(&label.value, &mut faults);
    for fault in faults {
        complaints.value(&label.key, &label.value, fault);
    }
    value
}

/// Where a label on the task speaks. A key of the whole task goes before a port named like its first word.
fn of_task(rest: &str, ports: &[TaskPort]) -> Result<Address, Lost> {
    if let Some(key) = native(&rest.to_ascii_lowercase()) {
        let place = match key.about {
            About::Task => Place::Task,
            About::EveryPort => Place::EveryPort,
            About::FirstPort | About::EveryRoute => Place::Port(0),
            About::Route => Place::Route(0, default_route()),
        };
        return Ok(Address { place, key, is_default: true });
    }
    if let Some((place, key)) = route(rest, 0) {
        return Ok(Address { place, key, is_default: true });
    }
    if let Some(long) = strip_word(rest, "port.")
        && let Ok(address) = of_some_port(long, ports)
    {
        return Ok(address);
    }
    of_some_port(rest, ports).map_err(|lost| match strip_word(rest, "port.") {
        Some(long) if !ports.iter().any(|port| &*port.name == "port") => {
            of_some_port(long, ports).err().unwrap_or(lost)
        }
        _ => lost,
    })
}

/// Where `<port>.<key>` speaks: names before indices, longer names before shorter ones (they may have dots).
fn of_some_port(rest: &str, ports: &[TaskPort]) -> Result<Address, Lost> {
    let by_name = ports.iter().filter(|port| !port.name.is_empty()).filter_map(|port| {
        let tail = rest.strip_prefix(&*port.name)?.strip_prefix('.')?;
        Some((port.name.len(), port.index, tail))
    });
    let mut candidates: Vec<(usize, usize, &str)> = by_name.collect();
    candidates.sort_by_key(|&(length, index, _)| (std::cmp::Reverse(length), index));
    if let Some((word, tail)) = rest.split_once('.')
        && let Some(index) = index(word)
        && index < ports.len()
    {
        candidates.push((word.len(), index, tail));
    }
    if let Some(address) = candidates.iter().find_map(|&(_, index, tail)| of_port(tail, index)) {
        return Ok(address);
    }
    if let Some((length, _, tail)) = candidates.first() {
        return Err(unknown_of_port(tail, &rest[..length + 1]));
    }
    if strip_word(rest, "route.").is_some() {
        return Err(Lost::RouteName);
    }
    let splits = rest.match_indices('.').map(|(at, _)| (&rest[..at], &rest[at + 1..]));
    for (port, tail) in splits.take(16) {
        if !port.is_empty() && of_port(tail, 0).is_some() {
            return Err(Lost::MissingPort { port: port.to_owned() });
        }
    }
    Err(Lost::UnknownKey { written: rest.to_owned() })
}

/// Where a key that is said of a certain port speaks.
fn of_port(tail: &str, index: usize) -> Option<Address> {
    let lower = tail.to_ascii_lowercase();
    let (place, key) = match native(&lower) {
        Some(key) if key.about == About::Task => return None,
        Some(key) if key.about == About::Route => (Place::Route(index, default_route()), key),
        Some(key) => (Place::Port(index), key),
        None => route(tail, index)?,
    };
    Some(Address { place, key, is_default: false })
}

/// `route.<name>.<key>`; the name may have dots, keys of routes have none.
fn route(tail: &str, index: usize) -> Option<(Place, &'static Key)> {
    let (name, word) = strip_word(tail, "route.")?.rsplit_once('.')?;
    let key = native(&word.to_ascii_lowercase()).filter(|key| matches!(key.about, About::Route | About::EveryRoute))?;
    let good = !name.is_empty() && name.len() <= MAX_ROUTE_NAME && name.chars().all(|c| c.is_ascii_graphic());
    good.then(|| (Place::Route(index, name.into()), key))
}

fn strip_word<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let (start, rest) = text.split_at_checked(word.len())?;
    start.eq_ignore_ascii_case(word).then_some(rest)
}

/// A port's index as people write it.
pub(super) fn index(word: &str) -> Option<usize> {
    let is_number = !word.is_empty() && word.len() <= 5 && word.bytes().all(|byte| byte.is_ascii_digit());
    if is_number { word.parse().ok() } else { None }
}

fn unknown_of_port(tail: &str, port: &str) -> Lost {
    if let Some(key) = native(&tail.to_ascii_lowercase()).filter(|key| key.about == About::Task) {
        return Lost::OfTask { key };
    }
    if strip_word(tail, "route.").is_some() {
        return Lost::RouteName;
    }
    Lost::UnknownKey { written: format!("{port}{tail}") }
}

fn complain(label: &Label, lost: Lost, ports: &[TaskPort], complaints: &mut Complaints) {
    match lost {
        Lost::UnknownKey { written } => {
            let near = if complaints.is_full() { None } else { suggestion(&written) };
            let mend = did_you_mean(near.as_deref(), "see the reference of labels, or remove it");
            complaints.add(ProblemCode::UnknownLabel, &label.key, "there is no such label", &*mend);
        }
        Lost::MissingPort { port } => {
            let message = format!("the task has no port {:?}", super::value::shorten(&port, 64));
            complaints.add(ProblemCode::MissingPort, &label.key, message, missing_port_mend(ports));
        }
        Lost::OfTask { key } => complaints.add(
            ProblemCode::InvalidLabel,
            &label.key,
            format!("`{}` is said of the task, not of a port", key.name),
            format!("write `{PREFIX}{}`", key.name),
        ),
        Lost::RouteName => complaints.add(
            ProblemCode::UnknownLabel,
            &label.key,
            "there is no such label of a route",
            "write `route.<name>.host`, `….path`, `….header` or another key of routes, the name of 1 to 63 visible characters",
        ),
    }
}

/// The label that was probably meant: the longest tail of what was written that is nearly a key.
fn suggestion(written: &str) -> Option<String> {
    let names = || KEYS.iter().flat_map(|key| [key.name, key.also]).filter(|name| !name.is_empty());
    let starts = std::iter::once(0).chain(written.match_indices('.').map(|(at, _)| at + 1));
    for start in starts.take(8) {
        if let Some(known) = nearest(&written[start..].to_ascii_lowercase(), names()) {
            return Some(format!("{PREFIX}{}{known}", &written[..start]));
        }
    }
    None
}

/// What to do about a port that does not exist.
pub(super) fn missing_port_mend(ports: &[TaskPort]) -> String {
    if ports.is_empty() {
        return "declare a port of the task (discovery, port mappings or a `ports` resource)".to_owned();
    }
    let shown = ports.iter().take(8).map(|port| match port.name.is_empty() {
        true => format!("{}", port.index),
        false => format!("{} ({})", port.index, super::value::shorten(&port.name, 32)),
    });
    let more = if ports.len() > 8 { ", …" } else { "" };
    format!("its ports are {}{more}", shown.collect::<Vec<_>>().join(", "))
}

/// Finds the port that a value names: by name, else by index.
pub(super) fn find_port(text: &str, ports: &[TaskPort]) -> Option<usize> {
    let by_name: Option<&TaskPort> = ports.iter().find(|port| !port.name.is_empty() && *port.name == *text);
    by_name.map(|port| port.index).or_else(|| index(text).filter(|index| *index < ports.len()))
}

/// A label's key as shared text.
pub(super) fn shared(label: &Label) -> (Arc<str>, Arc<str>) {
    (label.key.clone(), label.value.clone())
}
