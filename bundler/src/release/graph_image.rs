//! The graph image: the update graph's data on a base image, as an OCI layout of the workspace.
//!
//! In: the data (an address, or a file), the base image at its registry. Out: a layout with the manifests, configurations
//! and the one layer that are made here, and a wish for it; the blobs of the base stay where they are. What must hold: the
//! same data on the same base is the same image, to the byte; what an earlier run made stays in the layout, so that its
//! sequence can be written again.

use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use bytes::Bytes;
use format_spec::Repository;
use format_spec::head::ContentClass;
use format_spec::index::Resource;
use format_spec::limits::MANIFEST_MAX;
use registry::client::{Client, ClientError};
use registry::manifest::{Manifest, Platform, RawManifest};
use registry::reference::{ManifestRef, Reference};
use serde_json::{Value, json};
use url::Url;

use super::carry::Missed;
use super::graph_data::{GraphDataError, Layer};
use super::limits::GRAPH_DATA_MAX;
use super::whole;
use crate::based::{self, Based};
use crate::config::{PlatformFilter, ReleaseStanza};
use crate::destination::nest;
use crate::durable;
use crate::error::reason;
use crate::layout::{Choice, LayoutImage};
use crate::made::{self, BASE_DIGEST, BASE_NAME, Documents, Made};
use crate::origin::{Origin, OriginError, Origins, Source};
use crate::policy;
use crate::resolve::{Image, Resolved};
use crate::wish::Wish;

/// Where the data of OpenShift's update graph is.
pub const DATA: &str = "https://api.openshift.com/api/upgrades_info/graph-data";

/// The base image when nothing is said: what the operator of update services is tested with.
pub const BASE: &str = "registry.access.redhat.com/ubi9/ubi:latest";

/// The layout in a workspace.
const LAYOUT: &str = "graph-image";

/// Its name at the target.
const REPOSITORY: &str = "openshift/graph-image";
const TAG: &str = "latest";

/// The name of its resource (SPEC 5.4).
pub(super) const RESOURCE: &str = "graph-image";

/// What a pod that has it as its first container does: the data goes to where the update service reads it.
const COMMAND: [&str; 3] = [
    "/bin/bash",
    "-c",
    "exec cp -rp /var/lib/cincinnati-graph-data/* /var/lib/cincinnati/graph-data",
];

/// Why there is no graph image.
#[derive(Debug, thiserror::Error)]
pub enum GraphImageError {
    /// The data cannot be had.
    #[error("the data of the update graph could not be had")]
    Fetch(#[source] ClientError),
    /// A file cannot be read.
    #[error("cannot read the graph data `{path}`")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Neither an address nor a file.
    #[error("`{0}` names no graph data")]
    Named(String),
    /// The data cannot be used.
    #[error(transparent)]
    Data(#[from] GraphDataError),
    /// The base image cannot be had.
    #[error("the base of the graph image, `{base}`, could not be had")]
    Origin {
        /// The base.
        base: String,
        /// Why.
        source: Box<OriginError>,
    },
    /// The base image cannot be used.
    #[error("`{base}` cannot be the base of the graph image: {problem}")]
    Base {
        /// The base.
        base: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The workspace cannot be written.
    #[error("cannot write the graph image into `{path}`")]
    Write {
        /// The layout.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A task of this program ended unexpectedly.
    #[error("a task failed")]
    Task(#[from] tokio::task::JoinError),
}

impl GraphImageError {
    /// As a failure of a release.
    pub(crate) fn told(&self) -> Missed {
        let kind = match self {
            Self::Fetch(error) => Some(error.kind()),
            Self::Origin { source, .. } => source.kind(),
            _ => None,
        };
        Missed {
            name: format!("{REPOSITORY}:{TAG}"),
            kind,
            reason: reason(self),
            hints: policy::hint(self).or_else(|| self.hint()).into_iter().collect(),
        }
    }

    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Fetch(_) => format!(
                "fetch `{DATA}` where it can be reached and name the file: `--graph-data FILE`; or leave `graph: true` out"
            ),
            Self::File { .. } | Self::Named(_) | Self::Data(_) => {
                format!("name the archive that `{DATA}` gives: `--graph-data FILE`")
            }
            Self::Origin { .. } | Self::Base { .. } => {
                "name an image with a shell that can be had: `--graph-base REFERENCE`".to_owned()
            }
            Self::Write { .. } | Self::Task(_) => return None,
        })
    }
}

/// Where the data comes from: an address, or a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GraphData {
    /// An address.
    Url(Url),
    /// A file.
    File(PathBuf),
}

impl FromStr for GraphData {
    type Err = GraphImageError;

    /// An address when it has a scheme, else a file.
    fn from_str(text: &str) -> Result<Self, GraphImageError> {
        let named = || GraphImageError::Named(text.chars().take(200).collect());
        match text.split_once("://") {
            Some(("http" | "https", _)) => text.parse().map(Self::Url).map_err(|_| named()),
            Some(("file", path)) if !path.is_empty() => Ok(Self::File(path.into())),
            Some(_) => Err(named()),
            None if text.is_empty() => Err(named()),
            None => Ok(Self::File(text.into())),
        }
    }
}

impl GraphData {
    /// What is meant when nothing is said: the data of the service that `graphs`, an address of graphs, belongs to.
    pub fn beside(graphs: &Url) -> Result<Self, GraphImageError> {
        let mut data = graphs.clone();
        let named = || {
            GraphImageError::Named(format!(
                "{}{}",
                graphs.host_str().unwrap_or_default(),
                graphs.path()
            ))
        };
        let service = graphs.path().strip_suffix("/v1/graph").ok_or_else(named)?;
        data.set_path(&format!("{service}/graph-data"));
        data.set_query(None);
        Ok(Self::Url(data))
    }

    async fn read(self, client: &Client) -> Result<Bytes, GraphImageError> {
        let path = match self {
            Self::Url(url) => {
                let accept = "application/gzip, application/x-gzip, application/octet-stream;q=0.9, */*;q=0.1";
                let document = client.document(&url, accept, GRAPH_DATA_MAX).await;
                return document.map(|document| document.bytes).map_err(GraphImageError::Fetch);
            }
            Self::File(path) => path,
        };
        let read = move || match durable::read(&path, GRAPH_DATA_MAX) {
            Ok(Some(bytes)) => Ok(Bytes::from(bytes)),
            Ok(None) => {
                let source = io::Error::from(io::ErrorKind::NotFound);
                Err(GraphImageError::File { path, source })
            }
            Err(source) => Err(GraphImageError::File { path, source }),
        };
        tokio::task::spawn_blocking(read).await?
    }
}

/// The platforms of the base that a stanza needs; empty means all that it has.
pub fn platforms_of(stanza: &ReleaseStanza) -> Vec<PlatformFilter> {
    if !stanza.platforms.is_empty() {
        return stanza.platforms.clone();
    }
    let architectures = super::architectures(stanza);
    if architectures.iter().any(|architecture| architecture == "multi") {
        return Vec::new();
    }
    let linux = |architecture| PlatformFilter { os: "linux".to_owned(), architecture };
    architectures.into_iter().map(linux).collect()
}

/// What the image is made of.
#[derive(Debug, Clone)]
pub struct GraphOptions {
    /// The data; `None` is that of the service that is asked for graphs.
    pub data: Option<GraphData>,
    /// The base image.
    pub base: Reference,
}

impl Default for GraphOptions {
    fn default() -> Self {
        Self { data: None, base: BASE.parse().expect("a reference") }
    }
}

/// Makes the image and wishes for it. The service that is asked for graphs is at `graphs`.
pub async fn make(
    client: &Client,
    origins: &Origins,
    options: &GraphOptions,
    graphs: &Url,
    stanza: &ReleaseStanza,
    workspace: &Path,
    max_nested_paths: usize,
) -> Result<Wish<'static>, GraphImageError> {
    let platforms = platforms_of(stanza);
    let GraphOptions { data, base } = options;
    let data = data.clone().map_or_else(|| GraphData::beside(graphs), Ok)?;
    let reading = async {
        let archive = data.read(client).await?;
        Ok(tokio::task::spawn_blocking(move || Layer::of(&archive)).await??)
    };
    let (layer, found) = tokio::try_join!(reading, Base::read(origins, base, &platforms))?;
    let path = made::place(workspace, &[LAYOUT]);
    let made = found.with(&layer)?;
    let write = |source| GraphImageError::Write { path: path.clone(), source };
    made.write(&path, TAG).map_err(write)?;
    let repository: Repository = REPOSITORY.parse().expect("a name of the grammar");
    Ok(Wish {
        name: format!("oci://{}", path.display()),
        class: ContentClass::Release,
        platforms: Cow::Owned(Vec::new()),
        repository: nest(&repository, max_nested_paths).expect("shorter than its limit"),
        tag: TAG.parse().ok(),
        source: Source::Made {
            image: LayoutImage { path, choice: Choice::Digest(made.digest()) },
            base: found.origin,
        },
    })
}

/// States the image while it is carried. Done again whenever images were dropped.
pub(crate) fn settle(resolved: &mut Resolved) {
    resolved.resources.retain(|resource| resource.name != RESOURCE);
    resolved.resources.extend(resolved.images.iter().find(|image| is_made(image)).map(resource));
}

/// Leaves the image out when the releases that it is for could not be had, and none stands: alone it is of use to nobody.
pub(crate) fn leave_alone_out(resolved: &mut Resolved, standing: &[Resource]) {
    let is_release = |resource: &Resource| resource.name.starts_with(whole::RELEASE_KIND);
    let failed = resolved.failures.iter().any(|failure| failure.class == ContentClass::Release);
    if !failed || resolved.resources.iter().chain(standing).any(is_release) {
        return;
    }
    let before = resolved.images.len();
    resolved.images.retain(|image| !is_made(image));
    if resolved.images.len() < before {
        let stood = standing.iter().find(|resource| resource.name == RESOURCE);
        resolved.resources.retain_mut(|resource| match stood {
            _ if resource.name != RESOURCE => true,
            Some(stood) => {
                resource.clone_from(stood);
                true
            }
            None => false,
        });
        resolved.warnings.push(
            "the graph image is not carried: no release that it would be of use to could be had"
                .to_owned(),
        );
    }
}

/// What the index states of the image (SPEC 5.4).
fn resource(image: &Image) -> Resource {
    let content = json!({
        "repository": image.destination.repository,
        "tag": image.destination.tag,
        "digest": image.names.first().map(|name| name.digest.to_string()),
    });
    Resource { name: RESOURCE.to_owned(), content: content.to_string().into_bytes() }
}

/// Whether it is this one.
fn is_made(image: &Image) -> bool {
    image.class == ContentClass::Release && image.base.is_some()
}

/// One image of the base.
#[derive(Debug)]
struct BaseImage {
    platform: Option<Platform>,
    manifest: RawManifest,
    config: Bytes,
}

/// The base image as its registry has it.
#[derive(Debug)]
struct Base {
    name: Reference,
    origin: Origin,
    images: Vec<BaseImage>,
}

impl Base {
    async fn read(
        origins: &Origins,
        name: &Reference,
        platforms: &[PlatformFilter],
    ) -> Result<Self, GraphImageError> {
        let failed =
            |source| GraphImageError::Origin { base: name.to_string(), source: Box::new(source) };
        let wrong = |problem: String| GraphImageError::Base { base: name.to_string(), problem };
        let source = Source::Registry(Cow::Borrowed(name));
        let origin = source.origin();
        // Not kept with their room: one at a time may be large.
        let root = origins.image(&source).await.map_err(failed)?.raw;
        let mut found = Vec::new();
        match root.parse().map_err(|error| wrong(error.to_string()))? {
            Manifest::Image(_) => found.push((None, root)),
            Manifest::Index(index) => {
                for child in index
                    .manifests
                    .iter()
                    .filter(|child| wanted(child.platform.as_ref(), platforms))
                {
                    let by_digest = ManifestRef::Digest(child.digest);
                    let raw = origins.manifest(&origin, &by_digest).await.map_err(failed)?.raw;
                    found.push((child.platform.clone(), raw));
                }
                let missing = |wanted: &&PlatformFilter| {
                    !found
                        .iter()
                        .any(|(platform, _)| platform.as_ref().is_some_and(|it| is(it, wanted)))
                };
                if let Some(missing) = platforms.iter().find(missing) {
                    let PlatformFilter { os, architecture } = missing;
                    return Err(wrong(format!("it has no image for {os}/{architecture}")));
                }
            }
        }
        if found.is_empty() {
            return Err(wrong("its index has no image for Linux".to_owned()));
        }
        let mut images = Vec::with_capacity(found.len());
        for (platform, manifest) in found {
            let config = config(origins, &origin, &manifest, failed, wrong).await?;
            images.push(BaseImage { platform, manifest, config });
        }
        Ok(Self { name: name.clone(), origin, images })
    }

    /// The image with the layer on top, of each platform.
    fn with(&self, layer: &Layer) -> Result<Made, GraphImageError> {
        let mut documents = Documents::default();
        documents.put_bytes(layer.digest, layer.bytes.clone());
        let mut entries = Vec::with_capacity(self.images.len());
        for image in &self.images {
            entries.push(self.one(image, layer, &mut documents)?);
        }
        let root = match &mut *entries {
            [only] => {
                if let Some(only) = only.as_object_mut() {
                    only.remove("platform");
                }
                only.clone()
            }
            _ => based::index(&entries, true, &mut documents),
        };
        Ok(Made { documents, root, base: Some(self.name.name()) })
    }

    /// The image of one platform; gives its descriptor.
    fn one(
        &self,
        base: &BaseImage,
        layer: &Layer,
        documents: &mut Documents,
    ) -> Result<Value, GraphImageError> {
        let wrong = |problem: &str| GraphImageError::Base {
            base: self.name.to_string(),
            problem: problem.to_owned(),
        };
        let BaseImage { platform, manifest, config } = base;
        let mut image = Based::on(&manifest.media_type, &manifest.bytes, config).map_err(wrong)?;
        image.push(&layer.digest, layer.bytes.len() as u64, &layer.diff_id);
        if let Some(history) = image.config["history"].as_array_mut() {
            history.push(json!({ "created_by": "update graph data", "comment": "bundle" }));
        }
        let inner = image.runs();
        inner["Cmd"] = json!(COMMAND);
        if let Some(inner) = inner.as_object_mut() {
            // It would get the command as its arguments.
            inner.remove("Entrypoint");
        }
        let annotations =
            json!({ BASE_NAME: self.name.name(), BASE_DIGEST: manifest.digest.to_string() });
        let platform = platform.as_ref().map(based::platform);
        Ok(image.put(annotations, platform, documents))
    }
}

/// Whether a child of the base's index is taken.
fn wanted(platform: Option<&Platform>, platforms: &[PlatformFilter]) -> bool {
    // Attestations call their platform `unknown`.
    let Some(platform) = platform.filter(|platform| platform.os == "linux") else { return false };
    platforms.is_empty() || platforms.iter().any(|wanted| is(platform, wanted))
}

fn is(platform: &Platform, wanted: &PlatformFilter) -> bool {
    platform.os == wanted.os && platform.architecture == wanted.architecture
}

/// The configuration of an image of the base, hashed.
async fn config(
    origins: &Origins,
    origin: &Origin,
    manifest: &RawManifest,
    failed: impl Fn(OriginError) -> GraphImageError,
    wrong: impl Fn(String) -> GraphImageError,
) -> Result<Bytes, GraphImageError> {
    let image = match manifest.parse() {
        Ok(Manifest::Image(image)) => image,
        Ok(Manifest::Index(_)) => return Err(wrong("an index in its index".to_owned())),
        Err(error) => return Err(wrong(error.to_string())),
    };
    let (digest, size) = (image.config.digest, image.config.size);
    if size > MANIFEST_MAX {
        return Err(wrong(format!(
            "its configuration has {size} bytes, at most {MANIFEST_MAX} are read"
        )));
    }
    let arrived = origins.document(origin, &digest, size).await.map_err(&failed)?;
    arrived.ok_or_else(|| wrong(format!("its configuration arrived otherwise than as {digest}")))
}

#[cfg(test)]
#[path = "graph_image_tests.rs"]
mod tests;
