//! What can be taken away from one repository of a target: a plan as a value, from what the repository has and what the
//! records say. No request is made here.
//!
//! What must hold: nothing goes that a name reaches which stands, of any stream, or a tag that somebody else made or moved;
//! only what imports brought goes. An image that only somebody else's tag holds keeps its signatures. Indexes go before
//! what they name, so that at no time one stands without its children.

use std::collections::{BTreeMap, BTreeSet};

use format_spec::{Digest, Tag};
use registry::reference::ManifestRef;

/// What a manifest names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Links {
    /// The children of an index.
    pub(crate) children: Vec<Digest>,
    /// What it is attached to.
    pub(crate) subject: Option<Digest>,
    /// Its configuration and layers, with their sizes.
    pub(crate) blobs: Vec<(Digest, u64)>,
}

/// What a repository has, as far as it matters.
#[derive(Debug, Clone, Default)]
pub(crate) struct Found {
    /// Its tags and what each stands for.
    pub(crate) tags: BTreeMap<Tag, Digest>,
    /// Manifests that were read. What is not here has no children, or is not there.
    pub(crate) links: BTreeMap<Digest, Links>,
    /// Candidates that are there.
    pub(crate) there: BTreeSet<Digest>,
}

/// What is asked of a repository.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asked {
    /// Names that stand.
    pub(crate) standing: BTreeMap<ManifestRef, BTreeSet<Digest>>,
    /// Tags that no longer stand, with the digests that imports gave them.
    pub(crate) gone: BTreeMap<Tag, BTreeSet<Digest>>,
    /// Manifests that may go.
    pub(crate) candidates: BTreeSet<Digest>,
    /// Tags that will be others, or gone, by the time that this is done: what they stand for now says nothing.
    pub(crate) settled: BTreeSet<Tag>,
}

/// What is to be taken away.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Tags, with what they stand for and whether that stays.
    pub(crate) tags: BTreeMap<Tag, (Digest, bool)>,
    /// Manifests, each before what it names.
    pub(crate) manifests: Vec<Digest>,
    /// Tags that left, and stand for what no import gave them: somebody else's by now.
    pub(crate) moved: Vec<Tag>,
}

/// Which manifests are held by a tag that is not going.
pub(crate) fn holding<'a>(found: &'a Found, asked: &'a Asked) -> impl Iterator<Item = Digest> + 'a {
    let tags = found.tags.iter().filter(|(tag, digest)| {
        !asked.settled.contains(*tag)
            && !is_going(asked, tag, digest)
            && list_of(asked, tag, digest).is_none()
    });
    tags.map(|(_, digest)| *digest)
}

fn is_going(asked: &Asked, tag: &Tag, digest: &Digest) -> bool {
    asked.gone.get(tag).is_some_and(|given| given.contains(digest))
}

/// The subject of a list of referrers, `sha256-<hex>`; with `.sig` and the like behind it, of a signature.
pub(crate) fn subject_of(tag: &Tag) -> Option<(Digest, &str)> {
    let rest = tag.as_str().strip_prefix("sha256-")?;
    let (hex, suffix) = rest.split_at_checked(64)?;
    let subject = format!("sha256:{hex}").parse().ok()?;
    (suffix.is_empty() || suffix.starts_with('.')).then_some((subject, suffix))
}

/// The subject of which this tag, which no import set, lists the referrers. An image may have its own digest as its tag.
fn list_of(asked: &Asked, tag: &Tag, digest: &Digest) -> Option<Digest> {
    let (subject, suffix) = subject_of(tag)?;
    let recorded = asked.gone.contains_key(tag) || asked.standing.contains_key(&tag.clone().into());
    (suffix.is_empty() && subject != *digest && !recorded).then_some(subject)
}

/// Whether a list of referrers stays: one of them does, or it is no list.
fn list_stays(
    found: &Found,
    asked: &Asked,
    kept: &BTreeSet<Digest>,
    (subject, list): (Digest, &Digest),
) -> bool {
    let Some(links) = found.links.get(list).filter(|links| !links.children.is_empty()) else {
        return true;
    };
    let goes = |one: &Digest| {
        let attached = found.links.get(one).is_none_or(|links| links.subject == Some(subject));
        attached && asked.candidates.contains(one) && !kept.contains(one)
    };
    !links.children.iter().all(goes)
}

/// Makes the plan.
pub(crate) fn plan(found: &Found, asked: &Asked) -> Plan {
    // By the records.
    let mut stands = BTreeSet::new();
    reach(found, &mut stands, asked.standing.values().flatten().copied());
    // By everything else that is not going.
    let mut kept = stands.clone();
    reach(found, &mut kept, holding(found, asked));
    let mut stay: BTreeSet<&Tag> = BTreeSet::new();
    loop {
        let before = (kept.len(), stay.len());
        // What is attached to an image that only others hold stays with it.
        let others = |subject: &Digest| kept.contains(subject) && !stands.contains(subject);
        let attached = asked.candidates.iter().filter(|candidate| {
            let subject = found.links.get(candidate).and_then(|links| links.subject);
            subject.is_some_and(|subject| others(&subject))
        });
        let mut more: Vec<Digest> = attached.copied().collect();
        for (tag, digest) in &found.tags {
            if asked.settled.contains(tag) || stay.contains(tag) {
                continue;
            }
            let stays = if is_going(asked, tag, digest) {
                subject_of(tag).is_some_and(|(subject, _)| others(&subject))
            } else {
                let subject = list_of(asked, tag, digest);
                subject.is_some_and(|subject| list_stays(found, asked, &kept, (subject, digest)))
            };
            if stays {
                stay.insert(tag);
                more.push(*digest);
            }
        }
        reach(found, &mut kept, more.into_iter());
        if before == (kept.len(), stay.len()) {
            break;
        }
    }
    let mut going: BTreeSet<Digest> =
        asked.candidates.intersection(&found.there).copied().collect();
    let mut plan = Plan::default();
    for (tag, digest) in &found.tags {
        if asked.settled.contains(tag) || stay.contains(tag) {
            continue;
        }
        if is_going(asked, tag, digest) || list_of(asked, tag, digest).is_some() {
            plan.tags.insert(tag.clone(), (*digest, kept.contains(digest)));
            going.insert(*digest);
        } else if asked.gone.contains_key(tag) {
            plan.moved.push(tag.clone());
        }
    }
    going.retain(|digest| !kept.contains(digest));
    plan.manifests = parents_first(found, &going);
    plan
}

/// Adds to `reached` what is reached from `roots`.
pub(crate) fn reach(
    found: &Found,
    reached: &mut BTreeSet<Digest>,
    roots: impl Iterator<Item = Digest>,
) {
    let mut next: Vec<Digest> = roots.collect();
    while let Some(digest) = next.pop() {
        if reached.insert(digest)
            && let Some(links) = found.links.get(&digest)
        {
            next.extend(&links.children);
        }
    }
}

/// Each manifest before its children and before what it is attached to.
fn parents_first(found: &Found, going: &BTreeSet<Digest>) -> Vec<Digest> {
    let names = |digest: &Digest| {
        let links = found.links.get(digest);
        let named = links.into_iter().flat_map(|links| links.children.iter().chain(&links.subject));
        let named: BTreeSet<Digest> = named.copied().filter(|one| going.contains(one)).collect();
        named
    };
    let mut named_by: BTreeMap<Digest, usize> = going.iter().map(|one| (*one, 0)).collect();
    for one in going.iter().flat_map(&names) {
        *named_by.entry(one).or_default() += 1;
    }
    let mut ready: Vec<Digest> =
        named_by.iter().filter(|(_, count)| **count == 0).map(|(one, _)| *one).collect();
    let mut ordered = Vec::with_capacity(going.len());
    while let Some(one) = ready.pop() {
        ordered.push(one);
        for child in names(&one) {
            let count = named_by.entry(child).or_default();
            *count = count.saturating_sub(1);
            if *count == 0 {
                ready.push(child);
            }
        }
    }
    ordered
}

#[cfg(test)]
mod tests {
    use proptest::collection::{btree_map, btree_set, vec};
    use proptest::prelude::*;

    use super::*;

    const COUNT: usize = 8;

    fn digest(number: usize) -> Digest {
        Digest::of(&[u8::try_from(number).unwrap()])
    }

    /// Some are as registries name signatures and lists of referrers.
    fn tag(number: usize) -> Tag {
        let hex = digest(number % COUNT).hex();
        let text = match number / COUNT {
            0 => format!("t{number}"),
            1 => format!("sha256-{hex}"),
            _ => format!("sha256-{hex}.sig"),
        };
        text.parse().unwrap()
    }

    fn digests(numbers: BTreeSet<usize>) -> BTreeSet<Digest> {
        numbers.into_iter().map(digest).collect()
    }

    prop_compose! {
        /// What a repository has: each manifest names earlier ones only.
        fn found()(
            links in vec((btree_set(0..COUNT, 0..3), proptest::option::of(0..COUNT)), COUNT),
            tags in btree_map(0..3 * COUNT, 0..COUNT, 0..10),
            there in btree_set(0..COUNT, 0..=COUNT),
        ) -> Found {
            let link = |(number, (children, subject)): (usize, (BTreeSet<usize>, Option<usize>))| {
                let earlier = |one: &usize| *one < number;
                let children = children.into_iter().filter(earlier).map(digest).collect();
                let subject = subject.filter(earlier).map(digest);
                (digest(number), Links { children, subject, blobs: Vec::new() })
            };
            Found {
                tags: tags.into_iter().map(|(name, of)| (tag(name), digest(of))).collect(),
                links: links.into_iter().enumerate().map(link).collect(),
                there: digests(there),
            }
        }
    }

    prop_compose! {
        fn asked()(
            standing in btree_map(0..3 * COUNT, btree_set(0..COUNT, 1..3), 0..6),
            by_digest in btree_set(0..COUNT, 0..3),
            gone in btree_map(0..3 * COUNT, btree_set(0..COUNT, 1..3), 0..8),
            candidates in btree_set(0..COUNT, 0..=COUNT),
            settled in btree_set(0..3 * COUNT, 0..3),
        ) -> Asked {
            let mut all: BTreeMap<ManifestRef, BTreeSet<Digest>> =
                standing.into_iter().map(|(name, of)| (tag(name).into(), digests(of))).collect();
            for one in by_digest {
                all.insert(digest(one).into(), BTreeSet::from([digest(one)]));
            }
            let gone = gone.into_iter().map(|(name, given)| (tag(name), digests(given)));
            Asked {
                gone: gone.filter(|(name, _)| !all.contains_key(&name.clone().into())).collect(),
                standing: all,
                candidates: digests(candidates),
                settled: settled.into_iter().map(tag).collect(),
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        #[test]
        fn nothing_goes_that_a_name_reaches(found in found(), asked in asked()) {
            let plan = plan(&found, &asked);
            let mut kept = BTreeSet::new();
            reach(&found, &mut kept, asked.standing.values().flatten().copied());
            let stay = found.tags.iter().filter(|(name, _)| {
                !plan.tags.contains_key(*name) && !asked.settled.contains(*name)
            });
            reach(&found, &mut kept, stay.map(|(_, of)| *of));
            for one in &plan.manifests {
                prop_assert!(!kept.contains(one), "{one} goes");
            }
            for (name, (of, stays)) in &plan.tags {
                prop_assert_eq!(found.tags.get(name), Some(of));
                prop_assert!(!asked.standing.contains_key(&name.clone().into()), "{} goes", name);
                prop_assert!(!asked.settled.contains(name));
                // What it stands for goes too, or is kept by something else.
                prop_assert_eq!(*stays, !plan.manifests.contains(of), "{}", name);
            }
            // Only what was asked for, and what a tag that goes stands for; each once, before what it names.
            let of_tags: BTreeSet<Digest> = plan.tags.values().map(|(of, _)| *of).collect();
            for (at, one) in plan.manifests.iter().enumerate() {
                prop_assert!(asked.candidates.contains(one) || of_tags.contains(one));
                prop_assert!(!plan.manifests[..at].contains(one));
                let links = &found.links[one];
                for named in links.children.iter().chain(&links.subject) {
                    prop_assert!(!plan.manifests[..at].contains(named), "{named} before {one}");
                }
            }
        }
    }
}
