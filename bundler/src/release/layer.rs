//! One layer of a payload: the files that are wanted of it, and what it hides of the layers below.
//!
//! In: the bytes of the layer as it is stored (gzip, zstd or neither; they say it themselves) and the paths that are wanted.
//! Out: for each path a file, or that it is gone, or nothing. What must hold: all bytes are hashed, those behind the tar too,
//! and no answer is given unless the digest is the layer's.

use std::io::{self, BufRead, BufReader, Read};

use format_spec::Digest;
use ring::digest::{Context, SHA256};

use super::limits::{FILE_MAX, WINDOW_LOG};
use super::tarball::{Kind, TarError, Tarball};

/// Why a layer cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// Its tar.
    #[error(transparent)]
    Tar(#[from] TarError),
    /// What arrived is something else.
    #[error("what arrived has another digest: {0}")]
    Digest(Digest),
    /// It unpacks to more than a payload may.
    #[error("it unpacks to more bytes than any release")]
    TooLarge,
}

/// What a layer says of one path.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Found {
    /// Nothing: what is below counts.
    #[default]
    Nothing,
    /// The file with this content.
    File(Vec<u8>),
    /// There is something else of this name than a file.
    NotAFile,
    /// What is below is hidden.
    Gone,
}

/// Reads a whole layer. `unpacked` is lowered by what it unpacks to.
pub fn scan(
    stored: impl Read,
    digest: &Digest,
    wanted: &[&str],
    unpacked: &mut u64,
) -> Result<Vec<Found>, LayerError> {
    let mut stored = BufReader::with_capacity(64 * 1024, Hashed::new(stored));
    let found = unpack(&mut stored, wanted, unpacked);
    // A layer that is not what it should be is told first: what its tar says means nothing then.
    let rest = io::copy(&mut stored, &mut io::sink()).map_err(TarError::from);
    if let (Err(error), Ok(_)) = (rest, &found) {
        return Err(error.into());
    }
    if matches!(found, Err(LayerError::Tar(TarError::Io(_)))) && !stored.get_ref().ended {
        return found;
    }
    let arrived = stored.into_inner().finish();
    if arrived != *digest {
        return Err(LayerError::Digest(arrived));
    }
    found
}

fn unpack(
    stored: &mut impl BufRead,
    wanted: &[&str],
    unpacked: &mut u64,
) -> Result<Vec<Found>, LayerError> {
    let start = stored.fill_buf().map_err(TarError::from)?;
    if start.starts_with(&[0x1f, 0x8b]) {
        // Several streams one after the other are one layer, as some tools write it.
        return walk(flate2::bufread::MultiGzDecoder::new(stored), wanted, unpacked);
    }
    if start.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        let mut decoder = zstd::Decoder::with_buffer(stored).map_err(TarError::from)?;
        decoder.window_log_max(WINDOW_LOG).map_err(TarError::from)?;
        return walk(decoder, wanted, unpacked);
    }
    walk(stored, wanted, unpacked)
}

fn walk(reader: impl Read, wanted: &[&str], unpacked: &mut u64) -> Result<Vec<Found>, LayerError> {
    let mut counted = Counted { reader, left: unpacked, over: false };
    let result = entries(BufReader::with_capacity(64 * 1024, &mut counted), wanted);
    if counted.over { Err(LayerError::TooLarge) } else { Ok(result?) }
}

fn entries(reader: impl Read, wanted: &[&str]) -> Result<Vec<Found>, TarError> {
    let mut found = vec![Found::Nothing; wanted.len()];
    let mut tarball = Tarball::new(reader);
    while let Some(entry) = tarball.entry()? {
        let Some(path) = plain(&entry.path) else { continue };
        let (directory, name) = path.rsplit_once('/').unwrap_or(("", &path));
        for (wanted, found) in wanted.iter().zip(&mut found) {
            if path == *wanted {
                *found = match entry.kind {
                    Kind::File => Found::File(tarball.content(FILE_MAX)?),
                    Kind::Directory | Kind::Other => Found::NotAFile,
                };
                continue;
            }
            let hides = match name.strip_prefix(".wh.") {
                // Everything in this directory of the layers below.
                Some(".wh..opq") => below(wanted, directory),
                Some(hidden) => {
                    let hidden = if directory.is_empty() {
                        hidden.to_owned()
                    } else {
                        format!("{directory}/{hidden}")
                    };
                    *wanted == hidden || below(wanted, &hidden)
                }
                // What was a directory is one no more.
                None => entry.kind != Kind::Directory && below(wanted, &path),
            };
            // Only below: what this layer itself has stands.
            if hides && *found == Found::Nothing {
                *found = Found::Gone;
            }
        }
    }
    Ok(found)
}

/// Whether a path lies in a directory; all lie in the root.
fn below(path: &str, directory: &str) -> bool {
    directory.is_empty() || path.strip_prefix(directory).is_some_and(|rest| rest.starts_with('/'))
}

/// A path from the root, without `.` and slashes too many; `None` when it leads elsewhere, as nothing that is wanted does.
fn plain(path: &[u8]) -> Option<String> {
    let path = std::str::from_utf8(path).ok()?;
    let parts: Vec<&str> = path.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    (!parts.is_empty() && !parts.contains(&"..")).then(|| parts.join("/"))
}

/// Hashes what passes.
struct Hashed<R> {
    reader: R,
    context: Context,
    ended: bool,
}

impl<R: Read> Hashed<R> {
    fn new(reader: R) -> Self {
        Self { reader, context: Context::new(&SHA256), ended: false }
    }

    fn finish(self) -> Digest {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(self.context.finish().as_ref());
        Digest::from_bytes(bytes)
    }
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        self.context.update(&buffer[..read]);
        self.ended |= read == 0 && !buffer.is_empty();
        Ok(read)
    }
}

/// Stops what unpacks to too much.
struct Counted<'a, R> {
    reader: R,
    left: &'a mut u64,
    over: bool,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        match self.left.checked_sub(read as u64) {
            Some(left) => *self.left = left,
            None => {
                self.over = true;
                return Err(io::Error::other("too large"));
            }
        }
        Ok(read)
    }
}

#[cfg(test)]
#[path = "layer_tests.rs"]
mod tests;
