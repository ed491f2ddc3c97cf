//! When garbage is collected: from time to time by itself, and when a person of this machine asks for it.
//!
//! In: the settings, or a request over the control socket. Out: a collection of the store beside the requests,
//! slow enough that they do not notice, and its report. What must hold: the grace is never shorter than what an
//! unfinished upload has; a registry that stops does not wait for a collection.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::App;
use super::period::Period;
use super::storage::Storage;
use crate::store::{Collect, Collected, StoreError, UPLOAD_LIFETIME};

/// Files looked at between two pauses.
const STRIDE: usize = 64;

/// A pause: with 64 files in a millisecond or two, most of the time of a collection is spent in them.
const PAUSE: Duration = Duration::from_millis(5);

/// After the start, until the first collection: a registry that is started every day would have none otherwise.
const FIRST: Duration = Duration::from_secs(90 * 60);

/// Collects now, beside the requests.
pub(super) async fn collect(
    store: Storage,
    how: Collect,
    stop: CancellationToken,
) -> Result<Collected, StoreError> {
    let files = AtomicUsize::new(0);
    let step = move || {
        if files.fetch_add(1, Ordering::Relaxed).is_multiple_of(STRIDE) {
            std::thread::sleep(PAUSE);
        }
        !stop.is_cancelled()
    };
    let outcome = store.collect(how, step).await;
    match &outcome {
        Ok(done) if !how.dry_run => tracing::info!(
            freed = done.blobs.removed_bytes,
            blobs = done.blobs.removed,
            links = done.links.removed,
            manifests = done.manifests.removed,
            kept = done.blobs.kept_bytes,
            unreadable = done.unreadable.len(),
            "garbage collected"
        ),
        Ok(_) => {}
        Err(error) => tracing::warn!(%error, "garbage was not collected"),
    }
    outcome
}

/// Collects from time to time.
pub(super) async fn now_and_then(app: Arc<App>, stop: CancellationToken) {
    let storage = &app.storage;
    let Some(every) = storage
        .collect_every
        .0
        .map(Period::duration)
        .filter(|_| !app.read_only && app.store.collects())
    else {
        return;
    };
    let mut pause = FIRST.min(every);
    loop {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => return,
        }
        let how = Collect {
            grace: storage.grace.duration(),
            untagged: false,
            dry_run: false,
            beside: true,
        };
        // What went wrong is in the log, and the next one tries again.
        let _ = collect(app.store.clone(), how, stop.clone()).await;
        pause = every;
    }
}

/// The shortest grace that a person may ask for beside the requests: an upload that is begun now may be named by a
/// manifest as much later.
pub(super) fn least_grace(settled: Duration) -> Duration {
    settled.min(UPLOAD_LIFETIME)
}
