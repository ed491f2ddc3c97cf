//! The mirror registry by itself: `serve DIR [ADDRESS]`. Prints the address when it is ready.

use std::net::SocketAddr;

use registry::server::{ServerConfig, serve};
use tokio_util::sync::CancellationToken;

#[tokio::main]
#[allow(clippy::print_stdout)]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let data = arguments.next().ok_or("the data directory is missing")?;
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:0".to_owned());
    let config = ServerConfig::new(data, address.parse::<SocketAddr>()?);
    let stop = CancellationToken::new();
    tokio::spawn({
        let stop = stop.clone();
        async move {
            if tokio::signal::ctrl_c().await.is_ok() {
                stop.cancel();
            }
        }
    });
    serve(config, stop, |address| println!("{address}")).await?;
    Ok(())
}
