//! `bundle registry fsck`: everything that a registry holds, looked at and hashed.
//!
//! 1. the check reads the data directory or the bucket, also beside a registry that runs; 2. with `--repair`, what is damaged is moved
//!    aside: by this process, or by the registry that runs on the data; 3. what was found, what it hits, and which part
//!    of which sequence puts it back.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use format_spec::{Repository, Sequence, StreamId, json};
use registry::objects::Objects;
use registry::progress::Progress;
use registry::record;
use registry::server::certificate;
use registry::server::control::{ControlError, ask_repair};
use registry::server::settings::Settings;
use registry::store::check::{Check, Cursor, Finding, FindingKind, Report, Slice, words};
use registry::store::{Store, StoreError};
use serde::Serialize;
use tracing::subscriber::NoSubscriber;

use super::super::Context;
use super::Data;
use crate::failure::{Exit, Failure, Kind};
use crate::output::plain;
use crate::progress::Drawing;
use crate::size;

/// The file in the data directory that says where a stopped check goes on.
const CURSOR: &str = "fsck-cursor.json";

/// Bytes of that file; it has less than 100 for each of a thousand findings.
const CURSOR_MAX: u64 = 1024 * 1024;

/// Look at everything that is stored, hash it, and say what is damaged and where a good copy is
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    data: Data,
    /// Leave the bytes of blobs unread: tags, manifests, links and sizes only
    #[arg(long, conflicts_with_all = ["read_data", "rate", "resume"])]
    quick: bool,
    /// Hash only the N-th of T slices of the blobs: another one each night
    #[arg(long, value_name = "N/T", value_parser = slice)]
    read_data: Option<Slice>,
    /// Read at most this many MiB of blobs in a second
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    rate: Option<u64>,
    /// Go on behind the last blob that a stopped check had read
    #[arg(long)]
    resume: bool,
    /// Move what is damaged into `quarantine` in the data directory or the bucket, so that it reads as missing and importing or
    /// pushing again puts it back; also while the registry runs
    #[arg(long)]
    repair: bool,
}

/// The answer in JSON.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    clean: bool,
    #[serde(flatten)]
    report: &'a Report,
}

pub async fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    let data = args.data.existing()?;
    crate::host::account::become_owner(&data)?;
    let place = Place::open(&data).await?;
    let slice = (!args.quick).then(|| args.read_data.unwrap_or(Slice::WHOLE));
    let from = if args.resume { left(&data, slice)? } else { None };
    let rate = args.rate.map(|mib| mib * 1024 * 1024);
    let progress = Arc::new(Progress::default());
    let drawing = Drawing::start(&progress, context.quiet());
    let (cancel, noted) = (context.cancel.clone(), data.clone());
    // Only a hint: a read-only medium has none.
    let keep = move |cursor: &Cursor| keep(&noted, cursor);
    let report = match place {
        Place::Files(store) => {
            let check = tokio::task::spawn_blocking(move || {
                let (progress, cancel) = (&progress, &cancel);
                store.check(&Check { read: slice, from, rate, progress, cancel, keep: &keep })
            });
            check.await.map_err(|error| Failure::of(Kind::Failed, &error))
        }
        Place::Bucket(objects) => {
            let (progress, cancel) = (&progress, &cancel);
            let how = Check { read: slice, from, rate, progress, cancel, keep: &keep };
            Ok(objects.check(&how).await)
        }
    };
    drop(drawing);
    let mut report = report?.map_err(store_failure)?;
    if !report.complete {
        return Err(Failure::new(Kind::Interrupted, "the check was stopped before its end")
            .with_hint(
                "the same command with `--resume` goes on behind the last blob that was read",
            ));
    }
    let _ = fs_err::remove_file(data.join(CURSOR));
    if args.repair {
        repair(&data, &mut report).await?;
    }
    let answer = Answer { clean: report.is_clean(), report: &report };
    context.output.print(&answer, &text(&report))?;
    if report.is_clean() {
        return Ok(Exit::DONE);
    }
    // The findings are the answer, so the failure adds no second JSON document.
    Ok(failure(&report, &data, args.repair).tell())
}

/// Where the content is.
enum Place {
    Files(Box<Store>),
    Bucket(Arc<Objects>),
}

impl Place {
    /// Opens it for reading.
    async fn open(data: &Path) -> Result<Self, Failure> {
        if let Some(objects) = super::bucket(data, true).await? {
            return Ok(Self::Bucket(objects));
        }
        let store = Store::open_read_only(data).map_err(store_failure)?;
        Ok(Self::Files(Box::new(store)))
    }
}

fn store_failure(error: StoreError) -> Failure {
    match error {
        StoreError::NotAStore { .. } => Failure::of(Kind::Usage, &error)
            .with_hint("name the directory of a registry: `--data-dir DIR`"),
        error => registry::server::ServerError::Store(error).into(),
    }
}

/// Repairs what can be repaired here.
async fn repair(data: &Path, report: &mut Report) -> Result<(), Failure> {
    if report.findings.iter().all(|finding| !finding.kind.is_damage()) {
        return Ok(());
    }
    // Replicas may be serving it: whatever changes a bucket expects others to.
    if let Some(objects) = super::bucket(data, false).await? {
        for finding in &mut report.findings {
            let done = objects.repair(finding.kind, &finding.what).await;
            finding.repaired = done.map_err(store_failure)?;
        }
        objects.drop_broken_records().await.map_err(store_failure)?;
        return Ok(());
    }
    match Store::open(data) {
        Ok(store) => {
            // What it does stands in the answer; the log of a registry is not here.
            tracing::subscriber::with_default(NoSubscriber::default(), || {
                for finding in &mut report.findings {
                    finding.repaired = store.repair(finding.kind, &finding.what)?;
                }
                store.drop_broken_records()
            })
            .map_err(store_failure)?;
        }
        Err(StoreError::Locked { .. }) => {
            for finding in &mut report.findings {
                if finding.kind.is_damage() {
                    let wanted = Some((finding.kind, finding.what.as_str()));
                    finding.repaired =
                        ask_repair(data, wanted).await.map_err(|error| control_failure(&error))?;
                }
            }
            ask_repair(data, None).await.map_err(|error| control_failure(&error))?;
        }
        Err(error) => return Err(store_failure(error)),
    }
    Ok(())
}

fn control_failure(error: &ControlError) -> Failure {
    Failure::of(Kind::Failed, error)
        .with_hint("run this as the user who runs the registry, or stop the registry and run the same command again")
}

/// Where a stopped check of the same blobs goes on.
fn left(data: &Path, slice: Option<Slice>) -> Result<Option<Cursor>, Failure> {
    let path = data.join(CURSOR);
    let bytes = registry::regular::open(&path).and_then(|file| {
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut std::io::Read::take(file, CURSOR_MAX), &mut bytes)?;
        Ok(bytes)
    });
    let cursor = match bytes {
        Ok(bytes) => json::parse::<Cursor>(&bytes).ok(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(Failure::io(Kind::Failed, "cannot go on", &error)),
    };
    let cursor = cursor.filter(|cursor| Some(cursor.slice) == slice);
    if cursor.is_none() {
        tracing::info!("no check of these blobs was stopped: this one begins at the first");
    }
    Ok(cursor)
}

fn keep(data: &Path, cursor: &Cursor) {
    let kept = serde_json::to_vec(cursor).map_err(std::io::Error::from).and_then(|bytes| {
        let mut file = tempfile::NamedTempFile::new_in(data)?;
        std::io::Write::write_all(&mut file, &bytes)?;
        file.persist(data.join(CURSOR)).map_err(|error| error.error)
    });
    if let Err(error) = kept {
        tracing::debug!(%error, "cannot keep where the check stands");
    }
}

fn slice(text: &str) -> Result<Slice, String> {
    let parsed = text.split_once('/').and_then(|(number, of)| {
        let (number, of): (u32, u32) = (number.parse().ok()?, of.parse().ok()?);
        (1..=of).contains(&number).then_some(Slice { number, of })
    });
    parsed.ok_or_else(|| "expected N/T with N from 1 to T, as `1/7`".to_owned())
}

fn text(report: &Report) -> String {
    let mut text = String::new();
    for finding in &report.findings {
        // Writing to a String cannot fail.
        let _ = describe(&mut text, finding);
    }
    if report.more_findings > 0 {
        let _ = writeln!(text, "and {} more", size::count(report.more_findings, "finding"));
    }
    let read = match report.blobs_read {
        0 => String::new(),
        read => format!(", {read} of them read ({})", size::show(report.bytes_read)),
    };
    let _ = writeln!(
        text,
        "{}, {}, {}, {}{read}: {}",
        size::count(report.repositories, "repository").replace("repositorys", "repositories"),
        size::count(report.tags, "tag"),
        size::count(report.manifests, "manifest"),
        size::count(report.blobs, "blob"),
        if report.is_clean() { "all is in order" } else { "not all is in order" },
    );
    text
}

fn describe(text: &mut String, finding: &Finding) -> std::fmt::Result {
    write!(text, "{}: {}", words(finding.kind), plain(&finding.what))?;
    if !finding.detail.is_empty() {
        write!(text, " ({})", plain(&finding.detail))?;
    }
    writeln!(text)?;
    let list = |text: &mut String, what, shown: &[String], count: u64| {
        if count == 0 {
            return Ok(());
        }
        let more = count.saturating_sub(shown.len() as u64);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        writeln!(text, "  {what}: {}{more}", plain(&shown.join(", ")))
    };
    list(text, "in", &finding.repositories, finding.repository_count)?;
    list(text, "needed by", &finding.tags, finding.tag_count)?;
    if let Some(holder) = &finding.holder {
        writeln!(
            text,
            "  a good copy is in `{}` at byte {}, stream {}",
            holder.part, holder.offset, holder.stream
        )?;
    }
    if finding.repaired {
        writeln!(text, "  {}", done(finding.kind))?;
    }
    Ok(())
}

/// What a repair did.
fn done(kind: FindingKind) -> &'static str {
    match kind {
        FindingKind::BlobNotLinked | FindingKind::ReferrerMissing | FindingKind::ReferrerWrong => {
            "mended"
        }
        FindingKind::TagDamaged => "removed: it reads as missing",
        _ => "moved to the quarantine: it reads as missing",
    }
}

/// What was found, and the next steps.
fn failure(report: &Report, data: &Path, repaired: bool) -> Failure {
    let harm = |finding: &&Finding| finding.kind.is_damage();
    let found = report.findings.iter().filter(harm).count() as u64 + report.more_findings;
    let mut failure = Failure::new(
        Kind::Damaged,
        format!("{} in `{}`", size::count(found, "finding"), plain(&data.display().to_string())),
    );
    let left: Vec<&Finding> = report.findings.iter().filter(harm).collect();
    let movable = left.iter().any(|finding| {
        !finding.repaired
            && !matches!(finding.kind, FindingKind::BlobMissing | FindingKind::TagDangling)
    });
    if !repaired && movable {
        failure = failure.with_hint(format!(
            "run the same command with `--repair`: `bundle registry fsck --repair --data-dir {}`",
            crate::typed::quoted(&data.display().to_string())
        ));
    }
    let mut last = BTreeSet::new();
    let mut earlier = BTreeSet::new();
    for holder in left.iter().filter_map(|finding| finding.holder.as_ref()) {
        let of = if holder.last { &mut last } else { &mut earlier };
        of.insert(((&holder.ledger, holder.stream, holder.sequence), holder.part.as_str()));
    }
    let then = if repaired || !movable { "" } else { "then " };
    let settings = Settings::load(data).ok().flatten().unwrap_or_default();
    for ((ledger, _, sequence), parts) in by_sequence(&last) {
        let into = into(data, &settings, ledger);
        failure = failure.with_hint(format!(
            "{then}import sequence {sequence} again, which puts back what is missing, with its medium ({parts}): \
             `bundle import --from DIR {into}`"
        ));
    }
    for ((ledger, _, sequence), parts) in by_sequence(&earlier) {
        let into = into(data, &settings, ledger);
        failure = failure.with_hint(format!(
            "{then}put back what is missing of sequence {sequence}, with its medium ({parts}): `bundle import --put-back --from DIR {into}`"
        ));
    }
    if last.is_empty() && earlier.is_empty() {
        failure = failure
            .with_hint("no record of a sequence has it: push it again from where it came from");
    }
    failure
}

/// The target of the import that left this ledger, as far as it is known here, with what a client needs for it.
fn into(data: &Path, settings: &Settings, ledger: &Repository) -> String {
    let (namespace, depth) = record::target_of(ledger).unwrap_or_default();
    let path = if namespace.is_empty() { String::new() } else { format!("/{namespace}") };
    let nested = if depth > 0 { format!(" --max-nested-paths {depth}") } else { String::new() };
    let Some(hostname) = &settings.hostname else {
        // That of a workspace is filled without an address.
        let workspace = data.parent().filter(|place| {
            data.file_name().is_some_and(|name| name == "registry") && place.join("import").is_dir()
        });
        return workspace.map_or_else(
            || format!("docker://HOST:PORT{path}{nested}"),
            |workspace| {
                let workspace = crate::typed::quoted(&workspace.display().to_string());
                format!("--workspace {workspace}{nested}")
            },
        );
    };
    let bracketed = hostname.contains(':');
    let hostname = if bracketed { format!("[{hostname}]") } else { hostname.clone() };
    let target = format!("docker://{hostname}:{}{path}{nested}", settings.listen().port());
    let ca = certificate::directory(data).join(certificate::CA);
    match settings.tls.certificate.is_none() && ca.exists() {
        true => {
            format!("{target} --ca-file {}", crate::typed::quoted(&ca.display().to_string()))
        }
        false => target,
    }
}

/// A sequence, and the repository with its record.
type Imported<'a> = (&'a Repository, StreamId, Sequence);

/// The sequences with their files.
fn by_sequence<'a>(parts: &BTreeSet<(Imported<'a>, &str)>) -> Vec<(Imported<'a>, String)> {
    let mut all: Vec<(Imported<'_>, Vec<&str>)> = Vec::new();
    for (sequence, part) in parts {
        match all.last_mut() {
            Some((of, files)) if of == sequence => files.push(part),
            _ => all.push((*sequence, vec![part])),
        }
    }
    let list = |files: Vec<&str>| {
        let more = files.len().saturating_sub(5);
        let named: Vec<String> =
            files.into_iter().take(5).map(|file| format!("`{file}`")).collect();
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        named.join(", ") + &more
    };
    all.into_iter().map(|(sequence, files)| (sequence, list(files))).collect()
}
