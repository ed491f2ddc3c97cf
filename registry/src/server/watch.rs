//! Files that people change while the registry runs: looked at every few seconds, and at once on SIGHUP.
//!
//! In: the certificate, users, robots and roles. Out: what they say now. What must hold: a look costs a few `stat`s; a file that is
//! broken changes nothing and is told of once.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::App;
use super::limits::{LOOK_PERIOD, WARNING_PERIOD};

/// What tells one state of a file from another; `None` is no file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Stamp(Option<(u64, u64, u64, i64, i64)>);

impl Stamp {
    /// The file as it is now.
    pub(super) fn of(path: &Path) -> Self {
        // A file that cannot be looked at is told of when it is read.
        let about = fs_err::metadata(path).ok();
        Self(about.map(|it| (it.dev(), it.ino(), it.size(), it.mtime(), it.mtime_nsec())))
    }
}

/// Looks until `stop`.
pub(super) async fn watch(app: Arc<App>, stop: CancellationToken) {
    // Without the handler the signal would end the process, as in a program that knows none.
    let mut hangup = signal(SignalKind::hangup())
        .inspect_err(|error| tracing::warn!(%error, "SIGHUP is not obeyed"))
        .ok();
    let mut warned: Option<Instant> = None;
    loop {
        let warn = warned.is_none_or(|at| at.elapsed() >= WARNING_PERIOD);
        if warn {
            warned = Some(Instant::now());
        }
        let shared = Arc::clone(&app);
        let look = tokio::task::spawn_blocking(move || {
            if let Some(access) = &shared.access {
                access.look(None);
            }
            if let Some(tls) = &shared.tls {
                tls.look();
                if warn {
                    tls.warn(!shared.read_only);
                }
            }
        });
        if let Err(error) = look.await {
            tracing::error!(%error, "looking for changed files broke off");
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_PERIOD) => {}
            () = hung_up(&mut hangup) => app.logs.reopen(),
            () = stop.cancelled() => return,
        }
    }
}

async fn hung_up(signal: &mut Option<tokio::signal::unix::Signal>) {
    match signal {
        Some(signal) => {
            // None comes only when the runtime ends.
            let _ = signal.recv().await;
        }
        None => std::future::pending().await,
    }
}
