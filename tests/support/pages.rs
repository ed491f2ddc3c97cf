//! A source that answers what it was told to, whatever that is: what no registry would take, this one gives away.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};

use format_spec::Digest;
use serde_json::{Value, json};

use super::image::{OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST};
use super::wire::read_headers;
use super::{listener, serve};

/// What stands under a path.
#[derive(Clone)]
pub struct Page {
    /// `Content-Type`; none when empty.
    pub media_type: String,
    /// Further headers, as lines.
    pub headers: String,
    /// The body.
    pub bytes: Vec<u8>,
    /// How often the body is sent: without end, with `usize::MAX`.
    pub times: usize,
}

type Shown = Arc<Mutex<HashMap<String, Page>>>;

/// A registry of fixed answers. It lives as long as the test process.
pub struct Pages {
    /// `host:port`
    pub host: String,
    pages: Shown,
}

impl Pages {
    /// One without any content.
    pub fn start() -> Self {
        let (listener, host) = listener();
        let pages = Shown::default();
        let shown = Arc::clone(&pages);
        serve(listener, move |stream| answer(stream, &shown));
        let this = Self { host, pages };
        this.put("/v2/", "application/json", b"{}");
        this
    }

    /// Puts a page.
    pub fn page(&self, path: &str, page: Page) {
        self.pages.lock().unwrap().insert(path.to_owned(), page);
    }

    /// Puts bytes under a path.
    pub fn put(&self, path: &str, media_type: &str, bytes: &[u8]) {
        let (media_type, headers) = (media_type.to_owned(), String::new());
        self.page(path, Page { media_type, headers, bytes: bytes.to_vec(), times: 1 });
    }

    /// A blob, with its descriptor.
    pub fn blob(&self, repository: &str, media_type: &str, bytes: &[u8]) -> Value {
        let digest = Digest::of(bytes);
        self.put(&format!("/v2/{repository}/blobs/{digest}"), "application/octet-stream", bytes);
        json!({"mediaType": media_type, "digest": digest.to_string(), "size": bytes.len()})
    }

    /// A manifest of any bytes under its digest and a tag, with its descriptor.
    pub fn manifest(&self, repository: &str, tag: &str, media_type: &str, bytes: &[u8]) -> Value {
        let digest = Digest::of(bytes);
        for reference in [tag, &digest.to_string()] {
            self.put(&format!("/v2/{repository}/manifests/{reference}"), media_type, bytes);
        }
        json!({"mediaType": media_type, "digest": digest.to_string(), "size": bytes.len()})
    }

    /// A manifest as JSON, with its descriptor. Its type is the one that it says.
    pub fn document(&self, repository: &str, tag: &str, document: &Value) -> Value {
        let media_type = document["mediaType"].as_str().unwrap_or(OCI_MANIFEST);
        self.manifest(repository, tag, media_type, &serde_json::to_vec(document).unwrap())
    }

    /// An image of one layer, as JSON: to be changed and then put.
    pub fn image(&self, repository: &str, layer: &[u8]) -> Value {
        let config =
            format!("{{\"os\":\"linux\",\"architecture\":\"amd64\",\"of\":\"{repository}\"}}");
        json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST,
            "config": self.blob(repository, OCI_CONFIG, config.as_bytes()),
            "layers": [self.blob(repository, OCI_LAYER, layer)]})
    }
}

/// An index over children, as JSON.
pub fn index(children: &[Value]) -> Value {
    json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": children})
}

fn answer(stream: TcpStream, pages: &Shown) {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    while reader.read_line(&mut line).is_ok_and(|read| read > 0) {
        let mut words = line.split(' ');
        let (method, path) = (words.next().unwrap_or(""), words.next().unwrap_or("").to_owned());
        let head = method == "HEAD";
        if read_headers(&mut reader).is_err() {
            return;
        }
        let page = pages.lock().unwrap().get(&path).cloned();
        if send(reader.get_mut(), page, head).is_err() {
            return;
        }
        line.clear();
    }
}

fn send(stream: &mut TcpStream, page: Option<Page>, head: bool) -> std::io::Result<()> {
    let Some(page) = page else {
        const NONE: &str = r#"{"errors":[{"code":"MANIFEST_UNKNOWN"}]}"#;
        let body = if head { "" } else { NONE };
        let length = NONE.len();
        return write!(
            stream,
            "HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        );
    };
    write!(stream, "HTTP/1.1 200 OK\r\n{}", page.headers)?;
    if !page.media_type.is_empty() {
        write!(stream, "Content-Type: {}\r\n", page.media_type)?;
    }
    match page.bytes.len().checked_mul(page.times) {
        Some(length) => write!(stream, "Content-Length: {length}\r\n\r\n")?,
        None => write!(stream, "Connection: close\r\n\r\n")?,
    }
    for _ in 0..if head { 0 } else { page.times } {
        stream.write_all(&page.bytes)?;
    }
    stream.flush()
}
