//! Tags, repositories and referrers as lists.

use registry::media_type::{OCI_INDEX, OCI_MANIFEST};
use serde_json::{Value, json};

use crate::support::*;

async fn list(registry: &Registry, path: &str) -> (Value, Option<String>) {
    let answer = registry.send("GET", path).await;
    assert_eq!(answer.status(), 200, "{path}");
    let link = answer.headers().get("link").map(|link| link.to_str().unwrap().to_owned());
    (answer.json().await.unwrap(), link)
}

/// The path in a `Link` header.
fn next(link: Option<String>) -> String {
    let link = link.expect("a link");
    let path = link.strip_prefix('<').and_then(|link| link.strip_suffix(">; rel=\"next\""));
    path.expect("a link of the form </path>; rel=\"next\"").to_owned()
}

#[tokio::test]
async fn tags_are_sorted_and_paged() {
    let registry = Registry::start().await;
    let text = registry.image("a/b", "v10", "layer").await;
    for tag in ["v9", "V1", "_x", "a.b-c"] {
        registry.put("a/b", tag, OCI_MANIFEST, &text).await;
    }
    let all = json!(["_x", "a.b-c", "V1", "v10", "v9"]);
    let (body, link) = list(&registry, "/v2/a/b/tags/list").await;
    assert_eq!(body, json!({"name": "a/b", "tags": all}));
    assert!(link.is_none());

    let (mut seen, mut path) = (vec![], "/v2/a/b/tags/list?n=2".to_owned());
    for _ in 0..2 {
        let (body, link) = list(&registry, &path).await;
        seen.extend(body["tags"].as_array().unwrap().clone());
        path = next(link);
    }
    let (body, link) = list(&registry, &path).await;
    seen.extend(body["tags"].as_array().unwrap().clone());
    assert!(link.is_none());
    assert_eq!(json!(seen), all);

    let (body, link) = list(&registry, "/v2/a/b/tags/list?n=0").await;
    assert_eq!((&body["tags"], link), (&json!([]), None));
    let (body, link) = list(&registry, "/v2/a/b/tags/list?n=5").await;
    assert_eq!((&body["tags"], link), (&all, None));
    let (body, _) = list(&registry, "/v2/a/b/tags/list?last=a.b-c").await;
    assert_eq!(body["tags"], json!(["V1", "v10", "v9"]));
    let (body, _) = list(&registry, "/v2/a/b/tags/list?last=zzz&n=99999999999999999999").await;
    assert_eq!(body["tags"], json!([]));
    for n in ["-1", "x", ""] {
        let answer = registry.send("GET", &format!("/v2/a/b/tags/list?n={n}")).await;
        assert_eq!(refusal(answer).await, (400, "UNSUPPORTED".into()));
    }
    for unknown in ["none", "a"] {
        let answer = registry.send("GET", &format!("/v2/{unknown}/tags/list")).await;
        assert_eq!(refusal(answer).await, (404, "NAME_UNKNOWN".into()));
    }
    assert_eq!(registry.send("POST", "/v2/a/b/tags/list").await.status(), 405);
}

#[tokio::test]
async fn repositories_are_sorted_and_paged() {
    let registry = Registry::start().await;
    let (body, _) = list(&registry, "/v2/_catalog").await;
    assert_eq!(body, json!({"repositories": []}));
    for repository in ["b", "a/x/y", "a-b", "a"] {
        registry.image(repository, "v1", "layer").await;
    }
    let (body, link) = list(&registry, "/v2/_catalog").await;
    assert_eq!(body, json!({"repositories": ["a", "a-b", "a/x/y", "b"]}));
    assert!(link.is_none());
    let (body, link) = list(&registry, "/v2/_catalog?n=3").await;
    assert_eq!(body, json!({"repositories": ["a", "a-b", "a/x/y"]}));
    let (body, link) = list(&registry, &next(link)).await;
    assert_eq!((body, link), (json!({"repositories": ["b"]}), None));
}

#[tokio::test]
async fn referrers_of_a_manifest() {
    let registry = Registry::start().await;
    let subject = registry.image("a", "v1", "layer").await;
    let config = digest("{}");
    let path = format!("/v2/a/referrers/{}", digest(&subject));

    let answer = registry.send("GET", &path).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(field(&answer, "content-type"), OCI_INDEX);
    let empty = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []});
    assert_eq!(answer.json::<Value>().await.unwrap(), empty);

    let subject_field = format!(r#","subject":{}"#, descriptor(OCI_MANIFEST, &subject));
    let plain = image(&config, &config, &subject_field);
    let typed = image(
        &config,
        &config,
        &format!(r#"{subject_field},"artifactType":"sig/x","annotations":{{"k":"v"}}"#),
    );
    let index = format!(
        r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[],"artifactType":"sig/x"{subject_field}}}"#
    );
    for (text, kind) in [(&plain, OCI_MANIFEST), (&typed, OCI_MANIFEST), (&index, OCI_INDEX)] {
        let answer = registry.put("a", &digest(text).to_string(), kind, text).await;
        assert_eq!(answer.status(), 201);
        assert_eq!(field(&answer, "oci-subject"), digest(&subject).to_string());
    }
    let entry = |text: &String, kind: &str, artifact: &str| {
        json!({"mediaType": kind, "digest": digest(text).to_string(), "size": text.len(),
               "artifactType": artifact})
    };
    let mut with_annotations = entry(&typed, OCI_MANIFEST, "sig/x");
    with_annotations["annotations"] = json!({"k": "v"});
    let mut expected = vec![
        entry(&plain, OCI_MANIFEST, registry::media_type::OCI_CONFIG),
        with_annotations,
        entry(&index, OCI_INDEX, "sig/x"),
    ];
    expected.sort_by_key(|entry| entry["digest"].to_string());
    let (body, _) = list(&registry, &path).await;
    assert_eq!(body["manifests"], json!(expected));

    let answer = registry.send("GET", &format!("{path}?artifactType=sig%2Fx")).await;
    assert_eq!(field(&answer, "oci-filters-applied"), "artifactType");
    let body: Value = answer.json().await.unwrap();
    let filtered: Vec<_> =
        expected.iter().filter(|entry| entry["artifactType"] == "sig/x").collect();
    assert_eq!(filtered.len(), 2);
    assert_eq!(body["manifests"], json!(filtered));

    // The subject's tag does not matter, and neither does the subject.
    registry.send("DELETE", &format!("/v2/a/manifests/{}", digest(&typed))).await;
    registry.send("DELETE", &format!("/v2/a/manifests/{}", digest(&subject))).await;
    let (body, _) = list(&registry, &path).await;
    assert_eq!(body["manifests"].as_array().unwrap().len(), 2);

    let answer = registry.send("GET", "/v2/a/referrers/sha256:baddigeststring").await;
    assert_eq!(refusal(answer).await, (400, "DIGEST_INVALID".into()));
}

#[tokio::test]
async fn a_subject_may_be_missing_and_come_later() {
    let registry = Registry::start().await;
    let config = registry.push("a", b"{}").await;
    let missing = image(&config, &config, "");
    let subject = format!(r#","subject":{}"#, descriptor(OCI_MANIFEST, &missing));
    let text = image(&config, &config, &subject);
    let answer = registry.put("a", "sig", OCI_MANIFEST, &text).await;
    assert_eq!(answer.status(), 201);
    assert_eq!(field(&answer, "oci-subject"), digest(&missing).to_string());
    registry.put("a", "v1", OCI_MANIFEST, &missing).await;
    let (body, _) = list(&registry, &format!("/v2/a/referrers/{}", digest(&missing))).await;
    assert_eq!(body["manifests"][0]["digest"], digest(&text).to_string());
    // Another repository has none.
    let (body, _) = list(&registry, &format!("/v2/b/referrers/{}", digest(&missing))).await;
    assert_eq!(body["manifests"], json!([]));
}

#[tokio::test]
async fn many_large_referrers_come_in_pages() {
    let registry = Registry::start().await;
    let config = registry.push("a", b"{}").await;
    let subject = image(&config, &config, "");
    let mut expected = vec![];
    for n in 0..5 {
        let note: Vec<String> =
            (0..150).map(|k| format!(r#""k{k}":"{}""#, "x".repeat(4000))).collect();
        let text = image(
            &config,
            &config,
            &format!(
                r#","subject":{},"annotations":{{"n":"{n}",{}}}"#,
                descriptor(OCI_MANIFEST, &subject),
                note.join(",")
            ),
        );
        let answer = registry.put("a", &digest(&text).to_string(), OCI_MANIFEST, &text).await;
        assert_eq!(answer.status(), 201);
        expected.push(digest(&text).to_string());
    }
    expected.sort();
    let (mut seen, mut pages) = (vec![], 0);
    let mut path = format!("/v2/a/referrers/{}", digest(&subject));
    loop {
        let (body, link) = list(&registry, &path).await;
        pages += 1;
        let entries = body["manifests"].as_array().unwrap();
        seen.extend(entries.iter().map(|entry| entry["digest"].as_str().unwrap().to_owned()));
        match link {
            Some(link) => path = next(Some(link)),
            None => break,
        }
    }
    assert_eq!(seen, expected);
    assert!(pages > 1);
}

#[tokio::test]
async fn what_a_filter_leaves_out_counts_as_read() {
    let registry = Registry::start().await;
    let subject = registry.image("a", "v1", "layer").await;
    let config = digest("{}");
    let value = "x".repeat(3_900_000);
    for n in 0..10 {
        let more = format!(
            r#","artifactType":"a/b","subject":{},"annotations":{{"n":"{n}","x":"{value}"}}"#,
            descriptor(OCI_MANIFEST, &subject)
        );
        let text = image(&config, &config, &more);
        assert_eq!(registry.put("a", &format!("r{n}"), OCI_MANIFEST, &text).await.status(), 201);
    }
    let path = format!("/v2/a/referrers/{}?artifactType=none", digest(&subject));
    let (body, link) = list(&registry, &path).await;
    assert_eq!(body["manifests"], json!([]));
    let (body, link) = list(&registry, &next(link)).await;
    assert_eq!((&body["manifests"], link), (&json!([]), None));
}
