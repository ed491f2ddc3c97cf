//! Whether the bucket answers, for those who ask how the registry is.
//!
//! In: nothing. Out: why it does not, or nothing. What must hold: one small read at a time and every few seconds, however many
//! ask; none of them waits longer than the limit.

use std::time::Instant;

use tokio::sync::Mutex;

use super::limits::{HEALTH_PERIOD, HEALTH_TIME, SMALL_MAX};
use super::{Objects, keys};

/// What was found last, and when.
#[derive(Default)]
pub(super) struct Health(Mutex<Option<(Instant, Option<String>)>>);

impl Objects {
    /// Why nothing can be read from the bucket; `None` when it can.
    pub async fn problem(&self) -> Option<String> {
        let mut last = self.health.0.lock().await;
        if let Some((at, problem)) = &*last
            && at.elapsed() < HEALTH_PERIOD
        {
            return problem.clone();
        }
        let read = self.bucket.get(keys::VERSION, SMALL_MAX);
        let problem = match tokio::time::timeout(HEALTH_TIME, read).await {
            Ok(Ok(Some(_))) => None,
            Ok(Ok(None)) => Some("the object with the version of the registry is gone".to_owned()),
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some(format!("no answer within {} s", HEALTH_TIME.as_secs())),
        };
        if let Some(problem) = &problem {
            tracing::warn!(problem, "the object storage does not answer as it should");
        }
        *last = Some((Instant::now(), problem.clone()));
        problem
    }
}
