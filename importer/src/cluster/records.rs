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
use format_spec::index::{Index, ReferenceEntry, Removal, Resource};
use format_spec::limits::{HEAD_MAX, INDEX_MAX};
use format_spec::{Digest, Repository, Sequence, StreamId};
use registry::client::{BlobStream, ErrorKind as WireKind};
use registry::media_type::is_index;
use registry::record;
use tokio::runtime::Handle;

use super::replay::{Replay, Standing};
use crate::artifact::{self, unusable};
use crate::deleted::{self, Name};
use crate::error::ImportError;
use crate::ledger::{Record, Remote};
use crate::limits::{RECORDS_AT_ONCE, RESOURCES_MAX};
use crate::paths::Destination;
use crate::survey::ask;

/// Bytes of an index that are fetched at a time.
const PIECE: usize = 256 * 1024;

/// What is made of a stream while its sequences pass, ascending.
pub(crate) trait Follow: Send + 'static {
    /// A sequence begins. `failed`: its create could not have everything, so what it does not name is not gone.
    fn begin(&mut self, kind: Kind, failed: bool);
    /// A manifest comes into `repository`; whether it is an index.
    fn carry(&mut self, repository: &Repository, manifest: (Digest, bool));
    /// A name is set in `repository`.
    fn set(&mut self, repository: &Repository, entry: ReferenceEntry);
    /// A name left the configuration.
    fn remove(&mut self, repository: &Repository, removal: Removal);
    /// A blob is needed in `repository`; whether the sequence carries it.
    fn bring(&mut self, _repository: &Repository, _blob: Digest, _carried: bool) {}
}

/// How far back the sequences of a stream are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Back {
    /// To the last full one that could have everything: what stands and what nobody took away.
    Whole,
    /// To the first that has a record: what was ever set.
    First,
}

/// Takes sequences, ascending, into what stood before them, and between them what was deleted at the target. Also what the
/// last one states.
pub(crate) async fn replay<F: Follow>(
    at: &Destination,
    stream: StreamId,
    sequences: &[Known],
    deleted: &[Name],
    mut follower: F,
) -> Result<(F, Vec<Resource>), ImportError> {
    let mut deleted = deleted.iter().peekable();
    let mut resources = Vec::new();
    for one in sequences {
        while let Some(name) = deleted.next_if(|name| name.after < one.sequence) {
            follower.remove(&name.repository, name.removal());
        }
        (follower, resources) = index(at, stream, one, follower).await?;
    }
    for name in deleted {
        follower.remove(&name.repository, name.removal());
    }
    Ok((follower, resources))
}

/// Sequences of a stream that have no record at the target, though what stands depends on them.
pub(crate) type Hole = (StreamId, std::ops::RangeInclusive<u64>);

/// One sequence, as its head says.
pub(crate) struct Known {
    pub(crate) sequence: Sequence,
    kind: Kind,
    failed: bool,
    /// The digest of the head that was read.
    pub(crate) digest: Digest,
    /// Whether a later head, or the record of the stream, names this one.
    pub(crate) named: bool,
    /// The sequences before it, as the head names them.
    pub(crate) tail: Vec<Link>,
    /// What the head says of earlier ones.
    links: Vec<Link>,
    /// The sequence after which it left nothing out.
    base: Option<Sequence>,
    index: Digest,
    index_bytes: u64,
}

impl Known {
    /// Whether it says everything anew, so that nothing before it counts.
    pub(crate) fn is_whole(&self) -> bool {
        self.kind == Kind::Full && !self.failed
    }
}

/// Reads what stands at a target, of every stream that it follows. What is missing is told.
pub(super) async fn standing(
    at: &Destination,
    remote: &Remote,
    warnings: &mut Vec<String>,
) -> Result<Standing, ImportError> {
    let mut standing = Standing::default();
    for stands in &remote.records {
        let (stream, last) = (stands.stream, stands.last());
        let (known, holes) = sequences(at, remote, (stream, last), Back::Whole).await?;
        warnings.extend(holes.iter().map(|hole| {
            let told = told(hole);
            format!(
                "the target has no record of {told}: what only they set is missing in the files for the cluster; `bundle \
                 import --put-back --from DIR` with their media puts the records back"
            )
        }));
        let deleted = deleted::of(&remote.deleted, stream);
        let (replay, resources) = replay(at, stream, &known, deleted, Replay::default()).await?;
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
        pass(head, index, replay);
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

/// A sequence that is at hand passes.
pub(crate) fn pass(head: &Head, index: &Index, follower: &mut impl Follow) {
    follower.begin(head.kind, !head.failures.is_empty());
    for entry in &index.manifests {
        for id in &entry.repositories {
            follower.carry(index.repository(*id), (entry.digest, is_index(&entry.media_type)));
        }
    }
    for removal in &index.removals {
        follower.remove(index.repository(removal.repository), removal.clone());
    }
    for entry in &index.references {
        follower.set(index.repository(entry.repository), entry.clone());
    }
}

/// The sequences of a stream up to `last`, ascending, and those of which there is no record.
pub(crate) async fn sequences(
    at: &Destination,
    remote: &Remote,
    (stream, last): (StreamId, Link),
    back: Back,
) -> Result<(Vec<Known>, Vec<Hole>), ImportError> {
    let mut there = remote.of_stream(stream);
    there.retain(|one| *one <= last.sequence);
    // The digests that are known: of where the stream stands, then of what each head names.
    let mut named = HashMap::from([(last.sequence, last.digest)]);
    let mut found: Vec<Known> = Vec::new();
    let enough = |last: &Known| match back {
        Back::Whole => last.is_whole(),
        Back::First => false,
    };
    while !there.is_empty() && !found.last().is_some_and(enough) {
        let some = there.split_off(there.len().saturating_sub(RECORDS_AT_ONCE));
        for mut one in heads(at, stream, some).await? {
            let tag = record::sequence_tag(stream, one.sequence);
            match named.get(&one.sequence) {
                Some(digest) if *digest != one.digest => {
                    let problem = format!("its head is {}, and {digest} was imported", one.digest);
                    return Err(unusable(at, &tag, problem));
                }
                known => one.named = known.is_some(),
            }
            named.extend(one.links.iter().map(|link| (link.sequence, link.digest)));
            found.push(one);
            if found.last().is_some_and(enough) {
                break;
            }
        }
    }
    found.reverse();
    let holes = holes(&found, stream, last.sequence);
    Ok((found, holes))
}

/// Sequences of a stream behind where it was set back, up to the furthest that it ever stood, ascending. What is not of
/// that history, as another sequence came under its number since, is left out.
pub(crate) async fn behind(
    at: &Destination,
    remote: &Remote,
    stands: &Record,
) -> Result<Vec<Known>, ImportError> {
    let (stream, reached) = (stands.stream, stands.reached());
    let mut there = remote.of_stream(stream);
    there.retain(|one| *one > stands.sequence && *one <= reached.sequence);
    let mut named = HashMap::from([(reached.sequence, reached.digest)]);
    let mut found = Vec::new();
    while !there.is_empty() {
        let some = there.split_off(there.len().saturating_sub(RECORDS_AT_ONCE));
        for one in heads(at, stream, some).await? {
            if named.get(&one.sequence) == Some(&one.digest) {
                named.extend(one.links.iter().map(|link| (link.sequence, link.digest)));
                found.push(one);
            }
        }
    }
    found.reverse();
    Ok(found)
}

/// The heads of some sequences, descending; without those that the target lost.
async fn heads(
    at: &Destination,
    stream: StreamId,
    some: Vec<Sequence>,
) -> Result<Vec<Known>, ImportError> {
    let heads = ask(some, RECORDS_AT_ONCE, |one| Box::pin(head(at, stream, one)));
    let mut heads: Vec<Known> = heads.await?.into_iter().flatten().collect();
    heads.sort_by_key(|one| std::cmp::Reverse(one.sequence));
    Ok(heads)
}

/// A hole in words.
pub(crate) fn told((stream, missing): &Hole) -> String {
    let (from, to) = (missing.start(), missing.end());
    match from == to {
        true => format!("sequence {to} of stream {stream}"),
        false => format!("sequences {from} to {to} of stream {stream}"),
    }
}

/// Which sequences have no record at the target, where what they set is not known.
fn holes(found: &[Known], stream: StreamId, last: Sequence) -> Vec<Hole> {
    let mut holes = Vec::new();
    let mut tell = |from: u64, to: u64| holes.push((stream, from..=to));
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
    if reached < last.get() {
        tell(reached + 1, last.get());
    }
    holes
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
        failed: !head.failures.is_empty(),
        digest: layer.digest,
        named: false,
        tail: head.tail,
        links,
        base: head.base.map(|link| link.sequence),
        index: head.index.digest,
        index_bytes: head.index.bytes,
    }))
}

/// Takes what the index of a sequence says into what stood before it.
pub(crate) async fn index<F: Follow>(
    at: &Destination,
    stream: StreamId,
    one: &Known,
    mut follower: F,
) -> Result<(F, Vec<Resource>), ImportError> {
    let tag = record::sequence_tag(stream, one.sequence);
    if one.index_bytes > INDEX_MAX {
        return Err(unusable(at, &tag, format!("its index has {} bytes", one.index_bytes)));
    }
    let (digest, size) = (one.index, one.index_bytes);
    let blob = at.client.get_blob(at.host(), &at.ledger, &digest, size, 0).await?;
    follower.begin(one.kind, one.failed);
    let reader = Fetched { handle: Handle::current(), blob, hasher: Hasher::new() };
    let taken = tokio::task::spawn_blocking(move || take(reader, digest, follower)).await?;
    taken.map_err(|problem| unusable(at, &tag, problem))
}

fn take<F: Follow>(
    reader: Fetched,
    digest: Digest,
    mut follower: F,
) -> Result<(F, Vec<Resource>), String> {
    let mut entries =
        Entries::open(BufReader::with_capacity(PIECE, reader)).map_err(|e| e.to_string())?;
    let repositories = std::mem::take(&mut entries.repositories);
    let repository = |id: u32| -> Result<&Repository, String> {
        repositories.get(id as usize).ok_or_else(|| format!("its index has no repository {id}"))
    };
    // Removals stand behind the names that are set; no name is in both.
    for entry in entries.by_ref() {
        match entry.map_err(|error| error.to_string())? {
            Entry::Manifest(entry) => {
                let manifest = (entry.digest, is_index(&entry.media_type));
                for id in entry.repositories {
                    follower.carry(repository(id)?, manifest);
                }
            }
            Entry::Reference(entry) => follower.set(repository(entry.repository)?, entry),
            Entry::Removal(removal) => follower.remove(repository(removal.repository)?, removal),
            Entry::Blob(blob) => {
                for id in blob.repositories {
                    follower.bring(repository(id)?, blob.digest, true);
                }
            }
            Entry::Required(required) => {
                for id in required.repositories {
                    follower.bring(repository(id)?, required.digest, false);
                }
            }
        }
    }
    let (resources, reader) =
        entries.resources(RESOURCES_MAX).map_err(|error| error.to_string())?;
    let found = reader.into_inner().hasher.finish();
    if found != digest {
        return Err(format!("its index arrived with the digest {found}"));
    }
    Ok((follower, resources))
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
