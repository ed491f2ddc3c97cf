//! Manifests, indexes and artifacts, by tag and by digest.

use registry::media_type::{
    DOCKER_CONFIG, DOCKER_FOREIGN_LAYER, DOCKER_LAYER_GZIP, DOCKER_LIST, DOCKER_MANIFEST,
    DOCKER_SCHEMA1_SIGNED, OCI_CONFIG, OCI_EMPTY, OCI_INDEX, OCI_MANIFEST,
};

use crate::support::*;

/// HEAD and GET of a manifest that must be there.
async fn check(registry: &Registry, repository: &str, reference: &str, kind: &str, text: &str) {
    let path = format!("/v2/{repository}/manifests/{reference}");
    for method in ["HEAD", "GET"] {
        let answer = registry.send(method, &path).await;
        assert_eq!(answer.status(), 200, "{method} {path}");
        assert_eq!(field(&answer, "content-type"), kind);
        assert_eq!(field(&answer, "content-length"), text.len().to_string());
        assert_eq!(field(&answer, "docker-content-digest"), digest(text).to_string());
        let body = answer.text().await.unwrap();
        assert_eq!(body, if method == "HEAD" { "" } else { text });
    }
}

fn index(kind: &str, manifests: &[String], more: &str) -> String {
    let manifests = manifests.join(",");
    format!(r#"{{"schemaVersion":2,"mediaType":"{kind}","manifests":[{manifests}]{more}}}"#)
}

#[tokio::test]
async fn image_by_tag_and_by_digest() {
    let registry = Registry::start().await;
    let text = registry.image("a/b", "v1", "layer").await;
    check(&registry, "a/b", "v1", OCI_MANIFEST, &text).await;
    check(&registry, "a/b", &digest(&text).to_string(), OCI_MANIFEST, &text).await;

    // Spaces are part of it.
    let spaced = format!("{text} \n");
    let answer = registry.put("a/b", &digest(&spaced).to_string(), OCI_MANIFEST, &spaced).await;
    assert_eq!(answer.status(), 201);
    assert_eq!(field(&answer, "docker-content-digest"), digest(&spaced).to_string());
    assert_eq!(field(&answer, "location"), format!("/v2/a/b/manifests/{}", digest(&spaced)));
    check(&registry, "a/b", &digest(&spaced).to_string(), OCI_MANIFEST, &spaced).await;

    // A tag moves.
    registry.put("a/b", "v1", OCI_MANIFEST, &spaced).await;
    check(&registry, "a/b", "v1", OCI_MANIFEST, &spaced).await;
    check(&registry, "a/b", &digest(&text).to_string(), OCI_MANIFEST, &text).await;
}

#[tokio::test]
async fn what_is_not_there() {
    let registry = Registry::start().await;
    registry.image("a", "v1", "layer").await;
    let other = digest("other").to_string();
    for path in ["a/manifests/v2", "b/manifests/v1", "a/manifests/.INVALID", "a/b/manifests/v1"] {
        let answer = registry.send("GET", &format!("/v2/{path}")).await;
        assert_eq!(refusal(answer).await, (404, "MANIFEST_UNKNOWN".into()), "{path}");
    }
    for method in ["HEAD", "DELETE"] {
        let answer = registry.send(method, &format!("/v2/a/manifests/{other}")).await;
        assert_eq!(answer.status(), 404);
    }
    for method in ["GET", "DELETE"] {
        let answer = registry.send(method, "/v2/a/manifests/sha256:baddigeststring").await;
        assert_eq!(refusal(answer).await, (400, "DIGEST_INVALID".into()));
    }
    let answer = registry.send("GET", "/v2/NOT/manifests/x").await;
    assert_eq!(refusal(answer).await, (400, "NAME_INVALID".into()));
}

#[tokio::test]
async fn wrong_digests_are_refused() {
    let registry = Registry::start().await;
    let text = registry.image("a", "v1", "layer").await;
    for reference in ["sha256:baddigeststring".to_owned(), digest("other").to_string()] {
        let answer = registry.put("a", &reference, OCI_MANIFEST, &text).await;
        assert_eq!(refusal(answer).await, (400, "DIGEST_INVALID".into()));
    }
    let other = digest("other");
    assert_eq!(registry.send("GET", &format!("/v2/a/manifests/{other}")).await.status(), 404);
    for tag in [".x", "a%20b", &"x".repeat(129)] {
        assert_eq!(registry.put("a", tag, OCI_MANIFEST, &text).await.status(), 400, "{tag}");
    }
}

#[tokio::test]
async fn docker_types() {
    let registry = Registry::start().await;
    let (config, layer) = ("{}", "layer");
    for blob in [config, layer] {
        registry.push("a", blob.as_bytes()).await;
    }
    let text = format!(
        r#"{{"schemaVersion":2,"mediaType":"{DOCKER_MANIFEST}","config":{},"layers":[{}]}}"#,
        descriptor(DOCKER_CONFIG, config),
        descriptor(DOCKER_LAYER_GZIP, layer)
    );
    assert_eq!(registry.put("a", "v1", DOCKER_MANIFEST, &text).await.status(), 201);
    check(&registry, "a", "v1", DOCKER_MANIFEST, &text).await;
    let list = index(DOCKER_LIST, &[descriptor(DOCKER_MANIFEST, &text)], "");
    assert_eq!(registry.put("a", "list", DOCKER_LIST, &list).await.status(), 201);
    check(&registry, "a", "list", DOCKER_LIST, &list).await;
}

#[tokio::test]
async fn manifests_that_are_none_are_refused() {
    let registry = Registry::start().await;
    let good = registry.image("a", "v1", "layer").await;
    let both = good.replace(r#""layers""#, r#""manifests":[],"layers""#);
    let twice = good.replace(r#""layers":[{"#, r#""layers":[],"layers":[{"#);
    for (kind, text) in [
        (OCI_MANIFEST, ""),
        (OCI_MANIFEST, "{}"),
        (OCI_MANIFEST, "not json"),
        (OCI_MANIFEST, both.as_str()),
        (OCI_MANIFEST, twice.as_str()),
        (OCI_INDEX, good.as_str()),
        ("text/html", good.as_str()),
        (DOCKER_SCHEMA1_SIGNED, r#"{"schemaVersion":1}"#),
    ] {
        let answer = registry.put("a", "bad", kind, text).await;
        assert_eq!(refusal(answer).await, (400, "MANIFEST_INVALID".into()), "{kind} {text}");
    }
    assert_eq!(registry.send("GET", "/v2/a/manifests/bad").await.status(), 404);
}

#[tokio::test]
async fn missing_blobs_are_named() {
    let registry = Registry::start().await;
    let config = registry.push("a", b"{}").await;
    let missing = registry.push("elsewhere", b"layer").await;
    let text = image(&config, &missing, "");
    let answer = registry.put("a", "v1", OCI_MANIFEST, &text).await;
    assert_eq!(answer.status(), 404);
    let body = answer.text().await.unwrap();
    assert!(
        body.contains("MANIFEST_BLOB_UNKNOWN") && body.contains(&missing.to_string()),
        "{body}"
    );
    assert_eq!(registry.send("GET", "/v2/a/manifests/v1").await.status(), 404);
    // Foreign layers are not expected to be here.
    let foreign = text.replace("application/vnd.oci.image.layer.v1.tar", DOCKER_FOREIGN_LAYER);
    assert_eq!(registry.put("a", "v1", OCI_MANIFEST, &foreign).await.status(), 201);
}

#[tokio::test]
async fn index_nested_sparse_and_empty() {
    let registry = Registry::start().await;
    let child = registry.image("a", "child", "layer").await;
    let inner = index(OCI_INDEX, &[descriptor(OCI_MANIFEST, &child)], "");
    let nested = index(OCI_INDEX, &[descriptor(OCI_INDEX, &inner)], "");
    let sparse = index(
        OCI_INDEX,
        &[descriptor(OCI_MANIFEST, &child), descriptor(OCI_MANIFEST, "not here")],
        "",
    );
    let empty = index(OCI_INDEX, &[], "");
    for (tag, text) in [("inner", inner), ("nested", nested), ("sparse", sparse), ("empty", empty)]
    {
        assert_eq!(registry.put("a", tag, OCI_INDEX, &text).await.status(), 201, "{tag}");
        check(&registry, "a", tag, OCI_INDEX, &text).await;
        check(&registry, "a", &digest(&text).to_string(), OCI_INDEX, &text).await;
    }
}

#[tokio::test]
async fn artifacts_data_and_unknown_fields() {
    let registry = Registry::start().await;
    registry.push("a", b"{}").await;
    let empty = descriptor(OCI_EMPTY, "{}").replace('}', r#","data":"e30="}"#);
    let text = format!(
        r#"{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}","artifactType":"application/vnd.example","config":{empty},"layers":[{empty}],"custom":{{"x":[1,null]}},"annotations":{{"k":"v"}}}}"#
    );
    assert_eq!(registry.put("a", "artifact", OCI_MANIFEST, &text).await.status(), 201);
    check(&registry, "a", "artifact", OCI_MANIFEST, &text).await;

    // No layers, no media type of its own.
    let text =
        format!(r#"{{"schemaVersion":2,"config":{},"layers":[]}}"#, descriptor(OCI_CONFIG, "{}"));
    assert_eq!(registry.put("a", "bare", OCI_MANIFEST, &text).await.status(), 201);
    check(&registry, "a", "bare", OCI_MANIFEST, &text).await;
}

#[tokio::test]
async fn large_manifests() {
    let registry = Registry::start().await;
    let (config, layer) = (registry.push("a", b"{}").await, registry.push("a", b"layer").await);
    let with = |length: usize| {
        let value = "x".repeat(4000);
        let mut more = String::from(r#","annotations":{"a":"""#);
        let mut n = 0;
        while more.len() < length {
            more.push_str(&format!(r#","k{n}":"{value}""#));
            n += 1;
        }
        more.push('}');
        image(&config, &layer, &more)
    };
    let text = with(4_000_000);
    assert!(text.len() < 4 * 1024 * 1024);
    assert_eq!(registry.put("a", "large", OCI_MANIFEST, &text).await.status(), 201);
    check(&registry, "a", "large", OCI_MANIFEST, &text).await;

    let text = with(5_000_000);
    let answer = registry.put("a", "huge", OCI_MANIFEST, &text).await;
    assert_eq!(refusal(answer).await, (413, "SIZE_INVALID".into()));
    // The same without an announced length.
    let pieces: Vec<std::io::Result<String>> = vec![Ok(text)];
    let answer = registry
        .request("PUT", "/v2/a/manifests/huge")
        .header("content-type", OCI_MANIFEST)
        .body(reqwest::Body::wrap_stream(futures_util::stream::iter(pieces)))
        .send()
        .await
        .unwrap();
    assert_eq!(refusal(answer).await, (413, "SIZE_INVALID".into()));
    assert_eq!(registry.send("GET", "/v2/a/manifests/huge").await.status(), 404);
}

#[tokio::test]
async fn a_manifest_of_very_many_values_is_refused() {
    let registry = Registry::start().await;
    let more = format!(r#","x":[{}0]"#, r#"{"":0},"#.repeat(598_000));
    let text = image(&registry.push("a", b"{}").await, &registry.push("a", b"layer").await, &more);
    let puts = (0..3).map(|_| registry.put("a", "v1", OCI_MANIFEST, &text));
    for answer in futures_util::future::join_all(puts).await {
        assert_eq!(refusal(answer).await, (400, "MANIFEST_INVALID".into()));
    }
}

#[tokio::test]
async fn deleting() {
    let registry = Registry::start().await;
    let text = registry.image("a", "v1", "layer").await;
    let by_digest = format!("/v2/a/manifests/{}", digest(&text));
    registry.put("a", "v2", OCI_MANIFEST, &text).await;
    let other = registry.image("a", "other", "other layer").await;

    // A tag goes alone.
    assert_eq!(registry.send("DELETE", "/v2/a/manifests/v1").await.status(), 202);
    assert_eq!(registry.send("DELETE", "/v2/a/manifests/v1").await.status(), 404);
    assert_eq!(registry.send("GET", "/v2/a/manifests/v1").await.status(), 404);
    check(&registry, "a", "v2", OCI_MANIFEST, &text).await;

    // A manifest takes its tags along and no others.
    assert_eq!(registry.send("DELETE", &by_digest).await.status(), 202);
    assert_eq!(registry.send("GET", &by_digest).await.status(), 404);
    assert_eq!(registry.send("GET", "/v2/a/manifests/v2").await.status(), 404);
    check(&registry, "a", "other", OCI_MANIFEST, &other).await;
    let tags: serde_json::Value =
        registry.send("GET", "/v2/a/tags/list").await.json().await.unwrap();
    assert_eq!(tags["tags"], serde_json::json!(["other"]));
}

#[tokio::test]
async fn tags_along_with_a_digest() {
    let registry = Registry::start().await;
    let text = registry.image("a", "v1", "layer").await;
    let reference = format!("{}?tag=x&tag=y", digest(&text));
    let answer = registry.put("a", &reference, OCI_MANIFEST, &text).await;
    assert_eq!(answer.status(), 201);
    let tags: Vec<_> = answer.headers().get_all("oci-tag").iter().collect();
    assert_eq!(tags, ["x", "y"]);
    check(&registry, "a", "x", OCI_MANIFEST, &text).await;
    check(&registry, "a", "y", OCI_MANIFEST, &text).await;
    let reference = format!("{}?tag=.bad", digest(&text));
    assert_eq!(registry.put("a", &reference, OCI_MANIFEST, &text).await.status(), 400);
    let reference = format!("{}?{}", digest(&text), "tag=x&".repeat(33));
    assert_eq!(registry.put("a", &reference, OCI_MANIFEST, &text).await.status(), 414);
}

#[tokio::test]
async fn a_manifest_that_states_a_wrong_size_is_refused() {
    let registry = Registry::start().await;
    let layer = registry.push("a", b"layer").await;
    let of = |size: usize| {
        let (right, wrong) = (descriptor(OCI_CONFIG, "layer"), format!(r#""size":{size}}}"#));
        let layer = right.replace(r#""size":5}"#, &wrong);
        format!(
            r#"{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}","config":{right},"layers":[{layer}]}}"#
        )
    };
    for size in [0, 4, 6] {
        let answer = registry.put("a", "v1", OCI_MANIFEST, &of(size)).await;
        assert_eq!(answer.status(), 400);
        let text = answer.text().await.unwrap();
        assert!(text.contains("MANIFEST_INVALID"), "{text}");
        assert!(text.contains(&format!("{layer} has {size} bytes, and it has 5")), "{text}");
    }
    assert_eq!(registry.send("GET", "/v2/a/manifests/v1").await.status(), 404);
    assert_eq!(registry.put("a", "v1", OCI_MANIFEST, &of(5)).await.status(), 201);
}
