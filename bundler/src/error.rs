//! What can go wrong on the connected side, one variant for each fault that a person can act on.

use std::io;
use std::path::PathBuf;

use format_spec::head::ContentClass;
use format_spec::limits::TEXT_MAX;
use format_spec::{Digest, Sequence, StreamId};
use registry::client::{ClientError, ErrorKind as WireKind};

/// Which exit code an error means; the command maps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The command line or the configuration.
    Usage,
    /// Something read does not have its digest or length.
    Damaged,
    /// A registry or the network gave up after retries.
    Unavailable,
    /// A registry refused the credentials.
    Credentials,
    /// Disk full, read-only, no permission.
    NoSpace,
    /// Two histories of one stream.
    Fork,
    /// Some content could not be had: exit-code bits.
    Content(u8),
    /// Anything else.
    Other,
}

/// A blob that takes much of the medium.
#[derive(Debug, Clone)]
pub struct Large {
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes, as manifests have it.
    pub size: u64,
    /// The first image that needs it.
    pub image: String,
}

/// Why a create did not end in a sequence.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// A registry.
    #[error(transparent)]
    Wire(#[from] ClientError),
    /// A file of the workspace or of the medium.
    #[error("cannot {doing}: {source}")]
    File {
        /// What was being done.
        doing: &'static str,
        /// The system's answer, which names the path.
        source: io::Error,
    },
    /// The medium is too small.
    #[error("not enough space in `{}`", .directory.display())]
    Space {
        /// The directory.
        directory: PathBuf,
        /// Bytes that the sequence needs.
        needed: u64,
        /// Bytes that are free.
        available: u64,
        /// The largest blobs that are new: one of them may be a mistake.
        largest: Vec<Large>,
    },
    /// The target of a mirror does not take it, in the words of who was asked.
    #[error("{0}")]
    Target(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The target of a mirror does not have what it took.
    #[error("the target said that it has {blobs} {}, and does not: first `{first}`", if *.blobs == 1 { "blob" } else { "blobs" })]
    NotKept {
        /// The first of them.
        first: String,
        /// How many.
        blobs: usize,
    },
    /// A path that was to hold images.
    #[error(transparent)]
    Lists(#[from] crate::lists::ListError),
    /// Two sources would land on one name.
    #[error("`{first}` and `{second}` would both become `{destination}` at the target")]
    Collision {
        /// One source.
        first: String,
        /// The other one.
        second: String,
        /// The name at the target.
        destination: String,
    },
    /// A destination that is not a valid name.
    #[error("`{source_reference}` has no valid name at the target: {problem}")]
    Destination {
        /// The source.
        source_reference: String,
        /// What is wrong.
        problem: String,
    },
    /// Nothing of what was asked for could be had, or `--strict` was given and something could not.
    #[error("{} could not be had:{}", count(.failures.len()), list(.failures))]
    Content {
        /// Each reference and why.
        failures: Vec<format_spec::head::Failure>,
        /// The kind of fault behind each of them.
        causes: Vec<Option<WireKind>>,
        /// What can be done about some of them.
        hints: Vec<String>,
    },
    /// Content of a sequence that is to be written again is gone.
    #[error(
        "sequence {sequence} cannot be written again as it was: {} could not be had:{}",
        count(.failures.len()),
        list(.failures)
    )]
    Gone {
        /// The sequence.
        sequence: Sequence,
        /// Each reference and why.
        failures: Vec<format_spec::head::Failure>,
        /// The kind of fault behind each of them.
        causes: Vec<Option<WireKind>>,
    },
    /// Another workspace wrote the same number.
    #[error(
        "`{place}` has another sequence {sequence} than this workspace: two workspaces wrote there"
    )]
    Fork {
        /// Where the other history is.
        place: String,
        /// The first number that differs.
        sequence: Sequence,
    },
    /// The history of the stream is not readable.
    #[error("the history in `{}` is damaged: {problem}", .path.display())]
    History {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// `--since` names a sequence that the stream does not have.
    #[error("the stream has no sequence {since}: the last one is {last}")]
    Since {
        /// What was asked for.
        since: Sequence,
        /// The last one; 0 when there is none.
        last: u64,
    },
    /// A sequence was published and the medium is gone before that was recorded.
    #[error(
        "sequence {sequence} was being published to `{}` when the last run ended, and that directory \
         cannot be looked at now",
        .directory.display()
    )]
    Unsettled {
        /// The sequence.
        sequence: Sequence,
        /// Where.
        directory: PathBuf,
    },
    /// The sequence that is to be written again is there.
    #[error("`{}` already holds sequence {sequence} as this workspace wrote it", .directory.display())]
    Present {
        /// The directory.
        directory: PathBuf,
        /// The sequence.
        sequence: Sequence,
    },
    /// Files of another sequence with the same name are in the directory.
    #[error(
        "`{}` already holds files of a sequence {sequence} that this workspace did not write ({file})",
        .directory.display()
    )]
    Occupied {
        /// The directory.
        directory: PathBuf,
        /// The number that both have.
        sequence: Sequence,
        /// One of the files.
        file: String,
    },
    /// Sequences of another stream are in the directory.
    #[error(
        "`{}` already holds sequence {sequence} of stream {other}; this workspace writes stream {stream}",
        .directory.display()
    )]
    OtherStream {
        /// The directory.
        directory: PathBuf,
        /// One of its sequences.
        sequence: Sequence,
        /// Their stream.
        other: StreamId,
        /// The stream of this workspace.
        stream: StreamId,
    },
    /// Another create runs in this workspace or on this medium.
    #[error("another `bundle create` is at work in `{}`", .0.display())]
    Busy(PathBuf),
    /// The history in the registry moved while this run was at work.
    #[error("the history at `{image}` of stream {stream} was changed by somebody else meanwhile")]
    Moved {
        /// The image.
        image: String,
        /// The stream.
        stream: StreamId,
    },
    /// The keys that sign cannot be had; who has them knows why.
    #[error("there is no key to sign the sequence with")]
    Unsigned,
    /// The layout or the index cannot be made.
    #[error("the sequence cannot be laid out: {0}")]
    Layout(String),
    /// The medium does not give back what was written to it.
    #[error("`{file}` does not read back as it was written: bytes {from} to {to}")]
    ReadBack {
        /// The file.
        file: String,
        /// The first byte of the stretch that is not as it was.
        from: u64,
        /// The byte behind it.
        to: u64,
    },
    /// Ctrl-C.
    #[error("stopped; what is finished so far is kept")]
    Cancelled,
}

fn count(failures: usize) -> String {
    if failures == 1 { "1 reference".to_owned() } else { format!("{failures} references") }
}

/// One line for each of the first failures.
fn list(failures: &[format_spec::head::Failure]) -> String {
    const LINES: usize = 20;
    let lines = failures.iter().take(LINES).map(|f| format!("\n  `{}`: {}", f.reference, f.reason));
    let mut text: String = lines.collect();
    if failures.len() > LINES {
        text += &format!("\n  … and {} more", failures.len() - LINES);
    }
    text
}

impl CreateError {
    /// Wraps an I/O error with what was being done.
    pub(crate) fn file(doing: &'static str) -> impl Fn(io::Error) -> Self {
        move |source| Self::File { doing, source }
    }

    /// The kind, which decides the exit code.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Wire(error) => match error.kind() {
                WireKind::Credentials => ErrorKind::Credentials,
                WireKind::Unavailable | WireKind::Tls => ErrorKind::Unavailable,
                WireKind::Damaged => ErrorKind::Damaged,
                WireKind::Config => ErrorKind::Usage,
                WireKind::Full => ErrorKind::NoSpace,
                _ => ErrorKind::Other,
            },
            Self::File { source, .. } => match source.kind() {
                io::ErrorKind::StorageFull
                | io::ErrorKind::QuotaExceeded
                | io::ErrorKind::ReadOnlyFilesystem
                | io::ErrorKind::PermissionDenied
                | io::ErrorKind::FileTooLarge
                | io::ErrorKind::NotADirectory
                | io::ErrorKind::IsADirectory
                | io::ErrorKind::NotFound
                | io::ErrorKind::AlreadyExists => ErrorKind::NoSpace,
                _ => ErrorKind::Other,
            },
            Self::Space { .. } => ErrorKind::NoSpace,
            Self::Collision { .. }
            | Self::Destination { .. }
            | Self::Lists(_)
            | Self::Since { .. }
            | Self::Occupied { .. }
            | Self::Present { .. }
            | Self::OtherStream { .. }
            | Self::Unsigned
            | Self::Layout(_) => ErrorKind::Usage,
            // One cause for all decides the exit code: wrong credentials are not missing content.
            Self::Content { failures, causes, .. } | Self::Gone { failures, causes, .. } => {
                match common(causes) {
                    Some(WireKind::Credentials) => ErrorKind::Credentials,
                    Some(WireKind::Unavailable | WireKind::Tls) => ErrorKind::Unavailable,
                    _ => ErrorKind::Content(exit_bits(failures)),
                }
            }
            Self::History { .. } | Self::ReadBack { .. } => ErrorKind::Damaged,
            Self::Fork { .. } => ErrorKind::Fork,
            Self::NotKept { .. } => ErrorKind::Unavailable,
            Self::Target(_)
            | Self::Unsettled { .. }
            | Self::Busy(_)
            | Self::Moved { .. }
            | Self::Cancelled => ErrorKind::Other,
        }
    }

    /// The next step for a person.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Wire(error) => return error.hint(),
            Self::Space { .. } => {
                "free space there, or choose another directory with --to; what is fetched so far is \
                 kept and the same command goes on. An image that should not be so large can be left out \
                 with `blockedImages`"
                    .to_owned()
            }
            Self::File { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                "free some space there, then run the same command again; what is finished so far is kept"
                    .to_owned()
            }
            Self::File { .. } if self.kind() == ErrorKind::NoSpace => {
                "mend the directory or choose another one, then run the same command again; what is \
                 finished so far is kept"
                    .to_owned()
            }
            Self::Collision { .. } => {
                "give one of them a `targetRepo` or `targetTag` in the configuration".to_owned()
            }
            Self::Destination { .. } => {
                "give it a `targetRepo` and a `targetTag` in the configuration".to_owned()
            }
            Self::Target(_) => return None,
            Self::NotKept { .. } => "run the same command again: what is there by now stays".to_owned(),
            Self::Lists(_) => {
                "`--images` takes a list (a reference a line), a mapping file of `oc image mirror`, the JSON list of a \
                 MicroShift release, a directory of `oc image mirror`, `oc adm catalog mirror` or skopeo, or an archive"
                    .to_owned()
            }
            Self::Content { causes, .. } => {
                let mut mends: Vec<&str> = Vec::new();
                for mend in causes.iter().copied().map(mend) {
                    if !mends.contains(&mend) {
                        mends.push(mend);
                    }
                }
                let mends = mends.join("; ");
                format!("{mends}, then run the same command again; no sequence was written")
            }
            Self::Gone { .. } => {
                "when the source has it no more, carry what there is now: the same command without `--resend`, \
                 with `--full`, makes a sequence that stands alone"
                    .to_owned()
            }
            Self::Fork { place, .. } => format!(
                "one of the two goes: when the other side imported the one that `{place}` has, go on from there \
                 with `--workspace DIR --key FILE`, a new directory and this workspace's key; otherwise begin a \
                 new stream at another place"
            ),
            Self::History { .. } => {
                "restore the workspace from a backup, or begin a new stream in another --workspace"
                    .to_owned()
            }
            Self::Since { last: 0, .. } => {
                "the workspace has no stream yet: name that of the stream with --workspace DIR, or leave --since \
                 out to begin a new stream"
                    .to_owned()
            }
            Self::Since { .. } => "name a sequence from 1 to the last one, or use --full".to_owned(),
            Self::Unsettled { directory, .. } => format!(
                "make `{}` readable again and run the same command; if that medium is lost for good, \
                 remove `history/pending` in the workspace",
                directory.display()
            ),
            Self::Present { directory, .. } => format!(
                "`bundle verify --from {}` says whether it is whole; to write it again, name an empty directory \
                 with `--to DIR`. Nothing there was changed",
                directory.display()
            ),
            Self::Occupied { .. } => {
                "choose an empty directory with --to; nothing there was changed".to_owned()
            }
            Self::OtherStream { .. } => {
                "choose a directory for this stream alone with `--to DIR`, or name the workspace of the \
                 other stream with `--workspace DIR`; nothing there was changed"
                    .to_owned()
            }
            Self::ReadBack { .. } => {
                "do not trust this medium or its reader: choose another one with `--to DIR`; no sequence was \
                 published"
                    .to_owned()
            }
            Self::Unsigned => "name a private key: `--key FILE`".to_owned(),
            Self::Busy(_) => "wait for it to end".to_owned(),
            Self::Moved { .. } => "run the same command again".to_owned(),
            Self::Cancelled => "run the same command again to go on".to_owned(),
            Self::File { .. } | Self::Layout(_) => return None,
        })
    }
}

/// The cause that all failures have.
fn common(causes: &[Option<WireKind>]) -> Option<WireKind> {
    let (first, rest) = causes.split_first()?;
    first.filter(|_| rest.iter().all(|other| other == first))
}

/// What to do about content that could not be had.
fn mend(cause: Option<WireKind>) -> &'static str {
    match cause {
        Some(WireKind::Credentials) => {
            "correct the credentials where it is said above that they came from, log in with `podman login \
             HOST`, or name the file that has them with `--authfile FILE`"
        }
        Some(WireKind::Tls) => {
            "name the registry's authority with `--ca-file FILE`, or look at its certificate and at \
             this machine's clock"
        }
        Some(WireKind::Unavailable) => {
            "see that the registry runs, and that host and port are right"
        }
        Some(WireKind::Damaged) => {
            "what arrives is not what its digest and size say: look for a proxy in between that \
             changes content, and at the storage of the source"
        }
        _ => "correct what is named above, in the configuration or at the source",
    }
}

/// Why something failed, with its causes, as it can stand in the head.
pub(crate) fn reason(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    fit(&text)
}

/// A text as it can stand in the head: one line, within the limit whatever its characters are.
pub(crate) fn fit(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(TEXT_MAX / 4).collect()
}

/// The exit-code bits of the classes of these failures.
pub fn exit_bits(failures: &[format_spec::head::Failure]) -> u8 {
    failures.iter().map(|failure| ContentClass::exit_bit(failure.class)).fold(0, |a, b| a | b)
}
