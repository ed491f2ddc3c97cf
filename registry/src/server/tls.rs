//! TLS on the sockets, with a certificate that is exchanged while the registry runs.
//!
//! 1. [`pair`] says which pair to show: that of the settings, else one made in the data directory.
//! 2. [`Tls::open`] reads it, [`Tls::accept`] shows it to each new connection.
//! 3. [`Tls::look`] is called every few seconds and on SIGHUP: files that changed are read again, and a certificate of our
//!    own is made anew before it ends.
//!
//! In: files. Out: encrypted streams. What must hold: TLS 1.2 at least; a peer that does not finish its handshake holds no
//! connection for long; a pair that is broken is told of and never replaces one that works.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::Settings;
use super::certificate::{self, CA, CertificateError, Described, SERVER, SERVER_KEY};
use super::limits::HANDSHAKE_TIME;
use super::watch::Stamp;

/// The pair that a registry shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pair {
    /// The certificate, with those that vouch for it.
    pub(super) certificate: PathBuf,
    /// Its key.
    pub(super) key: PathBuf,
    /// Whether it is one of our own authority, which we may make anew.
    pub(super) own: bool,
    /// What one that a person brought must be good for.
    pub(super) wanted: Vec<String>,
}

/// The pair of a data directory. One of our own is made when it is missing, of no use any more, or lacks a name that was
/// settled; the one that a person named is judged.
///
/// # Errors
/// A file cannot be read or made, or the certificate is of no use to clients.
pub(super) fn pair(
    data: &Path,
    settings: &Settings,
    listen: SocketAddr,
) -> Result<Pair, CertificateError> {
    if let Some((certificate, key)) = settings.tls.pair(data) {
        let wanted = settings.hostname.iter().filter(|_| !settings.tls.any_name);
        let names: Vec<String> = wanted.cloned().collect();
        certificate::check(&certificate, &key, &names)?;
        return Ok(Pair { certificate, key, own: false, wanted: names });
    }
    let directory = certificate::directory(data);
    let (certificate, key) = (directory.join(SERVER), directory.join(SERVER_KEY));
    let settled = settings.names();
    let names = certificate::names(&settled, listen);
    let good = certificate::check(&certificate, &key, &settled).is_ok_and(|it| !it.ends_soon());
    if !good {
        let made = certificate::make(&directory, &with_those_of(&certificate, names))?;
        tracing::info!(
            names = made.about.names.join(" "), until = %made.about.not_after,
            "a certificate was made; clients trust it by `{}`", made.ca.display()
        );
    }
    Ok(Pair { certificate, key, own: true, wanted: Vec::new() })
}

/// The names, and those of the certificate that is there: somebody may use them.
pub fn with_those_of(certificate: &Path, mut names: Vec<String>) -> Vec<String> {
    let wanted = names.len();
    if let Ok(about) = certificate::describe(certificate) {
        for name in about.names {
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    // Addresses that came and went over the years.
    if names.len() > 50 {
        names.truncate(wanted);
    }
    names
}

/// What is shown to new connections.
pub(super) struct Tls {
    pair: Pair,
    current: RwLock<Arc<ServerConfig>>,
    seen: Mutex<Seen>,
}

/// What was looked at last.
struct Seen {
    stamps: [Stamp; 2],
    about: Described,
}

impl Tls {
    /// Reads the pair.
    pub(super) fn open(pair: Pair) -> Result<Self, CertificateError> {
        let stamps = stamps(&pair);
        let (config, about) = load(&pair)?;
        let seen = Mutex::new(Seen { stamps, about });
        Ok(Self { pair, current: RwLock::new(config), seen })
    }

    /// Encrypts a new connection; `None` when the peer could not or did not.
    pub(super) async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        socket: S,
    ) -> Option<TlsStream<S>> {
        let config = Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner));
        let handshake = TlsAcceptor::from(config).accept(socket);
        match tokio::time::timeout(HANDSHAKE_TIME, handshake).await {
            Ok(Ok(stream)) => Some(stream),
            Ok(Err(error)) => {
                tracing::debug!(%error, "no TLS came about");
                None
            }
            Err(_) => None,
        }
    }

    /// The authority of a certificate of our own.
    pub(super) fn ca(&self) -> Option<PathBuf> {
        self.pair.own.then(|| self.pair.certificate.with_file_name(CA))
    }

    /// The certificate that new connections see.
    pub(super) fn about(&self) -> Described {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).about.clone()
    }

    /// Reads the pair again if it changed.
    pub(super) fn look(&self) {
        let found = stamps(&self.pair);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if found == seen.stamps {
            return;
        }
        // Somebody may be between the two files.
        let mut loaded = judged(&self.pair);
        if loaded.is_err() {
            std::thread::sleep(Duration::from_millis(300));
            loaded = judged(&self.pair);
        }
        seen.stamps = found;
        match loaded {
            Ok((config, about)) => {
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = config;
                tracing::info!(until = %about.not_after, names = about.names.join(" "), "a new certificate is shown");
                seen.about = about;
            }
            Err(error) => {
                tracing::error!(%error, "the new certificate is of no use: the one before is still shown");
            }
        }
    }

    /// Warns of a certificate that ends soon; one of our own is made anew.
    pub(super) fn warn(&self, may_write: bool) {
        let about = self.about();
        if !about.ends_soon() {
            return;
        }
        let (path, days) = (self.pair.certificate.display(), about.days_left);
        if self.pair.own
            && may_write
            && let Some(directory) = self.pair.certificate.parent()
        {
            match certificate::make(directory, &about.names) {
                Ok(_) => return self.look(),
                Err(error) => {
                    tracing::error!(%error, "cannot make a certificate in place of the one that ends");
                }
            }
        }
        tracing::warn!(days_left = days, until = %about.not_after, "the certificate `{path}` ends soon: clients will refuse it then");
    }
}

/// What a client of plain HTTP gets here, as its own message would lead astray.
const PLAIN: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 40\r\n\
    Connection: close\r\n\r\nthis registry speaks https on this port\n";

/// Whether the peer begins as plain HTTP does; it has its answer then.
pub(super) async fn is_plain(socket: &mut TcpStream) -> bool {
    let mut first = [0];
    let looked = tokio::time::timeout(HANDSHAKE_TIME, socket.peek(&mut first)).await;
    if !matches!(looked, Ok(Ok(1))) || !first[0].is_ascii_uppercase() {
        return false;
    }
    // A courtesy: whoever does not take it has lost nothing.
    let _ = tokio::time::timeout(HANDSHAKE_TIME, socket.write_all(PLAIN)).await;
    let _ = socket.shutdown().await;
    true
}

fn stamps(pair: &Pair) -> [Stamp; 2] {
    [Stamp::of(&pair.certificate), Stamp::of(&pair.key)]
}

/// What takes the place of one that clients take must be as good, as it is at the start.
fn judged(pair: &Pair) -> Result<(Arc<ServerConfig>, Described), CertificateError> {
    if !pair.own {
        certificate::check(&pair.certificate, &pair.key, &pair.wanted)?;
    }
    load(pair)
}

fn load(pair: &Pair) -> Result<(Arc<ServerConfig>, Described), CertificateError> {
    let (chain, key) = certificate::pair(&pair.certificate, &pair.key)?;
    let about = certificate::describe(&pair.certificate)?;
    let unusable = |error: rustls::Error| CertificateError::File {
        path: pair.certificate.clone(),
        problem: error.to_string(),
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        // 1.2 and 1.3 are all that there is.
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(unusable)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // A client that comes back saves the signature, and nothing is kept for it here.
    config.ticketer = rustls::crypto::ring::Ticketer::new().map_err(unusable)?;
    Ok((Arc::new(config), about))
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use rcgen::{CertificateParams, Issuer, KeyPair};

    use super::*;

    /// A pair of 20 days, signed by the authority of the directory.
    fn short(directory: &Path, own: bool) -> Pair {
        let names = vec!["localhost".to_owned()];
        let made = certificate::make(directory, &names).unwrap();
        let read = |name: &str| fs_err::read_to_string(directory.join(name)).unwrap();
        let ca_key = KeyPair::from_pem(&read("ca.key")).unwrap();
        let issuer = Issuer::from_ca_cert_pem(&read(CA), ca_key).unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_after = (SystemTime::now() + Duration::from_secs(20 * 86_400 + 43_200)).into();
        fs_err::write(&made.certificate, params.signed_by(&key, &issuer).unwrap().pem()).unwrap();
        fs_err::write(&made.key, key.serialize_pem()).unwrap();
        Pair { certificate: made.certificate, key: made.key, own, wanted: Vec::new() }
    }

    #[test]
    fn a_certificate_of_our_own_is_made_anew_before_it_ends() {
        for (own, may_write, anew) in
            [(true, true, true), (true, false, false), (false, true, false)]
        {
            let dir = tempfile::tempdir().unwrap();
            let tls = Tls::open(short(dir.path(), own)).unwrap();
            let (before, ca) = (tls.about(), fs_err::read(dir.path().join(CA)).unwrap());
            assert_eq!(before.days_left, 20);
            tls.warn(may_write);
            assert_eq!(tls.about() != before, anew, "{own} {may_write}");
            assert_eq!(tls.about().ends_soon(), !anew, "{own} {may_write}");
            assert_eq!(tls.about().names, before.names);
            assert_eq!(fs_err::read(dir.path().join(CA)).unwrap(), ca);
        }
    }

    #[test]
    fn at_the_start_what_is_of_no_use_is_made_anew() {
        let data = tempfile::tempdir().unwrap();
        let listen = "127.0.0.1:5000".parse().unwrap();
        let pair_of = || pair(data.path(), &Settings::default(), listen).unwrap();
        let shown = || certificate::describe(&pair_of().certificate).unwrap().fingerprint;
        let first = shown();
        assert_eq!(shown(), first);
        let directory = certificate::directory(data.path());
        // A crash between the two files.
        fs_err::write(directory.join(SERVER_KEY), KeyPair::generate().unwrap().serialize_pem())
            .unwrap();
        let second = shown();
        assert_ne!(second, first);
        short(&directory, true);
        assert_ne!(shown(), second);
        assert!(!certificate::describe(&pair_of().certificate).unwrap().ends_soon());
    }
}
