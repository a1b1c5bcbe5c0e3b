//! Challenges of authorities that are open now: by them an authority sees that a host leads here (RFC 8555 section 8).
//!
//! Whoever orders opens them, and they are closed with what [`Challenges::open`] gives; those of other instances come from a
//! folder that they share ([`Challenges::share`]). Readers take one atomic load; nothing here waits.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use bytes::Bytes;
use hashbrown::HashMap;
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};
use ring::digest::{SHA256, digest};
use rustls::ServerConfig;
use rustls::server::NoServerSessionStorage;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls_pki_types::PrivateKeyDer;
use serde::{Deserialize, Serialize};
use tracing::warn;

use super::tls::provider;
use crate::config::acme::ChallengeKind;

/// The protocol of the challenge by TLS (RFC 8737 section 6.2).
pub const ACME_TLS: &[u8] = b"acme-tls/1";
/// Where the challenge in clear text is asked for (RFC 8555 section 8.3).
const WELL_KNOWN: &str = "/.well-known/acme-challenge/";
/// The longest token that is believed; authorities give some forty characters.
const LONGEST_TOKEN: usize = 256;

/// A challenge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Challenge {
    /// How it is answered.
    pub kind: ChallengeKind,
    /// The host that it is about.
    pub host: Arc<str>,
    /// What the authority calls it.
    pub token: Arc<str>,
    /// The answer (RFC 8555 section 8.1), which anybody may see.
    pub authorization: Arc<str>,
}

/// Whether a text can be a token: RFC 8555 section 8.3, "It MUST NOT contain any characters outside the base64url alphabet".
pub fn is_token(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    !text.is_empty() && text.len() <= LONGEST_TOKEN && text.bytes().all(fits)
}

/// Those that are open.
#[derive(Default)]
pub struct Challenges {
    known: Mutex<Known>,
    open: ArcSwap<Open>,
}

/// By whom each is known.
#[derive(Default)]
struct Known {
    own: Vec<Challenge>,
    /// By the folder that they are found in.
    shared: HashMap<Arc<Path>, Vec<Challenge>>,
}

/// What readers look at.
#[derive(Default)]
struct Open {
    answers: HashMap<Arc<str>, Bytes>,
    certificates: HashMap<Arc<str>, (Challenge, Arc<ServerConfig>)>,
}

impl std::fmt::Debug for Challenges {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let open = self.open.load();
        let counts = (open.answers.len(), open.certificates.len());
        f.debug_struct("Challenges").field("open", &counts).finish_non_exhaustive()
    }
}

/// A challenge of our own, open until this is dropped.
#[derive(Debug)]
pub struct OpenChallenge {
    challenges: Arc<Challenges>,
    challenge: Challenge,
}

impl Drop for OpenChallenge {
    fn drop(&mut self) {
        self.challenges.change(|known| {
            if let Some(at) = known.own.iter().position(|own| *own == self.challenge) {
                known.own.swap_remove(at);
            }
        });
    }
}

impl Challenges {
    /// The answer to a request for this path, if a challenge is open there.
    pub fn answer(&self, path: &str) -> Option<Bytes> {
        let token = path.strip_prefix(WELL_KNOWN)?;
        self.open.load().answers.get(token).cloned()
    }

    /// Whether any is open that a certificate answers.
    pub fn has_certificates(&self) -> bool {
        !self.open.load().certificates.is_empty()
    }

    /// How to shake hands with an authority that asks for this host.
    pub fn certificate(&self, host: &str) -> Option<Arc<ServerConfig>> {
        let open = self.open.load();
        let found = open.certificates.get(host).or_else(|| open.certificates.get(&*host.to_ascii_lowercase()));
        found.map(|(_, config)| config.clone())
    }

    /// Opens one of our own.
    pub fn open(self: &Arc<Self>, challenge: Challenge) -> OpenChallenge {
        self.change(|known| known.own.push(challenge.clone()));
        OpenChallenge { challenges: self.clone(), challenge }
    }

    /// Takes over those of a folder, in place of the last ones from there.
    pub fn share(&self, folder: &Arc<Path>, challenges: Vec<Challenge>) {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let is_same = known.shared.get(folder).map_or(&[][..], Vec::as_slice) == challenges;
        drop(known);
        // Nearly always: folders are looked at each second.
        if is_same {
            return;
        }
        self.change(|known| {
            known.shared.insert(folder.clone(), challenges);
            known.shared.retain(|_, challenges| !challenges.is_empty());
        });
    }

    fn change(&self, change: impl FnOnce(&mut Known)) {
        // Short, and only whoever orders or follows a folder comes here.
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut known);
        let open = Open::of(known.own.iter().chain(known.shared.values().flatten()), &self.open.load());
        self.open.store(Arc::new(open));
    }
}

impl Open {
    /// Certificates that were made before are kept.
    fn of<'a>(challenges: impl Iterator<Item = &'a Challenge>, former: &Self) -> Self {
        let mut open = Self::default();
        for challenge in challenges {
            match challenge.kind {
                ChallengeKind::Http01 => {
                    let body = Bytes::copy_from_slice(challenge.authorization.as_bytes());
                    open.answers.insert(challenge.token.clone(), body);
                }
                ChallengeKind::TlsAlpn01 => {
                    let kept = former.certificates.get(&challenge.host).filter(|(known, _)| known == challenge);
                    let made = kept.map(|(_, config)| Ok(config.clone())).unwrap_or_else(|| shown(challenge));
                    match made {
                        Ok(config) => {
                            open.certificates.insert(challenge.host.clone(), (challenge.clone(), config));
                        }
                        Err(error) => {
                            warn!(host = %challenge.host, error, "no certificate can be made for an authority's challenge");
                        }
                    }
                }
            }
        }
        open
    }
}

/// RFC 8737 section 3: a self-signed certificate with the host as its only `dNSName`, and a critical extension with the
/// SHA-256 digest of the key authorization; the handshake agrees on `acme-tls/1`.
fn shown(challenge: &Challenge) -> Result<Arc<ServerConfig>, String> {
    let failed = |error: rcgen::Error| error.to_string();
    let mut params = CertificateParams::new(vec![challenge.host.to_string()]).map_err(failed)?;
    params.distinguished_name = DistinguishedName::new();
    let told = digest(&SHA256, challenge.authorization.as_bytes());
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(told.as_ref())];
    let key = KeyPair::generate().map_err(failed)?;
    let certificate = params.self_signed(&key).map_err(failed)?;
    let failed = |error: rustls::Error| error.to_string();
    let secret = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let key = provider().key_provider.load_private_key(secret).map_err(failed)?;
    // Not looked at once more: whoever does not know the critical extension must refuse the certificate (RFC 8737 section 3).
    let shown = CertifiedKey::new(vec![certificate.der().clone()], key);
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(failed)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(shown)));
    config.alpn_protocols = vec![ACME_TLS.to_vec()];
    // Nothing of such a session is worth resuming.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn challenge(kind: ChallengeKind, host: &str, token: &str) -> Challenge {
        let authorization = format!("{token}.thumbprint").into();
        Challenge { kind, host: host.into(), token: token.into(), authorization }
    }

    #[test]
    fn tokens_are_answered_only_while_they_are_open() {
        let challenges: Arc<Challenges> = Arc::default();
        let answer = |token: &str| challenges.answer(&format!("{WELL_KNOWN}{token}"));
        let one = challenges.open(challenge(ChallengeKind::Http01, "a.test", "one"));
        let folder: Arc<Path> = Path::new("/folder").into();
        challenges.share(&folder, vec![challenge(ChallengeKind::Http01, "b.test", "two")]);
        assert_eq!(answer("one").as_deref(), Some(&b"one.thumbprint"[..]));
        assert_eq!(answer("two").as_deref(), Some(&b"two.thumbprint"[..]));
        assert_eq!((answer("three"), answer("one/"), challenges.answer("/one")), (None, None, None));
        // The file that another look finds is our own: it does not outlive the guard here for longer than a look.
        drop(one);
        challenges.share(&folder, Vec::new());
        assert_eq!((answer("one"), answer("two")), (None, None));
    }

    #[test]
    fn a_certificate_is_made_once_for_each_challenge_rfc8737() {
        let challenges: Arc<Challenges> = Arc::default();
        assert!(!challenges.has_certificates());
        let _open = challenges.open(challenge(ChallengeKind::TlsAlpn01, "a.test", "one"));
        let config = challenges.certificate("A.test").unwrap();
        assert_eq!(config.alpn_protocols, [ACME_TLS.to_vec()]);
        let _other = challenges.open(challenge(ChallengeKind::TlsAlpn01, "b.test", "two"));
        assert!(Arc::ptr_eq(&config, &challenges.certificate("a.test").unwrap()));
        assert!(challenges.certificate("c.test").is_none());
    }

    #[test]
    fn tokens_are_base64url_rfc8555_8_3() {
        assert!(is_token("evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr_oA"));
        for wrong in ["", "a/b", "..", "a.b", "a b", "é", &"a".repeat(257)] {
            assert!(!is_token(wrong), "{wrong}");
        }
    }
}
