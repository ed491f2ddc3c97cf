//! Passwords: verified slowly once, then remembered.
//!
//! In: a name and a password. Out: whether they belong together. What must hold: an unknown name takes as long as a known one; passwords are
//! not kept, only keyed hashes of those that were right; hashing never takes more than [`PLACES`] processors.

use std::collections::HashSet;
use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use ring::{digest, hmac};
use tokio::sync::Semaphore;

use super::attempts::Attempts;
use super::files::{self, Robot};
use super::{State, accounts};
use crate::server::random;

/// Passwords that are hashed at one time: the other processors go on serving.
const PLACES: usize = 2;

/// Logins that wait for that; the ones above are told to come back.
const WAITING_MAX: usize = 64;

/// Right passwords that are remembered; 32 bytes each.
const REMEMBERED_MAX: usize = 10_000;

/// The longest password that is looked at: bcrypt takes 72 bytes, robots' tokens have less.
const PASSWORD_MAX: usize = 1024;

/// Why nobody was logged in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refused {
    /// They do not belong together.
    Wrong,
    /// Nothing was looked at.
    Wait(Duration),
}

/// Verifies, and remembers.
pub(super) struct Login {
    key: hmac::Key,
    remembered: Mutex<HashSet<[u8; 32]>>,
    attempts: Attempts,
    places: Arc<Semaphore>,
    waiting: AtomicUsize,
}

impl Login {
    pub(super) fn new() -> io::Result<Self> {
        let key: [u8; 32] = random::bytes()?;
        Ok(Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, &key),
            remembered: Mutex::default(),
            attempts: Attempts::default(),
            places: Arc::new(Semaphore::new(PLACES)),
            waiting: AtomicUsize::new(0),
        })
    }

    /// Forgets who was right: the files changed.
    pub(super) fn forget(&self) {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Whether the password is that of the name; `true` when that was not known before.
    pub(super) async fn verify(
        &self,
        state: &Arc<State>,
        name: &str,
        password: &str,
        address: IpAddr,
    ) -> Result<bool, Refused> {
        if password.len() > PASSWORD_MAX || files::check_name(name).is_err() {
            // Counted as that of the one name that nobody has.
            self.may_try("", address)?;
            self.attempts.failed("", address, Instant::now());
            return Err(Refused::Wrong);
        }
        let proof = self.proof(state, name, password);
        if self.remembers(&proof) {
            return Ok(false);
        }
        self.may_try(name, address)?;
        if let Some(robot) = state.robots.get(name)
            && digest::digest(&digest::SHA256, password.as_bytes()).as_ref() == robot.sha256
        {
            self.attempts.succeeded(name, address);
            self.remember(proof);
            return Ok(true);
        }
        let waiting = Waiting::enter(&self.waiting)?;
        let place = Arc::clone(&self.places).acquire_owned().await;
        drop(waiting);
        // Another connection of the same client may have been faster, or another guess.
        if self.remembers(&proof) {
            return Ok(false);
        }
        self.may_try(name, address)?;
        let (known, hash) = match state.users.get(name) {
            Some(hash) => (true, hash.clone()),
            None => (false, nobody(state)),
        };
        let password = password.to_owned();
        let hashing = tokio::task::spawn_blocking(move || {
            let right = bcrypt::verify(&password, &hash).unwrap_or(false);
            // Held until the work is done, also when the client is gone by then.
            drop(place);
            right
        });
        let right = hashing.await.unwrap_or(false);
        if right && known {
            self.attempts.succeeded(name, address);
            self.remember(proof);
            return Ok(true);
        }
        self.attempts.failed(name, address, Instant::now());
        Err(Refused::Wrong)
    }

    fn may_try(&self, name: &str, address: IpAddr) -> Result<(), Refused> {
        match self.attempts.wait(name, address, Instant::now()) {
            Some(time) => Err(Refused::Wait(time)),
            None => Ok(()),
        }
    }

    /// What stands for a right password in memory. With the generation, one that was looked at while the files changed is
    /// of no use.
    fn proof(&self, state: &State, name: &str, password: &str) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(&state.generation.to_be_bytes());
        context.update(name.as_bytes());
        // No name has one.
        context.update(&[0]);
        context.update(password.as_bytes());
        let mut proof = [0; 32];
        proof.copy_from_slice(context.sign().as_ref());
        proof
    }

    fn remembers(&self, proof: &[u8; 32]) -> bool {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner).contains(proof)
    }

    fn remember(&self, proof: [u8; 32]) {
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        if remembered.len() >= REMEMBERED_MAX {
            remembered.clear();
        }
        remembered.insert(proof);
    }
}

/// Whether a robot's token has ended.
pub(super) fn has_ended(robot: &Robot) -> bool {
    robot.expires.is_some_and(|at| at <= Timestamp::now())
}

/// A hash that no password has, as costly as those of the users.
fn nobody(state: &State) -> String {
    let costs = state.users.values().filter_map(|hash| files::cost(hash).ok());
    format!("$2b${:02}${}", costs.max().unwrap_or(accounts::COST), ".".repeat(53))
}

/// A place in the queue, given back when it is dropped: also by a client that goes away.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn enter(count: &'a AtomicUsize) -> Result<Self, Refused> {
        if count.fetch_add(1, Ordering::Relaxed) >= WAITING_MAX {
            count.fetch_sub(1, Ordering::Relaxed);
            return Err(Refused::Wait(Duration::from_secs(1)));
        }
        Ok(Self(count))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
