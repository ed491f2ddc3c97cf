//! Tests of documents that are read in a room: what of large ones is in flight at a time.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;

use super::pull_tests::{manifest, repo, tag};
use super::testing::{Reply, Scripted, client};
use super::*;

/// Waits for something that happens, and a little longer for what should not.
async fn until(done: impl Fn() -> bool) {
    while !done() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
}

#[tokio::test]
async fn of_large_manifests_only_those_with_room_are_read() {
    for places in [1, 2] {
        // Of a large one come 1000 bytes, then nothing more.
        let server = Scripted::start(|seen| match seen.path.ends_with("/small") {
            true => manifest(),
            false => Reply::Hang(vec![b'x'; 1000], 3_900_000),
        })
        .await;
        let client = client(&[&server.host]);
        let room = Room::new(u32::try_from(places).unwrap() * 4 * 1024);
        let mut pulls = JoinSet::new();
        for n in 0..8 {
            let (client, room, host) = (client.clone(), room.clone(), server.host.clone());
            pulls.spawn(async move {
                let reference = tag(&format!("large-{n}"));
                client.get_manifest_in(&room, &host, &repo(), &reference).await.map(drop)
            });
        }
        let received = || client.counters().totals().received;
        until(|| server.seen().len() == 8 && received() >= places * 1000).await;
        assert_eq!(received(), places * 1000);
        // A small one waits behind none of them.
        client.get_manifest_in(&room, &server.host, &repo(), &tag("small")).await.unwrap();
        // Room is free again when a pull is given up.
        pulls.shutdown().await;
        room.take(u64::MAX).await;
    }
}

#[tokio::test]
async fn a_body_without_a_length_takes_room_when_it_grows() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host: RegistryHost = listener.local_addr().unwrap().to_string().parse().unwrap();
    let text = format!(r#"{{"schemaVersion":2,"manifests":[],"x":"{}"}}"#, "x".repeat(200_000));
    let length = text.len() as u64;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 4096]).await;
            let kind = crate::media_type::OCI_INDEX;
            let head =
                format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nConnection: close\r\n\r\n");
            // One that gave up leaves nothing to do.
            let _ = stream.write_all((head + &text).as_bytes()).await;
        }
    });
    let client = client(&[&host]);
    client.ping(&host).await.unwrap();
    let before = client.counters().totals().received;
    let received = || client.counters().totals().received - before;
    let room = Room::new(1024);
    let taken = room.take(u64::MAX).await;
    let (waiting, mine) = (client.clone(), room.clone());
    let pull = tokio::spawn(async move {
        waiting.get_manifest_in(&mine, &host, &repo(), &tag("1")).await.map(|(raw, _)| raw)
    });
    until(|| received() > crate::limits::ROOM_LEAST).await;
    assert!(received() < length && !pull.is_finished(), "{} bytes", received());
    drop(taken);
    assert_eq!(pull.await.unwrap().unwrap().bytes.len() as u64, length);
    assert_eq!(received(), length);
}
