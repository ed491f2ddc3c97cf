//! Why a target is not set back, or nothing else is done to it before it is; with what to do next.

use format_spec::{Sequence, StreamId};

use crate::error::ErrorKind;

/// A fault around a rollback.
#[derive(Debug, thiserror::Error)]
pub enum RollbackError {
    /// A rollback was begun at the target and has not ended, so its tags are of two states.
    #[error(
        "a rollback of {target} to sequence {to} of stream {stream} was begun and has not ended: its tags may be of two states"
    )]
    Unfinished {
        /// The target.
        target: String,
        /// The stream.
        stream: StreamId,
        /// Where to.
        to: Sequence,
    },
    /// The workspace knows of a rollback of which the target's record does not.
    #[error(
        "the target stands at sequence {stands} of stream {stream} and knows nothing of the rollback to sequence {to} that \
         this workspace records: it was set back to what it was before, or replaced"
    )]
    Undone {
        /// The stream.
        stream: StreamId,
        /// Where the target stands.
        stands: Sequence,
        /// Where the rollback that it does not know led.
        to: Sequence,
    },
    /// The state that a sequence left cannot be told from the records at the target.
    #[error("what sequence {sequence} left at {target} is not known: {reason}")]
    NoState {
        /// The target.
        target: String,
        /// The sequence.
        sequence: Sequence,
        /// Why, and what there is.
        reason: String,
    },
    /// Nothing is set back to what is ahead of it.
    #[error(
        "{target} stands at sequence {stands}, so it cannot be set back to sequence {sequence}"
    )]
    Ahead {
        /// The target.
        target: String,
        /// The sequence.
        sequence: Sequence,
        /// Where it stands.
        stands: Sequence,
    },
    /// Several streams at the target, or not this one.
    #[error("which stream is meant? {target} follows {}", words(.streams))]
    WhichStream {
        /// The target.
        target: String,
        /// The streams.
        streams: Vec<StreamId>,
    },
}

fn words(streams: &[StreamId]) -> String {
    streams.iter().map(StreamId::to_string).collect::<Vec<_>>().join(", ")
}

impl RollbackError {
    /// The kind, for the exit code.
    pub(crate) fn exit(&self) -> ErrorKind {
        match self {
            Self::Unfinished { .. } | Self::NoState { .. } => ErrorKind::Gap,
            Self::Undone { .. } => ErrorKind::ForkOrForeign,
            Self::Ahead { .. } | Self::WhichStream { .. } => ErrorKind::Usage,
        }
    }

    /// What to do next.
    pub(crate) fn hint(&self) -> String {
        match self {
            Self::Unfinished { target, to, stream } => format!(
                "finish it: `bundle rollback --to {to} --stream {stream} --auto-approve {target}`"
            ),
            Self::Undone { stands, to, .. } => format!(
                "do it again, `bundle rollback --to {to} docker://HOST/NAMESPACE`, or say that the target is right as it is: \
                 `bundle rollback --to {stands} docker://HOST/NAMESPACE`; then run the same command again"
            ),
            Self::NoState { target, .. } => format!(
                "bring the records back with the media, `bundle import --put-back --from DIR {target}`, then run the same \
                 command again; or choose a sequence that is on record"
            ),
            Self::Ahead { target, .. } => {
                format!("what follows comes with its media: `bundle import --from DIR {target}`")
            }
            Self::WhichStream { .. } => "name it: `--stream ID`".to_owned(),
        }
    }
}
