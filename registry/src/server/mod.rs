//! The mirror registry: the OCI distribution specification over the [`store`](crate::store).
//!
//! 1. [`Server::bind`] opens the store and the socket; [`Server::run`] accepts until it is told to stop.
//! 2. `connection` speaks HTTP/1.1 on each socket and calls `respond`; `peers` keeps an address from taking all places.
//! 3. `route` turns the path into a `Route`; `upload`, `download`, `manifest` and
//!    `listing` answer it.
//! 4. `access` says who sends a request and what they may do; `audit` tells of it.
//! 5. `certificate` makes certificates, `tls` shows them, `watch` notices that files changed.
//! 6. `control` answers the `bundle registry` commands of this machine, over a socket in the data directory.
//! 7. `health` says how it is; `account` follows each request to its end, for `metrics` and `logs`.
//! 8. `page` shows a person with a browser what is stored.
//! 9. `answer` makes responses, and errors in the JSON of the specification.
//!
//! In: requests of any client, none of which is trusted. Out: answers. What must hold: memory is
//! bounded by the number of connections; 201 is only said of what is durable.

pub mod access;
mod access_log;
mod account;
mod answer;
mod appender;
mod arriving;
mod audit;
mod buffers;
pub mod certificate;
mod chain;
mod collection;
mod connection;
pub mod control;
mod download;
mod health;
pub mod limits;
mod listing;
mod log_file;
pub mod logs;
mod manifest;
mod metrics;
mod page;
mod peers;
pub mod period;
mod person;
pub mod probe;
mod random;
mod range;
#[cfg(fuzzing)]
pub mod route;
#[cfg(not(fuzzing))]
mod route;
pub mod settings;
#[cfg(test)]
mod slow_tests;
mod storage;
pub mod tls;
mod upload;
mod watch;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::{EXPECT, HOST, HeaderName};
use http::request::Parts;
use http::{Method, Request, Response};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::objects::Objects;
use crate::store::{StoreError, UPLOAD_LIFETIME};
use access::{Access, Caller};
use account::{Account, Received, Sent};
use answer::{Answer, Fault, field};
use limits::{CONNECTIONS_MAX, DRAIN_MAX, DRAIN_TIME, EXPIRY_PERIOD, FULL_LOOK};
use logs::Logs;
use metrics::Metrics;
use peers::{Busy, Guest, Peers};
use route::{Kind, Route};
pub use settings::Settings;
use storage::Storage;

/// How to serve.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// The data directory; made when it does not exist.
    pub data: PathBuf,
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Refuse everything that changes the data, which may then be on a read-only medium.
    pub read_only: bool,
    /// How bytes go over the socket, and so who may come.
    pub transport: Transport,
    /// Everything else.
    pub settings: Settings,
}

/// How bytes go over the socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// Plain HTTP without logins, on loopback addresses only.
    Http,
    /// TLS with the certificate of the settings, else one that is made in the data directory; and with users, where
    /// there are any.
    Tls,
}

impl ServerConfig {
    /// Reads and writes, in plain HTTP, for this machine only.
    pub fn new(data: impl Into<PathBuf>, listen: SocketAddr) -> Self {
        Self {
            data: data.into(),
            listen,
            read_only: false,
            transport: Transport::Http,
            settings: Settings::default(),
        }
    }
}

/// Why the server cannot run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// Plain HTTP for the whole network.
    #[error(
        "refusing to serve plain HTTP to other machines: `{0}` is not a loopback address, and anyone \
         on the network could read and change what is stored"
    )]
    RemoteHttp(SocketAddr),
    /// The address cannot be had.
    #[error("cannot listen on `{address}`: {error}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        error: std::io::Error,
    },
    /// Nobody was named who may come, and everybody could.
    #[error(
        "refusing to serve `{address}` without users: it is not a loopback address, and everybody on the network could change \
         what is stored"
    )]
    NoUsers {
        /// The address.
        address: SocketAddr,
        /// The data directory.
        data: PathBuf,
    },
    /// Users, robots or roles cannot be used.
    #[error(transparent)]
    Access(#[from] access::AccessError),
    /// The certificate cannot be used.
    #[error(transparent)]
    Certificate(#[from] certificate::CertificateError),
    /// The data cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A log cannot be written.
    #[error("cannot write the log `{path}` that `{setting}` names: {error}")]
    Log {
        /// Which setting names it.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The socket of `bundle registry` commands cannot be made.
    #[error("cannot make the control socket in `{data}`: {error}")]
    Control {
        /// The data directory.
        data: PathBuf,
        /// Why.
        error: std::io::Error,
    },
}

/// Opens the data, listens, calls `on_ready` with the address, and serves until `stop`.
///
/// # Errors
/// See [`ServerError`]; none once it has begun to serve.
pub async fn serve(
    config: ServerConfig,
    stop: CancellationToken,
    on_ready: impl FnOnce(SocketAddr),
) -> Result<(), ServerError> {
    let server = Server::bind(config).await?;
    on_ready(server.local_addr());
    server.run(stop).await
}

/// A registry that listens.
pub struct Server {
    app: Arc<App>,
    listener: TcpListener,
    address: SocketAddr,
    control: Option<control::Control>,
}

/// What all requests share.
struct App {
    store: Storage,
    read_only: bool,
    tls: Option<tls::Tls>,
    /// With TLS: who may do what. In the clear nobody logs in.
    access: Option<access::Access>,
    buffers: buffers::Buffers,
    address: SocketAddr,
    began: Instant,
    storage: settings::Storage,
    mark: String,
    data: PathBuf,
    metrics: Metrics,
    logs: Arc<Logs>,
    transport: Transport,
    free_metrics: bool,
    pages: Arc<Semaphore>,
    collections: collection::Collections,
    peers: Arc<peers::Peers>,
}

impl Server {
    /// Opens the data and the socket. Connections wait until [`Server::run`].
    ///
    /// # Errors
    /// See [`ServerError`].
    pub async fn bind(config: ServerConfig) -> Result<Self, ServerError> {
        Self::bind_with(config, None).await
    }

    /// The same over an object store that is open already, whatever the settings say.
    ///
    /// # Errors
    /// See [`ServerError`].
    pub async fn bind_over(
        config: ServerConfig,
        objects: Arc<Objects>,
    ) -> Result<Self, ServerError> {
        Self::bind_with(config, Some(objects)).await
    }

    async fn bind_with(
        config: ServerConfig,
        objects: Option<Arc<Objects>>,
    ) -> Result<Self, ServerError> {
        if config.transport == Transport::Http && !config.listen.ip().is_loopback() {
            return Err(ServerError::RemoteHttp(config.listen));
        }
        let alone = config.listen.ip().is_loopback();
        if config.transport == Transport::Tls && !alone && !access::has_files(&config.data) {
            return Err(ServerError::NoUsers { address: config.listen, data: config.data });
        }
        let failed = |error| ServerError::Listen { address: config.listen, error };
        let listener = TcpListener::bind(config.listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let store = match objects {
            Some(objects) => Storage::Objects(objects),
            None => Storage::open(&config.data, &config.settings, config.read_only).await?,
        };
        let (data, settings) = (&config.data, &config.settings);
        let logs = Logs::open(data, &settings.log, config.read_only)
            .map_err(|(setting, path, error)| ServerError::Log { setting, path, error })?;
        let logs = Arc::new(logs);
        let access = match config.transport {
            Transport::Http => None,
            Transport::Tls => {
                let write = !config.read_only;
                Some(Access::open(data, settings, address, write, Arc::clone(&logs))?)
            }
        };
        if let Some(access) = &access
            && !access.is_guarded()
        {
            tracing::info!("there are no users: everybody on this machine may do everything");
        }
        // Made in a directory that the store found to be its own.
        let tls = match config.transport {
            Transport::Http => None,
            Transport::Tls => Some(tls::Tls::open(tls::pair(data, settings, address)?)?),
        };
        raise_file_limit();
        let app = App {
            store,
            read_only: config.read_only,
            tls,
            access,
            buffers: buffers::Buffers::default(),
            address,
            began: Instant::now(),
            storage: config.settings.storage.clone(),
            mark: config.settings.mark(),
            data: config.data.clone(),
            metrics: Metrics::default(),
            logs,
            transport: config.transport,
            free_metrics: config.settings.metrics.anonymous,
            pages: page::turns(),
            collections: collection::Collections::default(),
            peers: Arc::default(),
        };
        let control = match config.read_only {
            true => control::Control::beside(&config.data).await,
            false => Some(control::Control::bind(&config.data)?),
        };
        Ok(Self { app: Arc::new(app), listener, address, control })
    }

    /// The address, with the port that was taken.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// The authority by which clients trust a certificate that was made here.
    pub fn ca(&self) -> Option<PathBuf> {
        self.app.tls.as_ref().and_then(tls::Tls::ca)
    }

    /// Serves until `stop`; then requests under way get [`limits::STOP_TIME`].
    ///
    /// # Errors
    /// None at present.
    pub async fn run(self, stop: CancellationToken) -> Result<(), ServerError> {
        let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut connections = JoinSet::new();
        let expiry = tokio::spawn(expire(Arc::clone(&self.app), stop.clone()));
        let counting = tokio::spawn({
            let (app, stop) = (Arc::clone(&self.app), stop.clone());
            async move { app.store.count(stop).await }
        });
        let watch = tokio::spawn(watch::watch(Arc::clone(&self.app), stop.clone()));
        let collection =
            tokio::spawn(collection::now_and_then(Arc::clone(&self.app), stop.clone()));
        let control = self
            .control
            .map(|control| tokio::spawn(control.serve(Arc::clone(&self.app), stop.clone())));
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = stop.cancelled() => break,
            };
            while connections.try_join_next().is_some() {}
            let (socket, remote) = match accepted {
                // A socket for both versions tells addresses of version 4 in the form of version 6.
                Ok((socket, remote)) => {
                    (socket, SocketAddr::new(remote.ip().to_canonical(), remote.port()))
                }
                Err(error) => {
                    // Out of file descriptors, or a connection that died in the queue: go on.
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            let Some(guest) = self.app.peers.enter(remote.ip()) else {
                tracing::debug!(%remote, "too many connections of one address");
                continue;
            };
            let Some(slot) = place(&slots, &self.app.peers, &guest, &stop).await else { break };
            // Answers go out as a whole; waiting for more only delays them.
            let _ = socket.set_nodelay(true);
            let served =
                connection::serve(Arc::clone(&self.app), socket, remote, guest, stop.clone());
            let open = self.app.metrics.connection(&self.app);
            connections.spawn(async move {
                served.await;
                drop((slot, open));
            });
        }
        drop(self.listener);
        // Each connection ends by itself within the time to stop.
        while connections.join_next().await.is_some() {}
        // All end by the same token.
        let _ = expiry.await;
        let _ = watch.await;
        let _ = counting.await;
        let _ = collection.await;
        if let Some(control) = control {
            let _ = control.await;
        }
        let logs = Arc::clone(&self.app.logs);
        let _ = tokio::task::spawn_blocking(move || logs.close()).await;
        Ok(())
    }
}

/// A place for a connection, where somebody who does nothing makes room for it when there is none; `None` when it is time to stop.
async fn place(
    slots: &Arc<Semaphore>,
    peers: &Peers,
    guest: &Guest,
    stop: &CancellationToken,
) -> Option<OwnedSemaphorePermit> {
    if let Ok(slot) = Arc::clone(slots).try_acquire_owned() {
        return Some(slot);
    }
    loop {
        peers.make_room(guest, Instant::now());
        tokio::select! {
            slot = Arc::clone(slots).acquire_owned() => return slot.ok(),
            // All may have been at work.
            () = tokio::time::sleep(FULL_LOOK) => {}
            () = stop.cancelled() => return None,
        }
    }
}

/// Removes abandoned uploads, at start and from time to time.
async fn expire(app: Arc<App>, stop: CancellationToken) {
    if app.read_only {
        return;
    }
    loop {
        match app.store.expire_uploads(UPLOAD_LIFETIME).await {
            Ok(0) => {}
            Ok(removed) => tracing::info!(removed, "abandoned uploads removed"),
            Err(fault) => tracing::warn!(error = %fault.message, "cannot remove abandoned uploads"),
        }
        tokio::select! {
            () = tokio::time::sleep(EXPIRY_PERIOD) => {}
            () = stop.cancelled() => return,
        }
    }
}

/// A connection takes two descriptors and the usual soft limit is 1024: take what is allowed.
fn raise_file_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::debug!(%error, "cannot raise the limit of open files");
    }
}

/// Answers one request.
async fn respond(
    app: &Arc<App>,
    remote: SocketAddr,
    busy: Busy,
    request: Request<Incoming>,
) -> Response<Sent> {
    let (parts, body) = request.into_parts();
    let route = route::parse(parts.uri.path());
    let mut account = Account::new(app, remote, busy, &parts, Kind::of(&route));
    let mut body = account.receive(body);
    let outcome = match &route {
        _ if !has_one_host(&parts) => {
            let text = "a request of HTTP/1.1 has the header `Host` once (RFC 9112, 3.2)";
            Err(Fault::new(http::StatusCode::BAD_REQUEST, "UNSUPPORTED", text))
        }
        Ok(route) => dispatch(app, &parts, &mut body, route.clone(), &mut account).await,
        Err(error) => Err(error.clone().into()),
    };
    let answer = outcome.unwrap_or_else(|fault| {
        tracing::debug!(status = fault.status.as_u16(), code = fault.code, message = %fault.message, "refused");
        match &route {
            // RFC 9110, section 15.5.6: what the object has is said with it.
            Ok(route) if fault.status == http::StatusCode::METHOD_NOT_ALLOWED => {
                fault.field(http::header::ALLOW, route.methods(app.read_only)).answer()
            }
            _ => fault.answer(),
        }
    });
    drain(&parts, &mut body).await;
    let response = answer.header(field::API_VERSION, "registry/2.0").finish();
    let (method, path) = (&parts.method, parts.uri.path());
    tracing::debug!(%method, path, status = response.status().as_u16(), "answered");
    if let Ok(route) = &route {
        audit::change(&app.logs, &account, route, &response);
    }
    let status = response.status();
    response.map(|payload| account.send(status, payload))
}

async fn dispatch(
    app: &Arc<App>,
    parts: &Parts,
    body: &mut Received,
    route: Route,
    account: &mut Account,
) -> Result<Answer, Fault> {
    let address = account.remote.ip();
    let free = match &route {
        Route::Alive | Route::Ready => true,
        Route::Metrics => app.free_metrics,
        _ => false,
    };
    let caller = match &app.access {
        Some(access) if route == Route::Token => return access.token(parts, body, address).await,
        Some(access) if !free => access.check(parts, &route, address, &mut account.user).await?,
        _ => Caller::Everyone,
    };
    carry_out(app, parts, body, route, &caller, address).await
}

async fn carry_out(
    app: &Arc<App>,
    parts: &Parts,
    body: &mut Received,
    route: Route,
    caller: &Caller,
    address: IpAddr,
) -> Result<Answer, Fault> {
    let reading = matches!(parts.method, Method::GET | Method::HEAD);
    if app.read_only && !reading {
        return Err(StoreError::ReadOnly.into());
    }
    match route {
        Route::Token => Err(route::RouteError::Unknown.into()),
        Route::Alive | Route::Ready | Route::Metrics if !reading => {
            Err(Fault::unsupported("only GET"))
        }
        Route::Alive => Ok(health::alive()),
        Route::Ready => Ok(health::ready(app).await),
        Route::Metrics => Ok(health::metrics(app).await),
        Route::Page(rest) => page::answer(app, parts, &rest, caller).await,
        Route::Root if reading => {
            Ok(Answer::json(http::StatusCode::OK, "application/json", &serde_json::json!({})))
        }
        Route::Root => Err(Fault::unsupported("only GET")),
        Route::Catalog => listing::catalog(app, parts, caller.clone()).await,
        Route::Tags(repository) => listing::tags(app, parts, repository).await,
        Route::Referrers(repository, subject) => {
            listing::referrers(app, parts, repository, subject).await
        }
        Route::Blob(repository, digest) if reading => {
            download::blob(app, parts, &repository, &digest).await
        }
        Route::Blob(repository, digest) if parts.method == Method::DELETE => {
            match app.store.delete_blob(repository, digest).await? {
                true => Ok(Answer::new(http::StatusCode::ACCEPTED)),
                false => Err(Fault::no_blob()),
            }
        }
        Route::Blob(..) => Err(Fault::unsupported("blobs have GET, HEAD and DELETE")),
        Route::Uploads(repository) => {
            upload::begin(app, parts, body, repository, caller, address).await
        }
        Route::Upload(repository, id) => upload::go_on(app, parts, body, repository, &id).await,
        Route::Manifest(repository, reference) => {
            manifest::manifest(app, parts, body, repository, &reference).await
        }
    }
}

/// Runs what waits for the disk on a thread of its own.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, Fault> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => Ok(outcome?),
        Err(error) => {
            tracing::error!(%error, "a storage operation broke off");
            Err(Fault::internal("the registry failed; its log says why"))
        }
    }
}

/// Programs between a client and this one may each take another of two hosts, and so another registry.
fn has_one_host(parts: &Parts) -> bool {
    match parts.headers.get_all(HOST).iter().count() {
        1 => true,
        0 => parts.version < http::Version::HTTP_11,
        _ => false,
    }
}

/// The text of a header field that occurs at least once.
fn header(parts: &Parts, name: HeaderName) -> Option<&str> {
    parts.headers.get(name).and_then(|value| value.to_str().ok())
}

/// Reads what is left of a refused request's body, within limits: a connection closed over unread
/// bytes is reset, and the client never sees the answer.
async fn drain(parts: &Parts, body: &mut Received) {
    // A client that waits for "100 Continue" sends nothing after an answer.
    if parts.headers.contains_key(EXPECT) {
        return;
    }
    let mut left = DRAIN_MAX;
    let reading = async {
        while !body.is_end_stream() {
            let Some(Ok(frame)) = body.frame().await else { return };
            let length = frame.data_ref().map_or(0, |data| data.len() as u64);
            match left.checked_sub(length) {
                Some(rest) => left = rest,
                None => return,
            }
        }
    };
    let _ = tokio::time::timeout(DRAIN_TIME, reading).await;
}
