//! The files of `upstreams.tls`: read before a configuration is applied, followed while it is in force, read again too when
//! a list of what is revoked comes out of date, so that what was agreed on under it goes no further.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::runtime::Handle;
use tracing::warn;

use crate::config::checked::EndpointTlsConfig;
use crate::config::watch::{Changes, Watch};
use crate::proxy::tls::faults::{FileFaults, Told, now, reached};
use crate::proxy::tls::profiles::{BadProfile, Profiles, TlsProfiles};
use crate::proxy::tls::revocation::ending;

/// The profiles in force and what follows their files.
#[derive(Debug)]
pub(super) struct EndpointTlsFiles {
    profiles: Arc<TlsProfiles>,
    entries: Vec<EndpointTlsConfig>,
    // Held for its drop: the following ends with it.
    watch: Option<Watch>,
    told: Arc<Told>,
    control: Handle,
}

/// What a configuration asks for, read already.
pub(super) struct Prepared(Option<(Profiles, Option<Watch>)>);

impl EndpointTlsFiles {
    /// Changes `profiles`; files are followed on `control`, and what is wrong with them is told to `faults`.
    pub(super) fn new(profiles: Arc<TlsProfiles>, faults: &FileFaults, control: Handle) -> Self {
        Self { profiles, entries: Vec::new(), watch: None, told: Arc::new(faults.reader()), control }
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
        let files: Vec<PathBuf> = entries.iter().flat_map(EndpointTlsConfig::files).map(Path::to_owned).collect();
        let watch = if files.is_empty() { None } else { watch(&files) };
        Ok(Prepared(Some((Profiles::read(entries)?, watch))))
    }

    /// Puts in force what was read of `entries`.
    pub(super) fn apply(&mut self, entries: &[EndpointTlsConfig], prepared: Prepared) {
        let Prepared(Some((profiles, watch))) = prepared else { return };
        self.profiles.replace(profiles, entries);
        tell(&self.profiles, &[], &self.told);
        if let Some(watch) = &watch {
            self.control.spawn(follow(self.profiles.clone(), watch.changes(), self.told.clone()));
        }
        entries.clone_into(&mut self.entries);
        self.watch = watch;
    }
}

/// Reads the files again when they change and when a list ends, until nobody watches them.
async fn follow(profiles: Arc<TlsProfiles>, mut changes: Changes, told: Arc<Told>) {
    loop {
        let next_end = profiles.ends().iter().map(|(_, end)| *end).filter(|end| *end > now()).min();
        tokio::select! {
            is_followed = changes.changed() => {
                if !is_followed {
                    return;
                }
            }
            () = reached(next_end) => {}
        }
        let read = profiles.clone();
        match tokio::task::spawn_blocking(move || read.reload()).await {
            Ok(bad) => tell(&profiles, &bad, &told),
            Err(_) => warn!("reading the files of upstreams.tls failed"),
        }
    }
}

fn tell(profiles: &TlsProfiles, bad: &[BadProfile], told: &Told) {
    told.say(ending(&profiles.ends()).chain(bad.iter().map(BadProfile::problem)).collect());
}

fn watch(files: &[PathBuf]) -> Option<Watch> {
    Watch::start_all(files).inspect_err(|error| warn!(?files, %error, "the files are not followed")).ok()
}
