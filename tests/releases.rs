//! Releases through the binary: a payload as real ones are, signed with a test's own key, from the source over media to the
//! target; what comes next, what nobody signed, what is no release.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

#[path = "support/mod.rs"]
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use format_spec::Digest;
use fs_err as fs;
use serde_json::{Value, json};
use support::command::Run;
use support::image::Pushed;
use support::pages::Pages;
use support::releases::{COMPONENTS, RELEASES, Releases, gzip, names, resources, tar};
use support::server::fs_write;
use support::site::Site;
use support::test_key::TestKey;
use support::{listener, serve, skip, text};

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
    releases.site.source.image("team/app", "1", &[b"app"]);
    let host = &releases.site.source.host;
    releases.configure(&second, &format!("  additionalImages:\n  - name: {host}/team/app:1\n"));
    releases.create("media", &[]).code(2).says("there is no directory");
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

/// The real schemas hold what is written, where they are on this machine.
#[track_caller]
fn schemas(directory: &std::path::Path) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/crds.py");
    let run = std::process::Command::new("python3").arg(script).arg(directory).output();
    match run {
        Ok(run) if run.status.code() == Some(77) => skip(&String::from_utf8_lossy(&run.stderr)),
        Ok(run) => {
            let said = String::from_utf8_lossy(&run.stdout);
            assert!(run.status.success(), "{said}");
            eprintln!("{said}");
        }
        Err(error) => skip(&format!("no python3: {error}")),
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

/// The address of an update service that knows these releases.
fn graph(releases: &Releases, nodes: &[(&str, &Pushed)]) -> String {
    let host = &releases.site.source.host;
    let nodes: Vec<Value> = nodes
        .iter()
        .map(|(version, payload)| {
            let payload = format!("{host}/{RELEASES}@{}", payload.digest);
            json!({"version": version, "payload": payload, "metadata": {}})
        })
        .collect();
    let document = json!({"version": 1, "nodes": nodes, "edges": [[0, 1]], "conditionalEdges": []});
    let body = serde_json::to_vec(&document).unwrap();
    let (listener, host) = listener();
    serve(listener, move |mut stream| {
        let mut head = [0; 4096];
        let _ = stream.read(&mut head);
        let length = body.len();
        write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\
             Connection: close\r\n\r\n"
        )?;
        stream.write_all(&body)
    });
    format!("http://{host}/graph")
}

#[test]
fn what_nobody_trusted_signed_is_refused_unless_it_is_wanted_so() {
    let Some(releases) = Releases::new() else { return };
    let components = releases.components(&["a".to_owned(), "b".to_owned()], "1");
    let payload = releases.release("4.16.0", &components);
    let other = TestKey::new().unwrap();
    let digest = payload.digest.to_string();
    let good = releases.key.sign(&digest, "q.io/r:4.16.0-x86_64");
    let mut cut = good.clone();
    cut.truncate(good.len() - 10);
    let elsewhere = releases.key.sign(&Digest::of(b"x").to_string(), "q.io/r:4.16.0-x86_64");
    for (file, says) in [
        (other.sign(&digest, "q.io/r:4.16.0-x86_64"), "made by a key that is not trusted"),
        (elsewhere, "about another image"),
        (cut, "cut short"),
        (b"<html>".to_vec(), "cannot be read"),
    ] {
        releases.store(&payload, 1, &file);
        releases.configure(&payload, "");
        let run = releases.create("media", &[]).refused(&[2]).says(says);
        run.says("whose keys count").says("--accept-unsigned-releases");
        assert!(!releases.site.path("media/mirror_seq1.manifest.json").exists());
    }
    // What else is asked for is carried.
    releases.site.source.image("team/app", "1", &[b"app"]);
    let host = &releases.site.source.host;
    releases.configure(&payload, &format!("  additionalImages:\n  - name: {host}/team/app:1\n"));
    let run = releases.create("media", &[]).code(2);
    run.says("sequence 1 carries the rest");
    assert_eq!(releases.index("media", 1).references.len(), 1);
    assert!(releases.index("media", 1).resources.is_empty());

    let run = releases.create("media", &["--accept-unsigned-releases", "--output", "json"]).ok();
    assert_eq!(run.json()["releases"][0]["signed"], false);
    assert_eq!(releases.site.head("media", 2)["labels"]["unsigned-releases"], "4.16.0-x86_64");
    let stated = resources(&releases.index("media", 2));
    assert_eq!(stated.len(), 1);
    let told: Value = serde_json::from_slice(&stated["release/4.16.0-x86_64"]).unwrap();
    assert_eq!(told["signed"], false);
    releases.site.import("media", &[]).ok();
    releases.stands(&payload, "4.16.0-x86_64", &components);

    // Keys that cannot be read are never replaced by others.
    fs_write(&releases.site.path("keys.pgp"), b"no key");
    releases.create("media", &[]).refused(&[64]).says("keys.pgp");
}

#[test]
fn signatures_come_from_web_servers_and_one_that_is_away_stops_no_other() {
    let Some(releases) = Releases::new() else { return };
    let components = releases.components(&["a".to_owned()], "1");
    let payload = releases.release("4.16.0", &components);
    let hex = payload.digest.hex();
    let web = Pages::start();
    let file = fs::read(releases.site.path(&format!("store/sha256={hex}/signature-1"))).unwrap();
    web.put(&format!("/signatures/release/sha256={hex}/signature-1"), "", b"<html>");
    web.put(&format!("/signatures/release/sha256={hex}/signature-2"), "", &file);
    fs::remove_dir_all(releases.site.path("store")).unwrap();
    releases.configure(&payload, "");
    let keys = releases.site.path("keys.pgp");
    let away = "http://127.0.0.1:1/signatures";
    let create = |stores: &[&str]| {
        let stores = stores.iter().flat_map(|store| ["--signature-store", store]);
        let ours: Vec<&str> = ["--release-keys", text(&keys)].into_iter().chain(stores).collect();
        releases.site.create("media", &ours)
    };
    // Nothing is wrong with the release: another run may have it.
    let run = create(&[away]).refused(&[75]).says("127.0.0.1:1");
    let run = run.says("no valid signature of it could be had").says("run the same command again");
    assert!(!run.stderr.contains("--accept-unsigned"), "{run}");
    let there = format!("http://{}/signatures/release/", web.host);
    create(&[&format!("http://{}/elsewhere", web.host)]).refused(&[2]).says("no signature in");
    create(&[away, &there]).ok();
    let stated = resources(&releases.index("media", 1));
    assert_eq!(stated[&format!("release-signature/sha256-{hex}-1")], file);
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
fn what_is_no_release_is_named_and_nothing_of_it_is_carried() {
    let Some(releases) = Releases::new() else { return };
    let components = releases.components(&["a".to_owned()], "1");
    let good = releases.references("4.16.0", &components);
    let good = String::from_utf8(good).unwrap();
    let by_tag = good.replace(&format!("@{}", components[0].1), ":latest");
    let opaque = [("release-manifests/.wh..wh..opq", &b""[..])];
    let references = |text: &'static str| [("release-manifests/image-references", text.as_bytes())];
    for (files, says) in [
        (&opaque[..], "it is not a release: it has no `release-manifests/image-references`"),
        (&references("<html>")[..], "image-references"),
        (&references("{\"kind\":\"List\"}")[..], "it is no ImageStream"),
        (&[("release-manifests/image-references", by_tag.as_bytes())][..], "component `a`"),
    ] {
        let payload = releases.payload(files);
        let name = "q.io/r:4.16.0-x86_64";
        releases.store(&payload, 1, &releases.key.sign(&payload.digest.to_string(), name));
        releases.configure(&payload, "");
        releases.create("media", &[]).refused(&[2]).says(says);
    }
    assert!(!releases.site.path("media/mirror_seq1.index").exists());
}

/// A payload for all architectures.
struct Multi {
    payload: Pushed,
    component: Pushed,
    boot: Pushed,
}

impl Multi {
    fn of(releases: &Releases) -> Self {
        let source = &releases.site.source;
        let host = &source.host;
        let arches = ["arm64", "amd64", "s390x"];
        let multi = |repo: &str, layer: &dyn Fn(&str) -> Vec<u8>| {
            let children: Vec<(Pushed, &str)> = arches
                .iter()
                .map(|arch| (source.image_for(repo, None, arch, &[&layer(arch)]), *arch))
                .collect();
            let children: Vec<(&Pushed, &str)> = children.iter().map(|(c, a)| (c, *a)).collect();
            source.index(repo, None, &children)
        };
        let component = multi(COMPONENTS, &|arch| format!("etcd for {arch}").into_bytes());
        let boot = source.image_for(COMPONENTS, None, "amd64", &[b"a disk"]);
        let stream = json!({"stream": "rhcos", "architectures": {
            "x86_64": {"images": {"kubevirt": {"release": "1", "image": "q.io/x:1",
                "digest-ref": format!("{host}/{COMPONENTS}@{}", boot.digest)}}},
            "aarch64": {"images": {"aws": {}}}}});
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"stream": stream.to_string()}});
        let map = serde_json::to_vec(&map).unwrap();
        let references = releases.references("4.16.0", &[("etcd".to_owned(), component.digest)]);
        let payload = multi(RELEASES, &|arch| {
            let mut files: Vec<(&str, &[u8])> = vec![("etc/arch", arch.as_bytes())];
            // That for amd64 is the one that is read.
            if arch == "amd64" {
                files.push(("./release-manifests/image-references", &references));
                files.push(("release-manifests/0000_50_installer_coreos-bootimages.yaml", &map));
            }
            tar(&files)
        });
        Self { payload, component, boot }
    }
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

/// What came over one connection.
type Heard = Arc<Mutex<Vec<u8>>>;

/// A relay that remembers what was asked for.
fn listening(to: &str) -> (String, Arc<Mutex<Vec<Heard>>>) {
    let (listener, host) = listener();
    let all = Arc::new(Mutex::new(Vec::new()));
    let (connections, to) = (Arc::clone(&all), to.to_owned());
    serve(listener, move |mut client| {
        let mut server = TcpStream::connect(&to)?;
        let (mut from, mut back) = (server.try_clone()?, client.try_clone()?);
        std::thread::spawn(move || {
            let _ = std::io::copy(&mut from, &mut back);
            let _ = back.shutdown(Shutdown::Both);
        });
        let heard = Heard::default();
        connections.lock().unwrap().push(Arc::clone(&heard));
        let mut buffer = [0; 16 << 10];
        while let Ok(read @ 1..) = client.read(&mut buffer) {
            heard.lock().unwrap().extend_from_slice(&buffer[..read]);
            server.write_all(&buffer[..read])?;
        }
        server.shutdown(Shutdown::Both)
    });
    (host, all)
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
fn updates_are_what_a_create_would_add_and_looking_leaves_no_trace() {
    let Some(releases) = Releases::new() else { return };
    let site = &releases.site;
    let components = releases.components(&["a".to_owned(), "b".to_owned()], "1");
    let first = releases.release("4.10.0", &components);
    let second = releases.release("4.10.1", &components);
    let service = graph(&releases, &[("4.10.0", &first), ("4.10.1", &second)]);
    let (host, all) = listening(&site.source.host);
    let configure = |max: &str, images: &[&str]| {
        let images: String =
            images.iter().map(|image| format!("  - name: {host}/{image}\n")).collect();
        site.configure(&format!(
            "  platform:\n    channels:\n    - name: stable-4.10\n      minVersion: 4.10.0\n      maxVersion: {max}\n  \
             additionalImages:\n{images}"
        ))
    };
    let run = |line: &[String]| {
        let mut command = site.command(&[]);
        command.env("UPDATE_URL_OVERRIDE", &service).args(line);
        Run::of(&mut command)
    };
    let (config, workspace) = (site.path("imageset.yaml"), site.path("connected"));
    let look = |more: &[&str]| {
        let line = ["list", "updates", "--config", text(&config), "--workspace", text(&workspace)];
        run(&[&line[..], more].concat().into_iter().map(ToOwned::to_owned).collect::<Vec<_>>())
    };
    let create = |more: &[&str]| {
        let (keys, store) = (site.path("keys.pgp"), site.path("store"));
        let ours = ["--release-keys", text(&keys), "--signature-store", text(&store)];
        let more = [&ours[..], more].concat().into_iter().map(ToOwned::to_owned);
        run(&site.create_arguments("media").into_iter().chain(more).collect::<Vec<_>>())
    };

    let old = site.source.image("team/app", "1", &[b"app"]);
    configure("4.10.0", &["team/app:1"]);
    let none = look(&[]).ok();
    none.says("there is no sequence yet: all of it would be new")
        .says("stable-4.10 (amd64): 1 new release\n  4.10.0                  named\n")
        .says("additional images: 1 name new or changed, 0 known")
        .says("new      team/app:1");
    assert!(!workspace.exists());
    create(&[]).ok();
    look(&[]).ok().says("nothing new since sequence 1").says("1 release known");
    let json = look(&["--output", "json"]).ok().json();
    assert_eq!((&json["nothing"], &json["lastSequence"]), (&json!(true), &json!(1)));
    assert_eq!((&json["releasesKnown"], &json["imagesKnown"]), (&json!(1), &json!(1)));

    let new = site.source.image("team/app", "1", &[b"app, mended"]);
    site.source.image("team/app", "2", &[b"another"]);
    configure("4.10.1", &["team/app:1", "team/app:2"]);
    all.lock().unwrap().clear();
    let before = (support::tree(&workspace), support::snapshot(&workspace.join("history")));
    let json = look(&["--output", "json"]).ok().json();
    let added = &json["releases"];
    let payload = format!("{}/{RELEASES}@{}", site.source.host, second.digest);
    let expected = json!([{"version": "4.10.1", "architecture": "amd64", "payload": payload,
        "channels": ["stable-4.10"], "why": ["from 4.10.0 to 4.10.1"]}]);
    assert_eq!(added, &expected);
    assert_eq!((&json["nothing"], &json["releasesKnown"]), (&json!(false), &json!(1)));
    let images = json["images"].as_array().unwrap();
    assert_eq!(images.len(), 2);
    assert_eq!(images[0]["name"], "team/app:1");
    assert_eq!(images[0]["previous"], old.digest.to_string());
    assert_eq!(images[0]["digest"], new.digest.to_string());
    assert_eq!((&images[1]["name"], &images[1]["previous"]), (&json!("team/app:2"), &json!(null)));
    look(&[]).ok().says("new since sequence 1").says(&format!("{} -> {}", old.digest, new.digest));

    // What cannot be had ends as in a create.
    configure("4.10.1", &["team/app:1", "team/none:1"]);
    let planned = create(&["--dry-run"]);
    fs::remove_dir_all(workspace.join("dry-run")).unwrap();
    let failed = look(&[]);
    assert_eq!(failed.code, planned.code);
    assert_ne!(failed.code, 0);
    failed.says("could not be had:").says("team/none:1");

    assert_eq!((support::tree(&workspace), support::snapshot(&workspace.join("history"))), before);
    let heard = |what: &str| {
        let all = all.lock().unwrap();
        let has = |one: &Heard| String::from_utf8_lossy(&one.lock().unwrap()).contains(what);
        all.iter().any(has)
    };
    assert!(heard("/manifests/"));
    all.lock().unwrap().clear();
    look(&[]).says("team/none:1");
    assert!(heard("/manifests/") && !heard("/blobs/"));
}

#[test]
fn updates_tell_what_was_switched_on_for_releases_that_were_carried() {
    let Some(releases) = Releases::new() else { return };
    let site = &releases.site;
    let Multi { payload, .. } = Multi::of(&releases);
    let platform = |name: &str| format!("    - {{os: linux, architecture: {name}}}\n");
    let configure = |more: &str, platforms: &[&str]| {
        let platforms: String = platforms.iter().map(|name| platform(name)).collect();
        releases.configure(&payload, &format!("{more}    platforms:\n{platforms}"));
    };
    let (config, workspace) = (site.path("imageset.yaml"), site.path("connected"));
    let (keys, store) = (site.path("keys.pgp"), site.path("store"));
    let look = |more: &[&str]| {
        let line = ["list", "updates", "--config", text(&config), "--workspace", text(&workspace)];
        let ours = ["--release-keys", text(&keys), "--signature-store", text(&store)];
        site.bundle(&[&line[..], &ours, more].concat()).ok()
    };
    let tag = "4.16.0-multi";
    let told = |more: &[&str]| {
        let answer = look(&[&["--output", "json"], more].concat()).json();
        let more = answer["more"].as_array().unwrap().iter();
        let more = more.map(|one| {
            assert!(one["release"].is_null() || one["release"] == tag, "{one}");
            one["what"].as_str().unwrap().to_owned()
        });
        let more: Vec<String> = more.collect();
        assert_eq!(answer["nothing"], more.is_empty(), "{answer}");
        assert_eq!(answer["releasesKnown"], 1);
        more
    };
    let none = [""; 0];
    configure("", &["amd64"]);
    releases.create("media", &["--accept-unsigned-releases"]).ok();
    assert_eq!(told(&[]), none);
    look(&[]).says("nothing new since sequence 1");

    // Each switch is told until a create took it up.
    configure("", &["amd64", "arm64"]);
    assert_eq!(told(&[]), ["further platforms"]);
    look(&[])
        .says("new since sequence 1")
        .says("not carried yet of 4.16.0-multi: further platforms");
    releases.create("media", &["--accept-unsigned-releases"]).ok();
    assert_eq!(told(&[]), none);
    configure("    kubeVirtContainer: true\n", &["amd64", "arm64"]);
    assert_eq!(told(&[]), ["the boot image of KubeVirt for x86_64, if it has one"]);
    releases.create("media", &["--accept-unsigned-releases"]).ok();
    assert_eq!(told(&[]), none);
    configure("    graph: true\n", &["amd64", "arm64"]);
    assert_eq!(told(&[]), ["the graph image"]);
    configure("", &["amd64", "arm64"]);
    let name = "q.io/r:4.16.0-multi";
    releases.store(&payload, 1, &releases.key.sign(&payload.digest.to_string(), name));
    assert_eq!(told(&[]), ["a valid signature"]);
    releases.create("media", &[]).ok();
    assert_eq!(told(&[]), none);
    let signature = format!("sha256-{}.sig", payload.digest.hex());
    site.source.image(RELEASES, &signature, &[b"a signature"]);
    assert_eq!(told(&["--remove-signatures"]), none);
    // Whether a component is blocked is not known before the release is read.
    configure("", &["amd64", "arm64"]);
    let mut blocked = fs::read_to_string(&config).unwrap();
    blocked.push_str("  blockedImages:\n  - name: ocp-v4.0-art-dev\n");
    fs_write(&config, blocked.as_bytes());
    assert!(!look(&[]).stderr.contains("matches no image"));
    configure("", &["amd64", "arm64"]);
    assert_eq!(told(&[]), ["1 of the signatures and referrers of its image"]);
    releases.create("media", &[]).ok();
    assert_eq!(told(&[]), none);
}

#[test]
fn updates_know_the_history_that_a_registry_has() {
    let site = Site::new();
    site.source.image("team/app", "1", &[b"app"]);
    site.images_with_history(&["team/app:1"]);
    site.create("media", &[]).ok();
    let (config, workspace) = (site.path("imageset.yaml"), site.path("another"));
    let line = ["list", "updates", "--config", text(&config), "--workspace", text(&workspace)];
    site.bundle(&line).ok().says("nothing new since sequence 1");
    assert!(!workspace.exists());
}

#[test]
fn variables_that_are_empty_are_not_set() {
    let Some(releases) = Releases::new() else { return };
    let components = releases.components(&["a".to_owned()], "1");
    let payload = releases.release("4.16.0", &components);
    let empty = [
        "UPDATE_URL_OVERRIDE",
        "OKD_UPDATE_URL_OVERRIDE",
        "OCP_SIGNATURE_URL",
        "OCP_SIGNATURE_VERIFICATION_PK",
        "REGISTRY_AUTH_FILE",
        "BUNDLE_LOG",
    ];
    // Nothing leaves this machine: the public services are behind a proxy that is not there.
    let run = |arguments: &[String]| {
        let mut command = releases.site.command(&[]);
        command.envs(empty.map(|name| (name, ""))).env("HTTPS_PROXY", "http://127.0.0.1:1");
        Run::of(command.args(arguments).args(["--retry-times", "0"]))
    };
    let create = releases.site.create_arguments("media");
    releases.configure(&payload, "");
    run(&create).refused(&[75]).says("mirror.openshift.com").says("storage.googleapis.com");
    for (kind, host) in [("ocp", "api.openshift.com"), ("okd", "origin-release.ci.openshift.org")] {
        let entry =
            format!("  platform:\n    channels:\n    - {{name: stable-4.18, type: {kind}}}\n");
        releases.site.configure(&entry);
        run(&create).refused(&[75]).says(host);
    }
    // On the command line it is a slip.
    let mut slip = create.clone();
    slip.extend(["--signature-store".to_owned(), String::new()]);
    run(&slip).code(64).says("--signature-store");
}

#[test]
fn releases_of_okd_come_from_their_own_service_and_red_hats_key_signs_none() {
    let Some(releases) = Releases::new() else { return };
    let components = releases.components(&["a".to_owned()], "1");
    let payload = releases.release("4.18.0-okd-scos.8", &components);
    let service =
        graph(&releases, &[("4.18.0-okd-scos.8", &payload), ("4.17.0-okd-scos.1", &payload)]);
    releases.site.configure(
        "  platform:\n    channels:\n    - {name: 4-scos-stable, type: okd, minVersion: 4.18.0-okd-scos.8}\n",
    );
    let (keys, store) = (releases.site.path("keys.pgp"), releases.site.path("store"));
    let run = |more: &[&str]| {
        let mut command = releases.site.command(&[]);
        // OpenShift's own is not asked.
        command.env("UPDATE_URL_OVERRIDE", "http://127.0.0.1:1/graph");
        command.env("OKD_UPDATE_URL_OVERRIDE", &service);
        Run::of(command.args(releases.site.create_arguments("media")).args(more))
    };
    let ours = ["--signature-store", text(&store)];
    run(&ours)
        .refused(&[2])
        .says("made by a key that is not trusted")
        .says("OKD's releases are signed by OpenShift's CI")
        .says("--release-keys FILE --signature-store https://storage.googleapis.com/openshift-ci-release/")
        .says("--accept-unsigned-releases");
    assert!(!releases.site.path("media/mirror_seq1.manifest.json").exists());
    let run = run(&[&ours[..], &["--release-keys", text(&keys), "--output", "json"]].concat()).ok();
    let answer = run.json();
    assert_eq!(answer["releases"][0]["tag"], "4.18.0-okd-scos.8-x86_64");
    assert_eq!(answer["releases"][0]["signed"], true);
    releases.site.import("media", &[]).ok();
    releases.stands(&payload, "4.18.0-okd-scos.8-x86_64", &components);
    let resources = releases.site.path("disconnected/cluster-resources");
    let signatures = fs::read_to_string(resources.join("signature-configmap.yaml")).unwrap();
    assert!(signatures.contains(&format!("sha256-{}-1", payload.digest.hex())), "{signatures}");
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
