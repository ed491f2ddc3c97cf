//! The signatures over a head, in the file beside it.
//!
//! In: the exact bytes of a head and of its signature file, and the keys that a person trusts. Out:
//! the trusted keys that signed, or a refusal. The envelope is DSSE with a detached payload: the
//! signed message is `DSSEv1 <len(type)> <type> <len(body)> <body>`, so the head's type is signed
//! with it and a signature over another kind of document never fits.
//!
//! The file has one spelling only: it is parsed, written again and compared, so that not one byte of
//! it can change without notice.

use std::convert::Infallible;
use std::fmt::Write;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::head::HEAD_TYPE;
use crate::json;
use crate::keys::{KeyId, PublicKey, SIGNATURE_LEN, SecretKey};
use crate::limits::{SEAL_MAX, SIGNATURES_MAX};

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Envelope {
    payload_type: String,
    signatures: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    keyid: String,
    sig: String,
}

/// Why a head is not trusted.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// Not a signature file as this format writes it.
    #[error("the signature file is not valid: {0}")]
    Malformed(String),
    /// No signature by a trusted key.
    #[error("no signature by a trusted key; signed by {}", list(.0))]
    UnknownKey(Vec<String>),
    /// A trusted key's signature does not fit the head: damage or an attack, never noise.
    #[error("the signature of key {0} does not fit the head")]
    Bad(KeyId),
}

fn list(ids: &[String]) -> String {
    let mut text = String::new();
    for (n, id) in ids.iter().enumerate() {
        let _ = write!(text, "{}{}", if n == 0 { "" } else { ", " }, crate::digest::clip(id));
    }
    text
}

/// A head behind the words with which it is signed (DSSE's pre-authentication encoding), in one buffer: a
/// head can have 32 MiB before anybody proved a byte of it, so there is no second copy.
pub struct Message {
    bytes: Vec<u8>,
    /// Where the head begins.
    head: usize,
}

impl Message {
    /// The message over a head of so many bytes, which `read` puts where they belong.
    pub fn read<E>(
        length: usize,
        read: impl FnOnce(&mut [u8]) -> Result<(), E>,
    ) -> Result<Self, E> {
        let words = format!("DSSEv1 {} {HEAD_TYPE} {length} ", HEAD_TYPE.len());
        let head = words.len();
        let mut bytes = Vec::with_capacity(head + length);
        bytes.extend_from_slice(words.as_bytes());
        bytes.resize(head + length, 0);
        read(&mut bytes[head..])?;
        Ok(Self { bytes, head })
    }

    /// The message over a copy of `head`.
    pub fn of(head: &[u8]) -> Self {
        let copied = Self::read(head.len(), |place| {
            place.copy_from_slice(head);
            Ok::<_, Infallible>(())
        });
        let Ok(message) = copied;
        message
    }

    /// The exact bytes of the head.
    pub fn head(&self) -> &[u8] {
        &self.bytes[self.head..]
    }

    /// Checks the signatures over the head. Every signature that names a trusted key must fit, and at
    /// least one must be there. Returns the ids of the trusted keys that signed, each once.
    pub fn verify(&self, seal: &[u8], trusted: &[PublicKey]) -> Result<Vec<KeyId>, SealError> {
        let envelope = read(seal)?;
        let mut signers = Vec::new();
        for entry in &envelope.signatures {
            // The id in the file is a hint: the key it selects has the id computed here.
            let Some(key) = trusted.iter().find(|key| key.id().to_string() == entry.keyid) else {
                continue;
            };
            let signature = signature(&entry.sig).ok_or(SealError::Bad(key.id()))?;
            if !key.verifies(&self.bytes, &signature) {
                return Err(SealError::Bad(key.id()));
            }
            if !signers.contains(&key.id()) {
                signers.push(key.id());
            }
        }
        if signers.is_empty() {
            let named = envelope.signatures.into_iter().map(|entry| entry.keyid).collect();
            return Err(SealError::UnknownKey(named));
        }
        Ok(signers)
    }
}

/// The message that is signed: DSSE's pre-authentication encoding of `head`.
pub fn message(head: &[u8]) -> Vec<u8> {
    Message::of(head).bytes
}

/// The signature file over `head` by `keys`.
pub fn sign(head: &[u8], keys: &[&SecretKey]) -> Vec<u8> {
    let message = message(head);
    let signatures = keys
        .iter()
        .map(|key| Entry {
            keyid: key.public().id().to_string(),
            sig: BASE64_STANDARD.encode(key.sign(&message)),
        })
        .collect();
    write(&Envelope { payload_type: HEAD_TYPE.to_owned(), signatures })
}

fn write(envelope: &Envelope) -> Vec<u8> {
    let mut bytes = serde_json::to_vec_pretty(envelope).expect("only text");
    bytes.push(b'\n');
    bytes
}

/// The ids of the keys that a signature file names, unproven. For messages and for choosing keys.
pub fn named_keys(seal: &[u8]) -> Result<Vec<String>, SealError> {
    Ok(read(seal)?.signatures.into_iter().map(|entry| entry.keyid).collect())
}

fn read(seal: &[u8]) -> Result<Envelope, SealError> {
    let malformed = |problem: String| Err(SealError::Malformed(problem));
    if seal.len() as u64 > SEAL_MAX {
        return malformed(format!("{} bytes, at most {SEAL_MAX} are read", seal.len()));
    }
    let envelope: Envelope =
        json::parse(seal).map_err(|error| SealError::Malformed(error.to_string()))?;
    if envelope.payload_type != HEAD_TYPE {
        return malformed(format!(
            "it is over a `{}`",
            crate::digest::clip(&envelope.payload_type)
        ));
    }
    if envelope.signatures.is_empty() || envelope.signatures.len() > SIGNATURES_MAX {
        return malformed(format!(
            "{} signatures, from 1 to {SIGNATURES_MAX} are expected",
            envelope.signatures.len()
        ));
    }
    for entry in &envelope.signatures {
        if entry.keyid.parse::<Digest>().is_err() || signature(&entry.sig).is_none() {
            return malformed(format!(
                "a signature entry of `{}` is not a key id and 64 bytes in base64",
                crate::digest::clip(&entry.keyid)
            ));
        }
    }
    if write(&envelope) != seal {
        return malformed("it is not written as this format writes it".to_owned());
    }
    Ok(envelope)
}

/// Base64 with padding and without left-over bits (RFC 4648, sections 3.5 and 4): one spelling.
fn signature(text: &str) -> Option<[u8; SIGNATURE_LEN]> {
    BASE64_STANDARD.decode(text).ok()?.try_into().ok()
}

/// [`Message::verify`] for a head that is at hand.
pub fn verify(head: &[u8], seal: &[u8], trusted: &[PublicKey]) -> Result<Vec<KeyId>, SealError> {
    Message::of(head).verify(seal, trusted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> (SecretKey, SecretKey) {
        (SecretKey::from_seed(&[1; 32]), SecretKey::from_seed(&[2; 32]))
    }

    #[test]
    fn a_trusted_signature_is_enough_and_needed() {
        let (a, b) = keys();
        let seal = sign(b"head", &[&a, &b]);
        assert_eq!(verify(b"head", &seal, &[a.public()]).unwrap(), [a.public().id()]);
        assert_eq!(verify(b"head", &seal, &[b.public(), a.public()]).unwrap().len(), 2);
        let other = SecretKey::from_seed(&[3; 32]);
        assert!(matches!(
            verify(b"head", &seal, &[other.public()]),
            Err(SealError::UnknownKey(ids)) if ids.len() == 2
        ));
        assert!(matches!(verify(b"head", &seal, &[]), Err(SealError::UnknownKey(_))));
        assert!(matches!(verify(b"haed", &seal, &[a.public()]), Err(SealError::Bad(_))));
    }

    #[test]
    fn a_head_that_is_read_into_its_place_is_the_one_that_is_signed() {
        let (a, _) = keys();
        let fill = |place: &mut [u8]| {
            place.copy_from_slice(b"head");
            Ok::<_, ()>(())
        };
        let read = Message::read(4, fill).unwrap();
        assert_eq!((read.head(), &read.bytes), (&b"head"[..], &message(b"head")));
        assert_eq!(read.bytes.capacity(), read.bytes.len());
        assert_eq!(read.verify(&sign(b"head", &[&a]), &[a.public()]).unwrap(), [a.public().id()]);
        assert!(Message::read(4, |_| Err(())).is_err());
    }

    #[test]
    fn one_key_counts_once() {
        let (a, _) = keys();
        let seal = sign(b"head", &[&a, &a]);
        assert_eq!(verify(b"head", &seal, &[a.public(), a.public()]).unwrap().len(), 1);
    }

    #[test]
    fn a_good_signature_does_not_hide_a_bad_one() {
        let (a, b) = keys();
        let good = String::from_utf8(sign(b"head", &[&a])).unwrap();
        let mixed = String::from_utf8(sign(b"head", &[&a, &b])).unwrap();
        let forged = mixed.replace(
            &BASE64_STANDARD.encode(b.sign(&message(b"head"))),
            &BASE64_STANDARD.encode([0; 64]),
        );
        assert!(verify(b"head", good.as_bytes(), &[a.public(), b.public()]).is_ok());
        assert!(matches!(
            verify(b"head", forged.as_bytes(), &[a.public(), b.public()]),
            Err(SealError::Bad(_))
        ));
    }

    #[test]
    fn every_changed_bit_of_head_or_seal_is_refused() {
        let (a, _) = keys();
        let head = b"a head of some length".to_vec();
        let seal = sign(&head, &[&a]);
        for bit in 0..head.len() * 8 {
            let mut changed = head.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(verify(&changed, &seal, &[a.public()]).is_err(), "head bit {bit}");
        }
        for bit in 0..seal.len() * 8 {
            let mut changed = seal.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(verify(&head, &changed, &[a.public()]).is_err(), "seal bit {bit}");
        }
        for length in 0..seal.len() {
            assert!(verify(&head, &seal[..length], &[a.public()]).is_err(), "cut at {length}");
        }
    }
}
