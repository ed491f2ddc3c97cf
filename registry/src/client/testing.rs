//! Helpers of this crate's tests: shared data, and a tiny HTTP server that answers by script.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{Client, ClientOptions, RetryPolicy};
use crate::reference::RegistryHost;

/// A directory of the shared test data, or `None` (and a line that says so).
pub(crate) fn shared(below: &str) -> Option<PathBuf> {
    let named = std::env::var_os("BUNDLE_SHARED").map(PathBuf::from);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .map(|dir| dir.join("../shared"))
        .collect::<Vec<_>>();
    let found = named.into_iter().chain(beside).map(|dir| dir.join(below)).find(|dir| dir.is_dir());
    if found.is_none() {
        println!("skipped: no shared data `{below}` (set BUNDLE_SHARED)");
    }
    found
}

/// Options that look at nothing outside `dir`, and retry without waiting.
pub(crate) fn options(dir: &Path) -> ClientOptions {
    let conf = dir.join("registries.conf");
    let auth = dir.join("auth.json");
    for (path, text) in [(&conf, ""), (&auth, "{}")] {
        if !path.exists() {
            fs_err::write(path, text).unwrap();
        }
    }
    ClientOptions {
        authfile: Some(auth),
        certs_d: vec![dir.join("certs.d")],
        registries_conf: Some(conf),
        retry: RetryPolicy { times: 3, delay: Some(Duration::ZERO) },
        ..ClientOptions::default()
    }
}

/// A client for plain HTTP at these hosts, with `user:password` for the first.
pub(crate) fn client(hosts: &[&RegistryHost]) -> Client {
    let dir = tempfile::tempdir().unwrap();
    let auth = serde_json::json!({"auths": {hosts[0].as_str(): {"auth": "dXNlcjpwYXNzd29yZA=="}}});
    fs_err::write(dir.path().join("auth.json"), auth.to_string()).unwrap();
    let mut options = options(dir.path());
    options.plain_http = hosts.iter().map(|host| (*host).clone()).collect();
    Client::new(options).unwrap()
}

/// A request as the server saw it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) method: String,
    /// Path with query.
    pub(crate) path: String,
    pub(crate) headers: HashMap<String, String>,
    /// `None` while the body has not been read.
    pub(crate) body: Option<Vec<u8>>,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    pub(crate) fn line(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

/// What the server does.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// Answers.
    Answer {
        status: u16,
        headers: Vec<(String, String)>,
        body: Vec<u8>,
        /// Announces another length than that of the body, then closes.
        length: Option<u64>,
        /// Sends so many bytes of the body at a time, and waits after each.
        step: Option<(usize, Duration)>,
    },
    /// Reads the body, so many bytes at a time with a wait after each; the script is asked again with it.
    SipBody(usize, Duration),
    /// Reads so many bytes of the request's body, then closes.
    CutAfter(usize),
    /// Sends the head and a part of the body, then nothing more.
    Hang(Vec<u8>, u64),
    /// Never answers.
    Silence,
    /// Reads the body; the script is asked again with it.
    ReadBody,
}

impl Reply {
    pub(crate) fn new(status: u16) -> Self {
        Self::Answer { status, headers: Vec::new(), body: Vec::new(), length: None, step: None }
    }

    pub(crate) fn with(mut self, name: &str, value: impl std::fmt::Display) -> Self {
        if let Self::Answer { headers, .. } = &mut self {
            headers.push((name.to_owned(), value.to_string()));
        }
        self
    }

    pub(crate) fn body(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        if let Self::Answer { body, .. } = &mut self {
            *body = bytes.into();
        }
        self
    }

    pub(crate) fn slowly(mut self, bytes: usize, wait: Duration) -> Self {
        if let Self::Answer { step, .. } = &mut self {
            *step = Some((bytes, wait));
        }
        self
    }

    pub(crate) fn announcing(mut self, bytes: u64) -> Self {
        if let Self::Answer { length, .. } = &mut self {
            *length = Some(bytes);
        }
        self
    }
}

/// A server that answers by script, and remembers.
pub(crate) struct Scripted {
    pub(crate) host: RegistryHost,
    seen: Arc<Mutex<Vec<Seen>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Scripted {
    /// Starts a server. The script is called with the head of each request (except of the first
    /// contact, `GET /v2/`, which is answered 200 unless `own_ping`).
    pub(crate) async fn start(script: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_with(false, script).await
    }

    pub(crate) async fn start_with(
        own_ping: bool,
        script: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string().parse().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (log, script) = (Arc::clone(&seen), Arc::new(script));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (log, script) = (Arc::clone(&log), Arc::clone(&script));
                tokio::spawn(async move {
                    let _ = converse(stream, &log, &*script, own_ping).await;
                });
            }
        });
        Self { host, seen, task }
    }

    /// Requests so far, without the first contact.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        let seen = self.seen.lock().unwrap();
        seen.iter().filter(|seen| seen.path != "/v2/").cloned().collect()
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.seen().iter().map(Seen::line).collect()
    }
}

async fn converse(
    mut stream: TcpStream,
    log: &Mutex<Vec<Seen>>,
    script: &(impl Fn(&Seen) -> Reply + ?Sized),
    own_ping: bool,
) -> std::io::Result<()> {
    let mut held = Vec::new();
    loop {
        let end = loop {
            if let Some(at) = held.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            // A TLS hello is no request.
            if held.first() == Some(&0x16) || stream.read_buf(&mut held).await? == 0 {
                return Ok(());
            }
        };
        let head = String::from_utf8_lossy(&held[..end]).into_owned();
        held.drain(..end);
        let mut lines = head.lines();
        let mut first = lines.next().unwrap_or_default().split(' ');
        let mut seen = Seen {
            method: first.next().unwrap_or_default().to_owned(),
            path: first.next().unwrap_or_default().to_owned(),
            ..Seen::default()
        };
        for line in lines {
            if let Some((name, value)) = line.split_once(':') {
                seen.headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
            }
        }
        let expected: usize = seen.header("content-length").parse().unwrap_or(0);
        let mut reply =
            if seen.path == "/v2/" && !own_ping { Reply::new(200) } else { script(&seen) };
        let sip = match reply {
            Reply::ReadBody => Some((usize::MAX, Duration::ZERO)),
            Reply::SipBody(step, wait) => Some((step, wait)),
            _ => None,
        };
        if let Some((step, wait)) = sip {
            while held.len() < expected {
                let most = (expected - held.len()).min(step);
                held.reserve(most.min(1024 * 1024));
                if (&mut stream).take(most as u64).read_buf(&mut held).await? == 0 {
                    return Ok(());
                }
                tokio::time::sleep(wait).await;
            }
            seen.body = Some(held.drain(..expected).collect());
            reply = script(&seen);
        }
        let unread = if seen.body.is_none() { expected } else { 0 };
        log.lock().unwrap().push(seen.clone());
        match reply {
            Reply::Answer { status, headers, body, length, step } => {
                let mut text = format!("HTTP/1.1 {status} X\r\n");
                for (name, value) in &headers {
                    text += &format!("{name}: {value}\r\n");
                }
                text += &format!("content-length: {}\r\n\r\n", length.unwrap_or(body.len() as u64));
                stream.write_all(text.as_bytes()).await?;
                if seen.method != "HEAD" {
                    let (step, wait) = step.unwrap_or((usize::MAX, Duration::ZERO));
                    for part in body.chunks(step) {
                        stream.write_all(part).await?;
                        tokio::time::sleep(wait).await;
                    }
                }
                stream.flush().await?;
                if length.is_some() && seen.method != "HEAD" {
                    return Ok(());
                }
                if unread > 0 {
                    // As nginx does: read what still comes, then close.
                    let mut rest = unread.saturating_sub(held.len());
                    let mut waste = vec![0; 65536];
                    while rest > 0 {
                        match stream.read(&mut waste).await? {
                            0 => return Ok(()),
                            n => rest = rest.saturating_sub(n),
                        }
                    }
                    return Ok(());
                }
            }
            Reply::CutAfter(count) => {
                while held.len() < count {
                    if stream.read_buf(&mut held).await? == 0 {
                        break;
                    }
                }
                return Ok(());
            }
            Reply::Hang(part, length) => {
                let text = format!("HTTP/1.1 200 X\r\ncontent-length: {length}\r\n\r\n");
                stream.write_all(text.as_bytes()).await?;
                stream.write_all(&part).await?;
                std::future::pending::<()>().await;
            }
            Reply::Silence => std::future::pending::<()>().await,
            Reply::ReadBody | Reply::SipBody(..) => return Ok(()),
        }
    }
}
