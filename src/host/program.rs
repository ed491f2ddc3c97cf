//! The copy of this program that an installed registry runs: the directory of a download is not there for years.
//!
//! In: this very binary. Out: the same bytes at a fixed place. What must hold: the file is replaced as a whole, so a
//! registry that runs from it goes on; the one before is kept until the new one has answered.

use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use registry::lasting;

use crate::failure::{Failure, Kind};

/// This binary, also when its file was replaced or removed since it was started.
const OWN: &str = "/proc/self/exe";

fn fault(error: &std::io::Error) -> Failure {
    Failure::io(Kind::Failed, "cannot copy this program", error)
}

/// Whether the file at `path` is this binary.
pub fn is_this(path: &Path) -> bool {
    match (fs_err::metadata(OWN), fs_err::metadata(path)) {
        (Ok(own), Ok(other)) => (own.dev(), own.ino()) == (other.dev(), other.ino()),
        _ => false,
    }
}

/// Where the copy before is kept.
pub fn before(path: &Path) -> PathBuf {
    path.with_extension("before")
}

/// Copies this binary to `path`.
pub fn install(path: &Path) -> Result<(), Failure> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    let copy = || {
        lasting::make(directory)?;
        let mut from = fs_err::File::open(OWN)?;
        let mut file = tempfile::Builder::new().prefix(".bundle-").tempfile_in(directory)?;
        std::io::copy(&mut from, file.as_file_mut())?;
        file.flush()?;
        file.as_file().set_permissions(std::fs::Permissions::from_mode(0o755))?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        lasting::sync(directory)
    };
    copy().map_err(|error| fault(&error))
}

/// Copies this binary to `path` and keeps the one that was there; nothing when it is this one.
pub fn replace(path: &Path) -> Result<(), Failure> {
    if is_this(path) {
        return Ok(());
    }
    let kept = before(path);
    let _ = fs_err::remove_file(&kept);
    match fs_err::hard_link(path, &kept) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(fault(&error)),
        _ => {}
    }
    install(path)
}

/// Puts the one that was there back.
pub fn put_back(path: &Path) -> Result<(), Failure> {
    match fs_err::rename(before(path), path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(|error| fault(&error)),
    }
}

/// Forgets the one that was there.
pub fn forget_before(path: &Path) {
    // It is in nobody's way.
    let _ = fs_err::remove_file(before(path));
}

/// What a program says its version is.
pub fn version(path: &Path) -> Option<String> {
    let output = Command::new(path).arg("version").stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.split_whitespace()
        .find(|word| word.starts_with(|c: char| c.is_ascii_digit()))
        .map(str::to_owned)
}
