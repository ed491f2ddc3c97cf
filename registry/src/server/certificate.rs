//! The certificate that the registry shows: made here by an authority of its own, or brought by a person.
//!
//! 1. [`names`] collects what clients may call this registry.
//! 2. [`mod@make`] and [`make_anew`] write `ca.crt`, `ca.key`, `server.crt` and `server.key` into a directory (`make.rs`).
//! 3. [`check`] judges a pair that a person brings, before a client does; [`describe`] says what a file holds
//!    (`reading.rs`).
//!
//! In: names and files. Out: files, or one named fault each. What must hold: a key is never readable for others; a file is
//! replaced as a whole; an authority that clients trust is never replaced unasked.

mod make;
mod reading;

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

pub use make::{make, make_anew};
pub(super) use reading::pair;
pub use reading::{Authority, authority, check, describe};

/// The authority's certificate, which clients must trust.
pub const CA: &str = "ca.crt";
/// The authority's key.
pub const CA_KEY: &str = "ca.key";
/// The server's certificate.
pub const SERVER: &str = "server.crt";
/// The server's key.
pub const SERVER_KEY: &str = "server.key";

/// Days for which an authority is made. Every client has to be told of a new one, so it lasts as long as a machine does.
pub const CA_DAYS: i64 = 3652;

/// Days for which a server certificate is made: the longest that Apple's clients take. A new one is no client's business.
pub const SERVER_DAYS: i64 = 825;

/// Days before its end from which a certificate is warned of, and one of our own is made anew.
pub const WARNING_DAYS: i64 = 30;

/// Bytes of a certificate or key file; an honest chain has less than 20 KiB.
pub const FILE_MAX: u64 = 1024 * 1024;

/// Names of one certificate.
const NAMES_MAX: usize = 100;

/// Where the certificates of a data directory are.
pub fn directory(data: &Path) -> PathBuf {
    data.join("tls")
}

/// What was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// The authority's certificate: what clients are told to trust.
    pub ca: PathBuf,
    /// The server's certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Whether the authority was made too, so that clients must be told.
    pub new_ca: bool,
    /// What the server's certificate says.
    pub about: Described,
}

/// What a certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// Whom it names.
    pub subject: String,
    /// Who signed it.
    pub issuer: String,
    /// Names and addresses that it is good for.
    pub names: Vec<String>,
    /// Since when.
    pub not_before: Timestamp,
    /// Until when.
    pub not_after: Timestamp,
    /// Whole days left; negative when it has ended.
    pub days_left: i64,
    /// SHA-256 of the certificate in hexadecimal, as `openssl x509 -fingerprint -sha256` shows it without colons.
    pub fingerprint: String,
}

impl Described {
    /// Whether it ends soon, or has ended.
    pub fn ends_soon(&self) -> bool {
        self.days_left < WARNING_DAYS
    }
}

/// Why a certificate cannot be made or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// A file cannot be read or written.
    #[error("{0}")]
    Io(std::io::Error),
    /// What clients are to call it is no name.
    #[error("not a host name or an IP address, which a certificate could name: `{0}`")]
    Name(String),
    /// Nothing to name.
    #[error("a certificate needs at least one name, and has room for {NAMES_MAX}")]
    NoNames,
    /// The file is not what it should be.
    #[error("cannot use `{path}`: {problem}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what would be right.
        problem: String,
    },
    /// The authority cannot sign, as its key is not there.
    #[error("cannot make a certificate with the authority in `{0}`: its `ca.key` is missing")]
    NoCaKey(PathBuf),
    /// The authority ends before what it would sign is of use.
    #[error("the authority `{path}` ends at {until}")]
    CaEnds {
        /// Its certificate.
        path: PathBuf,
        /// Its end.
        until: Timestamp,
    },
    /// The key is of another certificate.
    #[error("`{key}` is not the key of the certificate `{certificate}`")]
    OtherKey {
        /// The certificate.
        certificate: PathBuf,
        /// The key.
        key: PathBuf,
    },
    /// The certificates are not each signed by the next.
    #[error(
        "`{path}` is not in order: certificate {number} (`{subject}`) is not that of `{issuer}`, who signed the one before it"
    )]
    Order {
        /// The file.
        path: PathBuf,
        /// Which, from 1.
        number: usize,
        /// Whom it names.
        subject: String,
        /// Whom it should name.
        issuer: String,
    },
    /// The first certificate is that of an authority.
    #[error(
        "`{path}` begins with the certificate of an authority (`{subject}`), not with that of the server"
    )]
    Authority {
        /// The file.
        path: PathBuf,
        /// Whom it names.
        subject: String,
    },
    /// It is not for this registry.
    #[error("the certificate `{path}` is not for `{name}`, but for {names}", names = listed(.names))]
    OtherName {
        /// The file.
        path: PathBuf,
        /// What clients call this registry.
        name: String,
        /// What the certificate is for.
        names: Vec<String>,
    },
    /// It is not for servers.
    #[error(
        "the certificate `{0}` may not be used by a server: its extended key usage lacks `serverAuth`"
    )]
    Usage(PathBuf),
    /// It has ended.
    #[error("the certificate `{path}` (`{subject}`) ended at {until}")]
    Ended {
        /// The file.
        path: PathBuf,
        /// Whom it names.
        subject: String,
        /// Its end.
        until: Timestamp,
    },
    /// It has not begun.
    #[error(
        "the certificate `{path}` (`{subject}`) is not valid before {from}, by this machine's clock"
    )]
    Early {
        /// The file.
        path: PathBuf,
        /// Whom it names.
        subject: String,
        /// Its beginning.
        from: Timestamp,
    },
    /// The making itself failed.
    #[error("cannot make a certificate: {0}")]
    Make(String),
}

impl CertificateError {
    /// What a person does about it, where there is one thing.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NoCaKey(_) => {
                "bring the key back from where it was put; or make a new authority, which every client must be \
                 told of: `bundle registry rotate-cert --data-dir DIR --new-ca`"
                    .to_owned()
            }
            Self::CaEnds { .. } => {
                "make a new authority, and tell every client of it: `bundle registry rotate-cert --data-dir DIR --new-ca`"
                    .to_owned()
            }
            Self::Order { path, .. } | Self::Authority { path, .. } => format!(
                "write the server's certificate first into `{}`, then the one that signed it, and so on",
                path.display()
            ),
            Self::OtherName { name, .. } => format!(
                "ask for a certificate with `{name}` among its subject alternative names; the common name does not count"
            ),
            Self::Ended { .. } => "ask its authority for a new one".to_owned(),
            Self::Early { .. } => "`date` shows this machine's clock: set it, or wait".to_owned(),
            Self::OtherKey { .. } => {
                "name the key from which this certificate was asked for".to_owned()
            }
            _ => return None,
        })
    }
}

fn listed(names: &[String]) -> String {
    match names {
        [] => "no name at all".to_owned(),
        names => names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "),
    }
}

/// What clients may call a registry: the names that were settled, the address that it listens on, and what every
/// machine calls itself.
pub fn names(settled: &[String], listen: SocketAddr) -> Vec<String> {
    let mut names: Vec<String> = settled.to_vec();
    if listen.ip().is_unspecified() {
        names.extend(own_address().map(|address| address.to_string()));
    } else {
        names.push(listen.ip().to_string());
    }
    let system = rustix::system::uname().nodename().to_string_lossy().into_owned();
    names.extend([system, "localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()]);
    let mut known = Vec::with_capacity(names.len());
    for name in names {
        // A machine may have a name that no certificate takes; of the settled ones `make` complains.
        let settled = settled.contains(&name);
        let name = make::tidy(&name).unwrap_or(name);
        if !known.contains(&name) && (settled || make::tidy(&name).is_some()) {
            known.push(name);
        }
    }
    known
}

/// The address from which this machine would speak to others. Nothing is sent: connecting a datagram socket only asks the
/// table of routes.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    // 192.0.2.1 is nobody's (RFC 5737).
    socket.connect("192.0.2.1:9").ok()?;
    socket.local_addr().ok().map(|address| address.ip()).filter(|address| !address.is_unspecified())
}

#[cfg(test)]
#[path = "certificate/tests.rs"]
mod tests;
