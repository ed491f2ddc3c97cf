//! OpenShift to test with: where the real data lies, an update service that gives out graphs, and who else reads what was made.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use fs_err as fs;
use serde_json::json;

use super::command::bundle;
use super::{listener, serve, skip, tool};

/// A file or directory of the real OpenShift data, or `None` after saying that it is not on this machine.
pub fn data(below: &str) -> Option<PathBuf> {
    const DEFAULT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/openshift/data");
    let named = std::env::var_os("BUNDLE_OPENSHIFT_DATA").map(PathBuf::from);
    let path = named.unwrap_or_else(|| PathBuf::from(DEFAULT)).join(below);
    if path.exists() {
        return Some(path);
    }
    skip(&format!("no OpenShift data `{below}` (BUNDLE_OPENSHIFT_DATA says where it is)"));
    None
}

/// The real schemas hold what is written for clusters, where they are on this machine.
#[track_caller]
pub fn schemas(directory: &Path) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/crds.py");
    let run = Command::new("python3").arg(script).arg(directory).output();
    match run {
        Ok(run) if run.status.code() == Some(77) => skip(&String::from_utf8_lossy(&run.stderr)),
        Ok(run) => {
            let said = String::from_utf8_lossy(&run.stdout);
            assert!(run.status.success(), "{said}");
            eprintln!("{said}");
        }
        Err(error) => skip(&format!("no python3: {error}")),
    }
}

/// What the real `opm` says (`validate DIR`, `render DIR`), which is the reader of catalogs in a cluster too; `None` after
/// saying that it is not on this machine. What it keeps goes below `home`.
#[track_caller]
pub fn opm(home: &Path, arguments: &[&str]) -> Option<Vec<u8>> {
    let mut opm = Command::new(tool("opm")?);
    opm.env_clear().env("HOME", home).env("TMPDIR", home).current_dir(home).args(arguments);
    let run = opm.output().unwrap();
    assert!(run.status.success(), "opm {arguments:?}: {}", String::from_utf8_lossy(&run.stderr));
    Some(run.stdout)
}

/// Status and body, by `architecture/channel`.
type Answers = Arc<Mutex<HashMap<String, (u16, Vec<u8>)>>>;

/// An update service. What it does not have is an empty graph, as at the real one.
pub struct Cincinnati {
    /// `host:port`
    pub host: String,
    answers: Answers,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Cincinnati {
    /// Starts one without any graph. Its thread ends with the process.
    pub fn start() -> Self {
        let (listener, host) = listener();
        let answers = Answers::default();
        let seen: Arc<Mutex<Vec<String>>> = Arc::default();
        let (known, log) = (Arc::clone(&answers), Arc::clone(&seen));
        serve(listener, move |mut stream| -> std::io::Result<()> {
            let mut head = Vec::new();
            for line in BufReader::new(stream.try_clone()?).lines() {
                let line = line?;
                if line.is_empty() {
                    break;
                }
                head.push(line);
            }
            let target = head[0].split(' ').nth(1).unwrap_or_default();
            let value = |name: &str| {
                let query = target.split_once('?').map_or("", |(_, query)| query);
                let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
                pairs.into_iter().find(|(key, _)| *key == name).map_or("", |(_, value)| value)
            };
            let key = format!("{}/{}", value("arch"), value("channel"));
            let nothing = || (200, br#"{"version":1,"nodes":[],"edges":[]}"#.to_vec());
            let (status, body) = known.lock().unwrap().get(&key).cloned().unwrap_or_else(nothing);
            log.lock().unwrap().push(head.join("\n"));
            let head = format!(
                "HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                body.len()
            );
            stream.write_all(head.as_bytes())?;
            stream.write_all(&body)
        });
        Self { host, answers, seen }
    }

    /// What is answered for an architecture and a channel.
    pub fn answer(&self, key: &str, status: u16, body: impl Into<Vec<u8>>) {
        self.answers.lock().unwrap().insert(key.to_owned(), (status, body.into()));
    }

    /// A graph of releases and their payloads, with these edges and edges with a risk.
    pub fn graph(
        &self,
        key: &str,
        releases: &[(&str, &str)],
        edges: &[(usize, usize)],
        conditional: &[(&str, &str, &str)],
    ) {
        let channel = key.split_once('/').unwrap().1;
        let nodes = releases.iter().map(|(version, payload)| {
            json!({"version": version, "payload": payload, "metadata": {
                "io.openshift.upgrades.graph.release.channels": channel,
                "url": format!("https://errata.example.com/{version}")}})
        });
        let conditional = conditional.iter().map(|(from, to, name)| {
            let url = format!("https://risks.example.com/{name}");
            json!({"edges": [{"from": from, "to": to}],
                "risks": [{"name": name, "message": "may hurt", "url": url, "matchingRules": []}]})
        });
        let document = json!({"version": 1, "nodes": nodes.collect::<Vec<_>>(), "edges": edges,
            "conditionalEdges": conditional.collect::<Vec<_>>()});
        self.answer(key, 200, document.to_string());
    }

    /// Gives out a real graph, as `recorded/stable-4.9.amd64`; `false` when it is not on this machine.
    pub fn real(&self, name: &str) -> bool {
        let Some(path) = data(&format!("cincinnati/{name}.json")) else { return false };
        let file = name.rsplit('/').next().unwrap();
        let (channel, architecture) = file.rsplit_once('.').unwrap();
        self.answer(&format!("{architecture}/{channel}"), 200, fs::read(path).unwrap());
        true
    }

    /// The heads of the requests so far.
    pub fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }

    /// `bundle` that asks here.
    pub fn bundle(&self, home: &Path, arguments: &[&str]) -> Command {
        let mut command = bundle(home);
        let address = format!("http://{}/api/upgrades_info/v1/graph", self.host);
        command.env("UPDATE_URL_OVERRIDE", address).args(arguments);
        command.args(["--retry-times", "1", "--retry-delay", "1ms"]);
        command
    }
}
