//! The catalog that is left, as an image on what is left of the original one.
//!
//! In: a catalog, what is taken of it. Out: an OCI layout of the workspace with the manifests, configurations and layers that
//! are made here; the other layers stay where the original is. What must hold: the same catalog and the same selection are the
//! same image, to the byte; no configuration of the original and nothing of its cache can be seen in it; memory does not
//! grow with the catalog.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::Path;

use flate2::write::GzEncoder;
use flate2::{Compression, GzBuilder};
use format_spec::Digest;
use format_spec::hash::Hasher;
use registry::lasting;
use registry::media_type::DOCKER_LIST;
use serde_json::{Value, json};
use tar::{EntryType, Header};

use super::files::Directories;
use super::image::{CONFIGS, PlatformImage};
use super::left::{self, LeftError, Object};
use super::open::Opened;
use super::select::Selection;
use super::store::{Store, StoreError};
use crate::based::{self, Based};
use crate::durable;
use crate::made::{self, BASE_NAME, Documents, Made};

/// The name of a file of a package.
const FILE: &str = "catalog.json";

/// Characters of the name of a package that is the name of a directory too. Names in a cluster have 253 at most.
const NAME_MAX: usize = 80;

/// What the directories begin with that have another name than their package.
const RENAMED: &str = "package-";

/// Bytes of a block of a tar.
const BLOCK: usize = 512;

/// What the server of a catalog is told to do.
const SERVE: &str = "serve";

/// Why a catalog cannot be rebuilt.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// Its objects.
    #[error(transparent)]
    Left(#[from] LeftError),
    /// The original cannot be built on.
    #[error("its image {digest} cannot be built on: {problem}")]
    Base {
        /// The manifest of the image.
        digest: Digest,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The workspace.
    #[error("cannot write the rebuilt catalog into the workspace")]
    Write(#[from] io::Error),
}

impl RebuildError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Left(LeftError::Store(error)) => error.hint(),
            Self::Left(LeftError::Object { .. }) | Self::Base { .. } | Self::Write(_) => None,
        }
    }
}

impl From<StoreError> for RebuildError {
    fn from(error: StoreError) -> Self {
        Self::Left(error.into())
    }
}

/// Writes what `selection` takes of a catalog into a layout, `without` some of its packages. The original is called `base`. Gives the digest of the image.
pub fn rebuild(
    opened: &Opened,
    selection: &Selection,
    without: &BTreeSet<String>,
    base: &str,
    to: &Path,
) -> Result<Digest, RebuildError> {
    let directories = &opened.image.directories;
    lasting::make(&made::blobs(to))?;
    let configs = Layer::write(to, |tar| pack(tar, opened, selection, without))?;
    let Directories { configs: shown, cache } = directories;
    let hiding = Hiding {
        configs: Layer::write(to, |tar| hide(tar, &[shown]))?,
        cache_too: Layer::write(to, |tar| hide(tar, &[shown, cache]))?,
    };
    let mut documents = Documents::default();
    let mut entries = Vec::with_capacity(opened.image.platforms.len());
    for image in &opened.image.platforms {
        let on = Base { image, directories, name: base };
        entries.push(on.with(&hiding, &configs, &mut documents)?);
    }
    let root = match (&opened.image.index, &mut *entries) {
        (None, [only]) => only.take(),
        (index, _) => {
            let docker = index.as_ref().is_some_and(|raw| raw.media_type == DOCKER_LIST);
            based::index(&entries, docker, &mut documents)
        }
    };
    let made = Made { documents, root, base: Some(base.to_owned()) };
    made.write(to, "latest")?;
    Ok(made.digest())
}

/// A layer that lies in the layout.
#[derive(Debug)]
struct Layer {
    digest: Digest,
    size: u64,
    diff_id: Digest,
}

impl Layer {
    /// Writes one.
    fn write(
        to: &Path,
        fill: impl FnOnce(&mut Tar) -> Result<(), RebuildError>,
    ) -> Result<Self, RebuildError> {
        let unnamed = to.join("layer");
        durable::only_a_file(&unnamed)?;
        let file = io::BufWriter::with_capacity(256 * 1024, fs_err::File::create(&unnamed)?);
        let gzip = GzBuilder::new().mtime(0).write(Hashed::new(file), Compression::new(6));
        let mut tar = Tar(Hashed::new(gzip));
        fill(&mut tar)?;
        let (gzip, diff_id, _) = tar.finish()?.finish();
        let (file, digest, size) = gzip.finish()?.finish();
        let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
        let blob = made::blobs(to).join(digest.hex());
        // One of an earlier run may have been cut short.
        file.sync_all()?;
        durable::rename(&unnamed, &blob)?;
        Ok(Self { digest, size, diff_id })
    }
}

/// What lies between the layers that stay and the new one.
struct Hiding {
    configs: Layer,
    cache_too: Layer,
}

/// What is written, hashed.
struct Hashed<W> {
    to: W,
    hasher: Hasher,
    bytes: u64,
}

impl<W> Hashed<W> {
    fn new(to: W) -> Self {
        Self { to, hasher: Hasher::new(), bytes: 0 }
    }

    fn finish(self) -> (W, Digest, u64) {
        (self.to, self.hasher.finish(), self.bytes)
    }
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.to.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

type File = io::BufWriter<fs_err::File>;
type Unpacked = Hashed<GzEncoder<Hashed<File>>>;

/// The entries of a layer.
struct Tar(Unpacked);

impl Tar {
    /// Begins an entry.
    fn header(&mut self, name: &str, kind: EntryType, size: u64) -> io::Result<()> {
        let mut header = Header::new_ustar();
        header.set_path(name)?;
        header.set_entry_type(kind);
        header.set_mode(if kind == EntryType::Directory { 0o755 } else { 0o644 });
        header.set_size(size);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_cksum();
        self.0.write_all(header.as_bytes())
    }

    fn directory(&mut self, name: &str) -> io::Result<()> {
        self.header(&format!("{name}/"), EntryType::Directory, 0)
    }

    /// A file with one object a line.
    fn file(&mut self, name: &str, objects: &[Object], store: &Store) -> Result<(), RebuildError> {
        let size = objects.iter().map(|object| object.size() + 1).sum();
        self.header(name, EntryType::Regular, size)?;
        for object in objects {
            self.0.write_all(&object.json(store)?)?;
            self.0.write_all(b"\n")?;
        }
        let beyond = usize::try_from(size % BLOCK as u64).expect("below a block");
        Ok(self.0.write_all(&[0; BLOCK][..(BLOCK - beyond) % BLOCK])?)
    }

    fn finish(mut self) -> io::Result<Unpacked> {
        self.0.write_all(&[0; 2 * BLOCK])?;
        Ok(self.0)
    }
}

/// The layer with the configurations: a directory with one file for each package, what belongs to none beside them.
fn pack(
    tar: &mut Tar,
    opened: &Opened,
    selection: &Selection,
    without: &BTreeSet<String>,
) -> Result<(), RebuildError> {
    let Opened { model: catalog, store, image, .. } = opened;
    let Directories { configs, .. } = &image.directories;
    tar.directory(configs)?;
    if !catalog.loose.is_empty() {
        let objects: Vec<_> = catalog.loose.iter().copied().map(Object::Kept).collect();
        tar.file(&format!("{configs}/{FILE}"), &objects, store)?;
    }
    for picked in selection.packages.iter().filter(|picked| !without.contains(&picked.name)) {
        let Some(package) = catalog.packages.get(&picked.name) else { continue };
        let at = format!("{configs}/{}", directory_of(&picked.name));
        tar.directory(&at)?;
        tar.file(&format!("{at}/{FILE}"), &left::objects(store, package, picked)?, store)?;
    }
    Ok(())
}

/// The directory of a package: its name, where that is plain, short and of no meaning to who unpacks or reads it. No two
/// packages have one, even where capital letters are small ones.
fn directory_of(package: &str) -> String {
    let is_plain =
        |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.');
    let plain = package.len() <= NAME_MAX && package.chars().all(is_plain);
    match plain && !package.starts_with('.') && !package.starts_with(RENAMED) && package != FILE {
        true => package.to_owned(),
        false => format!("{RENAMED}{}", &Digest::of(package.as_bytes()).hex()[..32]),
    }
}

/// A layer that hides these directories of the layers below it.
fn hide(tar: &mut Tar, directories: &[&str]) -> Result<(), RebuildError> {
    for directory in directories {
        let name = match directory.rsplit_once('/') {
            Some((above, own)) => format!("{above}/.wh.{own}"),
            None => format!(".wh.{directory}"),
        };
        tar.header(&name, EntryType::Regular, 0)?;
    }
    Ok(())
}

/// The image of one platform of the original.
struct Base<'a> {
    image: &'a PlatformImage,
    directories: &'a Directories,
    /// How it is called.
    name: &'a str,
}

impl Base<'_> {
    fn wrong(&self, problem: &'static str) -> RebuildError {
        RebuildError::Base { digest: self.image.raw.digest, problem }
    }

    /// The image with other configurations; gives its descriptor.
    fn with(
        &self,
        hiding: &Hiding,
        configs: &Layer,
        documents: &mut Documents,
    ) -> Result<Value, RebuildError> {
        let PlatformImage { raw, config, .. } = self.image;
        let based = Based::on(&raw.media_type, &raw.bytes, config);
        let mut image = based.map_err(|problem| self.wrong(problem))?;
        let dropped = self.image.may_be_dropped();
        if image.layers.len() != dropped.len() {
            return Err(self.wrong("its configuration lists other layers than its manifest"));
        }
        for list in [&mut image.layers, &mut image.diffs] {
            let mut dropped = dropped.iter();
            list.retain(|_| dropped.next() == Some(&false));
        }
        // In a layer that stays, or in one of which nothing is known.
        let has_cache = |(holds, dropped): (&Option<super::files::Holds>, &bool)| {
            !dropped && holds.as_ref().is_none_or(|holds| holds.cache)
        };
        let has_cache = self.image.holds.iter().zip(&dropped).any(has_cache);
        // Whatever is known of a layer that stays: who unpacks it may read it otherwise.
        let hiding = if has_cache { &hiding.cache_too } else { &hiding.configs };
        let added: &[&Layer] =
            if image.layers.is_empty() { &[configs] } else { &[hiding, configs] };
        for layer in added {
            image.push(&layer.digest, layer.size, &layer.diff_id);
        }
        history(&mut image.config, &dropped, added.len());
        serve(image.runs(), &self.directories.configs);
        // Without its digest: one that moved and has nothing new of what is taken stays the same image.
        let annotations = json!({ BASE_NAME: self.name });
        let platform = self.image.platform.as_ref().map(based::platform);
        Ok(image.put(annotations, platform, documents))
    }
}

/// What the configuration says of its layers, one entry for each; nothing where that would not fit.
fn history(config: &mut Value, dropped: &[bool], added: usize) {
    let Some(history) = config.get_mut("history").and_then(Value::as_array_mut) else { return };
    let mut layers = dropped.iter();
    let mut fits = true;
    history.retain(|entry| {
        if entry["empty_layer"].as_bool() == Some(true) {
            return true;
        }
        let dropped = layers.next();
        fits &= dropped.is_some();
        dropped != Some(&true)
    });
    fits &= layers.next().is_none();
    let ours = json!({ "created_by": "filtered catalog", "comment": "bundle" });
    history.extend(std::iter::repeat_n(ours, added));
    if !fits && let Some(config) = config.as_object_mut() {
        config.remove("history");
    }
}

/// Sets what it does: to serve the configurations without a cache, which it makes when it starts.
fn serve(inner: &mut Value, configs: &str) {
    let configs = format!("/{configs}");
    let words = |value: &Value| -> Vec<Value> { value.as_array().cloned().unwrap_or_default() };
    let before = |words: &[Value]| words.iter().position(|word| word == SERVE);
    let (mut entrypoint, mut cmd) = (words(&inner["Entrypoint"]), words(&inner["Cmd"]));
    match (before(&entrypoint), before(&cmd)) {
        (Some(at), _) => {
            entrypoint.truncate(at);
            cmd.clear();
        }
        (None, at) => cmd.truncate(at.unwrap_or(0)),
    }
    cmd.extend([SERVE.into(), configs.clone().into()]);
    inner["Cmd"] = cmd.into();
    if inner["Entrypoint"].is_array() {
        inner["Entrypoint"] = if entrypoint.is_empty() { Value::Null } else { entrypoint.into() };
    }
    if !inner["Labels"].is_object() {
        inner["Labels"] = json!({});
    }
    inner["Labels"][CONFIGS] = configs.into();
}

#[cfg(test)]
#[path = "rebuild_tests.rs"]
mod tests;
