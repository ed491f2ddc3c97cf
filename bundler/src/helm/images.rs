//! Which images a chart needs, and where each was found.
//!
//! In: the documents that a chart renders to, its annotations, its values. Out: references by which images are pulled, each
//! with the places it was found at, and the values that look like some and are none. What must hold: a value that is no image
//! never stops the rest, and is named.

use std::collections::BTreeMap;

use registry::reference::Reference;
use serde::Serialize;
use serde_json::{Map, Value};

use super::chart::{self, Chart};
use super::limits::{IMAGES_MAX, SKIPPED_MAX};
use super::paths::JsonPath;
use crate::error::fit;

/// The annotations in which charts list their images.
const ANNOTATIONS: [&str; 2] = ["artifacthub.io/images", "helm.sh/images"];

/// Lists of containers in a pod.
const CONTAINERS: [&str; 3] = ["containers", "initContainers", "ephemeralContainers"];

/// Places that are told of one image.
const PLACES_MAX: usize = 16;

/// How an image was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum By {
    /// In a pod of what the chart renders to.
    Pod,
    /// Under a path that the configuration names.
    ImagePath,
    /// In an annotation of the chart.
    Annotation,
    /// In the default values: a guess.
    Scan,
}

/// Where something was found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct At {
    /// How.
    pub by: By,
    /// The file of the chart.
    pub file: String,
    /// Kind and name of the object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    /// The path in it.
    pub path: String,
}

/// An image that a chart needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Found {
    /// Its reference, with host and tag or digest.
    pub image: String,
    /// Where it was found.
    pub found: Vec<At>,
}

/// A value that is no image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Skipped {
    /// The value.
    pub value: String,
    /// Why it is left out.
    pub why: String,
    /// Where it stands.
    pub found: At,
}

/// What was found of a chart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Images {
    found: BTreeMap<String, Vec<At>>,
    /// Values that are no images.
    pub skipped: Vec<Skipped>,
    /// What a person should know.
    pub warnings: Vec<String>,
}

impl std::fmt::Display for At {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.object {
            Some(object) => write!(f, "{object} {} in {}", self.path, self.file),
            None => write!(f, "{} in {}", self.path, self.file),
        }
    }
}

impl Images {
    /// The images.
    pub fn found(self) -> (Vec<Found>, Vec<Skipped>, Vec<String>) {
        let found = self.found.into_iter().map(|(image, found)| Found { image, found });
        (found.collect(), self.skipped, self.warnings)
    }

    fn take(&mut self, value: &str, at: At) {
        match reference(value, at.by) {
            Ok(image) => {
                if self.found.len() >= IMAGES_MAX && !self.found.contains_key(&image.to_string()) {
                    if self.found.len() == IMAGES_MAX && self.warnings.is_empty() {
                        self.warnings.push(format!(
                            "it names more than {IMAGES_MAX} images: the rest is left behind"
                        ));
                    }
                    return;
                }
                let places = self.found.entry(image.to_string()).or_default();
                if places.len() < PLACES_MAX && !places.contains(&at) {
                    places.push(at);
                }
            }
            Err(why) => self.skip(value, why, at),
        }
    }

    fn skip(&mut self, value: &str, why: &str, found: At) {
        if self.skipped.len() < SKIPPED_MAX {
            let value = value.chars().take(200).collect();
            let skipped = Skipped { value, why: why.to_owned(), found };
            if !self.skipped.contains(&skipped) {
                self.skipped.push(skipped);
            }
        }
    }

    /// Finds the images of what a chart renders to: every pod in it wherever it stands, and what `paths` lead to.
    pub fn rendered(&mut self, text: &str, paths: &[(String, JsonPath)]) {
        for (file, text) in documents(text) {
            match chart::document(text) {
                Ok(Ok(map)) => self.object(&file, &Value::Object(map), paths),
                Ok(Err(_)) => {}
                Err(error) => self.warnings.push(fit(&format!(
                    "images in what `{file}` renders to are not found: {error}"
                ))),
            }
        }
    }

    fn object(&mut self, file: &str, document: &Value, paths: &[(String, JsonPath)]) {
        // A list of objects is each of them.
        if document["kind"].as_str().is_some_and(|kind| kind.ends_with("List"))
            && let Some(items) = document["items"].as_array()
        {
            return items.iter().for_each(|item| self.object(file, item, paths));
        }
        if is_test(document) {
            return;
        }
        let kind = document["kind"].as_str().unwrap_or("?");
        let object = match document["metadata"]["name"].as_str() {
            Some(name) => format!("{kind}/{name}"),
            None => kind.to_owned(),
        };
        let at =
            |by, path: String| At { by, file: file.to_owned(), object: Some(object.clone()), path };
        let mut pods = Pods::default();
        pods.walk(document, &mut String::new());
        for (path, value) in pods.images {
            self.take(&value, at(By::Pod, path));
        }
        for (text, path) in paths {
            for value in path.find(document) {
                match value {
                    Value::String(value) => self.take(value, at(By::ImagePath, text.clone())),
                    Value::Null => {}
                    other => {
                        let why = "it is no text";
                        self.skip(&other.to_string(), why, at(By::ImagePath, text.clone()));
                    }
                }
            }
        }
        for (path, value) in pods.others {
            let known = reference(&value, By::ImagePath).is_ok_and(|image| {
                self.found.contains_key(&image.to_string()) || !value.contains('/')
            });
            if !known && value.contains('/') {
                let why = "it is in no pod; if it is an image, name its path in `imagePaths`";
                self.skip(&value, why, at(By::Pod, path));
            }
        }
    }

    /// Takes the images that a chart lists in its annotations.
    pub fn annotated(&mut self, chart: &Chart) {
        for name in ANNOTATIONS {
            let Some(text) = chart.annotation(name).filter(|text| !text.trim().is_empty()) else {
                continue;
            };
            let at = |path| At { by: By::Annotation, file: chart.file.clone(), object: None, path };
            // A list, as the value of a key.
            let text = if text.trim_start().starts_with('[') { text.trim() } else { text };
            let space = if text.starts_with('[') { " " } else { "\n" };
            let document = chart::document(&format!("images:{space}{text}\n"));
            let Ok(Ok(mut map)) = document else {
                self.warnings.push(format!("`{}`: the annotation `{name}` is no YAML", chart.file));
                continue;
            };
            let Some(Value::Array(list)) = map.remove("images") else {
                self.warnings.push(format!("`{}`: the annotation `{name}` is no list", chart.file));
                continue;
            };
            for (number, entry) in list.iter().enumerate() {
                match entry["image"].as_str().or(entry.as_str()) {
                    Some(image) => self.take(image, at(format!("{name}[{number}]"))),
                    None => self.skip(&entry.to_string(), "it has no `image`", at(name.to_owned())),
                }
            }
        }
    }

    /// Guesses images from the default values: a text under `image`, and `registry`, `repository`, `tag` that stand together.
    pub fn scanned(&mut self, chart: &Chart) {
        let file = chart.file.replace("Chart.yaml", "values.yaml");
        let version = chart.metadata.get("appVersion").and_then(Value::as_str);
        self.scan(&chart.values, &file, version, &mut String::new());
    }

    fn scan(
        &mut self,
        values: &Map<String, Value>,
        file: &str,
        version: Option<&str>,
        path: &mut String,
    ) {
        let text = |key: &str| match values.get(key) {
            Some(Value::String(text)) if !text.trim().is_empty() => Some(text.trim().to_owned()),
            Some(Value::Number(number)) => Some(number.to_string()),
            _ => None,
        };
        let at = |path: String| At { by: By::Scan, file: file.to_owned(), object: None, path };
        let whole = text("repository").or_else(|| {
            text("image").filter(|_| text("tag").is_some() || text("registry").is_some())
        });
        if let Some(repository) = whole.filter(|text| !text.contains("://")) {
            let mut image = match text("registry") {
                Some(registry) => format!("{}/{repository}", registry.trim_end_matches('/')),
                None => repository.clone(),
            };
            let tagged =
                repository.rsplit('/').next().is_some_and(|last| last.contains([':', '@']));
            if let Some(digest) = text("digest").or_else(|| text("sha")).filter(|_| !tagged) {
                image = format!("{image}@{digest}");
            } else if let Some(tag) =
                text("tag").or(version.map(ToOwned::to_owned)).filter(|_| !tagged)
            {
                image = format!("{image}:{tag}");
            }
            self.take(&image, at(if path.is_empty() { ".".to_owned() } else { path.clone() }));
        } else if let Some(Value::String(image)) = values.get("image")
            && !image.trim().is_empty()
        {
            self.take(image, at(format!("{path}.image")));
        }
        for (key, value) in values {
            let Value::Object(below) = value else { continue };
            let length = path.len();
            path.push('.');
            path.push_str(key);
            self.scan(below, file, version, path);
            path.truncate(length);
        }
    }
}

/// What stands in a document where images stand.
#[derive(Default)]
struct Pods {
    images: Vec<(String, String)>,
    /// Texts under `image` that are in no pod.
    others: Vec<(String, String)>,
}

impl Pods {
    /// Looks at everything: a pod's template may be deep in an object that nobody here knows.
    fn walk(&mut self, value: &Value, path: &mut String) {
        let length = path.len();
        match value {
            Value::Object(map) => {
                for (key, value) in map {
                    path.push('.');
                    path.push_str(key);
                    if CONTAINERS.contains(&key.as_str()) {
                        self.images_of(value, path, &["image"]);
                    } else if key == "volumes" {
                        self.images_of(value, path, &["image", "reference"]);
                    } else if key == "image"
                        && let Value::String(text) = value
                    {
                        self.others.push((path.clone(), text.clone()));
                    }
                    self.walk(value, path);
                    path.truncate(length);
                }
            }
            Value::Array(list) => {
                for (number, value) in list.iter().enumerate() {
                    path.push_str(&format!("[{number}]"));
                    self.walk(value, path);
                    path.truncate(length);
                }
            }
            _ => {}
        }
    }

    fn images_of(&mut self, list: &Value, path: &str, keys: &[&str]) {
        for (number, entry) in list.as_array().into_iter().flatten().enumerate() {
            let mut value = entry;
            for key in keys {
                value = &value[*key];
            }
            if let Value::String(text) = value {
                self.images.push((format!("{path}[{number}].{}", keys.join(".")), text.clone()));
            }
        }
    }
}

/// Whether it only tests an installation.
fn is_test(document: &Value) -> bool {
    let hooks = document["metadata"]["annotations"]["helm.sh/hook"].as_str().unwrap_or_default();
    hooks.split(',').any(|hook| hook.trim().starts_with("test"))
}

/// The documents of a rendered text, each with the file that it comes from.
fn documents(text: &str) -> Vec<(String, &str)> {
    let mut all = Vec::new();
    let mut from = 0;
    let mut at = 0;
    let mut file = "?".to_owned();
    for line in text.split_inclusive('\n').chain(["---"]) {
        let bare = line.trim_end();
        if bare == "---" || bare.starts_with("--- ") {
            let end = at.min(text.len());
            if !text[from..end].trim().is_empty() {
                all.push((file.clone(), &text[from..end]));
            }
            from = (at + line.len()).min(text.len());
        } else if let Some(source) = bare.strip_prefix("# Source: ") {
            source.clone_into(&mut file);
        }
        at += line.len();
    }
    all
}

/// What a value pulls, as container runtimes read it: without a host it is of Docker Hub, without a tag `latest`.
pub fn reference(value: &str, by: By) -> Result<Reference, &'static str> {
    let text = value.trim();
    if text.is_empty() {
        return Err("it is empty");
    }
    if text.contains("://") || text.contains(char::is_whitespace) || text.contains(['{', '$']) {
        return Err("it is no reference of an image");
    }
    if text == "auto" {
        return Err("it stands for an image that the cluster fills in");
    }
    let (first, rest) =
        text.split_once('/').map_or((text, None), |(first, rest)| (first, Some(rest)));
    if by == By::ImagePath {
        // There anything may stand.
        let has_host = rest.is_some() && first.contains('.');
        if !text.contains([':', '@']) && !has_host {
            return Err("it is no reference of an image: it has neither a tag nor a digest");
        }
        let port = first.rsplit_once(':').map(|(_, port)| port).filter(|_| rest.is_none());
        if port.is_some_and(|port| port.len() >= 4 && port.parse::<u16>().is_ok()) {
            return Err("it is no reference of an image but a host and a port");
        }
    }
    let host = |text: &str| {
        text.contains(['.', ':'])
            || text == "localhost"
            || text.bytes().any(|b| b.is_ascii_uppercase())
    };
    let whole = match rest {
        None => format!("docker.io/library/{text}"),
        Some(_) if host(first) => text.to_owned(),
        Some(_) => format!("docker.io/{text}"),
    };
    let mut image: Reference = whole.parse().map_err(|_| "it is no reference of an image")?;
    if image.tag.is_none() && image.digest.is_none() {
        image.tag = "latest".parse().ok();
    }
    Ok(image)
}

#[cfg(test)]
#[path = "images_tests.rs"]
mod tests;
