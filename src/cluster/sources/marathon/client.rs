//! HTTP towards Marathon: credentials, redirects to the leader.

use base64::Engine;
use bytes::Bytes;
use http::header::LOCATION;
use http::{HeaderValue, Method};

use crate::cluster::sources::http::{Answer, ClientError, Target, ask};
use crate::cluster::sources::service_account::Login;
use crate::config::checked::{MarathonConfig, MarathonCredentials};

/// Redirects followed in a row.
const MAX_HOPS: u32 = 3;

/// Speaks to one Marathon.
#[derive(Debug)]
pub struct Client {
    config: MarathonConfig,
    /// Of a service account, where there is one.
    login: Option<Login>,
}

impl Client {
    /// A client with these settings.
    pub fn new(config: MarathonConfig) -> Self {
        let login = match &config.credentials {
            Some(MarathonCredentials::ServiceAccount(path)) => Some(Login::new(path.clone(), config.tls.clone())),
            _ => None,
        };
        Self { config, login }
    }

    /// Asks for `path` below a target's base; follows redirects.
    ///
    /// # Errors
    /// There is no answer with status 200.
    pub async fn get(&self, target: &Target, path: &str, accept: &'static str) -> Result<Answer, ClientError> {
        let mut whole = Target { base: format!("{}{path}", target.base), ..target.clone() };
        for _ in 0..=MAX_HOPS {
            // Who answers for a Marathon says where redirects lead, and could be anybody where there is no TLS.
            let is_ours = self.is_configured(&whole);
            let authorization = if is_ours { self.authorization().await? } else { None };
            let answer = ask(&self.config.tls, &whole, Method::GET, accept, authorization, Bytes::new()).await?;
            let status = answer.response.status().as_u16();
            match status {
                200 => return Ok(answer),
                // Whoever is not the leader says who is.
                301 | 302 | 303 | 307 | 308 => {
                    let location = answer.response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
                    let next = location.and_then(|location| whole.redirected(location));
                    let next = next.ok_or_else(|| ClientError::Location(whole.clone()))?;
                    if whole.tls && !next.tls {
                        return Err(ClientError::Downgrade(whole));
                    }
                    whole = next;
                }
                401 | 403 if !is_ours && self.config.credentials.is_some() => {
                    return Err(ClientError::Foreign(whole));
                }
                _ => {
                    // A token that was taken back is not used again.
                    if status == 401 {
                        self.login.iter().for_each(Login::forget);
                    }
                    return Err(ClientError::Status { target: whole, status, hint: hint(status) });
                }
            }
        }
        Err(ClientError::Redirects(whole))
    }

    /// Whether this is one of the configured Marathons: others get no credentials.
    fn is_configured(&self, target: &Target) -> bool {
        let place = |target: &Target| (target.tls, target.host.clone(), target.port);
        self.config.urls.iter().filter_map(|url| Target::parse(url)).any(|known| place(&known) == place(target))
    }

    /// The whole body of an answer for `path`.
    ///
    /// # Errors
    /// There is none, or it breaks off.
    pub async fn read(&self, target: &Target, path: &str) -> Result<Bytes, ClientError> {
        self.get(target, path, "application/json").await?.whole().await
    }

    async fn authorization(&self) -> Result<Option<HeaderValue>, ClientError> {
        let text = match &self.config.credentials {
            None => return Ok(None),
            Some(MarathonCredentials::Basic { user, password }) => {
                let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{}", password.0));
                format!("Basic {pair}")
            }
            Some(MarathonCredentials::Token(token)) => format!("token={}", token.0),
            Some(MarathonCredentials::ServiceAccount(_)) => {
                return match &self.login {
                    Some(login) => login.authorization().await.map(Some),
                    None => Ok(None),
                };
            }
        };
        let mut value = HeaderValue::from_str(&text).ok();
        value.iter_mut().for_each(|value| value.set_sensitive(true));
        Ok(value)
    }
}

fn hint(status: u16) -> &'static str {
    match status {
        401 => "; it asks for credentials: set `user` and `password_file`, `token_file` or `service_account`",
        403 => "; the account may not read this: it needs admin:events and the apps",
        404 => "; is this Marathon's own URL, with the path that stands before it?",
        502 | 503 => "; it has no leader now",
        _ => "",
    }
}
