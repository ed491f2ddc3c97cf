//! From the parts of a sequence to the bytes of its blobs, every one proven.
//!
//! In: the parts, and where the index places each blob. Out: buffers of at most 1 MiB that were
//! hashed against the cell table, in the order of the blob. What stands around the content (tar
//! headers, padding, the end) must be the canonical bytes of the format; it is compared, never
//! parsed. Nothing is extracted; memory is a pool of buffers, whatever the size of a blob.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use format_spec::index::{Blob, Index, ManifestEntry, Member};
use format_spec::limits::{BLOCK, CELL};
use format_spec::part::{Piece, header, member_name, padded};
use format_spec::{Digest, Repository};
use futures_util::stream::{self, Stream};
use registry::client::BlobSource;
use registry::progress::Progress;
use tokio::task::JoinHandle;

use crate::cells::{Fault, Part};
use crate::error::Problem;
use crate::limits::{BUFFERS_HELD, EDGES_HELD, GROUP, RESUMED_LEAST};
use crate::order::Sequenced;
use crate::uploads::Uploads;

const CELL_BYTES: u64 = CELL as u64;

/// The parts of a verified sequence and what stands in them.
#[derive(Debug)]
pub(crate) struct Content {
    /// The parts, by number. Only who looks for what is wrong goes on when some are missing.
    pub(crate) parts: Vec<Part>,
    /// What stands in each part, in order.
    members: Vec<Vec<Member>>,
    pool: Arc<Pool>,
    /// Proven cells in which one blob ends and the next begins.
    edges: Mutex<VecDeque<((u32, u64), Bytes)>>,
}

impl Content {
    /// The parts of a sequence whose index was validated, and the members of each part.
    pub(crate) fn new(parts: Vec<Part>, members: Vec<Vec<Member>>) -> Self {
        debug_assert!(parts.len() <= members.len());
        Self { parts, members, pool: Arc::default(), edges: Mutex::default() }
    }

    /// A part by its number, if it is there.
    pub(crate) fn part(&self, number: u32) -> Option<&Part> {
        let at = self.parts.binary_search_by_key(&number, |part| part.number).ok()?;
        Some(&self.parts[at])
    }

    /// Bytes of all cells.
    pub(crate) fn cell_bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.cells * CELL_BYTES).sum()
    }

    /// The members with content, header or padding in a stretch of a part.
    pub(crate) fn members_in(&self, part: u32, stretch: Range<u64>) -> &[Member] {
        let members = self.members.get(part as usize).map_or(&[][..], Vec::as_slice);
        let first = members.partition_point(|m| frame(m).end <= stretch.start);
        let count = members[first..].partition_point(|m| frame(m).start < stretch.end);
        &members[first..first + count]
    }

    /// Proves cells of a part and compares what stands around the content.
    fn prove(
        &self,
        part: &Part,
        first: u64,
        count: usize,
        buffer: &mut [u8],
    ) -> Result<usize, Fault> {
        let size = part.prove(first, count, buffer)?;
        let from = part.data_offset + first * CELL_BYTES;
        self.check_frames(part, from, &buffer[..size])?;
        Ok(size)
    }

    /// Compares headers, padding and end inside `data`, which stands at `from` in the part, with
    /// the canonical ones (CVE-2025-62518, CVE-2026-32766: no byte of an archive is left to taste).
    fn check_frames(&self, part: &Part, from: u64, data: &[u8]) -> Result<(), Fault> {
        let to = from + data.len() as u64;
        // The bytes of `data` that a stretch of the file covers, and where they begin in the stretch.
        let overlap = |stretch: Range<u64>| {
            let start = stretch.start.max(from);
            let end = stretch.end.min(to);
            (start < end).then(|| {
                let at = |offset: u64| usize::try_from(offset).expect("within a buffer");
                (&data[at(start - from)..at(end - from)], start - stretch.start)
            })
        };
        let odd = |at: u64| Fault {
            part: part.number,
            from: at,
            to: at + BLOCK,
            problem: Problem::Layout,
            detail: String::new(),
        };
        let zero = |stretch: Range<u64>| {
            let at = stretch.start;
            match overlap(stretch) {
                Some((bytes, _)) if bytes.iter().any(|byte| *byte != 0) => Err(odd(at)),
                _ => Ok(()),
            }
        };
        for member in self.members_in(part.number, from..to) {
            let Piece { offset, size, .. } = member.place;
            if let Some((bytes, skip)) = overlap(offset - BLOCK..offset) {
                let canonical = header(&member_name(&member.digest, member.piece), size);
                let skip = usize::try_from(skip).expect("below 512");
                if canonical[skip..skip + bytes.len()] != *bytes {
                    return Err(odd(offset - BLOCK));
                }
            }
            zero(offset + size..offset + padded(size))?;
        }
        let end =
            self.members[part.number as usize].last().map_or(part.data_offset, |m| frame(m).end);
        zero(end..part.bytes)
    }

    /// Some proven bytes of a piece, from `at` on: at least one, at most 1 MiB.
    fn read(&self, piece: &Piece, at: u64) -> Result<Bytes, Fault> {
        let part = self.part(piece.part).ok_or_else(|| Fault {
            part: piece.part,
            from: piece.offset,
            to: piece.offset + piece.size,
            problem: Problem::Unreadable,
            detail: "the part is not there".to_owned(),
        })?;
        let start = piece.offset + at - part.data_offset;
        let end = piece.offset + piece.size - part.data_offset;
        let cell = start / CELL_BYTES;
        let within = usize::try_from(start % CELL_BYTES).expect("within a cell");
        // Where the piece ends, counted from the first byte of `cell`.
        let stop = |most: usize| {
            usize::try_from(end - cell * CELL_BYTES).map_or(most, |stop| stop.min(most))
        };
        if let Some(edge) = self.edge(piece.part, cell) {
            return Ok(edge.slice(within..stop(edge.len())));
        }
        let last = (end - 1) / CELL_BYTES;
        let group = (cell / GROUP as u64 + 1) * GROUP as u64;
        let count = usize::try_from(group.min(last + 1) - cell).expect("at most a group");
        let mut buffer = Pool::take(&self.pool);
        let size = self.prove(part, cell, count, &mut buffer.bytes)?;
        if within > 0 {
            self.keep_edge(piece.part, cell, &buffer.bytes[..CELL.min(size)]);
        }
        let ends_here = cell + count as u64 == last + 1 && !end.is_multiple_of(CELL_BYTES);
        if ends_here && (count > 1 || within == 0) {
            self.keep_edge(piece.part, last, &buffer.bytes[(count - 1) * CELL..size]);
        }
        let wanted = within..stop(size);
        if count == 1 {
            return Ok(Bytes::copy_from_slice(&buffer.bytes[wanted]));
        }
        Ok(Bytes::from_owner(buffer).slice(wanted))
    }

    fn edge(&self, part: u32, cell: u64) -> Option<Bytes> {
        let edges = self.edges.lock().unwrap_or_else(PoisonError::into_inner);
        edges.iter().find(|(place, _)| *place == (part, cell)).map(|(_, bytes)| bytes.clone())
    }

    fn keep_edge(&self, part: u32, cell: u64, bytes: &[u8]) {
        let mut edges = self.edges.lock().unwrap_or_else(PoisonError::into_inner);
        if edges.iter().any(|(place, _)| *place == (part, cell)) {
            return;
        }
        if edges.len() == EDGES_HELD {
            edges.pop_front();
        }
        edges.push_back(((part, cell), Bytes::copy_from_slice(bytes)));
    }

    /// The proven bytes of a blob's pieces from `at` on, at least one; `None` at its end.
    fn read_pieces(&self, pieces: &[Piece], at: u64) -> Result<Option<Bytes>, Fault> {
        let mut before = 0;
        for piece in pieces {
            if at < before + piece.size {
                return self.read(piece, at - before).map(Some);
            }
            before += piece.size;
        }
        Ok(None)
    }

    /// The bytes of a manifest, proven and hashed. A tag gives the registry no digest to compare, so
    /// this is the place where a manifest is.
    pub(crate) fn manifest(&self, entry: &ManifestEntry) -> Result<Bytes, Fault> {
        let size = usize::try_from(entry.size).expect("at most MANIFEST_MAX");
        let mut bytes = Vec::with_capacity(size);
        while let Some(more) = self.read_pieces(&entry.pieces, bytes.len() as u64)? {
            bytes.extend_from_slice(&more);
        }
        if Digest::of(&bytes) != entry.digest {
            let Piece { part, offset, size } = entry.pieces[0];
            return Err(Fault {
                part,
                from: offset,
                to: offset + size,
                problem: Problem::WrongContent,
                detail: entry.digest.to_string(),
            });
        }
        Ok(bytes.into())
    }

    /// Proves every cell of a part that was not proven in this run. After it, every byte of the part
    /// was. `proven` gets what is in order, `found` is told of each fault and says whether to go on.
    pub(crate) fn prove_rest(
        &self,
        part: &Part,
        mut moved: impl FnMut(u64),
        mut proven: impl FnMut(Proven),
        mut found: impl FnMut(Fault) -> bool,
    ) {
        if let Err(fault) = part.prove_table() {
            found(fault);
            return;
        }
        let mut from = 0;
        while let Some((first, count)) = part.unproven(from) {
            from = first + count as u64;
            let mut buffer = Pool::take(&self.pool);
            match self.prove(part, first, count, &mut buffer.bytes) {
                Ok(size) => {
                    let from = part.data_offset + first * CELL_BYTES;
                    proven(Proven { part: part.number, from, size, buffer });
                }
                Err(fault) => {
                    // One bad cell hides the others of its group: go on behind it.
                    let cell = fault.from.saturating_sub(part.data_offset) / CELL_BYTES;
                    if fault.problem == Problem::Changed && fault.from >= part.data_offset {
                        from = cell + 1;
                    }
                    if !found(fault) {
                        return;
                    }
                }
            }
            moved(count as u64 * CELL_BYTES);
        }
    }
}

/// The bytes of a part that a member takes, header and padding included.
fn frame(member: &Member) -> Range<u64> {
    member.place.offset - BLOCK..member.place.offset + padded(member.place.size)
}

/// The bytes of one carried blob, as the registry client takes them.
pub(crate) struct PartSource {
    content: Arc<Content>,
    pieces: Arc<[Piece]>,
    size: u64,
    progress: Arc<Progress>,
    /// The furthest byte that was handed out, so that a second try counts once.
    reached: Arc<AtomicU64>,
    digest: Digest,
    /// For a blob that is worth going on with.
    uploads: Option<Arc<Uploads>>,
}

impl PartSource {
    /// Opens a blob to be imported. Only a sequence whose signature and order are proven has any.
    pub(crate) fn new(
        sequence: &Sequenced,
        index: usize,
        progress: &Arc<Progress>,
        uploads: &Arc<Uploads>,
    ) -> Self {
        let blob = &sequence.index().blobs[index];
        Self {
            digest: blob.digest,
            uploads: (blob.size >= RESUMED_LEAST).then(|| Arc::clone(uploads)),
            content: Arc::clone(sequence.content()),
            pieces: blob.pieces.clone().into(),
            size: blob.size,
            progress: Arc::clone(progress),
            reached: Arc::default(),
        }
    }

    /// The same of a sequence that only the signature is proven of: for reading, never for an import.
    pub(crate) fn of(content: &Arc<Content>, blob: &Blob) -> Self {
        Self {
            digest: blob.digest,
            uploads: None,
            content: Arc::clone(content),
            pieces: blob.pieces.clone().into(),
            size: blob.size,
            progress: Arc::default(),
            reached: Arc::default(),
        }
    }

    fn again(&self) -> Self {
        Self {
            content: Arc::clone(&self.content),
            pieces: Arc::clone(&self.pieces),
            size: self.size,
            progress: Arc::clone(&self.progress),
            reached: Arc::clone(&self.reached),
            digest: self.digest,
            uploads: None,
        }
    }

    /// Reads and proves ahead, on a thread that may block.
    fn spawn(&self, at: u64) -> JoinHandle<Result<Option<Bytes>, Fault>> {
        let content = Arc::clone(&self.content);
        let pieces = Arc::clone(&self.pieces);
        tokio::task::spawn_blocking(move || content.read_pieces(&pieces, at))
    }

    fn handed_out(&self, to: u64) {
        let before = self.reached.fetch_max(to, Ordering::Relaxed);
        self.progress.skip(to.saturating_sub(before));
    }
}

/// One stream over a blob: one buffer is sent while the next is read and proven.
struct Reading {
    source: PartSource,
    at: u64,
    ahead: Option<JoinHandle<Result<Option<Bytes>, Fault>>>,
}

impl BlobSource for PartSource {
    fn open(&self, offset: u64) -> Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>> {
        let reading = Reading { source: self.again(), at: offset, ahead: None };
        Box::pin(stream::unfold(Some(reading), |reading| async move {
            let mut reading = reading?;
            if reading.at >= reading.source.size {
                return None;
            }
            let job = reading.ahead.take().unwrap_or_else(|| reading.source.spawn(reading.at));
            let fault = match job.await {
                Ok(Ok(Some(bytes))) => {
                    reading.at += bytes.len() as u64;
                    reading.source.handed_out(reading.at);
                    if reading.at < reading.source.size {
                        reading.ahead = Some(reading.source.spawn(reading.at));
                    }
                    return Some((Ok(bytes), Some(reading)));
                }
                Ok(Ok(None)) => io::Error::other("the pieces are shorter than the blob"),
                Ok(Err(fault)) => io::Error::other(fault),
                Err(error) => io::Error::other(error),
            };
            Some((Err(fault), None))
        }))
    }

    fn left(&self, repository: &Repository) -> Option<String> {
        self.uploads.as_ref()?.left(&self.digest, repository).map(str::to_owned)
    }

    fn began(&self, repository: &Repository, address: &str) -> bool {
        if let Some(uploads) = &self.uploads {
            uploads.began(&self.digest, repository, address);
        }
        self.uploads.is_some()
    }
}

/// Buffers of one group of cells that are used again: without it every MiB would be mapped, zeroed
/// and unmapped.
#[derive(Debug, Default)]
struct Pool(Mutex<Vec<Box<[u8]>>>);

struct Buffer {
    bytes: Box<[u8]>,
    pool: Arc<Pool>,
}

impl Pool {
    fn take(pool: &Arc<Self>) -> Buffer {
        let free = pool.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let bytes = free.unwrap_or_else(|| vec![0; GROUP * CELL].into());
        Buffer { bytes, pool: Arc::clone(pool) }
    }
}

/// A proven stretch of a part.
pub(crate) struct Proven {
    pub(crate) part: u32,
    /// Where it stands in the file.
    pub(crate) from: u64,
    size: usize,
    buffer: Buffer,
}

impl Proven {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.buffer.bytes[..self.size]
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        let mut free = self.pool.0.lock().unwrap_or_else(PoisonError::into_inner);
        if free.len() < BUFFERS_HELD {
            free.push(bytes);
        }
    }
}

/// Whether the index has the blob or manifest, and which repositories need it.
pub(crate) fn repositories_of<'a>(index: &'a Index, digest: &Digest) -> &'a [u32] {
    if let Some(blob) = index.blob(digest) {
        return &blob.repositories;
    }
    if let Some(required) = index.required_blob(digest) {
        return &required.repositories;
    }
    let manifest = index.manifests.iter().find(|manifest| manifest.digest == *digest);
    manifest.map_or(&[], |manifest| &manifest.repositories)
}

#[cfg(test)]
mod tests {
    use format_spec::Sequence;
    use format_spec::head;
    use format_spec::limits::PART_MIN;
    use format_spec::part::{FileName, Layout, table_member};
    use proptest::prelude::*;

    use super::*;
    use crate::intake::Media;

    fn bytes_of(seed: usize, size: u64) -> Vec<u8> {
        (0..size).map(|n| u8::try_from((n / 7 + n + seed as u64 * 31) % 251).unwrap()).collect()
    }

    /// Parts on a disk with blobs of these sizes, and the pieces of each blob.
    fn content(directory: &std::path::Path, sizes: &[u64]) -> (Content, Vec<Vec<Piece>>) {
        let layout = Layout::plan(sizes, PART_MIN).unwrap();
        let mut members = vec![Vec::new(); layout.parts.len()];
        let mut files: Vec<Vec<u8>> =
            layout.parts.iter().map(|p| vec![0; usize::try_from(p.bytes).unwrap()]).collect();
        for (blob, pieces) in layout.pieces.iter().enumerate() {
            let bytes = bytes_of(blob, sizes[blob]);
            let digest = Digest::of(&bytes);
            let mut from = 0;
            for (n, place) in pieces.iter().enumerate() {
                let piece = (pieces.len() > 1).then_some(n);
                let (at, size) =
                    (usize::try_from(place.offset).unwrap(), usize::try_from(place.size).unwrap());
                let file = &mut files[place.part as usize];
                file[at - 512..at]
                    .copy_from_slice(&header(&member_name(&digest, piece), place.size));
                file[at..at + size].copy_from_slice(&bytes[from..from + size]);
                from += size;
                members[place.part as usize].push(Member { digest, piece, place: *place });
            }
        }
        let mut entries = Vec::new();
        for (n, file) in files.iter_mut().enumerate() {
            let n = u32::try_from(n).unwrap();
            let data = usize::try_from(layout.parts[n as usize].data_offset().unwrap()).unwrap();
            let cells: Vec<_> = file[data..].chunks(CELL).map(Digest::of).collect();
            let table = table_member(Sequence::FIRST, n, &cells);
            file[..data].copy_from_slice(&table);
            let name = FileName::Part(Sequence::FIRST, n).to_string();
            fs_err::write(directory.join(&name), &*file).unwrap();
            entries.push(head::Part { name, bytes: file.len() as u64, table: Digest::of(&table) });
        }
        let media = Media::open(&[directory.to_owned()]).unwrap();
        let parts = entries.iter().enumerate().map(|(n, entry)| {
            let n = u32::try_from(n).unwrap();
            let found = media.get(&FileName::Part(Sequence::FIRST, n))[0].clone();
            // Both ways of holding files: open, and opened for each read.
            Part::new(Sequence::FIRST, n, entry, found, n.is_multiple_of(2)).unwrap()
        });
        (Content::new(parts.collect(), members), layout.pieces)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(6))]
        #[test]
        fn every_blob_reads_back_from_every_offset(
            sizes in proptest::collection::vec(
                prop_oneof![0_u64..2000, 60_000_u64..140_000, 1_000_000_u64..2_500_000], 1..8),
            offset in any::<proptest::sample::Index>(),
        ) {
            let directory = tempfile::tempdir().unwrap();
            let (content, pieces) = content(directory.path(), &sizes);
            for (blob, pieces) in pieces.iter().enumerate() {
                let expected = bytes_of(blob, sizes[blob]);
                let start = offset.index(expected.len() + 1);
                let mut read = Vec::new();
                while let Some(more) =
                    content.read_pieces(pieces, (start + read.len()) as u64).unwrap()
                {
                    prop_assert!(!more.is_empty() && more.len() <= GROUP * CELL);
                    read.extend_from_slice(&more);
                }
                prop_assert!(read == expected[start..], "blob {} from {}", blob, start);
            }
            prop_assert!(content.edges.lock().unwrap().len() <= EDGES_HELD);
            // One reader, one buffer: whatever the sizes.
            prop_assert!(content.pool.0.lock().unwrap().len() <= 1);
            for part in &content.parts {
                content.prove_rest(part, |_| (), |_| (), |fault| panic!("{fault}"));
                prop_assert_eq!(part.unproven(0), None);
            }
        }
    }

    #[test]
    fn a_medium_that_changes_its_answer_is_caught() {
        let directory = tempfile::tempdir().unwrap();
        let (content, pieces) = content(directory.path(), &[400_000]);
        assert!(content.read_pieces(&pieces[0], 0).unwrap().is_some());
        // The same file, other bytes: in the data, and in the table after it was proven.
        let path = content.parts[0].path();
        let good = fs_err::read(&path).unwrap();
        let mut bad = good.clone();
        bad[usize::try_from(pieces[0][0].offset).unwrap() + 300_000] ^= 1;
        fs_err::write(&path, &bad).unwrap();
        let fault = content.read_pieces(&pieces[0], 250_000).unwrap_err();
        assert_eq!(fault.problem, Problem::Changed);
        fs_err::write(&path, &good[..good.len() - 70_000]).unwrap();
        let fault = content.read_pieces(&pieces[0], 380_000).unwrap_err();
        assert_eq!(fault.problem, Problem::Unreadable);
    }
}
