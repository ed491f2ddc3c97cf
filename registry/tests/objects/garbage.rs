//! Garbage collection beside replicas: over HTTP, over a real S3 server, and by a process that is killed.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use format_spec::Digest;
use futures_util::future::join_all;
use object_store::ObjectStore;
use object_store::memory::InMemory;
use registry::media_type::OCI_MANIFEST;
use registry::objects::Objects;
use registry::progress::Progress;
use registry::server::Settings;
use registry::server::control::ask_collect;
use registry::store::check::{Check, Report, Slice};
use registry::store::{Collect, Collected};
use tokio_util::sync::CancellationToken;

use crate::gateway::replica;
use crate::s3::Gateway;
use crate::support::*;

const CHILD: &str = "REGISTRY_COLLECTING_CHILD";

const DAY: Collect =
    Collect { grace: Duration::from_secs(24 * 3600), untagged: true, dry_run: false, beside: true };

/// The bucket of a real server, as a command beside its replicas opens it.
async fn beside(dir: &Path) -> Arc<Objects> {
    let settings = Settings::load(dir).unwrap().unwrap().objects.unwrap();
    Arc::new(Objects::open_beside(&settings, dir, false).await.unwrap())
}

async fn collect(objects: &Arc<Objects>) -> Collected {
    objects.collect(&DAY, &CancellationToken::new()).await.unwrap()
}

async fn check(objects: &Arc<Objects>) -> Report {
    let (progress, cancel) = (&Progress::default(), &CancellationToken::new());
    let read = Some(Slice::WHOLE);
    let how = Check { read, from: None, rate: None, progress, cancel, keep: &|_| {} };
    objects.check(&how).await.unwrap()
}

/// Four clients at two replicas push, pull and delete while a third process collects what is two seconds old. Whatever
/// was taken is whole until it is deleted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pushes_and_pulls_beside_collections() {
    let bucket: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let open = || async {
        Objects::over(Arc::clone(&bucket), PREFIX, false).await.unwrap().touching(Duration::ZERO)
    };
    let replicas =
        [Registry::over_objects(open().await).await, Registry::over_objects(open().await).await];
    let stop = CancellationToken::new();
    let collecting = tokio::spawn({
        let (objects, stop) = (Arc::new(open().await), stop.clone());
        async move {
            let (mut runs, mut removed) = (0, 0);
            while !stop.is_cancelled() {
                let how = Collect { grace: Duration::ZERO, ..DAY };
                let done = objects.collect(&how, &CancellationToken::new()).await.unwrap();
                (runs, removed) = (runs + 1, removed + done.blobs.removed);
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            (runs, removed)
        }
    });
    let again = AtomicU64::new(0);
    join_all((0..4_u64).map(|n| {
        let (replicas, again) = (&replicas, &again);
        async move {
            let repository = format!("r{}", n % 2);
            for round in 0..3 {
                let (data, note) =
                    (noise(round, 50_000), format!(r#","annotations":{{"n":"{n}-{round}"}}"#));
                let at = |step: u64| &replicas[usize::try_from((n + step) % 2).unwrap()];
                let text = loop {
                    let config = at(0).push(&repository, b"{}").await;
                    let layer = at(1).push(&repository, &data).await;
                    let text = image(&config, &layer, &note);
                    let put = at(2).put(&repository, &format!("t{n}"), OCI_MANIFEST, &text).await;
                    match put.status().as_u16() {
                        201 => break text,
                        // A collection was faster than two seconds ago: the client sends it again.
                        404 | 503 => again.fetch_add(1, Ordering::Relaxed),
                        other => panic!("{other}"),
                    };
                };
                for step in 0..20 {
                    let by_tag = format!("/v2/{repository}/manifests/t{n}");
                    assert_eq!(at(step).send("GET", &by_tag).await.text().await.unwrap(), text);
                    let layer = format!("/v2/{repository}/blobs/{}", Digest::of(&data));
                    let got = at(step).send("GET", &layer).await;
                    assert!(got.status() == 200 && got.bytes().await.unwrap() == data);
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                let path = format!("/v2/{repository}/manifests/{}", digest(&text));
                assert_eq!(at(3).send("DELETE", &path).await.status(), 202);
                tokio::time::sleep(Duration::from_millis(500 * (n + 1))).await;
            }
        }
    }))
    .await;
    stop.cancel();
    let (runs, removed) = collecting.await.unwrap();
    let again = again.into_inner();
    println!("{runs} collections took {removed} blobs; {again} manifests were sent again");
    assert!(runs > 10);
    // When all are through, all of it goes.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let objects = Arc::new(open().await);
    let how = Collect { grace: Duration::ZERO, ..DAY };
    let done = objects.collect(&how, &CancellationToken::new()).await.unwrap();
    assert_eq!((done.blobs.kept_bytes, done.manifests.kept_bytes), (0, 0), "{done:?}");
    assert!(removed + done.blobs.removed > 0);
}

#[tokio::test]
async fn garbage_of_a_real_server_goes_and_its_check_is_clean() {
    let Some(gateway) = Gateway::start() else { return };
    let (one, two) = tokio::join!(replica(&gateway), replica(&gateway));
    let text = one.image("a/b", "v1", "layer").await;
    let data = noise(1, 20 << 20);
    let lost = two.push("a/b", &data).await;
    let open = one.begin("c").await;
    let data_dir = one.dir.path().join("data");
    fs_err::write(data_dir.join("registry.toml"), gateway.settings(one.dir.path()).to_text())
        .unwrap();
    let objects = beside(&data_dir).await;
    let report = check(&objects).await;
    assert!(report.is_clean(), "{report:#?}");
    assert_eq!((report.blobs, report.bytes_read), (3, 7 + data.len() as u64));
    gateway.grow_old();
    let dry = ask_collect(&data_dir, None, false, true).await.unwrap();
    assert_eq!((dry.blobs.removed, dry.blobs.removed_bytes), (1, data.len() as u64));
    assert_eq!(two.send("HEAD", &format!("/v2/a/b/blobs/{lost}")).await.status(), 200);
    // That look has kept it.
    let done = ask_collect(&data_dir, None, false, false).await.unwrap();
    assert_eq!((done.blobs.removed, done.links.kept.young), (0, 1));
    gateway.grow_old();
    let done = ask_collect(&data_dir, None, false, false).await.unwrap();
    assert_eq!((done.blobs.removed, done.blobs.removed_bytes), (1, data.len() as u64));
    assert_eq!(done.blobs.kept_bytes, 7);
    assert_eq!(two.send("HEAD", &format!("/v2/a/b/blobs/{lost}")).await.status(), 404);
    assert_eq!(two.send("GET", "/v2/a/b/manifests/v1").await.text().await.unwrap(), text);
    assert_eq!(one.send("GET", &open).await.status(), 204);
    assert!(check(&objects).await.is_clean());
    one.push("a/b", &data).await;
    assert_eq!(two.send("HEAD", &format!("/v2/a/b/blobs/{lost}")).await.status(), 200);
}

/// Not a test by itself: the collection that is killed.
#[tokio::test]
async fn child_collection() {
    let Ok(dir) = std::env::var(CHILD) else { return };
    client();
    collect(&beside(Path::new(&dir)).await).await;
}

#[tokio::test]
async fn a_collection_killed_with_9_loses_nothing_and_the_next_goes_on() {
    let Some(gateway) = Gateway::start() else { return };
    let registry = replica(&gateway).await;
    let text = registry.image("kept", "v1", "layer").await;
    let dir = tempfile::tempdir().unwrap();
    let data_dir = dir.path().join("data");
    fs_err::create_dir(&data_dir).unwrap();
    fs_err::write(data_dir.join("registry.toml"), gateway.settings(dir.path()).to_text()).unwrap();
    let objects = beside(&data_dir).await;
    let mut unfinished = 0;
    for round in 0..5_u64 {
        let blobs = (0..30).map(|n| noise(100 * round + n, 20_000)).collect::<Vec<_>>();
        for data in &blobs {
            let config = registry.push("lost", b"{}").await;
            let blob = registry.push("lost", data).await;
            let text = image(&config, &blob, "");
            let reference = digest(&text).to_string();
            assert_eq!(registry.put("lost", &reference, OCI_MANIFEST, &text).await.status(), 201);
        }
        gateway.grow_old();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "garbage::child_collection", "--nocapture"])
            .env(CHILD, &data_dir)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Somewhere in the middle.
        tokio::time::sleep(Duration::from_millis(80 + 90 * round)).await;
        unfinished += u32::from(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(registry.send("GET", "/v2/kept/manifests/v1").await.text().await.unwrap(), text);
        // A quarter of an hour later a push writes over what was left half gone; until then it is told to come back.
        gateway.grow_old();
        // And nothing of that is shown.
        let report = check(&objects).await;
        assert!(report.is_clean(), "{report:#?}");
    }
    println!("{unfinished} of 5 collections were killed before their end");
    gateway.grow_old();
    collect(&objects).await;
    let done = collect(&objects).await;
    assert_eq!((done.blobs.removed, done.leftovers, done.blobs.kept.named), (0, 0, 2), "{done:?}");
    assert_eq!(done.blobs.kept_bytes, 7);
    assert!(check(&objects).await.is_clean());
    // What was gone can come again.
    registry.push("lost", &noise(0, 20_000)).await;
}
