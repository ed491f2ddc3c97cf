//! `mirror.additionalImages` and `mirror.blockedImages`.

use std::collections::HashMap;

use format_spec::{Repository, Tag};
use regex::{Regex, RegexBuilder};

use super::ApiVersion;
use super::fields::Fields;
use super::finding::{Report, quote};
use super::limits::{PATTERN_MAX, PATTERNS_MAX};
use super::source::{ImageSource, PlatformFilter, platforms, source, target_path, target_tag};

/// One entry of `mirror.additionalImages`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdditionalImage {
    /// Where it comes from. A registry reference has a tag or a digest.
    pub source: ImageSource,
    /// Replaces the repository path at the destination.
    pub target_repo: Option<Repository>,
    /// Replaces the tag at the destination.
    pub target_tag: Option<Tag>,
    /// The platforms to carry; empty means all.
    pub platforms: Vec<PlatformFilter>,
    /// Line of `name` in the file, from 1.
    pub line: u32,
}

/// One entry of `mirror.blockedImages`: an unanchored regular expression.
#[derive(Debug, Clone)]
pub struct Blocked {
    pattern: Regex,
    /// Line of `name` in the file, from 1.
    pub line: u32,
}

impl Blocked {
    /// The pattern as it was written.
    pub fn pattern(&self) -> &str {
        self.pattern.as_str()
    }

    /// Whether an image of this origin is blocked. `origin` is the reference at the source; a transport
    /// before it (`docker://`, `oci://`) is cut off. The destination is never tested: in oc-mirror a
    /// pattern that matches the target's host blocks everything (mirroring-behaviour, references, 6).
    pub fn blocks(&self, origin: &str) -> bool {
        let bare = ["docker://", "oci://", "oci:"]
            .iter()
            .find_map(|transport| origin.strip_prefix(transport))
            .unwrap_or(origin);
        self.pattern.is_match(bare)
    }
}

pub(super) fn additional(
    mirror: &mut Fields<'_>,
    report: &mut Report,
    version: ApiVersion,
) -> Vec<AdditionalImage> {
    let mut out: Vec<AdditionalImage> = Vec::new();
    let mut seen: HashMap<String, u32> = HashMap::new();
    for item in mirror.list(report, "additionalImages") {
        let Some(mut entry) = item.fields(report, "name: quay.io/namespace/image:tag") else {
            continue;
        };
        let name = entry.required(report, "name");
        let source = name.as_ref().and_then(|name| source(name, version, report));
        entry.came_with_v2(report, version, "targetRepo");
        let target_repo = target_path(&mut entry, report, "targetRepo");
        entry.came_with_v2(report, version, "targetTag");
        let target_tag = target_tag(&mut entry, report);
        let platforms = platforms(&mut entry, report, version);
        entry.done(report);
        let (Some(name), Some(source)) = (name, source) else { continue };
        let line = name.spot.at.line;
        let image = AdditionalImage { source, target_repo, target_tag, platforms, line };
        // Every target of the same image is its own wish; the same wish twice is an oversight.
        let wish = format!(
            "{} {:?} {:?} {:?}",
            image.source, image.target_repo, image.target_tag, image.platforms
        );
        match seen.get(&wish) {
            Some(first) => {
                let problem = format!("is listed twice, first on line {first}");
                report.warn(&name.spot, problem, "remove one of them");
            }
            None => {
                seen.insert(wish, line);
                out.push(image);
            }
        }
    }
    out.shrink_to_fit();
    out
}

pub(super) fn blocked(mirror: &mut Fields<'_>, report: &mut Report) -> Vec<Blocked> {
    let mut out = Vec::new();
    for item in mirror.list(report, "blockedImages") {
        let Some(mut entry) = item.fields(report, "name: ^quay.io/namespace/") else { continue };
        let name = entry.required(report, "name");
        entry.done(report);
        let Some(name) = name else { continue };
        let pattern = &name.value;
        if out.len() == PATTERNS_MAX {
            const HINT: &str = "join patterns with `|`";
            report.error(&name.spot, format!("more than {PATTERNS_MAX} patterns"), HINT);
            break;
        }
        match RegexBuilder::new(pattern).size_limit(PATTERN_MAX).build() {
            Ok(regex) => {
                if regex.is_match("") {
                    let problem = format!("the pattern {} blocks every image", quote(pattern));
                    report.warn(&name.spot, problem, GLOB);
                } else if looks_like_glob(pattern) {
                    let problem = format!("{} is a regular expression, not a glob", quote(pattern));
                    report.warn(&name.spot, problem, GLOB);
                }
                out.push(Blocked { pattern: regex, line: name.spot.at.line });
            }
            Err(error) => {
                let text = error.to_string();
                let cause = text.lines().last().unwrap_or_default().trim_start_matches("error: ");
                let problem = format!("invalid regular expression ({cause}): {}", quote(pattern));
                report.error(&name.spot, problem, GLOB);
            }
        }
    }
    out
}

const GLOB: &str = "patterns are unanchored regular expressions: `.*` stands for any text, `\\.` for a \
                    dot, `^` for the beginning of the reference";

/// `ub*` means `u`, `ub`, `ubb` …: a star after a letter or a slash is a glob's star.
fn looks_like_glob(pattern: &str) -> bool {
    let bytes = pattern.as_bytes();
    bytes.windows(2).any(|pair| {
        pair[1] == b'*' && (pair[0].is_ascii_alphanumeric() || pair[0] == b'/' || pair[0] == b':')
    })
}
