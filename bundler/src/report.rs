//! What a create tells its caller: plain values, also as JSON (`docs/json-output.md`).

use format_spec::head::{ContentClass, Failure, Kind, Totals};
use format_spec::{Digest, Sequence, StreamId};
use serde::Serialize;

use crate::catalog::select::explain::Explanation;
use crate::error::exit_bits;
use crate::helm::images::{Found, Skipped};
use crate::policy::Verdicts;
use crate::release::explain::Chosen;

/// How a create ended.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "outcome", rename_all = "lowercase")]
pub enum Created {
    /// The target has everything already, or there is nothing to have: no sequence was made.
    Nothing(Summary),
    /// A dry run.
    Planned(Planned),
    /// A sequence was written.
    Written(Written),
}

/// What all outcomes say.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Images of the configuration that were resolved.
    pub images: usize,
    /// Bytes of blobs that earlier sequences carried.
    pub bytes_known: u64,
    /// What could not be had.
    pub failures: Vec<Failure>,
    /// What can be done about some of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hints: Vec<String>,
    /// What was left out because it is blocked: reference and pattern.
    pub blocked: Vec<(String, String)>,
    /// The releases that are carried whole or stand at the target.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub releases: Vec<Release>,
    /// The Operator catalogs that are carried or stand at the target.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub catalogs: Vec<Catalog>,
    /// The Helm charts that are carried or stand at the target.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub charts: Vec<Chart>,
    /// What the policy of `--policy` said of each image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<Verdicts>,
    /// What the update graphs gave, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub updates: Option<Chosen>,
    /// What a person should know.
    pub warnings: Vec<String>,
}

/// One release.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Release {
    /// Its tag at the target.
    pub tag: String,
    /// The release image, by digest.
    pub image: String,
    /// Its images, the release image among them.
    pub images: usize,
    /// Whether somebody trusted has signed it.
    pub signed: bool,
}

/// One Operator catalog.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Catalog {
    /// As the configuration names it.
    pub catalog: String,
    /// The digest that it had at its source.
    pub source_digest: Digest,
    /// Its name at the target, below the target's namespace.
    pub name: String,
    /// Whether it is carried as it is.
    pub whole: bool,
    /// Packages that it has at the target.
    pub packages: usize,
    /// Bundles of these.
    pub bundles: usize,
    /// Images that these need.
    pub images: usize,
    /// Packages that were asked for and miss an image.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
    /// What is taken, and why; in dry runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chosen: Option<Explanation>,
}

/// One Helm chart.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Chart {
    /// Its name.
    pub chart: String,
    /// Its version.
    pub version: String,
    /// Where it comes from.
    pub from: String,
    /// Its name at the target, below the target's namespace.
    pub name: String,
    /// Its manifest.
    pub digest: Digest,
    /// What found its images besides annotations: `helm`, `scan`, or nothing but `annotations`.
    pub found_by: &'static str,
    /// The images that it needs, and where each was found.
    pub images: Vec<Found>,
    /// What looks like an image and is none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<Skipped>,
}

/// A file and its size in bytes.
#[derive(Debug, Clone, Serialize)]
pub struct File {
    /// Its name.
    pub name: String,
    /// Its size in bytes.
    pub bytes: u64,
}

/// A reference that a sequence sets.
#[derive(Debug, Clone, Serialize)]
pub struct PlannedReference {
    /// Where it comes from.
    pub source: String,
    /// The class of content that it belongs to.
    pub class: ContentClass,
    /// Its name at the target, below the target's namespace.
    pub name: String,
    /// Its manifest.
    pub digest: Digest,
}

/// What a dry run found.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Planned {
    /// What all outcomes say.
    #[serde(flatten)]
    pub summary: Summary,
    /// The stream; none before the first create.
    pub stream: Option<StreamId>,
    /// The sequence that a create would write.
    pub sequence: Sequence,
    /// Whether it would stand alone.
    pub kind: Kind,
    /// Counts.
    pub totals: Totals,
    /// The references it would set.
    pub references: Vec<PlannedReference>,
    /// The references it would remove.
    pub removals: Vec<String>,
    /// The parts it would write.
    pub parts: Vec<File>,
    /// Where `mapping.txt` (and `missing.txt`, when something is missing) was written.
    pub mapping: String,
}

/// What a create wrote.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Written {
    /// What all outcomes say.
    #[serde(flatten)]
    pub summary: Summary,
    /// The stream.
    pub stream: StreamId,
    /// The sequence.
    pub sequence: Sequence,
    /// Whether it stands alone.
    pub kind: Kind,
    /// The digest of its head.
    pub digest: Digest,
    /// Counts.
    pub totals: Totals,
    /// The `bytes` of `totals`, under the name that pairs with `bytesKnown`.
    pub bytes_new: u64,
    /// Whether the medium was read again, past the page cache, before the sequence was published.
    pub read_back: bool,
    /// Its files.
    pub files: Vec<File>,
}

impl Created {
    /// What all outcomes say.
    pub fn summary(&self) -> &Summary {
        match self {
            Self::Nothing(summary) => summary,
            Self::Planned(planned) => &planned.summary,
            Self::Written(written) => &written.summary,
        }
    }

    /// Puts what was found before the work began in front of its warnings.
    pub fn warned_before(&mut self, warnings: Vec<String>) {
        let summary = match self {
            Self::Nothing(summary) => summary,
            Self::Planned(planned) => &mut planned.summary,
            Self::Written(written) => &mut written.summary,
        };
        summary.warnings.splice(0..0, warnings);
    }

    /// The exit-code bits of what could not be had; 0 when everything could.
    pub fn exit_bits(&self) -> u8 {
        exit_bits(&self.summary().failures)
    }
}
