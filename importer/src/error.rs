//! Why an import is refused or stops, one variant for each fault; what to do next is in [`hint`](crate::hint).
//!
//! In: faults of the stages. Out: for the command, a kind (its exit code) and a message.

use std::fmt;
use std::io;
use std::path::PathBuf;

use format_spec::chain::OrderError;
use format_spec::codec::CodecError;
use format_spec::head::HeadError;
use format_spec::names::NameError;
use format_spec::seal::SealError;
use format_spec::{Digest, Sequence, StreamId};
use registry::client::ClientError;
use serde::Serialize;

use crate::limits::FILES_NAMED;
use crate::rollback::RollbackError;
use crate::unready::Unready;

/// The kind of a failure, from which the command takes its exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// Wrong usage or configuration.
    Usage,
    /// A digest, cell or length does not match.
    Damaged,
    /// A part, the index or the head is missing.
    Incomplete,
    /// No signature by a trusted key.
    Untrusted,
    /// Sequences, or content of earlier ones, are missing at the target.
    Gap,
    /// Older than what is at the target.
    Stale,
    /// Another history of the stream, or another stream.
    ForkOrForeign,
    /// The workspace cannot be written.
    NoSpace,
    /// The registry or the network gave up after retries.
    Unavailable,
    /// The registry refused the credentials.
    Credentials,
    /// Another importer works on the same target.
    Busy,
    /// Any other cause.
    Other,
}

/// What is wrong with a stretch of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Problem {
    /// The bytes are not those that were signed.
    Changed,
    /// The bytes cannot be read, or end early.
    Unreadable,
    /// The part's cell table is not the one that the head names: the table is damaged, or the file
    /// is a part of another sequence.
    WrongTable,
    /// Signed, but not laid out as the format demands.
    Layout,
    /// The bytes are those that were signed, but not those that their digest names.
    WrongContent,
    /// The bytes are those that were signed, and a manifest that cannot be used: not readable, or it needs what the
    /// sequence neither carries nor requires.
    Manifest,
}

/// A damaged stretch of a part, and the images that need it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Damage {
    /// The sequence.
    pub sequence: Sequence,
    /// The file name of the part.
    pub part: String,
    /// Where the file lies.
    pub path: PathBuf,
    /// The first byte of the stretch in the file.
    pub from: u64,
    /// The byte after the last.
    pub to: u64,
    /// What is wrong.
    pub problem: Problem,
    /// What the system said, for unreadable bytes.
    pub detail: String,
    /// Images with content in the stretch (at most a handful), `repository:tag`.
    pub images: Vec<String>,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let last = self.to.saturating_sub(1);
        let Self { part, from, .. } = self;
        match self.problem {
            Problem::Changed => write!(f, "part `{part}` is damaged in bytes {from} to {last}")?,
            Problem::Unreadable => {
                write!(f, "part `{part}` cannot be read in bytes {from} to {last}")?;
            }
            Problem::WrongTable => write!(
                f,
                "part `{part}` is damaged in its cell table (bytes {from} to {last}), or it is a \
                 part of another sequence"
            )?,
            Problem::Layout => {
                write!(f, "part `{part}` is not laid out as its index says, at byte {from}")?;
            }
            Problem::WrongContent => write!(
                f,
                "part `{part}` holds in bytes {from} to {last} other content than its index says"
            )?,
            Problem::Manifest => write!(
                f,
                "part `{part}` holds in bytes {from} to {last} a manifest that cannot be used"
            )?,
        }
        if !self.detail.is_empty() {
            write!(f, ": {}", self.detail)?;
        }
        match self.images.as_slice() {
            [] => Ok(()),
            images => write!(f, "; needed by `{}`", images.join("`, `")),
        }
    }
}

/// A file that has another size than the head says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{path}` has {found} bytes, expected {expected}")]
pub struct WrongSize {
    /// The file.
    pub path: PathBuf,
    /// Its size by the head.
    pub expected: u64,
    /// Its size.
    pub found: u64,
}

/// The first of many, and how many more.
pub(crate) fn some<T: fmt::Display>(
    many: impl IntoIterator<Item = T, IntoIter: ExactSizeIterator>,
) -> String {
    let many = many.into_iter();
    let more = many.len().saturating_sub(FILES_NAMED);
    let named: Vec<_> = many.take(FILES_NAMED).map(|one| one.to_string()).collect();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    named.join(", ") + &more
}

/// Why an import is refused or stops.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// A directory that was named cannot be read.
    #[error("cannot read the directory `{path}`: {source}")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// More directories or entries than are read.
    #[error("more than {limit} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// No head in any directory.
    #[error("no sequence in `{0}`")]
    NothingThere(String),
    /// Files of a sequence are missing.
    #[error("sequence {sequence} is incomplete, missing: {}{}", some(.files.iter().map(|f| format!("`{f}`"))),
        if .wrong.is_empty() { String::new() } else { format!("; {}", some(.wrong)) })]
    Missing {
        /// The sequence.
        sequence: Sequence,
        /// The names.
        files: Vec<String>,
        /// Others that are there and have another size.
        wrong: Vec<WrongSize>,
    },
    /// Files have another size than the head says.
    #[error("{}", some(.0))]
    Size(Vec<WrongSize>),
    /// A small file is larger than anything that can be one.
    #[error("`{path}` has {found} bytes, at most {limit} are read")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        found: u64,
        /// The limit.
        limit: u64,
    },
    /// A file of the medium cannot be read.
    #[error("cannot read `{path}`: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A head under the name of another sequence.
    #[error("`{path}` holds the head of sequence {found}: it was renamed")]
    Renamed {
        /// The file.
        path: PathBuf,
        /// The sequence in it.
        found: Sequence,
    },
    /// No key to check signatures with.
    #[error("no key is trusted, so nothing can be imported")]
    NoKeys,
    /// The signature file is missing.
    #[error("sequence {sequence} is not signed: `{file}` is missing")]
    NoSeal {
        /// The sequence.
        sequence: Sequence,
        /// The name of the missing file.
        file: String,
    },
    /// The signature does not prove the head.
    #[error("`{path}`: {source}")]
    Seal {
        /// The signature file.
        path: PathBuf,
        /// Why.
        source: SealError,
    },
    /// The head, although signed, cannot be used.
    #[error("`{path}`: {source}")]
    Head {
        /// The head.
        path: PathBuf,
        /// Why.
        source: HeadError,
    },
    /// The index is not the one that the head names.
    #[error(
        "`{path}` is damaged or of another sequence: its digest is {found}, expected {expected}"
    )]
    IndexDigest {
        /// The index.
        path: PathBuf,
        /// Its digest by the head.
        expected: Digest,
        /// Its digest.
        found: Digest,
    },
    /// The index, although signed for, cannot be used.
    #[error("`{path}`: {source}")]
    Index {
        /// The index.
        path: PathBuf,
        /// Why.
        source: CodecError,
    },
    /// A part is damaged.
    #[error("{0}")]
    Damage(Box<Damage>),
    /// The sequence does not follow what is at the target.
    #[error("{error}")]
    Order {
        /// Which line of the order table.
        error: OrderError,
        /// The stream that arrived.
        stream: StreamId,
    },
    /// Two records of the same position in a stream, in the workspace and in the target.
    #[error(
        "fork: the workspace records sequence {sequence} of stream {stream} as {local}, the target \
         as {remote}"
    )]
    LedgerFork {
        /// The stream.
        stream: StreamId,
        /// The sequence.
        sequence: Sequence,
        /// Its digest in the workspace.
        local: Digest,
        /// Its digest at the target.
        remote: Digest,
    },
    /// Two different heads under one number.
    #[error("fork: `{}` and `{}` are two different sequences {sequence} of stream {stream}", .one.display(), .other.display())]
    TwoHeads {
        /// The stream of both.
        stream: StreamId,
        /// The number of both.
        sequence: Sequence,
        /// One head.
        one: PathBuf,
        /// The other.
        other: PathBuf,
    },
    /// Repositories would get other names than earlier sequences have at the target.
    #[error(
        "earlier sequences of stream {stream} are at the target with `--max-nested-paths {stands}`, and {asked} is asked for"
    )]
    Nested {
        /// The stream.
        stream: StreamId,
        /// What earlier imports were given; 0 for none.
        stands: usize,
        /// What this one was given.
        asked: usize,
    },
    /// Content of earlier sequences is not at the target.
    #[error(
        "gap: sequence {sequence} needs {} at the target, first {first}; needed by `{}`",
        of_earlier(*.missing), .images.join("`, `")
    )]
    RequiredMissing {
        /// The last sequence that the target has taken; earlier ones it takes no more.
        stands: Option<Sequence>,
        /// The sequence.
        sequence: Sequence,
        /// How many.
        missing: usize,
        /// The first of them.
        first: Digest,
        /// Images that need it.
        images: Vec<String>,
    },
    /// What is to be read stands in an earlier sequence than those that are there.
    #[error("sequence {sequence} does not carry blob {digest}: an earlier one did")]
    Earlier {
        /// The sequence.
        sequence: Sequence,
        /// The blob.
        digest: Digest,
    },
    /// What is to be put back was never there.
    #[error("sequence {sequence} was never imported into this target")]
    NeverImported {
        /// The sequence.
        sequence: Sequence,
    },
    /// Nothing was ever imported into a target.
    #[error("no sequence was imported into {0}, so there is nothing to tell a cluster about it")]
    NoRecords(String),
    /// Nothing was ever imported into a target from which something is to be removed.
    #[error(
        "no sequence was imported into {0}: there is nothing to remove, and no state to go back to"
    )]
    NothingImported(String),
    /// A rollback, or what has to wait for one.
    #[error(transparent)]
    Rollback(#[from] RollbackError),
    /// What stands at a target is not known, so nothing is removed from it.
    #[error("nothing is removed from {target}, as what stands there is not known: {reason}")]
    Unknown {
        /// The target.
        target: String,
        /// Why.
        reason: String,
    },
    /// The import is done, and what comes behind it is not.
    #[error("everything is at the target, but the files for clusters could not be written: {0}")]
    Resources(Box<ImportError>),
    /// A name at the target is not possible.
    #[error("the name at the target is not possible: {0}")]
    Name(#[from] NameError),
    /// Two repositories of the sequence have one place at the target.
    #[error("`{one}` and `{other}` would both be `{place}` at the target")]
    Collision {
        /// A repository.
        one: String,
        /// Another one.
        other: String,
        /// Their place.
        place: String,
    },
    /// The workspace cannot be written.
    #[error("cannot write `{path}`: {source}")]
    Write {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A directory has no room for the images.
    #[error("`{}` has {available} bytes free, and the images need {needed}", .path.display())]
    Room {
        /// The directory.
        path: PathBuf,
        /// Bytes that are needed.
        needed: u64,
        /// Bytes that are free.
        available: u64,
    },
    /// Sequences of two streams for one directory.
    #[error("there are sequences of two streams there: which of them are meant cannot be told")]
    TwoStreams,
    /// The state in the workspace cannot be read.
    #[error("cannot read `{path}`: {source}")]
    State {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A record of this program in the workspace or the target cannot be used.
    #[error("the record `{place}` cannot be used: {problem}")]
    Record {
        /// Where it is.
        place: String,
        /// What is wrong.
        problem: String,
    },
    /// The connected side set an end to its use, and this machine's clock is past it.
    #[error("sequence {sequence} was not to be imported after {expires}; it is {now} now")]
    Expired {
        /// The sequence.
        sequence: Sequence,
        /// The end of its use.
        expires: String,
        /// This machine's time.
        now: String,
    },
    /// The registry.
    #[error(transparent)]
    Registry(#[from] ClientError),
    /// The target does not have what it confirmed.
    #[error("the target confirmed `{0}` and does not have it now")]
    Lost(String),
    /// The target took good bytes and gives the damaged ones that it had.
    #[error("the target took good bytes and still gives damaged ones: {}", some(names))]
    StillDamaged {
        /// What.
        names: Vec<String>,
    },
    /// Another importer works on the target.
    #[error("another import into this target is running: {holder}")]
    Busy {
        /// Who.
        holder: String,
    },
    /// Another importer took the target while this one worked.
    #[error("another import took over this target, so this one stopped: {holder}")]
    TakenOver {
        /// Who.
        holder: String,
    },
    /// The target does not take what is to be written. Nothing was.
    #[error("{0}")]
    Unready(Box<Unready>),
    /// The target takes no index of which children are left out. Nothing was written.
    #[error(
        "`{host}` takes no index whose children it does not have, and sequence {sequence} leaves some out of: \
         {} (the registry says: {said})", some(.images.iter().map(|image| format!("`{image}`")))
    )]
    Sparse {
        /// The registry.
        host: String,
        /// The sequence.
        sequence: Sequence,
        /// The images.
        images: Vec<String>,
        /// The registry's words.
        said: String,
    },
    /// A rule of the target keeps a tag where it is.
    #[error(
        "a rule of the registry keeps `{place}` as it is, so it cannot become {digest} ({said})"
    )]
    Kept {
        /// The tag.
        place: String,
        /// What it should name.
        digest: Digest,
        /// The registry's words.
        said: String,
        /// Whether it is a record of this program.
        records: bool,
    },
    /// The target does not take artifacts of this kind.
    #[error("the registry takes no `{kind}`, as {place} is one: {source}")]
    Artifact {
        /// The media type.
        kind: String,
        /// The images to which it belongs, or its own name.
        place: String,
        /// The refusal.
        source: ClientError,
    },
    /// The person stopped it.
    #[error("stopped")]
    Cancelled,
    /// A task of this program ended unexpectedly.
    #[error("a task of the import failed: {0}")]
    Task(#[from] tokio::task::JoinError),
}

impl ImportError {
    /// The kind, for the exit code.
    pub fn exit(&self) -> ErrorKind {
        use registry::client::ErrorKind as Client;
        match self {
            // Like everything else that this user may not read or write.
            Self::Directory { source, .. } | Self::Read { source, .. }
                if source.kind() == io::ErrorKind::PermissionDenied =>
            {
                ErrorKind::NoSpace
            }
            Self::Directory { .. }
            | Self::TooMany { .. }
            | Self::Name(_)
            | Self::NeverImported { .. }
            | Self::NoRecords(_)
            | Self::TwoStreams
            | Self::NothingImported(_)
            | Self::Collision { .. } => ErrorKind::Usage,
            Self::NothingThere(_) | Self::Missing { .. } | Self::Earlier { .. } => {
                ErrorKind::Incomplete
            }
            Self::Size(_)
            | Self::TooLarge { .. }
            | Self::Read { .. }
            | Self::Renamed { .. }
            | Self::IndexDigest { .. }
            | Self::Index { .. }
            | Self::Damage(_) => ErrorKind::Damaged,
            Self::Head { source: HeadError::Version(_) | HeadError::Crit(_), .. } => {
                ErrorKind::Other
            }
            Self::Head { .. } => ErrorKind::Damaged,
            Self::NoKeys | Self::NoSeal { .. } | Self::Seal { .. } => ErrorKind::Untrusted,
            Self::Order { error, .. } => match error {
                OrderError::Gap { .. } => ErrorKind::Gap,
                OrderError::Stale { .. } => ErrorKind::Stale,
                OrderError::Fork { .. } | OrderError::Foreign { .. } => ErrorKind::ForkOrForeign,
            },
            Self::Expired { .. } => ErrorKind::Stale,
            Self::LedgerFork { .. } => ErrorKind::ForkOrForeign,
            Self::Rollback(error) => error.exit(),
            Self::Unknown { .. } | Self::RequiredMissing { .. } => ErrorKind::Gap,
            Self::TwoHeads { .. } => ErrorKind::ForkOrForeign,
            Self::Nested { .. } => ErrorKind::Usage,
            Self::Write { .. } | Self::Room { .. } | Self::State { .. } => ErrorKind::NoSpace,
            Self::Resources(error) => error.exit(),
            Self::Registry(error) => match error.kind() {
                Client::Credentials => ErrorKind::Credentials,
                Client::Unavailable | Client::Tls | Client::NotFound => ErrorKind::Unavailable,
                Client::Damaged => ErrorKind::Damaged,
                Client::Config => ErrorKind::Usage,
                Client::Full => ErrorKind::NoSpace,
                Client::Blocked | Client::Refused | Client::Protocol | Client::Source => {
                    ErrorKind::Other
                }
            },
            // Running it again does not mend it, so not the code that says so.
            Self::Unready(unready) if unready.is_of_rights() => ErrorKind::Credentials,
            Self::Unready(_) | Self::Sparse { .. } | Self::Kept { .. } | Self::Artifact { .. } => {
                ErrorKind::Other
            }
            Self::Lost(_) => ErrorKind::Unavailable,
            Self::StillDamaged { .. } => ErrorKind::Damaged,
            Self::Busy { .. } | Self::TakenOver { .. } => ErrorKind::Busy,
            Self::Record { .. } | Self::Cancelled | Self::Task(_) => ErrorKind::Other,
        }
    }
}

fn of_earlier(missing: usize) -> String {
    match missing {
        1 => "1 blob of an earlier sequence that is not".to_owned(),
        _ => format!("{missing} blobs of earlier sequences that are not"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(number: u64) -> Sequence {
        Sequence::new(number).unwrap()
    }

    #[test]
    fn one_blob_is_one() {
        let missing = |missing| ImportError::RequiredMissing {
            stands: None,
            sequence: at(2),
            missing,
            first: Digest::of(b""),
            images: vec!["a:1".to_owned()],
        };
        let one = missing(1).to_string();
        assert!(
            one.starts_with("gap: sequence 2 needs 1 blob of an earlier sequence that is not at")
        );
        let two = missing(2).to_string();
        assert!(
            two.contains("needs 2 blobs of earlier sequences that are not at the target, first ")
        );
    }
}
