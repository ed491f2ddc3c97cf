//! What both sides tell the person who waits: bytes done of bytes to do, and what is moving.
//!
//! In: counts from the tasks that move bytes. Out: a [`Snapshot`] whenever somebody wants to draw
//! one. It never runs backwards: a task that starts over reports again only beyond what it had
//! reported before.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Shared counts of a run.
#[derive(Debug, Default)]
pub struct Progress {
    total: AtomicU64,
    done: AtomicU64,
    next: AtomicU64,
    phase: Mutex<String>,
    moving: Mutex<BTreeMap<u64, String>>,
}

/// The state of a run at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// What the run is doing, in a word or two.
    pub phase: String,
    /// Bytes to move in all; 0 while unknown.
    pub total: u64,
    /// Bytes moved.
    pub done: u64,
    /// What is moving now, oldest first.
    pub moving: Vec<String>,
}

/// One thing that moves. Its bytes count once, however often they are moved again.
#[derive(Debug)]
pub struct Item<'a> {
    progress: &'a Progress,
    id: u64,
    reported: u64,
}

impl Progress {
    /// Names what the run is doing.
    pub fn phase(&self, phase: &str) {
        phase.clone_into(&mut lock(&self.phase));
    }

    /// Adds to the bytes to move.
    pub fn expect(&self, bytes: u64) {
        self.total.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts bytes that need no moving or were moved in an earlier run.
    pub fn skip(&self, bytes: u64) {
        self.done.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Something begins to move.
    pub fn start(&self, name: impl Into<String>) -> Item<'_> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        lock(&self.moving).insert(id, name.into());
        Item { progress: self, id, reported: 0 }
    }

    /// The state now.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            phase: lock(&self.phase).clone(),
            total: self.total.load(Ordering::Relaxed),
            done: self.done.load(Ordering::Relaxed),
            moving: lock(&self.moving).values().cloned().collect(),
        }
    }
}

impl Item<'_> {
    /// The thing has reached `position` bytes from its start.
    pub fn reached(&mut self, position: u64) {
        if position > self.reported {
            self.progress.done.fetch_add(position - self.reported, Ordering::Relaxed);
            self.reported = position;
        }
    }
}

impl Drop for Item<'_> {
    fn drop(&mut self) {
        lock(&self.progress.moving).remove(&self.id);
    }
}

/// The value behind a lock, also after a panic elsewhere: counts have no invariant to lose.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starting_over_never_runs_backwards() {
        let progress = Progress::default();
        progress.expect(10);
        let mut item = progress.start("blob");
        item.reached(6);
        item.reached(2);
        assert_eq!(progress.snapshot().done, 6);
        assert_eq!(progress.snapshot().moving, ["blob"]);
        item.reached(10);
        drop(item);
        let end = progress.snapshot();
        assert_eq!((end.done, end.total, end.moving.len()), (10, 10, 0));
    }
}
