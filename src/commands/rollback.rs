//! `bundle rollback`: a target is set back to what an earlier sequence left there.
//!
//! 1. `importer` makes the plan; 2. a person sees it and agrees, or nothing happens; 3. `importer` carries it out; 4. what
//!    was done, or what is missing and which media bring it.

use std::fmt::Write as _;
use std::sync::Arc;

use ::registry::progress::Progress;
use ::registry::reference::Target;
use format_spec::{Sequence, StreamId};
use importer::{RollbackOptions, RollbackReport};

use super::Context;
use crate::consent;
use crate::failure::{Exit, Failure};
use crate::output::plain;
use crate::progress::Drawing;
use crate::size;
use crate::wire::{self, Side};

/// Names that are listed in an answer for people.
const LINES: usize = 20;

/// Set a registry back to what an earlier sequence left there
///
/// Tags stand for what they stood for then, and what came later is removed as `bundle prune` does; the next sequence that
/// is imported is the one after it. Without `--auto-approve` it shows what it would do, and asks at a terminal. Nothing is
/// begun when content is missing that was removed since: its sequences are named, for `bundle import --put-back`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The sequence whose state it is
    #[arg(long, value_name = "N", value_parser = sequence)]
    to: Sequence,
    /// The registry and the namespace of the import, as `docker://HOST[:PORT][/NAMESPACE]`
    #[arg(value_name = "TARGET")]
    target: Target,
    /// The stream of the sequence, where the target follows several
    #[arg(long, value_name = "ID")]
    stream: Option<StreamId>,
    /// Only say what would be done, and do not ask
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long, aliases = ["autoApprove", "yes"])]
    auto_approve: bool,
    /// Only set tags back, and keep what came later
    #[arg(long)]
    skip_pruning: bool,
    /// What the import was given: the most components of a repository's path at the target; 0 is no limit
    #[arg(long, value_name = "N", default_value = "0")]
    max_nested_paths: usize,
}

fn sequence(text: &str) -> Result<Sequence, String> {
    let number = text.parse().ok().and_then(Sequence::new);
    number.ok_or_else(|| "expected the number of a sequence, from 1 on".to_owned())
}

pub async fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    super::refuse_other_than_directory("--workspace", &context.common.workspace)?;
    let mut report = None;
    if args.dry_run || !args.auto_approve {
        let planned = rollback(&args, context, true).await?;
        let ready = planned.missing.is_empty() && !planned.is_nothing();
        if args.dry_run || !ready || !consent::can_ask(context.output) {
            report = Some(planned);
        } else {
            consent::agree(&text(&planned), "This changes what the registry gives.")?;
        }
    }
    let report = match report {
        Some(report) => report,
        None => rollback(&args, context, false).await?,
    };
    for warning in &report.warnings {
        tracing::warn!("{}", plain(warning));
    }
    context.output.print(&report, &text(&report))?;
    Ok(if report.missing.is_empty() { Exit::DONE } else { Exit::GAP })
}

async fn rollback(
    args: &Args,
    context: &Context,
    dry_run: bool,
) -> Result<RollbackReport, Failure> {
    let workspace = context.common.workspace.clone();
    let progress = Arc::new(Progress::default());
    let drawing = Drawing::start(&progress, context.quiet());
    let done = importer::rollback(RollbackOptions {
        to: args.to,
        stream: args.stream,
        target: args.target.clone(),
        resources: workspace.join(importer::CLUSTER_RESOURCES),
        workspace,
        dry_run,
        skip_pruning: args.skip_pruning,
        max_nested_paths: args.max_nested_paths,
        client: wire::client(&context.common, Side::Target)?,
        progress,
        cancel: context.cancel.clone(),
    })
    .await;
    drop(drawing);
    Ok(done?)
}

fn text(report: &RollbackReport) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = lines(report, &mut text);
    text
}

fn lines(report: &RollbackReport, text: &mut String) -> std::fmt::Result {
    let RollbackReport { target, stream, from, to, dry_run, .. } = report;
    if report.is_nothing() {
        return writeln!(text, "nothing is to be done: {target} is what sequence {to} left there");
    }
    if !report.missing.is_empty() {
        return lacks(report, text);
    }
    let verb = if *dry_run { "to set back" } else { "set back" };
    writeln!(text, "stream {stream}: {verb} from sequence {from} to {to}")?;
    if !report.tags_back.is_empty() {
        writeln!(text, "  {} {verb}", size::count(report.tags_back.len() as u64, "tag"))?;
    }
    for tag in report.tags_back.iter().take(LINES) {
        let from = tag.from.map_or("nothing".to_owned(), |from| from.short());
        writeln!(text, "    {}  {from} -> {}", plain(&tag.name), tag.to.short())?;
    }
    more(text, report.tags_back.len())?;
    if report.deletes_undone {
        let verb = if *dry_run { "stand again" } else { "stand again now" };
        writeln!(text, "  names that `bundle delete` took away since {verb}")?;
    }
    text.push_str(&super::prune::lines(&report.removed, *dry_run));
    let repositories = &report.removed.repositories;
    for repository in repositories.iter().take(LINES) {
        writeln!(text, "{}", super::prune::line(repository))?;
    }
    more(text, repositories.len())?;
    if report.bytes_removed > 0 {
        let bytes = size::show(report.bytes_removed);
        writeln!(text, "  blobs of at most {bytes} are needed by nothing else of this stream")?;
    }
    if *dry_run {
        return writeln!(
            text,
            "nothing was changed: the same command with `--auto-approve`, and without `--dry-run`, does it"
        );
    }
    if report.removed.manifests > 0 {
        text.push_str(super::prune::BLOBS);
    }
    if let Some(written) = &report.cluster_resources {
        text.push_str(&super::resources::next(written));
    }
    match to.next() {
        Some(next) => writeln!(text, "the next sequence that it takes is {next}"),
        None => Ok(()),
    }
}

/// What is missing, and what brings it.
fn lacks(report: &RollbackReport, text: &mut String) -> std::fmt::Result {
    let RollbackReport { target, to, missing, media, .. } = report;
    let things = size::count(missing.len() as u64, "thing");
    writeln!(
        text,
        "nothing was changed: {target} lacks {things} of what sequence {to} left there"
    )?;
    for gone in missing.iter().take(LINES) {
        let numbers: Vec<String> = gone.sequences.iter().map(ToString::to_string).collect();
        match numbers.as_slice() {
            [] => writeln!(
                text,
                "  {}  (no record says which sequence brought it)",
                plain(&gone.name)
            )?,
            _ => writeln!(text, "  {}  (sequence {})", plain(&gone.name), numbers.join(", "))?,
        }
    }
    more(text, missing.len())?;
    let numbers: Vec<String> = media.iter().map(ToString::to_string).collect();
    match numbers.as_slice() {
        [] => Ok(()),
        numbers => writeln!(
            text,
            "hint: with the media of sequence {}, `--from` for each: `bundle import --put-back --from DIR {target}`; then the \
             same command again",
            numbers.join(", ")
        ),
    }
}

fn more(text: &mut String, all: usize) -> std::fmt::Result {
    match all.checked_sub(LINES) {
        Some(more @ 1..) => writeln!(text, "    and {more} more"),
        _ => Ok(()),
    }
}
