//! The strict rules of ed25519 (SPEC.md, section 4): what lax verifiers accept is refused, and what
//! is accepted `openssl` accepts too.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

mod common;
mod faults;

use std::path::Path;
use std::process::Command;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use common::key;
use format_spec::keys::{KeyError, PublicKey, SecretKey};
use format_spec::seal::message;

/// The DER before the 32 bytes of an ed25519 public key (RFC 8410, section 10.1).
const SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

fn pem(point: [u8; 32]) -> String {
    let der = BASE64_STANDARD.encode([&SPKI[..], &point].concat());
    format!("-----BEGIN PUBLIC KEY-----\n{der}\n-----END PUBLIC KEY-----\n")
}

fn bytes(hex: &str) -> [u8; 32] {
    let mut bytes = [0; 32];
    format_spec::digest::from_hex(hex, &mut bytes).unwrap();
    bytes
}

/// The encodings of the eight points of small order, and their non-canonical spellings
/// ("Taming the many EdDSAs", Chalkias, Garillot, Nikolaenko 2020, table 1).
const SMALL_ORDER: [&str; 14] = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "0100000000000000000000000000000000000000000000000000000000000080",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
];

#[test]
fn keys_of_small_order_and_second_spellings_are_refused() {
    for point in SMALL_ORDER {
        assert!(PublicKey::from_pem(&pem(bytes(point))).is_err(), "{point}");
    }
    // y + p for small y: a second spelling of an ordinary point, where y is on the curve at all.
    let mut second = 0;
    for y in 2_u8..19 {
        for sign in [0, 0x80] {
            let mut point = [0xff; 32];
            point[0] = 0xed + y;
            point[31] = 0x7f | sign;
            match PublicKey::from_pem(&pem(point)) {
                Err(KeyError::Weak) => second += 1,
                Err(_) => {}
                Ok(_) => panic!("y = {y} + p is accepted"),
            }
        }
    }
    assert!(second > 4, "{second}");
}

#[test]
fn signatures_that_lax_verifiers_accept_are_refused() {
    let public = key().public();
    let good = key().sign(b"message");
    assert!(public.verifies(b"message", &good));
    // S + L solves the same equation.
    let mut again = good;
    faults::add_order(&mut again[32..]);
    assert!(!public.verifies(b"message", &again));
    // S with its highest bits set.
    for bit in [0x20, 0x40, 0x80] {
        let mut high = good;
        high[63] |= bit;
        assert!(!public.verifies(b"message", &high));
    }
    // R of small order, with any S.
    for point in SMALL_ORDER {
        for s in [[0; 32], bytes(SMALL_ORDER[0])] {
            let mut small = [0; 64];
            small[..32].copy_from_slice(&bytes(point));
            small[32..].copy_from_slice(&s);
            assert!(!public.verifies(b"message", &small), "{point}");
        }
    }
    for bit in 0..512 {
        let mut changed = good;
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(!public.verifies(b"message", &changed), "bit {bit}");
    }
}

/// RFC 8032, section 7.1, tests 1 to 3: the same keys and signatures.
#[test]
fn the_vectors_of_rfc_8032() {
    let cases = [
        (
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            &b""[..],
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155",
            "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
        ),
        (
            "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
            &[0x72][..],
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da",
            "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
        ),
        (
            "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
            "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
            &[0xaf, 0x82][..],
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac",
            "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
        ),
    ];
    for (seed, public, text, r, s) in cases {
        let key = SecretKey::from_seed(&bytes(seed));
        assert_eq!(PublicKey::from_pem(&pem(bytes(public))).unwrap(), key.public());
        let signature = [bytes(r), bytes(s)].concat();
        assert_eq!(key.sign(text)[..], signature[..]);
        assert!(key.public().verifies(text, &signature.try_into().unwrap()));
    }
}

/// The recipe of SPEC.md, section 11, on the golden vectors.
#[test]
fn openssl_checks_a_head() {
    if Command::new("openssl").arg("version").output().is_err() {
        println!("skipped: no `openssl` on this machine");
        return;
    }
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors");
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("openssl");
    fs_err::create_dir_all(&out).unwrap();
    for (base, number) in [("media", 1), ("media", 2), ("tiny", 1)] {
        let file = |kind: &str| vectors.join(base).join(format!("mirror_seq{number}.{kind}"));
        let head = fs_err::read(file("manifest.json")).unwrap();
        let seal = String::from_utf8(fs_err::read(file("manifest.sig")).unwrap()).unwrap();
        let sig = seal.split('"').nth(13).unwrap();
        fs_err::write(out.join("msg"), message(&head)).unwrap();
        fs_err::write(out.join("sig"), BASE64_STANDARD.decode(sig).unwrap()).unwrap();
        let verify = |message: &str| {
            let mut command = Command::new("openssl");
            command.args(["pkeyutl", "-verify", "-pubin", "-rawin", "-inkey"]);
            command.arg(vectors.join("key.pub.pem")).arg("-in").arg(out.join(message));
            command.arg("-sigfile").arg(out.join("sig")).output().unwrap()
        };
        let good = verify("msg");
        assert!(good.status.success(), "{}", String::from_utf8_lossy(&good.stderr));
        let mut changed = message(&head);
        changed[100] ^= 1;
        fs_err::write(out.join("changed"), changed).unwrap();
        assert!(!verify("changed").status.success());
    }
}
