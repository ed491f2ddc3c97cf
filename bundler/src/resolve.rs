//! From references to content: every tag is pinned to a digest here, once.
//!
//! In: the additional images of a configuration. Out: for each its name at the target, its manifests
//! (an index whole or by platforms, with all its children), its blobs with their sizes, and what is
//! attached to it: cosign's tags and OCI referrers. An image that cannot be had becomes a failure
//! with its reason; the others go on.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Mutex;

use bytes::Bytes;
use format_spec::head::{ContentClass, Failure};
use format_spec::{Digest, Tag};
use futures_util::StreamExt;
use registry::client::ErrorKind as WireKind;
use registry::limits::REFERRERS_MAX;
use registry::manifest::{Descriptor, Manifest, ManifestError, RawManifest};
use registry::media_type;
use registry::reference::ManifestRef;

use crate::config::{AdditionalImage, ImageSetConfig, ImageSource, PlatformFilter};
use crate::destination::{self, Claims, Destination};
use crate::error::CreateError;
use crate::history::Name;
use crate::lock;
use crate::origin::{Origin, OriginError, Origins};

/// How deep referrers of referrers are followed: a signature over an SBOM over an image is 2.
const ATTACHED_DEPTH: usize = 4;

/// Manifests that one image may consist of, attached ones included.
const MANIFESTS_MAX: usize = 10_000;

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
    /// Its bytes, exactly as received.
    pub bytes: Bytes,
    /// The media type it was received with.
    pub media_type: String,
    /// The children that are carried.
    pub children: Vec<Digest>,
    /// Its blobs and their sizes.
    pub blobs: Vec<(Digest, u64)>,
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
    pub manifests: BTreeMap<Digest, Node>,
}

impl Image {
    /// Its blobs and their sizes, as its manifests have them.
    pub fn blobs(&self) -> impl Iterator<Item = (Digest, u64)> {
        self.manifests.values().flat_map(|node| node.blobs.iter().copied())
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
            wanted.push(image);
        }
    }
    // Names that do not depend on what a registry says collide before any registry is asked.
    let mut early = Claims::default();
    for image in &wanted {
        let known = match &image.source {
            ImageSource::Registry(reference) => {
                reference.tag.is_some() || reference.digest.is_some()
            }
            ImageSource::OciLayout(_) => true,
        };
        if known {
            let digest = match &image.source {
                ImageSource::Registry(reference) => reference.digest,
                ImageSource::OciLayout(_) => None,
            };
            let digest = digest.unwrap_or_else(|| Digest::of(b""));
            let name = destination::of_image(image, &digest, wishes.max_nested_paths)?;
            early.claim(&name, &image.source.to_string())?;
        }
    }
    let warnings = Mutex::new(Vec::new());
    let outcomes: Vec<_> = futures_util::stream::iter(&wanted)
        .map(|image| one(image, origins, wishes, &warnings))
        .buffered(wishes.parallel.max(1))
        .collect()
        .await;
    for (image, outcome) in wanted.iter().zip(outcomes) {
        match outcome {
            Ok((origin, names, manifests)) => {
                let destination =
                    destination::of_image(image, &names[0].digest, wishes.max_nested_paths)?;
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

type Found = (Origin, Vec<Wanted>, BTreeMap<Digest, Node>);

/// Resolves one image. The name of the first of its names is set by the caller.
async fn one(
    image: &AdditionalImage,
    origins: &Origins,
    wishes: &Wishes,
    warnings: &Mutex<Vec<String>>,
) -> Result<Found, ImageError> {
    let (origin, reference) = match &image.source {
        ImageSource::Registry(reference) => {
            // With tag and digest the digest decides: a tag may have moved since.
            let by = match (&reference.digest, &reference.tag) {
                (Some(digest), _) => ManifestRef::Digest(*digest),
                (None, Some(tag)) => ManifestRef::Tag(tag.clone()),
                (None, None) => ManifestRef::Tag("latest".parse().expect("a valid tag")),
            };
            (Origin::Registry(reference.registry.clone(), reference.repository.clone()), by)
        }
        ImageSource::OciLayout(path) => {
            (Origin::Layout(path.clone()), ManifestRef::Tag("latest".parse().expect("a valid tag")))
        }
    };
    let mut tree =
        Tree { origins, origin: &origin, wishes, manifests: BTreeMap::new(), sparse: false };
    let root = origins.manifest(&origin, &reference).await?;
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
    Ok((origin.clone(), names, tree.manifests))
}

/// What no honest image does: one digest as manifest and blob, or with two sizes.
fn check(manifests: &BTreeMap<Digest, Node>) -> Result<(), ImageError> {
    let mut sizes = HashMap::new();
    for (digest, size) in manifests.values().flat_map(|node| &node.blobs) {
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

/// The manifests of one image, as they are found.
struct Tree<'a> {
    origins: &'a Origins,
    origin: &'a Origin,
    wishes: &'a Wishes,
    manifests: BTreeMap<Digest, Node>,
    /// Whether children of an index are left out.
    sparse: bool,
}

impl Tree<'_> {
    /// Adds a manifest and everything below it, each manifest once.
    async fn add(
        &mut self,
        root: RawManifest,
        platforms: &[PlatformFilter],
    ) -> Result<(), ImageError> {
        let mut queue = VecDeque::from([root]);
        while let Some(raw) = queue.pop_front() {
            if self.manifests.contains_key(&raw.digest) {
                continue;
            }
            if self.manifests.len() == MANIFESTS_MAX {
                return Err(ImageError::Manifests);
            }
            let node = self.node(&raw, platforms)?;
            let missing: Vec<Digest> = node
                .children
                .iter()
                .filter(|child| !self.manifests.contains_key(*child))
                .copied()
                .collect();
            self.manifests.insert(raw.digest, node);
            let (origins, origin) = (self.origins, self.origin);
            let mut fetched =
                futures_util::stream::iter(missing)
                    .map(|child| async move {
                        origins.manifest(origin, &ManifestRef::Digest(child)).await
                    })
                    .buffered(8);
            while let Some(child) = fetched.next().await {
                queue.push_back(child?);
            }
        }
        Ok(())
    }

    fn node(
        &mut self,
        raw: &RawManifest,
        platforms: &[PlatformFilter],
    ) -> Result<Node, ImageError> {
        let manifest =
            raw.parse().map_err(|error| ImageError::Manifest { digest: raw.digest, error })?;
        let mut node = Node {
            bytes: raw.bytes.clone(),
            media_type: raw.media_type.clone(),
            children: Vec::new(),
            blobs: Vec::new(),
        };
        match &manifest {
            Manifest::Index(index) => {
                node.children = choose(&index.manifests, platforms)?;
                self.sparse |= node.children.len() < index.manifests.len();
            }
            Manifest::Image(_) => {
                for blob in manifest.blobs() {
                    let foreign =
                        media_type::is_foreign_layer(&blob.media_type) || !blob.urls.is_empty();
                    if foreign && !self.wishes.foreign_layers {
                        return Err(ImageError::Foreign(blob.digest));
                    }
                    node.blobs.push((blob.digest, blob.size));
                }
            }
        }
        Ok(node)
    }

    /// Finds what is attached to every manifest found so far, and to what is attached.
    async fn attached(
        &mut self,
        names: &mut Vec<Wanted>,
        warnings: &Mutex<Vec<String>>,
    ) -> Result<(), ImageError> {
        let mut subjects: Vec<Digest> = self.manifests.keys().copied().collect();
        for _ in 0..ATTACHED_DEPTH {
            let (origins, origin) = (self.origins, self.origin);
            let found: Vec<_> = futures_util::stream::iter(subjects)
                .map(|subject| attached_to(origins, origin, subject))
                .buffered(8)
                .collect()
                .await;
            let before: HashSet<Digest> = self.manifests.keys().copied().collect();
            for outcome in found {
                let (tagged, referrers, refused) = outcome?;
                if let Some(refused) = refused {
                    lock(warnings).push(refused);
                }
                for (tag, raw) in tagged {
                    let wanted = self.wanted(Name::Tag(tag), raw.digest);
                    self.add(raw, &[]).await?;
                    names.push(wanted);
                }
                for raw in referrers {
                    let wanted = self.wanted(Name::Digest(raw.digest), raw.digest);
                    self.add(raw, &[]).await?;
                    names.push(wanted);
                }
            }
            subjects =
                self.manifests.keys().filter(|digest| !before.contains(digest)).copied().collect();
            if subjects.is_empty() {
                break;
            }
        }
        let mut seen = HashSet::new();
        names.retain(|wanted| seen.insert(wanted.name.clone()));
        Ok(())
    }

    fn wanted(&self, name: Name, digest: Digest) -> Wanted {
        let place = match self.origin {
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

type Attached = (Vec<(Tag, RawManifest)>, Vec<RawManifest>, Option<String>);

/// What is attached to one manifest: cosign's tags (`sha256-<hex>.sig`, `.att`, `.sbom`), the
/// referrers tag of OCI distribution 1.1 (`sha256-<hex>`), and what the referrers API lists.
async fn attached_to(
    origins: &Origins,
    origin: &Origin,
    subject: Digest,
) -> Result<Attached, ImageError> {
    let mut tagged = Vec::new();
    for suffix in [".sig", ".att", ".sbom", ""] {
        let tag: Tag = format!("sha256-{}{suffix}", subject.hex()).parse().expect("a valid tag");
        match origins.tagged(origin, &tag).await {
            // An image can be tagged `sha256-<hex>` of itself; that is no referrers index.
            Ok(Some(raw)) if raw.digest != subject => tagged.push((tag, raw)),
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let mut referrers = Vec::new();
    let mut refused = None;
    match origins.referrers(origin, &subject).await {
        Ok(descriptors) => {
            // Without the API, the index under the plain tag names them. It was found above.
            let descriptors = descriptors.unwrap_or_else(|| fallback(&tagged));
            if descriptors.len() > REFERRERS_MAX {
                return Err(ImageError::Referrers(subject));
            }
            for Descriptor { digest, .. } in descriptors {
                match origins.manifest(origin, &ManifestRef::Digest(digest)).await {
                    Ok(raw) => referrers.push(raw),
                    // A registry may list what it no longer has.
                    Err(error) if error.is_not_found() => {
                        refused = Some(format!(
                            "a referrer {digest} of {subject} is listed but not there: left behind"
                        ));
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Err(error) if error.wire_kind() == Some(WireKind::Refused) => {
            refused = Some(format!("referrers of {subject} cannot be listed: {error}"));
        }
        Err(error) => return Err(error.into()),
    }
    Ok((tagged, referrers, refused))
}

/// The referrers that the index under the tag `sha256-<hex>` names. Somebody's image under that name is
/// no list.
fn fallback(tagged: &[(Tag, RawManifest)]) -> Vec<Descriptor> {
    let plain = tagged.iter().find(|(tag, _)| !tag.as_str().contains('.'));
    match plain.and_then(|(_, raw)| raw.parse().ok()) {
        Some(Manifest::Index(index)) => index.manifests,
        _ => Vec::new(),
    }
}

/// The children of an index that are carried: all, or those of the wanted platforms with the
/// attestations that belong to them.
fn choose(
    manifests: &[Descriptor],
    platforms: &[PlatformFilter],
) -> Result<Vec<Digest>, ImageError> {
    if platforms.is_empty() {
        return Ok(manifests.iter().map(|m| m.digest).collect());
    }
    let wanted = |descriptor: &&Descriptor| {
        descriptor.platform.as_ref().is_none_or(|platform| {
            platforms.iter().any(|w| w.os == platform.os && w.architecture == platform.architecture)
        })
    };
    let mut chosen: Vec<Digest> = manifests.iter().filter(wanted).map(|m| m.digest).collect();
    // BuildKit's attestations stand beside the images, as platform unknown/unknown.
    let belongs = |descriptor: &Descriptor| {
        descriptor
            .annotations
            .get("vnd.docker.reference.digest")
            .and_then(|digest| digest.parse().ok())
            .is_some_and(|digest: Digest| chosen.contains(&digest))
    };
    let more: Vec<Digest> = manifests.iter().filter(|m| belongs(m)).map(|m| m.digest).collect();
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
    for digest in more {
        if !chosen.contains(&digest) {
            chosen.push(digest);
        }
    }
    Ok(chosen)
}
