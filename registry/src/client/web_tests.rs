//! Documents from servers that answer by script.

use std::time::Duration;

use super::super::testing::{Reply, Scripted, client, options};
use super::super::{Client, ErrorKind};
use super::*;

fn url(server: &Scripted, path: &str) -> Url {
    format!("http://{}{path}", server.host).parse().unwrap()
}

#[tokio::test]
async fn a_document_comes_whole_and_without_credentials() {
    let server = Scripted::start(|_| {
        let reply = Reply::new(200).with("content-type", "Application/JSON; charset=utf-8");
        reply.body("{}")
    })
    .await;
    // The client has credentials for this very host.
    let client = client(&[&server.host]);
    let asked = url(&server, "/graph?channel=stable-4.18");
    let document = client.document(&asked, "application/json", 100).await.unwrap();
    assert_eq!(&document.bytes[..], b"{}");
    assert_eq!(document.media_type.as_deref(), Some("application/json"));
    let seen = server.seen();
    assert_eq!(server.lines(), ["GET /graph?channel=stable-4.18"]);
    assert_eq!(seen[0].header("accept"), "application/json");
    assert_eq!(seen[0].header("authorization"), "");
}

#[tokio::test]
async fn credentials_go_to_their_own_host_when_it_asks_for_them() {
    let other = Scripted::start(|_| Reply::new(401)).await;
    let elsewhere = format!("http://{}/x", other.host);
    let server = Scripted::start(move |seen| match (&*seen.path, seen.header("authorization")) {
        ("/elsewhere", _) => Reply::new(302).with("location", &elsewhere),
        ("/denied", _) | (_, "") => Reply::new(401),
        ("/moved", _) => Reply::new(302).with("location", &elsewhere),
        _ => Reply::new(200).body("ok"),
    })
    .await;
    let client = client(&[&server.host, &other.host]);
    let get =
        async |path: &str| client.document_with_credentials(&url(&server, path), "*/*", 10).await;
    assert_eq!(&get("/index.yaml").await.unwrap().bytes[..], b"ok");
    let sent: Vec<bool> =
        server.seen().iter().map(|seen| seen.header("authorization").is_empty()).collect();
    assert_eq!(sent, [true, false]);
    let denied = get("/denied").await.unwrap_err();
    assert_eq!(denied.kind(), ErrorKind::Credentials, "{denied}");
    // Where a redirect leads nothing is sent, whatever there is for that host.
    for path in ["/elsewhere", "/moved"] {
        get(path).await.unwrap_err();
    }
    assert!(other.seen().iter().all(|seen| seen.header("authorization").is_empty()));
    assert_eq!(other.lines().len(), 2);
}

#[tokio::test]
async fn a_challenge_is_an_answer_and_nothing_more() {
    let server =
        Scripted::start(|_| Reply::new(401).with("www-authenticate", "Basic realm=\"x\"")).await;
    let client = client(&[&server.host]);
    let error = client.document(&url(&server, "/x?token=s3cret"), "*/*", 10).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert_eq!(server.lines().len(), 1);
    let text = error.to_string();
    assert!(text.contains("401") && text.contains("/x`") && !text.contains("s3cret"), "{text}");
    assert!(error.hint().is_some());
}

#[tokio::test]
async fn what_passes_is_tried_again_and_what_is_not_there_is_not() {
    let count = std::sync::atomic::AtomicU32::new(0);
    let server = Scripted::start(move |seen| {
        if seen.path == "/none" {
            return Reply::new(404).body("no such thing");
        }
        match count.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
            0 => Reply::new(503),
            1 => Reply::new(429).with("retry-after", "0"),
            _ => Reply::new(200).body("ok"),
        }
    })
    .await;
    let client = client(&[&server.host]);
    let document = client.document(&url(&server, "/late"), "*/*", 10).await.unwrap();
    assert_eq!((&document.bytes[..], server.lines().len()), (&b"ok"[..], 3));
    let error = client.document(&url(&server, "/none"), "*/*", 10).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("404: no such thing"), "{error}");
    assert_eq!(server.lines().len(), 4);
}

#[tokio::test]
async fn a_document_above_the_limit_is_not_read() {
    let server = Scripted::start(|seen| {
        let reply = Reply::new(200).body(vec![b'x'; 2000]);
        if seen.path == "/announced" { reply.announcing(1 << 40) } else { reply }
    })
    .await;
    let client = client(&[&server.host]);
    for path in ["/announced", "/plain"] {
        let error = client.document(&url(&server, path), "*/*", 1999).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Protocol, "{error}");
        assert!(error.to_string().contains("larger than 1999 bytes"), "{error}");
    }
    assert_eq!(
        client.document(&url(&server, "/plain"), "*/*", 2000).await.unwrap().bytes.len(),
        2000
    );
}

#[tokio::test]
async fn redirects_are_followed_on_this_machine_and_end() {
    let server = Scripted::start(|seen| match seen.path.as_str() {
        "/a" => Reply::new(302).with("location", "/b"),
        "/b" => Reply::new(200).body("there"),
        "/away" => Reply::new(302).with("location", "http://other.lan/x"),
        "/user" => Reply::new(302).with("location", "https://me:secret@other.lan/x"),
        _ => Reply::new(302).with("location", "/round"),
    })
    .await;
    let client = client(&[&server.host]);
    let document = client.document(&url(&server, "/a"), "*/*", 10).await.unwrap();
    assert_eq!(&document.bytes[..], b"there");
    for (path, words) in
        [("/away", "is not followed"), ("/user", "user name"), ("/round", "more than 5 redirects")]
    {
        let error = client.document(&url(&server, path), "*/*", 10).await.unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}

#[tokio::test]
async fn an_address_that_is_none_is_refused_and_a_silent_host_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path());
    options.stall = Duration::from_millis(200);
    options.retry.times = 1;
    let client = Client::new(options).unwrap();
    for text in ["file:///etc/passwd", "https://me:s3cret@update.lan/graph"] {
        let error = client.document(&text.parse().unwrap(), "*/*", 10).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{error}");
        assert!(!error.to_string().contains("s3cret"), "{error}");
    }
    let silent = Scripted::start(|_| Reply::Silence).await;
    let error = client.document(&url(&silent, "/x"), "*/*", 10).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    // The second one does not wait for it again.
    let before = silent.lines().len();
    let error = client.document(&url(&silent, "/y"), "*/*", 10).await.unwrap_err();
    assert_eq!((error.kind(), silent.lines().len()), (ErrorKind::Unavailable, before));
}
