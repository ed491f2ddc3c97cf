//! Content that is named by SHA-512: everything that goes with SHA-256 goes with it.

use format_spec::Digest;
use registry::content::{Algorithm, ContentDigest};
use registry::media_type::{OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST};
use serde_json::Value;

use crate::support::*;

fn long(data: &[u8]) -> ContentDigest {
    ContentDigest::of(Algorithm::Sha512, data)
}

/// An image whose layer and configuration are named by SHA-512.
fn long_image(layer: &[u8], more: &str) -> String {
    format!(
        r#"{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}","config":{{"mediaType":"{OCI_CONFIG}","digest":"{}","size":2}},"layers":[{{"mediaType":"{OCI_LAYER}","digest":"{}","size":{}}}]{more}}}"#,
        long(b"{}"),
        long(layer),
        layer.len()
    )
}

async fn push(registry: &Registry, repository: &str, data: &[u8]) {
    let digest = long(data);
    let post = format!("/v2/{repository}/blobs/uploads/?digest={digest}");
    let answer = registry.request("POST", &post).body(data.to_vec()).send().await.unwrap();
    assert_eq!(answer.status(), 201);
    assert_eq!(field(&answer, "docker-content-digest"), digest.to_string());
}

#[tokio::test]
async fn blobs() {
    let registry = Registry::start().await;
    let data = noise(3, 300_000);
    let digest = long(&data);
    // Said at the start, said at the end, and both in pieces with a restart between them.
    for (n, start) in
        ["?digest-algorithm=sha512", "", "?digest-algorithm=sha256"].iter().enumerate()
    {
        let repository = format!("a{n}");
        let begun = registry.send("POST", &format!("/v2/{repository}/blobs/uploads/{start}")).await;
        assert_eq!(begun.status(), 202);
        let location = field(&begun, "location");
        let patch = registry.request("PATCH", &location).body(data[..100_000].to_vec());
        assert_eq!(patch.send().await.unwrap().status(), 202);
        let put = registry.request("PUT", &format!("{location}?digest={digest}"));
        let put = put.body(data[100_000..].to_vec()).send().await.unwrap();
        assert_eq!(put.status(), 201, "{start}");
        let path = format!("/v2/{repository}/blobs/{digest}");
        let head = registry.send("HEAD", &path).await;
        assert_eq!(
            (head.status().as_u16(), field(&head, "content-length")),
            (200, "300000".into())
        );
        assert!(registry.send("GET", &path).await.bytes().await.unwrap() == data);
        let part =
            registry.request("GET", &path).header("range", "bytes=5-9").send().await.unwrap();
        assert!(part.bytes().await.unwrap() == data[5..10]);
    }
    // The other name is another content.
    let other = format!("/v2/a0/blobs/{}", Digest::of(&data));
    assert_eq!(registry.send("HEAD", &other).await.status(), 404);
    let mount = format!("/v2/b/blobs/uploads/?mount={digest}&from=a0");
    assert_eq!(registry.send("POST", &mount).await.status(), 201);
    let wrong = format!("/v2/b/blobs/uploads/?digest={}", long(b"other"));
    let wrong = registry.request("POST", &wrong).body(data.clone()).send().await.unwrap();
    assert_eq!(refusal(wrong).await, (400, "DIGEST_INVALID".into()));
    let path = format!("/v2/b/blobs/{digest}");
    assert_eq!(registry.send("DELETE", &path).await.status(), 202);
    assert_eq!(registry.send("HEAD", &path).await.status(), 404);
}

#[tokio::test]
async fn manifests_tags_and_referrers() {
    let registry = Registry::start().await;
    let text = long_image(b"layer", "");
    let digest = long(text.as_bytes());
    let refused = registry.put("a", &digest.to_string(), OCI_MANIFEST, &text).await;
    assert_eq!(refusal(refused).await, (404, "MANIFEST_BLOB_UNKNOWN".into()));
    push(&registry, "a", b"{}").await;
    push(&registry, "a", b"layer").await;
    let put = registry.put("a", &format!("{digest}?tag=v1&tag=v2"), OCI_MANIFEST, &text).await;
    assert_eq!(put.status(), 201);
    assert_eq!(field(&put, "docker-content-digest"), digest.to_string());
    for reference in ["v1", "v2", &digest.to_string()] {
        let got = registry.send("GET", &format!("/v2/a/manifests/{reference}")).await;
        assert_eq!(field(&got, "docker-content-digest"), digest.to_string());
        assert_eq!(got.text().await.unwrap(), text);
    }
    // A tag of its own is named by SHA-256, as nobody says otherwise.
    let put = registry.put("a", "v3", OCI_MANIFEST, &text).await;
    assert_eq!(field(&put, "docker-content-digest"), Digest::of(text.as_bytes()).to_string());

    let subject = format!(
        r#","subject":{{"mediaType":"{OCI_MANIFEST}","digest":"{digest}","size":{}}},"artifactType":"a/b""#,
        text.len()
    );
    let referrer = long_image(b"layer", &subject);
    let of_referrer = long(referrer.as_bytes());
    let put = registry.put("a", &of_referrer.to_string(), OCI_MANIFEST, &referrer).await;
    assert_eq!(field(&put, "oci-subject"), digest.to_string());
    let list = registry.send("GET", &format!("/v2/a/referrers/{digest}")).await;
    let list: Value = list.json().await.unwrap();
    assert_eq!(list["manifests"][0]["digest"], of_referrer.to_string());

    let index = format!(
        r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[{{"mediaType":"{OCI_MANIFEST}","digest":"{digest}","size":{}}}]}}"#,
        text.len()
    );
    assert_eq!(registry.put("a", "index", OCI_INDEX, &index).await.status(), 201);

    let registry = registry.restart(false).await;
    let got = registry.send("GET", "/v2/a/manifests/v1").await;
    assert_eq!(got.text().await.unwrap(), text);
    assert_eq!(registry.send("DELETE", &format!("/v2/a/manifests/{digest}")).await.status(), 202);
    assert_eq!(registry.send("GET", "/v2/a/manifests/v2").await.status(), 404);
    assert_eq!(registry.send("GET", "/v2/a/manifests/v3").await.status(), 200);
}
