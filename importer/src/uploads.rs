//! Uploads of large blobs that are under way, so that the next process goes on inside them.
//!
//! In: the address under which the registry keeps an upload. Out: the same address, in a later run. The file is a help
//! and nothing rests on it: what cannot be read counts as not there, the registry is asked what it has, and
//! the digest of the whole blob decides (distribution specification, "Pushing a blob in chunks").

use std::collections::HashMap;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use format_spec::{Digest, Repository};
use rustix::fs::OFlags;

use crate::limits::UPLOADS_MAX;

/// The addresses of uploads, in the directory of a target.
#[derive(Debug)]
pub(crate) struct Uploads {
    path: PathBuf,
    left: HashMap<(Digest, Repository), String>,
    file: Mutex<Option<fs_err::File>>,
}

impl Uploads {
    /// What earlier runs left. Only for who holds the lock.
    pub(crate) fn open(directory: &Path) -> Self {
        let path = directory.join("uploads");
        let mut text = String::new();
        if let Some(file) = regular(fs_err::OpenOptions::new().read(true), &path) {
            // A last line without its end is left over by a kill.
            let _ = file.take(UPLOADS_MAX).read_to_string(&mut text);
        }
        let left = text.split_inclusive('\n').filter_map(|line| entry(line.strip_suffix('\n')?));
        Self { path, left: left.collect(), file: Mutex::default() }
    }

    /// The address of an upload that an earlier run began.
    pub(crate) fn left(&self, digest: &Digest, repository: &Repository) -> Option<&str> {
        self.left.get(&(*digest, repository.clone())).map(String::as_str)
    }

    /// An upload began. What cannot be noted is sent again after a kill, no more.
    pub(crate) fn began(&self, digest: &Digest, repository: &Repository, address: &str) {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if file.is_none() {
            let mut options = fs_err::OpenOptions::new();
            // An address can be all that it takes to write there.
            options.options_mut().mode(0o600);
            *file = regular(options.append(true).create(true), &self.path);
        }
        if let Some(file) = &mut *file {
            let _ = file.write_all(format!("{digest} {repository} {address}\n").as_bytes());
        }
    }

    /// Every blob is there.
    pub(crate) fn end(&self) {
        let _ = fs_err::remove_file(&self.path);
    }
}

/// Opens the file if it is one: a pipe would wait, a link lead elsewhere.
fn regular(options: &mut fs_err::OpenOptions, path: &Path) -> Option<fs_err::File> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    options.options_mut().custom_flags(flags);
    options.open(path).ok().filter(|file| file.metadata().is_ok_and(|found| found.is_file()))
}

fn entry(line: &str) -> Option<((Digest, Repository), String)> {
    let mut words = line.split(' ');
    let (digest, repository, address) = (words.next()?, words.next()?, words.next()?);
    let whole = words.next().is_none();
    whole.then_some(((digest.parse().ok()?, repository.parse().ok()?), address.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_read_is_known_and_the_last_word_counts() {
        let directory = tempfile::tempdir().unwrap();
        let (digest, other) = (Digest::of(b"a"), Digest::of(b"b"));
        let repository: Repository = "team/app".parse().unwrap();
        let uploads = Uploads::open(directory.path());
        assert_eq!(uploads.left(&digest, &repository), None);
        uploads.began(&digest, &repository, "https://r/1");
        uploads.began(&digest, &repository, "https://r/2?state=x");
        uploads.began(&other, &repository, "https://r/3");
        let path = directory.path().join("uploads");
        let text = fs_err::read_to_string(&path).unwrap();
        // Cut in its last line, and with nonsense before it.
        fs_err::write(&path, format!("\0nonsense\n{}", &text[..text.len() - 1])).unwrap();
        let uploads = Uploads::open(directory.path());
        assert_eq!(uploads.left(&digest, &repository), Some("https://r/2?state=x"));
        assert_eq!(uploads.left(&other, &repository), None);
        uploads.end();
        assert!(!path.exists());
        // A link, or something that is no file, is left alone.
        let elsewhere = directory.path().join("elsewhere");
        fs_err::write(&elsewhere, format!("{digest} {repository} https://r/4\n")).unwrap();
        fs_err::os::unix::fs::symlink(&elsewhere, &path).unwrap();
        let uploads = Uploads::open(directory.path());
        uploads.began(&digest, &repository, "https://r/5");
        assert_eq!(uploads.left(&digest, &repository), None);
        assert_eq!(fs_err::read_to_string(elsewhere).unwrap().lines().count(), 1);
    }
}
