//! What was typed.
//!
//! In: arguments and the environment. Out: a [`Cli`] whose every value is checked, or a [`Stop`]: help
//! and version (0), or a usage error (64). No flag takes a secret: a command line is readable by every
//! process of the machine.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser};
use registry::reference::{RegistryHost, Target};

use crate::commands::Command;
use crate::failure::Failure;
use crate::logging::LogLevel;
use crate::old_flags;
use crate::output::{Format, Output, plain};
use crate::typed::quoted;

const HEADING: &str = "Common options";

/// Blobs that create fetches at the same time when nothing is said. Streams that arrive together are hashed
/// together, so more of them cost less; beyond this memory grows and nothing else. Here and not with the command:
/// the help of a build without it names the number too.
pub const CREATE_BLOBS: usize = 8;

/// Blobs that import sends at the same time when nothing is said.
pub const IMPORT_BLOBS: usize = 6;

/// The workspace when nothing is said.
pub const WORKSPACE: &str = "bundle-workspace";

const EXIT_CODES: &str = "\
Exit codes:
  0            done; also: nothing new, the last sequence imported again
  1            failed, any other cause
  2, 4, 8, 16  bits: some release, operator, additional, helm content could not be had
  64           usage or configuration error
  65           damaged: a digest, cell or length does not match
  66           incomplete: a part or the head is missing
  67           not trusted: no signature, unknown key, bad signature
  68, 69, 70   gap; stale (an older sequence) or expired; fork or foreign stream
  73           cannot write here: disk full, read-only, permission
  75           registry or network gave up after retries: run again
  77           the registry refused the credentials";

/// The end of the short help: the common options would bury the command's own.
const COMMON: &str =
    "`--help` also shows the common options: workspace, credentials, certificates, output, retries";

/// Names of commands that a build without all features may not have.
const FEATURED: &[&str] = &[
    "init",
    "create",
    "mirror",
    "list",
    "import",
    "prune",
    "delete",
    "rollback",
    "verify",
    "describe",
    "diff",
    "resources",
    "release",
    "registry",
];

/// Carry container images across an air gap on media that somebody carries.
#[derive(Debug, Parser)]
#[command(name = "bundle", version, after_help = format!("{EXIT_CODES}\n\n{COMMON}"), after_long_help = EXIT_CODES,
          max_term_width = 100)]
pub struct Cli {
    #[command(flatten)]
    pub common: Common,
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Debug, Clone, Args)]
pub struct Common {
    /// Directory of this side's state; `storageConfig.local.path` of a configuration wins
    #[arg(long, global = true, value_name = "DIR", default_value = WORKSPACE,
          value_parser = directory, help_heading = HEADING)]
    pub workspace: PathBuf,

    /// Credentials file, as `podman login` writes it
    #[arg(long, global = true, value_name = "FILE", env = "REGISTRY_AUTH_FILE",
          help_heading = HEADING)]
    pub authfile: Option<PathBuf>,

    /// Certificate authority in PEM, besides those of the system; repeatable
    #[arg(long, global = true, value_name = "FILE", help_heading = HEADING)]
    pub ca_file: Vec<PathBuf>,

    /// Speak plain HTTP to this registry, without a port: on all ports of it; or to the store that a registry redirects
    /// to, which is named with its port; repeatable
    #[arg(long, global = true, value_name = "HOST[:PORT]", help_heading = HEADING)]
    pub plain_http: Vec<RegistryHost>,

    /// Do not check the certificate of this registry; without a port: of all ports of it; repeatable
    #[arg(long, global = true, value_name = "HOST[:PORT]", help_heading = HEADING)]
    pub insecure_tls: Vec<RegistryHost>,

    /// Mirrors and blocked registries of pulls [default: that of podman]
    #[arg(long, global = true, value_name = "FILE", help_heading = HEADING)]
    pub registries_conf: Option<PathBuf>,

    /// Form of the answer on stdout
    #[arg(long, global = true, value_enum, default_value = "text", help_heading = HEADING)]
    pub output: Format,

    /// What is logged on stderr
    #[arg(long, global = true, value_enum, default_value = "info", env = "BUNDLE_LOG",
          value_name = "LEVEL", help_heading = HEADING)]
    pub log_level: LogLevel,

    /// Images looked up at the same time
    #[arg(long, global = true, value_name = "N", default_value = "8", value_parser = parallel,
          help_heading = HEADING)]
    pub parallel_images: usize,

    // The help is made of the numbers that hold.
    #[arg(long, global = true, value_name = "N", alias = "parallel-layers", value_parser = parallel,
          help = format!("Blobs moved at the same time [default: {CREATE_BLOBS} to create, {IMPORT_BLOBS} to import]"),
          help_heading = HEADING)]
    pub parallel_blobs: Option<usize>,

    /// Tries after a failed request; at most 2 while a host was never reached, as its name may be wrong
    #[arg(long, global = true, value_name = "N", default_value = "5",
          value_parser = clap::value_parser!(u32).range(0..=100), help_heading = HEADING)]
    pub retry_times: u32,

    /// Wait between tries, as `2s` or `500ms`; 0 doubles from 0.2 s with jitter
    #[arg(long, global = true, value_name = "TIME", default_value = "0", value_parser = time,
          help_heading = HEADING)]
    pub retry_delay: Duration,

    /// Give a request up when less than 4 KiB moved in so long; the answer to more than 64 MiB has 5 minutes
    #[arg(long, global = true, value_name = "TIME", default_value = "30s", value_parser = patience,
          help_heading = HEADING)]
    pub stall_timeout: Duration,
}

/// Something to say instead of running a command.
#[derive(Debug)]
pub enum Stop {
    /// Help or version, on stdout.
    Answer(clap::Error),
    /// The command line is wrong.
    Wrong { failure: Failure, output: Output },
}

impl Stop {
    /// Says it and gives the exit code.
    pub fn report(&self) -> ExitCode {
        match self {
            // A reader that went away is no failure.
            Self::Answer(text) => text.print().map_or(ExitCode::SUCCESS, |()| ExitCode::SUCCESS),
            Self::Wrong { failure, output } => failure.report(*output),
        }
    }
}

/// The command line with its help.
pub fn definition() -> clap::Command {
    fn point(command: clap::Command) -> clap::Command {
        // The long help shows what the line points to.
        command.after_help(COMMON).after_long_help("").mut_args(set).mut_subcommands(point)
    }
    let common = |option: &clap::Arg| option.get_help_heading() == Some(HEADING);
    let short = |option: clap::Arg| option.clone().hide_short_help(common(&option));
    Cli::command().mut_args(short).mut_args(set).mut_subcommands(point)
}

/// A variable that is empty is one that is not set, as in the shell and in other tools.
fn set(option: clap::Arg) -> clap::Arg {
    let empty = |name| std::env::var_os(name).is_some_and(|value| value.is_empty());
    if option.get_env().is_some_and(empty) {
        return option.env(clap::builder::Resettable::Reset);
    }
    option
}

/// The command line as the manual has it: whole, without a word about a help that is longer. What a short help leaves
/// out would have no text on a page, as clap has none to show but the short one.
pub fn manual() -> clap::Command {
    Cli::command()
}

/// Reads arguments; the first is the program's name.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Cli, Stop> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let matches = definition().try_get_matches_from(&arguments);
    matches.and_then(|matches| Cli::from_arg_matches(&matches)).map_err(|error| {
        match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Stop::Answer(error),
            _ => Stop::Wrong { failure: explain(&error, &arguments), output: wanted(&arguments) },
        }
    })
}

/// The form of the answer, read from a command line that cannot be parsed.
fn wanted(arguments: &[OsString]) -> Output {
    let pair = |pair: &[OsString]| pair[0] == "--output" && pair[1] == "json";
    let json = arguments.iter().any(|a| a == "--output=json") || arguments.windows(2).any(pair);
    Output::new(if json { Format::Json } else { Format::Text })
}

fn explain(error: &clap::Error, arguments: &[OsString]) -> Failure {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    if error.kind() == ErrorKind::InvalidSubcommand
        && let Some(name) = context(ContextKind::InvalidSubcommand)
    {
        if let Some(failure) = known(name, arguments) {
            return failure;
        }
        let group = arguments.iter().skip(1).take_while(|argument| **argument != name).last();
        if let Some(advice) = old_flags::command(group.and_then(|group| group.to_str()), name) {
            return Failure::usage(format!("there is no command `{}`", plain(name)))
                .with_hint(advice);
        }
    }
    // clap's own text: `error: …`, and after a blank line tips, usage and a pointer to the help.
    let text = error.render().to_string();
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return Failure::usage(format!("a command is missing\n\n{}", text.trim_end()))
            .with_hint("write one of these commands; `--help` after it explains its options");
    }
    let text = text.trim_start_matches("error: ").trim_end();
    let argument = context(ContextKind::InvalidArg);
    // The general text (`a similar argument exists`) would lead astray.
    let first = || Failure::usage(text.lines().next().unwrap_or(text));
    let bare = match error.kind() {
        ErrorKind::UnknownArgument => argument,
        // The target of an import stands alone too.
        ErrorKind::ValueValidation if matches!(argument, Some("[TARGET]" | "<TARGET>")) => {
            context(ContextKind::InvalidValue)
        }
        _ => None,
    };
    let aimed =
        argument.is_some_and(|name| name.starts_with("--as ") || name.starts_with("--against "));
    let target = context(ContextKind::InvalidValue).filter(|word| {
        error.kind() == ErrorKind::ValueValidation && aimed && is_like_a_target(word)
    });
    let below = |group: &str| arguments.iter().any(|argument| argument == group);
    let advice = match () {
        () if below("registry") => old_flags::registry::advice,
        () if below("release") => old_flags::release::advice,
        () => old_flags::advice,
    };
    if let Some(word) = target {
        first().with_hint(format!("write the target as `docker://{}`", quoted(word)))
    } else if let Some(advice) = argument.and_then(advice) {
        first().with_hint(advice)
    } else if let Some(hint) = bare.and_then(|word| without_option(word, arguments)) {
        first().with_hint(hint)
    } else {
        Failure::usage(text)
    }
}

/// What to write instead of a directory that stands alone.
fn without_option(word: &str, arguments: &[OsString]) -> Option<String> {
    if word.starts_with('-') || word.contains("://") {
        return None;
    }
    let is_one_of =
        |verbs: &[&str]| arguments.iter().any(|one| verbs.iter().any(|verb| one == *verb));
    // The latter take nothing else that stands alone.
    let is_target = (is_one_of(&["import", "resources"]) && is_like_a_target(word))
        || (is_one_of(&["mirror", "prune", "delete", "rollback"]) && is_of_a_target(word));
    if is_target {
        return Some(format!("write the target as `docker://{}`", quoted(word)));
    }
    let verb = arguments.iter().find_map(|argument| match argument.to_str()? {
        "create" => Some("--to"),
        "import" | "verify" | "describe" | "resources" => Some("--from"),
        _ => None,
    });
    Some(format!("if that is a directory, its option comes first: `{} {}`", verb?, quoted(word)))
}

/// Whether a word that stands alone is rather `HOST[:PORT][/NAMESPACE]` than a directory.
fn is_like_a_target(word: &str) -> bool {
    let host = word.split('/').next().unwrap_or_default();
    let named = host.contains(':') || (host != word && (host.contains('.') || host == "localhost"));
    named && is_of_a_target(word) && !Path::new(word).is_dir()
}

fn is_of_a_target(word: &str) -> bool {
    format!("docker://{word}").parse::<Target>().is_ok()
}

/// The refusal of a command that exists, but not in this build.
fn known(name: &str, arguments: &[OsString]) -> Option<Failure> {
    // Everything that there is of a group is where the group is.
    let below = |group: &&str| arguments.iter().take_while(|a| *a != name).any(|a| a == group);
    let grouped = ["registry", "list", "release"].iter().any(below);
    (!grouped && FEATURED.contains(&name)).then(|| {
        Failure::usage(format!("`bundle {name}` is not part of this build"))
            .with_hint("use a build with all features; `bundle version` says which this one has")
    })
}

/// A directory, also written as `file://DIR` or `file:///DIR`, as oc-mirror has it.
pub fn directory(text: &str) -> Result<PathBuf, String> {
    let path = text.strip_prefix("file://").unwrap_or(text);
    if path.is_empty() {
        return Err("the directory is empty".to_owned());
    }
    if path.starts_with("docker://") || path.starts_with("oci:") {
        return Err("expected a directory".to_owned());
    }
    Ok(PathBuf::from(path))
}

fn parallel(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number @ 1..=64) => Ok(number),
        _ => Err("expected a number from 1 to 64".to_owned()),
    }
}

/// A time: seconds, or a number with `ms`, `s` or `m`; at most a day.
fn time(text: &str) -> Result<Duration, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: Option<u64> = number.parse().ok();
    let millis = match (number, unit) {
        (Some(number), "ms") => Some(number),
        (Some(number), "" | "s") => number.checked_mul(1000),
        (Some(number), "m") => number.checked_mul(60_000),
        _ => None,
    };
    match millis {
        Some(millis @ 0..=86_400_000) => Ok(Duration::from_millis(millis)),
        _ => Err("expected a time up to a day, as `30s`, `500ms` or `5m`".to_owned()),
    }
}

fn patience(text: &str) -> Result<Duration, String> {
    let time = time(text)?;
    if time.is_zero() { Err("expected more than 0".to_owned()) } else { Ok(time) }
}

#[cfg(test)]
#[path = "cli_tests.rs"]
mod tests;
