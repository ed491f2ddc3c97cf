//! The bytes of blobs, hashed: all of them, or the part of them that a slice is.
//!
//! In: the directory of blobs, a slice, where to go on. Out: findings, and cursors on the way. What must hold: a blob that
//! is replaced while it is read is read again; reading takes no more than its rate and leaves the page cache to others.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use format_spec::digest::to_hex;

use super::super::durable::is_absent;
use super::super::lists::names;
use super::super::{Store, StoreError};
use super::{Checking, Cursor, FINDINGS_MAX, FindingKind, KEEP, Pace, Slice};
use crate::content::{Algorithm, ContentDigest, ContentHasher};
use crate::regular;

/// Bytes read at a time.
const STEP: usize = 1024 * 1024;

/// What the bytes of a blob are.
pub(in crate::store) enum Bytes {
    /// Gone since it was listed.
    Absent,
    /// Those of its digest.
    Good,
    /// Others; the file in which they stand, by its number.
    Bad(u64, String),
}

impl Store {
    /// Hashes a blob; `moved` is told of every step and says whether to go on. `None` when it said no.
    pub(in crate::store) fn hash_blob(
        &self,
        digest: &ContentDigest,
        moved: &mut dyn FnMut(usize) -> bool,
    ) -> Result<Option<Bytes>, StoreError> {
        let path = self.blob_dir(digest).join(digest.hex());
        // Replaced while it was read: the new one counts. Nobody replaces it for ever.
        for _ in 0..3 {
            let Some((inode, outcome)) = hash(&path, digest.algorithm(), moved)? else {
                return Ok(None);
            };
            let bad = match outcome {
                Outcome::Absent => return Ok(Some(Bytes::Absent)),
                Outcome::Hashed(found, _) if found == *digest => {
                    return Ok(Some(Bytes::Good));
                }
                Outcome::Hashed(found, size) => {
                    format!("its {size} bytes have the digest {found}")
                }
                Outcome::Unreadable(why) => format!("it cannot be read: {why}"),
            };
            match fs_err::metadata(&path) {
                Ok(now) if now.ino() == inode => return Ok(Some(Bytes::Bad(inode, bad))),
                Ok(_) => {}
                Err(error) if is_absent(&error) => return Ok(Some(Bytes::Absent)),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Some(Bytes::Absent))
    }
}

enum Outcome {
    Absent,
    Hashed(ContentDigest, u64),
    Unreadable(String),
}

fn hash(
    path: &Path,
    algorithm: Algorithm,
    moved: &mut dyn FnMut(usize) -> bool,
) -> Result<Option<(u64, Outcome)>, StoreError> {
    use rustix::fs::{Advice, fadvise};
    let file = match regular::open(path) {
        Ok(file) => file,
        Err(error) if is_absent(&error) => return Ok(Some((0, Outcome::Absent))),
        Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
            let inode = fs_err::metadata(path).map_or(0, |found| found.ino());
            return Ok(Some((inode, Outcome::Unreadable(error.to_string()))));
        }
        Err(error) => return Err(error.into()),
    };
    let inode = file.metadata()?.ino();
    let mut file: File = file.into_parts().0;
    // Both are hints; a file system that has none is as good.
    let _ = fadvise(&file, 0, None, Advice::Sequential);
    let _ = fadvise(&file, 0, None, Advice::NoReuse);
    let (mut hasher, mut size) = (ContentHasher::new(algorithm), 0);
    let mut buffer = vec![0; STEP];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(Some((inode, Outcome::Hashed(hasher.finish(), size)))),
            Ok(read) => {
                hasher.update(&buffer[..read]);
                size += read as u64;
                if !moved(read) {
                    return Ok(None);
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Ok(Some((inode, Outcome::Unreadable(error.to_string())))),
        }
    }
}

impl Checking<'_> {
    /// Looks through the directories of blobs and hashes those of the slice.
    pub(super) fn bytes(&mut self) -> Result<(), StoreError> {
        let progress = self.how.progress;
        let slice = self.how.read;
        let cursor = self.how.from.clone().filter(|cursor| slice == Some(cursor.slice));
        if let Some(slice) = slice {
            progress.phase("adding up the blobs");
            progress.expect(self.to_read(slice, cursor.as_ref())?);
        }
        progress.phase(if slice.is_some() { "reading blobs" } else { "looking at blobs" });
        let mut damaged = Vec::new();
        for digest in cursor.iter().flat_map(|cursor| &cursor.damaged) {
            // Perhaps repaired since.
            self.blob(digest, &Pace::new(None), &mut damaged)?;
        }
        let after = cursor.map(|cursor| cursor.after);
        let pace = Pace::new(self.how.rate);
        let mut kept = Instant::now();
        for (algorithm, first) in shards() {
            let shard = self.shard(algorithm, first);
            let mut blobs = Vec::new();
            let ours = |digest: &ContentDigest| {
                digest.algorithm() == algorithm && digest.as_bytes()[0] == first
            };
            for name in names(&shard)? {
                match ContentDigest::from_hex(&name).ok().filter(ours) {
                    Some(digest) => blobs.push(digest),
                    None => self.stray(&shard.join(name)),
                }
            }
            blobs.sort_unstable();
            self.report.blobs += blobs.len() as u64;
            let Some(slice) = slice else { continue };
            let wanted = |digest: &ContentDigest| {
                slice.has(digest) && after.is_none_or(|after| *digest > after)
            };
            for digest in blobs.into_iter().filter(wanted) {
                if self.stopped() || !self.blob(&digest, &pace, &mut damaged)? {
                    return Ok(());
                }
                if kept.elapsed() >= KEEP {
                    (self.how.keep)(&Cursor { slice, after: digest, damaged: damaged.clone() });
                    kept = Instant::now();
                }
            }
        }
        Ok(())
    }

    fn shard(&self, algorithm: Algorithm, first: u8) -> PathBuf {
        self.store.root.join("blobs").join(algorithm.name()).join(to_hex(&[first]))
    }

    /// The bytes that are to be read.
    fn to_read(&self, slice: Slice, cursor: Option<&Cursor>) -> Result<u64, StoreError> {
        let mut total = 0;
        for (algorithm, first) in shards() {
            let shard = self.shard(algorithm, first);
            for name in names(&shard)? {
                let Ok(digest) = ContentDigest::from_hex(&name) else { continue };
                if slice.has(&digest) && cursor.is_none_or(|cursor| digest > cursor.after) {
                    total += fs_err::metadata(shard.join(name)).map_or(0, |file| file.len());
                }
            }
        }
        Ok(total)
    }

    /// Hashes one blob; `false` when the check is to end.
    fn blob(
        &mut self,
        digest: &ContentDigest,
        pace: &Pace,
        damaged: &mut Vec<ContentDigest>,
    ) -> Result<bool, StoreError> {
        let how = self.how;
        let mut read_now = 0;
        let outcome = self.store.hash_blob(digest, &mut |read| {
            how.progress.skip(read as u64);
            read_now += read as u64;
            std::thread::sleep(pace.behind(read));
            !how.cancel.is_cancelled()
        })?;
        let Some(outcome) = outcome else { return Ok(false) };
        self.report.bytes_read += read_now;
        self.report.blobs_read += u64::from(!matches!(outcome, Bytes::Absent));
        if let Bytes::Bad(_, detail) = outcome {
            if damaged.len() < FINDINGS_MAX {
                damaged.push(*digest);
            }
            let kind = FindingKind::BlobDamaged;
            self.note(kind, digest.to_string(), Some(*digest), None, detail);
        }
        Ok(true)
    }
}

/// Every directory that blobs lie in, in the order of their digests, which a cursor rests on.
fn shards() -> impl Iterator<Item = (Algorithm, u8)> {
    Algorithm::ALL
        .into_iter()
        .flat_map(|algorithm| (0..=u8::MAX).map(move |first| (algorithm, first)))
}
