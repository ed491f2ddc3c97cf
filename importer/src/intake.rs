//! What lies on the medium: directories, opened once, and the files in them that have a sequence's
//! names.
//!
//! In: the directories that the person named. Out: files by name, regular ones only, each reached
//! through the directory's descriptor and never through a link (threat T1: symbolic links, FIFOs and
//! devices on a crafted medium). Nothing is written, no access needs write permission.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use format_spec::hash::Hasher;
use format_spec::limits::{CELL, HEAD_MAX};
use format_spec::part::FileName;
use format_spec::{Digest, seal};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};

use crate::error::ImportError;
use crate::limits::{DIRECTORIES_MAX, ENTRIES_MAX};

/// The files of the media, by name.
#[derive(Debug)]
pub(crate) struct Media {
    found: BTreeMap<FileName, Vec<Found>>,
    /// What was there and was not used.
    pub(crate) warnings: Vec<String>,
    described: String,
}

/// A regular file on a medium.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    directory: Arc<Directory>,
    name: String,
    /// Bytes, when the directory was read.
    pub(crate) size: u64,
}

#[derive(Debug)]
struct Directory {
    path: PathBuf,
    descriptor: OwnedFd,
}

/// Whether directories can be read and files of a sequence are in them; nothing of the files is read.
pub fn hold_sequences(from: &[PathBuf]) -> Result<(), ImportError> {
    let media = Media::open(from)?;
    let is_of_one = |name: &FileName| !matches!(name, FileName::Sums(_) | FileName::Transfer(_));
    match media.names().any(is_of_one) {
        true => Ok(()),
        false => Err(ImportError::NothingThere(media.described().to_owned())),
    }
}

impl Media {
    /// Reads the directories.
    pub(crate) fn open(from: &[PathBuf]) -> Result<Self, ImportError> {
        if from.len() > DIRECTORIES_MAX {
            return Err(ImportError::TooMany { what: "directories", limit: DIRECTORIES_MAX });
        }
        let names: Vec<_> = from.iter().map(|path| path.display().to_string()).collect();
        let mut media =
            Self { found: BTreeMap::new(), warnings: Vec::new(), described: names.join("`, `") };
        let mut seen = Vec::new();
        for path in from {
            let fail = |source: rustix::io::Errno| ImportError::Directory {
                path: path.clone(),
                source: source.into(),
            };
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let descriptor = rustix::fs::open(path, flags, Mode::empty()).map_err(fail)?;
            let stat = rustix::fs::fstat(&descriptor).map_err(fail)?;
            if seen.contains(&(stat.st_dev, stat.st_ino)) {
                continue;
            }
            seen.push((stat.st_dev, stat.st_ino));
            media.list(Directory { path: path.clone(), descriptor })?;
        }
        Ok(media)
    }

    fn list(&mut self, directory: Directory) -> Result<(), ImportError> {
        let directory = Arc::new(directory);
        let path = &directory.path;
        let fail = |source: rustix::io::Errno| ImportError::Directory {
            path: path.clone(),
            source: source.into(),
        };
        let mut strangers = 0_usize;
        let entries = Dir::read_from(&directory.descriptor).map_err(fail)?;
        for (number, entry) in entries.enumerate() {
            if number == ENTRIES_MAX {
                return Err(ImportError::TooMany {
                    what: "entries in a directory",
                    limit: ENTRIES_MAX,
                });
            }
            let entry = entry.map_err(fail)?;
            let raw = entry.file_name();
            let Some((text, name)) = raw.to_str().ok().and_then(|t| Some((t, t.parse().ok()?)))
            else {
                strangers += usize::from(!matches!(raw.to_bytes(), b"." | b".."));
                continue;
            };
            let stat = rustix::fs::statat(&directory.descriptor, raw, AtFlags::SYMLINK_NOFOLLOW)
                .map_err(fail)?;
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::RegularFile => self.found.entry(name).or_default().push(Found {
                    directory: Arc::clone(&directory),
                    name: text.to_owned(),
                    size: u64::try_from(stat.st_size).unwrap_or(0),
                }),
                FileType::Symlink => self.ignored(path, text, "a symbolic link"),
                FileType::Directory => self.ignored(path, text, "a directory"),
                _ => self.ignored(path, text, "not a regular file"),
            }
        }
        if strangers > 0 {
            self.warnings.push(format!(
                "{strangers} entries of `{}` are not files of a sequence and are ignored",
                path.display()
            ));
        }
        Ok(())
    }

    fn ignored(&mut self, directory: &Path, name: &str, what: &str) {
        let path = directory.join(name);
        self.warnings.push(format!("`{}` is {what} and is ignored", path.display()));
    }

    /// The files of this name, in the order of the directories.
    pub(crate) fn get(&self, name: &FileName) -> &[Found] {
        self.found.get(name).map_or(&[], Vec::as_slice)
    }

    /// All names that are there, ascending.
    pub(crate) fn names(&self) -> impl Iterator<Item = &FileName> {
        self.found.keys()
    }

    /// The directories, for a message.
    pub(crate) fn described(&self) -> &str {
        &self.described
    }
}

impl Found {
    /// Where it lies, for messages.
    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path.join(&self.name)
    }

    /// Whether both lie in the same directory.
    pub(crate) fn beside(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.directory, &other.directory)
    }

    /// Opens it: the regular file of the size that was listed, never what a link names.
    pub(crate) fn open(&self) -> io::Result<File> {
        // Without NONBLOCK, a FIFO that took the file's place would hold the import for ever.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let descriptor =
            rustix::fs::openat(&self.directory.descriptor, &self.name, flags, Mode::empty())?;
        let stat = rustix::fs::fstat(&descriptor)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile
            || u64::try_from(stat.st_size) != Ok(self.size)
        {
            return Err(io::Error::other("the file changed while it was read"));
        }
        Ok(File::from(descriptor))
    }

    /// Reads a small file whole.
    pub(crate) fn read(&self, limit: u64) -> Result<Vec<u8>, ImportError> {
        let mut bytes = vec![0; self.length(limit)?];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    /// Reads a head, ready for a look at its signatures.
    pub(crate) fn read_head(&self) -> Result<seal::Message, ImportError> {
        seal::Message::read(self.length(HEAD_MAX)?, |bytes| self.fill(bytes))
    }

    /// Hashes a file of at most `limit` bytes, of which nothing is kept.
    pub(crate) fn digest(&self, limit: u64) -> Result<Digest, ImportError> {
        self.length(limit)?;
        // One that grows meanwhile ends where it ended when it was listed, and fails later.
        let mut file = self.open().map_err(self.fault())?.take(self.size);
        let mut hasher = Hasher::new();
        let mut buffer = vec![0; CELL];
        loop {
            match file.read(&mut buffer) {
                Ok(0) => return Ok(hasher.finish()),
                Ok(length) => hasher.update(&buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.fault()(error)),
            }
        }
    }

    fn length(&self, limit: u64) -> Result<usize, ImportError> {
        if self.size > limit {
            return Err(ImportError::TooLarge { path: self.path(), found: self.size, limit });
        }
        usize::try_from(self.size).map_err(|error| self.fault()(io::Error::other(error)))
    }

    fn fill(&self, bytes: &mut [u8]) -> Result<(), ImportError> {
        let file = self.open().map_err(self.fault())?;
        file.read_exact_at(bytes, 0).map_err(self.fault())
    }

    fn fault(&self) -> impl Fn(io::Error) -> ImportError {
        |source| ImportError::Read { path: self.path(), source }
    }
}
