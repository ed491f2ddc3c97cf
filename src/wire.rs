//! The registry client that the common options describe.

use registry::client::{Client, ClientOptions, RetryPolicy};
use registry::reference::RegistryHost;

use crate::cli::Common;
use crate::failure::Failure;

/// A client; `local` is a registry of our own on this machine, which speaks plain HTTP. Errors: a file
/// that configures access cannot be read.
pub fn client(common: &Common, local: Option<RegistryHost>) -> Result<Client, Failure> {
    for host in &common.insecure_tls {
        tracing::warn!(
            "the certificate of `{host}` is not checked: anybody on the way can read along"
        );
    }
    let mut plain_http = common.plain_http.clone();
    plain_http.extend(local);
    let delay = (!common.retry_delay.is_zero()).then_some(common.retry_delay);
    Ok(Client::new(ClientOptions {
        authfile: common.authfile.clone(),
        ca_files: common.ca_file.clone(),
        plain_http,
        insecure_tls: common.insecure_tls.clone(),
        registries_conf: common.registries_conf.clone(),
        retry: RetryPolicy { times: common.retry_times, delay },
        stall: common.stall_timeout,
        user_agent: concat!("bundle/", env!("CARGO_PKG_VERSION")).to_owned(),
        ..ClientOptions::default()
    })?)
}
