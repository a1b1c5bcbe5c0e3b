//! Whether a stored state is the last that its program knew: then nothing has been said since that it does not know of,
//! and the serials in it are the last that were given.
//!
//! A mark beside the state says so. It names the state, is made when a program ends in good order, and is taken away when
//! the next one begins: what a program that is killed had said after it stored its state is not known.

use std::io::Write;
use std::path::{Path, PathBuf};

use super::state::ClusterState;
use crate::model::time::Timestamp;

/// Marks the state at `path`, which was taken at this time, as the last.
///
/// # Errors
/// The mark cannot be written.
pub fn mark(path: &Path, taken_at: Timestamp) -> std::io::Result<()> {
    let mut file = std::fs::File::create(beside(path))?;
    write!(file, "{}", taken_at.0)?;
    file.sync_all()
}

/// Takes the mark of the state that was read from `path` away. Without one, serials may have been given that the state
/// does not know: then each zone gets a new one.
pub fn take(path: &Path, state: &mut ClusterState) {
    let mark = beside(path);
    let marked = std::fs::read_to_string(&mark).ok().and_then(|text| text.trim().parse().ok()).map(Timestamp);
    // A mark that cannot be taken away would be believed again.
    let is_taken = std::fs::remove_file(&mark).is_ok();
    if !is_taken || marked.is_none() || marked != state.taken_at {
        state.ledger.doubt_serials();
    }
}

fn beside(path: &Path) -> PathBuf {
    path.with_extension("last")
}
