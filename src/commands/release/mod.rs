//! `bundle release`: one OpenShift release by itself, without a configuration: what is in it.

mod extract;
mod from;

use super::Context;
use crate::failure::{Exit, Failure};

/// One OpenShift release by itself: take what is in it
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    Extract(Box<extract::Args>),
}

pub async fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    match args.what {
        What::Extract(args) => extract::run(*args, context).await,
    }
}
