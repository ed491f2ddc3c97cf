//! Files of a directory that somebody else fills, without a way out of it.
//!
//! In: a directory that a person named, and a path below it. Out: the open file, when it is one. What must hold: no link is followed on the
//! way, also not one that is put there at the same moment; nothing is waited for.

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, openat};

/// The directory.
pub(super) struct Inside {
    directory: fs_err::File,
    path: PathBuf,
}

impl Inside {
    /// Opens the directory; it may itself be a link, as a person named it.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        Ok(Self { directory: fs_err::File::open(path)?, path: path.to_owned() })
    }

    /// Opens a regular file, `path` being below the directory.
    pub(super) fn open(&self, path: &Path) -> io::Result<fs_err::File> {
        let wrong = |text: &str| {
            let text = format!("`{}` {text}", path.display());
            io::Error::new(io::ErrorKind::InvalidData, text)
        };
        let outside = || wrong("is not below the directory");
        let below = path.strip_prefix(&self.path).map_err(|_| outside())?;
        let mut names = below.components().peekable();
        let mut at = self.directory.file().try_clone()?;
        while let Some(name) = names.next() {
            let std::path::Component::Normal(name) = name else { return Err(outside()) };
            let kind = match names.peek() {
                Some(_) => OFlags::PATH | OFlags::DIRECTORY,
                None => OFlags::RDONLY | OFlags::NONBLOCK,
            };
            let flags = kind | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            at = match openat(&at, name, flags, Mode::empty()) {
                Ok(found) => found.into(),
                Err(rustix::io::Errno::LOOP | rustix::io::Errno::NOTDIR) => {
                    return Err(wrong("is a link, or below one: links are not followed"));
                }
                Err(error) => {
                    let error = io::Error::from(error);
                    let text = format!("cannot open `{}`: {error}", path.display());
                    return Err(io::Error::new(error.kind(), text));
                }
            };
        }
        match at.metadata()?.is_file() {
            true => Ok(fs_err::File::from_parts(at, path)),
            false => Err(wrong("is no regular file")),
        }
    }

    /// Whether `path`, below the directory, is one too, on a way without links.
    pub(super) fn is_dir(&self, path: &Path) -> bool {
        path.ancestors()
            .take_while(|above| *above != self.path)
            .all(|above| fs_err::symlink_metadata(above).is_ok_and(|found| found.is_dir()))
    }
}

/// Gives an open file another name, whatever its old one stands for by now.
pub(super) fn link(file: &fs_err::File, to: &Path) -> io::Result<()> {
    use std::os::fd::AsRawFd as _;
    let open = format!("/proc/self/fd/{}", file.as_raw_fd());
    Ok(rustix::fs::linkat(CWD, open, CWD, to, AtFlags::SYMLINK_FOLLOW)?)
}
