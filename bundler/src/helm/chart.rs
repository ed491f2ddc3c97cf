//! What is in a chart's archive.
//!
//! In: the bytes of a `.tgz`. Out: what its `Chart.yaml` says, the values, the same of its sub-charts. What must hold: nothing
//! is unpacked to disk; no archive decides how much memory it takes; one with paths or entries that no chart has is refused,
//! as whoever unpacks it later may not look.

use std::io::{Cursor, Read};

use flate2::read::MultiGzDecoder;
use serde_json::{Map, Value, json};

use super::limits::{CHART_MAX, DEPTH_MAX, FILE_MAX, FILES_MAX, UNPACKED_MAX};
use super::versions;
use crate::catalog::yaml::{self, Root, YamlError};
use crate::release::tarball::{Kind, TarError, Tarball};

/// Why a chart cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ChartError {
    /// It is no archive, or a broken one.
    #[error("it is not an archive as Helm packs charts (`.tgz`)")]
    Archive(#[from] TarError),
    /// An entry that no chart has.
    #[error("its entry `{path}` {problem}")]
    Entry {
        /// The path of the entry.
        path: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// It has too much of something.
    #[error("it has {0}")]
    TooMuch(String),
    /// A document of it is wrong.
    #[error("`{file}`: {problem}")]
    Document {
        /// The path of the document in the archive.
        file: String,
        /// What is wrong, with its line where there is one.
        problem: String,
    },
    /// Its sub-charts contain each other.
    #[error("its sub-charts contain each other: {0}")]
    Cycle(String),
}

/// A chart, as far as it matters here.
#[derive(Debug, Clone)]
pub struct Chart {
    /// Its name.
    pub name: String,
    /// Its version, as it is written.
    pub version: String,
    /// What `Chart.yaml` says, in the form in which Helm takes it.
    pub metadata: Map<String, Value>,
    /// Its default values.
    pub values: Map<String, Value>,
    /// Where its `Chart.yaml` lies in the archive.
    pub file: String,
    /// The charts in it.
    pub charts: Vec<Chart>,
}

/// The documents of a chart, by their paths below its directory.
struct Files {
    base: String,
    documents: Vec<(String, Vec<u8>)>,
    /// Archives of sub-charts.
    archives: Vec<(String, Vec<u8>)>,
}

/// What one chart and all in it may still take.
struct Room {
    bytes: u64,
    files: usize,
}

impl Chart {
    /// Reads an archive.
    pub fn read(archive: &[u8]) -> Result<Self, ChartError> {
        if archive.len() as u64 > CHART_MAX {
            return Err(ChartError::TooMuch(format!("more than {CHART_MAX} bytes")));
        }
        let mut room = Room { bytes: UNPACKED_MAX, files: FILES_MAX };
        Self::unpack(archive, "", &mut room, &mut Vec::new())
    }

    fn unpack(
        archive: &[u8],
        within: &str,
        room: &mut Room,
        above: &mut Vec<String>,
    ) -> Result<Self, ChartError> {
        let files = Files::of(archive, room)?;
        let base = format!("{within}{}/", files.base);
        Self::assemble(&base, &files.documents, &files.archives, room, above)
    }

    fn assemble(
        base: &str,
        documents: &[(String, Vec<u8>)],
        archives: &[(String, Vec<u8>)],
        room: &mut Room,
        above: &mut Vec<String>,
    ) -> Result<Self, ChartError> {
        let file = format!("{base}Chart.yaml");
        let wrong = |problem: String| ChartError::Document { file: file.clone(), problem };
        let find = |name: &str| documents.iter().find(|(path, _)| path == name);
        let (_, bytes) = find("Chart.yaml").ok_or_else(|| wrong("it is missing".to_owned()))?;
        let metadata = metadata(mapping(&file, bytes)?).map_err(wrong)?;
        let text = |key: &str| metadata.get(key).and_then(Value::as_str).unwrap_or_default();
        let (name, version) = (text("name").to_owned(), text("version").to_owned());
        check(&name, &version).map_err(wrong)?;
        let values = match find("values.yaml") {
            Some((_, bytes)) => mapping(&format!("{base}values.yaml"), bytes)?,
            None => Map::new(),
        };
        let own = format!("{name} {version}");
        if above.contains(&own) {
            return Err(ChartError::Cycle(format!("{} > {own}", above.join(" > "))));
        }
        if above.len() >= DEPTH_MAX {
            return Err(ChartError::TooMuch(format!("sub-charts {DEPTH_MAX} deep")));
        }
        above.push(own);
        let mut charts = Vec::new();
        for (path, bytes) in archives {
            let Some(name) = sub_chart(path).filter(|name| path == &format!("charts/{name}"))
            else {
                continue;
            };
            let within = format!("{base}charts/{name}/");
            charts.push(Self::unpack(bytes, &within, room, above)?);
        }
        for (directory, (documents, archives)) in directories(documents, archives) {
            let base = format!("{base}charts/{directory}/");
            charts.push(Self::assemble(&base, &documents, &archives, room, above)?);
        }
        above.pop();
        Ok(Self { name, version, metadata, values, file, charts })
    }

    /// Whether it is a library, which cannot be installed.
    pub fn is_library(&self) -> bool {
        self.metadata.get("type").is_some_and(|kind| kind == "library")
    }

    /// An annotation.
    pub fn annotation(&self, name: &str) -> Option<&str> {
        self.metadata.get("annotations")?.get(name)?.as_str()
    }

    /// It and all charts in it.
    pub fn all(&self) -> Vec<&Self> {
        let below = self.charts.iter().flat_map(Self::all);
        std::iter::once(self).chain(below).collect()
    }
}

impl Files {
    /// The documents that count, of the one directory in an archive.
    fn of(archive: &[u8], room: &mut Room) -> Result<Self, ChartError> {
        let unpacked = MultiGzDecoder::new(Cursor::new(archive)).take(room.bytes + 1);
        let mut tar = Tarball::new(Counted { inner: unpacked, read: 0 });
        let mut files = Self { base: String::new(), documents: Vec::new(), archives: Vec::new() };
        let most = room.bytes;
        // Where it is cut off, the archive seems to be broken.
        let cut = move |read: u64, error: TarError| match read > most {
            true => too_large(),
            false => error.into(),
        };
        loop {
            let entry = tar.entry();
            let Some(entry) = entry.map_err(|error| cut(tar.reader().read, error))? else { break };
            room.files = room
                .files
                .checked_sub(1)
                .ok_or_else(|| ChartError::TooMuch(format!("more than {FILES_MAX} files")))?;
            let path = path_of(&entry.path)?;
            match entry.kind {
                Kind::Directory => continue,
                Kind::File => {}
                Kind::Other => return Err(odd(&path, "is a link or a device")),
            }
            // On Windows some pack with backslashes.
            let Some((base, path)) = path.split_once('/') else {
                return Err(odd(&path, "lies in no directory"));
            };
            if files.base.is_empty() {
                base.clone_into(&mut files.base);
            }
            let is_archive = sub_chart(path).is_some() && path.ends_with(".tgz");
            let name = path.rsplit('/').next().unwrap_or_default();
            if is_archive {
                let content = tar.content(room.bytes);
                let content = content.map_err(|error| cut(tar.reader().read, error))?;
                files.archives.push((path.to_owned(), content));
            } else if matches!(name, "Chart.yaml" | "values.yaml") {
                let content = tar.content(FILE_MAX).map_err(|error| match error {
                    TarError::TooMuch(_) => odd(path, "is larger than Helm takes"),
                    error => cut(tar.reader().read, error),
                })?;
                // Of a name that is there twice the last one counts, as when unpacked.
                files.documents.retain(|(known, _)| known != path);
                files.documents.push((path.to_owned(), content));
            }
        }
        let read = tar.reader().read;
        room.bytes = room.bytes.checked_sub(read).ok_or_else(too_large)?;
        Ok(files)
    }
}

/// Counts what passes.
struct Counted<R> {
    inner: R,
    read: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.read += read as u64;
        Ok(read)
    }
}

fn too_large() -> ChartError {
    ChartError::TooMuch(format!("more than {UNPACKED_MAX} bytes when unpacked"))
}

fn odd(path: &str, problem: &'static str) -> ChartError {
    ChartError::Entry { path: path.chars().take(200).collect(), problem }
}

/// A path that stays where it is unpacked, with slashes.
fn path_of(bytes: &[u8]) -> Result<String, ChartError> {
    let text = String::from_utf8_lossy(bytes).replace('\\', "/");
    if text.chars().any(char::is_control) {
        return Err(odd(&text.escape_debug().to_string(), "has control characters in its name"));
    }
    let drive = text.as_bytes().get(1) == Some(&b':');
    if text.starts_with('/') || drive || text.split('/').any(|part| part == "..") {
        return Err(odd(&text, "leads out of the chart"));
    }
    let parts = text.split('/').filter(|part| !part.is_empty() && *part != ".");
    Ok(parts.collect::<Vec<_>>().join("/"))
}

/// The entry of `charts/` that a path lies in or is; Helm passes over some.
fn sub_chart(path: &str) -> Option<&str> {
    let name = path.strip_prefix("charts/")?.split('/').next()?;
    (!name.starts_with(['_', '.'])).then_some(name)
}

type Parts = (Vec<(String, Vec<u8>)>, Vec<(String, Vec<u8>)>);

/// The sub-charts that are directories, with what is theirs.
fn directories(
    documents: &[(String, Vec<u8>)],
    archives: &[(String, Vec<u8>)],
) -> std::collections::BTreeMap<String, Parts> {
    let mut found = std::collections::BTreeMap::<String, Parts>::new();
    for (all, is_archive) in [(documents, false), (archives, true)] {
        for (path, bytes) in all {
            let Some(name) = sub_chart(path) else { continue };
            let Some(own) = path.strip_prefix(&format!("charts/{name}/")) else { continue };
            let parts = found.entry(name.to_owned()).or_default();
            let to = if is_archive { &mut parts.1 } else { &mut parts.0 };
            to.push((own.to_owned(), bytes.clone()));
        }
    }
    found
}

/// A document that is a mapping; an empty one is an empty mapping.
pub(super) fn mapping(file: &str, bytes: &[u8]) -> Result<Map<String, Value>, ChartError> {
    let wrong = |problem: String| ChartError::Document { file: file.to_owned(), problem };
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let text = std::str::from_utf8(bytes).map_err(|_| wrong("it is not UTF-8".to_owned()))?;
    match document(text).map_err(|error| wrong(error.to_string()))? {
        Ok(map) => Ok(map),
        Err(kind) => Err(wrong(format!("it is {kind} and no mapping"))),
    }
}

/// A document of YAML; what it is when it is no mapping. A key that is there twice counts as Helm takes it: the last one.
pub(super) fn document(text: &str) -> Result<Result<Map<String, Value>, &'static str>, YamlError> {
    let mut json = Vec::new();
    Ok(match yaml::to_json_loose(text, &mut json)? {
        Root::Nothing => Ok(Map::new()),
        Root::Other(kind) => Err(kind),
        Root::Object => match serde_json::from_slice(&json) {
            Ok(map) => Ok(map),
            Err(_) => Err("nested too deep"),
        },
    })
}

/// What becomes part of names and paths.
fn check(name: &str, version: &str) -> Result<(), String> {
    let plain = |text: &str, more: &[u8]| {
        let good = |byte: u8| byte.is_ascii_alphanumeric() || more.contains(&byte);
        (1..=200).contains(&text.len()) && text.bytes().all(good) && !text.starts_with(['.', '-'])
    };
    if name.is_empty() || version.is_empty() {
        return Err(format!("it has no `{}`", if name.is_empty() { "name" } else { "version" }));
    }
    if !plain(name, b"._-") {
        return Err(format!("the name `{}` is none that a chart can have", name.escape_debug()));
    }
    if !plain(version, b"._+-") || versions::lenient(version).is_none() {
        return Err(format!("the version `{}` is no semantic version", version.escape_debug()));
    }
    Ok(())
}

/// The fields of `Chart.yaml`, of the types that Helm reads them with. It knows no others.
fn metadata(mut all: Map<String, Value>) -> Result<Map<String, Value>, String> {
    let mut out = Map::new();
    for key in [
        "name",
        "home",
        "version",
        "description",
        "icon",
        "apiVersion",
        "condition",
        "tags",
        "appVersion",
        "kubeVersion",
        "type",
    ] {
        if let Some(value) = all.remove(key).filter(|value| !value.is_null()) {
            out.insert(key.to_owned(), Value::String(text(key, &value)?));
        }
    }
    for key in ["sources", "keywords"] {
        if let Some(list) = list(&mut all, key)? {
            let texts = list.iter().map(|value| Ok(Value::String(text(key, value)?)));
            out.insert(key.to_owned(), texts.collect::<Result<_, String>>()?);
        }
    }
    if let Some(deprecated) = all.remove("deprecated").filter(|value| !value.is_null()) {
        let flag = deprecated.as_bool().ok_or("`deprecated` is not `true` or `false`")?;
        out.insert("deprecated".to_owned(), json!(flag));
    }
    if let Some(annotations) = all.remove("annotations").filter(|value| !value.is_null()) {
        let Value::Object(annotations) = annotations else {
            return Err("`annotations` is no mapping".to_owned());
        };
        let texts = annotations
            .into_iter()
            .map(|(name, value)| Ok((name, Value::String(text("annotations", &value)?))));
        out.insert("annotations".to_owned(), Value::Object(texts.collect::<Result<_, String>>()?));
    }
    for (key, texts, lists) in [
        ("maintainers", &["name", "email", "url"][..], &[][..]),
        (
            "dependencies",
            &["name", "version", "repository", "condition", "alias"][..],
            &["tags", "import-values"][..],
        ),
    ] {
        let Some(list) = list(&mut all, key)? else { continue };
        let mut entries = Vec::with_capacity(list.len());
        for entry in list {
            let Value::Object(mut entry) = entry else {
                return Err(format!("an entry of `{key}` is no mapping"));
            };
            let mut own = Map::new();
            for name in texts {
                if let Some(value) = entry.remove(*name).filter(|value| !value.is_null()) {
                    own.insert((*name).to_owned(), Value::String(text(name, &value)?));
                }
            }
            for name in lists {
                if let Some(list @ Value::Array(_)) = entry.remove(*name) {
                    own.insert((*name).to_owned(), list);
                }
            }
            entries.push(Value::Object(own));
        }
        out.insert(key.to_owned(), Value::Array(entries));
    }
    Ok(out)
}

fn list(all: &mut Map<String, Value>, key: &str) -> Result<Option<Vec<Value>>, String> {
    match all.remove(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Array(list)) => Ok(Some(list)),
        Some(_) => Err(format!("`{key}` is no list")),
    }
}

/// A scalar as a text: numbers are what somebody forgot to quote.
fn text(key: &str, value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(_) | Value::Bool(_) => Ok(value.to_string()),
        Value::Null => Ok(String::new()),
        Value::Array(_) | Value::Object(_) => Err(format!("`{key}` is no text")),
    }
}

#[cfg(test)]
#[path = "chart_tests.rs"]
mod tests;
