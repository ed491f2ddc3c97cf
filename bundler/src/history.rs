//! What earlier sequences carried: the connected side's state.
//!
//! In: the workspace's `history/` directory. Out: the position in the stream and everything that a
//! target which imported it all must have. The history is the signed heads and the indexes
//! themselves, never rewritten:
//!
//! ```text
//! history/seq7.json  seq7.sig  seq7.index     one sequence, exactly as on the medium
//! history/pending/…                           a sequence whose publication is under way
//! ```
//!
//! It advances only when a sequence is durable on its medium: the files go to `pending/` first, the
//! head on the medium is renamed last, then `pending/` becomes history. A run that ends between the
//! two is settled by the next one, which looks at the medium.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};

use format_spec::digest::Digest;
use format_spec::head::{ContentClass, Head, Kind, Link};
use format_spec::index::{Index, Removal, Resource};
use format_spec::keys::SecretKey;
use format_spec::limits::{HEAD_MAX, INDEX_MAX, SEAL_MAX, TAIL_MAX};
use format_spec::part::FileName;
use format_spec::seal::SealError;
use format_spec::{Repository, Sequence, StreamId, Tag, codec, seal};
use fs_err as fs;
use registry::lasting;

use crate::durable;
use crate::error::CreateError;
use crate::publish;
use crate::slots;

/// A name at the target, as the history remembers it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Name {
    /// A tag.
    Tag(Tag),
    /// Content reached by its digest only.
    Digest(Digest),
}

impl Name {
    /// The name of a reference or removal.
    pub fn of(tag: Option<&Tag>, digest: Digest) -> Self {
        tag.map_or(Self::Digest(digest), |tag| Self::Tag(tag.clone()))
    }

    /// The tag, if it is one.
    pub fn tag(&self) -> Option<Tag> {
        match self {
            Self::Tag(tag) => Some(tag.clone()),
            Self::Digest(_) => None,
        }
    }
}

/// What a target has when it imported some sequences.
#[derive(Debug, Default)]
pub struct Known {
    repositories: Vec<Repository>,
    ids: HashMap<Repository, u32>,
    /// Each blob, its size and a repository that holds it.
    blobs: HashMap<Digest, (u64, u32)>,
    /// Which manifests stand in which repository.
    manifests: HashSet<(u32, Digest)>,
    /// The names set and not removed.
    references: BTreeMap<(u32, Name), Digest>,
    /// Those of charts and of their images.
    of_charts: HashSet<(u32, Name)>,
    /// The resources that the last sequence stated.
    resources: Vec<Resource>,
}

impl Known {
    fn id(&mut self, repository: &Repository) -> u32 {
        if let Some(id) = self.ids.get(repository) {
            return *id;
        }
        let id = u32::try_from(self.repositories.len()).expect("bounded by the index limits");
        self.repositories.push(repository.clone());
        self.ids.insert(repository.clone(), id);
        id
    }

    /// Takes in one sequence.
    pub fn add(&mut self, index: &Index) {
        let ids: Vec<u32> = index.repositories.iter().map(|name| self.id(name)).collect();
        let local = |id: u32| ids[id as usize];
        for blob in &index.blobs {
            let home = local(blob.repositories[0]);
            self.blobs.entry(blob.digest).or_insert((blob.size, home));
        }
        // Those of a mirror were nowhere before.
        for required in &index.required {
            let home = local(required.home);
            self.blobs.entry(required.digest).or_insert((required.size, home));
        }
        for manifest in &index.manifests {
            for repository in &manifest.repositories {
                self.manifests.insert((local(*repository), manifest.digest));
            }
        }
        for removal in &index.removals {
            let name = Name::of(removal.tag.as_ref(), removal.digest);
            let name = (local(removal.repository), name);
            self.references.remove(&name);
            self.of_charts.remove(&name);
        }
        for reference in &index.references {
            let name = Name::of(reference.tag.as_ref(), reference.digest);
            let name = (local(reference.repository), name);
            match reference.class {
                ContentClass::Helm => self.of_charts.insert(name.clone()),
                _ => self.of_charts.remove(&name),
            };
            self.references.insert(name, reference.digest);
        }
        self.resources.clone_from(&index.resources);
    }

    /// What cluster resources are made from, as the last sequence stated it.
    pub fn resources(&self) -> &[Resource] {
        &self.resources
    }

    /// The repository at the target that holds a blob.
    pub fn home(&self, blob: &Digest) -> Option<&Repository> {
        self.blobs.get(blob).map(|(_, home)| &self.repositories[*home as usize])
    }

    /// Whether the target has this manifest in this repository.
    pub fn has_manifest(&self, repository: &Repository, manifest: &Digest) -> bool {
        self.ids.get(repository).is_some_and(|id| self.manifests.contains(&(*id, *manifest)))
    }

    /// What a name stands for at the target.
    pub fn reference(&self, repository: &Repository, name: &Name) -> Option<Digest> {
        let id = self.ids.get(repository)?;
        self.references.get(&(*id, name.clone())).copied()
    }

    /// Whether a name is of a chart or of an image that one needs.
    pub fn is_of_chart(&self, repository: &Repository, name: &Name) -> bool {
        let id = self.ids.get(repository);
        id.is_some_and(|id| self.of_charts.contains(&(*id, name.clone())))
    }

    /// Every name that is set.
    pub fn references(&self) -> impl Iterator<Item = (&Repository, &Name, Digest)> {
        self.references
            .iter()
            .map(|((id, name), digest)| (&self.repositories[*id as usize], name, *digest))
    }

    /// Number of blobs.
    pub fn blobs(&self) -> usize {
        self.blobs.len()
    }
}

/// The files of one sequence, exactly as on the medium.
#[derive(Debug, Clone)]
pub struct Record {
    /// The sequence.
    pub sequence: Sequence,
    /// The head.
    pub head: Vec<u8>,
    /// Its signatures.
    pub seal: Vec<u8>,
    /// The index.
    pub index: Vec<u8>,
}

/// The history of a workspace, locked for one run.
#[derive(Debug)]
pub struct History {
    directory: PathBuf,
    heads: BTreeMap<Sequence, (Head, Digest)>,
    _lock: std::fs::File,
}

impl History {
    /// Opens the history of `workspace`, locks it and settles what the last run left.
    pub fn open(workspace: &Path) -> Result<Self, CreateError> {
        let directory = workspace.join("history");
        lasting::make(&directory).map_err(CreateError::file("make the history directory"))?;
        let lock = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(directory.join("lock"))
            .map_err(CreateError::file("open the history's lock"))?
            .into_file();
        match lock.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => {
                return Err(CreateError::Busy(workspace.to_owned()));
            }
            Err(std::fs::TryLockError::Error(source)) => {
                return Err(CreateError::File { doing: "lock the history", source });
            }
        }
        let mut history = Self { directory, heads: BTreeMap::new(), _lock: lock };
        history.settle()?;
        history.read_heads()?;
        Ok(history)
    }

    fn file(&self, sequence: Sequence, suffix: &str) -> PathBuf {
        self.directory.join(format!("seq{sequence}.{suffix}"))
    }

    fn pending(&self) -> PathBuf {
        self.directory.join("pending")
    }

    /// The sequences of which the history has a file of this kind, in no order.
    fn listed(&self, suffix: &str) -> Result<Vec<Sequence>, CreateError> {
        let list = fs::read_dir(&self.directory).map_err(CreateError::file("list the history"))?;
        let mut sequences = Vec::new();
        for entry in list {
            let name = entry.map_err(CreateError::file("list the history"))?.file_name();
            let number = name
                .to_str()
                .and_then(|n| n.strip_prefix("seq")?.strip_suffix(suffix)?.strip_suffix('.'))
                .and_then(|n| Sequence::new(n.parse().ok()?));
            sequences.extend(number);
        }
        Ok(sequences)
    }

    fn read_heads(&mut self) -> Result<(), CreateError> {
        for sequence in self.listed("json")? {
            let path = self.file(sequence, "json");
            let damaged = |problem: String| CreateError::History { path: path.clone(), problem };
            let bytes = read(&path, HEAD_MAX)?;
            let head = Head::parse(&bytes).map_err(|error| damaged(error.to_string()))?;
            if head.sequence != sequence {
                return Err(damaged(format!("it is of sequence {}", head.sequence)));
            }
            self.heads.insert(sequence, (head, Digest::of(&bytes)));
        }
        let mut before: Option<(Link, StreamId)> = None;
        for (sequence, (head, digest)) in &self.heads {
            let damaged = |problem: String| CreateError::History {
                path: self.file(*sequence, "json"),
                problem,
            };
            if let Some((link, stream)) = before
                && (head.previous != Some(link) || head.stream != stream)
            {
                return Err(damaged(format!("it does not follow sequence {}", link.sequence)));
            }
            before = Some((Link { sequence: *sequence, digest: *digest }, head.stream));
        }
        Ok(())
    }

    /// Refuses a history that lacks its last head: what follows would fork from what the other side has.
    pub fn refuse_headless(&self) -> Result<(), CreateError> {
        let headless = |sequence: &Sequence| !self.heads.contains_key(sequence);
        match self.listed("index")?.into_iter().find(headless) {
            None => Ok(()),
            Some(sequence) => Err(missing(&self.file(sequence, "json"))),
        }
    }

    /// Proves the last head by its signature: the others are proven by the one after them. A signature of
    /// other keys than `keys` says nothing here.
    pub fn prove_last(&self, keys: &[SecretKey]) -> Result<(), CreateError> {
        let Some(Link { sequence, .. }) = self.last() else { return Ok(()) };
        let path = self.file(sequence, "json");
        let (head, seal) = (read(&path, HEAD_MAX)?, read(&self.file(sequence, "sig"), SEAL_MAX)?);
        let ours: Vec<_> = keys.iter().map(SecretKey::public).collect();
        match seal::verify(&head, &seal, &ours) {
            Ok(_) | Err(SealError::UnknownKey(_)) => Ok(()),
            Err(error) => Err(CreateError::History { path, problem: error.to_string() }),
        }
    }

    /// The stream; `None` before the first create.
    pub fn stream(&self) -> Option<StreamId> {
        self.heads.values().next_back().map(|(head, _)| head.stream)
    }

    /// The last sequence.
    pub fn last(&self) -> Option<Link> {
        self.tail().first().copied()
    }

    /// The last sequences, newest first, as a head lists them.
    pub fn tail(&self) -> Vec<Link> {
        self.heads
            .iter()
            .rev()
            .take(TAIL_MAX)
            .map(|(sequence, (_, digest))| Link { sequence: *sequence, digest: *digest })
            .collect()
    }

    /// The links of all sequences.
    pub fn links(&self) -> impl Iterator<Item = Link> {
        self.heads
            .iter()
            .map(|(sequence, (_, digest))| Link { sequence: *sequence, digest: *digest })
    }

    /// What a target that imported everything up to `until` (all, when `None`) has. A full sequence
    /// stands alone, so nothing before the last one counts.
    pub fn known(&self, until: Option<Sequence>) -> Result<Known, CreateError> {
        let mut known = Known::default();
        let upto = |sequence: &Sequence| until.is_none_or(|until| *sequence <= until);
        let first = self
            .heads
            .iter()
            .rev()
            .find(|(sequence, (head, _))| upto(sequence) && head.kind == Kind::Full)
            .map(|(sequence, _)| *sequence);
        for (sequence, (head, _)) in &self.heads {
            if first.is_some_and(|first| *sequence < first) || !upto(sequence) {
                continue;
            }
            let path = self.file(*sequence, "index");
            let damaged = |problem: String| CreateError::History { path: path.clone(), problem };
            let bytes = read(&path, INDEX_MAX)?;
            if Digest::of(&bytes) != head.index.digest {
                return Err(damaged("it does not have the digest that its head names".to_owned()));
            }
            let index = codec::decode(&bytes).map_err(|error| damaged(error.to_string()))?;
            index.validate(head).map_err(|error| damaged(error.to_string()))?;
            known.add(&index);
        }
        Ok(known)
    }

    /// The files of a sequence.
    pub fn record(&self, sequence: Sequence) -> Result<Record, CreateError> {
        Ok(Record {
            sequence,
            head: read(&self.file(sequence, "json"), HEAD_MAX)?,
            seal: read(&self.file(sequence, "sig"), SEAL_MAX)?,
            index: read(&self.file(sequence, "index"), INDEX_MAX)?,
        })
    }

    /// The ids of the keys that the signatures of a sequence name.
    pub fn signers(&self, sequence: Sequence) -> Result<Vec<String>, CreateError> {
        let path = self.file(sequence, "sig");
        seal::named_keys(&read(&path, SEAL_MAX)?)
            .map_err(|error| CreateError::History { path, problem: error.to_string() })
    }

    /// Adds a sequence that stands elsewhere (the history in a registry) and follows the last one.
    pub fn adopt(&mut self, record: &Record) -> Result<(), CreateError> {
        let file = CreateError::file("write the history");
        for (suffix, bytes) in [("sig", &record.seal), ("index", &record.index)] {
            durable::write(&self.file(record.sequence, suffix), bytes).map_err(&file)?;
        }
        durable::write(&self.file(record.sequence, "json"), &record.head).map_err(&file)?;
        self.read_heads()
    }

    /// Records that the publication of a sequence to `medium` begins. Nothing is history yet.
    pub fn begin(&self, record: &Record, medium: &Path) -> Result<(), CreateError> {
        let pending = self.pending();
        let begin = || -> io::Result<()> {
            if pending.exists() {
                fs::remove_dir_all(&pending)?;
            }
            lasting::make(&pending)?;
            durable::write(&pending.join("head"), &record.head)?;
            durable::write(&pending.join("seal"), &record.seal)?;
            durable::write(&pending.join("index"), &record.index)?;
            let medium = fs::canonicalize(medium)?;
            durable::write(&pending.join("medium"), medium.as_os_str().as_encoded_bytes())
        };
        begin().map_err(CreateError::file("write the history"))
    }

    /// Makes the pending sequence history: it is durable on its medium.
    pub fn commit(&mut self, sequence: Sequence) -> Result<(), CreateError> {
        self.finish_commit(sequence)?;
        self.read_heads()
    }

    /// Decides about a publication that the last run did not finish.
    fn settle(&mut self) -> Result<(), CreateError> {
        let pending = self.pending();
        let file = CreateError::file("read the history");
        let Some(medium) = durable::read(&pending.join("medium"), 1 << 16).map_err(&file)? else {
            return self.settle_without_medium();
        };
        let Some(bytes) = durable::read(&pending.join("head"), HEAD_MAX).map_err(&file)? else {
            // The head was renamed: only the removals were left. Its name may not be durable yet.
            return self
                .forget_slots()
                .and_then(|()| durable::sync_directory(&self.directory))
                .and_then(|()| self.drop_pending())
                .map_err(&file);
        };
        let damaged =
            |problem: String| CreateError::History { path: pending.join("head"), problem };
        let head = Head::parse(&bytes).map_err(|error| damaged(error.to_string()))?;
        let medium = PathBuf::from(os_string(medium));
        if !medium.is_dir() {
            return Err(CreateError::Unsettled { sequence: head.sequence, directory: medium });
        }
        let published = medium.join(FileName::Head(head.sequence).to_string());
        let published = durable::read(&published, HEAD_MAX).map_err(&file)?;
        if published.as_deref() == Some(&bytes[..]) {
            // Published before the last run could say so, or could make the name durable. The medium may be carried away.
            durable::sync_directory(&medium).map_err(&file)?;
            return self.finish_commit(head.sequence);
        }
        let record = Record {
            sequence: head.sequence,
            head: bytes,
            seal: read(&pending.join("seal"), SEAL_MAX)?,
            index: read(&pending.join("index"), INDEX_MAX)?,
        };
        if publish::resume(&head, &record, &medium).map_err(&file)? {
            tracing::warn!(
                "sequence {}, which the last run was publishing, is now whole in `{}`: carry that directory too",
                head.sequence,
                medium.display()
            );
            self.finish_commit(head.sequence)
        } else {
            self.drop_pending().map_err(&file)
        }
    }

    /// `medium` is written last, so without it nothing was published. What a killed run had renamed or removed is made
    /// durable: from here on it is believed.
    fn settle_without_medium(&self) -> Result<(), CreateError> {
        let pending = self.pending();
        let settle = || -> io::Result<()> {
            if pending.exists() {
                fs::remove_dir_all(&pending)?;
            }
            durable::sync_directory(&self.directory)
        };
        settle().map_err(CreateError::file("write the history"))
    }

    /// Goes on with a commit from wherever it stopped.
    fn finish_commit(&mut self, sequence: Sequence) -> Result<(), CreateError> {
        let pending = self.pending();
        let name = |from: &str, suffix| -> io::Result<()> {
            let from = pending.join(from);
            if from.exists() { fs::rename(&from, self.file(sequence, suffix)) } else { Ok(()) }
        };
        let finish = || -> io::Result<()> {
            name("seal", "sig")?;
            name("index", "index")?;
            durable::sync_directory(&self.directory)?;
            // The head last: a sequence is history when its head is there.
            name("head", "json")?;
            self.forget_slots()?;
            durable::sync_directory(&self.directory)?;
            self.drop_pending()
        };
        finish().map_err(CreateError::file("write the history"))
    }

    /// Takes the pending sequence away, and durably. `medium` goes first, as it came last: a run that ends in between,
    /// or a loss of power, must not leave a publication that lacks a file.
    fn drop_pending(&self) -> io::Result<()> {
        gone(fs::remove_file(self.pending().join("medium")))?;
        durable::sync_directory(&self.pending())?;
        fs::remove_dir_all(self.pending())?;
        durable::sync_directory(&self.directory)
    }

    /// Takes the journal of the parts away while the sequence is still pending: afterwards no run would know
    /// that it is of no use.
    fn forget_slots(&self) -> io::Result<()> {
        gone(fs::remove_file(slots::path(&self.directory)))
    }
}

/// What is not there is gone.
fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// What left the configuration: names that the target has and the plan does not set.
pub fn removals<'a>(
    known: &'a Known,
    desired: &HashSet<(&Repository, &Name)>,
) -> Vec<(&'a Repository, &'a Name, Digest)> {
    let left = |(repository, name, _): &(_, _, _)| !desired.contains(&(*repository, *name));
    known.references().filter(left).collect()
}

/// A removal in the index's terms.
pub fn removal(repository: u32, name: &Name, digest: Digest) -> Removal {
    Removal { repository, tag: name.tag(), digest }
}

fn read(path: &Path, limit: u64) -> Result<Vec<u8>, CreateError> {
    let found = durable::read(path, limit).map_err(CreateError::file("read the history"))?;
    found.ok_or_else(|| missing(path))
}

fn missing(path: &Path) -> CreateError {
    CreateError::History { path: path.to_owned(), problem: "the file is missing".to_owned() }
}

fn os_string(bytes: Vec<u8>) -> std::ffi::OsString {
    std::os::unix::ffi::OsStringExt::from_vec(bytes)
}
