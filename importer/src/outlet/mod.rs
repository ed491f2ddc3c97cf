//! The images of media as files for other tools, in place of a registry: `import --to-dir`.
//!
//! In: directories with sequences, the keys that a person trusts, a directory. Out: in it the images that stand after these
//! sequences, in the form of one tool. What must hold: as in an import nothing is used that is not proven; an image gets its name
//! when all of it is there, so the same command goes on after a killed run; nothing that is in the directory is deleted.
//!
//! There is no order here: a directory has no record, and what it holds is what these media say.
//!
//! 1. `images` replays what the sequences set and removed; 2. `v2`, `dir` and `archive` write one form each.

mod archive;
mod dir;
mod v2;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use format_spec::head::Kind;
use format_spec::keys::PublicKey;
use format_spec::{Digest, Repository, Tag};
use registry::client::BlobSource;
use registry::filing::{self, FilingError};
use registry::lasting;
use registry::manifest::{Descriptor, Manifest, RawManifest};
use registry::progress::Progress;
use registry::scratch::Scratch;
use registry::shelf::Shelf as _;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::durable;
use crate::error::ImportError;
use crate::shelf::MediaShelf;

/// The directory with the lists of what was written.
const LISTS: &str = "lists";

/// The form of the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum OutletForm {
    /// The directory of `oc image mirror`: `v2/REPOSITORY/{blobs,manifests}`.
    V2,
    /// A directory for each image, as `skopeo sync --dest dir` makes them.
    Dir,
    /// An archive for each image, an OCI layout that `docker load` and `podman load` take too.
    Archive,
}

/// What is written, and where to.
pub struct OutletOptions {
    /// Directories over which the files of the sequences are spread.
    pub from: Vec<PathBuf>,
    /// Keys that a person trusts.
    pub trusted: Vec<PublicKey>,
    /// The directory; made when it is not there.
    pub to: PathBuf,
    /// The form.
    pub form: OutletForm,
    /// Only count.
    pub dry_run: bool,
    /// What to tell while it runs.
    pub progress: Arc<Progress>,
    /// Stops it, in a state from which the same command goes on.
    pub cancel: CancellationToken,
}

/// What was done.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Outlet {
    /// The form.
    pub form: OutletForm,
    /// The directory.
    pub directory: PathBuf,
    /// Names that stand there: tags, and digests of what has none.
    pub names: usize,
    /// Names that were there.
    pub present: usize,
    /// Blobs whose bytes were written.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Nothing was written.
    pub dry_run: bool,
    /// What a person should know.
    pub warnings: Vec<String>,
}

/// A name, and what it stands for.
#[derive(Debug, Clone)]
struct Image {
    repository: Repository,
    tag: Option<Tag>,
    digest: Digest,
    source: String,
}

impl Image {
    /// Its name in a directory.
    fn name(&self) -> String {
        match &self.tag {
            Some(tag) => format!("{}:{tag}", self.repository),
            None => format!("{}@{}", self.repository, self.digest),
        }
    }
}

/// An image with all that belongs to it, its own manifest last.
struct Whole {
    manifests: Vec<RawManifest>,
    blobs: BTreeMap<Digest, u64>,
}

/// What all forms share.
struct Writer {
    shelf: Arc<MediaShelf>,
    to: PathBuf,
    progress: Arc<Progress>,
    /// Files of this directory that have a blob's bytes.
    known: HashMap<Digest, PathBuf>,
    done: Outlet,
}

/// Writes the images.
pub async fn to_directory(options: OutletOptions) -> Result<Outlet, ImportError> {
    let OutletOptions { from, trusted, to, form, dry_run, progress, cancel } = options;
    progress.phase("checking signatures");
    let opened = tokio::task::spawn_blocking(move || {
        let shelf = MediaShelf::open(&from, &trusted)?;
        let images = images(&shelf)?;
        Ok::<_, ImportError>((shelf, images))
    });
    let (mut shelf, images) = opened.await??;
    let warnings = std::mem::take(&mut shelf.warnings);
    let done = Outlet {
        form,
        directory: to.clone(),
        names: images.len(),
        present: 0,
        blobs: 0,
        bytes: 0,
        dry_run,
        warnings,
    };
    let mut writer = Writer { shelf: Arc::new(shelf), to, progress, known: HashMap::new(), done };
    writer.known = v2::known(&writer.to).map_err(writer.fault())?;
    let (blobs, bytes) = writer.needed(&images)?;
    if dry_run {
        (writer.done.blobs, writer.done.bytes) = (blobs, bytes);
        return Ok(writer.done);
    }
    lasting::make(&writer.to).map_err(writer.fault())?;
    if form == OutletForm::V2 {
        writer.refuse_full(bytes)?;
    }
    writer.progress.expect(bytes);
    writer.progress.phase("writing images");
    let writing = async {
        match form {
            OutletForm::V2 => v2::write(&mut writer, &images).await,
            OutletForm::Dir => dir::write(&mut writer, &images).await,
            OutletForm::Archive => archive::write(&mut writer, &images).await,
        }
    };
    tokio::select! {
        () = cancel.cancelled() => return Err(ImportError::Cancelled),
        written = writing => written?,
    }
    writer.lists(&images)?;
    Ok(writer.done)
}

/// The names that stand after these sequences, ascending.
fn images(shelf: &MediaShelf) -> Result<Vec<Image>, ImportError> {
    let mut standing: BTreeMap<(Repository, Option<Tag>, Option<Digest>), Image> = BTreeMap::new();
    let mut stream = None;
    for (head, index) in shelf.ascending() {
        if stream.is_some_and(|stream| stream != head.stream) {
            return Err(ImportError::TwoStreams);
        }
        stream = Some(head.stream);
        if head.kind == Kind::Full {
            standing.clear();
        }
        for entry in &index.references {
            let repository = index.repository(entry.repository).clone();
            let by_digest = entry.tag.is_none().then_some(entry.digest);
            let key = (repository.clone(), entry.tag.clone(), by_digest);
            let (tag, digest, source) = (entry.tag.clone(), entry.digest, entry.source.clone());
            standing.insert(key, Image { repository, tag, digest, source });
        }
        for removal in &index.removals {
            let by_digest = removal.tag.is_none().then_some(removal.digest);
            let repository = index.repository(removal.repository).clone();
            standing.remove(&(repository, removal.tag.clone(), by_digest));
        }
    }
    Ok(standing.into_values().collect())
}

impl Writer {
    /// An error of the directory.
    fn fault(&self) -> impl Fn(io::Error) -> ImportError + use<> {
        let path = self.to.clone();
        move |source| ImportError::Write { path: path.clone(), source }
    }

    /// All of an image.
    fn whole(&self, digest: &Digest) -> Result<Whole, ImportError> {
        let mut whole = Whole { manifests: Vec::new(), blobs: BTreeMap::new() };
        let mut seen = HashSet::new();
        self.walk(digest, true, &mut whole, &mut seen)?;
        Ok(whole)
    }

    fn walk(
        &self,
        digest: &Digest,
        must: bool,
        whole: &mut Whole,
        seen: &mut HashSet<Digest>,
    ) -> Result<(), ImportError> {
        if !seen.insert(*digest) {
            return Ok(());
        }
        let Some(raw) = self.shelf.manifest(digest).map_err(told)? else {
            // `platforms` leaves children of an index out.
            return if must { Err(self.absent(digest)) } else { Ok(()) };
        };
        match raw.parse() {
            Ok(Manifest::Index(index)) => {
                for child in &index.manifests {
                    self.walk(&child.digest, false, whole, seen)?;
                }
            }
            Ok(Manifest::Image(image)) => {
                for blob in std::iter::once(&image.config).chain(&image.layers) {
                    if !self.is_left_out(blob) {
                        whole.blobs.insert(blob.digest, blob.size);
                    }
                }
            }
            Err(error) => return Err(told(io::Error::new(io::ErrorKind::InvalidData, error))),
        }
        whole.manifests.push(raw);
        Ok(())
    }

    /// Whether a layer is one that its publisher keeps to other places, and that was not carried.
    fn is_left_out(&self, blob: &Descriptor) -> bool {
        !blob.urls.is_empty() && !matches!(self.shelf.blob(&blob.digest, blob.size), Ok(Some(_)))
    }

    fn absent(&self, digest: &Digest) -> ImportError {
        ImportError::Lost(format!("{digest} of {}", self.shelf.name()))
    }

    /// The bytes of a blob, on the media.
    fn source(&self, digest: &Digest, size: u64) -> Result<Arc<dyn BlobSource>, ImportError> {
        self.shelf.blob(digest, size).map_err(told)?.ok_or_else(|| self.absent(digest))
    }

    /// Puts a blob at a path of this directory. What another image of it has is linked.
    async fn blob(
        &mut self,
        digest: &Digest,
        size: u64,
        scratch: &Scratch,
        path: &Path,
    ) -> Result<(), ImportError> {
        let draft = scratch.path().join(digest.hex());
        let linked =
            self.known.get(digest).is_some_and(|known| fs_err::hard_link(known, &draft).is_ok());
        if linked {
            self.progress.skip(size);
        } else {
            let source = match self.source(digest, size) {
                // On a file system without links it is copied.
                Err(ImportError::Earlier { .. }) if self.known.contains_key(digest) => {
                    let known = self.known[digest].clone();
                    Arc::new(registry::window::Window::whole(known, size)) as Arc<dyn BlobSource>
                }
                source => source?,
            };
            let mut item = self.progress.start(digest.short());
            filing::blob(&draft, digest, size, &*source)
                .await
                .map_err(|error| self.unfiled(error))?;
            item.reached(size);
            self.done.blobs += 1;
            self.done.bytes += size;
        }
        fs_err::rename(&draft, path).map_err(self.fault())?;
        self.known.insert(*digest, path.to_owned());
        Ok(())
    }

    fn unfiled(&self, error: FilingError) -> ImportError {
        match error {
            FilingError::File(source) => self.fault()(source),
            FilingError::Source(source) => told(source),
            FilingError::Damaged(damaged) => self.absent(&damaged.wanted),
        }
    }

    /// How many blobs are to be written, and their bytes.
    fn needed(&self, images: &[Image]) -> Result<(u64, u64), ImportError> {
        let is_shared = self.done.form != OutletForm::Archive;
        let (mut seen, mut blobs, mut bytes) = (HashSet::new(), 0, 0);
        for image in images {
            for (digest, size) in self.whole(&image.digest)?.blobs {
                if !is_shared || (!self.known.contains_key(&digest) && seen.insert(digest)) {
                    blobs += 1;
                    bytes += size;
                }
            }
        }
        Ok((blobs, bytes))
    }

    /// Refuses what does not fit there.
    fn refuse_full(&self, needed: u64) -> Result<(), ImportError> {
        let stat = rustix::fs::statvfs(&self.to).map_err(|error| self.fault()(error.into()))?;
        let available = stat.f_bavail.saturating_mul(stat.f_frsize);
        let path = self.to.clone();
        match needed > available {
            true => Err(ImportError::Room { path, needed, available }),
            false => Ok(()),
        }
    }

    /// What came from where, for people and scripts.
    fn lists(&self, images: &[Image]) -> Result<(), ImportError> {
        let (mut mapping, mut names) = (String::new(), String::new());
        for image in images {
            // What is attached to images comes along with them.
            let attached = image.tag.as_ref().is_none_or(|tag| tag.as_str().starts_with("sha256-"));
            let is_image = !attached || image.source.contains('@');
            if is_image {
                // Writing to a String cannot fail.
                let _ = writeln!(names, "{}", image.source);
                let _ = writeln!(mapping, "{}=file://{}", image.source, image.name());
            }
        }
        let directory = self.to.join(LISTS);
        lasting::make(&directory).map_err(self.fault())?;
        durable::write(&directory.join("mapping.txt"), mapping.as_bytes())?;
        durable::write(&directory.join("images.txt"), names.as_bytes())
    }
}

/// An error of the media, as it is.
fn told(error: io::Error) -> ImportError {
    error
        .downcast::<ImportError>()
        .unwrap_or_else(|source| ImportError::Read { path: PathBuf::from("the media"), source })
}
