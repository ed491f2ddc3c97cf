//! `bundle registry upgrade`: an installed registry goes on with this version of the program.
//!
//! In: where it is, or nothing. Out: program and unit are those of this version, and it answers. What must hold: settings, users and
//! data are not touched; a registry that does not answer afterwards gets its old program and unit back.

use std::path::PathBuf;

use registry::server::control;
use registry::server::settings::Settings;
use registry::store::{Store, StoreError};
use serde_json::json;

use super::super::Context;
use crate::cli;
use crate::failure::{Exit, Failure, Kind};
use crate::host::account::Account;
use crate::host::answers::Question;
use crate::host::place::{Keeper, Machine, Place};
use crate::host::systemctl::Systemctl;
use crate::host::{program, unit};
use crate::output::plain;

/// Bring an installed registry to this version of the program; its settings stay
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The registry's directory [default: where it was installed]
    #[arg(long = "data-dir", short = 'r', aliases = ["data", "quayRoot", "quay-root"], value_name = "DIR",
          value_parser = cli::directory)]
    data: Option<PathBuf>,
}

pub async fn run(args: &Args, context: &Context) -> Result<Exit, Failure> {
    let machine = Machine::here();
    if let Some(data) = &args.data {
        super::must_exist(data)?;
    }
    let place = machine.find(args.data.as_deref())?;
    place.must_be_installed()?;
    machine.must_be_allowed(&place)?;
    refuse_later(&place)?;
    let settings = Settings::load(&place.data)?.unwrap_or_default();
    let running = control::ask_status(&place.data).await.ok();
    let before = running.as_ref().map(|status| status.version.clone());
    let before = before.or_else(|| program::version(&place.program));
    let before = before.unwrap_or_else(|| "unknown".to_owned());

    program::replace(&place.program)?;
    let outcome = switch(&place, &machine, &settings, context).await;
    if let Err(failure) = outcome {
        program::put_back(&place.program)?;
        return Err(failure.with_hint("the program and the unit are as they were before"));
    }
    program::forget_before(&place.program);

    let now = env!("CARGO_PKG_VERSION");
    let restarted = place.keeper != Keeper::Nobody;
    let mut text =
        format!("upgraded from {before} to {now}: `{}`", plain(&place.data.display().to_string()));
    if !restarted && running.is_some() {
        text += "\nthe registry that runs is still the one before: stop it, and start it again";
    }
    let value = json!({
        "data": place.data.display().to_string(), "before": before, "version": now,
        "restarted": restarted, "running": restarted || running.is_some(),
    });
    context.output.print(&value, &text)?;
    Ok(Exit::DONE)
}

/// Data that a later version wrote is not for this one.
fn refuse_later(place: &Place) -> Result<(), Failure> {
    match Store::open_read_only(&place.data) {
        // Never served.
        Ok(_) | Err(StoreError::NotAStore { .. }) => Ok(()),
        Err(error @ StoreError::Version { .. }) => Err(Failure::of(Kind::Usage, &error).with_hint(
            "take the version of `bundle` that wrote it, or a later one; nothing was changed",
        )),
        Err(error) => Err(Failure::of(Kind::Failed, &error)),
    }
}

/// The unit of this version, a restart, an answer. Errors: it is as it was before, but for the program.
async fn switch(
    place: &Place,
    machine: &Machine,
    settings: &Settings,
    context: &Context,
) -> Result<(), Failure> {
    let (Some(path), Some(systemctl)) = (&place.unit, Systemctl::of(place)) else { return Ok(()) };
    let old = fs_err::read_to_string(path)
        .map_err(|error| Failure::io(Kind::Failed, "cannot read the unit", &error))?;
    let record = unit::Record::read(path)?;
    let system = place.keeper == Keeper::System;
    let account = system && Account::find(machine).is_some() && old.contains("\nUser=");
    let wishes = unit::Wishes {
        account: account.then_some(Account::NAME),
        low_port: settings.listen().port() < 1024,
        lingers: record.is_some_and(|record| record.lingers),
    };
    unit::write(path, &unit::text(place, &wishes))?;
    let question = Question { data: &place.data, settings, login: None };
    let restart = || systemctl.reload().and_then(|()| systemctl.restart());
    let outcome = match restart() {
        Ok(()) => question.wait(&context.cancel, || systemctl.has_failed()).await,
        Err(failure) => Err(failure),
    };
    let Err(failure) = outcome else { return Ok(()) };
    // With the program that was there, the registry goes on as before.
    program::put_back(&place.program)?;
    unit::write(path, &old)?;
    if let Err(again) = restart() {
        again.tell();
    }
    Err(failure)
}
