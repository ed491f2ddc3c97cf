//! Category "Push": blobs, every way in.

use super::raw::{Site, each};
use crate::support::noise;

/// The answer that says a blob is stored: its location can be pulled.
#[track_caller]
fn stored(site: &Site, answer: super::raw::Answer, repository: &str, data: &[u8]) {
    let answer = answer.is(201);
    let digest = site.algorithm.of(data);
    assert_eq!(answer.field("location"), format!("/v2/{repository}/blobs/{digest}"));
    assert_eq!(answer.field("docker-content-digest"), digest);
    assert!(site.get(answer.field("location")).is(200).body == data);
    site.has_blob(repository, data);
}

/// An upload takes bytes: 202, where to go on, and what it has.
#[track_caller]
fn taken(answer: super::raw::Answer, bytes: usize) -> String {
    let answer = answer.is(202);
    assert_eq!(answer.field("range"), format!("0-{}", bytes - 1));
    assert!(answer.body.is_empty());
    answer.field("location").to_owned()
}

/// "POST then PUT", end-4a and end-6.
#[test]
fn post_then_put() {
    each(|site| {
        for data in [noise(1, 0), noise(2, 1), noise(3, 300_000)] {
            let path = format!("{}?digest={}", site.begin("a/b"), site.algorithm.of(&data));
            let fields = [("content-type", "application/octet-stream")];
            stored(site, site.ask("PUT", &path, &fields, &data), "a/b", &data);
        }
        // Without an announced length.
        let data = noise(4, 30_000);
        let path = format!("{}?digest={}", site.begin("a/b"), site.algorithm.of(&data));
        stored(
            site,
            site.ask("PUT", &path, &[("transfer-encoding", "chunked")], &data),
            "a/b",
            &data,
        );
    });
}

/// "Single POST", end-4b.
#[test]
fn single_post() {
    each(|site| {
        for data in [noise(1, 0), noise(2, 300_000)] {
            let path = format!("/v2/a/blobs/uploads/?digest={}", site.algorithm.of(&data));
            stored(site, site.ask("POST", &path, &[], &data), "a", &data);
        }
    });
}

/// "Pushing a blob in chunks", end-5, end-13 and end-6: the last chunk in a PATCH or in the PUT.
#[test]
fn in_chunks() {
    each(|site| {
        for last_in_put in [false, true] {
            let data = noise(5 + u64::from(last_in_put), 3000);
            let mut location = site.begin("a");
            let patched = if last_in_put { 2000 } else { 3000 };
            for at in (0..patched).step_by(1000) {
                let range = format!("{at}-{}", at + 999);
                let chunk = &data[at..at + 1000];
                let answer = site.ask("PATCH", &location, &[("content-range", &range)], chunk);
                location = taken(answer, at + 1000);
                let status = site.get(&location).is(204);
                assert_eq!(status.field("range"), format!("0-{}", at + 999));
                assert_eq!(status.field("location"), location);
            }
            let path = format!("{location}?digest={}", site.algorithm.of(&data));
            let answer = match last_in_put {
                true => site.ask("PUT", &path, &[("content-range", "2000-2999")], &data[2000..]),
                false => site.send("PUT", &path),
            };
            stored(site, answer, "a", &data);
        }
    });
}

/// "Pushing a blob in chunks": one chunk that is all of it, and the empty blob.
#[test]
fn in_one_chunk() {
    each(|site| {
        let data = noise(7, 500);
        let location = site.begin("a");
        let location =
            taken(site.ask("PATCH", &location, &[("content-range", "0-499")], &data), 500);
        let path = format!("{location}?digest={}", site.algorithm.of(&data));
        stored(site, site.send("PUT", &path), "a", &data);
        let location = site.begin("a");
        site.send("PATCH", &location).is(202);
        stored(
            site,
            site.send("PUT", &format!("{location}?digest={}", site.algorithm.of(""))),
            "a",
            b"",
        );
    });
}

/// "Pushing a blob in chunks": 416 for what is not the next byte, GET says where to go on, and it goes on.
#[test]
fn chunks_out_of_order() {
    each(|site| {
        let data = noise(8, 2000);
        let location = site.begin("a");
        let digest = site.algorithm.of(&data);
        let send = |range: &str, body: &[u8]| {
            let answer = site.ask("PATCH", &location, &[("content-range", range)], body);
            if answer.status == 416 {
                assert_eq!(answer.field("location"), location);
            }
            answer
        };
        send("1000-1999", &data[1000..]).refused(416, "BLOB_UPLOAD_INVALID");
        taken(send("0-999", &data[..1000]), 1000);
        for range in ["0-999", "500-1499", "1001-2000", "3000-3999", "1999-1000", "x-y", "1000"] {
            send(range, &data[..1000]).refused(416, "BLOB_UPLOAD_INVALID");
            let put = format!("{location}?digest={digest}");
            site.ask("PUT", &put, &[("content-range", range)], &data[..1000])
                .refused(416, "BLOB_UPLOAD_INVALID");
        }
        // A chunk as long as its range says.
        send("1000-1500", &data[1000..]).refused(416, "BLOB_UPLOAD_INVALID");
        assert_eq!(site.get(&location).is(204).field("range"), "0-999");
        taken(send("1000-1999", &data[1000..]), 2000);
        stored(site, site.send("PUT", &format!("{location}?digest={digest}")), "a", &data);
    });
}

/// Streamed: a PATCH without a range, of known and of unknown length; two of them follow each other.
#[test]
fn streamed() {
    each(|site| {
        let data = noise(9, 40_000);
        let location = site.begin("a");
        let chunked = [("transfer-encoding", "chunked")];
        let location = taken(site.ask("PATCH", &location, &chunked, &data[..15_000]), 15_000);
        let location = taken(site.ask("PATCH", &location, &[], &data[15_000..]), 40_000);
        let path = format!("{location}?digest={}", site.algorithm.of(&data));
        stored(site, site.send("PUT", &path), "a", &data);
    });
}

/// code-4: content that is not that of its digest is refused every way and never visible.
#[test]
fn other_content_than_the_digest() {
    each(|site| {
        let expected = site.algorithm.of("what it should be");
        let post = format!("/v2/a/blobs/uploads/?digest={expected}");
        site.ask("POST", &post, &[], b"oh no").refused(400, "DIGEST_INVALID");
        let put = format!("{}?digest={expected}", site.begin("a"));
        site.ask("PUT", &put, &[], b"oh no").refused(400, "DIGEST_INVALID");
        let location = site.begin("a");
        taken(site.ask("PATCH", &location, &[("content-range", "0-4")], b"oh no"), 5);
        site.send("PUT", &format!("{location}?digest={expected}")).refused(400, "DIGEST_INVALID");
        for hidden in [expected, site.algorithm.of("oh no")] {
            site.get(&format!("/v2/a/blobs/{hidden}")).refused(404, "BLOB_UNKNOWN");
        }
        assert_eq!(site.uploads(), 0, "uploads left behind");
    });
}

/// code-4: a digest that is none.
#[test]
fn digests_that_are_none() {
    each(|site| {
        let location = site.begin("a");
        site.ask("PUT", &location, &[], b"x").refused(400, "DIGEST_INVALID");
        for bad in ["", "sha256:baddigeststring", "latest", "md5:d41d8cd98f00b204e9800998ecf8427e"]
        {
            for (method, path) in [
                ("PUT", format!("{location}?digest={bad}")),
                ("POST", format!("/v2/a/blobs/uploads/?digest={bad}")),
                ("POST", format!("/v2/a/blobs/uploads/?mount={bad}&from=b")),
            ] {
                site.ask(method, &path, &[], b"x").refused(400, "DIGEST_INVALID");
            }
        }
    });
}

/// end-5, end-6, end-13 and code-3: an upload that is not there, closed, given up, or of another repository.
#[test]
fn uploads_that_are_not_there() {
    each(|site| {
        let closed = site.begin("a");
        let put = format!("{closed}?digest={}", site.algorithm.of("x"));
        site.ask("PUT", &put, &[], b"x").is(201);
        let cancelled = site.begin("a");
        site.ask("PATCH", &cancelled, &[], b"x").is(202);
        site.send("DELETE", &cancelled).is(204);
        let foreign = site.begin("other/repository").replace("/other/repository/", "/a/");
        let never = "/v2/a/blobs/uploads/none".to_owned();
        for location in [closed, cancelled, foreign, never] {
            for method in ["GET", "PATCH", "PUT", "DELETE"] {
                let path = format!("{location}?digest={}", site.algorithm.of("x"));
                site.ask(method, &path, &[], b"").refused(404, "BLOB_UPLOAD_UNKNOWN");
            }
        }
    });
}

/// "Mounting a blob from another repository", end-11.
#[test]
fn mounted() {
    each(|site| {
        let data = noise(10, 500);
        let digest = site.push("a", &data);
        let path = format!("/v2/b/c/blobs/uploads/?mount={digest}&from=a");
        stored(site, site.send("POST", &path), "b/c", &data);
        // What cannot be mounted is an upload that has begun.
        for query in ["&from=none", "&from=", "&from=..", ""] {
            let path = format!("/v2/d/blobs/uploads/?mount={digest}{query}");
            let begun = site.send("POST", &path).is(202);
            site.send("HEAD", &format!("/v2/d/blobs/{digest}")).is(404);
            site.send("DELETE", begun.field("location")).is(204);
        }
        let unknown = site.algorithm.of("unknown");
        let begun =
            site.send("POST", &format!("/v2/d/blobs/uploads/?mount={unknown}&from=a")).is(202);
        let path = format!("{}?digest={digest}", begun.field("location"));
        stored(site, site.ask("PUT", &path, &[], &data), "d", &data);
    });
}

/// What is there may be pushed again.
#[test]
fn pushed_twice() {
    each(|site| {
        let data = noise(11, 5000);
        for repository in ["a", "a", "b"] {
            site.push(repository, &data);
            site.has_blob(repository, &data);
        }
    });
}
