//! The directory of Debian's docker-registry, taken over: every digest is served as before, what is damaged is named.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod support;

use std::os::unix::fs::MetadataExt;

use format_spec::Digest;
use fs_err as fs;
use support::command::{Run, bundle, sh};
use support::server::{Kind, Server};
use support::{noise, snapshot, text, tree};

#[test]
fn a_directory_of_distribution_is_taken_over_and_served_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let (old, new) = (dir.path().join("old"), dir.path().join("new"));
    let Some(source) = Server::start(Kind::Distribution, &old) else { return };
    let base = noise(1, 300_000);
    source.image("team/app", "1", &[&base, b"one"]);
    let amd = source.image_for("team/deep/er/app", None, "amd64", &[&base, b"amd64"]);
    let arm = source.image_for("team/deep/er/app", None, "arm64", &[&noise(2, 9_000)]);
    source.index("team/deep/er/app", Some("multi"), &[(&amd, "amd64"), (&arm, "arm64")]);
    source.docker_image("legacy", "7", &[&base]);
    source.referrer_by_tag(&amd, "application/spdx+json", b"packages");
    let hurt = noise(3, 5_000);
    source.image("team/hurt", "1", &[&base, &hurt]);
    let names = source.all_tags();
    let pull = |registry: &support::wire::Registry, name: &str| {
        let (repository, tag) = name.rsplit_once(':').unwrap();
        registry.pull(repository, tag)
    };
    let digests: Vec<Vec<String>> = names.iter().map(|name| pull(&source, name)).collect();
    drop(source);
    let adopt = |more: &[&str]| {
        let mut command = bundle(dir.path());
        command.args(["registry", "adopt", "--from", text(&old), "--data-dir", text(&new)]);
        Run::of(command.args(more))
    };
    let before = tree(&old);
    adopt(&["--dry-run"]).ok().says("nothing was written");
    assert!(!new.exists());

    // One blob rotted.
    let hex = Digest::of(&hurt).hex();
    let rotten =
        old.join("docker/registry/v2/blobs/sha256").join(&hex[..2]).join(&hex).join("data");
    fs::write(&rotten, b"rotten").unwrap();
    let files = snapshot(rotten.parent().unwrap());
    let run = adopt(&["--output", "json"]).code(65).says(&format!("team/hurt@sha256:{hex}"));
    let answer = run.json();
    assert_eq!(answer["complete"], true);
    assert_eq!(answer["copied"], 0, "both are on one file system: {run}");
    assert_eq!(tree(&old), before);
    assert_eq!(snapshot(rotten.parent().unwrap()), files);
    // Again: nothing is taken twice.
    let again = adopt(&["--output", "json"]).code(65).json();
    assert_eq!((&again["linked"], &again["bytes"]), (&0.into(), &0.into()));
    let base_hex = Digest::of(&base).hex();
    let taken = new.join("blobs/sha256").join(&base_hex[..2]).join(&base_hex);
    assert!(fs::metadata(taken).unwrap().nlink() > 1 || answer["cloned"] != 0);

    let check = |code| {
        let mut command = bundle(dir.path());
        Run::of(command.args(["registry", "fsck", "--data-dir", text(&new)])).code(code)
    };
    check(0);
    let target = Server::embedded(&new);
    for (name, digests) in names.iter().zip(&digests) {
        if name == "team/hurt:1" {
            assert!(target.tags("team/hurt").is_empty());
        } else {
            assert_eq!(&pull(&target, name), digests, "{name}");
        }
    }
    // The referrer is listed, which the old registry could not do.
    let address = format!("/v2/team/deep/er/app/referrers/{}", amd.digest);
    let list = support::wire::request(&target.host, "GET", &address, &[], &[]).unwrap();
    assert!(String::from_utf8_lossy(&list.body).contains("application/spdx+json"));
    drop(target);

    // By root, for a registry under an account of its own: it is all that account's, and nothing of the source is.
    if support::is_root() {
        let theirs = dir.path().join("theirs");
        fs::create_dir(&theirs).unwrap();
        sh("chown", &["65534:65534", text(&theirs)]);
        let mut command = bundle(dir.path());
        command.args(["registry", "adopt", "--from", text(&old), "--data-dir", text(&theirs)]);
        Run::of(&mut command).code(65);
        assert_eq!(sh("find", &[text(&theirs), "!", "-uid", "65534"]), "");
        assert_eq!(sh("find", &[text(&old), "-uid", "65534"]), "");
    }
}

#[test]
fn what_is_no_directory_of_distribution_is_refused_with_a_way() {
    let dir = tempfile::tempdir().unwrap();
    let adopt = |from: &std::path::Path| {
        let mut command = bundle(dir.path());
        Run::of(command.args(["registry", "adopt", "--from", text(from), "--data-dir", "new"]))
    };
    let quay = dir.path().join("quay");
    fs::create_dir_all(quay.join("sha256/ab")).unwrap();
    adopt(&quay).refused(&[64]).says("Quay").says("skopeo sync");
    let empty = dir.path().join("empty");
    fs::create_dir(&empty).unwrap();
    adopt(&empty).refused(&[64]).says("docker/registry/v2");
    assert!(!dir.path().join("new").exists());
}

#[test]
fn links_lead_nowhere_out_of_the_directory() {
    use std::os::unix::fs::symlink;
    let dir = tempfile::tempdir().unwrap();
    let (old, outside) = (dir.path().join("old"), dir.path().join("outside"));
    let v2 = old.join("docker/registry/v2");
    let write = |path: std::path::PathBuf, bytes: &[u8]| {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    };
    let blob = |top: &std::path::Path, bytes: &[u8]| {
        let digest = Digest::of(bytes);
        write(top.join(format!("{}/{}/data", &digest.hex()[..2], digest.hex())), bytes);
        digest
    };
    let blobs = v2.join("blobs/sha256");
    let index = br#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;
    let index = blob(&blobs, index);
    let revision = format!("_manifests/revisions/sha256/{}/link", index.hex());
    let tag = "_manifests/tags/v1/current/link";
    let link = index.to_string();
    for repository in ["good", "tag", "revision", "layer"] {
        let at = v2.join("repositories").join(repository);
        write(at.join(&revision), link.as_bytes());
        write(at.join(tag), link.as_bytes());
    }
    let swap = |path: std::path::PathBuf, to: &std::path::Path| {
        match fs::metadata(&path).is_ok_and(|found| found.is_dir()) {
            true => fs::remove_dir_all(&path).unwrap(),
            false => drop(fs::remove_file(&path)),
        }
        symlink(to, path).unwrap();
    };
    // A link file, a directory of links, a directory of blobs, and a whole repository, elsewhere.
    write(outside.join("link"), link.as_bytes());
    swap(v2.join("repositories/tag").join(tag), &outside.join("link"));
    write(outside.join("repo").join(&revision), link.as_bytes());
    write(outside.join("repo").join(tag), link.as_bytes());
    swap(v2.join("repositories/revision/_manifests"), &outside.join("repo/_manifests"));
    symlink(outside.join("repo"), v2.join("repositories/whole")).unwrap();
    let secret = blob(&outside.join("blobs"), b"secret");
    let shard = secret.hex()[..2].to_owned();
    symlink(outside.join("blobs").join(&shard), blobs.join(&shard)).unwrap();
    let layer = format!("_layers/sha256/{}/link", secret.hex());
    write(v2.join("repositories/layer").join(layer), secret.to_string().as_bytes());
    let new = dir.path().join("new");
    let mut command = bundle(dir.path());
    command.args(["registry", "adopt", "--from", text(&old), "--data-dir", text(&new)]);
    let run = Run::of(command.args(["--output", "json"])).code(65);
    let answer = run.json();
    let left: Vec<&str> = answer["leftOut"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["what"].as_str().unwrap())
        .collect();
    for named in ["tag:v1", "revision/_manifests/", "repositories/whole", &secret.to_string()] {
        assert!(left.iter().any(|what| what.contains(named)), "{named}: {left:?}");
    }
    assert!(!tree(&new).iter().any(|path| format!("{path:?}").contains(&secret.hex())), "{run}");
    let tags =
        |repository: &str| new.join("repositories").join(repository).join("_tags/v1").exists();
    assert_eq!(
        ["good", "layer", "tag", "revision", "whole"].map(tags),
        [true, true, false, false, false]
    );
}
