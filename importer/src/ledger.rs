//! Where a target stands in each stream it follows.
//!
//! In and out: one [`Record`] for each stream, kept twice: as an artifact in the target, where every
//! importer finds it, and as a file in the workspace, so that a target that was set back is noticed.
//! The newer one wins: first by how often persons set the stream back at the target, then by the sequence, so that
//! a copy from before a rollback does not undo it; two different digests under one sequence are a fork. A record is
//! written only after everything that it speaks of is at the target (invariant 3: state follows data).

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use format_spec::head::{Head, Link};
use format_spec::{Digest, Sequence, StreamId, Tag, json};
use registry::record::{STREAM_PREFIX as PREFIX, sequence_of};
use serde::{Deserialize, Serialize};

use crate::artifact::{self, unusable};
use crate::error::ImportError;
use crate::limits::{QUESTIONS, READ_BACKS, RECORD_MAX, ROLLBACKS_TOLD, STREAMS_MAX};
use crate::paths::Destination;
use crate::rollback::RollbackError;
use crate::survey::ask;
use crate::{deleted, durable};

/// The type of a record, in it and at the target.
const KIND: &str = "application/vnd.bundle.ledger.v1+json";

/// Where a target stands in one stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    #[serde(rename = "type")]
    kind: String,
    /// The stream.
    pub(crate) stream: StreamId,
    /// The last sequence that is wholly there.
    pub(crate) sequence: Sequence,
    /// The digest of its head.
    pub(crate) digest: Digest,
    /// When it was imported, RFC 3339. For people.
    time: String,
    /// The program that imported it.
    tool: String,
    /// The sequences before it, as its head names them.
    pub(crate) tail: Vec<Link>,
    /// Path components that repositories were given at the target; 0 for any number.
    #[serde(default, rename = "maxNestedPaths", skip_serializing_if = "Option::is_none")]
    nested: Option<usize>,
    /// Grows with the begin and the end of each rollback, and never by an import: of two records the one with more of
    /// them is the newer, whatever their sequences.
    #[serde(default, skip_serializing_if = "is_none")]
    decisions: u64,
    /// The rollbacks, the last one first; of many the last ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    rollbacks: Vec<Rollback>,
}

/// A person set the stream back at the target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Rollback {
    /// Where the stream stood.
    pub(crate) from: Link,
    /// Where it stands since.
    pub(crate) to: Link,
    /// The furthest that it ever stood before, so that what those sequences brought is not forgotten.
    pub(crate) reached: Link,
    /// When, RFC 3339. For people.
    time: String,
    /// It was begun: tags may be those of either state.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    unfinished: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_none(number: &u64) -> bool {
    *number == 0
}

impl Record {
    /// The record after the import of a sequence.
    pub(crate) fn new(head: &Head, digest: Digest, nested: usize, time: String) -> Self {
        Self {
            kind: KIND.to_owned(),
            stream: head.stream,
            sequence: head.sequence,
            digest,
            time,
            tool: crate::TOOL.to_owned(),
            tail: head.tail.clone(),
            nested: Some(nested),
            decisions: 0,
            rollbacks: Vec::new(),
        }
    }

    /// The same after an earlier record of the stream.
    pub(crate) fn after(self, earlier: Option<&Self>) -> Self {
        let Some(earlier) = earlier else { return self };
        Self { decisions: earlier.decisions, rollbacks: earlier.rollbacks.clone(), ..self }
    }

    /// A rollback begins: the stream stands where it stood until it has ended. `decisions`: those of every other copy.
    pub(crate) fn begin(&self, to: Link, decisions: u64, time: String) -> Self {
        let mut begun = self.clone();
        let (from, reached) = (self.last(), self.reached());
        begun.rollbacks.retain(|rollback| !rollback.unfinished);
        let rollback = Rollback { from, to, reached, time: time.clone(), unfinished: true };
        begun.rollbacks.insert(0, rollback);
        begun.rollbacks.truncate(ROLLBACKS_TOLD);
        let decisions = self.decisions.max(decisions).saturating_add(1);
        Self { decisions, time, tool: crate::TOOL.to_owned(), ..begun }
    }

    /// It has ended. `tail`: the sequences before the one that it stands at now.
    pub(crate) fn end(&self, tail: Vec<Link>) -> Self {
        let mut ended = self.clone();
        if let Some(rollback) = ended.rollbacks.first_mut() {
            rollback.unfinished = false;
            (ended.sequence, ended.digest) = (rollback.to.sequence, rollback.to.digest);
            ended.tail = tail;
            ended.decisions = ended.decisions.saturating_add(1);
        }
        ended
    }

    /// The rollback that was begun and has not ended.
    pub(crate) fn unfinished(&self) -> Option<&Rollback> {
        self.rollbacks.first().filter(|rollback| rollback.unfinished)
    }

    /// The furthest that the stream ever stood here, as far as is known.
    pub(crate) fn reached(&self) -> Link {
        let before = self.rollbacks.first().map(|rollback| rollback.reached);
        before.filter(|before| before.sequence > self.sequence).unwrap_or_else(|| self.last())
    }

    /// How often somebody decided over it.
    pub(crate) fn decisions(&self) -> u64 {
        self.decisions
    }

    /// Whether it holds over `other`, of the same stream.
    pub(crate) fn is_newer(&self, other: &Self) -> bool {
        (self.decisions, self.sequence) > (other.decisions, other.sequence)
    }

    /// The position in the stream.
    pub(crate) fn last(&self) -> Link {
        Link { sequence: self.sequence, digest: self.digest }
    }

    /// Whether both speak of one position, whoever wrote them, and when.
    pub(crate) fn agrees(&self, other: &Self) -> bool {
        let position = |record: &Self| (record.stream, record.last(), record.decisions);
        position(self) == position(other)
    }

    /// The most path components of repositories of its stream at the target; `asked` when it does not say.
    pub(crate) fn nested(&self, asked: usize) -> usize {
        self.nested.unwrap_or(asked)
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).expect("only text keys");
        bytes.push(b'\n');
        bytes
    }

    pub(crate) fn parse(bytes: &[u8], stream: StreamId) -> Result<Self, String> {
        let record: Self = json::parse(bytes).map_err(|error| error.to_string())?;
        if record.kind != KIND {
            return Err(format!("it is a `{}`", record.kind.chars().take(100).collect::<String>()));
        }
        if record.stream != stream {
            return Err(format!("it speaks of stream {}", record.stream));
        }
        Ok(record)
    }
}

fn tag(stream: StreamId) -> Tag {
    format!("{PREFIX}{stream}").parse().expect("a tag by construction")
}

/// The records in the workspace. A directory that is not there has none.
pub(crate) fn read_local(directory: &Path) -> Result<Vec<Record>, ImportError> {
    let fail = |path: &Path, problem: String| ImportError::Record {
        place: path.display().to_string(),
        problem,
    };
    let unreadable = |path: &Path, source| ImportError::State { path: path.to_owned(), source };
    let entries = match fs_err::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(directory, error)),
    };
    let mut records = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| unreadable(directory, error))?;
        let path = entry.path();
        let name = entry.file_name();
        let stream = name
            .to_str()
            .and_then(|name| name.strip_prefix(PREFIX)?.strip_suffix(".json")?.parse().ok());
        let Some(stream) = stream else { continue };
        let size = entry.metadata().map_err(|error| unreadable(&path, error))?.len();
        if size > RECORD_MAX || records.len() == STREAMS_MAX {
            return Err(fail(&path, format!("{size} bytes, or too many records")));
        }
        let bytes = fs_err::read(&path).map_err(|error| unreadable(&path, error))?;
        records.push(Record::parse(&bytes, stream).map_err(|problem| fail(&path, problem))?);
    }
    Ok(records)
}

/// Writes a record into the workspace.
pub(crate) fn write_local(directory: &Path, record: &Record) -> Result<PathBuf, ImportError> {
    durable::directory(directory)?;
    let path = directory.join(format!("{PREFIX}{}.json", record.stream));
    durable::write(&path, &record.to_bytes())?;
    Ok(path)
}

/// What stands in the target.
#[derive(Debug, Default)]
pub(crate) struct Remote {
    /// The records of streams.
    pub(crate) records: Vec<Record>,
    /// The sequences that have a record.
    pub(crate) sequences: HashSet<(StreamId, Sequence)>,
    /// What persons deleted there.
    pub(crate) deleted: deleted::ByStream,
}

impl Remote {
    /// Whether there is a tag for the record of this sequence.
    pub(crate) fn names(&self, stream: StreamId, sequence: Sequence) -> bool {
        self.sequences.contains(&(stream, sequence))
    }

    /// The sequences of a stream that have a tag for their record, ascending.
    pub(crate) fn of_stream(&self, stream: StreamId) -> Vec<Sequence> {
        let of_stream = self.sequences.iter().filter(|(of, _)| *of == stream);
        let mut there: Vec<Sequence> = of_stream.map(|(_, one)| *one).collect();
        there.sort_unstable();
        there
    }

    /// Whether the target says so itself that it took this sequence, and what it brought.
    pub(crate) fn has(&self, record: &Record) -> bool {
        self.sequences.contains(&(record.stream, record.sequence))
            && self.records.iter().any(|theirs| theirs.agrees(record))
    }
}

/// The records in the target.
pub(crate) async fn read_remote(at: &Destination) -> Result<Remote, ImportError> {
    let tags = at.client.list_tags(at.host(), &at.ledger).await?.unwrap_or_default();
    if !tags.is_empty() {
        at.saw(&at.ledger);
    }
    let streams: Vec<StreamId> =
        tags.iter().filter_map(|tag| tag.as_str().strip_prefix(PREFIX)?.parse().ok()).collect();
    if streams.len() > STREAMS_MAX {
        return Err(ImportError::TooMany { what: "streams at the target", limit: STREAMS_MAX });
    }
    let records = ask(streams, QUESTIONS, |stream| Box::pin(read_one(at, stream))).await?;
    let mut records: Vec<Record> = records.into_iter().flatten().collect();
    records.sort_by_key(|record| record.stream);
    let sequences = tags.iter().filter_map(|tag| sequence_of(tag.as_str())).collect();
    let deleted = deleted::read(at, &tags).await?;
    Ok(Remote { records, sequences, deleted })
}

async fn read_one(at: &Destination, stream: StreamId) -> Result<Option<Record>, ImportError> {
    let tag = tag(stream);
    let Some(manifest) = artifact::get(at, &tag).await? else { return Ok(None) };
    let Some(bytes) = artifact::content(at, &tag, &manifest, RECORD_MAX).await? else {
        tracing::warn!("the target has lost the content of its record `{tag}`: it counts as none");
        return Ok(None);
    };
    Record::parse(&bytes, stream).map(Some).map_err(|problem| unusable(at, &tag, problem))
}

/// Brings the bytes of a record to the target, where nothing names them yet.
pub(crate) async fn send_ahead(at: &Destination, record: &Record) -> Result<(), ImportError> {
    artifact::blob_there(at, Bytes::from(record.to_bytes())).await
}

/// Writes a record into the target.
pub(crate) async fn write_remote(at: &Destination, record: &Record) -> Result<(), ImportError> {
    let bytes = Bytes::from(record.to_bytes());
    let tag = tag(record.stream);
    artifact::put(at, &tag, KIND, Some(bytes), &[]).await?;
    // An answer of 201 is a promise; what the next import goes by must be there.
    for pause in READ_BACKS {
        tokio::time::sleep(pause).await;
        if read_one(at, record.stream).await?.as_ref() == Some(record) {
            return Ok(());
        }
    }
    Err(ImportError::Lost(format!("{}/{}:{tag}", at.host(), at.ledger)))
}

/// Refuses to give repositories of these streams other names than they have at the target: half of the mirror would be
/// under one name and half under another.
pub(crate) fn same_names(
    records: &[Record],
    mut streams: impl Iterator<Item = StreamId>,
    asked: usize,
) -> Result<(), ImportError> {
    let other = |stream: &StreamId| {
        let record = records.iter().find(|record| record.stream == *stream)?;
        record.nested.filter(|stands| *stands != asked)
    };
    match streams.find_map(|stream| Some((stream, other(&stream)?))) {
        Some((stream, stands)) => Err(ImportError::Nested { stream, stands, asked }),
        None => Ok(()),
    }
}

/// Refuses where a rollback was begun and has not ended.
pub(crate) fn finished(at: &Destination, records: &[Record]) -> Result<(), ImportError> {
    match records.iter().find_map(|record| Some((record.stream, record.unfinished()?))) {
        Some((stream, rollback)) => {
            let (target, to) = (at.target.to_string(), rollback.to.sequence);
            Err(RollbackError::Unfinished { target, stream, to }.into())
        }
        None => Ok(()),
    }
}

/// The records of a workspace with those in which the target was set back since it wrote them; `None` where none was.
pub(crate) fn overruled(local: &[Record], remote: &[Record]) -> Option<Vec<Record>> {
    let over = |mine: &Record| {
        let theirs = remote.iter().find(|theirs| theirs.stream == mine.stream)?;
        (theirs.decisions > mine.decisions).then_some(theirs)
    };
    local
        .iter()
        .any(|mine| over(mine).is_some())
        .then(|| local.iter().map(|mine| over(mine).unwrap_or(mine).clone()).collect())
}

/// The records that hold: of two about one stream the newer. What does not agree is told.
pub(crate) fn merge(
    local: &[Record],
    remote: &[Record],
) -> Result<(Vec<Record>, Vec<String>), ImportError> {
    let mut merged: BTreeMap<StreamId, Record> =
        remote.iter().map(|record| (record.stream, record.clone())).collect();
    let mut warnings = Vec::new();
    for mine in local {
        let theirs = merged.get(&mine.stream);
        match theirs {
            Some(theirs) if theirs.agrees(mine) => {}
            // Somebody set it back since, over what this workspace saw.
            Some(theirs) if theirs.decisions > mine.decisions => {}
            // The target is one from before a rollback: its names are of another state than either record.
            Some(theirs) if theirs.decisions < mine.decisions => {
                let to = mine.rollbacks.first().map_or(mine.sequence, |last| last.to.sequence);
                let (stream, stands) = (mine.stream, theirs.sequence);
                return Err(RollbackError::Undone { stream, stands, to }.into());
            }
            Some(theirs) if theirs.sequence == mine.sequence => {
                return Err(ImportError::LedgerFork {
                    stream: mine.stream,
                    sequence: mine.sequence,
                    local: mine.digest,
                    remote: theirs.digest,
                });
            }
            // Another importer went on.
            Some(theirs) if theirs.sequence > mine.sequence => {}
            _ => {
                let at =
                    theirs.map_or("nothing".to_owned(), |r| format!("sequence {}", r.sequence));
                warnings.push(format!(
                    "the target records {at} of stream {}, this workspace records sequence {}: the \
                     target was set back or replaced",
                    mine.stream, mine.sequence
                ));
                merged.insert(mine.stream, mine.clone());
            }
        }
    }
    Ok((merged.into_values().collect(), warnings))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(stream: u8, sequence: u64, text: &str) -> Record {
        Record {
            kind: KIND.to_owned(),
            stream: StreamId::from_bytes([stream; 16]),
            sequence: Sequence::new(sequence).unwrap(),
            digest: Digest::of(text.as_bytes()),
            time: "2026-01-01T00:00:00Z".to_owned(),
            tool: "test".to_owned(),
            tail: Vec::new(),
            nested: None,
            decisions: 0,
            rollbacks: Vec::new(),
        }
    }

    #[test]
    fn a_rollback_holds_over_both_copies() {
        let (old, now) = (record(1, 5, "e"), "2026-01-02T00:00:00Z".to_owned());
        let to = record(1, 3, "c").last();
        let begun = old.begin(to, 0, now.clone());
        assert_eq!((begun.last(), begun.decisions), (old.last(), 1));
        assert!(begun.unfinished().is_some() && begun.is_newer(&old));
        let ended = begun.end(vec![record(1, 2, "b").last()]);
        assert_eq!((ended.last(), ended.reached()), (to, old.last()));
        assert!(ended.unfinished().is_none() && ended.is_newer(&begun));
        assert_eq!(Record::parse(&ended.to_bytes(), ended.stream).unwrap(), ended);
        // A copy of the workspace that has not heard of it does not undo it, and is no disagreement.
        let (merged, told) =
            merge(std::slice::from_ref(&old), std::slice::from_ref(&ended)).unwrap();
        assert_eq!((merged, told.len()), (vec![ended.clone()], 0));
        let known = overruled(std::slice::from_ref(&old), std::slice::from_ref(&ended));
        assert_eq!(known, Some(vec![ended.clone()]));
        assert_eq!(overruled(std::slice::from_ref(&ended), std::slice::from_ref(&old)), None);
        // What follows keeps it.
        let next = record(1, 4, "d").after(Some(&ended));
        assert!(next.is_newer(&ended) && next.is_newer(&old) && next.reached() == old.last());
        assert_eq!(record(1, 6, "f").after(Some(&next)).reached().sequence.get(), 6);
        // A target from before it is neither.
        let before = merge(std::slice::from_ref(&next), std::slice::from_ref(&old));
        assert!(matches!(before, Err(ImportError::Rollback(RollbackError::Undone { .. }))));
        // Another one before that has ended, and a further one.
        let other = begun.begin(record(1, 2, "b").last(), 7, now.clone());
        assert_eq!((other.rollbacks.len(), other.decisions), (1, 8));
        let again = ended.begin(record(1, 2, "b").last(), 0, now);
        assert_eq!((again.rollbacks.len(), again.reached()), (2, old.last()));
    }

    #[test]
    fn other_names_are_refused() {
        let stream = StreamId::from_bytes([1; 16]);
        let with = |nested| [Record { nested, ..record(1, 2, "x") }];
        for (nested, asked, same) in
            [(None, 2, true), (Some(2), 2, true), (Some(0), 2, false), (Some(2), 0, false)]
        {
            assert_eq!(same_names(&with(nested), [stream].into_iter(), asked).is_ok(), same);
            assert!(same_names(&with(nested), std::iter::empty(), asked).is_ok());
        }
    }

    #[test]
    fn the_newer_one_wins() {
        let (merged, warnings) = merge(&[record(1, 2, "b")], &[record(1, 3, "c")]).unwrap();
        assert_eq!((merged[0].sequence.get(), warnings.len()), (3, 0));
        let (merged, warnings) = merge(&[record(1, 3, "c")], &[record(1, 2, "b")]).unwrap();
        assert_eq!((merged[0].sequence.get(), warnings.len()), (3, 1));
        let (merged, warnings) = merge(&[record(1, 3, "c")], &[record(2, 2, "b")]).unwrap();
        assert_eq!((merged.len(), warnings.len()), (2, 1));
        assert!(matches!(
            merge(&[record(1, 3, "c")], &[record(1, 3, "x")]),
            Err(ImportError::LedgerFork { .. })
        ));
    }

    proptest::proptest! {
        #[test]
        fn foreign_bytes_are_no_record(text in r#"[{}\[\]":,a-z0-9]{0,200}"#) {
            let stream = StreamId::from_bytes([1; 16]);
            proptest::prop_assert!(Record::parse(text.as_bytes(), stream).is_err());
            let good = record(1, 2, "x").to_bytes();
            proptest::prop_assert!(Record::parse(&good, stream).is_ok());
            let cut = text.len().min(good.len() - 2);
            proptest::prop_assert!(Record::parse(&good[..cut], stream).is_err());
        }
    }

    #[test]
    fn records_round_trip_through_the_workspace() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a/b");
        assert!(read_local(&path).unwrap().is_empty());
        let written = record(4, 9, "x");
        write_local(&path, &written).unwrap();
        write_local(&path, &written).unwrap();
        fs_err::write(path.join("receipt.json"), "{}").unwrap();
        assert_eq!(read_local(&path).unwrap(), [written]);
        let odd = path.join(format!("stream-{}.json", StreamId::from_bytes([5; 16])));
        fs_err::write(odd, "{}").unwrap();
        assert!(matches!(read_local(&path), Err(ImportError::Record { .. })));
    }
}
