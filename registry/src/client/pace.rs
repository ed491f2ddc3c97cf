//! The stall clock of one body: [`STALL_LEAST`] bytes in every window, or it stands still.
//!
//! In: how long the network was waited for, and how many bytes it moved. Out: what is left of the window, or
//! the fault. What must hold: the clock runs only while the network is waited for, so that a reader who
//! takes its time is no stall; a byte now and then does not set it back, or a drip would hold a request
//! for ever (as curl's `--speed-limit` and cargo's `http.low-speed-limit`).

use std::time::Duration;

use bytes::Bytes;
use reqwest::Response;
use tokio::time::{Instant, timeout};

use super::error::Fault;
use super::headers::authority;
use crate::limits::STALL_LEAST;

/// One window of a body. Begins anew whenever enough has moved in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pace {
    window: Duration,
    waited: Duration,
    moved: u64,
}

impl Pace {
    /// A body that may stand still for `window`.
    pub(super) fn new(window: Duration) -> Self {
        Self { window, waited: Duration::ZERO, moved: 0 }
    }

    /// The network was waited for.
    pub(super) fn waited(&mut self, time: Duration) {
        self.waited = self.waited.saturating_add(time);
    }

    /// The network moved bytes.
    pub(super) fn moved(&mut self, bytes: usize) {
        self.moved = self.moved.saturating_add(bytes as u64);
        if self.moved >= STALL_LEAST {
            *self = Self::new(self.window);
        }
    }

    /// How much longer the network may be waited for.
    pub(super) fn left(&self) -> Duration {
        self.window.saturating_sub(self.waited)
    }

    /// The window is over.
    pub(super) fn stalled(&self, host: String) -> Fault {
        Fault::Stalled { host, limit: self.window, moved: self.moved }
    }

    /// The next chunk of a body, or the stall. What the connection says is the inner result.
    pub(super) async fn chunk(
        &mut self,
        body: &mut Response,
    ) -> Result<reqwest::Result<Option<Bytes>>, Fault> {
        let since = Instant::now();
        let Ok(outcome) = timeout(self.left(), body.chunk()).await else {
            return Err(self.stalled(authority(body.url())));
        };
        self.waited(since.elapsed());
        if let Ok(Some(chunk)) = &outcome {
            self.moved(chunk.len());
        }
        Ok(outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_byte_now_and_then_does_not_begin_a_new_window() {
        let mut pace = Pace::new(30 * SECOND);
        for second in 0..30 {
            assert_eq!(pace.left(), (30 - second) * SECOND);
            pace.waited(SECOND);
            pace.moved(1);
        }
        assert_eq!(pace.left(), Duration::ZERO);
        let text = pace.stalled("reg.lan".into()).to_string();
        assert_eq!(text, "`reg.lan` stalled: only 30 bytes moved in 30 s");
        let text = Pace::new(30 * SECOND).stalled("reg.lan".into()).to_string();
        assert_eq!(text, "`reg.lan` stalled: nothing moved for 30 s");
    }

    #[test]
    fn a_slow_line_is_no_stall() {
        let mut pace = Pace::new(30 * SECOND);
        for _ in 0..10_000 {
            pace.waited(SECOND);
            pace.moved(200);
            assert!(pace.left() > 5 * SECOND, "{pace:?}");
        }
    }
}
