//! Reads a source's files from the disk, whole or not at all.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::contents::FileContents;
use super::document::{self, Document, Reference};
use super::error::FileErrors;
use super::{routes, zone};
use crate::cluster::records::{NameRecords, RecordsBuilder, StaticRecords};
use crate::config::checked::FileConfig;
use crate::model::id::ServiceId;

/// The longest TOML file. What is larger belongs into a zone file or a routes file.
pub(crate) const MAX_FILE: u64 = 64 * 1024 * 1024;

/// What tells a changed file from an unchanged one. A file that is not there has none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fingerprint(Vec<(PathBuf, Option<[i64; 5]>)>);

impl Fingerprint {
    /// What the files are like now.
    pub(crate) fn take<'a>(paths: impl IntoIterator<Item = &'a Path>) -> Self {
        let look = |path: &Path| {
            let data = std::fs::metadata(path).ok()?;
            // The inode tells a file that was replaced by one of the same length and time.
            let inode = i64::from_ne_bytes(data.ino().to_ne_bytes());
            let length = i64::from_ne_bytes(data.len().to_ne_bytes());
            Some([inode, length, data.mtime(), data.mtime_nsec(), data.ctime_nsec()])
        };
        Self(paths.into_iter().map(|path| (path.to_owned(), look(path))).collect())
    }

    /// What the same files are like now.
    pub(crate) fn again(&self) -> Self {
        Self::take(self.paths())
    }

    fn paths(&self) -> impl Iterator<Item = &Path> {
        self.0.iter().map(|(path, _)| path.as_path())
    }
}

/// One attempt to read: what was read, and the files it depends on as they were before.
#[derive(Debug)]
pub(super) struct Attempt {
    pub result: Result<Loaded, FileErrors>,
    pub fingerprint: Fingerprint,
}

/// What was read.
#[derive(Debug)]
pub(super) struct Loaded {
    /// Services; its records are in the other place.
    pub contents: FileContents,
    /// All records, those of the zone file among them.
    pub records: StaticRecords,
    /// Records of zone files that the program makes itself.
    pub skipped_records: usize,
    /// What a zone file's own SOA says, which the program does not take.
    pub soa: Option<String>,
}

/// Reads the file of a source and the files it names.
pub(super) fn load(config: &FileConfig) -> Attempt {
    let path: Arc<Path> = config.path.as_path().into();
    // Taken before reading: a change meanwhile shows as a difference afterwards.
    let fingerprint = Fingerprint::take([&*path]);
    let mut errors = FileErrors::default();
    let text = match read_text(&path) {
        Ok(text) => text,
        Err(error) => {
            errors.add_file(&path, format!("the file cannot be read: {error}"), "create it, or correct `path`");
            return Attempt { result: Err(errors), fingerprint };
        }
    };
    if text.trim().is_empty() {
        // An editor that writes in place truncates first; nobody means "nothing" by an empty file.
        errors.add_file(&path, "the file is empty", "write at least a comment, if it is to say nothing");
        return Attempt { result: Err(errors), fingerprint };
    }
    match document::read(&text, &path, config) {
        Ok(document) => {
            let others = [&document.zone_file, &document.routes_file].into_iter().flatten();
            let rest = Fingerprint::take(others.map(|reference| reference.path.as_path()));
            let fingerprint = Fingerprint(fingerprint.0.into_iter().chain(rest.0).collect());
            Attempt { result: include(document, config), fingerprint }
        }
        Err(errors) => Attempt { result: Err(errors), fingerprint },
    }
}

fn read_text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(MAX_FILE + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE {
        return Err(io::Error::other(format!("it is longer than {MAX_FILE} bytes")));
    }
    Ok(text)
}

/// Adds what other files say.
fn include(document: Document, config: &FileConfig) -> Result<Loaded, FileErrors> {
    let mut errors = FileErrors::default();
    let mut contents = document.contents;
    let (mut skipped_records, mut soa) = (0, None);
    let mut records = RecordsBuilder::default();
    if let Some(reference) = &document.zone_file {
        let origin = document.origin.as_deref();
        let read = open(reference)
            .and_then(|(input, size, path)| zone::read((input, size), &path, origin, &config.zones, &mut errors));
        match read {
            Ok(zone) => (skipped_records, soa, records) = (zone.skipped, zone.soa, zone.records),
            Err(error) => unreadable(reference, &error, &mut errors),
        }
    }
    if let Some(reference) = &document.routes_file {
        let cluster = config.name.as_str().into();
        let protocol = document.routes_protocol;
        let read =
            open(reference).and_then(|(input, _, path)| routes::read(input, &path, &cluster, protocol, &mut errors));
        match read {
            Ok(mut services) => contents.services.append(&mut services),
            Err(error) => unreadable(reference, &error, &mut errors),
        }
    }
    let path: Arc<Path> = config.path.as_path().into();
    check_services(&contents, &path, &mut errors);
    for record in std::mem::take(&mut contents.records) {
        records.push(&record.name, &record.data, record.ttl);
    }
    let records = records.finish();
    check_aliases(&records, &config.zones, &path, &mut errors);
    if errors.is_empty() { Ok(Loaded { contents, records, skipped_records, soa }) } else { Err(errors) }
}

/// A file, about how long it is, and its path.
fn open(reference: &Reference) -> io::Result<(BufReader<File>, usize, Arc<Path>)> {
    let file = File::open(&reference.path)?;
    // Of what is no regular file nothing is known.
    let size = usize::try_from(file.metadata()?.len()).unwrap_or_default();
    Ok((BufReader::with_capacity(256 * 1024, file), size, reference.path.as_path().into()))
}

fn unreadable(reference: &Reference, error: &io::Error, errors: &mut FileErrors) {
    let message = format!("{} cannot be read: {error}", reference.path.display());
    errors.add(reference.place.clone(), reference.key, message, "create the file, or correct the path");
}

/// A service can be written twice only across files: each file refuses its own twins.
fn check_services(contents: &FileContents, path: &Arc<Path>, errors: &mut FileErrors) {
    let mut known: HashSet<&ServiceId> = HashSet::with_capacity(contents.services.len());
    for service in &contents.services {
        if !known.insert(&service.id) {
            let message = format!("the service {} is in this file and in its routes file", service.id);
            errors.add_file(path, message, "give it another name, or remove the host from the routes file");
        }
    }
}

/// RFC 1034 section 3.6.2: where there is an alias, there is nothing else; at a zone's own name there are SOA and NS (RFC 1912
/// section 2.4). What only several files together say is the table's to judge.
fn check_aliases(records: &StaticRecords, zones: &[Arc<str>], path: &Arc<Path>, errors: &mut FileErrors) {
    if !records.has_aliases() {
        return;
    }
    let is_zone = |name: &str| zones.iter().any(|zone| **zone == *name);
    let aliases = records.names().filter(NameRecords::has_alias);
    let (mut own, others): (Vec<_>, Vec<_>) = aliases.partition(|name| is_zone(name.name));
    own.sort_unstable_by_key(|name| name.name);
    for name in own {
        let message = format!("the zone's own name {} has a CNAME record, beside its SOA and NS", name.name);
        errors.add_file(path, message, "write the addresses themselves, or an alias below the zone");
    }
    let mut crowded: Vec<&str> = others.into_iter().filter(|name| name.len() > 1).map(|name| name.name).collect();
    crowded.sort_unstable();
    for name in crowded {
        let message = format!("the name {name} has a CNAME record and others");
        errors.add_file(path, message, "keep the CNAME record alone, or remove it");
    }
}
