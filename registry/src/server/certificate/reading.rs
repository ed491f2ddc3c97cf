//! Reads certificates and keys, and judges a pair before clients do.
//!
//! In: PEM files from people. Out: what they say, or the one fault that a client would stumble over, by name
//! (a mirror registry that took any file failed later, with a message about something else). What must hold: files are
//! bounded; nothing of a key is ever shown.

use std::path::Path;

use base64::Engine as _;
use format_spec::Digest;
use jiff::Timestamp;
use rustls::client::verify_server_name;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{CertificateError, Described, FILE_MAX};

/// A certificate with those that vouch for it, and the key.
type Pair = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// Judges a certificate and its key for a registry with these names; says what the certificate says.
///
/// # Errors
/// The first fault that a client would meet.
pub fn check(
    certificate: &Path,
    key: &Path,
    names: &[String],
) -> Result<Described, CertificateError> {
    let (chain, _) = pair(certificate, key)?;
    let leaf = parsed(certificate, &chain[0])?;
    let subject = leaf.subject().to_string();
    if leaf.is_ca() && chain.len() > 1 {
        return Err(CertificateError::Authority { path: certificate.to_owned(), subject });
    }
    if let Ok(Some(usage)) = leaf.extended_key_usage()
        && !usage.value.server_auth
        && !usage.value.any
    {
        return Err(CertificateError::Usage(certificate.to_owned()));
    }
    in_order(certificate, &chain)?;
    let now = Timestamp::now();
    for one in &chain {
        let about = described(certificate, one)?;
        let (path, subject) = (certificate.to_owned(), about.subject);
        if about.not_after < now {
            return Err(CertificateError::Ended { path, subject, until: about.not_after });
        }
        if about.not_before > now {
            return Err(CertificateError::Early { path, subject, from: about.not_before });
        }
    }
    let about = described(certificate, &chain[0])?;
    let verified = ParsedCertificate::try_from(&chain[0])
        .map_err(|error| unusable(certificate, error.to_string()))?;
    for name in names {
        let wanted = ServerName::try_from(name.as_str())
            .map_err(|_| CertificateError::Name(name.clone()))?;
        if verify_server_name(&verified, &wanted).is_err() {
            let (path, name) = (certificate.to_owned(), name.clone());
            return Err(CertificateError::OtherName { path, name, names: about.names });
        }
    }
    Ok(about)
}

/// What the first certificate of a file says.
///
/// # Errors
/// The file cannot be read, or holds none.
pub fn describe(path: &Path) -> Result<Described, CertificateError> {
    let (chain, _) = chain(path)?;
    described(path, &chain[0])
}

/// Whom clients must trust for a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    /// Its name.
    pub name: String,
    /// Its certificate in PEM; `None` where the chain ends before it, as those of sites do.
    pub pem: Option<String>,
}

/// Who vouches for the last certificate of a file.
///
/// # Errors
/// The file cannot be read, or holds none.
pub fn authority(path: &Path) -> Result<Authority, CertificateError> {
    let (chain, _) = chain(path)?;
    let last = &chain[chain.len() - 1];
    let certificate = parsed(path, last)?;
    let alone = certificate.issuer().as_raw() == certificate.subject().as_raw();
    Ok(Authority { name: certificate.issuer().to_string(), pem: alone.then(|| armoured(last)) })
}

fn armoured(der: &[u8]) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let mut pem = "-----BEGIN CERTIFICATE-----\n".to_owned();
    for line in text.as_bytes().chunks(64) {
        pem.extend(line.iter().map(|c| char::from(*c)));
        pem.push('\n');
    }
    pem + "-----END CERTIFICATE-----\n"
}

/// The certificates of a file and its key, which fits.
pub(in crate::server) fn pair(certificate: &Path, key: &Path) -> Result<Pair, CertificateError> {
    let (chain, _) = chain(certificate)?;
    let key = fits(certificate, &chain, key)?;
    Ok((chain, key))
}

/// The key of a file, if it is that of the certificate.
pub(super) fn fits(
    certificate: &Path,
    chain: &[CertificateDer<'static>],
    path: &Path,
) -> Result<PrivateKeyDer<'static>, CertificateError> {
    let text = text(path)?;
    let key = PrivateKeyDer::from_pem_slice(text.as_bytes())
        .map_err(|_| unusable(path, instead_of_key(&text)))?;
    let signing = any_supported_type(&key).map_err(|_| {
        unusable(path, "it is none of the keys that TLS uses here: ECDSA P-256 or P-384, RSA of 2048 to 8192 bits, Ed25519")
    })?;
    match CertifiedKey::new(chain.to_vec(), signing).keys_match() {
        Ok(()) => Ok(key),
        Err(_) => Err(CertificateError::OtherKey {
            certificate: certificate.to_owned(),
            key: path.to_owned(),
        }),
    }
}

/// The certificates of a file, at least one, and the text.
pub(super) fn chain(
    path: &Path,
) -> Result<(Vec<CertificateDer<'static>>, String), CertificateError> {
    let text = text(path)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    match chain {
        Ok(chain) if !chain.is_empty() => Ok((chain, text)),
        Ok(_) if text.contains("PRIVATE KEY-----") => {
            Err(unusable(path, "it holds a key and no certificate; were the two files exchanged?"))
        }
        _ => Err(unusable(path, "it holds no certificate in PEM (`-----BEGIN CERTIFICATE-----`)")),
    }
}

/// The text of a file, within its limit.
pub(super) fn text(path: &Path) -> Result<String, CertificateError> {
    use std::io::Read;
    let mut bytes = Vec::new();
    let file = crate::regular::open(path).map_err(CertificateError::Io)?;
    file.take(FILE_MAX + 1).read_to_end(&mut bytes).map_err(CertificateError::Io)?;
    if bytes.len() as u64 > FILE_MAX {
        return Err(unusable(path, format!("it is larger than {FILE_MAX} bytes")));
    }
    // DER and PKCS #12 begin with a sequence.
    if bytes.first() == Some(&0x30) {
        return Err(unusable(
            path,
            "it is binary (DER or PKCS #12), and has to be PEM: `openssl x509 -inform der` or `openssl pkcs12` turns it into that",
        ));
    }
    String::from_utf8(bytes).map_err(|_| unusable(path, "it is not a PEM file"))
}

fn instead_of_key(text: &str) -> &'static str {
    if text.contains("ENCRYPTED") {
        "the key is encrypted, and nobody is there to type its password when the registry starts: `openssl pkey` takes it off"
    } else if text.contains("BEGIN CERTIFICATE") {
        "it holds a certificate and no key; were the two files exchanged?"
    } else {
        "it holds no key in PEM (`-----BEGIN PRIVATE KEY-----`)"
    }
}

fn in_order(path: &Path, chain: &[CertificateDer<'static>]) -> Result<(), CertificateError> {
    for (at, two) in chain.windows(2).enumerate() {
        let (below, above) = (parsed(path, &two[0])?, parsed(path, &two[1])?);
        if below.issuer().as_raw() != above.subject().as_raw() {
            return Err(CertificateError::Order {
                path: path.to_owned(),
                number: at + 2,
                subject: above.subject().to_string(),
                issuer: below.issuer().to_string(),
            });
        }
    }
    Ok(())
}

/// What a certificate says.
pub(super) fn described(path: &Path, der: &[u8]) -> Result<Described, CertificateError> {
    let certificate = parsed(path, der)?;
    let validity = certificate.validity();
    let time = |seconds: i64| {
        Timestamp::from_second(seconds)
            .map_err(|_| unusable(path, "its time of validity is beyond all calendars"))
    };
    let not_after = time(validity.not_after.timestamp())?;
    let now = Timestamp::now();
    let left = not_after.as_second().saturating_sub(now.as_second());
    let mut names = Vec::new();
    if let Ok(Some(found)) = certificate.subject_alternative_name() {
        names.extend(found.value.general_names.iter().filter_map(shown));
    }
    Ok(Described {
        subject: certificate.subject().to_string(),
        issuer: certificate.issuer().to_string(),
        names,
        not_before: time(validity.not_before.timestamp())?,
        not_after,
        days_left: left.div_euclid(86_400),
        fingerprint: Digest::of(der).hex(),
    })
}

fn shown(name: &GeneralName<'_>) -> Option<String> {
    use std::net::IpAddr;
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => {
            match (<[u8; 4]>::try_from(*bytes), <[u8; 16]>::try_from(*bytes)) {
                (Ok(four), _) => Some(IpAddr::from(four).to_string()),
                (_, Ok(sixteen)) => Some(IpAddr::from(sixteen).to_string()),
                _ => None,
            }
        }
        _ => None,
    }
}

fn parsed<'a>(path: &Path, der: &'a [u8]) -> Result<X509Certificate<'a>, CertificateError> {
    X509Certificate::from_der(der)
        .map(|(_, certificate)| certificate)
        .map_err(|_| unusable(path, "it holds a certificate that cannot be read"))
}

fn unusable(path: &Path, problem: impl Into<String>) -> CertificateError {
    CertificateError::File { path: path.to_owned(), problem: problem.into() }
}
