//! `bundle registry serve`: the registry itself, until Ctrl-C or SIGTERM.

use std::net::SocketAddr;

use registry::server::settings::Settings;
use registry::server::{Server, ServerConfig, Transport};
use serde_json::json;

use super::super::{Context, refuse_other_than_directory};
use super::Data;
use crate::failure::{Exit, Failure};
use crate::output::plain;

/// Serve until Ctrl-C: over TLS, to users where there are any, and else to this machine alone
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    data: Data,
    /// Address and port; port 0 takes a free one [default: that of registry.toml, else 127.0.0.1:5000]
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    listen: Option<SocketAddr>,
    /// Refuse every change; the data may be on a read-only medium
    #[arg(long)]
    read_only: bool,
    /// Speak plain HTTP without logins, for clients of this machine only
    #[arg(long)]
    http: bool,
}

pub async fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    let data = args.data.path()?;
    refuse_other_than_directory("--data-dir", &data)?;
    crate::host::account::become_owner(&data)?;
    // What is stored is for the registry alone, also in a directory that others may look into.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let shown = data.display().to_string();
    let new = fs_err::read_dir(&data).map_or(!data.exists(), |mut files| files.next().is_none());
    let settings = Settings::load(&data)?.unwrap_or_default();
    let config = ServerConfig {
        listen: args.listen.unwrap_or_else(|| settings.listen()),
        read_only: args.read_only || settings.read_only,
        transport: if args.http { Transport::Http } else { Transport::Tls },
        data,
        settings,
    };
    let read_only = config.read_only;
    // Before the address: that is in use too then, and another one would not help.
    if !read_only && crate::host::holder::of(&config.data).is_some() {
        return Err(registry::store::StoreError::Locked { path: config.data }.into());
    }
    let server = Server::bind(config).await?;
    if new {
        tracing::info!("`{}` had no registry: this is a new, empty one", plain(&shown));
    }
    let address = server.local_addr();
    let url = format!("{}://{address}", if args.http { "http" } else { "https" });
    let mut answer =
        json!({ "address": address.to_string(), "url": url, "data": shown, "readOnly": read_only });
    let mut text = format!("serving `{shown}` on {url}, until Ctrl-C");
    if let Some(ca) = server.ca() {
        let ca = ca.display().to_string();
        text += &format!("; clients trust it by `{ca}`");
        answer["ca"] = ca.into();
    }
    // Printed before the first request: a script that asked for port 0 waits for this line.
    context.output.print(&answer, &text)?;
    crate::host::notify::ready();
    server.run(context.cancel.clone()).await?;
    Ok(Exit::DONE)
}

/// An address with its port. A name is none: what it stands for may change, and with it who can connect.
fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        let port = text.rsplit(':').next().and_then(|port| port.parse::<u16>().ok());
        // The last group of an address of version 6 is no port.
        let port = port.filter(|_| text.matches(':').count() < 2).unwrap_or(5000);
        format!("expected an address and a port, as `127.0.0.1:{port}`")
    })
}
