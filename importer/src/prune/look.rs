//! What a repository of the target has: its tags, what they and the names that stand reach, and which candidates are there.
//!
//! In: a repository and what is asked of it. Out: [`Found`], or why it cannot be known; then nothing of it is taken away.
//! Only questions are asked here, a bounded number of them.

use std::collections::{BTreeSet, HashMap};

use format_spec::{Digest, Repository, Tag};
use registry::client::{ClientError, ErrorKind};
use registry::manifest::Manifest;
use registry::media_type::is_index;
use registry::reference::ManifestRef;

use super::names::Ever;
use super::plan::{Asked, Found, Links, holding, reach};
use crate::error::ImportError;
use crate::limits::{MANIFESTS_READ, PRUNED_TAGS_MAX, QUESTIONS};
use crate::paths::Destination;
use crate::survey::ask;

/// Tags that are asked for where the registry lists none.
const QUESTIONED: usize = 100;

/// What was found, or why it cannot be known.
pub(crate) type Looked = Result<Found, String>;

/// A manifest as far as it matters: whether it is there, and what it names.
enum Read {
    Absent,
    Unclear(String),
    There(Links, Vec<Digest>),
}

/// Looks at a repository. `coming`: indexes that are not there yet and will be. Candidates grow by what they name.
pub(crate) async fn look(
    at: &Destination,
    place: &Repository,
    ever: &Ever,
    asked: &mut Asked,
    coming: &HashMap<Digest, Links>,
) -> Result<Looked, ImportError> {
    let mut found = Found::default();
    let listed = match at.client.list_tags(at.host(), place).await {
        Ok(Some(listed)) => listed,
        Ok(None) => match hidden(at, place, ever).await? {
            Some(reason) => return Ok(Err(reason)),
            None => Vec::new(),
        },
        Err(error) => return unclear("its tags cannot be listed", error),
    };
    if listed.len() > PRUNED_TAGS_MAX {
        return Ok(Err(format!("it has {} tags, more than are looked at", listed.len())));
    }
    let heads = ask(listed, QUESTIONS, |tag| Box::pin(head(at, place, tag))).await?;
    let mut indexes: BTreeSet<Digest> = BTreeSet::new();
    for one in heads {
        let (tag, digest, index) = match one {
            Ok(Some(one)) => one,
            Ok(None) => continue,
            Err(reason) => return Ok(Err(reason)),
        };
        if index {
            indexes.insert(digest);
        }
        found.tags.insert(tag, digest);
    }
    let standing = asked.standing.values().flatten();
    indexes.extend(standing.filter(|one| ever.manifests.get(*one).is_none_or(|index| *index)));
    // What stands, level by level.
    while !indexes.is_empty() {
        let (known, unknown): (Vec<Digest>, Vec<Digest>) =
            indexes.iter().partition(|one| coming.contains_key(*one));
        indexes.clear();
        for one in known {
            let links = coming[&one].clone();
            indexes.extend(links.children.iter().filter(|child| coming.contains_key(*child)));
            found.links.insert(one, links);
        }
        for (digest, read) in read_all(at, place, unknown).await? {
            match read {
                Read::There(links, nested) => {
                    indexes.extend(nested);
                    found.links.insert(digest, links);
                }
                Read::Unclear(reason) => return Ok(Err(reason)),
                // What it names may be there without it.
                Read::Absent if ever.manifests.contains_key(&digest) => {
                    return Ok(Err(format!("`{place}@{digest}` stands and is not there")));
                }
                Read::Absent => {}
            }
        }
        indexes.retain(|one| !found.links.contains_key(one));
    }
    let mut kept = BTreeSet::new();
    reach(&found, &mut kept, asked.standing.values().flatten().copied());
    reach(&found, &mut kept, holding(&found, asked));
    let mut next: BTreeSet<Digest> = asked.candidates.difference(&kept).copied().collect();
    while !next.is_empty() {
        let read = read_all(at, place, std::mem::take(&mut next).into_iter().collect()).await?;
        for (digest, read) in read {
            match read {
                // A run that was stopped took it away, and what it named may be left; only it could tell which that is.
                Read::Absent if ever.manifests.get(&digest) == Some(&true) => {
                    let ours = ever.manifests.keys().filter(|one| !kept.contains(*one));
                    next.extend(ours.filter(|one| asked.candidates.insert(**one)));
                }
                // What cannot be read stays.
                Read::Absent | Read::Unclear(_) => {}
                Read::There(links, _) => {
                    found.there.insert(digest);
                    let ours =
                        links.children.iter().filter(|one| ever.manifests.contains_key(*one));
                    next.extend(ours.filter(|one| asked.candidates.insert(**one)));
                    found.links.insert(digest, links);
                }
            }
        }
    }
    Ok(Ok(found))
}

/// Why a repository that has no tags, as the registry says, has some: to whom may not list them some say that it is not there.
async fn hidden(
    at: &Destination,
    place: &Repository,
    ever: &Ever,
) -> Result<Option<String>, ImportError> {
    let ours = ever.tags.keys().take(QUESTIONED).cloned();
    let heads = ask(ours, QUESTIONS, |tag| Box::pin(head(at, place, tag))).await?;
    let reason = heads.into_iter().find_map(|head| match head {
        Ok(None) => None,
        Ok(Some((tag, ..))) => Some(format!(
            "its tags cannot be listed: the registry says that it is not there, and it has `{tag}`"
        )),
        Err(reason) => Some(reason),
    });
    Ok(reason)
}

/// A question that has no answer now is asked again by the next run; one that was refused has none.
fn unclear<T>(what: &str, error: ClientError) -> Result<Result<T, String>, ImportError> {
    match error.kind() {
        ErrorKind::Unavailable => Err(error.into()),
        _ => Ok(Err(format!("{what}: {error}"))),
    }
}

async fn head(
    at: &Destination,
    place: &Repository,
    tag: Tag,
) -> Result<Result<Option<(Tag, Digest, bool)>, String>, ImportError> {
    let name = ManifestRef::Tag(tag.clone());
    let head = match at.client.head_manifest(at.host(), place, &name).await {
        Ok(Some(head)) => head,
        Ok(None) => return Ok(Ok(None)),
        Err(error) => return unclear("one of its tags cannot be read", error),
    };
    if let (Some(digest), Some(media_type)) = (head.digest, head.media_type) {
        return Ok(Ok(Some((tag, digest, is_index(&media_type)))));
    }
    match at.client.get_manifest(at.host(), place, &name).await {
        Ok(raw) => Ok(Ok(Some((tag, raw.digest, is_index(&raw.media_type))))),
        Err(error) => unclear("one of its tags cannot be read", error),
    }
}

async fn read_all(
    at: &Destination,
    place: &Repository,
    digests: Vec<Digest>,
) -> Result<Vec<(Digest, Read)>, ImportError> {
    ask(digests, MANIFESTS_READ, |digest| {
        Box::pin(async move { Ok((digest, read(at, place, digest).await?)) })
    })
    .await
}

async fn read(at: &Destination, place: &Repository, digest: Digest) -> Result<Read, ImportError> {
    let raw = match at.client.get_manifest(at.host(), place, &digest.into()).await {
        Ok(raw) => raw,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Read::Absent),
        Err(error) => {
            let read = unclear("it cannot be read", error)?;
            return Ok(read.unwrap_or_else(Read::Unclear));
        }
    };
    Ok(match raw.parse() {
        Ok(manifest) => {
            let nested = manifest.children().iter().filter(|child| is_index(&child.media_type));
            let nested = nested.map(|child| child.digest).collect();
            Read::There(links(&manifest), nested)
        }
        Err(error) => Read::Unclear(format!("`{place}@{digest}`: {error}")),
    })
}

/// What a manifest of the target names; `None` when it is not there or cannot be read.
pub(crate) async fn read_links(
    at: &Destination,
    place: &Repository,
    digest: Digest,
) -> Result<Option<Links>, ImportError> {
    match read(at, place, digest).await? {
        Read::There(links, _) => Ok(Some(links)),
        Read::Absent | Read::Unclear(_) => Ok(None),
    }
}

/// What a manifest names.
pub(crate) fn links(manifest: &Manifest) -> Links {
    Links {
        children: manifest.children().iter().map(|child| child.digest).collect(),
        subject: manifest.subject().map(|subject| subject.digest),
        blobs: manifest.blobs().iter().map(|blob| (blob.digest, blob.size)).collect(),
    }
}
