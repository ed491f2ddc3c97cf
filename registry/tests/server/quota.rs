//! The quota, and the reserve of free space: what does not fit is refused, and what goes away makes room.

use std::time::Duration;

use format_spec::Digest;
use registry::media_type::OCI_MANIFEST;
use registry::server::{ServerConfig, control};
use registry::size::Size;
use registry::store::{Collect, Store};
use reqwest::Response;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::*;

const KIB: u64 = 1024;

fn config(dir: &TempDir, quota: u64, reserve: u64) -> ServerConfig {
    let mut config = ServerConfig::new(dir.path(), "127.0.0.1:0".parse().unwrap());
    config.settings.storage.quota = Some(Size::new(quota));
    config.settings.storage.reserve = Some(Size::new(reserve));
    config
}

async fn within(dir: TempDir, quota: u64) -> Registry {
    let config = config(&dir, quota, 0);
    Registry::of(dir, config, client()).await
}

/// What the registry says is used; waits until it knows.
async fn used(registry: &Registry) -> u64 {
    loop {
        let status = control::ask_status(registry.dir.path()).await.unwrap();
        if let Some(used) = status.used_bytes {
            return used;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// POST of a whole blob.
async fn whole(registry: &Registry, seed: u64, length: u64) -> Response {
    let data = noise(seed, usize::try_from(length).unwrap());
    let path = format!("/v2/a/blobs/uploads/?digest={}", Digest::of(&data));
    registry.request("POST", &path).body(data).send().await.unwrap()
}

/// A body without a length.
fn chunked(seed: u64, length: u64) -> reqwest::Body {
    let data = noise(seed, usize::try_from(length).unwrap());
    let steps: Vec<_> =
        data.chunks(4096).map(|step| Ok::<_, std::io::Error>(step.to_vec())).collect();
    reqwest::Body::wrap_stream(futures_util::stream::iter(steps))
}

async fn is_full(answer: Response) {
    let status = answer.status().as_u16();
    let body: serde_json::Value = answer.json().await.unwrap();
    let error = &body["errors"][0];
    assert_eq!((status, error["code"].as_str()), (403, Some("DENIED")), "{body}");
    let text = error["message"].as_str().unwrap();
    for words in
        ["storage limit", "quota is 1.0 MiB", "are free", "bundle registry gc", "registry.toml"]
    {
        assert!(text.contains(words), "`{words}` in {text}");
    }
}

#[tokio::test]
async fn what_does_not_fit_is_refused_before_it_is_read() {
    let registry = within(tempfile::tempdir().unwrap(), 1024 * KIB).await;
    assert_eq!(whole(&registry, 1, 600 * KIB).await.status(), 201);
    assert_eq!(used(&registry).await, 600 * KIB);

    // Not a byte of the body is sent: the answer is there all the same.
    let location = registry.begin("a").await;
    let mut socket = TcpStream::connect(registry.host()).await.unwrap();
    let head = format!(
        "PATCH {location} HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: {}\r\n\r\n",
        600 * KIB
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 4096];
    let length = socket.read(&mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(&answer[..length]).into_owned();
    assert!(answer.starts_with("HTTP/1.1 403") && answer.contains("424.0 KiB"), "{answer}");
    // And the upload is gone.
    assert_eq!(registry.send("GET", &location).await.status(), 404);

    is_full(whole(&registry, 2, 600 * KIB).await).await;
    // The same again counts once; so does one that comes by other repositories.
    assert_eq!(whole(&registry, 1, 424 * KIB).await.status(), 201);
    is_full(whole(&registry, 3, 1).await).await;
    assert_eq!(used(&registry).await, 1024 * KIB);
    assert_eq!(registry.uploads().await, 0);
}

#[tokio::test]
async fn the_same_blob_counts_once() {
    let registry = within(tempfile::tempdir().unwrap(), 1024 * KIB).await;
    for _ in 0..3 {
        assert_eq!(whole(&registry, 1, 400 * KIB).await.status(), 201);
        assert_eq!(used(&registry).await, 400 * KIB);
    }
    registry.push("b", &noise(1, 400 * 1024)).await;
    let both = tokio::join!(whole(&registry, 2, 100 * KIB), whole(&registry, 2, 100 * KIB));
    assert_eq!(
        (both.0.status(), both.1.status()),
        (201.try_into().unwrap(), 201.try_into().unwrap())
    );
    assert_eq!(used(&registry).await, 500 * KIB);
}

#[tokio::test]
async fn a_body_without_a_length_ends_where_the_room_ends() {
    let registry = within(tempfile::tempdir().unwrap(), 1024 * KIB).await;
    let location = registry.begin("a").await;
    let first =
        registry.request("PATCH", &location).body(chunked(1, 500 * KIB)).send().await.unwrap();
    assert_eq!(first.status(), 202);
    // Unfinished, and it counts.
    assert_eq!(used(&registry).await, 500 * KIB);
    is_full(whole(&registry, 2, 600 * KIB).await).await;

    let second =
        registry.request("PATCH", &location).body(chunked(3, 600 * KIB)).send().await.unwrap();
    is_full(second).await;
    assert_eq!(registry.send("GET", &location).await.status(), 404);
    assert_eq!((used(&registry).await, registry.uploads().await), (0, 0));

    // Given up by its client, or with another digest: free again as well.
    let location = registry.begin("a").await;
    registry.request("PATCH", &location).body(chunked(1, 500 * KIB)).send().await.unwrap();
    assert_eq!(registry.send("DELETE", &location).await.status(), 204);
    let wrong = format!("/v2/a/blobs/uploads/?digest={}", digest("something else"));
    let wrong = registry.request("POST", &wrong).body(chunked(1, 500 * KIB)).send().await.unwrap();
    assert_eq!(wrong.status(), 400);
    assert_eq!(used(&registry).await, 0);
}

#[tokio::test]
async fn a_full_registry_takes_again_what_it_has_and_moves_its_tags() {
    let registry = within(tempfile::tempdir().unwrap(), 12 * KIB).await;
    let manifest = registry.image("a", "v1", "hello").await;
    let before = manifest.replacen('}', r#"}  "#, 1);
    assert_eq!(registry.put("a", "v2", OCI_MANIFEST, &before).await.status(), 201);
    let rest = 12 * KIB - used(&registry).await;
    assert_eq!(whole(&registry, 9, rest).await.status(), 201);
    for tag in ["v1", "v2", "v2"] {
        assert_eq!(registry.put("a", tag, OCI_MANIFEST, &manifest).await.status(), 201);
    }
    let another = manifest.replacen('}', r#"} "#, 1);
    let refused = registry.put("a", "v3", OCI_MANIFEST, &another).await;
    assert_eq!(refusal(refused).await, (403, "DENIED".into()));
    let moved = registry.send("GET", "/v2/a/manifests/v2").await;
    assert_eq!(moved.text().await.unwrap(), manifest);
}

/// One manifest may have any number of tags, and each takes a block of the disk.
#[tokio::test]
async fn tags_count_while_they_are_there() {
    let registry = within(tempfile::tempdir().unwrap(), 64 * KIB).await;
    let manifest = registry.image("a", "v0", "hello").await;
    let one = used(&registry).await;
    assert_eq!(one, 7 + stored(&manifest) + TAG);
    let mut tags = 1;
    loop {
        let answer = registry.put("a", &format!("v{tags}"), OCI_MANIFEST, &manifest).await;
        if answer.status() != 201 {
            assert_eq!(refusal(answer).await, (403, "DENIED".into()));
            break;
        }
        tags += 1;
    }
    assert_eq!((tags, used(&registry).await), (15, one + 14 * TAG));
    // A tag that goes makes room for another one, and a manifest takes all of its tags with it.
    assert_eq!(registry.send("DELETE", "/v2/a/manifests/v3").await.status(), 202);
    assert_eq!(used(&registry).await, one + 13 * TAG);
    assert_eq!(registry.put("a", "w", OCI_MANIFEST, &manifest).await.status(), 201);
    let dir = registry.stop().await;
    fs_err::remove_file(dir.path().join("usage")).unwrap();
    let registry = within(dir, 64 * KIB).await;
    assert_eq!(used(&registry).await, one + 14 * TAG);
    let path = format!("/v2/a/manifests/{}", digest(&manifest));
    assert_eq!(registry.send("DELETE", &path).await.status(), 202);
    assert_eq!(used(&registry).await, 7);
    let dir = registry.stop().await;
    let store = Store::open(dir.path()).unwrap();
    assert!(store.count(&|| true).unwrap());
    assert_eq!(store.usage().used, Some(7));
}

/// What a tag counts.
const TAG: u64 = 4 * KIB;

/// Bytes of a manifest as it is stored: behind a line with its media type.
fn stored(manifest: &str) -> u64 {
    (OCI_MANIFEST.len() + 1 + manifest.len()) as u64
}

#[tokio::test]
async fn manifests_count_while_they_are_there() {
    let registry = within(tempfile::tempdir().unwrap(), 128 * KIB).await;
    let manifest = registry.image("a", "v1", "hello").await;
    let one = used(&registry).await;
    assert_eq!(one, 7 + stored(&manifest) + TAG);
    // The same again is the same; others come until the quota is reached.
    assert_eq!(registry.put("a", "v1", OCI_MANIFEST, &manifest).await.status(), 201);
    assert_eq!(used(&registry).await, one);
    let (mut pushed, mut bytes) = (Vec::new(), one);
    for number in 1.. {
        let another = manifest.replacen('}', &format!("}}{}", " ".repeat(number * 1000)), 1);
        let answer = registry.put("a", &digest(&another).to_string(), OCI_MANIFEST, &another).await;
        if answer.status() != 201 {
            assert_eq!(refusal(answer).await, (403, "DENIED".into()));
            assert!(bytes + stored(&another) > 128 * KIB);
            break;
        }
        bytes += stored(&another);
        pushed.push(digest(&another));
    }
    assert!(pushed.len() > 5);
    assert_eq!(used(&registry).await, bytes);
    let path = format!("/v2/a/manifests/{}", pushed.pop().unwrap());
    assert_eq!(registry.send("DELETE", &path).await.status(), 202);
    let less = used(&registry).await;
    assert!(less + 5000 < bytes);

    // A count from the start finds the same, and a collection takes off what it removes.
    let dir = registry.stop().await;
    fs_err::remove_file(dir.path().join("usage")).unwrap();
    let store = Store::open(dir.path()).unwrap();
    assert!(store.count(&|| true).unwrap());
    assert_eq!(store.usage().used, Some(less));
    let how = Collect { grace: Duration::ZERO, untagged: true, dry_run: false, beside: false };
    store.collect(&how, &|| true).unwrap();
    assert_eq!(store.usage().used, Some(one));
}

#[tokio::test]
async fn parallel_uploads_stay_within_the_quota_together() {
    let registry = within(tempfile::tempdir().unwrap(), 1024 * KIB).await;
    let pushes = (0..24).map(|seed| {
        let registry = &registry;
        async move {
            let data = noise(seed, 100 * 1024);
            let path = format!("/v2/a/blobs/uploads/?digest={}", Digest::of(&data));
            let push = registry.request("POST", &path).body(chunked(seed, 100 * KIB));
            push.send().await.unwrap().status().as_u16()
        }
    });
    let statuses = futures_util::future::join_all(pushes).await;
    let stored = statuses.iter().filter(|status| **status == 201).count() as u64;
    assert!(statuses.iter().all(|status| matches!(status, 201 | 403)), "{statuses:?}");
    assert!(stored <= 10, "{statuses:?}");
    assert_eq!((used(&registry).await, registry.uploads().await), (stored * 100 * KIB, 0));
}

#[tokio::test]
async fn a_restart_keeps_the_count_and_a_crash_counts_again() {
    let registry = within(tempfile::tempdir().unwrap(), 1024 * KIB).await;
    assert_eq!(whole(&registry, 1, 600 * KIB).await.status(), 201);
    let location = registry.begin("a").await;
    registry.request("PATCH", &location).body(chunked(2, 100 * KIB)).send().await.unwrap();
    let dir = registry.stop().await;
    let file = dir.path().join("usage");
    let written = fs_err::read_to_string(&file).unwrap();
    assert!(written.ends_with(&format!("\n{}\n", 600 * KIB)), "{written}");

    let registry = within(dir, 1024 * KIB).await;
    // It is nobody's while the store is open.
    assert!(!registry.dir.path().join("usage").exists());
    assert_eq!(used(&registry).await, 700 * KIB);
    is_full(whole(&registry, 3, 400 * KIB).await).await;
    let dir = registry.stop().await;

    for text in [
        None,
        Some("nonsense"),
        Some("bundle registry usage 3\n-5\n"),
        Some("bundle registry usage 2\n5\n"),
        Some(""),
    ] {
        match text {
            None => fs_err::remove_file(&file).unwrap(),
            Some(text) => fs_err::write(&file, text).unwrap(),
        }
        // Bytes that came behind its back are found too.
        let store = Store::open(dir.path()).unwrap();
        assert_eq!(store.usage().used, None, "{text:?}");
        assert!(store.count(&|| true).unwrap());
        assert_eq!(store.usage().used, Some(700 * KIB), "{text:?}");
    }
    fs_err::remove_file(&file).unwrap();
    let registry = within(dir, 1024 * KIB).await;
    assert_eq!(used(&registry).await, 700 * KIB);
    is_full(whole(&registry, 3, 400 * KIB).await).await;
}

#[tokio::test]
async fn counting_beside_pushes_comes_out_right() {
    let registry = within(tempfile::tempdir().unwrap(), u64::from(u32::MAX)).await;
    for seed in 0..100 {
        assert_eq!(whole(&registry, seed, KIB).await.status(), 201);
    }
    let dir = registry.stop().await;
    fs_err::remove_file(dir.path().join("usage")).unwrap();
    let store = std::sync::Arc::new(Store::open(dir.path()).unwrap());
    let repository = "a".parse().unwrap();
    let counting = std::thread::spawn({
        let store = std::sync::Arc::clone(&store);
        move || {
            store.count(&|| {
                std::thread::sleep(Duration::from_micros(500));
                true
            })
        }
    });
    for seed in 100..200 {
        let data = noise(seed, 1024);
        let upload = store.begin_upload(&repository).unwrap();
        let mut appender = upload.append().await.unwrap();
        appender.write(&data).unwrap();
        store.finish_upload(&repository, appender, &Digest::of(&data)).unwrap();
    }
    assert!(counting.join().unwrap().unwrap());
    assert_eq!(store.usage().used, Some(200 * KIB));
}

#[tokio::test]
async fn deleting_and_collecting_makes_room() {
    let registry = within(tempfile::tempdir().unwrap(), 1024 * KIB).await;
    assert_eq!(whole(&registry, 1, 600 * KIB).await.status(), 201);
    let digest = Digest::of(&noise(1, 600 * 1024));
    let deleted = registry.send("DELETE", &format!("/v2/a/blobs/{digest}")).await;
    assert_eq!(deleted.status(), 202);
    is_full(whole(&registry, 2, 600 * KIB).await).await;
    let dir = registry.stop().await;
    {
        let store = Store::open(dir.path()).unwrap();
        let how = Collect { grace: Duration::ZERO, untagged: false, dry_run: true, beside: false };
        store.collect(&how, &|| true).unwrap();
        assert_eq!(store.usage().used, Some(600 * KIB));
        store.collect(&Collect { dry_run: false, ..how }, &|| true).unwrap();
        assert_eq!(store.usage().used, Some(0));
    }
    let registry = within(dir, 1024 * KIB).await;
    assert_eq!(whole(&registry, 2, 600 * KIB).await.status(), 201);
}

#[tokio::test]
async fn a_damaged_blob_that_is_moved_aside_counts_no_more() {
    let registry = within(tempfile::tempdir().unwrap(), 1024 * KIB).await;
    let digest = registry.push("a", b"good").await;
    let hex = digest.hex();
    let dir = registry.stop().await;
    fs_err::write(dir.path().join("blobs/sha256").join(&hex[..2]).join(&hex), "rotten").unwrap();
    let store = Store::open(dir.path()).unwrap();
    store.count(&|| true).unwrap();
    assert_eq!(store.usage().used, Some(6));
    assert!(store.quarantine_blob(&digest.into()).unwrap());
    assert_eq!(store.usage().used, Some(0));
}

#[tokio::test]
async fn the_reserve_stays_free_of_new_manifests_too() {
    let dir = tempfile::tempdir().unwrap();
    let registry = within(dir, 1024 * KIB).await;
    let manifest = registry.image("a", "v1", "hello").await;
    let dir = registry.stop().await;
    // More than any disk has.
    let config = config(&dir, 1 << 40, 1 << 60);
    let registry = Registry::of(dir, config, client()).await;
    let refused = whole(&registry, 1, KIB).await;
    assert_eq!(refused.status(), 403);
    let text = refused.text().await.unwrap();
    for words in
        ["DENIED", "1024.0 PiB are kept in reserve", "free on its disk", "bundle registry gc"]
    {
        assert!(text.contains(words), "`{words}` in {text}");
    }
    assert_eq!(registry.put("a", "v1", OCI_MANIFEST, &manifest).await.status(), 201);
    let another = manifest.replacen('}', r#"} "#, 1);
    // A new name is for the other half of the reserve.
    for (tag, text) in [("v2", &manifest), ("v1", &another)] {
        let refused = registry.put("a", tag, OCI_MANIFEST, text).await;
        assert_eq!(refusal(refused).await, (403, "DENIED".into()));
    }
    // Nor does a mount take of it, unless it is there.
    let blob = digest("hello");
    for (to, status) in [("a", 201), ("b", 403)] {
        let mount = format!("/v2/{to}/blobs/uploads/?mount={blob}&from=a");
        assert_eq!(registry.send("POST", &mount).await.status(), status);
    }

    let ready = registry.send("GET", "/readyz").await;
    assert_eq!(ready.status(), 503);
    let figures = registry.send("GET", "/metrics").await.text().await.unwrap();
    let used = format!("used_bytes {}", 7 + stored(&manifest) + TAG);
    for line in ["reserve_bytes 1152921504606846976", "quota_bytes 1099511627776", &used] {
        assert!(figures.contains(&format!("\nbundle_registry_{line}\n")), "{line} in {figures}");
    }
}
