//! The range of versions that a bundle needs of another package: `versionRange` of `olm.package.required`.
//!
//! In: a range as blang's semver writes it: comparisons joined by spaces, alternatives by `||`, `x` for any number. Out: whether
//! a version is within. Pre-releases are compared plainly, build metadata never counts, nothing is every version.

use semver::{BuildMetadata, Prerelease, Version};

/// Alternatives and comparisons that are read. Real ranges have one or two.
const PARTS_MAX: usize = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Equal,
    Not,
    Less,
    AtMost,
    More,
    AtLeast,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Compare(Operator, Version),
    /// From the one to before the other: what a number `x` leaves open.
    Within(Version, Option<Version>),
    Without(Version, Option<Version>),
}

/// A range of versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Demand(Vec<Vec<Part>>);

impl Demand {
    /// Reads a range; `None` when it is none.
    pub fn parse(text: &str) -> Option<Self> {
        if text.trim().is_empty() {
            return Some(Self(vec![Vec::new()]));
        }
        let mut left = PARTS_MAX;
        let alternatives = text.split("||").map(|group| {
            let mut parts = Vec::new();
            let mut rest = group.trim();
            while !rest.is_empty() {
                left = left.checked_sub(1)?;
                let (part, after) = part(rest)?;
                parts.push(part);
                rest = after;
            }
            (!parts.is_empty()).then_some(parts)
        });
        alternatives.collect::<Option<_>>().map(Self)
    }

    /// Whether a version is within.
    pub fn has(&self, version: &Version) -> bool {
        self.0.iter().any(|parts| parts.iter().all(|part| part.has(version)))
    }
}

impl Part {
    fn has(&self, version: &Version) -> bool {
        let within = |from: &Version, to: &Option<Version>| {
            version.cmp_precedence(from).is_ge()
                && to.as_ref().is_none_or(|to| version.cmp_precedence(to).is_lt())
        };
        match self {
            Self::Within(from, to) => within(from, to),
            Self::Without(from, to) => !within(from, to),
            Self::Compare(operator, bound) => {
                let order = version.cmp_precedence(bound);
                match operator {
                    Operator::Equal => order.is_eq(),
                    Operator::Not => order.is_ne(),
                    Operator::Less => order.is_lt(),
                    Operator::AtMost => order.is_le(),
                    Operator::More => order.is_gt(),
                    Operator::AtLeast => order.is_ge(),
                }
            }
        }
    }
}

/// One comparison, and what stands after it.
fn part(text: &str) -> Option<(Part, &str)> {
    const OPERATORS: [(&str, Operator); 8] = [
        ("==", Operator::Equal),
        ("!=", Operator::Not),
        ("<=", Operator::AtMost),
        (">=", Operator::AtLeast),
        ("=", Operator::Equal),
        ("!", Operator::Not),
        ("<", Operator::Less),
        (">", Operator::More),
    ];
    let found = OPERATORS.iter().find_map(|(sign, operator)| {
        text.strip_prefix(sign).map(|rest| (*operator, rest.trim_start()))
    });
    let (operator, rest) = found.unwrap_or((Operator::Equal, text));
    let end = rest.find(|c: char| c.is_whitespace() || "<>=!".contains(c)).unwrap_or(rest.len());
    let (version, after) = rest.split_at(end);
    Some((compare(operator, version)?, after.trim_start()))
}

fn compare(operator: Operator, text: &str) -> Option<Part> {
    if let Ok(version) = text.parse::<Version>() {
        return Some(Part::Compare(operator, version));
    }
    let (from, to) = open(text)?;
    Some(match (operator, to) {
        (Operator::Equal, to) => Part::Within(from, to),
        (Operator::Not, to) => Part::Without(from, to),
        (Operator::Less, _) => Part::Compare(Operator::Less, from),
        (Operator::AtLeast, _) => Part::Compare(Operator::AtLeast, from),
        (Operator::AtMost, Some(to)) => Part::Compare(Operator::Less, to),
        (Operator::More, Some(to)) => Part::Compare(Operator::AtLeast, to),
        (Operator::AtMost, None) => Part::Within(lowest(), None),
        (Operator::More, None) => Part::Without(lowest(), None),
    })
}

/// `1.x`, `1.2.x`, `x`: where it begins and, unless it is everything, where it ends.
fn open(text: &str) -> Option<(Version, Option<Version>)> {
    let any = |part: &str| matches!(part, "x" | "X" | "*");
    let mut numbers = Vec::new();
    let mut parts = text.split('.');
    for part in parts.by_ref() {
        if any(part) {
            break;
        }
        let digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        numbers.push(digits.then(|| part.parse::<u64>().ok())??);
    }
    // `1.x.x` is the same; nothing else stands after an `x`.
    let dots = text.bytes().filter(|byte| *byte == b'.').count();
    if !parts.all(any) || dots > 2 || !text.ends_with(['x', 'X', '*']) {
        return None;
    }
    match numbers[..] {
        [] => Some((lowest(), None)),
        [major] => {
            Some((Version::new(major, 0, 0), Some(Version::new(major.checked_add(1)?, 0, 0))))
        }
        [major, minor] => Some((
            Version::new(major, minor, 0),
            Some(Version::new(major, minor.checked_add(1)?, 0)),
        )),
        _ => None,
    }
}

/// Below every version.
fn lowest() -> Version {
    let pre = Prerelease::new("0").unwrap_or(Prerelease::EMPTY);
    Version { major: 0, minor: 0, patch: 0, pre, build: BuildMetadata::EMPTY }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_blang_writes_them() {
        let cases: [(&str, &[&str], &[&str]); 17] = [
            ("", &["0.0.1", "1.0.0-rc.1"], &[]),
            ("<0.2.0", &["0.1.0", "0.2.0-rc.1"], &["0.2.0", "0.2.1"]),
            (">=1.12.2", &["1.12.2", "2.0.0"], &["1.12.2-1", "1.12.1"]),
            (">= 1.0.0 <2.0.0", &["1.5.0"], &["2.0.0", "0.9.0"]),
            (">=1.0.0<2.0.0", &["1.5.0"], &["2.0.0", "0.9.0"]),
            ("<1.0.0 || >=2.0.0 <3.0.0", &["0.1.0", "2.1.0"], &["1.0.0", "3.0.0"]),
            ("1.2.3", &["1.2.3", "1.2.3+build"], &["1.2.4"]),
            ("==1.2.3", &["1.2.3"], &["1.2.4"]),
            ("!=1.2.3", &["1.2.4"], &["1.2.3"]),
            ("!1.2.3 >1.0.0", &["1.2.4"], &["1.2.3", "1.0.0"]),
            ("1.x", &["1.0.0", "1.9.9"], &["2.0.0", "0.9.0"]),
            ("1.2.x", &["1.2.0", "1.2.9"], &["1.3.0"]),
            (">1.x", &["2.0.0"], &["1.9.9"]),
            ("<=1.x.x", &["1.9.9", "0.1.0"], &["2.0.0"]),
            ("!=1.x", &["0.9.0", "2.0.0"], &["1.0.0", "1.9.9"]),
            ("x", &["0.0.0", "9.9.9"], &[]),
            (">x", &[], &["0.0.0", "9.9.9"]),
        ];
        for (range, within, without) in cases {
            let demand = Demand::parse(range).expect(range);
            for version in within {
                assert!(demand.has(&version.parse().unwrap()), "{range} {version}");
            }
            for version in without {
                assert!(!demand.has(&version.parse().unwrap()), "{range} {version}");
            }
        }
    }

    #[test]
    fn what_is_no_range_is_none() {
        let long = ">1.0.0 ".repeat(PARTS_MAX + 1);
        for text in [
            "1.0",
            "latest",
            ">",
            ">=1.0.0 ||",
            "|| 1.0.0",
            "1.x.2",
            "x.1",
            "1.2.3.x",
            "~1.0.0",
            "=>1.0.0",
            &long,
        ] {
            assert_eq!(Demand::parse(text), None, "{text}");
        }
    }
}
