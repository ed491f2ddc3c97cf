//! The objects of all files, as one catalog.
//!
//! In: the files in their order, each with its objects. Out: the [`Catalog`]. What must hold: nothing is there twice, and what
//! belongs to a package belongs to one that is there.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};

use super::error::CatalogError;
use super::fields::{BUNDLE, CHANNEL, DEPRECATIONS, PACKAGE};
use super::files::Directories;
use super::model::{Catalog, Package};
use super::reading::{Held, HeldPart, Objected};
use super::wording::quoted;

/// Puts the objects together.
pub(super) fn catalog(
    files: Vec<(String, Objected)>,
    directories: &Directories,
) -> Result<Catalog, CatalogError> {
    let mut assembly = Assembly { catalog: Catalog::default(), directories };
    let mut contents = Vec::with_capacity(files.len());
    for (number, (path, mut content)) in (0..).zip(files) {
        assembly.catalog.files.push(path);
        for held in &mut content.objects {
            held.belongs_to(number);
            // What belongs to a package may come before it.
            assembly.package(held)?;
        }
        contents.push(content);
    }
    let mut newest = HashMap::new();
    for content in contents {
        for held in content.objects {
            assembly.add(held)?;
        }
        for (package, found) in content.newest {
            let best = newest.entry(package).or_insert_with(|| found.clone());
            if best.0 < found.0 {
                *best = found;
            }
        }
    }
    for (package, (_, name)) in newest {
        if let Some(package) = assembly.catalog.packages.get_mut(&*package) {
            package.display_name = Some(name);
        }
    }
    assembly.channels_once()?;
    Ok(assembly.catalog)
}

struct Assembly<'a> {
    catalog: Catalog,
    directories: &'a Directories,
}

impl Assembly<'_> {
    fn package(&mut self, held: &mut Held) -> Result<(), CatalogError> {
        let (HeldPart::Package(default), Some(name)) = (&mut held.part, &held.package) else {
            return Ok(());
        };
        let new = Package {
            object: held.place,
            default_channel: std::mem::take(default),
            display_name: None,
            channels: Vec::new(),
            bundles: BTreeMap::new(),
            deprecations: None,
            others: Vec::new(),
        };
        match self.catalog.packages.insert(name.to_string(), new) {
            None => Ok(()),
            Some(first) => {
                let what = format!("`{PACKAGE}` {}", quoted(name));
                Err(self.twice(what, first.object.file, held.place.file))
            }
        }
    }

    fn add(&mut self, held: Held) -> Result<(), CatalogError> {
        let Held { spot, package, place, part } = held;
        let of = package.as_deref().unwrap_or_default();
        let Some(package) = self.catalog.packages.get_mut(of) else {
            let what = match part {
                // Whatever it is, it is passed on.
                HeldPart::Other => {
                    self.catalog.loose.push(place);
                    return Ok(());
                }
                HeldPart::Package(_) => return Ok(()),
                HeldPart::Channel(channel) => format!("`{CHANNEL}` {}", quoted(&channel.name)),
                HeldPart::Bundle(name, _) => format!("`{BUNDLE}` {}", quoted(&name)),
                HeldPart::Deprecations => format!("`{DEPRECATIONS}`"),
            };
            let (file, package) = (self.shown(place.file), quoted(of));
            return Err(CatalogError::NoPackage { file, spot, what, package });
        };
        let twice = match part {
            HeldPart::Package(_) => None,
            HeldPart::Channel(channel) => {
                package.channels.push(channel);
                None
            }
            HeldPart::Bundle(name, bundle) => match package.bundles.entry(name) {
                Entry::Vacant(vacant) => {
                    vacant.insert(bundle);
                    None
                }
                Entry::Occupied(first) => Some((
                    format!("`{BUNDLE}` {} of package {}", quoted(first.key()), quoted(of)),
                    first.get().object.file,
                )),
            },
            HeldPart::Deprecations => package
                .deprecations
                .replace(place)
                .map(|first| (format!("`{DEPRECATIONS}` of package {}", quoted(of)), first.file)),
            HeldPart::Other => {
                package.others.push(place);
                None
            }
        };
        match twice {
            None => Ok(()),
            Some((what, first)) => Err(self.twice(what, first, place.file)),
        }
    }

    fn channels_once(&self) -> Result<(), CatalogError> {
        for (name, package) in &self.catalog.packages {
            let mut seen = HashMap::new();
            for channel in &package.channels {
                if let Some(first) = seen.insert(&channel.name, channel.object.file) {
                    let channel_name = quoted(&channel.name);
                    let what = format!("`{CHANNEL}` {channel_name} of package {}", quoted(name));
                    return Err(self.twice(what, first, channel.object.file));
                }
            }
        }
        Ok(())
    }

    fn twice(&self, what: String, first: u32, second: u32) -> CatalogError {
        CatalogError::Twice { what, first: self.shown(first), second: self.shown(second) }
    }

    fn shown(&self, file: u32) -> String {
        let path = self.catalog.files.get(file as usize);
        self.directories.shown(path.map_or("", String::as_str))
    }
}

impl Held {
    fn belongs_to(&mut self, file: u32) {
        self.place.file = file;
        match &mut self.part {
            HeldPart::Channel(channel) => channel.object.file = file,
            HeldPart::Bundle(_, bundle) => bundle.object.file = file,
            HeldPart::Package(_) | HeldPart::Deprecations | HeldPart::Other => {}
        }
    }
}
