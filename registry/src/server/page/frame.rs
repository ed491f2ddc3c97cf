//! What all pages share: the frame around them, tables, and how pages of a list follow each other.
//!
//! In: a title and the content. Out: a whole document. What must hold: no script and no style in it, so that the
//! policy of the answer can forbid both; it can be read and used without scripts, by keyboard and by ear.

use maud::{DOCTYPE, Markup, html};

use super::limits::{ROWS, VALUE};
use super::show;

/// The places that the navigation leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Repositories,
    Sequences,
    Health,
}

/// A whole document. `host` is what clients call this registry.
pub(super) fn document(title: &str, host: &str, place: Place, content: &Markup) -> Markup {
    let places = [
        (Place::Repositories, "/", "Repositories"),
        (Place::Sequences, "/ui/sequences", "Sequences"),
        (Place::Health, "/ui/health", "Health"),
    ];
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · " (host) }
                link rel="icon" type="image/svg+xml" href="/ui/icon.svg";
                link rel="stylesheet" href="/ui/style.css";
                script src="/ui/copy.js" defer {}
            }
            body {
                a.skip href="#content" { "Skip to the content" }
                header.bar {
                    div {
                        a.brand href="/" {
                            img src="/ui/icon.svg" alt="" width="24" height="24";
                            span { "Mirror registry" }
                            small { (host) }
                        }
                        nav aria-label="Main" {
                            ul {
                                @for (to, address, name) in places {
                                    li {
                                        a href=(address) aria-current=[(to == place).then_some("page")] {
                                            (name)
                                        }
                                    }
                                }
                            }
                        }
                    }
                }
                main #content { (content) }
                footer {
                    div { "bundle " (env!("CARGO_PKG_VERSION")) " · this page only reads" }
                }
            }
        }
    }
}

/// A column of a table.
#[derive(Clone, Copy)]
pub(super) struct Column {
    /// Its heading.
    pub(super) name: &'static str,
    /// How its cells look: `name`, `number`, `free` or nothing.
    pub(super) class: &'static str,
}

/// A column without a look of its own.
pub(super) const fn column(name: &'static str) -> Column {
    Column { name, class: "" }
}

/// A table. On a narrow screen each row is a list, for which a cell knows its heading; the roles say that it is a
/// table all the same.
pub(super) fn table(caption: &str, columns: &[Column], rows: &[Vec<Markup>]) -> Markup {
    html! {
        table role="table" {
            caption { (caption) }
            thead role="rowgroup" {
                tr role="row" {
                    @for column in columns {
                        th role="columnheader" scope="col" class=[class(column)] { (column.name) }
                    }
                }
            }
            tbody role="rowgroup" {
                @for row in rows {
                    tr role="row" {
                        @for (column, cell) in columns.iter().zip(row) {
                            td role="cell" class=[class(column)] data-label=(column.name) {
                                div { (cell) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn class(column: &Column) -> Option<&'static str> {
    Some(column.class).filter(|class| !class.is_empty())
}

/// A list of names and values in a frame.
pub(super) fn facts(pairs: &[(&str, Markup)]) -> Markup {
    html! {
        dl.facts {
            @for (name, value) in pairs {
                div { dt { (name) } dd { (value) } }
            }
        }
    }
}

/// Names and values that came with something, the first of them.
pub(super) fn named_values<'a>(
    title: &str,
    values: impl ExactSizeIterator<Item = (&'a String, &'a String)>,
) -> Markup {
    let count = values.len();
    html! {
        @if count > 0 {
            h2 { (title) small { (count) } }
            dl.pairs {
                @for (name, value) in values.take(ROWS) {
                    dt { code { (show::clip(name, VALUE)) } }
                    dd { code { (show::clip(value, VALUE)) } }
                }
            }
            (cut(count))
        }
    }
}

/// Says that a list was cut.
pub(super) fn cut(count: usize) -> Markup {
    html! {
        @if count > ROWS { p.soft { "and " (count - ROWS) " more, which are not shown" } }
    }
}

/// Where the list goes on, and back to its beginning.
pub(super) fn pages(first: Option<String>, next: Option<String>) -> Markup {
    html! {
        @if first.is_some() || next.is_some() {
            nav.pages aria-label="Pages of this list" {
                @if let Some(first) = first { a href=(first) { "← From the beginning" } }
                @if let Some(next) = next { a href=(next) rel="next" { "More →" } }
            }
        }
    }
}

/// A field to look for a part of a repository's name; the other parameters stay.
pub(super) fn search(at: &str, wanted: &str, others: &[(&str, &str)]) -> Markup {
    html! {
        form.search role="search" action=(at) method="get" {
            @for (name, value) in others.iter().filter(|(_, value)| !value.is_empty()) {
                input type="hidden" name=(name) value=(value);
            }
            input type="search" name="q" value=(wanted) placeholder="Part of a name" maxlength="255"
                  aria-label="Part of a repository’s name" autocomplete="off" spellcheck="false";
            button type="submit" { "Search" }
        }
    }
}

/// A path and parameters.
pub(super) fn address(path: &str, parameters: &[(&str, &str)]) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in parameters.iter().filter(|(_, value)| !value.is_empty()) {
        query.append_pair(name, value);
    }
    match query.finish() {
        query if query.is_empty() => path.to_owned(),
        query => format!("{path}?{query}"),
    }
}

/// An empty list.
pub(super) fn empty(lines: &[&str]) -> Markup {
    html! {
        div.empty { @for line in lines { p { (line) } } }
    }
}
