//! Manifests and tags of a repository.
//!
//! In: the bytes of a manifest as they were pushed. Out: the same bytes with the same media type. What
//! must hold: order of safety is referrer link, manifest, tag; a manifest read back has the digest
//! it is named by.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use bytes::Bytes;
use format_spec::limits::MANIFEST_MAX;
use format_spec::{Repository, Tag};

use super::durable::{is_absent, read_bounded};
use super::room::{BLOCK, Change, NoRoom, Room, signed, weight};
use super::{Store, StoreError};
use crate::content::{Algorithm, ContentDigest, ContentHasher};
use crate::outline::Outline;
use crate::regular;

/// Bytes of the line before a stored manifest; a media type is at most 255 by RFC 6838.
pub(crate) const HEADING_MAX: u64 = 512;

/// Bytes of a tag file: one digest and a line feed.
const POINTER_MAX: u64 = 256;

/// Bytes of a manifest that are hashed at once where it is not held.
const HASH_STEP: usize = 64 * 1024;

/// A manifest as it was pushed.
#[derive(Debug, Clone)]
pub struct StoredManifest {
    /// The exact bytes.
    pub bytes: Bytes,
    /// Their digest.
    pub digest: ContentDigest,
    /// The content type they were pushed with.
    pub media_type: String,
}

impl StoredManifest {
    /// Reads the stored form, a line with the media type and the bytes; `None` when those have another digest.
    pub(crate) fn parse(stored: &Bytes, digest: &ContentDigest) -> Option<Self> {
        let end = stored.iter().position(|byte| *byte == b'\n')?;
        let media_type = std::str::from_utf8(&stored[..end]).ok()?.to_owned();
        let bytes = stored.slice(end + 1..);
        (ContentDigest::of(digest.algorithm(), &bytes) == *digest).then(|| Self {
            bytes,
            digest: *digest,
            media_type,
        })
    }
}

/// A stored manifest whose bytes are still in its file.
#[derive(Debug)]
pub struct OpenManifest {
    /// The file.
    pub file: fs_err::File,
    /// Where in it the bytes begin.
    pub at: u64,
    /// How many they are.
    pub size: u64,
    /// The content type they were pushed with.
    pub media_type: String,
}

/// What was stored.
#[derive(Debug, Clone)]
pub struct Pushed {
    /// The manifest's digest.
    pub digest: ContentDigest,
    /// The manifest it refers to, when it has a `subject`.
    pub subject: Option<ContentDigest>,
}

impl Store {
    /// Stores a manifest under its digest and under `tags`. Durable on return. The blobs of an image
    /// must be there, except layers of a foreign media type; the manifests of an index and the
    /// subject need not.
    ///
    /// # Errors
    /// The manifest is malformed or another than `expected`, a blob is missing, the store is
    /// read-only, or I/O.
    pub fn put_manifest(
        &self,
        repository: &Repository,
        expected: Option<&ContentDigest>,
        tags: &[Tag],
        media_type: Option<&str>,
        bytes: &[u8],
    ) -> Result<Pushed, StoreError> {
        self.writable()?;
        let algorithm = expected.map_or(Algorithm::Sha256, ContentDigest::algorithm);
        let digest = ContentDigest::of(algorithm, bytes);
        if let Some(expected) = expected.filter(|expected| **expected != digest) {
            return Err(StoreError::Mismatch {
                expected: Box::new(*expected),
                found: Box::new(digest),
            });
        }
        let manifest = Outline::parse(bytes, media_type)?;
        // The type it was sent with, unless that was none or a general one.
        let media_type = &manifest.media_type;
        let subject = manifest.subject;

        // Before the first look: what it names stays until it is there to name it.
        let named: Vec<&ContentDigest> = manifest.named().collect();
        let _holds: Vec<_> =
            named.iter().copied().chain([&digest]).map(|named| self.holds.hold(named)).collect();
        let _adding = self.adding(repository);
        self.require_blobs(repository, &manifest)?;
        for named in named {
            // Children and subject, those that are there.
            self.touch(&self.manifests(repository).join(named.hex()));
        }
        for tag in tags {
            self.place(&self.tags_dir(repository).join(tag.as_str()))?;
        }
        let name = digest.hex();
        if let Some(subject) = &subject {
            self.place(&self.referrers_dir(repository, subject).join(&name))?;
            // Before the manifest: a client that finds the manifest after a crash sends it no more,
            // and the link would be missing for ever. A link without a manifest is not shown.
            let dir = self.referrers_dir(repository, subject);
            self.durable.make_dirs(&self.root, &dir)?;
            self.durable.mark(&dir, &name)?;
        }
        let (dir, parts) = (self.manifests(repository), [media_type.as_bytes(), b"\n", bytes]);
        let size = parts.iter().map(|part| part.len() as u64).sum();
        self.write(&dir, &name, &parts, size, Room::take)?;
        self.touch(&dir.join(&name));
        for tag in tags {
            self.write_tag(repository, tag, &digest)?;
        }
        Ok(Pushed { digest, subject })
    }

    /// Lets a tag stand for a manifest that is there.
    pub(super) fn write_tag(
        &self,
        repository: &Repository,
        tag: &Tag,
        digest: &ContentDigest,
    ) -> Result<(), StoreError> {
        let (dir, text) = (self.tags_dir(repository), format!("{digest}\n"));
        self.write(&dir, tag.as_str(), &[text.as_bytes()], BLOCK, Room::take_of_quota)
    }

    /// Writes the file of a manifest or a tag, and counts it as so many bytes.
    fn write(
        &self,
        dir: &Path,
        name: &str,
        parts: &[&[u8]],
        size: u64,
        take: impl FnOnce(&Room, u64) -> Result<(), NoRoom>,
    ) -> Result<(), StoreError> {
        let path = dir.join(name);
        // In a full registry what is there may be sent again and repaired, and a tag may move.
        let taken = if weight(&path)? == 0 { size } else { 0 };
        take(&self.room, taken)?;
        let written = self.room.change(&path, || {
            self.durable.make_dirs(&self.root, dir)?;
            let replaced = weight(&path)?;
            self.durable.write(dir, name, parts)?;
            let stored = signed(size) - replaced;
            Ok(((), Change { stored, used: stored - signed(taken) }))
        });
        written.inspect_err(|_| self.room.give(taken))
    }

    fn require_blobs(&self, repository: &Repository, manifest: &Outline) -> Result<(), StoreError> {
        let mut any = false;
        for blob in manifest.needed() {
            match self.has_blob(repository, &blob.digest)? {
                None => return Err(StoreError::BlobUnknown(blob.digest)),
                Some(found) if found != blob.size => {
                    let (blob, stated) = (Box::new(blob.digest), blob.size);
                    return Err(StoreError::BlobSize { blob, stated, found });
                }
                Some(_) => any = true,
            }
        }
        if any {
            // A link that another request has made may be visible and not yet durable.
            self.durable.sync_dir(&self.links(repository))?;
        }
        Ok(())
    }

    /// The manifest a tag stands for.
    ///
    /// # Errors
    /// I/O.
    pub fn resolve_tag(
        &self,
        repository: &Repository,
        tag: &Tag,
    ) -> Result<Option<ContentDigest>, StoreError> {
        read_pointer(&self.tags_dir(repository).join(tag.as_str()))
    }

    /// The manifest with this digest, which stays for the grace of collection. One whose bytes have rotted
    /// counts as missing, so that pushing it again repairs it.
    ///
    /// # Errors
    /// I/O.
    pub fn get_manifest(
        &self,
        repository: &Repository,
        digest: &(impl Copy + Into<ContentDigest>),
    ) -> Result<Option<StoredManifest>, StoreError> {
        let digest: &ContentDigest = &(*digest).into();
        let _hold = self.holds.hold(digest);
        let path = self.manifests(repository).join(digest.hex());
        match read_stored(&path, digest)? {
            Stored::Absent => Ok(None),
            Stored::Whole(stored) => {
                self.touch(&path);
                Ok(Some(stored))
            }
            Stored::Damaged => {
                tracing::error!(%repository, %digest, "a stored manifest is damaged: push it again");
                Ok(None)
            }
        }
    }

    /// As [`Self::get_manifest`], where its bytes are hashed and stay in the file: one that is large and read slowly takes
    /// no memory meanwhile. Its file is never written to, only replaced.
    ///
    /// # Errors
    /// I/O.
    pub fn open_manifest(
        &self,
        repository: &Repository,
        digest: &ContentDigest,
    ) -> Result<Option<OpenManifest>, StoreError> {
        let _hold = self.holds.hold(digest);
        let path = self.manifests(repository).join(digest.hex());
        let opened = match regular::open(&path) {
            Ok(file) => hashed(file, digest)?,
            Err(error) if is_absent(&error) => return Ok(None),
            Err(error) if error.kind() == std::io::ErrorKind::InvalidData => None,
            Err(error) => return Err(error.into()),
        };
        match &opened {
            Some(_) => self.touch(&path),
            None => {
                tracing::error!(%repository, %digest, "a stored manifest is damaged: push it again");
            }
        }
        Ok(opened)
    }

    /// About how many bytes the manifest with this digest has; 0 when there is none.
    ///
    /// # Errors
    /// I/O.
    pub fn manifest_size(
        &self,
        repository: &Repository,
        digest: &ContentDigest,
    ) -> Result<u64, StoreError> {
        match fs_err::metadata(self.manifests(repository).join(digest.hex())) {
            Ok(found) => Ok(found.len()),
            Err(error) if is_absent(&error) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes a manifest, every tag that stands for it and its referrer link; `false` when there is
    /// none.
    ///
    /// # Errors
    /// Read-only, or I/O.
    pub fn delete_manifest(
        &self,
        repository: &Repository,
        digest: &(impl Copy + Into<ContentDigest>),
    ) -> Result<bool, StoreError> {
        let digest: &ContentDigest = &(*digest).into();
        self.writable()?;
        let _removing = self.removing(repository);
        let stored = self.get_manifest(repository, digest)?;
        let tags = self.tags_dir(repository);
        let mut named = Vec::new();
        for name in super::lists::names(&tags)? {
            if read_pointer(&tags.join(&name))? == Some(*digest) {
                named.push(name);
            }
        }
        if let Some(one) = named.first() {
            self.room.change(&tags.join(one), || {
                let removed = self.durable.remove_all(&tags, &named)?;
                let less = -signed(BLOCK).saturating_mul(signed(removed));
                Ok::<_, StoreError>(((), Change { stored: less, used: less }))
            })?;
        }
        let (manifests, name) = (self.manifests(repository), digest.hex());
        let removed =
            self.room.remove(&manifests.join(&name), || self.durable.remove(&manifests, &name))?;
        let subject = stored
            .and_then(|stored| Outline::parse(&stored.bytes, Some(&stored.media_type)).ok())
            .and_then(|manifest| manifest.subject);
        if let Some(subject) = subject {
            self.durable.remove(&self.referrers_dir(repository, &subject), &digest.hex())?;
        }
        Ok(removed)
    }

    /// Removes a tag and nothing else; `false` when there is none.
    ///
    /// # Errors
    /// Read-only, or I/O.
    pub fn delete_tag(&self, repository: &Repository, tag: &Tag) -> Result<bool, StoreError> {
        self.writable()?;
        let _removing = self.removing(repository);
        self.remove_tag(repository, tag)
    }

    /// The same where nobody else may set it meanwhile.
    pub(super) fn remove_tag(
        &self,
        repository: &Repository,
        tag: &Tag,
    ) -> Result<bool, StoreError> {
        let dir = self.tags_dir(repository);
        self.room.remove(&dir.join(tag.as_str()), || self.durable.remove(&dir, tag.as_str()))
    }
}

/// What a manifest's file came to.
pub(super) enum Stored {
    Absent,
    /// Its bytes are not those of its name.
    Damaged,
    Whole(StoredManifest),
}

/// Reads the file of a manifest, which does not count as a look at it.
pub(super) fn read_stored(path: &Path, digest: &ContentDigest) -> Result<Stored, StoreError> {
    let stored = match read_bounded(path, HEADING_MAX + MANIFEST_MAX) {
        Ok(Some(stored)) => stored,
        Ok(None) => return Ok(Stored::Absent),
        // Larger than any manifest, or no file.
        Err(StoreError::Io(error)) if error.kind() == std::io::ErrorKind::InvalidData => {
            tracing::error!(%error, "this is no manifest");
            return Ok(Stored::Damaged);
        }
        Err(error) => return Err(error),
    };
    let found = StoredManifest::parse(&Bytes::from(stored), digest);
    Ok(found.map_or(Stored::Damaged, Stored::Whole))
}

/// The manifest in a file; `None` when its bytes have another digest.
fn hashed(file: fs_err::File, digest: &ContentDigest) -> Result<Option<OpenManifest>, StoreError> {
    let length = file.metadata()?.len();
    if length > HEADING_MAX + MANIFEST_MAX {
        return Ok(None);
    }
    let mut reader = BufReader::with_capacity(HASH_STEP, file);
    let mut heading = Vec::new();
    reader.by_ref().take(HEADING_MAX).read_until(b'\n', &mut heading)?;
    let at = heading.len() as u64;
    if heading.pop() != Some(b'\n') {
        return Ok(None);
    }
    let Ok(media_type) = String::from_utf8(heading) else { return Ok(None) };
    let mut hasher = ContentHasher::new(digest.algorithm());
    loop {
        let step = reader.fill_buf()?;
        if step.is_empty() {
            break;
        }
        hasher.update(step);
        let length = step.len();
        reader.consume(length);
    }
    let same = hasher.finish() == *digest;
    let size = length.saturating_sub(at);
    Ok(same.then(|| OpenManifest { file: reader.into_inner(), at, size, media_type }))
}

/// The digest in a tag file; a damaged one counts as missing, and pushing the tag repairs it.
fn read_pointer(path: &Path) -> Result<Option<ContentDigest>, StoreError> {
    let pointer = read_tag(path)?;
    if let Some(None) = pointer {
        tracing::error!(path = %path.display(), "a tag is damaged: push it again");
    }
    Ok(pointer.flatten())
}

/// The same, where a damaged one is told apart: `Some(None)`.
pub(super) fn read_tag(path: &Path) -> Result<Option<Option<ContentDigest>>, StoreError> {
    use std::io::ErrorKind::{InvalidData, IsADirectory};
    let text = match read_bounded(path, POINTER_MAX) {
        Ok(Some(text)) => text,
        Ok(None) => return Ok(None),
        // Longer than any pointer, or no file: one damaged tag must not stop what looks at all of them.
        Err(StoreError::Io(error)) if matches!(error.kind(), InvalidData | IsADirectory) => {
            return Ok(Some(None));
        }
        Err(error) => return Err(error),
    };
    Ok(Some(std::str::from_utf8(&text).ok().and_then(|text| text.trim_end().parse().ok())))
}
