//! Files of an image, from its layers to whoever takes them.
//!
//! In: an image, which of its files are wanted. Out: each of them to a sink, as it comes. What must hold: a sink keeps nothing
//! for good before [`unpack`] has returned, as a layer is proven at its end; layers are read from the uppermost down, each
//! once, until nothing more can be said.

use std::sync::Arc;

use registry::progress::Progress;

use super::overlay::{Overlay, Wanted};
use crate::origin::Origins;
use crate::release::image::{Image, ReadError, Watched};
use crate::release::layer::{self, Content, LayerError};
use crate::release::limits::UNPACKED_MAX;
use crate::release::tarball::{Entry, Kind};

/// Who takes files.
pub(super) trait Sink: Send + 'static {
    /// One file; one of the same path that came before does not count.
    fn file(
        &mut self,
        path: &str,
        entry: &Entry,
        content: &mut Content<'_>,
    ) -> Result<(), LayerError>;

    /// Something else than a file under a path that is wanted.
    fn other(&mut self, path: &str);
}

/// Gives the wanted files of an image to a sink, and gives it back.
pub(super) async fn unpack<S: Sink>(
    image: &Image,
    origins: &Origins,
    wanted: Wanted,
    sink: S,
    progress: &Arc<Progress>,
) -> Result<S, ReadError> {
    let mut state = (Overlay::new(wanted), sink, UNPACKED_MAX);
    progress.expect(image.layers().map(|layer| layer.size).sum());
    for layer in image.layers() {
        let (mut overlay, mut sink, mut left) = state;
        if overlay.is_done() {
            progress.skip(layer.size);
            state = (overlay, sink, left);
            continue;
        }
        let (digest, progress) = (layer.digest, Arc::clone(progress));
        let reading = image.layer(origins, layer, move |stored| {
            let mut stored = Watched::new(stored, &digest, &progress);
            layer::read(&mut stored, &digest, &mut left, |path, entry, content| {
                if !overlay.counts(path, entry.kind) {
                    return Ok(());
                }
                match entry.kind {
                    Kind::File => sink.file(path, entry, content),
                    Kind::Directory | Kind::Other => {
                        sink.other(path);
                        Ok(())
                    }
                }
            })?;
            overlay.descend();
            Ok((overlay, sink, left))
        });
        state = reading.await?;
    }
    Ok(state.1)
}
