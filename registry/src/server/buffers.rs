//! Memory that blobs pass through on their way out.
//!
//! In: a body that wants its next step. Out: a buffer for it. What must hold: a few downloads get large steps, which are fast;
//! what many of them hold together does not grow with the size of those.

use std::sync::{Arc, Mutex, PoisonError};

use super::limits::{LARGE_STEPS_MAX, SMALL_STEP, STEP};

/// Buffers of large steps, used again instead of allocated: fresh memory costs a page fault for
/// every 4 KiB, which is as much as the copying.
#[derive(Clone, Default)]
pub(super) struct Buffers(Arc<Mutex<Large>>);

#[derive(Default)]
struct Large {
    free: Vec<Box<[u8]>>,
    /// Those that somebody has.
    taken: usize,
}

impl Buffers {
    /// A buffer of [`STEP`] bytes, or of [`SMALL_STEP`] when too many have a large one.
    pub(super) fn take(&self) -> Buffer {
        let mut large = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if large.taken == LARGE_STEPS_MAX {
            return Buffer { data: vec![0; SMALL_STEP].into_boxed_slice(), home: None };
        }
        large.taken += 1;
        let data = large.free.pop().unwrap_or_else(|| vec![0; STEP].into_boxed_slice());
        Buffer { data, home: Some(self.clone()) }
    }
}

/// One step of a body.
pub(super) struct Buffer {
    pub(super) data: Box<[u8]>,
    /// Where a large one goes back to.
    home: Option<Buffers>,
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let Some(home) = &self.home else { return };
        let mut large = home.0.lock().unwrap_or_else(PoisonError::into_inner);
        large.taken -= 1;
        large.free.push(std::mem::take(&mut self.data));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_get_small_steps_and_large_ones_come_back() {
        let buffers = Buffers::default();
        let some: Vec<Buffer> = (0..LARGE_STEPS_MAX).map(|_| buffers.take()).collect();
        assert!(some.iter().all(|buffer| buffer.data.len() == STEP));
        let small = buffers.take();
        assert_eq!(small.data.len(), SMALL_STEP);
        drop(some);
        drop(small);
        assert_eq!(buffers.take().data.len(), STEP);
        let large = buffers.0.lock().unwrap();
        assert_eq!((large.taken, large.free.len()), (0, LARGE_STEPS_MAX));
    }
}
