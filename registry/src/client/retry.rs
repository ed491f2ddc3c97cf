//! When to try again, and after how long.
//!
//! In: faults. Out: a wait, or the end. What must hold: only passing faults are retried, never 401, 403
//! or 404; TLS faults never; a host that cannot be reached at all is given up soon; waits are random
//! (full jitter), so that many clients do not come back together.

use std::time::Duration;

use super::counters::Counters;
use super::error::{Failed, Fault};
use crate::limits::RETRY_AFTER_MAX;

/// How often and how fast failed requests are tried again.
#[derive(Clone, Copy, Debug)]
pub struct RetryPolicy {
    /// Further tries after the first; 0 turns retries off.
    pub times: u32,
    /// A fixed wait; `None` is exponential with full jitter, from 0.2 s to 20 s.
    pub delay: Option<Duration>,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { times: 5, delay: None }
    }
}

/// A wait above what we would choose ourselves is told: the registry asked for it, and nothing else moves meanwhile.
const TOLD: Duration = Duration::from_secs(20);

/// Further tries at a host that was never reached: a wrong name should not cost a minute.
const FIRST_CONTACT: u32 = 2;

/// The tries of one operation.
pub(super) struct Tries<'a> {
    policy: RetryPolicy,
    counters: &'a Counters,
    first_contact: bool,
    failed: u32,
    total: u32,
}

impl<'a> Tries<'a> {
    pub(super) fn new(policy: RetryPolicy, counters: &'a Counters) -> Self {
        Self { policy, counters, first_contact: false, failed: 0, total: 0 }
    }

    /// For the first request to a host.
    pub(super) fn first_contact(policy: RetryPolicy, counters: &'a Counters) -> Self {
        Self { first_contact: true, ..Self::new(policy, counters) }
    }

    /// Goes on with tries that were spent before, for an operation in several calls.
    pub(super) fn resumed(
        policy: RetryPolicy,
        counters: &'a Counters,
        failed: u32,
        total: u32,
    ) -> Self {
        Self { failed, total, ..Self::new(policy, counters) }
    }

    /// Tries that failed since the last progress, and all of them.
    pub(super) fn spent(&self) -> (u32, u32) {
        (self.failed, self.total)
    }

    /// The operation moved on: what failed before does not count any more.
    pub(super) fn progress(&mut self) {
        self.failed = 0;
    }

    /// This fault ends the operation.
    pub(super) fn end(&self, fault: Fault) -> Failed {
        Failed { fault, tries: self.total + 1, way: None }
    }

    /// Waits before the next try, or ends the operation with this fault.
    pub(super) async fn again(&mut self, fault: Fault) -> Result<(), Failed> {
        let Some(wait) = self.next_wait(&fault) else { return Err(self.end(fault)) };
        self.total += 1;
        self.counters.retry();
        if wait > TOLD {
            tracing::warn!("{fault}: trying again in {} s", wait.as_secs());
        } else {
            tracing::debug!(%fault, wait_ms = wait.as_millis(), "trying again");
        }
        tokio::time::sleep(wait).await;
        Ok(())
    }

    fn next_wait(&mut self, fault: &Fault) -> Option<Duration> {
        if !fault.is_passing() {
            return None;
        }
        let unreachable = matches!(fault, Fault::UnknownHost { .. } | Fault::Connect { .. });
        let short = self.first_contact && unreachable;
        let times = if short { self.policy.times.min(FIRST_CONTACT) } else { self.policy.times };
        if self.failed >= times {
            return None;
        }
        self.failed += 1;
        let wait = match self.policy.delay {
            Some(delay) => delay,
            None => {
                let cap = if short { 500 } else { 20_000 };
                let ceiling = (200_u64 << self.failed.min(16)).min(cap);
                Duration::from_millis(random_below(ceiling))
            }
        };
        let asked = match fault {
            Fault::Busy { retry_after, .. } | Fault::Answered { retry_after, .. } => {
                retry_after.unwrap_or_default()
            }
            _ => Duration::ZERO,
        };
        Some(wait.max(asked.min(RETRY_AFTER_MAX)))
    }
}

/// A random number below `ceiling`; the middle when the system has no randomness.
fn random_below(ceiling: u64) -> u64 {
    use ring::rand::SecureRandom;
    let mut bytes = [0; 8];
    if ring::rand::SystemRandom::new().fill(&mut bytes).is_err() {
        return ceiling / 2;
    }
    u64::from_le_bytes(bytes) % ceiling.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::TlsCause;

    fn busy(seconds: Option<u64>) -> Fault {
        let retry_after = seconds.map(Duration::from_secs);
        Fault::Busy { status: 429, detail: String::new(), retry_after }
    }

    #[test]
    fn waits_are_bounded_and_honour_retry_after() {
        let counters = Counters::default();
        let mut tries = Tries::new(RetryPolicy { times: 60, delay: None }, &counters);
        for _ in 0..60 {
            assert!(tries.next_wait(&busy(None)).unwrap() <= Duration::from_secs(20));
        }
        assert!(tries.next_wait(&busy(None)).is_none());
        tries.progress();
        assert!(tries.next_wait(&busy(Some(40))).unwrap() >= Duration::from_secs(40));
        assert_eq!(tries.next_wait(&busy(Some(9999))).unwrap(), RETRY_AFTER_MAX);
    }

    #[test]
    fn what_does_not_pass_is_not_retried() {
        let counters = Counters::default();
        let mut tries = Tries::new(RetryPolicy::default(), &counters);
        let not_found = Fault::NotFound { codes: vec![], detail: String::new() };
        assert!(tries.next_wait(&not_found).is_none());
        let tls = Fault::Tls { host: "x".into(), detail: "y".into(), cause: TlsCause::Other };
        assert!(tries.next_wait(&tls).is_none());
    }

    #[test]
    fn an_unreachable_host_is_given_up_soon_on_first_contact_only() {
        let counters = Counters::default();
        let fault = Fault::Connect { host: "x".into(), detail: "refused".into() };
        let mut first = Tries::first_contact(RetryPolicy::default(), &counters);
        let mut later = Tries::new(RetryPolicy::default(), &counters);
        let waits = |tries: &mut Tries<'_>| {
            std::iter::from_fn(|| tries.next_wait(&fault)).collect::<Vec<_>>()
        };
        let short = waits(&mut first);
        assert_eq!(short.len(), 2);
        assert!(short.iter().all(|wait| *wait < Duration::from_millis(500)));
        assert_eq!(waits(&mut later).len(), 5);
    }
}
