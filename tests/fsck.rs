//! Damage in a registry's data: found, named with the part that has a good copy, moved aside, and put back by an import.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod support;

use std::path::{Path, PathBuf};

use format_spec::Digest;
use fs_err as fs;
use support::server::Kind;
use support::site::Site;
use support::wire::request;
use support::{noise, text};

const IMAGES: &[&str] = &["team/app:1", "team/tool:1"];

/// A site whose target has imported its first sequence.
fn imported() -> Site {
    let site = Site::new();
    site.source.image("team/app", "1", &[&noise(1, 150_000), &noise(2, 40_000)]);
    site.source.image("team/tool", "1", &[&noise(1, 150_000), b"tool"]);
    site.images(IMAGES);
    site.create("media", &[]).ok();
    site.import("media", &[]).ok();
    site
}

fn blob(data: &Path, digest: &str) -> PathBuf {
    let hex = digest.strip_prefix("sha256:").unwrap();
    data.join("blobs/sha256").join(&hex[..2]).join(hex)
}

/// Turns one bit in the middle of a file, in place.
fn rot(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

/// The digests of the layers that a tag of the target stands for.
fn layers(site: &Site, repository: &str, tag: &str) -> Vec<String> {
    let bytes = site.target.manifest(repository, tag).unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    let layers = manifest["layers"].as_array().unwrap();
    layers.iter().map(|layer| layer["digest"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn what_is_damaged_is_named_moved_aside_and_put_back_by_the_same_import() {
    let site = imported();
    let data = site.path("target");
    let fsck = |more: &[&str]| {
        let mut arguments = vec!["registry", "fsck", "--data-dir", text(&data)];
        arguments.extend(more);
        site.bundle(&arguments)
    };
    // Beside the registry that runs.
    fsck(&[]).ok().says("all is in order");
    fsck(&["--quick"]).ok();
    fsck(&["--read-data", "2/3", "--rate", "1000"]).ok();
    fsck(&["--read-data", "4/3"]).code(64).says("N from 1 to T");

    let layer = layers(&site, "team/app", "1").pop().unwrap();
    rot(&blob(&data, &layer));
    let hex = Digest::of(&site.target.manifest("team/tool", "1").unwrap()).hex();
    rot(&data.join("repositories/team/tool/_manifests").join(&hex));
    // And the record of the sequence itself.
    let tags = site.target.tags("bundle-ledger");
    let record = tags.iter().find(|tag| tag.starts_with("sequence-")).unwrap();
    let head = layers(&site, "bundle-ledger", record).remove(0);
    rot(&blob(&data, &head));

    let run = fsck(&["--output", "json"]).code(65).says("hint:").says("--repair");
    let answer = run.json();
    assert_eq!(answer["clean"], false);
    let findings = answer["findings"].as_array().unwrap();
    let find = |kind: &str, digest: &str| {
        let of = |one: &&serde_json::Value| one["kind"] == kind && one["digest"] == digest;
        findings.iter().find(of).unwrap_or_else(|| panic!("{kind} {digest}\n{run}"))
    };
    let found = find("blob-damaged", &layer);
    assert_eq!(found["tags"], serde_json::json!(["team/app:1"]));
    let part = found["holder"]["part"].as_str().unwrap();
    assert!(part.starts_with("mirror_seq1_") && site.path("media").join(part).exists());
    assert_eq!(found["holder"]["last"], true);
    // The copy is where it is said to be.
    let offset = usize::try_from(found["holder"]["offset"].as_u64().unwrap()).unwrap();
    let bytes = fs::read(site.path("media").join(part)).unwrap();
    let good = site.source.blob("team/app", &layer).unwrap();
    assert!(bytes[offset..].starts_with(&good));
    find("manifest-damaged", &format!("sha256:{hex}"));
    let found = find("blob-damaged", &head);
    assert_eq!(found["holder"]["part"], "mirror_seq1.manifest.json");
    // What this means for collections is told as well.
    assert!(findings.iter().any(|one| one["kind"] == "record-unusable"), "{run}");
    assert_eq!(findings.len(), 4, "{run}");

    // The registry runs, so it repairs; then it says that it has them not.
    fsck(&["--repair"]).code(65).says("moved to the quarantine").says("bundle import --from DIR");
    let host = site.target.host.clone();
    for path in [
        format!("/v2/team/app/blobs/{layer}"),
        format!("/v2/team/tool/manifests/sha256:{hex}"),
        "/v2/team/tool/manifests/1".to_owned(),
        format!("/v2/bundle-ledger/manifests/{record}"),
    ] {
        for method in ["HEAD", "GET"] {
            assert_eq!(request(&host, method, &path, &[], &[]).unwrap().status, 404, "{path}");
        }
    }
    assert_eq!(fs::read_dir(data.join("quarantine")).unwrap().count(), 3);
    fsck(&[]).code(65).says("a blob is missing");
    let status = || site.bundle(&["registry", "status", "--data-dir", text(&data)]);
    let hit = status().code(1).says("NOT WELL").says("quarantine and are not back");
    hit.says("team/app:1").says("bundle registry fsck --data-dir");

    let run = site.import("media", &["--output", "json"]).ok();
    assert_eq!(run.json()["sequences"][0]["blobsPushed"], 1, "only what was damaged\n{run}");
    site.same(IMAGES);
    fsck(&[]).ok().says("all is in order");
    status().ok().says("3 files in quarantine");
    let run = site.import("media", &[]).ok();
    assert!(run.stdout.contains("was there already"), "{run}");
}

#[test]
fn damage_of_an_old_sequence_is_put_back_from_its_own_medium() {
    let site = Site::new();
    site.source.image("team/app", "1", &[&noise(1, 700_000), &noise(2, 400_000)]);
    site.source.image("team/old", "1", &[&noise(1, 700_000), &noise(9, 3_900_000)]);
    site.images(&["team/app:1", "team/old:1"]);
    site.create("media1", &["--size", "1MiB"]).ok();
    // Its tag moves, and what it has of the first sequence is required from then on.
    site.source.image("team/app", "1", &[&noise(1, 700_000), &noise(3, 40_000)]);
    site.create("media2", &[]).ok();
    site.source.image("team/tool", "1", &[&noise(1, 700_000), b"tool"]);
    site.images(&["team/app:1", "team/old:1", "team/tool:1"]);
    site.create("media3", &[]).ok();
    site.import("media1", &["--put-back"])
        .code(64)
        .says("never imported")
        .says("without `--put-back`");
    for media in ["media1", "media2", "media3"] {
        site.import(media, &[]).ok();
    }
    let data = site.path("target");
    let fsck = |more: &[&str]| {
        let mut arguments = vec!["registry", "fsck", "--data-dir", text(&data)];
        arguments.extend(more);
        site.bundle(&arguments)
    };
    let stands = || {
        let of = |repository: &str| {
            let tags = site.target.tags(repository);
            tags.into_iter()
                .map(|tag| (site.target.manifest(repository, &tag).unwrap(), tag))
                .collect::<Vec<_>>()
        };
        ["team/app", "team/old", "team/tool", "bundle-ledger"].map(of)
    };
    let before = stands();
    fsck(&[]).ok();

    // A layer that all three need, a manifest that only the first brought, and the head of the first.
    let layer = layers(&site, "team/tool", "1").remove(0);
    rot(&blob(&data, &layer));
    let hex = Digest::of(&site.target.manifest("team/old", "1").unwrap()).hex();
    rot(&data.join("repositories/team/old/_manifests").join(&hex));
    let tags = site.target.tags("bundle-ledger");
    let record =
        tags.iter().find(|tag| tag.starts_with("sequence-") && tag.ends_with("-1")).unwrap();
    let head = layers(&site, "bundle-ledger", record).remove(0);
    rot(&blob(&data, &head));
    let run = fsck(&["--repair", "--output", "json"])
        .code(65)
        .says("put back what is missing of sequence 1")
        .says("`bundle import --put-back --from DIR docker://HOST:PORT`");
    let findings = run.json()["findings"].clone();
    let found =
        findings.as_array().unwrap().iter().find(|one| one["digest"] == *layer).unwrap().clone();
    assert_eq!(
        (&found["holder"]["sequence"], &found["holder"]["last"]),
        (&1.into(), &false.into())
    );
    let part = found["holder"]["part"].as_str().unwrap();
    assert!(part.starts_with("mirror_seq1_") && found["holder"]["offset"].is_u64(), "{run}");

    // As it was: an older sequence is refused, and says how it may help.
    site.import("media1", &[]).code(69).says("--put-back");
    // The part with it is on another disk: named, and nothing is done.
    let (away, there) = (site.path("away"), site.path("media1").join(part));
    fs::rename(&there, &away).unwrap();
    site.import("media1", &["--put-back"]).code(66).says(part);
    fs::rename(&away, &there).unwrap();
    // Parts that nothing is needed of may be missing.
    // What does not fit into a part goes on in the next.
    let number = |name: &str| name[12..18].parse::<u32>().unwrap();
    let needed: Vec<u32> = findings
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|one| one["holder"]["part"].as_str().filter(|name| name.ends_with(".tar")))
        .flat_map(|name| [number(name), number(name) + 1])
        .collect();
    let parts = support::files(&site.path("media1"));
    let spare = |name: &&String| name.ends_with(".tar") && !needed.contains(&number(name));
    let spare: Vec<&String> = parts.iter().filter(spare).collect();
    assert!(!spare.is_empty(), "{parts:?} {needed:?}");
    for name in &spare {
        fs::remove_file(site.path("media1").join(name)).unwrap();
    }
    let planned = site.import("media1", &["--put-back", "--dry-run"]).ok();
    planned.says("1 blob to put back");
    let run = site.import("media1", &["--put-back", "--output", "json"]).ok();
    let done = &run.json()["sequences"][0];
    assert_eq!(done["outcome"], "known");
    assert_eq!((&done["blobsPushed"], &done["tagsPut"]), (&1.into(), &0.into()), "{run}");
    fsck(&[]).ok().says("all is in order");
    assert_eq!(stands(), before, "no tag moved, and the records are as they were");
    site.same(&["team/app:1", "team/old:1", "team/tool:1"]);
    // Nothing more to do, and the next sequence is taken as ever.
    site.import("media1", &["--put-back"]).ok().says("says of damaged bytes that they are there");
    site.source.image("team/app", "2", &[&noise(1, 700_000), b"two"]);
    site.images(&["team/app:1", "team/app:2", "team/old:1", "team/tool:1"]);
    site.create("media4", &[]).ok();
    site.import("media4", &[]).ok();
}

#[test]
fn the_import_that_is_printed_goes_where_the_sequence_went() {
    let site = Site::new();
    site.source.image("team/app", "1", &[b"app"]);
    site.images(&["team/app:1"]);
    site.create("media", &[]).ok();
    let data = site.path("target");
    for (namespace, more, words) in [
        ("site/mirror", &[][..], "/site/mirror`"),
        ("flat/mirror", &["--max-nested-paths", "2"], "/flat/mirror --max-nested-paths 2`"),
    ] {
        let target = format!("{}/{namespace}", site.target.host);
        site.import_into(&target, "media", more).ok();
        let repository = match more {
            [] => format!("{namespace}/team/app"),
            _ => format!("{namespace}-team-app"),
        };
        let layer = layers(&site, &repository, "1").remove(0);
        rot(&blob(&data, &layer));
        let fsck = ["registry", "fsck", "--repair", "--data-dir", text(&data)];
        let run = site.bundle(&fsck).code(65);
        run.says(&format!("`bundle import --from DIR docker://HOST:PORT{words}"));
        // As printed, with what is known here.
        site.import_into(&target, "media", more).ok().says("1 blob put back");
    }
}

#[test]
fn what_arrives_damaged_is_sent_again_from_afar() {
    let site = imported();
    let data = site.path("target");
    let fsck = || site.bundle(&["registry", "fsck", "--data-dir", text(&data)]);
    // A layer of both images, and the index in the record of the sequence.
    let layer = layers(&site, "team/app", "1").remove(0);
    let tags = site.target.tags("bundle-ledger");
    let record = tags.iter().find(|tag| tag.starts_with("sequence-")).unwrap();
    let index = layers(&site, "bundle-ledger", record).remove(1);
    let again = ["--put-back", "--read-back"];
    site.import("media", &["--read-back"]).code(64);
    site.import("media", &again).ok().says("each byte read and proven");
    rot(&blob(&data, &layer));
    site.import("media", &["--put-back"]).ok().says("with `--read-back`");
    let target = format!("docker://{}", site.target.host);
    let (from, key) = (site.path("media"), site.key());
    let verify = ["verify", "--from", text(&from), "--against", &target, "--trust", text(&key)];
    let run = site.bundle(&verify).code(65).says("arrives damaged");
    let run = run.says("import --put-back --read-back");
    assert!(!run.stderr.contains("import the last sequence again"), "nothing is missing\n{run}");

    site.import("media", &[&again[..], &["--dry-run"]].concat()).ok().says("1 blob to put back");
    fsck().code(65);
    let before = site.target.manifest("bundle-ledger", record);
    let run = site.import("media", &[&again[..], &["--output", "json"]].concat()).ok();
    let done = &run.json()["sequences"][0];
    assert_eq!((&done["blobsPushed"], &done["tagsPut"]), (&1.into(), &0.into()), "{run}");
    fsck().ok().says("all is in order");
    site.bundle(&verify).ok();
    site.same(IMAGES);

    rot(&blob(&data, &index));
    site.import("media", &again).ok();
    fsck().ok().says("all is in order");
    assert_eq!(site.target.manifest("bundle-ledger", record), before, "no tag moved");
}

#[test]
fn a_registry_that_keeps_damaged_bytes_is_not_called_mended() {
    let Some(site) = Site::with(Kind::Embedded, Kind::Distribution) else { return };
    site.source.image("team/app", "1", &[&noise(1, 150_000), &noise(2, 40_000)]);
    site.images(&["team/app:1"]);
    site.create("media", &[]).ok();
    site.import("media", &[]).ok();
    let layer = layers(&site, "team/app", "1").pop().unwrap();
    let hex = layer.strip_prefix("sha256:").unwrap();
    let blobs = site.path("target/docker/registry/v2/blobs/sha256");
    rot(&blobs.join(&hex[..2]).join(hex).join("data"));
    let again = ["--put-back", "--read-back"];
    site.import("media", &again)
        .code(65)
        .says(&format!("still gives damaged ones: {}/team/app@{layer}", site.target.host))
        .says("collect its garbage");
    // As if its garbage had been collected.
    fs::remove_dir_all(blobs.join(&hex[..2]).join(hex)).unwrap();
    site.import("media", &again).ok().says("each byte read and proven");
    site.same(&["team/app:1"]);
}

#[test]
fn a_stopped_registry_is_repaired_by_the_command() {
    let site = imported();
    let layer = layers(&site, "team/app", "1").pop().unwrap();
    // The data of one that does not run.
    let data = site.path("copy");
    fs::create_dir(&data).unwrap();
    for name in ["store-version", "blobs", "repositories"] {
        let from = site.path("target").join(name);
        support::command::sh("cp", &["-r", text(&from), text(&data)]);
    }
    rot(&blob(&data, &layer));
    let arguments = ["registry", "fsck", "--data-dir", text(&data)];
    site.bundle(&[&arguments[..], &["--repair"]].concat())
        .code(65)
        .says("a blob is damaged")
        .says("moved to the quarantine");
    site.bundle(&arguments).code(65).says("a blob is missing");
    let nothing = site.path("nothing");
    fs::create_dir(&nothing).unwrap();
    site.bundle(&["registry", "fsck", "--data-dir", text(&nothing)]).refused(&[64]);
}

#[test]
fn a_blob_that_ends_too_early_for_the_registry_reads_as_missing_from_then_on() {
    use std::io::{Read, Write};
    let site = Site::new();
    let layer = noise(3, 48_000_000);
    let pushed = site.target.image("team/large", "1", &[&layer]);
    let digest = Digest::of(&layer);
    let path = blob(&site.path("target"), &digest.to_string());
    // More than the sockets hold, so the registry is still at it when the file is cut.
    let mut socket = std::net::TcpStream::connect(&site.target.host).unwrap();
    let address = format!("/v2/team/large/blobs/{digest}");
    write!(socket, "GET {address} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut some = [0; 1000];
    socket.read_exact(&mut some).unwrap();
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(1000).unwrap();
    // It breaks off, and does not pad.
    let mut rest = Vec::new();
    let _ = socket.read_to_end(&mut rest);
    assert!(rest.len() < layer.len());
    let status = || request(&site.target.host, "HEAD", &address, &[], &[]).unwrap().status;
    for _ in 0..500 {
        if status() == 404 {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert_eq!(status(), 404);
    // So a push repairs it.
    site.target.put_blob("team/large", &layer);
    assert_eq!(site.target.blob("team/large", &digest.to_string()), Some(layer));
    assert_eq!(pushed.repo, "team/large");
}
