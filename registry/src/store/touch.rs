//! How content stays young: the time of its file is moved on whenever somebody relies on it.
//!
//! In: the path of a blob, of a repository's link to it, or of a manifest. Out: a file whose time is that of
//! the last look, give or take [`Store::touch_period`]. What must hold: no time is ever moved back; when the
//! times cannot be moved (the files belong to somebody else), nothing is collected.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use super::Store;
use super::durable::is_absent;

/// The most that the time of a file lies behind the last look at it. A layer that six clients ask for at once
/// is written down once a minute, not for each of them.
const PERIOD_MAX: Duration = Duration::from_secs(60);

impl Store {
    /// Prepares for collections with this grace: what is younger is kept by them.
    pub fn set_grace(&self, grace: Duration) {
        let period = (grace / 16).min(PERIOD_MAX);
        self.touch_period.store(u64::try_from(period.as_millis()).unwrap_or(0), Ordering::Release);
    }

    /// How much later than its file says content may have been looked at.
    pub(super) fn touch_period(&self) -> Duration {
        Duration::from_millis(self.touch_period.load(Ordering::Acquire))
    }

    pub(super) fn new_touch_period() -> u64 {
        PERIOD_MAX.as_secs() * 1000
    }

    /// Moves the time of a file on; one that is not there needs none.
    pub(super) fn touch(&self, path: &Path) {
        if self.read_only {
            return;
        }
        let stamp = self.clock.stamp();
        let touched = fs_err::metadata(path).and_then(|metadata| {
            // A file without a time, or from before 1970, gets one.
            let age = metadata.modified().ok().map(|time| stamp.duration_since(time));
            match age {
                // Younger than now: a clock has jumped, and that makes nothing old.
                Some(Err(_)) => Ok(()),
                Some(Ok(age)) if age < self.touch_period() => Ok(()),
                _ => set_time(path, stamp),
            }
        });
        if let Err(error) = touched
            && !is_absent(&error)
            && !self.untouchable.swap(true, Ordering::AcqRel)
        {
            tracing::error!(
                path = %path.display(), %error,
                "cannot move the time of a file on: garbage is not collected any more"
            );
        }
    }
}

fn set_time(path: &Path, time: SystemTime) -> std::io::Result<()> {
    use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_OMIT, utimensat};
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let times = Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec {
            tv_sec: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: since.subsec_nanos().into(),
        },
    };
    utimensat(CWD, path, &times, AtFlags::empty())?;
    Ok(())
}
