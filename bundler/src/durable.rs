//! The one place where this side makes files that must survive: temporary name, content, fsync,
//! rename, fsync of the directory.
//!
//! In: a path and its whole content. Out: after a return the file is there with that content, also
//! after a power cut; before it the old file, or none, is.

use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use fs_err as fs;
use fs_err::os::unix::fs::OpenOptionsExt as _;
use registry::lasting;

/// Writes `content` to `path`, replacing what is there at once.
pub fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    write_partial(path, content)?;
    publish(path)
}

/// Writes `content` to the partial name of `path`, durable but not yet visible under `path`.
pub fn write_partial(path: &Path, content: &[u8]) -> io::Result<()> {
    let partial = partial(path);
    only_a_file(&partial)?;
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .custom_flags(NO_LINKS)
        .open(&partial)?;
    file.write_all(content)?;
    file.sync_all()
}

/// A flag for opening: fail on a symbolic link.
#[expect(clippy::cast_possible_wrap, reason = "the flags of open(2) are an int")]
pub const NO_LINKS: i32 = rustix::fs::OFlags::NOFOLLOW.bits() as i32;

/// Takes away what stands at `path` and is not a regular file of this one name: a medium comes from
/// elsewhere, and a link on it, symbolic or hard, would lead the writing to another place.
pub fn only_a_file(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if !found.is_file() || found.nlink() > 1 => fs::remove_file(path),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Makes the bytes of a file durable that an earlier run may have left without a sync.
pub fn sync_file(path: &Path) -> io::Result<()> {
    fs::File::open(path)?.sync_all()
}

/// Gives a partial file its name, durably.
pub fn publish(path: &Path) -> io::Result<()> {
    rename(&partial(path), path)
}

/// The name of a file while it is being written.
pub fn partial(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".partial");
    PathBuf::from(name)
}

/// Renames and makes the new name durable.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    sync_directory(to.parent().unwrap_or(Path::new(".")))
}

/// Makes the names in a directory durable.
pub fn sync_directory(directory: &Path) -> io::Result<()> {
    let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    lasting::sync(directory)
}

/// Reads a file of at most `limit` bytes; `None` when it does not exist.
pub fn read(path: &Path, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(file, limit + 1), &mut bytes)?;
    if bytes.len() as u64 > limit {
        let problem = format!("`{}` is larger than {limit} bytes", path.display());
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, problem));
    }
    Ok(Some(bytes))
}
