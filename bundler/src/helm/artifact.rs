//! A chart as an OCI artifact, as `helm push` makes it.
//!
//! In: the archive, a signature file that lies beside it. Out: a layout in the workspace. What must hold: the archive keeps its
//! bytes; the same chart is the same artifact, with no time in it.

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use format_spec::Digest;
use registry::media_type::OCI_MANIFEST;
use serde_json::{Value, json};

use super::chart::Chart;
use super::limits::CHART_MAX;
use crate::durable;
use crate::layout::{Choice, LayoutImage};
use crate::made::{self, Documents, Made};

/// The media types of charts (<https://helm.sh/docs/topics/registries>).
pub(super) const CONFIG: &str = "application/vnd.cncf.helm.config.v1+json";
pub(super) const CONTENT: &str = "application/vnd.cncf.helm.chart.content.v1.tar+gzip";
const PROVENANCE: &str = "application/vnd.cncf.helm.chart.provenance.v1.prov";

/// The directory of their layouts.
const LAYOUTS: &str = "charts";

/// Where the layout of a chart is: one for each name and place that it comes from.
pub(super) fn layout(workspace: &Path, name: &str, from: &str) -> PathBuf {
    let mark = &Digest::of(from.as_bytes()).hex()[..16];
    made::place(workspace, &[LAYOUTS, &format!("{name}-{mark}")])
}

/// The archive of this digest that an earlier run left in a layout.
pub(super) fn kept(layout: &Path, digest: &Digest) -> Option<Vec<u8>> {
    let bytes = durable::read(&made::blobs(layout).join(digest.hex()), CHART_MAX).ok()??;
    (Digest::of(&bytes) == *digest).then_some(bytes)
}

/// Writes the layout of a chart.
pub(super) fn write(
    layout: PathBuf,
    chart: &Chart,
    archive: Vec<u8>,
    provenance: Option<Vec<u8>>,
) -> io::Result<LayoutImage> {
    let mut documents = Documents::default();
    let mut put = |kind: &str, bytes: Vec<u8>| {
        let digest = Digest::of(&bytes);
        let layer = json!({ "mediaType": kind, "digest": digest.to_string(), "size": bytes.len() });
        documents.put_bytes(digest, Bytes::from(bytes));
        layer
    };
    let mut layers = vec![put(CONTENT, archive)];
    layers.extend(provenance.map(|bytes| put(PROVENANCE, bytes)));
    let config = documents.put(CONFIG, &Value::Object(chart.metadata.clone()));
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": config,
        "layers": layers,
        "annotations": {
            "org.opencontainers.image.title": chart.name,
            "org.opencontainers.image.version": chart.version,
        },
    });
    let root = documents.put(OCI_MANIFEST, &manifest);
    let made = Made { documents, root, base: None };
    let digest = made.digest();
    made.write(&layout, &chart.version)?;
    Ok(LayoutImage { path: layout, choice: Choice::Digest(digest) })
}
