//! A repository: its tags, and what stands behind each.
//!
//! In: a name, `last` and `all` of the address. Out: tags with platforms, size, time and kind. What must hold: a page
//! has a fixed number of rows, and reading what is behind them has one budget.

use format_spec::{Repository, Tag};
use maud::{Markup, html};

use super::attached::{self, Attached};
use super::frame::{Column, address, column, empty, pages, table};
use super::limits::TAGS;
use super::look::{Look, Summary};
use super::{Drawn, View, show};

pub(super) fn draw(view: &View, repository: &Repository) -> Drawn {
    if !view.sees(repository.as_str()) {
        return Ok(None);
    }
    let store = view.store();
    let (last, all) = (view.parameter("last"), view.parameter("all") == "1");
    let keep = |tag: &str| all || !attached::is_attached(tag);
    let (page, count) = store.tags_where(repository, &last, TAGS, &keep)?;
    let (_, hidden) = store.tags_where(repository, "", 0, &attached::is_attached)?;
    if count + hidden == 0 && store.tags(repository, "", 1)?.is_none() {
        return Ok(None);
    }
    let mut look = Look::new(store, repository);
    let mut rows = Vec::new();
    for tag in page.entries.iter().filter_map(|tag| tag.parse::<Tag>().ok()) {
        rows.push(row(&mut look, repository, &tag)?);
    }
    let here = show::repository_at(repository);
    let every = if all { "1" } else { "" };
    let next = page.entries.last().filter(|_| page.more);
    let next = next.map(|last| address(&here, &[("all", every), ("last", last)]));
    let first = (!last.is_empty()).then(|| address(&here, &[("all", every)]));
    const COLUMNS: [Column; 6] = [
        Column { name: "Tag", class: "name" },
        column("Platforms"),
        column("Digest"),
        Column { name: "Size", class: "number" },
        column("Created"),
        column("Kind"),
    ];
    Ok(Some((
        repository.to_string(),
        html! {
            nav aria-label="Path" { ol.path { li { a href="/" { "Repositories" } } } }
            h1 { code { (repository) } }
            p.lead { (show::count(count, "tag", "tags")) }
            @if rows.is_empty() {
                (empty(&["No tag here; manifests can be pulled by their digests."]))
            } @else {
                (table("Tags", &COLUMNS, &rows))
            }
            (pages(first, next))
            @if hidden > 0 {
                p.soft {
                    @if all { a href=(here) { "Without tags of signatures" } }
                    @else {
                        (show::count(hidden, "tag", "tags")) " of signatures and the like "
                        @if hidden == 1 { "is" } @else { "are" } " shown with "
                        @if hidden == 1 { "its image. " } @else { "their images. " }
                        a href=(address(&here, &[("all", "1")])) { "List them here too" }
                    }
                }
            }
        },
    )))
}

fn row(
    look: &mut Look<'_>,
    repository: &Repository,
    tag: &Tag,
) -> Result<Vec<Markup>, super::StoreError> {
    let link = html! { a href=(show::tag_at(repository, tag.as_str())) { (tag) } };
    let Some(digest) = look.store.resolve_tag(repository, tag)? else {
        return Ok(vec![link, html! { span.badge.bad { "damaged" } }]);
    };
    let attached = Attached::glance(look.store, repository, &digest)?;
    let Some(summary) = look.summary(&digest)? else {
        let why = if look.spent() { "open it to see" } else { "the manifest is missing" };
        return Ok(vec![link, html! { span.soft { (why) } }, show::digest(&digest)]);
    };
    Ok(vec![
        link,
        platforms(&summary),
        show::digest(&digest),
        html! { @match summary.bytes { Some(n) => (show::bytes(n)), None => { span.soft { "–" } } } },
        show::time(summary.created),
        html! {
            span.badges {
                span.badge title=(summary.media_type) { (show::clip(show::media(&summary.media_type), 40)) }
                @if attached.signatures { span.badge.good { "signed" } }
                @if attached.sboms { span.badge.accent { "SBOM" } }
            }
        },
    ])
}

/// Platforms as badges, the first few of them.
fn platforms(summary: &Summary) -> Markup {
    const SHOWN: usize = 4;
    html! {
        span.badges {
            @if summary.platforms.is_empty() { span.soft { "–" } }
            @for platform in summary.platforms.iter().take(SHOWN) { span.badge { (platform) } }
            @if summary.platforms.len() > SHOWN {
                span.badge title=(summary.platforms.join(", ")) {
                    "+" (summary.platforms.len() - SHOWN)
                }
            }
        }
    }
}
