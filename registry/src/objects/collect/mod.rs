//! Garbage collection in a bucket, beside the pushes and pulls of all replicas.
//!
//! In: how long is the grace. Out: what went, and why the rest stayed. One repository after the other: its manifests
//! are read, then those that no tag leads to go (only when asked for), then its links to blobs that none of its
//! manifests names (`repository`); then the pointers that no repository links, with their pieces, and pieces that no
//! pointer names (`blobs`). One process at a time does it (`lease`).
//!
//! What must hold: **a push whose question was answered with "there", or whose upload was answered with 201, finds it
//! there for the grace; a manifest that was answered with 201 has its blobs.** Why it does:
//!
//! 1. Whoever answers so has found link and pointer with a time less than `TOUCH` ago, or has written them anew
//!    (`hold`). The limit is set once, before anything is read: the store's time at the start, less the grace, less
//!    `TOUCH`. So all that was looked at within the grace before the start, or at any time after it, is younger than
//!    the limit, or has another tag than the one the collection has read; and a removal has that tag as its condition.
//! 2. What was read of a repository ("no manifest names this blob") may be false by the time of the removal, when a
//!    manifest was written meanwhile. Its push looks at the blobs before it writes the manifest, and once more behind
//!    it, which is after the start: see 1. The same for a link that was written meanwhile: its pointer is looked at
//!    behind it.
//! 3. No clock of a replica decides anything but how early something is written anew; none has to wait for another.
//! 4. Pieces have names that are never used twice, so they need no condition. An upload's state is there from before its
//!    first piece until after its pointer: pieces are listed first, states second, pointers third.
//! 5. Whoever is in doubt keeps: a repository with a manifest or tag that cannot be read loses nothing, nor does one in
//!    the namespace of a sequence's record that cannot be used (`store::collect::pins`).
//!
//! A process that dies at any moment leaves a bucket that is whole: what it had begun to take away reads as missing and
//! is taken over by the next (`ABANDONED`), pieces without a pointer are found by it.

mod blobs;
mod lease;
mod repository;
#[cfg(test)]
pub(super) mod tests;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::SystemTime;

use object_store::ObjectMeta;
use tokio_util::sync::CancellationToken;

use super::hold::There;
use super::limits::{ABANDONED, TICK};
use super::records::InBucket;
use super::{Objects, clock};
use crate::store::collect::mark::{Key, Unreadable};
use crate::store::collect::pins::Pins;
use crate::store::{Collect, Collected, StoreError};
use lease::Lease;

/// Why a collection ends before its end.
enum Halt {
    Stopped,
    Failed(StoreError),
}

impl From<StoreError> for Halt {
    fn from(error: StoreError) -> Self {
        Self::Failed(error)
    }
}

/// One collection.
struct Run<'a> {
    objects: &'a Arc<Objects>,
    how: &'a Collect,
    stop: &'a CancellationToken,
    lease: Option<Lease>,
    /// What was written later stays.
    limit: Option<SystemTime>,
    /// What was being taken away before this was left so.
    abandoned: Option<SystemTime>,
    /// Blobs that a repository links, and whether one does so for more than an imported sequence.
    linked: HashMap<Key, bool>,
    /// Repositories that hold manifests.
    holding: HashSet<String>,
    done: Collected,
}

impl Objects {
    /// Collects garbage, beside the requests of all replicas.
    ///
    /// # Errors
    /// Another collection runs, read-only, or the object store's; what went until then is gone, and the bucket is whole.
    pub async fn collect(
        self: &Arc<Self>,
        how: &Collect,
        stop: &CancellationToken,
    ) -> Result<Collected, StoreError> {
        // Before everything that is read.
        let now = match self.read_only {
            true => SystemTime::now(),
            false => clock::ask(&self.bucket).await?,
        };
        let lease = match how.dry_run {
            true => None,
            false => {
                self.writable()?;
                Some(Lease::take(self).await?)
            }
        };
        let slack = how.grace.saturating_add(self.touch).saturating_add(TICK);
        let mut run = Run {
            objects: self,
            how,
            stop,
            lease,
            limit: now.checked_sub(slack),
            abandoned: now.checked_sub(ABANDONED),
            linked: HashMap::new(),
            holding: HashSet::new(),
            done: Collected {
                dry_run: how.dry_run,
                grace_seconds: how.grace.as_secs(),
                ..Collected::default()
            },
        };
        let outcome = run.all().await;
        run.done.complete = outcome.is_ok();
        if let Some(lease) = run.lease.take() {
            lease.end(self, run.done.complete).await;
        }
        let mut done = run.done;
        done.cut();
        match outcome {
            Ok(()) | Err(Halt::Stopped) => Ok(done),
            Err(Halt::Failed(error)) => Err(error),
        }
    }
}

impl Run<'_> {
    async fn all(&mut self) -> Result<(), Halt> {
        let names = self.objects.all_repositories().await?;
        let records = InBucket::new(self.objects, &names);
        let mut pins = records.work(Pins::read).await?;
        for problem in std::mem::take(&mut pins.unknown) {
            self.unreadable(problem);
        }
        self.done.sequences = std::mem::take(&mut pins.sequences);
        for name in &names {
            self.pause().await?;
            self.repository(name, &pins.of(name)).await?;
        }
        self.catalog().await?;
        self.bytes().await
    }

    async fn pause(&mut self) -> Result<(), Halt> {
        if self.stop.is_cancelled() {
            return Err(Halt::Stopped);
        }
        if let Some(lease) = &mut self.lease {
            lease.renew(self.objects).await?;
        }
        Ok(())
    }

    /// Notes what cannot be read.
    fn unreadable(&mut self, what: Unreadable) {
        tracing::warn!(what = what.0, "cannot be read: nothing that it may need is collected");
        self.done.unreadable.push(what.0);
    }

    /// Whether an object was last relied on before the grace.
    fn is_old(&self, meta: &ObjectMeta) -> bool {
        self.limit.is_some_and(|limit| SystemTime::from(meta.last_modified) <= limit)
    }

    /// Whether a removal was left by a process that died.
    fn is_abandoned(&self, meta: &ObjectMeta) -> bool {
        self.abandoned.is_some_and(|limit| SystemTime::from(meta.last_modified) <= limit)
    }

    /// Ends a removal that was left by a process that died; nothing of it counts.
    async fn finish(&mut self, key: &str, meta: &ObjectMeta) -> Result<(), Halt> {
        if self.how.dry_run || !self.is_abandoned(meta) {
            return Ok(());
        }
        if let There::Going(meta) = self.objects.look(key, meta.size).await?
            && self.objects.take_away(key, &meta).await?
        {
            self.done.leftovers += 1;
        }
        Ok(())
    }
}
