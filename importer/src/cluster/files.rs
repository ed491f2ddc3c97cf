//! Which files there are and what stands in each: names and forms that users of oc-mirror know.
//!
//! In: what stands at a target, what clusters call the target, the form. Out: names and bytes. What must hold: every file
//! directly in the directory can be given to `oc apply`; what cannot (a piece of the installer's configuration) lies below
//! it or ends in `.txt`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use format_spec::head::ContentClass;
use format_spec::{Repository, Tag};
use registry::reference::{Reference, RegistryHost, Target};

use super::Form;
use super::catalogs::{self, catalog_source, cluster_catalog};
use super::document::{Node, json, map, yaml};
use super::mirrors::{Category, Mirrors, Pair, mirrors};
use super::objects::{
    MirrorKind, mirror_sets, signatures, signatures_by_release, sources, together, update_service,
};
use super::replay::{Image, Standing};
use super::stated::{Made, Stated};
use crate::error::{ImportError, some};
use crate::paths::nest;

/// Where a cluster finds the mirror.
pub(super) struct Site {
    pub(super) target: Target,
    /// Path components that the target allows; 0 for any number.
    pub(super) nested: usize,
}

/// Files by their names below the directory.
pub(super) type Files = BTreeMap<PathBuf, Vec<u8>>;

/// The name of the directory in the form of oc-mirror v1. It had the time there; the last sequence is as good, and the
/// same again.
pub(super) fn results_name(standing: &Standing) -> String {
    let last = standing.last.values().max().map_or(0, |last| last.get());
    format!("results-{last}")
}

/// Makes the files.
pub(super) fn make(
    standing: &Standing,
    site: &Site,
    form: Form,
    warnings: &mut Vec<String>,
) -> Result<Files, ImportError> {
    let stated = Stated::standing(standing, warnings);
    let named = Named::of(&standing.images, &stated, site, warnings)?;
    let mut files = Files::new();
    let mut put = |name: &str, documents: &[Node]| {
        if !documents.is_empty() {
            files.insert(name.into(), yaml(documents));
        }
    };
    let site_can = cluster_can_name(&site.target.registry);
    let needed = !named.digests.is_empty() || !named.tags.is_empty();
    if needed && !site_can {
        warnings.push(format!(
            "no mirror configuration is written: a cluster takes names of letters, digits, dots and dashes, and no `{}`",
            site.target.registry
        ));
    }
    // oc-mirror v1 had no other kind.
    let policy = form.policy || form.results;
    let find = |pairs: &BTreeSet<Pair>| match site_can {
        true => mirrors(pairs, &site.target.registry, site.nested > 0),
        false => BTreeMap::new(),
    };
    let digests = if policy {
        // The only kind that there is gets what has a digest, as every image has one.
        find(&named.digests.union(&named.tags).cloned().collect())
    } else {
        find(&named.digests)
    };
    if policy {
        put("imageContentSourcePolicy.yaml", &mirror_sets(MirrorKind::Policy, &digests));
        if !named.tags.is_empty() {
            warnings.push(
                "an `ImageContentSourcePolicy` is for pulls by digest: those by tag go to the source".to_owned(),
            );
        }
    } else {
        put("idms-oc-mirror.yaml", &mirror_sets(MirrorKind::Digests, &digests));
        put("itms-oc-mirror.yaml", &mirror_sets(MirrorKind::Tags, &find(&named.tags)));
    }
    if let Some(service) = service(&stated, site, warnings)? {
        put("updateService.yaml", &[service]);
    }
    if let Some(release) = digests.get(&Category::Release).filter(|_| !form.results) {
        let (name, snippet) = install_config(policy, release);
        files.insert(name, yaml(&[snippet]));
    }
    put_catalogs(&stated, site, form, &mut files)?;
    put_signatures(&stated, form, &mut files);
    if form.results && !named.mapping.is_empty() {
        files.insert("mapping.txt".into(), named.mapping.concat().into_bytes());
    }
    let unsigned = stated.releases.iter().filter(|release| !release.signed);
    let unsigned: Vec<_> = unsigned.map(|release| format!("`{}`", release.tag)).collect();
    if !unsigned.is_empty() {
        warnings.push(format!(
            "carried without a valid signature, so a cluster updates to it only with `--force`: {}",
            some(unsigned)
        ));
    }
    Ok(files)
}

/// Whether a name of a registry can stand in a cluster's mirror configuration: an IPv6 address and an underscore cannot.
pub(super) fn cluster_can_name(host: &RegistryHost) -> bool {
    !host.host().contains(['[', '_'])
}

/// A repository at the target, as a cluster names it.
fn place(site: &Site, repository: &Repository) -> Result<Repository, ImportError> {
    Ok(nest(&repository.below(site.target.namespace.as_ref())?, site.nested)?)
}

/// The images with their names at both ends.
#[derive(Default)]
pub(super) struct Named {
    /// Those that are asked for by digest.
    pub(super) digests: BTreeSet<Pair>,
    /// Those that are asked for by tag.
    pub(super) tags: BTreeSet<Pair>,
    /// Lines `source@digest=place:tag`.
    mapping: Vec<String>,
}

impl Named {
    pub(super) fn of(
        images: &[Image],
        stated: &Stated,
        site: &Site,
        warnings: &mut Vec<String>,
    ) -> Result<Self, ImportError> {
        let mut named = Self::default();
        let mut left_out = BTreeSet::new();
        for image in images {
            let Image { repository, tag, digest, source, class } = image;
            // A cluster asks for these under their names at the target.
            if stated.is_made(repository, tag) {
                continue;
            }
            let host = |source: &Reference| cluster_can_name(&source.registry);
            let Some(source) = source.parse().ok().filter(host) else {
                left_out.insert(format!("`{source}`"));
                continue;
            };
            let place = place(site, repository)?;
            let Reference { registry, repository: path, tag: by_tag, digest: by_digest } = source;
            named.mapping.push(format!(
                "{registry}/{path}@{digest}={}/{place}:{tag}\n",
                site.target.registry
            ));
            let pair = Pair { category: category(*class), host: registry, path, place };
            // The graph names releases by digest, people by tag.
            let release = stated.is_release(repository, tag);
            if by_tag.is_some() || by_digest.is_none() || release {
                named.tags.insert(pair.clone());
            }
            if by_digest.is_some() || release {
                named.digests.insert(pair);
            }
        }
        named.mapping.sort_unstable();
        if !left_out.is_empty() {
            warnings.push(format!(
                "no cluster asks for an image by such a name, so it has no entry in the mirror configuration: {}",
                some(left_out)
            ));
        }
        Ok(named)
    }
}

fn category(class: ContentClass) -> Category {
    match class {
        ContentClass::Release => Category::Release,
        ContentClass::Operator => Category::Operator,
        ContentClass::Additional | ContentClass::Helm => Category::Generic,
    }
}

/// The update service, where there are releases and a graph image.
fn service(
    stated: &Stated,
    site: &Site,
    warnings: &mut Vec<String>,
) -> Result<Option<Node>, ImportError> {
    let Some(graph) = &stated.graph else { return Ok(None) };
    let repositories: BTreeSet<&Repository> =
        stated.releases.iter().map(|release| &release.repository).collect();
    let Some(releases) = repositories.first() else { return Ok(None) };
    if repositories.len() > 1 {
        let all = repositories.iter().map(|one| format!("`{one}`")).collect::<Vec<_>>();
        warnings.push(format!(
            "an update service reads one repository of releases, the first of these: {}",
            all.join(", ")
        ));
    }
    let host = &site.target.registry;
    let image = |repository: &Repository, tag: Option<&Tag>| -> Result<String, ImportError> {
        let tag = tag.map_or(String::new(), |tag| format!(":{tag}"));
        Ok(format!("{host}/{}{tag}", place(site, repository)?))
    };
    // By its tag: the next graph image takes it over, and the old one may be collected then.
    let graph = image(&graph.repository, Some(&graph.tag))?;
    Ok(Some(update_service(image(releases, None)?, graph)))
}

/// What goes into `install-config.yaml` for a cluster that is installed from the mirror.
fn install_config(policy: bool, release: &Mirrors) -> (PathBuf, Node) {
    let field = if policy { "imageContentSources" } else { "imageDigestSources" };
    let name = PathBuf::from("install-config").join(format!("{field}.yaml"));
    (name, map([(field, Node::List(sources(release)))]))
}

/// Of each catalog the objects that clusters take it by, under the names that oc-mirror gave their files.
fn put_catalogs(
    stated: &Stated,
    site: &Site,
    form: Form,
    files: &mut Files,
) -> Result<(), ImportError> {
    let mut taken = BTreeSet::new();
    for (Made { repository, tag }, template) in &stated.catalogs {
        let image = format!("{}/{}:{tag}", site.target.registry, place(site, repository)?);
        if form.results {
            let name = catalogs::older_name(repository, &mut taken);
            let source = catalog_source(&name, &image, template.as_ref());
            files.insert(format!("catalogSource-cs-{name}.yaml").into(), yaml(&[source]));
            continue;
        }
        let name = catalogs::name(repository, tag, &mut taken);
        let source = catalog_source(&name, &image, template.as_ref());
        files.insert(format!("cs-{name}.yaml").into(), yaml(&[source]));
        files.insert(format!("cc-{name}.yaml").into(), yaml(&[cluster_catalog(&name, &image)]));
    }
    Ok(())
}

fn put_signatures(stated: &Stated, form: Form, files: &mut Files) {
    if stated.signatures.is_empty() {
        return;
    }
    if form.results {
        for (digest, objects) in signatures_by_release(&stated.signatures) {
            let name = format!("signature-sha256-{}.json", &digest.hex()[..16]);
            files.insert(PathBuf::from("release-signatures").join(name), json(&together(objects)));
        }
    } else if form.by_release {
        for (digest, objects) in signatures_by_release(&stated.signatures) {
            let name = format!("signature-sha256-{}", &digest.hex()[..16]);
            files.insert(format!("{name}.yaml").into(), yaml(&objects));
            files.insert(format!("{name}.json").into(), json(&together(objects)));
        }
    } else {
        let objects = signatures(&stated.signatures);
        files.insert("signature-configmap.yaml".into(), yaml(&objects));
        files.insert("signature-configmap.json".into(), json(&together(objects)));
    }
}

#[cfg(test)]
#[path = "files_tests.rs"]
mod tests;
