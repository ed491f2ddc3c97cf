//! How far an interrupted create had filled the places of the parts.
//!
//! In: the layout of a sequence. Out: how many bytes of each blob and manifest the last run had written for the very
//! same layout in the very same directory. The journal is a hint and needs no fsync: what it names is
//! read back and hashed before it counts, so after a power cut it can only cost time.

use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use format_spec::Digest;
use format_spec::hash::Hasher;
use fs_err as fs;

use crate::durable;
use crate::error::CreateError;
use crate::plan::Plan;

/// Bytes of a journal: 80 for each of two million blobs, and for every 8 MiB of them.
const JOURNAL_MAX: u64 = 512 * 1024 * 1024;

/// Where the journal lies in the directory of the history.
pub fn path(history: &Path) -> PathBuf {
    history.join("slots")
}

/// The journal of one create.
#[derive(Debug)]
pub struct Slots {
    path: PathBuf,
    file: Mutex<fs::File>,
    reached: HashMap<Digest, u64>,
}

impl Slots {
    /// Opens the journal for `plan` in `medium`. A journal of another plan is forgotten.
    pub fn open(workspace: &Path, medium: &Path, plan: &Plan) -> Result<Self, CreateError> {
        let path = path(&workspace.join("history"));
        let fingerprint = fingerprint(medium, plan);
        let file = CreateError::file("open the journal of the parts");
        // An unreadable journal is an empty one.
        let old = durable::read(&path, JOURNAL_MAX).ok().flatten().unwrap_or_default();
        let old = String::from_utf8_lossy(&old);
        let mut lines = old.lines();
        let reached = if lines.next() == Some(&fingerprint.to_string()) {
            // Of a place the last line counts. One that was cut off is none.
            let place = |line: &str| {
                let (digest, bytes) = line.split_once(' ')?;
                Some((digest.parse().ok()?, bytes.strip_suffix('.')?.parse().ok()?))
            };
            lines.filter_map(place).collect()
        } else {
            let begin = format!("{fingerprint}\n");
            durable::write(&path, begin.as_bytes()).map_err(&file)?;
            HashMap::new()
        };
        let append = fs::OpenOptions::new().append(true).open(&path).map_err(&file)?;
        Ok(Self { path, file: Mutex::new(append), reached })
    }

    /// How many bytes the last run had written of this blob or manifest; `None` when it had not begun.
    pub fn reached(&self, digest: &Digest) -> Option<u64> {
        self.reached.get(digest).copied()
    }

    /// Notes how many bytes of a place are written. A failure costs only time in the next run.
    pub fn note(&self, digest: &Digest, bytes: u64) {
        let mut file = crate::lock(&self.file);
        if let Err(error) = file.write_all(format!("{digest} {bytes}.\n").as_bytes()) {
            tracing::debug!(%error, "the journal of the parts");
        }
    }

    /// Forgets everything: the sequence is published. The history did so already when it took it in.
    pub fn close(self) {
        forget(&self.path);
    }
}

/// Takes a journal away, durably. One that stays costs only its space.
pub fn forget(path: &Path) {
    let removed = fs::remove_file(path);
    let directory = path.parent().unwrap_or(path);
    if let Err(error) = removed.and_then(|()| durable::sync_directory(directory)) {
        tracing::debug!(%error, "the journal of the parts");
    }
}

fn fingerprint(medium: &Path, plan: &Plan) -> Digest {
    let mut hash = Hasher::new();
    hash.update(medium.as_os_str().as_encoded_bytes());
    hash.update(&plan.index.stream.to_bytes());
    hash.update(&plan.index.sequence.get().to_le_bytes());
    for part in &plan.parts {
        hash.update(&part.bytes.to_le_bytes());
    }
    for item in &plan.items {
        hash.update(item.digest.as_bytes());
        hash.update(&item.size.to_le_bytes());
    }
    hash.finish()
}
