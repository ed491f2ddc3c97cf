//! Tests of manifest parsing: both families, artifacts, and each refusal with its reason.

use super::*;
use crate::media_type::*;
use proptest::prelude::*;
use serde_json::{Value, json};

fn descriptor(media_type: &str, content: &str) -> Value {
    json!({
        "mediaType": media_type,
        "digest": Digest::of(content.as_bytes()).to_string(),
        "size": content.len(),
    })
}

fn image() -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": descriptor(OCI_CONFIG, "config"),
        "layers": [descriptor(OCI_LAYER_GZIP, "one"), descriptor(OCI_LAYER_ZSTD, "two")],
        "annotations": {"a": "b"},
    })
}

fn parse(document: &Value, media_type: Option<&str>) -> Result<Manifest, ManifestError> {
    Manifest::parse(document.to_string().as_bytes(), media_type)
}

#[test]
fn an_image_has_its_blobs_in_order() {
    let parsed = parse(&image(), Some("application/vnd.oci.image.manifest.v1+json; charset=utf-8"));
    let parsed = parsed.unwrap();
    let digests: Vec<_> = parsed.blobs().iter().map(|blob| blob.digest).collect();
    assert_eq!(digests, [Digest::of(b"config"), Digest::of(b"one"), Digest::of(b"two")]);
    assert!(parsed.children().is_empty() && parsed.subject().is_none());
    assert_eq!(parsed.media_type(), OCI_MANIFEST);
}

#[test]
fn an_index_has_children_with_platforms() {
    let mut child = descriptor(DOCKER_MANIFEST, "child");
    child["platform"] = json!({
        "os": "linux", "architecture": "arm64", "variant": "v8", "os.version": "10.0",
    });
    let document = json!({"schemaVersion": 2, "mediaType": DOCKER_LIST, "manifests": [child]});
    let parsed = parse(&document, None).unwrap();
    let platform = parsed.children()[0].platform.clone().unwrap();
    assert_eq!((&*platform.os, &*platform.architecture), ("linux", "arm64"));
    assert_eq!(platform.variant.as_deref(), Some("v8"));
    assert_eq!(platform.os_version.as_deref(), Some("10.0"));
    assert!(parsed.blobs().is_empty());
}

#[test]
fn artifacts_and_missing_types_are_carried() {
    let mut document = image();
    document["subject"] = descriptor(OCI_MANIFEST, "subject");
    document["artifactType"] = json!("application/vnd.example");
    document["layers"] = json!([]);
    document.as_object_mut().unwrap().remove("mediaType");
    for said in [None, Some("application/json"), Some(OCI_MANIFEST)] {
        let parsed = parse(&document, said).unwrap();
        assert_eq!(parsed.media_type(), OCI_MANIFEST);
        assert_eq!(parsed.subject().unwrap().digest, Digest::of(b"subject"));
    }
    assert_eq!(parse(&document, Some(DOCKER_MANIFEST)).unwrap().media_type(), DOCKER_MANIFEST);
    document["layers"] = Value::Null;
    assert_eq!(parse(&document, None).unwrap().blobs().len(), 1);
}

/// CVE-2021-41190.
#[test]
fn a_document_with_two_meanings_is_refused() {
    for key in ["layers", "config"] {
        let mut document = json!({"schemaVersion": 2, "manifests": []});
        document[key] = Value::Null;
        assert!(matches!(parse(&document, None), Err(ManifestError::Ambiguous(_))), "{key}");
    }
    for (document, said) in [
        (image(), OCI_INDEX),
        (image(), DOCKER_MANIFEST),
        (json!({"schemaVersion": 2, "manifests": []}), OCI_MANIFEST),
    ] {
        let error = parse(&document, Some(said)).unwrap_err();
        assert!(matches!(error, ManifestError::TypeMismatch { .. }), "{error}");
    }
    let mut twice = image().to_string();
    twice.insert_str(1, r#""layers":[],"#);
    let error = Manifest::parse(twice.as_bytes(), None).unwrap_err();
    assert!(error.to_string().contains("`layers` stands twice"), "{error}");
}

#[test]
fn schema_1_is_refused_by_name() {
    let old = json!({"schemaVersion": 1, "fsLayers": [], "history": []});
    for said in [None, Some(DOCKER_SCHEMA1), Some(DOCKER_SCHEMA1_SIGNED)] {
        let error = parse(&old, said).unwrap_err();
        assert!(error.to_string().contains("schema 1"), "{error}");
    }
    assert!(matches!(parse(&json!({"config": {}}), None), Err(ManifestError::SchemaVersion)));
}

#[test]
fn bad_descriptors_name_their_field() {
    let cases = [
        ("size", json!(-1), "layers[1].size"),
        ("size", json!(1.5), "layers[1].size"),
        ("size", json!("3"), "layers[1].size"),
        ("size", json!(u64::MAX), "layers[1].size"),
        ("size", Value::Null, "layers[1].size"),
        ("digest", json!(format!("sha512:{}", "0".repeat(128))), "sha512"),
        ("digest", json!("sha256:../../../etc/passwd"), "layers[1].digest"),
        ("digest", json!(7), "layers[1].digest"),
        ("mediaType", Value::Null, "layers[1].mediaType"),
        ("urls", json!([1]), "layers[1].urls"),
        ("annotations", json!({"a": 1}), "layers[1].annotations"),
        ("platform", json!("linux"), "layers[1].platform"),
    ];
    for (key, value, expected) in cases {
        let mut document = image();
        document["layers"][1][key] = value;
        let error = parse(&document, None).unwrap_err().to_string();
        assert!(error.contains(expected), "{key}: {error}");
    }
}

#[test]
fn limits_hold() {
    let mut document = image();
    document["layers"] = Value::Array(vec![Value::Null; DESCRIPTORS_MAX + 1]);
    assert!(matches!(parse(&document, None), Err(ManifestError::TooMany(_))));
    let large = vec![b' '; usize::try_from(MANIFEST_MAX).unwrap() + 1];
    assert!(matches!(Manifest::parse(&large, None), Err(ManifestError::TooLarge(_))));
}

#[test]
fn own_types_come_from_the_field_or_the_shape() {
    assert_eq!(own_type(image().to_string().as_bytes()).as_deref(), Some(OCI_MANIFEST));
    assert_eq!(own_type(br#"{"manifests":[]}"#).as_deref(), Some(OCI_INDEX));
    assert_eq!(own_type(br#"{"fsLayers":[]}"#).as_deref(), Some(DOCKER_SCHEMA1));
    assert_eq!(own_type(b"<html>"), None);
}

proptest! {
    #[test]
    fn nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Manifest::parse(&bytes, None);
        let _ = own_type(&bytes);
    }

    #[test]
    fn a_damaged_manifest_never_panics(at in 0usize..400, to in any::<u8>()) {
        let mut bytes = image().to_string().into_bytes();
        let at = at % bytes.len();
        bytes[at] = to;
        let _ = Manifest::parse(&bytes, Some(OCI_MANIFEST));
    }
}

#[test]
fn many_small_values_are_refused_before_they_are_built() {
    let with = |more: &str| image().to_string().replacen('{', &format!("{{{more},"), 1);
    let unknown = format!(r#""x":[{}0]"#, r#"{"":0},"#.repeat(598_000));
    let entries: Vec<String> = (0..250_000).map(|n| format!(r#""{n:x}":"""#)).collect();
    let known = format!(r#""annotations":{{{}}}"#, entries.join(","));
    let urls = format!(r#""urls":[{}""]"#, r#""","#.repeat(1_000_000));
    for text in [with(&unknown), with(&known), with(&format!(r#""subject":{{{urls}}}"#))] {
        assert!(text.len() as u64 <= MANIFEST_MAX);
        let error = Manifest::parse(text.as_bytes(), None).unwrap_err().to_string();
        assert!(error.contains("values"), "{error}");
        assert_eq!(own_type(text.as_bytes()), None);
    }
    // As many layers as there may be, with what a layer has.
    let mut full = image();
    let mut layer = descriptor(OCI_LAYER_GZIP, "one");
    layer["annotations"] = json!({"a": "b"});
    full["layers"] = vec![layer; 18_000].into();
    assert_eq!(parse(&full, None).unwrap().blobs().len(), 18_001);
}
