//! Who signed a release: one signature file, and what it says.
//!
//! In: the file's bytes, the keys that are trusted, the digest of the release image that was asked for, the time. Out: a
//! [`Claim`], or why the file proves nothing. The checks are those of a cluster (made by a trusted key, over exactly this
//! digest, and not expired), and where a cluster is lenient with JSON this is not: one meaning, or none.

use format_spec::Digest;
use serde::Deserialize;
use serde_json::Value;

use super::limits::SIGNATURE_MAX;
use super::openpgp::{Fingerprint, Message, OpenPgpError, PublicKey};

const TYPE: &str = "atomic container signature";

/// What a valid signature says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The name under which the release was published.
    pub reference: String,
    /// The key that says so.
    pub signer: Fingerprint,
}

/// Why a signature file proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// It is not such a file.
    #[error("it cannot be read: {0}")]
    OpenPgp(#[from] OpenPgpError),
    /// The key is not among the trusted ones.
    #[error("it was made by a key that is not trusted: {0}")]
    UnknownKey(String),
    /// The content is not what was signed.
    #[error("it is not valid: the file was changed after it was signed")]
    Bad,
    /// It holds no more.
    #[error("it expired at {0}")]
    Expired(String),
    /// The content is not a claim.
    #[error("what it signs is not a claim about an image: {0}")]
    Claim(String),
    /// It is about another image.
    #[error("it is about another image: {0}")]
    OtherDigest(String),
}

/// What is signed. A field more or less is another format.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    critical: Critical,
    #[serde(default)]
    #[serde(rename = "optional")]
    _optional: Optional,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Critical {
    #[serde(rename = "type")]
    kind: String,
    image: Image,
    identity: Identity,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Image {
    #[serde(rename = "docker-manifest-digest")]
    digest: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Identity {
    #[serde(rename = "docker-reference")]
    reference: String,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Optional {
    #[serde(rename = "creator")]
    _creator: Option<String>,
    #[serde(rename = "timestamp")]
    _timestamp: Option<i64>,
}

/// Verifies a file at `now`, in seconds since 1970.
pub fn verify(
    file: &[u8],
    keys: &[PublicKey],
    digest: &Digest,
    now: u64,
) -> Result<Claim, SignatureError> {
    let (message, signer) = made_by(file, SIGNATURE_MAX, keys, now)?;
    let document = document(&message.content)?;
    if document.critical.kind != TYPE {
        return Err(SignatureError::Claim(format!(
            "its type is not `{TYPE}` but {}",
            quoted(&document.critical.kind)
        )));
    }
    let reference = document.critical.identity.reference;
    if reference.is_empty() {
        return Err(SignatureError::Claim("it names no image".to_owned()));
    }
    let signed = document.critical.image.digest;
    if signed != digest.to_string() {
        return Err(SignatureError::OtherDigest(quoted(&signed)));
    }
    Ok(Claim { reference, signer })
}

/// A message of up to `max` bytes that has not expired, and the key that signed it.
pub(crate) fn made_by(
    file: &[u8],
    max: usize,
    keys: &[PublicKey],
    now: u64,
) -> Result<(Message, Fingerprint), SignatureError> {
    let message = Message::parse(file, max)?;
    let signer = signer(&message, keys)?;
    match message.signature.expires.filter(|expires| *expires < now) {
        Some(expires) => Err(SignatureError::Expired(moment(expires))),
        None => Ok((message, signer)),
    }
}

/// The trusted key that made the signature.
fn signer(message: &Message, keys: &[PublicKey]) -> Result<Fingerprint, SignatureError> {
    let issuer = message.signature.issuer;
    let named = |key: &&PublicKey| issuer.is_none_or(|id| key.fingerprint().key_id() == id);
    let mut tried = false;
    for key in keys.iter().filter(named) {
        tried = true;
        if message.is_by(key)? {
            return Ok(key.fingerprint());
        }
    }
    if tried && issuer.is_some() {
        return Err(SignatureError::Bad);
    }
    let hex = |id: [u8; 8]| id.iter().map(|byte| format!("{byte:02X}")).collect::<String>();
    Err(SignatureError::UnknownKey(issuer.map_or_else(|| "it does not say which".to_owned(), hex)))
}

fn document(content: &[u8]) -> Result<Document, SignatureError> {
    let fault = |error: serde_json::Error| SignatureError::Claim(error.to_string());
    // Duplicate and unknown fields, numbers that are no integers, and bytes behind the end are errors here.
    let document = serde_json::from_slice(content).map_err(fault)?;
    // A list passes for a structure of as many fields.
    let value: Value = serde_json::from_slice(content).map_err(fault)?;
    let critical = &value["critical"];
    let objects = [&value, critical, &critical["image"], &critical["identity"]];
    let optional = value.get("optional").is_none_or(Value::is_object);
    if !optional || !objects.iter().all(|value| value.is_object()) {
        return Err(SignatureError::Claim("a list stands where fields belong".to_owned()));
    }
    Ok(document)
}

/// A time for people.
pub(crate) fn moment(seconds: u64) -> String {
    let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(seconds)
        .map_or_else(|_| seconds.to_string(), |time| time.to_string())
}

/// A text from outside, short and without control characters.
fn quoted(text: &str) -> String {
    let text: String =
        text.chars().take(120).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    format!("`{text}`")
}

#[cfg(test)]
#[path = "signature_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "algorithm_tests.rs"]
mod algorithm_tests;
