//! Images of Operator catalogs, in a registry and as OCI layouts.

use std::path::Path;

use format_spec::Digest;
use fs_err as fs;
use serde_json::{Value, json};

use super::image::{OCI_CONFIG, OCI_LAYER, OCI_MANIFEST, Pushed};
use super::releases::tar;
use super::server::fs_write;
use super::wire::Registry;

/// Where a blob goes; gives its descriptor.
type Put<'a> = &'a mut dyn FnMut(&str, &[u8]) -> Value;

/// The manifest of a catalog with these files below `configs`.
fn manifest(files: &[(&str, &[u8])], put: Put<'_>) -> Value {
    let paths: Vec<String> = files.iter().map(|(path, _)| format!("configs/{path}")).collect();
    let files: Vec<(&str, &[u8])> =
        paths.iter().zip(files).map(|(path, (_, content))| (path.as_str(), *content)).collect();
    let label = "operators.operatorframework.io.index.configs.v1";
    let config =
        json!({"architecture": "amd64", "os": "linux", "config": {"Labels": {label: "/configs"}}});
    let config = put(OCI_CONFIG, config.to_string().as_bytes());
    let layer = put(OCI_LAYER, &tar(&files));
    json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": [layer]})
}

/// Pushes a catalog.
#[track_caller]
pub fn push(registry: &Registry, repo: &str, tag: &str, files: &[(&str, &[u8])]) -> Pushed {
    let manifest = manifest(files, &mut |kind, bytes| {
        let digest = registry.put_blob(repo, bytes).to_string();
        json!({"mediaType": kind, "digest": digest, "size": bytes.len()})
    });
    registry.document(repo, Some(tag), OCI_MANIFEST, &manifest)
}

/// Writes a catalog as an OCI layout.
pub fn layout(root: &Path, files: &[(&str, &[u8])]) {
    let mut put = |kind: &str, bytes: &[u8]| {
        let digest = Digest::of(bytes);
        fs::create_dir_all(root.join("blobs/sha256")).unwrap();
        fs_write(&root.join("blobs/sha256").join(digest.hex()), bytes);
        json!({"mediaType": kind, "digest": digest.to_string(), "size": bytes.len()})
    };
    let manifest = manifest(files, &mut put).to_string();
    let entry = put(OCI_MANIFEST, manifest.as_bytes());
    let index = json!({"schemaVersion": 2, "manifests": [entry]}).to_string();
    fs_write(&root.join("index.json"), index.as_bytes());
    fs_write(&root.join("oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#);
}

/// The objects of a package: its bundles by version, each called `name.vVERSION`; a channel is its name and its entries.
pub fn package(name: &str, default: &str, versions: &[&str], channels: &[(&str, Value)]) -> String {
    let mut objects =
        vec![json!({"schema": "olm.package", "name": name, "defaultChannel": default})];
    for (channel, entries) in channels {
        objects.push(
            json!({"schema": "olm.channel", "name": channel, "package": name, "entries": entries}),
        );
    }
    for version in versions {
        objects.push(
            json!({"schema": "olm.bundle", "name": format!("{name}.v{version}"), "package": name,
            "image": format!("registry.example.com/{name}@{}", Digest::of(version.as_bytes())),
            "properties": [
                {"type": "olm.package", "value": {"packageName": name, "version": version}},
                {"type": "olm.csv.metadata", "value": {"displayName": format!("The {name}")}}]}),
        );
    }
    objects.iter().map(|object| format!("{object}\n")).collect()
}
