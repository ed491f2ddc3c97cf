//! `bundle verify`: whether a medium is whole, genuine and intact. No registry, no configuration, no
//! network; but with `--against` whether a target has what the medium promises.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use ::registry::progress::Progress;
use ::registry::reference::Target;
use format_spec::Sequence;
use importer::{
    AgainstOptions, Damage, ImportError, Lack, LackKind, ProvenTarget, VerifiedSequence,
    VerifyReport,
};
use serde::Serialize;

use super::Context;
use crate::cli;
use crate::failure::{Exit, Failure, Kind};
use crate::output::plain;
use crate::progress::Drawing;
use crate::size;
use crate::wire::{self, Side};

/// Prove signatures and every byte of the sequences in a directory, offline
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A directory with sequences or some of their parts; repeatable
    #[arg(long, value_name = "DIR", required = true, value_parser = cli::directory)]
    from: Vec<PathBuf>,
    /// Trust this public key, or the keys in this directory, besides those of the workspace; repeatable
    #[arg(long, value_name = "FILE|DIR")]
    trust: Vec<PathBuf>,
    /// Prove this target instead of the parts: read every manifest and blob that the sequences promise from it, and
    /// look at every tag. Heads, signatures and indexes are enough in DIR
    #[arg(long, value_name = "docker://HOST[:PORT][/NAMESPACE]")]
    against: Option<Target>,
    /// The most components of a repository's path at the target, as import had it; 0 is no limit
    #[arg(long, value_name = "N", default_value = "0", requires = "against")]
    max_nested_paths: usize,
}

/// The answer in JSON.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    intact: bool,
    #[serde(flatten)]
    report: &'a VerifyReport,
}

pub async fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    super::refuse_other_than_directory("--workspace", &context.common.workspace)?;
    let trusted = super::trusted(context, &args.from, &args.trust).await?;
    let progress = Arc::new(Progress::default());
    let drawing = Drawing::start(&progress, context.quiet());
    if let Some(target) = args.against {
        let proven = importer::against(AgainstOptions {
            from: args.from,
            target,
            trusted,
            parallel_blobs: context.common.parallel_blobs.unwrap_or(cli::IMPORT_BLOBS),
            max_nested_paths: args.max_nested_paths,
            client: wire::client(&context.common, Side::Target)?,
            progress: Arc::clone(&progress),
            cancel: context.cancel.clone(),
        })
        .await;
        drop(drawing);
        return told(&proven?, context);
    }
    let read = move || importer::verify(&args.from, &trusted, &progress);
    let report = tokio::select! {
        report = tokio::task::spawn_blocking(read) => report.map_err(ImportError::Task)?,
        // It only reads, so it can be left at any byte.
        () = context.cancel.cancelled() => Err(ImportError::Cancelled),
    };
    drop(drawing);
    let report = report?;

    for warning in &report.warnings {
        tracing::warn!("{}", plain(warning));
    }
    let answer = Answer { intact: report.is_intact(), report: &report };
    context.output.print(&answer, &text(&report))?;
    if report.is_intact() {
        let late = |sequence: &VerifiedSequence| {
            Some(format!(
                "sequence {} expired at {}",
                sequence.sequence,
                sequence.expired.as_ref()?
            ))
        };
        // Import goes by the same rule: who asks before the journey must not hear of it after.
        return match report.sequences.iter().find_map(late) {
            None => Ok(Exit::DONE),
            Some(late) => Ok(Failure::new(Kind::Stale, late)
                .with_hint(
                    "ask the connected side for a newer sequence; look at this machine's clock",
                )
                .tell()),
        };
    }
    // The findings are the answer, so the failure adds no second JSON document.
    Ok(failure(report).tell())
}

/// The answer about a target.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct TargetAnswer<'a> {
    proven: bool,
    #[serde(flatten)]
    report: &'a ProvenTarget,
}

/// Tells what was found at a target.
fn told(report: &ProvenTarget, context: &Context) -> Result<Exit, Failure> {
    for warning in &report.warnings {
        tracing::warn!("{}", plain(warning));
    }
    let mut text = String::new();
    for lack in &report.lacks {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}", plain(&lack.to_string()));
    }
    let target = &report.target;
    if report.lacks.is_empty() {
        let _ = writeln!(
            text,
            "{target} has all that was promised: {}, {} ({}) and {}, each read and proven.",
            size::count(report.manifests, "manifest"),
            size::count(report.blobs, "blob"),
            size::show(report.bytes),
            size::count(report.tags, "tag"),
        );
    }
    context.output.print(&TargetAnswer { proven: report.lacks.is_empty(), report }, &text)?;
    let is_absent = |kind| matches!(kind, LackKind::Absent | LackKind::Behind { .. });
    let absent = report.lacks.iter().filter(|lack| is_absent(lack.kind)).count() as u64;
    let behind = report.lacks.iter().any(|lack| matches!(lack.kind, LackKind::Behind { .. }));
    let other = report.lacks.len() as u64 - absent;
    if absent + other == 0 {
        return Ok(Exit::DONE);
    }
    // What follows moves names as well.
    let kind = if other > 0 && !behind { Kind::Damaged } else { Kind::Incomplete };
    let words = format!(
        "{target} does not have all that was promised: {absent} missing, {other} not what it should be"
    );
    let mut failure = Failure::new(kind, words);
    if report.lacks.iter().any(Lack::is_damage) {
        failure = failure.with_hint(
            "what arrives damaged is sent again by `bundle import --put-back --read-back` from the media that carried it",
        );
    }
    if behind {
        failure = failure.with_hint(
            "import what follows first: `bundle import` with the same `--from` and target",
        );
    } else if !report.lacks.iter().all(Lack::is_damage) {
        failure = failure.with_hint(
            "import the last sequence again: it puts back what is missing of it; what is missing of earlier ones is put back \
             from their media by `bundle import --put-back`, or comes with a sequence that the connected side makes with `--full`",
        );
    }
    Ok(failure.tell())
}

/// All that is wrong, with the exit code of what weighs most: what is not there cannot be proven.
fn failure(report: VerifyReport) -> Failure {
    let damaged = parts(&report.findings);
    let mut words = Vec::new();
    if !damaged.is_empty() {
        words.push(format!("{} damaged", size::count(damaged.len() as u64, "part")));
    }
    let hints =
        damaged.keys().map(|part| format!("copy only `{part}` again from the connected side"));
    let mut hints: Vec<String> = hints.collect();
    let mut kind = Kind::Damaged;
    for (number, refused) in report.refused.into_iter().enumerate() {
        words.insert(number, refused.to_string());
        hints.extend(refused.hint());
        let refused = Failure::from(refused).kind;
        kind = if number == 0 { refused } else { kind };
    }
    hints.dedup();
    hints.into_iter().fold(Failure::new(kind, words.join("\n  ")), Failure::with_hint)
}

/// The damaged stretches of each part.
fn parts(findings: &[Damage]) -> BTreeMap<&str, Vec<&Damage>> {
    let mut parts: BTreeMap<&str, Vec<&Damage>> = BTreeMap::new();
    for damage in findings {
        parts.entry(&damage.part).or_default().push(damage);
    }
    parts
}

fn text(report: &VerifyReport) -> String {
    let mut text = String::new();
    let damaged = parts(&report.findings);
    for damages in damaged.values() {
        for damage in damages {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{}", plain(&damage.to_string()));
        }
    }
    for sequence in &report.sequences {
        let broken = report.findings.iter().filter(|damage| damage.sequence == sequence.sequence);
        let broken = broken.map(|damage| &damage.part).collect::<std::collections::BTreeSet<_>>();
        let here = |wanted: Sequence| report.sequences.iter().any(|s| s.sequence == wanted);
        let absent = sequence.after.filter(|after| !here(*after));
        if report.sequences.iter().any(|other| other.stream != sequence.stream) {
            let _ = write!(text, "Stream {}: ", sequence.stream);
        }
        let _ = writeln!(text, "{}", verdict(sequence, broken.len() as u64, absent));
    }
    text
}

/// One line for the person who carries it. `absent` is the sequence before it, when that is not here.
fn verdict(sequence: &VerifiedSequence, broken: u64, absent: Option<Sequence>) -> String {
    let number = sequence.sequence;
    let total = sequence.parts;
    let keys = sequence.signers.join(" and ");
    if broken > 0 {
        let intact = total.saturating_sub(broken);
        return format!(
            "Sequence {number}: {intact} of {total} parts are intact. Do not import it before the \
             damaged parts were copied again."
        );
    }
    let order = match sequence.after {
        Some(after) if after.next() == Some(number) => {
            format!("as sequence {number} after {after}")
        }
        Some(after) => format!("as sequence {number} after {after} or a later one"),
        None => format!("as sequence {number}, which stands alone"),
    };
    let parts = match total {
        // One that only sets or removes names.
        0 => "It needs no parts; its head and index are intact".to_owned(),
        1 => "The 1 part is intact".to_owned(),
        _ => format!("All {total} of {total} parts are intact"),
    };
    if let Some(expired) = &sequence.expired {
        return format!(
            "{parts} and signed by key {keys}. Not to be imported any more: it expired at {expired}."
        );
    }
    let also = match absent {
        Some(absent) => format!(" Sequence {absent} is not here: the target must have it already."),
        None => String::new(),
    };
    format!("{parts} and signed by key {keys}. Safe to import {order}.{also}")
}
