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
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

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
pub type Answer = oneshot::Receiver<io::Result<(Running, Vec<u8>)>>;

/// A buffer on its way into a part.
struct Job {
    part: Arc<PartFile>,
    offset: u64,
    bytes: Vec<u8>,
    hash: Running,
    /// False for bytes that an earlier run wrote.
    write: bool,
    reply: oneshot::Sender<io::Result<(Running, Vec<u8>)>>,
}

#[derive(Default)]
struct Queue {
    jobs: Mutex<(VecDeque<Job>, bool)>,
    ready: Condvar,
}

/// The threads that write and hash.
pub struct Packer {
    queue: Arc<Queue>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Packer {
    /// Starts `threads` of them.
    pub fn start(threads: usize) -> io::Result<Self> {
        let queue = Arc::new(Queue::default());
        let (sync, syncer) = std::sync::mpsc::sync_channel::<Arc<PartFile>>(4);
        let mut handles =
            vec![std::thread::Builder::new().name("sync".to_owned()).spawn(move || {
                while let Ok(part) = syncer.recv() {
                    // A hint: the sync that counts is the one at the end of the part.
                    let _ = part.file.sync_data();
                }
            })?];
        for number in 0..threads.max(1) {
            let (queue, sync) = (Arc::clone(&queue), sync.clone());
            let builder = std::thread::Builder::new().name(format!("pack-{number}"));
            handles.push(builder.spawn(move || work(&queue, &sync))?);
        }
        Ok(Self { queue, threads: handles })
    }

    /// Writes (or, for bytes of an earlier run, only hashes) a buffer at `offset` of a part and moves
    /// its blob's hash on. Gives the buffer back.
    pub fn put(
        &self,
        part: &Arc<PartFile>,
        offset: u64,
        bytes: Vec<u8>,
        hash: Running,
        write: bool,
    ) -> Answer {
        let (reply, answer) = oneshot::channel();
        let job = Job { part: Arc::clone(part), offset, bytes, hash, write, reply };
        lock(&self.queue.jobs).0.push_back(job);
        self.queue.ready.notify_one();
        answer
    }
}

impl Drop for Packer {
    fn drop(&mut self) {
        lock(&self.queue.jobs).1 = true;
        self.queue.ready.notify_all();
        for thread in self.threads.drain(..).rev() {
            let _ = thread.join();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes everything that waits, writes it, hashes it together.
fn work(queue: &Queue, sync: &std::sync::mpsc::SyncSender<Arc<PartFile>>) {
    loop {
        let mut batch: Vec<Job> = {
            let mut jobs = lock(&queue.jobs);
            loop {
                if !jobs.0.is_empty() {
                    let take = jobs.0.len().min(16);
                    break jobs.0.drain(..take).collect();
                }
                if jobs.1 {
                    return;
                }
                jobs = queue.ready.wait(jobs).unwrap_or_else(PoisonError::into_inner);
            }
        };
        let mut errors: Vec<Option<io::Error>> = Vec::with_capacity(batch.len());
        for job in &batch {
            errors.push(write_out(job, sync).err());
        }
        hash(&mut batch);
        for (job, error) in batch.into_iter().zip(errors) {
            // The receiver is gone when its blob was given up.
            let _ = job.reply.send(match error {
                None => Ok((job.hash, job.bytes)),
                Some(error) => Err(error),
            });
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
        messages.push(HashJob { hash: &mut job.hash, data: &job.bytes });
    }
    advance(&mut messages);
    let mut cells = cells.into_iter().map(Running::finish);
    for job in &*batch {
        let (first, data) = job.part.whole_cells(&job.bytes, job.offset);
        job.part.set_cells(first, cells.by_ref().take(data.len() / CELL).collect());
    }
}

fn write_out(job: &Job, sync: &std::sync::mpsc::SyncSender<Arc<PartFile>>) -> io::Result<()> {
    if !job.write {
        return Ok(());
    }
    job.part.write(&job.bytes, job.offset)?;
    let size = job.bytes.len() as u64;
    let before = job.part.unsynced.fetch_add(size, Ordering::Relaxed);
    if before / SYNC_EVERY != (before + size) / SYNC_EVERY {
        // When the medium is slower than the network, the hint is dropped, not waited for.
        let _ = sync.try_send(Arc::clone(&job.part));
    }
    Ok(())
}
