//! `bundle release extract`: what a release has in it, as files.
//!
//! 1. the release is found, proven and read ([`proven`](super::proven)); 2. `manifests`, or `programs` by the table of `tools`,
//!    say what is wanted; 3. `overlay` and `unpack` read it out of the layers of its image, or of the images of its components;
//!    4. `marker` and `macho` write the release into programs, `archive` and `told` make what people download; 5. `drafts` gives
//!    all of it names when it is proven.
//!
//! In: where the release is, what is wanted of it, a directory. Out: files. What must hold: nothing gets its name in the
//! directory that is not proven to its last byte; nothing outside of the directory is written, whatever a layer says.

mod archive;
mod drafts;
mod fault;
mod macho;
mod manifests;
mod marker;
mod overlay;
mod programs;
mod told;
mod tools;
mod unpack;

use std::path::PathBuf;
use std::sync::Arc;

use registry::client::Client;
use registry::progress::Progress;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

pub use drafts::DraftsError;
pub use fault::ExtractError;
pub use programs::Programs;
pub use tools::System;

use super::named::{Named, Release};
use super::proven::{Proven, Trust};
use crate::create::REQUESTS;
use crate::origin::Origins;

/// What is wanted of a release.
#[derive(Debug, Clone)]
pub enum What {
    /// All its manifests.
    Manifests,
    /// One of these, by its name.
    File(String),
    /// Programs.
    Programs(Programs),
}

/// What to extract, and from where.
pub struct ExtractOptions {
    /// The release.
    pub from: Named,
    /// What is wanted of it.
    pub what: What,
    /// Where files go.
    pub to: PathBuf,
    /// Replace files that are there.
    pub overwrite: bool,
    /// Whose signatures count.
    pub trust: Trust,
    /// The way to the registries.
    pub client: Client,
    /// What to tell while it runs.
    pub progress: Arc<Progress>,
    /// Ctrl-C.
    pub cancel: CancellationToken,
}

/// A file that was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Extracted {
    /// Its name in the directory.
    pub name: String,
    /// Its bytes.
    pub bytes: u64,
}

/// A file that was to be written, and that the release does not have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Missing {
    /// Its name.
    pub name: String,
    /// Why.
    pub reason: String,
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    /// The release.
    pub release: Release,
    /// The files in the directory, by their names.
    pub files: Vec<Extracted>,
    /// Those that the release should have and does not.
    pub missing: Vec<Missing>,
    /// The content of the one file that was asked for.
    pub content: Option<Vec<u8>>,
    /// What a person should know.
    pub warnings: Vec<String>,
}

/// Extracts from a release.
pub async fn extract(options: ExtractOptions) -> Result<Outcome, ExtractError> {
    let cancel = options.cancel.clone();
    tokio::select! {
        () = cancel.cancelled() => Err(ExtractError::Cancelled),
        outcome = run(&options) => outcome,
    }
}

async fn run(options: &ExtractOptions) -> Result<Outcome, ExtractError> {
    let origins = Origins::new(options.client.clone(), REQUESTS);
    let Named { source, .. } = &options.from;
    options.progress.phase("reading the release");
    let proven = Proven::of(&origins, &options.client, source, &options.trust, false).await;
    let proven = proven.map_err(|source| {
        let release = options.from.name.clone();
        ExtractError::Release { release, source }
    })?;
    let release = options.from.told(&proven);
    let mut warnings = proven.payload.warnings.clone();
    if let Some(why) = &proven.unsigned {
        warnings.push(format!("the release is taken without a valid signature: {why}"));
    }
    let (files, missing) = (Vec::new(), Vec::new());
    let mut outcome = Outcome { release, files, missing, content: None, warnings };
    match &options.what {
        What::Manifests => manifests::all(options, &origins, &proven, &mut outcome).await?,
        What::Programs(wanted) => {
            programs::take(options, wanted, &origins, &proven, &mut outcome).await?;
        }
        What::File(name) => {
            outcome.content = Some(manifests::one(options, &origins, &proven, name).await?);
        }
    }
    Ok(outcome)
}
