//! A repository of charts: its `index.yaml`, and the archives that it names.
//!
//! In: an address. Out: the versions of each chart, archives of the digest that the index says. Credentials are those of the
//! authentication file for the host that is asked.

use std::collections::BTreeMap;

use format_spec::Digest;
use registry::client::{Client, ClientError, ErrorKind as WireKind};
use serde::Deserialize;
use serde_json::Value;
use url::Url;

use super::limits::{CHART_MAX, INDEX_MAX, PROVENANCE_MAX};
use crate::catalog::yaml::{self, Root};

/// Why a repository or an archive of it cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum RepositoryError {
    /// It does not answer as it should.
    #[error(transparent)]
    Wire(#[from] ClientError),
    /// Its index is none.
    #[error("its `index.yaml` cannot be read: {0}")]
    Index(String),
    /// An archive has another digest.
    #[error("`index.yaml` says that the archive has the digest {said}, and it has {found}")]
    Digest {
        /// What the index says.
        said: String,
        /// What arrived.
        found: Digest,
    },
}

impl RepositoryError {
    /// The kind of fault.
    pub fn kind(&self) -> Option<WireKind> {
        match self {
            Self::Wire(error) => Some(error.kind()),
            Self::Digest { .. } => Some(WireKind::Damaged),
            Self::Index(_) => None,
        }
    }
}

/// One version of a chart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The version, as it is written.
    pub version: String,
    /// Where its archive is.
    pub url: Option<Url>,
    /// The digest of that, as it is written.
    pub digest: Option<String>,
    /// Whether it is a library.
    pub library: bool,
}

/// The charts of a repository.
#[derive(Debug, Default)]
pub struct Index {
    /// The versions of each.
    pub charts: BTreeMap<String, Vec<Entry>>,
}

/// Reads the index of a repository.
pub async fn index(client: &Client, repository: &Url) -> Result<Index, RepositoryError> {
    let mut base = repository.clone();
    // Without it, the last part would be replaced by what is relative to it.
    if let Ok(mut path) = base.path_segments_mut() {
        path.pop_if_empty().push("");
    }
    let url = base.join("index.yaml").map_err(|error| RepositoryError::Index(error.to_string()))?;
    let accept = "application/yaml, application/x-yaml, text/yaml, */*;q=0.5";
    let bytes = client.document_with_credentials(&url, accept, INDEX_MAX).await?.bytes;
    let parsing = tokio::task::spawn_blocking(move || Index::parse(&bytes, &base));
    parsing.await.map_err(|error| RepositoryError::Index(error.to_string()))?
}

#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    entries: Option<BTreeMap<String, Option<Vec<Value>>>>,
}

impl Index {
    fn parse(bytes: &[u8], base: &Url) -> Result<Self, RepositoryError> {
        let wrong = |problem: String| RepositoryError::Index(problem);
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let text = std::str::from_utf8(bytes).map_err(|_| wrong("it is not UTF-8".to_owned()))?;
        let mut json = Vec::new();
        match yaml::to_json_loose(text, &mut json).map_err(|error| wrong(error.to_string()))? {
            Root::Object => {}
            _ => return Err(wrong("it is no mapping".to_owned())),
        }
        let document: Document =
            serde_json::from_slice(&json).map_err(|error| wrong(error.to_string()))?;
        let Some(entries) = document.entries else {
            return Err(wrong("it has no `entries`".to_owned()));
        };
        let charts = entries.into_iter().map(|(name, list)| {
            let list = list.unwrap_or_default();
            (name, list.iter().filter_map(|entry| Entry::of(entry, base)).collect())
        });
        Ok(Self { charts: charts.collect() })
    }
}

impl Entry {
    /// What an entry says. One without a version is none.
    fn of(entry: &Value, base: &Url) -> Option<Self> {
        let version = match &entry["version"] {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            _ => return None,
        };
        let url = entry["urls"].as_array().into_iter().flatten().find_map(Value::as_str);
        Some(Self {
            version,
            url: url.and_then(|url| base.join(url).ok()),
            digest: entry["digest"].as_str().filter(|text| !text.is_empty()).map(ToOwned::to_owned),
            library: entry["type"] == "library",
        })
    }

    /// The digest of the archive, where the index says it as it should.
    pub fn expected(&self) -> Option<Digest> {
        let text = self.digest.as_deref()?;
        let hex = text.strip_prefix("sha256:").unwrap_or(text).to_ascii_lowercase();
        format!("sha256:{hex}").parse().ok()
    }
}

/// Fetches an archive.
pub async fn archive(
    client: &Client,
    url: &Url,
    entry: &Entry,
) -> Result<Vec<u8>, RepositoryError> {
    let accept = "application/gzip, application/x-tar, application/octet-stream, */*;q=0.5";
    let bytes = client.document_with_credentials(url, accept, CHART_MAX).await?.bytes;
    if let Some(said) = &entry.digest {
        let found = Digest::of(&bytes);
        if entry.expected() != Some(found) {
            let said = said.chars().take(100).collect();
            return Err(RepositoryError::Digest { said, found });
        }
    }
    Ok(bytes.into())
}

/// Fetches the signature file beside an archive, if there is one.
pub async fn provenance(client: &Client, url: &Url) -> Result<Option<Vec<u8>>, RepositoryError> {
    let mut url = url.clone();
    url.set_path(&format!("{}.prov", url.path()));
    match client.document_with_credentials(&url, "*/*", PROVENANCE_MAX).await {
        // A page that says in words that there is nothing.
        Ok(document) if document.media_type.as_deref() == Some("text/html") => Ok(None),
        Ok(document) => Ok(Some(document.bytes.into())),
        Err(error) => match error.kind() {
            // Stores of objects answer so for what is not there.
            WireKind::NotFound | WireKind::Refused | WireKind::Credentials => Ok(None),
            _ => Err(error.into()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_names_archives_wherever_they_are() {
        let hex = "ab".repeat(32);
        let text = format!(
            "apiVersion: v1\nentries:\n  app:\n  - version: 1.2.0\n    urls: [app-1.2.0.tgz]\n    digest: {hex}\n  \
             - version: 1.10\n    urls: ['https://other.example.com/x.tgz']\n    digest: sha256:{hex}\n  \
             - {{urls: [x]}}\n  - {{version: 3.0.0, urls: ['oci://r.example.com/c/app:3.0.0'], digest: no}}\n  \
             lib:\n  - {{version: 1.0.0, type: library}}\n  none:\n"
        );
        let base = "https://charts.example.com/stable/".parse().unwrap();
        let index = Index::parse(text.as_bytes(), &base).unwrap();
        let urls: Vec<_> = index.charts["app"]
            .iter()
            .map(|entry| {
                (
                    entry.version.as_str(),
                    entry.url.as_ref().unwrap().as_str(),
                    entry.expected().is_some(),
                )
            })
            .collect();
        let expected = [
            ("1.2.0", "https://charts.example.com/stable/app-1.2.0.tgz", true),
            ("1.1", "https://other.example.com/x.tgz", true),
            ("3.0.0", "oci://r.example.com/c/app:3.0.0", false),
        ];
        assert_eq!(urls, expected);
        assert!(index.charts["lib"][0].library && index.charts["none"].is_empty());
        for (text, expected) in [
            ("entries: [\n", "bad YAML in line 2"),
            ("- a\n", "it is no mapping"),
            ("a: b\n", "it has no `entries`"),
            ("entries: {a: 1}\n", "invalid type"),
        ] {
            let error = Index::parse(text.as_bytes(), &base).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
