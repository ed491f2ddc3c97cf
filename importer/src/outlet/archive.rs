//! An archive for each image: an OCI layout in a tar, with the `manifest.json` by which `docker load` and `podman load` find their
//! way in it.

use std::io::{self, Write as _};

use format_spec::Digest;
use format_spec::hash::Hasher;
use futures_util::StreamExt;
use registry::layout::REF_NAME;
use registry::manifest::{ImageManifest, Manifest, RawManifest};
use registry::media_type::OCI_INDEX;
use registry::reference::Reference;
use registry::scratch::Scratch;
use serde_json::json;

use super::{Image, Whole, Writer, told};
use crate::error::ImportError;

/// What containerd and Docker call an image in an index.
const IMAGE_NAME: &str = "io.containerd.image.name";

const BLOCK: u64 = 512;

pub(super) async fn write(writer: &mut Writer, images: &[Image]) -> Result<(), ImportError> {
    let scratch = Scratch::open(&writer.to).map_err(writer.fault())?;
    for image in images {
        // What is attached to an image has no meaning in an archive of its own.
        let Some(tag) = &image.tag else { continue };
        let place =
            writer.to.join(format!("{}_{tag}.tar", image.repository.as_str().replace('/', "_")));
        let whole = writer.whole(&image.digest)?;
        let mark = mark(image, &whole);
        if begins_with(&place, &mark) {
            writer.done.present += 1;
            whole.blobs.values().for_each(|size| writer.progress.skip(*size));
            continue;
        }
        writer.refuse_full(whole.blobs.values().sum())?;
        let draft = scratch.path().join("image.tar");
        let mut file = fs_err::File::create(&draft).map_err(writer.fault())?;
        file.write_all(&mark).map_err(writer.fault())?;
        for raw in &whole.manifests {
            file.write_all(&entry(&blob_name(&raw.digest), &raw.bytes)).map_err(writer.fault())?;
        }
        for (digest, size) in &whole.blobs {
            file = blob(writer, file, digest, *size).await?;
            writer.done.blobs += 1;
            writer.done.bytes += size;
        }
        let mut end = || {
            file.write_all(&[0; 1024])?;
            file.sync_data()?;
            fs_err::rename(&draft, &place)
        };
        end().map_err(writer.fault())?;
    }
    Ok(())
}

/// What an archive begins with: its table, by which it is known again.
fn mark(image: &Image, whole: &Whole) -> Vec<u8> {
    let name = load_name(image);
    let own = whole.manifests.last().expect("an image has its own manifest");
    let index = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [{
        "mediaType": own.media_type, "digest": own.digest.to_string(), "size": own.bytes.len(),
        "annotations": { REF_NAME: image.tag.as_ref().map(ToString::to_string), IMAGE_NAME: name },
    }]});
    let mut mark = entry("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#);
    mark.extend(entry("index.json", index.to_string().as_bytes()));
    if let Some(loaded) = loaded(whole) {
        let layers: Vec<String> =
            loaded.layers.iter().map(|layer| blob_name(&layer.digest)).collect();
        let table = json!([{ "Config": blob_name(&loaded.config.digest), "RepoTags": [name], "Layers": layers }]);
        mark.extend(entry("manifest.json", table.to_string().as_bytes()));
    }
    mark
}

/// The name under which it is loaded: that of its source, for who looks for it there; its own where it was given another tag,
/// so that no two images have one name.
fn load_name(image: &Image) -> String {
    let tag = image.tag.as_ref().map(ToString::to_string).unwrap_or_default();
    match image.source.parse::<Reference>() {
        Ok(source) if source.tag.is_none() || source.tag == image.tag => {
            format!("{}/{}:{tag}", source.registry, source.repository)
        }
        _ => format!("{}:{tag}", image.repository),
    }
}

/// The image that is loaded where there is room for one only: that for amd64, or the first.
fn loaded(whole: &Whole) -> Option<ImageManifest> {
    let own = whole.manifests.last()?;
    let image = |raw: &RawManifest| match raw.parse() {
        Ok(Manifest::Image(image)) => Some(image),
        _ => None,
    };
    match own.parse().ok()? {
        Manifest::Image(image) => Some(image),
        Manifest::Index(index) => {
            let of = |digest: &Digest| {
                whole.manifests.iter().find(|raw| raw.digest == *digest).and_then(image)
            };
            let usual = index.manifests.iter().find(|child| {
                child
                    .platform
                    .as_ref()
                    .is_some_and(|on| on.os == "linux" && on.architecture == "amd64")
            });
            usual
                .and_then(|child| of(&child.digest))
                .or_else(|| index.manifests.iter().find_map(|child| of(&child.digest)))
        }
    }
}

fn blob_name(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

fn header(name: &str, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_path(name).expect("a short name");
    header.set_entry_type(tar::EntryType::Regular);
    header.set_size(size);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_cksum();
    header
}

fn padding(size: u64) -> usize {
    usize::try_from((BLOCK - size % BLOCK) % BLOCK).expect("below a block")
}

fn entry(name: &str, bytes: &[u8]) -> Vec<u8> {
    let size = bytes.len() as u64;
    let mut entry = header(name, size).as_bytes().to_vec();
    entry.extend(bytes);
    entry.resize(entry.len() + padding(size), 0);
    entry
}

/// Writes a blob, and compares it with its digest.
async fn blob(
    writer: &Writer,
    mut file: fs_err::File,
    digest: &Digest,
    size: u64,
) -> Result<fs_err::File, ImportError> {
    let source = writer.source(digest, size)?;
    file.write_all(header(&blob_name(digest), size).as_bytes()).map_err(writer.fault())?;
    let (mut hasher, mut at) = (Hasher::new(), 0);
    let mut pieces = source.open(0);
    let mut item = writer.progress.start(digest.short());
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(told)?;
        at += piece.len() as u64;
        let writing = tokio::task::spawn_blocking(move || {
            hasher.update(&piece);
            file.write_all(&piece).map(|()| (hasher, file))
        });
        (hasher, file) = writing.await?.map_err(writer.fault())?;
        item.reached(at);
    }
    if at != size || hasher.finish() != *digest {
        return Err(writer.absent(digest));
    }
    file.write_all(&vec![0; padding(size)]).map_err(writer.fault())?;
    Ok(file)
}

/// Whether a finished file begins so.
fn begins_with(path: &std::path::Path, mark: &[u8]) -> bool {
    let read = || -> io::Result<bool> {
        let mut found = Vec::new();
        let file = registry::regular::open(path)?;
        io::Read::read_to_end(&mut io::Read::take(file, mark.len() as u64), &mut found)?;
        Ok(found == mark)
    };
    read().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_loaded_under_a_name_that_is_its_own() {
        for (source, tag, expected) in [
            ("reg.example.com/a/app:1", "1", "reg.example.com/a/app:1"),
            ("reg.example.com/a/app:1", "new", "moved/app:new"),
            ("oci:/srv/layout", "1", "moved/app:1"),
        ] {
            let image = Image {
                repository: "moved/app".parse().unwrap(),
                tag: Some(tag.parse().unwrap()),
                digest: Digest::of(b""),
                source: source.to_owned(),
            };
            assert_eq!(load_name(&image), expected, "{source}");
        }
    }
}
