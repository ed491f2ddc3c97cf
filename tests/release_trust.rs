//! Whom a create believes of releases: signatures, update services and payloads that say what is not so.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod support;

use format_spec::Digest;
use fs_err as fs;
use serde_json::{Value, json};
use support::command::Run;
use support::openshift::Cincinnati;
use support::pages::Pages;
use support::releases::{RELEASES, Releases, graph, resources};
use support::server::fs_write;
use support::test_key::{How, TestKey, claim};
use support::text;

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
    let lapsed = How { lasts: Some(1000), ..How::default() };
    let lapsed = releases.key.message(claim(&digest, "q.io/r:4.16.0-x86_64").as_bytes(), &lapsed);
    let elsewhere = releases.key.sign(&Digest::of(b"x").to_string(), "q.io/r:4.16.0-x86_64");
    for (file, says) in [
        (other.sign(&digest, "q.io/r:4.16.0-x86_64"), "made by a key that is not trusted"),
        (elsewhere, "about another image"),
        (lapsed, "it expired at 2023-11-14T22:30:00Z"),
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
    let run = run.says("sequence 1 carries the rest");
    assert_eq!(releases.index("media", 1).references.len(), 1);
    assert!(releases.index("media", 1).resources.is_empty());
    // The head says what is wrong; what to do about it is for whoever runs this.
    run.says("hint: ").says("--accept-unsigned-releases");
    let reason = releases.site.head("media", 1)["failures"][0]["reason"].clone();
    let reason = reason.as_str().unwrap();
    assert!(reason.starts_with("it has no valid signature: "), "{reason}");
    assert!(!reason.contains("--") && !reason.contains("name where"), "{reason}");
    let json = releases.create("media", &["--output", "json"]).code(2).json();
    assert_eq!(json["failures"][0]["reason"], reason);
    assert!(json["hints"][0].as_str().unwrap().contains("--accept-unsigned-releases"), "{json}");

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
fn what_is_no_release_is_named_and_nothing_of_it_is_carried() {
    let Some(releases) = Releases::new() else { return };
    let components = releases.components(&["a".to_owned()], "1");
    let good = releases.references("4.16.0", &components);
    let good = String::from_utf8(good).unwrap();
    let by_tag = good.replace(&format!("@{}", components[0].1), ":latest");
    let outside = good.replace("\"a\"", "\"../../a\"");
    let file = good.replace(&releases.site.source.host, "file:///etc");
    let many: Vec<_> = (0..10_000).map(|n| (format!("c{n}"), components[0].1)).collect();
    let many = releases.references("4.16.0", &many);
    let version = good.replace("\"4.16.0\"", "\"../4.16.0\"");
    let opaque = [("release-manifests/.wh..wh..opq", &b""[..])];
    let references = |text: &'static str| [("release-manifests/image-references", text.as_bytes())];
    for (files, says) in [
        (&opaque[..], "it is not a release: it has no `release-manifests/image-references`"),
        (&references("<html>")[..], "image-references"),
        (&references("{\"kind\":\"List\"}")[..], "it is no ImageStream"),
        (&[("release-manifests/image-references", by_tag.as_bytes())][..], "component `a`"),
        (
            &[("release-manifests/image-references", outside.as_bytes())][..],
            "cannot stand in a tag",
        ),
        (
            &[("release-manifests/image-references", file.as_bytes())][..],
            "is not the name of an image",
        ),
        (&[("release-manifests/image-references", &many[..])][..], "it names 10000 components"),
        (&[("release-manifests/image-references", version.as_bytes())][..], "is not a version"),
    ] {
        let payload = releases.payload(files);
        let name = "q.io/r:4.16.0-x86_64";
        releases.store(&payload, 1, &releases.key.sign(&payload.digest.to_string(), name));
        releases.configure(&payload, "");
        releases.create("media", &[]).refused(&[2]).says(says);
    }
    assert!(!releases.site.path("media/mirror_seq1.index").exists());
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

/// A create that asks this service for this channel, with the keys and signatures of the site.
fn channel(releases: &Releases, service: &str, entry: &str, more: &[&str]) -> Run {
    let host = &releases.site.source.host;
    releases.site.configure(&format!(
        "  platform:\n    channels:\n    - {{{entry}}}\n  additionalImages:\n  - name: {host}/team/app:1\n"
    ));
    let (keys, store) = (releases.site.path("keys.pgp"), releases.site.path("store"));
    let mut command = releases.site.command(&[]);
    command.env("UPDATE_URL_OVERRIDE", service).args(releases.site.create_arguments("media"));
    command.args([
        "--release-keys",
        text(&keys),
        "--signature-store",
        text(&store),
        "--retry-times",
        "1",
    ]);
    Run::of(command.args(more))
}

#[test]
fn what_an_update_service_may_not_say_carries_no_release() {
    let Some(releases) = Releases::new() else { return };
    let components = releases.components(&["a".to_owned()], "1");
    let [one, other] = ["4.16.0", "4.16.1"].map(|version| releases.release(version, &components));
    releases.site.source.image("team/app", "1", &[b"app"]);
    let service = Cincinnati::start();
    let address = format!("http://{}/graph", service.host);
    let host = &releases.site.source.host;
    let node = |version: &str, payload: &str| json!({"version": version, "payload": payload});
    let [one, other] = [one, other].map(|payload| format!("{host}/{RELEASES}@{}", payload.digest));
    let graph = |nodes: &[Value], edges: Value| {
        json!({"version": 1, "nodes": nodes, "edges": edges}).to_string().into_bytes()
    };
    let long = format!("4.16.0-{}", "a".repeat(128));
    let many: Vec<_> = (0..10_001).map(|n| node(&format!("4.16.{n}"), &one)).collect();
    for (body, says) in [
        (b"<html>log in".to_vec(), "a web page came instead of an update graph"),
        (
            graph(&[node("4.16.0", &one)], json!([[0, 1]])),
            "edge 0 leads from release 0 to release 1",
        ),
        (graph(&[node("4.16.0", &one)], json!([[0, -1]])), "it is no update graph"),
        (graph(&[node("4.16", &one)], json!([])), "a malformed version, `4.16`"),
        (graph(&[node(&long, &one)], json!([])), "longer than 128 characters"),
        (graph(&[node("4.16.0", "../../etc/passwd")], json!([])), "has no usable payload"),
        (
            graph(&[node("4.16.0", &format!("{host}/{RELEASES}:1"))], json!([])),
            "it names no digest",
        ),
        (
            graph(&[node("4.16.0", &one), node("4.16.0", &other)], json!([])),
            "release 4.16.0 is in it twice, with different payloads",
        ),
        (graph(&many, json!([])), "it has 10001 releases; at most 10000 are read"),
        (b"[".repeat(1 << 20), "it is no update graph"),
        (b" ".repeat(17 << 20), "larger than 16777216 bytes"),
    ] {
        service.answer("amd64/stable-4.16", 200, body);
        let run = channel(&releases, &address, "name: stable-4.16, full: true", &["--strict"]);
        run.refused(&[2]).says(says);
        assert!(!releases.site.path("media/mirror_seq1.manifest.json").exists());
    }
    // Circles are none of its faults, and end.
    let circle = json!([[0, 1], [1, 0], [0, 0]]);
    let nodes = [node("4.16.0", &one), node("4.16.1", &other)];
    service.answer("amd64/stable-4.16", 200, graph(&nodes, circle));
    let entry = "name: stable-4.16, minVersion: 4.16.0, maxVersion: 4.16.1, shortestPath: true";
    channel(&releases, &address, entry, &["--strict"]).ok();
}

#[test]
fn another_release_in_the_place_of_one_is_not_carried() {
    let Some(releases) = Releases::new() else { return };
    let components = releases.components(&["a".to_owned()], "1");
    let old = releases.release("4.10.0", &components);
    releases.site.source.image("team/app", "1", &[b"app"]);
    // Signed, and long known to have holes.
    let service = graph(&releases, &[("4.18.9", &old), ("4.18.8", &old)]);
    channel(&releases, &service, "name: stable-4.18", &[])
        .code(2)
        .says("the update graph calls it 4.18.9, and it is 4.10.0");
    assert!(releases.index("media", 1).resources.is_empty());
    assert_eq!(releases.index("media", 1).references.len(), 1);
    // What a build adds says nothing; and that it is for other machines is told.
    let service = graph(&releases, &[("4.10.0+arm64", &old), ("4.9.0", &old)]);
    releases.site.configure(
        "  platform:\n    architectures: [arm64]\n    channels: [{name: stable-4.10}]\n",
    );
    let (keys, store) = (releases.site.path("keys.pgp"), releases.site.path("store"));
    let mut command = releases.site.command(&[]);
    command.env("UPDATE_URL_OVERRIDE", &service).args(releases.site.create_arguments("media"));
    command.args(["--release-keys", text(&keys), "--signature-store", text(&store)]);
    Run::of(&mut command).ok().says("the update graph for arm64 names it, and it is for amd64");
    assert!(resources(&releases.index("media", 2)).contains_key("release/4.10.0-x86_64"));
}

#[test]
fn of_two_contents_under_one_name_neither_is_carried() {
    let Some(releases) = Releases::new() else { return };
    let components = releases.components(&["a".to_owned(), "b".to_owned()], "1");
    let one = releases.release("4.16.0", &components);
    let other = releases.release("4.16.0", &components[..1]);
    releases.site.source.image("team/app", "1", &[b"app"]);
    let service = graph(&releases, &[("4.16.0+1", &one), ("4.16.0+2", &other)]);
    let run = channel(&releases, &service, "name: stable-4.16, full: true", &[]).code(2);
    let says = "it would become `openshift/release-images:4.16.0-x86_64` at the target, and so would another release";
    assert_eq!(run.stdout.matches(says).count(), 2, "{run}");
    assert_eq!(releases.index("media", 1).references.len(), 1);
    // The one that is meant.
    releases.configure(&other, "");
    releases.create("media", &[]).ok();
    releases.site.import("media", &[]).ok();
    releases.stands(&other, "4.16.0-x86_64", &components[..1]);
}

#[test]
fn a_store_that_has_everything_has_nothing_that_counts() {
    let Some(releases) = Releases::new() else { return };
    let components = releases.components(&["a".to_owned()], "1");
    let payload = releases.release("4.16.0", &components);
    let hex = payload.digest.hex();
    let file = fs::read(releases.site.path(&format!("store/sha256={hex}/signature-1"))).unwrap();
    let web = Pages::start();
    for number in 1..=30 {
        let garbage = format!("<html>{number}").into_bytes();
        // As many as clusters look for, and no more.
        let content = if number == 10 { file.clone() } else { garbage };
        web.put(&format!("/s/sha256={hex}/signature-{number}"), "", &content);
    }
    releases.configure(&payload, "");
    let keys = releases.site.path("keys.pgp");
    let store = format!("http://{}/s", web.host);
    let ours = ["--release-keys", text(&keys), "--signature-store", &store];
    releases
        .site
        .create("media", &ours)
        .refused(&[2])
        .says("signature-3 in")
        .says("and 6 more")
        .says("--accept-unsigned");
    web.put(&format!("/s/sha256={hex}/signature-9"), "", &file);
    releases.site.create("media", &ours).ok();
}

#[test]
fn keys_of_later_kinds_sign_releases_too() {
    let Some(releases) = Releases::new() else { return };
    let components = releases.components(&["a".to_owned()], "1");
    for version in [4, 6] {
        let key = TestKey::ed25519(version);
        let payload = releases.release(&format!("4.16.{version}"), &components);
        let name = format!("q.io/r:4.16.{version}-x86_64");
        releases.store(&payload, 1, &key.sign(&payload.digest.to_string(), &name));
        releases.configure(&payload, "");
        releases.create("media", &[]).refused(&[2]).says("made by a key that is not trusted");
        let file = releases.site.path("ed25519.pgp");
        fs_write(&file, &key.public());
        let store = releases.site.path("store");
        let ours = ["--release-keys", text(&file), "--signature-store", text(&store)];
        releases.site.create(&format!("media{version}"), &ours).ok();
    }
}
