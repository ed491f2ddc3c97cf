//! One connection: HTTP/1.1 over a socket that gives up when it does not move.
//!
//! In: an accepted socket. Out: when it is closed. What must hold: bounded memory and time for a peer that
//! sends or reads slowly or not at all.

use std::convert::Infallible;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};
use tokio_util::sync::CancellationToken;

use super::App;
use super::limits::{HEAD_MAX, HEAD_TIME, HEADERS_MAX, STALL, STOP_TIME, WAITING};
use super::peers::Guest;

/// Serves a connection until it ends, or for a moment longer than `stop`.
pub(super) async fn serve(
    app: Arc<App>,
    socket: TcpStream,
    remote: SocketAddr,
    guest: Guest,
    stop: CancellationToken,
) {
    let guest = Arc::new(guest);
    tokio::select! {
        () = greet(app, socket, remote, Arc::clone(&guest), stop) => {}
        () = guest.unheard() => {}
    }
}

async fn greet(
    app: Arc<App>,
    mut socket: TcpStream,
    remote: SocketAddr,
    guest: Arc<Guest>,
    stop: CancellationToken,
) {
    if app.tls.is_none() {
        return speak(app, Moving::new(socket), remote, guest, stop).await;
    }
    let encrypted = async {
        match &app.tls {
            Some(tls) if !super::tls::is_plain(&mut socket).await => {
                // Watched below the encryption, which keeps bytes of its own.
                tls.accept(Moving::new(socket)).await
            }
            _ => None,
        }
    };
    let socket = tokio::select! {
        socket = encrypted => socket,
        () = stop.cancelled() => return,
    };
    if let Some(socket) = socket {
        speak(app, socket, remote, guest, stop).await;
    }
}

async fn speak(
    app: Arc<App>,
    socket: impl AsyncRead + AsyncWrite + Unpin,
    remote: SocketAddr,
    guest: Arc<Guest>,
    stop: CancellationToken,
) {
    let leave = guest.leave();
    let service = service_fn(move |request| {
        let (app, busy) = (Arc::clone(&app), guest.busy());
        async move { Ok::<_, Infallible>(super::respond(&app, remote, busy, request).await) }
    });
    converse(socket, service, leave, stop).await;
}

/// Speaks HTTP/1.1, within the server's limits, until the peer ends it, until the end of the request under way at `leave`, or
/// for a moment longer than `stop`.
pub(super) async fn converse<S, B>(
    socket: impl AsyncRead + AsyncWrite + Unpin,
    service: S,
    leave: CancellationToken,
    stop: CancellationToken,
) where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
    B: Body<Data = Bytes, Error = io::Error> + 'static,
{
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_headers(HEADERS_MAX)
        .max_header_size(HEAD_MAX)
        .max_buf_size(WAITING)
        .serve_connection(TokioIo::new(socket), service);
    tokio::pin!(connection);
    let spoken = async {
        tokio::select! {
            outcome = connection.as_mut() => return outcome,
            () = leave.cancelled() => {}
        }
        connection.as_mut().graceful_shutdown();
        connection.as_mut().await
    };
    let outcome = tokio::select! {
        outcome = spoken => outcome,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            match tokio::time::timeout(STOP_TIME, connection).await {
                Ok(outcome) => outcome,
                // Cut: the clients resume or repeat.
                Err(_) => return,
            }
        }
    };
    if let Err(error) = outcome {
        tracing::debug!(%error, "connection ended");
    }
}

/// A socket whose writes fail when the peer has taken nothing for [`STALL`]. Reads have their own
/// limits: hyper's for a request's head, the receiving code's for its body.
struct Moving {
    socket: TcpStream,
    stalled: Option<Pin<Box<Sleep>>>,
    waiting: bool,
}

impl Moving {
    fn new(socket: TcpStream) -> Self {
        Self { socket, stalled: None, waiting: false }
    }

    fn watch<T>(
        &mut self,
        context: &mut Context<'_>,
        outcome: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.waiting = false;
            return outcome;
        }
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(STALL)));
        if !self.waiting {
            stalled.as_mut().reset(Instant::now() + STALL);
            self.waiting = true;
        }
        ready!(stalled.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Moving {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(context, buffer)
    }
}

impl AsyncWrite for Moving {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.socket).poll_write(context, data);
        self.watch(context, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.socket).poll_write_vectored(context, data);
        self.watch(context, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}
