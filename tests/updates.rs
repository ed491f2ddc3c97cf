//! `bundle list updates` through the binary: what a create would add, of releases and of images.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod support;

use fs_err as fs;
use serde_json::json;
use support::command::Run;
use support::releases::{Heard, Multi, RELEASES, Releases, graph, listening};
use support::server::fs_write;
use support::site::Site;
use support::text;

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
    look(&[])
        .ok()
        .says("nothing new since sequence 1")
        .says("1 release carried by earlier sequences");
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
