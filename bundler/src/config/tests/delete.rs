//! What is to be deleted: the configuration that asks for it, and the list that names it.

use registry::reference::Target;

use super::*;

const HEAD: &str = "apiVersion: mirror.openshift.io/v2alpha1\nkind: DeleteImageSetConfiguration\n";
const LIST: &str = "apiVersion: mirror.openshift.io/v2alpha1\nkind: DeleteImageList\n";

#[track_caller]
fn faults(text: &str, expected: &[&str]) {
    match DeleteImageSetConfig::parse_bytes(text.as_bytes(), "c.yaml") {
        Ok(_) => panic!("accepted:\n{text}"),
        Err(error) => compare(error.findings(), expected, text),
    }
}

fn list(text: &str, target: &str) -> Result<DeleteImageList, ConfigErrors> {
    let target: Target = target.parse().expect("a target");
    DeleteImageList::parse_bytes(text.as_bytes(), "c.yaml", (&target, false)).map(|(list, _)| list)
}

#[track_caller]
fn list_faults(text: &str, target: &str, expected: &[&str]) {
    match list(text, target) {
        Ok(_) => panic!("accepted:\n{text}"),
        Err(error) => compare(error.findings(), expected, text),
    }
}

#[test]
fn the_stanzas_under_delete_are_those_under_mirror() {
    let text = format!(
        "{HEAD}delete:\n  platform:\n    channels:\n    - name: stable-4.18\n      minVersion: 4.18.1\n      maxVersion: 4.18.2\n\
         \x20 operators:\n  - catalog: registry.example.com/index:v4.18\n\
         \x20 additionalImages:\n  - name: quay.io/acme/app:1.0\n\
         \x20 helm:\n    repositories:\n    - name: charts\n      url: https://charts.example.com\n"
    );
    let loaded = DeleteImageSetConfig::parse_bytes(text.as_bytes(), "c.yaml").expect("a config");
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    let config = loaded.config;
    assert_eq!(config.platform.expect("a platform").channels[0].name, "stable-4.18");
    assert_eq!(config.operators.len(), 1);
    assert_eq!(config.additional_images[0].source.to_string(), "quay.io/acme/app:1.0");
    assert_eq!(config.helm.expect("charts").repositories.len(), 1);
}

#[test]
fn only_a_file_that_says_so_deletes() {
    faults("delete: {}\n", &["1:1: kind: is missing"]);
    faults(
        &format!("{V2}delete: {{}}\n"),
        &["2:7: kind: the kind `ImageSetConfiguration` names nothing to delete"],
    );
    faults(
        &HEAD.replace("v2alpha1", "v1alpha2"),
        &["1:1: apiVersion: v1alpha2 has no DeleteImageSetConfiguration"],
    );
    faults(HEAD, &["1:1: delete: the configuration has no `delete` stanza"]);
    faults(
        &format!("{HEAD}mirror: {{}}\ndelete: {{}}\n"),
        &["3:1: mirror: is not allowed in DeleteImageSetConfiguration"],
    );
    faults(
        &format!("{HEAD}delete:\n  blockedImages: []\n"),
        &["4:3: delete.blockedImages: is not allowed under `delete`"],
    );
    faults(
        &format!("{HEAD}archiveSize: 4\ndelete:\n  additionalImages:\n  - nam: a.example/b:1\n"),
        &[
            "3:1: archiveSize: unknown field `archiveSize`",
            "6:5: delete.additionalImages[0].name: is missing",
            "6:5: delete.additionalImages[0].nam: unknown field `nam`",
        ],
    );
}

#[test]
fn a_list_comes_back_as_it_was_written() {
    let text = format!(
        "{LIST}items:\n- imageName: \"docker://quay.example.io/acme/app:1.0\"\n  imageReference: \
         \"docker://mirror.lan:5000/acme/app:1.0\"\n  type: \"generic\"\n"
    );
    let read = list(&text, "docker://mirror.lan:5000").expect("a list");
    assert_eq!(read.items[0].reference.to_string(), "mirror.lan:5000/acme/app:1.0");
    assert_eq!((read.items[0].kind.as_str(), read.items[0].line), ("generic", 5));
    assert_eq!(read.to_yaml(), text);
    // As oc-mirror writes it.
    let plain = text.replace('"', "");
    assert_eq!(list(&plain, "docker://mirror.lan:5000/acme").expect("a list"), read);
    let empty = format!("{LIST}items: []\n");
    assert_eq!(list(&empty, "docker://mirror.lan").expect("a list").to_yaml(), empty);
}

#[test]
fn a_list_names_only_what_is_below_the_destination() {
    let text = format!(
        "{LIST}items:\n- imageReference: docker://mirror.lan/acme-two/app:1.0\n  type: generic\n"
    );
    for elsewhere in ["mirror.lan/acme", "mirror.lan:5000", "other.lan", "mirror.lan/acme-two/app"]
    {
        list_faults(
            &text,
            &format!("docker://{elsewhere}"),
            &["4:19: items[0].imageReference: `docker://mirror.lan/acme-two/app:1.0` is not below"],
        );
    }
    assert!(list(&text, "docker://mirror.lan/acme-two").is_ok());
}

#[test]
fn a_list_that_is_damaged_is_refused_whole() {
    list_faults("items: []\n", "docker://a.lan", &["1:1: kind: is missing"]);
    list_faults(HEAD, "docker://a.lan", &["2:7: kind: `DeleteImageSetConfiguration` is no list"]);
    list_faults(
        &format!(
            "{LIST}items:\n- imageReference: docker://a.lan/b\n  type: generic\n- type: generic\n- imageReference: docker://a.lan/b:1\n"
        ),
        "docker://a.lan",
        &[
            "4:19: items[0].imageReference: has neither a tag nor a digest",
            "6:3: items[1].imageReference: is missing",
            "7:3: items[2].type: is missing",
        ],
    );
}
