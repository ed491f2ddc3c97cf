//! One repository: its manifests, its links to blobs, and what removals left of it.
//!
//! In: the name of a repository. Out: what it let go of. What must hold: each thing is taken away under the condition
//! that it is still the one that was found old.

use std::collections::HashSet;

use format_spec::{Repository, Tag};
use futures_util::{StreamExt, TryStreamExt, stream};
use object_store::ObjectMeta;

use super::super::hold::{There, is_going};
use super::super::keys;
use super::super::limits::{ASIDE, SMALL_MAX};
use super::super::manifests::{STORED_MAX, tag_text, without_word};
use super::{Halt, Run};
use crate::content::ContentDigest;
use crate::outline::Outline;
use crate::parsing;
use crate::store::collect::Named;
use crate::store::collect::mark::{self, Key, Node, Unreadable};
use crate::store::collect::pins::Here;
use crate::store::collect::sweep::Fate;
use crate::store::{LetGo, StoreError, StoredManifest};

/// A manifest of the repository as it was read.
struct Found {
    node: Node,
    meta: ObjectMeta,
}

/// What reading one manifest came to.
enum Read {
    Whole(Box<Found>),
    Going(String, ObjectMeta),
    Absent,
    Unreadable(Unreadable),
}

/// The last component of a key as a digest.
pub(super) fn digest_of(key: &str) -> Option<ContentDigest> {
    key.rsplit_once('/').and_then(|(_, hex)| ContentDigest::from_hex(hex).ok())
}

impl Run<'_> {
    pub(super) async fn repository(&mut self, name: &str, pins: &Here<'_>) -> Result<(), Halt> {
        let mut let_go = LetGo { repository: name.to_owned(), ..LetGo::default() };
        // What no request can name is not ours to judge.
        let Ok(repository) = name.parse::<Repository>() else {
            return self
                .links(&format!("repositories/{name}/_blobs"), None, pins, &mut let_go)
                .await;
        };
        let kept = match self.manifests(&repository, pins, &mut let_go).await? {
            Ok(kept) => Some(kept),
            Err(what) => {
                self.unreadable(what);
                None
            }
        };
        let named = kept.as_ref().map(|(kept, used)| {
            let all = kept.iter().flat_map(|node| node.named.iter().copied()).collect();
            let stays = |node: &&Node| {
                used.as_ref().is_none_or(|used| used.contains(&Key::of(&node.digest)))
            };
            let used = kept.iter().filter(stays).flat_map(|node| node.named.iter().copied());
            Named { all, used: used.collect() }
        });
        self.links(&keys::links(&repository), named.as_ref(), pins, &mut let_go).await?;
        if let Some((kept, _)) = &kept {
            self.leftovers(&repository, kept).await?;
        }
        if kept.as_ref().is_none_or(|(kept, _)| !kept.is_empty()) {
            self.holding.insert(name.to_owned());
        }
        if let_go.manifests + let_go.links > 0 {
            self.done.repositories.push(let_go);
        }
        Ok(())
    }

    /// Reads the manifests of a repository and removes those that may go; returns the others, and which of them stay for
    /// more than an imported sequence where that was looked at.
    async fn manifests(
        &mut self,
        repository: &Repository,
        pins: &Here<'_>,
        let_go: &mut LetGo,
    ) -> Result<Result<(Vec<Node>, Option<HashSet<Key>>), Unreadable>, Halt> {
        let prefix = keys::manifests(repository);
        let list = self.objects.bucket.list(&prefix, None)?;
        let objects = self.objects;
        let mut reads = list
            .map_ok(|meta| async move {
                let key = objects.bucket.key(&meta);
                // Not a manifest, whoever put it there.
                let Some(digest) = digest_of(&key) else { return Ok(Read::Absent) };
                let _turn = parsing::turn(usize::try_from(meta.size).unwrap_or(usize::MAX)).await;
                read(objects.look(&key, STORED_MAX).await, key, digest)
            })
            .try_buffer_unordered(ASIDE);
        let mut found = Vec::new();
        let mut going = Vec::new();
        while let Some(read) = reads.try_next().await? {
            match read {
                Read::Whole(whole) => found.push(*whole),
                Read::Going(key, meta) => going.push((key, meta)),
                Read::Absent => {}
                Read::Unreadable(what) => return Ok(Err(what)),
            }
        }
        drop(reads);
        for (key, meta) in going {
            self.finish(&key, &meta).await?;
        }
        let (gone, used) = match self.how.untagged {
            true => match self.tagged(repository).await? {
                Ok(tagged) => {
                    let (gone, used) = self.untagged(repository, pins, &found, tagged).await?;
                    (gone, Some(used))
                }
                Err(what) => return Ok(Err(what)),
            },
            false => (HashSet::new(), None),
        };
        let mut kept = Vec::new();
        for (at, found) in found.into_iter().enumerate() {
            if gone.contains(&at) {
                let_go.manifests += 1;
                self.done.manifests.add(&Fate::Removed, found.node.size);
            } else {
                self.done.manifests.kept_bytes += found.node.size;
                if !self.how.untagged {
                    self.done.manifests.kept.named += 1;
                }
                kept.push(found.node);
            }
        }
        Ok(Ok((kept, used)))
    }

    /// What the tags of a repository stand for.
    async fn tagged(
        &self,
        repository: &Repository,
    ) -> Result<Result<HashSet<Key>, Unreadable>, Halt> {
        let objects = self.objects;
        let list = objects.bucket.list(&keys::tags(repository), None)?;
        let mut tags = list
            .map_ok(|meta| async move {
                let key = objects.bucket.key(&meta);
                let there = objects.look(&key, SMALL_MAX).await?;
                Ok::<_, StoreError>((key, there))
            })
            .try_buffer_unordered(ASIDE);
        let mut tagged = HashSet::new();
        while let Some((key, there)) = tags.try_next().await? {
            let There::Object(text, _) = there else { continue };
            match tag_text(&text) {
                Some(digest) => tagged.insert(Key::of(&digest)),
                None => return Ok(Err(Unreadable(format!("{key}: the tag is damaged")))),
            };
        }
        Ok(Ok(tagged))
    }

    /// Removes the manifests that nothing leads to; returns which, and what stays for more than an imported sequence.
    async fn untagged(
        &mut self,
        repository: &Repository,
        pins: &Here<'_>,
        found: &[Found],
        mut kept: HashSet<Key>,
    ) -> Result<(HashSet<usize>, HashSet<Key>), Halt> {
        let nodes: Vec<&Node> = found.iter().map(|found| &found.node).collect();
        mark::follow(&nodes, &mut kept);
        let mut used = kept.clone();
        for one in found {
            let key = Key::of(&one.node.digest);
            if kept.contains(&key) {
                self.done.manifests.kept.named += 1;
            } else if pins.holds(&key) {
                self.done.manifests.kept.pinned += 1;
                kept.insert(key);
            } else if !self.is_old(&one.meta) {
                self.done.manifests.kept.young += 1;
                kept.insert(key);
                used.insert(key);
            }
        }
        mark::follow(&nodes, &mut kept);
        mark::follow(&nodes, &mut used);
        let mut gone = HashSet::new();
        loop {
            let left: Vec<usize> = (0..nodes.len())
                .filter(|at| !gone.contains(at) && !kept.contains(&Key::of(&nodes[*at].digest)))
                .collect();
            if left.is_empty() {
                return Ok((gone, used));
            }
            let left_nodes: Vec<&Node> = left.iter().map(|at| nodes[*at]).collect();
            for at in mark::first(&left_nodes).into_iter().map(|at| left[at]) {
                self.pause().await?;
                // One that was kept a moment ago may lead to it.
                if kept.contains(&Key::of(&nodes[at].digest)) {
                    continue;
                }
                if self.how.dry_run || self.remove_manifest(repository, &found[at]).await? {
                    gone.insert(at);
                } else {
                    self.done.manifests.add(&Fate::Busy, 0);
                    for keys in [&mut kept, &mut used] {
                        keys.insert(Key::of(&nodes[at].digest));
                        mark::follow(&nodes, keys);
                    }
                }
            }
        }
    }

    async fn remove_manifest(
        &self,
        repository: &Repository,
        found: &Found,
    ) -> Result<bool, StoreError> {
        let objects = self.objects;
        let key = keys::manifest(repository, &found.node.digest);
        let Some(removal) = objects.begin_removal(&key, &found.meta).await? else {
            return Ok(false);
        };
        // While nobody can write the manifest again, and with it one of these.
        let mut back = objects.bucket.list(&keys::tagged(repository, &found.node.digest), None)?;
        while let Some(meta) = back.try_next().await? {
            let key = objects.bucket.key(&meta);
            // Where a tag still says so, a later removal by hand needs it.
            let tag = key.rsplit_once('/').and_then(|(_, tag)| tag.parse::<Tag>().ok());
            let Some(tag) = tag else { continue };
            if objects.resolve_tag(repository, &tag).await? != Some(found.node.digest) {
                objects.bucket.discard(&key).await?;
            }
        }
        objects.end_removal(&removal).await?;
        Ok(true)
    }

    /// Removes the links that no manifest names; all stay when it is not known what they name.
    async fn links(
        &mut self,
        prefix: &str,
        named: Option<&Named>,
        pins: &Here<'_>,
        let_go: &mut LetGo,
    ) -> Result<(), Halt> {
        let mut list = self.objects.bucket.list(prefix, None)?;
        let mut going = Vec::new();
        while let Some(meta) = list.try_next().await? {
            let key = self.objects.bucket.key(&meta);
            let Some(digest) = digest_of(&key) else { continue };
            let content = Key::of(&digest);
            let fate = match named {
                None => {
                    self.done.links.kept.unknown += 1;
                    self.linked.insert(content, true);
                    continue;
                }
                Some(_) if is_going(&meta) => {
                    self.finish(&key, &meta).await?;
                    continue;
                }
                Some(named) if named.used.contains(&content) => Fate::Named,
                // Also what such a manifest names besides.
                Some(named) if pins.holds(&content) || named.all.contains(&content) => Fate::Pinned,
                Some(_) if !self.is_old(&meta) => Fate::Young,
                Some(_) => {
                    going.push((key, meta, digest));
                    continue;
                }
            };
            self.done.links.add(&fate, 0);
            *self.linked.entry(content).or_default() |= !matches!(fate, Fate::Pinned);
        }
        let mut going = going.into_iter();
        loop {
            let some: Vec<_> = going.by_ref().take(ASIDE).collect();
            if some.is_empty() {
                return Ok(());
            }
            self.pause().await?;
            let (objects, dry_run) = (self.objects, self.how.dry_run);
            let removed = stream::iter(some).map(|(key, meta, digest)| async move {
                let size = objects.pointer(&digest).await?.map_or(0, |pointer| pointer.size);
                let removed = dry_run || objects.take_away(&key, &meta).await?;
                Ok::<_, StoreError>((digest, removed.then_some(size)))
            });
            let mut removed = removed.buffer_unordered(ASIDE);
            while let Some((digest, size)) = removed.try_next().await? {
                let Some(size) = size else {
                    self.done.links.add(&Fate::Busy, 0);
                    self.linked.insert(Key::of(&digest), true);
                    continue;
                };
                let_go.links += 1;
                let_go.bytes += size;
                self.done.links.add(&Fate::Removed, size);
            }
        }
    }

    /// Takes those out of the catalog that hold no manifest any more.
    pub(super) async fn catalog(&mut self) -> Result<(), Halt> {
        let objects = self.objects;
        let mut list = objects.bucket.list(keys::CATALOG, None)?;
        while let Some(meta) = list.try_next().await? {
            let Some(repository) = keys::catalog_entry(&objects.bucket.key(&meta)) else {
                continue;
            };
            if !self.holding.contains(repository.as_str()) && !self.how.dry_run {
                self.pause().await?;
                objects.leave_catalog(&repository).await?;
            }
        }
        Ok(())
    }

    /// Removes entries of referrers whose manifests are gone, and ends removals of tags.
    async fn leftovers(&mut self, repository: &Repository, kept: &[Node]) -> Result<(), Halt> {
        let mut tags = self.objects.bucket.list(&keys::tags(repository), None)?;
        while let Some(meta) = tags.try_next().await? {
            if is_going(&meta) {
                self.finish(&self.objects.bucket.key(&meta), &meta).await?;
            }
        }
        let there: HashSet<Key> = kept.iter().map(|node| Key::of(&node.digest)).collect();
        let prefix = format!("repositories/{repository}/_referrers");
        let mut list = self.objects.bucket.list(&prefix, None)?;
        while let Some(meta) = list.try_next().await? {
            let key = self.objects.bucket.key(&meta);
            let Some(digest) = digest_of(&key) else { continue };
            if is_going(&meta) {
                self.finish(&key, &meta).await?;
            } else if !there.contains(&Key::of(&digest)) && self.is_old(&meta) {
                self.pause().await?;
                if !self.how.dry_run && self.objects.take_away(&key, &meta).await? {
                    self.done.leftovers += 1;
                }
            }
        }
        Ok(())
    }
}

fn read(
    there: Result<There, StoreError>,
    key: String,
    digest: ContentDigest,
) -> Result<Read, StoreError> {
    let (bytes, meta) = match there? {
        There::Nothing => return Ok(Read::Absent),
        There::Going(meta) => return Ok(Read::Going(key, meta)),
        There::Object(bytes, meta) => (bytes, meta),
    };
    let Some(stored) = StoredManifest::parse(&without_word(&bytes), &digest) else {
        return Ok(Read::Unreadable(Unreadable(format!("{key}: the manifest is damaged"))));
    };
    Ok(match Outline::parse(&stored.bytes, Some(&stored.media_type)) {
        Ok(manifest) => {
            let node = Node::of(digest, stored.bytes.len() as u64, &manifest);
            Read::Whole(Box::new(Found { node, meta }))
        }
        Err(error) => Read::Unreadable(Unreadable(format!("{key}: {error}"))),
    })
}
