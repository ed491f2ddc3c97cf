//! Room for documents that are read whole: it bounds what many large ones take of the memory at a time.
//!
//! In: how many bytes an answer has. Out: the leave to read them, as soon as so much is free. What must hold:
//! who has room never waits for more of it, nor for anything that somebody holds who waits for room. Then
//! each gets its turn.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::limits::ROOM_LEAST;

/// A number of bytes that are shared. Clones share them too.
#[derive(Clone, Debug)]
pub struct Room {
    kib: Arc<Semaphore>,
    all: u32,
}

/// What was taken of a room; free again when this goes. The default is nothing.
#[derive(Debug, Default)]
pub struct Taken(Option<OwnedSemaphorePermit>);

impl Room {
    /// A room of so many KiB.
    pub fn new(kib: u32) -> Self {
        Self { kib: Arc::new(Semaphore::new(kib as usize)), all: kib }
    }

    /// Waits for room for a document of so many bytes. One that is larger than the room takes all of it; a
    /// small one takes nothing, so that it waits behind no large one.
    pub async fn take(&self, bytes: u64) -> Taken {
        if bytes <= ROOM_LEAST {
            return Taken::default();
        }
        let kib = u32::try_from(bytes.div_ceil(1024)).map_or(self.all, |kib| kib.min(self.all));
        let permit = Arc::clone(&self.kib).acquire_many_owned(kib).await;
        Taken(Some(permit.expect("never closed")))
    }
}

impl Taken {
    /// Whether it is nothing.
    pub(super) fn is_nothing(&self) -> bool {
        self.0.is_none()
    }
}
