//! The blobs of a bucket: their pointers, and their bytes, hashed.
//!
//! In: the pointers, a slice, where to go on. Out: sizes, findings, and cursors on the way. What must hold: a blob that is
//! replaced while it is read is read again; reading takes no more than its rate; of each blob that is read at one time no
//! more than two pieces are on their way.

use std::time::Instant;

use futures_util::{StreamExt, TryStreamExt, stream};

use super::super::blobs::read;
use super::super::error::ObjectsError;
use super::super::hold::There;
use super::super::limits::{ASIDE, HOLD_TRIES, POINTER_MAX};
use super::super::pointer::Pointer;
use super::super::{Objects, keys};
use super::Checking;
use crate::content::{ContentDigest, ContentHasher};
use crate::store::StoreError;
use crate::store::check::{Check, Cursor, FINDINGS_MAX, FindingKind, KEEP, Pace};
use crate::store::collect::mark::Key;

/// Blobs read at one time: the way to the first byte of one is as long as that of a large one.
const BESIDE: usize = 4;

/// What the bytes of a blob are.
pub(super) enum Bytes {
    /// Gone since it was listed.
    Absent,
    /// Those of its digest.
    Good(u64),
    /// Others: what stands in the pointer that led to them.
    Bad(There, String),
}

/// The digest of a pointer, by its key.
fn blob_of(key: &str) -> Option<ContentDigest> {
    let digest = key.rsplit_once('/').and_then(|(_, hex)| ContentDigest::from_hex(hex).ok());
    digest.filter(|digest| keys::blob(digest) == key)
}

impl Checking<'_> {
    /// Reads every pointer.
    pub(super) async fn pointers(&mut self) -> Result<(), StoreError> {
        let objects = self.objects;
        let list = objects.bucket.list("blobs", None)?;
        let mut read = list
            .map_ok(|meta| async move {
                let key = objects.bucket.key(&meta);
                let there = objects.look(&key, POINTER_MAX).await;
                Ok::<_, StoreError>((key, there?))
            })
            .try_buffered(ASIDE);
        let cursor = self.cursor();
        let mut total = 0;
        while let Some((key, there)) = read.try_next().await? {
            if self.stopped() {
                return Ok(());
            }
            let Some(digest) = blob_of(&key) else {
                self.stray(&key);
                continue;
            };
            let There::Object(bytes, _) = there else { continue };
            self.report.blobs += 1;
            match Pointer::parse(&key, &bytes) {
                Ok(pointer) => {
                    self.sizes.insert(Key::of(&digest), Some(pointer.size));
                    let ahead = cursor.as_ref().is_none_or(|cursor| digest > cursor.after);
                    if self.how.read.is_some_and(|slice| slice.has(&digest)) && ahead {
                        total += pointer.size;
                    }
                }
                Err(error) => {
                    self.sizes.insert(Key::of(&digest), None);
                    let kind = FindingKind::BlobDamaged;
                    self.note(kind, digest.to_string(), Some(digest), None, error.to_string());
                }
            }
        }
        self.how.progress.expect(total);
        Ok(())
    }

    fn cursor(&self) -> Option<Cursor> {
        self.how.from.clone().filter(|cursor| self.how.read == Some(cursor.slice))
    }

    /// Hashes the blobs of the slice.
    pub(super) async fn bytes(&mut self) -> Result<(), StoreError> {
        let Some(slice) = self.how.read else { return Ok(()) };
        self.how.progress.phase("reading blobs");
        let (objects, how, cursor) = (self.objects, self.how, self.cursor());
        let pace = Pace::new(how.rate);
        let mut damaged = Vec::new();
        // Perhaps repaired since.
        let before = cursor.iter().flat_map(|cursor| cursor.damaged.clone());
        let before = stream::iter(before.collect::<Vec<_>>()).map(Ok);
        let after = cursor.as_ref().map(|cursor| keys::blob(&cursor.after));
        let list = objects.bucket.list("blobs", after.as_deref())?;
        let ahead = list.try_filter_map(|meta| {
            let digest = blob_of(&objects.bucket.key(&meta)).filter(|digest| slice.has(digest));
            std::future::ready(Ok(digest))
        });
        let mut hashed = before
            .chain(ahead)
            .map_ok(|digest| {
                let pace = &pace;
                async move { Ok((digest, objects.hash_blob(&digest, Some((how, pace))).await?)) }
            })
            .try_buffered(BESIDE);
        let mut kept = Instant::now();
        while let Some((digest, outcome)) = hashed.try_next().await? {
            let Some(outcome) = outcome else { return Ok(()) };
            self.report.blobs_read += u64::from(!matches!(outcome, Bytes::Absent));
            match outcome {
                Bytes::Absent => {}
                Bytes::Good(size) => self.report.bytes_read += size,
                Bytes::Bad(_, detail) => {
                    if damaged.len() < FINDINGS_MAX {
                        damaged.push(digest);
                    }
                    let (kind, what) = (FindingKind::BlobDamaged, digest.to_string());
                    self.findings.note(kind, what, Some(digest), None, detail);
                }
            }
            let passed = cursor.as_ref().is_none_or(|cursor| digest > cursor.after);
            if passed && kept.elapsed() >= KEEP {
                (how.keep)(&Cursor { slice, after: digest, damaged: damaged.clone() });
                kept = Instant::now();
            }
        }
        Ok(())
    }
}

impl Objects {
    /// Hashes a blob; `None` when the check is to end.
    pub(super) async fn hash_blob(
        &self,
        digest: &ContentDigest,
        how: Option<(&Check<'_>, &Pace)>,
    ) -> Result<Option<Bytes>, StoreError> {
        let key = keys::blob(digest);
        // Replaced while it was read: the new one counts. Nobody replaces it for ever.
        for _ in 0..HOLD_TRIES {
            let there = self.look(&key, POINTER_MAX).await?;
            let There::Object(bytes, _) = &there else { return Ok(Some(Bytes::Absent)) };
            let pointer = match Pointer::parse(&key, bytes) {
                Ok(pointer) => pointer,
                Err(error) => return Ok(Some(Bytes::Bad(there, error.to_string()))),
            };
            let bad = match self.hash(digest, &pointer, how).await {
                Ok(None) => return Ok(None),
                Ok(Some(found)) if found == *digest => return Ok(Some(Bytes::Good(pointer.size))),
                Ok(Some(found)) => {
                    format!("its {} bytes have the digest {found}", pointer.size)
                }
                Err(StoreError::Objects(ObjectsError::Damaged { key, detail })) => {
                    format!("`{key}`: {detail}")
                }
                Err(error) => return Err(error),
            };
            let same = |now: Option<Pointer>| now.is_some_and(|now| now.is_same(&pointer));
            if same(self.pointer(digest).await?) {
                return Ok(Some(Bytes::Bad(there, bad)));
            }
        }
        Ok(Some(Bytes::Absent))
    }

    async fn hash(
        &self,
        digest: &ContentDigest,
        pointer: &Pointer,
        how: Option<(&Check<'_>, &Pace)>,
    ) -> Result<Option<ContentDigest>, StoreError> {
        // What is shorter than it was could not be asked for.
        if !self.whole(pointer).await? {
            let key = keys::data(&pointer.data);
            let detail = "pieces of it are gone or have another length".to_owned();
            return Err(ObjectsError::Damaged { key, detail }.into());
        }
        let mut hasher = ContentHasher::new(digest.algorithm());
        let mut bytes = read(&self.bucket, pointer, 0..pointer.size);
        while let Some(chunk) = bytes.try_next().await? {
            hasher.update(&chunk);
            let Some((how, pace)) = how else { continue };
            if how.cancel.is_cancelled() {
                return Ok(None);
            }
            how.progress.skip(chunk.len() as u64);
            tokio::time::sleep(pace.behind(chunk.len())).await;
        }
        Ok(Some(hasher.finish()))
    }
}
