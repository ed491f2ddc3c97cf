//! What is attached to images that go, and so goes with them: signatures, attestations, referrers, that imports brought.
//!
//! In: the names of one repository, those that are to go first. Out: names of what is attached to what goes and to nothing
//! that stays, with what they are attached to. What must hold: what cannot be read stays.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use format_spec::{Digest, Repository};
use registry::reference::ManifestRef;

use crate::error::ImportError;
use crate::limits::MANIFESTS_READ;
use crate::paths::Destination;
use crate::prune::{self, Ever, Links};
use crate::survey::ask;

/// The names of a repository.
type Here = BTreeMap<ManifestRef, BTreeSet<Digest>>;

/// Finds them. `going`: digests of names that went in an earlier run that was stopped.
pub(super) async fn find(
    at: &Destination,
    place: &Repository,
    (standing, wanted): (&Here, &BTreeSet<ManifestRef>),
    going: impl Iterator<Item = Digest>,
    ever: &Ever,
) -> Result<BTreeMap<ManifestRef, Digest>, ImportError> {
    let mut subjects: BTreeMap<&ManifestRef, Option<Digest>> = BTreeMap::new();
    let (mut gone, mut kept): (Vec<Digest>, Vec<Digest>) = (going.collect(), Vec::new());
    let mut unread = Vec::new();
    for (name, digests) in standing {
        match name {
            _ if wanted.contains(name) => gone.extend(digests),
            // Every image has a tag at the target; what has none is attached to one.
            ManifestRef::Digest(digest) => unread.push((name, *digest)),
            ManifestRef::Tag(tag) => match prune::subject_of(tag) {
                Some((subject, _)) if !digests.contains(&subject) => {
                    subjects.insert(name, Some(subject));
                }
                _ => kept.extend(digests),
            },
        }
    }
    if subjects.is_empty() && unread.is_empty() {
        return Ok(BTreeMap::new());
    }
    let mut links: HashMap<Digest, Links> = HashMap::new();
    let attached: BTreeSet<Digest> = unread.iter().map(|(_, digest)| *digest).collect();
    read(at, place, attached, &mut links).await?;
    for (name, digest) in unread {
        subjects.insert(name, links.get(&digest).and_then(|links| links.subject));
    }
    // Signatures are of indexes and of their children.
    let is_index = |one: &Digest| ever.manifests.get(one).is_none_or(|index| *index);
    let mut next: BTreeSet<Digest> = gone.iter().chain(&kept).copied().filter(is_index).collect();
    while !next.is_empty() {
        let level = std::mem::take(&mut next);
        read(at, place, level.clone(), &mut links).await?;
        let children = level.iter().filter_map(|one| links.get(one)).flat_map(|one| &one.children);
        next.extend(children.copied().filter(is_index).filter(|one| !links.contains_key(one)));
    }
    let reach = |from: &[Digest]| {
        let (mut reached, mut next) = (BTreeSet::new(), from.to_vec());
        while let Some(one) = next.pop() {
            if reached.insert(one) {
                next.extend(links.get(&one).into_iter().flat_map(|links| &links.children));
            }
        }
        reached
    };
    // What is attached may have something attached to it in turn.
    loop {
        let (stays, goes) = (reach(&kept), reach(&gone));
        let before = (kept.len(), gone.len());
        for (name, subject) in &subjects {
            let digests = &standing[*name];
            let to = match subject {
                Some(subject) if stays.contains(subject) => &mut kept,
                Some(subject) if goes.contains(subject) => &mut gone,
                _ => continue,
            };
            to.extend(digests.iter().filter(|one| !stays.contains(one) && !goes.contains(one)));
        }
        if before == (kept.len(), gone.len()) {
            let names = subjects.into_iter().filter_map(|(name, subject)| {
                let subject = subject.filter(|one| goes.contains(one) && !stays.contains(one))?;
                Some((name.clone(), subject))
            });
            return Ok(names.collect());
        }
    }
}

/// Reads what manifests name; what is not there or cannot be read names nothing.
async fn read(
    at: &Destination,
    place: &Repository,
    digests: BTreeSet<Digest>,
    links: &mut HashMap<Digest, Links>,
) -> Result<(), ImportError> {
    let unknown = digests.into_iter().filter(|one| !links.contains_key(one));
    let found = ask(unknown.collect::<Vec<_>>(), MANIFESTS_READ, |digest| {
        Box::pin(async move { Ok((digest, prune::read_links(at, place, digest).await?)) })
    });
    links.extend(
        found.await?.into_iter().map(|(digest, found)| (digest, found.unwrap_or_default())),
    );
    Ok(())
}
