//! Who did what, for those who have to know later: lines of the audit log, and events of the target `audit` of the log.
//!
//! In: logins, changes of content and of accounts. Out: the same fields for each. What must hold: no secret; what comes
//! from outside is cut to a length.

use std::collections::HashMap;
use std::net::IpAddr;

use http::{Method, Response, StatusCode};
use serde_json::{Map, Value, json};

use super::account::Account;
use super::answer::{Payload, field};
use super::limits::LOG_PATH;
use super::logs::{Logs, now};
use super::route::Route;

/// Something that is written down.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Event<'a> {
    /// What was done: `push`, `delete`, `login`, `collect`.
    pub(super) action: &'a str,
    /// What came of it: `ok`, `refused`, `failed`.
    pub(super) outcome: &'a str,
    /// Who did it, where somebody has logged in.
    pub(super) user: Option<&'a str>,
    /// From where.
    pub(super) address: Option<IpAddr>,
    /// In which repository.
    pub(super) repository: Option<&'a str>,
    /// To which tag or digest.
    pub(super) reference: Option<&'a str>,
    /// The digest that a tag was given.
    pub(super) digest: Option<&'a str>,
    /// More, for a person.
    pub(super) detail: Option<&'a str>,
}

impl Event<'_> {
    /// The event as a line that has no place in the chain yet.
    pub(super) fn line(&self) -> String {
        let mut line = Map::new();
        line.insert("time".into(), json!(now()));
        line.insert("action".into(), json!(self.action));
        line.insert("outcome".into(), json!(self.outcome));
        let address = self.address.map(|address| address.to_string());
        let texts = [
            ("user", self.user),
            ("address", address.as_deref()),
            ("repository", self.repository),
            ("reference", self.reference),
            ("digest", self.digest),
            ("detail", self.detail),
        ];
        for (name, text) in texts {
            if let Some(text) = text {
                let text: String = text.chars().take(LOG_PATH).collect();
                line.insert(name.into(), json!(text));
            }
        }
        Value::Object(line).to_string()
    }
}

/// Writes an event down, in both places.
fn tell(logs: &Logs, event: &Event<'_>) {
    let Event { action, outcome, .. } = *event;
    let user: String = event.user.unwrap_or_default().chars().take(128).collect();
    let address = event.address.map(|address| address.to_string()).unwrap_or_default();
    let repository = event.repository.unwrap_or_default();
    let object: String = event.reference.unwrap_or_default().chars().take(200).collect();
    match outcome {
        "ok" => {
            tracing::info!(target: "audit", user, address, action, repository, object, outcome);
        }
        _ => tracing::warn!(target: "audit", user, address, action, repository, object, outcome),
    }
    logs.audit(event);
}

/// A login that was verified, or refused.
pub(super) fn login(logs: &Logs, user: &str, address: IpAddr, accepted: bool) {
    let outcome = if accepted { "ok" } else { "refused" };
    let (user, address) = (Some(user), Some(address));
    tell(logs, &Event { action: "login", outcome, user, address, ..Event::default() });
}

/// A request that was to move a tag or remove something, seen from its answer.
pub(super) fn change(logs: &Logs, account: &Account, route: &Route, response: &Response<Payload>) {
    let (action, repository, reference) = match (route, &account.method) {
        (Route::Manifest(repository, reference), &Method::PUT) => {
            ("push", repository, reference.clone())
        }
        (Route::Manifest(repository, reference), &Method::DELETE) => {
            ("delete", repository, reference.clone())
        }
        (Route::Blob(repository, digest), &Method::DELETE) => {
            ("delete-blob", repository, digest.to_string())
        }
        // Blobs come before the manifest that tells of them.
        _ => return,
    };
    let status = response.status();
    let outcome = match status {
        // A client that is asked to log in has done nothing yet; a login that fails is an event of its own.
        StatusCode::UNAUTHORIZED => return,
        StatusCode::FORBIDDEN => "refused",
        _ if status.is_success() => "ok",
        _ => "failed",
    };
    let digest = response.headers().get(field::DIGEST).and_then(|digest| digest.to_str().ok());
    let event = Event {
        action,
        outcome,
        user: account.user.as_deref(),
        address: Some(account.remote.ip()),
        repository: Some(repository.as_str()),
        reference: Some(&reference),
        digest,
        detail: None,
    };
    tell(logs, &event);
}

/// Accounts that came, went, or have another password, found when the files were read again; `by` says who of this machine
/// did it, where a command told.
pub(super) fn changed(
    logs: &Logs,
    before: &HashMap<String, String>,
    after: &HashMap<String, String>,
    by: Option<&str>,
) {
    let one = |user: Option<&str>, action: &str| {
        tell(logs, &Event { action, outcome: "ok", user, detail: by, ..Event::default() });
    };
    for (name, mark) in after {
        match before.get(name) {
            None => one(Some(name), "account-added"),
            Some(old) if old != mark => one(Some(name), "password-changed"),
            Some(_) => {}
        }
    }
    for name in before.keys().filter(|name| !after.contains_key(*name)) {
        one(Some(name), "account-removed");
    }
    one(None, "access-changed");
}

/// A command that changed accounts, after the change itself was seen.
pub(super) fn announced(logs: &Logs, by: &str) {
    let event =
        Event { action: "access-changed", outcome: "ok", detail: Some(by), ..Event::default() };
    tell(logs, &event);
}
