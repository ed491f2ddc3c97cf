//! What arrived of an upload and is not in the object store yet.
//!
//! In: bytes. Out: blocks that make up one piece. What must hold: the blocks of all uploads together are bounded,
//! and nobody waits for one while holding a block that could be sent.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::limits::BLOCK;

/// The blocks of one upload.
pub(super) struct Buffer {
    blocks: Vec<BytesMut>,
    permits: Option<OwnedSemaphorePermit>,
    length: usize,
    began: Instant,
}

impl Buffer {
    pub(super) fn new() -> Self {
        Self { blocks: Vec::new(), permits: None, length: 0, began: Instant::now() }
    }

    pub(super) fn len(&self) -> usize {
        self.length
    }

    pub(super) fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// When the first byte came.
    pub(super) fn began(&self) -> Instant {
        self.began
    }

    /// Copies what fits into the blocks there are; returns how much that was.
    pub(super) fn fill(&mut self, data: &[u8]) -> usize {
        let Some(last) = self.blocks.last_mut() else { return 0 };
        let length = data.len().min(BLOCK - last.len());
        last.extend_from_slice(&data[..length]);
        self.length += length;
        length
    }

    /// Adds an empty block, paid for with a permit.
    pub(super) fn grow(&mut self, permit: OwnedSemaphorePermit) {
        match &mut self.permits {
            Some(permits) => permits.merge(permit),
            None => {
                self.permits = Some(permit);
                self.began = Instant::now();
            }
        }
        self.blocks.push(BytesMut::with_capacity(BLOCK));
    }

    /// The bytes and what was paid for them; the buffer is empty afterwards.
    pub(super) fn take(&mut self) -> (Vec<Bytes>, Option<OwnedSemaphorePermit>) {
        let blocks = std::mem::take(&mut self.blocks).into_iter().map(BytesMut::freeze).collect();
        self.length = 0;
        (blocks, self.permits.take())
    }
}

/// The blocks that there may be.
pub(super) fn blocks(max: usize) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(max))
}
