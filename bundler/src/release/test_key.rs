//! A key of a test's own and messages signed with it, written down by hand so that every fault can be made.
//!
//! Also taken in by the tests through the binary: nothing here knows the crate.

#![allow(dead_code, clippy::cast_possible_truncation, clippy::unwrap_used, clippy::print_stdout)]

use std::process::{Command, Stdio};

use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair, RsaPublicKeyComponents};

/// A key pair.
pub struct TestKey {
    pair: RsaKeyPair,
    body: Vec<u8>,
}

/// How a message is made.
#[derive(Clone)]
pub struct How {
    /// When it was signed, in seconds since 1970.
    pub created: u32,
    /// How long it holds, in seconds.
    pub lasts: Option<u32>,
    /// With a signature packet of version 3.
    pub version_3: bool,
    /// With another signature around the first.
    pub nested: bool,
    /// As `gpg --sign` does it.
    pub compressed: bool,
}

impl Default for How {
    fn default() -> Self {
        Self {
            created: 1_700_000_000,
            lasts: None,
            version_3: false,
            nested: false,
            compressed: true,
        }
    }
}

impl TestKey {
    /// A new key; `None` where there is no `openssl`.
    pub fn new() -> Option<Self> {
        let made = Command::new("openssl")
            .args(["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"])
            .args(["-outform", "DER"])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output();
        let Ok(made) = made else {
            println!("skipped: `openssl` is not on this machine");
            return None;
        };
        // Versions of it differ in the form that they write.
        let der = &made.stdout;
        let pair = RsaKeyPair::from_pkcs8(der).or_else(|_| RsaKeyPair::from_der(der)).unwrap();
        let public = RsaPublicKeyComponents::<Vec<u8>>::from(pair.public());
        let mut body = vec![4, 0x60, 0, 0, 0, 1];
        body.extend(number(&public.n));
        body.extend(number(&public.e));
        Some(Self { pair, body })
    }

    /// A file with the public key.
    pub fn public(&self) -> Vec<u8> {
        let mut file = packet(6, &self.body);
        file.extend(packet(13, b"test"));
        file
    }

    /// A file with the public key, which took itself back.
    pub fn revoked(&self) -> Vec<u8> {
        let mut file = packet(6, &self.body);
        let how = How::default();
        file.extend(packet(2, &self.signature(0x20, &framed(&self.body), &how, &[])));
        file
    }

    /// A file with the public key and another one below it, which this one vouches for or not.
    pub fn with_subkey(&self, subkey: &Self, vouched: bool) -> Vec<u8> {
        let mut file = self.public();
        file.extend(packet(14, &subkey.body));
        let mut signed = framed(&self.body);
        signed.extend(framed(&subkey.body));
        let by = if vouched { self } else { subkey };
        // May sign.
        let flags = [2, 27, 2];
        file.extend(packet(2, &by.signature(0x18, &signed, &How::default(), &flags)));
        file
    }

    /// The last 8 bytes of the fingerprint.
    fn id(&self) -> Vec<u8> {
        let hash =
            ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, &framed(&self.body));
        hash.as_ref()[12..].to_vec()
    }

    fn signature(&self, kind: u8, signed: &[u8], how: &How, subpackets: &[u8]) -> Vec<u8> {
        let mut body;
        let mut message = signed.to_vec();
        if how.version_3 {
            body = vec![3, 5, kind];
            body.extend(how.created.to_be_bytes());
            message.extend_from_slice(&body[2..]);
            body.extend(self.id());
            body.extend([1, 8]);
        } else {
            let mut hashed = vec![5, 2];
            hashed.extend(how.created.to_be_bytes());
            if let Some(lasts) = how.lasts {
                hashed.extend([5, 3]);
                hashed.extend(lasts.to_be_bytes());
            }
            hashed.extend(subpackets);
            body = vec![4, kind, 1, 8];
            body.extend((hashed.len() as u16).to_be_bytes());
            body.extend(hashed);
            message.extend_from_slice(&body);
            message.extend([4, 0xff]);
            message.extend((body.len() as u32).to_be_bytes());
            let mut unhashed = vec![9, 16];
            unhashed.extend(self.id());
            body.extend((unhashed.len() as u16).to_be_bytes());
            body.extend(unhashed);
        }
        let mut value = vec![0; self.pair.public().modulus_len()];
        self.pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), &message, &mut value).unwrap();
        body.extend([0, 0]);
        body.extend(number(&value));
        body
    }

    /// A signed message over any content.
    pub fn message(&self, content: &[u8], how: &How) -> Vec<u8> {
        let signature = packet(2, &self.signature(0, content, how, &[]));
        let announced = |last: u8| {
            let mut body = vec![3, 0, 8, 1];
            body.extend(self.id());
            body.push(last);
            packet(4, &body)
        };
        let mut literal = vec![b'b', 0, 0, 0, 0, 0];
        literal.extend(content);
        let mut packets = Vec::new();
        if how.nested {
            packets.extend(announced(0));
        }
        packets.extend(announced(1));
        packets.extend(packet(11, &literal));
        packets.extend(&signature);
        if how.nested {
            packets.extend(&signature);
        }
        if !how.compressed {
            return packets;
        }
        // One stored block, and a packet of unknown length.
        let length = packets.len() as u16;
        let mut out = vec![0xa3, 1, 1];
        out.extend(length.to_le_bytes());
        out.extend((!length).to_le_bytes());
        out.extend(packets);
        out
    }

    /// A signature of a release.
    pub fn sign(&self, digest: &str, reference: &str) -> Vec<u8> {
        self.message(claim(digest, reference).as_bytes(), &How::default())
    }
}

/// What a signature of a release signs.
pub fn claim(digest: &str, reference: &str) -> String {
    format!(
        r#"{{"critical":{{"type":"atomic container signature","image":{{"docker-manifest-digest":"{digest}"}},"identity":{{"docker-reference":"{reference}"}}}},"optional":{{"creator":"test","timestamp":1700000000}}}}"#
    )
}

fn number(bytes: &[u8]) -> Vec<u8> {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    let bytes = &bytes[zeros..];
    let bits = bytes.len() * 8 - bytes[0].leading_zeros() as usize;
    let mut out = (bits as u16).to_be_bytes().to_vec();
    out.extend(bytes);
    out
}

fn framed(body: &[u8]) -> Vec<u8> {
    let mut out = vec![0x99];
    out.extend((body.len() as u16).to_be_bytes());
    out.extend(body);
    out
}

fn packet(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![0xc0 | tag, 0xff];
    out.extend((body.len() as u32).to_be_bytes());
    out.extend(body);
    out
}
