//! What stands at a target, from the records of its sequences, which imports leave there.
//!
//! In: a target. Out: the images and resources that stand ([`Standing`]). What must hold: every head is the one that the
//! stream's record, or a later head, names by its digest, and every index the one that its head names; so a record that is
//! not that of the import is an error. Indexes are read from front to back, one entry at a time.

use std::collections::HashMap;
use std::io::{self, BufReader, Read};

use format_spec::entries::{Entries, Entry};
use format_spec::hash::Hasher;
use format_spec::head::{Head, Kind, Link};
use format_spec::index::{Index, Resource};
use format_spec::limits::{HEAD_MAX, INDEX_MAX};
use format_spec::{Digest, Repository, Sequence, StreamId};
use registry::client::{BlobStream, ErrorKind as WireKind};
use registry::record;
use tokio::runtime::Handle;

use super::replay::{Replay, Standing};
use crate::artifact::{self, unusable};
use crate::error::ImportError;
use crate::ledger::{Record, Remote};
use crate::limits::{RECORDS_AT_ONCE, RESOURCES_MAX};
use crate::paths::Destination;
use crate::survey::ask;

/// Bytes of an index that are fetched at a time.
const PIECE: usize = 256 * 1024;

/// One sequence, as its head says.
struct Known {
    sequence: Sequence,
    kind: Kind,
    /// The digest of the head that was read.
    digest: Digest,
    /// What the head says of earlier ones.
    links: Vec<Link>,
    /// The sequence after which it left nothing out.
    base: Option<Sequence>,
    index: Digest,
    index_bytes: u64,
}

/// Reads what stands at a target, of every stream that it follows. What is missing is told.
pub(super) async fn standing(
    at: &Destination,
    remote: &Remote,
    warnings: &mut Vec<String>,
) -> Result<Standing, ImportError> {
    let mut standing = Standing::default();
    for stands in &remote.records {
        let known = sequences(at, remote, stands, warnings).await?;
        let mut replay = Replay::default();
        let mut resources = Vec::new();
        for one in &known {
            (replay, resources) = index(at, stands.stream, one, replay).await?;
        }
        if known.last().is_some_and(|last| last.sequence == stands.sequence) {
            standing.resources.extend(resources);
        }
        standing.images.extend(replay.end());
        standing.last.insert(stands.stream, stands.sequence);
    }
    Ok(standing)
}

/// What sequences of media say, each stream's ascending: as if a target had taken them.
pub(super) fn of_media<'a>(
    sequences: impl IntoIterator<Item = (&'a Head, &'a Index)>,
    warnings: &mut Vec<String>,
) -> Standing {
    let mut replays: Vec<(StreamId, Sequence, Replay, &[Resource])> = Vec::new();
    for (head, index) in sequences {
        if replays.last().is_none_or(|(stream, ..)| *stream != head.stream) {
            if head.kind != Kind::Full {
                warnings.push(format!(
                    "the media begin with sequence {} of stream {}, which is not full: what only earlier ones set is not here",
                    head.sequence, head.stream
                ));
            }
            replays.push((head.stream, head.sequence, Replay::default(), &[]));
        }
        let (_, last, replay, resources) = replays.last_mut().expect("pushed just now");
        replay.begin(head.kind);
        for removal in &index.removals {
            replay.remove(index.repository(removal.repository), removal.clone());
        }
        for entry in &index.references {
            replay.set(index.repository(entry.repository), entry.clone());
        }
        (*last, *resources) = (head.sequence, &index.resources);
    }
    let mut standing = Standing::default();
    for (stream, last, replay, resources) in replays {
        standing.images.extend(replay.end());
        standing.resources.extend_from_slice(resources);
        standing.last.insert(stream, last);
    }
    standing
}

/// The sequences of a stream that say what stands: from the last full one to where the target stands, ascending.
async fn sequences(
    at: &Destination,
    remote: &Remote,
    stands: &Record,
    warnings: &mut Vec<String>,
) -> Result<Vec<Known>, ImportError> {
    let stream = stands.stream;
    let of_stream = remote.sequences.iter().filter(|(of, _)| *of == stream).map(|(_, one)| *one);
    let mut there: Vec<Sequence> = of_stream.filter(|one| *one <= stands.sequence).collect();
    there.sort_unstable();
    // The digests that are known: of where the stream stands, then of what each head names.
    let mut named = HashMap::from([(stands.sequence, stands.last().digest)]);
    let mut found: Vec<Known> = Vec::new();
    while !there.is_empty() && found.last().is_none_or(|last| last.kind != Kind::Full) {
        let some = there.split_off(there.len().saturating_sub(RECORDS_AT_ONCE));
        let heads = ask(some, RECORDS_AT_ONCE, |one| Box::pin(head(at, stream, one)));
        let mut heads: Vec<Known> = heads.await?.into_iter().flatten().collect();
        heads.sort_by_key(|one| std::cmp::Reverse(one.sequence));
        for one in heads {
            let tag = record::sequence_tag(stream, one.sequence);
            match named.get(&one.sequence) {
                Some(digest) if *digest != one.digest => {
                    let problem = format!("its head is {}, and {digest} was imported", one.digest);
                    return Err(unusable(at, &tag, problem));
                }
                _ => {}
            }
            named.extend(one.links.iter().map(|link| (link.sequence, link.digest)));
            found.push(one);
            if found.last().is_some_and(|last| last.kind == Kind::Full) {
                break;
            }
        }
    }
    found.reverse();
    tell_holes(&found, stands, warnings);
    Ok(found)
}

/// Says which sequences have no record at the target, where what they set is not known.
fn tell_holes(found: &[Known], stands: &Record, warnings: &mut Vec<String>) {
    let mut tell = |from: u64, to: u64| {
        let numbers =
            if from == to { format!("sequence {to}") } else { format!("sequences {from} to {to}") };
        warnings.push(format!(
            "the target has no record of {numbers} of stream {}: what only they set is missing in the files for the \
             cluster; `bundle import --put-back --from DIR` with their media puts the records back",
            stands.stream
        ));
    };
    let mut reached = 0;
    for one in found {
        // An incremental one may say that nothing was left out since an earlier one than the last.
        let needs = match one.kind {
            Kind::Full => reached,
            Kind::Incremental => one.base.map_or(one.sequence.get() - 1, Sequence::get),
        };
        if reached < needs {
            tell(reached + 1, one.sequence.get() - 1);
        }
        reached = one.sequence.get();
    }
    if reached < stands.sequence.get() {
        tell(reached + 1, stands.sequence.get());
    }
}

/// The head in the record of a sequence; `None` when the target lost it.
async fn head(
    at: &Destination,
    stream: StreamId,
    sequence: Sequence,
) -> Result<Option<Known>, ImportError> {
    let tag = record::sequence_tag(stream, sequence);
    let Some(manifest) = artifact::get(at, &tag).await? else { return Ok(None) };
    let [layer, _] = manifest.layers.as_slice() else {
        return Err(unusable(at, &tag, format!("{} layers instead of two", manifest.layers.len())));
    };
    let got = at.client.get_blob_bytes(at.host(), &at.ledger, &layer.digest, layer.size, HEAD_MAX);
    let bytes = match got.await {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == WireKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let head = Head::parse(&bytes).map_err(|error| unusable(at, &tag, error.to_string()))?;
    if head.stream != stream || head.sequence != sequence {
        return Err(unusable(at, &tag, "its head is of another sequence".to_owned()));
    }
    let links = head.previous.iter().chain(&head.tail).chain(&head.base).copied().collect();
    Ok(Some(Known {
        sequence,
        kind: head.kind,
        digest: layer.digest,
        links,
        base: head.base.map(|link| link.sequence),
        index: head.index.digest,
        index_bytes: head.index.bytes,
    }))
}

/// Takes what the index of a sequence says into what stood before it.
async fn index(
    at: &Destination,
    stream: StreamId,
    one: &Known,
    mut replay: Replay,
) -> Result<(Replay, Vec<Resource>), ImportError> {
    let tag = record::sequence_tag(stream, one.sequence);
    if one.index_bytes > INDEX_MAX {
        return Err(unusable(at, &tag, format!("its index has {} bytes", one.index_bytes)));
    }
    let (digest, size) = (one.index, one.index_bytes);
    let blob = at.client.get_blob(at.host(), &at.ledger, &digest, size, 0).await?;
    replay.begin(one.kind);
    let reader = Fetched { handle: Handle::current(), blob, hasher: Hasher::new() };
    let taken = tokio::task::spawn_blocking(move || take(reader, digest, replay)).await?;
    taken.map_err(|problem| unusable(at, &tag, problem))
}

fn take(
    reader: Fetched,
    digest: Digest,
    mut replay: Replay,
) -> Result<(Replay, Vec<Resource>), String> {
    let mut entries =
        Entries::open(BufReader::with_capacity(PIECE, reader)).map_err(|e| e.to_string())?;
    let repositories = std::mem::take(&mut entries.repositories);
    let repository = |id: u32| -> Result<&Repository, String> {
        repositories.get(id as usize).ok_or_else(|| format!("its index has no repository {id}"))
    };
    // Removals stand behind the names that are set; no name is in both.
    for entry in entries.by_ref() {
        match entry.map_err(|error| error.to_string())? {
            Entry::Reference(entry) => replay.set(repository(entry.repository)?, entry),
            Entry::Removal(removal) => replay.remove(repository(removal.repository)?, removal),
            _ => {}
        }
    }
    let (resources, reader) =
        entries.resources(RESOURCES_MAX).map_err(|error| error.to_string())?;
    let found = reader.into_inner().hasher.finish();
    if found != digest {
        return Err(format!("its index arrived with the digest {found}"));
    }
    Ok((replay, resources))
}

/// A blob of the target as a reader of a thread of its own.
struct Fetched {
    handle: Handle,
    blob: BlobStream,
    hasher: Hasher,
}

impl Read for Fetched {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.handle.block_on(self.blob.read(buffer)).map_err(io::Error::other)?;
        self.hasher.update(&buffer[..read]);
        Ok(read)
    }
}
