//! Room: how many bytes are stored, how many may be, and how many are free on the disk.
//!
//! In: every step of an upload before it is written, every blob, manifest and tag that comes or goes. Out: yes, or why not. What must hold:
//! uploads in parallel pass the quota by no byte and the reserve by a step each at most; a step costs a few atomic
//! operations, and asks the file system at most once a second or once every [`ASK_BYTES`].
//!
//! Counted are the bytes of blobs, manifests and unfinished uploads, and a [`BLOCK`] for each tag, of which one manifest may have any
//! number. Links are not. Tags and links may take of the reserve, without which what is there could not be tagged or repaired, and of
//! that one half: nobody fills the disk with names. What is stored is counted while the store is open and written to the
//! file [`FILE`] when it is closed; the next one that opens the store takes the file away. So after a crash there is none, and
//! [`Store::count`] counts anew, beside the requests: each directory while no blob is put into it or taken out, and what
//! changes in those that were counted already is added. Until then the quota cannot be held, and is not.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::Instant;

use format_spec::Repository;

use super::blobs::exists;
use super::durable::{is_absent, read_bounded, remove_if_there};
use super::lists::names;
use super::{Store, StoreError};
use crate::lasting;
use crate::size::show;

/// What is stored, in the data directory of a store that nobody has open.
pub(super) const FILE: &str = "usage";

/// The first line of the file. The first form had no manifests in it, the second no tags; both are counted anew.
const HEADING: &str = "bundle registry usage 3";

/// Bytes of the file: two short lines.
const FILE_MAX: u64 = 128;

/// A block of most file systems: what a tag counts, and what its file or that of a link takes.
pub(super) const BLOCK: u64 = 4096;

/// The directory in which each file is a tag.
pub(super) const TAGS: &str = "_tags";

/// The reserve when nothing is said: enough for the links, tags, logs and the journal of the file system while
/// somebody makes room; and never more than a twentieth, so that a small disk can be used.
const RESERVE: u64 = 1 << 30;

/// Bytes written before the file system is asked again how many are free: at the most that disks write in a second
/// it is asked some ten times.
const ASK_BYTES: i64 = 256 << 20;

/// Milliseconds after which it is asked again in any case: somebody else may fill the disk.
const ASK_TIME: u64 = 1000;

/// Of all files that the disk has room for, this part stays free: names alone would take the last one.
const FILES_SHARE: u64 = 40;

/// No quota.
const NONE: u64 = u64::MAX;

/// Why a blob, a manifest or a tag has no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoRoom {
    /// More than a person allowed.
    #[error(
        "the registry's storage limit is reached: its quota is {}, and {} of it are free; raise `quota` in registry.toml, or \
         delete tags that are not needed and run `bundle registry gc --untagged` a day later; what imports brought goes only \
         with a sequence of `bundle create --full` without it",
        show(*.quota), show(.quota.saturating_sub(*.used))
    )]
    Quota {
        /// The quota in bytes.
        quota: u64,
        /// Bytes of it that are used.
        used: u64,
    },
    /// Less would be free than is kept in reserve.
    #[error(
        "the registry's storage limit is reached: {} are free on its disk, and {} are kept in reserve (`reserve` in \
         registry.toml); use a larger disk, or delete tags that are not needed and run `bundle registry gc --untagged` a day \
         later; what imports brought goes only with a sequence of `bundle create --full` without it",
        show(*.free), show(*.reserve)
    )]
    Reserve {
        /// The reserve in bytes.
        reserve: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// The disk would be out of files before it is out of bytes.
    #[error(
        "the registry's storage limit is reached: its disk has room for {free} more files only (`df -i`); use a disk with more \
         inodes, or delete tags that are not needed and run `bundle registry gc --untagged` a day later"
    )]
    Files {
        /// How many more it takes.
        free: u64,
    },
}

/// How full a store is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// The most bytes that may be used.
    pub quota: Option<u64>,
    /// Bytes of blobs, manifests, tags and unfinished uploads; `None` until they are counted.
    pub used: Option<u64>,
    /// Bytes that shall stay free on the disk.
    pub reserve: u64,
}

/// The room of a store.
pub(super) struct Room {
    root: PathBuf,
    quota: AtomicU64,
    reserve: AtomicU64,
    /// Blobs, manifests, tags and unfinished uploads.
    used: AtomicI64,
    /// Without the uploads.
    stored: AtomicI64,
    /// Whether `stored` is the truth.
    known: AtomicBool,
    /// The count that runs. Shared by who puts content in its place or takes it away.
    walk: RwLock<Option<Walk>>,
    /// By path: the same content may come twice at the same moment, and counts once.
    naming: Vec<Mutex<()>>,
    free: Free,
}

/// What is free on the disk, as far as is known.
struct Free {
    bytes: AtomicI64,
    /// How many files, where that is few.
    files: AtomicU64,
    /// Bytes taken since it was asked.
    since: AtomicI64,
    /// When that was, in milliseconds after `began`; zero: never.
    asked: AtomicU64,
    began: Instant,
}

#[derive(Default)]
struct Walk {
    seen: HashSet<PathBuf>,
    counted: AtomicI64,
}

/// What became of content, in bytes.
pub(super) struct Change {
    /// Of what is stored.
    pub stored: i64,
    /// With unfinished uploads, and with what was taken for it.
    pub used: i64,
}

impl Room {
    /// The room of the store in `root`; `stored` is what its content has, if that is known.
    pub(super) fn new(root: &Path, stored: Option<i64>, uploads: u64) -> Self {
        let content = stored.unwrap_or(0);
        Self {
            root: root.to_owned(),
            quota: AtomicU64::new(NONE),
            reserve: AtomicU64::new(0),
            used: AtomicI64::new(content.saturating_add(signed(uploads))),
            stored: AtomicI64::new(content),
            known: AtomicBool::new(stored.is_some()),
            walk: RwLock::new(None),
            naming: (0..=u8::MAX).map(|_| Mutex::default()).collect(),
            free: Free {
                bytes: AtomicI64::new(0),
                files: AtomicU64::new(NONE),
                since: AtomicI64::new(0),
                asked: AtomicU64::new(0),
                began: Instant::now(),
            },
        }
    }

    /// Takes room for bytes that are going to be written to an upload, or of a manifest.
    pub(super) fn take(&self, bytes: u64) -> Result<(), NoRoom> {
        self.take_of_quota(bytes)?;
        self.beyond_reserve(signed(bytes), true).inspect_err(|_| self.give(bytes))
    }

    /// The same for a tag, of which [`Store::place`] has asked the disk.
    pub(super) fn take_of_quota(&self, bytes: u64) -> Result<(), NoRoom> {
        let more = signed(bytes);
        let used = self.used.fetch_add(more, Ordering::AcqRel);
        self.within_quota(used, more).inspect_err(|_| self.give(bytes))
    }

    /// Whether so many bytes have room now. Takes none: they may never come.
    pub(super) fn fits(&self, bytes: u64) -> Result<(), NoRoom> {
        let more = signed(bytes);
        self.within_quota(self.used.load(Ordering::Acquire), more)?;
        self.beyond_reserve(more, false)
    }

    /// Gives back what was taken, as the bytes are gone.
    pub(super) fn give(&self, bytes: u64) {
        self.used.fetch_sub(signed(bytes), Ordering::AcqRel);
    }

    fn within_quota(&self, used: i64, more: i64) -> Result<(), NoRoom> {
        let quota = self.quota.load(Ordering::Acquire);
        let fits = used.saturating_add(more) <= signed(quota);
        if more == 0 || fits || !self.known.load(Ordering::Acquire) {
            return Ok(());
        }
        Err(NoRoom::Quota { quota, used: u64::try_from(used).unwrap_or(0) })
    }

    /// Whether the disk has a place for a tag or a link.
    fn place(&self) -> Result<(), NoRoom> {
        let reserve = self.reserve.load(Ordering::Acquire);
        if reserve == 0 {
            return Ok(());
        }
        // Asked each time, which takes less than making the file.
        self.enough(self.free.ask(&self.root), reserve / 2, signed(BLOCK))
    }

    fn beyond_reserve(&self, more: i64, take: bool) -> Result<(), NoRoom> {
        let reserve = self.reserve.load(Ordering::Acquire);
        if reserve == 0 || more == 0 {
            return Ok(());
        }
        // What was known does not decide against anybody: somebody may have made room since.
        let known = self.free.known().filter(|known| self.enough(*known, reserve, more).is_ok());
        if known.is_none() {
            self.enough(self.free.ask(&self.root), reserve, more)?;
        }
        if take {
            self.free.bytes.fetch_sub(more, Ordering::AcqRel);
            self.free.since.fetch_add(more, Ordering::AcqRel);
        }
        Ok(())
    }

    /// Whether of so many bytes and files that are free so many bytes less would leave `kept` of them.
    fn enough(&self, (free, files): (i64, u64), kept: u64, more: i64) -> Result<(), NoRoom> {
        if free.saturating_sub(more) < signed(kept) {
            let reserve = self.reserve.load(Ordering::Acquire);
            return Err(NoRoom::Reserve { reserve, free: u64::try_from(free).unwrap_or(0) });
        }
        if files != NONE {
            return Err(NoRoom::Files { free: files });
        }
        Ok(())
    }

    /// Does `how`, which puts this file of content in its place or takes it away, and keeps count.
    pub(super) fn change<T, E>(
        &self,
        path: &Path,
        how: impl FnOnce() -> Result<(T, Change), E>,
    ) -> Result<T, E> {
        let walk = self.walk.read().unwrap_or_else(PoisonError::into_inner);
        let directory = path.parent().unwrap_or(Path::new(""));
        let mut hasher = DefaultHasher::new();
        path.hash(&mut hasher);
        let shard = hasher.finish().to_le_bytes()[0];
        let _one = self.naming[usize::from(shard)].lock().unwrap_or_else(PoisonError::into_inner);
        let (value, change) = how()?;
        self.stored.fetch_add(change.stored, Ordering::AcqRel);
        self.used.fetch_add(change.used, Ordering::AcqRel);
        if let Some(walk) = walk.as_ref().filter(|walk| walk.seen.contains(directory)) {
            walk.counted.fetch_add(change.stored, Ordering::AcqRel);
        }
        Ok(value)
    }

    /// The same for a file that goes away, if `remove` says so.
    pub(super) fn remove(
        &self,
        path: &Path,
        remove: impl FnOnce() -> Result<bool, StoreError>,
    ) -> Result<bool, StoreError> {
        self.change(path, || {
            let size = weight(path)?;
            let removed = remove()?;
            let less = if removed { -size } else { 0 };
            Ok((removed, Change { stored: less, used: less }))
        })
    }
}

impl Free {
    /// The bytes that were free when it was asked, less what was taken since, and how many files, where that is few; `None` when it is
    /// time to ask again.
    fn known(&self) -> Option<(i64, u64)> {
        let asked = self.asked.load(Ordering::Acquire);
        let fresh = asked != 0
            && self.now().saturating_sub(asked) < ASK_TIME
            && self.since.load(Ordering::Acquire) < ASK_BYTES;
        fresh.then(|| (self.bytes.load(Ordering::Acquire), self.files.load(Ordering::Acquire)))
    }

    fn ask(&self, root: &Path) -> (i64, u64) {
        // Where the system does not say, the disk itself says when it is full.
        let (free, files) = rustix::fs::statvfs(root).map_or((i64::MAX, NONE), |told| {
            let free = signed(told.f_bavail.saturating_mul(told.f_frsize));
            (free, few(told.f_favail, told.f_files))
        });
        self.bytes.store(free, Ordering::Release);
        self.files.store(files, Ordering::Release);
        self.since.store(0, Ordering::Release);
        self.asked.store(self.now(), Ordering::Release);
        (free, files)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX).max(1)
    }
}

/// How many files of `all` are free, where that is few. Some file systems count none, or say zero.
fn few(free: u64, all: u64) -> u64 {
    if free > 0 && free < all / FILES_SHARE { free } else { NONE }
}

impl Store {
    /// Sets the most bytes that content and uploads may have, and those that stay free on the disk; without a reserve it is
    /// 1 GiB, or a twentieth of the file system where that is less.
    pub fn set_room(&self, quota: Option<u64>, reserve: Option<u64>) {
        let usual = || match rustix::fs::statvfs(&self.root) {
            Ok(told) => RESERVE.min(told.f_blocks.saturating_mul(told.f_frsize) / 20),
            Err(_) => RESERVE,
        };
        self.room.quota.store(quota.unwrap_or(NONE), Ordering::Release);
        self.room.reserve.store(reserve.unwrap_or_else(usual), Ordering::Release);
    }

    /// How full it is.
    pub fn usage(&self) -> Usage {
        let quota = self.room.quota.load(Ordering::Acquire);
        let used = u64::try_from(self.room.used.load(Ordering::Acquire)).unwrap_or(0);
        Usage {
            quota: (quota != NONE).then_some(quota),
            used: self.room.known.load(Ordering::Acquire).then_some(used),
            reserve: self.room.reserve.load(Ordering::Acquire),
        }
    }

    /// Whether an upload of so many bytes has room now.
    ///
    /// # Errors
    /// It has not.
    pub fn fits(&self, bytes: u64) -> Result<(), StoreError> {
        Ok(self.room.fits(bytes)?)
    }

    /// Whether so many bytes may lie on the disk for a moment, which are stored only later, if at all.
    ///
    /// # Errors
    /// They would take what shall stay free.
    pub fn has_space(&self, bytes: u64) -> Result<(), StoreError> {
        Ok(self.room.beyond_reserve(signed(bytes), true)?)
    }

    /// Whether the file of a tag or a link may be made. One that is there may always be written again.
    pub(super) fn place(&self, path: &Path) -> Result<(), StoreError> {
        match exists(fs_err::symlink_metadata(path))? {
            true => Ok(()),
            false => Ok(self.room.place()?),
        }
    }

    /// Counts what is stored, beside the requests; `false` when `step`, which is called for each directory, ended it,
    /// or another count runs.
    ///
    /// # Errors
    /// A directory cannot be read.
    pub fn count(&self, step: &dyn Fn() -> bool) -> Result<bool, StoreError> {
        if self.read_only {
            return Ok(false);
        }
        match &mut *self.walk() {
            Some(_) => return Ok(false),
            none => *none = Some(Walk::default()),
        }
        let outcome = self.walk_all(step);
        let mut walk = self.walk();
        let done = walk.take();
        if let (Ok(true), Some(mut done)) = (&outcome, done) {
            // Directories that were made after they were listed.
            for directory in self.counted_dirs()? {
                done.add(directory)?;
            }
            let counted = done.counted.into_inner();
            let before = self.room.stored.swap(counted, Ordering::AcqRel);
            self.room.used.fetch_add(counted - before, Ordering::AcqRel);
            self.room.known.store(true, Ordering::Release);
        }
        outcome
    }

    fn walk_all(&self, step: &dyn Fn() -> bool) -> Result<bool, StoreError> {
        for directory in self.counted_dirs()? {
            if !step() {
                return Ok(false);
            }
            if let Some(walk) = &mut *self.walk() {
                walk.add(directory)?;
            }
        }
        Ok(true)
    }

    fn walk(&self) -> std::sync::RwLockWriteGuard<'_, Option<Walk>> {
        self.room.walk.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The directories with the files of content.
    fn counted_dirs(&self) -> Result<Vec<PathBuf>, StoreError> {
        let blobs = self.root.join("blobs");
        let mut directories = Vec::new();
        for algorithm in names(&blobs)? {
            let all = blobs.join(algorithm);
            directories.extend(names(&all)?.map(|shard| all.join(shard)));
        }
        let mut visit = |repository: &Repository| {
            directories.push(self.manifests(repository));
            directories.push(self.tags_dir(repository));
            Ok(())
        };
        self.each_repository(&mut visit, &mut |_| {})?;
        Ok(directories)
    }

    /// Somebody is about to change what is stored without keeping count.
    pub(super) fn uncounted(&self) {
        self.room.known.store(false, Ordering::Release);
    }

    /// Removes the file of an unfinished upload; `false` when there is none.
    pub(super) fn remove_upload(&self, path: &Path) -> Result<bool, StoreError> {
        let bytes = length(path)?;
        let removed = remove_if_there(path)?;
        if removed {
            self.room.used.fetch_sub(bytes, Ordering::AcqRel);
        }
        Ok(removed)
    }
}

impl Walk {
    fn add(&mut self, directory: PathBuf) -> Result<(), StoreError> {
        if self.seen.contains(&directory) {
            return Ok(());
        }
        let mut bytes = 0;
        for name in names(&directory)? {
            bytes += weight(&directory.join(name))?;
        }
        *self.counted.get_mut() += bytes;
        self.seen.insert(directory);
        Ok(())
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if self.read_only || self.failed().is_some() || !self.room.known.load(Ordering::Acquire) {
            return;
        }
        let text = format!("{HEADING}\n{}\n", self.room.stored.load(Ordering::Acquire));
        // Without the file it is counted again.
        if let Err(error) = lasting::replace(&self.root.join(FILE), text.as_bytes(), 0o600) {
            tracing::debug!(%error, "cannot write down how much is stored");
        }
    }
}

/// Takes the file of the last one that had the store open; `None` when there is none that is whole.
pub(super) fn taken(root: &Path) -> Result<Option<i64>, StoreError> {
    let path = root.join(FILE);
    let text = read_bounded(&path, FILE_MAX).unwrap_or_default();
    if remove_if_there(&path)? {
        // It must not come back after a loss of power: it would be old.
        lasting::sync(root)?;
    }
    let text = text.and_then(|text| String::from_utf8(text).ok()).unwrap_or_default();
    let stored = text.strip_prefix(HEADING).and_then(|rest| rest.trim().parse().ok());
    Ok(stored.filter(|stored: &i64| *stored >= 0))
}

/// What a file of content counts; nothing when there is none.
pub(super) fn weight(path: &Path) -> io::Result<i64> {
    let is_tag = path.parent().is_some_and(|directory| directory.ends_with(TAGS));
    length(path).map(|length| if is_tag && length > 0 { signed(BLOCK) } else { length })
}

/// The bytes of a file; none when there is none.
pub(super) fn length(path: &Path) -> io::Result<i64> {
    match fs_err::symlink_metadata(path) {
        Ok(found) => Ok(signed(found.len())),
        Err(error) if is_absent(&error) => Ok(0),
        Err(error) => Err(error),
    }
}

pub(super) fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_files_of_a_disk_are_few() {
        for (free, all, expected) in [
            (24, 1000, 24),
            (25, 1000, NONE),
            (1000, 1000, NONE),
            // Of systems that do not count.
            (0, 0, NONE),
            (0, 1000, NONE),
            (u64::MAX, 1000, NONE),
        ] {
            assert_eq!(few(free, all), expected, "{free} of {all}");
        }
    }
}
