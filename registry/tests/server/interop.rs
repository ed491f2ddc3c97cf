//! skopeo pushes to the registry and pulls from it; every byte of the layout comes back.

use std::path::Path;
use std::process::Command;

use format_spec::Digest;
use registry::media_type::{OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST};

use crate::support::*;

/// Puts a blob into an OCI layout and returns its descriptor.
fn put(layout: &Path, kind: &str, content: &[u8], more: &str) -> String {
    let digest = Digest::of(content);
    let dir = layout.join("blobs/sha256");
    fs_err::create_dir_all(&dir).unwrap();
    fs_err::write(dir.join(digest.hex()), content).unwrap();
    let size = content.len();
    format!(r#"{{"mediaType":"{kind}","digest":"{digest}","size":{size}{more}}}"#)
}

/// A ustar archive with one file.
fn layer(seed: u64) -> Vec<u8> {
    let content = noise(seed, 200_000);
    let mut header = [0_u8; 512];
    header[..4].copy_from_slice(b"file");
    header[100..107].copy_from_slice(b"0000644");
    header[108..115].copy_from_slice(b"0000000");
    header[116..123].copy_from_slice(b"0000000");
    header[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
    header[136..147].copy_from_slice(b"00000000000");
    header[156] = b'0';
    header[257..265].copy_from_slice(b"ustar\x0000");
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    let mut tar = header.to_vec();
    tar.extend_from_slice(&content);
    tar.resize(tar.len().next_multiple_of(512) + 1024, 0);
    tar
}

/// A layout with an index of two platforms; returns the digest of that index.
fn layout(dir: &Path) -> Digest {
    let mut manifests = vec![];
    for (n, architecture) in ["amd64", "arm64"].into_iter().enumerate() {
        let tar = layer(n as u64 + 20);
        let layer = put(dir, OCI_LAYER, &tar, "");
        let config = format!(
            r#"{{"architecture":"{architecture}","os":"linux","config":{{}},"rootfs":{{"type":"layers","diff_ids":["{}"]}}}}"#,
            Digest::of(&tar)
        );
        let config = put(dir, OCI_CONFIG, config.as_bytes(), "");
        let manifest = format!(
            r#"{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}","config":{config},"layers":[{layer}]}}"#
        );
        let platform = format!(r#","platform":{{"architecture":"{architecture}","os":"linux"}}"#);
        manifests.push(put(dir, OCI_MANIFEST, manifest.as_bytes(), &platform));
    }
    let index = format!(
        r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[{}]}}"#,
        manifests.join(",")
    );
    let name = r#","annotations":{"org.opencontainers.image.ref.name":"v1"}"#;
    let top = put(dir, OCI_INDEX, index.as_bytes(), name);
    let top = format!(r#"{{"schemaVersion":2,"manifests":[{top}]}}"#);
    fs_err::write(dir.join("index.json"), top).unwrap();
    fs_err::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    Digest::of(index.as_bytes())
}

fn blobs(layout: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs_err::read_dir(layout.join("blobs/sha256"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

async fn skopeo(arguments: &[&str]) {
    let mut command = Command::new("skopeo");
    command.args(arguments);
    let outcome = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let text = String::from_utf8_lossy(&outcome.stderr).into_owned();
    assert!(outcome.status.success(), "skopeo: {text}");
}

#[tokio::test]
async fn skopeo_there_and_back() {
    if Command::new("skopeo").arg("--version").output().is_err() {
        println!("skipped: skopeo is not installed");
        return;
    }
    there_and_back(&Registry::start().await).await;
}

/// An index of two platforms to the registry, back, and between repositories.
pub async fn there_and_back(registry: &Registry) {
    let dir = tempfile::tempdir().unwrap();
    let (source, back) = (dir.path().join("source"), dir.path().join("back"));
    let index = layout(&source);
    let from = format!("oci:{}:v1", source.display());
    let to = format!("oci:{}:v1", back.display());
    // Without it skopeo compresses the layers on the way.
    let exact = "--preserve-digests";
    let policy = "--insecure-policy";
    let remote = |name: &str| format!("docker://{}/{name}", registry.host());

    let name = remote("deep/er/name:v1");
    skopeo(&[policy, "copy", "--all", exact, "--dest-tls-verify=false", &from, &name]).await;
    let answer = registry.send("HEAD", "/v2/deep/er/name/manifests/v1").await;
    assert_eq!(field(&answer, "docker-content-digest"), index.to_string());

    skopeo(&[policy, "copy", "--all", exact, "--src-tls-verify=false", &name, &to]).await;
    assert_eq!(blobs(&back), blobs(&source));
    for blob in blobs(&back) {
        let bytes = fs_err::read(back.join("blobs/sha256").join(&blob)).unwrap();
        assert_eq!(Digest::of(&bytes).hex(), blob);
    }

    // Between two repositories (mounts), and to Docker's types.
    let tls = ["--src-tls-verify=false", "--dest-tls-verify=false"];
    let other = remote("other:v2");
    skopeo(&[policy, "copy", "--all", exact, tls[0], tls[1], &name, &other]).await;
    let docker = remote("docker:v2s2");
    skopeo(&[policy, "copy", "--format", "v2s2", tls[0], tls[1], &name, &docker]).await;
    skopeo(&["inspect", "--tls-verify=false", &docker]).await;
    skopeo(&["list-tags", "--tls-verify=false", &remote("other")]).await;
    skopeo(&["delete", "--tls-verify=false", &other]).await;
    assert_eq!(registry.send("HEAD", "/v2/other/manifests/v2").await.status(), 404);
    assert_eq!(registry.send("HEAD", "/v2/deep/er/name/manifests/v1").await.status(), 200);
}
