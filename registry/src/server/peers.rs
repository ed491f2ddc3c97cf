//! Connections that are open, by address: nobody keeps the others out by holding all of them.
//!
//! In: connections as they come, what each is doing. Out: who may stay. What must hold: an address has a share; when all places are taken,
//! who does nothing makes room, first who never asked for anything and has the most; a request under way is never cut for another.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio_util::sync::CancellationToken;

use super::access::block;
use super::limits::{CONNECTIONS_SHARE, FIRST_TIME, GREETING_TIME};

/// All connections.
#[derive(Default)]
pub(super) struct Peers {
    open: Mutex<HashMap<u64, Arc<Peer>>>,
    number: AtomicU64,
    dropped: AtomicU64,
}

/// One of them, as everybody sees it.
struct Peer {
    address: IpAddr,
    doing: Mutex<Doing>,
    leave: CancellationToken,
}

#[derive(Clone, Copy)]
struct Doing {
    /// Requests under way.
    running: u32,
    /// Whether there ever was one.
    asked: bool,
    /// Since when it is so.
    since: Instant,
}

/// A connection, which counts until it is dropped.
pub(super) struct Guest {
    peers: Arc<Peers>,
    number: u64,
    peer: Arc<Peer>,
}

/// A request under way, until it is dropped.
pub(super) struct Busy(Arc<Peer>);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Peers {
    /// Lets a connection in; `None` when its address has its share, and all of that is at work. Loopback has no share: there it
    /// is mostly one proxy for everybody.
    pub(super) fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Guest> {
        let address = block(address);
        let now = Instant::now();
        let mut open = lock(&self.open);
        let own = open.values().filter(|peer| peer.address == address && peer.stays()).count();
        if own >= CONNECTIONS_SHARE
            && !address.is_loopback()
            && !self.drop_one(&open, now, |peer| peer.address == address)
        {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        let doing = Doing { running: 0, asked: false, since: now };
        let (doing, leave) = (Mutex::new(doing), CancellationToken::new());
        let peer = Arc::new(Peer { address, doing, leave });
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        open.insert(number, Arc::clone(&peer));
        Some(Guest { peers: Arc::clone(self), number, peer })
    }

    /// Asks one that does nothing to leave, but for the newest, which is who needs the room; `false` when all are at work.
    pub(super) fn make_room(&self, newest: &Guest, now: Instant) -> bool {
        self.drop_one(&lock(&self.open), now, |peer| !std::ptr::eq(peer, &*newest.peer))
    }

    /// Connections that were dropped or not taken.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    fn drop_one(
        &self,
        open: &HashMap<u64, Arc<Peer>>,
        now: Instant,
        may: impl Fn(&Peer) -> bool,
    ) -> bool {
        let mut counts: HashMap<IpAddr, usize> = HashMap::new();
        for peer in open.values() {
            *counts.entry(peer.address).or_default() += 1;
        }
        let idle = open.values().filter(|peer| peer.stays() && may(peer)).filter_map(|peer| {
            let doing = *lock(&peer.doing);
            let idle = now.saturating_duration_since(doing.since);
            // One that has only just come may be about to ask.
            let silent = !doing.asked && idle >= GREETING_TIME;
            let rank = (silent, counts.get(&peer.address), idle);
            (doing.running == 0).then_some((rank, peer))
        });
        let Some((_, peer)) = idle.max_by_key(|(rank, _)| *rank) else { return false };
        peer.leave.cancel();
        self.dropped.fetch_add(1, Ordering::Relaxed);
        true
    }
}

impl Peer {
    fn stays(&self) -> bool {
        !self.leave.is_cancelled()
    }
}

impl Guest {
    /// Cancelled when it has to leave, as soon as no request is under way.
    pub(super) fn leave(&self) -> CancellationToken {
        self.peer.leave.clone()
    }

    /// Marks a request.
    pub(super) fn busy(&self) -> Busy {
        let mut doing = lock(&self.peer.doing);
        doing.running += 1;
        doing.asked = true;
        Busy(Arc::clone(&self.peer))
    }

    /// Comes when it has to leave, or its time for a first request is up, and there was none.
    pub(super) async fn unheard(&self) {
        tokio::select! {
            () = self.peer.leave.cancelled() => {}
            () = tokio::time::sleep(FIRST_TIME) => {}
        }
        if lock(&self.peer.doing).asked {
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        lock(&self.peers.open).remove(&self.number);
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let mut doing = lock(&self.0.doing);
        doing.running = doing.running.saturating_sub(1);
        doing.since = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    fn staying(guests: &[Guest]) -> usize {
        guests.iter().filter(|guest| guest.peer.stays()).count()
    }

    #[test]
    fn an_address_has_a_share_and_what_it_leaves_idle_goes_first() {
        let peers = Arc::new(Peers::default());
        let flood: Vec<Guest> =
            (0..CONNECTIONS_SHARE + 10).map(|_| peers.enter(ip(1)).unwrap()).collect();
        // Of its own idle ones the oldest went.
        assert_eq!(staying(&flood), CONNECTIONS_SHARE);
        assert!(flood[..10].iter().all(|guest| !guest.peer.stays()));
        let working: Vec<Busy> = flood.iter().map(Guest::busy).collect();
        assert!(peers.enter(ip(1)).is_none());
        assert!(peers.enter(ip(2)).is_some());
        // A proxy of this machine is everybody.
        let local = IpAddr::from([127, 0, 0, 1]);
        let proxy: Vec<Guest> =
            (0..CONNECTIONS_SHARE + 10).map(|_| peers.enter(local).unwrap()).collect();
        assert_eq!(staying(&proxy), proxy.len());
        drop((working, flood, proxy));
        assert!(lock(&peers.open).is_empty());
    }

    #[test]
    fn who_makes_room() {
        let peers = Arc::new(Peers::default());
        let enter = |last| peers.enter(ip(last)).unwrap();
        let (working, asked, silent) = (enter(1), enter(1), enter(1));
        let also = enter(4);
        let many = [enter(2), enter(2), enter(2), enter(2)];
        let busy = working.busy();
        drop(asked.busy());
        drop(also.busy());
        let newest = enter(3);
        let now = Instant::now() + GREETING_TIME;
        // Who has only just come is as one who asked: the most of one address go first.
        assert!(peers.make_room(&newest, Instant::now()) && silent.peer.stays());
        // Who never asked, and of these who has the most; then who asked; never who works.
        for left in (0..3).rev() {
            assert!(peers.make_room(&newest, now));
            assert_eq!(staying(&many), left);
            if left == 1 {
                assert!(silent.peer.stays());
            }
        }
        assert!(peers.make_room(&newest, now) && !silent.peer.stays() && asked.peer.stays());
        assert!(peers.make_room(&newest, now) && !asked.peer.stays());
        assert!(peers.make_room(&newest, now) && !also.peer.stays());
        assert!(!peers.make_room(&newest, now) && newest.peer.stays());
        drop(busy);
        assert!(peers.make_room(&newest, now) && !working.peer.stays());
        assert_eq!(peers.dropped(), 8);
    }
}
