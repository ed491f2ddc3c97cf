//! A directory for what is not finished, beside the place where it goes.
//!
//! In: a directory that a person named. Out: another one in it, gone with the value. What must hold: what a killed run left is
//! taken away by the next one, and nothing of a run that is still at work.

use std::fs::TryLockError;
use std::io;
use std::path::{Path, PathBuf};

use fs_err as fs;
use tempfile::TempDir;

/// What the names of such directories begin with.
const NAME: &str = ".unfinished-";

/// A directory for what is not finished.
#[derive(Debug)]
pub struct Scratch {
    directory: TempDir,
    /// Held while it is in use.
    _lock: std::fs::File,
}

impl Scratch {
    /// Makes one in `within`, which is there.
    ///
    /// # Errors
    /// I/O.
    pub fn open(within: &Path) -> io::Result<Self> {
        sweep(within)?;
        let directory = tempfile::Builder::new().prefix(NAME).tempdir_in(within)?;
        let lock = fs::File::open(directory.path())?.into_file();
        // Without locks a later run leaves what a killed one left.
        let _ = lock.try_lock();
        Ok(Self { directory, _lock: lock })
    }

    /// Where it is.
    pub fn path(&self) -> PathBuf {
        self.directory.path().to_owned()
    }
}

/// Takes away what killed runs left.
fn sweep(within: &Path) -> io::Result<()> {
    for entry in fs::read_dir(within)? {
        let entry = entry?;
        let ours = entry.file_name().as_encoded_bytes().starts_with(NAME.as_bytes());
        if !ours || !entry.file_type()?.is_dir() {
            continue;
        }
        let lock = match fs::File::open(entry.path()) {
            Ok(directory) => directory.into_file(),
            // Another run was the first to take it away.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        match lock.try_lock() {
            Ok(()) => fs::remove_dir_all(entry.path())?,
            // Another run is at work there, or nobody can tell.
            Err(TryLockError::WouldBlock | TryLockError::Error(_)) => {}
        }
    }
    Ok(())
}
