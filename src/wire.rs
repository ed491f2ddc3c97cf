//! The registry client that the common options describe.

use registry::client::{Client, ClientOptions, MirrorSet, RetryPolicy};
use registry::reference::RegistryHost;

use crate::cli::Common;
use crate::failure::Failure;

/// For what a client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side<'a> {
    /// Sources: `registries.conf` may send a pull to mirrors. The host of a history whose
    /// configuration says `skipTLS`, if there is one.
    Source(Option<&'a RegistryHost>),
    /// A target: what is asked of it must be answered by it and by no mirror of it.
    Target,
    /// A registry of our own on this machine, which speaks plain HTTP.
    Local(&'a RegistryHost),
}

/// A client. Errors: a file that configures access cannot be read.
pub fn client(common: &Common, side: Side<'_>) -> Result<Client, Failure> {
    client_with(common, side, Vec::new())
}

/// The same with further mirrors.
pub fn client_with(
    common: &Common,
    side: Side<'_>,
    mirror_sets: Vec<MirrorSet>,
) -> Result<Client, Failure> {
    let mut insecure_tls = common.insecure_tls.clone();
    let mut plain_http = common.plain_http.clone();
    match side {
        // A configuration means one registry, not every port of its host.
        Side::Source(skip_tls) => insecure_tls.extend(skip_tls.map(|host| host.with_port(443))),
        Side::Local(host) => plain_http.push(host.clone()),
        Side::Target => {}
    }
    let delay = (!common.retry_delay.is_zero()).then_some(common.retry_delay);
    Ok(Client::new(ClientOptions {
        authfile: common.authfile.clone(),
        ca_files: common.ca_file.clone(),
        plain_http,
        insecure_tls,
        registries_conf: common.registries_conf.clone(),
        mirrors: matches!(side, Side::Source(_)),
        mirror_sets,
        retry: RetryPolicy { times: common.retry_times, delay },
        stall: common.stall_timeout,
        user_agent: concat!("bundle/", env!("CARGO_PKG_VERSION")).to_owned(),
        ..ClientOptions::default()
    })?)
}
