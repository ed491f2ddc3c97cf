//! Blobs: every way in, every way out.

use format_spec::Digest;
use reqwest::StatusCode;

use crate::support::*;

#[tokio::test]
async fn ping() {
    let registry = Registry::start().await;
    for path in ["/v2/", "/v2"] {
        let answer = registry.send("GET", path).await;
        assert_eq!(answer.status(), 200);
        assert_eq!(field(&answer, "docker-distribution-api-version"), "registry/2.0");
    }
    assert_eq!(registry.send("PUT", "/v2/").await.status(), 405);
}

/// HEAD, GET and the location of a blob that must be there.
async fn check(registry: &Registry, repository: &str, data: &[u8]) {
    let digest = Digest::of(data);
    let path = format!("/v2/{repository}/blobs/{digest}");
    let head = registry.send("HEAD", &path).await;
    assert_eq!(head.status(), 200);
    assert_eq!(field(&head, "content-length"), data.len().to_string());
    assert_eq!(field(&head, "docker-content-digest"), digest.to_string());
    assert!(head.bytes().await.unwrap().is_empty());
    let get = registry.send("GET", &path).await;
    assert_eq!(get.status(), 200);
    assert_eq!(field(&get, "content-length"), data.len().to_string());
    assert_eq!(field(&get, "docker-content-digest"), digest.to_string());
    assert!(get.bytes().await.unwrap() == data);
}

#[tokio::test]
async fn post_and_put() {
    let registry = Registry::start().await;
    for length in [0, 1, 2, 65_536, 3_000_001] {
        let data = noise(1, length);
        registry.push("a/b", &data).await;
        check(&registry, "a/b", &data).await;
    }
}

#[tokio::test]
async fn post_only() {
    let registry = Registry::start().await;
    let data = noise(2, 1_000_000);
    let path = format!("/v2/a/blobs/uploads/?digest={}", Digest::of(&data));
    let answer = registry.request("POST", &path).body(data.clone()).send().await.unwrap();
    assert_eq!(answer.status(), 201);
    assert_eq!(field(&answer, "location"), format!("/v2/a/blobs/{}", Digest::of(&data)));
    assert_eq!(field(&answer, "docker-content-digest"), Digest::of(&data).to_string());
    check(&registry, "a", &data).await;
}

#[tokio::test]
async fn chunked_with_and_without_a_last_chunk_in_the_put() {
    let registry = Registry::start().await;
    for last_in_put in [false, true] {
        let data = noise(3 + u64::from(last_in_put), 3000);
        let mut location = registry.begin("a").await;
        let mut at = 0;
        for chunk in data[..2000 + usize::from(!last_in_put) * 1000].chunks(1000) {
            let answer = registry
                .request("PATCH", &location)
                .header("content-range", format!("{at}-{}", at + chunk.len() - 1))
                .body(chunk.to_vec())
                .send()
                .await
                .unwrap();
            assert_eq!(answer.status(), 202);
            at += chunk.len();
            assert_eq!(field(&answer, "range"), format!("0-{}", at - 1));
            location = field(&answer, "location");
            let status = registry.send("GET", &location).await;
            assert_eq!(status.status(), 204);
            assert_eq!(field(&status, "range"), format!("0-{}", at - 1));
            assert_eq!(field(&status, "location"), location);
        }
        let mut put = registry.request("PUT", &format!("{location}?digest={}", Digest::of(&data)));
        if at < data.len() {
            put = put
                .header("content-range", format!("{at}-{}", data.len() - 1))
                .body(data[at..].to_vec());
        }
        assert_eq!(put.send().await.unwrap().status(), 201);
        check(&registry, "a", &data).await;
    }
}

#[tokio::test]
async fn streamed() {
    let registry = Registry::start().await;
    let data = noise(5, 700_000);
    let location = registry.begin("a").await;
    let chunks: Vec<std::io::Result<Vec<u8>>> =
        data.chunks(70_000).map(|chunk| Ok(chunk.to_vec())).collect();
    // No Content-Length, no Content-Range.
    let body = reqwest::Body::wrap_stream(futures_util::stream::iter(chunks));
    let answer = registry.request("PATCH", &location).body(body).send().await.unwrap();
    assert_eq!(answer.status(), 202);
    let put = format!("{}?digest={}", field(&answer, "location"), Digest::of(&data));
    assert_eq!(registry.send("PUT", &put).await.status(), 201);
    check(&registry, "a", &data).await;
}

#[tokio::test]
async fn out_of_order_chunks_are_refused_and_the_upload_goes_on() {
    let registry = Registry::start().await;
    let data = noise(6, 2000);
    let location = registry.begin("a").await;
    let send = |method: &'static str, query: String, range: &'static str, body: &[u8]| {
        registry
            .request(method, &format!("{location}{query}"))
            .header("content-range", range)
            .body(body.to_vec())
            .send()
    };
    let digest = Digest::of(&data);
    for range in ["1000-1999", "1-1000"] {
        let refused = send("PATCH", String::new(), range, &data[1000..]).await.unwrap();
        assert_eq!(refused.status(), 416);
        assert_eq!(field(&refused, "location"), location);
    }
    let first = send("PATCH", String::new(), "0-999", &data[..1000]).await.unwrap();
    assert_eq!(first.status(), 202);
    for range in ["0-999", "999-1998", "2000-2999", "1000-1500", "x", "1999-1000"] {
        let refused = send("PATCH", String::new(), range, &data[..1000]).await.unwrap();
        assert_eq!(refused.status(), 416, "{range}");
        let put = send("PUT", format!("?digest={digest}"), range, &data[..1000]).await.unwrap();
        assert_eq!(put.status(), 416, "{range}");
    }
    let status = registry.send("GET", &location).await;
    assert_eq!(
        (status.status(), field(&status, "range")),
        (StatusCode::NO_CONTENT, "0-999".into())
    );
    let last = send("PUT", format!("?digest={digest}"), "1000-1999", &data[1000..]).await.unwrap();
    assert_eq!(last.status(), 201);
    check(&registry, "a", &data).await;
}

#[tokio::test]
async fn cancel() {
    let registry = Registry::start().await;
    let location = registry.begin("a").await;
    registry.request("PATCH", &location).body("12345").send().await.unwrap();
    assert_eq!(registry.send("DELETE", &location).await.status(), 204);
    for method in ["GET", "PATCH", "DELETE"] {
        assert_eq!(registry.send(method, &location).await.status(), 404, "{method}");
    }
    let put = format!("{location}?digest={}", digest("12345"));
    assert_eq!(
        refusal(registry.send("PUT", &put).await).await,
        (404, "BLOB_UPLOAD_UNKNOWN".into())
    );
    assert_eq!(registry.uploads().await, 0);
    assert_eq!(registry.send("GET", "/v2/a/blobs/uploads/none").await.status(), 404);
}

#[tokio::test]
async fn an_upload_belongs_to_its_repository() {
    let registry = Registry::start().await;
    let location = registry.begin("a/b").await;
    let other = location.replace("/v2/a/b/", "/v2/a/c/");
    assert_eq!(registry.send("GET", &other).await.status(), 404);
    let put = format!("{other}?digest={}", digest(""));
    assert_eq!(registry.send("PUT", &put).await.status(), 404);
}

#[tokio::test]
async fn wrong_content_is_refused_every_way_and_invisible() {
    let registry = Registry::start().await;
    let expected = digest("what it should be");
    let bad = (400, "DIGEST_INVALID".to_owned());
    let post = format!("/v2/a/blobs/uploads/?digest={expected}");
    let answer = registry.request("POST", &post).body("oh no").send().await.unwrap();
    assert_eq!(refusal(answer).await, bad);

    let put = format!("{}?digest={expected}", registry.begin("a").await);
    let answer = registry.request("PUT", &put).body("oh no").send().await.unwrap();
    assert_eq!(refusal(answer).await, bad);

    let location = registry.begin("a").await;
    registry.request("PATCH", &location).body("oh no").send().await.unwrap();
    let answer = registry.send("PUT", &format!("{location}?digest={expected}")).await;
    assert_eq!(refusal(answer).await, bad);

    for hidden in [expected, digest("oh no")] {
        let answer = registry.send("GET", &format!("/v2/a/blobs/{hidden}")).await;
        assert_eq!(refusal(answer).await, (404, "BLOB_UNKNOWN".into()));
    }
    assert_eq!(registry.uploads().await, 0);
}

#[tokio::test]
async fn digests_that_are_none() {
    let registry = Registry::start().await;
    let location = registry.begin("a").await;
    let crossed = format!("sha512:{}", "0".repeat(64));
    for bad in ["", "sha256:baddigeststring", "latest", "sha384:00", &crossed] {
        for (method, path) in [
            ("PUT", format!("{location}?digest={bad}")),
            ("POST", format!("/v2/a/blobs/uploads/?digest={bad}")),
            ("POST", format!("/v2/a/blobs/uploads/?mount={bad}&from=b")),
        ] {
            let answer = registry.send(method, &path).await;
            assert_eq!(refusal(answer).await, (400, "DIGEST_INVALID".into()), "{method} {path}");
        }
    }
    assert_eq!(registry.send("PUT", &location).await.status(), 400);
    for method in ["GET", "HEAD", "DELETE"] {
        let answer = registry.send(method, "/v2/a/blobs/sha256:baddigeststring").await;
        assert_eq!(answer.status(), 400);
    }
    let answer = registry.send("POST", "/v2/a/blobs/uploads/?digest-algorithm=sha384").await;
    assert_eq!(refusal(answer).await, (400, "DIGEST_INVALID".into()));
}

#[tokio::test]
async fn mount() {
    let registry = Registry::start().await;
    let data = noise(7, 500);
    let blob = registry.push("a", &data).await;
    let answer =
        registry.send("POST", &format!("/v2/b/c/blobs/uploads/?mount={blob}&from=a")).await;
    assert_eq!(answer.status(), 201);
    assert_eq!(field(&answer, "location"), format!("/v2/b/c/blobs/{blob}"));
    check(&registry, "b/c", &data).await;

    // Declined, and the upload it opens works: no source, a source without the blob, no such source.
    for query in ["", "&from=empty", "&from=..", "&from=d"] {
        let path = format!("/v2/d/blobs/uploads/?mount={blob}{query}");
        let answer = registry.send("POST", &path).await;
        assert_eq!(answer.status(), 202, "{query}");
    }
    assert_eq!(registry.send("HEAD", &format!("/v2/d/blobs/{blob}")).await.status(), 404);
    let answer = registry.send("POST", &format!("/v2/d/blobs/uploads/?mount={blob}")).await;
    let put = format!("{}?digest={blob}", field(&answer, "location"));
    assert_eq!(
        registry.request("PUT", &put).body(data.clone()).send().await.unwrap().status(),
        201
    );

    // Deleting it in one repository leaves the others.
    let path = format!("/v2/a/blobs/{blob}");
    assert_eq!(registry.send("DELETE", &path).await.status(), 202);
    assert_eq!(registry.send("GET", &path).await.status(), 404);
    assert_eq!(registry.send("DELETE", &path).await.status(), 404);
    check(&registry, "b/c", &data).await;
    check(&registry, "d", &data).await;
}

#[tokio::test]
async fn ranges() {
    let registry = Registry::start().await;
    let data = noise(8, 2048);
    let path = format!("/v2/a/blobs/{}", registry.push("a", &data).await);
    let get = |range: &'static str| registry.request("GET", &path).header("range", range).send();
    for (range, start, end) in [
        ("bytes=500-1499", 500, 1500),
        ("bytes=500-", 500, 2048),
        ("bytes=-500", 1548, 2048),
        ("bytes=2000-5000", 2000, 2048),
        ("bytes=0-0", 0, 1),
    ] {
        let answer = get(range).await.unwrap();
        assert_eq!(answer.status(), 206, "{range}");
        assert_eq!(field(&answer, "content-range"), format!("bytes {start}-{}/2048", end - 1));
        assert_eq!(field(&answer, "content-length"), (end - start).to_string());
        assert!(answer.bytes().await.unwrap() == data[start..end]);
    }
    for range in ["bytes=500-0", "bytes=5000-10000"] {
        let answer = get(range).await.unwrap();
        assert_eq!(answer.status(), 416, "{range}");
        assert_eq!(field(&answer, "content-range"), "bytes */2048");
    }
    for range in ["bytes=0-1,3-4", "lines=1-2"] {
        let answer = get(range).await.unwrap();
        assert_eq!(answer.status(), 200, "{range}");
        assert!(answer.bytes().await.unwrap() == data[..]);
    }
    let other = registry.request("GET", &path).header("range", "bytes=0-1");
    let answer = other.header("if-range", "\"other\"").send().await.unwrap();
    assert_eq!(answer.status(), 200);
}

#[tokio::test]
async fn many_pushes_of_one_blob_at_once() {
    let registry = Registry::start().await;
    let data = noise(9, 1_000_000);
    let pushes = (0..16).map(|n| {
        let (registry, data) = (&registry, &data);
        async move { registry.push(if n % 2 == 0 { "a" } else { "b" }, data).await }
    });
    futures_util::future::join_all(pushes).await;
    check(&registry, "a", &data).await;
    check(&registry, "b", &data).await;
}

#[tokio::test]
async fn everything_is_there_after_a_restart_and_read_only_refuses_writes() {
    let registry = Registry::start().await;
    let data = noise(10, 100_000);
    registry.push("a", &data).await;
    let text = registry.image("a", "v1", "layer").await;
    let location = registry.begin("a").await;
    registry.request("PATCH", &location).body("12345").send().await.unwrap();

    let registry = registry.restart(false).await;
    check(&registry, "a", &data).await;
    let status = registry.send("GET", &location).await;
    assert_eq!(field(&status, "range"), "0-4");
    let put = format!("{location}?digest={}", digest("1234567"));
    assert_eq!(registry.request("PUT", &put).body("67").send().await.unwrap().status(), 201);

    let registry = registry.restart(true).await;
    check(&registry, "a", &data).await;
    check(&registry, "a", b"1234567").await;
    let answer = registry.send("GET", "/v2/a/manifests/v1").await;
    assert_eq!(answer.text().await.unwrap(), text);
    let blob = Digest::of(&data);
    for (method, path) in [
        ("POST", "/v2/a/blobs/uploads/".to_owned()),
        ("PUT", "/v2/a/manifests/v2".to_owned()),
        ("DELETE", "/v2/a/manifests/v1".to_owned()),
        ("DELETE", format!("/v2/a/blobs/{blob}")),
    ] {
        let answer = registry.send(method, &path).await;
        let allow = if method == "POST" { "" } else { "GET, HEAD" };
        assert_eq!(field(&answer, "allow"), allow, "{method} {path}");
        assert_eq!(refusal(answer).await, (405, "UNSUPPORTED".into()), "{method} {path}");
    }
    check(&registry, "a", &data).await;
}
