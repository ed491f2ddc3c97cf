//! What a release image has in it, read while its layers arrive.
//!
//! In: a release image at its origin. Out: its digest, and the files that say what the release consists of. Nothing is
//! written to disk, and of all that the layers have only these files are held. What must hold: each layer that tells
//! something is read to its end and has its digest. They are read from the uppermost down: what that one has or hides, no
//! lower one decides, so the operating system at the bottom is mostly not fetched at all.

use std::io::{self, Read};

use bytes::{Buf, Bytes};
use format_spec::Digest;
use format_spec::limits::MANIFEST_MAX;
use registry::client::ErrorKind as WireKind;
use registry::manifest::{Descriptor, ImageManifest, Manifest, ManifestError};
use registry::media_type;
use registry::reference::ManifestRef;
use serde::Deserialize;
use tokio::sync::mpsc;

use super::layer::{self, Found, LayerError};
use super::limits::{LAYER_MAX, UNPACKED_MAX};
use super::references::ReferencesError;
use super::references::{self, BOOT_IMAGES, BootImage, METADATA, REFERENCES, References};
use crate::origin::{BlobReader, Origin, OriginError, Origins, Source};

/// Bytes that are sent to the reader of a layer at a time, and how many such pieces wait for it.
const PIECE: usize = 128 * 1024;
const PIECES: usize = 8;

/// Why a payload cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PayloadError {
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
    /// What its configuration says.
    #[error("its configuration {0} does not say which architecture it is for")]
    Config(Digest),
    /// A layer.
    #[error("its layer {digest}: {error}")]
    Layer {
        /// Its digest.
        digest: Digest,
        /// What is wrong.
        error: LayerError,
    },
    /// A layer that is larger than any.
    #[error("its layer {0} is larger than {LAYER_MAX} bytes")]
    LayerSize(Digest),
    /// It is some other image.
    #[error("it is not a release: it has no `{0}`")]
    Missing(&'static str),
    /// A link or directory stands where a file belongs.
    #[error("it is not a release: its `{0}` is not a file")]
    NotAFile(&'static str),
    /// A file of it.
    #[error(transparent)]
    References(#[from] ReferencesError),
}

impl PayloadError {
    /// The kind of fault, in the words of a registry.
    pub fn kind(&self) -> Option<WireKind> {
        match self {
            Self::Origin(error) => error.kind(),
            Self::Layer { error: LayerError::Digest(_), .. } => Some(WireKind::Damaged),
            _ => None,
        }
    }
}

/// A release image whose manifest is known.
#[derive(Debug, Clone)]
pub struct Opened {
    /// Its digest: that of the index where it is one.
    pub digest: Digest,
    /// Whether it is an index over the images of several architectures.
    pub is_multi: bool,
    image: ImageManifest,
    origin: Origin,
}

/// What a payload says.
#[derive(Debug, Clone)]
pub struct Payload {
    /// Version and components.
    pub references: References,
    /// The boot images of KubeVirt; none when they were not asked for.
    pub boot_images: Vec<BootImage>,
    /// The architecture as Go names it, or `multi`.
    pub architecture: String,
    /// What a person should know.
    pub warnings: Vec<String>,
}

/// Reads the manifest of a release image, and of an index one child: the files are the same in all of them.
pub async fn open(origins: &Origins, source: &Source<'_>) -> Result<Opened, PayloadError> {
    let origin = source.origin();
    let raw = origins.image(source).await?.raw;
    let parse = |raw: &registry::manifest::RawManifest| {
        raw.parse().map_err(|error| PayloadError::Manifest { digest: raw.digest, error })
    };
    let digest = raw.digest;
    origins.keep(&origin, &raw);
    let index = match parse(&raw)? {
        Manifest::Image(image) => return Ok(Opened { digest, is_multi: false, image, origin }),
        Manifest::Index(index) => index,
    };
    let children = || {
        let is_image = |child: &&Descriptor| !media_type::is_index(&child.media_type);
        index.manifests.iter().filter(is_image)
    };
    let usual = |child: &&Descriptor| {
        child.platform.as_ref().is_some_and(|p| p.os == "linux" && p.architecture == "amd64")
    };
    let child =
        children().find(usual).or_else(|| children().next()).ok_or(PayloadError::NoImage)?;
    let raw = origins.manifest(&origin, &ManifestRef::Digest(child.digest)).await?.raw;
    origins.keep(&origin, &raw);
    match parse(&raw)? {
        Manifest::Image(image) => Ok(Opened { digest, is_multi: true, image, origin }),
        Manifest::Index(_) => Err(PayloadError::NoImage),
    }
}

impl Opened {
    /// Reads the files of the payload.
    pub async fn read(
        &self,
        origins: &Origins,
        with_boot_images: bool,
    ) -> Result<Payload, PayloadError> {
        let mut wanted = vec![REFERENCES, METADATA];
        wanted.extend(with_boot_images.then_some(BOOT_IMAGES));
        let architecture = match self.is_multi {
            true => "multi".to_owned(),
            false => self.architecture(origins).await?,
        };
        let mut files = self.files(origins, &wanted).await?.into_iter().map(Some);
        let mut next = || files.next().flatten().unwrap_or_default();
        let references = references::references(&content(next(), REFERENCES)?)?;
        let mut warnings = Vec::new();
        // Clusters do without it; what it says is checked where it is there.
        match next() {
            Found::Nothing | Found::Gone => {}
            found => {
                let version = references::metadata(&content(found, METADATA)?)?;
                if version != references.version {
                    warnings.push(format!(
                        "its `{METADATA}` says version {version}, its components say {}",
                        references.version
                    ));
                }
            }
        }
        let boot_images = match with_boot_images {
            true => references::boot_images(&content(next(), BOOT_IMAGES)?)?,
            false => Vec::new(),
        };
        Ok(Payload { references, boot_images, architecture, warnings })
    }

    async fn architecture(&self, origins: &Origins) -> Result<String, PayloadError> {
        #[derive(Deserialize)]
        struct Config {
            architecture: String,
        }
        let Descriptor { digest, size, .. } = self.image.config;
        let wrong = || PayloadError::Config(digest);
        if size > MANIFEST_MAX {
            return Err(wrong());
        }
        let mut reader = origins.blob(&self.origin, &digest, size, 0).await?;
        let mut bytes = vec![0; usize::try_from(size).map_err(|_| wrong())?];
        let mut at = 0;
        while at < bytes.len() {
            match reader.read(&mut bytes[at..]).await? {
                0 => return Err(wrong()),
                read => at += read,
            }
        }
        if Digest::of(&bytes) != digest {
            return Err(wrong());
        }
        let config: Config = serde_json::from_slice(&bytes).map_err(|_| wrong())?;
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let architecture = config.architecture;
        let valid = (1..=20).contains(&architecture.len()) && architecture.bytes().all(fits);
        if valid { Ok(architecture) } else { Err(wrong()) }
    }

    /// The files, from the uppermost layer down.
    async fn files(
        &self,
        origins: &Origins,
        wanted: &[&'static str],
    ) -> Result<Vec<Found>, PayloadError> {
        let mut found = vec![Found::Nothing; wanted.len()];
        let mut unpacked = UNPACKED_MAX;
        for layer in self.image.layers.iter().rev() {
            let open: Vec<usize> =
                (0..wanted.len()).filter(|at| found[*at] == Found::Nothing).collect();
            if open.is_empty() {
                break;
            }
            let paths = open.iter().map(|at| wanted[*at]).collect();
            let (here, left) = self.layer(origins, layer, paths, unpacked).await?;
            unpacked = left;
            for (at, here) in open.into_iter().zip(here) {
                found[at] = here;
            }
        }
        Ok(found)
    }

    /// What one layer has, and how many bytes the others may unpack to. It is unpacked on a thread of its own.
    async fn layer(
        &self,
        origins: &Origins,
        layer: &Descriptor,
        wanted: Vec<&'static str>,
        mut unpacked: u64,
    ) -> Result<(Vec<Found>, u64), PayloadError> {
        let (digest, size) = (layer.digest, layer.size);
        if size > LAYER_MAX {
            return Err(PayloadError::LayerSize(digest));
        }
        let mut blob = origins.blob(&self.origin, &digest, size, 0).await?;
        let (pieces, arriving) = mpsc::channel(PIECES);
        let scanning = tokio::task::spawn_blocking(move || {
            let found = layer::scan(
                Arriving { pieces: arriving, piece: Bytes::new() },
                &digest,
                &wanted,
                &mut unpacked,
            );
            found.map(|found| (found, unpacked))
        });
        let fed = feed(&mut blob, &pieces).await;
        // The reader comes to its end, or to the word that there is none.
        if fed.is_err() {
            let _ = pieces.send(Err(io::Error::other("the layer did not arrive"))).await;
        }
        drop(pieces);
        let scanned = scanning.await.map_err(|_| PayloadError::LayerSize(digest));
        fed?;
        scanned?.map_err(|error| PayloadError::Layer { digest, error })
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

/// The content of a file that must be there.
fn content(found: Found, file: &'static str) -> Result<Vec<u8>, PayloadError> {
    match found {
        Found::File(bytes) => Ok(bytes),
        Found::NotAFile => Err(PayloadError::NotAFile(file)),
        Found::Nothing | Found::Gone => Err(PayloadError::Missing(file)),
    }
}
