//! What `bundle create` answers: the same in JSON, and in words with what to do next.

use std::fmt::Write as _;
use std::path::Path;

use bundler::helm::images::{Found, Skipped};
use bundler::report::{Catalog, Created, Planned, Summary, Written};
use format_spec::Sequence;
use format_spec::head::{ContentClass, Failure, Kind, Totals};
use serde::Serialize;

use crate::output::{plain, plain_lines};
use crate::size::{self, Media};

/// The answer in JSON: what `bundler` tells, and what only the command knows.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::commands) struct Answer<'a> {
    #[serde(flatten)]
    pub(super) created: &'a Created,
    /// Whether a sequence was written: the exit code of missing content does not say it.
    pub(super) written: bool,
    /// The directory.
    pub(super) to: String,
    /// The keys that signed.
    pub(super) keys: Vec<String>,
    /// The public key that this run made, to be carried to the other side.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) new_key: Option<String>,
    /// The workspace that had no stream before, when a sequence begins one there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) new_stream_in: Option<String>,
    /// Discs that the parts fill, for media of a fixed size.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) discs: Option<u64>,
    /// Where everything goes with no medium between.
    #[serde(skip)]
    pub(super) target: Option<String>,
}

impl<'a> Answer<'a> {
    pub(in crate::commands) fn new(created: &'a Created, to: &Path) -> Self {
        Self {
            created,
            written: matches!(created, Created::Written(_)),
            to: to.display().to_string(),
            keys: Vec::new(),
            new_key: None,
            new_stream_in: None,
            discs: None,
            target: None,
        }
    }

    /// The same of what goes straight into a registry.
    pub(in crate::commands) fn straight(
        created: &'a Created,
        to: &Path,
        target: &impl ToString,
    ) -> Self {
        Self { target: Some(target.to_string()), ..Self::new(created, to) }
    }
}

/// The answer for people.
pub(in crate::commands) fn text(answer: &Answer<'_>, media: Option<Media>) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = match answer.created {
        Created::Nothing(summary) => {
            let nothing = nothing(summary);
            writeln!(
                text,
                "{nothing}; no sequence was made, nothing was written to `{}`",
                answer.to
            )
        }
        Created::Planned(planned) => plan(&mut text, planned, answer.target.as_deref()),
        Created::Written(written) => sequence_written(&mut text, written, answer),
    };
    if let (Some(media), Some(discs)) = (media, answer.discs) {
        let _ = writeln!(text, "  fits on {}", size::count(discs, &media.to_string()));
    }
    if let Some(workspace) = &answer.new_stream_in {
        let workspace = plain(workspace);
        let _ = writeln!(text, "  begins a new stream: the workspace `{workspace}` had none");
    }
    let summary = answer.created.summary();
    let _ = left_out(&mut text, &summary.blocked, &summary.failures, &summary.hints);
    if let Some(public) = &answer.new_key {
        let _ = writeln!(
            text,
            "the other side needs the public half of the signing key for `bundle keys trust`. Carry it \
             there once, by another way than the media:\n  {public}"
        );
    }
    let to = &answer.to;
    let _ = match answer.created {
        Created::Written(_) => writeln!(
            text,
            "next: carry `{to}` to the other side and run there `bundle import --from DIR \
             docker://HOST/NAMESPACE`"
        ),
        Created::Planned(_) => {
            let (verb, to) = match &answer.target {
                Some(target) => ("moves it to", target),
                None => ("writes it to", to),
            };
            writeln!(text, "next: the same command without `--dry-run` {verb} `{to}`")
        }
        Created::Nothing(_) => Ok(()),
    };
    if !summary.failures.is_empty() {
        let _ = match answer.created {
            Created::Written(written) => {
                writeln!(text, "sequence {} carries the rest", written.sequence)
            }
            Created::Planned(planned) => writeln!(
                text,
                "sequence {} would carry the rest; a dry run writes none",
                planned.sequence
            ),
            Created::Nothing(_) => {
                writeln!(text, "no sequence was written: earlier ones carry the rest")
            }
        };
    }
    text
}

/// Why there is nothing to carry: not always because the other side has it.
fn nothing(summary: &Summary) -> String {
    match (summary.images, summary.blocked.len() as u64) {
        (0, 0) => "nothing to carry: the configuration names no image".to_owned(),
        (0, 1) => "nothing to carry: the only image is blocked".to_owned(),
        (0, blocked) => format!("nothing to carry: all {blocked} images are blocked"),
        (images, _) => {
            format!("nothing new: earlier sequences carry {}", size::count(images as u64, "image"))
        }
    }
}

fn plan(text: &mut String, planned: &Planned, target: Option<&str>) -> std::fmt::Result {
    let verb = if target.is_some() { "record" } else { "write" };
    writeln!(text, "would {verb} {}", named(planned.sequence, planned.kind))?;
    if let Some(updates) = &planned.summary.updates {
        for channel in &updates.channels {
            write!(text, "{}", plain_lines(&channel.to_string()))?;
        }
        for way in &updates.ways {
            write!(text, "{}", plain_lines(&way.to_string()))?;
        }
    }
    releases(text, &planned.summary)?;
    catalogs(text, &planned.summary)?;
    charts(text, &planned.summary, true)?;
    // A release and a catalog have hundreds of names, all of one kind: the lines above count them.
    let (mut of_releases, mut of_catalogs) = (0, 0);
    for reference in &planned.references {
        match reference.class {
            ContentClass::Release => of_releases += 1,
            ContentClass::Operator => of_catalogs += 1,
            ContentClass::Additional | ContentClass::Helm => {
                let (name, source) = (plain(&reference.name), plain(&reference.source));
                writeln!(text, "  set     {name}  from {source}")?;
            }
        }
    }
    for (names, of) in [(of_releases, "releases"), (of_catalogs, "Operator catalogs")] {
        if names > 0 {
            let names = size::count(names, "name");
            writeln!(text, "  set     {names} of {of}: `--output json` has all")?;
        }
    }
    for removal in planned.removals.iter().take(LINES) {
        writeln!(text, "  remove  {}", plain(removal))?;
    }
    if let Some(more @ 1..) = planned.removals.len().checked_sub(LINES) {
        writeln!(text, "  remove  … and {more} more: `--output json` has all")?;
    }
    counts(text, &planned.totals, &planned.summary)?;
    if target.is_none() {
        let bytes = planned.parts.iter().map(|part| part.bytes).sum();
        let parts = size::count(planned.parts.len() as u64, "part");
        writeln!(text, "  {parts} of {} in all", size::show(bytes))?;
    }
    writeln!(text, "  every name of the configuration is in {}", planned.mapping)
}

fn sequence_written(text: &mut String, written: &Written, answer: &Answer<'_>) -> std::fmt::Result {
    let totals = &written.totals;
    let parts = written.files.iter().filter(|file| file.name.ends_with(".tar")).count() as u64;
    let bytes = written.files.iter().map(|file| file.bytes).sum();
    writeln!(text, "{} is in `{}`", named(written.sequence, written.kind), answer.to)?;
    writeln!(text, "  stream  {}", written.stream)?;
    writeln!(text, "  digest  {}", written.digest)?;
    releases(text, &written.summary)?;
    catalogs(text, &written.summary)?;
    charts(text, &written.summary, false)?;
    counts(text, totals, &written.summary)?;
    writeln!(text, "  {}, all files {}", size::count(parts, "part"), size::show(bytes))?;
    if totals.removals > 0 {
        let names = size::count(totals.removals, "name");
        writeln!(text, "  {names} left the configuration")?;
    }
    if written.read_back {
        writeln!(text, "  read back from the medium: every byte is as it was signed")?;
    }
    for key in &answer.keys {
        writeln!(text, "  signed by {key}")?;
    }
    Ok(())
}

fn catalogs(text: &mut String, summary: &Summary) -> std::fmt::Result {
    for catalog in &summary.catalogs {
        let Catalog {
            catalog: from, name, whole, packages, bundles, images, left_out, chosen, ..
        } = catalog;
        let counted = |count: usize, what| size::count(count as u64, what);
        writeln!(
            text,
            "  catalog {} from {}: {}{}, {}, {}",
            plain(name),
            plain(from),
            if *whole { "as it is, " } else { "" },
            counted(*packages, "package"),
            counted(*bundles, "bundle"),
            counted(*images, "image")
        )?;
        if !left_out.is_empty() {
            writeln!(
                text,
                "    without {}, whose images are missing",
                plain(&left_out.join(", "))
            )?;
        }
        if let Some(chosen) = chosen {
            for line in plain_lines(&chosen.to_string()).lines() {
                writeln!(text, "    {line}")?;
            }
        }
    }
    Ok(())
}

/// The charts; in a dry run with each image and where it was found.
fn charts(text: &mut String, summary: &Summary, images: bool) -> std::fmt::Result {
    let lines = if images { usize::MAX } else { LINES };
    for chart in summary.charts.iter().take(lines) {
        let count = size::count(chart.images.len() as u64, "image");
        let found_by = match chart.found_by {
            "helm" => "",
            "scan" => ", guessed from its default values",
            _ => ", as far as its annotations say",
        };
        let (name, from) = (plain(&chart.name), plain(&chart.from));
        writeln!(text, "  chart {name} from {from}: {count}{found_by}")?;
        if !images {
            continue;
        }
        for Found { image, found } in &chart.images {
            for at in found {
                let (image, at) = (plain(image), plain(&at.to_string()));
                writeln!(text, "    {image}  {at}")?;
            }
        }
        for Skipped { value, why, found } in &chart.skipped {
            let (value, at) = (plain(value), plain(&found.to_string()));
            writeln!(text, "    left out `{value}`  {at}: {why}")?;
        }
    }
    if let Some(more @ 1..) = summary.charts.len().checked_sub(lines) {
        writeln!(text, "  … and {more} more charts: `--output json` has all")?;
    }
    Ok(())
}

fn releases(text: &mut String, summary: &Summary) -> std::fmt::Result {
    for release in &summary.releases {
        let images = size::count(release.images as u64, "image");
        let unsigned = if release.signed { "" } else { ", not signed by anybody trusted" };
        writeln!(text, "  release {}: {images}{unsigned}", plain(&release.tag))?;
    }
    Ok(())
}

fn counts(text: &mut String, totals: &Totals, summary: &Summary) -> std::fmt::Result {
    writeln!(text, "  {} new, {} known", size::totals(totals), size::show(summary.bytes_known))
}

fn named(sequence: Sequence, kind: Kind) -> String {
    match kind {
        Kind::Full => format!("sequence {sequence} (full)"),
        Kind::Incremental => format!("sequence {sequence} (incremental)"),
    }
}

/// Lines for what leaves, is blocked or could not be had: whoever looks for the cause finds it in the first.
const LINES: usize = 50;

/// What stays behind, and why.
pub(in crate::commands) fn left_out(
    text: &mut String,
    blocked: &[(String, String)],
    failures: &[Failure],
    hints: &[String],
) -> std::fmt::Result {
    if !blocked.is_empty() {
        writeln!(text, "blocked by the configuration:")?;
    }
    for (reference, pattern) in blocked.iter().take(LINES) {
        writeln!(text, "  {}  by `{}`", plain(reference), plain(pattern))?;
    }
    if let Some(more @ 1..) = blocked.len().checked_sub(LINES) {
        writeln!(text, "  … and {more} more: `--output json` has all")?;
    }
    if !failures.is_empty() {
        writeln!(text, "could not be had:")?;
    }
    for failure in failures.iter().take(LINES) {
        writeln!(text, "  {}  {}", plain(&failure.reference), plain(&failure.reason))?;
    }
    if let Some(more @ 1..) = failures.len().checked_sub(LINES) {
        writeln!(text, "  … and {more} more: `--output json` has all")?;
    }
    for hint in hints.iter().take(LINES) {
        writeln!(text, "hint: {}", plain(hint))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_says_whether_the_rest_is_carried() {
        let summary = Summary {
            images: 1,
            bytes_known: 0,
            failures: vec![format_spec::head::Failure {
                reference: "host/no/such:1".to_owned(),
                class: format_spec::head::ContentClass::Additional,
                reason: "not found".to_owned(),
            }],
            blocked: Vec::new(),
            ..Summary::default()
        };
        let written = Created::Written(Written {
            read_back: false,
            summary: summary.clone(),
            stream: format_spec::StreamId::from_bytes([1; 16]),
            sequence: Sequence::FIRST,
            kind: Kind::Full,
            digest: format_spec::Digest::of(b""),
            totals: Totals::default(),
            bytes_new: 0,
            files: Vec::new(),
        });
        let nothing = Created::Nothing(summary);
        for (created, last) in [
            (&written, "sequence 1 carries the rest"),
            (&nothing, "no sequence was written: earlier ones carry the rest"),
        ] {
            let answer = Answer::new(created, Path::new("out"));
            assert_eq!(text(&answer, None).lines().last(), Some(last));
            let json = serde_json::to_value(&answer).unwrap();
            assert_eq!(json["written"], json["outcome"] == "written");
        }
    }

    #[test]
    fn nothing_has_its_reason() {
        let of = |images, blocked: &[&str]| {
            let blocked = blocked.iter().map(|name| ((*name).to_owned(), "^host/".to_owned()));
            let blocked = blocked.collect();
            let (failures, warnings) = (Vec::new(), Vec::new());
            let summary = Summary { images, failures, blocked, warnings, ..Summary::default() };
            let created = Created::Nothing(summary);
            text(&Answer::new(&created, Path::new("out")), None)
        };
        assert_eq!(
            of(0, &[]),
            "nothing to carry: the configuration names no image; no sequence was made, nothing was \
             written to `out`\n"
        );
        assert_eq!(
            of(0, &["host/a:1", "host/b:1"]),
            "nothing to carry: all 2 images are blocked; no sequence was made, nothing was written to `out`\n\
             blocked by the configuration:\n  host/a:1  by `^host/`\n  host/b:1  by `^host/`\n"
        );
        assert!(of(1, &["host/a:1"]).starts_with("nothing new: earlier sequences carry 1 image; "));
    }
}
