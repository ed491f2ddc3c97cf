//! How much a data directory holds, and the removal of exactly that.
//!
//! In: a data directory. Out: bytes and repositories; or nothing of the registry there any more. What must hold: only what
//! a registry makes is removed; somebody's other files in that directory stay, and so does the directory then.

use std::path::Path;

use registry::store;

use crate::failure::{Failure, Kind};

/// What would go or stay.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amount {
    /// Bytes of all files.
    pub bytes: u64,
    /// Repositories with a manifest.
    pub repositories: u64,
    /// Blobs, each once.
    pub blobs: u64,
    /// Files that a check moved aside.
    pub quarantined: u64,
    /// Their bytes, which do not count above.
    pub quarantined_bytes: u64,
}

/// Where a check moves what is damaged.
const QUARANTINE: &str = "quarantine";

/// Levels of a repository's name are at most 255; the store's own add four.
const DEPTH_MAX: usize = 300;

impl Amount {
    /// Of a data directory; nothing where there is none.
    pub fn of(data: &Path) -> Result<Self, Failure> {
        let mut amount = Self::default();
        // The copy of the program is no content.
        let content = |name: &&str| !["bin", QUARANTINE].contains(name);
        for name in store::NAMES.into_iter().filter(content) {
            let files = amount.add(&data.join(name), 0);
            let files = files.map_err(|error| fault("cannot count what is stored", &error))?;
            amount.blobs += if name == "blobs" { files } else { 0 };
        }
        let mut aside = Self::default();
        let files = aside.add(&data.join(QUARANTINE), 0);
        amount.quarantined = files.map_err(|error| fault("cannot count what is stored", &error))?;
        amount.quarantined_bytes = aside.bytes;
        Ok(amount)
    }

    /// Counts a file, or a directory with everything in it; says how many files that were.
    fn add(&mut self, path: &Path, depth: usize) -> std::io::Result<u64> {
        let about = match fs_err::symlink_metadata(path) {
            Ok(about) => about,
            // Gone meanwhile: the registry may be running.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
            Err(error) => return Err(error),
        };
        if !about.is_dir() {
            self.bytes += about.len();
            return Ok(1);
        }
        let mut files = 0;
        if depth > DEPTH_MAX {
            return Ok(files);
        }
        for entry in fs_err::read_dir(path)? {
            let entry = entry?;
            self.repositories += u64::from(entry.file_name() == "_manifests");
            files += self.add(&entry.path(), depth + 1)?;
        }
        Ok(files)
    }
}

/// Removes a registry's data, and the directory when nothing else is in it. Says whether it is gone.
pub fn remove(data: &Path) -> Result<bool, Failure> {
    for name in store::NAMES {
        let path = data.join(name);
        let is_directory = fs_err::symlink_metadata(&path).is_ok_and(|about| about.is_dir());
        let removed = match is_directory {
            true => fs_err::remove_dir_all(&path),
            false => fs_err::remove_file(&path),
        };
        absent(removed).map_err(|error| fault("cannot remove the data", &error))?;
    }
    match fs_err::remove_dir(data) {
        Err(error) if error.kind() == std::io::ErrorKind::DirectoryNotEmpty => Ok(false),
        // A mount point.
        Err(error) if error.kind() == std::io::ErrorKind::ResourceBusy => Ok(false),
        other => {
            absent(other).map(|()| true).map_err(|error| fault("cannot remove the data", &error))
        }
    }
}

fn absent(outcome: std::io::Result<()>) -> std::io::Result<()> {
    match outcome {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn fault(doing: &str, error: &std::io::Error) -> Failure {
    Failure::io(Kind::Failed, doing, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_a_registrys_is_counted_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        assert_eq!(Amount::of(&data).unwrap(), Amount::default());
        for (path, text) in [
            ("registry.toml", "12345"),
            ("blobs/sha256/aa/aabb", "1234567"),
            ("repositories/team/app/_manifests/aa", "123"),
            ("repositories/team/_manifests/aa", "1"),
            ("quarantine/blobs/aabb", "12"),
            ("notes.txt", "somebody's own"),
        ] {
            let path = data.join(path);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, text).unwrap();
        }
        assert_eq!(
            Amount::of(&data).unwrap(),
            Amount { bytes: 16, repositories: 2, blobs: 1, quarantined: 1, quarantined_bytes: 2 }
        );
        assert!(!remove(&data).unwrap());
        assert_eq!(fs_err::read_dir(&data).unwrap().count(), 1);
        fs_err::remove_file(data.join("notes.txt")).unwrap();
        assert!(remove(&data).unwrap());
        assert!(!data.exists());
        assert!(remove(&data).unwrap());
    }
}
