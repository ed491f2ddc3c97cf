//! Manifests and tags over HTTP.
//!
//! In: HEAD, GET, PUT and DELETE by tag or digest. Out: the exact bytes with the type they were pushed
//! with. What must hold: a body above the limit is refused before it is held in memory; large ones that
//! arrive share one room, and nobody keeps it by sending slowly; large ones that are sent are not held at all.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use format_spec::limits::MANIFEST_MAX;
use format_spec::{Repository, Tag};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, ETAG, LOCATION, RETRY_AFTER};
use http::request::Parts;
use http::{Method, StatusCode};
use http_body_util::BodyExt;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use super::account::Received;
use super::answer::{Answer, Fault, Payload, field};
use super::download::{BlobBody, ObjectBody};
use super::limits::{
    MANIFEST_HELD, MANIFESTS_ROOM, ROOM_GRACE, ROOM_RATE, ROOM_TIME, STALL, TAG_PARAMETERS_MAX,
};
use super::route::Query;
use super::storage::ManifestBytes;
use super::{App, header};
use crate::content::ContentDigest;

/// What a manifest is asked for by.
enum By {
    Digest(ContentDigest),
    Tag(Tag),
}

/// Answers a request for a manifest.
pub(super) async fn manifest(
    app: &Arc<App>,
    parts: &Parts,
    body: &mut Received,
    repository: Repository,
    reference: &str,
) -> Result<Answer, Fault> {
    match parts.method {
        Method::GET | Method::HEAD => {
            let digest = match by(reference)? {
                By::Digest(digest) => digest,
                By::Tag(tag) => app
                    .store
                    .resolve_tag(&repository, &tag)
                    .await?
                    .ok_or_else(Fault::no_manifest)?,
            };
            let stored = app.store.get_manifest(&repository, &digest).await?;
            let stored = stored.ok_or_else(Fault::no_manifest)?;
            let answer = Answer::new(StatusCode::OK)
                .header(CONTENT_TYPE, &stored.media_type)
                .header(field::DIGEST, digest.to_string())
                .header(ETAG, format!("\"{digest}\""));
            if parts.method == Method::HEAD {
                return Ok(answer.length(stored.size));
            }
            Ok(answer.body(match stored.bytes {
                ManifestBytes::Held(bytes) => Payload::Bytes(bytes),
                ManifestBytes::File(file, at) => {
                    Payload::Blob(BlobBody::new(app, digest, file, at, stored.size))
                }
                ManifestBytes::Object(bytes) => {
                    Payload::Object(ObjectBody::new(bytes, stored.size))
                }
            }))
        }
        Method::PUT => put(app, parts, body, repository, reference).await,
        Method::DELETE => {
            let removed = match by(reference)? {
                By::Digest(digest) => app.store.delete_manifest(repository, digest).await?,
                By::Tag(tag) => app.store.delete_tag(repository, tag).await?,
            };
            match removed {
                true => Ok(Answer::new(StatusCode::ACCEPTED)),
                false => Err(Fault::no_manifest()),
            }
        }
        _ => Err(Fault::unsupported("manifests have GET, HEAD, PUT and DELETE")),
    }
}

async fn put(
    app: &Arc<App>,
    parts: &Parts,
    body: &mut Received,
    repository: Repository,
    reference: &str,
) -> Result<Answer, Fault> {
    let bad_tag = |_| {
        let text = format!("not a tag: `{}`", reference.chars().take(200).collect::<String>());
        Fault::new(StatusCode::BAD_REQUEST, "MANIFEST_INVALID", text)
    };
    let (expected, tags) = match reference.contains(':') {
        true => (Some(parse_digest(reference)?), more_tags(parts)?),
        false => (None, vec![reference.parse().map_err(bad_tag)?]),
    };
    let media_type = header(parts, CONTENT_TYPE).map(str::to_owned);
    let bytes = read(parts, body).await?;
    let (name, named) = (repository.clone(), tags.clone());
    let pushed = app.store.put_manifest(name, expected, named, media_type, bytes).await?;
    tracing::info!(%repository, %reference, digest = %pushed.digest, "manifest stored");
    let mut answer = Answer::new(StatusCode::CREATED)
        .header(LOCATION, format!("/v2/{repository}/manifests/{}", pushed.digest))
        .header(field::DIGEST, pushed.digest.to_string());
    if let Some(subject) = pushed.subject {
        answer = answer.header(field::SUBJECT, subject.to_string());
    }
    if expected.is_some() {
        answer = tags.iter().fold(answer, |answer, tag| answer.header(field::TAG, tag.as_str()));
    }
    Ok(answer)
}

/// The `tag` parameters of a push by digest.
fn more_tags(parts: &Parts) -> Result<Vec<Tag>, Fault> {
    let texts: Vec<String> =
        Query::new(parts.uri.query()).all("tag").take(TAG_PARAMETERS_MAX + 1).collect();
    if texts.len() > TAG_PARAMETERS_MAX {
        let text = format!("more than {TAG_PARAMETERS_MAX} tags in one push");
        return Err(Fault::new(StatusCode::URI_TOO_LONG, "UNSUPPORTED", text));
    }
    let tag = |text: &String| {
        let invalid = |error: format_spec::names::NameError| {
            Fault::new(StatusCode::BAD_REQUEST, "MANIFEST_INVALID", error.to_string())
        };
        text.parse().map_err(invalid)
    };
    texts.iter().map(tag).collect()
}

fn parse_digest(text: &str) -> Result<ContentDigest, Fault> {
    text.parse()
        .map_err(|error: crate::content::ContentDigestError| Fault::bad_digest(error.to_string()))
}

/// A reference to read or remove. What cannot be a tag does not exist.
fn by(reference: &str) -> Result<By, Fault> {
    if reference.contains(':') {
        return Ok(By::Digest(parse_digest(reference)?));
    }
    reference.parse().map(By::Tag).map_err(|_| Fault::no_manifest())
}

async fn read(parts: &Parts, body: &mut Received) -> Result<Bytes, Fault> {
    let too_large = || {
        let text = format!("a manifest has at most {MANIFEST_MAX} bytes");
        Fault::new(StatusCode::PAYLOAD_TOO_LARGE, "SIZE_INVALID", text)
    };
    let announced = header(parts, CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
    if announced.is_some_and(|length| length > MANIFEST_MAX) {
        return Err(too_large());
    }
    let broken = |text: String| Fault::new(StatusCode::BAD_REQUEST, "MANIFEST_INVALID", text);
    let mut arriving = Arriving { bytes: BytesMut::new(), room: None };
    if announced.is_some_and(|length| length > MANIFEST_HELD) {
        arriving.make_room(announced).await?;
    }
    let mut moved = Instant::now();
    loop {
        let end = arriving.end(moved);
        let frame = tokio::time::timeout_at(end, body.frame()).await.map_err(|_| {
            let text = "the manifest came too slowly, and others wait for its room";
            match arriving.room {
                Some(_) => Fault::new(StatusCode::REQUEST_TIMEOUT, "MANIFEST_INVALID", text),
                None => broken(format!("nothing arrived for {} s", STALL.as_secs())),
            }
        })?;
        let Some(frame) = frame else { break };
        let frame = frame.map_err(|error| broken(format!("the body ended early: {error}")))?;
        if let Some(data) = frame.data_ref() {
            let length = (arriving.bytes.len() + data.len()) as u64;
            if length > MANIFEST_MAX {
                return Err(too_large());
            }
            if length > MANIFEST_HELD && arriving.room.is_none() {
                arriving.make_room(None).await?;
            }
            arriving.bytes.extend_from_slice(data);
        }
        moved = Instant::now();
    }
    Ok(Bytes::from_owner(arriving))
}

/// Room for large manifests, in KiB.
static ROOM: Semaphore = Semaphore::const_new(MANIFESTS_ROOM / 1024);

/// A manifest that comes in, and the room it takes until nobody needs its bytes any more.
struct Arriving {
    bytes: BytesMut,
    room: Option<(SemaphorePermit<'static>, Instant)>,
}

impl Arriving {
    /// Waits for the room of a large manifest, and of the largest when its length is not known.
    async fn make_room(&mut self, length: Option<u64>) -> Result<(), Fault> {
        let length = length.unwrap_or(MANIFEST_MAX);
        let units = u32::try_from(length.div_ceil(1024)).unwrap_or(u32::MAX);
        let Ok(Ok(room)) = tokio::time::timeout(ROOM_TIME, ROOM.acquire_many(units)).await else {
            let text = "too many large manifests are being pushed; try again in a moment";
            return Err(Fault::new(StatusCode::TOO_MANY_REQUESTS, "TOOMANYREQUESTS", text)
                .field(RETRY_AFTER, "5"));
        };
        self.room = Some((room, Instant::now()));
        self.bytes.reserve(usize::try_from(length).unwrap_or(0).saturating_sub(self.bytes.len()));
        Ok(())
    }

    /// Until when more has to come, when something came last at `moved`.
    fn end(&self, moved: Instant) -> Instant {
        let stalled = moved + STALL;
        let Some((_, began)) = &self.room else { return stalled };
        let due = Duration::from_secs(self.bytes.len() as u64 / ROOM_RATE);
        stalled.min(*began + ROOM_GRACE + due)
    }
}

impl AsRef<[u8]> for Arriving {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}
