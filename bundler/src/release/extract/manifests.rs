//! The manifests of a release: all of them as files, or one.

use std::collections::BTreeMap;
use std::io::Write as _;

use super::drafts::{self, DATA, Drafts};
use super::overlay::Wanted;
use super::unpack::{Sink, unpack};
use super::{ExtractError, ExtractOptions, Extracted, Outcome};
use crate::origin::Origins;
use crate::release::layer::{Content, LayerError};
use crate::release::limits::{FILE_MAX, MANIFESTS_BYTES_MAX, MANIFESTS_MAX};
use crate::release::proven::Proven;
use crate::release::references::DIRECTORY;
use crate::release::tarball::Entry;

/// Writes all manifests into the directory.
pub(super) async fn all(
    options: &ExtractOptions,
    origins: &Origins,
    proven: &Proven,
    outcome: &mut Outcome,
) -> Result<(), ExtractError> {
    options.progress.phase("reading manifests");
    let drafts = Drafts::open(&options.to, options.overwrite).map_err(ExtractError::Write)?;
    let sink = Files { scratch: drafts.scratch(), ..Files::default() };
    let wanted = Wanted::Directory(DIRECTORY);
    let unpacked = unpack(&proven.image, origins, wanted, sink, &options.progress).await;
    let files = unpacked.map_err(|source| match over(&source) {
        Some(over) => over,
        None => ExtractError::Image { image: options.from.name.clone(), source },
    })?;
    if files.files.is_empty() {
        return Err(ExtractError::Nothing(DIRECTORY));
    }
    drafts.publish(files.files.keys().map(String::as_str))?;
    if !files.others.is_empty() {
        let names: Vec<_> = files.others.iter().take(5).map(|name| format!("`{name}`")).collect();
        outcome
            .warnings
            .push(format!("what is no file in `{DIRECTORY}` is left out: {}", names.join(", ")));
    }
    outcome.files =
        files.files.into_iter().map(|(name, bytes)| Extracted { name, bytes }).collect();
    Ok(())
}

/// The content of one manifest.
pub(super) async fn one(
    options: &ExtractOptions,
    origins: &Origins,
    proven: &Proven,
    name: &str,
) -> Result<Vec<u8>, ExtractError> {
    if !is_name(name) {
        return Err(ExtractError::Name(name.to_owned()));
    }
    options.progress.phase("reading manifests");
    let wanted = Wanted::Files(vec![format!("{DIRECTORY}/{name}")]);
    let unpacked = unpack(&proven.image, origins, wanted, One(None), &options.progress).await;
    let One(content) = unpacked.map_err(|source| {
        let image = options.from.name.clone();
        ExtractError::Image { image, source }
    })?;
    content.ok_or_else(|| ExtractError::NoFile(name.to_owned()))
}

/// Whether a text can be the name of a file in a directory, and shown.
fn is_name(name: &str) -> bool {
    let odd = |c: char| c == '/' || c.is_control();
    (1..=255).contains(&name.len()) && !matches!(name, "." | "..") && !name.contains(odd)
}

/// Files that are written into a scratch directory.
#[derive(Default)]
struct Files {
    scratch: std::path::PathBuf,
    /// Their names and sizes.
    files: BTreeMap<String, u64>,
    others: Vec<String>,
    bytes: u64,
}

/// That a release has more of something than releases have.
#[derive(Debug, thiserror::Error)]
#[error("more than {limit} {what}")]
struct Over {
    what: &'static str,
    limit: u64,
}

fn over(error: &crate::release::image::ReadError) -> Option<ExtractError> {
    use crate::release::image::ReadError;
    let ReadError::Layer { error: LayerError::Taker(error), .. } = error else { return None };
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Over>()) {
        Some(Over { what, limit }) => Some(ExtractError::TooMany { what, limit: *limit }),
        None => Some(ExtractError::Write(std::io::Error::new(error.kind(), error.to_string()))),
    }
}

impl Sink for Files {
    fn file(
        &mut self,
        path: &str,
        entry: &Entry,
        content: &mut Content<'_>,
    ) -> Result<(), LayerError> {
        let name = path.rsplit('/').next().unwrap_or_default();
        if !is_name(name) {
            self.other(path);
            return Ok(());
        }
        let bytes = content.whole(entry.size, FILE_MAX)?;
        self.bytes += entry.size;
        let stop = |what, limit| LayerError::Taker(std::io::Error::other(Over { what, limit }));
        if self.bytes > MANIFESTS_BYTES_MAX {
            return Err(stop("bytes of manifests", MANIFESTS_BYTES_MAX));
        }
        if self.files.len() as u64 >= MANIFESTS_MAX {
            return Err(stop("manifests", MANIFESTS_MAX));
        }
        let write = || -> std::io::Result<()> {
            let mut file = drafts::create(&self.scratch.join(name), DATA)?;
            file.write_all(&bytes)?;
            drafts::set_modified(&file, entry.modified);
            Ok(())
        };
        write().map_err(LayerError::Taker)?;
        self.files.insert(name.to_owned(), entry.size);
        Ok(())
    }

    fn other(&mut self, path: &str) {
        // Some are enough to be told.
        if self.others.len() < 10 {
            self.others.push(path.escape_debug().to_string());
        }
    }
}

/// One file, held.
struct One(Option<Vec<u8>>);

impl Sink for One {
    fn file(
        &mut self,
        _: &str,
        entry: &Entry,
        content: &mut Content<'_>,
    ) -> Result<(), LayerError> {
        self.0 = Some(content.whole(entry.size, FILE_MAX)?);
        Ok(())
    }

    fn other(&mut self, _: &str) {
        self.0 = None;
    }
}
