//! The bytes: pointers that no repository links, and pieces that no pointer names.
//!
//! In: what is linked. Out: what went. What must hold: a pointer goes under the condition that it is still the one that
//! was found old, and its pieces after it; pieces go only where every pointer could be read.

use std::collections::{HashMap, HashSet};

use futures_util::{StreamExt, TryStreamExt, stream};
use object_store::ObjectMeta;

use super::super::hold::There;
use super::super::keys;
use super::super::limits::{ASIDE, POINTER_MAX};
use super::super::pointer::Pointer;
use super::repository::digest_of;
use super::{Halt, Run};
use crate::content::{Algorithm, ContentDigest};
use crate::store::StoreError;
use crate::store::collect::mark::{Key, Unreadable};
use crate::store::collect::sweep::Fate;

/// The pieces of one upload.
#[derive(Default)]
struct Pieces {
    bytes: u64,
    /// One of them is young.
    young: bool,
}

/// What became of one pointer.
enum Gone {
    Removed(u64),
    Fate(Fate),
    Going(ObjectMeta),
    Unreadable,
}

/// The name of an upload, shortened. Two that shared one would keep each other.
fn short(id: &str) -> Key {
    Key::of(&ContentDigest::of(Algorithm::Sha256, id.as_bytes()))
}

impl Run<'_> {
    /// Removes what no repository links.
    pub(super) async fn bytes(&mut self) -> Result<(), Halt> {
        let pointers = self.pointers().await?;
        self.pieces(pointers).await?;
        for key in [super::clock::ASKED, "probe"] {
            self.sweep(key).await?;
        }
        Ok(())
    }

    /// Removes pointers; returns how many stayed.
    async fn pointers(&mut self) -> Result<usize, Halt> {
        let mut list = self.objects.bucket.list("blobs", None)?;
        let (mut stayed, mut ahead) = (0, Vec::new());
        loop {
            let next = list.try_next().await?;
            if let Some(meta) = &next {
                let key = self.objects.bucket.key(meta);
                let digest = digest_of(&key).filter(|digest| keys::blob(digest) == key);
                stayed += 1;
                let Some(digest) = digest else {
                    self.done.blobs.add(&Fate::Unknown, 0);
                    continue;
                };
                let content = Key::of(&digest);
                let fate = match self.linked.get(&content) {
                    Some(true) => Fate::Named,
                    Some(false) => Fate::Pinned,
                    // A removal that was left behind is told by its bytes.
                    None if !self.is_old(meta) && !self.is_abandoned(meta) => Fate::Young,
                    None => {
                        ahead.push(key);
                        Fate::Gone
                    }
                };
                self.done.blobs.add(&fate, 0);
            }
            if ahead.len() >= ASIDE || next.is_none() {
                self.pause().await?;
                stayed -= self.remove_pointers(std::mem::take(&mut ahead)).await?;
            }
            if next.is_none() {
                return Ok(stayed);
            }
        }
    }

    async fn remove_pointers(&mut self, ahead: Vec<String>) -> Result<usize, Halt> {
        let run = &*self;
        let gone = stream::iter(ahead).map(|key| async move {
            let gone = run.remove_pointer(&key).await?;
            Ok::<_, StoreError>((key, gone))
        });
        let gone: Vec<_> = gone.buffer_unordered(ASIDE).try_collect().await?;
        let mut removed = 0;
        for (key, gone) in gone {
            match gone {
                Gone::Removed(size) => {
                    removed += 1;
                    self.done.blobs.add(&Fate::Removed, size);
                }
                Gone::Fate(fate) => {
                    removed += usize::from(matches!(fate, Fate::Gone));
                    self.done.blobs.add(&fate, 0);
                }
                Gone::Going(meta) => {
                    removed += 1;
                    self.finish(&key, &meta).await?;
                }
                Gone::Unreadable => self.unreadable(Unreadable(format!("{key}: damaged"))),
            }
        }
        Ok(removed)
    }

    async fn remove_pointer(&self, key: &str) -> Result<Gone, StoreError> {
        let objects = self.objects;
        let (bytes, meta) = match objects.look(key, POINTER_MAX).await? {
            There::Nothing => return Ok(Gone::Fate(Fate::Gone)),
            There::Going(meta) => return Ok(Gone::Going(meta)),
            There::Object(bytes, meta) => (bytes, meta),
        };
        if !self.is_old(&meta) {
            return Ok(Gone::Fate(Fate::Young));
        }
        // It reads as missing already; whoever checks the bucket is told.
        let Ok(pointer) = Pointer::parse(key, &bytes) else { return Ok(Gone::Unreadable) };
        if !self.how.dry_run {
            if !objects.take_away(key, &meta).await? {
                return Ok(Gone::Fate(Fate::Busy));
            }
            objects.discard_data(&pointer.data).await?;
        }
        Ok(Gone::Removed(pointer.size))
    }

    /// Removes the pieces that no pointer names and no upload will.
    async fn pieces(&mut self, pointers: usize) -> Result<(), Halt> {
        let objects = self.objects;
        let mut found: HashMap<Key, Pieces> = HashMap::new();
        let mut list = objects.bucket.list("data", None)?;
        let mut total = 0;
        while let Some(meta) = list.try_next().await? {
            let key = objects.bucket.key(&meta);
            let Some(id) = key.split('/').nth(1) else { continue };
            let young = !self.is_old(&meta);
            let pieces = found.entry(short(id)).or_default();
            pieces.bytes += meta.size;
            pieces.young |= young;
            total += meta.size;
        }
        // What a dry run has only counted is still there.
        let counted = if self.how.dry_run { self.done.blobs.removed_bytes } else { 0 };
        self.done.blobs.kept_bytes += total.saturating_sub(counted);
        let mut uploads = objects.bucket.list(keys::UPLOADS, None)?;
        while let Some(meta) = uploads.try_next().await? {
            let key = objects.bucket.key(&meta);
            if let Some((_, id)) = key.rsplit_once('/') {
                found.remove(&short(id));
            }
        }
        // Each pointer names those of one upload: then there are no others.
        let counted = if self.how.dry_run { self.done.blobs.removed } else { 0 };
        if found.len() as u64 <= pointers as u64 + counted
            || !found.values().any(|pieces| !pieces.young)
        {
            return Ok(());
        }
        let Some(named) = self.named_pieces().await? else { return Ok(()) };
        found.retain(|id, pieces| !pieces.young && !named.contains(id));
        if found.is_empty() {
            return Ok(());
        }
        let ids: Vec<String> = objects.bucket.below("data").await?;
        for id in ids.iter().filter(|id| found.contains_key(&short(id))) {
            self.pause().await?;
            let bytes = found[&short(id)].bytes;
            if !self.how.dry_run {
                objects.discard_data(id).await?;
            }
            self.done.leftovers += 1;
            self.done.blobs.removed_bytes += bytes;
            self.done.blobs.kept_bytes = self.done.blobs.kept_bytes.saturating_sub(bytes);
        }
        Ok(())
    }

    /// The pieces that pointers name, also those that a repair has set aside; `None` when one cannot be read.
    async fn named_pieces(&mut self) -> Result<Option<HashSet<Key>>, Halt> {
        let mut named = HashSet::new();
        for place in ["blobs", keys::QUARANTINE] {
            let objects = self.objects;
            let list = objects.bucket.list(place, None)?;
            let mut read = list
                .map_ok(|meta| async move {
                    let key = objects.bucket.key(&meta);
                    let there = objects.look(&key, POINTER_MAX).await;
                    Ok::<_, StoreError>((key, there?))
                })
                .try_buffer_unordered(ASIDE);
            while let Some((key, there)) = read.try_next().await? {
                let There::Object(bytes, _) = there else { continue };
                match Pointer::parse(&key, &bytes) {
                    Ok(pointer) => named.insert(short(&pointer.data)),
                    Err(_) if place == keys::QUARANTINE => continue,
                    Err(_) => {
                        drop(read);
                        self.unreadable(Unreadable(format!("{key}: damaged")));
                        return Ok(None);
                    }
                };
            }
        }
        Ok(Some(named))
    }

    /// Removes what requests that died have left of themselves.
    async fn sweep(&mut self, prefix: &str) -> Result<(), Halt> {
        let mut list = self.objects.bucket.list(prefix, None)?;
        while let Some(meta) = list.try_next().await? {
            if self.is_old(&meta) && !self.how.dry_run {
                self.pause().await?;
                self.objects.bucket.discard(&self.objects.bucket.key(&meta)).await?;
                self.done.leftovers += 1;
            }
        }
        Ok(())
    }
}
