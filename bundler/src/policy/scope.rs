//! Which scopes of a policy an image falls under: the most exact first.
//!
//! In: an image at its source. Out: the transport and the names to look up in it. The rules are those of containers/image: for a
//! registry the name as it was asked for, before mirrors; its repository, each namespace, the host, and `*.` for the domains of
//! the host; for a directory its path and each directory above, never `/`.

use std::path::{Path, PathBuf};

use super::name::Named;
use crate::layout::{Choice, LayoutImage};
use crate::origin::Source;

/// An image, as a policy sees it.
#[derive(Debug, Clone)]
pub(super) struct Subject {
    /// `docker`, `dir`, …; none for places that containers/image does not know.
    pub(super) transport: Option<&'static str>,
    /// The scopes that it falls under.
    pub(super) scopes: Vec<String>,
    /// Its name in a registry.
    pub(super) name: Option<Named>,
    /// Where a directory has files with signatures.
    pub(super) directory: Option<PathBuf>,
    /// As it is named to people.
    pub(super) told: String,
}

impl Subject {
    /// What is to be judged; `None` for what was made here, of what was judged before.
    pub(super) fn of(source: &Source<'_>) -> Option<Self> {
        let own = |transport, scopes, told: String| Self {
            transport,
            scopes,
            name: None,
            directory: None,
            told,
        };
        Some(match source {
            Source::Registry(reference) => {
                let name = Named::of(reference);
                let told = name.to_string();
                let scopes = of_name(&name);
                Self { transport: Some("docker"), scopes, name: Some(name), directory: None, told }
            }
            Source::Layout(LayoutImage { path, choice }) => {
                let path = canonical(path);
                let mut scopes = of_path(&path);
                if let Choice::Name(name) = choice {
                    scopes.insert(0, format!("{}:{name}", path.display()));
                }
                own(Some("oci"), scopes, format!("oci:{}", path.display()))
            }
            Source::Made { .. } => return None,
            Source::Shelf(held, _) => match held.0.transport() {
                Some((transport @ "dir", path)) => {
                    let path = canonical(path);
                    let told = format!("dir:{}", path.display());
                    Self {
                        directory: Some(path.clone()),
                        ..own(Some(transport), of_path(&path), told)
                    }
                }
                // All its images have the one scope.
                Some((transport @ "docker-archive", path)) => {
                    own(Some(transport), Vec::new(), format!("{transport}:{}", path.display()))
                }
                Some((transport, path)) => {
                    let path = canonical(path);
                    let told = format!("{transport}:{}", path.display());
                    own(Some(transport), of_path(&path), told)
                }
                None => own(None, Vec::new(), held.0.name()),
            },
        })
    }
}

fn canonical(path: &Path) -> PathBuf {
    fs_err::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

/// The scopes of an image in a registry; also those of `registries.d`.
pub(super) fn of_name(name: &Named) -> Vec<String> {
    let mut scopes = vec![name.to_string()];
    let mut rest = &*name.name;
    loop {
        scopes.push(rest.to_owned());
        match rest.rsplit_once('/') {
            Some((above, _)) => rest = above,
            None => break,
        }
    }
    let mut host = rest.split_once(':').map_or(rest, |(host, _)| host);
    while let Some((_, domain)) = host.split_once('.') {
        scopes.push(format!("*.{domain}"));
        host = domain;
    }
    scopes
}

fn of_path(path: &Path) -> Vec<String> {
    let above = path.ancestors().filter(|it| it.parent().is_some());
    above.map(|it| it.display().to_string()).collect()
}

/// Why a scope can never apply; for the transports that say so.
pub(super) fn fault(transport: &str, scope: &str) -> Option<&'static str> {
    let path = match transport {
        "docker-archive" => return Some("this transport has no scopes but \"\""),
        "oci" | "oci-archive" => scope.split_once(':').map_or(scope, |(path, _)| path),
        "dir" => scope,
        _ => return None,
    };
    if !path.starts_with('/') {
        return Some("a path must be absolute");
    }
    if path == "/" {
        return Some("for all paths write the scope \"\"");
    }
    let whole: PathBuf = Path::new(path).components().collect();
    let plain =
        whole.as_os_str() == path && !Path::new(path).components().any(|it| it.as_os_str() == "..");
    (!plain).then_some("a path has no `.`, `..`, `//` and no `/` at its end")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_go_from_the_image_to_the_domains() {
        let of = |text: &str| of_name(&Named::of(&text.parse().unwrap()));
        assert_eq!(
            of("a.b.example.com:5000/x/y:1"),
            [
                "a.b.example.com:5000/x/y:1",
                "a.b.example.com:5000/x/y",
                "a.b.example.com:5000/x",
                "a.b.example.com:5000",
                "*.b.example.com",
                "*.example.com",
                "*.com"
            ]
        );
        assert_eq!(
            of("docker.io/busybox"),
            [
                "docker.io/library/busybox:latest",
                "docker.io/library/busybox",
                "docker.io/library",
                "docker.io",
                "*.io"
            ]
        );
        assert_eq!(
            of("localhost:5000/x:1"),
            ["localhost:5000/x:1", "localhost:5000/x", "localhost:5000"]
        );
        // Beside a digest no tag counts.
        let digest = format!("sha256:{}", "a".repeat(64));
        assert_eq!(of(&format!("q.io/x:1@{digest}"))[0], format!("q.io/x@{digest}"));
        assert_eq!(of_path(Path::new("/srv/a/b")), ["/srv/a/b", "/srv/a", "/srv"]);
    }

    #[test]
    fn scopes_that_can_never_apply_have_a_fault() {
        for good in [("dir", "/a/b"), ("oci", "/a/b:tag"), ("docker", "x"), ("atomic", "x")] {
            assert_eq!(fault(good.0, good.1), None, "{good:?}");
        }
        for bad in [
            ("dir", "a"),
            ("dir", "/"),
            ("dir", "/a/"),
            ("dir", "/a/../b"),
            ("dir", "/a/./b"),
            ("dir", "/a//b"),
            ("oci", "a:b"),
            ("docker-archive", "/a"),
        ] {
            assert!(fault(bad.0, bad.1).is_some(), "{bad:?}");
        }
    }
}
