//! Service accounts of DC/OS: a private key signs for a token, which then goes with every request. Sources log in so
//! towards Marathon and towards masters.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderValue, Method};
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;
use serde::Deserialize;
use thiserror::Error;
use tokio::time::Instant;

use super::http::{ClientError, Target, ask};
use crate::config::checked::ClientTls;

/// How long what was signed may be used to log in.
const LOGIN_TIME: Duration = Duration::from_secs(60);

/// How long a token is used; DC/OS gives them for five days.
const TOKEN_TIME: Duration = Duration::from_secs(3600);

/// A service account cannot be used.
#[derive(Debug, Error)]
pub enum AccountError {
    /// The file.
    #[error("{path}: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// What is in it.
    #[error("{path} is no service account: {why}; it has `uid`, `private_key` and `login_endpoint`", path = path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Why; nothing of the file's content.
        why: &'static str,
    },
}

/// A service account, as `dcos security org service-accounts` makes it.
pub struct ServiceAccount {
    uid: String,
    key: RsaKeyPair,
    /// Where a token is had.
    pub login: Target,
}

#[derive(Deserialize)]
struct File {
    uid: String,
    private_key: String,
    login_endpoint: String,
}

/// What a login answers.
#[derive(Deserialize)]
struct LoggedIn {
    token: String,
}

/// A token that an account is logged in for, again when its time is over.
#[derive(Debug)]
pub struct Login {
    path: PathBuf,
    tls: ClientTls,
    /// The header with the token, and until when it is used. Held for moments, never while somebody is waited for.
    known: Mutex<Option<(HeaderValue, Instant)>>,
}

impl Login {
    /// A login by the account in a file; `tls` is for its URL, where that is `https://`.
    pub fn new(path: PathBuf, tls: ClientTls) -> Self {
        Self { path, tls, known: Mutex::default() }
    }

    /// What goes with a request as `Authorization`; never shown.
    ///
    /// # Errors
    /// The file is no account, or the login is refused or not answered.
    pub async fn authorization(&self) -> Result<HeaderValue, ClientError> {
        let now = Instant::now();
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((token, _)) = known.filter(|(_, until)| *until > now) {
            return Ok(token);
        }
        let token = self.log_in().await?;
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some((token.clone(), now + TOKEN_TIME));
        Ok(token)
    }

    /// Uses the token no more: it was not accepted.
    pub fn forget(&self) {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    async fn log_in(&self) -> Result<HeaderValue, ClientError> {
        let account = ServiceAccount::read(&self.path)?;
        let refused = || ClientError::Login(account.login.clone());
        let body = account.login_body(SystemTime::now()).ok_or_else(refused)?;
        let answer = ask(&self.tls, &account.login, Method::POST, "application/json", None, body.into()).await?;
        if answer.response.status() != 200 {
            return Err(refused());
        }
        let said = answer.whole().await?;
        let token = serde_json::from_slice::<LoggedIn>(&said).map_err(|_| refused())?.token;
        let mut value = HeaderValue::from_str(&format!("token={token}")).map_err(|_| refused())?;
        value.set_sensitive(true);
        Ok(value)
    }
}

impl std::fmt::Debug for ServiceAccount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServiceAccount").field("uid", &self.uid).finish_non_exhaustive()
    }
}

impl ServiceAccount {
    /// Reads an account's file.
    ///
    /// # Errors
    /// It cannot be read, or is not whole.
    pub fn read(path: &Path) -> Result<Self, AccountError> {
        let text = std::fs::read_to_string(path).map_err(|source| AccountError::Read { path: path.into(), source })?;
        let invalid = |why| AccountError::Invalid { path: path.into(), why };
        let file: File = serde_json::from_str(&text).map_err(|_| invalid("its JSON has not the right fields"))?;
        let key = PrivateKeyDer::from_pem_slice(file.private_key.as_bytes())
            .map_err(|_| invalid("the private key is not in PEM form"))?;
        let key = match &key {
            PrivateKeyDer::Pkcs8(key) => RsaKeyPair::from_pkcs8(key.secret_pkcs8_der()),
            PrivateKeyDer::Pkcs1(key) => RsaKeyPair::from_der(key.secret_pkcs1_der()),
            _ => return Err(invalid("the private key is not an RSA key")),
        };
        let key = key.map_err(|_| invalid("the private key is not an RSA key of 2048 bits or more"))?;
        let login = Target::parse(&file.login_endpoint).ok_or_else(|| invalid("`login_endpoint` is no URL"))?;
        Ok(Self { uid: file.uid, key, login })
    }

    /// The body of a login: who we are, signed (RFC 7519, RS256).
    pub fn login_body(&self, now: SystemTime) -> Option<String> {
        let expires = (now + LOGIN_TIME).duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs();
        let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"RS256","typ":"JWT"}"#);
        let claims = serde_json::json!({ "uid": self.uid, "exp": expires });
        let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims.to_string()));
        let mut signature = vec![0; self.key.public().modulus_len()];
        self.key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).ok()?;
        let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature));
        Some(serde_json::json!({ "uid": self.uid, "token": token, "exp": expires }).to_string())
    }
}
