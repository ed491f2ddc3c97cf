//! `bundle import --to-dir`: the images of media as files for other tools.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use ::registry::progress::Progress;
use format_spec::keys::PublicKey;
use importer::{ImportError, Outlet, OutletForm, OutletOptions};

use super::Context;
use crate::failure::{Exit, Failure};
use crate::output::plain;
use crate::progress::Drawing;
use crate::size;

/// The form of what `--to-dir` writes.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub enum Form {
    /// `v2/REPOSITORY/{blobs,manifests}`, as of `oc image mirror`
    V2,
    /// `NAME:TAG/manifest.json`, as of `skopeo sync --dest dir`
    Dir,
    /// `NAME_TAG.tar` for `docker load`, `podman load` and skopeo
    Archive,
}

/// Writes them.
pub(super) async fn run(
    from: Vec<PathBuf>,
    trusted: Vec<PublicKey>,
    (to, form): (PathBuf, Form),
    dry_run: bool,
    context: &Context,
) -> Result<Exit, Failure> {
    super::super::refuse_other_than_directory("--to-dir", &to)?;
    let progress = Arc::new(Progress::default());
    let drawing = Drawing::start(&progress, context.quiet());
    let form = match form {
        Form::V2 => OutletForm::V2,
        Form::Dir => OutletForm::Dir,
        Form::Archive => OutletForm::Archive,
    };
    let cancel = context.cancel.clone();
    let written = importer::to_directory(OutletOptions {
        from,
        trusted,
        to,
        form,
        dry_run,
        progress,
        cancel,
    });
    let written = written.await;
    drop(drawing);
    let written = written.map_err(|error| match &error {
        // Not of the workspace, which has no part in this.
        ImportError::Write { .. } => Failure::from(error).hinted_instead(
            "free space there, or name another directory: `--to-dir DIR`; what is finished so far is kept and the same \
             command goes on",
        ),
        _ => error.into(),
    })?;
    for warning in &written.warnings {
        tracing::warn!("{}", plain(warning));
    }
    context.output.print(&written, &text(&written))?;
    Ok(Exit::DONE)
}

fn text(written: &Outlet) -> String {
    let Outlet { form, directory, names, present, blobs, bytes, dry_run, .. } = written;
    let (names, blobs) = (size::count(*names as u64, "name"), size::count(*blobs, "blob"));
    let (bytes, place) = (size::show(*bytes), plain(&directory.display().to_string()));
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = match dry_run {
        true => writeln!(text, "{names}, {blobs} ({bytes}) would be written into `{place}`"),
        false => {
            writeln!(text, "{names} in `{place}`, {present} as before; {blobs} written ({bytes})")
        }
    };
    if *dry_run {
        return text;
    }
    let _ = writeln!(text, "which image is which: `{place}/lists/mapping.txt`");
    let _ = match form {
        OutletForm::V2 => writeln!(
            text,
            "next: `oc image mirror --dir {place} 'file://REPOSITORY:*' HOST/REPOSITORY`, or `bundle create --images {place}`"
        ),
        // Without `--scoped` it leaves out all but the last component of each path.
        OutletForm::Dir => writeln!(
            text,
            "next: `skopeo sync --scoped --src dir --dest docker {place} HOST/NAMESPACE`"
        ),
        OutletForm::Archive => writeln!(text, "next: `podman load -i {place}/NAME_TAG.tar`"),
    };
    text
}
