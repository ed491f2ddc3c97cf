//! Pushes and pulls beside a collection of garbage that never ends and whose grace is a moment: what a client was
//! told is there is there for the grace, and what it was told is stored stays as long as its tag. Over a bucket the
//! clients are at two replicas, and these collect in turn.
//!
//! The layers come from a small pool and their tags go again soon, so that most of what a push finds is on its way
//! out.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use format_spec::Digest;
use registry::objects::Objects;
use registry::server::control::{ControlError, ask_collect};
use registry::server::period::Period;
use registry::server::{Server, ServerConfig};
use registry::store::Collected;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::ground::Ground;
use crate::support::command::{Run, bundle};
use crate::support::figures::{Figures, of};
use crate::support::image::{OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST};
use crate::support::wire::{Answer, Registry, request};
use crate::support::{noise, text};

/// Short, and long enough that a push of a few small blobs fits into it on a busy machine.
const GRACE: Duration = Duration::from_secs(2);

const PUSHERS: u64 = 6;
const REPOSITORIES: [&str; 3] = ["a", "a/b", "team/app"];

/// Layers that there are.
const POOL: u64 = 12;

/// Processes over one bucket.
const REPLICAS: usize = 2;

/// In place of the hour for which an object counts as new over a bucket.
const TOUCH: Duration = Duration::from_secs(1);

/// A registry in this process, so that the grace can be one that no file of settings may say.
struct Site {
    data: Vec<PathBuf>,
    replicas: Vec<Registry>,
    stop: CancellationToken,
    runtime: tokio::runtime::Runtime,
    running: Vec<tokio::task::JoinHandle<()>>,
}

impl Site {
    fn start(ground: &Ground, place: &Path) -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let (data, stop) = (ground.data(place, REPLICAS), CancellationToken::new());
        let (mut replicas, mut running) = (vec![], vec![]);
        for dir in &data {
            let mut config = ServerConfig::new(dir, "127.0.0.1:0".parse().unwrap());
            let grace = format!("{}s", GRACE.as_secs()).parse::<Period>().unwrap();
            config.settings.storage.grace = grace;
            let server = runtime.block_on(async {
                let Ground::Bucket(gateway) = ground else { return Server::bind(config).await };
                let settings = gateway.settings(place).objects.unwrap();
                let objects = Objects::open(&settings, dir, false).await.unwrap().touching(TOUCH);
                Server::bind_over(config, Arc::new(objects)).await
            });
            let server = server.unwrap();
            replicas.push(Registry { host: server.local_addr().to_string() });
            let ending = stop.clone();
            running.push(runtime.spawn(async move { server.run(ending).await.unwrap() }));
        }
        Self { data, replicas, stop, runtime, running }
    }

    fn end(self) {
        self.stop.cancel();
        for running in self.running {
            self.runtime.block_on(running).unwrap();
        }
    }
}

/// One who pushes; `seed` moves on with every choice.
struct Pusher {
    replicas: Vec<Registry>,
    seed: u64,
    /// When the push at work was first told that something is there.
    told: RefCell<Option<Instant>>,
}

impl Pusher {
    fn choose(&mut self, of: u64) -> u64 {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        (self.seed >> 16) % of
    }

    /// Another replica each time.
    fn registry(&mut self) -> Registry {
        let one = self.choose(self.replicas.len() as u64);
        self.replicas[usize::try_from(one).unwrap()].clone()
    }

    #[track_caller]
    fn ask(&mut self, method: &str, path: &str, kind: &str, body: &[u8]) -> Answer {
        request(&self.registry().host, method, path, &[("Content-Type", kind)], body)
            .unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    fn repository(&mut self) -> &'static str {
        REPOSITORIES[usize::try_from(self.choose(3)).unwrap()]
    }

    fn told(&self) {
        self.told.borrow_mut().get_or_insert_with(Instant::now);
    }

    /// Brings a blob as clients do: look, mount, send.
    fn blob(&mut self, repository: &str, kind: &str, bytes: &[u8]) -> Value {
        let digest = Digest::of(bytes);
        let path = format!("/v2/{repository}/blobs/{digest}");
        // Before the question: the grace begins when it is answered.
        self.told();
        let there = match self.choose(4) {
            0 => {
                let from = self.repository();
                let mount = format!("/v2/{repository}/blobs/uploads/?mount={digest}&from={from}");
                self.ask("POST", &mount, "", b"").status == 201
            }
            _ => self.ask("HEAD", &path, "", b"").status == 200,
        };
        if !there {
            assert_eq!(self.registry().put_blob(repository, bytes), digest);
        }
        json!({ "mediaType": kind, "digest": digest.to_string(), "size": bytes.len() })
    }

    fn wait(&mut self) {
        let pause = self.choose(400);
        std::thread::sleep(Duration::from_millis(pause));
    }

    fn image(&mut self, repository: &str) -> Vec<u8> {
        let own = self.choose(1_000_000);
        let config = self.blob(repository, OCI_CONFIG, format!("{{\"n\":{}}}", own % 3).as_bytes());
        let layers: Vec<Value> = (0..2)
            .map(|_| {
                let layer = 1 + self.choose(POOL);
                self.blob(repository, OCI_LAYER, &noise(layer, 4000))
            })
            .collect();
        let manifest = json!({ "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": layers,
                               "annotations": { "own": (own % 40).to_string() } });
        serde_json::to_vec(&manifest).unwrap()
    }

    /// A push that came too late says nothing about the registry.
    fn late(&self) -> bool {
        self.told.borrow().is_some_and(|told| told.elapsed() >= GRACE)
    }

    /// Whether it was stored; a refusal within the grace is a broken push.
    #[track_caller]
    fn put(&mut self, repository: &str, reference: &str, kind: &str, bytes: &[u8]) -> bool {
        let path = format!("/v2/{repository}/manifests/{reference}");
        let answer = self.ask("PUT", &path, kind, bytes);
        match answer.status {
            201 => true,
            404 if self.late() => false,
            status => panic!("{path}: {status} {}", String::from_utf8_lossy(&answer.body)),
        }
    }

    /// One push, looked at from all sides, and gone again; `false` when this machine was too slow for it.
    fn round(&mut self, number: u64) -> bool {
        *self.told.borrow_mut() = None;
        let repository = self.repository();
        let tag = format!("t{number}");
        let kind = self.choose(4);
        let stored = match kind {
            // Children by their digests, then what leads to them.
            0 => {
                let children: Option<Vec<Value>> = (0..2)
                    .map(|_| {
                        let child = self.image(repository);
                        let digest = Digest::of(&child).to_string();
                        self.put(repository, &digest, OCI_MANIFEST, &child).then(|| {
                            json!({ "mediaType": OCI_MANIFEST, "digest": digest, "size": child.len() })
                        })
                    })
                    .collect();
                let Some(children) = children else { return false };
                self.wait();
                if self.late() {
                    return false;
                }
                let index =
                    json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": children });
                let index = serde_json::to_vec(&index).unwrap();
                // An index may have gaps: one that came too late is taken all the same.
                self.put(repository, &tag, OCI_INDEX, &index) && !self.late()
            }
            // What is there by its digest gets a tag, without a look at what it names.
            1 => {
                let image = self.image(repository);
                let digest = Digest::of(&image).to_string();
                if !self.put(repository, &digest, OCI_MANIFEST, &image) {
                    return false;
                }
                std::thread::sleep(GRACE / 2);
                *self.told.borrow_mut() = None;
                self.told();
                let Some(found) = self.registry().manifest(repository, &digest) else {
                    return true;
                };
                self.wait();
                self.put(repository, &tag, OCI_MANIFEST, &found)
            }
            _ => {
                let image = self.image(repository);
                self.wait();
                self.put(repository, &tag, OCI_MANIFEST, &image)
            }
        };
        if !stored {
            return false;
        }
        self.registry().pull(repository, &tag);
        if self.choose(3) == 0 {
            std::thread::sleep(GRACE + GRACE / 4);
            self.registry().pull(repository, &tag);
        }
        // The tag alone: others may have the same manifest under theirs.
        self.registry().delete(repository, "manifests", &tag);
        true
    }
}

/// Has it collect until it is told to end; the sum of everything that went.
fn collect(site: &Site, ended: &AtomicBool) -> (u64, Collected) {
    let mut all = Collected::default();
    let mut times = 0;
    for dir in site.data.iter().cycle() {
        if ended.load(Ordering::Acquire) {
            break;
        }
        match site.runtime.block_on(ask_collect(dir, None, true, false)) {
            Ok(done) => {
                assert!(done.complete && done.unreadable.is_empty(), "{done:?}");
                times += 1;
                all.blobs.removed += done.blobs.removed;
                all.links.removed += done.links.removed;
                all.manifests.removed += done.manifests.removed;
            }
            // It has only just started.
            Err(ControlError::Refused(_)) if times == 0 => {
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(error) => panic!("{error}"),
        }
    }
    (times, all)
}

#[test]
fn garbage_beside_pushes_and_pulls() {
    beside(&Ground::Files, "garbage beside pushes and pulls", of(5, 1000));
}

#[test]
fn garbage_beside_pushes_and_pulls_over_a_bucket() {
    let Some(ground) = Ground::bucket() else { return };
    beside(&ground, "garbage of a bucket beside pushes and pulls", of(5, 500));
}

fn beside(ground: &Ground, name: &str, asked: usize) {
    let time = Duration::from_secs(of(8, 600) as u64);
    let mut figures = Figures::new(name, asked);
    let place = tempfile::tempdir().unwrap();
    let site = Site::start(ground, place.path());
    let ended = AtomicBool::new(false);
    let begun = Instant::now();
    let (times, went) = std::thread::scope(|scope| {
        let collecting = scope.spawn(|| collect(&site, &ended));
        let pushers: Vec<_> = (1..=PUSHERS)
            .map(|pusher| {
                let replicas = site.replicas.clone();
                scope.spawn(move || {
                    let seed = pusher.wrapping_mul(0x9E37_79B9_7F4A_7C15);
                    let mut one = Pusher { replicas, seed, told: RefCell::default() };
                    let mut figures = Figures::new("", 0);
                    for round in 0.. {
                        if begun.elapsed() >= time {
                            break;
                        }
                        let number = pusher * 1_000_000 + round;
                        let mut late = false;
                        figures.case(&format!("push {number}"), || late = !one.round(number));
                        if late {
                            figures.missed();
                        }
                    }
                    figures
                })
            })
            .collect();
        for pusher in pushers {
            figures.add(pusher.join().unwrap());
        }
        ended.store(true, Ordering::Release);
        collecting.join().unwrap()
    });
    println!(
        "{times} collections: {} blobs, {} links, {} manifests",
        went.blobs.removed, went.links.removed, went.manifests.removed
    );
    let data = site.data[0].clone();
    site.end();
    figures.case("fsck finds everything in order", || {
        let mut command = bundle(place.path());
        command.args(["registry", "fsck", "--data-dir", text(&data)]);
        Run::of(&mut command).ok().says("all is in order");
    });
    // Otherwise nothing was proven.
    assert!(times > 2 && went.links.removed > 0 && went.manifests.removed > 0, "{went:?}");
    figures.end();
}
