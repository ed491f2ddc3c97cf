//! A registry with one fault: a layer before a sound registry that lets everything pass until its plot says otherwise.
//!
//! In: the requests of the command under test, and a [`Plot`]: which fault, at which endpoint, how often. Out: the
//! registry's answers, or what the fault makes of them. The layer asks for logins as registries do: without a token of
//! its token server nothing passes, and the token server wants [`CREDENTIALS`]. Beside it stands a [`Sink`], an origin
//! to which nothing secret may go.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use format_spec::Digest;

use super::wire::{Answer, request};
use super::{listener, serve};

/// `carrier:secret`, as an authfile and a `Basic` header have it.
pub const CREDENTIALS: &str = "Y2FycmllcjpzZWNyZXQ=";

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// Another status, with the error document of the specification. The request is not carried out.
    Status(u16),
    /// 401 that does not say how to log in.
    NoChallenge,
    /// 401 because the token has ended: every token given out so far.
    Expired,
    /// 401 that names the token server of a stranger.
    ForeignRealm,
    /// 429, with this `Retry-After` in seconds.
    TooMany(Option<u32>),
    /// The connection is reset before anything is answered.
    ResetBefore,
    /// The request is carried out, and the connection ends before anything is answered.
    AnswerLost,
    /// The connection is reset in the middle of a body: the request's where it has one, else the answer's.
    ResetInBody,
    /// No answer, and the connection stays.
    Stall,
    /// A byte now and then.
    Drip,
    /// The answer's body ends in its middle.
    Short,
    /// The answer's body has a byte too much.
    Long,
    /// One byte of the answer's body is another, or the digest in its headers.
    Changed,
    /// The answer has a `Content-Type` of something else.
    ContentType,
    /// A login page with status 200. The request is not carried out.
    Html,
    /// The answer comes twice, the second one unasked.
    Twice,
    /// 201, and nothing was stored.
    NotStored,
    /// The upload goes on at another port of this machine.
    LocationAway,
    /// The upload goes on at another host.
    LocationForeign,
    /// A redirect to itself.
    RedirectLoop,
    /// A redirect to another port of this machine, where the content is, as at an object store.
    RedirectAway,
    /// A redirect to another host by plain HTTP.
    RedirectForeign,
    /// The registry is reached by TLS, and the `Location` of an upload says `http`.
    LocationDowngrade,
    /// The registry is reached by TLS and redirects to plain HTTP, where the content is.
    RedirectDowngrade,
    /// 202 to a mount: send it.
    MountDeclined,
    /// Uploads in one request are refused with 405.
    NoMonolithic,
    /// Requests of more than 256 KiB are refused with 413, and `OCI-Chunk-Min-Length` is told.
    ChunkLimit,
    /// The answer to a part of an upload has no `Range`.
    NoRange,
    /// The registry names an offset that is not the upload's.
    WrongOffset,
    /// The body is compressed by a proxy.
    Gzip,
}

impl Fault {
    /// Whether it is one of a registry that is reached by TLS.
    pub fn is_of_tls(self) -> bool {
        matches!(self, Self::LocationDowngrade | Self::RedirectDowngrade)
    }

    /// Whether it is something that is done to an answer with a success, which has to be there for it.
    fn is_of_an_answer(self) -> bool {
        use Fault::{
            Changed, ContentType, Gzip, LocationAway, LocationDowngrade, LocationForeign, Long,
            NoRange, Short, Twice, WrongOffset,
        };
        matches!(
            self,
            Short
                | Long
                | Changed
                | ContentType
                | Twice
                | LocationAway
                | LocationForeign
                | LocationDowngrade
                | NoRange
                | WrongOffset
                | Gzip
        )
    }
}

/// What is asked for. What `bundle` keeps for itself at the target has names of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Endpoint {
    /// `GET /v2/`
    Ping,
    /// The token server.
    Token,
    /// `GET` of a manifest by tag.
    TagGet,
    /// `GET` of a manifest under a name beside an image, as of its signature.
    AttachedGet,
    /// `GET` of a manifest by digest.
    DigestGet,
    TagHead,
    DigestHead,
    BlobGet,
    BlobHead,
    Referrers,
    TagList,
    /// `POST` that opens an upload.
    Open,
    Mount,
    Patch,
    /// `PUT` that ends an upload, with or without the bytes.
    Commit,
    /// `GET` of an upload.
    Status,
    /// `DELETE` of an upload.
    Abandon,
    DigestPut,
    TagPut,
    LedgerList,
    LedgerGet,
    LedgerPut,
    LedgerBlobGet,
    LedgerBlobHead,
    LedgerOpen,
    LedgerCommit,
    Other,
}

impl Endpoint {
    fn of(method: &str, target: &str) -> Self {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let ledger = path.contains("/bundle-ledger/");
        let last = path.rsplit('/').next().unwrap_or("");
        let by_digest = last.starts_with("sha256:");
        if path == "/token" {
            Self::Token
        } else if path == "/v2/" {
            Self::Ping
        } else if path.contains("/blobs/uploads/") {
            match (method, ledger) {
                ("POST", true) => Self::LedgerOpen,
                ("PUT", true) => Self::LedgerCommit,
                ("POST", _) if query.contains("mount=") => Self::Mount,
                ("POST", _) => Self::Open,
                ("PATCH", _) => Self::Patch,
                ("PUT", _) => Self::Commit,
                ("GET", _) => Self::Status,
                ("DELETE", _) => Self::Abandon,
                _ => Self::Other,
            }
        } else if path.contains("/blobs/") {
            match (method, ledger) {
                ("GET", false) => Self::BlobGet,
                ("GET", true) => Self::LedgerBlobGet,
                ("HEAD", false) => Self::BlobHead,
                ("HEAD", true) => Self::LedgerBlobHead,
                _ => Self::Other,
            }
        } else if path.contains("/manifests/") {
            match (method, ledger) {
                ("GET", true) => Self::LedgerGet,
                ("PUT", true) => Self::LedgerPut,
                ("GET", _) if by_digest => Self::DigestGet,
                ("HEAD", _) if by_digest => Self::DigestHead,
                ("PUT", _) if by_digest => Self::DigestPut,
                ("GET", _) if last.starts_with("sha256-") => Self::AttachedGet,
                ("GET", _) => Self::TagGet,
                ("HEAD", _) => Self::TagHead,
                ("PUT", _) => Self::TagPut,
                _ => Self::Other,
            }
        } else if path.contains("/referrers/") {
            Self::Referrers
        } else if path.ends_with("/tags/list") {
            if ledger { Self::LedgerList } else { Self::TagList }
        } else {
            Self::Other
        }
    }

    /// Whether a success is answered with a body.
    pub fn answers_body(self) -> bool {
        use Endpoint::{
            AttachedGet, BlobGet, DigestGet, LedgerBlobGet, LedgerGet, LedgerList, Referrers,
            TagGet, TagList, Token,
        };
        matches!(
            self,
            Token
                | TagGet
                | AttachedGet
                | DigestGet
                | BlobGet
                | Referrers
                | TagList
                | LedgerList
                | LedgerGet
                | LedgerBlobGet
        )
    }

    /// Whether the request has a body.
    pub fn takes_body(self) -> bool {
        self.is_put() || self == Self::Patch
    }

    /// Whether it moves a blob to the registry.
    pub fn is_of_an_upload(self) -> bool {
        use Endpoint::{Commit, LedgerCommit, LedgerOpen, Mount, Open, Patch, Status};
        matches!(self, Open | Mount | Patch | Commit | Status | LedgerOpen | LedgerCommit)
    }

    /// Whether a success stores something.
    pub fn is_put(self) -> bool {
        use Endpoint::{Commit, DigestPut, LedgerCommit, LedgerPut, TagPut};
        matches!(self, Commit | DigestPut | TagPut | LedgerPut | LedgerCommit)
    }
}

/// How the registry is apart from its fault, so that requests are made that a sound one does not need.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Manner {
    #[default]
    Plain,
    /// It takes uploads by `PATCH` only.
    ByPatch,
    /// The first upload breaks in its middle, so that its offset is asked for.
    Breaking,
    /// It declines mounts.
    NoMounts,
}

/// What happens, where and how often.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plot {
    pub fault: Option<(Fault, Endpoint)>,
    /// How often it still happens.
    pub left: u32,
    pub manner: Manner,
}

/// The layer.
pub struct Faulty {
    /// `host:port`
    pub host: String,
    pub sink: Sink,
    state: Arc<State>,
}

struct State {
    upstream: String,
    host: String,
    /// `127.0.0.1:port` of the sink.
    away: String,
    scene: Mutex<Scene>,
}

#[derive(Default)]
struct Scene {
    plot: Plot,
    fired: u32,
    seen: BTreeMap<Endpoint, u32>,
    /// Tokens of earlier generations have ended.
    generation: u32,
    broke: bool,
    /// `https://host:port` when a TLS relay stands before the layer.
    base: Option<String>,
}

impl Faulty {
    /// Starts the layer before the registry at `upstream`. Its threads end with the process.
    pub fn start(upstream: &str) -> Self {
        let sink = Sink::start(upstream);
        let (listener, host) = listener();
        let state = Arc::new(State {
            upstream: upstream.to_owned(),
            host: host.clone(),
            away: sink.host.clone(),
            scene: Mutex::default(),
        });
        let serving = Arc::clone(&state);
        serve(listener, move |stream| serving.serve(stream));
        Self { host, sink, state }
    }

    /// From now on this happens. Forgets what happened.
    pub fn plot(&self, plot: Plot) {
        let mut scene = self.state.scene();
        let base = scene.base.take();
        *scene = Scene { plot, base, generation: scene.generation + 1, ..Scene::default() };
        self.sink.clear();
    }

    /// The layer is reached at this address, as behind a relay that ends TLS.
    pub fn reached_at(&self, base: Option<String>) {
        self.state.scene().base = base;
    }

    /// How often the fault happened.
    pub fn fired(&self) -> u32 {
        self.state.scene().fired
    }

    /// How often each endpoint was asked.
    pub fn seen(&self) -> BTreeMap<Endpoint, u32> {
        self.state.scene().seen.clone()
    }
}

/// The head of a request.
pub(super) struct Asked {
    pub(super) method: String,
    pub(super) target: String,
    pub(super) headers: BTreeMap<String, String>,
    endpoint: Endpoint,
}

impl Asked {
    /// Reads a head up to its last byte, which stays in the socket: to close a connection with bytes unread is to
    /// reset it. `None` when the client is done.
    pub(super) fn read(stream: &mut TcpStream) -> std::io::Result<Option<Self>> {
        let mut window = vec![0; 16 << 10];
        let length = loop {
            let there = stream.peek(&mut window)?;
            if there == 0 {
                return Ok(None);
            }
            let end = window[..there].windows(4).position(|four| four == b"\r\n\r\n");
            match end {
                Some(end) => break end + 3,
                None => std::thread::sleep(Duration::from_millis(1)),
            }
        };
        let head = &mut window[..length];
        stream.read_exact(head)?;
        let head = String::from_utf8_lossy(head);
        let mut lines = head.lines();
        let mut words = lines.next().unwrap_or("").split(' ');
        let (method, target) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        let mut headers = BTreeMap::<String, String>::new();
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            // Of one name several lines are one list.
            let known = headers.entry(name.to_ascii_lowercase()).or_default();
            *known = [known.as_str(), value.trim()].join(if known.is_empty() { "" } else { ", " });
        }
        let (method, target) = (method.to_owned(), target.to_owned());
        let endpoint = Endpoint::of(&method, &target);
        Ok(Some(Self { method, target, headers, endpoint }))
    }

    pub(super) fn length(&self) -> usize {
        self.headers.get("content-length").map_or(0, |length| length.parse().unwrap_or(0))
    }

    /// The last byte of the head, and the body.
    pub(super) fn rest(&self, stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
        let mut body = vec![0; self.length() + 1];
        stream.read_exact(&mut body)?;
        body.remove(0);
        Ok(body)
    }
}

/// How an answer goes out.
#[derive(PartialEq, Eq)]
pub(super) enum Pace {
    Whole,
    /// Half of the body.
    Half,
    Drip,
    Twice,
}

impl State {
    fn scene(&self) -> MutexGuard<'_, Scene> {
        self.scene.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers the requests of a connection, until it ends or a fault ends it.
    fn serve(&self, mut stream: TcpStream) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        while let Some(asked) = Asked::read(&mut stream)? {
            *self.scene().seen.entry(asked.endpoint).or_default() += 1;
            let known = self.knows(&asked);
            let open = matches!(asked.endpoint, Endpoint::Ping | Endpoint::Token);
            // What a stranger asks for meets no fault: it would be the wrong request.
            let fault = if known || open { self.due(&asked) } else { None };
            if !self.answer(&mut stream, &asked, fault, known)? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Whether the request says who asks.
    fn knows(&self, asked: &Asked) -> bool {
        let proof = asked.headers.get("authorization").map_or("", String::as_str);
        if asked.endpoint == Endpoint::Token {
            return proof.strip_prefix("Basic ") == Some(CREDENTIALS);
        }
        proof.strip_prefix("Bearer ") == Some(&*self.token())
    }

    fn token(&self) -> String {
        format!("token-secret-{}", self.scene().generation)
    }

    /// The fault that this request meets.
    fn due(&self, asked: &Asked) -> Option<Fault> {
        let mut scene = self.scene();
        let (fault, at) = scene.plot.fault?;
        let met = match fault {
            // These are a registry's ways: they concern every request of an upload.
            Fault::ChunkLimit => matches!(asked.endpoint, Endpoint::Commit | Endpoint::Patch),
            _ => asked.endpoint == at,
        };
        let met = met
            && match fault {
                Fault::NoMonolithic => asked.length() > 0,
                Fault::ChunkLimit => asked.length() > 256 << 10,
                _ => true,
            };
        if !met || scene.plot.left == 0 {
            return None;
        }
        if !fault.is_of_an_answer() {
            scene.plot.left =
                scene.plot.left.saturating_sub(u32::from(scene.plot.left != u32::MAX));
            scene.fired += 1;
        }
        Some(fault)
    }

    /// Whether the fault of an answer still happens, now that there is an answer for it.
    fn happens(&self) -> bool {
        let mut scene = self.scene();
        if scene.plot.left == 0 {
            return false;
        }
        scene.plot.left = scene.plot.left.saturating_sub(u32::from(scene.plot.left != u32::MAX));
        scene.fired += 1;
        true
    }

    /// Answers one request. Whether the connection goes on.
    fn answer(
        &self,
        stream: &mut TcpStream,
        asked: &Asked,
        fault: Option<Fault>,
        known: bool,
    ) -> std::io::Result<bool> {
        let manner = self.scene().plot.manner;
        if fault == Some(Fault::ResetBefore) {
            return Ok(false);
        }
        let breaks = manner == Manner::Breaking
            && asked.endpoint == Endpoint::Commit
            && asked.length() > 1
            && !std::mem::replace(&mut self.scene().broke, true);
        if breaks || fault == Some(Fault::ResetInBody) && asked.length() > 1 {
            stream.read_exact(&mut vec![0; 1 + asked.length() / 2])?;
            return Ok(false);
        }
        if fault == Some(Fault::ResetInBody) {
            let answer = self.sound(asked, &[], known)?;
            send(stream, asked, &answer, &Pace::Half)?;
            // The client has the half before the reset reaches it.
            std::thread::sleep(Duration::from_millis(5));
            return Ok(false);
        }
        let body = asked.rest(stream)?;
        if fault == Some(Fault::Stall) {
            stream.set_read_timeout(Some(Duration::from_secs(90)))?;
            let _ = stream.read(&mut [0]);
            return Ok(false);
        }
        let by_patch = manner == Manner::ByPatch
            && matches!(asked.endpoint, Endpoint::Commit)
            && asked.length() > 0;
        let declines = manner == Manner::NoMounts && asked.endpoint == Endpoint::Mount;
        let mut answer = match fault.and_then(|fault| self.instead(fault, asked)) {
            Some(answer) => answer,
            None if by_patch => refusal(405, asked),
            None if declines || fault == Some(Fault::MountDeclined) => {
                let path = asked.target.split('?').next().unwrap_or("").to_owned();
                let target = Asked { target: path, endpoint: Endpoint::Open, ..copy(asked) };
                self.sound(&target, &body, known)?
            }
            None => self.sound(asked, &body, known)?,
        };
        if fault == Some(Fault::AnswerLost) {
            let _ = stream.shutdown(Shutdown::Both);
            return Ok(false);
        }
        let mut pace = Pace::Whole;
        match fault {
            Some(Fault::Drip) => pace = Pace::Drip,
            Some(fault)
                if fault.is_of_an_answer()
                    && (200..300).contains(&answer.status)
                    && self.happens() =>
            {
                match fault {
                    Fault::Short => pace = Pace::Half,
                    Fault::Twice => pace = Pace::Twice,
                    other => self.spoil(other, asked, &mut answer),
                }
            }
            _ => {}
        }
        send(stream, asked, &answer, &pace)?;
        Ok(pace == Pace::Whole || pace == Pace::Twice)
    }

    /// The answer that a fault gives in the registry's place; `None` where the registry is asked.
    fn instead(&self, fault: Fault, asked: &Asked) -> Option<Answer> {
        let base = self.base();
        let away = |host: &str| {
            let target = format!("http://{host}{}", asked.target);
            empty(307).with("location", &target)
        };
        Some(match fault {
            Fault::Status(status) => refusal(status, asked),
            Fault::NoMonolithic => refusal(405, asked),
            Fault::ChunkLimit => refusal(413, asked),
            Fault::NoChallenge => refusal(401, asked),
            Fault::Expired => {
                self.scene().generation += 1;
                self.challenge(asked, &base)
            }
            Fault::ForeignRealm => self.challenge(asked, &format!("http://{}", self.foreign())),
            Fault::TooMany(wait) => {
                let answer = refusal(429, asked);
                match wait {
                    Some(wait) => answer.with("retry-after", &wait.to_string()),
                    None => answer,
                }
            }
            Fault::Html => {
                let body = b"<!DOCTYPE html><html><title>please log in</title></html>".to_vec();
                Answer { status: 200, headers: BTreeMap::new(), body }
                    .with("content-type", "text/html; charset=utf-8")
            }
            Fault::NotStored => {
                let last = asked.target.rsplit(['/', '=']).next().unwrap_or("");
                let answer = empty(201).with("location", &asked.target);
                if last.starts_with("sha256:") {
                    answer.with("docker-content-digest", last)
                } else {
                    answer
                }
            }
            Fault::RedirectLoop => empty(307).with("location", &asked.target),
            Fault::RedirectAway | Fault::RedirectDowngrade => away(&self.away),
            Fault::RedirectForeign => away(&self.foreign()),
            _ => return None,
        })
    }

    /// What a fault makes of a good answer.
    fn spoil(&self, fault: Fault, asked: &Asked, answer: &mut Answer) {
        let base = self.base();
        let mut moved = |to: &str| {
            if let Some(location) = answer.headers.get_mut("location") {
                let path = location.strip_prefix(&base).unwrap_or(location);
                *location = format!("http://{to}{path}");
            }
        };
        match fault {
            Fault::LocationAway => moved(&self.away),
            Fault::LocationForeign => moved(&self.foreign()),
            Fault::LocationDowngrade => moved(base.rsplit('/').next().unwrap_or("")),
            Fault::Long => answer.body.push(b'\n'),
            Fault::Changed if answer.body.is_empty() => {
                let other = Digest::of(b"something else").to_string();
                answer.headers.insert("docker-content-digest".to_owned(), other);
            }
            Fault::Changed => {
                // Lists have no digest: there the damage is in their first byte, where it shows.
                let list = asked.endpoint == Endpoint::Token
                    || answer.headers.contains_key("link")
                    || asked.target.contains("/tags/list")
                    || asked.target.contains("/referrers/");
                let at = if list { 0 } else { answer.body.len() / 2 };
                answer.body[at] ^= 1;
            }
            Fault::ContentType => {
                answer.headers.insert(
                    "content-type".to_owned(),
                    "application/vnd.oci.image.layer.v1.tar".to_owned(),
                );
            }
            Fault::NoRange => {
                answer.headers.remove("range");
            }
            Fault::WrongOffset => {
                answer.headers.insert("range".to_owned(), "0-99".to_owned());
            }
            Fault::Gzip => {
                answer.body = gzip(&answer.body);
                answer.headers.insert("content-encoding".to_owned(), "gzip".to_owned());
            }
            _ => {}
        }
    }

    /// The sink by an address that is not a loopback's: another host, as far as a client can know.
    fn foreign(&self) -> String {
        self.away.replace("127.0.0.1", "0.0.0.0")
    }

    fn base(&self) -> String {
        self.scene().base.clone().unwrap_or_else(|| format!("http://{}", self.host))
    }

    fn challenge(&self, asked: &Asked, realm: &str) -> Answer {
        let words = format!(r#"Bearer realm="{realm}/token",service="faulty""#);
        refusal(401, asked).with("www-authenticate", &words)
    }

    /// What a sound registry with logins answers.
    fn sound(&self, asked: &Asked, body: &[u8], known: bool) -> std::io::Result<Answer> {
        if asked.endpoint == Endpoint::Token {
            if !known {
                return Ok(refusal(401, asked));
            }
            let token = serde_json::json!({"token": self.token(), "expires_in": 3600});
            let body = token.to_string().into_bytes();
            return Ok(Answer { status: 200, headers: BTreeMap::new(), body }
                .with("content-type", "application/json"));
        }
        if !known {
            return Ok(self.challenge(asked, &self.base()));
        }
        let passed: Vec<(&str, &str)> = asked
            .headers
            .iter()
            .filter(|(name, _)| {
                matches!(&***name, "accept" | "content-type" | "content-range" | "range")
            })
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let mut answer = request(&self.upstream, &asked.method, &asked.target, &passed, body)?;
        for value in answer.headers.values_mut() {
            *value = value.replace(&format!("http://{}", self.upstream), &self.base());
        }
        let limits = self.scene().plot.fault.is_some_and(|(fault, _)| fault == Fault::ChunkLimit);
        if limits && asked.endpoint == Endpoint::Open {
            answer.headers.insert("oci-chunk-min-length".to_owned(), "1024".to_owned());
        }
        Ok(answer)
    }
}

/// Another request like this one.
fn copy(asked: &Asked) -> Asked {
    Asked {
        method: asked.method.clone(),
        target: asked.target.clone(),
        headers: asked.headers.clone(),
        endpoint: asked.endpoint,
    }
}

impl Answer {
    pub(super) fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.insert(name.to_owned(), value.to_owned());
        self
    }
}

pub(super) fn empty(status: u16) -> Answer {
    Answer { status, headers: BTreeMap::new(), body: Vec::new() }
}

/// A status with the error document of the specification.
fn refusal(status: u16, asked: &Asked) -> Answer {
    let code = match status {
        401 => "UNAUTHORIZED",
        403 => "DENIED",
        404 if asked.target.contains("/uploads/") => "BLOB_UPLOAD_UNKNOWN",
        404 if asked.target.contains("/blobs/") => "BLOB_UNKNOWN",
        404 if asked.target.contains("/manifests/") => "MANIFEST_UNKNOWN",
        404 => "NAME_UNKNOWN",
        405 => "UNSUPPORTED",
        413 => "SIZE_INVALID",
        416 => "RANGE_INVALID",
        429 => "TOOMANYREQUESTS",
        _ => "UNKNOWN",
    };
    let body = serde_json::json!({"errors": [{"code": code, "message": "as the plot says"}]});
    let body = body.to_string().into_bytes();
    Answer { status, headers: BTreeMap::new(), body }.with("content-type", "application/json")
}

pub(super) fn send(
    stream: &mut TcpStream,
    asked: &Asked,
    answer: &Answer,
    pace: &Pace,
) -> std::io::Result<()> {
    let mut head = format!("HTTP/1.1 {} X\r\n", answer.status);
    for (name, value) in &answer.headers {
        if !matches!(&**name, "connection" | "content-length" | "transfer-encoding") {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    let told = answer.headers.get("content-length").filter(|_| asked.method == "HEAD");
    let length = told.cloned().unwrap_or_else(|| answer.body.len().to_string());
    if answer.status != 204 {
        head.push_str(&format!("Content-Length: {length}\r\n"));
    }
    head.push_str("\r\n");
    let body: &[u8] = if asked.method == "HEAD" { &[] } else { &answer.body };
    let half = if *pace == Pace::Half { body.len() / 2 } else { body.len() };
    let bytes = [head.as_bytes(), &body[..half]].concat();
    match pace {
        Pace::Drip => {
            for byte in bytes {
                stream.write_all(&[byte])?;
                std::thread::sleep(Duration::from_millis(40));
            }
            Ok(())
        }
        Pace::Twice => stream.write_all(&[&bytes[..], &bytes[..]].concat()),
        Pace::Whole | Pace::Half => stream.write_all(&bytes),
    }
}

/// The gzip form of bytes, in blocks that are stored as they are (RFC 1951 3.2.4, RFC 1952).
fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    let mut blocks = bytes.chunks(0xffff).peekable();
    while let Some(block) = blocks.next() {
        let length = u16::try_from(block.len()).unwrap();
        out.push(u8::from(blocks.peek().is_none()));
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&(!length).to_le_bytes());
        out.extend_from_slice(block);
    }
    let crc = bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 }
        })
    });
    out.extend_from_slice(&(!crc).to_le_bytes());
    out.extend_from_slice(&u32::try_from(bytes.len()).unwrap().to_le_bytes());
    out
}

/// Another origin, which has the registry's content for everybody and writes down what it is told.
pub struct Sink {
    /// `host:port`
    pub host: String,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Sink {
    fn start(upstream: &str) -> Self {
        let (listener, host) = listener();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let (log, upstream) = (Arc::clone(&heads), upstream.to_owned());
        serve(listener, move |stream| serve_sink(stream, &upstream, &log));
        Self { host, heads }
    }

    fn clear(&self) {
        self.heads.lock().unwrap().clear();
    }

    /// What came and must not have: a request with credentials, or one that brings something.
    pub fn leaks(&self) -> Vec<String> {
        let heads = self.heads.lock().unwrap();
        let leak = |head: &&String| {
            let lower = head.to_ascii_lowercase();
            lower.contains("authorization:")
                || lower.contains("secret")
                || !(lower.starts_with("get ") || lower.starts_with("head "))
        };
        heads.iter().filter(leak).cloned().collect()
    }
}

fn serve_sink(
    mut stream: TcpStream,
    upstream: &str,
    log: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    while let Some(asked) = Asked::read(&mut stream)? {
        let body = asked.rest(&mut stream)?;
        let headers: String =
            asked.headers.iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
        let body = String::from_utf8_lossy(&body[..body.len().min(1000)]).into_owned();
        let head = format!("{} {}\n{headers}{body}", asked.method, asked.target);
        log.lock().unwrap().push(head);
        let answer = match &*asked.method {
            "GET" | "HEAD" if asked.target.starts_with("/v2/") => {
                let passed: Vec<(&str, &str)> = ["accept", "range"]
                    .iter()
                    .filter_map(|name| Some((*name, asked.headers.get(*name)?.as_str())))
                    .collect();
                request(upstream, &asked.method, &asked.target, &passed, b"")?
            }
            _ => refusal(403, &asked),
        };
        send(&mut stream, &asked, &answer, &Pace::Whole)?;
    }
    Ok(())
}
