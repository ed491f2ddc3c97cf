//! Who may do what: `roles.toml`.
//!
//! In: its text. Out: [`Roles`], asked once for each request. What must hold: what is not granted is not allowed; an unknown key
//! is refused by name.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::files::check_name;
use super::pattern::Pattern;

/// What may be done in a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Read.
    Pull,
    /// Add, and move tags.
    Push,
    /// Remove.
    Delete,
}

impl Action {
    /// Its word in scopes and files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Push => "push",
            Self::Delete => "delete",
        }
    }
}

/// One entry of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// Users and robots.
    pub to: Vec<String>,
    /// Everything, everywhere, and the list of all repositories.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub admin: bool,
    /// What they may do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<Action>,
    /// Where, as patterns.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub repositories: Vec<String>,
}

/// The file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grants {
    /// Its entries.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grant: Vec<Grant>,
}

impl Grants {
    /// Reads the file's text.
    ///
    /// # Errors
    /// What is wrong, with its line where it is the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let grants: Self =
            toml::from_str(text).map_err(|error| error.to_string().trim_end().to_owned())?;
        Roles::of(&grants)?;
        Ok(grants)
    }

    /// The file's text.
    pub fn to_text(&self) -> String {
        toml::to_string(self).expect("grants are lists of text")
    }
}

/// Grants in the form in which they are asked.
#[derive(Debug, Default)]
pub(super) struct Roles(HashMap<String, Vec<Rule>>);

#[derive(Debug, Clone)]
struct Rule {
    admin: bool,
    allow: Vec<Action>,
    repositories: Vec<Pattern>,
}

impl Roles {
    pub(super) fn of(grants: &Grants) -> Result<Self, String> {
        let mut roles: HashMap<String, Vec<Rule>> = HashMap::new();
        for (at, grant) in grants.grant.iter().enumerate() {
            let wrong = |problem: &str| format!("grant {}: {problem}", at + 1);
            if grant.to.is_empty() {
                return Err(wrong("`to` names nobody"));
            }
            if grant.admin != (grant.allow.is_empty() && grant.repositories.is_empty())
                || grant.allow.is_empty() != grant.repositories.is_empty()
            {
                return Err(wrong(
                    "either `admin = true`, or both `allow` and `repositories` (`[\"**\"]` for all)",
                ));
            }
            let patterns: Result<Vec<_>, _> =
                grant.repositories.iter().map(|text| Pattern::parse(text)).collect();
            let rule = Rule {
                admin: grant.admin,
                allow: grant.allow.clone(),
                repositories: patterns.map_err(|problem| wrong(&problem))?,
            };
            for name in &grant.to {
                check_name(name).map_err(|problem| wrong(&problem))?;
                roles.entry(name.clone()).or_default().push(rule.clone());
            }
        }
        Ok(Self(roles))
    }

    pub(super) fn may(&self, name: &str, action: Action, repository: &str) -> bool {
        self.rules(name).any(|rule| {
            rule.admin
                || (rule.allow.contains(&action)
                    && rule.repositories.iter().any(|pattern| pattern.matches(repository)))
        })
    }

    /// Whether they may do it in every repository below this one; everywhere, where it is empty.
    pub(super) fn may_below(&self, name: &str, action: Action, below: &str) -> bool {
        self.rules(name).any(|rule| {
            rule.admin
                || (rule.allow.contains(&action)
                    && rule.repositories.iter().any(|pattern| pattern.covers(below)))
        })
    }

    fn rules(&self, name: &str) -> impl Iterator<Item = &Rule> {
        self.0.get(name).into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_granted_is_allowed_and_nothing_else() {
        let text = r#"
            [[grant]]
            to = ["root"]
            admin = true
            [[grant]]
            to = ["ci", "bob"]
            allow = ["pull", "push"]
            repositories = ["team/**", "shared/*"]
            [[grant]]
            to = ["bob"]
            allow = ["delete"]
            repositories = ["team/trash"]
        "#;
        let grants = Grants::parse(text).unwrap();
        assert_eq!(Grants::parse(&grants.to_text()).unwrap(), grants);
        let roles = Roles::of(&grants).unwrap();
        for (name, action, repository, may) in [
            ("root", Action::Delete, "any/thing", true),
            ("ci", Action::Push, "team/a/b", true),
            ("ci", Action::Pull, "shared/x", true),
            ("ci", Action::Pull, "shared/x/y", false),
            ("ci", Action::Delete, "team/trash", false),
            ("bob", Action::Delete, "team/trash", true),
            ("bob", Action::Delete, "team/other", false),
            ("nobody", Action::Pull, "team/a", false),
        ] {
            assert_eq!(roles.may(name, action, repository), may, "{name} {action:?} {repository}");
        }
    }

    #[test]
    fn faults_are_named() {
        for (bad, told) in [
            ("[[grant]]\nto = []\nadmin = true", "nobody"),
            ("[[grant]]\nto = [\"a\"]", "admin = true"),
            ("[[grant]]\nto = [\"a\"]\nallow = [\"pull\"]", "repositories"),
            ("[[grant]]\nto = [\"a\"]\nrepositories = [\"x\"]", "allow"),
            (
                "[[grant]]\nto = [\"a\"]\nadmin = true\nallow = [\"pull\"]\nrepositories = [\"x\"]",
                "either",
            ),
            ("[[grant]]\nto = [\"a\"]\nallow = [\"pul\"]\nrepositories = [\"x\"]", "pul"),
            ("[[grant]]\nto = [\"a\"]\nallow = [\"pull\"]\nrepositories = [\"X\"]", "`X`"),
            ("[[grant]]\nto = [\"a:b\"]\nadmin = true", "name"),
            ("[[grants]]\nto = [\"a\"]", "grants"),
        ] {
            let problem = Grants::parse(bad).unwrap_err();
            assert!(problem.contains(told), "{told}: {problem}");
        }
        assert_eq!(Grants::parse("").unwrap(), Grants::default());
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(\\[\\[grant\\]\\]\n)?[ -~\n]{0,120}") {
            let _ = Grants::parse(&text);
        }
    }
}
