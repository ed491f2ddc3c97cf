//! What one request was: who, what, how long, how many bytes each way.
//!
//! In: a request's head at its beginning, the bytes of both bodies as they pass. Out: one look into the
//! counters and one line of the access log when the answer is through, or when it broke off. What must
//! hold: nothing here waits; a request that ends in any way is counted once.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{HeaderValue, USER_AGENT};
use http::request::Parts;
use http::{Method, StatusCode, Uri};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use jiff::Timestamp;

use super::App;
use super::answer::Payload;
use super::peers::Busy;
use super::route::Kind;

/// A request from its head to the last byte of its answer.
pub(super) struct Account {
    app: Arc<App>,
    _busy: Busy,
    /// When the head was there.
    pub(super) time: Timestamp,
    began: Instant,
    /// The other end of the connection.
    pub(super) remote: SocketAddr,
    /// Whose request it is, where somebody has logged in.
    pub(super) user: Option<Arc<str>>,
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) agent: Option<HeaderValue>,
    pub(super) kind: Kind,
    /// `None` as long as there is no answer.
    pub(super) status: Option<StatusCode>,
    received: Arc<AtomicU64>,
    /// Bytes of the answer's body that were handed to the connection.
    pub(super) sent: u64,
    /// The answer's body broke off.
    pub(super) cut: bool,
}

impl Account {
    /// Begins with a request's head.
    pub(super) fn new(
        app: &Arc<App>,
        remote: SocketAddr,
        busy: Busy,
        parts: &Parts,
        kind: Kind,
    ) -> Self {
        Self {
            app: Arc::clone(app),
            _busy: busy,
            time: Timestamp::now(),
            began: Instant::now(),
            remote,
            user: None,
            method: parts.method.clone(),
            uri: parts.uri.clone(),
            agent: parts.headers.get(USER_AGENT).cloned(),
            kind,
            status: None,
            received: Arc::default(),
            sent: 0,
            cut: false,
        }
    }

    /// The request's body, whose bytes are counted.
    pub(super) fn receive(&self, body: Incoming) -> Received {
        Received { body, bytes: Arc::clone(&self.received) }
    }

    /// The answer's body; the account closes with it.
    pub(super) fn send(mut self, status: StatusCode, payload: Payload) -> Sent {
        self.status = Some(status);
        Sent { payload, account: self }
    }

    /// Bytes of the request's body so far.
    pub(super) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// How long it has taken so far.
    pub(super) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.app.metrics.request(self);
        self.app.logs.access(self);
    }
}

/// The body of a request.
pub(super) struct Received {
    body: Incoming,
    bytes: Arc<AtomicU64>,
}

impl Body for Received {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &frame
            && let Some(data) = frame.data_ref()
        {
            self.bytes.fetch_add(data.len() as u64, Ordering::Relaxed);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of an answer.
pub(super) struct Sent {
    payload: Payload,
    account: Account,
}

impl Body for Sent {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<std::io::Result<Frame<Bytes>>>> {
        let frame = Pin::new(&mut self.payload).poll_frame(context);
        match &frame {
            Poll::Ready(Some(Ok(frame))) => {
                self.account.sent += frame.data_ref().map_or(0, |data| data.len() as u64);
            }
            Poll::Ready(Some(Err(_))) => self.account.cut = true,
            _ => {}
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.payload.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.payload.size_hint()
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        // HEAD has a length and no body.
        self.account.cut |= self.account.method != Method::HEAD && !self.payload.is_end_stream();
    }
}
