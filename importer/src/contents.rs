//! What is signed, and not what it is named: blobs that are hashed as the cells of their parts go by, and manifests
//! that need what is nowhere (SPEC 7, step 10). Only a faulty writer makes such a sequence; here it is found
//! before a registry finds it, behind the gap.
//!
//! In: proven bytes of the parts, in order. Out: faults. Memory is a hash for each blob that is not whole yet.

use std::collections::HashMap;

use format_spec::Digest;
use format_spec::hash::Hasher;
use format_spec::index::{Index, ManifestEntry};
use format_spec::limits::BLOCK;
use format_spec::part::Piece;
use registry::manifest::Manifest;

use crate::cells::Fault;
use crate::error::Problem;
use crate::unpack::{Content, Proven};

/// The blobs of a sequence, as they are read.
pub(crate) struct Contents<'a> {
    content: &'a Content,
    index: &'a Index,
    /// The blobs of which some was seen, and how much.
    open: HashMap<Digest, (Hasher, u64)>,
}

impl<'a> Contents<'a> {
    /// Nothing seen yet.
    pub(crate) fn new(content: &'a Content, index: &'a Index) -> Self {
        Self { content, index, open: HashMap::new() }
    }

    /// Takes in a stretch of a part. Blobs of which something was left out, because it is damaged, are not judged.
    pub(crate) fn take(&mut self, proven: &Proven, found: &mut Vec<Fault>) {
        let bytes = proven.bytes();
        let (from, to) = (proven.from, proven.from + bytes.len() as u64);
        for member in self.content.members_in(proven.part, from..to) {
            let Some(blob) = self.index.blob(&member.digest) else { continue };
            let place = member.place;
            let (start, end) = (place.offset.max(from), (place.offset + place.size).min(to));
            // Nothing of it is here but its header; of an empty blob there is no more.
            if start >= end && !(blob.size == 0 && (from..to).contains(&(place.offset - BLOCK))) {
                continue;
            }
            let earlier = &blob.pieces[..member.piece.unwrap_or(0)];
            let at = earlier.iter().map(|piece| piece.size).sum::<u64>() + (start - place.offset);
            let (mut hasher, seen) = match self.open.remove(&member.digest) {
                Some(open) => open,
                None if at == 0 => (Hasher::new(), 0),
                None => continue,
            };
            if seen != at {
                continue;
            }
            let within = |offset: u64| usize::try_from(offset - from).expect("within a buffer");
            if start < end {
                hasher.update(&bytes[within(start)..within(end)]);
            }
            let seen = seen + end.saturating_sub(start);
            if seen < blob.size {
                self.open.insert(member.digest, (hasher, seen));
            } else if hasher.finish() != blob.digest {
                found.push(wrong(&blob.pieces[0], Problem::WrongContent, blob.digest.to_string()));
            }
        }
    }
}

/// Whether a manifest is what it is named, can be read, and needs no blob but those that the sequence carries or
/// requires. An index may leave children out (`platforms`), so those are not asked for.
pub(crate) fn manifest(content: &Content, index: &Index, entry: &ManifestEntry) -> Option<Fault> {
    let bytes = match content.manifest(entry) {
        Ok(bytes) => bytes,
        // Damage was found with its cell.
        Err(fault) => return (fault.problem == Problem::WrongContent).then_some(fault),
    };
    let wrong = |detail| Some(wrong(&entry.pieces[0], Problem::Manifest, detail));
    let parsed = match Manifest::parse(&bytes, Some(&entry.media_type)) {
        Ok(parsed) => parsed,
        Err(error) => return wrong(format!("{}: {error}", entry.digest)),
    };
    let there =
        |digest: &Digest| index.blob(digest).is_some() || index.required_blob(digest).is_some();
    let lack = parsed.blobs().into_iter().map(|blob| blob.digest).find(|digest| !there(digest))?;
    wrong(format!("{} needs blob {lack}, which it neither carries nor requires", entry.digest))
}

fn wrong(piece: &Piece, problem: Problem, detail: String) -> Fault {
    let Piece { part, offset, size } = *piece;
    Fault { part, from: offset, to: offset + size, problem, detail }
}
