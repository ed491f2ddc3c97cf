//! What arrived of an upload and is not in the object store yet.
//!
//! In: bytes. Out: blocks that make up one piece. What must hold: the blocks of all uploads together are bounded,
//! and nobody waits for one while holding a block that could be sent.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::limits::BLOCK;
use super::uploads::lock;

/// The blocks that there may be.
#[derive(Clone)]
pub(super) struct Blocks {
    /// One for each that an upload may still have.
    pub(super) left: Arc<Semaphore>,
    home: Arc<Mutex<Home>>,
}

/// Memory of blocks, used again for as long as there are any: the allocator keeps what is freed for a while, beside what
/// it gives out.
#[derive(Default)]
struct Home {
    free: Vec<Vec<u8>>,
    /// Those that somebody has.
    taken: usize,
}

impl Blocks {
    pub(super) fn new(max: usize) -> Self {
        Self { left: Arc::new(Semaphore::new(max)), home: Arc::default() }
    }
}

/// One block.
struct Block {
    data: Vec<u8>,
    home: Arc<Mutex<Home>>,
}

impl Block {
    fn new(home: &Blocks) -> Self {
        let mut all = lock(&home.home);
        all.taken += 1;
        let data = all.free.pop().unwrap_or_else(|| Vec::with_capacity(BLOCK));
        Self { data, home: Arc::clone(&home.home) }
    }
}

impl AsRef<[u8]> for Block {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        let mut data = std::mem::take(&mut self.data);
        data.clear();
        let mut home = lock(&self.home);
        home.taken -= 1;
        match home.taken {
            0 => home.free = Vec::new(),
            _ => home.free.push(data),
        }
    }
}

/// The blocks of one upload.
pub(super) struct Buffer {
    home: Blocks,
    blocks: Vec<Block>,
    permits: Option<OwnedSemaphorePermit>,
    length: usize,
    began: Instant,
}

impl Buffer {
    pub(super) fn new(home: &Blocks) -> Self {
        let (home, blocks, permits) = (home.clone(), Vec::new(), None);
        Self { home, blocks, permits, length: 0, began: Instant::now() }
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
        let length = data.len().min(BLOCK - last.data.len());
        last.data.extend_from_slice(&data[..length]);
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
        self.blocks.push(Block::new(&self.home));
    }

    /// The bytes and what was paid for them; the buffer is empty afterwards.
    pub(super) fn take(&mut self) -> (Vec<Bytes>, Option<OwnedSemaphorePermit>) {
        let blocks = std::mem::take(&mut self.blocks).into_iter().map(Bytes::from_owner).collect();
        self.length = 0;
        (blocks, self.permits.take())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn memory_is_used_again_and_gone_with_the_last_block() {
        let blocks = Blocks::new(3);
        let mut buffer = Buffer::new(&blocks);
        let home = || {
            let home = lock(&blocks.home);
            (home.free.len(), home.taken)
        };
        let more = async |buffer: &mut Buffer| {
            buffer.grow(Arc::clone(&blocks.left).acquire_owned().await.unwrap());
        };
        assert_eq!(buffer.fill(b"x"), 0);
        more(&mut buffer).await;
        assert_eq!(buffer.fill(&[1; BLOCK + 5]), BLOCK);
        more(&mut buffer).await;
        assert_eq!(buffer.fill(b"xyz"), 3);
        let (mut pieces, permits) = buffer.take();
        assert_eq!(pieces.concat(), [&[1; BLOCK][..], b"xyz"].concat());
        assert_eq!((buffer.len(), blocks.left.available_permits()), (0, 1));
        drop(permits);
        // One is still sent, the other one's memory is the next one's.
        pieces.pop();
        assert_eq!(home(), (1, 1));
        more(&mut buffer).await;
        assert_eq!(home(), (0, 2));
        assert_eq!(buffer.fill(&[2; BLOCK]), BLOCK);
        drop((pieces, buffer));
        assert_eq!(home(), (0, 0));
    }
}
