//! What a person is told at the end of an installation: where it is, how to log in, and what to do elsewhere.

use std::fmt::Write as _;

use serde_json::json;

use super::plan::{PULLER, Plan};
use crate::commands::Context;
use crate::failure::Failure;
use crate::host::place::{Keeper, NAME};
use crate::host::systemctl::Systemctl;
use crate::host::trust::{self, Seen};
use crate::output::plain;
use crate::typed::quoted;
use registry::server::certificate;

/// Prints it; `token` is that of the robot for clusters.
pub fn print(plan: &Plan, token: Option<&str>, context: &Context) -> Result<(), Failure> {
    let place = &plan.place;
    let host = plan.host();
    let first = plan.first.as_ref();
    let shown = first.map(|first| (&*first.name, first.made.then_some(&*first.password)));
    let authority = super::super::trust::authority(&place.data, &plan.settings)?;
    let brought = plan.settings.tls.certificate.is_some();
    let puller = token.map(|token| (PULLER, token));
    let user = shown.map(|(name, _)| name);
    let data = place.data.display().to_string();
    let program = place.program.display().to_string();
    let seen = Seen {
        host: &host,
        authority: &authority,
        brought,
        user,
        puller,
        program: &program,
        data: &data,
    };
    let told = seen.told();
    let serve = format!("{} registry serve --data-dir {}", quoted(&program), quoted(&data));
    let runs = place.keeper != Keeper::Nobody;
    let mut value = json!({
        "url": format!("https://{host}"), "host": host, "data": data, "program": program,
        "keeper": place.keeper.name(), "running": runs, "serve": serve, "login": seen.login(), "told": told,
    });
    let mut text = format!("registry  https://{host}\n");
    if let Some((name, password)) = shown {
        value["user"] = name.into();
        let _ = writeln!(text, "user      {name}");
        if let Some(password) = password {
            value["password"] = password.into();
            let _ = writeln!(text, "password  {password}  (shown this once)");
        }
    } else {
        let _ = writeln!(text, "users     those that were there");
    }
    if let Some((name, token)) = puller {
        let _ =
            writeln!(text, "robot     {name}, who may pull: the pull secret below is of this one");
        value["robot"] = json!({ "name": name, "token": token });
    }
    if !brought {
        let ca = certificate::directory(&place.data).join(certificate::CA);
        value["ca"] = ca.display().to_string().into();
    }
    value["caPem"] = authority.pem.clone().into();
    let again = format!("{} registry trust --data-dir {}", quoted(&program), quoted(&data));
    let _ = writeln!(
        text,
        "authority {}, for clients to trust; shown again by `{again}`",
        plain(&authority.name)
    );
    let _ = writeln!(text, "data      {data}");
    if let (Some(unit), Some(systemctl)) = (&place.unit, Systemctl::of(place)) {
        let unit = unit.display().to_string();
        let _ = writeln!(
            text,
            "service   {NAME}, started at every boot; its log: `{}`",
            systemctl.journal()
        );
        value["unit"] = unit.into();
    } else {
        text += &unkept(&serve);
    }
    if place.keeper == Keeper::User && !plan.machine.lingers() {
        text +=
            "note      it ends with this user's last logout; `loginctl enable-linger` keeps it\n";
    }
    let _ = writeln!(text, "log in    {}", seen.login());
    if plan.machine.has_firewalld() {
        let _ = writeln!(
            text,
            "firewall  firewall-cmd --permanent --add-port={port}/tcp && firewall-cmd --reload",
            port = plan.port
        );
    }
    text += &trust::text(&told);
    context.output.print(&value, &text)
}

/// Where systemd does not run: it was tried and stopped; a person or another init starts it.
fn unkept(serve: &str) -> String {
    format!(
        "service   none, as systemd does not run here: it was started to see that it answers, and stopped again.\n\
         \x20         Run it with: {serve}\n\
         \x20         It ends with SIGTERM. For OpenRC, as /etc/init.d/{NAME}:\n\
         \x20           #!/sbin/openrc-run\n\
         \x20           supervisor=supervise-daemon\n\
         \x20           command={}\n\
         \x20           command_args=\"{}\"\n",
        serve.split(" registry serve ").next().unwrap_or_default(),
        serve.find(" registry serve ").map_or("", |at| &serve[at + 1..]).replace('"', "\\\"")
    )
}
