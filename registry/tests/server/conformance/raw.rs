//! A registry of its own for a test, and HTTP/1.1 by hand over one kept connection: status, fields and bodies are seen
//! exactly as they were sent, and a body where none belongs breaks the answer after it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::{Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use format_spec::digest::to_hex;
use registry::media_type::{OCI_CONFIG, OCI_LAYER, OCI_MANIFEST};
use registry::server::ServerConfig;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::support::{self, Bucket};

/// Every code that the specification has ("Error Codes").
const CODES: [&str; 14] = [
    "BLOB_UNKNOWN",
    "BLOB_UPLOAD_INVALID",
    "BLOB_UPLOAD_UNKNOWN",
    "DIGEST_INVALID",
    "MANIFEST_BLOB_UNKNOWN",
    "MANIFEST_INVALID",
    "MANIFEST_UNKNOWN",
    "NAME_INVALID",
    "NAME_UNKNOWN",
    "SIZE_INVALID",
    "UNAUTHORIZED",
    "DENIED",
    "UNSUPPORTED",
    "TOOMANYREQUESTS",
];

/// A hash that names content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    Sha256,
    Sha512,
}

impl Algorithm {
    pub const ALL: &[Self] = &[Self::Sha256, Self::Sha512];

    pub fn of(self, data: impl AsRef<[u8]>) -> String {
        let (name, algorithm) = match self {
            Self::Sha256 => ("sha256", &ring::digest::SHA256),
            Self::Sha512 => ("sha512", &ring::digest::SHA512),
        };
        format!("{name}:{}", to_hex(ring::digest::digest(algorithm, data.as_ref()).as_ref()))
    }
}

/// An answer as it came.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn all(&self, name: &str) -> Vec<&str> {
        let named = self.fields.iter().filter(|(field, _)| field.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_str()).collect()
    }

    /// A field that occurs once at most.
    pub fn maybe(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() < 2, "`{name}` several times: {all:?}");
        all.first().copied()
    }

    #[track_caller]
    pub fn field(&self, name: &str) -> &str {
        match self.maybe(name) {
            Some(value) => value,
            None => panic!("no `{name}` in {} {:?}", self.status, self.fields),
        }
    }

    #[track_caller]
    pub fn is(self, status: u16) -> Self {
        let body = String::from_utf8_lossy(&self.body);
        assert_eq!(self.status, status, "{body} {:?}", self.fields);
        self
    }

    /// An error with its code, in the form of the specification.
    #[track_caller]
    pub fn refused(self, status: u16, code: &str) {
        let answer = self.is(status);
        assert_eq!(answer.field("content-type"), "application/json");
        let body = answer.json();
        let errors = body["errors"].as_array().unwrap();
        assert!(!errors.is_empty());
        for error in errors {
            assert!(CODES.contains(&error["code"].as_str().unwrap()), "{error}");
            assert!(error["message"].is_string() && error.get("detail").is_some());
        }
        assert_eq!(errors[0]["code"], code);
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// A running registry, a connection to it, and the hash of the test.
pub struct Site {
    pub algorithm: Algorithm,
    pub dir: TempDir,
    pub host: String,
    connection: Mutex<Option<BufReader<TcpStream>>>,
    bucket: Bucket,
    stop: CancellationToken,
    running: Option<JoinHandle<()>>,
}

/// Runs a test with each algorithm, each time against an empty registry.
pub fn each(test: impl Fn(&Site)) {
    for algorithm in Algorithm::ALL {
        test(&Site::start(*algorithm));
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.stop.cancel();
        self.connection.lock().unwrap().take();
        if let Some(running) = self.running.take() {
            running.join().unwrap();
        }
    }
}

impl Site {
    fn start(algorithm: Algorithm) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = ServerConfig::new(dir.path(), "127.0.0.1:0".parse().unwrap());
        let stop = CancellationToken::new();
        let (ready, address) = mpsc::channel();
        let bucket = crate::bucket();
        let running = std::thread::spawn({
            let (stop, bucket) = (stop.clone(), bucket.clone());
            move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                runtime.unwrap().block_on(async {
                    let server = support::bind(config, &bucket).await;
                    ready.send(server.local_addr().to_string()).unwrap();
                    server.run(stop).await.unwrap();
                });
            }
        });
        let host = address.recv().unwrap();
        Self {
            algorithm,
            dir,
            bucket,
            host,
            connection: Mutex::default(),
            stop,
            running: Some(running),
        }
    }

    /// How many uploads are unfinished.
    pub fn uploads(&self) -> usize {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(support::uploads(self.dir.path(), &self.bucket))
    }

    pub fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], b"")
    }

    /// A request without a body and without further fields.
    pub fn send(&self, method: &str, path: &str) -> Answer {
        self.ask(method, path, &[], b"")
    }

    pub fn ask(&self, method: &str, path: &str, fields: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {}\r\n", self.host);
        for (name, value) in fields {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let chunked = fields.contains(&("transfer-encoding", "chunked"));
        let mut request = match matches!(method, "GET" | "HEAD" | "DELETE") || chunked {
            true => format!("{head}\r\n"),
            false => format!("{head}content-length: {}\r\n\r\n", body.len()),
        }
        .into_bytes();
        match chunked {
            true => {
                for piece in body.chunks(1000) {
                    request.extend(format!("{:x}\r\n", piece.len()).as_bytes());
                    request.extend(piece);
                    request.extend(b"\r\n");
                }
                request.extend(b"0\r\n\r\n");
            }
            false => request.extend(body),
        }
        let mut connection = self.connection.lock().unwrap();
        let reader = connection.get_or_insert_with(|| {
            let socket = TcpStream::connect(&self.host).unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
            BufReader::new(socket)
        });
        reader.get_mut().write_all(&request).unwrap();
        let answer = read(reader, method == "HEAD");
        if answer.maybe("connection") == Some("close") {
            *connection = None;
        }
        answer
    }

    /// Starts an upload; returns its location.
    #[track_caller]
    pub fn begin(&self, repository: &str) -> String {
        let begun = self.send("POST", &format!("/v2/{repository}/blobs/uploads/")).is(202);
        assert!(begun.body.is_empty());
        let location = begun.field("location").to_owned();
        assert!(location.starts_with(&format!("/v2/{repository}/blobs/uploads/")), "{location}");
        location
    }

    /// POST and PUT.
    #[track_caller]
    pub fn push(&self, repository: &str, data: impl AsRef<[u8]>) -> String {
        let digest = self.algorithm.of(&data);
        let location = self.begin(repository);
        self.ask("PUT", &format!("{location}?digest={digest}"), &[], data.as_ref()).is(201);
        digest
    }

    /// HEAD and GET of a blob that must be there.
    #[track_caller]
    pub fn has_blob(&self, repository: &str, data: impl AsRef<[u8]>) {
        let digest = self.algorithm.of(&data);
        for method in ["HEAD", "GET"] {
            let answer = self.send(method, &format!("/v2/{repository}/blobs/{digest}")).is(200);
            assert_eq!(answer.field("content-length"), data.as_ref().len().to_string());
            assert_eq!(answer.field("docker-content-digest"), digest);
            assert_eq!(answer.field("content-type"), "application/octet-stream");
            assert!(answer.body == if method == "GET" { data.as_ref() } else { b"" });
        }
    }

    #[track_caller]
    pub fn put(&self, repository: &str, reference: &str, kind: &str, text: &str) -> Answer {
        let path = format!("/v2/{repository}/manifests/{reference}");
        self.ask("PUT", &path, &[("content-type", kind)], text.as_bytes())
    }

    /// PUT under a tag, to be known by the test's hash. By tag alone that is SHA-256: which other one, the digest in the
    /// path says, with the tag as a parameter ("Pushing Manifests", end-7b).
    #[track_caller]
    pub fn tag(&self, repository: &str, tag: &str, kind: &str, text: &str) -> Answer {
        match self.algorithm {
            Algorithm::Sha256 => self.put(repository, tag, kind, text),
            Algorithm::Sha512 => {
                let reference = format!("{}?tag={tag}", self.algorithm.of(text));
                self.put(repository, &reference, kind, text)
            }
        }
    }

    /// HEAD and GET of a manifest that must be there, by this reference and by its digest.
    #[track_caller]
    pub fn has_manifest(&self, repository: &str, reference: &str, kind: &str, text: &str) {
        let digest = self.algorithm.of(text);
        for reference in [reference, &digest] {
            for method in ["HEAD", "GET"] {
                let path = format!("/v2/{repository}/manifests/{reference}");
                let answer = self.send(method, &path).is(200);
                assert_eq!(answer.field("content-type"), kind);
                assert_eq!(answer.field("content-length"), text.len().to_string());
                assert_eq!(answer.field("docker-content-digest"), digest);
                assert!(answer.body == if method == "GET" { text.as_bytes() } else { b"" });
            }
        }
    }

    pub fn descriptor(&self, kind: &str, content: &str) -> Value {
        json!({ "mediaType": kind, "digest": self.algorithm.of(content), "size": content.len() })
    }

    /// The text of an image of one layer, with further fields; its blobs are pushed.
    #[track_caller]
    pub fn image(&self, repository: &str, layer: &str, more: Value) -> String {
        self.push(repository, "{}");
        self.push(repository, layer);
        let mut image = json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST,
            "config": self.descriptor(OCI_CONFIG, "{}"),
            "layers": [self.descriptor(OCI_LAYER, layer)],
        });
        let Value::Object(more) = more else { panic!("not an object: {more}") };
        image.as_object_mut().unwrap().extend(more);
        image.to_string()
    }

    /// Pushes an image of one layer under a tag; returns its text.
    #[track_caller]
    pub fn push_image(&self, repository: &str, tag: &str, layer: &str) -> String {
        let text = self.image(repository, layer, json!({}));
        self.tag(repository, tag, OCI_MANIFEST, &text).is(201);
        text
    }
}

fn line(reader: &mut BufReader<TcpStream>) -> String {
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    line.strip_suffix("\r\n").expect("a whole line").to_owned()
}

fn read(reader: &mut BufReader<TcpStream>, head_only: bool) -> Answer {
    let first = line(reader);
    let status = first.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3));
    let status = status.and_then(|code| code.parse().ok());
    let mut fields = vec![];
    loop {
        let line = line(reader);
        match line.split_once(": ") {
            Some((name, value)) => fields.push((name.to_owned(), value.to_owned())),
            None if line.is_empty() => break,
            None => panic!("no field: {line:?}"),
        }
    }
    let status = status.unwrap_or_else(|| panic!("no status line: {first:?}"));
    let mut answer = Answer { status, fields, body: vec![] };
    assert_eq!(answer.maybe("transfer-encoding"), None, "lengths are known");
    if !head_only && status != 204 {
        answer.body = vec![0; answer.field("content-length").parse().unwrap()];
        reader.read_exact(&mut answer.body).unwrap();
    }
    answer
}
