//! The directory of `oc image mirror`.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use format_spec::Digest;
use registry::filed::Filed;
use registry::filing;
use registry::lasting;
use registry::reference::ManifestRef;
use registry::scratch::Scratch;
use registry::shelf::Shelf as _;

use super::{Image, Writer};
use crate::error::ImportError;

/// The blobs that a directory has.
pub(super) fn known(root: &Path) -> io::Result<HashMap<Digest, PathBuf>> {
    let mut known = HashMap::new();
    if !Filed::is_one(root) {
        return Ok(known);
    }
    for repository in Filed::repositories(root)? {
        let blobs = Filed::new(root, repository).directory().join("blobs");
        if !blobs.is_dir() {
            continue;
        }
        for entry in fs_err::read_dir(blobs)? {
            let entry = entry?;
            if let Some(digest) = entry.file_name().to_str().and_then(|name| name.parse().ok()) {
                known.insert(digest, entry.path());
            }
        }
    }
    Ok(known)
}

pub(super) async fn write(writer: &mut Writer, images: &[Image]) -> Result<(), ImportError> {
    for image in images {
        let filed = Filed::new(&writer.to, image.repository.clone());
        for name in ["blobs", "manifests"] {
            let directory = filed.directory().join(name);
            lasting::make_within(&writer.to, &directory).map_err(writer.fault())?;
        }
        let scratch = Scratch::open(&filed.directory()).map_err(writer.fault())?;
        let whole = writer.whole(&image.digest)?;
        for (digest, size) in &whole.blobs {
            if filed.has_blob(digest, *size) {
                writer.progress.skip(*size);
            } else {
                writer.blob(digest, *size, &scratch, &filed.blob_path(digest)).await?;
            }
        }
        for raw in &whole.manifests {
            let there = filed.manifest(&raw.digest).is_ok_and(|found| found.is_some());
            if !there {
                let name = ManifestRef::Digest(raw.digest);
                filing::manifest(&filed, &scratch.path(), &name, &raw.bytes)
                    .map_err(writer.fault())?;
            }
        }
    }
    // Names last, so that none is there before all that it leads to.
    for image in images {
        let filed = Filed::new(&writer.to, image.repository.clone());
        let Some(tag) = &image.tag else { continue };
        if filed.tagged(tag).is_ok_and(|found| found == Some(image.digest)) {
            writer.done.present += 1;
            continue;
        }
        let scratch = Scratch::open(&filed.directory()).map_err(writer.fault())?;
        let Some(raw) = filed.manifest(&image.digest).map_err(writer.fault())? else { continue };
        let name = ManifestRef::Tag(tag.clone());
        filing::manifest(&filed, &scratch.path(), &name, &raw.bytes).map_err(writer.fault())?;
    }
    Ok(())
}
