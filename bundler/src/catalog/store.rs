//! The objects of a catalog on disk, in compressed frames.
//!
//! In: objects as they are read, one after the other. Out: the [`Place`] of each, and later its bytes. What must hold: each frame
//! has the length and the digest that it was written with before anything of it counts; more than a frame or two is never
//! held.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use bytes::Bytes;
use format_spec::Digest;
use fs_err as fs;
use serde::{Deserialize, Serialize};

use super::limits::{FRAME, OBJECT_MAX};
use super::model::Place;
use crate::lock;

/// The compression of objects: they are written once and read a few times.
const LEVEL: i32 = 1;

/// Unpacked frames that are held: the objects of a package lie beside each other.
const HELD: usize = 2;

/// Why an object of the store cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file.
    #[error("cannot read the catalog that the workspace keeps")]
    Io(#[from] io::Error),
    /// There is none at a place: it is that of another catalog.
    #[error("the catalog that the workspace keeps has no object at this place")]
    Place,
    /// It is not what was written.
    #[error("the catalog that the workspace keeps is damaged: `{}`", .0.display())]
    Damaged(PathBuf),
}

impl StoreError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Damaged(_) => Some(
                "run the command again: it was taken away, and is read from its origin then"
                    .to_owned(),
            ),
            Self::Io(_) | Self::Place => None,
        }
    }
}

/// A frame as it lies in the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frame {
    /// Where it begins.
    pub at: u64,
    /// Its bytes there.
    pub packed: u32,
    /// Its bytes when it is unpacked.
    pub unpacked: u32,
    /// The digest of what lies there.
    pub digest: Digest,
}

/// Writes objects.
pub struct Writer {
    file: fs::File,
    compressor: zstd::bulk::Compressor<'static>,
    frame: Vec<u8>,
    frames: Vec<Frame>,
    at: u64,
}

impl Writer {
    /// Writes to a new file.
    pub fn new(path: &Path) -> io::Result<Self> {
        let file = fs::OpenOptions::new().write(true).create_new(true).open(path)?;
        let compressor = zstd::bulk::Compressor::new(LEVEL)?;
        Ok(Self { file, compressor, frame: Vec::with_capacity(FRAME), frames: Vec::new(), at: 0 })
    }

    /// Adds an object of a file.
    pub fn put(&mut self, file: u32, json: &str) -> io::Result<Place> {
        let too_many = |_| io::Error::from(io::ErrorKind::FileTooLarge);
        if !self.frame.is_empty() && self.frame.len() + json.len() > FRAME {
            self.flush()?;
        }
        let place = Place {
            file,
            frame: u32::try_from(self.frames.len()).map_err(too_many)?,
            offset: u32::try_from(self.frame.len()).map_err(too_many)?,
            length: u32::try_from(json.len()).map_err(too_many)?,
        };
        self.frame.extend_from_slice(json.as_bytes());
        Ok(place)
    }

    fn flush(&mut self) -> io::Result<()> {
        let too_large = |_| io::Error::from(io::ErrorKind::FileTooLarge);
        let packed = self.compressor.compress(&self.frame)?;
        self.file.write_all(&packed)?;
        self.frames.push(Frame {
            at: self.at,
            packed: u32::try_from(packed.len()).map_err(too_large)?,
            unpacked: u32::try_from(self.frame.len()).map_err(too_large)?,
            digest: Digest::of(&packed),
        });
        self.at += packed.len() as u64;
        self.frame.clear();
        // One large object is no reason to hold its room.
        self.frame.shrink_to(FRAME);
        Ok(())
    }

    /// Makes all of it durable. Where everything is.
    pub fn finish(mut self) -> io::Result<Vec<Frame>> {
        if !self.frame.is_empty() {
            self.flush()?;
        }
        self.file.sync_all()?;
        Ok(self.frames)
    }
}

/// Reads objects.
#[derive(Debug)]
pub struct Store {
    file: fs::File,
    frames: Vec<Frame>,
    /// Frames that were read last.
    held: Mutex<VecDeque<(u32, Bytes)>>,
    /// The directory that it lies in.
    place: PathBuf,
}

/// The file with the objects.
pub const OBJECTS: &str = "objects";
/// The file that says what they are.
pub const MODEL: &str = "model";

impl Store {
    /// The objects in a directory that is going to be at `place`; `None` when their file has another length than it had.
    pub fn open(directory: &Path, frames: Vec<Frame>, place: &Path) -> io::Result<Option<Self>> {
        let file = registry::regular::open(&directory.join(OBJECTS))?;
        let length = frames.last().map_or(0, |last| last.at.saturating_add(last.packed.into()));
        if file.metadata()?.len() != length {
            return Ok(None);
        }
        Ok(Some(Self { file, frames, held: Mutex::default(), place: place.to_owned() }))
    }

    /// The JSON of an object.
    pub fn object(&self, place: Place) -> Result<Bytes, StoreError> {
        let frame = self.frame(place.frame)?;
        let (from, length) = (place.offset as usize, place.length as usize);
        let end = from.checked_add(length).filter(|end| *end <= frame.len());
        let end = end.ok_or(StoreError::Place)?;
        Ok(frame.slice(from..end))
    }

    fn frame(&self, number: u32) -> Result<Bytes, StoreError> {
        let held = |held: &VecDeque<(u32, Bytes)>| {
            held.iter().find(|(other, _)| *other == number).map(|(_, bytes)| bytes.clone())
        };
        if let Some(bytes) = held(&lock(&self.held)) {
            return Ok(bytes);
        }
        let bytes = self.read(number)?;
        let mut held = lock(&self.held);
        held.truncate(HELD - 1);
        held.push_front((number, bytes.clone()));
        Ok(bytes)
    }

    fn read(&self, number: u32) -> Result<Bytes, StoreError> {
        let frame = self.frames.get(number as usize).ok_or(StoreError::Place)?;
        // What nothing here writes is not read: no number of the model makes memory of it.
        if frame.unpacked as usize > OBJECT_MAX.max(FRAME)
            || u64::from(frame.packed) > u64::from(frame.unpacked) + 65536
        {
            return Err(self.damaged());
        }
        let mut packed = vec![0; frame.packed as usize];
        self.file.file().read_exact_at(&mut packed, frame.at)?;
        if Digest::of(&packed) != frame.digest {
            return Err(self.damaged());
        }
        match zstd::bulk::decompress(&packed, frame.unpacked as usize) {
            Ok(bytes) if bytes.len() == frame.unpacked as usize => Ok(bytes.into()),
            _ => Err(self.damaged()),
        }
    }

    /// Says so, after it has seen to it that the next run does not come here.
    fn damaged(&self) -> StoreError {
        let _ = fs::remove_file(self.place.join(MODEL));
        StoreError::Damaged(self.place.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_come_back_from_their_places() {
        let dir = tempfile::tempdir().unwrap();
        let (path, model) = (dir.path().join(OBJECTS), dir.path().join(MODEL));
        fs::write(&model, "x").unwrap();
        let mut writer = Writer::new(&path).unwrap();
        let objects: Vec<String> =
            (0..40).map(|n| format!("{{\"n\":\"{}\"}}", "x".repeat(n * 10_000))).collect();
        let large = "y".repeat(3 * FRAME);
        let mut places = Vec::new();
        for object in objects.iter().chain([&large]).chain(&objects) {
            places.push((writer.put(7, object).unwrap(), object));
        }
        let frames = writer.finish().unwrap();
        assert!(frames.len() > 5, "{}", frames.len());
        let store = Store::open(dir.path(), frames.clone(), dir.path()).unwrap().unwrap();
        for (place, object) in places.iter().chain(places.iter().rev()) {
            assert_eq!(store.object(*place).unwrap(), object.as_bytes());
            assert!(lock(&store.held).len() <= HELD);
        }
        let beyond = Place { length: u32::MAX, ..places[0].0 };
        assert!(matches!(store.object(beyond), Err(StoreError::Place)));
        let beyond = Place { frame: 10_000, ..places[0].0 };
        assert!(matches!(store.object(beyond), Err(StoreError::Place)));

        // A byte that turned is found when it is read, and the model is gone then.
        fs::write(&model, "x").unwrap();
        let mut bytes = fs::read(&path).unwrap();
        bytes[usize::try_from(frames[3].at).unwrap() + 9] ^= 1;
        fs::write(&path, &bytes).unwrap();
        let store = Store::open(dir.path(), frames.clone(), dir.path()).unwrap().unwrap();
        store.object(places[0].0).unwrap();
        let hurt = places.iter().find(|(place, _)| place.frame == 3).unwrap();
        let error = store.object(hurt.0).unwrap_err();
        assert!(error.hint().unwrap().contains("run the command again"));
        assert!(!model.exists());
        fs::write(&path, &bytes[1..]).unwrap();
        assert!(Store::open(dir.path(), frames, dir.path()).unwrap().is_none());
    }
}
