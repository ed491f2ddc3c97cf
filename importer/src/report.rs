//! What an import or a verification tells: values for `--output json` and for people.

use std::fmt;
use std::path::PathBuf;

use format_spec::head::{Head, Kind};
use format_spec::index::Index;
use format_spec::keys::KeyId;
use format_spec::{Digest, Repository, Sequence, StreamId, Tag};
use serde::{Serialize, Serializer};

use crate::cluster::ClusterResources;
use crate::error::{Damage, ImportError};

/// What became of a sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It is at the target now.
    Imported,
    /// It was at the target; what was missing was put back.
    Known,
    /// It would be imported (`--dry-run`).
    Planned,
}

/// What was removed from a target, or would be.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Pruned {
    /// Tags.
    pub tags: u64,
    /// Manifests.
    pub manifests: u64,
    /// The same by repository of the target, ascending.
    pub repositories: Vec<PrunedRepository>,
    /// What stays behind because it could not be removed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub left: Vec<Left>,
}

/// What was removed from one repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PrunedRepository {
    /// The repository at the target.
    pub name: Repository,
    /// Manifests, in the order in which they go.
    pub manifests: Vec<Digest>,
    /// Tags.
    pub tags: Vec<Tag>,
}

/// Something that could not be removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Left {
    /// `host/repository:tag` or `host/repository@digest`.
    pub name: String,
    /// Why.
    pub reason: String,
}

impl PrunedRepository {
    pub(crate) fn new(name: &Repository) -> Self {
        Self { name: name.clone(), manifests: Vec::new(), tags: Vec::new() }
    }
}

impl Pruned {
    pub(crate) fn add(&mut self, repository: PrunedRepository) {
        self.tags += repository.tags.len() as u64;
        self.manifests += repository.manifests.len() as u64;
        if !repository.tags.is_empty() || !repository.manifests.is_empty() {
            self.repositories.push(repository);
        }
    }

    /// Whether nothing went and nothing was to go.
    pub fn is_nothing(&self) -> bool {
        self.repositories.is_empty() && self.left.is_empty()
    }
}

/// One sequence of an import.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ImportedSequence {
    /// Its number.
    pub sequence: Sequence,
    /// Its stream.
    pub stream: StreamId,
    /// The digest of its head.
    pub digest: Digest,
    /// Whether it stands alone.
    pub kind: Kind,
    /// What became of it.
    pub outcome: Outcome,
    /// The ids of the trusted keys that signed it.
    pub signers: Vec<String>,
    /// References that it sets.
    pub references: u64,
    /// References that it removes.
    pub removals: u64,
    /// Blobs sent (dry run: to be sent).
    pub blobs_pushed: u64,
    /// Bytes of them.
    pub bytes_pushed: u64,
    /// Blobs mounted from another repository of the target (dry run: to be mounted).
    pub blobs_mounted: u64,
    /// Blobs that were there.
    pub blobs_present: u64,
    /// Manifests written by their digest (dry run: to be written).
    pub manifests_put: u64,
    /// Tags set (dry run: to be set).
    pub tags_put: u64,
    /// What was removed because of it (dry run: would be); none where `--skip-pruning` keeps it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pruned: Option<Pruned>,
    /// Blobs and manifests that the sequence carries.
    pub carried: u64,
    /// Bytes of the part files.
    pub bytes: u64,
    /// Part files.
    pub parts: u64,
    /// The receipt that was written.
    pub receipt: Option<PathBuf>,
}

impl ImportedSequence {
    /// Whether anything of it was brought to the target, or would be.
    pub fn moves(&self) -> bool {
        self.blobs_pushed + self.blobs_mounted + self.manifests_put + self.tags_put > 0
    }
}

/// The result of an import.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Imported {
    /// The target.
    pub target: String,
    /// Nothing was written.
    pub dry_run: bool,
    /// The sequences, in the order in which they were taken.
    pub sequences: Vec<ImportedSequence>,
    /// The files for clusters that were written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster_resources: Option<ClusterResources>,
    /// The plan of what would be removed, as a file, in a dry run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pruning_plan: Option<PathBuf>,
    /// What a person should know.
    pub warnings: Vec<String>,
}

/// A sequence that was verified.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VerifiedSequence {
    /// Its number.
    pub sequence: Sequence,
    /// Its stream.
    pub stream: StreamId,
    /// The digest of its head.
    pub digest: Digest,
    /// Whether it stands alone.
    pub kind: Kind,
    /// The sequence that must be at the target before it, or a later one; none when it stands alone.
    pub after: Option<Sequence>,
    /// The time after which import refuses it, when that has passed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expired: Option<String>,
    /// The ids of the trusted keys that signed it.
    pub signers: Vec<String>,
    /// Part files.
    pub parts: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Cells proven.
    pub cells: u64,
}

/// The result of a verification.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VerifyReport {
    /// The sequences found; their heads, indexes and cell tables are proven.
    pub sequences: Vec<VerifiedSequence>,
    /// What is damaged.
    pub findings: Vec<Damage>,
    /// Why others cannot be used as they are: files are missing, or the signature does not prove them.
    #[serde(serialize_with = "texts")]
    pub refused: Vec<ImportError>,
    /// What a person should know.
    pub warnings: Vec<String>,
}

impl VerifyReport {
    /// Whether every byte is there and is what was signed.
    pub fn is_intact(&self) -> bool {
        self.findings.is_empty() && self.refused.is_empty()
    }
}

fn texts<S: Serializer>(errors: &[ImportError], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(errors.iter().map(ToString::to_string))
}

/// What a target lacks of what it was promised.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Lack {
    /// `host/repository:tag`, `host/repository@digest`, or the sequence that it never took.
    pub name: String,
    /// What is wrong with it.
    #[serde(flatten)]
    pub kind: LackKind,
}

/// What is wrong with something at a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase", tag = "problem")]
pub enum LackKind {
    /// It is not there, or not with the size that it has.
    Absent,
    /// What is there is something else.
    Other {
        /// Its digest.
        found: Digest,
    },
    /// What arrives is not what the registry says it is.
    Wrong,
    /// A sequence that the target has not taken yet.
    Behind {
        /// Where it stands.
        stands: Sequence,
    },
}

impl Lack {
    /// Whether content is there and damaged: a registry that is only asked says that it has it.
    pub fn is_damage(&self) -> bool {
        self.kind == LackKind::Wrong
    }
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.name;
        match self.kind {
            LackKind::Absent => write!(f, "{name} is not at the target"),
            LackKind::Other { found } => write!(f, "{name} is another one at the target: {found}"),
            LackKind::Wrong => write!(f, "{name} arrives damaged from the target"),
            LackKind::Behind { stands } => {
                write!(f, "{name} was not imported yet: the target stands at sequence {stands}")
            }
        }
    }
}

/// What was proven of a target.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProvenTarget {
    /// The target.
    pub target: String,
    /// The last sequence of each stream that it was held against.
    pub sequences: Vec<Sequence>,
    /// Manifests that were read, each in every repository that needs it.
    pub manifests: u64,
    /// Blobs that were read.
    pub blobs: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Tags that were asked for.
    pub tags: u64,
    /// What it lacks.
    pub lacks: Vec<Lack>,
    /// What a person should know.
    pub warnings: Vec<String>,
}

/// A sequence that was opened to be shown.
#[derive(Debug, Clone)]
pub struct Opened {
    /// The head.
    pub head: Head,
    /// Its digest.
    pub digest: Digest,
    /// The index.
    pub index: Index,
    /// The trusted keys that signed; empty when no keys were given and nothing was checked.
    pub signers: Vec<KeyId>,
}
