//! Why a command failed: the one place where the errors of every crate get their kind, their exit
//! code and their hints.
//!
//! In: errors of the configuration, the keys, `bundler`, `importer` and `registry`. Out: `error: …` and
//! `hint: …` on stderr, a JSON object on stdout when JSON was asked for, and the exit code.

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
        if let Some(typed) = Typed::of(arguments) {
            for hint in &mut self.hints {
                *hint = typed.complete(hint);
            }
        }
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

#[cfg(feature = "create")]
mod of_create {
    use super::{ACCESS, Failure, Finding, Kind};
    use crate::size;
    use bundler::config::{self, ConfigErrors};
    use bundler::{CreateError, ErrorKind, Large};

    impl From<ConfigErrors> for Failure {
        fn from(error: ConfigErrors) -> Self {
            // A configuration that cannot be read is a wrong command line, whatever the disk says.
            let mut failure = Self::of(Kind::Usage, &error);
            failure.findings = error.findings().iter().map(Finding::of).collect();
            if matches!(error, ConfigErrors::Missing { .. }) {
                return failure
                    .with_hint("name the file that there is: `--config FILE`")
                    .with_hint("`bundle init > imageset-config.yaml` makes one to begin with");
            }
            failure.with_hint(
                "mend the configuration and run the same command again; `bundle init` prints one with \
                 every field explained",
            )
        }
    }

    impl Failure {
        /// A configuration that asks for what this version does not carry.
        pub fn unsupported(findings: &[config::Finding]) -> Self {
            use std::fmt::Write as _;
            let mut text =
                "the configuration asks for content that this version does not carry".to_owned();
            for finding in findings {
                // Writing to a String cannot fail.
                let _ = write!(text, "\n  {finding}");
                if let Some(hint) = &finding.hint {
                    let _ = write!(text, "\n    hint: {hint}");
                }
            }
            let mut failure = Self::usage(text);
            failure.findings = findings.iter().map(Finding::of).collect();
            failure.with_hint("take these out of the configuration and run the same command again")
        }
    }

    impl Finding {
        fn of(finding: &config::Finding) -> Self {
            Self {
                file: finding.file.clone(),
                line: finding.line,
                column: finding.column,
                field: finding.field.clone(),
                problem: finding.problem.clone(),
                hint: finding.hint.clone(),
            }
        }
    }

    /// How much is missing on the medium, and what takes the most: the eye finds what should not be so large.
    fn need(needed: u64, available: u64, largest: &[Large]) -> String {
        let (needed, available) = (size::show(needed), size::show(available));
        let mut text = format!(": the sequence needs {needed} there, {available} are free");
        if !largest.is_empty() {
            text += "; its largest blobs:";
        }
        for Large { digest, size, image } in largest {
            text += &format!("\n  {}  {image}  {digest}", size::show(*size));
        }
        text
    }

    impl From<CreateError> for Failure {
        fn from(error: CreateError) -> Self {
            let kind = match error.kind() {
                ErrorKind::Usage => Kind::Usage,
                ErrorKind::Damaged => Kind::Damaged,
                ErrorKind::Unavailable => Kind::Unavailable,
                ErrorKind::Credentials => Kind::Credentials,
                ErrorKind::NoSpace => Kind::NoSpace,
                ErrorKind::Content(bits) => Kind::Content(bits),
                ErrorKind::Fork => Kind::Fork,
                // Waiting and running again mends it, like a registry that is away.
                ErrorKind::Other
                    if matches!(error, CreateError::Busy(_) | CreateError::Moved { .. }) =>
                {
                    Kind::Unavailable
                }
                ErrorKind::Other if matches!(error, CreateError::Cancelled) => Kind::Interrupted,
                ErrorKind::Other => Kind::Failed,
            };
            let cause = match &error {
                CreateError::File { source, .. } => Some(source),
                _ => None,
            };
            let mut failure = Self::of(kind, &error).hinted(cause, error.hint());
            failure = failure.or_hint(match error {
                CreateError::Wire(_) => ACCESS,
                _ => "carry less at once: larger parts with `--size`, or several configurations with a \
                      `--workspace` each",
            });
            match error {
                CreateError::Content { failures, .. } => {
                    failure.failures = failures;
                    failure.written = Some(false);
                }
                CreateError::Space { needed, available, largest, .. } => {
                    failure.error += &need(needed, available, &largest);
                }
                _ => {}
            }
            failure
        }
    }
}

#[cfg(feature = "import")]
impl From<importer::ImportError> for Failure {
    fn from(error: importer::ImportError) -> Self {
        use importer::{ErrorKind, ImportError};
        let kind = match error.exit() {
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
        };
        let cause = match &error {
            ImportError::Write { source, .. } | ImportError::State { source, .. } => Some(source),
            _ => None,
        };
        Self::of(kind, &error).hinted(cause, error.hint()).or_hint(ACCESS)
    }
}

#[cfg(feature = "serve")]
impl From<registry::server::settings::SettingsError> for Failure {
    fn from(error: registry::server::settings::SettingsError) -> Self {
        Self::of(Kind::Usage, &error).with_hint("mend the file")
    }
}

#[cfg(feature = "serve")]
impl From<registry::server::certificate::CertificateError> for Failure {
    fn from(error: registry::server::certificate::CertificateError) -> Self {
        use registry::server::certificate::CertificateError;
        let io = match &error {
            CertificateError::Io(io) => Some(io),
            _ => None,
        };
        let kind = io.map_or(Kind::Usage, |io| Kind::of_io(io, Kind::Usage));
        Self::of(kind, &error).hinted(io, error.hint())
    }
}

#[cfg(feature = "serve")]
impl From<registry::server::access::AccessError> for Failure {
    fn from(error: registry::server::access::AccessError) -> Self {
        use registry::server::access::AccessError;
        let io = match &error {
            AccessError::Io(io) => Some(io),
            _ => None,
        };
        let kind = io.map_or(Kind::Usage, |io| Kind::of_io(io, Kind::Usage));
        let own = io.is_none().then(|| "mend the file, or bring it back from a backup".to_owned());
        Self::of(kind, &error).hinted(io, own)
    }
}

#[cfg(feature = "serve")]
impl From<registry::server::access::accounts::AccountError> for Failure {
    fn from(error: registry::server::access::accounts::AccountError) -> Self {
        use registry::server::access::accounts::AccountError;
        let hint = match &error {
            AccountError::Exists(_) => "`bundle registry user passwd` gives it another password",
            AccountError::Unknown(_) => "`bundle registry user list` shows who there is",
            AccountError::NotGranted(_) => {
                "`bundle registry user list` shows the roles and patterns as they are"
            }
            AccountError::Robot(_) => {
                "a new token: `bundle registry user remove`, then `user add --robot`"
            }
            AccountError::Busy(_) => "run the same command again",
            AccountError::Password(_) => "choose another one, or none: one is made and shown then",
            _ => "`--help` after the command explains its options",
        };
        let kind = match &error {
            AccountError::Busy(_) => Kind::Unavailable,
            _ => Kind::Usage,
        };
        match error {
            AccountError::Access(error) => error.into(),
            error => Self::of(kind, &error).with_hint(hint),
        }
    }
}

#[cfg(feature = "serve")]
impl From<registry::server::ServerError> for Failure {
    fn from(error: registry::server::ServerError) -> Self {
        use registry::objects::ObjectsError;
        use registry::server::ServerError;
        use registry::store::StoreError;
        let error = match error {
            ServerError::Certificate(error) => return error.into(),
            ServerError::Access(error) => return error.into(),
            error => error,
        };
        let kind = match &error {
            ServerError::RemoteHttp(_) | ServerError::NoUsers { .. } => Kind::Usage,
            ServerError::Store(StoreError::Io(io)) => Kind::of_io(io, Kind::Failed),
            ServerError::Store(StoreError::ReadOnly | StoreError::Failed { .. }) => Kind::NoSpace,
            ServerError::Store(
                StoreError::NotAStore { .. }
                | StoreError::OverObjects { .. }
                | StoreError::FilesToo { .. },
            ) => Kind::Usage,
            ServerError::Store(StoreError::Objects(objects)) => match objects {
                ObjectsError::Unavailable { .. } => Kind::Unavailable,
                ObjectsError::Refused { .. } => Kind::Credentials,
                ObjectsError::Damaged { .. } => Kind::Damaged,
                _ => Kind::Usage,
            },
            ServerError::Store(StoreError::Locked { .. }) => Kind::Unavailable,
            ServerError::Log { error, .. } => Kind::of_io(error, Kind::NoSpace),
            _ => Kind::Failed,
        };
        let failure = Self::of(kind, &error);
        match &error {
            ServerError::RemoteHttp(_) => failure.with_hint(
                "leave `--http` out: the registry speaks TLS then, with a certificate that it makes",
            ),
            ServerError::NoUsers { data, .. } => failure.with_hint(format!(
                "make the first user: `bundle registry user add NAME --role admin --data-dir {}`",
                crate::typed::quoted(&data.display().to_string())
            )),
            ServerError::Listen { .. } => {
                failure.with_hint("name another address with `--listen 127.0.0.1:PORT`")
            }
            ServerError::Store(StoreError::Locked { .. }) => {
                failure.with_hint(
                    "stop the `bundle registry serve` that uses this data, or import into it: \
                     `bundle import --from DIR docker://HOST:PORT`, with the address that it listens on",
                )
            }
            ServerError::Store(StoreError::NotAStore { .. }) => {
                failure.with_hint("name an empty or new directory")
            }
            ServerError::Store(StoreError::OverObjects { .. }) => failure.with_hint(
                "its images are reached through the running registry: `bundle registry serve` with the \
                 `[objects]` of its registry.toml, and `bundle import` to that",
            ),
            ServerError::Store(StoreError::FilesToo { .. }) => failure.with_hint(
                "take `[objects]` out of it, or name a new directory; `skopeo sync` between two running \
                 registries carries images over",
            ),
            ServerError::Store(StoreError::Objects(objects)) => failure.with_hint(match objects {
                ObjectsError::Unavailable { .. } => {
                    "see that the `endpoint` of `[objects]` in registry.toml answers from this machine, \
                     then run the same command again"
                }
                ObjectsError::Refused { .. } => {
                    "put the right keys into the files of `access-key-file` and `secret-key-file`, and give \
                     them the right to list, read, write and delete in the bucket"
                }
                ObjectsError::NoBucket { .. } => {
                    "make the bucket with the store's own tools, or mend `bucket` of `[objects]` in registry.toml"
                }
                ObjectsError::Damaged { .. } => "restore the object from a backup of the bucket",
                _ => "mend `[objects]` in registry.toml; docs/operations.md shows it whole",
            }),
            ServerError::Store(StoreError::Io(io)) => failure.hinted(Some(io), None),
            ServerError::Log { setting, .. } => {
                let key = setting.rsplit('.').next().unwrap_or(setting);
                failure.with_hint(format!(
                    "mend the rights of that directory, or name another file in `registry.toml`,                      section `[log]`: `{key} = \"/var/log/bundle/{key}.jsonl\"`"
                ))
            }
            _ => failure,
        }
    }
}

#[cfg(feature = "serve")]
impl From<registry::store::StoreError> for Failure {
    fn from(error: registry::store::StoreError) -> Self {
        registry::server::ServerError::from(error).into()
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
