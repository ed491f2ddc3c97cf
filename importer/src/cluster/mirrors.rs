//! Which source is mirrored where: the pairs of mirror configuration, as a cluster applies them.
//!
//! In: the images that stand, with their names at both ends. Out: by category, sources with their mirrors. What must
//! hold: for every image the longest source that fits its name, which is the one that a cluster goes by, leads to where
//! the image stands. A source is the namespace when the path at the target ends with the path at the source, else the
//! repository; never a whole registry.
//!
//! A path of one component (`registry.example.io/ubi8`) has no namespace: its parent would be the registry, and an entry
//! for that would send every pull from there to the target, also of what was never mirrored. It gets its repository.

use std::collections::{BTreeMap, BTreeSet};

use format_spec::Repository;
use registry::reference::RegistryHost;

/// What kind of content a set of mirrors is for. Each has objects of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Category {
    Release,
    Operator,
    Generic,
}

impl Category {
    /// As it stands in the names of objects.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Operator => "operator",
            Self::Generic => "generic",
        }
    }
}

/// An image's repository at both ends.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Pair {
    pub(crate) category: Category,
    /// Where it came from.
    pub(crate) host: RegistryHost,
    pub(crate) path: Repository,
    /// Where it stands, below `at`.
    pub(crate) place: Repository,
}

/// Sources and their mirrors.
pub(crate) type Mirrors = BTreeMap<String, BTreeSet<String>>;

/// The mirrors of each category at the registry `at`. With `repositories` no namespace stands for its repositories.
pub(crate) fn mirrors(
    pairs: &BTreeSet<Pair>,
    at: &RegistryHost,
    repositories: bool,
) -> BTreeMap<Category, Mirrors> {
    let wide = |pair: &Pair| !repositories && namespaces(pair).is_some();
    // One image that stands elsewhere gives its repository an entry of its own, which hides that of the namespace for
    // all others of the repository.
    let mut exact: BTreeSet<(&RegistryHost, &Repository)> =
        pairs.iter().filter(|pair| !wide(pair)).map(|pair| (&pair.host, &pair.path)).collect();
    loop {
        let mut found: BTreeMap<Category, Mirrors> = BTreeMap::new();
        let mut merged = Mirrors::new();
        for pair in pairs {
            let (source, mirror) = match namespaces(pair) {
                Some(both) if !exact.contains(&(&pair.host, &pair.path)) => both,
                _ => (pair.path.as_str(), pair.place.as_str()),
            };
            let source = format!("{}/{source}", pair.host);
            let mirror = format!("{at}/{mirror}");
            // A cluster drops it too.
            if source != mirror {
                let category = found.entry(pair.category).or_default();
                category.entry(source.clone()).or_default().insert(mirror.clone());
            }
            merged.entry(source).or_default().insert(mirror);
        }
        let before = exact.len();
        let astray = pairs.iter().filter(|pair| !leads(&merged, pair, at));
        exact.extend(astray.map(|pair| (&pair.host, &pair.path)));
        if exact.len() == before {
            return found;
        }
    }
}

/// The namespaces of a pair, where one path is the other with something before it.
fn namespaces(pair: &Pair) -> Option<(&str, &str)> {
    let (path, place) = (pair.path.as_str(), pair.place.as_str());
    let (source, name) = path.rsplit_once('/')?;
    let before = place.strip_suffix(path)?;
    if !before.is_empty() && !before.ends_with('/') {
        return None;
    }
    let (mirror, _) = place.split_at(place.len() - name.len() - 1);
    Some((source, mirror))
}

/// Whether the longest source that fits the pair's name leads to its place.
fn leads(mirrors: &Mirrors, pair: &Pair, at: &RegistryHost) -> bool {
    let name = format!("{}/{}", pair.host, pair.path);
    let place = format!("{at}/{}", pair.place);
    let mut source = name.as_str();
    loop {
        if let Some(mirrors) = mirrors.get(source) {
            let rest = &name[source.len()..];
            return mirrors.iter().any(|mirror| place.strip_prefix(mirror.as_str()) == Some(rest));
        }
        match source.rsplit_once('/') {
            Some((above, _)) => source = above,
            None => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(category: Category, source: &str, place: &str) -> Pair {
        let (host, path) = source.split_once('/').unwrap();
        Pair {
            category,
            host: host.parse().unwrap(),
            path: path.parse().unwrap(),
            place: place.parse().unwrap(),
        }
    }

    fn of(pairs: &[(&str, &str)], repositories: bool) -> Vec<(String, Vec<String>)> {
        let pairs = pairs.iter().map(|(source, place)| pair(Category::Generic, source, place));
        let mut found = mirrors(&pairs.collect(), &"m.lan:5000".parse().unwrap(), repositories);
        let found = found.remove(&Category::Generic).unwrap_or_default();
        found.into_iter().map(|(source, mirrors)| (source, mirrors.into_iter().collect())).collect()
    }

    fn one(source: &str, mirror: &str) -> (String, Vec<String>) {
        (source.to_owned(), vec![format!("m.lan:5000/{mirror}")])
    }

    #[test]
    fn a_namespace_stands_for_its_repositories() {
        let two = [("q.io/acme/app", "ns/acme/app"), ("q.io/acme/tool", "ns/acme/tool")];
        assert_eq!(of(&two, false), [one("q.io/acme", "ns/acme")]);
        assert_eq!(
            of(&two, true),
            [one("q.io/acme/app", "ns/acme/app"), one("q.io/acme/tool", "ns/acme/tool")]
        );
        // Without a namespace at the target.
        assert_eq!(of(&[("q.io/acme/app", "acme/app")], false), [one("q.io/acme", "acme")]);
        // Only whole components count.
        assert_eq!(
            of(&[("q.io/acme/app", "myacme/app")], false),
            [one("q.io/acme/app", "myacme/app")]
        );
        assert_eq!(of(&[("q.io/a/b", "ns/a-b")], false), [one("q.io/a/b", "ns/a-b")]);
    }

    #[test]
    fn no_entry_is_for_a_whole_registry() {
        assert_eq!(of(&[("q.io/ubi8", "ns/ubi8")], false), [one("q.io/ubi8", "ns/ubi8")]);
        assert_eq!(of(&[("q.io/ubi8", "ubi8")], false), [one("q.io/ubi8", "ubi8")]);
    }

    #[test]
    fn a_more_exact_source_hides_no_image() {
        // The same repository in two places: an entry for the second would hide the namespace for the first.
        let both = of(&[("q.io/acme/app", "ns/acme/app"), ("q.io/acme/app", "ns/other")], false);
        let mirrors = vec!["m.lan:5000/ns/acme/app".to_owned(), "m.lan:5000/ns/other".to_owned()];
        assert_eq!(both, [("q.io/acme/app".to_owned(), mirrors)]);
        // A repository whose name is the namespace of another one.
        let pairs = [("q.io/a/b", "x/a/b"), ("q.io/a/b/c", "y/a/b/c"), ("q.io/a/d", "x/a/d")];
        let found = of(&pairs, false);
        let mirrors = vec!["m.lan:5000/x/a/b".to_owned(), "m.lan:5000/y/a/b".to_owned()];
        assert!(found.contains(&("q.io/a/b".to_owned(), mirrors)), "{found:?}");
        assert!(found.contains(&one("q.io/a", "x/a")), "{found:?}");
    }

    #[test]
    fn what_is_its_own_mirror_is_left_out() {
        assert!(of(&[("m.lan:5000/a/b", "a/b")], false).is_empty());
    }

    proptest::proptest! {
        #[test]
        fn every_image_is_found(
            pairs in proptest::collection::vec(("q\\.io(/[ab]){1,4}", "[ab](/[ab]){0,4}"), 1..12),
            repositories: bool,
        ) {
            let pairs: BTreeSet<Pair> =
                pairs.iter().map(|(source, place)| pair(Category::Generic, source, place)).collect();
            let at: RegistryHost = "m.lan".parse().unwrap();
            let mut found = mirrors(&pairs, &at, repositories);
            let found = found.remove(&Category::Generic).unwrap();
            proptest::prop_assert!(!found.contains_key("q.io"));
            for pair in &pairs {
                proptest::prop_assert!(leads(&found, pair, &at), "{pair:?} by {found:?}");
            }
        }
    }
}
