//! Who hashes a password next: hashing is slow on purpose, so somebody always waits when somebody floods.
//!
//! In: an address, and whether the name logged in from there before. Out: a turn, in the end. What must hold: an address has two passwords in
//! the line at most, however many it sends, so that others wait for two and not for all of them; who is known from there waits for neither of
//! those that guess.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::attempts::block;

/// Passwords that are hashed at one time: the other processors go on serving.
const PLACES: usize = 2;

/// One more for names that logged in from their address before.
const RESERVED: usize = 1;

/// Passwords of one address that are in the line at one time: as many as there are places, so that a proxy, behind which everybody
/// has one address, is as fast as many addresses.
const LANE: usize = PLACES;

/// Logins of one address that wait; the ones above are told to come back. At a quarter of a second each, these take eight seconds.
pub(super) const WAITING_MAX: usize = 64;

/// Those of one address who are known, or who are not.
type Key = (IpAddr, bool);

struct Lane {
    turns: Arc<Semaphore>,
    waiting: usize,
}

/// The line.
pub(super) struct Queue {
    places: Arc<Semaphore>,
    reserved: Arc<Semaphore>,
    /// As many at most as there are connections.
    lanes: Mutex<HashMap<Key, Lane>>,
}

/// The right to hash a password, given back when it is dropped.
pub(super) struct Turn {
    _place: OwnedSemaphorePermit,
    _waited: Waiting,
}

/// Somebody in a lane, until it is dropped: also when a client goes away.
struct Waiting {
    queue: Arc<Queue>,
    key: Key,
    turn: Option<OwnedSemaphorePermit>,
}

impl Queue {
    pub(super) fn new() -> Self {
        Self {
            places: Arc::new(Semaphore::new(PLACES)),
            reserved: Arc::new(Semaphore::new(RESERVED)),
            lanes: Mutex::default(),
        }
    }

    fn lanes(&self) -> MutexGuard<'_, HashMap<Key, Lane>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a turn; `None` when too many of this address do.
    pub(super) async fn enter(self: Arc<Self>, address: IpAddr, proven: bool) -> Option<Turn> {
        let key = (block(address), proven);
        let turns = {
            let mut lanes = self.lanes();
            let new = || Lane { turns: Arc::new(Semaphore::new(LANE)), waiting: 0 };
            let lane = lanes.entry(key).or_insert_with(new);
            if lane.waiting >= WAITING_MAX {
                return None;
            }
            lane.waiting += 1;
            Arc::clone(&lane.turns)
        };
        let (places, reserved) = (Arc::clone(&self.places), Arc::clone(&self.reserved));
        let mut waited = Waiting { queue: self, key, turn: None };
        // Both semaphores are never closed, and give turns in the order of asking.
        waited.turn = turns.acquire_owned().await.ok();
        let place = match proven {
            true => tokio::select! {
                biased;
                place = reserved.acquire_owned() => place,
                place = places.acquire_owned() => place,
            },
            false => places.acquire_owned().await,
        };
        Some(Turn { _place: place.ok()?, _waited: waited })
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.turn = None;
        let mut lanes = self.queue.lanes();
        if let Some(lane) = lanes.get_mut(&self.key) {
            lane.waiting -= 1;
            if lane.waiting == 0 {
                lanes.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    #[tokio::test]
    async fn a_flood_from_one_address_takes_its_own_turns_only() {
        let queue = Arc::new(Queue::new());
        let enter = |last, proven| Box::pin(Arc::clone(&queue).enter(ip(last), proven));
        let mut flood: Vec<_> = (0..WAITING_MAX).map(|_| enter(1, false)).collect();
        let mut running: Vec<_> =
            flood.iter_mut().filter_map(|one| one.now_or_never().flatten()).collect();
        assert_eq!(running.len(), PLACES);
        let flood = flood.split_off(PLACES);
        // One more of it is refused, and others are not.
        assert!(enter(1, false).now_or_never().unwrap().is_none());
        let mut other = enter(2, false);
        assert!(other.as_mut().now_or_never().is_none());
        // Who is known there does not wait for any of them, and not in their lane either.
        let known = enter(1, true).now_or_never().flatten().unwrap();
        assert!(enter(3, true).now_or_never().is_none());
        drop(known);
        assert!(enter(3, true).now_or_never().flatten().is_some());
        // A turn that ends is the other's, before all that wait of the flood.
        running.pop();
        let turn = other.now_or_never().flatten();
        assert!(turn.is_some());
        drop((turn, running, flood));
        assert!(queue.lanes().is_empty());
    }
}
