//! `mirror.platform`: which OpenShift or OKD releases.
//!
//! In: the stanza. Out: channels or one release, architectures or platforms, each checked. What must hold: what would be passed
//! over in silence is told.

use std::collections::HashMap;

use registry::reference::Reference;

use super::ApiVersion;
use super::fields::Fields;
use super::finding::{Report, quote};
use super::source::{PlatformFilter, go_name, platforms, reference};
use super::tree::Position;
use super::versions::{VersionRange, range};

/// `mirror.platform`.
#[derive(Debug, Clone)]
pub struct ReleaseStanza {
    /// Also make the update graph image.
    pub graph: bool,
    /// The channels; not used when `release` is there.
    pub channels: Vec<ReleaseChannel>,
    /// The architectures asked for; empty means amd64.
    pub architectures: Vec<String>,
    /// Platforms to keep of multi-architecture payloads; excludes `architectures`.
    pub platforms: Vec<PlatformFilter>,
    /// One explicit release payload.
    pub release: Option<Reference>,
    /// Also carry the KubeVirt boot images.
    pub kubevirt_container: bool,
    /// Where the stanza stands.
    pub at: Position,
}

/// One entry of `mirror.platform.channels`.
#[derive(Debug, Clone)]
pub struct ReleaseChannel {
    /// Channel of the update graph, e.g. `stable-4.18`.
    pub name: String,
    /// Whether the graph is OKD's.
    pub okd: bool,
    /// The versions asked for.
    pub range: VersionRange,
    /// Only the shortest update path through the range.
    pub shortest_path: bool,
    /// The whole channel.
    pub full: bool,
    /// Where the entry stands.
    pub at: Position,
}

/// What an update service has graphs for.
pub(crate) const ARCHITECTURES: [&str; 5] = ["amd64", "arm64", "ppc64le", "s390x", "multi"];

pub(super) fn stanza(
    mirror: &mut Fields<'_>,
    report: &mut Report,
    version: ApiVersion,
) -> Option<ReleaseStanza> {
    let at = mirror.key_spot("platform")?.at;
    let mut fields = mirror.map(report, "platform", "channels: [{name: stable-4.18}]")?;
    if fields.is_empty() {
        return None;
    }
    let graph = fields.flag(report, "graph");
    let channels = channels(&mut fields, report);
    let architectures_at = fields.key_spot("architectures");
    let architectures = architectures(&mut fields, report);
    let platforms_at = fields.key_spot("platforms");
    let platforms = platforms(&mut fields, report, version);
    if let (Some(_), Some(spot)) = (&architectures_at, &platforms_at)
        && !architectures.is_empty()
        && !platforms.is_empty()
    {
        const HINT: &str = "keep `platforms`; `architectures` is the older form";
        report.error(spot, "cannot be used together with `architectures`", HINT);
    }
    fields.came_with_v2(report, version, "release");
    let release = fields.text(report, "release");
    let release_ref = release.as_ref().and_then(|text| reference(text, version, report));
    if let Some(text) = &release
        && !channels.is_empty()
    {
        const HINT: &str = "remove `release` or `channels`";
        report.warn(&text.spot, "overrides `channels`, which are not used", HINT);
    }
    fields.came_with_v2(report, version, "kubeVirtContainer");
    let kubevirt_at = fields.key_spot("kubeVirtContainer");
    let kubevirt_container = fields.flag(report, "kubeVirtContainer");
    fields.done(report);
    // The graph image is made for architectures too.
    let several = !architectures.is_empty() && !graph;
    let idle = if release.is_none() && channels.is_empty() {
        const HINT: &str = "name the releases: `channels` or `release`";
        let of = [
            (architectures_at, several),
            (platforms_at, !platforms.is_empty() && !graph),
            (kubevirt_at, kubevirt_container),
        ];
        (of, "has no effect: no release is asked for", HINT)
    } else {
        let beside = release.is_some() && several && !kubevirt_container;
        let of = [(architectures_at, beside), (None, false), (None, false)];
        (of, "has no effect beside `release`", "remove it")
    };
    let (of, problem, hint) = idle;
    for spot in of.into_iter().filter_map(|(spot, idle)| spot.filter(|_| idle)) {
        report.warn(&spot, problem, hint);
    }
    let release = release_ref;
    Some(ReleaseStanza {
        graph,
        channels,
        architectures,
        platforms,
        release,
        kubevirt_container,
        at,
    })
}

impl ReleaseStanza {
    /// Whether the stanza asks for anything.
    pub fn is_empty(&self) -> bool {
        !self.graph
            && !self.kubevirt_container
            && self.release.is_none()
            && self.channels.is_empty()
            && self.architectures.is_empty()
            && self.platforms.is_empty()
    }
}

fn channels(platform: &mut Fields<'_>, report: &mut Report) -> Vec<ReleaseChannel> {
    let mut out = Vec::new();
    let mut seen: HashMap<String, u32> = HashMap::new();
    for item in platform.list(report, "channels") {
        let Some(mut entry) = item.fields(report, "name: stable-4.18") else { continue };
        let name = entry.required(report, "name");
        let okd = match entry.text(report, "type") {
            Some(text) if text.value == "okd" => true,
            Some(text) if text.value != "ocp" => {
                let problem = format!("unknown channel type {}, read as `ocp`", quote(&text.value));
                report.warn(&text.spot, problem, "write `ocp` or `okd`");
                false
            }
            _ => false,
        };
        let range = range(&mut entry, report);
        let shortest_path = entry.flag(report, "shortestPath");
        let full = entry.flag(report, "full");
        entry.done(report);
        let Some(name) = name else { continue };
        if name.value.contains(|c: char| c.is_whitespace() || c.is_control()) {
            report.error(&name.spot, format!("not a channel name: {}", quote(&name.value)), "");
            continue;
        }
        if let Some(first) = seen.get(&name.value) {
            let problem = format!("duplicate channel `{}`, first on line {first}", name.value);
            report.error(&name.spot, problem, "merge the two entries");
            continue;
        }
        seen.insert(name.value.clone(), name.spot.at.line);
        let (name, at) = (name.value, item.spot.at);
        out.push(ReleaseChannel { name, okd, range, shortest_path, full, at });
    }
    out
}

fn architectures(platform: &mut Fields<'_>, report: &mut Report) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for item in platform.list(report, "architectures") {
        let Some(text) = item.text(report) else { continue };
        if !ARCHITECTURES.contains(&text.value.as_str()) {
            let hint = match go_name(&text.value) {
                Some(name) => format!("write `{name}`"),
                None => format!("write one of {}", ARCHITECTURES.join(", ")),
            };
            report.error(&text.spot, format!("unknown architecture {}", quote(&text.value)), &hint);
        } else if out.contains(&text.value) {
            let problem = format!("`{}` is listed twice", text.value);
            report.warn(&text.spot, problem, "remove one of them");
        } else {
            out.push(text.value);
        }
    }
    out
}
