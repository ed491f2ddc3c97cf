//! Which repositories and tags are hit by what was found.
//!
//! In: the findings about contents. Out: the same with the repositories that link or name them and the tags that lead to
//! them, through indexes too. What must hold: nothing is read when nothing was found; a list in a finding is bounded and
//! its number is not.

use std::collections::{HashMap, HashSet};

use format_spec::{Repository, Tag};

use super::super::StoreError;
use super::super::lists::names;
use super::tree::Stored;
use super::{Checking, Finding, FindingKind};
use crate::content::ContentDigest;

impl Checking<'_> {
    /// Fills in repositories and tags.
    pub(super) fn hits(&mut self) -> Result<(), StoreError> {
        let contents: HashSet<ContentDigest> = self
            .found
            .values()
            .filter(|finding| finding.kind.is_damage() && finding.kind != FindingKind::TagDamaged)
            .filter_map(|finding| finding.digest)
            .collect();
        if contents.is_empty() {
            return Ok(());
        }
        let store = self.store;
        store.each_repository(
            &mut |repository| match self.stopped() {
                true => Ok(()),
                false => self.hits_in(repository, &contents),
            },
            &mut |_| {},
        )
    }

    fn hits_in(
        &mut self,
        repository: &Repository,
        contents: &HashSet<ContentDigest>,
    ) -> Result<(), StoreError> {
        // For each manifest here that is hit, by what; from the contents up to the indexes.
        let mut hit: HashMap<ContentDigest, HashSet<ContentDigest>> = HashMap::new();
        let mut parents: Vec<(ContentDigest, Vec<ContentDigest>)> = Vec::new();
        for name in names(&self.store.manifests(repository))? {
            let Ok(digest) = ContentDigest::from_hex(&name) else { continue };
            if contents.contains(&digest) {
                hit.entry(digest).or_default().insert(digest);
            }
            let Stored::Good(manifest) = self.store.stored(repository, &digest) else { continue };
            let by: Vec<ContentDigest> = manifest
                .blobs()
                .into_iter()
                .map(|blob| blob.digest)
                .filter(|blob| contents.contains(blob))
                .collect();
            if !by.is_empty() {
                hit.entry(digest).or_default().extend(by);
            }
            let children: Vec<ContentDigest> =
                manifest.children().iter().map(|child| child.digest).collect();
            if !children.is_empty() {
                parents.push((digest, children));
            }
        }
        // Indexes of indexes are as deep as they are; each round goes up one level.
        for _ in 0..parents.len() {
            let mut grew = false;
            for (parent, children) in &parents {
                let by: HashSet<ContentDigest> =
                    children.iter().filter_map(|child| hit.get(child)).flatten().copied().collect();
                if !by.is_empty() {
                    let of_parent = hit.entry(*parent).or_default();
                    let before = of_parent.len();
                    of_parent.extend(by);
                    grew |= of_parent.len() > before;
                }
            }
            if !grew {
                break;
            }
        }
        let named: HashSet<ContentDigest> = hit.values().flatten().copied().collect();
        let links = self.store.links(repository);
        // The others were found in a repository.
        let bytes = |finding: &&mut Finding| finding.kind == FindingKind::BlobDamaged;
        for finding in self.found.values_mut().filter(bytes) {
            let Some(digest) = finding.digest else { continue };
            if named.contains(&digest) || links.join(digest.hex()).exists() {
                finding.hit_repository(repository);
            }
        }
        for name in names(&self.store.tags_dir(repository))? {
            let Ok(tag) = name.parse::<Tag>() else { continue };
            let Some(digest) = self.store.resolve_tag(repository, &tag)? else { continue };
            let by = hit.get(&digest);
            for finding in self.found.values_mut() {
                let Some(of) = finding.digest else { continue };
                let here = finding.repositories.iter().any(|one| one == repository.as_str())
                    || finding.repositories.len() >= super::NAMED_MAX;
                let dangling = finding.kind == FindingKind::TagDangling;
                if here && !dangling && by.is_some_and(|by| by.contains(&of)) {
                    finding.hit_tag(repository, tag.as_str());
                }
            }
        }
        Ok(())
    }
}
