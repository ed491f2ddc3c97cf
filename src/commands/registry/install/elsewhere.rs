//! The same installation on another machine.
//!
//! In: what was typed. Out: what the machine there says, and its exit code. What must hold: every option is handed on; the
//! password goes through standard input.

use super::Args;
use super::plan::password;
use crate::commands::Context;
use crate::failure::{Exit, Failure};
use crate::host::remote::{Prepared, Remote};

pub fn run(args: &Args, context: &Context) -> Result<Exit, Failure> {
    let target = target(args)?;
    // Read before anything is done there.
    let password = password(args)?;
    let remote = Remote::new(target.clone(), args.ssh_key.clone())?;
    let prepared = remote.prepare()?;
    let outcome = install(args, &remote, &prepared, password.as_deref(), &target, context);
    if outcome.is_err() {
        remote.clear(&prepared);
    }
    outcome
}

fn install(
    args: &Args,
    remote: &Remote,
    prepared: &Prepared,
    password: Option<&str>,
    target: &str,
    context: &Context,
) -> Result<Exit, Failure> {
    let mut words = options(args, target);
    remote.send(prepared, "bundle", "/proc/self/exe".as_ref())?;
    for (option, name, file) in
        [("--ssl-cert", "site.crt", &args.ssl_cert), ("--ssl-key", "site.key", &args.ssl_key)]
    {
        if let Some(file) = file {
            words.extend([option.to_owned(), remote.send(prepared, name, file)?]);
        }
    }
    if password.is_some() {
        words.push("--init-password-stdin".to_owned());
    }
    if context.output.is_json() {
        words.extend(["--output".to_owned(), "json".to_owned()]);
    }
    tracing::info!("installing on `{target}`");
    let code = remote.run(prepared, &words, args.system, password)?;
    Ok(Exit::of_remote(code))
}

/// `[USER@]HOST`.
fn target(args: &Args) -> Result<String, Failure> {
    let host = args.target_host.clone().unwrap_or_default();
    match &args.target_user {
        None => Ok(host),
        Some(user) if host.contains('@') => {
            Err(Failure::usage(format!("two users: `--target-user {user}`, and one in `{host}`"))
                .with_hint("name one of them"))
        }
        Some(user) => Ok(format!("{user}@{host}")),
    }
}

/// What was typed, without what is for this side.
fn options(args: &Args, target: &str) -> Vec<String> {
    let mut words = vec!["registry".to_owned(), "install".to_owned()];
    let mut option = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            words.extend([name.to_owned(), value]);
        }
    };
    option("--data-dir", args.data.as_ref().map(|data| data.display().to_string()));
    option("--hostname", args.hostname.as_ref().map(|host| host.as_str().to_owned()));
    option("--port", args.port.map(|port| port.to_string()));
    option("--quota", args.quota.map(|quota| quota.to_string()));
    option("--init-user", args.init_user.clone());
    for name in &args.names {
        option("--name", Some(name.clone()));
    }
    // Others may well know it by the name that ssh takes.
    let host = target.rsplit('@').next().unwrap_or(target);
    let named = host.bytes().all(|c| c.is_ascii_alphanumeric() || b".-".contains(&c));
    if args.ssl_cert.is_none() && named {
        option("--name", Some(host.to_owned()));
    }
    for (name, is_on) in [
        ("--user", args.user),
        ("--system", args.system),
        ("--linger", args.linger),
        ("--anonymous-pull", args.anonymous_pull),
        ("--ssl-check-skip", args.ssl_check_skip),
    ] {
        if is_on {
            words.push(name.to_owned());
        }
    }
    words
}
