//! `bundle import`: what a medium holds, into a registry.
//!
//! 1. the keys that a person trusts: without one nothing is looked at; 2. the target, or the embedded
//!    registry over the workspace's store; 3. `importer` does the work; 4. what happened, and what to do
//!    next.

mod outlet;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use ::registry::client::Client;
use ::registry::progress::Progress;
use ::registry::reference::Target;
use format_spec::head::Kind;
use importer::{ImportOptions, Imported, ImportedSequence, Outcome};
use serde::Serialize;

use super::Context;
use crate::cli;
use crate::failure::{Exit, Failure};
use crate::output::plain;
use crate::progress::Drawing;
use crate::size;
use crate::wire::{self, Side};

/// Verify the sequences in a directory and push what they hold into a registry
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A directory with sequences or some of their parts; repeatable
    #[arg(long, value_name = "DIR", required = true, value_parser = cli::directory)]
    from: Vec<PathBuf>,
    /// The registry and the namespace for everything, as `docker://HOST[:PORT][/NAMESPACE]`; without it the
    /// store of the workspace's own registry is filled
    #[arg(value_name = "TARGET")]
    target: Option<Target>,
    /// Write the images into this directory, for other tools, and into no registry: there is no order, no record, and
    /// nothing is deleted
    #[arg(long, value_name = "DIR", value_parser = cli::directory,
          conflicts_with_all = ["target", "new_stream", "put_back", "skip_pruning", "max_nested_paths"])]
    to_dir: Option<PathBuf>,
    /// The form of what `--to-dir` writes
    #[arg(long, value_enum, value_name = "FORM", default_value = "v2", requires = "to_dir")]
    form: outlet::Form,
    /// Trust this public key, or the keys in this directory, besides those of the workspace; repeatable
    #[arg(long, value_name = "FILE|DIR")]
    trust: Vec<PathBuf>,
    /// Let the target follow a further stream
    #[arg(long)]
    new_stream: bool,
    /// Put back what the target lost of sequences that it has had, of any age: what is missing is sent again by digest,
    /// no tag moves; the parts that hold it are enough
    #[arg(long, conflicts_with = "new_stream")]
    put_back: bool,
    /// Read what the target says it has of these sequences, and send again what arrives damaged
    #[arg(long, requires = "put_back")]
    read_back: bool,
    /// Keep at the target what left the configuration; `bundle prune` removes it later
    #[arg(long, conflicts_with = "put_back")]
    skip_pruning: bool,
    /// Only say what would be pushed and removed; proves signatures, presence and order, but not the bytes of the parts, as
    /// `bundle verify` does
    #[arg(long)]
    dry_run: bool,
    /// The most components of a repository's path at the target; 0 is no limit
    #[arg(long, value_name = "N", default_value = "0")]
    max_nested_paths: usize,
}

/// The answer in JSON.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    #[serde(flatten)]
    imported: &'a Imported,
    /// The data of the embedded registry, when it was the target.
    #[serde(skip_serializing_if = "Option::is_none")]
    store: Option<String>,
    /// Whether every sequence was looked at for what the target lost.
    #[serde(skip)]
    put_back: bool,
    /// Whether that was read.
    #[serde(skip)]
    read_back: bool,
}

pub async fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    let workspace = context.common.workspace.clone();
    super::refuse_other_than_directory("--workspace", &workspace)?;
    let trusted = super::trusted(context, &args.from, &args.trust).await?;
    if let Some(to) = args.to_dir {
        return outlet::run(args.from, trusted, (to, args.form), args.dry_run, context).await;
    }
    let place = match args.target {
        Some(target) => Place::remote(target, wire::client(&context.common, Side::Target)?),
        None => Place::embedded(context, args.dry_run).await?,
    };
    let resources = workspace.join(importer::CLUSTER_RESOURCES);
    let progress = Arc::new(Progress::default());
    let drawing = Drawing::start(&progress, context.quiet());
    let imported = importer::import(ImportOptions {
        from: args.from,
        target: place.target.clone(),
        workspace,
        local_name: place.store.is_some().then(|| "embedded".to_owned()),
        // Its port ends with this command.
        told_as: place.store.as_ref().map(|store| store.display().to_string()),
        trusted,
        new_stream: args.new_stream,
        put_back: args.put_back,
        read_back: args.read_back,
        skip_pruning: args.skip_pruning,
        dry_run: args.dry_run,
        parallel_blobs: context.common.parallel_blobs.unwrap_or(cli::IMPORT_BLOBS),
        max_nested_paths: args.max_nested_paths,
        // Clusters do not know the port of the embedded registry.
        resources: place.store.is_none().then_some(resources),
        client: place.client.clone(),
        progress,
        cancel: context.cancel.clone(),
    })
    .await;
    drop(drawing);
    let store = place.close().await;
    let imported = imported?;

    for warning in &imported.warnings {
        tracing::warn!("{}", plain(warning));
    }
    let answer =
        Answer { imported: &imported, store, put_back: args.put_back, read_back: args.read_back };
    context.output.print(&answer, &text(&answer))?;
    Ok(Exit::DONE)
}

/// Where things go.
struct Place {
    target: Target,
    client: Client,
    /// The data of the embedded registry.
    store: Option<PathBuf>,
    #[cfg(feature = "serve")]
    server: Option<embedded::Running>,
}

impl Place {
    fn remote(target: Target, client: Client) -> Self {
        Self {
            target,
            client,
            store: None,
            #[cfg(feature = "serve")]
            server: None,
        }
    }

    /// Stops the embedded registry; says where its data is.
    async fn close(self) -> Option<String> {
        #[cfg(feature = "serve")]
        if let Some(server) = self.server {
            server.stop().await;
        }
        self.store.map(|path| path.display().to_string())
    }

    #[cfg(not(feature = "serve"))]
    async fn embedded(_: &Context, _dry_run: bool) -> Result<Self, Failure> {
        Err(Failure::usage("this build has no registry of its own, so a target is needed")
            .with_hint("name it: `bundle import --from DIR docker://HOST/NAMESPACE`"))
    }
}

#[cfg(feature = "serve")]
mod embedded {
    //! The embedded registry, for the time of one import, on a port of this machine that nobody else
    //! knows.

    use std::net::{Ipv4Addr, SocketAddr};

    use ::registry::reference::{RegistryHost, Target};
    use ::registry::server::{Server, ServerConfig, ServerError};
    use tokio::task::JoinHandle;
    use tokio_util::sync::CancellationToken;

    use super::{Context, Failure, Place, wire};
    use crate::failure::Kind;

    pub struct Running {
        stop: CancellationToken,
        task: JoinHandle<Result<(), ServerError>>,
        /// Removed when dropped.
        _scratch: Option<tempfile::TempDir>,
    }

    impl Running {
        /// Ends when every connection is closed. What a client was told to be stored is durable, so a
        /// fault while stopping changes nothing.
        pub async fn stop(self) {
            self.stop.cancel();
            match self.task.await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!("the embedded registry: {error}"),
                Err(error) => tracing::warn!("the embedded registry: {error}"),
            }
        }
    }

    impl Place {
        /// Serves the workspace's store; a dry run reads it, or an empty one that does not stay.
        pub async fn embedded(context: &Context, dry_run: bool) -> Result<Self, Failure> {
            let data = context.common.workspace.join("registry");
            let scratch = match dry_run && !data.exists() {
                true => Some(tempfile::tempdir().map_err(|error| {
                    Failure::io(Kind::Failed, "cannot make a temporary directory", &error)
                })?),
                false => None,
            };
            let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
            let mut config = ServerConfig::new(&data, any);
            match &scratch {
                Some(scratch) => config.data = scratch.path().to_owned(),
                None => config.read_only = dry_run,
            }
            let server = Server::bind(config).await?;
            let host: RegistryHost = server
                .local_addr()
                .to_string()
                .parse()
                .expect("an address with its port is a host");
            let client = wire::client(&context.common, wire::Side::Local(&host))?;
            let stop = CancellationToken::new();
            let task = tokio::spawn(server.run(stop.clone()));
            Ok(Self {
                target: Target { registry: host, namespace: None },
                client,
                store: Some(data),
                server: Some(Running { stop, task, _scratch: scratch }),
            })
        }
    }
}

fn text(answer: &Answer<'_>) -> String {
    let imported = answer.imported;
    let mut text = String::new();
    // Writing to a String cannot fail.
    for sequence in &imported.sequences {
        let _ = describe(&mut text, sequence, imported.dry_run);
    }
    let _ = last_lines(&mut text, answer);
    text
}

fn last_lines(text: &mut String, answer: &Answer<'_>) -> std::fmt::Result {
    let Answer { imported, store, put_back, read_back } = answer;
    let place = match store {
        Some(store) => format!("in the store `{store}`"),
        None => format!("at {}", imported.target),
    };
    let what = settled(&imported.sequences, *put_back);
    if imported.dry_run {
        if let Some(plan) = &imported.pruning_plan {
            writeln!(text, "what would be removed is in {}", plan.display())?;
        }
        let new = imported.sequences.iter().any(|sequence| sequence.outcome == Outcome::Planned);
        return match (new, imported.sequences.iter().any(ImportedSequence::moves)) {
            (true, _) => {
                writeln!(text, "nothing was written; the same command without `--dry-run` does it")
            }
            (false, true) => writeln!(
                text,
                "nothing was written; the same command without `--dry-run` puts it back"
            ),
            (false, false) => writeln!(text, "nothing is to be done: {what} is {place} already"),
        };
    }
    if *read_back {
        return writeln!(text, "{what} is {place}, each byte read and proven");
    }
    writeln!(text, "{what} is {place}")?;
    if *put_back && !imported.sequences.iter().any(ImportedSequence::moves) {
        return writeln!(
            text,
            "a registry says of damaged bytes that they are there: with `--read-back` they are read, and what is damaged is \
             sent again"
        );
    }
    if imported.sequences.iter().any(|one| one.pruned.as_ref().is_some_and(|p| p.manifests > 0)) {
        text.push_str(super::prune::BLOBS);
    }
    match (store, &imported.cluster_resources) {
        (Some(store), _) => writeln!(
            text,
            "next: `bundle registry install --data-dir {store}` makes it a registry that stays, for clients of other machines; then `bundle resources docker://HOST:PORT` writes the files \
             for clusters"
        ),
        (None, Some(written)) if !written.files.is_empty() => {
            text.push_str(&super::resources::next(written));
            Ok(())
        }
        (None, _) => Ok(()),
    }
}

/// What is known to be at the target. Of a sequence that was there already only what it carries itself was looked at,
/// and only where the target stands at it.
fn settled(sequences: &[ImportedSequence], put_back: bool) -> String {
    let imported = |sequence: &&ImportedSequence| put_back || sequence.outcome == Outcome::Imported;
    let mut numbers: Vec<String> =
        sequences.iter().filter(imported).map(|sequence| sequence.sequence.to_string()).collect();
    if numbers.len() == sequences.len() && !put_back {
        return "everything".to_owned();
    }
    if numbers.is_empty() {
        numbers.extend(sequences.last().map(|sequence| sequence.sequence.to_string()));
    }
    match &*numbers {
        [number] => format!("what sequence {number} carries"),
        _ => format!("what sequences {} carry", numbers.join(", ")),
    }
}

fn describe(text: &mut String, sequence: &ImportedSequence, dry_run: bool) -> std::fmt::Result {
    let number = sequence.sequence;
    let kind = match sequence.kind {
        Kind::Full => "full",
        Kind::Incremental => "incremental",
    };
    let (verb, sent) = match sequence.outcome {
        Outcome::Imported => ("imported", "sent"),
        Outcome::Known if dry_run => ("is there already", "to put back"),
        Outcome::Known => ("was there already", "put back"),
        Outcome::Planned => ("would be imported", "to send"),
    };
    writeln!(text, "sequence {number} ({kind}): {verb}")?;
    writeln!(
        text,
        "  {}; {} {sent} ({}), {} mounted, {} there already",
        size::count(sequence.references, "reference"),
        size::count(sequence.blobs_pushed, "blob"),
        size::show(sequence.bytes_pushed),
        sequence.blobs_mounted,
        sequence.blobs_present
    )?;
    if sequence.outcome == Outcome::Known {
        for (number, noun) in [(sequence.manifests_put, "manifest"), (sequence.tags_put, "tag")] {
            if number > 0 {
                writeln!(text, "  {} {sent}", size::count(number, noun))?;
            }
        }
    }
    text.push_str(&removed(sequence, dry_run));
    writeln!(text, "  signed by {}", sequence.signers.join(", "))?;
    if let Some(receipt) = &sequence.receipt {
        writeln!(text, "  receipt {}", receipt.display())?;
    }
    Ok(())
}

/// What left the configuration, and what of it was removed.
pub(super) fn removed(sequence: &ImportedSequence, dry_run: bool) -> String {
    let mut text = String::new();
    if sequence.removals > 0 {
        let removals = size::count(sequence.removals, "name");
        let kept = match (&sequence.pruned, sequence.outcome) {
            (None, Outcome::Imported | Outcome::Planned) => "; what they name stays",
            _ => "",
        };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {removals} left the configuration{kept}");
    }
    if let Some(pruned) = &sequence.pruned {
        text.push_str(&super::prune::lines(pruned, dry_run));
    }
    text
}
