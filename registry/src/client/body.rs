//! The body of an answer, read into the caller's memory.
//!
//! In: an answer, from `reqwest` or from [`direct`](super::direct). Out: its bytes, and the fault of a connection that
//! breaks or stands still.

use std::io::ErrorKind;

use bytes::{Buf, Bytes};
use reqwest::Response;
use tokio::time::{Instant, timeout};
use url::Url;

use super::direct::Handle;
use super::error::Fault;
use super::framing::Reader;
use super::headers::authority;
use super::pace::Pace;
use super::transport;

/// A body that is read in pieces.
pub(super) struct Body {
    url: Url,
    source: Source,
    /// The stall clock.
    pace: Pace,
}

enum Source {
    Direct(Reader),
    /// With what is left of the last chunk.
    Answer(Response, Bytes),
}

impl Body {
    /// The body of `answer`.
    pub(super) fn of(mut answer: Response, pace: Pace) -> Self {
        let url = answer.url().clone();
        let reader = answer.extensions_mut().remove::<Handle>().and_then(|handle| handle.take());
        let source = match reader {
            Some(reader) => Source::Direct(reader),
            None => Source::Answer(answer, Bytes::new()),
        };
        Self { url, source, pace }
    }

    /// The next bytes, as many as are there and fit; 0 at the end.
    pub(super) async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Fault> {
        match &mut self.source {
            Source::Direct(reader) => {
                let since = Instant::now();
                let Ok(outcome) = timeout(self.pace.left(), reader.read(buffer)).await else {
                    return Err(self.pace.stalled(authority(&self.url)));
                };
                self.pace.waited(since.elapsed());
                let read = match outcome {
                    // How much is missing tells more than that the connection ended.
                    Err(error) if error.kind() == ErrorKind::UnexpectedEof => 0,
                    other => other.map_err(|error| transport::broken(&self.url, &error))?,
                };
                self.pace.moved(read);
                Ok(read)
            }
            Source::Answer(answer, rest) => {
                while rest.is_empty() {
                    // Free before the next one is made.
                    *rest = Bytes::new();
                    let chunk = self.pace.chunk(answer).await?;
                    let chunk = match chunk.map_err(|error| transport::fault(&self.url, &error)) {
                        // Here the library does not tell an end from another fault.
                        Ok(None) | Err(Fault::Broken { .. }) => return Ok(0),
                        other => other?.unwrap_or_default(),
                    };
                    *rest = chunk;
                }
                let read = rest.len().min(buffer.len());
                buffer[..read].copy_from_slice(&rest[..read]);
                rest.advance(read);
                Ok(read)
            }
        }
    }
}
