//! `bundle list`: what there is to carry, as the services of its publishers say.
//!
//! `list releases` asks the update service: the releases of a channel, the channels of a minor release, the update
//! path from one release to another. It reads no configuration and changes nothing; an update graph that it fetched
//! is kept in the workspace when there is one. `list operators` is in `operators.rs`, `list updates` in `updates.rs`.

use std::fmt::Write as _;
use std::sync::Arc;

use bundler::config::{Position, ReleaseChannel, ReleaseStanza, VersionRange};
use bundler::release::explain::{ChannelFailure, Chosen};
use bundler::release::fault::ReleaseError;
use bundler::release::graph::Node;
use bundler::release::service::{Fetched, Kept, Service, ServiceOptions};
use bundler::release::{self, Version};
use format_spec::head::ContentClass;
use serde::Serialize;

use super::{Context, create};
use crate::failure::{Exit, Failure, Kind};
use crate::output::plain_lines;
use crate::wire::{self, Side};

/// The exit code's bit of releases.
const RELEASES: u8 = ContentClass::Release.exit_bit();

/// List what there is to carry
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    Releases(Releases),
    Operators(super::operators::Args),
    Updates(super::updates::Args),
}

/// OpenShift releases of a channel, channels of a minor release, or the update path between two releases
#[derive(Debug, clap::Args)]
struct Releases {
    /// A channel of the update service, as `stable-4.18`
    #[arg(long, value_name = "NAME", conflicts_with = "version")]
    channel: Option<String>,
    /// A minor release: the same as `--channel stable-X.Y`
    #[arg(long, value_name = "X.Y", value_parser = minor)]
    version: Option<(u32, u32)>,
    /// The channels of the minor release instead
    #[arg(long, requires = "version")]
    channels: bool,
    /// Architectures, separated by commas: amd64, arm64, ppc64le, s390x, multi
    #[arg(
        long,
        alias = "filter-by-archs",
        value_name = "LIST",
        default_value = "amd64",
        value_delimiter = ','
    )]
    arch: Vec<String>,
    /// The shortest update path from this release
    #[arg(long, value_name = "VERSION", value_parser = version, conflicts_with = "channels")]
    from_version: Option<Version>,
    /// Up to this one [default: the newest of the channel]
    #[arg(long, value_name = "VERSION", value_parser = version, requires = "from_version")]
    to_version: Option<Version>,
    /// Also over updates that carry these risks, separated by commas; without names, over all
    #[arg(long, value_name = "NAME", num_args = 0..=1, default_missing_value = "", value_delimiter = ',', requires = "from_version")]
    accept_risks: Option<Vec<String>>,
    /// Use the update graphs that earlier runs kept in the workspace; nothing is asked
    #[arg(long)]
    cached_graph: bool,
}

/// The releases of a channel.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Channel<'a> {
    channel: &'a str,
    architecture: &'a str,
    releases: Vec<Release<'a>>,
    /// Seconds since the graph was fetched, when it was kept from an earlier run.
    #[serde(skip_serializing_if = "Option::is_none")]
    kept_seconds: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Release<'a> {
    version: &'a Version,
    payload: String,
    channels: &'a [String],
    errata: Option<&'a str>,
}

/// The channels of a minor release.
#[derive(Debug, Serialize)]
struct Channels {
    version: String,
    architecture: String,
    channels: Vec<String>,
}

/// The answer in JSON; one of `channels`, `minor` and `path`.
#[derive(Debug, Default, Serialize)]
struct Answer<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    channels: Vec<Channel<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    minor: Vec<Channels>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<&'a Chosen>,
    failures: Vec<ChannelFailure>,
    warnings: Vec<String>,
}

pub async fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    let args = match args.what {
        What::Operators(args) => return super::operators::run(args, context).await,
        What::Updates(args) => return super::updates::run(args, context).await,
        What::Releases(args) => args,
    };
    let asked = Asked::of(&args)?;
    let client = wire::client(&context.common, Side::Source(None))?;
    let workspace = &context.common.workspace;
    // To look makes no workspace.
    let workspace = workspace.is_dir().then_some(workspace.as_path());
    let options =
        ServiceOptions::from_environment(workspace).map_err(|error| Failure::from(&error))?;
    let kept = if args.cached_graph { Kept::Always } else { Kept::default() };
    let service = Service::new(client, ServiceOptions { kept, ..options });
    let work = async {
        match asked {
            Asked::Channels(minor) => channels(minor, &args.arch, &service, context).await,
            Asked::Path { channel, from, to } => {
                path(channel, from, to, &args, &service, context).await
            }
            Asked::Releases(channel) => releases(&channel, &args.arch, &service, context).await,
        }
    };
    tokio::select! {
        done = work => done,
        () = context.cancel.cancelled() => Err(Failure::new(Kind::Interrupted, "interrupted")),
    }
}

/// What is asked for.
enum Asked {
    Releases(String),
    Channels((u32, u32)),
    Path { channel: Option<String>, from: Version, to: Option<Version> },
}

impl Asked {
    fn of(args: &Releases) -> Result<Self, Failure> {
        let stable = |(major, minor): (u32, u32)| format!("stable-{major}.{minor}");
        let channel = args.channel.clone().or(args.version.map(stable));
        match (&args.from_version, channel) {
            (Some(from), channel) => {
                let (from, to) = (from.clone(), args.to_version.clone());
                if channel.is_none() && to.is_none() {
                    return Err(Failure::usage("an update path needs its end, or a channel whose newest release is the end")
                        .with_hint("name one: `--to-version VERSION`, or `--channel NAME`"));
                }
                Ok(Self::Path { channel, from, to })
            }
            (None, Some(_)) if args.channels => {
                Ok(Self::Channels(args.version.unwrap_or_default()))
            }
            (None, Some(channel)) => Ok(Self::Releases(channel)),
            (None, None) => Err(Failure::usage(
                "name a channel or a minor release: the update service has no list of all of them",
            )
            .with_hint("the releases of a channel: `bundle list releases --channel stable-4.18`")
            .with_hint(
                "the channels of a minor release: `bundle list releases --version 4.18 --channels`",
            )
            .with_hint(
                "an update path: `bundle list releases --from-version 4.16.3 --to-version 4.18.5`",
            )),
        }
    }
}

async fn releases(
    channel: &str,
    architectures: &[String],
    service: &Service,
    context: &Context,
) -> Result<Exit, Failure> {
    let mut found: Vec<Arc<Fetched>> = Vec::new();
    let mut failed: Vec<Arc<ReleaseError>> = Vec::new();
    let mut answer = Answer::default();
    for architecture in architectures {
        match service.graph(channel, architecture, false).await {
            Ok(fetched) if fetched.graph.nodes().is_empty() => {
                let known = release::neighbours(service, channel, architecture).await;
                let (channel, architecture) = (channel.to_owned(), architecture.clone());
                failed.push(Arc::new(ReleaseError::Empty { channel, architecture, known }));
            }
            Ok(fetched) => found.push(fetched),
            Err(error) => failed.push(error),
        }
    }
    let mut text = String::new();
    for fetched in &found {
        let graph = &fetched.graph;
        answer.warnings.extend(fetched.warning.clone());
        let shown = Channel {
            channel: &graph.channel,
            architecture: &graph.architecture,
            releases: graph.nodes().iter().map(Release::of).collect(),
            kept_seconds: fetched.age.map(|age| age.as_secs()),
        };
        // Writing to a String cannot fail.
        let _ =
            writeln!(text, "{} ({}): {}", shown.channel, shown.architecture, shown.releases.len());
        for release in &shown.releases {
            let line = format!(
                "  {:<24}{}",
                release.version.to_string(),
                release.errata.unwrap_or_default()
            );
            let _ = writeln!(text, "{}", line.trim_end());
        }
        answer.channels.push(shown);
    }
    finish(answer, &text, channel, architectures, &failed, context)
}

impl<'a> Release<'a> {
    fn of(node: &'a Node) -> Self {
        let errata = node.url.as_deref().filter(|url| !url.is_empty());
        Self {
            version: &node.version,
            payload: node.payload.to_string(),
            channels: &node.channels,
            errata,
        }
    }
}

async fn channels(
    (major, minor): (u32, u32),
    architectures: &[String],
    service: &Service,
    context: &Context,
) -> Result<Exit, Failure> {
    let version = format!("{major}.{minor}");
    let mut failed: Vec<Arc<ReleaseError>> = Vec::new();
    let (mut answer, mut text) = (Answer::default(), String::new());
    for architecture in architectures {
        match release::channels_of(service, (major, minor), architecture).await {
            Ok(channels) if channels.is_empty() => {
                let (channel, architecture) = (format!("stable-{version}"), architecture.clone());
                failed.push(Arc::new(ReleaseError::Empty {
                    channel,
                    architecture,
                    known: Vec::new(),
                }));
            }
            Ok(channels) => {
                // Writing to a String cannot fail.
                let _ = writeln!(text, "channels of {version} ({architecture})");
                for channel in &channels {
                    let _ = writeln!(text, "  {channel}");
                }
                let (version, architecture) = (version.clone(), architecture.clone());
                answer.minor.push(Channels { version, architecture, channels });
            }
            Err(error) => failed.push(error),
        }
    }
    finish(answer, &text, &format!("stable-{version}"), architectures, &failed, context)
}

/// The path as a configuration that asks for it would have it.
async fn path(
    channel: Option<String>,
    from: Version,
    to: Option<Version>,
    args: &Releases,
    service: &Service,
    context: &Context,
) -> Result<Exit, Failure> {
    let risks = create::risks(args.accept_risks.clone());
    let entry = |name: String, min: &Version, max: Option<&Version>| ReleaseChannel {
        name,
        okd: false,
        range: VersionRange { min: Some(min.clone()), max: max.cloned() },
        shortest_path: true,
        full: false,
        at: Position { line: 0, column: 0 },
    };
    let stable = |version: &Version| format!("stable-{}.{}", version.major, version.minor);
    let channels = match (channel, &to) {
        (None, Some(to)) => {
            let target = stable(to);
            // One channel often has the minor releases before it too; otherwise the way goes over several.
            let mut within = stable(&from) == target;
            if !within && let Some(architecture) = args.arch.first() {
                let graph = service.graph(&target, architecture, false).await;
                within = graph.is_ok_and(|fetched| fetched.graph.find(&from).is_some());
            }
            if within {
                vec![entry(target, &from, Some(to))]
            } else {
                vec![entry(stable(&from), &from, Some(&from)), entry(target, to, Some(to))]
            }
        }
        (channel, to) => vec![entry(channel.unwrap_or_default(), &from, to.as_ref())],
    };
    let named = channels.last().map(|entry| entry.name.clone()).unwrap_or_default();
    let stanza = ReleaseStanza {
        graph: false,
        channels,
        architectures: args.arch.clone(),
        platforms: Vec::new(),
        release: None,
        kubevirt_container: false,
        at: Position { line: 0, column: 0 },
    };
    let mut chosen = release::choose(&stanza, service, &risks).await;
    let blocked = chosen.ways.iter().find_map(|travelled| travelled.way.blocked.clone());
    if let Some(why) = blocked {
        return Err(Failure::new(Kind::Content(RELEASES), why).with_hint(format!(
            "a path between releases of one channel: `bundle list releases --channel {named} --from-version VERSION`"
        )));
    }
    if let (Some(first), true) = (chosen.failures.first(), chosen.channels.is_empty()) {
        return Err(Failure::from(first));
    }
    let text = chosen.to_string();
    let failures = std::mem::take(&mut chosen.failures);
    let warnings = std::mem::take(&mut chosen.warnings);
    for warning in &warnings {
        tracing::warn!("{warning}");
    }
    let exit = if failures.is_empty() { Exit::DONE } else { Exit::without(RELEASES) };
    let answer = Answer { path: Some(&chosen), failures, warnings, ..Answer::default() };
    context.output.print(&answer, &plain_lines(&text))?;
    Ok(exit)
}

/// Prints what was found. When nothing was, the first failure is the answer.
fn finish(
    mut answer: Answer<'_>,
    text: &str,
    channel: &str,
    architectures: &[String],
    failed: &[Arc<ReleaseError>],
    context: &Context,
) -> Result<Exit, Failure> {
    if let (Some(first), true) = (failed.first(), failed.len() == architectures.len()) {
        return Err(Failure::from(&**first));
    }
    for warning in &answer.warnings {
        tracing::warn!("{warning}");
    }
    for error in failed {
        let failure = ChannelFailure::of(channel, error.architecture(), error);
        tracing::error!("{}; {}", failure.reason, failure.hints.join("; "));
        answer.failures.push(failure);
    }
    context.output.print(&answer, &plain_lines(text))?;
    Ok(if failed.is_empty() { Exit::DONE } else { Exit::without(RELEASES) })
}

/// A minor release, as `4.18`.
pub fn minor(text: &str) -> Result<(u32, u32), String> {
    let number = |text: &str| -> Option<u32> {
        let plain = !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
        text.parse().ok().filter(|number| plain && *number < 1_000_000)
    };
    let parts = text.split_once('.');
    parts
        .and_then(|(major, minor)| Some((number(major)?, number(minor)?)))
        .ok_or_else(|| "expected a minor release, as `4.18`".to_owned())
}

fn version(text: &str) -> Result<Version, String> {
    text.parse().map_err(|_| "expected a version, as `4.18.5`".to_owned())
}
