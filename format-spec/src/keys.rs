//! Signing keys and public keys, as `openssl` reads them.
//!
//! In: PEM text (PKCS#8 private keys, SubjectPublicKeyInfo public keys, RFC 8410) or random bytes.
//! Out: keys that can sign and check. A key's id is the SHA-256 of its DER SubjectPublicKeyInfo:
//! `openssl pkey -pubin -in KEY -outform DER | sha256sum`.

use std::fmt;

use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{
    DecodePrivateKey, DecodePublicKey, EncodePrivateKey, EncodePublicKey, KeypairBytes,
};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use zeroize::Zeroizing;

use crate::digest::Digest;

/// Bytes of an ed25519 signature.
pub const SIGNATURE_LEN: usize = 64;

/// The id of a key: the SHA-256 of its SubjectPublicKeyInfo in DER.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(Digest);

impl KeyId {
    /// The id as a digest.
    pub fn digest(&self) -> &Digest {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({})", self.0.short())
    }
}

/// Why a text is not a key that can be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Not PEM of an ed25519 private key.
    #[error("not an ed25519 private key in PKCS#8 PEM: {0}")]
    Private(String),
    /// Not PEM of an ed25519 public key.
    #[error("not an ed25519 public key in PEM: {0}")]
    Public(String),
    /// A public key of small order, by which signatures prove nothing, or in a second spelling of its
    /// point, by which one key would have two ids.
    #[error("the public key is of small order or not canonical, which no generated key is")]
    Weak,
}

/// A key that signs heads.
pub struct SecretKey(SigningKey);

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey(of {:?})", self.public().id())
    }
}

impl SecretKey {
    /// The key with this seed: 32 bytes from the system's random generator.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// Reads PKCS#8 PEM, as `openssl genpkey -algorithm ed25519` writes it.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        SigningKey::from_pkcs8_pem(pem).map(Self).map_err(|e| KeyError::Private(e.to_string()))
    }

    /// PKCS#8 version 1 PEM. Version 2, which carries the public key too, cannot be read by
    /// OpenSSL 3.0.
    pub fn to_pem(&self) -> Zeroizing<String> {
        KeypairBytes { secret_key: self.0.to_bytes(), public_key: None }
            .to_pkcs8_pem(LineEnding::LF)
            .expect("32 bytes always encode")
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    /// Signs a message.
    pub fn sign(&self, message: &[u8]) -> [u8; SIGNATURE_LEN] {
        self.0.sign(message).to_bytes()
    }
}

/// A key that checks heads.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({:?})", self.id())
    }
}

impl PublicKey {
    /// Reads SubjectPublicKeyInfo PEM, as `openssl pkey -pubout` writes it.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        let key =
            VerifyingKey::from_public_key_pem(pem).map_err(|e| KeyError::Public(e.to_string()))?;
        let canonical = key.to_edwards().compress().as_bytes() == key.as_bytes();
        if key.is_weak() || !canonical { Err(KeyError::Weak) } else { Ok(Self(key)) }
    }

    /// SubjectPublicKeyInfo PEM.
    pub fn to_pem(&self) -> String {
        self.0.to_public_key_pem(LineEnding::LF).expect("32 bytes always encode")
    }

    /// The id of the key.
    pub fn id(&self) -> KeyId {
        let der = self.0.to_public_key_der().expect("32 bytes always encode");
        KeyId(Digest::of(der.as_bytes()))
    }

    /// Checks a signature by the strict rules: canonical encodings only, no small-order points
    /// (`verify_strict`), so that every implementation accepts the same signatures.
    pub fn verifies(&self, message: &[u8], signature: &[u8; SIGNATURE_LEN]) -> bool {
        self.0.verify_strict(message, &Signature::from_bytes(signature)).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_round_trip_through_pem() {
        let key = SecretKey::from_seed(&[9; 32]);
        let again = SecretKey::from_pem(&key.to_pem()).unwrap();
        assert_eq!(again.public(), key.public());
        let public = PublicKey::from_pem(&key.public().to_pem()).unwrap();
        assert!(public.verifies(b"message", &key.sign(b"message")));
        assert!(!public.verifies(b"massage", &key.sign(b"message")));
    }

    #[test]
    fn foreign_text_is_no_key() {
        assert!(SecretKey::from_pem("").is_err());
        assert!(
            PublicKey::from_pem("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n")
                .is_err()
        );
        let key = SecretKey::from_seed(&[9; 32]);
        assert!(PublicKey::from_pem(&key.to_pem()).is_err());
    }
}
