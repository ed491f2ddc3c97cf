//! Blobs on their way out.
//!
//! In: HEAD or GET of a blob, with or without a `Range`. Out: its bytes in large steps. What must
//! hold: two steps in memory at most for one connection; a file that ends early cuts the connection.

use std::os::unix::fs::FileExt;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use format_spec::Repository;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use http::header::{ACCEPT_RANGES, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_RANGE, RANGE};
use http::request::Parts;
use http::{Method, StatusCode};

use super::answer::{Answer, Fault, Payload, field};
use super::buffers::Buffers;
use super::range::{Wanted, wanted};
use super::storage::{Content, Storage};
use super::{App, header};
use crate::content::ContentDigest;

/// Answers HEAD or GET of a blob.
pub(super) async fn blob(
    app: &App,
    parts: &Parts,
    repository: &Repository,
    digest: &ContentDigest,
) -> Result<Answer, Fault> {
    let etag = format!("\"{digest}\"");
    let answer = |status| {
        Answer::new(status)
            .header(CONTENT_TYPE, "application/octet-stream")
            .header(field::DIGEST, digest.to_string())
            .header(ETAG, &etag)
            .header(ACCEPT_RANGES, "bytes")
    };
    if parts.method == Method::HEAD {
        let size = app.store.has_blob(repository, digest).await?.ok_or_else(Fault::no_blob)?;
        return Ok(answer(StatusCode::OK).length(size));
    }
    let opened = app.store.open_blob(repository, digest).await?;
    let (content, size) = opened.ok_or_else(Fault::no_blob)?;
    let range = header(parts, RANGE)
        // A range of another representation is no range of this one (RFC 9110 section 13.1.5).
        .filter(|_| header(parts, IF_RANGE).is_none_or(|same| same == etag));
    let body = async |at, left| match content {
        Content::File(file) => {
            let (digest, store) = (*digest, app.store.clone());
            let buffers = app.buffers.clone();
            Ok(Payload::Blob(BlobBody { file, at, left, buffers, digest, store }))
        }
        Content::Object(blob) => {
            let bytes = blob.read(at..at + left).await?.ok_or_else(Fault::no_blob)?;
            Ok::<_, Fault>(Payload::Object(ObjectBody { bytes, left }))
        }
    };
    match wanted(range, size) {
        Wanted::All => Ok(answer(StatusCode::OK).body(body(0, size).await?)),
        Wanted::Part { start, length } => {
            let last = start + length - 1;
            Ok(answer(StatusCode::PARTIAL_CONTENT)
                .header(CONTENT_RANGE, format!("bytes {start}-{last}/{size}"))
                .body(body(start, length).await?))
        }
        Wanted::Unsatisfiable => Err(Fault::new(
            StatusCode::RANGE_NOT_SATISFIABLE,
            "SIZE_INVALID",
            format!("the blob has {size} bytes"),
        )
        .field(CONTENT_RANGE, format!("bytes */{size}"))),
    }
}

/// The rest of a blob that is being sent.
pub struct BlobBody {
    file: fs_err::File,
    at: u64,
    left: u64,
    buffers: Buffers,
    digest: ContentDigest,
    store: Storage,
}

impl BlobBody {
    /// The bytes of a file from there on; `digest` is what is suspected when they cannot be read.
    pub(super) fn new(
        app: &App,
        digest: ContentDigest,
        file: fs_err::File,
        at: u64,
        left: u64,
    ) -> Self {
        Self { file, at, left, buffers: app.buffers.clone(), digest, store: app.store.clone() }
    }

    /// Bytes still to send.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// The next bytes, `None` at the end. Reads in place: the pages are in memory or come with the
    /// kernel's read-ahead, and a thread for each step costs more than the step.
    pub fn next_step(&mut self) -> Option<std::io::Result<Bytes>> {
        if self.left == 0 {
            return None;
        }
        let mut buffer = self.buffers.take();
        let most = buffer.data.len();
        let length = usize::try_from(self.left).map_or(most, |left| left.min(most));
        if let Err(error) = self.file.file().read_exact_at(&mut buffer.data[..length], self.at) {
            tracing::error!(path = %self.file.path().display(), %error, "cannot read a blob");
            self.left = 0;
            self.store.suspect(self.digest);
            return Some(Err(error));
        }
        self.at += length as u64;
        self.left -= length as u64;
        Some(Ok(Bytes::from_owner(buffer).slice(..length)))
    }
}

/// The rest of a blob that comes from an object store while it is sent.
pub struct ObjectBody {
    bytes: BoxStream<'static, std::io::Result<Bytes>>,
    left: u64,
}

impl ObjectBody {
    /// So many bytes that come.
    pub(super) fn new(bytes: BoxStream<'static, std::io::Result<Bytes>>, left: u64) -> Self {
        Self { bytes, left }
    }

    /// Bytes still to send.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// The next bytes, `None` at the end.
    pub fn poll_step(&mut self, context: &mut Context<'_>) -> Poll<Option<std::io::Result<Bytes>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let step = match ready!(self.bytes.poll_next_unpin(context)) {
            Some(Ok(bytes)) if bytes.len() as u64 <= self.left => Ok(bytes),
            Some(Ok(_)) => Err(std::io::Error::other("a piece is longer than it was")),
            Some(Err(error)) => Err(error),
            None => Err(std::io::ErrorKind::UnexpectedEof.into()),
        };
        match &step {
            Ok(bytes) => self.left -= bytes.len() as u64,
            Err(error) => {
                tracing::error!(%error, "cannot read a blob");
                self.left = 0;
            }
        }
        Poll::Ready(Some(step))
    }
}
