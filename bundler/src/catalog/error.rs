//! Why a catalog cannot be read, one variant for each fault that a person can act on.

use std::io;

use format_spec::Digest;
use registry::client::ErrorKind as WireKind;

use super::fields::FieldError;
use super::files::TooMany;
use super::image::CONFIGS;
use super::objects::{Fault, Spot};
use super::store::StoreError;
use crate::origin::OriginError;
use crate::release::image::ReadError;
use crate::release::layer::LayerError;

/// Why a catalog cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// It could not be had.
    #[error(transparent)]
    Origin(#[from] OriginError),
    /// A manifest, or a layer that did not arrive.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The configuration of an image.
    #[error("the configuration of its image {digest}: {problem}")]
    Config {
        /// The digest of the image's manifest.
        digest: Digest,
        /// What is wrong.
        problem: String,
    },
    /// A catalog of the old form.
    #[error("it is a catalog of the old form, a database at `{0}`, which is not supported")]
    Database(String),
    /// Some other image.
    #[error("it is no Operator catalog: it has no label `{CONFIGS}`")]
    NoCatalog,
    /// A label that means nothing.
    #[error("its label `{CONFIGS}` names no directory: `{0}`")]
    Directory(String),
    /// A layer.
    #[error("its layer {digest}: {error}")]
    Layer {
        /// Its digest.
        digest: Digest,
        /// What is wrong.
        error: LayerError,
    },
    /// More of something than any catalog has.
    #[error("it has {0} than any catalog")]
    TooMuch(&'static str),
    /// No file at all.
    #[error("there is no file in its directory `{0}`")]
    Empty(String),
    /// A file that is none.
    #[error("its `{file}` is a link or a device, and no file")]
    NotAFile {
        /// The file.
        file: String,
    },
    /// A file that cannot be read on.
    #[error("its `{file}`, {fault}")]
    File {
        /// The file.
        file: String,
        /// Where in it and why.
        fault: Fault,
    },
    /// An object that means nothing.
    #[error("its `{file}`, {spot}: {error}")]
    Object {
        /// The file.
        file: String,
        /// Where in it.
        spot: Spot,
        /// What is wrong.
        error: FieldError,
    },
    /// Something that is there twice.
    #[error("{what} is there twice: in its `{first}` and in its `{second}`")]
    Twice {
        /// What.
        what: String,
        /// The file of the first.
        first: String,
        /// The file of the second.
        second: String,
    },
    /// Something of a package that is not there.
    #[error(
        "its `{file}`, {spot}: {what} is of package {package}, which no `olm.package` describes"
    )]
    NoPackage {
        /// The file.
        file: String,
        /// Where in it.
        spot: Spot,
        /// What.
        what: String,
        /// The package.
        package: String,
    },
    /// The workspace cannot be written.
    #[error("cannot keep the catalog in the workspace")]
    Write(#[source] io::Error),
    /// What the workspace keeps.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A task of this program ended unexpectedly.
    #[error("a task failed")]
    Task(#[from] tokio::task::JoinError),
}

impl CatalogError {
    /// The kind of fault, in the words of a registry.
    pub fn kind(&self) -> Option<WireKind> {
        match self {
            Self::Origin(error) => error.kind(),
            Self::Read(error) => error.kind(),
            Self::Layer { error, .. } if error.is_damage() => Some(WireKind::Damaged),
            _ => None,
        }
    }

    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Database(_) => "name a file-based catalog, as Red Hat's are from v4.11 on; one of your own is made into one by \
                 `opm migrate IMAGE DIR` and `opm generate dockerfile DIR`"
                .to_owned(),
            Self::NoCatalog => "`operators` takes images of catalogs, as \
                 `registry.redhat.io/redhat/redhat-operator-index:v4.18`; other images belong into `additionalImages`"
                .to_owned(),
            Self::NotAFile { .. }
            | Self::File { .. }
            | Self::Object { .. }
            | Self::Twice { .. }
            | Self::NoPackage { .. } => {
                "`opm validate` says the same of the directory with its files: whoever publishes it has to mend it".to_owned()
            }
            Self::Store(error) => return error.hint(),
            _ => return None,
        })
    }
}

impl From<TooMany> for CatalogError {
    fn from(_: TooMany) -> Self {
        Self::TooMuch("more files or rules")
    }
}
