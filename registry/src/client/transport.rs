//! Connections: one HTTP client for each host, because each host has its own TLS settings.
//!
//! In: options, `certs.d` directories. Out: `reqwest` clients that follow no redirect, decode no body
//! and have no total time limit; and the faults of their errors. What must hold: TLS is verified
//! against the system's store, `--ca-file` and `certs.d`, unless the person turned that off for this
//! very host.

use std::error::Error as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::{Certificate, Identity};
use url::Url;

use super::ClientOptions;
use super::error::{Fault, TlsCause};
use super::files;
use super::headers::authority;
use crate::limits::{CERTIFICATES_MAX, CONNECT_TIME};

/// Idle connections kept for each host: as many as ever work in parallel.
const IDLE_MAX: usize = 32;

/// How long an idle connection is kept. Common servers close theirs after 60 s; ours goes first.
const IDLE_TIME: Duration = Duration::from_secs(30);

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

/// Makes the client for `host[:port]`. `names` are the directory names that `certs.d` may have for it.
pub(super) fn build(
    options: &ClientOptions,
    names: &[&str],
    loopback: bool,
    tls: Tls,
) -> Result<reqwest::Client, Fault> {
    // Once a process; a second call finds the first one's provider and changes nothing.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = reqwest::Client::builder()
        .user_agent(&options.user_agent)
        .http1_only()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .tcp_nodelay(true)
        .connect_timeout(CONNECT_TIME.min(options.stall.max(Duration::from_secs(1))))
        .pool_max_idle_per_host(IDLE_MAX)
        .pool_idle_timeout(IDLE_TIME);
    if loopback {
        // A proxy cannot reach this machine's loopback.
        builder = builder.no_proxy();
    }
    let mut authorities = Vec::new();
    let mut identity = None;
    if tls != Tls::Never {
        for path in &options.ca_files {
            authorities.extend(certificates(path)?);
        }
        for dir in &options.certs_d {
            for name in names {
                let dir = dir.join(name);
                let (more, own) = host_certificates(&dir)?;
                authorities.extend(more);
                identity = identity.or(own);
            }
        }
    }
    builder = match tls {
        Tls::Verify => builder.tls_certs_merge(authorities),
        Tls::Unverified => builder.tls_danger_accept_invalid_certs(true),
        Tls::Never => builder.tls_certs_only([]),
    };
    if let Some(identity) = identity {
        builder = builder.identity(identity);
    }
    builder.build().map_err(|error| Fault::Config {
        path: names.first().copied().unwrap_or("TLS").to_owned(),
        detail: format!("cannot set up TLS: {}", innermost(&error)),
    })
}

/// The certificates of a PEM file that must exist and have at least one.
pub(super) fn certificates(path: &Path) -> Result<Vec<Certificate>, Fault> {
    let fault =
        |detail: &str| Fault::Config { path: path.display().to_string(), detail: detail.into() };
    let bytes =
        files::read(path, CERTIFICATES_MAX)?.ok_or_else(|| fault("the file does not exist"))?;
    let list = Certificate::from_pem_bundle(&bytes)
        .map_err(|_| fault("not a list of certificates in PEM form"))?;
    if list.is_empty() {
        return Err(fault("no certificate in PEM form in it"));
    }
    Ok(list)
}

/// `*.crt` are authorities, `*.cert` with `*.key` is our own identity (containers-certs.d(5)).
fn host_certificates(dir: &Path) -> Result<(Vec<Certificate>, Option<Identity>), Fault> {
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
                let mut pem = files::read(&path, CERTIFICATES_MAX)?
                    .ok_or_else(|| fault(&path, "the file does not exist"))?;
                let key_pem = files::read(&key, CERTIFICATES_MAX)?
                    .ok_or_else(|| fault(&key, "the key of the client certificate is missing"))?;
                pem.push(b'\n');
                pem.extend(key_pem);
                identity = Some(
                    Identity::from_pem(&pem)
                        .map_err(|_| fault(&path, "not a certificate with its key in PEM form"))?,
                );
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

/// The fault that an error of the HTTP client stands for. URLs are left out: they may carry tokens.
pub(super) fn fault(url: &Url, error: &reqwest::Error) -> Fault {
    let host = authority(url);
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    let mut dns = false;
    let mut words = String::new();
    while let Some(current) = cause {
        if let Some(tls) = tls_error(current) {
            return tls_fault(host, tls);
        }
        let text = current.to_string();
        dns |= text.starts_with("dns error");
        if !current.is::<reqwest::Error>() {
            words = text;
        }
        cause = current.source();
    }
    if words.is_empty() {
        words = if error.is_timeout() { "timed out".into() } else { "unknown cause".into() };
    }
    if error.is_connect() {
        return if dns {
            Fault::UnknownHost { host, detail: words }
        } else {
            Fault::Connect { host, detail: words }
        };
    }
    Fault::Broken { host, detail: words }
}

/// The TLS error itself, out of the I/O errors it is wrapped in (`source` passes over them).
fn tls_error<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a rustls::Error> {
    if let Some(tls) = error.downcast_ref::<rustls::Error>() {
        return Some(tls);
    }
    let inner = error.downcast_ref::<std::io::Error>()?.get_ref()?;
    tls_error(inner)
}

fn tls_fault(host: String, error: &rustls::Error) -> Fault {
    use rustls::{AlertDescription as Alert, CertificateError, Error};
    let cause = match error {
        Error::InvalidMessage(_) => TlsCause::NotTls,
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => TlsCause::UnknownAuthority,
        Error::AlertReceived(
            Alert::CertificateRequired | Alert::BadCertificate | Alert::UnknownCA,
        ) => TlsCause::ClientCertificate,
        _ => TlsCause::Other,
    };
    let detail = match error {
        Error::InvalidMessage(_) => "the answer is not TLS".to_owned(),
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "the certificate is signed by an unknown authority".to_owned()
        }
        Error::InvalidCertificate(CertificateError::Expired) => {
            "the certificate has expired".to_owned()
        }
        other => other.to_string(),
    };
    Fault::Tls { host, detail, cause }
}

fn innermost(error: &reqwest::Error) -> String {
    let mut text = "unknown cause".to_owned();
    let mut cause = error.source();
    while let Some(current) = cause {
        text = current.to_string();
        cause = current.source();
    }
    text
}
