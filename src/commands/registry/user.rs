//! `bundle registry user`: who may log in, and what they may do. A running registry takes every change within seconds.

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::{Subcommand, ValueEnum};
use jiff::{Timestamp, ToSpan};
use registry::server::access::accounts::{Account, Accounts, Role, generate_password};
use registry::server::access::roles::{Action, Grant};
use registry::server::control::tell_accounts;
use registry::store::Store;
use serde_json::{Value, json};

use super::super::Context;
use super::Data;
use crate::failure::{Exit, Failure, Kind};

/// Bytes of a password file: a password has at most 72, and perhaps the end of its line.
const PASSWORD_FILE_MAX: u64 = 1024;

/// Add, change, remove and list users and robots
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Add a user, with a password that is made and shown once; or a robot with its token
    Add {
        #[command(flatten)]
        data: Data,
        /// The name to log in with
        name: String,
        /// A program: it gets a token, which is shown once
        #[arg(long, conflicts_with = "Password")]
        robot: bool,
        /// Days after which a robot's token ends [default: never]
        #[arg(long, value_name = "DAYS", requires = "robot", value_parser = clap::value_parser!(i64).range(1..=36_500))]
        expires: Option<i64>,
        #[command(flatten)]
        password: Password,
        /// What it may do; without a role it may log in, and nothing else
        #[arg(long, value_enum)]
        role: Option<Word>,
        /// Where, as `team/app`, `team/*` (one component) or `team/**` (itself and all below); repeatable [default: everywhere]
        #[arg(long, value_name = "PATTERN", requires = "role")]
        repository: Vec<String>,
    },
    /// Give a user another password; what they are logged in with ends at once
    Passwd {
        #[command(flatten)]
        data: Data,
        /// The user
        name: String,
        #[command(flatten)]
        password: Password,
    },
    /// Remove a user or robot with every role
    Remove {
        #[command(flatten)]
        data: Data,
        /// The user or robot
        name: String,
        /// Also the last one who may do everything
        #[arg(long)]
        auto_approve: bool,
    },
    /// Show users, robots and their roles
    List {
        #[command(flatten)]
        data: Data,
    },
    /// Allow more
    Grant {
        #[command(flatten)]
        data: Data,
        /// The user or robot
        name: String,
        /// What it may do
        #[arg(long, value_enum)]
        role: Word,
        /// Where; repeatable [default: everywhere]
        #[arg(long, value_name = "PATTERN")]
        repository: Vec<String>,
    },
    /// Take roles away: all of them, or those with these patterns
    Revoke {
        #[command(flatten)]
        data: Data,
        /// The user or robot
        name: String,
        /// A pattern as it was granted; repeatable [default: every role]
        #[arg(long, value_name = "PATTERN")]
        repository: Vec<String>,
    },
}

impl Verb {
    /// Where it changes something.
    fn changes(&self) -> Option<Data> {
        match self {
            Self::Add { data, .. }
            | Self::Passwd { data, .. }
            | Self::Remove { data, .. }
            | Self::Grant { data, .. }
            | Self::Revoke { data, .. } => Some(data.clone()),
            Self::List { .. } => None,
        }
    }
}

/// Where a password comes from; never the command line, which every process of the machine can read.
#[derive(Debug, clap::Args)]
#[group(multiple = false)]
struct Password {
    /// Read the password from standard input
    #[arg(long)]
    password_stdin: bool,
    /// Read the password from a file
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

/// A role as it is written.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Word {
    /// Everything, everywhere
    Admin,
    /// Pull, push and delete
    Delete,
    /// Pull and push
    Push,
    /// Pull
    Pull,
}

impl From<Word> for Role {
    fn from(word: Word) -> Self {
        match word {
            Word::Admin => Self::Admin,
            Word::Delete => Self::Delete,
            Word::Push => Self::Push,
            Word::Pull => Self::Pull,
        }
    }
}

pub async fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    let changed = args.action.changes();
    let exit = change(args.action, context)?;
    if let Some(data) = changed {
        announce(&data.path()?).await;
    }
    Ok(exit)
}

/// A registry that runs takes the change now, and its audit log has who made it. One that does not run has no log of it.
async fn announce(data: &Path) {
    let sudo = std::env::var("SUDO_USER").ok();
    if let Err(error) = tell_accounts(data, sudo.as_deref()).await {
        tracing::debug!(%error, "no registry was told");
    }
}

fn change(action: Verb, context: &Context) -> Result<Exit, Failure> {
    let output = context.output;
    match action {
        Verb::Add { data, name, robot, expires, password, role, repository } => {
            let accounts = own(&data)?;
            // Before there is an account: half of one would stand in the way of the corrected command.
            if let Some(role) = role {
                accounts.check_grant(&name, role.into(), &repository)?;
            }
            let (word, secret) = if robot {
                let end = expires.map(end).transpose()?;
                ("token", Some(accounts.add_robot(&name, end)?))
            } else {
                let (text, made) = password.read()?;
                accounts.add_user(&name, &text)?;
                ("password", made.then_some(text))
            };
            if let Some(role) = role {
                accounts.grant(&name, role.into(), &repository)?;
            }
            let mut answer = json!({ "name": name, "robot": robot });
            let mut text = format!("added `{name}`");
            if role.is_none() {
                text += "; it may log in and nothing else, until `bundle registry user grant`";
            }
            tell(&mut answer, &mut text, word, secret);
            output.print(&answer, &text)?;
        }
        Verb::Passwd { data, name, password } => {
            let accounts = existing(&data)?;
            let (secret, made) = password.read()?;
            accounts.set_password(&name, &secret)?;
            let (mut answer, mut text) =
                (json!({ "name": name }), format!("`{name}` has another password"));
            tell(&mut answer, &mut text, "password", made.then_some(secret));
            output.print(&answer, &text)?;
        }
        Verb::Remove { data, name, auto_approve } => {
            let accounts = existing(&data)?;
            let list = accounts.list()?;
            let mut admins =
                list.iter().filter(|account| account.grants.iter().any(|grant| grant.admin));
            let last =
                admins.next().is_some_and(|first| first.name == name) && admins.next().is_none();
            if last && !auto_approve {
                return Err(Failure::usage(format!(
                    "`{name}` is the last one who may do everything"
                ))
                .with_hint("let another one first: `bundle registry user grant NAME --role admin`")
                .with_hint("write `--auto-approve` if that is meant"));
            }
            accounts.remove(&name)?;
            if last {
                tracing::warn!(
                    "nobody may do everything any more: `bundle registry user grant NAME --role admin`"
                );
            }
            output.print(&json!({ "name": name }), &format!("removed `{name}`"))?;
        }
        Verb::List { data } => {
            let list = existing(&data)?.list()?;
            let text: String = list.iter().map(line).collect();
            let text = if text.is_empty() { "no users".to_owned() } else { text };
            output.print(&list.iter().map(document).collect::<Vec<_>>(), &text)?;
        }
        Verb::Grant { data, name, role, repository } => {
            existing(&data)?.grant(&name, role.into(), &repository)?;
            output.print(&json!({ "name": name }), &format!("granted to `{name}`"))?;
        }
        Verb::Revoke { data, name, repository } => {
            existing(&data)?.revoke(&name, &repository)?;
            output.print(&json!({ "name": name }), &format!("taken from `{name}`"))?;
        }
    }
    Ok(Exit::DONE)
}

/// The accounts of a directory that is there: a wrong name must not make a new one.
fn existing(data: &Data) -> Result<Accounts, Failure> {
    data.existing()?;
    own(data)
}

/// The accounts of a directory that is a registry's, or may become one.
fn own(data: &Data) -> Result<Accounts, Failure> {
    let path = &data.path()?;
    if path.is_dir() {
        Store::may_be(path).map_err(registry::server::ServerError::Store)?;
    } else {
        let shown = crate::output::plain(&path.display().to_string());
        tracing::info!(
            "`{shown}` did not exist: it is made, for a registry that is to be served from it"
        );
    }
    Ok(Accounts::open(path)?)
}

/// Puts a secret that nobody can ask for again into an answer.
fn tell(answer: &mut Value, text: &mut String, word: &str, secret: Option<String>) {
    if let Some(secret) = secret {
        *text += &format!("\n{word}, shown this once: {secret}");
        answer[word] = secret.into();
    }
}

impl Password {
    /// The password, and whether it was made here.
    fn read(&self) -> Result<(String, bool), Failure> {
        let fault =
            |error: &std::io::Error| Failure::io(Kind::Usage, "cannot read the password", error);
        let mut text = String::new();
        let reading: Box<dyn Read> = match &self.password_file {
            Some(path) => Box::new(fs_err::File::open(path).map_err(|error| fault(&error))?),
            None if self.password_stdin => Box::new(std::io::stdin()),
            None => return Ok((generate_password().map_err(|error| fault(&error))?, true)),
        };
        reading.take(PASSWORD_FILE_MAX).read_to_string(&mut text).map_err(|error| fault(&error))?;
        // An editor ends the last line, and `echo` does.
        let bare = text.strip_suffix('\n').map(|text| text.strip_suffix('\r').unwrap_or(text));
        Ok((bare.unwrap_or(&text).to_owned(), false))
    }
}

fn end(days: i64) -> Result<Timestamp, Failure> {
    let hours = days.saturating_mul(24).hours();
    let now = Timestamp::now();
    let end = now.checked_add(hours).map_err(|error| Failure::usage(error.to_string()))?;
    Timestamp::from_second(end.as_second()).map_err(|error| Failure::usage(error.to_string()))
}

fn line(account: &Account) -> String {
    let kind = if account.robot { "robot" } else { "user" };
    let mut text = format!("{}  {kind}", account.name);
    if let Some(end) = account.expires {
        text += &format!("  until {}", end.strftime("%Y-%m-%d"));
    }
    if account.grants.is_empty() {
        text += "  no role";
    }
    for grant in &account.grants {
        text += &match grant.admin {
            true => "  admin".to_owned(),
            false => format!("  {} {}", words(grant).join("+"), grant.repositories.join(" ")),
        };
    }
    text + "\n"
}

fn document(account: &Account) -> Value {
    let grants: Vec<Value> = account
        .grants
        .iter()
        .map(|it| json!({ "admin": it.admin, "allow": words(it), "repositories": it.repositories }))
        .collect();
    let mut value = json!({ "name": account.name, "robot": account.robot, "grants": grants });
    if let Some(end) = account.expires {
        value["expires"] = end.to_string().into();
    }
    value
}

fn words(grant: &Grant) -> Vec<&'static str> {
    grant.allow.iter().copied().map(Action::name).collect()
}
