//! The whole road: source registry, parts in a directory, target registry.

#![allow(clippy::unwrap_used)]

mod support;

use serde_json::json;
use support::command::Run;
use support::image::{DOCKER_LIST, OCI_CONFIG, OCI_LAYER, OCI_MANIFEST};
use support::proxy::Proxy;
use support::server::{Kind, Server, fs_write};
use support::site::Site;
use support::{copy_files, files, is_root, noise, skip, snapshot, text};

/// Every shape of content that the source can hold. Returns the names to configure.
fn every_shape(site: &Site) -> Vec<String> {
    let source = &site.source.registry;
    let base = noise(1, 70_000);
    let first = source.image("team/app", "1.0", &[&base, b"one"]);
    source.image("team/app", "stable", &[&base, b"one"]);
    source.image("team/deep/er/tool", "v2", &[&base, &noise(2, 9_000)]);
    source.docker_image("legacy/app", "7", &[&base, &noise(3, 500)]);
    source.image("odd/zero", "1", &[b"", b"something"]);
    source.image("odd/none", "1", &[]);

    let amd = source.image_for("multi/app", None, "amd64", &[&base, b"amd64"]);
    let arm = source.image_for("multi/app", None, "arm64", &[&noise(4, 3_000)]);
    let inner = source.index("multi/app", None, &[(&amd, "amd64"), (&arm, "arm64")]);
    source.index("multi/app", Some("1"), &[(&amd, "amd64"), (&arm, "arm64")]);
    source.index("multi/app", Some("nested"), &[(&inner, "amd64"), (&arm, "arm64")]);

    let mut list = json!({"schemaVersion": 2, "mediaType": DOCKER_LIST, "manifests": []});
    let child = source.docker_image("legacy/multi", "single", &[b"legacy"]);
    let mut entry = child.descriptor();
    entry["platform"] = json!({"architecture": "amd64", "os": "linux"});
    list["manifests"] = json!([entry]);
    source.document("legacy/multi", Some("1"), DOCKER_LIST, &list);

    source.artifact("charts/app", Some("1.0.0"), "application/x.chart", b"a chart", None);

    // What travels with an image without being asked for by name.
    source.artifact(
        "team/app",
        Some(&format!("{}.sig", first.tag_stem())),
        "application/x.sig",
        b"s",
        None,
    );
    source.artifact(
        "team/app",
        Some(&format!("{}.att", first.tag_stem())),
        "application/x.att",
        b"a",
        None,
    );
    source.referrer_by_tag(&first, "application/spdx+json", b"packages");

    [
        "team/app:1.0",
        "team/app:stable",
        "team/deep/er/tool:v2",
        "legacy/app:7",
        "odd/zero:1",
        "odd/none:1",
        "multi/app:1",
        "multi/app:nested",
        "legacy/multi:1",
        "charts/app:1.0.0",
    ]
    .map(ToOwned::to_owned)
    .into()
}

fn whole_road(source: Kind, target: Kind) {
    let Some(site) = Site::with(source, target) else { return };
    let names = every_shape(&site);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    site.images(&names);
    site.create("media", &[]).ok();
    site.verify(&site.path("media")).ok();
    site.import("media", &[]).ok();
    site.same(&names);

    let first = site.source.manifest("team/app", "1.0").unwrap();
    let stem = format!("sha256-{}", format_spec::Digest::of(&first).hex());
    site.same(&[&format!("team/app:{stem}.sig"), &format!("team/app:{stem}.att")]);
    // The referrer, behind the API or the fallback tag.
    let by_tag = site.source.manifest("team/app", &stem).unwrap();
    let list: serde_json::Value = serde_json::from_slice(&by_tag).unwrap();
    let referrer = list["manifests"][0]["digest"].as_str().unwrap();
    assert_eq!(site.source.pull("team/app", referrer), site.target.pull("team/app", referrer));
    if target == Kind::Distribution {
        assert!(site.target.manifest("team/app", &stem).is_some(), "the fallback tag of referrers");
    }
}

#[test]
fn every_digest_arrives_from_ours_to_ours() {
    whole_road(Kind::Embedded, Kind::Embedded);
}

#[test]
fn every_digest_arrives_from_distribution_to_distribution() {
    whole_road(Kind::Distribution, Kind::Distribution);
}

#[test]
fn every_digest_arrives_from_distribution_to_ours() {
    whole_road(Kind::Distribution, Kind::Embedded);
}

#[test]
fn every_digest_arrives_from_ours_to_distribution() {
    whole_road(Kind::Embedded, Kind::Distribution);
}

#[test]
fn an_increment_carries_only_what_is_new() {
    let site = Site::new();
    let (base, one, two) = (noise(1, 400_000), noise(2, 5_000), noise(3, 6_000));
    site.source.image("team/app", "1", &[&base, &one]);
    site.images(&["team/app:1"]);
    site.create("media-1", &[]).ok();
    site.import("media-1", &[]).ok();

    site.source.image("team/app", "2", &[&base, &two]);
    site.images(&["team/app:1", "team/app:2"]);
    site.create("media-2", &[]).ok();
    let head = site.head("media-2", 2);
    assert_eq!(head["kind"], "incremental");
    assert_eq!(head["previous"]["sequence"], 1);
    let carried = head["totals"]["bytes"].as_u64().unwrap();
    assert!(carried < 20_000, "{carried} bytes for a layer of 6000");
    let parts: u64 = files(&site.path("media-2"))
        .iter()
        .filter(|name| name.ends_with(".tar"))
        .map(|name| fs_err::metadata(site.path("media-2").join(name)).unwrap().len())
        .sum();
    assert!(parts < 40_000, "{parts}");
    site.import("media-2", &[]).ok();
    site.same(&["team/app:1", "team/app:2"]);

    // Nothing new: no sequence, no file, no failure.
    let unused = site.path("media-3");
    let run = site.create("media-3", &[]).ok();
    let _ = run.says(&format!("nothing was written to `{}`", text(&unused)));
    assert_eq!(files(&unused), Vec::<String>::new());
    // A moved tag is news although all of its content is known.
    site.source.image("team/app", "1", &[&base, &two]);
    site.create("media-3", &[]).ok();
    assert_eq!(site.head("media-3", 3)["totals"]["blobs"], 0);
    site.import("media-3", &[]).ok();
    site.same(&["team/app:1", "team/app:2"]);
}

#[test]
fn a_full_sequence_and_one_since_another_carry_what_they_say() {
    let site = Site::new();
    let base = noise(1, 100_000);
    site.source.image("team/app", "1", &[&base]);
    site.images(&["team/app:1"]);
    site.create("media", &[]).ok();
    for n in 2..4_u64 {
        site.source.image("team/app", &n.to_string(), &[&base, &noise(n, 30_000)]);
        site.images(&["team/app:1", "team/app:2", "team/app:3"][..usize::try_from(n).unwrap()]);
        site.create("media", &[]).ok();
    }
    site.source.image("team/app", "4", &[&base, b"four"]);
    site.images(&["team/app:1", "team/app:2", "team/app:3", "team/app:4"]);
    // Since 1: 2 and 3 are taken for lost.
    site.create("since", &["--since", "1"]).ok();
    let head = site.head("since", 4);
    let bytes = head["totals"]["bytes"].as_u64().unwrap();
    assert!((60_000..100_000).contains(&bytes), "{bytes}");
    assert_eq!(head["base"]["sequence"], 1);
    site.verify(&site.path("since")).ok().says("as sequence 4 after 1 or a later one");
    let (media, key) = (site.path("since"), site.key());
    site.bundle(&["describe", "--from", text(&media), "--trust", text(&key)])
        .ok()
        .says("since      sequence 1: for a target that stands there or later");
    // A target that stands at 1 takes it, one that has nothing does not.
    site.import("since", &[]).refused(&[68]);
    fs_err::create_dir(site.path("one")).unwrap();
    for file in files(&site.path("media")).iter().filter(|name| name.contains("seq1")) {
        fs_err::copy(site.path("media").join(file), site.path("one").join(file)).unwrap();
    }
    site.import("one", &[]).ok();
    site.import("since", &[]).ok();
    site.same(&["team/app:1", "team/app:2", "team/app:3", "team/app:4"]);
    site.create("full", &["--full"]).ok();
    let head = site.head("full", 5);
    assert_eq!(head["kind"], "full");
    assert_eq!(head["totals"]["required"], 0);
    // A full one needs nothing that came before.
    site.import("full", &[]).ok();
    site.same(&["team/app:1", "team/app:2", "team/app:3", "team/app:4"]);
}

#[test]
fn several_sequences_in_one_directory_are_applied_in_order() {
    let site = Site::new();
    for n in 1..4_u64 {
        site.source.image("team/app", &n.to_string(), &[&noise(n, 2_000)]);
        site.images(&["team/app:1", "team/app:2", "team/app:3"][..usize::try_from(n).unwrap()]);
        site.create("media", &[]).ok();
    }
    assert!(site.path("media").join("mirror_seq3.manifest.json").exists());
    site.import("media", &[]).ok();
    site.same(&["team/app:1", "team/app:2", "team/app:3"]);
    // Again: nothing to do.
    site.import("media", &[]).ok();
}

#[test]
fn a_dry_run_counts_what_an_import_then_does() {
    let site = Site::new();
    let base = noise(1, 50_000);
    site.source.image("team/app", "1", &[&base, b"one"]);
    site.images(&["team/app:1"]);
    site.create("media", &[]).ok();
    // A blob of sequence 1 in another repository, and then everything once more.
    site.source.image("team/tool", "1", &[&base, b"two"]);
    site.images(&["team/app:1", "team/tool:1"]);
    site.create("media", &[]).ok();
    site.create("media", &["--full"]).ok();
    let counts = |more: &[&str]| -> Vec<serde_json::Value> {
        let json = site.import("media", &[&["--output", "json"], more].concat()).ok().json();
        let of = |sequence: &serde_json::Value| {
            let names = ["sequence", "blobsPushed", "bytesPushed", "blobsMounted", "blobsPresent"];
            json!(names.map(|name| sequence[name].clone()))
        };
        json["sequences"].as_array().unwrap().iter().map(of).collect()
    };
    let planned = counts(&["--dry-run"]);
    assert_eq!(planned.len(), 3);
    assert_eq!(
        planned[2][1], 0,
        "sequence 3 carries nothing that the two before it do not: {planned:?}"
    );
    assert!(site.target.all_tags().is_empty());
    assert_eq!(planned, counts(&[]));
}

#[test]
fn the_page_of_a_first_sequence_has_the_way_of_the_key() {
    let site = Site::new();
    let page = |media: &str, n: u64| {
        let path = site.path(media).join(format!("mirror_seq{n}.TRANSFER.html"));
        fs_err::read_to_string(path).unwrap()
    };
    site.source.image("team/app", "1", &[b"one"]);
    site.images(&["team/app:1"]);
    site.create("media", &[]).ok();
    let first = page("media", 1);
    let (trust, import) = (first.find("bundle keys trust"), first.find("bundle import"));
    assert!(trust.is_some() && trust < import, "{first}");
    assert!(first.contains("default.pub.pem"), "{first}");
    site.source.image("team/app", "2", &[b"two"]);
    site.images(&["team/app:1", "team/app:2"]);
    site.create("media", &[]).ok();
    assert!(!page("media", 2).contains("keys trust"));
}

#[test]
fn importing_again_moves_nothing_and_puts_back_what_went_missing() {
    let site = Site::new();
    let layer = noise(1, 50_000);
    let image = site.source.image("team/app", "1", &[&layer]);
    site.images(&["team/app:1"]);
    site.create("media", &[]).ok();
    let new = site.import("media", &[]).ok().says("everything is at docker://");
    assert!(!new.stdout.contains("put back"), "{new}");
    let dry = site.import("media", &["--dry-run"]).ok();
    let dry = dry.says("nothing is to be done: what sequence 1 carries is at docker://");
    assert!(!dry.stdout.contains("--dry-run"), "{dry}");
    let again = site.import("media", &[]).ok().says("\nwhat sequence 1 carries is at docker://");
    assert!(!again.stdout.contains("everything"), "{again}");
    site.same(&["team/app:1"]);

    site.target.delete("team/app", "manifests", &image.digest.to_string());
    assert!(site.target.tags("team/app").is_empty());
    let dry = site.import("media", &["--dry-run"]).ok();
    dry.says("  1 tag to put back\n").says("without `--dry-run` puts it back");
    site.import("media", &[]).ok().says("  1 manifest put back\n  1 tag put back\n");
    site.same(&["team/app:1"]);

    // Of what was there already only the last one was looked at.
    site.source.image("team/app", "2", &[&layer, b"more"]);
    site.images(&["team/app:1", "team/app:2"]);
    site.create("media", &[]).ok();
    site.import("media", &[]).ok().says("\nwhat sequence 2 carries is at docker://");
}

#[test]
fn a_sequence_that_only_removes_names_has_no_parts() {
    let site = Site::new();
    site.source.image("team/app", "1", &[b"one"]);
    site.source.image("team/app", "2", &[b"two"]);
    site.images(&["team/app:1", "team/app:2"]);
    site.create("media-1", &[]).ok();
    site.images(&["team/app:2"]);
    site.create("media-2", &[]).ok();
    let run = site.verify(&site.path("media-2")).ok();
    let run =
        run.says("It needs no parts; its head and index are intact and signed by key sha256:");
    assert!(!run.stdout.contains("0 of 0"), "{run}");
}

#[test]
fn target_names_platforms_and_namespace() {
    let site = Site::new();
    let source = &site.source.registry;
    let amd = source.image_for("multi/app", None, "amd64", &[b"for amd64"]);
    let arm = source.image_for("multi/app", None, "arm64", &[b"for arm64"]);
    source.index("multi/app", Some("1"), &[(&amd, "amd64"), (&arm, "arm64")]);
    let host = &source.host;
    site.configure(&format!(
        "  additionalImages:\n    - name: {host}/multi/app:1\n      targetRepo: other/name\n      targetTag: best\n"
    ));
    site.create("media", &[]).ok();
    let into = format!("{}/site/a", site.target.host);
    site.import_into(&into, "media", &[]).ok();
    assert_eq!(site.target.pull("site/a/other/name", "best"), site.source.pull("multi/app", "1"));
}

#[test]
fn references_by_digest_and_by_both() {
    let site = Site::new();
    let one = site.source.image("team/app", "1", &[b"the first"]);
    let two = site.source.image("team/app", "2", &[b"the second"]);
    let host = &site.source.host;
    site.configure(&format!(
        "  additionalImages:\n    - name: {host}/team/app@{}\n    - name: {host}/team/app:2@{}\n",
        one.digest, two.digest
    ));
    site.create("media", &[]).ok();
    site.import("media", &[]).ok();
    assert_eq!(site.target.manifest("team/app", &one.tag_stem()).unwrap(), one.bytes);
    assert_eq!(site.target.manifest("team/app", "2").unwrap(), two.bytes);
}

#[test]
fn a_tag_that_moved_away_from_its_digest_is_carried_by_digest() {
    let site = Site::new();
    let pinned = site.source.image("team/app", "1", &[b"pinned"]);
    site.source.image("team/app", "1", &[b"moved"]);
    site.images(&[&format!("team/app:1@{}", pinned.digest)]);
    site.create("media", &[]).ok();
    site.import("media", &[]).ok();
    assert_eq!(site.target.manifest("team/app", "1").unwrap(), pinned.bytes);
}

#[test]
fn blocked_images_stay() {
    let site = Site::new();
    site.source.image("team/app", "1", &[b"wanted"]);
    site.source.image("team/secret", "1", &[b"blocked"]);
    let host = &site.source.host;
    site.configure(&format!(
        "  additionalImages:\n    - name: {host}/team/app:1\n    - name: {host}/team/secret:1\n  \
         blockedImages:\n    - name: {host}/team/secret\n"
    ));
    let run = site.create("media", &[]).ok();
    assert!(!run.stderr.contains("matches no image"), "{run}");
    site.import("media", &[]).ok();
    site.same(&["team/app:1"]);
    assert!(site.target.tags("team/secret").is_empty());
}

#[test]
fn a_pattern_that_blocks_nothing_is_told() {
    let site = Site::new();
    site.source.image("team/app", "1", &[b"wanted"]);
    let host = &site.source.host;
    site.configure(&format!(
        "  additionalImages:\n    - name: {host}/team/app:1\n  blockedImages:\n    - name: team/apb\n"
    ));
    let run = site.create("media", &["--output", "json"]).ok();
    let said = "imageset.yaml:7: the pattern `team/apb` of `blockedImages` matches no image";
    assert!(run.stderr.contains(said), "{run}");
    assert!(run.json()["warnings"][0].as_str().unwrap().contains(said), "{run}");

    // What the configuration itself is warned about is in the answer too, once on each way.
    let twice = format!("    - name: {host}/team/app:1\n").repeat(2);
    site.configure(&format!("  additionalImages:\n{twice}"));
    for outcome in [&["--dry-run"][..], &[]] {
        let run = site.create("media", &[&["--full", "--output", "json"], outcome].concat()).ok();
        let said = "remove one of them";
        assert_eq!(run.stderr.matches(said).count(), 1, "{run}");
        let warnings = run.json()["warnings"].clone();
        assert!(warnings.as_array().is_some_and(|all| all.len() == 1), "{run}");
        assert!(warnings[0].as_str().unwrap().contains(said), "{run}");
    }
}

#[test]
fn nothing_to_carry_says_why() {
    let site = Site::new();
    site.configure("  additionalImages: []\n");
    site.create("media", &[]).ok().says("nothing to carry: the configuration names no image");
    let mut list = String::from("  additionalImages:\n");
    for name in ["team/app:1", "team/tool:1"] {
        list += &format!("    - name: {}/{name}\n", site.source.host);
    }
    site.configure(&format!("{list}  blockedImages:\n    - name: /team/\n"));
    let said = site.create("media", &[]).ok().says("nothing to carry: all 2 images are blocked");
    let _ = said.says("/team/tool:1  by `/team/`");
    let json = site.create("media", &["--output", "json"]).ok().json();
    assert_eq!((&json["outcome"], &json["images"]), (&"nothing".into(), &0.into()));
    assert_eq!(json["blocked"].as_array().unwrap().len(), 2);
    assert!(!site.path("media").exists());
}

#[test]
fn signatures_can_be_left() {
    let site = Site::new();
    let image = site.source.image("team/app", "1", &[b"signed"]);
    let sig = format!("{}.sig", image.tag_stem());
    site.source.artifact("team/app", Some(&sig), "application/x.sig", b"sig", None);
    site.images(&["team/app:1"]);
    site.create("media", &["--remove-signatures"]).ok();
    site.import("media", &[]).ok();
    assert_eq!(site.target.tags("team/app"), ["1"]);
}

#[test]
fn a_signature_that_comes_later_comes_with_the_next_sequence() {
    let site = Site::new();
    let image = site.source.image("team/app", "1", &[b"signed later"]);
    site.images(&["team/app:1"]);
    site.create("media-1", &[]).ok();
    site.import("media-1", &[]).ok();
    let sig = format!("{}.sig", image.tag_stem());
    site.source.artifact("team/app", Some(&sig), "application/x.sig", b"sig", None);
    site.create("media-2", &[]).ok();
    site.import("media-2", &[]).ok();
    site.same(&["team/app:1", &format!("team/app:{sig}")]);
}

#[test]
fn an_oci_layout_is_a_source() {
    let site = Site::new();
    let layout = site.path("layout");
    let blobs = layout.join("blobs/sha256");
    fs_err::create_dir_all(&blobs).unwrap();
    let put = |bytes: &[u8]| {
        let digest = format_spec::Digest::of(bytes);
        fs_write(&blobs.join(digest.hex()), bytes);
        digest.to_string()
    };
    let (layer, config) = (noise(9, 5_000), br#"{"architecture":"amd64","os":"linux"}"#);
    let manifest = serde_json::to_vec(&json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST,
        "config": {"mediaType": OCI_CONFIG, "digest": put(config), "size": config.len()},
        "layers": [{"mediaType": OCI_LAYER, "digest": put(&layer), "size": layer.len()}]}))
    .unwrap();
    let digest = put(&manifest);
    let index = json!({"schemaVersion": 2, "manifests": [
        {"mediaType": OCI_MANIFEST, "digest": digest, "size": manifest.len()}]});
    fs_write(&layout.join("index.json"), &serde_json::to_vec(&index).unwrap());
    fs_write(&layout.join("oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#);
    site.configure(&format!(
        "  additionalImages:\n    - name: oci://{}\n      targetRepo: from/layout\n      targetTag: one\n",
        text(&layout)
    ));
    site.create("media", &[]).ok();
    site.import("media", &[]).ok();
    assert_eq!(site.target.manifest("from/layout", "one").unwrap(), manifest);
    site.target.pull("from/layout", "one");
}

#[test]
fn one_image_of_a_layout_is_chosen_by_name_or_digest() {
    let site = Site::new();
    // A directory with a colon in its name, beside one with the name before it.
    let layout = site.path("images:all");
    fs_err::create_dir(site.path("images")).unwrap();
    let blobs = layout.join("blobs/sha256");
    fs_err::create_dir_all(&blobs).unwrap();
    let put = |bytes: &[u8]| {
        let digest = format_spec::Digest::of(bytes);
        fs_write(&blobs.join(digest.hex()), bytes);
        digest
    };
    let config = br#"{"architecture":"amd64","os":"linux"}"#;
    let (layers, mut entries) = ([noise(1, 3_000), noise(2, 4_000)], Vec::new());
    for (name, layer) in ["1.0", "2.0"].iter().zip(&layers) {
        let manifest = serde_json::to_vec(&json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST,
            "config": {"mediaType": OCI_CONFIG, "digest": put(config).to_string(), "size": config.len()},
            "layers": [{"mediaType": OCI_LAYER, "digest": put(layer).to_string(), "size": layer.len()}]}))
        .unwrap();
        entries.push(json!({"mediaType": OCI_MANIFEST, "digest": put(&manifest).to_string(),
            "size": manifest.len(), "annotations": {"org.opencontainers.image.ref.name": name}}));
    }
    let index = json!({"schemaVersion": 2, "manifests": entries});
    fs_write(&layout.join("index.json"), &serde_json::to_vec(&index).unwrap());
    fs_write(&layout.join("oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#);
    let digest = |n: usize| entries[n]["digest"].as_str().unwrap();
    let configure = |names: &[&str]| {
        let list: String =
            names.iter().map(|n| format!("    - name: {n}\n      targetRepo: app\n")).collect();
        site.configure(&format!("  additionalImages:\n{list}"));
    };

    configure(&["oci://images:all"]);
    site.create("media", &[]).refused(&[8]).says("`1.0`, `2.0`");
    configure(&["oci:images:all:3.0"]);
    site.create("media", &[]).refused(&[8]).says("no image named `3.0`; it has `1.0`, `2.0`");

    configure(&["oci:images:all:1.0", &format!("oci://images:all@{}", digest(1))]);
    site.create("media", &[]).ok();
    site.import("media", &[]).ok();
    let by_digest = digest(1).replace(':', "-");
    assert_eq!(site.target.tags("app"), ["1.0", &by_digest]);
    assert_eq!(site.target.pull("app", "1.0")[0], digest(0));
    assert_eq!(site.target.pull("app", &by_digest)[0], digest(1));

    // A file that was cut is named before it is read.
    let cut = format_spec::Digest::of(&layers[1]);
    fs_write(&blobs.join(cut.hex()), &layers[1][..1_000]);
    configure(&["oci:images:all:2.0"]);
    let said = site.create("cut", &["--full"]).refused(&[8]);
    let said = said.says("the file has 1000 bytes, its manifest says 4000");
    let _ = said.says(&cut.hex());
}

#[test]
fn long_paths_are_joined_where_the_target_wants_few() {
    let site = Site::new();
    site.source.image("team/sub/unit/app", "1", &[b"deep"]);
    site.images(&["team/sub/unit/app:1"]);
    site.create("media", &["--max-nested-paths", "2"]).ok();
    site.import("media", &[]).ok();
    assert_eq!(
        site.target.pull("team/sub-unit-app", "1"),
        site.source.pull("team/sub/unit/app", "1")
    );
}

#[test]
fn two_sources_of_one_name_are_refused_before_anything_is_written() {
    let site = Site::new();
    let other = Server::embedded(&site.path("other"));
    site.source.image("team/app", "1", &[b"from here"]);
    other.image("team/app", "1", &[b"from there"]);
    site.configure(&format!(
        "  additionalImages:\n    - name: {}/team/app:1\n    - name: {}/team/app:1\n",
        site.source.host, other.host
    ));
    site.create("media", &[]).refused(&[64]).says(&site.source.host).says(&other.host);
    assert!(files(&site.path("media")).is_empty());
}

#[test]
fn what_cannot_be_had_is_recorded_and_the_rest_is_carried() {
    let site = Site::new();
    site.source.image("team/app", "1", &[b"here"]);
    site.images(&["team/app:1", "team/gone:1", "team/app:gone"]);
    site.create("media", &[]).code(8).says("team/gone:1").says("team/app:gone");
    let failures = site.head("media", 1)["failures"].clone();
    let failures: Vec<&str> =
        failures.as_array().unwrap().iter().map(|f| f["reference"].as_str().unwrap()).collect();
    assert_eq!(failures.len(), 2, "{failures:?}");
    site.import("media", &[]).ok();
    site.same(&["team/app:1"]);

    site.create("strict", &["--strict", "--full"]).one_of(&[8]);
    assert!(files(&site.path("strict")).is_empty());
}

#[test]
fn a_dry_run_plans_and_writes_no_part() {
    let site = Site::new();
    site.source.image("team/app", "1", &[&noise(1, 10_000)]);
    site.images(&["team/app:1"]);
    let run = site.create("media", &["--dry-run"]).ok().says("team/app");
    assert!(files(&site.path("media")).iter().all(|name| !name.starts_with("mirror_seq")), "{run}");
    let found = sh_find(&site.path(""), "mapping.txt");
    assert_eq!(found.len(), 1, "{found:?}");
    let mapping = fs_err::read_to_string(&found[0]).unwrap();
    let host = &site.source.host;
    assert!(mapping.contains(&format!("docker://{host}/team/app")), "{mapping}");
    // The plan changes nothing: the first sequence is still the first.
    site.create("media", &[]).ok();
    assert_eq!(site.head("media", 1)["sequence"], 1);
    // And at the other end.
    site.import("media", &["--dry-run"]).ok();
    assert!(site.target.all_tags().is_empty());
}

fn sh_find(dir: &std::path::Path, name: &str) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs_err::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sh_find(&path, name));
        } else if path.file_name().is_some_and(|file| file == name) {
            found.push(path);
        }
    }
    found
}

#[test]
fn no_file_is_over_the_limit() {
    let site = Site::new();
    let large = noise(1, 3_500_000);
    site.source.image("team/app", "1", &[&large, &noise(2, 900_000), &noise(3, 200_000), b"small"]);
    site.images(&["team/app:1"]);
    site.create("media", &["--size", "1MiB"]).ok();
    let parts: Vec<String> =
        files(&site.path("media")).into_iter().filter(|name| name.ends_with(".tar")).collect();
    assert!(parts.len() >= 5, "{parts:?}");
    for name in files(&site.path("media")) {
        let bytes = fs_err::metadata(site.path("media").join(&name)).unwrap().len();
        assert!(bytes <= 1 << 20, "{name}: {bytes}");
    }
    site.import("media", &[]).ok();
    site.same(&["team/app:1"]);

    // The parts over two directories, in any order and with strangers beside them.
    let site_b = site.path("b");
    let site_a = site.path("a");
    copy_files(&site.path("media"), &site_a);
    fs_err::create_dir_all(&site_b).unwrap();
    for name in parts.iter().step_by(2) {
        fs_err::rename(site_a.join(name), site_b.join(name)).unwrap();
    }
    fs_write(&site_b.join("holiday.jpg"), b"not ours");
    let second = Server::embedded(&site.path("second"));
    let host = format!("docker://{}", second.host);
    site.bundle(&[
        "import",
        "--from",
        text(&site_b),
        "--from",
        text(&site_a),
        "--trust",
        text(&site.key()),
        "--workspace",
        text(&site.path("disconnected-2")),
        &host,
    ])
    .ok();
    assert_eq!(second.pull("team/app", "1"), site.source.pull("team/app", "1"));
}

#[test]
fn a_fresh_copy_of_a_damaged_part_may_lie_in_another_directory() {
    let site = Site::new();
    site.source.image("team/app", "1", &[&noise(3, 3 << 20)]);
    site.images(&["team/app:1"]);
    site.create("media", &["--size", "2MiB"]).ok();
    let name = "mirror_seq1_000001.tar";
    let (fresh, media) = (site.path("fresh"), site.path("media"));
    fs_err::create_dir(&fresh).unwrap();
    fs_err::copy(media.join(name), fresh.join(name)).unwrap();
    let mut bytes = fs_err::read(media.join(name)).unwrap();
    // In its cells, then in their table.
    for at in [700_000, 520] {
        bytes[at] ^= 1;
        fs_write(&media.join(name), &bytes);
        site.verify(&media).refused(&[65]);
        for (first, second) in [(&media, &fresh), (&fresh, &media)] {
            let from = ["--from", text(first), "--from", text(second)];
            let key = site.key();
            let trust = ["--trust", text(&key)];
            site.bundle(&[&["verify"], &from[..], &trust].concat()).ok();
            let data = tempfile::tempdir().unwrap();
            let target = Server::embedded(data.path());
            let workspace = tempfile::tempdir().unwrap();
            let to = ["--workspace", text(workspace.path()), &format!("docker://{}", target.host)];
            site.bundle(&[&["import"], &from[..], &trust, &to].concat()).ok();
            assert_eq!(target.pull("team/app", "1"), site.source.pull("team/app", "1"));
        }
    }
}

#[test]
fn media_presets_are_known() {
    let site = Site::new();
    site.source.image("team/app", "1", &[b"x"]);
    site.images(&["team/app:1"]);
    for preset in ["fat32", "iso", "dvd", "bd", "clamav"] {
        site.create("media", &["--media", preset, "--dry-run"]).ok();
    }
    site.create("media", &["--media", "floppy"]).code(64).says("error:");
    site.create("media", &["--size", "1KiB"]).code(64);
}

#[test]
fn the_medium_is_never_changed() {
    let site = Site::new();
    site.source.image("team/app", "1", &[&noise(1, 60_000)]);
    site.images(&["team/app:1"]);
    site.create("media", &[]).ok();
    let before = snapshot(&site.path("media"));
    site.verify(&site.path("media")).ok();
    site.import("media", &["--dry-run"]).ok();
    site.import("media", &[]).ok();
    assert!(before == snapshot(&site.path("media")), "the import changed the medium");

    // From a file system that refuses every write.
    let mounted = site.path("mounted");
    if !is_root() {
        skip("no right to mount: import from a read-only file system is not tried");
        return;
    }
    let Some(disk) = support::Tmpfs::mount(&mounted, 8 << 20) else { return };
    copy_files(&site.path("media"), &mounted);
    disk.remount("ro");
    let second = Server::embedded(&site.path("second"));
    site.import_into(&second.host, "mounted", &[]).ok();
    assert_eq!(second.pull("team/app", "1"), site.source.pull("team/app", "1"));
}

#[test]
fn without_a_target_the_embedded_store_is_filled() {
    let site = Site::new();
    site.source.image("team/app", "1", &[&noise(1, 60_000)]);
    site.images(&["team/app:1"]);
    site.create("media", &[]).ok();
    let workspace = site.path("disconnected");
    site.bundle(&[
        "import",
        "--from",
        text(&site.path("media")),
        "--trust",
        text(&site.key()),
        "--workspace",
        text(&workspace),
    ])
    .ok()
    .says("bundle registry install");
    let served = Server::embedded(&workspace.join("registry"));
    assert_eq!(served.pull("team/app", "1"), site.source.pull("team/app", "1"));
}

#[test]
fn keys_are_trusted_by_name_and_json_is_json() {
    let site = Site::new();
    site.source.image("team/app", "1", &[b"x"]);
    site.images(&["team/app:1"]);
    let created = site.create("media", &["--output", "json"]).ok().json();
    assert!(created.to_string().contains("\"sequence\""), "{created}");
    let media = site.path("media");
    let workspace = site.path("disconnected");
    let target = format!("docker://{}", site.target.host);
    let import = [
        "import",
        "--from",
        text(&media),
        "--workspace",
        text(&workspace),
        "--output",
        "json",
        &target,
    ];
    site.bundle(&import).code(67);
    site.bundle(&["keys", "trust", text(&site.key()), "--workspace", text(&workspace)]).ok();
    site.bundle(&import).ok().json();
    for command in ["verify", "describe"] {
        let arguments =
            [command, "--from", text(&media), "--workspace", text(&workspace), "--output", "json"];
        site.bundle(&arguments).ok().json();
    }
    site.same(&["team/app:1"]);
}

#[test]
fn two_media_can_be_compared() {
    let site = Site::new();
    site.source.image("team/app", "1", &[b"one"]);
    site.images(&["team/app:1"]);
    site.create("media-1", &[]).ok();
    site.source.image("team/new", "1", &[b"two"]);
    site.images(&["team/app:1", "team/new:1"]);
    site.create("media-2", &[]).ok();
    let (one, two) = (site.path("media-1"), site.path("media-2"));
    site.bundle(&["describe", "--from", text(&one)]).ok().says("team/app");
    site.bundle(&["diff", text(&one), text(&two)]).ok().says("team/new");

    // Over a gap: nobody can know what the media in between said.
    for n in ["3", "4", "5"] {
        site.source.image("team/app", "1", &[n.as_bytes()]);
        site.create(&format!("media-{n}"), &[]).ok();
    }
    let (three, five) = (site.path("media-3"), site.path("media-5"));
    let over = site.bundle(&["diff", text(&one), text(&five)]).ok();
    let over =
        over.says("sequences 2 to 4 are not at hand: what they changed or removed is not shown");
    assert!(!over.stdout.contains("as before") && !over.stdout.contains("team/new"), "{over}");
    let told = ["--output", "json", "diff", text(&five), text(&three)];
    let told = site.bundle(&told).ok().says("the first one is the newer").json();
    assert_eq!(told["absent"], json!([{"first": 4, "last": 4}]));
    assert!(told["unchanged"].is_null() && told["incomplete"] == true, "{told}");
    // One that carries all since 1 closes it.
    site.create("since", &["--since", "1"]).ok();
    let closed = site.bundle(&["diff", text(&one), text(&site.path("since"))]).ok();
    let closed = closed.says("1 added, 1 changed, 0 removed, 0 as before");
    assert!(!closed.stdout.contains("not at hand"), "{closed}");
}

/// An index of two platforms in `multi/app:1`, configured for one of them.
fn one_platform_of_two(site: &Site) {
    let source = &site.source.registry;
    let amd = source.image_for("multi/app", None, "amd64", &[b"for amd64"]);
    let arm = source.image_for("multi/app", None, "arm64", &[b"for arm64"]);
    source.index("multi/app", Some("1"), &[(&amd, "amd64"), (&arm, "arm64")]);
    site.configure(&format!(
        "  additionalImages:\n    - name: {}/multi/app:1\n      platforms:\n        - os: linux\n          \
         architecture: arm64\n",
        source.host
    ));
    let run = site.create("media", &[]).ok();
    assert!(run.stderr.contains("leaves children of its index out"), "{run}");
    assert_eq!(site.head("media", 1)["totals"]["blobs"], 2, "one config and one layer");
}

#[test]
fn one_platform_travels_and_the_index_keeps_its_digest() {
    let site = Site::new();
    one_platform_of_two(&site);
    site.import("media", &[]).ok();
    let index = site.source.manifest("multi/app", "1").unwrap();
    assert_eq!(site.target.manifest("multi/app", "1").unwrap(), index);
    let list: serde_json::Value = serde_json::from_slice(&index).unwrap();
    let [amd, arm] = [0, 1].map(|n| list["manifests"][n]["digest"].as_str().unwrap().to_owned());
    site.target.pull("multi/app", &arm);
    assert!(site.target.manifest("multi/app", &amd).is_none());
}

#[test]
fn a_target_that_refuses_an_index_with_gaps_is_named_with_its_reason() {
    let Some(site) = Site::with(Kind::Embedded, Kind::Distribution) else { return };
    one_platform_of_two(&site);
    // CNCF distribution 2 takes no index whose children it does not have.
    let run = site.import("media", &[]);
    let run = run.refused(&[1]);
    assert!(run.stderr.contains("multi/app"), "{run}");
    assert!(run.stderr.contains("bundle create --full"), "{run}");
    assert!(site.target.tags("multi/app").is_empty());
    site.images(&["multi/app:1"]);
    site.create("again", &["--full"]).ok();
    site.import("again", &[]).ok();
    site.same(&["multi/app:1"]);
}

/// A child that is carried for another repository is not in this one.
#[test]
fn a_gap_is_one_of_its_repository() {
    let Some(site) = Site::with(Kind::Embedded, Kind::Distribution) else { return };
    one_platform_of_two(&site);
    let source = &site.source.registry;
    source.image_for("alone", Some("1"), "amd64", &[b"for amd64"]);
    let host = &source.host;
    site.configure(&format!(
        "  additionalImages:\n    - name: {host}/alone:1\n    - name: {host}/multi/app:1\n      platforms:\n        - os: linux\n          \
         architecture: arm64\n",
    ));
    site.create("both", &["--full"]).ok();
    let run = site.import("both", &[]).refused(&[1]);
    run.says("multi/app").says("bundle create --full");
    assert!(site.target.all_tags().is_empty());
}

#[test]
fn the_question_about_gaps_leaves_what_is_there() {
    let site = Site::new();
    one_platform_of_two(&site);
    let index = site.source.manifest("multi/app", "1").unwrap();
    let index: serde_json::Value = serde_json::from_slice(&index).unwrap();
    // The very document that the target is asked with: here somebody's own.
    let left_out: Vec<_> = index["manifests"].as_array().unwrap().iter().take(1).collect();
    let document = serde_json::json!({"schemaVersion": 2, "mediaType": index["mediaType"], "manifests": left_out});
    let media_type = support::image::OCI_INDEX;
    site.target.document("multi/app", Some("precious"), media_type, &document);
    site.import("media", &[]).ok();
    assert_eq!(site.target.tags("multi/app"), ["1", "precious"]);
    assert!(site.target.manifest("multi/app", "precious").is_some());
}

#[test]
fn a_proxy_is_the_way_to_manifests_and_blobs_alike() {
    let site = Site::new();
    let layers = [noise(70, 300_000), noise(71, 100)];
    site.source.registry.image("team/app", "1.0", &[&layers[0], &layers[1]]);
    let proxy = Proxy::start(&site.source.host);
    // A name that only the proxy knows.
    site.images_at("images.invalid:5000", &["team/app:1.0"]);
    let arguments = site.create_arguments("media");
    let create = |proxied: Option<&str>| {
        let mut command = site.command(&[]);
        command.args(&arguments).args([
            "--plain-http",
            "images.invalid:5000",
            "--retry-times",
            "0",
        ]);
        if let Some(url) = proxied {
            command.env("http_proxy", url);
        }
        Run::of(&mut command)
    };
    create(None).code(75).says("images.invalid");
    create(Some(&proxy.url)).ok();
    let blobs = proxy.seen();
    let blobs = blobs
        .iter()
        .filter(|line| line.starts_with("GET http://images.invalid:5000/v2/team/app/blobs/"));
    assert_eq!(blobs.count(), 3, "{:?}", proxy.seen());
    site.import("media", &[]).ok();
    let digest = format_spec::Digest::of(&layers[0]).to_string();
    assert!(site.target.registry.blob("team/app", &digest).as_ref() == Some(&layers[0]));
}

#[test]
fn an_import_needs_no_network() {
    let site = Site::new();
    site.source.image("team/app", "1", &[&noise(1, 60_000)]);
    site.images(&["team/app:1"]);
    site.create("media", &[]).ok();
    let (Some(unshare), Some(_)) = (support::tool("unshare"), support::tool("ip")) else { return };
    if !is_root() {
        skip("no right to take the network away: an import without one is not tried");
        return;
    }
    let workspace = site.path("disconnected");
    // Loopback only: the embedded registry is spoken to.
    let script = r#"ip link set lo up; exec "$@""#;
    let mut command = std::process::Command::new(unshare);
    command.args(["-n", "--", "sh", "-euc", script, "sh", env!("CARGO_BIN_EXE_bundle"), "import"]);
    command.arg("--from").arg(site.path("media")).arg("--trust").arg(site.key());
    command.arg("--workspace").arg(&workspace).current_dir(site.path(""));
    support::command::Run::of(&mut command).ok();
    let served = Server::embedded(&workspace.join("registry"));
    assert_eq!(served.pull("team/app", "1"), site.source.pull("team/app", "1"));
}

#[test]
fn the_history_may_stand_in_a_registry() {
    let site = Site::new();
    let base = noise(1, 100_000);
    site.source.image("team/app", "1", &[&base]);
    let configure = |names: &[&str]| site.images_with_history(names);
    configure(&["team/app:1"]);
    site.create("media-1", &[]).ok();
    // The machine is gone; the key and the registry are left.
    let key = site.path("kept.pem");
    fs_err::copy(site.path("connected/keys/default.pem"), &key).unwrap();
    let public = site.path("kept.pub.pem");
    fs_err::copy(site.key(), &public).unwrap();
    fs_err::remove_dir_all(site.path("connected")).unwrap();
    site.source.image("team/app", "2", &[&base, b"new"]);
    configure(&["team/app:1", "team/app:2"]);
    site.create("media-2", &["--key", text(&key)]).ok();
    assert_eq!(site.head("media-2", 2)["kind"], "incremental");
    let target = format!("docker://{}", site.target.host);
    for media in ["media-1", "media-2"] {
        let arguments = [
            "import",
            "--from",
            media,
            "--trust",
            "kept.pub.pem",
            "--workspace",
            "disconnected",
            &target,
        ];
        site.bundle(&arguments).ok();
    }
    site.same(&["team/app:1", "team/app:2"]);
}

#[test]
fn a_lost_medium_is_made_good() {
    let site = Site::new();
    let names = ["team/app:1", "team/app:2", "team/app:3", "team/app:4"];
    let base = noise(1, 100_000);
    let step = |n: u64, media: &str, more: &[&str]| {
        site.source.image("team/app", &n.to_string(), &[&base, &noise(10 + n, 20_000)]);
        site.images(&names[..usize::try_from(n).unwrap()]);
        site.create(media, more).ok();
    };
    step(1, "media-1", &[]);
    site.import("media-1", &[]).ok();
    step(2, "lost", &[]);
    step(3, "media-3", &[]);
    site.import("media-3", &[]).refused(&[68]).says("--since 1");
    // One that stands on what did arrive, without the base that is there.
    step(4, "media-4", &["--since", "1"]);
    assert!(site.head("media-4", 4)["totals"]["bytes"].as_u64().unwrap() < 90_000);
    site.import("media-4", &[]).ok();
    site.same(&names);
}
