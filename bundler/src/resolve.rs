//! From references to content: every tag is pinned to a digest here, once.
//!
//! In: the additional images of a configuration. Out: for each its name at the target, its manifests
//! ([`tree`](crate::tree)) and what is attached to it (`attached`). An image that cannot be had becomes a failure with its
//! reason; the others go on. What must hold: no two images say two sizes of one blob.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Mutex;

use format_spec::head::{ContentClass, Failure};
use format_spec::{Digest, Tag};
use futures_util::{FutureExt, StreamExt};
use registry::client::ErrorKind as WireKind;
use registry::reference::Reference;

use crate::config::{AdditionalImage, ImageSetConfig};
use crate::destination::{self, Claims, Destination};
use crate::error::{CreateError, fit, reason};
use crate::history::{Known, Name};
use crate::listed::{Listed, Place};
use crate::lock;
use crate::node::{Reader, Shelf};
use crate::origin::{Loss, Origin, Origins, Source};
use crate::tree::{ImageError, Manifests, Tree};

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
    /// The kind of fault behind each of the failures.
    pub causes: Vec<Option<WireKind>>,
    /// What was left out because it is blocked: reference and pattern.
    pub blocked: Vec<(String, String)>,
    /// What a person should know.
    pub warnings: Vec<String>,
}

impl Resolved {
    /// Notes an image that cannot be had.
    fn fail(&mut self, image: &str, kind: Option<WireKind>, reason: String) {
        let (reference, class) = (image.to_owned(), ContentClass::Additional);
        self.failures.push(Failure { reference, class, reason });
        self.causes.push(kind);
    }

    /// Takes out the images that need a blob or manifest which cannot be had.
    pub(crate) fn drop_images(&mut self, lost: &BTreeMap<Digest, Loss>) {
        let images = std::mem::take(&mut self.images);
        for image in images {
            let blobs = image.blobs().map(|(digest, _)| ("blob", digest));
            let manifests = image.manifests.iter().map(|(digest, _)| ("manifest", *digest));
            let needs = manifests
                .chain(blobs)
                .find_map(|(what, digest)| lost.get(&digest).map(|loss| (what, digest, loss)));
            match needs {
                None => self.images.push(image),
                Some((what, digest, Loss { kind, reason })) => {
                    let reason = fit(&format!("{what} {digest}: {reason}"));
                    self.fail(&image.source, *kind, reason);
                }
            }
        }
    }
}

/// Resolves the additional images of `config`. Earlier sequences carried what is `known`.
pub async fn resolve(
    config: &ImageSetConfig,
    origins: &Origins,
    wishes: &Wishes,
    known: &Known,
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
            let source = Source::of(&image.source);
            let to = destination::repository_of(image, &source, wishes.max_nested_paths)?;
            wanted.push((image, source, to));
        }
    }
    for blocked in &config.blocked {
        if !config.additional_images.iter().any(|image| blocked.blocks(&image.source.to_string())) {
            resolved.warnings.push(format!(
                "{}:{}: the pattern `{}` of `blockedImages` matches no image of `additionalImages`",
                config.file,
                blocked.line,
                blocked.pattern()
            ));
        }
    }
    // Names that do not depend on what a registry says collide before any registry is asked.
    let mut early = Claims::default();
    for (image, source, _) in &wanted {
        let (named, digest) = match source {
            Source::Registry(reference) => {
                (reference.tag.is_some() || reference.digest.is_some(), reference.digest)
            }
            Source::Layout(_) => (true, None),
        };
        if named {
            let digest = digest.unwrap_or_else(|| Digest::of(b""));
            let name = destination::of_image(image, source, &digest, wishes.max_nested_paths)?;
            early.claim(&name, &image.source.to_string())?;
        }
    }
    let warnings = Mutex::new(Vec::new());
    let shelf = Shelf::default();
    let listed = Listed::new(known);
    // As they end: behind one that takes long, the others would wait for their turn to be taken away.
    let mut outcomes: Vec<_> = futures_util::stream::iter(wanted.iter().enumerate())
        .map(|(at, (image, source, repository))| {
            let place = Place { listed: &listed, tag: tag_of(source), repository };
            let resolving = one(image, source, origins, wishes, &shelf, place, &warnings);
            resolving.map(move |outcome| (at, outcome))
        })
        .buffer_unordered(wishes.parallel.max(1))
        .collect()
        .await;
    outcomes.sort_unstable_by_key(|(at, _)| *at);
    resolved.images.reserve_exact(outcomes.len());
    for ((image, from, _), (_, outcome)) in wanted.iter().zip(outcomes) {
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
                let kind = match &error {
                    ImageError::Origin(origin) => origin.kind(),
                    _ => None,
                };
                resolved.fail(&image.source.to_string(), kind, reason(&error));
            }
        }
    }
    resolved.warnings.extend(warnings.into_inner().unwrap_or_default());
    settle(&mut resolved, origins).await;
    Ok(resolved)
}

/// The tag that an image is read by.
fn tag_of<'a>(source: &'a Source<'_>) -> Option<&'a Tag> {
    match source {
        Source::Registry(Reference { tag, digest: None, .. }) => tag.as_ref(),
        _ => None,
    }
}

type Found = (Origin, Vec<Wanted>, Manifests);

/// Resolves one image. The name of the first of its names is set by the caller.
async fn one(
    image: &AdditionalImage,
    source: &Source<'_>,
    origins: &Origins,
    wishes: &Wishes,
    shelf: &Shelf,
    place: Place<'_>,
    warnings: &Mutex<Vec<String>>,
) -> Result<Found, ImageError> {
    let origin = source.origin();
    let reader = Reader { origins, origin: &origin, wishes, shelf, place };
    let mut tree = Tree::new(reader);
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
    let manifests = tree.finish()?;
    Ok((origin, names, manifests))
}

/// Ends disputes about the size of a blob: the image goes whose origin has the blob in another size than
/// its manifest says. Where that tells nothing, the first one of the configuration stays.
async fn settle(resolved: &mut Resolved, origins: &Origins) {
    let mut kept: Vec<Image> = Vec::with_capacity(resolved.images.len());
    let mut sizes = HashMap::new();
    for image in std::mem::take(&mut resolved.images) {
        let mut stays = true;
        while let Some((digest, size, others, at)) = dispute(&image, &sizes) {
            let first_is_right = origins.blob(&kept[at].origin, &digest, others, 0).await.is_ok();
            stays = !first_is_right && origins.blob(&image.origin, &digest, size, 0).await.is_ok();
            let mut fault = |source: &str, size, other: &str, others| {
                let other = other.to_owned();
                let dispute = ImageError::Dispute { digest, size, other, others };
                resolved.fail(source, None, reason(&dispute));
            };
            let (first, second) = (&kept[at].source, &image.source);
            if !stays {
                fault(second, size, first, others);
                break;
            }
            fault(first, others, second, size);
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
