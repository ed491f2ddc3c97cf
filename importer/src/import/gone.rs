//! What a person deleted at the target stays away when the last sequence is imported once more.
//!
//! In: the work of a sequence that the target has, and the names that were deleted after it. Out: the same work without
//! those names and without what only they need. Nothing of the medium is read unless something was deleted.

use std::collections::{BTreeSet, HashMap, HashSet};

use format_spec::head::Kind;
use format_spec::index::RepositoryId;
use format_spec::{Digest, Repository, Tag};
use registry::manifest::Manifest;
use registry::reference::ManifestRef;

use crate::deleted::Name;
use crate::prune::{Links, links};
use crate::survey::Work;
use crate::verify::Verified;

/// Says which images come again by a sequence without what was deleted with them, as no later sequence repeats what an
/// earlier one brought.
pub(super) fn told(verified: &Verified, deleted: &[Name], target: &str) -> Option<String> {
    let index = &verified.index;
    let attached: HashMap<(&Repository, Digest), &Name> =
        deleted.iter().filter_map(|name| Some(((&name.repository, name.subject?), name))).collect();
    if attached.is_empty() {
        return None;
    }
    let set: HashSet<_> = index
        .references
        .iter()
        .map(|entry| (index.repository(entry.repository), entry.tag.as_ref(), entry.digest))
        .collect();
    let places = index.manifests.iter().flat_map(|entry| {
        entry.repositories.iter().map(|id| (index.repository(*id), entry.digest))
    });
    let lost: BTreeSet<_> = places
        .filter(|place| {
            let brings = |name: &&Name| set.contains(&(place.0, name.tag.as_ref(), name.digest));
            attached.get(place).is_some_and(|name| !brings(name))
        })
        .collect();
    let (repository, digest) = lost.first()?;
    let more = match lost.len() - 1 {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Some(format!(
        "`{repository}@{digest}`{more} came to {target} without the signatures that were deleted there with it: the next \
         sequence of `bundle create --full` brings them"
    ))
}

/// Says which names were deleted since the sequence before this one, or since this one, and do not come by it: the connected side
/// counts them as there.
pub(super) fn away(verified: &Verified, deleted: &[Name], target: &str) -> Option<String> {
    if deleted.is_empty() {
        return None;
    }
    let (head, index) = (&verified.head, &verified.index);
    let here = head.sequence;
    let references = index.references.iter().map(|one| (one.repository, &one.tag));
    let removals = index.removals.iter().map(|one| (one.repository, &one.tag));
    let all = references.chain(removals);
    let touched: HashSet<(&Repository, &Option<Tag>)> =
        all.map(|(id, tag)| (index.repository(id), tag)).collect();
    let is_away = |name: &&Name| match name.after {
        after if after == here => true,
        // A full sequence that could have everything names all that is asked for.
        after if after.next() == Some(here) => {
            let whole = head.kind == Kind::Full && head.failures.is_empty();
            !whole && !touched.contains(&(&name.repository, &name.tag))
        }
        _ => false,
    };
    let own = deleted.iter().filter(|name| name.subject.is_none() && name.tag.is_some());
    let away: Vec<&Name> = own.filter(is_away).collect();
    let first = away.first()?;
    let more = match away.len() - 1 {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let tag = first.tag.as_ref().map(|tag| format!(":{tag}")).unwrap_or_default();
    Some(format!(
        "deleted at {target} and not brought again: `{}{tag}`{more}, which earlier sequences set; take out of the configuration what is \
         not to be there; the next sequence that is made with `--full` brings the rest",
        first.repository
    ))
}

/// Takes it out of the work.
pub(super) fn leave_out(work: &mut Work, verified: &Verified, deleted: &[Name]) {
    let index = &verified.index;
    let gone: HashSet<_> = deleted
        .iter()
        .filter(|name| name.after == verified.head.sequence)
        .map(|name| (&name.repository, name.name()))
        .collect();
    if gone.is_empty() || work.is_nothing() {
        return;
    }
    let is_gone = |number: usize| {
        let entry = &index.references[number];
        let name = entry.tag.clone().map_or(ManifestRef::Digest(entry.digest), ManifestRef::Tag);
        gone.contains(&(index.repository(entry.repository), name))
    };
    let mut manifests: HashMap<Digest, Links> = HashMap::new();
    for entry in &index.manifests {
        let Ok(bytes) = verified.content.manifest(entry) else { continue };
        if let Ok(manifest) = Manifest::parse(&bytes, Some(&entry.media_type)) {
            manifests.insert(entry.digest, links(&manifest));
        }
    }
    let reach = |wanted: &dyn Fn(usize) -> bool| {
        let roots = index.references.iter().enumerate().filter(|(number, _)| wanted(*number));
        let mut next: Vec<(RepositoryId, Digest)> =
            roots.map(|(_, entry)| (entry.repository, entry.digest)).collect();
        let mut reached = HashSet::new();
        while let Some((id, digest)) = next.pop() {
            if reached.insert((id, digest)) {
                let children = manifests.get(&digest).into_iter().flat_map(|links| &links.children);
                next.extend(children.map(|child| (id, *child)));
            }
        }
        reached
    };
    let (stay, go) = (reach(&|number| !is_gone(number)), reach(&is_gone));
    let blobs = |of: &HashSet<(RepositoryId, Digest)>| -> HashSet<(RepositoryId, Digest)> {
        let blobs = |(id, digest): &(RepositoryId, Digest)| {
            let blobs = manifests.get(digest).into_iter().flat_map(|links| &links.blobs);
            blobs.map(|(blob, _)| (*id, *blob)).collect::<Vec<_>>()
        };
        of.iter().flat_map(blobs).collect()
    };
    let (blobs_stay, blobs_go) = (blobs(&stay), blobs(&go));
    let only_theirs = |id: RepositoryId, blob: Digest| {
        blobs_go.contains(&(id, blob)) && !blobs_stay.contains(&(id, blob))
    };
    work.tags.retain(|number| !is_gone(*number));
    work.manifests.retain(|(number, id)| {
        let one = (*id, index.manifests[*number].digest);
        !go.contains(&one) || stay.contains(&one)
    });
    for (needs, digest) in [
        (&mut work.blobs, &(|n: usize| index.blobs[n].digest) as &dyn Fn(usize) -> Digest),
        (&mut work.required, &|n: usize| index.required[n].digest),
    ] {
        for need in needs.iter_mut() {
            need.lack.retain(|id| !only_theirs(*id, digest(need.blob)));
        }
        needs.retain(|need| !need.lack.is_empty());
    }
}
