//! Mirror to mirror: the blobs of a plan go straight from their origins into the target, with no medium between.
//!
//! In: a plan. Out: every blob of it in every repository that needs it, or why an image cannot be had. A blob that is there is not
//! moved; one that the registry has elsewhere is mounted. What must hold: nothing becomes visible here: names are an import's
//! part, which takes a sequence that carries the manifests alone.

use std::collections::{BTreeMap, HashMap};
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use format_spec::head::Link;
use format_spec::index::{Blob, Index};
use format_spec::{Digest, Repository};
use futures_util::future::{BoxFuture, try_join};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use registry::client::{Client, ClientError, ErrorKind as WireKind, Pushed};
use registry::filing::Damaged;
use registry::progress::Progress;
use registry::reference::Target;
use serde::Serialize;

use crate::destination::nest;
use crate::error::{CreateError, reason};
use crate::origin::{Loss, Origin, Origins};
use crate::plan::{Content, Few, Plan};
use crate::upload::FromOrigin;

/// Questions asked at a time.
const QUESTIONS: usize = 32;

/// Below this a blob waits for answers rather than for the line: those go beside the large ones.
const SMALL: u64 = 1024 * 1024;

/// Repositories into which one blob is mounted at a time.
const MOUNTS: usize = 4;

/// What a check answers.
pub type Checked<'a> = BoxFuture<'a, Result<(), Box<dyn Error + Send + Sync>>>;

/// Who knows whether the target takes a sequence.
pub trait Check: Send + Sync {
    /// Refuses before anything is written there. `last` is the sequence before.
    fn check<'a>(&'a self, index: &'a Index, last: Option<Link>) -> Checked<'a>;
}

/// What was moved.
#[derive(Debug, Default)]
pub struct Moved {
    /// Blobs whose bytes were sent.
    pub blobs: AtomicU64,
    /// Their bytes.
    pub bytes: AtomicU64,
    /// Blobs that the registry had in another repository.
    pub mounted: AtomicU64,
    /// Blobs that were there.
    pub present: AtomicU64,
}

/// What was moved up to a moment.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Counts {
    /// Blobs whose bytes were sent.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Blobs that the registry had in another repository.
    pub mounted: u64,
    /// Blobs that were there.
    pub present: u64,
}

impl Moved {
    /// What was moved so far.
    pub fn counts(&self) -> Counts {
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Counts {
            blobs: count(&self.blobs),
            bytes: count(&self.bytes),
            mounted: count(&self.mounted),
            present: count(&self.present),
        }
    }
}

/// A target in the place of a medium.
#[derive(Clone)]
pub struct Straight {
    /// The way to it.
    pub client: Client,
    /// Where everything goes.
    pub target: Target,
    /// Path components that it allows; 0 for any number.
    pub max_nested_paths: usize,
    /// Blobs sent at a time.
    pub parallel: usize,
    /// Who knows whether it takes a sequence.
    pub check: Arc<dyn Check>,
    /// What was moved.
    pub moved: Arc<Moved>,
}

/// A blob that some repositories lack.
struct Need<'a> {
    blob: &'a Blob,
    have: Option<&'a Repository>,
    lack: Vec<&'a Repository>,
}

/// All that sending takes.
struct Road<'a> {
    straight: &'a Straight,
    plan: &'a Plan,
    origins: &'a Origins,
    progress: &'a Arc<Progress>,
    /// The origins of each blob.
    of: HashMap<Digest, &'a Few>,
}

impl Straight {
    /// Sends what is missing. Gives the blobs that no origin has.
    pub(crate) async fn send(
        &self,
        plan: &Plan,
        origins: &Origins,
        progress: &Arc<Progress>,
    ) -> Result<BTreeMap<Digest, Loss>, CreateError> {
        let places = self.places(&plan.index)?;
        let is_blob = |item: &&crate::plan::Item| matches!(item.content, Content::Blob);
        let of =
            plan.items.iter().filter(is_blob).map(|item| (item.digest, &item.origins)).collect();
        let road = Road { straight: self, plan, origins, progress, of };
        progress.phase("asking the target");
        let mut needs: Vec<Need<'_>> = stream::iter(&plan.index.blobs)
            .map(|blob| road.need(blob, &places))
            .buffer_unordered(QUESTIONS)
            .try_filter_map(|need| async move { Ok((!need.lack.is_empty()).then_some(need)) })
            .try_collect()
            .await?;
        let present = plan.index.blobs.len() - needs.len();
        self.moved.present.store(present as u64, Ordering::Relaxed);
        let new = needs.iter().filter(|need| need.have.is_none());
        progress.expect(new.map(|need| need.blob.size).sum());
        progress.phase("moving blobs");
        // Large ones first: what ends last is small, and no stream is left alone.
        needs.sort_unstable_by_key(|need| (std::cmp::Reverse(need.blob.size), need.blob.digest));
        let (large, small): (Vec<_>, Vec<_>) =
            needs.into_iter().partition(|need| need.blob.size >= SMALL);
        let sent: Vec<&Blob> = large.iter().chain(&small).map(|need| need.blob).collect();
        let (large, small) = try_join(road.all(large), road.all(small)).await?;
        let lost: BTreeMap<Digest, Loss> = large.into_iter().chain(small).collect();
        road.prove(sent.into_iter().filter(|blob| !lost.contains_key(&blob.digest)), &places)
            .await?;
        Ok(lost)
    }

    /// The place of each repository.
    fn places(&self, index: &Index) -> Result<Vec<Repository>, CreateError> {
        let place = |repository: &Repository| {
            let below = repository.below(self.target.namespace.as_ref())?;
            nest(&below, self.max_nested_paths)
        };
        let places: Result<_, _> = index.repositories.iter().map(place).collect();
        places.map_err(|error| CreateError::Layout(error.to_string()))
    }
}

impl<'a> Road<'a> {
    /// Which repositories lack a blob.
    async fn need(
        &self,
        blob: &'a Blob,
        places: &'a [Repository],
    ) -> Result<Need<'a>, CreateError> {
        let (client, host) = (&self.straight.client, &self.straight.target.registry);
        let mut need = Need { blob, have: None, lack: Vec::new() };
        for id in &blob.repositories {
            let place = &places[*id as usize];
            let found = client.head_blob(host, place, &blob.digest).await?;
            match found.is_some_and(|size| size.is_none_or(|size| size == blob.size)) {
                true => need.have = Some(place),
                false => need.lack.push(place),
            }
        }
        Ok(need)
    }

    /// Asks once more for what was sent: an answer of 201 is a promise, and the sequence must not rest on it.
    async fn prove(
        &self,
        sent: impl Iterator<Item = &'a Blob>,
        places: &'a [Repository],
    ) -> Result<(), CreateError> {
        let lacking: Vec<Need<'_>> = stream::iter(sent)
            .map(|blob| self.need(blob, places))
            .buffer_unordered(QUESTIONS)
            .try_filter_map(|need| async move { Ok((!need.lack.is_empty()).then_some(need)) })
            .try_collect()
            .await?;
        let Some(first) = lacking.first() else { return Ok(()) };
        let (host, digest) = (&self.straight.target.registry, &first.blob.digest);
        let first = format!("{host}/{}@{digest}", first.lack[0]);
        Err(CreateError::NotKept { first, blobs: lacking.len() })
    }

    /// Sends several at a time.
    async fn all(&self, needs: Vec<Need<'a>>) -> Result<Vec<(Digest, Loss)>, CreateError> {
        stream::iter(needs)
            .map(|need| self.send(need))
            .buffer_unordered(self.straight.parallel.max(1))
            .try_filter_map(|lost| async move { Ok(lost) })
            .try_collect()
            .await
    }

    /// Puts a blob into all repositories that lack it. What no origin has is told.
    async fn send(&self, need: Need<'a>) -> Result<Option<(Digest, Loss)>, CreateError> {
        let Need { blob, have, lack } = need;
        let [first, others @ ..] = &lack[..] else { return Ok(None) };
        let _moving = self.progress.start(format!("{first}@{}", blob.digest.short()));
        if let Err(loss) = self.first(blob, first, have).await? {
            return Ok(Some((blob.digest, loss)));
        }
        let from = have.unwrap_or(first);
        let origin = Origin::Registry(self.straight.target.registry.clone(), from.clone());
        let origin = &origin;
        let mut others = stream::iter(others)
            .map(|place| async move {
                let Err(error) = self.put(blob, place, Some(from), origin).await else {
                    return Ok(Ok(()));
                };
                // What the registry does not give back comes from its source once more.
                lost(error)?;
                self.first(blob, place, None).await
            })
            .buffer_unordered(MOUNTS);
        while let Some(put) = others.try_next().await? {
            if let Err(loss) = put {
                return Ok(Some((blob.digest, loss)));
            }
        }
        Ok(None)
    }

    /// Puts a blob into one repository, from the first of its origins that has it.
    async fn first(
        &self,
        blob: &Blob,
        place: &Repository,
        have: Option<&Repository>,
    ) -> Result<Result<(), Loss>, CreateError> {
        let mut loss = None;
        let host = &self.straight.target.registry;
        for number in self.of.get(&blob.digest).into_iter().flat_map(|few| few.iter()) {
            let origin = &self.plan.origins[*number as usize];
            let own = match origin {
                Origin::Registry(at, repository) if at == host => Some(repository),
                _ => None,
            };
            let Err(error) = self.put(blob, place, have.or(own), origin).await else {
                return Ok(Ok(()));
            };
            loss = Some(lost(error)?);
        }
        Ok(Err(loss.unwrap_or_else(|| Loss {
            kind: None,
            reason: "nothing says where it comes from".to_owned(),
            hint: None,
        })))
    }

    async fn put(
        &self,
        blob: &Blob,
        place: &Repository,
        mount_from: Option<&Repository>,
        origin: &Origin,
    ) -> Result<(), ClientError> {
        let Straight { client, target, moved, .. } = self.straight;
        let source = FromOrigin::new(self.origins, origin, (blob.digest, blob.size), self.progress);
        let source = Arc::new(source);
        let (host, digest, size) = (&target.registry, &blob.digest, blob.size);
        match client.push_blob(host, place, digest, size, source, mount_from).await? {
            Pushed::Mounted => {
                moved.mounted.fetch_add(1, Ordering::Relaxed);
            }
            Pushed::Uploaded => {
                moved.blobs.fetch_add(1, Ordering::Relaxed);
                moved.bytes.fetch_add(size, Ordering::Relaxed);
            }
        }
        Ok(())
    }
}

/// What an origin does not have. Errors of the way, and of the target, are no loss: another run goes on.
fn lost(error: ClientError) -> Result<Loss, CreateError> {
    let Some(source) = error.source_error() else { return Err(CreateError::Wire(error)) };
    let cause = source.get_ref();
    if let Some(damaged) = cause.and_then(|cause| cause.downcast_ref::<Damaged>()) {
        return Ok(Loss { kind: Some(WireKind::Damaged), reason: damaged.to_string(), hint: None });
    }
    let kind = cause.and_then(|cause| cause.downcast_ref::<ClientError>()).map(ClientError::kind);
    use WireKind::{Config, Credentials, Tls, Unavailable};
    if matches!(kind, Some(Unavailable | Tls | Credentials | Config)) {
        return Err(CreateError::Wire(error.into_cause()));
    }
    Ok(Loss { kind, reason: reason(source), hint: None })
}
