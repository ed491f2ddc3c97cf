//! A registry that is killed while several clients push to it, over and over on the same data: what it had said was there
//! is there, whole, and nothing that can be seen is torn. Over a bucket it is one of several replicas, and the clients go
//! on at the others.

use std::cell::Cell;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use format_spec::Digest;

use crate::ground::Ground;
use crate::support::command::{Run, bundle};
use crate::support::figures::{Figures, of};
use crate::support::image::{OCI_CONFIG, OCI_LAYER, OCI_MANIFEST};
use crate::support::server::Server;
use crate::support::wire::{Answer, Registry, request};
use crate::support::{noise, text};

const WRITERS: u64 = 7;
/// Processes over one bucket.
const REPLICAS: usize = 3;
/// A tag that every image of a writer moves, through all rounds.
const MOVING: &str = "latest";
/// Rounds after which the whole registry is read, and not only what the round brought.
const WHOLE: usize = 25;
/// For so long the clients go on where one of several is gone.
const GOING_ON: Duration = Duration::from_millis(300);

/// What a writer was told is there.
#[derive(Default)]
struct Told {
    blobs: Vec<(String, Digest)>,
    tags: Vec<(String, String, Digest)>,
    /// What the moving tag was set to, in order, acknowledged or not; the index of the last one acknowledged.
    moved: Vec<Digest>,
    last: Option<usize>,
}

#[test]
fn registry_kills() {
    kills(&Ground::Files, "kills of a registry during pushes");
}

#[test]
fn registry_kills_over_a_bucket() {
    let Some(ground) = Ground::bucket() else { return };
    kills(&ground, "kills of replicas during pushes");
}

fn kills(ground: &Ground, name: &str) {
    let rounds = of(5, 200);
    let mut figures = Figures::new(name, rounds);
    let place = tempfile::tempdir().unwrap();
    let data = ground.data(place.path(), REPLICAS);
    let mut servers: Vec<Option<Server>> = data.iter().map(|_| None).collect();
    let seeds = AtomicU64::new(u64::from(std::process::id()) << 32);
    let moments = noise(seeds.load(Ordering::Relaxed), 2 * rounds);
    let mut writers: Vec<Told> = (0..WRITERS).map(|_| Told::default()).collect();
    let (mut blobs, mut tags, mut slowest) = (0, 0, Duration::ZERO);
    let resumed = AtomicU64::new(0);
    for round in 0..rounds {
        let moment = u64::from(moments[2 * round]) * 256 + u64::from(moments[2 * round + 1]);
        let moment = Duration::from_millis(50) + Duration::from_micros(moment * 10);
        figures.case(&format!("round {round}, killed after {moment:?}"), || {
            let hosts: Vec<String> =
                all(&data, &mut servers).into_iter().map(|server| server.host).collect();
            let ended = AtomicBool::new(false);
            std::thread::scope(|scope| {
                let mut writing = Vec::new();
                for (number, told) in (0..).zip(&mut writers) {
                    let (hosts, ended, resumed) = (&hosts[..], &ended, &resumed);
                    let turn = Cell::new(usize::try_from(number).unwrap());
                    let seeds = &seeds;
                    writing.push(scope.spawn(move || {
                        let client = Client { hosts, turn, ended, resumed };
                        write(&client, round, number, seeds, told);
                    }));
                }
                std::thread::sleep(moment);
                // SIGKILL; where it was the only one, the writers end when nobody answers.
                servers[round % data.len()] = None;
                if data.len() > 1 {
                    std::thread::sleep(GOING_ON);
                }
                ended.store(true, Ordering::Release);
                for writing in writing {
                    writing.join().unwrap_or_else(|panic| resume_unwind(panic));
                }
            });
            let start = Instant::now();
            let registries = all(&data, &mut servers);
            slowest = slowest.max(start.elapsed());
            for (number, told) in (0..).zip(&mut writers) {
                blobs += told.blobs.len();
                tags += told.tags.len();
                is_there(&registries, number, told);
            }
            if round % WHOLE == WHOLE - 1 || round == rounds - 1 {
                whole(&registries[round % data.len()]);
            }
        });
    }
    servers.clear();
    figures.case("nothing is left behind", || left_behind(ground, &data[0]));
    figures.case("fsck finds everything in order", || {
        let mut command = bundle(place.path());
        command.args(["registry", "fsck", "--data-dir", text(&data[0])]);
        Run::of(&mut command).ok().says("all is in order");
    });
    println!(
        "{rounds} kills: {blobs} blobs and {tags} tags acknowledged, started within {slowest:?}, {} uploads continued \
         elsewhere",
        resumed.into_inner()
    );
    assert!(tags > 0, "the writers got nowhere");
    figures.end();
}

/// The processes of a registry; those that do not run are started.
fn all(data: &[PathBuf], servers: &mut [Option<Server>]) -> Vec<Registry> {
    let started = data.iter().zip(servers).map(|(data, server)| {
        server.get_or_insert_with(|| Server::embedded(data)).registry.clone()
    });
    started.collect()
}

/// A client that sends each request to another replica than the one before.
struct Client<'a> {
    hosts: &'a [String],
    turn: Cell<usize>,
    ended: &'a AtomicBool,
    /// Uploads that went on at another replica than the one that was killed.
    resumed: &'a AtomicU64,
}

impl Client<'_> {
    /// Sends a request once; no answer comes from one that was killed.
    fn once(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> std::io::Result<Answer> {
        self.turn.set(self.turn.get() + 1);
        request(&self.hosts[self.turn.get() % self.hosts.len()], method, path, headers, body)
    }

    /// Sends a request that may come twice, until one of the replicas answers.
    fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> std::io::Result<Answer> {
        let mut outcome = self.once(method, path, headers, body);
        for _ in 1..self.hosts.len() {
            if outcome.is_err() {
                outcome = self.once(method, path, headers, body);
            }
        }
        outcome
    }

    /// Puts a blob into a repository, in so many requests and, where the one that was asked is gone, some more.
    fn blob(&self, repo: &str, blob: &[u8], pieces: usize) -> std::io::Result<Digest> {
        let digest = Digest::of(blob);
        let begun = self.ask("POST", &format!("/v2/{repo}/blobs/uploads/"), &[], b"")?;
        assert_eq!(begun.status, 202);
        let location = &begun.headers["location"];
        let (mut at, mut broken) = (0, false);
        loop {
            let end = (at + blob.len().div_ceil(pieces)).min(blob.len());
            let (method, path, status) = match end == blob.len() {
                false => ("PATCH", location.clone(), 202),
                true => ("PUT", format!("{location}?digest={digest}"), 201),
            };
            let range = format!("{at}-{}", end.saturating_sub(1));
            let range = [("Content-Range", range.as_str())];
            let range = if broken && at < end { &range[..] } else { &[] };
            match self.once(method, &path, range, &blob[at..end]) {
                Ok(answer) if answer.status == status => {
                    if end == blob.len() {
                        return Ok(digest);
                    }
                    at = end;
                    continue;
                }
                // The last request of the one that was killed to the S3 server has arrived since.
                Ok(answer) if broken && [404, 409, 416].contains(&answer.status) => {}
                Ok(answer) => panic!("{method} {path}: {} after {at} bytes", answer.status),
                Err(error) if self.hosts.len() == 1 => return Err(error),
                Err(_) => {
                    self.resumed.fetch_add(u64::from(!broken), Ordering::Relaxed);
                }
            }
            broken = true;
            let there = self.ask("GET", location, &[], b"")?;
            if there.status == 404 {
                // It was the last request, and only its answer is missing.
                assert_eq!(end, blob.len(), "the upload is gone after {at} bytes");
                let path = format!("/v2/{repo}/blobs/{digest}");
                assert_eq!(self.ask("HEAD", &path, &[], b"")?.status, 200, "{path}");
                return Ok(digest);
            }
            assert_eq!(there.status, 204, "{location}");
            let last: usize = there.headers["range"].strip_prefix("0-").unwrap().parse().unwrap();
            let stored = if last == 0 { 0 } else { last + 1 };
            assert!(stored >= at, "{at} bytes were acknowledged and {stored} are there");
            at = stored;
        }
    }
}

/// Pushes images until nobody answers, or for as long as is wanted.
fn write(client: &Client<'_>, round: usize, writer: u64, seeds: &AtomicU64, told: &mut Told) {
    let repo = format!("kills/writer{writer}/round{round}");
    let next = || seeds.fetch_add(1, Ordering::Relaxed);
    // The registry is gone: this writer is through.
    while push(client, &repo, writer, next(), told).is_ok() && !client.ended.load(Ordering::Acquire)
    {
    }
}

/// Pushes an image: a blob of its own in one request, and one in pieces that several writers have.
fn push(
    client: &Client<'_>,
    repo: &str,
    writer: u64,
    seed: u64,
    told: &mut Told,
) -> std::io::Result<()> {
    let config = noise(seed, 200);
    let length = 3_000 + usize::try_from(seed % 11).unwrap() * 17_000;
    let layer = noise(seed / (2 * WRITERS), length);
    for (blob, pieces) in [(&config, 1), (&layer, 1 + seed % 3)] {
        let digest = client.blob(repo, blob, usize::try_from(pieces).unwrap())?;
        told.blobs.push((repo.to_owned(), digest));
    }
    let of = |kind: &str, bytes: &[u8]| {
        let digest = Digest::of(bytes).to_string();
        serde_json::json!({ "mediaType": kind, "digest": digest, "size": bytes.len() })
    };
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": of(OCI_CONFIG, &config),
        "layers": [of(OCI_LAYER, &layer)],
    });
    let bytes = serde_json::to_vec(&manifest).unwrap();
    let digest = Digest::of(&bytes);
    let put = |repo: &str, tag: &str| {
        let path = format!("/v2/{repo}/manifests/{tag}");
        let answer = client.ask("PUT", &path, &[("Content-Type", OCI_MANIFEST)], &bytes)?;
        assert_eq!(answer.status, 201, "{path}: {}", String::from_utf8_lossy(&answer.body));
        Ok::<_, std::io::Error>(())
    };
    let tag = format!("t{seed}");
    put(repo, &tag)?;
    told.tags.push((repo.to_owned(), tag, digest));
    // The same in a repository of all rounds, where one tag moves.
    let always = format!("kills/writer{writer}");
    for (_, digest) in &told.blobs[told.blobs.len() - 2..] {
        let path = format!("/v2/{always}/blobs/uploads/?mount={digest}&from={repo}");
        assert_eq!(client.ask("POST", &path, &[], b"")?.status, 201, "{path}");
    }
    told.moved.push(digest);
    put(&always, MOVING)?;
    told.last = Some(told.moved.len() - 1);
    Ok(())
}

/// What was acknowledged in this round is there, whichever replica is asked; the moving tag stands for what was
/// acknowledged last, or for what was under way.
fn is_there(replicas: &[Registry], writer: u64, told: &mut Told) {
    let mut replicas = replicas.iter().cycle();
    let mut replica = || replicas.next().unwrap();
    for (repo, digest) in told.blobs.drain(..) {
        let bytes = replica().blob(&repo, &digest.to_string());
        let bytes = bytes.unwrap_or_else(|| panic!("acknowledged and lost: {repo} {digest}"));
        assert_eq!(Digest::of(&bytes), digest, "{repo}");
    }
    for (repo, tag, digest) in told.tags.drain(..) {
        for reference in [&tag, &digest.to_string()] {
            let bytes = replica().manifest(&repo, reference);
            let bytes = bytes.unwrap_or_else(|| panic!("acknowledged and lost: {repo}:{tag}"));
            assert_eq!(Digest::of(&bytes), digest, "{repo}:{tag}");
        }
    }
    if let Some(last) = told.last {
        let bytes = replica().manifest(&format!("kills/writer{writer}"), MOVING);
        let stands = Digest::of(&bytes.expect("the moving tag is there"));
        assert!(told.moved[last..].contains(&stands), "the tag went back: writer {writer}");
    }
}

/// Every tag resolves, and everything behind it has the digest it is named by.
fn whole(registry: &Registry) {
    for repo in registry.repositories() {
        let tags = registry.tags(&repo);
        assert!(tags.len() < 1000, "more tags than the page");
        for tag in tags {
            registry.pull(&repo, &tag);
        }
    }
}

/// Pointers that were being written are gone after a start, and of each round no more uploads are left than it had writers.
/// Over a bucket those end after a day, and then all pieces are those of blobs.
fn left_behind(ground: &Ground, data: &Path) {
    let server = Server::embedded(data);
    let uploads = || match ground {
        Ground::Files => fs_err::read_dir(data.join("uploads")).unwrap().count(),
        Ground::Bucket(gateway) => gateway.keys("uploads").len(),
    };
    println!("{} uploads wait to be continued", uploads());
    assert!(uploads() <= of(5, 200) * usize::try_from(WRITERS).unwrap());
    let Ground::Bucket(gateway) = ground else {
        assert_eq!(fs_err::read_dir(data.join("tmp")).unwrap().count(), 0);
        return;
    };
    drop(server);
    gateway.grow_old();
    let server = Server::embedded(data);
    let begun = Instant::now();
    while uploads() > 0 {
        assert!(begun.elapsed() < Duration::from_secs(60), "{} uploads never end", uploads());
        std::thread::sleep(Duration::from_millis(50));
    }
    Run::of(bundle(data).args(["registry", "gc", "--data-dir", text(data)])).ok();
    let pieces: std::collections::BTreeSet<PathBuf> =
        gateway.keys("data").iter().map(|piece| piece.parent().unwrap().to_owned()).collect();
    assert_eq!(pieces.len(), gateway.keys("blobs").len());
    whole(&server);
}
