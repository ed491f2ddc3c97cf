//! `bundle registry rotate-cert`: a new server certificate, which a running registry shows a moment later.

use registry::server::certificate;
use registry::server::settings::Settings;
use registry::server::tls::with_those_of;
use serde_json::json;

use super::super::Context;
use super::Data;
use crate::failure::{Exit, Failure};

/// Make a new server certificate; clients notice nothing, unless the authority is new too
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    data: Data,
    /// A further name or address that clients use; repeatable
    #[arg(long, value_name = "NAME")]
    name: Vec<String>,
    /// Make a new authority as well: every client must be told of it
    #[arg(long)]
    new_ca: bool,
}

pub fn run(args: &Args, context: &Context) -> Result<Exit, Failure> {
    let data = &args.data.existing()?;
    let settings = Settings::load(data)?.unwrap_or_default();
    if let Some((certificate, _)) = settings.tls.pair(data) {
        let shown = certificate.display();
        return Err(Failure::usage(format!("`{shown}` was not made here, but brought"))
            .with_hint("write the new certificate and its key over the old files: a running registry takes them within seconds"));
    }
    let directory = certificate::directory(data);
    if !directory.exists() {
        let shown = data.display();
        return Err(Failure::usage(format!("`{shown}` has no certificate yet"))
            .with_hint(format!("`bundle registry serve --data-dir {shown}` makes one")));
    }
    let before = directory.join(certificate::SERVER);
    let mut names = args.name.clone();
    names.extend(certificate::names(&settings.names(), settings.listen()));
    let names = with_those_of(&before, names);
    let made = match args.new_ca {
        true => certificate::make_anew(&directory, &names)?,
        false => certificate::make(&directory, &names)?,
    };
    let ca = made.ca.display().to_string();
    let clients = match made.new_ca {
        false => "clients have nothing to do: the authority is the same".to_owned(),
        true => {
            format!("every client refuses the registry until it trusts the new authority: `{ca}`")
        }
    };
    context.output.print(
        &json!({
            "certificate": made.certificate.display().to_string(),
            "names": made.about.names,
            "until": made.about.not_after.to_string(),
            "fingerprint": made.about.fingerprint,
            "ca": ca,
            "newCa": made.new_ca,
        }),
        &format!(
            "new certificate until {} for {}\nsha256 {}\na running registry shows it within seconds; {clients}",
            made.about.not_after.strftime("%Y-%m-%d"),
            made.about.names.join(", "),
            made.about.fingerprint,
        ),
    )?;
    Ok(Exit::DONE)
}
