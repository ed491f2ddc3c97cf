//! The shape of an ImageSetConfiguration file as a JSON Schema, for editors and pipelines.
//!
//! In: the types below, which mirror the file (not the normalised `ImageSetConfig`). Out:
//! `docs/imageset-config.schema.json`. The tests hold it to the reader from both sides: every field of
//! the schema is read, every field that is read stands in the schema, in every mapping.
#![allow(dead_code, reason = "the types exist for the schema that is derived from them")]

use std::collections::{BTreeMap, BTreeSet};

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};
use serde_json::{Map, Value, json};

use super::ImageSetConfig;

/// What to carry across the gap. Read by `bundle` and by oc-mirror, v1 (v1alpha2) and v2 (v2alpha1).
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ImageSetConfiguration {
    kind: Kind,
    /// The version of the format.
    api_version: Option<Version>,
    /// Largest part on the medium, in GiB.
    #[schemars(range(min = 1, max = 8589934591u64))]
    archive_size: Option<u64>,
    /// v1alpha2 only. Where the history of the stream is kept; `--workspace` in v2alpha1.
    storage_config: Option<StorageConfig>,
    mirror: Mirror,
}

#[derive(JsonSchema)]
enum Kind {
    ImageSetConfiguration,
}

#[derive(JsonSchema)]
enum Version {
    #[serde(rename = "mirror.openshift.io/v1alpha2")]
    V1Alpha2,
    #[serde(rename = "mirror.openshift.io/v2alpha1")]
    V2Alpha1,
}

/// One of `local` and `registry`.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct StorageConfig {
    local: Option<LocalStorage>,
    registry: Option<RegistryStorage>,
}

#[derive(JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct LocalStorage {
    /// A directory, relative to the current one.
    #[schemars(example = &"./history")]
    path: String,
}

#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
struct RegistryStorage {
    /// The image that holds the history; `latest` when it has no tag.
    #[serde(rename = "imageURL")]
    #[schemars(example = &"registry.example.com/mirror/history:latest")]
    image_url: String,
    /// Neither check the registry's certificate nor insist on TLS.
    #[serde(rename = "skipTLS")]
    skip_tls: Option<bool>,
}

/// What to carry.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Mirror {
    platform: Option<Platform>,
    /// Operator catalogs.
    operators: Option<Vec<Operator>>,
    /// Single images.
    additional_images: Option<Vec<AdditionalImage>>,
    helm: Option<Helm>,
    /// Images never to carry, whatever asks for them.
    blocked_images: Option<Vec<BlockedImage>>,
    /// Accepted and ignored.
    samples: Option<Vec<Sample>>,
}

/// OpenShift and OKD releases.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Platform {
    /// Also the update graph image.
    graph: Option<bool>,
    channels: Option<Vec<ReleaseChannel>>,
    /// Deprecated: use `platforms`. Default `[amd64]`; excludes `platforms`.
    architectures: Option<Vec<Architecture>>,
    /// Platforms to keep of multi-architecture payloads (v2alpha1).
    platforms: Option<Vec<PlatformFilter>>,
    /// One explicit release payload, instead of `channels` (v2alpha1).
    #[schemars(example = &"quay.io/openshift-release-dev/ocp-release:4.18.1-x86_64")]
    release: Option<String>,
    /// Also the KubeVirt boot images (v2alpha1).
    kube_virt_container: Option<bool>,
}

#[derive(JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Architecture {
    Amd64,
    Arm64,
    Ppc64le,
    S390x,
    Multi,
}

/// A channel of the update graph. Without a range and `full`: its head.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ReleaseChannel {
    #[schemars(example = &"stable-4.18")]
    name: String,
    #[serde(rename = "type")]
    kind: Option<ChannelType>,
    /// Lowest version, included.
    #[schemars(example = &"4.18.1")]
    min_version: Option<String>,
    /// Highest version, included.
    #[schemars(example = &"4.18.9")]
    max_version: Option<String>,
    /// Only the shortest update path through the range.
    shortest_path: Option<bool>,
    /// The whole channel.
    full: Option<bool>,
}

#[derive(JsonSchema)]
#[serde(rename_all = "lowercase")]
enum ChannelType {
    Ocp,
    Okd,
}

/// One platform of a multi-platform image.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PlatformFilter {
    #[schemars(example = &"linux")]
    os: String,
    #[schemars(example = &"amd64")]
    architecture: String,
}

/// An Operator catalog.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Operator {
    /// The catalog image, or `oci://` and a directory.
    #[schemars(example = &"registry.redhat.io/redhat/redhat-operator-index:v4.18")]
    catalog: String,
    /// Everything, not only the heads of the channels.
    full: Option<bool>,
    /// Replaces the repository path at the destination.
    #[schemars(example = &"mirrored/redhat-operator-index")]
    target_catalog: Option<String>,
    /// v1alpha2 only, deprecated: use `targetCatalog`.
    #[schemars(example = &"redhat-operator-index")]
    target_name: Option<String>,
    /// Replaces the tag at the destination.
    #[schemars(example = &"v4.18")]
    target_tag: Option<String>,
    /// v1alpha2 only, deprecated, without effect.
    #[schemars(example = &"registry.redhat.io/redhat/redhat-operator-index:v4.18")]
    original_ref: Option<String>,
    /// File with a CatalogSource whose fields the generated one takes; a relative path is relative to the current directory.
    #[schemars(example = &"./catalog-source.yaml")]
    target_catalog_source_template: Option<String>,
    /// Do not add the packages that the chosen ones need.
    skip_dependencies: Option<bool>,
    /// Platforms to carry (v2alpha1).
    platforms: Option<Vec<PlatformFilter>>,
    /// The packages; all when left out.
    packages: Option<Vec<Package>>,
}

#[derive(JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Package {
    #[schemars(example = &"aws-load-balancer-operator")]
    name: String,
    /// Overrides the default channel; must be among `channels`.
    #[schemars(example = &"stable-v1")]
    default_channel: Option<String>,
    /// Lowest version in all channels, included.
    #[schemars(example = &"1.0.0")]
    min_version: Option<String>,
    /// Highest version in all channels, included.
    #[schemars(example = &"1.2.0")]
    max_version: Option<String>,
    /// v1alpha2 only: the lowest version as the name of a bundle.
    #[schemars(example = &"operator.v1.0.0")]
    min_bundle: Option<String>,
    /// The channels; all when left out.
    channels: Option<Vec<Channel>>,
    /// Bundles by name, and nothing else of the package; not together with channels or versions. oc-mirror v2 has it up to 4.17.
    bundles: Option<Vec<SelectedBundle>>,
}

#[derive(JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SelectedBundle {
    #[schemars(example = &"operator.v1.0.0")]
    name: String,
}

#[derive(JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Channel {
    #[schemars(example = &"stable-v1")]
    name: String,
    /// Lowest version, included; not together with a range of the package.
    #[schemars(example = &"1.0.0")]
    min_version: Option<String>,
    /// Highest version, included; not together with a range of the package.
    #[schemars(example = &"1.2.0")]
    max_version: Option<String>,
    /// v1alpha2 only: the lowest version as the name of a bundle.
    #[schemars(example = &"operator.v1.0.0")]
    min_bundle: Option<String>,
}

#[derive(JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct AdditionalImage {
    /// The image in full, host first, with a tag, a digest or both; or `oci://` and a directory, with `:NAME` or
    /// `@DIGEST` after it when it holds several images.
    #[schemars(example = &"registry.access.redhat.com/ubi9/ubi-minimal:latest")]
    name: String,
    /// Replaces the repository path at the destination (v2alpha1).
    #[schemars(example = &"base/ubi-minimal")]
    target_repo: Option<String>,
    /// Replaces the tag at the destination (v2alpha1).
    #[schemars(example = &"v9", regex(pattern = r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$"))]
    target_tag: Option<String>,
    /// Platforms to carry; all when left out (v2alpha1).
    platforms: Option<Vec<PlatformFilter>>,
}

#[derive(JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct BlockedImage {
    /// A regular expression that is searched anywhere in the reference at the source.
    #[schemars(example = &r"^docker\.io/")]
    name: String,
}

#[derive(JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Sample {
    #[schemars(example = &"ruby")]
    name: String,
}

/// Helm charts, with the images they name.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Helm {
    repositories: Option<Vec<Repository>>,
    local: Option<Vec<LocalChart>>,
}

#[derive(JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Repository {
    #[schemars(example = &"podinfo")]
    name: String,
    /// Where its `index.yaml` lies; or `oci://HOST/PATH`, a registry with the charts.
    #[schemars(example = &"https://stefanprodan.github.io/podinfo")]
    url: String,
    /// The charts; all in all versions when left out.
    charts: Option<Vec<Chart>>,
}

#[derive(JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Chart {
    #[schemars(example = &"podinfo")]
    name: String,
    /// A version, or a range as Helm reads it; all versions when left out.
    #[schemars(example = &"5.0.0")]
    version: Option<String>,
    /// JSONPath expressions under which images are searched too.
    #[schemars(example = ["{.spec.template.spec.initContainers[*].image}"])]
    image_paths: Option<Vec<String>>,
    /// Platforms to carry (v2alpha1).
    platforms: Option<Vec<PlatformFilter>>,
}

#[derive(JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct LocalChart {
    #[schemars(example = &"my-chart")]
    name: String,
    /// A chart directory or archive.
    #[schemars(example = &"./charts/my-chart-1.0.0.tgz")]
    path: String,
    /// JSONPath expressions under which images are searched too.
    #[schemars(example = ["{.spec.template.spec.initContainers[*].image}"])]
    image_paths: Option<Vec<String>>,
    /// Platforms to carry (v2alpha1).
    platforms: Option<Vec<PlatformFilter>>,
}

fn generate(inline: bool) -> Schema {
    let settings = SchemaSettings::draft2020_12().with(|s| s.inline_subschemas = inline);
    settings.into_generator().into_root_schema_for::<ImageSetConfiguration>()
}

/// Draft 2020-12, sorted, with a final newline.
fn text() -> String {
    let mut text = serde_json::to_string_pretty(&generate(false)).unwrap();
    text.push('\n');
    text
}

#[test]
fn schema_checked_in_is_the_schema_of_the_types() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/imageset-config.schema.json");
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        fs_err::write(path, text()).unwrap();
    }
    let stored = fs_err::read_to_string(path).unwrap_or_default();
    assert!(
        stored == text(),
        "docs/imageset-config.schema.json is stale; run: UPDATE_SCHEMA=1 cargo test -p bundler schema"
    );
}

/// The object in a schema that may also allow `null`.
fn object(schema: &Value) -> Option<&Map<String, Value>> {
    if let Some(properties) = schema.get("properties") {
        return properties.as_object();
    }
    schema.get("anyOf")?.as_array()?.iter().find_map(object)
}

/// A document with every field of the schema; `stray` is put into every mapping.
fn example(schema: &Value, stray: bool) -> Value {
    if let Some(properties) = object(schema) {
        let mut map: Map<String, Value> = properties
            .iter()
            .map(|(name, schema)| (name.clone(), example(schema, stray)))
            .collect();
        if stray {
            map.insert("zzzzz".to_owned(), json!(1));
        }
        return Value::Object(map);
    }
    if let Some(items) = schema.get("items")
        && object(items).is_some()
    {
        return json!([example(items, stray)]);
    }
    if let Some(first) = schema.get("examples").and_then(|list| list.get(0)) {
        return first.clone();
    }
    if let Some(items) = schema.get("items") {
        return json!([example(items, stray)]);
    }
    let choice =
        |schema: &Value| schema.get("const").or_else(|| schema.get("enum")?.get(0)).cloned();
    if let Some(one) =
        choice(schema).or_else(|| schema.get("anyOf")?.as_array()?.iter().find_map(choice))
    {
        return one;
    }
    let types = schema.get("type").map(ToString::to_string).unwrap_or_default();
    if types.contains("boolean") {
        json!(true)
    } else if types.contains("integer") {
        json!(4)
    } else {
        panic!("no example for {schema}")
    }
}

/// Every mapping of the schema by its path in the document.
fn mappings(schema: &Value, path: &str, out: &mut BTreeMap<String, BTreeSet<String>>) {
    if let Some(properties) = object(schema) {
        out.insert(path.to_owned(), properties.keys().cloned().collect());
        for (name, schema) in properties {
            let below = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            mappings(schema, &below, out);
        }
    } else if let Some(items) = schema.get("items") {
        mappings(items, &format!("{path}[0]"), out);
    }
}

#[test]
fn schema_and_reader_know_the_same_fields_in_every_mapping() {
    let schema = serde_json::to_value(generate(true)).unwrap();
    let mut expected = BTreeMap::new();
    mappings(&schema, "", &mut expected);
    assert_eq!(expected.len(), 23, "{expected:?}");

    // Every field of the schema is known to the reader of v1alpha2, which knows them all.
    let document = example(&schema, false);
    assert_eq!(document["apiVersion"], "mirror.openshift.io/v1alpha2");
    let faults = match ImageSetConfig::parse(&document.to_string(), "c.json") {
        Ok(_) => Vec::new(),
        Err(error) => error.findings().to_vec(),
    };
    // The fields that exclude each other are all there; each of them is named in full.
    let known: Vec<String> = faults.iter().map(|f| format!("{}: {}", f.field, f.problem)).collect();
    assert_eq!(
        known.iter().map(String::as_str).collect::<BTreeSet<_>>(),
        BTreeSet::from([
            "storageConfig.registry: cannot be used together with `local`",
            "mirror.platform.platforms: cannot be used together with `architectures`",
            "mirror.operators[0].packages[0].minBundle: cannot be used together with `minVersion`",
            "mirror.operators[0].packages[0].channels[0].minBundle: cannot be used together with \
             `minVersion`",
            "mirror.operators[0].packages[0].channels[0]: a version range of the package and of a \
             channel cannot be mixed",
            "mirror.operators[0].packages[0].name: package `aws-load-balancer-operator` has `bundles` in \
             a `full` catalog",
            "mirror.operators[0].packages[0].bundles: cannot be used together with `channels` of \
             the package",
            "mirror.operators[0].packages[0].bundles: cannot be used together with versions of the \
             package",
        ])
    );

    // Every field known to the reader stands in the schema.
    let document = example(&schema, true);
    let error = ImageSetConfig::parse(&document.to_string(), "c.json").unwrap_err();
    let mut found = BTreeMap::new();
    for finding in error.findings() {
        let Some(path) = finding.field.strip_suffix("zzzzz") else { continue };
        let fields =
            finding.hint.as_deref().unwrap().strip_prefix("the fields here are: ").unwrap();
        let fields = fields.split(", ").map(str::to_owned).collect::<BTreeSet<_>>();
        found.insert(path.trim_end_matches('.').to_owned(), fields);
    }
    assert_eq!(found, expected);
}
