//! What single nodes are told about a mirror: the files of their container engines, laid out as they lie on a node.
//!
//! In: the images that stand, with their names at both ends, what nodes call the target, the authority of its certificate.
//! Out: names and bytes below a directory of each kind. What must hold: an entry leads to the image that stands for the
//! source or to nothing, never to another image; what a kind cannot express is told; no credential is written.
//!
//! One file a format: [`registries_conf`] for podman, CRI-O and MicroShift, [`hosts_toml`] for containerd,
//! [`registries_yaml`] for k3s and RKE2; [`readme`] says what a person does with them.

mod hosts_toml;
mod readme;
mod registries_conf;
mod registries_yaml;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use registry::reference::RegistryHost;

use super::Kind;
use super::files::{Files, Named, Site, cluster_can_name};
use super::mirrors::{Category, Pair, mirrors};
use super::replay::Standing;
use super::stated::Stated;
use crate::error::ImportError;
use crate::limits::AUTHORITIES_MAX;

/// The directory of the nodes' files, below that of the clusters'.
pub(super) const DIRECTORY: &str = "nodes";

/// How nodes reach the target.
pub(super) struct Access {
    /// The certificates of its authorities in PEM; empty when nodes trust it already.
    authorities: String,
    /// Whether it speaks plain HTTP.
    plain: bool,
}

impl Access {
    /// For what nodes call the target. Says what is not as it should be.
    pub(super) fn new(
        told: &RegistryHost,
        files: &[PathBuf],
        plain: &[RegistryHost],
        warnings: &mut Vec<String>,
    ) -> Result<Self, ImportError> {
        let plain = plain.iter().any(|named| named.covers(told, 80));
        if plain {
            warnings.push(format!(
                "nodes are told to pull from `{told}` over plain HTTP: anybody on the way can read along, and change what is pulled by tag"
            ));
        } else if told.is_loopback() {
            warnings.push(format!(
                "`{told}` is every node itself: `--as docker://HOST/NAMESPACE` names the registry as nodes know it, and \
                 `--plain-http {told}` says that it has no TLS"
            ));
        }
        let mut authorities = String::new();
        for path in files.iter().filter(|_| !plain) {
            authorities.push_str(&certificates(path)?);
        }
        Ok(Self { authorities, plain })
    }

    fn scheme(&self) -> &'static str {
        if self.plain { "http" } else { "https" }
    }

    fn authority(&self) -> Option<&[u8]> {
        (!self.authorities.is_empty()).then_some(self.authorities.as_bytes())
    }
}

/// The certificates of a file in PEM, and nothing else that stands in it.
fn certificates(path: &Path) -> Result<String, ImportError> {
    let unreadable = |source| ImportError::State { path: path.to_owned(), source };
    let mut text = Vec::new();
    let file = fs_err::File::open(path).map_err(unreadable)?;
    file.take(AUTHORITIES_MAX).read_to_end(&mut text).map_err(unreadable)?;
    let text = String::from_utf8_lossy(&text);
    let (begin, end) = ("-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----");
    let mut found = String::new();
    for piece in text.split(begin).skip(1) {
        if let Some((body, _)) = piece.split_once(end) {
            let lines = body.lines().map(str::trim).filter(|line| !line.is_empty());
            let body: Vec<_> = lines.collect();
            found.push_str(&format!("{begin}\n{}\n{end}\n", body.join("\n")));
        }
    }
    if found.is_empty() {
        let problem = "no certificate in PEM form in it";
        return Err(unreadable(io::Error::new(io::ErrorKind::InvalidData, problem)));
    }
    Ok(found)
}

/// Makes the files of one kind of nodes, with names below its directory.
pub(super) fn make(
    kind: Kind,
    standing: &Standing,
    site: &Site,
    access: &Access,
    warnings: &mut Vec<String>,
) -> Result<Files, ImportError> {
    let stated = Stated::standing(standing, warnings);
    let named = Named::of(&standing.images, &stated, site, warnings)?;
    // A node asks by tag and by digest, whatever the configuration did, and makes no difference between kinds of content.
    let pairs: BTreeSet<Pair> = named
        .digests
        .into_iter()
        .chain(named.tags)
        .map(|pair| Pair { category: Category::Generic, ..pair })
        .filter(|pair| pair.host != site.target.registry || pair.path != pair.place)
        .collect();
    let at = &site.target.registry;
    let mut files = Files::new();
    if pairs.is_empty() {
        return Ok(files);
    }
    if !cluster_can_name(at) {
        warnings.push(format!(
            "no configuration of nodes is written: their names of registries are of letters, digits, dots and dashes, and no `{at}`"
        ));
        return Ok(files);
    }
    match kind {
        Kind::Openshift => return Ok(files),
        Kind::Microshift | Kind::Crio | Kind::Podman => {
            let mut found = mirrors(&pairs, at, site.nested > 0);
            let found = found.remove(&Category::Generic).unwrap_or_default();
            registries_conf::put(&mut files, kind, &found, at, access);
        }
        Kind::Containerd => hosts_toml::put(&mut files, &pairs, at, access, warnings),
        Kind::K3s => registries_yaml::put(&mut files, &pairs, at, access, warnings),
    }
    if !files.is_empty() {
        files.insert("README.txt".into(), readme::text(kind, site, access).into_bytes());
    }
    Ok(files)
}

/// The pairs of each source host.
fn by_host(pairs: &BTreeSet<Pair>) -> BTreeMap<&RegistryHost, Vec<&Pair>> {
    let mut found = BTreeMap::<_, Vec<_>>::new();
    for pair in pairs {
        found.entry(&pair.host).or_default().push(pair);
    }
    found
}

/// What stands before the path at the target; `None` when the repository was renamed.
fn before(pair: &Pair) -> Option<&str> {
    let before = pair.place.as_str().strip_suffix(pair.path.as_str())?;
    if before.is_empty() { Some(before) } else { before.strip_suffix('/') }
}

/// Names of pairs for a warning: the source and where it stands.
fn shown(pairs: &[&Pair], at: &RegistryHost) -> String {
    let line = |pair: &&Pair| format!("`{}/{}` (at `{at}/{}`)", pair.host, pair.path, pair.place);
    crate::error::some(pairs.iter().map(line).collect::<Vec<_>>())
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
