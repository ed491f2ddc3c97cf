//! `bundle registry`: the mirror registry of the disconnected side.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Subcommand;
use registry::server::{Server, ServerConfig};
use serde_json::json;

use super::Context;
use crate::cli;
use crate::failure::{Exit, Failure};
use crate::output::plain;

/// Serve a registry from a directory
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Serve until Ctrl-C; any client can push and pull
    Serve(Serve),
}

#[derive(Debug, clap::Args)]
struct Serve {
    /// Where its data is; made when it does not exist
    #[arg(long, value_name = "DIR", value_parser = cli::directory)]
    data: PathBuf,
    /// Address and port; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:5000", value_parser = address)]
    listen: SocketAddr,
    /// Refuse every change; the data may be on a read-only medium
    #[arg(long)]
    read_only: bool,
    /// Listen on other addresses than loopback although nothing is encrypted or authenticated
    #[arg(long)]
    allow_remote_http: bool,
}

pub async fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    let Action::Serve(Serve { data, listen, read_only, allow_remote_http }) = args.action;
    super::refuse_other_than_directory("--data", &data)?;
    let shown = data.display().to_string();
    let new = fs_err::read_dir(&data).map_or(!data.exists(), |mut files| files.next().is_none());
    let server = Server::bind(ServerConfig { data, listen, read_only, allow_remote_http }).await?;
    if new {
        tracing::info!("`{}` had no registry: this is a new, empty one", plain(&shown));
    }
    let address = server.local_addr();
    // Printed before the first request: a script that asked for port 0 waits for this line.
    context.output.print(
        &json!({ "address": address.to_string(), "data": shown, "readOnly": read_only }),
        &format!("serving `{shown}` on http://{address}, until Ctrl-C"),
    )?;
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
