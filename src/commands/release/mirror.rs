//! `bundle release mirror`: one release into a registry or a directory, without media between them.
//!
//! 1. where to; 2. the release, whose signatures of it count, and mirrors; 3. `bundler` does the work; 4. what is there now, and
//!    what clusters have to be told.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::registry::progress::Progress;
use ::registry::reference::Reference;
use bundler::policy::Verdicts;
use bundler::release::mirror::{
    Counts, Destination, Mapping, MirrorOptions, Mirrored, SourceMirrors, mirror,
};
use bundler::release::named::Release;
use format_spec::Tag;
use serde::Serialize;

use super::super::policy::Judged;
use super::Context;
use super::filed::{CONFIG, REPOSITORY};
use super::from::{Found, From, Mirrors, Signed};
use super::instructions::{self, Form};
use crate::cli;
use crate::failure::{Exit, Failure};
use crate::output::{plain, plain_lines};
use crate::progress::Drawing;
use crate::size;
use crate::typed::quoted;
use crate::wire::{self, Side};

/// Copy a release into one repository of a registry, or into a directory, and say what clusters have to be told
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    from: From,
    /// The repository for all images, as `HOST[:PORT]/REPOSITORY`, or `file://REPOSITORY` below the directory of `--to-dir`
    #[arg(long, value_name = "REPOSITORY", required_unless_present = "to_dir")]
    to: Option<String>,
    /// Write into this directory, as `oc image mirror` keeps images, and the signatures into `config` there
    #[arg(long, value_name = "DIR", value_parser = cli::directory)]
    to_dir: Option<PathBuf>,
    /// Another place for the release image alone, as `HOST[:PORT]/REPOSITORY:TAG`
    #[arg(long, value_name = "IMAGE")]
    to_release_image: Option<String>,
    /// Leave the release image behind
    #[arg(long, conflicts_with = "to_release_image")]
    skip_release_image: bool,
    /// Write the signatures of the release into this directory, as a file for clusters [default: `config` of `--to-dir`]
    #[arg(long, value_name = "DIR", value_parser = cli::directory)]
    release_image_signature_to_dir: Option<PathBuf>,
    /// Leave sigstore signatures, attestations and other referrers of the images behind
    #[arg(long)]
    remove_signatures: bool,
    /// Only say which image would get which name
    #[arg(long, alias = "to-mirror")]
    dry_run: bool,
    /// What to print for clusters
    #[arg(long, value_enum, value_name = "FORM", default_value = "idms")]
    print_mirror_instructions: Form,
    #[command(flatten)]
    mirrors: Mirrors,
    #[command(flatten)]
    signed: Signed,
    #[command(flatten)]
    judged: Judged,
}

/// The answer in JSON.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    release: &'a Release,
    to: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    directory: Option<&'a Path>,
    dry_run: bool,
    update_image: Option<&'a str>,
    images: usize,
    blobs_pushed: u64,
    bytes_pushed: u64,
    blobs_present: u64,
    manifests_put: u64,
    sources: Vec<Source<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signature_file: Option<&'a Path>,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<&'a Verdicts>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    mapping: Vec<Pair<'a>>,
    warnings: &'a [String],
}

#[derive(Debug, Serialize)]
struct Source<'a> {
    source: &'a str,
    mirrors: &'a [String],
}

#[derive(Debug, Serialize)]
struct Pair<'a> {
    component: Option<&'a str>,
    from: &'a str,
    to: &'a str,
}

pub async fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    let to = destination(args.to.as_deref(), args.to_dir.as_deref())?;
    let to_release = match (&args.to_release_image, args.skip_release_image) {
        (Some(text), _) => Some(Some(release_image(text, args.to_dir.as_deref())?)),
        (None, true) => Some(None),
        (None, false) => None,
    };
    let config = args.to_dir.as_ref().map(|directory| directory.join(CONFIG));
    let signatures_to = args.release_image_signature_to_dir.or(config);
    for (option, directory) in
        [("--to-dir", &args.to_dir), ("--release-image-signature-to-dir", &signatures_to)]
    {
        if let Some(directory) = directory.as_ref().filter(|_| !args.dry_run) {
            crate::commands::refuse_other_than_directory(option, directory)?;
            crate::commands::refuse_unwritable(option, directory)?;
        }
    }
    let policy = args.judged.load()?;
    let Found { named, trust } = args.from.find(args.signed, context).await?;
    let client = wire::client_with(&context.common, Side::Source(None), args.mirrors.load()?)?;
    let target = wire::client(&context.common, Side::Target)?;
    let progress = Arc::new(Progress::default());
    let drawing = Drawing::start(&progress, context.quiet());
    let mirrored = mirror(MirrorOptions {
        from: named,
        to: to.clone(),
        to_release,
        signatures_to,
        remove_signatures: args.remove_signatures,
        dry_run: args.dry_run,
        parallel_images: context.common.parallel_images,
        parallel_blobs: context.common.parallel_blobs.unwrap_or(cli::IMPORT_BLOBS),
        trust,
        policy,
        client,
        target,
        progress,
        cancel: context.cancel.clone(),
    })
    .await;
    drop(drawing);
    let mirrored = mirrored?;

    for warning in &mirrored.warnings {
        tracing::warn!("{}", plain(warning));
    }
    let directory = args.to_dir.as_deref();
    let answer = Answer::of(&mirrored, &to, directory, args.dry_run);
    let mut text = match args.dry_run {
        true => planned(&mirrored),
        false => done(&mirrored, &to, directory),
    };
    text.push_str(&instructions::text(&mirrored.sources, args.print_mirror_instructions));
    text.push_str(&of_signatures(&mirrored, args.dry_run));
    context.output.print(&answer, &plain_lines(&text))?;
    Ok(Exit::DONE)
}

/// Where the images go.
fn destination(to: Option<&str>, to_dir: Option<&Path>) -> Result<Destination, Failure> {
    let text = to.unwrap_or("file://openshift/release");
    if let Some(name) = text.strip_prefix("file://") {
        let directory = to_dir.unwrap_or_else(|| Path::new(".")).to_owned();
        let repository = name.trim_matches('/').parse().map_err(|error| {
            Failure::usage(format!("`{text}` names no repository of a directory: {error}"))
                .with_hint(format!("write it as `--to file://{REPOSITORY} --to-dir DIR`"))
        })?;
        return Ok(Destination::Directory(directory, repository));
    }
    let hint = "write it as `--to HOST/REPOSITORY`, as `--to registry.site:5000/openshift/release`";
    if to_dir.is_some() {
        return Err(Failure::usage(
            "`--to-dir` writes into a directory, and `--to` names a registry",
        )
        .with_hint(
            "leave one of them out; in a directory the repository is `--to file://REPOSITORY`",
        ));
    }
    let image: Reference = text.parse().map_err(|error| Failure::usage(error).with_hint(hint))?;
    if image.tag.is_some() || image.digest.is_some() {
        let error = format!("`{text}` has a tag or digest: each image gets its own tag there");
        return Err(Failure::usage(error).with_hint(hint));
    }
    Ok(Destination::Registry(image.registry, image.repository))
}

/// The place of the release image alone.
fn release_image(text: &str, to_dir: Option<&Path>) -> Result<(Destination, Tag), Failure> {
    let hint = "write it as `--to-release-image HOST/REPOSITORY:TAG`";
    let wrong = |error: &dyn std::fmt::Display| Failure::usage(error).with_hint(hint);
    if let Some(name) = text.strip_prefix("file://") {
        let no_tag = || wrong(&format!("`{text}` has no tag"));
        let (name, tag) = name.rsplit_once(':').ok_or_else(no_tag)?;
        let to = destination(Some(&format!("file://{name}")), to_dir)?;
        return Ok((to, tag.parse().map_err(|error| wrong(&error))?));
    }
    let image: Reference = text.parse().map_err(|error| wrong(&error))?;
    match (image.tag, image.digest) {
        (Some(tag), None) => Ok((Destination::Registry(image.registry, image.repository), tag)),
        _ => Err(wrong(&format!("`{text}` must have a tag and no digest"))),
    }
}

impl<'a> Answer<'a> {
    fn of(
        mirrored: &'a Mirrored,
        to: &Destination,
        directory: Option<&'a Path>,
        dry_run: bool,
    ) -> Self {
        let Counts { blobs, bytes, present, manifests } = mirrored.counts;
        let pair = |one: &'a Mapping| Pair {
            component: one.component.as_deref(),
            from: &one.from,
            to: &one.to,
        };
        let source = |one: &'a SourceMirrors| Source { source: &one.source, mirrors: &one.mirrors };
        Self {
            release: &mirrored.release,
            to: to.shown(),
            directory,
            dry_run,
            update_image: mirrored.update_image.as_deref(),
            images: mirrored.mapping.len(),
            blobs_pushed: blobs,
            bytes_pushed: bytes,
            blobs_present: present,
            manifests_put: manifests,
            sources: mirrored.sources.iter().map(source).collect(),
            signature_file: mirrored.signature_file.as_deref(),
            policy: mirrored.policy.as_ref(),
            mapping: mirrored.mapping.iter().filter(|_| dry_run).map(pair).collect(),
            warnings: &mirrored.warnings,
        }
    }
}

/// Which image would get which name.
fn planned(mirrored: &Mirrored) -> String {
    let mut text = String::new();
    for Mapping { from, to, .. } in &mirrored.mapping {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{from} {to}");
    }
    text
}

fn done(mirrored: &Mirrored, to: &Destination, directory: Option<&Path>) -> String {
    let Counts { blobs, bytes, present, manifests } = mirrored.counts;
    let Release { version, architecture, .. } = &mirrored.release;
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(text, "Success");
    if let Some(image) = &mirrored.update_image {
        let _ = writeln!(text, "Update image:  {}", image.trim_start_matches("file://"));
    }
    let _ = writeln!(text, "Mirror prefix: {}", to.shown());
    let _ = writeln!(
        text,
        "release {version} ({architecture}): {} images; {blobs} blobs moved ({}), {present} there already; {manifests} manifests",
        mirrored.mapping.len(),
        size::show(bytes)
    );
    if let Destination::Directory(..) = to {
        let shown = directory.map_or_else(|| ".".to_owned(), |it| it.display().to_string());
        let shown = quoted(&shown);
        let prefix = mirrored.update_image.as_deref().unwrap_or("file://openshift/release:");
        let _ = writeln!(
            text,
            "\nTo upload local images to a registry, run:\n\n    \
             bundle release mirror --from {shown} --to REGISTRY/REPOSITORY\n\nor\n\n    \
             oc image mirror --keep-manifest-list --from-dir={shown} '{prefix}*' REGISTRY/REPOSITORY"
        );
    }
    text
}

fn of_signatures(mirrored: &Mirrored, dry_run: bool) -> String {
    match &mirrored.signature_file {
        None => String::new(),
        Some(path) if dry_run => format!("\nsignatures would be in {}\n", path.display()),
        Some(path) => {
            let shown = path.display().to_string();
            format!("\nTo apply the signatures to a cluster: oc apply -f {}\n", quoted(&shown))
        }
    }
}
