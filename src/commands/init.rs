//! `bundle init`: a configuration to begin with.

use serde_json::json;

use super::Context;
use crate::failure::{Exit, Failure};

/// Print a commented ImageSetConfiguration
#[derive(Debug, clap::Args)]
pub struct Args {}

pub fn run(_args: &Args, context: &Context) -> Result<Exit, Failure> {
    let template = bundler::config::template();
    context.output.print(&json!({ "template": template }), template)?;
    Ok(Exit::DONE)
}
