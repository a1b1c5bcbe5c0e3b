//! Keys of DNS cookies: 32 hexadecimal digits each; the one in use first, those that are still taken behind it.

use std::path::Path;

use serde_json::Value as Json;

use super::{Fault, Item, Kind};
use crate::config::checked::CookieKey;

/// Keys that are never shown, not even in a message about them.
pub(crate) struct CookieKeys;

/// More than any rollover needs.
const MOST: usize = 8;

impl Kind for CookieKeys {
    type Value = Vec<CookieKey>;

    fn noun(&self) -> String {
        "a secret".into()
    }

    fn range(&self) -> String {
        format!("1 to {MOST} keys of 32 hexadecimal digits, with spaces between")
    }

    fn example(&self) -> String {
        "\"…\"".into()
    }

    fn read(&self, item: &Item<'_>, _base: &Path) -> Result<Self::Value, Vec<Fault>> {
        let keys: Option<Vec<_>> = self.string(item)?.split_ascii_whitespace().map(parse).collect();
        keys.filter(|keys| (1..=MOST).contains(&keys.len())).ok_or_else(|| {
            let mend = format!("write {}; `openssl rand -hex 16` makes one", self.range());
            Fault::one(item.span(), "the secret is no list of keys", mend)
        })
    }

    fn show(&self, value: &Self::Value) -> Json {
        if value.is_empty() { Json::Null } else { "[hidden]".into() }
    }
}

fn parse(text: &str) -> Option<CookieKey> {
    // Digits only: `from_str_radix` takes a sign too.
    (text.len() == 32 && text.bytes().all(|octet| octet.is_ascii_hexdigit())).then_some(())?;
    u128::from_str_radix(text, 16).ok().map(|key| CookieKey(key.to_be_bytes()))
}

#[cfg(test)]
mod tests {
    use super::super::tests::read;
    use super::*;

    #[test]
    fn keys_stay_hidden() {
        let keys = read(&CookieKeys, "\"000102030405060708090a0b0c0d0e0f  FFffffffffffffffffffffffffffffff\"").unwrap();
        assert_eq!((keys.len(), keys[0].0[15], keys[1].0[0]), (2, 0x0f, 0xff));
        assert_eq!(format!("{keys:?}{}", CookieKeys.show(&keys)), "[[hidden], [hidden]]\"[hidden]\"");
        for wrong in ["\"\"", "\"00\"", "\"+00102030405060708090a0b0c0d0e0f\"", "\"0001020304050607 08090a0b0c0d0e0f\""]
        {
            let error = read(&CookieKeys, wrong).unwrap_err();
            assert!(error.contains("openssl") && !error.contains("0102"), "{error}");
        }
    }
}
