//! Sets of public keys (RFC 7517), and signatures checked by them (RFC 7518).
//!
//! What a key may sign is the key's to say, never the token's: a token that says `none`, or the algorithm of a secret,
//! fits no key.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, EcdsaVerificationAlgorithm, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384,
    RSA_PSS_2048_8192_SHA512, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey,
};
use serde::Deserialize;

/// Keys of one set at most.
const MAX_KEYS: usize = 100;

/// A set of public keys.
#[derive(Debug, Default)]
pub struct KeySet(Vec<Key>);

#[derive(Debug)]
struct Key {
    id: Option<String>,
    /// The one algorithm that it is for, if it says so.
    algorithm: Option<String>,
    material: Material,
}

#[derive(Debug)]
enum Material {
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    /// The point, not compressed.
    P256(Vec<u8>),
    P384(Vec<u8>),
    Ed25519(Vec<u8>),
}

/// A set of keys that is none.
#[derive(Debug, thiserror::Error)]
pub enum InvalidKeys {
    /// It is not JSON of the right form.
    #[error("it is no set of keys (RFC 7517): {0}")]
    Form(#[from] serde_json::Error),
    /// There is nothing in it to check a signature by.
    #[error("it has no public key of RSA, P-256, P-384 or Ed25519 for signatures")]
    Empty,
    /// It is too large.
    #[error("it has more than {MAX_KEYS} keys")]
    TooMany,
}

#[derive(Deserialize)]
struct WrittenSet {
    keys: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
struct Written {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl KeySet {
    /// Reads a set. Keys that are not understood are left out (RFC 7517 section 5); secrets are none of ours.
    ///
    /// # Errors
    /// There is no key that could be used.
    pub fn parse(text: &[u8]) -> Result<Self, InvalidKeys> {
        let set: WrittenSet = serde_json::from_slice(text)?;
        if set.keys.len() > MAX_KEYS {
            return Err(InvalidKeys::TooMany);
        }
        let keys: Vec<Key> = set.keys.into_iter().filter_map(read).collect();
        if keys.is_empty() { Err(InvalidKeys::Empty) } else { Ok(Self(keys)) }
    }

    /// How many keys it has.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a key of the set has made this signature; `None`: the set has no key of that name.
    pub fn verify(&self, id: Option<&str>, algorithm: &str, message: &[u8], signature: &[u8]) -> Option<bool> {
        let is_meant = |key: &&Key| id.is_none_or(|id| key.id.as_deref().is_none_or(|known| known == id));
        let mut meant = self.0.iter().filter(is_meant).peekable();
        meant.peek()?;
        Some(meant.any(|key| key.verify(algorithm, message, signature)))
    }
}

fn read(value: serde_json::Value) -> Option<Key> {
    let written: Written = serde_json::from_value(value).ok()?;
    if written.purpose.as_deref().is_some_and(|purpose| purpose != "sig") {
        return None;
    }
    let octets = |text: &Option<String>| URL_SAFE_NO_PAD.decode(text.as_deref()?.trim_end_matches('=')).ok();
    let point = |length: usize| {
        let (x, y) = (octets(&written.x)?, octets(&written.y)?);
        (x.len() == length && y.len() == length).then(|| [&[4][..], &x, &y].concat())
    };
    let material = match (written.kty.as_str(), written.crv.as_deref()) {
        ("RSA", _) => Material::Rsa { n: octets(&written.n)?, e: octets(&written.e)? },
        ("EC", Some("P-256")) => Material::P256(point(32)?),
        ("EC", Some("P-384")) => Material::P384(point(48)?),
        ("OKP", Some("Ed25519")) => Material::Ed25519(octets(&written.x).filter(|x| x.len() == 32)?),
        _ => return None,
    };
    Some(Key { id: written.kid, algorithm: written.alg, material })
}

impl Key {
    fn verify(&self, algorithm: &str, message: &[u8], signature: &[u8]) -> bool {
        if self.algorithm.as_deref().is_some_and(|own| own != algorithm) {
            return false;
        }
        match &self.material {
            Material::Rsa { n, e } => rsa(algorithm).is_some_and(|parameters| {
                RsaPublicKeyComponents { n, e }.verify(parameters, message, signature).is_ok()
            }),
            Material::P256(point) => {
                algorithm == "ES256" && is_signed(&ECDSA_P256_SHA256_FIXED, point, message, signature)
            }
            Material::P384(point) => {
                algorithm == "ES384" && is_signed(&ECDSA_P384_SHA384_FIXED, point, message, signature)
            }
            Material::Ed25519(x) => {
                // RFC 8037, and RFC 9864 by its newer name.
                matches!(algorithm, "EdDSA" | "Ed25519")
                    && UnparsedPublicKey::new(&ED25519, x).verify(message, signature).is_ok()
            }
        }
    }
}

fn rsa(algorithm: &str) -> Option<&'static RsaParameters> {
    Some(match algorithm {
        "RS256" => &RSA_PKCS1_2048_8192_SHA256,
        "RS384" => &RSA_PKCS1_2048_8192_SHA384,
        "RS512" => &RSA_PKCS1_2048_8192_SHA512,
        "PS256" => &RSA_PSS_2048_8192_SHA256,
        "PS384" => &RSA_PSS_2048_8192_SHA384,
        "PS512" => &RSA_PSS_2048_8192_SHA512,
        _ => return None,
    })
}

fn is_signed(algorithm: &'static EcdsaVerificationAlgorithm, point: &[u8], message: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(algorithm, point).verify(message, signature).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ed25519_rfc8037_a_4() {
        let set = r#"{"keys":[{"kty":"oct","k":"AAAA"},{"kty":"OKP","crv":"Ed25519",
            "x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
        let set = KeySet::parse(set.as_bytes()).unwrap();
        assert_eq!(set.len(), 1);
        let message = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
        let signature = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        assert_eq!(set.verify(None, "EdDSA", message, &signature), Some(true));
        assert_eq!(set.verify(Some("x"), "EdDSA", message, &signature), Some(true), "a key without a name is any");
        for algorithm in ["none", "HS256", "ES256", "RS256", "eddsa", ""] {
            assert_eq!(set.verify(None, algorithm, message, &signature), Some(false), "{algorithm}");
        }
        assert_eq!(set.verify(None, "EdDSA", b"other", &signature), Some(false));
    }

    #[test]
    fn es256_rfc7515_a_3() {
        let set = r#"{"keys":[{"kty":"EC","crv":"P-256","kid":"1","alg":"ES256",
            "x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#;
        let set = KeySet::parse(set.as_bytes()).unwrap();
        let message = b"eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
        let signature = "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        assert_eq!(set.verify(Some("1"), "ES256", message, &signature), Some(true));
        assert_eq!(set.verify(Some("2"), "ES256", message, &signature), None);
        assert_eq!(set.verify(None, "ES384", message, &signature), Some(false));
    }

    #[test]
    fn sets_without_a_key_are_none() {
        for text in ["", "[]", "{}", r#"{"keys":[]}"#, r#"{"keys":[{"kty":"oct","k":"AA"}]}"#] {
            assert!(KeySet::parse(text.as_bytes()).is_err(), "{text}");
        }
        let encryption =
            r#"{"keys":[{"kty":"OKP","crv":"Ed25519","use":"enc","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
        assert!(KeySet::parse(encryption.as_bytes()).is_err());
    }
}
