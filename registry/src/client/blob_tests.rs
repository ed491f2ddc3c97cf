//! Wire tests of blobs that break off, stall or are others, against a scripted server.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::pull_tests::*;
use super::testing::{Reply, Scripted, Seen, client, options};
use super::*;

/// Serves `body` by ranges, breaking every answer after `step` bytes.
fn breaking(body: Vec<u8>, step: usize, ranges: bool) -> impl Fn(&Seen) -> Reply {
    let count = AtomicUsize::new(0);
    move |seen| {
        let from: usize = seen
            .header("range")
            .strip_prefix("bytes=")
            .and_then(|range| range.strip_suffix('-'))
            .map_or(0, |from| from.parse().unwrap());
        let number = count.fetch_add(1, Ordering::SeqCst);
        let (start, reply) = if from > 0 && ranges {
            let range = format!("bytes {from}-{}/{}", body.len() - 1, body.len());
            (from, Reply::new(206).with("Content-Range", range))
        } else {
            (0, Reply::new(200))
        };
        let end = if ranges { start + step } else { step * (number + 1) };
        let end = end.min(body.len());
        reply.body(&body[start..end]).announcing((body.len() - start) as u64)
    }
}

#[tokio::test]
async fn a_broken_download_goes_on_where_it_stopped() {
    let body = content(100_000);
    let server = Scripted::start(breaking(body.clone(), 7_000, true)).await;
    let client = client(&[&server.host]);
    let digest = Digest::of(&body);
    let size = body.len() as u64;
    // More breaks than tries: progress gives the tries back.
    let stream = client.get_blob(&server.host, &repo(), &digest, size, 0).await.unwrap();
    assert_eq!(all(stream).await.unwrap(), body);
    assert_eq!(client.counters().totals().received, size, "no byte twice");
    let stream = client.get_blob(&server.host, &repo(), &digest, size, 60_000).await.unwrap();
    assert_eq!(all(stream).await.unwrap(), body[60_000..]);
    let stream = client.get_blob(&server.host, &repo(), &digest, size, size).await.unwrap();
    assert_eq!(all(stream).await.unwrap(), b"");
    let whole = client.get_blob_bytes(&server.host, &repo(), &digest, size, size).await.unwrap();
    assert_eq!(whole, body);
}

#[tokio::test]
async fn a_registry_without_ranges_starts_over_unseen() {
    let body = content(50_000);
    let server = Scripted::start(breaking(body.clone(), 20_000, false)).await;
    let client = client(&[&server.host]);
    let digest = Digest::of(&body);
    let stream = client.get_blob(&server.host, &repo(), &digest, 50_000, 0).await.unwrap();
    assert_eq!(all(stream).await.unwrap(), body);
    assert_eq!(server.seen().len(), 3);
}

#[tokio::test]
async fn a_registry_that_refuses_ranges_is_asked_for_the_whole_blob() {
    let body = content(50_000);
    let whole = breaking(body.clone(), 20_000, false);
    let server = Scripted::start(move |seen| match seen.header("range") {
        "" => whole(seen),
        _ => Reply::new(416),
    })
    .await;
    let client = client(&[&server.host]);
    let digest = Digest::of(&body);
    let stream = client.get_blob(&server.host, &repo(), &digest, 50_000, 0).await.unwrap();
    assert_eq!(all(stream).await.unwrap(), body);
    let ranges = || server.seen().iter().map(|seen| seen.header("range").to_owned()).collect();
    let seen: Vec<String> = ranges();
    assert_eq!(seen, ["", "bytes=20000-", "", ""], "it is refused once");
    // From the middle on, too.
    let stream = client.get_blob(&server.host, &repo(), &digest, 50_000, 30_000).await.unwrap();
    assert_eq!(all(stream).await.unwrap(), body[30_000..]);
}

#[tokio::test]
async fn a_range_refused_because_the_blob_is_shorter_is_damage() {
    let body = content(1000);
    let count = AtomicUsize::new(0);
    let server = Scripted::start(move |seen| {
        match (count.fetch_add(1, Ordering::SeqCst), seen.header("range")) {
            (0, _) => Reply::new(200).body(&body[..400]).announcing(1000),
            (_, "") => Reply::new(200).body(&body[..300]),
            _ => Reply::new(416).with("Content-Range", "bytes */300"),
        }
    })
    .await;
    let client = client(&[&server.host]);
    let digest = Digest::of(b"x");
    let stream = client.get_blob(&server.host, &repo(), &digest, 1000, 0).await.unwrap();
    let error = all(stream).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Damaged, "{error}");
    assert!(error.to_string().contains("expected 1000 bytes, the registry has 300"), "{error}");
    assert_eq!(server.seen().len(), 4, "the other size is asked for once more");
    // What has no range is not the range's fault.
    let server = Scripted::start(|_| Reply::new(416)).await;
    let client = testing::client(&[&server.host]);
    for (from, requests) in [(0, 1), (400, 3)] {
        let error = client.get_blob(&server.host, &repo(), &digest, 1000, from).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
        assert_eq!(server.seen().len(), requests);
    }
}

#[tokio::test]
async fn a_stalled_download_goes_on() {
    let body = content(1000);
    let count = AtomicUsize::new(0);
    let served = body.clone();
    let server = Scripted::start(move |seen| match count.fetch_add(1, Ordering::SeqCst) {
        0 => Reply::Hang(served[..400].to_vec(), 1000),
        _ => breaking(served.clone(), 1000, true)(seen),
    })
    .await;
    let client = stalling(&server, Duration::from_millis(200), 3);
    let digest = Digest::of(&body);
    let stream = client.get_blob(&server.host, &repo(), &digest, 1000, 0).await.unwrap();
    assert_eq!(all(stream).await.unwrap(), body);
    assert_eq!(server.seen()[1].header("range"), "bytes=400-");
}

/// A client with these limits.
fn stalling(server: &Scripted, stall: Duration, times: u32) -> Client {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path());
    options.plain_http = vec![server.host.clone()];
    (options.stall, options.retry.times) = (stall, times);
    Client::new(options).unwrap()
}

/// A byte now and then set the clock back for ever, and each try that brought a byte gave all tries back.
#[tokio::test]
async fn a_drip_is_a_stall_and_its_bytes_do_not_give_the_tries_back() {
    let body = content(100_000);
    let ranges = breaking(body.clone(), body.len(), true);
    let server = Scripted::start(move |seen| {
        let reply = if seen.path.contains("/blobs/") { ranges(seen) } else { manifest() };
        reply.slowly(1, Duration::from_millis(20))
    })
    .await;
    let client = stalling(&server, Duration::from_millis(300), 2);
    let digest = Digest::of(&body);
    let all_of_it = async {
        let stream = client.get_blob(&server.host, &repo(), &digest, 100_000, 0).await.unwrap();
        let blob = all(stream).await.unwrap_err();
        [blob, client.get_manifest(&server.host, &repo(), &tag("1")).await.unwrap_err()]
    };
    let errors = tokio::time::timeout(Duration::from_secs(20), all_of_it).await.unwrap();
    for error in errors {
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        let Fault::Stalled { moved, .. } = error.fault() else { panic!("{error}") };
        assert!((1..100).contains(moved), "{error}");
        assert!(error.to_string().ends_with("(tried 3 times)"), "{error}");
    }
    let lines = server.lines();
    assert_eq!(lines.iter().filter(|line| line.contains("/blobs/")).count(), 3, "{lines:?}");
    assert_eq!(lines.len(), 6, "{lines:?}");
}

/// Longer than the limit as a whole, and never near it within a window.
#[tokio::test]
async fn a_slow_line_and_a_slow_reader_are_no_stall() {
    let body = content(128 * 1024);
    let served = body.clone();
    let server = Scripted::start(move |seen| match seen.path.contains("/blobs/") {
        true => Reply::new(200).body(served.clone()).slowly(8 * 1024, Duration::from_millis(100)),
        // A small body may be slow too, if it ends.
        false => manifest().slowly(8, Duration::from_millis(50)),
    })
    .await;
    let client = stalling(&server, Duration::from_secs(1), 0);
    let (digest, size) = (Digest::of(&body), body.len() as u64);
    let found = client.get_blob_bytes(&server.host, &repo(), &digest, size, size).await.unwrap();
    assert_eq!(found, body);
    client.get_manifest(&server.host, &repo(), &tag("1")).await.unwrap();
    // The reader's own pauses do not count: each is longer than the limit.
    let mut stream = client.get_blob(&server.host, &repo(), &digest, size, 0).await.unwrap();
    let mut got = 0;
    for _ in 0..2 {
        got += stream.read(&mut [0; 8192]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1200)).await;
    }
    assert_eq!(got + all(stream).await.unwrap().len(), body.len());
}

#[tokio::test]
async fn blobs_of_another_size_or_digest_are_damaged() {
    let body = content(1000);
    let digest = Digest::of(&body);
    let page = b"<html>please log in</html>".to_vec();
    for wrong in [page, [body.clone(), vec![0]].concat()] {
        let server = Scripted::start(move |_| Reply::new(200).body(wrong.clone())).await;
        let client = client(&[&server.host]);
        let error = client.get_blob(&server.host, &repo(), &digest, 1000, 0).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Damaged, "{error}");
    }
    let mut other = body.clone();
    other[500] ^= 1;
    let server = Scripted::start(move |_| Reply::new(200).body(other.clone())).await;
    let client = client(&[&server.host]);
    let error = client.get_blob_bytes(&server.host, &repo(), &digest, 1000, 1000).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Damaged);
    let error = client.get_blob_bytes(&server.host, &repo(), &digest, 1000, 999).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Protocol);
}

#[tokio::test]
async fn an_answer_of_another_size_is_asked_for_once_more() {
    let body = content(1000);
    let (served, asked) = (body.clone(), AtomicUsize::new(0));
    let server = Scripted::start(move |_| match asked.fetch_add(1, Ordering::Relaxed) {
        0 => Reply::new(200).body(b"the answer to somebody else".to_vec()),
        _ => Reply::new(200).body(served.clone()),
    })
    .await;
    let client = client(&[&server.host]);
    let (digest, size) = (Digest::of(&body), 1000);
    let stream = client.get_blob(&server.host, &repo(), &digest, size, 0).await.unwrap();
    assert_eq!(all(stream).await.unwrap(), body);
    // A registry that means it is believed.
    let error = client.get_blob(&server.host, &repo(), &digest, 999, 0).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Damaged, "{error}");
    assert_eq!(server.seen().len(), 4);
}

#[tokio::test]
async fn a_wrong_range_is_not_taken() {
    for range in ["bytes 0-999/1000", "bytes 401-999/1000", "nonsense"] {
        let server = Scripted::start(move |_| {
            Reply::new(206).with("Content-Range", range).body(content(600))
        })
        .await;
        let client = client(&[&server.host]);
        let digest = Digest::of(b"x");
        let error = client.get_blob(&server.host, &repo(), &digest, 1000, 400).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Protocol, "{range}");
    }
}
