//! Other tools agree: skopeo, crane, GNU tar, bsdtar, openssl, sha256sum.

#![allow(clippy::unwrap_used)]

mod support;

use std::path::Path;
use std::process::Command;

use format_spec::Digest;
use support::command::{Run, sh};
use support::server::Kind;
use support::site::Site;
use support::{files, noise, text, tool};

/// Two images and an index in a source of Debian's registry, carried to a target of Debian's registry.
fn carried(options: &[&str]) -> Option<Site> {
    let site = Site::with(Kind::Distribution, Kind::Distribution)?;
    let source = &site.source.registry;
    source.image("team/app", "1", &[&noise(1, 1_500_000), b"one"]);
    source.docker_image("team/legacy", "1", &[&noise(2, 30_000)]);
    let amd = source.image_for("team/multi", None, "amd64", &[b"amd64"]);
    let arm = source.image_for("team/multi", None, "arm64", &[b"arm64"]);
    source.index("team/multi", Some("1"), &[(&amd, "amd64"), (&arm, "arm64")]);
    site.images(&["team/app:1", "team/legacy:1", "team/multi:1"]);
    site.create("media", options).ok();
    Some(site)
}

#[test]
fn skopeo_pulls_what_was_carried() {
    let Some(skopeo) = tool("skopeo") else { return };
    let Some(site) = carried(&[]) else { return };
    site.import("media", &[]).ok();
    for image in ["team/app:1", "team/legacy:1", "team/multi:1"] {
        let digest = |host: &str| {
            let image = format!("docker://{host}/{image}");
            let raw = sh(&skopeo, &["inspect", "--tls-verify=false", "--raw", &image]);
            Digest::of(raw.as_bytes())
        };
        assert_eq!(digest(&site.source.host), digest(&site.target.host), "{image}");
        let from = format!("docker://{}/{image}", site.target.host);
        let to = format!("dir:{}", text(&site.path("pulled")));
        sh(
            &skopeo,
            &["copy", "-q", "--all", "--preserve-digests", "--src-tls-verify=false", &from, &to],
        );
    }
}

#[test]
fn skopeo_pushes_what_is_carried() {
    let Some(skopeo) = tool("skopeo") else { return };
    let site = Site::new();
    site.target.image("seed/app", "1", &[&noise(5, 40_000)]);
    let from = format!("docker://{}/seed/app:1", site.target.host);
    let to = format!("docker://{}/team/app:1", site.source.host);
    let plain = ["--src-tls-verify=false", "--dest-tls-verify=false"];
    sh(&skopeo, &["copy", "-q", plain[0], plain[1], "--format", "v2s2", &from, &to]);
    site.images(&["team/app:1"]);
    site.create("media", &[]).ok();
    site.import("media", &[]).ok();
    site.same(&["team/app:1"]);
}

#[test]
fn a_target_without_the_referrers_api_gets_the_referrers_tag() {
    let Some(site) = Site::with(Kind::Embedded, Kind::Distribution) else { return };
    let source = &site.source.registry;
    let image = source.image("team/app", "1", &[&noise(1, 3000)]);
    let sbom = source.artifact("team/app", None, "application/spdx+json", b"sbom", Some(&image));
    site.images(&["team/app:1"]);
    site.create("media", &[]).ok();
    site.import("media", &[]).ok();
    let listed = || {
        let index = site.target.registry.manifest("team/app", &image.tag_stem()).unwrap();
        let index: serde_json::Value = serde_json::from_slice(&index).unwrap();
        index["manifests"].as_array().unwrap().clone()
    };
    assert_eq!(listed().len(), 1);
    assert_eq!(listed()[0]["digest"], sbom.digest.to_string());
    assert_eq!(listed()[0]["artifactType"], "application/spdx+json");
    // The next one joins the list.
    source.artifact("team/app", None, "application/vnd.example", b"more", Some(&image));
    site.create("media", &[]).ok();
    site.import("media", &[]).ok();
    assert_eq!(listed().len(), 2);
}

#[test]
fn crane_agrees() {
    let Some(crane) = tool("crane") else { return };
    let Some(site) = carried(&[]) else { return };
    site.import("media", &[]).ok();
    for image in ["team/app:1", "team/multi:1"] {
        let target = format!("{}/{image}", site.target.host);
        let digest = sh(&crane, &["digest", "--insecure", &target]);
        assert_eq!(
            digest,
            sh(&crane, &["digest", "--insecure", &format!("{}/{image}", site.source.host)])
        );
    }
    let image = format!("{}/team/app:1", site.target.host);
    sh(&crane, &["pull", "--insecure", "--format", "oci", &image, text(&site.path("pulled"))]);
}

/// Lists and extracts every part with `program`; the members, joined over the parts, must hash to their names.
fn extracts(site: &Site, program: &Path) {
    let media = site.path("media");
    let out = site.path("extracted");
    let parts: Vec<String> =
        files(&media).into_iter().filter(|name| name.ends_with(".tar")).collect();
    assert!(parts.len() > 1);
    for part in &parts {
        let file = media.join(part);
        let list = sh(program, &["-tf", text(&file)]);
        assert!(list.lines().count() >= 1, "{part}");
        let dir = out.join(part);
        fs_err::create_dir_all(&dir).unwrap();
        sh(program, &["-xf", text(&file), "-C", text(&dir)]);
    }
    let mut blobs = std::collections::BTreeMap::<String, Vec<u8>>::new();
    for part in &parts {
        let dir = out.join(part).join("blobs/sha256");
        // `<hex>.<piece>` of one part after the other: the pieces' numbers grow with the parts'.
        for name in files(&dir) {
            let hex = name.split('.').next().unwrap().to_owned();
            blobs.entry(hex).or_default().extend(fs_err::read(dir.join(name)).unwrap());
        }
    }
    assert!(blobs.len() >= 8, "{}", blobs.len());
    for (hex, bytes) in blobs {
        assert_eq!(Digest::of(&bytes).hex(), hex);
    }
}

#[test]
fn gnu_tar_lists_and_extracts_every_part() {
    let Some(tar) = tool("tar") else { return };
    let Some(site) = carried(&["--size", "1MiB"]) else { return };
    extracts(&site, &tar);
}

#[test]
fn bsdtar_lists_and_extracts_every_part() {
    let Some(tar) = tool("bsdtar") else { return };
    let Some(site) = carried(&["--size", "1MiB"]) else { return };
    extracts(&site, &tar);
}

#[test]
fn sha256sum_checks_the_courtesy_list() {
    let Some(sha256sum) = tool("sha256sum") else { return };
    let site = Site::new();
    site.source.image("team/app", "1", &[&noise(1, 100_000)]);
    site.images(&["team/app:1"]);
    site.create("media", &["--sums"]).ok();
    let media = site.path("media");
    let mut command = Command::new(sha256sum);
    command.current_dir(&media).args(["--strict", "-c", "mirror_seq1.SHA256SUMS"]);
    let run = Run::of(&mut command).ok();
    for name in files(&media) {
        let courtesy = name.ends_with("SHA256SUMS") || name.ends_with(".html");
        assert!(courtesy || run.stdout.contains(&format!("{name}: OK")), "{name}\n{run}");
    }
}

/// The recipe of format-spec/SPEC.md: rebuild the signed message with printf and cat, take the signature out of the
/// seal, let openssl check it.
#[test]
fn openssl_verifies_the_head() {
    let Some(openssl) = tool("openssl") else { return };
    let site = Site::new();
    site.source.image("team/app", "1", &[&noise(1, 10_000)]);
    site.images(&["team/app:1"]);
    site.create("media", &[]).ok();
    let media = site.path("media");
    let (key, message, signature) = (site.key(), site.path("message"), site.path("signature"));
    let script = r#"
        head=$1/mirror_seq1.manifest.json
        type=application/vnd.bundle.head.v1+json
        { printf 'DSSEv1 %d %s %d ' "${#type}" "$type" "$(wc -c <"$head")"; cat "$head"; } >"$2"
        sed -n 's/.*"sig": *"\([^"]*\)".*/\1/p' "$1/mirror_seq1.manifest.sig" | openssl base64 -d -A >"$3"
    "#;
    sh("sh", &["-euc", script, "sh", text(&media), text(&message), text(&signature)]);
    let verify = [
        "pkeyutl",
        "-verify",
        "-pubin",
        "-inkey",
        text(&key),
        "-rawin",
        "-in",
        text(&message),
        "-sigfile",
        text(&signature),
    ];
    sh(&openssl, &verify);
    // And refuses another message.
    let mut bytes = fs_err::read(&message).unwrap();
    bytes[60] ^= 1;
    support::server::fs_write(&message, &bytes);
    let run = Run::of(Command::new(&openssl).args(verify));
    assert_ne!(run.code, 0, "{run}");
}

#[test]
fn a_key_of_openssl_signs() {
    let Some(openssl) = tool("openssl") else { return };
    let site = Site::new();
    let (key, public) = (site.path("site.pem"), site.path("site.pub.pem"));
    sh(&openssl, &["genpkey", "-algorithm", "ed25519", "-out", text(&key)]);
    sh(&openssl, &["pkey", "-in", text(&key), "-pubout", "-out", text(&public)]);
    sh("chmod", &["600", text(&key)]);
    site.source.image("team/app", "1", &[b"x"]);
    site.images(&["team/app:1"]);
    site.create("media", &["--key", text(&key)]).ok();
    let media = site.path("media");
    site.bundle(&["verify", "--from", text(&media), "--trust", text(&public)]).ok();
}
