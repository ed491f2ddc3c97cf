//! One signature: what it says about itself, and whether a key made it.
//!
//! In: the body of a signature packet, of version 3 or 4. Out: a [`Signature`]; with the bytes that were signed and a key,
//! the answer. What must hold: only the part that is itself signed tells when it was made and when it expires.

use ring::signature::{self as rsa, RsaParameters};

use super::OpenPgpError;
use super::key::PublicKey;
use super::packet::Reader;

/// A signature over a document.
pub(super) const BINARY: u8 = 0x00;
/// A signature over a text, whose lines end with CR LF for it.
pub(super) const TEXT: u8 = 0x01;
/// A primary key says that a subkey is its own.
pub(super) const BINDING: u8 = 0x18;
/// A key says that it is not to be used any more.
pub(super) const REVOCATION: u8 = 0x20;
/// A primary key says the same of a subkey.
pub(super) const SUBKEY_REVOCATION: u8 = 0x28;

const SHA1: u8 = 2;

/// A signature.
#[derive(Debug, Clone)]
pub struct Signature {
    /// What kind it is.
    pub(super) kind: u8,
    pub(super) hash: u8,
    /// The last 8 bytes of the fingerprint of the key that made it, as it says.
    pub issuer: Option<[u8; 8]>,
    /// When it was made, in seconds since 1970.
    pub created: u64,
    /// When it ceases to hold.
    pub expires: Option<u64>,
    /// What a bound subkey may do.
    pub(super) may_sign: bool,
    /// What is hashed behind the signed bytes.
    trailer: Vec<u8>,
    value: Vec<u8>,
}

impl Signature {
    pub(super) fn parse(body: &[u8]) -> Result<Self, OpenPgpError> {
        let mut reader = Reader(body);
        match reader.byte()? {
            3 => Self::version_3(reader),
            4 => Self::version_4(body, reader),
            other => Err(unsupported("a signature of version", other)),
        }
    }

    fn version_3(mut reader: Reader<'_>) -> Result<Self, OpenPgpError> {
        if reader.byte()? != 5 {
            return Err(OpenPgpError::Malformed("the length in a signature of version 3"));
        }
        let trailer = reader.take(5)?.to_vec();
        let created = u32::from_be_bytes([trailer[1], trailer[2], trailer[3], trailer[4]]);
        let mut issuer = [0; 8];
        issuer.copy_from_slice(reader.take(8)?);
        let (algorithm, hash) = (reader.byte()?, reader.byte()?);
        Ok(Self {
            kind: trailer[0],
            hash,
            issuer: Some(issuer),
            created: created.into(),
            expires: None,
            may_sign: false,
            trailer,
            value: value(algorithm, reader)?,
        })
    }

    fn version_4(body: &[u8], mut reader: Reader<'_>) -> Result<Self, OpenPgpError> {
        let (kind, algorithm, hash) = (reader.byte()?, reader.byte()?, reader.byte()?);
        let length = reader.short()?;
        let mut said = Said::default();
        said.read(reader.take(length)?, true)?;
        let mut trailer = body[..6 + length].to_vec();
        let signed = u32::try_from(trailer.len()).map_err(|_| OpenPgpError::Truncated)?;
        trailer.extend([4, 0xff]);
        trailer.extend(signed.to_be_bytes());
        let length = reader.short()?;
        said.read(reader.take(length)?, false)?;
        let created: u64 =
            said.created.ok_or(OpenPgpError::Malformed("a signature without a time"))?.into();
        Ok(Self {
            kind,
            hash,
            issuer: said.issuer,
            created,
            expires: said.lasts.filter(|time| *time != 0).map(|time| created + u64::from(time)),
            may_sign: said.may_sign,
            trailer,
            value: value(algorithm, reader)?,
        })
    }

    /// Whether `key` made it over these bytes.
    pub(super) fn is_by(&self, key: &PublicKey, signed: &[&[u8]]) -> Result<bool, OpenPgpError> {
        let parameters: &RsaParameters = match self.hash {
            8 => &rsa::RSA_PKCS1_2048_8192_SHA256,
            9 => &rsa::RSA_PKCS1_2048_8192_SHA384,
            10 => &rsa::RSA_PKCS1_2048_8192_SHA512,
            // Whoever finds a collision can only have a key revoked.
            SHA1 if matches!(self.kind, REVOCATION | SUBKEY_REVOCATION) => {
                &rsa::RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY
            }
            other => return Err(unsupported("the hash algorithm", other)),
        };
        // As long as the modulus: OpenPGP leaves zeros in front out.
        let Some(zeros) = key.modulus().len().checked_sub(self.value.len()) else {
            return Ok(false);
        };
        let mut value = vec![0; zeros];
        value.extend_from_slice(&self.value);
        let mut message = signed.concat();
        message.extend_from_slice(&self.trailer);
        Ok(key.components().verify(parameters, &message, &value).is_ok())
    }
}

/// The end of a signature: two bytes of the hash, which tell nothing, and the number of RSA.
fn value(algorithm: u8, mut reader: Reader<'_>) -> Result<Vec<u8>, OpenPgpError> {
    if !matches!(algorithm, 1 | 3) {
        return Err(unsupported("a signature with the algorithm", algorithm));
    }
    reader.take(2)?;
    let value = reader.number()?.to_vec();
    if reader.0.is_empty() { Ok(value) } else { Err(OpenPgpError::Malformed("a signature's end")) }
}

pub(super) fn unsupported(what: &str, number: u8) -> OpenPgpError {
    OpenPgpError::Unsupported(format!("{what} {number}"))
}

/// What subpackets say.
#[derive(Default)]
struct Said {
    created: Option<u32>,
    lasts: Option<u32>,
    issuer: Option<[u8; 8]>,
    may_sign: bool,
}

impl Said {
    fn read(&mut self, bytes: &[u8], hashed: bool) -> Result<(), OpenPgpError> {
        let mut reader = Reader(bytes);
        while !reader.0.is_empty() {
            let first = reader.byte()?;
            let length = match first {
                0..192 => usize::from(first),
                192..255 => (usize::from(first - 192) << 8) + usize::from(reader.byte()?) + 192,
                255 => usize::try_from(reader.long()?).map_err(|_| OpenPgpError::Truncated)?,
            };
            let mut body = Reader(reader.take(length)?);
            let head = body.byte()?;
            let (critical, kind) = (head & 0x80 != 0, head & 0x7f);
            match (kind, hashed) {
                (2, true) if self.created.is_none() => self.created = Some(body.long()?),
                (3, true) if self.lasts.is_none() => self.lasts = Some(body.long()?),
                (2 | 3, true) => return Err(OpenPgpError::Malformed("a time stands twice")),
                (27, true) => self.may_sign |= body.byte()? & 2 != 0,
                // Who it is by is only a hint which key to try.
                (16, _) => {
                    let mut issuer = [0; 8];
                    issuer.copy_from_slice(body.take(8)?);
                    self.issuer = Some(issuer);
                }
                (33, _) if body.0.len() == 21 && body.0[0] == 4 => {
                    let mut issuer = [0; 8];
                    issuer.copy_from_slice(&body.0[13..21]);
                    self.issuer = Some(issuer);
                }
                // Known, and without a meaning for documents: preferences, names, features.
                (4 | 9 | 11 | 20..=28 | 30 | 32 | 33, _) if kind != 20 || !critical => {}
                _ if critical => return Err(unsupported("the critical subpacket", kind)),
                _ => {}
            }
        }
        Ok(())
    }
}
