//! `bundle keys`: the keys that sign, and the keys that are trusted.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use format_spec::keys::PublicKey;
use serde::Serialize;
use serde_json::json;

use super::Context;
use crate::cli;
use crate::failure::{Exit, Failure};
use crate::keyring::{self, Keyring, Known};
use crate::typed;

/// Where the keys are that no command finds here. `keys` reads no configuration, so that it works the same on the side
/// that has none.
const LOCAL: &str = "a configuration with `storageConfig.local.path` makes that directory the workspace of \
                     `bundle create`: name it here with `--workspace PATH`";

/// Make signing keys and say whose signatures are trusted
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a signing key in the workspace
    New {
        /// What to call it
        #[arg(long, default_value = keyring::DEFAULT, value_parser = name)]
        name: String,
    },
    /// List the keys that sign here and the keys that are trusted here
    List,
    /// Trust sequences signed by this key
    Trust {
        /// The public key, carried here by another way than the media
        file: PathBuf,
    },
    /// Trust a key no longer
    Untrust {
        /// Its id, or the first 8 digits or more; with spaces as `keys show` prints them too
        #[arg(required = true, value_name = "ID")]
        id: Vec<String>,
    },
    /// Show a key with its id
    Show {
        /// A key file, the name of a key in the workspace, or the first 8 digits or more of an id
        #[arg(default_value = keyring::DEFAULT)]
        key: Vec<String>,
    },
}

#[derive(Debug, Serialize)]
struct Line {
    id: String,
    path: String,
}

pub fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    super::refuse_other_than_directory("--workspace", &context.common.workspace)?;
    let ring = Keyring::open(&context.common.workspace)?;
    match args.action {
        Action::New { name } => new(&ring, &name, context),
        Action::List => list(&ring, context),
        Action::Trust { file } => trust(&ring, &file, context),
        Action::Untrust { id } => untrust(&ring, &id.join(" "), context),
        Action::Show { key } => show(&ring, &key.join(" "), context),
    }?;
    Ok(Exit::DONE)
}

fn new(ring: &Keyring, name: &str, context: &Context) -> Result<(), Failure> {
    let pair = ring.make(name)?;
    let (secret, public) = (pair.secret.display(), pair.public.display());
    let value = json!({
        "id": pair.id.to_string(),
        "secret": secret.to_string(),
        "public": public.to_string(),
    });
    let text = format!(
        "key     {}\nsecret  {secret}  (stays here)\npublic  {public}\n\
         next: carry the public key to the other side, once, by another way than the media, and there \
         run `bundle keys trust FILE`",
        pair.id
    );
    context.output.print(&value, &text)
}

fn list(ring: &Keyring, context: &Context) -> Result<(), Failure> {
    let lines = |keys: Vec<Known>| -> Vec<Line> {
        let line = |known: Known| Line {
            id: known.key.id().to_string(),
            path: known.path.display().to_string(),
        };
        keys.into_iter().map(line).collect()
    };
    let (own, trusted) = (lines(ring.own()?), lines(ring.trusted()?));
    let shown = context.common.workspace.display().to_string();
    let mut text = format!("workspace {shown}\n");
    let option = match &*shown {
        cli::WORKSPACE => String::new(),
        other => format!(" --workspace {}", typed::quoted(other)),
    };
    let groups = [
        ("signing here", &own, format!("bundle keys new{option}")),
        ("trusted here", &trusted, format!("bundle keys trust FILE{option}")),
    ];
    for (title, group, command) in groups {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{title}:");
        for Line { id, path } in group {
            let _ = writeln!(text, "  {id}  {path}");
        }
        if group.is_empty() {
            let _ = writeln!(text, "  none; `{command}`");
        }
    }
    if own.is_empty() && option.is_empty() {
        let _ = writeln!(text, "{LOCAL}");
    }
    let value = json!({ "workspace": shown, "signing": own, "trusted": trusted });
    context.output.print(&value, &text)
}

fn trust(ring: &Keyring, file: &Path, context: &Context) -> Result<(), Failure> {
    let key = keyring::read_public(file)?;
    let (path, new) = ring.trust(&key)?;
    let value =
        json!({ "id": key.id().to_string(), "path": path.display().to_string(), "new": new });
    let verb = if new { "trusted from now on" } else { "trusted already" };
    let text = format!(
        "{verb}: {}\ncompare it with `signed by` of `bundle create` there, or with `bundle keys show --workspace DIR`\n{}",
        key.id(),
        grouped(&key)
    );
    context.output.print(&value, &text)
}

fn untrust(ring: &Keyring, id: &str, context: &Context) -> Result<(), Failure> {
    let known = ring.untrust(id)?;
    let id = known.key.id().to_string();
    context.output.print(&json!({ "id": id }), &format!("no longer trusted: {id}"))
}

fn show(ring: &Keyring, key: &str, context: &Context) -> Result<(), Failure> {
    let Known { key, path } = find(ring, key)?;
    let (id, pem, shown) = (key.id().to_string(), key.to_pem(), path.display().to_string());
    let check = format!("openssl pkey -pubin -in {shown} -outform DER | sha256sum");
    let text = format!("key   {id}\nfile  {shown}\n{}\n{pem}check: {check}", grouped(&key));
    let value = json!({ "id": id, "path": shown, "pem": pem, "check": check });
    context.output.print(&value, &text)
}

/// A file, or a key of the workspace by its name, or any key listed here by its id: in this order, so that
/// a name which looks like an id stays a name.
fn find(ring: &Keyring, text: &str) -> Result<Known, Failure> {
    let path = PathBuf::from(text);
    // Completes the pair of a private key that was brought back alone.
    ring.own()?;
    let own = name(text).ok().map(|name| ring.public_path(&name)).filter(|own| own.is_file());
    let path = match own {
        Some(own) if !path.is_file() => own,
        None if !path.exists() && keyring::digits(text).is_some() => return ring.by_id(text),
        // A bare word, `default` when nothing was typed: on the side that only trusts there is none.
        None if !path.exists() && name(text).is_ok() => {
            let missing = ring.public_path(text);
            return Err(Failure::usage(format!(
                "no key has the name `{text}` here: `{}` is missing",
                missing.display()
            ))
            .with_hint(
                "`bundle keys list` shows the keys that sign and are trusted here; name one by its file \
                 or its id: `bundle keys show FILE|ID`",
            )
            .with_hint(LOCAL));
        }
        _ => path,
    };
    Ok(Known { key: keyring::read_public(&path)?, path })
}

/// The id to read over the phone: groups of four digits, eight in a line.
fn grouped(key: &PublicKey) -> String {
    let hex = key.id().digest().hex();
    let mut text = String::new();
    for (n, digit) in hex.chars().enumerate() {
        if n == 32 {
            text.push('\n');
        } else if n > 0 && n % 4 == 0 {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// The name of a key, which becomes a file name on any file system.
fn name(text: &str) -> Result<String, String> {
    let letter = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-' || c == b'_';
    if text.is_empty() || text.len() > 40 || !text.bytes().all(letter) {
        return Err("expected up to 40 of a-z, 0-9, `-` and `_`".to_owned());
    }
    Ok(text.to_owned())
}
