//! A release is carried whole or not at all.
//!
//! In: what was resolved, and which images each release needs. Out: what was resolved without the releases that miss one, with
//! a failure for each; and the resources that stand. What must hold: no release image comes to the target while one of its
//! components does not; what an earlier sequence stated stands on while something could not be had, as its names do.

use std::collections::{BTreeMap, HashSet};

use format_spec::Tag;
use format_spec::head::{ContentClass, Failure};
use format_spec::index::Resource;

use crate::destination::Destination;
use crate::report;
use crate::resolve::Resolved;

/// One release: what belongs to it.
#[derive(Debug, Clone)]
pub struct Release {
    /// The release image, by digest.
    pub name: String,
    /// Its tag at the target.
    pub tag: Tag,
    /// Whether nobody trusted has signed it.
    pub unsigned: bool,
    /// What the other side is told of it.
    pub resources: Vec<Resource>,
    /// Its images, the release image first: where each comes from and what it is called at the target.
    pub members: Vec<(String, Destination)>,
}

/// The first part of the names of resources that stand here: those of releases, and of their signatures.
pub(super) const RELEASE_KIND: &str = "release/";
const KINDS: [&str; 2] = [RELEASE_KIND, "release-signature/"];

/// Takes releases that miss an image out, and sets the resources. Done again whenever images were dropped.
pub fn settle(releases: &[Release], resolved: &mut Resolved, standing: &[Resource]) {
    let blocked: HashSet<&String> = resolved.blocked.iter().map(|(name, _)| name).collect();
    let there: HashSet<&Destination> =
        resolved.images.iter().map(|image| &image.destination).collect();
    let missing = |release: &Release| {
        let gone =
            |(name, to): &&(String, Destination)| !there.contains(to) && !blocked.contains(name);
        release.members.iter().filter(gone).count()
    };
    let missing: Vec<usize> = releases.iter().map(missing).collect();
    // One that is blocked as a whole is told as such, and its components are of no use.
    let present =
        |release: &Release| release.members.first().is_some_and(|(_, own)| there.contains(own));
    let stands: Vec<bool> =
        releases.iter().zip(&missing).map(|(r, missing)| *missing == 0 && present(r)).collect();
    let of = |whole: bool| {
        let chosen = releases.iter().zip(&stands).filter(move |(_, stands)| **stands == whole);
        chosen.flat_map(|(release, _)| release.members.iter().map(|(_, to)| to.clone()))
    };
    let kept: HashSet<Destination> = of(true).collect();
    let mut dropped: HashSet<Destination> = of(false).collect();
    dropped.retain(|to| !kept.contains(to));
    resolved.images.retain(|image| {
        image.class != ContentClass::Release || !dropped.contains(&image.destination)
    });
    for (release, missing) in releases.iter().zip(missing) {
        let told = resolved.failures.iter().any(|failure| failure.reference == release.name);
        if missing > 0 && !told {
            let count = release.members.len();
            let reason = format!(
                "release {} is not carried: {missing} of its {count} images could not be had",
                release.tag
            );
            // Before those of its images, of which there may be hundreds.
            let (reference, class) = (release.name.clone(), ContentClass::Release);
            resolved.failures.insert(0, Failure { reference, class, reason });
            resolved.causes.insert(0, None);
        }
    }
    let whole = || releases.iter().zip(&stands).filter(|(_, stands)| **stands).map(|(r, _)| r);
    resolved.releases = whole()
        .map(|release| report::Release {
            tag: release.tag.to_string(),
            image: release.name.clone(),
            images: release.members.len(),
            signed: !release.unsigned,
        })
        .collect();
    let mut resources: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let mut add = |resource: &Resource| {
        resources.entry(resource.name.clone()).or_insert_with(|| resource.content.clone());
    };
    let ours = |resource: &&Resource| KINDS.iter().any(|kind| resource.name.starts_with(kind));
    resolved.resources.iter().filter(|resource| !ours(resource)).for_each(&mut add);
    whole().flat_map(|release| &release.resources).for_each(&mut add);
    // A name whose source failed this time stays at the target, and what belongs to it too.
    if !resolved.failures.is_empty() {
        standing.iter().for_each(&mut add);
    }
    let resources = resources.into_iter().map(|(name, content)| Resource { name, content });
    resolved.resources = resources.collect();
}
