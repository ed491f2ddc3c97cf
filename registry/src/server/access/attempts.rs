//! Guessing passwords is slow: failed logins are counted by address and by name.
//!
//! In: who tries, and whether it worked. Out: how long to wait first. What must hold: memory is bounded whatever is tried; a person with
//! the right password gets in while somebody else guesses at their name: the wait for a name is short, and an address from which the name logged in
//! before does not have it.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Failures of one address before it has to wait: a person tries some passwords, and a node has several programs.
const FREE_ADDRESS: u32 = 10;
/// Failures under one name before those who try it have to wait.
const FREE_NAME: u32 = 20;
/// The longest wait of an address.
const ADDRESS_WAIT: Duration = Duration::from_secs(60);
/// The longest wait for a name: 8,640 guesses a day.
const NAME_WAIT: Duration = Duration::from_secs(10);
/// Failures older than this are forgotten.
const MEMORY: Duration = Duration::from_secs(15 * 60);
/// Entries that are kept; about 4 MiB.
const ENTRIES_MAX: usize = 20_000;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Who {
    Address(IpAddr),
    Name(String),
}

#[derive(Debug)]
struct Count {
    failures: u32,
    last: Instant,
    until: Instant,
}

#[derive(Debug, Default)]
struct Kept {
    counts: HashMap<Who, Count>,
    /// Names that logged in, with the address.
    proven: HashSet<(String, IpAddr)>,
}

/// Failed logins.
#[derive(Debug, Default)]
pub(super) struct Attempts(Mutex<Kept>);

impl Attempts {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long this one has to wait before the next try.
    pub(super) fn wait(&self, name: &str, address: IpAddr, now: Instant) -> Option<Duration> {
        let address = block(address);
        let kept = self.kept();
        let left = |who: &Who| {
            let count = kept.counts.get(who)?;
            count.until.checked_duration_since(now).filter(|left| !left.is_zero())
        };
        let of_address = left(&Who::Address(address));
        if kept.proven.contains(&(name.to_owned(), address)) {
            return of_address;
        }
        of_address.max(left(&Who::Name(name.to_owned())))
    }

    /// Whether the name logged in from this address before.
    pub(super) fn is_proven(&self, name: &str, address: IpAddr) -> bool {
        self.kept().proven.contains(&(name.to_owned(), block(address)))
    }

    /// Counts a failure.
    pub(super) fn failed(&self, name: &str, address: IpAddr, now: Instant) {
        let mut kept = self.kept();
        if kept.counts.len() >= ENTRIES_MAX {
            kept.counts.retain(|_, count| now.duration_since(count.last) < MEMORY);
        }
        if kept.counts.len() >= ENTRIES_MAX {
            // Somebody with many addresses tries many names: what an address did is the better guard.
            kept.counts.retain(|who, _| matches!(who, Who::Address(_)));
        }
        if kept.counts.len() >= ENTRIES_MAX {
            kept.counts.clear();
        }
        for (who, free, longest) in [
            (Who::Address(block(address)), FREE_ADDRESS, ADDRESS_WAIT),
            (Who::Name(name.to_owned()), FREE_NAME, NAME_WAIT),
        ] {
            let count =
                kept.counts.entry(who).or_insert(Count { failures: 0, last: now, until: now });
            if now.duration_since(count.last) >= MEMORY {
                count.failures = 0;
            }
            count.last = now;
            count.failures = count.failures.saturating_add(1);
            if let Some(above) = count.failures.checked_sub(free) {
                let wait = Duration::from_secs(1 << above.min(16));
                count.until = now + wait.min(longest);
            }
        }
    }

    /// A right password.
    pub(super) fn succeeded(&self, name: &str, address: IpAddr) {
        let address = block(address);
        let mut kept = self.kept();
        // Only the address: somebody else may be guessing at the name.
        kept.counts.remove(&Who::Address(address));
        if kept.proven.len() >= ENTRIES_MAX {
            kept.proven.clear();
        }
        kept.proven.insert((name.to_owned(), address));
    }
}

/// One customer of a provider has 2^64 addresses of version 6.
pub(in crate::server) fn block(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(six) => {
            let mut octets = six.octets();
            octets[8..].fill(0);
            IpAddr::from(octets)
        }
        four => four,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    #[test]
    fn one_address_waits_longer_each_time_and_others_do_not() {
        let attempts = Attempts::default();
        let mut now = Instant::now();
        for _ in 0..FREE_ADDRESS - 1 {
            attempts.failed("alice", ip(1), now);
            assert_eq!(attempts.wait("alice", ip(1), now), None);
        }
        for wait in [1, 2, 4, 8, 16, 32, 60, 60] {
            attempts.failed("alice", ip(1), now);
            let wait = Duration::from_secs(wait);
            assert_eq!(attempts.wait("bob", ip(1), now), Some(wait));
            now += wait;
            assert_eq!(attempts.wait("bob", ip(1), now), None);
        }
        assert_eq!(attempts.wait("bob", ip(2), now), None);
        attempts.succeeded("bob", ip(1));
        attempts.failed("bob", ip(1), now);
        assert_eq!(attempts.wait("bob", ip(1), now), None);
    }

    #[test]
    fn a_name_under_attack_lets_its_owner_in() {
        let attempts = Attempts::default();
        let now = Instant::now();
        attempts.succeeded("alice", ip(200));
        for n in 0..100 {
            attempts.failed("alice", ip(n), now);
        }
        assert_eq!(attempts.wait("alice", ip(199), now), Some(NAME_WAIT));
        assert_eq!(attempts.wait("alice", ip(200), now), None);
        assert_eq!(attempts.wait("alice", ip(199), now + NAME_WAIT), None);
        // Forgotten.
        let later = now + MEMORY;
        attempts.failed("alice", ip(150), later);
        assert_eq!(attempts.wait("alice", ip(199), later), None);
    }

    #[test]
    fn memory_is_bounded_and_a_network_is_one_address() {
        let attempts = Attempts::default();
        let now = Instant::now();
        for n in 0..30_000_u32 {
            let octets = n.to_be_bytes();
            attempts.failed(
                &n.to_string(),
                IpAddr::from([10, octets[1], octets[2], octets[3]]),
                now,
            );
        }
        assert!(attempts.kept().counts.len() <= ENTRIES_MAX + 2);
        let six = |last: u16| IpAddr::from([0xfd00, 0, 0, 1, 0, 0, 0, last]);
        for n in 0..FREE_ADDRESS {
            attempts.failed("x", six(u16::try_from(n).unwrap()), now);
        }
        assert!(attempts.wait("y", six(999), now).is_some());
    }
}
