//! When garbage is collected: from time to time by itself, and when a person of this machine asks for it.
//!
//! In: the settings, or a request over the control socket. Out: a collection of the store beside the requests,
//! slow enough that they do not notice, and its report. What must hold: the grace is never shorter than what an
//! unfinished upload has; a registry that stops does not wait for a collection.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::App;
use super::audit::Event;
use super::logs::Logs;
use super::metrics::Text;
use super::period::Period;
use crate::store::{Collect, Collected, StoreError, UPLOAD_LIFETIME};

/// Files looked at between two pauses.
const STRIDE: usize = 64;

/// A pause: with 64 files in a millisecond or two, most of the time of a collection is spent in them.
const PAUSE: Duration = Duration::from_millis(5);

/// After the start, until the first collection: a registry that is started every day would have none otherwise.
const FIRST: Duration = Duration::from_secs(90 * 60);

/// The collections since the start.
#[derive(Default)]
pub(super) struct Collections {
    runs: AtomicU64,
    failures: AtomicU64,
    freed: AtomicU64,
    last: Mutex<Option<LastCollection>>,
}

/// The last collection that removed something, or could have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LastCollection {
    /// When it ended, in seconds since 1970.
    pub time: i64,
    /// Bytes that it freed.
    pub freed: u64,
    /// Whether it came to its end.
    pub complete: bool,
}

impl Collections {
    /// The last one.
    pub(super) fn last(&self) -> Option<LastCollection> {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes the counters.
    pub(super) fn write(&self, to: &mut Text) {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        to.counter("collections_total", "Collections that ended well.", load(&self.runs));
        let help = "Collections that failed.";
        to.counter("collections_failed_total", help, load(&self.failures));
        to.counter("collected_bytes_total", "Bytes that collections freed.", load(&self.freed));
        if let Some(last) = self.last() {
            let help = "When the last collection ended.";
            to.gauge("last_collection_timestamp_seconds", help, last.time);
        }
    }

    fn note(&self, logs: &Logs, outcome: &Result<Collected, StoreError>) {
        let (word, detail) = match outcome {
            Ok(done) => {
                let freed = done.blobs.removed_bytes;
                self.runs.fetch_add(1, Ordering::Relaxed);
                self.freed.fetch_add(freed, Ordering::Relaxed);
                let (time, complete) = (Timestamp::now().as_second(), done.complete);
                *self.last.lock().unwrap_or_else(PoisonError::into_inner) =
                    Some(LastCollection { time, freed, complete });
                let (blobs, manifests) = (done.blobs.removed, done.manifests.removed);
                ("ok", format!("{blobs} blobs, {freed} bytes, {manifests} manifests"))
            }
            Err(error) => {
                self.failures.fetch_add(1, Ordering::Relaxed);
                ("failed", error.to_string())
            }
        };
        let detail = Some(detail.as_str());
        logs.audit(&Event { action: "collect", outcome: word, detail, ..Event::default() });
    }
}

/// Collects now, beside the requests.
pub(super) async fn collect(
    app: &App,
    how: Collect,
    stop: CancellationToken,
) -> Result<Collected, StoreError> {
    let files = AtomicUsize::new(0);
    let stopping = stop.clone();
    let step = move || {
        if files.fetch_add(1, Ordering::Relaxed).is_multiple_of(STRIDE) {
            std::thread::sleep(PAUSE);
        }
        !stopping.is_cancelled()
    };
    let outcome = app.store.collect(how, step, &stop).await;
    if !how.dry_run {
        app.collections.note(&app.logs, &outcome);
    }
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
    let every = storage.collect_every.0.map(Period::duration).filter(|_| !app.read_only);
    let Some(every) = every else { return };
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
        pause = every;
        // One collection does for all replicas.
        if app.store.collected_within(every - every / 4).await {
            continue;
        }
        // What went wrong is in the log, and the next one tries again.
        let _ = collect(&app, how, stop.clone()).await;
    }
}

/// The shortest grace that a person may ask for beside the requests: an upload that is begun now may be named by a
/// manifest as much later.
pub(super) fn least_grace(settled: Duration) -> Duration {
    settled.min(UPLOAD_LIFETIME)
}
