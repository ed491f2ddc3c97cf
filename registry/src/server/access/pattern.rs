//! Patterns of repository names: `*` is any text inside one component, `**` any number of components.
//!
//! In: a pattern from `roles.toml`, and names. Out: whether they match. What must hold: the time is bounded by the product
//! of the two lengths, whatever the pattern.

/// The longest pattern; names of repositories have at most 255 bytes.
const LENGTH_MAX: usize = 255;

/// A pattern that was found well-formed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(String);

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// Why it is none.
    pub fn parse(text: &str) -> Result<Self, String> {
        let shown: String = text.chars().take(LENGTH_MAX).collect();
        let fits = |component: &str| {
            component == "**"
                || (!component.is_empty()
                    && !component.contains("**")
                    && component.bytes().all(|c| {
                        c.is_ascii_lowercase() || c.is_ascii_digit() || b"._-*".contains(&c)
                    }))
        };
        if text.len() > LENGTH_MAX || !text.split('/').all(fits) {
            return Err(format!(
                "`{shown}` is no pattern of repositories: lower-case names with `/` between them, `*` for one \
                 component or a piece of it, `**` for any number of components, as `team/**`"
            ));
        }
        Ok(Self(text.to_owned()))
    }

    /// Whether a repository's name is meant.
    pub fn matches(&self, name: &str) -> bool {
        if self.0 == "**" || self.0 == name {
            return true;
        }
        if !self.0.contains('*') {
            return false;
        }
        let pattern: Vec<&str> = self.0.split('/').collect();
        let name: Vec<&str> = name.split('/').collect();
        wild(
            &pattern,
            &name,
            |part| *part == "**",
            |part, text| wild(part.as_bytes(), text.as_bytes(), |c| *c == b'*', |a, b| a == b),
        )
    }
}

impl Pattern {
    /// Whether every name below this one is meant, of all names where it is empty. Of what is written in another way than
    /// `a/b/**` it is not seen.
    pub fn covers(&self, below: &str) -> bool {
        let Some(prefix) = self.0.strip_suffix("**") else { return false };
        !prefix.contains('*') && format!("{below}/").starts_with(prefix)
    }
}

/// Whether a text matches a pattern in which a star is any number of pieces. Only the last star has to be tried again.
fn wild<P, T>(
    pattern: &[P],
    text: &[T],
    is_star: impl Fn(&P) -> bool,
    same: impl Fn(&P, &T) -> bool,
) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        if p < pattern.len() && is_star(&pattern[p]) {
            star = Some((p, t));
            p += 1;
        } else if p < pattern.len() && same(&pattern[p], &text[t]) {
            p += 1;
            t += 1;
        } else if let Some((at, from)) = star {
            star = Some((at, from + 1));
            p = at + 1;
            t = from + 1;
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(is_star)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn stars_mean_what_is_written() {
        for (pattern, yes, no) in [
            ("**", &["a", "a/b/c"][..], &[][..]),
            ("team/app", &["team/app"], &["team", "team/app/x", "team/appx"]),
            ("team/*", &["team/app"], &["team", "team/app/x", "other/app"]),
            ("team/**", &["team", "team/app", "team/a/b"], &["teams", "teams/a"]),
            ("*/app", &["team/app"], &["app", "a/b/app"]),
            ("**/app", &["app", "a/b/app"], &["a/app/x", "a/xapp"]),
            ("team-*/x", &["team-a/x", "team-/x"], &["team/x", "team-a/b/x"]),
            ("a/**/b/*/c", &["a/b/x/c", "a/q/b/b/c", "a/b/b/b/c"], &["a/b/c", "a/x/c"]),
        ] {
            let parsed = Pattern::parse(pattern).unwrap();
            for name in yes {
                assert!(parsed.matches(name), "{pattern} {name}");
            }
            for name in no {
                assert!(!parsed.matches(name), "{pattern} {name}");
            }
        }
        for bad in ["", "/", "a//b", "A", "a b", "***", "a**", "a/**b", "a:b", &"a".repeat(256)] {
            assert!(Pattern::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_covers_all_below_a_name_is_seen() {
        for (pattern, yes, no) in [
            ("**", &["", "team", "team/a"][..], &[][..]),
            ("team/**", &["team", "team/a"], &["", "teams", "other", "tea"]),
            ("team/a/**", &["team/a"], &["", "team"]),
            ("*/**", &[], &["", "team"]),
            ("team", &[], &["", "team"]),
            ("team/*", &[], &["", "team"]),
            ("**/app", &[], &["", "app"]),
        ] {
            let parsed = Pattern::parse(pattern).unwrap();
            for below in yes {
                assert!(parsed.covers(below), "{pattern} {below}");
            }
            for below in no {
                assert!(!parsed.covers(below), "{pattern} {below}");
            }
        }
    }

    proptest! {
        #[test]
        fn a_name_matches_itself_and_nothing_breaks(name in "[a-c]{1,3}(/[a-c]{1,3}){0,5}", pattern in "[a-c*/]{0,40}") {
            prop_assert!(Pattern::parse(&name).unwrap().matches(&name));
            let below = format!("{name}/**");
            prop_assert!(Pattern::parse(&below).unwrap().matches(&name));
            if let Ok(pattern) = Pattern::parse(&pattern) {
                for below in ["", "a", "a/b", "ab"] {
                    let under = if below.is_empty() { name.clone() } else { format!("{below}/{name}") };
                    prop_assert!(!pattern.covers(below) || pattern.matches(&under));
                }
            }
        }

        #[test]
        fn any_text_is_a_pattern_or_an_error(text in "\\PC{0,60}") {
            let _ = Pattern::parse(&text);
        }
    }
}
