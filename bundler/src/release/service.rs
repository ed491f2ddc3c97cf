//! The update service: fetches the graphs of channels, each once, and keeps the last good document of each.
//!
//! In: channels and architectures. Out: graphs. Variables name own services. What must hold: a
//! document is kept only after it was read as a graph; one from an earlier run is used only when the person asks for
//! it or when the service cannot be reached, and then that is told with its age; one that another service sent is
//! not.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use format_spec::Digest;
use registry::client::{Client, ErrorKind as WireKind};
use tokio::sync::{OnceCell, Semaphore};
use url::Url;

use super::fault::ReleaseError;
use super::graph::Graph;
use super::limits::{GRAPH_MAX, GRAPHS_AT_ONCE};
use crate::config::ARCHITECTURES;
use crate::{durable, lock};

/// Where OpenShift's graphs are.
pub const OCP: &str = "https://api.openshift.com/api/upgrades_info/v1/graph";

/// Where OKD's graph is.
pub const OKD: &str = "https://origin-release.ci.openshift.org/graph";

/// The variable that names another service for OpenShift, as oc-mirror has it.
pub const OVERRIDE: &str = "UPDATE_URL_OVERRIDE";

/// The same for OKD, for which oc-mirror has none: a configuration may have channels of both.
pub const OKD_OVERRIDE: &str = "OKD_UPDATE_URL_OVERRIDE";

/// The directory of the workspace that keeps documents.
const DIRECTORY: &str = "update-graph";

/// When documents of earlier runs are used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Kept {
    /// When the service cannot be reached.
    #[default]
    Unreachable,
    /// Always; the service is not asked.
    Always,
    /// Never.
    Never,
}

/// Which service, and what is kept of it.
#[derive(Debug, Clone)]
pub struct ServiceOptions {
    /// The address of OpenShift's graphs.
    pub ocp: Url,
    /// The address of OKD's.
    pub okd: Url,
    /// The workspace; `None` keeps nothing.
    pub workspace: Option<PathBuf>,
    /// When what was kept is used.
    pub kept: Kept,
}

impl ServiceOptions {
    /// The public services, or those that the environment names.
    pub fn from_environment(workspace: Option<&Path>) -> Result<Self, ReleaseError> {
        let named = |variable, public: &str| {
            let set = std::env::var_os(variable).filter(|text| !text.is_empty());
            let text = set.map_or(Ok(public.to_owned()), std::ffi::OsString::into_string);
            text.map_err(|_| "it is not text")
                .and_then(|text| address(&text))
                .map_err(|problem| ReleaseError::Address { variable, problem })
        };
        Ok(Self {
            ocp: named(OVERRIDE, OCP)?,
            okd: named(OKD_OVERRIDE, OKD)?,
            workspace: workspace.map(Path::to_owned),
            kept: Kept::default(),
        })
    }
}

/// The address itself is not repeated in an error: it may hold a password.
fn address(text: &str) -> Result<Url, &'static str> {
    let url: Url = text.trim().parse().map_err(|_| "it is no address")?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err("it does not begin with `https://`");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("it has a user name, and nothing secret is sent there");
    }
    Ok(url)
}

/// The variable that would have named another service.
fn variable(okd: bool) -> &'static str {
    if okd { OKD_OVERRIDE } else { OVERRIDE }
}

/// A graph, and how it was had.
#[derive(Debug)]
pub struct Fetched {
    /// The graph.
    pub graph: Graph,
    /// How old it is, when it was kept from an earlier run.
    pub age: Option<Duration>,
    /// What a person should know.
    pub warning: Option<String>,
}

type Answer = Result<Arc<Fetched>, Arc<ReleaseError>>;

/// What is asked for: channel, architecture, and whether it is OKD's.
type Key = (String, String, bool);

/// The update service.
pub struct Service {
    client: Client,
    options: ServiceOptions,
    /// This run, as the service counts it; made anew each time and sent nowhere else.
    id: String,
    known: Mutex<HashMap<Key, Arc<OnceCell<Answer>>>>,
    line: Semaphore,
}

impl Service {
    /// A service that is asked through this client.
    pub fn new(client: Client, options: ServiceOptions) -> Self {
        for url in [&options.ocp, &options.okd] {
            if url.scheme() == "http" && !is_local(url) {
                tracing::warn!(
                    "the update service `{}` is asked over plain HTTP: anybody on the way can change which releases \
                     there are",
                    url.host_str().unwrap_or_default()
                );
            }
        }
        let (known, line) = (Mutex::default(), Semaphore::new(GRAPHS_AT_ONCE));
        Self { client, options, id: random_id(), known, line }
    }

    /// A channel's graph for an architecture. Asked for again, it is the same one.
    pub async fn graph(&self, channel: &str, architecture: &str, okd: bool) -> Answer {
        let key = (channel.to_owned(), architecture.to_owned(), okd);
        let cell = Arc::clone(lock(&self.known).entry(key.clone()).or_default());
        let answer = cell.get_or_init(|| async {
            // Closed never; without a place it would only be one more at a time.
            let _place = self.line.acquire().await;
            self.get(&key).await.map(Arc::new).map_err(Arc::new)
        });
        answer.await.clone()
    }

    async fn get(&self, key: &Key) -> Result<Fetched, ReleaseError> {
        let (channel, architecture, okd) = key;
        check(channel, architecture)?;
        let base = if *okd { &self.options.okd } else { &self.options.ocp };
        let file = self.options.workspace.as_ref().map(|workspace| place(workspace, base, key));
        if self.options.kept == Kept::Always {
            return self.kept(key, base, file.as_deref(), "as it was asked for").and_then(
                |found| {
                    let (channel, architecture) = (channel.clone(), architecture.clone());
                    found.ok_or(ReleaseError::NotKept { channel, architecture })
                },
            );
        }
        let mut url = base.clone();
        url.query_pairs_mut()
            .append_pair("arch", architecture)
            .append_pair("channel", channel)
            .append_pair("id", &self.id);
        let document = match self.client.document(&url, "application/json", GRAPH_MAX).await {
            Ok(document) => document,
            Err(source) => {
                if source.kind() == WireKind::Unavailable
                    && self.options.kept == Kept::Unreachable
                    && let Some(found) =
                        self.kept(key, base, file.as_deref(), &source.to_string())?
                {
                    return Ok(found);
                }
                let (channel, architecture) = (channel.clone(), architecture.clone());
                let variable = variable(*okd);
                return Err(ReleaseError::Fetch { channel, architecture, variable, source });
            }
        };
        let graph = read(key, base, &document.bytes)?;
        let mut warning = None;
        if let Some(file) = file
            && !graph.nodes().is_empty()
            && let Err(error) = keep(&file, &document.bytes)
        {
            // Nothing but the next outage depends on it.
            warning = Some(format!("the update graph of `{channel}` is not kept: {error}"));
        }
        Ok(Fetched { graph, age: None, warning })
    }

    /// What was kept of an earlier run, and the word about it.
    fn kept(
        &self,
        key: &Key,
        base: &Url,
        file: Option<&Path>,
        why: &str,
    ) -> Result<Option<Fetched>, ReleaseError> {
        let Some(file) = file else { return Ok(None) };
        let fault =
            |source| ReleaseError::File { doing: "read the update graph that was kept", source };
        let Some(bytes) = durable::read(file, GRAPH_MAX).map_err(fault)? else { return Ok(None) };
        let graph = read(key, base, &bytes)?;
        let written = fs_err::metadata(file).and_then(|about| about.modified()).map_err(fault)?;
        let age = SystemTime::now().duration_since(written).unwrap_or_default();
        let warning = format!(
            "the update graph of `{}` ({}) is {} old, from an earlier run: {why}",
            key.0,
            key.1,
            spoken(age)
        );
        Ok(Some(Fetched { graph, age: Some(age), warning: Some(warning) }))
    }
}

fn is_local(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

/// Refuses what a service would refuse, and what would lead out of the directory of kept documents.
fn check(channel: &str, architecture: &str) -> Result<(), ReleaseError> {
    let small = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let named = channel.bytes().any(small) && channel.len() <= 100;
    if !named || !channel.bytes().all(|c| small(c) || c == b'-' || c == b'.') {
        return Err(ReleaseError::Name { channel: super::graph::clip(channel) });
    }
    if !ARCHITECTURES.contains(&architecture) {
        let architecture = super::graph::clip(architecture);
        return Err(ReleaseError::Architecture { architecture });
    }
    Ok(())
}

fn read(key: &Key, base: &Url, bytes: &[u8]) -> Result<Graph, ReleaseError> {
    Graph::parse(&key.0, &key.1, bytes).map_err(|source| ReleaseError::Document {
        channel: key.0.clone(),
        architecture: key.1.clone(),
        variable: variable(key.2),
        host: base.host_str().unwrap_or_default().to_owned(),
        source: Box::new(source),
    })
}

/// Where the document is kept. Services do not share: another one may know other releases.
fn place(workspace: &Path, base: &Url, (channel, architecture, okd): &Key) -> PathBuf {
    let service = Digest::of(base.as_str().as_bytes()).to_string();
    let service = service.trim_start_matches("sha256:");
    let kind = if *okd { "okd-" } else { "" };
    let name = format!("{kind}{architecture}-{channel}.json");
    workspace.join(DIRECTORY).join(&service[..service.len().min(16)]).join(name)
}

fn keep(file: &Path, bytes: &[u8]) -> std::io::Result<()> {
    if let Some(directory) = file.parent() {
        fs_err::create_dir_all(directory)?;
    }
    durable::write(file, bytes)
}

/// A time as people say it.
fn spoken(age: Duration) -> String {
    let (number, unit) = match age.as_secs() {
        seconds @ 0..120 => (seconds, "second"),
        seconds @ 120..7200 => (seconds / 60, "minute"),
        seconds @ 7200..172_800 => (seconds / 3600, "hour"),
        seconds => (seconds / 86_400, "day"),
    };
    format!("{number} {unit}{}", if number == 1 { "" } else { "s" })
}

/// A random UUID, version 4; all zeros when the system has no randomness.
fn random_id() -> String {
    use ring::rand::SecureRandom as _;
    let mut bytes = [0; 16];
    if ring::rand::SystemRandom::new().fill(&mut bytes).is_err() {
        bytes = [0; 16];
    }
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

#[cfg(test)]
#[path = "service_tests.rs"]
mod tests;
