//! What proves a host's identity, and ours to it.
//!
//! In: options, `certs.d` directories. Out: the TLS configuration for one host. What must hold: the host is
//! verified against the system's store, `--ca-file` and `certs.d`, unless the person turned that off for this
//! very host.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_platform_verifier::Verifier;

use super::ClientOptions;
use super::error::Fault;
use super::files;
use crate::limits::CERTIFICATES_MAX;

/// Whether and how this host's identity is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Tls {
    /// Verified.
    Verify,
    /// Encrypted only.
    Unverified,
    /// Plain HTTP only; no certificate store is loaded.
    Never,
}

/// A certificate chain with its key.
type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// The configuration for a host. `names` are the directory names that `certs.d` may have for it.
pub(super) fn config(
    options: &ClientOptions,
    names: &[&str],
    tls: Tls,
) -> Result<ClientConfig, Fault> {
    let host = names.first().copied().unwrap_or("TLS");
    let fault = |detail: String| Fault::Config {
        path: host.to_owned(),
        detail: format!("cannot set up TLS: {detail}"),
    };
    let mut authorities = Vec::new();
    let mut identity = None;
    if tls != Tls::Never {
        for path in &options.ca_files {
            authorities.extend(certificates(path)?);
        }
        for dir in &options.certs_d {
            for name in names {
                let (more, own) = host_certificates(&dir.join(name))?;
                authorities.extend(more);
                identity = identity.or(own);
            }
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| fault(error.to_string()))?;
    let builder = match tls {
        Tls::Verify => {
            let system = if authorities.is_empty() {
                Verifier::new(provider)
            } else {
                Verifier::new_with_extra_roots(authorities.clone(), provider)
            };
            let system = system.map_err(|error| fault(error.to_string()))?;
            let verifier = Listed { system, list: authorities };
            builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
        }
        Tls::Unverified => builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody)),
        Tls::Never => builder.with_root_certificates(RootCertStore::empty()),
    };
    let mut config = match identity {
        Some((chain, key)) => builder
            .with_client_auth_cert(chain, key)
            .map_err(|error| fault(format!("the client certificate: {error}")))?,
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// The configuration for a host that is no registry; the text is a fault.
#[cfg(feature = "server")]
pub(crate) fn tls_for(
    host: &str,
    ca_files: Vec<PathBuf>,
    plain: bool,
) -> Result<ClientConfig, String> {
    let options = ClientOptions { ca_files, certs_d: Vec::new(), ..ClientOptions::default() };
    let tls = if plain { Tls::Never } else { Tls::Verify };
    config(&options, &[host], tls).map_err(|fault| fault.to_string())
}

/// Whether it is the certificate of an authority that a host shows as its own. `openssl req -x509` makes such ones; WebPKI
/// takes none for a host, OpenSSL and Go do.
pub(super) fn is_authority_as_host(error: &rustls::Error) -> bool {
    use rustls::{CertificateError, Error};
    matches!(error, Error::InvalidCertificate(CertificateError::Other(other))
        if other.0.to_string() == "CaUsedAsEndEntity")
}

/// The system's verifier, and what it refuses although the person named this very certificate as trusted.
#[derive(Debug)]
struct Listed {
    system: Verifier,
    list: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for Listed {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match self.system.verify_server_cert(end_entity, intermediates, name, ocsp, now) {
            // Its dates are looked at before this; its name is looked at here, and its key by the handshake.
            Err(error) if is_authority_as_host(&error) && self.list.contains(end_entity) => {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, name)?;
                Ok(ServerCertVerified::assertion())
            }
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.system.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.system.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.system.supported_verify_schemes()
    }
}

/// Takes any certificate, for hosts that the person named as unverified. Not even the signature over the
/// handshake is looked at: whoever is in the way can make one, and the certificates of old appliances (version
/// 1, short keys) cannot be parsed for it.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        use SignatureScheme as S;
        vec![
            S::RSA_PKCS1_SHA1,
            S::ECDSA_SHA1_Legacy,
            S::RSA_PKCS1_SHA256,
            S::ECDSA_NISTP256_SHA256,
            S::RSA_PKCS1_SHA384,
            S::ECDSA_NISTP384_SHA384,
            S::RSA_PKCS1_SHA512,
            S::ECDSA_NISTP521_SHA512,
            S::RSA_PSS_SHA256,
            S::RSA_PSS_SHA384,
            S::RSA_PSS_SHA512,
            S::ED25519,
            S::ED448,
        ]
    }
}

/// The certificates of a PEM file that must exist and have at least one.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let fault =
        |detail: &str| Fault::Config { path: path.display().to_string(), detail: detail.into() };
    let bytes =
        files::read(path, CERTIFICATES_MAX)?.ok_or_else(|| fault("the file does not exist"))?;
    let list: Vec<_> = CertificateDer::pem_slice_iter(&bytes)
        .collect::<Result<_, _>>()
        .map_err(|_| fault("not a list of certificates in PEM form"))?;
    if list.is_empty() {
        return Err(fault("no certificate in PEM form in it"));
    }
    Ok(list)
}

/// `*.crt` are authorities, `*.cert` with `*.key` is our own identity (containers-certs.d(5)).
fn host_certificates(
    dir: &Path,
) -> Result<(Vec<CertificateDer<'static>>, Option<Identity>), Fault> {
    let Ok(list) = fs_err::read_dir(dir) else { return Ok((Vec::new(), None)) };
    let mut paths: Vec<PathBuf> = list.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    let (mut authorities, mut identity) = (Vec::new(), None);
    for path in paths {
        match path.extension().and_then(|end| end.to_str()) {
            Some("crt") => authorities.extend(certificates(&path)?),
            Some("cert") => {
                let key = path.with_extension("key");
                let fault = |path: &Path, detail: &str| Fault::Config {
                    path: path.display().to_string(),
                    detail: detail.into(),
                };
                let chain = certificates(&path)?;
                let pem = files::read(&key, CERTIFICATES_MAX)?
                    .ok_or_else(|| fault(&key, "the key of the client certificate is missing"))?;
                let key = PrivateKeyDer::from_pem_slice(&pem)
                    .map_err(|_| fault(&key, "not a private key in PEM form"))?;
                identity = Some((chain, key));
            }
            Some("key") if !path.with_extension("cert").exists() => {
                return Err(Fault::Config {
                    path: path.display().to_string(),
                    detail: "a client key without its `.cert`".into(),
                });
            }
            _ => {}
        }
    }
    Ok((authorities, identity))
}
