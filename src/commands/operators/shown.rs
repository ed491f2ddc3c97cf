//! How people see what a catalog has: aligned columns, and the updates of a channel as a tree.
//!
//! In: values of the catalog, with names that somebody else chose. Out: text whose lines are ours alone.

use std::collections::HashSet;
use std::fmt::{self, Write as _};

use bundler::catalog::listing::{ChannelView, EntryView, PackageView};

use crate::output::plain;
use crate::size::count;

/// Characters to which a column is filled up: one endless name does not push everything away.
const WIDEST: usize = 60;

/// Names that a line lists before it counts the others.
const LISTED: usize = 4;

pub fn catalogs(version: &str, catalogs: &[String]) -> String {
    let mut text =
        format!("well-known catalogs of OpenShift {version}; not every release has all of them\n");
    for catalog in catalogs {
        // Writing to a String cannot fail, here and below.
        let _ = writeln!(text, "  {catalog}");
    }
    text
}

pub fn packages(catalog: &str, packages: &[PackageView]) -> String {
    let mut text = format!("{}: {}\n", plain(catalog), count(packages.len() as u64, "package"));
    let mut rows = vec![["package", "default channel", "display name", ""].map(ToOwned::to_owned)];
    for package in packages {
        let flawed = package.channels.iter().filter(|channel| !channel.faults.is_empty()).count();
        let mut notes = Vec::new();
        if package.deprecated.is_some() {
            notes.push("deprecated".to_owned());
        }
        if flawed > 0 {
            notes.push(format!("{} at fault", count(flawed as u64, "channel")));
        }
        if !package.faults.is_empty() {
            notes.push("at fault".to_owned());
        }
        rows.push([
            plain(&package.name),
            plain(&package.default_channel),
            plain(package.display_name.as_deref().unwrap_or_default()),
            notes.join(", "),
        ]);
    }
    let _ = table(&mut text, &rows);
    text
}

pub fn channels(packages: &[PackageView]) -> String {
    let mut text = String::new();
    for package in packages {
        let channels = count(package.channels.len() as u64, "channel");
        let _ = title(&mut text, package, &channels);
        let head = ["channel", "head", "version", "bundles", ""].map(ToOwned::to_owned);
        let row = |channel: &ChannelView| {
            let default = is_default(package, channel).then(|| "default".to_owned());
            [
                plain(&channel.name),
                plain(channel.head.as_deref().unwrap_or("-")),
                plain(channel.version.as_deref().unwrap_or("-")),
                channel.bundles.to_string(),
                default.into_iter().chain(notes(channel)).collect::<Vec<_>>().join("; "),
            ]
        };
        let rows: Vec<_> = std::iter::once(head).chain(package.channels.iter().map(row)).collect();
        let _ = table(&mut text, &rows);
    }
    text
}

pub fn entries(packages: &[PackageView]) -> String {
    let mut text = String::new();
    for package in packages {
        for channel in &package.channels {
            let (name, bundles) = (plain(&channel.name), count(channel.bundles as u64, "bundle"));
            let default = if is_default(package, channel) { " (default)" } else { "" };
            let _ = title(&mut text, package, &format!("channel {name}{default}, {bundles}"));
            for note in notes(channel) {
                let _ = writeln!(text, "  {note}");
            }
            let _ = tree(&mut text, channel.entries.as_deref().unwrap_or_default());
        }
    }
    text
}

/// The first line of a package, and what is to be said of all of it.
fn title(text: &mut String, package: &PackageView, what: &str) -> fmt::Result {
    write!(text, "{}: {what}", plain(&package.name))?;
    if let Some(name) = &package.display_name {
        write!(text, " ({})", plain(name))?;
    }
    writeln!(text)?;
    if let Some(message) = &package.deprecated {
        writeln!(text, "  deprecated: {}", plain(message))?;
    }
    for fault in &package.faults {
        writeln!(text, "  at fault: {}", plain(fault))?;
    }
    Ok(())
}

fn is_default(package: &PackageView, channel: &ChannelView) -> bool {
    channel.name == package.default_channel
}

/// What is to be said of a channel.
fn notes(channel: &ChannelView) -> impl Iterator<Item = String> {
    let deprecated = channel.deprecated.iter().map(|words| format!("deprecated: {}", plain(words)));
    deprecated.chain(channel.faults.iter().map(|fault| format!("at fault: {}", plain(fault))))
}

/// The entries of a channel: on the left the way from the head down, below each what it skips.
fn tree(text: &mut String, entries: &[EntryView]) -> fmt::Result {
    let of =
        |entry: &EntryView| [plain(&entry.name), plain(entry.version.as_deref().unwrap_or("-"))];
    let column = |n: usize| entries.iter().map(|entry| of(entry)[n].chars().count()).max();
    let [names, versions] = [0, 1].map(|n| column(n).unwrap_or_default().min(WIDEST));
    let mut rest = entries;
    while let Some((entry, after)) = rest.split_first() {
        let skipped = after.iter().take_while(|below| below.skipped_by.is_some()).count();
        let (below, others) = after.split_at(skipped);
        let [name, version] = of(entry);
        // Three characters more than below it, where the branch stands.
        let (names, branched) = (names + 3, names);
        let line = format!("  {name:names$}  {version:versions$}  {}", about(entry, below));
        writeln!(text, "{}", line.trim_end())?;
        for (n, entry) in below.iter().enumerate() {
            let branch = if n + 1 == skipped { "└─" } else { "├─" };
            let [name, version] = of(entry);
            let line =
                format!("  {branch} {name:branched$}  {version:versions$}  {}", about(entry, &[]));
            writeln!(text, "{}", line.trim_end())?;
        }
        rest = others;
    }
    Ok(())
}

/// What is to be said of an entry, below which these stand.
fn about(entry: &EntryView, below: &[EntryView]) -> String {
    let mut words = Vec::new();
    if entry.head {
        words.push("head".to_owned());
    }
    if entry.skipped_by.is_some() {
        words.push("skipped".to_owned());
    }
    words.extend(entry.replaces.iter().map(|name| format!("replaces {}", plain(name))));
    if !below.is_empty() {
        words.push("skips those below".to_owned());
    }
    let below: HashSet<&str> = below.iter().map(|entry| entry.name.as_str()).collect();
    let elsewhere: Vec<&String> =
        entry.skips.iter().filter(|name| !below.contains(name.as_str())).collect();
    if !elsewhere.is_empty() {
        let names: Vec<String> = elsewhere.iter().take(LISTED).map(|name| plain(name)).collect();
        let more = elsewhere.len() - names.len();
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        words.push(format!("skips {}{more}", names.join(", ")));
    }
    words.extend(entry.skip_range.iter().map(|range| format!("skipRange {}", plain(range))));
    words.extend(entry.deprecated.iter().map(|message| format!("deprecated: {}", plain(message))));
    words.join("; ")
}

/// Rows in columns, the first row as their heading.
fn table<const N: usize>(text: &mut String, rows: &[[String; N]]) -> fmt::Result {
    let width =
        |n: usize| rows.iter().map(|row| row[n].chars().count()).max().unwrap_or(0).min(WIDEST);
    let widths: [usize; N] = std::array::from_fn(width);
    for (at, row) in rows.iter().enumerate() {
        let mut line = String::from(" ");
        for (cell, width) in row.iter().zip(widths) {
            let cell = if at == 0 { cell.to_uppercase() } else { cell.clone() };
            write!(line, " {cell:width$} ")?;
        }
        writeln!(text, "{}", line.trim_end())?;
    }
    Ok(())
}
