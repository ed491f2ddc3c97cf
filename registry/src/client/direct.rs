//! Downloads whose bytes go from the connection straight into the caller's memory.
//!
//! In: a GET request that no proxy stands in the way of. Out: its answer, as `reqwest` would give it, with the
//! [`Reader`] of its body beside it ([`Body`](super::body::Body) takes it). Why not `reqwest` itself: it reads into
//! buffers of its own, and the copy out of them was a seventh of what create cost (`docs/decisions/0007`). What
//! must hold: one request at a time on a connection, which is used again only after the whole body was read from
//! it.

use std::error::Error;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream;
use hyper_util::client::legacy::connect::HttpConnector;
use reqwest::header::{ACCEPT, HOST, HeaderName, HeaderValue, USER_AGENT};
use reqwest::{Request, Response, ResponseBuilderExt};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tower_service::Service;
use url::Url;

use super::framing::{Ahead, Head, HeadError, Home, Reader, Stream, ask};
use super::headers::authority;
use super::hold;

/// How long a connection is silent before the system asks whether the other side is there: a firewall on the way
/// may have forgotten it.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// Bytes of a piece of a body that is read as a stream.
const PIECE: usize = 64 * 1024;

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum DirectError {
    /// No connection.
    Connect(Box<dyn Error + Send + Sync>),
    /// No head came over it, or a faulty one.
    Head(HeadError),
}

/// Connections to one host.
pub(super) struct Direct {
    connector: HttpConnector,
    tls: TlsConnector,
    user_agent: HeaderValue,
    patience: Duration,
    idle: Arc<Idle>,
}

/// Connections that wait for their next request.
struct Idle {
    list: Mutex<Vec<Resting>>,
    most: usize,
    life: Duration,
}

struct Resting {
    origin: String,
    since: Instant,
    stream: Box<dyn Stream>,
}

impl Idle {
    fn take(&self, origin: &str) -> Option<Box<dyn Stream>> {
        let mut list = hold(&self.list);
        list.retain(|resting| resting.since.elapsed() < self.life);
        let at = list.iter().rposition(|resting| resting.origin == origin)?;
        Some(list.swap_remove(at).stream)
    }

    fn keep(&self, origin: String, stream: Box<dyn Stream>) {
        let mut list = hold(&self.list);
        if list.len() < self.most {
            list.push(Resting { origin, since: Instant::now(), stream });
        }
    }
}

/// When the answer is awaited no longer, what became of this connection may have become of all that rest: a
/// firewall forgot them. They are closed, or each would cost a try.
struct Doubt<'a> {
    idle: &'a Idle,
    answered: bool,
}

impl Drop for Doubt<'_> {
    fn drop(&mut self) {
        if !self.answered {
            hold(&self.idle.list).clear();
        }
    }
}

/// Where an answer carries the reader of its body until somebody takes it.
#[derive(Clone)]
pub(super) struct Handle(Arc<Mutex<Option<Reader>>>);

impl Handle {
    /// The reader; nobody else gets it.
    pub(super) fn take(&self) -> Option<Reader> {
        hold(&self.0).take()
    }
}

impl Direct {
    /// Connections with this TLS configuration that are opened within `patience`; `most` of them rest for
    /// at most `life`.
    pub(super) fn new(
        config: rustls::ClientConfig,
        user_agent: HeaderValue,
        patience: Duration,
        most: usize,
        life: Duration,
    ) -> Self {
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(patience));
        connector.set_keepalive(Some(KEEPALIVE));
        let idle = Arc::new(Idle { list: Mutex::default(), most, life });
        Self { connector, tls: TlsConnector::from(Arc::new(config)), user_agent, patience, idle }
    }

    /// Sends a GET request and reads the head of its answer.
    pub(super) async fn get(&self, request: &Request) -> Result<Response, DirectError> {
        let url = request.url();
        let origin = format!("{}://{}", url.scheme(), authority(url));
        let head = self.head(request);
        while let Some(mut stream) = self.idle.take(&origin) {
            // Closed meanwhile, or a word of farewell that would pass for the answer.
            if !quiet(&mut stream).await {
                continue;
            }
            // It may still be closed now. Then nothing of an answer comes, and another connection will do.
            let mut ahead = Ahead::default();
            let mut doubt = Doubt { idle: &self.idle, answered: false };
            let asked = ask(&mut stream, &head, &mut ahead).await;
            doubt.answered = true;
            match asked {
                Ok(answer) => return self.answer(url, origin, stream, ahead, answer),
                Err(HeadError::Broken(_)) if ahead.bytes.is_empty() => {}
                // It may belong to the answer before. On a connection of its own it is meant.
                Err(HeadError::Faulty(_)) => break,
                Err(error) => return Err(DirectError::Head(error)),
            }
        }
        let mut stream = self.connect(url).await?;
        let mut ahead = Ahead::default();
        let answer = ask(&mut stream, &head, &mut ahead).await.map_err(DirectError::Head)?;
        self.answer(url, origin, stream, ahead, answer)
    }

    /// The request as it goes over the wire.
    fn head(&self, request: &Request) -> Vec<u8> {
        let url = request.url();
        let mut head = format!("GET {}", url.path()).into_bytes();
        if let Some(query) = url.query() {
            head.extend_from_slice(b"?");
            head.extend_from_slice(query.as_bytes());
        }
        head.extend_from_slice(b" HTTP/1.1\r\n");
        let mut line = |name: &HeaderName, value: &[u8]| {
            head.extend_from_slice(name.as_str().as_bytes());
            head.extend_from_slice(b": ");
            head.extend_from_slice(value);
            head.extend_from_slice(b"\r\n");
        };
        // Without the port that the scheme has anyway, as others write it.
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        line(&HOST, format!("{}{port}", url.host_str().unwrap_or_default()).as_bytes());
        line(&USER_AGENT, self.user_agent.as_bytes());
        // Every client says so; there are gateways that wonder about one that does not.
        line(&ACCEPT, b"*/*");
        for (name, value) in request.headers() {
            line(name, value.as_bytes());
        }
        head.extend_from_slice(b"\r\n");
        head
    }

    async fn connect(&self, url: &Url) -> Result<Box<dyn Stream>, DirectError> {
        let open = async {
            let uri: http::Uri = url.as_str().parse()?;
            let tcp = self.connector.clone().call(uri).await?.into_inner();
            let host = url.host_str().unwrap_or_default();
            if url.scheme() != "https" {
                return Ok(Box::new(tcp) as Box<dyn Stream>);
            }
            let name = host.trim_start_matches('[').trim_end_matches(']').to_owned();
            let tls = self.tls.connect(ServerName::try_from(name)?, tcp).await?;
            Ok(Box::new(tls) as Box<dyn Stream>)
        };
        timeout(self.patience, open)
            .await
            .unwrap_or_else(|_| Err("timed out".into()))
            .map_err(DirectError::Connect)
    }

    /// The answer as others know it. Whoever wants its bytes straight takes the handle out of it.
    fn answer(
        &self,
        url: &Url,
        origin: String,
        stream: Box<dyn Stream>,
        ahead: Ahead,
        head: Head,
    ) -> Result<Response, DirectError> {
        let (length, reusable) = head.framing().map_err(DirectError::Head)?;
        let idle = Arc::clone(&self.idle);
        let home = move |stream| idle.keep(origin, stream);
        let home = reusable.then(|| Box::new(home) as Home);
        let reader = Reader::new(stream, ahead, length, home);
        let handle = Handle(Arc::new(Mutex::new(Some(reader))));
        let body = reqwest::Body::wrap_stream(stream::unfold(
            (handle.clone(), None),
            |(handle, mut reader)| async move {
                let mut source = reader.take().or_else(|| handle.take())?;
                let mut piece = vec![0; PIECE];
                match source.read(&mut piece).await {
                    Ok(0) => None,
                    Ok(read) => {
                        piece.truncate(read);
                        Some((Ok(Bytes::from(piece)), (handle, Some(source))))
                    }
                    Err(error) => Some((Err(error), (handle, None))),
                }
            },
        ));
        let mut answer = http::Response::builder().status(head.status).url(url.clone());
        if let Some(headers) = answer.headers_mut() {
            *headers = head.headers;
        }
        let answer = answer
            .extension(handle)
            .body(body)
            .map_err(|error| DirectError::Head(HeadError::Faulty(error.to_string())))?;
        Ok(answer.into())
    }
}

/// Whether a connection that rests has nothing to say.
async fn quiet(stream: &mut Box<dyn Stream>) -> bool {
    let mut byte = [0];
    let mut buffer = ReadBuf::new(&mut byte);
    poll_fn(|cx| Poll::Ready(Pin::new(&mut *stream).poll_read(cx, &mut buffer).is_pending())).await
}

#[cfg(test)]
#[path = "direct_tests.rs"]
mod tests;
