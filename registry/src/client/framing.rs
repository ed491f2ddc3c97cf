//! How answers of HTTP/1.1 begin and end (RFC 9112).
//!
//! In: a connection. Out: the head of an answer, and the [`Reader`] of its body, which reads into the caller's
//! memory. What must hold: a body ends where its framing says (section 6.3), or is an error; heads, lines and
//! trailers are bounded. Heads are parsed by `httparse`.

use std::io;

use reqwest::header::{
    CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::limits::{HEAD_MAX, HEADERS_MAX};

/// Bytes read at a time where they are looked at: heads, and the framing of chunks.
const LOOK: usize = 16 * 1024;

/// Bytes of a chunk's size line or of a trailer's line.
const LINE_MAX: usize = 4 * 1024;

/// A connection, with TLS or without.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Bytes that came in, but are not used yet.
#[derive(Default)]
pub(super) struct Ahead {
    pub(super) bytes: Vec<u8>,
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

/// Status line and headers.
pub(super) struct Head {
    pub(super) status: u16,
    /// Whether the server speaks HTTP/1.1, which keeps connections.
    keeps: bool,
    pub(super) headers: HeaderMap,
}

/// Why there is no head.
#[derive(Debug)]
pub(super) enum HeadError {
    /// The connection broke.
    Broken(io::Error),
    /// What came is whole and faulty: whoever sent it means it, and sends it again.
    Faulty(String),
}

impl From<io::Error> for HeadError {
    fn from(error: io::Error) -> Self {
        Self::Broken(error)
    }
}

fn faulty(what: impl Into<String>) -> HeadError {
    HeadError::Faulty(what.into())
}

/// Sends a request and reads the head of its answer.
pub(super) async fn ask(
    stream: &mut Box<dyn Stream>,
    head: &[u8],
    ahead: &mut Ahead,
) -> Result<Head, HeadError> {
    stream.write_all(head).await?;
    stream.flush().await?;
    loop {
        if let Some((size, head)) = parse(ahead.rest())? {
            ahead.used += size;
            match head.status {
                // Interim answers, which a server may send unasked (RFC 9110, section 15.2).
                100 | 102..=199 => continue,
                101 => return Err(faulty("it leaves HTTP")),
                _ => return Ok(head),
            }
        }
        if ahead.rest().len() > HEAD_MAX {
            return Err(faulty("it is too long"));
        }
        if ahead.more(stream).await? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
    }
}

/// A whole head at the start of `bytes`, and its size.
fn parse(bytes: &[u8]) -> Result<Option<(usize, Head)>, HeadError> {
    let mut headers = vec![httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut answer = httparse::Response::new(&mut headers);
    let size = match answer.parse(bytes) {
        Ok(httparse::Status::Complete(size)) => size,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return Err(faulty(format!("it is not HTTP: {error}"))),
    };
    let mut found = HeaderMap::with_capacity(answer.headers.len());
    for header in answer.headers.iter() {
        let name = HeaderName::from_bytes(header.name.as_bytes());
        let value = HeaderValue::from_bytes(header.value);
        let (Ok(name), Ok(value)) = (name, value) else {
            return Err(faulty("a header is not valid"));
        };
        found.append(name, value);
    }
    let status = answer.code.unwrap_or_default();
    Ok(Some((size, Head { status, keeps: answer.version == Some(1), headers: found })))
}

impl Head {
    /// How the body ends, and whether the connection can be used after it.
    pub(super) fn framing(&self) -> Result<(Length, bool), HeadError> {
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
            _ => return Err(faulty("it has a transfer coding that was not asked for")),
        }
        let mut lengths = tokens(CONTENT_LENGTH);
        let Some(length) = lengths.next() else { return Ok((Length::Close, false)) };
        let digits = !length.is_empty() && length.bytes().all(|b| b.is_ascii_digit());
        match length.parse() {
            Ok(size) if digits && lengths.all(|other| other == length) => {
                Ok((Length::Exact(size), keeps))
            }
            _ => Err(faulty("its `Content-Length` is not one number")),
        }
    }
}

/// A fault of a body's framing. What came before it was good: the way may have damaged it.
fn wrong(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

/// How much of the body is to come.
#[derive(Debug, Clone, Copy)]
pub(super) enum Length {
    /// So many bytes.
    Exact(u64),
    /// Chunks, with so many bytes left of this one.
    Chunks(u64),
    /// All until the connection ends.
    Close,
}

/// Takes a connection back after its body.
pub(super) type Home = Box<dyn FnOnce(Box<dyn Stream>) + Send>;

/// The body of an answer.
pub(super) struct Reader {
    /// `None` after the end.
    stream: Option<Box<dyn Stream>>,
    ahead: Ahead,
    length: Length,
    home: Option<Home>,
}

impl Reader {
    /// The body that comes next. `home` takes the connection after it, where that can be used again.
    pub(super) fn new(
        stream: Box<dyn Stream>,
        ahead: Ahead,
        length: Length,
        home: Option<Home>,
    ) -> Self {
        Self { stream: Some(stream), ahead, length, home }
    }

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
            home(stream);
        }
    }
}

#[cfg(test)]
#[path = "framing_tests.rs"]
mod tests;
