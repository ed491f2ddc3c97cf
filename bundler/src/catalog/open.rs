//! A catalog by the name of its image.
//!
//! In: an image at its origin, a workspace. Out: the catalog, its objects, and what its image consists of; from the workspace when
//! it is there, else from the layers, after which it is there. What must hold: the tag is resolved once, here; no layer is read
//! of which it is known that it does not matter.

use std::path::Path;
use std::sync::Arc;

use format_spec::Digest;
use registry::manifest::Descriptor;
use registry::progress::Progress;

use super::error::CatalogError;
use super::files::{self, Directories, Holds};
use super::image::{self, Image};
use super::kept::{Found, Layers, Look, Shelf};
use super::model::Catalog;
use super::reading::Reading;
use super::store::Store;
use crate::error::reason;
use crate::origin::{Origin, Origins, Source};
use crate::release::image::{Watched, read_layer};
use crate::release::limits::UNPACKED_MAX;

/// A catalog that can be chosen from.
#[derive(Debug)]
pub struct Opened {
    /// The digest of its image: of the index, when it is one.
    pub digest: Digest,
    /// What is in it.
    pub model: Catalog,
    /// Its objects.
    pub store: Store,
    /// Its image.
    pub image: Image,
    /// What a person should know.
    pub warnings: Vec<String>,
}

/// Opens a catalog.
pub async fn open(
    origins: &Origins,
    source: &Source<'_>,
    workspace: &Path,
    progress: &Arc<Progress>,
) -> Result<Opened, CatalogError> {
    let raw = origins.image(source).await?.raw;
    origins.keep(&source.origin(), &raw);
    let (digest, shelf) = (raw.digest, Shelf::of(workspace));
    let mut warnings = Vec::new();
    let looking = {
        let shelf = shelf.clone();
        tokio::task::spawn_blocking(move || shelf.find(&digest)).await?
    };
    match looking {
        Ok(Look::Found(found)) => {
            let Found { model, image, store } = *found;
            return Ok(Opened { digest, model, store, image, warnings });
        }
        Ok(Look::Nothing) => {}
        Ok(Look::Damaged) => warnings.push(format!(
            "the catalog {digest} in the workspace is damaged; it is read from its origin again"
        )),
        Err(error) => warnings.push(format!(
            "the catalog {digest} in the workspace cannot be read, so its origin is: {}",
            reason(&error)
        )),
    }
    let image = image::read(origins, source, raw).await?;
    let read = Read { origins, origin: source.origin(), shelf, progress };
    let (model, image, store) = read.catalog(image).await?;
    Ok(Opened { digest, model, store, image, warnings })
}

impl Opened {
    /// Finds out what layers hold that were not read so far, for the platforms that `wanted` takes.
    pub async fn sort_layers(
        &mut self,
        origins: &Origins,
        source: &Source<'_>,
        workspace: &Path,
        wanted: impl Fn(&image::PlatformImage) -> bool,
    ) -> Result<(), CatalogError> {
        let (shelf, origin) = (Shelf::of(workspace), source.origin());
        let mut layers = Layers::load(&shelf);
        let directories = &self.image.directories;
        let mut unpacked = UNPACKED_MAX;
        for image in self.image.platforms.iter_mut().filter(|image| wanted(image)) {
            for (layer, holds) in image.manifest.layers.iter().zip(&mut image.holds) {
                if holds.is_none() {
                    *holds = layers.get(&layer.digest, directories);
                }
                if holds.is_none() {
                    let found = sort(origins, &origin, layer, directories, &mut unpacked).await?;
                    layers.add(layer.digest, directories, &found);
                    *holds = Some(found);
                }
            }
        }
        layers.save(&shelf).map_err(CatalogError::Write)
    }
}

/// What one layer holds, as far as it has to be read for that.
async fn sort(
    origins: &Origins,
    origin: &Origin,
    layer: &Descriptor,
    directories: &Directories,
    unpacked: &mut u64,
) -> Result<Holds, CatalogError> {
    let (digest, directories, mut left) = (layer.digest, directories.clone(), *unpacked);
    let sorting = read_layer(origins, origin, layer, move |stored| {
        let holds = files::sort(stored, &digest, &directories, &mut left)?;
        Ok((holds, left))
    });
    let (holds, left) = sorting.await?;
    *unpacked = left;
    Ok(holds)
}

/// What reading a catalog needs.
struct Read<'a> {
    origins: &'a Origins,
    origin: Origin,
    shelf: Shelf,
    progress: &'a Arc<Progress>,
}

impl Read<'_> {
    /// Reads the layers of one platform, from the uppermost down.
    async fn catalog(&self, mut image: Image) -> Result<(Catalog, Image, Store), CatalogError> {
        let shelf = self.shelf.clone();
        let beginning = move || shelf.begin().map(|begun| (begun, Layers::load(&shelf)));
        let begun = tokio::task::spawn_blocking(beginning).await?;
        let ((unfinished, writer), mut layers) = begun.map_err(CatalogError::Write)?;
        let mut reading = Reading::new(image.directories.clone(), writer);
        let mut unpacked = UNPACKED_MAX;
        let of = image.read;
        for at in (0..image.platforms[of].manifest.layers.len()).rev() {
            let layer = image.platforms[of].manifest.layers[at].clone();
            let known = layers.get(&layer.digest, &image.directories);
            let matters = known.as_ref().is_none_or(|holds| holds.configs);
            let holds = if matters && !reading.is_complete() {
                let (holds, back, left) = self.layer(reading, &layer, unpacked).await?;
                (reading, unpacked) = (back, left);
                if known.is_none() {
                    layers.add(layer.digest, &image.directories, &holds);
                }
                Some(holds)
            } else {
                known
            };
            image.platforms[of].holds[at] = holds;
        }
        // What the other platforms share with it, or with images before.
        for platform in &mut image.platforms {
            for (layer, holds) in platform.manifest.layers.iter().zip(&mut platform.holds) {
                if holds.is_none() {
                    *holds = layers.get(&layer.digest, &image.directories);
                }
            }
        }
        let shelf = self.shelf.clone();
        let finishing = move || {
            let (model, frames) = reading.finish()?;
            let store = shelf
                .keep(unfinished, &model, &image, &frames)
                .and_then(|store| layers.save(&shelf).map(|()| store))
                .map_err(CatalogError::Write)?;
            Ok((model, image, store))
        };
        tokio::task::spawn_blocking(finishing).await?
    }

    async fn layer(
        &self,
        mut reading: Reading,
        layer: &Descriptor,
        mut unpacked: u64,
    ) -> Result<(Holds, Reading, u64), CatalogError> {
        let (digest, progress) = (layer.digest, Arc::clone(self.progress));
        progress.expect(layer.size);
        let reading = read_layer(self.origins, &self.origin, layer, move |stored| {
            let read =
                reading.layer(Watched::new(stored, &digest, &progress), &digest, &mut unpacked);
            // Not as a fault of the layer: it may be one of the workspace.
            Ok(read.map(|holds| (holds, reading, unpacked)))
        });
        reading.await?
    }
}

#[cfg(test)]
#[path = "open_tests.rs"]
mod tests;
