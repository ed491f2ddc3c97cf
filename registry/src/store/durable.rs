//! The one place where files become durable: data, sync, rename, sync of the directory.
//!
//! In: bytes or a finished file, and where it belongs. Out: a file under its final name that
//! survives a loss of power. What must hold: no sync is repeated after it failed; nothing is
//! written in place.

use std::collections::HashSet;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use super::StoreError;
use super::uploads::random_hex;
use crate::regular;

/// Directories remembered as durable; about 1 MiB of paths.
const KNOWN_MAX: usize = 8192;

/// Writes pointers and links, makes directories, and remembers a failed sync.
pub(super) struct Durable {
    temporary: PathBuf,
    known: Mutex<HashSet<PathBuf>>,
    failed: OnceLock<String>,
}

impl Durable {
    pub(super) fn new(temporary: PathBuf) -> Self {
        Self { temporary, known: Mutex::default(), failed: OnceLock::new() }
    }

    /// Makes the directory of temporary files and removes what a crash left in it. Only for the
    /// process that holds the lock.
    pub(super) fn clear_temporary(&self) -> Result<(), StoreError> {
        fs_err::create_dir_all(&self.temporary)?;
        for entry in fs_err::read_dir(&self.temporary)? {
            fs_err::remove_file(entry?.path())?;
        }
        Ok(())
    }

    pub(super) fn failed(&self) -> Option<&str> {
        self.failed.get().map(String::as_str)
    }

    pub(super) fn writable(&self) -> Result<(), StoreError> {
        match self.failed() {
            Some(reason) => Err(StoreError::Failed { reason: reason.to_owned() }),
            None => Ok(()),
        }
    }

    /// Judges the outcome of a sync. A full disk can be told only now (delayed allocation); that
    /// loses one file and no more. Anything else ends writing to this store.
    pub(super) fn synced(&self, outcome: io::Result<()>) -> Result<(), StoreError> {
        outcome.map_err(|error| {
            let error = StoreError::from(error);
            if !error.is_full() {
                let reason = error.to_string();
                tracing::error!(%reason, "sync failed: no more writes are accepted");
                // The first failure stays.
                let _ = self.failed.set(reason);
            }
            error
        })
    }

    /// Makes the entries of a directory durable.
    pub(super) fn sync_dir(&self, dir: &Path) -> Result<(), StoreError> {
        let file = fs_err::File::open(dir)?;
        self.synced(file.sync_all())
    }

    /// Makes `dir` and every directory between it and `base`, which exists, durable.
    pub(super) fn make_dirs(&self, base: &Path, dir: &Path) -> Result<(), StoreError> {
        // The lock is held while syncing: a second caller must not go on before the entry of the
        // directory it is going to write into is durable.
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.contains(dir) {
            return Ok(());
        }
        let below = dir.strip_prefix(base).unwrap_or(dir);
        let mut at = base.to_owned();
        for component in below.components() {
            let parent = at.clone();
            at.push(component);
            if known.contains(&at) {
                continue;
            }
            make_dir(&at)?;
            self.sync_dir(&parent)?;
            if known.len() >= KNOWN_MAX {
                known.clear();
            }
            known.insert(at.clone());
        }
        Ok(())
    }

    /// Makes many directories in `base` and syncs it once.
    pub(super) fn make_all(
        &self,
        base: &Path,
        names: impl Iterator<Item = String>,
    ) -> Result<(), StoreError> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        for name in names {
            let path = base.join(name);
            make_dir(&path)?;
            known.insert(path);
        }
        self.sync_dir(base)
    }

    /// Writes a small file under `dir/name`, replacing what is there as a whole.
    pub(super) fn write(&self, dir: &Path, name: &str, parts: &[&[u8]]) -> Result<(), StoreError> {
        self.writable()?;
        let temporary = self.temporary.join(random_hex()?);
        let written = self.write_temporary(&temporary, parts);
        if let Err(error) = written.and_then(|()| self.place(&temporary, dir, name)) {
            // Best effort: the next start empties the directory.
            let _ = fs_err::remove_file(&temporary);
            return Err(error);
        }
        Ok(())
    }

    fn write_temporary(&self, path: &Path, parts: &[&[u8]]) -> Result<(), StoreError> {
        let mut file = fs_err::OpenOptions::new().write(true).create_new(true).open(path)?;
        for part in parts {
            file.write_all(part)?;
        }
        self.synced(file.sync_data())
    }

    /// Moves a file whose bytes are synced to `dir/name`.
    pub(super) fn place(&self, from: &Path, dir: &Path, name: &str) -> Result<(), StoreError> {
        self.writable()?;
        fs_err::rename(from, dir.join(name))?;
        self.sync_dir(dir)
    }

    /// Makes the empty file `dir/name`. Its entry is all there is to it.
    pub(super) fn mark(&self, dir: &Path, name: &str) -> Result<(), StoreError> {
        self.writable()?;
        match fs_err::OpenOptions::new().write(true).create_new(true).open(dir.join(name)) {
            Ok(_) => {}
            // Synced all the same: whoever made it may not have got that far.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error.into()),
        }
        self.sync_dir(dir)
    }

    /// Removes a directory that is empty; `false` when it is not. Whoever is about to write into it has to be
    /// kept out by the caller, from [`Durable::make_dirs`] on.
    pub(super) fn remove_dir(&self, dir: &Path) -> Result<bool, StoreError> {
        self.writable()?;
        // A path that is made at the same time is made whole, or not begun.
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match fs_err::remove_dir(dir) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty || is_absent(&error) => {
                return Ok(false);
            }
            Err(error) => return Err(error.into()),
        }
        known.remove(dir);
        Ok(true)
    }

    /// Removes `dir/name`; `false` when there is none.
    pub(super) fn remove(&self, dir: &Path, name: &str) -> Result<bool, StoreError> {
        self.writable()?;
        if !remove_if_there(&dir.join(name))? {
            return Ok(false);
        }
        self.sync_dir(dir)?;
        Ok(true)
    }

    /// Removes these entries of `dir` and syncs it once: thousands of tags would hold up others for seconds. Returns how many
    /// there were.
    pub(super) fn remove_all(&self, dir: &Path, names: &[String]) -> Result<u64, StoreError> {
        self.writable()?;
        let mut removed = 0;
        for name in names {
            removed += u64::from(remove_if_there(&dir.join(name))?);
        }
        self.sync_dir(dir)?;
        Ok(removed)
    }
}

fn make_dir(path: &Path) -> Result<(), StoreError> {
    match fs_err::create_dir(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Removes a file; `false` when there is none.
pub(super) fn remove_if_there(path: &Path) -> Result<bool, StoreError> {
    match fs_err::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if is_absent(&error) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// The bytes of a small file, `None` when there is none.
///
/// # Errors
/// It is no regular file or larger than `max` bytes, or cannot be read.
pub(crate) fn read_bounded(path: &Path, max: u64) -> Result<Option<Vec<u8>>, StoreError> {
    let file = match regular::open(path) {
        Ok(file) => file,
        Err(error) if is_absent(&error) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let mut bytes = Vec::new();
    file.take(max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max {
        let text = format!("`{}` is larger than {max} bytes", path.display());
        return Err(io::Error::new(io::ErrorKind::InvalidData, text).into());
    }
    Ok(Some(bytes))
}

/// Whether an error says that a file, or a directory on the way to it, does not exist. A repository
/// `a/b` may be asked for where `a` is a file of ours never: the inner names start with `_`.
pub(super) fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_sync_ends_writing_and_a_full_disk_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let durable = Durable::new(dir.path().join("tmp"));
        durable.clear_temporary().unwrap();
        let full = durable.synced(Err(io::Error::from(io::ErrorKind::StorageFull)));
        assert!(full.unwrap_err().is_full());
        durable.write(dir.path(), "a", &[b"1"]).unwrap();

        // EIO
        durable.synced(Err(io::Error::from_raw_os_error(5))).unwrap_err();
        let refused = durable.write(dir.path(), "b", &[b"1"]).unwrap_err();
        assert!(matches!(refused, StoreError::Failed { .. }), "{refused}");
        assert!(!dir.path().join("b").exists());
    }

    #[test]
    fn a_write_replaces_the_whole_file_and_leaves_no_temporary() {
        let dir = tempfile::tempdir().unwrap();
        let durable = Durable::new(dir.path().join("tmp"));
        durable.clear_temporary().unwrap();
        durable.write(dir.path(), "a", &[b"long content"]).unwrap();
        durable.write(dir.path(), "a", &[b"sho", b"rt"]).unwrap();
        assert_eq!(read_bounded(&dir.path().join("a"), 100).unwrap().unwrap(), b"short");
        assert!(read_bounded(&dir.path().join("a"), 4).is_err());
        assert_eq!(fs_err::read_dir(dir.path().join("tmp")).unwrap().count(), 0);
    }
}
