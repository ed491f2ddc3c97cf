//! What `bundle list updates` says to people.

use std::fmt::Write as _;

use bundler::release::explain::Explanation;
use bundler::{CatalogNews, NewBundle, NewRelease, PackageNews, Updates};

use crate::commands::create::answer;
use crate::output::plain;
use crate::size;

/// The answer for people.
pub(super) fn text(updates: &Updates) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = match updates.last_sequence {
        None => writeln!(text, "there is no sequence yet: all of it would be new"),
        Some(last) if updates.is_empty() => writeln!(text, "nothing new since sequence {last}"),
        Some(last) => writeln!(text, "new since sequence {last}"),
    };
    let _ = releases(&mut text, updates);
    for catalog in &updates.catalogs {
        let _ = bundles(&mut text, catalog);
    }
    for chart in &updates.charts {
        let (name, from) = (plain(&chart.chart), plain(&chart.from));
        let changed = if chart.changed { ", carried before with other content" } else { "" };
        let _ = writeln!(text, "chart {name} {}  from {from}{changed}", plain(&chart.version));
    }
    let _ = images(&mut text, updates);
    let _ = answer::left_out(&mut text, &updates.blocked, &updates.failures, &updates.hints);
    if !updates.is_empty() {
        let _ = writeln!(text, "next: `bundle create` with the same configuration carries it");
    }
    text
}

/// By channel: each release under the first of its channels, those that were named by their image at the end.
fn releases(text: &mut String, updates: &Updates) -> std::fmt::Result {
    let of = |release: &NewRelease, channel: &Explanation| {
        release.architecture.as_ref() == Some(&channel.architecture)
            && release.channels.contains(&channel.channel)
    };
    for channel in &updates.channels {
        let own = |release: &&NewRelease| of(release, channel);
        let count = updates.releases.iter().filter(own).count();
        let (name, architecture) = (plain(&channel.channel), plain(&channel.architecture));
        writeln!(text, "{name} ({architecture}): {}", size::count(count as u64, "new release"))?;
        for release in updates.releases.iter().filter(own) {
            let version = release.version.as_deref().unwrap_or_default();
            writeln!(text, "  {:<24}{}", plain(version), plain(&release.why.join("; ")))?;
        }
    }
    let listed =
        |release: &&NewRelease| updates.channels.iter().any(|channel| of(release, channel));
    for release in updates.releases.iter().filter(|release| !listed(release)) {
        let name = release.version.as_deref().unwrap_or(&release.payload);
        writeln!(text, "release {}  {}", plain(name), plain(&release.why.join("; ")))?;
    }
    if updates.releases_known > 0 {
        let known = size::count(updates.releases_known as u64, "release");
        writeln!(text, "  {known} carried by earlier sequences")?;
    }
    for more in &updates.more {
        let of = more.release.as_ref().map(|tag| format!(" of {tag}")).unwrap_or_default();
        writeln!(text, "  not carried yet{of}: {}", plain(&more.what))?;
    }
    Ok(())
}

/// By package: each bundle with its version, the newest first.
fn bundles(text: &mut String, news: &CatalogNews) -> std::fmt::Result {
    let CatalogNews { catalog, name, whole, previous, source_digest, .. } = news;
    let count = size::count(news.bundles() as u64, "new bundle");
    let name = name.as_deref().unwrap_or(catalog);
    let from = if name == catalog { String::new() } else { format!(" from {}", plain(catalog)) };
    let as_it_is = if *whole { "as it is, " } else { "" };
    writeln!(text, "catalog {}{from}: {as_it_is}{count}", plain(name))?;
    for PackageNews { package, bundles } in &news.packages {
        writeln!(text, "  {}", plain(package))?;
        for NewBundle { bundle, version, channels, why, .. } in bundles {
            let mut line = format!("    {:<22}{}", plain(version), plain(bundle));
            if !channels.is_empty() {
                write!(line, "  {}: {}", plain(&channels.join(", ")), plain(&why.join("; ")))?;
            }
            writeln!(text, "{line}")?;
        }
    }
    if news.bundles_known > 0 {
        let known = size::count(news.bundles_known as u64, "bundle");
        writeln!(text, "  {known} known to the other side")?;
    }
    let Some(previous) = previous else { return Ok(()) };
    if *whole && *previous != source_digest.to_string() {
        writeln!(text, "  changed  {} -> {source_digest}", plain(previous))?;
    }
    for (packages, told) in
        [(&news.packages_added, "new in it"), (&news.packages_removed, "not in it any more")]
    {
        if !packages.is_empty() {
            writeln!(text, "  {told}: {}", plain(&packages.join(", ")))?;
        }
    }
    Ok(())
}

fn images(text: &mut String, updates: &Updates) -> std::fmt::Result {
    let Updates { images, images_known, image_bytes, .. } = updates;
    if images.is_empty() && *images_known == 0 {
        return Ok(());
    }
    let names = size::count(images.len() as u64, "name");
    writeln!(
        text,
        "additional images: {names} new or changed, {images_known} known, {} to carry",
        size::show(*image_bytes)
    )?;
    for image in images {
        let (name, source) = (plain(&image.name), plain(&image.source));
        match image.previous {
            None => writeln!(text, "  new      {name}  from {source}")?,
            Some(before) if before == image.digest => {
                writeln!(text, "  more of  {name}  from {source}")?;
            }
            Some(before) => {
                writeln!(text, "  changed  {name}  from {source}: {before} -> {}", image.digest)?;
            }
        }
    }
    Ok(())
}
