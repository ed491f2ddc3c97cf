//! Who collects: one process at a time, by an object that all of them share.
//!
//! In: a bucket. Out: the lease, or that somebody else has it. What must hold: no safety rests on it. Two collections at
//! once would do the same work, and every removal has its own condition.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::super::Objects;
use super::super::hold::There;
use super::super::limits::{LEASE, LEASE_RENEW, SMALL_MAX};
use crate::store::{StoreError, random_hex};

/// Its key.
const KEY: &str = "collector";

/// What it says while nobody collects; its time is that of the last collection that came to its end.
const DONE: &str = "done";

/// And when the last one did not.
const FREE: &str = "free";

/// The right to collect.
pub(super) struct Lease {
    mine: Bytes,
    renewed: Instant,
}

fn text(state: &str) -> Result<Bytes, StoreError> {
    Ok(Bytes::from(format!("{state} {}\n", random_hex()?)))
}

impl Lease {
    /// Takes it, unless somebody has it.
    pub(super) async fn take(objects: &Objects) -> Result<Self, StoreError> {
        let there = objects.look(KEY, SMALL_MAX).await?;
        if let There::Object(said, meta) = &there {
            let held = !said.starts_with(DONE.as_bytes()) && !said.starts_with(FREE.as_bytes());
            if held && objects.age(meta).await? < LEASE {
                return Err(StoreError::Collecting);
            }
        }
        let (mine, renewed) = (text("held")?, Instant::now());
        match objects.write_over(KEY, &there, mine.clone()).await? {
            true => Ok(Self { mine, renewed }),
            false => Err(StoreError::Collecting),
        }
    }

    /// Says that the collection still runs, when it is time to.
    pub(super) async fn renew(&mut self, objects: &Objects) -> Result<(), StoreError> {
        if self.renewed.elapsed() < LEASE_RENEW {
            return Ok(());
        }
        self.say(objects, "held").await?;
        self.renewed = Instant::now();
        Ok(())
    }

    /// Gives it back.
    pub(super) async fn end(mut self, objects: &Objects, complete: bool) {
        let said = self.say(objects, if complete { DONE } else { FREE }).await;
        if let Err(error) = said {
            tracing::warn!(%error, "the next collection waits until this one counts as dead");
        }
    }

    async fn say(&mut self, objects: &Objects, state: &str) -> Result<(), StoreError> {
        let there = objects.look(KEY, SMALL_MAX).await?;
        let mine = matches!(&there, There::Object(said, _) if *said == self.mine);
        let next = text(state)?;
        if !mine || !objects.write_over(KEY, &there, next.clone()).await? {
            return Err(StoreError::Collecting);
        }
        self.mine = next;
        Ok(())
    }
}

impl Objects {
    /// Whether a collection of any replica came to its end within this time.
    ///
    /// # Errors
    /// The object store's.
    pub async fn collected_within(&self, time: Duration) -> Result<bool, StoreError> {
        Ok(match self.look(KEY, SMALL_MAX).await? {
            There::Object(said, meta) if said.starts_with(DONE.as_bytes()) => {
                self.age(&meta).await? < time
            }
            _ => false,
        })
    }
}
