//! How long a reader needs for the largest histories: decode, validate and encode an index of a
//! million blobs, and plan a layout of as many. Prints milliseconds; peak memory by `/usr/bin/time -v`.
#![allow(
    missing_docs,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a measurement, not a program"
)]

use std::time::Instant;

use format_spec::head::Head;
use format_spec::index::{Blob, Encoding, Index, ManifestEntry, ReferenceEntry, Required};
use format_spec::part::Layout;
use format_spec::{Digest, Sequence, StreamId, codec, head};

fn timed<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let value = work();
    println!("{what:<24} {:>7} ms", start.elapsed().as_millis());
    value
}

fn main() {
    let count: usize =
        std::env::var("BLOBS").ok().and_then(|n| n.parse().ok()).unwrap_or(1_000_000);
    let sizes: Vec<u64> = (0..count as u64).map(|n| n * 7919 % 100_000).collect();
    let layout = timed("plan", || Layout::plan(&sizes, 1 << 30).unwrap());
    let mut digests: Vec<Digest> =
        (0..count as u64).map(|n| Digest::of(&n.to_le_bytes())).collect();
    digests.sort_unstable();
    let (blobs, manifests) = (count - count / 10, count / 10);
    let stream = StreamId::from_bytes([1; 16]);
    let index = Index {
        stream,
        sequence: Sequence::FIRST,
        repositories: vec!["app/web".parse().unwrap()],
        manifests: (blobs..blobs + manifests)
            .map(|n| ManifestEntry {
                digest: digests[n],
                size: sizes[n],
                media_type: "application/vnd.oci.image.manifest.v1+json".to_owned(),
                pieces: layout.pieces[n].clone(),
                repositories: vec![0],
            })
            .collect(),
        blobs: (0..blobs)
            .map(|n| Blob {
                digest: digests[n],
                size: sizes[n],
                encoding: Encoding::Raw,
                pieces: layout.pieces[n].clone(),
                repositories: vec![0],
            })
            .collect(),
        required: (0..count)
            .map(|n| Required {
                digest: {
                    let mut bytes = *digests[n].as_bytes();
                    bytes[31] ^= 1;
                    Digest::from_bytes(bytes)
                },
                size: 5,
                home: 0,
                repositories: vec![0],
            })
            .collect(),
        references: (blobs..blobs + manifests)
            .map(|n| ReferenceEntry {
                repository: 0,
                tag: Some(format!("v{n}").parse().unwrap()),
                digest: digests[n],
                source: format!("registry.example/app/web:v{n}"),
                class: head::ContentClass::Additional,
            })
            .collect(),
        removals: Vec::new(),
        resources: Vec::new(),
    };
    let parts = layout
        .parts
        .iter()
        .zip(0..)
        .map(|(part, number)| head::Part {
            name: format_spec::part::FileName::Part(Sequence::FIRST, number).to_string(),
            bytes: part.bytes,
            table: Digest::of(b""),
        })
        .collect();
    drop((layout, sizes, digests));
    let bytes = timed("encode", || codec::encode(&index).unwrap());
    println!("{:<24} {:>7} KiB", "index", bytes.len() / 1024);
    drop(index);
    let index = timed("decode", || codec::decode(&bytes).unwrap());
    let head = Head {
        type_: head::HEAD_TYPE.to_owned(),
        format_version: 1,
        crit: Vec::new(),
        stream,
        sequence: Sequence::FIRST,
        kind: head::Kind::Full,
        previous: None,
        tail: Vec::new(),
        base: None,
        created: "2026-01-01T00:00:00Z".to_owned(),
        tool: head::Tool { name: String::new(), version: String::new() },
        cell_bytes: 65536,
        parts,
        index: head::IndexEntry { digest: Digest::of(&bytes), bytes: bytes.len() as u64 },
        totals: head::Totals::default(),
        failures: Vec::new(),
        labels: std::collections::BTreeMap::new(),
        expires: None,
        next_expected: None,
    };
    timed("validate", || index.validate(&head).unwrap());
    let text = head.to_bytes();
    timed("parse the head", || Head::parse(&text).unwrap());
}
