//! Several replicas of one bucket: each goes on where another one stopped, and none overwrites another one's.

use std::collections::HashSet;

use format_spec::Digest;
use futures_util::StreamExt;
use futures_util::future::join_all;
use registry::media_type::OCI_MANIFEST;

use crate::support::*;

/// As many registries as are wanted, over one new bucket.
async fn replicas(count: usize) -> Vec<Registry> {
    let bucket = crate::bucket();
    join_all((0..count).map(|_| Registry::over(bucket.clone()))).await
}

/// The keys below a part of the bucket.
async fn keys(registry: &Registry, below: &str) -> Vec<String> {
    let prefix = object_store::path::Path::from(format!("{PREFIX}/{below}"));
    let store = registry.bucket.as_ref().unwrap();
    store.list(Some(&prefix)).map(|meta| meta.unwrap().location.to_string()).collect().await
}

async fn patch(registry: &Registry, location: &str, at: usize, data: &[u8]) -> reqwest::Response {
    let range = format!("{at}-{}", at + data.len() - 1);
    let request = registry.request("PATCH", location).header("content-range", range);
    request.body(data.to_vec()).send().await.unwrap()
}

async fn get(registry: &Registry, repository: &str, digest: &Digest) -> Option<Vec<u8>> {
    let answer = registry.send("GET", &format!("/v2/{repository}/blobs/{digest}")).await;
    match answer.status().as_u16() {
        404 => None,
        200 => Some(answer.bytes().await.unwrap().to_vec()),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn what_one_stores_the_others_have() {
    let all = replicas(3).await;
    let data = noise(1, 300_000);
    let blob = all[0].push("a", &data).await;
    let text = all[1].image("a", "v1", "layer").await;
    for registry in &all {
        assert!(get(registry, "a", &blob).await.unwrap() == data);
        let answer = registry.send("GET", "/v2/a/manifests/v1").await;
        assert_eq!(answer.text().await.unwrap(), text);
    }
    // A tag that moves and one that goes: nobody has kept it.
    let other = all[2].image("a", "v1", "another layer").await;
    for registry in &all {
        let answer = registry.send("GET", "/v2/a/manifests/v1").await;
        assert_eq!(answer.text().await.unwrap(), other);
    }
    let path = format!("/v2/a/manifests/{}", digest(&other));
    assert_eq!(all[0].send("DELETE", &path).await.status(), 202);
    for registry in &all {
        assert_eq!(registry.send("GET", "/v2/a/manifests/v1").await.status(), 404);
        assert_eq!(registry.send("GET", &path).await.status(), 404);
    }
}

#[tokio::test]
async fn an_upload_goes_round() {
    let all = replicas(3).await;
    let data = noise(2, 900_000);
    let location = all[0].begin("a").await;
    for (n, chunk) in data.chunks(100_000).enumerate() {
        let at = n * 100_000;
        let answer = patch(&all[n % 3], &location, at, chunk).await;
        assert_eq!(answer.status(), 202);
        for registry in &all {
            let status = registry.send("GET", &location).await;
            assert_eq!(field(&status, "range"), format!("0-{}", at + chunk.len() - 1));
        }
    }
    // One that is behind says so, and the chunk that is there is not taken twice.
    assert_eq!(patch(&all[1], &location, 0, &data[..100_000]).await.status(), 416);
    let put = format!("{location}?digest={}", Digest::of(&data));
    assert_eq!(all[1].send("PUT", &put).await.status(), 201);
    assert_eq!(all[0].send("PUT", &put).await.status(), 404);
    for registry in &all {
        assert!(get(registry, "a", &Digest::of(&data)).await.unwrap() == data);
    }
    assert_eq!(all[0].uploads().await, 0);

    // Wrong content that went round is gone everywhere.
    let location = all[0].begin("a").await;
    patch(&all[0], &location, 0, b"12345").await;
    patch(&all[1], &location, 5, b"67890").await;
    let put = format!("{location}?digest={}", digest("other"));
    assert_eq!(refusal(all[2].send("PUT", &put).await).await, (400, "DIGEST_INVALID".into()));
    for registry in &all {
        assert_eq!(registry.send("GET", &location).await.status(), 404);
    }
    assert_eq!(keys(&all[0], "data").await.len(), 9);
}

#[tokio::test]
async fn of_two_that_append_at_once_one_wins() {
    let all = replicas(2).await;
    for round in 0..20_u64 {
        let (first, second) = (noise(round, 50_000), noise(round + 100, 50_000));
        let location = all[0].begin("a").await;
        let (one, two) = tokio::join!(
            patch(&all[0], &location, 0, &first),
            patch(&all[1], &location, 0, &second)
        );
        let mut statuses = [one.status().as_u16(), two.status().as_u16()];
        let winner = if statuses[0] == 202 { &first } else { &second };
        statuses.sort_unstable();
        assert!(statuses[0] == 202 && [409, 416].contains(&statuses[1]), "{statuses:?}");
        // Whoever finishes: one of them.
        let put = format!("{location}?digest={}", Digest::of(winner));
        let (one, two) = tokio::join!(all[0].send("PUT", &put), all[1].send("PUT", &put));
        let mut statuses = [one.status().as_u16(), two.status().as_u16()];
        statuses.sort_unstable();
        assert!(statuses[0] == 201 && [404, 409].contains(&statuses[1]), "{statuses:?}");
        assert!(get(&all[1], "a", &Digest::of(winner)).await.unwrap() == *winner);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_pushes_of_one_blob() {
    let all = replicas(2).await;
    let data = noise(3, 400_000);
    join_all((0..100).map(|n| {
        let (registry, data) = (&all[n % 2], &data);
        async move { registry.push(if n % 3 == 0 { "a" } else { "b" }, data).await }
    }))
    .await;
    for registry in &all {
        for repository in ["a", "b"] {
            assert!(get(registry, repository, &Digest::of(&data)).await.unwrap() == data);
        }
        assert!(get(registry, "c", &Digest::of(&data)).await.is_none());
    }
    assert_eq!(all[0].uploads().await, 0);
    // Those that came second left nothing.
    let pieces = keys(&all[0], "data").await;
    // Of one or two pieces: an upload that finds no memory free sends what it has.
    let copies: HashSet<&str> =
        pieces.iter().filter_map(|key| Some(key.rsplit_once('/')?.0)).collect();
    assert_eq!(copies.len(), 1, "{pieces:?}");
}

#[tokio::test]
async fn a_blob_whose_pieces_are_gone_is_repaired_by_pushing_it() {
    let all = replicas(1).await;
    let data = noise(4, 100_000);
    let blob = all[0].push("a", &data).await;
    let store = all[0].bucket.as_ref().unwrap();
    for key in keys(&all[0], "data").await {
        use object_store::ObjectStoreExt;
        store.delete(&key.into()).await.unwrap();
    }
    assert!(get(&all[0], "a", &blob).await.is_none());
    all[0].push("a", &data).await;
    assert!(get(&all[0], "a", &blob).await.unwrap() == data);
}

#[tokio::test]
async fn a_tag_of_two_writers_is_one_of_both_and_deleting_its_manifest_takes_it() {
    let all = replicas(2).await;
    let config = all[0].push("a", b"{}").await;
    let texts: Vec<String> = (0..8)
        .map(|n| image(&config, &config, &format!(r#","annotations":{{"n":"{n}"}}"#)))
        .collect();
    join_all(texts.iter().enumerate().map(|(n, text)| {
        let registry = &all[n % 2];
        async move { assert_eq!(registry.put("a", "v1", OCI_MANIFEST, text).await.status(), 201) }
    }))
    .await;
    let now = all[0].send("GET", "/v2/a/manifests/v1").await.text().await.unwrap();
    assert!(texts.contains(&now));
    for text in &texts {
        let path = format!("/v2/a/manifests/{}", digest(text));
        assert_eq!(all[1].send("GET", &path).await.status(), 200);
        assert_eq!(all[1].send("DELETE", &path).await.status(), 202);
        let gone = all[0].send("GET", "/v2/a/manifests/v1").await.status() == 404;
        assert!(gone || *text != now);
    }
    let answer: serde_json::Value = all[0].send("GET", "/v2/_catalog").await.json().await.unwrap();
    assert_eq!(answer["repositories"], serde_json::json!([]));
}
