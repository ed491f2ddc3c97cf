//! The web page: what is stored here, for a person with a browser.
//!
//! 1. [`answer`] takes the rest of an address, and the browser's request.
//! 2. [`repositories`], [`repository`], [`image`], [`sequences`], [`sequence`] and [`state`] draw one page each; [`look`],
//!    [`attached`] and [`brought`] read what they show.
//! 3. [`frame`] puts it into a document; [`show`] knows how single values look.
//!
//! In: GET and HEAD. Out: HTML, one style, one script that only adds buttons. What must hold: it changes nothing; what
//! comes from an image is text, never markup, and the policy of the answer forbids what would slip through; reading
//! is bounded; a user sees what the user may pull.

mod attached;
mod brought;
mod frame;
mod image;
mod limits;
mod look;
mod repositories;
mod repository;
mod sequence;
mod sequences;
mod show;
mod state;

use std::cell::Cell;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, REFERRER_POLICY};
use http::header::{HeaderName, X_CONTENT_TYPE_OPTIONS};
use http::request::Parts;
use http::{Method, StatusCode};
use maud::{Markup, html};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::access::Caller;
use super::answer::{Answer, Fault, Payload};
use super::route::Query;
use super::{App, Transport, header};
use crate::parsing;
use crate::store::{Store, StoreError};
use frame::Place;

/// Turns to draw a page.
pub(super) fn turns() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(limits::DRAWN))
}

/// Turns to walk through the index of a sequence.
static WALKS: Semaphore = Semaphore::const_new(limits::WALKED);

/// Nothing from elsewhere, no script and no style in the document, in nobody's frame.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// A title and the content, or that there is no such page.
type Drawn = Result<Option<(String, Markup)>, StoreError>;

/// What a page is drawn for.
struct View {
    app: Arc<App>,
    /// What the browser calls this registry, and so what its clients can.
    host: String,
    /// Whether clients come without TLS.
    plain: bool,
    query: String,
    caller: Caller,
    /// The turn to parse, until nothing large is parsed any more.
    parse: Cell<parsing::Turn>,
    /// The browser has gone.
    gone: CancellationToken,
}

impl View {
    /// The storage. A registry without files of its own draws no page.
    fn store(&self) -> &Store {
        self.app.store.files().expect("asked before a page is drawn")
    }

    /// The value of a parameter, empty when there is none.
    fn parameter(&self, name: &str) -> String {
        Query::new(Some(&self.query)).get(name).unwrap_or_default()
    }

    /// The part of a name that is looked for.
    fn wanted(&self) -> String {
        show::clip(self.parameter("q").trim(), 255).to_lowercase()
    }

    /// Whether the user may know of this repository.
    fn sees(&self, repository: &str) -> bool {
        self.caller.opens(repository)
    }
}

/// Answers GET and HEAD of `/` (`rest` is empty) and of `/ui/<rest>`.
pub(super) async fn answer(
    app: &Arc<App>,
    parts: &Parts,
    rest: &str,
    caller: &Caller,
) -> Result<Answer, Fault> {
    if !matches!(parts.method, Method::GET | Method::HEAD) {
        return Err(Fault::unsupported("the page has GET only"));
    }
    if let Some((kind, text)) = asset(rest) {
        return Ok(finish(parts, StatusCode::OK, kind, Bytes::from_static(text.as_bytes()))
            .header(CACHE_CONTROL, "max-age=300"));
    }
    if app.store.files().is_none() {
        return Err(Fault::new(
            StatusCode::NOT_FOUND,
            "UNSUPPORTED",
            "the web page shows a registry on files of its own",
        ));
    }
    // Some browsers and people escape these; nothing else in an address of ours needs it.
    let rest = rest.replace("%3A", ":").replace("%3a", ":").replace("%40", "@");
    let gone = CancellationToken::new();
    let walk = match rest.starts_with(sequence::PATH) {
        true => Some(WALKS.acquire().await),
        false => None,
    };
    let turn = Arc::clone(&app.pages).acquire_owned().await;
    let view = View {
        app: Arc::clone(app),
        host: host(app, parts),
        plain: app.transport == Transport::Http,
        query: parts.uri.query().unwrap_or_default().to_owned(),
        caller: caller.clone(),
        parse: Cell::new(parsing::turn(parsing::LARGEST).await),
        gone: gone.clone(),
    };
    let waiting = gone.drop_guard();
    let drawn = tokio::task::spawn_blocking(move || {
        // All are held until the work is done, also when the browser is gone by then.
        let _held = (walk, turn);
        document(&view, &rest)
    });
    let (status, text) = drawn.await.map_err(|error| {
        tracing::error!(%error, "drawing a page broke off");
        Fault::internal("the registry failed; its log says why")
    })?;
    drop(waiting);
    Ok(finish(parts, status, "text/html; charset=utf-8", text.into())
        .header(CACHE_CONTROL, "no-store"))
}

fn asset(rest: &str) -> Option<(&'static str, &'static str)> {
    match rest {
        "style.css" => Some(("text/css; charset=utf-8", include_str!("style.css"))),
        "copy.js" => Some(("text/javascript; charset=utf-8", include_str!("copy.js"))),
        "icon.svg" => Some(("image/svg+xml", include_str!("icon.svg"))),
        _ => None,
    }
}

fn finish(parts: &Parts, status: StatusCode, kind: &str, text: Bytes) -> Answer {
    const OPENER: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
    let answer = Answer::new(status)
        .header(CONTENT_TYPE, kind)
        .header(CONTENT_SECURITY_POLICY, POLICY)
        .header(X_CONTENT_TYPE_OPTIONS, "nosniff")
        .header(REFERRER_POLICY, "no-referrer")
        .header(OPENER, "same-origin");
    match parts.method == Method::HEAD {
        true => answer.length(text.len() as u64),
        false => answer.body(Payload::Bytes(text)),
    }
}

/// What the browser called this registry, when that can be a name; else where it listens.
fn host(app: &App, parts: &Parts) -> String {
    let honest = |host: &&str| {
        let plain = |c: u8| c.is_ascii_alphanumeric() || b".-:[]".contains(&c);
        (1..=255).contains(&host.len()) && host.bytes().all(plain)
    };
    header(parts, HOST).filter(honest).map_or_else(|| app.address.to_string(), str::to_owned)
}

fn document(view: &View, rest: &str) -> (StatusCode, String) {
    let (place, drawn) = draw(view, rest);
    let (status, title, content) = match drawn {
        Ok(Some((title, content))) => (StatusCode::OK, title, content),
        Ok(None) => (StatusCode::NOT_FOUND, "Not found".to_owned(), not_found()),
        Err(error) => {
            // It may name paths, which are not the browser's business.
            tracing::error!(%error, "a page cannot be drawn");
            let content = html! {
                h1 { "The registry cannot read its storage" }
                p.lead { "Its log says why. Nothing was changed." }
            };
            (StatusCode::INTERNAL_SERVER_ERROR, "Failed".to_owned(), content)
        }
    };
    (status, show::harmless(frame::document(&title, &view.host, place, &content).into_string()))
}

fn draw(view: &View, rest: &str) -> (Place, Drawn) {
    match rest {
        "" => (Place::Repositories, repositories::draw(view)),
        "sequences" => (Place::Sequences, sequences::draw(view)),
        "health" => (Place::Health, state::draw(view)),
        _ if rest.starts_with(sequence::PATH) => (Place::Sequences, object(view, rest)),
        _ => (Place::Repositories, object(view, rest)),
    }
}

fn object(view: &View, rest: &str) -> Drawn {
    if let Some(name) = rest.strip_prefix("repository/") {
        return match name.parse() {
            Ok(repository) => repository::draw(view, &repository),
            Err(_) => Ok(None),
        };
    }
    if let Some(record) = rest.strip_prefix(sequence::PATH) {
        let Some((ledger, tag)) = record.split_once(':') else { return Ok(None) };
        return match (ledger.parse(), crate::record::sequence_of(tag)) {
            (Ok(ledger), Some(sequence)) => sequence::draw(view, &ledger, sequence),
            _ => Ok(None),
        };
    }
    let Some(reference) = rest.strip_prefix("image/") else { return Ok(None) };
    let (name, reference) = match (reference.split_once('@'), reference.split_once(':')) {
        (Some((name, digest)), _) => (name, digest.parse().ok().map(image::Reference::Digest)),
        (None, Some((name, tag))) => (name, tag.parse().ok().map(image::Reference::Tag)),
        (None, None) => return Ok(None),
    };
    match (name.parse(), reference) {
        (Ok(repository), Some(reference)) => image::draw(view, &repository, &reference),
        _ => Ok(None),
    }
}

fn not_found() -> Markup {
    html! {
        h1 { "There is nothing here" }
        p.lead { "The image or page does not exist, was removed, or may not be seen with this login." }
        p { a href="/" { "All repositories" } }
    }
}
