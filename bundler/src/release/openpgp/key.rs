//! Public keys.
//!
//! In: a file of keys, armoured or binary. Out: those that may sign; and what is in the file that cannot be used, for people.
//! What must hold: a subkey counts only when its primary key vouches for it, as anybody can add one to a key on its way; a
//! key that took itself back does not count. That a key has expired is no reason to leave it out: the signatures of releases
//! outlive it, and clusters take them.

use std::fmt;

use super::algorithm::{Material, RSA, kind};
use super::packet::{
    MARKER, PUBLIC_KEY, PUBLIC_SUBKEY, Reader, SECRET_KEY, SECRET_SUBKEY, SIGNATURE, TRUST,
    USER_ATTRIBUTE, USER_ID, size,
};
use super::signature::{BINDING, DIRECT, REVOCATION, SUBKEY_REVOCATION, Signature, USER};
use super::{OpenPgpError, armor};

/// What a key is called: a hash of it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fingerprint {
    /// SHA-1, of keys of version 4.
    V4([u8; 20]),
    /// SHA-256, of keys of version 6.
    V6([u8; 32]),
}

impl Fingerprint {
    fn of(version: u8, framed: &[u8]) -> Self {
        let hash = |algorithm| ring::digest::digest(algorithm, framed);
        if version == 6 {
            let mut bytes = [0; 32];
            bytes.copy_from_slice(hash(&ring::digest::SHA256).as_ref());
            return Self::V6(bytes);
        }
        let mut bytes = [0; 20];
        bytes.copy_from_slice(hash(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY).as_ref());
        Self::V4(bytes)
    }

    /// The 8 bytes by which signatures name a key.
    pub fn key_id(&self) -> [u8; 8] {
        let mut id = [0; 8];
        id.copy_from_slice(match self {
            Self::V4(bytes) => &bytes[12..],
            Self::V6(bytes) => &bytes[..8],
        });
        id
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = match self {
            Self::V4(bytes) => &bytes[..],
            Self::V6(bytes) => bytes,
        };
        bytes.iter().try_for_each(|byte| write!(f, "{byte:02X}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// A public key.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    pub(super) version: u8,
    pub(super) algorithm: u8,
    pub(super) material: Material,
    /// As signatures of keys cover it.
    framed: Vec<u8>,
    fingerprint: Fingerprint,
    /// When it was made, in seconds since 1970.
    created: u32,
    /// When it ceases to hold, as it says itself.
    expires: Option<u64>,
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.fingerprint)
    }
}

impl PublicKey {
    /// A key of RSA from its numbers and the time when it was made, in seconds since 1970.
    pub fn rsa(modulus: &[u8], exponent: &[u8], created: u32) -> Self {
        let mut body = vec![4];
        body.extend(created.to_be_bytes());
        body.push(RSA);
        for number in [modulus, exponent] {
            let first = number.first().copied().unwrap_or(0);
            let bits = (number.len() * 8).saturating_sub(first.leading_zeros() as usize);
            body.extend(u16::try_from(bits).unwrap_or(u16::MAX).to_be_bytes());
            body.extend(number);
        }
        let material = Material::Rsa { modulus: modulus.to_vec(), exponent: exponent.to_vec() };
        Self::of(4, RSA, material, &body, created)
    }

    fn of(version: u8, algorithm: u8, material: Material, body: &[u8], created: u32) -> Self {
        let framed = framed(version, body);
        let fingerprint = Fingerprint::of(version, &framed);
        Self { version, algorithm, material, framed, fingerprint, created, expires: None }
    }

    fn parse(body: &[u8]) -> Result<Self, OpenPgpError> {
        let mut reader = Reader(body);
        let version = reader.byte()?;
        if !matches!(version, 4 | 6) {
            return Err(OpenPgpError::Unsupported(format!("a key of version {version}")));
        }
        let created = reader.long()?;
        let algorithm = kind(reader.byte()?);
        if version == 6 && size(reader.long()?)? != reader.0.len() {
            return Err(OpenPgpError::Malformed("the length of a key"));
        }
        let material = Material::read(version, algorithm, &mut reader)?;
        if !reader.0.is_empty() {
            return Err(OpenPgpError::Malformed("the end of a key"));
        }
        Ok(Self::of(version, algorithm, material, body, created))
    }

    /// When it expires, in seconds since 1970. Who verifies decides what that means: signatures of releases outlive it.
    pub fn expires(&self) -> Option<u64> {
        self.expires
    }

    /// When it expires, if it lasts so long.
    fn after(&self, lasts: Option<u32>) -> Option<u64> {
        lasts.map(|lasts| u64::from(self.created) + u64::from(lasts))
    }

    /// Its name.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }
}

/// A key as it is hashed wherever a signature covers it.
fn framed(version: u8, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len() + 5);
    if version == 6 {
        out.push(0x9b);
        out.extend(u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes());
    } else {
        out.push(0x99);
        out.extend(u16::try_from(body.len()).unwrap_or(u16::MAX).to_be_bytes());
    }
    out.extend(body);
    out
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
            USER_ID => ring.user(0xb4, &packet.body),
            USER_ATTRIBUTE => ring.user(0xd1, &packet.body),
            TRUST | MARKER => {}
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
    /// The user to whom signatures belong, as they cover them.
    user: Vec<u8>,
    /// When the primary key last said something of itself.
    said: u64,
    /// The subkey to which signatures belong, or why it cannot be used.
    subkey: Option<Result<PublicKey, OpenPgpError>>,
    /// Subkeys that the primary key vouched for.
    bound: Vec<PublicKey>,
    /// Why the primary key does not count.
    revoked: Option<String>,
}

impl Ring {
    fn close(&mut self) {
        let Some(primary) = self.primary.take() else { return };
        let mut bound = std::mem::take(&mut self.bound);
        (self.subkey, self.said) = (None, 0);
        self.user.clear();
        if let Some(why) = self.revoked.take() {
            self.keys.left_out.push(format!("key {}: {why}", primary.fingerprint));
            return;
        }
        for key in &mut bound {
            key.expires = key.expires.into_iter().chain(primary.expires).min();
        }
        self.keys.usable.push(primary);
        self.keys.usable.extend(bound);
    }

    fn primary(&mut self, body: &[u8]) -> Result<(), OpenPgpError> {
        self.close();
        match PublicKey::parse(body) {
            Ok(key) => self.primary = Some(key),
            // What is well formed may be of another kind; what is not is a damaged file.
            Err(error @ OpenPgpError::Unsupported(_)) => {
                self.keys.left_out.push(error.to_string());
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn user(&mut self, tag: u8, body: &[u8]) {
        self.user = vec![tag];
        self.user.extend(u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes());
        self.user.extend(body);
    }

    /// What a key says of itself last tells when it expires.
    fn says(&mut self, signature: &Signature) {
        let Some(primary) = &mut self.primary else { return };
        let user: &[u8] = if signature.kind == DIRECT { &[] } else { &self.user };
        if signature.created >= self.said
            && signature.is_by(primary, &[&primary.framed, user]) == Ok(true)
        {
            self.said = signature.created;
            primary.expires = primary.after(signature.key_lasts);
        }
    }

    fn subkey(&mut self, body: &[u8]) {
        self.subkey = Some(PublicKey::parse(body));
    }

    /// Of the signatures in a file only those count by which a key speaks of itself.
    fn signature(&mut self, body: &[u8]) {
        let (Some(primary), Ok(signature)) = (&self.primary, Signature::parse(body)) else {
            return;
        };
        if self.subkey.is_none() && (signature.kind == DIRECT || USER.contains(&signature.kind)) {
            return self.says(&signature);
        }
        let own = &primary.framed;
        let left_out = &mut self.keys.left_out;
        match (signature.kind, &self.subkey) {
            (REVOCATION, None) => match signature.is_by(primary, &[own]) {
                Ok(true) => self.revoked = Some("it is revoked".to_owned()),
                // Another key may say what it likes.
                Err(why) if signature.issuer == Some(primary.fingerprint.key_id()) => {
                    self.revoked = Some(format!("it may be revoked: {why}"));
                }
                _ => {}
            },
            // Those for encryption are often of other kinds, and nobody misses them.
            (BINDING, Some(Err(why))) if signature.may_sign => {
                left_out.push(format!("a subkey of key {}: {why}", primary.fingerprint));
            }
            (BINDING, Some(Ok(subkey))) if signature.may_sign => {
                match signature.is_by(primary, &[own, &subkey.framed]) {
                    Ok(true) => {
                        let expires = subkey.after(signature.key_lasts);
                        self.bound.push(PublicKey { expires, ..subkey.clone() });
                    }
                    Ok(false) => {}
                    Err(why) => left_out.push(format!("key {}: {why}", subkey.fingerprint)),
                }
            }
            // Also one that cannot be checked: a subkey less is better than one too many.
            (SUBKEY_REVOCATION, Some(Ok(subkey)))
                if signature.is_by(primary, &[own, &subkey.framed]) != Ok(false) =>
            {
                let gone = subkey.fingerprint;
                self.bound.retain(|key| key.fingerprint != gone);
                self.subkey = None;
            }
            _ => {}
        }
    }
}
