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
mod trust;
mod uninstall;
mod upgrade;
mod user;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Subcommand;
use registry::objects::Objects;
use registry::server::{ServerError, Settings};

use super::Context;
use crate::cli;
use crate::failure::{Exit, Failure};
use crate::host::place::Machine;
use crate::output::plain;
use crate::typed::quoted;

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
    Trust(trust::Args),
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
#[derive(Debug, Clone, clap::Args)]
struct Data {
    /// The registry's directory: settings, certificates, users, images [default: where it was installed]
    #[arg(long = "data-dir", alias = "data", value_name = "DIR", value_parser = cli::directory)]
    data: Option<PathBuf>,
}

impl Data {
    /// The directory: the one that was named, else that of the registry which is installed here.
    fn path(&self) -> Result<PathBuf, Failure> {
        if let Some(data) = &self.data {
            return Ok(data.clone());
        }
        let place = Machine::here().find(None)?;
        place.must_be_installed()?;
        Ok(place.data)
    }

    /// The same, where a directory that is not there would be a slip: one answer for all of these commands.
    fn existing(&self) -> Result<PathBuf, Failure> {
        let data = self.path()?;
        must_exist(&data)?;
        Ok(data)
    }
}

/// Refuses a data directory that is not there, or is none.
pub fn must_exist(data: &Path) -> Result<(), Failure> {
    super::refuse_other_than_directory("--data-dir", data)?;
    let refused = |words: &str| {
        let (shown, word) =
            (plain(&data.display().to_string()), quoted(&data.display().to_string()));
        Err(Failure::usage(format!("`{shown}` {words}")).with_hint(format!(
            "name the directory of a registry: `--data-dir DIR`; or make one there: `bundle registry install --data-dir {word}`"
        )))
    };
    match fs_err::metadata(data) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            refused("does not exist, so there is no registry in it")
        }
        Err(error) => {
            Err(Failure::io(crate::failure::Kind::Usage, "cannot look at the registry", &error)
                .with_hint(
                    "run the same command as root, or as the user that the registry runs as",
                ))
        }
    }
}

/// The bucket of a registry that keeps its images in object storage, opened beside the replicas that serve it.
async fn bucket(data: &Path, read_only: bool) -> Result<Option<Arc<Objects>>, Failure> {
    let Some(settings) = Settings::load(data)?.and_then(|settings| settings.objects) else {
        return Ok(None);
    };
    let opened = Objects::open_beside(&settings, data, read_only).await;
    Ok(Some(Arc::new(opened.map_err(ServerError::Store)?)))
}

/// Refuses a command that works on files only.
fn refuse_object_storage(command: &str, data: &Path) -> Result<(), Failure> {
    if Settings::load(data)?.is_none_or(|settings| settings.objects.is_none()) {
        return Ok(());
    }
    let shown = plain(&data.display().to_string());
    Err(Failure::usage(format!(
        "`bundle registry {command}` works on files, and the registry of `{shown}` keeps its images in object storage"
    ))
    .with_hint("serve that directory with its own registry, and copy with `skopeo sync` from it to this one"))
}

pub async fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    match args.action {
        Action::Adopt(args) => adopt::run(args, context).await,
        Action::Fsck(args) => fsck::run(args, context).await,
        Action::Install(args) => install::run(*args, context).await,
        Action::Upgrade(args) => upgrade::run(&args, context).await,
        Action::Uninstall(args) => uninstall::run(&args, context).await,
        Action::Status(args) => status::run(&args, context).await,
        Action::Trust(args) => trust::run(&args, context),
        Action::Serve(args) => serve::run(args, context).await,
        Action::User(args) => user::run(args, context).await,
        Action::RotateCert(args) => rotate_cert::run(&args, context).await,
        Action::Gc(args) => gc::run(args, context).await,
    }
}
