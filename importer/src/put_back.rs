//! Which of the sequences that arrived the target has had, so that what it lost of them may be put back by digest.
//!
//! In: sequences of which the signature is proven, in any age, and what the target and the workspace have on record. Out:
//! those to put back, ascending, and for each medium with parts left out what is missing. What must hold: nothing that
//! the target never took comes in this way; no tag moves and no record of a stream changes, so an old sequence takes
//! nothing back to what it was (threat T6).

use std::collections::{BTreeSet, HashMap};

use format_spec::Digest;
use format_spec::chain::OrderError;
use format_spec::index::Index;
use format_spec::keys::PublicKey;
use format_spec::part::FileName;
use registry::record::sequence_tag;

use crate::artifact;
use crate::error::{ImportError, WrongSize};
use crate::intake::Media;
use crate::ledger::{Record, Remote};
use crate::paths::Destination;
use crate::survey::Work;
use crate::verify::{Received, Verified};

/// What a medium lacks, by the digest of the head. The parts that hold what is put back are enough.
pub(crate) type Lacking = HashMap<Digest, ImportError>;

/// Proves heads and indexes. Parts may be missing.
pub(crate) fn examine(
    heads: Vec<Received>,
    media: &Media,
    trusted: &[PublicKey],
) -> Result<(Vec<Verified>, Lacking), ImportError> {
    let mut lacking = Lacking::new();
    let mut arrived = Vec::with_capacity(heads.len());
    for head in heads {
        let (verified, lacks) = head.examine(media, trusted)?;
        lacking.extend(lacks.map(|lacks| (verified.digest, lacks)));
        arrived.push(verified);
    }
    Ok((arrived, lacking))
}

/// Keeps the sequences that the target has had. Those that it never took are told, unless there is nothing else.
pub(crate) async fn had(
    at: &Destination,
    arrived: Vec<Verified>,
    records: &[Record],
    remote: &Remote,
    warnings: &mut Vec<String>,
) -> Result<Vec<Verified>, ImportError> {
    let mut had = Vec::with_capacity(arrived.len());
    let mut never = None;
    for verified in arrived {
        let (stream, sequence) = (verified.head.stream, verified.head.sequence);
        match known(at, &verified, records, remote).await? {
            Some(known) if known == verified.digest => had.push(verified),
            Some(known) => {
                let error = OrderError::Fork { at: sequence, arrived: verified.digest, known };
                return Err(ImportError::Order { error, stream });
            }
            None => {
                warnings.push(format!("sequence {sequence} was never imported there: left alone"));
                never = never.or(Some(sequence));
            }
        }
    }
    match never {
        Some(sequence) if had.is_empty() => Err(ImportError::NeverImported { sequence }),
        _ => Ok(had),
    }
}

/// The digest of the head that the target took under this number.
async fn known(
    at: &Destination,
    verified: &Verified,
    records: &[Record],
    remote: &Remote,
) -> Result<Option<Digest>, ImportError> {
    let (stream, sequence) = (verified.head.stream, verified.head.sequence);
    let record = records.iter().find(|record| record.stream == stream);
    let mut links = record
        .into_iter()
        .flat_map(|record| std::iter::once(record.last()).chain(record.tail.iter().copied()));
    if let Some(link) = links.find(|link| link.sequence == sequence) {
        return Ok(Some(link.digest));
    }
    if !remote.names(stream, sequence) {
        return Ok(None);
    }
    // Further back than the record of the stream reaches. The first layer is the head.
    let manifest = artifact::get(at, &sequence_tag(stream, sequence)).await?;
    Ok(manifest.and_then(|manifest| Some(manifest.layers.first()?.digest)))
}

/// Leaves out of the work what no medium of this sequence can bring: blobs of earlier ones that no repository has.
pub(crate) fn leave_out(work: &mut Work, verified: &Verified, warnings: &mut Vec<String>) {
    let before = work.required.len();
    work.required.retain(|need| need.have.is_some());
    let lost = before - work.required.len();
    if lost > 0 {
        warnings.push(format!(
            "sequence {} needs {lost} lost blobs that earlier ones brought: put those back too",
            verified.head.sequence
        ));
    }
}

/// What is missing of the parts with content to be sent, if anything: other parts may be away.
pub(crate) fn missing(
    verified: &Verified,
    work: &Work,
    lacking: &mut Lacking,
) -> Option<ImportError> {
    let index: &Index = &verified.index;
    let blobs = work.blobs.iter().flat_map(|need| &index.blobs[need.blob].pieces);
    let manifests = work.manifests.iter().flat_map(|(n, _)| &index.manifests[*n].pieces);
    let mut needed: BTreeSet<u32> = blobs.chain(manifests).map(|piece| piece.part).collect();
    for part in &verified.content.parts {
        needed.remove(&part.number);
    }
    if needed.is_empty() {
        return None;
    }
    let sequence = verified.head.sequence;
    let files: Vec<String> =
        needed.into_iter().map(|number| FileName::Part(sequence, number).to_string()).collect();
    let wrong = match lacking.remove(&verified.digest) {
        Some(ImportError::Size(wrong) | ImportError::Missing { wrong, .. }) => wrong,
        _ => Vec::new(),
    };
    let name = |wrong: &WrongSize| Some(wrong.path.file_name()?.to_str()?.to_owned());
    let is_wrong = |file: &String| wrong.iter().any(|one| name(one).as_ref() == Some(file));
    let (named, absent): (Vec<String>, Vec<String>) = files.into_iter().partition(is_wrong);
    let of_need = |one: &WrongSize| name(one).is_some_and(|name| named.contains(&name));
    let wrong = wrong.into_iter().filter(of_need).collect();
    Some(match absent.is_empty() {
        true => ImportError::Size(wrong),
        false => ImportError::Missing { sequence, files: absent, wrong },
    })
}
