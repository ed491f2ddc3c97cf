//! Why a channel's releases could not be chosen, and what a person can do about it.
//!
//! In: faults of the wire, of documents, and of what was asked for. Out: one variant each, with its values, and
//! hints that name the nearest possibilities.

use std::fmt::Write as _;
use std::io;

use format_spec::head::ContentClass;
use registry::client::{ClientError, ErrorKind as WireKind};
use semver::Version;

use super::graph::GraphError;
use super::path::{NamedRisk, NoPath};
use crate::ErrorKind;

/// Why a channel gave no releases.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// The update service could not be asked.
    #[error("the update graph of `{channel}` ({architecture}) could not be had")]
    Fetch {
        /// The channel.
        channel: String,
        /// The architecture.
        architecture: String,
        /// The variable that names another service.
        variable: &'static str,
        /// Why.
        source: ClientError,
    },
    /// What came is no update graph.
    #[error(
        "what `{host}` sent as the update graph of `{channel}` ({architecture}) cannot be used"
    )]
    Document {
        /// The channel.
        channel: String,
        /// The architecture.
        architecture: String,
        /// The variable that names another service.
        variable: &'static str,
        /// Where it came from.
        host: String,
        /// What is wrong with it.
        source: Box<GraphError>,
    },
    /// A name that no update service takes.
    #[error("`{channel}` is no name of a channel")]
    Name {
        /// What was written.
        channel: String,
    },
    /// An architecture that no update service takes.
    #[error("`{architecture}` is no architecture of releases")]
    Architecture {
        /// What was written.
        architecture: String,
    },
    /// A channel without releases; the service answers the same for one that there is not.
    #[error("the update service has no release in channel `{channel}` for {architecture}")]
    Empty {
        /// The channel.
        channel: String,
        /// The architecture.
        architecture: String,
        /// Channels of the same minor release that it does have.
        known: Vec<String>,
    },
    /// A version that the channel does not have.
    #[error("release {version} is not in channel `{channel}` ({architecture})")]
    Unknown {
        /// The channel.
        channel: String,
        /// The architecture.
        architecture: String,
        /// The version.
        version: Version,
        /// Those next to it.
        nearest: Vec<Version>,
    },
    /// A range without releases.
    #[error("channel `{channel}` ({architecture}) has no release {range}")]
    Nothing {
        /// The channel.
        channel: String,
        /// The architecture.
        architecture: String,
        /// The range in words.
        range: String,
        /// The releases next to it.
        nearest: Vec<Version>,
    },
    /// No update path.
    #[error("no update path leads from {} to {} in channel `{}`", .0.from, .0.to, .0.channel)]
    NoPath(Box<NoPath>),
    /// Only what was kept of earlier runs may be used, and there is nothing.
    #[error("no update graph of `{channel}` ({architecture}) was kept from an earlier run")]
    NotKept {
        /// The channel.
        channel: String,
        /// The architecture.
        architecture: String,
    },
    /// A file of the workspace.
    #[error("cannot {doing}")]
    File {
        /// What was being done.
        doing: &'static str,
        /// The system's answer, which names the path.
        source: io::Error,
    },
    /// The address of the update service.
    #[error("`{variable}` is not usable: {problem}")]
    Address {
        /// The variable that names it.
        variable: &'static str,
        /// What is wrong.
        problem: &'static str,
    },
}

impl ReleaseError {
    /// The fault of the wire behind it, if it is one.
    pub fn wire(&self) -> Option<WireKind> {
        match self {
            Self::Fetch { source, .. } => Some(source.kind()),
            _ => None,
        }
    }

    /// Which exit code it means for a command that wants nothing else.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Name { .. } | Self::Architecture { .. } | Self::Address { .. } => {
                ErrorKind::Usage
            }
            Self::Fetch { source, .. } => match source.kind() {
                WireKind::Unavailable | WireKind::Tls => ErrorKind::Unavailable,
                WireKind::Config => ErrorKind::Usage,
                _ => ErrorKind::Other,
            },
            Self::Empty { .. } | Self::Unknown { .. } | Self::Nothing { .. } | Self::NoPath(_) => {
                ErrorKind::Content(ContentClass::Release.exit_bit())
            }
            Self::File { .. } => ErrorKind::NoSpace,
            Self::Document { .. } | Self::NotKept { .. } => ErrorKind::Other,
        }
    }

    /// The architecture that it is about; empty when it is about none.
    pub fn architecture(&self) -> &str {
        match self {
            Self::Fetch { architecture, .. }
            | Self::Document { architecture, .. }
            | Self::Architecture { architecture }
            | Self::Empty { architecture, .. }
            | Self::Unknown { architecture, .. }
            | Self::Nothing { architecture, .. }
            | Self::NotKept { architecture, .. } => architecture,
            Self::Name { .. } | Self::NoPath(_) | Self::File { .. } | Self::Address { .. } => "",
        }
    }

    /// What to do next, the most likely first.
    pub fn hints(&self) -> Vec<String> {
        match self {
            Self::Fetch { source, variable, .. } => of_wire(source, variable),
            Self::Document { source, host, variable, .. } if is_foreign(source) => vec![
                format!("a proxy or a login page may answer in the place of `{host}`: ask it with a browser or curl"),
                format!("the address of an own update service is that of its graph, as {}", example(variable)),
            ],
            Self::Document { host, .. } => {
                vec![format!("tell who runs `{host}`; nothing of this channel is used")]
            }
            Self::Name { .. } => vec![
                "channels are named as `stable-4.18`: `candidate-`, `fast-`, `stable-` or `eus-`, then the minor release"
                    .to_owned(),
            ],
            Self::Architecture { .. } => {
                vec!["write one of amd64, arm64, ppc64le, s390x, multi".to_owned()]
            }
            Self::Empty { channel, architecture, known } => of_empty(channel, architecture, known),
            Self::Unknown { nearest, .. } | Self::Nothing { nearest, .. } => of_nearest(nearest),
            Self::NoPath(none) => of_path(none),
            Self::NotKept { .. } => {
                vec!["run once where the update service can be reached, with the same workspace".to_owned()]
            }
            Self::File { .. } => vec![
                "give the user who runs this the right to read and write it, or name another place: `--workspace DIR`"
                    .to_owned(),
            ],
            Self::Address { variable, .. } => vec![format!(
                "write the whole address of the graph, as {}, or take the variable away",
                example(variable)
            )],
        }
    }
}

/// Whether something else than an update service may have answered.
fn is_foreign(error: &GraphError) -> bool {
    matches!(error, GraphError::Page(_) | GraphError::Shape(_))
}

/// How an own update service is named.
fn example(variable: &str) -> String {
    format!("`{variable}=https://HOST/api/upgrades_info/v1/graph`")
}

fn of_wire(error: &ClientError, variable: &str) -> Vec<String> {
    let mut hints = Vec::new();
    match error.kind() {
        WireKind::Unavailable => {
            hints.push(
                "check that the update service can be reached from here; a proxy is named by `HTTPS_PROXY`"
                    .to_owned(),
            );
            hints.push(format!("an own update service is named by {}", example(variable)));
        }
        WireKind::Tls => hints.push(
            "name the authority that signed the certificate, that of a proxy on the way too: `--ca-file FILE`"
                .to_owned(),
        ),
        _ => hints.push(error.hint().unwrap_or_else(|| {
            "check the address of the update service: another service may answer there".to_owned()
        })),
    }
    hints
}

fn of_nearest(nearest: &[Version]) -> Vec<String> {
    if nearest.is_empty() {
        return vec![
            "leave the versions out to carry the newest release of the channel".to_owned(),
        ];
    }
    vec![format!("the nearest releases of the channel are {}", list(nearest))]
}

fn of_empty(channel: &str, architecture: &str, known: &[String]) -> Vec<String> {
    let mut hints = Vec::new();
    if !known.is_empty() {
        let names: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
        hints.push(format!("channels that it has for {architecture}: {}", names.join(", ")));
    }
    match ChannelName::of(channel) {
        Some(name) if !PREFIXES.contains(&name.prefix) => hints.push(format!(
            "write `stable-{0}.{1}`, `fast-{0}.{1}`, `candidate-{0}.{1}` or `eus-{0}.{1}`",
            name.major, name.minor
        )),
        Some(name) if name.prefix == "eus" && name.minor % 2 == 1 => {
            let (below, above) = (name.minor - 1, name.minor + 1);
            hints.push(format!(
                "only even minor releases have such channels: `eus-{0}.{below}`, `eus-{0}.{above}`",
                name.major
            ));
        }
        Some(_) if known.is_empty() => hints.push(
            "`bundle list releases --version X.Y --channels` shows the channels of a minor release"
                .to_owned(),
        ),
        Some(_) => {}
        None => hints.push("channels are named as `stable-4.18`".to_owned()),
    }
    hints
}

fn of_path(none: &NoPath) -> Vec<String> {
    let mut hints = possibilities(none);
    hints.push(
        "without `shortestPath` all releases from the one to the other are carried".to_owned(),
    );
    hints
}

/// What comes nearest to a path that there is not.
pub(super) fn possibilities(none: &NoPath) -> Vec<String> {
    let mut hints = Vec::new();
    if !none.opening.is_empty() {
        hints.push(opening(&none.opening, &format!("{} to {}", none.from, none.to)));
    }
    if !none.sources.is_empty() {
        hints.push(format!("{} can be reached from {}", none.to, list(&none.sources)));
    }
    if !none.targets.is_empty() {
        hints.push(format!("from {} there are paths to {}", none.from, list(&none.targets)));
    }
    hints
}

/// The option that opens a way, and what each of its risks is.
pub(super) fn opening(risks: &[NamedRisk], what: &str) -> String {
    let mut text = if risks.iter().all(|risk| is_plain(&risk.name)) {
        let names: Vec<&str> = risks.iter().map(|risk| risk.name.as_str()).collect();
        format!("`--accept-risks {}` opens a path from {what}; read before:", names.join(","))
    } else {
        format!("`--accept-risks` without names opens a path from {what}; read before:")
    };
    for risk in risks {
        // Writing to a String cannot fail.
        let _ = write!(text, " {}", if risk.url.is_empty() { &risk.name } else { &risk.url });
    }
    text
}

/// Whether a risk's name can stand in a list on a command line.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|c| c.is_ascii_alphanumeric() || b"_-.".contains(&c))
}

pub(super) fn list(versions: &[Version]) -> String {
    versions.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

const PREFIXES: [&str; 4] = ["candidate", "fast", "stable", "eus"];

/// `<prefix>-<major>.<minor>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChannelName<'a> {
    /// `stable` and the like.
    pub prefix: &'a str,
    /// As `4`.
    pub major: u32,
    /// As `18`.
    pub minor: u32,
}

impl<'a> ChannelName<'a> {
    /// The parts of a name that has this form.
    pub fn of(name: &'a str) -> Option<Self> {
        let (prefix, version) = name.rsplit_once('-')?;
        let (major, minor) = version.split_once('.')?;
        let number = |text: &str| -> Option<u32> {
            let plain = !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
            // Room for the neighbours.
            text.parse().ok().filter(|number| plain && *number < 1_000_000)
        };
        let name = Self { prefix, major: number(major)?, minor: number(minor)? };
        (!prefix.is_empty()).then_some(name)
    }
}
