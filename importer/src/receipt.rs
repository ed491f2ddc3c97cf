//! The receipt of an import: a small file in the workspace that says what came to which target.
//!
//! In: the report of a sequence. Out: `receipts/seqN-<digest>.json`, readable, below 4 KiB.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::durable;
use crate::error::ImportError;
use crate::report::ImportedSequence;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Receipt<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    target: &'a str,
    time: &'a str,
    tool: &'static str,
    /// What was proven: the signature, every cell, and by the registry the digest of every blob.
    proven: [&'static str; 3],
    #[serde(flatten)]
    sequence: &'a ImportedSequence,
}

/// Where the receipts lie in the directory of a target.
pub(crate) fn directory(target: &Path) -> PathBuf {
    target.join("receipts")
}

/// Whether the directory of the target has the receipt of a sequence.
pub(crate) fn is_there(directory: &Path, sequence: &ImportedSequence) -> bool {
    path(directory, sequence).exists()
}

fn path(directory: &Path, sequence: &ImportedSequence) -> PathBuf {
    let name = format!("seq{}-{}.json", sequence.sequence, sequence.digest.short());
    self::directory(directory).join(name)
}

/// Writes the receipt into the directory of the target.
pub(crate) fn write(
    directory: &Path,
    target: &str,
    time: &str,
    sequence: &ImportedSequence,
) -> Result<PathBuf, ImportError> {
    let path = path(directory, sequence);
    durable::directory(path.parent().unwrap_or(directory))?;
    let receipt = Receipt {
        kind: "application/vnd.bundle.receipt.v1+json",
        target,
        time,
        tool: crate::TOOL,
        proven: ["signature", "cells", "blobs"],
        sequence,
    };
    let mut bytes = serde_json::to_vec_pretty(&receipt).expect("only text keys");
    bytes.push(b'\n');
    durable::write(&path, &bytes)?;
    Ok(path)
}
