//! `registries.yaml` of k3s and RKE2: mirrors by host, with rewritten paths.
//!
//! The first rewrite that fits is taken, in no order, so no two may fit one name: either one for the whole host, or one for
//! each repository by its whole name.

use std::collections::{BTreeMap, BTreeSet};

use registry::reference::RegistryHost;

use super::super::document::{Node, map, text, yaml};
use super::super::files::Files;
use super::super::mirrors::Pair;
use super::{Access, before, by_host, shown};

/// Where both programs find the authority.
const AUTHORITY: &str = "etc/rancher/mirror-ca.crt";

/// The file, the same for k3s and for RKE2, and the authority.
pub(super) fn put(
    files: &mut Files,
    pairs: &BTreeSet<Pair>,
    at: &RegistryHost,
    access: &Access,
    warnings: &mut Vec<String>,
) {
    let endpoint = || Node::List(vec![text(format!("{}://{at}", access.scheme()))]);
    let mut mirrors = Vec::new();
    for (host, pairs) in by_host(pairs) {
        let (rewrites, missed) = match host == at {
            true => (None, pairs),
            false => {
                let (rewrites, missed) = rewrites(&pairs);
                (Some(rewrites), missed)
            }
        };
        if !missed.is_empty() {
            warnings.push(format!(
                "k3s knows one place for a repository of another registry: pull these under their names at the target: {}",
                shown(&missed, at)
            ));
        }
        let Some(rewrites) = rewrites else { continue };
        let mut mirror = vec![("endpoint".to_owned(), endpoint())];
        if !rewrites.is_empty() {
            let rewrites = rewrites.into_iter().map(|(from, to)| (from, text(to))).collect();
            mirror.push(("rewrite".to_owned(), Node::Map(rewrites)));
        }
        mirrors.push((host.to_string(), Node::Map(mirror)));
    }
    if mirrors.is_empty() {
        return;
    }
    if access.plain {
        // For what is pulled under its name at the target.
        mirrors.push((at.to_string(), map([("endpoint", endpoint())])));
    }
    let mut document = vec![("mirrors".to_owned(), Node::Map(mirrors))];
    if let Some(authority) = access.authority() {
        let tls = map([("tls", map([("ca_file", text(format!("/{AUTHORITY}")))]))]);
        document.push(("configs".to_owned(), Node::Map(vec![(at.to_string(), tls)])));
        files.insert(AUTHORITY.into(), authority.to_vec());
    }
    let bytes = yaml(&[Node::Map(document)]);
    for program in ["k3s", "rke2"] {
        files.insert(format!("etc/rancher/{program}/registries.yaml").into(), bytes.clone());
    }
}

/// Regular expressions and what takes the place of what they fit, and the pairs that they do not lead to.
fn rewrites<'a>(pairs: &[&'a Pair]) -> (BTreeMap<String, String>, Vec<&'a Pair>) {
    let paths: BTreeSet<Option<&str>> = pairs.iter().map(|pair| before(pair)).collect();
    if let (1, Some(Some(path))) = (paths.len(), paths.first()) {
        let whole = ("^(.*)$".to_owned(), format!("{path}/$1"));
        return ((!path.is_empty()).then_some(whole).into_iter().collect(), Vec::new());
    }
    let (mut rewrites, mut missed) = (BTreeMap::new(), Vec::new());
    for pair in pairs {
        let (path, place) = (pair.path.as_str(), pair.place.to_string());
        // Of the characters in names the dot alone means more.
        let known = rewrites
            .entry(format!("^{}$", path.replace('.', "[.]")))
            .or_insert_with(|| place.clone());
        if *known != place {
            missed.push(*pair);
        }
    }
    (rewrites, missed)
}
