//! A registry that is killed while several clients push to it, over and over on the same data: what it had said was there
//! is there, whole, and nothing that can be seen is torn.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use format_spec::Digest;

use crate::support::command::{Run, bundle};
use crate::support::figures::{Figures, of};
use crate::support::image::{OCI_CONFIG, OCI_LAYER, OCI_MANIFEST};
use crate::support::server::Server;
use crate::support::wire::{Registry, request};
use crate::support::{noise, text};

const WRITERS: u64 = 7;
/// A tag that every image of a writer moves, through all rounds.
const MOVING: &str = "latest";
/// Rounds after which the whole registry is read, and not only what the round brought.
const WHOLE: usize = 25;

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
    let rounds = of(5, 200);
    let mut figures = Figures::new("kills of a registry during pushes", rounds);
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("registry");
    let seeds = AtomicU64::new(u64::from(std::process::id()) << 32);
    let moments = noise(seeds.load(Ordering::Relaxed), 2 * rounds);
    let mut writers: Vec<Told> = (0..WRITERS).map(|_| Told::default()).collect();
    let (mut blobs, mut tags, mut slowest) = (0, 0, Duration::ZERO);
    for round in 0..rounds {
        let moment = u64::from(moments[2 * round]) * 256 + u64::from(moments[2 * round + 1]);
        let moment = Duration::from_millis(50) + Duration::from_micros(moment * 10);
        figures.case(&format!("round {round}, killed after {moment:?}"), || {
            let server = Server::embedded(&data);
            let host = server.host.clone();
            std::thread::scope(|scope| {
                for (number, told) in (0..).zip(&mut writers) {
                    let (host, seeds) = (&host, &seeds);
                    scope.spawn(move || write(host, round, number, seeds, told));
                }
                std::thread::sleep(moment);
                // SIGKILL; the writers end when nobody answers.
                drop(server);
            });
            let start = Instant::now();
            let server = Server::embedded(&data);
            slowest = slowest.max(start.elapsed());
            for (number, told) in (0..).zip(&mut writers) {
                blobs += told.blobs.len();
                tags += told.tags.len();
                is_there(&server, number, told);
            }
            if round % WHOLE == WHOLE - 1 || round == rounds - 1 {
                whole(&server);
            }
        });
    }
    figures.case("nothing is left behind", || left_behind(&data));
    figures.case("fsck finds everything in order", || {
        let mut command = bundle(place.path());
        command.args(["registry", "fsck", "--data-dir", text(&data)]);
        Run::of(&mut command).ok().says("all is in order");
    });
    println!(
        "{rounds} kills: {blobs} blobs and {tags} tags acknowledged, started within {slowest:?}"
    );
    assert!(tags > 0, "the writers got nowhere");
    figures.end();
}

/// Pushes images until nobody answers.
fn write(host: &str, round: usize, writer: u64, seeds: &AtomicU64, told: &mut Told) {
    let repo = format!("kills/writer{writer}/round{round}");
    // The registry is gone: this writer is through.
    while push(host, &repo, writer, seeds.fetch_add(1, Ordering::Relaxed), told).is_ok() {}
}

/// Pushes an image: a blob of its own in one request, and one in pieces that several writers have.
fn push(host: &str, repo: &str, writer: u64, seed: u64, told: &mut Told) -> std::io::Result<()> {
    let config = noise(seed, 200);
    let length = 3_000 + usize::try_from(seed % 11).unwrap() * 17_000;
    let layer = noise(seed / (2 * WRITERS), length);
    for (blob, pieces) in [(&config, 1), (&layer, 1 + seed % 3)] {
        let digest = Digest::of(blob);
        let begun = request(host, "POST", &format!("/v2/{repo}/blobs/uploads/"), &[], b"")?;
        assert_eq!(begun.status, 202);
        let location = &begun.headers["location"];
        let step = blob.len().div_ceil(usize::try_from(pieces).unwrap());
        let mut parts = blob.chunks(step).peekable();
        while let Some(part) = parts.next() {
            let (method, path, status) = match parts.peek() {
                Some(_) => ("PATCH", location.clone(), 202),
                None => ("PUT", format!("{location}?digest={digest}"), 201),
            };
            let answer = request(host, method, &path, &[], part)?;
            assert_eq!(answer.status, status, "{method} {path}");
        }
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
        let answer = request(host, "PUT", &path, &[("Content-Type", OCI_MANIFEST)], &bytes)?;
        assert_eq!(answer.status, 201, "{path}");
        Ok::<_, std::io::Error>(())
    };
    let tag = format!("t{seed}");
    put(repo, &tag)?;
    told.tags.push((repo.to_owned(), tag, digest));
    // The same in a repository of all rounds, where one tag moves.
    let always = format!("kills/writer{writer}");
    for (_, digest) in &told.blobs[told.blobs.len() - 2..] {
        let path = format!("/v2/{always}/blobs/uploads/?mount={digest}&from={repo}");
        assert_eq!(request(host, "POST", &path, &[], b"")?.status, 201, "{path}");
    }
    told.moved.push(digest);
    put(&always, MOVING)?;
    told.last = Some(told.moved.len() - 1);
    Ok(())
}

/// What was acknowledged in this round is there; the moving tag stands for what was acknowledged last, or for what was
/// under way.
fn is_there(registry: &Registry, writer: u64, told: &mut Told) {
    for (repo, digest) in told.blobs.drain(..) {
        let bytes = registry.blob(&repo, &digest.to_string());
        let bytes = bytes.unwrap_or_else(|| panic!("acknowledged and lost: {repo} {digest}"));
        assert_eq!(Digest::of(&bytes), digest, "{repo}");
    }
    for (repo, tag, digest) in told.tags.drain(..) {
        for reference in [&tag, &digest.to_string()] {
            let bytes = registry.manifest(&repo, reference);
            let bytes = bytes.unwrap_or_else(|| panic!("acknowledged and lost: {repo}:{tag}"));
            assert_eq!(Digest::of(&bytes), digest, "{repo}:{tag}");
        }
    }
    if let Some(last) = told.last {
        let bytes = registry.manifest(&format!("kills/writer{writer}"), MOVING);
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
fn left_behind(data: &Path) {
    drop(Server::embedded(data));
    assert_eq!(fs_err::read_dir(data.join("tmp")).unwrap().count(), 0);
    let uploads = fs_err::read_dir(data.join("uploads")).unwrap().count();
    println!("{uploads} uploads wait to be continued");
    assert!(uploads <= of(5, 200) * usize::try_from(WRITERS).unwrap());
}
