//! Names at the target, which people have in their manifests.

use super::*;
use crate::config::ImageSetConfig;
use crate::release::references::{BootImage, Component, References};

fn stanza(text: &str) -> ReleaseStanza {
    let text = format!(
        "kind: ImageSetConfiguration\napiVersion: mirror.openshift.io/v2alpha1\nmirror:\n  platform:\n    \
         kubeVirtContainer: true\n    release: q.io/r:1\n{text}"
    );
    ImageSetConfig::parse(&text, "x").unwrap().config.platform.unwrap()
}

fn payload(architecture: &str) -> Payload {
    let image = |name: &str| -> Reference {
        format!("q.io/a@{}", Digest::of(name.as_bytes())).parse().unwrap()
    };
    let boot = |stream: Option<&str>, architecture: &str| BootImage {
        stream: stream.map(ToOwned::to_owned),
        architecture: architecture.to_owned(),
        image: image(architecture),
    };
    Payload {
        references: References {
            version: "4.16.0".to_owned(),
            components: vec![Component { name: "a".to_owned(), image: image("a") }],
        },
        boot_images: vec![
            boot(None, "x86_64"),
            boot(None, "s390x"),
            boot(Some("rhel-10"), "x86_64"),
        ],
        architecture: architecture.to_owned(),
        warnings: Vec::new(),
    }
}

fn ends(stanza: &ReleaseStanza, architecture: &str) -> Vec<String> {
    let mut warnings = Vec::new();
    let images = boot_images(&payload(architecture), stanza, &mut warnings);
    images.into_iter().map(|(_, end)| end).chain(warnings).collect()
}

#[test]
fn boot_images_are_named_by_what_was_asked_for() {
    let none = stanza("");
    assert_eq!(ends(&none, "amd64"), ["kube-virt-container", "kube-virt-container-rhel-10"]);
    assert_eq!(ends(&none, "arm64"), ["it has no boot image of KubeVirt for aarch64"]);
    let both = stanza("    architectures: [amd64, s390x]\n");
    assert_eq!(ends(&both, "s390x"), ["kube-virt-container-s390x"]);
    let multi = stanza("    architectures: [multi]\n");
    let all = [
        "kube-virt-container-x86_64",
        "kube-virt-container-rhel-10-x86_64",
        "kube-virt-container-s390x",
    ];
    assert_eq!(ends(&multi, "multi"), all);
    let sparse = stanza(
        "    platforms: [{os: linux, architecture: s390x}, {os: linux, architecture: arm64}]\n",
    );
    assert_eq!(ends(&sparse, "multi"), ["kube-virt-container"]);
    let unknown = stanza("    platforms: [{os: linux, architecture: arm64}]\n");
    assert_eq!(ends(&unknown, "multi"), all);
}

#[test]
fn the_tag_is_that_of_the_signature_or_of_the_version() {
    let signed = |references: &[&str]| Proof {
        valid: references
            .iter()
            .map(|reference| {
                let signer = super::super::keys::built_in().fingerprint();
                (Vec::new(), Claim { reference: (*reference).to_owned(), signer })
            })
            .collect(),
        ..Proof::default()
    };
    let of = |references: &[&str], architecture: &str| {
        tag(&signed(references), &payload(architecture)).unwrap().to_string()
    };
    assert_eq!(of(&[], "amd64"), "4.16.0-x86_64");
    assert_eq!(of(&[], "multi"), "4.16.0-multi");
    assert_eq!(of(&["q.io/r:4.16.0-rebuilt"], "amd64"), "4.16.0-rebuilt");
    assert_eq!(of(&["q.io/r:other", "q.io/r:4.16.0-x86_64"], "amd64"), "4.16.0-x86_64");
    assert_eq!(of(&["q.io/r:other"], "amd64"), "other");
    assert_eq!(of(&["not a reference", "q.io/r"], "arm64"), "4.16.0-aarch64");
}
