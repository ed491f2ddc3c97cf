//! Why nothing was extracted.

use std::io;

use registry::client::ErrorKind as WireKind;

use super::DraftsError;
use crate::release::image::ReadError;
use crate::release::proven::ProvenError;

/// Why nothing was extracted.
#[derive(Debug, thiserror::Error)]
pub enum ExtractError {
    /// The release cannot be used.
    #[error("`{release}`: {source}")]
    Release {
        /// The release, as it was named.
        release: String,
        /// What is wrong.
        source: ProvenError,
    },
    /// An image cannot be read.
    #[error("`{image}`: {source}")]
    Image {
        /// The image.
        image: String,
        /// What is wrong.
        source: ReadError,
    },
    /// Files cannot be written.
    #[error("cannot write: {0}")]
    Write(io::Error),
    /// Files are there already.
    #[error("{0}; nothing was written")]
    Taken(DraftsError),
    /// A name that no manifest has.
    #[error("`{0}` is not the name of a file of a release")]
    Name(String),
    /// A file that the release does not have.
    #[error("the release has no file `{0}`")]
    NoFile(String),
    /// A release without manifests.
    #[error("the release has no file in `{0}`")]
    Nothing(&'static str),
    /// A program that nobody knows.
    #[error("`{command}` is no program of a release; there are {known}")]
    Command {
        /// What was asked for.
        command: String,
        /// What there is.
        known: String,
    },
    /// A program that there is not for a system.
    #[error("no release has `{command}` for {system}")]
    System {
        /// The program.
        command: String,
        /// The system.
        system: String,
    },
    /// The release lacks the component that has a program.
    #[error("the release has no component `{component}`, whose image would have `{command}`")]
    NoComponent {
        /// The program.
        command: String,
        /// The component.
        component: String,
    },
    /// The image of a component lacks a program.
    #[error("the image of the component `{component}` has no file `{path}`")]
    NotInImage {
        /// The component.
        component: String,
        /// The path.
        path: String,
    },
    /// None of the programs is there.
    #[error("nothing was extracted: {0}")]
    NoProgram(String),
    /// Nobody says where the release comes from, which its installer is told.
    #[error("nothing says what clusters call the release, and its installer has to know it")]
    NoReference,
    /// A program that cannot be told which release it installs.
    #[error(
        "`{path}` of the component `{component}` has no place for the release that it installs, so it would install another one"
    )]
    NoPlace {
        /// The component.
        component: String,
        /// The path.
        path: String,
    },
    /// The name of the release is too long for a program.
    #[error("`{image}`: {why}")]
    NoRoom {
        /// The image with the program.
        image: String,
        /// What does not fit.
        why: String,
    },
    /// More of something than a release has.
    #[error("the release has more than {limit} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many are taken.
        limit: u64,
    },
    /// Ctrl-C.
    #[error("interrupted")]
    Cancelled,
}

impl From<DraftsError> for ExtractError {
    fn from(error: DraftsError) -> Self {
        match error {
            DraftsError::Io(error) => Self::Write(error),
            error @ DraftsError::Exists { .. } => Self::Taken(error),
        }
    }
}

impl ExtractError {
    /// The kind of fault, in the words of a registry.
    pub fn wire(&self) -> Option<WireKind> {
        match self {
            Self::Release { source, .. } => source.kind(),
            Self::Image { source, .. } => source.kind(),
            _ => None,
        }
    }
}
