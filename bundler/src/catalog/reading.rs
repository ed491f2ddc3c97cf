//! From the files of a catalog to its model, while its layers arrive.
//!
//! In: layers, from the uppermost down. Out: the [`Catalog`], its objects in the store. What must hold: a file counts when all
//! layers are known, for the rules that ignore it may come after it; until then nobody hears of what is wrong with it.

use std::collections::HashMap;
use std::io::{self, Read};
use std::sync::Arc;

use format_spec::Digest;
use semver::Version;

use super::assemble;
use super::error::CatalogError;
use super::fields::{self, Parsed, Part};
use super::files::{self, Directories, Holds, Seen, TooMany};
use super::ignored::{self, Ignored};
use super::interned::Names;
use super::limits::IGNORE_MAX;
use super::model::{Bundle, Catalog, Channel, Place};
use super::objects::{Objects, Problem, Spot};
use super::store::{Frame, Writer};
use crate::release::layer::{self, LayerError};
use crate::release::tarball::{Entry, Kind};

/// A catalog that is being read.
pub struct Reading {
    directories: Directories,
    seen: Seen,
    files: HashMap<String, File>,
    names: Names,
    writer: Writer,
    /// Bytes that rules may still have.
    rules_left: u64,
}

/// What a file of a catalog turned out to be.
enum File {
    Objects(Objected),
    Rules(String),
    /// One that the catalog cannot be read with, unless it is ignored.
    Wrong(Box<CatalogError>),
}

/// The objects of a file.
#[derive(Default)]
pub(super) struct Objected {
    pub(super) objects: Vec<Held>,
    /// The newest bundle of each package that has a name for people.
    pub(super) newest: HashMap<Arc<str>, (Version, String)>,
}

/// What is held of an object.
pub(super) struct Held {
    pub(super) spot: Spot,
    pub(super) package: Option<Arc<str>>,
    pub(super) place: Place,
    pub(super) part: HeldPart,
}

/// What an object is.
pub(super) enum HeldPart {
    Package(String),
    Channel(Channel),
    Bundle(Arc<str>, Bundle),
    Deprecations,
    Other,
}

impl Reading {
    /// Reads the files of these directories; objects go to `writer`.
    pub fn new(directories: Directories, writer: Writer) -> Self {
        let (seen, names) = (Seen::default(), Names::default());
        let files = HashMap::new();
        Self { directories, seen, files, names, writer, rules_left: IGNORE_MAX }
    }

    /// Whether lower layers cannot matter.
    pub fn is_complete(&self) -> bool {
        self.seen.all_is_hidden()
    }

    /// Reads a layer, and says what it holds. `unpacked` is lowered by what it unpacks to.
    pub fn layer(
        &mut self,
        stored: impl Read,
        digest: &Digest,
        unpacked: &mut u64,
    ) -> Result<Holds, CatalogError> {
        let Self { directories, seen, files, names, writer, rules_left } = self;
        let mut here = files::Layer::new(directories, seen);
        let mut stop = None;
        let read = layer::read_all(stored, digest, unpacked, |path, entry, content| {
            let mut one = || -> Result<(), Stop> {
                let Some(path) = here.look(path, entry)? else { return Ok(()) };
                let shown = || directories.shown(path);
                let file = match entry.kind {
                    Kind::Directory => {
                        // It came after a file of its name in this layer.
                        files.remove(path);
                        return Ok(());
                    }
                    Kind::Other => not_a_file(shown()),
                    Kind::File if path.is_empty() => not_a_file(shown()),
                    Kind::File if is_rules(path) => rules(entry, content, rules_left)?,
                    Kind::File => objects(content, &shown(), names, writer)?,
                };
                files.insert(path.to_owned(), file);
                Ok(())
            };
            one().map_err(|why| match why {
                Stop::Layer(error) => error,
                Stop::Catalog(error) => {
                    stop = Some(error);
                    LayerError::Taker(io::Error::other("the catalog cannot be read on"))
                }
            })
        });
        if let Some(stop) = stop {
            return Err(stop);
        }
        read.map_err(|error| CatalogError::Layer { digest: *digest, error })?;
        Ok(here.descend()?)
    }

    /// The catalog, when all layers are known.
    pub fn finish(self) -> Result<(Catalog, Vec<Frame>), CatalogError> {
        let rules = self.files.iter().filter_map(|(path, file)| match file {
            File::Rules(text) => Some((path.rsplit_once('/').map_or("", |(at, _)| at), &text[..])),
            _ => None,
        });
        let ignored = Ignored::new(rules)?;
        let mut files: Vec<(String, Objected)> = Vec::new();
        let mut wrong: Option<(String, Box<CatalogError>)> = None;
        for (path, file) in self.files {
            if ignored.has(&path) {
                continue;
            }
            match file {
                File::Rules(_) => {}
                File::Objects(objects) => files.push((path, objects)),
                // Of several the first by name is told, whichever came first.
                File::Wrong(_) if wrong.as_ref().is_some_and(|(first, _)| *first < path) => {}
                File::Wrong(error) => wrong = Some((path, error)),
            }
        }
        if let Some((_, error)) = wrong {
            return Err(*error);
        }
        if files.is_empty() {
            return Err(CatalogError::Empty(self.directories.shown("")));
        }
        // In the order in which servers of catalogs walk through them.
        files.sort_by(|(a, _), (b, _)| a.split('/').cmp(b.split('/')));
        let catalog = assemble::catalog(files, &self.directories)?;
        Ok((catalog, self.writer.finish().map_err(CatalogError::Write)?))
    }
}

/// Why a layer is not read on: it is at fault, or what is in it.
enum Stop {
    Layer(LayerError),
    Catalog(CatalogError),
}

impl From<TooMany> for Stop {
    fn from(error: TooMany) -> Self {
        Self::Catalog(error.into())
    }
}

impl From<LayerError> for Stop {
    fn from(error: LayerError) -> Self {
        Self::Layer(error)
    }
}

/// The content of a file, for who reads bytes. A fault of the layer is kept.
struct Bytes<'a, 'c> {
    content: &'a mut layer::Content<'c>,
    fault: Option<LayerError>,
}

impl Read for Bytes<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.content.read(buffer).map_err(|error| {
            self.fault = Some(error);
            io::Error::other("the layer cannot be read on")
        })
    }
}

fn not_a_file(file: String) -> File {
    File::Wrong(Box::new(CatalogError::NotAFile { file }))
}

fn is_rules(path: &str) -> bool {
    path.rsplit('/').next() == Some(ignored::NAME)
}

fn rules(entry: &Entry, content: &mut layer::Content<'_>, left: &mut u64) -> Result<File, Stop> {
    *left = left.checked_sub(entry.size).ok_or(TooMany)?;
    let bytes = content.whole(entry.size, IGNORE_MAX)?;
    Ok(File::Rules(String::from_utf8_lossy(&bytes).into_owned()))
}

/// Reads a file to its end, or to the first thing that is wrong with it.
fn objects(
    content: &mut layer::Content<'_>,
    file: &str,
    names: &mut Names,
    writer: &mut Writer,
) -> Result<File, Stop> {
    let mut found = Objected::default();
    let mut objects = Objects::new(Bytes { content, fault: None });
    let write = |error| Stop::Catalog(CatalogError::Write(error));
    loop {
        let object = match objects.next() {
            Ok(Some(object)) => object,
            Ok(None) => break,
            Err(fault) => match fault.problem {
                Problem::Io(error) => {
                    let fault = objects.into_reader().fault;
                    return Err(fault.unwrap_or(LayerError::Taker(error)).into());
                }
                _ => return wrong(CatalogError::File { file: file.to_owned(), fault }, names),
            },
        };
        // Which file it is among all is known later.
        let place = writer.put(0, object.json).map_err(write)?;
        let Parsed { package, part } = match fields::parse(object.json, place, names) {
            Ok(parsed) => parsed,
            Err(error) => {
                let (file, spot) = (file.to_owned(), object.spot);
                return wrong(CatalogError::Object { file, spot, error }, names);
            }
        };
        let part = match part {
            Part::Package(default) => HeldPart::Package(default),
            Part::Channel(channel) => HeldPart::Channel(channel),
            Part::Deprecations => HeldPart::Deprecations,
            Part::Other => HeldPart::Other,
            Part::Bundle { name, bundle, version, csv } => {
                if let (Some(package), Some(version), Some(csv)) = (&package, version, csv) {
                    note_name(&mut found.newest, package, version, csv);
                }
                HeldPart::Bundle(name, bundle)
            }
        };
        names.hold::<Held>(1);
        room(names)?;
        found.objects.push(Held { spot: object.spot, package, place, part });
    }
    found.objects.shrink_to_fit();
    Ok(File::Objects(found))
}

/// A fault that is held until it is known whether its file counts.
fn wrong(error: CatalogError, names: &mut Names) -> Result<File, Stop> {
    names.hold::<u8>(error.to_string().len());
    names.hold::<CatalogError>(2);
    room(names)?;
    Ok(File::Wrong(Box::new(error)))
}

fn room(names: &Names) -> Result<(), Stop> {
    match names.are_too_many() {
        true => Err(Stop::Catalog(CatalogError::TooMuch("more in it"))),
        false => Ok(()),
    }
}

/// Keeps the display name of a bundle that is the newest so far.
fn note_name(
    newest: &mut HashMap<Arc<str>, (Version, String)>,
    package: &Arc<str>,
    version: Version,
    csv: &str,
) {
    if newest.get(package).is_some_and(|(best, _)| *best > version) {
        return;
    }
    if let Some(name) = fields::display_name(csv) {
        newest.insert(Arc::clone(package), (version, name));
    }
}

#[cfg(test)]
#[path = "reading_tests.rs"]
mod tests;
