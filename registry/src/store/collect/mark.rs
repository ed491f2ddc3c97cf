//! What the manifests of one repository name.
//!
//! In: the directory of a repository. Out: its manifests with what each names, and which of them something
//! leads to. What must hold: a manifest that cannot be read makes the whole answer unknown.

use std::collections::HashSet;
use std::path::Path;

use super::super::durable::is_absent;
use super::super::manifests::{Stored, read_stored, read_tag};
use crate::content::ContentDigest;
use crate::outline::Outline;

/// The first bytes of a digest. Two contents that shared one would keep each other, so half is enough.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Key(u128);

impl Key {
    pub(crate) fn of(digest: &ContentDigest) -> Self {
        let mut first = [0; 16];
        first.copy_from_slice(&digest.as_bytes()[..16]);
        Self(u128::from_ne_bytes(first))
    }
}

/// A manifest of the repository.
pub(crate) struct Node {
    pub(crate) digest: ContentDigest,
    pub(crate) size: u64,
    pub(crate) subject: Option<ContentDigest>,
    /// Configuration and layers; children and subject as well, which somebody may have pushed as blobs.
    pub(crate) named: Vec<Key>,
    children: Vec<Key>,
}

impl Node {
    /// A manifest of this digest and so many bytes.
    pub(crate) fn of(digest: ContentDigest, size: u64, manifest: &Outline) -> Self {
        Self {
            digest,
            size,
            subject: manifest.subject,
            named: manifest.named().map(Key::of).collect(),
            children: manifest.children.iter().map(Key::of).collect(),
        }
    }
}

/// Why it is not known what a repository names.
pub(crate) struct Unreadable(pub(crate) String);

/// Reads every manifest of a repository.
pub(super) fn manifests(
    directory: &Path,
    step: &mut dyn FnMut() -> bool,
) -> Result<Option<Vec<Node>>, Unreadable> {
    let mut nodes = Vec::new();
    for name in list(directory)? {
        // Not a manifest, whoever put it there.
        let Ok(digest) = ContentDigest::from_hex(&name) else { continue };
        if !step() {
            return Ok(None);
        }
        let path = directory.join(&name);
        let unreadable =
            |why: &dyn std::fmt::Display| Unreadable(format!("{}: {why}", path.display()));
        let stored = match read_stored(&path, &digest) {
            Ok(Stored::Whole(stored)) => stored,
            Ok(Stored::Absent) => continue,
            Ok(Stored::Damaged) => return Err(unreadable(&"the manifest is damaged")),
            Err(error) => return Err(unreadable(&error)),
        };
        let manifest = Outline::parse(&stored.bytes, Some(&stored.media_type))
            .map_err(|error| unreadable(&error))?;
        nodes.push(Node::of(digest, stored.bytes.len() as u64, &manifest));
    }
    Ok(Some(nodes))
}

/// What the tags of a repository stand for.
pub(super) fn tags(directory: &Path) -> Result<HashSet<Key>, Unreadable> {
    let mut tagged = HashSet::new();
    for name in list(directory)? {
        let path = directory.join(&name);
        match read_tag(&path) {
            Ok(None) => {}
            Ok(Some(Some(digest))) => {
                tagged.insert(Key::of(&digest));
            }
            Ok(Some(None)) => {
                return Err(Unreadable(format!("{}: the tag is damaged", path.display())));
            }
            Err(error) => return Err(Unreadable(format!("{}: {error}", path.display()))),
        }
    }
    Ok(tagged)
}

/// Extends `kept` to everything it leads to: children, subjects, and the manifests that refer to what is kept.
pub(crate) fn follow(nodes: &[&Node], kept: &mut HashSet<Key>) {
    loop {
        let before = kept.len();
        for node in nodes {
            let key = Key::of(&node.digest);
            let refers =
                node.subject.as_ref().is_some_and(|subject| kept.contains(&Key::of(subject)));
            if refers || kept.contains(&key) {
                kept.insert(key);
                kept.extend(&node.children);
                kept.extend(node.subject.as_ref().map(Key::of));
            }
        }
        if kept.len() == before {
            return;
        }
    }
}

/// Of manifests that may go, those that none of the others leads to: they go first. Two that lead to each other
/// are all that is left at some point, and then go together.
pub(crate) fn first(going: &[&Node]) -> Vec<usize> {
    let keys: HashSet<Key> = going.iter().map(|node| Key::of(&node.digest)).collect();
    let children: HashSet<Key> =
        going.iter().flat_map(|node| node.children.iter().copied()).collect();
    let led_to = |node: &Node| {
        children.contains(&Key::of(&node.digest))
            || node.subject.as_ref().is_some_and(|subject| keys.contains(&Key::of(subject)))
    };
    let first: Vec<usize> = (0..going.len()).filter(|at| !led_to(going[*at])).collect();
    if first.is_empty() { (0..going.len()).collect() } else { first }
}

/// The names in a directory, none when there is no such directory; unlike a listing for clients, one that
/// cannot be read to its end is an error.
pub(super) fn list(directory: &Path) -> Result<Vec<String>, Unreadable> {
    let unreadable =
        |error: &std::io::Error| Unreadable(format!("{}: {error}", directory.display()));
    let entries = match fs_err::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if is_absent(&error) => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(&error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.map_err(|error| unreadable(&error))?.file_name();
        // Other names are not ours.
        names.extend(name.into_string().ok());
    }
    Ok(names)
}
