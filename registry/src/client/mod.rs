//! The registry client: pulls and pushes manifests and blobs at any registry.
//!
//! In: hosts, repositories, digests, and sources of bytes. Out: manifests exactly as received, blob
//! streams of exactly the asked length, and the word that an upload is complete. The way of a request:
//!
//! 1. `mirrors`: a pull may be blocked, or go to mirrors first (`registries.conf`).
//! 2. `session`: the first contact finds scheme and challenge; `tls` and `transport` set up
//!    the connections.
//! 3. `credentials`, `helper`, `token`: who we are there, and the leave to do it.
//! 4. `pull`, `blob` (with `body`, `direct`, `framing`), `push` (with `feed`), `opening`, `lists`: the request
//!    itself, and `answer` what comes of it; `web` for documents that no registry has; `product` says which registry it goes to; `retry` decides about another try; `room` bounds the documents in flight.
//!
//! What must hold: credentials never reach another origin; everything received is bounded; what is
//! whole is hashed; nothing waits for ever, not even for a drip; nothing that really moves is cut.

mod answer;
mod blob;
#[cfg(test)]
mod blob_tests;
mod body;
mod challenge;
mod counters;
mod credentials;
mod direct;
mod error;
mod feed;
mod files;
mod framing;
#[cfg(fuzzing)]
pub mod fuzzing;
mod headers;
mod helper;
mod hint;
#[cfg(test)]
mod interop_tests;
mod lists;
#[cfg(test)]
mod lists_tests;
#[cfg(test)]
mod log_tests;
mod mirrors;
mod opening;
mod pace;
mod product;
mod pull;
#[cfg(test)]
mod pull_tests;
mod push;
#[cfg(test)]
mod push_tests;
#[cfg(test)]
mod resume_tests;
mod retry;
mod room;
#[cfg(test)]
mod room_tests;
mod secret;
mod session;
#[cfg(test)]
mod session_tests;
#[cfg(test)]
mod testing;
mod tls;
#[cfg(feature = "server")]
pub(crate) use tls::tls_for;
#[cfg(test)]
mod tls_tests;
mod token;
mod transport;
mod web;

use std::collections::HashMap;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::AtomicU8;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use format_spec::{Digest, Repository};
use futures_util::Stream;
use tokio::sync::OnceCell;
use url::Url;

pub use blob::BlobStream;
pub use counters::{Counters, Totals};
pub use error::{ClientError, ErrorKind, Fault, TlsCause, Used};
pub use mirrors::MirrorSet;
pub use product::Product;
pub use push::{Deleted, Pushed, Stored};
pub use retry::RetryPolicy;
pub use room::{Room, Taken};
pub use web::Document;

use crate::reference::{ManifestRef, RegistryHost};
use error::{Failed, Way};
use mirrors::{Mirrors, Place};
use session::Session;
use tls::Tls;
use transport::Transport;

/// Settings of a client. `Default` is what a person means who says nothing.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// `--authfile`; `None` searches `$REGISTRY_AUTH_FILE` and the usual places.
    pub authfile: Option<PathBuf>,
    /// `--ca-file`: authorities trusted besides the system's, at every host.
    pub ca_files: Vec<PathBuf>,
    /// Directories with `<host[:port]>/{*.crt,*.cert,*.key}`.
    pub certs_d: Vec<PathBuf>,
    /// `--plain-http`: hosts spoken to over HTTP only, and to which another plain-HTTP host may redirect
    /// (credentials stay behind). Without a port: all ports of the host, but only port 80 for
    /// a redirect, which anybody on the way can write. Loopback hosts need no entry.
    pub plain_http: Vec<RegistryHost>,
    /// Hosts whose certificate is not checked. Without a port: all ports of the host.
    pub insecure_tls: Vec<RegistryHost>,
    /// `registries.conf`; `None` searches the usual places. Applies to pulls only.
    pub registries_conf: Option<PathBuf>,
    /// Whether `registries.conf` is followed at all. Off for a target: what is asked there is whether
    /// this very registry has something.
    pub mirrors: bool,
    /// Mirrors besides those of `registries.conf`, and before them. Apply to pulls only, as `mirrors` says.
    pub mirror_sets: Vec<MirrorSet>,
    /// Hosts of token servers that may get credentials although they belong to another domain than the
    /// registry. The default comes from `BUNDLE_TRUSTED_REALMS`, separated by commas.
    pub trusted_realms: Vec<String>,
    /// How often failed requests are tried again.
    pub retry: RetryPolicy,
    /// How long a request may stand still before it counts as failed: less than
    /// [`STALL_LEAST`](crate::limits::STALL_LEAST) bytes of a body moved in that time, and it did not
    /// end. Not a limit of the whole. It holds for answers too, with one exception: after more than
    /// 64 MiB a registry has at least 300 s, because it hashes or copies the blob before it answers.
    pub stall: Duration,
    /// `User-Agent`.
    pub user_agent: String,
}

impl Default for ClientOptions {
    fn default() -> Self {
        let mut certs_d =
            vec![PathBuf::from("/etc/containers/certs.d"), PathBuf::from("/etc/docker/certs.d")];
        certs_d.extend(files::containers_dir().map(|dir| dir.join("certs.d")));
        let trusted = std::env::var("BUNDLE_TRUSTED_REALMS").unwrap_or_default();
        Self {
            authfile: None,
            ca_files: Vec::new(),
            certs_d,
            plain_http: Vec::new(),
            insecure_tls: Vec::new(),
            registries_conf: None,
            mirrors: true,
            mirror_sets: Vec::new(),
            trusted_realms: trusted
                .split(',')
                .map(str::trim)
                .filter(|host| !host.is_empty())
                .map(str::to_owned)
                .collect(),
            retry: RetryPolicy::default(),
            stall: Duration::from_secs(30),
            user_agent: concat!("bundle/", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }
}

/// Where the bytes of an upload come from.
pub trait BlobSource: Send + Sync {
    /// The bytes from `offset` on, in order, to the end. May be called again, with any offset, after a
    /// failure. Chunks of about 1 MiB are best; they are not copied.
    fn open(
        &self,
        offset: u64,
    ) -> Pin<Box<dyn Stream<Item = std::io::Result<bytes::Bytes>> + Send>>;

    /// The address of an upload of these bytes into `repository` that an earlier process began. It need not
    /// be there any more.
    fn left(&self, repository: &Repository) -> Option<String> {
        let _ = repository;
        None
    }

    /// An upload into `repository` began; while it lasts it can be found again at `address`. Says whether another
    /// process will look there.
    fn began(&self, repository: &Repository, address: &str) -> bool {
        let _ = (repository, address);
        false
    }
}

impl BlobSource for bytes::Bytes {
    fn open(
        &self,
        offset: u64,
    ) -> Pin<Box<dyn Stream<Item = std::io::Result<bytes::Bytes>> + Send>> {
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(self.len());
        let rest = self.slice(from..);
        Box::pin(futures_util::stream::once(async move { Ok(rest) }))
    }
}

/// What the registry says of a manifest without sending it. None of it is proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestHead {
    /// `Docker-Content-Digest`.
    pub digest: Option<Digest>,
    /// `Content-Length`.
    pub size: Option<u64>,
    /// `Content-Type` without parameters.
    pub media_type: Option<String>,
}

/// A client of all registries. Clones share connections, tokens and counters.
#[derive(Clone)]
pub struct Client {
    core: Arc<Core>,
}

type Cell = Arc<OnceCell<Arc<Session>>>;

/// What all clones share.
struct Core {
    options: ClientOptions,
    credentials: credentials::Credentials,
    /// A broken `registries.conf` stops pulls, not pushes.
    mirrors: Result<Mirrors, (String, String)>,
    counters: Counters,
    sessions: Mutex<HashMap<(RegistryHost, bool), Cell>>,
    /// Hosts that could not be reached a moment ago: a thousand images there fail as one.
    lost: Mutex<HashMap<(RegistryHost, bool), (Instant, Failed)>>,
    /// Clients of other origins: token servers, object stores.
    transports: Mutex<HashMap<(String, Tls), Transport>>,
    /// Mirrors that could not be reached; not asked again.
    down: Mutex<HashMap<(RegistryHost, bool), Failed>>,
}

/// How long a host that could not be reached is not tried again.
const LOST_TIME: Duration = Duration::from_secs(5);

/// How long a loopback host may take to show that it speaks TLS.
const LOOPBACK_PROBE: Duration = Duration::from_secs(3);

type Work<'a, T> = Pin<Box<dyn Future<Output = Result<T, Failed>> + Send + 'a>>;

impl Client {
    /// Reads the files that the options name. Errors are of kind [`ErrorKind::Config`].
    pub fn new(options: ClientOptions) -> Result<Self, ClientError> {
        let failed = |fault: Fault| {
            let subject = match &fault {
                Fault::Config { path, .. } => path.clone(),
                _ => "registry client".into(),
            };
            ClientError::new("set up", subject, fault.into())
        };
        for path in &options.ca_files {
            tls::certificates(path).map_err(failed)?;
        }
        let wanted = options.mirrors;
        let mirrors = match Mirrors::load(options.registries_conf.as_ref()) {
            Ok(mut mirrors) if wanted => {
                mirrors.add_sets(&options.mirror_sets).map_err(failed)?;
                Ok(mirrors)
            }
            Ok(mirrors) => Ok(mirrors.credentials_only()),
            Err(fault) if options.registries_conf.is_some() => return Err(failed(fault)),
            Err(Fault::Config { .. }) if !wanted => Ok(Mirrors::default()),
            Err(Fault::Config { path, detail }) => Err((path, detail)),
            Err(fault) => return Err(failed(fault)),
        };
        let programs =
            mirrors.as_ref().map(|mirrors| mirrors.credential_helpers.clone()).unwrap_or_default();
        let credentials =
            credentials::Credentials::load(options.authfile.as_ref(), programs).map_err(failed)?;
        Ok(Self {
            core: Arc::new(Core {
                options,
                credentials,
                mirrors,
                counters: Counters::default(),
                sessions: Mutex::default(),
                lost: Mutex::default(),
                transports: Mutex::default(),
                down: Mutex::default(),
            }),
        })
    }

    /// What went over the wire since this client was made.
    pub fn counters(&self) -> &Counters {
        &self.core.counters
    }

    /// Asks whether the registry is there and lets us in.
    pub async fn ping(&self, host: &RegistryHost) -> Result<(), ClientError> {
        let run = async {
            hold(&self.core.lost).remove(&(host.clone(), false));
            let session = self.core.session(host, false).await?;
            let scopes = token::Scopes::none();
            let url = session.url("")?;
            let request = session.request(&self.core, reqwest::Method::GET, url, &scopes);
            answer::drain(session.send(&self.core, &request).await?).await;
            Ok(())
        };
        run.await.map_err(|failed| ClientError::new("reach registry", host.to_string(), failed))
    }
}

/// Locks; a panic elsewhere does not spread, what is held stays whole at every moment.
fn hold<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn subject(host: &RegistryHost, repository: &Repository, reference: &ManifestRef) -> String {
    match reference {
        ManifestRef::Tag(tag) => format!("{host}/{repository}:{tag}"),
        ManifestRef::Digest(digest) => format!("{host}/{repository}@{digest}"),
    }
}

impl Core {
    /// The session with a registry; the first call makes contact.
    async fn session(&self, host: &RegistryHost, insecure: bool) -> Result<Arc<Session>, Failed> {
        let cell = {
            let mut sessions = hold(&self.sessions);
            sessions.entry((host.clone(), insecure)).or_default().clone()
        };
        let key = (host.clone(), insecure);
        let known = cell.get_or_try_init(|| async {
            // Looked at here, behind the cell: those who waited for the first contact see its end.
            if let Some((since, failed)) = hold(&self.lost).get(&key)
                && since.elapsed() < LOST_TIME
                && let Some(failed) = failed.copy()
            {
                return Err(failed);
            }
            self.contact(host, insecure).await.inspect_err(|failed| {
                if let Some(copy) = failed.copy() {
                    hold(&self.lost).insert(key.clone(), (Instant::now(), copy));
                }
            })
        });
        known.await.cloned()
    }

    /// Finds out how the registry is spoken to, and what it wants to know about us.
    async fn contact(&self, host: &RegistryHost, insecure: bool) -> Result<Arc<Session>, Failed> {
        if self.options.plain_http.iter().any(|named| named.covers(host, 80)) {
            let session = self.open(host, "http", Tls::Never)?;
            return self.knock(session).await.map(|(session, _)| session);
        }
        let named = self.options.insecure_tls.iter().any(|named| named.covers(host, 443));
        let unchecked = insecure || named;
        let tls = if unchecked { Tls::Unverified } else { Tls::Verify };
        let over_tls = || async {
            let https = self.open(host, "https", tls)?;
            if named {
                // Said where there is a certificate: a registry without TLS on this machine has none.
                tracing::warn!(
                    "the certificate of `{host}` is not checked: anybody on the way can read along"
                );
            }
            self.knock(https).await.map(|(session, _)| session)
        };
        if !(host.is_loopback() || insecure) {
            return over_tls().await;
        }
        // Whether TLS is spoken there at all. That shows without a look at the certificate, and so without
        // the system's store, which takes longer to load than the answer.
        let limit = LOOPBACK_PROBE.min(self.options.stall);
        let any = self.open(host, "https", Tls::Unverified)?;
        let refusal = match tokio::time::timeout(limit, any.probe(self)).await {
            // A handshake that fails is an answer too: no plain HTTP behind its back.
            Ok(outcome) => match outcome.err() {
                Some(fault) if !fault.is_tls() => fault,
                _ => return over_tls().await,
            },
            Err(_) => Fault::Stalled { host: host.to_string(), limit, moved: 0 },
        };
        tracing::debug!(%host, fault = %refusal, "no TLS there, trying plain HTTP");
        let http = self.open(host, "http", Tls::Never)?;
        let (session, status) = self.knock(http).await?;
        // What a TLS server answers to plain HTTP: the first failure was the true one.
        if status == 400 { Err(refusal.into()) } else { Ok(session) }
    }

    fn open(&self, host: &RegistryHost, scheme: &str, tls: Tls) -> Result<Session, Fault> {
        // Docker Hub's registry has another name on the wire than in references.
        let wire = if host.is_docker_hub() { "registry-1.docker.io" } else { host.as_str() };
        let base: Url = format!("{scheme}://{wire}/")
            .parse()
            .map_err(|_| Fault::Protocol(format!("`{host}` is not usable in a URL")))?;
        let transport = Transport::new(&self.options, &[host.as_str()], host.is_loopback(), tls)?;
        Ok(Session {
            host: host.clone(),
            base,
            transport,
            tls,
            challenge: Mutex::default(),
            tokens: token::Tokens::default(),
            way: Mutex::new(push::Way::Monolithic),
            referrers_api: AtomicU8::new(0),
            product: OnceLock::new(),
        })
    }

    /// First contact with retries. Any answer but a passing failure will do.
    async fn knock(&self, session: Session) -> Result<(Arc<Session>, u16), Failed> {
        let mut tries = retry::Tries::first_contact(self.options.retry, &self.counters);
        loop {
            match session.probe(self).await {
                Ok(status) => return Ok((Arc::new(session), status)),
                Err(fault) => tries.again(fault).await?,
            }
        }
    }

    /// The way to another origin (or the session's own).
    fn transport(&self, session: &Session, url: &Url) -> Result<Transport, Fault> {
        if headers::same_origin(&session.base, url) {
            return Ok(session.transport.clone());
        }
        let name = headers::authority(url);
        let same_host = session.base.host_str() == url.host_str();
        let tls = match url.scheme() {
            "http" => Tls::Never,
            _ if same_host && session.tls == Tls::Unverified => Tls::Unverified,
            _ => Tls::Verify,
        };
        let mut names = vec![name.as_str()];
        if same_host {
            // The same machine on another port: what was set up for the registry holds there too.
            names.push(session.host.as_str());
        }
        let key = (names.join(" "), tls);
        let lock = || hold(&self.transports);
        if let Some(known) = lock().get(&key) {
            return Ok(known.clone());
        }
        let loopback = url.host_str().is_some_and(crate::reference::is_loopback_name);
        let made = Transport::new(&self.options, &names, loopback, tls)?;
        lock().insert(key.clone(), made.clone());
        Ok(made)
    }

    /// Where to pull from.
    fn places(
        &self,
        host: &RegistryHost,
        repository: &Repository,
        by_digest: bool,
    ) -> Result<Vec<Place>, Fault> {
        match &self.mirrors {
            Ok(mirrors) => mirrors.places(host, repository, by_digest),
            Err((path, detail)) => {
                Err(Fault::Config { path: path.clone(), detail: detail.clone() })
            }
        }
    }

    /// The session of a place. A mirror that was found to be down is not asked again.
    async fn session_at(&self, place: &Place) -> Result<Arc<Session>, Failed> {
        let key = (place.registry.clone(), place.insecure);
        let down = || hold(&self.down);
        if place.mirror
            && let Some(failed) = down().get(&key).and_then(Failed::copy)
        {
            return Err(failed);
        }
        let session = self.session(&place.registry, place.insecure).await;
        session.inspect_err(|failed| {
            if place.mirror {
                down().insert(key, failed.kept(&place.registry));
            }
        })
    }

    /// Runs a pull of what `name` says at each place until one succeeds. What the last place says is the answer.
    async fn at_places<'a, T>(
        &'a self,
        name: &str,
        places: Vec<Place>,
        work: impl Fn(Arc<Session>, Repository) -> Work<'a, T>,
    ) -> Result<T, Failed> {
        let mut way = Way::default();
        let mut places = places.into_iter().peekable();
        while let Some(place) = places.next() {
            let run = async {
                let session = self.session_at(&place).await?;
                work(session, place.repository.clone()).await
            };
            match run.await {
                Ok(done) => return Ok(done),
                Err(failed) if places.peek().is_none() => {
                    return Err(way.ended(&place, name, failed));
                }
                Err(failed) => {
                    tracing::debug!(mirror = %place, fault = %failed.fault, "the mirror does not have it");
                    way.leave(&place, &failed);
                }
            }
        }
        Err(Fault::Protocol("no place to pull from".into()).into())
    }
}

impl Session {
    /// One unauthenticated `GET /v2/`: its status, and the challenge remembered.
    async fn probe(&self, core: &Core) -> Result<u16, Fault> {
        let scopes = token::Scopes::none();
        let request = self.request(core, reqwest::Method::GET, self.url("")?, &scopes);
        let answer = self.bare(core, &request).await?;
        let status = answer.status().as_u16();
        let product = Product::of(&self.host, answer.headers());
        if self.product.set(product).is_ok() {
            tracing::debug!(host = %self.host, ?product, "recognised");
        }
        if status == 401 {
            self.learn(core, answer.headers(), &session::Proof::None, &scopes).await;
        }
        if matches!(status, 408 | 429 | 500 | 502..=504) {
            return Err(answer::answer_fault(core, answer).await);
        }
        answer::drain(answer).await;
        Ok(status)
    }
}
