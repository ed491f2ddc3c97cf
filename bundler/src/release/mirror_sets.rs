//! Mirrors as clusters are told about them.
//!
//! In: a file with `ImageDigestMirrorSet` or `ImageContentSourcePolicy` objects, as an import or `oc` wrote it. Out: for each source
//! its mirrors. What must hold: what is for tags, or of another kind, is passed over; an object that is broken is an error.

use std::io::Read as _;
use std::path::Path;

use registry::client::MirrorSet;
use serde_json::Value;

use super::limits::{CONFIG_MAP_MAX, MIRRORS_MAX};
use crate::config::document;

/// Why a file says nothing about mirrors.
#[derive(Debug, thiserror::Error)]
pub enum MirrorSetsError {
    /// It cannot be read; the system's answer names it.
    #[error("cannot read the mirrors: {0}")]
    Read(std::io::Error),
    /// It cannot be used.
    #[error("the mirrors in `{file}` cannot be used: {problem}")]
    File {
        /// The file.
        file: String,
        /// What is wrong.
        problem: String,
    },
}

/// Reads a file of mirrors.
pub fn load(path: &Path) -> Result<Vec<MirrorSet>, MirrorSetsError> {
    let mut bytes = Vec::new();
    let file = registry::regular::open(path).map_err(MirrorSetsError::Read)?;
    file.take(CONFIG_MAP_MAX + 1).read_to_end(&mut bytes).map_err(MirrorSetsError::Read)?;
    let file = path.display().to_string();
    let fault = |problem: String| MirrorSetsError::File { file: file.clone(), problem };
    if bytes.len() as u64 > CONFIG_MAP_MAX {
        return Err(fault(format!("it is larger than {CONFIG_MAP_MAX} bytes")));
    }
    let text = String::from_utf8(bytes).map_err(|_| fault("it is not UTF-8 text".to_owned()))?;
    let sets = parse(&text, &file).map_err(&fault)?;
    match sets.is_empty() {
        true => Err(fault(
            "it has no mirror of an `ImageDigestMirrorSet` or `ImageContentSourcePolicy`"
                .to_owned(),
        )),
        false => Ok(sets),
    }
}

fn parse(text: &str, file: &str) -> Result<Vec<MirrorSet>, String> {
    let mut sets = Vec::new();
    for document in documents(text) {
        take(&document::read(&document, file)?, file, &mut sets)?;
    }
    Ok(sets)
}

/// The documents of a text, each by itself; one without content is none.
fn documents(text: &str) -> Vec<String> {
    let mut documents = vec![String::new()];
    for line in text.lines() {
        if line.trim_end() == "---" {
            documents.push(String::new());
        } else if let Some(last) = documents.last_mut() {
            last.push_str(line);
            last.push('\n');
        }
    }
    let says = |line: &str| !line.trim().is_empty() && !line.trim_start().starts_with('#');
    documents.retain(|document| document.lines().any(says));
    documents
}

fn take(document: &Value, file: &str, sets: &mut Vec<MirrorSet>) -> Result<(), String> {
    let kind = document["kind"].as_str().unwrap_or_default();
    let field = match kind {
        "ImageDigestMirrorSet" => "imageDigestMirrors",
        "ImageContentSourcePolicy" => "repositoryDigestMirrors",
        "List" => {
            for item in document["items"].as_array().into_iter().flatten() {
                take(item, file, sets)?;
            }
            return Ok(());
        }
        _ => return Ok(()),
    };
    let entries = document["spec"][field].as_array();
    let entries = entries.ok_or_else(|| format!("its {kind} has no `spec.{field}`"))?;
    for entry in entries {
        let source = entry["source"].as_str().unwrap_or_default().to_owned();
        let mirrors = entry["mirrors"].as_array().into_iter().flatten();
        let mirrors: Option<Vec<String>> =
            mirrors.map(|mirror| mirror.as_str().map(ToOwned::to_owned)).collect();
        let (false, Some(mirrors)) = (source.is_empty(), mirrors) else {
            return Err(format!(
                "an entry of its {kind} has no `source`, or mirrors that are no text"
            ));
        };
        let never_source = entry["mirrorSourcePolicy"] == "NeverContactSource";
        sets.push(MirrorSet { source, mirrors, never_source, file: file.to_owned() });
        if sets.len() > MIRRORS_MAX {
            return Err(format!("it has more than {MIRRORS_MAX} entries"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn mirrors_are_read_of_every_kind_for_digests() {
        let text = "\
# written by hand
---
apiVersion: config.openshift.io/v1
kind: ImageDigestMirrorSet
metadata:
  name: idms-release-0
spec:
  imageDigestMirrors:
  - source: q.io/r
    mirrors:
    - m.lan/r
    - n.lan/r
  - mirrors: [m.lan/x]
    source: q.io/x
    mirrorSourcePolicy: NeverContactSource
---
apiVersion: config.openshift.io/v1
kind: ImageTagMirrorSet
spec:
  imageTagMirrors:
  - {source: q.io/t, mirrors: [m.lan/t]}
---
apiVersion: operator.openshift.io/v1alpha1
kind: ImageContentSourcePolicy
spec:
  repositoryDigestMirrors:
  - source: q.io/p
    mirrors:
    - m.lan/p
";
        let sets = parse(text, "x").unwrap();
        let shown: Vec<_> = sets
            .iter()
            .map(|set| (&*set.source, set.mirrors.join(" "), set.never_source))
            .collect();
        assert_eq!(
            shown,
            [
                ("q.io/r", "m.lan/r n.lan/r".to_owned(), false),
                ("q.io/x", "m.lan/x".to_owned(), true),
                ("q.io/p", "m.lan/p".to_owned(), false),
            ]
        );
        let json = r#"{"kind":"List","items":[{"kind":"ImageDigestMirrorSet","spec":{"imageDigestMirrors":[
            {"source":"q.io/r","mirrors":["m.lan/r"]}]}}]}"#;
        assert_eq!(parse(json, "x").unwrap().len(), 1);
        for bad in [
            "kind: ImageDigestMirrorSet\n",
            "kind: ImageDigestMirrorSet\nspec:\n  imageDigestMirrors:\n  - mirrors: [a]\n",
            "kind: ImageDigestMirrorSet\nspec:\n  imageDigestMirrors:\n  - {source: q.io, mirrors: [{}]}\n",
            "a: [\n",
        ] {
            assert!(parse(bad, "x").is_err(), "{bad}");
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("idms.yaml");
        assert!(matches!(load(&path), Err(MirrorSetsError::Read(_))));
        crate::durable::write(&path, b"kind: Pod\n").unwrap();
        assert!(load(&path).unwrap_err().to_string().contains("has no mirror"));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[a-z:\\-\\[\\]{}# \n]{0,80}") {
            let _ = parse(&text, "x");
        }
    }
}
