//! What keys and signatures are made of, for each algorithm, and what those are called that are not read here.
//!
//! In: the end of a key's or a signature's packet. Out: its numbers; with the bytes that were signed, the word of `ring`.
//! What must hold: an algorithm that is not known here is named, and no key answers for a signature of another kind.

use ring::digest::{self, SHA256, SHA384, SHA512};
use ring::signature::{self as ring_signature, RsaParameters, RsaPublicKeyComponents};

use super::OpenPgpError;
use super::packet::Reader;

/// RSA. There are numbers for keys that only sign, or only encrypt, which is said in other ways too.
pub(super) const RSA: u8 = 1;
const RSA_SIGN: u8 = 3;
const ECDSA: u8 = 19;
/// `EdDSA` as it was before RFC 9580: with the curve in the key.
const EDDSA: u8 = 22;
const ED25519: u8 = 27;

pub(super) const SHA1: u8 = 2;

/// A curve for ECDSA.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Curve {
    P256,
    P384,
}

/// What a public key is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Material {
    Rsa { modulus: Vec<u8>, exponent: Vec<u8> },
    Ed25519([u8; 32]),
    Ecdsa { curve: Curve, point: Vec<u8> },
}

/// What a signature is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Rsa(Vec<u8>),
    Ed25519([u8; 64]),
    /// In the form that `ring` takes.
    Ecdsa(Vec<u8>),
}

impl Material {
    /// The rest of a key.
    pub(super) fn read(
        version: u8,
        algorithm: u8,
        reader: &mut Reader<'_>,
    ) -> Result<Self, OpenPgpError> {
        const POINT: OpenPgpError = OpenPgpError::Malformed("the point of a key");
        let refused =
            |what: String| Err(OpenPgpError::Unsupported(format!("{} key{what}", name(algorithm))));
        match algorithm {
            RSA | RSA_SIGN => {
                let (modulus, exponent) = (reader.number()?.to_vec(), reader.number()?.to_vec());
                if modulus.len() < 256 || modulus.len() > 1024 {
                    return refused(format!(" of {} bits", modulus.len() * 8));
                }
                Ok(Self::Rsa { modulus, exponent })
            }
            EDDSA if version == 4 => match curve(reader.curve()?) {
                "Ed25519" => {
                    let point = reader.number()?.strip_prefix(&[0x40]).ok_or(POINT)?;
                    Ok(Self::Ed25519(point.try_into().map_err(|_| POINT)?))
                }
                other => refused(format!(" over {other}")),
            },
            ECDSA => {
                let (curve, bytes) = match curve(reader.curve()?) {
                    "P-256" => (Curve::P256, 32),
                    "P-384" => (Curve::P384, 48),
                    other => return refused(format!(" over {other}")),
                };
                let point = reader.number()?.to_vec();
                if point.len() != 1 + 2 * bytes || point[0] != 4 {
                    return Err(POINT);
                }
                Ok(Self::Ecdsa { curve, point })
            }
            ED25519 => {
                let mut point = [0; 32];
                point.copy_from_slice(reader.take(32)?);
                Ok(Self::Ed25519(point))
            }
            _ => refused(String::new()),
        }
    }

    /// Whether this key made `value` over `message`, with this hash; with SHA-1 only where it is `weak` enough.
    pub(super) fn made(
        &self,
        value: &Value,
        hash: u8,
        weak: bool,
        message: &[u8],
    ) -> Result<bool, OpenPgpError> {
        let refused = |with: &str| {
            let hash = hash_name(hash);
            Err(OpenPgpError::Unsupported(format!("a signature{with} over a hash of {hash}")))
        };
        match (self, value) {
            (Self::Rsa { modulus, exponent }, Value::Rsa(value)) => {
                let parameters: &RsaParameters = match hash {
                    8 => &ring_signature::RSA_PKCS1_2048_8192_SHA256,
                    9 => &ring_signature::RSA_PKCS1_2048_8192_SHA384,
                    10 => &ring_signature::RSA_PKCS1_2048_8192_SHA512,
                    SHA1 if weak => &ring_signature::RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY,
                    _ => return refused(""),
                };
                // As long as the modulus: OpenPGP leaves zeros in front out.
                let Some(zeros) = modulus.len().checked_sub(value.len()) else { return Ok(false) };
                let value = [&vec![0; zeros][..], value].concat();
                let key = RsaPublicKeyComponents { n: modulus, e: exponent };
                Ok(key.verify(parameters, message, &value).is_ok())
            }
            (Self::Ed25519(key), Value::Ed25519(value)) => {
                let algorithm = match hash {
                    8 => &SHA256,
                    9 => &SHA384,
                    10 => &SHA512,
                    _ => return refused(""),
                };
                let digest = digest::digest(algorithm, message);
                let key = ring_signature::UnparsedPublicKey::new(&ring_signature::ED25519, key);
                Ok(key.verify(digest.as_ref(), value).is_ok())
            }
            (Self::Ecdsa { curve, point }, Value::Ecdsa(value)) => {
                let parameters = match (curve, hash) {
                    (Curve::P256, 8) => &ring_signature::ECDSA_P256_SHA256_ASN1,
                    (Curve::P256, 9) => &ring_signature::ECDSA_P256_SHA384_ASN1,
                    (Curve::P384, 8) => &ring_signature::ECDSA_P384_SHA256_ASN1,
                    (Curve::P384, 9) => &ring_signature::ECDSA_P384_SHA384_ASN1,
                    _ => return refused(" with ECDSA"),
                };
                let key = ring_signature::UnparsedPublicKey::new(parameters, point);
                Ok(key.verify(message, value).is_ok())
            }
            _ => Ok(false),
        }
    }
}

impl Value {
    /// The rest of a signature.
    pub(super) fn read(algorithm: u8, reader: &mut Reader<'_>) -> Result<Self, OpenPgpError> {
        match algorithm {
            RSA | RSA_SIGN => Ok(Self::Rsa(reader.number()?.to_vec())),
            EDDSA => {
                let mut value = [0; 64];
                for half in value.chunks_exact_mut(32) {
                    let number = reader.number()?;
                    // Only Ed448 has longer ones.
                    let zeros = half.len().checked_sub(number.len()).ok_or_else(|| {
                        OpenPgpError::Unsupported("a signature with Ed448".to_owned())
                    })?;
                    half[zeros..].copy_from_slice(number);
                }
                Ok(Self::Ed25519(value))
            }
            ECDSA => {
                let (r, s) = (integer(reader.number()?), integer(reader.number()?));
                // Those of the curves that are known stay below 128 bytes, which need a longer form.
                let length = u8::try_from(r.len() + s.len()).ok().filter(|length| *length < 128);
                let length = length.ok_or_else(|| {
                    OpenPgpError::Unsupported("a signature with ECDSA beyond P-384".to_owned())
                })?;
                Ok(Self::Ecdsa([&[0x30, length][..], &r, &s].concat()))
            }
            ED25519 => {
                let mut value = [0; 64];
                value.copy_from_slice(reader.take(64)?);
                Ok(Self::Ed25519(value))
            }
            _ => {
                let name = name(algorithm);
                let name = name.split_once(' ').map_or(&*name, |(_, name)| name);
                Err(OpenPgpError::Unsupported(format!("a signature with {name}")))
            }
        }
    }
}

/// The number that stands for a kind of key: RSA has several.
pub(super) fn kind(algorithm: u8) -> u8 {
    if algorithm == RSA_SIGN { RSA } else { algorithm }
}

/// A number as ASN.1 has it. It is below 128 bytes long, or no curve has it.
fn integer(number: &[u8]) -> Vec<u8> {
    let zero = number.first().is_none_or(|first| first & 0x80 != 0);
    let length = u8::try_from(number.len() + usize::from(zero)).unwrap_or(u8::MAX);
    let mut out = vec![2, length];
    out.extend(zero.then_some(0));
    out.extend(number);
    out
}

/// What an algorithm is called, with its article.
fn name(algorithm: u8) -> String {
    let name = match algorithm {
        1..=3 => "an RSA",
        16 | 20 => "an Elgamal",
        17 => "a DSA",
        18 => "an ECDH",
        ECDSA => "an ECDSA",
        EDDSA => "an EdDSA",
        25 => "an X25519",
        26 => "an X448",
        ED25519 => "an Ed25519",
        28 => "an Ed448",
        30 => "an ML-DSA-65+Ed25519",
        31 => "an ML-DSA-87+Ed448",
        32 => "an SLH-DSA-SHAKE-128s",
        33 => "an SLH-DSA-SHAKE-128f",
        34 => "an SLH-DSA-SHAKE-256s",
        35 => "an ML-KEM-768+X25519",
        36 => "an ML-KEM-1024+X448",
        other => return format!("an algorithm-{other}"),
    };
    name.to_owned()
}

fn hash_name(hash: u8) -> String {
    let name = match hash {
        1 => "MD5",
        SHA1 => "SHA-1",
        3 => "RIPEMD-160",
        8 => "SHA-256",
        9 => "SHA-384",
        10 => "SHA-512",
        11 => "SHA-224",
        12 => "SHA3-256",
        14 => "SHA3-512",
        other => return format!("algorithm {other}"),
    };
    name.to_owned()
}

/// A curve by the number that it has everywhere.
fn curve(number: &[u8]) -> &'static str {
    match number {
        [0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7] => "P-256",
        [0x2b, 0x81, 4, 0, 0x22] => "P-384",
        [0x2b, 0x81, 4, 0, 0x23] => "P-521",
        [0x2b, 0x81, 4, 0, 0x0a] => "secp256k1",
        [0x2b, 0x24, 3, 3, 2, 8, 1, 1, 7] => "brainpoolP256r1",
        [0x2b, 0x24, 3, 3, 2, 8, 1, 1, 0x0b] => "brainpoolP384r1",
        [0x2b, 0x24, 3, 3, 2, 8, 1, 1, 0x0d] => "brainpoolP512r1",
        [0x2b, 6, 1, 4, 1, 0xda, 0x47, 0x0f, 1] => "Ed25519",
        [0x2b, 0x65, 0x71] => "Ed448",
        _ => "an unknown curve",
    }
}
