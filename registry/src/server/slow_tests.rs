//! Peers that stop in the middle: given up after a while, and nothing of theirs is visible.

use std::future::Future;

use format_spec::Digest;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::{Server, ServerConfig};

/// A registry while `test` runs against its address.
async fn with<F: Future<Output = ()>>(test: impl FnOnce(String) -> F) {
    let dir = tempfile::tempdir().unwrap();
    let config = ServerConfig::new(dir.path(), "127.0.0.1:0".parse().unwrap());
    let server = Server::bind(config).await.unwrap();
    let (address, stop) = (server.local_addr().to_string(), CancellationToken::new());
    let running = tokio::spawn(server.run(stop.clone()));
    test(address).await;
    stop.cancel();
    running.await.unwrap().unwrap();
}

/// Sends what is there of a request; returns everything that comes until the connection ends.
async fn send(address: &str, request: &[u8]) -> String {
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(request).await.unwrap();
    let mut answer = vec![];
    // Cut or closed: both are an end.
    let _ = socket.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// A whole request without a body.
async fn ask(address: &str, method: &str, path: &str) -> String {
    let head = format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    send(address, head.as_bytes()).await
}

fn field<'a>(answer: &'a str, name: &str) -> &'a str {
    let line = answer.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    line.unwrap_or_else(|| panic!("no `{name}`: {answer}"))
}

#[tokio::test]
async fn a_sender_that_stops_is_told_and_can_go_on() {
    with(|address| async move {
        let begun = ask(&address, "POST", "/v2/a/blobs/uploads/").await;
        let location = field(&begun, "location");
        let head = format!("PATCH {location} HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n12345");
        let answer = send(&address, head.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
        let status = ask(&address, "GET", location).await;
        assert_eq!(field(&status, "range"), "0-4");
        let digest = Digest::of(b"1234567890");
        let rest = format!(
            "PUT {location}?digest={digest} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 5\r\n\r\n67890"
        );
        let answer = send(&address, rest.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    })
    .await;
}

#[tokio::test]
async fn a_manifest_that_stops_is_none() {
    with(|address| async move {
        let head = "PUT /v2/a/manifests/v1 HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{";
        let answer = send(&address, head.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
        let answer = ask(&address, "GET", "/v2/a/manifests/v1").await;
        assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    })
    .await;
}

#[tokio::test]
async fn half_a_head_and_no_head_end() {
    with(|address| async move {
        for head in ["GET /v2/ HTTP/1.1\r\nhost: x\r\n", ""] {
            let answer = send(&address, head.as_bytes()).await;
            assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_reader_that_stops_is_cut() {
    // More than the buffers of both ends of a connection hold.
    const SIZE: usize = 32 << 20;
    with(|address| async move {
        let (data, digest) = (vec![7; SIZE], Digest::of(&vec![7; SIZE]));
        let mut push = format!(
            "POST /v2/a/blobs/uploads/?digest={digest} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {SIZE}\r\n\r\n"
        )
        .into_bytes();
        push.extend(data);
        assert!(send(&address, &push).await.starts_with("HTTP/1.1 201"));
        let mut socket = TcpStream::connect(&address).await.unwrap();
        let head = format!("GET /v2/a/blobs/{digest} HTTP/1.1\r\nhost: x\r\n\r\n");
        socket.write_all(head.as_bytes()).await.unwrap();
        tokio::time::sleep(super::limits::STALL * 3).await;
        let mut rest = vec![];
        let _ = socket.read_to_end(&mut rest).await;
        assert!(rest.len() < SIZE, "all of it came");
    })
    .await;
}

/// Tests of large manifests, which share one room in this process.
static ONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

#[tokio::test]
async fn who_sends_a_large_manifest_slowly_is_in_nobodys_way() {
    /// More than there would be room for in memory.
    const SENDERS: usize = 8;
    const LENGTH: usize = 4 << 20;
    let _one = ONE.lock().await;
    with(|address| async move {
        let head = format!(
            "PUT /v2/a/manifests/v1 HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {LENGTH}\r\n\r\n"
        );
        let go_on = CancellationToken::new();
        let mut slow = Vec::new();
        for _ in 0..SENDERS {
            let mut socket = TcpStream::connect(&address).await.unwrap();
            socket.write_all(head.as_bytes()).await.unwrap();
            // All but one byte, then one now and then, which is not nothing.
            socket.write_all(&vec![b' '; LENGTH - 100]).await.unwrap();
            let go_on = go_on.clone();
            slow.push(tokio::spawn(async move {
                let mut sent = LENGTH - 100;
                while !go_on.is_cancelled() && sent < LENGTH - 1 {
                    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
                    socket.write_all(b" ").await.unwrap();
                    sent += 1;
                }
                assert!(go_on.is_cancelled(), "nobody was asked to wait for so long");
                socket.write_all(&vec![b' '; LENGTH - sent]).await.unwrap();
                let mut answer = vec![];
                let _ = socket.read_to_end(&mut answer).await;
                String::from_utf8_lossy(&answer).into_owned()
            }));
        }
        for length in [2, 100_000, LENGTH, 100_000, LENGTH] {
            let answer = send(&address, &put(vec![b' '; length])).await;
            assert!(answer.starts_with("HTTP/1.1 400"), "{length}: {answer}");
        }
        go_on.cancel();
        for slow in slow {
            let answer = slow.await.unwrap();
            // All at once, some are told to come again.
            let told = ["HTTP/1.1 400", "HTTP/1.1 429"].iter().any(|told| answer.starts_with(told));
            assert!(told, "{answer}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_large_manifest_waits_for_room_and_its_client_is_told() {
    let _one = ONE.lock().await;
    with(|address| async move {
        let room = super::arriving::room().await;
        let answer = send(&address, &put(vec![b' '; 100_000])).await;
        assert!(answer.starts_with("HTTP/1.1 429"), "{answer}");
        assert_eq!(field(&answer, "retry-after"), "5");
        let answer = send(&address, &put(vec![b' '; 10_000])).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
        drop(room);
        let answer = send(&address, &put(vec![b' '; 100_000])).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    })
    .await;
}

fn put(body: Vec<u8>) -> Vec<u8> {
    let head = "PUT /v2/a/manifests/v1 HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length:";
    [format!("{head} {}\r\n\r\n", body.len()).into_bytes(), body].concat()
}
