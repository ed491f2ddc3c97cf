//! Signatures of every algorithm: as the real `gpg` makes them, as RFC 9580 shows them, and by hand.

use std::io::Write as _;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::super::keys::Trusted;
use super::super::openpgp::key;
use super::super::test_key::{How, TestKey, claim};
use super::super::testing::skip;
use super::*;

const NOW: u64 = 1_800_000_000;
const NAME: &str = "quay.io/openshift-release-dev/ocp-release:4.16.0-x86_64";

/// The real program, with a home of its own.
struct Gpg(tempfile::TempDir);

impl Gpg {
    /// `None` after saying that it is not on this machine.
    fn new() -> Option<Self> {
        let asked = Command::new("gpg").arg("--version").stdout(Stdio::null()).status();
        if !asked.is_ok_and(|status| status.success()) {
            skip("`gpg` is not on this machine: no keys of the real program");
            return None;
        }
        // The sockets in it must have short names.
        let home = tempfile::Builder::new().prefix("gpg").tempdir_in("/tmp").unwrap();
        Some(Self(home))
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("GNUPGHOME", self.0.path()).stderr(Stdio::null());
        command
    }

    /// What it answers; `None` when it cannot do that.
    fn try_run(&self, arguments: &[&str], input: &[u8]) -> Option<Vec<u8>> {
        let mut command = self.command("gpg");
        command.args(["--batch", "--yes", "--passphrase", "", "--pinentry-mode", "loopback"]);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        let output = child.wait_with_output().unwrap();
        output.status.success().then_some(output.stdout)
    }

    #[track_caller]
    fn run(&self, arguments: &[&str], input: &[u8]) -> Vec<u8> {
        self.try_run(arguments, input).unwrap_or_else(|| panic!("gpg {arguments:?}"))
    }

    /// A new key that bears the name of its algorithm.
    fn key(&self, algorithm: &str) -> Vec<u8> {
        self.run(&["--quick-generate-key", algorithm, algorithm, "sign", "never"], b"");
        self.run(&["--export", algorithm], b"")
    }

    fn fingerprint(&self, name: &str) -> String {
        let listed = self.run(&["--with-colons", "--list-keys", name], b"");
        let listed = String::from_utf8(listed).unwrap();
        let line = listed.lines().find(|line| line.starts_with("fpr:")).unwrap();
        line.split(':').nth(9).unwrap().to_owned()
    }

    fn sign(&self, name: &str, more: &[&str], content: &str) -> Vec<u8> {
        self.run(&[&["--local-user", name], more, &["--sign"]].concat(), content.as_bytes())
    }
}

impl Drop for Gpg {
    fn drop(&mut self) {
        let _ = self.command("gpgconf").args(["--kill", "gpg-agent"]).status();
    }
}

/// What is signed here, and its digest.
fn content() -> (String, Digest) {
    let digest = Digest::of(b"release");
    (claim(&digest.to_string(), NAME), digest)
}

/// The keys of a file, and why others of it do not count.
fn keys(file: &[u8]) -> (Vec<PublicKey>, Vec<String>) {
    let found = key::read(file).unwrap();
    (found.usable, found.left_out)
}

#[test]
fn what_gpg_signs_with_each_algorithm_counts() {
    let Some(gpg) = Gpg::new() else { return };
    let (content, digest) = content();
    let stranger = keys(&gpg.key("rsa2048")).0;
    for algorithm in ["rsa3072", "ed25519", "nistp256", "nistp384"] {
        let file = gpg.key(algorithm);
        let (trusted, left_out) = keys(&file);
        assert_eq!((trusted.len(), left_out.len()), (1, 0), "{algorithm}: {left_out:?}");
        assert_eq!(trusted[0].fingerprint().to_string(), gpg.fingerprint(algorithm));
        assert_eq!(keys(&gpg.run(&["--armor", "--export", algorithm], b"")).0, trusted);
        let forms: [&[&str]; 5] = [
            &[],
            &["-z", "0"],
            &["--textmode"],
            &["--compress-algo", "zlib"],
            &["--digest-algo", "SHA384"],
        ];
        for more in forms {
            let message = gpg.sign(algorithm, more, &content);
            let found = verify(&message, &trusted, &digest, NOW);
            assert_eq!(
                found.map(|claim| claim.reference),
                Ok(NAME.to_owned()),
                "{algorithm} {more:?}"
            );
            let other = verify(&message, &stranger, &digest, NOW);
            assert!(matches!(other, Err(SignatureError::UnknownKey(_))), "{other:?}");
        }
        let message = gpg.sign(algorithm, &["-z", "0"], &content);
        for at in 0..message.len() {
            let mut changed = message.clone();
            changed[at] ^= 0x01;
            let found = verify(&changed, &trusted, &digest, NOW);
            assert!(found.is_err() || found.unwrap().reference == NAME, "{algorithm}, byte {at}");
            assert!(verify(&message[..at], &trusted, &digest, NOW).is_err());
        }
        let wide = gpg.try_run(
            &["--local-user", algorithm, "--digest-algo", "SHA512", "--sign"],
            content.as_bytes(),
        );
        let wide = verify(&wide.unwrap(), &trusted, &digest, NOW);
        if algorithm.starts_with("nist") {
            let refused = wide.unwrap_err().to_string();
            assert!(refused.contains("ECDSA over a hash of SHA-512 is not supported"), "{refused}");
        } else {
            wide.unwrap();
        }
        let made = ["--faked-system-time", "1900000000", "--default-sig-expire", "1d"];
        let message = gpg.sign(algorithm, &made, &content);
        verify(&message, &trusted, &digest, 1_900_000_001).unwrap();
        let late = verify(&message, &trusted, &digest, 1_900_090_000);
        assert!(matches!(late, Err(SignatureError::Expired(_))), "{late:?}");
    }
}

#[test]
fn what_is_not_supported_is_called_by_its_name() {
    let Some(gpg) = Gpg::new() else { return };
    let (content, digest) = content();
    let trusted = keys(&gpg.key("ed25519")).0;
    let mut seen = 0;
    for (algorithm, key_says, message_says) in [
        ("dsa2048", "a DSA key is not supported", "a signature with DSA is not supported"),
        ("rsa1024", "an RSA key of 1024 bits is not supported", "a key that is not trusted"),
        (
            "nistp521",
            "an ECDSA key over P-521 is not supported",
            "a signature with ECDSA beyond P-384",
        ),
        ("secp256k1", "an ECDSA key over secp256k1 is not supported", "a key that is not trusted"),
        ("brainpoolP256r1", "an ECDSA key over brainpoolP256r1", "a key that is not trusted"),
        ("ed448", "Ed448 is not supported", "is not supported"),
    ] {
        // Not every build of it has all of them.
        let made = ["--quick-generate-key", algorithm, algorithm, "sign", "never"];
        if gpg.try_run(&made, b"").is_none() {
            continue;
        }
        seen += 1;
        let path = gpg.0.path().join("file");
        crate::durable::write(&path, &gpg.run(&["--export", algorithm], b"")).unwrap();
        let refused = Trusted::of(&[path]).unwrap_err().to_string();
        assert!(refused.contains(key_says), "{refused}");
        let refused = verify(&gpg.sign(algorithm, &[], &content), &trusted, &digest, NOW);
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains(message_says), "{algorithm}: {refused}");
    }
    assert!(seen >= 3, "{seen}");
}

#[test]
fn subkeys_of_gpg_sign_and_what_it_revokes_does_not_count() {
    let Some(gpg) = Gpg::new() else { return };
    let (content, digest) = content();
    gpg.run(&["--quick-generate-key", "main", "nistp256", "cert", "never"], b"");
    let main = gpg.fingerprint("main");
    gpg.run(&["--quick-add-key", &main, "ed25519", "sign", "never"], b"");
    // Nobody misses what only encrypts, and what signs and cannot be read is told.
    gpg.run(&["--quick-add-key", &main, "cv25519", "encr", "never"], b"");
    let (trusted, left_out) = keys(&gpg.run(&["--export", "main"], b""));
    assert_eq!((trusted.len(), left_out.len()), (2, 0), "{left_out:?}");
    verify(&gpg.sign("main", &[], &content), &trusted, &digest, NOW).unwrap();
    gpg.run(&["--quick-add-key", &main, "dsa2048", "sign", "never"], b"");
    let (trusted, left_out) = keys(&gpg.run(&["--export", "main"], b""));
    let told = format!("a subkey of key {main}: a DSA key is not supported");
    assert_eq!((trusted.len(), left_out), (2, vec![told]));

    for (algorithm, hash, says) in [
        ("ed25519", "SHA512", "it is revoked"),
        ("nistp256", "SHA256", "it is revoked"),
        // `ring` has no such combination, and a word against a key is not passed over.
        ("nistp384", "SHA512", "it may be revoked: a signature with ECDSA over a hash of SHA-512"),
    ] {
        let made = [
            "--cert-digest-algo",
            hash,
            "--quick-generate-key",
            algorithm,
            algorithm,
            "sign",
            "never",
        ];
        gpg.run(&made, b"");
        let place = format!("openpgp-revocs.d/{}.rev", gpg.fingerprint(algorithm));
        let written = fs_err::read_to_string(gpg.0.path().join(place)).unwrap();
        // Written so that nobody imports it unawares.
        gpg.run(&["--import"], written.replace(":-----BEGIN", "-----BEGIN").as_bytes());
        let (trusted, left_out) = keys(&gpg.run(&["--export", algorithm], b""));
        assert!(trusted.is_empty() && left_out[0].contains(says), "{algorithm}: {left_out:?}");
    }
}

#[test]
fn keys_of_rfc_9580_count_in_both_versions() {
    let (content, digest) = content();
    for version in [4, 6] {
        let (key, other) = (TestKey::ed25519(version), TestKey::ed25519(version));
        let default = How::default();
        let trusted = keys(&key.public()).0;
        for how in [default.clone(), How { compressed: false, ..default.clone() }] {
            let message = key.message(content.as_bytes(), &how);
            assert_eq!(verify(&message, &trusted, &digest, NOW).unwrap().reference, NAME);
            for at in 0..message.len() {
                let mut changed = message.clone();
                changed[at] ^= 0x01;
                let found = verify(&changed, &trusted, &digest, NOW);
                assert!(found.is_err() || found.unwrap().reference == NAME, "byte {at}");
                assert!(verify(&message[..at], &trusted, &digest, NOW).is_err());
            }
        }
        let nested = key.message(content.as_bytes(), &How { nested: true, ..default.clone() });
        let nested = verify(&nested, &trusted, &digest, NOW);
        assert_eq!(nested, Err(SignatureError::OpenPgp(OpenPgpError::Nested)));
        let unknown = verify(&other.sign(&digest.to_string(), NAME), &trusted, &digest, NOW);
        assert!(matches!(unknown, Err(SignatureError::UnknownKey(_))), "{unknown:?}");
        let (revoked, why) = keys(&key.revoked());
        assert!(revoked.is_empty() && why[0].contains("revoked"), "{why:?}");
        for (vouched, count) in [(true, 2), (false, 1)] {
            assert_eq!(keys(&key.with_subkey(&other, vouched)).0.len(), count);
        }
    }
}

/// RFC 9580, appendices A.3 and A.7.
#[test]
fn the_samples_of_rfc_9580_are_read() {
    const KEY: &str = "xioGY4d/4xsAAAAg+U2nu0jWCmHlZ3BqZYfQMxmZu52JGggkLq2EVD34laPCsQYf\
        GwoAAABCBYJjh3/jAwsJBwUVCg4IDAIWAAKbAwIeCSIhBssYbE8GCaaX5NUt+mxyKwwfHifBilZwj2Ul7Ce62azJBScJAgcC\
        AAAAAK0oIBA+LX0ifsDm185Ecds2v8lwgyU2kCcUmKfvBXbAf6rhRYWzuQOwEn7E/aLwIwRaLsdry0+VcallHhSu4RN6HWaE\
        QsiPlR4zxP/TP7mhfVEe7XWPxtnMUMtf15OyA51YBM4qBmOHf+MZAAAAIIaTJINn+eUBXbki+PSAld2nhJh/LVmFsS+60Wyv\
        XkQ1wpsGGBsKAAAALAWCY4d/4wKbDCIhBssYbE8GCaaX5NUt+mxyKwwfHifBilZwj2Ul7Ce62azJAAAAAAQBIKbpGG2dWTX8\
        j+VjFM21J0hqWlEg+bdiojWnKfA5AQpWUWtnNwDEM0g12vYxoWM8Y81W+bHBw805I8kWVkXU6vFOi+HWvv/ira7ofJu16Nno\
        UkhclkUrk0mXubZvyl4GBg==";
    const MESSAGE: &str = "xEYGAQobIHZJX1AhiJD39eLuPBgiUU9wUA9VHYblySHkBONKU/usyxhsTwYJppfk\
        1S36bHIrDB8eJ8GKVnCPZSXsJ7rZrMkBy0p1AAAAAABXaGF0IHdlIG5lZWQgZnJvbSB0aGUgZ3JvY2VyeSBzdG9yZToKCi0g\
        dG9mdQotIHZlZ2V0YWJsZXMKLSBub29kbGVzCsKYBgEbCgAAACkFgmOYo2MiIQbLGGxPBgmml+TVLfpscisMHx4nwYpWcI9l\
        JewnutmsyQAAAABpNiB2SV9QIYiQ9/Xi7jwYIlFPcFAPVR2G5ckh5ATjSlP7rCfQb7gKqPxbyxbhljGygHQPnqau1eBzrQD5\
        QVplPEDnemrnfmkrpx0GmhCfokxYz9jjFtCgazStmsuOXF9SFQE=";
    let [key, message] = [KEY, MESSAGE].map(|text| BASE64_STANDARD.decode(text).unwrap());
    let (trusted, left_out) = keys(&key);
    assert_eq!((trusted.len(), left_out.len()), (1, 0), "{left_out:?}");
    let name = "CB186C4F0609A697E4D52DFA6C722B0C1F1E27C18A56708F6525EC27BAD9ACC9";
    assert_eq!(trusted[0].fingerprint().to_string(), name);
    let message = Message::parse(&message, SIGNATURE_MAX).unwrap();
    assert_eq!(message.is_by(&trusted[0]), Ok(true));
    assert!(message.content.starts_with(b"What we need from the grocery store:\n"));
    let changed = Message { content: b"nothing".to_vec(), ..message };
    assert_eq!(changed.is_by(&trusted[0]), Ok(false));
}
