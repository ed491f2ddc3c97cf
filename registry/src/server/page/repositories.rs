//! The first page: repositories, found by a part of their name.
//!
//! In: `q` and `last` of the address. Out: names with tags and sizes. What must hold: a page has a fixed number of
//! rows, and sizes cost a fixed number of looks.

use format_spec::Repository;
use maud::html;

use super::frame::{Column, address, empty, pages, search, table};
use super::limits::{REPOSITORIES, SIZE_LOOKS};
use super::sequences::is_ledger;
use super::{Drawn, View, show};

pub(super) fn draw(view: &View) -> Drawn {
    let wanted = view.wanted();
    let last = view.parameter("last");
    let keep = |name: &str| name.contains(&wanted) && !is_ledger(name) && view.sees(name);
    let page = view.store().visible_repositories(&last, REPOSITORIES, &keep)?;
    let mut looks = SIZE_LOOKS;
    let mut rows = Vec::new();
    for name in &page.entries {
        let Ok(repository) = name.parse::<Repository>() else { continue };
        let (_, tags) = view
            .store()
            .tags_where(&repository, "", 0, &|tag| !super::attached::is_attached(tag))?;
        let bytes = view.store().repository_bytes(&repository, &mut looks)?;
        rows.push(vec![
            html! { a href=(show::repository_at(&repository)) { (repository) } },
            html! { (tags) },
            html! {
                @match bytes {
                    Some(bytes) => (show::bytes(bytes)),
                    None => { span.soft title="too many blobs to add up here" { "many" } }
                }
            },
        ]);
    }
    let next = page.entries.last().filter(|_| page.more);
    let next = next.map(|last| address("/", &[("q", &wanted), ("last", last)]));
    let first = (!last.is_empty()).then(|| address("/", &[("q", &wanted)]));
    const COLUMNS: [Column; 3] = [
        Column { name: "Repository", class: "name" },
        Column { name: "Tags", class: "number" },
        Column { name: "Size", class: "number" },
    ];
    Ok(Some((
        "Repositories".to_owned(),
        html! {
            h1 { "Repositories" }
            (search("/", &wanted, &[]))
            @if rows.is_empty() {
                @match (wanted.is_empty() && last.is_empty(), first.is_some()) {
                    (true, _) => (empty(&[
                        "Nothing is stored here yet.",
                        "Push an image, or bring a sequence with “bundle import”.",
                    ])),
                    _ => (empty(&["No repository has this in its name."])),
                }
            } @else {
                (table("Repositories", &COLUMNS, &rows))
            }
            (pages(first, next))
        },
    )))
}
