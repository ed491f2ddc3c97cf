//! The disconnected side: from a directory of parts to a target registry. Knows nothing of the side
//! that wrote them but the format.
//!
//! 1. [`intake`] lists the directories: regular files with a sequence's names, nothing else.
//! 2. [`verify`](mod@verify) checks the signature, then that every part is there with its size and
//!    its cell table, then the index. All of it before the first request to the target.
//! 3. [`ledger`] says where the target stands, [`order`] whether what arrived may follow.
//! 4. [`survey`] asks the target what it has: required blobs must be there; the rest is the work.
//! 5. [`lock`] keeps other importers out. Nothing was written until here.
//! 6. [`push`] sends the blobs, read from the parts by [`unpack`] with every cell proven by [`cells`]
//!    in the same buffer that is sent, and goes on in [`uploads`] that an earlier run left; then the rest of the cells is proven; then manifests, children
//!    before parents; then, when the lease still holds, tags. [`subjects`] lists referrers where the
//!    registry does not.
//! 7. [`prune`](mod@prune) removes what left the configuration; [`sequences`] leaves the record of what came, the [`ledger`] moves last; a [`receipt`] says what happened.
//! 8. [`cluster`] makes of what stands at the target then the files that a cluster is given.
//!
//! Apart from that, [`delete`](mod@delete) takes away what a person names, [`rollback`](mod@rollback) sets a target back to what an earlier sequence left, [`shelf`] reads of sequences what somebody wants of them without an import, [`put_back`] brings again by digest what a target lost of sequences that it has had, and [`against`](mod@against) reads from a target what sequences promised to it.
//!
//! A crash at any point leaves the old tags and the old record; the same command again finds what is
//! there and goes on. The types follow the trust: `Received → Verified → Sequenced`.

mod against;
mod artifact;
mod cells;
mod cluster;
mod contents;
mod delete;
mod deleted;
mod durable;
mod error;
#[cfg(fuzzing)]
pub mod fuzzing;
mod hint;
mod images;
mod import;
mod intake;
mod ledger;
pub mod limits;
mod lock;
mod order;
mod outlet;
mod paths;
mod profile;
mod prune;
mod push;
mod put_back;
mod read_back;
mod readiness;
mod receipt;
mod report;
mod rollback;
mod sequences;
mod settled;
mod shelf;
mod sparse;
mod subjects;
mod survey;
mod takes;
mod unpack;
mod unready;
mod uploads;
mod verify;

use std::path::PathBuf;
use std::sync::Arc;

use format_spec::keys::PublicKey;
use registry::client::Client;
use registry::progress::Progress;
use registry::reference::Target;
use tokio_util::sync::CancellationToken;

pub use against::against;
pub use cluster::{
    ClusterResources, DIRECTORY as CLUSTER_RESOURCES, Form, Kind, OfferedCatalog, ResourceOptions,
    catalogs, resources,
};
pub use delete::{
    DeleteOptions, DeleteReport, DeletedName, Standing, StandingName, StandingRelease,
    StandingThing, delete, standing,
};
pub use error::{Damage, ErrorKind, ImportError, Problem, WrongSize};
pub use import::import;
pub use intake::hold_sequences;
pub use outlet::{Outlet, OutletForm, OutletOptions, to_directory};
pub use prune::{PruneOptions, PruneReport, prune};
pub use registry::record::LEDGER;
pub use report::{
    Imported, ImportedSequence, Lack, LackKind, Left, Opened, Outcome, ProvenTarget, Pruned,
    PrunedRepository, VerifiedSequence, VerifyReport,
};
pub use rollback::{Gone, RollbackError, RollbackOptions, RollbackReport, TagBack, rollback};
pub use shelf::{MediaShelf, ShelvedRelease};
pub use takes::{TakesOptions, takes};

use intake::Media;
use verify::Verified;

/// The name of the directory that a workspace keeps of a target: readable, and another one for each.
pub fn directory_of(target: &Target) -> String {
    paths::directory_name(&target.to_string())
}

/// The program and its version, in records.
const TOOL: &str = concat!("bundle ", env!("CARGO_PKG_VERSION"));

/// The time now, RFC 3339. For people: no decision depends on it.
fn now() -> String {
    jiff::Timestamp::now().to_string()
}

/// What to import, and where to.
#[derive(Clone)]
pub struct ImportOptions {
    /// Directories over which the files are spread.
    pub from: Vec<PathBuf>,
    /// The target.
    pub target: Target,
    /// The workspace, for the record, the receipts and the lock.
    pub workspace: PathBuf,
    /// The name under which the workspace keeps the target's state; `None` takes the target itself.
    /// For a target that is on another port each time.
    pub local_name: Option<String>,
    /// What reports and receipts call the target; `None` takes the target itself.
    pub told_as: Option<String>,
    /// Keys that a person trusts.
    pub trusted: Vec<PublicKey>,
    /// A further stream is allowed at the target.
    pub new_stream: bool,
    /// Put back what the target lost of sequences that it has had, of any age, by digest: no tag moves, no record changes.
    pub put_back: bool,
    /// With it, read what the target says it has, and send again what arrives damaged.
    pub read_back: bool,
    /// Keep at the target what left the configuration.
    pub skip_pruning: bool,
    /// Only plan: nothing is written at the target, and in the workspace only what would be removed.
    pub dry_run: bool,
    /// Blobs sent at one time; 6 is a good number.
    pub parallel_blobs: usize,
    /// Path components that the target allows; 0 for any number.
    pub max_nested_paths: usize,
    /// The directory for the files that a cluster is given; `None` writes none.
    pub resources: Option<PathBuf>,
    /// The client.
    pub client: Client,
    /// What to tell while it runs.
    pub progress: Arc<Progress>,
    /// Stops the import, in a state from which the same command goes on.
    pub cancel: CancellationToken,
}

/// Which target to hold against which sequences.
pub struct AgainstOptions {
    /// Directories with the heads and indexes of the sequences.
    pub from: Vec<PathBuf>,
    /// The target.
    pub target: Target,
    /// Keys that a person trusts.
    pub trusted: Vec<PublicKey>,
    /// Blobs read at one time.
    pub parallel_blobs: usize,
    /// Path components that the target allows; 0 for any number.
    pub max_nested_paths: usize,
    /// The client.
    pub client: Client,
    /// What to tell while it runs.
    pub progress: Arc<Progress>,
    /// Stops it; it only reads.
    pub cancel: CancellationToken,
}

/// Verifies all sequences in the directories without a registry: signature, presence, index, and
/// every byte of every part that is there. All that is wrong is in the report, so that one way back to the
/// connected side is enough. Blocks.
pub fn verify(
    from: &[PathBuf],
    trusted: &[PublicKey],
    progress: &Progress,
) -> Result<VerifyReport, ImportError> {
    progress.phase("checking signatures");
    let media = Media::open(from)?;
    let (heads, mut refused) = verify::heads(&media)?;
    let (mut whole, mut partial) = (Vec::new(), Vec::new());
    for received in heads {
        // A wrong table is a finding like any other damage.
        match received.examine(&media, trusted) {
            Ok((verified, None)) => whole.push(verified),
            Ok((verified, Some(lacking))) => {
                refused.push(lacking);
                partial.push(verified);
            }
            Err(error) => refused.push(error),
        }
    }
    whole.sort_by_key(|v| (v.head.stream, v.head.sequence));
    refused.extend(verify::fork(whole.iter().chain(&partial)));
    progress.expect(whole.iter().chain(&partial).map(|v| v.content.cell_bytes()).sum());
    progress.phase("checking the parts");
    let mut findings = Vec::new();
    for verified in whole.iter().chain(&partial) {
        verified.findings(progress, &mut findings);
    }
    let mut warnings = media.warnings;
    if findings.len() >= limits::FINDINGS_MAX {
        warnings.push(format!(
            "of more than {} findings the first are listed, and one for each damaged part",
            limits::FINDINGS_MAX
        ));
    }
    // One thing to say about all of it is an error like any other.
    if whole.is_empty() && findings.is_empty() && refused.len() == 1 {
        return Err(refused.swap_remove(0));
    }
    let sequences = whole.iter().map(Verified::report).collect();
    let report = VerifyReport { sequences, findings, refused, warnings };
    Ok(report)
}

/// The head and index of each sequence in the directories, ascending, for showing what is there.
/// With `None` no signature is checked and nothing shown is proven. Parts need not be there. Blocks.
pub fn open(from: &[PathBuf], trusted: Option<&[PublicKey]>) -> Result<Vec<Opened>, ImportError> {
    let media = Media::open(from)?;
    let mut opened = Vec::new();
    for received in verify::receive(&media)? {
        let (head, digest, index, signers) = received.describe(&media, trusted)?;
        opened.push(Opened { head, digest, index, signers });
    }
    opened.sort_by_key(|o| (o.head.stream, o.head.sequence));
    Ok(opened)
}
