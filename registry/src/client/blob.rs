//! Blobs as streams that survive breaks.
//!
//! In: a digest and its size from a descriptor. Out: exactly so many bytes in order, over any number of connections and places,
//! or an error. The caller hashes them.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use format_spec::{Digest, Repository};
use reqwest::header::{CONTENT_ENCODING, CONTENT_RANGE, HeaderValue, RANGE};
use reqwest::{Method, StatusCode};

use super::answer::{drain, text};
use super::body::Body;
use super::error::{Failed, Fault, Way};
use super::headers::{content_range, length};
use super::mirrors::Place;
use super::pace::Pace;
use super::retry::Tries;
use super::session::Session;
use super::token::Scopes;
use super::{Client, ClientError, Core};
use crate::limits::STALL_LEAST;
use crate::reference::RegistryHost;

impl Client {
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
        let places = self.core.places(host, repository, true);
        let places =
            places.map_err(|fault| ClientError::new("pull blob", named(), fault.into()))?;
        let mut stream = BlobStream {
            core: Arc::clone(&self.core),
            places: places.into(),
            session: None,
            name: format!("{host}/{repository}"),
            way: Way::default(),
            digest: *digest,
            size,
            at: from,
            body: None,
            skip: 0,
            named: named(),
            tries: Budget::default(),
        };
        if from < size {
            stream.connect().await.map_err(|failed| stream.error(failed))?;
        }
        Ok(stream)
    }

    /// A small blob as a whole, hashed. Larger than `max` is [`Protocol`](super::ErrorKind::Protocol).
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

/// What is left of the tries of a stream; a try that brings enough gives all of them back.
#[derive(Default)]
struct Budget {
    /// Where the last try failed.
    failed_at: u64,
    failed: u32,
    total: u32,
    /// Whether an answer of another size was asked for again.
    sized: bool,
    /// Whether a range was refused: from then on the whole blob is asked for.
    whole: bool,
}

/// The bytes of one blob.
pub struct BlobStream {
    core: Arc<Core>,
    /// Places not tried yet.
    places: VecDeque<Place>,
    /// Where it is pulled from now.
    session: Option<(Arc<Session>, Place)>,
    /// The repository that was asked for, and where it was looked for instead.
    name: String,
    way: Way,
    digest: Digest,
    size: u64,
    /// The next byte that is read.
    at: u64,
    body: Option<Body>,
    /// Bytes of the body that were read before: the registry ignored `Range`, or refused it.
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
            Err(failed) => Err(self.error(failed)),
        }
    }

    fn error(&self, failed: Failed) -> ClientError {
        let failed = match &self.session {
            Some((_, place)) => self.way.clone().ended(place, &self.name, failed),
            None => failed,
        };
        ClientError::new("pull blob", self.named.clone(), failed)
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
            Ok(0) => return Err(Fault::Short { expected, got }),
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
        // An answer to something else may have come between. Asked once more, on another connection, the registry
        // means what it says.
        if matches!(fault, Fault::Size { .. }) && !self.tries.sized {
            self.tries.sized = true;
            tracing::debug!(blob = self.named, %fault, "asking once more");
            return Ok(());
        }
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
        if self.places.is_empty() {
            return Err(failed);
        }
        if let Some((_, place)) = self.session.take() {
            tracing::debug!(blob = self.named, fault = %failed.fault, "leaving the mirror");
            self.way.leave(&place, &failed);
        }
        self.tries = Budget::default();
        Ok(())
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
                        Ok(session) => {
                            self.session = Some((Arc::clone(&session), place.clone()));
                            (session, place)
                        }
                        Err(failed) if self.places.is_empty() => {
                            return Err(self.way.clone().ended(&place, &self.name, failed));
                        }
                        Err(failed) => {
                            self.way.leave(&place, &failed);
                            continue;
                        }
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
        if self.at > 0 && !self.tries.whole {
            let range = HeaderValue::from_str(&format!("bytes={}-", self.at))
                .map_err(|_| Fault::Protocol("the range cannot be written".into()))?;
            request.headers.insert(RANGE, range);
        }
        let mut answer = session.exchange(&core, &request).await?;
        if answer.status() == StatusCode::RANGE_NOT_SATISFIABLE
            && request.headers.remove(RANGE).is_some()
        {
            // Whether it takes no ranges, or has a shorter blob, the whole one tells.
            self.tries.whole = true;
            drain(answer).await;
            answer = session.exchange(&core, &request).await?;
        }
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
