//! Passwords: verified slowly once, then remembered.
//!
//! In: a name and a password. Out: whether they belong together. What must hold: an unknown name takes as long as a known one; passwords are
//! not kept, only keyed hashes of those that were right; a password that was right goes on without a wait until it is changed, whatever
//! else changes and whoever guesses.

use std::collections::HashSet;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use ring::{digest, hmac};

use super::attempts::Attempts;
use super::files::{self, Robot};
use super::queue::Queue;
use super::{State, accounts};
use crate::server::random;

/// Right passwords that are remembered; 32 bytes each.
const REMEMBERED_MAX: usize = 10_000;

/// The longest text that is compared with a robot's token, which has less.
const PASSWORD_MAX: usize = 1024;

/// The bytes that bcrypt looks at: what follows would be ignored.
const BCRYPT_MAX: usize = 72;

/// Why nobody was logged in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refused {
    /// They do not belong together.
    Wrong,
    /// Nothing was looked at: too many were wrong.
    Wait(Duration),
    /// Nothing was looked at: too many from this address wait.
    Full,
}

/// Verifies, and remembers.
pub(super) struct Login {
    key: hmac::Key,
    remembered: Mutex<HashSet<[u8; 32]>>,
    attempts: Attempts,
    queue: Arc<Queue>,
}

impl Login {
    pub(super) fn new() -> io::Result<Self> {
        let key: [u8; 32] = random::bytes()?;
        Ok(Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, &key),
            remembered: Mutex::default(),
            attempts: Attempts::default(),
            queue: Arc::new(Queue::new()),
        })
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
        // What bcrypt would cut off, or take for the repetition of a shorter one.
        if password.len() > BCRYPT_MAX || password.contains('\0') {
            self.attempts.failed(name, address, Instant::now());
            return Err(Refused::Wrong);
        }
        let proven = self.attempts.is_proven(name, address);
        let turn = Arc::clone(&self.queue).enter(address, proven).await.ok_or(Refused::Full)?;
        // Another connection of the same client may have been faster, or another guess.
        if self.remembers(&proof) {
            return Ok(false);
        }
        self.may_try(name, address)?;
        let (shared, user, password) = (Arc::clone(state), name.to_owned(), password.to_owned());
        let hashing = tokio::task::spawn_blocking(move || {
            let right = verify(&shared, &user, &password);
            // Held until the work is done, also when the client is gone by then.
            drop(turn);
            right
        });
        if hashing.await.unwrap_or(false) {
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

    /// What stands for a right password in memory. With what the files have of the name: another password, or none any
    /// more, and the old one is of no use.
    fn proof(&self, state: &State, name: &str, password: &str) -> [u8; 32] {
        let hash = state.users.get(name).map(String::as_bytes).unwrap_or_default();
        let token = state.robots.get(name).map(|robot| robot.sha256).unwrap_or_default();
        let mut context = hmac::Context::with_key(&self.key);
        // Neither names nor hashes have a zero byte.
        for part in [name.as_bytes(), &[0], hash, &[0], &token, password.as_bytes()] {
            context.update(part);
        }
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

/// Whether the password is that of the user. What is wrong takes the time of the costliest hash of the file, whose-ever name it was.
fn verify(state: &State, name: &str, password: &str) -> bool {
    let costs = state.users.values().filter_map(|hash| files::cost(hash).ok());
    let highest = costs.max().unwrap_or(accounts::COST);
    let hash = state.users.get(name);
    if hash.is_some_and(|hash| bcrypt::verify(password, hash).unwrap_or(false)) {
        return true;
    }
    for cost in left(hash.and_then(|hash| files::cost(hash).ok()), highest) {
        // Never true, and never left out.
        std::hint::black_box(bcrypt::verify(password, &nobody(cost)).unwrap_or(false));
    }
    false
}

/// The costs that are still to be spent after a hash of `spent`, so that all is as much as one of `highest`: each cost is
/// twice the work of the one below it.
fn left(spent: Option<u32>, highest: u32) -> std::ops::Range<u32> {
    match spent {
        None => highest..highest + 1,
        Some(spent) => spent..highest,
    }
}

/// A hash that no password has.
fn nobody(cost: u32) -> String {
    format!("$2b${cost:02}${}", ".".repeat(53))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::access::token::Signer;

    fn state(dir: &std::path::Path, users: &str) -> Arc<State> {
        fs_err::write(dir.join(super::super::USERS), users).unwrap();
        Arc::new(State::load(dir, &Signer::open(dir, true).unwrap()).unwrap())
    }

    fn line(name: &str, password: &[u8], cost: u32) -> String {
        let salt = [7; 16];
        format!("{name}:{}\n", bcrypt::hash_with_salt(password, cost, salt).unwrap())
    }

    const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn what_is_wrong_costs_the_same_for_every_name() {
        let work = |cost: u32| 1_u64 << cost;
        for (spent, highest) in [(None, 12), (Some(5), 12), (Some(12), 12), (Some(4), 15)] {
            let all: u64 = spent.into_iter().chain(left(spent, highest)).map(work).sum();
            assert_eq!(all, work(highest), "{spent:?} of {highest}");
        }
        assert!(bcrypt::verify("x", &nobody(4)).is_ok_and(|right| !right));
    }

    #[tokio::test]
    async fn passwords_that_bcrypt_would_shorten_are_wrong() {
        let dir = tempfile::tempdir().unwrap();
        let long = "x".repeat(72);
        let text = line("long", long.as_bytes(), 4) + &line("short", b"abc", 4);
        let (state, login) = (state(dir.path(), &text), Login::new().unwrap());
        for (name, password, right) in [
            ("long", long.clone(), true),
            ("long", format!("{long}y"), false),
            ("short", "abc".to_owned(), true),
            // The same to bcrypt, which repeats the password with a zero byte after it.
            ("short", "abc\0abc".to_owned(), false),
            ("short", "abc\0".to_owned(), false),
        ] {
            let outcome = login.verify(&state, name, &password, HOME).await;
            assert_eq!(outcome.is_ok(), right, "{name}: {password:?}");
        }
    }

    #[tokio::test]
    async fn a_right_password_is_remembered_until_it_is_another() {
        let dir = tempfile::tempdir().unwrap();
        let login = Login::new().unwrap();
        let before = state(dir.path(), &line("a", b"one", 4));
        assert_eq!(login.verify(&before, "a", "one", HOME).await, Ok(true));
        let with_others = state(dir.path(), &(line("a", b"one", 4) + &line("b", b"x", 4)));
        assert_eq!(login.verify(&with_others, "a", "one", HOME).await, Ok(false));
        let changed = state(dir.path(), &line("a", b"two", 4));
        assert_eq!(login.verify(&changed, "a", "one", HOME).await, Err(Refused::Wrong));
        assert_eq!(login.verify(&changed, "a", "two", HOME).await, Ok(true));
        let gone = state(dir.path(), "");
        assert_eq!(login.verify(&gone, "a", "two", HOME).await, Err(Refused::Wrong));
    }
}
