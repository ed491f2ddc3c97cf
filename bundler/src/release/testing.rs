//! Helpers of the tests of releases: where the real data lies, graphs made in code, a small update service.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use registry::client::{Client, ClientOptions, RetryPolicy};
use semver::Version;

use super::graph::Graph;
use super::service::{Kept, Service, ServiceOptions};
use crate::config::{ReleaseChannel, VersionRange};

/// A file or directory of the real OpenShift data, or `None` after saying that it is not on this machine.
pub(crate) fn data(below: &str) -> Option<PathBuf> {
    const DEFAULT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/openshift/data");
    let named = std::env::var_os("BUNDLE_OPENSHIFT_DATA").map(PathBuf::from);
    let path = named.unwrap_or_else(|| PathBuf::from(DEFAULT)).join(below);
    if path.exists() {
        return Some(path);
    }
    skip(&format!("no OpenShift data `{below}` (BUNDLE_OPENSHIFT_DATA says where it is)"));
    None
}

/// Says that a test does not run here, and why.
pub(crate) fn skip(why: &str) {
    println!("skipped: {why}");
    if let Some(list) = std::env::var_os("BUNDLE_SKIPS") {
        let mut file = fs_err::OpenOptions::new().append(true).create(true).open(list).unwrap();
        writeln!(file, "{why}").unwrap();
    }
}

/// A real graph, as `recorded/stable-4.9.amd64`.
pub(crate) fn real(name: &str) -> Option<Graph> {
    let bytes = fs_err::read(data(&format!("cincinnati/{name}.json"))?).unwrap();
    let name = name.rsplit('/').next().unwrap();
    let (channel, architecture) = name.rsplit_once('.').unwrap();
    Some(Graph::parse(channel, architecture, &bytes).unwrap())
}

pub(crate) fn version(text: &str) -> Version {
    text.parse().unwrap()
}

/// The payload that the releases of a made graph have.
pub(crate) fn payload(version: &str) -> String {
    format!("quay.io/openshift/release@{}", format_spec::Digest::of(version.as_bytes()))
}

/// A document: releases in this order, edges between them, and edges with a risk each.
pub(crate) fn document(
    versions: &[&str],
    edges: &[(&str, &str)],
    conditional: &[(&str, &str, &str)],
) -> Vec<u8> {
    let place = |name: &str| versions.iter().position(|version| *version == name).unwrap();
    let nodes: Vec<_> = versions
        .iter()
        .map(|v| serde_json::json!({"version": v, "payload": payload(v), "metadata": {}}))
        .collect();
    let edges: Vec<_> = edges.iter().map(|(from, to)| (place(from), place(to))).collect();
    let conditional: Vec<_> = conditional
        .iter()
        .map(|(from, to, name)| {
            let url = format!("https://risks.example.com/{name}");
            serde_json::json!({"edges": [{"from": from, "to": to}],
                "risks": [{"name": name, "message": "may hurt", "url": url,
                           "matchingRules": [{"type": "Always"}]}]})
        })
        .collect();
    let document = serde_json::json!({"version": 1, "nodes": nodes, "edges": edges,
        "conditionalEdges": conditional});
    serde_json::to_vec(&document).unwrap()
}

/// The same as a graph of `stable-4.1`.
pub(crate) fn graph(
    versions: &[&str],
    edges: &[(&str, &str)],
    conditional: &[(&str, &str, &str)],
) -> Graph {
    Graph::parse("stable-4.1", "amd64", &document(versions, edges, conditional)).unwrap()
}

/// An entry of a configuration; `-` is no bound.
pub(crate) fn entry(name: &str, min: &str, max: &str) -> ReleaseChannel {
    let bound = |text: &str| (text != "-").then(|| version(text));
    let range = VersionRange { min: bound(min), max: bound(max) };
    let at = crate::config::Position { line: 1, column: 1 };
    ReleaseChannel { name: name.into(), okd: false, range, shortest_path: false, full: false, at }
}

/// Status and body of each answer.
pub(crate) type Answers = Arc<Mutex<HashMap<String, (u16, Vec<u8>)>>>;

/// An update service on this machine. Requests for what it does not have get an empty graph.
pub(crate) struct Cincinnati {
    pub(crate) address: String,
    /// By `arch/channel`.
    pub(crate) answers: Answers,
    pub(crate) asked: Arc<Mutex<Vec<String>>>,
}

impl Cincinnati {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let answers = Answers::default();
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let (known, log) = (Arc::clone(&answers), Arc::clone(&asked));
        std::thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                let lines = BufReader::new(stream.try_clone().unwrap()).lines();
                let mut head = lines.map_while(Result::ok).take_while(|line| !line.is_empty());
                let Some(first) = head.next() else { continue };
                let _ = head.count();
                let target = first.split(' ').nth(1).unwrap_or_default().to_owned();
                let url: url::Url = format!("http://x{target}").parse().unwrap();
                let query: HashMap<_, _> = url.query_pairs().into_owned().collect();
                let key = format!("{}/{}", query["arch"], query["channel"]);
                let answer = known.lock().unwrap().get(&key).cloned();
                let nothing = || (200, br#"{"version":1,"nodes":[],"edges":[]}"#.to_vec());
                let (status, body) = answer.unwrap_or_else(nothing);
                log.lock().unwrap().push(target);
                let head = format!(
                    "HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                    body.len()
                );
                let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
            }
        });
        Self { address, answers, asked }
    }

    pub(crate) fn answer(&self, key: &str, status: u16, body: impl Into<Vec<u8>>) {
        self.answers.lock().unwrap().insert(key.to_owned(), (status, body.into()));
    }

    /// Serves real graphs, each as the channel of its name; `false` when they are not on this machine.
    pub(crate) fn serve(&self, names: &[&str]) -> bool {
        names.iter().all(|name| {
            let Some(path) = data(&format!("cincinnati/{name}.json")) else { return false };
            let file = name.rsplit('/').next().unwrap();
            let (channel, architecture) = file.rsplit_once('.').unwrap();
            self.answer(&format!("{architecture}/{channel}"), 200, fs_err::read(path).unwrap());
            true
        })
    }

    /// A service that asks here.
    pub(crate) fn service(&self, workspace: Option<&Path>, kept: Kept) -> Service {
        let address: url::Url = format!("http://{}/graph", self.address).parse().unwrap();
        let okd = format!("http://{}/okd?x=1", self.address).parse().unwrap();
        let workspace = workspace.map(Path::to_owned);
        Service::new(client(), ServiceOptions { ocp: address, okd, workspace, kept })
    }
}

fn client() -> Client {
    let retry = RetryPolicy { times: 1, delay: Some(Duration::ZERO) };
    Client::new(ClientOptions { certs_d: Vec::new(), retry, ..ClientOptions::default() }).unwrap()
}
