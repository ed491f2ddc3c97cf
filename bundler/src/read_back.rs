//! Whether a medium gives back what was written to it (threat T25: a medium that lies).
//!
//! In: a sequence of which every file is durable, under its partial name. Out: nothing, or the first stretch that
//! reads otherwise. The page cache is dropped first, so that the answers come from the medium; what a drive keeps in a memory of
//! its own only pulling it out can tell. Each byte is held against the signed tables, not against what was meant to be
//! written, and the same buffer serves all of them.

use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use format_spec::Digest;
use format_spec::hash::cell_digests;
use format_spec::head::Head;
use format_spec::limits::CELL;
use format_spec::part::{FileName, PartLayout};
use registry::progress::Progress;
use tokio_util::sync::CancellationToken;

use crate::durable;
use crate::error::CreateError;
use crate::history::Record;

/// Bytes read and hashed at a time: the sixteen cells that are hashed together.
const GROUP: usize = 16 * CELL;

/// Bytes of digests of a table that are held at a time: those of 128 MiB.
const PAGE: usize = 64 * 1024;

/// Reads a sequence back.
pub(crate) struct ReadBack<'a> {
    pub(crate) progress: &'a Progress,
    pub(crate) cancel: &'a CancellationToken,
}

impl ReadBack<'_> {
    /// Reads every file of the sequence, past the page cache.
    pub(crate) fn prove(
        &self,
        record: &Record,
        head: &Head,
        medium: &Path,
    ) -> Result<(), CreateError> {
        self.progress.phase("reading back");
        self.progress.expect(head.parts.iter().map(|part| part.bytes).sum());
        let small = [
            (FileName::Index(record.sequence), &record.index),
            (FileName::Seal(record.sequence), &record.seal),
            (FileName::Head(record.sequence), &record.head),
        ];
        for (name, content) in small {
            let file = open(medium, &name)?;
            let mut found = vec![0; content.len() + 1];
            let read = read_up_to(&file, &mut found, 0)?;
            if found[..read] != **content {
                return Err(other(&name, 0, content.len() as u64));
            }
        }
        for (number, part) in (0..).zip(&head.parts) {
            let name = FileName::Part(record.sequence, number);
            let file = open(medium, &name)?;
            self.part(&file, &name, part)?;
        }
        Ok(())
    }

    fn part(
        &self,
        file: &std::fs::File,
        name: &FileName,
        part: &format_spec::head::Part,
    ) -> Result<(), CreateError> {
        let layout = PartLayout { bytes: part.bytes };
        let (Some(data), Some(cells)) = (layout.data_offset(), layout.cells()) else {
            return Err(CreateError::Layout(format!("no part has {} bytes", part.bytes)));
        };
        let table = digest_of(file, data)?;
        if table != part.table {
            return Err(other(name, 0, data));
        }
        let mut buffer = vec![0; GROUP];
        let mut page = vec![0; PAGE];
        let (mut held, mut at) = (0..0, data);
        let mut cell = 0;
        while cell < cells {
            if self.cancel.is_cancelled() {
                return Err(CreateError::Cancelled);
            }
            if !held.contains(&cell) {
                // Digests stand behind the header of the table's member, 32 bytes each.
                let read = read_up_to(file, &mut page, format_spec::limits::BLOCK + cell * 32)?;
                held = cell..cell + (read / 32) as u64;
            }
            let group = (GROUP / CELL) as u64;
            let count = group.min(cells - cell).min(held.end.saturating_sub(cell)).max(1);
            let end = (at + count * CELL as u64).min(part.bytes);
            let wanted = usize::try_from(end - at).expect("at most a group");
            let read = read_up_to(file, &mut buffer[..wanted], at)?;
            let from = usize::try_from(cell - held.start).expect("within a page") * 32;
            let signed = page[from..].chunks_exact(32);
            let found = cell_digests(&buffer[..read]);
            let good = found.iter().zip(signed).take_while(|(a, b)| a.as_bytes() == *b).count();
            if read < wanted || good < found.len() {
                let from = at + good as u64 * CELL as u64;
                return Err(other(name, from, (from + CELL as u64).min(part.bytes)));
            }
            self.progress.skip(end - at);
            cell += count;
            at = end;
        }
        Ok(())
    }
}

/// Opens a file under its partial name, and has the kernel forget what it knows of it.
fn open(medium: &Path, name: &FileName) -> Result<std::fs::File, CreateError> {
    let fail = CreateError::file("read back what was written");
    let path = durable::partial(&medium.join(name.to_string()));
    let file = fs_err::File::open(path).map_err(&fail)?.into_file();
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)
        .map_err(|error| fail(error.into()))?;
    Ok(file)
}

/// Reads until the buffer is full or the file ends.
fn read_up_to(file: &std::fs::File, buffer: &mut [u8], from: u64) -> Result<usize, CreateError> {
    let mut read = 0;
    while read < buffer.len() {
        match file.read_at(&mut buffer[read..], from + read as u64) {
            Ok(0) => break,
            Ok(more) => read += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(CreateError::file("read back what was written")(error)),
        }
    }
    Ok(read)
}

/// The digest of the first bytes of a file.
fn digest_of(file: &std::fs::File, bytes: u64) -> Result<Digest, CreateError> {
    let mut hash = format_spec::hash::Hasher::new();
    let mut buffer = vec![0; PAGE];
    let mut at = 0;
    while at < bytes {
        let wanted = usize::try_from((bytes - at).min(PAGE as u64)).expect("at most a page");
        let read = read_up_to(file, &mut buffer[..wanted], at)?;
        if read == 0 {
            break;
        }
        hash.update(&buffer[..read]);
        at += read as u64;
    }
    Ok(hash.finish())
}

fn other(name: &FileName, from: u64, to: u64) -> CreateError {
    CreateError::ReadBack { file: name.to_string(), from, to }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use format_spec::head::{FORMAT_VERSION, HEAD_TYPE, IndexEntry, Kind, Part, Tool, Totals};
    use format_spec::part::table_member;
    use format_spec::{Sequence, StreamId};

    use super::*;

    /// A sequence of one part of three cells, written to `medium`.
    fn written(medium: &Path) -> (Record, Head) {
        let layout = (6 * 64_u64..)
            .map(|blocks| PartLayout { bytes: blocks * 512 })
            .find(|layout| layout.cells() == Some(3) && layout.bytes.is_multiple_of(1024))
            .unwrap();
        let data = usize::try_from(layout.data_offset().unwrap()).unwrap();
        let size = usize::try_from(layout.bytes).unwrap() - data;
        let payload: Vec<u8> = (0..size).map(|n| (n / 5 + n).to_le_bytes()[0]).collect();
        let cells: Vec<Digest> = payload.chunks(CELL).map(Digest::of).collect();
        let mut part = table_member(Sequence::FIRST, 0, &cells);
        let table = Digest::of(&part);
        part.extend_from_slice(&payload);
        let name = FileName::Part(Sequence::FIRST, 0);
        let put = |name: &FileName, bytes: &[u8]| {
            durable::write_partial(&medium.join(name.to_string()), bytes).unwrap();
        };
        put(&name, &part);
        let record = Record {
            sequence: Sequence::FIRST,
            head: b"the head".to_vec(),
            seal: b"the signatures".to_vec(),
            index: b"the index".to_vec(),
        };
        put(&FileName::Head(Sequence::FIRST), &record.head);
        put(&FileName::Seal(Sequence::FIRST), &record.seal);
        put(&FileName::Index(Sequence::FIRST), &record.index);
        let head = Head {
            type_: HEAD_TYPE.to_owned(),
            format_version: FORMAT_VERSION,
            crit: Vec::new(),
            stream: StreamId::from_bytes([1; 16]),
            sequence: Sequence::FIRST,
            kind: Kind::Full,
            previous: None,
            tail: Vec::new(),
            base: None,
            created: "2026-01-01T00:00:00Z".to_owned(),
            tool: Tool { name: "bundle".to_owned(), version: "0".to_owned() },
            cell_bytes: CELL as u64,
            parts: vec![Part { name: name.to_string(), bytes: layout.bytes, table }],
            index: IndexEntry { digest: Digest::of(&record.index), bytes: 9 },
            totals: Totals {
                references: 0,
                manifests: 0,
                blobs: 0,
                bytes: 0,
                required: 0,
                removals: 0,
            },
            failures: Vec::new(),
            labels: BTreeMap::new(),
            expires: None,
            next_expected: None,
        };
        (record, head)
    }

    #[test]
    fn every_byte_of_a_medium_is_read_back() {
        let directory = tempfile::tempdir().unwrap();
        let medium = directory.path();
        let (record, head) = written(medium);
        let (progress, cancel) = (Progress::default(), CancellationToken::new());
        let read_back = ReadBack { progress: &progress, cancel: &cancel };
        read_back.prove(&record, &head, medium).unwrap();
        let names = [
            FileName::Part(Sequence::FIRST, 0),
            FileName::Index(Sequence::FIRST),
            FileName::Seal(Sequence::FIRST),
            FileName::Head(Sequence::FIRST),
        ];
        let mut tried = 0;
        for name in names {
            let path = durable::partial(&medium.join(name.to_string()));
            let good = fs_err::read(&path).unwrap();
            // Every byte of what is small, and of the table; a sample of the cells, their ends included.
            let places = (0..good.len())
                .filter(|at| *at < 700 || at % 997 == 0 || at % CELL < 2 || good.len() - at < 3);
            for at in places {
                let mut bad = good.clone();
                bad[at] ^= 1;
                fs_err::write(&path, &bad).unwrap();
                match read_back.prove(&record, &head, medium).unwrap_err() {
                    CreateError::ReadBack { file, from, to } => {
                        assert_eq!(file, name.to_string());
                        assert!((from..to).contains(&(at as u64)), "{at} is not in {from}..{to}");
                    }
                    other => panic!("{other}"),
                }
                tried += 1;
            }
            for length in [0, good.len() / 2, good.len() - 1] {
                fs_err::write(&path, &good[..length]).unwrap();
                let error = read_back.prove(&record, &head, medium).unwrap_err();
                assert!(matches!(error, CreateError::ReadBack { .. }), "{name} of {length}");
            }
            fs_err::write(&path, &good).unwrap();
        }
        assert!(tried > 800, "{tried}");
        read_back.prove(&record, &head, medium).unwrap();
    }
}
