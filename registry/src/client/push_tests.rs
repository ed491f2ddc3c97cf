//! Wire tests of pushes, against a scripted registry that keeps uploads and misbehaves on demand.

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use format_spec::{Digest, Repository};
use futures_util::Stream;

use super::testing::{Reply, Scripted, Seen, client, options};
use super::*;

pub(super) fn repo() -> Repository {
    "team/app".parse().unwrap()
}

pub(super) fn content(length: usize) -> Bytes {
    (0..length).map(|n| u8::try_from(n * 11 % 253).unwrap()).collect()
}

/// One upload at a time, kept as a registry keeps it.
#[derive(Clone, Default)]
pub(super) struct Uploads {
    pub(super) held: Arc<Mutex<Vec<u8>>>,
    done: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Uploads {
    /// Follows the specification.
    pub(super) fn serve(&self, seen: &Seen) -> Reply {
        let mut held = self.held.lock().unwrap();
        let location = format!("{}?state={}", "/v2/team/app/blobs/uploads/u1", held.len());
        let path = seen.path.split('?').next().unwrap_or_default();
        match (&*seen.method, path, &seen.body) {
            ("POST", "/v2/team/app/blobs/uploads/", _) => {
                held.clear();
                let location = "/v2/team/app/blobs/uploads/u1?state=0";
                Reply::new(202).with("Location", location)
            }
            ("PATCH" | "PUT", _, None) => Reply::ReadBody,
            ("PATCH", _, Some(body)) => {
                let range = format!("{}-{}", held.len(), (held.len() + body.len()).max(1) - 1);
                if seen.header("content-range") != range {
                    return Reply::new(416);
                }
                held.extend(body);
                let location = format!("/v2/team/app/blobs/uploads/u1?state={}", held.len());
                Reply::new(202)
                    .with("Location", location)
                    .with("Range", format!("0-{}", held.len() - 1))
            }
            ("PUT", _, Some(body)) => {
                held.extend(body);
                let digest = Digest::of(&held).to_string();
                if !seen.path.ends_with(&format!("&digest={digest}")) {
                    return Reply::new(400)
                        .body(r#"{"errors":[{"code":"DIGEST_INVALID","message":"no"}]}"#);
                }
                self.done.lock().unwrap().push(std::mem::take(&mut held));
                Reply::new(201)
            }
            ("GET", _, _) => {
                let reply = Reply::new(204).with("Location", location);
                if held.is_empty() {
                    reply
                } else {
                    reply.with("Range", format!("0-{}", held.len() - 1))
                }
            }
            ("DELETE", _, _) => Reply::new(204),
            _ => Reply::new(404),
        }
    }

    pub(super) fn blobs(&self) -> Vec<Vec<u8>> {
        self.done.lock().unwrap().clone()
    }
}

fn methods(server: &Scripted) -> Vec<String> {
    server.seen().into_iter().map(|seen| seen.method).collect()
}

/// Without HEAD: small bodies are in the socket's buffer before the break is noticed, so whether the
/// client asks for a lost answer depends on the moment.
pub(super) fn steps(server: &Scripted) -> Vec<String> {
    methods(server).into_iter().filter(|method| method != "HEAD").collect()
}

pub(super) async fn push(
    client: &Client,
    server: &Scripted,
    body: &Bytes,
) -> Result<Pushed, ClientError> {
    let source: Arc<dyn BlobSource> = Arc::new(body.clone());
    let digest = Digest::of(body);
    client.push_blob(&server.host, &repo(), &digest, body.len() as u64, source, None).await
}

#[tokio::test]
async fn one_request_carries_the_whole_blob() {
    let uploads = Uploads::default();
    let serving = uploads.clone();
    let server = Scripted::start(move |seen| serving.serve(seen)).await;
    let client = client(&[&server.host]);
    for body in [content(3_000_000), content(0), content(1)] {
        assert_eq!(push(&client, &server, &body).await.unwrap(), Pushed::Uploaded);
        assert_eq!(uploads.blobs().last().unwrap(), &body.to_vec());
    }
    assert_eq!(methods(&server), ["POST", "PUT", "POST", "PUT", "POST", "PUT"]);
    assert_eq!(server.seen()[0].header("content-length"), "0");
    assert_eq!(server.seen()[1].header("content-length"), "3000000");
    assert_eq!(client.counters().totals().sent, 3_000_001);
}

#[tokio::test]
async fn mounts_send_nothing_and_a_declined_mount_uses_its_upload() {
    let uploads = Uploads::default();
    let serving = uploads.clone();
    let server = Scripted::start(move |seen| {
        if seen.path.contains("from=base%2Fyes") {
            return Reply::new(201).with("Location", "/v2/team/app/blobs/x");
        }
        if seen.path.contains("from=base%2Fdenied") {
            return Reply::new(403);
        }
        serving.serve(seen)
    })
    .await;
    let client = client(&[&server.host]);
    let body = content(1000);
    let digest = Digest::of(&body);
    for (from, expected) in [
        ("base/yes", Pushed::Mounted),
        ("base/no", Pushed::Uploaded),
        ("base/denied", Pushed::Uploaded),
    ] {
        let source: Arc<dyn BlobSource> = Arc::new(body.clone());
        let from: Repository = from.parse().unwrap();
        let pushed =
            client.push_blob(&server.host, &repo(), &digest, 1000, source, Some(&from)).await;
        assert_eq!(pushed.unwrap(), expected, "{from}");
    }
    // mounted: POST; declined: POST, PUT; refused: POST, POST, PUT.
    assert_eq!(methods(&server), ["POST", "POST", "PUT", "POST", "POST", "PUT"]);
    assert_eq!(uploads.blobs().len(), 2);
}

#[tokio::test]
async fn chunks_follow_a_413_and_are_remembered() {
    let uploads = Uploads::default();
    let serving = uploads.clone();
    let server = Scripted::start(move |seen| {
        let length: usize = seen.header("content-length").parse().unwrap_or(0);
        if length > 1024 * 1024 { Reply::new(413) } else { serving.serve(seen) }
    })
    .await;
    let client = client(&[&server.host]);
    let body = content(2_500_000);
    push(&client, &server, &body).await.unwrap();
    assert_eq!(uploads.blobs(), [body.to_vec()]);
    let first = methods(&server).len();
    push(&client, &server, &body).await.unwrap();
    assert_eq!(methods(&server)[first..], ["POST", "PATCH", "PATCH", "PATCH", "PUT"]);
    assert_eq!(uploads.blobs().len(), 2);
}

#[tokio::test]
async fn one_patch_follows_a_refused_put_and_chunks_follow_that() {
    for (refuse, expected) in [
        ("PUT", vec!["POST", "PATCH", "PUT"]),
        ("PUT PATCH", vec!["POST", "PATCH", "PATCH", "PUT"]),
    ] {
        let uploads = Uploads::default();
        let serving = uploads.clone();
        let server = Scripted::start(move |seen| {
            let length: usize = seen.header("content-length").parse().unwrap_or(0);
            let large = length > 4 * 1024 * 1024;
            if refuse.contains(&seen.method) && large {
                Reply::new(400)
            } else {
                serving.serve(seen)
            }
        })
        .await;
        let client = client(&[&server.host]);
        let body = content(5_000_000);
        push(&client, &server, &body).await.unwrap();
        let first = methods(&server).len();
        push(&client, &server, &body).await.unwrap();
        assert_eq!(methods(&server)[first..], expected, "{refuse}");
        assert_eq!(uploads.blobs().len(), 2);
    }
}

#[tokio::test]
async fn the_registrys_smallest_chunk_is_honoured() {
    let uploads = Uploads::default();
    let serving = uploads.clone();
    let server = Scripted::start(move |seen| {
        let length: usize = seen.header("content-length").parse().unwrap_or(0);
        let smallest = 5_000_000;
        if seen.method == "PUT" && length > 0 {
            return Reply::new(413);
        }
        let reply = serving.serve(seen);
        if seen.method == "POST" { reply.with("OCI-Chunk-Min-Length", smallest) } else { reply }
    })
    .await;
    let client = client(&[&server.host]);
    push(&client, &server, &content(12_000_000)).await.unwrap();
    let sizes: Vec<_> = server
        .seen()
        .into_iter()
        .filter(|seen| seen.method == "PATCH")
        .map(|seen| seen.header("content-length").to_owned())
        .collect();
    assert_eq!(sizes, ["5000000", "5000000", "2000000"]);
}

#[tokio::test]
async fn a_registry_that_takes_nothing_ends_the_push() {
    let server = Scripted::start(|seen| match &*seen.method {
        "POST" => Reply::new(202).with("Location", "/u"),
        _ => Reply::new(413),
    })
    .await;
    let client = client(&[&server.host]);
    let error = push(&client, &server, &content(100)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(methods(&server).len() < 30);
}

#[tokio::test]
async fn a_proxy_that_cuts_large_bodies_gets_small_ones() {
    let uploads = Uploads::default();
    let serving = uploads.clone();
    let server = Scripted::start(move |seen| {
        let length: usize = seen.header("content-length").parse().unwrap_or(0);
        if length > 4 * 1024 * 1024 { Reply::CutAfter(2_000_000) } else { serving.serve(seen) }
    })
    .await;
    let client = client(&[&server.host]);
    let body = content(9_000_000);
    push(&client, &server, &body).await.unwrap();
    assert_eq!(uploads.blobs(), [body.to_vec()]);
}

#[tokio::test]
async fn a_lost_answer_is_not_a_lost_blob() {
    let uploads = Uploads::default();
    let serving = uploads.clone();
    let server = Scripted::start(move |seen| match (&*seen.method, &seen.body) {
        ("PUT", Some(_)) => {
            serving.serve(seen);
            Reply::CutAfter(0)
        }
        ("HEAD", _) => Reply::new(200).announcing(4000),
        _ => serving.serve(seen),
    })
    .await;
    let client = client(&[&server.host]);
    push(&client, &server, &content(4000)).await.unwrap();
    assert_eq!(methods(&server), ["POST", "PUT", "HEAD"]);
    assert_eq!(uploads.blobs().len(), 1);
}

#[tokio::test]
async fn a_token_that_ends_during_an_upload_is_replaced() {
    let uploads = Uploads::default();
    let serving = uploads.clone();
    let puts = AtomicUsize::new(0);
    let server = Scripted::start_with(true, move |seen| {
        if seen.path.starts_with("/token") {
            let number = puts.load(Ordering::SeqCst);
            return Reply::new(200).body(format!(r#"{{"token":"t{number}"}}"#));
        }
        if seen.method == "PUT" && seen.body.is_none() {
            puts.fetch_add(1, Ordering::SeqCst);
        }
        let valid = format!("Bearer t{}", puts.load(Ordering::SeqCst).min(1));
        if seen.header("authorization") == valid {
            return serving.serve(seen);
        }
        let realm = format!(r#"Bearer realm="http://{}/token""#, seen.header("host"));
        Reply::new(401).with("WWW-Authenticate", realm)
    })
    .await;
    let client = client(&[&server.host]);
    let body = content(1_000_000);
    push(&client, &server, &body).await.unwrap();
    assert_eq!(uploads.blobs(), [body.to_vec()]);
    // The upload itself goes on: one POST, the second PUT with the second token.
    let lines: Vec<_> = server.seen().into_iter().map(|seen| seen.method).collect();
    assert_eq!(lines, ["GET", "POST", "PUT", "GET", "GET", "PUT"]);
}

/// CVE-2026-50151, CVE-2026-49349: an upload leads nowhere else.
#[tokio::test]
async fn a_foreign_location_is_refused_and_never_contacted() {
    let foreign = Scripted::start(|_| Reply::new(201)).await;
    let location = format!("http://{}/steal", foreign.host);
    let server = Scripted::start(move |_| Reply::new(202).with("Location", &location)).await;
    let client = client(&[&server.host, &foreign.host]);
    let error = push(&client, &server, &content(100)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol);
    assert!(error.to_string().contains(foreign.host.as_str()), "{error}");
    assert!(foreign.seen().is_empty());
    // Nor by a redirect.
    let location = format!("http://{}/steal", foreign.host);
    let server = Scripted::start(move |_| Reply::new(307).with("Location", &location)).await;
    let client = testing::client(&[&server.host, &foreign.host]);
    assert!(push(&client, &server, &content(100)).await.is_err());
    assert!(foreign.seen().is_empty());
}

#[tokio::test]
async fn what_arrived_damaged_is_said_so() {
    let uploads = Uploads::default();
    let server = Scripted::start(move |seen| uploads.serve(seen)).await;
    let client = client(&[&server.host]);
    let source: Arc<dyn BlobSource> = Arc::new(content(100));
    let digest = Digest::of(b"other");
    let error = client.push_blob(&server.host, &repo(), &digest, 100, source, None).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Damaged);
}

struct Failing(u64);

impl BlobSource for Failing {
    fn open(&self, offset: u64) -> Pin<Box<dyn Stream<Item = std::io::Result<Bytes>> + Send>> {
        let good = usize::try_from(self.0 - offset).unwrap();
        let error = std::io::Error::new(std::io::ErrorKind::InvalidData, "cell 7 is damaged");
        let items = [Ok(Bytes::from(vec![0; good])), Err(error)];
        Box::pin(futures_util::stream::iter(items))
    }
}

#[tokio::test]
async fn a_failing_source_is_the_cause_and_is_not_retried() {
    let uploads = Uploads::default();
    let serving = uploads.clone();
    let server = Scripted::start(move |seen| serving.serve(seen)).await;
    let client = client(&[&server.host]);
    let digest = Digest::of(b"");
    let source: Arc<dyn BlobSource> = Arc::new(Failing(300_000));
    let error = client
        .push_blob(&server.host, &repo(), &digest, 1_000_000, source, None)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Source);
    let cause = error.source_error().unwrap();
    assert_eq!(cause.kind(), std::io::ErrorKind::InvalidData);
    assert_eq!(cause.to_string(), "cell 7 is damaged");
    // A source that ends early is one that fails.
    let source: Arc<dyn BlobSource> = Arc::new(content(10));
    let error = client.push_blob(&server.host, &repo(), &digest, 11, source, None).await;
    let error = error.unwrap_err();
    assert_eq!(error.source_error().unwrap().kind(), std::io::ErrorKind::UnexpectedEof);
    assert!(uploads.blobs().is_empty());
}

/// The stall limit is what the person set; only a large blob gives the registry more time.
#[tokio::test]
async fn an_answer_that_does_not_come_counts_as_a_stall() {
    let server = Scripted::start(|seen| match (&*seen.method, &seen.body) {
        ("PUT", None) => Reply::ReadBody,
        ("PUT", Some(_)) => Reply::Silence,
        ("POST", _) => Reply::new(202).with("Location", "/v2/team/app/blobs/uploads/u1"),
        _ => Reply::new(404),
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path());
    options.plain_http = vec![server.host.clone()];
    options.stall = Duration::from_millis(200);
    options.retry.times = 0;
    let client = Client::new(options).unwrap();
    let (one, bytes) = (ManifestRef::Tag("1".parse().unwrap()), content(100));
    let both = async {
        let manifest = client.put_manifest(&server.host, &repo(), &one, "a/b", bytes.clone()).await;
        [manifest.unwrap_err(), push(&client, &server, &bytes).await.unwrap_err()]
    };
    for error in tokio::time::timeout(Duration::from_secs(20), both).await.unwrap() {
        assert!(matches!(error.fault(), Fault::Stalled { .. }), "{error}");
    }
}

/// Larger than what the system's buffers take at once, so that what the registry reads is what moves.
#[tokio::test]
async fn an_upload_that_drips_is_a_stall_and_a_slow_one_is_not() {
    let bytes = Bytes::from(vec![7; 16 * 1024 * 1024]);
    let tick = Duration::from_millis(50);
    for (step, stall, stalls) in [(64, 1, true), (1024 * 1024, 3, false)] {
        let server = Scripted::start(move |seen| match (&*seen.method, &seen.body) {
            ("PUT", None) => Reply::SipBody(step, tick),
            ("PUT", Some(_)) => Reply::new(201),
            ("POST", _) => Reply::new(202).with("Location", "/v2/team/app/blobs/uploads/u1"),
            _ => Reply::new(404),
        })
        .await;
        let dir = tempfile::tempdir().unwrap();
        let mut options = options(dir.path());
        options.plain_http = vec![server.host.clone()];
        options.stall = Duration::from_secs(stall);
        options.retry.times = 0;
        let client = Client::new(options).unwrap();
        let pushed = push(&client, &server, &bytes);
        match tokio::time::timeout(Duration::from_secs(60), pushed).await.unwrap() {
            Ok(_) => assert!(!stalls, "a drip is taken"),
            Err(error) => {
                assert!(stalls && matches!(error.fault(), Fault::Stalled { .. }), "{error}");
            }
        }
    }
}

#[tokio::test]
async fn manifests_are_put_as_they_are() {
    let server = Scripted::start(|seen| match (&*seen.method, &seen.body) {
        ("PUT", None) => Reply::ReadBody,
        ("PUT", Some(body)) if seen.path.ends_with("/ok") => {
            Reply::new(201).with("Docker-Content-Digest", Digest::of(body))
        }
        ("PUT", Some(_)) if seen.path.ends_with("/other") => {
            Reply::new(201).with("Docker-Content-Digest", Digest::of(b"other"))
        }
        ("PUT", Some(_)) if seen.path.ends_with("/older") => {
            Reply::new(400).body(r#"{"errors":[{"code":"BLOB_UNKNOWN","message":"unknown"}]}"#)
        }
        // As our own registry says it.
        ("PUT", Some(_)) if seen.path.ends_with("/absent") => Reply::new(404)
            .body(r#"{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN","message":"blob unknown"}]}"#),
        ("PUT", _) => Reply::new(400)
            .body(r#"{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN","message":"blob unknown"}]}"#),
        ("DELETE", _) if seen.path.ends_with("/gone") => Reply::new(404),
        ("DELETE", _) if seen.path.ends_with("/no") => Reply::new(405),
        _ => Reply::new(202),
    })
    .await;
    let client = client(&[&server.host]);
    let bytes = Bytes::from_static(b"{ \"as\" : \"is\" }");
    let put = |name: &str| {
        let reference = ManifestRef::Tag(name.parse().unwrap());
        let (client, host, bytes) = (client.clone(), server.host.clone(), bytes.clone());
        async move { client.put_manifest(&host, &repo(), &reference, "a/b", bytes).await }
    };
    put("ok").await.unwrap();
    let seen = server.seen();
    assert_eq!(seen[0].body.as_deref(), Some(&bytes[..]));
    assert_eq!(seen[0].header("content-type"), "a/b");
    let error = put("other").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Damaged);
    assert!(error.to_string().contains(&Digest::of(b"other").to_string()), "{error}");
    assert!(error.hint().unwrap().contains("proxy"), "{error}");
    // A blob of an image that went meanwhile is sent again; what an index leaves out never comes.
    assert_eq!(put("older").await.unwrap_err().kind(), ErrorKind::Unavailable);
    let error = put("absent").await.unwrap_err();
    assert!(matches!(error.fault(), Fault::Lost { .. }), "{error}");
    let error = put("unknown").await.unwrap_err();
    assert!(error.kind() == ErrorKind::Unavailable && error.has_code("MANIFEST_BLOB_UNKNOWN"));
    assert!(!error.hint().unwrap().contains("platforms"), "{error}");
    let (tag, type_) = (ManifestRef::Tag("unknown".parse().unwrap()), crate::media_type::OCI_INDEX);
    let error = client.put_manifest(&server.host, &repo(), &tag, type_, bytes.clone()).await;
    let error = error.unwrap_err();
    assert!(error.kind() == ErrorKind::Refused && error.has_code("MANIFEST_BLOB_UNKNOWN"));
    assert!(error.hint().unwrap().contains("platforms"), "{error}");
    let wrong = ManifestRef::Digest(Digest::of(b"wrong"));
    let error = client.put_manifest(&server.host, &repo(), &wrong, "a/b", bytes.clone()).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Damaged);
    for (name, expected) in
        [("ok", Deleted::Done), ("gone", Deleted::NotFound), ("no", Deleted::Unsupported)]
    {
        let reference = ManifestRef::Tag(name.parse().unwrap());
        let deleted = client.delete_manifest(&server.host, &repo(), &reference).await.unwrap();
        assert_eq!(deleted, expected, "{name}");
    }
}
