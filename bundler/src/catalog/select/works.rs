//! The range that would work, when the one that was asked for does not.
//!
//! In: the versions of a channel, the bounds, and a judge that knows what bounds leave. Out: the bounds nearest to those
//! that were asked for of which something is left that is a channel.

use semver::{Prerelease, Version};

use super::version::{Bounds, Reading};

/// Bounds that are tried: each costs a walk over the channel, and a person wants near ones.
const TRIES: usize = 200;

/// The nearest bounds that the judge accepts: pre-releases let in first, then one end moved step by step, then both.
pub(super) fn nearest(
    versions: &mut Vec<Version>,
    bounds: &Bounds,
    judge: impl Fn(&Bounds) -> bool,
) -> Option<Bounds> {
    versions.sort_unstable();
    versions.dedup();
    let (lowest, highest) = (versions.first()?, versions.last()?);
    let moved = |min: Option<&Version>, max: Option<&Version>| Bounds {
        min: min.cloned(),
        max: max.cloned(),
        reading: bounds.reading,
    };
    let (min, max) = (bounds.min.as_ref(), bounds.max.as_ref());
    let above = versions.iter().filter(|v| max.is_some_and(|max| v.cmp_precedence(max).is_gt()));
    let below =
        versions.iter().rev().filter(|v| min.is_some_and(|min| v.cmp_precedence(min).is_lt()));
    let raised = above.map(|max| moved(min, Some(max)));
    let lowered = below.map(|min| moved(Some(min), max));
    let both = moved(Some(lowest), Some(highest));
    let open = with_pre_releases(bounds, lowest);
    let tries = open.into_iter().chain(Alternating { left: raised, right: lowered, turn: false });
    tries.take(TRIES).chain([both]).find(judge)
}

/// The same bounds, so written that versions with a pre-release part are within.
fn with_pre_releases(bounds: &Bounds, lowest: &Version) -> Option<Bounds> {
    if bounds.reading == Reading::Plain || bounds.takes_pre_releases() {
        return None;
    }
    let mut min = bounds.min.clone().unwrap_or_else(|| lowest.clone());
    if min.pre.is_empty() {
        min.pre = Prerelease::new("0").ok()?;
    }
    Some(Bounds { min: Some(min), ..bounds.clone() })
}

/// One of the left, one of the right, until both are at their end.
struct Alternating<L, R> {
    left: L,
    right: R,
    turn: bool,
}

impl<T, L: Iterator<Item = T>, R: Iterator<Item = T>> Iterator for Alternating<L, R> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.turn = !self.turn;
        if self.turn {
            self.left.next().or_else(|| self.right.next())
        } else {
            self.right.next().or_else(|| self.left.next())
        }
    }
}
