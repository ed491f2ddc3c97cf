//! `bundle release extract`: what a release has in it, as files.
//!
//! 1. what is wanted; 2. the release, whose signatures of it count, and mirrors; 3. `bundler` reads it; 4. which files there are.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::registry::progress::Progress;
use bundler::release::extract::{
    ExtractOptions, Extracted, Missing, Outcome, Programs, System, What, extract,
};
use bundler::release::named::Release;
use format_spec::head::ContentClass;
use serde::Serialize;

use super::Context;
use super::from::{Found, From, Mirrors, Signed};
use crate::cli;
use crate::failure::{Exit, Failure};
use crate::output::{plain, plain_lines};
use crate::progress::Drawing;
use crate::size;
use crate::wire::{self, Side};

/// Files that are listed: programs, and not the hundreds of manifests.
const SHOWN: usize = 40;

/// Take files out of a release: its manifests, or programs as `oc` and `openshift-install`
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    from: From,
    /// Write the files into this directory; made when it does not exist
    #[arg(long, value_name = "DIR", default_value = ".", value_parser = cli::directory)]
    to: PathBuf,
    /// Write this manifest to stdout and nothing else, as `image-references`
    #[arg(long, value_name = "NAME", conflicts_with_all = ["to", "overwrite", "command", "tools"])]
    file: Option<String>,
    /// A program of the release, as `oc`, `openshift-install`, `openshift-install-fips` or `ccoctl`, that knows this release
    #[arg(long, value_name = "NAME", conflicts_with = "tools")]
    command: Option<String>,
    /// All programs of the release as archives, with `sha256sum.txt`
    #[arg(long)]
    tools: bool,
    /// For this system: `linux`, `mac`, `windows`, one with an architecture as `linux/arm64`, or `*`: all of them, as archives
    /// [default: this machine]
    #[arg(long, value_name = "SYSTEM", value_parser = System::parse)]
    command_os: Option<System>,
    /// Replace files that are there
    #[arg(long)]
    overwrite: bool,
    #[command(flatten)]
    mirrors: Mirrors,
    #[command(flatten)]
    signed: Signed,
}

/// The answer in JSON.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    release: &'a Release,
    #[serde(skip_serializing_if = "Option::is_none")]
    directory: Option<&'a Path>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    files: &'a [Extracted],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    missing: &'a [Missing],
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<String>,
    warnings: &'a [String],
}

pub async fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    let what = wanted(args.file, args.command, args.tools, args.command_os)?;
    if !matches!(what, What::File(_)) {
        crate::commands::refuse_other_than_directory("--to", &args.to)?;
        crate::commands::refuse_unwritable("--to", &args.to)?;
    }
    let Found { named, trust } = args.from.find(args.signed, context).await?;
    let client = wire::client_with(&context.common, Side::Source(None), args.mirrors.load()?)?;
    let progress = Arc::new(Progress::default());
    let drawing = Drawing::start(&progress, context.quiet());
    let outcome = extract(ExtractOptions {
        from: named,
        what,
        to: args.to.clone(),
        overwrite: args.overwrite,
        trust,
        client,
        progress,
        cancel: context.cancel.clone(),
    })
    .await;
    drop(drawing);
    let outcome = outcome?;

    for warning in &outcome.warnings {
        tracing::warn!("{}", plain(warning));
    }
    let answer = Answer {
        release: &outcome.release,
        directory: outcome.content.is_none().then_some(&*args.to),
        files: &outcome.files,
        missing: &outcome.missing,
        content: outcome.content.as_deref().map(|it| String::from_utf8_lossy(it).into_owned()),
        warnings: &outcome.warnings,
    };
    match &outcome.content {
        Some(content) if !context.output.is_json() => context.output.bytes(content)?,
        _ => context.output.print(&answer, &plain_lines(&text(&outcome, &args.to)))?,
    }
    for Missing { name, reason } in &outcome.missing {
        tracing::error!("`{}` was not written: {}", plain(name), plain(reason));
    }
    match outcome.missing.is_empty() {
        true => Ok(Exit::DONE),
        false => Ok(Exit::without(ContentClass::Release.exit_bit())),
    }
}

fn wanted(
    file: Option<String>,
    command: Option<String>,
    tools: bool,
    system: Option<System>,
) -> Result<What, Failure> {
    if let Some(file) = file {
        return Ok(What::File(file));
    }
    if command.is_none() && !tools {
        return match system {
            None => Ok(What::Manifests),
            Some(_) => Err(Failure::usage("`--command-os` is for programs")
                .with_hint("say which: `--command NAME`, or `--tools` for all")),
        };
    }
    let system = system.unwrap_or_else(System::here);
    let archives = tools || system == System::All;
    Ok(What::Programs(Programs { command, system, archives }))
}

fn text(outcome: &Outcome, to: &Path) -> String {
    let Release { version, architecture, digest, signed, .. } = &outcome.release;
    let mut text = String::new();
    let signature = if *signed { "" } else { ", without a valid signature" };
    let files = outcome.files.len();
    let files = if files == 1 { "1 file".to_owned() } else { format!("{files} files") };
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "release {version} ({architecture}){signature}: {files} in `{}`",
        to.display()
    );
    let _ = writeln!(text, "  digest  {digest}");
    for Extracted { name, bytes } in outcome.files.iter().filter(|_| outcome.files.len() <= SHOWN) {
        let _ = writeln!(text, "  {name}  {}", size::show(*bytes));
    }
    text
}
