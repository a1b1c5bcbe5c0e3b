//! Changes of header fields, as routes ask for them.
//!
//! Whoever reads the labels has refused the names that are not a route's to change. What is set or removed has no second
//! spelling with `_` afterwards.

use http::header::HeaderName;
use http::{HeaderMap, HeaderValue};

use crate::model::actions::{Change, FieldChange};
use crate::proxy::headers::remove_all;

/// Makes the changes, in their order.
pub fn change(headers: &mut HeaderMap, changes: &[FieldChange]) {
    for FieldChange { name, change } in changes {
        // The text is copied: shared values would be counted by every worker in one place.
        let Ok(name) = HeaderName::from_bytes(name.as_bytes()) else { continue };
        match change {
            Change::Remove => remove_all(headers, &name),
            Change::Set(value) => {
                if let Ok(value) = HeaderValue::from_str(value) {
                    remove_all(headers, &name);
                    headers.insert(name, value);
                }
            }
            Change::Add(value) => {
                if let Ok(value) = HeaderValue::from_str(value) {
                    headers.append(name, value);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_made_in_order() {
        let mut headers = HeaderMap::new();
        for (name, value) in [("x-a", "1"), ("x_a", "2"), ("x-b", "1"), ("x_b", "1"), ("x-c", "1")] {
            headers.append(name, HeaderValue::from_static(value));
        }
        let of = |name: &str, change| FieldChange { name: name.into(), change };
        let changes = [
            of("x-a", Change::Set("3".into())),
            of("x-a", Change::Add("4".into())),
            of("x-b", Change::Remove),
            of("x-d", Change::Add("5".into())),
        ];
        change(&mut headers, &changes);
        let all = |name: &str| headers.get_all(name).iter().map(|v| v.to_str().unwrap().to_owned()).collect::<Vec<_>>();
        assert_eq!(
            (all("x-a"), all("x-b").len(), all("x-c"), all("x-d")),
            (vec!["3".into(), "4".into()], 0, vec!["1".into()], vec!["5".into()])
        );
        assert_eq!((all("x_a").len(), all("x_b").len()), (0, 0));
    }
}
