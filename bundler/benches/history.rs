//! What a long history costs: reading it back and planning against it.
//!
//! `BLOBS=1000000 cargo bench -p bundler --bench history` prints seconds and the peak of resident
//! memory. The bars: 1,000,000 known blobs planned in 3 s; 100,000 in 256 MiB.
#![allow(missing_docs, clippy::exit, clippy::disallowed_methods, reason = "a measurement")]

use std::time::Instant;

use bundler::history::History;
use bundler::plan::{self, Basis};
use bundler::resolve::Resolved;
use format_spec::head::{FORMAT_VERSION, HEAD_TYPE, Head, IndexEntry, Kind, Tool, Totals};
use format_spec::index::{Blob, Encoding, Index};
use format_spec::limits::{CELL, PART_DEFAULT};
use format_spec::part::{FileName, Layout};
use format_spec::{Digest, Sequence, StreamId, codec};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let count: u64 = std::env::var("BLOBS").ok().and_then(|n| n.parse().ok()).unwrap_or(100_000);
    let workspace = tempfile::tempdir()?;
    write_history(workspace.path(), count)?;
    let start = Instant::now();
    let history = History::open(workspace.path())?;
    let known = history.known(None)?;
    let read = start.elapsed();
    let basis = Basis {
        stream: StreamId::from_bytes([1; 16]),
        sequence: Sequence::FIRST.next().ok_or("the second")?,
        known: &known,
        standing: &known,
        part_bytes: PART_DEFAULT,
    };
    let plan = plan::make(&Resolved::default(), &basis)?;
    let status = std::fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or("VmHWM: unknown");
    let mut out = std::io::stdout().lock();
    std::io::Write::write_fmt(
        &mut out,
        format_args!(
            "{count} blobs: history {:.2} s, with the plan {:.2} s, {} known, {} removals, {peak}\n",
            read.as_secs_f64(),
            start.elapsed().as_secs_f64(),
            known.blobs(),
            plan.index.removals.len(),
        ),
    )?;
    Ok(())
}

/// A history of one full sequence with `count` blobs in 1,000 repositories. Run in a child, so that
/// its memory does not count.
fn write_history(
    workspace: &std::path::Path,
    count: u64,
) -> Result<(), Box<dyn std::error::Error>> {
    if let Ok(directory) = std::env::var("BUNDLE_BENCH_WRITE") {
        generate(directory.as_ref(), count)?;
        std::process::exit(0);
    }
    let child = std::process::Command::new(std::env::current_exe()?)
        .env("BUNDLE_BENCH_WRITE", workspace)
        .status()?;
    if child.success() { Ok(()) } else { Err("the child failed".into()) }
}

fn generate(workspace: &std::path::Path, count: u64) -> Result<(), Box<dyn std::error::Error>> {
    let mut repositories = Vec::new();
    for number in 0..1000 {
        repositories.push(format!("bench/repository-{number:04}").parse()?);
    }
    let mut digests: Vec<Digest> = (0..count).map(|n| Digest::of(&n.to_le_bytes())).collect();
    digests.sort();
    let layout = Layout::plan(&vec![1000; digests.len()], PART_DEFAULT)?;
    let blobs = digests
        .into_iter()
        .zip(&layout.pieces)
        .zip(0_u32..)
        .map(|((digest, pieces), n)| Blob {
            digest,
            size: 1000,
            encoding: Encoding::Raw,
            pieces: pieces.clone(),
            repositories: vec![n % 1000],
        })
        .collect();
    let index = Index {
        stream: StreamId::from_bytes([1; 16]),
        sequence: Sequence::FIRST,
        repositories,
        manifests: Vec::new(),
        blobs,
        required: Vec::new(),
        references: Vec::new(),
        removals: Vec::new(),
        resources: Vec::new(),
    };
    let bytes = codec::encode(&index)?;
    let head = Head {
        type_: HEAD_TYPE.to_owned(),
        format_version: FORMAT_VERSION,
        crit: Vec::new(),
        stream: index.stream,
        sequence: index.sequence,
        kind: Kind::Full,
        previous: None,
        tail: Vec::new(),
        base: None,
        created: "2026-01-01T00:00:00Z".to_owned(),
        tool: Tool { name: "bundle".to_owned(), version: "0".to_owned() },
        cell_bytes: CELL as u64,
        parts: (0_u32..)
            .zip(&layout.parts)
            .map(|(n, part)| format_spec::head::Part {
                name: FileName::Part(index.sequence, n).to_string(),
                bytes: part.bytes,
                table: Digest::of(b""),
            })
            .collect(),
        index: IndexEntry { digest: Digest::of(&bytes), bytes: bytes.len() as u64 },
        totals: Totals::default(),
        failures: Vec::new(),
        labels: std::collections::BTreeMap::new(),
        expires: None,
        next_expected: None,
    };
    let history = workspace.join("history");
    fs_err::create_dir_all(&history)?;
    fs_err::write(history.join("seq1.index"), &bytes)?;
    fs_err::write(history.join("seq1.sig"), "{}")?;
    fs_err::write(history.join("seq1.json"), head.to_bytes())?;
    Ok(())
}
