//! What a release image has in it, read while its layers arrive.
//!
//! In: a release image at its origin. Out: its digest, and the files that say what the release consists of. Nothing is
//! written to disk, and of all that the layers have only these files are held. What must hold: each layer that tells
//! something is read to its end and has its digest. They are read from the uppermost down: what that one has or hides, no
//! lower one decides, so the operating system at the bottom is mostly not fetched at all.

use registry::client::ErrorKind as WireKind;

use super::image::{Image, ReadError};
use super::layer::{self, Found};
use super::limits::UNPACKED_MAX;
use super::references::ReferencesError;
use super::references::{self, BOOT_IMAGES, BootImage, METADATA, REFERENCES, References};
use crate::origin::Origins;

/// Why a payload cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PayloadError {
    /// Its image.
    #[error(transparent)]
    Image(#[from] ReadError),
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
            Self::Image(error) => error.kind(),
            _ => None,
        }
    }
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

/// Reads the files of a release image.
pub async fn read(
    image: &Image,
    origins: &Origins,
    with_boot_images: bool,
) -> Result<Payload, PayloadError> {
    let mut wanted = vec![REFERENCES, METADATA];
    wanted.extend(with_boot_images.then_some(BOOT_IMAGES));
    let architecture = match image.is_multi {
        true => "multi".to_owned(),
        false => image.config(origins).await?.architecture,
    };
    let mut files = files(image, origins, &wanted).await?.into_iter().map(Some);
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

/// The files, from the uppermost layer down.
async fn files(
    image: &Image,
    origins: &Origins,
    wanted: &[&'static str],
) -> Result<Vec<Found>, PayloadError> {
    let mut found = vec![Found::Nothing; wanted.len()];
    let mut unpacked = UNPACKED_MAX;
    for layer in image.layers() {
        let open: Vec<usize> =
            (0..wanted.len()).filter(|at| found[*at] == Found::Nothing).collect();
        if open.is_empty() {
            break;
        }
        let paths: Vec<&'static str> = open.iter().map(|at| wanted[*at]).collect();
        let digest = layer.digest;
        let scanning = image.layer(origins, layer, move |stored| {
            layer::scan(stored, &digest, &paths, &mut unpacked).map(|found| (found, unpacked))
        });
        let (here, left) = scanning.await?;
        unpacked = left;
        for (at, here) in open.into_iter().zip(here) {
            found[at] = here;
        }
    }
    Ok(found)
}

/// The content of a file that must be there.
fn content(found: Found, file: &'static str) -> Result<Vec<u8>, PayloadError> {
    match found {
        Found::File(bytes) => Ok(bytes),
        Found::NotAFile => Err(PayloadError::NotAFile(file)),
        Found::Nothing | Found::Gone => Err(PayloadError::Missing(file)),
    }
}
