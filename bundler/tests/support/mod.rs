//! What the tests of create share.
//!
//! In: images, or a whole configuration, and a directory to work in. Out: a create that leaves everything at
//! its default, and what it made.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bundler::config::ImageSetConfig;
use bundler::release::graph_image::GraphOptions;
use bundler::release::path::AcceptedRisks;
use bundler::release::proven::Trust;
use bundler::release::service::ServiceOptions;
use bundler::{CreateError, CreateOptions, Created, HelmOptions, ReleaseOptions, Stream, Written};
use format_spec::keys::SecretKey;
use format_spec::limits::PART_MIN;
use registry::client::Client;
use tokio_util::sync::CancellationToken;

/// The key that signs.
pub fn key() -> SecretKey {
    SecretKey::from_seed(&[5; 32])
}

/// A configuration of these images of one registry.
pub fn configuration(host: &str, images: &[&str]) -> String {
    let lines: String = images.iter().map(|image| format!("  - name: {host}/{image}\n")).collect();
    format!(
        "kind: ImageSetConfiguration\napiVersion: mirror.openshift.io/v2alpha1\nmirror:\n  \
         additionalImages:\n{lines}"
    )
}

/// A create of this configuration with workspace and medium below `directory`, in the smallest parts.
pub fn options(text: &str, directory: &Path, client: &Client) -> CreateOptions {
    CreateOptions {
        config: ImageSetConfig::parse(text, "test.yaml").unwrap().config,
        images: Vec::new(),
        straight: None,
        workspace: directory.join("workspace"),
        to: directory.join("medium"),
        keys: Arc::new(vec![key()]),
        part_bytes: PART_MIN,
        full: false,
        since: None,
        strict: false,
        remove_signatures: false,
        foreign_layers: false,
        max_nested_paths: 0,
        dry_run: false,
        parallel_images: 4,
        parallel_blobs: 4,
        sums: true,
        read_back: true,
        labels: BTreeMap::new(),
        expires: None,
        next_expected: None,
        releases: ReleaseOptions {
            service: ServiceOptions::from_environment(None).unwrap(),
            risks: AcceptedRisks::Nothing,
            trust: Trust { keys: Vec::new(), stores: Vec::new(), accept_unsigned: false },
            graph: GraphOptions::default(),
        },
        helm: HelmOptions::default(),
        policy: None,
        client: client.clone(),
        progress: Arc::default(),
        cancel: CancellationToken::new(),
    }
}

/// Runs it.
pub async fn create(options: CreateOptions) -> Result<Created, CreateError> {
    let CreateOptions { config, workspace, client, progress, .. } = &options;
    let stream = Stream::open(config, workspace, client, progress).await?;
    bundler::create(stream, options).await
}

/// The sequence that was made.
pub fn written(created: Created) -> Written {
    match created {
        Created::Written(written) => written,
        other => panic!("expected a sequence: {other:?}"),
    }
}
