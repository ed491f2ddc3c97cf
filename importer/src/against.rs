//! Whether a target has what sequences promise: every manifest and every blob, read and hashed, and every tag.
//!
//! In: sequences whose heads a trusted key signed (their parts need not be there), and a target. Out: what is missing
//! there or is not what was promised. An import looks whether everything is there (`survey`); here the bytes themselves
//! are proven, as a pull would get them. Nothing is written.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use format_spec::hash::Hasher;
use format_spec::head::Head;
use format_spec::index::Index;
use format_spec::{Digest, Repository, Sequence, StreamId, Tag};
use registry::client::{ClientError, ErrorKind as WireKind};
use registry::progress::Progress;
use registry::reference::ManifestRef;

use crate::cluster::records::{self, Follow as _};
use crate::deleted;
use crate::error::ImportError;
use crate::intake::Media;
use crate::ledger::{self, Record};
use crate::limits::{FINDINGS_MAX, MANIFEST_PUTS, MANIFESTS_READ, QUESTIONS};
use crate::paths::Destination;
use crate::prune::{Names, Standing};
use crate::report::{Lack, LackKind, ProvenTarget};
use crate::survey::{answers, ask, has_blob};
use crate::{AgainstOptions, verify};

/// Bytes of a blob that are read and hashed at a time.
const BUFFER: usize = 256 * 1024;

/// What must stand at a target: content by repository, names with what they stand for.
#[derive(Default)]
struct Promise {
    manifests: BTreeMap<Digest, BTreeSet<Repository>>,
    blobs: BTreeMap<Digest, (u64, BTreeSet<Repository>)>,
    tags: BTreeMap<(Repository, Tag), Digest>,
    /// What stands after the last of them; an import removes the rest.
    standing: Standing,
    /// Whether something of them left.
    left: bool,
    /// The last sequence of each stream.
    last: BTreeMap<StreamId, (Sequence, Digest)>,
}

/// Proves the target against the sequences in the directories.
pub async fn against(options: AgainstOptions) -> Result<ProvenTarget, ImportError> {
    let cancel = options.cancel.clone();
    tokio::select! {
        () = cancel.cancelled() => Err(ImportError::Cancelled),
        proven = prove(options) => proven,
    }
}

async fn prove(options: AgainstOptions) -> Result<ProvenTarget, ImportError> {
    let progress = &options.progress;
    progress.phase("checking signatures");
    let at =
        Destination::new(options.client.clone(), options.target.clone(), options.max_nested_paths)?;
    let (opened, mut warnings) = open(&options).await?;

    progress.phase("asking the target");
    let remote = ledger::read_remote(&at).await?;
    let promise = promised(&at, opened, &remote.deleted)?;
    let (mut lacks, moved_on) = standing(&at, &remote.records, &promise, &mut warnings)?;
    let tags = tags(&at, &promise).await?;
    if moved_on {
        warnings.extend(tags.iter().map(ToString::to_string));
    } else {
        lacks.extend(tags);
    }
    let mut content = manifests(&at, &promise).await?;
    progress.expect(promise.blobs.values().map(|(size, _)| size).sum());
    progress.phase("reading the blobs");
    let wanted = promise.blobs.iter().map(|(digest, (size, places))| (*digest, *size, places));
    let found = ask(wanted, options.parallel_blobs, |(digest, size, places)| {
        Box::pin(blob(&at, digest, size, places, progress))
    });
    content.extend(found.await?.into_iter().flatten());
    // What is not there and need not be is not counted as proven.
    let lacking: HashSet<String> = content.iter().map(|lack| lack.name.clone()).collect();
    let is_there = |digest: &Digest, places: &BTreeSet<Repository>| {
        let name = |place| format!("{}/{place}@{digest}", at.host());
        places.iter().any(|place| !lacking.contains(&name(place)))
    };
    let proven = promise.manifests.iter().filter(|(digest, places)| is_there(digest, places));
    let manifests = proven.count() as u64;
    let proven = promise.blobs.iter().filter(|(digest, (_, places))| is_there(digest, places));
    let sizes: Vec<u64> = proven.map(|(_, (size, _))| *size).collect();
    if !content.is_empty() && (promise.left || moved_on) {
        // What left was removed by an import, or is to be; a later sequence may have taken away more.
        if moved_on {
            let (gone, damaged) = content.into_iter().partition(|lack| !lack.is_damage());
            content = damaged;
            let gone: Vec<Lack> = gone;
            warnings.extend(gone.iter().map(|lack| {
                format!("{lack}; a later sequence may have taken it out of the configuration")
            }));
        } else if let Some(needed) = needed(&at, &promise.standing).await? {
            content.retain(|lack| lack.is_damage() || needed.contains(&lack.name));
        }
    }
    lacks.extend(content);
    lacks.sort();
    let more = lacks.len().saturating_sub(FINDINGS_MAX);
    lacks.truncate(FINDINGS_MAX);
    if more > 0 {
        warnings.push(format!("{more} more findings are not listed"));
    }
    Ok(ProvenTarget {
        target: options.target.to_string(),
        sequences: promise.last.values().map(|(sequence, _)| *sequence).collect(),
        manifests,
        blobs: sizes.len() as u64,
        bytes: sizes.iter().sum(),
        tags: promise.tags.len() as u64,
        lacks,
        warnings,
    })
}

/// Reads and proves heads and indexes in the directories.
async fn open(
    options: &AgainstOptions,
) -> Result<(Vec<(Head, Digest, Index)>, Vec<String>), ImportError> {
    let (from, trusted) = (options.from.clone(), options.trusted.clone());
    let open = move || {
        let media = Media::open(&from)?;
        let heads = verify::receive(&media)?;
        let mut opened = Vec::with_capacity(heads.len());
        for head in heads {
            let (head, digest, index, _) = head.describe(&media, Some(&trusted))?;
            opened.push((head, digest, index));
        }
        opened.sort_by_key(|(head, ..)| (head.stream, head.sequence));
        Ok::<_, ImportError>((opened, media.warnings))
    };
    tokio::task::spawn_blocking(open).await?
}

/// What sequences promise together: of a name the last word, but for what a person deleted at the target.
fn promised(
    at: &Destination,
    opened: Vec<(Head, Digest, Index)>,
    deleted: &deleted::ByStream,
) -> Result<Promise, ImportError> {
    let mut promise = Promise::default();
    let mut names = Names::default();
    for (head, digest, index) in opened {
        let mut follower = names.follow(at, head.stream, at.nested);
        records::pass(&head, &index, &mut follower);
        let here = deleted::of(deleted, head.stream).iter();
        let here: Vec<_> = here.filter(|name| name.after == head.sequence).collect();
        for name in &here {
            follower.remove(&name.repository, name.removal());
        }
        names = follower.names;
        let places = at.places(&index)?;
        let placed = |ids: &[u32]| -> Vec<Repository> {
            ids.iter().map(|id| places[*id as usize].clone()).collect()
        };
        for entry in &index.manifests {
            promise.manifests.entry(entry.digest).or_default().extend(placed(&entry.repositories));
        }
        let carried = index.blobs.iter().map(|b| (b.digest, b.size, &b.repositories));
        let required = index.required.iter().map(|b| (b.digest, b.size, &b.repositories));
        for (digest, size, repositories) in carried.chain(required) {
            let (_, there) = promise.blobs.entry(digest).or_insert((size, BTreeSet::new()));
            there.extend(placed(repositories));
        }
        let place = |id: u32| places[id as usize].clone();
        for removal in &index.removals {
            if let Some(tag) = &removal.tag {
                promise.tags.remove(&(place(removal.repository), tag.clone()));
            }
        }
        for reference in &index.references {
            if let Some(tag) = &reference.tag {
                let name = (place(reference.repository), tag.clone());
                promise.tags.insert(name, reference.digest);
            }
        }
        for name in here {
            if let (Some(tag), Ok(place)) = (&name.tag, at.place(&name.repository)) {
                promise.tags.remove(&(place, tag.clone()));
            }
        }
        promise.last.insert(head.stream, (head.sequence, digest));
    }
    promise.standing = names.standing();
    let stands = |place: &Repository, tag: &Tag| {
        let names = promise.standing.get(place);
        names.is_some_and(|names| names.contains_key(&ManifestRef::Tag(tag.clone())))
    };
    promise.tags.retain(|(place, tag), _| stands(place, tag));
    promise.left = names.has_left();
    Ok(promise)
}

/// What the names that stand need, as findings name it; `None` where something on the way is missing, and so what it needs
/// is not known.
async fn needed(
    at: &Destination,
    standing: &Standing,
) -> Result<Option<HashSet<String>>, ImportError> {
    let mut next: Vec<(Repository, Digest)> = standing
        .iter()
        .flat_map(|(place, names)| names.values().flatten().map(|one| (place.clone(), *one)))
        .collect();
    let mut needed = HashSet::new();
    let name = |place: &Repository, digest| format!("{}/{place}@{digest}", at.host());
    while !next.is_empty() {
        next.retain(|(place, digest)| needed.insert(name(place, *digest)));
        let read = ask(std::mem::take(&mut next), MANIFESTS_READ, |(place, digest)| {
            Box::pin(async move {
                match at.client.get_manifest(at.host(), &place, &digest.into()).await {
                    Ok(raw) => Ok((place, raw.parse().ok())),
                    Err(error) => lack_kind(error).map(|_| (place, None)),
                }
            })
        });
        for (place, manifest) in read.await? {
            let Some(manifest) = manifest else { return Ok(None) };
            needed.extend(manifest.blobs().iter().map(|blob| name(&place, blob.digest)));
            next.extend(manifest.children().iter().map(|child| (place.clone(), child.digest)));
        }
    }
    Ok(Some(needed))
}

/// What the target's own record says about the last of these sequences, and whether it took a later one, which may
/// have moved names.
fn standing(
    at: &Destination,
    records: &[Record],
    promise: &Promise,
    warnings: &mut Vec<String>,
) -> Result<(Vec<Lack>, bool), ImportError> {
    ledger::same_names(records, promise.last.keys().copied(), at.nested)?;
    let (mut lacks, mut moved_on) = (Vec::new(), false);
    for (stream, (sequence, digest)) in &promise.last {
        let record = records.iter().find(|record| record.stream == *stream);
        let lack = |kind| Lack { name: format!("sequence {sequence} of stream {stream}"), kind };
        match record {
            Some(record) if record.sequence == *sequence && record.digest == *digest => {}
            Some(record) if record.sequence > *sequence => {
                moved_on = true;
                warnings.push(format!(
                    "the target took sequence {} since: names that are not as these sequences set them \
                     are told as warnings",
                    record.sequence
                ));
            }
            Some(record) if record.sequence < *sequence => {
                lacks.push(lack(LackKind::Behind { stands: record.sequence }));
            }
            Some(record) => lacks.push(lack(LackKind::Other { found: record.digest })),
            None => lacks.push(lack(LackKind::Absent)),
        }
    }
    Ok((lacks, moved_on))
}

async fn tags(at: &Destination, promise: &Promise) -> Result<Vec<Lack>, ImportError> {
    let found = ask(&promise.tags, QUESTIONS, |((place, tag), digest)| {
        Box::pin(async move {
            let name = ManifestRef::Tag(tag.clone());
            if answers(at, place, &name, *digest).await? {
                return Ok(None);
            }
            let head = at.client.head_manifest(at.host(), place, &name).await?;
            let kind = match head.map(|head| head.digest) {
                None => LackKind::Absent,
                Some(Some(found)) if found != *digest => LackKind::Other { found },
                Some(_) => LackKind::Wrong,
            };
            Ok(Some(Lack { name: format!("{}/{place}:{tag}", at.host()), kind }))
        })
    });
    Ok(found.await?.into_iter().flatten().collect())
}

/// Reads every manifest in every repository that has to have it.
async fn manifests(at: &Destination, promise: &Promise) -> Result<Vec<Lack>, ImportError> {
    let wanted = promise.manifests.iter().flat_map(|(digest, places)| {
        let digest = *digest;
        places.iter().map(move |place| (digest, place))
    });
    let found = ask(wanted, MANIFEST_PUTS, |(digest, place)| {
        Box::pin(async move {
            let kind = manifest_lack(at, place, digest).await?;
            Ok(kind.map(|kind| Lack { name: format!("{}/{place}@{digest}", at.host()), kind }))
        })
    });
    Ok(found.await?.into_iter().flatten().collect())
}

/// Asks every repository for a blob, and reads it from one of those that say that they have it.
async fn blob(
    at: &Destination,
    digest: Digest,
    size: u64,
    places: &BTreeSet<Repository>,
    progress: &Progress,
) -> Result<Vec<Lack>, ImportError> {
    let mut lacks = Vec::new();
    let mut read_from = None;
    for place in places {
        if has_blob(at, place, digest, size).await? {
            read_from = read_from.or(Some(place));
        } else {
            let name = format!("{}/{place}@{digest}", at.host());
            lacks.push(Lack { name, kind: LackKind::Absent });
        }
    }
    let Some(place) = read_from else {
        progress.skip(size);
        return Ok(lacks);
    };
    if let Some(kind) = blob_lack(at, place, digest, size, progress).await? {
        lacks.push(Lack { name: format!("{}/{place}@{digest}", at.host()), kind });
    }
    Ok(lacks)
}

/// What is wrong with a blob as it arrives from a repository that says that it has it.
pub(crate) async fn blob_lack(
    at: &Destination,
    place: &Repository,
    digest: Digest,
    size: u64,
    progress: &Progress,
) -> Result<Option<LackKind>, ImportError> {
    let mut moving = progress.start(format!("{place}@{}", digest.short()));
    let reading = async {
        let mut stream = at.client.get_blob(at.host(), place, &digest, size, 0).await?;
        let mut hasher = Hasher::new();
        let mut buffer = vec![0; BUFFER];
        let mut at = 0;
        loop {
            match stream.read(&mut buffer).await? {
                0 => return Ok(hasher.finish()),
                read => {
                    hasher.update(&buffer[..read]);
                    at += read as u64;
                    moving.reached(at);
                }
            }
        }
    };
    match reading.await {
        Ok(found) => Ok((found != digest).then_some(LackKind::Wrong)),
        Err(error) => lack_kind(error).map(Some),
    }
}

/// What is wrong with a manifest as it arrives. The client hashes it.
pub(crate) async fn manifest_lack(
    at: &Destination,
    place: &Repository,
    digest: Digest,
) -> Result<Option<LackKind>, ImportError> {
    match at.client.get_manifest(at.host(), place, &digest.into()).await {
        Ok(_) => Ok(None),
        Err(error) => lack_kind(error).map(Some),
    }
}

/// What an answer says about the target. What the way there did is an error, no finding.
fn lack_kind(error: ClientError) -> Result<LackKind, ImportError> {
    match error.kind() {
        WireKind::NotFound => Ok(LackKind::Absent),
        WireKind::Damaged => Ok(LackKind::Wrong),
        _ => Err(error.into()),
    }
}
