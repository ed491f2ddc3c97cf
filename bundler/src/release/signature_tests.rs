//! Signature files: real ones, and ones with every fault that they can have.

use std::path::PathBuf;

use proptest::prelude::*;

use super::super::keys::{Trusted, built_in};
use super::super::openpgp::key;
use super::super::test_key::{How, TestKey, claim};
use super::*;

const NOW: u64 = 1_800_000_000;
const NAME: &str = "quay.io/openshift-release-dev/ocp-release:4.16.0-x86_64";

/// The real data beside the repository, or `None` after saying that it is not there.
fn data() -> Option<PathBuf> {
    super::super::testing::data("signatures")
}

fn keys_of(key: &TestKey) -> Vec<PublicKey> {
    key::read(&key.public()).unwrap().usable
}

fn real(digest: &str) -> Option<(Vec<u8>, Digest)> {
    let file = data()?.join(format!("store/sha256={digest}/signature-1"));
    Some((fs_err::read(file).unwrap(), Digest::from_hex(digest).unwrap()))
}

#[test]
fn real_signatures_of_red_hat_are_valid_whatever_their_version() {
    for (digest, name) in [
        ("3717338045df06e31effea46761b2c7e90f543cc4f00547af8158dd6aea868c3", "4.16.0-x86_64"),
        ("0da6316466d60a3a4535d5fed3589feb0391989982fba59d47d4c729912d6363", ""),
        // Of 2019: a signature packet of version 3.
        ("e3f12513a4b22a2d7c0e7c9207f52128113758d9d68c7d06b11a0ac7672966f7", ""),
    ] {
        let Some((file, digest)) = real(digest) else { return };
        let claim = verify(&file, &[built_in()], &digest, NOW).unwrap();
        assert_eq!(claim.signer, built_in().fingerprint());
        assert!(claim.reference.ends_with(name), "{}", claim.reference);
        let other = Digest::of(b"another image");
        let refused = verify(&file, &[built_in()], &other, NOW);
        assert!(matches!(refused, Err(SignatureError::OtherDigest(_))), "{refused:?}");
    }
}

#[test]
fn the_real_signature_of_ci_counts_with_its_own_key_alone() {
    let hex = "edd9824f0404f1a139688017e7001370e2f3fbc088b94da84506653b473fe140";
    let Some((file, digest)) = real(hex) else { return };
    let refused = verify(&file, &[built_in()], &digest, NOW).unwrap_err();
    assert_eq!(refused, SignatureError::UnknownKey("28B76E05B923888E".to_owned()));
    // The key itself has expired, which is no reason.
    let path = data().unwrap().join("keys/verifier-public-key-openshift-ci");
    let trusted = Trusted::of(&[path]).unwrap();
    verify(&file, &trusted.keys, &digest, NOW).unwrap();
}

#[test]
fn real_key_files_are_read_or_refused_whole() {
    let Some(data) = data() else { return };
    let read = |name: &str| Trusted::of(&[data.join(name)]);
    let names = |name: &str| -> Vec<String> {
        read(name).unwrap().keys.iter().map(|key| key.fingerprint().to_string()).collect()
    };
    assert_eq!(
        names("keys/verifier-public-key-redhat-release"),
        [built_in().fingerprint().to_string()]
    );
    assert_eq!(names("keyrings/combined.txt").len(), 2);
    assert_eq!(names("keyrings/custom-ocp-sig-key.asc").len(), 2);
    for name in ["openshift-ci-2", "openshift-ci-3", "openshift-ci-4", "redhat-beta-2"] {
        // Subkeys are for encryption there.
        assert_eq!(names(&format!("keys/verifier-public-key-{name}")).len(), 1, "{name}");
    }
    assert!(read("keyrings/buggy-ocp-sig-key.asc").is_err());
    let of_the_test = read("keyrings/oc-mirror-integration-release-pk.asc").unwrap().keys;
    for hex in [
        "2352c020dacb945a96cf665e553644f3a3c39341b636a4d9ef1653944fd9de1f",
        "f81792339c8b5934191d18a53b18bc1d584e01a9f37d59c0aa6905b00200aa1b",
    ] {
        let file = fs_err::read(data.join(format!("oc-mirror-integration/v0.0.1-sha256-{hex}")));
        let digest = Digest::from_hex(hex).unwrap();
        verify(&file.unwrap(), &of_the_test, &digest, NOW).unwrap();
    }
}

#[test]
fn every_fault_of_a_signature_is_found() {
    let (Some(key), Some(other)) = (TestKey::new(), TestKey::new()) else { return };
    let digest = Digest::of(b"release");
    let keys = keys_of(&key);
    let content = claim(&digest.to_string(), NAME);
    let check = |file: &[u8]| verify(file, &keys, &digest, NOW);
    let default = How::default();
    for how in [
        default.clone(),
        How { version_3: true, ..default.clone() },
        How { compressed: false, ..default.clone() },
        How { lasts: Some(u32::MAX), ..default.clone() },
        How { lasts: Some(0), ..default.clone() },
    ] {
        let claim = check(&key.message(content.as_bytes(), &how)).unwrap();
        assert_eq!(claim.reference, NAME);
    }

    let unknown = check(&other.message(content.as_bytes(), &default));
    assert!(matches!(unknown, Err(SignatureError::UnknownKey(_))), "{unknown:?}");
    let expired = How { lasts: Some(1000), ..default.clone() };
    let expired = check(&key.message(content.as_bytes(), &expired)).unwrap_err();
    assert_eq!(expired.to_string(), "it expired at 2023-11-14T22:30:00Z");
    let nested = How { nested: true, ..default.clone() };
    for compressed in [true, false] {
        let nested = check(&key.message(content.as_bytes(), &How { compressed, ..nested.clone() }));
        assert_eq!(nested, Err(SignatureError::OpenPgp(OpenPgpError::Nested)));
    }
    let about = check(&key.sign(&Digest::of(b"other").to_string(), NAME));
    assert!(matches!(about, Err(SignatureError::OtherDigest(_))), "{about:?}");

    // Every cut and every changed byte.
    for how in [default.clone(), How { compressed: false, ..default.clone() }] {
        let file = key.message(content.as_bytes(), &how);
        for end in 0..file.len() {
            assert!(check(&file[..end]).is_err(), "cut at {end}");
        }
        for at in 0..file.len() {
            let mut changed = file.clone();
            changed[at] ^= 0x01;
            // What is not signed and says nothing may change: nobody is named by it.
            let claim = check(&changed);
            assert!(claim.is_err() || claim.unwrap().reference == NAME, "byte {at}");
        }
        let mut longer = file.clone();
        longer.push(0);
        assert!(check(&longer).is_err());
    }
}

#[test]
fn what_is_signed_has_one_meaning() {
    let Some(key) = TestKey::new() else { return };
    let digest = Digest::of(b"release");
    let keys = keys_of(&key);
    let good = claim(&digest.to_string(), NAME);
    let check = |content: &str| {
        verify(&key.message(content.as_bytes(), &How::default()), &keys, &digest, NOW)
    };
    check(&good).unwrap();
    check(&format!("{good}\n")).unwrap();
    for (from, to) in [
        ("atomic container signature", "cosign container image signature"),
        (NAME, ""),
        ("\"optional\":{", "\"more\":1,\"optional\":{"),
        ("\"creator\"", "\"Creator\""),
        ("\"timestamp\":1700000000", "\"timestamp\":1700000000.0"),
        ("\"timestamp\":1700000000", "\"timestamp\":\"1\""),
        ("\"timestamp\":1700000000", "\"timestamp\":1,\"timestamp\":2"),
        ("\"type\"", "\"Type\""),
        ("{\"docker-reference\":", "{\"docker-reference\":\"x\",\"docker-reference\":"),
        ("sha256:", "SHA256:"),
        ("{\"critical\"", "[{\"critical\""),
    ] {
        let changed = good.replace(from, to);
        assert_ne!(changed, good);
        assert!(check(&changed).is_err(), "{changed}");
    }
    assert!(check(&format!("{good}{{}}")).is_err());
    let list = format!(
        r#"{{"critical":["atomic container signature",["{digest}"],["{NAME}"]],"optional":[null,1]}}"#
    );
    assert!(check(&list).is_err());
    assert!(check("").is_err() && check("<html>").is_err());
}

#[test]
fn subkeys_count_only_when_their_key_says_so_and_revoked_ones_never() {
    let (Some(key), Some(subkey)) = (TestKey::new(), TestKey::new()) else { return };
    let count = |file: &[u8]| key::read(file).unwrap().usable.len();
    assert_eq!(count(&key.public()), 1);
    assert_eq!(count(&key.with_subkey(&subkey, true)), 2);
    assert_eq!(count(&key.with_subkey(&subkey, false)), 1);
    let revoked = key::read(&key.revoked()).unwrap();
    assert!(revoked.usable.is_empty() && revoked.left_out[0].contains("revoked"));
    let digest = Digest::of(b"release");
    let keys = key::read(&key.with_subkey(&subkey, true)).unwrap().usable;
    verify(&subkey.sign(&digest.to_string(), NAME), &keys, &digest, NOW).unwrap();
}

#[test]
fn what_unpacks_to_much_is_refused() {
    use std::io::Write as _;
    let zeros = vec![0; 1 << 22];
    let mut packed = vec![0xa3, 1];
    let mut writer =
        flate2::write::DeflateEncoder::new(&mut packed, flate2::Compression::default());
    writer.write_all(&zeros).unwrap();
    writer.finish().unwrap();
    let refused = Message::parse(&packed, SIGNATURE_MAX).unwrap_err();
    assert_eq!(refused, OpenPgpError::TooLarge(SIGNATURE_MAX));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = verify(&bytes, &[built_in()], &Digest::of(b""), NOW);
        let _ = key::read(&bytes);
        let mut compressed = vec![0xa3, 0];
        compressed.extend(&bytes);
        let _ = Message::parse(&compressed, SIGNATURE_MAX);
    }
}
