//! Whether a target takes a sequence that is not made yet.
//!
//! In: what the sequence will set, and the one before it. Out: nothing, or the refusal that its import would end in. What must
//! hold: only questions are asked, so that hours of sending do not end in a refusal.

use format_spec::chain::OrderError;
use format_spec::head::Link;
use format_spec::index::Index;
use registry::client::Client;
use registry::reference::Target;

use crate::error::ImportError;
use crate::ledger;
use crate::paths::Destination;
use crate::readiness;

/// The target that is asked.
#[derive(Clone)]
pub struct TakesOptions {
    /// The target.
    pub target: Target,
    /// Path components that it allows; 0 for any number.
    pub max_nested_paths: usize,
    /// A further stream is allowed there.
    pub new_stream: bool,
    /// The client.
    pub client: Client,
}

/// Asks for a sequence of this index, after `last`.
pub async fn takes(
    options: &TakesOptions,
    index: &Index,
    last: Option<Link>,
) -> Result<(), ImportError> {
    let TakesOptions { target, max_nested_paths, new_stream, client } = options.clone();
    let at = Destination::new(client, target, max_nested_paths)?;
    let remote = ledger::read_remote(&at).await?;
    ledger::finished(&at, &remote.records)?;
    let stream = index.stream;
    ledger::same_names(&remote.records, std::iter::once(stream), at.nested)?;
    let refuse = |error| Err(ImportError::Order { error, stream });
    match (remote.records.iter().find(|record| record.stream == stream), last) {
        (None, _) if !remote.records.is_empty() && !new_stream => {
            let known = remote.records.iter().map(|record| record.stream).collect();
            return refuse(OrderError::Foreign { arrived: stream, known });
        }
        (Some(stands), Some(last))
            if stands.sequence == last.sequence && stands.digest != last.digest =>
        {
            let (at, arrived, known) = (last.sequence, last.digest, stands.digest);
            return refuse(OrderError::Fork { at, arrived, known });
        }
        (Some(stands), last) if last.is_none_or(|last| stands.sequence > last.sequence) => {
            let (arrived, current) = (index.sequence, stands.sequence);
            return refuse(OrderError::Stale { arrived, current });
        }
        _ => {}
    }
    readiness::probe(&at, &at.written(index)?).await
}
