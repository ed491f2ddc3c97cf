//! `registries.conf`, version 2: where a pull really goes.
//!
//! In: the files of containers-registries.conf(5) and an image's name. Out: the places to pull from,
//! first to last, or the refusal of a blocked name. Applies to pulls only. Version 1 lists of insecure
//! and blocked registries are understood; short names are not: every reference here has a host.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use format_spec::Repository;
use serde::Deserialize;

use super::error::Fault;
use super::files;
use crate::limits::SETTINGS_MAX;
use crate::reference::{Reference, RegistryHost};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pulls {
    All,
    Digests,
    Tags,
}

#[derive(Clone, Debug)]
struct Mirror {
    location: String,
    insecure: bool,
    pulls: Pulls,
}

#[derive(Clone, Debug)]
struct Entry {
    prefix: String,
    location: String,
    insecure: bool,
    blocked: bool,
    mirrors: Vec<Mirror>,
    file: String,
}

/// A source and its mirrors, as clusters are told about them (`ImageDigestMirrorSet`): for pulls by digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MirrorSet {
    /// What images are called: a registry, a namespace, a repository, or `*.domain`.
    pub source: String,
    /// Where they are, the first to be asked first.
    pub mirrors: Vec<String>,
    /// Whether the source itself is never asked.
    pub never_source: bool,
    /// The file that says so.
    pub file: String,
}

/// One place to pull from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) registry: RegistryHost,
    pub(super) repository: Repository,
    /// Unverified TLS and plain HTTP are allowed there.
    pub(super) insecure: bool,
    /// A mirror: when it fails, the next place is tried.
    pub(super) mirror: bool,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)
    }
}

/// The configuration, merged.
#[derive(Debug, Default)]
pub(super) struct Mirrors {
    entries: Vec<Entry>,
    /// `credential-helpers`, in order.
    pub(super) credential_helpers: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Document {
    #[serde(default)]
    registry: Vec<RawEntry>,
    #[serde(default)]
    registries: Option<Version1>,
    #[serde(default)]
    unqualified_search_registries: Option<Vec<String>>,
    #[serde(default)]
    credential_helpers: Option<Vec<String>>,
}

#[derive(Default, Deserialize)]
struct Version1 {
    #[serde(default)]
    insecure: List,
    #[serde(default)]
    block: List,
    #[serde(default)]
    search: List,
}

#[derive(Default, Deserialize)]
struct List {
    #[serde(default)]
    registries: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct RawEntry {
    #[serde(default)]
    prefix: String,
    #[serde(default)]
    location: String,
    #[serde(default)]
    insecure: bool,
    #[serde(default)]
    blocked: bool,
    #[serde(default)]
    mirror_by_digest_only: bool,
    #[serde(default)]
    pull_from_mirror: Option<String>,
    #[serde(default)]
    mirror: Vec<RawMirror>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct RawMirror {
    #[serde(default)]
    location: String,
    #[serde(default)]
    insecure: bool,
    #[serde(default)]
    pull_from_mirror: Option<String>,
}

impl Mirrors {
    /// Reads the named file, or the usual ones with their drop-in directories.
    pub(super) fn load(explicit: Option<&PathBuf>) -> Result<Self, Fault> {
        let mut mirrors = Self::default();
        let explicit = explicit.cloned().or_else(|| files::env_path("CONTAINERS_REGISTRIES_CONF"));
        if let Some(path) = explicit {
            let bytes = files::read(&path, SETTINGS_MAX)?.ok_or_else(|| Fault::Config {
                path: path.display().to_string(),
                detail: "the file does not exist".into(),
            })?;
            mirrors.add(&path, &bytes)?;
            return Ok(mirrors);
        }
        let system = PathBuf::from("/etc/containers");
        let user = files::containers_dir();
        let mains = user.iter().chain(std::iter::once(&system));
        for path in mains.map(|dir| dir.join("registries.conf")) {
            if let Some(bytes) = files::read(&path, SETTINGS_MAX)? {
                mirrors.add(&path, &bytes)?;
                break;
            }
        }
        for dir in std::iter::once(&system).chain(user.iter()) {
            mirrors.add_directory(&dir.join("registries.conf.d"))?;
        }
        Ok(mirrors)
    }

    /// Adds the files of a directory in the order of their names; one that is not there has none.
    fn add_directory(&mut self, directory: &Path) -> Result<(), Fault> {
        let fault = |error: io::Error| Fault::Config {
            path: directory.display().to_string(),
            detail: error.to_string(),
        };
        let list = match fs_err::read_dir(directory) {
            Ok(list) => list,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(fault(error)),
        };
        let mut paths = Vec::new();
        for entry in list {
            let path = entry.map_err(fault)?.path();
            if path.extension().is_some_and(|end| end == "conf") && !path.is_dir() {
                paths.push(path);
            }
        }
        paths.sort();
        for path in paths {
            if let Some(bytes) = files::read(&path, SETTINGS_MAX)? {
                self.add_file(&path, &bytes, true)?;
            }
        }
        Ok(())
    }

    /// Without its entries, for a client that only talks to targets.
    pub(super) fn credentials_only(self) -> Self {
        Self { entries: Vec::new(), credential_helpers: self.credential_helpers }
    }

    /// Adds one file; its entries replace earlier ones of the same prefix.
    pub(super) fn add(&mut self, path: &Path, bytes: &[u8]) -> Result<(), Fault> {
        self.add_file(path, bytes, false)
    }

    fn add_file(&mut self, path: &Path, bytes: &[u8], drop_in: bool) -> Result<(), Fault> {
        let file = path.display().to_string();
        let fault = |detail: String| Fault::Config { path: file.clone(), detail };
        let text = std::str::from_utf8(bytes).map_err(|_| fault("not UTF-8".into()))?;
        let document: Document =
            toml::from_str(text).map_err(|error| fault(error.message().to_owned()))?;
        if let Some(helpers) = document.credential_helpers {
            self.credential_helpers = helpers;
        }
        let mut entries = Vec::new();
        for raw in document.registry {
            entries.push(Entry::check(raw, &file).map_err(&fault)?);
        }
        if let Some(old) = document.registries {
            let used = !(old.insecure.registries.is_empty()
                && old.block.registries.is_empty()
                && old.search.registries.is_empty());
            if used && (!entries.is_empty() || document.unqualified_search_registries.is_some()) {
                return Err(fault("mixes version 1 and version 2 of the format".into()));
            }
            if used && drop_in {
                return Err(fault("a file of this directory is of version 2 of the format".into()));
            }
            // Empty lists of version 1 beside entries say nothing.
            if used {
                entries = version_1(old, &file).map_err(&fault)?;
            }
        }
        let mut said = HashMap::new();
        for entry in &entries {
            let place = if entry.location.is_empty() { &entry.prefix } else { &entry.location };
            let says = (entry.insecure, entry.blocked);
            if *said.entry(place).or_insert(says) != says {
                return Err(fault(format!(
                    "`{place}` stands twice with different `insecure` or `blocked`"
                )));
            }
        }
        // Of one prefix the first entry of a file counts, and the last file.
        let mut seen = HashSet::new();
        entries.retain(|entry| seen.insert(entry.prefix.clone()));
        self.entries.retain(|old| !seen.contains(&old.prefix));
        self.entries.extend(entries);
        Ok(())
    }

    /// Adds what clusters are told about mirrors. It takes the place of an entry for the same source.
    pub(super) fn add_sets(&mut self, sets: &[MirrorSet]) -> Result<(), Fault> {
        let mut entries: Vec<Entry> = Vec::new();
        for MirrorSet { source, mirrors, never_source, file } in sets {
            let fault = |detail: String| Fault::Config { path: file.clone(), detail };
            let mirrors = mirrors.iter().map(|location| RawMirror {
                location: location.clone(),
                insecure: false,
                pull_from_mirror: Some("digest-only".to_owned()),
            });
            let wildcard = source.starts_with("*.");
            let raw = RawEntry {
                prefix: source.clone(),
                location: if wildcard { String::new() } else { source.clone() },
                blocked: *never_source,
                mirror: mirrors.collect(),
                ..RawEntry::default()
            };
            let entry = Entry::check(raw, file).map_err(fault)?;
            match entries.iter_mut().find(|known| known.prefix == entry.prefix) {
                Some(known) => {
                    known.blocked |= entry.blocked;
                    known.mirrors.extend(entry.mirrors);
                }
                None => entries.push(entry),
            }
        }
        self.entries.retain(|old| entries.iter().all(|new| new.prefix != old.prefix));
        self.entries.extend(entries);
        Ok(())
    }

    /// The entry whose prefix covers most of a name, as it is written: `*` is one character. With it how much of the name
    /// that is.
    fn best(&self, name: &str) -> Option<(usize, &Entry)> {
        let fitting =
            self.entries.iter().filter_map(|entry| Some((matched(name, &entry.prefix)?, entry)));
        fitting.max_by_key(|(_, entry)| entry.prefix.len())
    }

    /// Where to pull an image from. `by_digest` says whether a digest is asked for.
    pub(super) fn places(
        &self,
        registry: &RegistryHost,
        repository: &Repository,
        by_digest: bool,
    ) -> Result<Vec<Place>, Fault> {
        let name = format!("{registry}/{repository}");
        let own = || Place {
            registry: registry.clone(),
            repository: repository.clone(),
            insecure: false,
            mirror: false,
        };
        let Some((length, entry)) = self.best(&name) else { return Ok(vec![own()]) };
        let rest = &name[length..];
        let place = |location: &str, insecure: bool, mirror: bool| {
            let moved: Reference =
                format!("{location}{rest}").parse().map_err(|error| Fault::Config {
                    path: entry.file.clone(),
                    detail: format!("the entry `{}` gives a bad name: {error}", entry.prefix),
                })?;
            Ok(Place { registry: moved.registry, repository: moved.repository, insecure, mirror })
        };
        let mut places = Vec::new();
        for mirror in &entry.mirrors {
            let wanted = match mirror.pulls {
                Pulls::All => true,
                Pulls::Digests => by_digest,
                Pulls::Tags => !by_digest,
            };
            if wanted {
                let place = place(&mirror.location, mirror.insecure, true)?;
                // It may be blocked by an entry of its own.
                if !self
                    .best(&place.to_string())
                    .is_some_and(|(_, own)| own.blocked && own.prefix != entry.prefix)
                {
                    places.push(place);
                }
            }
        }
        // What is blocked is the source: a cluster that may not ask it has it so, beside its mirrors.
        if entry.blocked {
            return match places.is_empty() {
                true => {
                    Err(Fault::Blocked { prefix: entry.prefix.clone(), file: entry.file.clone() })
                }
                false => Ok(places),
            };
        }
        places.push(if entry.location.is_empty() {
            Place { insecure: entry.insecure, ..own() }
        } else {
            place(&entry.location, entry.insecure, false)?
        });
        Ok(places)
    }
}

/// How much of `name` the prefix covers, at a boundary.
fn matched(name: &str, prefix: &str) -> Option<usize> {
    let length = match prefix.strip_prefix('*') {
        // `*.example.com[/path]`: any host below, never example.com itself.
        Some(suffix) => {
            let at = name.find(suffix)?;
            if at == 0 || name[..at].contains(['/', ':']) {
                return None;
            }
            at + suffix.len()
        }
        None => name.starts_with(prefix).then_some(prefix.len())?,
    };
    let boundary = name[length..].chars().next().is_none_or(|next| "/:@".contains(next));
    boundary.then_some(length)
}

/// A location or prefix: no scheme, no trailing slashes.
fn clean(text: &str) -> Result<String, String> {
    let text = text.trim_end_matches('/');
    if text.contains("://") {
        return Err(format!("a location has no scheme: `{text}`"));
    }
    Ok(text.to_owned())
}

fn pulls(text: Option<&str>) -> Result<Pulls, String> {
    match text {
        None | Some("" | "all") => Ok(Pulls::All),
        Some("digest-only") => Ok(Pulls::Digests),
        Some("tag-only") => Ok(Pulls::Tags),
        Some(other) => Err(format!("not a value of `pull-from-mirror`: `{other}`")),
    }
}

impl Entry {
    fn check(raw: RawEntry, file: &str) -> Result<Self, String> {
        if raw.pull_from_mirror.is_some() {
            return Err("`pull-from-mirror` belongs to a mirror, not to a registry".into());
        }
        let location = clean(&raw.location)?;
        let prefix = if raw.prefix.is_empty() { location.clone() } else { clean(&raw.prefix)? };
        let wildcard = prefix.starts_with("*.");
        if prefix.is_empty() || (location.is_empty() && !wildcard) {
            return Err("an entry has no `location`".into());
        }
        if prefix.contains('*') && (!wildcard || prefix[1..].contains('*')) {
            return Err(format!("a wildcard stands only as `*.` at the beginning: `{prefix}`"));
        }
        let mut mirrors = Vec::new();
        for mirror in raw.mirror {
            if mirror.location.is_empty() {
                return Err(format!("a mirror of `{prefix}` has no `location`"));
            }
            if raw.mirror_by_digest_only && mirror.pull_from_mirror.is_some() {
                return Err(format!(
                    "`{prefix}` has both `mirror-by-digest-only` and `pull-from-mirror`"
                ));
            }
            mirrors.push(Mirror {
                location: clean(&mirror.location)?,
                insecure: mirror.insecure,
                pulls: if raw.mirror_by_digest_only {
                    Pulls::Digests
                } else {
                    pulls(mirror.pull_from_mirror.as_deref())?
                },
            });
        }
        Ok(Self {
            prefix,
            location,
            insecure: raw.insecure,
            blocked: raw.blocked,
            mirrors,
            file: file.to_owned(),
        })
    }
}

fn version_1(old: Version1, file: &str) -> Result<Vec<Entry>, String> {
    let mut entries: Vec<Entry> = Vec::new();
    let lists = [(old.insecure.registries, true), (old.block.registries, false)];
    for (list, insecure) in lists {
        for name in list {
            let name = clean(&name)?;
            let at = match entries.iter().position(|entry| entry.prefix == name) {
                Some(at) => at,
                None => {
                    entries.push(Entry {
                        prefix: name.clone(),
                        location: name,
                        insecure: false,
                        blocked: false,
                        mirrors: Vec::new(),
                        file: file.to_owned(),
                    });
                    entries.len() - 1
                }
            };
            if insecure {
                entries[at].insecure = true;
            } else {
                entries[at].blocked = true;
            }
        }
    }
    for name in &old.search.registries {
        clean(name)?;
    }
    Ok(entries)
}

#[cfg(test)]
#[path = "mirrors_tests.rs"]
mod tests;
