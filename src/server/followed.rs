//! Certificates, and files that say who is a client: read once, and followed for as long as a configuration in force uses
//! them.
//!
//! What a new configuration adds is read beside what is in force ([`Fresh`]) and kept only when that configuration is served:
//! one that is refused leaves nothing behind.

use std::path::PathBuf;
use std::sync::Arc;

use super::startup::StartError;
use crate::config::Config;
use crate::config::checked::{ClientDemand, ListenerConfig};
use crate::config::watch::Watch;
use crate::proxy::tls::clients::{ClientAuthorities, ClientFiles};
use crate::proxy::tls::ends::CertificateEnds;
use crate::proxy::tls::faults::{FileFaults, Told};
use crate::proxy::tls::store::{Certificates, Places};

/// What is in force.
#[derive(Debug)]
pub(super) struct Followed {
    // The same places may be there twice: read for a service's port while a configuration that has them was being opened.
    certificates: Vec<Read<Places, Certificates>>,
    clients: Vec<Read<(ClientFiles, ClientDemand), ClientAuthorities>>,
    ends: CertificateEnds,
    faults: FileFaults,
    control: tokio::runtime::Handle,
}

/// What a configuration has beside what is in force: read, and followed. Dropping it forgets it.
#[derive(Debug, Default)]
pub(super) struct Fresh {
    certificates: Vec<Read<Places, Certificates>>,
    clients: Vec<Read<(ClientFiles, ClientDemand), ClientAuthorities>>,
}

/// What was read of files that are followed.
#[derive(Debug)]
struct Read<K, T> {
    key: K,
    read: Arc<T>,
    // Held for its drop: the following ends with it.
    _watch: Option<Watch>,
    /// What is wrong with the files is told for as long as this is here.
    _told: Arc<Told>,
}

impl Followed {
    /// Nothing is in force. Changes are followed on `control`; `ends` shows when certificates end, `faults` what is wrong
    /// with files.
    pub(super) fn new(control: tokio::runtime::Handle, ends: CertificateEnds, faults: FileFaults) -> Self {
        Self { certificates: Vec::new(), clients: Vec::new(), ends, faults, control }
    }

    /// The certificates of some places: those in force, else those that `fresh` has from now on. What is in force of the
    /// `former` places stands in for what cannot be read. Blocks.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub(super) fn certificates(
        &self,
        places: &Places,
        former: Option<&Places>,
        fresh: &mut Fresh,
    ) -> Result<Arc<Certificates>, StartError> {
        if let Some(known) = self.certificates.iter().chain(&fresh.certificates).find(|known| known.key == *places) {
            return Ok(known.read.clone());
        }
        // Watched before they are read, so that no change is missed between the two.
        let watch = watch(&places.paths());
        let former = former.and_then(|former| self.certificates.iter().find(|known| known.key == *former));
        let (store, bad) = Certificates::load_all(places.clone(), former.map(|former| &*former.read))
            .map_err(|source| StartError::Certificates { folder: places.folder.clone().unwrap_or_default(), source })?;
        let told = Arc::new(self.faults.reader());
        store.report(&bad, &told);
        if let Some(watch) = &watch {
            self.control.spawn(store.clone().follow(watch.receiver(), told.clone()));
        }
        fresh.certificates.push(Read { key: places.clone(), read: store.clone(), _watch: watch, _told: told });
        Ok(store)
    }

    /// Who is a client by some files: what is in force, else what `fresh` has from now on. Blocks.
    ///
    /// # Errors
    /// What is wrong with the files.
    pub(super) fn clients(
        &self,
        files: ClientFiles,
        demand: ClientDemand,
        fresh: &mut Fresh,
    ) -> Result<Arc<ClientAuthorities>, StartError> {
        let key = (files, demand);
        if let Some(known) = self.clients.iter().chain(&fresh.clients).find(|known| known.key == key) {
            return Ok(known.read.clone());
        }
        let watch = watch(&key.0.all());
        let (authorities, told) = (ClientAuthorities::load(&key.0, demand)?, Arc::new(self.faults.reader()));
        authorities.tell(&told);
        if let Some(watch) = &watch {
            self.control.spawn(authorities.clone().follow(watch.receiver(), told.clone()));
        }
        fresh.clients.push(Read { key, read: authorities.clone(), _watch: watch, _told: told });
        Ok(authorities)
    }

    /// Puts in force what was read.
    pub(super) fn keep(&mut self, fresh: Fresh) {
        fresh.certificates.iter().for_each(|known| self.ends.show(&known.read));
        self.certificates.extend(fresh.certificates);
        self.clients.extend(fresh.clients);
    }

    /// Forgets what a configuration does not use.
    pub(super) fn forget_unused(&mut self, config: &Config) {
        let listeners = &config.proxy.listeners;
        let folders = [&config.proxy.service_ports.certificates, &config.dns.tls.certificates];
        let is_folder = |used: &Places| folders.iter().any(|folder| *used == in_folder(folder));
        self.certificates.retain(|known| is_folder(&known.key) || listeners.iter().any(|l| places(l) == known.key));
        self.clients.retain(|known| listeners.iter().any(|listener| asks(listener).as_ref() == Some(&known.key)));
    }
}

/// Where a listener's certificates are.
pub(super) fn places(listener: &ListenerConfig) -> Places {
    Places { files: listener.pairs.clone(), folder: listener.certificates.clone() }
}

fn in_folder(folder: &Option<PathBuf>) -> Places {
    Places { files: Vec::new(), folder: folder.clone() }
}

/// Who a listener's clients must be, if it asks.
pub(super) fn asks(listener: &ListenerConfig) -> Option<(ClientFiles, ClientDemand)> {
    let authorities = listener.client_ca.clone()?;
    Some((ClientFiles { authorities, revoked: listener.client_crl.clone() }, listener.client_certificate))
}

fn watch(paths: &[PathBuf]) -> Option<Watch> {
    Watch::start_all(paths).inspect_err(|error| tracing::warn!(?paths, %error, "cannot watch certificates")).ok()
}
