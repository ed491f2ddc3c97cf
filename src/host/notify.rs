//! How a registry tells systemd that it serves (`sd_notify`): one datagram to the socket in `NOTIFY_SOCKET`.
//!
//! In: the environment. Out: `systemctl start` returns when the registry listens, or fails with it. Without that variable
//! nothing happens.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// It listens.
pub fn ready() {
    const STATE: &str = "READY=1";
    let Some(name) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let address = match name.as_encoded_bytes() {
        // The abstract name space of the kernel.
        [b'@', rest @ ..] => SocketAddr::from_abstract_name(rest),
        _ => SocketAddr::from_pathname(&name),
    };
    let sent = address
        .and_then(|address| UnixDatagram::unbound()?.send_to_addr(STATE.as_bytes(), &address));
    if let Err(error) = sent {
        tracing::warn!(%error, "cannot tell systemd that this registry serves");
    }
}
