//! `kill -9` while six writers push: what was acknowledged is there afterwards, whole.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use format_spec::Digest;
use registry::media_type::{OCI_INDEX, OCI_MANIFEST};
use registry::server::{ServerConfig, serve};
use reqwest::Client;
use tokio_util::sync::CancellationToken;

use crate::support::*;

const DATA: &str = "REGISTRY_CRASH_TEST_DATA";
const ROUNDS: u64 = 10;
const WRITERS: u64 = 6;

/// Not a test by itself: the process that is killed.
#[tokio::test]
async fn child_server() {
    let Ok(data) = std::env::var(DATA) else { return };
    let config = ServerConfig::new(data, "127.0.0.1:0".parse().unwrap());
    serve(config, CancellationToken::new(), |address| println!("listening on {address}"))
        .await
        .unwrap();
}

fn start(data: &Path) -> (Child, String) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "crash::child_server", "--nocapture"]);
    spawn(command, data).expect("the server starts")
}

fn spawn(mut command: Command, data: &Path) -> Option<(Child, String)> {
    command.env(DATA, data).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().ok()?;
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let address = lines
        .map_while(Result::ok)
        .find_map(|line| line.split_once("listening on ").map(|(_, address)| address.to_owned()))?;
    Some((child, format!("http://{address}")))
}

/// A server on a file system of its own of 8 MiB; `None` where that cannot be had.
fn start_on_a_small_disk(data: &Path, options: &str) -> Option<(Child, String)> {
    let mut command = Command::new("unshare");
    let mounted = format!(
        "mount -t tmpfs -o size=8m{options} none \"$1\" && \
         exec \"$0\" --exact crash::child_server --nocapture"
    );
    command.args(["-rm", "sh", "-c", &mounted]);
    command.arg(std::env::current_exe().unwrap()).arg(data);
    let started = spawn(command, data);
    if started.is_none() {
        println!("skipped: a small file system cannot be mounted here");
    }
    started
}

#[tokio::test]
async fn names_leave_half_of_the_reserve() {
    let reserve = (8 << 20) / 20;
    for (options, told) in
        [("", "409.5 KiB are kept in reserve"), (",nr_inodes=1200", "more files only")]
    {
        let dir = tempfile::tempdir().unwrap();
        let Some((mut child, base)) = start_on_a_small_disk(dir.path(), options) else { return };
        let client = client();
        let index = |more: &str| format!(r#"{{"schemaVersion":2,"manifests":[]{more}}}"#);
        let put = |name: &str, text: String| {
            let put = client.put(format!("{base}/v2/{name}"));
            put.header("content-type", OCI_INDEX).body(text)
        };
        // Whether it was refused, and then for this reason.
        let refused = async |request: reqwest::RequestBuilder| {
            let answer = request.send().await.unwrap();
            let status = answer.status().as_u16();
            let text = answer.text().await.unwrap();
            assert!(status == 201 || (status == 403 && text.contains(told)), "{status} {text}");
            status == 403
        };
        let blob = format!("{base}/v2/a/blobs/uploads/?digest={}", Digest::of(b"x"));
        assert!(!refused(client.post(blob).body("x")).await);
        assert!(!refused(put("a/manifests/first", index(""))).await);
        let mut tags = 0;
        while !refused(put(&format!("a/manifests/t{tags}"), index(""))).await {
            tags += 1;
            assert!(tags < 3000, "a file each");
        }
        assert!(tags > 500, "{tags}");
        if options.is_empty() {
            let figures = client.get(format!("{base}/metrics")).send().await.unwrap();
            let figures = figures.text().await.unwrap();
            let free =
                figures.lines().find_map(|line| line.strip_prefix("bundle_registry_free_bytes "));
            let free: u64 = free.unwrap().parse().unwrap();
            // A name that was allowed takes a few blocks.
            assert!(free < reserve && free + (16 << 10) >= reserve / 2, "{free}");
        }

        // Links of blobs and to subjects are no way around it.
        let subject = format!(
            r#","subject":{{"mediaType":"a/b","size":1,"digest":"{}"}}"#,
            Digest::of(b"subject")
        );
        let subject = index(&subject);
        let mount = format!("{base}/v2/b/blobs/uploads/?mount={}&from=a", Digest::of(b"x"));
        let nothing = format!("{base}/v2/b/blobs/uploads/?digest={}", Digest::of(b""));
        let attached = put(&format!("b/manifests/{}", digest(&subject)), subject);
        for request in [client.post(mount), client.post(nothing), attached] {
            assert!(refused(request).await);
        }

        // What is there can be sent again, read and removed.
        assert!(!refused(put("a/manifests/first", index(""))).await);
        let tag = format!("{base}/v2/a/manifests/t0");
        assert_eq!(client.get(&tag).send().await.unwrap().status(), 200);
        assert_eq!(client.delete(&tag).send().await.unwrap().status(), 202);
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

#[tokio::test]
async fn a_full_disk_is_told_and_survived() {
    let dir = tempfile::tempdir().unwrap();
    let Some((mut child, base)) = start_on_a_small_disk(dir.path(), "") else { return };
    let client = client();
    let push = |seed, length| {
        let data = noise(seed, length);
        let url = format!("{base}/v2/full/blobs/uploads/?digest={}", Digest::of(&data));
        client.post(url).body(data).send()
    };
    assert_eq!(push(1, 5 << 20).await.unwrap().status(), 201);
    let full = push(2, 5 << 20).await.unwrap();
    assert_eq!(full.status(), 403);
    let text = full.text().await.unwrap();
    // Of 8 MiB a twentieth is the reserve.
    assert!(text.contains("409.5 KiB are kept in reserve"), "{text}");

    // In pieces: the one that does not fit ends the upload and frees what it took.
    let begun = client.post(format!("{base}/v2/full/blobs/uploads/")).send().await.unwrap();
    let location = format!("{base}{}", field(&begun, "location"));
    let mut statuses = vec![];
    for seed in 0..5 {
        let patch = client.patch(&location).body(noise(seed, 1 << 20)).send().await.unwrap();
        statuses.push(patch.status().as_u16());
    }
    assert_eq!(statuses[0], 202);
    assert!(statuses.contains(&403), "{statuses:?}");
    assert_eq!(statuses.last(), Some(&404), "{statuses:?}");

    assert_eq!(push(3, 1 << 20).await.unwrap().status(), 201);
    for (seed, length) in [(1, 5 << 20), (3, 1 << 20)] {
        let data = noise(seed, length);
        let url = format!("{base}/v2/full/blobs/{}", Digest::of(&data));
        assert!(client.get(url).send().await.unwrap().bytes().await.unwrap() == data);
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

#[derive(Clone, Default)]
struct Acknowledged {
    blobs: Vec<(String, Digest, usize)>,
    tags: Vec<(String, String, Digest)>,
}

/// Pushes images until the server is gone; returns what it said yes to.
async fn write(client: Client, base: String, seeds: Arc<AtomicU64>, writer: u64) -> Acknowledged {
    let repository = format!("crash/w{writer}");
    let mut done = Acknowledged::default();
    loop {
        let seed = seeds.fetch_add(1, Ordering::Relaxed);
        // Two blobs of odd sizes, every other one known already in another repository.
        let config = noise(seed, 100);
        let shared = noise(seed / 12, 30_000 + usize::try_from(seed % 7).unwrap() * 50_000);
        for blob in [&config, &shared] {
            let digest = known(blob);
            let url = format!("{base}/v2/{repository}/blobs/uploads/?digest={digest}");
            match client.post(url).body(blob.clone()).send().await {
                Ok(answer) => assert_eq!(answer.status(), 201),
                Err(_) => return done,
            }
            done.blobs.push((repository.clone(), digest, blob.len()));
        }
        let text = image(&Digest::of(&config), &Digest::of(&shared), "");
        // One tag of its own, and one that moves all the time.
        for tag in [unique(seed), "latest".to_owned()] {
            let put = client.put(format!("{base}/v2/{repository}/manifests/{tag}"));
            match put.header("content-type", OCI_MANIFEST).body(text.clone()).send().await {
                Ok(answer) => assert_eq!(answer.status(), 201),
                Err(_) => return done,
            }
            done.tags.push((repository.clone(), tag, digest(&text)));
        }
    }
}

async fn verify(client: &Client, base: &str, done: &Acknowledged) {
    for (repository, digest, length) in &done.blobs {
        let url = format!("{base}/v2/{repository}/blobs/{digest}");
        let answer = client.get(url).send().await.unwrap();
        assert_eq!(answer.status(), 200, "acknowledged blob {digest} in {repository}");
        let body = answer.bytes().await.unwrap();
        assert_eq!((Digest::of(&body), body.len()), (*digest, *length));
    }
    for (repository, tag, digest) in &done.tags {
        for reference in [tag.clone(), digest.to_string()] {
            let url = format!("{base}/v2/{repository}/manifests/{reference}");
            let answer = client.get(url).send().await.unwrap();
            assert_eq!(answer.status(), 200, "acknowledged {repository}:{reference}");
            let told = field(&answer, "docker-content-digest");
            let body = answer.bytes().await.unwrap();
            assert_eq!(Digest::of(&body).to_string(), told);
            // That one moved on since.
            if reference != "latest" {
                assert_eq!(told, digest.to_string());
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let seeds = Arc::new(AtomicU64::new(1));
    let mut all = Acknowledged::default();
    for round in 0..ROUNDS {
        let (mut child, base) = start(dir.path());
        let client = client();
        let writers: Vec<_> = (0..WRITERS)
            .map(|n| tokio::spawn(write(client.clone(), base.clone(), Arc::clone(&seeds), n)))
            .collect();
        // Somewhere in the middle of things; which things differs from round to round.
        tokio::time::sleep(Duration::from_millis(300 + 97 * round)).await;
        child.kill().unwrap();
        child.wait().unwrap();
        let mut done = Acknowledged::default();
        for writer in writers {
            let one = writer.await.unwrap();
            done.blobs.extend(one.blobs);
            done.tags.extend(one.tags);
        }
        let (mut child, base) = start(dir.path());
        verify(&client, &base, &done).await;
        child.kill().unwrap();
        child.wait().unwrap();
        all.blobs.extend(done.blobs);
        all.tags.extend(done.tags);
    }
    let (mut child, base) = start(dir.path());
    verify(&client(), &base, &all).await;
    child.kill().unwrap();
    child.wait().unwrap();
    println!("{ROUNDS} kills: {} blobs, {} tags acknowledged", all.blobs.len(), all.tags.len());
    assert!(!all.tags.is_empty(), "the writers got nowhere");
    let temporary = fs_err::read_dir(dir.path().join("tmp")).unwrap().count();
    assert_eq!(temporary, 0, "left-over pointers");
}
