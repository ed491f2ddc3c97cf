//! Writing to an upload, and making it a blob.
//!
//! In: bytes in order. Out: pieces, and at the end a pointer and a link. What must hold: a piece is made only
//! where no other is (conditional write), one at a time; the order of safety is pieces, state, pointer, link;
//! what the hash covers is what is stored.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use format_spec::Repository;
use format_spec::limits::BLOB_MAX;
use futures_util::TryStreamExt;
use object_store::PutPayload;
use tokio::sync::OwnedMutexGuard;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::blobs::read;
use super::buffer::Buffer;
use super::hold::There;
use super::limits::{AGE_MAX, FINISH_TIME, HOLD_TRIES, IDLE, PIECE, PIECES_MAX, POINTER_MAX};
use super::pointer::Pointer;
use super::state::State;
use super::uploads::{Found, Live, Progress};
use super::{Objects, keys};
use crate::content::{Algorithm, ContentDigest, ContentHasher};
use crate::store::{StoreError, UploadId};

/// The right to write to an upload; one at a time in this process.
pub struct Appender {
    objects: Arc<Objects>,
    id: UploadId,
    live: Arc<Live>,
    turn: CancellationToken,
    progress: OwnedMutexGuard<Progress>,
    found: Found,
    began: (Instant, SystemTime),
    buffer: Buffer,
    sending: Option<JoinHandle<Result<Sent, StoreError>>>,
    /// Bytes in pieces, also in the one that is on its way.
    given: u64,
}

/// A piece that the object store has.
struct Sent {
    length: u64,
    hasher: Option<ContentHasher>,
}

impl Appender {
    pub(super) fn new(
        objects: &Arc<Objects>,
        id: &UploadId,
        live: Arc<Live>,
        turn: CancellationToken,
        progress: OwnedMutexGuard<Progress>,
        found: Found,
        began: (Instant, SystemTime),
    ) -> Self {
        let given = found.end();
        let (objects, id, buffer) = (Arc::clone(objects), id.clone(), Buffer::new(&objects.blocks));
        Self { objects, id, live, turn, progress, found, began, buffer, sending: None, given }
    }

    /// The name of the upload.
    pub fn id(&self) -> &UploadId {
        &self.id
    }

    /// Bytes received so far, and where the next ones go.
    pub fn offset(&self) -> u64 {
        self.given + self.buffer.len() as u64
    }

    /// Cancelled when another request wants to write.
    pub fn interrupted(&self) -> &CancellationToken {
        &self.turn
    }

    /// Adds bytes at the end.
    ///
    /// # Errors
    /// The blob grows too large, another process writes to the upload, or the object store's.
    pub async fn write(&mut self, mut data: &[u8]) -> Result<(), StoreError> {
        if self.offset() + data.len() as u64 > BLOB_MAX {
            return Err(StoreError::TooLarge { limit: BLOB_MAX });
        }
        while !data.is_empty() {
            data = &data[self.buffer.fill(data)..];
            if data.is_empty() {
                break;
            }
            if self.buffer.len() as u64 >= PIECE {
                self.send().await?;
            }
            let left = Arc::clone(&self.objects.blocks.left);
            let permit = match Arc::clone(&left).try_acquire_owned() {
                Ok(permit) => permit,
                Err(_) => {
                    // Others need the memory too: what is at hand goes out before it is a whole piece.
                    self.send().await?;
                    let permit = left.acquire_owned().await;
                    permit.map_err(|_| std::io::Error::other("the registry is stopping"))?
                }
            };
            self.buffer.grow(permit);
        }
        if !self.buffer.is_empty() && self.buffer.began().elapsed() > AGE_MAX {
            self.send().await?;
        }
        Ok(())
    }

    /// Waits until the bytes at hand should be sent although no more come: nothing came for a while, or somebody
    /// asks how far the upload is.
    pub async fn pause(&self) {
        let idle = async {
            match self.buffer.is_empty() {
                true => std::future::pending().await,
                false => tokio::time::sleep(IDLE).await,
            }
        };
        tokio::select! {
            () = self.live.asked.notified() => {}
            () = idle => {}
        }
    }

    /// Sends what is at hand; the object store has it on return.
    ///
    /// # Errors
    /// Another process writes to the upload, or the object store's.
    pub async fn flush(&mut self) -> Result<(), StoreError> {
        let outcome = match self.send().await {
            Ok(()) => self.sent().await,
            Err(error) => Err(error),
        };
        self.live.sent.notify_waiters();
        outcome
    }

    /// Begins to send what is at hand, after the piece before has arrived.
    async fn send(&mut self) -> Result<(), StoreError> {
        self.sent().await?;
        if self.buffer.is_empty() {
            return Ok(());
        }
        if self.found.lengths.len() >= PIECES_MAX {
            return Err(StoreError::TooManyPieces { limit: PIECES_MAX });
        }
        let (offset, length) = (self.given, self.buffer.len() as u64);
        let (blocks, permits) = self.buffer.take();
        self.given += length;
        // Only a hash that has come this far can go on. What is missing is read at the end.
        let hasher = match self.progress.hashed == offset {
            true => self.progress.hasher.take(),
            false => None,
        };
        let bucket = self.objects.bucket.clone();
        let key = keys::piece(self.id.as_str(), offset);
        self.sending = Some(tokio::spawn(async move {
            let payload: PutPayload = blocks.iter().cloned().collect();
            let (created, hasher) =
                tokio::join!(bucket.create(&key, payload), hash(hasher, &blocks));
            drop(permits);
            match created? {
                true => Ok(Sent { length, hasher }),
                // Another process was faster: its client goes on there, or asks and comes back.
                false => Err(StoreError::UploadTaken),
            }
        }));
        Ok(())
    }

    /// Waits for the piece that is on its way.
    async fn sent(&mut self) -> Result<(), StoreError> {
        let Some(sending) = self.sending.as_mut() else { return Ok(()) };
        let outcome = sending.await;
        self.sending = None;
        let before = self.found.end();
        match outcome.unwrap_or_else(|error| Err(std::io::Error::other(error).into())) {
            Ok(Sent { length, hasher }) => {
                self.found.lengths.push(length);
                if let Some(hasher) = hasher {
                    self.progress.hasher = Some(hasher);
                    self.progress.hashed = before + length;
                }
                Ok(())
            }
            Err(error) => {
                self.given = before;
                Err(error)
            }
        }
    }

    /// The digest of all of it. What went past this process, or was hashed by another algorithm, is read.
    async fn digest(&mut self, algorithm: Algorithm) -> Result<ContentDigest, StoreError> {
        let end = self.found.end();
        let progress = &mut *self.progress;
        let (mut hasher, from) = match progress.hasher.take() {
            Some(hasher) if hasher.algorithm() == algorithm => (hasher, progress.hashed),
            _ => (ContentHasher::new(algorithm), 0),
        };
        let pointer = Pointer::new(self.id.as_str(), &self.found.lengths);
        let mut missing = read(&self.objects.bucket, &pointer, from..end);
        let mut hashed = from;
        while let Some(bytes) = missing.try_next().await? {
            hashed += bytes.len() as u64;
            hasher.update(&bytes);
        }
        if hashed != end {
            return Err(std::io::Error::other("a piece of the upload ended early").into());
        }
        Ok(hasher.finish())
    }
}

/// Adds blocks to a running hash, on a thread of its own when that takes long.
async fn hash(hasher: Option<ContentHasher>, blocks: &[Bytes]) -> Option<ContentHasher> {
    let mut hasher = hasher?;
    if let [block] = blocks {
        hasher.update(block);
        return Some(hasher);
    }
    let blocks = blocks.to_vec();
    let work = move || {
        blocks.iter().for_each(|block| hasher.update(block));
        hasher
    };
    tokio::task::spawn_blocking(work).await.ok()
}

impl Objects {
    /// Makes an upload a blob of the repository it was started in and returns its size in bytes. In every other
    /// case but a fault of the object store the upload is gone and nothing of it is visible.
    ///
    /// # Errors
    /// The content has another digest, another process finished it, read-only, or the object store's.
    pub async fn finish_upload(
        &self,
        repository: &Repository,
        mut appender: Appender,
        expected: &ContentDigest,
    ) -> Result<u64, StoreError> {
        self.writable()?;
        appender.flush().await?;
        let found = appender.digest(expected.algorithm()).await?;
        let id = appender.id.as_str();
        if found != *expected {
            self.uploads.forget(&appender.id);
            self.remove_upload(id, &appender.found).await?;
            return Err(StoreError::Mismatch {
                expected: Box::new(*expected),
                found: Box::new(found),
            });
        }
        let state = keys::upload(id);
        let finishing = State::Finishing(*expected).to_bytes()?;
        if !self.bucket.replace(&state, &appender.found.meta, finishing).await? {
            return Err(StoreError::UploadTaken);
        }
        // Both clocks: one stands still while the machine sleeps, the other may be set.
        let slept = appender.began.1.elapsed().unwrap_or_default();
        if appender.began.0.elapsed().max(slept) > FINISH_TIME {
            return Err(StoreError::UploadUnknown);
        }
        let pointer = Pointer::new(id, &appender.found.lengths);
        let used = self.place(repository, expected, &pointer).await?;
        self.uploads.forget(&appender.id);
        // Before the pieces: an upload that can be asked for has what its client was told. Expiry finds what is left behind.
        match self.bucket.discard(&state).await {
            Ok(()) if used.data != pointer.data => {
                // Ours were never named by anything.
                if let Err(error) = self.discard_data(&pointer.data).await {
                    tracing::warn!(%error, "pieces that nobody needs are left behind");
                }
            }
            Ok(()) => {}
            Err(error) => tracing::debug!(%error, "the state of an upload is left behind"),
        }
        Ok(pointer.size)
    }

    /// Makes `pointer` that of the blob, or leaves the one that is there, and links it; returns the one that counts.
    async fn place(
        &self,
        repository: &Repository,
        digest: &ContentDigest,
        pointer: &Pointer,
    ) -> Result<Pointer, StoreError> {
        for _ in 0..HOLD_TRIES {
            self.point(digest, pointer).await?;
            self.keep(&keys::link(repository, digest)).await?;
            // Once more behind the link: only what has both is kept by it. Our pieces are still there if it is gone.
            if let Some(used) = self.hold_pointer(digest).await? {
                return Ok(used);
            }
        }
        Err(StoreError::UploadTaken)
    }

    /// Makes `pointer` that of the blob, or leaves the one that is there when all of its pieces are.
    async fn point(&self, digest: &ContentDigest, pointer: &Pointer) -> Result<(), StoreError> {
        let key = keys::blob(digest);
        if self.bucket.create(&key, pointer.anew()?.into()).await? {
            return Ok(());
        }
        for _ in 0..HOLD_TRIES {
            let there = self.settled(&key, POINTER_MAX).await?;
            if let There::Object(bytes, _) = &there
                && let Some(there) = Pointer::parse_or_tell(&key, bytes)
                && (there.is_same(pointer) || self.whole(&there).await?)
            {
                return Ok(());
            }
            // Pushing again repairs a blob whose pieces are gone.
            if self.write_over(&key, &there, pointer.anew()?).await? {
                return Ok(());
            }
        }
        Err(StoreError::UploadTaken)
    }

    /// Whether every piece of a blob is there in its length.
    pub(super) async fn whole(&self, pointer: &Pointer) -> Result<bool, StoreError> {
        let (lengths, _) = self.pieces(&pointer.data).await?;
        let wanted: Vec<u64> = pointer.pieces().map(|(_, length)| length).collect();
        Ok(lengths.len() >= wanted.len() && lengths[..wanted.len()] == wanted)
    }
}
