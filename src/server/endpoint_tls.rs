//! The files of `upstreams.tls`: read before a configuration is applied, followed while it is in force.

use std::path::Path;
use std::sync::Arc;

use tokio::runtime::Handle;
use tracing::warn;

use crate::config::checked::EndpointTlsConfig;
use crate::config::watch::Watch;
use crate::proxy::tls::profiles::{BadProfile, Profiles, TlsProfiles};

/// The profiles in force and what follows their files.
#[derive(Debug)]
pub(super) struct EndpointTlsFiles {
    profiles: Arc<TlsProfiles>,
    entries: Vec<EndpointTlsConfig>,
    // Held for their drop: the watching ends with them.
    watches: Vec<Watch>,
    control: Handle,
}

/// What a configuration asks for, read already.
pub(super) struct Prepared(Option<(Profiles, Vec<Watch>)>);

impl EndpointTlsFiles {
    /// Changes `profiles`; files are followed on `control`.
    pub(super) fn new(profiles: Arc<TlsProfiles>, control: Handle) -> Self {
        Self { profiles, entries: Vec::new(), watches: Vec::new(), control }
    }

    /// Reads what a configuration asks for, unless it is in force already.
    ///
    /// # Errors
    /// The first entry that cannot be used.
    pub(super) fn prepare(&self, entries: &[EndpointTlsConfig]) -> Result<Prepared, BadProfile> {
        if self.entries == *entries && self.profiles.version() > 0 {
            return Ok(Prepared(None));
        }
        // Watched before they are read, so that no change is missed between the two.
        let watches = entries.iter().flat_map(EndpointTlsConfig::files).filter_map(watch).collect();
        Ok(Prepared(Some((Profiles::read(entries)?, watches))))
    }

    /// Puts in force what was read of `entries`.
    pub(super) fn apply(&mut self, entries: &[EndpointTlsConfig], prepared: Prepared) {
        let Prepared(Some((profiles, watches))) = prepared else { return };
        self.profiles.replace(profiles, entries);
        for watch in &watches {
            let (profiles, mut changes) = (self.profiles.clone(), watch.changes());
            self.control.spawn(async move {
                while changes.changed().await {
                    let profiles = profiles.clone();
                    if tokio::task::spawn_blocking(move || profiles.reload()).await.is_err() {
                        warn!("reading the files of upstreams.tls failed");
                    }
                }
            });
        }
        entries.clone_into(&mut self.entries);
        self.watches = watches;
    }
}

fn watch(file: &Path) -> Option<Watch> {
    Watch::start(file).inspect_err(|error| warn!(file = %file.display(), %error, "the file is not followed")).ok()
}
