//! The sets of keys that filters name, read from files and fetched from URLs on the control runtime.
//!
//! What was read once counts until something else can be read: an issuer that is away lets nobody's token expire sooner.

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use bytes::Bytes;
use hashbrown::HashMap;
use http::Request;
use http::header::{ACCEPT, HOST, USER_AGENT};
use http_body_util::Full;
use prometheus::{IntGaugeVec, Opts, Registry};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::keys::KeySet;
use crate::cluster::sources::http::Target;
use crate::cluster::sources::mesos::address::join_host_port;
use crate::config::filter::{FilterConfig, JwtConfig};
use crate::proxy::outbound::{self, Whom};
use crate::table::config_watch::ConfigWatch;
use crate::table::handle::TableHandle;

/// The largest set of keys.
const MOST: usize = 1 << 20;
/// How long an issuer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks that unknown keys cause: whoever sends nonsense does not make us ask an issuer more often.
const AGAIN: Duration = Duration::from_secs(10);
/// After a fault.
const RETRY: Duration = Duration::from_secs(5);
/// How often it is looked whether a file has changed.
const LOOK: Duration = Duration::from_secs(1);

type Sets = HashMap<Arc<str>, Arc<KeySet>>;

/// The sets of the whole program, by where they come from. Swapped whole: a worker that looks waits for nobody.
static SETS: LazyLock<ArcSwap<Sets>> = LazyLock::new(ArcSwap::default);
static AGAIN_WANTED: LazyLock<Notify> = LazyLock::new(Notify::new);

/// The keys from there; `None`: they were never read.
pub fn find(source: &str) -> Option<Arc<KeySet>> {
    SETS.load().get(source).cloned()
}

/// A key is not known: the sets are looked at again, soon.
pub(super) fn look_again() {
    AGAIN_WANTED.notify_one();
}

/// What is counted of sets of keys.
#[derive(Clone, Debug)]
pub struct KeyMetrics(IntGaugeVec);

impl KeyMetrics {
    /// Registers them.
    ///
    /// # Errors
    /// They are registered already.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let help = "Keys that a filter's tokens are checked by; 0: the set could not be read yet, or is away.";
        let keys = IntGaugeVec::new(Opts::new("pointsman_proxy_filter_keys", help), &["filter"])?;
        registry.register(Box::new(keys.clone()))?;
        Ok(Self(keys))
    }
}

/// A set that is followed.
struct Followed {
    ca: Option<PathBuf>,
    refresh: Duration,
    due: Instant,
    /// When the file was changed, as far as it was read.
    changed: Option<SystemTime>,
    is_faulty: bool,
}

/// Reads the sets that the configuration names, and reads them again, until it is told to stop.
///
/// It is the time, the configuration and unknown keys that say when to look, and of these the last as rarely as an issuer
/// may be asked: neither a storm of tables nor one of nonsense makes it look at files.
pub async fn follow(table: Arc<TableHandle>, metrics: KeyMetrics, stop: CancellationToken) {
    let mut following = Following { followed: HashMap::new(), metrics };
    let mut config = ConfigWatch::new(table);
    let mut hurried = None;
    let run = async {
        loop {
            following.adopt(&config.current().proxy.filters);
            following.look().await;
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = wanted_again(hurried) => {
                    hurried = Some(Instant::now());
                    following.hurry();
                }
                () = config.changed() => {}
            }
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = run => {}
    }
}

/// Waits until a key is not known and the last look for such a reason is long enough ago. Cancel safe.
async fn wanted_again(hurried: Option<Instant>) {
    loop {
        AGAIN_WANTED.notified().await;
        if hurried.is_none_or(|at| at.elapsed() >= AGAIN) {
            return;
        }
    }
}

struct Following {
    followed: HashMap<Arc<str>, Followed>,
    metrics: KeyMetrics,
}

impl Following {
    /// Takes over what filters name now.
    fn adopt(&mut self, filters: &[FilterConfig]) {
        let named: HashMap<&Arc<str>, &JwtConfig> =
            filters.iter().filter_map(|filter| Some((filter.jwt.keys.as_ref()?, &filter.jwt))).collect();
        let before = self.followed.len();
        self.followed.retain(|source, _| named.contains_key(source));
        let has_left = self.followed.len() < before;
        for (source, config) in named {
            let new =
                || Followed { ca: None, refresh: config.refresh, due: Instant::now(), changed: None, is_faulty: false };
            let followed = self.followed.entry(source.clone()).or_insert_with(new);
            followed.ca.clone_from(&config.ca);
            followed.refresh = config.refresh;
        }
        if has_left {
            self.metrics.0.reset();
        }
        for filter in filters {
            if let Some(source) = &filter.jwt.keys {
                let count = find(source).map_or(0, |keys| keys.len());
                self.metrics.0.with_label_values(&[&filter.name]).set(i64::try_from(count).unwrap_or(i64::MAX));
            }
        }
    }

    fn hurry(&mut self) {
        self.followed.values_mut().for_each(|followed| followed.due = Instant::now());
    }

    /// Reads what is due.
    async fn look(&mut self) {
        for (source, followed) in &mut self.followed {
            let path = Path::new(&**source);
            let changed = if is_url(source) { None } else { modified(path).await };
            if followed.due > Instant::now() && changed == followed.changed {
                continue;
            }
            let read = match is_url(source) {
                true => fetch(source, followed.ca.as_deref()).await,
                false => tokio::fs::read(path).await.map(Bytes::from).map_err(|error| error.to_string()),
            };
            let keys = read.and_then(|text| KeySet::parse(&text).map_err(|error| error.to_string()));
            followed.changed = changed;
            followed.due = Instant::now() + if keys.is_ok() { followed.refresh } else { RETRY.min(followed.refresh) };
            match keys {
                Ok(keys) => {
                    if std::mem::take(&mut followed.is_faulty) {
                        info!(%source, "keys of tokens can be read again");
                    }
                    publish(source, keys);
                }
                Err(error) => {
                    // Once, until it works again.
                    if !std::mem::replace(&mut followed.is_faulty, true) {
                        warn!(%source, %error, "keys of tokens cannot be read; those that were read before count");
                    }
                }
            }
        }
    }
}

/// Only this task writes: what it loads is what it replaces.
fn publish(source: &Arc<str>, keys: KeySet) {
    let mut sets = Sets::clone(&SETS.load());
    sets.insert(source.clone(), Arc::new(keys));
    SETS.store(Arc::new(sets));
}

fn is_url(source: &str) -> bool {
    source.starts_with("https://") || source.starts_with("http://")
}

async fn modified(path: &Path) -> Option<SystemTime> {
    tokio::fs::metadata(path).await.ok()?.modified().ok()
}

async fn fetch(url: &str, ca: Option<&Path>) -> Result<Bytes, String> {
    let target = Target::parse(url).ok_or("it is no URL")?;
    let request = Request::builder()
        .uri(if target.base.is_empty() { "/" } else { &target.base })
        .header(HOST, join_host_port(&target.host, target.port))
        .header(ACCEPT, "application/jwk-set+json, application/json")
        .header(USER_AGENT, concat!("pointsman/", env!("CARGO_PKG_VERSION")))
        .body(Full::default())
        .map_err(|error| error.to_string())?;
    let asked = outbound::fetch(Whom { target: &target, ca }, request, MOST);
    let answer = timeout(PATIENCE, asked).await.map_err(|_| "no answer in time")?.map_err(|error| error.to_string())?;
    match answer.status().is_success() {
        true => Ok(answer.into_body()),
        false => Err(format!("it answers {}", answer.status().as_u16())),
    }
}
