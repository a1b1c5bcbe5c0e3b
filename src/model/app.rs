//! What an app of Marathon's is called: by its id (`/team/shop`), and by the name that its tasks are announced with at
//! Mesos (`shop.team`).

use std::sync::Arc;

/// Both ways in which an app is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// As an id: `/team/shop`.
    pub id: Arc<str>,
    /// As the name of its tasks: `shop.team`.
    pub name: Arc<str>,
}

impl Names {
    /// Of an app whose id is known.
    pub fn of_id(id: &Arc<str>) -> Self {
        Self { id: id.clone(), name: name_of(id) }
    }

    /// Of an app of which only the name is known: the id that is turned round.
    pub fn of_name(name: &Arc<str>) -> Self {
        let mut segments: Vec<&str> = name.split('.').collect();
        segments.reverse();
        Self { id: format!("/{}", segments.join("/")).into(), name: name.clone() }
    }
}

/// The name that tasks of an app are found by: its id's segments from the last to the first.
pub fn name_of(id: &str) -> Arc<str> {
    let mut segments: Vec<&str> = segments(id).collect();
    segments.reverse();
    segments.join(".").into()
}

/// An id with one slash before each segment and none at its end, however it was written; `None`: it has no segment.
pub fn id_of(text: &str) -> Option<Arc<str>> {
    let id: String = segments(text).flat_map(|segment| ["/", segment]).collect();
    (!id.is_empty()).then(|| id.into())
}

/// The app of a task of Marathon's: its task ids begin with the app's path, `_` for `/` (no segment may have a `_`), and
/// go on with `.instance-` and a UUID (before 1.5, with the UUID alone).
pub fn id_of_task(task: &str) -> Option<Arc<str>> {
    let path = match task.rsplit_once(".instance-") {
        Some((path, _)) => path,
        None => task.rsplit_once('.').filter(|(_, uuid)| is_uuid(uuid)).map(|(path, _)| path)?,
    };
    (!path.is_empty()).then(|| format!("/{}", path.replace('_', "/")).into())
}

fn segments(id: &str) -> impl Iterator<Item = &str> {
    id.split('/').filter(|segment| !segment.is_empty())
}

fn is_uuid(text: &str) -> bool {
    let lengths = text.split('-').map(str::len);
    lengths.eq([8, 4, 4, 4, 12]) && text.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_turned_round() {
        for (id, name) in [("/shop", "shop"), ("/team/shop", "shop.team"), ("shop", "shop"), ("//a//b/", "b.a")] {
            assert_eq!(&*name_of(id), name, "{id}");
        }
        for (text, id) in [("shop", Some("/shop")), ("/team/shop/", Some("/team/shop")), ("/", None), ("", None)] {
            assert_eq!(id_of(text).as_deref(), id, "{text}");
        }
        let both = Names { id: "/team/shop".into(), name: "shop.team".into() };
        assert_eq!((Names::of_id(&both.id), Names::of_name(&both.name)), (both.clone(), both));
    }

    #[test]
    fn apps_of_tasks() {
        let check = |task: &str, expected: Option<&str>| assert_eq!(id_of_task(task).as_deref(), expected, "{task}");
        check("team_shop.instance-c9de6033-b669-11e6-a48f-0ea4f4b1778c._app.1", Some("/team/shop"));
        check("shop.v2.instance-c9de6033-b669-11e6-a48f-0ea4f4b1778c.web", Some("/shop.v2"));
        check("frontend-foosball.083be411-5d1f-11e5-88f7-56b91e7a505b", Some("/frontend-foosball"));
        check("chronos:1", None);
        check("a.b", None);
        check(".instance-x", None);
    }
}
