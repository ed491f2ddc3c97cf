//! What a release consists of, as the files in its payload say it.
//!
//! In: the bytes of `image-references`, `release-metadata` and the boot images' ConfigMap. Out: the version, the components
//! by digest, the boot images of KubeVirt by digest. What must hold: a component is named by digest and once, and its name
//! can stand in a tag; everything else in the files is passed over.

use std::collections::HashSet;

use registry::reference::Reference;
use semver::Version;
use serde_json::Value;

use super::limits::{COMPONENT_NAME_MAX, COMPONENTS_MAX, STREAMS_MAX};
use crate::config::document;

/// Where the files are.
pub const DIRECTORY: &str = "release-manifests";
/// The list of components.
pub const REFERENCES: &str = "release-manifests/image-references";
/// What the release says of its neighbours.
pub const METADATA: &str = "release-manifests/release-metadata";
/// Boot images of clouds.
pub const BOOT_IMAGES: &str = "release-manifests/0000_50_installer_coreos-bootimages.yaml";

/// Why a file of a payload cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferencesError {
    /// It is no document, or not the one that belongs there.
    #[error("`{file}` of the payload cannot be used: {problem}")]
    File {
        /// The file.
        file: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// One component.
    #[error("`{REFERENCES}` of the payload: component `{component}`: {problem}")]
    Component {
        /// Its name, or its place when it has none.
        component: String,
        /// What is wrong.
        problem: String,
    },
}

/// The components of a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct References {
    /// The version of the release.
    pub version: String,
    /// In the order of the file.
    pub components: Vec<Component>,
}

/// One component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Component {
    /// Its name: the end of its tag.
    pub name: String,
    /// Its image, by digest.
    pub image: Reference,
}

/// A boot image for machines of KubeVirt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootImage {
    /// The stream that it belongs to; none for that of `data.stream`.
    pub stream: Option<String>,
    /// The architecture, as `uname -m` has it.
    pub architecture: String,
    /// The image, by digest.
    pub image: Reference,
}

/// Reads `image-references`.
pub fn references(bytes: &[u8]) -> Result<References, ReferencesError> {
    let fault = |problem: String| ReferencesError::File { file: REFERENCES, problem };
    let document = read(bytes, REFERENCES)?;
    kind(&document, "ImageStream", "image.openshift.io/v1").map_err(fault)?;
    let version = text(&document["metadata"]["name"]).unwrap_or_default();
    let version = self::version(version).map_err(fault)?;
    let Some(tags) = document["spec"]["tags"].as_array() else {
        return Err(fault("it has no `spec.tags`".to_owned()));
    };
    if tags.is_empty() || tags.len() > COMPONENTS_MAX {
        let problem =
            format!("it names {} components, 1 to {COMPONENTS_MAX} are possible", tags.len());
        return Err(fault(problem));
    }
    let mut seen = HashSet::new();
    let mut components = Vec::with_capacity(tags.len());
    for (at, tag) in tags.iter().enumerate() {
        let name = text(&tag["name"]).unwrap_or_default();
        let fault = |problem: String| {
            let component = if name.is_empty() { format!("spec.tags[{at}]") } else { short(name) };
            ReferencesError::Component { component, problem }
        };
        if !is_tag_end(name) {
            return Err(fault("its name cannot stand in a tag".to_owned()));
        }
        if !seen.insert(name) {
            return Err(fault("it stands twice".to_owned()));
        }
        let from = &tag["from"];
        if text(&from["kind"]) != Some("DockerImage") {
            return Err(fault("`from.kind` is not `DockerImage`".to_owned()));
        }
        let image = by_digest(text(&from["name"]).unwrap_or_default()).map_err(fault)?;
        components.push(Component { name: name.to_owned(), image });
    }
    Ok(References { version, components })
}

/// Reads `release-metadata`: the version that it says.
pub fn metadata(bytes: &[u8]) -> Result<String, ReferencesError> {
    let fault = |problem: String| ReferencesError::File { file: METADATA, problem };
    let document = read(bytes, METADATA)?;
    if text(&document["kind"]) != Some("cincinnati-metadata-v0") {
        return Err(fault("its `kind` is not `cincinnati-metadata-v0`".to_owned()));
    }
    version(text(&document["version"]).unwrap_or_default()).map_err(fault)
}

/// Reads the boot images' ConfigMap: those of KubeVirt, that of `data.stream` before those of `data.streams`.
pub fn boot_images(bytes: &[u8]) -> Result<Vec<BootImage>, ReferencesError> {
    let fault = |problem: String| ReferencesError::File { file: BOOT_IMAGES, problem };
    let document = read(bytes, BOOT_IMAGES)?;
    kind(&document, "ConfigMap", "v1").map_err(fault)?;
    let data = &document["data"];
    // JSON in a text.
    let inner = |key: &str| {
        text(&data[key]).map(|text| document::read(text, key)).transpose().map_err(fault)
    };
    let (stream, streams) = (inner("stream")?, inner("streams")?);
    if stream.is_none() && streams.is_none() {
        return Err(fault("it has neither `data.stream` nor `data.streams`".to_owned()));
    }
    let mut all = Vec::new();
    if let Some(stream) = &stream {
        of_stream(stream, None, &mut all).map_err(fault)?;
    }
    let streams = streams.as_ref().and_then(Value::as_object);
    for (name, stream) in streams.into_iter().flatten().take(STREAMS_MAX) {
        if !is_tag_end(name) {
            return Err(fault(format!("the name of the stream `{}` is wrong", short(name))));
        }
        of_stream(stream, Some(name), &mut all).map_err(fault)?;
    }
    Ok(all)
}

fn of_stream(stream: &Value, name: Option<&str>, all: &mut Vec<BootImage>) -> Result<(), String> {
    for (architecture, content) in stream["architectures"].as_object().into_iter().flatten() {
        let Some(image) = content["images"].get("kubevirt") else { continue };
        let wrong = |problem| format!("KubeVirt for `{}`: {problem}", short(architecture));
        let image = by_digest(text(&image["digest-ref"]).unwrap_or_default()).map_err(wrong)?;
        // What `data.stream` names too has its name already.
        let again = |one: &BootImage| one.architecture == *architecture && one.image == image;
        if !all.iter().any(again) {
            let (stream, architecture) = (name.map(ToOwned::to_owned), architecture.clone());
            all.push(BootImage { stream, architecture, image });
        }
    }
    Ok(())
}

fn read(bytes: &[u8], file: &'static str) -> Result<Value, ReferencesError> {
    let fault = |problem: String| ReferencesError::File { file, problem };
    let text = std::str::from_utf8(bytes).map_err(|_| fault("it is not UTF-8 text".to_owned()))?;
    document::read(text, file).map_err(fault)
}

fn kind(document: &Value, kind: &str, version: &str) -> Result<(), String> {
    let is = |key: &str, wanted: &str| text(&document[key]) == Some(wanted);
    if is("kind", kind) && is("apiVersion", version) {
        Ok(())
    } else {
        Err(format!("it is no {kind} of {version}"))
    }
}

fn text(value: &Value) -> Option<&str> {
    value.as_str()
}

fn version(text: &str) -> Result<String, String> {
    match Version::parse(text) {
        Ok(_) if text.len() <= COMPONENT_NAME_MAX => Ok(text.to_owned()),
        _ => Err(format!("`{}` is not a version", short(text))),
    }
}

fn by_digest(text: &str) -> Result<Reference, String> {
    let image: Reference =
        text.parse().map_err(|_| format!("`{}` is not the name of an image", short(text)))?;
    if image.digest.is_none() {
        return Err(format!("`{}` names its image without a digest", short(text)));
    }
    Ok(image)
}

/// Whether a text can stand in a tag, behind a version.
fn is_tag_end(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    (1..=COMPONENT_NAME_MAX).contains(&text.len()) && text.bytes().all(fits)
}

/// A text from outside, for a message.
fn short(text: &str) -> String {
    text.chars().take(120).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn image(name: &str) -> String {
        let digest = format_spec::Digest::of(name.as_bytes());
        format!(r#"{{"name":"{name}","from":{{"kind":"DockerImage","name":"q.io/a/b@{digest}"}}}}"#)
    }

    fn stream(version: &str, tags: &str) -> String {
        format!(
            r#"{{"kind":"ImageStream","apiVersion":"image.openshift.io/v1","metadata":{{"name":"{version}"}},"spec":{{"tags":[{tags}]}}}}"#
        )
    }

    #[test]
    fn real_files_are_read() {
        let Some(data) = super::super::testing::data("release") else { return };
        let file = |name: &str| fs_err::read(data.join(name)).unwrap();
        for (release, version, count) in
            [("4.8", "4.8.0-", 140), ("4.10", "4.10.0-0.nightly-2021-11-14-184249", 146)]
        {
            let found = references(&file(&format!("{release}/{REFERENCES}"))).unwrap();
            assert!(found.version.starts_with(version), "{}", found.version);
            assert_eq!(found.components.len(), count);
        }
        let boot = |release: &str| boot_images(&file(&format!("{release}/{BOOT_IMAGES}"))).unwrap();
        assert!(boot("4.8").is_empty());
        let one = &boot("4.10")[0];
        assert_eq!((one.architecture.as_str(), &one.stream), ("x86_64", &None));
        assert!(one.image.to_string().ends_with("d6ac85"));
        let several = boot("5.0");
        let streams: Vec<_> = several.iter().map(|one| one.stream.as_deref()).collect();
        // What `stream` has is named once.
        assert_eq!(streams.len(), 2, "{several:?}");
        assert!(streams[0].is_none());
        for name in ["test-cyclic", "test-labels"] {
            let found =
                metadata(&file(&format!("release-metadata/{name}-public-manual-0.0.2.json")));
            assert_eq!(found.unwrap(), "0.0.2");
        }
        // Its references are those of a template.
        let refused = references(&file("template/image-references")).unwrap_err();
        assert!(refused.to_string().contains("component1"), "{refused}");
    }

    #[test]
    fn what_is_no_release_is_refused_by_name() {
        let good = stream("4.16.0", &format!("{},{}", image("a"), image("b")));
        assert_eq!(references(good.as_bytes()).unwrap().components.len(), 2);
        let twice = stream("4.16.0", &format!("{},{}", image("a"), image("a")));
        let digest = format_spec::Digest::of(b"a").to_string();
        let by_tag = good.replacen(&format!("@{digest}"), ":latest", 1);
        for (text, says) in [
            (twice, "component `a`: it stands twice"),
            (by_tag, "component `a`: `q.io/a/b:latest` names its image without a digest"),
            (good.replacen("DockerImage", "ImageStreamTag", 1), "component `a`"),
            (good.replacen("\"a\"", "\"a/b\"", 1), "component `a/b`: its name"),
            (good.replacen("\"a\"", "\"\"", 1), "spec.tags[0]"),
            (good.replace("4.16.0", "next"), "`next` is not a version"),
            (good.replace("ImageStream", "Secret"), "it is no ImageStream"),
            (stream("4.16.0", ""), "it names 0 components"),
            ("<html>".to_owned(), "image-references"),
            (String::new(), "image-references"),
            (good.replace("\"spec\"", "\"kind\":\"x\",\"spec\""), "duplicate key"),
        ] {
            let error = references(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
        assert!(metadata(b"{\"kind\":\"x\",\"version\":\"1.0.0\"}").is_err());
        assert!(
            boot_images(b"{\"kind\":\"ConfigMap\",\"apiVersion\":\"v1\",\"data\":{}}").is_err()
        );
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in r#"[\[\]{}:,"a-e0-9@\n. -]{0,80}"#) {
            let _ = references(text.as_bytes());
            let _ = metadata(text.as_bytes());
            let _ = boot_images(text.as_bytes());
        }
    }
}
