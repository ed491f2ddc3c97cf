//! Mirror to mirror, through the binary: the same as over a medium, with none between.

#![allow(clippy::unwrap_used)]

#[path = "support/mod.rs"]
mod support;

use std::os::unix::process::ExitStatusExt as _;
use std::time::Duration;

use format_spec::Digest;
use fs_err as fs;
use support::command::Run;
use support::server::{Kind, fs_write};
use support::site::Site;
use support::{noise, text};

/// The command, into this host.
fn command(site: &Site, host: &str, more: &[&str]) -> std::process::Command {
    let path = |name: &str| text(&site.path(name)).to_owned();
    let mut command = site.command(&["mirror", "--config", &path("imageset.yaml")]);
    command.args(["--workspace", &path("straight"), "--retry-delay", "20ms"]);
    command.arg(format!("docker://{host}/ns")).args(more);
    command
}

/// `bundle mirror` into the namespace `ns` of the target.
fn mirror(site: &Site, more: &[&str]) -> Run {
    Run::of(&mut command(site, &site.target.host, more))
}

/// Images of every kind at a source.
fn filled(source: Kind, target: Kind) -> Option<Site> {
    let site = Site::with(source, target)?;
    let source = &site.source.registry;
    let base = noise(1, 1_500_000);
    source.image("team/app", "1", &[&base, b"one"]);
    source.image("team/other", "1", &[&base, b"other"]);
    let amd = source.image_for("team/multi", None, "amd64", &[b"amd64"]);
    let arm = source.image_for("team/multi", None, "arm64", &[b"arm64"]);
    source.index("team/multi", Some("1"), &[(&amd, "amd64"), (&arm, "arm64")]);
    site.images(&["team/app:1", "team/other:1", "team/multi:1"]);
    Some(site)
}

/// The names at the target, without records.
fn names(site: &Site) -> Vec<String> {
    let mut names = site.target.registry.all_tags();
    names.retain(|name| !name.contains("bundle"));
    names
}

#[test]
fn it_is_what_a_medium_would_have_brought() {
    for (from, to) in [(Kind::Distribution, Kind::Distribution), (Kind::Embedded, Kind::Embedded)] {
        let Some(site) = filled(from, to) else { return };
        let run = mirror(&site, &[]).ok();
        assert!(run.stdout.contains("sequence 1: 3 references"), "{run:?}");
        assert_eq!(names(&site), ["ns/team/app:1", "ns/team/multi:1", "ns/team/other:1"]);
        for name in ["app", "other", "multi"] {
            let (repo, at) = (format!("team/{name}"), format!("ns/team/{name}"));
            assert_eq!(site.source.pull(&repo, "1"), site.target.pull(&at, "1"), "{name}");
        }
        // The same resources for clusters as after an import of the same.
        let straight =
            fs::read(site.path("straight/cluster-resources/itms-oc-mirror.yaml")).unwrap();
        let Some(other) = Site::with(Kind::Embedded, Kind::Embedded) else { return };
        site.create("media", &[]).ok();
        let mut import = site.command(&["import", "--from", text(&site.path("media"))]);
        import.args(["--trust", text(&site.key()), "--workspace", text(&site.path("inside"))]);
        Run::of(import.arg(format!("docker://{}/ns", other.target.host))).ok();
        let carried = fs::read(site.path("inside/cluster-resources/itms-oc-mirror.yaml")).unwrap();
        let plain = |bytes: Vec<u8>, host: &str| {
            let text = String::from_utf8(bytes).unwrap().replace(host, "HOST");
            let lines = text.lines().filter(|line| !line.contains("createdAt"));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(plain(straight, &site.target.host), plain(carried, &other.target.host));
        // Again there is nothing to do, and nothing is moved.
        let again = mirror(&site, &["--output", "json"]).ok().json();
        assert_eq!((&again["moved"]["blobs"], &again["written"]), (&0.into(), &false.into()));
        // An update moves what is new, and takes away what left.
        site.source.registry.image("team/more", "1", &[b"more"]);
        site.images(&["team/app:1", "team/multi:1", "team/more:1"]);
        let dry = mirror(&site, &["--dry-run"]).ok();
        let dry = dry.says("would record sequence 2").says("  remove  team/other:1");
        let next = format!("moves it to `docker://{}/ns`", site.target.host);
        assert!(dry.stdout.contains(&next) && !dry.stdout.contains(" part"), "{dry}");
        mirror(&site, &[]).ok().says("  1 name left the configuration\n");
        site.source.registry.image("team/app", "2", &[&noise(1, 1_500_000), b"two"]);
        site.images(&["team/app:2", "team/multi:1"]);
        let update = mirror(&site, &["--output", "json"]).ok().json();
        assert_eq!(update["moved"]["blobs"], 2, "{update}");
        let expected: &[&str] = &["ns/team/app:2", "ns/team/multi:1"];
        assert_eq!(names(&site), expected, "{update}");
        assert_eq!(site.source.pull("team/app", "2"), site.target.pull("ns/team/app", "2"));
    }
}

#[test]
fn what_cannot_be_had_is_told_and_the_rest_is_there() {
    let site = filled(Kind::Embedded, Kind::Embedded).unwrap();
    site.images(&["team/app:1", "team/none:1", "team/other:1"]);
    let run = mirror(&site, &[]).code(8);
    assert!(run.stdout.contains("team/none:1"), "{run:?}");
    assert_eq!(names(&site), ["ns/team/app:1", "ns/team/other:1"]);
    mirror(&site, &["--strict"]).code(8);
    // A layer that is not what it is called: nothing of the image is seen.
    let hex = Digest::of(b"amd64").hex();
    let blob =
        support::tree(&site.path("source")).into_iter().find(|name| name.contains(&*hex)).unwrap();
    let blob = site.path("source").join(blob);
    let blob = if blob.is_dir() { blob.join("data") } else { blob };
    fs_write(&blob, b"46dma");
    site.images(&["team/app:1", "team/multi:1", "team/other:1"]);
    let run = mirror(&site, &[]).code(8);
    assert!(run.stdout.contains("team/multi:1") && run.stdout.contains("digest"), "{run:?}");
    assert_eq!(names(&site), ["ns/team/app:1", "ns/team/other:1"]);
}

#[test]
fn a_killed_run_is_gone_on_with() {
    let site = Site::new();
    let source = &site.source.registry;
    let images: Vec<String> = (0..6).map(|n| format!("team/app{n}:1")).collect();
    for (n, image) in (0..).zip(&images) {
        source.image(image.split(':').next().unwrap(), "1", &[&noise(n, 3_000_000)]);
    }
    site.images(&images.iter().map(String::as_str).collect::<Vec<_>>());
    for wait in [30, 80, 130, 180, 240, 320] {
        let mut child = command(&site, &site.target.host, &[]);
        let mut child = child
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(wait));
        let _ = child.kill();
        let ended = child.wait().unwrap();
        assert!(ended.success() || ended.signal() == Some(9), "{ended:?}");
        // What has a name is whole.
        for name in names(&site) {
            let (repo, tag) = name.rsplit_once(':').unwrap();
            let own = repo.trim_start_matches("ns/");
            assert_eq!(site.source.pull(own, "1"), site.target.pull(repo, tag), "{name}");
        }
    }
    mirror(&site, &[]).ok();
    assert_eq!(names(&site).len(), images.len());
    let again = mirror(&site, &["--output", "json"]).ok().json();
    assert_eq!(again["moved"]["blobs"], 0, "{again}");
}

#[test]
fn another_stream_and_an_older_workspace_are_refused_before_anything_is_moved() {
    let site = filled(Kind::Embedded, Kind::Embedded).unwrap();
    mirror(&site, &[]).ok();
    let before = site.target.registry.all_tags();
    fs::rename(site.path("straight"), site.path("before")).unwrap();
    site.source.registry.image("team/app", "3", &[b"three"]);
    site.images(&["team/app:3"]);
    mirror(&site, &[]).refused(&[70]);
    assert_eq!(site.target.registry.all_tags(), before);
    let layer = Digest::of(b"three").to_string();
    assert_eq!(site.target.registry.blob("ns/team/app", &layer), None);
    mirror(&site, &["--new-stream"]).ok();
}

#[test]
fn from_one_namespace_of_a_registry_into_another_nothing_is_moved() {
    let site = filled(Kind::Embedded, Kind::Embedded).unwrap();
    let run = Run::of(&mut command(&site, &site.source.host, &["--output", "json"])).ok();
    let moved = &run.json()["moved"];
    assert_eq!((&moved["blobs"], &moved["bytes"]), (&0.into(), &0.into()), "{moved}");
    assert!(moved["mounted"].as_u64().unwrap() > 0, "{moved}");
    for name in ["app", "other", "multi"] {
        let own = site.source.pull(&format!("team/{name}"), "1");
        assert_eq!(own, site.source.pull(&format!("ns/team/{name}"), "1"), "{name}");
    }
}

#[test]
fn what_the_target_lost_is_moved_again_when_asked_for() {
    let site = filled(Kind::Embedded, Kind::Embedded).unwrap();
    mirror(&site, &[]).ok();
    let base = Digest::of(&noise(1, 1_500_000)).to_string();
    for repo in ["ns/team/app", "ns/team/other"] {
        site.target.registry.delete(repo, "blobs", &base);
    }
    site.source.registry.image("team/app", "2", &[&noise(1, 1_500_000), b"two"]);
    site.images(&["team/app:2", "team/other:1"]);
    mirror(&site, &[]).refused(&[68]).says(&base).says("the same command with `--full` added");
    assert!(!names(&site).contains(&"ns/team/app:2".to_owned()));
    mirror(&site, &["--full"]).ok();
    assert_eq!(names(&site), ["ns/team/app:2", "ns/team/other:1"]);
    assert_eq!(site.source.pull("team/app", "2"), site.target.pull("ns/team/app", "2"));
}

#[test]
fn names_are_as_deep_as_the_target_takes_them() {
    let Some(site) = filled(Kind::Distribution, Kind::Embedded) else { return };
    mirror(&site, &["--max-nested-paths", "2"]).ok();
    assert_eq!(names(&site), ["ns/team-app:1", "ns/team-multi:1", "ns/team-other:1"]);
    assert_eq!(site.source.pull("team/multi", "1"), site.target.pull("ns/team-multi", "1"));
    site.images(&["team/app:1"]);
    mirror(&site, &["--max-nested-paths", "2"]).ok();
    assert_eq!(names(&site), ["ns/team-app:1"]);
    mirror(&site, &[]).refused(&[64]).says("--max-nested-paths 2");
}

#[test]
fn a_dry_run_writes_nothing() {
    let site = filled(Kind::Embedded, Kind::Embedded).unwrap();
    let run = mirror(&site, &["--dry-run"]).ok();
    assert!(run.stdout.contains("team/multi:1"), "{run:?}");
    assert!(site.target.registry.repositories().is_empty());
}

/// The sequences that it keeps have the manifests, and the target the blobs: what a later one removed comes back from there.
#[test]
fn a_target_that_was_set_back_comes_forward_again() {
    let Some(site) = filled(Kind::Embedded, Kind::Embedded) else { return };
    mirror(&site, &[]).ok();
    let first = site.target.pull("ns/team/app", "1");
    site.source.registry.image("team/app", "1", &[b"two"]);
    mirror(&site, &[]).ok();
    let second = site.target.pull("ns/team/app", "1");
    assert_ne!(first, second);
    let target = format!("docker://{}/ns", site.target.host);
    let workspace = site.path("straight");
    let rollback = |code: i32| {
        let fixed = ["rollback", "--to", "1", "--auto-approve", &target];
        site.bundle(&[&fixed[..], &["--workspace", text(&workspace)]].concat()).code(code)
    };
    let media = support::tree(&workspace.join("mirror"));
    let media = media.iter().find(|name| name.ends_with("mirror_seq1.manifest.json"));
    let media = workspace.join("mirror").join(media.unwrap()).parent().unwrap().to_owned();
    rollback(68).says("bundle import --put-back");
    let trust = workspace.join("keys/default.pub.pem");
    let mut back = site.command(&["import", "--put-back", "--from", text(&media), &target]);
    back.args(["--workspace", text(&workspace), "--trust", text(&trust)]);
    Run::of(&mut back).ok();
    rollback(0);
    assert_eq!(site.target.pull("ns/team/app", "1"), first);
    mirror(&site, &[]).ok();
    assert_eq!(site.target.pull("ns/team/app", "1"), second);
}
