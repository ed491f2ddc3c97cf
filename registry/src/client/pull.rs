//! Pulls: manifests as they are, blobs as streams that survive breaks.
//!
//! In: digests and sizes from descriptors. Out: exactly those bytes, or an error. What must hold: a
//! manifest is hashed whatever the registry says about it (GHSA-qv35-3gw6-8q4j); a stream yields
//! exactly the asked bytes in order, over any number of connections.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use format_spec::limits::MANIFEST_MAX;
use format_spec::{Digest, Repository};
use reqwest::Method;
use reqwest::header::{
    ACCEPT, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderMap, HeaderName,
    HeaderValue, RANGE,
};

use super::body::Body;
use super::error::{Failed, Fault};
use super::headers::content_range;
use super::mirrors::Place;
use super::pace::Pace;
use super::retry::Tries;
use super::session::{Session, text};
use super::token::Scopes;
use super::{Client, ClientError, Core, ErrorKind, ManifestHead, subject};
use crate::limits::STALL_LEAST;
use crate::manifest::{RawManifest, is_general, own_type};
use crate::media_type::{self, essence};
use crate::reference::{ManifestRef, RegistryHost};

const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

impl Client {
    /// The manifest, exactly as received, with the digest of what arrived. Asked for by digest, any
    /// other content is [`ErrorKind::Damaged`]; asked for by tag, content that the registry's own
    /// `Docker-Content-Digest` does not fit.
    pub async fn get_manifest(
        &self,
        host: &RegistryHost,
        repository: &Repository,
        reference: &ManifestRef,
    ) -> Result<RawManifest, ClientError> {
        self.manifest(host, repository, reference).await.map_err(|failed| {
            ClientError::new("pull manifest", subject(host, repository, reference), failed)
        })
    }

    async fn manifest(
        &self,
        host: &RegistryHost,
        repository: &Repository,
        reference: &ManifestRef,
    ) -> Result<RawManifest, Failed> {
        let core = &*self.core;
        let by_digest = matches!(reference, ManifestRef::Digest(_));
        let places = core.places(host, repository, by_digest)?;
        core.at_places(places, |session, repository| {
            let reference = reference.clone();
            Box::pin(async move { manifest_at(core, &session, &repository, &reference).await })
        })
        .await
    }

    /// What the registry says of a manifest; `None` when it has none. Not proof of anything.
    pub async fn head_manifest(
        &self,
        host: &RegistryHost,
        repository: &Repository,
        reference: &ManifestRef,
    ) -> Result<Option<ManifestHead>, ClientError> {
        let core = &*self.core;
        let by_digest = matches!(reference, ManifestRef::Digest(_));
        let run = async {
            let places = core.places(host, repository, by_digest)?;
            core.at_places(places, |session, repository| {
                let reference = reference.clone();
                Box::pin(async move { head_at(core, &session, &repository, &reference).await })
            })
            .await
        };
        found(run.await).map_err(|failed| {
            ClientError::new("look up manifest", subject(host, repository, reference), failed)
        })
    }

    /// Whether the registry has a blob (`None`: no), and its size if it says. Not proof.
    pub async fn head_blob(
        &self,
        host: &RegistryHost,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Option<Option<u64>>, ClientError> {
        // For targets, where mirrors do not apply: what is asked is whether this very registry has it.
        let run = async {
            let session = self.core.session(host, false).await?;
            blob_head(&self.core, &session, repository, digest).await
        };
        found(run.await).map_err(|failed| {
            ClientError::new("look up blob", format!("{host}/{repository}@{digest}"), failed)
        })
    }

    /// A stream of the blob's bytes from `from` to `size`. The request is sent here; breaks are mended
    /// inside the stream. The caller hashes.
    pub async fn get_blob(
        &self,
        host: &RegistryHost,
        repository: &Repository,
        digest: &Digest,
        size: u64,
        from: u64,
    ) -> Result<BlobStream, ClientError> {
        let named = || format!("{host}/{repository}@{digest}");
        let failed = |failed| ClientError::new("pull blob", named(), failed);
        let places =
            self.core.places(host, repository, true).map_err(|fault| failed(fault.into()))?;
        let mut stream = BlobStream {
            core: Arc::clone(&self.core),
            places: places.into(),
            session: None,
            digest: *digest,
            size,
            at: from,
            body: None,
            skip: 0,
            named: named(),
            tries: Budget::default(),
        };
        if from < size {
            stream.connect().await.map_err(failed)?;
        }
        Ok(stream)
    }

    /// A small blob as a whole, hashed. Larger than `max` is [`ErrorKind::Protocol`].
    pub async fn get_blob_bytes(
        &self,
        host: &RegistryHost,
        repository: &Repository,
        digest: &Digest,
        size: u64,
        max: u64,
    ) -> Result<Bytes, ClientError> {
        let fail = |fault: Fault| {
            let named = format!("{host}/{repository}@{digest}");
            ClientError::new("pull blob", named, fault.into())
        };
        if size > max {
            return Err(fail(Fault::TooLarge { limit: max }));
        }
        let mut stream = self.get_blob(host, repository, digest, size, 0).await?;
        let mut body = BytesMut::zeroed(usize::try_from(size).unwrap_or(usize::MAX));
        let mut at = 0;
        while at < body.len() {
            at += stream.read(&mut body[at..]).await?;
        }
        stream.read(&mut [0]).await?;
        let body = body.freeze();
        let found = Digest::of(&body);
        if found != *digest {
            return Err(fail(Fault::Digest { expected: *digest, found }));
        }
        Ok(body)
    }
}

/// Not found is an answer here, not an error.
fn found<T>(result: Result<T, Failed>) -> Result<Option<T>, Failed> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(failed) if failed.fault.kind() == ErrorKind::NotFound => Ok(None),
        Err(failed) => Err(failed),
    }
}

fn accept() -> HeaderMap {
    let mut headers = HeaderMap::new();
    for kind in media_type::ACCEPT {
        headers.append(ACCEPT, HeaderValue::from_static(kind));
    }
    headers
}

pub(super) async fn manifest_at(
    core: &Core,
    session: &Session,
    repository: &Repository,
    reference: &ManifestRef,
) -> Result<RawManifest, Failed> {
    let scopes = Scopes::pull(repository);
    let url = session.url(&format!("{repository}/manifests/{reference}"))?;
    let mut request = session.request(core, Method::GET, url, &scopes);
    request.headers = accept();
    request.redirects = true;
    let (headers, bytes) = session.fetch(core, &request, MANIFEST_MAX).await?;
    let digest = Digest::of(&bytes);
    let expected = match reference {
        // The body proves itself; a wrong header on good bytes takes nothing from them.
        ManifestRef::Digest(expected) => Some(*expected),
        // Nothing else says what was meant; a body that changed on the way shows only here.
        ManifestRef::Tag(_) => {
            text(&headers, &CONTENT_DIGEST).and_then(|said| said.parse::<Digest>().ok())
        }
    };
    if let Some(expected) = expected
        && expected != digest
    {
        return Err(Fault::Digest { expected, found: digest }.into());
    }
    let said = text(&headers, &CONTENT_TYPE).map(essence).unwrap_or_default();
    let media_type = if is_general(&said) {
        own_type(&bytes).ok_or_else(|| Fault::Protocol("what was sent is not a manifest".into()))?
    } else {
        said
    };
    Ok(RawManifest { bytes, digest, media_type })
}

async fn head_at(
    core: &Core,
    session: &Session,
    repository: &Repository,
    reference: &ManifestRef,
) -> Result<ManifestHead, Failed> {
    let scopes = Scopes::pull(repository);
    let url = session.url(&format!("{repository}/manifests/{reference}"))?;
    let mut request = session.request(core, Method::HEAD, url, &scopes);
    request.headers = accept();
    request.redirects = true;
    match session.send(core, &request).await {
        Ok(answer) => Ok(ManifestHead {
            digest: text(answer.headers(), &CONTENT_DIGEST).and_then(|text| text.parse().ok()),
            size: length(answer.headers()),
            media_type: text(answer.headers(), &CONTENT_TYPE).map(essence),
        }),
        // HEAD is optional in practice; GET is not.
        Err(Failed { fault: Fault::Refused { status: 400 | 405 | 501, .. }, .. }) => {
            let raw = manifest_at(core, session, repository, reference).await?;
            Ok(ManifestHead {
                digest: Some(raw.digest),
                size: Some(raw.bytes.len() as u64),
                media_type: Some(raw.media_type),
            })
        }
        Err(failed) => Err(failed),
    }
}

pub(super) async fn blob_head(
    core: &Core,
    session: &Session,
    repository: &Repository,
    digest: &Digest,
) -> Result<Option<u64>, Failed> {
    let scopes = Scopes::pull(repository);
    let url = session.url(&format!("{repository}/blobs/{digest}"))?;
    let mut request = session.request(core, Method::HEAD, url, &scopes);
    request.redirects = true;
    let answer = session.send(core, &request).await?;
    Ok(length(answer.headers()))
}

/// `Content-Length` as a number; the answer to HEAD has it without a body.
fn length(headers: &HeaderMap) -> Option<u64> {
    text(headers, &CONTENT_LENGTH)?.parse().ok()
}

/// What is left of the tries of a stream; a try that brings enough gives all of them back.
#[derive(Default)]
struct Budget {
    /// Where the last try failed.
    failed_at: u64,
    failed: u32,
    total: u32,
}

/// The bytes of one blob.
pub struct BlobStream {
    core: Arc<Core>,
    /// Places not tried yet.
    places: VecDeque<Place>,
    /// Where it is pulled from now.
    session: Option<(Arc<Session>, Place)>,
    digest: Digest,
    size: u64,
    /// The next byte that is read.
    at: u64,
    body: Option<Body>,
    /// Bytes of the body that were read before: the registry ignored `Range`.
    skip: u64,
    named: String,
    tries: Budget,
}

impl std::fmt::Debug for BlobStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BlobStream({} at {} of {})", self.named, self.at, self.size)
    }
}

impl BlobStream {
    /// Reads the next bytes, as many as are there and fit in `buffer`; 0 after the last. Together they are
    /// exactly `size - from` bytes.
    pub async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ClientError> {
        match self.advance(buffer).await {
            Ok(read) => Ok(read),
            Err(failed) => Err(ClientError::new("pull blob", self.named.clone(), failed)),
        }
    }

    async fn advance(&mut self, buffer: &mut [u8]) -> Result<usize, Failed> {
        loop {
            if self.at >= self.size {
                return self.finish().await.map(|()| 0);
            }
            let left = usize::try_from(self.size - self.at).unwrap_or(usize::MAX);
            let most = buffer.len().min(left);
            if most == 0 {
                return Ok(0);
            }
            if self.body.is_none() {
                self.connect().await?;
            }
            match self.take(&mut buffer[..most]).await {
                Ok(0) => {}
                Ok(read) => return Ok(read),
                Err(fault) => {
                    self.body = None;
                    self.recover(fault).await?;
                }
            }
        }
    }

    /// Bytes of the open body; 0 when all of them were skipped.
    async fn take(&mut self, buffer: &mut [u8]) -> Result<usize, Fault> {
        let Some(body) = &mut self.body else { return Ok(0) };
        let (expected, got) = (self.size, self.at);
        let skipping = self.skip > 0;
        let most = if skipping {
            buffer.len().min(usize::try_from(self.skip).unwrap_or(usize::MAX))
        } else {
            buffer.len()
        };
        let read = match body.read(&mut buffer[..most]).await {
            Ok(0) | Err(Fault::Broken { .. }) => return Err(Fault::Short { expected, got }),
            other => other?,
        };
        self.core.counters.received(read);
        if skipping {
            self.skip -= read as u64;
            return Ok(0);
        }
        self.at += read as u64;
        Ok(read)
    }

    /// After the last byte: the body must end too. Reading its end also frees the connection.
    async fn finish(&mut self) -> Result<(), Failed> {
        let Some(mut body) = self.body.take() else { return Ok(()) };
        let limit = std::time::Duration::from_secs(2);
        match tokio::time::timeout(limit, body.read(&mut [0])).await {
            Ok(Ok(more)) if more > 0 => {
                Err(Fault::Size { expected: self.size, found: self.size + more as u64 }.into())
            }
            // Every byte is there; how the connection ends does not matter.
            _ => Ok(()),
        }
    }

    /// Waits for another try at this place, or goes to the next place, or ends.
    async fn recover(&mut self, fault: Fault) -> Result<(), Failed> {
        // As in a window of the stall limit: a try that brought next to nothing is no progress, or a drip
        // would be tried again for ever.
        if self.at - self.tries.failed_at >= STALL_LEAST {
            self.tries.failed = 0;
        }
        self.tries.failed_at = self.at;
        let policy = self.core.options.retry;
        let mut tries =
            Tries::resumed(policy, &self.core.counters, self.tries.failed, self.tries.total);
        match tries.again(fault).await {
            Ok(()) => {
                (self.tries.failed, self.tries.total) = tries.spent();
                Ok(())
            }
            Err(failed) => self.next_place(failed),
        }
    }

    fn next_place(&mut self, failed: Failed) -> Result<(), Failed> {
        let mirror = self.session.take().is_some_and(|(_, place)| place.mirror);
        if mirror && !self.places.is_empty() {
            tracing::debug!(blob = self.named, fault = %failed.fault, "leaving the mirror");
            self.tries = Budget::default();
            Ok(())
        } else {
            Err(failed)
        }
    }

    /// Opens the body at the current position.
    async fn connect(&mut self) -> Result<(), Failed> {
        loop {
            let session = match &self.session {
                Some((session, place)) => (Arc::clone(session), place.clone()),
                None => {
                    let Some(place) = self.places.pop_front() else {
                        return Err(Fault::Protocol("no place to pull from".into()).into());
                    };
                    match self.core.session_at(&place).await {
                        Ok(Some(session)) => {
                            self.session = Some((Arc::clone(&session), place.clone()));
                            (session, place)
                        }
                        Ok(None) => continue,
                        Err(_) if place.mirror && !self.places.is_empty() => continue,
                        Err(failed) => return Err(failed),
                    }
                }
            };
            match self.ask(&session.0, &session.1).await {
                Ok(()) => return Ok(()),
                Err(fault) => self.recover(fault).await?,
            }
        }
    }

    async fn ask(&mut self, session: &Session, place: &Place) -> Result<(), Fault> {
        let core = Arc::clone(&self.core);
        let scopes = Scopes::pull(&place.repository);
        let url = session.url(&format!("{}/blobs/{}", place.repository, self.digest))?;
        let mut request = session.request(&core, Method::GET, url, &scopes);
        request.redirects = true;
        request.direct = true;
        if self.at > 0 {
            let range = HeaderValue::from_str(&format!("bytes={}-", self.at))
                .map_err(|_| Fault::Protocol("the range cannot be written".into()))?;
            request.headers.insert(RANGE, range);
        }
        let answer = session.exchange(&core, &request).await?;
        if !answer.status().is_success() {
            return Err(session.fault_of(&core, &scopes, answer).await);
        }
        let coding = text(answer.headers(), &CONTENT_ENCODING).unwrap_or("identity");
        if !coding.eq_ignore_ascii_case("identity") {
            return Err(Fault::Protocol("the blob was sent in another encoding".into()));
        }
        self.skip = 0;
        if answer.status().as_u16() == 206 {
            let range = text(answer.headers(), &CONTENT_RANGE).and_then(content_range);
            let Some((first, _, total)) = range else {
                return Err(Fault::Protocol("a 206 without a usable `Content-Range`".into()));
            };
            if first != self.at {
                return Err(Fault::Protocol("the range sent is not the range asked for".into()));
            }
            if let Some(total) = total.filter(|total| *total != self.size) {
                return Err(Fault::Size { expected: self.size, found: total });
            }
        } else {
            // The whole blob, from its beginning.
            if let Some(total) = length(answer.headers()).filter(|total| *total != self.size) {
                return Err(Fault::Size { expected: self.size, found: total });
            }
            self.skip = self.at;
        }
        self.body = Some(Body::of(answer, Pace::new(core.options.stall)));
        Ok(())
    }
}
