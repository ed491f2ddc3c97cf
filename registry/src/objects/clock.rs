//! The clock of the object store: the ages of its objects are told by it, and ours may be wrong.
//!
//! In: a bucket. Out: the time there. What must hold: the time that is told is never before the store's by more than an
//! object's time is coarse; where it is wrong it is later, which makes objects older than they are, and so they are
//! written anew a little early.

use std::time::{Duration, Instant, SystemTime};

use tokio::sync::Mutex;

use super::bucket::Bucket;
use super::limits::{CLOCK_TIME, SMALL_MAX};
use crate::store::{StoreError, random_hex};

/// Where the store is asked.
pub(super) const ASKED: &str = "clock";

/// The store's time, asked now and then.
#[derive(Default)]
pub(super) struct Clock(Mutex<Option<Reading>>);

#[derive(Clone, Copy)]
struct Reading {
    store: SystemTime,
    running: Instant,
    wall: SystemTime,
}

impl Reading {
    /// Both clocks: one stands still while the machine sleeps, the other may be set.
    fn since(&self) -> Duration {
        self.running.elapsed().max(self.wall.elapsed().unwrap_or_default())
    }
}

impl Clock {
    /// The time now.
    pub(super) async fn now(&self, bucket: &Bucket) -> Result<SystemTime, StoreError> {
        let mut last = self.0.lock().await;
        let reading = match *last {
            Some(reading) if reading.since() < CLOCK_TIME => reading,
            _ => {
                let (running, wall) = (Instant::now(), SystemTime::now());
                let reading = Reading { store: ask(bucket).await?, running, wall };
                *last = Some(reading);
                reading
            }
        };
        Ok(reading.store + reading.since())
    }
}

/// Asks the store: the time of an object that is written now.
pub(super) async fn ask(bucket: &Bucket) -> Result<SystemTime, StoreError> {
    let key = format!("{ASKED}/{}", random_hex()?);
    bucket.mark(&key).await?;
    let got = bucket.get_with_meta(&key, SMALL_MAX).await?;
    bucket.discard(&key).await?;
    Ok(got.map_or(SystemTime::UNIX_EPOCH, |(_, meta)| meta.last_modified.into()))
}
