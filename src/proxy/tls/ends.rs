//! When certificates end, for who watches over them.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntGaugeVec, Opts, Registry};

use super::store::Certificates;

/// Pairs that are shown; of more folders or pairs the rest is left out.
const MOST: usize = 1000;

/// The folders that are in use; one that is not any more is forgotten.
#[derive(Clone, Debug)]
pub struct CertificateEnds {
    folders: Arc<Mutex<Vec<Weak<Certificates>>>>,
    gauge: IntGaugeVec,
}

impl CertificateEnds {
    /// Makes the numbers part of a registry.
    ///
    /// # Errors
    /// If they are part of it already.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let opts = Opts::new("pointsman_proxy_certificate_ends_seconds", "When a certificate ends, since 1970.");
        let ends = Self { folders: Arc::default(), gauge: IntGaugeVec::new(opts, &["folder", "pair"])? };
        registry.register(Box::new(ends.clone()))?;
        Ok(ends)
    }

    /// Shows the pairs of a folder for as long as it is in use.
    pub fn show(&self, folder: &Arc<Certificates>) {
        self.folders.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(folder));
    }
}

impl Collector for CertificateEnds {
    fn desc(&self) -> Vec<&Desc> {
        self.gauge.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        // Held to the end: another scrape at the same time would find half of it.
        let mut folders = self.folders.lock().unwrap_or_else(PoisonError::into_inner);
        folders.retain(|folder| folder.strong_count() > 0);
        self.gauge.reset();
        let used = folders.iter().filter_map(Weak::upgrade);
        let pairs = used.flat_map(|folder| {
            let name = folder.folder().display().to_string();
            folder.ends().into_iter().map(move |(pair, at)| (name.clone(), pair, at))
        });
        for (folder, pair, at) in pairs.take(MOST) {
            self.gauge.with_label_values(&[&*folder, &*pair]).set(at);
        }
        self.gauge.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_shown_while_their_folder_is_used() {
        let registry = Registry::new();
        let ends = CertificateEnds::register(&registry).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["a.test".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(2030, 1, 1);
        let key = rcgen::KeyPair::generate().unwrap();
        std::fs::write(folder.path().join("a.crt"), params.self_signed(&key).unwrap().pem()).unwrap();
        std::fs::write(folder.path().join("a.key"), key.serialize_pem()).unwrap();
        let (certificates, bad) = Certificates::load(folder.path()).unwrap();
        assert!(bad.is_empty(), "{bad:?}");
        ends.show(&certificates);
        let text = || prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        let line = format!("{{folder=\"{}\",pair=\"a\"}} 1893456000", folder.path().display());
        assert!(text().contains(&line), "{}", text());
        drop(certificates);
        assert!(!text().contains("pair="), "{}", text());
    }
}
