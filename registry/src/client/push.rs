//! Pushes: blobs by one streamed request where that works, manifests, deletions.
//!
//! In: digests, sizes and sources of bytes. Out: the word that the registry holds them. What must hold:
//! an upload's `Location` is opaque and never leads to another origin; after a break the registry is
//! asked for its offset, never guessed (distribution#2593: an upload resumed at a wrong offset is
//! corrupt); nothing is buffered.

use std::sync::Arc;

use bytes::Bytes;
use format_spec::{Digest, Repository};
use reqwest::Method;
use reqwest::header::{
    CONTENT_RANGE, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION, RANGE,
};
use url::Url;

use super::answer::{drain, text};
use super::error::{Failed, Fault};
use super::feed::{OCTETS, answer_time, pour};
use super::headers::{upload_location, upload_offset};
use super::product::Product;
use super::pull::blob_head;
use super::retry::Tries;
use super::session::Session;
use super::token::Scopes;
use super::{BlobSource, Client, ClientError, Core, ErrorKind, hold, subject};
use crate::media_type;
use crate::reference::{ManifestRef, RegistryHost};

const CHUNK_MIN: HeaderName = HeaderName::from_static("oci-chunk-min-length");
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// The first chunk size when a registry wants chunks: GHCR takes no more (rust-oci-client#35).
const CHUNK: u64 = 4 * 1024 * 1024;

/// The smallest chunk that is tried: below 1 MiB, nginx's default body limit, nothing is gained.
const CHUNK_FLOOR: u64 = 256 * 1024;

/// How blobs are sent to one registry, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// POST, then one PUT with everything (Google's registry takes nothing else).
    Monolithic,
    /// POST, one PATCH with everything, an empty PUT (as Docker does it).
    Whole,
    /// POST, PATCHes of this many bytes, an empty PUT.
    Chunks(u64),
}

impl Way {
    /// The next way after this one was refused; `None` when there is none.
    fn weaker(self, too_large: bool, product: Product) -> Option<Self> {
        match self {
            // What its registry says of one request is the reason; nothing else is taken.
            _ if !product.takes_parts() => None,
            Self::Monolithic if !too_large => Some(Self::Whole),
            Self::Monolithic | Self::Whole => Some(Self::Chunks(CHUNK)),
            Self::Chunks(size) if size > CHUNK_FLOOR => Some(Self::Chunks(size / 4)),
            Self::Chunks(_) => None,
        }
    }
}

/// What a registry did with a manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// It answered `OCI-Subject`: it lists the manifest as a referrer of its subject. Without it the
    /// client keeps the list, under the referrers tag (OCI distribution 1.1, "Pushing manifests with
    /// subject").
    pub subject_indexed: bool,
}

/// How a blob came into the repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// From another repository of the same registry; no bytes were sent.
    Mounted,
    /// Its bytes were sent.
    Uploaded,
}

/// What became of a deletion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deleted {
    /// It is gone.
    Done,
    /// It was not there.
    NotFound,
    /// The registry does not delete, or not this.
    Unsupported,
}

/// One blob to push.
struct Job<'a> {
    repository: &'a Repository,
    digest: &'a Digest,
    size: u64,
    source: &'a dyn BlobSource,
}

/// An open upload.
pub(super) struct Upload {
    pub(super) url: Url,
    /// Bytes that the registry confirmed.
    offset: u64,
    /// Bytes that were handed to the connection, confirmed or not.
    sent: u64,
    chunk_min: u64,
}

pub(super) enum Opened {
    Mounted,
    At(Upload),
}

impl Client {
    /// Pushes a blob; does not ask first whether it is there. With `mount_from`, the registry is asked
    /// to take it from that repository; if it declines, the bytes are sent.
    #[allow(clippy::too_many_arguments)]
    pub async fn push_blob(
        &self,
        host: &RegistryHost,
        repository: &Repository,
        digest: &Digest,
        size: u64,
        source: Arc<dyn BlobSource>,
        mount_from: Option<&Repository>,
    ) -> Result<Pushed, ClientError> {
        let run = async {
            let session = self.core.session(host, false).await?;
            let job = Job { repository, digest, size, source: &*source };
            push(&self.core, &session, &job, mount_from).await
        };
        run.await.map_err(|failed| {
            ClientError::new("push blob", format!("{host}/{repository}@{digest}"), failed)
        })
    }

    /// Pushes a manifest's bytes as they are. By digest, the bytes must have that digest.
    pub async fn put_manifest(
        &self,
        host: &RegistryHost,
        repository: &Repository,
        reference: &ManifestRef,
        media_type: &str,
        bytes: Bytes,
    ) -> Result<Stored, ClientError> {
        let run = async {
            let found = Digest::of(&bytes);
            if let ManifestRef::Digest(expected) = reference
                && *expected != found
            {
                return Err(Fault::Digest { expected: *expected, found }.into());
            }
            let session = self.core.session(host, false).await?;
            let scopes = Scopes::push(repository);
            let url = session.url(&format!("{repository}/manifests/{reference}"))?;
            let mut request = session.request(&self.core, Method::PUT, url, &scopes);
            let kind = HeaderValue::from_str(media_type)
                .map_err(|_| Fault::Protocol("the media type cannot stand in a header".into()))?;
            request.headers.insert(CONTENT_TYPE, kind);
            request.body = Some(bytes);
            let answer = session.send(&self.core, &request).await;
            let answer = answer.map_err(|failed| lost(media_type, failed))?;
            let there = text(answer.headers(), &CONTENT_DIGEST).and_then(|text| text.parse().ok());
            let subject_indexed = answer.headers().contains_key("oci-subject");
            drain(answer).await;
            match there {
                Some(stored) if stored != found => {
                    Err(Fault::Changed { sent: found, stored }.into())
                }
                _ => Ok(Stored { subject_indexed }),
            }
        };
        run.await.map_err(|failed| {
            ClientError::new("push manifest", subject(host, repository, reference), failed)
        })
    }

    /// Deletes a manifest, or a tag where the registry can do that.
    pub async fn delete_manifest(
        &self,
        host: &RegistryHost,
        repository: &Repository,
        reference: &ManifestRef,
    ) -> Result<Deleted, ClientError> {
        let run = async {
            let session = self.core.session(host, false).await?;
            let scopes = Scopes::delete(repository);
            let url = session.url(&format!("{repository}/manifests/{reference}"))?;
            let request = session.request(&self.core, Method::DELETE, url, &scopes);
            match session.send(&self.core, &request).await {
                Ok(answer) => {
                    drain(answer).await;
                    Ok(Deleted::Done)
                }
                Err(failed) => match &failed.fault {
                    Fault::NotFound { .. } => Ok(Deleted::NotFound),
                    Fault::Refused { status: 405 | 501, .. } => Ok(Deleted::Unsupported),
                    fault @ Fault::Refused { .. } if has_code(fault, "UNSUPPORTED") => {
                        Ok(Deleted::Unsupported)
                    }
                    // distribution 2 deletes by digest only and calls a tag an invalid digest.
                    fault @ Fault::Refused { .. }
                        if matches!(reference, ManifestRef::Tag(_))
                            && has_code(fault, "DIGEST_INVALID") =>
                    {
                        Ok(Deleted::Unsupported)
                    }
                    _ => Err(failed),
                },
            }
        };
        run.await.map_err(|failed| {
            ClientError::new("delete manifest", subject(host, repository, reference), failed)
        })
    }
}

/// A refusal because of an unknown blob, if it is one that running again mends. An index is refused so too
/// where its children are left out on purpose, and that stays.
fn lost(media_type: &str, failed: Failed) -> Failed {
    match failed.fault {
        fault @ (Fault::Refused { .. } | Fault::NotFound { .. })
            if media_type::is_index(media_type)
                || !["MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN"]
                    .iter()
                    .any(|code| has_code(&fault, code)) =>
        {
            Failed { fault, ..failed }
        }
        Fault::Refused { status, codes, detail } => {
            Failed { fault: Fault::Lost { status, codes, detail }, ..failed }
        }
        Fault::NotFound { codes, detail } => {
            Failed { fault: Fault::Lost { status: 404, codes, detail }, ..failed }
        }
        fault => Failed { fault, ..failed },
    }
}

fn has_code(fault: &Fault, code: &str) -> bool {
    fault.codes().iter().any(|have| have == code)
}

async fn push(
    core: &Arc<Core>,
    session: &Session,
    job: &Job<'_>,
    mount_from: Option<&Repository>,
) -> Result<Pushed, Failed> {
    let mut scopes = Scopes::push(job.repository);
    let mut mount = mount_from.filter(|source| *source != job.repository);
    if let Some(source) = mount {
        scopes = scopes.and_pull(source);
    }
    let mut tries = Tries::new(core.options.retry, &core.counters);
    let first_way = *hold(&session.way);
    let mut way = first_way;
    let (mut may_renew, mut may_prove, mut breaks) = (true, true, 0_u32);
    let mut upload = left(core, session, &scopes, job).await;
    // What the registry says it has was perhaps sent by another process, or before it lost power: the digest of all decides.
    let mut resumed = upload.is_some();
    let mut kept = resumed;
    loop {
        let mut current = match upload.take() {
            Some(current) => current,
            None => match open(
                core,
                session,
                &scopes,
                job.repository,
                mount.map(|from| (job.digest, from)),
            )
            .await
            {
                Ok(Opened::Mounted) => return Ok(Pushed::Mounted),
                Ok(Opened::At(fresh)) => {
                    (mount, resumed) = (None, false);
                    kept = job.source.began(job.repository, fresh.url.as_str());
                    fresh
                }
                // Not every account may read the source: the bytes are here, send them.
                Err(failed) if mount.is_some() && !failed.fault.is_passing() => {
                    tracing::debug!(fault = %failed.fault, "mount refused");
                    mount = None;
                    scopes = Scopes::push(job.repository);
                    continue;
                }
                Err(failed) => return Err(failed),
            },
        };
        let before = current.offset;
        let fault = match transfer(core, session, &scopes, job, &mut current, way).await {
            Ok(()) => {
                if way != first_way {
                    tracing::debug!(host = %session.host, ?way, "uploads work this way here");
                    *hold(&session.way) = way;
                }
                return Ok(Pushed::Uploaded);
            }
            Err(fault) => fault,
        };
        if current.offset > before {
            tries.progress();
            (may_prove, breaks) = (true, 0);
        }
        match &fault {
            Fault::Unauthorized { status: 401, .. } if may_prove => {
                may_prove = false;
                upload = ask_offset(core, session, &scopes, job, &current).await?;
                resumed |= upload.is_some();
            }
            Fault::Refused { .. } if resumed && has_code(&fault, "DIGEST_INVALID") => {
                core.counters.retry();
            }
            Fault::Refused { status, detail, .. } if has_code(&fault, "DIGEST_INVALID") => {
                let fault = Fault::DigestThere { status: *status, detail: detail.clone() };
                return Err(tries.end(fault));
            }
            // The registry forgot the upload, or cannot go on with it: once more from the start.
            Fault::NotFound { .. } | Fault::Refused { .. }
                // Not every registry takes a PATCH (Google's does not): the rest cannot be sent alone.
                // Each such round began with a passing fault, so the tries bound them.
                if before > 0 && way == Way::Monolithic =>
            {
                core.counters.retry();
            }
            Fault::NotFound { .. } | Fault::Refused { .. }
                if may_renew
                    && (before > 0
                        || has_code(&fault, "BLOB_UPLOAD_UNKNOWN")
                        || has_code(&fault, "BLOB_UPLOAD_INVALID")
                        || has_code(&fault, "RANGE_INVALID")) =>
            {
                may_renew = false;
                core.counters.retry();
            }
            Fault::NotFound { .. }
            | Fault::Refused { status: 400 | 405 | 411 | 413 | 415 | 416 | 501, .. } => {
                let too_large = matches!(fault, Fault::Refused { status: 413, .. });
                abandon(core, session, &scopes, &current).await;
                match way.weaker(too_large, session.product()) {
                    Some(next) => way = next,
                    None => return Err(tries.end(fault)),
                }
            }
            fault_now if fault_now.is_passing() => {
                breaks +=
                    u32::from(matches!(fault_now, Fault::Broken { .. } | Fault::Stalled { .. }));
                let all_sent = current.sent >= job.size;
                tries.again(fault).await?;
                if all_sent
                    && let Ok(Some(there)) =
                        blob_head(core, session, job.repository, job.digest).await
                    && there == job.size
                {
                    // The answer was lost, not the blob.
                    return Ok(Pushed::Uploaded);
                }
                upload = ask_offset(core, session, &scopes, job, &current).await?;
                resumed |= upload.is_some();
                // A proxy that cuts large bodies without a word, or a line that never holds for a
                // whole blob: smaller requests get through both.
                let parts = session.product().takes_parts();
                if breaks >= 2 && parts && upload.as_ref().is_none_or(|upload| upload.offset == 0) {
                    way = match way {
                        Way::Monolithic | Way::Whole => Way::Chunks(CHUNK),
                        chunks => chunks,
                    };
                }
            }
            // Nothing more comes. What is kept is gone on with, once the source is mended.
            Fault::Source(_) if !kept => {
                abandon(core, session, &scopes, &current).await;
                return Err(tries.end(fault));
            }
            _ => return Err(tries.end(fault)),
        }
    }
}

/// The upload that an earlier process left, if the registry still has some of it. It is asked once: this is a help, and
/// whatever goes wrong with it, the blob can be sent from its beginning.
async fn left(core: &Core, session: &Session, scopes: &Scopes, job: &Job<'_>) -> Option<Upload> {
    let address = job.source.left(job.repository)?;
    let base = session.url(&format!("{}/blobs/uploads/", job.repository)).ok()?;
    // Whoever wrote the address: it does not lead to another origin.
    let url = upload_location(&base, &address).ok()?;
    let upload = Upload { url, offset: 0, sent: 0, chunk_min: 0 };
    let asking = ask_offset(core, session, scopes, job, &upload);
    let upload = tokio::time::timeout(core.options.stall, asking).await.ok()?.ok()??;
    (upload.offset > 0).then_some(upload)
}

/// Opens an upload, or mounts.
pub(super) async fn open(
    core: &Core,
    session: &Session,
    scopes: &Scopes,
    repository: &Repository,
    mount: Option<(&Digest, &Repository)>,
) -> Result<Opened, Failed> {
    let mut url = session.url(&format!("{repository}/blobs/uploads/"))?;
    if let Some((digest, source)) = mount {
        url.query_pairs_mut()
            .append_pair("mount", &digest.to_string())
            .append_pair("from", source.as_str());
    }
    let request = session.request(core, Method::POST, url.clone(), scopes);
    let answer = session.send(core, &request).await?;
    if answer.status().as_u16() == 201 && mount.is_some() {
        drain(answer).await;
        return Ok(Opened::Mounted);
    }
    // 202 to a mount means declined: this is a plain upload (distribution specification, "Mounting").
    let location = text(answer.headers(), &LOCATION)
        .ok_or_else(|| Fault::Protocol("the upload has no `Location`".into()))?;
    let url = upload_location(&url, location)?;
    let chunk_min =
        text(answer.headers(), &CHUNK_MIN).and_then(|text| text.parse().ok()).unwrap_or(0);
    drain(answer).await;
    Ok(Opened::At(Upload { url, offset: 0, sent: 0, chunk_min }))
}

/// Tells the registry that an upload is not continued. Best effort: it expires anyway.
pub(super) async fn abandon(core: &Core, session: &Session, scopes: &Scopes, upload: &Upload) {
    let request = session.request(core, Method::DELETE, upload.url.clone(), scopes);
    if let Ok(answer) = session.exchange(core, &request).await {
        drain(answer).await;
    }
}

/// Asks how much of an upload the registry has; `None` when it cannot be continued.
async fn ask_offset(
    core: &Core,
    session: &Session,
    scopes: &Scopes,
    job: &Job<'_>,
    upload: &Upload,
) -> Result<Option<Upload>, Failed> {
    // Where parts are not taken, the rest cannot be sent alone.
    if !session.product().takes_parts() {
        return Ok(None);
    }
    let request = session.request(core, Method::GET, upload.url.clone(), scopes);
    let answer = match session.send(core, &request).await {
        Ok(answer) => answer,
        Err(failed) if failed.fault.kind() == ErrorKind::Credentials => return Err(failed),
        Err(failed) => {
            tracing::debug!(fault = %failed.fault, "the upload cannot be continued");
            return Ok(None);
        }
    };
    let range = text(answer.headers(), &RANGE).map(str::to_owned);
    let url = match text(answer.headers(), &LOCATION) {
        Some(location) => upload_location(&upload.url, location)?,
        None => upload.url.clone(),
    };
    drain(answer).await;
    Ok(match upload_offset(range.as_deref()) {
        // `0-0` is one byte by the rule and none with distribution: not worth the doubt.
        Some(1) if job.size > 1 => None,
        Some(offset) if offset <= job.size => {
            tracing::debug!(offset, size = job.size, "the upload goes on");
            Some(Upload { url, offset, sent: offset, chunk_min: upload.chunk_min })
        }
        _ => None,
    })
}

/// Sends what is missing and commits.
async fn transfer(
    core: &Arc<Core>,
    session: &Session,
    scopes: &Scopes,
    job: &Job<'_>,
    upload: &mut Upload,
    way: Way,
) -> Result<(), Fault> {
    if way == Way::Monolithic && upload.offset == 0 {
        let url = committing(&upload.url, job.digest);
        let headers = HeaderMap::new();
        let span = (0, job.size);
        let put = (Method::PUT, url, headers);
        let answer = pour(core, session, scopes, put, job.source, span, &mut upload.sent).await?;
        drain(answer).await;
        return Ok(());
    }
    let chunk = match way {
        Way::Chunks(size) => size.max(upload.chunk_min).max(1),
        Way::Monolithic | Way::Whole => u64::MAX,
    };
    while upload.offset < job.size {
        let end = job.size.min(upload.offset.saturating_add(chunk));
        let mut headers = HeaderMap::new();
        let range = HeaderValue::from_str(&format!("{}-{}", upload.offset, end - 1))
            .map_err(|_| Fault::Protocol("the range cannot be written".into()))?;
        headers.insert(CONTENT_RANGE, range);
        let span = (upload.offset, end);
        let patch = (Method::PATCH, upload.url.clone(), headers);
        let answer = pour(core, session, scopes, patch, job.source, span, &mut upload.sent).await?;
        let got = upload_offset(text(answer.headers(), &RANGE));
        if let Some(location) = text(answer.headers(), &LOCATION) {
            upload.url = upload_location(&upload.url, location)?;
        }
        let said = answer.headers().contains_key(RANGE);
        drain(answer).await;
        upload.offset = match got {
            // Some servers leave the range out; the digest decides in the end.
            _ if !said => end,
            Some(got) if got > upload.offset && got <= end => got,
            _ => return Err(Fault::Protocol("the upload's `Range` does not fit".into())),
        };
    }
    let url = committing(&upload.url, job.digest);
    let mut request = session.request(core, Method::PUT, url, scopes);
    request.headers.insert(CONTENT_TYPE, OCTETS);
    request.patience = answer_time(core.options.stall, job.size);
    let answer = session.exchange(core, &request).await?;
    if !answer.status().is_success() {
        return Err(session.fault_of(core, scopes, answer).await);
    }
    drain(answer).await;
    Ok(())
}

/// The upload's URL with `digest=` after whatever it has.
fn committing(url: &Url, digest: &Digest) -> Url {
    let mut url = url.clone();
    // Not `query_pairs_mut`: it would write the opaque rest anew.
    let query = match url.query() {
        Some(query) if !query.is_empty() => format!("{query}&digest={digest}"),
        _ => format!("digest={digest}"),
    };
    url.set_query(Some(&query));
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ladder_ends() {
        for too_large in [true, false] {
            let mut way = Way::Monolithic;
            let mut steps = 0;
            while let Some(next) = way.weaker(too_large, Product::Other) {
                (way, steps) = (next, steps + 1);
            }
            assert!(steps <= 5 && way == Way::Chunks(CHUNK_FLOOR), "{way:?}");
            assert_eq!(Way::Monolithic.weaker(too_large, Product::Google), None);
        }
    }

    #[test]
    fn the_digest_is_appended_to_an_opaque_query() {
        let digest = Digest::of(b"");
        for (url, expected) in [
            ("https://r/u/1", format!("https://r/u/1?digest={digest}")),
            ("https://r/u/1?", format!("https://r/u/1?digest={digest}")),
            (
                "https://r/u?_state=a%2Fb%3D&x",
                format!("https://r/u?_state=a%2Fb%3D&x&digest={digest}"),
            ),
        ] {
            assert_eq!(committing(&url.parse().unwrap(), &digest).as_str(), expected);
        }
    }
}
