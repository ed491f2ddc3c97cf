//! Category "Content Discovery": tags and referrers.

use registry::media_type::{OCI_CONFIG, OCI_INDEX, OCI_MANIFEST};
use serde_json::{Value, json};

use super::raw::{Answer, Site, each};

/// The path in a `Link` to the next page (RFC 8288).
#[track_caller]
fn next(answer: &Answer) -> String {
    let link = answer.field("link");
    let path = link.strip_prefix('<').and_then(|link| link.strip_suffix(">; rel=\"next\""));
    path.unwrap_or_else(|| panic!("not a link: {link}")).to_owned()
}

/// Pages until the last one.
fn pages(site: &Site, path: &str, entries: &str) -> Vec<Vec<Value>> {
    let (mut pages, mut path) = (vec![], path.to_owned());
    loop {
        let answer = site.get(&path).is(200);
        pages.push(answer.json()[entries].as_array().unwrap().clone());
        match answer.maybe("link") {
            Some(_) => path = next(&answer),
            None => return pages,
        }
    }
}

/// "Listing Tags", end-8a: case does not count for their order.
#[test]
fn tags_are_in_lexical_order() {
    each(|site| {
        let text = site.push_image("a/b", "v10", "layer");
        for tag in ["v9", "V1", "_x", "alpha", "Beta", "beta", "1"] {
            site.put("a/b", tag, OCI_MANIFEST, &text).is(201);
        }
        let all = json!(["1", "_x", "alpha", "Beta", "beta", "V1", "v10", "v9"]);
        let answer = site.get("/v2/a/b/tags/list").is(200);
        assert_eq!(answer.field("content-type"), "application/json");
        assert_eq!(answer.json(), json!({ "name": "a/b", "tags": all }));
        assert_eq!(answer.maybe("link"), None);

        // end-8b: pages of every size, by `Link`, come to the same.
        for n in 1..=9 {
            let pages = pages(site, &format!("/v2/a/b/tags/list?n={n}"), "tags");
            assert!(pages.iter().rev().skip(1).all(|page| page.len() == n));
            assert_eq!(json!(pages.concat()), all, "n={n}");
        }
        let last = site.get("/v2/a/b/tags/list?last=beta").is(200);
        assert_eq!(last.json()["tags"], json!(["V1", "v10", "v9"]));
        let last = site.get("/v2/a/b/tags/list?n=2&last=alpha").is(200);
        assert_eq!(last.json()["tags"], json!(["Beta", "beta"]));
        // A last tag need not be there.
        let last = site.get("/v2/a/b/tags/list?last=c").is(200);
        assert_eq!(last.json()["tags"], json!(["V1", "v10", "v9"]));
        let last = site.get("/v2/a/b/tags/list?last=zzz").is(200);
        assert_eq!(last.json()["tags"], json!([]));
    });
}

/// "Listing Tags", end-8b: none with `n=0` and no `Link`; what is no number is refused.
#[test]
fn how_many_tags() {
    each(|site| {
        let text = site.push_image("a", "v1", "layer");
        site.put("a", "v2", OCI_MANIFEST, &text).is(201);
        let none = site.get("/v2/a/tags/list?n=0").is(200);
        assert_eq!((&none.json()["tags"], none.maybe("link")), (&json!([]), None));
        for n in ["2", "3", "1000000", "99999999999999999999999"] {
            let all = site.get(&format!("/v2/a/tags/list?n={n}")).is(200);
            assert_eq!((&all.json()["tags"], all.maybe("link")), (&json!(["v1", "v2"]), None));
        }
        for n in ["-1", "x", "", "1.5"] {
            site.get(&format!("/v2/a/tags/list?n={n}")).refused(400, "UNSUPPORTED");
        }
    });
}

/// "Listing Tags": 404 for a repository that is not there, an empty list for one without tags.
#[test]
fn no_tags() {
    each(|site| {
        site.get("/v2/none/tags/list").refused(404, "NAME_UNKNOWN");
        let text = site.image("a", "layer", json!({}));
        site.put("a", &site.algorithm.of(&text), OCI_MANIFEST, &text).is(201);
        assert_eq!(site.get("/v2/a/tags/list").is(200).json(), json!({ "name": "a", "tags": [] }));
    });
}

/// What refers to the subject: type, artifact type, annotations as the entries must have them.
struct Entries(Vec<Value>);

impl Entries {
    fn push(site: &Site, subject: &Value) -> Self {
        let mut entries = vec![];
        let mut add = |kind: &str,
                       text: String,
                       artifact: Option<&str>,
                       annotations: Option<Value>| {
            site.put("a", &site.algorithm.of(&text), kind, &text).is(201);
            let mut entry = site.descriptor(kind, &text);
            let fields =
                [("artifactType", artifact.map(|kind| json!(kind))), ("annotations", annotations)];
            for (name, value) in fields {
                if let Some(value) = value {
                    entry[name] = value;
                }
            }
            entries.push(entry);
        };
        let image = |more: Value| {
            let mut all = json!({ "subject": subject });
            all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            site.image("a", "layer", all)
        };
        let note = json!({ "org.example.note": "of one" });
        add(OCI_MANIFEST, image(json!({})), Some(OCI_CONFIG), None);
        add(OCI_MANIFEST, image(json!({ "artifactType": "", "x": 1 })), Some(OCI_CONFIG), None);
        add(
            OCI_MANIFEST,
            image(json!({ "artifactType": "sig/x", "annotations": note })),
            Some("sig/x"),
            Some(note),
        );
        let index = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [], "subject": subject });
        add(OCI_INDEX, index.to_string(), None, None);
        let mut typed = index;
        typed["artifactType"] = json!("sig/x");
        add(OCI_INDEX, typed.to_string(), Some("sig/x"), None);
        Self(entries)
    }

    fn of(&self, artifact: Option<&str>) -> Vec<Value> {
        let wanted = |entry: &&Value| artifact.is_none_or(|kind| entry["artifactType"] == kind);
        sorted(self.0.iter().filter(wanted).cloned().collect())
    }
}

fn sorted(mut entries: Vec<Value>) -> Vec<Value> {
    entries.sort_by_key(|entry| entry["digest"].to_string());
    entries
}

fn listed(answer: &Answer) -> Vec<Value> {
    assert_eq!(answer.field("content-type"), OCI_INDEX);
    let body = answer.json();
    assert_eq!((&body["schemaVersion"], &body["mediaType"]), (&json!(2), &json!(OCI_INDEX)));
    sorted(body["manifests"].as_array().unwrap().clone())
}

/// "Listing Referrers", end-12a and end-12b; the subject is there, or is not.
#[test]
fn referrers() {
    each(|site| {
        for subject in [site.push_image("a", "v1", "layer"), "comes later".to_owned()] {
            let subject = site.descriptor(OCI_MANIFEST, &subject);
            let path = format!("/v2/a/referrers/{}", subject["digest"].as_str().unwrap());
            assert_eq!(listed(&site.get(&path).is(200)), [] as [Value; 0]);
            let entries = Entries::push(site, &subject);
            let all = site.get(&path).is(200);
            assert_eq!(listed(&all), entries.of(None));
            assert_eq!(all.maybe("oci-filters-applied"), None);
            for kind in ["sig/x", OCI_CONFIG, "none"] {
                let query = kind.replace('/', "%2F").replace('+', "%2B");
                let some = site.get(&format!("{path}?artifactType={query}")).is(200);
                assert_eq!(listed(&some), entries.of(Some(kind)), "{kind}");
                assert_eq!(some.field("oci-filters-applied"), "artifactType");
            }
            // Of this repository, not of others.
            let other = path.replace("/a/", "/b/");
            assert_eq!(listed(&site.get(&other).is(200)), [] as [Value; 0]);
        }
    });
}

/// "Listing Referrers": never 404; 400 for what is no digest.
#[test]
fn referrers_of_nothing() {
    each(|site| {
        let path = format!("/v2/none/referrers/{}", site.algorithm.of("unknown"));
        assert_eq!(listed(&site.get(&path).is(200)), [] as [Value; 0]);
        for bad in ["sha256:baddigeststring", "v1", "sha256:"] {
            site.get(&format!("/v2/a/referrers/{bad}")).refused(400, "DIGEST_INVALID");
        }
    });
}

/// "Listing Referrers": pages, each an index, with a `Link` between them.
#[test]
fn many_referrers() {
    each(|site| {
        let subject = site.descriptor(OCI_MANIFEST, "subject");
        let expected: Vec<Value> = (0..4)
            .map(|n| {
                let more =
                    json!({ "subject": subject, "annotations": { "n": "x".repeat(400_000 + n) } });
                let text = site.image("a", "layer", more);
                let digest = site.algorithm.of(&text);
                site.put("a", &digest, OCI_MANIFEST, &text).is(201);
                json!(digest)
            })
            .collect();
        let path = format!("/v2/a/referrers/{}", subject["digest"].as_str().unwrap());
        let pages = pages(site, &path, "manifests");
        assert!(pages.len() > 1);
        let mut seen: Vec<Value> =
            pages.concat().iter().map(|entry| entry["digest"].clone()).collect();
        let mut expected = expected;
        seen.sort_by_key(Value::to_string);
        expected.sort_by_key(Value::to_string);
        assert_eq!(seen, expected);
    });
}

/// "Referrers Tag Schema": the tag that clients keep where there is no such list is a tag like any other.
#[test]
fn the_tag_of_the_fall_back() {
    each(|site| {
        let subject = site.push_image("a", "v1", "layer");
        let tag: String =
            site.algorithm.of(&subject).replacen(':', "-", 1).chars().take(71).collect();
        let list = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX,
                           "manifests": [site.descriptor(OCI_MANIFEST, "signature")] });
        site.tag("a", &tag, OCI_INDEX, &list.to_string()).is(201);
        site.has_manifest("a", &tag, OCI_INDEX, &list.to_string());
        assert!(
            site.get("/v2/a/tags/list").json()["tags"].as_array().unwrap().contains(&json!(tag))
        );
        site.send("DELETE", &format!("/v2/a/manifests/{tag}")).is(202);
        site.get(&format!("/v2/a/manifests/{tag}")).refused(404, "MANIFEST_UNKNOWN");
    });
}
