//! Ctrl-C and SIGTERM.
//!
//! The first one asks the work to stop where it can be resumed; the second one stops at once. Both
//! are safe: everything is written so that a crash at any point leaves the old state valid.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::failure::{Failure, Kind};

const AGAIN: &str = "run the same command again: it goes on where it stopped";

/// Set by the second signal.
static IMPATIENT: AtomicBool = AtomicBool::new(false);

/// A token that the first signal cancels. Errors: the system refuses signal handlers.
pub fn watch() -> Result<CancellationToken, Failure> {
    let refused = |error| Failure::io(Kind::Failed, "cannot listen for signals", &error);
    let mut interrupt = signal(SignalKind::interrupt()).map_err(refused)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(refused)?;
    // Unhandled, a file above the limit of `ulimit -f` ends the process; handled, the write fails and is told.
    let file_size = SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw());
    let file_size = signal(file_size).map_err(refused)?;
    let token = CancellationToken::new();
    let cancel = token.clone();
    tokio::spawn(async move {
        let _handled = file_size;
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if cancel.is_cancelled() {
                IMPATIENT.store(true, Ordering::Relaxed);
                return;
            }
            tracing::warn!("stopping; once more stops at once");
            cancel.cancel();
        }
    });
    Ok(token)
}

/// Ends when the person does not want to wait for an orderly stop.
pub async fn impatience(cancel: &CancellationToken) -> Failure {
    cancel.cancelled().await;
    while !IMPATIENT.load(Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Failure::new(Kind::Interrupted, "interrupted").with_hint(AGAIN)
}

/// What a failure means after a signal: whatever broke, broke because the work was stopped. A
/// finding about the content is kept.
pub fn explain(failure: Failure, cancel: &CancellationToken) -> Failure {
    let stopped = matches!(failure.kind, Kind::Failed | Kind::Unavailable | Kind::Interrupted);
    if cancel.is_cancelled() && stopped {
        return Failure::new(Kind::Interrupted, "interrupted").with_hint(AGAIN);
    }
    failure
}
