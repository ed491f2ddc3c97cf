//! The directory of one image that `skopeo` calls `dir:`: `manifest.json`, and a file for each blob, named by its digits.
//!
//! In: such a directory, or one that `skopeo sync` has made, with many below it. Out: the images, by digest. What must hold: every
//! file is what its name says, or it is not given out.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use format_spec::{Digest, Tag};
use registry::client::BlobSource;
use registry::manifest::{Descriptor, RawManifest};
use registry::shelf::Shelf;
use registry::window::{self, Window};

use super::limits::{DEPTH_MAX, ENTRIES_MAX};

/// The manifest of the image, and the file that says which form the directory has.
const MANIFEST: &str = "manifest.json";
const VERSION: &str = "version";

/// What the first line of that file begins with.
const FORM: &[u8] = b"Directory Transport Version: 1.";

/// One image.
#[derive(Debug)]
pub(super) struct Dir {
    root: PathBuf,
    digest: Digest,
}

impl Dir {
    /// Opens a directory; `None` when it is none of this form.
    pub(super) fn open(root: &Path) -> io::Result<Option<Self>> {
        if window::small(&root.join(VERSION))?.is_none_or(|text| !text.starts_with(FORM)) {
            return Ok(None);
        }
        let manifest = window::small(&root.join(MANIFEST))?;
        Ok(manifest.map(|bytes| Self { root: root.to_owned(), digest: Digest::of(&bytes) }))
    }

    /// The digest of the image.
    pub(super) fn digest(&self) -> Digest {
        self.digest
    }

    /// Whether it has signatures that are files: no registry has a place for them.
    pub(super) fn is_signed(&self) -> bool {
        self.root.join("signature-1").exists()
    }
}

/// What is at and below a directory, by paths from there, ascending.
#[derive(Debug, Default)]
pub(super) struct Below {
    /// Directories of this form.
    pub(super) images: Vec<PathBuf>,
    /// Files that belong to none of them.
    pub(super) beside: Vec<PathBuf>,
}

/// Looks for directories of this form.
pub(super) fn below(root: &Path) -> io::Result<Below> {
    let (mut found, mut seen) = (Below::default(), 0);
    let mut waiting = vec![(PathBuf::new(), 0)];
    while let Some((path, depth)) = waiting.pop() {
        let here = root.join(&path);
        if window::size(&here.join(MANIFEST))?.is_some()
            && window::size(&here.join(VERSION))?.is_some()
        {
            found.images.push(path);
            continue;
        }
        for entry in fs_err::read_dir(&here)? {
            let entry = entry?;
            seen += 1;
            if seen > ENTRIES_MAX {
                return Err(io::Error::other(format!(
                    "more than {ENTRIES_MAX} files and directories are below it"
                )));
            }
            let path = path.join(entry.file_name());
            if depth < DEPTH_MAX && entry.file_type()?.is_dir() {
                waiting.push((path, depth + 1));
            } else {
                found.beside.push(path);
            }
        }
    }
    found.images.sort();
    found.beside.sort();
    Ok(found)
}

impl Shelf for Dir {
    fn name(&self) -> String {
        format!("`dir:{}`", self.root.display())
    }

    fn transport(&self) -> Option<(&'static str, &Path)> {
        Some(("dir", &self.root))
    }

    fn manifest(&self, digest: &Digest) -> io::Result<Option<RawManifest>> {
        let name = match *digest == self.digest {
            true => MANIFEST.to_owned(),
            false => format!("{}.{MANIFEST}", digest.hex()),
        };
        window::manifest(&self.root.join(name), digest)
    }

    fn tagged(&self, _: &Tag) -> io::Result<Option<Digest>> {
        Ok(None)
    }

    fn referrers(&self, _: &Digest) -> io::Result<Vec<Descriptor>> {
        Ok(Vec::new())
    }

    fn blob(&self, digest: &Digest, size: u64) -> io::Result<Option<Arc<dyn BlobSource>>> {
        let path = self.root.join(digest.hex());
        match window::size(&path)? {
            None => Ok(None),
            Some(found) if found == size => Ok(Some(Arc::new(Window::whole(path, size)))),
            Some(found) => {
                let text =
                    format!("`{}` has {found} bytes, its manifest says {size}", path.display());
                Err(io::Error::new(io::ErrorKind::InvalidData, text))
            }
        }
    }
}
