//! Manifests and tags over HTTP.
//!
//! In: HEAD, GET, PUT and DELETE by tag or digest. Out: the exact bytes with the type they were pushed
//! with. What must hold: large ones are not held while they are sent, nor while they arrive (`arriving`).

use std::sync::Arc;

use format_spec::{Repository, Tag};
use http::header::{CONTENT_TYPE, ETAG, LOCATION};
use http::request::Parts;
use http::{Method, StatusCode};

use super::account::Received;
use super::answer::{Answer, Fault, Payload, field};
use super::arriving;
use super::download::{BlobBody, ObjectBody};
use super::limits::TAG_PARAMETERS_MAX;
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
    let bytes = arriving::read(app, parts, body).await?;
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
