//! Downloads whose bytes go from the connection straight into the caller's memory.
//!
//! In: a GET request that no proxy stands in the way of. Out: its answer, as `reqwest` would give it, with the
//! [`Reader`] of its body beside it ([`Body`](super::body::Body) takes it). Why not `reqwest` itself: it reads into
//! buffers of its own, and the copy out of them was a seventh of what create cost. HTTP/1.1 as RFC 9112 has
//! it, one request at a time on a connection; heads are parsed by `httparse`.
//!
//! What must hold: a body ends where its framing says (RFC 9112, section 6.3), or is an error; a connection is used
//! again only after the whole body was read from it; heads are bounded.

use std::error::Error;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream;
use hyper_util::client::legacy::connect::HttpConnector;
use reqwest::header::{
    ACCEPT, CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue,
    TRANSFER_ENCODING, USER_AGENT,
};
use reqwest::{Request, Response, ResponseBuilderExt};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tower_service::Service;
use url::Url;

use super::headers::authority;
use super::hold;
use crate::limits::{HEAD_MAX, HEADERS_MAX};

/// How long a connection is silent before the system asks whether the other side is there: a firewall on the way
/// may have forgotten it.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// Bytes read at a time where they are looked at: heads, and the framing of chunks.
const LOOK: usize = 16 * 1024;

/// Bytes of a chunk's size line or of a trailer's line.
const LINE_MAX: usize = 4 * 1024;

/// Bytes of a piece of a body that is read as a stream.
const PIECE: usize = 64 * 1024;

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum DirectError {
    /// No connection.
    Connect(Box<dyn Error + Send + Sync>),
    /// The connection broke, or what came over it is not HTTP.
    Broken(io::Error),
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

/// A connection, with TLS or without.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

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
            match ask(&mut stream, &head, &mut ahead).await {
                Ok(answer) => return self.answer(url, origin, stream, ahead, answer),
                Err(_) if ahead.bytes.is_empty() => {}
                Err(error) => return Err(DirectError::Broken(error)),
            }
        }
        let mut stream = self.connect(url).await?;
        let mut ahead = Ahead::default();
        let answer = ask(&mut stream, &head, &mut ahead).await.map_err(DirectError::Broken)?;
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
        let (length, reusable) = head.framing().map_err(DirectError::Broken)?;
        let home = reusable.then(|| Home { origin, idle: Arc::clone(&self.idle) });
        let reader = Reader { stream: Some(stream), ahead, length, home };
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
            .map_err(|error| DirectError::Broken(io::Error::other(error)))?;
        Ok(answer.into())
    }
}

/// Bytes that came in, but are not used yet.
#[derive(Default)]
struct Ahead {
    bytes: Vec<u8>,
    used: usize,
}

impl Ahead {
    fn rest(&self) -> &[u8] {
        &self.bytes[self.used..]
    }

    /// Reads more behind the rest. Returns how much; 0 at the end.
    async fn more(&mut self, stream: &mut Box<dyn Stream>) -> io::Result<usize> {
        self.bytes.drain(..self.used);
        self.used = 0;
        let old = self.bytes.len();
        self.bytes.resize(old + LOOK, 0);
        let read = stream.read(&mut self.bytes[old..]).await;
        self.bytes.truncate(old + *read.as_ref().unwrap_or(&0));
        read
    }
}

/// Whether a connection that rests has nothing to say.
async fn quiet(stream: &mut Box<dyn Stream>) -> bool {
    let mut byte = [0];
    let mut buffer = ReadBuf::new(&mut byte);
    poll_fn(|cx| Poll::Ready(Pin::new(&mut *stream).poll_read(cx, &mut buffer).is_pending())).await
}

/// Status line and headers.
struct Head {
    status: u16,
    /// Whether the server speaks HTTP/1.1, which keeps connections.
    keeps: bool,
    headers: HeaderMap,
}

/// Sends a request and reads the head of its answer.
async fn ask(stream: &mut Box<dyn Stream>, head: &[u8], ahead: &mut Ahead) -> io::Result<Head> {
    stream.write_all(head).await?;
    stream.flush().await?;
    loop {
        if let Some((size, head)) = parse(ahead.rest())? {
            ahead.used += size;
            match head.status {
                // Interim answers, which a server may send unasked (RFC 9110, section 15.2).
                100 | 102..=199 => continue,
                101 => return Err(wrong("an answer that leaves HTTP")),
                _ => return Ok(head),
            }
        }
        if ahead.rest().len() > HEAD_MAX {
            return Err(wrong("the head of the answer is too long"));
        }
        if ahead.more(stream).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

/// A whole head at the start of `bytes`, and its size.
fn parse(bytes: &[u8]) -> io::Result<Option<(usize, Head)>> {
    let mut headers = vec![httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut answer = httparse::Response::new(&mut headers);
    let size = match answer.parse(bytes) {
        Ok(httparse::Status::Complete(size)) => size,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return Err(wrong(&format!("the answer is not HTTP: {error}"))),
    };
    let mut found = HeaderMap::with_capacity(answer.headers.len());
    for header in answer.headers.iter() {
        let name = HeaderName::from_bytes(header.name.as_bytes());
        let value = HeaderValue::from_bytes(header.value);
        let (Ok(name), Ok(value)) = (name, value) else {
            return Err(wrong("a header of the answer is not valid"));
        };
        found.append(name, value);
    }
    let status = answer.code.unwrap_or_default();
    Ok(Some((size, Head { status, keeps: answer.version == Some(1), headers: found })))
}

impl Head {
    /// How the body ends, and whether the connection can be used after it.
    fn framing(&self) -> io::Result<(Length, bool)> {
        let tokens = |name| {
            let lines = self.headers.get_all(name).into_iter();
            let lines = lines.map(|line| line.to_str().unwrap_or("?").to_ascii_lowercase());
            lines.flat_map(|line| line.split(',').map(|t| t.trim().to_owned()).collect::<Vec<_>>())
        };
        let keeps = self.keeps && !tokens(CONNECTION).any(|token| token == "close");
        if matches!(self.status, 204 | 304) {
            return Ok((Length::Exact(0), keeps));
        }
        let codings: Vec<String> = tokens(TRANSFER_ENCODING).collect();
        match codings.as_slice() {
            [] => {}
            // With a length beside it somebody on the way may have read another end (RFC 9112, section 11.2).
            [coding] if coding == "chunked" => {
                return Ok((
                    Length::Chunks(0),
                    keeps && !self.headers.contains_key(CONTENT_LENGTH),
                ));
            }
            _ => return Err(wrong("a transfer coding that was not asked for")),
        }
        let mut lengths = tokens(CONTENT_LENGTH);
        let Some(length) = lengths.next() else { return Ok((Length::Close, false)) };
        let digits = !length.is_empty() && length.bytes().all(|b| b.is_ascii_digit());
        match length.parse() {
            Ok(size) if digits && lengths.all(|other| other == length) => {
                Ok((Length::Exact(size), keeps))
            }
            _ => Err(wrong("its `Content-Length` is not a number")),
        }
    }
}

/// How much of the body is to come.
#[derive(Debug, Clone, Copy)]
enum Length {
    /// So many bytes.
    Exact(u64),
    /// Chunks, with so many bytes left of this one.
    Chunks(u64),
    /// All until the connection ends.
    Close,
}

/// Where a connection goes after its body.
struct Home {
    origin: String,
    idle: Arc<Idle>,
}

/// The body of an answer.
pub(super) struct Reader {
    /// `None` after the end.
    stream: Option<Box<dyn Stream>>,
    ahead: Ahead,
    length: Length,
    home: Option<Home>,
}

impl Reader {
    /// The next bytes of the body, as many as are there and fit; 0 at its end. Not to be called again after an
    /// error, or when it was given up while it waited.
    pub(super) async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.stream.is_none() || buffer.is_empty() {
            return Ok(0);
        }
        if let Length::Chunks(0) = self.length {
            self.length = match self.next_chunk().await? {
                0 => Length::Exact(0),
                size => Length::Chunks(size),
            };
        }
        let most = match self.length {
            Length::Exact(0) => {
                self.end();
                return Ok(0);
            }
            Length::Exact(left) | Length::Chunks(left) => {
                buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX))
            }
            Length::Close => buffer.len(),
        };
        let read = self.raw(&mut buffer[..most]).await?;
        match &mut self.length {
            Length::Close if read == 0 => self.end(),
            Length::Close => {}
            _ if read == 0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            Length::Exact(left) => {
                *left -= read as u64;
                if *left == 0 {
                    self.end();
                }
            }
            Length::Chunks(left) => {
                *left -= read as u64;
                if *left == 0 && !self.line().await?.is_empty() {
                    return Err(wrong("a chunk is longer than it says"));
                }
            }
        }
        Ok(read)
    }

    /// Bytes from the connection, whatever they mean.
    async fn raw(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = self.ahead.rest();
        if !rest.is_empty() {
            let read = rest.len().min(buffer.len());
            buffer[..read].copy_from_slice(&rest[..read]);
            self.ahead.used += read;
            return Ok(read);
        }
        match &mut self.stream {
            Some(stream) => stream.read(buffer).await,
            None => Ok(0),
        }
    }

    /// The size of the next chunk; 0 for the end, whose trailer is read too.
    async fn next_chunk(&mut self) -> io::Result<u64> {
        let line = self.line().await?;
        // What follows a semicolon is an extension: nobody has one.
        let digits = line.split(|b| *b == b';').next().unwrap_or_default().trim_ascii();
        let hex = !digits.is_empty() && digits.iter().all(u8::is_ascii_hexdigit);
        let size = std::str::from_utf8(digits).ok().and_then(|d| u64::from_str_radix(d, 16).ok());
        let size = size.filter(|_| hex).ok_or_else(|| wrong("the size of a chunk is no number"))?;
        if size == 0 {
            let mut lines = 0;
            while !self.line().await?.is_empty() {
                lines += 1;
                if lines > HEADERS_MAX {
                    return Err(wrong("the trailer of the answer is too long"));
                }
            }
        }
        Ok(size)
    }

    /// The next line without its end.
    async fn line(&mut self) -> io::Result<Vec<u8>> {
        loop {
            let rest = self.ahead.rest();
            if let Some(end) = rest.iter().position(|b| *b == b'\n') {
                let line = rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]).to_vec();
                self.ahead.used += end + 1;
                return Ok(line);
            }
            if rest.len() > LINE_MAX {
                return Err(wrong("the framing of the answer is too long"));
            }
            let Some(stream) = &mut self.stream else {
                return Err(io::ErrorKind::UnexpectedEof.into());
            };
            if self.ahead.more(stream).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// The body is whole. What came behind it belongs to no request.
    fn end(&mut self) {
        let (Some(stream), home) = (self.stream.take(), self.home.take()) else { return };
        if let Some(home) = home.filter(|_| self.ahead.rest().is_empty()) {
            home.idle.keep(home.origin, stream);
        }
    }
}

#[cfg(test)]
#[path = "direct_tests.rs"]
mod tests;
