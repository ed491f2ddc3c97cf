//! `bundle delete`: names that imports brought to a target, taken away.
//!
//! 1. A DeleteImageSetConfiguration and what stands at the target give names ([`select`]), with `--generate` as a list for
//!    somebody to read; or the list gives them. 2. `importer` makes the plan; 3. a person sees it and agrees, or nothing
//!    happens; 4. `importer` carries it out; 5. what went and what stays.

mod select;

use std::borrow::Cow;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::registry::progress::Progress;
use ::registry::reference::{Reference, Target};
use bundler::catalog::{CatalogError, listing};
use bundler::config::{ConfigErrors, DeleteImageList, DeleteImageSetConfig, DeleteItem};
use bundler::durable;
use bundler::origin::{Origins, Source};
use importer::{DeleteOptions, DeleteReport, Standing};
use serde::Serialize;

use super::Context;
use crate::consent;
use crate::failure::{Exit, Failure, Kind};
use crate::output::plain;
use crate::progress::Drawing;
use crate::size;
use crate::typed::quoted;
use crate::wire::{self, Side};
use select::{Needed, Selected};

/// Names that are listed in an answer for people.
const LINES: usize = 20;

/// Characters of `--delete-id`.
const ID_MAX: usize = 64;

/// Take away from a registry what imports brought there, by name
///
/// What a DeleteImageSetConfiguration means is looked up in the records at the target, with `--generate` as a list to read
/// and to give back with `--list`. Without `--auto-approve` it shows what it would do, and asks at a terminal. Nothing goes
/// that another name needs, or that no import brought. A later sequence that names it brings it again: take it out of the
/// ImageSetConfiguration too.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to delete: a DeleteImageSetConfiguration
    #[arg(long, short = 'c', value_name = "FILE")]
    config: Option<PathBuf>,
    /// Only write the list of names for `--list`, `delete/delete-images.yaml` in the workspace
    #[arg(long, requires = "config")]
    generate: bool,
    /// With `--generate`: write `delete-images-ID.yaml`
    #[arg(long, value_name = "ID", requires = "generate", value_parser = id)]
    delete_id: Option<String>,
    /// What to delete: a list that `--generate` wrote, here or with oc-mirror
    #[arg(long, value_name = "FILE", alias = "delete-yaml-file", conflicts_with_all = ["config", "generate"])]
    list: Option<PathBuf>,
    /// The registry and the namespace of the import, as `docker://HOST[:PORT][/NAMESPACE]`
    #[arg(value_name = "TARGET")]
    target: Target,
    /// Only say what would be done, and do not ask
    #[arg(long, conflicts_with = "generate")]
    dry_run: bool,
    /// Do not ask
    #[arg(long, aliases = ["autoApprove", "yes"])]
    auto_approve: bool,
    /// What the import was given: the most components of a repository's path at the target; 0 is no limit
    #[arg(long, value_name = "N", default_value = "0")]
    max_nested_paths: usize,
}

fn id(text: &str) -> Result<String, String> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    match text.len() {
        1..=ID_MAX if text.chars().all(good) => Ok(text.to_owned()),
        _ => Err(format!("expected at most {ID_MAX} letters, digits, `-`, `_` and `.`")),
    }
}

/// What `--generate` wrote, in JSON.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Generated {
    target: String,
    list: PathBuf,
    names: usize,
    not_here: Vec<String>,
    warnings: Vec<String>,
}

pub async fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    super::refuse_other_than_directory("--workspace", &context.common.workspace)?;
    let names = match (&args.list, &args.config) {
        (Some(list), _) => listed(list, &args)?,
        (None, Some(config)) => {
            let config = read_config(config)?;
            select::check(&config)?;
            let standing = standing(&args, context).await?;
            let selected = selected(&config, &standing, context).await?;
            for warning in standing.warnings.iter().chain(&selected.warnings) {
                tracing::warn!("{}", plain(warning));
            }
            warn_of(&selected.nothing, |nothing| {
                format!("{nothing}: nothing of it stands at {}", args.target)
            });
            if args.generate {
                return generate(&args, &selected, context);
            }
            selected.names.into_values().map(|(one, _)| one.at.clone()).collect()
        }
        (None, None) => {
            return Err(Failure::usage("nothing says what to delete").with_hint(
                "name a DeleteImageSetConfiguration, `--config FILE`, or a list that `--generate` wrote, `--list FILE`",
            ));
        }
    };
    carry_out(&args, names, context).await
}

/// The names of a list.
fn listed(path: &Path, args: &Args) -> Result<Vec<Reference>, Failure> {
    let joined = args.max_nested_paths > 0;
    let (list, warnings) = DeleteImageList::load(path, &args.target, joined).map_err(|error| {
        if matches!(error, ConfigErrors::Missing { .. }) {
            let path = path.display().to_string();
            return Failure::usage(format!("there is no list `{}`", plain(&path))).with_hint(
                format!("`bundle delete --generate --config FILE {}` writes one", args.target),
            );
        }
        let text = error.to_string().replacen("the configuration", "the list", 1);
        Failure::usage(text)
            .with_hint("mend the list, or let `bundle delete --generate` write it anew")
    })?;
    for warning in &warnings {
        tracing::warn!("{warning}");
    }
    Ok(list.items.into_iter().map(|item| item.reference).collect())
}

fn read_config(path: &Path) -> Result<DeleteImageSetConfig, Failure> {
    let loaded = DeleteImageSetConfig::load(path)?;
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    Ok(loaded.config)
}

async fn standing(args: &Args, context: &Context) -> Result<Standing, Failure> {
    let client = wire::client(&context.common, Side::Target)?;
    tokio::select! {
        standing = importer::standing(client, &args.target, args.max_nested_paths) => Ok(standing?),
        () = context.cancel.cancelled() => Err(interrupted()),
    }
}

fn interrupted() -> Failure {
    Failure::new(Kind::Interrupted, "interrupted")
}

/// What the configuration means. Where it names a catalog, every catalog at the target is read: which images one needs,
/// and no other.
async fn selected<'a>(
    config: &DeleteImageSetConfig,
    standing: &'a Standing,
    context: &Context,
) -> Result<Selected<'a>, Failure> {
    let catalogs = select::catalogs(config, standing);
    let mut needed = Needed::new();
    if catalogs.iter().any(|some| !some.is_empty()) {
        let read = read_catalogs(standing, context);
        needed = tokio::select! {
            needed = read => needed?,
            () = context.cancel.cancelled() => return Err(interrupted()),
        };
    }
    Ok(select::select(config, standing, &catalogs, &needed))
}

async fn read_catalogs(standing: &Standing, context: &Context) -> Result<Needed, Failure> {
    let client = wire::client(&context.common, Side::Target)?;
    let origins = Origins::new(client, context.common.parallel_images);
    let progress = Arc::new(Progress::default());
    let drawing = Drawing::start(&progress, context.quiet());
    let mut needed = Needed::new();
    for catalog in &standing.catalogs {
        let Some(name) = standing.named(&catalog.repository, &catalog.tag).next() else {
            needed.push(Default::default());
            continue;
        };
        let told = name.at.to_string();
        let failed = |error: CatalogError| Failure::of_catalog(&told, &error);
        let source = Source::Registry(Cow::Borrowed(&name.at));
        let workspace = &context.common.workspace;
        let opened = bundler::catalog::open(&origins, &source, workspace, &progress).await;
        let opened = opened.map_err(failed)?;
        let images = move || listing::images(&opened.model, &opened.store);
        let images = tokio::task::spawn_blocking(images).await;
        needed.push(
            images.map_err(|error| failed(error.into()))?.map_err(|error| failed(error.into()))?,
        );
    }
    drop(drawing);
    Ok(needed)
}

/// Writes the list.
fn generate(args: &Args, selected: &Selected<'_>, context: &Context) -> Result<Exit, Failure> {
    let items = selected.names.values().map(|(one, kind)| DeleteItem {
        name: one.source.clone(),
        reference: one.at.clone(),
        kind: (*kind).to_owned(),
        line: 0,
    });
    let list = DeleteImageList { items: items.collect() };
    let directory = context.common.workspace.join("delete");
    let id = args.delete_id.as_ref().map(|id| format!("-{id}")).unwrap_or_default();
    let path = directory.join(format!("delete-images{id}.yaml"));
    let failed = |error| Failure::io(Kind::NoSpace, "cannot write the list", &error);
    fs_err::create_dir_all(&directory).map_err(failed)?;
    durable::write(&path, list.to_yaml().as_bytes()).map_err(failed)?;
    let text = match list.items.len() {
        0 => format!(
            "nothing of it stands at {}; the list {} is empty\n",
            args.target,
            path.display()
        ),
        some => format!(
            "{} to delete: the list is {}; nothing was changed\nread it, take out what is to stay, then: `{}`\n",
            size::count(some as u64, "name"),
            path.display(),
            next(&path, args, context)
        ),
    };
    let answer = Generated {
        target: args.target.to_string(),
        list: path,
        names: list.items.len(),
        not_here: selected.nothing.clone(),
        warnings: selected.warnings.clone(),
    };
    context.output.print(&answer, &text)?;
    Ok(Exit::DONE)
}

/// The command that carries the list out.
fn next(list: &Path, args: &Args, context: &Context) -> String {
    let list = quoted(&list.display().to_string());
    let mut line = format!("bundle delete --list {list} {}", args.target);
    // Writing to a String cannot fail.
    if args.max_nested_paths > 0 {
        let _ = write!(line, " --max-nested-paths {}", args.max_nested_paths);
    }
    let workspace = context.common.workspace.display().to_string();
    if workspace != crate::cli::WORKSPACE {
        let _ = write!(line, " --workspace {}", quoted(&workspace));
    }
    line
}

/// The plan, the consent, the work.
async fn carry_out(args: &Args, names: Vec<Reference>, context: &Context) -> Result<Exit, Failure> {
    let mut report = None;
    if args.dry_run || !args.auto_approve {
        let planned = delete(args, names.clone(), context, true).await?;
        // Without anything to ask about, an earlier run that was stopped may still have the files for clusters to write.
        let nothing = planned.is_nothing();
        if args.dry_run
            || (nothing && planned.gone_before.is_empty())
            || !consent::can_ask(context.output)
        {
            report = Some(planned);
        } else if !nothing {
            consent::agree(&text(&planned), "This takes images away from the registry.")?;
        }
    }
    let report = match report {
        Some(report) => report,
        None => delete(args, names, context, false).await?,
    };
    warn_of(&report.not_here, |name| {
        format!("`{name}`: no import brought that: it stays as it is")
    });
    for warning in &report.warnings {
        tracing::warn!("{}", plain(warning));
    }
    context.output.print(&report, &text(&report))?;
    Ok(Exit::DONE)
}

/// Warns of the first of some; the answer in JSON has them all.
fn warn_of(all: &[String], text: impl Fn(&str) -> String) {
    for one in all.iter().take(LINES) {
        tracing::warn!("{}", plain(&text(one)));
    }
    if let Some(more @ 1..) = all.len().checked_sub(LINES) {
        tracing::warn!("the same of {more} more, which `--output json` names");
    }
}

async fn delete(
    args: &Args,
    names: Vec<Reference>,
    context: &Context,
    dry_run: bool,
) -> Result<DeleteReport, Failure> {
    let workspace = context.common.workspace.clone();
    let progress = Arc::new(Progress::default());
    let drawing = Drawing::start(&progress, context.quiet());
    let done = importer::delete(DeleteOptions {
        names,
        finish: args.config.is_some(),
        target: args.target.clone(),
        resources: workspace.join(importer::CLUSTER_RESOURCES),
        workspace,
        dry_run,
        max_nested_paths: args.max_nested_paths,
        client: wire::client(&context.common, Side::Target)?,
        progress,
        cancel: context.cancel.clone(),
    })
    .await;
    drop(drawing);
    Ok(done?)
}

fn text(report: &DeleteReport) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = lines(report, &mut text);
    text
}

fn lines(report: &DeleteReport, text: &mut String) -> std::fmt::Result {
    let DeleteReport { target, names, gone_before, removed, dry_run, .. } = report;
    if report.is_nothing() {
        let before = match gone_before.len() {
            0 => String::new(),
            some => format!("; {} deleted before", size::count(some as u64, "name")),
        };
        return writeln!(text, "nothing is to be deleted at {target}{before}");
    }
    let verb = if *dry_run { "to delete" } else { "deleted" };
    let (own, attached): (Vec<_>, Vec<_>) = names.iter().partition(|name| !name.attached);
    match own.len() {
        0 => write!(text, "{target}: what is left of names that were deleted before")?,
        some => write!(text, "{target}: {} {verb}", size::count(some as u64, "name"))?,
    }
    match attached.len() {
        0 => writeln!(text)?,
        some => writeln!(
            text,
            ", and {} attached to them",
            size::count(some as u64, "signature or the like")
        )?,
    }
    for name in own.iter().take(LINES) {
        writeln!(text, "    {}  {}", plain(&name.name), name.digest.short())?;
    }
    if let Some(more @ 1..) = own.len().checked_sub(LINES) {
        writeln!(text, "    and {more} more")?;
    }
    text.push_str(&super::prune::lines(removed, *dry_run));
    if *dry_run {
        return writeln!(
            text,
            "nothing was changed: the same command with `--auto-approve`, and without `--dry-run`, does it"
        );
    }
    if removed.manifests > 0 {
        text.push_str(super::prune::BLOBS);
    }
    if let Some(written) = &report.cluster_resources {
        text.push_str(&super::resources::next(written));
    }
    Ok(())
}
