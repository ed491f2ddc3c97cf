//! Peers that misbehave, and how the server starts and stops.

use std::time::Duration;

use format_spec::Digest;
use registry::server::{Server, ServerConfig, ServerError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::*;

async fn raw(registry: &Registry, request: &[u8]) -> String {
    let mut socket = TcpStream::connect(registry.host()).await.unwrap();
    socket.write_all(request).await.unwrap();
    let mut answer = vec![0; 64 * 1024];
    let length = socket.read(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer[..length]).into_owned()
}

#[tokio::test]
async fn plain_http_stays_on_this_machine() {
    let dir = tempfile::tempdir().unwrap();
    let config = ServerConfig::new(dir.path(), "0.0.0.0:0".parse().unwrap());
    let refused = Server::bind(config).await.err().unwrap();
    assert!(matches!(refused, ServerError::RemoteHttp(_)), "{refused}");
    // Neither is it left behind by a refusal.
    assert!(fs_err::read_dir(dir.path()).unwrap().next().is_none());
}

#[tokio::test]
async fn data_in_use_and_foreign_directories_are_refused() {
    let registry = Registry::start().await;
    let config = ServerConfig::new(registry.dir.path(), "127.0.0.1:0".parse().unwrap());
    let refused = Server::bind(config).await.err().unwrap().to_string();
    assert!(refused.contains("in use by another process"), "{refused}");
}

#[tokio::test]
async fn a_cut_upload_is_continued() {
    let registry = Registry::start().await;
    let data = noise(11, 300_000);
    let location = registry.begin("a").await;
    let mut socket = TcpStream::connect(registry.host()).await.unwrap();
    let head = format!(
        "PATCH {location} HTTP/1.1\r\nhost: x\r\ncontent-range: 0-299999\r\ncontent-length: 300000\r\n\r\n"
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    socket.write_all(&data[..100_000]).await.unwrap();
    socket.flush().await.unwrap();
    let received = loop {
        let status = registry.send("GET", &location).await;
        let last: usize = field(&status, "range").strip_prefix("0-").unwrap().parse().unwrap();
        if last == 99_999 {
            break last + 1;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    // The old connection is still open, as after a break that the server has not noticed.
    let put = registry
        .request("PUT", &format!("{location}?digest={}", Digest::of(&data)))
        .header("content-range", format!("{received}-299999"))
        .body(data[received..].to_vec())
        .send()
        .await
        .unwrap();
    assert_eq!(put.status(), 201);
    let got = registry.send("GET", &format!("/v2/a/blobs/{}", Digest::of(&data))).await;
    assert!(got.bytes().await.unwrap() == data);
    drop(socket);
}

#[tokio::test]
async fn a_truncated_single_push_leaves_nothing() {
    let registry = Registry::start().await;
    let data = noise(12, 200_000);
    let digest = Digest::of(&data);
    let mut socket = TcpStream::connect(registry.host()).await.unwrap();
    let head = format!(
        "POST /v2/a/blobs/uploads/?digest={digest} HTTP/1.1\r\nhost: x\r\ncontent-length: 200000\r\n\r\n"
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    socket.write_all(&data[..150_000]).await.unwrap();
    let uploads = registry.dir.path().join("uploads");
    while fs_err::read_dir(&uploads).unwrap().count() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(socket);
    while fs_err::read_dir(&uploads).unwrap().count() != 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(registry.send("HEAD", &format!("/v2/a/blobs/{digest}")).await.status(), 404);
}

#[tokio::test]
async fn a_body_longer_than_its_range_is_refused() {
    let registry = Registry::start().await;
    let location = registry.begin("a").await;
    let pieces: Vec<std::io::Result<&'static str>> = vec![Ok("12345"), Ok("67890")];
    let answer = registry
        .request("PATCH", &location)
        .header("content-range", "0-6")
        .body(reqwest::Body::wrap_stream(futures_util::stream::iter(pieces)))
        .send()
        .await
        .unwrap();
    assert_eq!(refusal(answer).await, (400, "SIZE_INVALID".into()));
}

#[tokio::test]
async fn nonsense_is_answered_and_the_server_lives() {
    let registry = Registry::start().await;
    assert!(raw(&registry, b"\0\x01\x02 nonsense\r\n\r\n").await.starts_with("HTTP/1.1 400"));
    let mut many = b"GET /v2/ HTTP/1.1\r\nhost: x\r\n".to_vec();
    for n in 0..200 {
        many.extend_from_slice(format!("x-{n}: y\r\n").as_bytes());
    }
    many.extend_from_slice(b"\r\n");
    assert!(raw(&registry, &many).await.starts_with("HTTP/1.1 431"));
    let long = format!("GET /v2/{} HTTP/1.1\r\nhost: x\r\n\r\n", "a".repeat(70_000));
    let answer = raw(&registry, long.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
    for path in ["/v2/a/manifests/../../x", "/v2/a/blobs/%00", "/v2/%ff/tags/list", "//", "/v2//"] {
        let answer =
            raw(&registry, format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 40"), "{path}: {answer}");
    }
    assert_eq!(registry.send("GET", "/v2/").await.status(), 200);
}

#[tokio::test]
async fn stopping_does_not_wait_for_idle_or_hanging_peers() {
    let registry = Registry::start().await;
    let idle = TcpStream::connect(registry.host()).await.unwrap();
    let location = registry.begin("a").await;
    let mut hanging = TcpStream::connect(registry.host()).await.unwrap();
    let head = format!("PATCH {location} HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n123");
    hanging.write_all(head.as_bytes()).await.unwrap();
    // The limit is the server's 5 s; this one only keeps a failure from hanging.
    tokio::time::timeout(Duration::from_secs(60), registry.stop()).await.unwrap();
    drop((idle, hanging));
}
