//! A signed message that holds what it signs.
//!
//! In: the bytes of a signature file. Out: the content and the one signature over it, not yet verified. The form is that of
//! `gpg --sign`: perhaps compressed, a word about the signature that comes, the content, the signature, and nothing else.

use std::io::Read;

use super::packet::{COMPRESSED, LITERAL, MARKER, ONE_PASS, Reader, SIGNATURE};
use super::signature::{BINARY, Signature, TEXT, salt, unsupported};
use super::{OpenPgpError, PublicKey};

/// A message and its signature.
#[derive(Debug, Clone)]
pub struct Message {
    /// What is signed.
    pub content: Vec<u8>,
    /// The signature.
    pub signature: Signature,
}

impl Message {
    /// Reads a message; neither it nor what it unpacks to has more than `max` bytes.
    pub fn parse(bytes: &[u8], max: usize) -> Result<Self, OpenPgpError> {
        if bytes.len() > max {
            return Err(OpenPgpError::TooLarge(max));
        }
        if bytes.first().is_none_or(|first| first & 0x80 == 0) {
            return Err(OpenPgpError::Malformed("it is not a binary message"));
        }
        let mut reader = Reader(bytes);
        let packet = loop {
            match reader.packet()? {
                Some(packet) if packet.tag == MARKER => {}
                Some(packet) => break packet,
                None => return Err(OpenPgpError::Truncated),
            }
        };
        if packet.tag != COMPRESSED {
            return signed(bytes);
        }
        if !reader.0.is_empty() {
            return Err(OpenPgpError::Malformed("bytes behind the message"));
        }
        signed(&unpack(&packet.body, max)?)
    }

    /// Whether `key` signed the content.
    pub fn is_by(&self, key: &PublicKey) -> Result<bool, OpenPgpError> {
        match self.signature.kind {
            TEXT => {
                let mut text = Vec::with_capacity(self.content.len());
                let mut before = 0;
                for byte in &self.content {
                    if *byte == b'\n' && before != b'\r' {
                        text.push(b'\r');
                    }
                    text.push(*byte);
                    before = *byte;
                }
                self.signature.is_by(key, &[&text])
            }
            _ => self.signature.is_by(key, &[&self.content]),
        }
    }
}

/// The packets of a message that is not compressed any more.
fn signed(bytes: &[u8]) -> Result<Message, OpenPgpError> {
    let mut reader = Reader(bytes);
    let mut packets = Vec::new();
    while let Some(packet) = reader.packet()? {
        match packet.tag {
            MARKER => {}
            // Of more than three the first that does not belong is named.
            _ if packets.len() < 3 => packets.push(packet),
            SIGNATURE => return Err(OpenPgpError::Nested),
            other => return Err(OpenPgpError::Unexpected(other)),
        }
    }
    let mut packets = packets.into_iter();
    let mut next = |tag| match packets.next() {
        Some(packet) if packet.tag == tag => Ok(packet.body),
        Some(packet) if packet.tag == ONE_PASS => Err(OpenPgpError::Nested),
        Some(packet) => Err(OpenPgpError::Unexpected(packet.tag)),
        None => Err(OpenPgpError::Truncated),
    };
    let announced = next(ONE_PASS)?;
    let mut announced = Reader(&announced);
    let version = announced.byte()?;
    if !matches!(version, 3 | 6) {
        return Err(unsupported("a one-pass packet of version", version));
    }
    let (kind, hash, _) = (announced.byte()?, announced.byte()?, announced.byte()?);
    let salted = if version == 6 { salt(&mut announced, hash)? } else { &[] };
    announced.take(if version == 6 { 32 } else { 8 })?;
    let last = announced.byte()?;
    if last == 0 {
        return Err(OpenPgpError::Nested);
    }
    let literal = next(LITERAL)?;
    let signature = Signature::parse(&next(SIGNATURE)?)?;
    if !matches!(kind, BINARY | TEXT) {
        return Err(unsupported("a signature of the kind", kind));
    }
    let same = signature.kind == kind && signature.hash == hash && signature.salt == salted;
    if !same || (signature.version == 6) != (version == 6) {
        return Err(OpenPgpError::Malformed("the signature is not the one that was announced"));
    }
    let mut literal = Reader(&literal);
    if !matches!(literal.byte()?, b'b' | b't' | b'u') {
        return Err(OpenPgpError::Malformed("the form of the content"));
    }
    let name = literal.byte()?;
    literal.take(usize::from(name))?;
    literal.take(4)?;
    Ok(Message { content: literal.0.to_vec(), signature })
}

/// What a compressed packet holds.
fn unpack(body: &[u8], max: usize) -> Result<Vec<u8>, OpenPgpError> {
    let (algorithm, packed) = body.split_first().ok_or(OpenPgpError::Truncated)?;
    let bound = max as u64 + 1;
    let mut out = Vec::new();
    let (result, rest) = match algorithm {
        0 => {
            out.extend_from_slice(packed);
            (Ok(0), &[][..])
        }
        1 => {
            let mut decoder = flate2::bufread::DeflateDecoder::new(packed).take(bound);
            let result = decoder.read_to_end(&mut out);
            (result, decoder.into_inner().into_inner())
        }
        2 => {
            let mut decoder = flate2::bufread::ZlibDecoder::new(packed).take(bound);
            let result = decoder.read_to_end(&mut out);
            (result, decoder.into_inner().into_inner())
        }
        other => return Err(unsupported("the compression", *other)),
    };
    if out.len() > max {
        return Err(OpenPgpError::TooLarge(max));
    }
    result.map_err(|error| match error.kind() {
        std::io::ErrorKind::UnexpectedEof => OpenPgpError::Truncated,
        _ => OpenPgpError::Malformed("what is compressed"),
    })?;
    if !rest.is_empty() {
        return Err(OpenPgpError::Malformed("bytes behind what is compressed"));
    }
    Ok(out)
}
