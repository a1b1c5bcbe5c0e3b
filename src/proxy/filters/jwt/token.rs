//! A token (RFC 7519): found in a request, read, and judged by its claims. Pure.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{AUTHORIZATION, COOKIE, HeaderMap};
use serde_json::{Map, Value};

use super::keys::KeySet;
use crate::config::filter::JwtConfig;

/// The longest token.
const LONGEST: usize = 16 * 1024;

/// Why a token does not let its request pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// There is none.
    Missing,
    /// It is none, or nobody we believe has signed it.
    Invalid(&'static str),
    /// It is signed by a key that the set does not have, or not yet.
    UnknownKey,
}

/// Claims of a token that was believed.
pub type Claims = Map<String, Value>;

/// The token of a request: `Authorization: Bearer` (RFC 6750 section 2.1), else a cookie.
pub fn find<'a>(config: &JwtConfig, headers: &'a HeaderMap) -> Option<&'a str> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    if let (Some(value), None) = (values.next(), values.next())
        && let Some((scheme, token)) = value.to_str().ok()?.split_once(' ')
        && scheme.eq_ignore_ascii_case("bearer")
    {
        return Some(token.trim());
    }
    let name = config.cookie.as_deref()?;
    let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(known, _)| *known == name).map(|(_, value)| value.trim_matches('"'))
}

/// Judges a token at `now`, in seconds since 1970.
///
/// # Errors
/// Why it is not believed.
pub fn judge(config: &JwtConfig, keys: &KeySet, token: &str, now: u64) -> Result<Claims, Fault> {
    if token.len() > LONGEST {
        return Err(Fault::Invalid("it is too long"));
    }
    let form = Fault::Invalid("it is not three parts in base64 with a head of JSON");
    let (signed, signature) = token.rsplit_once('.').ok_or(form)?;
    let (head, claims) = signed.split_once('.').ok_or(form)?;
    let head = object(head).ok_or(form)?;
    let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| form)?;
    // RFC 7515 section 4.1.11: what must be understood, and is not.
    if head.contains_key("crit") {
        return Err(Fault::Invalid("it asks for something that is not understood"));
    }
    let algorithm = head.get("alg").and_then(Value::as_str).ok_or(form)?;
    let key = head.get("kid").map(|id| id.as_str().ok_or(form)).transpose()?;
    match keys.verify(key, algorithm, signed.as_bytes(), &signature) {
        Some(true) => {}
        Some(false) => return Err(Fault::Invalid("no key of the set has signed it")),
        None => return Err(Fault::UnknownKey),
    }
    let claims = object(claims).ok_or(Fault::Invalid("its claims are no object of JSON"))?;
    check_times(config, &claims, now)?;
    check_names(config, &claims)?;
    Ok(claims)
}

fn object(part: &str) -> Option<Claims> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

/// RFC 7519 sections 4.1.4 and 4.1.5. A token that never ends cannot be taken back: it is none.
fn check_times(config: &JwtConfig, claims: &Claims, now: u64) -> Result<(), Fault> {
    let leeway = config.leeway.as_secs() as f64;
    let now = now as f64;
    let time = |name: &str| claims.get(name).map(|value| value.as_f64().ok_or(Fault::Invalid("a time is no number")));
    let expires = time("exp").ok_or(Fault::Invalid("it does not say when it expires"))??;
    if now >= expires + leeway {
        return Err(Fault::Invalid("it has expired"));
    }
    if time("nbf").transpose()?.is_some_and(|begins| now + leeway < begins) {
        return Err(Fault::Invalid("it does not count yet"));
    }
    Ok(())
}

/// RFC 7519 sections 4.1.1 and 4.1.3.
fn check_names(config: &JwtConfig, claims: &Claims) -> Result<(), Fault> {
    let is_text = |value: &Value, wanted: &str| value.as_str() == Some(wanted);
    if let Some(issuer) = &config.issuer
        && !claims.get("iss").is_some_and(|value| is_text(value, issuer))
    {
        return Err(Fault::Invalid("somebody else has issued it"));
    }
    let is_for = |value: &Value| config.audience.iter().any(|name| is_text(value, name));
    let is_meant = match claims.get("aud") {
        Some(Value::Array(all)) => all.iter().any(is_for),
        Some(one) => is_for(one),
        None => false,
    };
    if !config.audience.is_empty() && !is_meant {
        return Err(Fault::Invalid("it is for somebody else"));
    }
    Ok(())
}

/// A claim as the value of a header field: a text, a number, `true` or `false` as it is, a list of these with commas
/// between; dots lead into objects.
pub fn text_of(claims: &Claims, path: &str) -> Option<String> {
    match claims.get(path).or_else(|| inner(claims, path))? {
        Value::Array(all) => Some(all.iter().filter_map(simple).collect::<Vec<_>>().join(",")),
        value => simple(value),
    }
}

fn inner<'a>(claims: &'a Claims, path: &str) -> Option<&'a Value> {
    let mut parts = path.split('.');
    let first = claims.get(parts.next()?)?;
    parts.try_fold(first, |at, part| at.get(part))
}

fn simple(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(is) => Some(is.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::signature::{Ed25519KeyPair, KeyPair};
    use serde_json::json;
    use std::time::Duration;

    const NOW: u64 = 1_700_000_000;

    struct Signer(Ed25519KeyPair);

    impl Signer {
        fn new() -> Self {
            Self(Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap())
        }

        fn keys(&self) -> KeySet {
            let x = URL_SAFE_NO_PAD.encode(self.0.public_key());
            let set = json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "kid": "k1", "x": x }] });
            KeySet::parse(set.to_string().as_bytes()).unwrap()
        }

        fn sign(&self, head: &Value, claims: &Value) -> String {
            let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
            let signed = format!("{}.{}", part(head), part(claims));
            let signature = URL_SAFE_NO_PAD.encode(self.0.sign(signed.as_bytes()));
            format!("{signed}.{signature}")
        }
    }

    fn config() -> JwtConfig {
        JwtConfig {
            issuer: Some("https://id.test".into()),
            audience: vec!["shop".into(), "api".into()],
            leeway: Duration::from_secs(10),
            ..JwtConfig::default()
        }
    }

    fn good() -> Value {
        json!({ "iss": "https://id.test", "aud": "shop", "exp": NOW + 60, "sub": "ann" })
    }

    fn check(change: impl Fn(&mut Value, &mut Value), expected: Result<(), Fault>) {
        let signer = Signer::new();
        let (mut head, mut claims) = (json!({ "alg": "EdDSA", "kid": "k1" }), good());
        change(&mut head, &mut claims);
        let token = signer.sign(&head, &claims);
        let found = judge(&config(), &signer.keys(), &token, NOW).map(|_| ());
        assert_eq!(found, expected, "{head} {claims}");
    }

    #[test]
    fn claims_rfc7519_4_1() {
        let invalid = |why| Err(Fault::Invalid(why));
        check(|_, _| {}, Ok(()));
        check(|_, claims| claims["aud"] = json!(["x", "api"]), Ok(()));
        check(|_, claims| claims["exp"] = json!(NOW - 9), Ok(()));
        check(|_, claims| claims["exp"] = json!(NOW - 10), invalid("it has expired"));
        check(|_, claims| claims["exp"] = json!("soon"), invalid("a time is no number"));
        check(
            |_, claims| drop(claims.as_object_mut().unwrap().remove("exp")),
            invalid("it does not say when it expires"),
        );
        check(|_, claims| claims["nbf"] = json!(NOW + 10), Ok(()));
        check(|_, claims| claims["nbf"] = json!(NOW + 11), invalid("it does not count yet"));
        check(|_, claims| claims["iss"] = json!("https://id.test.evil"), invalid("somebody else has issued it"));
        check(|_, claims| claims["aud"] = json!(["x"]), invalid("it is for somebody else"));
        check(|_, claims| claims["aud"] = json!(null), invalid("it is for somebody else"));
        check(|head, _| head["crit"] = json!(["exp"]), invalid("it asks for something that is not understood"));
    }

    #[test]
    fn what_nobody_has_signed_is_not_believed() {
        let unsigned = Err(Fault::Invalid("no key of the set has signed it"));
        check(|head, _| head["alg"] = json!("none"), unsigned);
        check(|head, _| head["alg"] = json!("HS256"), unsigned);
        check(|head, _| head["alg"] = json!("ES256"), unsigned);
        check(|head, _| head["kid"] = json!("other"), Err(Fault::UnknownKey));
        let (signer, config) = (Signer::new(), config());
        let token = signer.sign(&json!({ "alg": "EdDSA" }), &good());
        let (signed, _) = token.rsplit_once('.').unwrap();
        for token in [signed, &format!("{signed}."), &token.replacen('.', "", 1), "", "a.b.c", &"x".repeat(20_000)] {
            assert!(judge(&config, &signer.keys(), token, NOW).is_err(), "{token}");
        }
        // Secrets of HMAC made of the public key (CVE-2015-9235).
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&json!({ "alg": "HS256" })), part(&good()));
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, signer.0.public_key().as_ref());
        let forged = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(ring::hmac::sign(&key, signed.as_bytes())));
        assert!(judge(&config, &signer.keys(), &forged, NOW).is_err());
    }

    #[test]
    fn tokens_are_found_and_claims_written() {
        let headers = |name: &'static str, value: &str| -> HeaderMap {
            [(http::HeaderName::from_static(name), value.parse().unwrap())].into_iter().collect()
        };
        let config = JwtConfig { cookie: Some("id".into()), ..JwtConfig::default() };
        assert_eq!(find(&config, &headers("authorization", "bearer  abc")), Some("abc"));
        assert_eq!(find(&config, &headers("cookie", "a=b; id=\"abc\"")), Some("abc"));
        assert_eq!(find(&config, &headers("authorization", "Basic abc")), None);
        assert_eq!(find(&JwtConfig::default(), &headers("cookie", "id=abc")), None);
        let claims =
            json!({ "sub": "ann", "n": 7, "roles": ["a", "b"], "realm": { "x": true }, "a.b": "dot", "o": {} });
        let claims = claims.as_object().unwrap();
        let text = |path: &str| text_of(claims, path);
        assert_eq!((text("sub").as_deref(), text("n").as_deref()), (Some("ann"), Some("7")));
        assert_eq!((text("roles").as_deref(), text("realm.x").as_deref()), (Some("a,b"), Some("true")));
        assert_eq!((text("a.b").as_deref(), text("o"), text("none.x")), (Some("dot"), None, None));
    }
}
