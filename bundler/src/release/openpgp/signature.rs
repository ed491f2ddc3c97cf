//! One signature: what it says about itself, and whether a key made it.
//!
//! In: the body of a signature packet, of version 3, 4 or 6. Out: a [`Signature`]; with the bytes that were signed and a key,
//! the answer. What must hold: only the part that is itself signed tells when it was made and when it expires.

use super::OpenPgpError;
use super::algorithm::{Value, kind};
use super::key::PublicKey;
use super::packet::{Reader, size};

/// A signature over a document.
pub(super) const BINARY: u8 = 0x00;
/// A signature over a text, whose lines end with CR LF for it.
pub(super) const TEXT: u8 = 0x01;
/// A key says something of one of its users: four kinds.
pub(super) const USER: std::ops::RangeInclusive<u8> = 0x10..=0x13;
/// A key says something of itself.
pub(super) const DIRECT: u8 = 0x1f;
/// A primary key says that a subkey is its own.
pub(super) const BINDING: u8 = 0x18;
/// A key says that it is not to be used any more.
pub(super) const REVOCATION: u8 = 0x20;
/// A primary key says the same of a subkey.
pub(super) const SUBKEY_REVOCATION: u8 = 0x28;

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
    /// For how many seconds the key holds that it is about, from when that was made.
    pub(super) key_lasts: Option<u32>,
    pub(super) version: u8,
    algorithm: u8,
    /// What is hashed before the signed bytes, and behind them.
    pub(super) salt: Vec<u8>,
    trailer: Vec<u8>,
    value: Value,
}

impl Signature {
    pub(super) fn parse(body: &[u8]) -> Result<Self, OpenPgpError> {
        let mut reader = Reader(body);
        let signature = match reader.byte()? {
            3 => Self::version_3(&mut reader)?,
            version @ (4 | 6) => Self::later(version, body, &mut reader)?,
            other => return Err(unsupported("a signature of version", other)),
        };
        if !reader.0.is_empty() {
            return Err(OpenPgpError::Malformed("a signature's end"));
        }
        Ok(signature)
    }

    fn version_3(reader: &mut Reader<'_>) -> Result<Self, OpenPgpError> {
        if reader.byte()? != 5 {
            return Err(OpenPgpError::Malformed("the length in a signature of version 3"));
        }
        let trailer = reader.take(5)?.to_vec();
        let created = u32::from_be_bytes([trailer[1], trailer[2], trailer[3], trailer[4]]);
        let mut issuer = [0; 8];
        issuer.copy_from_slice(reader.take(8)?);
        let (algorithm, hash) = (reader.byte()?, reader.byte()?);
        // Two bytes of the hash, which tell nothing.
        reader.take(2)?;
        Ok(Self {
            kind: trailer[0],
            hash,
            issuer: Some(issuer),
            created: created.into(),
            expires: None,
            may_sign: false,
            key_lasts: None,
            version: 3,
            algorithm: kind(algorithm),
            salt: Vec::new(),
            trailer,
            value: Value::read(algorithm, reader)?,
        })
    }

    fn later(version: u8, body: &[u8], reader: &mut Reader<'_>) -> Result<Self, OpenPgpError> {
        let (kind_of_it, algorithm, hash) = (reader.byte()?, reader.byte()?, reader.byte()?);
        let length = |reader: &mut Reader<'_>| match version {
            6 => size(reader.long()?),
            _ => reader.short(),
        };
        let mut said = Said::default();
        let hashed = length(reader)?;
        said.read(reader.take(hashed)?, true)?;
        let mut trailer = body[..body.len() - reader.0.len()].to_vec();
        let signed = u32::try_from(trailer.len()).map_err(|_| OpenPgpError::Truncated)?;
        trailer.extend([version, 0xff]);
        trailer.extend(signed.to_be_bytes());
        let unhashed = length(reader)?;
        said.read(reader.take(unhashed)?, false)?;
        let created: u64 =
            said.created.ok_or(OpenPgpError::Malformed("a signature without a time"))?.into();
        reader.take(2)?;
        let salt = if version == 6 { salt(reader, hash)? } else { &[] };
        Ok(Self {
            kind: kind_of_it,
            hash,
            issuer: said.issuer,
            created,
            expires: said.lasts.filter(|time| *time != 0).map(|time| created + u64::from(time)),
            may_sign: said.may_sign,
            key_lasts: said.key_lasts.filter(|time| *time != 0),
            version,
            algorithm: kind(algorithm),
            salt: salt.to_vec(),
            trailer,
            value: Value::read(algorithm, reader)?,
        })
    }

    /// Whether `key` made it over these bytes.
    pub(super) fn is_by(&self, key: &PublicKey, signed: &[&[u8]]) -> Result<bool, OpenPgpError> {
        // Keys of version 6 make signatures of version 6, and no others do.
        if self.algorithm != key.algorithm || (self.version == 6) != (key.version == 6) {
            return Ok(false);
        }
        let message = [&self.salt, &*signed.concat(), &self.trailer].concat();
        // Whoever finds a collision of SHA-1 can only have a key revoked, or change when it expires.
        let weak = matches!(self.kind, REVOCATION | SUBKEY_REVOCATION | DIRECT)
            || USER.contains(&self.kind);
        key.material.made(&self.value, self.hash, weak, &message)
    }
}

/// The salt of a signature of version 6: as long as its hash asks for.
pub(super) fn salt<'a>(reader: &mut Reader<'a>, hash: u8) -> Result<&'a [u8], OpenPgpError> {
    let length = reader.byte()?;
    let wanted = match hash {
        8 | 12 => 16,
        9 => 24,
        10 | 14 => 32,
        _ => length,
    };
    if length != wanted {
        return Err(OpenPgpError::Malformed("the salt of a signature"));
    }
    reader.take(length.into())
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
    key_lasts: Option<u32>,
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
                (9, true) => self.key_lasts = Some(body.long()?),
                (27, true) => self.may_sign |= body.byte()? & 2 != 0,
                // Who it is by is only a hint which key to try.
                (16, _) => {
                    let mut issuer = [0; 8];
                    issuer.copy_from_slice(body.take(8)?);
                    self.issuer = Some(issuer);
                }
                (33, _) => {
                    let id = match (body.byte()?, body.0.len()) {
                        (4, 20) => &body.0[12..],
                        (6, 32) => &body.0[..8],
                        _ => continue,
                    };
                    let mut issuer = [0; 8];
                    issuer.copy_from_slice(id);
                    self.issuer = Some(issuer);
                }
                // Known, and without a meaning for documents: preferences, names, features.
                (4 | 9 | 11 | 20..=28 | 30 | 32, _) if kind != 20 || !critical => {}
                _ if critical => return Err(unsupported("the critical subpacket", kind)),
                _ => {}
            }
        }
        Ok(())
    }
}
