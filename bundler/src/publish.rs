//! From complete parts to a sequence: index, head, signatures, names.
//!
//! In: a plan, the digests of the cell tables, keys. Out: a sequence that is durable on its medium.
//! The head gets its name last: a directory without it holds no sequence, whatever else is there.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use format_spec::digest::Digest;
use format_spec::hash::Hasher;
use format_spec::head::{
    ContentClass, FORMAT_VERSION, Failure, HEAD_TYPE, Head, HeadError, IndexEntry, Kind, Link,
    Part, Tool, Totals,
};
use format_spec::index::Index;
use format_spec::keys::SecretKey;
use format_spec::limits::{CELL, HEAD_MAX};
use format_spec::part::{FileName, PartLayout};
use format_spec::{Sequence, StreamId, codec, seal};

use crate::create::CreateOptions;
use crate::durable;
use crate::error::CreateError;
use crate::history::{History, Record};
use crate::plan::Plan;
use crate::read_back::ReadBack;
use crate::slots::Slots;
use crate::transfer;

/// Failures that a head tells, and their bytes: a person reads it, and its parts have to fit too.
const FAILURES: usize = 10_000;
const FAILURES_BYTES: usize = 8 * 1024 * 1024;

/// What the head says besides the plan.
#[derive(Debug, Clone)]
pub struct Statement {
    /// Whether the sequence stands alone.
    pub kind: Kind,
    /// The sequences before it, newest first.
    pub tail: Vec<Link>,
    /// The sequence after which it left nothing out, when that is not the previous one.
    pub base: Option<Link>,
    /// What could not be had.
    pub failures: Vec<Failure>,
    /// Free text of the operator.
    pub labels: BTreeMap<String, String>,
    /// Not to be imported after this time.
    pub expires: Option<String>,
    /// When the next sequence can be expected.
    pub next_expected: Option<String>,
    /// When it is written, RFC 3339 in UTC.
    pub created: String,
    /// Whether to write `SHA256SUMS`, which reads every part once more.
    pub sums: bool,
}

/// A published sequence.
#[derive(Debug, Clone)]
pub struct Published {
    /// Its head.
    pub head: Head,
    /// The digest of the head.
    pub digest: Digest,
    /// Its files and their sizes, in the order of their names.
    pub files: Vec<(String, u64)>,
}

/// Refuses a plan that a reader would refuse later.
pub fn check(plan: &Plan, statement: Statement) -> Result<(), CreateError> {
    let unknown = Digest::of(b"");
    let bytes = codec::encoded_len(&plan.index).map_err(|error| no_layout(&error))?;
    let tables = vec![unknown; plan.parts.len()];
    head_of(plan, &tables, statement, IndexEntry { digest: unknown, bytes }).map(drop)
}

/// The head of a plan, checked with its index as a reader checks them.
fn head_of(
    plan: &Plan,
    tables: &[Digest],
    statement: Statement,
    index: IndexEntry,
) -> Result<Head, CreateError> {
    let head = head(plan, tables, statement, index);
    head.validate().map_err(|error| no_layout(&error))?;
    let bytes = head.to_bytes().len() as u64;
    if bytes > HEAD_MAX {
        return Err(no_layout(&HeadError::TooLarge(bytes)));
    }
    plan.index.validate(&head).map_err(|error| no_layout(&error))?;
    Ok(head)
}

fn no_layout(error: &dyn std::fmt::Display) -> CreateError {
    CreateError::Layout(error.to_string())
}

/// Writes everything but the parts, then gives all files their names, the head's last.
pub(crate) fn publish(
    plan: &Plan,
    tables: &[Digest],
    statement: Statement,
    keys: &[SecretKey],
    medium: &Path,
    read_back: Option<ReadBack<'_>>,
    history: &mut History,
) -> Result<Published, CreateError> {
    let sequence = plan.index.sequence;
    let sums = statement.sums;
    let index = codec::encode(&plan.index).map_err(|error| no_layout(&error))?;
    let entry = IndexEntry { digest: Digest::of(&index), bytes: index.len() as u64 };
    let head = head_of(plan, tables, statement, entry)?;
    let bytes = head.to_bytes();
    let seal = seal::sign(&bytes, &keys.iter().collect::<Vec<_>>());
    let record = Record { sequence, head: bytes, seal, index };

    let small = Small::new(&record, &head, &plan.index, keys, sums, medium)?;
    small.write(medium)?;
    if let Some(read_back) = read_back {
        read_back.prove(&record, &head, medium)?;
    }
    history.begin(&record, medium)?;
    small.name_all(&head, medium)?;
    history.commit(sequence)?;
    Ok(Published { files: files(&record, &head, medium), digest: Digest::of(&record.head), head })
}

/// Publishes a sequence of the history once more: its files as they were.
pub(crate) fn again(
    record: &Record,
    head: &Head,
    index: &Index,
    options: &CreateOptions,
    slots: Slots,
) -> Result<Vec<(String, u64)>, CreateError> {
    let medium = &options.to;
    let keys = options.keys.keys().unwrap_or_default();
    let small = Small::new(record, head, index, keys, options.sums, medium)?;
    small.write(medium)?;
    if let Some(read_back) = options.read_back() {
        read_back.prove(record, head, medium)?;
    }
    // A run that ends from here on is gone on with by the names alone, and one that finds them all does nothing.
    slots.close();
    small.name_all(head, medium)?;
    Ok(files(record, head, medium))
}

/// Everything of a sequence but its parts: paths and contents, the head last.
struct Small<'a>(Vec<(PathBuf, Cow<'a, [u8]>)>);

impl<'a> Small<'a> {
    fn new(
        record: &'a Record,
        head: &Head,
        index: &Index,
        keys: &[SecretKey],
        sums: bool,
        medium: &Path,
    ) -> Result<Self, CreateError> {
        let sequence = record.sequence;
        let file = |name: FileName| medium.join(name.to_string());
        let digest = Digest::of(&record.head);
        let page = transfer::page(head, digest, index, keys, record.seal.len());
        let mut small = vec![
            (file(FileName::Index(sequence)), Cow::from(&record.index)),
            (file(FileName::Seal(sequence)), Cow::from(&record.seal)),
            (file(FileName::Transfer(sequence)), page.into()),
        ];
        if sums {
            let sums = sums_of(record, head.parts.len(), medium);
            let sums = sums.map_err(CreateError::file("write the sequence"))?;
            small.push((file(FileName::Sums(sequence)), sums.into()));
        }
        small.push((file(FileName::Head(sequence)), Cow::from(&record.head)));
        Ok(Self(small))
    }

    /// Writes them under partial names, the head last: when it is there, everything else is, and durably.
    fn write(&self, medium: &Path) -> Result<(), CreateError> {
        let write = || -> std::io::Result<()> {
            let ((head, content), others) = self.0.split_last().expect("the head at least");
            for (path, content) in others {
                durable::write_partial(path, content)?;
            }
            durable::sync_directory(medium)?;
            durable::write_partial(head, content)
        };
        write().map_err(CreateError::file("write the sequence"))
    }

    /// Gives all files their names, the head's last.
    fn name_all(&self, head: &Head, medium: &Path) -> Result<(), CreateError> {
        let name_all = || -> std::io::Result<()> {
            for number in 0..head.parts.len() {
                let number = u32::try_from(number).expect("bounded by PARTS_MAX");
                let path = medium.join(FileName::Part(head.sequence, number).to_string());
                fs_err::rename(durable::partial(&path), &path)?;
            }
            let ((head_file, _), others) = self.0.split_last().expect("the head at least");
            for (path, _) in others {
                fs_err::rename(durable::partial(path), path)?;
            }
            durable::sync_directory(medium)?;
            durable::publish(head_file)
        };
        name_all().map_err(CreateError::file("write the sequence"))
    }
}

/// The files of a published sequence and their sizes, in the order of their names.
pub fn files(record: &Record, head: &Head, medium: &Path) -> Vec<(String, u64)> {
    let sequence = record.sequence;
    let bytes = |name: &FileName| {
        fs_err::metadata(medium.join(name.to_string())).ok().map(|found| found.len())
    };
    let small = [
        FileName::Head(sequence),
        FileName::Seal(sequence),
        FileName::Index(sequence),
        FileName::Transfer(sequence),
        FileName::Sums(sequence),
    ];
    let small = small.iter().filter_map(|name| Some((name.to_string(), bytes(name)?)));
    let parts = head.parts.iter().map(|part| (part.name.clone(), part.bytes));
    let mut files: Vec<_> = small.chain(parts).collect();
    files.sort();
    files
}

/// Finishes a publication that was cut off between its first and its last rename: everything had been
/// written before. `false` when something of it is gone or is not what it was; then the names are taken back, so that
/// the sequence can be made again.
pub fn resume(head: &Head, record: &Record, medium: &Path) -> std::io::Result<bool> {
    let sequence = head.sequence;
    let file = |name: FileName| medium.join(name.to_string());
    let head_file = file(FileName::Head(sequence));
    if head_file.exists() {
        // Somebody else's by now, or this sequence's: then whoever is told so must find it tomorrow too.
        durable::sync_directory(medium)?;
        return Ok(false);
    }
    let complete = is_written(head, record, medium);
    let courtesy = [file(FileName::Transfer(sequence)), file(FileName::Sums(sequence))];
    let parts = (0..).zip(&head.parts).map(|(number, _)| file(FileName::Part(sequence, number)));
    let others = [file(FileName::Index(sequence)), file(FileName::Seal(sequence))];
    let others: Vec<PathBuf> = others.into_iter().chain(parts).chain(courtesy).collect();
    if complete {
        durable::sync_file(&durable::partial(&head_file))?;
    }
    for path in &others {
        let (named, partial) = (path.exists(), durable::partial(path).exists());
        if complete && partial {
            // A run that was killed may not have come to sync it.
            durable::sync_file(&durable::partial(path))?;
            fs_err::rename(durable::partial(path), path)?;
        } else if !complete && named && !partial {
            fs_err::rename(path, durable::partial(path))?;
        }
    }
    durable::sync_directory(medium)?;
    if complete {
        durable::publish(&head_file)?;
    }
    Ok(complete)
}

/// Whether everything of a sequence is on a medium, the head under its partial name.
pub fn is_written(head: &Head, record: &Record, medium: &Path) -> bool {
    let sequence = head.sequence;
    let file = |name: FileName| medium.join(name.to_string());
    let either = |name: FileName, holds: &dyn Fn(&Path) -> bool| {
        let path = file(name);
        holds(&path) || holds(&durable::partial(&path))
    };
    let mut parts = (0..).zip(&head.parts);
    holds(&durable::partial(&file(FileName::Head(sequence))), &record.head)
        && either(FileName::Index(sequence), &|path| holds(path, &record.index))
        && either(FileName::Seal(sequence), &|path| holds(path, &record.seal))
        && parts.all(|(number, part)| {
            either(FileName::Part(sequence, number), &|path| holds_part(path, part))
        })
}

/// Whether a file has this content. By its length alone, one that a loss of power has left as zeros would do.
fn holds(path: &Path, content: &[u8]) -> bool {
    let found = durable::read(path, content.len() as u64);
    found.is_ok_and(|found| found.as_deref() == Some(content))
}

/// Whether a file is a part that was finished: its table is written last, and all of it synced before anything else of the
/// sequence is written.
fn holds_part(path: &Path, part: &Part) -> bool {
    let table = PartLayout { bytes: part.bytes }.data_offset().unwrap_or(part.bytes);
    let long = fs_err::metadata(path).is_ok_and(|found| found.len() == part.bytes);
    let digest = || -> std::io::Result<Digest> {
        let mut table = fs_err::File::open(path)?.take(table);
        let (mut hash, mut buffer) = (Hasher::new(), vec![0; 64 << 10]);
        loop {
            match table.read(&mut buffer)? {
                0 => return Ok(hash.finish()),
                read => hash.update(&buffer[..read]),
            }
        }
    };
    long && digest().is_ok_and(|found| found == part.table)
}

/// The lines of `SHA256SUMS`, for people who have `sha256sum` and nothing else.
fn sums_of(record: &Record, parts: usize, medium: &Path) -> std::io::Result<Vec<u8>> {
    let sequence = record.sequence;
    let mut lines = vec![
        (FileName::Index(sequence).to_string(), Digest::of(&record.index)),
        (FileName::Head(sequence).to_string(), Digest::of(&record.head)),
        (FileName::Seal(sequence).to_string(), Digest::of(&record.seal)),
    ];
    let mut buffer = vec![0; 1 << 20];
    for number in 0..parts {
        let name = FileName::Part(sequence, u32::try_from(number).expect("bounded by PARTS_MAX"));
        let mut file = fs_err::File::open(durable::partial(&medium.join(name.to_string())))?;
        let mut hash = Hasher::new();
        loop {
            match file.read(&mut buffer)? {
                0 => break,
                read => hash.update(&buffer[..read]),
            }
        }
        lines.push((name.to_string(), hash.finish()));
    }
    let lines = lines.iter().map(|(name, digest)| format!("{}  {name}\n", digest.hex()));
    Ok(lines.collect::<String>().into_bytes())
}

/// As many of the failures as a head has room for, and for each class how many more there are.
pub(crate) fn told(failures: &[Failure]) -> Vec<Failure> {
    let mut bytes = 0;
    let fits = |failure: &&Failure| {
        // Quotes and backslashes take two bytes.
        bytes += 2 * (failure.reference.len() + failure.reason.len());
        bytes <= FAILURES_BYTES
    };
    let count = failures.iter().take(FAILURES).take_while(fits).count();
    let (told, rest) = failures.split_at(count);
    let mut told = told.to_vec();
    use ContentClass::{Additional, Helm, Operator, Release};
    for class in [Release, Operator, Additional, Helm] {
        let mut more = rest.iter().filter(|failure| failure.class == class);
        if let Some(Failure { reference, .. }) = more.next() {
            let reason = format!("not had either, nor {} others of its kind", more.count());
            told.push(Failure { reference: reference.clone(), class, reason });
        }
    }
    told
}

fn head(plan: &Plan, tables: &[Digest], statement: Statement, index: IndexEntry) -> Head {
    let sequence = plan.index.sequence;
    let parts = plan
        .parts
        .iter()
        .zip(tables)
        .enumerate()
        .map(|(number, (layout, table))| {
            let number = u32::try_from(number).expect("bounded by PARTS_MAX");
            let name = FileName::Part(sequence, number).to_string();
            Part { name, bytes: layout.bytes, table: *table }
        })
        .collect();
    Head {
        type_: HEAD_TYPE.to_owned(),
        format_version: FORMAT_VERSION,
        crit: Vec::new(),
        stream: plan.index.stream,
        sequence,
        kind: statement.kind,
        previous: statement.tail.first().copied(),
        tail: statement.tail,
        base: statement.base,
        created: statement.created,
        tool: Tool { name: "bundle".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() },
        cell_bytes: CELL as u64,
        parts,
        index,
        totals: totals(plan),
        failures: statement.failures,
        labels: statement.labels,
        expires: statement.expires,
        next_expected: statement.next_expected,
    }
}

/// The counts of a plan.
pub fn totals(plan: &Plan) -> Totals {
    Totals {
        references: plan.index.references.len() as u64,
        manifests: plan.index.manifests.len() as u64,
        blobs: plan.index.blobs.len() as u64,
        bytes: plan.bytes(),
        required: plan.index.required.len() as u64,
        removals: plan.index.removals.len() as u64,
    }
}

/// Refuses a directory that holds files under the names of this sequence, or sequences of another stream:
/// archives are never overwritten, and on the other side one of two streams would keep the other out.
pub fn refuse_occupied(
    medium: &Path,
    stream: StreamId,
    sequence: Sequence,
) -> Result<(), CreateError> {
    let list = fs_err::read_dir(medium).map_err(CreateError::file("list the directory"))?;
    for entry in list {
        let entry = entry.map_err(CreateError::file("list the directory"))?;
        let name = entry.file_name();
        let Some(found) = name.to_str().and_then(|name| name.parse::<FileName>().ok()) else {
            continue;
        };
        let directory = medium.to_owned();
        if found.sequence() == sequence {
            let file = found.to_string();
            return Err(CreateError::Occupied { directory, sequence, file });
        }
        // One that cannot be read is no reason: whoever imports will be told.
        let head = matches!(found, FileName::Head(_))
            .then(|| durable::read(&entry.path(), HEAD_MAX).ok().flatten())
            .flatten()
            .and_then(|head| Head::parse(&head).ok());
        if let Some(head) = head.filter(|head| head.stream != stream) {
            let (sequence, other) = (head.sequence, head.stream);
            return Err(CreateError::OtherStream { directory, sequence, other, stream });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_tells_as_many_failures_as_it_has_room_for() {
        let failure = |class, length| Failure {
            reference: "\"".repeat(length),
            class,
            reason: "\\".repeat(length),
        };
        let few = vec![failure(ContentClass::Helm, 4096); 100];
        assert_eq!(told(&few), few);
        for length in [10, 4096] {
            let mut many = vec![failure(ContentClass::Operator, length); 120_000];
            many.push(failure(ContentClass::Helm, length));
            let told = told(&many);
            let [.., operators, helm] = &told[..] else { panic!() };
            assert_eq!((operators.class, helm.class), (ContentClass::Operator, ContentClass::Helm));
            let left = 120_000 - (told.len() - 2);
            assert!(operators.reason.contains(&format!(" {} others", left - 1)), "{operators:?}");
            let bytes = serde_json::to_vec_pretty(&told).unwrap().len();
            assert!(bytes < 10 * 1024 * 1024, "{bytes}");
        }
    }
}
