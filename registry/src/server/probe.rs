//! Whether a registry answers, asked as a client of the same machine.
//!
//! In: its address, the name that clients call it, whom to trust, and a login. Out: it serves, or why not. What must
//! hold: the connection goes to the address, whatever the name means to this machine's DNS; the answer is bounded in bytes
//! and time.

use std::io::Read as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// A registry of the same machine answers in milliseconds, or is busy.
const PATIENCE: Duration = Duration::from_secs(10);

/// Bytes of a file of certificates; a long chain has some ten thousand.
const PEM_MAX: u64 = 1024 * 1024;

/// Whom to trust.
#[derive(Debug, Clone, Copy)]
pub enum Trust<'a> {
    /// Certificates that this authority signed, for the name: as the registry's clients do.
    Authority(&'a Path),
    /// The first certificate of this file, whoever signed it.
    Exactly(&'a Path),
}

/// What to ask.
#[derive(Debug, Clone, Copy)]
pub struct Probe<'a> {
    /// Where it listens; of an address that means all of a machine, loopback is asked.
    pub address: SocketAddr,
    /// What clients call it, without a port.
    pub name: &'a str,
    /// Whom to trust.
    pub trust: Trust<'a>,
    /// User and password.
    pub login: Option<(&'a str, &'a str)>,
}

/// Why it does not answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeError {
    /// Nobody listens there.
    #[error("nothing answers at `{address}`: {error}")]
    Connect {
        /// The address.
        address: SocketAddr,
        /// Why.
        error: std::io::Error,
    },
    /// Its certificate is not the expected one.
    #[error("TLS with `{address}` failed: {error}")]
    Tls {
        /// The address.
        address: SocketAddr,
        /// Why.
        error: std::io::Error,
    },
    /// The certificates to trust cannot be used.
    #[error("cannot use `{path}`: {problem}")]
    File {
        /// The file.
        path: std::path::PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// What answers is no registry, or breaks off.
    #[error("no usable answer from `{0}`: {1}")]
    Answer(SocketAddr, String),
    /// The user or the password is wrong.
    #[error("`{0}` refuses the login")]
    Login(SocketAddr),
}

impl ProbeError {
    /// Whether a registry that is only just starting would be such.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Answer(..) => true,
            // Anything but what TLS itself finds wrong.
            Self::Tls { error, .. } => error.kind() != std::io::ErrorKind::InvalidData,
            Self::File { .. } | Self::Login(_) => false,
        }
    }
}

/// Asks once.
///
/// # Errors
/// See [`ProbeError`].
pub async fn probe(probe: Probe<'_>) -> Result<(), ProbeError> {
    let address = near(probe.address);
    let status = tokio::time::timeout(PATIENCE, ask(address, probe))
        .await
        .map_err(|_| ProbeError::Answer(address, format!("none within {PATIENCE:?}")))??;
    match (status, probe.login) {
        (StatusCode::OK, _) | (StatusCode::UNAUTHORIZED, None) => Ok(()),
        (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, Some(_)) => {
            Err(ProbeError::Login(address))
        }
        (other, _) => Err(ProbeError::Answer(address, other.to_string())),
    }
}

async fn ask(address: SocketAddr, probe: Probe<'_>) -> Result<StatusCode, ProbeError> {
    let config = config(probe.trust)?;
    let connect = |error| ProbeError::Connect { address, error };
    let broken = |error: hyper::Error| ProbeError::Answer(address, error.to_string());
    let bare = probe.name.trim_start_matches('[').trim_end_matches(']').to_owned();
    let name = ServerName::try_from(bare)
        .map_err(|_| ProbeError::Answer(address, format!("`{}` is no name", probe.name)))?;
    let socket = TcpStream::connect(address).await.map_err(connect)?;
    let tls = TlsConnector::from(Arc::new(config))
        .connect(name, socket)
        .await
        .map_err(|error| ProbeError::Tls { address, error })?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(tls)).await.map_err(broken)?;
    let driver = tokio::spawn(connection);
    let mut request = Request::get("/v2/")
        .header(header::HOST, address.to_string())
        .header(header::USER_AGENT, concat!("bundle/", env!("CARGO_PKG_VERSION")));
    if let Some((user, password)) = probe.login {
        let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
        request = request.header(header::AUTHORIZATION, format!("Basic {pair}"));
    }
    let request = request
        .body(Empty::<Bytes>::new())
        .map_err(|error| ProbeError::Answer(address, error.to_string()))?;
    let status = sender.send_request(request).await.map_err(broken)?.status();
    driver.abort();
    Ok(status)
}

/// The address on this machine.
fn near(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        // It takes version 4 too, which every machine has.
        IpAddr::V6(ip) if ip.is_unspecified() && !six_only() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// What the kernel makes of a socket that listens on `[::]`.
fn six_only() -> bool {
    fs_err::read_to_string("/proc/sys/net/ipv6/bindv6only").is_ok_and(|text| text.trim() == "1")
}

fn config(trust: Trust<'_>) -> Result<ClientConfig, ProbeError> {
    let (Trust::Authority(path) | Trust::Exactly(path)) = trust;
    let fault = |problem: String| ProbeError::File { path: path.to_owned(), problem };
    let mut pem = Vec::new();
    fs_err::File::open(path)
        .and_then(|file| file.take(PEM_MAX).read_to_end(&mut pem))
        .map_err(|error| fault(error.to_string()))?;
    let certificates: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|error| fault(error.to_string()))?;
    let first = certificates.first().ok_or_else(|| fault("no certificate in it".to_owned()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    let _ = roots.add_parsable_certificates(certificates.clone());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| fault(error.to_string()))?;
    let verifier: Arc<dyn ServerCertVerifier> = match trust {
        Trust::Authority(_) => {
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
                .build()
                .map_err(|error| fault(error.to_string()))?
        }
        Trust::Exactly(_) => Arc::new(Pinned { expected: first.clone(), provider }),
    };
    let mut config =
        builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// Takes one certificate and no other. That the other end has its key is proven by the handshake.
#[derive(Debug)]
struct Pinned {
    expected: CertificateDer<'static>,
    provider: Arc<rustls::crypto::CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match *end_entity == self.expected {
            true => Ok(ServerCertVerified::assertion()),
            false => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
