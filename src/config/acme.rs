//! `[[proxy.acme]]`: an authority that certificates are got from by ACME (RFC 8555), and for which hosts.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use super::checked::Secret;
use crate::labels::host::HostPattern;

/// An authority, and what is wanted of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcmeConfig {
    /// What logs and metrics call it.
    pub name: Arc<str>,
    /// The URL of its directory (RFC 8555 section 7.1.1).
    pub directory: Arc<str>,
    /// Whom it may write to.
    pub contacts: Vec<Arc<str>>,
    /// The operator has agreed to its terms.
    pub terms_agreed: bool,
    /// Where the account and the pairs are kept.
    pub folder: PathBuf,
    /// The hosts of each certificate.
    pub certificates: Vec<Vec<Arc<str>>>,
    /// Hosts of routes that get a certificate each.
    pub route_hosts: Vec<HostPattern>,
    /// So many of those at most.
    pub max_route_hosts: usize,
    /// How it is shown that a host is ours.
    pub challenge: ChallengeKind,
    /// The account that it knows its customer by.
    pub external: ExternalAccount,
    /// A file of authorities that answer for the directory's name; `None`: the system's.
    pub ca: Option<PathBuf>,
    /// How long before its end a certificate is renewed; `None`: when a third of its life is left.
    pub renew_before: Option<Duration>,
    /// After the first failure of an order …
    pub retry: Duration,
    /// … and after many of them.
    pub max_retry: Duration,
    /// Orders at a time.
    pub max_orders: usize,
    /// Between opening a challenge and telling the authority.
    pub settle: Duration,
}

/// How it is shown that a host is ours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChallengeKind {
    /// RFC 8555 section 8.3: an answer in clear text, on port 80.
    #[default]
    #[serde(rename = "http-01")]
    Http01,
    /// RFC 8737: a certificate, on port 443.
    #[serde(rename = "tls-alpn-01")]
    TlsAlpn01,
}

impl ChallengeKind {
    /// Its name in ACME.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http01 => "http-01",
            Self::TlsAlpn01 => "tls-alpn-01",
        }
    }
}

/// External account binding (RFC 8555 section 7.3.4).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExternalAccount {
    /// The key's name at the authority.
    pub key_id: Option<Arc<str>>,
    /// The key, in base64url.
    pub hmac_key: Option<Secret>,
}

impl ExternalAccount {
    /// The octets of the key; `None`: there is none, or it is not in base64url.
    pub fn key(&self) -> Option<Vec<u8>> {
        let text = &self.hmac_key.as_ref()?.0;
        // Some authorities show it in the other alphabet, or padded.
        let text = text.trim_end_matches('=').replace('+', "-").replace('/', "_");
        BASE64_URL_SAFE_NO_PAD.decode(text).ok().filter(|key| !key.is_empty())
    }
}

impl Default for AcmeConfig {
    fn default() -> Self {
        Self {
            name: "".into(),
            directory: "".into(),
            contacts: Vec::new(),
            terms_agreed: false,
            folder: PathBuf::new(),
            certificates: Vec::new(),
            route_hosts: Vec::new(),
            max_route_hosts: 50,
            challenge: ChallengeKind::default(),
            external: ExternalAccount::default(),
            ca: None,
            renew_before: None,
            retry: Duration::from_secs(60),
            max_retry: Duration::from_secs(6 * 3600),
            max_orders: 4,
            settle: Duration::from_secs(5),
        }
    }
}
