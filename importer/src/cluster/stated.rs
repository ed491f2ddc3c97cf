//! What the last sequences state about releases and the like: the resources of the index, by their names.
//!
//! In: resources as SPEC 5.4 has them. Out: releases, signatures, the graph image, catalogs, charts. What must hold: a name that is
//! not known is passed over, it is of a later version; a known one that cannot be used is told and left out.

use std::collections::{BTreeMap, BTreeSet};

use format_spec::index::Resource;
use format_spec::limits::{CATALOG_MAX, TEMPLATE_MAX};
use format_spec::{Digest, Repository, Tag, json};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::catalogs::Template;
use super::charts::Chart;
use super::replay::Standing;
use crate::limits::SIGNATURE_MAX;

/// A release that stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub(crate) struct Release {
    pub(crate) version: String,
    pub(crate) architecture: String,
    pub(crate) digest: Digest,
    /// Where it was carried from, by digest.
    #[serde(default)]
    pub(crate) source: String,
    /// Below the target's namespace.
    pub(crate) repository: Repository,
    pub(crate) tag: Tag,
    /// The channels that it was chosen from.
    #[serde(default)]
    pub(crate) channels: Vec<String>,
    /// Whether it has a valid signature.
    #[serde(default = "yes")]
    pub(crate) signed: bool,
}

fn yes() -> bool {
    true
}

/// An image that was made for the target: it has no source elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub(crate) struct Made {
    /// Below the target's namespace.
    pub(crate) repository: Repository,
    pub(crate) tag: Tag,
}

/// Everything that is stated.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Stated {
    pub(crate) releases: BTreeSet<Release>,
    /// Signature files by the digest that they sign and their number.
    pub(crate) signatures: BTreeMap<(Digest, u32), Vec<u8>>,
    pub(crate) graph: Option<Made>,
    /// Catalog images, with what the user wants in their objects.
    pub(crate) catalogs: BTreeMap<Made, Option<Template>>,
    /// Helm charts, by name and version.
    pub(crate) charts: BTreeMap<String, Chart>,
}

impl Stated {
    /// Reads the resources. What cannot be used is told.
    pub(crate) fn of(resources: &[Resource], warnings: &mut Vec<String>) -> Self {
        let mut stated = Self::default();
        for resource in resources {
            if let Err(problem) = stated.take(resource) {
                let name = resource.name.escape_debug();
                warnings.push(format!(
                    "the resource `{name}` of the sequence cannot be used: {problem}"
                ));
            }
        }
        stated
    }

    /// Reads what standing sequences state, of what stands. A person may have deleted it at the target since.
    pub(crate) fn standing(standing: &Standing, warnings: &mut Vec<String>) -> Self {
        let mut stated = Self::of(&standing.resources, warnings);
        let there: BTreeSet<(&Repository, &Tag)> =
            standing.images.iter().map(|image| (&image.repository, &image.tag)).collect();
        let stands = |repository: &Repository, tag: &Tag| there.contains(&(repository, tag));
        stated.releases.retain(|one| stands(&one.repository, &one.tag));
        let signed: BTreeSet<Digest> = stated.releases.iter().map(|one| one.digest).collect();
        stated.signatures.retain(|(digest, _), _| signed.contains(digest));
        stated.graph = stated.graph.filter(|one| stands(&one.repository, &one.tag));
        stated.catalogs.retain(|one, _| stands(&one.repository, &one.tag));
        stated.charts.retain(|_, one| stands(&one.repository, &one.tag));
        stated
    }

    fn take(&mut self, resource: &Resource) -> Result<(), String> {
        let Resource { name, content } = resource;
        let Some((kind, rest)) = name.split_once('/') else {
            if name == "graph-image" {
                let graph: Made = parse(content)?;
                if self.graph.as_ref().is_some_and(|other| *other != graph) {
                    return Err("another stream has its graph image elsewhere".to_owned());
                }
                self.graph = Some(graph);
            }
            return Ok(());
        };
        match kind {
            "release" => {
                self.releases.insert(parse(content)?);
            }
            "release-signature" => {
                let name = signature(rest).ok_or("it is not `sha256-<hex>-<n>`")?;
                if content.len() > SIGNATURE_MAX {
                    return Err(format!("{} bytes, at most {SIGNATURE_MAX}", content.len()));
                }
                self.signatures.insert(name, content.clone());
            }
            "catalog" => {
                let (repository, tag) = rest.rsplit_once('/').ok_or("it has no tag")?;
                let repository = repository.parse().map_err(|error| format!("{error}"))?;
                let tag = tag.parse().map_err(|error| format!("{error}"))?;
                let template = template(content)?;
                let known = self.catalogs.entry(Made { repository, tag }).or_default();
                if known.is_some() && template.is_some() && *known != template {
                    return Err("another stream has another template for it".to_owned());
                }
                if known.is_none() {
                    *known = template;
                }
            }
            "chart" => {
                let chart: Chart = parse(content)?;
                chart.check(rest)?;
                let known = self.charts.entry(rest.to_owned()).or_insert_with(|| chart.clone());
                if *known != chart {
                    return Err("another stream has another chart of this name".to_owned());
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Whether this name at the target is one of a release.
    pub(crate) fn is_release(&self, repository: &Repository, tag: &Tag) -> bool {
        self.releases.iter().any(|release| release.repository == *repository && release.tag == *tag)
    }

    /// Whether this name at the target is of an image that no cluster asks for under another name.
    pub(crate) fn is_made(&self, repository: &Repository, tag: &Tag) -> bool {
        let is = |made: &Made| made.repository == *repository && made.tag == *tag;
        let chart = |chart: &Chart| chart.repository == *repository && chart.tag == *tag;
        self.graph.as_ref().is_some_and(is)
            || self.catalogs.keys().any(is)
            || self.charts.values().any(chart)
    }
}

fn parse<T: serde::de::DeserializeOwned>(content: &[u8]) -> Result<T, String> {
    json::parse(content).map_err(|error| error.to_string())
}

/// The members in the content of a catalog's resource.
fn members(content: &[u8]) -> Result<Map<String, Value>, String> {
    match content.len() {
        0 => Ok(Map::new()),
        1..=CATALOG_MAX => parse(content),
        bytes => Err(format!("{bytes} bytes, at most {CATALOG_MAX}")),
    }
}

/// An Operator catalog that stands once a sequence is imported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OfferedCatalog {
    /// Its name at the target, below the target's namespace.
    pub name: String,
    /// Its image at its source.
    pub source: Option<String>,
    /// The packages that it offers; none where an older version wrote the sequence.
    pub packages: Vec<String>,
}

/// The catalogs that resources state, for whom looks at a medium. What cannot be used is passed over here: an import tells it.
pub fn catalogs(resources: &[Resource]) -> Vec<OfferedCatalog> {
    let offered = resources.iter().filter_map(|resource| {
        let (repository, tag) = resource.name.strip_prefix("catalog/")?.rsplit_once('/')?;
        let mut members = members(&resource.content).ok()?;
        let source = members.remove("source");
        let packages = members.remove("packages");
        let texts = packages.as_ref().and_then(Value::as_array).into_iter().flatten();
        Some(OfferedCatalog {
            name: format!("{repository}:{tag}"),
            source: source.and_then(|source| source.as_str().map(ToOwned::to_owned)),
            packages: texts.filter_map(Value::as_str).map(ToOwned::to_owned).collect(),
        })
    });
    offered.collect()
}

/// The template in the content of a catalog's resource.
fn template(content: &[u8]) -> Result<Option<Template>, String> {
    match members(content)?.remove("template") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(template)) => {
            let bytes = serde_json::to_vec(&template).map_or(usize::MAX, |json| json.len());
            if bytes > TEMPLATE_MAX {
                return Err(format!("its template has {bytes} bytes, at most {TEMPLATE_MAX}"));
            }
            Template::of(template).map(Some)
        }
        Some(_) => Err("its `template` is no object".to_owned()),
    }
}

/// `sha256-<hex>-<n>`.
fn signature(text: &str) -> Option<(Digest, u32)> {
    let (digest, number) = text.rsplit_once('-')?;
    let hex = digest.strip_prefix("sha256-")?;
    let number: u32 = number.parse().ok()?;
    let name = (format!("sha256:{hex}").parse().ok()?, number);
    // `+1` and `01` are numbers too.
    (number > 0 && format!("sha256-{hex}-{number}") == text).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource(name: &str, content: &[u8]) -> Resource {
        Resource { name: name.to_owned(), content: content.to_owned() }
    }

    fn chart(name: &str, version: &str) -> String {
        let digest = Digest::of(name.as_bytes());
        format!(
            r#"{{"name":"{name}","version":"{version}","repository":"charts/app","tag":"1.0.0_b1","digest":"{digest}",
                "archive":{{"digest":"{digest}","size":5}}}}"#
        )
    }

    #[test]
    fn what_is_known_is_taken_and_the_rest_told_or_passed_over() {
        let hex = "ab".repeat(32);
        let release = format!(
            r#"{{"version":"4.14.38","architecture":"amd64","digest":"sha256:{hex}","source":"q.io/r@sha256:{hex}",
                "repository":"openshift/release-images","tag":"4.14.38-x86_64","channels":["stable-4.14"],"signed":false}}"#
        );
        let graph = br#"{"repository":"openshift/graph-image","tag":"latest","digest":"sha256:0"}"#;
        let mut warnings = Vec::new();
        let stated = Stated::of(
            &[
                resource("release/4.14.38-x86_64", release.as_bytes()),
                resource(&format!("release-signature/sha256-{hex}-2"), b"two"),
                resource("graph-image", graph),
                resource("catalog/redhat/index/v4.14", b""),
                resource("catalog/redhat/index/v4.15", br#"{"digest":"?","of-later":[1]}"#),
                resource("chart/app/1.0.0+b1", chart("app", "1.0.0+b1").as_bytes()),
                resource("of-later/versions", b"?"),
                resource("of-later", b"?"),
            ],
            &mut warnings,
        );
        assert!(warnings.is_empty(), "{warnings:?}");
        let release = stated.releases.first().unwrap();
        assert_eq!((release.tag.as_str(), release.signed), ("4.14.38-x86_64", false));
        assert!(stated.is_release(&release.repository, &release.tag));
        let digest: Digest = format!("sha256:{hex}").parse().unwrap();
        assert_eq!(stated.signatures[&(digest, 2)], b"two");
        let name =
            |repository: &str, tag: &str| (repository.parse().unwrap(), tag.parse().unwrap());
        for (repository, tag) in ["v4.14", "v4.15"]
            .map(|tag| name("redhat/index", tag))
            .into_iter()
            .chain([name("openshift/graph-image", "latest"), name("charts/app", "1.0.0_b1")])
        {
            assert!(stated.is_made(&repository, &tag));
        }
        let item = "x".repeat(10_000);
        let large = serde_json::json!({"template": {"spec": {"secrets": vec![item; 7]}}});
        let large = serde_json::to_vec(&large).unwrap();
        for (odd, content) in [
            ("release/x", &b"{}"[..]),
            ("release/x", b"<html>"),
            ("graph-image", b"[]"),
            ("release-signature/sha256-ab-1", b""),
            (&*format!("release-signature/sha256-{hex}-01"), b""),
            (&*format!("release-signature/sha256-{hex}-0"), b""),
            ("catalog/x", b""),
            ("catalog/x/1", b"[]"),
            ("catalog/x/1", b"{\"template\":[]}"),
            ("catalog/x/1", b"{\"template\":{\"spec\":1}}"),
            ("catalog/x/1", b"{\"template\":{\"spec\":{\"priority\":1.5}}}"),
            ("catalog/x/1", b"{\"template\":{\"metadata\":[]}}"),
            ("catalog/x/1", b"{\"template\":{\"metadata\":{\"labels\":{\"a\":true}}}}"),
            ("catalog/x/1", &[b' '; CATALOG_MAX + 1]),
            ("catalog/x/1", &large),
            ("chart/app/1.0.0", b"{}"),
            ("chart/other/1.0.0", chart("app", "1.0.0").as_bytes()),
            ("chart/../../x/1.0.0", chart("../../x", "1.0.0").as_bytes()),
            ("chart/app/..", chart("app", "..").as_bytes()),
            ("chart/a b/1.0.0", chart("a b", "1.0.0").as_bytes()),
            ("chart/app/2.0.0", chart("app", "2.0.0").replace("5}", "99999999}").as_bytes()),
        ] {
            let mut warnings = Vec::new();
            let nothing = Stated::of(&[resource(odd, content)], &mut warnings);
            assert_eq!((nothing, warnings.len()), (Stated::default(), 1), "{odd}");
        }
    }

    #[test]
    fn a_medium_says_which_catalogs_it_brings() {
        let resources = [
            resource(
                "catalog/a/index/v1",
                br#"{"source":"host/a@x","packages":["p","q"],"later":1}"#,
            ),
            resource("catalog/b/v2", b""),
            resource("catalog/c", b"{}"),
            resource("catalog/d/v3", b"{"),
            resource("release/4.1", b"{}"),
        ];
        let [first, second] = catalogs(&resources).try_into().unwrap();
        assert_eq!(
            (first.name.as_str(), first.source.as_deref()),
            ("a/index:v1", Some("host/a@x"))
        );
        assert_eq!(first.packages, ["p", "q"]);
        assert_eq!((second.name.as_str(), second.source, second.packages.len()), ("b:v2", None, 0));
    }

    #[test]
    fn a_template_of_one_stream_holds_and_another_one_is_told() {
        let one = resource("catalog/a/b/1", br#"{"template":{"spec":{"priority":1}}}"#);
        let other = resource("catalog/a/b/1", br#"{"template":{"spec":{"priority":2}}}"#);
        let none = resource("catalog/a/b/1", b"{}");
        let mut warnings = Vec::new();
        let stated = |resources: &[&Resource], warnings: &mut Vec<String>| {
            let resources: Vec<_> = resources.iter().map(|one| (*one).clone()).collect();
            Stated::of(&resources, warnings)
        };
        let first = stated(&[&one], &mut warnings);
        assert_eq!(stated(&[&none, &one, &one, &none], &mut warnings), first);
        assert!(warnings.is_empty(), "{warnings:?}");
        assert_eq!(stated(&[&one, &other], &mut warnings), first);
        let [told] = &*warnings else { panic!("{warnings:?}") };
        assert!(told.ends_with("another stream has another template for it"), "{told}");
    }
}
