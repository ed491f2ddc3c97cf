//! Doing what was planned.
//!
//! In: a [`Plan`]. Out: a registry that was seen to answer. What must hold: every step is noted before it is done, so that a
//! failure leaves what was there before; the service starts last.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use registry::lasting;
use registry::server::access::accounts::{Accounts, Role};
use registry::server::access::{ROBOTS, ROLES, USERS};
use registry::server::tls::with_those_of;
use registry::server::{certificate, settings};
use registry::store;

use super::plan::{PULLER, Plan};
use crate::commands::Context;
use crate::failure::{Failure, Kind};
use crate::host::account::Account;
use crate::host::answers::{Question, Trial};
use crate::host::place::Keeper;
use crate::host::systemctl::{Systemctl, linger};
use crate::host::undo::Undo;
use crate::host::{program, unit};
use crate::output::plain;

/// Makes it all.
///
/// Returns the token of the robot for clusters, when it was made here.
pub async fn make(
    plan: &Plan,
    undo: &mut Undo,
    context: &Context,
) -> Result<Option<String>, Failure> {
    let place = &plan.place;
    let systemctl = Systemctl::of(place);
    if let Some(systemctl) = &systemctl {
        systemctl.answers()?;
    }
    directory(&place.data, undo)
        .map_err(|error| fault("cannot make the data directory", &error))?;
    undo.path(&place.program);
    program::install(&place.program)?;
    certificates(plan)?;
    let token = users(plan)?;
    settle(plan).map_err(|error| fault("cannot write the settings", &error))?;
    match systemctl {
        Some(systemctl) => serve(plan, &systemctl, undo, context).await?,
        None => try_out(plan, context).await?,
    }
    Ok(token)
}

/// What `registry.toml` was before it was written anew.
const OLD: &str = "registry.toml.old";

fn fault(doing: &str, error: &std::io::Error) -> Failure {
    Failure::io(Kind::Failed, doing, error)
}

fn directory(data: &Path, undo: &mut Undo) -> std::io::Result<()> {
    undo.path(data);
    for name in store::NAMES {
        undo.path(data.join(name));
    }
    // Of data that was kept, or that a person prepared.
    let tls = certificate::directory(data);
    let made = [certificate::CA, certificate::CA_KEY, certificate::SERVER, certificate::SERVER_KEY];
    let tls = made.into_iter().chain(["site.crt", "site.key"]).map(|name| tls.join(name));
    let own = ["store-version", settings::FILE, OLD, USERS, ROBOTS, ROLES];
    for file in own.map(|name| data.join(name)).into_iter().chain(tls) {
        undo.file(file)?;
    }
    lasting::make(data)?;
    // Images, keys and hashes are not for every user of the machine.
    fs_err::set_permissions(data, std::fs::Permissions::from_mode(0o700))
}

/// Writes the settings, where they are not there as they should be.
fn settle(plan: &Plan) -> std::io::Result<()> {
    let Some(text) = &plan.text else { return Ok(()) };
    let file = plan.place.data.join(settings::FILE);
    if text.rewritten {
        let old = plan.place.data.join(OLD);
        lasting::replace(&old, &fs_err::read(&file)?, 0o600)?;
        tracing::warn!(
            "registry.toml is written anew, without its comments: as it was it is in `{}`",
            plain(&old.display().to_string())
        );
    }
    lasting::replace(&file, text.new.as_bytes(), 0o600)
}

fn certificates(plan: &Plan) -> Result<(), Failure> {
    let directory = certificate::directory(&plan.place.data);
    let Some((certificate, key)) = &plan.brought else {
        let names = certificate::names(&plan.settings.names(), plan.settings.listen());
        // Of data that was kept: `rotate-cert --name` may have put more into it.
        let names = with_those_of(&directory.join(certificate::SERVER), names);
        certificate::make(&directory, &names)?;
        return Ok(());
    };
    let copy = || {
        lasting::make_private(&directory)?;
        lasting::replace(&directory.join("site.key"), &fs_err::read(key)?, 0o600)?;
        lasting::replace(&directory.join("site.crt"), &fs_err::read(certificate)?, 0o644)
    };
    copy().map_err(|error: std::io::Error| fault("cannot copy the certificate", &error))
}

/// The first user, who may do everything, and a robot that may only pull: its token is what clusters get.
fn users(plan: &Plan) -> Result<Option<String>, Failure> {
    let Some(first) = &plan.first else { return Ok(None) };
    let accounts = Accounts::open(&plan.place.data)?;
    accounts.add_user(&first.name, &first.password)?;
    accounts.grant(&first.name, Role::Admin, &[])?;
    // The first user may have that name.
    if first.name == PULLER {
        return Ok(None);
    }
    let token = accounts.add_robot(PULLER, None)?;
    accounts.grant(PULLER, Role::Pull, &[])?;
    Ok(Some(token))
}

/// Hands it to systemd, and waits until it answers.
async fn serve(
    plan: &Plan,
    systemctl: &Systemctl,
    undo: &mut Undo,
    context: &Context,
) -> Result<(), Failure> {
    let place = &plan.place;
    let system = place.keeper == Keeper::System;
    let account = if system { Account::have(&plan.machine) } else { None };
    if let Some(account) = account {
        account.own(&place.data)?;
    }
    let lingers = !system && plan.linger && !plan.machine.lingers() && linger(true);
    if lingers {
        undo.linger();
    }
    let low_port = plan.port < 1024;
    let wishes = unit::Wishes { account: account.map(|_| Account::NAME), low_port, lingers };
    if let Some(path) = &place.unit {
        undo.path(path);
        unit::write(path, &unit::text(place, &wishes))?;
    }
    undo.unit(systemctl);
    systemctl.reload()?;
    systemctl.enable()?;
    question(plan).wait(&context.cancel, || systemctl.has_failed()).await
}

/// Starts it for a moment with the very command that a person will use.
async fn try_out(plan: &Plan, context: &Context) -> Result<(), Failure> {
    let mut trial = Trial::start(&plan.place)?;
    question(plan).wait(&context.cancel, || trial.ended()).await
}

fn question(plan: &Plan) -> Question<'_> {
    Question { data: &plan.place.data, settings: &plan.settings, login: plan.login() }
}
