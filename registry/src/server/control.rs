//! How the `bundle registry` commands of a machine speak to the registry that runs on it.
//!
//! In: HTTP/1.1 over the socket `control` in the data directory, which only its owner may open; that is the
//! whole proof of who asks. Out: JSON. One process owns a store, so what changes it goes through here while
//! the registry runs. What must hold: a left-over socket of a killed registry is replaced.

use std::convert::Infallible;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use format_spec::limits::MANIFEST_MAX;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::answer::{Answer, Payload};
use super::connection::converse;
use super::period::Period;
use super::route::Query;
use super::{App, ServerError, collection, health, person};
use crate::store::check::FindingKind;
use crate::store::{Collect, Collected, StoreError};

pub use super::collection::LastCollection;

/// The socket's name in the data directory.
const NAME: &str = "control";

/// What a running registry says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The program's version.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// Where it listens.
    pub address: String,
    /// Seconds since it began.
    pub uptime: u64,
    /// Whether it refuses every change.
    pub read_only: bool,
    /// The mark of the settings with which it began: see [`Settings::mark`](super::Settings::mark).
    #[serde(default)]
    pub settings: String,
    /// Why it refuses every change since a sync failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
    /// Why the object storage cannot be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_problem: Option<String>,
    /// Why not all of what the files of users, robots and roles say now counts, but what they said before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_problem: Option<String>,
    /// Bytes that it can still write to the file system of its data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub free_bytes: Option<u64>,
    /// Bytes of that file system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_bytes: Option<u64>,
    /// Bytes that stay free there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reserve_bytes: Option<u64>,
    /// The most bytes that blobs, manifests and unfinished uploads may have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota_bytes: Option<u64>,
    /// Bytes that they have; none until they are counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_bytes: Option<u64>,
    /// Days that the certificate is still good for; none without TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_days: Option<i64>,
    /// The last collection of garbage since the start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_collection: Option<LastCollection>,
    /// Uploads that are not finished.
    pub uploads: usize,
}

/// The listening end.
pub(super) struct Control {
    listener: UnixListener,
}

impl Control {
    /// Makes the socket. The caller holds the store's lock, so what is there is left over.
    pub(super) fn bind(data: &Path) -> Result<Self, ServerError> {
        let make = || {
            let directory = fs_err::File::open(data)?;
            let path = data.join(NAME);
            match fs_err::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let listener = UnixListener::bind(short(&directory))?;
            fs_err::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
            Ok(listener)
        };
        let listener =
            make().map_err(|error| ServerError::Control { data: data.to_owned(), error })?;
        Ok(Self { listener })
    }

    /// The same for one that only reads and holds no lock: where another registry answers, or the directory cannot be
    /// written, there is none.
    pub(super) async fn beside(data: &Path) -> Option<Self> {
        if ask_status(data).await.is_ok() {
            return None;
        }
        Self::bind(data).inspect_err(|error| tracing::debug!(%error, "no control socket")).ok()
    }

    /// Serves until `stop`.
    pub(super) async fn serve(self, app: Arc<App>, stop: CancellationToken) {
        let mut connections = JoinSet::new();
        loop {
            let socket = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = stop.cancelled() => break,
            };
            while connections.try_join_next().is_some() {}
            match socket {
                Ok((socket, _)) => {
                    connections.spawn(connection(Arc::clone(&app), socket, stop.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection on the control socket");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
        while connections.join_next().await.is_some() {}
    }
}

/// The socket's path through the open directory: the address of a socket has 108 bytes, a path may have more.
fn short(directory: &fs_err::File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{NAME}", directory.as_raw_fd()))
}

async fn connection(app: Arc<App>, socket: UnixStream, stop: CancellationToken) {
    let ending = stop.clone();
    // The kernel's word, as a client's own proves nothing.
    let uid = socket.peer_cred().ok().map(|peer| peer.uid());
    let service = service_fn(move |request| {
        let (app, stop) = (Arc::clone(&app), ending.clone());
        async move { Ok::<_, Infallible>(respond(&app, &request, uid, stop).await) }
    });
    // Who may open the socket is never in the way.
    converse(socket, service, CancellationToken::new(), stop).await;
}

async fn respond(
    app: &Arc<App>,
    request: &Request<Incoming>,
    uid: Option<u32>,
    stop: CancellationToken,
) -> Response<Payload> {
    let answer = match (request.method(), request.uri().path()) {
        (&Method::GET, "/status") => {
            let storage_problem = app.store.problem().await;
            json(&Status { storage_problem, ..health::status(app) })
        }
        (&Method::POST, "/certificate") => certificate(app).await,
        (&Method::POST, "/collect") => collect(app, request.uri().query(), stop).await,
        (&Method::POST, "/repair") => repair(app, request.uri().query()).await,
        (&Method::POST, "/accounts") => accounts(app, uid, request.uri().query()).await,
        _ => Answer::new(StatusCode::NOT_FOUND),
    };
    answer.finish()
}

/// A command of this machine changed users, robots or roles: they are read now, and the audit log has whose command it was.
async fn accounts(app: &Arc<App>, uid: Option<u32>, query: Option<&str>) -> Answer {
    let sudo = Query::new(query).get("sudo").map(|name| name.to_string());
    let app = Arc::clone(app);
    let looked = tokio::task::spawn_blocking(move || {
        if let Some(access) = &app.access {
            access.changed_by(&person::of(uid, sudo.as_deref()));
        }
    });
    match looked.await {
        Ok(()) => json(&true),
        Err(error) => refused(&error.to_string()),
    }
}

/// A command of this machine made a certificate: it is shown from now on. Answers with the fingerprint that is shown.
async fn certificate(app: &Arc<App>) -> Answer {
    let app = Arc::clone(app);
    let looked = tokio::task::spawn_blocking(move || {
        let tls = app.tls.as_ref()?;
        tls.look();
        Some(tls.about().fingerprint)
    });
    match looked.await {
        Ok(shown) => json(&shown),
        Err(error) => refused(&error.to_string()),
    }
}

async fn collect(app: &Arc<App>, query: Option<&str>, stop: CancellationToken) -> Answer {
    let query = Query::new(query);
    let settled = app.storage.grace;
    let grace = query.get("grace").map_or(Ok(settled), |text| text.parse::<Period>());
    let Ok(grace) = grace.map(Period::duration) else {
        return Answer::new(StatusCode::BAD_REQUEST);
    };
    let least = collection::least_grace(settled.duration());
    if grace < least {
        return refused(&format!(
            "a grace below {} h takes blobs from pushes that are under way",
            least.as_secs() / 3600
        ));
    }
    let how = Collect {
        grace,
        untagged: query.get("untagged").is_some(),
        dry_run: query.get("dry-run").is_some(),
        beside: true,
    };
    match collection::collect(app, how, stop).await {
        Ok(done) => json(&done),
        Err(error @ StoreError::Io(_)) => Answer::new(StatusCode::INTERNAL_SERVER_ERROR)
            .body(Payload::Bytes(error.to_string().into())),
        Err(error) => refused(&error.to_string()),
    }
}

/// What the registry will not do as things are, in words for a person.
fn refused(why: &str) -> Answer {
    Answer::new(StatusCode::CONFLICT).body(Payload::Bytes(why.to_owned().into()))
}

/// Repairs one finding of a check, `kind=KIND&what=WHAT`, or without one drops records that are not whole.
async fn repair(app: &Arc<App>, query: Option<&str>) -> Answer {
    let pair = |query: &str| {
        let (kind, what) = query.strip_prefix("kind=")?.split_once("&what=")?;
        let kind = serde_json::from_value(serde_json::Value::from(kind)).ok()?;
        Some((kind, what.to_owned()))
    };
    let finding = match query.map(pair) {
        Some(None) => return Answer::new(StatusCode::BAD_REQUEST),
        found => found.flatten(),
    };
    match app.store.repair(finding).await {
        Ok(done) => json(&done),
        Err(error) => {
            let why = error.to_string();
            tracing::error!(why, "a repair failed");
            Answer::new(StatusCode::INTERNAL_SERVER_ERROR).body(Payload::Bytes(why.into()))
        }
    }
}

fn json(value: &impl Serialize) -> Answer {
    match serde_json::to_value(value) {
        Ok(value) => Answer::json(StatusCode::OK, "application/json", &value),
        Err(_) => Answer::new(StatusCode::INTERNAL_SERVER_ERROR),
    }
}

/// Why a running registry could not be asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// None runs on this data, or it belongs to another user.
    #[error("no registry answers on this machine for `{data}`: {error}")]
    NotRunning {
        /// The data directory.
        data: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// It will not, as things are.
    #[error("the running registry refuses: {0}")]
    Refused(String),
    /// It broke off, or is of another version.
    #[error("the running registry gave no usable answer: {0}")]
    Answer(String),
}

/// Asks the registry that runs on `data`.
///
/// # Errors
/// See [`ControlError`].
pub async fn ask<T: serde::de::DeserializeOwned>(
    data: &Path,
    method: Method,
    path: &str,
) -> Result<T, ControlError> {
    let absent = |error| ControlError::NotRunning { data: data.to_owned(), error };
    let broken = |error: &dyn std::fmt::Display| ControlError::Answer(error.to_string());
    let directory = fs_err::File::open(data).map_err(absent)?;
    let socket = UnixStream::connect(short(&directory)).await.map_err(absent)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket))
        .await
        .map_err(|error| broken(&error))?;
    let driver = tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(http::header::HOST, "control")
        .body(Full::new(Bytes::new()))
        .map_err(|error| broken(&error))?;
    let response = sender.send_request(request).await.map_err(|error| broken(&error))?;
    let status = response.status();
    let limit = usize::try_from(MANIFEST_MAX).unwrap_or(usize::MAX);
    let body = Limited::new(response.into_body(), limit).collect().await;
    driver.abort();
    let body = body.map_err(|error| broken(&error))?.to_bytes();
    if !status.is_success() {
        let text = String::from_utf8_lossy(&body[..body.len().min(1000)]).into_owned();
        if status == StatusCode::CONFLICT {
            return Err(ControlError::Refused(text));
        }
        return Err(ControlError::Answer(format!("{status} {text}")));
    }
    serde_json::from_slice(&body).map_err(|error| broken(&error))
}

/// Lets the registry that runs on `data` repair a finding of a check; without one, drop records that are not whole.
/// Whether it did something.
///
/// # Errors
/// See [`ControlError`].
pub async fn ask_repair(
    data: &Path,
    finding: Option<(FindingKind, &str)>,
) -> Result<bool, ControlError> {
    let query = finding.map(|(kind, what)| {
        let kind = serde_json::to_value(kind).unwrap_or_default();
        // Names, tags and digests have no character that means something in a query.
        format!("?kind={}&what={what}", kind.as_str().unwrap_or_default())
    });
    ask(data, Method::POST, &format!("/repair{}", query.unwrap_or_default())).await
}

/// Whether a registry runs on `data`, and what it says of itself.
///
/// # Errors
/// See [`ControlError`].
pub async fn ask_status(data: &Path) -> Result<Status, ControlError> {
    ask(data, Method::GET, "/status").await
}

/// Tells the registry that runs on `data` that users, robots or roles have changed. `sudo` is the name that `sudo` gives, for
/// people to read.
///
/// # Errors
/// See [`ControlError`].
pub async fn tell_accounts(data: &Path, sudo: Option<&str>) -> Result<bool, ControlError> {
    let sudo = sudo.filter(|name| person::is_name(name));
    let query = sudo.map(|name| format!("?sudo={name}")).unwrap_or_default();
    ask(data, Method::POST, &format!("/accounts{query}")).await
}

/// Has the registry that runs on `data` show the certificate that stands in its files now; says the fingerprint of the one
/// that new connections see, none without TLS.
///
/// # Errors
/// See [`ControlError`].
pub async fn tell_certificate(data: &Path) -> Result<Option<String>, ControlError> {
    ask(data, Method::POST, "/certificate").await
}

/// Has the registry that runs on `data` collect garbage; without a grace it takes the one that is settled.
///
/// # Errors
/// See [`ControlError`].
pub async fn ask_collect(
    data: &Path,
    grace: Option<Period>,
    untagged: bool,
    dry_run: bool,
) -> Result<Collected, ControlError> {
    let mut path = "/collect?".to_owned();
    let options = [
        grace.map(|grace| format!("grace={grace}")),
        untagged.then(|| "untagged=1".to_owned()),
        dry_run.then(|| "dry-run=1".to_owned()),
    ];
    path.push_str(&options.into_iter().flatten().collect::<Vec<_>>().join("&"));
    ask(data, Method::POST, &path).await
}
