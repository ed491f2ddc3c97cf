//! Turns to parse what was pushed: a manifest costs several times its bytes while it is taken apart.
//!
//! In: how many bytes are to be parsed. Out: a turn, held for as long as the parts are. What must hold: all requests of
//! the server together parse [`PARSED_MAX`] bytes at one time; a turn goes with the work, not with the client that
//! asked for it; nobody who holds one waits for another.

use format_spec::limits::MANIFEST_MAX;
use tokio::sync::{Semaphore, SemaphorePermit};

/// Bytes of manifests that are parsed at one time: two of the largest. Such a one takes up to ten times its bytes, in small
/// allocations.
const PARSED_MAX: usize = 2 * LARGEST;

/// For whom the size is not known yet, or who parses one after the other.
pub(crate) const LARGEST: usize = 4 * 1024 * 1024;
const _: () = assert!(LARGEST as u64 == MANIFEST_MAX);

/// What is counted: any manifest takes some pages.
const UNIT: usize = 4096;

static TURNS: Semaphore = Semaphore::const_new(PARSED_MAX / UNIT);

/// The right to parse.
pub(crate) type Turn = Option<SemaphorePermit<'static>>;

/// Waits for the turn to parse so many bytes.
pub(crate) async fn turn(bytes: usize) -> Turn {
    let units = u32::try_from(bytes.min(LARGEST).div_ceil(UNIT)).unwrap_or(u32::MAX);
    // Never closed.
    TURNS.acquire_many(units).await.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn two_of_the_largest_or_many_small_ones() {
        let first = turn(LARGEST).await;
        let small = [turn(1).await, turn(0).await, turn(UNIT).await];
        let waits = turn(2 * LARGEST);
        tokio::pin!(waits);
        assert!(futures_util::poll!(waits.as_mut()).is_pending());
        drop(first);
        let second = waits.await;
        assert!(second.is_some() && small.iter().all(Option::is_some));
    }
}
