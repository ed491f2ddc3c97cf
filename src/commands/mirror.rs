//! `bundle mirror`: what a configuration asks for, straight into a registry, with no medium between.
//!
//! 1. the plan of `create`; 2. blobs go from their sources into the target, where nothing names them yet; 3. a sequence of the
//!    manifests alone is written into the workspace, and imported from there: order, names, record, files for clusters and the
//!    receipt are those of every import.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use ::registry::progress::Progress;
use ::registry::reference::Target;
use bundler::report::Created;
use bundler::straight::{Check, Checked, Counts, Moved, Straight};
use bundler::{CreateError, CreateOptions, Signers as _, Stream};
use format_spec::head::Link;
use format_spec::index::Index;
use format_spec::keys::SecretKey;
use format_spec::limits::PART_DEFAULT;
use importer::{ImportError, ImportOptions, Imported, Outcome, TakesOptions};
use serde::Serialize;

use super::Context;
use super::create::answer::{self, Answer};
use super::create::{Content, workspace};
use crate::cli;
use crate::failure::{Exit, Failure};
use crate::output::plain;
use crate::progress::Drawing;
use crate::signing::{Signers, first_key, signing_keys, tell_other_key};
use crate::size;
use crate::wire::{self, Side};

/// The directory of a workspace with the streams of targets that are mirrored to.
const DIRECTORY: &str = "mirror";

/// Carry what a configuration asks for straight into a registry, for a host that reaches both
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    content: Content,
    /// The registry and the namespace for everything, as `docker://HOST[:PORT][/NAMESPACE]`
    #[arg(value_name = "TARGET")]
    target: Target,
    /// Sign the record with this private key; repeatable [default: `keys/default.pem` of the workspace]
    #[arg(long, value_name = "FILE")]
    key: Vec<PathBuf>,
    /// Look at everything anew, whatever earlier runs moved
    #[arg(long)]
    full: bool,
    /// Let the target follow a further stream
    #[arg(long)]
    new_stream: bool,
    /// Leave at the target what left the configuration
    #[arg(long)]
    skip_pruning: bool,
}

/// The answer in JSON.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    created: Answer<'a>,
    target: String,
    moved: Counts,
    #[serde(skip_serializing_if = "Option::is_none")]
    imported: Option<&'a Imported>,
}

/// The importer as the one who knows the target.
struct Asked(TakesOptions);

impl Check for Asked {
    fn check<'a>(&'a self, index: &'a Index, last: Option<Link>) -> Checked<'a> {
        Box::pin(async move { Ok(importer::takes(&self.0, index, last).await?) })
    }
}

pub async fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    let Args { content, target, key, full, new_stream, skip_pruning } = args;
    let (mut config, warned) = content.read(true)?;
    if config.storage.registry.take().is_some() {
        tracing::warn!(
            "`storageConfig.registry` is for sequences on media: the record of a mirror is at its target"
        );
    }
    let keys = workspace(&context.common, &config);
    super::refuse_other_than_directory("--workspace", &keys)?;
    super::refuse_unwritable("--workspace", &keys)?;
    let place = keys.join(DIRECTORY).join(importer::directory_of(&target));
    let media = place.join("media");
    let releases = content.releases(&place)?;
    let policy = content.judged.load()?;
    let source = wire::client(&context.common, Side::Source(None))?;
    let client = wire::client(&context.common, Side::Target)?;
    let signing = signing_keys(&key, &keys, content.dry_run)?;
    // As many as an import: more of them get in each other's way at the target.
    let parallel = context.common.parallel_blobs.unwrap_or(cli::IMPORT_BLOBS);

    let progress = Arc::new(Progress::default());
    let drawing = Drawing::start(&progress, context.quiet());
    let stream = Stream::open(&config, &place, &source, &progress).await?;
    let standing = stream.standing()?;
    let signing = Arc::new(match signing {
        Some(signing) => {
            if let Some(standing) = &standing {
                tell_other_key(standing, &signing);
            }
            Signers::of(signing)
        }
        None => first_key(&keys, standing, content.dry_run)?,
    });
    let moved = Arc::new(Moved::default());
    let takes = TakesOptions {
        target: target.clone(),
        max_nested_paths: content.max_nested_paths,
        new_stream,
        client: client.clone(),
    };
    let straight = Straight {
        client: client.clone(),
        target: target.clone(),
        max_nested_paths: content.max_nested_paths,
        parallel,
        check: Arc::new(Asked(takes)),
        moved: Arc::clone(&moved),
    };
    let options = CreateOptions {
        config,
        images: content.images,
        workspace: place,
        to: media.clone(),
        keys: Arc::clone(&signing) as Arc<dyn bundler::Signers>,
        part_bytes: PART_DEFAULT,
        full,
        since: None,
        strict: content.strict,
        remove_signatures: content.remove_signatures,
        foreign_layers: content.foreign_layers,
        // The import counts the components of the namespace too.
        max_nested_paths: 0,
        dry_run: content.dry_run,
        parallel_images: context.common.parallel_images,
        parallel_blobs: parallel,
        sums: false,
        read_back: false,
        labels: BTreeMap::new(),
        expires: None,
        next_expected: None,
        releases,
        helm: content.charts.options()?,
        straight: Some(straight),
        policy,
        client: source,
        progress: Arc::clone(&progress),
        cancel: context.cancel.clone(),
    };
    let created = bundler::create(stream, options).await;
    let mut created = created.map_err(|error| signing.failure().unwrap_or_else(|| told(error)))?;
    for warning in &created.summary().warnings {
        tracing::warn!("{}", plain(warning));
    }
    created.warned_before(warned);
    // Also with nothing new: what an earlier run did not come to, and what the target lost of the last sequence.
    let imported = match !content.dry_run && media.is_dir() {
        false => None,
        true => Some(
            importer::import(ImportOptions {
                from: vec![media.clone()],
                target: target.clone(),
                resources: Some(keys.join(importer::CLUSTER_RESOURCES)),
                workspace: keys,
                local_name: None,
                told_as: None,
                trusted: signing.keys().unwrap_or_default().iter().map(SecretKey::public).collect(),
                new_stream,
                skip_pruning,
                put_back: false,
                read_back: false,
                dry_run: false,
                parallel_blobs: context.common.parallel_blobs.unwrap_or(cli::IMPORT_BLOBS),
                max_nested_paths: content.max_nested_paths,
                client,
                progress,
                cancel: context.cancel.clone(),
            })
            .await
            .map_err(|error| match &error {
                ImportError::RequiredMissing { .. } | ImportError::Lost(_) => {
                    let hint =
                        "move everything that is missing: the same command with `--full` added";
                    Failure::from(error).hinted_instead(hint)
                }
                _ => error.into(),
            })?,
        ),
    };
    drop(drawing);
    for warning in imported.iter().flat_map(|imported| &imported.warnings) {
        tracing::warn!("{}", plain(warning));
    }
    let moved = moved.counts();
    let text = text(&created, imported.as_ref(), &moved, &target, &media);
    let shown = Shown {
        created: Answer::new(&created, &media),
        target: target.to_string(),
        moved,
        imported: imported.as_ref(),
    };
    context.output.print(&shown, &text)?;
    Ok(Exit::without(created.exit_bits()))
}

/// What the target said, in the words of an import.
fn told(error: CreateError) -> Failure {
    match error {
        CreateError::Target(source) => match source.downcast::<ImportError>() {
            Ok(error) => Failure::from(*error),
            Err(source) => CreateError::Target(source).into(),
        },
        error @ CreateError::Wire(_) => {
            Failure::from(error).or_hinted("run the same command again: what is there by now stays")
        }
        error => error.into(),
    }
}

fn text(
    created: &Created,
    imported: Option<&Imported>,
    moved: &Counts,
    target: &Target,
    media: &std::path::Path,
) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = match created {
        Created::Planned(_) => {
            return answer::text(&Answer::straight(created, media, target), None);
        }
        Created::Nothing(summary) => {
            let images = size::count(summary.images as u64, "image");
            writeln!(text, "nothing new: {target} has {images} of the configuration")
        }
        Created::Written(written) => writeln!(
            text,
            "sequence {}: {}; {} moved ({}), {} mounted, {} there already",
            written.sequence,
            size::count(written.totals.references, "reference"),
            size::count(moved.blobs, "blob"),
            size::show(moved.bytes),
            moved.mounted,
            moved.present,
        ),
    };
    let summary = created.summary();
    let _ = answer::left_out(&mut text, &summary.blocked, &summary.failures, &summary.hints);
    if let Some(imported) = imported {
        for sequence in imported.sequences.iter().filter(|one| one.outcome == Outcome::Imported) {
            text.push_str(&super::import::removed(sequence, false));
        }
        let _ = writeln!(text, "everything is at {target}");
        if let Some(written) =
            imported.cluster_resources.as_ref().filter(|files| !files.files.is_empty())
        {
            text.push_str(&super::resources::next(written));
        }
    }
    text
}
