//! From references to content: every tag is pinned to a digest here, once.
//!
//! In: the images that are wished for ([`wish`](crate::wish)). Out: for each its name at the target, its manifests
//! ([`tree`](crate::tree)) and what is attached to it (`attached`). An image that cannot be had becomes a failure with its
//! reason; the others go on. What must hold: no two images say two sizes of one blob.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Mutex;

use format_spec::head::{ContentClass, Failure};
use format_spec::index::Resource;
use format_spec::{Digest, Tag};
use futures_util::{FutureExt, StreamExt};
use registry::client::ErrorKind as WireKind;

use crate::config::{Blocked, ImageSetConfig};
use crate::destination::{self, Claims, Destination};
use crate::error::{CreateError, fit, reason};
use crate::history::{Known, Name};
use crate::listed::{Listed, Place};
use crate::lock;
use crate::node::{Reader, Shelf};
use crate::origin::{Loss, Origin, OriginError, Origins, Source};
use crate::policy::Verdicts;
use crate::release::explain::Chosen;
use crate::report::{Catalog, Chart, Release};
use crate::tree::{ImageError, Manifests, Tree};
use crate::wish::Wish;

/// What is taken and what is left of every image.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Leave signatures, attestations and referrers behind.
    pub remove_signatures: bool,
    /// Carry foreign layers instead of refusing the image.
    pub foreign_layers: bool,
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
    /// The class of content that it belongs to.
    pub class: ContentClass,
    /// Where its bytes are.
    pub origin: Origin,
    /// Where those of its blobs are that the origin does not have.
    pub base: Option<Origin>,
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

    /// Whether a place where its bytes are has this blob in this size; if not, why.
    pub(crate) async fn has(
        &self,
        origins: &Origins,
        digest: &Digest,
        size: u64,
    ) -> Result<(), OriginError> {
        let own = origins.blob(&self.origin, digest, size, 0).await;
        match (own, &self.base) {
            (Err(_), Some(base)) => origins.blob(base, digest, size, 0).await.map(drop),
            (own, _) => own.map(drop),
        }
    }
}

/// The outcome for a whole configuration.
#[derive(Debug, Default)]
pub struct Resolved {
    /// The images, in the order in which they are wished for.
    pub images: Vec<Image>,
    /// What could not be had.
    pub failures: Vec<Failure>,
    /// Where images were asked for, as file and line, where no configuration did.
    pub(crate) places: HashMap<String, String>,
    /// The kind of fault behind each of the failures.
    pub causes: Vec<Option<WireKind>>,
    /// What a person can do about a failure: its reference and the next step. Never in the head: there stands what is wrong.
    pub hints: Vec<(String, String)>,
    /// What was left out because it is blocked: reference and pattern.
    pub blocked: Vec<(String, String)>,
    /// What the importer makes cluster resources from: all that stands, ascending by name.
    pub resources: Vec<Resource>,
    /// The releases that are there whole.
    pub releases: Vec<Release>,
    /// The catalogs that are there.
    pub catalogs: Vec<Catalog>,
    /// The charts that are there.
    pub charts: Vec<Chart>,
    /// What the update graphs gave.
    pub chosen: Chosen,
    /// What the policy said of them.
    pub policy: Option<Verdicts>,
    /// What a person should know.
    pub warnings: Vec<String>,
}

impl Resolved {
    /// Notes an image that cannot be had.
    pub(crate) fn fail(
        &mut self,
        image: &str,
        class: ContentClass,
        kind: Option<WireKind>,
        reason: String,
    ) {
        let reference = image.to_owned();
        let reason = match self.places.get(image) {
            Some(place) => fit(&format!("{place}: {reason}")),
            None => reason,
        };
        self.failures.push(Failure { reference, class, reason });
        self.causes.push(kind);
    }

    /// Notes what was told of images that were resolved apart.
    pub(crate) fn told_too(&mut self, mut other: Self) {
        self.warnings.append(&mut other.warnings);
        self.failures.append(&mut other.failures);
        self.hints.append(&mut other.hints);
        self.causes.append(&mut other.causes);
    }

    /// Notes what can be done about a failure.
    pub(crate) fn advise(&mut self, reference: &str, hints: impl IntoIterator<Item = String>) {
        self.hints.extend(hints.into_iter().map(|hint| (reference.to_owned(), hint)));
    }

    /// What can be done, each once; with its reference where it is about one failure of several.
    pub(crate) fn advice(&self) -> Vec<String> {
        let mut hints: Vec<(&str, &str, bool)> = Vec::new();
        for (reference, hint) in &self.hints {
            match hints.iter_mut().find(|(known, ..)| known == hint) {
                Some((_, first, of_several)) => *of_several |= first != reference,
                None => hints.push((hint, reference, false)),
            }
        }
        let several = self.failures.len() > 1;
        let told = hints.into_iter().map(|(hint, of, of_several)| match several && !of_several {
            true => format!("{of}: {hint}"),
            false => hint.to_owned(),
        });
        told.collect()
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
                Some((what, digest, Loss { kind, reason, .. })) => {
                    let reason = fit(&format!("{what} {digest}: {reason}"));
                    self.fail(&image.source, image.class, *kind, reason);
                }
            }
        }
    }
}

/// A word about each pattern that blocks none of the images of these names, and no catalog.
pub fn idle_patterns<'a>(
    config: &ImageSetConfig,
    names: impl Iterator<Item = &'a String>,
) -> Vec<String> {
    let names: Vec<&String> = names.collect();
    let idle = config.blocked.iter();
    let catalogs: Vec<_> = config.operators.iter().map(|entry| entry.catalog.to_string()).collect();
    let blocks = |blocked: &Blocked| {
        names.iter().any(|name| blocked.blocks(name))
            || catalogs.iter().any(|name| blocked.blocks(name))
    };
    let idle = idle.filter(|blocked| !blocks(blocked));
    let told = idle.map(|blocked| {
        format!(
            "{}:{}: the pattern `{}` of `blockedImages` matches no image",
            config.file,
            blocked.line,
            blocked.pattern()
        )
    });
    told.collect()
}

/// Resolves what is wished for and not blocked. Earlier sequences carried what is `known`.
pub async fn resolve(
    config: &ImageSetConfig,
    wishes: Vec<Wish<'_>>,
    origins: &Origins,
    rules: &Rules,
    known: &Known,
) -> Result<Resolved, CreateError> {
    let mut blocked = Vec::new();
    let mut free = Vec::with_capacity(wishes.len());
    for wish in wishes {
        match config.blocked_by(&wish.name) {
            Some(pattern) => blocked.push((wish.name, pattern.pattern().to_owned())),
            None => free.push(wish),
        }
    }
    let mut resolved = resolve_all(free, origins, rules, known).await?;
    resolved.blocked = blocked;
    Ok(resolved)
}

/// Resolves what is wished for.
pub(crate) async fn resolve_all(
    wishes: Vec<Wish<'_>>,
    origins: &Origins,
    rules: &Rules,
    known: &Known,
) -> Result<Resolved, CreateError> {
    let mut resolved = Resolved::default();
    let mut wanted: Vec<Wish<'_>> = Vec::with_capacity(wishes.len());
    let mut early = Claims::default();
    for wish in wishes {
        // Names that do not depend on what a registry says collide before any registry is asked.
        if let Some(tag) = &wish.tag {
            let (repository, tag) = (wish.repository.clone(), tag.clone());
            if !early.claim(&Destination { repository, tag }, &wish.name)? {
                // As an additional image that a bundle needs too.
                let is_it = |first: &&mut Wish<'_>| {
                    first.repository == wish.repository && first.tag == wish.tag
                };
                if let Some(first) = wanted.iter_mut().find(is_it) {
                    first.also_for(&wish.platforms);
                }
                continue;
            }
        }
        wanted.push(wish);
    }
    let (warnings, sparse) = (Mutex::new(Vec::new()), Mutex::new(BTreeSet::new()));
    let shelf = Shelf::default();
    let listed = Listed::new(known);
    let same = same(&wanted);
    let firsts: Vec<usize> = (0..wanted.len()).filter(|at| same[*at] == *at).collect();
    // As they end: behind one that takes long, the others would wait for their turn to be taken away.
    let mut outcomes: Vec<_> = futures_util::stream::iter(firsts)
        .map(|at| {
            let wish = &wanted[at];
            let place =
                Place { listed: &listed, tag: tag_of(&wish.source), repository: &wish.repository };
            let told = Told { warnings: &warnings, sparse: &sparse };
            let resolving = one(wish, origins, rules, &shelf, place, told);
            resolving.map(move |outcome| (at, outcome.map_err(Loss::from)))
        })
        .buffer_unordered(rules.parallel.max(1))
        .collect()
        .await;
    outcomes.sort_unstable_by_key(|(at, _)| *at);
    resolved.images.reserve_exact(wanted.len());
    for (at, outcome) in spread(outcomes, &same) {
        let wish = &wanted[at];
        let base = wish.source.base().cloned();
        let (source, class) = (wish.name.clone(), wish.class);
        let (repository, tag) = (wish.repository.clone(), wish.tag.clone());
        match outcome {
            Ok((origin, mut names, manifests)) => {
                let tag = tag.unwrap_or_else(|| destination::digest_tag(&names[0].digest));
                names[0].name = Name::Tag(tag.clone());
                let destination = Destination { repository, tag };
                resolved.images.push(Image {
                    source,
                    class,
                    origin,
                    base,
                    destination,
                    names,
                    manifests,
                });
            }
            Err(Loss { kind, reason, hint }) => {
                resolved.fail(&source, class, kind, reason);
                resolved.advise(&source, hint);
            }
        }
    }
    resolved.warnings.extend(warnings.into_inner().unwrap_or_default());
    resolved.warnings.extend(of_sparse(&sparse.into_inner().unwrap_or_default()));
    settle(&mut resolved, origins).await;
    Ok(resolved)
}

/// The tag that an image is read by.
fn tag_of<'a>(source: &'a Source<'_>) -> Option<&'a Tag> {
    match source {
        Source::Registry(reference) if reference.digest.is_none() => reference.tag.as_ref(),
        _ => None,
    }
}

/// For each wish the place of the first that asks for the very same: one image that gets several names is read once.
fn same(wanted: &[Wish<'_>]) -> Vec<usize> {
    let mut firsts = HashMap::new();
    let mut first = |at: usize, wish: &Wish<'_>| match &wish.source {
        // By tag each asks for itself: the way by which a tag was read tells what may be attached to it.
        Source::Registry(reference) if reference.digest.is_some() => {
            let platforms: Vec<_> =
                wish.platforms.iter().map(|p| (p.os.clone(), p.architecture.clone())).collect();
            let key = (wish.source.origin(), reference.digest, wish.repository.clone(), platforms);
            *firsts.entry(key).or_insert(at)
        }
        _ => at,
    };
    wanted.iter().enumerate().map(|(at, wish)| first(at, wish)).collect()
}

type Outcome = Result<Found, Loss>;

/// The outcome of each wish, in their order, from those of the first of each kind.
fn spread(outcomes: Vec<(usize, Outcome)>, same: &[usize]) -> Vec<(usize, Outcome)> {
    let mut left = vec![0_usize; same.len()];
    same.iter().for_each(|first| left[*first] += 1);
    let mut outcomes: BTreeMap<usize, Outcome> = outcomes.into_iter().collect();
    let mut take = |first: usize| {
        left[first] -= 1;
        let last = left[first] == 0;
        if last { outcomes.remove(&first) } else { outcomes.get(&first).cloned() }
    };
    let all = same.iter().enumerate();
    all.filter_map(|(at, first)| Some((at, take(*first)?))).collect()
}

type Found = (Origin, Vec<Wanted>, Manifests);

/// What is found beside the images.
#[derive(Clone, Copy)]
struct Told<'a> {
    warnings: &'a Mutex<Vec<String>>,
    /// The images of which platforms stay behind.
    sparse: &'a Mutex<BTreeSet<String>>,
}

/// The warning for them all: a catalog has hundreds.
fn of_sparse(sources: &BTreeSet<String>) -> Option<String> {
    let first = sources.first()?;
    let (which, whose) = match sources.len() {
        1 => (first.clone(), "its index"),
        all => (format!("{first} and {} more", all - 1), "their indexes"),
    };
    Some(format!(
        "{which}: `platforms` leaves children of {whose} out; CNCF distribution takes such an index only from version 3 on, \
         and when told"
    ))
}

/// Resolves one image. The name of the first of its names is set by the caller.
async fn one(
    wish: &Wish<'_>,
    origins: &Origins,
    rules: &Rules,
    shelf: &Shelf,
    place: Place<'_>,
    told: Told<'_>,
) -> Result<Found, ImageError> {
    let origin = wish.source.origin();
    let reader = Reader { origins, origin: &origin, rules, shelf, place };
    let mut tree = Tree::new(reader);
    let root = reader.read(&origins.image(&wish.source).await?.raw, &wish.platforms)?;
    let digest = root.digest;
    tree.add(root, &wish.platforms).await?;
    let source = wish.name.clone();
    if tree.sparse {
        lock(told.sparse).insert(source.clone());
    }
    let mut names = vec![Wanted { name: Name::Digest(digest), digest, source }];
    if !rules.remove_signatures {
        tree.attached(&mut names, told.warnings).await?;
    }
    let manifests = tree.finish()?;
    Ok((origin, names, manifests))
}

/// Ends disputes about the size of a blob: the image goes whose origin has the blob in another size than
/// its manifest says. Where that tells nothing, the first one of the configuration stays.
pub(crate) async fn settle(resolved: &mut Resolved, origins: &Origins) {
    let mut kept: Vec<Image> = Vec::with_capacity(resolved.images.len());
    let mut sizes = HashMap::new();
    for image in std::mem::take(&mut resolved.images) {
        let mut stays = true;
        while let Some((digest, size, others, at)) = dispute(&image, &sizes) {
            let first_is_right = kept[at].has(origins, &digest, others).await.is_ok();
            stays = !first_is_right && image.has(origins, &digest, size).await.is_ok();
            let mut fault = |image: &Image, size, other: &Image, others| {
                let other = other.source.clone();
                let dispute = ImageError::Dispute { digest, size, other, others };
                resolved.fail(&image.source, image.class, None, reason(&dispute));
            };
            let (first, second) = (&kept[at], &image);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_is_told_once_and_names_what_it_is_about_where_that_is_not_plain() {
        let mut resolved = Resolved::default();
        let mut fail = |name: &str, hints: &[&str]| {
            resolved.fail(name, ContentClass::Release, None, "gone".to_owned());
            resolved.advise(name, hints.iter().map(ToString::to_string));
            resolved.advice()
        };
        assert_eq!(fail("a", &["do this", "or that"]), ["do this", "or that"]);
        assert_eq!(fail("b", &["do this"]), ["do this", "a: or that"]);
        assert_eq!(fail("c", &[]), ["do this", "a: or that"]);
    }

    #[test]
    fn images_without_some_platforms_are_told_in_one_line() {
        let told =
            |sources: &[&str]| of_sparse(&sources.iter().map(|one| (*one).to_owned()).collect());
        assert_eq!(told(&[]), None);
        assert!(
            told(&["host/a:1"])
                .unwrap()
                .starts_with("host/a:1: `platforms` leaves children of its index out; ")
        );
        let several = told(&["host/b:1", "host/a:1", "host/c:1"]).unwrap();
        assert!(several.starts_with(
            "host/a:1 and 2 more: `platforms` leaves children of their indexes out; "
        ));
    }
}
