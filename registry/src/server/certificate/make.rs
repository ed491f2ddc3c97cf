//! Makes an authority and certificates of servers.
//!
//! In: a directory and names. Out: the four files. What must hold: keys have mode 0600 from their first byte; each file
//! is replaced as a whole; a crash between two files is found at the next look, as the pair does not fit.

use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};

use super::{
    CA, CA_DAYS, CA_KEY, CertificateError, Described, Made, NAMES_MAX, SERVER, SERVER_DAYS,
    SERVER_KEY, WARNING_DAYS, reading,
};
use crate::lasting;
use crate::server::random;
use format_spec::digest::to_hex;

/// Clocks of clients may be a little behind.
const BACK: Duration = Duration::from_secs(12 * 60 * 60);

/// Makes a server certificate for these names, with the authority of the directory; where there is none, it is made.
///
/// # Errors
/// A name is none, the authority cannot sign, I/O.
pub fn make(directory: &Path, names: &[String]) -> Result<Made, CertificateError> {
    lasting::refuse_link(directory).map_err(CertificateError::Io)?;
    let certificate = directory.join(CA);
    if !certificate.exists() {
        return make_anew(directory, names);
    }
    let names = checked(names)?;
    let (ca, _) = reading::chain(&certificate)?;
    let about = reading::described(&certificate, &ca[0])?;
    if about.days_left < WARNING_DAYS {
        return Err(CertificateError::CaEnds { path: certificate, until: about.not_after });
    }
    let key = directory.join(CA_KEY);
    if !key.exists() {
        return Err(CertificateError::NoCaKey(directory.to_owned()));
    }
    reading::fits(&certificate, &ca, &key)?;
    let pair = KeyPair::from_pem(&reading::text(&key)?).map_err(failed)?;
    let issuer = Issuer::from_ca_cert_der(&ca[0], pair).map_err(failed)?;
    let left = Duration::from_secs(u64::try_from(about.days_left).unwrap_or(0) * 86_400);
    write_server(directory, &names, &issuer, left, false)
}

/// Makes a new authority, whatever there is, and a server certificate. Every client must be told of it.
///
/// # Errors
/// A name is none, I/O.
pub fn make_anew(directory: &Path, names: &[String]) -> Result<Made, CertificateError> {
    let names = checked(names)?;
    lasting::make_private(directory).map_err(CertificateError::Io)?;
    let pair = KeyPair::generate().map_err(failed)?;
    // Two authorities of one name confuse clients that were told of both.
    let mark: [u8; 4] = random::bytes().map_err(CertificateError::Io)?;
    let mark = to_hex(&mark);
    let mut params = CertificateParams::default();
    params.distinguished_name = called(&format!("bundle mirror registry CA {mark}"));
    // No authority below it.
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    lasts(&mut params, days(CA_DAYS));
    let own = params.self_signed(&pair).map_err(failed)?;
    write(directory, CA_KEY, &pair.serialize_pem(), 0o600)?;
    write(directory, CA, &own.pem(), 0o644)?;
    let issuer = Issuer::from_ca_cert_der(own.der(), pair).map_err(failed)?;
    write_server(directory, &names, &issuer, days(CA_DAYS), true)
}

fn write_server(
    directory: &Path,
    names: &[String],
    issuer: &Issuer<'_, KeyPair>,
    left: Duration,
    new_ca: bool,
) -> Result<Made, CertificateError> {
    let pair = KeyPair::generate().map_err(failed)?;
    let mut params = CertificateParams::new(names).map_err(failed)?;
    // The common name has room for 64 letters, and only people read it.
    params.distinguished_name = called(&names[0].chars().take(64).collect::<String>());
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    // A certificate is of no use after the end of its authority.
    lasts(&mut params, days(SERVER_DAYS).min(left));
    let own = params.signed_by(&pair, issuer).map_err(failed)?;
    write(directory, SERVER_KEY, &pair.serialize_pem(), 0o600)?;
    write(directory, SERVER, &own.pem(), 0o644)?;
    let certificate = directory.join(SERVER);
    let about: Described = reading::described(&certificate, own.der())?;
    let (ca, key) = (directory.join(CA), directory.join(SERVER_KEY));
    Ok(Made { ca, certificate, key, new_ca, about })
}

fn write(directory: &Path, name: &str, text: &str, mode: u32) -> Result<(), CertificateError> {
    lasting::replace(&directory.join(name), text.as_bytes(), mode).map_err(CertificateError::Io)
}

fn called(name: &str) -> DistinguishedName {
    let mut called = DistinguishedName::new();
    called.push(DnType::CommonName, name);
    called
}

fn lasts(params: &mut CertificateParams, time: Duration) {
    let begin = SystemTime::now() - BACK;
    params.not_before = begin.into();
    params.not_after = (begin + time).into();
}

fn days(days: i64) -> Duration {
    Duration::from_secs(days.unsigned_abs() * 86_400)
}

#[allow(clippy::needless_pass_by_value)] // for map_err
fn failed(error: rcgen::Error) -> CertificateError {
    CertificateError::Make(error.to_string())
}

/// The names as they stand in a certificate, each once.
fn checked(names: &[String]) -> Result<Vec<String>, CertificateError> {
    let mut checked: Vec<String> = Vec::new();
    for name in names {
        let tidy = tidy(name).ok_or_else(|| CertificateError::Name(name.clone()))?;
        if !checked.contains(&tidy) {
            checked.push(tidy);
        }
    }
    match checked.len() {
        1..=NAMES_MAX => Ok(checked),
        _ => Err(CertificateError::NoNames),
    }
}

/// A host name in lower case, perhaps with `*` as its first label, or an address without brackets.
pub(super) fn tidy(name: &str) -> Option<String> {
    let bare = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Some(address.to_string());
    }
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let host = name.strip_prefix("*.").unwrap_or(&name);
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-' || c == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    // A last label of digits only would be read as an address.
    let number =
        host.rsplit('.').next().is_some_and(|last| last.bytes().all(|c| c.is_ascii_digit()));
    (host.len() <= 253 && host.split('.').all(label) && !number).then_some(name)
}
