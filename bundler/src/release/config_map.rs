//! Signatures of releases as clusters are given them: ConfigMaps.
//!
//! In: such a file, as `bundle resources`, `oc adm release mirror` or oc-mirror wrote it; or signatures. Out: signature files by
//! the digest that they sign and their number; or the ConfigMap of one release. What must hold: only what has a name of that
//! form counts, and nothing of it is believed: whoever uses a signature verifies it.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use format_spec::Digest;
use serde_json::{Value, json};

use super::limits::{SIGNATURE_MAX, SIGNATURES_KEPT_MAX};
use crate::config::document;

/// Signature files by the digest that they sign and their number.
pub type Signatures = BTreeMap<(Digest, u32), Vec<u8>>;

/// Reads a ConfigMap, or a list of them, in JSON or YAML.
pub fn read(bytes: &[u8], name: &str) -> Result<Signatures, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8 text".to_owned())?;
    let document = document::read(text, name)?;
    let mut signatures = Signatures::new();
    match document["kind"].as_str() {
        Some("ConfigMap") => take(&document, &mut signatures)?,
        Some("List") => {
            for item in document["items"].as_array().into_iter().flatten() {
                take(item, &mut signatures)?;
            }
        }
        _ => return Err("it is neither a ConfigMap nor a list of them".to_owned()),
    }
    Ok(signatures)
}

fn take(map: &Value, signatures: &mut Signatures) -> Result<(), String> {
    for (key, value) in map["binaryData"].as_object().into_iter().flatten() {
        let Some(name) = key_of(key) else { continue };
        let wrong = || format!("its `{key}` is no signature in base64");
        let content = value.as_str().map(|text| BASE64_STANDARD.decode(text.trim()));
        let content = content.and_then(Result::ok).ok_or_else(wrong)?;
        if content.len() > SIGNATURE_MAX {
            return Err(format!("its `{key}` is larger than {SIGNATURE_MAX} bytes"));
        }
        signatures.insert(name, content);
        if signatures.len() > SIGNATURES_KEPT_MAX {
            return Err(format!("it has more than {SIGNATURES_KEPT_MAX} signatures"));
        }
    }
    Ok(())
}

/// `sha256-<hex>-<n>`.
fn key_of(key: &str) -> Option<(Digest, u32)> {
    let (digest, number) = key.strip_prefix("sha256-")?.split_once('-')?;
    let number = number.parse().ok().filter(|number: &u32| *number > 0)?;
    Some((format!("sha256:{digest}").parse().ok()?, number))
}

/// The name of the file with the signatures of a release, as `oc adm release mirror` names it.
pub fn file_name(digest: &Digest) -> String {
    format!("signature-sha256-{}.json", &digest.hex()[..16])
}

/// The ConfigMap with the signatures of one release, as `oc adm release mirror` makes it.
pub fn write<'a>(digest: &Digest, signatures: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let name = format!("sha256-{}", digest.hex());
    let data: serde_json::Map<String, Value> = signatures
        .enumerate()
        .map(|(at, file)| (format!("{name}-{}", at + 1), json!(BASE64_STANDARD.encode(file))))
        .collect();
    let map = json!({
        "kind": "ConfigMap",
        "apiVersion": "v1",
        "metadata": {
            "name": name,
            "namespace": "openshift-config-managed",
            "labels": { "release.openshift.io/verification-signatures": "" },
        },
        "binaryData": data,
    });
    map.to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_in_every_form() {
        let digest = Digest::of(b"release");
        let files = [&b"one"[..], b"two"];
        let expected =
            Signatures::from([((digest, 1), b"one".to_vec()), ((digest, 2), b"two".to_vec())]);
        let map = write(&digest, files.into_iter());
        assert_eq!(read(&map, "x").unwrap(), expected);
        let list = format!(
            r#"{{"kind":"List","apiVersion":"v1","items":[{}]}}"#,
            String::from_utf8(map).unwrap()
        );
        assert_eq!(read(list.as_bytes(), "x").unwrap(), expected);
        let key = format!("sha256-{}", digest.hex());
        let yaml = format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {key}\nbinaryData:\n  {key}-1: b25l\n  {key}-2: dHdv\n  \
             other: b25l\n"
        );
        assert_eq!(read(yaml.as_bytes(), "x").unwrap(), expected);
        for bad in [
            "{}",
            "<html>",
            r#"{"kind":"Secret"}"#,
            &format!(r#"{{"kind":"ConfigMap","binaryData":{{"{key}-1":"?"}}}}"#),
            &format!(r#"{{"kind":"ConfigMap","binaryData":{{"{key}-1":7}}}}"#),
        ] {
            assert!(read(bad.as_bytes(), "x").is_err(), "{bad}");
        }
        assert!(read(b"\xff", "x").is_err());
        let none =
            format!(r#"{{"kind":"ConfigMap","binaryData":{{"{key}-0":"b25l","{key}":""}}}}"#);
        assert!(read(none.as_bytes(), "x").unwrap().is_empty());
    }
}
