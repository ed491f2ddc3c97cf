//! An OCI image layout directory as a source (`oci:` references), read-only.
//!
//! In: a directory with `oci-layout`, `index.json` and `blobs/sha256/`. Out: manifests, hashed, and open
//! files of blobs, which the caller hashes. What must hold: only a [`Digest`] makes a path, so nothing in
//! the layout can lead outside (CVE-2024-3727, CVE-2026-50162); links and special files are not followed.

use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use format_spec::Digest;
use format_spec::limits::MANIFEST_MAX;
use fs_err::os::unix::fs::OpenOptionsExt;
use rustix::fs::OFlags;

use crate::json::{Node, Want};
use crate::manifest::{Descriptor, IndexManifest, Manifest, ManifestError, RawManifest};
use crate::media_type::OCI_INDEX;

/// The annotation that holds a tag in `index.json`.
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// Why a layout cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// `oci-layout` is missing or not of version 1.
    #[error("not an OCI image layout (no `oci-layout` file of version 1): `{}`{}", .0.display(), from_here(.0))]
    NotALayout(PathBuf),
    /// A file cannot be read; the error names it.
    #[error("cannot read the image layout: {0}")]
    Io(#[from] std::io::Error),
    /// Not a regular file.
    #[error("not a regular file: `{0}`")]
    NotAFile(PathBuf),
    /// Larger than its limit.
    #[error("larger than {limit} bytes: `{path}`")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit.
        limit: u64,
    },
    /// A manifest or the index is malformed.
    #[error("{error}: `{path}`")]
    Manifest {
        /// What is wrong.
        error: ManifestError,
        /// The file.
        path: PathBuf,
    },
    /// A manifest does not have the digest of its name.
    #[error("damaged: expected {expected}, found {found}: `{path}`")]
    Damaged {
        /// The digest it is stored under.
        expected: Digest,
        /// The digest it has.
        found: Digest,
        /// The file.
        path: PathBuf,
    },
    /// A blob's file does not have the length that its manifest says.
    #[error("the file has {found} bytes, its manifest says {expected}: `{path}`")]
    Size {
        /// Bytes as the manifest has it.
        expected: u64,
        /// Bytes of the file.
        found: u64,
        /// The file.
        path: PathBuf,
    },
    /// The index lists nothing.
    #[error("the image layout has no image: `{0}`")]
    Empty(PathBuf),
    /// No entry of the index has this name.
    #[error("the image layout `{path}` has no image named `{name}`; it has {}", list(.names))]
    NoSuchName {
        /// The name that was asked for.
        name: String,
        /// Those that there are.
        names: Vec<String>,
        /// The layout.
        path: PathBuf,
    },
    /// Two different images have this name.
    #[error(
        "the image layout `{path}` has {} images named `{name}`: {}; choose one by its digest, as \
         `oci:{path}@sha256:…`",
        .digests.len(),
        list(.digests)
    )]
    Ambiguous {
        /// The name that was asked for.
        name: String,
        /// The digests of those that have it.
        digests: Vec<String>,
        /// The layout.
        path: PathBuf,
    },
    /// No manifest has this digest.
    #[error(
        "the image layout `{path}` has no manifest {digest}; its index has {}; choose one of these, as \
         `oci:{path}@sha256:…`",
        list(.digests)
    )]
    NoSuchDigest {
        /// The digest that was asked for.
        digest: Digest,
        /// Those of the index.
        digests: Vec<String>,
        /// The layout.
        path: PathBuf,
    },
    /// A name is needed to choose.
    #[error(
        "the image layout `{path}` has {} images, so one must be named, as `oci:PATH:NAME` or \
         `oci:PATH@DIGEST`; it has {}",
        .names.len(),
        list(.names)
    )]
    NameNeeded {
        /// The names to choose from; digests where there is none.
        names: Vec<String>,
        /// The layout.
        path: PathBuf,
    },
}

/// Where a relative path leads: the file that names it may lie in another directory than this process.
fn from_here(path: &Path) -> String {
    match std::path::absolute(path) {
        Ok(whole) if path.is_relative() => {
            format!(", from the current directory: `{}`", whole.display())
        }
        _ => String::new(),
    }
}

/// The first names.
fn list(names: &[String]) -> String {
    const SHOWN: usize = 10;
    let shown: Vec<String> = names.iter().take(SHOWN).map(|name| format!("`{name}`")).collect();
    let more = names.len().saturating_sub(SHOWN);
    let and = if more > 0 { format!(" and {more} more") } else { String::new() };
    shown.join(", ") + &and
}

/// An OCI image layout directory.
#[derive(Clone, Debug)]
pub struct Layout {
    root: PathBuf,
    index: IndexManifest,
}

/// What is read of `oci-layout`.
static MARKER: Want = Want::Fields(&[("imageLayoutVersion", Want::Scalar)]);

impl Layout {
    /// Opens the layout and reads its index.
    pub fn open(root: &Path) -> Result<Self, LayoutError> {
        let marker = root.join("oci-layout");
        let text = match read(&marker, 4096) {
            Ok(text) => text,
            Err(LayoutError::Io(error))
                if matches!(
                    error.kind(),
                    std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
                ) =>
            {
                return Err(LayoutError::NotALayout(root.to_owned()));
            }
            Err(error) => return Err(error),
        };
        let version = match crate::json::parse(&text, 4, &MARKER) {
            Ok(Node::Object(document)) => Some(document),
            _ => None,
        };
        let version = version
            .as_ref()
            .and_then(|document| document.get("imageLayoutVersion"))
            .and_then(Node::as_str);
        if !version.is_some_and(|version| version.starts_with("1.")) {
            return Err(LayoutError::NotALayout(root.to_owned()));
        }
        let path = root.join("index.json");
        let bytes = read(&path, MANIFEST_MAX)?;
        match Manifest::parse(&bytes, Some(OCI_INDEX)) {
            Ok(Manifest::Index(index)) => Ok(Self { root: root.to_owned(), index }),
            Ok(Manifest::Image(_)) => {
                let error = ManifestError::Missing("manifests".into());
                Err(LayoutError::Manifest { error, path })
            }
            Err(error) => Err(LayoutError::Manifest { error, path }),
        }
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The top index. Its digest means nothing: it lists what is in the directory.
    pub fn index(&self) -> &IndexManifest {
        &self.index
    }

    /// The entry with this name, or the only one when no name is given.
    pub fn find(&self, name: Option<&str>) -> Result<&Descriptor, LayoutError> {
        let path = || self.root.clone();
        match (name, self.index.manifests.as_slice()) {
            (_, []) => Err(LayoutError::Empty(path())),
            (None, [only]) => Ok(only),
            (None, _) => Err(LayoutError::NameNeeded { names: self.names(), path: path() }),
            (Some(name), entries) => {
                let mut found = entries.iter().filter(|entry| ref_name(entry) == Some(name));
                let Some(first) = found.next() else {
                    let (name, names) = (name.to_owned(), self.names());
                    return Err(LayoutError::NoSuchName { name, names, path: path() });
                };
                let mut digests = vec![first.digest.to_string()];
                for other in found.map(|entry| entry.digest.to_string()) {
                    if !digests.contains(&other) {
                        digests.push(other);
                    }
                }
                // A tool that appends and does not replace leaves the old image under the name.
                match digests.len() {
                    1 => Ok(first),
                    _ => {
                        Err(LayoutError::Ambiguous { name: name.to_owned(), digests, path: path() })
                    }
                }
            }
        }
    }

    /// That there is a manifest of this digest, named by the index or by what it names.
    pub fn expect(&self, digest: &Digest) -> Result<(), LayoutError> {
        if self.blob_size(digest)?.is_some() {
            return Ok(());
        }
        let entries = self.index.manifests.iter();
        Err(LayoutError::NoSuchDigest {
            digest: *digest,
            digests: entries.map(|entry| entry.digest.to_string()).collect(),
            path: self.root.clone(),
        })
    }

    /// What the images are called: their names, or digests where they have none.
    fn names(&self) -> Vec<String> {
        let name = |entry: &Descriptor| {
            ref_name(entry).map_or_else(|| format!("@{}", entry.digest), ToOwned::to_owned)
        };
        self.index.manifests.iter().map(name).collect()
    }

    /// Where a blob or manifest is.
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.root.join("blobs").join("sha256").join(digest.hex())
    }

    /// The length of a blob; `None` when it is not there.
    pub fn blob_size(&self, digest: &Digest) -> Result<Option<u64>, LayoutError> {
        match open(&self.blob_path(digest)) {
            Ok((_, size)) => Ok(Some(size)),
            Err(LayoutError::Io(error)) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// An open file of a blob of `size` bytes, at `offset`. Not hashed.
    pub fn open_blob(
        &self,
        digest: &Digest,
        size: u64,
        offset: u64,
    ) -> Result<fs_err::File, LayoutError> {
        let path = self.blob_path(digest);
        let (mut file, found) = open(&path)?;
        if found != size {
            return Err(LayoutError::Size { expected: size, found, path });
        }
        file.seek(SeekFrom::Start(offset))?;
        Ok(file)
    }

    /// A manifest, with its digest checked.
    pub fn read_manifest(&self, entry: &Descriptor) -> Result<RawManifest, LayoutError> {
        let path = self.blob_path(&entry.digest);
        let bytes = Bytes::from(read(&path, MANIFEST_MAX)?);
        let found = Digest::of(&bytes);
        if found != entry.digest {
            return Err(LayoutError::Damaged { expected: entry.digest, found, path });
        }
        Ok(RawManifest { bytes, digest: found, media_type: entry.media_type.clone() })
    }
}

fn ref_name(entry: &Descriptor) -> Option<&str> {
    entry.annotations.get(REF_NAME).map(String::as_str)
}

/// Opens a regular file; neither follows a link nor waits for a pipe.
fn open(path: &Path) -> Result<(fs_err::File, u64), LayoutError> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
    let file = fs_err::OpenOptions::new()
        .read(true)
        .custom_flags(i32::try_from(flags).unwrap_or_default())
        .open(path)
        .map_err(|error| {
            // `NOFOLLOW` gives an error without a stable kind; this only words it.
            let link = fs_err::symlink_metadata(path).is_ok_and(|data| data.is_symlink());
            if link { LayoutError::NotAFile(path.to_owned()) } else { LayoutError::Io(error) }
        })?;
    let data = file.metadata()?;
    if !data.is_file() {
        return Err(LayoutError::NotAFile(path.to_owned()));
    }
    Ok((file, data.len()))
}

fn read(path: &Path, limit: u64) -> Result<Vec<u8>, LayoutError> {
    let (file, _) = open(path)?;
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(LayoutError::TooLarge { path: path.to_owned(), limit });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn blob(root: &Path, content: &[u8]) -> Digest {
        let digest = Digest::of(content);
        let dir = root.join("blobs/sha256");
        fs_err::create_dir_all(&dir).unwrap();
        fs_err::write(dir.join(digest.hex()), content).unwrap();
        digest
    }

    /// Adds a second image under the name that the first one has.
    fn add_other(root: &Path) -> Digest {
        let config = blob(root, b"{ }");
        let manifest = json!({
            "schemaVersion": 2, "mediaType": crate::media_type::OCI_MANIFEST, "layers": [],
            "config": {"mediaType": "c", "digest": config.to_string(), "size": 3},
        })
        .to_string();
        let digest = blob(root, manifest.as_bytes());
        let path = root.join("index.json");
        let text = fs_err::read(&path).unwrap();
        let mut index: serde_json::Value = serde_json::from_slice(&text).unwrap();
        let mut entry = index["manifests"][0].clone();
        entry["digest"] = digest.to_string().into();
        entry["size"] = manifest.len().into();
        index["manifests"].as_array_mut().unwrap().push(entry);
        fs_err::write(path, index.to_string()).unwrap();
        digest
    }

    fn layout(names: &[&str]) -> (tempfile::TempDir, Digest) {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        fs_err::write(root.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        let config = blob(root, b"{}");
        let manifest = json!({
            "schemaVersion": 2, "mediaType": crate::media_type::OCI_MANIFEST, "layers": [],
            "config": {"mediaType": "c", "digest": config.to_string(), "size": 2},
        })
        .to_string();
        let digest = blob(root, manifest.as_bytes());
        let entries: Vec<_> = names
            .iter()
            .map(|name| {
                json!({
                    "mediaType": crate::media_type::OCI_MANIFEST, "digest": digest.to_string(),
                    "size": manifest.len(), "annotations": {REF_NAME: name},
                })
            })
            .collect();
        let index = json!({"schemaVersion": 2, "manifests": entries}).to_string();
        fs_err::write(root.join("index.json"), index).unwrap();
        (dir, digest)
    }

    #[test]
    fn a_layout_gives_its_image() {
        let (dir, digest) = layout(&["v1"]);
        let layout = Layout::open(dir.path()).unwrap();
        let entry = layout.find(None).unwrap();
        assert_eq!((entry, entry.digest), (layout.find(Some("v1")).unwrap(), digest));
        let raw = layout.read_manifest(entry).unwrap();
        let parsed = raw.parse().unwrap();
        assert_eq!(layout.blob_size(&parsed.blobs()[0].digest).unwrap(), Some(2));
        let mut rest = String::new();
        layout
            .open_blob(&parsed.blobs()[0].digest, 2, 1)
            .unwrap()
            .read_to_string(&mut rest)
            .unwrap();
        assert_eq!(rest, "}");
        assert_eq!(layout.blob_size(&Digest::of(b"none")).unwrap(), None);
        let other = layout.open_blob(&parsed.blobs()[0].digest, 3, 0).unwrap_err();
        assert!(matches!(other, LayoutError::Size { expected: 3, found: 2, .. }), "{other}");
    }

    #[test]
    fn names_choose_among_many() {
        let (dir, _) = layout(&["v1", "v2"]);
        let layout = Layout::open(dir.path()).unwrap();
        assert!(layout.find(Some("v2")).is_ok());
        let unknown = layout.find(Some("v3")).unwrap_err();
        assert!(unknown.to_string().ends_with("no image named `v3`; it has `v1`, `v2`"));
        let unnamed = layout.find(None).unwrap_err();
        assert!(unnamed.to_string().contains("has 2 images"), "{unnamed}");
        assert!(unnamed.to_string().ends_with("it has `v1`, `v2`"), "{unnamed}");
        let (none, _) = self::layout(&[]);
        let none = Layout::open(none.path()).unwrap();
        assert!(matches!(none.find(None), Err(LayoutError::Empty(_))));
    }

    #[test]
    fn two_images_of_one_name_are_told_by_their_digests() {
        // The same image twice is one image.
        let (dir, first) = layout(&["v1", "v1"]);
        assert_eq!(Layout::open(dir.path()).unwrap().find(Some("v1")).unwrap().digest, first);
        let second = add_other(dir.path());
        let layout = Layout::open(dir.path()).unwrap();
        let error = layout.find(Some("v1")).unwrap_err();
        assert!(matches!(error, LayoutError::Ambiguous { .. }), "{error}");
        let text = error.to_string();
        let both = text.contains(&first.to_string()) && text.contains(&second.to_string());
        assert!(both && text.contains("@sha256:…`"), "{text}");
        layout.expect(&second).unwrap();
        let nobody = Digest::of(b"nobody");
        let text = layout.expect(&nobody).unwrap_err().to_string();
        assert!(text.contains(&format!("no manifest {nobody}; its index has `{first}`")), "{text}");
    }

    #[test]
    fn damage_and_links_are_refused() {
        let (dir, digest) = layout(&["v1"]);
        let layout = Layout::open(dir.path()).unwrap();
        let entry = layout.find(None).unwrap();
        let path = layout.blob_path(&digest);
        fs_err::write(&path, b"other").unwrap();
        assert!(matches!(layout.read_manifest(entry), Err(LayoutError::Damaged { .. })));
        fs_err::remove_file(&path).unwrap();
        fs_err::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
        assert!(matches!(layout.read_manifest(entry), Err(LayoutError::NotAFile(_))));
        assert!(matches!(layout.open_blob(&digest, 5, 0), Err(LayoutError::NotAFile(_))));
        fs_err::remove_file(&path).unwrap();
        fs_err::create_dir(&path).unwrap();
        assert!(matches!(layout.open_blob(&digest, 5, 0), Err(LayoutError::NotAFile(_))));
    }

    #[test]
    fn other_directories_are_no_layouts() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(Layout::open(dir.path()), Err(LayoutError::NotALayout(_))));
        fs_err::write(dir.path().join("oci-layout"), r#"{"imageLayoutVersion":"2.0.0"}"#).unwrap();
        assert!(matches!(Layout::open(dir.path()), Err(LayoutError::NotALayout(_))));
        let missing = dir.path().join("missing");
        assert!(matches!(Layout::open(&missing), Err(LayoutError::NotALayout(_))));
        let text = Layout::open(Path::new("no/layout")).unwrap_err().to_string();
        let whole = std::env::current_dir().unwrap().join("no/layout");
        assert!(
            text.ends_with(&format!(
                "`no/layout`, from the current directory: `{}`",
                whole.display()
            ))
        );
        let text = Layout::open(Path::new("/no/layout")).unwrap_err().to_string();
        assert!(text.ends_with(": `/no/layout`"), "{text}");
    }
}
