//! `bundle list updates`: what a configuration would add since the last sequence.
//!
//! It reads the configuration as `bundle create` does, and ends with its exit codes; it writes nothing, neither into the
//! workspace nor elsewhere.

mod shown;

use std::path::PathBuf;
use std::sync::Arc;

use ::registry::progress::Progress;
use bundler::release::service::ServiceOptions;
use bundler::resolve::Rules;
use bundler::{Updates, UpdatesOptions};
use serde::Serialize;

use super::Context;
use super::create;
use super::signed::Signatures;
use crate::failure::{Exit, Failure};
use crate::output::plain;
use crate::progress::Drawing;
use crate::wire::{self, Side};

/// Releases, Operator bundles, Helm charts and images that a configuration would add since the last sequence
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Update graphs and manifests are read, layers only of Operator catalogs that the workspace does not keep, and \
                        nothing is written. What left the configuration, and what releases and bundles consist of: `bundle create --dry-run`."
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
    let progress = Arc::new(Progress::default());
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
        progress: Arc::clone(&progress),
        cancel: context.cancel.clone(),
    };
    let drawing = Drawing::start(&progress, context.quiet());
    let found = bundler::updates(options).await;
    drop(drawing);
    let mut updates = found?;
    for warning in &updates.warnings {
        tracing::warn!("{}", plain(warning));
    }
    // Those were told at once.
    updates.warnings.splice(0..0, warned);
    let answer = Answer { updates: &updates, nothing: updates.is_empty() };
    context.output.print(&answer, &shown::text(&updates))?;
    Ok(Exit::without(updates.exit_bits()))
}
