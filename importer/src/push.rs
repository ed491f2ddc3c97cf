//! Doing the work at the target: blobs, then manifests from the children up, then tags.
//!
//! In: a sequence whose turn it is, and the work that a survey found. Out: a target that has
//! everything, or an error after which no tag was moved. Each blob is read once, proven cell by cell
//! while it is sent, and sent once: further repositories get it by a mount. The registry compares the
//! whole blob with its digest before it keeps it, so it is not hashed a second time here.

use std::collections::{HashMap, HashSet};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use format_spec::index::RepositoryId;
use format_spec::{Digest, Repository};
use futures_util::stream::{self, Stream};
use registry::client::{BlobSource, Client, ClientError, Pushed};
use registry::manifest::Manifest;
use registry::media_type::is_index;
use registry::progress::Progress;
use registry::reference::{ManifestRef, RegistryHost};
use tokio::sync::Semaphore;

use crate::cells::Fault;
use crate::error::ImportError;
use crate::limits::{GROUP, MANIFEST_PUTS, MANIFEST_ROOM, MOUNTS, RESENDS};
use crate::order::Sequenced;
use crate::paths::Destination;
use crate::settled::{artifact_kind, is_of_a_blob, is_of_a_kind, settle};
use crate::subjects::Subjects;
use crate::survey::{self, Need, Work, ask};
use crate::unpack::PartSource;
use crate::uploads::Uploads;

/// Blobs older than this are looked for again before manifests name them: a garbage collection at
/// the target may have removed them (reference: registries, resume).
const BLOBS_OLD: Duration = Duration::from_secs(60);

/// Blobs below this are sent in the order of the part, so that they share proven cells.
const SMALL: u64 = (GROUP * format_spec::limits::CELL) as u64;

/// Bytes of a piece of a blob that the target sends back to itself.
const PIECE: usize = 128 * 1024;

/// One sequence on its way to a target.
pub(crate) struct Push {
    pub(crate) at: Destination,
    pub(crate) places: Vec<Repository>,
    pub(crate) sequence: Arc<Sequenced>,
    pub(crate) progress: Arc<Progress>,
    /// Where uploads of large blobs can be found again.
    pub(crate) uploads: Arc<Uploads>,
    /// Blobs sent at one time.
    pub(crate) parallel: usize,
    pub(crate) counts: Counts,
    pub(crate) subjects: Subjects,
    /// Whether the target must not get one blob twice at a time.
    pub(crate) one_at_a_time: bool,
    /// KiB of manifests that may be in memory: [`MANIFEST_ROOM`].
    pub(crate) room: Semaphore,
}

/// What was done.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) sent: AtomicU64,
    pub(crate) sent_bytes: AtomicU64,
    pub(crate) mounted: AtomicU64,
}

fn add(counter: &AtomicU64, value: u64) {
    counter.fetch_add(value, Ordering::Relaxed);
}

impl Push {
    /// Everything up to the tags: afterwards the target has all content, and no name was moved. With
    /// `whole`, every byte of every part was proven too, sent or not.
    pub(crate) async fn content(&self, work: &Work, whole: bool) -> Result<(), ImportError> {
        let index = self.sequence.index();
        let started = Instant::now();
        self.progress.phase("sending blobs");
        self.progress.expect(work.to_send(index).1);
        // Large ones fill the link, small ones wait for answers: beside each other they cost what the large
        // ones cost alone.
        let (large, small) = self.ordered(&work.blobs);
        if self.parallel > 1 {
            let send = |needs| ask(needs, self.parallel, |need| Box::pin(self.send(need)));
            futures_util::future::try_join(send(large), send(small)).await?;
        } else {
            ask(large.into_iter().chain(small), 1, |need| Box::pin(self.send(need))).await?;
        }
        ask(work.required.clone(), self.parallel, |need| Box::pin(self.mount_required(need)))
            .await?;
        if whole {
            self.progress.phase("checking the parts");
            self.prove_rest().await?;
        }
        if started.elapsed() > BLOBS_OLD {
            let (again, _) = survey::blobs(&self.at, &self.places, index, None).await?;
            ask(again, self.parallel, |need| Box::pin(self.send(need))).await?;
        }
        self.progress.phase("writing manifests");
        let look = || survey::blobs(&self.at, &self.places, index, None);
        let manifests = self.manifests(&work.manifests);
        let (_, (mut lost, _)) = futures_util::future::try_join(manifests, look()).await?;
        if !lost.is_empty() {
            // What the registry missed when it got a manifest was sent again.
            (lost, _) = look().await?;
        }
        // A registry that confirmed and does not have it must not get tags (threat T19).
        let Some(need) = lost.first() else { return Ok(()) };
        let place = need.lack.first().map_or("", |id| self.place(*id).as_str());
        let digest = index.blobs[need.blob].digest;
        Err(ImportError::Lost(format!("{}/{place}@{digest}", self.at.host())))
    }

    /// The tags: signatures first, so that no image is seen without its own.
    pub(crate) async fn tags(&self, tags: &[usize]) -> Result<(), ImportError> {
        self.progress.phase("writing tags");
        let index = self.sequence.index();
        self.subjects.write(&self.at, &self.places, index).await?;
        let numbers: HashMap<Digest, usize> =
            index.manifests.iter().enumerate().map(|(n, entry)| (entry.digest, n)).collect();
        let of_signature = |n: &usize| {
            let tag = index.references[*n].tag.as_ref();
            tag.is_some_and(|tag| tag.as_str().starts_with("sha256-"))
        };
        let (signatures, images): (Vec<usize>, Vec<usize>) =
            tags.iter().copied().partition(of_signature);
        for group in [signatures, images] {
            ask(group, MANIFEST_PUTS, |n| {
                let reference = &index.references[n];
                let name = reference.tag.clone().map_or(reference.digest.into(), ManifestRef::Tag);
                let number = numbers.get(&reference.digest).copied();
                Box::pin(async move {
                    // Index::validate: every reference names a manifest that is carried.
                    let Some(number) = number else { return Ok(()) };
                    self.put(number, reference.repository, name).await
                })
            })
            .await?;
        }
        Ok(())
    }

    /// The large blobs and the small ones. By part; in a part the large ones as they shrink, so that none
    /// is alone at the end, the small ones as they stand.
    fn ordered(&self, needs: &[Need]) -> (Vec<Need>, Vec<Need>) {
        let blob = |need: &Need| &self.sequence.index().blobs[need.blob];
        let (mut large, mut small): (Vec<Need>, Vec<Need>) =
            needs.iter().cloned().partition(|need| blob(need).size >= SMALL);
        large.sort_by_key(|need| {
            let first = blob(need).pieces[0];
            (first.part, std::cmp::Reverse(blob(need).size), first.offset)
        });
        small.sort_by_key(|need| {
            let first = blob(need).pieces[0];
            (first.part, first.offset)
        });
        (large, small)
    }

    /// Sends a blob to the first repository that lacks it, and mounts it into the others.
    async fn send(&self, need: Need) -> Result<(), ImportError> {
        let blob = &self.sequence.index().blobs[need.blob];
        let source = PartSource::new(&self.sequence, need.blob, &self.progress, &self.uploads);
        let source = Arc::new(source);
        let name = self.places.get(blob.repositories[0] as usize).map_or("", Repository::as_str);
        let _moving = self.progress.start(format!("{name}@{}", blob.digest.short()));
        let send = |id, from| {
            let source = Arc::clone(&source) as Arc<dyn BlobSource>;
            self.push(blob.digest, blob.size, id, source, from)
        };
        let mut lack = need.lack.into_iter();
        let Some(first) = lack.next() else { return Ok(()) };
        send(first, need.have).await?;
        let from = need.have.or(Some(first));
        // A registry that declines mounts gets the bytes, and Nexus takes one blob from one at a time
        // (nexus-public#967).
        let width = if self.one_at_a_time { 1 } else { MOUNTS };
        ask(lack, width, |id| Box::pin(send(id, from))).await?;
        Ok(())
    }

    /// Puts a blob of an earlier sequence, which the target has, into further repositories.
    async fn mount_required(&self, need: Need) -> Result<(), ImportError> {
        let required = &self.sequence.index().required[need.blob];
        let Some(from) = need.have else {
            return Err(ImportError::Lost(required.digest.to_string()));
        };
        // A registry that declines the mount gets the bytes from itself: they are not on the medium.
        let source = Arc::new(Relay {
            client: self.at.client.clone(),
            host: self.at.host().clone(),
            repository: self.place(from).clone(),
            digest: required.digest,
            size: required.size,
        });
        for id in need.lack {
            let source = Arc::clone(&source) as Arc<dyn BlobSource>;
            self.push(required.digest, required.size, id, source, Some(from)).await?;
        }
        Ok(())
    }

    async fn push(
        &self,
        digest: Digest,
        size: u64,
        into: RepositoryId,
        source: Arc<dyn BlobSource>,
        from: Option<RepositoryId>,
    ) -> Result<(), ImportError> {
        let (host, place) = (self.at.host(), self.place(into));
        let from = from.map(|from| self.place(from));
        match self.at.client.push_blob(host, place, &digest, size, source, from).await {
            Ok(Pushed::Mounted) => add(&self.counts.mounted, 1),
            Ok(Pushed::Uploaded) => {
                add(&self.counts.sent, 1);
                add(&self.counts.sent_bytes, size);
            }
            Err(error) => return Err(self.explain(error).await),
        }
        Ok(())
    }

    fn place(&self, id: RepositoryId) -> &Repository {
        &self.places[id as usize]
    }

    /// Proves what no blob that was sent has proven: the rest of the cells.
    async fn prove_rest(&self) -> Result<(), ImportError> {
        let sequence = Arc::clone(&self.sequence);
        tokio::task::spawn_blocking(move || sequence.verified().prove_rest())
            .await?
            .map_err(ImportError::Damage)
    }

    /// Manifests by digest: those without children first, then index by index upwards.
    async fn manifests(&self, wanted: &[(usize, RepositoryId)]) -> Result<(), ImportError> {
        let ranks = self.ranks().await?;
        let highest = ranks.iter().copied().max().unwrap_or(0);
        for rank in 0..=highest {
            let ranks = &ranks;
            let now = wanted.iter().copied().filter(move |(n, _)| ranks[*n] == rank);
            ask(now, MANIFEST_PUTS, |(n, id)| {
                Box::pin(self.put(n, id, self.sequence.index().manifests[n].digest.into()))
            })
            .await?;
        }
        Ok(())
    }

    /// For each manifest how many levels of carried manifests it stands above.
    async fn ranks(&self) -> Result<Vec<usize>, ImportError> {
        let sequence = Arc::clone(&self.sequence);
        let ranks = tokio::task::spawn_blocking(move || {
            let index = sequence.index();
            let mut by_digest: HashMap<Digest, usize> = HashMap::new();
            let mut ranks = Vec::with_capacity(index.manifests.len());
            for entry in &index.manifests {
                let mut rank = 0;
                if is_index(&entry.media_type) {
                    let bytes = sequence.content().manifest(entry)?;
                    // What this program cannot parse goes after all that stand before it.
                    rank = match Manifest::parse(&bytes, Some(&entry.media_type)) {
                        Ok(manifest) => {
                            let children = manifest.children().iter();
                            let above = children.filter_map(|child| by_digest.get(&child.digest));
                            above.max().map_or(1, |rank| rank + 1)
                        }
                        Err(_) => by_digest.values().max().map_or(1, |rank| rank + 1),
                    };
                }
                by_digest.insert(entry.digest, rank);
                ranks.push(rank);
            }
            Ok::<_, Fault>(ranks)
        });
        match ranks.await? {
            Ok(ranks) => Ok(ranks),
            Err(fault) => Err(self.damage(fault).await),
        }
    }

    /// Writes one manifest under one name. When the registry says that blobs are missing, they are
    /// sent again.
    async fn put(
        &self,
        number: usize,
        id: RepositoryId,
        name: ManifestRef,
    ) -> Result<(), ImportError> {
        let entry = &self.sequence.index().manifests[number];
        let kib = u32::try_from(entry.size.div_ceil(1024)).unwrap_or(MANIFEST_ROOM);
        let room = self.room.acquire_many(kib.clamp(1, MANIFEST_ROOM)).await;
        let _room = room.expect("never closed");
        let sequence = Arc::clone(&self.sequence);
        let read = tokio::task::spawn_blocking(move || {
            sequence.content().manifest(&sequence.index().manifests[number])
        });
        let read: Bytes = match read.await? {
            Ok(bytes) => bytes,
            Err(fault) => return Err(self.damage(fault).await),
        };
        let (host, place) = (self.at.host(), self.place(id));
        for attempt in 0.. {
            let bytes = read.clone();
            let sent = self.at.client.put_manifest(host, place, &name, &entry.media_type, bytes);
            match sent.await {
                Ok(stored) => {
                    if !stored.subject_indexed {
                        self.subjects.note(id, entry, &read);
                    }
                    break;
                }
                Err(error) if attempt < RESENDS && is_of_a_blob(&error) => {
                    self.send_again(id).await?;
                }
                // Its children were confirmed. Where some were left out on purpose no further run helps.
                Err(error)
                    if is_of_a_blob(&error)
                        && self.is_whole_index(&entry.media_type, &read, id) =>
                {
                    return Err(ImportError::Lost(format!("the children of {}", error.subject())));
                }
                // The registry stores no such thing, whatever is done here.
                Err(source) if is_of_a_kind(&source) => {
                    let Some(kind) = artifact_kind(&read, &entry.media_type) else {
                        return settle(&self.at, place, &name, entry.digest, source).await;
                    };
                    let place = format!("`{}`", source.subject());
                    return Err(ImportError::Artifact { kind, place, source });
                }
                Err(error) => return settle(&self.at, place, &name, entry.digest, error).await,
            }
        }
        Ok(())
    }

    /// Whether these bytes are an index of which the sequence carries every child for this repository.
    fn is_whole_index(&self, media_type: &str, bytes: &[u8], id: RepositoryId) -> bool {
        let Ok(Manifest::Index(index)) = Manifest::parse(bytes, Some(media_type)) else {
            return false;
        };
        let here = self.sequence.index().manifests.iter();
        let here = here.filter(|entry| entry.repositories.contains(&id));
        let carried: HashSet<Digest> = here.map(|entry| entry.digest).collect();
        index.manifests.iter().all(|child| carried.contains(&child.digest))
    }

    /// Sends what a repository has lost since it was confirmed.
    async fn send_again(&self, id: RepositoryId) -> Result<(), ImportError> {
        let index = self.sequence.index();
        let here = |need: &Need| need.lack.contains(&id);
        let (blobs, _) = survey::blobs(&self.at, &self.places, index, None).await?;
        for need in blobs.into_iter().filter(here) {
            self.send(Need { lack: vec![id], ..need }).await?;
        }
        let required = survey::required(&self.at, &self.places, index, None).await?;
        for need in required.into_iter().filter(here) {
            self.mount_required(Need { lack: vec![id], ..need }).await?;
        }
        Ok(())
    }

    /// The cause behind a failed push: damage of a part is the medium's, the rest a registry's.
    async fn explain(&self, error: ClientError) -> ImportError {
        let fault = error
            .source_error()
            .and_then(io::Error::get_ref)
            .and_then(|inner| inner.downcast_ref::<Fault>());
        match fault {
            Some(fault) => self.damage(fault.clone()).await,
            // A blob that the target sends to itself: what it said decides the exit code, not that it was read.
            None => error.into_cause().into(),
        }
    }

    /// Names the images behind a fault; that reads manifests, so not on a thread of the sockets.
    async fn damage(&self, fault: Fault) -> ImportError {
        let sequence = Arc::clone(&self.sequence);
        let named = tokio::task::spawn_blocking(move || sequence.verified().damage(fault)).await;
        named.map_or_else(ImportError::Task, |damage| ImportError::Damage(Box::new(damage)))
    }
}

/// A blob of the target as the source of an upload into another of its repositories.
struct Relay {
    client: Client,
    host: RegistryHost,
    repository: Repository,
    digest: Digest,
    size: u64,
}

impl BlobSource for Relay {
    fn open(&self, offset: u64) -> Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>> {
        let (client, host, repository) =
            (self.client.clone(), self.host.clone(), self.repository.clone());
        let (digest, size) = (self.digest, self.size);
        Box::pin(stream::unfold(Some(None), move |state| {
            let (client, host, repository) = (client.clone(), host.clone(), repository.clone());
            async move {
                let chunk = async {
                    let mut stream = match state? {
                        Some(stream) => stream,
                        None => {
                            match client.get_blob(&host, &repository, &digest, size, offset).await {
                                Ok(stream) => Box::new(stream),
                                Err(error) => return Some(Err(error)),
                            }
                        }
                    };
                    let mut chunk = BytesMut::zeroed(PIECE);
                    match stream.read(&mut chunk).await {
                        Ok(0) => None,
                        Ok(read) => {
                            chunk.truncate(read);
                            Some(Ok((chunk.freeze(), stream)))
                        }
                        Err(error) => Some(Err(error)),
                    }
                };
                match chunk.await? {
                    Ok((chunk, stream)) => Some((Ok(chunk), Some(Some(stream)))),
                    Err(error) => Some((Err(io::Error::other(error)), None)),
                }
            }
        }))
    }
}
