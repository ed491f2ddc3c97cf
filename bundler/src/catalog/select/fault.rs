//! Why something that was asked for cannot be taken of a catalog, and what a person can do about it.
//!
//! In: the package, the channel, the bundles and the bounds. Out: an error with all of them, the place in the
//! configuration, and hints that name the nearest names or the range that would work.

use std::fmt;
use std::sync::Arc;

use format_spec::head::ContentClass;
use semver::Version;

use super::version::Bounds;
use crate::ErrorKind;
use crate::catalog::graph::{GraphFault, in_channel};
use crate::catalog::wording::{list, quoted};
use crate::config::Position;

/// Something that was asked for and cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The package.
    pub package: String,
    /// The channel, when it is about one.
    pub channel: Option<String>,
    /// Where the configuration asks for it; `None` when it asks for the whole catalog or another package needs it.
    pub at: Option<Position>,
    /// Why.
    pub reason: Reason,
}

/// Why it cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// The catalog does not have the package.
    #[error("the catalog has no such package")]
    UnknownPackage {
        /// What somebody may have meant.
        nearest: Vec<String>,
    },
    /// The package does not have the channel.
    #[error("the package has no such channel")]
    UnknownChannel {
        /// What somebody may have meant.
        nearest: Vec<String>,
        /// All its channels.
        known: Vec<String>,
    },
    /// There is no bundle of the name.
    #[error("there is no bundle {}", quoted(.bundle))]
    UnknownBundle {
        /// The name.
        bundle: String,
        /// What somebody may have meant.
        nearest: Vec<String>,
    },
    /// A bundle whose version is none.
    #[error("bundle {} has no usable version, {}: {problem}", quoted(.bundle), quoted(.text))]
    Version {
        /// The bundle.
        bundle: Arc<str>,
        /// What stands there.
        text: Arc<str>,
        /// What is wrong.
        problem: String,
    },
    /// No bundle has the version that was named.
    #[error("no bundle has version {version}")]
    NoVersion {
        /// The version.
        version: Version,
        /// Those next to it.
        nearest: Vec<Version>,
    },
    /// The bounds leave nothing.
    #[error("no bundle has a version {bounds}")]
    Nothing {
        /// The bounds.
        bounds: Box<Bounds>,
        /// The versions next to them.
        nearest: Vec<Version>,
        /// Bounds that leave something.
        works: Option<Box<Bounds>>,
        /// Channels of the package that have something in the bounds.
        elsewhere: Vec<String>,
    },
    /// No channel of the package has anything that was asked for.
    #[error("the package was not found like that: no channel has a bundle {asked}")]
    NotFound {
        /// What was asked for.
        asked: String,
        /// The versions next to what was asked for.
        nearest: Vec<Version>,
    },
    /// A package that nothing can be chosen of.
    #[error("the catalog itself is at fault: the package has no channel")]
    NoChannel,
    /// The catalog's own channel has no head to begin at.
    #[error("the catalog itself is at fault: {0}")]
    Flaw(GraphFault),
    /// What is asked for is no channel that a cluster could use.
    #[error("{asked} cannot be a channel of its own: {what}")]
    Broken {
        /// What was asked for.
        asked: String,
        /// What is wrong with it.
        what: GraphFault,
        /// Bounds that work.
        works: Option<Box<Bounds>>,
        /// Bundles that are missing between those that were named.
        missing: Vec<Arc<str>>,
    },
    /// The default channel is not among those that are kept.
    #[error("its default channel {} is not carried", quoted(.default))]
    DefaultGone {
        /// The default channel.
        default: String,
        /// The channels that are.
        kept: Vec<String>,
    },
    /// The `defaultChannel` of the configuration is not among those that are kept.
    #[error("its `defaultChannel`, {}, is not carried", quoted(.wanted))]
    DefaultNotKept {
        /// The channel.
        wanted: String,
        /// The channels that are kept.
        kept: Vec<String>,
        /// What somebody may have meant.
        nearest: Vec<String>,
    },
    /// A bundle that another one needs, from which no update leads to the head of its channel.
    #[error("{} needs {}, and no update leads from it to {}", quoted(.of), quoted(.bundle), quoted(.head))]
    Unreachable {
        /// The bundle that is needed.
        bundle: Arc<str>,
        /// The bundle that needs it.
        of: Arc<str>,
        /// The head of its channel.
        head: Arc<str>,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { package, channel, reason, .. } = self;
        write!(f, "package {}{}: {reason}", quoted(package), in_channel(channel.as_deref()))
    }
}

impl std::error::Error for Fault {}

impl Fault {
    /// Which exit code it means for a command that wants nothing else.
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::Content(ContentClass::Operator.exit_bit())
    }

    /// What to do next, the most likely first.
    pub fn hints(&self) -> Vec<String> {
        const OTHER: &str = "carry another channel or version of the package, or leave the package out; the catalog's \
                             publisher can mend it";
        match &self.reason {
            Reason::UnknownPackage { nearest } => meant(
                nearest,
                "`bundle list operators --catalog CATALOG` shows its packages".to_owned(),
            ),
            Reason::UnknownChannel { nearest, known } => {
                meant(nearest, format!("its channels are {}", list(known)))
            }
            Reason::UnknownBundle { nearest, .. } => meant(
                nearest,
                "`bundle list operators --catalog CATALOG --package PACKAGE --channel CHANNEL` shows the bundles of a channel"
                    .to_owned(),
            ),
            Reason::Version { .. } | Reason::Flaw(_) | Reason::NoChannel => vec![OTHER.to_owned()],
            Reason::NoVersion { nearest, .. } | Reason::NotFound { nearest, .. } => {
                around(nearest).into_iter().collect()
            }
            Reason::Nothing { bounds, nearest, works, elsewhere } => {
                let mut hints = Vec::new();
                if let Some(works) = works {
                    hints.push(carries(works));
                    if works.takes_pre_releases() && !bounds.takes_pre_releases() {
                        hints.push(PRE_RELEASES.to_owned());
                    }
                }
                hints.extend(around(nearest));
                if !elsewhere.is_empty() {
                    hints.push(format!(
                        "the range has bundles in {}: name one of them in `channels` and as `defaultChannel`",
                        list(elsewhere)
                    ));
                }
                hints
            }
            Reason::Broken { works, missing, .. } => {
                let mut hints: Vec<String> = works.iter().map(|works| carries(works)).collect();
                if !missing.is_empty() {
                    hints.push(format!("add what is between them: {}", list(missing)));
                }
                if hints.is_empty() {
                    hints.push(
                        "no range of this channel works; leave the versions out to carry its head, or take another channel"
                            .to_owned(),
                    );
                }
                hints
            }
            Reason::DefaultGone { kept, .. } => vec![match &kept[..] {
                [one] => format!("add `defaultChannel: {one}` to the package"),
                _ => format!("add `defaultChannel:` to the package, one of {}", list(kept)),
            }],
            Reason::DefaultNotKept { kept, nearest, .. } => {
                meant(nearest, format!("the channels that are carried are {}", list(kept)))
            }
            Reason::Unreachable { .. } => vec![
                "name the package in `packages` with the versions to carry, or add `skipDependencies: true` to the catalog"
                    .to_owned(),
            ],
        }
    }
}

const PRE_RELEASES: &str =
    "versions with a part after `-` are taken only when a bound has one, as in oc-mirror v2";

fn carries(bounds: &Bounds) -> String {
    format!("this works: {}", bounds.fields())
}

fn meant(nearest: &[String], otherwise: String) -> Vec<String> {
    if nearest.is_empty() {
        return vec![otherwise];
    }
    vec![format!("did you mean {}?", list(nearest)), otherwise]
}

fn around(nearest: &[Version]) -> Option<String> {
    let names: Vec<String> = nearest.iter().map(ToString::to_string).collect();
    (!names.is_empty()).then(|| format!("the nearest versions are {}", names.join(", ")))
}
