//! One layer of a release's image: the files that are wanted of it, and what it hides of the layers below.
//!
//! In: the bytes of the layer as it is stored (gzip, zstd or neither; they say it themselves) and the paths that are wanted.
//! Out: for each path a file, or that it is gone, or nothing; or each entry to whoever takes it. What must hold: all bytes are
//! hashed, those behind the tar too, and no answer is given unless the digest is the layer's: what was taken of one that is
//! not must be thrown away.

use std::io::{self, BufRead, BufReader, Read};

use format_spec::Digest;
use ring::digest::{Context, SHA256};

use super::limits::{FILE_MAX, WINDOW_LOG};
use super::tarball::{Entry, Kind, TarError, Tarball};

/// Why a layer cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// Its tar.
    #[error(transparent)]
    Tar(#[from] TarError),
    /// What arrived is something else.
    #[error("what arrived has another digest: {0}")]
    Digest(Digest),
    /// It unpacks to more than an image may.
    #[error("it unpacks to more bytes than any image")]
    TooLarge,
    /// Whoever took its entries could not go on.
    #[error(transparent)]
    Taker(io::Error),
}

impl LayerError {
    /// Whether what arrived is not what was asked for.
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Digest(_))
    }
}

/// The content of one entry, for who takes it. It need not be read to its end.
pub struct Content<'a>(&'a mut dyn FnMut(&mut [u8]) -> Result<usize, TarError>);

impl Content<'_> {
    /// The next bytes, as many as fit in `buffer`; 0 at the end.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize, LayerError> {
        Ok((self.0)(buffer)?)
    }

    /// All of it.
    pub fn whole(&mut self, size: u64, max: u64) -> Result<Vec<u8>, LayerError> {
        if size > max {
            return Err(TarError::TooMuch("a file that is larger than it can be").into());
        }
        let mut content = vec![0; usize::try_from(size).unwrap_or_default()];
        let mut at = 0;
        while at < content.len() {
            match self.read(&mut content[at..])? {
                0 => break,
                read => at += read,
            }
        }
        Ok(content)
    }
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
    let mut found = vec![Found::Nothing; wanted.len()];
    read(stored, digest, unpacked, |path, entry, content| {
        let hidden = hidden_by(path, entry.kind);
        for (wanted, found) in wanted.iter().zip(&mut found) {
            if path == *wanted {
                *found = match entry.kind {
                    Kind::File => Found::File(content.whole(entry.size, FILE_MAX)?),
                    Kind::Directory | Kind::Other => Found::NotAFile,
                };
                continue;
            }
            // Only below: what this layer itself has stands.
            let hides = hidden.as_ref().is_some_and(|hidden| hidden.hides(wanted));
            if hides && *found == Found::Nothing {
                *found = Found::Gone;
            }
        }
        Ok(())
    })?;
    Ok(found)
}

/// Reads a whole layer and gives each entry to `each`, by its path from the root. `unpacked` is lowered by what it unpacks to.
pub fn read(
    stored: impl Read,
    digest: &Digest,
    unpacked: &mut u64,
    mut each: impl FnMut(&str, &Entry, &mut Content<'_>) -> Result<(), LayerError>,
) -> Result<(), LayerError> {
    read_all(stored, digest, unpacked, |path, entry, content| match path {
        Some(path) => each(path, entry, content),
        None => Ok(()),
    })
}

/// The same with the entries that have no path from the root: the root itself, and those that lead elsewhere. Nothing is
/// proven when `each` ends it with [`LayerError::Taker`].
pub fn read_all(
    stored: impl Read,
    digest: &Digest,
    unpacked: &mut u64,
    each: impl FnMut(Option<&str>, &Entry, &mut Content<'_>) -> Result<(), LayerError>,
) -> Result<(), LayerError> {
    let mut stored = BufReader::with_capacity(64 * 1024, Hashed::new(stored));
    let walked = unpack(&mut stored, unpacked, each);
    if matches!(walked, Err(LayerError::Taker(_))) {
        return walked;
    }
    // A layer that is not what it should be is told first: what its tar says means nothing then.
    let rest = io::copy(&mut stored, &mut io::sink()).map_err(TarError::from);
    if let (Err(error), Ok(())) = (rest, &walked) {
        return Err(error.into());
    }
    if matches!(walked, Err(LayerError::Tar(TarError::Io(_)))) && !stored.get_ref().ended {
        return walked;
    }
    let arrived = stored.into_inner().finish();
    if arrived != *digest {
        return Err(LayerError::Digest(arrived));
    }
    walked
}

fn unpack(
    stored: &mut impl BufRead,
    unpacked: &mut u64,
    each: impl FnMut(Option<&str>, &Entry, &mut Content<'_>) -> Result<(), LayerError>,
) -> Result<(), LayerError> {
    let start = stored.fill_buf().map_err(TarError::from)?;
    if start.starts_with(&[0x1f, 0x8b]) {
        // Several streams one after the other are one layer, as some tools write it.
        return walk(flate2::bufread::MultiGzDecoder::new(stored), unpacked, each);
    }
    if start.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        let mut decoder = zstd::Decoder::with_buffer(stored).map_err(TarError::from)?;
        decoder.window_log_max(WINDOW_LOG).map_err(TarError::from)?;
        return walk(decoder, unpacked, each);
    }
    walk(stored, unpacked, each)
}

fn walk(
    reader: impl Read,
    unpacked: &mut u64,
    mut each: impl FnMut(Option<&str>, &Entry, &mut Content<'_>) -> Result<(), LayerError>,
) -> Result<(), LayerError> {
    let mut counted = Counted { reader, left: unpacked, over: false };
    let mut entries = || -> Result<(), LayerError> {
        let mut tarball = Tarball::new(BufReader::with_capacity(64 * 1024, &mut counted));
        while let Some(entry) = tarball.entry()? {
            let mut read = |buffer: &mut [u8]| tarball.read(buffer);
            each(plain(&entry.path).as_deref(), &entry, &mut Content(&mut read))?;
        }
        Ok(())
    };
    let result = entries();
    if counted.over { Err(LayerError::TooLarge) } else { result }
}

/// What an entry hides of the layers below.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Hidden {
    /// This path, and everything below it.
    Path(String),
    /// Everything below this directory; below the root when it is empty.
    Below(String),
}

impl Hidden {
    /// Whether this path of a lower layer is hidden.
    pub fn hides(&self, path: &str) -> bool {
        match self {
            Self::Path(hidden) => path == hidden || below(path, hidden),
            Self::Below(directory) => below(path, directory),
        }
    }
}

/// What an entry hides; `None` for a directory, which joins those of its name.
pub fn hidden_by(path: &str, kind: Kind) -> Option<Hidden> {
    let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
    match name.strip_prefix(".wh.") {
        // Everything in this directory of the layers below.
        Some(".wh..opq") => Some(Hidden::Below(directory.to_owned())),
        Some(hidden) if directory.is_empty() => Some(Hidden::Path(hidden.to_owned())),
        Some(hidden) => Some(Hidden::Path(format!("{directory}/{hidden}"))),
        // What was a directory is one no more.
        None => (kind != Kind::Directory).then(|| Hidden::Path(path.to_owned())),
    }
}

/// Whether a path lies in a directory; all lie in the root.
pub fn below(path: &str, directory: &str) -> bool {
    directory.is_empty() || path.strip_prefix(directory).is_some_and(|rest| rest.starts_with('/'))
}

/// A path from the root, without `.` and slashes too many; `None` when it leads elsewhere, as nothing that is wanted does.
pub(crate) fn plain(path: &[u8]) -> Option<String> {
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
