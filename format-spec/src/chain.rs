//! The order of sequences: what a target that stands at S answers to an arriving head.
//!
//! In: the state of the target and a head. Out: take it, know it, or a refusal that names the cause.
//! Pure; `docs/decisions/0005` explains each line of the table.

use crate::digest::Digest;
use crate::head::{Head, Kind, Link};
use crate::names::{Sequence, StreamId};

/// Where a target stands in one stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// The stream.
    pub stream: StreamId,
    /// The last sequence that is wholly there.
    pub last: Link,
}

/// What to do with an arriving head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It is the next one, the first one, or a full one further on.
    Accept,
    /// It is there already. Put back what is missing and change no state.
    Known,
}

/// Why an arriving head is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// Sequences in between are missing.
    #[error("gap: sequence {arrived} arrived, {} expected{}", .first_missing,
        if .first_missing == .last_missing { String::new() }
        else { format!(" (missing: {first_missing} to {last_missing})") })]
    Gap {
        /// The sequence that arrived.
        arrived: Sequence,
        /// The first that is missing.
        first_missing: Sequence,
        /// The last that is missing.
        last_missing: Sequence,
    },
    /// Older than what is there.
    #[error(
        "stale: sequence {arrived} is already imported or superseded, the target stands at sequence {current}"
    )]
    Stale {
        /// The sequence that arrived.
        arrived: Sequence,
        /// Where the target stands.
        current: Sequence,
    },
    /// Two histories of one stream.
    #[error(
        "fork: sequence {at} is {arrived} in what arrived, but {known} at the target: two different \
         histories of one stream"
    )]
    Fork {
        /// The sequence that both histories have.
        at: Sequence,
        /// Its digest in what arrived.
        arrived: Digest,
        /// Its digest at the target.
        known: Digest,
    },
    /// Another stream than those at the target.
    #[error("foreign: stream {arrived} arrived, the target follows {}",
        .known.iter().map(StreamId::to_string).collect::<Vec<_>>().join(", "))]
    Foreign {
        /// The stream that arrived.
        arrived: StreamId,
        /// The streams at the target.
        known: Vec<StreamId>,
    },
}

/// Decides about `head`, whose digest is `digest`, at a target that stands at `states` (one for each
/// stream it follows). `new_stream` says that a person allowed a further stream.
pub fn decide(
    states: &[State],
    head: &Head,
    digest: Digest,
    new_stream: bool,
) -> Result<Answer, OrderError> {
    let Some(state) = states.iter().find(|state| state.stream == head.stream) else {
        if !states.is_empty() && !new_stream {
            let known = states.iter().map(|state| state.stream).collect();
            return Err(OrderError::Foreign { arrived: head.stream, known });
        }
        return match head.sequence {
            Sequence::FIRST => Ok(Answer::Accept),
            _ if head.kind == Kind::Full => Ok(Answer::Accept),
            arrived => Err(gap(arrived, Sequence::FIRST)),
        };
    };
    let current = state.last;
    if head.sequence == current.sequence {
        return if digest == current.digest {
            Ok(Answer::Known)
        } else {
            Err(fork(current, digest))
        };
    }
    if head.sequence < current.sequence {
        return Err(OrderError::Stale { arrived: head.sequence, current: current.sequence });
    }
    // What the head says about the sequence at which the target stands: a different digest is a
    // fork, whatever else is true.
    let said = head.previous.iter().chain(&head.tail).find(|l| l.sequence == current.sequence);
    if let Some(said) = said
        && said.digest != current.digest
    {
        return Err(fork(current, said.digest));
    }
    if current.sequence.next() == Some(head.sequence) {
        return match (said, head.kind) {
            (Some(_), _) | (None, Kind::Full) => Ok(Answer::Accept),
            // Head::validate refuses such a head; without the link nothing proves descent.
            (None, Kind::Incremental) => Err(gap(head.sequence, head.sequence)),
        };
    }
    // What is left out of it came up to its base: whoever is there, on the same history, has it all.
    let reaches = head.base.is_some_and(|base| said.is_some() && base.sequence <= current.sequence);
    match head.kind {
        Kind::Full => Ok(Answer::Accept),
        Kind::Incremental if reaches => Ok(Answer::Accept),
        Kind::Incremental => {
            let first = current.sequence.next().expect("a higher sequence arrived");
            Err(gap(head.sequence, first))
        }
    }
}

fn gap(arrived: Sequence, first_missing: Sequence) -> OrderError {
    let last_missing = Sequence::new(arrived.get() - 1).unwrap_or(first_missing);
    OrderError::Gap { arrived, first_missing, last_missing }
}

fn fork(current: Link, arrived: Digest) -> OrderError {
    OrderError::Fork { at: current.sequence, arrived, known: current.digest }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::tests::example;

    fn link(sequence: u64, text: &str) -> Link {
        Link { sequence: Sequence::new(sequence).unwrap(), digest: Digest::of(text.as_bytes()) }
    }

    fn head(sequence: u64, kind: Kind, previous: Option<Link>, tail: Vec<Link>) -> Head {
        Head { sequence: Sequence::new(sequence).unwrap(), kind, previous, tail, ..example() }
    }

    fn at(sequence: u64) -> Vec<State> {
        vec![State { stream: example().stream, last: link(sequence, &sequence.to_string()) }]
    }

    #[test]
    fn the_table() {
        use Kind::{Full, Incremental};
        let d = Digest::of;
        let inc =
            |n: u64, p: &str| head(n, Incremental, Some(link(n - 1, p)), vec![link(n - 1, p)]);
        // Next in order.
        assert_eq!(decide(&at(6), &inc(7, "6"), d(b"7"), false), Ok(Answer::Accept));
        // The same again, and another one under its number.
        assert_eq!(decide(&at(7), &inc(7, "6"), d(b"7"), false), Ok(Answer::Known));
        assert!(matches!(
            decide(&at(7), &inc(7, "6"), d(b"other"), false),
            Err(OrderError::Fork { .. })
        ));
        // The next number on another history.
        assert!(matches!(
            decide(&at(6), &inc(7, "other"), d(b"7"), false),
            Err(OrderError::Fork { .. })
        ));
        // Older.
        assert!(matches!(
            decide(&at(8), &inc(7, "6"), d(b"7"), false),
            Err(OrderError::Stale { .. })
        ));
        // A gap names what is missing; a full sequence bridges it, unless its history differs.
        assert_eq!(
            decide(&at(3), &inc(7, "6"), d(b"7"), false),
            Err(OrderError::Gap {
                arrived: Sequence::new(7).unwrap(),
                first_missing: Sequence::new(4).unwrap(),
                last_missing: Sequence::new(6).unwrap(),
            })
        );
        let full = |tail: Vec<Link>| head(7, Full, tail.first().copied(), tail);
        assert_eq!(
            decide(&at(3), &full(vec![link(6, "6"), link(3, "3")]), d(b"7"), false),
            Ok(Answer::Accept)
        );
        assert!(matches!(
            decide(&at(3), &full(vec![link(6, "6"), link(3, "x")]), d(b"7"), false),
            Err(OrderError::Fork { .. })
        ));
        // One that left nothing out since 3 needs neither 4 nor 6, on the same history.
        let since = |three: &str| {
            let mut head = inc(7, "6");
            head.tail.push(link(3, three));
            head.base = Some(link(3, three));
            head
        };
        assert_eq!(decide(&at(3), &since("3"), d(b"7"), false), Ok(Answer::Accept));
        assert!(matches!(
            decide(&at(3), &since("x"), d(b"7"), false),
            Err(OrderError::Fork { .. })
        ));
        assert!(matches!(decide(&at(2), &since("3"), d(b"7"), false), Err(OrderError::Gap { .. })));
        assert!(matches!(decide(&at(4), &since("3"), d(b"7"), false), Err(OrderError::Gap { .. })));
        // A target without a stream.
        assert!(matches!(decide(&[], &inc(7, "6"), d(b"7"), false), Err(OrderError::Gap { .. })));
        assert_eq!(decide(&[], &full(vec![]), d(b"7"), false), Ok(Answer::Accept));
        assert_eq!(
            decide(&[], &head(1, Incremental, None, vec![]), d(b"1"), false),
            Ok(Answer::Accept)
        );
        // Another stream.
        let mut foreign = head(1, Full, None, vec![]);
        foreign.stream = StreamId::from_bytes([8; 16]);
        assert!(matches!(
            decide(&at(3), &foreign, d(b"1"), false),
            Err(OrderError::Foreign { .. })
        ));
        assert_eq!(decide(&at(3), &foreign, d(b"1"), true), Ok(Answer::Accept));
    }
}
