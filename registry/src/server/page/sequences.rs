//! The sequences that imports brought into this registry.
//!
//! In: the records that imports leave in repositories named `bundle-ledger`. Out: each stream with where it stands,
//! and each sequence in one line; [`sequence`] has a page for each.
//! What must hold: a record that cannot be read is told as such and hides no other;
//! what is read is bounded in all, as each record may be as large as who pushed it liked; it ends with the browser.

use std::collections::BTreeSet;

use format_spec::head::{Head, Kind};
use format_spec::{Repository, Sequence, StreamId, Tag, json};
use maud::{Markup, html};
use serde::Deserialize;

use super::frame::{Column, column, empty, facts, table};
use super::limits::{LISTED, SEQUENCES, STANDING, STREAMS};
use super::{Drawn, StoreError, View, sequence, show};
use crate::manifest::Manifest;
use crate::record::{self, STREAM_PREFIX};
use crate::store::SequenceError;

/// Whether a repository has records of imports instead of images.
pub(super) fn is_ledger(name: &str) -> bool {
    // Where a target allows few path components, the name is the end of a longer one.
    record::ledger_of(name).is_some()
}

/// Where a stream stands, as far as the page shows it.
#[derive(Deserialize)]
pub(super) struct Record {
    sequence: Sequence,
    time: String,
    tool: String,
    /// Path components that repositories were given at most; 0 for any number.
    #[serde(default, rename = "maxNestedPaths")]
    pub(super) nested: usize,
}

/// The record of a stream; `None` when it cannot be read.
pub(super) fn standing(
    view: &View,
    ledger: &Repository,
    stream: StreamId,
) -> Result<Option<Record>, StoreError> {
    let record = layer(view, ledger, &format!("{STREAM_PREFIX}{stream}"))?;
    Ok(record.and_then(|bytes| json::parse(&bytes).ok()))
}

/// What was read of a sequence's record, or why it cannot be. One that cannot hides no other.
pub(super) fn readable<T>(read: Result<T, SequenceError>) -> Result<T, String> {
    read.map_err(|error| match error {
        SequenceError::Record { problem, .. } => problem,
        SequenceError::Store(error) => {
            // It may name paths, which are not the browser's business.
            tracing::error!(%error, "a record of a sequence cannot be read");
            "the registry cannot read its storage, and its log says why".to_owned()
        }
    })
}

/// What a kind is called.
pub(super) fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Full => "full",
        Kind::Incremental => "incremental",
    }
}

pub(super) fn draw(view: &View) -> Drawn {
    let ledgers = view
        .store()
        .visible_repositories("", STREAMS, &|name| is_ledger(name) && view.sees(name))?;
    let mut streams = Vec::new();
    let mut left = LISTED;
    for ledger in ledgers.entries.iter().filter_map(|name| name.parse::<Repository>().ok()) {
        let more = STREAMS - streams.len();
        let found = view.store().tags_where(&ledger, "", more, &|tag| stream_of(tag).is_some())?;
        for stream in found.0.entries.iter().filter_map(|tag| stream_of(tag)) {
            if view.gone.is_cancelled() {
                return Ok(None);
            }
            streams.push(draw_stream(view, &ledger, stream, &mut left)?);
        }
    }
    Ok(Some((
        "Sequences".to_owned(),
        html! {
            h1 { "Sequences" }
            p.lead { "What was carried here on media, stream by stream." }
            @if streams.is_empty() {
                (empty(&["No sequence was imported into this registry."]))
            }
            @for stream in streams { (stream) }
        },
    )))
}

fn stream_of(tag: &str) -> Option<StreamId> {
    tag.strip_prefix(STREAM_PREFIX)?.parse().ok()
}

fn sequence_of(tag: &str, stream: StreamId) -> Option<Sequence> {
    record::sequence_of(tag).filter(|(of, _)| *of == stream).map(|(_, sequence)| sequence)
}

/// What stands before the names of what a ledger speaks for, as a person reads it.
pub(super) fn namespace(ledger: &Repository) -> &str {
    record::ledger_of(ledger.as_str()).unwrap_or_default().trim_end_matches(['/', '-'])
}

fn draw_stream(
    view: &View,
    ledger: &Repository,
    stream: StreamId,
    left: &mut u64,
) -> Result<Markup, StoreError> {
    let record = standing(view, ledger, stream)?;
    let into = namespace(ledger);
    let mut found = BTreeSet::new();
    let wanted = |tag: &str| sequence_of(tag, stream).is_some();
    for tag in view.store().tags_where(ledger, "", usize::MAX, &wanted)?.0.entries {
        if let Some(number) = sequence_of(&tag, stream) {
            found.insert(number);
            // The newest ones.
            if found.len() > SEQUENCES {
                found.pop_first();
            }
        }
    }
    let mut rows = Vec::new();
    for number in found.iter().rev() {
        let one = view.store().sequence(ledger, (stream, *number))?;
        let head = readable(view.store().sequence_head_within(&one, left));
        rows.push(row(&sequence::at(ledger, stream, *number), *number, head));
    }
    const COLUMNS: [Column; 7] = [
        Column { name: "Sequence", class: "name" },
        column("Written"),
        column("Kind"),
        Column { name: "Images", class: "number" },
        Column { name: "Blobs", class: "number" },
        Column { name: "Brought", class: "number" },
        Column { name: "Removed", class: "number" },
    ];
    Ok(html! {
        h2 { "Stream " code title=(stream) { (stream.short()) } @if !into.is_empty() { small { "into " (into) } } }
        @match &record {
            Some(record) => (facts(&[
                ("Stands at", html! { "sequence " (record.sequence) }),
                ("Imported", show::time(record.time.parse().ok())),
                ("By", html! { (show::clip(&record.tool, 60)) }),
            ])),
            None => { p.note.warn { "The record of this stream cannot be read; the next import writes it again." } }
        }
        @if !rows.is_empty() { (table("Sequences of this stream", &COLUMNS, &rows)) }
    })
}

fn row(at: &str, number: Sequence, head: Result<Option<Head>, String>) -> Vec<Markup> {
    let name = html! { a href=(at) { "Sequence " (number) } };
    let head = match head {
        Ok(Some(head)) => head,
        Ok(None) => return vec![name, html! { span.soft { "its own page tells" } }],
        Err(_) => return vec![name, html! { span.soft { "its record cannot be read" } }],
    };
    let totals = &head.totals;
    vec![
        name,
        show::time(head.created.parse().ok()),
        html! {
            span.badges {
                span.badge { (kind(head.kind)) }
                @if !head.failures.is_empty() {
                    span.badge.warn { (show::count(head.failures.len(), "image missing", "images missing")) }
                }
            }
        },
        html! { (totals.references) },
        html! { (totals.blobs) },
        show::bytes(totals.bytes),
        html! { (totals.removals) },
    ]
}

/// The first layer of an artifact.
fn layer(view: &View, ledger: &Repository, tag: &str) -> Result<Option<Vec<u8>>, StoreError> {
    let Ok(tag) = tag.parse::<Tag>() else { return Ok(None) };
    let Some(digest) = view.store().resolve_tag(ledger, &tag)? else { return Ok(None) };
    if view.store().manifest_size(ledger, &digest)? > STANDING {
        return Ok(None);
    }
    let Some(stored) = view.store().get_manifest(ledger, &digest)? else { return Ok(None) };
    match Manifest::parse(&stored.bytes, Some(&stored.media_type)) {
        Ok(Manifest::Image(image)) => match image.layers.first() {
            Some(layer) => view.store().small_blob(ledger, &layer.digest.into(), STANDING),
            None => Ok(None),
        },
        _ => Ok(None),
    }
}
