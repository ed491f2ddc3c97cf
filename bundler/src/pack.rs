//! The part files: positioned writes, the two hashes of every byte, the cell tables.
//!
//! In: buffers of blobs with their place in a part. Out: the running hash of each blob, moved on, and
//! in the end parts whose cell tables are written and durable. Each buffer is written once with one
//! call, then hashed where it lies: its whole cells, and its blob. Streams that wait together are
//! hashed together (`format_spec::hash`).
//!
//! Cells that two blobs share, or that hold a header, are read back and hashed when the part is
//! complete: a few for each blob.

use std::collections::VecDeque;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use format_spec::Digest;
use format_spec::Sequence;
use format_spec::hash::{Job as HashJob, Running, advance, cell_digests};
use format_spec::index::Member;
use format_spec::limits::{BLOCK, CELL};
use format_spec::part::{PartLayout, header, member_name, padded, table_member};
use fs_err::os::unix::fs::OpenOptionsExt as _;
use tokio::sync::oneshot;

use crate::durable;

/// Bytes of a buffer: large enough that a write costs little, small enough that many streams, whose
/// hashes move on together, stay far below the memory limit.
pub const BUFFER: usize = 4 * CELL;

/// Zeros at the end of a part.
const END: u64 = 2 * BLOCK;

/// Bytes after which the kernel is asked to begin writing to the medium, so that the end of the run
/// does not wait for all of them.
const SYNC_EVERY: u64 = 128 * 1024 * 1024;

/// A part while it is being filled.
#[derive(Debug)]
pub struct PartFile {
    file: std::fs::File,
    path: PathBuf,
    layout: PartLayout,
    data: u64,
    cells: Mutex<Vec<Option<Digest>>>,
    unsynced: AtomicU64,
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
            unsynced: AtomicU64::new(0),
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
            // FAT and some network file systems cannot reserve: the writes will tell.
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn name(&self, error: &io::Error) -> io::Error {
        io::Error::new(error.kind(), format!("`{}`: {error}", self.path.display()))
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
    fn whole_cells<'a>(&self, bytes: &'a [u8], offset: u64) -> (usize, &'a [u8]) {
        let at = offset - self.data;
        let first = at.div_ceil(CELL as u64);
        let skip = usize::try_from(first * CELL as u64 - at).expect("below a cell");
        let Some(rest) = bytes.get(skip..) else { return (0, &[]) };
        let first = usize::try_from(first).expect("bounded by the part");
        (first, &rest[..rest.len() / CELL * CELL])
    }

    fn set_cells(&self, first: usize, digests: Vec<Digest>) {
        let mut cells = lock(&self.cells);
        for (cell, digest) in cells[first..].iter_mut().zip(digests) {
            *cell = Some(digest);
        }
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

/// What comes back for a buffer: its blob's hash, moved on, and the buffer.
pub type Answer = oneshot::Receiver<(Option<Running>, Vec<u8>)>;

/// A buffer on its way into a part.
struct Job {
    part: Arc<PartFile>,
    offset: u64,
    bytes: Vec<u8>,
    hash: Option<Running>,
    reply: oneshot::Sender<(Option<Running>, Vec<u8>)>,
}

/// Buffers that are worth hashing together: with their cells they fill the vectors.
const TOGETHER: usize = 8;

/// How long the first buffer waits for others. Every stream has a second buffer to fill meanwhile.
const PATIENCE: Duration = Duration::from_millis(1);

#[derive(Default)]
struct Queue {
    jobs: Mutex<(VecDeque<Job>, bool)>,
    ready: Condvar,
    /// Streams that are under way.
    streams: AtomicUsize,
}

impl Queue {
    /// Everything that waits; `None` at the end.
    fn take(&self) -> Option<Vec<Job>> {
        let mut jobs = lock(&self.jobs);
        while jobs.0.is_empty() {
            if jobs.1 {
                return None;
            }
            jobs = self.ready.wait(jobs).unwrap_or_else(PoisonError::into_inner);
        }
        // Never for more than there are: the last stream must not wait for nobody.
        let enough =
            |jobs: &usize| *jobs >= TOGETHER.min(self.streams.load(Ordering::Relaxed).max(1));
        let start = Instant::now();
        while !enough(&jobs.0.len()) && !jobs.1 {
            let Some(left) = PATIENCE.checked_sub(start.elapsed()) else { break };
            let waited = self.ready.wait_timeout(jobs, left);
            jobs = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        Some(jobs.0.drain(..).collect())
    }
}

/// A stream that is under way, as long as it lives.
pub struct Stream(Arc<Queue>);

impl Drop for Stream {
    fn drop(&mut self) {
        self.0.streams.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The thread that hashes, and the one that keeps the medium writing.
///
/// One thread, so that everything that waits is hashed together: two would halve the vectors.
pub struct Packer {
    queue: Arc<Queue>,
    sync: Option<std::sync::mpsc::SyncSender<Arc<PartFile>>>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Packer {
    /// Starts them.
    pub fn start() -> io::Result<Self> {
        let queue = Arc::new(Queue::default());
        let (sync, syncer) = std::sync::mpsc::sync_channel::<Arc<PartFile>>(4);
        let keep_writing = move || {
            while let Ok(part) = syncer.recv() {
                // A hint: the sync that counts is the one at the end of the part.
                let _ = part.file.sync_data();
            }
        };
        let hashing = Arc::clone(&queue);
        let threads = vec![
            std::thread::Builder::new().name("sync".to_owned()).spawn(keep_writing)?,
            std::thread::Builder::new().name("hash".to_owned()).spawn(move || work(&hashing))?,
        ];
        Ok(Self { queue, sync: Some(sync), threads })
    }

    /// Says that a stream of several buffers begins.
    pub fn stream(&self) -> Stream {
        self.queue.streams.fetch_add(1, Ordering::Relaxed);
        Stream(Arc::clone(&self.queue))
    }

    /// Writes a buffer at `offset` of a part.
    pub fn write(&self, part: &Arc<PartFile>, offset: u64, bytes: &[u8]) -> io::Result<()> {
        part.write(bytes, offset)?;
        let size = bytes.len() as u64;
        let before = part.unsynced.fetch_add(size, Ordering::Relaxed);
        if before / SYNC_EVERY != (before + size) / SYNC_EVERY
            && let Some(sync) = &self.sync
        {
            // When the medium is slower than the network, the hint is dropped, not waited for.
            let _ = sync.try_send(Arc::clone(part));
        }
        Ok(())
    }

    /// Hashes the whole cells of a buffer that stands at `offset` of a part and, with `hash`, moves
    /// its blob's hash on. Gives both back.
    pub fn hash(
        &self,
        part: &Arc<PartFile>,
        offset: u64,
        bytes: Vec<u8>,
        hash: Option<Running>,
    ) -> Answer {
        let (reply, answer) = oneshot::channel();
        let job = Job { part: Arc::clone(part), offset, bytes, hash, reply };
        lock(&self.queue.jobs).0.push_back(job);
        self.queue.ready.notify_one();
        answer
    }
}

impl Drop for Packer {
    fn drop(&mut self) {
        lock(&self.queue.jobs).1 = true;
        self.queue.ready.notify_all();
        self.sync = None;
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes everything that waits and hashes it together.
fn work(queue: &Queue) {
    while let Some(mut batch) = queue.take() {
        hash(&mut batch);
        for job in batch {
            // The receiver is gone when its blob was given up.
            let _ = job.reply.send((job.hash, job.bytes));
        }
    }
}

/// Moves on the hash of every blob and hashes every whole cell, all in one go: the more messages
/// there are, the fuller the vectors.
fn hash(batch: &mut [Job]) {
    let mut cells: Vec<Running> = Vec::new();
    for job in &*batch {
        let (_, data) = job.part.whole_cells(&job.bytes, job.offset);
        cells.resize_with(cells.len() + data.len() / CELL, Running::new);
    }
    let mut messages: Vec<HashJob<'_>> = Vec::with_capacity(batch.len() + cells.len());
    let mut free = cells.iter_mut();
    for job in batch.iter_mut() {
        let (_, data) = job.part.whole_cells(&job.bytes, job.offset);
        messages
            .extend(data.chunks(CELL).zip(&mut free).map(|(data, hash)| HashJob { hash, data }));
        if let Some(hash) = &mut job.hash {
            messages.push(HashJob { hash, data: &job.bytes });
        }
    }
    advance(&mut messages);
    let mut cells = cells.into_iter().map(Running::finish);
    for job in &*batch {
        let (first, data) = job.part.whole_cells(&job.bytes, job.offset);
        job.part.set_cells(first, cells.by_ref().take(data.len() / CELL).collect());
    }
}
