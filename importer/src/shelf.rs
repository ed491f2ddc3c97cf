//! What the sequences on media hold, for who wants a part of it and imports nothing: releases, by the digests of their images.
//!
//! In: directories with sequences, and the keys that a person trusts. Out: the releases that the sequences state, their
//! signatures, and manifests and blobs by digest. What must hold: only sequences that a trusted key signed and that have not
//! expired are looked into; every cell that is used is proven in the buffer that is given out; of the parts only those are
//! needed that hold what is asked for. There is no target here, so nobody can say whether a sequence is an old one.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use format_spec::head::Head;
use format_spec::index::{Blob, Index, ManifestEntry};
use format_spec::keys::PublicKey;
use format_spec::part::{FileName, Piece};
use format_spec::{Digest, Sequence, Tag};
use futures_util::{Stream, StreamExt};
use registry::client::BlobSource;
use registry::manifest::{Descriptor, Manifest, RawManifest};
use registry::shelf::Shelf;

use crate::cells::Fault;
use crate::cluster::Stated;
use crate::error::ImportError;
use crate::intake::Media;
use crate::unpack::PartSource;
use crate::verify::{self, Verified};

/// A release that a sequence states.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShelvedRelease {
    /// The sequence: the last of those that state it.
    pub sequence: Sequence,
    /// Its tag at a target.
    pub tag: Tag,
    /// Its version.
    pub version: String,
    /// The digest of its image.
    pub digest: Digest,
    /// Its image at the source; empty when the sequence does not say it.
    pub source: String,
    /// Whether one of the sequences here carries its image; else an earlier one did.
    pub carried: bool,
}

/// The sequences on media, open for reading.
#[derive(Debug)]
pub struct MediaShelf {
    /// The newest first.
    sequences: Vec<Arc<Open>>,
    described: String,
    /// Ascending by tag.
    pub releases: Vec<ShelvedRelease>,
    /// Signature files by the digest that they sign and their number.
    pub signatures: BTreeMap<(Digest, u32), Vec<u8>>,
    /// What a person should know.
    pub warnings: Vec<String>,
}

/// One sequence.
#[derive(Debug)]
struct Open {
    verified: Verified,
    manifests: HashMap<Digest, usize>,
    /// What is attached to manifests by their own word, read when it is first asked for.
    referrers: OnceLock<HashMap<Digest, Vec<Descriptor>>>,
}

impl MediaShelf {
    /// Opens the sequences in these directories. Parts need not be there. Blocks.
    pub fn open(from: &[PathBuf], trusted: &[PublicKey]) -> Result<Self, ImportError> {
        let media = Media::open(from)?;
        let mut sequences = Vec::new();
        for received in verify::receive(&media)? {
            let (verified, _) = received.examine(&media, trusted)?;
            verified.refuse_expired()?;
            sequences.push(verified);
        }
        if let Some(fork) = verify::fork(&sequences) {
            return Err(fork);
        }
        sequences.sort_by_key(|one| (one.head.stream, std::cmp::Reverse(one.head.sequence)));
        let mut shelf = Self {
            sequences: Vec::with_capacity(sequences.len()),
            described: media.described().to_owned(),
            releases: Vec::new(),
            signatures: BTreeMap::new(),
            warnings: media.warnings,
        };
        for verified in sequences {
            let stated = Stated::of(&verified.index.resources, &mut shelf.warnings);
            for release in stated.releases {
                // Of a name the last word counts.
                if shelf.releases.iter().all(|known| known.tag != release.tag) {
                    shelf.releases.push(ShelvedRelease {
                        sequence: verified.head.sequence,
                        tag: release.tag,
                        version: release.version,
                        digest: release.digest,
                        source: release.source,
                        carried: false,
                    });
                }
            }
            shelf.signatures.extend(stated.signatures);
            let manifests = verified.index.manifests.iter().enumerate();
            let manifests = manifests.map(|(number, entry)| (entry.digest, number)).collect();
            shelf.sequences.push(Arc::new(Open {
                verified,
                manifests,
                referrers: OnceLock::new(),
            }));
        }
        for release in &mut shelf.releases {
            release.carried =
                shelf.sequences.iter().any(|open| open.entry(&release.digest).is_some());
        }
        shelf.releases.sort_by(|a, b| a.tag.cmp(&b.tag));
        Ok(shelf)
    }

    /// Heads and indexes, in the order in which they were made.
    pub(crate) fn ascending(&self) -> impl Iterator<Item = (&Head, &Index)> {
        self.sequences.iter().rev().map(|open| (&open.verified.head, &*open.verified.index))
    }

    /// Looks into each sequence, the newest first. What is missing of one is told only when no other has it.
    fn first<T>(
        &self,
        mut look: impl FnMut(&Arc<Open>) -> Result<Option<T>, ImportError>,
    ) -> Result<Option<T>, ImportError> {
        let mut lacking = None;
        for open in &self.sequences {
            match look(open) {
                Ok(Some(found)) => return Ok(Some(found)),
                Ok(None) => {}
                Err(error) => lacking = lacking.or(Some(error)),
            }
        }
        lacking.map_or(Ok(None), Err)
    }
}

impl Open {
    fn manifest(&self, digest: &Digest) -> Result<Option<RawManifest>, ImportError> {
        let Some(entry) = self.entry(digest) else { return Ok(None) };
        self.refuse_absent(&entry.pieces)?;
        let bytes = self.verified.content.manifest(entry).map_err(|fault| self.damage(fault))?;
        Ok(Some(RawManifest { bytes, digest: *digest, media_type: entry.media_type.clone() }))
    }

    fn entry(&self, digest: &Digest) -> Option<&ManifestEntry> {
        Some(&self.verified.index.manifests[*self.manifests.get(digest)?])
    }

    fn blob(self: &Arc<Self>, digest: &Digest, size: u64) -> Result<Option<Shelved>, ImportError> {
        let index = &self.verified.index;
        let Some(blob) = index.blob(digest) else {
            return match index.required_blob(digest) {
                Some(_) => {
                    let sequence = self.verified.head.sequence;
                    Err(ImportError::Earlier { sequence, digest: *digest })
                }
                None => Ok(None),
            };
        };
        if blob.size != size {
            return Ok(None);
        }
        self.refuse_absent(&blob.pieces)?;
        Ok(Some(Shelved { open: Arc::clone(self), blob: blob.clone() }))
    }

    /// Refuses content of which a part is not there.
    fn refuse_absent(&self, pieces: &[Piece]) -> Result<(), ImportError> {
        let sequence = self.verified.head.sequence;
        let absent = pieces.iter().filter(|piece| self.verified.content.part(piece.part).is_none());
        let files: Vec<String> =
            absent.map(|piece| FileName::Part(sequence, piece.part).to_string()).collect();
        match files.is_empty() {
            true => Ok(()),
            false => Err(ImportError::Missing { sequence, files, wrong: Vec::new() }),
        }
    }

    fn damage(&self, fault: Fault) -> ImportError {
        ImportError::Damage(Box::new(self.verified.damage(fault)))
    }

    fn referrers(&self) -> &HashMap<Digest, Vec<Descriptor>> {
        self.referrers.get_or_init(|| {
            let mut found: HashMap<Digest, Vec<Descriptor>> = HashMap::new();
            // What names a subject has a name of its own in the index, by its digest.
            let names = &self.verified.index.references;
            for digest in names.iter().filter(|one| one.tag.is_none()).map(|one| one.digest) {
                // What cannot be read is nobody's; whoever needs it is told then.
                let Ok(Some(raw)) = self.manifest(&digest) else { continue };
                let (subject, artifact_type, annotations) = match raw.parse() {
                    Ok(Manifest::Image(image)) => {
                        (image.subject, image.artifact_type, image.annotations)
                    }
                    Ok(Manifest::Index(index)) => {
                        (index.subject, index.artifact_type, index.annotations)
                    }
                    Err(_) => continue,
                };
                let Some(subject) = subject else { continue };
                let list = found.entry(subject.digest).or_default();
                if list.iter().all(|known| known.digest != digest) {
                    list.push(Descriptor {
                        media_type: raw.media_type,
                        digest,
                        size: raw.bytes.len() as u64,
                        platform: None,
                        urls: Vec::new(),
                        artifact_type,
                        annotations,
                    });
                }
            }
            found
        })
    }
}

impl Shelf for MediaShelf {
    fn name(&self) -> String {
        format!("the sequences in `{}`", self.described)
    }

    fn manifest(&self, digest: &Digest) -> io::Result<Option<RawManifest>> {
        self.first(|open| open.manifest(digest)).map_err(io::Error::other)
    }

    /// Only tags that say of which manifest they are: others mean one thing in each repository.
    fn tagged(&self, tag: &Tag) -> io::Result<Option<Digest>> {
        if !tag.as_str().starts_with("sha256-") {
            return Ok(None);
        }
        let names = self.sequences.iter().flat_map(|open| &open.verified.index.references);
        let mut found = names.filter(|one| one.tag.as_ref() == Some(tag));
        Ok(found.next().map(|one| one.digest))
    }

    fn referrers(&self, subject: &Digest) -> io::Result<Vec<Descriptor>> {
        let mut all: Vec<Descriptor> = Vec::new();
        for one in self.sequences.iter().filter_map(|open| open.referrers().get(subject)).flatten()
        {
            if all.iter().all(|known| known.digest != one.digest) {
                all.push(one.clone());
            }
        }
        Ok(all)
    }

    fn blob(&self, digest: &Digest, size: u64) -> io::Result<Option<Arc<dyn BlobSource>>> {
        let found = self.first(|open| open.blob(digest, size)).map_err(io::Error::other)?;
        Ok(found.map(|blob| Arc::new(blob) as Arc<dyn BlobSource>))
    }
}

/// A blob in the parts of a sequence.
struct Shelved {
    open: Arc<Open>,
    blob: Blob,
}

impl BlobSource for Shelved {
    fn open(&self, offset: u64) -> Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>> {
        let source = PartSource::of(&self.open.verified.content, &self.blob);
        let open = Arc::clone(&self.open);
        let told = move |error: io::Error| match error.downcast::<Fault>() {
            Ok(fault) => io::Error::other(open.damage(fault)),
            Err(error) => error,
        };
        Box::pin(source.open(offset).map(move |piece| piece.map_err(&told)))
    }
}
