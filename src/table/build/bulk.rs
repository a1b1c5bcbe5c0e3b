//! Derives every task at once: what a start with a stored state, or the first snapshot, waits for.
//!
//! To derive a task is pure and much of the work, so other threads do that, a slice of tasks at a time, while the caller
//! merges what they derived, in the order of the tasks.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};

use super::derived;
use super::task::Derivation;
use super::task_names::TaskNames;
use crate::cluster::state::ClusterState;
use crate::model::id::TaskKey;

/// Tasks that a thread derives before it hands them over.
const SLICE: usize = 1024;
/// Slices that wait to be merged: more would only take memory.
const WAITING: usize = 8;
/// More threads than this derive faster than one can merge.
const MOST_HELPERS: usize = 3;

/// On which threads tasks are derived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Where {
    /// On the caller's alone: others have requests to answer.
    Here,
    /// On others too: nothing is served yet.
    Everywhere,
}

/// What is derived of a task; `None` where it is not shown.
type Derived = Option<(Derivation, TaskNames)>;

/// Derives `keys` from `facts` and gives each to `take`, in their order.
pub(super) fn derive_all(
    facts: &ClusterState,
    keys: &[TaskKey],
    place: Where,
    mut take: impl FnMut(&TaskKey, Derived),
) {
    let slices: Vec<&[TaskKey]> = keys.chunks(SLICE).collect();
    let helpers = match place {
        Where::Here => 0,
        Where::Everywhere => std::thread::available_parallelism().map_or(1, usize::from).saturating_sub(1),
    };
    let next = AtomicUsize::new(0);
    let derive = |at: usize| -> Vec<Derived> { slices[at].iter().map(|key| derived(facts, key)).collect() };
    let claim = || Some(next.fetch_add(1, Ordering::Relaxed)).filter(|at| *at < slices.len());
    std::thread::scope(|scope| {
        let (sender, ready) = sync_channel(WAITING);
        for _ in 0..helpers.min(MOST_HELPERS).min(slices.len().saturating_sub(1)) {
            let (sender, claim, derive) = (sender.clone(), &claim, &derive);
            scope.spawn(move || help(claim, derive, &sender));
        }
        drop(sender);
        let mut done = BTreeMap::new();
        for (at, slice) in slices.iter().enumerate() {
            while !done.contains_key(&at) {
                // Rather than wait for the slice that is due, derive another.
                match ready.try_recv() {
                    Ok((other, all)) => done.insert(other, all),
                    Err(_) => match claim() {
                        Some(other) => done.insert(other, derive(other)),
                        None => match ready.recv() {
                            Ok((other, all)) => done.insert(other, all),
                            // A thread that panicked takes this one along when the scope ends.
                            Err(_) => return,
                        },
                    },
                };
            }
            for (key, one) in slice.iter().zip(done.remove(&at).into_iter().flatten()) {
                take(key, one);
            }
        }
    });
}

/// Derives slices until none is left, or nobody wants them.
fn help(
    claim: &impl Fn() -> Option<usize>,
    derive: &impl Fn(usize) -> Vec<Derived>,
    ready: &SyncSender<(usize, Vec<Derived>)>,
) {
    while let Some(at) = claim() {
        if ready.send((at, derive(at))).is_err() {
            return;
        }
    }
}
