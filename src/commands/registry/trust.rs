//! `bundle registry trust`: what clients need to trust a registry, and how they are told.
//!
//! In: where it is. Out: the authority's certificate and the commands that `install` printed, without a secret. What must hold:
//! nothing is changed.

use std::path::Path;

use registry::server::Settings;
use registry::server::certificate::{self, Authority, CertificateError};
use serde_json::json;

use super::super::Context;
use super::Data;
use crate::failure::{Exit, Failure};
use crate::host::place::Machine;
use crate::host::trust::{self, Seen};

/// Show what clients need to trust a registry: its authority's certificate, and the commands for podman, containerd,
/// OpenShift
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    data: Data,
}

pub fn run(args: &Args, context: &Context) -> Result<Exit, Failure> {
    let data = args.data.existing()?;
    let settings = Settings::load(&data)?.unwrap_or_default();
    let authority = authority(&data, &settings)?;
    let hostname = settings.hostname.clone().unwrap_or_else(|| "localhost".to_owned());
    // An address of version 6 has brackets wherever a port may follow.
    let hostname = if hostname.contains(':') { format!("[{hostname}]") } else { hostname };
    let host = format!("{hostname}:{}", settings.listen().port());
    let program = program(&data);
    let dir = data.display().to_string();
    let brought = settings.tls.certificate.is_some();
    let seen = Seen {
        host: &host,
        authority: &authority,
        brought,
        user: None,
        puller: None,
        program: &program,
        data: &dir,
    };
    let told = seen.told();
    let value =
        json!({ "host": host, "authority": authority.name, "caPem": authority.pem, "told": told });
    context.output.print(&value, trust::text(&told).trim_start())?;
    Ok(Exit::DONE)
}

/// The program that a person there can run: the one that was installed with the registry, else this one.
fn program(data: &Path) -> String {
    let installed = Machine::here().find(Some(data)).ok().map(|place| place.program);
    let installed = installed.filter(|program| program.exists());
    let program = installed.or_else(|| std::env::current_exe().ok());
    program.map_or_else(|| "bundle".to_owned(), |program| program.display().to_string())
}

/// Whom clients of a registry must trust.
pub fn authority(data: &Path, settings: &Settings) -> Result<Authority, Failure> {
    let own = certificate::directory(data).join(certificate::CA);
    let file = settings.tls.pair(data).map_or(own, |(certificate, _)| certificate);
    certificate::authority(&file).map_err(|error| match error {
        CertificateError::Io(io) if io.kind() == std::io::ErrorKind::NotFound => {
            let shown = crate::typed::quoted(&data.display().to_string());
            Failure::usage(format!("the registry in {shown} has no certificate yet")).with_hint(
                format!("`bundle registry serve --data-dir {shown}` makes one at its first start"),
            )
        }
        error => error.into(),
    })
}
