//! What a registry is missing since a check, or the registry itself, moved damaged files to the quarantine.
//!
//! In: a data directory with something in quarantine; a registry may be running on it. Out: what cannot be pulled, for a person.
//! What must hold: no blob is read, and nothing is written.

use std::collections::BTreeSet;
use std::path::Path;

use registry::progress::Progress;
use registry::store::check::{Check, Report};
use registry::store::{Store, StoreError};
use tokio_util::sync::CancellationToken;

use crate::size;

/// Names in one line.
const SHOWN: usize = 3;

/// What is hit, or nothing when everything is there.
///
/// # Errors
/// What is stored cannot be looked through.
pub fn after_quarantine(
    data: &Path,
    cancel: &CancellationToken,
) -> Result<Option<String>, StoreError> {
    let how = Check {
        read: None,
        from: None,
        rate: None,
        progress: &Progress::default(),
        cancel,
        keep: &|_| {},
    };
    Ok(hit(&Store::open_read_only(data)?.check(&how)?))
}

fn hit(report: &Report) -> Option<String> {
    let damage: Vec<_> = report.findings.iter().filter(|one| one.kind.is_damage()).collect();
    let first = damage.first()?;
    let tags: BTreeSet<&str> =
        damage.iter().flat_map(|one| one.tags.iter().map(String::as_str)).collect();
    if tags.is_empty() {
        return Some(first.what.clone());
    }
    let mut text = tags.iter().take(SHOWN).copied().collect::<Vec<_>>().join(", ");
    if let Some(more) = tags.len().checked_sub(SHOWN).filter(|more| *more > 0) {
        text += &format!(" and {}", size::count(more as u64, "other tag"));
    }
    Some(text)
}
