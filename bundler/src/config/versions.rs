//! `minVersion` and `maxVersion`: a range of semantic versions, both ends included.
//!
//! In: the two fields of a channel or package. Out: a range whose ends are in order. oc-mirror finds a
//! reversed range only as an empty result, after the download of a whole graph or catalog.

use semver::Version;

use super::fields::{Fields, Text};
use super::finding::{Report, quote};
use crate::release::limits::VERSION_MAX;

/// Versions from `min` to `max`, both included; an end that is `None` is open.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VersionRange {
    /// The lowest version.
    pub min: Option<Version>,
    /// The highest version.
    pub max: Option<Version>,
}

impl VersionRange {
    /// Whether neither end was written.
    pub fn is_open(&self) -> bool {
        self.min.is_none() && self.max.is_none()
    }

    /// Whether a version is in it, by precedence. What is no version is in none.
    pub fn contains(&self, version: &str) -> bool {
        let Ok(version) = version.parse::<Version>() else { return false };
        self.min.as_ref().is_none_or(|min| min.cmp_precedence(&version).is_le())
            && self.max.as_ref().is_none_or(|max| max.cmp_precedence(&version).is_ge())
    }
}

/// Takes both fields and refuses a reversed range.
pub(super) fn range(fields: &mut Fields<'_>, report: &mut Report) -> VersionRange {
    let min = fields.text(report, "minVersion");
    let max = fields.text(report, "maxVersion");
    let min_version = min.as_ref().and_then(|text| version(text, report));
    let max_version = max.as_ref().and_then(|text| version(text, report));
    if let (Some(low), Some(high), Some(text)) = (&min_version, &max_version, &min)
        && low.cmp_precedence(high).is_gt()
    {
        let problem = format!("minVersion `{low}` is above maxVersion `{high}`");
        report.error(&text.spot, problem, "exchange the two");
    }
    VersionRange { min: min_version, max: max_version }
}

fn version(text: &Text, report: &mut Report) -> Option<Version> {
    match text.value.parse::<Version>() {
        // A longer one is an attack on the terminal, not a version.
        Ok(version) if text.value.len() <= VERSION_MAX => Some(version),
        Ok(_) => {
            report.error(&text.spot, format!("is longer than {VERSION_MAX} characters"), "");
            None
        }
        Err(error) => {
            let bare = text.value.strip_prefix(['v', 'V']).unwrap_or(&text.value);
            let full = match bare.split('.').count() {
                1 => format!("{bare}.0.0"),
                2 => format!("{bare}.0"),
                _ => bare.to_owned(),
            };
            let hint = match full.parse::<Version>() {
                Ok(_) => format!("write \"{full}\""),
                Err(_) => "write major.minor.patch, for example \"4.18.1\"".to_owned(),
            };
            let problem = format!("not a semantic version ({error}): {}", quote(&text.value));
            report.error(&text.spot, problem, &hint);
            None
        }
    }
}
