//! Folders of certificates and files of clients' authorities: read once, and followed for as long as a configuration in force
//! uses them.
//!
//! What a new configuration adds is read beside what is in force ([`Fresh`]) and kept only when that configuration is served:
//! one that is refused leaves nothing behind.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::startup::StartError;
use crate::config::Config;
use crate::config::checked::ClientDemand;
use crate::config::watch::Watch;
use crate::proxy::tls::clients::ClientAuthorities;
use crate::proxy::tls::ends::CertificateEnds;
use crate::proxy::tls::store::Certificates;

/// What is in force.
#[derive(Debug)]
pub(super) struct Followed {
    // A folder may be there twice: read for a service's port while a configuration that has it was being opened.
    certificates: Vec<Folder>,
    clients: Vec<Authorities>,
    ends: CertificateEnds,
    control: tokio::runtime::Handle,
}

/// What a configuration has beside what is in force: read, and followed. Dropping it forgets it.
#[derive(Debug, Default)]
pub(super) struct Fresh {
    certificates: Vec<Folder>,
    clients: Vec<Authorities>,
}

/// A folder of certificates that is followed.
#[derive(Debug)]
struct Folder {
    store: Arc<Certificates>,
    // Held for its drop: the following ends with it.
    _watch: Option<Watch>,
}

/// A file of authorities that is followed.
#[derive(Debug)]
struct Authorities {
    file: PathBuf,
    demand: ClientDemand,
    authorities: Arc<ClientAuthorities>,
    // Held for its drop: the following ends with it.
    _watch: Option<Watch>,
}

impl Followed {
    /// Nothing is in force. Changes are followed on `control`; `ends` shows when certificates end.
    pub(super) fn new(control: tokio::runtime::Handle, ends: CertificateEnds) -> Self {
        Self { certificates: Vec::new(), clients: Vec::new(), ends, control }
    }

    /// The certificates of a folder: those in force, else those that `fresh` has from now on. Blocks.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub(super) fn certificates(&self, folder: &Path, fresh: &mut Fresh) -> Result<Arc<Certificates>, StartError> {
        let known = self.certificates.iter().chain(&fresh.certificates).find(|known| known.store.folder() == folder);
        if let Some(known) = known {
            return Ok(known.store.clone());
        }
        // Watched before it is read, so that no change is missed between the two.
        let watch = watch(folder);
        let changes = watch.as_ref().map(Watch::receiver);
        let (store, bad) = Certificates::load(folder)
            .map_err(|source| StartError::Certificates { folder: folder.to_owned(), source })?;
        store.report(&bad);
        if let Some(changes) = changes {
            self.control.spawn(store.clone().follow(changes));
        }
        fresh.certificates.push(Folder { store: store.clone(), _watch: watch });
        Ok(store)
    }

    /// The authorities of a file: those in force, else those that `fresh` has from now on. Blocks.
    ///
    /// # Errors
    /// The file holds no authorities.
    pub(super) fn clients(
        &self,
        file: &Path,
        demand: ClientDemand,
        fresh: &mut Fresh,
    ) -> Result<Arc<ClientAuthorities>, StartError> {
        let mut known = self.clients.iter().chain(&fresh.clients);
        if let Some(known) = known.find(|known| known.file == file && known.demand == demand) {
            return Ok(known.authorities.clone());
        }
        let watch = watch(file);
        let authorities = ClientAuthorities::load(file, demand)?;
        if let Some(watch) = &watch {
            self.control.spawn(authorities.clone().follow(watch.receiver()));
        }
        let file = file.to_owned();
        fresh.clients.push(Authorities { file, demand, authorities: authorities.clone(), _watch: watch });
        Ok(authorities)
    }

    /// Puts in force what was read.
    pub(super) fn keep(&mut self, fresh: Fresh) {
        fresh.certificates.iter().for_each(|folder| self.ends.show(&folder.store));
        self.certificates.extend(fresh.certificates);
        self.clients.extend(fresh.clients);
    }

    /// Forgets what a configuration does not use.
    pub(super) fn forget_unused(&mut self, config: &Config) {
        self.certificates.retain(|folder| {
            let is_it = |used: &Option<PathBuf>| used.as_deref() == Some(folder.store.folder());
            config.proxy.listeners.iter().any(|listener| is_it(&listener.certificates))
                || is_it(&config.proxy.service_ports.certificates)
                || is_it(&config.dns.tls.certificates)
        });
        let asks = |file: &PathBuf| config.proxy.listeners.iter().any(|l| l.client_ca.as_ref() == Some(file));
        self.clients.retain(|authorities| asks(&authorities.file));
    }
}

fn watch(path: &Path) -> Option<Watch> {
    Watch::start(path)
        .inspect_err(|error| tracing::warn!(folder = %path.display(), %error, "cannot watch certificates"))
        .ok()
}
