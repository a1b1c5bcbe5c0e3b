//! What could have been meant: names that differ little from the one asked for.

/// The most changed characters for which two names still count as near.
const MAX_DISTANCE: usize = 3;

/// The `limit` nearest of `candidates`, best first.
pub(crate) fn nearest<'a>(wanted: &str, candidates: impl Iterator<Item = &'a str>, limit: usize) -> Vec<&'a str> {
    let mut found: Vec<(usize, &str)> =
        candidates.filter_map(|candidate| score(wanted, candidate).map(|score| (score, candidate))).collect();
    found.sort_unstable();
    found.dedup();
    found.truncate(limit);
    found.into_iter().map(|(_, candidate)| candidate).collect()
}

/// How near: the edit distance where it is small, more for one name contained in the other, `None` for strangers.
fn score(wanted: &str, candidate: &str) -> Option<usize> {
    if let Some(distance) = distance_within(wanted, candidate, MAX_DISTANCE.min(wanted.len() / 2)) {
        return Some(distance);
    }
    let contains =
        wanted.len() >= 3 && candidate.len() >= 3 && (candidate.contains(wanted) || wanted.contains(candidate));
    contains.then_some(MAX_DISTANCE + 1)
}

/// The edit distance (Levenshtein) in bytes if it is at most `max`. Costs `len * len` only for names of similar length.
fn distance_within(a: &str, b: &str, max: usize) -> Option<usize> {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len().abs_diff(b.len()) > max || a.len() > 255 || b.len() > 255 {
        return None;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substitution = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substitution.min(diagonal + 1).min(row[j] + 1);
        }
        if row.iter().min().is_some_and(|&best| best > max) {
            return None;
        }
    }
    row.last().copied().filter(|&distance| distance <= max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_first() {
        let names = ["web", "wob", "website", "database", "xyz"];
        assert_eq!(nearest("web", names.into_iter(), 5), ["web", "wob", "website"]);
        assert_eq!(nearest("web", names.into_iter(), 1), ["web"]);
        assert!(nearest("qqqq", names.into_iter(), 5).is_empty());
    }

    #[test]
    fn distances() {
        let check = |a: &str, b: &str, expected| assert_eq!(distance_within(a, b, 3), expected, "{a} {b}");
        check("", "", Some(0));
        check("abc", "abc", Some(0));
        check("abc", "abd", Some(1));
        check("abc", "ac", Some(1));
        check("kitten", "sitting", Some(3));
        check("abcdef", "uvwxyz", None);
        check("a", "abcdefgh", None);
    }
}
