//! What each registry wants of the names at a target: what a person has to make before the first push, and how long
//! a path may be.
//!
//! In: a [`Product`]. Out: a [`Profile`], and the words for the person who makes what is missing. The table holds only
//! what changes a question or a message; everything else is found out by how a registry behaves.

use format_spec::Repository;
use registry::client::Product;
use registry::reference::RegistryHost;

/// The rules of a registry's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Profile {
    /// How many leading components name what has to be made by a person: 1 for a project. `None` where that is not
    /// known, and then each repository may be one of its own.
    pub(crate) made: Option<usize>,
    /// What it is called there.
    pub(crate) noun: &'static str,
    /// The form of a repository's path there.
    pub(crate) form: &'static str,
    /// Components that a path has at least.
    pub(crate) least: usize,
    /// Components that a path has at most, where that is a rule of the product.
    pub(crate) most: Option<usize>,
    /// Whether a path may be refused because it is deep.
    pub(crate) flat: bool,
}

/// A registry that is not known: everything is asked.
const OTHER: Profile =
    Profile { made: None, noun: "repository", form: "NAME", least: 1, most: None, flat: true };

impl Profile {
    /// The rules of this product.
    pub(crate) fn of(product: Product) -> Self {
        let project =
            Self { made: Some(1), noun: "project", form: "PROJECT/NAME", least: 2, ..OTHER };
        match product {
            Product::Harbor => Self { flat: false, ..project },
            // `project/name` and nothing else (zarf#2461).
            Product::OpenShift => Self { most: Some(2), ..project },
            // `group/project`, then up to two more (zarf#1869); groups nest, so the whole cannot be counted.
            Product::GitLab => Self { made: Some(2), form: "GROUP/PROJECT", ..project },
            // Older ones know no nested repositories (skopeo#1180).
            Product::Quay => Self { noun: "organisation", form: "ORGANISATION/NAME", ..project },
            Product::Ghcr => Self { noun: "owner", form: "OWNER/NAME", flat: false, ..project },
            Product::Google => Self {
                made: Some(2),
                noun: "repository",
                form: "PROJECT/REPOSITORY/NAME",
                least: 3,
                flat: false,
                ..project
            },
            // Where it has a port or a host name of its own, the key does not stand in the path.
            Product::Artifactory | Product::Nexus => Self {
                noun: "repository",
                form: "REPOSITORY/NAME",
                least: 1,
                flat: false,
                ..project
            },
            // Every repository is made by hand (zarf#1938); any depth.
            Product::Ecr => Self { made: Some(usize::MAX), flat: false, ..OTHER },
            Product::Other => OTHER,
        }
    }

    /// What has to be there before something can be pushed to `place`. In a namespace of several components GitLab's
    /// project is the whole of it.
    pub(crate) fn made_for(&self, place: &Repository, namespace: usize) -> String {
        let count = match self.made {
            Some(2) if self.least == 2 => namespace.max(2),
            Some(count) => count,
            None => usize::MAX,
        };
        place.components().take(count).collect::<Vec<_>>().join("/")
    }
}

/// How what is missing is made.
pub(crate) fn how(product: Product, host: &RegistryHost, missing: &[String]) -> String {
    let all = missing.join(" ");
    match product {
        Product::Ecr => {
            let command = format!("aws ecr create-repository{} --repository-name", region(host));
            match missing {
                [one] => format!("make it: `{command} {one}`"),
                _ => format!("make them: `for name in {all}; do {command} \"$name\"; done`"),
            }
        }
        Product::Harbor => "make what is missing there (Projects, New Project; `POST /api/v2.0/projects`), with the right to push \
                            for this account"
            .into(),
        Product::OpenShift => {
            format!("make what is missing: `for name in {all}; do oc new-project \"$name\"; done`")
        }
        Product::GitLab => "make what is missing there, with its container registry on and the account as a Developer at least"
            .into(),
        Product::Quay => "make what is missing there, and let the account create repositories in it".into(),
        Product::Ghcr => "use an owner that exists, and a token with `write:packages`".into(),
        Product::Google => {
            let place = host.as_str().split_once("-docker.").map_or("LOCATION", |(place, _)| place);
            let commands: Vec<String> = missing
                .iter()
                .filter_map(|one| one.split_once('/'))
                .map(|(project, name)| {
                    format!(
                        "gcloud artifacts repositories create {name} --repository-format=docker \
                         --location={place} --project={project}"
                    )
                })
                .collect();
            format!("make what is missing: `{}`", commands.join("; "))
        }
        Product::Artifactory => "make a local Docker repository with that key there".into(),
        Product::Nexus => "make a hosted Docker repository with that name there".into(),
        Product::Other => "this registry makes none by a push: make what is missing there, or its project".into(),
    }
}

/// `--region` of a host like `ACCOUNT.dkr.ecr.REGION.amazonaws.com`.
fn region(host: &RegistryHost) -> String {
    let (_, behind) = host.as_str().split_once(".dkr.ecr.").unwrap_or_default();
    match behind.split_once('.') {
        Some((region, _)) => format!(" --region {region}"),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_to_be_made_is_named_as_the_registry_counts() {
        for (product, namespace, expected) in [
            (Product::Harbor, 1, "a"),
            (Product::Quay, 1, "a"),
            (Product::OpenShift, 1, "a"),
            (Product::Artifactory, 1, "a"),
            (Product::Google, 2, "a/b"),
            (Product::GitLab, 0, "a/b"),
            (Product::GitLab, 3, "a/b/c"),
            (Product::Ecr, 1, "a/b/c/d"),
            (Product::Other, 1, "a/b/c/d"),
        ] {
            let place = "a/b/c/d".parse().unwrap();
            let made = Profile::of(product).made_for(&place, namespace);
            assert_eq!(made, expected, "{product:?}");
        }
    }

    #[test]
    fn commands_are_whole() {
        let host = "1234.dkr.ecr.eu-west-1.amazonaws.com".parse().unwrap();
        let names = ["a/b".to_owned(), "c".to_owned()];
        assert_eq!(
            how(Product::Ecr, &host, &names),
            "make them: `for name in a/b c; do aws ecr create-repository --region eu-west-1 --repository-name \
             \"$name\"; done`"
        );
        assert!(how(Product::Ecr, &"r.lan".parse().unwrap(), &names[1..]).ends_with("-name c`"));
        let host = "europe-docker.pkg.dev".parse().unwrap();
        let hint = how(Product::Google, &host, &["team/images".to_owned()]);
        assert!(
            hint.contains("create images ") && hint.contains("--location=europe --project=team")
        );
    }
}
