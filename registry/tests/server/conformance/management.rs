//! Category "Content Management": what is deleted is gone at once, and nothing else is.

use registry::media_type::OCI_MANIFEST;
use serde_json::{Value, json};

use super::raw::each;

/// "Deleting tags", end-9: the tag goes, the manifest and its other tags stay.
#[test]
fn a_tag() {
    each(|site| {
        let text = site.push_image("a", "v1", "layer");
        site.tag("a", "v2", OCI_MANIFEST, &text).is(201);
        assert!(site.send("DELETE", "/v2/a/manifests/v1").is(202).body.is_empty());
        site.get("/v2/a/manifests/v1").refused(404, "MANIFEST_UNKNOWN");
        site.send("HEAD", "/v2/a/manifests/v1").is(404);
        site.has_manifest("a", "v2", OCI_MANIFEST, &text);
        assert_eq!(site.get("/v2/a/tags/list").json()["tags"], json!(["v2"]));
        site.send("DELETE", "/v2/a/manifests/v1").refused(404, "MANIFEST_UNKNOWN");
        // And can come back.
        site.tag("a", "v1", OCI_MANIFEST, &text).is(201);
        site.has_manifest("a", "v1", OCI_MANIFEST, &text);
    });
}

/// "Deleting Manifests", end-9: with every tag that stands for it.
#[test]
fn a_manifest() {
    each(|site| {
        let text = site.push_image("a", "v1", "layer");
        site.tag("a", "v2", OCI_MANIFEST, &text).is(201);
        let other = site.push_image("a", "other", "another layer");
        let elsewhere = site.push_image("b", "v1", "layer");
        let path = format!("/v2/a/manifests/{}", site.algorithm.of(&text));
        assert!(site.send("DELETE", &path).is(202).body.is_empty());
        for path in [path.as_str(), "/v2/a/manifests/v1", "/v2/a/manifests/v2"] {
            site.get(path).refused(404, "MANIFEST_UNKNOWN");
            site.send("HEAD", path).is(404);
            site.send("DELETE", path).refused(404, "MANIFEST_UNKNOWN");
        }
        assert_eq!(site.get("/v2/a/tags/list").json()["tags"], json!(["other"]));
        site.has_manifest("a", "other", OCI_MANIFEST, &other);
        site.has_manifest("b", "v1", OCI_MANIFEST, &elsewhere);
        site.tag("a", "v1", OCI_MANIFEST, &text).is(201);
        site.has_manifest("a", "v1", OCI_MANIFEST, &text);
    });
}

/// "Deleting Manifests": a repository or a digest that is not there, a digest that is none.
#[test]
fn a_manifest_that_is_not_there() {
    each(|site| {
        site.push_image("a", "v1", "layer");
        let unknown = site.algorithm.of("unknown");
        for path in [
            "none/manifests/v1",
            &format!("none/manifests/{unknown}"),
            &format!("a/manifests/{unknown}"),
        ] {
            site.send("DELETE", &format!("/v2/{path}")).refused(404, "MANIFEST_UNKNOWN");
        }
        let bad = "/v2/a/manifests/sha256:baddigeststring";
        site.send("DELETE", bad).refused(400, "DIGEST_INVALID");
    });
}

/// "Deleting Blobs", end-10: from one repository; it can be pushed again.
#[test]
fn a_blob() {
    each(|site| {
        let digest = site.push("a", "data");
        site.push("b", "data");
        let path = format!("/v2/a/blobs/{digest}");
        assert!(site.send("DELETE", &path).is(202).body.is_empty());
        site.get(&path).refused(404, "BLOB_UNKNOWN");
        site.send("HEAD", &path).is(404);
        site.send("DELETE", &path).refused(404, "BLOB_UNKNOWN");
        site.has_blob("b", "data");
        // Nor can it be mounted from where it was deleted.
        site.send("POST", &format!("/v2/c/blobs/uploads/?mount={digest}&from=a")).is(202);
        site.push("a", "data");
        site.has_blob("a", "data");
        for (path, status, code) in [
            (format!("/v2/none/blobs/{digest}"), 404, "BLOB_UNKNOWN"),
            ("/v2/a/blobs/sha256:baddigeststring".to_owned(), 400, "DIGEST_INVALID"),
        ] {
            site.send("DELETE", &path).refused(status, code);
        }
    });
}

/// "Deleting Blobs" after the manifests, and the manifests first: both orders.
#[test]
fn an_image_in_both_orders() {
    each(|site| {
        for manifest_first in [true, false] {
            let text = site.push_image("a", "v1", "layer");
            let manifest = format!("/v2/a/manifests/{}", site.algorithm.of(&text));
            let blobs =
                ["{}", "layer"].map(|blob| format!("/v2/a/blobs/{}", site.algorithm.of(blob)));
            let mut order: Vec<&String> = blobs.iter().collect();
            order.insert(if manifest_first { 0 } else { 2 }, &manifest);
            for path in order {
                site.send("DELETE", path).is(202);
                site.send("HEAD", path).is(404);
            }
        }
    });
}

/// "Deleting Manifests" and "Listing Referrers": a referrer that is deleted is listed no more; one whose subject is
/// deleted is.
#[test]
fn a_referrer_and_its_subject() {
    each(|site| {
        let subject = site.push_image("a", "v1", "layer");
        let more = json!({ "subject": site.descriptor(OCI_MANIFEST, &subject) });
        let texts = ["x", "y"].map(|layer| site.image("a", layer, more.clone()));
        for text in &texts {
            site.put("a", &site.algorithm.of(text), OCI_MANIFEST, text).is(201);
        }
        let path = |text: &str| format!("/v2/a/manifests/{}", site.algorithm.of(text));
        let listed = || -> Vec<Value> {
            let list = format!("/v2/a/referrers/{}", site.algorithm.of(&subject));
            let list = site.get(&list).is(200).json()["manifests"].clone();
            list.as_array().unwrap().iter().map(|entry| entry["digest"].clone()).collect()
        };
        assert_eq!(listed().len(), 2);
        site.send("DELETE", &path(&texts[0])).is(202);
        assert_eq!(listed(), [json!(site.algorithm.of(&texts[1]))]);
        site.send("DELETE", &path(&subject)).is(202);
        assert_eq!(listed(), [json!(site.algorithm.of(&texts[1]))]);
    });
}
