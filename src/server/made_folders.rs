//! Folders that a configuration needs before there is anything in them.

use std::path::PathBuf;

use crate::acme::folder::Folder;
use crate::config::Config;

/// Folders that were made for a configuration. Dropping it takes them back, unless the configuration is in force.
#[derive(Debug, Default)]
pub(super) struct MadeFolders(
    /// Innermost first.
    Vec<PathBuf>,
);

impl MadeFolders {
    /// Makes the folders that certificates are ordered for: they are there before there is a certificate. If one cannot be
    /// made, whoever reads it says so.
    pub(super) fn of(config: &Config) -> Self {
        let mut made = Self::default();
        for entry in &config.proxy.acme {
            let folder = Folder::new(&entry.folder);
            made.0.extend(folder.missing());
            if let Err(error) = folder.prepare() {
                tracing::warn!(folder = %entry.folder.display(), %error, "the folder for certificates cannot be made");
            }
        }
        // Of two entries, one may lie within the other.
        made.0.sort_by_key(|folder| std::cmp::Reverse(folder.components().count()));
        made
    }

    /// The configuration is in force: they stay.
    pub(super) fn keep(mut self) {
        self.0.clear();
    }
}

impl Drop for MadeFolders {
    fn drop(&mut self) {
        for folder in &self.0 {
            // One that somebody has put something in meanwhile is left to them: it is not empty.
            if let Err(error) = std::fs::remove_dir(folder) {
                tracing::debug!(folder = %folder.display(), %error, "a folder is left");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::acme::AcmeConfig;

    #[test]
    fn folders_of_a_refused_configuration_are_taken_back_and_those_of_others_are_left() {
        let root = tempfile::tempdir().unwrap();
        let within = |path: &str| root.path().join(path);
        let entry = |path: &str| AcmeConfig { folder: within(path), ..AcmeConfig::default() };
        let mut config = Config::default();
        config.proxy.acme = vec![entry("a/b"), entry("a")];
        let made = MadeFolders::of(&config);
        assert!(within("a/b/.acme/new").is_dir() && within("a/.acme/records").is_dir());
        drop(made);
        assert!(!within("a").exists());

        std::fs::create_dir(within("a")).unwrap();
        std::fs::write(within("a/web.crt"), "of somebody").unwrap();
        drop(MadeFolders::of(&config));
        assert!(within("a/web.crt").exists() && !within("a/b").exists() && !within("a/.acme").exists());

        MadeFolders::of(&config).keep();
        assert!(within("a/b/.acme/new").is_dir());
        drop(MadeFolders::of(&config));
        assert!(within("a/b/.acme/new").is_dir(), "nothing was made");
    }
}
