//! Where manifests and blobs come from: a repository of a registry, an OCI layout directory, or another place on this machine.
//!
//! In: an origin and a digest or tag. Out: bytes. Manifests are hashed here; whoever reads a blob's
//! stream hashes it.

use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use bytes::{Buf, Bytes};
use format_spec::limits::MANIFEST_MAX;
use format_spec::{Digest, Repository, Tag};
use futures_util::{Stream, StreamExt};
use registry::client::{BlobStream, Client, ClientError, ErrorKind as WireKind, Room, Taken};
use registry::layout::{Layout, LayoutError};
use registry::manifest::{Descriptor, Manifest, RawManifest};
use registry::reference::{ManifestRef, Reference, RegistryHost};
use registry::shelf::Shelf;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::config::ImageSource;
use crate::error::reason;
use crate::layout::{Choice, LayoutImage};
use crate::lock;
use crate::policy::{Policy, Refusal};

/// KiB of large manifests that are in memory because they are arriving or have just arrived: one of the largest.
/// An index may name thousands of them, and what is made of one on the way takes several times its bytes.
const ROOM: u32 = 4 * 1024;

/// Manifests kept for the one who asks next, and the most bytes of each: those of release images, which are read before
/// the others to know what else is wanted.
const AHEAD: usize = 256;
const AHEAD_EACH: usize = 64 * 1024;

/// A place that holds manifests and blobs.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Origin {
    /// A repository of a registry.
    Registry(RegistryHost, Repository),
    /// A directory with an OCI image layout.
    Layout(PathBuf),
    /// Another place on this machine.
    Shelf(Held),
}

/// A place on this machine. Two are the same when they were opened at once.
#[derive(Debug, Clone)]
pub struct Held(pub Arc<dyn Shelf>);

impl Held {
    fn address(&self) -> *const () {
        Arc::as_ptr(&self.0).cast()
    }

    /// What it has, asked on a thread that may wait for a disk.
    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&dyn Shelf) -> io::Result<T> + Send + 'static,
    ) -> Result<T, OriginError> {
        let shelf = Arc::clone(&self.0);
        let asked = tokio::task::spawn_blocking(move || question(&*shelf)).await;
        asked.map_err(io::Error::other).flatten().map_err(OriginError::Shelf)
    }
}

impl PartialEq for Held {
    fn eq(&self, other: &Self) -> bool {
        self.address() == other.address()
    }
}

impl Eq for Held {}

impl Hash for Held {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.address().hash(state);
    }
}

/// An image at its origin, as this machine understands the configuration.
#[derive(Debug, Clone)]
pub enum Source<'a> {
    /// In a registry.
    Registry(Cow<'a, Reference>),
    /// In a layout.
    Layout(LayoutImage),
    /// Made here, in a layout, on an image whose blobs stayed where they are.
    Made {
        /// The image.
        image: LayoutImage,
        /// Where the blobs are that the layout does not have.
        base: Origin,
    },
    /// In another place on this machine.
    Shelf(Held, Digest),
}

impl<'a> Source<'a> {
    /// What is meant; looks for directories.
    pub fn of(configured: &'a ImageSource) -> Self {
        match configured {
            ImageSource::Registry(reference) => Self::Registry(Cow::Borrowed(reference)),
            ImageSource::OciLayout(written) => Self::Layout(LayoutImage::of(written)),
        }
    }

    /// Where its bytes are.
    pub fn origin(&self) -> Origin {
        match self {
            Self::Registry(reference) => {
                Origin::Registry(reference.registry.clone(), reference.repository.clone())
            }
            Self::Layout(image) | Self::Made { image, .. } => Origin::Layout(image.path.clone()),
            Self::Shelf(held, _) => Origin::Shelf(held.clone()),
        }
    }

    /// Where the blobs are that its origin does not have.
    pub fn base(&self) -> Option<&Origin> {
        match self {
            Self::Made { base, .. } => Some(base),
            Self::Registry(_) | Self::Layout(_) | Self::Shelf(..) => None,
        }
    }
}

/// Why something could not be had from its origin.
#[derive(Debug, thiserror::Error)]
pub enum OriginError {
    /// A registry.
    #[error("{0}")]
    Wire(#[from] ClientError),
    /// A directory.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// Another place on this machine.
    #[error("{0}")]
    Shelf(#[source] io::Error),
    /// The policy does not let it be carried.
    #[error("{0}")]
    Policy(#[source] Box<Refusal>),
    /// What another place on this machine does not have.
    #[error("{digest} is not in {place}")]
    Absent {
        /// The place.
        place: String,
        /// The manifest or blob.
        digest: String,
    },
}

impl OriginError {
    /// Whether it is simply not there.
    pub fn is_not_found(&self) -> bool {
        match self {
            Self::Wire(error) => error.kind() == WireKind::NotFound,
            Self::Absent { .. } => true,
            Self::Layout(_) | Self::Shelf(_) | Self::Policy(_) => false,
        }
    }

    /// Whether another run may have it: the fault is of the way, not of the content.
    pub fn is_of_the_way(&self) -> bool {
        match self {
            Self::Wire(error) => matches!(
                error.kind(),
                WireKind::Unavailable | WireKind::Tls | WireKind::Credentials | WireKind::Config
            ),
            Self::Layout(_) | Self::Shelf(_) | Self::Policy(_) | Self::Absent { .. } => false,
        }
    }

    /// What kind of fault it is, in the words of a registry.
    pub fn kind(&self) -> Option<WireKind> {
        match self {
            Self::Wire(error) => Some(error.kind()),
            Self::Layout(LayoutError::Damaged { .. } | LayoutError::Size { .. }) => {
                Some(WireKind::Damaged)
            }
            Self::Policy(refusal) => refusal.kind(),
            Self::Absent { .. } => Some(WireKind::NotFound),
            Self::Shelf(error) if error.kind() == io::ErrorKind::InvalidData => {
                Some(WireKind::Damaged)
            }
            Self::Layout(_) | Self::Shelf(_) => None,
        }
    }

    /// What to do about it, where that is of its own.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Policy(refusal) => Some(refusal.hint().to_owned()),
            _ => None,
        }
    }
}

/// Why a blob or manifest cannot be had from any of its origins.
#[derive(Debug, Clone)]
pub struct Loss {
    /// What kind of fault it is.
    pub kind: Option<WireKind>,
    /// In words.
    pub reason: String,
    /// What to do about it, where that is of its own.
    pub hint: Option<String>,
}

impl From<OriginError> for Loss {
    fn from(error: OriginError) -> Self {
        Self { kind: error.kind(), reason: reason(&error), hint: error.hint() }
    }
}

/// All origins, through one client.
#[derive(Clone)]
pub struct Origins {
    client: Client,
    requests: Arc<Semaphore>,
    room: Room,
    ahead: Arc<Mutex<HashMap<(Origin, Digest), RawManifest>>>,
    policy: Option<Arc<Policy>>,
}

/// A manifest that has just arrived. Its room is free again when it goes, so nobody may wait for another
/// one with this in hand.
pub struct Arrived {
    /// The manifest.
    pub raw: RawManifest,
    room: Taken,
}

/// The bytes of a blob or manifest, piece by piece.
pub enum BlobReader {
    /// From a registry.
    Wire(Box<BlobStream>),
    /// From a file.
    File(fs_err::File),
    /// From memory: a manifest that was kept, or one that was fetched for its place, with its room.
    Memory(Bytes, Taken),
    /// From another place on this machine.
    Pieces(Pieces),
}

/// Pieces as they come.
pub struct Pieces {
    stream: Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>,
    rest: Bytes,
}

impl From<Arrived> for BlobReader {
    fn from(arrived: Arrived) -> Self {
        Self::Memory(arrived.raw.bytes, arrived.room)
    }
}

impl Origins {
    /// Origins reached through `client`, with at most `requests` manifest requests at a time.
    pub fn new(client: Client, requests: usize) -> Self {
        let requests = Arc::new(Semaphore::new(requests.max(1)));
        Self { client, requests, room: Room::new(ROOM), ahead: Arc::default(), policy: None }
    }

    /// The same, with a policy by which every image is judged.
    #[must_use]
    pub fn judged(self, policy: Option<Arc<Policy>>) -> Self {
        Self { policy, ..self }
    }

    /// The way to the registries.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Keeps a manifest that was read and that will be asked for once more, by its digest.
    pub fn keep(&self, origin: &Origin, raw: &RawManifest) {
        let mut ahead = lock(&self.ahead);
        if ahead.len() < AHEAD && raw.bytes.len() <= AHEAD_EACH {
            ahead.insert((origin.clone(), raw.digest), raw.clone());
        }
    }

    /// A manifest that was kept, which is then kept no more.
    fn kept(&self, origin: &Origin, reference: &ManifestRef) -> Option<Arrived> {
        let ManifestRef::Digest(digest) = reference else { return None };
        let mut ahead = lock(&self.ahead);
        if ahead.is_empty() {
            return None;
        }
        let raw = ahead.remove(&(origin.clone(), *digest))?;
        Some(Arrived { raw, room: Taken::default() })
    }

    async fn permit(&self) -> SemaphorePermit<'_> {
        self.requests.acquire().await.expect("never closed")
    }

    /// A manifest, by tag or digest.
    pub async fn manifest(
        &self,
        origin: &Origin,
        reference: &ManifestRef,
    ) -> Result<Arrived, OriginError> {
        if let Some(kept) = self.kept(origin, reference) {
            return Ok(kept);
        }
        match origin {
            Origin::Registry(host, repository) => {
                // The leave to ask comes first: who has room must not wait for those who wait for room.
                let _permit = self.permit().await;
                let pulling = self.client.get_manifest_in(&self.room, host, repository, reference);
                let (raw, room) = pulling.await?;
                Ok(Arrived { raw, room })
            }
            Origin::Layout(path) => {
                let read = |layout: &Layout| match reference {
                    ManifestRef::Digest(digest) => from_layout(layout, digest),
                    ManifestRef::Tag(tag) => {
                        Ok(layout.read_manifest(layout.find(Some(tag.as_str()))?)?)
                    }
                };
                self.in_layout(path, read).await
            }
            Origin::Shelf(held) => self.on_shelf(held, reference.clone()).await,
        }
    }

    /// The manifest of an image, when the policy lets it be carried. Nothing of an image is read before this.
    pub async fn image(&self, source: &Source<'_>) -> Result<Arrived, OriginError> {
        let arrived = self.unjudged(source).await?;
        let Some(policy) = &self.policy else { return Ok(arrived) };
        if !policy.asks_for_signatures(source) {
            let judging = policy.judge(self, source, &arrived.raw.digest).await;
            judging.map_err(|refusal| OriginError::Policy(Box::new(refusal)))?;
            return Ok(arrived);
        }
        // Looking for signatures waits for room, so none is kept; what is large comes once more.
        let Arrived { raw, room } = arrived;
        let digest = raw.digest;
        let kept = Some(raw).filter(|raw| raw.bytes.len() <= AHEAD_EACH);
        drop(room);
        let judging = policy.judge(self, source, &digest).await;
        judging.map_err(|refusal| OriginError::Policy(Box::new(refusal)))?;
        match kept {
            Some(raw) => Ok(Arrived { raw, room: Taken::default() }),
            None => self.manifest(&source.origin(), &ManifestRef::Digest(digest)).await,
        }
    }

    async fn unjudged(&self, source: &Source<'_>) -> Result<Arrived, OriginError> {
        match source {
            Source::Registry(reference) => {
                // With tag and digest the digest decides: a tag may have moved since.
                let by = match (&reference.digest, &reference.tag) {
                    (Some(digest), _) => ManifestRef::Digest(*digest),
                    (None, Some(tag)) => ManifestRef::Tag(tag.clone()),
                    (None, None) => ManifestRef::Tag("latest".parse().expect("a valid tag")),
                };
                self.manifest(&source.origin(), &by).await
            }
            Source::Layout(image) | Source::Made { image, .. } => {
                self.in_layout(&image.path, |layout| chosen(layout, &image.choice)).await
            }
            Source::Shelf(_, digest) => {
                self.manifest(&source.origin(), &ManifestRef::Digest(*digest)).await
            }
        }
    }

    /// A manifest of another place on this machine.
    async fn on_shelf(&self, held: &Held, reference: ManifestRef) -> Result<Arrived, OriginError> {
        let room = self.room.take(MANIFEST_MAX).await;
        let (place, name) = (held.0.name(), reference.to_string());
        let raw = held.ask(move |shelf| {
            let digest = match reference {
                ManifestRef::Digest(digest) => Some(digest),
                ManifestRef::Tag(tag) => shelf.tagged(&tag)?,
            };
            digest.map_or(Ok(None), |digest| shelf.manifest(&digest))
        });
        match raw.await? {
            Some(raw) => Ok(Arrived { raw, room }),
            None => Err(OriginError::Absent { place, digest: name }),
        }
    }

    /// A manifest that `read` finds in a layout.
    async fn in_layout(
        &self,
        path: &Path,
        read: impl FnOnce(&Layout) -> Result<RawManifest, OriginError>,
    ) -> Result<Arrived, OriginError> {
        // All of it: what comes from a disk is there at once, and one after another is as fast.
        let room = self.room.take(MANIFEST_MAX).await;
        let raw = read(&Layout::open(path)?)?;
        Ok(Arrived { raw, room })
    }

    /// A manifest under a tag that may not exist.
    pub async fn tagged(&self, origin: &Origin, tag: &Tag) -> Result<Option<Arrived>, OriginError> {
        // A directory has no signature tags: its index names one image.
        if matches!(origin, Origin::Layout(_)) {
            return Ok(None);
        }
        match self.manifest(origin, &ManifestRef::Tag(tag.clone())).await {
            Ok(manifest) => Ok(Some(manifest)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The tags of a repository, where one short answer of its registry holds them all.
    pub async fn tags(&self, origin: &Origin) -> Option<Vec<Tag>> {
        let Origin::Registry(host, repository) = origin else { return None };
        let _permit = self.permit().await;
        self.client.list_few_tags(host, repository).await
    }

    /// All tags of a repository of a registry; `None` where there is none.
    pub async fn all_tags(
        &self,
        host: &RegistryHost,
        repository: &Repository,
    ) -> Result<Option<Vec<Tag>>, ClientError> {
        let _permit = self.permit().await;
        self.client.list_tags(host, repository).await
    }

    /// The manifests that name `subject` as their subject; `None` where only the tag `sha256-<hex>`
    /// can tell.
    pub async fn referrers(
        &self,
        origin: &Origin,
        subject: &Digest,
    ) -> Result<Option<Vec<Descriptor>>, OriginError> {
        match origin {
            Origin::Registry(host, repository) => {
                let _permit = self.permit().await;
                Ok(self.client.referrers(host, repository, subject).await?)
            }
            Origin::Layout(_) => Ok(Some(Vec::new())),
            Origin::Shelf(held) => {
                let subject = *subject;
                held.ask(move |shelf| shelf.referrers(&subject)).await.map(Some)
            }
        }
    }

    /// The bytes of a blob of `size` bytes, from one on.
    pub async fn blob(
        &self,
        origin: &Origin,
        digest: &Digest,
        size: u64,
        from: u64,
    ) -> Result<BlobReader, OriginError> {
        Ok(match origin {
            Origin::Registry(host, repository) => BlobReader::Wire(Box::new(
                self.client.get_blob(host, repository, digest, size, from).await?,
            )),
            Origin::Layout(path) => {
                BlobReader::File(Layout::open(path)?.open_blob(digest, size, from)?)
            }
            Origin::Shelf(held) => {
                let (place, digest) = (held.0.name(), *digest);
                let source = held.ask(move |shelf| shelf.blob(&digest, size)).await?;
                let absent = || OriginError::Absent { place, digest: digest.to_string() };
                let stream = source.ok_or_else(absent)?.open(from);
                BlobReader::Pieces(Pieces { stream, rest: Bytes::new() })
            }
        })
    }

    /// A small blob as a whole, as the configuration of an image is; `None` when what is there is not what its digest and
    /// size say, or is no small one.
    pub async fn document(
        &self,
        origin: &Origin,
        digest: &Digest,
        size: u64,
    ) -> Result<Option<Bytes>, OriginError> {
        let length = usize::try_from(size).ok().filter(|_| size <= MANIFEST_MAX);
        let Some(length) = length else { return Ok(None) };
        let mut reader = self.blob(origin, digest, size, 0).await?;
        let (mut bytes, mut at) = (vec![0; length], 0);
        while at < length {
            match reader.read(&mut bytes[at..]).await? {
                0 => return Ok(None),
                read => at += read,
            }
        }
        Ok((Digest::of(&bytes) == *digest).then(|| bytes.into()))
    }
}

impl BlobReader {
    /// Reads the next bytes, as many as are there and fit in `buffer`; 0 at the end.
    pub async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, OriginError> {
        Ok(match self {
            Self::Wire(stream) => stream.read(buffer).await?,
            Self::File(file) => file.read(buffer).map_err(LayoutError::Io)?,
            Self::Memory(bytes, _) => {
                let read = bytes.len().min(buffer.len());
                bytes.copy_to_slice(&mut buffer[..read]);
                read
            }
            Self::Pieces(pieces) => pieces.read(buffer).await.map_err(OriginError::Shelf)?,
        })
    }
}

impl Pieces {
    async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            match self.stream.next().await {
                Some(piece) => self.rest = piece?,
                None => return Ok(0),
            }
        }
        let read = self.rest.len().min(buffer.len());
        self.rest.copy_to_slice(&mut buffer[..read]);
        Ok(read)
    }
}

/// The manifest of one of the images of a layout.
fn chosen(layout: &Layout, choice: &Choice) -> Result<RawManifest, OriginError> {
    Ok(match choice {
        Choice::Digest(digest) => {
            layout.expect(digest)?;
            from_layout(layout, digest)?
        }
        Choice::Name(name) => layout.read_manifest(layout.find(Some(name))?)?,
        Choice::Only => layout.read_manifest(layout.find(None).or_else(|several| {
            layout.find(Some("latest")).map_err(|error| match error {
                LayoutError::NoSuchName { .. } => several,
                error => error,
            })
        })?)?,
    })
}

/// A manifest of a layout that another manifest names. The media type is the one it states itself.
fn from_layout(layout: &Layout, digest: &Digest) -> Result<RawManifest, OriginError> {
    let mut entry = Descriptor {
        media_type: String::new(),
        digest: *digest,
        size: 0,
        platform: None,
        urls: Vec::new(),
        artifact_type: None,
        annotations: std::collections::BTreeMap::new(),
    };
    let raw = layout.read_manifest(&entry)?;
    let parsed = Manifest::parse(&raw.bytes, None)
        .map_err(|error| LayoutError::Manifest { error, path: layout.blob_path(digest) })?;
    parsed.media_type().clone_into(&mut entry.media_type);
    Ok(RawManifest { media_type: entry.media_type, ..raw })
}
