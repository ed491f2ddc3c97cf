//! Every field of `mirror.platform`, one by one: what it does, or why it is refused.

use std::collections::BTreeSet;

use super::testing::{Cincinnati, document, payload};
use super::*;
use crate::config::ImageSetConfig;
use service::Kept;

const V1: &str = "mirror.openshift.io/v1alpha2";
const V2: &str = "mirror.openshift.io/v2alpha1";

/// Four releases of 4.1 in a row, the last one by a risk alone, and one of 4.0 before them.
const RELEASES: [&str; 5] = ["4.0.9", "4.1.0", "4.1.1", "4.1.2", "4.1.3"];

/// What comes of a stanza: what is asked for, which releases are chosen, and what is told; or why it is refused.
async fn outcome(stanza: &str, version: &str) -> String {
    let text = format!(
        "kind: ImageSetConfiguration\napiVersion: {version}\nmirror:\n  platform: {{{stanza}}}\n"
    );
    let loaded = match ImageSetConfig::parse(&text, "c") {
        Ok(loaded) => loaded,
        Err(errors) => return format!("refused: {errors}"),
    };
    let mut said: Vec<String> =
        loaded.warnings.iter().map(|warning| format!("told: {}", warning.problem)).collect();
    let stanza = loaded.config.platform.unwrap();
    let server = Cincinnati::start();
    for architecture in ["amd64", "arm64", "ppc64le", "s390x", "multi"] {
        for channel in ["stable-4.1", "fast-4.1", "okd"] {
            let edges =
                [("4.0.9", "4.1.0"), ("4.1.0", "4.1.1"), ("4.1.0", "4.1.2"), ("4.1.1", "4.1.2")];
            let body = document(&RELEASES, &edges, &[("4.1.2", "4.1.3", "Hurts")]);
            let body = String::from_utf8(body).unwrap();
            // Payloads of architectures differ.
            let own = RELEASES.iter().fold(body, |body, version| {
                body.replace(&payload(version), &payload(&format!("{version}/{architecture}")))
            });
            server.answer(&format!("{architecture}/{channel}"), 200, own);
        }
    }
    let chosen = choose(&stanza, &server.service(None, Kept::Never), &AcceptedRisks::Nothing).await;
    let asked: BTreeSet<String> =
        server.asked.lock().unwrap().iter().map(|one| place(one)).collect();
    said.extend(asked);
    let mut by: std::collections::BTreeMap<&str, Vec<String>> = Default::default();
    for one in &chosen.payloads {
        by.entry(&one.architecture).or_default().push(one.version.to_string());
    }
    said.extend(
        by.iter().map(|(architecture, list)| format!("{architecture}: {}", list.join(" "))),
    );
    for failure in &chosen.failures {
        said.push(format!("failed: {}", failure.reason));
        said.extend(failure.hints.iter().cloned());
    }
    said.extend(chosen.warnings.iter().map(|warning| format!("told: {warning}")));
    said.extend(stanza.release.as_ref().map(|image| format!("image: {image}")));
    said.extend(stanza.graph.then(|| "graph image".to_owned()));
    for (architecture, end) in carry::boot_ends(&stanza, "multi") {
        said.push(format!("boot image: {architecture} as {end}"));
    }
    let kept = stanza.platforms.iter().map(|p| format!("kept: {}/{}", p.os, p.architecture));
    said.extend(kept);
    said.join("; ")
}

/// Service, architecture and channel of a request.
fn place(target: &str) -> String {
    let url: url::Url = format!("http://x{target}").parse().unwrap();
    let value = |name: &str| url.query_pairs().find(|(key, _)| key == name).unwrap().1.into_owned();
    format!("{}?{}/{}", url.path(), value("arch"), value("channel"))
}

/// Field, stanza, and what must come of it: each part, in this order.
const TABLE: &[(&str, &str, &[&str])] = &[
    ("graph", "graph: true, channels: [{name: stable-4.1}]", &["amd64: 4.1.3", "graph image"]),
    ("graph", "graph: true", &["graph image"]),
    ("graph", "graph: yes", &["refused", "platform.graph: needs a boolean"]),
    (
        "channels",
        "channels: [{name: stable-4.1}, {name: fast-4.1}]",
        &["amd64/fast-4.1; /graph?amd64/stable-4.1", "amd64: 4.1.3"],
    ),
    (
        "channels",
        "channels: [{name: stable-4.1}, {name: stable-4.1}]",
        &["refused", "duplicate channel `stable-4.1`"],
    ),
    ("channels", "channels: [stable-4.1]", &["refused", "platform.channels[0]: needs a mapping"]),
    ("channels[].name", "channels: [{name: fast-4.1}]", &["/graph?amd64/fast-4.1", "amd64: 4.1.3"]),
    ("channels[].name", "channels: [{full: true}]", &["refused", "channels[0].name: is missing"]),
    (
        "channels[].name",
        "channels: [{name: Stable-4.1}]",
        &["failed: `Stable-4.1` is no name of a channel"],
    ),
    (
        "channels[].name",
        "channels: [{name: stable-4.9}]",
        &["failed: the update service has no release in channel `stable-4.9`"],
    ),
    ("channels[].type", "channels: [{name: okd, type: okd}]", &["/okd?amd64/okd", "amd64: 4.1.3"]),
    ("channels[].type", "channels: [{name: stable-4.1, type: ocp}]", &["/graph?amd64/stable-4.1"]),
    (
        "channels[].type",
        "channels: [{name: stable-4.1, type: OKD}]",
        &["told: unknown channel type `OKD`, read as `ocp`", "/graph?amd64/stable-4.1"],
    ),
    (
        "channels[].minVersion",
        "channels: [{name: stable-4.1, minVersion: 4.1.2}]",
        &["amd64: 4.1.2 4.1.3", "no update path leads"],
    ),
    (
        "channels[].minVersion",
        "channels: [{name: stable-4.1, minVersion: latest}]",
        &["refused", "channels[0].minVersion: not a semantic version"],
    ),
    (
        "channels[].minVersion",
        "channels: [{name: stable-4.1, minVersion: 4.1.2, maxVersion: 4.1.1}]",
        &["refused", "is above maxVersion"],
    ),
    (
        "channels[].maxVersion",
        "channels: [{name: stable-4.1, maxVersion: 4.1.1}]",
        &["amd64: 4.1.0 4.1.1", "`maxVersion: 4.1.1` alone begins at 4.1.0"],
    ),
    (
        "channels[].maxVersion",
        "channels: [{name: stable-4.1, minVersion: 4.0.9, maxVersion: 4.1.1}]",
        &["amd64: 4.0.9 4.1.0 4.1.1"],
    ),
    (
        "channels[].maxVersion",
        "channels: [{name: stable-4.1, maxVersion: \"4.1\"}]",
        &["refused", "channels[0].maxVersion: not a semantic version"],
    ),
    (
        "channels[].shortestPath",
        "channels: [{name: stable-4.1, minVersion: 4.0.9, maxVersion: 4.1.2, shortestPath: true}]",
        &["amd64: 4.0.9 4.1.0 4.1.2"],
    ),
    (
        "channels[].shortestPath",
        "channels: [{name: stable-4.1, minVersion: 4.1.0, shortestPath: true}]",
        &["failed: no update path leads from 4.1.0 to 4.1.3", "--accept-risks Hurts"],
    ),
    (
        "channels[].shortestPath",
        "channels: [{name: stable-4.1, shortestPath: 1}]",
        &["refused", "channels[0].shortestPath: needs a boolean"],
    ),
    (
        "channels[].full",
        "channels: [{name: stable-4.1, full: true}]",
        &["amd64: 4.0.9 4.1.0 4.1.1 4.1.2 4.1.3", "in 2 pieces"],
    ),
    (
        "channels[].full",
        "channels: [{name: stable-4.1, full: true, maxVersion: 4.1.1}]",
        &["amd64: 4.0.9 4.1.0 4.1.1"],
    ),
    (
        "channels[].full",
        "channels: [{name: stable-4.1, full: \"true\"}]",
        &["refused", "channels[0].full: needs a boolean"],
    ),
    (
        "architectures",
        "architectures: [amd64, arm64, ppc64le, s390x, multi], channels: [{name: stable-4.1}]",
        &["amd64: 4.1.3; arm64: 4.1.3; multi: 4.1.3; ppc64le: 4.1.3; s390x: 4.1.3"],
    ),
    ("architectures", "architectures: [], channels: [{name: stable-4.1}]", &["amd64: 4.1.3"]),
    (
        "architectures",
        "architectures: [x86_64], channels: [{name: stable-4.1}]",
        &["refused", "unknown architecture `x86_64`", "write `amd64`"],
    ),
    ("architectures", "architectures: [arm64]", &["told: has no effect: no release is asked for"]),
    (
        "architectures",
        "architectures: [arm64], release: q.io/r:1",
        &["told: has no effect beside `release`"],
    ),
    (
        "platforms",
        "platforms: [{os: linux, architecture: arm64}], channels: [{name: stable-4.1}]",
        &["/graph?multi/stable-4.1; multi: 4.1.3", "kept: linux/arm64"],
    ),
    (
        "platforms",
        "platforms: [{os: linux, architecture: arm64}], architectures: [arm64]",
        &["refused", "cannot be used together with `architectures`"],
    ),
    (
        "platforms",
        "platforms: [{os: linux, architecture: arm64}]",
        &["told: has no effect: no release is asked for"],
    ),
    (
        "platforms[].os",
        "platforms: [{architecture: arm64}]",
        &["refused", "platforms[0].os: is missing"],
    ),
    (
        "platforms[].os",
        "platforms: [{os: windows, architecture: amd64}], release: q.io/r:1",
        &["kept: windows/amd64"],
    ),
    (
        "platforms[].architecture",
        "platforms: [{os: linux}]",
        &["refused", "platforms[0].architecture: is missing"],
    ),
    (
        "platforms[].architecture",
        "platforms: [{os: linux, architecture: aarch64}], release: q.io/r:1",
        &["told: image indexes never say `aarch64`"],
    ),
    ("release", "release: q.io/r:1", &["image: q.io/r:1"]),
    (
        "release",
        "release: q.io/r:1, channels: [{name: stable-4.1}]",
        &["told: overrides `channels`, which are not used; image: q.io/r:1"],
    ),
    (
        "release",
        "release: r, channels: []",
        &["refused", "platform.release: the image has no registry host"],
    ),
    (
        "kubeVirtContainer",
        "kubeVirtContainer: true, release: q.io/r:1",
        &["boot image: x86_64 as kube-virt-container"],
    ),
    (
        "kubeVirtContainer",
        "kubeVirtContainer: true, architectures: [amd64, s390x], channels: [{name: stable-4.1}]",
        &[
            "boot image: x86_64 as kube-virt-container-x86_64",
            "boot image: s390x as kube-virt-container-s390x",
        ],
    ),
    (
        "kubeVirtContainer",
        "kubeVirtContainer: true",
        &["told: has no effect: no release is asked for"],
    ),
    (
        "kubeVirtContainer",
        "kubeVirtContainer: 1",
        &["refused", "kubeVirtContainer: needs a boolean"],
    ),
    ("", "channel: [{name: stable-4.1}]", &["refused", "platform.channel: unknown field"]),
    (
        "",
        "channels: [{name: stable-4.1, versions: []}]",
        &["refused", "channels[0].versions: unknown field"],
    ),
];

#[tokio::test]
async fn each_field_does_what_it_says_or_is_refused_by_name() {
    for version in [V1, V2] {
        for (field, stanza, expected) in TABLE {
            let said = outcome(stanza, version).await;
            let mut rest = &said[..];
            for part in *expected {
                let Some(at) = rest.find(part) else {
                    panic!("{version} {field}, {{{stanza}}}: no `{part}` in: {said}");
                };
                rest = &rest[at + part.len()..];
            }
            let later = ["platforms", "release", "kubeVirtContainer"];
            let word = "is a field of v2alpha1; it is used, though oc-mirror v1 refuses it";
            let is_later = later.iter().any(|name| stanza.contains(&format!("{name}:")));
            if !said.starts_with("refused") {
                assert_eq!(said.contains(word), is_later && version == V1, "{stanza}: {said}");
            }
        }
    }
}

#[test]
fn the_table_has_every_field_of_the_schema() {
    let schema = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/imageset-config.schema.json");
    let schema: serde_json::Value = serde_json::from_slice(&fs_err::read(schema).unwrap()).unwrap();
    let mut fields = BTreeSet::from([String::new()]);
    for (of, before) in
        [("Platform", ""), ("ReleaseChannel", "channels[]."), ("PlatformFilter", "platforms[].")]
    {
        let properties = schema["$defs"][of]["properties"].as_object().unwrap();
        fields.extend(properties.keys().map(|name| format!("{before}{name}")));
    }
    let table: BTreeSet<String> = TABLE.iter().map(|(field, ..)| (*field).to_owned()).collect();
    assert_eq!(table, fields);
}
