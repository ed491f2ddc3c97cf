//! Writing a small file of the workspace so that it is either the old or the new one, whatever
//! happens: data, fsync, rename, fsync of the directory (safety order; a crash between two steps
//! leaves the old file).

use std::io::Write;
use std::path::Path;

use registry::lasting;

use crate::error::ImportError;

/// What the names of half-written files begin with.
const HALF: &str = ".new-";

/// And so many random letters and digits follow.
const RANDOM: usize = 6;

/// Takes away what killed importers left half written in a directory, if it is there, and makes durable what they had
/// written: it is going to be believed. Only for who holds the lock: nobody else writes there then.
pub(crate) fn sweep(directory: &Path) -> Result<(), ImportError> {
    let sweep = || -> std::io::Result<()> {
        for entry in fs_err::read_dir(directory)? {
            let entry = entry?;
            let name = entry.file_name();
            let random = name.as_encoded_bytes().strip_prefix(HALF.as_bytes());
            if random.is_some_and(|random| random.len() == RANDOM) {
                fs_err::remove_file(entry.path())?;
            }
        }
        lasting::sync(directory)
    };
    match sweep() {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(write_error(directory, error))
        }
        _ => Ok(()),
    }
}

/// Makes a directory and its parents, durably.
pub(crate) fn directory(path: &Path) -> Result<(), ImportError> {
    lasting::make(path).map_err(|source| write_error(path, source))
}

/// Writes `bytes` to `path`, whose directory is there.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), ImportError> {
    let fail = |source| write_error(path, source);
    let parent = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new()
        .prefix(HALF)
        .rand_bytes(RANDOM)
        .tempfile_in(parent)
        .map_err(fail)?;
    file.write_all(bytes).map_err(fail)?;
    file.as_file().sync_all().map_err(fail)?;
    file.persist(path).map_err(|error| fail(error.error))?;
    lasting::sync(parent).map_err(fail)
}

pub(crate) fn write_error(path: &Path, source: std::io::Error) -> ImportError {
    ImportError::Write { path: path.to_owned(), source }
}
