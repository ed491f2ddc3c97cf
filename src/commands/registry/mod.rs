//! `bundle registry`: the mirror registry of the disconnected side, one file a subcommand.
//!
//! All of them find everything in one data directory: the settings (`registry.toml`), the certificates, the
//! users and what is stored. `docs/decisions/0010` shows it.

mod adopt;
mod fsck;
mod gc;
mod install;
mod rotate_cert;
mod serve;
mod status;
mod uninstall;
mod upgrade;
mod user;

use std::path::PathBuf;

use clap::Subcommand;

use super::Context;
use crate::cli;
use crate::failure::{Exit, Failure};

/// Install a mirror registry, serve it, look after it
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Adopt(adopt::Args),
    Fsck(fsck::Args),
    Install(Box<install::Args>),
    Upgrade(upgrade::Args),
    Uninstall(uninstall::Args),
    Status(status::Args),
    Serve(serve::Args),
    RotateCert(rotate_cert::Args),
    User(user::Args),
    Gc(gc::Args),
}

impl Args {
    /// Whether the command is a server, whose log a person reads.
    pub fn serves(&self) -> bool {
        matches!(self.action, Action::Serve(_))
    }
}

/// Where everything of a registry is.
#[derive(Debug, clap::Args)]
struct Data {
    /// The registry's directory: settings, certificates, users, images
    #[arg(long = "data-dir", alias = "data", value_name = "DIR", value_parser = cli::directory)]
    data: PathBuf,
}

pub async fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    match args.action {
        Action::Adopt(args) => adopt::run(args, context).await,
        Action::Fsck(args) => fsck::run(args, context).await,
        Action::Install(args) => install::run(*args, context).await,
        Action::Upgrade(args) => upgrade::run(&args, context).await,
        Action::Uninstall(args) => uninstall::run(&args, context).await,
        Action::Status(args) => status::run(&args, context).await,
        Action::Serve(args) => serve::run(args, context).await,
        Action::User(args) => user::run(args, context),
        Action::RotateCert(args) => rotate_cert::run(&args, context),
        Action::Gc(args) => gc::run(args, context).await,
    }
}
