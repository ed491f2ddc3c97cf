//! `bundle registry adopt`: what another registry holds, taken over from its directory.
//!
//! In: the file storage of CNCF distribution, read only. Out: a data directory with the same, every blob hashed, and what
//! was damaged and left out.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use registry::progress::Progress;
use registry::store::Store;
use registry::store::adopt::{Adopt, Adopted, root_of};

use super::super::{Context, refuse_other_than_directory};
use super::Data;
use crate::cli;
use crate::failure::{Exit, Failure, Kind};
use crate::host::place::Machine;
use crate::output::plain;
use crate::progress::Drawing;
use crate::size;

/// Take over the storage directory of CNCF distribution (Docker's registry): blobs, manifests, tags
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The directory of the other registry, with `docker/registry/v2` in it; nothing in it is changed
    #[arg(long, value_name = "DIR", value_parser = cli::directory)]
    from: PathBuf,
    #[command(flatten)]
    data: Data,
    /// Read and hash everything, say what would be left out, and write nothing
    #[arg(long)]
    dry_run: bool,
}

pub async fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    let data = args.data.path()?;
    refuse_other_than_directory("--data-dir", &data)?;
    super::refuse_object_storage("adopt", &data)?;
    if root_of(&args.from).is_none() {
        return Err(no_source(&args.from));
    }
    // A dry run has a store that does not stay.
    let scratch = match args.dry_run {
        true => Some(tempfile::tempdir().map_err(|error| {
            Failure::io(Kind::Failed, "cannot make a temporary directory", &error)
        })?),
        false => None,
    };
    let place = scratch.as_ref().map_or(data.as_path(), |scratch| scratch.path());
    let store = Store::open(place).map_err(registry::server::ServerError::Store)?;
    let progress = Arc::new(Progress::default());
    let drawing = Drawing::start(&progress, context.quiet());
    let (cancel, from, dry_run) = (context.cancel.clone(), args.from.clone(), args.dry_run);
    let adopted = tokio::task::spawn_blocking(move || {
        store.adopt(&Adopt { from: &from, dry_run, progress: &progress, cancel: &cancel })
    });
    let adopted = adopted.await.map_err(|error| Failure::of(Kind::Failed, &error));
    drop(drawing);
    // Root reads what the other registry kept from everybody; the registry must be able to, too.
    if !args.dry_run {
        crate::host::account::give_back(&data)?;
    }
    let adopted = adopted?.map_err(registry::server::ServerError::Store)?;
    let installed = Machine::here().find(Some(&data)).is_ok_and(|place| place.is_installed());
    context.output.print(&adopted, &text(&adopted, &data, installed))?;
    if !adopted.complete {
        return Ok(Failure::new(Kind::Interrupted, "stopped before the end")
            .with_hint("run the same command again: what is there is not taken again")
            .tell());
    }
    let left_out = adopted.left_out.len() as u64 + adopted.more_left_out;
    if left_out > 0 {
        let words = format!("{} left out", size::count(left_out, "thing"));
        return Ok(Failure::new(Kind::Damaged, words)
            .with_hint("push or import what was left out again from where it came from")
            .tell());
    }
    Ok(Exit::DONE)
}

/// No directory of distribution. Quay's, in which the mirror registry for OpenShift keeps its blobs, is told apart.
fn no_source(from: &Path) -> Failure {
    let shown = plain(&from.display().to_string());
    let of_quay = ["sha256", "quay-storage", "sqlite-storage", "datastorage"];
    if of_quay.iter().any(|name| from.join(name).is_dir()) {
        return Failure::usage(format!(
            "`{shown}` looks like the storage of Quay (the mirror registry for OpenShift), which keeps its names in a \
             database: it cannot be taken over"
        ))
        .with_hint("copy from that registry while it runs: `skopeo sync --all --src docker --dest docker OLD/NAMESPACE NEW`")
        .with_hint("or carry it as any other source: `bundle create` from it, `bundle import` into this one");
    }
    Failure::usage(format!("`{shown}` has no `docker/registry/v2`"))
        .with_hint("name the `rootdirectory` of that registry's configuration: `--from DIR`")
}

fn text(adopted: &Adopted, data: &Path, installed: bool) -> String {
    let shown = crate::typed::quoted(&data.display().to_string());
    let next = match installed {
        true => "start the registry again: `systemctl start bundle-registry`, or as you started it before".to_owned(),
        false => format!(
            "`bundle registry install --data-dir {shown}`, or `bundle registry serve --data-dir {shown}` for one that does not stay"
        ),
    };
    let mut text = String::new();
    for one in &adopted.left_out {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "left out: {}: {}", plain(&one.what), plain(&one.why));
    }
    if adopted.more_left_out > 0 {
        let _ = writeln!(text, "and {} more left out", adopted.more_left_out);
    }
    let blobs = adopted.linked + adopted.cloned + adopted.copied;
    let _ = match adopted.dry_run {
        true => writeln!(
            text,
            "would take {}, {} and {}; nothing was written",
            size::count(adopted.manifests, "manifest"),
            size::count(adopted.tags, "tag"),
            size::show(adopted.bytes),
        ),
        false => writeln!(
            text,
            "took {} ({} linked, {} cloned, {} copied; {}), {} and {}; {} there already\nnext: {next}",
            size::count(blobs, "blob"),
            adopted.linked,
            adopted.cloned,
            adopted.copied,
            size::show(adopted.bytes),
            size::count(adopted.manifests, "manifest"),
            size::count(adopted.tags, "tag"),
            adopted.present,
        ),
    };
    text
}
