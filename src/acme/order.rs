//! One order, from the account to the pair (RFC 8555 section 7): thin, what decides is elsewhere.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use instant_acme::{
    Account, AccountCredentials, AuthorizationStatus, ChallengeType, ExternalAccountKey, Identifier, NewAccount,
    NewOrder, Order, OrderStatus, RetryPolicy,
};
use serde::{Deserialize, Serialize};
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use super::client::{Client, Told};
use super::fault::{OrderFault, said};
use super::folder::{Folder, Held};
use super::wanted::Wanted;
use crate::config::acme::{AcmeConfig, ChallengeKind};
use crate::proxy::challenges::{Challenge, Challenges, OpenChallenge, is_token};

/// How long an order may take beside `settle`: validations of many hosts take minutes.
const PATIENCE: Duration = Duration::from_secs(600);
/// How long each of its two waits may take.
const POLL: Duration = Duration::from_secs(240);

/// What orders of one authority share.
#[derive(Clone, Debug)]
pub struct Orders {
    /// Its settings.
    pub config: Arc<AcmeConfig>,
    /// Its folder.
    pub folder: Folder,
    /// Where challenges are opened.
    pub challenges: Arc<Challenges>,
    /// Held while the account is made: there is one.
    pub account: Arc<tokio::sync::Mutex<()>>,
}

/// The account as it is kept.
#[derive(Serialize, Deserialize)]
struct KeptAccount {
    contacts: Vec<Arc<str>>,
    credentials: AccountCredentials,
}

/// A challenge that is open here and in the folder, until this is dropped.
struct Opened {
    _here: OpenChallenge,
    folder: Folder,
    challenge: Challenge,
}

impl Drop for Opened {
    fn drop(&mut self) {
        // A file of some octets: not worth a thread, and an order may be dropped where none can be waited for.
        if let Err(error) = self.folder.close(&self.challenge) {
            warn!(host = %self.challenge.host, %error, "a challenge's file cannot be removed");
        }
    }
}

impl Orders {
    /// Gets a certificate and keeps it; how long the authority wants to be left alone, if it does not.
    ///
    /// # Errors
    /// Why there is none. What was there before is untouched.
    pub async fn run(&self, wanted: &Wanted) -> Result<Held, (OrderFault, Option<Duration>)> {
        let told = Told::default();
        let patience = PATIENCE + self.config.settle;
        let ended = timeout(patience, self.obtain(wanted, &told)).await;
        ended.unwrap_or(Err(OrderFault::Timeout(patience))).map_err(|fault| (fault, told.take()))
    }

    async fn obtain(&self, wanted: &Wanted, told: &Told) -> Result<Held, OrderFault> {
        let challenge = self.config.challenge;
        let failed = |error: instant_acme::Error| OrderFault::of(&error, challenge);
        let account = self.account(told).await?;
        let identifiers: Vec<_> = wanted.hosts.iter().map(|host| Identifier::Dns(host.to_string())).collect();
        let mut order = account.new_order(&NewOrder::new(&identifiers)).await.map_err(failed)?;
        let opened = self.open_challenges(&mut order).await?;
        if !opened.is_empty() {
            sleep(self.config.settle).await;
            self.tell(&mut order).await?;
        }
        // RFC 8555 section 7.1.6: an order all of whose authorizations are valid already is ready at once.
        let policy = RetryPolicy::new().backoff(1.5).timeout(POLL);
        let status = match order.state().status {
            OrderStatus::Pending => match order.poll_ready(&policy).await {
                Ok(status) => status,
                Err(error) => return Err(self.why(&mut order).await.unwrap_or_else(|| failed(error))),
            },
            status => status,
        };
        if status != OrderStatus::Ready {
            let unsaid =
                || OrderFault::Invalid(format!("the authority calls the order {status:?} and does not say why"));
            return Err(self.why(&mut order).await.unwrap_or_else(unsaid));
        }
        drop(opened);
        let key = order.finalize().await.map_err(failed)?;
        let chain = order.poll_certificate(&policy).await.map_err(failed)?;
        let (folder, wanted) = (self.folder.clone(), wanted.clone());
        Ok(blocking(move || folder.keep(&wanted.name, &wanted.hosts, &chain, &key)).await?)
    }

    /// The account, made if there is none.
    async fn account(&self, told: &Told) -> Result<Account, OrderFault> {
        let failed = |error: instant_acme::Error| OrderFault::of(&error, self.config.challenge);
        let _making = self.account.lock().await;
        let (folder, directory) = (self.folder.clone(), self.config.directory.clone());
        let kept = blocking({
            let (folder, directory) = (folder.clone(), directory.clone());
            move || folder.account::<KeptAccount>(&directory)
        });
        let client = Client::new(self.config.ca.clone(), told.clone());
        let builder = Account::builder_with_http(Box::new(client));
        let contacts: Vec<&str> = self.config.contacts.iter().map(|contact| &**contact).collect();
        let Some(kept) = kept.await? else {
            let external = self.config.external.key_id.as_ref().zip(self.config.external.key());
            let external = external.map(|(id, key)| ExternalAccountKey::new(id.to_string(), &key));
            let new = NewAccount { contact: &contacts, terms_of_service_agreed: true, only_return_existing: false };
            let made = builder.create(&new, directory.to_string(), external.as_ref()).await;
            let (account, credentials) = made.map_err(failed)?;
            info!(authority = %self.config.name, account = account.id(), "an account is made");
            let kept = KeptAccount { contacts: self.config.contacts.clone(), credentials };
            blocking(move || folder.keep_account(&directory, &kept)).await?;
            return Ok(account);
        };
        // What is consumed here is read again below, if it changes: the library's type cannot be copied.
        let text = serde_json::to_string(&kept.credentials).map_err(io::Error::from)?;
        let account = builder.from_credentials(kept.credentials).await.map_err(failed)?;
        if kept.contacts != self.config.contacts {
            account.update_contacts(&contacts).await.map_err(failed)?;
            let credentials = serde_json::from_str(&text).map_err(io::Error::from)?;
            let kept = KeptAccount { contacts: self.config.contacts.clone(), credentials };
            blocking(move || folder.keep_account(&directory, &kept)).await?;
        }
        Ok(account)
    }

    /// Opens a challenge for each host that is still to be validated.
    async fn open_challenges(&self, order: &mut Order) -> Result<Vec<Opened>, OrderFault> {
        let kind = self.config.challenge;
        let mut opened = Vec::new();
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization.map_err(|error| OrderFault::of(&error, kind))?;
            // An authority may know from before that a host is ours.
            if authorization.status != AuthorizationStatus::Pending {
                continue;
            }
            let host: Arc<str> = authorization.identifier().to_string().into();
            let Some(asked) = authorization.challenge(challenge_type(kind)) else {
                let what = kind.as_str();
                let text = format!(
                    "the authority does not offer the challenge {what} for {host}; set `challenge` to the other"
                );
                return Err(OrderFault::Refused(text));
            };
            let token: Arc<str> = asked.token.as_str().into();
            // It becomes a file's name here.
            if !is_token(&token) {
                return Err(OrderFault::Refused(format!("the authority's token for {host} is none of RFC 8555")));
            }
            let authorization = asked.key_authorization().as_str().into();
            opened.push(self.open(Challenge { kind, host, token, authorization }).await?);
        }
        Ok(opened)
    }

    async fn open(&self, challenge: Challenge) -> io::Result<Opened> {
        let (folder, written) = (self.folder.clone(), challenge.clone());
        blocking(move || folder.open(&written)).await?;
        let here = self.challenges.open(challenge.clone());
        Ok(Opened { _here: here, folder: self.folder.clone(), challenge })
    }

    /// Tells the authority that the challenges are open.
    async fn tell(&self, order: &mut Order) -> Result<(), OrderFault> {
        let kind = self.config.challenge;
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization.map_err(|error| OrderFault::of(&error, kind))?;
            if authorization.status == AuthorizationStatus::Pending
                && let Some(mut challenge) = authorization.challenge(challenge_type(kind))
            {
                challenge.set_ready().await.map_err(|error| OrderFault::of(&error, kind))?;
            }
        }
        Ok(())
    }

    /// Why an order is not ready: what the authority found at each host.
    async fn why(&self, order: &mut Order) -> Option<OrderFault> {
        let kind = self.config.challenge;
        let mut reasons = Vec::new();
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let Ok(mut authorization) = authorization else { continue };
            // What is known is from before the validation.
            let Ok(state) = authorization.refresh().await else { continue };
            let host = state.identifier().to_string();
            let problems = state.challenges.iter().filter_map(|challenge| challenge.error.as_ref());
            reasons.extend(problems.map(|problem| format!("{host}: {}", said(problem, kind))));
        }
        if let (true, Some(problem)) = (reasons.is_empty(), &order.state().error) {
            reasons.push(said(problem, kind));
        }
        (!reasons.is_empty()).then(|| OrderFault::Invalid(reasons.join("; ")))
    }
}

fn challenge_type(kind: ChallengeKind) -> ChallengeType {
    match kind {
        ChallengeKind::Http01 => ChallengeType::Http01,
        ChallengeKind::TlsAlpn01 => ChallengeType::TlsAlpn01,
    }
}

/// Runs what waits for the disk where that holds nobody up.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}
