//! `bundle man`: the manual, made of the same descriptions as the help.

use std::path::PathBuf;

use serde_json::json;

use super::Context;
use crate::cli;
use crate::failure::{Exit, Failure, Kind};

/// Print the manual page, or write the pages of all commands
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Write `bundle.1`, `bundle-create.1` … into this directory
    #[arg(long, value_name = "DIR", value_parser = cli::directory)]
    dir: Option<PathBuf>,
}

pub fn run(args: &Args, context: &Context) -> Result<Exit, Failure> {
    let fault = |error| Failure::io(Kind::Failed, "cannot write the manual", &error);
    let Some(directory) = &args.dir else {
        let mut page = Vec::new();
        clap_mangen::Man::new(cli::manual()).render(&mut page).map_err(fault)?;
        let page = String::from_utf8_lossy(&page);
        context.output.print(&json!({ "page": page }), &page)?;
        return Ok(Exit::DONE);
    };
    super::refuse_other_than_directory("--dir", directory)?;
    fs_err::create_dir_all(directory).map_err(fault)?;
    let mut written = Vec::new();
    let mut command = cli::manual().disable_help_subcommand(true);
    // Gives every command its full name and the common options.
    command.build();
    let mut waiting = vec![command];
    while let Some(command) = waiting.pop() {
        waiting.extend(command.get_subcommands().filter(|c| !c.is_hide_set()).cloned());
        let manual = clap_mangen::Man::new(command);
        let mut page = Vec::new();
        manual.render(&mut page).map_err(fault)?;
        let path = directory.join(manual.get_filename());
        fs_err::write(&path, page).map_err(fault)?;
        written.push(path.display().to_string());
    }
    written.sort();
    context.output.print(&json!({ "pages": written }), &written.join("\n"))?;
    Ok(Exit::DONE)
}
