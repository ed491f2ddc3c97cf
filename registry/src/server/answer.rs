//! Answers: bodies, and errors in the JSON of the specification.
//!
//! In: what an operation came to. Out: a response. Codes: OCI distribution specification, "Error
//! codes"; `UNKNOWN` is the reference implementation's for everything internal.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use hyper::body::{Body, Frame, SizeHint};

use super::download::{BlobBody, ObjectBody};
use super::route::RouteError;
use crate::manifest::ManifestError;
use crate::objects::ObjectsError;
use crate::store::StoreError;

/// The body of an answer.
pub enum Payload {
    /// Nothing.
    Empty,
    /// Bytes at hand.
    Bytes(Bytes),
    /// A blob, read while it is sent.
    Blob(BlobBody),
    /// A blob that comes from an object store.
    Object(ObjectBody),
}

impl Body for Payload {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<std::io::Result<Frame<Bytes>>>> {
        Poll::Ready(match &mut *self {
            Self::Empty => None,
            Self::Bytes(_) => match std::mem::replace(&mut *self, Self::Empty) {
                Self::Bytes(bytes) if !bytes.is_empty() => Some(Ok(Frame::data(bytes))),
                _ => None,
            },
            Self::Blob(blob) => blob.next_step().map(|step| step.map(Frame::data)),
            Self::Object(blob) => {
                return blob.poll_step(context).map(|step| step.map(|step| step.map(Frame::data)));
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.size_hint().exact() == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match self {
            Self::Empty => 0,
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Blob(blob) => blob.left(),
            Self::Object(blob) => blob.left(),
        })
    }
}

/// A response under construction.
pub struct Answer(Response<Payload>);

impl Answer {
    /// An answer without a body.
    pub fn new(status: StatusCode) -> Self {
        let mut response = Response::new(Payload::Empty);
        *response.status_mut() = status;
        Self(response)
    }

    /// With a JSON body.
    pub fn json(status: StatusCode, media_type: &'static str, value: &serde_json::Value) -> Self {
        Self::new(status)
            .header(CONTENT_TYPE, media_type)
            .body(Payload::Bytes(Bytes::from(value.to_string())))
    }

    /// With one more header field. A value that cannot be one is left out: all of them are digests,
    /// names, numbers and media types, whose grammars are narrower.
    pub fn header(mut self, name: HeaderName, value: impl AsRef<str>) -> Self {
        if let Ok(value) = HeaderValue::from_str(value.as_ref()) {
            self.0.headers_mut().append(name, value);
        }
        self
    }

    /// With this body.
    pub fn body(mut self, body: Payload) -> Self {
        *self.0.body_mut() = body;
        self
    }

    /// With the length of a body that is not sent, for HEAD.
    pub fn length(self, length: u64) -> Self {
        self.header(CONTENT_LENGTH, length.to_string())
    }

    /// The response.
    pub fn finish(self) -> Response<Payload> {
        self.0
    }
}

/// Header fields that `http` has no name for.
pub mod field {
    use http::HeaderName;

    /// The digest of what is sent or was stored.
    pub const DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
    /// The upload's id.
    pub const UPLOAD: HeaderName = HeaderName::from_static("docker-upload-uuid");
    /// Tells old clients that this is a registry.
    pub const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");
    /// The subject of a stored manifest: the client need not keep a fallback tag.
    pub const SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
    /// A tag that was stored along with a manifest.
    pub const TAG: HeaderName = HeaderName::from_static("oci-tag");
    /// Which filters a list of referrers has been through.
    pub const FILTERS: HeaderName = HeaderName::from_static("oci-filters-applied");
}

/// An error as the client sees it.
#[derive(Debug)]
pub struct Fault {
    /// The status.
    pub status: StatusCode,
    /// The code of the specification.
    pub code: &'static str,
    /// What happened, for a person.
    pub message: String,
    /// Whether there is no room for what was sent.
    pub full: bool,
    /// More header fields.
    pub fields: Vec<(HeaderName, String)>,
}

impl Fault {
    /// An error with this status, code and text.
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), full: false, fields: Vec::new() }
    }

    /// There is no room. Not 507 and not 413: clients built on containers/image and on Docker's library show the text of an
    /// answer only below 500, some of them try a 5xx again, and 413 reads like a limit of a proxy.
    pub fn full(message: impl Into<String>) -> Self {
        Self { full: true, ..Self::new(StatusCode::FORBIDDEN, "DENIED", message) }
    }

    /// With one more header field.
    pub fn field(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.fields.push((name, value.into()));
        self
    }

    /// No such manifest.
    pub fn no_manifest() -> Self {
        Self::new(StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN", "the manifest is unknown")
    }

    /// No such blob in the repository.
    pub fn no_blob() -> Self {
        Self::new(StatusCode::NOT_FOUND, "BLOB_UNKNOWN", "the repository does not hold the blob")
    }

    /// No such upload in the repository.
    pub fn no_upload() -> Self {
        StoreError::UploadUnknown.into()
    }

    /// A digest that is none.
    pub fn bad_digest(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "DIGEST_INVALID", message)
    }

    /// A method that the object does not have, or that is switched off.
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED", message)
    }

    /// Something failed here.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "UNKNOWN", message)
    }

    /// The answer.
    pub fn answer(self) -> Answer {
        let body = serde_json::json!({
            "errors": [{ "code": self.code, "message": self.message, "detail": null }]
        });
        let answer = Answer::json(self.status, "application/json", &body);
        self.fields.into_iter().fold(answer, |answer, (name, value)| answer.header(name, value))
    }
}

impl From<RouteError> for Fault {
    fn from(error: RouteError) -> Self {
        match error {
            RouteError::Unknown => {
                Self::new(StatusCode::NOT_FOUND, "UNSUPPORTED", "no such endpoint")
            }
            RouteError::Name(name) => Self::new(
                StatusCode::BAD_REQUEST,
                "NAME_INVALID",
                format!("not a repository name: `{}`", name.chars().take(300).collect::<String>()),
            ),
            RouteError::Digest(error) => Self::bad_digest(error.to_string()),
        }
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        let message = error.to_string();
        match error {
            StoreError::ReadOnly => Self::unsupported(message),
            StoreError::Mismatch { .. } => Self::bad_digest(message),
            StoreError::UploadUnknown => {
                Self::new(StatusCode::NOT_FOUND, "BLOB_UPLOAD_UNKNOWN", message)
            }
            StoreError::UploadTaken => {
                Self::new(StatusCode::CONFLICT, "BLOB_UPLOAD_INVALID", message)
            }
            StoreError::UploadsFull { .. } | StoreError::UploadsShare { .. } => {
                Self::new(StatusCode::TOO_MANY_REQUESTS, "TOOMANYREQUESTS", message)
                    .field(http::header::RETRY_AFTER, "60")
            }
            StoreError::TooLarge { .. } => {
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, "SIZE_INVALID", message)
            }
            StoreError::TooManyPieces { .. } => {
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, "SIZE_INVALID", message)
            }
            StoreError::Objects(error @ ObjectsError::Damaged { .. }) => {
                tracing::error!(%error, "storage failed");
                Self::internal("the registry's storage failed; its log says why")
            }
            StoreError::Objects(error) => {
                tracing::error!(%error, "the object store failed");
                let text = "the registry's object store does not answer; try again";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE", text)
                    .field(http::header::RETRY_AFTER, "5")
            }
            StoreError::BlobUnknown(digest) => Self::new(
                StatusCode::NOT_FOUND,
                "MANIFEST_BLOB_UNKNOWN",
                format!("{digest}: push the blob before the manifest"),
            ),
            StoreError::Manifest(ManifestError::TooLarge(_)) => {
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, "SIZE_INVALID", message)
            }
            StoreError::Manifest(_) | StoreError::BlobSize { .. } => {
                Self::new(StatusCode::BAD_REQUEST, "MANIFEST_INVALID", message)
            }
            StoreError::NoRoom(_) => Self::full(message),
            ref full if full.is_full() => Self::full(
                "the registry's storage limit is reached: its disk is full; remove what is not needed and run \
                 `bundle registry gc`, or use a larger disk",
            ),
            // Paths of the server are not the client's business; the log has them.
            StoreError::Io(_) | StoreError::Failed { .. } => {
                tracing::error!(%message, "storage failed");
                Self::internal("the registry's storage failed; its log says why")
            }
            StoreError::Locked { .. }
            | StoreError::Collecting
            | StoreError::TooEarly { .. }
            | StoreError::Untouchable
            | StoreError::OverObjects { .. }
            | StoreError::FilesToo { .. }
            | StoreError::NotAStore { .. }
            | StoreError::Version { .. } => Self::internal(message),
        }
    }
}
