//! Files of directories that hold images, and parts of them: what a [`shelf`](mod@crate::shelf) gives out.
//!
//! In: a path, and a place in the file. Out: manifests, hashed, and sources of blobs. What must hold: special files are not
//! opened, no link is followed, no more is read than was asked for.

use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::pin::Pin;

use bytes::Bytes;
use format_spec::Digest;
use format_spec::limits::MANIFEST_MAX;
use futures_util::{Stream, stream};
use rustix::fs::{CWD, Mode, OFlags};

use crate::client::BlobSource;
use crate::manifest::{RawManifest, own_type};

/// Bytes of a blob that are read at a time.
pub(crate) const PIECE: usize = 256 * 1024;

/// Opens a regular file, and nothing that a link leads to; `None` when it is not there.
pub(crate) fn open(path: &Path) -> io::Result<Option<(std::fs::File, u64)>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let named = |error: io::Error| {
        io::Error::new(error.kind(), format!("cannot read `{}`: {error}", path.display()))
    };
    let file = match rustix::fs::openat(CWD, path, flags, Mode::empty()) {
        Ok(descriptor) => std::fs::File::from(descriptor),
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        Err(error) => return Err(named(error.into())),
    };
    let found = file.metadata().map_err(named)?;
    if !found.is_file() {
        let text = format!("`{}` is not a regular file", path.display());
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    Ok(Some((file, found.len())))
}

/// The manifest that a file is; `None` when there is no such file.
///
/// # Errors
/// I/O; it is not what its digest says, or no manifest.
pub fn manifest(path: &Path, digest: &Digest) -> io::Result<Option<RawManifest>> {
    let Some((file, _)) = open(path)? else { return Ok(None) };
    let bytes = read(file)?;
    let damaged = |what: &str| {
        let text = format!("`{}` is damaged: {what}", path.display());
        io::Error::new(io::ErrorKind::InvalidData, text)
    };
    let found = Digest::of(&bytes);
    if found != *digest {
        return Err(damaged(&format!("its digest is {found}")));
    }
    let media_type = own_type(&bytes).ok_or_else(|| damaged("it is no manifest"))?;
    Ok(Some(RawManifest { bytes: bytes.into(), digest: found, media_type }))
}

/// A whole small file; `None` when it is not there.
///
/// # Errors
/// I/O; it is larger than a manifest may be.
pub fn small(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match open(path)? {
        Some((file, _)) => read(file).map(Some),
        None => Ok(None),
    }
}

/// The size of a regular file; `None` when it is not there.
///
/// # Errors
/// I/O; it is a link or something special.
pub fn size(path: &Path) -> io::Result<Option<u64>> {
    Ok(open(path)?.map(|(_, size)| size))
}

pub(crate) fn read(file: std::fs::File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(MANIFEST_MAX + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > MANIFEST_MAX {
        true => Err(io::Error::new(io::ErrorKind::InvalidData, "a manifest is larger than any")),
        false => Ok(bytes),
    }
}

/// A part of a file as the source of a blob.
#[derive(Debug, Clone)]
pub struct Window {
    path: PathBuf,
    start: u64,
    length: u64,
}

impl Window {
    /// A whole file of so many bytes.
    pub fn whole(path: PathBuf, length: u64) -> Self {
        Self { path, start: 0, length }
    }

    /// So many bytes from a place on.
    pub fn new(path: PathBuf, start: u64, length: u64) -> Self {
        Self { path, start, length }
    }

    /// A reader of it, from a place in it on.
    ///
    /// # Errors
    /// I/O.
    pub fn read_from(&self, offset: u64) -> io::Result<io::Take<std::fs::File>> {
        let gone = || io::Error::from(io::ErrorKind::NotFound);
        let (mut file, _) = open(&self.path)?.ok_or_else(gone)?;
        file.seek(SeekFrom::Start(self.start.saturating_add(offset)))?;
        Ok(file.take(self.length.saturating_sub(offset)))
    }
}

impl BlobSource for Window {
    fn open(&self, offset: u64) -> Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>> {
        let window = self.clone();
        Box::pin(stream::unfold(Some(None), move |state| {
            let window = window.clone();
            async move {
                let opened: Option<io::Take<std::fs::File>> = state?;
                let piece = tokio::task::spawn_blocking(move || {
                    let mut file = opened.map_or_else(|| window.read_from(offset), Ok)?;
                    let mut piece = vec![0; PIECE];
                    let read = file.read(&mut piece)?;
                    piece.truncate(read);
                    Ok((Bytes::from(piece), file))
                });
                match piece.await.map_err(io::Error::other).flatten() {
                    Ok((piece, _)) if piece.is_empty() => None,
                    Ok((piece, file)) => Some((Ok(piece), Some(Some(file)))),
                    Err(error) => Some((Err(error), None)),
                }
            }
        }))
    }
}
