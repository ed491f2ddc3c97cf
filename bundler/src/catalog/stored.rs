//! The form in which the model of a catalog and its image lie beside its objects.
//!
//! In: a catalog, its image, the frames of its objects. Out: one document of JSON in which each name stands once; and back.
//! Whether it is the document that was written is for [`kept`](super::kept) to see; here nothing it says leads to a panic.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::io::{self, Write};
use std::sync::Arc;

use bytes::Bytes;
use format_spec::Digest;
use registry::manifest::{Manifest, Platform, RawManifest};
use serde::{Deserialize, Serialize, Serializer};

use super::files::{Directories, Holds};
use super::image::{Image, PlatformImage};
use super::model::{Bundle, Catalog, Channel, Entry, Gvk, Package, Place, Requirement};
use super::store::Frame;

/// What is kept of a catalog beside its objects.
pub struct Kept {
    /// The catalog.
    pub model: Catalog,
    /// Its image.
    pub image: Image,
    /// Where its objects are.
    pub frames: Vec<Frame>,
}

/// The document. A number stands for a name, by its place in `texts`.
#[derive(Deserialize)]
struct Document {
    version: u32,
    image: StoredImage,
    frames: Vec<Frame>,
    files: Vec<String>,
    texts: Vec<String>,
    gvks: Vec<(u32, u32, u32)>,
    packages: Vec<StoredPackage>,
    loose: Vec<StoredPlace>,
}

const VERSION: u32 = 1;

type StoredPlace = (u32, u32, u32, u32);

#[derive(Serialize, Deserialize)]
struct StoredPackage {
    name: u32,
    object: StoredPlace,
    default: u32,
    display: Option<String>,
    channels: Vec<StoredChannel>,
    bundles: Vec<StoredBundle>,
    deprecations: Option<StoredPlace>,
    others: Vec<StoredPlace>,
}

/// Name, object, priority, entries.
type StoredChannel = (u32, StoredPlace, Option<i64>, Vec<StoredEntry>);

/// Name, `replaces`, `skips`, `skipRange`.
type StoredEntry = (u32, Option<u32>, Vec<u32>, Option<u32>);

/// Name, object, version, what it provides and requires.
type StoredBundle = (u32, StoredPlace, u32, Vec<u32>, Vec<StoredRequirement>);

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum StoredRequirement {
    Package(u32, u32),
    Gvk(u32),
    All(Vec<StoredRequirement>),
    Any(Vec<StoredRequirement>),
    Not(Vec<StoredRequirement>),
    Cel(u32),
}

#[derive(Serialize, Deserialize)]
struct StoredImage {
    index: Option<StoredManifest>,
    platforms: Vec<StoredPlatform>,
    read: usize,
    directories: Directories,
}

/// Media type and text.
type StoredManifest = (String, String);

#[derive(Serialize, Deserialize)]
struct StoredPlatform {
    /// Operating system, architecture, variant, version of the system.
    platform: Option<(String, String, Option<String>, Option<String>)>,
    manifest: StoredManifest,
    config: String,
    holds: Vec<Option<Holds>>,
}

/// The document of a catalog.
pub fn write(to: impl Write, model: &Catalog, image: &Image, frames: &[Frame]) -> io::Result<()> {
    let numbers = RefCell::new(Numbers::default());
    let document = Written {
        version: VERSION,
        image: stored_image(image),
        frames,
        files: &model.files,
        packages: Packages { model, numbers: &numbers },
        loose: model.loose.iter().copied().map(place).collect(),
        texts: Numbered(&numbers),
        gvks: Gvks(&numbers),
    };
    Ok(serde_json::to_writer(to, &document)?)
}

/// The document while it is written, package by package: a second one in memory would be as large as the catalog's model. The
/// names stand behind what numbers them.
#[derive(Serialize)]
struct Written<'a, 'm> {
    version: u32,
    image: StoredImage,
    frames: &'a [Frame],
    files: &'a [String],
    packages: Packages<'a, 'm>,
    loose: Vec<StoredPlace>,
    texts: Numbered<'a, 'm>,
    gvks: Gvks<'a, 'm>,
}

struct Packages<'a, 'm> {
    model: &'m Catalog,
    numbers: &'a RefCell<Numbers<'m>>,
}

impl Serialize for Packages<'_, '_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(self.model.packages.iter().map(|(name, package)| {
            let mut numbers = self.numbers.borrow_mut();
            StoredPackage {
                name: numbers.text(name),
                object: place(package.object),
                default: numbers.text(&package.default_channel),
                display: package.display_name.clone(),
                channels: package.channels.iter().map(|one| numbers.channel(one)).collect(),
                bundles: package
                    .bundles
                    .iter()
                    .map(|(name, it)| numbers.bundle(name, it))
                    .collect(),
                deprecations: package.deprecations.map(place),
                others: package.others.iter().copied().map(place).collect(),
            }
        }))
    }
}

struct Numbered<'a, 'm>(&'a RefCell<Numbers<'m>>);

impl Serialize for Numbered<'_, '_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(&self.0.borrow().list)
    }
}

struct Gvks<'a, 'm>(&'a RefCell<Numbers<'m>>);

impl Serialize for Gvks<'_, '_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(&self.0.borrow().gvk_list)
    }
}

/// What a document says; `None` when it is none of this version.
pub fn read(document: &[u8]) -> Option<Kept> {
    let document: Document = serde_json::from_slice(document).ok()?;
    if document.version != VERSION {
        return None;
    }
    let texts: Vec<Arc<str>> = document.texts.into_iter().map(Into::into).collect();
    let gvk = |(group, version, kind): &(u32, u32, u32)| {
        let text = |at: u32| texts.get(at as usize).map(ToString::to_string);
        Some(Arc::new(Gvk { group: text(*group)?, version: text(*version)?, kind: text(*kind)? }))
    };
    let gvks: Vec<Arc<Gvk>> = document.gvks.iter().map(gvk).collect::<Option<_>>()?;
    let names = Texts { texts: &texts, gvks: &gvks };
    let mut packages = BTreeMap::new();
    for stored in document.packages {
        packages.insert(names.string(stored.name)?, names.package(stored)?);
    }
    let loose = document.loose.into_iter().map(placed).collect();
    let model = Catalog { files: document.files, packages, loose };
    Some(Kept { model, image: image(document.image)?, frames: document.frames })
}

fn place(place: Place) -> StoredPlace {
    (place.file, place.frame, place.offset, place.length)
}

fn placed((file, frame, offset, length): StoredPlace) -> Place {
    Place { file, frame, offset, length }
}

/// Numbers for names.
#[derive(Default)]
struct Numbers<'m> {
    numbers: HashMap<&'m str, u32>,
    list: Vec<&'m str>,
    gvks: HashMap<&'m Gvk, u32>,
    gvk_list: Vec<(u32, u32, u32)>,
}

impl<'m> Numbers<'m> {
    fn text(&mut self, text: &'m str) -> u32 {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        let number = u32::try_from(self.list.len()).expect("bounded by the model's limit");
        self.list.push(text);
        self.numbers.insert(text, number);
        number
    }

    fn gvk(&mut self, gvk: &'m Gvk) -> u32 {
        if let Some(number) = self.gvks.get(gvk) {
            return *number;
        }
        let numbers = (self.text(&gvk.group), self.text(&gvk.version), self.text(&gvk.kind));
        let number = u32::try_from(self.gvk_list.len()).expect("bounded by the model's limit");
        self.gvk_list.push(numbers);
        self.gvks.insert(gvk, number);
        number
    }

    fn channel(&mut self, channel: &'m Channel) -> StoredChannel {
        let mut entry = |entry: &'m Entry| {
            let mut optional =
                |text: &'m Option<Arc<str>>| text.as_ref().map(|text| self.text(text));
            let (replaces, range) = (optional(&entry.replaces), optional(&entry.skip_range));
            let skips = entry.skips.iter().map(|skip| self.text(skip)).collect();
            (self.text(&entry.name), replaces, skips, range)
        };
        let entries = channel.entries.iter().map(&mut entry).collect();
        (self.text(&channel.name), place(channel.object), channel.priority, entries)
    }

    fn bundle(&mut self, name: &'m str, bundle: &'m Bundle) -> StoredBundle {
        let provides = bundle.provides.iter().map(|gvk| self.gvk(gvk)).collect();
        let requires = bundle.requires.iter().map(|one| self.requirement(one)).collect();
        (self.text(name), place(bundle.object), self.text(&bundle.version), provides, requires)
    }

    fn requirement(&mut self, requirement: &'m Requirement) -> StoredRequirement {
        let mut several =
            |list: &'m [Requirement]| list.iter().map(|one| self.requirement(one)).collect();
        match requirement {
            Requirement::All(list) => StoredRequirement::All(several(list)),
            Requirement::Any(list) => StoredRequirement::Any(several(list)),
            Requirement::Not(list) => StoredRequirement::Not(several(list)),
            Requirement::Gvk(gvk) => StoredRequirement::Gvk(self.gvk(gvk)),
            Requirement::Cel(rule) => StoredRequirement::Cel(self.text(rule)),
            Requirement::Package { name, range } => {
                StoredRequirement::Package(self.text(name), self.text(range))
            }
        }
    }
}

/// Names for numbers.
struct Texts<'a> {
    texts: &'a [Arc<str>],
    gvks: &'a [Arc<Gvk>],
}

impl Texts<'_> {
    fn text(&self, number: u32) -> Option<Arc<str>> {
        self.texts.get(number as usize).cloned()
    }

    fn string(&self, number: u32) -> Option<String> {
        self.texts.get(number as usize).map(ToString::to_string)
    }

    fn package(&self, stored: StoredPackage) -> Option<Package> {
        let channels = stored.channels.into_iter().map(|channel| self.channel(channel));
        let bundles = stored.bundles.into_iter().map(|bundle| self.bundle(bundle));
        Some(Package {
            object: placed(stored.object),
            default_channel: self.string(stored.default)?,
            display_name: stored.display,
            channels: channels.collect::<Option<_>>()?,
            bundles: bundles.collect::<Option<_>>()?,
            deprecations: stored.deprecations.map(placed),
            others: stored.others.into_iter().map(placed).collect(),
        })
    }

    fn channel(&self, (name, object, priority, entries): StoredChannel) -> Option<Channel> {
        let entry = |(name, replaces, skips, range): StoredEntry| {
            let optional = |number: Option<u32>| match number {
                Some(number) => self.text(number).map(Some),
                None => Some(None),
            };
            Some(Entry {
                name: self.text(name)?,
                replaces: optional(replaces)?,
                skips: skips.into_iter().map(|skip| self.text(skip)).collect::<Option<_>>()?,
                skip_range: optional(range)?,
            })
        };
        let entries = entries.into_iter().map(entry).collect::<Option<_>>()?;
        Some(Channel { name: self.string(name)?, object: placed(object), priority, entries })
    }

    fn bundle(
        &self,
        (name, object, version, provides, requires): StoredBundle,
    ) -> Option<(Arc<str>, Bundle)> {
        let provides = provides.into_iter().map(|gvk| self.gvks.get(gvk as usize).cloned());
        let requires = requires.into_iter().map(|one| self.requirement(one));
        let bundle = Bundle {
            object: placed(object),
            version: self.text(version)?,
            provides: provides.collect::<Option<_>>()?,
            requires: requires.collect::<Option<_>>()?,
        };
        Some((self.text(name)?, bundle))
    }

    fn requirement(&self, stored: StoredRequirement) -> Option<Requirement> {
        let several = |list: Vec<StoredRequirement>| {
            list.into_iter().map(|one| self.requirement(one)).collect::<Option<_>>()
        };
        Some(match stored {
            StoredRequirement::All(list) => Requirement::All(several(list)?),
            StoredRequirement::Any(list) => Requirement::Any(several(list)?),
            StoredRequirement::Not(list) => Requirement::Not(several(list)?),
            StoredRequirement::Gvk(gvk) => Requirement::Gvk(self.gvks.get(gvk as usize)?.clone()),
            StoredRequirement::Cel(rule) => Requirement::Cel(self.string(rule)?),
            StoredRequirement::Package(name, range) => {
                Requirement::Package { name: self.string(name)?, range: self.string(range)? }
            }
        })
    }
}

fn stored_image(image: &Image) -> StoredImage {
    // Manifests and configurations were valid when they were read, so they are text.
    let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
    let manifest = |raw: &RawManifest| (raw.media_type.clone(), text(&raw.bytes));
    let platform = |image: &PlatformImage| StoredPlatform {
        platform: image.platform.clone().map(|on| {
            let Platform { os, architecture, variant, os_version } = on;
            (os, architecture, variant, os_version)
        }),
        manifest: manifest(&image.raw),
        config: text(&image.config),
        holds: image.holds.clone(),
    };
    StoredImage {
        index: image.index.as_ref().map(manifest),
        platforms: image.platforms.iter().map(platform).collect(),
        read: image.read,
        directories: image.directories.clone(),
    }
}

fn image(stored: StoredImage) -> Option<Image> {
    let raw = |(media_type, text): StoredManifest| {
        let bytes = Bytes::from(text);
        RawManifest { digest: Digest::of(&bytes), bytes, media_type }
    };
    let platform =
        |stored: StoredPlatform| {
            let raw = raw(stored.manifest);
            let Ok(Manifest::Image(manifest)) = raw.parse() else { return None };
            let platform = stored.platform.map(|(os, architecture, variant, os_version)| {
                Platform { os, architecture, variant, os_version }
            });
            let fits = stored.holds.len() == manifest.layers.len();
            let (config, holds) = (Bytes::from(stored.config), stored.holds);
            fits.then_some(PlatformImage { platform, raw, manifest, config, holds })
        };
    let platforms: Vec<PlatformImage> =
        stored.platforms.into_iter().map(platform).collect::<Option<_>>()?;
    let (read, directories) = (stored.read, stored.directories);
    let index = stored.index.map(raw);
    (read < platforms.len()).then_some(Image { index, platforms, read, directories })
}
