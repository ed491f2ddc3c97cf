//! Unfinished uploads: one file each, hashed while it grows, moved into place when it is whole.
//!
//! In: chunks in order. Out: a blob that the repository holds. What must hold: one writer at a time;
//! the hash covers exactly the bytes written; after a restart or a long pause an upload is found
//! again by its file and hashed anew.

use std::collections::HashMap;
use std::io::{self, Read, Seek};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use format_spec::digest::to_hex;
use format_spec::limits::BLOB_MAX;
use format_spec::{Digest, Repository};
use tokio::sync::OwnedMutexGuard;
use tokio_util::sync::CancellationToken;

use super::blobs::exists;
use super::durable::is_absent;
use super::room::{Change, Room, length};
use super::{Store, StoreError};
use crate::content::{Algorithm, ContentDigest, ContentHasher};
use crate::regular;

/// An upload that nothing was added to for this long is removed.
pub const UPLOAD_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// Unfinished uploads at one time. Clients have a handful each; a directory of ten thousand files is
/// still read in a moment at start.
pub const PENDING_MAX: usize = 10_000;

/// Of the places that are left, one user or address may have this part in use: 1,111 alone, 1,000 beside another one, and
/// however many there are, something is left for the next.
const SHARE: usize = 8;

/// Uploads whose file and running hash are kept open between two requests: one file descriptor each.
/// The others are opened and hashed again when they go on.
const LIVE_MAX: usize = 256;

/// Bytes read at once when an upload is hashed again.
const REHASH_BUFFER: usize = 256 * 1024;

/// Names an unfinished upload: 128 random bits, the hash of its repository so that it can be used through no other,
/// and where it is somebody's the hash of who that is, so that their share is known after a restart.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UploadId(String);

impl UploadId {
    pub(crate) fn new(repository: &Repository) -> io::Result<Self> {
        Ok(Self(format!("{}-{}", random_hex()?, Self::owner(repository))))
    }

    fn of(repository: &Repository, who: &str) -> io::Result<Self> {
        let Self(id) = Self::new(repository)?;
        Ok(Self(if who.is_empty() { id } else { format!("{id}-{}", short(who)) }))
    }

    /// Parses an id of this repository; `None` for anything else.
    pub fn parse(text: &str, repository: &Repository) -> Option<Self> {
        let (random, rest) = text.split_once('-')?;
        let (owner, who) = rest.split_once('-').map_or((rest, None), |(it, who)| (it, Some(who)));
        let is_hex = |text: &str, length| {
            text.len() == length && text.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'))
        };
        let ok = is_hex(random, 32)
            && owner == Self::owner(repository)
            && who.is_none_or(|who| is_hex(who, 16));
        ok.then(|| Self(text.to_owned()))
    }

    /// The id as text, safe in a URL and as a file name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn owner(repository: &Repository) -> String {
        short(repository.as_str())
    }
}

fn short(text: &str) -> String {
    Digest::of(text.as_bytes()).hex()[..16].to_owned()
}

/// Whose the upload with this name is; `None` when it is nobody's in particular.
fn who_in(name: &str) -> Option<&str> {
    name.splitn(3, '-').nth(2)
}

/// 32 random hexadecimal digits.
pub(crate) fn random_hex() -> io::Result<String> {
    use ring::rand::SecureRandom;
    let mut bytes = [0; 16];
    ring::rand::SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| io::Error::other("the system's random source failed"))?;
    Ok(to_hex(&bytes))
}

/// An unfinished upload.
pub struct Upload {
    id: UploadId,
    path: PathBuf,
    offset: AtomicU64,
    room: Arc<Room>,
    turn: Mutex<CancellationToken>,
    state: Arc<tokio::sync::Mutex<State>>,
}

/// What the writer of the moment owns. `None`: finished or removed.
type State = Option<Growing>;

struct Growing {
    file: fs_err::File,
    hasher: ContentHasher,
}

impl Upload {
    /// The name it is found by.
    pub fn id(&self) -> &UploadId {
        &self.id
    }

    /// Bytes received so far.
    pub fn offset(&self) -> u64 {
        self.offset.load(Ordering::Acquire)
    }

    /// Takes the upload over for writing. A request that still writes to it is interrupted: its
    /// connection is most likely dead, and the client has come back on another.
    ///
    /// # Errors
    /// The upload was finished or removed meanwhile.
    pub async fn append(self: &Arc<Self>) -> Result<Appender, StoreError> {
        let turn = CancellationToken::new();
        let before = std::mem::replace(&mut *lock(&self.turn), turn.clone());
        before.cancel();
        let state = Arc::clone(&self.state).lock_owned().await;
        if state.is_none() {
            return Err(StoreError::UploadUnknown);
        }
        if turn.is_cancelled() {
            return Err(StoreError::UploadTaken);
        }
        Ok(Appender { upload: Arc::clone(self), state, turn })
    }
}

/// The right to write to an upload; one at a time.
pub struct Appender {
    upload: Arc<Upload>,
    state: OwnedMutexGuard<State>,
    turn: CancellationToken,
}

impl Appender {
    /// The name of the upload.
    pub fn id(&self) -> &UploadId {
        &self.upload.id
    }

    /// Bytes received so far, and where the next ones go.
    pub fn offset(&self) -> u64 {
        self.upload.offset()
    }

    /// Cancelled when another request wants to write.
    pub fn interrupted(&self) -> &CancellationToken {
        &self.turn
    }

    /// Adds bytes at the end. They are hashed only after they were written, so a failed write can be
    /// tried again from [`Appender::offset`].
    ///
    /// # Errors
    /// The blob grows too large, there is no room, or I/O.
    pub fn write(&mut self, data: &[u8]) -> Result<(), StoreError> {
        let Some(growing) = self.state.as_mut() else { return Err(StoreError::UploadUnknown) };
        let offset = self.upload.offset.load(Ordering::Acquire);
        let end = offset + data.len() as u64;
        if end > BLOB_MAX {
            return Err(StoreError::TooLarge { limit: BLOB_MAX });
        }
        self.upload.room.take(data.len() as u64)?;
        growing.file.file().write_all_at(data, offset).map_err(|error| {
            // Some of it may stand there, and is not counted.
            let _ = growing.file.set_len(offset);
            self.upload.room.give(data.len() as u64);
            io::Error::new(error.kind(), format!("cannot write the upload: {error}"))
        })?;
        growing.hasher.update(data);
        self.upload.offset.store(end, Ordering::Release);
        Ok(())
    }
}

/// The uploads of a store.
pub(super) struct Uploads {
    dir: PathBuf,
    live: Mutex<HashMap<UploadId, Arc<Upload>>>,
    pub(super) pending: AtomicUsize,
    /// How many are whose.
    shares: Mutex<HashMap<String, usize>>,
}

impl Uploads {
    /// The uploads in `dir`, and their bytes.
    pub(super) fn new(dir: PathBuf) -> Result<(Self, u64), StoreError> {
        let (mut pending, mut bytes) = (0, 0);
        let mut shares: HashMap<String, usize> = HashMap::new();
        match fs_err::read_dir(&dir) {
            Ok(entries) => {
                for entry in entries {
                    pending += 1;
                    let Ok(entry) = entry else { continue };
                    bytes += entry.metadata().map_or(0, |file| file.len());
                    if let Some(who) = entry.file_name().to_str().and_then(who_in) {
                        *shares.entry(who.to_owned()).or_default() += 1;
                    }
                }
            }
            Err(error) if is_absent(&error) => {}
            Err(error) => return Err(error.into()),
        }
        let (pending, shares) = (AtomicUsize::new(pending), Mutex::new(shares));
        Ok((Self { dir, live: Mutex::default(), pending, shares }, bytes))
    }

    /// Counts one more, where there is a place for it.
    fn count(&self, id: &UploadId) -> Result<(), StoreError> {
        let mut shares = lock(&self.shares);
        let left = PENDING_MAX.saturating_sub(self.pending.load(Ordering::Acquire));
        if left == 0 {
            return Err(StoreError::UploadsFull { limit: PENDING_MAX });
        }
        if let Some(who) = who_in(id.as_str()) {
            let limit = (left / SHARE).max(1);
            let own = shares.entry(who.to_owned()).or_default();
            if *own >= limit {
                return Err(StoreError::UploadsShare { limit });
            }
            *own += 1;
        }
        self.pending.fetch_add(1, Ordering::AcqRel);
        Ok(())
    }

    fn keep(
        &self,
        id: UploadId,
        offset: u64,
        growing: Growing,
        room: &Arc<Room>,
    ) -> Result<Option<Arc<Upload>>, StoreError> {
        let mut live = lock(&self.live);
        // Two requests may have opened it again at the same time: the first one counts.
        if let Some(there) = live.get(&id) {
            return Ok(Some(Arc::clone(there)));
        }
        // And the first one may be through by now, which makes this file a blob that nobody may
        // write to. It is forgotten only after it was moved, so its old name tells.
        if !exists(fs_err::metadata(self.dir.join(id.as_str())))? {
            return Ok(None);
        }
        if live.len() >= LIVE_MAX {
            let idle = live.iter().find(|(_, upload)| Arc::strong_count(upload) == 1);
            if let Some(idle) = idle.map(|(id, _)| id.clone()) {
                live.remove(&idle);
            }
        }
        let upload = Arc::new(Upload {
            path: self.dir.join(id.as_str()),
            id: id.clone(),
            offset: AtomicU64::new(offset),
            room: Arc::clone(room),
            turn: Mutex::default(),
            state: Arc::new(tokio::sync::Mutex::new(Some(growing))),
        });
        live.insert(id, Arc::clone(&upload));
        Ok(Some(upload))
    }

    fn forget(&self, id: &UploadId) {
        lock(&self.live).remove(id);
    }

    fn uncount(&self, name: &str) {
        if let Some(who) = who_in(name) {
            let mut shares = lock(&self.shares);
            if let Some(own) = shares.get_mut(who) {
                *own = own.saturating_sub(1);
                if *own == 0 {
                    shares.remove(who);
                }
            }
        }
        let less = |n: usize| Some(n.saturating_sub(1));
        let _ = self.pending.fetch_update(Ordering::AcqRel, Ordering::Acquire, less);
    }
}

impl Store {
    /// Uploads that are not finished.
    pub fn pending_uploads(&self) -> usize {
        self.uploads.pending.load(Ordering::Acquire)
    }

    /// Starts an upload into a repository.
    ///
    /// # Errors
    /// Read-only, too many are pending, or I/O.
    pub fn begin_upload(&self, repository: &Repository) -> Result<Arc<Upload>, StoreError> {
        self.begin_upload_by(repository, Algorithm::Sha256, "")
    }

    /// The same where it is known by which algorithm it will be named; by another one it is read once more. It counts
    /// into the share of `who`, a user or an address, where that is somebody.
    ///
    /// # Errors
    /// As of [`Store::begin_upload`].
    pub fn begin_upload_by(
        &self,
        repository: &Repository,
        algorithm: Algorithm,
        who: &str,
    ) -> Result<Arc<Upload>, StoreError> {
        self.writable()?;
        let id = UploadId::of(repository, who)?;
        self.uploads.count(&id)?;
        let file = fs_err::OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(self.uploads.dir.join(id.as_str()))
            .inspect_err(|_| self.uploads.uncount(id.as_str()))?;
        let growing = Growing { file, hasher: ContentHasher::new(algorithm) };
        self.uploads.keep(id, 0, growing, &self.room)?.ok_or(StoreError::UploadUnknown)
    }

    /// Finds an unfinished upload. One that is not open any more is read and hashed again.
    ///
    /// # Errors
    /// Read-only, or I/O.
    pub fn find_upload(&self, id: &UploadId) -> Result<Option<Arc<Upload>>, StoreError> {
        self.writable()?;
        if let Some(upload) = lock(&self.uploads.live).get(id) {
            return Ok(Some(Arc::clone(upload)));
        }
        let path = self.uploads.dir.join(id.as_str());
        let mut options = fs_err::OpenOptions::new();
        let mut file = match regular::open_with(options.read(true).write(true), &path) {
            Ok(file) => file,
            Err(error) if is_absent(&error) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let mut hasher = ContentHasher::new(Algorithm::Sha256);
        let offset = hash_file(&mut file, &mut hasher)?;
        self.uploads.keep(id.clone(), offset, Growing { file, hasher }, &self.room)
    }

    /// Whether the upload exists; cheaper than [`Store::find_upload`] when it is not open.
    ///
    /// # Errors
    /// I/O.
    pub fn upload_offset(&self, id: &UploadId) -> Result<Option<u64>, StoreError> {
        if let Some(upload) = lock(&self.uploads.live).get(id) {
            return Ok(Some(upload.offset()));
        }
        match fs_err::metadata(self.uploads.dir.join(id.as_str())) {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes an upload a blob of the repository it was started in and returns its size in bytes. The
    /// blob is durable and linked on return. In every other case the upload is gone and nothing of
    /// it is visible.
    ///
    /// # Errors
    /// The content has another digest, the disk is full or failed, or the store is read-only.
    pub fn finish_upload(
        &self,
        repository: &Repository,
        mut appender: Appender,
        expected: &(impl Copy + Into<ContentDigest>),
    ) -> Result<u64, StoreError> {
        let expected: &ContentDigest = &(*expected).into();
        let size = appender.offset();
        let upload = Arc::clone(&appender.upload);
        let Some(growing) = appender.state.take() else { return Err(StoreError::UploadUnknown) };
        let outcome = self.store_blob(repository, &upload, growing, expected, size);
        if outcome.is_err() {
            // Expiry removes what cannot be removed now.
            let _ = self.remove_upload(&upload.path);
        }
        // Not earlier: whoever looked for it meanwhile would have opened a file that became a blob.
        self.uploads.forget(&upload.id);
        self.uploads.uncount(upload.id.as_str());
        outcome.map(|()| size)
    }

    fn store_blob(
        &self,
        repository: &Repository,
        upload: &Upload,
        growing: Growing,
        expected: &ContentDigest,
        size: u64,
    ) -> Result<(), StoreError> {
        self.writable()?;
        let mut hasher = growing.hasher;
        if hasher.algorithm() != expected.algorithm() {
            // Nobody said so when it began.
            hasher = ContentHasher::new(expected.algorithm());
            let mut whole = growing.file.file();
            whole.seek(io::SeekFrom::Start(0))?;
            hash_file(&mut whole.take(size), &mut hasher)?;
        }
        let found = hasher.finish();
        if found != *expected {
            return Err(StoreError::Mismatch {
                expected: Box::new(*expected),
                found: Box::new(found),
            });
        }
        // A write that failed half-way has left bytes that were never hashed.
        if growing.file.metadata()?.len() != size {
            growing.file.set_len(size)?;
        }
        // One without bytes took no room.
        self.place(&self.links(repository).join(expected.hex()))?;
        self.durable.synced(growing.file.sync_data())?;
        let _hold = self.holds.hold(expected);
        let dir = self.blob_dir(expected);
        self.durable.make_dirs(&self.root, &dir)?;
        let _placing = self.placing.read().unwrap_or_else(PoisonError::into_inner);
        // Replaces a blob that is there already: pushing again repairs one that has rotted.
        let path = dir.join(expected.hex());
        self.room.change(&path, || {
            let replaced = length(&path)?;
            self.durable.place(&upload.path, &dir, &expected.hex())?;
            let stored = i64::try_from(size).unwrap_or(i64::MAX) - replaced;
            Ok::<_, StoreError>(((), Change { stored, used: -replaced }))
        })?;
        self.link(repository, expected)?;
        Ok(())
    }

    /// Gives an upload up and removes its bytes; `false` when there is none.
    ///
    /// # Errors
    /// Read-only, or I/O.
    pub async fn cancel_upload(&self, id: &UploadId) -> Result<bool, StoreError> {
        self.writable()?;
        let live = lock(&self.uploads.live).get(id).map(Arc::clone);
        if let Some(upload) = &live {
            match upload.append().await {
                Ok(mut appender) => *appender.state = None,
                Err(StoreError::UploadTaken | StoreError::UploadUnknown) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        let removed = self.remove_upload(&self.uploads.dir.join(id.as_str()));
        self.uploads.forget(id);
        if let Ok(true) = removed {
            self.uploads.uncount(id.as_str());
        }
        removed
    }

    /// Removes uploads that nothing was added to for `lifetime`; returns how many.
    ///
    /// # Errors
    /// Read-only, or I/O.
    pub fn expire_uploads(&self, lifetime: Duration) -> Result<usize, StoreError> {
        self.writable()?;
        let now = SystemTime::now();
        let mut removed = 0;
        for entry in fs_err::read_dir(&self.uploads.dir)? {
            let entry = entry?;
            let modified = match entry.metadata().and_then(|metadata| metadata.modified()) {
                Ok(modified) => modified,
                // Finished meanwhile.
                Err(error) if is_absent(&error) => continue,
                Err(error) => return Err(error.into()),
            };
            // A clock that stepped back makes an upload young, never old.
            if now.duration_since(modified).unwrap_or_default() < lifetime {
                continue;
            }
            let mut live = lock(&self.uploads.live);
            let name = entry.file_name();
            let known = live.keys().find(|id| name == id.as_str()).cloned();
            if let Some(id) = known {
                if live.get(&id).is_some_and(|upload| Arc::strong_count(upload) > 1) {
                    continue;
                }
                live.remove(&id);
            }
            if self.remove_upload(&entry.path())? {
                self.uploads.uncount(&name.to_string_lossy());
                removed += 1;
            }
        }
        Ok(removed)
    }
}

/// Hashes what is left of a file; returns how many bytes.
fn hash_file(file: &mut impl Read, hasher: &mut ContentHasher) -> Result<u64, StoreError> {
    let mut buffer = vec![0; REHASH_BUFFER];
    let mut total = 0;
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(total),
            n => {
                hasher.update(&buffer[..n]);
                total += n as u64;
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
