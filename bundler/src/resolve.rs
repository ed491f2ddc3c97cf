//! From references to content: every tag is pinned to a digest here, once.
//!
//! In: the additional images of a configuration. Out: for each its name at the target, its manifests
//! (an index whole or by platforms, with all its children), its blobs with their sizes, and what is
//! attached to it: cosign's tags and OCI referrers. An image that cannot be had becomes a failure
//! with its reason; the others go on.
//!
//! Of a manifest stays what it names. Its bytes stay too while they are few; beyond that they are fetched
//! again for their place in the part, so that memory grows neither with the size of manifests nor with
//! their bytes in all.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use format_spec::head::{ContentClass, Failure};
use format_spec::{Digest, Tag};
use futures_util::future::try_join_all;
use futures_util::{FutureExt, StreamExt};
use registry::client::ErrorKind as WireKind;
use registry::limits::REFERRERS_MAX;
use registry::manifest::{Descriptor, Manifest, ManifestError, RawManifest};
use registry::media_type;
use registry::reference::ManifestRef;

use crate::config::{AdditionalImage, ImageSetConfig, PlatformFilter};
use crate::destination::{self, Claims, Destination};
use crate::error::CreateError;
use crate::history::Name;
use crate::lock;
use crate::origin::{Origin, OriginError, Origins, Source};

/// How deep referrers of referrers are followed: a signature over an SBOM over an image is 2.
const ATTACHED_DEPTH: usize = 4;

/// Manifests that one image may consist of, attached ones included.
const MANIFESTS_MAX: usize = 10_000;

/// Bytes of a manifest that is kept until it is packed: ten times the usual ones.
const KEPT_EACH: usize = 64 * 1024;

/// Bytes of all manifests kept: those of a thousand images. What comes after them costs one request more.
const KEPT_ALL: usize = 8 * 1024 * 1024;

/// What is looked for and what is left.
#[derive(Debug, Clone)]
pub struct Wishes {
    /// Leave signatures, attestations and referrers behind.
    pub remove_signatures: bool,
    /// Carry foreign layers instead of refusing the image.
    pub foreign_layers: bool,
    /// The most path components of a repository at the target; 0 means no limit.
    pub max_nested_paths: usize,
    /// Images resolved at a time.
    pub parallel: usize,
}

/// A manifest that was fetched.
#[derive(Debug, Clone)]
pub struct Node {
    /// Its size in bytes.
    pub size: u64,
    /// Its bytes, exactly as received; none when they are to be fetched again.
    pub bytes: Option<Bytes>,
    /// The media type it was received with.
    pub media_type: Arc<str>,
    /// The children that are carried and their sizes, as the index says.
    pub children: Box<[(Digest, u64)]>,
    /// Its blobs and their sizes.
    pub blobs: Box<[(Digest, u64)]>,
}

/// The manifests of one image, in the order of their digests. Most images have one: a map would take ten
/// times its size.
#[derive(Debug, Clone)]
pub struct Manifests(Box<[(Digest, Node)]>);

impl Manifests {
    /// The manifest of this digest.
    pub fn get(&self, digest: &Digest) -> Option<&Node> {
        let at = self.0.binary_search_by_key(digest, |(digest, _)| *digest).ok()?;
        Some(&self.0[at].1)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&Digest, &Node)> {
        self.0.iter().map(|(digest, node)| (digest, node))
    }
}

/// A name to set at the target.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The name in the image's repository.
    pub name: Name,
    /// The manifest.
    pub digest: Digest,
    /// The reference it came from.
    pub source: String,
}

/// An image with everything that travels with it.
#[derive(Debug, Clone)]
pub struct Image {
    /// Its reference as configured.
    pub source: String,
    /// Where its bytes are.
    pub origin: Origin,
    /// Its name at the target.
    pub destination: Destination,
    /// The image itself first, then what is attached to it.
    pub names: Vec<Wanted>,
    /// All manifests reachable from the names.
    pub manifests: Manifests,
}

impl Image {
    /// Its blobs and their sizes, as its manifests have them.
    pub fn blobs(&self) -> impl Iterator<Item = (Digest, u64)> {
        self.manifests.iter().flat_map(|(_, node)| node.blobs.iter().copied())
    }
}

/// The outcome for a whole configuration.
#[derive(Debug, Default)]
pub struct Resolved {
    /// The images, in the order of the configuration.
    pub images: Vec<Image>,
    /// What could not be had.
    pub failures: Vec<Failure>,
    /// The kinds of the registries' answers behind the failures.
    pub causes: Vec<WireKind>,
    /// What was left out because it is blocked: reference and pattern.
    pub blocked: Vec<(String, String)>,
    /// What a person should know.
    pub warnings: Vec<String>,
}

/// Why one image cannot be had.
#[derive(Debug, thiserror::Error)]
enum ImageError {
    #[error(transparent)]
    Origin(#[from] OriginError),
    #[error("manifest {digest} is not valid: {error}")]
    Manifest { digest: Digest, error: ManifestError },
    #[error(
        "it has a foreign layer {0}, which may not be redistributable (--foreign-layers carries it)"
    )]
    Foreign(Digest),
    #[error("none of its platforms is asked for; it has {0}")]
    Platforms(String),
    #[error("its manifests disagree about the size of blob {digest}: {first} and {second} bytes")]
    Size { digest: Digest, first: u64, second: u64 },
    #[error("its manifest says {size} bytes for blob {digest}, that of `{other}` says {others}")]
    Dispute { digest: Digest, size: u64, other: String, others: u64 },
    #[error("it consists of more than {MANIFESTS_MAX} manifests")]
    Manifests,
    #[error("manifest {0} has more than {REFERRERS_MAX} referrers")]
    Referrers(Digest),
    #[error("manifest {0} is named as a blob too")]
    Both(Digest),
    #[error("blob {0} is larger than {max} bytes", max = format_spec::limits::BLOB_MAX)]
    Blob(Digest),
}

/// Resolves the additional images of `config`.
pub async fn resolve(
    config: &ImageSetConfig,
    origins: &Origins,
    wishes: &Wishes,
) -> Result<Resolved, CreateError> {
    let mut resolved = Resolved::default();
    let mut wanted = Vec::new();
    let mut seen = HashSet::new();
    for image in &config.additional_images {
        let source = image.source.to_string();
        if let Some(pattern) = config.blocked_by(&source) {
            resolved.blocked.push((source, pattern.pattern().to_owned()));
            continue;
        }
        let key = (source, image.target_repo.clone(), image.target_tag.clone());
        if seen.insert(key) {
            wanted.push((image, Source::of(&image.source)));
        }
    }
    // Names that do not depend on what a registry says collide before any registry is asked.
    let mut early = Claims::default();
    for (image, source) in &wanted {
        let (known, digest) = match source {
            Source::Registry(reference) => {
                (reference.tag.is_some() || reference.digest.is_some(), reference.digest)
            }
            Source::Layout(_) => (true, None),
        };
        if known {
            let digest = digest.unwrap_or_else(|| Digest::of(b""));
            let name = destination::of_image(image, source, &digest, wishes.max_nested_paths)?;
            early.claim(&name, &image.source.to_string())?;
        }
    }
    let warnings = Mutex::new(Vec::new());
    let shelf = Shelf::default();
    // As they end: behind one that takes long, the others would wait for their turn to be taken away.
    let mut outcomes: Vec<_> = futures_util::stream::iter(wanted.iter().enumerate())
        .map(|(at, (image, source))| {
            let resolving = one(image, source, origins, wishes, &shelf, &warnings);
            resolving.map(move |outcome| (at, outcome))
        })
        .buffer_unordered(wishes.parallel.max(1))
        .collect()
        .await;
    outcomes.sort_by_key(|(at, _)| *at);
    for ((image, from), (_, outcome)) in wanted.iter().zip(outcomes) {
        match outcome {
            Ok((origin, names, manifests)) => {
                let (digest, max) = (names[0].digest, wishes.max_nested_paths);
                let destination = destination::of_image(image, from, &digest, max)?;
                let mut names = names;
                names[0].name = Name::Tag(destination.tag.clone());
                let source = image.source.to_string();
                resolved.images.push(Image { source, origin, destination, names, manifests });
            }
            Err(error) => {
                if let ImageError::Origin(origin) = &error {
                    resolved.causes.extend(origin.wire_kind());
                }
                resolved.failures.push(Failure {
                    reference: image.source.to_string(),
                    class: ContentClass::Additional,
                    reason: reason(&error),
                });
            }
        }
    }
    resolved.warnings = warnings.into_inner().unwrap_or_default();
    settle(&mut resolved, origins).await;
    Ok(resolved)
}

/// Ends disputes about the size of a blob: the image goes whose origin has the blob in another size than
/// its manifest says. Where that tells nothing, the first one of the configuration stays.
async fn settle(resolved: &mut Resolved, origins: &Origins) {
    let mut kept: Vec<Image> = Vec::new();
    let mut sizes = HashMap::new();
    for image in std::mem::take(&mut resolved.images) {
        let mut stays = true;
        while let Some((digest, size, others, at)) = dispute(&image, &sizes) {
            let first_is_right = origins.blob(&kept[at].origin, &digest, others).await.is_ok();
            stays = !first_is_right && origins.blob(&image.origin, &digest, size).await.is_ok();
            let fault = |source: &str, size, other: &str, others| Failure {
                reference: source.to_owned(),
                class: ContentClass::Additional,
                reason: reason(&ImageError::Dispute {
                    digest,
                    size,
                    other: other.to_owned(),
                    others,
                }),
            };
            let (first, second) = (&kept[at].source, &image.source);
            if !stays {
                resolved.failures.push(fault(second, size, first, others));
                break;
            }
            resolved.failures.push(fault(first, others, second, size));
            kept.remove(at);
            sizes = HashMap::new();
            for (at, image) in kept.iter().enumerate() {
                note(image, at, &mut sizes);
            }
        }
        if stays {
            note(&image, kept.len(), &mut sizes);
            kept.push(image);
        }
    }
    resolved.images = kept;
}

/// The size of each blob, and the place of the first image that says so.
type Sizes = HashMap<Digest, (u64, usize)>;

fn note(image: &Image, at: usize, sizes: &mut Sizes) {
    for (digest, size) in image.blobs() {
        sizes.entry(digest).or_insert((size, at));
    }
}

/// The first blob of which `image` says another size: its digest, the two sizes, and who says the other.
fn dispute(image: &Image, sizes: &Sizes) -> Option<(Digest, u64, u64, usize)> {
    image.blobs().find_map(|(digest, size)| {
        let (others, at) = *sizes.get(&digest)?;
        (others != size).then_some((digest, size, others, at))
    })
}

/// A reason that fits the head: bounded, one line.
pub(crate) fn reason(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(500).collect()
}

type Found = (Origin, Vec<Wanted>, Manifests);

/// What the images share while they are resolved.
struct Shelf {
    /// Bytes of manifests that may still be kept.
    left: Mutex<usize>,
    /// Media types: a handful, one for each of all manifests.
    media_types: Mutex<HashSet<Arc<str>>>,
    /// A parsed document takes several times its bytes, so the large ones are parsed one after another.
    parsing: Mutex<()>,
}

impl Default for Shelf {
    fn default() -> Self {
        Self {
            left: Mutex::new(KEPT_ALL),
            media_types: Mutex::default(),
            parsing: Mutex::default(),
        }
    }
}

impl Shelf {
    /// The bytes in an allocation of their own, if they may be kept.
    fn keep(&self, bytes: &[u8]) -> Option<Bytes> {
        let mut left = lock(&self.left);
        if bytes.len() > KEPT_EACH || bytes.len() > *left {
            return None;
        }
        *left -= bytes.len();
        Some(Bytes::copy_from_slice(bytes))
    }

    fn media_type(&self, name: &str) -> Arc<str> {
        let mut known = lock(&self.media_types);
        if let Some(media_type) = known.get(name) {
            return Arc::clone(media_type);
        }
        let media_type: Arc<str> = name.into();
        known.insert(Arc::clone(&media_type));
        media_type
    }

    fn parse(&self, raw: &RawManifest) -> Result<Manifest, ManifestError> {
        let _one = (raw.bytes.len() > KEPT_EACH).then(|| lock(&self.parsing));
        raw.parse()
    }
}

/// Resolves one image. The name of the first of its names is set by the caller.
async fn one(
    image: &AdditionalImage,
    source: &Source<'_>,
    origins: &Origins,
    wishes: &Wishes,
    shelf: &Shelf,
    warnings: &Mutex<Vec<String>>,
) -> Result<Found, ImageError> {
    let origin = source.origin();
    let reader = Reader { origins, origin: &origin, wishes, shelf };
    let mut tree = Tree { reader, manifests: BTreeMap::new(), sparse: false };
    let root = reader.read(&origins.image(source).await?.raw, &image.platforms)?;
    let digest = root.digest;
    tree.add(root, &image.platforms).await?;
    let source = image.source.to_string();
    if tree.sparse {
        lock(warnings).push(format!(
            "{source}: `platforms` leaves children of its index out; CNCF distribution takes such an \
             index only from version 3 on, and when told"
        ));
    }
    let mut names = vec![Wanted { name: Name::Digest(digest), digest, source }];
    if !wishes.remove_signatures {
        tree.attached(&mut names, warnings).await?;
    }
    check(&tree.manifests)?;
    let manifests = Manifests(tree.manifests.into_iter().collect());
    Ok((origin, names, manifests))
}

/// What no honest image does: one digest as manifest and blob, or with two sizes.
fn check(manifests: &BTreeMap<Digest, Node>) -> Result<(), ImageError> {
    let mut sizes = HashMap::new();
    for (digest, size) in manifests.values().flat_map(|node| node.blobs.iter()) {
        if manifests.contains_key(digest) {
            return Err(ImageError::Both(*digest));
        }
        if *size > format_spec::limits::BLOB_MAX {
            return Err(ImageError::Blob(*digest));
        }
        let first = *sizes.entry(*digest).or_insert(*size);
        if first != *size {
            return Err(ImageError::Size { digest: *digest, first, second: *size });
        }
    }
    Ok(())
}

/// A manifest that was read.
struct Read {
    digest: Digest,
    node: Node,
    /// Whether children of the index are left out.
    sparse: bool,
}

/// Reads manifests of one origin.
#[derive(Clone, Copy)]
struct Reader<'a> {
    origins: &'a Origins,
    origin: &'a Origin,
    wishes: &'a Wishes,
    shelf: &'a Shelf,
}

impl Reader<'_> {
    async fn manifest(
        &self,
        reference: &ManifestRef,
        size: Option<u64>,
        platforms: &[PlatformFilter],
    ) -> Result<Read, ImageError> {
        let arrived = self.origins.manifest(self.origin, reference, size).await?;
        self.read(&arrived.raw, platforms)
    }

    async fn tagged(&self, tag: &Tag) -> Result<Option<Read>, ImageError> {
        let arrived = self.origins.tagged(self.origin, tag).await?;
        arrived.map(|arrived| self.read(&arrived.raw, &[])).transpose()
    }

    /// What stays of a manifest.
    fn read(&self, raw: &RawManifest, platforms: &[PlatformFilter]) -> Result<Read, ImageError> {
        let manifest = self
            .shelf
            .parse(raw)
            .map_err(|error| ImageError::Manifest { digest: raw.digest, error })?;
        let (mut children, mut blobs, mut sparse) = (Vec::new(), Vec::new(), false);
        match &manifest {
            Manifest::Index(index) => {
                children = choose(&index.manifests, platforms)?;
                sparse = children.len() < index.manifests.len();
            }
            Manifest::Image(_) => {
                for blob in manifest.blobs() {
                    let foreign =
                        media_type::is_foreign_layer(&blob.media_type) || !blob.urls.is_empty();
                    if foreign && !self.wishes.foreign_layers {
                        return Err(ImageError::Foreign(blob.digest));
                    }
                    blobs.push((blob.digest, blob.size));
                }
            }
        }
        let node = Node {
            size: raw.bytes.len() as u64,
            bytes: self.shelf.keep(&raw.bytes),
            media_type: self.shelf.media_type(&raw.media_type),
            children: children.into(),
            blobs: blobs.into(),
        };
        Ok(Read { digest: raw.digest, node, sparse })
    }
}

/// The manifests of one image, as they are found.
struct Tree<'a> {
    reader: Reader<'a>,
    manifests: BTreeMap<Digest, Node>,
    /// Whether children of an index are left out.
    sparse: bool,
}

impl Tree<'_> {
    /// Adds a manifest and everything below it, each manifest once.
    async fn add(&mut self, root: Read, platforms: &[PlatformFilter]) -> Result<(), ImageError> {
        let reader = self.reader;
        let mut queued = HashSet::new();
        let mut level = self.insert(root, &mut queued)?;
        while !level.is_empty() {
            let mut fetched = futures_util::stream::iter(level)
                .map(|(child, size)| async move {
                    reader.manifest(&ManifestRef::Digest(child), Some(size), platforms).await
                })
                .buffer_unordered(8);
            let mut below = Vec::new();
            while let Some(child) = fetched.next().await {
                below.extend(self.insert(child?, &mut queued)?);
            }
            level = below;
        }
        Ok(())
    }

    /// Takes in one manifest. Returns those of its children that nobody has asked for yet.
    fn insert(
        &mut self,
        read: Read,
        queued: &mut HashSet<Digest>,
    ) -> Result<Vec<(Digest, u64)>, ImageError> {
        queued.remove(&read.digest);
        self.sparse |= read.sparse;
        let node = self.manifests.entry(read.digest).or_insert(read.node);
        let children = node.children.clone();
        let mut missing = Vec::new();
        for child in children {
            if !self.manifests.contains_key(&child.0) && queued.insert(child.0) {
                missing.push(child);
            }
        }
        if self.manifests.len() + queued.len() > MANIFESTS_MAX {
            return Err(ImageError::Manifests);
        }
        Ok(missing)
    }

    /// Finds what is attached to every manifest found so far, and to what is attached.
    async fn attached(
        &mut self,
        names: &mut Vec<Wanted>,
        warnings: &Mutex<Vec<String>>,
    ) -> Result<(), ImageError> {
        let mut subjects: Vec<Digest> = self.manifests.keys().copied().collect();
        for _ in 0..ATTACHED_DEPTH {
            let reader = self.reader;
            let before: HashSet<Digest> = self.manifests.keys().copied().collect();
            let mut found = futures_util::stream::iter(subjects)
                .map(|subject| attached_to(reader, subject))
                .buffered(8);
            while let Some(outcome) = found.next().await {
                let Attached { subject, tagged, referrers } = outcome?;
                for (tag, read) in tagged {
                    names.push(self.wanted(Name::Tag(tag), read.digest));
                    self.add(read, &[]).await?;
                }
                match referrers {
                    Ok(referrers) => self.referrers(subject, &referrers, names, warnings).await?,
                    Err(refused) => lock(warnings).push(format!("{}: {refused}", names[0].source)),
                }
            }
            drop(found);
            subjects =
                self.manifests.keys().filter(|digest| !before.contains(digest)).copied().collect();
            if subjects.is_empty() {
                break;
            }
        }
        let deeper = self.deeper(subjects, &names[0].source).await?;
        lock(warnings).extend(deeper);
        let mut seen = HashSet::new();
        names.retain(|wanted| seen.insert(wanted.name.clone()));
        Ok(())
    }

    /// What is attached to `subjects`, the last that are followed, and stays behind: one warning a subject.
    async fn deeper(&self, subjects: Vec<Digest>, image: &str) -> Result<Vec<String>, ImageError> {
        let mut warnings = Vec::new();
        let reader = self.reader;
        let mut found = futures_util::stream::iter(subjects)
            .map(|subject| attached_to(reader, subject))
            .buffered(8);
        while let Some(outcome) = found.next().await {
            let Attached { subject, tagged, referrers } = outcome?;
            let there = match referrers {
                Ok(referrers) => {
                    let carried = |digest| self.manifests.contains_key(digest);
                    !tagged.is_empty() || referrers.iter().any(|(digest, _)| !carried(digest))
                }
                Err(refused) => {
                    warnings.push(format!("{image}: {refused}"));
                    !tagged.is_empty()
                }
            };
            if there {
                let whole = self.wanted(Name::Digest(subject), subject).source;
                warnings.push(format!(
                    "{image}: what is attached to {subject} is left behind, it is deeper than {ATTACHED_DEPTH} \
                     levels; to carry it, name `{whole}` in `additionalImages` too"
                ));
            }
        }
        Ok(warnings)
    }

    /// Adds the manifests that name `subject` as theirs. Those that the index under the plain tag names are
    /// there already, as its children.
    async fn referrers(
        &mut self,
        subject: Digest,
        referrers: &[(Digest, u64)],
        names: &mut Vec<Wanted>,
        warnings: &Mutex<Vec<String>>,
    ) -> Result<(), ImageError> {
        for (digest, size) in referrers {
            if !self.manifests.contains_key(digest) {
                let by_digest = ManifestRef::Digest(*digest);
                match self.reader.manifest(&by_digest, Some(*size), &[]).await {
                    Ok(read) => self.add(read, &[]).await?,
                    // A registry may list what it no longer has.
                    Err(ImageError::Origin(error)) if error.is_not_found() => {
                        lock(warnings).push(format!(
                            "{}: a referrer {digest} of {subject} is listed but not there: left behind",
                            names[0].source
                        ));
                        continue;
                    }
                    Err(error) => return Err(error),
                }
            }
            names.push(self.wanted(Name::Digest(*digest), *digest));
        }
        Ok(())
    }

    fn wanted(&self, name: Name, digest: Digest) -> Wanted {
        let place = match self.reader.origin {
            Origin::Registry(host, repository) => format!("{host}/{repository}"),
            Origin::Layout(path) => format!("oci://{}", path.display()),
        };
        let source = match &name {
            Name::Tag(tag) => format!("{place}:{tag}"),
            Name::Digest(digest) => format!("{place}@{digest}"),
        };
        Wanted { name, digest, source }
    }
}

/// What is attached to one manifest.
struct Attached {
    subject: Digest,
    tagged: Vec<(Tag, Read)>,
    /// Digests and sizes, or why they cannot be listed.
    referrers: Result<Vec<(Digest, u64)>, String>,
}

/// What is attached to one manifest: cosign's tags (`sha256-<hex>.sig`, `.att`, `.sbom`), the
/// referrers tag of OCI distribution 1.1 (`sha256-<hex>`), and what the referrers API lists.
async fn attached_to(reader: Reader<'_>, subject: Digest) -> Result<Attached, ImageError> {
    let tags = [".sig", ".att", ".sbom", ""].map(|suffix| {
        format!("sha256-{}{suffix}", subject.hex()).parse::<Tag>().expect("a valid tag")
    });
    // All at once: most are not there, and the way to the registry is what takes the time.
    let look = |tag| async move { Ok::<_, ImageError>((reader.tagged(&tag).await?, tag)) };
    let looking = try_join_all(tags.map(look));
    let listing = reader.origins.referrers(reader.origin, &subject);
    let (looked, listed) = futures_util::future::join(looking, listing).await;
    let mut tagged = Vec::new();
    for (read, tag) in looked? {
        // An image can be tagged `sha256-<hex>` of itself; that is no referrers index.
        tagged.extend(read.filter(|read| read.digest != subject).map(|read| (tag, read)));
    }
    let referrers = match listed {
        Ok(Some(descriptors)) => Ok(descriptors.iter().map(|d| (d.digest, d.size)).collect()),
        // Without the API, the index under the plain tag names them. It was found above.
        Ok(None) => Ok(fallback(&tagged)),
        Err(error) if error.wire_kind() == Some(WireKind::Refused) => {
            Err(format!("referrers of {subject} cannot be listed: {error}"))
        }
        Err(error) => return Err(error.into()),
    };
    if referrers.as_ref().is_ok_and(|referrers: &Vec<_>| referrers.len() > REFERRERS_MAX) {
        return Err(ImageError::Referrers(subject));
    }
    Ok(Attached { subject, tagged, referrers })
}

/// The referrers that the index under the tag `sha256-<hex>` names. Somebody's image under that name is
/// no list, and has no children.
fn fallback(tagged: &[(Tag, Read)]) -> Vec<(Digest, u64)> {
    let plain = tagged.iter().find(|(tag, _)| !tag.as_str().contains('.'));
    plain.map(|(_, read)| read.node.children.to_vec()).unwrap_or_default()
}

/// The children of an index that are carried: all, or those of the wanted platforms with the
/// attestations that belong to them.
fn choose(
    manifests: &[Descriptor],
    platforms: &[PlatformFilter],
) -> Result<Vec<(Digest, u64)>, ImageError> {
    if platforms.is_empty() {
        return Ok(manifests.iter().map(|m| (m.digest, m.size)).collect());
    }
    let wanted = |descriptor: &&Descriptor| {
        descriptor.platform.as_ref().is_none_or(|platform| {
            platforms.iter().any(|w| w.os == platform.os && w.architecture == platform.architecture)
        })
    };
    let mut chosen: Vec<(Digest, u64)> =
        manifests.iter().filter(wanted).map(|m| (m.digest, m.size)).collect();
    // BuildKit's attestations stand beside the images, as platform unknown/unknown.
    let belongs = |descriptor: &Descriptor| {
        descriptor
            .annotations
            .get("vnd.docker.reference.digest")
            .and_then(|digest| digest.parse().ok())
            .is_some_and(|digest: Digest| chosen.iter().any(|(chosen, _)| *chosen == digest))
    };
    let more: Vec<_> =
        manifests.iter().filter(|m| belongs(m)).map(|m| (m.digest, m.size)).collect();
    if chosen.is_empty() {
        let mut has: Vec<String> = manifests
            .iter()
            .filter_map(|m| m.platform.as_ref())
            .map(|p| format!("{}/{}", p.os, p.architecture))
            .collect();
        has.dedup();
        has.truncate(20);
        return Err(ImageError::Platforms(has.join(", ")));
    }
    for child in more {
        if !chosen.contains(&child) {
            chosen.push(child);
        }
    }
    Ok(chosen)
}
