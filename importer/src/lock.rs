//! One importer at a time for one target.
//!
//! In: a target. Out: the right to write to it. Two locks: a file lock in the workspace, which the
//! system gives back when the process ends, and a lease at the target, against importers of other
//! workspaces and hosts. A lease shows signs of life; one that shows none is dead: at once when its
//! process on this host is gone, after a minute of watching when it is of another host. Clocks are
//! never compared. A registry has no compare-and-swap, so the lease is read back after it was taken
//! and before tags move; two importers of one sequence that slip through write the same content.

use std::collections::HashSet;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Instant;

use format_spec::digest::to_hex;
use format_spec::{Tag, json};
use registry::client::Deleted;
use registry::reference::ManifestRef;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::artifact::{self, unusable};
use crate::durable;
use crate::error::ImportError;
use crate::limits::{LEASE_BEAT, LEASE_DEAD, LEASE_LOOK, LEASE_RELEASE};
use crate::paths::Destination;

const KIND: &str = "application/vnd.bundle.lease.v1+json";
const NOTE: &str = "vnd.bundle.lease";

/// The file lock in the workspace; given back when dropped.
#[derive(Debug)]
pub(crate) struct LocalLock {
    _file: File,
}

/// Takes the file lock of a target's directory in the workspace.
pub(crate) fn lock_local(directory: &Path) -> Result<LocalLock, ImportError> {
    durable::directory(directory)?;
    let path = directory.join("lock");
    let fail = |error| durable::write_error(&path, error);
    let file: File = fs_err::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(fail)?
        .into_parts()
        .0;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(LocalLock { _file: file }),
        Err(rustix::io::Errno::WOULDBLOCK) => {
            Err(ImportError::Busy { holder: "from the same workspace".to_owned() })
        }
        Err(error) => Err(fail(error.into())),
    }
}

/// Who holds a lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Holder {
    /// Random, made for each lease.
    id: String,
    /// Grows with each sign of life.
    beat: u64,
    /// The name of the host, for people.
    host: String,
    /// The boot of the host, and the namespace of process numbers: together with `pid` and `start`
    /// they name a process.
    boot: String,
    space: String,
    pid: u32,
    start: String,
    /// When it was taken, RFC 3339. For people.
    since: String,
    tool: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Note {
    holder: Option<Holder>,
}

/// What is known about the process of a holder.
#[derive(Debug, PartialEq, Eq)]
enum Life {
    Here,
    Gone,
    Elsewhere,
}

/// Leases held by this process: a lease of this process that is not here was dropped.
static HELD: LazyLock<Mutex<HashSet<String>>> = LazyLock::new(Mutex::default);

fn held() -> std::sync::MutexGuard<'static, HashSet<String>> {
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Holder {
    fn new() -> Result<Self, ImportError> {
        let path = Path::new("/dev/urandom");
        let mut random = [0; 16];
        fs_err::File::open(path).and_then(|mut file| file.read_exact(&mut random)).map_err(
            |error| ImportError::Record {
                place: path.display().to_string(),
                problem: error.to_string(),
            },
        )?;
        let pid = std::process::id();
        Ok(Self {
            id: to_hex(&random),
            beat: 0,
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            boot: boot(),
            space: space(),
            pid,
            start: start_of(pid).unwrap_or_default(),
            since: crate::now(),
            tool: crate::TOOL.to_owned(),
        })
    }

    fn life(&self) -> Life {
        let named = !self.boot.is_empty() && !self.space.is_empty() && !self.start.is_empty();
        if !named || self.boot != boot() || self.space != space() {
            return Life::Elsewhere;
        }
        let runs = start_of(self.pid).is_some_and(|start| start == self.start);
        let mine = self.pid == std::process::id();
        if runs && (!mine || held().contains(&self.id)) { Life::Here } else { Life::Gone }
    }

    fn describe(&self) -> String {
        let clip = |text: &str| text.chars().take(64).collect::<String>();
        format!("on host `{}`, process {}, since {}", clip(&self.host), self.pid, clip(&self.since))
    }
}

/// A file of the system in a few bytes; empty when it is not there.
fn small(path: &str) -> String {
    let mut text = String::new();
    match fs_err::File::open(path).and_then(|file| file.take(4096).read_to_string(&mut text)) {
        Ok(_) => text.trim().to_owned(),
        Err(_) => String::new(),
    }
}

fn boot() -> String {
    small("/proc/sys/kernel/random/boot_id")
}

fn space() -> String {
    fs_err::read_link("/proc/self/ns/pid")
        .map(|link| link.to_string_lossy().into_owned())
        .unwrap_or_default()
}

/// When a process started, in ticks since the boot (proc(5), field 22); `None` when it is gone.
fn start_of(pid: u32) -> Option<String> {
    let stat = small(&format!("/proc/{pid}/stat"));
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace();
    // One that nobody has waited for works no more.
    if matches!(fields.next()?, "Z" | "X" | "x") {
        return None;
    }
    fields.nth(18).map(str::to_owned)
}

/// The lease at the target.
#[derive(Debug)]
pub(crate) struct Lease {
    at: Destination,
    id: String,
    /// Cancelled when another importer took the target.
    pub(crate) lost: CancellationToken,
    renewal: JoinHandle<()>,
}

impl std::fmt::Debug for Destination {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Destination({})", self.target)
    }
}

fn tag() -> Tag {
    "lease".parse().expect("a tag")
}

async fn read(at: &Destination) -> Result<Option<Holder>, ImportError> {
    let Some(manifest) = artifact::get(at, &tag()).await? else { return Ok(None) };
    let text = manifest.annotations.get(NOTE).map(String::as_str).unwrap_or_default();
    let note: Note =
        json::parse(text.as_bytes()).map_err(|error| unusable(at, &tag(), error.to_string()))?;
    Ok(note.holder)
}

async fn write(at: &Destination, note: &Note) -> Result<format_spec::Digest, ImportError> {
    let text = serde_json::to_string(note).expect("only text keys");
    artifact::put(at, &tag(), KIND, None, &[(NOTE, text)]).await
}

impl Lease {
    /// Takes the lease, or says who has it.
    pub(crate) async fn take(at: &Destination) -> Result<Self, ImportError> {
        if let Some(holder) = read(at).await? {
            match holder.life() {
                Life::Gone => tracing::info!("taking over the lease of an import that ended"),
                Life::Here => return Err(ImportError::Busy { holder: holder.describe() }),
                Life::Elsewhere => watch(at, &holder).await?,
            }
        }
        let mut mine = Holder::new()?;
        held().insert(mine.id.clone());
        let lost = CancellationToken::new();
        let mut before = None;
        let back = match write(at, &Note { holder: Some(mine.clone()) }).await {
            Ok(written) => {
                before = Some(written);
                read(at).await
            }
            Err(error) => Err(error),
        };
        let id = mine.id.clone();
        let refusal = match back {
            Ok(Some(holder)) if holder.id == id => None,
            Ok(Some(holder)) => Some(ImportError::Busy { holder: holder.describe() }),
            Ok(None) => Some(ImportError::Lost(format!("{}/{}:lease", at.host(), at.ledger))),
            Err(error) => Some(error),
        };
        if let Some(refusal) = refusal {
            held().remove(&id);
            return Err(refusal);
        }
        let renewal = tokio::spawn({
            let (at, lost) = (at.clone(), lost.clone());
            async move {
                loop {
                    tokio::time::sleep(LEASE_BEAT).await;
                    // A registry that does not answer now is the import's to notice, not ours.
                    match read(&at).await {
                        Ok(Some(holder)) if holder.id == mine.id => {}
                        Ok(_) => return lost.cancel(),
                        Err(_) => continue,
                    }
                    mine.beat += 1;
                    if let Ok(now) = write(&at, &Note { holder: Some(mine.clone()) }).await {
                        // The next sign of life must not wait for a registry that does not delete.
                        let forget = forget(&at, before, now);
                        before = tokio::time::timeout(LEASE_RELEASE, forget).await.unwrap_or(None);
                    }
                }
            }
        });
        Ok(Self { at: at.clone(), id, lost, renewal })
    }

    /// Who has the lease now, if it is not this import.
    pub(crate) async fn holder(&self) -> Result<(), ImportError> {
        let holder = match read(&self.at).await? {
            Some(holder) if holder.id == self.id => return Ok(()),
            Some(holder) => holder.describe(),
            None => "it has ended since".to_owned(),
        };
        self.lost.cancel();
        Err(ImportError::TakenOver { holder })
    }

    /// Gives the lease back. A failure is not worth failing the import: the next one takes it over.
    pub(crate) async fn release(self) {
        self.renewal.abort();
        if self.lost.is_cancelled() {
            return;
        }
        let free = async {
            // What another import has taken meanwhile is not ours to give away.
            match read(&self.at).await? {
                Some(holder) if holder.id == self.id => {
                    write(&self.at, &Note { holder: None }).await.map(drop)
                }
                _ => Ok(()),
            }
        };
        match tokio::time::timeout(LEASE_RELEASE, free).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "cannot give the lease back"),
            Err(_) => tracing::warn!("cannot give the lease back: the target does not answer"),
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.renewal.abort();
        held().remove(&self.id);
    }
}

/// Removes the manifest of the sign of life before this one, where the registry can do that: a long
/// import would leave hundreds. Returns what is to be removed next.
async fn forget(
    at: &Destination,
    before: Option<format_spec::Digest>,
    now: format_spec::Digest,
) -> Option<format_spec::Digest> {
    let Some(before) = before else { return Some(now) };
    let reference = ManifestRef::Digest(before);
    match at.client.delete_manifest(at.host(), &at.ledger, &reference).await {
        Ok(Deleted::Unsupported) | Err(_) => None,
        Ok(Deleted::Done | Deleted::NotFound) => Some(now),
    }
}

/// Watches the lease of another host by this host's own clock. Returns when it is dead or free.
async fn watch(at: &Destination, first: &Holder) -> Result<(), ImportError> {
    let started = Instant::now();
    tracing::info!(
        holder = %first.describe(),
        "the target is leased: watching for a sign of life, at most {} s", LEASE_DEAD.as_secs()
    );
    while started.elapsed() < LEASE_DEAD {
        tokio::time::sleep(LEASE_LOOK).await;
        match read(at).await? {
            None => return Ok(()),
            Some(now) if now == *first => {}
            Some(now) => return Err(ImportError::Busy { holder: now.describe() }),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_nobody_waited_for_is_gone() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        for _ in 0..500 {
            if start_of(child.id()).is_none() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        assert_eq!(start_of(child.id()), None);
        assert!(start_of(std::process::id()).is_some());
        child.wait().unwrap();
    }

    #[test]
    fn life_of_holders() {
        let mine = Holder::new().unwrap();
        assert_eq!(mine.life(), Life::Gone, "not in the list of this process");
        held().insert(mine.id.clone());
        assert_eq!(mine.life(), Life::Here);
        held().remove(&mine.id);
        let other = Holder { boot: "x".to_owned(), ..mine.clone() };
        assert_eq!(other.life(), Life::Elsewhere);
        // A number that was given to another process since.
        assert_eq!(Holder { start: "1".to_owned(), ..mine.clone() }.life(), Life::Gone);
        assert_eq!(Holder { start: String::new(), ..mine }.life(), Life::Elsewhere);
    }

    #[tokio::test]
    async fn a_lease_that_another_took_is_not_given_away() {
        use registry::client::{Client, ClientOptions};
        use registry::reference::Target;
        use registry::server::{Server, ServerConfig};
        let data = tempfile::tempdir().unwrap();
        let any = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
        let server = Server::bind(ServerConfig::new(data.path(), any)).await.unwrap();
        let host: registry::reference::RegistryHost =
            server.local_addr().to_string().parse().unwrap();
        let stop = CancellationToken::new();
        tokio::spawn(server.run(stop.clone()));
        let options = ClientOptions {
            plain_http: vec![host.clone()],
            registries_conf: Some("/dev/null".into()),
            ..ClientOptions::default()
        };
        let target = Target { registry: host, namespace: None };
        let at = Destination::new(Client::new(options).unwrap(), target, 0).unwrap();
        let first = Lease::take(&at).await.unwrap();
        first.holder().await.unwrap();
        // The second one asked before the first one wrote.
        let second = Holder::new().unwrap();
        write(&at, &Note { holder: Some(second.clone()) }).await.unwrap();
        assert!(matches!(first.holder().await, Err(ImportError::TakenOver { .. })));
        first.release().await;
        assert_eq!(read(&at).await.unwrap(), Some(second.clone()));
        // Nor one whose loss was not noticed.
        write(&at, &Note { holder: None }).await.unwrap();
        let third = Lease::take(&at).await.unwrap();
        write(&at, &Note { holder: Some(second.clone()) }).await.unwrap();
        third.release().await;
        assert_eq!(read(&at).await.unwrap(), Some(second));
        write(&at, &Note { holder: None }).await.unwrap();
        Lease::take(&at).await.unwrap().release().await;
        assert_eq!(read(&at).await.unwrap(), None);
        stop.cancel();
    }

    #[test]
    fn one_file_lock() {
        let directory = tempfile::tempdir().unwrap();
        let first = lock_local(directory.path()).unwrap();
        assert!(matches!(lock_local(directory.path()), Err(ImportError::Busy { .. })));
        drop(first);
        assert!(lock_local(directory.path()).is_ok());
    }
}
