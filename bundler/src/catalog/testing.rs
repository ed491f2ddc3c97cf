//! Images of catalogs made by hand, as OCI layouts, and the real catalogs.

use std::path::Path;

use format_spec::Digest;
use registry::client::{Client, ClientOptions};
use registry::media_type::{OCI_CONFIG, OCI_INDEX, OCI_LAYER_GZIP, OCI_MANIFEST};
use serde_json::{Value, json};

use super::image::CONFIGS;
use crate::origin::Origins;
use crate::release::layer_testing::{entry, gzip, tar};
use crate::release::testing::data;

/// An image: its architecture, its layers from the lowest up.
pub(crate) type Made<'a> = (&'a str, Vec<Vec<u8>>);

/// The labels of a catalog.
pub(crate) fn labels() -> Value {
    json!({ CONFIGS: "/configs" })
}

/// Stores a blob of a layout.
fn blob(root: &Path, content: &[u8]) -> Value {
    let digest = Digest::of(content);
    let path = root.join("blobs/sha256").join(digest.hex());
    fs_err::create_dir_all(path.parent().unwrap()).unwrap();
    fs_err::write(path, content).unwrap();
    json!({"digest": digest.to_string(), "size": content.len()})
}

fn with(mut descriptor: Value, kind: &str) -> Value {
    descriptor["mediaType"] = kind.into();
    descriptor
}

/// Writes a layout with an index over images; one with an empty architecture stands alone. Gives the digest.
pub(crate) fn layout(root: &Path, labels: &Value, images: &[Made<'_>]) -> Digest {
    let mut entries = Vec::new();
    for (architecture, layers) in images {
        let diffs: Vec<String> = layers.iter().map(|layer| Digest::of(layer).to_string()).collect();
        let config = json!({"architecture": architecture, "os": "linux", "config": {
            "Labels": labels, "Cmd": ["serve", "/configs", "--cache-dir=/tmp/cache"]},
            "rootfs": {"type": "layers", "diff_ids": diffs}});
        let config = with(blob(root, config.to_string().as_bytes()), OCI_CONFIG);
        let layers: Vec<Value> =
            layers.iter().map(|layer| with(blob(root, layer), OCI_LAYER_GZIP)).collect();
        let manifest = json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config,
            "layers": layers});
        let mut entry = with(blob(root, manifest.to_string().as_bytes()), OCI_MANIFEST);
        if !architecture.is_empty() {
            entry["platform"] = json!({"os": "linux", "architecture": architecture});
        }
        entries.push(entry);
    }
    let root_entry = match &entries[..] {
        [only] if only.get("platform").is_none() => only.clone(),
        _ => {
            let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries});
            with(blob(root, index.to_string().as_bytes()), OCI_INDEX)
        }
    };
    fs_err::write(root.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    let index = json!({"schemaVersion": 2, "manifests": [root_entry]});
    fs_err::write(root.join("index.json"), index.to_string()).unwrap();
    root_entry["digest"].as_str().unwrap().parse().unwrap()
}

/// A layer as most are stored.
pub(crate) fn layer(entries: &[Vec<u8>]) -> Vec<u8> {
    gzip(&tar(entries))
}

/// A small package with two bundles in a channel.
pub(crate) fn package(name: &str) -> String {
    let bundle = |version: &str| {
        json!({"schema": "olm.bundle", "name": format!("{name}.v{version}"), "package": name,
            "image": format!("q.io/{name}@{}", Digest::of(version.as_bytes())),
            "properties": [{"type": "olm.package", "value": {"packageName": name, "version": version}},
                {"type": "olm.csv.metadata", "value": {"displayName": format!("The {name} {version}")}}]})
    };
    let objects = [
        json!({"schema": "olm.package", "name": name, "defaultChannel": "stable"}),
        json!({"schema": "olm.channel", "name": "stable", "package": name, "entries": [
            {"name": format!("{name}.v1.10.0"), "replaces": format!("{name}.v1.9.0")},
            {"name": format!("{name}.v1.9.0")}]}),
        bundle("1.10.0"),
        bundle("1.9.0"),
    ];
    objects.iter().map(ToString::to_string).collect()
}

/// The entries of a layer with the files of a real catalog below `/configs`.
pub(crate) fn real(below: &str) -> Option<Vec<Vec<u8>>> {
    fn add(directory: &Path, name: &str, entries: &mut Vec<Vec<u8>>) {
        let mut found: Vec<_> =
            fs_err::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
        found.sort();
        for path in found {
            let name = format!("{name}/{}", path.file_name().unwrap().to_str().unwrap());
            if path.is_dir() {
                entries.push(entry(&name, b'5', b""));
                add(&path, &name, entries);
            } else {
                entries.push(entry(&name, b'0', &fs_err::read(&path).unwrap()));
            }
        }
    }
    let mut entries = vec![entry("configs", b'5', b"")];
    add(&data(&format!("catalogs/{below}"))?, "configs", &mut entries);
    Some(entries)
}

/// Origins that reach nothing but directories.
pub(crate) fn origins() -> Origins {
    let options = ClientOptions { certs_d: Vec::new(), ..ClientOptions::default() };
    Origins::new(Client::new(options).unwrap(), 4)
}
