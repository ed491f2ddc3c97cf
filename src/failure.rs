//! Why a command failed: the one place where the errors of every crate get their kind, their exit
//! code and their hints.
//!
//! In: errors of the configuration, the keys, `bundler`, `importer` and `registry`. Out: `error: …` and
//! `hint: …` on stderr, a JSON object on stdout when JSON was asked for, and the exit code.

#[cfg(feature = "create")]
mod causes;
#[cfg(feature = "create")]
mod of_catalog;
#[cfg(feature = "create")]
mod of_create;
#[cfg(all(feature = "create", feature = "import"))]
mod of_release;
#[cfg(feature = "serve")]
mod of_serve;

use std::error::Error;
use std::ffi::OsString;
use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

use serde::Serialize;

use crate::output::{Output, plain_lines};
use crate::typed::Typed;

/// The next step after a wrong command line.
const HELP: &str = "`--help` after the command explains its options";

/// The next step after a file that configures the access to registries.
const ACCESS: &str = "mend that file, or name another one: `--authfile FILE`, `--ca-file FILE`, \
                      `--registries-conf FILE`";

/// The exit codes' table, which scripts depend on; `docs` and the help repeat it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Any other cause.
    Failed,
    /// Stopped by a signal.
    Interrupted,
    /// Some content could not be had and `--strict` was given: the bits 2, 4, 8, 16.
    Content(u8),
    /// The command line or the configuration is wrong.
    Usage,
    /// A digest, cell or length does not match.
    Damaged,
    /// A part or the head is missing.
    Incomplete,
    /// No signature, an unknown key, a bad signature.
    Untrusted,
    /// Sequences in between are missing.
    Gap,
    /// Older than what the target has.
    Stale,
    /// Another history, or another stream.
    Fork,
    /// Disk full, read-only, no permission.
    NoSpace,
    /// A registry or the network gave up after retries.
    Unavailable,
    /// The registry refused the credentials.
    Credentials,
}

impl Kind {
    /// The exit code.
    pub const fn exit(self) -> u8 {
        match self {
            Self::Failed | Self::Interrupted => 1,
            Self::Content(bits) => bits,
            Self::Usage => 64,
            Self::Damaged => 65,
            Self::Incomplete => 66,
            Self::Untrusted => 67,
            Self::Gap => 68,
            Self::Stale => 69,
            Self::Fork => 70,
            Self::NoSpace => 73,
            Self::Unavailable => 75,
            Self::Credentials => 77,
        }
    }

    /// The name in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Interrupted => "interrupted",
            Self::Content(_) => "content",
            Self::Usage => "usage",
            Self::Damaged => "damaged",
            Self::Incomplete => "incomplete",
            Self::Untrusted => "untrusted",
            Self::Gap => "gap",
            Self::Stale => "stale",
            Self::Fork => "fork",
            Self::NoSpace => "cannot-write",
            Self::Unavailable => "unavailable",
            Self::Credentials => "credentials",
        }
    }

    /// What a file fault on this machine is: 73 when the disk or its rights are the cause, otherwise
    /// `or`.
    fn of_io(error: &io::Error, or: Self) -> Self {
        use io::ErrorKind::{
            FileTooLarge, PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull,
        };
        match error.kind() {
            FileTooLarge | PermissionDenied | QuotaExceeded | ReadOnlyFilesystem | StorageFull => {
                Self::NoSpace
            }
            _ => or,
        }
    }
}

/// How a command that did its work ends: 0, or the bits of content that could not be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit(u8);

impl Exit {
    /// Everything was done.
    pub const DONE: Self = Self(0);

    /// The work was done, and what was looked at is not as it should be.
    #[cfg(feature = "serve")]
    pub const UNHEALTHY: Self = Self(1);

    /// Nothing was done, as content of earlier sequences is missing, which the answer names.
    #[cfg(feature = "import")]
    pub const GAP: Self = Self(68);

    /// As the same command ended on another machine.
    #[cfg(feature = "serve")]
    pub const fn of_remote(code: u8) -> Self {
        Self(code)
    }

    /// Done, but content of these classes could not be had.
    #[cfg(feature = "create")]
    pub const fn without(bits: u8) -> Self {
        Self(bits)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.0)
    }
}

/// A failure with what to do next.
#[derive(Debug)]
pub struct Failure {
    /// Its kind, and with it the exit code.
    pub kind: Kind,
    error: String,
    hints: Vec<String>,
    /// The findings of a configuration, for JSON.
    findings: Vec<Finding>,
    /// Content that could not be had, for JSON.
    failures: Vec<format_spec::head::Failure>,
    /// Whether a sequence was written, where the exit code alone does not say it.
    written: Option<bool>,
}

impl Failure {
    /// A failure with this message.
    pub fn new(kind: Kind, error: impl Display) -> Self {
        let (hints, findings, failures) = (Vec::new(), Vec::new(), Vec::new());
        Self { kind, error: error.to_string(), hints, findings, failures, written: None }
    }

    /// A failure with the message of an error and of its causes.
    pub fn of(kind: Kind, error: &dyn Error) -> Self {
        Self::new(kind, chain(error))
    }

    /// The command line is wrong.
    pub fn usage(error: impl Display) -> Self {
        Self::new(Kind::Usage, error)
    }

    /// A fault of a file: 73 when the disk or its rights are the cause, with what to do about them; otherwise `kind`.
    pub fn io(kind: Kind, doing: &str, error: &io::Error) -> Self {
        let failure = Self::new(Kind::of_io(error, kind), format!("{doing}: {}", chain(error)));
        failure.hinted(Some(error), None)
    }

    /// With what to do about the rights of a file, where they are the cause; otherwise with `own`.
    fn hinted(mut self, cause: Option<&io::Error>, own: Option<String>) -> Self {
        self.hints.extend(cause.and_then(of_rights).map(ToOwned::to_owned).or(own));
        self
    }

    /// Adds what to do next.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// With more words, as the last lines of another program's log.
    #[must_use]
    pub fn with_detail(mut self, words: &str) -> Self {
        self.error.push_str(words);
        self
    }

    /// With hints whose commands have the options of this command line.
    #[must_use]
    pub fn for_line(mut self, arguments: impl IntoIterator<Item = OsString>) -> Self {
        let arguments: Vec<OsString> = arguments.into_iter().collect();
        if arguments.iter().any(|word| word == "registry") {
            // Everything of a registry is in its own directory.
            for hint in &mut self.hints {
                *hint = hint.replace("`--workspace DIR`", "`--data-dir DIR`");
            }
        }
        if let Some(typed) = Typed::of(arguments) {
            for hint in &mut self.hints {
                *hint = typed.complete(hint);
            }
        }
        self
    }

    /// With each hint as `of` makes it.
    #[cfg(feature = "create")]
    pub fn map_hints(&mut self, of: impl Fn(&str) -> String) {
        for hint in &mut self.hints {
            *hint = of(hint);
        }
    }

    /// With a next step, where there is none.
    #[cfg(feature = "create")]
    #[must_use]
    pub fn or_hinted(mut self, hint: &str) -> Self {
        if self.hints.is_empty() {
            self.hints.push(hint.to_owned());
        }
        self
    }

    /// With this next step in place of others.
    #[cfg(any(feature = "create", feature = "import"))]
    #[must_use]
    pub fn hinted_instead(mut self, hint: &str) -> Self {
        self.hints = vec![hint.to_owned()];
        self
    }

    /// Adds a next step to a wrong command line that has none.
    pub fn or_hint(mut self, hint: &str) -> Self {
        if self.kind == Kind::Usage && self.hints.is_empty() {
            self.hints.push(hint.to_owned());
        }
        self
    }

    /// Prints the failure and gives its exit code.
    pub fn report(&self, output: Output) -> ExitCode {
        let exit = self.tell();
        if output.is_json() {
            // When stdout is gone the exit code still tells.
            let _ = output.print(&self.json(), "");
        }
        exit.into()
    }

    /// Prints the failure on stderr only, for a command whose answer on stdout holds the findings.
    pub fn tell(&self) -> Exit {
        let mut text = format!("error: {}\n", self.error);
        for hint in self.hints() {
            text.push_str("hint: ");
            text.push_str(hint);
            text.push('\n');
        }
        // When stderr is gone the exit code still tells.
        let _ = io::stderr().write_all(plain_lines(&text).as_bytes());
        Exit(self.kind.exit())
    }

    /// What to do next. A wrong command line that nobody thought of leads to the help at least; the text of
    /// the parser does so itself.
    fn hints(&self) -> impl Iterator<Item = &str> {
        let nothing =
            self.kind == Kind::Usage && self.hints.is_empty() && !self.error.contains("--help");
        self.hints.iter().map(String::as_str).chain(nothing.then_some(HELP))
    }

    fn json(&self) -> Document<'_> {
        Document {
            error: Told {
                kind: self.kind.name(),
                exit: self.kind.exit(),
                message: &self.error,
                hints: self.hints().collect(),
                findings: &self.findings,
                failures: &self.failures,
            },
            written: self.written,
        }
    }
}

/// A failure in JSON.
#[derive(Debug, Serialize)]
struct Document<'a> {
    error: Told<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    written: Option<bool>,
}

#[derive(Debug, Serialize)]
struct Told<'a> {
    kind: &'static str,
    exit: u8,
    message: &'a str,
    hints: Vec<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    findings: &'a [Finding],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    failures: &'a [format_spec::head::Failure],
}

/// One fault of a configuration.
#[derive(Debug, Serialize)]
struct Finding {
    file: String,
    line: u32,
    column: u32,
    field: String,
    problem: String,
    hint: Option<String>,
}

/// What to do about a file or directory that this user may not use; `None` for every other fault.
fn of_rights(error: &io::Error) -> Option<&'static str> {
    match error.kind() {
        io::ErrorKind::PermissionDenied => Some(
            "`ls -ld` with this path shows whose it is and who may use it: give the user who runs this the \
             right to read and write it, then run the same command again; or name another place, as \
             `--workspace DIR`",
        ),
        io::ErrorKind::ReadOnlyFilesystem => Some(
            "its file system is mounted read-only: mount it for writing, or name another place, as \
             `--workspace DIR`",
        ),
        _ => None,
    }
}

/// The message of an error and its causes, joined by `: `. A cause that its parent repeats is left out.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let words = cause.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        next = cause.source();
    }
    text
}

impl From<registry::client::ClientError> for Failure {
    fn from(error: registry::client::ClientError) -> Self {
        use registry::client::ErrorKind;
        let kind = match error.kind() {
            ErrorKind::Credentials => Kind::Credentials,
            // Refused TLS is reported like a registry that cannot be reached.
            ErrorKind::Unavailable | ErrorKind::Tls => Kind::Unavailable,
            ErrorKind::Damaged => Kind::Damaged,
            ErrorKind::Config => Kind::Usage,
            ErrorKind::Full => Kind::NoSpace,
            ErrorKind::Source => {
                error.source_error().map_or(Kind::Failed, |io| Kind::of_io(io, Kind::Failed))
            }
            ErrorKind::NotFound | ErrorKind::Blocked | ErrorKind::Refused | ErrorKind::Protocol => {
                Kind::Failed
            }
        };
        let hint = error.hint();
        let mut failure = Self::of(kind, &error);
        failure.hints.extend(hint);
        failure.or_hint(ACCESS)
    }
}

/// The exit code of a fault of a medium, or of an import.
#[cfg(feature = "import")]
fn of_medium(error: &importer::ImportError) -> Kind {
    use importer::{ErrorKind, ImportError};
    match error.exit() {
        ErrorKind::Usage => Kind::Usage,
        ErrorKind::Damaged => Kind::Damaged,
        ErrorKind::Incomplete => Kind::Incomplete,
        ErrorKind::Untrusted => Kind::Untrusted,
        ErrorKind::Gap => Kind::Gap,
        ErrorKind::Stale => Kind::Stale,
        ErrorKind::ForkOrForeign => Kind::Fork,
        ErrorKind::NoSpace => Kind::NoSpace,
        ErrorKind::Unavailable => Kind::Unavailable,
        ErrorKind::Credentials => Kind::Credentials,
        // Waiting mends it, like a registry that is away.
        ErrorKind::Busy => Kind::Unavailable,
        ErrorKind::Other if matches!(error, ImportError::Cancelled) => Kind::Interrupted,
        ErrorKind::Other => Kind::Failed,
    }
}

#[cfg(feature = "import")]
impl From<importer::ImportError> for Failure {
    fn from(error: importer::ImportError) -> Self {
        use importer::ImportError;
        let kind = of_medium(&error);
        let innermost = match &error {
            ImportError::Resources(error) => error,
            error => error,
        };
        let cause = match innermost {
            ImportError::Write { source, .. } | ImportError::State { source, .. } => Some(source),
            _ => None,
        };
        Self::of(kind, &error).hinted(cause, error.hint()).or_hint(ACCESS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_codes_are_those_of_the_table() {
        let table = [
            (Kind::Failed, 1),
            (Kind::Interrupted, 1),
            (Kind::Content(2 | 8), 10),
            (Kind::Usage, 64),
            (Kind::Damaged, 65),
            (Kind::Incomplete, 66),
            (Kind::Untrusted, 67),
            (Kind::Gap, 68),
            (Kind::Stale, 69),
            (Kind::Fork, 70),
            (Kind::NoSpace, 73),
            (Kind::Unavailable, 75),
            (Kind::Credentials, 77),
        ];
        for (kind, exit) in table {
            assert_eq!(kind.exit(), exit, "{}", kind.name());
        }
    }

    #[cfg(feature = "create")]
    #[test]
    fn a_medium_that_is_too_small_shows_what_takes_the_most() {
        let digest = format_spec::Digest::of(b"");
        let image = "host/app/liar:1".to_owned();
        let failure = Failure::from(bundler::CreateError::Space {
            directory: "media".into(),
            needed: 8 << 40,
            available: 3 << 29,
            largest: vec![bundler::Large { digest, size: 8 << 40, image }],
        });
        assert_eq!(
            failure.error,
            format!(
                "not enough space in `media`: the sequence needs 8.0 TiB there, 1.5 GiB are free; its \
                 largest blobs:\n  8.0 TiB  host/app/liar:1  {digest}"
            )
        );
        assert_eq!(failure.kind, Kind::NoSpace);
        assert!(failure.hints[0].contains("blockedImages"));
    }

    #[derive(Debug, thiserror::Error)]
    #[error("cannot read the head: {source}")]
    struct Outer {
        source: Inner,
    }

    #[derive(Debug, thiserror::Error)]
    #[error("bad block")]
    struct Inner(#[source] io::Error);

    #[test]
    fn causes_are_told_once() {
        let error = Outer { source: Inner(io::Error::other("media gone")) };
        assert_eq!(chain(&error), "cannot read the head: bad block: media gone");
    }

    #[test]
    fn a_registry_is_named_by_its_data_directory() {
        let closed = io::Error::from(io::ErrorKind::PermissionDenied);
        let hint = |line: &[&str]| {
            let failure = Failure::io(Kind::Failed, "cannot write", &closed);
            failure.for_line(line.iter().map(OsString::from)).hints[0].clone()
        };
        assert!(hint(&["bundle", "registry", "serve"]).contains("as `--data-dir DIR`"));
        assert!(hint(&["bundle", "import", "--from", "x"]).contains("as `--workspace DIR`"));
    }

    #[test]
    fn a_full_disk_has_its_own_code() {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        assert_eq!(Failure::io(Kind::Failed, "cannot write", &full).kind, Kind::NoSpace);
        let gone = io::Error::from(io::ErrorKind::NotFound);
        let gone = Failure::io(Kind::Usage, "cannot read", &gone);
        assert_eq!(gone.kind, Kind::Usage);
        assert!(gone.hints.is_empty());
        for kind in [io::ErrorKind::PermissionDenied, io::ErrorKind::ReadOnlyFilesystem] {
            let denied = Failure::io(Kind::Usage, "cannot read", &kind.into());
            assert_eq!(denied.kind, Kind::NoSpace);
            // The hint of the file's own kind would lead astray.
            assert_eq!(denied.or_hint("name a key").hints.len(), 1);
        }
    }

    #[test]
    fn a_wrong_command_line_has_a_next_step() {
        let bare = Failure::usage("the label `a` is given twice");
        assert_eq!(bare.hints().collect::<Vec<_>>(), [HELP]);
        let of_clap = Failure::usage("unexpected argument\n\nFor more information, try '--help'.");
        assert_eq!(of_clap.hints().count(), 0);
        let own = Failure::usage("no").with_hint("yes");
        assert_eq!(own.hints().collect::<Vec<_>>(), ["yes"]);
        assert_eq!(Failure::new(Kind::Failed, "no").hints().count(), 0);
    }

    #[test]
    fn json_carries_kind_code_and_hints() {
        let failure = Failure::new(Kind::Gap, "gap").with_hint("carry sequence 3");
        assert_eq!(
            serde_json::to_value(failure.json()).unwrap(),
            serde_json::json!({"error": {"kind": "gap", "exit": 68, "message": "gap", "hints": ["carry sequence 3"]}})
        );
    }
}
