//! The body of an upload: a span of a blob, streamed from its source, and the watch over it.
//!
//! In: a source, a span, a request. Out: the registry's answer. What must hold: nothing is copied or
//! held back beyond what the connection takes; the time limit is for standing still, and counts
//! against the registry only while it is the registry's turn.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use reqwest::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, Response};
use tokio::time::Instant;
use url::Url;

use super::error::Fault;
use super::headers::authority;
use super::pace::Pace;
use super::session::Session;
use super::token::Scopes;
use super::{BlobSource, Core, hold, transport};
use crate::limits::{COMMIT_LARGE, COMMIT_TIME};

/// The type of an upload's body.
pub(super) const OCTETS: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// Bytes handed to the connection at once: it moves them as a whole, so this much must move in every window
/// of the stall limit. 128 KiB in 30 s is 4 KiB/s, slower than any line worth using. Of a source with
/// smaller pieces, [`STALL_LEAST`](crate::limits::STALL_LEAST) bytes must move.
const PIECE: usize = 128 * 1024;

/// How long the answer may take once everything was sent. `bytes` is what the registry has to work
/// through before it can answer: the body, or the whole blob that the request commits. What counts is
/// the bytes, not the method: a proxy that holds back a large PATCH passes it on only when it is whole.
pub(super) fn answer_time(stall: Duration, bytes: u64) -> Duration {
    if bytes > COMMIT_LARGE { COMMIT_TIME.max(stall) } else { stall }
}

/// Sends one request whose body is a span of the blob, straight from the source.
pub(super) async fn pour(
    core: &Arc<Core>,
    session: &Session,
    scopes: &Scopes,
    (method, url, mut headers): (Method, Url, HeaderMap),
    source: &dyn BlobSource,
    (from, to): (u64, u64),
    sent: &mut u64,
) -> Result<Response, Fault> {
    let (value, proof) = session.prove(core, scopes).await?;
    if let Some(value) = value {
        headers.insert(AUTHORIZATION, value);
    }
    headers.insert(CONTENT_TYPE, OCTETS);
    headers.insert(CONTENT_LENGTH, HeaderValue::from(to - from));
    let gauge = Arc::new(Gauge::new(core.options.stall));
    let mut request = session.transport.http.request(method.clone(), url.clone()).headers(headers);
    if to > from {
        request = request.body(reqwest::Body::wrap_stream(Feed {
            source: source.open(from),
            held: Bytes::new(),
            left: to - from,
            gauge: Arc::clone(&gauge),
            core: Arc::clone(core),
        }));
    } else {
        gauge.set(Phase::Done, 0, Instant::now());
    }
    let request =
        request.build().map_err(|_| Fault::Protocol("the request cannot be written".into()))?;
    core.counters.request();
    let stall = core.options.stall;
    let mut call = std::pin::pin!(session.transport.http.execute(request));
    let outcome = loop {
        let turn = gauge.get();
        let limit = match turn.phase {
            Phase::Sending => turn.pace.left(),
            Phase::Done => answer_time(stall, to - from),
            // A medium that spins up is not the registry's fault.
            Phase::Source => Duration::from_secs(24 * 3600),
        };
        let deadline = turn.since + limit;
        let wake = deadline.min(Instant::now() + stall);
        tokio::select! {
            answer = &mut call => break answer,
            () = tokio::time::sleep_until(wake) => {
                if gauge.get() == turn && Instant::now() >= deadline {
                    let host = authority(&url);
                    return Err(match turn.phase {
                        Phase::Sending => turn.pace.stalled(host),
                        Phase::Source | Phase::Done => Fault::Stalled { host, limit, moved: 0 },
                    });
                }
            }
        }
    };
    if gauge.get().phase == Phase::Done {
        *sent = (*sent).max(to);
    }
    if let Some(error) = gauge.take_error() {
        return Err(Fault::Source(error));
    }
    let answer = outcome.map_err(|error| transport::fault(&url, &error))?;
    tracing::debug!(
        host = authority(&url),
        %method,
        path = url.path(),
        status = answer.status().as_u16(),
        "answer"
    );
    if answer.status().is_success() {
        return Ok(answer);
    }
    if answer.status().as_u16() == 401 {
        session.learn(core, answer.headers(), &proof, scopes).await;
    }
    Err(session.fault_of(core, scopes, answer).await)
}

/// Whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The connection's: it has not taken the last piece yet.
    Sending,
    /// The source's.
    Source,
    /// The registry's: it has everything.
    Done,
}

/// Whose turn it is since when, and what the connection has left of its window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Turn {
    phase: Phase,
    since: Instant,
    pace: Pace,
}

/// What the body and the one who waits for the answer tell each other.
struct Gauge {
    turn: Mutex<Turn>,
    error: Mutex<Option<std::io::Error>>,
}

impl Gauge {
    fn new(stall: Duration) -> Self {
        let turn = Turn { phase: Phase::Sending, since: Instant::now(), pace: Pace::new(stall) };
        Self { turn: Mutex::new(turn), error: Mutex::new(None) }
    }

    /// The turn changes, with a piece of `taken` bytes for the connection.
    fn set(&self, phase: Phase, taken: usize, now: Instant) {
        let mut turn = hold(&self.turn);
        // The source's time is not the network's.
        if turn.phase == Phase::Sending {
            let time = now.saturating_duration_since(turn.since);
            turn.pace.waited(time);
        }
        turn.pace.moved(taken);
        (turn.phase, turn.since) = (phase, now);
    }

    fn get(&self) -> Turn {
        *hold(&self.turn)
    }

    fn fail(&self, error: std::io::Error) {
        *hold(&self.error) = Some(error);
    }

    fn take_error(&self) -> Option<std::io::Error> {
        hold(&self.error).take()
    }
}

/// The body of an upload: exactly `left` bytes of the source, in pieces, without copies.
struct Feed {
    source: Pin<Box<dyn Stream<Item = std::io::Result<Bytes>> + Send>>,
    held: Bytes,
    left: u64,
    gauge: Arc<Gauge>,
    core: Arc<Core>,
}

impl Stream for Feed {
    type Item = std::io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        while self.held.is_empty() {
            if self.left == 0 {
                return Poll::Ready(None);
            }
            let error = match self.source.as_mut().poll_next(cx) {
                Poll::Pending => {
                    self.gauge.set(Phase::Source, 0, Instant::now());
                    return Poll::Pending;
                }
                Poll::Ready(Some(Ok(bytes))) => {
                    self.held = bytes;
                    continue;
                }
                Poll::Ready(Some(Err(error))) => error,
                Poll::Ready(None) => std::io::Error::new(
                    std::io::ErrorKind::UnexpectedEof,
                    format!("the source ended {} bytes early", self.left),
                ),
            };
            let copy = std::io::Error::new(error.kind(), "the source failed");
            self.gauge.fail(error);
            return Poll::Ready(Some(Err(copy)));
        }
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(PIECE);
        let length = self.held.len().min(most);
        let piece = self.held.split_to(length);
        self.left -= length as u64;
        self.core.counters.sent(length);
        let phase = if self.left == 0 { Phase::Done } else { Phase::Sending };
        self.gauge.set(phase, length, Instant::now());
        Poll::Ready(Some(Ok(piece)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn pieces_of_a_byte_do_not_begin_a_new_window() {
        let gauge = Gauge::new(30 * SECOND);
        let mut now = Instant::now();
        for _ in 0..31 {
            gauge.set(Phase::Sending, 1, now);
            now += SECOND;
        }
        assert!(gauge.get().pace.left() <= SECOND, "{:?}", gauge.get());
        gauge.set(Phase::Sending, PIECE, now);
        assert_eq!(gauge.get().pace.left(), 30 * SECOND);
    }

    #[test]
    fn a_slow_source_costs_the_connection_nothing() {
        let gauge = Gauge::new(30 * SECOND);
        let mut now = Instant::now();
        for _ in 0..100 {
            gauge.set(Phase::Source, 0, now);
            now += 20 * SECOND;
            gauge.set(Phase::Sending, 1, now);
        }
        assert!(gauge.get().pace.left() > 29 * SECOND, "{:?}", gauge.get());
    }

    #[test]
    fn only_large_blobs_get_time_to_commit() {
        let (short, long) = (Duration::from_secs(2), Duration::from_secs(900));
        for bytes in [0, 4096, COMMIT_LARGE] {
            assert_eq!(answer_time(short, bytes), short, "{bytes}");
            assert_eq!(answer_time(long, bytes), long, "{bytes}");
        }
        assert_eq!(answer_time(short, COMMIT_LARGE + 1), COMMIT_TIME);
        assert_eq!(answer_time(long, COMMIT_LARGE + 1), long);
    }
}
