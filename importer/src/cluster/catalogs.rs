//! Catalogs of Operators, as a cluster is told of them: a `CatalogSource` for the lifecycle manager that every cluster has, a
//! `ClusterCatalog` for the one after it.
//!
//! In: a catalog's name at the target. Out: one object of each kind. What must hold: the names are those of oc-mirror
//! wherever it has one, so that what is applied takes the place of what it made; and they are names that a cluster takes.

use std::collections::BTreeSet;

use format_spec::{Repository, Tag};

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

/// A `CatalogSource` of this image. `template` has further fields of its `spec`; those that say where the catalog is are
/// set here.
pub(super) fn catalog_source(name: &str, image: &str, template: Vec<(String, Node)>) -> Node {
    let own = [("sourceType", "grpc"), ("image", image)];
    let mut spec: Vec<(String, Node)> =
        own.iter().map(|(field, value)| ((*field).to_owned(), text(*value))).collect();
    // Another place than the image.
    let ours = ["sourceType", "image", "address", "configMap"];
    spec.extend(template.into_iter().filter(|(field, _)| !ours.contains(&field.as_str())));
    map([
        ("apiVersion", text("operators.coreos.com/v1alpha1")),
        ("kind", text("CatalogSource")),
        (
            "metadata",
            map([
                ("name", text(format!("cs-{name}"))),
                ("namespace", text("openshift-marketplace")),
            ]),
        ),
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
        ("spec", map([("priority", Node::Number(0)), ("source", source)])),
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
        assert_eq!(shown(&catalog_source("index-v4-18", image, Vec::new())), expected);
        let poll = map([("registryPoll", map([("interval", text("30m"))]))]);
        let template = vec![
            ("image".to_owned(), text("elsewhere")),
            ("displayName".to_owned(), text("Ours")),
            ("updateStrategy".to_owned(), poll),
            ("address".to_owned(), text("elsewhere:50051")),
        ];
        let more =
            "  displayName: Ours\n  updateStrategy:\n    registryPoll:\n      interval: \"30m\"\n";
        let found = shown(&catalog_source("index-v4-18", image, template));
        assert_eq!(found, format!("{expected}{more}"));
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
