//! What to do with the sequences that arrived, given where the target stands:
//! `Verified → Sequenced`.
//!
//! In: verified sequences and the records of the target. Out: those to import, in order, or the
//! refusal of the order table (DESIGN section 3). Only a [`Sequenced`] can open a blob.

use std::sync::Arc;

use format_spec::chain::{self, Answer, OrderError, State};
use format_spec::head::{Head, Kind, Link};
use format_spec::index::Index;
use format_spec::{Digest, StreamId};

use crate::error::ImportError;
use crate::ledger::Record;
use crate::unpack::Content;
use crate::verify::{Verified, fork};

/// A verified sequence whose turn it is.
#[derive(Debug)]
pub(crate) struct Sequenced {
    verified: Verified,
}

/// What to do with one sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Import it.
    Accept,
    /// It is the last one at the target: put back what is missing.
    Repair,
    /// The target has had it: put back by digest what is missing, and leave names and records alone.
    PutBack,
    /// A later one that is at the target, or that is imported now, came after it.
    Past,
}

/// A sequence that arrived, and what to do with it.
#[derive(Debug)]
pub(crate) struct Arranged {
    verified: Verified,
    /// What to do with it.
    pub(crate) step: Step,
}

impl Arranged {
    /// The sequence, for reports.
    pub(crate) fn verified(&self) -> &Verified {
        &self.verified
    }

    /// Its turn has come: now its blobs can be opened.
    pub(crate) fn proceed(self) -> Sequenced {
        Sequenced { verified: self.verified }
    }
}

impl Sequenced {
    /// The sequence.
    pub(crate) fn verified(&self) -> &Verified {
        &self.verified
    }

    /// The index.
    pub(crate) fn index(&self) -> &Arc<Index> {
        &self.verified.index
    }

    /// The parts.
    pub(crate) fn content(&self) -> &Arc<Content> {
        &self.verified.content
    }
}

/// Puts the sequences in order and decides about each, as if those before it were imported.
pub(crate) fn arrange(
    mut arrived: Vec<Verified>,
    records: &[Record],
    new_stream: bool,
) -> Result<Vec<Arranged>, ImportError> {
    sort(&mut arrived);
    if let Some(fork) = fork(&arrived) {
        return Err(fork);
    }
    let steps = steps(&heads_of(&arrived), records, new_stream)
        .map_err(|(stream, error)| ImportError::Order { error, stream })?;
    Ok(zip(arrived, steps))
}

/// Sequences of which what is missing is put back, ascending.
pub(crate) fn put_back(mut had: Vec<Verified>) -> Vec<Arranged> {
    sort(&mut had);
    had.into_iter().map(|verified| Arranged { verified, step: Step::PutBack }).collect()
}

/// The way to bring a target that was set back again to where the workspace saw it, when the media
/// hold all of it: the sequences as the target's own record takes them, which end at the
/// workspace's record or behind it and have it in their history. Otherwise `None`, and `arrived` is
/// as it was: an old sequence alone must not take a target back (threat T6).
pub(crate) fn restore(
    arrived: &mut Vec<Verified>,
    remote: &[Record],
    local: &[Record],
    new_stream: bool,
) -> Option<Vec<Arranged>> {
    sort(arrived);
    let heads = heads_of(arrived);
    let steps = steps(&heads, remote, new_stream).ok()?;
    let reached = |mine: &Record| {
        let theirs = heads.iter().filter(|(head, _)| head.stream == mine.stream);
        let mut any = false;
        let mut reached = false;
        for (head, digest) in theirs {
            any = true;
            reached |= (Link { sequence: head.sequence, digest: *digest }) == mine.last()
                || head.tail.contains(&mine.last());
        }
        reached || !any
    };
    if !local.iter().all(reached) {
        return None;
    }
    Some(zip(std::mem::take(arrived), steps))
}

fn sort(arrived: &mut [Verified]) {
    arrived.sort_by_key(|v| (v.head.stream, v.head.sequence, v.digest));
}

fn heads_of(arrived: &[Verified]) -> Vec<(&Head, Digest)> {
    arrived.iter().map(|v| (&v.head, v.digest)).collect()
}

fn zip(arrived: Vec<Verified>, steps: Vec<Step>) -> Vec<Arranged> {
    arrived.into_iter().zip(steps).map(|(verified, step)| Arranged { verified, step }).collect()
}

/// The step of each head; heads are ascending by stream and sequence.
fn steps(
    heads: &[(&Head, Digest)],
    records: &[Record],
    new_stream: bool,
) -> Result<Vec<Step>, (StreamId, OrderError)> {
    let mut states: Vec<State> =
        records.iter().map(|r| State { stream: r.stream, last: r.last() }).collect();
    let mut steps = Vec::with_capacity(heads.len());
    for (at, (head, digest)) in heads.iter().enumerate() {
        let stream = head.stream;
        let later = || heads[at + 1..].iter().filter(|(later, _)| later.stream == stream);
        let error = match chain::decide(&states, head, *digest, new_stream) {
            Ok(Answer::Known) => {
                steps.push(Step::Repair);
                continue;
            }
            Ok(Answer::Accept) => {
                states.retain(|state| state.stream != stream);
                states.push(State {
                    stream,
                    last: Link { sequence: head.sequence, digest: *digest },
                });
                steps.push(Step::Accept);
                continue;
            }
            Err(error) => error,
        };
        match &error {
            OrderError::Stale { .. } => {
                let known = records
                    .iter()
                    .filter(|record| record.stream == stream)
                    .flat_map(|record| &record.tail)
                    .chain(later().flat_map(|(later, _)| &later.tail))
                    .find(|link| link.sequence == head.sequence);
                if let Some(known) = known
                    && known.digest != *digest
                {
                    let error = OrderError::Fork {
                        at: head.sequence,
                        arrived: *digest,
                        known: known.digest,
                    };
                    return Err((stream, error));
                }
                // Older ones may lie beside the one that is to be imported; alone they are refused.
                let stands_at =
                    records.iter().find(|r| r.stream == stream).map(|record| record.sequence);
                if later().any(|(later, _)| Some(later.sequence) >= stands_at) {
                    steps.push(Step::Past);
                    continue;
                }
            }
            // A full sequence that arrived too makes this one unnecessary.
            OrderError::Gap { .. } if later().any(|(later, _)| later.kind == Kind::Full) => {
                steps.push(Step::Past);
                continue;
            }
            _ => {}
        }
        return Err((stream, error));
    }
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use format_spec::Sequence;
    use format_spec::head::{FORMAT_VERSION, HEAD_TYPE, IndexEntry, Tool, Totals};
    use format_spec::limits::CELL;

    use super::*;

    fn link(sequence: u64, text: &str) -> Link {
        Link { sequence: Sequence::new(sequence).unwrap(), digest: Digest::of(text.as_bytes()) }
    }

    fn head(sequence: u64, kind: Kind, tail: Vec<Link>) -> Head {
        Head {
            type_: HEAD_TYPE.to_owned(),
            format_version: FORMAT_VERSION,
            crit: Vec::new(),
            stream: StreamId::from_bytes([7; 16]),
            sequence: Sequence::new(sequence).unwrap(),
            kind,
            previous: tail.first().copied(),
            tail,
            base: None,
            created: "2026-01-01T00:00:00Z".to_owned(),
            tool: Tool { name: "test".to_owned(), version: "0".to_owned() },
            cell_bytes: CELL as u64,
            parts: Vec::new(),
            index: IndexEntry { digest: Digest::of(b""), bytes: 0 },
            totals: Totals::default(),
            failures: Vec::new(),
            labels: BTreeMap::new(),
            expires: None,
            next_expected: None,
        }
    }

    fn inc(sequence: u64) -> Head {
        let tail = (1..sequence).rev().map(|n| link(n, &n.to_string())).collect();
        head(sequence, Kind::Incremental, tail)
    }

    fn at(sequence: u64) -> Vec<Record> {
        vec![Record::new(
            &inc(sequence),
            Digest::of(sequence.to_string().as_bytes()),
            0,
            String::new(),
        )]
    }

    fn run(heads: &[Head], records: &[Record]) -> Result<Vec<Step>, OrderError> {
        let heads: Vec<_> = heads
            .iter()
            .map(|head| (head, Digest::of(head.sequence.to_string().as_bytes())))
            .collect();
        steps(&heads, records, false).map_err(|(_, error)| error)
    }

    #[test]
    fn several_are_taken_in_order() {
        use Step::{Accept, Past, Repair};
        assert_eq!(run(&[inc(1), inc(2), inc(3)], &[]), Ok(vec![Accept; 3]));
        assert_eq!(run(&[inc(1), inc(2), inc(3)], &at(2)), Ok(vec![Past, Repair, Accept]));
        assert_eq!(run(&[inc(1), inc(2)], &at(2)), Ok(vec![Past, Repair]));
        assert_eq!(run(&[inc(1), inc(3)], &at(2)), Ok(vec![Past, Accept]));
        assert!(matches!(run(&[inc(1)], &at(2)), Err(OrderError::Stale { .. })));
        assert!(matches!(run(&[inc(1), inc(3)], &[]), Err(OrderError::Gap { .. })));
        let full = head(5, Kind::Full, Vec::new());
        assert_eq!(run(&[inc(3), full.clone()], &at(1)), Ok(vec![Past, Accept]));
        assert_eq!(run(&[inc(1), full], &[]), Ok(vec![Accept, Accept]));
    }

    #[test]
    fn an_older_one_of_another_history_is_a_fork() {
        let one = inc(1);
        let three = inc(3);
        let heads = [(&one, Digest::of(b"other")), (&three, Digest::of(b"3"))];
        let result = steps(&heads, &at(2), false);
        assert!(matches!(result, Err((_, OrderError::Fork { .. }))));
    }
}
