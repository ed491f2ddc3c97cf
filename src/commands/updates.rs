//! `bundle list updates`: what a configuration would add since the last sequence.
//!
//! It reads the configuration as `bundle create` does, and ends with its exit codes; it writes nothing, neither into the
//! workspace nor elsewhere.

use std::fmt::Write as _;
use std::path::PathBuf;

use bundler::release::explain::Explanation;
use bundler::release::service::ServiceOptions;
use bundler::resolve::Rules;
use bundler::{NewRelease, Updates, UpdatesOptions};
use serde::Serialize;

use super::Context;
use super::create::{self, answer};
use super::signed::Signatures;
use crate::failure::{Exit, Failure};
use crate::output::plain;
use crate::size;
use crate::wire::{self, Side};

/// Releases and images that a configuration would add since the last sequence
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Update graphs and manifests are read, layers are not, and nothing is written. What left the configuration, \
                        and what releases consist of: `bundle create --dry-run`."
)]
pub struct Args {
    /// What would be carried: an ImageSetConfiguration
    #[arg(long, short, value_name = "FILE")]
    config: PathBuf,
    /// Without signatures, attestations and other referrers, as `create` with this option
    #[arg(long)]
    remove_signatures: bool,
    /// With layers that their publisher keeps to other places, as `create` with this option
    #[arg(long)]
    foreign_layers: bool,
    /// The most components of a repository's path at the target; 0 is no limit
    #[arg(long, value_name = "N", default_value = "0")]
    max_nested_paths: usize,
    /// Also over updates that carry these risks, separated by commas; without names, over all
    #[arg(long, value_name = "NAME", num_args = 0..=1, default_missing_value = "", value_delimiter = ',')]
    accept_risks: Option<Vec<String>>,
    #[command(flatten)]
    signatures: Signatures,
}

/// The answer in JSON.
#[derive(Debug, Serialize)]
struct Answer<'a> {
    #[serde(flatten)]
    updates: &'a Updates,
    /// Whether there is nothing to add.
    nothing: bool,
}

pub async fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    let (config, warned) = create::read_config(&args.config)?;
    let workspace = create::workspace(&context.common, &config);
    super::refuse_other_than_directory("--workspace", &workspace)?;
    let service = ServiceOptions::from_environment(None).map_err(|error| Failure::from(&error))?;
    let history = config.storage.registry.as_ref().filter(|history| history.skip_tls);
    let skip_tls = history.map(|history| &history.image.registry);
    let client = wire::client(&context.common, Side::Source(skip_tls))?;
    let options = UpdatesOptions {
        config,
        workspace,
        service,
        risks: create::risks(args.accept_risks),
        trust: args.signatures.trust(false)?,
        rules: Rules {
            remove_signatures: args.remove_signatures,
            foreign_layers: args.foreign_layers,
            parallel: context.common.parallel_images,
        },
        max_nested_paths: args.max_nested_paths,
        client,
        cancel: context.cancel.clone(),
    };
    let mut updates = bundler::updates(options).await?;
    for warning in &updates.warnings {
        tracing::warn!("{}", plain(warning));
    }
    // Those were told at once.
    updates.warnings.splice(0..0, warned);
    let answer = Answer { updates: &updates, nothing: updates.is_empty() };
    context.output.print(&answer, &text(&updates))?;
    Ok(Exit::without(updates.exit_bits()))
}

fn text(updates: &Updates) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = match updates.last_sequence {
        None => writeln!(text, "there is no sequence yet: all of it would be new"),
        Some(last) if updates.is_empty() => writeln!(text, "nothing new since sequence {last}"),
        Some(last) => writeln!(text, "new since sequence {last}"),
    };
    let _ = releases(&mut text, updates);
    let _ = images(&mut text, updates);
    let _ = answer::left_out(&mut text, &updates.blocked, &updates.failures, &updates.hints);
    if !updates.is_empty() {
        let _ = writeln!(text, "next: `bundle create` with the same configuration carries it");
    }
    text
}

/// By channel: each release under the first of its channels, those that were named by their image at the end.
fn releases(text: &mut String, updates: &Updates) -> std::fmt::Result {
    let of = |release: &NewRelease, channel: &Explanation| {
        release.architecture.as_ref() == Some(&channel.architecture)
            && release.channels.contains(&channel.channel)
    };
    for channel in &updates.channels {
        let own = |release: &&NewRelease| of(release, channel);
        let count = updates.releases.iter().filter(own).count();
        let (name, architecture) = (plain(&channel.channel), plain(&channel.architecture));
        writeln!(text, "{name} ({architecture}): {}", size::count(count as u64, "new release"))?;
        for release in updates.releases.iter().filter(own) {
            let version = release.version.as_deref().unwrap_or_default();
            writeln!(text, "  {:<24}{}", plain(version), plain(&release.why.join("; ")))?;
        }
    }
    let listed =
        |release: &&NewRelease| updates.channels.iter().any(|channel| of(release, channel));
    for release in updates.releases.iter().filter(|release| !listed(release)) {
        let name = release.version.as_deref().unwrap_or(&release.payload);
        writeln!(text, "release {}  {}", plain(name), plain(&release.why.join("; ")))?;
    }
    if updates.releases_known > 0 {
        let known = size::count(updates.releases_known as u64, "release");
        writeln!(text, "  {known} carried by earlier sequences")?;
    }
    for more in &updates.more {
        let of = more.release.as_ref().map(|tag| format!(" of {tag}")).unwrap_or_default();
        writeln!(text, "  not carried yet{of}: {}", plain(&more.what))?;
    }
    Ok(())
}

fn images(text: &mut String, updates: &Updates) -> std::fmt::Result {
    let Updates { images, images_known, image_bytes, .. } = updates;
    if images.is_empty() && *images_known == 0 {
        return Ok(());
    }
    let names = size::count(images.len() as u64, "name");
    writeln!(
        text,
        "additional images: {names} new or changed, {images_known} known, {} to carry",
        size::show(*image_bytes)
    )?;
    for image in images {
        let (name, source) = (plain(&image.name), plain(&image.source));
        match image.previous {
            None => writeln!(text, "  new      {name}  from {source}")?,
            Some(before) if before == image.digest => {
                writeln!(text, "  more of  {name}  from {source}")?;
            }
            Some(before) => {
                writeln!(text, "  changed  {name}  from {source}: {before} -> {}", image.digest)?;
            }
        }
    }
    Ok(())
}
