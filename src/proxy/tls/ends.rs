//! When certificates end, for who watches over them.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntGaugeVec, Opts, Registry};

use super::store::{Certificates, stem};

/// Pairs that are shown; of more folders or pairs the rest is left out.
const MOST: usize = 1000;

/// The files and folders that are in use; what is not any more is forgotten.
#[derive(Clone, Debug)]
pub struct CertificateEnds {
    stores: Arc<Mutex<Vec<Weak<Certificates>>>>,
    gauge: IntGaugeVec,
}

impl CertificateEnds {
    /// Makes the numbers part of a registry.
    ///
    /// # Errors
    /// If they are part of it already.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let opts = Opts::new("pointsman_proxy_certificate_ends_seconds", "When a certificate ends, since 1970.");
        let ends = Self { stores: Arc::default(), gauge: IntGaugeVec::new(opts, &["folder", "pair"])? };
        registry.register(Box::new(ends.clone()))?;
        Ok(ends)
    }

    /// Shows pairs for as long as they are in use.
    pub fn show(&self, certificates: &Arc<Certificates>) {
        self.stores.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(certificates));
    }
}

impl Collector for CertificateEnds {
    fn desc(&self) -> Vec<&Desc> {
        self.gauge.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        // Held to the end: another scrape at the same time would find half of it.
        let mut stores = self.stores.lock().unwrap_or_else(PoisonError::into_inner);
        stores.retain(|store| store.strong_count() > 0);
        self.gauge.reset();
        let pairs = stores.iter().filter_map(Weak::upgrade).flat_map(|store| store.ends());
        for (file, at) in pairs.take(MOST) {
            let folder = file.parent().map(|folder| folder.display().to_string()).unwrap_or_default();
            self.gauge.with_label_values(&[&*folder, stem(&file).unwrap_or_default()]).set(at);
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
