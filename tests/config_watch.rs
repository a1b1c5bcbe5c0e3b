//! Watched paths: every way in which a file changes is noticed, and nothing else.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use pointsman::config::watch::{Changes, Watch};

/// Far beyond what a change takes; only a failing test waits so long.
const PATIENCE: Duration = Duration::from_secs(30);

async fn noticed(changes: &mut Changes) {
    let changed = tokio::time::timeout(PATIENCE, changes.changed()).await.expect("the change is noticed");
    assert!(changed);
}

#[tokio::test]
async fn a_file_written_and_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p.toml");
    fs::write(&path, "1").unwrap();
    let watch = Watch::start(&path).unwrap();
    let mut changes = watch.changes();
    fs::write(&path, "22").unwrap();
    noticed(&mut changes).await;
    fs::write(folder.path().join("new"), "333").unwrap();
    fs::rename(folder.path().join("new"), &path).unwrap();
    noticed(&mut changes).await;
    fs::remove_file(&path).unwrap();
    noticed(&mut changes).await;
    fs::write(&path, "4444").unwrap();
    noticed(&mut changes).await;
}

/// A mounted config map: the file is a symlink into `..data`, which is a symlink to a folder of one version.
#[tokio::test]
async fn a_config_map() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for version in ["..1", "..2"] {
        fs::create_dir(at(version)).unwrap();
        fs::write(at(version).join("p.toml"), version).unwrap();
    }
    symlink("..1", at("..data")).unwrap();
    symlink("..data/p.toml", at("p.toml")).unwrap();
    let watch = Watch::start(&at("p.toml")).unwrap();
    let mut changes = watch.changes();
    symlink("..2", at("..new")).unwrap();
    fs::rename(at("..new"), at("..data")).unwrap();
    noticed(&mut changes).await;
    assert_eq!(fs::read_to_string(at("p.toml")).unwrap(), "..2");
}

#[tokio::test]
async fn a_folder_that_goes_and_comes_back() {
    let around = tempfile::tempdir().unwrap();
    let folder = around.path().join("folder");
    let path = folder.join("p.toml");
    let watch = Watch::start(&path).unwrap();
    let mut changes = watch.changes();
    fs::create_dir(&folder).unwrap();
    fs::write(&path, "1").unwrap();
    noticed(&mut changes).await;
    fs::remove_dir_all(&folder).unwrap();
    noticed(&mut changes).await;
    fs::create_dir(&folder).unwrap();
    fs::write(&path, "1").unwrap();
    noticed(&mut changes).await;
    fs::write(&path, "22").unwrap();
    noticed(&mut changes).await;
}

#[tokio::test]
async fn certificates_in_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.crt"), "1").unwrap();
    let watch = Watch::start(folder.path()).unwrap();
    let mut changes = watch.changes();
    fs::write(folder.path().join("b.crt"), "1").unwrap();
    noticed(&mut changes).await;
    fs::write(folder.path().join("a.crt"), "22").unwrap();
    noticed(&mut changes).await;
    fs::remove_file(folder.path().join("b.crt")).unwrap();
    noticed(&mut changes).await;
}

#[tokio::test]
async fn several_files_and_a_folder_by_one_watch() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let files = [one.path().join("a.crt"), two.path().join("not-yet.key"), two.path().join("folder")];
    fs::write(&files[0], "1").unwrap();
    fs::create_dir(&files[2]).unwrap();
    let watch = Watch::start_all(&files).unwrap();
    let mut changes = watch.changes();
    fs::write(&files[1], "1").unwrap();
    noticed(&mut changes).await;
    fs::write(&files[0], "22").unwrap();
    noticed(&mut changes).await;
    fs::write(files[2].join("c.crt"), "1").unwrap();
    noticed(&mut changes).await;
    fs::remove_file(&files[0]).unwrap();
    noticed(&mut changes).await;
}

#[tokio::test]
async fn neighbours_and_readers_are_no_change() {
    let folder = tempfile::tempdir().unwrap();
    let (path, neighbour) = (folder.path().join("p.toml"), folder.path().join("neighbour"));
    fs::write(&path, "1").unwrap();
    let watch = Watch::start(&path).unwrap();
    // The neighbour's own watch tells when what happened to it has been seen in this folder.
    let beside = Watch::start(&neighbour).unwrap();
    let (mut changes, mut neighbours) = (watch.changes(), beside.changes());
    for content in ["x", "xx", "xxx"] {
        fs::write(&neighbour, content).unwrap();
        fs::read(&path).unwrap();
        noticed(&mut neighbours).await;
    }
    drop(watch);
    assert!(!changes.changed().await, "nothing was told before the end");
}

#[tokio::test]
async fn dropping_ends_it() {
    let watch = Watch::start(Path::new("/nonexistent/folder/p.toml")).unwrap();
    let mut changes = watch.changes();
    drop(watch);
    assert!(!changes.changed().await);
}
