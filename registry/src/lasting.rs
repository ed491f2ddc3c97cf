//! Directories whose names survive a loss of power.
//!
//! In: a path. Out: that directory, and each one above it that had to be made. What must hold: a file in it can be made durable by
//! syncing the file and its directory, whatever was there before. The sync of a directory covers the names in it and not its
//! own, so a workspace made without this is lost with everything that was synced in it.

use std::io;
use std::path::Path;

/// Makes a directory and those above it that are missing.
///
/// # Errors
/// Something else has one of the names, or I/O.
pub fn make(path: &Path) -> io::Result<()> {
    let path = std::path::absolute(path)?;
    let mut missing: Vec<&Path> = Vec::new();
    let mut there: &Path = &path;
    while !there.is_dir() {
        missing.push(there);
        there = there.parent().unwrap_or(there);
    }
    // It may be a moment old: made by a run that was killed before it could sync the name.
    sync_name(there)?;
    for directory in missing.into_iter().rev() {
        match fs_err::create_dir(directory) {
            // Somebody else was faster.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && directory.is_dir() => {}
            made => made?,
        }
        sync_name(directory)?;
    }
    Ok(())
}

/// Makes the names in a directory durable. File systems without that operation (some FUSE mounts answer EINVAL) get the
/// next best thing, the sync of the whole file system.
///
/// # Errors
/// I/O.
pub fn sync(directory: &Path) -> io::Result<()> {
    let handle = fs_err::File::open(directory)?;
    match handle.sync_all() {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
            rustix::fs::syncfs(handle.file())?;
            Ok(())
        }
        other => other,
    }
}

/// Makes the name of a directory durable, which stands in the one above it.
fn sync_name(directory: &Path) -> io::Result<()> {
    let Some(above) = directory.parent() else { return Ok(()) };
    match sync(above) {
        // A directory that may be passed through and not be read, as that of all homes can be.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            rustix::fs::syncfs(fs_err::File::open(directory)?.file())?;
            Ok(())
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_made_once_and_never_over_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("a/b/../c");
        for _ in 0..2 {
            make(&deep).unwrap();
        }
        assert!(dir.path().join("a/c").is_dir());
        fs_err::write(dir.path().join("file"), "x").unwrap();
        assert!(make(&dir.path().join("file")).is_err());
        assert!(make(&dir.path().join("file/below")).is_err());
    }
}
