//! Category "Pull".

use registry::media_type::{OCI_INDEX, OCI_MANIFEST};

use super::raw::{Algorithm, each};
use crate::support::noise;

/// "Determining Support", end-1.
#[test]
fn the_registry_says_that_it_is_one() {
    each(|site| {
        let answer = site.get("/v2/").is(200);
        assert_eq!(answer.field("docker-distribution-api-version"), "registry/2.0");
        site.send("HEAD", "/v2/").is(200);
        site.send("DELETE", "/v2/").refused(405, "UNSUPPORTED");
    });
}

/// "Pulling manifests" and "Checking if content exists", end-3.
#[test]
fn a_manifest_by_tag_and_by_digest() {
    each(|site| {
        let text = site.push_image("a/b", "v1", "layer");
        site.has_manifest("a/b", "v1", OCI_MANIFEST, &text);
    });
}

/// "Pulling manifests": the type is that of the stored manifest, whatever the client can take.
#[test]
fn a_manifest_comes_with_its_own_type() {
    each(|site| {
        let text = site.push_image("a", "v1", "layer");
        for accept in [OCI_INDEX, "*/*", "text/html", "application/json;q=0.5, */*"] {
            let answer = site.ask("GET", "/v2/a/manifests/v1", &[("accept", accept)], b"").is(200);
            assert_eq!(answer.field("content-type"), OCI_MANIFEST);
            assert_eq!(answer.body, text.as_bytes());
        }
    });
}

/// "Pulling manifests": 404, in a repository that is there and in one that is not.
#[test]
fn a_manifest_that_is_not_there() {
    each(|site| {
        site.push_image("a", "v1", "layer");
        let unknown = site.algorithm.of("unknown");
        for path in ["a/manifests/v2", "none/manifests/v1", "a/manifests/.INVALID_MANIFEST_NAME"] {
            site.get(&format!("/v2/{path}")).refused(404, "MANIFEST_UNKNOWN");
            assert!(site.send("HEAD", &format!("/v2/{path}")).is(404).body.is_empty());
        }
        for repository in ["a", "none"] {
            let path = format!("/v2/{repository}/manifests/{unknown}");
            site.get(&path).refused(404, "MANIFEST_UNKNOWN");
            site.send("HEAD", &path).is(404);
        }
    });
}

/// "Pulling manifests": a reference is a digest or a tag and nothing else.
#[test]
fn a_reference_that_is_none() {
    each(|site| {
        site.push_image("a", "v1", "layer");
        let long = "x".repeat(129);
        for tag in [".x", "-x", &long, "a%20b", "a+b"] {
            site.get(&format!("/v2/a/manifests/{tag}")).refused(404, "MANIFEST_UNKNOWN");
        }
        let upper = site.algorithm.of("x").to_uppercase();
        for digest in ["sha256:baddigeststring", "sha256:", ":", "md5:00", &upper] {
            site.get(&format!("/v2/a/manifests/{digest}")).refused(400, "DIGEST_INVALID");
            site.get(&format!("/v2/a/blobs/{digest}")).refused(400, "DIGEST_INVALID");
            site.send("HEAD", &format!("/v2/a/blobs/{digest}")).is(400);
        }
    });
}

/// "Pulling manifests": the grammar of `<name>`.
#[test]
fn names_follow_their_grammar() {
    each(|site| {
        for name in ["a", "0", "a.b/c_d/e__f/g-h/i---j", "blobs/uploads", "manifests/tags/list/x"] {
            let text = site.push_image(name, "v1", "layer");
            site.has_manifest(name, "v1", OCI_MANIFEST, &text);
            site.has_blob(name, "layer");
        }
        for name in ["A", "a/", "a//b", "-a", "a-", "a..b", "a___b", "a._b", "a/..", "%61", "a b"] {
            let name = name.replace(' ', "%20");
            site.get(&format!("/v2/{name}/manifests/v1")).refused(400, "NAME_INVALID");
            site.get(&format!("/v2/{name}/tags/list")).refused(400, "NAME_INVALID");
            let uploads = format!("/v2/{name}/blobs/uploads/");
            site.send("POST", &uploads).refused(400, "NAME_INVALID");
        }
    });
}

/// "Pulling blobs" and "Checking if content exists", end-2.
#[test]
fn a_blob() {
    each(|site| {
        for data in [noise(1, 0), noise(2, 1), noise(3, 1_000_000)] {
            site.push("a/b", &data);
            site.has_blob("a/b", &data);
        }
    });
}

/// "Pulling blobs": 404, and a repository shows no blob of another one.
#[test]
fn a_blob_that_is_not_there() {
    each(|site| {
        let other = site.push("other", "of another repository");
        site.push("a", "of this one");
        for digest in [other, site.algorithm.of("unknown")] {
            for repository in ["a", "none"] {
                let path = format!("/v2/{repository}/blobs/{digest}");
                site.get(&path).refused(404, "BLOB_UNKNOWN");
                assert!(site.send("HEAD", &path).is(404).body.is_empty());
            }
        }
    });
}

/// "Pulling blobs": `Range` (RFC 9110 section 14).
#[test]
fn a_part_of_a_blob() {
    each(|site| {
        let data = noise(4, 2048);
        let path = format!("/v2/a/blobs/{}", site.push("a", &data));
        assert_eq!(site.send("HEAD", &path).field("accept-ranges"), "bytes");
        let get = |range| site.ask("GET", &path, &[("range", range)], b"");
        for (range, start, end) in [
            ("bytes=500-1499", 500, 1500),
            ("bytes=500-", 500, 2048),
            ("bytes=-500", 1548, 2048),
            ("bytes=2000-5000", 2000, 2048),
            ("bytes=0-0", 0, 1),
            ("bytes=2047-2047", 2047, 2048),
        ] {
            let part = get(range).is(206);
            assert_eq!(part.field("content-range"), format!("bytes {start}-{}/2048", end - 1));
            assert!(part.body == data[start..end], "{range}");
        }
        for range in ["bytes=500-0", "bytes=5000-10000", "bytes=2048-", "bytes=-0"] {
            let answer = get(range);
            assert_eq!(answer.field("content-range"), "bytes */2048");
            answer.refused(416, "SIZE_INVALID");
        }
        // What is not understood is no range.
        for range in ["bytes=0-1,3-4", "lines=1-2", "bytes", "bytes=x-"] {
            assert!(get(range).is(200).body == data, "{range}");
        }
        // Nor does one count for another representation.
        let fields = [("range", "bytes=0-1"), ("if-range", "\"other\"")];
        assert!(site.ask("GET", &path, &fields, b"").is(200).body == data);
        let same = format!("\"{}\"", Algorithm::of(site.algorithm, &data));
        let fields = [("range", "bytes=0-1"), ("if-range", &same)];
        assert!(site.ask("GET", &path, &fields, b"").is(206).body == data[..2]);
    });
}

/// "Error Codes": 404 for what is no endpoint, 405 for a method that an endpoint has not, with those that it has
/// (RFC 9110 section 15.5.6).
#[test]
fn what_is_no_endpoint() {
    each(|site| {
        for path in ["/v1/", "/v2/a", "/v2/a/blob/x", "/v2/a/tags", "/v2/a/tags/all"] {
            site.get(path).refused(404, "UNSUPPORTED");
        }
        let digest = site.push("a", "x");
        let upload = site.begin("a");
        for (method, path, allow) in [
            ("POST", format!("/v2/a/blobs/{digest}"), "GET, HEAD, DELETE"),
            ("PATCH", "/v2/a/manifests/v1".to_owned(), "GET, HEAD, PUT, DELETE"),
            ("DELETE", "/v2/a/tags/list".to_owned(), "GET, HEAD"),
            ("PUT", format!("/v2/a/referrers/{digest}"), "GET, HEAD"),
            ("PUT", "/v2/a/blobs/uploads/".to_owned(), "POST"),
            ("POST", upload, "GET, HEAD, PATCH, PUT, DELETE"),
            ("PUT", "/v2/_catalog".to_owned(), "GET, HEAD"),
            ("POST", "/healthz".to_owned(), "GET, HEAD"),
            ("OPTIONS", "/v2/".to_owned(), "GET, HEAD"),
        ] {
            let answer = site.send(method, &path);
            assert_eq!(answer.field("allow"), allow, "{method} {path}");
            answer.refused(405, "UNSUPPORTED");
        }
    });
}
