//! What is looked at before anything is made.
//!
//! In: the place, the name and the port. Out: a failure where the installation cannot work, a warning where it may not.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs as _};
use std::path::Path;

use crate::failure::{Failure, Kind};
use crate::size;

/// Free bytes below which a mirror is hardly worth its beginning: one OpenShift release has more.
const FREE_LEAST: u64 = 12 << 30;

/// Where to listen: on every address of the machine. Of both families where the kernel gives both at once.
pub fn listen(port: u16) -> Result<SocketAddr, Failure> {
    let four = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
    let both = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    let (address, bound) = match TcpListener::bind(both) {
        Ok(listener) if only_six() => {
            drop(listener);
            (four, TcpListener::bind(four))
        }
        // No version 6 here.
        Err(error)
            if !matches!(error.kind(), ErrorKind::AddrInUse | ErrorKind::PermissionDenied) =>
        {
            (four, TcpListener::bind(four))
        }
        bound => (both, bound),
    };
    match bound {
        Ok(_) => Ok(address),
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            Err(Failure::new(Kind::Failed, format!("port {port} is in use on this machine"))
                .with_hint(format!(
                    "`ss -ltnp 'sport = :{port}'` shows by whom: stop that, or name another port: `--port N`"
                )))
        }
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            Err(Failure::usage(format!("this user may not listen on port {port}"))
                .with_hint("name a port from 1024 on: `--port 8443`; or install as root"))
        }
        Err(error) => Err(Failure::io(Kind::Failed, &format!("cannot listen on port {port}"), &error)),
    }
}

fn only_six() -> bool {
    fs_err::read_to_string("/proc/sys/net/ipv6/bindv6only").is_ok_and(|text| text.trim() == "1")
}

/// Says what may not work: a name that nobody can look up, little room.
pub fn warn(hostname: &str, data: &Path) {
    let bare = hostname.trim_start_matches('[').trim_end_matches(']');
    let is_address = bare.parse::<IpAddr>().is_ok();
    if !is_address && (bare, 0).to_socket_addrs().is_err() {
        tracing::warn!(
            "the name `{hostname}` cannot be looked up on this machine: clients need it in their DNS or in \
             /etc/hosts; an address works too: `--hostname ADDRESS`"
        );
    }
    let existing = data.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    if let Ok(state) = rustix::fs::statvfs(existing) {
        let free = state.f_bavail.saturating_mul(state.f_frsize);
        if free < FREE_LEAST {
            tracing::warn!(
                "{} are free below `{}`: one OpenShift release takes about {}",
                size::show(free),
                existing.display(),
                size::show(FREE_LEAST)
            );
        }
    }
}

/// The name of this machine, as others are expected to know it.
pub fn own_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().to_lowercase();
    match name.as_str() {
        "" | "(none)" => "localhost".to_owned(),
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_taken_is_refused_with_what_to_do() {
        let taken = TcpListener::bind("0.0.0.0:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let failure = listen(port).unwrap_err();
        assert_eq!(failure.kind, Kind::Failed);
        drop(taken);
        assert_eq!(listen(port).unwrap().port(), port);
    }
}
