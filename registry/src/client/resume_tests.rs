//! Wire tests of uploads that go on after a break: in this process, after another one, and where the registry lost some.

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use format_spec::{Digest, Repository};
use futures_util::Stream;

use super::push_tests::{Uploads, content, push, repo, steps};
use super::testing::{Reply, Scripted, client};
use super::*;

#[tokio::test]
async fn an_upload_that_breaks_goes_on_at_the_registrys_offset() {
    let uploads = Uploads::default();
    let serving = uploads.clone();
    let body = content(2_000_000);
    let part = body.slice(..700_000).to_vec();
    let count = AtomicUsize::new(0);
    let server = Scripted::start(move |seen| {
        if seen.method == "PUT" && count.fetch_add(1, Ordering::SeqCst) == 0 {
            // What arrived before the break was kept.
            *serving.held.lock().unwrap() = part.clone();
            return Reply::CutAfter(900_000);
        }
        serving.serve(seen)
    })
    .await;
    let client = client(&[&server.host]);
    push(&client, &server, &body).await.unwrap();
    assert_eq!(uploads.blobs(), [body.to_vec()]);
    assert_eq!(steps(&server), ["POST", "PUT", "GET", "PATCH", "PUT"]);
    let patch = server.seen().into_iter().find(|seen| seen.method == "PATCH").unwrap();
    assert_eq!(patch.header("content-range"), "700000-1999999");
}

#[tokio::test]
async fn an_upload_that_is_gone_starts_again() {
    let uploads = Uploads::default();
    let serving = uploads.clone();
    let count = AtomicUsize::new(0);
    let server = Scripted::start(move |seen| {
        if seen.method == "PUT" && count.fetch_add(1, Ordering::SeqCst) == 0 {
            return Reply::CutAfter(1000);
        }
        if seen.method == "GET" { Reply::new(404) } else { serving.serve(seen) }
    })
    .await;
    let client = client(&[&server.host]);
    let body = content(500_000);
    push(&client, &server, &body).await.unwrap();
    assert_eq!(steps(&server), ["POST", "PUT", "GET", "POST", "PUT"]);
    assert_eq!(uploads.blobs(), [body.to_vec()]);
}

/// A source that knows of an upload that another process began.
struct Left {
    bytes: Bytes,
    address: String,
    began: Mutex<Vec<String>>,
}

impl BlobSource for Left {
    fn open(&self, offset: u64) -> Pin<Box<dyn Stream<Item = std::io::Result<Bytes>> + Send>> {
        self.bytes.open(offset)
    }

    fn left(&self, repository: &Repository) -> Option<String> {
        assert_eq!(*repository, repo());
        Some(self.address.clone())
    }

    fn began(&self, _: &Repository, address: &str) -> bool {
        self.began.lock().unwrap().push(address.to_owned());
        true
    }
}

#[tokio::test]
async fn an_upload_that_another_process_left_goes_on() {
    let foreign = Scripted::start(|_| Reply::new(204).with("Range", "0-9")).await;
    let own = "/v2/team/app/blobs/uploads/u1".to_owned();
    let elsewhere = format!("http://{}{own}", foreign.host);
    let body = content(1000);
    // Where it is, what the registry has of it, and what is asked then.
    for (address, held, expected) in [
        (own.clone(), &body[..600], &["GET", "PATCH", "PUT"][..]),
        (own.clone(), &body[..], &["GET", "PUT"]),
        // Nothing of it; more than there is; not what this blob begins with.
        (own.clone(), &[], &["GET", "POST", "PUT"]),
        (own.clone(), &[0; 1001], &["GET", "POST", "PUT"]),
        (own.clone(), &[7; 600], &["GET", "PATCH", "PUT", "POST", "PUT"]),
        ("/v2/team/app/blobs/uploads/gone?".to_owned(), &[], &["GET", "POST", "PUT"]),
        ("/v2/team/app/blobs/uploads/closed?".to_owned(), &[], &["GET", "POST", "PUT"]),
        ("/v2/team/app/blobs/uploads/away?".to_owned(), &[], &["GET", "POST", "PUT"]),
        (elsewhere, &[], &["POST", "PUT"]),
        ("http://[".to_owned(), &[], &["POST", "PUT"]),
    ] {
        let uploads = Uploads::default();
        uploads.held.lock().unwrap().extend(held);
        let serving = uploads.clone();
        let server = Scripted::start(move |seen| match &seen.path {
            path if path.contains("gone") => Reply::new(404),
            path if path.contains("closed") => Reply::new(403),
            path if path.contains("away") => {
                Reply::new(204).with("Location", "http://192.0.2.1/u").with("Range", "0-9")
            }
            _ => serving.serve(seen),
        })
        .await;
        let client = client(&[&server.host, &foreign.host]);
        let (bytes, digest, size) = (body.clone(), Digest::of(&body), body.len() as u64);
        let source = Arc::new(Left { bytes, address: address.clone(), began: Mutex::default() });
        let known = Arc::clone(&source) as Arc<dyn BlobSource>;
        let pushed = client.push_blob(&server.host, &repo(), &digest, size, known, None).await;
        assert_eq!(pushed.unwrap(), Pushed::Uploaded, "{address}");
        assert_eq!(uploads.blobs(), [body.to_vec()]);
        assert_eq!(steps(&server), expected, "{address}");
        // A new one is told, so that it can be found again.
        let began = source.began.lock().unwrap().clone();
        assert_eq!(began.len(), usize::from(expected.contains(&"POST")));
        assert!(began.iter().all(|address| address.ends_with("/uploads/u1?state=0")), "{began:?}");
    }
    assert!(foreign.seen().is_empty());
}

/// A registry that lost power in the middle of an upload: the length is there, the bytes are not.
#[tokio::test]
async fn an_upload_that_the_registry_lost_in_part_is_sent_once_more() {
    let body = content(3_000_000);
    for lost in [true, false] {
        let (uploads, broke) = (Uploads::default(), AtomicUsize::new(0));
        let serving = uploads.clone();
        let server = Scripted::start(move |seen| {
            if seen.method == "PUT"
                && seen.body.is_some()
                && broke.fetch_add(1, Ordering::SeqCst) == 0
            {
                let held = if lost { vec![0; 1_000_000] } else { content(1_000_000).to_vec() };
                *serving.held.lock().unwrap() = held;
                return Reply::new(502);
            }
            serving.serve(seen)
        })
        .await;
        let client = client(&[&server.host]);
        assert_eq!(push(&client, &server, &body).await.unwrap(), Pushed::Uploaded);
        assert_eq!(uploads.blobs(), [body.to_vec()]);
        let more: &[&str] = if lost { &["POST", "PUT"] } else { &[] };
        let whole = [&["POST", "PUT", "GET", "PATCH", "PUT"], more].concat();
        assert_eq!(steps(&server), whole);
    }
}
