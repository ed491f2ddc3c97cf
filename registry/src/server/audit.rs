//! Who did what, for those who have to know later: events of the target `audit`, with the same fields each.
//!
//! In: logins, changes of content and of accounts. Out: events `user`, `address`, `action`, `repository`, `outcome`. What must hold: no
//! secret; a name from outside is cut to a length.

use std::collections::HashMap;
use std::net::IpAddr;

use http::Method;
use http::request::Parts;

use super::access::Caller;
use super::answer::{Answer, Fault};
use super::route::Route;

/// A login that was verified, or refused.
pub(super) fn login(user: &str, address: IpAddr, accepted: bool) {
    let user: String = user.chars().take(128).collect();
    let outcome = if accepted { "accepted" } else { "refused" };
    match accepted {
        true => {
            tracing::info!(target: "audit", user, %address, action = "login", repository = "", outcome, "login");
        }
        false => {
            tracing::warn!(target: "audit", user, %address, action = "login", repository = "", outcome, "login");
        }
    }
}

/// A change of content: what moved a tag or removed something.
pub(super) fn change(
    caller: &Caller,
    address: IpAddr,
    parts: &Parts,
    outcome: &Result<Answer, Fault>,
) {
    let action = match parts.method {
        Method::PUT => "push",
        Method::DELETE => "delete",
        _ => return,
    };
    let Ok(route) = super::route::parse(parts.uri.path()) else { return };
    let (repository, object) = match &route {
        Route::Manifest(repository, reference) => (repository, reference.clone()),
        Route::Blob(repository, digest) => (repository, digest.to_string()),
        // Blobs come before the manifest that tells of them.
        _ => return,
    };
    let outcome = match outcome {
        Ok(_) => "done",
        Err(fault) => fault.code,
    };
    let (user, object): (_, String) = (caller.name(), object.chars().take(200).collect());
    tracing::info!(target: "audit", user, %address, action, %repository, object, outcome, "change");
}

/// Accounts that came, went, or have another password, found when the files were read again.
pub(super) fn changed(before: &HashMap<String, String>, after: &HashMap<String, String>) {
    let tell = |user: &str, action: &str| {
        tracing::info!(target: "audit", user, address = "", action, repository = "", outcome = "done", "account");
    };
    for (name, mark) in after {
        match before.get(name) {
            None => tell(name, "account added"),
            Some(old) if old != mark => tell(name, "password changed"),
            Some(_) => {}
        }
    }
    for name in before.keys().filter(|name| !after.contains_key(*name)) {
        tell(name, "account removed");
    }
    tell("", "accounts or roles changed");
}
