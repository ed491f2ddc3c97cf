//! The template of a `CatalogSource`: `targetCatalogSourceTemplate` of a configuration, a file of the user.
//!
//! In: the file, YAML or JSON; a relative path is relative to the current directory, as for oc-mirror. Out: its object, for the
//! resource of the catalog. What must hold: what is taken here the other side can read and use, so nobody learns of a
//! fault there; where oc-mirror says of a template that it cannot be used, and goes on without it, here is an error.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use format_spec::limits::TEMPLATE_MAX;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::objects::Objects;
use super::wording::quoted;

/// Why a template cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// It does not come.
    #[error("cannot read `{}`, which `targetCatalogSourceTemplate` names", .file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Nothing that an object of a cluster can be made of.
    #[error("`{}` is no template of a CatalogSource: {problem}", .file.display())]
    Invalid {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        problem: String,
    },
}

impl TemplateError {
    /// What to do next.
    pub fn hint(&self) -> String {
        match self {
            Self::Read { file, source } if source.kind() == io::ErrorKind::NotFound && file.is_relative() => {
                "the path is relative to the current directory, not to the configuration: run it from there, or write the whole path".to_owned()
            }
            Self::Read { .. } => "make the file readable, or remove `targetCatalogSourceTemplate`".to_owned(),
            Self::Invalid { .. } => {
                "write one CatalogSource of `operators.coreos.com/v1alpha1` with the fields of `spec` that are wanted, or remove \
                 `targetCatalogSourceTemplate`; name and image are set for you"
                    .to_owned()
            }
        }
    }
}

/// Reads the template.
pub fn read(file: &Path) -> Result<Map<String, Value>, TemplateError> {
    let mut bytes = Vec::new();
    let most = TEMPLATE_MAX as u64 + 1;
    fs_err::File::open(file)
        .and_then(|it| it.take(most).read_to_end(&mut bytes))
        .map_err(|source| TemplateError::Read { file: file.to_owned(), source })?;
    template(&bytes).map_err(|problem| TemplateError::Invalid { file: file.to_owned(), problem })
}

fn template(bytes: &[u8]) -> Result<Map<String, Value>, String> {
    if bytes.len() > TEMPLATE_MAX {
        return Err(format!("it is larger than {TEMPLATE_MAX} bytes"));
    }
    let mut objects = Objects::new(bytes);
    let first = objects.next().map_err(|fault| fault.to_string())?.ok_or("it is empty")?;
    let line = first.spot.line.saturating_sub(1);
    // JSON that was written as JSON is seen by nobody before.
    let template: Map<String, Value> = serde_json::from_str(first.json)
        .map_err(|error| format!("bad JSON in line {}: {error}", line + error.line() as u64))?;
    strict(first.json)?;
    if let Some(second) = objects.next().map_err(|fault| fault.to_string())? {
        return Err(format!("a second object begins in line {}", second.spot.line));
    }
    means(&template)?;
    Ok(template)
}

/// Whether the other side can read it, within the content of the resource.
fn strict(json: &str) -> Result<(), String> {
    #[derive(Deserialize)]
    struct Content {
        template: Map<String, Value>,
    }
    let content: Content = format_spec::json::parse(format!(r#"{{"template":{json}}}"#).as_bytes())
        .map_err(|error| {
            // Its place is none in the file.
            let error = error.to_string();
            error.split(" at line ").next().unwrap_or_default().to_owned()
        })?;
    let bytes = serde_json::to_vec(&content.template).map_or(usize::MAX, |json| json.len());
    if bytes > TEMPLATE_MAX {
        return Err(format!(
            "as JSON, aliases included, it has {bytes} bytes, at most {TEMPLATE_MAX}"
        ));
    }
    Ok(())
}

/// Whether it says what a template can say.
fn means(template: &Map<String, Value>) -> Result<(), String> {
    match text(template, "kind")? {
        Some("CatalogSource") => {}
        Some(kind) => return Err(format!("its `kind` is {}", quoted(kind))),
        None => return Err("it has no `kind`".to_owned()),
    }
    if let Some(version) =
        text(template, "apiVersion")?.filter(|it| *it != "operators.coreos.com/v1alpha1")
    {
        return Err(format!("its `apiVersion` is {}", quoted(version)));
    }
    if let Some(metadata) = object(template, "metadata", "metadata")? {
        for (field, shown) in
            [("labels", "metadata.labels"), ("annotations", "metadata.annotations")]
        {
            let values = object(metadata, field, shown)?.into_iter().flatten();
            if let Some((name, _)) = values.into_iter().find(|(_, value)| !value.is_string()) {
                return Err(format!("{} in `{shown}` is no text: put it in quotes", quoted(name)));
            }
        }
    }
    let Some(spec) = object(template, "spec", "spec")? else { return Ok(()) };
    // A catalog that is no image, which oc-mirror takes no more than we.
    if let Some(other) = text(spec, "sourceType")?.filter(|it| !["", "grpc"].contains(it)) {
        return Err(format!(
            "its `spec.sourceType` is {}, and a catalog at the mirror is `grpc`",
            quoted(other)
        ));
    }
    match text(spec, "configMap")? {
        None | Some("") => Ok(()),
        Some(_) => {
            Err("it has a `spec.configMap`, and a catalog at the mirror is an image".to_owned())
        }
    }
}

fn text<'a>(of: &'a Map<String, Value>, field: &str) -> Result<Option<&'a str>, String> {
    match of.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(format!("its `{field}` is no text")),
    }
}

fn object<'a>(
    of: &'a Map<String, Value>,
    field: &str,
    shown: &str,
) -> Result<Option<&'a Map<String, Value>>, String> {
    match of.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(found)) => Ok(Some(found)),
        Some(_) => Err(format!("its `{shown}` is no mapping")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::release::testing::data;

    #[test]
    fn a_template_is_read_as_it_is_written() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("template.yaml");
        let yaml = "\
# Ours
---
apiVersion: operators.coreos.com/v1alpha1
kind: CatalogSource
metadata:
  name: totalRubbish
  annotations: {a.b/c: '1'}
spec:
  image: elsewhere
  sourceType: grpc
  priority: -100
  publisher: 'on'
  updateStrategy:
    registryPoll:
      interval: 30m0s
";
        let expected = serde_json::json!({
            "apiVersion": "operators.coreos.com/v1alpha1", "kind": "CatalogSource",
            "metadata": {"name": "totalRubbish", "annotations": {"a.b/c": "1"}},
            "spec": {
                "image": "elsewhere", "sourceType": "grpc", "priority": -100, "publisher": "on",
                "updateStrategy": {"registryPoll": {"interval": "30m0s"}},
            },
        });
        for text in [yaml.to_owned(), serde_json::to_string_pretty(&expected).unwrap()] {
            fs_err::write(&file, text).unwrap();
            assert_eq!(Value::Object(read(&file).unwrap()), expected);
        }
        for little in [
            "kind: CatalogSource",
            "{kind: CatalogSource, spec: , metadata: {labels: }}\n---\n# end\n",
        ] {
            assert!(template(little.as_bytes()).is_ok(), "{little}");
        }
    }

    #[test]
    fn what_is_no_template_says_why() {
        let with = |more: &str| format!("kind: CatalogSource\n{more}\n");
        let deep = with(&format!("spec: {}1{}", "{a: ".repeat(15), "}".repeat(15)));
        let long = with(&format!("spec: {{icon: {}}}", "x".repeat(17_000)));
        let large = with(&format!("# {}", "x".repeat(TEMPLATE_MAX)));
        let repeated =
            format!("spec: {{a: &a {}, b: [{}]}}", "x".repeat(10_000), ["*a"; 7].join(", "));
        for (text, word) in [
            ("", "it is empty"),
            ("# nothing\n", "it is empty"),
            ("- a\n", "a list"),
            ("\u{0}", "a null byte"),
            ("{\"kind\": \"CatalogSource\",\n 1}", "bad JSON in line 2"),
            ("{\"kind\": \"CatalogSource\", \"kind\": \"CatalogSource\"}", "stands twice"),
            ("spec: {}\n", "it has no `kind`"),
            ("kind: ImageDigestMirrorSet\n", "its `kind` is `ImageDigestMirrorSet`"),
            ("kind: [CatalogSource]\n", "its `kind` is no text"),
            (&with("kind: CatalogSource"), "there twice"),
            (&with("---\nkind: CatalogSource"), "a second object begins in line"),
            (&with("--- a\n"), "line"),
            (&with("apiVersion: operators.coreos.com/v1"), "its `apiVersion` is"),
            (&with("spec: [1]"), "its `spec` is no mapping"),
            (&with("metadata: 1"), "its `metadata` is no mapping"),
            (&with("metadata: {labels: {a: true}}"), "`a` in `metadata.labels` is no text"),
            (&with("spec: {sourceType: internal}"), "its `spec.sourceType` is `internal`"),
            (&with("spec: {configMap: x}"), "spec.configMap"),
            (&with("spec: {priority: 1.5}"), "floating point"),
            (&with("spec: {priority: 9007199254740992}"), "an integer beyond"),
            (&deep, "nested deeper than 16"),
            (&long, "16384 bytes in one string"),
            (&with(&repeated), "aliases included"),
            (&large, "larger than 65536 bytes"),
        ] {
            let problem = template(text.as_bytes()).expect_err(text);
            assert!(problem.contains(word), "{text}: {problem}");
        }
        let error = read(Path::new("no/such/template.yaml")).unwrap_err();
        assert!(error.to_string().contains("`no/such/template.yaml`"), "{error}");
        assert!(error.hint().contains("current directory"), "{}", error.hint());
    }

    #[test]
    fn the_templates_of_oc_mirrors_tests() {
        let Some(unit) = data("imageset-configs/v2alpha1/unit") else { return };
        let template = |name: &str| read(&unit.join(name));
        let good = template("catalog-source_template.yaml").unwrap();
        assert_eq!(good["spec"]["updateStrategy"]["registryPoll"]["interval"], "30m0s");
        for (name, word) in [
            ("catalog-source_template_KO.yaml", "`kind` is `ImageDigestMirrorSet`"),
            ("catalog-source_template_KO2.yaml", "bad YAML in line 8"),
        ] {
            let error = template(name).unwrap_err();
            let said = error.to_string();
            assert!(said.contains(name) && said.contains(word), "{said}");
        }
    }
}
