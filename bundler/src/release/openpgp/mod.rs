//! As much of OpenPGP as the signatures of releases are made of, read by our own hand.
//!
//! In: bytes. Out: a message and its one signature ([`message`]), public keys ([`key`], out of [`armor`] or bare), and the
//! word of `ring` whether a key made a signature. What must hold: nothing is guessed, and what could mean two things is
//! refused.
//!
//! Of the libraries that do this, `pgp` needs some 120 further crates, among them `rsa` (RUSTSEC-2023-0071, which concerns
//! private keys) and a second generation of everything that hashes; others drop the signatures of version 3 which releases
//! of 2019 have. Only one form of message is verified here, with the algorithms that `ring` has: RSA, Ed25519, and ECDSA over
//! P-256 and P-384.

mod algorithm;
pub mod armor;
pub mod key;
pub mod message;
mod packet;
mod signature;

pub use key::{Fingerprint, PublicKey};
pub use message::Message;
pub use signature::Signature;

/// Why bytes are not what is read here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenPgpError {
    /// The bytes end inside of something.
    #[error("it is cut short")]
    Truncated,
    /// Something that OpenPGP does not have.
    #[error("it is not OpenPGP: {0}")]
    Malformed(&'static str),
    /// Something that OpenPGP has and that is not read here.
    #[error("{0} is not supported")]
    Unsupported(String),
    /// Two signers in one message.
    #[error("it is signed by several keys, one inside the other; every signature must stand alone")]
    Nested,
    /// More than one may have.
    #[error("it has more than {0} bytes")]
    TooLarge(usize),
    /// A packet that does not belong there.
    #[error("it has a packet {0} where none belongs")]
    Unexpected(u8),
    /// Armour whose checksum is not its content's.
    #[error("its checksum is wrong: the file was changed or cut")]
    Checksum,
    /// A private key.
    #[error("it holds a private key; export the public one alone")]
    Private,
}
