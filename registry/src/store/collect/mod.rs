//! Garbage collection beside pushes and pulls: what nothing names any more, and nobody has touched for the
//! grace, goes.
//!
//! In: how long is the grace. Out: what went, and why the rest stayed. One repository after the other: its
//! manifests are read (`mark`), then its manifests that no tag leads to go (only when asked for), then its links
//! to blobs that none of its manifests names (`sweep`); at the end the bytes that no repository links.
//!
//! What must hold: **a push whose question was answered with "there", or whose upload was answered with 201,
//! finds it there for the grace.** Why it does:
//!
//! 1. Every request takes a hold on each content it looks at, stores, links or names, before its first look
//!    and until its answer stands on the disk (`holds`). A file is removed only with that content's shard
//!    locked, and only if nothing has held it since the collection began. So a request either comes before
//!    the removal, and there is none; or after it, and then it sees "not there" and the client pushes. No
//!    request sees both, however slow the disk, a client or the collection is.
//! 2. What is written down about a repository at one moment ("no manifest names this blob") can become
//!    false before the removal in one way only: a request names it. That request holds it, see 1.
//! 3. Between two collections the time of the file stands for the hold: a request moves it on (`touch`), and
//!    what is younger than the grace stays. Both clocks err on the young side (`clock`), and the limit leaves
//!    room for the times that are not moved on at each look.
//! 4. A manifest that was looked at keeps what it names: it is a root when it is young, and those that no tag
//!    leads to go before what they name, so that one that is held when its turn comes still has everything.
//! 5. Whoever is in doubt keeps: a repository with a manifest or tag that cannot be read loses nothing, nor does one in
//!    the namespace of a sequence's record that cannot be used (`pins`); and while the links of any repository cannot
//!    be listed no bytes go at all.
//!
//! A crash at any moment leaves a store that is whole: manifests go before links and links before bytes, and
//! each kind is synced before the next. What was not removed is found by the next collection.

pub(crate) mod mark;
pub(crate) mod pins;
pub(crate) mod sweep;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::sync::TryLockError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use format_spec::{Sequence, StreamId};
use serde::{Deserialize, Serialize};

use super::{Store, StoreError};
use mark::Key;
use pins::Pins;
use sweep::Run;

/// How long a registry runs before it lets go of anything: those who were at work with it before it started are
/// back by then, and a clock that was wrong at start has been set.
const SETTLE: Duration = Duration::from_secs(60 * 60);

/// Repositories named in a report, those that let go of the most.
const REPORT_MAX: usize = 1000;

/// How to collect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Collect {
    /// What was touched within this time stays.
    pub grace: Duration,
    /// Manifests that no tag leads to go too.
    pub untagged: bool,
    /// Count, and remove nothing.
    pub dry_run: bool,
    /// Whether requests are served at the same time.
    pub beside: bool,
}

/// What the manifests that stay in a repository name.
pub(crate) struct Named {
    /// Anything of it.
    pub(crate) all: HashSet<Key>,
    /// What does not stay for an imported sequence alone.
    pub(crate) used: HashSet<Key>,
}

/// What went, or would go.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Collected {
    /// Whether it was only counted.
    pub dry_run: bool,
    /// Whether it came to its end: a registry that is stopped ends it early.
    pub complete: bool,
    /// The grace in seconds.
    pub grace_seconds: u64,
    /// Manifests.
    pub manifests: Tally,
    /// Links of repositories to blobs.
    pub links: Tally,
    /// Blobs: the bytes that take the room.
    pub blobs: Tally,
    /// The imported sequences that something is kept for.
    #[serde(default)]
    pub sequences: Vec<KeptFor>,
    /// Empty directories and the like.
    pub leftovers: u64,
    /// Who let go of something, those with the most bytes first; at most a thousand.
    pub repositories: Vec<LetGo>,
    /// What could not be read, so that nothing of it was removed; at most a thousand.
    pub unreadable: Vec<String>,
}

/// Things of one kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tally {
    /// How many went.
    pub removed: u64,
    /// Their bytes.
    pub removed_bytes: u64,
    /// How many stayed, and why.
    pub kept: Kept,
    /// Their bytes, where they were looked at.
    pub kept_bytes: u64,
    /// Of these, the bytes of those that only an imported sequence keeps.
    #[serde(default)]
    pub pinned_bytes: u64,
}

/// Why things stayed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Kept {
    /// Something names them.
    pub named: u64,
    /// An imported sequence gave them, and nothing else keeps them.
    pub pinned: u64,
    /// Touched within the grace.
    pub young: u64,
    /// A request was at work with them.
    pub busy: u64,
    /// They, or what may name them, cannot be read or are not ours.
    pub unknown: u64,
}

/// Sequences of one stream whose contents are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeptFor {
    /// The stream.
    pub stream: StreamId,
    /// The first: the last `full` one of the stream, or the first that it has.
    pub from: Sequence,
    /// The last.
    pub to: Sequence,
}

/// What one repository let go of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LetGo {
    /// The repository.
    pub repository: String,
    /// Manifests.
    pub manifests: u64,
    /// Blobs it does not show any more.
    pub links: u64,
    /// Their bytes, which are free only when no other repository links them.
    pub bytes: u64,
}

impl Collected {
    /// Leaves those in the report that matter most.
    pub(crate) fn cut(&mut self) {
        self.repositories
            .sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.repository.cmp(&b.repository)));
        self.repositories.truncate(REPORT_MAX);
        self.unreadable.truncate(REPORT_MAX);
    }
}

impl Store {
    /// Collects garbage. `step` is called for each file: it may wait, and ends the collection with `false`.
    ///
    /// # Errors
    /// Another collection runs, the registry has only just started, the store is read-only, or I/O; what went
    /// until then is gone, and the store is whole.
    pub fn collect(&self, how: &Collect, step: &dyn Fn() -> bool) -> Result<Collected, StoreError> {
        if !how.dry_run {
            self.writable()?;
            if self.untouchable.load(Ordering::Acquire) {
                return Err(StoreError::Untouchable);
            }
            let (running, wait) = (self.clock.running(), SETTLE.min(how.grace));
            if how.beside && running < wait {
                return Err(StoreError::TooEarly { running, wait });
            }
        }
        let _one = match self.collecting.try_lock() {
            Err(TryLockError::WouldBlock) => return Err(StoreError::Collecting),
            Ok(lock) => lock,
            Err(TryLockError::Poisoned(lock)) => lock.into_inner(),
        };
        let pins = Pins::read(self)?;
        let mut collected = Run::new(self, how, step, &pins).all()?;
        collected.sequences = pins.sequences;
        collected.cut();
        if !how.dry_run && collected.complete {
            // Whatever else has removed or damaged files: from here on the count is right again.
            if let Err(error) = self.count(step) {
                tracing::warn!(%error, "cannot count what is stored");
            }
        }
        Ok(collected)
    }
}
