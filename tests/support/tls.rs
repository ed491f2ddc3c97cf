//! TLS before a registry that has none, as a reverse proxy ends it: bytes go through as they are.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rcgen::{CertificateParams, KeyPair};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use super::server::fs_write;

/// A relay with a certificate of its own for 127.0.0.1.
pub struct TlsRelay {
    /// `host:port`
    pub host: String,
    /// The certificate, which signs itself.
    pub certificate: PathBuf,
    acceptor: Arc<Mutex<TlsAcceptor>>,
    ends: watch::Sender<()>,
}

/// A certificate for 127.0.0.1 that signs itself, written to a file, and what speaks for it.
fn acceptor(certificate: &Path) -> TlsAcceptor {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let own = params.self_signed(&key).unwrap();
    fs_write(certificate, own.pem().as_bytes());
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![own.der().clone()], key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

impl TlsRelay {
    /// Starts one before `to`; its certificate is written to `certificate`. Its thread ends with the process.
    pub fn start(to: &str, certificate: &Path) -> Self {
        let acceptor = Arc::new(Mutex::new(acceptor(certificate)));
        let (ends, end) = watch::channel(());
        let current = Arc::clone(&acceptor);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let to = to.to_owned();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        std::thread::spawn(move || {
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                while let Ok((client, _)) = listener.accept().await {
                    let (acceptor, to) = (current.lock().unwrap().clone(), to.clone());
                    let mut end = end.clone();
                    end.mark_unchanged();
                    tokio::spawn(async move {
                        let mut client = acceptor.accept(client).await?;
                        let mut server = tokio::net::TcpStream::connect(to).await?;
                        tokio::select! {
                            done = tokio::io::copy_bidirectional(&mut client, &mut server) => done,
                            _ = end.changed() => Ok((0, 0)),
                        }
                    });
                }
            });
        });
        Self { host, certificate: certificate.to_owned(), acceptor, ends }
    }

    /// Takes the certificate of another one, and ends the connections with its own.
    pub fn change_to(&self, other: &Self) {
        *self.acceptor.lock().unwrap() = other.acceptor.lock().unwrap().clone();
        let _ = self.ends.send(());
    }
}
