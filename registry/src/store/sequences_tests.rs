//! The records of the golden vectors' two sequences, as an import leaves them.

use std::collections::HashSet;

use format_spec::codec;
use serde_json::json;

use super::*;
use crate::media_type::{OCI_EMPTY, OCI_MANIFEST};

const MEDIA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../format-spec/vectors/media");

pub fn file(name: &str) -> Vec<u8> {
    fs_err::read(format!("{MEDIA}/{name}")).unwrap()
}

pub async fn put_blob(store: &Store, repository: &Repository, data: &[u8]) -> Digest {
    let digest = Digest::of(data);
    let upload = store.begin_upload(repository).unwrap();
    let mut appender = upload.append().await.unwrap();
    appender.write(data).unwrap();
    store.finish_upload(repository, appender, &digest).unwrap();
    digest
}

async fn artifact(store: &Store, repository: &Repository, tag: &str, layers: &[Vec<u8>]) {
    let descriptor = |kind: &str, bytes: &[u8]| json!({"mediaType": kind, "digest": Digest::of(bytes).to_string(), "size": bytes.len()});
    put_blob(store, repository, b"{}").await;
    for layer in layers {
        put_blob(store, repository, layer).await;
    }
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": record::SEQUENCE,
        "config": descriptor(OCI_EMPTY, b"{}"),
        "layers": layers.iter().map(|layer| descriptor("a/b", layer)).collect::<Vec<_>>(),
    });
    let (tag, bytes) = (tag.parse().unwrap(), manifest.to_string());
    store.put_manifest(repository, None, &[tag], None, bytes.as_bytes()).unwrap();
}

/// Leaves the records of these sequences of the golden vectors, and that the last one is where the store stands.
pub async fn imported(store: &Store, numbers: &[u64]) -> (Repository, StreamId) {
    let repository: Repository = "site/bundle-ledger".parse().unwrap();
    let mut stream = None;
    for number in numbers {
        let head = file(&format!("mirror_seq{number}.manifest.json"));
        let index = file(&format!("mirror_seq{number}.index"));
        let parsed = Head::parse(&head).unwrap();
        let tag = record::sequence_tag(parsed.stream, parsed.sequence);
        artifact(store, &repository, tag.as_str(), &[head, index]).await;
        let standing = json!({"stream": parsed.stream, "sequence": number}).to_string();
        let tag = format!("{STREAM_PREFIX}{}", parsed.stream);
        artifact(store, &repository, &tag, &[standing.into_bytes()]).await;
        stream = Some(parsed.stream);
    }
    (repository, stream.unwrap())
}

/// What the indexes of these sequences name.
fn named(numbers: &[u64]) -> HashSet<Digest> {
    let mut all = HashSet::new();
    for number in numbers {
        let index = codec::decode(&file(&format!("mirror_seq{number}.index"))).unwrap();
        all.extend(index.manifests.iter().map(|one| one.digest));
        all.extend(index.blobs.iter().map(|one| one.digest));
        all.extend(index.required.iter().map(|one| one.digest));
    }
    all
}

fn open() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    (dir, store)
}

fn ledger() -> Repository {
    "site/bundle-ledger".parse().unwrap()
}

fn at(number: u64) -> Sequence {
    Sequence::new(number).unwrap()
}

#[tokio::test]
async fn everything_since_the_last_full_sequence_is_pinned() {
    let (_dir, store) = open();
    assert_eq!(store.pinned(|_, _| panic!("nothing was imported")).unwrap(), []);
    let (_, stream) = imported(&store, &[1, 2]).await;
    let mut found = HashSet::new();
    let pinned = store.pinned(|_, digest| found.extend([digest])).unwrap();
    assert_eq!(
        pinned,
        [Pinned {
            repository: ledger(),
            stream,
            from: at(1),
            to: at(2),
            gaps: vec![],
            problem: None
        }]
    );
    assert_eq!(found, named(&[1, 2]));
    assert!(!found.is_empty());
}

#[tokio::test]
async fn a_sequence_whose_base_has_no_record_is_told() {
    let (_dir, store) = open();
    let (_, stream) = imported(&store, &[2]).await;
    let pinned = store.pinned(|_, _| {}).unwrap();
    assert_eq!(
        pinned,
        [Pinned {
            repository: ledger(),
            stream,
            from: at(2),
            to: at(2),
            gaps: vec![at(1)],
            problem: None
        }]
    );
}

#[tokio::test]
async fn a_record_that_cannot_be_read_is_told_and_never_an_empty_one() {
    let (dir, store) = open();
    imported(&store, &[1, 2]).await;
    for name in ["mirror_seq1.index", "mirror_seq2.index", "mirror_seq2.manifest.json"] {
        let good = file(name);
        let hex = Digest::of(&good).hex();
        let path = dir.path().join("blobs/sha256").join(&hex[..2]).join(&hex);
        // The middle of a digest: nothing but the hash of the whole notices.
        let mut bad = good.clone();
        bad[good.len() - 50] ^= 1;
        for bytes in [&bad, &good[..good.len() / 2].to_vec(), &Vec::new()] {
            fs_err::write(&path, bytes).unwrap();
            let pinned = store.pinned(|_, _| {}).unwrap();
            assert!(pinned[0].problem.is_some(), "{name}: {pinned:?}");
        }
        fs_err::remove_file(&path).unwrap();
        assert!(store.pinned(|_, _| {}).unwrap()[0].problem.is_some());
        fs_err::write(&path, &good).unwrap();
    }
    assert_eq!(store.pinned(|_, _| {}).unwrap()[0].unknown(), None);
}

#[tokio::test]
async fn the_part_with_a_good_copy_is_named() {
    let (_dir, store) = open();
    let (_, stream) = imported(&store, &[1, 2]).await;
    let first = codec::decode(&file("mirror_seq1.index")).unwrap();
    let blob = &first.blobs[0];
    let manifest = codec::decode(&file("mirror_seq2.index")).unwrap().manifests[0].clone();
    let index = Digest::of(&file("mirror_seq2.index"));
    let none = Digest::of(b"nobody has this");
    let wanted = [blob.digest, manifest.digest, index, none].into();
    let held = store.holders(&wanted).unwrap();
    assert_eq!(held.len(), 3);
    let place = |digest, sequence: u64, part: String, offset, last| {
        let sequence = at(sequence);
        let expected = Holder { ledger: ledger(), stream, sequence, part, offset, last };
        assert_eq!(held[&digest], expected);
    };
    let part = |sequence, piece: &format_spec::part::Piece| {
        format!("mirror_seq{sequence}_{:06}.tar", piece.part)
    };
    let piece = &blob.pieces[0];
    place(blob.digest, 1, part(1, piece), piece.offset, false);
    let piece = &manifest.pieces[0];
    place(manifest.digest, 2, part(2, piece), piece.offset, true);
    place(index, 2, "mirror_seq2.index".to_owned(), 0, true);
}

#[tokio::test]
async fn a_record_that_lost_something_is_taken_away_and_leaves_a_gap() {
    let (dir, store) = open();
    let (repository, stream) = imported(&store, &[1, 2]).await;
    assert_eq!(store.drop_broken_records().unwrap(), 0);
    let lose = |name: &str| {
        let hex = Digest::of(&file(name)).hex();
        fs_err::remove_file(dir.path().join("blobs/sha256").join(&hex[..2]).join(&hex)).unwrap();
    };
    lose("mirror_seq2.index");
    assert_eq!(store.drop_broken_records().unwrap(), 1);
    let expected = Pinned {
        repository: ledger(),
        stream,
        from: at(1),
        to: at(1),
        gaps: vec![at(2)],
        problem: None,
    };
    assert_eq!(store.pinned(|_, _| {}).unwrap(), [expected]);
    lose("mirror_seq1.manifest.json");
    assert_eq!(store.drop_broken_records().unwrap(), 1);
    // What is known of the stream is that it was followed.
    let expected = Pinned {
        repository: ledger(),
        stream,
        from: at(2),
        to: at(2),
        gaps: vec![at(2)],
        problem: None,
    };
    assert_eq!(store.pinned(|_, _| {}).unwrap(), [expected]);
    assert_eq!(store.tags(&repository, "", 10).unwrap().unwrap().entries.len(), 1);
}
