//! Blobs on their way in.
//!
//! In: POST, PATCH, PUT, GET and DELETE of uploads. Out: a blob of the repository, or nothing. What
//! must hold: 201 only for what is durable; bytes are hashed and written as they arrive, one step in
//! memory; what does not match its digest is never visible.

use std::net::IpAddr;
use std::sync::Arc;

use format_spec::Repository;
use http::header::{CONTENT_RANGE, LOCATION, RANGE};
use http::request::Parts;
use http::{Method, StatusCode};
use http_body_util::BodyExt;

use tokio::time::Instant;

use super::access::Caller;
use super::access::roles::Action;
use super::account::Received;
use super::answer::{Answer, Fault, field};
use super::appender::Appender;
use super::limits::STALL;
use super::range;
use super::route::Query;
use super::{App, header};
use crate::content::{Algorithm, ContentDigest};
use crate::store::UploadId;

/// POST: a mount, a whole blob, or a new upload.
pub(super) async fn begin(
    app: &Arc<App>,
    parts: &Parts,
    body: &mut Received,
    repository: Repository,
    caller: &Caller,
    address: IpAddr,
) -> Result<Answer, Fault> {
    if parts.method != Method::POST {
        return Err(Fault::unsupported("only POST starts an upload"));
    }
    let query = Query::new(parts.uri.query());
    let algorithm = match query.get("digest-algorithm") {
        None => Algorithm::Sha256,
        Some(name) => {
            let known = Algorithm::ALL.into_iter().find(|algorithm| algorithm.name() == name);
            known.ok_or_else(|| Fault::bad_digest("digest algorithms are `sha256` and `sha512`"))?
        }
    };
    let who = caller.who(address);
    if let Some(mount) = query.get("mount") {
        let digest = parse_digest(&mount)?;
        // Without `from` any repository would do, and with it every blob would be every user's
        // (CVE-2024-39897): the client uploads instead. So it does where it may not read.
        let from = query.get("from").and_then(|from| from.parse::<Repository>().ok());
        if let Some(from) = from.filter(|from| caller.may(Action::Pull, from))
            && app.store.mount_blob(from, repository.clone(), digest).await?
        {
            return Ok(created(&repository, &digest));
        }
    } else if let Some(digest) = query.get("digest") {
        let digest = parse_digest(&digest)?;
        fits(app, parts)?;
        let mut appender = app.store.begin_whole(&repository, digest.algorithm(), &who).await?;
        if let Err(fault) = receive(body, &mut appender, None).await {
            let id = appender.id().clone();
            drop(appender);
            // The client never learnt its name, so nobody can go on with it.
            app.store.cancel_upload(&id).await?;
            return Err(fault);
        }
        return finish(app, repository, appender, digest).await;
    }
    let id = app.store.begin_upload(&repository, algorithm, &who).await?;
    Ok(progress(StatusCode::ACCEPTED, &repository, &id, 0))
}

/// GET, PATCH, PUT and DELETE of an upload.
pub(super) async fn go_on(
    app: &Arc<App>,
    parts: &Parts,
    body: &mut Received,
    repository: Repository,
    id: &str,
) -> Result<Answer, Fault> {
    let id = UploadId::parse(id, &repository).ok_or_else(Fault::no_upload)?;
    match parts.method {
        Method::GET | Method::HEAD => {
            let offset = app.store.upload_offset(&id).await?.ok_or_else(Fault::no_upload)?;
            Ok(progress(StatusCode::NO_CONTENT, &repository, &id, offset))
        }
        Method::PATCH => {
            let mut appender = app.store.append(&id).await?;
            let chunk = expected_chunk(parts, &repository, &id, &appender)?;
            let received = match fits(app, parts) {
                Ok(()) => receive_and_flush(body, &mut appender, chunk).await,
                Err(full) => Err(full),
            };
            let offset = appender.offset();
            drop(appender);
            if let Err(fault) = received {
                return Err(give_up_when_full(app, &id, fault).await);
            }
            Ok(progress(StatusCode::ACCEPTED, &repository, &id, offset))
        }
        Method::PUT => {
            let digest = Query::new(parts.uri.query())
                .get("digest")
                .ok_or_else(|| Fault::bad_digest("the `digest` parameter is missing"))?;
            let digest = parse_digest(&digest)?;
            let mut appender = app.store.append(&id).await?;
            let chunk = expected_chunk(parts, &repository, &id, &appender)?;
            let received = match fits(app, parts) {
                Ok(()) => receive_and_flush(body, &mut appender, chunk).await,
                Err(full) => Err(full),
            };
            if let Err(fault) = received {
                drop(appender);
                return Err(give_up_when_full(app, &id, fault).await);
            }
            finish(app, repository, appender, digest).await
        }
        Method::DELETE => match app.store.cancel_upload(&id).await? {
            true => Ok(Answer::new(StatusCode::NO_CONTENT)),
            false => Err(Fault::no_upload()),
        },
        _ => Err(Fault::unsupported("uploads have GET, PATCH, PUT and DELETE")),
    }
}

/// Refuses a body that says it is too long for the room there is, before any of it is read.
fn fits(app: &App, parts: &Parts) -> Result<(), Fault> {
    let announced = header(parts, http::header::CONTENT_LENGTH).and_then(|text| text.parse().ok());
    Ok(announced.map_or(Ok(()), |length| app.store.fits(length))?)
}

/// The bytes of a chunk whose position is given, after it was found right.
fn expected_chunk(
    parts: &Parts,
    repository: &Repository,
    id: &UploadId,
    appender: &Appender,
) -> Result<Option<u64>, Fault> {
    let Some(text) = parts.headers.get(CONTENT_RANGE) else { return Ok(None) };
    let offset = appender.offset();
    let refused = |message: String| {
        Fault::new(StatusCode::RANGE_NOT_SATISFIABLE, "BLOB_UPLOAD_INVALID", message)
            .field(LOCATION, location(repository, id))
            .field(RANGE, received_range(offset))
            .field(field::UPLOAD, id.as_str())
    };
    let Some((start, length)) = text.to_str().ok().and_then(range::chunk) else {
        return Err(refused("the `Content-Range` is not `<first>-<last>`".to_owned()));
    };
    if start != offset {
        return Err(refused(format!("the chunk starts at {start}, the next byte is {offset}")));
    }
    if let Some(announced) = header(parts, http::header::CONTENT_LENGTH)
        && announced.parse() != Ok(length)
    {
        return Err(refused(format!("the chunk's range has {length} bytes, its body {announced}")));
    }
    Ok(Some(length))
}

/// The same, and what came is stored also when the body broke off, unless another request goes on with it.
async fn receive_and_flush(
    body: &mut Received,
    appender: &mut Appender,
    expected: Option<u64>,
) -> Result<(), Fault> {
    let received = receive(body, appender, expected).await;
    if received.is_err() && appender.interrupted().is_cancelled() {
        return received;
    }
    let flushed = appender.flush().await;
    received?;
    Ok(flushed?)
}

/// Writes a body to the upload. What arrived before a failure stays, and can be continued.
async fn receive(
    body: &mut Received,
    appender: &mut Appender,
    expected: Option<u64>,
) -> Result<(), Fault> {
    let start = appender.offset();
    let interrupted = appender.interrupted().clone();
    let mut moved = Instant::now();
    loop {
        let frame = tokio::select! {
            frame = tokio::time::timeout_at(moved + STALL, body.frame()) => frame,
            () = appender.pause() => {
                appender.flush().await?;
                continue;
            }
            () = interrupted.cancelled() => {
                return Err(crate::store::StoreError::UploadTaken.into());
            }
        };
        let frame = match frame {
            Ok(None) => break,
            Ok(Some(Ok(frame))) => frame,
            Ok(Some(Err(error))) => {
                return Err(Fault::new(
                    StatusCode::BAD_REQUEST,
                    "BLOB_UPLOAD_INVALID",
                    format!("the body ended early: {error}"),
                ));
            }
            Err(_) => {
                return Err(Fault::new(
                    StatusCode::REQUEST_TIMEOUT,
                    "BLOB_UPLOAD_INVALID",
                    format!("nothing arrived for {} s", STALL.as_secs()),
                ));
            }
        };
        if let Some(data) = frame.data_ref() {
            if expected.is_some_and(|n| appender.offset() - start + data.len() as u64 > n) {
                return Err(wrong_size());
            }
            appender.write(data).await?;
        }
        moved = Instant::now();
    }
    if expected.is_some_and(|expected| appender.offset() - start != expected) {
        return Err(wrong_size());
    }
    Ok(())
}

fn wrong_size() -> Fault {
    let text = "the body is not as long as its `Content-Range` says";
    Fault::new(StatusCode::BAD_REQUEST, "SIZE_INVALID", text)
}

/// Where there is no room the bytes of the upload are part of what takes it.
async fn give_up_when_full(app: &Arc<App>, id: &UploadId, fault: Fault) -> Fault {
    if fault.full
        && let Err(error) = app.store.cancel_upload(id).await
    {
        tracing::warn!(error = %error.message, "cannot remove the upload that filled the disk");
    }
    fault
}

async fn finish(
    app: &Arc<App>,
    repository: Repository,
    appender: Appender,
    digest: ContentDigest,
) -> Result<Answer, Fault> {
    let size = app.store.finish_upload(repository.clone(), appender, digest).await?;
    tracing::info!(%repository, %digest, size, "blob stored");
    Ok(created(&repository, &digest))
}

fn parse_digest(text: &str) -> Result<ContentDigest, Fault> {
    text.parse()
        .map_err(|error: crate::content::ContentDigestError| Fault::bad_digest(error.to_string()))
}

fn created(repository: &Repository, digest: &ContentDigest) -> Answer {
    Answer::new(StatusCode::CREATED)
        .header(LOCATION, format!("/v2/{repository}/blobs/{digest}"))
        .header(field::DIGEST, digest.to_string())
}

/// Relative, so that it is right behind any proxy.
fn location(repository: &Repository, id: &UploadId) -> String {
    format!("/v2/{repository}/blobs/uploads/{}", id.as_str())
}

/// The form has no way to say "nothing yet"; the reference implementation says `0-0`, and the
/// conformance suite wants a range always.
fn received_range(offset: u64) -> String {
    format!("0-{}", offset.saturating_sub(1))
}

fn progress(status: StatusCode, repository: &Repository, id: &UploadId, offset: u64) -> Answer {
    Answer::new(status)
        .header(LOCATION, location(repository, id))
        .header(RANGE, received_range(offset))
        .header(field::UPLOAD, id.as_str())
}
