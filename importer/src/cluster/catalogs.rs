//! Catalogs of Operators, as a cluster is told of them: a `CatalogSource` for the lifecycle manager that every cluster has, a
//! `ClusterCatalog` for the one after it.
//!
//! In: a catalog's name at the target, and what its user wants in the object besides. Out: one object of each kind. What must
//! hold: the names are those of oc-mirror wherever it has one, so that what is applied takes the place of what it made; they
//! are names that a cluster takes; and no template leads a cluster to another catalog.

use std::collections::BTreeSet;

use format_spec::{Repository, Tag};
use serde_json::{Map, Value};

use super::document::{Node, map, text};

/// What a cluster takes as a name.
const NAME_MAX: usize = 63;

/// Characters of a tag or digest in a name.
const SUFFIX: usize = 12;

/// How a catalog is called in the form of oc-mirror v2, behind `cs-` or `cc-`. No two get one name.
pub(super) fn name(repository: &Repository, tag: &Tag, taken: &mut BTreeSet<String>) -> String {
    // A catalog that was named by its digest alone has it as its tag.
    let suffix = tag.as_str().strip_prefix("sha256-").unwrap_or(tag.as_str());
    let suffix: String = suffix.chars().take(SUFFIX).collect();
    unique(&format!("{}-{suffix}", own(repository)), taken)
}

/// And in the form of v1, which has the repository alone.
pub(super) fn older_name(repository: &Repository, taken: &mut BTreeSet<String>) -> String {
    let parts = own(repository).split(['.', '_', '-']).filter(|part| !part.is_empty());
    unique(&parts.collect::<Vec<_>>().join("-"), taken)
}

/// The last component of a path.
fn own(repository: &Repository) -> &str {
    repository.as_str().rsplit('/').next().unwrap_or_default()
}

fn unique(wanted: &str, taken: &mut BTreeSet<String>) -> String {
    let wanted = wanted.to_ascii_lowercase().replace(['.', '_'], "-");
    // With `cs-` before it, and a number behind.
    let cut = |room: usize| {
        let short: String = wanted.chars().take(NAME_MAX - "cs-".len() - room).collect();
        short.trim_end_matches('-').to_owned()
    };
    let numbered = (1..).map(|number: u64| {
        let end = format!("-{number}");
        format!("{}{end}", cut(end.len()))
    });
    let mut names = std::iter::once(cut(0)).chain(numbered);
    let name = names.find(|name| !taken.contains(name)).unwrap_or_default();
    taken.insert(name.clone());
    name
}

/// What a user wants in a `CatalogSource`: the template of the configuration, without what is ours to say.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Template {
    /// `labels` and `annotations`, those that there are.
    metadata: Vec<(String, Node)>,
    spec: Vec<(String, Node)>,
}

impl Template {
    /// Takes what counts of a template. What cannot stand in an object is an error.
    pub(super) fn of(mut template: Map<String, Value>) -> Result<Self, String> {
        let mut metadata = object(&mut template, "metadata", "metadata")?;
        let mut found = Self::default();
        for (field, shown) in
            [("labels", "metadata.labels"), ("annotations", "metadata.annotations")]
        {
            let values = object(&mut metadata, field, shown)?;
            if let Some((name, _)) = values.iter().find(|(_, value)| !value.is_string()) {
                let name = name.escape_debug();
                return Err(format!("its template has no text in `{shown}` under `{name}`"));
            }
            if !values.is_empty() {
                found.metadata.push((field.to_owned(), values.into()));
            }
        }
        // These say where the catalog is.
        let ours = ["sourceType", "image", "address", "configMap"];
        let spec = object(&mut template, "spec", "spec")?.into_iter();
        let spec = spec.filter(|(field, _)| !ours.contains(&field.as_str()));
        found.spec = spec.map(|(field, value)| (field, value.into())).collect();
        Ok(found)
    }
}

/// An object in a template; one that is not there is empty.
fn object(
    of: &mut Map<String, Value>,
    field: &str,
    shown: &str,
) -> Result<Map<String, Value>, String> {
    match of.remove(field) {
        None | Some(Value::Null) => Ok(Map::new()),
        Some(Value::Object(found)) => Ok(found),
        Some(_) => Err(format!("`{shown}` of its template is no object")),
    }
}

/// A `CatalogSource` of this image.
pub(super) fn catalog_source(name: &str, image: &str, template: Option<&Template>) -> Node {
    let pair = |field: &str, value: &str| (field.to_owned(), text(value));
    let mut metadata =
        vec![pair("name", &format!("cs-{name}")), pair("namespace", "openshift-marketplace")];
    let mut spec = vec![pair("sourceType", "grpc"), pair("image", image)];
    if let Some(template) = template {
        metadata.extend_from_slice(&template.metadata);
        spec.extend_from_slice(&template.spec);
    }
    map([
        ("apiVersion", text("operators.coreos.com/v1alpha1")),
        ("kind", text("CatalogSource")),
        ("metadata", Node::Map(metadata)),
        ("spec", Node::Map(spec)),
    ])
}

/// A `ClusterCatalog` of this image.
pub(super) fn cluster_catalog(name: &str, image: &str) -> Node {
    let source = map([("type", text("Image")), ("image", map([("ref", text(image))]))]);
    map([
        ("apiVersion", text("olm.operatorframework.io/v1")),
        ("kind", text("ClusterCatalog")),
        ("metadata", map([("name", text(format!("cc-{name}")))])),
        ("spec", map([("priority", Node::Number(0.into())), ("source", source)])),
    ])
}

#[cfg(test)]
mod tests {
    use super::super::document::yaml;
    use super::*;

    fn called(names: &[(&str, &str)]) -> Vec<String> {
        let mut taken = BTreeSet::new();
        let of = |(repository, tag): &(&str, &str)| {
            name(&repository.parse().unwrap(), &tag.parse().unwrap(), &mut taken)
        };
        names.iter().map(of).collect()
    }

    #[test]
    fn names_are_those_of_oc_mirror_and_names_that_a_cluster_takes() {
        let digest = format!("sha256-{}", "0a".repeat(32));
        let long = "x".repeat(100);
        let found = called(&[
            ("redhat/redhat-operator-index", "v4.18"),
            ("other/redhat-operator-index", "v4.18"),
            ("third/redhat-operator-index", "v4.18"),
            ("redhat/certified_operator.index", "V4.18"),
            ("redhat/index", &digest),
            ("redhat/index", "2025.01.01-nightly"),
            ("redhat/index", "2025-01-01__"),
            (&long, "1"),
            (&long, "2"),
        ]);
        let expected = [
            "redhat-operator-index-v4-18",
            "redhat-operator-index-v4-18-1",
            "redhat-operator-index-v4-18-2",
            "certified-operator-index-v4-18",
            "index-0a0a0a0a0a0a",
            "index-2025-01-01-n",
            "index-2025-01-01",
            &long[..60],
            &format!("{}-1", &long[..58]),
        ];
        assert_eq!(found, expected);
        for name in &found {
            assert!(name.len() + 3 <= 63 && !name.ends_with('-'));
            assert!(
                name.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-')
            );
        }
        let mut taken = BTreeSet::new();
        let mut older = |name: &str| older_name(&name.parse().unwrap(), &mut taken);
        assert_eq!([older("a/my__index"), older("b/my.index")], ["my-index", "my-index-1"]);
    }

    #[test]
    fn both_kinds_have_the_fields_that_the_api_knows() {
        let image = "m.lan:5000/ns/redhat/index:v4.18";
        let shown = |node: &Node| String::from_utf8(yaml(std::slice::from_ref(node))).unwrap();
        let expected = "\
apiVersion: operators.coreos.com/v1alpha1
kind: CatalogSource
metadata:
  name: cs-index-v4-18
  namespace: openshift-marketplace
spec:
  sourceType: grpc
  image: m.lan:5000/ns/redhat/index:v4.18
";
        assert_eq!(shown(&catalog_source("index-v4-18", image, None)), expected);
        // Neither the name nor the place is the template's.
        let template = serde_json::json!({
            "apiVersion": "operators.coreos.com/v1alpha1",
            "kind": "CatalogSource",
            "metadata": {
                "name": "totalRubbish", "namespace": "elsewhere", "finalizers": ["x"],
                "annotations": {"a.b/c": "1"}, "labels": {},
            },
            "spec": {
                "image": "elsewhere", "address": "elsewhere:50051", "configMap": "elsewhere", "sourceType": "internal",
                "displayName": "Ours", "priority": -100, "secrets": [], "icon": null,
                "updateStrategy": {"registryPoll": {"interval": "30m"}},
                "grpcPodConfig": {"extractContent": {"catalogDir": "/configs"}, "tolerations": [{"operator": "Exists", "tolerationSeconds": 5}]},
            },
            "status": {"message": "x"},
        });
        let Value::Object(template) = template else { panic!() };
        let template = Template::of(template).unwrap();
        let found = shown(&catalog_source("index-v4-18", image, Some(&template)));
        let (head, spec) = expected.split_once("spec:").unwrap();
        let more = "  displayName: Ours
  grpcPodConfig:
    extractContent:
      catalogDir: \"/configs\"
    tolerations:
    - operator: Exists
      tolerationSeconds: 5
  icon: null
  priority: -100
  secrets: []
  updateStrategy:
    registryPoll:
      interval: \"30m\"
";
        let annotations = "  annotations:\n    a.b/c: \"1\"\n";
        assert_eq!(found, format!("{head}{annotations}spec:{spec}{more}"));
        let expected = "\
apiVersion: olm.operatorframework.io/v1
kind: ClusterCatalog
metadata:
  name: cc-index-v4-18
spec:
  priority: 0
  source:
    type: Image
    image:
      ref: m.lan:5000/ns/redhat/index:v4.18
";
        assert_eq!(shown(&cluster_catalog("index-v4-18", image)), expected);
    }
}
