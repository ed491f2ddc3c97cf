//! The packets that everything in OpenPGP is made of (RFC 9580, section 4).
//!
//! In: bytes. Out: one packet after the other, with a body that is whole. What must hold: nothing is allocated beyond the
//! bytes that are there.

use std::borrow::Cow;

use super::OpenPgpError;

pub(super) const SIGNATURE: u8 = 2;
pub(super) const ONE_PASS: u8 = 4;
pub(super) const SECRET_KEY: u8 = 5;
pub(super) const PUBLIC_KEY: u8 = 6;
pub(super) const SECRET_SUBKEY: u8 = 7;
pub(super) const COMPRESSED: u8 = 8;
pub(super) const MARKER: u8 = 10;
pub(super) const LITERAL: u8 = 11;
pub(super) const TRUST: u8 = 12;
pub(super) const USER_ID: u8 = 13;
pub(super) const PUBLIC_SUBKEY: u8 = 14;
pub(super) const USER_ATTRIBUTE: u8 = 17;

/// One packet.
pub(super) struct Packet<'a> {
    pub(super) tag: u8,
    pub(super) body: Cow<'a, [u8]>,
}

/// Bytes that are read from the front.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], OpenPgpError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(OpenPgpError::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn byte(&mut self) -> Result<u8, OpenPgpError> {
        Ok(self.take(1)?[0])
    }

    pub(super) fn short(&mut self) -> Result<usize, OpenPgpError> {
        let bytes = self.take(2)?;
        Ok(usize::from(u16::from_be_bytes([bytes[0], bytes[1]])))
    }

    pub(super) fn long(&mut self) -> Result<u32, OpenPgpError> {
        let bytes = self.take(4)?;
        Ok(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    /// A number of many digits, without zeros in front.
    pub(super) fn number(&mut self) -> Result<&'a [u8], OpenPgpError> {
        let bits = self.short()?;
        let bytes = self.take(bits.div_ceil(8))?;
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        Ok(&bytes[zeros..])
    }

    /// What names a curve.
    pub(super) fn curve(&mut self) -> Result<&'a [u8], OpenPgpError> {
        match self.byte()? {
            0 | 255 => Err(OpenPgpError::Malformed("the curve of a key")),
            length => self.take(length.into()),
        }
    }

    /// The next packet; `None` at the end.
    pub(super) fn packet(&mut self) -> Result<Option<Packet<'a>>, OpenPgpError> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let head = self.byte()?;
        if head & 0x80 == 0 {
            return Err(OpenPgpError::Malformed("a packet does not begin as one"));
        }
        let (tag, body) = if head & 0x40 == 0 {
            let tag = (head >> 2) & 0x0f;
            let length = match head & 3 {
                0 => usize::from(self.byte()?),
                1 => self.short()?,
                2 => size(self.long()?)?,
                // Of unknown length: to the end. Only what holds data may be so.
                _ if tag == COMPRESSED || tag == LITERAL => self.0.len(),
                _ => return Err(OpenPgpError::Malformed("a packet of unknown length")),
            };
            (tag, Cow::Borrowed(self.take(length)?))
        } else {
            let tag = head & 0x3f;
            (tag, self.parts(tag)?)
        };
        if tag == 0 {
            return Err(OpenPgpError::Malformed("a packet of type 0"));
        }
        Ok(Some(Packet { tag, body }))
    }

    /// The body of a packet of the newer form, which may come in several parts.
    fn parts(&mut self, tag: u8) -> Result<Cow<'a, [u8]>, OpenPgpError> {
        let mut body = Cow::Borrowed(&[][..]);
        loop {
            let first = self.byte()?;
            let (length, last) = match first {
                0..192 => (usize::from(first), true),
                192..224 => {
                    ((usize::from(first - 192) << 8) + usize::from(self.byte()?) + 192, true)
                }
                224..255 if tag == COMPRESSED || tag == LITERAL => (1 << (first & 0x1f), false),
                224..255 => return Err(OpenPgpError::Malformed("a packet in parts")),
                255 => (size(self.long()?)?, true),
            };
            let part = self.take(length)?;
            if last && body.is_empty() {
                return Ok(Cow::Borrowed(part));
            }
            body.to_mut().extend_from_slice(part);
            if last {
                return Ok(body);
            }
        }
    }
}

pub(super) fn size(length: u32) -> Result<usize, OpenPgpError> {
    usize::try_from(length).map_err(|_| OpenPgpError::Truncated)
}
