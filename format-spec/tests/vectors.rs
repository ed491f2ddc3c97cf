//! The golden vectors: written from fixed content, compared byte for byte, read back, and every
//! fault refused by the check that it is made for.
//!
//! `UPDATE_VECTORS=1 cargo test -p format-spec --test vectors` writes them again. A difference means
//! that the format changed: that needs a new format version, never new vectors alone.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

mod common;
mod faults;

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use common::{Draft, Files, key, read, sequence, tiny};
use format_spec::Digest;
use format_spec::head::{ContentClass, Failure, Kind, Link};
use format_spec::index::{Index, RepositoryId};
use format_spec::part::Piece;
use serde_json::{Value, json};

fn vectors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors")
}

/// Numbered lines: unlike anything random, they take little room in a repository.
fn lines(bytes: usize) -> Vec<u8> {
    let mut data = Vec::with_capacity(bytes + 64);
    for n in 0.. {
        if data.len() >= bytes {
            break;
        }
        data.extend_from_slice(
            format!("{n:08} line of a layer of the golden vectors\n").as_bytes(),
        );
    }
    data.truncate(bytes);
    data
}

/// A full sequence whose layer is split over two parts, and an increment on it.
fn media() -> Files {
    let config1 =
        b"{\"architecture\":\"amd64\",\"os\":\"linux\",\"created\":\"2026-01-01T00:00:00Z\"}";
    let config2 =
        b"{\"architecture\":\"amd64\",\"os\":\"linux\",\"created\":\"2026-01-02T00:00:00Z\"}";
    let layer1 = lines(1 << 20);
    let layer2 = lines(100_000);

    let mut first = Draft::new(1, Kind::Full, Vec::new());
    first.repositories(&["app/web"]);
    first.blob(config1, &[0]);
    first.blob(&layer1, &[0]);
    let manifest1 = first.manifest(config1, &[&layer1], &[0]);
    first.reference(0, Some("1.0"), manifest1);
    first.head.labels.insert("classification".to_owned(), "none".to_owned());
    let mut files = first.build(None);

    let head1 = Digest::of(&files["mirror_seq1.manifest.json"]);
    let previous = Link { sequence: sequence(1), digest: head1 };
    let mut second = Draft::new(2, Kind::Incremental, vec![previous]);
    second.repositories(&["app/debug", "app/web"]);
    second.blob(config2, &[0, 1]);
    second.blob(&layer2, &[0, 1]);
    second.blob(b"", &[1]);
    second.require(&layer1, 1, &[0, 1]);
    let manifest2 = second.manifest(config2, &[&layer1, &layer2], &[0, 1]);
    second.reference(1, Some("1.1"), manifest2);
    second.reference(0, None, manifest2);
    second.remove(1, Some("1.0"), manifest1);
    second.resource("idms", b"apiVersion: config.openshift.io/v1\n");
    second.head.created = "2026-01-02T03:04:05.250Z".to_owned();
    second.head.expires = Some("2027-01-02T03:04:05Z".to_owned());
    second.head.next_expected = Some("2026-02-02T03:04:05Z".to_owned());
    second.head.failures.push(Failure {
        reference: "registry.example/app/gone:1.0".to_owned(),
        class: ContentClass::Additional,
        reason: "the registry answered 404: \"manifest unknown\"".to_owned(),
    });
    files.extend(second.build(None));
    files
}

/// Everything that a reader learns from a sequence, as JSON.
fn describe(files: &Files, number: u64) -> Value {
    let proven = read(files, sequence(number), &[key().public()]).unwrap();
    let index: &Index = &proven.index;
    let names = |ids: &[RepositoryId]| {
        ids.iter().map(|id| index.repository(*id).to_string()).collect::<Vec<_>>()
    };
    let pieces = |pieces: &[Piece]| {
        pieces.iter().map(|p| json!([p.part, p.offset, p.size])).collect::<Vec<_>>()
    };
    json!({
        "sequence": number,
        "digest": proven.digest.to_string(),
        "signers": proven.signers,
        "head": serde_json::to_value(&proven.head).unwrap(),
        "repositories": index.repositories.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "manifests": index.manifests.iter().map(|m| json!({
            "digest": m.digest.to_string(), "size": m.size, "mediaType": m.media_type,
            "pieces": pieces(&m.pieces), "repositories": names(&m.repositories),
        })).collect::<Vec<_>>(),
        "blobs": index.blobs.iter().map(|b| json!({
            "digest": b.digest.to_string(), "size": b.size, "encoding": "raw",
            "pieces": pieces(&b.pieces), "repositories": names(&b.repositories),
        })).collect::<Vec<_>>(),
        "required": index.required.iter().map(|r| json!({
            "digest": r.digest.to_string(), "size": r.size,
            "home": index.repository(r.home).to_string(), "repositories": names(&r.repositories),
        })).collect::<Vec<_>>(),
        "references": index.references.iter().map(|r| json!({
            "repository": index.repository(r.repository).to_string(),
            "tag": r.tag.as_ref().map(ToString::to_string),
            "digest": r.digest.to_string(), "source": r.source,
            "class": serde_json::to_value(r.class).unwrap(),
        })).collect::<Vec<_>>(),
        "removals": index.removals.iter().map(|r| json!({
            "repository": index.repository(r.repository).to_string(),
            "tag": r.tag.as_ref().map(ToString::to_string), "digest": r.digest.to_string(),
        })).collect::<Vec<_>>(),
        "resources": index.resources.iter().map(|r| json!({
            "name": r.name, "content": String::from_utf8(r.content.clone()).unwrap(),
        })).collect::<Vec<_>>(),
    })
}

/// One entry of faults.json: which files of `base` are replaced (base64), removed (null) or patched.
fn fault_entries() -> Vec<Value> {
    let good = tiny().build(None);
    let mut entries = Vec::new();
    for case in faults::signed() {
        let files = tiny().build(Some(&case.fault));
        let changed: serde_json::Map<String, Value> = files
            .iter()
            .filter(|(name, bytes)| good[*name] != **bytes)
            .map(|(name, bytes)| (name.clone(), json!(BASE64_STANDARD.encode(bytes))))
            .collect();
        assert!(!changed.is_empty(), "{} changes nothing", case.name);
        entries.push(json!({
            "name": case.name, "expect": case.expect, "base": "tiny", "sequence": 1,
            "replace": changed,
        }));
    }
    for patch in faults::PATCHES {
        entries.push(json!({
            "name": patch.name, "expect": patch.expect, "base": "media",
            "sequence": patch.sequence, "patch": {
                "file": patch.file, "xor": patch.xor.map(|(at, with)| json!([at, with])),
                "bytes": patch.bytes, "from": patch.from,
            },
        }));
    }
    entries
}

/// The files of a base with one entry of faults.json put in.
fn damage(base: &Files, entry: &Value) -> Files {
    let mut files = base.clone();
    if let Some(replace) = entry["replace"].as_object() {
        for (name, content) in replace {
            let bytes = BASE64_STANDARD.decode(content.as_str().unwrap()).unwrap();
            files.insert(name.clone(), bytes);
        }
    }
    if let Some(patch) = entry["patch"].as_object() {
        let name = patch["file"].as_str().unwrap();
        if let Some(from) = patch["from"].as_str() {
            let other = base[from].clone();
            files.insert(name.to_owned(), other);
        } else if let Some(xor) = patch["xor"].as_array() {
            let at = usize::try_from(xor[0].as_u64().unwrap()).unwrap();
            files.get_mut(name).unwrap()[at] ^= u8::try_from(xor[1].as_u64().unwrap()).unwrap();
        } else if let Some(bytes) = patch["bytes"].as_u64() {
            files.get_mut(name).unwrap().resize(usize::try_from(bytes).unwrap(), 0);
        } else {
            files.remove(name);
        }
    }
    files
}

fn load(directory: &Path) -> Files {
    fs_err::read_dir(directory)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            (entry.file_name().into_string().unwrap(), fs_err::read(entry.path()).unwrap())
        })
        .collect()
}

fn pretty(value: &Value) -> String {
    format!("{}\n", serde_json::to_string_pretty(value).unwrap())
}

#[test]
fn the_vectors_stand_as_they_are_written_today() {
    let (media, tiny) = (media(), tiny().build(None));
    let expected = json!({
        "media": [describe(&media, 1), describe(&media, 2)],
        "tiny": [describe(&tiny, 1)],
    });
    let faults = Value::from(fault_entries());
    let key_pem = key().to_pem();
    if std::env::var_os("UPDATE_VECTORS").is_some() {
        for (directory, files) in [("media", &media), ("tiny", &tiny)] {
            fs_err::create_dir_all(vectors().join(directory)).unwrap();
            for (name, bytes) in files {
                fs_err::write(vectors().join(directory).join(name), bytes).unwrap();
            }
        }
        fs_err::write(vectors().join("expected.json"), pretty(&expected)).unwrap();
        fs_err::write(vectors().join("faults.json"), pretty(&faults)).unwrap();
        fs_err::write(vectors().join("key.pem"), key_pem.as_bytes()).unwrap();
        fs_err::write(vectors().join("key.pub.pem"), key().public().to_pem()).unwrap();
    }
    for (directory, files) in [("media", &media), ("tiny", &tiny)] {
        let there = load(&vectors().join(directory));
        assert!(there.keys().eq(files.keys()), "{directory} holds other files");
        for (name, bytes) in files {
            assert!(there[name] == *bytes, "{directory}/{name} is written differently today");
        }
    }
    let parse = |name: &str| -> Value {
        serde_json::from_slice(&fs_err::read(vectors().join(name)).unwrap()).unwrap()
    };
    assert_eq!(parse("expected.json"), expected);
    assert_eq!(parse("faults.json"), faults);
    assert_eq!(fs_err::read(vectors().join("key.pem")).unwrap(), key_pem.as_bytes());
}

#[test]
fn a_layer_of_the_vectors_is_split_over_two_parts() {
    let first = describe(&media(), 1);
    let split: Vec<_> = first["blobs"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|blob| blob["pieces"].as_array().unwrap().len() == 2)
        .collect();
    assert_eq!(split.len(), 1);
}

#[test]
fn every_fault_is_refused_by_the_check_it_is_made_for() {
    let faults: Value =
        serde_json::from_slice(&fs_err::read(vectors().join("faults.json")).unwrap()).unwrap();
    let (media, tiny) = (load(&vectors().join("media")), load(&vectors().join("tiny")));
    let mut wrong = Vec::new();
    for entry in faults.as_array().unwrap() {
        let base = if entry["base"] == "tiny" { &tiny } else { &media };
        let files = damage(base, entry);
        let number = sequence(entry["sequence"].as_u64().unwrap());
        let answer = read(&files, number, &[key().public()]).map_or_else(|kind| kind, |_| "ok");
        if answer != entry["expect"] {
            wrong.push(format!("{}: {answer} instead of {}", entry["name"], entry["expect"]));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(faults.as_array().unwrap().len() > 60);
}
