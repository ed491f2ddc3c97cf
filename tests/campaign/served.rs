//! A registry whose power goes while it is pushed to: what it said was there is there, and the rest can be pushed again.

use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use format_spec::Digest;

use crate::power::distinct;
use crate::support::command::{Process, bundle};
use crate::support::crash::{killing, points_while};
use crate::support::figures::{Figures, of};
use crate::support::image::{OCI_CONFIG, OCI_LAYER, OCI_MANIFEST};
use crate::support::loss::Loss;
use crate::support::power::Disk;
use crate::support::server::Server;
use crate::support::wire::{Registry, request};
use crate::support::{free_port, noise, strace, text};

const CLIENTS: u64 = 3;
const IMAGES: u64 = 2;
/// What is modelled of a directory.
const DATA: &[&str] = &["registry"];

#[test]
fn power_loss_of_a_registry() {
    strace::needed();
    let moments = of(8, 150);
    let mut figures = Figures::new("power loss of a registry", of(30, 800));
    let all = all_points();
    for point in (0..moments).map(|number| 1 + (2 * number + 1) * all / (2 * moments)) {
        let place = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let mut cut = None;
        figures.case(&format!("the disk of a registry as it is at point {point}"), || {
            cut = Some(serve_until(place.path(), point));
        });
        let Some((disk, told)) = cut else { continue };
        for (loss, state) in distinct(&disk, &Loss::all(point as u64, of(1, 3) as u64)) {
            figures.case(&format!("a registry without power at point {point}: {loss:?}"), || {
                disk.put(&state);
                opens_again(place.path(), &told);
            });
        }
    }
    figures.end();
}

/// How many points a registry passes until everything was pushed to it.
fn all_points() -> usize {
    let place = tempfile::tempdir().unwrap();
    let host = format!("127.0.0.1:{}", free_port());
    points_while(&mut serve(place.path(), &host), |command| {
        let mut child = Process(command.stdout(Stdio::null()).spawn().unwrap());
        assert_eq!(push(&host).len(), push_sizes());
        let process = rustix::process::Pid::from_child(&child.0);
        rustix::process::kill_process(process, rustix::process::Signal::TERM).unwrap();
        child.0.wait().unwrap();
    })
}

/// Pushes to a registry that ends at a point, or after everything. Returns its disk, and what it had said was there.
fn serve_until(place: &Path, point: usize) -> (Disk, Vec<Told>) {
    let mut disk = Disk::load(place, DATA);
    let host = format!("127.0.0.1:{}", free_port());
    let (record, told) = strace::run_while(&serve(place, &host), &killing(point), || push(&host));
    disk.follow(&record, place);
    (disk, told)
}

/// After a loss of power a registry has what it had said, whole, and takes the rest.
fn opens_again(place: &Path, told: &[Told]) {
    let server = Server::embedded(&place.join("registry"));
    for told in told {
        told.is_there(&server);
    }
    let all = push(&server.host);
    assert_eq!(all.len(), push_sizes());
    for told in &all {
        told.is_there(&server);
    }
    for repo in server.repositories() {
        for tag in server.tags(&repo) {
            server.pull(&repo, &tag);
        }
    }
}

fn serve(place: &Path, host: &str) -> Command {
    let data = place.join("registry");
    let mut command = bundle(place);
    command.args(["registry", "serve", "--http", "--data", text(&data), "--listen", host]);
    command
}

/// What a client was told is there.
#[derive(Clone, Debug)]
enum Told {
    Blob { repo: String, digest: Digest },
    Manifest { repo: String, digest: Digest },
}

impl Told {
    #[track_caller]
    fn is_there(&self, registry: &Registry) {
        match self {
            Self::Blob { repo, digest } => {
                let bytes = registry.blob(repo, &digest.to_string());
                let bytes = bytes.unwrap_or_else(|| panic!("it had said it had {self:?}"));
                assert_eq!(Digest::of(&bytes), *digest, "{self:?}");
            }
            Self::Manifest { repo, digest } => {
                let bytes = registry.manifest(repo, "1");
                let bytes = bytes.unwrap_or_else(|| panic!("it had said it had {self:?}"));
                assert_eq!(Digest::of(&bytes), *digest, "{self:?}");
                registry.pull(repo, "1");
            }
        }
    }
}

/// How much is told when everything was pushed.
fn push_sizes() -> usize {
    usize::try_from(CLIENTS * IMAGES * 4).unwrap()
}

/// Several clients push images at a time, of which each has a layer of its own and one that all have. Returns what the
/// registry said was there before it was gone.
fn push(host: &str) -> Vec<Told> {
    for _ in 0..100 {
        if TcpStream::connect(host).is_ok() {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let clients: Vec<Vec<Told>> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                scope.spawn(move || {
                    let mut told = Vec::new();
                    // The registry is gone: this client is through.
                    let _ = (0..IMAGES)
                        .try_for_each(|image| push_image(host, client, image, &mut told));
                    told
                })
            })
            .collect();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    clients.concat()
}

/// Pushes an image as clients do: a blob in two requests, or mounted from where it was pushed before.
fn push_image(host: &str, client: u64, image: u64, told: &mut Vec<Told>) -> std::io::Result<()> {
    let repo = format!("client{client}/image{image}");
    let (common, own) = (noise(1, 3_000), noise(100 + client * 10 + image, 5_000));
    for bytes in [&common[..], &own, b"{}"] {
        let digest = Digest::of(bytes);
        let from = format!("mount={digest}&from=client{client}/image0");
        let query = if image > 0 && bytes == common { &from } else { "" };
        let path = format!("/v2/{repo}/blobs/uploads/?{query}");
        let begun = request(host, "POST", &path, &[], b"")?;
        if begun.status != 201 {
            assert_eq!(begun.status, 202, "{path}");
            let path = format!("{}?digest={digest}", begun.headers["location"]);
            let end = request(host, "PUT", &path, &[], bytes)?;
            assert_eq!(end.status, 201, "{path}");
        }
        told.push(Told::Blob { repo: repo.clone(), digest });
    }
    let of = |media_type: &str, bytes: &[u8]| {
        let digest = Digest::of(bytes).to_string();
        serde_json::json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() })
    };
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": of(OCI_CONFIG, b"{}"),
        "layers": [of(OCI_LAYER, &common), of(OCI_LAYER, &own)],
    });
    let bytes = serde_json::to_vec(&manifest).unwrap();
    let path = format!("/v2/{repo}/manifests/1");
    let end = request(host, "PUT", &path, &[("Content-Type", OCI_MANIFEST)], &bytes)?;
    assert_eq!(end.status, 201, "{path}");
    told.push(Told::Manifest { repo, digest: Digest::of(&bytes) });
    Ok(())
}
