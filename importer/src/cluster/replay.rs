//! Which images stand at a target, from what its sequences said in their order.
//!
//! In: for each stream its sequences, ascending: the names they set and removed. Out: every image that stands, with its
//! names at both ends. What must hold: a `full` sequence says everything anew; a removed name is gone; of a name the last
//! word counts. What is attached to images (signatures, referrers) is left out: it is found beside its image.

use std::collections::BTreeMap;

use format_spec::head::{ContentClass, Kind};
use format_spec::index::{ReferenceEntry, Removal};
use format_spec::{Digest, Repository, StreamId, Tag};
use registry::reference::Reference;

use super::records::Follow;

/// An image that stands at the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Image {
    /// Its repository, below the target's namespace.
    pub(crate) repository: Repository,
    /// Its tag there.
    pub(crate) tag: Tag,
    /// Its manifest.
    pub(crate) digest: Digest,
    /// Where it came from, as its sequence says.
    pub(crate) source: String,
    /// The class of content that it belongs to.
    pub(crate) class: ContentClass,
}

/// The names of one stream, while its sequences pass.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    names: BTreeMap<(Repository, Tag), (Digest, String, ContentClass)>,
}

impl Follow for Replay {
    fn begin(&mut self, kind: Kind, failed: bool) {
        if kind == Kind::Full && !failed {
            self.names.clear();
        }
    }

    fn carry(&mut self, _: &Repository, _: (Digest, bool)) {}

    fn set(&mut self, repository: &Repository, entry: ReferenceEntry) {
        // What is only reached by digest is attached to an image; every image has a tag at the target.
        if let Some(tag) = entry.tag
            && !is_attached(&entry.source)
        {
            let name = (repository.clone(), tag);
            self.names.insert(name, (entry.digest, entry.source, entry.class));
        }
    }

    fn remove(&mut self, repository: &Repository, removal: Removal) {
        if let Some(tag) = removal.tag {
            self.names.remove(&(repository.clone(), tag));
        }
    }
}

impl Replay {
    /// What stands after the last sequence.
    pub(crate) fn end(self) -> impl Iterator<Item = Image> {
        self.names.into_iter().map(|((repository, tag), (digest, source, class))| Image {
            repository,
            tag,
            digest,
            source,
            class,
        })
    }
}

/// Whether a source is a signature, an attestation or a list of referrers by its tag: `sha256-<hex>`, with a suffix or
/// without.
fn is_attached(source: &str) -> bool {
    let Ok(Reference { tag: Some(tag), digest: None, .. }) = source.parse() else { return false };
    let Some(rest) = tag.as_str().strip_prefix("sha256-") else { return false };
    let (hex, suffix) = rest.split_at_checked(64).unwrap_or((rest, "?"));
    let hex = hex.len() == 64 && hex.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'));
    hex && matches!(suffix, "" | ".sig" | ".att" | ".sbom")
}

/// All of it together: images of every stream, and where the last sequence of each stands.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    /// The images, by stream and name.
    pub(crate) images: Vec<Image>,
    /// What the last sequence of each stream states.
    pub(crate) resources: Vec<format_spec::index::Resource>,
    /// The last sequence of each stream.
    pub(crate) last: BTreeMap<StreamId, format_spec::Sequence>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(replay: &mut Replay, repository: &str, tag: Option<&str>, source: &str) {
        let entry = ReferenceEntry {
            repository: 0,
            tag: tag.map(|tag| tag.parse().unwrap()),
            digest: Digest::of(source.as_bytes()),
            source: source.to_owned(),
            class: ContentClass::Additional,
        };
        replay.set(&repository.parse().unwrap(), entry);
    }

    fn sources(replay: Replay) -> Vec<String> {
        replay.end().map(|image| image.source).collect()
    }

    #[test]
    fn the_last_word_counts_and_removals_are_gone() {
        let mut replay = Replay::default();
        replay.begin(Kind::Full, false);
        set(&mut replay, "a/b", Some("1"), "q.io/a/b:1");
        set(&mut replay, "a/c", Some("1"), "q.io/a/c:1");
        replay.begin(Kind::Incremental, false);
        set(&mut replay, "a/b", Some("1"), "r.io/a/b:1");
        let gone =
            Removal { repository: 0, tag: Some("1".parse().unwrap()), digest: Digest::of(b"") };
        replay.remove(&"a/c".parse().unwrap(), gone);
        set(&mut replay, "a/d", Some("1"), "q.io/a/d:1");
        assert_eq!(sources(replay), ["r.io/a/b:1", "q.io/a/d:1"]);
    }

    #[test]
    fn a_full_sequence_says_everything_anew() {
        let mut replay = Replay::default();
        set(&mut replay, "a/b", Some("1"), "q.io/a/b:1");
        replay.begin(Kind::Full, false);
        set(&mut replay, "a/c", Some("1"), "q.io/a/c:1");
        assert_eq!(sources(replay), ["q.io/a/c:1"]);
    }

    #[test]
    fn what_a_full_sequence_could_not_have_stays() {
        let mut replay = Replay::default();
        set(&mut replay, "a/b", Some("1"), "q.io/a/b:1");
        replay.begin(Kind::Full, true);
        set(&mut replay, "a/c", Some("1"), "q.io/a/c:1");
        assert_eq!(sources(replay), ["q.io/a/b:1", "q.io/a/c:1"]);
    }

    #[test]
    fn what_is_attached_is_no_image() {
        let hex = "ab".repeat(32);
        let mut replay = Replay::default();
        set(&mut replay, "a/b", None, &format!("q.io/a/b@sha256:{hex}"));
        for suffix in ["", ".sig", ".att", ".sbom"] {
            let tag = format!("sha256-{hex}{suffix}");
            set(&mut replay, "a/b", Some(&tag), &format!("q.io/a/b:{tag}"));
        }
        // Named by its digest, so that is its tag at the target.
        set(&mut replay, "a/b", Some(&format!("sha256-{hex}")), &format!("q.io/a/b@sha256:{hex}"));
        let odd = format!("sha256-{hex}.other");
        set(&mut replay, "a/b", Some(&odd), &format!("q.io/a/b:{odd}"));
        assert_eq!(replay.end().count(), 2);
    }
}
