//! A sequence: who made it, what it brought, what it left out.
//!
//! In: a ledger, a stream and a number; `q`, `only` and `from` of the address. Out: what the head says, and a page of the names in the index
//! with what became of them here. What must hold: a damaged record is told as such; of a repository that the reader may
//! not pull nothing is told; what belongs to no repository for certain is told to who may pull all of the namespace.

use std::collections::BTreeMap;
use std::time::SystemTime;

use format_spec::head::{Failure, Head, Link};
use format_spec::{Digest, Repository, Sequence, StreamId};
use jiff::Timestamp;
use maud::{Markup, html};

use super::attached::is_attached;
use super::brought::{self, Asked, Brought, Name, Sort};
use super::frame::{
    Column, address, column, cut, empty, facts, named_values, pages, search, table,
};
use super::limits::{BROUGHT, HEAD, ROWS, VALUE};
use super::sequences::{is_ledger, kind, namespace, readable, standing};
use super::{Drawn, StoreError, View, show};
use crate::content::ContentDigest;
use crate::record;
use crate::store::{SequenceRecord, Store};

/// What the addresses of these pages begin with, below `/ui/`.
pub(super) const PATH: &str = "sequence/";

/// The address of the page of a sequence: of the tag of its record.
pub(super) fn at(ledger: &Repository, stream: StreamId, sequence: Sequence) -> String {
    format!("/ui/{PATH}{ledger}:{}", record::sequence_tag(stream, sequence))
}

pub(super) fn draw(
    view: &View,
    ledger: &Repository,
    (stream, number): (StreamId, Sequence),
) -> Drawn {
    if !is_ledger(ledger.as_str()) || !view.sees(ledger.as_str()) {
        return Ok(None);
    }
    let tag = record::sequence_tag(stream, number);
    let Some(imported) = view.store().tag_time(ledger, &tag)? else { return Ok(None) };
    let one = view.store().sequence(ledger, (stream, number))?;
    let body = match readable(view.store().sequence_head(&one, HEAD)) {
        Ok((head, digest)) => html! {
            (about(&head, imported))
            (named_values("Labels", head.labels.iter()))
            (failures(view, ledger, &head.failures))
            (origin(view.store(), &one, &head, &digest)?)
            (contents(view, &one, &head)?)
        },
        Err(problem) => damaged(&problem),
    };
    let into = namespace(ledger);
    Ok(Some((
        format!("Sequence {number}"),
        html! {
            nav aria-label="Path" { ol.path { li { a href="/ui/sequences" { "Sequences" } } } }
            h1 {
                "Sequence " (number) " "
                small { "of stream " code { (stream.short()) } @if !into.is_empty() { " into " (into) } }
            }
            (body)
        },
    )))
}

fn damaged(problem: &str) -> Markup {
    html! {
        div.note.bad role="alert" {
            p { strong { "What this sequence brought cannot be told." } " Its record is damaged: " (show::clip(problem, VALUE)) "." }
            p { "“bundle registry fsck” says what else is, and which file of which medium puts it back." }
        }
    }
}

fn about(head: &Head, imported: SystemTime) -> Markup {
    let totals = &head.totals;
    facts(&[
        ("Written", show::time(head.created.parse().ok())),
        ("Imported", show::time(Timestamp::try_from(imported).ok())),
        ("Kind", html! { (kind(head.kind)) }),
        ("Brought", show::bytes(totals.bytes)),
        ("Images", html! { (totals.references) }),
        ("Manifests", html! { (totals.manifests) }),
        ("Blobs", html! { (totals.blobs) }),
        ("From earlier", html! { (totals.required) }),
    ])
}

/// Who made it, and what it follows.
fn origin(
    store: &Store,
    one: &SequenceRecord,
    head: &Head,
    digest: &Digest,
) -> Result<Markup, StoreError> {
    let signers = readable(store.sequence_signers(one)).unwrap_or_default();
    let bytes = head.parts.iter().fold(0_u64, |sum, part| sum.saturating_add(part.bytes));
    let earlier = |link: &Link| -> Result<Markup, StoreError> {
        let tag = record::sequence_tag(one.stream, link.sequence);
        let here = store.tag_time(&one.repository, &tag)?.is_some();
        Ok(html! {
            @if here { a href=(at(&one.repository, one.stream, link.sequence)) { "sequence " (link.sequence) } }
            @else { "sequence " (link.sequence) }
        })
    };
    let times =
        [("Not to be imported after", &head.expires), ("Next one expected", &head.next_expected)];
    Ok(html! {
        h2 { "Origin" }
        dl.pairs {
            dt { "Signed by" }
            dd {
                @if signers.is_empty() { span.soft { "not recorded" } }
                @for id in &signers { div { code { (id) } } }
            }
            dt { "Stream" } dd { code { (one.stream) } }
            dt { "Head" } dd { code { (digest) } }
            @if let Some(previous) = &head.previous { dt { "Follows" } dd { (earlier(previous)?) } }
            @if let Some(base) = &head.base { dt { "Rests on" } dd { (earlier(base)?) " or a later one" } }
            dt { "Medium" } dd { (show::count(head.parts.len(), "part", "parts")) ", " (show::bytes(bytes)) }
            dt { "Made by" } dd { (show::clip(&head.tool.name, 60)) " " (show::clip(&head.tool.version, 60)) }
            @for (name, time) in times {
                @if let Some(time) = time { dt { (name) } dd { (show::time(time.parse().ok())) } }
            }
        }
    })
}

/// What was wished for and is not in it. It is named as it was configured, and so after no repository of this registry.
fn failures(view: &View, ledger: &Repository, failures: &[Failure]) -> Markup {
    const COLUMNS: [Column; 3] = [
        Column { name: "Wished for", class: "name" },
        column("Class"),
        Column { name: "Why not", class: "free" },
    ];
    let below = record::ledger_of(ledger.as_str()).and_then(|before| before.rsplit_once('/'));
    let all = view.caller.opens_all_below(below.map_or("", |(namespace, _)| namespace));
    let rows: Vec<_> = failures
        .iter()
        .take(ROWS)
        .map(|failure| {
            vec![
                html! { (show::clip(&failure.reference, VALUE)) },
                html! { span.badge { (Sort::Set(failure.class).word()) } },
                html! { (show::clip(&failure.reason, VALUE)) },
            ]
        })
        .collect();
    html! {
        @if !failures.is_empty() {
            h2 { "Left out" small { (failures.len()) } }
            p { "Wished for, and could not be had when the sequence was made." }
            @if all {
                (table("What was left out", &COLUMNS, &rows))
                (cut(failures.len()))
            } @else {
                p.soft { "What it is, is shown to who may pull everything that sequences may bring here." }
            }
        }
    }
}

/// What is in the index.
fn contents(view: &View, one: &SequenceRecord, head: &Head) -> Result<Markup, StoreError> {
    let Some(standing) = standing(view, &one.repository, one.stream)? else {
        // Nor is it known then who may see what.
        return Ok(html! {
            h2 { "Contents" }
            p.note.warn {
                "The record of this stream cannot be read, so it is not known what the images are called here;                  the next import writes it again."
            }
        });
    };
    let asked = Asked {
        wanted: view.wanted(),
        only: Sort::of(&view.parameter("only")),
        from: view.parameter("from").parse().unwrap_or(0),
    };
    // What is large was parsed, and the rest takes a while.
    drop(view.parse.take());
    let brought = match readable(brought::walk(view, (one, head), standing.nested, &asked)) {
        Ok(brought) => brought,
        Err(problem) => return Ok(html! { h2 { "Contents" } (damaged(&problem)) }),
    };
    let here = at(&one.repository, one.stream, one.sequence);
    let only = asked.only.map_or("", Sort::word);
    let link = |only: &str, from: u64| {
        let from = if from == 0 { String::new() } else { from.to_string() };
        address(&here, &[("q", &asked.wanted), ("only", only), ("from", &from)]) + "#contents"
    };
    let next = asked.from.saturating_add(BROUGHT as u64);
    let next = (next < brought.matching).then(|| link(only, next));
    let first = (asked.from > 0).then(|| link(only, 0));
    let (set, removed): (Vec<&Name>, Vec<&Name>) =
        brought.names.iter().partition(|name| name.sort != Sort::Removed);
    let mut now = Now { store: view.store(), known: BTreeMap::new() };
    Ok(html! {
        h2 #contents { "Contents" }
        (search(&format!("{here}#contents"), &asked.wanted, &[("only", only)]))
        (sorts(&brought, asked.only, &|only| link(only, 0)))
        @if brought.names.is_empty() {
            @match (asked.wanted.is_empty(), first.is_some()) {
                (false, false) => (empty(&["No repository has this in its name."])),
                _ => (empty(&["There is nothing here that this login may pull."])),
            }
        }
        @if !set.is_empty() { (now.set(&set)?) }
        @if !removed.is_empty() {
            p.soft { "These names left the configuration. What is still here the import was told to keep, or somebody gave it the name since." }
            (now.removed(&removed)?)
        }
        (pages(first, next))
    })
}

/// How many there are of each sort, and the way to see only them.
fn sorts(brought: &Brought, only: Option<Sort>, link: &dyn Fn(&str) -> String) -> Markup {
    let all = brought.counts.iter().sum::<u64>();
    let there = Sort::ALL.into_iter().zip(brought.counts);
    let there: Vec<_> = there.filter(|(sort, count)| *count > 0 || only == Some(*sort)).collect();
    html! {
        @if !there.is_empty() {
            nav aria-label="Sorts of contents" {
                ul.sorts {
                    li { a href=(link("")) aria-current=[only.is_none().then_some("true")] { "all " (all) } }
                    @for (sort, count) in there {
                        li {
                            a href=(link(sort.word())) aria-current=[(only == Some(sort)).then_some("true")] {
                                (sort.word()) " " (count)
                            }
                        }
                    }
                }
            }
        }
    }
}

/// What became of names, looked up once for each repository.
struct Now<'a> {
    store: &'a Store,
    known: BTreeMap<Repository, bool>,
}

/// What became of one.
struct State {
    /// The repository, with the way to it if it is there.
    repository: Markup,
    tag: Markup,
    digest: Markup,
    /// What the tag stands for now, if it is there.
    stands: Option<ContentDigest>,
    /// Whether the content is there.
    here: bool,
}

impl Now<'_> {
    fn of(&mut self, name: &Name) -> Result<State, StoreError> {
        let repository = &name.repository;
        let known = match self.known.get(repository) {
            Some(known) => *known,
            None => {
                let known = self.store.tags(repository, "", 1)?.is_some();
                self.known.insert(repository.clone(), known);
                known
            }
        };
        let digest = ContentDigest::from(name.digest);
        let here = known && self.store.manifest_size(repository, &digest)? > 0;
        let stands = match &name.tag {
            Some(tag) if known => self.store.resolve_tag(repository, tag)?,
            _ => None,
        };
        Ok(State {
            repository: html! {
                @if known { a href=(show::repository_at(repository)) { (repository) } }
                @else { (repository) }
            },
            tag: html! {
                @match &name.tag {
                    None => { span.soft { "–" } }
                    Some(tag) => {
                        // The digest in the tag of a signature is of use to nobody's eye.
                        @let short = if is_attached(tag.as_str()) { shortened(tag.as_str()) } else { tag.to_string() };
                        @if stands.is_some() { a href=(show::tag_at(repository, tag.as_str())) title=(tag) { (short) } }
                        @else { span title=(tag) { (short) } }
                    }
                }
            },
            digest: html! {
                @if here { a href=(show::digest_at(repository, &digest)) { (show::digest(&digest)) } }
                @else { (show::digest(&digest)) }
            },
            stands,
            here,
        })
    }

    fn set(&mut self, names: &[&Name]) -> Result<Markup, StoreError> {
        const COLUMNS: [Column; 6] = [
            Column { name: "Repository", class: "name" },
            Column { name: "Tag", class: "free" },
            column("Digest"),
            column("Class"),
            Column { name: "From", class: "free" },
            column("Now"),
        ];
        let mut rows = Vec::new();
        for name in names {
            let state = self.of(name)?;
            let moved = state.stands.is_some_and(|now| now != ContentDigest::from(name.digest));
            let lost = !state.here || (name.tag.is_some() && state.stands.is_none());
            rows.push(vec![
                state.repository,
                state.tag,
                state.digest,
                html! { span.badge { (name.sort.word()) } },
                html! { code title=(show::clip(&name.source, VALUE)) { (show::clip(&name.source, 90)) } },
                html! {
                    @if moved { span.badge.accent title="the tag stands for another image now" { "moved on" } }
                    @else if lost { span.badge.warn { "not here" } }
                    @else { span.badge.good { "here" } }
                },
            ]);
        }
        Ok(table("What the sequence brought", &COLUMNS, &rows))
    }

    fn removed(&mut self, names: &[&Name]) -> Result<Markup, StoreError> {
        const COLUMNS: [Column; 4] = [
            Column { name: "Repository", class: "name" },
            Column { name: "Tag", class: "free" },
            column("Digest"),
            column("Now"),
        ];
        let mut rows = Vec::new();
        for name in names {
            let state = self.of(name)?;
            let still = state.stands.is_some() || (name.tag.is_none() && state.here);
            rows.push(vec![
                state.repository,
                state.tag,
                state.digest,
                html! { @if still { span.badge { "still here" } } @else { span.soft { "gone" } } },
            ]);
        }
        Ok(table("Names that left the configuration", &COLUMNS, &rows))
    }
}

/// `sha256-0123…cdef.sig` for a tag that is made of a digest.
fn shortened(tag: &str) -> String {
    let (stem, suffix) = tag
        .split_once('.')
        .map_or((tag, String::new()), |(stem, suffix)| (stem, format!(".{suffix}")));
    format!("{}…{suffix}", show::clip(stem, 19).trim_end_matches('…'))
}
