//! The subcommands, one file each.
//!
//! Every file has an `Args` with what can be typed and a `run` that reads from top to bottom: gather,
//! ask a crate to do the work, say what happened.

#[cfg(feature = "create")]
mod charts;
mod completion;
#[cfg(feature = "create")]
mod create;
#[cfg(all(feature = "create", feature = "import"))]
mod delete;
#[cfg(feature = "import")]
mod describe;
#[cfg(feature = "import")]
mod diff;
#[cfg(feature = "import")]
mod import;
#[cfg(feature = "create")]
mod init;
mod keys;
#[cfg(feature = "create")]
mod list;
mod man;
#[cfg(all(feature = "create", feature = "import"))]
mod mirror;
#[cfg(feature = "create")]
mod operators;
#[cfg(feature = "create")]
mod policy;
#[cfg(feature = "import")]
mod prune;
#[cfg(feature = "serve")]
mod registry;
#[cfg(all(feature = "create", feature = "import"))]
mod release;
#[cfg(feature = "import")]
mod resources;
#[cfg(feature = "import")]
mod rollback;
#[cfg(feature = "create")]
mod signed;
#[cfg(feature = "create")]
mod updates;
#[cfg(feature = "import")]
mod verify;
mod version;

use std::path::Path;

use clap::Subcommand;
use tokio_util::sync::CancellationToken;

use crate::cli::Common;
use crate::failure::{Exit, Failure, Kind};
use crate::logging::LogLevel;
use crate::output::Output;

/// What every command gets.
#[derive(Debug)]
pub struct Context {
    /// The common options.
    pub common: Common,
    /// Where the answer goes.
    pub output: Output,
    /// Cancelled by Ctrl-C and SIGTERM.
    pub cancel: CancellationToken,
}

impl Context {
    pub fn new(common: Common, output: Output, cancel: CancellationToken) -> Self {
        Self { common, output, cancel }
    }

    /// Whether a person wants to see nothing but errors.
    pub fn quiet(&self) -> bool {
        matches!(self.common.log_level, LogLevel::Off | LogLevel::Error)
    }
}

/// The keys that may sign what lies in these directories. A directory that is wrong is told before keys that are missing.
#[cfg(feature = "import")]
async fn trusted(
    context: &Context,
    from: &[std::path::PathBuf],
    trust: &[std::path::PathBuf],
) -> Result<Vec<format_spec::keys::PublicKey>, Failure> {
    let trusted = crate::keyring::Keyring::open(&context.common.workspace)?.required(trust);
    if trusted.is_err() {
        let from = from.to_vec();
        let looked = tokio::task::spawn_blocking(move || importer::hold_sequences(&from));
        looked.await.map_err(|error| Failure::new(Kind::Failed, error))??;
    }
    trusted
}

/// Refuses a directory that cannot be made because something else has its name, or that of one of its
/// parents: what would fail there later would not say which option to change.
fn refuse_other_than_directory(option: &str, path: &Path) -> Result<(), Failure> {
    match path.ancestors().find(|path| path.exists()) {
        Some(found) if !found.is_dir() => {
            let shown = found.display().to_string();
            let error = format!("`{}` is not a directory", crate::output::plain(&shown));
            Err(Failure::new(Kind::NoSpace, error)
                .with_hint(format!("name a directory, or one that can be made: `{option} DIR`")))
        }
        _ => Ok(()),
    }
}

/// Refuses a directory in which this user cannot make files. Also before a run that turns out to have nothing to
/// write: a wrong name must not stay unnoticed until the day that has something new.
#[cfg(feature = "create")]
fn refuse_unwritable(option: &str, path: &Path) -> Result<(), Failure> {
    use rustix::fs::{Access, access};
    // Of a relative path the last ancestor is empty: here.
    let named = path.ancestors().find(|path| path.exists()).filter(|p| !p.as_os_str().is_empty());
    let found = named.unwrap_or(Path::new("."));
    access(found, Access::WRITE_OK | Access::EXEC_OK).map_err(|errno| {
        let error = std::io::Error::from(errno);
        let shown = crate::output::plain(&found.display().to_string());
        let mend = if error.kind() == std::io::ErrorKind::ReadOnlyFilesystem {
            "its file system is mounted read-only: mount it for writing"
        } else {
            "give the user who runs this the right to write there"
        };
        Failure::new(Kind::NoSpace, format!("cannot write into `{shown}`: {error}"))
            .with_hint(format!("{mend}, or name another directory: `{option} DIR`"))
    })
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    #[cfg(feature = "create")]
    Init(init::Args),
    Keys(keys::Args),
    #[cfg(feature = "create")]
    Create(Box<create::Args>),
    #[cfg(all(feature = "create", feature = "import"))]
    Mirror(Box<mirror::Args>),
    #[cfg(feature = "create")]
    List(list::Args),
    #[cfg(feature = "import")]
    Import(import::Args),
    #[cfg(feature = "import")]
    Prune(prune::Args),
    #[cfg(all(feature = "create", feature = "import"))]
    Delete(delete::Args),
    #[cfg(feature = "import")]
    Rollback(rollback::Args),
    #[cfg(feature = "import")]
    Verify(verify::Args),
    #[cfg(feature = "import")]
    Describe(describe::Args),
    #[cfg(feature = "import")]
    Diff(diff::Args),
    #[cfg(feature = "import")]
    Resources(resources::Args),
    #[cfg(all(feature = "create", feature = "import"))]
    Release(release::Args),
    #[cfg(feature = "serve")]
    Registry(registry::Args),
    Completion(completion::Args),
    Man(man::Args),
    Version(version::Args),
}

impl Command {
    /// Whether the command is a server, whose log a person reads.
    pub fn serves(&self) -> bool {
        #[cfg(feature = "serve")]
        if let Self::Registry(args) = self {
            return args.serves();
        }
        false
    }

    /// Runs the command.
    pub async fn run(self, context: Context) -> Result<Exit, Failure> {
        match self {
            #[cfg(feature = "create")]
            Self::Init(args) => init::run(&args, &context),
            Self::Keys(args) => keys::run(args, &context),
            #[cfg(feature = "create")]
            Self::Create(args) => create::run(*args, &context).await,
            #[cfg(all(feature = "create", feature = "import"))]
            Self::Mirror(args) => mirror::run(*args, &context).await,
            #[cfg(feature = "create")]
            Self::List(args) => list::run(args, &context).await,
            #[cfg(feature = "import")]
            Self::Import(args) => import::run(args, &context).await,
            #[cfg(feature = "import")]
            Self::Prune(args) => prune::run(args, &context).await,
            #[cfg(all(feature = "create", feature = "import"))]
            Self::Delete(args) => delete::run(args, &context).await,
            #[cfg(feature = "import")]
            Self::Rollback(args) => rollback::run(args, &context).await,
            #[cfg(feature = "import")]
            Self::Verify(args) => verify::run(args, &context).await,
            #[cfg(feature = "import")]
            Self::Describe(args) => describe::run(args, &context).await,
            #[cfg(feature = "import")]
            Self::Diff(args) => diff::run(args, &context).await,
            #[cfg(feature = "import")]
            Self::Resources(args) => resources::run(args, &context).await,
            #[cfg(all(feature = "create", feature = "import"))]
            Self::Release(args) => release::run(args, &context).await,
            #[cfg(feature = "serve")]
            Self::Registry(args) => registry::run(args, &context).await,
            Self::Completion(args) => completion::run(&args, &context),
            Self::Man(args) => man::run(&args, &context),
            Self::Version(args) => version::run(&args, &context),
        }
    }
}
