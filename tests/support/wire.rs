//! The least of HTTP/1.1 and of the distribution specification that a test needs to push and pull.
//! Written against the specification, not against our client, so that the two can disagree.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use format_spec::Digest;

use super::image::MANIFEST_TYPES;

/// An answer.
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Headers, names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The whole body.
    pub body: Vec<u8>,
}

/// One request on a connection of its own.
pub fn request(
    host: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect(host)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if !matches!(method, "GET" | "HEAD") {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    stream.write_all(head.as_bytes())?;
    stream.write_all(b"\r\n")?;
    stream.write_all(body)?;
    let mut reader = BufReader::new(stream);
    let (status, headers) = read_head(&mut reader)?;
    let mut body = Vec::new();
    if method != "HEAD" && status != 204 && status != 304 {
        if headers.get("transfer-encoding").is_some_and(|value| value.contains("chunked")) {
            read_chunks(&mut reader, &mut body)?;
        } else if let Some(length) = headers.get("content-length") {
            body.resize(length.parse().map_err(std::io::Error::other)?, 0);
            reader.read_exact(&mut body)?;
        } else {
            reader.read_to_end(&mut body)?;
        }
    }
    Ok(Answer { status, headers, body })
}

/// Reads the first line and the headers of an answer or, with the first word as its status, of nothing else.
fn read_head(reader: &mut impl BufRead) -> std::io::Result<(u16, BTreeMap<String, String>)> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let status = line.split(' ').nth(1).and_then(|word| word.trim().parse().ok());
    let status = status.ok_or_else(|| std::io::Error::other(format!("no status: {line:?}")))?;
    Ok((status, read_headers(reader)?))
}

/// Reads headers up to the empty line.
pub fn read_headers(reader: &mut impl BufRead) -> std::io::Result<BTreeMap<String, String>> {
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        match line.trim_end().split_once(':') {
            Some((name, value)) => {
                headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
            }
            None => return Ok(headers),
        }
    }
}

fn read_chunks(reader: &mut impl BufRead, body: &mut Vec<u8>) -> std::io::Result<()> {
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let size = usize::from_str_radix(line.trim(), 16).map_err(std::io::Error::other)?;
        let start = body.len();
        body.resize(start + size, 0);
        reader.read_exact(&mut body[start..])?;
        reader.read_line(&mut String::new())?;
        if size == 0 {
            return Ok(());
        }
    }
}

/// A registry, as any client sees it.
#[derive(Clone, Debug)]
pub struct Registry {
    /// `host:port`
    pub host: String,
}

impl Registry {
    #[track_caller]
    fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        request(&self.host, method, path, headers, body)
            .unwrap_or_else(|error| panic!("{method} {} {path}: {error}", self.host))
    }

    /// Puts a blob into a repository.
    #[track_caller]
    pub fn put_blob(&self, repo: &str, bytes: &[u8]) -> Digest {
        let digest = Digest::of(bytes);
        let start = self.ask("POST", &format!("/v2/{repo}/blobs/uploads/"), &[], b"");
        assert_eq!(start.status, 202, "{}", String::from_utf8_lossy(&start.body));
        let location = &start.headers["location"];
        let path = match location.split_once("://") {
            Some((_, rest)) => &rest[rest.find('/').unwrap()..],
            None => location,
        };
        let separator = if path.contains('?') { '&' } else { '?' };
        let type_ = [("Content-Type", "application/octet-stream")];
        let end = self.ask("PUT", &format!("{path}{separator}digest={digest}"), &type_, bytes);
        assert_eq!(end.status, 201, "{}", String::from_utf8_lossy(&end.body));
        digest
    }

    /// Puts a manifest under a tag or its digest.
    #[track_caller]
    pub fn put_manifest(&self, repo: &str, reference: &str, media_type: &str, bytes: &[u8]) {
        let path = format!("/v2/{repo}/manifests/{reference}");
        let end = self.ask("PUT", &path, &[("Content-Type", media_type)], bytes);
        assert_eq!(end.status, 201, "{path}: {}", String::from_utf8_lossy(&end.body));
    }

    /// A manifest by tag or digest.
    #[track_caller]
    pub fn manifest(&self, repo: &str, reference: &str) -> Option<Vec<u8>> {
        let path = format!("/v2/{repo}/manifests/{reference}");
        let answer = self.ask("GET", &path, &[("Accept", &MANIFEST_TYPES.join(", "))], b"");
        match answer.status {
            200 => Some(answer.body),
            404 => None,
            other => panic!("{path}: {other}"),
        }
    }

    /// A blob.
    #[track_caller]
    pub fn blob(&self, repo: &str, digest: &str) -> Option<Vec<u8>> {
        let path = format!("/v2/{repo}/blobs/{digest}");
        let answer = self.ask("GET", &path, &[], b"");
        match answer.status {
            200 => Some(answer.body),
            404 => None,
            other => panic!("{path}: {other}"),
        }
    }

    /// Removes a blob or a manifest.
    #[track_caller]
    pub fn delete(&self, repo: &str, kind: &str, reference: &str) {
        let answer = self.ask("DELETE", &format!("/v2/{repo}/{kind}/{reference}"), &[], b"");
        assert_eq!(answer.status, 202);
    }

    /// The tags of a repository, sorted; none where it does not exist.
    #[track_caller]
    pub fn tags(&self, repo: &str) -> Vec<String> {
        let answer = self.ask("GET", &format!("/v2/{repo}/tags/list?n=1000"), &[], b"");
        if answer.status == 404 {
            return Vec::new();
        }
        let value: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        strings(&value["tags"])
    }

    /// The repositories, sorted, page by page.
    #[track_caller]
    pub fn repositories(&self) -> Vec<String> {
        const PAGE: usize = 1000;
        let mut all: Vec<String> = Vec::new();
        loop {
            let last = all.last().map_or_else(String::new, |last| format!("&last={last}"));
            let answer = self.ask("GET", &format!("/v2/_catalog?n={PAGE}{last}"), &[], b"");
            assert_eq!(answer.status, 200);
            let value: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
            let page = strings(&value["repositories"]);
            let more = page.len() == PAGE;
            all.extend(page);
            if !more {
                all.sort();
                return all;
            }
        }
    }

    /// Every `repository:tag` of content; what `bundle` keeps there for itself is left out.
    #[track_caller]
    pub fn all_tags(&self) -> Vec<String> {
        let mut all = Vec::new();
        for repo in self.repositories() {
            if repo.contains("bundle-ledger") {
                continue;
            }
            all.extend(self.tags(&repo).into_iter().map(|tag| format!("{repo}:{tag}")));
        }
        all
    }

    /// The digests of what a reference needs: itself, its children, their blobs. Everything is pulled
    /// and hashed; panics with the name of what is missing.
    #[track_caller]
    pub fn pull(&self, repo: &str, reference: &str) -> Vec<String> {
        let bytes = self.manifest(repo, reference);
        let bytes = bytes.unwrap_or_else(|| panic!("{}/{repo} {reference} is missing", self.host));
        let digest = Digest::of(&bytes).to_string();
        if reference.starts_with("sha256:") {
            assert_eq!(digest, reference);
        }
        let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        let mut all = vec![digest];
        for child in value["manifests"].as_array().into_iter().flatten() {
            all.extend(self.pull(repo, child["digest"].as_str().unwrap()));
        }
        let blobs = value["layers"].as_array().into_iter().flatten().chain(value.get("config"));
        for blob in blobs {
            let digest = blob["digest"].as_str().unwrap();
            let bytes = self.blob(repo, digest);
            let bytes =
                bytes.unwrap_or_else(|| panic!("{}/{repo} blob {digest} is missing", self.host));
            assert_eq!(Digest::of(&bytes).to_string(), digest);
            assert_eq!(bytes.len() as u64, blob["size"].as_u64().unwrap());
            all.push(digest.to_owned());
        }
        all
    }
}

fn strings(value: &serde_json::Value) -> Vec<String> {
    let mut all: Vec<String> =
        value.as_array().into_iter().flatten().map(|v| v.as_str().unwrap().to_owned()).collect();
    all.sort();
    all
}
