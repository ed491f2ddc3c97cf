//! Charts that are in a registry already: carried as they are.
//!
//! In: `oci://host/path`. Out: the versions that there are, and of one of them the archive. A tag has `_` where a version
//! has `+`.

use format_spec::{Digest, Tag};
use registry::client::{Client, ClientError, ErrorKind as WireKind};
use registry::manifest::{Manifest, ManifestError};
use registry::reference::Reference;
use url::Url;

use super::artifact::{CONFIG, CONTENT};
use super::limits::CHART_MAX;
use super::versions::{self, Asked};
use crate::origin::{OriginError, Origins, Source};

/// Why a chart of a registry cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum OciError {
    /// The registry.
    #[error(transparent)]
    Wire(#[from] ClientError),
    /// The registry, on the way of an image.
    #[error(transparent)]
    Origin(#[from] OriginError),
    /// The manifest is none.
    #[error("its manifest cannot be read")]
    Manifest(#[from] ManifestError),
    /// It is no chart.
    #[error("it is no Helm chart: {0}")]
    Other(String),
}

impl OciError {
    /// The kind of fault.
    pub fn kind(&self) -> Option<WireKind> {
        match self {
            Self::Wire(error) => Some(error.kind()),
            Self::Origin(error) => error.kind(),
            Self::Manifest(_) | Self::Other(_) => None,
        }
    }
}

/// The repository that an address names, with the name of a chart below it.
pub(super) fn repository(url: &Url, chart: Option<&str>) -> Result<Reference, String> {
    let mut text =
        url.as_str().strip_prefix("oci://").unwrap_or_default().trim_end_matches('/').to_owned();
    if let Some(chart) = chart {
        text = format!("{text}/{chart}");
    }
    text.parse().map_err(|error| format!("{error}"))
}

/// The tags of the versions that are meant.
pub(super) async fn tags(
    client: &Client,
    repository: &Reference,
    asked: &Asked,
) -> Result<Vec<Tag>, OciError> {
    let listed = client.list_tags(&repository.registry, &repository.repository).await;
    let tags = match (listed, asked.exact()) {
        (Ok(tags), _) => tags.unwrap_or_default(),
        // Some registries list nothing, and give what is asked for by name.
        (Err(_), Some(exact)) => exact.replace('+', "_").parse().into_iter().collect(),
        (Err(error), None) => return Err(error.into()),
    };
    let texts: Vec<String> = tags.iter().map(|tag| tag.as_str().replace('_', "+")).collect();
    // What is beside charts, as signatures, has no version.
    let version = |text: &str| {
        if versions::lenient(text).is_some() { text.to_owned() } else { String::new() }
    };
    let texts: Vec<String> = texts.iter().map(|text| version(text)).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    Ok(asked.choose(&texts).into_iter().map(|at| tags[at].clone()).collect())
}

/// The archive of a chart, and the digest of its manifest.
pub(super) async fn archive(
    origins: &Origins,
    source: &Source<'_>,
) -> Result<(Digest, Vec<u8>), OciError> {
    let raw = origins.image(source).await?.raw;
    let Manifest::Image(manifest) = raw.parse()? else {
        return Err(OciError::Other("it is an index of images".to_owned()));
    };
    if manifest.config.media_type != CONFIG {
        let kind: String = manifest.config.media_type.chars().take(100).collect();
        return Err(OciError::Other(format!("its configuration is of the type `{kind}`")));
    }
    let layer = manifest.layers.iter().find(|layer| layer.media_type == CONTENT);
    let layer = layer.ok_or_else(|| OciError::Other("it has no archive".to_owned()))?;
    let size = usize::try_from(layer.size).ok().filter(|_| layer.size <= CHART_MAX);
    let size =
        size.ok_or_else(|| OciError::Other(format!("its archive has {} bytes", layer.size)))?;
    let mut reader = origins.blob(&source.origin(), &layer.digest, layer.size, 0).await?;
    let (mut bytes, mut at) = (vec![0; size], 0);
    while at < size {
        match reader.read(&mut bytes[at..]).await? {
            0 => break,
            read => at += read,
        }
    }
    if Digest::of(&bytes) != layer.digest {
        return Err(OciError::Other("its archive does not have its digest".to_owned()));
    }
    // It is asked for once more when the image is resolved.
    origins.keep(&source.origin(), &raw);
    Ok((raw.digest, bytes))
}
