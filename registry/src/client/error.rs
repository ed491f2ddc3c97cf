//! What can go wrong at the wire, one variant a fault. What the person can do about each stands in `hint`.
//!
//! In: faults of single requests. Out: [`ClientError`], which names the operation and its subject.
//! What must hold: no secret and no query string (signed URLs, tokens) stands in any message.

use std::fmt;
use std::time::Duration;

use format_spec::Digest;

use super::mirrors::Place;
use crate::reference::RegistryHost;

/// Mirrors that an error names.
const MIRRORS: usize = 3;

/// Which credentials were used, in words without secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Used {
    /// Some, from this place.
    From(String),
    /// None, and why.
    Nothing(String),
}

impl fmt::Display for Used {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::From(place) => write!(f, "used {place}"),
            Self::Nothing(why) => f.write_str(why),
        }
    }
}

/// The cause of a failure, for exit codes and for deciding what to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The registry answered and does not have it.
    NotFound,
    /// The registry or its token server refused the credentials, or there are none (401, 403).
    Credentials,
    /// Gave up after retries: connection refused, unknown host, stalled, 5xx, 429.
    Unavailable,
    /// TLS was refused: certificate, name, or the host does not speak TLS.
    Tls,
    /// What arrived, or what the registry says arrived there, does not match its digest or size.
    Damaged,
    /// `registries.conf` forbids the pull.
    Blocked,
    /// The registry understood and said no (any other 4xx).
    Refused,
    /// The registry has no space left (507).
    Full,
    /// The answer breaks the distribution specification or a safety rule.
    Protocol,
    /// A file or program on this machine that configures access is missing or wrong.
    Config,
    /// The source of the bytes to upload failed; see [`ClientError::source_error`].
    Source,
}

/// Why TLS was refused, as far as it changes what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsCause {
    /// The certificate's authority is not trusted.
    UnknownAuthority,
    /// What the other side sent is no TLS at all.
    NotTls,
    /// The registry wants a certificate of ours, or another one.
    ClientCertificate,
    /// Wrong name, expired, or anything else.
    Other,
}

/// One fault, with its values.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// 404.
    #[error("not found{}", Dash(.detail))]
    NotFound {
        /// Error codes of the answer.
        codes: Vec<String>,
        /// Its text.
        detail: String,
    },
    /// 401 or 403.
    #[error("the registry refused access ({status}{}); {used}", Comma(.detail))]
    Unauthorized {
        /// Status code.
        status: u16,
        /// Text of the answer.
        detail: String,
        /// Which credentials were used, and from where; never the credentials.
        used: Used,
        /// The registry.
        host: String,
    },
    /// 401 or 403 of another origin, where the registry redirected.
    #[error(
        "`{target}`, where `{host}` redirected, refused access ({status}{}); no credentials were \
         sent there", Comma(.detail)
    )]
    TargetRefused {
        /// Status code.
        status: u16,
        /// Text of the answer.
        detail: String,
        /// Host of the redirect's target.
        target: String,
        /// The registry.
        host: String,
    },
    /// A redirect that is not safe to follow.
    #[error("the redirect from `{from}` to `{to}` is not followed")]
    Redirect {
        /// Scheme and host that redirected.
        from: String,
        /// Scheme and host of the target.
        to: String,
    },
    /// A token server that gets no request at all.
    #[error("the token server `{realm}` of `{host}` is not asked: {detail}")]
    Realm {
        /// Scheme and host of the token server.
        realm: String,
        /// The registry.
        host: String,
        /// Why not.
        detail: &'static str,
    },
    /// The token server said no.
    #[error("the token server `{realm}` refused access ({status}{}); {used}", Comma(.detail))]
    TokenRefused {
        /// Host of the token server.
        realm: Box<str>,
        /// Status code.
        status: u16,
        /// Text of the answer.
        detail: String,
        /// Which credentials were used, and from where.
        used: Used,
        /// The registry.
        host: String,
        /// The realm is foreign and not trusted, so no credentials were sent.
        withheld: bool,
    },
    /// The name does not resolve.
    #[error("unknown host `{host}`: {detail}")]
    UnknownHost {
        /// The host.
        host: String,
        /// The resolver's words.
        detail: String,
    },
    /// No connection.
    #[error("cannot connect to `{host}`: {detail}")]
    Connect {
        /// The host.
        host: String,
        /// The system's words.
        detail: String,
    },
    /// The connection broke.
    #[error("the connection to `{host}` broke: {detail}")]
    Broken {
        /// The host.
        host: String,
        /// What the system or the protocol said.
        detail: String,
    },
    /// Nothing moved for so long, or too little.
    #[error("`{host}` stalled: {} {} s", Moved(*.moved), .limit.as_secs())]
    Stalled {
        /// The host.
        host: String,
        /// How long.
        limit: Duration,
        /// Bytes that moved in that time.
        moved: u64,
    },
    /// 408, 429, 500, 502 to 504.
    #[error("the registry is not able to answer now ({status}{})", Comma(.detail))]
    Busy {
        /// Status code.
        status: u16,
        /// Text of the answer.
        detail: String,
        /// Its `Retry-After`, capped.
        retry_after: Option<Duration>,
    },
    /// An answer of a host that is no registry, and no success.
    #[error("`{host}` answered {status}{}", Comma(.detail))]
    Answered {
        /// The host.
        host: String,
        /// Status code.
        status: u16,
        /// Text of the answer.
        detail: String,
        /// Its `Retry-After`, capped.
        retry_after: Option<Duration>,
    },
    /// A body ended early.
    #[error("the answer ended after {got} of {expected} bytes")]
    Short {
        /// Bytes announced.
        expected: u64,
        /// Bytes received.
        got: u64,
    },
    /// TLS was refused.
    #[error("TLS with `{host}` failed: {detail}")]
    Tls {
        /// The host.
        host: String,
        /// What the verifier or the protocol said.
        detail: String,
        /// Which kind of refusal it is.
        cause: TlsCause,
    },
    /// The content is not what its digest names.
    #[error("the content is damaged: expected {expected}, found {found}")]
    Digest {
        /// What was asked for.
        expected: Digest,
        /// What arrived.
        found: Digest,
    },
    /// The registry computed another digest of what was uploaded.
    #[error("the registry says that what arrived there is damaged ({status}{})", Comma(.detail))]
    DigestThere {
        /// Status code.
        status: u16,
        /// Text of the answer.
        detail: String,
    },
    /// The registry's word about a manifest that was put there: it has another digest.
    #[error("the registry says that it stored other content: sent {sent}, stored {stored}")]
    Changed {
        /// What was sent.
        sent: Digest,
        /// What the registry names in its answer.
        stored: Digest,
    },
    /// The registry does not have a blob of a manifest, which it had confirmed before.
    #[error("the registry does not have a blob that it names ({status}{})", Comma(.detail))]
    Lost {
        /// Status code.
        status: u16,
        /// Error codes of the answer.
        codes: Vec<String>,
        /// Its text.
        detail: String,
    },
    /// The content has another size than its descriptor says.
    #[error("the content is damaged: expected {expected} bytes, the registry has {found}")]
    Size {
        /// What was asked for.
        expected: u64,
        /// What was announced or arrived.
        found: u64,
    },
    /// More bytes than the limit of this kind of answer.
    #[error("the answer is larger than {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: u64,
    },
    /// `registries.conf` forbids it.
    #[error("pulls from `{prefix}` are blocked by `{file}`")]
    Blocked {
        /// The entry.
        prefix: String,
        /// The file with the entry.
        file: String,
    },
    /// Any other 4xx or 5xx.
    #[error("the registry refused ({status}{})", Comma(.detail))]
    Refused {
        /// Status code.
        status: u16,
        /// Error codes of the answer.
        codes: Vec<String>,
        /// Its text.
        detail: String,
    },
    /// The port speaks TLS, and was spoken to without.
    #[error(
        "`{host}` speaks TLS and was spoken to by plain HTTP, as `--plain-http` or `insecure = true` asks for"
    )]
    SpeaksTls {
        /// `host:port`
        host: String,
    },
    /// The answer breaks the specification.
    #[error("the answer is not usable: {0}")]
    Protocol(String),
    /// A file that configures access.
    #[error("cannot use `{path}`: {detail}")]
    Config {
        /// The file.
        path: String,
        /// What is wrong with it.
        detail: String,
    },
    /// A credential program.
    #[error("credential program `{program}` failed: {detail}")]
    Helper {
        /// Its name.
        program: String,
        /// Its words on stderr, or what happened to it.
        detail: String,
    },
    /// The source of an upload.
    #[error("cannot read what is to be uploaded: {0}")]
    Source(#[source] std::io::Error),
}

struct Moved(u64);
struct Comma<'a>(&'a str);
struct Dash<'a>(&'a str);

impl fmt::Display for Moved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => write!(f, "nothing moved for"),
            bytes => write!(f, "only {bytes} bytes moved in"),
        }
    }
}

impl fmt::Display for Comma<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, ": {}", self.0) }
    }
}

impl fmt::Display for Dash<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, " ({})", self.0) }
    }
}

impl Fault {
    /// Whether the other side spoke TLS, and that went wrong.
    pub fn is_tls(&self) -> bool {
        matches!(self, Self::Tls { cause, .. } if *cause != TlsCause::NotTls)
    }

    /// Which kind of failure this is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound { .. } | Self::Answered { status: 404 | 410, .. } => ErrorKind::NotFound,
            Self::Answered { status: 408 | 429 | 500 | 502..=504, .. } => ErrorKind::Unavailable,
            Self::Answered { .. } => ErrorKind::Refused,
            Self::Unauthorized { .. } | Self::TokenRefused { .. } => ErrorKind::Credentials,
            Self::UnknownHost { .. }
            | Self::Connect { .. }
            | Self::Broken { .. }
            | Self::Stalled { .. }
            | Self::Busy { .. }
            | Self::Short { .. }
            | Self::Lost { .. } => ErrorKind::Unavailable,
            Self::Tls { .. } => ErrorKind::Tls,
            Self::Digest { .. }
            | Self::DigestThere { .. }
            | Self::Changed { .. }
            | Self::Size { .. } => ErrorKind::Damaged,
            Self::Blocked { .. } => ErrorKind::Blocked,
            // 403 only where the words are of a quota.
            Self::Refused { status: 507 | 403, .. } => ErrorKind::Full,
            Self::Refused { .. } | Self::TargetRefused { .. } => ErrorKind::Refused,
            Self::Protocol(_)
            | Self::SpeaksTls { .. }
            | Self::TooLarge { .. }
            | Self::Redirect { .. }
            | Self::Realm { .. } => ErrorKind::Protocol,
            Self::Config { .. } | Self::Helper { .. } => ErrorKind::Config,
            Self::Source(_) => ErrorKind::Source,
        }
    }

    /// Whether the same request may succeed when it is sent again.
    pub(super) fn is_passing(&self) -> bool {
        self.kind() == ErrorKind::Unavailable
    }

    /// Error codes of the distribution specification in the answer.
    pub(super) fn codes(&self) -> &[String] {
        match self {
            Self::NotFound { codes, .. }
            | Self::Refused { codes, .. }
            | Self::Lost { codes, .. } => codes,
            _ => &[],
        }
    }
}

/// A fault, how often the request was tried, and where.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) fault: Fault,
    pub(super) tries: u32,
    /// Where, when `registries.conf` sent the request elsewhere than its name says.
    pub(super) way: Option<Box<Way>>,
}

/// The way of a pull that `registries.conf` sent elsewhere.
#[derive(Clone, Debug, Default)]
pub(super) struct Way {
    /// Where the fault comes from, when that is not where the name says.
    at: Option<String>,
    /// The mirrors that were asked before, and what was wrong there.
    before: Vec<(String, String)>,
}

impl Way {
    /// Notes that nothing came from this mirror.
    pub(super) fn leave(&mut self, place: &Place, failed: &Failed) {
        // So short that the source and what it said stand beside it.
        let why: String = failed.fault.to_string().chars().take(200).collect();
        self.before.push((place.to_string(), why));
    }

    /// The fault of the last place on the way, which was asked for what `name` says.
    pub(super) fn ended(self, place: &Place, name: &str, failed: Failed) -> Failed {
        let place = place.to_string();
        let at = (place != name).then_some(place);
        let told = at.is_some() || !self.before.is_empty();
        Failed { way: told.then(|| Box::new(Self { at, ..self })), ..failed }
    }
}

impl Failed {
    /// The same once more, for faults of reaching a host.
    pub(super) fn copy(&self) -> Option<Self> {
        let fault = match &self.fault {
            Fault::UnknownHost { host, detail } => {
                Fault::UnknownHost { host: host.clone(), detail: detail.clone() }
            }
            Fault::Connect { host, detail } => {
                Fault::Connect { host: host.clone(), detail: detail.clone() }
            }
            Fault::Tls { host, detail, cause } => {
                Fault::Tls { host: host.clone(), detail: detail.clone(), cause: *cause }
            }
            Fault::Stalled { host, limit, moved } => {
                Fault::Stalled { host: host.clone(), limit: *limit, moved: *moved }
            }
            _ => return None,
        };
        Some(Self { fault, tries: self.tries, way: None })
    }
}

impl Failed {
    /// The same for whoever asks this host again, which is not spoken to any more.
    pub(super) fn kept(&self, host: &RegistryHost) -> Self {
        self.copy().unwrap_or_else(|| {
            let (host, detail) = (host.to_string(), self.fault.to_string());
            Self { fault: Fault::Connect { host, detail }, tries: self.tries, way: None }
        })
    }
}

impl From<Fault> for Failed {
    fn from(fault: Fault) -> Self {
        Self { fault, tries: 1, way: None }
    }
}

/// A failed operation. Displays what was done, with which reference, and why it failed.
#[derive(Debug)]
pub struct ClientError(Box<Inner>);

#[derive(Debug)]
struct Inner {
    action: &'static str,
    subject: String,
    fault: Fault,
    tries: u32,
    way: Option<Box<Way>>,
}

impl ClientError {
    pub(super) fn new(action: &'static str, subject: String, failed: Failed) -> Self {
        let Failed { fault, tries, way } = failed;
        Self(Box::new(Inner { action, subject, fault, tries, way }))
    }

    /// Which kind of failure this is.
    pub fn kind(&self) -> ErrorKind {
        self.0.fault.kind()
    }

    /// The fault with its values.
    pub fn fault(&self) -> &Fault {
        &self.0.fault
    }

    /// The reference, repository or file that was asked for.
    pub fn subject(&self) -> &str {
        &self.0.subject
    }

    /// What the person can do next.
    pub fn hint(&self) -> Option<String> {
        self.0.fault.hint()
    }

    /// Whether the registry's answer carried this error code of the distribution specification,
    /// for example `MANIFEST_BLOB_UNKNOWN`.
    pub fn has_code(&self, code: &str) -> bool {
        self.0.fault.codes().iter().any(|have| have == code)
    }

    /// The error of the [`super::BlobSource`], for [`ErrorKind::Source`].
    pub fn source_error(&self) -> Option<&std::io::Error> {
        match &self.0.fault {
            Fault::Source(error) => Some(error),
            _ => None,
        }
    }

    /// The error of the registry that the bytes to upload came from, where they came from one; otherwise this.
    #[must_use]
    pub fn into_cause(self) -> Self {
        let Inner { action, subject, fault, tries, way } = *self.0;
        let fault = match fault {
            Fault::Source(error) => match error.downcast::<Self>() {
                Ok(cause) => return cause,
                Err(error) => Fault::Source(error),
            },
            fault => fault,
        };
        Self(Box::new(Inner { action, subject, fault, tries, way }))
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { action, subject, fault, tries, way } = &*self.0;
        write!(f, "cannot {action} `{subject}`")?;
        if let Some(at) = way.as_ref().and_then(|way| way.at.as_ref()) {
            write!(f, " from `{at}`")?;
        }
        write!(f, ": {fault}")?;
        if *tries > 1 {
            write!(f, " (tried {tries} times)")?;
        }
        for (mirror, why) in way.iter().flat_map(|way| &way.before).take(MIRRORS) {
            write!(f, "; its mirror `{mirror}`: {why}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ClientError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.0.fault {
            Fault::Source(error) => Some(error),
            _ => None,
        }
    }
}
