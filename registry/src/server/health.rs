//! How the registry is: alive, ready, and in figures.
//!
//! In: the store, the file system below it, the certificate, the counters. Out: `/healthz`, `/readyz`,
//! `/metrics`, and what the control socket and the page say. What must hold: nobody has to log in to ask whether
//! it is alive or ready, so neither answer has a path, a name or a figure that would help an attacker.

use std::path::Path;
use std::sync::Arc;

use http::StatusCode;
use http::header::CACHE_CONTROL;
use jiff::Timestamp;
use serde_json::json;

use super::App;
use super::access::Access;
use super::answer::{Answer, Payload};
use super::control::Status;
use super::metrics::Text;

/// Room of the file system that the data are on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Space {
    /// Bytes that this process can still write.
    pub(super) free: u64,
    /// Bytes of the whole.
    pub(super) total: u64,
}

/// The room below `data`; `None` when the system does not say.
pub(super) fn space(data: &Path) -> Option<Space> {
    let told = rustix::fs::statvfs(data)
        .inspect_err(|error| tracing::warn!(%error, "cannot ask for free space"))
        .ok()?;
    Some(Space {
        free: told.f_bavail.saturating_mul(told.f_frsize),
        total: told.f_blocks.saturating_mul(told.f_frsize),
    })
}

/// What a person or a program may be told about this registry.
pub(super) fn status(app: &App) -> Status {
    let space = space(&app.data);
    let usage = app.store.usage();
    let certificate = app.tls.as_ref().map(|tls| tls.about().not_after);
    Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        address: app.address.to_string(),
        uptime: app.began.elapsed().as_secs(),
        read_only: app.read_only,
        settings: app.mark.clone(),
        failed: app.store.failed().map(str::to_owned),
        storage_problem: None,
        access_problem: app.access.as_ref().and_then(Access::problem),
        free_bytes: space.map(|space| space.free),
        total_bytes: space.map(|space| space.total),
        reserve_bytes: usage.map(|usage| usage.reserve),
        quota_bytes: usage.and_then(|usage| usage.quota),
        used_bytes: usage.and_then(|usage| usage.used),
        certificate_days: certificate
            .map(|end| (end.as_second() - Timestamp::now().as_second()) / 86_400),
        last_collection: app.collections.last(),
        uploads: app.store.pending_uploads(),
    }
}

/// Of a bucket that cannot be read; the log and the control socket say why.
const AWAY: &str = "the object storage does not answer: nothing can be pulled or pushed";

/// Why nothing can be pushed or pulled as it should; empty when all is well.
pub(super) fn reasons(app: &App) -> Vec<&'static str> {
    let mut reasons = Vec::new();
    if app.store.failed().is_some() {
        reasons.push("a sync of the storage has failed: every change is refused");
    }
    // Who only reads needs no room.
    let usage = app.store.usage().filter(|_| !app.read_only);
    if let Some(usage) = usage
        && space(&app.data).is_some_and(|space| space.free < usage.reserve)
    {
        reasons.push("less space is free than is kept in reserve");
    }
    if app.tls.as_ref().is_some_and(|tls| tls.about().not_after <= Timestamp::now()) {
        reasons.push("the certificate has ended: clients refuse it");
    }
    reasons
}

/// `/healthz`: the process answers.
pub(super) fn alive() -> Answer {
    Answer::json(StatusCode::OK, "application/json", &json!({ "status": "alive" }))
        .header(CACHE_CONTROL, "no-store")
}

/// `/readyz`: it can do its work.
pub(super) async fn ready(app: &Arc<App>) -> Answer {
    let away = app.store.problem().await.map(|_| AWAY);
    let app = Arc::clone(app);
    // A file system that hangs must not hold up the others.
    let reasons = tokio::task::spawn_blocking(move || reasons(&app)).await;
    let mut reasons = reasons.unwrap_or_else(|_| vec!["the registry failed; its log says why"]);
    reasons.extend(away);
    let (status, word) = match reasons.is_empty() {
        true => (StatusCode::OK, "ready"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "not ready"),
    };
    Answer::json(status, "application/json", &json!({ "status": word, "reasons": reasons }))
        .header(CACHE_CONTROL, "no-store")
}

/// `/metrics`.
pub(super) async fn metrics(app: &Arc<App>) -> Answer {
    let away = app.store.problem().await.is_some();
    let app = Arc::clone(app);
    let text = tokio::task::spawn_blocking(move || text(&app, away)).await;
    match text {
        Ok(text) => Answer::new(StatusCode::OK)
            .header(http::header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")
            .header(CACHE_CONTROL, "no-store")
            .body(Payload::Bytes(text.into())),
        Err(_) => Answer::new(StatusCode::INTERNAL_SERVER_ERROR),
    }
}

fn text(app: &App, away: bool) -> String {
    let mut text = Text::default();
    let status = status(app);
    text.about("build_info", "gauge", "The program; the value is 1.");
    text.line("build_info", &[("version", &status.version)], 1);
    text.gauge("uptime_seconds", "Seconds since the start.", status.uptime);
    app.metrics.write(&mut text);
    text.gauge("uploads", "Uploads that are not finished.", status.uploads);
    let ready = u8::from(!away && reasons(app).is_empty());
    text.gauge("ready", "1 when `/readyz` says so.", ready);
    let failed = u8::from(status.failed.is_some());
    text.gauge("storage_failed", "1 when a sync has failed and changes are refused.", failed);
    if let (Some(free), Some(total)) = (status.free_bytes, status.total_bytes) {
        text.gauge("free_bytes", "Bytes free on the file system of the data.", free);
        text.gauge("size_bytes", "Bytes of the file system of the data.", total);
    }
    for (name, help, bytes) in [
        ("reserve_bytes", "Bytes that stay free on it.", status.reserve_bytes),
        ("quota_bytes", "Bytes that blobs, manifests and uploads may have.", status.quota_bytes),
        ("used_bytes", "Bytes that they have, once they are counted.", status.used_bytes),
    ] {
        if let Some(bytes) = bytes {
            text.gauge(name, help, bytes);
        }
    }
    let dropped = app.peers.dropped();
    let help =
        "Connections that did nothing and made room for others, or were too many of one address.";
    text.counter("connections_dropped_total", help, dropped);
    app.collections.write(&mut text);
    let refused = app.access.as_ref().map_or(0, Access::refused);
    text.counter("logins_refused_total", "Logins refused.", refused);
    let held = u8::from(status.access_problem.is_some());
    let help =
        "1 when a file of users, robots or roles is broken or gone, and what it said before holds.";
    text.gauge("access_files_held", help, held);
    if let Some(tls) = &app.tls {
        let ends = tls.about().not_after.as_second();
        text.gauge("certificate_expiry_timestamp_seconds", "When the certificate ends.", ends);
    }
    let (access, audit) = app.logs.dropped();
    let name = "log_lines_dropped_total";
    text.about(name, "counter", "Lines that a log could not take.");
    text.line(name, &[("log", "access")], access);
    text.line(name, &[("log", "audit")], audit);
    text.finish()
}
