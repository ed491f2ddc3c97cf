//! The way of one collection over the store.
//!
//! In: the options and a watch over all requests. Out: the report. What must hold: every file is looked at
//! once more with its content's shard locked, and removed only if nobody held it and it is old.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::time::SystemTime;

use format_spec::Repository;

use super::super::durable::{is_absent, remove_if_there};
use super::super::holds::Watch;
use super::super::room::{Change, length};
use super::super::{Store, StoreError};
use super::mark::{self, Key, Node, Unreadable, list};
use super::pins::{Here, Pins};
use super::{Collect, Collected, LetGo, Named, Tally};
use crate::content::{Algorithm, ContentDigest};

/// The longest path below `repositories` that is walked: names have at most 255 characters, so a longer one is a
/// link in a circle.
const PATH_MAX: usize = 1024;

/// Why a collection ends before its end.
enum Halt {
    Stopped,
    Failed(StoreError),
}

impl<E: Into<StoreError>> From<E> for Halt {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// One collection.
pub(super) struct Run<'a> {
    store: &'a Store,
    how: &'a Collect,
    step: &'a dyn Fn() -> bool,
    watch: Watch<'a>,
    /// What was touched later stays; everything does when there is none.
    limit: Option<SystemTime>,
    pins: &'a Pins,
    /// Blobs that a repository links, and whether one does so for more than an imported sequence.
    linked: HashMap<Key, bool>,
    /// Whether those are all.
    all_links: bool,
    done: Collected,
}

/// What is to become of a file.
pub(crate) enum Fate {
    Removed,
    Named,
    Pinned,
    Young,
    Busy,
    /// It, or what may name it, cannot be read.
    Unknown,
    /// Somebody else removed it.
    Gone,
}

impl<'a> Run<'a> {
    pub(super) fn new(
        store: &'a Store,
        how: &'a Collect,
        step: &'a dyn Fn() -> bool,
        pins: &'a Pins,
    ) -> Self {
        // The watch first: what happens from now on is seen by it, what was before by the times.
        let watch = store.holds.watch();
        let slack = if how.beside { store.touch_period() } else { std::time::Duration::ZERO };
        let limit = store.clock.now().checked_sub(how.grace.saturating_add(slack));
        let done = Collected {
            dry_run: how.dry_run,
            grace_seconds: how.grace.as_secs(),
            ..Collected::default()
        };
        let linked = HashMap::new();
        Self { store, how, step, watch, limit, pins, linked, all_links: true, done }
    }

    /// The whole collection.
    pub(super) fn all(mut self) -> Result<Collected, StoreError> {
        for problem in &self.pins.unknown {
            self.unreadable(Unreadable(problem.0.clone()));
        }
        match self.repositories().and_then(|()| self.bytes()) {
            Ok(()) => self.done.complete = true,
            Err(Halt::Stopped) => {}
            Err(Halt::Failed(error)) => return Err(error),
        }
        Ok(self.done)
    }

    fn pause(&self) -> Result<(), Halt> {
        if (self.step)() { Ok(()) } else { Err(Halt::Stopped) }
    }

    /// Notes what cannot be read.
    fn unreadable(&mut self, what: Unreadable) {
        tracing::warn!(what = what.0, "cannot be read: nothing that it may need is collected");
        self.done.unreadable.push(what.0);
    }

    fn repositories(&mut self) -> Result<(), Halt> {
        let root = self.store.root.join("repositories");
        // Every directory after the one above it.
        let mut names = vec![String::new()];
        let mut at = 0;
        while at < names.len() {
            self.pause()?;
            let name = names[at].clone();
            at += 1;
            if name.len() > PATH_MAX {
                self.unreadable(Unreadable(format!("{name}: too deep")));
                self.all_links = false;
                continue;
            }
            match list(&root.join(&name)) {
                Ok(below) => {
                    let below = below.iter().filter(|below| !below.starts_with('_'));
                    for below in below {
                        let below = match name.as_str() {
                            "" => below.clone(),
                            name => format!("{name}/{below}"),
                        };
                        let entry = root.join(&below);
                        match fs_err::metadata(&entry) {
                            Ok(entry) if entry.is_dir() => names.push(below),
                            Ok(_) => {}
                            // A link to a disk that is not mounted is there and leads nowhere.
                            Err(error) if is_absent(&error) && !entry.is_symlink() => {}
                            Err(error) => {
                                self.unreadable(Unreadable(error.to_string()));
                                self.all_links = false;
                            }
                        }
                    }
                }
                Err(what) => {
                    self.unreadable(what);
                    self.all_links = false;
                }
            }
        }
        for name in names.iter().skip(1) {
            self.repository(&root.join(name), name)?;
        }
        for name in names.iter().skip(1).rev() {
            self.leftovers(&root.join(name), name)?;
        }
        Ok(())
    }

    fn repository(&mut self, directory: &Path, name: &str) -> Result<(), Halt> {
        let mut let_go = LetGo { repository: name.to_owned(), ..LetGo::default() };
        let pins = self.pins.of(name);
        let named = match self.manifests(&directory.join("_manifests"), &pins, &mut let_go) {
            Ok(named) => Some(named),
            Err(Err(halt)) => return Err(halt),
            Err(Ok(what)) => {
                self.unreadable(what);
                None
            }
        };
        // A directory that no request can name is not ours to judge.
        let named = named.filter(|_| name.parse::<Repository>().is_ok());
        self.links(&directory.join("_blobs"), named.as_ref(), &pins, &mut let_go)?;
        if let_go.manifests + let_go.links > 0 {
            self.done.repositories.push(let_go);
        }
        Ok(())
    }

    /// Reads the manifests of a repository and removes those that may go; returns what the others name.
    fn manifests(
        &mut self,
        directory: &Path,
        pins: &Here<'_>,
        let_go: &mut LetGo,
    ) -> Result<Named, Result<Unreadable, Halt>> {
        let nodes = mark::manifests(directory, &mut || (self.step)()).map_err(Ok)?;
        let Some(nodes) = nodes else { return Err(Err(Halt::Stopped)) };
        let (gone, used) = match self.how.untagged {
            true => {
                let tags = directory.with_file_name("_tags");
                let tagged = mark::tags(&tags).map_err(Ok)?;
                let (gone, used) = self.untagged(directory, pins, &nodes, tagged).map_err(Err)?;
                (gone, Some(used))
            }
            false => (HashSet::new(), None),
        };
        let mut named = Named { all: HashSet::new(), used: HashSet::new() };
        for (at, node) in nodes.iter().enumerate() {
            if gone.contains(&at) {
                let_go.manifests += 1;
                self.done.manifests.add(&Fate::Removed, node.size);
            } else {
                named.all.extend(&node.named);
                if used.as_ref().is_none_or(|used| used.contains(&Key::of(&node.digest))) {
                    named.used.extend(&node.named);
                }
                self.done.manifests.kept_bytes += node.size;
                if !self.how.untagged {
                    self.done.manifests.kept.named += 1;
                }
            }
        }
        Ok(named)
    }

    /// Removes the manifests that nothing leads to; returns which, and what stays for more than an imported sequence.
    fn untagged(
        &mut self,
        directory: &Path,
        pins: &Here<'_>,
        nodes: &[Node],
        tagged: HashSet<Key>,
    ) -> Result<(HashSet<usize>, HashSet<Key>), Halt> {
        let mut kept = tagged;
        let all: Vec<&Node> = nodes.iter().collect();
        mark::follow(&all, &mut kept);
        let mut used = kept.clone();
        for node in nodes {
            let key = Key::of(&node.digest);
            if kept.contains(&key) {
                self.done.manifests.kept.named += 1;
            } else if pins.holds(&key) {
                self.done.manifests.kept.pinned += 1;
                kept.insert(key);
            } else if !self.is_old(&directory.join(node.digest.hex())) {
                self.done.manifests.kept.young += 1;
                kept.insert(key);
                used.insert(key);
            }
        }
        mark::follow(&all, &mut kept);
        mark::follow(&all, &mut used);
        let mut gone = HashSet::new();
        let going = |gone: &HashSet<usize>, kept: &HashSet<Key>| -> Vec<usize> {
            let stays =
                |at: &usize| gone.contains(at) || kept.contains(&Key::of(&nodes[*at].digest));
            (0..nodes.len()).filter(|at| !stays(at)).collect()
        };
        loop {
            let left = going(&gone, &kept);
            if left.is_empty() {
                break;
            }
            let left_nodes: Vec<&Node> = left.iter().map(|at| &nodes[*at]).collect();
            let first: Vec<usize> =
                mark::first(&left_nodes).into_iter().map(|at| left[at]).collect();
            for at in first {
                self.pause()?;
                let node = &nodes[at];
                // One that was kept a moment ago may lead to it.
                if kept.contains(&Key::of(&node.digest)) {
                    continue;
                }
                match self.counted_fate(&directory.join(node.digest.hex()), &node.digest)? {
                    Fate::Removed | Fate::Gone => {
                        gone.insert(at);
                        self.forget_referrer(directory, node)?;
                    }
                    fate => {
                        self.done.manifests.add(&fate, 0);
                        for keys in [&mut kept, &mut used] {
                            keys.insert(Key::of(&node.digest));
                            mark::follow(&all, keys);
                        }
                    }
                }
            }
        }
        if !gone.is_empty() && !self.how.dry_run {
            self.store.durable.sync_dir(directory)?;
        }
        Ok((gone, used))
    }

    fn forget_referrer(&self, manifests: &Path, node: &Node) -> Result<(), Halt> {
        let Some(subject) = node.subject.filter(|_| !self.how.dry_run) else { return Ok(()) };
        let referrers = manifests.with_file_name("_referrers").join(subject.hex());
        self.watch
            .unless_held(&node.digest, || remove_if_there(&referrers.join(node.digest.hex())))
            .transpose()?;
        Ok(())
    }

    /// Removes the links that no manifest names; all stay when it is not known what they name.
    fn links(
        &mut self,
        directory: &Path,
        named: Option<&Named>,
        pins: &Here<'_>,
        let_go: &mut LetGo,
    ) -> Result<(), Halt> {
        let names = match list(directory) {
            Ok(names) => names,
            Err(what) => {
                self.unreadable(what);
                self.all_links = false;
                return Ok(());
            }
        };
        let mut removed = false;
        for name in names {
            self.pause()?;
            let Ok(digest) = ContentDigest::from_hex(&name) else { continue };
            let key = Key::of(&digest);
            let Some(named) = named else {
                self.done.links.kept.unknown += 1;
                self.linked.insert(key, true);
                continue;
            };
            let fate = match () {
                () if named.used.contains(&key) => Fate::Named,
                // Also what such a manifest names besides.
                () if pins.holds(&key) || named.all.contains(&key) => Fate::Pinned,
                () => self.fate(&directory.join(&name), &digest)?,
            };
            if let Fate::Removed = fate {
                removed = true;
                let size = self.store.blob_size(&digest).ok().flatten().unwrap_or_default();
                let_go.links += 1;
                let_go.bytes += size;
                self.done.links.add(&fate, size);
            } else {
                self.done.links.add(&fate, 0);
                *self.linked.entry(key).or_default() |= !matches!(fate, Fate::Pinned);
            }
        }
        if removed && !self.how.dry_run {
            self.store.durable.sync_dir(directory)?;
        }
        Ok(())
    }

    /// Removes what a crash or a removal has left of a repository: referrer links to manifests that are gone, and
    /// empty directories.
    fn leftovers(&mut self, directory: &Path, name: &str) -> Result<(), Halt> {
        let Ok(repository) = name.parse::<Repository>() else { return Ok(()) };
        let mut empty = Vec::new();
        let subjects = list(&directory.join("_referrers")).unwrap_or_default();
        for subject in subjects {
            let referrers = directory.join("_referrers").join(subject);
            for referrer in list(&referrers).unwrap_or_default() {
                self.pause()?;
                let Ok(digest) = ContentDigest::from_hex(&referrer) else { continue };
                let manifest = directory.join("_manifests").join(&referrer);
                let there = || {
                    fs_err::symlink_metadata(&manifest)
                        .map_or_else(|error| !is_absent(&error), |_| true)
                };
                if there() || !self.is_old(&referrers.join(&referrer)) {
                    continue;
                }
                let remove = || match there() || self.how.dry_run {
                    true => Ok(false),
                    false => remove_if_there(&referrers.join(&referrer)),
                };
                if self.watch.unless_held(&digest, remove).transpose()? == Some(true) {
                    self.done.leftovers += 1;
                }
            }
            empty.push(referrers);
        }
        empty.extend(
            ["_referrers", "_tags", "_manifests", "_blobs"].map(|kind| directory.join(kind)),
        );
        empty.push(directory.to_owned());
        empty.retain(|directory| self.is_old(directory));
        if self.how.dry_run || empty.is_empty() {
            return Ok(());
        }
        // Nobody adds to the repository meanwhile, so nobody has just made one of these to write into it.
        let _removing = self.store.removing(&repository);
        for directory in empty {
            if self.store.durable.remove_dir(&directory)? {
                self.done.leftovers += 1;
            }
        }
        Ok(())
    }

    /// Removes the bytes that no repository links.
    fn bytes(&mut self) -> Result<(), Halt> {
        Algorithm::ALL.into_iter().try_for_each(|algorithm| self.bytes_by(algorithm))
    }

    fn bytes_by(&mut self, algorithm: Algorithm) -> Result<(), Halt> {
        let root = self.store.root.join("blobs").join(algorithm.name());
        let prefixes = match list(&root) {
            Ok(prefixes) => prefixes,
            Err(what) => {
                self.unreadable(what);
                return Ok(());
            }
        };
        for prefix in prefixes {
            let directory = root.join(&prefix);
            let names = match list(&directory) {
                Ok(names) => names,
                Err(what) => {
                    self.unreadable(what);
                    continue;
                }
            };
            let mut removed = false;
            for name in names {
                self.pause()?;
                let path = directory.join(&name);
                let Ok(size) = fs_err::symlink_metadata(&path).map(|file| file.len()) else {
                    continue;
                };
                let digest = ContentDigest::from_hex(&name)
                    .ok()
                    .filter(|digest| name.starts_with(&prefix) && digest.algorithm() == algorithm);
                let Some(digest) = digest.filter(|_| self.all_links) else {
                    self.done.blobs.kept.unknown += 1;
                    self.done.blobs.kept_bytes += size;
                    continue;
                };
                let key = Key::of(&digest);
                let fate = match self.linked.get(&key) {
                    Some(true) => Fate::Named,
                    Some(false) => Fate::Pinned,
                    None => self.counted_fate(&path, &digest)?,
                };
                removed |= matches!(fate, Fate::Removed);
                self.done.blobs.add(&fate, size);
            }
            if removed && !self.how.dry_run {
                self.store.durable.sync_dir(&directory)?;
            }
        }
        Ok(())
    }

    /// What becomes of a file of content itself, which counts.
    fn counted_fate(&self, path: &Path, digest: &ContentDigest) -> Result<Fate, Halt> {
        self.store.room.change(path, || {
            let size = length(path)?;
            let fate = self.fate(path, digest)?;
            let gone = matches!(fate, Fate::Removed) && !self.how.dry_run;
            let less = if gone { -size } else { 0 };
            Ok((fate, Change { stored: less, used: less }))
        })
    }

    /// Removes a file of this content if it is old and nobody is at work with it.
    fn fate(&self, path: &Path, digest: &ContentDigest) -> Result<Fate, Halt> {
        if !self.is_old(path) {
            return Ok(Fate::Young);
        }
        let remove = || match (self.how.dry_run, self.is_old(path)) {
            (_, false) => Ok(Fate::Young),
            (true, true) => Ok(Fate::Removed),
            (false, true) => remove_if_there(path).map(|was| match was {
                true => Fate::Removed,
                false => Fate::Gone,
            }),
        };
        Ok(self.watch.unless_held(digest, remove).transpose()?.unwrap_or(Fate::Busy))
    }

    /// Whether a file was last touched before the grace. One whose time cannot be had is young.
    fn is_old(&self, path: &Path) -> bool {
        let touched = fs_err::symlink_metadata(path).and_then(|file| file.modified());
        touched.is_ok_and(|touched| self.limit.is_some_and(|limit| touched <= limit))
    }
}

impl Tally {
    pub(crate) fn add(&mut self, fate: &Fate, size: u64) {
        let reason = match fate {
            Fate::Removed => {
                self.removed += 1;
                self.removed_bytes += size;
                return;
            }
            Fate::Gone => return,
            Fate::Named => &mut self.kept.named,
            Fate::Pinned => &mut self.kept.pinned,
            Fate::Young => &mut self.kept.young,
            Fate::Busy => &mut self.kept.busy,
            Fate::Unknown => &mut self.kept.unknown,
        };
        *reason += 1;
        self.kept_bytes += size;
        if let Fate::Pinned = fate {
            self.pinned_bytes += size;
        }
    }
}
