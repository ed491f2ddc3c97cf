//! `bundle registry uninstall`: the service goes, the data stays unless told.
//!
//! In: where it is. Out: no unit and no copy of the program; with `--delete-data` nothing of the registry at all. What must
//! hold: nothing goes before a person has seen how much, and has agreed; lingering that was on before stays on.

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;

use registry::server::control;
use registry::server::settings::Settings;
use serde_json::json;

use super::super::Context;
use crate::cli;
use crate::failure::{Exit, Failure, Kind};
use crate::host::amount::{self, Amount};
use crate::host::place::{Keeper, Machine, NAME, Place};
use crate::host::systemctl::{Systemctl, linger};
use crate::host::unit::Record;
use crate::output::plain;
use crate::size;

/// Remove an installed registry; its data stays unless told
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The registry's directory [default: where it was installed]
    #[arg(long = "data-dir", short = 'r', aliases = ["data", "quayRoot", "quay-root"], value_name = "DIR",
          value_parser = cli::directory)]
    data: Option<PathBuf>,
    /// Delete images, users, certificates and settings too
    #[arg(long)]
    delete_data: bool,
    /// Do not ask
    #[arg(long, alias = "autoApprove")]
    auto_approve: bool,
}

pub async fn run(args: &Args, context: &Context) -> Result<Exit, Failure> {
    let machine = Machine::here();
    if let Some(data) = &args.data {
        super::must_exist(data)?;
    }
    let place = machine.find(args.data.as_deref())?;
    // Data that an earlier `uninstall` left can be deleted.
    if !(args.delete_data && place.data.join("store-version").exists()) {
        place.must_be_installed()?;
    }
    machine.must_be_allowed(&place)?;
    if place.keeper == Keeper::Nobody {
        refuse_running(&place).await?;
    }
    let amount = Amount::of(&place.data)?;
    // Settings that cannot be read are no reason to keep them.
    let bucket = Settings::load(&place.data).ok().flatten().and_then(|settings| settings.objects);
    let shown = plain(&place.data.display().to_string());
    let held = format!(
        "{} in {} in `{shown}`",
        size::show(amount.bytes),
        size::repositories(amount.repositories)
    );
    agree(args, &held)?;

    stop(&place)?;
    let gone = args.delete_data && amount::remove(&place.data)?;
    let bucket = bucket.map(|objects| {
        let prefix = if objects.prefix.is_empty() { String::new() } else { format!(", prefix `{}`", plain(&objects.prefix)) };
        format!(
            "\nthe bucket `{}`{prefix} at {} keeps everything: images are removed there with the store's own tools",
            plain(&objects.bucket),
            plain(&objects.place())
        )
    });
    let end = match (args.delete_data, gone) {
        (false, _) => {
            format!("kept {held}; `bundle registry install --data-dir DIR` takes it up again")
        }
        (true, true) => format!("deleted {held}"),
        (true, false) => format!("deleted {held}; what else is in that directory stays"),
    };
    let end = end + &bucket.unwrap_or_default();
    let value = json!({
        "data": place.data.display().to_string(), "bytes": amount.bytes,
        "repositories": amount.repositories, "deleted": args.delete_data,
    });
    context.output.print(&value, &format!("removed the registry\n{end}"))?;
    Ok(Exit::DONE)
}

/// A registry that a person started is stopped by that person.
async fn refuse_running(place: &Place) -> Result<(), Failure> {
    match control::ask_status(&place.data).await {
        Err(_) => Ok(()),
        Ok(status) => {
            let error = format!("the registry runs (process {})", status.pid);
            Err(Failure::new(Kind::Unavailable, error).with_hint(format!(
                "stop it, `kill {}`, then run the same command again",
                status.pid
            )))
        }
    }
}

/// Asks a person at a terminal; a script has to say so.
fn agree(args: &Args, held: &str) -> Result<(), Failure> {
    let (verb, safe) = match args.delete_data {
        true => ("DELETE", "leave `--delete-data` out to keep it"),
        false => ("keep", "`--delete-data` would delete it"),
    };
    if args.auto_approve {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        return Err(Failure::usage(format!("this would remove the registry and {verb} {held}"))
            .with_hint("write `--auto-approve` if that is meant: there is nobody to ask")
            .with_hint(safe));
    }
    let refused =
        || Failure::usage("nothing was removed").with_hint("answer `yes` to remove the registry");
    let mut answer = String::new();
    let question =
        format!("This removes the registry, and will {verb} {held} ({safe}).\nGo on? yes/no: ");
    let asked = std::io::stderr().write_all(question.as_bytes());
    asked.and_then(|()| std::io::stdin().read_line(&mut answer)).map_err(|_| refused())?;
    if answer.trim() == "yes" { Ok(()) } else { Err(refused()) }
}

/// Stops it and removes unit and program.
fn stop(place: &Place) -> Result<(), Failure> {
    if let (Some(systemctl), Some(unit)) = (Systemctl::of(place), &place.unit) {
        let record = Record::read(unit)?;
        systemctl.disable()?;
        remove(unit)?;
        systemctl.reload()?;
        if record.is_some_and(|record| record.lingers) {
            linger(false);
        }
        tracing::info!("`{NAME}` is stopped and removed");
    }
    remove(&place.program)?;
    if place.keeper != Keeper::System
        && let Some(directory) = place.program.parent()
    {
        // Ours alone; with something else in it, it stays.
        let _ = fs_err::remove_dir(directory);
    }
    Ok(())
}

fn remove(path: &std::path::Path) -> Result<(), Failure> {
    match fs_err::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Failure::io(Kind::Failed, "cannot remove a file", &error))
        }
        _ => Ok(()),
    }
}
