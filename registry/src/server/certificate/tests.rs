//! Certificates that are made are good; those that people bring are refused by the name of their fault.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};

use super::*;

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn an_authority_is_made_once_and_a_certificate_each_time() {
    let dir = tempfile::tempdir().unwrap();
    let tls = dir.path().join("tls");
    let wanted = names(&["Mirror.Example", "10.0.0.5", "[fd00::1]"]);
    let first = make(&tls, &wanted).unwrap();
    assert!(first.new_ca);
    assert_eq!(first.about.names, ["mirror.example", "10.0.0.5", "fd00::1"]);
    assert!((820..=825).contains(&first.about.days_left), "{}", first.about.days_left);
    assert!((3640..=3652).contains(&describe(&first.ca).unwrap().days_left));
    for (name, mode) in [(CA, 0o644), (CA_KEY, 0o600), (SERVER, 0o644), (SERVER_KEY, 0o600)] {
        let found = fs_err::metadata(tls.join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!(found, mode, "{name}");
    }
    let checked = check(&first.certificate, &first.key, &names(&["mirror.example", "fd00::1"]));
    assert_eq!(checked.unwrap(), first.about);

    let authority = fs_err::read(&first.ca).unwrap();
    let second = make(&tls, &names(&["other.example"])).unwrap();
    assert!(!second.new_ca);
    assert_eq!(fs_err::read(&second.ca).unwrap(), authority);
    assert_ne!(second.about.fingerprint, first.about.fingerprint);
    assert_eq!(second.about.issuer, first.about.issuer);

    let third = make_anew(&tls, &wanted).unwrap();
    assert!(third.new_ca && third.about.issuer != first.about.issuer);
}

#[test]
fn openssl_believes_what_was_made() {
    if Command::new("openssl").arg("version").output().is_err() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let made = make(dir.path(), &names(&["mirror.example", "10.0.0.5"])).unwrap();
    for name in [["-verify_hostname", "mirror.example"], ["-verify_ip", "10.0.0.5"]] {
        let answer = Command::new("openssl")
            .args(["verify", "-x509_strict", "-purpose", "sslserver", "-CAfile"])
            .arg(&made.ca)
            .args(name)
            .arg(&made.certificate)
            .output()
            .unwrap();
        assert!(answer.status.success(), "{}", String::from_utf8_lossy(&answer.stderr));
    }
    let shown = Command::new("openssl")
        .args(["x509", "-noout", "-fingerprint", "-sha256", "-in"])
        .arg(&made.certificate)
        .output()
        .unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap().replace(':', "").to_lowercase();
    assert!(shown.contains(&made.about.fingerprint), "{shown}");
}

#[test]
fn an_authority_that_clients_trust_is_never_replaced_unasked() {
    let dir = tempfile::tempdir().unwrap();
    let made = make(dir.path(), &names(&["a.example"])).unwrap();
    let authority = fs_err::read(&made.ca).unwrap();
    fs_err::remove_file(dir.path().join(CA_KEY)).unwrap();
    let refused = make(dir.path(), &names(&["a.example"])).unwrap_err();
    assert!(matches!(refused, CertificateError::NoCaKey(_)), "{refused}");
    fs_err::write(dir.path().join(CA_KEY), KeyPair::generate().unwrap().serialize_pem()).unwrap();
    let refused = make(dir.path(), &names(&["a.example"])).unwrap_err();
    assert!(matches!(refused, CertificateError::OtherKey { .. }), "{refused}");
    assert_eq!(fs_err::read(&made.ca).unwrap(), authority);
}

#[test]
fn what_is_no_name_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    for bad in ["", "a b", "host:8443", "https://host", "a..b", "-a", "1.2.3", "ä.example"] {
        let refused = make(dir.path(), &names(&[bad])).unwrap_err();
        assert!(matches!(refused, CertificateError::Name(_)), "{bad}: {refused}");
    }
    assert!(matches!(make(dir.path(), &[]), Err(CertificateError::NoNames)));
    let listen = "192.168.7.9:5000".parse().unwrap();
    let known = super::names(&names(&["Mirror.example"]), listen);
    assert_eq!(known[..2], ["mirror.example", "192.168.7.9"]);
    assert!(known.contains(&"localhost".to_owned()) && known.contains(&"::1".to_owned()));
    make(dir.path(), &known).unwrap();
}

/// A certificate with its key, in files.
struct Brought {
    dir: tempfile::TempDir,
    issuer: Issuer<'static, KeyPair>,
    authority: String,
}

impl Brought {
    fn new() -> Self {
        let pair = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let own = params.self_signed(&pair).unwrap();
        let issuer = Issuer::new(params, pair);
        Self { dir: tempfile::tempdir().unwrap(), issuer, authority: own.pem() }
    }

    fn sign(&self, change: impl FnOnce(&mut CertificateParams)) -> (String, String) {
        let pair = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(names(&["mirror.example"])).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, "the leaf");
        change(&mut params);
        (params.signed_by(&pair, &self.issuer).unwrap().pem(), pair.serialize_pem())
    }

    fn check(&self, certificate: &str, key: &str) -> Result<Described, CertificateError> {
        let (at, key_at) = (self.dir.path().join("crt"), self.dir.path().join("key"));
        fs_err::write(&at, certificate).unwrap();
        fs_err::write(&key_at, key).unwrap();
        check(&at, &key_at, &names(&["mirror.example"]))
    }
}

#[test]
fn every_fault_of_a_brought_certificate_is_named() {
    let brought = Brought::new();
    let (good, key) = brought.sign(|_| {});
    brought.check(&good, &key).unwrap();
    brought.check(&format!("{good}{}", brought.authority), &key).unwrap();

    let (other, other_key) = brought.sign(|_| {});
    let year = std::time::Duration::from_secs(365 * 86_400);
    let now = std::time::SystemTime::now();
    let ended = brought.sign(|params| params.not_after = (now - year).into());
    let early = brought.sign(|params| params.not_before = (now + year).into());
    let foreign = brought.sign(|params| params.subject_alt_names.clear());
    let client = brought
        .sign(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]);
    let encrypted = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    let backwards = format!("{}{good}", brought.authority);
    let twice = format!("{good}{other}");
    for (certificate, key, told) in [
        (&*good, &*other_key, "is not the key of"),
        (&ended.0, &ended.1, "ended at"),
        (&early.0, &early.1, "not valid before"),
        (&foreign.0, &foreign.1, "no name at all"),
        (&client.0, &client.1, "serverAuth"),
        (&good, &encrypted, "encrypted"),
        (&good, &good, "exchanged"),
        (&key, &key, "exchanged"),
        (&good, "", "no key in PEM"),
        ("hello", &key, "no certificate in PEM"),
        ("0\u{1}binary", &key, "openssl"),
        (&twice, &key, "not in order"),
        (&backwards, &brought.issuer.key().serialize_pem(), "of an authority"),
    ] {
        let refused = brought.check(certificate, key).unwrap_err().to_string();
        assert!(refused.contains(told), "{told}: {refused}");
        assert!(key.lines().all(|line| line.len() < 40 || !refused.contains(line)), "{refused}");
    }
}

proptest::proptest! {
    #[test]
    fn no_file_breaks_the_reader(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        fs_err::write(&path, &bytes).unwrap();
        proptest::prop_assert!(describe(&path).is_err());
        let _ = make::tidy(&String::from_utf8_lossy(&bytes));
    }
}
