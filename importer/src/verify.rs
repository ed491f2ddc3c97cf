//! From files to a sequence of which every byte can be proven: `Received → Verified`.
//!
//! In: the files of the media and the keys that a person trusts. Out: [`Verified`] sequences: a
//! trusted key signed the head, every part that the head names is there with the right size and the
//! right cell table, and the index is the one that the head names and fits the parts. No network.
//! Before the signature is checked, nothing but the signature file is parsed (threat T1).

use std::collections::{BTreeSet, HashMap, HashSet};
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};

use format_spec::head::{Head, Kind};
use format_spec::index::{Index, ManifestEntry};
use format_spec::keys::{KeyId, PublicKey};
use format_spec::limits::{HEAD_MAX, INDEX_MAX, SEAL_MAX};
use format_spec::part::FileName;
use format_spec::{Digest, Sequence, StreamId, codec, seal};
use registry::progress::Progress;

use crate::cells::{Fault, Part};
use crate::contents::{self, Contents};
use crate::error::{Damage, ImportError, Problem, WrongSize};
use crate::images::images_of;
use crate::intake::{Found, Media};
use crate::limits::{BUFFERS_AHEAD, FILES_HELD, FINDINGS_MAX};
use crate::report::VerifiedSequence;
use crate::unpack::{Content, Proven};

/// A head as it lies on the medium: nothing about it is proven.
#[derive(Debug)]
pub(crate) struct Received {
    found: Found,
    named: Sequence,
    /// The digest of its bytes. They are read when it is looked at: nobody knows yet who wrote how many
    /// heads of how many bytes, so no two are held at a time.
    pub(crate) digest: Digest,
}

/// A sequence of which a trusted key signed the head, and whose index and tables match it.
#[derive(Debug)]
pub(crate) struct Verified {
    /// The head.
    pub(crate) head: Head,
    /// Its file.
    pub(crate) path: PathBuf,
    /// Its digest.
    pub(crate) digest: Digest,
    /// The index.
    pub(crate) index: Arc<Index>,
    /// The trusted keys that signed.
    pub(crate) signers: Vec<KeyId>,
    pub(crate) content: Arc<Content>,
    /// The files whose bytes the head and the index are.
    pub(crate) sources: Sources,
}

/// Where head and index were read.
#[derive(Debug, Clone)]
pub(crate) struct Sources {
    pub(crate) head: Found,
    pub(crate) index: Found,
}

/// The heads on the media, each once, by their names; every sequence must have one.
pub(crate) fn receive(media: &Media) -> Result<Vec<Received>, ImportError> {
    let (heads, mut headless) = heads(media)?;
    if headless.is_empty() { Ok(heads) } else { Err(headless.swap_remove(0)) }
}

/// The heads on the media, and an error for each sequence of which other files are there.
pub(crate) fn heads(media: &Media) -> Result<(Vec<Received>, Vec<ImportError>), ImportError> {
    let mut heads: Vec<Received> = Vec::new();
    let mut without = BTreeSet::new();
    for name in media.names() {
        match name {
            FileName::Head(sequence) => {
                for found in media.get(name) {
                    let digest = found.digest(HEAD_MAX)?;
                    // Every medium may carry a copy of the head.
                    if heads.iter().all(|head| head.digest != digest) {
                        heads.push(Received { found: found.clone(), named: *sequence, digest });
                    }
                }
            }
            FileName::Sums(_) | FileName::Transfer(_) => {}
            other => {
                if media.get(&FileName::Head(other.sequence())).is_empty() {
                    without.insert(other.sequence());
                }
            }
        }
    }
    if heads.is_empty() && without.is_empty() {
        return Err(ImportError::NothingThere(media.described().to_owned()));
    }
    let headless = |sequence| missing(sequence, vec![FileName::Head(sequence).to_string()]);
    Ok((heads, without.into_iter().map(headless).collect()))
}

fn missing(sequence: Sequence, files: Vec<String>) -> ImportError {
    ImportError::Missing { sequence, files, wrong: Vec::new() }
}

impl Received {
    /// Checks the signature, then presence and size of all files, then the index. `prove_tables`
    /// checks the cell table of each part too; it can be left out only for what is at the target.
    pub(crate) fn verify(
        self,
        media: &Media,
        trusted: &[PublicKey],
        prove_tables: bool,
    ) -> Result<Verified, ImportError> {
        let (head, signers) = self.open(media, Some(trusted))?;
        let (files, lacking) = self.files(media, &head);
        if let Some(lacking) = lacking {
            return Err(lacking);
        }
        let verified = self.take_up(media, head, signers, &files)?;
        if prove_tables {
            for part in &verified.content.parts {
                part.prove_table()
                    .map_err(|fault| ImportError::Damage(Box::new(verified.damage(fault))))?;
            }
        }
        Ok(verified)
    }

    /// The same for the parts that are there, and what is wrong with the others. No table is proven.
    pub(crate) fn examine(
        self,
        media: &Media,
        trusted: &[PublicKey],
    ) -> Result<(Verified, Option<ImportError>), ImportError> {
        let (head, signers) = self.open(media, Some(trusted))?;
        let (files, lacking) = self.files(media, &head);
        match self.take_up(media, head, signers, &files) {
            Ok(verified) => Ok((verified, lacking)),
            Err(error) => Err(lacking.unwrap_or(error)),
        }
    }

    /// The sequence with the parts of which there are files, and its index.
    fn take_up(
        &self,
        media: &Media,
        head: Head,
        signers: Vec<KeyId>,
        files: &[Vec<&Found>],
    ) -> Result<Verified, ImportError> {
        let parts = parts(&head, files)?;
        let (index, found) = self.index(media, &head)?;
        let members = index
            .members(head.parts.len())
            .map_err(|error| self.index_error(media, codec::CodecError::Index(error)))?;
        Ok(Verified {
            path: self.found.path(),
            digest: self.digest,
            index: Arc::new(index),
            signers,
            content: Arc::new(Content::new(parts, members)),
            sources: Sources { head: self.found.clone(), index: found },
            head,
        })
    }

    /// The head and the index without a look at signature or parts, for showing what is there.
    pub(crate) fn describe(
        self,
        media: &Media,
        trusted: Option<&[PublicKey]>,
    ) -> Result<(Head, Digest, Index, Vec<KeyId>), ImportError> {
        let (head, signers) = self.open(media, trusted)?;
        let (index, _) = self.index(media, &head)?;
        Ok((head, self.digest, index, signers))
    }

    /// Reads the head and, with keys, checks the signature before anything of it is parsed.
    fn open(
        &self,
        media: &Media,
        trusted: Option<&[PublicKey]>,
    ) -> Result<(Head, Vec<KeyId>), ImportError> {
        let message = self.found.read_head()?;
        if Digest::of(message.head()) != self.digest {
            let source = std::io::Error::other("the file changed while it was read");
            return Err(ImportError::Read { path: self.found.path(), source });
        }
        let signers = match trusted {
            Some(trusted) => self.check_seal(&message, media, trusted)?,
            None => Vec::new(),
        };
        Ok((self.parse(message.head())?, signers))
    }

    fn check_seal(
        &self,
        message: &seal::Message,
        media: &Media,
        trusted: &[PublicKey],
    ) -> Result<Vec<KeyId>, ImportError> {
        if trusted.is_empty() {
            return Err(ImportError::NoKeys);
        }
        let name = FileName::Seal(self.named);
        let mut refusal = ImportError::NoSeal { sequence: self.named, file: name.to_string() };
        for found in self.nearest(media, &name) {
            let source = match message.verify(&found.read(SEAL_MAX)?, trusted) {
                Ok(signers) => return Ok(signers),
                Err(source) => source,
            };
            // The seal beside the head says most about what is wrong.
            if matches!(refusal, ImportError::NoSeal { .. }) {
                refusal = ImportError::Seal { path: found.path(), source };
            }
        }
        Err(refusal)
    }

    fn parse(&self, bytes: &[u8]) -> Result<Head, ImportError> {
        let head = Head::parse(bytes)
            .map_err(|source| ImportError::Head { path: self.found.path(), source })?;
        if head.sequence != self.named {
            return Err(ImportError::Renamed { path: self.found.path(), found: head.sequence });
        }
        Ok(head)
    }

    /// The files of a name, those beside the head first.
    fn nearest<'a>(&self, media: &'a Media, name: &FileName) -> Vec<&'a Found> {
        let mut found: Vec<_> = media.get(name).iter().collect();
        found.sort_by_key(|found| !found.beside(&self.found));
        found
    }

    /// For each part the files that have its size, then those of the index; and what is wrong where there are
    /// none.
    fn files<'a>(
        &self,
        media: &'a Media,
        head: &Head,
    ) -> (Vec<Vec<&'a Found>>, Option<ImportError>) {
        let names = (0..head.parts.len()).map(|n| FileName::Part(head.sequence, number(n)));
        let sizes = head.parts.iter().map(|part| part.bytes).chain([head.index.bytes]);
        let mut absent = Vec::new();
        let mut fitting = Vec::with_capacity(head.parts.len());
        let mut wrong = Vec::new();
        for (name, size) in names.chain([FileName::Index(head.sequence)]).zip(sizes) {
            let there = self.nearest(media, &name);
            let fits: Vec<_> = there.iter().copied().filter(|found| found.size == size).collect();
            match (there.first(), fits.is_empty()) {
                (None, _) => absent.push(name.to_string()),
                (Some(first), true) => {
                    wrong.push(WrongSize { path: first.path(), expected: size, found: first.size });
                }
                _ => {}
            }
            fitting.push(fits);
        }
        let lacking = match (absent.is_empty(), wrong.is_empty()) {
            (true, true) => None,
            (true, false) => Some(ImportError::Size(wrong)),
            _ => Some(ImportError::Missing { sequence: head.sequence, files: absent, wrong }),
        };
        (fitting, lacking)
    }

    /// The index, and the file in which it stands.
    fn index(&self, media: &Media, head: &Head) -> Result<(Index, Found), ImportError> {
        let name = FileName::Index(head.sequence);
        let mut refusal = missing(head.sequence, vec![name.to_string()]);
        for found in self.nearest(media, &name) {
            if found.size != head.index.bytes {
                refusal = ImportError::Size(vec![WrongSize {
                    path: found.path(),
                    expected: head.index.bytes,
                    found: found.size,
                }]);
                continue;
            }
            let bytes = found.read(INDEX_MAX)?;
            let digest = Digest::of(&bytes);
            if digest != head.index.digest {
                refusal = ImportError::IndexDigest {
                    path: found.path(),
                    expected: head.index.digest,
                    found: digest,
                };
                continue;
            }
            let index = codec::decode(&bytes).map_err(|e| self.index_error(media, e))?;
            drop(bytes);
            index.validate(head).map_err(|e| self.index_error(media, e.into()))?;
            return Ok((index, found.clone()));
        }
        Err(refusal)
    }

    fn index_error(&self, media: &Media, source: codec::CodecError) -> ImportError {
        let name = FileName::Index(self.named);
        let path = self.nearest(media, &name).first().map(|found| found.path()).unwrap_or_default();
        ImportError::Index { path, source }
    }
}

/// Two heads under one number of one stream, if there are any. No two of the heads are the same.
pub(crate) fn fork<'a>(heads: impl IntoIterator<Item = &'a Verified>) -> Option<ImportError> {
    let mut seen: HashMap<(StreamId, Sequence), &Path> = HashMap::new();
    heads.into_iter().find_map(|one| {
        let Head { stream, sequence, .. } = one.head;
        let other = seen.insert((stream, sequence), &one.path)?.to_owned();
        Some(ImportError::TwoHeads { stream, sequence, one: other, other: one.path.clone() })
    })
}

/// The parts of which there are files.
fn parts(head: &Head, files: &[Vec<&Found>]) -> Result<Vec<Part>, ImportError> {
    let hold = head.parts.len() <= FILES_HELD;
    let mut parts = Vec::with_capacity(head.parts.len());
    for ((n, entry), files) in head.parts.iter().enumerate().zip(files) {
        if !files.is_empty() {
            parts.push(choose(head, number(n), entry, files, hold)?);
        }
    }
    Ok(parts)
}

fn number(part: usize) -> u32 {
    u32::try_from(part).expect("bounded by PARTS_MAX")
}

/// The part in the first of several files of the right size, or in the one whose cell table fits:
/// media of two streams use the same names.
fn choose(
    head: &Head,
    number: u32,
    entry: &format_spec::head::Part,
    files: &[&Found],
    hold: bool,
) -> Result<Part, ImportError> {
    let mut first = None;
    let mut refusal = None;
    for found in files {
        let part = match Part::new(head.sequence, number, entry, (*found).clone(), hold) {
            Ok(part) => part,
            Err(fault) => {
                let source = std::io::Error::other(fault.detail);
                refusal.get_or_insert(ImportError::Read { path: found.path(), source });
                continue;
            }
        };
        if files.len() == 1 {
            return Ok(part);
        }
        if part.prove_table().is_ok() {
            let others = files.iter().filter(|other| other.path() != found.path());
            return Ok(part.with_others(others.map(|other| (*other).clone()).collect()));
        }
        first = first.or(Some(part));
    }
    let absent = || missing(head.sequence, vec![entry.name.clone()]);
    first.ok_or_else(|| refusal.unwrap_or_else(absent))
}

impl Verified {
    /// A fault in terms that a person can act on: which file, which bytes, which images.
    pub(crate) fn damage(&self, fault: Fault) -> Damage {
        let part = self.content.part(fault.part).expect("a fault is of a part that was read");
        // A damaged table makes every cell of the part unusable.
        let stretch = if fault.problem == Problem::WrongTable || fault.from < part.data_offset {
            0..part.bytes
        } else {
            fault.from..fault.to
        };
        let members = self.content.members_in(fault.part, stretch);
        let digests: Vec<_> = members.iter().map(|member| member.digest).collect();
        let images = images_of(&self.content, &self.index, &digests);
        Damage {
            sequence: self.head.sequence,
            part: part.name.clone(),
            path: part.path(),
            from: fault.from,
            to: fault.to,
            problem: fault.problem,
            detail: fault.detail,
            images,
        }
    }

    /// Refuses what is not to be used any more by this machine's clock (threat T15).
    pub(crate) fn refuse_expired(&self) -> Result<(), ImportError> {
        match self.head.expires.as_ref().filter(|time| passed(time)) {
            None => Ok(()),
            Some(expires) => Err(ImportError::Expired {
                sequence: self.head.sequence,
                expires: expires.clone(),
                now: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            }),
        }
    }

    /// The sequence in a report.
    pub(crate) fn report(&self) -> VerifiedSequence {
        let Head { sequence, stream, kind, previous, base, parts, .. } = &self.head;
        VerifiedSequence {
            sequence: *sequence,
            stream: *stream,
            digest: self.digest,
            kind: *kind,
            after: match kind {
                Kind::Full => None,
                // With a base it closes a gap: whoever stands there, or later, can take it.
                Kind::Incremental => base.or(*previous).map(|link| link.sequence),
            },
            expired: self.head.expires.clone().filter(|time| passed(time)),
            signers: self.signers.iter().map(ToString::to_string).collect(),
            parts: parts.len() as u64,
            bytes: parts.iter().map(|part| part.bytes).sum(),
            cells: self.content.parts.iter().map(|part| part.cells).sum(),
        }
    }

    /// Proves every cell of every part that was not proven before in this run.
    pub(crate) fn prove_rest(&self) -> Result<(), Box<Damage>> {
        for part in &self.content.parts {
            let mut first = None;
            self.content.prove_rest(
                part,
                |_| (),
                |_| (),
                |fault| {
                    first = Some(fault);
                    false
                },
            );
            if let Some(fault) = first {
                return Err(Box::new(self.damage(fault)));
            }
        }
        Ok(())
    }

    /// Proves every byte of every part, and that contents are what they are named, and lists what is wrong: at most
    /// [`FINDINGS_MAX`] findings, and at least one for each part with damage. What comes after the limit in a part
    /// is not read any more.
    pub(crate) fn findings(&self, progress: &Progress, findings: &mut Vec<Damage>) {
        let room = FINDINGS_MAX.saturating_sub(findings.len());
        let mut faults = Faults { room, all: Vec::new(), parts: HashSet::new() };
        // Cells and blobs are hashed beside each other: a processor for each.
        let (send, receive) = mpsc::sync_channel::<Proven>(BUFFERS_AHEAD);
        let contents = std::thread::scope(|scope| {
            let blobs = scope.spawn(move || {
                let (mut contents, mut faults) =
                    (Contents::new(&self.content, &self.index), Vec::new());
                for proven in receive {
                    contents.take(&proven, &mut faults);
                }
                faults
            });
            for part in &self.content.parts {
                let _item = progress.start(part.name.clone());
                self.content.prove_rest(
                    part,
                    |bytes| progress.skip(bytes),
                    // It takes until there is no more.
                    |proven| drop(send.send(proven)),
                    |fault| faults.note(fault),
                );
            }
            drop(send);
            blobs.join().unwrap_or_else(|panic| resume_unwind(panic))
        });
        for fault in contents {
            faults.note(fault);
        }
        let there = |entry: &&ManifestEntry| {
            entry.pieces.iter().all(|piece| self.content.part(piece.part).is_some())
        };
        for entry in self.index.manifests.iter().filter(there) {
            if let Some(fault) = contents::manifest(&self.content, &self.index, entry) {
                faults.note(fault);
            }
        }
        findings.extend(faults.all.into_iter().map(|fault| self.damage(fault)));
    }
}

/// What is wrong with the parts of a sequence.
#[derive(Debug, Default)]
struct Faults {
    room: usize,
    all: Vec<Fault>,
    parts: HashSet<u32>,
}

impl Faults {
    /// Notes one while there is room, and in any case the first of each part: a part without a finding is told to be
    /// intact. Says whether there is room for more.
    fn note(&mut self, fault: Fault) -> bool {
        if self.parts.insert(fault.part) || self.all.len() < self.room {
            self.all.push(fault);
        }
        self.all.len() < self.room
    }
}

/// Whether a time of a head has passed by this machine's clock. One that is on no calendar has: an end that
/// cannot be read must not be none.
pub(crate) fn passed(time: &str) -> bool {
    time.parse::<jiff::Timestamp>().map_or(true, |time| time < jiff::Timestamp::now())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_damaged_part_goes_without_a_finding() {
        let fault =
            |part| Fault { part, from: 0, to: 1, problem: Problem::Changed, detail: String::new() };
        let mut faults = Faults { room: 3, ..Faults::default() };
        let more: Vec<bool> = [1, 1, 1, 1, 2, 2, 3].map(|part| faults.note(fault(part))).into();
        assert_eq!(more, [true, true, false, false, false, false, false]);
        let parts: Vec<u32> = faults.all.iter().map(|fault| fault.part).collect();
        assert_eq!(parts, [1, 1, 1, 2, 3]);
        // Nor when another sequence has taken all the room.
        let mut faults = Faults::default();
        assert!(!faults.note(fault(7)) && faults.all.len() == 1);
    }
}
