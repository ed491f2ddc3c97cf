//! An image of a release, whose layers are read while they arrive: the release image, or one of its components.
//!
//! In: an image at its origin. Out: its digest, its layers from the uppermost down, each as a stream for a thread of its own.
//! What must hold: nothing is written to disk and no layer is held; nothing that a manifest or configuration says decides how
//! much memory is taken.

use std::io::{self, Read};

use bytes::{Buf, Bytes};
use format_spec::Digest;
use registry::client::ErrorKind as WireKind;
use registry::manifest::{Descriptor, ImageManifest, Manifest, ManifestError, RawManifest};
use registry::media_type;
use registry::progress::{Item, Progress};
use registry::reference::ManifestRef;
use serde::Deserialize;
use tokio::sync::mpsc;

use super::layer::LayerError;
use super::limits::LAYER_MAX;
use crate::origin::{BlobReader, Origin, OriginError, Origins, Source};

/// Bytes that are sent to the reader of a layer at a time, and how many such pieces wait for it.
const PIECE: usize = 128 * 1024;
const PIECES: usize = 8;

/// Why an image cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It could not be had.
    #[error(transparent)]
    Origin(#[from] OriginError),
    /// A manifest.
    #[error("manifest {digest} is not valid: {error}")]
    Manifest {
        /// Its digest.
        digest: Digest,
        /// What is wrong.
        error: ManifestError,
    },
    /// An index of indexes, or of nothing.
    #[error("its index names no image to read")]
    NoImage,
    /// An index that does not have the architecture that is asked for.
    #[error("its index has no image for linux/{wanted}; it has {has}")]
    NoArchitecture {
        /// The architecture.
        wanted: String,
        /// Those that it has.
        has: String,
    },
    /// What its configuration says.
    #[error("its configuration {0} does not say which architecture it is for")]
    Config(Digest),
    /// A layer.
    #[error("its layer {digest}: {error}")]
    Layer {
        /// Its digest.
        digest: Digest,
        /// What is wrong.
        #[source]
        error: LayerError,
    },
    /// A layer that is larger than any.
    #[error("its layer {0} is larger than {LAYER_MAX} bytes")]
    LayerSize(Digest),
    /// A task of this program ended unexpectedly.
    #[error("a task failed")]
    Task(#[from] tokio::task::JoinError),
}

impl ReadError {
    /// The kind of fault, in the words of a registry.
    pub fn kind(&self) -> Option<WireKind> {
        match self {
            Self::Origin(error) => error.kind(),
            Self::Layer { error, .. } if error.is_damage() => Some(WireKind::Damaged),
            _ => None,
        }
    }
}

/// An image whose manifest is known.
#[derive(Debug, Clone)]
pub struct Image {
    /// Its digest: that of the index where it is one.
    pub digest: Digest,
    /// Whether it is an index over the images of several architectures, of which this is one.
    pub is_multi: bool,
    manifest: ImageManifest,
    origin: Origin,
}

/// What its configuration says.
#[derive(Debug, Clone, Deserialize)]
pub struct Config {
    /// The architecture as Go names it.
    pub architecture: String,
    /// When it was made, in its own words.
    #[serde(default)]
    pub created: Option<String>,
}

/// Understands a manifest.
pub(crate) fn parse(raw: &RawManifest) -> Result<Manifest, ReadError> {
    raw.parse().map_err(|error| ReadError::Manifest { digest: raw.digest, error })
}

impl Image {
    /// Reads the manifest of an image, and of an index one child: that for the wanted architecture, or any, one for amd64
    /// before others.
    pub async fn open(
        origins: &Origins,
        source: &Source<'_>,
        wanted: Option<&str>,
    ) -> Result<Self, ReadError> {
        let origin = source.origin();
        let raw = origins.image(source).await?.raw;
        let digest = raw.digest;
        origins.keep(&origin, &raw);
        let index = match parse(&raw)? {
            Manifest::Image(manifest) => {
                return Ok(Self { digest, is_multi: false, manifest, origin });
            }
            Manifest::Index(index) => index,
        };
        let child = choose(&index.manifests, wanted)?;
        let raw = origins.manifest(&origin, &ManifestRef::Digest(child)).await?.raw;
        origins.keep(&origin, &raw);
        match parse(&raw)? {
            Manifest::Image(manifest) => Ok(Self { digest, is_multi: true, manifest, origin }),
            Manifest::Index(_) => Err(ReadError::NoImage),
        }
    }

    /// Its layers, the uppermost first.
    pub fn layers(&self) -> impl Iterator<Item = &Descriptor> {
        self.manifest.layers.iter().rev()
    }

    /// Reads its configuration.
    pub async fn config(&self, origins: &Origins) -> Result<Config, ReadError> {
        let Descriptor { digest, size, .. } = self.manifest.config;
        let wrong = || ReadError::Config(digest);
        let bytes = origins.document(&self.origin, &digest, size).await?.ok_or_else(wrong)?;
        let config: Config = serde_json::from_slice(&bytes).map_err(|_| wrong())?;
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let architecture = &config.architecture;
        let valid = (1..=20).contains(&architecture.len()) && architecture.bytes().all(fits);
        if valid { Ok(config) } else { Err(wrong()) }
    }

    /// Gives the bytes of a layer to `job`, as they are stored, on a thread of its own. It has to look at their digest.
    pub async fn layer<T: Send + 'static>(
        &self,
        origins: &Origins,
        layer: &Descriptor,
        job: impl FnOnce(&mut dyn Read) -> Result<T, LayerError> + Send + 'static,
    ) -> Result<T, ReadError> {
        read_layer(origins, &self.origin, layer, job).await
    }
}

/// The same for a layer of any image.
pub(crate) async fn read_layer<T: Send + 'static>(
    origins: &Origins,
    origin: &Origin,
    layer: &Descriptor,
    job: impl FnOnce(&mut dyn Read) -> Result<T, LayerError> + Send + 'static,
) -> Result<T, ReadError> {
    let (digest, size) = (layer.digest, layer.size);
    if size > LAYER_MAX {
        return Err(ReadError::LayerSize(digest));
    }
    let mut blob = origins.blob(origin, &digest, size, 0).await?;
    let (pieces, arriving) = mpsc::channel(PIECES);
    let reading = tokio::task::spawn_blocking(move || {
        job(&mut Arriving { pieces: arriving, piece: Bytes::new() })
    });
    let fed = feed(&mut blob, &pieces).await;
    // The reader comes to its end, or to the word that there is none.
    if fed.is_err() {
        let _ = pieces.send(Err(io::Error::other("the layer did not arrive"))).await;
    }
    drop(pieces);
    let read = reading.await;
    fed?;
    read?.map_err(|error| ReadError::Layer { digest, error })
}

/// The bytes of a layer, while somebody is told how many have come.
pub(crate) struct Watched<'a, R> {
    stored: R,
    item: Item<'a>,
    read: u64,
}

impl<'a, R> Watched<'a, R> {
    pub(crate) fn new(stored: R, digest: &Digest, progress: &'a Progress) -> Self {
        Self { stored, item: progress.start(digest.short()), read: 0 }
    }
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.stored.read(buffer)?;
        self.read += read as u64;
        self.item.reached(self.read);
        Ok(read)
    }
}

/// The child of an index that is read.
fn choose(children: &[Descriptor], wanted: Option<&str>) -> Result<Digest, ReadError> {
    let images = || children.iter().filter(|child| !media_type::is_index(&child.media_type));
    let of = |architecture: &str| {
        images().find(|child| {
            let platform = child.platform.as_ref();
            platform.is_some_and(|p| p.os == "linux" && p.architecture == architecture)
        })
    };
    let chosen = match wanted {
        Some(architecture) => of(architecture),
        None => of("amd64").or_else(|| images().next()),
    };
    if let Some(child) = chosen {
        return Ok(child.digest);
    }
    let mut has: Vec<String> = images()
        .filter_map(|child| child.platform.as_ref())
        .map(|platform| format!("{}/{}", platform.os, platform.architecture))
        .collect();
    has.dedup();
    has.truncate(20);
    match wanted {
        Some(wanted) if !has.is_empty() => {
            let (wanted, has) = (wanted.to_owned(), has.join(", "));
            Err(ReadError::NoArchitecture { wanted, has })
        }
        _ => Err(ReadError::NoImage),
    }
}

/// Sends the bytes of a blob on; ends early when nobody wants more.
async fn feed(
    blob: &mut BlobReader,
    pieces: &mpsc::Sender<io::Result<Bytes>>,
) -> Result<(), OriginError> {
    loop {
        let mut piece = vec![0; PIECE];
        let read = blob.read(&mut piece).await?;
        piece.truncate(read);
        if read == 0 || pieces.send(Ok(piece.into())).await.is_err() {
            return Ok(());
        }
    }
}

/// The pieces of a layer, for a thread that waits for them.
struct Arriving {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    piece: Bytes,
}

impl Read for Arriving {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.pieces.blocking_recv() {
                Some(piece) => self.piece = piece?,
                None => return Ok(0),
            }
        }
        let read = self.piece.len().min(buffer.len());
        self.piece.copy_to_slice(&mut buffer[..read]);
        Ok(read)
    }
}
