//! The catalogs that a workspace keeps, by their digest, and what it remembers of layers.
//!
//! In: a catalog that was read. Out: the same one later, without a look at its layers. What must hold: a directory counts when
//! it has its name, which it gets last; a run that was killed leaves nothing that counts; two runs at once do each other no harm;
//! what is not what was written does not count. The catalogs used last are kept.
//!
//! ```text
//! catalogs/<hex>/objects       compressed frames
//! catalogs/<hex>/model         one line `bundle catalog 1 <digest of the rest>`, then the document, compressed
//! catalogs/.unfinished-…       one that is being written, locked by its run
//! catalogs/layers.json         what layers hold
//! ```

use std::io::{self, BufWriter, Read as _, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use format_spec::Digest;
use fs_err as fs;
use registry::lasting::{self, UNFINISHED};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use super::files::{Directories, Holds};
use super::image::Image;
use super::limits::{KEPT, LAYERS_KEPT, STORED_MAX};
use super::model::Catalog;
use super::store::{Frame, MODEL, OBJECTS, Store, Writer};
use super::stored;
use crate::durable;

/// The first words of a model.
const HEAD: &str = "bundle catalog 1 ";

/// The compression of models: they are written once and read often.
const LEVEL: i32 = 3;

/// How long a directory that nobody holds a lock of is left alone: it may be a moment old.
const LEFT_ALONE: Duration = Duration::from_secs(3600);

/// The directory of a workspace.
#[derive(Debug, Clone)]
pub struct Shelf {
    path: PathBuf,
}

/// A catalog of the workspace.
pub struct Found {
    /// The catalog.
    pub model: Catalog,
    /// Its image.
    pub image: Image,
    /// Its objects.
    pub store: Store,
}

/// What a look for a catalog comes to.
pub enum Look {
    /// It is there.
    Found(Box<Found>),
    /// It is not.
    Nothing,
    /// Something is there that is not what was written.
    Damaged,
}

/// A catalog that is being written.
pub struct Unfinished {
    directory: TempDir,
    /// Tells other runs that this one lives.
    _lock: fs::File,
}

impl Shelf {
    /// That of a workspace.
    pub fn of(workspace: &Path) -> Self {
        Self { path: workspace.join("catalogs") }
    }

    fn place(&self, digest: &Digest) -> PathBuf {
        self.path.join(digest.hex())
    }

    /// Looks for a catalog, and marks it as used.
    pub fn find(&self, digest: &Digest) -> io::Result<Look> {
        let place = self.place(digest);
        let path = place.join(MODEL);
        let bytes = match durable::read(&path, STORED_MAX) {
            Ok(Some(bytes)) => bytes,
            Ok(None) if place.exists() => return Ok(Look::Damaged),
            Ok(None) => return Ok(Look::Nothing),
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => return Ok(Look::Damaged),
            Err(error) => return Err(error),
        };
        let kept = unseal(&bytes).and_then(|document| stored::read(&document));
        drop(bytes);
        let Some(kept) = kept.filter(|kept| kept.image.digest() == *digest) else {
            return Ok(Look::Damaged);
        };
        let store = match Store::open(&place, kept.frames, &place) {
            Ok(Some(store)) => store,
            Ok(None) => return Ok(Look::Damaged),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Look::Damaged),
            Err(error) => return Err(error),
        };
        // A workspace that may only be read is used all the same, and one that is only looked at has links to it.
        let is_own = !fs::symlink_metadata(&path).is_ok_and(|found| found.is_symlink());
        if let (true, Ok(file)) = (is_own, fs::OpenOptions::new().append(true).open(&path)) {
            let _ = file.file().set_modified(SystemTime::now());
        }
        let stored::Kept { model, image, .. } = kept;
        Ok(Look::Found(Box::new(Found { model, image, store })))
    }

    /// Begins to write a catalog.
    pub fn begin(&self) -> io::Result<(Unfinished, Writer)> {
        lasting::make(&self.path)?;
        self.sweep();
        let directory = tempfile::Builder::new().prefix(UNFINISHED).tempdir_in(&self.path)?;
        let lock = fs::File::open(directory.path())?;
        // Some network file systems cannot: then its age protects it.
        let _ = lock.file().try_lock();
        let writer = Writer::new(&directory.path().join(OBJECTS))?;
        Ok((Unfinished { directory, _lock: lock }, writer))
    }

    /// Gives a catalog whose objects are written its name.
    pub fn keep(
        &self,
        unfinished: Unfinished,
        model: &Catalog,
        image: &Image,
        frames: &[Frame],
    ) -> io::Result<Store> {
        let Unfinished { directory, _lock } = unfinished;
        let directory = directory.path();
        let sealed = seal(|to| stored::write(to, model, image, frames))?;
        durable::write(&directory.join(MODEL), &sealed)?;
        drop(sealed);
        let place = self.place(&image.digest());
        // Opened before it moves: what another run then does to the name does not matter.
        let store = Store::open(directory, frames.to_vec(), &place)?;
        // Whatever is there is of the same catalog: of another run, or damaged.
        self.take_away(&place)?;
        match durable::rename(directory, &place) {
            Ok(()) => {}
            // Another run was faster.
            Err(_) if place.join(MODEL).exists() => {}
            Err(error) => return Err(error),
        }
        self.forget(&place);
        store.ok_or_else(|| io::Error::other("the catalog was changed while it was written"))
    }

    /// Takes a catalog away, at once for everybody who looks.
    fn take_away(&self, place: &Path) -> io::Result<()> {
        let away = tempfile::Builder::new().prefix(UNFINISHED).tempdir_in(&self.path)?;
        match fs::rename(place, away.path().join("old")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Takes those away that were used longest ago.
    fn forget(&self, kept: &Path) {
        let mut others: Vec<(SystemTime, PathBuf)> = Vec::new();
        for path in self.entries() {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if Digest::from_hex(name).is_ok() && path != kept {
                let used = fs::metadata(path.join(MODEL)).and_then(|file| file.modified());
                others.push((used.unwrap_or(SystemTime::UNIX_EPOCH), path));
            }
        }
        others.sort();
        let many = others.len().saturating_sub(KEPT - 1);
        for (_, path) in &others[..many] {
            let _ = self.take_away(path);
        }
    }

    /// Takes away what killed runs left.
    fn sweep(&self) {
        let is_old = |path: &Path| {
            let changed = fs::metadata(path).and_then(|about| about.modified());
            changed.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > LEFT_ALONE))
        };
        for path in self.entries() {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if !name.starts_with(UNFINISHED) || !is_old(&path) {
                continue;
            }
            let Ok(lock) = fs::File::open(&path) else { continue };
            if !matches!(lock.file().try_lock(), Err(std::fs::TryLockError::WouldBlock)) {
                let _ = fs::remove_dir_all(&path);
            }
        }
    }

    fn entries(&self) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(&self.path) else { return Vec::new() };
        entries.filter_map(|entry| Some(entry.ok()?.path())).collect()
    }
}

/// A document as it lies in the workspace.
fn seal(document: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<Vec<u8>> {
    let mut to = BufWriter::new(zstd::Encoder::new(Vec::new(), LEVEL)?);
    document(&mut to)?;
    let packed = to.into_inner().map_err(io::IntoInnerError::into_error)?.finish()?;
    let mut sealed = format!("{HEAD}{}\n", Digest::of(&packed)).into_bytes();
    sealed.extend_from_slice(&packed);
    Ok(sealed)
}

/// The document, when it is the one that was written.
fn unseal(sealed: &[u8]) -> Option<Vec<u8>> {
    let end = sealed.iter().take(200).position(|byte| *byte == b'\n')?;
    let digest: Digest =
        std::str::from_utf8(&sealed[..end]).ok()?.strip_prefix(HEAD)?.parse().ok()?;
    let packed = &sealed[end + 1..];
    if Digest::of(packed) != digest {
        return None;
    }
    let mut document = Vec::new();
    let decoder = zstd::Decoder::new(packed).ok()?;
    decoder.take(STORED_MAX + 1).read_to_end(&mut document).ok()?;
    (document.len() as u64 <= STORED_MAX).then_some(document)
}

/// What is remembered of layers.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Layers {
    /// The last used stands last.
    layers: Vec<Layer>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Layer {
    digest: Digest,
    directories: Directories,
    holds: Holds,
}

impl Layers {
    /// What the workspace remembers; what cannot be read is not remembered.
    pub fn load(shelf: &Shelf) -> Self {
        let bytes = durable::read(&shelf.path.join("layers.json"), STORED_MAX).ok().flatten();
        bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
    }

    /// What a layer holds.
    pub fn get(&mut self, digest: &Digest, directories: &Directories) -> Option<Holds> {
        let is_it = |layer: &Layer| layer.digest == *digest && layer.directories == *directories;
        let at = self.layers.iter().position(is_it)?;
        let layer = self.layers.remove(at);
        let holds = layer.holds.clone();
        self.layers.push(layer);
        Some(holds)
    }

    /// Remembers it.
    pub fn add(&mut self, digest: Digest, directories: &Directories, holds: &Holds) {
        let (directories, holds) = (directories.clone(), holds.clone());
        self.layers.push(Layer { digest, directories, holds });
        let many = self.layers.len().saturating_sub(LAYERS_KEPT);
        self.layers.drain(..many);
    }

    /// Keeps it in the workspace.
    pub fn save(&self, shelf: &Shelf) -> io::Result<()> {
        lasting::make(&shelf.path)?;
        let bytes = serde_json::to_vec(self).expect("texts");
        lasting::replace(&shelf.path.join("layers.json"), &bytes, 0o644)
    }
}

#[cfg(test)]
#[path = "kept_tests.rs"]
mod tests;
