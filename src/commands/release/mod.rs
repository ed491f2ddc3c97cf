//! `bundle release`: one OpenShift release by itself, without a configuration: copied elsewhere, or what is in it.

mod extract;
mod filed;
mod from;
mod instructions;
mod mirror;

use super::Context;
use crate::failure::{Exit, Failure};

/// One OpenShift release by itself: copy it to a registry, or take what is in it
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    Mirror(Box<mirror::Args>),
    Extract(Box<extract::Args>),
}

pub async fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    match args.what {
        What::Mirror(args) => mirror::run(*args, context).await,
        What::Extract(args) => extract::run(*args, context).await,
    }
}
