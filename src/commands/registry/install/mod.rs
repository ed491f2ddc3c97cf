//! `bundle registry install`: from this binary to a registry that stays.
//!
//! In: what was typed, and this machine. Out: data, certificates, a first user, a service that runs; and on stdout everything that
//! other machines must be told. What must hold: it is all there at the end, or nothing of it; a password is shown once
//! and only if it was made here.
//!
//! 1. `plan` looks at everything and changes nothing;
//! 2. `make` does what was planned, each step noted to be taken back;
//! 3. `report` says how to use it. `elsewhere` does the same over ssh.

mod elsewhere;
mod make;
mod plan;
mod report;

use std::path::PathBuf;

use registry::reference::RegistryHost;
use registry::size::Size;

use super::super::Context;
use crate::cli;
use crate::failure::{Exit, Failure};
use crate::host::place::Machine;
use crate::host::undo::Undo;
use plan::Plan;

/// Make a registry on this machine that stays: certificates, first user, service
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The registry's directory: settings, certificates, users, images [default: /var/lib/bundle-registry, or
    /// ~/.local/share/bundle-registry for one user]
    #[arg(long = "data-dir", short = 'r', aliases = ["data", "quayRoot", "quay-root"], value_name = "DIR",
          value_parser = cli::directory)]
    data: Option<PathBuf>,

    /// Name or address that clients use, with the port if it is another one [default: this machine's name, 8443]
    #[arg(long, aliases = ["quayHostname", "quay-hostname"], value_name = "NAME[:PORT]")]
    hostname: Option<RegistryHost>,

    /// Port [default: 8443]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,

    /// A further name or address that clients use; repeatable
    #[arg(long = "name", value_name = "NAME")]
    names: Vec<String>,

    /// The first user, who may do everything [default: init]
    #[arg(long, alias = "initUser", value_name = "NAME")]
    init_user: Option<String>,

    /// Read the first user's password from standard input; without it one is made and shown once
    #[arg(long, conflicts_with = "init_password_file")]
    init_password_stdin: bool,

    /// Read the first user's password from a file
    #[arg(long, value_name = "FILE")]
    init_password_file: Option<PathBuf>,

    /// A certificate of the site's own, in PEM, with those that vouch for it
    #[arg(long, alias = "sslCert", value_name = "FILE", requires = "ssl_key")]
    ssl_cert: Option<PathBuf>,

    /// Its key, in PEM
    #[arg(long, alias = "sslKey", value_name = "FILE", requires = "ssl_cert")]
    ssl_key: Option<PathBuf>,

    /// Take the certificate although it is not good for the registry's name
    #[arg(long, alias = "sslCheckSkip", requires = "ssl_cert")]
    ssl_check_skip: bool,

    /// Install for this user, also as root
    #[arg(long, conflicts_with = "system")]
    user: bool,

    /// Install for the machine, which takes root
    #[arg(long)]
    system: bool,

    /// With --user: keep the registry running after this user's last logout (`loginctl enable-linger`)
    #[arg(long, conflicts_with = "system")]
    linger: bool,

    /// Let everybody pull without a login
    #[arg(long)]
    anonymous_pull: bool,

    /// The most that images and unfinished uploads may take, as 500GiB; none: the disk
    #[arg(long, value_name = "SIZE")]
    quota: Option<Size>,

    /// Accepted for scripts: installing asks no question
    #[arg(long, alias = "autoApprove")]
    auto_approve: bool,

    /// Install on another machine, over this machine's ssh
    #[arg(long, short = 'H', alias = "targetHostname", value_name = "[USER@]HOST")]
    target_host: Option<String>,

    /// The user there
    #[arg(
        long,
        short = 'u',
        alias = "targetUsername",
        value_name = "USER",
        requires = "target_host"
    )]
    target_user: Option<String>,

    /// The private key for ssh
    #[arg(long, short = 'k', value_name = "FILE", requires = "target_host")]
    ssh_key: Option<PathBuf>,
}

pub async fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    if args.target_host.is_some() {
        return elsewhere::run(&args, context);
    }
    let plan = Plan::of(&args, &Machine::here())?;
    let mut undo = Undo::default();
    // A failure drops `undo`, and with it what was made.
    let token = make::make(&plan, &mut undo, context).await?;
    undo.keep();
    report::print(&plan, token.as_deref(), context)?;
    Ok(Exit::DONE)
}
