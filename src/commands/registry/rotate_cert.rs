//! `bundle registry rotate-cert`: a new server certificate, which a running registry shows when this ends.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use registry::server::certificate;
use registry::server::control::{self, ControlError};
use registry::server::settings::Settings;
use registry::server::tls::with_those_of;
use registry::{lasting, regular};
use serde_json::json;

use super::super::Context;
use super::Data;
use crate::failure::{Exit, Failure, Kind};
use crate::typed::quoted;

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

/// Who shows the new certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    /// The registry that runs.
    Now,
    /// The same, but it has not said so.
    Later,
    /// None runs.
    Nobody,
}

/// A running registry reads files within a moment; one that is busy is not waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// Tells the running registry, and waits until it shows this certificate.
async fn shown(data: &Path, fingerprint: &str) -> Shown {
    let told = control::tell_certificate(data);
    match tokio::time::timeout(PATIENCE, told).await {
        Ok(Ok(shown)) if shown.as_deref() == Some(fingerprint) => Shown::Now,
        // One that speaks plain HTTP shows none.
        Ok(Ok(None) | Err(ControlError::NotRunning { .. })) => Shown::Nobody,
        _ => Shown::Later,
    }
}

/// Keeps the authority's certificate beside the new one, for whoever still has to tell clients of both.
fn keep_ca(directory: &Path) -> Result<PathBuf, Failure> {
    let (ca, old) = (directory.join(certificate::CA), directory.join("ca.crt.old"));
    // Everybody may read the copy, and root could read whatever a link leads to.
    let kept = regular::open_itself(&ca).and_then(|file| {
        let mut bytes = Vec::new();
        file.take(certificate::FILE_MAX).read_to_end(&mut bytes)?;
        lasting::replace(&old, &bytes, 0o644)
    });
    kept.map_err(|error| {
        Failure::io(Kind::Failed, "cannot keep the authority's certificate", &error).with_hint(
            "bring `tls` of the data directory back from a backup, and run the same command again",
        )
    })?;
    Ok(old)
}

pub async fn run(args: &Args, context: &Context) -> Result<Exit, Failure> {
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
    lasting::refuse_link(&directory).map_err(certificate::CertificateError::Io)?;
    let old_ca = args.new_ca.then(|| keep_ca(&directory)).transpose()?;
    let made = match args.new_ca {
        true => certificate::make_anew(&directory, &names)?,
        false => certificate::make(&directory, &names)?,
    };
    let ca = made.ca.display().to_string();
    let clients = match made.new_ca {
        false => "clients have nothing to do: the authority is the same".to_owned(),
        true => {
            let shown = quoted(&data.display().to_string());
            format!(
                "every client refuses the registry until it trusts the new authority, `{ca}`: `bundle registry trust --data-dir \
                 {shown}` says what each must be told{}",
                old_ca
                    .map(|old| format!("; the one before is `{}`", old.display()))
                    .unwrap_or_default()
            )
        }
    };
    let shown = shown(data, &made.about.fingerprint).await;
    context.output.print(
        &json!({
            "certificate": made.certificate.display().to_string(),
            "names": made.about.names,
            "until": made.about.not_after.to_string(),
            "fingerprint": made.about.fingerprint,
            "ca": ca,
            "newCa": made.new_ca,
            "shown": shown == Shown::Now,
        }),
        &format!(
            "new certificate until {} for {}\nsha256 {}\n{}; {clients}",
            made.about.not_after.strftime("%Y-%m-%d"),
            made.about.names.join(", "),
            made.about.fingerprint,
            match shown {
                Shown::Now => "the running registry shows it now",
                Shown::Later => "the running registry shows it within seconds",
                Shown::Nobody => "no registry runs here, and the next one shows it",
            },
        ),
    )?;
    Ok(Exit::DONE)
}
