//! Moving the images of a release to where they are mirrored.
//!
//! In: images, resolved, each with its place. Out: all of them there. What must hold: a blob is moved once for each place, and
//! none that is there; manifests after their blobs, children before parents, names after everything, the release's last.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use format_spec::Digest;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use registry::client::Pushed;

use registry::progress::Progress;
use registry::reference::ManifestRef;

use super::MirrorError;
use super::place::Place;
use crate::history::Name;
use crate::origin::{Origin, Origins};
use crate::resolve::{Image, Wanted};
use crate::upload::FromOrigin;

/// Questions asked at a time, and manifests written.
const QUESTIONS: usize = 16;
const MANIFESTS: usize = 8;

/// One image, and the place it goes to.
pub(super) struct Load {
    pub(super) image: Image,
    pub(super) place: usize,
}

/// What was done.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Blobs whose bytes were moved, and how many bytes.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Blobs that were there, or that the registry had elsewhere.
    pub present: u64,
    /// Manifests that were written.
    pub manifests: u64,
}

/// All that is needed to move images.
pub(super) struct Move<'a> {
    pub(super) origins: &'a Origins,
    pub(super) places: &'a [Place],
    pub(super) progress: &'a Arc<Progress>,
    pub(super) parallel: usize,
    /// Manifests that are attached to others by their own word, in places that list none so.
    pub(super) unlisted: AtomicU64,
}

/// A blob that a place needs.
#[derive(Clone)]
struct Need {
    place: usize,
    digest: Digest,
    size: u64,
    origin: Origin,
}

impl Move<'_> {
    /// Moves everything. The first of the loads is the release image, whose name comes last.
    pub(super) async fn all(&self, loads: &[Load]) -> Result<Counts, MirrorError> {
        self.progress.phase("asking the target");
        let (missing, present) = self.missing(loads).await?;
        self.check_room(&missing)?;
        let mut counts = Counts { present, ..Counts::default() };
        self.progress.expect(missing.iter().map(|need| need.size).sum());
        self.progress.phase("copying blobs");
        let moved: Vec<(Pushed, u64)> = stream::iter(missing)
            .map(|need| async move { Ok::<_, MirrorError>((self.blob(&need).await?, need.size)) })
            .buffer_unordered(self.parallel.max(1))
            .try_collect()
            .await?;
        for (how, size) in moved {
            match how {
                Pushed::Uploaded => {
                    counts.blobs += 1;
                    counts.bytes += size;
                }
                Pushed::Mounted => counts.present += 1,
            }
        }
        self.progress.phase("writing manifests");
        for level in levels(loads) {
            let written: Vec<bool> = stream::iter(level)
                .map(|(at, digest)| self.manifest(&loads[at], digest))
                .buffer_unordered(MANIFESTS)
                .try_collect()
                .await?;
            counts.manifests += written.into_iter().filter(|written| *written).count() as u64;
        }
        self.progress.phase("writing tags");
        // What is attached first, so that no image is seen without its signature; the release at the end.
        let names = |of: fn(usize) -> bool| {
            loads.iter().flat_map(move |load| {
                let names = load.image.names.iter().enumerate();
                names.filter(move |(at, _)| of(*at)).map(move |(_, name)| (load, name))
            })
        };
        let attached: Vec<_> = names(|at| at > 0).collect();
        let own: Vec<_> = names(|at| at == 0).collect();
        let (release, components) = own.split_at(own.len().min(1));
        for group in [&attached[..], components, release] {
            stream::iter(group)
                .map(|(load, wanted)| self.name(load, &wanted.name, wanted.digest))
                .buffer_unordered(MANIFESTS)
                .try_collect::<()>()
                .await?;
        }
        Ok(counts)
    }

    /// The blobs that are not there, the largest first, and how many are.
    async fn missing(&self, loads: &[Load]) -> Result<(Vec<Need>, u64), MirrorError> {
        let mut needs: BTreeMap<(usize, Digest), Need> = BTreeMap::new();
        for Load { image, place } in loads {
            for (digest, size) in image.blobs() {
                let (place, origin) = (*place, image.origin.clone());
                needs.entry((place, digest)).or_insert(Need { place, digest, size, origin });
            }
        }
        let all = needs.len();
        let asked: Vec<Option<Need>> = stream::iter(needs.into_values())
            .map(|need| async move {
                let there = self.places[need.place].has_blob(&need.digest, need.size).await;
                let there = there.map_err(|source| self.fault(&need.digest, source))?;
                Ok::<_, MirrorError>((!there).then_some(need))
            })
            .buffer_unordered(QUESTIONS)
            .try_collect()
            .await?;
        let mut missing: Vec<Need> = asked.into_iter().flatten().collect();
        // By place, so that a second one of the same registry finds what the first has.
        missing.sort_by_key(|need| (need.place, std::cmp::Reverse(need.size), need.digest));
        let present = (all - missing.len()) as u64;
        Ok((missing, present))
    }

    /// Refuses what does not fit on the disk of a directory.
    fn check_room(&self, missing: &[Need]) -> Result<(), MirrorError> {
        for (number, place) in self.places.iter().enumerate() {
            let Some(directory) = place.path() else { continue };
            let needed =
                missing.iter().filter(|need| need.place == number).map(|need| need.size).sum();
            let stat = rustix::fs::statvfs(&directory)
                .map_err(|error| MirrorError::Write(error.into()))?;
            let available = stat.f_bavail.saturating_mul(stat.f_frsize);
            if needed > available {
                return Err(MirrorError::Space { directory, needed, available });
            }
        }
        Ok(())
    }

    async fn blob(&self, need: &Need) -> Result<Pushed, MirrorError> {
        let Need { place, digest, size, origin } = need;
        let _moving = self.progress.start(digest.short());
        let source = FromOrigin::new(self.origins, origin, (*digest, *size), self.progress);
        let source = Arc::new(source);
        let from = match (origin, &self.places[0]) {
            // The other place of a release has most of it by now.
            (_, Place::Registry { host, repository, .. }) if *place > 0 => Some((host, repository)),
            (Origin::Registry(host, repository), _) => Some((host, repository)),
            _ => None,
        };
        let put = self.places[*place].put_blob(digest, *size, source, from).await;
        put.map_err(|source| self.fault(digest, source))
    }

    /// Writes a manifest that is not there. Says whether it did.
    async fn manifest(&self, load: &Load, digest: Digest) -> Result<bool, MirrorError> {
        let place = &self.places[load.place];
        let fault = |source| self.fault(&digest, source);
        if place.has_manifest(&digest).await.map_err(fault)? {
            return Ok(false);
        }
        let (media_type, bytes) = self.bytes(load, digest).await?;
        let name = ManifestRef::Digest(digest);
        let listed = place.put_manifest(&name, &media_type, bytes).await.map_err(fault)?;
        let by_digest = |wanted: &Wanted| wanted.name == Name::Digest(digest);
        if !listed && load.image.names.iter().skip(1).any(by_digest) {
            self.unlisted.fetch_add(1, Ordering::Relaxed);
        }
        Ok(true)
    }

    /// A word about what is there and will not be found.
    pub(super) fn unlisted(&self) -> Option<String> {
        let count = self.unlisted.load(Ordering::Relaxed);
        (count > 0).then(|| {
            format!(
                "{count} signatures or the like are attached to images by the referrers API, which the target does not have: they \
                 are there by digest, and nobody finds them; `bundle create` and `bundle import` write lists of them"
            )
        })
    }

    /// Sets a name.
    async fn name(&self, load: &Load, name: &Name, digest: Digest) -> Result<(), MirrorError> {
        // Under its digest it is there by now.
        let Name::Tag(tag) = name else { return Ok(()) };
        let place = &self.places[load.place];
        let fault = |source| self.fault(&digest, source);
        if place.named(tag).await.map_err(fault)? == Some(digest) {
            return Ok(());
        }
        let (media_type, bytes) = self.bytes(load, digest).await?;
        let name = ManifestRef::Tag(tag.clone());
        place.put_manifest(&name, &media_type, bytes).await.map_err(fault)?;
        Ok(())
    }

    /// A manifest with its media type, kept or fetched again.
    async fn bytes(&self, load: &Load, digest: Digest) -> Result<(String, Bytes), MirrorError> {
        let node = load.image.manifests.get(&digest);
        if let Some(node) = node
            && let Some(bytes) = &node.bytes
        {
            return Ok((node.media_type.to_string(), bytes.clone()));
        }
        let by_digest = ManifestRef::Digest(digest);
        let arrived = self.origins.manifest(&load.image.origin, &by_digest).await;
        let raw = arrived.map_err(|source| {
            let image = load.image.source.clone();
            MirrorError::Origin { image, source }
        })?;
        Ok((raw.raw.media_type.clone(), raw.raw.bytes.clone()))
    }

    fn fault(&self, digest: &Digest, source: super::PlaceError) -> MirrorError {
        MirrorError::Place { digest: *digest, source }
    }
}

/// The manifests of all images in the order in which they are written: level by level, children before parents, each once for a
/// place.
fn levels(loads: &[Load]) -> Vec<Vec<(usize, Digest)>> {
    let mut seen = HashSet::new();
    let mut levels: Vec<Vec<(usize, Digest)>> = Vec::new();
    for (at, load) in loads.iter().enumerate() {
        let mut ranks = HashMap::new();
        for (digest, _) in load.image.manifests.iter() {
            let rank = rank(&load.image, digest, &mut ranks, 0);
            if seen.insert((load.place, *digest)) {
                levels.resize(levels.len().max(rank + 1), Vec::new());
                levels[rank].push((at, *digest));
            }
        }
    }
    levels
}

/// How many levels of manifests a manifest stands above. Beyond any real depth the order is of no help.
fn rank(image: &Image, digest: &Digest, ranks: &mut HashMap<Digest, usize>, depth: usize) -> usize {
    const DEPTH: usize = 32;
    if let Some(rank) = ranks.get(digest) {
        return *rank;
    }
    let children = image.manifests.get(digest).map(|node| &node.children[..]).unwrap_or_default();
    let below = children.iter().filter(|_| depth < DEPTH);
    let rank = below.map(|child| rank(image, child, ranks, depth + 1) + 1).max().unwrap_or(0);
    ranks.insert(*digest, rank);
    rank
}
