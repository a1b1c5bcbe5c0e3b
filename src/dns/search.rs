//! Help for clients with a search path: what they would find at the end of it, at their first question.
//!
//! A resolver with `search a.mesos b.mesos` and `ndots:5` asks for `www.example.com.a.mesos`, `www.example.com.b.mesos` and
//! only then for what was meant, each for A and for AAAA. Whoever knows the path can answer the first question with an
//! alias to the end.
//!
//! Pure.

use std::sync::Arc;

use super::source::NameSource;
use super::wire::name::{MAX_LABEL, MAX_NAME};
use crate::table::names::Found;

/// Where a search path ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct End {
    pub(super) name: Arc<str>,
    /// A name of ours; else one that others may know.
    pub(super) is_ours: bool,
}

/// The name that a client with this search path comes to, when it asks for a name that is missing: one of ours, or the name
/// as it was meant, which others may know. `None`: it asks for something else, or goes on by itself.
pub(super) fn end<N: NameSource>(names: &N, search: &[Arc<str>], missing: &str) -> Option<End> {
    let ours = |name: &str| Some(End { name: name.into(), is_ours: true });
    let (first, others) = search.split_first()?;
    let meant = missing.strip_suffix(&**first)?.strip_suffix('.')?;
    for domain in others {
        let next = format!("{meant}.{domain}");
        match names.find(&next) {
            Found::Node(_, node) if !node.records.is_empty() => return ours(&next),
            Found::Node(..) | Found::Missing(_) => {}
            // What lies there is not known here: the client has to ask.
            Found::Outside | Found::Unready(_) | Found::Delegated(..) => return None,
        }
    }
    // A single label is nobody's name outside a search path.
    match names.find(meant) {
        Found::Node(_, node) if !node.records.is_empty() => ours(meant),
        Found::Outside if meant.contains('.') && is_name(meant) => Some(End { name: meant.into(), is_ours: false }),
        _ => None,
    }
}

/// Whether others can be asked for it: octets that no name of ours has were lost when it was read (`NameText`), and others'
/// names may have them.
fn is_name(text: &str) -> bool {
    !text.contains('\u{7f}')
        && text.len() + 2 <= MAX_NAME
        && text.split('.').all(|label| (1..=usize::from(MAX_LABEL)).contains(&label.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::sample::Sample;

    #[test]
    fn the_path_is_walked_as_the_client_would() {
        let names = Sample::new("mesos")
            .with_address("web.marathon.mesos", [10, 0, 0, 1].into())
            .with_address("db.mesos", [10, 0, 0, 2].into())
            .with_address("a.deep.mesos", [10, 0, 0, 3].into());
        let path: Vec<Arc<str>> = vec!["marathon.mesos".into(), "mesos".into()];
        let found = |name| end(&names, &path, name);
        let ends = |name: &str, is_ours| Some(End { name: name.into(), is_ours });
        assert_eq!(found("db.marathon.mesos"), ends("db.mesos", true));
        assert_eq!(found("www.example.com.marathon.mesos"), ends("www.example.com", false));
        assert_eq!(found("db.mesos.marathon.mesos"), ends("db.mesos", true), "a name that was whole already");
        for alone in [
            "gone.marathon.mesos",
            "deep.marathon.mesos",
            "gone.mesos",
            "x.gone.mesos",
            "marathon.mesos",
            "caf\u{7f}.fr.marathon.mesos",
        ] {
            assert_eq!(found(alone), None, "{alone}");
        }
        // A domain that is not ours: nothing is known of what lies behind it.
        let path: Vec<Arc<str>> = vec!["marathon.mesos".into(), "corp.example.com".into(), "mesos".into()];
        assert_eq!(end(&names, &path, "db.marathon.mesos"), None);
        assert_eq!(end(&names, &[], "db.marathon.mesos"), None);
    }
}
