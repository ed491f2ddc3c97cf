//! What a sequence left at a target, and what came after it, from the records there.
//!
//! In: the records of the target, and the sequence. Out: [`State`], a value, or why it cannot be told. What must hold: the
//! sequence is the one that was imported, as the record of the stream or a later head names it by its digest; and no
//! record is missing of which the state, or what came after it, would be made.

use std::collections::BTreeMap;

use format_spec::head::Link;
use format_spec::{Repository, Sequence};

use super::RollbackError;
use crate::cluster::records::{self, Back};
use crate::deleted::Deleted;
use crate::error::ImportError;
use crate::ledger::{Record, Remote};
use crate::paths::Destination;
use crate::prune::{self, Ever, Names};

/// What stands when a stream is set back, and what came later.
pub(super) struct State {
    /// The sequence that left it.
    pub(super) last: Link,
    /// Those before it, as its head names them.
    pub(super) tail: Vec<Link>,
    /// The names of all streams then.
    pub(super) names: Names,
    /// What later sequences of the stream set.
    pub(super) later: BTreeMap<Repository, Ever>,
    /// The record of what was deleted as it was then, where something was deleted since.
    pub(super) deleted: Option<Deleted>,
    /// The sequences up to it of which there is a record.
    pub(super) sequences: Vec<records::Known>,
}

/// Reads it.
pub(super) async fn read(
    at: &Destination,
    remote: &Remote,
    stands: &Record,
    sequence: Sequence,
) -> Result<State, ImportError> {
    let target = || at.target.to_string();
    let unknown = |reason: String| {
        ImportError::from(RollbackError::NoState { target: target(), sequence, reason })
    };
    let last = (stands.stream, stands.last());
    let (mut sequences, holes) = records::sequences(at, remote, last, Back::First).await?;
    let Some(position) = sequences.iter().position(|one| one.sequence == sequence) else {
        let recorded = ranges(sequences.iter().map(|one| one.sequence.get()));
        return Err(unknown(format!("there is no record of it; on record are {recorded}")));
    };
    if !sequences[position].named {
        return Err(unknown("no later sequence names it, so it may be another one".to_owned()));
    }
    // What came before the last sequence that says everything is no news.
    let whole = sequences[..=position].iter().rev().find(|one| one.is_whole());
    let from = whole.map_or(0, |one| one.sequence.get());
    if let Some(hole) = holes.iter().find(|(_, missing)| *missing.end() > from) {
        return Err(unknown(prune::lost(hole)));
    }
    let mut after = sequences.split_off(position + 1);
    after.extend(records::behind(at, remote, stands).await?);

    let mut others = remote.records.clone();
    others.retain(|record| record.stream != stands.stream);
    let others = prune::read_streams(at, remote, &others, Back::Whole).await?;
    let others = others.map_err(|reason| ImportError::Unknown { target: target(), reason })?;
    // What the sequence left there is what stood before anything of it was deleted.
    let now = remote.deleted.get(&stands.stream);
    let then = now.map(|now| now.until(sequence));
    let deleted = then.as_ref().map_or(&[][..], Deleted::names);

    let mut names = prune::follow(at, stands, (&sequences, deleted), others).await?;
    let later = prune::follow(at, stands, (&after, &[]), Names::default()).await?;
    let came = later.ever.clone();
    names.recall(later);
    let one = sequences.last().expect("the one that was found");
    Ok(State {
        last: Link { sequence, digest: one.digest },
        tail: one.tail.clone(),
        names,
        later: came,
        deleted: then.filter(|then| now.is_some_and(|now| now.names() != then.names())),
        sequences,
    })
}

/// Numbers that ascend, as `1 to 4, 7`.
pub(super) fn ranges(numbers: impl Iterator<Item = u64>) -> String {
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    for number in numbers {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => ranges.push((number, number)),
        }
    }
    let words = ranges.iter().map(|(from, to)| match to - from {
        0 => from.to_string(),
        1 => format!("{from}, {to}"),
        _ => format!("{from} to {to}"),
    });
    words.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    #[test]
    fn numbers_are_told_as_ranges() {
        for (numbers, words) in [
            (&[][..], ""),
            (&[3], "3"),
            (&[1, 2], "1, 2"),
            (&[1, 2, 3, 7, 9, 10], "1 to 3, 7, 9, 10"),
        ] {
            assert_eq!(super::ranges(numbers.iter().copied()), words);
        }
    }
}
