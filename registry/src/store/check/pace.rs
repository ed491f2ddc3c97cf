//! Holds reading to a rate, by the one or the several who read.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Bytes that were read, and the rate that they are held to.
pub(crate) struct Pace {
    rate: Option<u64>,
    began: Instant,
    read: AtomicU64,
}

impl Pace {
    /// So many bytes a second; none or 0 is no limit.
    pub(crate) fn new(rate: Option<u64>) -> Self {
        let rate = rate.filter(|rate| *rate > 0);
        Self { rate, began: Instant::now(), read: AtomicU64::new(0) }
    }

    /// For how long to wait after reading so many more bytes.
    pub(crate) fn behind(&self, read: usize) -> Duration {
        let Some(rate) = self.rate else { return Duration::ZERO };
        let read = self.read.fetch_add(read as u64, Ordering::Relaxed) + read as u64;
        let micros = u128::from(read) * 1_000_000 / u128::from(rate);
        let due = Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX));
        due.saturating_sub(self.began.elapsed())
    }
}
