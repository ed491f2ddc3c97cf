//! Which versions of a chart are meant: one, or a range as Helm reads it.
//!
//! In: the text of `version`, and the versions that there are. Out: those that are taken. The rules are those of the library
//! that Helm has (Masterminds): a part that is missing or `x` means any; a range takes pre-releases only if it names one.

use std::cmp::Ordering;

use semver::{BuildMetadata, Prerelease, Version};

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// All versions; without pre-releases.
    All,
    /// A version, or what a range takes.
    Text(String, Range),
}

/// A range: one of several lists of conditions must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range(Vec<Vec<Condition>>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Condition {
    operator: Operator,
    bound: Version,
    /// Whether the part is given: a missing one means any.
    has: Has,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Has {
    major: bool,
    minor: bool,
    patch: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    Greater,
    Less,
    GreaterEqual,
    LessEqual,
    Tilde,
    Caret,
}

/// What is no version and no range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is neither a version nor a range of versions")]
pub struct RangeError(String);

impl Asked {
    /// What a configuration's `version` asks for.
    pub fn of(text: Option<&str>) -> Result<Self, RangeError> {
        match text.map(str::trim) {
            None | Some("") => Ok(Self::All),
            Some(text) => Ok(Self::Text(text.to_owned(), Range::parse(text)?)),
        }
    }

    /// The version that is written there, when it is one and no range.
    pub fn exact(&self) -> Option<&str> {
        match self {
            Self::Text(text, _) if strict(text).is_some() => Some(text),
            _ => None,
        }
    }

    /// The places of those of `versions` that are meant, the newest first. What is no version is meant by its own text alone.
    pub fn choose(&self, versions: &[&str]) -> Vec<usize> {
        if let Self::Text(text, _) = self {
            let same = |version: &&str| bare(version) == bare(text);
            if let Some(at) = versions.iter().position(same) {
                return vec![at];
            }
        }
        let mut found: Vec<(usize, Version)> = versions
            .iter()
            .enumerate()
            .filter_map(|(at, text)| Some((at, lenient(text)?)))
            .filter(|(_, version)| match self {
                Self::All => version.pre.is_empty(),
                Self::Text(_, range) => range.takes(version),
            })
            .collect();
        found.sort_by(|(_, first), (_, second)| second.cmp(first));
        found.into_iter().map(|(at, _)| at).collect()
    }
}

impl Range {
    fn parse(text: &str) -> Result<Self, RangeError> {
        let wrong = || RangeError(text.chars().take(100).collect());
        let any = text.split("||").map(|part| conditions(part).filter(|all| !all.is_empty()));
        any.collect::<Option<Vec<_>>>().map(Self).ok_or_else(wrong)
    }

    fn takes(&self, version: &Version) -> bool {
        let named = |all: &[Condition]| all.iter().any(|one| !one.bound.pre.is_empty());
        self.0.iter().any(|all| {
            (version.pre.is_empty() || named(all)) && all.iter().all(|one| one.holds(version))
        })
    }
}

/// The conditions of a part, all of which must hold: between spaces or commas, or the ends of a span.
fn conditions(part: &str) -> Option<Vec<Condition>> {
    let part = part.trim();
    if let Some((from, to)) = part.split_once(" - ") {
        let from = Condition { operator: Operator::GreaterEqual, ..Condition::parse(from)? };
        let to = Condition { operator: Operator::LessEqual, ..Condition::parse(to)? };
        return Some(vec![from, to]);
    }
    let mut all = Vec::new();
    let mut operator = String::new();
    for word in part.split([' ', '\t', ',']).filter(|word| !word.is_empty()) {
        // `>= 1.2`: what follows belongs to it.
        if word.chars().all(|c| "=!<>~^".contains(c)) {
            if !operator.is_empty() {
                return None;
            }
            word.clone_into(&mut operator);
            continue;
        }
        all.push(Condition::parse(&format!("{}{word}", std::mem::take(&mut operator)))?);
    }
    operator.is_empty().then_some(all)
}

impl Condition {
    fn parse(text: &str) -> Option<Self> {
        const OPERATORS: [(&str, Operator); 12] = [
            (">=", Operator::GreaterEqual),
            ("=>", Operator::GreaterEqual),
            ("<=", Operator::LessEqual),
            ("=<", Operator::LessEqual),
            ("!=", Operator::NotEqual),
            ("~>", Operator::Tilde),
            (">", Operator::Greater),
            ("<", Operator::Less),
            ("=", Operator::Equal),
            ("~", Operator::Tilde),
            ("^", Operator::Caret),
            ("", Operator::Equal),
        ];
        let text = text.trim();
        let (operator, rest) = OPERATORS
            .iter()
            .find_map(|(sign, operator)| Some((*operator, text.strip_prefix(sign)?.trim())))?;
        let rest = rest.strip_prefix(['v', 'V']).unwrap_or(rest);
        let (numbers, tail) = match rest.find(['-', '+']) {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        let parts: Vec<&str> = numbers.split('.').collect();
        if parts.len() > 3 {
            return None;
        }
        let mut values = [None; 3];
        for (at, part) in parts.iter().enumerate() {
            // Behind a part that means any, the others mean nothing.
            if !matches!(*part, "x" | "X" | "*") {
                values[at] = Some(number(part)?);
            }
        }
        let has = Has {
            major: values[0].is_some(),
            minor: values[0].is_some() && values[1].is_some(),
            patch: values[..2].iter().all(Option::is_some) && values[2].is_some(),
        };
        let value = |at: usize, has: bool| values[at].filter(|_| has).unwrap_or(0);
        let mut bound = Version::new(value(0, has.major), value(1, has.minor), value(2, has.patch));
        let (pre, build) = tail.split_once('+').unwrap_or((tail, ""));
        bound.pre = Prerelease::new(pre.strip_prefix('-').unwrap_or("")).ok()?;
        bound.build = BuildMetadata::new(build).ok()?;
        Some(Self { operator, bound, has })
    }

    fn holds(&self, version: &Version) -> bool {
        let Self { operator, bound, has } = self;
        let order = version.cmp_precedence(bound);
        let (same_major, same_minor) = (version.major == bound.major, version.minor == bound.minor);
        let tilde =
            || !has.major || (order != Ordering::Less && same_major && (same_minor || !has.minor));
        match operator {
            Operator::Equal if has.patch => order == Ordering::Equal,
            Operator::Equal | Operator::Tilde => tilde(),
            Operator::NotEqual if has.patch => order != Ordering::Equal,
            Operator::NotEqual => !tilde(),
            Operator::Less => order == Ordering::Less,
            Operator::GreaterEqual => order != Ordering::Less,
            Operator::Greater if has.patch => order == Ordering::Greater,
            Operator::Greater => {
                has.major
                    && (version.major > bound.major
                        || (has.minor && same_major && version.minor > bound.minor))
            }
            Operator::LessEqual if has.patch => order != Ordering::Greater,
            Operator::LessEqual => {
                !has.major
                    || version.major < bound.major
                    || (same_major && (!has.minor || version.minor <= bound.minor))
            }
            Operator::Caret if !has.major => true,
            Operator::Caret => {
                order != Ordering::Less
                    && same_major
                    && (bound.major > 0
                        || !has.minor
                        || (same_minor
                            && (bound.minor > 0 || !has.patch || version.patch == bound.patch)))
            }
        }
    }
}

fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// A version without the `v` that some write before it.
pub fn bare(text: &str) -> &str {
    let text = text.trim();
    text.strip_prefix(['v', 'V']).unwrap_or(text)
}

/// A whole version, with `v` or without.
pub fn strict(text: &str) -> Option<Version> {
    Version::parse(bare(text)).ok()
}

/// A version of which the last parts may be missing, as Helm takes them.
pub fn lenient(text: &str) -> Option<Version> {
    strict(text).or_else(|| {
        let numbers = bare(text).split(['-', '+']).next()?.split('.').count();
        let condition = Condition::parse(bare(text)).filter(|_| (1..=3).contains(&numbers))?;
        let whole = condition.has.major && condition.operator == Operator::Equal;
        let written = bare(text).starts_with(|c: char| c.is_ascii_digit());
        (whole && written && !bare(text).contains(['x', 'X', '*'])).then_some(condition.bound)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [&str; 13] = [
        "2.1.0",
        "2.0.0",
        "2.0.0-rc.1",
        "1.10.0",
        "1.4.2",
        "1.4.0",
        "1.2.9",
        "v1.2.3",
        "1.2.0",
        "1.0.0+b7",
        "0.3.1",
        "0.0.3",
        "nightly",
    ];

    fn chosen(text: &str) -> String {
        let asked = Asked::of(Some(text)).unwrap();
        asked.choose(&ALL).into_iter().map(|at| ALL[at]).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn ranges_mean_what_helm_takes_them_for() {
        for (text, expected) in [
            ("1.2.3", "v1.2.3"),
            ("v1.4.0", "1.4.0"),
            ("1.0.0+b7", "1.0.0+b7"),
            ("2.0.0-rc.1", "2.0.0-rc.1"),
            ("nightlies-1", ""),
            ("^1.2", "1.10.0 1.4.2 1.4.0 1.2.9 v1.2.3 1.2.0"),
            ("^1.2.4", "1.10.0 1.4.2 1.4.0 1.2.9"),
            ("^0.3", "0.3.1"),
            ("^0.0.3", "0.0.3"),
            ("^0", "0.3.1 0.0.3"),
            ("~1.2.3", "1.2.9 v1.2.3"),
            ("~1.2", "1.2.9 v1.2.3 1.2.0"),
            ("~1", "1.10.0 1.4.2 1.4.0 1.2.9 v1.2.3 1.2.0 1.0.0+b7"),
            (">=1 <2", "1.10.0 1.4.2 1.4.0 1.2.9 v1.2.3 1.2.0 1.0.0+b7"),
            (">= 1.4, < 2", "1.10.0 1.4.2 1.4.0"),
            (">1.4", "2.1.0 2.0.0 1.10.0"),
            (">1", "2.1.0 2.0.0"),
            ("<=1.2", "1.2.9 v1.2.3 1.2.0 1.0.0+b7 0.3.1 0.0.3"),
            ("<1.2", "1.0.0+b7 0.3.1 0.0.3"),
            ("1.x", "1.10.0 1.4.2 1.4.0 1.2.9 v1.2.3 1.2.0 1.0.0+b7"),
            ("1.2.x", "1.2.9 v1.2.3 1.2.0"),
            ("1.2", "1.2.9 v1.2.3 1.2.0"),
            ("1.2 - 1.4", "1.4.2 1.4.0 1.2.9 v1.2.3 1.2.0"),
            ("1.2.3 - 1.4.0", "1.4.0 1.2.9 v1.2.3"),
            ("~0.3 || ^2", "2.1.0 2.0.0 0.3.1"),
            ("!=1.x", "2.1.0 2.0.0 0.3.1 0.0.3"),
            (">=2.0.0-0 <2.1", "2.0.0 2.0.0-rc.1"),
            ("*", "2.1.0 2.0.0 1.10.0 1.4.2 1.4.0 1.2.9 v1.2.3 1.2.0 1.0.0+b7 0.3.1 0.0.3"),
            ("3", ""),
        ] {
            match Asked::of(Some(text)) {
                Ok(_) => assert_eq!(chosen(text), expected, "{text}"),
                Err(_) => assert_eq!(expected, "", "{text}"),
            }
        }
    }

    #[test]
    fn without_a_version_all_but_prereleases() {
        let all = Asked::of(None).unwrap().choose(&ALL);
        assert_eq!(all.len(), 11);
        assert!(!all.contains(&2) && !all.contains(&12));
        // Under a text of its own a version is found that is none.
        assert_eq!(Asked::All.choose(&["1.2", "1.3-rc"]), [0]);
    }

    #[test]
    fn what_is_neither_is_refused() {
        for text in ["latest", ">=", "1.2.3.4", ">> 1", "1.2 ||", "^1.a", "1.2 - "] {
            assert!(Asked::of(Some(text)).is_err(), "{text}");
        }
        assert_eq!(Asked::of(Some("v1.2.3")).unwrap().exact(), Some("v1.2.3"));
        assert_eq!(Asked::of(Some("1.2")).unwrap().exact(), None);
        assert_eq!(Asked::of(Some(" ")).unwrap(), Asked::All);
    }

    proptest::proptest! {
        #[test]
        fn nothing_panics(text in "[0-9vVxX*.,<>=!~^| +a-c-]{0,24}", other in "[0-9v.xa+-]{0,12}") {
            if let Ok(asked) = Asked::of(Some(&text)) {
                asked.choose(&[&other, "1.2.3"]);
            }
        }
    }
}
