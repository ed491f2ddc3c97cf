//! Releases through the binary: a payload as real ones are, signed with a test's own key, from the source over media to the
//! target; what comes next, and what clusters are told.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use format_spec::Digest;
use fs_err as fs;
use serde_json::{Value, json};
use support::command::Run;
use support::image::Pushed;
use support::openshift::schemas;
use support::releases::{
    COMPONENTS, Multi, RELEASES, Releases, graph, gzip, listening, names, resources, tar,
};
use support::server::fs_write;
use support::text;

#[test]
fn a_release_comes_to_the_target_and_the_next_one_brings_only_what_is_new() {
    let Some(releases) = Releases::new() else { return };
    let mut names = names();
    // A component that has the image of another one: copied once, named twice.
    let double = names.last().unwrap().clone();
    names.pop();
    let mut components = releases.components(&names, "4.10.0");
    components.push((double, components[0].1));
    let first = releases.release("4.10.0", &components);
    releases.configure(&first, "");
    let run = releases.create("media", &["--output", "json"]).ok();
    let answer = run.json();
    let images = components.len() as u64 + 1;
    assert_eq!(answer["releases"][0]["tag"], "4.10.0-x86_64");
    assert_eq!(answer["releases"][0]["signed"], true);
    assert_eq!(answer["releases"][0]["images"], images);
    assert_eq!(answer["totals"]["references"], images);
    // One manifest for each image, and one image stands twice.
    assert_eq!(answer["totals"]["manifests"], images - 1);

    let index = releases.index("media", 1);
    let stated = resources(&index);
    let hex = first.digest.hex();
    let signature = format!("release-signature/sha256-{hex}-1");
    assert_eq!(stated.keys().collect::<Vec<_>>(), [&signature, "release/4.10.0-x86_64"]);
    let file = releases.site.path(&format!("store/sha256={hex}/signature-1"));
    assert_eq!(stated[&signature], fs::read(file).unwrap());
    let told: Value = serde_json::from_slice(&stated["release/4.10.0-x86_64"]).unwrap();
    let source = format!("{}/{RELEASES}@{}", releases.site.source.host, first.digest);
    let expected = json!({"version": "4.10.0", "architecture": "amd64",
        "digest": first.digest.to_string(), "source": source,
        "repository": "openshift/release-images", "tag": "4.10.0-x86_64", "channels": [],
        "signed": true});
    assert_eq!(told, expected);
    assert!(
        index.references.iter().all(|one| one.class == format_spec::head::ContentClass::Release)
    );
    assert!(releases.site.head("media", 1)["labels"].get("unsigned-releases").is_none());

    releases.site.import("media", &[]).ok();
    releases.stands(&first, "4.10.0-x86_64", &components);
    releases.create("media", &[]).ok().says("nothing new");

    // The next z-stream: a few components are others.
    let mut next = components.clone();
    let changed: Vec<String> = names[..3].to_vec();
    let fresh = releases.components(&changed, "4.10.1");
    next.splice(..3, fresh);
    let second = releases.release("4.10.1", &next);
    let graph = graph(&releases, &[("4.10.0", &first), ("4.10.1", &second)]);
    releases.site.configure(
        "  platform:\n    channels:\n    - name: stable-4.10\n      minVersion: 4.10.0\n      \
         maxVersion: 4.10.1\n",
    );
    let (keys, store) = (releases.site.path("keys.pgp"), releases.site.path("store"));
    let mut command = releases.site.command(&[]);
    command.env("UPDATE_URL_OVERRIDE", &graph).env("OCP_SIGNATURE_VERIFICATION_PK", &keys);
    command.env("OCP_SIGNATURE_URL", format!("file://{}", store.display()));
    command.args(releases.site.create_arguments("media")).args(["--output", "json"]);
    let answer = Run::of(&mut command).ok().json();
    assert_eq!(answer["sequence"], 2);
    assert_eq!(answer["releases"].as_array().unwrap().len(), 2);
    // The release image and three components; the names of the others are new, their content is not.
    let index = releases.index("media", 2);
    let blobs: BTreeSet<_> = index.blobs.iter().map(|blob| blob.digest).collect();
    assert!(index.blobs.len() <= 4 + 3 + 1, "{} blobs", blobs.len());
    assert_eq!(answer["totals"]["references"], images);
    let stated = resources(&index);
    assert_eq!(stated.len(), 4);
    let told: Value = serde_json::from_slice(&stated["release/4.10.1-x86_64"]).unwrap();
    assert_eq!(told["channels"], json!(["stable-4.10"]));
    releases.site.import("media", &[]).ok();
    releases.stands(&first, "4.10.0-x86_64", &components);
    releases.stands(&second, "4.10.1-x86_64", &next);
    let signatures = releases.site.path("disconnected/cluster-resources/signature-configmap.json");
    let signatures = fs::read_to_string(signatures).unwrap();
    for payload in [&first, &second] {
        let key = format!("sha256-{}-1", payload.digest.hex());
        assert!(signatures.contains(&key), "{signatures}");
    }

    // What was stated stands on while the signatures cannot be had, as its names do.
    fs::rename(&store, releases.site.path("away")).unwrap();
    // A store that is not there is a slip, told before anything is asked.
    let slip = releases.create("media", &["--strict"]).refused(&[64]);
    slip.says("cannot read the signatures of releases").says(text(&store)).says("URL|DIR|FILE");
    fs::create_dir(&store).unwrap();
    releases.site.source.image("team/app", "1", &[b"app"]);
    let host = &releases.site.source.host;
    releases.configure(&second, &format!("  additionalImages:\n  - name: {host}/team/app:1\n"));
    releases.create("media", &[]).code(2).says("it has no signature in");
    let index = releases.index("media", 3);
    assert_eq!((index.references.len(), index.removals.len()), (1, 0));
    assert_eq!(resources(&index), stated);
    releases.site.import("media", &[]).ok();
    releases.stands(&second, "4.10.1-x86_64", &next);

    // A medium that was lost is written again from the same sources.
    releases.create("again", &["--resend", "2"]).ok();
    for name in support::files(&releases.site.path("again")) {
        if name.starts_with("mirror_seq2") && !name.ends_with(".html") {
            let [one, other] =
                ["again", "media"].map(|dir| fs::read(releases.site.path(dir).join(&name)));
            assert!(one.unwrap() == other.unwrap(), "{name}");
        }
    }
}

#[test]
fn a_cluster_is_told_of_releases_signatures_and_the_graph_image() {
    let Some(releases) = Releases::new() else { return };
    let components = releases.components(&["cli".to_owned(), "etcd".to_owned()], "1");
    let payload = releases.release("4.14.38", &components);
    let site = &releases.site;
    let base = site.source.image_for("ubi9/ubi", Some("1"), "amd64", &[b"a shell"]);
    let channel = tar(&[("channels/stable-4.14.yaml", b"name: stable-4.14\n")]);
    fs_write(&site.path("graph-data.tar.gz"), &gzip(&channel));
    releases.configure(&payload, "    graph: true\n");
    let data = site.path("graph-data.tar.gz");
    let from = format!("{}/ubi9/ubi:1", site.source.host);
    let graph = ["--graph-data", text(&data), "--graph-base", &from];
    releases.create("media", &graph).ok();
    // The same data on the same base is the same image.
    releases.create("media", &graph).ok().says("nothing new");
    let workspace = site.path("disconnected");
    site.import("media", &[]).ok();

    let there = site.target.manifest("openshift/graph-image", "latest").unwrap();
    let image: Value = serde_json::from_slice(&there).unwrap();
    let below: Value = serde_json::from_slice(&base.bytes).unwrap();
    let layers = image["layers"].as_array().unwrap();
    assert_eq!((layers.len(), &layers[0]["digest"]), (2, &below["layers"][0]["digest"]));
    site.target.pull("openshift/graph-image", "latest");

    let read =
        |name: &str| fs::read_to_string(workspace.join("cluster-resources").join(name)).unwrap();
    let (host, source) = (&site.target.host, &site.source.host);
    let pair = |from: &str, to: &str| {
        format!("  - source: \"{source}/{from}\"\n    mirrors:\n    - \"{host}/{to}\"\n")
    };
    let both = pair(RELEASES, "openshift/release-images") + &pair(COMPONENTS, "openshift/release");
    let digests = read("idms-oc-mirror.yaml");
    assert!(
        digests.ends_with(&format!("  name: idms-release-0\nspec:\n  imageDigestMirrors:\n{both}")),
        "{digests}"
    );
    let tags = read("itms-oc-mirror.yaml");
    assert!(
        tags.ends_with(&format!(
            "  imageTagMirrors:\n{}",
            pair(RELEASES, "openshift/release-images")
        )),
        "{tags}"
    );
    let service = read("updateService.yaml");
    let expected = format!(
        "  replicas: 2\n  releases: \"{host}/openshift/release-images\"\n  graphDataImage: \"{host}/openshift/graph-image:latest\"\n"
    );
    assert!(service.ends_with(&expected), "{service}");
    let map: Value = serde_json::from_str(&read("signature-configmap.json")).unwrap();
    let key = format!("sha256-{}-1", payload.digest.hex());
    assert!(map["binaryData"][&key].is_string(), "{map}");
    assert!(
        read("install-config/imageDigestSources.yaml")
            .starts_with("imageDigestSources:\n- source: ")
    );

    schemas(&workspace.join("cluster-resources"));
    let target = format!("docker://{host}");
    let older = site.path("older");
    let icsp = [
        "resources",
        &target,
        "--workspace",
        text(&workspace),
        "--icsp",
        "--signatures-by-release",
        "--to",
        text(&older),
    ];
    site.bundle(&icsp).ok();
    schemas(&older);

    // The medium was lost: what was made here and what is at the base come together again.
    releases.create("again", &["--resend", "1"]).ok();
    for name in support::files(&site.path("media")).iter().filter(|name| !name.ends_with("html")) {
        let (old, new) = (site.path("media").join(name), site.path("again").join(name));
        assert_eq!(fs::read(old).unwrap(), fs::read(new).unwrap(), "{name}");
    }

    // A base that is not there leaves the image out, and the rest is carried; what stands is told on.
    let none = ["--graph-data", text(&data), "--graph-base", &format!("{source}/ubi9/none:1")];
    site.source.image("team/app", "1", &[b"app"]);
    releases.configure(
        &payload,
        &format!("    graph: true\n  additionalImages:\n  - name: {source}/team/app:1\n"),
    );
    releases.create("media2", &none).code(2).says("--graph-base REFERENCE");
    site.import("media2", &[]).ok();
    assert_eq!(read("updateService.yaml"), service);
    let odd = ["--graph-data", text(&site.path("imageset.yaml")), "--graph-base", &from]
        .map(ToOwned::to_owned);
    let odd: Vec<&str> = odd.iter().map(String::as_str).collect();
    releases.create("media3", &odd).code(2).says("not an archive");
}

#[test]
fn the_graph_image_alone_is_no_content() {
    let Some(releases) = Releases::new() else { return };
    let components = releases.components(&["cli".to_owned()], "1");
    let [first, next] = ["4.14.38", "4.14.39"].map(|name| releases.release(name, &components));
    let site = &releases.site;
    site.source.image_for("ubi9/ubi", Some("1"), "amd64", &[b"a shell"]);
    site.source.image("team/app", "1", &[b"app"]);
    let channel = tar(&[("channels/stable-4.14.yaml", b"name: stable-4.14\n")]);
    let data = site.path("graph-data.tar.gz");
    fs_write(&data, &gzip(&channel));
    let host = &site.source.host;
    let from = format!("{host}/ubi9/ubi:1");
    let graph = ["--graph-data", text(&data), "--graph-base", &from];
    let signature =
        |payload: &Pushed| site.path(&format!("store/sha256={}/signature-1", payload.digest.hex()));
    let kept = fs::read(signature(&first)).unwrap();
    for payload in [&first, &next] {
        fs::remove_file(signature(payload)).unwrap();
    }
    releases.configure(&first, "    graph: true\n");
    releases.create("media", &graph).refused(&[2]).says("no sequence was written");
    releases.create("media", &[&graph[..], &["--dry-run"]].concat()).refused(&[2]);
    assert!(!site.path("media/mirror_seq1.manifest.json").exists());

    // Beside other content it is left out.
    let app = format!("    graph: true\n  additionalImages:\n  - name: {host}/team/app:1\n");
    releases.configure(&first, &app);
    releases.create("media", &graph).code(2).says("the graph image is not carried");
    let index = releases.index("media", 1);
    assert_eq!((index.references.len(), index.resources.len()), (1, 0));

    // Once a release was carried it is renewed without another one.
    fs_write(&signature(&first), &kept);
    releases.create("media", &graph).ok();
    let channel = tar(&[("channels/stable-4.15.yaml", b"name: stable-4.15\n")]);
    fs_write(&data, &gzip(&channel));
    releases.configure(&next, &app);
    releases.create("media", &graph).code(2).says("sequence 3 carries the rest");
    assert_eq!(releases.index("media", 3).references.len(), 1);
    assert_eq!(resources(&releases.index("media", 3)).len(), 3);
}

#[test]
fn a_release_is_carried_whole_or_not_at_all() {
    let Some(releases) = Releases::new() else { return };
    let mut components = releases.components(&["a".to_owned(), "b".to_owned()], "1");
    components.push(("lost".to_owned(), Digest::of(b"nowhere")));
    let payload = releases.release("4.16.0", &components);
    releases.site.source.image("team/app", "1", &[b"app"]);
    let host = releases.site.source.host.clone();
    let app = format!("  additionalImages:\n  - name: {host}/team/app:1\n");
    releases.configure(&payload, &app);
    let run = releases.create("media", &[]).code(2);
    run.says("release 4.16.0-x86_64 is not carried: 1 of its 4 images could not be had");
    let index = releases.index("media", 1);
    assert_eq!(index.references.len(), 1);
    assert!(index.resources.is_empty());

    // Blocked on purpose is not missing.
    let blocked = format!("{app}  blockedImages:\n  - name: {}\n", Digest::of(b"nowhere"));
    releases.configure(&payload, &blocked);
    releases.create("media", &[]).ok();
    assert_eq!(resources(&releases.index("media", 2)).len(), 2);
    releases.site.import("media", &[]).ok();
    releases.stands(&payload, "4.16.0-x86_64", &components[..2]);
}

#[test]
fn of_a_payload_for_all_architectures_the_wanted_platforms_come_with_the_boot_image() {
    let Some(releases) = Releases::new() else { return };
    let target = &releases.site.target;
    let Multi { payload, component, boot } = Multi::of(&releases);
    let digest = payload.digest.to_string();
    releases.store(&payload, 1, &releases.key.sign(&digest, "q.io/r:4.16.0-multi"));
    let platforms = "    kubeVirtContainer: true\n    platforms:\n    - {os: linux, architecture: amd64}\n    \
                     - {os: linux, architecture: arm64}\n";
    releases.configure(&payload, platforms);
    // Two components deep, for registries that take no more.
    let run = releases.create("media", &["--max-nested-paths", "2", "--output", "json"]).ok();
    let answer = run.json();
    assert_eq!(answer["releases"][0]["tag"], "4.16.0-multi");
    let told = resources(&releases.index("media", 1))["release/4.16.0-multi"].clone();
    let told: Value = serde_json::from_slice(&told).unwrap();
    assert_eq!(told["architecture"], "multi");
    releases.site.import("media", &[]).ok();
    for (repo, tag, digest) in [
        ("openshift/release-images", "4.16.0-multi", payload.digest),
        ("openshift/release", "4.16.0-multi-etcd", component.digest),
        ("openshift/release", "4.16.0-multi-kube-virt-container", boot.digest),
    ] {
        assert_eq!(Digest::of(&target.manifest(repo, tag).unwrap()), digest, "{repo}:{tag}");
    }
    let list: Value = serde_json::from_slice(&component.bytes).unwrap();
    let there = |at: usize| {
        let child = list["manifests"][at]["digest"].as_str().unwrap();
        target.manifest("openshift/release", child).is_some()
    };
    assert_eq!([there(0), there(1), there(2)], [true, true, false]);
}

#[test]
fn each_manifest_of_a_large_release_is_fetched_once() {
    let Some(releases) = Releases::new() else { return };
    let names: Vec<String> = (0..190).map(|number| format!("component-{number}")).collect();
    let components = releases.components(&names, "4.16.0");
    let (host, all) = listening(&releases.site.source.host);
    // All of it through the relay.
    let references = String::from_utf8(releases.references("4.16.0", &components)).unwrap();
    let references = references.replace(&releases.site.source.host, &host);
    let payload = releases.payload(&[
        ("release-manifests/image-references", references.as_bytes()),
        (
            "release-manifests/release-metadata",
            br#"{"kind":"cincinnati-metadata-v0","version":"4.16.0"}"#,
        ),
    ]);
    let digest = payload.digest.to_string();
    releases.store(&payload, 1, &releases.key.sign(&digest, "q.io/r:4.16.0-x86_64"));
    releases.site.configure(&format!("  platform:\n    release: {host}/{RELEASES}@{digest}\n"));
    let begun = Instant::now();
    releases.create("media", &["--dry-run", "--remove-signatures"]).ok();
    eprintln!("190 components planned in {:?}", begun.elapsed());
    let begun = Instant::now();
    releases.create("media", &["--dry-run"]).ok();
    eprintln!("with all that may be attached to them in {:?}", begun.elapsed());

    let (mut asked, mut blobs) = (BTreeMap::new(), 0);
    for heard in all.lock().unwrap().iter() {
        let heard = String::from_utf8_lossy(&heard.lock().unwrap()).into_owned();
        for line in heard.lines().filter(|line| line.starts_with("GET ")) {
            blobs += usize::from(line.contains("/blobs/"));
            if line.contains("/manifests/sha256:") {
                *asked.entry(line.to_owned()).or_insert(0) += 1;
            }
        }
    }
    // Its configuration and its upper layer, in two runs: what is below decides nothing and is not fetched.
    assert_eq!(blobs, 4);
    assert_eq!(asked.len(), 191);
    // Two runs.
    asked.retain(|_, count| *count != 2);
    assert!(asked.is_empty(), "{asked:?}");
    let mapping = fs::read_to_string(releases.site.path("connected/dry-run/mapping.txt")).unwrap();
    assert_eq!(mapping.lines().count(), 191);
    assert!(mapping.contains("openshift/release:4.16.0-x86_64-component-7"), "{mapping}");
}

#[test]
fn a_plan_says_where_no_cluster_can_walk() {
    let Some(releases) = Releases::new() else { return };
    let components = releases.components(&["a".to_owned()], "1");
    let [low, high] = ["4.16.0", "4.16.1"].map(|version| releases.release(version, &components));
    // The one edge that it has leads down.
    let service = graph(&releases, &[("4.16.1", &high), ("4.16.0", &low)]);
    let channel = |rest: &str| {
        let entry = format!("  platform:\n    channels:\n    - {{name: stable-4.16, {rest}}}\n");
        releases.site.configure(&entry);
        let mut command = releases.site.command(&[]);
        command.env("UPDATE_URL_OVERRIDE", &service);
        let (keys, store) = (releases.site.path("keys.pgp"), releases.site.path("store"));
        command.args(releases.site.create_arguments("media")).args(["--dry-run", "--release-keys"]);
        Run::of(command.args([text(&keys), "--signature-store", text(&store)])).ok()
    };
    channel("minVersion: 4.16.0, maxVersion: 4.16.1")
        .says("all releases from 4.16.0 to 4.16.1 are carried, and no update path leads");
    // In one direction or the other, they hang together.
    let whole = channel("full: true");
    assert!(!whole.stderr.contains("pieces"), "{whole}");
}
