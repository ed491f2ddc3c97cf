//! `bundle prune`: what imports brought to a target and that no longer stands, removed.
//!
//! 1. `importer` reads the records at the target, looks at its repositories and removes; 2. what went and what stays.

use std::fmt::Write as _;
use std::sync::Arc;

use ::registry::progress::Progress;
use ::registry::reference::Target;
use format_spec::Tag;
use importer::{PruneOptions, PruneReport, Pruned, PrunedRepository};

use super::Context;
use crate::failure::{Exit, Failure};
use crate::output::plain;
use crate::progress::Drawing;
use crate::size;
use crate::wire::{self, Side};

/// What becomes of the blobs.
pub const BLOBS: &str = "blobs that nothing needs any more go with the registry's own garbage collection; of the mirror \
                         registry: `bundle registry gc`\n";

/// Repositories that are listed in an answer for people.
const LINES: usize = 20;

/// Remove from a registry what imports brought there and that left the configuration since
///
/// An import does so by itself; this is for what `--skip-pruning` kept, or a registry that did not delete at that time.
/// Nothing goes that a name reaches which stands, of any stream, or that somebody else gave a tag.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The registry and the namespace of the import, as `docker://HOST[:PORT][/NAMESPACE]`
    #[arg(value_name = "TARGET")]
    target: Target,
    /// Only say what would be removed, also as `dry-run/pruning-plan.json` in the workspace
    #[arg(long)]
    dry_run: bool,
    /// What the import was given: the most components of a repository's path at the target; 0 is no limit
    #[arg(long, value_name = "N", default_value = "0")]
    max_nested_paths: usize,
}

pub async fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    let workspace = context.common.workspace.clone();
    super::refuse_other_than_directory("--workspace", &workspace)?;
    let progress = Arc::new(Progress::default());
    let drawing = Drawing::start(&progress, context.quiet());
    let report = importer::prune(PruneOptions {
        target: args.target,
        workspace,
        dry_run: args.dry_run,
        max_nested_paths: args.max_nested_paths,
        client: wire::client(&context.common, Side::Target)?,
        progress,
        cancel: context.cancel.clone(),
    })
    .await;
    drop(drawing);
    let report = report?;
    for warning in &report.warnings {
        tracing::warn!("{}", plain(warning));
    }
    context.output.print(&report, &text(&report))?;
    Ok(Exit::DONE)
}

fn text(report: &PruneReport) -> String {
    let pruned = &report.pruned;
    if pruned.is_nothing() {
        let target = &report.target;
        return format!("nothing is to be removed: all that imports brought to {target} stands\n");
    }
    let mut text = lines(pruned, report.dry_run);
    // Writing to a String cannot fail.
    for repository in pruned.repositories.iter().take(LINES) {
        let _ = writeln!(text, "{}", line(repository));
    }
    if let Some(more @ 1..) = pruned.repositories.len().checked_sub(LINES) {
        let _ = writeln!(text, "  and {more} more");
    }
    match &report.pruning_plan {
        Some(plan) => {
            let _ = writeln!(
                text,
                "all of it is in {}; nothing was removed: the same command without `--dry-run` does it",
                plan.display()
            );
        }
        None if pruned.manifests > 0 => text.push_str(BLOBS),
        None => {}
    }
    text
}

/// What was removed from one repository.
pub fn line(repository: &PrunedRepository) -> String {
    let tags: Vec<&str> = repository.tags.iter().map(Tag::as_str).collect();
    let tags = if tags.is_empty() { String::new() } else { format!("  {}", tags.join(", ")) };
    let manifests = size::count(repository.manifests.len() as u64, "manifest");
    format!("  {}  {manifests}{tags}", repository.name)
}

/// What was removed, in one line, and what stays behind in another.
pub fn lines(pruned: &Pruned, dry_run: bool) -> String {
    let mut text = String::new();
    let (tags, manifests) =
        (size::count(pruned.tags, "tag"), size::count(pruned.manifests, "manifest"));
    if pruned.tags + pruned.manifests > 0 {
        let verb = if dry_run { "to remove" } else { "removed" };
        let _ = writeln!(text, "  {tags} and {manifests} {verb}");
    }
    if !pruned.left.is_empty() {
        let left = pruned.left.len();
        let _ = writeln!(text, "  {left} could not be removed and stay");
    }
    text
}
