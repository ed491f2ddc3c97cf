//! Settings files of this machine, read with a limit, and the directories they stand in.
//!
//! In: paths. Out: bytes and texts, or a fault that names the path.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::error::Fault;

/// Reads a file of at most `limit` bytes; `None` when it does not exist.
pub(super) fn read(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, Fault> {
    let fault = |detail: String| Fault::Config { path: path.display().to_string(), detail };
    let file = match fs_err::File::open(path) {
        Ok(file) => file,
        Err(error)
            if matches!(
                error.kind(),
                std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(fault(error.kind().to_string())),
    };
    let mut bytes = Vec::new();
    file.take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| fault(error.kind().to_string()))?;
    if bytes.len() as u64 > limit {
        return Err(fault(format!("larger than {limit} bytes")));
    }
    Ok(Some(bytes))
}

/// An environment variable that holds a path; empty counts as absent.
pub(super) fn env_path(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// The person's home directory.
pub(super) fn home() -> Option<PathBuf> {
    env_path("HOME")
}

/// `$XDG_CONFIG_HOME/containers`, or `~/.config/containers`.
pub(super) fn containers_dir() -> Option<PathBuf> {
    env_path("XDG_CONFIG_HOME")
        .or_else(|| home().map(|home| home.join(".config")))
        .map(|dir| dir.join("containers"))
}
