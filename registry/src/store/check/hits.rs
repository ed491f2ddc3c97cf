//! Which repositories and tags are hit by what was found.
//!
//! In: the findings about contents. Out: the same with the repositories that link or name them and the tags that lead to
//! them, through indexes too. What must hold: nothing is read when nothing was found.

use std::collections::HashSet;

use format_spec::{Repository, Tag};

use super::super::StoreError;
use super::super::lists::names;
use super::tree::Stored;
use super::{Checking, Hits};
use crate::content::ContentDigest;

impl Checking<'_> {
    /// Fills in repositories and tags.
    pub(super) fn hits(&mut self) -> Result<(), StoreError> {
        let contents = self.findings.contents();
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
        let mut hits = Hits::of(contents);
        for name in names(&self.store.manifests(repository))? {
            let Ok(digest) = ContentDigest::from_hex(&name) else { continue };
            match self.store.stored(repository, &digest) {
                Stored::Good(manifest) => hits.manifest(digest, Some(&manifest)),
                _ => hits.manifest(digest, None),
            }
        }
        let mut tags = Vec::new();
        for name in names(&self.store.tags_dir(repository))? {
            let Ok(tag) = name.parse::<Tag>() else { continue };
            let digest = self.store.resolve_tag(repository, &tag)?;
            tags.extend(digest.map(|digest| (tag, digest)));
        }
        let links = self.store.links(repository);
        let linked = |digest: &ContentDigest| links.join(digest.hex()).exists();
        self.findings.hit(repository, hits, &linked, tags);
        Ok(())
    }
}
