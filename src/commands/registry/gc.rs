//! `bundle registry gc`: frees what nothing names any more.
//!
//! In: a data directory. Out: what went and why the rest stayed. The registry that runs on the directory does it
//! itself, beside its requests; when none runs, this command opens the store, or the bucket beside its replicas.

use std::time::Duration;

use registry::server::control::{ControlError, ask_collect, ask_status};
use registry::server::period::Period;
use registry::server::settings::Settings;
use registry::store::{Collect, Collected, KeptFor, Store, StoreError, UPLOAD_LIFETIME};

use super::super::Context;
use super::Data;
use crate::failure::{Exit, Failure, Kind};
use crate::output::plain;
use crate::size;

/// Repositories shown; JSON has up to a thousand.
const SHOWN: usize = 20;

/// Streams shown: a registry has one or two.
const STREAMS_SHOWN: usize = 3;

/// Free what no manifest names, and nobody has touched for a day
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    data: Data,
    /// Count what would go, and remove nothing
    #[arg(long)]
    dry_run: bool,
    /// Keep what was touched within this time, as `48h`; below 24h only while no registry runs, and never
    /// in object storage
    /// [default: that of registry.toml, else 24h]
    #[arg(long, value_name = "TIME")]
    grace: Option<Period>,
    /// Remove the manifests too that no tag leads to
    #[arg(long)]
    untagged: bool,
}

pub async fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    let data = args.data.existing()?;
    crate::host::account::become_owner(&data)?;
    let settled = Settings::load(&data)?.unwrap_or_default().storage.grace;
    // One that only reads collects nothing, and holds no lock.
    let reads = ask_status(&data).await.is_ok_and(|status| status.read_only);
    let asked = match reads {
        true => None,
        false => Some(ask_collect(&data, args.grace, args.untagged, args.dry_run).await),
    };
    let done = match asked {
        Some(Ok(done)) => done,
        None | Some(Err(ControlError::NotRunning { .. })) => {
            let how = Collect {
                grace: args.grace.unwrap_or(settled).duration(),
                untagged: args.untagged,
                dry_run: args.dry_run,
                beside: false,
            };
            if let Some(objects) = super::bucket(&data, args.dry_run).await? {
                refuse_short(how.grace, settled.duration())?;
                let done = objects.collect(&how, &context.cancel).await;
                return told(&done.map_err(failure)?, context);
            }
            let store = Store::open_existing(&data, args.dry_run).map_err(|error| match error {
                StoreError::NotAStore { .. } => Failure::of(Kind::Usage, &error)
                    .with_hint("name the directory of a registry: `--data-dir DIR`"),
                error => error.into(),
            })?;
            let cancel = context.cancel.clone();
            let collection = tokio::task::spawn_blocking(move || {
                store.collect(&how, &|| !cancel.is_cancelled())
            });
            let done = collection.await.map_err(|error| Failure::of(Kind::Failed, &error))?;
            done.map_err(failure)?
        }
        Some(Err(ControlError::Refused(why))) => {
            let failure = Failure::new(Kind::Unavailable, why);
            return Err(failure.with_hint(
                "wait and run the same command again; `--dry-run` says now what would go; while the \
                 registry is stopped, any grace will do",
            ));
        }
        Some(Err(error)) => {
            return Err(Failure::of(Kind::Failed, &error)
                .with_hint("the registry's log says what happened; run the same command again"));
        }
    };
    told(&done, context)
}

fn failure(error: StoreError) -> Failure {
    match error {
        StoreError::Collecting => Failure::of(Kind::Unavailable, &error).with_hint(
            "wait for it and run the same command again; one whose process died counts as ended after ten minutes",
        ),
        error => registry::server::ServerError::Store(error).into(),
    }
}

/// Over a bucket there may be replicas at work that this machine does not know of.
fn refuse_short(grace: Duration, settled: Duration) -> Result<(), Failure> {
    let least = settled.min(UPLOAD_LIFETIME);
    if grace >= least {
        return Ok(());
    }
    let hours = least.as_secs() / 3600;
    let text =
        format!("a grace below {hours} h takes blobs from pushes at other replicas of the bucket");
    Err(Failure::usage(text).with_hint(format!("leave `--grace` out, or give it {hours}h or more")))
}

fn told(done: &Collected, context: &Context) -> Result<Exit, Failure> {
    context.output.print(done, &text(done))?;
    match done.complete {
        true => Ok(Exit::DONE),
        false => Err(Failure::new(Kind::Interrupted, "the collection was stopped before its end")
            .with_hint("run the same command again: what went is gone, and the store is whole")),
    }
}

/// What is kept for imported sequences alone, and the one way to let go of it.
fn pinned(done: &Collected) -> String {
    let (blobs, bytes) = (done.blobs.kept.pinned, done.blobs.pinned_bytes);
    // A bucket's pointers are not read to be counted.
    let what = match bytes {
        0 => size::count(blobs, "blob"),
        bytes => size::show(bytes),
    };
    let one = |kept: &KeptFor| match kept.from == kept.to {
        true => format!("sequence {} of stream {}", kept.to, kept.stream),
        false => format!("sequences {} to {} of stream {}", kept.from, kept.to, kept.stream),
    };
    let shown: Vec<String> = done.sequences.iter().take(STREAMS_SHOWN).map(one).collect();
    let more = match done.sequences.len().saturating_sub(STREAMS_SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more streams"),
    };
    format!(
        "kept for imported sequences: {what} ({}{more}), which later sequences may leave out; only a full sequence without \
         it lets go: take it out of the configuration, `bundle create --full` there, `bundle import` here, then this again \
         with `--untagged`",
        shown.join(", ")
    )
}

fn text(done: &Collected) -> String {
    let freed = if done.dry_run { "would free" } else { "freed" };
    let mut lines = vec![format!(
        "{freed} {}: {} blobs; {} links, {} manifests removed",
        size::show(done.blobs.removed_bytes),
        done.blobs.removed,
        done.links.removed,
        done.manifests.removed,
    )];
    for one in done.repositories.iter().take(SHOWN) {
        lines.push(format!(
            "  {}: {} links, {} manifests, {}",
            plain(&one.repository),
            one.links,
            one.manifests,
            size::show(one.bytes)
        ));
    }
    if done.repositories.len() > SHOWN {
        lines.push(format!("  and {} more repositories", done.repositories.len() - SHOWN));
    }
    let kept = done.blobs.kept;
    lines.push(format!(
        "kept {}: {} blobs in use, {} for imported sequences, {} touched within {}, {} in a request, {} unknown",
        size::show(done.blobs.kept_bytes),
        kept.named,
        kept.pinned,
        kept.young,
        hours(done.grace_seconds),
        kept.busy,
        kept.unknown,
    ));
    if kept.pinned > 0 {
        lines.push(pinned(done));
    }
    for what in &done.unreadable {
        lines.push(format!("kept what this may need: {}", plain(what)));
    }
    lines.join("\n")
}

fn hours(seconds: u64) -> String {
    match seconds % 3600 {
        0 => format!("{} h", seconds / 3600),
        _ => format!("{seconds} s"),
    }
}
