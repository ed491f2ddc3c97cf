//! An archive of images: what `docker save`, `podman save` and `skopeo` (`docker-archive:`, `oci-archive:`) write.
//!
//! In: a tar. Out: its images, by digest, and their blobs as windows into the tar; nothing is unpacked. What must hold: an image
//! of an OCI archive keeps its digest; one of a Docker archive has no manifest, and the same image gets the same one each
//! time: its configuration and layers as they lie there.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read as _};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use format_spec::hash::Hasher;
use format_spec::limits::MANIFEST_MAX;
use format_spec::{Digest, Tag};
use registry::client::BlobSource;
use registry::layout::REF_NAME;
use registry::manifest::{Descriptor, Manifest, RawManifest, own_type};
use registry::media_type::{OCI_CONFIG, OCI_LAYER, OCI_LAYER_GZIP, OCI_LAYER_ZSTD, OCI_MANIFEST};
use registry::shelf::Shelf;
use registry::window::Window;
use serde::Deserialize;
use serde_json::json;
use tar::EntryType;

use super::limits::{ENTRIES_MAX, LINKS_MAX};

/// What containerd and Docker call an image in an index.
const IMAGE_NAME: &str = "io.containerd.image.name";

/// An image of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Held {
    /// Its names, as they are written there.
    pub(super) names: Vec<String>,
    pub(super) digest: Digest,
}

/// An archive.
#[derive(Debug)]
pub(super) struct Archive {
    path: PathBuf,
    /// Whether it is an OCI layout.
    pub(super) is_layout: bool,
    pub(super) images: Vec<Held>,
    manifests: HashMap<Digest, Bytes>,
    blobs: HashMap<Digest, (u64, u64)>,
}

/// A file of the tar.
#[derive(Debug, Clone)]
enum Member {
    File { start: u64, size: u64 },
    Link(String),
}

type Members = BTreeMap<String, Member>;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Config {
    rootfs: RootFs,
}

#[derive(Debug, Deserialize)]
struct RootFs {
    diff_ids: Vec<Digest>,
}

fn wrong(problem: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, problem.into())
}

impl Archive {
    /// Reads the table of an archive.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = registry::regular::open(path)?;
        let mut magic = [0; 4];
        let read = (&file).take(4).read(&mut magic)?;
        if let Some(program) = packed(&magic[..read]) {
            return Err(wrong(format!("it is compressed: unpack it first, with `{program}`")));
        }
        let members = members(path)?;
        let mut archive = Self {
            path: path.to_owned(),
            is_layout: members.contains_key("oci-layout") && members.contains_key("index.json"),
            images: Vec::new(),
            manifests: HashMap::new(),
            blobs: HashMap::new(),
        };
        if archive.is_layout {
            archive.read_layout(&members)?;
        } else if members.contains_key("manifest.json") {
            archive.read_saved(&members)?;
        } else {
            return Err(wrong(
                "it holds neither `manifest.json` nor an OCI layout: no archive of images",
            ));
        }
        match archive.images.is_empty() {
            true => Err(wrong("it holds no image")),
            false => Ok(archive),
        }
    }

    /// The images of an OCI layout.
    fn read_layout(&mut self, members: &Members) -> io::Result<()> {
        for (name, member) in members {
            let digest =
                name.strip_prefix("blobs/sha256/").map(|hex| format!("sha256:{hex}").parse());
            if let (Some(Ok(digest)), Member::File { start, size }) = (digest, member) {
                self.blobs.insert(digest, (*start, *size));
            }
        }
        let index = self.small(members, "index.json")?;
        let Ok(Manifest::Index(index)) = Manifest::parse(&index, None) else {
            return Err(wrong("its `index.json` is no image index"));
        };
        for entry in index.manifests {
            let name = [IMAGE_NAME, REF_NAME].iter().find_map(|key| entry.annotations.get(*key));
            let names = name.cloned().into_iter().collect();
            self.images.push(Held { names, digest: entry.digest });
        }
        Ok(())
    }

    /// The images of `docker save`.
    fn read_saved(&mut self, members: &Members) -> io::Result<()> {
        let saved = self.small(members, "manifest.json")?;
        let saved: Vec<Saved> = serde_json::from_slice(&saved).map_err(|error| {
            wrong(format!("its `manifest.json`, line {}: {error}", error.line()))
        })?;
        for image in saved {
            let digest = self.saved(members, &image)?;
            self.images.push(Held { names: image.repo_tags.unwrap_or_default(), digest });
        }
        Ok(())
    }

    /// Makes the manifest of one.
    fn saved(&mut self, members: &Members, image: &Saved) -> io::Result<Digest> {
        let named = |problem: String| wrong(format!("its image of `{}`: {problem}", image.config));
        let bytes = self.small(members, &image.config)?;
        let config: Config = serde_json::from_slice(&bytes)
            .map_err(|error| named(format!("the configuration is not understood: {error}")))?;
        if config.rootfs.diff_ids.len() != image.layers.len() {
            return Err(named(
                "the configuration lists other layers than `manifest.json`".to_owned(),
            ));
        }
        let digest = Digest::of(&bytes);
        let written = Path::new(&image.config).file_stem().and_then(|stem| stem.to_str());
        let claimed = written.map(|stem| stem.strip_prefix("sha256:").unwrap_or(stem));
        let claimed = claimed.and_then(|hex| format!("sha256:{hex}").parse::<Digest>().ok());
        if claimed.is_some_and(|claimed| claimed != digest) {
            return Err(named(format!("the configuration is damaged: its digest is {digest}")));
        }
        let (start, size) = file(members, &image.config)?;
        self.blobs.insert(digest, (start, size));
        let mut layers = Vec::with_capacity(image.layers.len());
        for (name, unpacked) in image.layers.iter().zip(config.rootfs.diff_ids) {
            let (start, size) = file(members, name)?;
            let window = Window::new(self.path.clone(), start, size);
            let mut magic = [0; 4];
            let read = window.read_from(0)?.read(&mut magic)?;
            let (kind, digest) = match packed(&magic[..read]) {
                None => (OCI_LAYER, unpacked),
                Some(program) => {
                    let kind = if program == "gunzip" { OCI_LAYER_GZIP } else { OCI_LAYER_ZSTD };
                    (kind, hash(window.read_from(0)?)?)
                }
            };
            self.blobs.insert(digest, (start, size));
            layers.push(json!({ "mediaType": kind, "digest": digest.to_string(), "size": size }));
        }
        let config = json!({ "mediaType": OCI_CONFIG, "digest": digest.to_string(), "size": size });
        let manifest = json!({ "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": layers });
        let bytes = Bytes::from(manifest.to_string());
        let digest = Digest::of(&bytes);
        self.manifests.insert(digest, bytes);
        Ok(digest)
    }

    fn small(&self, members: &Members, name: &str) -> io::Result<Vec<u8>> {
        let (start, size) = file(members, name)?;
        if size > MANIFEST_MAX {
            return Err(wrong(format!("its `{name}` is larger than {MANIFEST_MAX} bytes")));
        }
        let mut bytes = Vec::new();
        Window::new(self.path.clone(), start, size).read_from(0)?.read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

impl Shelf for Archive {
    fn name(&self) -> String {
        format!("`{}`", self.path.display())
    }

    fn transport(&self) -> Option<(&'static str, &Path)> {
        Some((if self.is_layout { "oci-archive" } else { "docker-archive" }, &self.path))
    }

    fn manifest(&self, digest: &Digest) -> io::Result<Option<RawManifest>> {
        let bytes = match (self.manifests.get(digest), self.blobs.get(digest)) {
            (Some(made), _) => made.clone(),
            (None, Some((start, size))) if *size <= MANIFEST_MAX => {
                let mut bytes = Vec::new();
                Window::new(self.path.clone(), *start, *size)
                    .read_from(0)?
                    .read_to_end(&mut bytes)?;
                bytes.into()
            }
            _ => return Ok(None),
        };
        let found = Digest::of(&bytes);
        let damaged = |what: String| {
            wrong(format!("the manifest {digest} in {} is damaged: {what}", self.name()))
        };
        if found != *digest {
            return Err(damaged(format!("its digest is {found}")));
        }
        let media_type = own_type(&bytes).ok_or_else(|| damaged("it is no manifest".to_owned()))?;
        Ok(Some(RawManifest { bytes, digest: found, media_type }))
    }

    fn tagged(&self, _: &Tag) -> io::Result<Option<Digest>> {
        Ok(None)
    }

    fn referrers(&self, _: &Digest) -> io::Result<Vec<Descriptor>> {
        Ok(Vec::new())
    }

    fn blob(&self, digest: &Digest, size: u64) -> io::Result<Option<Arc<dyn BlobSource>>> {
        match self.blobs.get(digest) {
            None => Ok(None),
            Some((start, found)) if *found == size => {
                Ok(Some(Arc::new(Window::new(self.path.clone(), *start, size))))
            }
            Some((_, found)) => {
                let text = format!(
                    "{digest} in {} has {found} bytes, its manifest says {size}",
                    self.name()
                );
                Err(wrong(text))
            }
        }
    }
}

/// The program that unpacks what begins so.
fn packed(magic: &[u8]) -> Option<&'static str> {
    match magic {
        [0x1f, 0x8b, ..] => Some("gunzip"),
        [0x28, 0xb5, 0x2f, 0xfd] => Some("unzstd"),
        [0xfd, b'7', b'z', b'X'] => Some("unxz"),
        _ => None,
    }
}

fn hash(mut file: impl io::Read) -> io::Result<Digest> {
    let (mut hasher, mut piece) = (Hasher::new(), vec![0; 256 * 1024]);
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(hasher.finish()),
            read => hasher.update(&piece[..read]),
        }
    }
}

/// The table of a tar. Of two files with one name the last one counts, as when it is unpacked.
fn members(path: &Path) -> io::Result<Members> {
    let file = registry::regular::open(path)?;
    let length = file.metadata()?.len();
    let mut archive = tar::Archive::new(file);
    let mut members = Members::new();
    for entry in archive.entries_with_seek()? {
        let entry = entry?;
        let kind = entry.header().entry_type();
        let Some(name) = plain(&entry.path()?) else { continue };
        let member = match kind {
            EntryType::Regular | EntryType::Continuous => {
                Member::File { start: entry.raw_file_position(), size: entry.size() }
            }
            EntryType::Symlink | EntryType::Link => {
                let Some(target) = entry.link_name()? else { continue };
                let above = Path::new(&name).parent().filter(|_| kind == EntryType::Symlink);
                let target = above.unwrap_or(Path::new("")).join(&target);
                let Some(target) = plain(&target) else { continue };
                Member::Link(target)
            }
            _ => continue,
        };
        if let Member::File { start, size } = member
            && start.checked_add(size).is_none_or(|end| end > length)
        {
            return Err(wrong(format!("it is cut short, in its `{name}`")));
        }
        if members.len() >= ENTRIES_MAX {
            return Err(wrong(format!("it has more than {ENTRIES_MAX} files")));
        }
        members.insert(name, member);
    }
    Ok(members)
}

/// A path of the archive without `.` and `..`; `None` where it leads out of it. It is a key, never a name on a disk.
fn plain(path: &Path) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(part) => parts.push(part.to_str()?),
            Component::CurDir => {}
            Component::ParentDir => {
                parts.pop()?;
            }
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(parts.join("/"))
}

/// Where a file begins and how many bytes it has.
fn file(members: &Members, name: &str) -> io::Result<(u64, u64)> {
    let missing = || wrong(format!("it has no file `{name}`"));
    let mut at = plain(Path::new(name)).ok_or_else(missing)?;
    for _ in 0..LINKS_MAX {
        match members.get(&at).ok_or_else(missing)? {
            Member::File { start, size } => return Ok((*start, *size)),
            Member::Link(target) => at.clone_from(target),
        }
    }
    Err(wrong(format!("its `{name}` is a link to a link without end")))
}
