//! One part on the medium: its cell table, and the proof of its cells.
//!
//! In: the file of the part and the digest of its cell table, which stands in the signed head. Out:
//! bytes in a buffer that were hashed in that buffer and match the table (threat T2: a medium may
//! answer differently on the second read, so what was hashed is what is used). A table may be
//! 128 MiB; it is read once to prove it, and only the digests of its pages stay in memory, against
//! which a page is proven again when it is needed.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use format_spec::hash::{Hasher, cell_digests};
use format_spec::head;
use format_spec::limits::{BLOCK, CELL};
use format_spec::part::{PartLayout, header, padded, table_name};
use format_spec::{Digest, Sequence};

use crate::error::Problem;
use crate::intake::Found;
use crate::limits::{GROUP, TABLE_PAGE, TABLE_PAGES_HELD};

/// A stretch of a part that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("part {part}, bytes {from} to {to}: {problem:?} {detail}")]
pub(crate) struct Fault {
    /// The number of the part.
    pub(crate) part: u32,
    /// The first byte in the file.
    pub(crate) from: u64,
    /// The byte after the last.
    pub(crate) to: u64,
    /// What is wrong.
    pub(crate) problem: Problem,
    /// What the system said.
    pub(crate) detail: String,
}

/// A part of a verified sequence.
#[derive(Debug)]
pub(crate) struct Part {
    /// Its file name, as the head says it.
    pub(crate) name: String,
    /// Its number.
    pub(crate) number: u32,
    /// Bytes of the file.
    pub(crate) bytes: u64,
    /// Where the first cell begins.
    pub(crate) data_offset: u64,
    /// Number of cells.
    pub(crate) cells: u64,
    sequence: Sequence,
    table: Digest,
    found: Found,
    /// Further files of this name and size: what one copy has damaged, another may have whole.
    others: Vec<Found>,
    /// Whether a person was told that another copy helped out.
    told: AtomicBool,
    /// The open file, unless there are too many parts to keep all open.
    held: Option<File>,
    /// The digests of the table's pages, once the whole table matched the head.
    pages: OnceLock<Vec<Digest>>,
    recent: Mutex<VecDeque<(usize, Arc<[u8]>)>>,
    /// A bit for each cell that was proven in this run.
    proven: OnceLock<Vec<AtomicU64>>,
}

impl Part {
    /// The part `number` of a verified head, in the file `found`, which has the right size.
    pub(crate) fn new(
        sequence: Sequence,
        number: u32,
        entry: &head::Part,
        found: Found,
        hold: bool,
    ) -> Result<Self, Fault> {
        let layout = PartLayout { bytes: entry.bytes };
        // Head::validate has refused sizes that no part has.
        let (Some(cells), Some(data_offset)) = (layout.cells(), layout.data_offset()) else {
            return Err(Fault {
                part: number,
                from: 0,
                to: entry.bytes,
                problem: Problem::Layout,
                detail: String::new(),
            });
        };
        let mut part = Self {
            name: entry.name.clone(),
            number,
            bytes: entry.bytes,
            data_offset,
            cells,
            sequence,
            table: entry.table,
            found,
            others: Vec::new(),
            told: AtomicBool::new(false),
            held: None,
            pages: OnceLock::new(),
            recent: Mutex::default(),
            proven: OnceLock::new(),
        };
        let file = part.found.open().map_err(|error| part.unreadable(0, part.bytes, &error))?;
        part.held = hold.then_some(file);
        Ok(part)
    }

    /// Names the other files of this part.
    pub(crate) fn with_others(mut self, others: Vec<Found>) -> Self {
        self.others = others;
        self
    }

    /// Where the file lies, for messages.
    pub(crate) fn path(&self) -> PathBuf {
        self.found.path()
    }

    /// Proves the cell table, once. Every later answer of this part stands on it.
    pub(crate) fn prove_table(&self) -> Result<(), Fault> {
        self.pages().map(|_| ())
    }

    fn pages(&self) -> Result<&[Digest], Fault> {
        if let Some(pages) = self.pages.get() {
            return Ok(pages);
        }
        let pages = self.read_table()?;
        Ok(self.pages.get_or_init(|| pages))
    }

    fn read_table(&self) -> Result<Vec<Digest>, Fault> {
        let fault = |problem| Fault {
            part: self.number,
            from: 0,
            to: self.data_offset,
            problem,
            detail: String::new(),
        };
        let mut whole = Hasher::new();
        let mut buffer = vec![0; TABLE_PAGE];
        let block = &mut buffer[..512];
        self.read(block, 0)?;
        whole.update(block);
        let size = self.cells * 32;
        let canonical = *block == header(&table_name(self.sequence, self.number), size)[..];
        let mut pages = Vec::new();
        let mut at = 0;
        while at < size {
            let page = &mut buffer[..length(TABLE_PAGE as u64, size - at)];
            self.read(page, BLOCK + at)?;
            whole.update(page);
            pages.push(Digest::of(page));
            at += page.len() as u64;
        }
        let padding = &mut buffer[..length(BLOCK, padded(size) - size)];
        self.read(padding, BLOCK + size)?;
        whole.update(padding);
        let zeros = padding.iter().all(|byte| *byte == 0);
        if whole.finish() != self.table {
            return Err(fault(Problem::WrongTable));
        }
        if !canonical || !zeros {
            return Err(fault(Problem::Layout));
        }
        Ok(pages)
    }

    /// Reads `count` cells (at most [`GROUP`]) from cell `first` on into `buffer` and proves them.
    /// Returns the number of bytes; only the last cell of a part is short.
    pub(crate) fn prove(
        &self,
        first: u64,
        count: usize,
        buffer: &mut [u8],
    ) -> Result<usize, Fault> {
        debug_assert!(count <= GROUP && first + count as u64 <= self.cells, "within the part");
        let from = self.data_offset + first * CELL as u64;
        let size = length((count * CELL) as u64, self.bytes - from);
        let buffer = &mut buffer[..size];
        self.read_good(buffer, from, |buffer| self.check(first, buffer))?;
        let proven = self.proven();
        for cell in first..first + count as u64 {
            let (word, bit) = place(cell);
            proven[word].fetch_or(bit, Ordering::Relaxed);
        }
        Ok(size)
    }

    /// Compares whole cells from `first` on with the table.
    fn check(&self, first: u64, cells: &[u8]) -> Result<(), Fault> {
        for (cell, found) in (first..).zip(cell_digests(cells)) {
            let from = self.data_offset + cell * CELL as u64;
            if self.expected(cell)? != *found.as_bytes() {
                return Err(self.changed(from, (from + CELL as u64).min(self.bytes)));
            }
        }
        Ok(())
    }

    fn changed(&self, from: u64, to: u64) -> Fault {
        let problem = Problem::Changed;
        Fault { part: self.number, from, to, problem, detail: String::new() }
    }

    /// The next run of cells, from `from` on, that were not proven in this run: first and count.
    pub(crate) fn unproven(&self, from: u64) -> Option<(u64, usize)> {
        let proven = self.proven();
        let is = |cell: u64| {
            let (word, bit) = place(cell);
            proven[word].load(Ordering::Relaxed) & bit != 0
        };
        let first = (from..self.cells).find(|cell| !is(*cell))?;
        let most = (GROUP as u64).min(self.cells - first);
        let count = (first..first + most).take_while(|cell| !is(*cell)).count();
        Some((first, count))
    }

    fn proven(&self) -> &[AtomicU64] {
        self.proven.get_or_init(|| {
            let (words, _) = place(self.cells + 63);
            (0..words).map(|_| AtomicU64::new(0)).collect()
        })
    }

    /// The digest of a cell by the table.
    fn expected(&self, cell: u64) -> Result<[u8; 32], Fault> {
        let at = cell * 32;
        let number = length(u64::MAX, at / TABLE_PAGE as u64);
        let page = self.page(number)?;
        let within = length(u64::MAX, at % TABLE_PAGE as u64);
        let mut digest = [0; 32];
        digest.copy_from_slice(&page[within..within + 32]);
        Ok(digest)
    }

    fn page(&self, number: usize) -> Result<Arc<[u8]>, Fault> {
        let digests = self.pages()?;
        let lock = || self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, page)) = lock().iter().find(|(n, _)| *n == number) {
            return Ok(Arc::clone(page));
        }
        let start = (number * TABLE_PAGE) as u64;
        let mut page = vec![0; length(TABLE_PAGE as u64, self.cells * 32 - start)];
        let from = BLOCK + start;
        self.read_good(&mut page, from, |page| {
            let fits = digests.get(number) == Some(&Digest::of(page));
            if fits { Ok(()) } else { Err(self.changed(from, from + page.len() as u64)) }
        })?;
        let page: Arc<[u8]> = page.into();
        let mut recent = lock();
        if recent.len() == TABLE_PAGES_HELD {
            recent.pop_front();
        }
        recent.push_back((number, Arc::clone(&page)));
        Ok(page)
    }

    /// Reads bytes that pass `check`, from the first copy of the part that has them. Without one the fault is
    /// the first copy's.
    fn read_good(
        &self,
        buffer: &mut [u8],
        offset: u64,
        check: impl Fn(&[u8]) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let Err(fault) = self.read(buffer, offset).and_then(|()| check(buffer)) else {
            return Ok(());
        };
        for other in &self.others {
            let read = other.open().and_then(|file| file.read_exact_at(buffer, offset));
            if read.is_ok() && check(buffer).is_ok() {
                if !self.told.swap(true, Ordering::Relaxed) {
                    let (bad, good) = (self.found.path(), other.path());
                    let (bad, good) = (bad.display(), good.display());
                    tracing::warn!("`{bad}` is damaged; what it lacks is read from `{good}`");
                }
                return Ok(());
            }
        }
        Err(fault)
    }

    fn read(&self, buffer: &mut [u8], offset: u64) -> Result<(), Fault> {
        let result = match &self.held {
            Some(file) => file.read_exact_at(buffer, offset),
            None => self.found.open().and_then(|file| file.read_exact_at(buffer, offset)),
        };
        result.map_err(|error| self.unreadable(offset, offset + buffer.len() as u64, &error))
    }

    fn unreadable(&self, from: u64, to: u64, error: &io::Error) -> Fault {
        Fault {
            part: self.number,
            from,
            to,
            problem: Problem::Unreadable,
            detail: error.to_string(),
        }
    }
}

/// The word and the bit of a cell.
fn place(cell: u64) -> (usize, u64) {
    (length(u64::MAX, cell / 64), 1 << (cell % 64))
}

/// The smaller of two lengths, of which one fits a buffer.
fn length(most: u64, left: u64) -> usize {
    usize::try_from(most.min(left)).expect("parts and buffers fit the address space")
}
