//! `bundle completion`: a script that completes commands and flags in a shell.

use clap_complete::Shell;
use serde_json::json;

use super::Context;
use crate::cli;
use crate::failure::{Exit, Failure};

/// Print a completion script, for example `source <(bundle completion bash)`
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The shell
    shell: Shell,
}

pub fn run(args: &Args, context: &Context) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut cli::definition(), "bundle", &mut script);
    let script = String::from_utf8_lossy(&script);
    context.output.print(&json!({ "shell": args.shell.to_string(), "script": script }), &script)?;
    Ok(Exit::DONE)
}
