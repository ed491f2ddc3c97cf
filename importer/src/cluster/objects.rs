//! The objects of a cluster's API, as trees.
//!
//! In: mirrors, places, signatures. Out: documents without anything of this run: no time, no version. What must hold: no
//! object is larger than [`OBJECT_MAX`]; what is more goes into further objects with the next number in their names.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use format_spec::Digest;

use super::document::{Node, map, text, texts, yaml_len};
use super::mirrors::{Category, Mirrors};
use crate::limits::OBJECT_MAX;

/// A kind of mirror configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MirrorKind {
    /// `ImageDigestMirrorSet`.
    Digests,
    /// `ImageTagMirrorSet`.
    Tags,
    /// `ImageContentSourcePolicy`, of clusters before 4.13.
    Policy,
}

impl MirrorKind {
    fn object(self, category: Category, number: usize, list: Vec<Node>) -> Node {
        let (version, kind, field, prefix) = match self {
            Self::Digests => {
                ("config.openshift.io/v1", "ImageDigestMirrorSet", "imageDigestMirrors", "idms-")
            }
            Self::Tags => {
                ("config.openshift.io/v1", "ImageTagMirrorSet", "imageTagMirrors", "itms-")
            }
            Self::Policy => (
                "operator.openshift.io/v1alpha1",
                "ImageContentSourcePolicy",
                "repositoryDigestMirrors",
                "",
            ),
        };
        let mut metadata =
            vec![("name".to_owned(), text(format!("{prefix}{}-{number}", category.as_str())))];
        if self == Self::Policy && category == Category::Operator {
            let label = map([("operators.openshift.org/catalog", text("true"))]);
            metadata.push(("labels".to_owned(), label));
        }
        map([
            ("apiVersion", text(version)),
            ("kind", text(kind)),
            ("metadata", Node::Map(metadata)),
            ("spec", map([(field, Node::List(list))])),
        ])
    }
}

/// Mirror configuration of one kind: the objects of every category.
pub(crate) fn mirror_sets(kind: MirrorKind, mirrors: &BTreeMap<Category, Mirrors>) -> Vec<Node> {
    let mut objects = Vec::new();
    for (category, mirrors) in mirrors {
        let lists = split(sources(mirrors), |list| kind.object(*category, 0, list));
        let numbered = lists.into_iter().enumerate();
        objects.extend(numbered.map(|(number, list)| kind.object(*category, number, list)));
    }
    objects
}

/// Sources with their mirrors, as every kind and the installer's configuration have them.
pub(crate) fn sources(mirrors: &Mirrors) -> Vec<Node> {
    let one = |(source, mirrors)| map([("source", text(source)), ("mirrors", texts(mirrors))]);
    mirrors.iter().map(one).collect()
}

/// Cuts a list so that each object made of a piece is small enough.
fn split(list: Vec<Node>, object: impl Fn(Vec<Node>) -> Node) -> Vec<Vec<Node>> {
    let frame = yaml_len(&object(Vec::new()));
    // An item stands deeper than alone: a few spaces and a dash for each of its lines.
    let size = |item: &Node| {
        let lines = super::document::yaml(std::slice::from_ref(item));
        lines.len() + 8 * lines.iter().filter(|byte| **byte == b'\n').count()
    };
    let mut pieces: Vec<Vec<Node>> = Vec::new();
    let mut used = OBJECT_MAX;
    for item in list {
        let bytes = size(&item);
        if used + bytes > OBJECT_MAX {
            used = frame;
            pieces.push(Vec::new());
        }
        used += bytes;
        pieces.last_mut().expect("pushed at first").push(item);
    }
    pieces
}

/// The update service, which serves the graph within the cluster's network.
pub(crate) fn update_service(releases: String, graph: String) -> Node {
    map([
        ("apiVersion", text("updateservice.operator.openshift.io/v1")),
        ("kind", text("UpdateService")),
        (
            "metadata",
            map([
                ("name", text("update-service-oc-mirror")),
                ("namespace", text("openshift-update-service")),
            ]),
        ),
        (
            "spec",
            map([
                ("replicas", Node::Number(2.into())),
                ("releases", text(releases)),
                ("graphDataImage", text(graph)),
            ]),
        ),
    ])
}

/// Signature files by the digest that they sign and their number.
pub(crate) type Signatures = BTreeMap<(Digest, u32), Vec<u8>>;

/// All signatures under one name; what is more than one object holds under that name with a number.
pub(crate) fn signatures(signatures: &Signatures) -> Vec<Node> {
    config_maps("mirrored-release-signatures", signatures)
}

/// The signatures of each release in an object of its own, as `oc adm release mirror` makes them.
pub(crate) fn signatures_by_release(signatures: &Signatures) -> BTreeMap<Digest, Vec<Node>> {
    let mut releases: BTreeMap<Digest, Signatures> = BTreeMap::new();
    for (name, content) in signatures {
        releases.entry(name.0).or_default().insert(*name, content.clone());
    }
    let objects = |(digest, own): (Digest, Signatures)| {
        (digest, config_maps(&format!("sha256-{}", digest.hex()), &own))
    };
    releases.into_iter().map(objects).collect()
}

fn config_maps(name: &str, signatures: &Signatures) -> Vec<Node> {
    let data: Vec<Node> = signatures
        .iter()
        .map(|(name, content)| Node::Map(vec![(key(name), base64(content))]))
        .collect();
    let joined = |list: Vec<Node>| {
        let pairs = list.into_iter().flat_map(|one| match one {
            Node::Map(pairs) => pairs,
            _ => Vec::new(),
        });
        pairs.collect()
    };
    let pieces = split(data, |list| config_map(name.to_owned(), joined(list)));
    let called = |number| if number == 0 { name.to_owned() } else { format!("{name}-{number}") };
    let numbered = pieces.into_iter().enumerate();
    numbered.map(|(number, list)| config_map(called(number), joined(list))).collect()
}

fn key((digest, number): &(Digest, u32)) -> String {
    format!("sha256-{}-{number}", digest.hex())
}

fn base64(content: &[u8]) -> Node {
    text(BASE64_STANDARD.encode(content))
}

fn config_map(name: String, data: Vec<(String, Node)>) -> Node {
    map([
        ("apiVersion", text("v1")),
        ("kind", text("ConfigMap")),
        (
            "metadata",
            map([
                ("name", text(name)),
                ("namespace", text("openshift-config-managed")),
                ("labels", map([("release.openshift.io/verification-signatures", text(""))])),
            ]),
        ),
        ("binaryData", Node::Map(data)),
    ])
}

/// Several objects as one document: the object itself when it is the only one.
pub(crate) fn together(mut objects: Vec<Node>) -> Node {
    if objects.len() == 1 {
        return objects.swap_remove(0);
    }
    map([("apiVersion", text("v1")), ("kind", text("List")), ("items", Node::List(objects))])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::document::yaml;
    use crate::limits::SIGNATURE_MAX;

    #[test]
    fn no_object_is_too_large_and_nothing_is_lost() {
        let mirrors: Mirrors = (0..5000)
            .map(|n| {
                (format!("q.io/org-{n:05}/{}", "x".repeat(100)), [format!("m.lan/a/{n}")].into())
            })
            .collect();
        let all = BTreeMap::from([(Category::Generic, mirrors)]);
        for (kind, prefix) in
            [(MirrorKind::Digests, "idms-"), (MirrorKind::Tags, "itms-"), (MirrorKind::Policy, "")]
        {
            let objects = mirror_sets(kind, &all);
            assert!(objects.len() > 2, "{}", objects.len());
            let mut sources = 0;
            for (number, object) in objects.iter().enumerate() {
                assert!(yaml_len(object) <= OBJECT_MAX);
                let text = String::from_utf8(yaml(std::slice::from_ref(object))).unwrap();
                assert!(
                    text.contains(&format!("  name: {prefix}generic-{number}\n")),
                    "{text:.200}"
                );
                sources += text.matches("source: ").count();
            }
            assert_eq!(sources, 5000);
            // As full as they may be: the last alone has room.
            let full = |one: &Node| yaml_len(one) > OBJECT_MAX * 8 / 10;
            assert!(objects[..objects.len() - 1].iter().all(full));
        }

        let files = (0..400_u32).map(|n| ((Digest::of(&n.to_be_bytes()), 1), vec![7; 900]));
        let files: Signatures = files.collect();
        let objects = signatures(&files);
        assert!(objects.len() > 1);
        let texts: Vec<String> = objects
            .iter()
            .map(|one| String::from_utf8(yaml(std::slice::from_ref(one))).unwrap())
            .collect();
        assert!(texts.iter().all(|text| text.len() <= OBJECT_MAX));
        assert!(texts[1].contains("name: mirrored-release-signatures-1\n"));
        assert_eq!(texts.iter().map(|text| text.matches("  sha256-").count()).sum::<usize>(), 400);
    }

    #[test]
    fn a_release_has_a_config_map_of_its_own_when_asked() {
        let digest = Digest::of(b"a");
        let files =
            Signatures::from([((digest, 1), b"one".to_vec()), ((digest, 2), b"two".to_vec())]);
        let maps = signatures_by_release(&files);
        assert_eq!(maps.len(), 1);
        let text = String::from_utf8(yaml(&maps[&digest])).unwrap();
        let hex = digest.hex();
        let expected = format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: sha256-{hex}\n  namespace: openshift-config-managed\n  \
             labels:\n    release.openshift.io/verification-signatures: \"\"\nbinaryData:\n  sha256-{hex}-1: b25l\n  \
             sha256-{hex}-2: dHdv\n"
        );
        assert_eq!(text, expected);
        // As large as they can be.
        let large = (1..=9).map(|number| ((digest, number), vec![7; SIGNATURE_MAX]));
        let maps = &signatures_by_release(&large.collect())[&digest];
        assert!(maps.len() > 1 && maps.iter().all(|one| yaml_len(one) <= OBJECT_MAX));
        let text = String::from_utf8(yaml(maps)).unwrap();
        assert!(text.contains(&format!("  name: sha256-{hex}-1\n")));
        assert_eq!(text.matches(&format!("\n  sha256-{hex}-")).count(), 9);
    }
}
