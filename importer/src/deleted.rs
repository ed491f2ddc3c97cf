//! Which names persons deleted at a target, and when: a record for each stream, beside the record of where it stands.
//!
//! In and out: an artifact at the target, `deleted-<stream>`. It says after which sequence a name was deleted, so what stands
//! follows from the sequences and these names between them (`cluster::records::replay`). What must hold: the record is written before
//! anything is removed, so that a run that is stopped leaves no name that stands and is not there.

use std::collections::BTreeMap;

use bytes::Bytes;
use format_spec::index::Removal;
use format_spec::{Digest, Repository, Sequence, StreamId, Tag, json};
use registry::reference::ManifestRef;
use serde::{Deserialize, Serialize};

use crate::artifact::{self, unusable};
use crate::error::ImportError;
use crate::limits::{DELETED_MAX, QUESTIONS, READ_BACKS};
use crate::paths::Destination;
use crate::survey::ask;

/// The type of a record, in it and at the target.
const KIND: &str = "application/vnd.bundle.deleted.v1+json";

const PREFIX: &str = "deleted-";

/// The records of a target, by stream.
pub(crate) type ByStream = BTreeMap<StreamId, Deleted>;

/// What was deleted of one stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Deleted {
    #[serde(rename = "type")]
    kind: String,
    /// The stream.
    stream: StreamId,
    /// When it was last changed, RFC 3339. For people.
    time: String,
    /// The program that changed it.
    tool: String,
    /// The names, by the sequences after which they were deleted.
    names: Vec<Name>,
}

/// A name that was deleted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Name {
    /// Where the stream stood.
    pub(crate) after: Sequence,
    /// The repository as the sequences call it, below the target's namespace.
    pub(crate) repository: Repository,
    /// Its tag; of what is attached to an image and has none, nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tag: Option<Tag>,
    /// What it stood for.
    pub(crate) digest: Digest,
    /// What it was attached to, where it went because of that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) subject: Option<Digest>,
}

impl Name {
    /// The name within its repository.
    pub(crate) fn name(&self) -> ManifestRef {
        self.tag.clone().map_or(ManifestRef::Digest(self.digest), ManifestRef::Tag)
    }

    /// The same as a sequence would say it.
    pub(crate) fn removal(&self) -> Removal {
        Removal { repository: 0, tag: self.tag.clone(), digest: self.digest }
    }
}

/// The names of a stream, in the same order.
pub(crate) fn of(all: &ByStream, stream: StreamId) -> &[Name] {
    all.get(&stream).map_or(&[], Deleted::names)
}

impl Deleted {
    /// The names, ascending by the sequences after which they were deleted.
    pub(crate) fn names(&self) -> &[Name] {
        &self.names
    }

    /// The record with further names.
    pub(crate) fn with(earlier: Option<&Self>, stream: StreamId, more: Vec<Name>) -> Self {
        let mut names = earlier.map(|earlier| earlier.names.clone()).unwrap_or_default();
        names.extend(more);
        Self::new(stream, names)
    }

    /// The record without what was deleted after this sequence or a later one.
    pub(crate) fn until(&self, sequence: Sequence) -> Self {
        let before = self.names.iter().filter(|name| name.after < sequence);
        Self::new(self.stream, before.cloned().collect())
    }

    fn new(stream: StreamId, mut names: Vec<Name>) -> Self {
        names.sort_unstable();
        names.dedup();
        let (kind, tool) = (KIND.to_owned(), crate::TOOL.to_owned());
        Self { kind, stream, time: crate::now(), tool, names }
    }

    fn parse(bytes: &[u8], stream: StreamId) -> Result<Self, String> {
        let mut deleted: Self = json::parse(bytes).map_err(|error| error.to_string())?;
        if deleted.kind != KIND {
            return Err(format!(
                "it is a `{}`",
                deleted.kind.chars().take(100).collect::<String>()
            ));
        }
        if deleted.stream != stream {
            return Err(format!("it speaks of stream {}", deleted.stream));
        }
        deleted.names.sort_unstable();
        Ok(deleted)
    }
}

fn tag(stream: StreamId) -> Tag {
    format!("{PREFIX}{stream}").parse().expect("a tag by construction")
}

/// Reads those of which the tags are in the list.
pub(crate) async fn read(at: &Destination, tags: &[Tag]) -> Result<ByStream, ImportError> {
    let streams: Vec<StreamId> =
        tags.iter().filter_map(|tag| tag.as_str().strip_prefix(PREFIX)?.parse().ok()).collect();
    let found = ask(streams, QUESTIONS, |stream| Box::pin(read_one(at, stream))).await?;
    Ok(found.into_iter().flatten().map(|deleted| (deleted.stream, deleted)).collect())
}

async fn read_one(at: &Destination, stream: StreamId) -> Result<Option<Deleted>, ImportError> {
    let tag = tag(stream);
    let Some(manifest) = artifact::get(at, &tag).await? else { return Ok(None) };
    let Some(bytes) = artifact::content(at, &tag, &manifest, DELETED_MAX).await? else {
        tracing::warn!("the target has lost the content of its record `{tag}`: it counts as none");
        return Ok(None);
    };
    Deleted::parse(&bytes, stream).map(Some).map_err(|problem| unusable(at, &tag, problem))
}

/// Writes a record into the target, and reads it back.
pub(crate) async fn write(at: &Destination, deleted: &Deleted) -> Result<(), ImportError> {
    let mut bytes = serde_json::to_vec(deleted).expect("only text keys");
    bytes.push(b'\n');
    if bytes.len() as u64 > DELETED_MAX {
        let limit = usize::try_from(DELETED_MAX).unwrap_or(usize::MAX);
        return Err(ImportError::TooMany { what: "bytes in the record of deleted names", limit });
    }
    let tag = tag(deleted.stream);
    artifact::put(at, &tag, KIND, Some(Bytes::from(bytes)), &[]).await?;
    for pause in READ_BACKS {
        tokio::time::sleep(pause).await;
        if read_one(at, deleted.stream).await?.as_ref() == Some(deleted) {
            return Ok(());
        }
    }
    Err(ImportError::Lost(format!("{}/{}:{tag}", at.host(), at.ledger)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(after: u64, repository: &str, tag: &str) -> Name {
        Name {
            after: Sequence::new(after).unwrap(),
            repository: repository.parse().unwrap(),
            tag: Some(tag.parse().unwrap()),
            digest: Digest::of(tag.as_bytes()),
            subject: None,
        }
    }

    #[test]
    fn names_are_kept_once_and_in_the_order_of_sequences() {
        let stream = StreamId::from_bytes([1; 16]);
        let first = Deleted::with(None, stream, vec![name(3, "a", "x"), name(1, "b", "y")]);
        let second =
            Deleted::with(Some(&first), stream, vec![name(3, "a", "x"), name(2, "a", "z")]);
        let all = [name(1, "b", "y"), name(2, "a", "z"), name(3, "a", "x")];
        assert_eq!(second.names, all);
        let three = Sequence::new(3).unwrap();
        assert_eq!(second.until(three).names, all[..2]);
        let bytes = serde_json::to_vec(&second).unwrap();
        assert_eq!(Deleted::parse(&bytes, stream).unwrap(), second);
        let other = StreamId::from_bytes([2; 16]);
        assert!(Deleted::parse(&bytes, other).is_err());
        assert!(Deleted::parse(&bytes[..bytes.len() - 1], stream).is_err());
        assert_eq!(of(&[(stream, second)].into(), other), []);
    }

    #[test]
    fn a_large_record_is_read_again() {
        let stream = StreamId::from_bytes([1; 16]);
        let names = (0..20_000).map(|n| name(1, &format!("some/path/of/a/repository{n}"), "t"));
        let large = Deleted::with(None, stream, names.collect());
        let bytes = serde_json::to_vec(&large).unwrap();
        assert!((bytes.len() as u64) < DELETED_MAX, "{}", bytes.len());
        assert_eq!(Deleted::parse(&bytes, stream).unwrap(), large);
    }
}
