//! Taking over what another registry holds: the file storage of CNCF distribution (Docker's registry), version 2 layout.
//!
//! In: its directory, read only. Out: the same blobs, manifests and tags in a store, and what was damaged and left out.
//! Blobs come as hard links where both lie on one file system and belong to one user, as clones where the file system has them, else as copies;
//! each is hashed before it gets its name. What must hold: nothing in the source changes, and nothing outside of it is read; blobs, then manifests, then
//! tags; a run that was stopped goes on where it was, as what is there is not taken again.
//!
//! ```text
//! docker/registry/v2/blobs/sha256/<2 hex>/<hex>/data
//! docker/registry/v2/repositories/<name>/_layers/sha256/<hex>/link
//! docker/registry/v2/repositories/<name>/_manifests/revisions/sha256/<hex>/link
//! docker/registry/v2/repositories/<name>/_manifests/tags/<tag>/current/link
//! ```

use std::collections::HashSet;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use format_spec::hash::Hasher;
use format_spec::limits::MANIFEST_MAX;
use format_spec::{Digest, Repository, Tag};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::durable::is_absent;
use super::inside::{self, Inside};
use super::lists::names;
use super::uploads::random_hex;
use super::{Store, StoreError};
use crate::manifest::Manifest;
use crate::media_type::is_foreign_layer;
use crate::progress::Progress;

/// Bytes copied at a time.
const STEP: usize = 1024 * 1024;

/// Bytes of a link: one digest.
const LINK_MAX: u64 = 256;

/// Things left out that are named.
pub const NAMED_MAX: usize = 1000;

/// Why something is left out that is in the way of a link.
const NO_LINKS: &str = "it is a link or below one, which may lead anywhere: links are not followed";

/// How to adopt.
pub struct Adopt<'a> {
    /// The directory of the other registry: that with `docker` in it.
    pub from: &'a Path,
    /// Hash and count, and write nothing.
    pub dry_run: bool,
    /// Told what happens.
    pub progress: &'a Progress,
    /// Ends it early.
    pub cancel: &'a CancellationToken,
}

/// What was taken over.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Adopted {
    /// Whether nothing was written.
    pub dry_run: bool,
    /// Repositories looked at.
    pub repositories: u64,
    /// Blobs that came as hard links.
    pub linked: u64,
    /// As clones of the file system.
    pub cloned: u64,
    /// As copies.
    pub copied: u64,
    /// Blobs that were there.
    pub present: u64,
    /// Bytes of the blobs that came.
    pub bytes: u64,
    /// Manifests stored, or there.
    pub manifests: u64,
    /// Tags set.
    pub tags: u64,
    /// Whether it came to its end.
    pub complete: bool,
    /// What was left out, and why.
    pub left_out: Vec<LeftOut>,
    /// More of these.
    pub more_left_out: u64,
}

/// Something that was not taken over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LeftOut {
    /// `repository@digest` or `repository:tag`.
    pub what: String,
    /// Why.
    pub why: String,
}

impl Adopted {
    fn leave(&mut self, what: String, why: impl Into<String>) {
        let why = why.into();
        tracing::warn!(what, why, "left out");
        if self.left_out.len() < NAMED_MAX {
            self.left_out.push(LeftOut { what, why });
        } else {
            self.more_left_out += 1;
        }
    }
}

/// How a blob came.
enum Way {
    Present,
    Linked,
    Cloned,
    Copied,
    /// It was only hashed.
    Counted,
}

/// The directory `docker/registry/v2`, or `None` when there is none: it may be named with or without those.
pub fn root_of(from: &Path) -> Option<PathBuf> {
    ["docker/registry/v2", "registry/v2", "v2", ""]
        .iter()
        .map(|below| from.join(below))
        .find(|root| root.join("repositories").is_dir() && root.join("blobs").is_dir())
}

impl Store {
    /// Takes over a directory of CNCF distribution.
    ///
    /// # Errors
    /// The store cannot be written, or a directory not be read. A file of the source that cannot be read is left out.
    pub fn adopt(&self, how: &Adopt<'_>) -> Result<Adopted, StoreError> {
        let root = root_of(how.from).ok_or_else(|| {
            let text = format!("`{}` has no `docker/registry/v2`", how.from.display());
            std::io::Error::new(std::io::ErrorKind::NotFound, text)
        })?;
        let mut adopting = Adopting {
            store: self,
            how,
            blobs: root.join("blobs/sha256"),
            inside_blobs: Inside::of(&root.join("blobs"))?,
            inside: Inside::of(&root.join("repositories"))?,
            done: Adopted { dry_run: how.dry_run, ..Adopted::default() },
            bad: HashSet::new(),
            counted: HashSet::new(),
        };
        if !how.dry_run {
            self.uncounted();
        }
        how.progress.phase("taking over");
        adopting.below(&root.join("repositories"), "")?;
        let mut done = adopting.done;
        done.complete = !how.cancel.is_cancelled();
        Ok(done)
    }
}

/// A take-over under way.
struct Adopting<'a> {
    store: &'a Store,
    how: &'a Adopt<'a>,
    blobs: PathBuf,
    inside_blobs: Inside,
    inside: Inside,
    done: Adopted,
    /// Damaged or missing: not looked at again for each repository.
    bad: HashSet<Digest>,
    /// Counted by a dry run.
    counted: HashSet<Digest>,
}

impl Adopting<'_> {
    fn stopped(&self) -> bool {
        self.how.cancel.is_cancelled()
    }

    /// Every repository below a directory. Names have at most 255 characters, so the depth is bounded.
    fn below(&mut self, dir: &Path, prefix: &str) -> Result<(), StoreError> {
        let mut inner: Vec<String> = names(dir)?.collect();
        inner.sort_unstable();
        let ours = inner.iter().any(|name| name == "_layers" || name == "_manifests");
        if ours && let Ok(repository) = prefix.parse::<Repository>() {
            self.repository(&repository, dir)?;
        }
        for name in inner.into_iter().filter(|name| !name.starts_with('_')) {
            if self.stopped() {
                return Ok(());
            }
            let path = dir.join(&name);
            let full = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
            match fs_err::symlink_metadata(&path) {
                Ok(found) if found.is_dir() && full.parse::<Repository>().is_ok() => {
                    self.below(&path, &full)?;
                }
                Ok(found) if found.is_symlink() => {
                    self.done.leave(path.display().to_string(), NO_LINKS);
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn repository(&mut self, repository: &Repository, dir: &Path) -> Result<(), StoreError> {
        self.done.repositories += 1;
        let _item = self.how.progress.start(repository.as_str());
        let layers = dir.join("_layers/sha256");
        for name in self.names(&layers)? {
            if self.stopped() {
                return Ok(());
            }
            if let Ok(digest) = Digest::from_hex(&name)
                && self.is_link(&layers.join(&name), &digest)
            {
                self.blob(repository, &digest)?;
            }
        }
        let mut there = HashSet::new();
        let revisions = dir.join("_manifests/revisions/sha256");
        for name in self.names(&revisions)? {
            if self.stopped() {
                return Ok(());
            }
            if let Ok(digest) = Digest::from_hex(&name)
                && self.is_link(&revisions.join(&name), &digest)
                && self.manifest(repository, &digest)?
            {
                there.insert(digest);
            }
        }
        self.tags(repository, &dir.join("_manifests/tags"), &there)
    }

    /// Tags come last: none leads to something that is not there.
    fn tags(
        &mut self,
        repository: &Repository,
        dir: &Path,
        there: &HashSet<Digest>,
    ) -> Result<(), StoreError> {
        for name in self.names(dir)? {
            let Ok(tag) = name.parse::<Tag>() else { continue };
            let named = format!("{repository}:{tag}");
            match self.link(&dir.join(&name).join("current")) {
                None => self.done.leave(named, "its link is empty or damaged"),
                Some(digest) if !there.contains(&digest) => {
                    self.done.leave(named, format!("its manifest {digest} is left out"));
                }
                Some(digest) => {
                    if !self.how.dry_run && !self.store.adopt_tag(repository, &tag, &digest)? {
                        self.done.leave(named, format!("its manifest {digest} is gone"));
                        continue;
                    }
                    self.done.tags += 1;
                }
            }
        }
        Ok(())
    }

    /// The names in a directory, none where it is a link or below one.
    fn names(&mut self, dir: &Path) -> Result<Vec<String>, StoreError> {
        if self.inside.is_dir(dir) {
            return Ok(names(dir)?.collect());
        }
        if fs_err::symlink_metadata(dir).is_ok() {
            self.done.leave(dir.display().to_string(), NO_LINKS);
        }
        Ok(Vec::new())
    }

    /// The digest in the link of a directory.
    fn link(&self, dir: &Path) -> Option<Digest> {
        let mut text = String::new();
        let file = self.inside.open(&dir.join("link")).ok()?;
        file.take(LINK_MAX).read_to_string(&mut text).ok()?;
        text.trim().parse().ok()
    }

    /// Whether the link in a directory names this digest. Deleting leaves the directory without one.
    fn is_link(&self, dir: &Path, digest: &Digest) -> bool {
        self.link(dir).as_ref() == Some(digest)
    }

    /// Takes a blob over; `false` when it is left out.
    fn blob(&mut self, repository: &Repository, digest: &Digest) -> Result<bool, StoreError> {
        if self.bad.contains(digest) {
            return Ok(false);
        }
        let named = || format!("{repository}@{digest}");
        let hex = digest.hex();
        let from = self.blobs.join(&hex[..2]).join(&hex).join("data");
        // Bytes that are there, or were just brought and are as old as in the source, stay until they are linked.
        let store = self.store;
        let _hold = store.holds.hold(&digest.into());
        let size = match fs_err::symlink_metadata(&from) {
            Ok(found) if found.is_file() => found.len(),
            Ok(_) => return Ok(self.leave(digest, named(), "it is no regular file")),
            Err(error) if is_absent(&error) => {
                return Ok(self.leave(digest, named(), "its bytes are not there"));
            }
            Err(error) => return Ok(self.leave(digest, named(), error.to_string())),
        };
        let way = match self.take(&from, digest, size)? {
            Ok(way) => way,
            Err(why) => return Ok(self.leave(digest, named(), why)),
        };
        match way {
            Way::Present => {}
            Way::Linked => self.done.linked += 1,
            Way::Cloned => self.done.cloned += 1,
            Way::Copied => self.done.copied += 1,
            Way::Counted => drop(self.counted.insert(*digest)),
        }
        if !matches!(way, Way::Present) {
            self.done.bytes += size;
        }
        if self.how.dry_run {
            return Ok(true);
        }
        self.store.link_blob(repository, digest)
    }

    fn leave(&mut self, digest: &Digest, named: String, why: impl Into<String>) -> bool {
        self.bad.insert(*digest);
        self.done.leave(named, why);
        false
    }

    /// Brings the bytes of a blob into the store; the inner error says why it is left out.
    fn take(
        &mut self,
        from: &Path,
        digest: &Digest,
        size: u64,
    ) -> Result<Result<Way, String>, StoreError> {
        if self.counted.contains(digest) || self.store.blob_size(digest)? == Some(size) {
            self.done.present += 1;
            return Ok(Ok(Way::Present));
        }
        let unreadable = |error: std::io::Error| Ok(Err(error.to_string()));
        let mut source = match self.inside_blobs.open(from) {
            Ok(file) => file,
            Err(error) => return unreadable(error),
        };
        if self.how.dry_run {
            return Ok(match self.hash(&mut source, None)? {
                Ok(found) if found == *digest => Ok(Way::Counted),
                Ok(found) => Err(format!("its bytes have the digest {found}")),
                Err(error) => Err(error.to_string()),
            });
        }
        let temporary = self.store.root.join("tmp").join(random_hex()?);
        let outcome = self.bring(&mut source, &temporary, digest);
        if !matches!(outcome, Ok(Ok(_))) {
            // Best effort: the next start empties the directory.
            let _ = fs_err::remove_file(&temporary);
        }
        outcome
    }

    fn bring(
        &self,
        source: &mut fs_err::File,
        temporary: &Path,
        digest: &Digest,
    ) -> Result<Result<Way, String>, StoreError> {
        // The file that gets the name is the one that is hashed, whatever becomes of the source's name.
        let (way, found) = if self.same_owner(source)? && inside::link(source, temporary).is_ok() {
            (Way::Linked, self.hash(&mut fs_err::File::open(temporary)?, None)?)
        } else {
            let mut file = fs_err::OpenOptions::new()
                .read(true)
                .write(true)
                .create_new(true)
                .open(temporary)?;
            if rustix::fs::ioctl_ficlone(file.file(), source.file()).is_ok() {
                (Way::Cloned, self.hash(&mut file, None)?)
            } else {
                (Way::Copied, self.hash(source, Some(&mut file))?)
            }
        };
        let found = match found {
            Ok(found) => found,
            Err(error) => return Ok(Err(error.to_string())),
        };
        if found != *digest {
            return Ok(Err(format!("its bytes have the digest {found}")));
        }
        let durable = &self.store.durable;
        durable.synced(fs_err::File::open(temporary)?.sync_data())?;
        let directory = self.store.blob_dir(&digest.into());
        durable.make_dirs(&self.store.root, &directory)?;
        durable.place(temporary, &directory, &digest.hex())?;
        Ok(Ok(way))
    }

    /// Whether the store and a file of the source belong to one user. A registry cannot keep up the times of files
    /// that are another's, nor may it be given them: they stay the source's too.
    fn same_owner(&self, source: &fs_err::File) -> std::io::Result<bool> {
        use std::os::unix::fs::MetadataExt as _;
        Ok(source.metadata()?.uid() == fs_err::metadata(&self.store.root)?.uid())
    }

    /// Hashes a file, and copies it on the way. The inner error is one of reading: a full disk is no damage of the source.
    fn hash(
        &self,
        source: &mut fs_err::File,
        mut copy: Option<&mut fs_err::File>,
    ) -> Result<std::io::Result<Digest>, StoreError> {
        let mut hasher = Hasher::new();
        let mut buffer = vec![0; STEP];
        loop {
            match source.read(&mut buffer) {
                Ok(0) => return Ok(Ok(hasher.finish())),
                Ok(read) => {
                    hasher.update(&buffer[..read]);
                    if let Some(copy) = &mut copy {
                        copy.write_all(&buffer[..read])?;
                    }
                    self.how.progress.skip(read as u64);
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Ok(Err(error)),
            }
        }
    }

    /// Takes a manifest over, and blobs of it that its repository does not list; `false` when it is left out.
    fn manifest(&mut self, repository: &Repository, digest: &Digest) -> Result<bool, StoreError> {
        let named = || format!("{repository}@{digest}");
        let hex = digest.hex();
        let from = self.blobs.join(&hex[..2]).join(&hex).join("data");
        let mut bytes = Vec::new();
        let read = self.inside_blobs.open(&from);
        let read = read.and_then(|file| file.take(MANIFEST_MAX + 1).read_to_end(&mut bytes));
        match read {
            Ok(length) if length as u64 > MANIFEST_MAX => {
                let why = format!("it is larger than {MANIFEST_MAX} bytes");
                self.done.leave(named(), why);
                return Ok(false);
            }
            Ok(_) => {}
            Err(error) if is_absent(&error) => {
                self.done.leave(named(), "its bytes are not there");
                return Ok(false);
            }
            Err(error) => {
                self.done.leave(named(), error.to_string());
                return Ok(false);
            }
        }
        let found = Digest::of(&bytes);
        if found != *digest {
            self.done.leave(named(), format!("its bytes have the digest {found}"));
            return Ok(false);
        }
        let manifest = match Manifest::parse(&bytes, None) {
            Ok(manifest) => manifest,
            // Docker schema 1, for one.
            Err(error) => {
                self.done.leave(named(), error.to_string());
                return Ok(false);
            }
        };
        for blob in manifest.blobs() {
            if is_foreign_layer(&blob.media_type) {
                continue;
            }
            let known =
                !self.how.dry_run && self.store.has_blob(repository, &blob.digest)?.is_some();
            if !known && !self.blob(repository, &blob.digest)? {
                self.done.leave(named(), format!("its blob {} is left out", blob.digest));
                return Ok(false);
            }
        }
        if !self.how.dry_run {
            let put = self.store.put_manifest(repository, Some(&digest.into()), &[], None, &bytes);
            if let Err(error @ StoreError::BlobSize { .. }) = put {
                self.done.leave(named(), error.to_string());
                return Ok(false);
            }
            put?;
        }
        self.done.manifests += 1;
        Ok(true)
    }
}

impl Store {
    /// Sets a tag to a manifest that the repository holds; `false` when it does not.
    fn adopt_tag(
        &self,
        repository: &Repository,
        tag: &Tag,
        digest: &Digest,
    ) -> Result<bool, StoreError> {
        self.writable()?;
        let _hold = self.holds.hold(&digest.into());
        let _adding = self.adding(repository);
        if self.get_manifest(repository, digest)?.is_none() {
            return Ok(false);
        }
        self.write_tag(repository, tag, &digest.into())?;
        Ok(true)
    }
}
