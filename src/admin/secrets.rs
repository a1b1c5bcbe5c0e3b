//! Label values that nobody should see, as the API shows them.

use crate::labels::is_secret;

/// Stands for a hidden value.
pub const HIDDEN: &str = "[hidden]";

/// The value as it may be shown: hidden if the key looks like a secret's.
///
/// The key decides, not the value, so that the same label is hidden everywhere and always.
pub fn shown<'a>(key: &str, value: &'a str) -> &'a str {
    if is_secret(key) { HIDDEN } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(key: &str, secret: bool) {
        assert_eq!(is_secret(key), secret, "{key}");
        assert_eq!(shown(key, "v") == HIDDEN, secret, "{key}");
    }

    #[test]
    fn keys() {
        check("HAPROXY_0_AUTH", true);
        check("api-token", true);
        check("dbPassword", true);
        check("my.secret.key", true);
        check("HAPROXY_GROUP", false);
        check("version", false);
    }
}
