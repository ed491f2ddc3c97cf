//! Images that no configuration names, through the binary: lists, mapping files, and what other tools have written.

#![allow(clippy::unwrap_used)]

#[path = "support/mod.rs"]
mod support;

use std::path::Path;

use format_spec::Digest;
use fs_err as fs;
use serde_json::{Value, json};
use support::command::{Run, sh};
use support::server::{Kind, fs_write};
use support::site::Site;
use support::{noise, text, tool};

/// `bundle create` of these paths, without a configuration.
fn create(site: &Site, images: &[&Path], more: &[&str]) -> Run {
    let path = |name| text(&site.path(name)).to_owned();
    let mut command =
        site.command(&["create", "--to", &path("media"), "--workspace", &path("connected")]);
    command.args(["--retry-delay", "20ms"]);
    for image in images {
        command.arg("--images").arg(image);
    }
    Run::of(command.args(more))
}

/// A file with this text.
fn list(site: &Site, name: &str, text: &str) -> std::path::PathBuf {
    let path = site.path(name);
    fs_write(&path, text.as_bytes());
    path
}

#[test]
fn the_procedure_of_microshift_is_three_commands() {
    let Some(site) = Site::with(Kind::Distribution, Kind::Distribution) else { return };
    let (source, host) = (&site.source.registry, &site.source.host);
    // Named by digest, as a release has them; one of them for all architectures.
    let coredns = source.image("ocp/art", "built-1", &[&noise(1, 200_000)]);
    let arm = source.image_for("ocp/art", None, "arm64", &[b"arm64"]);
    let amd = source.image_for("ocp/art", None, "amd64", &[b"amd64"]);
    let router = source.index("ocp/art", Some("built-2"), &[(&amd, "amd64"), (&arm, "arm64")]);
    let lvms = source.image("lvms4/topolvm", "v4.18", &[&noise(2, 50_000)]);
    let release = json!({"release": {"base": "4.18.1"}, "images": {
        "coredns": format!("{host}/ocp/art@{}", coredns.digest),
        "haproxy-router": format!("{host}/ocp/art@{}", router.digest)}});
    let release =
        list(&site, "release-x86_64.json", &serde_json::to_string_pretty(&release).unwrap());
    let refs =
        list(&site, "microshift-container-refs.txt", &format!("{host}/lvms4/topolvm:v4.18\n"));
    create(&site, &[&release, &refs], &[]).ok();
    let imported = site.import("media", &["--output", "json"]).ok();
    assert!(!imported.stdout.is_empty());
    for (repository, image) in
        [("ocp/art", &coredns), ("ocp/art", &router), ("lvms4/topolvm", &lvms)]
    {
        let digest = image.digest.to_string();
        assert_eq!(site.source.pull(repository, &digest), site.target.pull(repository, &digest));
    }
    assert_eq!(site.target.registry.tags("lvms4/topolvm"), ["v4.18"]);
    // In the words of oc-mirror v1 too.
    let described =
        site.bundle(&["describe", "--output", "json", "--from", text(&site.path("media"))]);
    let metadata = &described.ok().json()["sequences"][0]["metadata"];
    let associations = metadata["pastMirror"]["associations"].as_array().unwrap();
    let name = format!("{host}/lvms4/topolvm:v4.18");
    let one = associations.iter().find(|one| one["name"] == name).unwrap();
    assert_eq!((&one["path"], &one["tagSymlink"]), (&json!("lvms4/topolvm"), &json!("v4.18")));
    assert_eq!((&metadata["pastMirror"]["sequence"], &one["type"]), (&json!(1), &json!("generic")));
    // Again there is nothing new; what no list names any more has left.
    let again = create(&site, &[&release, &refs], &[]).ok();
    assert!(again.stdout.contains("nothing new"), "{}", again.stdout);
    let less = create(&site, &[&release], &["--dry-run", "--output", "json"]).ok();
    let less: Value = serde_json::from_str(&less.stdout).unwrap();
    assert_eq!(less["removals"].as_array().unwrap().len(), 1, "{less}");
}

#[test]
fn mapping_files_give_names() {
    let site = Site::new();
    let (source, host) = (&site.source.registry, &site.source.host);
    for tag in ["v1.0", "v1.1", "v2.0"] {
        source.image("team/app", tag, &[tag.as_bytes()]);
    }
    let sbom = source.image("team/tool", "1", &[b"tool"]);
    let mapping = list(
        &site,
        "mapping.txt",
        &format!(
            "# what `oc image mirror -f` takes\n\
             {host}/team/app:v1.*=mirror.example.com:5000/mirrored/app\n\
             docker://{host}/team/tool@{digest}=docker://localhost:55000/mirrored/tool:one\n\
             {host}/team/tool:1 mirror.example.com/a/b:x mirror.example.com/a/c # two names\n",
            digest = sbom.digest
        ),
    );
    create(&site, &[&mapping], &[]).ok();
    site.import("media", &[]).ok();
    assert_eq!(
        site.target
            .registry
            .all_tags()
            .into_iter()
            .filter(|tag| !tag.contains("bundle"))
            .collect::<Vec<_>>(),
        ["a/b:x", "a/c:1", "mirrored/app:v1.0", "mirrored/app:v1.1", "mirrored/tool:one"]
    );
    assert_eq!(site.source.pull("team/app", "v1.1"), site.target.pull("mirrored/app", "v1.1"));
}

#[test]
fn what_is_wrong_in_a_list_is_told_with_its_line_and_the_rest_is_carried() {
    let site = Site::new();
    let (source, host) = (&site.source.registry, &site.source.host);
    source.image("team/app", "1", &[b"app"]);
    source.image("team/other", "1", &[b"other"]);
    let missing = Digest::of(b"not there");
    let images = list(
        &site,
        "list.txt",
        &format!(
            "{host}/team/app:1\nredis:7\n{host}/team/app@sha256:12\n{host}/team/app@{missing}\n{host}/team/app:1\n\
             {host}/team/other:1={host}/team/app:1\n{host}/team/none:*={host}/x\n"
        ),
    );
    let run = create(&site, &[&images], &[]);
    assert_eq!(run.code, 8, "{run:?}");
    let place = |line: usize| format!("{}:{line}: ", images.display());
    for (line, word) in [
        (2, "docker.io/library/redis:7"),
        (3, "sha256:12"),
        (4, "not found"),
        (6, "its name at the target, `team/app:1`, is that of"),
        (7, "no repository"),
    ] {
        let told = run.stderr.lines().chain(run.stdout.lines());
        let told: Vec<&str> = told.filter(|text| text.contains(&place(line))).collect();
        assert!(told.iter().any(|text| text.contains(word)), "{line}: {told:?}\n{run:?}");
    }
    assert!(run.stderr.contains(&format!("{}`{host}/team/app:1` stands at", place(5))), "{run:?}");
    site.import("media", &[]).ok();
    site.same(&["team/app:1"]);
    let strict = create(&site, &[&images], &["--strict"]);
    assert_eq!(strict.code, 8, "{strict:?}");
    for (name, wrong, word) in [
        ("none.txt", None, "none.txt"),
        ("broken.json", Some("{\n\"images\": [\n"), "line 2"),
        ("text.txt", Some("\u{0}"), "U+0000"),
    ] {
        let path = site.path(name);
        if let Some(wrong) = wrong {
            fs_write(&path, wrong.as_bytes());
        }
        let run = create(&site, &[&path], &[]);
        if name == "text.txt" {
            assert_eq!(run.code, 8, "{run:?}");
        } else {
            assert_eq!(run.code, 64, "{run:?}");
            assert!(run.stderr.contains(word), "{run:?}");
        }
    }
}

#[test]
fn what_skopeo_has_written_is_carried() {
    let Some(skopeo) = tool("skopeo") else { return };
    let site = Site::new();
    let (source, host) = (&site.source.registry, &site.source.host);
    source.image("team/app", "1", &[&noise(3, 90_000), b"small"]);
    source.image("team/app", "2", &[b"two"]);
    let amd = source.image_for("team/multi", None, "amd64", &[b"amd64"]);
    let arm = source.image_for("team/multi", None, "arm64", &[b"arm64"]);
    source.index("team/multi", Some("1"), &[(&amd, "amd64"), (&arm, "arm64")]);
    let synced = site.path("synced");
    let from = |name: &str| format!("{host}/team/{name}");
    for name in ["app", "multi"] {
        sh(
            &skopeo,
            &[
                "sync",
                "--all",
                "--scoped",
                "--src-tls-verify=false",
                "--src",
                "docker",
                "--dest",
                "dir",
                &from(name),
                text(&synced),
            ],
        );
    }
    // What lies beside them is told.
    fs_write(&synced.join("README.txt"), b"a note");
    let run = create(&site, &[&synced], &[]).ok();
    assert!(run.stderr.contains("passed over: `README.txt`"), "{run:?}");
    site.import("media", &[]).ok();
    site.same(&["team/app:1", "team/app:2", "team/multi:1"]);
    // One that was damaged since stays behind, with its place.
    let damaged = synced.join(format!("{host}/team/app:2"));
    let layer = Digest::of(b"two");
    fs_write(&damaged.join(layer.hex()), b"owt");
    let other = site.path("other");
    let path = |name| text(&site.path(name)).to_owned();
    let mut command = site.command(&[
        "create",
        "--workspace",
        &path("third"),
        "--to",
        text(&other),
        "--images",
        text(&synced),
    ]);
    let run = Run::of(&mut command);
    assert_eq!(run.code, 8, "{run:?}");
    assert!(run.stdout.contains(&format!("dir:{}", damaged.display())), "{run:?}");
}

#[test]
fn archives_of_images_are_carried() {
    let Some(skopeo) = tool("skopeo") else { return };
    let site = Site::new();
    let (source, host) = (&site.source.registry, &site.source.host);
    source.image(
        "team/app",
        "1",
        &[&support::releases::tar(&[("a", b"one")]), &support::releases::tar(&[("b", b"two")])],
    );
    let from = format!("docker://{host}/team/app:1");
    let (docker, oci) = (site.path("saved.tar"), site.path("layout.tar"));
    let to = format!("docker-archive:{}:quay.io/acme/app:1", docker.display());
    sh(&skopeo, &["copy", "-q", "--src-tls-verify=false", &from, &to]);
    let to = format!("oci-archive:{}:app", oci.display());
    sh(&skopeo, &["copy", "-q", "--src-tls-verify=false", &from, &to]);
    create(&site, &[&docker, &oci], &[]).ok();
    site.import("media", &[]).ok();
    let tags = site.target.registry.all_tags();
    assert!(tags.contains(&"acme/app:1".to_owned()), "{tags:?}");
    // What a client gets is what was saved.
    let again = site.path("again.tar");
    let from = format!("docker://{}/acme/app:1", site.target.host);
    let to = format!("docker-archive:{}:quay.io/acme/app:1", again.display());
    sh(&skopeo, &["copy", "-q", "--src-tls-verify=false", &from, &to]);
    let config = |path: &Path| {
        let image = format!("docker-archive:{}", path.display());
        sh(&skopeo, &["inspect", "--config", "--raw", &image])
    };
    assert_eq!(config(&docker), config(&again));
    // The same archive is the same image: there is nothing new.
    let same = create(&site, &[&docker, &oci], &[]).ok();
    assert!(same.stdout.contains("nothing new"), "{same:?}");
    // Cut short, packed, or something else: told, with what to do.
    let whole = fs::read(&docker).unwrap();
    for (name, bytes, word) in [
        ("cut.tar", whole[..whole.len() / 2].to_vec(), "cut short"),
        ("packed.tar.gz", vec![0x1f, 0x8b, 8, 0], "gunzip"),
        ("other.tar", support::releases::tar(&[("readme", b"x")]), "no archive of images"),
    ] {
        let path = site.path(name);
        fs_write(&path, &bytes);
        let run = create(&site, &[&path], &[]);
        assert_eq!(run.code, 64, "{name}: {run:?}");
        assert!(run.stderr.contains(word) && run.stderr.contains(name), "{name}: {run:?}");
    }
}

#[test]
fn the_directory_of_oc_image_mirror_is_carried() {
    let site = Site::new();
    let (source, host) = (&site.source.registry, &site.source.host);
    let image = source.image("team/app", "1", &[b"one"]);
    // Written here as `oc` does it.
    let place = site.path("disk/v2/team/app");
    for name in ["blobs", "manifests"] {
        fs::create_dir_all(place.join(name)).unwrap();
    }
    let manifest: Value = serde_json::from_slice(&image.bytes).unwrap();
    let blobs = manifest["layers"].as_array().unwrap().iter().chain([&manifest["config"]]);
    for digest in blobs.map(|blob| blob["digest"].as_str().unwrap()) {
        fs_write(&place.join("blobs").join(digest), &source.blob("team/app", digest).unwrap());
    }
    fs_write(&place.join("manifests").join(image.digest.to_string()), &image.bytes);
    fs::os::unix::fs::symlink(image.digest.to_string(), place.join("manifests/1")).unwrap();
    let mapping =
        list(&site, "disk/mapping.txt", &format!("file://team/app:1={host}/mirrored/app\n"));
    create(&site, &[&site.path("disk")], &[]).ok();
    site.import("media", &[]).ok();
    assert_eq!(site.source.pull("team/app", "1"), site.target.pull("mirrored/app", "1"));
    fs::remove_file(&mapping).unwrap();
    create(&site, &[&site.path("disk")], &["--since", "2999-01-01"]).ok();
    site.import("media", &[]).ok();
    site.same(&["team/app:1"]);
    create(&site, &[&site.path("disk")], &["--since", "2001-01-01"])
        .refused(&[64])
        .says("made no sequence before");
    // A lost medium is written again where the directory is named again.
    let again = |images: &[&Path]| {
        let mut command =
            site.command(&["create", "--to", text(&site.path("again")), "--resend", "2"]);
        command.args(["--workspace", text(&site.path("connected"))]);
        for image in images {
            command.arg("--images").arg(image);
        }
        Run::of(&mut command)
    };
    again(&[]).refused(&[64]);
    again(&[&site.path("disk")]).ok();
    for name in ["mirror_seq2.manifest.json", "mirror_seq2_000000.tar"] {
        let read = |media: &str| fs::read(site.path(media).join(name)).unwrap();
        assert!(read("media") == read("again"), "{name}");
    }
}

/// Images of all kinds on a medium of the embedded registry.
fn carried() -> Site {
    let site = Site::new();
    let source = &site.source.registry;
    let layers =
        [support::releases::tar(&[("a", b"one")]), support::releases::tar(&[("b", b"two")])];
    source.image("team/app", "1", &[&layers[0], &layers[1]]);
    source.image("team/other", "1", &[&layers[0]]);
    let amd = source.image_for("team/multi", None, "amd64", &[&layers[0]]);
    let arm = source.image_for("team/multi", None, "arm64", &[&layers[1]]);
    source.index("team/multi", Some("1"), &[(&amd, "amd64"), (&arm, "arm64")]);
    site.images(&["team/app:1", "team/other:1", "team/multi:1"]);
    site.create("media", &[]).ok();
    site
}

/// `bundle import --to-dir`.
fn to_dir(site: &Site, media: &[&str], to: &str, form: &str, more: &[&str]) -> Run {
    let path = |name: &str| text(&site.path(name)).to_owned();
    let mut command = site.command(&[
        "import",
        "--to-dir",
        &path(to),
        "--form",
        form,
        "--trust",
        text(&site.key()),
    ]);
    for medium in media {
        command.args(["--from", &path(medium)]);
    }
    Run::of(command.args(["--workspace", &path("inside")]).args(more))
}

#[test]
fn a_directory_for_oc_is_written_and_carried_on() {
    let site = carried();
    let planned = to_dir(&site, &["media"], "out", "v2", &["--dry-run"]).ok();
    assert!(planned.stdout.starts_with("3 names, "), "{planned:?}");
    assert!(!site.path("out").exists());
    let run = to_dir(&site, &["media"], "out", "v2", &[]).ok();
    assert!(run.stdout.starts_with("3 names in "), "{run:?}");
    let link = fs::read_link(site.path("out/v2/team/app/manifests/1")).unwrap();
    let manifest = site.source.registry.manifest("team/app", "1").unwrap();
    assert_eq!(text(&link), Digest::of(&manifest).to_string());
    let listed = fs::read_to_string(site.path("out/lists/images.txt")).unwrap();
    assert_eq!(listed.lines().count(), 3, "{listed}");
    let again = to_dir(&site, &["media"], "out", "v2", &[]).ok();
    assert!(again.stdout.contains("3 as before; 0 blobs written"), "{again:?}");
    // Where it cannot be written, another directory is proposed, and no other workspace.
    fs::create_dir(site.path("odd")).unwrap();
    fs_write(&site.path("odd/v2"), b"a file");
    let odd = to_dir(&site, &["media"], "odd", "v2", &[]).refused(&[73]);
    assert!(odd.stderr.contains("`--to-dir DIR`") && !odd.stderr.contains("workspace"), "{odd:?}");
    // What somebody put there leads nothing out of it.
    fs::create_dir_all(site.path("led/v2")).unwrap();
    fs::create_dir(site.path("away")).unwrap();
    for (form, link) in [("v2", "led/v2/team"), ("dir", "led/team")] {
        fs::os::unix::fs::symlink(site.path("away"), site.path(link)).unwrap();
        to_dir(&site, &["media"], "led", form, &[]).refused(&[73]).says("is a link");
    }
    assert_eq!(fs::read_dir(site.path("away")).unwrap().count(), 0);
    // An update alone does: what it leaves out is there.
    site.source.registry.image(
        "team/app",
        "2",
        &[&support::releases::tar(&[("a", b"one")]), b"new"],
    );
    site.images(&["team/app:1", "team/other:1", "team/multi:1", "team/app:2"]);
    site.create("more", &[]).ok();
    let alone = to_dir(&site, &["more"], "elsewhere", "v2", &[]).refused(&[66]);
    assert!(alone.stderr.contains("earlier sequence"), "{alone:?}");
    to_dir(&site, &["more"], "out", "v2", &[]).ok();
    // From there it goes on: the same digests at a target.
    let other = site.path("third");
    let mut command =
        site.command(&["create", "--workspace", text(&other), "--to", text(&site.path("relay"))]);
    Run::of(command.args(["--images", text(&site.path("out"))])).ok();
    let key = other.join("keys/default.pub.pem");
    let target = format!("docker://{}", site.target.host);
    site.bundle(&["import", "--from", text(&site.path("relay")), "--trust", text(&key), &target])
        .ok();
    site.same(&["team/app:1", "team/app:2", "team/other:1", "team/multi:1"]);
}

#[test]
fn directories_for_skopeo_are_written() {
    let Some(skopeo) = tool("skopeo") else { return };
    let site = carried();
    let run = to_dir(&site, &["media"], "out", "dir", &[]).ok();
    assert!(run.stdout.contains("skopeo sync --scoped "), "{run:?}");
    for name in ["app", "other", "multi"] {
        let from = format!("dir:{}", site.path("out").join(format!("team/{name}:1")).display());
        let to = format!("docker://{}/team/{name}:1", site.target.host);
        sh(
            &skopeo,
            &["copy", "-q", "--all", "--preserve-digests", "--dest-tls-verify=false", &from, &to],
        );
    }
    site.same(&["team/app:1", "team/other:1", "team/multi:1"]);
    let again = to_dir(&site, &["media"], "out", "dir", &[]).ok();
    assert!(again.stdout.contains("3 as before; 0 blobs written"), "{again:?}");
}

#[test]
fn archives_for_docker_and_podman_are_written() {
    let Some(skopeo) = tool("skopeo") else { return };
    let site = carried();
    to_dir(&site, &["media"], "out", "archive", &[]).ok();
    let archive = |name: &str| site.path("out").join(format!("team_{name}_1.tar"));
    let from = format!("oci-archive:{}", archive("multi").display());
    let to = format!("docker://{}/team/multi:1", site.target.host);
    sh(
        &skopeo,
        &["copy", "-q", "--all", "--preserve-digests", "--dest-tls-verify=false", &from, &to],
    );
    site.same(&["team/multi:1"]);
    // As `docker load` reads it: its own names, the same configuration.
    for name in ["app", "multi"] {
        let image = format!(
            "docker-archive:{}:{}/team/{name}:1",
            archive(name).display(),
            site.source.host
        );
        let config = sh(&skopeo, &["inspect", "--config", "--raw", &image]);
        let source = format!("docker://{}/team/{name}:1", site.source.host);
        let expected = [
            "--override-arch",
            "amd64",
            "inspect",
            "--tls-verify=false",
            "--config",
            "--raw",
            &source,
        ];
        assert_eq!(config, sh(&skopeo, &expected), "{name}");
    }
    let again = to_dir(&site, &["media"], "out", "archive", &[]).ok();
    assert!(again.stdout.contains("3 as before; 0 blobs written"), "{again:?}");
    // What is damaged on the medium gets no name.
    let part = site.path("media/mirror_seq1_000000.tar");
    let mut bytes = fs::read(&part).unwrap();
    let at = bytes.windows(3).position(|bytes| bytes == b"two").unwrap();
    bytes[at] ^= 1;
    fs_write(&part, &bytes);
    to_dir(&site, &["media"], "damaged", "v2", &[]).refused(&[65]);
    assert!(
        support::tree(&site.path("damaged")).iter().all(|name| !name.ends_with("/manifests/1"))
    );
}
