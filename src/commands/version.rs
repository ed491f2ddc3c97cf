//! `bundle version`: what this program is and what it can read.

use serde::Serialize;

use super::Context;
use crate::failure::{Exit, Failure};

/// Print the version of the program and of the format
#[derive(Debug, clap::Args)]
pub struct Args {}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    version: &'static str,
    /// The version of the sequences that are written and read.
    format_version: u32,
    /// The sides that were built in.
    features: Vec<&'static str>,
}

pub fn run(_args: &Args, context: &Context) -> Result<Exit, Failure> {
    let built_in = [
        ("create", cfg!(feature = "create")),
        ("import", cfg!(feature = "import")),
        ("serve", cfg!(feature = "serve")),
    ];
    let features = built_in.into_iter().filter_map(|(name, is)| is.then_some(name)).collect();
    let version = Version {
        version: env!("CARGO_PKG_VERSION"),
        format_version: format_spec::head::FORMAT_VERSION,
        features,
    };
    let text = format!(
        "bundle {}\nformat version {}\nfeatures: {}",
        version.version,
        version.format_version,
        version.features.join(", ")
    );
    context.output.print(&version, &text)?;
    Ok(Exit::DONE)
}
