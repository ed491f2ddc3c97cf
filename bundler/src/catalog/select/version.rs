//! Versions of bundles and the two ways in which their ranges are read.
//!
//! In: versions as the catalog writes them, bounds as the configuration has them. Out: what is within. Build metadata never
//! counts. oc-mirror v2 reads bounds as Masterminds' semver does: where no bound has a pre-release part, no version with one
//! is within, so that `minVersion: 1.34.1` takes no 1.42.0-5. oc-mirror v1 compares plainly.

use std::fmt;

use semver::Version;

use crate::config::{ApiVersion, VersionRange};

/// Who reads the bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// oc-mirror v2: Masterminds' semver.
    Masterminds,
    /// oc-mirror v1: blang's semver.
    Plain,
}

impl From<ApiVersion> for Reading {
    fn from(version: ApiVersion) -> Self {
        match version {
            ApiVersion::V1Alpha2 => Self::Plain,
            ApiVersion::V2Alpha1 => Self::Masterminds,
        }
    }
}

/// Versions between two ends, both included; an end that is `None` is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounds {
    /// The lowest version.
    pub min: Option<Version>,
    /// The highest version.
    pub max: Option<Version>,
    /// How they are read.
    pub reading: Reading,
}

/// Where a version lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// Below the lower end.
    Below,
    /// Within.
    Within,
    /// Between the ends, and not taken because it has a pre-release part and no bound has one.
    PreRelease,
    /// Above the upper end.
    Above,
}

impl Bounds {
    /// The bounds of a range.
    pub fn of(range: &VersionRange, reading: impl Into<Reading>) -> Self {
        Self { min: range.min.clone(), max: range.max.clone(), reading: reading.into() }
    }

    /// Where a version lies.
    pub fn place(&self, version: &Version) -> Place {
        if self.min.as_ref().is_some_and(|min| version.cmp_precedence(min).is_lt()) {
            return Place::Below;
        }
        if self.max.as_ref().is_some_and(|max| version.cmp_precedence(max).is_gt()) {
            return Place::Above;
        }
        let plain = version.pre.is_empty() || self.takes_pre_releases();
        if plain { Place::Within } else { Place::PreRelease }
    }

    /// Whether a version is within.
    pub fn has(&self, version: &Version) -> bool {
        self.place(version) == Place::Within
    }

    /// Whether versions with a pre-release part can be within.
    pub fn takes_pre_releases(&self) -> bool {
        self.reading == Reading::Plain
            || [&self.min, &self.max].into_iter().flatten().any(|bound| !bound.pre.is_empty())
    }

    /// The one version that both ends name.
    pub fn one(&self) -> Option<&Version> {
        let (min, max) = (self.min.as_ref()?, self.max.as_ref()?);
        min.cmp_precedence(max).is_eq().then_some(min)
    }

    /// The fields of the configuration that say it.
    pub fn fields(&self) -> String {
        match (&self.min, &self.max) {
            (Some(min), Some(max)) => format!("`minVersion: {min}`, `maxVersion: {max}`"),
            (Some(min), None) => format!("`minVersion: {min}`"),
            (None, Some(max)) => format!("`maxVersion: {max}`"),
            (None, None) => "no `minVersion` and no `maxVersion`".to_owned(),
        }
    }
}

impl fmt::Display for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.min, &self.max) {
            (Some(min), Some(max)) if min == max => min.fmt(f),
            (Some(min), Some(max)) => write!(f, "from {min} to {max}"),
            (Some(min), None) => write!(f, "from {min} on"),
            (None, Some(max)) => write!(f, "up to {max}"),
            (None, None) => f.write_str("any version"),
        }
    }
}

/// The versions next to one, those below it first: at most `count` on each side.
pub(super) fn nearest<'a>(
    to: &Version,
    known: impl Iterator<Item = &'a Version>,
    count: usize,
) -> Vec<Version> {
    let mut sorted: Vec<&Version> = known.collect();
    sorted.sort_unstable();
    sorted.dedup();
    let at = sorted.partition_point(|version| version.cmp_precedence(to).is_lt());
    let from = at.saturating_sub(count);
    sorted[from..sorted.len().min(at + count)].iter().map(|version| (*version).clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(min: &str, max: &str, reading: Reading) -> Bounds {
        let end = |text: &str| (!text.is_empty()).then(|| text.parse().unwrap());
        Bounds { min: end(min), max: end(max), reading }
    }

    #[test]
    fn a_range_without_a_pre_release_part_takes_no_version_with_one_in_v2() {
        use Place::{Above, Below, PreRelease, Within};
        let cases = [
            // min, max, version, v2, v1
            ("1.34.1", "", "1.42.0-5", PreRelease, Within),
            ("1.34.1", "", "1.34.1-5", Below, Below),
            ("1.34.1-0", "", "1.34.1-5", Within, Within),
            ("1.34.1-0", "", "1.42.0-5", Within, Within),
            // One bound with such a part is enough for the group.
            ("1.0.0", "2.0.0-0", "1.5.0-1", Within, Within),
            ("", "2.0.0", "2.0.0-rc.1", PreRelease, Within),
            ("", "2.0.0", "2.0.1", Above, Above),
            ("1.0.1", "", "1.0.1", Within, Within),
            ("1.0.1", "", "1.0.1-1", Below, Below),
            // Build metadata never counts, pre-releases are compared number by number.
            ("1.42.0-5", "1.42.0-5", "1.42.0-5+0.1687199951.p", Within, Within),
            ("0.1.0-rc.2", "", "0.1.0-rc.10", Within, Within),
            ("", "", "1.0.0", Within, Within),
            ("", "", "1.0.0-1", PreRelease, Within),
        ];
        for (min, max, version, v2, v1) in cases {
            let version = version.parse().unwrap();
            let place = |reading| bounds(min, max, reading).place(&version);
            assert_eq!(place(Reading::Masterminds), v2, "{min}..{max} {version}");
            assert_eq!(place(Reading::Plain), v1, "{min}..{max} {version}");
        }
    }

    #[test]
    fn bounds_say_what_they_are() {
        let plain = |min, max| bounds(min, max, Reading::Plain);
        assert_eq!(plain("1.0.0", "2.0.0").to_string(), "from 1.0.0 to 2.0.0");
        assert_eq!(plain("1.0.0", "1.0.0").to_string(), "1.0.0");
        assert_eq!(plain("", "2.0.0").to_string(), "up to 2.0.0");
        assert_eq!(plain("1.0.0", "").fields(), "`minVersion: 1.0.0`");
        assert_eq!(plain("1.0.0", "1.0.0+b").one(), Some(&Version::new(1, 0, 0)));
        assert_eq!(plain("1.0.0", "").one(), None);
    }

    #[test]
    fn the_nearest_versions_are_those_around_it() {
        let known: Vec<Version> = (0..9).map(|n| Version::new(1, n, 0)).collect();
        let near = |text: &str| -> Vec<String> {
            let near = nearest(&text.parse().unwrap(), known.iter().rev(), 2);
            near.iter().map(ToString::to_string).collect()
        };
        assert_eq!(near("1.3.5"), ["1.2.0", "1.3.0", "1.4.0", "1.5.0"]);
        assert_eq!(near("9.0.0"), ["1.7.0", "1.8.0"]);
        assert_eq!(near("0.0.1"), ["1.0.0", "1.1.0"]);
    }
}
