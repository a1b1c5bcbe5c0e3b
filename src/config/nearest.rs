//! The known word nearest to one that is not known.

use crate::model::edit_distance::edit_distance;

/// The candidate that a slip of the hand turns into `word`, if one is near enough.
pub(crate) fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // Nothing known is longer: the table below stays small whatever the file says.
    if word.len() > 64 {
        return None;
    }
    let allowed = (word.chars().count() / 3).max(1);
    let near = candidates.map(|candidate| (edit_distance(word, candidate), candidate));
    near.filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words() {
        let find = |word| nearest(word, ["header", "connect", "idle"].into_iter());
        assert_eq!(find("heade"), Some("header"));
        assert_eq!(find("haeder"), Some("header"));
        assert_eq!(find("conect"), Some("connect"));
        assert_eq!(find("ilde"), Some("idle"));
        assert_eq!(find("zone"), None);
        assert_eq!(find(&"x".repeat(10_000)), None);
    }
}
