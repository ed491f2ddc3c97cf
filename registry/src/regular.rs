//! Opens files that are files: a pipe or a device under the name of one would be a wait without end.
//!
//! In: a path. Out: the open file, or an error that names the path and says what is there instead. What must hold: opening never
//! waits; what was looked at is what is read.

use std::fs::FileType;
use std::io;
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

use fs_err::os::unix::fs::OpenOptionsExt as _;

/// `O_NONBLOCK`, which changes nothing for files, and opens a pipe without waiting for its other end.
const NONBLOCK: i32 = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();

/// `O_NOFOLLOW`.
const NOFOLLOW: i32 = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();

/// Opens a regular file for reading.
///
/// # Errors
/// It is something else ([`io::ErrorKind::InvalidData`]), or I/O.
pub fn open(path: &Path) -> io::Result<fs_err::File> {
    open_with(fs_err::OpenOptions::new().read(true), path)
}

/// Opens a regular file in this way.
///
/// # Errors
/// It is something else ([`io::ErrorKind::InvalidData`]), or I/O.
pub fn open_with(options: &mut fs_err::OpenOptions, path: &Path) -> io::Result<fs_err::File> {
    open_if(options, path, wrong)
}

/// Opens a regular file for reading, and follows no link to it: for who may read more than whoever put it there.
///
/// # Errors
/// As of [`open`].
pub fn open_itself(path: &Path) -> io::Result<fs_err::File> {
    match fs_err::OpenOptions::new().read(true).custom_flags(NONBLOCK | NOFOLLOW).open(path) {
        Ok(file) => match wrong(path, file.metadata()?.file_type()) {
            None => Ok(file),
            Some(error) => Err(error),
        },
        Err(_) if fs_err::symlink_metadata(path).is_ok_and(|found| found.is_symlink()) => {
            let text = format!("`{}` is a link, not a regular file", path.display());
            Err(io::Error::new(io::ErrorKind::InvalidData, text))
        }
        Err(error) => Err(error),
    }
}

/// Opens a regular file, or a device that takes lines as `/dev/null` does, for a log. Writing never waits for a device.
///
/// # Errors
/// It is something else ([`io::ErrorKind::InvalidData`]), or I/O.
pub fn open_log(options: &mut fs_err::OpenOptions, path: &Path) -> io::Result<fs_err::File> {
    open_if(options, path, |path, kind| wrong(path, kind).filter(|_| !kind.is_char_device()))
}

fn open_if(
    options: &mut fs_err::OpenOptions,
    path: &Path,
    wrong: impl Fn(&Path, FileType) -> Option<io::Error>,
) -> io::Result<fs_err::File> {
    let file = match options.custom_flags(NONBLOCK).open(path) {
        Ok(file) => file,
        // A socket, or a pipe that nobody reads, opened for writing: what it is tells more than the error.
        Err(error) => {
            let kind = fs_err::metadata(path).map(|it| it.file_type());
            return Err(kind.ok().and_then(|kind| wrong(path, kind)).unwrap_or(error));
        }
    };
    match wrong(path, file.metadata()?.file_type()) {
        None => Ok(file),
        Some(error) => Err(error),
    }
}

fn wrong(path: &Path, kind: FileType) -> Option<io::Error> {
    let name = match () {
        () if kind.is_file() => return None,
        () if kind.is_dir() => "a directory",
        () if kind.is_fifo() => "a pipe",
        () if kind.is_socket() => "a socket",
        () => "a device",
    };
    let text = format!("`{}` is {name}, not a regular file", path.display());
    Some(io::Error::new(io::ErrorKind::InvalidData, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_file_is_refused_by_name_and_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("users");
        make_pipe(&pipe);
        let socket = dir.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        for (path, what) in [
            (pipe.as_path(), "users` is a pipe"),
            (dir.path(), "is a directory"),
            (&socket, "is a socket"),
            (Path::new("/dev/null"), "a device"),
        ] {
            let error = open(path).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
            assert!(error.to_string().contains(what), "{error}");
        }
        let error = open_with(fs_err::OpenOptions::new().write(true), &pipe).unwrap_err();
        assert!(error.to_string().contains("a pipe"), "{error}");
        fs_err::write(dir.path().join("file"), "x").unwrap();
        open(&dir.path().join("file")).unwrap();
        open_itself(&dir.path().join("file")).unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink("file", &link).unwrap();
        open(&link).unwrap();
        for (path, what) in [(&link, "link` is a link"), (&pipe, "users` is a pipe")] {
            let error = open_itself(path).unwrap_err().to_string();
            assert!(error.contains(what), "{error}");
        }
    }

    fn make_pipe(path: &Path) {
        use rustix::fs::{CWD, FileType, Mode, mknodat};
        mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    }
}
