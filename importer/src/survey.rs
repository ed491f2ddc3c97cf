//! What the target has of a sequence, and so what is to be done: a plan as a value.
//!
//! In: a sequence and its places at the target. Out: for each blob the repositories that lack it and
//! one that has it; the manifests and tags that are missing. Only questions are asked here. A blob
//! counts as there when the registry states its size or none (a wrong size is no presence; trap 8:
//! HEAD 200 alone).

use std::collections::HashSet;

use format_spec::index::{Index, RepositoryId};
use format_spec::{Digest, Repository};
use futures_util::future::BoxFuture;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use registry::reference::ManifestRef;

use crate::error::ImportError;
use crate::limits::QUESTIONS;
use crate::paths::Destination;

/// A blob that some repositories lack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Need {
    /// Its number in the list of blobs, or of required blobs.
    pub(crate) blob: usize,
    /// A repository that has it.
    pub(crate) have: Option<RepositoryId>,
    /// The repositories that lack it.
    pub(crate) lack: Vec<RepositoryId>,
}

/// What is to be done at the target for one sequence.
#[derive(Debug, Default)]
pub(crate) struct Work {
    /// Blobs of the parts.
    pub(crate) blobs: Vec<Need>,
    /// Blobs of earlier sequences, to be put into further repositories.
    pub(crate) required: Vec<Need>,
    /// Manifests by digest: the number in the index, the repository.
    pub(crate) manifests: Vec<(usize, RepositoryId)>,
    /// References with a tag: the number in the index.
    pub(crate) tags: Vec<usize>,
    /// Blobs that every repository has.
    pub(crate) present: u64,
}

impl Work {
    /// Whether the target has everything.
    pub(crate) fn is_nothing(&self) -> bool {
        self.blobs.is_empty()
            && self.required.is_empty()
            && self.manifests.is_empty()
            && self.tags.is_empty()
    }

    /// Blobs and bytes to send.
    pub(crate) fn to_send(&self, index: &Index) -> (u64, u64) {
        let sent = self.blobs.iter().filter(|need| need.have.is_none());
        sent.fold((0, 0), |(n, bytes), need| (n + 1, bytes + index.blobs[need.blob].size))
    }

    /// Manifests to write by their digest, and tags to set.
    pub(crate) fn names(&self) -> (u64, u64) {
        (self.manifests.len() as u64, self.tags.len() as u64)
    }

    /// How often a blob goes from one repository of the target into another.
    pub(crate) fn mounts(&self) -> u64 {
        let count = |need: &Need| need.lack.len() - usize::from(need.have.is_none());
        self.blobs.iter().chain(&self.required).map(|need| count(need) as u64).sum()
    }
}

/// Blobs that will be in repositories of the target by the time that matters: what a dry run would have brought with
/// the sequences before this one.
#[derive(Debug, Default)]
pub(crate) struct Promised(HashSet<(Digest, Repository)>);

impl Promised {
    /// Takes in what an import of `index` leaves at the target.
    pub(crate) fn add(&mut self, places: &[Repository], index: &Index) {
        let carried = index.blobs.iter().map(|blob| (blob.digest, &blob.repositories));
        let required = index.required.iter().map(|need| (need.digest, &need.repositories));
        for (digest, repositories) in carried.chain(required) {
            let places = repositories.iter().map(|id| (digest, places[*id as usize].clone()));
            self.0.extend(places);
        }
    }

    fn has(&self, place: &Repository, digest: Digest) -> bool {
        self.0.contains(&(digest, place.clone()))
    }
}

/// Runs `question` for all items, a bounded number at a time. Each answer is boxed: the compiler
/// cannot see through the lifetimes of nested generic futures that the whole may move between threads.
pub(crate) fn ask<'a, T, R, I, Q>(
    items: I,
    width: usize,
    question: Q,
) -> BoxFuture<'a, Result<Vec<R>, ImportError>>
where
    T: 'a,
    R: Send + 'a,
    I: IntoIterator<Item = T>,
    I::IntoIter: Send + 'a,
    Q: Fn(T) -> BoxFuture<'a, Result<R, ImportError>> + Send + 'a,
{
    let work = stream::iter(items.into_iter().map(question));
    Box::pin(work.buffer_unordered(width.max(1)).try_collect())
}

/// Whether a repository of the target has a blob of this size.
pub(crate) async fn has_blob(
    at: &Destination,
    place: &Repository,
    digest: Digest,
    size: u64,
) -> Result<bool, ImportError> {
    let found = at.client.head_blob(at.host(), place, &digest).await?;
    if found.is_some() {
        at.saw(place);
    }
    Ok(found.is_some_and(|stated| stated.is_none_or(|stated| stated == size)))
}

/// A blob and the repositories in question: those that need it, and one that may have it.
struct Question<'a> {
    digest: Digest,
    size: u64,
    needed_in: &'a [RepositoryId],
    home: Option<RepositoryId>,
}

/// The needs for these blobs, and how many need nothing.
async fn needs(
    at: &Destination,
    places: &[Repository],
    questions: &[Question<'_>],
    promised: Option<&Promised>,
) -> Result<(Vec<Need>, u64), ImportError> {
    let pairs = questions.iter().enumerate().flat_map(|(blob, question)| {
        let home = question.home.filter(|home| !question.needed_in.contains(home));
        question.needed_in.iter().copied().chain(home).map(move |repository| (blob, repository))
    });
    let mut answers = ask(pairs, QUESTIONS, |(blob, repository)| {
        Box::pin(async move {
            let Question { digest, size, .. } = questions[blob];
            let place = &places[repository as usize];
            let coming = promised.is_some_and(|promised| promised.has(place, digest));
            let there = coming || has_blob(at, place, digest, size).await?;
            Ok((blob, repository, there))
        })
    })
    .await?;
    answers.sort_unstable();
    let mut needs = Vec::new();
    for answers in answers.chunk_by(|(first, ..), (second, ..)| first == second) {
        let blob = answers[0].0;
        let have = answers.iter().find(|(.., there)| *there).map(|(_, repository, _)| *repository);
        let lacks =
            answers.iter().filter(|(.., there)| !there).map(|(_, repository, _)| *repository);
        let lack: Vec<_> =
            lacks.filter(|repository| questions[blob].needed_in.contains(repository)).collect();
        if !lack.is_empty() {
            needs.push(Need { blob, have, lack });
        }
    }
    let nothing = questions.len() - needs.len();
    Ok((needs, nothing as u64))
}

/// The needs for the blobs of the parts.
pub(crate) async fn blobs(
    at: &Destination,
    places: &[Repository],
    index: &Index,
    promised: Option<&Promised>,
) -> Result<(Vec<Need>, u64), ImportError> {
    let questions: Vec<_> = index
        .blobs
        .iter()
        .map(|blob| Question {
            digest: blob.digest,
            size: blob.size,
            needed_in: &blob.repositories,
            home: None,
        })
        .collect();
    needs(at, places, &questions, promised).await
}

/// The needs for the blobs of earlier sequences.
pub(crate) async fn required(
    at: &Destination,
    places: &[Repository],
    index: &Index,
    promised: Option<&Promised>,
) -> Result<Vec<Need>, ImportError> {
    let questions: Vec<_> = index
        .required
        .iter()
        .map(|required| Question {
            digest: required.digest,
            size: required.size,
            needed_in: &required.repositories,
            home: Some(required.home),
        })
        .collect();
    needs(at, places, &questions, promised).await.map(|(needs, _)| needs)
}

/// The blobs of earlier sequences that no repository in question has, except those in `promised`,
/// which a sequence before this one brings.
pub(crate) async fn missing(
    at: &Destination,
    places: &[Repository],
    index: &Index,
    promised: &HashSet<Digest>,
) -> Result<Vec<Digest>, ImportError> {
    let questions = index.required.iter().filter(|required| !promised.contains(&required.digest));
    let answers = ask(questions, QUESTIONS, |required| {
        Box::pin(async move {
            let homes = std::iter::once(required.home)
                .chain(required.repositories.iter().copied().filter(|id| *id != required.home));
            for id in homes {
                if has_blob(at, &places[id as usize], required.digest, required.size).await? {
                    return Ok(None);
                }
            }
            Ok(Some(required.digest))
        })
    })
    .await?;
    let mut missing: Vec<_> = answers.into_iter().flatten().collect();
    missing.sort_unstable();
    Ok(missing)
}

/// All manifests of the index, in each repository that needs them.
pub(crate) fn all_manifests(index: &Index) -> Vec<(usize, RepositoryId)> {
    let entries = index.manifests.iter().enumerate();
    entries.flat_map(|(n, entry)| entry.repositories.iter().map(move |id| (n, *id))).collect()
}

/// All references of the index that have a tag.
pub(crate) fn all_tags(index: &Index) -> Vec<usize> {
    let references = index.references.iter().enumerate();
    references.filter(|(_, reference)| reference.tag.is_some()).map(|(n, _)| n).collect()
}

/// Whether the target answers with this manifest under this name.
pub(crate) async fn answers(
    at: &Destination,
    place: &Repository,
    name: &ManifestRef,
    digest: Digest,
) -> Result<bool, ImportError> {
    let Some(head) = at.client.head_manifest(at.host(), place, name).await? else {
        return Ok(false);
    };
    if let Some(stated) = head.digest {
        return Ok(stated == digest);
    }
    // Some registries do not state the digest in an answer to HEAD.
    Ok(at.client.get_manifest(at.host(), place, name).await?.digest == digest)
}

/// The manifests that are not at the target.
pub(crate) async fn manifests(
    at: &Destination,
    places: &[Repository],
    index: &Index,
) -> Result<Vec<(usize, RepositoryId)>, ImportError> {
    let found = ask(all_manifests(index), QUESTIONS, |(n, id)| {
        Box::pin(async move {
            let digest = index.manifests[n].digest;
            let there = answers(at, &places[id as usize], &digest.into(), digest).await?;
            Ok((!there).then_some((n, id)))
        })
    })
    .await?;
    let mut found: Vec<_> = found.into_iter().flatten().collect();
    found.sort_unstable();
    Ok(found)
}

/// Those of `tags` that are not at the target, or name something else.
pub(crate) async fn tags(
    at: &Destination,
    places: &[Repository],
    index: &Index,
    tags: Vec<usize>,
) -> Result<Vec<usize>, ImportError> {
    let found = ask(tags, QUESTIONS, |n| {
        Box::pin(async move {
            let reference = &index.references[n];
            let Some(tag) = reference.tag.clone() else { return Ok(None) };
            let place = &places[reference.repository as usize];
            let there = answers(at, place, &tag.into(), reference.digest).await?;
            Ok((!there).then_some(n))
        })
    })
    .await?;
    let mut found: Vec<_> = found.into_iter().flatten().collect();
    found.sort_unstable();
    Ok(found)
}
