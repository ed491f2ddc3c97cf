//! Turns to take apart what was pushed: a manifest costs several times its bytes while that is done.
//!
//! In: how many bytes are to be parsed, and the work. Out: what came of it, or a turn that is held for as long as the parts
//! are. What must hold: all requests of the server together parse so many bytes at one time; a turn goes with the work, not
//! with the client that asked for it; nobody who holds one waits for another; usual manifests wait for no large one.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{LazyLock, mpsc};

use format_spec::limits::MANIFEST_MAX;
use tokio::sync::{Semaphore, SemaphorePermit, oneshot};

/// A manifest above this is large. Usual ones have 1 to 20 KiB.
pub(crate) const USUAL: usize = 64 * 1024;

/// Bytes of usual manifests that are parsed at one time: sixteen of the longest, and hundreds of most.
const USUAL_MAX: usize = 1024 * 1024;

/// For whom the size is not known yet, or who parses one after the other.
pub(crate) const LARGEST: usize = 4 * 1024 * 1024;
const _: () = assert!(LARGEST as u64 == MANIFEST_MAX);

/// Bytes of large ones that are read again at one time, beside one that is pushed: two of the largest. What is kept of one
/// takes up to three times its bytes; where its annotations are wanted, up to seven times.
const LARGE_MAX: usize = 2 * LARGEST;

/// What is counted: any manifest takes some pages.
const UNIT: usize = 4096;

static USUAL_TURNS: Semaphore = Semaphore::const_new(USUAL_MAX / UNIT);
static LARGE_TURNS: Semaphore = Semaphore::const_new(LARGE_MAX / UNIT);

/// The turn of the one thread.
static THE_TURN: Semaphore = Semaphore::const_new(1);

type Work = Box<dyn FnOnce() + Send>;

/// The thread for large manifests. The allocator keeps what a thread has freed for a while, and several threads would each
/// keep as much as the worst manifest takes.
static THREAD: LazyLock<mpsc::Sender<Work>> = LazyLock::new(|| {
    let (sender, receiver) = mpsc::channel::<Work>();
    let run = move || {
        for work in receiver {
            // Whoever waits for it is told by its silence.
            let _ = catch_unwind(AssertUnwindSafe(work));
        }
    };
    // Without it, whoever needs it is told.
    let _ = std::thread::Builder::new().name("manifests".to_owned()).spawn(run);
    sender
});

/// The right to parse.
pub(crate) type Turn = Option<SemaphorePermit<'static>>;

/// Waits for the turn to parse so many bytes.
pub(crate) async fn turn(bytes: usize) -> Turn {
    let units = u32::try_from(bytes.min(LARGEST).div_ceil(UNIT)).unwrap_or(u32::MAX);
    let turns = if bytes > USUAL { &LARGE_TURNS } else { &USUAL_TURNS };
    // Never closed.
    turns.acquire_many(units).await.ok()
}

/// Does work with a manifest of so many bytes when it is its turn; a large one waits for those before it.
///
/// # Errors
/// The work broke off.
pub(crate) async fn at_turn<T: Send + 'static>(
    bytes: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    if bytes <= USUAL {
        let turn = turn(bytes).await;
        let work = move || {
            let _turn = turn;
            work()
        };
        return tokio::task::spawn_blocking(work).await.map_err(io::Error::other);
    }
    let turn = THE_TURN.acquire().await.map_err(io::Error::other)?;
    let (tell, told) = oneshot::channel();
    let work = move || {
        let _turn = turn;
        let _ = tell.send(work());
    };
    THREAD
        .send(Box::new(work))
        .map_err(|_| io::Error::other("there is no thread for manifests"))?;
    told.await.map_err(|_| io::Error::other("work with a manifest broke off"))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::future::join_all;

    use super::*;

    #[tokio::test]
    async fn two_of_the_largest_and_usual_ones_beside_them() {
        let first = turn(LARGEST).await;
        let second = turn(2 * LARGEST).await;
        let third = turn(USUAL + 1);
        tokio::pin!(third);
        assert!(futures_util::poll!(third.as_mut()).is_pending());
        let usual = [turn(1).await, turn(0).await, turn(UNIT).await, turn(USUAL).await];
        assert!(usual.iter().all(Option::is_some));
        drop(first);
        assert!(third.await.is_some() && second.is_some());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn large_ones_have_one_thread_whatever_becomes_of_one() {
        static AT_WORK: AtomicUsize = AtomicUsize::new(0);
        let all = (0..20).map(|number| {
            at_turn(USUAL + 1, move || {
                let beside = AT_WORK.fetch_add(1, Ordering::SeqCst);
                std::thread::sleep(std::time::Duration::from_millis(2));
                AT_WORK.fetch_sub(1, Ordering::SeqCst);
                assert_ne!(number, 7, "this one breaks off");
                (beside, std::thread::current().id())
            })
        });
        let all = join_all(all).await;
        assert!(all[7].is_err());
        let done: Vec<_> = all.into_iter().flatten().collect();
        assert_eq!(done.len(), 19);
        assert!(done.iter().all(|one| *one == (0, done[0].1)));
        // A usual one does not wait for what is there.
        let (go, wait) = mpsc::channel::<()>();
        let large = tokio::spawn(at_turn(LARGEST, move || wait.recv()));
        let usual = at_turn(USUAL, || std::thread::current().id()).await.unwrap();
        assert_ne!(usual, done[0].1);
        drop(go);
        assert!(large.await.unwrap().unwrap().is_err());
    }
}
