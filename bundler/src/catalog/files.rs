//! The files of a catalog: what is seen of the directory of its configurations through all layers.
//!
//! In: the entries of the layers, from the uppermost down. Out: for each whether it is a file that no layer above has or hides,
//! and for each layer what it holds besides, which tells whether the catalog can do without it. A file that stands twice in one
//! layer counts as it stands last.

use std::collections::HashSet;
use std::io::{self, Read};

use format_spec::Digest;
use serde::{Deserialize, Serialize};

use super::limits::{FILES_MAX, PATHS_MAX};
use crate::release::layer::{self, Hidden, LayerError, below, hidden_by};
use crate::release::tarball::{Entry, Kind};

/// The directories of an image that matter, without the slash at the beginning.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Directories {
    /// That of the configurations.
    pub configs: String,
    /// That of what the server of the catalog made of them.
    pub cache: String,
}

impl Directories {
    /// A file of the configurations, as it is told.
    pub fn shown(&self, path: &str) -> String {
        match path {
            "" => format!("/{}", self.configs),
            path => format!("/{}/{path}", self.configs),
        }
    }
}

/// What a layer holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holds {
    /// Configurations, or something that hides those below.
    pub configs: bool,
    /// The cache, or something that hides that below.
    pub cache: bool,
    /// Anything else.
    pub other: bool,
    /// Directories that the two are in, which layers repeat.
    pub parents: Vec<String>,
}

impl Holds {
    /// Whether it holds nothing but the catalog.
    pub fn only_the_catalog(&self) -> bool {
        (self.configs || self.cache) && !self.other
    }

    /// Looks at an entry; what it hides.
    pub fn note(
        &mut self,
        path: Option<&str>,
        entry: &Entry,
        directories: &Directories,
    ) -> Option<Hidden> {
        let Some(path) = path else {
            // Who unpacks it may take a path that leads elsewhere for one that does not.
            self.other |= !is_root(&entry.path);
            return None;
        };
        let Directories { configs, cache } = directories;
        let hidden = hidden_by(path, entry.kind);
        let at = match &hidden {
            Some(Hidden::Path(at) | Hidden::Below(at)) => at,
            None => path,
        };
        let is_at = |directory: &str| at == directory || below(at, directory);
        let hides = |path: &str| hidden.as_ref().is_some_and(|hidden| hidden.hides(path));
        let (in_configs, in_cache) = (is_at(configs), is_at(cache));
        self.configs |= in_configs || hides(configs);
        self.cache |= in_cache || hides(cache);
        let is_parent =
            entry.kind == Kind::Directory && (below(configs, path) || below(cache, path));
        if is_parent && !in_configs && !in_cache {
            if !self.parents.iter().any(|parent| parent == path) {
                self.parents.push(path.to_owned());
            }
        } else {
            self.other |= !in_configs && !in_cache;
        }
        hidden
    }
}

/// What the layers so far decided.
#[derive(Debug, Default)]
pub struct Seen {
    /// Neither these count in lower layers nor what is below them.
    gone: HashSet<String>,
    /// What is below these does not count.
    inside: HashSet<String>,
    /// These are directories: a file of the name does not count.
    directories: HashSet<String>,
    /// Nothing of lower layers counts.
    all: bool,
    bytes: usize,
}

impl Seen {
    /// Whether nothing below can be seen any more.
    pub fn all_is_hidden(&self) -> bool {
        self.all
    }

    fn is_hidden(&self, path: &str) -> bool {
        if self.gone.contains(path) || self.directories.contains(path) {
            return true;
        }
        let above = path.match_indices('/').map(|(at, _)| &path[..at]);
        above.into_iter().any(|above| self.gone.contains(above) || self.inside.contains(above))
    }

    /// What a layer says of the layers below it.
    fn add(&mut self, layer: Vec<(String, Option<Hidden>)>, configs: &str) -> Result<(), TooMany> {
        for (path, hidden) in layer {
            if hidden.as_ref().is_some_and(|hidden| hides_all(hidden, configs)) {
                self.all = true;
                continue;
            }
            // A directory for what lies in it, though no layer need have it as an entry.
            let mut above = &path[..];
            while let Some((parent, _)) = above.rsplit_once('/') {
                if !below(parent, configs) || !self.directories.insert(parent.to_owned()) {
                    break;
                }
                self.bytes += parent.len();
                above = parent;
            }
            self.bytes += path.len();
            match hidden {
                None => self.directories.insert(path),
                Some(Hidden::Below(hidden)) => self.inside.insert(hidden),
                Some(Hidden::Path(hidden)) => self.gone.insert(hidden),
            };
        }
        let count = self.gone.len() + self.inside.len() + self.directories.len();
        if count > FILES_MAX || self.bytes > PATHS_MAX { Err(TooMany) } else { Ok(()) }
    }
}

/// More files than any catalog has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it has more files than any catalog")]
pub struct TooMany;

/// One layer that is gone through.
pub struct Layer<'a> {
    directories: &'a Directories,
    seen: &'a mut Seen,
    holds: Holds,
    entries: Vec<(String, Option<Hidden>)>,
    bytes: usize,
}

impl<'a> Layer<'a> {
    /// The next one below those so far.
    pub fn new(directories: &'a Directories, seen: &'a mut Seen) -> Self {
        Self { directories, seen, holds: Holds::default(), entries: Vec::new(), bytes: 0 }
    }

    /// Looks at an entry. The path below the directory of the configurations of one that is seen; empty is that directory
    /// itself, where it is none.
    pub fn look<'p>(
        &mut self,
        path: Option<&'p str>,
        entry: &Entry,
    ) -> Result<Option<&'p str>, TooMany> {
        let hidden = self.holds.note(path, entry, self.directories);
        let (configs, Some(path)) = (&self.directories.configs, path) else { return Ok(None) };
        let is_below = below(path, configs);
        let hides_all = hidden.as_ref().is_some_and(|hidden| hides_all(hidden, configs));
        if !is_below && !hides_all && path != *configs {
            return Ok(None);
        }
        self.bytes += path.len();
        if self.entries.len() >= FILES_MAX || self.bytes > PATHS_MAX {
            return Err(TooMany);
        }
        let is_there = hidden.is_none() || hidden == Some(Hidden::Path(path.to_owned()));
        let counts = is_there && !self.seen.all && !self.seen.is_hidden(path);
        self.entries.push((path.to_owned(), hidden));
        Ok(match path.strip_prefix(&**configs) {
            Some("") if counts && entry.kind != Kind::Directory => Some(""),
            Some(name) if counts && is_below => Some(&name[1..]),
            _ => None,
        })
    }

    /// The layer is read; the next one lies below it. What it holds.
    pub fn descend(self) -> Result<Holds, TooMany> {
        self.seen.add(self.entries, &self.directories.configs)?;
        Ok(self.holds)
    }
}

/// Whether nothing of the configurations of lower layers is left.
fn hides_all(hidden: &Hidden, configs: &str) -> bool {
    hidden.hides(configs) || matches!(hidden, Hidden::Below(it) if it == configs)
}

/// Goes through a layer for what it holds alone, and no further than to know that the catalog is not all.
pub fn sort(
    stored: impl Read,
    digest: &Digest,
    directories: &Directories,
    unpacked: &mut u64,
) -> Result<Holds, LayerError> {
    let mut holds = Holds::default();
    let read = layer::read_all(stored, digest, unpacked, |path, entry, _| {
        holds.note(path, entry, directories);
        // That it holds something else needs no proof: then it stays.
        if holds.other { Err(LayerError::Taker(io::Error::other("enough"))) } else { Ok(()) }
    });
    match read {
        Err(LayerError::Taker(_)) if holds.other => Ok(holds),
        read => read.map(|()| holds),
    }
}

fn is_root(path: &[u8]) -> bool {
    path.split(|byte| *byte == b'/').all(|part| matches!(part, b"" | b"."))
}

#[cfg(test)]
#[path = "files_tests.rs"]
mod tests;
