//! `bundle create`: the next sequence, on a medium.
//!
//! 1. the configuration, refused with every fault at once; 2. the workspace and the keys; 3. the part
//!    size; 4. `bundler` does the work; 5. what happened, and what to do next.

pub(super) mod answer;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::registry::progress::Progress;
use ::registry::reference::Reference;
use bundler::config::ImageSetConfig;
use bundler::release::graph_image::{BASE, GraphData, GraphOptions};
use bundler::release::path::AcceptedRisks;
use bundler::release::service::ServiceOptions;
use bundler::report::Created;
use bundler::{CreateOptions, ReleaseOptions, Stream};
use format_spec::Sequence;
use format_spec::keys::KeyId;
use format_spec::limits::{LABELS_MAX, PART_DEFAULT, PART_MAX, TEXT_MAX};

use answer::{Answer, text};

use super::Context;
use super::charts::Charts;
use super::policy::Judged;
use super::signed::Signed;
use crate::cli::{self, Common};
use crate::failure::{Exit, Failure};
use crate::output::plain;
use crate::progress::Drawing;
use crate::signing::{Signers, first_key, signing_keys, tell_new_stream, tell_other_key};
use crate::size::{Media, PartSize};
use crate::wire::{self, Side};

/// Write what is new since the last time as the next sequence, signed, in parts
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    content: Content,
    /// Where the sequence goes: the medium, or a directory to copy from; made when it does not exist
    #[arg(long, value_name = "DIR", value_parser = cli::directory)]
    to: PathBuf,
    /// Sign with this private key; repeatable [default: `keys/default.pem` of the workspace]
    #[arg(long, value_name = "FILE")]
    key: Vec<PathBuf>,
    /// The most bytes of a part: a number, or one with a unit as 4GiB or 700MB
    /// [default: `archiveSize` of the configuration, or 4 GiB - 1]
    #[arg(long, value_name = "SIZE", conflicts_with = "media")]
    size: Option<PartSize>,
    /// The kind of medium, and with it the size of the parts
    #[arg(long, value_enum)]
    media: Option<Media>,
    /// Carry everything, whatever earlier sequences carried
    #[arg(long)]
    full: bool,
    /// Carry all that came after this sequence, although later ones were written: for a target that
    /// stands there because the media in between were lost; a date as 2026-11-30 means the last sequence before it
    #[arg(long, value_name = "SEQUENCE|DATE", value_parser = since, conflicts_with = "full")]
    since: Option<Since>,
    /// Write this sequence again, as it was, because its medium was lost: the same files, with what they carry
    /// fetched from the source registries once more
    #[arg(
        long,
        value_name = "SEQUENCE",
        value_parser = sequence,
        conflicts_with_all = ["full", "since", "dry_run", "strict", "remove_signatures", "foreign_layers", "label",
            "expires", "next_expected", "size", "media", "policy"]
    )]
    resend: Option<Sequence>,
    /// Write `mirror_seqN.SHA256SUMS` too, for people without `bundle`; reads every part once more
    #[arg(long)]
    sums: bool,
    /// Read the medium again, past the page cache, and prove every byte before the sequence gets its name
    #[arg(long)]
    read_back: bool,
    /// Free text for the signed head; repeatable
    #[arg(long, value_name = "NAME=VALUE", value_parser = label)]
    label: Vec<(String, String)>,
    /// Not to be imported after this time, as 2027-01-31T00:00:00Z
    #[arg(long, value_name = "TIME", value_parser = to_come)]
    expires: Option<String>,
    /// When the other side can expect the next sequence, as 2027-01-31T00:00:00Z
    #[arg(long, value_name = "TIME", value_parser = instant)]
    next_expected: Option<String>,
}

/// What is carried, and what of it; a mirror takes the same.
#[derive(Debug, clap::Args)]
pub(super) struct Content {
    /// What to carry: an ImageSetConfiguration
    #[arg(long, short, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Carry these images too, or alone: a list with a reference a line, a mapping file of `oc image mirror`, the JSON list of
    /// a MicroShift release; a directory of `oc image mirror` (`v2`), `oc adm catalog mirror` or `skopeo sync`; an archive of
    /// `docker save` or `podman save`. What no list names any more has left, as with a configuration; repeatable
    #[arg(long, value_name = "PATH")]
    pub(super) images: Vec<PathBuf>,
    /// Fail when anything cannot be had, instead of carrying the rest
    #[arg(long)]
    pub(super) strict: bool,
    /// Leave signatures, attestations and other referrers behind
    #[arg(long)]
    pub(super) remove_signatures: bool,
    /// Carry layers that their publisher keeps to other places (Windows base layers)
    #[arg(long)]
    pub(super) foreign_layers: bool,
    /// The most components of a repository's path at the target; 0 is no limit
    #[arg(long, value_name = "N", default_value = "0")]
    pub(super) max_nested_paths: usize,
    /// Also over updates that carry these risks, separated by commas; without names, over all
    #[arg(long, value_name = "NAME", num_args = 0..=1, default_missing_value = "", value_delimiter = ',')]
    pub(super) accept_risks: Option<Vec<String>>,
    #[command(flatten)]
    pub(super) signed: Signed,
    /// The data of the update graph for `graph: true`, in place of what the update service gives away: an archive (`tar.gz`)
    #[arg(long, value_name = "FILE|URL")]
    pub(super) graph_data: Option<GraphData>,
    /// The image on which the graph image is made; it needs a shell
    #[arg(long, value_name = "REFERENCE", default_value = BASE)]
    pub(super) graph_base: Reference,
    #[command(flatten)]
    pub(super) charts: Charts,
    #[command(flatten)]
    pub(super) judged: Judged,
    /// Only say what would be carried; writes `mapping.txt`
    #[arg(long)]
    pub(super) dry_run: bool,
}

impl Content {
    /// The configuration, and its warnings, which are told; one that asks for nothing where lists do.
    pub(super) fn read(&self, needed: bool) -> Result<(ImageSetConfig, Vec<String>), Failure> {
        match &self.config {
            Some(path) => read_config(path),
            None if needed && self.images.is_empty() => Err(Failure::usage(
                "nothing says what to carry: `--config FILE` is missing",
            )
            .with_hint(
                "`bundle init` prints a configuration; `--images PATH` takes a list without one",
            )),
            None => Ok((ImageSetConfig::nothing(), Vec::new())),
        }
    }

    /// Which releases are chosen, and whose signatures of them count.
    pub(super) fn releases(&self, workspace: &Path) -> Result<ReleaseOptions, Failure> {
        let trust = self.signed.clone().trust()?;
        let service = ServiceOptions::from_environment(Some(workspace))
            .map_err(|error| Failure::from(&error))?;
        let risks = risks(self.accept_risks.clone());
        let graph = GraphOptions { data: self.graph_data.clone(), base: self.graph_base.clone() };
        Ok(ReleaseOptions { service, risks, trust, graph })
    }
}

pub async fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    let content = args.content;
    let (config, warned) = content.read(args.resend.is_none())?;
    let workspace = workspace(&context.common, &config);
    super::refuse_other_than_directory("--workspace", &workspace)?;
    super::refuse_other_than_directory("--to", &args.to)?;
    if !content.dry_run {
        super::refuse_unwritable("--to", &args.to)?;
    }
    let labels = labels(args.label)?;
    let helm = content.charts.clone().options()?;
    let releases = content.releases(&workspace)?;
    let policy = content.judged.load()?;
    let part_bytes = part_bytes(args.size, args.media, config.archive_size);
    let history = config.storage.registry.as_ref().filter(|history| history.skip_tls);
    let skip_tls = history.map(|history| &history.image.registry);
    let client = wire::client(&context.common, Side::Source(skip_tls))?;
    let signing = signing_keys(&args.key, &workspace, content.dry_run)?;

    let progress = Arc::new(Progress::default());
    let drawing = Drawing::start(&progress, context.quiet());
    let stream = Stream::open(&config, &workspace, &client, &progress).await?;
    let standing = stream.standing()?;
    let first = standing.is_none();
    let since = match args.since {
        None => None,
        Some(Since::Sequence(sequence)) => Some(sequence),
        Some(Since::Before(time)) => Some(stream.last_before(time)?.ok_or_else(|| {
            Failure::usage(format!("this workspace made no sequence before {time}"))
                .with_hint("name a later date or a sequence, or carry everything with `--full`")
        })?),
    };
    // A sequence that it names is refused in a moment.
    if first && since.is_none() && args.resend.is_none() {
        // Before the hours that fetching may take.
        let local = config.storage.local.is_some();
        let place = if local { "`storageConfig.local.path`" } else { "`--workspace DIR`" };
        tell_new_stream(&workspace, place, signing.is_none());
    }
    let signing = Arc::new(match signing {
        Some(signing) => {
            if let Some(standing) = &standing
                && args.resend.is_none()
            {
                tell_other_key(standing, &signing);
            }
            Signers::of(signing)
        }
        None => first_key(&workspace, standing, content.dry_run)?,
    });
    let shown_workspace = workspace.display().to_string();
    let options = CreateOptions {
        config,
        images: content.images,
        workspace,
        to: args.to.clone(),
        keys: Arc::clone(&signing) as Arc<dyn bundler::Signers>,
        part_bytes,
        full: args.full,
        since,
        strict: content.strict,
        remove_signatures: content.remove_signatures,
        foreign_layers: content.foreign_layers,
        max_nested_paths: content.max_nested_paths,
        dry_run: content.dry_run,
        parallel_images: context.common.parallel_images,
        parallel_blobs: context.common.parallel_blobs.unwrap_or(cli::CREATE_BLOBS),
        sums: args.sums,
        read_back: args.read_back,
        labels,
        expires: args.expires,
        next_expected: args.next_expected,
        releases,
        helm,
        straight: None,
        policy,
        client,
        progress,
        cancel: context.cancel.clone(),
    };
    let created = match args.resend {
        Some(sequence) => bundler::resend(stream, options, sequence).await,
        None => bundler::create(stream, options).await,
    };
    drop(drawing);
    // Why there is no key is told better where it was looked for.
    let mut created = created.map_err(|error| signing.failure().unwrap_or_else(|| error.into()))?;
    let signing = signing.ready();

    for warning in &created.summary().warnings {
        tracing::warn!("{}", plain(warning));
    }
    // Those were told at once.
    created.warned_before(warned);
    let answer = Answer {
        discs: discs(args.media, &created),
        keys: signing.iter().flat_map(|s| s.ids()).map(KeyId::to_string).collect(),
        new_key: signing
            .and_then(|signing| signing.to_carry(&created))
            .map(|path| path.display().to_string()),
        new_stream_in: (first && !matches!(created, Created::Nothing(_)))
            .then_some(shown_workspace),
        ..Answer::new(&created, &args.to)
    };
    context.output.print(&answer, &text(&answer, args.media))?;
    Ok(Exit::without(created.exit_bits()))
}

/// The configuration, and its warnings, which are told.
pub(super) fn read_config(path: &Path) -> Result<(ImageSetConfig, Vec<String>), Failure> {
    let loaded = ImageSetConfig::load(path)?;
    let told = |warning: &bundler::config::Finding| {
        let hint = warning.hint.iter().map(|hint| format!("; {hint}"));
        let warning = format!("{warning}{}", hint.collect::<String>());
        tracing::warn!("{warning}");
        warning
    };
    let warnings = loaded.warnings.iter().map(told).collect();
    Ok((loaded.config, warnings))
}

/// The directory of this stream's state: what the configuration says, or the common option.
pub(super) fn workspace(common: &Common, config: &ImageSetConfig) -> PathBuf {
    let Some(local) = &config.storage.local else { return common.workspace.clone() };
    if common.workspace != Path::new(cli::WORKSPACE) && common.workspace != *local {
        tracing::warn!(
            "`storageConfig.local.path` wins over `--workspace`: `{}`",
            plain(&local.display().to_string())
        );
    }
    local.clone()
}

/// The risks that `--accept-risks` names.
pub(super) fn risks(names: Option<Vec<String>>) -> AcceptedRisks {
    match names {
        None => AcceptedRisks::Nothing,
        Some(names) => AcceptedRisks::named(names.into_iter().filter(|name| !name.is_empty())),
    }
}

fn labels(pairs: Vec<(String, String)>) -> Result<BTreeMap<String, String>, Failure> {
    let mut labels = BTreeMap::new();
    for (name, value) in pairs {
        if labels.insert(name.clone(), value).is_some() {
            return Err(Failure::usage(format!("the label `{name}` is given twice")));
        }
    }
    if labels.len() > LABELS_MAX {
        return Err(Failure::usage(format!("more than {LABELS_MAX} labels")));
    }
    Ok(labels)
}

/// The most bytes of a part: what was typed, else the configuration's `archiveSize` in GiB, else the
/// default. The format's own limit holds always: oc-mirror's default of 500 GiB lies above it.
fn part_bytes(size: Option<PartSize>, media: Option<Media>, archive_size: Option<u64>) -> u64 {
    let typed = size.map(PartSize::bytes).or(media.map(Media::part_bytes));
    typed.unwrap_or_else(|| match archive_size {
        Some(gib) => gib.saturating_mul(1 << 30).min(PART_MAX),
        None => PART_DEFAULT,
    })
}

fn discs(media: Option<Media>, created: &Created) -> Option<u64> {
    let parts = match created {
        Created::Nothing(_) => return None,
        Created::Planned(planned) => planned.parts.len(),
        Created::Written(written) => {
            written.files.iter().filter(|file| file.name.ends_with(".tar")).count()
        }
    };
    media?.discs(parts as u64)
}

/// After what everything is carried.
#[derive(Debug, Clone, Copy)]
enum Since {
    Sequence(Sequence),
    Before(jiff::Timestamp),
}

fn since(text: &str) -> Result<Since, String> {
    if let Ok(date) = text.parse::<jiff::civil::Date>() {
        let midnight = date.to_zoned(jiff::tz::TimeZone::UTC);
        return midnight
            .map(|time| Since::Before(time.timestamp()))
            .map_err(|error| error.to_string());
    }
    sequence(text).map(Since::Sequence).map_err(|error| format!("{error}, or a date as 2026-11-30"))
}

fn sequence(text: &str) -> Result<Sequence, String> {
    match text.parse().ok().and_then(Sequence::new) {
        Some(sequence) => Ok(sequence),
        None => Err("expected the number of an earlier sequence, from 1".to_owned()),
    }
}

fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() && text.len() <= TEXT_MAX => {
            Ok((name.to_owned(), value.to_owned()))
        }
        Some((_, _)) => Err(format!("expected NAME=VALUE of up to {TEXT_MAX} characters")),
        None => Err("expected NAME=VALUE".to_owned()),
    }
}

/// A time that has not passed.
fn to_come(text: &str) -> Result<String, String> {
    let time = instant(text)?;
    let now = jiff::Timestamp::now();
    if time.parse::<jiff::Timestamp>().is_ok_and(|time| time <= now) {
        return Err(format!("it has passed: nobody could import the sequence ({now:.0} now)"));
    }
    Ok(time)
}

/// A time in UTC, as the head has it.
fn instant(text: &str) -> Result<String, String> {
    let time: jiff::Timestamp =
        text.parse().map_err(|_| "expected a time as 2027-01-31T00:00:00Z".to_owned())?;
    Ok(time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn part_sizes_come_from_flag_configuration_or_default() {
        let size = "700MB".parse().ok();
        assert_eq!(part_bytes(size, None, Some(1)), 700_000_000);
        assert_eq!(part_bytes(None, Some(Media::Fat32), Some(1)), 4_294_967_295);
        assert_eq!(part_bytes(None, None, Some(2)), 2 << 30);
        assert_eq!(part_bytes(None, None, Some(500)), PART_MAX);
        assert_eq!(part_bytes(None, None, Some(u64::MAX)), PART_MAX);
        assert_eq!(part_bytes(None, None, None), PART_DEFAULT);
    }

    #[test]
    fn times_are_kept_in_utc() {
        assert_eq!(instant("2027-01-31T02:00:00+02:00").unwrap(), "2027-01-31T00:00:00Z");
        assert!(instant("2027-01-31").is_err());
        assert!(instant("soon").is_err());
    }

    #[test]
    fn labels_have_a_name_and_come_once() {
        assert_eq!(label("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert!(label("=b").is_err() && label("a").is_err());
        let twice = vec![("a".to_owned(), "1".to_owned()), ("a".to_owned(), "2".to_owned())];
        assert!(labels(twice).is_err());
    }
}
