//! Public keys of sigstore: what `cosign generate-key-pair`, `skopeo generate-sigstore-key` and `openssl pkey -pubout` write.
//!
//! In: PEM. Out: a key that `ring` verifies with, over SHA-256 as containers/image does. What must hold: a key of another kind is
//! named, and is no key of this kind.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{self, UnparsedPublicKey, VerificationAlgorithm};

/// A key.
pub(super) struct Key {
    key: UnparsedPublicKey<Vec<u8>>,
    kind: &'static str,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Key({})", self.kind)
    }
}

/// Object identifiers: `rsaEncryption`, `id-ecPublicKey`, `id-Ed25519`, and two curves.
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];
const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];
const ED25519: &[u8] = &[0x2b, 0x65, 0x70];
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
const P384: &[u8] = &[0x2b, 0x81, 4, 0, 0x22];

const NOT_ONE: &str = "it is not a public key";

impl Key {
    /// Reads one key.
    pub(super) fn parse(pem: &[u8]) -> Result<Self, String> {
        let (label, der) = bare(pem)?;
        let of = |algorithm: &'static dyn VerificationAlgorithm, key: &[u8], kind| Self {
            key: UnparsedPublicKey::new(algorithm, key.to_vec()),
            kind,
        };
        let rsa = |key: &[u8]| {
            let bits = rsa_bits(key).ok_or(NOT_ONE)?;
            if !(2048..=8192).contains(&bits) {
                return Err(format!("an RSA key of {bits} bits is not supported"));
            }
            Ok(of(&signature::RSA_PKCS1_2048_8192_SHA256, key, "RSA"))
        };
        if label == "RSA PUBLIC KEY" {
            return rsa(&der);
        }
        if label != "PUBLIC KEY" {
            return Err(format!("it holds {}, and not a public key", super::quoted(&label)));
        }
        let (algorithm, key) = spki(&der).ok_or(NOT_ONE)?;
        let (oid, rest) = item(algorithm, 6).ok_or(NOT_ONE)?;
        match oid {
            RSA => rsa(key),
            ED25519 if key.len() == 32 => Ok(of(&signature::ED25519, key, "Ed25519")),
            EC => match item(rest, 6).ok_or(NOT_ONE)?.0 {
                P256 if key.len() == 65 => {
                    Ok(of(&signature::ECDSA_P256_SHA256_ASN1, key, "ECDSA P-256"))
                }
                P384 if key.len() == 97 => {
                    Ok(of(&signature::ECDSA_P384_SHA256_ASN1, key, "ECDSA P-384"))
                }
                P256 | P384 => Err(NOT_ONE.to_owned()),
                _ => Err("an ECDSA key over another curve than P-256 and P-384 is not supported"
                    .to_owned()),
            },
            ED25519 => Err(NOT_ONE.to_owned()),
            _ => Err("a key that is not ECDSA, RSA or Ed25519 is not supported".to_owned()),
        }
    }

    /// Whether it made this signature.
    pub(super) fn made(&self, message: &[u8], signature: &[u8]) -> bool {
        self.key.verify(message, signature).is_ok()
    }
}

/// The first block of a PEM file: its label and its bytes.
fn bare(pem: &[u8]) -> Result<(String, Vec<u8>), String> {
    const NONE: &str = "it is not PEM";
    let text = std::str::from_utf8(pem).map_err(|_| NONE)?;
    let mut lines = text.lines().map(str::trim_end);
    let label = lines
        .find_map(|line| line.strip_prefix("-----BEGIN ")?.strip_suffix("-----"))
        .ok_or(NONE)?;
    if label.contains("PRIVATE KEY") {
        return Err("it holds a private key; the public one belongs here".to_owned());
    }
    let end = format!("-----END {label}-----");
    let mut body = String::new();
    for line in lines {
        if line == end {
            let der = STANDARD.decode(&body).map_err(|_| "its base64 is damaged")?;
            return Ok((label.to_owned(), der));
        }
        body.push_str(line.trim());
    }
    Err(format!("its end, `{end}`, is missing"))
}

/// The content of the DER item of this tag at the beginning, and what follows it.
fn item(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (first, rest) = bytes.split_first()?;
    let (length, rest) = rest.split_first()?;
    let (length, rest) = match *length {
        short @ 0..=0x7f => (usize::from(short), rest),
        0x81 => (usize::from(*rest.first()?), rest.get(1..)?),
        0x82 => (usize::from(*rest.first()?) << 8 | usize::from(*rest.get(1)?), rest.get(2..)?),
        _ => return None,
    };
    (*first == tag).then(|| rest.split_at_checked(length)).flatten()
}

/// The algorithm and the bits of a `SubjectPublicKeyInfo`.
fn spki(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (body, end) = item(der, 0x30)?;
    let (algorithm, rest) = item(body, 0x30)?;
    let (bits, more) = item(rest, 3)?;
    let (unused, key) = bits.split_first()?;
    (end.is_empty() && more.is_empty() && *unused == 0).then_some((algorithm, key))
}

fn rsa_bits(key: &[u8]) -> Option<usize> {
    let (body, end) = item(key, 0x30)?;
    let (modulus, _) = item(body, 2)?;
    let zeros = modulus.iter().take_while(|byte| **byte == 0).count();
    let first = modulus.get(zeros)?;
    end.is_empty().then(|| (modulus.len() - zeros) * 8 - first.leading_zeros() as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    fn openssl(arguments: &[&str], input: &[u8]) -> Option<Vec<u8>> {
        use std::io::Write as _;
        let mut child = Command::new("openssl")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        child.stdin.take().unwrap().write_all(input).unwrap();
        Some(child.wait_with_output().unwrap().stdout)
    }

    #[test]
    fn keys_of_every_kind_verify_what_they_signed() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).display().to_string();
        crate::durable::write(&dir.path().join("message"), b"message").unwrap();
        for (name, arguments) in [
            ("p256", &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"][..]),
            ("p384", &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"]),
            ("rsa", &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]),
            ("ed25519", &["-algorithm", "ED25519"]),
            ("p521", &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-521"]),
            ("small", &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"]),
            ("x25519", &["-algorithm", "X25519"]),
        ] {
            let Some(private) = openssl(&[&["genpkey"], arguments].concat(), b"") else { return };
            let public = openssl(&["pkey", "-pubout"], &private).unwrap();
            let key = Key::parse(&public);
            if matches!(name, "p521" | "small" | "x25519") {
                assert!(key.unwrap_err().contains("not supported"), "{name}");
                continue;
            }
            let key = key.unwrap();
            crate::durable::write(&dir.path().join("key"), &private).unwrap();
            let signature = match name {
                "ed25519" => openssl(
                    &[
                        "pkeyutl",
                        "-sign",
                        "-rawin",
                        "-inkey",
                        &path("key"),
                        "-in",
                        &path("message"),
                    ],
                    b"",
                ),
                _ => openssl(&["dgst", "-sha256", "-sign", &path("key"), &path("message")], b""),
            };
            let signature = signature.unwrap();
            assert!(key.made(b"message", &signature), "{name}");
            assert!(!key.made(b"massage", &signature), "{name}");
            assert!(Key::parse(&private).unwrap_err().contains("private key"), "{name}");
            // No prefix of a key is one, and nothing panics.
            for end in 0..public.len() - 2 {
                assert!(Key::parse(&public[..end]).is_err(), "{name} {end}");
            }
        }
        assert!(
            Key::parse(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").is_err()
        );
    }
}
