//! Pages of long lists. The maps are unordered, so a page is the smallest keys after the cursor: one pass over the
//! map, memory for one page.

use std::collections::BinaryHeap;

use super::query::Query;
use super::reply::ApiError;

/// Entries in a page where the caller asks for nothing else.
pub(crate) const DEFAULT_LIMIT: usize = 1000;
/// The most entries in a page.
pub(crate) const MAX_LIMIT: usize = 10_000;

/// Which part of a list is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Page {
    pub limit: usize,
    /// The last key of the page before.
    pub cursor: Option<String>,
}

impl Page {
    /// Reads `limit` and `cursor`.
    ///
    /// # Errors
    /// The limit is no number or out of bounds.
    pub(crate) fn of(query: &Query) -> Result<Self, ApiError> {
        let limit = query.number("limit")?.unwrap_or(DEFAULT_LIMIT);
        if !(1..=MAX_LIMIT).contains(&limit) {
            let mend = format!("give a limit from 1 to {MAX_LIMIT}, and follow next_cursor for more");
            return Err(ApiError::bad_request(format!("limit={limit} is out of bounds"), mend));
        }
        Ok(Self { limit, cursor: query.text("cursor").map(str::to_owned) })
    }

    /// The page's entries in the order of their keys, and the cursor of the next page if there is one.
    pub(crate) fn take<T>(&self, entries: impl Iterator<Item = (String, T)>) -> (Vec<T>, Option<String>) {
        let mut heap: BinaryHeap<Keyed<T>> = BinaryHeap::new();
        let mut more = false;
        for (key, value) in entries {
            if self.cursor.as_ref().is_some_and(|cursor| key <= *cursor) {
                continue;
            }
            heap.push(Keyed { key, value });
            if heap.len() > self.limit {
                heap.pop();
                more = true;
            }
        }
        let page = heap.into_sorted_vec();
        let next = page.last().filter(|_| more).map(|last| last.key.clone());
        (page.into_iter().map(|entry| entry.value).collect(), next)
    }
}

struct Keyed<T> {
    key: String,
    value: T,
}

impl<T> PartialEq for Keyed<T> {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl<T> Eq for Keyed<T> {}

impl<T> PartialOrd for Keyed<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Keyed<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key.cmp(&other.key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_cover_everything_once_and_in_order() {
        let all: Vec<String> = (0..25).map(|i| format!("{:02}", (i * 7) % 25)).collect();
        let mut page = Page { limit: 10, cursor: None };
        let mut seen = Vec::new();
        loop {
            let (entries, next) = page.take(all.iter().map(|key| (key.clone(), key.clone())));
            seen.extend(entries);
            match next {
                Some(cursor) => page.cursor = Some(cursor),
                None => break,
            }
        }
        let mut expected = all.clone();
        expected.sort();
        assert_eq!(seen, expected);
    }

    #[test]
    fn a_page_that_fits_exactly_has_no_next() {
        let page = Page { limit: 2, cursor: None };
        assert_eq!(page.take([("a".into(), 1), ("b".into(), 2)].into_iter()), (vec![1, 2], None));
    }

    #[test]
    fn limits() {
        let limit = |text: &str| Page::of(&Query::parse(text).unwrap()).map(|page| page.limit).ok();
        assert_eq!(limit(""), Some(DEFAULT_LIMIT));
        assert_eq!(limit("limit=5"), Some(5));
        assert_eq!(limit("limit=0"), None);
        assert_eq!(limit("limit=10001"), None);
        assert_eq!(limit("limit=x"), None);
    }
}
