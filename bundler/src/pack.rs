//! The part files: positioned writes and cell tables.
//!
//! In: buffers of blobs with their place in a part, and the digests of their whole cells. Out: parts
//! whose cell tables are written and durable. Each buffer is written once, with one call.
//!
//! Cells that two blobs share, or that hold a header, are read back and hashed when the part is
//! complete: a few for each blob.

use std::io;
use std::num::NonZeroU64;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex};

use format_spec::Digest;
use format_spec::Sequence;
use format_spec::hash::cell_digests;
use format_spec::index::Member;
use format_spec::limits::{BLOCK, CELL};
use format_spec::part::{PartLayout, header, member_name, padded, table_member};
use fs_err::os::unix::fs::OpenOptionsExt as _;

use crate::{durable, lock};

/// Bytes of a buffer: large enough that a write costs little, small enough that many streams, whose
/// hashes move on together, stay far below the memory limit.
pub const BUFFER: usize = 4 * CELL;

/// Zeros at the end of a part.
const END: u64 = 2 * BLOCK;

/// Bytes of one stream after which the kernel is asked to write them to the medium, so that the end
/// of the run does not wait for all of them.
pub const WRITE_BACK: u64 = 8 * 1024 * 1024;

/// A part while it is being filled.
#[derive(Debug)]
pub struct PartFile {
    file: std::fs::File,
    path: PathBuf,
    layout: PartLayout,
    data: u64,
    cells: Mutex<Vec<Option<Digest>>>,
    turn: tokio::sync::Mutex<()>,
}

impl PartFile {
    /// Opens the partial file of a part, makes it as large as it will be, and writes its headers and
    /// the zeros between its contents: an earlier run may have left bytes of another layout there.
    pub fn open(path: &Path, layout: PartLayout, members: &[Member]) -> io::Result<Self> {
        let partial = durable::partial(path);
        durable::only_a_file(&partial)?;
        let file = fs_err::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .custom_flags(durable::NO_LINKS)
            .open(&partial)?
            .into_file();
        let reused = file.metadata()?.len() > 0;
        let data = layout.data_offset().ok_or(io::ErrorKind::InvalidInput)?;
        let cells = layout.cells().ok_or(io::ErrorKind::InvalidInput)?;
        let cells = usize::try_from(cells).map_err(|_| io::ErrorKind::InvalidInput)?;
        let part = Self {
            file,
            path: partial,
            layout,
            data,
            cells: Mutex::new(vec![None; cells]),
            turn: tokio::sync::Mutex::default(),
        };
        part.reserve().map_err(|error| part.name(&error))?;
        for member in members {
            let name = member_name(&member.digest, member.piece);
            part.write(&header(&name, member.place.size), member.place.offset - BLOCK)?;
            if reused {
                let end = member.place.offset + member.place.size;
                part.zeros(end, member.place.offset + padded(member.place.size))?;
            }
        }
        if reused {
            part.zeros(layout.bytes.saturating_sub(END).max(data), layout.bytes)?;
        }
        Ok(part)
    }

    /// Takes the space now, so that a full disk shows before anything is fetched.
    fn reserve(&self) -> io::Result<()> {
        let size = self.file.metadata()?.len();
        if size > self.layout.bytes {
            self.file.set_len(self.layout.bytes)?;
        }
        match rustix::fs::fallocate(
            &self.file,
            rustix::fs::FallocateFlags::empty(),
            0,
            self.layout.bytes,
        ) {
            Ok(()) => Ok(()),
            // Some network file systems cannot reserve: the writes will tell. The length is set all the same: the
            // zeros behind the last member are never written, and are read when the cells are hashed.
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {
                self.file.set_len(self.layout.bytes)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn name(&self, error: &io::Error) -> io::Error {
        io::Error::new(error.kind(), format!("`{}`: {error}", self.path.display()))
    }

    /// Writes a buffer when it is its turn: the kernel lets one writer into a file at a time, and a
    /// thread that waits for another there does nothing else.
    pub async fn write_in_turn(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let _turn = self.turn.lock().await;
        self.write(bytes, offset)
    }

    fn write(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset).map_err(|error| self.name(&error))
    }

    /// Writes zeros from one offset to another, at most two blocks.
    fn zeros(&self, from: u64, to: u64) -> io::Result<()> {
        let size = usize::try_from(to - from).map_err(|_| io::ErrorKind::InvalidInput)?;
        self.write(&vec![0; size], from)
    }

    /// Reads bytes that an earlier run wrote.
    pub fn read(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(bytes, offset).map_err(|error| self.name(&error))
    }

    /// How many bytes from `offset` reach the next boundary of a buffer.
    pub fn room(&self, offset: u64) -> usize {
        let into = (offset - self.data) % BUFFER as u64;
        BUFFER - usize::try_from(into).expect("below a buffer")
    }

    /// The whole cells inside `bytes` at `offset`: the number of the first, and their bytes.
    pub fn whole_cells<'a>(&self, bytes: &'a [u8], offset: u64) -> (usize, &'a [u8]) {
        let at = offset - self.data;
        let first = at.div_ceil(CELL as u64);
        let skip = usize::try_from(first * CELL as u64 - at).expect("below a cell");
        let Some(rest) = bytes.get(skip..) else { return (0, &[]) };
        let first = usize::try_from(first).expect("bounded by the part");
        (first, &rest[..rest.len() / CELL * CELL])
    }

    /// Notes the digests of cells from number `first` on.
    pub fn set_cells(&self, first: usize, digests: Vec<Digest>) {
        let mut cells = lock(&self.cells);
        for (cell, digest) in cells[first..].iter_mut().zip(digests) {
            *cell = Some(digest);
        }
    }

    #[cfg(test)]
    pub(crate) fn known_cells(&self) -> Vec<Option<Digest>> {
        lock(&self.cells).clone()
    }

    /// Completes the part: the cells still open, the table, and the medium. Returns the digest of the
    /// table's member, which the head binds.
    pub fn finish(&self, sequence: Sequence, number: u32) -> io::Result<Digest> {
        let mut cells = lock(&self.cells);
        let mut buffer = vec![0; CELL];
        let last = cells.len() - 1;
        for cell in 0..cells.len() {
            if cells[cell].is_some() {
                continue;
            }
            let offset = self.data + cell as u64 * CELL as u64;
            let size = if cell == last {
                usize::try_from(self.layout.bytes - offset).expect("at most a cell")
            } else {
                CELL
            };
            self.read(&mut buffer[..size], offset)?;
            cells[cell] = Some(cell_digests(&buffer[..size])[0]);
        }
        let digests: Vec<Digest> = cells.iter().flatten().copied().collect();
        let member = table_member(sequence, number, &digests);
        self.write(&member, 0)?;
        self.file.sync_all().map_err(|error| self.name(&error))?;
        Ok(Digest::of(&member))
    }
}

/// The thread that keeps the medium writing.
///
/// It asks, and does not sync: each sync would make the file system commit its journal, for which all
/// writers wait. The sync that counts is the one at the end of the part.
pub struct WriteBack {
    ranges: Option<SyncSender<(Arc<PartFile>, u64, u64)>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl WriteBack {
    /// Starts it.
    pub fn start() -> io::Result<Self> {
        let (ranges, asked) = sync_channel::<(Arc<PartFile>, u64, u64)>(16);
        let keep_writing = move || {
            while let Ok((part, offset, size)) = asked.recv() {
                // `DontNeed` begins to write dirty pages at once; they stay in memory meanwhile.
                let _ = rustix::fs::fadvise(
                    &part.file,
                    offset,
                    NonZeroU64::new(size),
                    rustix::fs::Advice::DontNeed,
                );
            }
        };
        let thread =
            std::thread::Builder::new().name("write-back".to_owned()).spawn(keep_writing)?;
        Ok(Self { ranges: Some(ranges), thread: Some(thread) })
    }

    /// Asks for `size` bytes from `offset` of a part.
    pub fn ask(&self, part: &Arc<PartFile>, offset: u64, size: u64) {
        if let Some(ranges) = &self.ranges {
            // When the medium is slower than the network, the hint is dropped, not waited for.
            let _ = ranges.try_send((Arc::clone(part), offset, size));
        }
    }
}

impl Drop for WriteBack {
    fn drop(&mut self) {
        self.ranges = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
