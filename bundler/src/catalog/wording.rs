//! Names of a catalog in messages: quoted, counted, and the nearest to one that is not there.
//!
//! In: names as somebody else wrote them. Out: text of one line, free of control characters and bounded.

use std::fmt::Write as _;

use crate::spelling::distance;

/// Characters of one name in a message.
const NAME_MAX: usize = 120;

/// Names that a message lists before it counts the others.
const LISTED: usize = 8;

/// Names that an error offers instead of one that is not there.
const NEAREST: usize = 3;

/// A name in backticks.
pub(crate) fn quoted(name: &str) -> String {
    let mut out = String::from("`");
    for (n, c) in name.chars().enumerate() {
        if n == NAME_MAX {
            out.push('…');
            break;
        }
        out.push(if c.is_control() { ' ' } else { c });
    }
    out.push('`');
    out
}

/// Some names, and how many more there are.
pub(crate) fn list<T: AsRef<str>>(names: &[T]) -> String {
    let mut out = String::new();
    for (n, name) in names.iter().take(LISTED).enumerate() {
        let between = if n == 0 { "" } else { ", " };
        // Writing to a String cannot fail.
        let _ = write!(out, "{between}{}", quoted(name.as_ref()));
    }
    if names.len() > LISTED {
        let _ = write!(out, " and {} more", names.len() - LISTED);
    }
    out
}

/// The known names that somebody may have meant: few edits away, or one is a part of the other.
pub(crate) fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Vec<String> {
    if word.is_empty() || word.len() > NAME_MAX {
        return Vec::new();
    }
    let word = word.to_lowercase();
    let mut found: Vec<(usize, &str)> = known
        .filter(|name| name.len() <= NAME_MAX)
        .filter_map(|name| {
            let lower = name.to_lowercase();
            let edits = distance(&word, &lower);
            let within = lower.contains(&word) || word.contains(&lower);
            let close = edits <= 2.max(word.len() / 4) && edits < word.len().min(lower.len());
            (within || close).then_some((edits, name))
        })
        .collect();
    found.sort_unstable();
    found.into_iter().take(NEAREST).map(|(_, name)| name.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_line_and_bounded() {
        assert_eq!(quoted("a\u{1b}[31m\nb"), "` a [31m b`".replace("` a", "`a"));
        assert_eq!(quoted(&"x".repeat(500)).chars().count(), NAME_MAX + 3);
        let many: Vec<String> = (0..10).map(|n| n.to_string()).collect();
        assert_eq!(list(&many), "`0`, `1`, `2`, `3`, `4`, `5`, `6`, `7` and 2 more");
        assert_eq!(list::<&str>(&[]), "");
    }

    #[test]
    fn the_nearest_names_are_what_somebody_may_have_meant() {
        let known = ["stable", "stable-1.0", "fast", "candidates", "alpha"];
        let near = |word| nearest(word, known.into_iter());
        assert_eq!(near("stabel"), ["stable"]);
        assert_eq!(near("stable-1.1"), ["stable-1.0", "stable"]);
        assert_eq!(near("candidate"), ["candidates"]);
        assert_eq!(near("FAST"), ["fast"]);
        assert!(near("release").is_empty());
        assert!(near("").is_empty());
        assert!(near(&"x".repeat(1000)).is_empty());
    }
}
