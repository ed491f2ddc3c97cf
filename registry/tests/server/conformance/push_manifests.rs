//! Category "Push": manifests.

use registry::media_type::{
    DOCKER_CONFIG, DOCKER_LAYER_GZIP, DOCKER_LIST, DOCKER_MANIFEST, OCI_CONFIG, OCI_EMPTY,
    OCI_INDEX, OCI_LAYER, OCI_MANIFEST,
};
use serde_json::{Value, json};

use super::raw::{Site, each};

fn index(manifests: &[Value], more: &Value) -> String {
    let mut index = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests });
    index.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    index.to_string()
}

/// Pushes by digest and by tag, and has it back both ways.
#[track_caller]
fn taken(site: &Site, tag: &str, kind: &str, text: &str) {
    let digest = site.algorithm.of(text);
    let by_digest = site.put("a", &digest, kind, text).is(201);
    assert_eq!(by_digest.field("location"), format!("/v2/a/manifests/{digest}"));
    assert_eq!(by_digest.field("docker-content-digest"), digest);
    let by_tag = site.put("a", tag, kind, text).is(201);
    assert!(site.get(by_tag.field("location")).is(200).body == text.as_bytes());
    site.tag("a", tag, kind, text).is(201);
    site.has_manifest("a", tag, kind, text);
}

/// "Pushing Manifests", end-7: the exact bytes, spaces and order of fields included.
#[test]
fn the_exact_bytes() {
    each(|site| {
        let text = site.image("a", "layer", json!({}));
        for (tag, text) in [("v1", text.clone()), ("v2", format!(" \n{text}\t\n"))] {
            taken(site, tag, OCI_MANIFEST, &text);
        }
        // A tag moves, and what it stood for stays.
        let moved = site.push_image("a", "v1", "another layer");
        site.has_manifest("a", "v1", OCI_MANIFEST, &moved);
        let before = format!("/v2/a/manifests/{}", site.algorithm.of(&text));
        assert!(site.get(&before).is(200).body == text.as_bytes());
    });
}

/// "Pushing Manifests": every kind of content that the image specification has.
#[test]
fn every_kind_of_content() {
    each(|site| {
        let image = site.push_image("a", "image", "layer");
        let child = site.descriptor(OCI_MANIFEST, &image);
        let missing = site.descriptor(OCI_MANIFEST, "not here");
        let inner = index(std::slice::from_ref(&child), &json!({}));
        let nested = index(&[site.descriptor(OCI_INDEX, &inner)], &json!({}));
        let elsewhere = json!({
            "mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar",
            "digest": site.algorithm.of("elsewhere"), "size": 9, "urls": ["https://example.com/x"],
        });
        let mut data = site.descriptor(OCI_EMPTY, "{}");
        data["data"] = json!("e30=");
        for (tag, kind, text) in [
            ("index", OCI_INDEX, inner),
            ("nested", OCI_INDEX, nested),
            ("sparse", OCI_INDEX, index(&[child, missing], &json!({}))),
            ("empty", OCI_INDEX, index(&[], &json!({}))),
            ("typed", OCI_INDEX, index(&[], &json!({ "artifactType": "application/vnd.x" }))),
            ("no-layers", OCI_MANIFEST, site.image("a", "layer", json!({ "layers": [] }))),
            ("foreign", OCI_MANIFEST, site.image("a", "layer", json!({ "layers": [elsewhere] }))),
            (
                "artifact",
                OCI_MANIFEST,
                site.image(
                    "a",
                    "layer",
                    json!({ "artifactType": "application/vnd.x", "config": data, "layers": [data] }),
                ),
            ),
            (
                "custom",
                OCI_MANIFEST,
                site.image("a", "layer", json!({ "x": [1, null], "annotations": { "k": "v" } })),
            ),
        ] {
            taken(site, tag, kind, &text);
        }
    });
}

/// "Pushing Manifests": the types of Docker, and none in the manifest itself.
#[test]
fn other_types() {
    each(|site| {
        let docker = json!({
            "mediaType": DOCKER_MANIFEST, "config": site.descriptor(DOCKER_CONFIG, "{}"),
            "layers": [site.descriptor(DOCKER_LAYER_GZIP, "layer")],
        });
        let docker = site.image("a", "layer", docker);
        taken(site, "docker", DOCKER_MANIFEST, &docker);
        let list = index(
            &[site.descriptor(DOCKER_MANIFEST, &docker)],
            &json!({ "mediaType": DOCKER_LIST }),
        );
        taken(site, "list", DOCKER_LIST, &list);
        let untyped = json!({
            "schemaVersion": 2, "config": site.descriptor(OCI_CONFIG, "{}"),
            "layers": [site.descriptor(OCI_LAYER, "layer")],
        });
        taken(site, "untyped", OCI_MANIFEST, &untyped.to_string());
        // Parameters of the type do not count.
        let text = site.image("a", "layer", json!({}));
        site.tag("a", "parameters", &format!("{OCI_MANIFEST}; charset=utf-8"), &text).is(201);
        site.has_manifest("a", "parameters", OCI_MANIFEST, &text);
    });
}

/// "Pushing Manifests": at least 4 megabytes are taken; 413 above the limit.
#[test]
fn large_ones() {
    each(|site| {
        const LARGEST: usize = 4 * 1024 * 1024;
        let sized = |length: usize| {
            let text = site.image("a", "layer", json!({ "annotations": { "k": "" } }));
            let more = "x".repeat(length - text.len());
            site.image("a", "layer", json!({ "annotations": { "k": more } }))
        };
        taken(site, "large", OCI_MANIFEST, &sized(LARGEST));
        let text = sized(LARGEST + 1);
        site.put("a", "huge", OCI_MANIFEST, &text).refused(413, "SIZE_INVALID");
        let fields = [("content-type", OCI_MANIFEST), ("transfer-encoding", "chunked")];
        site.ask("PUT", "/v2/a/manifests/huge", &fields, text.as_bytes())
            .refused(413, "SIZE_INVALID");
        site.get("/v2/a/manifests/huge").refused(404, "MANIFEST_UNKNOWN");
    });
}

/// code-6 and code-4: what is no manifest, not of its digest, or under no tag.
#[test]
fn what_is_refused() {
    each(|site| {
        let good = site.push_image("a", "v1", "layer");
        for (kind, text) in [
            (OCI_MANIFEST, ""),
            (OCI_MANIFEST, "blablabla"),
            (OCI_MANIFEST, "{}"),
            (OCI_MANIFEST, "[]"),
            (OCI_INDEX, &good),
            ("text/html", &good),
        ] {
            site.put("a", "bad", kind, text).refused(400, "MANIFEST_INVALID");
        }
        let other = site.algorithm.of("other");
        for digest in [other.as_str(), "sha256:baddigeststring"] {
            site.put("a", digest, OCI_MANIFEST, &good).refused(400, "DIGEST_INVALID");
        }
        site.get(&format!("/v2/a/manifests/{other}")).refused(404, "MANIFEST_UNKNOWN");
        let (longest, long) = ("x".repeat(128), "x".repeat(129));
        for tag in [".x", "a+b", &long] {
            site.put("a", tag, OCI_MANIFEST, &good).refused(400, "MANIFEST_INVALID");
        }
        site.put("a", &longest, OCI_MANIFEST, &good).is(201);
    });
}

/// "Push" and code-5: a blob that the repository does not hold is named.
#[test]
fn blobs_that_are_missing() {
    each(|site| {
        let text = site.image("elsewhere", "layer", json!({}));
        let answer = site.put("a", "v1", OCI_MANIFEST, &text);
        let message = answer.json()["errors"][0]["message"].to_string();
        assert!(message.contains(&site.algorithm.of("{}")), "{message}");
        answer.refused(404, "MANIFEST_BLOB_UNKNOWN");
        site.get("/v2/a/manifests/v1").refused(404, "MANIFEST_UNKNOWN");
    });
}

/// "Pushing Manifests with Subject": `OCI-Subject`, whether the subject is there or not.
#[test]
fn a_subject() {
    each(|site| {
        for subject in [site.push_image("a", "v1", "layer"), "comes later".to_owned()] {
            let subject = site.descriptor(OCI_MANIFEST, &subject);
            let more = json!({ "subject": subject });
            for (kind, text) in
                [(OCI_MANIFEST, site.image("a", "x", more.clone())), (OCI_INDEX, index(&[], &more))]
            {
                let answer = site.put("a", &site.algorithm.of(&text), kind, &text).is(201);
                assert_eq!(answer.field("oci-subject"), subject["digest"]);
            }
        }
        let plain = site.image("a", "layer", json!({}));
        assert_eq!(site.put("a", "plain", OCI_MANIFEST, &plain).maybe("oci-subject"), None);
    });
}

/// Tags along with a push by digest: each is said in `OCI-Tag`; at least ten are taken.
#[test]
fn tags_as_parameters() {
    each(|site| {
        let text = site.image("a", "layer", json!({}));
        let tags: Vec<String> = (0..10).map(|n| format!("t{n}")).collect();
        let query = tags.iter().map(|tag| format!("tag={tag}")).collect::<Vec<_>>().join("&");
        let reference = format!("{}?{query}", site.algorithm.of(&text));
        let answer = site.put("a", &reference, OCI_MANIFEST, &text).is(201);
        assert_eq!(answer.all("oci-tag"), tags);
        for tag in &tags {
            site.has_manifest("a", tag, OCI_MANIFEST, &text);
        }
    });
}
