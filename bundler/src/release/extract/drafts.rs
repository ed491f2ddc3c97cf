//! Files that get their names when all of them are whole and proven.
//!
//! In: a directory that a person named, and files as they are made. Out: these files under their names. What must hold: until
//! then nothing in the directory has changed but one scratch directory, which is gone afterwards; nothing that was there is
//! replaced unless that was asked for; no name leads out of the directory.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use fs_err as fs;
use fs_err::os::unix::fs::OpenOptionsExt as _;
use registry::lasting;
use registry::scratch::Scratch;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

/// The rights of a file for data, and of one that runs; the user's mask takes from both.
pub(super) const DATA: u32 = 0o666;
pub(super) const PROGRAM: u32 = 0o777;

/// Why the files have no names.
#[derive(Debug, thiserror::Error)]
pub enum DraftsError {
    /// The disk; the system's answer names the file.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Files that are there already.
    #[error("`{}` is there already{}", .directory.join(.first).display(), others(*.more))]
    Exists {
        /// The directory.
        directory: PathBuf,
        /// One of the files.
        first: String,
        /// How many others.
        more: usize,
    },
}

fn others(count: usize) -> String {
    if count > 0 { format!(", and {count} more of the files") } else { String::new() }
}

/// Files on their way into a directory.
#[derive(Debug)]
pub(super) struct Drafts {
    directory: PathBuf,
    scratch: Scratch,
    overwrite: bool,
}

impl Drafts {
    /// Begins, in a directory that is made when it is not there.
    pub(super) fn open(directory: &Path, overwrite: bool) -> io::Result<Self> {
        lasting::make(directory)?;
        let scratch = Scratch::open(directory)?;
        Ok(Self { directory: directory.to_owned(), scratch, overwrite })
    }

    /// Refuses names that are taken, unless they may be replaced.
    pub(super) fn refuse_taken<'a>(
        &self,
        names: impl IntoIterator<Item = &'a str>,
    ) -> Result<(), DraftsError> {
        let there = |name: &&str| fs::symlink_metadata(self.directory.join(name)).ok();
        if self.overwrite {
            // What no file can replace is told while all that was there is as it was.
            let is_directory = |name: &&str| there(name).is_some_and(|it| it.is_dir());
            let Some(name) = names.into_iter().find(is_directory) else { return Ok(()) };
            let shown = self.directory.join(name);
            let why = format!("`{}` is a directory; nothing was written", shown.display());
            return Err(io::Error::new(io::ErrorKind::IsADirectory, why).into());
        }
        let mut taken = names.into_iter().filter(|name| there(name).is_some());
        let Some(first) = taken.next() else { return Ok(()) };
        let (directory, first) = (self.directory.clone(), first.to_owned());
        Err(DraftsError::Exists { directory, first, more: taken.count() })
    }

    /// A new file, to be written and read; one of this name that was begun before is gone.
    pub(super) fn create(&self, name: &str, mode: u32) -> io::Result<fs::File> {
        create(&self.path(name), mode)
    }

    /// Where a file is while it has no name yet.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    /// The directory in which files are made.
    pub(super) fn scratch(&self) -> PathBuf {
        self.scratch.path()
    }

    /// Gives the files their names, and everything else up.
    pub(super) fn publish<'a>(
        self,
        names: impl IntoIterator<Item = &'a str, IntoIter: Clone>,
    ) -> Result<(), DraftsError> {
        let names = names.into_iter();
        self.refuse_taken(names.clone())?;
        // All bytes at once: a release has hundreds of small files.
        rustix::fs::syncfs(fs::File::open(self.scratch())?.file()).map_err(io::Error::from)?;
        for name in names {
            self.rename(name)?;
        }
        lasting::sync(&self.directory)?;
        Ok(())
    }

    fn rename(&self, name: &str) -> Result<(), DraftsError> {
        let (from, to) = (self.path(name), self.directory.join(name));
        if self.overwrite {
            return Ok(fs::rename(from, to)?);
        }
        match renameat_with(CWD, &from, CWD, &to, RenameFlags::NOREPLACE) {
            Ok(()) => Ok(()),
            Err(Errno::EXIST) => {
                let (directory, first) = (self.directory.clone(), name.to_owned());
                Err(DraftsError::Exists { directory, first, more: 0 })
            }
            // Not every file system can; nobody had the name a moment ago.
            Err(Errno::INVAL | Errno::NOSYS) => Ok(fs::rename(from, to)?),
            Err(error) => {
                let error = io::Error::from(error);
                let shown = to.display();
                Err(io::Error::new(error.kind(), format!("cannot make `{shown}`: {error}")).into())
            }
        }
    }
}

/// Makes a file of a scratch directory.
pub(super) fn create(path: &Path, mode: u32) -> io::Result<fs::File> {
    let mut options = fs::OpenOptions::new();
    options.read(true).write(true).create(true).truncate(true).mode(mode).open(path)
}

/// Says when a file was last changed; that it cannot be said is no fault.
pub(super) fn set_modified(file: &fs::File, modified: u64) {
    if let Some(time) = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(modified)) {
        let _ = file.file().set_modified(time);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn write(drafts: &Drafts, name: &str, text: &str) {
        drafts.create(name, DATA).unwrap().write_all(text.as_bytes()).unwrap();
    }

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn names_are_given_at_the_end_and_nothing_is_replaced_unasked() {
        let dir = tempfile::tempdir().unwrap();
        let to = dir.path().join("a/b");
        let drafts = Drafts::open(&to, false).unwrap();
        write(&drafts, "one", "1");
        write(&drafts, "two", "2");
        assert_eq!(names(&to).len(), 1);
        drafts.publish(["one", "two"]).unwrap();
        assert_eq!(names(&to), ["one", "two"]);

        let drafts = Drafts::open(&to, false).unwrap();
        write(&drafts, "two", "other");
        let refused = drafts.refuse_taken(["none", "two", "one"]).unwrap_err().to_string();
        assert!(refused.ends_with("two` is there already, and 1 more of the files"), "{refused}");
        assert!(drafts.rename("two").is_err());
        assert!(drafts.publish(["two"]).is_err());
        assert_eq!(fs::read_to_string(to.join("two")).unwrap(), "2");

        // A link is replaced, and never what it leads to.
        let outside = dir.path().join("outside");
        crate::durable::write(&outside, b"kept").unwrap();
        fs_err::os::unix::fs::symlink(&outside, to.join("link")).unwrap();
        for (overwrite, ok) in [(false, false), (true, true)] {
            let drafts = Drafts::open(&to, overwrite).unwrap();
            write(&drafts, "link", "new");
            assert_eq!(drafts.publish(["link"]).is_ok(), ok);
        }
        assert_eq!(fs::read_to_string(&outside).unwrap(), "kept");
        assert_eq!(fs::read_to_string(to.join("link")).unwrap(), "new");

        fs::create_dir(to.join("three")).unwrap();
        let drafts = Drafts::open(&to, true).unwrap();
        write(&drafts, "one", "other");
        write(&drafts, "three", "3");
        let refused = drafts.publish(["one", "three"]).unwrap_err().to_string();
        assert!(refused.contains("three` is a directory"), "{refused}");
        assert_eq!(fs::read_to_string(to.join("one")).unwrap(), "1");
    }

    #[test]
    fn what_a_killed_run_left_goes_and_that_of_another_run_stays() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join(".unfinished-killed")).unwrap();
        let other = Drafts::open(dir.path(), false).unwrap();
        let drafts = Drafts::open(dir.path(), false).unwrap();
        assert_eq!(names(dir.path()).len(), 2);
        drop((drafts, other));
        assert!(names(dir.path()).is_empty());
    }
}
