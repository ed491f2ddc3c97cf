//! Which contents requests are at work with, so that collection leaves them alone.
//!
//! In: the digest of a blob or manifest that a request is about to look at, store, link or name. Out: a
//! [`Hold`] for as long as it does. While a collection runs it also learns of every hold there was since it
//! began. What must hold: a hold and a removal of the same content exclude each other, however long either
//! takes; nothing else is locked meanwhile, and a hold waits for the removal of one file at most.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::content::ContentDigest;

/// Enough that two requests seldom meet.
const SHARDS: usize = 64;

/// The holds of a store.
pub(super) struct Holds {
    shards: Vec<Mutex<Shard>>,
}

#[derive(Default)]
struct Shard {
    held: HashMap<ContentDigest, usize>,
    /// Everything held since the collection began, when one runs.
    since: Option<HashSet<ContentDigest>>,
}

/// One content that a request is at work with.
pub(super) struct Hold<'a> {
    holds: &'a Holds,
    digest: ContentDigest,
}

/// A collection under way.
pub(super) struct Watch<'a>(&'a Holds);

impl Holds {
    pub(super) fn new() -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::default()).collect() }
    }

    fn shard(&self, digest: &ContentDigest) -> MutexGuard<'_, Shard> {
        let shard = &self.shards[usize::from(digest.as_bytes()[0]) % SHARDS];
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// To be taken before the first look at the content, and kept until the answer stands on the disk.
    pub(super) fn hold(&self, digest: &ContentDigest) -> Hold<'_> {
        let mut shard = self.shard(digest);
        *shard.held.entry(*digest).or_default() += 1;
        if let Some(since) = &mut shard.since {
            since.insert(*digest);
        }
        Hold { holds: self, digest: *digest }
    }

    /// Begins a collection; the caller sees to it that there is one at a time.
    pub(super) fn watch(&self) -> Watch<'_> {
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.since = Some(shard.held.keys().copied().collect());
        }
        Watch(self)
    }
}

impl Watch<'_> {
    /// Runs `remove` unless a request was at work with this content since the collection began.
    pub(super) fn unless_held<T>(
        &self,
        digest: &ContentDigest,
        remove: impl FnOnce() -> T,
    ) -> Option<T> {
        let shard = self.0.shard(digest);
        let held = shard.since.as_ref().is_none_or(|since| since.contains(digest));
        // With the shard still locked.
        if held { None } else { Some(remove()) }
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        for shard in &self.0.shards {
            shard.lock().unwrap_or_else(PoisonError::into_inner).since = None;
        }
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        let mut shard = self.holds.shard(&self.digest);
        if let Some(count) = shard.held.get_mut(&self.digest) {
            *count -= 1;
            if *count == 0 {
                shard.held.remove(&self.digest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_held_at_any_moment_of_a_collection_is_left() {
        let holds = Holds::new();
        let [before, early, late, never] =
            [b"1", b"2", b"3", b"4"].map(|text| ContentDigest::from(format_spec::Digest::of(text)));
        drop(holds.hold(&before));
        let held = holds.hold(&early);
        let watch = holds.watch();
        drop(held);
        drop(holds.hold(&late));
        let removed = |digest| watch.unless_held(digest, || ()).is_some();
        assert!(removed(&before) && removed(&never));
        assert!(!removed(&early) && !removed(&late));
        drop(watch);
        // The next one knows nothing of that, and nothing is left behind.
        let watch = holds.watch();
        assert!(watch.unless_held(&early, || ()).is_some());
        assert!(holds.shards.iter().all(|shard| shard.lock().unwrap().held.is_empty()));
    }
}
