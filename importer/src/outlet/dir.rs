//! A directory for each image, as `skopeo sync --dest dir` makes them: `NAME:TAG/{version,manifest.json,HEX…}`.

use std::io;
use std::path::{Path, PathBuf};

use format_spec::Digest;
use registry::lasting;
use registry::scratch::Scratch;
use registry::window;

use super::{Image, Whole, Writer};
use crate::error::ImportError;

const VERSION: &[u8] = b"Directory Transport Version: 1.1\n";

pub(super) async fn write(writer: &mut Writer, images: &[Image]) -> Result<(), ImportError> {
    for image in images {
        let place = writer.to.join(image.name());
        let whole = writer.whole(&image.digest)?;
        let there = window::small(&place.join("manifest.json")).ok().flatten();
        if there.is_some_and(|bytes| Digest::of(&bytes) == image.digest) {
            writer.done.present += 1;
            remember(writer, &whole, &place);
            continue;
        }
        let above = place.parent().map_or_else(|| writer.to.clone(), PathBuf::from);
        lasting::make_within(&writer.to, &above).map_err(writer.fault())?;
        let scratch = Scratch::open(&above).map_err(writer.fault())?;
        let draft = scratch.path().join("image");
        fs_err::create_dir(&draft).map_err(writer.fault())?;
        let new = whole.blobs.iter().filter(|(digest, _)| !writer.known.contains_key(digest));
        writer.refuse_full(new.map(|(_, size)| size).sum())?;
        for (digest, size) in &whole.blobs {
            writer.blob(digest, *size, &scratch, &draft.join(digest.hex())).await?;
        }
        for raw in &whole.manifests {
            let name = match raw.digest == image.digest {
                true => "manifest.json".to_owned(),
                false => format!("{}.manifest.json", raw.digest.hex()),
            };
            fs_err::write(draft.join(name), &raw.bytes).map_err(writer.fault())?;
        }
        fs_err::write(draft.join("version"), VERSION).map_err(writer.fault())?;
        let put = || -> io::Result<()> {
            rustix::fs::syncfs(fs_err::File::open(&draft)?.file())?;
            if place.exists() {
                // What had the name goes with what is not finished.
                fs_err::rename(&place, scratch.path().join("before"))?;
            }
            fs_err::rename(&draft, &place)
        };
        put().map_err(writer.fault())?;
        remember(writer, &whole, &place);
    }
    Ok(())
}

/// Blobs of this image can be linked to from others.
fn remember(writer: &mut Writer, whole: &Whole, place: &Path) {
    for digest in whole.blobs.keys() {
        let path = place.join(digest.hex());
        if path.is_file() {
            writer.known.insert(*digest, path);
        }
    }
}
