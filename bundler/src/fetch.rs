//! From the origins straight into the parts.
//!
//! In: a plan. Out: complete parts on the medium, under partial names, and the digests of their
//! tables. Every item is streamed to its place; a few streams run at a time, in the order of the
//! layout; nothing is kept elsewhere. A blob whose bytes do not have its digest is fetched once more
//! and then given up.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use format_spec::Digest;
use format_spec::hash::together_is_faster;
use format_spec::index::Member;
use format_spec::part::{FileName, PartLayout, Piece};
use registry::client::{ErrorKind as WireKind, Taken};
use registry::progress::Progress;
use registry::reference::ManifestRef;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::hashing::{Hashing, Stream};
use crate::origin::{BlobReader, Loss, OriginError, Origins};
use crate::pack::{PartFile, WRITE_BACK, WriteBack};
use crate::plan::{Content, Item, Plan};
use crate::slots::Slots;

/// Why the parts are not complete.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The medium.
    #[error(transparent)]
    File(io::Error),
    /// The way to a registry: the same command may succeed later.
    #[error(transparent)]
    Way(OriginError),
    /// Content that cannot be had: what, and why.
    #[error("{} blobs and manifests cannot be had", .0.len())]
    Lost(BTreeMap<Digest, Loss>),
    /// Ctrl-C.
    #[error("stopped")]
    Cancelled,
}

/// Why one item is not in its place.
enum ItemError {
    File(io::Error),
    Origin(OriginError),
    Damaged(Digest),
    Cancelled,
}

/// A part and how much of it is missing.
struct Part {
    path: PathBuf,
    layout: PartLayout,
    /// What its headers say, until they are written.
    members: Mutex<Vec<Member>>,
    missing: AtomicUsize,
    file: Mutex<Option<Arc<PartFile>>>,
    table: OnceLock<Digest>,
}

/// Everything that the streams share.
struct Road {
    plan: Arc<Plan>,
    origins: Origins,
    parts: Vec<Part>,
    write_back: WriteBack,
    hashing: Hashing,
    slots: Slots,
    progress: Arc<Progress>,
    cancel: CancellationToken,
}

/// Fills the parts of `plan` in `medium`. Returns the digests of their tables.
pub async fn fetch(
    plan: Arc<Plan>,
    origins: Origins,
    medium: &Path,
    slots: Slots,
    parallel: usize,
    progress: Arc<Progress>,
    cancel: CancellationToken,
) -> Result<(Vec<Digest>, Slots), FetchError> {
    let members = plan
        .index
        .members(plan.parts.len())
        .map_err(|error| FetchError::File(io::Error::other(error)))?;
    let parts = plan
        .parts
        .iter()
        .zip(members)
        .enumerate()
        .map(|(number, (layout, members))| {
            let number = u32::try_from(number).expect("bounded by PARTS_MAX");
            let name = FileName::Part(plan.index.sequence, number).to_string();
            Part {
                path: medium.join(name),
                layout: *layout,
                missing: AtomicUsize::new(members.len()),
                members: Mutex::new(members),
                file: Mutex::new(None),
                table: OnceLock::new(),
            }
        })
        .collect();
    let bytes = plan.bytes();
    progress.expect(bytes);
    let count = plan.items.len();
    let write_back = WriteBack::start().map_err(FetchError::File)?;
    let hashing = Hashing::start(together_is_faster(), bytes).map_err(FetchError::File)?;
    let road =
        Arc::new(Road { plan, origins, parts, write_back, hashing, slots, progress, cancel });
    let mut lost = BTreeMap::new();
    let mut streams = JoinSet::new();
    let mut next = 0;
    loop {
        while next < count && streams.len() < parallel.max(1) {
            let road = Arc::clone(&road);
            let number = next;
            next += 1;
            streams.spawn(async move { (number, road.item(number).await) });
        }
        let Some(ended) = streams.join_next().await else { break };
        let (number, outcome) = match ended {
            Ok(ended) => ended,
            Err(error) => return Err(FetchError::File(io::Error::other(error))),
        };
        // Leaving drops the set, which ends the other streams.
        match outcome {
            Ok(()) => {}
            Err(ItemError::File(error)) => return Err(FetchError::File(error)),
            Err(ItemError::Cancelled) => return Err(FetchError::Cancelled),
            Err(ItemError::Origin(error)) if error.is_of_the_way() => {
                return Err(FetchError::Way(error));
            }
            Err(ItemError::Origin(error)) => {
                lost.insert(road.plan.items[number].digest, error.into());
            }
            Err(ItemError::Damaged(got)) => {
                let wanted = road.plan.items[number].digest;
                let reason = format!("it arrived with the digest {got}");
                lost.insert(wanted, Loss { kind: Some(WireKind::Damaged), reason, hint: None });
            }
        }
    }
    if !lost.is_empty() {
        return Err(FetchError::Lost(lost));
    }
    let road = Arc::into_inner(road).expect("all streams have ended");
    let tables = road
        .parts
        .iter()
        .map(|part| *part.table.get().expect("a part without missing items is finished"))
        .collect();
    Ok((tables, road.slots))
}

impl Road {
    /// Brings one item to its place.
    async fn item(&self, number: usize) -> Result<(), ItemError> {
        let item = &self.plan.items[number];
        let mut progress = self.progress.start(item.digest.short());
        let mut attempt = 0;
        let tries = item.origins.len().max(2);
        // What an earlier run left of it. A manifest is small: all of it counts, or nothing.
        let mut there = self.slots.reached(&item.digest).filter(|reached| match item.content {
            Content::Manifest(_) => *reached == item.size,
            Content::Blob => *reached <= item.size,
        });
        loop {
            let got = match self.stream(number, there, attempt, &mut progress).await {
                // It can be short or unreadable: fetch it.
                Err(ItemError::File(_)) if there.is_some() => Digest::of(b""),
                other => other?,
            };
            if got == item.digest {
                break;
            }
            if there.take().is_some() {
                continue;
            }
            // Another origin may have it whole.
            attempt += 1;
            if attempt == tries {
                return Err(ItemError::Damaged(got));
            }
            tracing::warn!("blob {} arrived damaged: fetching it again", item.digest);
        }
        self.slots.note(&item.digest, item.size);
        for piece in self.plan.pieces(item) {
            self.placed(piece).await?;
        }
        Ok(())
    }

    /// Opens an item, from a byte on, at the first origin that has it; each attempt begins with the next one.
    async fn open(
        &self,
        item: &Item,
        attempt: usize,
        from: u64,
    ) -> Result<BlobReader, OriginError> {
        if let Content::Manifest(Some(bytes)) = &item.content {
            return Ok(BlobReader::Memory(bytes.clone(), Taken::default()));
        }
        let mut last: Option<OriginError> = None;
        for origin in item.origins.iter().cycle().skip(attempt).take(item.origins.len()) {
            let origin = &self.plan.origins[*origin as usize];
            let opened = match &item.content {
                Content::Blob => self.origins.blob(origin, &item.digest, item.size, from).await,
                Content::Manifest(_) => {
                    let by_digest = ManifestRef::Digest(item.digest);
                    let arrived = self.origins.manifest(origin, &by_digest).await;
                    arrived.map(BlobReader::from)
                }
            };
            match opened {
                Ok(reader) => return Ok(reader),
                // What another run may get decides: the blob is not lost.
                Err(error) if last.as_ref().is_none_or(|last| !last.is_of_the_way()) => {
                    last = Some(error);
                }
                Err(_) => {}
            }
        }
        Err(last.expect("an item has at least one origin"))
    }

    /// Streams an item into its pieces, behind the bytes that are `there` and are hashed only, and returns the digest
    /// of all of it.
    async fn stream(
        &self,
        number: usize,
        there: Option<u64>,
        attempt: usize,
        progress: &mut registry::progress::Item<'_>,
    ) -> Result<Digest, ItemError> {
        let mut stream = self.hashing.stream(self.plan.items[number].size);
        let poured = self.pour(number, there, attempt, &mut stream, progress).await;
        // After a failure too: a second try must not meet buffers of the first.
        stream.settled().await;
        Ok(match poured? {
            Some(surplus) => Digest::of(&[surplus]),
            None => stream.blob().finish(),
        })
    }

    /// Moves all bytes of an item into its pieces. Returns a byte that came after its end.
    async fn pour(
        &self,
        number: usize,
        there: Option<u64>,
        attempt: usize,
        stream: &mut Stream,
        progress: &mut registry::progress::Item<'_>,
    ) -> Result<Option<u8>, ItemError> {
        let item = &self.plan.items[number];
        let open =
            |from| async move { self.open(item, attempt, from).await.map_err(ItemError::Origin) };
        let mut reader = if there.is_none() { Some(open(0).await?) } else { None };
        let (mut position, mut noted) = (0, there.unwrap_or(0));
        for piece in self.plan.pieces(item) {
            let part = self.part(piece.part).await?;
            let mut at = piece.offset;
            let mut asked = at;
            let end = piece.offset + piece.size;
            while at < end {
                if self.cancel.is_cancelled() {
                    return Err(ItemError::Cancelled);
                }
                let left = usize::try_from(end - at).unwrap_or(usize::MAX);
                let want = part.room(at).min(left);
                let mut buffer = self.hashing.buffer(want);
                let behind = there.is_none_or(|there| position + want as u64 > there);
                if behind && reader.is_none() {
                    reader = Some(open(position).await?);
                }
                match &mut reader {
                    Some(reader) => {
                        fill(reader, &mut buffer).await?;
                        part.write_in_turn(&buffer, at).await.map_err(ItemError::File)?;
                    }
                    None => part.read(&mut buffer, at).map_err(ItemError::File)?,
                }
                stream.put(&part, at, buffer).await;
                at += want as u64;
                position += want as u64;
                if at - asked >= WRITE_BACK {
                    self.write_back.ask(&part, asked, at - asked);
                    asked = at;
                }
                if reader.is_some() && position - noted >= WRITE_BACK {
                    // A run that ends here goes on here.
                    self.slots.note(&item.digest, position);
                    noted = position;
                }
                progress.reached(position);
            }
            // What is not asked for now is left for the sync at the end, for which everything waits.
            self.write_back.ask(&part, asked, at - asked);
        }
        let Some(reader) = &mut reader else { return Ok(None) };
        // The end of a stream is where a source says that it was too long.
        let mut more = [0];
        let read = reader.read(&mut more).await.map_err(ItemError::Origin)?;
        Ok((read > 0).then_some(more[0]))
    }

    /// The file of a part, opened by the first who needs it.
    async fn part(&self, number: u32) -> Result<Arc<PartFile>, ItemError> {
        let part = &self.parts[number as usize];
        let mut file = crate::lock(&part.file);
        if let Some(file) = &*file {
            return Ok(Arc::clone(file));
        }
        let members = std::mem::take(&mut *crate::lock(&part.members));
        let open = || PartFile::open(&part.path, part.layout, &members);
        let opened = Arc::new(tokio::task::block_in_place(open).map_err(ItemError::File)?);
        *file = Some(Arc::clone(&opened));
        Ok(opened)
    }

    /// A piece is in its place; the last one completes its part.
    async fn placed(&self, piece: &Piece) -> Result<(), ItemError> {
        // An item without bytes opened nothing yet.
        let file = self.part(piece.part).await?;
        let part = &self.parts[piece.part as usize];
        if part.missing.fetch_sub(1, Ordering::AcqRel) > 1 {
            return Ok(());
        }
        let (sequence, number) = (self.plan.index.sequence, piece.part);
        let table = tokio::task::spawn_blocking(move || file.finish(sequence, number))
            .await
            .map_err(|error| ItemError::File(io::Error::other(error)))?
            .map_err(ItemError::File)?;
        part.table.get_or_init(|| table);
        // A sequence of many parts must not keep them all open.
        *crate::lock(&part.file) = None;
        Ok(())
    }
}

/// Fills `buffer` with the next bytes of a stream. A stream that ends early leaves zeros, and the digest
/// tells.
async fn fill(reader: &mut BlobReader, buffer: &mut [u8]) -> Result<(), ItemError> {
    let mut at = 0;
    while at < buffer.len() {
        match reader.read(&mut buffer[at..]).await.map_err(ItemError::Origin)? {
            0 => {
                buffer[at..].fill(0);
                return Ok(());
            }
            read => at += read,
        }
    }
    Ok(())
}
