//! What clients ask leave for: the header `Authorization` and the scopes of the token specification.
//!
//! In: text of any client. Out: typed, or nothing. What must hold: nothing here believes anybody; that comes later.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::roles::Action;

/// What a request proves itself with.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Proof<'a> {
    /// A name and a password.
    Basic(String, String),
    /// A token of ours, as sent.
    Bearer(&'a str),
}

/// Reads `Authorization`.
pub(super) fn proof(header: &str) -> Option<Proof<'_>> {
    let (scheme, rest) = header.trim().split_once(' ')?;
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return (!rest.is_empty()).then_some(Proof::Bearer(rest));
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(rest).ok()?).ok()?;
    let (user, password) = text.split_once(':')?;
    Some(Proof::Basic(user.to_owned(), password.to_owned()))
}

/// What may be done with one thing, in the words of the token specification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Scope {
    /// `repository` or `registry`.
    #[serde(rename = "type")]
    pub(super) kind: String,
    /// The repository, or `catalog`.
    pub(super) name: String,
    /// `pull`, `push`, `delete`, `*`.
    pub(super) actions: Vec<String>,
}

impl Scope {
    /// Leave for some actions in a repository.
    pub(super) fn repository(name: &str, actions: &[Action]) -> Self {
        let actions = actions.iter().map(|action| action.name().to_owned()).collect();
        Self { kind: "repository".to_owned(), name: name.to_owned(), actions }
    }

    /// Leave to list repositories.
    pub(super) fn catalog() -> Self {
        Self {
            kind: "registry".to_owned(),
            name: "catalog".to_owned(),
            actions: vec!["*".to_owned()],
        }
    }

    pub(super) fn is_catalog(&self) -> bool {
        self.kind == "registry" && self.name == "catalog"
    }

    pub(super) fn has(&self, action: Action) -> bool {
        self.actions.iter().any(|it| it == action.name() || it == "*")
    }

    /// Reads `type:name:action,action`. The name of a repository has no colon here: hosts do not stand before it.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (kind, rest) = text.split_once(':')?;
        let (name, actions) = rest.rsplit_once(':')?;
        if kind == "repository" {
            name.parse::<format_spec::Repository>().ok()?;
        }
        let actions: Vec<String> =
            actions.split(',').filter(|it| !it.is_empty()).take(8).map(str::to_owned).collect();
        Some(Self { kind: kind.to_owned(), name: name.to_owned(), actions })
    }
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}:{}", self.kind, self.name, self.actions.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn headers_and_scopes_of_real_clients() {
        // RFC 7617 section 2
        let basic = proof("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==").unwrap();
        assert_eq!(basic, Proof::Basic("Aladdin".to_owned(), "open sesame".to_owned()));
        assert_eq!(proof("basic YTpiOmM="), Some(Proof::Basic("a".to_owned(), "b:c".to_owned())));
        assert_eq!(proof("Bearer a.b.c"), Some(Proof::Bearer("a.b.c")));
        for bad in ["", "Basic", "Basic !", "Basic YQ==", "Bearer ", "Digest x", "Basic /w=="] {
            assert_eq!(proof(bad), None, "{bad}");
        }
        let scope = Scope::parse("repository:a/b:pull,push").unwrap();
        assert!(scope.has(Action::Push) && !scope.has(Action::Delete));
        assert_eq!(scope.to_string(), "repository:a/b:pull,push");
        assert!(Scope::parse("repository:a:*").unwrap().has(Action::Delete));
        assert!(Scope::parse("registry:catalog:*").unwrap().is_catalog());
        for bad in ["", "repository:a", "repository:../x:pull", "repository:A:pull", "a"] {
            assert_eq!(Scope::parse(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,120}") {
            let _ = (proof(&text), Scope::parse(&text));
            let _ = (proof(&format!("Basic {text}")), Scope::parse(&format!("repository:{text}")));
        }

        #[test]
        fn every_name_and_password_comes_back(user in "[!-9;-~]{0,20}", password in "\\PC{0,40}") {
            let header = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
            prop_assert_eq!(proof(&header), Some(Proof::Basic(user, password)));
        }
    }
}
