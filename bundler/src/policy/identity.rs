//! Which names a signature may claim for an image.
//!
//! In: what a requirement says (`signedIdentity`), the name by which the image is asked for, the name in the signature. Out:
//! whether that counts. What must hold: a place that gives its images no names, as a directory, has none that match.

use super::name::Named;

/// What a requirement says of names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum Identity {
    /// The same name and tag, or digest.
    Exact,
    /// By tag the same; by digest the same repository.
    #[default]
    RepoDigestOrExact,
    /// The same repository.
    Repository,
    /// This name.
    ExactReference(Named),
    /// This repository.
    ExactRepository(Named),
    /// As `RepoDigestOrExact`, with the one prefix in place of the other.
    Remap { prefix: String, signed_prefix: String },
}

impl Identity {
    /// Whether a signature that claims the name `claimed` is about the image that is called `asked`.
    pub(super) fn allows(&self, asked: Option<&Named>, claimed: &str) -> bool {
        let Some(claimed) = Named::parse(claimed) else { return false };
        match (self, asked) {
            (Self::ExactReference(wanted), _) => exact(wanted, &claimed),
            (Self::ExactRepository(wanted), _) => wanted.name == claimed.name,
            (_, None) => false,
            (Self::Exact, Some(asked)) => exact(asked, &claimed),
            (Self::RepoDigestOrExact, Some(asked)) => repo_digest_or_exact(asked, &claimed),
            (Self::Repository, Some(asked)) => asked.name == claimed.name,
            (Self::Remap { prefix, signed_prefix }, Some(asked)) => {
                match remapped(asked, prefix, signed_prefix) {
                    Some(asked) => repo_digest_or_exact(&asked, &claimed),
                    None => false,
                }
            }
        }
    }

    /// What it is called, and what it compares with.
    pub(super) fn told(&self, asked: Option<&Named>) -> String {
        let asked =
            || asked.map_or_else(|| "an image without a name".to_owned(), |it| format!("`{it}`"));
        match self {
            Self::Exact => format!("matchExact wants {}", asked()),
            Self::RepoDigestOrExact => format!("matchRepoDigestOrExact wants {}", asked()),
            Self::Repository => format!("matchRepository wants the repository of {}", asked()),
            Self::ExactReference(name) => format!("exactReference wants `{name}`"),
            Self::ExactRepository(name) => format!("exactRepository wants `{name}`"),
            Self::Remap { prefix, signed_prefix } => {
                format!("remapIdentity wants {} with `{signed_prefix}` for `{prefix}`", asked())
            }
        }
    }
}

fn exact(wanted: &Named, claimed: &Named) -> bool {
    !wanted.is_bare() && !claimed.is_bare() && wanted == claimed
}

fn repo_digest_or_exact(asked: &Named, claimed: &Named) -> bool {
    if asked.is_bare() || claimed.is_bare() {
        return false;
    }
    // The digest itself is compared with that of the manifest.
    if asked.tag.is_none() { asked.name == claimed.name } else { asked == claimed }
}

/// The name with another prefix, where it has the one; `None` when what comes of it is no name.
fn remapped(asked: &Named, prefix: &str, signed_prefix: &str) -> Option<Named> {
    match asked.name.strip_prefix(prefix) {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => {
            let name = format!("{signed_prefix}{rest}");
            Named::parse(&name).filter(|it| it.is_bare() && it.name == name)?;
            Some(Named { name, ..asked.clone() })
        }
        _ => Some(asked.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_allows_its_names() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let by_digest = format!("h/r@{digest}");
        let named = |text: &str| Named::parse(text).unwrap();
        let remap = |prefix: &str, signed: &str| Identity::Remap {
            prefix: prefix.to_owned(),
            signed_prefix: signed.to_owned(),
        };
        use Identity::*;
        let h = |rest: &str| format!("q.io/{rest}");
        let by = format!("q.io/n/r@{digest}");
        for (identity, asked, claimed, is_allowed) in [
            (Exact, h("n/r:1"), h("n/r:1"), true),
            (Exact, h("n/r:1"), h("n/r:2"), false),
            (Exact, h("n/r:1"), h("n/r"), false),
            (Exact, by.clone(), h("n/r:1"), false),
            (Exact, by.clone(), by.clone(), true),
            (RepoDigestOrExact, h("n/r:1"), h("n/r:1"), true),
            (RepoDigestOrExact, h("n/r:1"), h("n/r:2"), false),
            (RepoDigestOrExact, h("n/r:1"), h("n/r"), false),
            (RepoDigestOrExact, h("n/r:1"), by.clone(), false),
            (RepoDigestOrExact, by.clone(), h("n/r:7"), true),
            (RepoDigestOrExact, by.clone(), h("n/s:7"), false),
            (RepoDigestOrExact, by.clone(), h("n/r"), false),
            (Repository, h("n/r:1"), h("n/r:2"), true),
            (Repository, h("n/r:1"), h("n/r"), true),
            (Repository, h("n/r:1"), h("n/s:1"), false),
            (Repository, h("n/r:1"), "not a name".to_owned(), false),
            (ExactReference(named("a.io/b:1")), h("n/r:1"), "a.io/b:1".to_owned(), true),
            (ExactReference(named("a.io/b:1")), h("n/r:1"), "a.io/b:2".to_owned(), false),
            (ExactRepository(named("a.io/b")), h("n/r:1"), "a.io/b:2".to_owned(), true),
            (ExactRepository(named("a.io/b")), h("n/r:1"), "a.io/bc".to_owned(), false),
            (
                ExactRepository(named("busybox")),
                h("n/r:1"),
                "docker.io/library/busybox:1".to_owned(),
                true,
            ),
            (remap("q.io/n", "v.io/m"), h("n/r:1"), "v.io/m/r:1".to_owned(), true),
            (remap("q.io/n", "v.io/m"), h("n/r:1"), "q.io/n/r:1".to_owned(), false),
            (remap("q.io/n", "v.io/m"), by.clone(), "v.io/m/r:1".to_owned(), true),
            (remap("q.io/n", "v.io"), h("nn/r:1"), "q.io/nn/r:1".to_owned(), true),
            (remap("q.io", "v.io"), h("n/r:1"), "v.io/n/r:1".to_owned(), true),
            (remap("q.io/n/r", "v.io/s"), h("n/r:1"), "v.io/s:1".to_owned(), true),
            // What comes of it is a host without a repository.
            (remap("q.io/n/r", "v.io"), h("n/r:1"), "v.io:1".to_owned(), false),
        ] {
            let told = format!("{identity:?} {asked} {claimed}");
            assert_eq!(identity.allows(Some(&named(&asked)), &claimed), is_allowed, "{told}");
        }
        // A directory has no name.
        assert!(!Repository.allows(None, &by_digest));
        assert!(ExactRepository(named("h.io/r")).allows(None, "h.io/r:1"));
    }
}
