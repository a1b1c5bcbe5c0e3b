//! Keys of TSIG, as `dig -y` and `kdig -y` take them: `[algorithm:]name:secret`, the secret in base64.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value as Json;

use super::{Fault, Item, Kind};
use crate::config::checked::{TsigAlgorithm, TsigKey};
use crate::labels::host::HostPattern;

/// Keys that are never shown, not even in a message about them.
pub(crate) struct TsigKeys;

const MOST: usize = 64;

impl Kind for TsigKeys {
    type Value = Vec<TsigKey>;

    fn noun(&self) -> String {
        "a secret".into()
    }

    fn range(&self) -> String {
        format!("1 to {MOST} keys like hmac-sha256:NAME:BASE64, with spaces between")
    }

    fn example(&self) -> String {
        "\"…\"".into()
    }

    fn read(&self, item: &Item<'_>, _base: &Path) -> Result<Self::Value, Vec<Fault>> {
        let keys: Option<Vec<_>> = self.string(item)?.split_ascii_whitespace().map(parse).collect();
        keys.filter(|keys| (1..=MOST).contains(&keys.len())).ok_or_else(|| {
            let mend = format!(
                "write {}; the algorithms are hmac-sha256, hmac-sha384 and hmac-sha512, and a secret has 16 octets or more",
                self.range()
            );
            Fault::one(item.span(), "the secret is no list of keys", mend)
        })
    }

    fn show(&self, value: &Self::Value) -> Json {
        if value.is_empty() { Json::Null } else { "[hidden]".into() }
    }
}

fn parse(text: &str) -> Option<TsigKey> {
    let parts: Vec<&str> = text.split(':').collect();
    let (algorithm, name, secret) = match parts[..] {
        [name, secret] => (TsigAlgorithm::HmacSha256, name, secret),
        [algorithm, name, secret] => (TsigAlgorithm::from_name(&algorithm.to_ascii_lowercase())?, name, secret),
        _ => return None,
    };
    let HostPattern::Exact(name) = HostPattern::parse(name).ok()? else { return None };
    let secret = STANDARD.decode(secret).ok().filter(|secret| secret.len() >= 16)?;
    Some(TsigKey { name, algorithm, secret })
}

#[cfg(test)]
mod tests {
    use super::super::tests::read;
    use super::*;

    #[test]
    fn keys_are_read_as_dig_reads_them() {
        let keys = read(&TsigKeys, "\"k1:AAAAAAAAAAAAAAAAAAAAAA== HMAC-SHA512:K2.example.:AAAAAAAAAAAAAAAAAAAAAA==\"")
            .unwrap();
        assert_eq!((&*keys[0].name, keys[0].algorithm), ("k1", TsigAlgorithm::HmacSha256));
        assert_eq!((&*keys[1].name, keys[1].algorithm), ("k2.example", TsigAlgorithm::HmacSha512));
        assert!(!format!("{keys:?}").contains('0'), "hidden: {keys:?}");
        for wrong in ["\"\"", "\"k1\"", "\"k1:AAAA\"", "\"hmac-md5:k1:AAAAAAAAAAAAAAAAAAAAAA==\"", "\"k1:***\""] {
            assert!(read(&TsigKeys, wrong).is_err(), "{wrong}");
        }
    }
}
