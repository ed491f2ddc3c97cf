//! A signature policy says which images are carried, as it does for skopeo: real keys, real signatures, both programs.

#![allow(clippy::unwrap_used)]

mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fs_err as fs;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::{Value, json};
use support::command::{Run, sh};
use support::image::{OCI_CONFIG, OCI_MANIFEST, Pushed};
use support::site::Site;
use support::{skip, text, tool};

const ATTACHED: &str = "application/vnd.dev.cosign.simplesigning.v1+json";

/// What a program makes of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Accepted,
    Refused,
    /// The policy itself is.
    BadPolicy,
}

use Verdict::{Accepted, BadPolicy, Refused};

/// Registries, keys of GnuPG, a place for signatures.
struct Place {
    site: Site,
    skopeo: PathBuf,
    gpg: PathBuf,
}

/// A key of sigstore.
struct Cosign(EcdsaKeyPair);

impl Cosign {
    fn new() -> Self {
        let (algorithm, random) = (&ECDSA_P256_SHA256_ASN1_SIGNING, SystemRandom::new());
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        Self(EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).unwrap())
    }

    fn pem(&self) -> String {
        // A SubjectPublicKeyInfo over P-256, up to the point.
        let head = "3059301306072a8648ce3d020106082a8648ce3d030107034200";
        let mut der: Vec<u8> = (0..head.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&head[at..at + 2], 16).unwrap())
            .collect();
        der.extend(self.0.public_key().as_ref());
        format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(der))
    }

    fn sign(&self, payload: &[u8]) -> String {
        STANDARD.encode(self.0.sign(&SystemRandom::new(), payload).unwrap())
    }
}

/// What is attached: its type, what is signed, the signature.
type Layer = (&'static str, Vec<u8>, Option<String>);

/// What is signed.
fn claim(kind: &str, digest: &str, name: &str, optional: &Value) -> Vec<u8> {
    let claim = json!({"critical": {"type": kind, "image": {"docker-manifest-digest": digest},
        "identity": {"docker-reference": name}}, "optional": optional});
    serde_json::to_vec(&claim).unwrap()
}

fn simple(image: &Pushed, name: &str) -> Vec<u8> {
    claim("atomic container signature", &image.digest.to_string(), name, &json!({}))
}

fn cosign(digest: &str, name: &str) -> Vec<u8> {
    claim("cosign container image signature", digest, name, &Value::Null)
}

impl Place {
    fn new() -> Option<Self> {
        let named = std::env::var_os("BUNDLE_SKOPEO").map(PathBuf::from);
        let (skopeo, gpg) = (named.or_else(|| tool("skopeo"))?, tool("gpg")?);
        let place = Self { site: Site::new(), skopeo, gpg };
        fs::create_dir_all(place.site.path("gnupg")).unwrap();
        use std::os::unix::fs::PermissionsExt as _;
        let private = std::fs::Permissions::from_mode(0o700);
        fs::set_permissions(place.site.path("gnupg"), private).unwrap();
        let host = &place.site.source.host;
        let lookaside = format!("file://{}", text(&place.site.path("lookaside")));
        fs::create_dir_all(place.site.path("registries.d")).unwrap();
        place.write(
            "registries.d/site.yaml",
            format!(
                "docker:\n  {host}:\n    lookaside: {lookaside}\n    lookaside-staging: {lookaside}\n  \
                 {host}/sig:\n    use-sigstore-attachments: true\n"
            )
            .as_bytes(),
        );
        Some(place)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> String {
        fs::write(self.site.path(name), bytes).unwrap();
        text(&self.site.path(name)).to_owned()
    }

    fn gpg(&self, arguments: &[&str], input: &[u8]) -> Vec<u8> {
        use std::io::Write as _;
        let mut command = Command::new(&self.gpg);
        command.args(["--batch", "--yes", "--quiet", "--homedir", text(&self.site.path("gnupg"))]);
        command.args(["--pinentry-mode", "loopback", "--passphrase", ""]).args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        let done = child.wait_with_output().unwrap();
        assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
        done.stdout
    }

    /// A new key, and the file with its public half.
    fn key(&self, name: &str, algorithm: &str, more: &[&str]) -> String {
        let user = format!("{name}@example.com");
        let expires = if more.is_empty() { "never" } else { "1d" };
        let make = ["--quick-gen-key", &user, algorithm, "sign", expires];
        self.gpg(&[more, &make].concat(), b"");
        let public = self.gpg(&["--export", &user], b"");
        self.write(&format!("{name}.gpg"), &public)
    }

    /// Puts a file where signatures are.
    fn put(&self, image: &Pushed, number: u32, signature: &[u8]) {
        let directory = format!("lookaside/{}@sha256={}", image.repo, image.digest.hex());
        fs::create_dir_all(self.site.path(&directory)).unwrap();
        self.write(&format!("{directory}/signature-{number}"), signature);
    }

    fn signed(&self, payload: &[u8], key: &str) -> Vec<u8> {
        self.gpg(&["--local-user", &format!("{key}@example.com"), "--sign"], payload)
    }

    /// Attaches what is signed in the way of sigstore.
    fn attach(&self, image: &Pushed, layers: &[Layer]) {
        let registry = &self.site.source.registry;
        let blob = |bytes: &[u8], kind: &str| {
            let digest = registry.put_blob(&image.repo, bytes).to_string();
            json!({"mediaType": kind, "digest": digest, "size": bytes.len()})
        };
        let list = layers.iter().map(|(kind, payload, signature)| {
            let mut layer = blob(payload, kind);
            if let Some(signature) = signature {
                layer["annotations"] = json!({"dev.cosignproject.cosign/signature": signature});
            }
            layer
        });
        let list: Vec<Value> = list.collect();
        let config = blob(
            br#"{"architecture":"","os":"","config":{},"rootfs":{"type":"layers","diff_ids":[]}}"#,
            OCI_CONFIG,
        );
        let manifest = json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": list});
        let tag = format!("{}.sig", image.tag_stem());
        registry.document(&image.repo, Some(&tag), OCI_MANIFEST, &manifest);
    }

    fn skopeo(&self, policy: &str, image: &str) -> Option<Verdict> {
        let to = self.site.path("copied");
        let mut command = Command::new(&self.skopeo);
        command.env("HOME", self.site.path("home")).stdin(Stdio::null());
        command.args(["--policy", policy, "--registries.d", text(&self.site.path("registries.d"))]);
        command.args(["copy", "-q", "--src-tls-verify=false", &format!("docker://{image}")]);
        let run = Run::of(command.arg(format!("dir:{}", text(&to))));
        let _ = fs::remove_dir_all(&to);
        Some(match run.code {
            0 => Accepted,
            // Debian builds skopeo 1.9 without it.
            _ if run.stderr.contains("sigstore disabled") => None?,
            _ if run.stderr.contains("rejected") => Refused,
            _ if run.stderr.contains("trust policy") => BadPolicy,
            _ => panic!("{run}"),
        })
    }

    fn bundle(&self, policy: &str, image: &str) -> (Verdict, Run) {
        let (host, image) = image.split_once('/').unwrap();
        self.site.images_at(host, &[image]);
        let registries = self.site.path("registries.d");
        let run = self.site.create(
            "media",
            &[
                "--dry-run",
                "--policy",
                policy,
                "--registries-d",
                text(&registries),
                "--output",
                "json",
            ],
        );
        let verdict = match run.code {
            0 => Accepted,
            8 => Refused,
            64 => BadPolicy,
            _ => panic!("{run}"),
        };
        (verdict, run)
    }

    /// The answer of both, which must be the same.
    #[track_caller]
    fn both(&self, about: &str, image: &str, policy: &str, expected: Verdict) -> Run {
        let file = self.write("policy.json", policy.as_bytes());
        let theirs = self.skopeo(&file, image).unwrap_or_else(|| {
            skip("this skopeo does not check signatures of sigstore: `BUNDLE_SKOPEO` may name one that does");
            expected
        });
        let (ours, run) = self.bundle(&file, image);
        assert_eq!((theirs, ours), (expected, expected), "{about}\n{policy}\n{run}");
        run
    }
}

/// A policy that lets nothing through but what `requirements` of this scope do.
fn policy(scope: &str, requirements: &Value) -> String {
    json!({"default": [{"type": "reject"}], "transports": {"docker": {scope: requirements}}})
        .to_string()
}

#[test]
#[allow(clippy::too_many_lines)]
fn skopeo_and_bundle_say_the_same_of_every_image() {
    let Some(place) = Place::new() else { return };
    let (registry, host) = (&place.site.source.registry, place.site.source.host.clone());
    let alice = place.key("alice", "rsa2048", &[]);
    let bob = place.key("bob", "rsa2048", &[]);
    let carol = place.key("carol", "ed25519", &[]);
    let past = ["--faked-system-time", "20200101T000000"];
    let dave = place.key("dave", "rsa2048", &past);
    let (one, two) = (Cosign::new(), Cosign::new());
    let one_pem = place.write("one.pub", one.pem().as_bytes());
    let two_pem = place.write("two.pub", two.pem().as_bytes());
    let image = |name: &str| registry.image(name, "1", &[name.as_bytes()]);
    let named = |name: &str| format!("{host}/{name}:1");

    // The way that people go: skopeo signs.
    image("team/source");
    let mut command = Command::new(&place.skopeo);
    command.env("HOME", place.site.path("home")).env("GNUPGHOME", place.site.path("gnupg"));
    command.args(["--insecure-policy", "--registries.d", text(&place.site.path("registries.d"))]);
    command.args(["copy", "-q", "--src-tls-verify=false", "--dest-tls-verify=false"]);
    command.args(["--sign-by", "alice@example.com", &format!("docker://{}", named("team/source"))]);
    Run::of(command.arg(format!("docker://{}", named("team/signed")))).ok();
    let raw = registry.manifest("team/signed", "1").unwrap();
    let signed_digest = format_spec::Digest::of(&raw).to_string();

    let other = image("team/other");
    let both = image("team/both");
    place.put(&both, 1, &place.signed(&simple(&both, &named("team/both")), "alice"));
    place.put(&both, 2, &place.signed(&simple(&both, &named("team/both")), "bob"));
    let wrong = image("team/wrong");
    place.put(&wrong, 1, &place.signed(&simple(&other, &named("team/wrong")), "alice"));
    let renamed = image("team/renamed");
    place.put(
        &renamed,
        1,
        &place.signed(&simple(&renamed, "vendor.example.com/app/renamed:1"), "alice"),
    );
    let ed = image("team/ed");
    place.put(&ed, 1, &place.signed(&simple(&ed, &named("team/ed")), "carol"));
    let late = image("team/late");
    place.put(&late, 1, &place.signed(b"no claim", "alice"));
    place.put(&late, 2, &place.signed(&simple(&late, &named("team/late")), "bob"));
    place.put(&late, 3, &place.signed(&simple(&late, &named("team/late")), "alice"));
    let hole = image("team/hole");
    place.put(&hole, 2, &place.signed(&simple(&hole, &named("team/hole")), "alice"));
    let changed = image("team/changed");
    let mut bytes = place.gpg(
        &["--local-user", "alice@example.com", "--compress-algo", "none", "--sign"],
        &simple(&changed, &named("team/changed")),
    );
    let at = bytes.windows(4).position(|four| four == b"team").unwrap();
    bytes[at] = b'T';
    place.put(&changed, 1, &bytes);
    let more = image("team/more");
    let digest = more.digest.to_string();
    let optional = json!({"creator": "x", "timestamp": 1, "site": {"a": 1}});
    let payload = claim("atomic container signature", &digest, &named("team/more"), &optional);
    place.put(&more, 1, &place.signed(&payload, "alice"));
    let less = image("team/less");
    let payload = String::from_utf8(simple(&less, &named("team/less"))).unwrap();
    place.put(
        &less,
        1,
        &place.signed(payload.replace(r#","optional":{}"#, "").as_bytes(), "alice"),
    );
    let twice = image("team/twice");
    let payload = String::from_utf8(simple(&twice, &named("team/twice"))).unwrap();
    let doubled = payload.replacen(r#""identity""#, r#""type":"x","identity""#, 1);
    place.put(&twice, 1, &place.signed(doubled.as_bytes(), "alice"));
    let expired = image("team/expired");
    let payload = simple(&expired, &named("team/expired"));
    let old = place.gpg(
        &["--local-user", "alice@example.com", "--default-sig-expire", "seconds=1", "--sign"],
        &payload,
    );
    place.put(&expired, 1, &old);
    let outlived = image("team/outlived");
    let payload = simple(&outlived, &named("team/outlived"));
    let old =
        place.gpg(&[&past[..], &["--local-user", "dave@example.com", "--sign"]].concat(), &payload);
    place.put(&outlived, 1, &old);

    let attached = |name: &str, make: &dyn Fn(&Pushed) -> Vec<Layer>| {
        let image = image(name);
        place.attach(&image, &make(&image));
        image
    };
    let by = |key: &Cosign, payload: Vec<u8>| {
        let signature = key.sign(&payload);
        (ATTACHED, payload, Some(signature))
    };
    let digest_of = |image: &Pushed| image.digest.to_string();
    let bare = |name: &str| format!("{host}/{name}");
    attached("sig/bare", &|it| vec![by(&one, cosign(&digest_of(it), &bare("sig/bare")))]);
    attached("sig/tagged", &|it| vec![by(&one, cosign(&digest_of(it), &named("sig/tagged")))]);
    attached("sig/other", &|_| vec![by(&one, cosign(&digest_of(&other), &named("sig/other")))]);
    attached("sig/unsigned", &|it| {
        vec![(ATTACHED, cosign(&digest_of(it), &named("sig/unsigned")), None)]
    });
    attached("sig/second", &|it| {
        let payload = cosign(&digest_of(it), &named("sig/second"));
        vec![
            ("application/vnd.dsse.envelope.v1+json", b"{}".to_vec(), Some(String::new())),
            by(&two, payload.clone()),
            by(&one, payload),
        ]
    });
    attached("sig/crossed", &|it| {
        let payload = cosign(&digest_of(it), &named("sig/crossed"));
        let signature = one.sign(b"something else");
        vec![(ATTACHED, payload, Some(signature))]
    });
    attached("sig/simple", &|it| {
        let name = named("sig/simple");
        vec![by(&one, claim("atomic container signature", &digest_of(it), &name, &json!({})))]
    });
    // Where attachments are not looked at.
    attached("plain/tagged", &|it| vec![by(&one, cosign(&digest_of(it), &named("plain/tagged")))]);
    image("sig/none");

    let signed_by = |path: &str| json!({"type": "signedBy", "keyType": "GPGKeys", "keyPath": path});
    let sigstore = |path: &str| json!({"type": "sigstoreSigned", "keyPath": path});
    let with = |mut requirement: Value, identity: Value| {
        requirement["signedIdentity"] = identity;
        requirement
    };
    let kind = |name: &str| json!({"type": name});
    let accept = || kind("insecureAcceptAnything");
    let repository = || kind("matchRepository");
    let reference = |name: &str| json!({"type": "exactReference", "dockerReference": name});
    let exact_repository =
        |name: &str| json!({"type": "exactRepository", "dockerRepository": name});
    let remap = |prefix: &str, signed: &str| json!({"type": "remapIdentity", "prefix": prefix, "signedPrefix": signed});
    let data = STANDARD.encode(fs::read(&alice).unwrap());
    let by_data = json!({"type": "signedBy", "keyType": "GPGKeys", "keyData": data});
    let pem_data = json!({"type": "sigstoreSigned", "keyData": STANDARD.encode(one.pem())});
    let host_name = host.split_once(':').unwrap().0.to_owned();
    let (signed, by_digest) = (named("team/signed"), format!("{host}/team/signed@{signed_digest}"));
    let everywhere = host.as_str();
    let v = "vendor.example.com";

    // So that the second is over for which the signature held.
    std::thread::sleep(std::time::Duration::from_secs(2));
    let case = |about: &'static str, image: &str, scope: &str, asked: Value, expected| {
        (about, image.to_owned(), policy(scope, &asked), expected)
    };
    #[rustfmt::skip]
    let cases: Vec<_> = vec![
        case("nothing asked", &signed, everywhere, json!([accept()]), Accepted),
        case("reject", &signed, everywhere, json!([kind("reject")]), Refused),
        case("accepted and rejected", &signed, everywhere, json!([accept(), kind("reject")]), Refused),
        case("no scope: the default", &signed, "other.example.com", json!([accept()]), Refused),
        case("scope of the image", &signed, &signed, json!([accept()]), Accepted),
        case("scope of another tag", &signed, &format!("{host}/team/signed:2"), json!([accept()]), Refused),
        case("scope of the repository", &signed, &format!("{host}/team/signed"), json!([accept()]), Accepted),
        case("scope of the namespace", &signed, &format!("{host}/team"), json!([accept()]), Accepted),
        case("scope of half a name", &signed, &format!("{host}/tea"), json!([accept()]), Refused),
        case("scope of the host without port", &signed, &host_name, json!([accept()]), Refused),
        case("wildcard of the host's domain", &signed, "*.0.0.1", json!([accept()]), Accepted),
        case("wildcard further up", &signed, "*.1", json!([accept()]), Accepted),
        case("wildcard with port", &signed, &format!("*.0.0.1{}", &host[host_name.len()..]), json!([accept()]), Refused),
        case("scope of the transport", &signed, "", json!([accept()]), Accepted),
        case("scope by digest", &by_digest, &by_digest, json!([accept()]), Accepted),
        case("signed by skopeo", &signed, everywhere, json!([signed_by(&alice)]), Accepted),
        case("by another key", &signed, everywhere, json!([signed_by(&bob)]), Refused),
        case("key in the policy", &signed, everywhere, json!([by_data]), Accepted),
        case("not signed", &named("team/other"), everywhere, json!([signed_by(&alice)]), Refused),
        case("both wanted, one there", &signed, everywhere, json!([signed_by(&alice), signed_by(&bob)]), Refused),
        case("both wanted, both there", &named("team/both"), everywhere, json!([signed_by(&alice), signed_by(&bob)]), Accepted),
        case("about another image", &named("team/wrong"), everywhere, json!([signed_by(&alice)]), Refused),
        case("ed25519", &named("team/ed"), everywhere, json!([signed_by(&carol)]), Accepted),
        case("the third counts", &named("team/late"), everywhere, json!([signed_by(&alice)]), Accepted),
        case("behind a hole", &named("team/hole"), everywhere, json!([signed_by(&alice)]), Refused),
        case("changed since", &named("team/changed"), everywhere, json!([signed_by(&alice)]), Refused),
        case("more that is optional", &named("team/more"), everywhere, json!([signed_by(&alice)]), Accepted),
        case("nothing optional", &named("team/less"), everywhere, json!([signed_by(&alice)]), Refused),
        case("a field twice", &named("team/twice"), everywhere, json!([signed_by(&alice)]), Refused),
        case("the signature expired", &named("team/expired"), everywhere, json!([signed_by(&alice)]), Refused),
        case("the key expired", &named("team/outlived"), everywhere, json!([signed_by(&dave)]), Refused),
        case("by digest", &by_digest, everywhere, json!([signed_by(&alice)]), Accepted),
        case("exact by tag", &signed, everywhere, json!([with(signed_by(&alice), kind("matchExact"))]), Accepted),
        case("exact by digest", &by_digest, everywhere, json!([with(signed_by(&alice), kind("matchExact"))]), Refused),
        case("repository", &signed, everywhere, json!([with(signed_by(&alice), repository())]), Accepted),
        case("named for a vendor", &named("team/renamed"), everywhere, json!([signed_by(&alice)]), Refused),
        case("named for a vendor, exactly", &named("team/renamed"), everywhere,
            json!([with(signed_by(&alice), reference(&format!("{v}/app/renamed:1")))]), Accepted),
        case("named for a vendor, another tag", &named("team/renamed"), everywhere,
            json!([with(signed_by(&alice), reference(&format!("{v}/app/renamed:2")))]), Refused),
        case("named for a vendor, repository", &named("team/renamed"), everywhere,
            json!([with(signed_by(&alice), exact_repository(&format!("{v}/app/renamed")))]), Accepted),
        case("named for a vendor, other repository", &named("team/renamed"), everywhere,
            json!([with(signed_by(&alice), exact_repository(&format!("{v}/app/ren")))]), Refused),
        case("remapped", &named("team/renamed"), everywhere,
            json!([with(signed_by(&alice), remap(&format!("{host}/team"), &format!("{v}/app")))]), Accepted),
        case("remapped elsewhere", &named("team/renamed"), everywhere,
            json!([with(signed_by(&alice), remap(&format!("{host}/team"), v))]), Refused),
        case("not remapped", &signed, everywhere,
            json!([with(signed_by(&alice), remap("q.example.com", v))]), Accepted),
        case("simple wants sigstore", &signed, everywhere, json!([sigstore(&one_pem)]), Refused),
        case("sigstore", &named("sig/tagged"), everywhere, json!([sigstore(&one_pem)]), Accepted),
        case("sigstore, key in the policy", &named("sig/tagged"), everywhere, json!([pem_data]), Accepted),
        case("sigstore, another key", &named("sig/tagged"), everywhere, json!([sigstore(&two_pem)]), Refused),
        case("sigstore without a tag", &named("sig/bare"), everywhere, json!([sigstore(&one_pem)]), Refused),
        case("sigstore without a tag, repository", &named("sig/bare"), everywhere,
            json!([with(sigstore(&one_pem), repository())]), Accepted),
        case("sigstore about another image", &named("sig/other"), everywhere, json!([sigstore(&one_pem)]), Refused),
        case("sigstore without a signature", &named("sig/unsigned"), everywhere, json!([sigstore(&one_pem)]), Refused),
        case("sigstore, the third layer", &named("sig/second"), everywhere, json!([sigstore(&one_pem)]), Accepted),
        case("sigstore, both", &named("sig/second"), everywhere, json!([sigstore(&one_pem), sigstore(&two_pem)]), Accepted),
        case("sigstore over something else", &named("sig/crossed"), everywhere, json!([sigstore(&one_pem)]), Refused),
        case("sigstore with the other type", &named("sig/simple"), everywhere, json!([sigstore(&one_pem)]), Refused),
        case("sigstore, nothing there", &named("sig/none"), everywhere, json!([sigstore(&one_pem)]), Refused),
        case("sigstore where it is switched off", &named("plain/tagged"), everywhere, json!([sigstore(&one_pem)]), Refused),
        case("sigstore wants simple", &named("sig/tagged"), everywhere, json!([signed_by(&alice)]), Refused),
    ];
    let count = cases.len();
    for (about, image, policy, expected) in cases {
        let run = place.both(about, &image, &policy, expected);
        if expected == Refused {
            assert!(run.stderr.contains("hint:") || run.stdout.contains("hints"), "{run}");
        }
    }
    println!("{count} images, the same verdict from both");
}

#[test]
fn skopeo_and_bundle_refuse_the_same_policies() {
    let Some(place) = Place::new() else { return };
    let host = place.site.source.host.clone();
    place.site.source.registry.image("team/app", "1", &[b"app"]);
    let image = format!("{host}/team/app:1");
    let alice = place.key("alice", "rsa2048", &[]);
    let of = |requirement: &str| {
        format!(
            r#"{{"default":[{{"type":"insecureAcceptAnything"}}],"transports":{{"docker":{{"x.example.com":[{requirement}]}}}}}}"#
        )
    };
    let accept = r#"[{"type":"insecureAcceptAnything"}]"#;
    let signed = |more: &str| of(&format!(r#"{{"type":"signedBy","keyType":"GPGKeys"{more}}}"#));
    let key = format!(r#","keyPath":"{alice}""#);
    let identity = |identity: &str| signed(&format!(r#"{key},"signedIdentity":{identity}"#));
    #[rustfmt::skip]
    let cases = [
        ("fine", format!(r#"{{"default":{accept}}}"#), Accepted),
        ("fine, other transports", format!(r#"{{"default":{accept},"transports":{{"docker-daemon":{{"":{accept}}},"atomic":{{"h":{accept}}}}}}}"#), Accepted),
        ("fine, a key", signed(&key), Accepted),
        ("not JSON", "{".to_owned(), BadPolicy),
        ("empty", String::new(), BadPolicy),
        ("a list", "[]".to_owned(), BadPolicy),
        ("no default", "{}".to_owned(), BadPolicy),
        ("empty default", r#"{"default":[]}"#.to_owned(), BadPolicy),
        ("default is an object", r#"{"default":{"type":"reject"}}"#.to_owned(), BadPolicy),
        ("default twice", format!(r#"{{"default":{accept},"default":{accept}}}"#), BadPolicy),
        ("unknown at the top", format!(r#"{{"default":{accept},"more":1}}"#), BadPolicy),
        ("behind the end", format!(r#"{{"default":{accept}}} x"#), BadPolicy),
        ("empty scope list", r#"{"default":[{"type":"reject"}],"transports":{"docker":{"h":[]}}}"#.to_owned(), BadPolicy),
        ("scope twice", format!(r#"{{"default":{accept},"transports":{{"docker":{{"h":{accept},"h":{accept}}}}}}}"#), BadPolicy),
        ("transport twice", format!(r#"{{"default":{accept},"transports":{{"docker":{{}},"docker":{{}}}}}}"#), BadPolicy),
        ("relative path", format!(r#"{{"default":{accept},"transports":{{"dir":{{"a":{accept}}}}}}}"#), BadPolicy),
        ("root path", format!(r#"{{"default":{accept},"transports":{{"dir":{{"/":{accept}}}}}}}"#), BadPolicy),
        ("path with a slash behind", format!(r#"{{"default":{accept},"transports":{{"oci":{{"/a/":{accept}}}}}}}"#), BadPolicy),
        ("scope of an archive", format!(r#"{{"default":{accept},"transports":{{"docker-archive":{{"/a":{accept}}}}}}}"#), BadPolicy),
        ("no type", of("{}"), BadPolicy),
        ("unknown type", of(r#"{"type":"acceptAnything"}"#), BadPolicy),
        ("type of another case", of(r#"{"Type":"reject"}"#), BadPolicy),
        ("reject with more", of(r#"{"type":"reject","more":1}"#), BadPolicy),
        ("no key", signed(""), BadPolicy),
        ("two keys", signed(&format!(r#"{key},"keyData":"AAAA""#)), BadPolicy),
        ("key is no text", signed(r#","keyPath":1"#), BadPolicy),
        ("key is no base64", signed(r#","keyData":"*""#), BadPolicy),
        ("no type of keys", of(&format!(r#"{{"type":"signedBy"{key}}}"#)), BadPolicy),
        ("unknown type of keys", of(&format!(r#"{{"type":"signedBy","keyType":"PGP"{key}}}"#)), BadPolicy),
        ("unknown field of a key", signed(&format!(r#"{key},"more":1"#)), BadPolicy),
        ("unknown identity", identity(r#"{"type":"matchAnything"}"#), BadPolicy),
        ("identity without type", identity("{}"), BadPolicy),
        ("identity with more", identity(r#"{"type":"matchExact","more":1}"#), BadPolicy),
        ("reference without tag", identity(r#"{"type":"exactReference","dockerReference":"h.example.com/a"}"#), BadPolicy),
        ("reference is none", identity(r#"{"type":"exactReference","dockerReference":"UPPER:1"}"#), BadPolicy),
        ("repository is missing", identity(r#"{"type":"exactRepository"}"#), BadPolicy),
        ("prefix with a tag", identity(r#"{"type":"remapIdentity","prefix":"h.example.com/a:1","signedPrefix":"b.example.com"}"#), BadPolicy),
        ("prefix is not whole", identity(r#"{"type":"remapIdentity","prefix":"busybox/a/","signedPrefix":"b.example.com"}"#), BadPolicy),
        ("sigstore without key", of(r#"{"type":"sigstoreSigned"}"#), BadPolicy),
        ("sigstore with more", of(r#"{"type":"sigstoreSigned","keyData":"AAAA","keyType":"GPGKeys"}"#), BadPolicy),
    ];
    for (about, policy, expected) in &cases {
        let run = place.both(about, &image, policy, *expected);
        if *expected == BadPolicy {
            run.refused(&[64]).says("policy.json");
        }
    }
    println!("{} policies, the same verdict from both", cases.len());
    // What others do and we do not is refused by its name, at once.
    for name in ["fulcio", "pki", "rekorPublicKeyPath", "rekorPublicKeyDatas"] {
        let text = of(&format!(r#"{{"type":"sigstoreSigned","{name}":"x"}}"#));
        let file = place.write("policy.json", text.as_bytes());
        let (verdict, run) = place.bundle(&file, &image);
        assert_eq!(verdict, BadPolicy);
        run.says(&format!("`{name}` is not done here"));
    }
}

/// A policy that `bundle` reads.
fn at(path: &Path, policy: &str) -> String {
    fs::write(path, policy).unwrap();
    text(path).to_owned()
}

#[test]
fn what_is_refused_stays_behind_and_the_rest_is_carried() {
    let site = Site::new();
    let (registry, host) = (&site.source.registry, &site.source.host);
    registry.image("team/good", "1", &[b"good"]);
    registry.image("team/bad", "1", &[b"bad"]);
    site.images(&["team/good:1", "team/bad:1"]);
    let accept = json!([{"type": "insecureAcceptAnything"}]);
    let file = at(&site.path("policy.json"), &policy(&format!("{host}/team/good"), &accept));
    let run = site.create("media", &["--policy", &file, "--output", "json"]).code(8);
    let answer = run.json();
    let failure = &answer["failures"][0];
    assert_eq!(failure["reference"], format!("{host}/team/bad:1"));
    let reason = failure["reason"].as_str().unwrap();
    assert!(
        reason.contains("`reject`") && reason.contains("default[0]") && reason.contains(&file),
        "{reason}"
    );
    assert!(answer["hints"][0].as_str().unwrap().contains("blockedImages"), "{answer}");
    let verdicts = answer["policy"]["images"].as_array().unwrap();
    let said: Vec<_> = verdicts
        .iter()
        .map(|it| (it["image"].as_str().unwrap(), it["accepted"].as_bool().unwrap()))
        .collect();
    assert_eq!(
        said,
        [(&*format!("{host}/team/bad:1"), false), (&*format!("{host}/team/good:1"), true)]
    );
    site.import("media", &[]).ok();
    site.same(&["team/good:1"]);
    assert!(site.target.registry.manifest("team/bad", "1").is_none());
    // All of it, or nothing.
    site.create("other", &["--policy", &file, "--strict", "--full"]).refused(&[8]).says("`reject`");
    site.create("other", &["--registries-d", text(&site.path("x"))]).code(64);
    site.create("other", &["--policy", &file, "--registries-d", text(&site.path("x"))])
        .refused(&[64])
        .says("--registries-d");
    site.create("other", &["--policy", text(&site.path("missing.json"))])
        .refused(&[64])
        .says("missing.json");
}

#[test]
fn an_index_is_judged_as_itself() {
    let Some(place) = Place::new() else { return };
    let (registry, host) = (&place.site.source.registry, &place.site.source.host);
    let alice = place.key("alice", "rsa2048", &[]);
    let amd = registry.image_for("team/multi", None, "amd64", &[b"amd64"]);
    let arm = registry.image_for("team/multi", None, "arm64", &[b"arm64"]);
    let index = registry.index("team/multi", Some("1"), &[(&amd, "amd64"), (&arm, "arm64")]);
    let name = format!("{host}/team/multi:1");
    let requirement = json!([{"type": "signedBy", "keyType": "GPGKeys", "keyPath": alice}]);
    let file = place.write("policy.json", policy(host, &requirement).as_bytes());
    // Those of children say nothing of which child belongs to which platform.
    for child in [&amd, &arm] {
        place.put(child, 1, &place.signed(&simple(child, &name), "alice"));
    }
    assert_eq!(place.bundle(&file, &name).0, Refused);
    place.put(&index, 1, &place.signed(&simple(&index, &name), "alice"));
    assert_eq!(place.bundle(&file, &name).0, Accepted);
}

#[test]
fn what_is_on_this_machine_is_judged_by_its_transport() {
    let Some(skopeo) = tool("skopeo") else { return };
    let site = Site::new();
    let host = &site.source.host;
    site.source.registry.image("team/app", "1", &[b"app"]);
    let from = format!("docker://{host}/team/app:1");
    let (dir, layout) = (site.path("local/dir"), site.path("local/layout"));
    let archive = site.path("local/app.tar");
    fs::create_dir_all(site.path("local")).unwrap();
    for to in [
        format!("dir:{}", text(&dir)),
        format!("oci:{}:1", text(&layout)),
        format!("docker-archive:{}:h.example.com/team/app:1", text(&archive)),
    ] {
        sh(&skopeo, &["--insecure-policy", "copy", "-q", "--src-tls-verify=false", &from, &to]);
    }
    let accept = json!([{"type": "insecureAcceptAnything"}]);
    let local = fs::canonicalize(site.path("local")).unwrap();
    for (place, transport, scope) in [
        (&dir, "dir", text(&local)),
        (&layout, "oci", text(&local)),
        (&archive, "docker-archive", ""),
    ] {
        for (with, code) in [(transport, 0), ("docker", 8)] {
            let (accept, mut transports) = (accept.clone(), json!({}));
            transports[with] = json!({scope: accept});
            let policy = json!({"default": [{"type": "reject"}], "transports": transports});
            let file = at(&site.path("policy.json"), &policy.to_string());
            let run = site.bundle(&[
                "create",
                "--images",
                text(place),
                "--to",
                text(&site.path("media")),
                "--workspace",
                text(&site.path("connected")),
                "--dry-run",
                "--policy",
                &file,
            ]);
            run.code(code);
        }
    }
}

#[test]
fn signatures_in_a_directory_count_for_names_that_are_said() {
    let Some(place) = Place::new() else { return };
    let (site, host) = (&place.site, &place.site.source.host);
    let alice = place.key("alice", "rsa2048", &[]);
    let image = site.source.registry.image("team/app", "1", &[b"app"]);
    let dir = site.path("dir");
    let (from, to) = (format!("docker://{host}/team/app:1"), format!("dir:{}", text(&dir)));
    sh(&place.skopeo, &["--insecure-policy", "copy", "-q", "--src-tls-verify=false", &from, &to]);
    let name = "vendor.example.com/team/app:1";
    fs::write(dir.join("signature-1"), place.signed(&simple(&image, name), "alice")).unwrap();
    let signed = |identity: Value| {
        let requirement = json!([{"type": "signedBy", "keyType": "GPGKeys", "keyPath": alice,
            "signedIdentity": identity}]);
        let transports = json!({"dir": {"": requirement}});
        json!({"default": [{"type": "reject"}], "transports": transports}).to_string()
    };
    for (identity, verdict) in [
        (json!({"type": "exactReference", "dockerReference": name}), Accepted),
        (
            json!({"type": "exactReference", "dockerReference": "vendor.example.com/team/app:2"}),
            Refused,
        ),
        (
            json!({"type": "exactRepository", "dockerRepository": "vendor.example.com/team/app"}),
            Accepted,
        ),
        (json!({"type": "matchRepository"}), Refused),
    ] {
        let file = place.write("policy.json", signed(identity).as_bytes());
        let mut theirs = Command::new(&place.skopeo);
        let copy = format!("dir:{}", text(&site.path("copy")));
        let theirs = Run::of(theirs.args(["--policy", &file, "copy", "-q", &to, &copy]));
        let (media, workspace) = (site.path("media"), site.path("connected"));
        let ours = site.bundle(&[
            "create",
            "--images",
            text(&dir),
            "--to",
            text(&media),
            "--workspace",
            text(&workspace),
            "--dry-run",
            "--policy",
            &file,
        ]);
        let (theirs, ours) = (theirs.code == 0, ours.one_of(&[0, 8]).code == 0);
        assert_eq!((theirs, ours), (verdict == Accepted, verdict == Accepted), "{verdict:?}");
    }
}
