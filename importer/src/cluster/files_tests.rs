//! The files for a target, byte for byte, for the cases that people know from their documentation.

use std::fmt::Write as _;
use std::io::Write as _;

use format_spec::Digest;
use format_spec::index::Resource;

use super::*;

const HEX: &str = "3717338045df06e31effea46761b2c7e90f543cc4f00547af8158dd6aea868c3";
const REPOSITORY: &str = "openshift/release-images";

fn site(target: &str, nested: usize) -> Site {
    Site { target: target.parse().unwrap(), nested }
}

fn image(repository: &str, tag: &str, source: &str, class: ContentClass) -> Image {
    Image {
        repository: repository.parse().unwrap(),
        tag: tag.parse().unwrap(),
        digest: Digest::of(source.as_bytes()),
        source: source.to_owned(),
        class,
    }
}

fn additional(repository: &str, tag: &str, source: &str) -> Image {
    image(repository, tag, source, ContentClass::Additional)
}

#[test]
fn what_was_deleted_is_not_stated() {
    let mut standing = release();
    standing.images.retain(|image| image.repository.as_str() != "openshift/graph-image");
    let at = site("docker://m.lan/team", 0);
    let (text, _) = shown(&standing, &at, Form::default());
    assert!(!text.contains("UpdateService") && text.contains("signature-configmap"), "{text}");
    standing.images.retain(|image| image.repository.as_str() != REPOSITORY);
    let (text, _) = shown(&standing, &at, Form::default());
    assert!(!text.contains("signature-configmap"), "{text}");
}

/// A release of two components, signed, with its graph image.
fn release() -> Standing {
    let from = format!("quay.io/openshift-release-dev/ocp-release@sha256:{HEX}");
    let component = |name: &str| {
        let source = format!(
            "quay.io/openshift-release-dev/ocp-v4.0-art-dev@{}",
            Digest::of(name.as_bytes())
        );
        image(
            "openshift/release",
            &format!("4.14.38-x86_64-{name}"),
            &source,
            ContentClass::Release,
        )
    };
    let stated = format!(
        r#"{{"version": "4.14.38", "architecture": "amd64", "digest": "sha256:{HEX}", "source": "{from}",
            "repository": "{REPOSITORY}", "tag": "4.14.38-x86_64", "channels": ["stable-4.14"], "signed": true}}"#
    );
    let graph = r#"{"repository": "openshift/graph-image", "tag": "latest", "digest": "sha256:0"}"#;
    let resource =
        |name: &str, content: &str| Resource { name: name.to_owned(), content: content.into() };
    Standing {
        images: vec![
            image(
                "openshift/graph-image",
                "latest",
                "oci:///w/made/graph-image",
                ContentClass::Release,
            ),
            image(REPOSITORY, "4.14.38-x86_64", &from, ContentClass::Release),
            component("cli"),
            component("etcd"),
        ],
        resources: vec![
            resource("graph-image", graph),
            resource("release/4.14.38-x86_64", &stated),
            resource(&format!("release-signature/sha256-{HEX}-1"), "signed"),
        ],
        ..Standing::default()
    }
}

/// Every file, with its name before it.
fn shown(standing: &Standing, site: &Site, form: Form) -> (String, Vec<String>) {
    let mut warnings = Vec::new();
    let mut text = String::new();
    for (name, bytes) in make(standing, site, form, &mut warnings).unwrap() {
        let _ = write!(text, "== {}\n{}", name.display(), String::from_utf8(bytes).unwrap());
    }
    (text, warnings)
}

#[test]
fn a_release_has_all_files() {
    let expected = format!(
        r#"== idms-oc-mirror.yaml
apiVersion: config.openshift.io/v1
kind: ImageDigestMirrorSet
metadata:
  name: idms-release-0
spec:
  imageDigestMirrors:
  - source: quay.io/openshift-release-dev/ocp-release
    mirrors:
    - mirror.acme.com/team/openshift/release-images
  - source: quay.io/openshift-release-dev/ocp-v4.0-art-dev
    mirrors:
    - mirror.acme.com/team/openshift/release
== install-config/imageDigestSources.yaml
imageDigestSources:
- source: quay.io/openshift-release-dev/ocp-release
  mirrors:
  - mirror.acme.com/team/openshift/release-images
- source: quay.io/openshift-release-dev/ocp-v4.0-art-dev
  mirrors:
  - mirror.acme.com/team/openshift/release
== itms-oc-mirror.yaml
apiVersion: config.openshift.io/v1
kind: ImageTagMirrorSet
metadata:
  name: itms-release-0
spec:
  imageTagMirrors:
  - source: quay.io/openshift-release-dev/ocp-release
    mirrors:
    - mirror.acme.com/team/openshift/release-images
== signature-configmap.json
{{
  "apiVersion": "v1",
  "kind": "ConfigMap",
  "metadata": {{
    "name": "mirrored-release-signatures",
    "namespace": "openshift-config-managed",
    "labels": {{
      "release.openshift.io/verification-signatures": ""
    }}
  }},
  "binaryData": {{
    "sha256-{HEX}-1": "c2lnbmVk"
  }}
}}
== signature-configmap.yaml
apiVersion: v1
kind: ConfigMap
metadata:
  name: mirrored-release-signatures
  namespace: openshift-config-managed
  labels:
    release.openshift.io/verification-signatures: ""
binaryData:
  sha256-{HEX}-1: c2lnbmVk
== updateService.yaml
apiVersion: updateservice.operator.openshift.io/v1
kind: UpdateService
metadata:
  name: update-service-oc-mirror
  namespace: openshift-update-service
spec:
  replicas: 2
  releases: mirror.acme.com/team/openshift/release-images
  graphDataImage: mirror.acme.com/team/openshift/graph-image:latest
"#
    );
    let (text, warnings) =
        shown(&release(), &site("docker://mirror.acme.com/team", 0), Form::default());
    assert_eq!(text, expected);
    assert!(warnings.is_empty(), "{warnings:?}");
}

#[test]
fn images_get_their_namespaces_and_kinds() {
    let hex = "ab".repeat(32);
    let images = vec![
        additional("acme/app", "1", "quay.io/acme/app:1"),
        additional("acme/tool", "2", "quay.io/acme/tool:2"),
        additional("acme/both", "3", &format!("quay.io/acme/both:3@sha256:{hex}")),
        additional("ubi8", "latest", &format!("registry.example.io/ubi8@sha256:{hex}")),
        additional("library/busybox", "1", "docker.io/library/busybox:1"),
        additional("moved/here", "1", "quay.io/other/there:1"),
        additional("a/layout", "latest", "oci:///a/layout"),
        additional("a/b", "1", "under_score.example/a/b:1"),
        image("op/one", "1", &format!("quay.io/op/one@sha256:{hex}"), ContentClass::Operator),
    ];
    let standing = Standing { images, ..Standing::default() };
    let (text, warnings) = shown(&standing, &site("docker://10.0.0.1:5000/ns", 0), Form::default());
    let expected = "\
== idms-oc-mirror.yaml
apiVersion: config.openshift.io/v1
kind: ImageDigestMirrorSet
metadata:
  name: idms-operator-0
spec:
  imageDigestMirrors:
  - source: quay.io/op
    mirrors:
    - \"10.0.0.1:5000/ns/op\"
---
apiVersion: config.openshift.io/v1
kind: ImageDigestMirrorSet
metadata:
  name: idms-generic-0
spec:
  imageDigestMirrors:
  - source: quay.io/acme
    mirrors:
    - \"10.0.0.1:5000/ns/acme\"
  - source: registry.example.io/ubi8
    mirrors:
    - \"10.0.0.1:5000/ns/ubi8\"
== itms-oc-mirror.yaml
apiVersion: config.openshift.io/v1
kind: ImageTagMirrorSet
metadata:
  name: itms-generic-0
spec:
  imageTagMirrors:
  - source: docker.io/library
    mirrors:
    - \"10.0.0.1:5000/ns/library\"
  - source: quay.io/acme
    mirrors:
    - \"10.0.0.1:5000/ns/acme\"
  - source: quay.io/other/there
    mirrors:
    - \"10.0.0.1:5000/ns/moved/here\"
";
    assert_eq!(text, expected);
    let [left_out] = &*warnings else { panic!("{warnings:?}") };
    assert!(left_out.ends_with(": `oci:///a/layout`, `under_score.example/a/b:1`"), "{left_out}");
}

#[test]
fn nested_paths_have_repositories() {
    let mut standing = release();
    standing.images.push(additional("acme/app", "1", "quay.io/acme/app:1"));
    let (text, _) = shown(&standing, &site("docker://m.lan/team", 2), Form::default());
    assert!(
        text.contains("  - source: quay.io/acme/app\n    mirrors:\n    - m.lan/team/acme-app\n"),
        "{text}"
    );
    assert!(text.contains("releases: m.lan/team/openshift-release-images\n"), "{text}");
    assert!(text.contains("graphDataImage: m.lan/team/openshift-graph-image:latest\n"), "{text}");
}

#[test]
fn the_older_forms() {
    let at = site("docker://mirror.acme.com/team", 0);
    let (text, _) = shown(&release(), &at, Form { policy: true, ..Form::default() });
    let policy = "== imageContentSourcePolicy.yaml
apiVersion: operator.openshift.io/v1alpha1
kind: ImageContentSourcePolicy
metadata:
  name: release-0
spec:
  repositoryDigestMirrors:
  - source: quay.io/openshift-release-dev/ocp-release
    mirrors:
    - mirror.acme.com/team/openshift/release-images
";
    assert!(text.starts_with(policy), "{text}");
    assert!(
        text.contains(
            "== install-config/imageContentSources.yaml\nimageContentSources:\n- source: "
        )
    );
    assert!(!text.contains("MirrorSet"));

    let (text, _) = shown(&release(), &at, Form { results: true, ..Form::default() });
    let names: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("== ")).collect();
    let signature = format!("release-signatures/signature-sha256-{}.json", &HEX[..16]);
    assert_eq!(
        names,
        ["imageContentSourcePolicy.yaml", "mapping.txt", &*signature, "updateService.yaml"]
    );
    // The graph image has no source.
    assert_eq!(
        text.lines().filter(|line| line.contains("=mirror.acme.com/team/openshift/")).count(),
        3
    );
    assert!(
        text.contains("=mirror.acme.com/team/openshift/release:4.14.38-x86_64-cli\n"),
        "{text}"
    );

    let (text, _) = shown(&release(), &at, Form { by_release: true, ..Form::default() });
    assert!(text.contains(&format!("== signature-sha256-{}.json\n", &HEX[..16])), "{text}");
    assert!(
        text.contains(&format!("  name: sha256-{HEX}\n")) && !text.contains("signature-configmap")
    );
}

#[test]
fn catalogs_have_an_object_of_each_kind() {
    let resource = |name: &str| Resource { name: name.to_owned(), content: b"{}".to_vec() };
    let images = ["redhat", "other"].map(|of| {
        let name = format!("{of}/redhat-operator-index");
        image(&name, "v4.18", "oci:///w/made/catalog", ContentClass::Operator)
    });
    let standing = Standing {
        images: images.into(),
        resources: vec![
            resource("catalog/redhat/redhat-operator-index/v4.18"),
            resource("catalog/other/redhat-operator-index/v4.18"),
        ],
        ..Standing::default()
    };
    let at = site("docker://m.lan:5000/ns", 2);
    let (text, warnings) = shown(&standing, &at, Form::default());
    let names: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("== ")).collect();
    let both = ["cc", "cs"].map(|kind| {
        ["-1.yaml", ".yaml"].map(|end| format!("{kind}-redhat-operator-index-v4-18{end}"))
    });
    assert_eq!(names, both.concat());
    // The image at the mirror, within the components that it takes; and no mirror of what is not elsewhere.
    assert!(text.contains("  image: m.lan:5000/ns/redhat-redhat-operator-index:v4.18\n"), "{text}");
    assert!(
        text.contains("      ref: m.lan:5000/ns/other-redhat-operator-index:v4.18\n"),
        "{text}"
    );
    assert!(!text.contains("MirrorSet") && warnings.is_empty(), "{warnings:?}");
    let (text, _) = shown(&standing, &at, Form { results: true, ..Form::default() });
    let names: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("== ")).collect();
    let older =
        ["-1.yaml", ".yaml"].map(|end| format!("catalogSource-cs-redhat-operator-index{end}"));
    assert_eq!(names, older);
    assert!(
        text.contains("  name: cs-redhat-operator-index\n") && !text.contains("ClusterCatalog")
    );
}

#[test]
fn a_catalog_that_was_not_changed_has_no_mirror_and_takes_its_template() {
    let resource =
        |name: &str, content: &str| Resource { name: name.to_owned(), content: content.into() };
    let stated = r#"{"source": "q.io/redhat/index@sha256:0", "digest": "sha256:0", "packages": ["a", "b"],
        "template": {"metadata": {"labels": {"team": "ours"}}, "spec": {"priority": 5, "image": "elsewhere"}}}"#;
    let hex = "ab".repeat(32);
    let catalog = |tag: &str, source: &str| {
        image("redhat/index", tag, &format!("q.io/redhat/index{source}"), ContentClass::Operator)
    };
    let standing = Standing {
        images: vec![
            catalog("v4.18", ":v4.18"),
            catalog("v4.17", &format!("@sha256:{hex}")),
            image(
                "redhat/op",
                "1",
                &format!("q.io/redhat/op@sha256:{hex}"),
                ContentClass::Operator,
            ),
        ],
        resources: vec![
            resource("catalog/redhat/index/v4.17", ""),
            resource("catalog/redhat/index/v4.18", stated),
            resource("catalog/redhat/index/v4.19", "<html>"),
        ],
        ..Standing::default()
    };
    let at = site("docker://m.lan/ns", 0);
    let (text, warnings) = shown(&standing, &at, Form::default());
    let [told] = &*warnings else { panic!("{warnings:?}") };
    assert!(
        told.starts_with("the resource `catalog/redhat/index/v4.19` of the sequence"),
        "{told}"
    );
    let names: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("== ")).collect();
    let catalogs =
        ["cc-index-v4-17", "cc-index-v4-18", "cs-index-v4-17", "cs-index-v4-18", "idms-oc-mirror"];
    assert_eq!(names, catalogs.map(|name| format!("{name}.yaml")));
    // Only the Operator's image is asked for under its source.
    let alone = Standing { images: vec![standing.images[2].clone()], ..Standing::default() };
    let mirrors = shown(&alone, &at, Form::default()).0;
    assert!(text.ends_with(&mirrors) && !mirrors.contains("index"), "{text}");
    let source = "\
metadata:
  name: cs-index-v4-18
  namespace: openshift-marketplace
  labels:
    team: ours
spec:
  sourceType: grpc
  image: m.lan/ns/redhat/index:v4.18
  priority: 5
";
    assert!(text.contains(source), "{text}");
    let (older, _) = shown(&standing, &at, Form { results: true, ..Form::default() });
    assert!(older.contains("  priority: 5\n") && !older.contains("q.io/redhat/index"), "{older}");
}

#[test]
fn the_real_schemas_hold_catalogs() {
    let stated = r#"{"template": {"metadata": {"labels": {"team": "ours"}, "annotations": {"a.b/c": "1"}}, "spec": {
        "displayName": "Ours", "publisher": "yes", "priority": -100, "secrets": ["pull"],
        "updateStrategy": {"registryPoll": {"interval": "30m0s"}}, "grpcPodConfig": {
            "nodeSelector": {"kubernetes.io/os": "linux"}, "securityContextConfig": "restricted", "memoryTarget": "30Mi",
            "tolerations": [{"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5}]}}}}"#;
    let resources =
        ["1", "2"].map(|tag| format!("catalog/a/index/{tag}")).into_iter().zip(["", stated]);
    let resources =
        resources.map(|(name, content)| Resource { name, content: content.as_bytes().to_vec() });
    let images =
        ["1", "2"].map(|tag| image("a/index", tag, "oci:///w/made", ContentClass::Operator));
    let standing =
        Standing { images: images.into(), resources: resources.collect(), ..Standing::default() };
    let at = site("docker://10.0.0.1:5000/ns", 0);
    let directory = tempfile::tempdir().unwrap();
    for (name, bytes) in make(&standing, &at, Form::default(), &mut Vec::new()).unwrap() {
        fs_err::write(directory.path().join(name), bytes).unwrap();
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/crds.py");
    let run = std::process::Command::new("python3").arg(script).arg(directory.path()).output();
    let skipped = match run {
        Ok(run) if run.status.code() == Some(77) => String::from_utf8_lossy(&run.stderr).into(),
        Ok(run) => {
            let said = String::from_utf8_lossy(&run.stdout);
            assert!(said.contains("4 objects, 0 faults"), "{said}");
            return;
        }
        Err(error) => format!("no python3: {error}"),
    };
    eprintln!("{skipped}");
    if let Some(list) = std::env::var_os("BUNDLE_SKIPS") {
        let mut file = fs_err::OpenOptions::new().append(true).create(true).open(list).unwrap();
        writeln!(file, "{}", skipped.trim_start_matches("skipped: ").trim_end()).unwrap();
    }
}

#[test]
fn what_a_cluster_does_not_take_is_told() {
    let mut standing = release();
    let unsigned = String::from_utf8(standing.resources[1].content.clone()).unwrap();
    standing.resources[1].content =
        unsigned.replace("\"signed\": true", "\"signed\": false").into();
    standing.resources.pop();
    let (text, warnings) = shown(&standing, &site("docker://[::1]:5000", 0), Form::default());
    assert!(!text.contains("MirrorSet") && !text.contains("signature"), "{text}");
    assert!(warnings.iter().any(|warning| warning.contains("no `[::1]:5000`")), "{warnings:?}");
    assert!(warnings.iter().any(|warning| warning.ends_with(": `4.14.38-x86_64`")), "{warnings:?}");
    // Without a graph image there is no service, and without anything no file.
    let mut standing = release();
    standing.resources.remove(0);
    let (text, _) = shown(&standing, &site("docker://m.lan", 0), Form::default());
    assert!(!text.contains("UpdateService"));
    assert_eq!(shown(&Standing::default(), &site("docker://m.lan", 0), Form::default()).0, "");
}
