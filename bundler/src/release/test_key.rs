//! A key of a test's own and messages signed with it, written down by hand so that every fault can be made.
//!
//! Also taken in by the tests through the binary: nothing here knows the crate.

#![allow(dead_code, clippy::cast_possible_truncation, clippy::unwrap_used, clippy::print_stdout)]

use std::process::{Command, Stdio};

use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use ring::rand::SystemRandom;
use ring::signature::{
    Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair, RsaPublicKeyComponents,
};

/// A key pair.
pub struct TestKey {
    pair: Pair,
    /// Of the packets that it makes.
    version: u8,
    algorithm: u8,
    body: Vec<u8>,
}

enum Pair {
    Rsa(Box<RsaKeyPair>),
    Ed25519(Ed25519KeyPair),
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
        Some(Self { pair: Pair::Rsa(Box::new(pair)), version: 4, algorithm: 1, body })
    }

    /// A new key of the algorithm 27 of RFC 9580, of version 4 or 6.
    pub fn ed25519(version: u8) -> Self {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let pair = Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap();
        let mut body = vec![version, 0x60, 0, 0, 0, 27];
        if version == 6 {
            body.extend(32_u32.to_be_bytes());
        }
        body.extend(pair.public_key().as_ref());
        Self { pair: Pair::Ed25519(pair), version, algorithm: 27, body }
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
        file.extend(packet(2, &self.signature(0x20, &self.framed(), &how, &[])));
        file
    }

    /// A file with the public key and another one below it, which this one vouches for or not.
    pub fn with_subkey(&self, subkey: &Self, vouched: bool) -> Vec<u8> {
        let mut file = self.public();
        file.extend(packet(14, &subkey.body));
        let signed = [self.framed(), subkey.framed()].concat();
        let by = if vouched { self } else { subkey };
        // May sign.
        let flags = [2, 27, 2];
        file.extend(packet(2, &by.signature(0x18, &signed, &How::default(), &flags)));
        file
    }

    /// The key as it is hashed.
    fn framed(&self) -> Vec<u8> {
        let mut out = vec![if self.version == 6 { 0x9b } else { 0x99 }];
        out.extend(self.length(self.body.len()));
        out.extend(&self.body);
        out
    }

    /// A length, as packets of the version have it.
    fn length(&self, length: usize) -> Vec<u8> {
        match self.version {
            6 => (length as u32).to_be_bytes().to_vec(),
            _ => (length as u16).to_be_bytes().to_vec(),
        }
    }

    /// What a signature calls the key.
    fn id(&self) -> Vec<u8> {
        let hash = |algorithm| digest(algorithm, &self.framed()).as_ref().to_vec();
        match self.version {
            6 => hash(&SHA256),
            _ => hash(&SHA1_FOR_LEGACY_USE_ONLY)[12..].to_vec(),
        }
    }

    /// What is hashed before all else: signatures of version 6 alone have it.
    fn salt(&self) -> Vec<u8> {
        if self.version == 6 { (1..=16).collect() } else { Vec::new() }
    }

    fn signature(&self, kind: u8, signed: &[u8], how: &How, subpackets: &[u8]) -> Vec<u8> {
        let mut body;
        let mut message = [self.salt(), signed.to_vec()].concat();
        if how.version_3 {
            body = vec![3, 5, kind];
            body.extend(how.created.to_be_bytes());
            message.extend_from_slice(&body[2..]);
            body.extend(self.id());
            body.extend([self.algorithm, 8]);
        } else {
            let mut hashed = vec![5, 2];
            hashed.extend(how.created.to_be_bytes());
            if let Some(lasts) = how.lasts {
                hashed.extend([5, 3]);
                hashed.extend(lasts.to_be_bytes());
            }
            hashed.extend(subpackets);
            body = vec![self.version, kind, self.algorithm, 8];
            body.extend(self.length(hashed.len()));
            body.extend(hashed);
            message.extend_from_slice(&body);
            message.extend([self.version, 0xff]);
            message.extend((body.len() as u32).to_be_bytes());
            let mut unhashed = if self.version == 6 { vec![34, 33, 6] } else { vec![9, 16] };
            unhashed.extend(self.id());
            body.extend(self.length(unhashed.len()));
            body.extend(unhashed);
        }
        body.extend([0, 0]);
        if self.version == 6 {
            body.push(16);
            body.extend(self.salt());
        }
        match &self.pair {
            Pair::Rsa(pair) => {
                let mut value = vec![0; pair.public().modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), &message, &mut value).unwrap();
                body.extend(number(&value));
            }
            Pair::Ed25519(pair) => {
                body.extend(pair.sign(digest(&SHA256, &message).as_ref()).as_ref());
            }
        }
        body
    }

    /// A signed message over any content.
    pub fn message(&self, content: &[u8], how: &How) -> Vec<u8> {
        let signature = packet(2, &self.signature(0, content, how, &[]));
        let announced = |last: u8| {
            let mut body = vec![if self.version == 6 { 6 } else { 3 }, 0, 8, self.algorithm];
            if self.version == 6 {
                body.push(16);
                body.extend(self.salt());
            }
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

fn packet(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![0xc0 | tag, 0xff];
    out.extend((body.len() as u32).to_be_bytes());
    out.extend(body);
    out
}
