//! The mirror registry's storage: plain files, moved into place only when they are whole and durable.
//!
//! In: blobs as streams of bytes, manifests, tags. Out: the same bytes, by repository. One process
//! owns a store (`lock`); the server and the importer use it through this type.
//!
//! ```text
//! <data>/store-version                        "bundle registry store 1"
//! <data>/lock                                 held (flock) by the one process that writes
//! <data>/blobs/<algorithm>/<2 hex>/<hex>      the bytes of a blob, once for all repositories; sha256 or sha512,
//!                                             which the number of digits tells apart below `repositories`
//! <data>/uploads/<id>                         the bytes of an unfinished upload
//! <data>/usage                                bytes of the blobs, while nobody has the store open
//! <data>/tmp/<random>                         pointers being written; emptied at start
//! <data>/quarantine/<what>-<hex>-<random>     damaged files that a repair took out of the way
//! <data>/repositories/<name>/_blobs/<hex>     empty: this repository holds that blob
//! <data>/repositories/<name>/_manifests/<hex> one line with the media type, then the exact bytes
//! <data>/repositories/<name>/_tags/<tag>      the digest the tag stands for
//! <data>/repositories/<name>/_referrers/<hex of subject>/<hex of manifest>   empty
//! ```
//!
//! A component of a repository name cannot start with `_`, so the inner names never collide with a
//! repository. What must hold:
//!
//! - A file appears under its final name only after its bytes were synced; the directory is synced
//!   before anything that names the file is written, and before the caller hears of success. Order
//!   of a push: blob, its directory, the repository's link, referrer link, manifest, tag.
//! - Nothing is ever truncated or changed in place.
//! - A failed sync is never tried again: the kernel marks the lost pages clean, so the second try
//!   would succeed with the data gone. The store refuses all writes from then on.
//! - A blob is visible through a repository that holds it and through no other (CVE-2024-39897).
//! - Removing a blob removes the link of one repository. Its bytes stay until garbage collection
//!   (`collect`), which a request excludes by a hold on what it is at work with (`holds`).

pub mod adopt;
mod blobs;
mod browse;
pub mod check;
mod clock;
pub(crate) mod collect;
mod durable;
mod error;
mod holds;
mod inside;
mod lists;
mod manifests;
mod repair;
mod room;
mod sequence;
mod sequences;
mod touch;
mod uploads;
mod walk;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use format_spec::digest::to_hex;
use format_spec::{Digest, Repository};

pub use collect::{Collect, Collected, Kept, KeptFor, LetGo, Tally};
pub(crate) use durable::read_bounded;
pub use error::StoreError;
pub use lists::{Page, Referrer, Referrers};
pub(crate) use lists::{REFERRERS_READ, ReferrersPage, lexical};
pub(crate) use manifests::HEADING_MAX;
pub use manifests::{OpenManifest, Pushed, StoredManifest};
pub use room::{NoRoom, Usage};
pub(crate) use sequences::Records;
pub use sequences::{Holder, Pinned, SequenceError, SequenceRecord};
pub(crate) use uploads::random_hex;
pub use uploads::{Appender, PENDING_MAX, UPLOAD_LIFETIME, Upload, UploadId};

use crate::content::ContentDigest;
use crate::server::Settings;
use crate::{lasting, regular};
use clock::Clock;
use durable::Durable;
use holds::Holds;
use room::Room;
use uploads::Uploads;

const VERSION: &str = "bundle registry store 1\n";
/// In the data directory of a registry over object storage, so that nothing takes it for an empty one.
const OVER_OBJECTS: &str = "bundle registry over object storage 1\n";
/// A version file is one short line.
const VERSION_MAX: u64 = 256;
/// Every name in a registry's data directory: the store's own, of which a crash at the first start leaves some, and
/// those that may be there before the store.
pub const NAMES: [&str; 19] = [
    room::FILE,
    "quarantine",
    "fsck-cursor.json",
    "blobs",
    "repositories",
    "uploads",
    "tmp",
    "store-version",
    "lock",
    "control",
    "log",
    "robots",
    "users",
    "roles.toml",
    "token.key",
    "tls",
    "bin",
    "registry.toml",
    "registry.toml.old",
];
/// Locks over the repositories: enough that two busy repositories seldom share one.
const SHARDS: usize = 64;

/// The storage of one mirror registry. All methods block on the disk.
pub struct Store {
    root: PathBuf,
    durable: Durable,
    uploads: Uploads,
    room: Arc<Room>,
    shards: Vec<RwLock<()>>,
    read_only: bool,
    clock: Clock,
    holds: Holds,
    /// Milliseconds: see [`Store::set_grace`].
    touch_period: AtomicU64,
    /// The times of files cannot be moved on.
    untouchable: AtomicBool,
    /// Held by the collection that runs.
    collecting: Mutex<()>,
    /// Shared by who puts a blob in its place, alone for who moves one aside.
    placing: RwLock<()>,
    // Held for as long as the store is open.
    _lock: Option<fs_err::File>,
}

impl Store {
    /// Opens the store in `dir`, which is made when it does not exist. Left-over pointers of a crash
    /// are removed; the time this takes does not depend on how much is stored.
    ///
    /// # Errors
    /// Another process has it open, `dir` holds something else or a later version, or I/O fails.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        let dir = std::path::absolute(dir)?;
        let durable = Durable::new(dir.join("tmp"));
        lasting::make(&dir)?;
        let fresh = !check_version(&dir)?;
        // Also where the directory was there: what is in it is not for everybody from now on.
        if fresh {
            restrict(&dir)?;
        }
        let lock = lock(&dir)?;
        durable.clear_temporary()?;
        for name in ["uploads", "repositories", "blobs", "blobs/sha256", "blobs/sha512"] {
            durable.make_dirs(&dir, &dir.join(name))?;
        }
        let shards = (0..=u8::MAX).map(|first| to_hex(&[first]));
        durable.make_all(&dir.join("blobs/sha256"), shards)?;
        if fresh {
            durable.write(&dir, "store-version", &[VERSION.as_bytes()])?;
        }
        let stored = room::taken(&dir)?;
        let stored = if fresh { Some(0) } else { stored };
        Self::assemble(dir, durable, false, Some(lock), stored)
    }

    /// Whether `dir`, which exists, is a registry's or could become one: it holds nothing that is somebody else's.
    ///
    /// # Errors
    /// It does, or it holds a later version, or I/O fails.
    pub fn may_be(dir: &Path) -> Result<(), StoreError> {
        check_version(dir).map(drop)
    }

    /// Opens an existing store without writing anything to it, so the medium may be read-only.
    /// Every change is refused with [`StoreError::ReadOnly`].
    ///
    /// # Errors
    /// `dir` is not a store, or I/O fails.
    pub fn open_read_only(dir: &Path) -> Result<Self, StoreError> {
        let dir = std::path::absolute(dir)?;
        if !check_version(&dir)? {
            return Err(StoreError::NotAStore { path: dir });
        }
        let durable = Durable::new(dir.join("tmp"));
        Self::assemble(dir, durable, true, None, None)
    }

    /// Opens a store that is there, for reading only or for everything; never makes one.
    ///
    /// # Errors
    /// As of [`Store::open`]; `dir` is not a store.
    pub fn open_existing(dir: &Path, read_only: bool) -> Result<Self, StoreError> {
        match dir.is_dir() && check_version(dir)? {
            false => Err(StoreError::NotAStore { path: dir.to_owned() }),
            true if read_only => Self::open_read_only(dir),
            true => Self::open(dir),
        }
    }

    fn assemble(
        root: PathBuf,
        durable: Durable,
        read_only: bool,
        lock: Option<fs_err::File>,
        stored: Option<i64>,
    ) -> Result<Self, StoreError> {
        let (uploads, bytes) = Uploads::new(root.join("uploads"))?;
        let room = Arc::new(Room::new(&root, stored, bytes));
        let shards = (0..SHARDS).map(|_| RwLock::new(())).collect();
        Ok(Self {
            root,
            durable,
            uploads,
            room,
            shards,
            read_only,
            clock: Clock::of_the_machine(),
            holds: Holds::new(),
            touch_period: AtomicU64::new(Self::new_touch_period()),
            untouchable: AtomicBool::new(false),
            collecting: Mutex::default(),
            placing: RwLock::new(()),
            _lock: lock,
        })
    }

    /// Why every write is refused, when a sync has failed.
    pub fn failed(&self) -> Option<&str> {
        self.durable.failed()
    }

    fn writable(&self) -> Result<(), StoreError> {
        if self.read_only {
            return Err(StoreError::ReadOnly);
        }
        self.durable.writable()
    }

    fn repository(&self, repository: &Repository) -> PathBuf {
        self.root.join("repositories").join(repository.as_str())
    }

    fn links(&self, repository: &Repository) -> PathBuf {
        self.repository(repository).join("_blobs")
    }

    fn manifests(&self, repository: &Repository) -> PathBuf {
        self.repository(repository).join("_manifests")
    }

    fn tags_dir(&self, repository: &Repository) -> PathBuf {
        self.repository(repository).join(room::TAGS)
    }

    fn referrers_dir(&self, repository: &Repository, subject: &ContentDigest) -> PathBuf {
        self.repository(repository).join("_referrers").join(subject.hex())
    }

    fn blob_dir(&self, digest: &ContentDigest) -> PathBuf {
        let hex = digest.hex();
        self.root.join("blobs").join(digest.algorithm().name()).join(&hex[..2])
    }

    /// Additions to a repository share it; removals exclude them, so that a manifest is never
    /// accepted on the strength of a blob or a tag that is going away.
    fn adding(&self, repository: &Repository) -> RwLockReadGuard<'_, ()> {
        self.shard(repository).read().unwrap_or_else(PoisonError::into_inner)
    }

    fn removing(&self, repository: &Repository) -> RwLockWriteGuard<'_, ()> {
        self.shard(repository).write().unwrap_or_else(PoisonError::into_inner)
    }

    fn shard(&self, repository: &Repository) -> &RwLock<()> {
        let first = Digest::of(repository.as_str().as_bytes()).as_bytes()[0];
        &self.shards[usize::from(first) % SHARDS]
    }
}

/// Whether `dir` is a store of this version; `false` when it is empty.
fn check_version(dir: &Path) -> Result<bool, StoreError> {
    match durable::read_bounded(&dir.join("store-version"), VERSION_MAX)? {
        Some(text) if text == VERSION.as_bytes() => Ok(true),
        Some(text) if text == OVER_OBJECTS.as_bytes() => {
            Err(StoreError::OverObjects { path: dir.to_owned() })
        }
        Some(text) => Err(StoreError::Version {
            path: dir.to_owned(),
            found: String::from_utf8_lossy(&text).trim().to_owned(),
        }),
        None => {
            if foreign(dir)?.is_some() {
                return Err(StoreError::NotAStore { path: dir.to_owned() });
            }
            Ok(false)
        }
    }
}

/// A name in `dir` that is not a registry's: neither one of its own, nor of a file that its `registry.toml` names.
///
/// # Errors
/// The directory cannot be read.
pub fn foreign(dir: &Path) -> std::io::Result<Option<String>> {
    // One that cannot be read names nothing, and is told of by who needs it.
    let settings = Settings::load(dir).ok().flatten();
    let named = settings.as_ref().map(Settings::files).unwrap_or_default();
    for entry in fs_err::read_dir(dir)? {
        let name = entry?.file_name();
        let unfinished = name.to_string_lossy().starts_with(lasting::UNFINISHED);
        let ours = unfinished || name == "lost+found" || named.contains(&&*name);
        if !ours && !NAMES.iter().any(|ours| name == *ours) {
            return Ok(Some(name.to_string_lossy().into_owned()));
        }
    }
    Ok(None)
}

fn lock(dir: &Path) -> Result<fs_err::File, StoreError> {
    use rustix::fs::{FlockOperation, flock};
    let mut options = fs_err::OpenOptions::new();
    let file =
        regular::open_with(options.create(true).truncate(false).write(true), &dir.join("lock"))?;
    match flock(file.file(), FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(StoreError::Locked { path: dir.to_owned() }),
        Err(error) => Err(StoreError::Io(error.into())),
    }
}

/// Takes the lock of `dir` for a replica over object storage, when it may be the data directory of one.
pub(crate) fn lock_for_objects(dir: &Path) -> Result<fs_err::File, StoreError> {
    let new = !dir.is_dir();
    lasting::make(dir)?;
    if new {
        restrict(dir)?;
    }
    match check_version(dir) {
        // One that was installed and never filled.
        Ok(true) if is_empty(dir)? => lock(dir),
        Ok(true) => Err(StoreError::FilesToo { path: dir.to_owned() }),
        Ok(false) | Err(StoreError::OverObjects { .. }) => lock(dir),
        Err(error) => Err(error),
    }
}

/// Makes `dir` known as the data directory of a replica over object storage.
pub(crate) fn mark_for_objects(dir: &Path) -> Result<(), StoreError> {
    let version = dir.join("store-version");
    let marked = durable::read_bounded(&version, VERSION_MAX)?;
    if marked.as_deref() != Some(OVER_OBJECTS.as_bytes()) {
        lasting::replace(&version, OVER_OBJECTS.as_bytes(), 0o600)?;
    }
    Ok(())
}

/// Whether a store has no content at all: no blob, no repository, no upload, nothing in quarantine.
fn is_empty(dir: &Path) -> std::io::Result<bool> {
    let mut directories: Vec<PathBuf> =
        ["blobs", "repositories", "uploads", "quarantine"].map(|name| dir.join(name)).into();
    while let Some(directory) = directories.pop() {
        let entries = match fs_err::read_dir(&directory) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            if !entry.file_type()?.is_dir() {
                return Ok(false);
            }
            directories.push(entry.path());
        }
    }
    Ok(true)
}

/// Images are not for every user of the machine.
fn restrict(dir: &Path) -> Result<(), StoreError> {
    use std::os::unix::fs::PermissionsExt;
    let outcome = fs_err::set_permissions(dir, std::fs::Permissions::from_mode(0o700));
    match outcome {
        // Somebody else's directory that this user may write to: its owner has settled who else may.
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => Ok(()),
        other => Ok(other?),
    }
}

#[cfg(test)]
mod tests;
