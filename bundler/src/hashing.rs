//! The thread that hashes every byte twice: as part of its blob, and of its cell.
//!
//! In: buffers of several streams, each with its place in a part. Out: the digest of each blob, and the
//! digests of whole cells in the part's table. One buffer of each stream that has one is hashed in one
//! go: eight blobs and their cells fill the sixteen lanes of `format_spec::hash`. One thread, because
//! two would halve the lanes. On a processor without lanes there is nothing to gain, and each stream hashes
//! for itself.
//!
//! A stream has a few buffers under way, so that reading, writing and hashing do not wait for one another.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use format_spec::hash::{Job as HashJob, Running, advance};
use format_spec::limits::CELL;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::lock;
use crate::pack::{BUFFER, PartFile};

/// Buffers of a stream that wait or are being hashed; it fills one more meanwhile.
const DEPTH: u32 = 6;

/// Streams that are worth hashing together: with their cells they fill the lanes.
const TOGETHER: usize = 8;

/// Large streams up to which each hashes its blob itself: so few leave most lanes empty, and the last of
/// them would keep the others' processors waiting.
const FEW: usize = 3;

/// Bytes from which a stream is large.
const LARGE: u64 = 8 * BUFFER as u64;

/// Buffers whose cells alone fill the lanes.
const FULL: usize = 4;

/// How long the first buffer waits for others.
const PATIENCE: Duration = Duration::from_millis(1);

/// A buffer that stands in its part.
struct Job {
    /// The hash of its blob, which also tells its stream.
    hash: Arc<Mutex<Running>>,
    part: Arc<PartFile>,
    offset: u64,
    bytes: Vec<u8>,
    /// Whether the blob's hash takes it in; otherwise it did already.
    blob: bool,
    /// Free again when this is dropped.
    _slot: OwnedSemaphorePermit,
}

#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    ready: Condvar,
    /// Large streams under way.
    streams: AtomicUsize,
    /// Bytes that no stream has handed over yet.
    left: AtomicU64,
    /// Buffers to be filled again: fresh memory would have to be faulted in, page by page.
    spare: Mutex<Vec<Vec<u8>>>,
}

#[derive(Default)]
struct Waiting {
    jobs: VecDeque<Job>,
    /// How many jobs are worth waking the thread for.
    wanted: usize,
    end: bool,
}

impl Queue {
    fn keep(&self, batch: Vec<Job>) {
        // Before the slots are free: who gets one finds a buffer.
        let mut spare = lock(&self.spare);
        for job in batch {
            if job.bytes.capacity() >= BUFFER {
                spare.push(job.bytes);
            }
        }
    }

    /// The next buffer of each stream that has one, and all of those that wait for their cells only;
    /// `None` at the end.
    fn take(&self) -> Option<Vec<Job>> {
        let mut waiting = lock(&self.waiting);
        while waiting.jobs.is_empty() {
            if waiting.end {
                return None;
            }
            waiting.wanted = 1;
            waiting = self.ready.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        let start = Instant::now();
        loop {
            // Never for more than there are: the last stream must not wait for nobody.
            let wanted = match self.streams.load(Ordering::Relaxed) {
                0 => 0,
                streams @ 1..=FEW => FULL.max(streams),
                streams => streams.min(TOGETHER),
            };
            if waiting.jobs.len() >= wanted || waiting.end {
                break;
            }
            let Some(left) = PATIENCE.checked_sub(start.elapsed()) else { break };
            waiting.wanted = wanted;
            let waited = self.ready.wait_timeout(waiting, left);
            waiting = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        waiting.wanted = usize::MAX;
        let mut batch: Vec<Job> = Vec::with_capacity(TOGETHER);
        let mut rest = VecDeque::with_capacity(waiting.jobs.len());
        for job in waiting.jobs.drain(..) {
            // Cells know no order; a blob has one.
            let same = |other: &Job| other.blob && Arc::ptr_eq(&other.hash, &job.hash);
            let later = job.blob && batch.iter().any(same);
            if later { rest.push_back(job) } else { batch.push(job) }
        }
        waiting.jobs = rest;
        Some(batch)
    }
}

/// The thread, where the processor has lanes.
pub struct Hashing {
    queue: Arc<Queue>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Hashing {
    /// Starts it, for streams of `bytes` altogether; `lanes` as
    /// [`format_spec::hash::together_is_faster`] says.
    pub fn start(lanes: bool, bytes: u64) -> io::Result<Self> {
        let queue = Arc::new(Queue { left: bytes.into(), ..Queue::default() });
        if !lanes {
            return Ok(Self { queue, thread: None });
        }
        let its = Arc::clone(&queue);
        let work = move || {
            while let Some(batch) = its.take() {
                hash(&batch);
                its.keep(batch);
            }
        };
        let thread = std::thread::Builder::new().name("hash".to_owned()).spawn(work)?;
        Ok(Self { queue, thread: Some(thread) })
    }

    /// A buffer of `want` bytes, whatever they are.
    pub fn buffer(&self, want: usize) -> Vec<u8> {
        if want <= BUFFER / 16 {
            return vec![0; want];
        }
        let spare = lock(&self.queue.spare).pop();
        let mut buffer = spare.unwrap_or_else(|| Vec::with_capacity(BUFFER));
        // Most are whole and stay so; only what is new is made zero.
        buffer.resize(want, 0);
        buffer
    }

    /// A new stream of `size` bytes.
    pub fn stream(&self, size: u64) -> Stream {
        // A small one would be awaited by the others and soon be gone.
        let large = size > LARGE;
        if large {
            self.queue.streams.fetch_add(1, Ordering::Relaxed);
        }
        Stream {
            hash: Arc::default(),
            queue: Arc::clone(&self.queue),
            slots: Arc::new(Semaphore::new(DEPTH as usize)),
            lanes: self.thread.is_some(),
            inside: false,
            large,
            left: size,
            ahead: large,
        }
    }
}

impl Drop for Hashing {
    fn drop(&mut self) {
        lock(&self.queue.waiting).end = true;
        self.queue.ready.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A stream of buffers, hashed in the order in which they come.
pub struct Stream {
    /// The hash of the blob.
    hash: Arc<Mutex<Running>>,
    queue: Arc<Queue>,
    slots: Arc<Semaphore>,
    lanes: bool,
    /// Whether the last buffer's blob went into the lanes.
    inside: bool,
    large: bool,
    /// Bytes that were not handed over yet.
    left: u64,
    /// Whether it has more left than a lane takes while all the others end; then it hashes its blob
    /// itself, which is faster, and so does not end alone.
    ahead: bool,
}

impl Stream {
    /// Hands over a buffer that stands at `offset` of a part. Waits while too many are under way.
    pub async fn put(&mut self, part: &Arc<PartFile>, offset: u64, bytes: Vec<u8>) {
        let size = bytes.len() as u64;
        // A blob that is fetched again counts twice, so this can reach zero early.
        let less = |left: u64| Some(left.saturating_sub(size));
        let all = self.queue.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        self.ahead &= self.left > all.unwrap_or(0) / TOGETHER as u64;
        self.left = self.left.saturating_sub(size);
        let few = self.large && self.queue.streams.load(Ordering::Relaxed) <= FEW;
        let blob = !(self.lanes && (few || self.ahead));
        if !blob {
            // What went into the lanes before comes first.
            if std::mem::take(&mut self.inside) {
                self.settled().await;
            }
            lock(&self.hash).update(&bytes);
        }
        self.inside |= blob;
        let slot = Arc::clone(&self.slots).acquire_owned().await.expect("never closed");
        let (blobs, part) = (Arc::clone(&self.hash), Arc::clone(part));
        let job = Job { hash: blobs, part, offset, bytes, blob, _slot: slot };
        if !self.lanes {
            let batch = vec![job];
            hash(&batch);
            self.queue.keep(batch);
            return;
        }
        let mut waiting = lock(&self.queue.waiting);
        waiting.jobs.push_back(job);
        if waiting.jobs.len() >= waiting.wanted {
            waiting.wanted = usize::MAX;
            self.queue.ready.notify_one();
        }
    }

    /// Waits until every buffer is hashed.
    pub async fn settled(&self) {
        let all = self.slots.acquire_many(DEPTH).await;
        drop(all.expect("never closed"));
    }

    /// The hash of the blob, as far as it is settled.
    pub fn blob(&self) -> Running {
        lock(&self.hash).clone()
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if self.large {
            self.queue.streams.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Moves on the hash of every blob and hashes every whole cell, all in one go: the more messages
/// there are, the fuller the lanes. No stream is there twice.
fn hash(batch: &[Job]) {
    let mut cells: Vec<Running> = Vec::new();
    for job in batch {
        let (_, data) = job.part.whole_cells(&job.bytes, job.offset);
        cells.resize_with(cells.len() + data.len() / CELL, Running::new);
    }
    let mut blobs: Vec<_> = batch.iter().map(|job| job.blob.then(|| lock(&job.hash))).collect();
    let mut messages: Vec<HashJob<'_>> = Vec::with_capacity(batch.len() + cells.len());
    let mut free = cells.iter_mut();
    for (job, blob) in batch.iter().zip(&mut blobs) {
        let (_, data) = job.part.whole_cells(&job.bytes, job.offset);
        messages
            .extend(data.chunks(CELL).zip(&mut free).map(|(data, hash)| HashJob { hash, data }));
        if let Some(hash) = blob {
            messages.push(HashJob { hash, data: &job.bytes });
        }
    }
    advance(&mut messages);
    let mut cells = cells.into_iter().map(Running::finish);
    for job in batch {
        let (first, data) = job.part.whole_cells(&job.bytes, job.offset);
        job.part.set_cells(first, cells.by_ref().take(data.len() / CELL).collect());
    }
}

#[cfg(test)]
mod tests {
    use format_spec::Digest;
    use format_spec::limits::BLOCK;
    use format_spec::part::PartLayout;

    use super::*;

    /// A part that streams of different lengths fill together.
    async fn fill(lanes: bool, streams: usize) {
        let dir = tempfile::tempdir().unwrap();
        let length = |number: usize| (9 + 7 * number) * BUFFER / 4 + 512 * number;
        let contents: Vec<Vec<u8>> = (0..streams)
            .map(|number| {
                (0..length(number)).map(|i| (i * (number + 3) / 7).to_le_bytes()[0]).collect()
            })
            .collect();
        let total = contents.iter().map(Vec::len).sum::<usize>() as u64;
        // A size that some number of cells has.
        let layout = (total / BLOCK..)
            .map(|blocks| PartLayout { bytes: blocks * BLOCK })
            .find(|layout| layout.data_offset().is_some_and(|at| layout.bytes - at >= total))
            .unwrap();
        let part = Arc::new(PartFile::open(&dir.path().join("part"), layout, &[]).unwrap());
        let hashing = Hashing::start(lanes, total).unwrap();
        let begin = layout.data_offset().unwrap();
        let mut offset = begin;
        let mut tasks = Vec::new();
        for (number, content) in contents.iter().enumerate() {
            let mut stream = hashing.stream(content.len() as u64);
            let (part, begin) = (Arc::clone(&part), offset);
            offset += content.len() as u64;
            tasks.push(async move {
                let mut at = 0;
                while at < content.len() {
                    let place = begin + at as u64;
                    let size = part.room(place).min(content.len() - at);
                    part.write_in_turn(&content[at..at + size], place).await.unwrap();
                    stream.put(&part, place, content[at..at + size].to_vec()).await;
                    at += size;
                    tokio::task::yield_now().await;
                }
                stream.settled().await;
                assert_eq!(stream.blob().finish(), Digest::of(content), "stream {number}");
            });
        }
        futures_util::future::join_all(tasks).await;
        let mut whole = vec![0; usize::try_from(layout.bytes - begin).unwrap()];
        part.read(&mut whole, begin).unwrap();
        let table: Vec<Digest> = whole.chunks(CELL).map(Digest::of).collect();
        let known = part.known_cells();
        assert!(
            known.iter().flatten().count() + 2 * streams >= table.len(),
            "most cells are known"
        );
        for (cell, digest) in known.into_iter().enumerate() {
            assert!(digest.is_none_or(|digest| digest == table[cell]), "cell {cell}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn every_way_of_hashing_agrees() {
        for streams in [1, 3, 4, 9, 20] {
            fill(true, streams).await;
            fill(false, streams).await;
        }
    }
}
