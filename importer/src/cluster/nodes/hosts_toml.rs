//! `certs.d/HOST/hosts.toml` of containerd: where pulls from a host go first.
//!
//! It is by host alone, with one path before all repositories. What stands elsewhere is told, and a host of which a pull
//! would find another image gets no file. What the mirror does not have is asked of `server`.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use registry::reference::RegistryHost;

use super::super::files::Files;
use super::super::mirrors::Pair;
use super::{Access, before, by_host, shown};

/// A file for each source host, and one for the target with its authority.
pub(super) fn put(
    files: &mut Files,
    pairs: &BTreeSet<Pair>,
    at: &RegistryHost,
    access: &Access,
    warnings: &mut Vec<String>,
) {
    let directory = Path::new("etc/containerd/certs.d");
    let own = format!("{}://{at}", access.scheme());
    for (host, pairs_of_host) in by_host(pairs) {
        let path = path(&pairs_of_host).filter(|_| host != at);
        let missed: Vec<&Pair> = pairs_of_host
            .into_iter()
            .filter(|pair| path.is_none() || before(pair) != path)
            .collect();
        let path = path.filter(|path| !missed.iter().any(|pair| leads_astray(path, pair, pairs)));
        if !missed.is_empty() {
            let rest = match path {
                Some(_) => "the others of the host are found",
                None => "so nothing is written for the host",
            };
            warnings.push(format!(
                "containerd knows mirrors by host alone, with one path before all repositories of `{host}`; {rest}. Pull these \
                 under their names at the target: {}",
                shown(&missed, at)
            ));
        }
        let Some(path) = path else { continue };
        let path = if path.is_empty() { String::new() } else { format!("/{path}") };
        let server = if host.is_docker_hub() { "registry-1.docker.io" } else { host.as_str() };
        let text = text(
            &format!("https://{server}"),
            &format!("{own}/v2{path}"),
            access.authority().is_some().then(|| format!("../{at}/ca.crt")),
        );
        files.insert(directory.join(host.as_str()).join("hosts.toml"), text.into_bytes());
    }
    if files.is_empty() {
        return;
    }
    // For what is pulled under its name at the target.
    let directory: PathBuf = directory.join(at.as_str());
    if let Some(authority) = access.authority() {
        files.insert(directory.join("ca.crt"), authority.to_vec());
    }
    if access.plain || access.authority().is_some() {
        let authority = access.authority().map(|_| "ca.crt".to_owned());
        let text = text(&own, &format!("{own}/v2"), authority);
        files.insert(directory.join("hosts.toml"), text.into_bytes());
    }
}

/// The path before most repositories of a host, the first of equals.
fn path<'a>(pairs: &[&'a Pair]) -> Option<&'a str> {
    let mut counted = BTreeMap::<&str, usize>::new();
    for path in pairs.iter().filter_map(|pair| before(pair)) {
        *counted.entry(path).or_default() += 1;
    }
    let most = counted.into_iter().max_by_key(|(path, count)| (*count, Reverse(*path)));
    most.map(|(path, _)| path)
}

/// Whether behind this path the pair's name is that of another image.
fn leads_astray(path: &str, pair: &Pair, pairs: &BTreeSet<Pair>) -> bool {
    let there = match path {
        "" => pair.path.to_string(),
        path => format!("{path}/{}", pair.path),
    };
    pairs.iter().any(|other| {
        other.place.as_str() == there && (&other.host, &other.path) != (&pair.host, &pair.path)
    })
}

/// Names of hosts and repositories have no character that TOML would take for more than itself.
fn text(server: &str, mirror: &str, authority: Option<String>) -> String {
    let mut text = format!(
        "# Where images are pulled from: written by `bundle resources`\nserver = \"{server}\"\n\n[host.\"{mirror}\"]\n\
         capabilities = [\"pull\", \"resolve\"]\noverride_path = true\n"
    );
    if let Some(authority) = authority {
        // Relative to this file. Writing to a String cannot fail.
        let _ = writeln!(text, "ca = \"{authority}\"");
    }
    text
}
