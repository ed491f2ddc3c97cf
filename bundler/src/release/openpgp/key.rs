//! Public keys.
//!
//! In: a file of keys, armoured or binary. Out: those that may sign, RSA alone; and what is in the file that cannot be used,
//! for people. What must hold: a subkey counts only when its primary key vouches for it, as anybody can add one to a key on
//! its way; a key that took itself back does not count. That a key has expired is no reason to leave it out: the signatures
//! of releases outlive it, and clusters take them.

use std::fmt;

use ring::signature::RsaPublicKeyComponents;

use super::packet::{
    MARKER, PUBLIC_KEY, PUBLIC_SUBKEY, Reader, SECRET_KEY, SECRET_SUBKEY, SIGNATURE, TRUST,
    USER_ATTRIBUTE, USER_ID,
};
use super::signature::{BINDING, REVOCATION, SUBKEY_REVOCATION, Signature};
use super::{OpenPgpError, armor};

/// What a key is called: the SHA-1 of it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; 20]);

impl Fingerprint {
    /// The last 8 bytes, by which signatures name a key.
    pub fn key_id(&self) -> [u8; 8] {
        let mut id = [0; 8];
        id.copy_from_slice(&self.0[12..]);
        id
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02X}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// A public RSA key.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    modulus: Vec<u8>,
    exponent: Vec<u8>,
    /// As it stands in its packet, which signatures of keys cover.
    body: Vec<u8>,
    fingerprint: Fingerprint,
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.fingerprint)
    }
}

impl PublicKey {
    /// A key from its numbers and the time when it was made, in seconds since 1970.
    pub fn new(modulus: &[u8], exponent: &[u8], created: u32) -> Self {
        let mut body = vec![4];
        body.extend(created.to_be_bytes());
        body.push(1);
        for number in [modulus, exponent] {
            let first = number.first().copied().unwrap_or(0);
            let bits = (number.len() * 8).saturating_sub(first.leading_zeros() as usize);
            body.extend(u16::try_from(bits).unwrap_or(u16::MAX).to_be_bytes());
            body.extend(number);
        }
        let fingerprint = fingerprint(&body);
        Self { modulus: modulus.to_vec(), exponent: exponent.to_vec(), body, fingerprint }
    }

    fn parse(body: &[u8]) -> Result<Self, OpenPgpError> {
        let mut reader = Reader(body);
        let version = reader.byte()?;
        if version != 4 {
            return Err(OpenPgpError::Unsupported(format!("a key of version {version}")));
        }
        reader.long()?;
        let algorithm = reader.byte()?;
        if !matches!(algorithm, 1 | 3) {
            return Err(OpenPgpError::Unsupported(format!(
                "a key of another kind than RSA ({algorithm})"
            )));
        }
        let (modulus, exponent) = (reader.number()?, reader.number()?);
        if !reader.0.is_empty() {
            return Err(OpenPgpError::Malformed("the end of a key"));
        }
        if modulus.len() < 256 || modulus.len() > 1024 {
            return Err(OpenPgpError::Unsupported(format!("RSA of {} bits", modulus.len() * 8)));
        }
        Ok(Self {
            modulus: modulus.to_vec(),
            exponent: exponent.to_vec(),
            body: body.to_vec(),
            fingerprint: fingerprint(body),
        })
    }

    /// Its name.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    pub(super) fn modulus(&self) -> &[u8] {
        &self.modulus
    }

    pub(super) fn components(&self) -> RsaPublicKeyComponents<&[u8]> {
        RsaPublicKeyComponents { n: &self.modulus, e: &self.exponent }
    }
}

/// A key as it is hashed wherever a signature covers it.
fn framed(body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).unwrap_or(u16::MAX);
    let mut out = vec![0x99];
    out.extend(length.to_be_bytes());
    out.extend(body);
    out
}

fn fingerprint(body: &[u8]) -> Fingerprint {
    let hash = ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, &framed(body));
    let mut bytes = [0; 20];
    bytes.copy_from_slice(hash.as_ref());
    Fingerprint(bytes)
}

/// The keys of a file.
#[derive(Debug, Default)]
pub struct Keys {
    /// Those that can verify.
    pub usable: Vec<PublicKey>,
    /// Why others cannot.
    pub left_out: Vec<String>,
}

/// Reads a file of keys.
pub fn read(file: &[u8]) -> Result<Keys, OpenPgpError> {
    let bytes = armor::bare(file)?;
    let mut reader = Reader(&bytes);
    let mut ring = Ring::default();
    while let Some(packet) = reader.packet()? {
        match packet.tag {
            PUBLIC_KEY => ring.primary(&packet.body)?,
            PUBLIC_SUBKEY => ring.subkey(&packet.body),
            SIGNATURE => ring.signature(&packet.body),
            SECRET_KEY | SECRET_SUBKEY => return Err(OpenPgpError::Private),
            USER_ID | USER_ATTRIBUTE | TRUST | MARKER => {}
            other => return Err(OpenPgpError::Unexpected(other)),
        }
    }
    ring.close();
    Ok(ring.keys)
}

/// A file while it is read.
#[derive(Default)]
struct Ring {
    keys: Keys,
    /// The primary key to which what follows belongs.
    primary: Option<PublicKey>,
    /// The subkey to which signatures belong.
    subkey: Option<PublicKey>,
    /// Subkeys that the primary key vouched for.
    bound: Vec<PublicKey>,
    revoked: bool,
}

impl Ring {
    fn close(&mut self) {
        let Some(primary) = self.primary.take() else { return };
        let bound = std::mem::take(&mut self.bound);
        self.subkey = None;
        if std::mem::take(&mut self.revoked) {
            self.keys.left_out.push(format!("key {}: it is revoked", primary.fingerprint));
            return;
        }
        self.keys.usable.push(primary);
        self.keys.usable.extend(bound);
    }

    fn primary(&mut self, body: &[u8]) -> Result<(), OpenPgpError> {
        self.close();
        match PublicKey::parse(body) {
            Ok(key) => self.primary = Some(key),
            // What is well formed may be of another kind; what is not is a damaged file.
            Err(OpenPgpError::Unsupported(what)) => {
                self.keys.left_out.push(format!("{what} is not supported"));
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn subkey(&mut self, body: &[u8]) {
        // Those for encryption are often of other kinds, and nobody misses them.
        self.subkey = PublicKey::parse(body).ok();
    }

    /// Of the signatures in a file only those count by which a key speaks of itself.
    fn signature(&mut self, body: &[u8]) {
        let (Some(primary), Ok(signature)) = (&self.primary, Signature::parse(body)) else {
            return;
        };
        let own = framed(&primary.body);
        match (signature.kind, &self.subkey) {
            (REVOCATION, None) if signature.is_by(primary, &[&own]) == Ok(true) => {
                self.revoked = true;
            }
            (BINDING, Some(subkey))
                if signature.may_sign
                    && signature.is_by(primary, &[&own, &framed(&subkey.body)]) == Ok(true) =>
            {
                self.bound.push(subkey.clone());
            }
            (SUBKEY_REVOCATION, Some(subkey))
                if signature.is_by(primary, &[&own, &framed(&subkey.body)]) == Ok(true) =>
            {
                let gone = subkey.fingerprint;
                self.bound.retain(|key| key.fingerprint != gone);
                self.subkey = None;
            }
            _ => {}
        }
    }
}
