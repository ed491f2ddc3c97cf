//! One release mirrored, through the binary: from a registry, off media and out of a directory, into a registry and into a
//! directory.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

#[path = "support/mod.rs"]
mod support;

use format_spec::Digest;
use fs_err as fs;
use serde_json::{Value, json};
use support::command::Run;
use support::image::Pushed;
use support::releases::{COMPONENTS, RELEASES, Releases, names};
use support::server::fs_write;
use support::text;

impl Releases {
    /// `bundle release mirror` with the keys of this site.
    fn mirror(&self, from: &[&str], more: &[&str]) -> Run {
        self.release_command(&[&["mirror"], from].concat(), more)
    }

    /// The same from the source's registry.
    fn mirror_image(&self, payload: &Pushed, more: &[&str]) -> Run {
        let from = format!("{}/{RELEASES}@{}", self.site.source.host, payload.digest);
        let store = self.site.path("store");
        self.mirror(&["--from", &from, "--signature-store", text(&store)], more)
    }

    /// The release stands in one repository of the target, under the names that `oc` gives.
    #[track_caller]
    fn is_mirrored(
        &self,
        repository: &str,
        tag: &str,
        payload: &Pushed,
        components: &[(String, Digest)],
    ) {
        let target = &self.site.target;
        assert_eq!(Digest::of(&target.manifest(repository, tag).unwrap()), payload.digest);
        for (name, digest) in components {
            let found = target.manifest(repository, &format!("{tag}-{name}")).unwrap();
            assert_eq!(Digest::of(&found), *digest, "{name}");
            // With every blob.
            target.pull(repository, &digest.to_string());
        }
        target.pull(repository, tag);
    }
}

#[test]
fn a_release_goes_from_one_registry_to_another_under_the_names_of_oc() {
    let Some(releases) = Releases::new() else { return };
    let mut components = releases.components(&names(), "4.18.5");
    // Two components of one image, and one that somebody signed.
    components.push(("twice".to_owned(), components[0].1));
    let source = &releases.site.source;
    let signed = source.image_for(COMPONENTS, None, "amd64", &[b"a signed one"]);
    components.push(("signed".to_owned(), signed.digest));
    let seal = source.artifact(
        COMPONENTS,
        Some(&format!("{}.sig", signed.tag_stem())),
        "x/sig",
        b"sig",
        None,
    );
    source.artifact(COMPONENTS, None, "x/sbom", b"sbom", Some(&signed));
    let payload = releases.release("4.18.5", &components);
    let (target, tag) = (&releases.site.target, "4.18.5-x86_64");
    let to = format!("{}/mirror/ocp", target.host);

    // A plan first: nothing is written.
    let config = releases.site.path("config");
    let words = ["--to", &*to, "--release-image-signature-to-dir", text(&config)];
    let planned = releases.mirror_image(&payload, &[&words[..], &["--dry-run"]].concat()).ok();
    let from = format!("{}/{RELEASES}@{}", source.host, payload.digest);
    assert!(planned.stdout.starts_with(&format!("{from} {to}:{tag}\n")), "{planned}");
    assert_eq!(
        planned.stdout.lines().filter(|line| line.contains(&format!(" {to}:{tag}"))).count(),
        components.len() + 1
    );
    assert!(target.repositories().is_empty() && !config.exists());

    let run = releases.mirror_image(&payload, &words).ok();
    run.says(&format!("Update image:  {to}:{tag}\n"));
    releases.is_mirrored("mirror/ocp", tag, &payload, &components);
    let sig = format!("{}.sig", signed.tag_stem());
    assert_eq!(Digest::of(&target.manifest("mirror/ocp", &sig).unwrap()), seal.digest);
    assert_eq!(target.tags("mirror/ocp").len(), components.len() + 2);
    let file = config.join(format!("signature-sha256-{}.json", &payload.digest.hex()[..16]));
    let map: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    assert_eq!(map["metadata"]["name"], format!("sha256-{}", payload.digest.hex()));
    let key = format!("sha256-{}-1", payload.digest.hex());
    assert!(map["binaryData"][&key].is_string(), "{map}");

    // Once more moves nothing, and says the same.
    let again =
        releases.mirror_image(&payload, &[&words[..], &["--output", "json"]].concat()).ok().json();
    assert_eq!((&again["blobsPushed"], &again["manifestsPut"]), (&json!(0), &json!(0)));
    assert_eq!(again["images"], components.len() + 1);
    let source_of = |repo: &str| format!("{}/{repo}", source.host);
    let expected = json!([
        {"source": source_of(RELEASES), "mirrors": [to]},
        {"source": source_of(COMPONENTS), "mirrors": [to]},
    ]);
    assert_eq!(again["sources"], expected);
    let printed = releases.mirror_image(&payload, &words).ok();
    let idms = printed.stdout.split("ImageDigestMirrorSet:\n\n").nth(1).unwrap();
    let idms = idms.split("\n\nTo apply").next().unwrap();
    fs_write(&releases.site.path("idms.yaml"), idms.as_bytes());
    releases
        .mirror_image(&payload, &[&words[..], &["--print-mirror-instructions", "none"]].concat())
        .ok();

    // What was printed is what a cluster, or this command, goes by.
    fs::remove_dir_all(releases.site.path("source")).unwrap();
    let (file, idms) = (
        config.read_dir().unwrap().next().unwrap().unwrap().path(),
        releases.site.path("idms.yaml"),
    );
    let second = format!("{}/second/ocp", target.host);
    let words = ["--from", &*from, "--signature-store", text(&file), "--idms-file", text(&idms)];
    releases.mirror(&words, &["--to", &second]).ok();
    releases.is_mirrored("second/ocp", tag, &payload, &components);
}

#[test]
fn the_release_image_may_go_elsewhere_or_nowhere() {
    let Some(releases) = Releases::new() else { return };
    let components = releases.components(&["a".to_owned(), "b".to_owned()], "1");
    let payload = releases.release("4.18.5", &components);
    let target = &releases.site.target;
    let to = format!("{}/ocp/release", target.host);
    let image = format!("{}/ocp/release-images:4.18.5", target.host);
    let run = releases
        .mirror_image(&payload, &["--to", &to, "--to-release-image", &image, "--output", "json"])
        .ok();
    let answer = run.json();
    assert_eq!(answer["updateImage"], image);
    let repository = format!("{}/ocp/release-images", target.host);
    assert_eq!(answer["sources"][0]["mirrors"], json!([repository]));
    assert_eq!(answer["sources"][1]["mirrors"], json!([to]));
    target.pull("ocp/release-images", "4.18.5");
    assert_eq!(target.tags("ocp/release-images"), ["4.18.5"]);
    assert_eq!(target.tags("ocp/release"), ["4.18.5-x86_64-a", "4.18.5-x86_64-b"]);

    let other = format!("{}/other", target.host);
    let answer = releases
        .mirror_image(&payload, &["--to", &other, "--skip-release-image", "--output", "json"])
        .ok()
        .json();
    assert_eq!(answer["updateImage"], json!(null));
    assert_eq!(target.tags("other").len(), 2);

    let refused = |more: &[&str], says: &str| {
        releases.mirror_image(&payload, more).refused(&[64]).says(says);
    };
    refused(&["--to", &format!("{to}:1")], "each image gets its own tag");
    refused(&["--to", &to, "--to-release-image", &to], "must have a tag");
    refused(&["--to", "registry"], "--to HOST/REPOSITORY");
    refused(&["--to", &to, "--to-dir", "x"], "leave one of them out");
    refused(&["--to", &to, "--apply-release-image-signature"], "oc apply -f FILE");
    refused(&["--to", &to, "-a", "x"], "--authfile FILE");
    refused(&["--to-image-stream", "x", "--to", &to], "no cluster is asked here");
    releases.mirror_image(&payload, &[]).code(64).says("--to");
}

#[test]
fn a_directory_takes_a_release_in_the_form_of_oc_and_gives_it_back() {
    use std::os::unix::fs::MetadataExt as _;
    let Some(releases) = Releases::new() else { return };
    let components = releases.components(&["cli".to_owned(), "etcd".to_owned()], "1");
    let payload = releases.release("4.18.5", &components);
    let (dir, tag) = (releases.site.path("disk/releases"), "4.18.5-x86_64");
    let words = ["--to-dir", text(&dir)];
    releases
        .mirror_image(&payload, &[&words[..], &["--dry-run"]].concat())
        .ok()
        .says("file://openshift/release:4.18.5-x86_64-etcd");
    assert!(!dir.exists());
    let run = releases.mirror_image(&payload, &words).ok();
    run.says("Update image:  openshift/release:4.18.5-x86_64\n")
        .says("oc image mirror --keep-manifest-list --from-dir=");

    let place = dir.join("v2/openshift/release");
    for (name, digest) in components
        .iter()
        .map(|(name, digest)| (format!("{tag}-{name}"), digest))
        .chain([(tag.to_owned(), &payload.digest)])
    {
        let link = fs::read_link(place.join("manifests").join(&name)).unwrap();
        assert_eq!(text(&link), digest.to_string(), "{name}");
        let manifest = place.join("manifests").join(digest.to_string());
        let blob = place.join("blobs").join(digest.to_string());
        let bytes = fs::read(&manifest).unwrap();
        assert_eq!(Digest::of(&bytes), *digest);
        assert_eq!(fs::metadata(manifest).unwrap().ino(), fs::metadata(&blob).unwrap().ino());
        let value: Value = serde_json::from_slice(&bytes).unwrap();
        for blob in value["layers"].as_array().unwrap().iter().chain([&value["config"]]) {
            let digest = blob["digest"].as_str().unwrap();
            assert_eq!(
                Digest::of(&fs::read(place.join("blobs").join(digest)).unwrap()).to_string(),
                digest
            );
        }
    }
    let kept = |path: &std::path::Path| {
        let entries = fs::read_dir(path).unwrap();
        entries
            .filter(|entry| entry.as_ref().unwrap().file_name().to_str().unwrap().starts_with('.'))
            .count()
    };
    assert_eq!(kept(&place), 0);
    let json =
        releases.mirror_image(&payload, &[&words[..], &["--output", "json"]].concat()).ok().json();
    assert_eq!(
        (&json["blobsPushed"], &json["manifestsPut"], &json["sources"]),
        (&json!(0), &json!(0), &json!([]))
    );
    let config = dir.join("config");
    assert_eq!(
        support::files(&config),
        [format!("signature-sha256-{}.json", &payload.digest.hex()[..16])]
    );

    // On the other side nothing else is there: its signature came with it.
    fs::remove_dir_all(releases.site.path("source")).unwrap();
    let target = &releases.site.target;
    let to = format!("{}/ocp/release", target.host);
    let answer =
        releases.mirror(&["--from", text(&dir)], &["--to", &to, "--output", "json"]).ok().json();
    releases.is_mirrored("ocp/release", tag, &payload, &components);
    // Where it comes from says who signed it.
    let image = format!("quay.io/{RELEASES}@{}", payload.digest);
    assert_eq!(answer["release"]["image"], image);
    assert_eq!(answer["sources"][1]["source"], format!("quay.io/{RELEASES}"));
    let as_oc = ["--from", "file://openshift/release:4.18.5-x86_64", "--from-dir", text(&dir)];
    let second = format!("{}/second", target.host);
    releases.mirror(&as_oc, &["--to", &second]).ok();
    releases.is_mirrored("second", tag, &payload, &components);
    let out = releases.site.path("out");
    let keys = releases.site.path("keys.pgp");
    let words = [
        "release",
        "extract",
        "--from",
        text(&dir),
        "--release-keys",
        text(&keys),
        "--to",
        text(&out),
    ];
    releases.site.bundle(&words).ok().says("2 files in");
    releases
        .mirror(&["--from", text(&dir), "--release", "4.18.6"], &["--to", &to])
        .refused(&[64])
        .says("`4.18.5-x86_64`");

    // A file that changed is found, whatever it holds, and nothing gets a name.
    let third = format!("{}/third", target.host);
    let damaged = |path: std::path::PathBuf, says: &str| {
        let whole = fs::read(&path).unwrap();
        let mut other = whole.clone();
        other[0] ^= 1;
        fs_write(&path, &other);
        releases.mirror(&["--from", text(&dir)], &["--to", &third]).refused(&[65]).says(says);
        assert!(target.tags("third").is_empty());
        fs_write(&path, &whole);
    };
    damaged(place.join("manifests").join(components[0].1.to_string()), "damaged");
    let manifest: Value = serde_json::from_slice(
        &fs::read(place.join("manifests").join(components[0].1.to_string())).unwrap(),
    )
    .unwrap();
    damaged(place.join("blobs").join(manifest["layers"][0]["digest"].as_str().unwrap()), "digest");
    damaged(place.join("manifests").join(payload.digest.to_string()), "damaged");
    fs::remove_dir_all(&config).unwrap();
    releases
        .mirror(&["--from", text(&dir)], &["--to", &third])
        .refused(&[67])
        .says("no signature in");
    assert!(target.tags("third").is_empty());
}

#[test]
fn a_medium_gives_its_release_to_a_registry_and_to_a_directory() {
    let Some(releases) = Releases::new() else { return };
    let components = releases.components(&["cli".to_owned(), "etcd".to_owned()], "1");
    let payload = releases.release("4.18.5", &components);
    releases.configure(&payload, "");
    releases.create("media", &[]).ok();
    fs::remove_dir_all(releases.site.path("source")).unwrap();
    let (media, key) = (releases.site.path("media"), releases.site.key());
    let from = ["--from", text(&media), "--trust", text(&key)];
    let target = &releases.site.target;
    let to = format!("{}/ocp/release", target.host);

    // A part that is damaged is named, and nothing gets a name.
    let part = media.join("mirror_seq1_000000.tar");
    let whole = fs::read(&part).unwrap();
    let mut bad = whole.clone();
    let at = whole.windows(9).position(|bytes| bytes == b"etcd of 1").unwrap();
    bad[at] ^= 1;
    fs::remove_file(&part).unwrap();
    fs_write(&part, &bad);
    releases.mirror(&from, &["--to", &to]).refused(&[65]).says("mirror_seq1_000000.tar");
    assert!(target.tags("ocp/release").is_empty());
    fs_write(&part, &whole);

    let config = releases.site.path("config");
    let more =
        ["--to", &*to, "--release-image-signature-to-dir", text(&config), "--output", "json"];
    let answer = releases.mirror(&from, &more).ok().json();
    releases.is_mirrored("ocp/release", "4.18.5-x86_64", &payload, &components);
    let source = |repo: &str| format!("{}/{repo}", releases.site.source.host);
    assert_eq!(answer["sources"][0]["source"], source(RELEASES));
    assert_eq!(answer["sources"][1]["source"], source(COMPONENTS));
    assert_eq!(support::files(&config).len(), 1);

    let dir = releases.site.path("dir");
    releases.mirror(&from, &["--to-dir", text(&dir)]).ok();
    let second = format!("{}/second", target.host);
    releases.mirror(&["--from", text(&dir)], &["--to", &second]).ok();
    releases.is_mirrored("second", "4.18.5-x86_64", &payload, &components);
    assert!(!releases.site.path("elsewhere").exists());
}

#[test]
fn a_release_is_mirrored_whole_or_its_name_does_not_appear() {
    let Some(releases) = Releases::new() else { return };
    let target = &releases.site.target;
    let to = format!("{}/ocp/release", target.host);
    let mut components = releases.components(&["a".to_owned(), "b".to_owned()], "1");
    components.push(("lost".to_owned(), Digest::of(b"nowhere")));
    let payload = releases.release("4.18.5", &components);
    let run = releases.mirror_image(&payload, &["--to", &to, "--output", "json"]).refused(&[2]);
    let error = &run.json()["error"];
    assert_eq!(error["failures"].as_array().unwrap().len(), 1, "{error}");
    run.says("1 of its images could not be had").says(&Digest::of(b"nowhere").to_string());
    assert!(target.tags("ocp/release").is_empty());
    let dir = releases.site.path("dir");
    releases.mirror_image(&payload, &["--to-dir", text(&dir)]).refused(&[2]);
    assert!(support::files(&dir.join("v2/openshift/release/manifests")).is_empty());
    assert!(!dir.join("config").exists());

    // A layer that is another one than its digest says.
    let bad =
        releases.site.source.image_for(COMPONENTS, None, "amd64", &[b"a layer that will change"]);
    let components = [("bad".to_owned(), bad.digest)];
    let payload = releases.release("4.18.6", &components);
    let layer = serde_json::from_slice::<Value>(&bad.bytes).unwrap()["layers"][0]["digest"]
        .as_str()
        .unwrap()
        .to_owned();
    let hex = layer.strip_prefix("sha256:").unwrap();
    let source = releases.site.path("source");
    let is_it = |path: &&String| path.contains(hex) && source.join(path).is_file();
    for path in support::tree(&source).iter().filter(is_it) {
        let path = source.join(path);
        if fs::read(&path).unwrap() == b"a layer that will change" {
            fs::remove_file(&path).unwrap();
            fs_write(&path, b"a layer that has changed");
        }
    }
    releases
        .mirror_image(&payload, &["--to-dir", text(&dir)])
        .refused(&[65])
        .says("arrived from its source with the digest");
    assert!(support::files(&dir.join("v2/openshift/release/manifests")).is_empty());
    releases.mirror_image(&payload, &["--to", &to]).refused(&[65]).says("from its source");
    assert!(target.tags("ocp/release").is_empty());

    // A target that is away has no mirrors; a place that cannot be written has another one beside it.
    let components = releases.components(&["a".to_owned()], "1");
    let payload = releases.release("4.18.8", &components);
    let run = releases.mirror_image(&payload, &["--to", "127.0.0.1:1/ocp", "--retry-times", "0"]);
    let run = run.refused(&[75]).says("cannot connect to `127.0.0.1:1`");
    assert!(!run.stderr.contains("--idms-file"), "{run}");
    let taken = releases.site.path("taken");
    fs::create_dir_all(taken.join("v2/openshift/release")).unwrap();
    fs_write(&taken.join("v2/openshift/release/blobs"), b"");
    releases
        .mirror_image(&payload, &["--to-dir", text(&taken)])
        .refused(&[73])
        .says("--to-dir DIR");
    releases
        .mirror(&["--from", text(&releases.site.path("store"))], &["--to", &to])
        .refused(&[66])
        .says("neither a sequence nor a mirrored release");

    fs::remove_dir_all(releases.site.path("store")).unwrap();
    fs::create_dir_all(releases.site.path("store")).unwrap();
    let components = releases.components(&["a".to_owned()], "1");
    let payload = releases.release("4.18.7", &components);
    fs::remove_dir_all(releases.site.path("store")).unwrap();
    fs::create_dir_all(releases.site.path("store")).unwrap();
    releases
        .mirror_image(&payload, &["--to", &to])
        .refused(&[67])
        .says("--accept-unsigned-releases");
    let run = releases
        .mirror_image(&payload, &["--to-dir", text(&dir), "--accept-unsigned-releases"])
        .ok();
    run.says("without a valid signature");
    assert!(!dir.join("config").exists());
}
