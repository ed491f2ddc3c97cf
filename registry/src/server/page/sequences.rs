//! The sequences that imports brought into this registry.
//!
//! In: the records that imports leave in repositories named `bundle-ledger`. Out: each stream with where it stands,
//! and what each sequence brought. What must hold: a record that cannot be read is told as such and hides no other.

use std::collections::BTreeMap;

use format_spec::head::Head;
use format_spec::{Repository, Sequence, StreamId, Tag, json};
use maud::{Markup, html};
use serde::Deserialize;

use super::frame::{Column, column, empty, facts, table};
use super::limits::{HEAD, SEQUENCES, STREAMS};
use super::{Drawn, StoreError, View, show};
use crate::manifest::Manifest;
use crate::record::{self, STREAM_PREFIX};

/// Whether a repository has records of imports instead of images.
pub(super) fn is_ledger(name: &str) -> bool {
    // Where a target allows few path components, the name is the end of a longer one.
    record::ledger_of(name).is_some()
}

/// Where a stream stands, as far as the page shows it.
#[derive(Deserialize)]
struct Record {
    sequence: Sequence,
    time: String,
    tool: String,
}

pub(super) fn draw(view: &View) -> Drawn {
    let ledgers = view
        .store()
        .visible_repositories("", STREAMS, &|name| is_ledger(name) && view.sees(name))?;
    let mut streams = Vec::new();
    for ledger in ledgers.entries.iter().filter_map(|name| name.parse::<Repository>().ok()) {
        let found =
            view.store().tags_where(&ledger, "", STREAMS, &|tag| stream_of(tag).is_some())?;
        for tag in found.0.entries {
            if let Some(stream) = stream_of(&tag) {
                streams.push(draw_stream(view, &ledger, stream, &tag)?);
            }
        }
    }
    streams.truncate(STREAMS);
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

fn draw_stream(
    view: &View,
    ledger: &Repository,
    stream: StreamId,
    tag: &str,
) -> Result<Markup, StoreError> {
    let record = layer(view, ledger, tag)?;
    let record: Option<Record> = record.and_then(|bytes| json::parse(&bytes).ok());
    let below = record::ledger_of(ledger.as_str()).unwrap_or_default();
    let into = below.trim_end_matches(['/', '-']);
    let mut found = BTreeMap::new();
    let wanted = |tag: &str| sequence_of(tag, stream).is_some();
    for tag in view.store().tags_where(ledger, "", usize::MAX, &wanted)?.0.entries {
        if let Some(number) = sequence_of(&tag, stream) {
            found.insert(number, tag);
            // The newest ones.
            if found.len() > SEQUENCES {
                found.pop_first();
            }
        }
    }
    let mut rows = Vec::new();
    for (number, tag) in found.iter().rev() {
        let head = layer(view, ledger, tag)?.and_then(|bytes| json::parse::<Head>(&bytes).ok());
        rows.push(row(*number, head.as_ref()));
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

fn row(number: Sequence, head: Option<&Head>) -> Vec<Markup> {
    let name = html! { "Sequence " (number) };
    let Some(head) = head else {
        return vec![name, html! { span.soft { "its record cannot be read" } }];
    };
    let totals = &head.totals;
    let kind = serde_json::to_value(head.kind).ok();
    let kind = kind.as_ref().and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
    vec![
        name,
        show::time(head.created.parse().ok()),
        html! {
            span.badges {
                span.badge { (kind) }
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
    let Some(stored) = view.store().get_manifest(ledger, &digest)? else { return Ok(None) };
    match Manifest::parse(&stored.bytes, Some(&stored.media_type)) {
        Ok(Manifest::Image(image)) => match image.layers.first() {
            Some(layer) => view.store().small_blob(ledger, &layer.digest.into(), HEAD),
            None => Ok(None),
        },
        _ => Ok(None),
    }
}
