//! What went over the wire, for reports and tests.
//!
//! In: events of the client. Out: totals since the client was made. Body bytes only: headers and TLS
//! are not counted.

use std::sync::atomic::{AtomicU64, Ordering};

/// Running totals of one client.
#[derive(Debug, Default)]
pub struct Counters {
    requests: AtomicU64,
    received: AtomicU64,
    sent: AtomicU64,
    retries: AtomicU64,
}

/// Totals at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Requests that were sent, retries and redirects included.
    pub requests: u64,
    /// Body bytes received.
    pub received: u64,
    /// Body bytes sent.
    pub sent: u64,
    /// Waits before a further try.
    pub retries: u64,
}

impl Counters {
    /// The totals now.
    pub fn totals(&self) -> Totals {
        Totals {
            requests: self.requests.load(Ordering::Relaxed),
            received: self.received.load(Ordering::Relaxed),
            sent: self.sent.load(Ordering::Relaxed),
            retries: self.retries.load(Ordering::Relaxed),
        }
    }

    pub(super) fn request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn retry(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
    }
}
