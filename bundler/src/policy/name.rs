//! Names of images as policies and signatures write them: with Docker Hub where no host is written.
//!
//! In: text. Out: the name in its whole form, its tag and its digest. Names that a person configures are
//! [`Reference`]s, which have a host; these come from signers, and `busybox` has one meaning among them.

use std::fmt;

use format_spec::{Repository, Tag};
use registry::reference::{Reference, RegistryHost};

/// A name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    /// `host/repository`.
    pub(super) name: String,
    pub(super) tag: Option<String>,
    pub(super) digest: Option<String>,
}

impl Named {
    /// Reads a name; `None` when it is none.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => {
                let (algorithm, hex) = digest.split_once(':')?;
                let plain = |text: &str, other: &[u8]| {
                    !text.is_empty()
                        && text.bytes().all(|c| c.is_ascii_alphanumeric() || other.contains(&c))
                };
                let is_one = plain(algorithm, b"+._-") && hex.len() >= 32 && plain(hex, b"");
                (rest, Some(is_one.then(|| digest.to_owned())?))
            }
            None => (text, None),
        };
        let at = rest.rfind('/').map_or(0, |at| at + 1);
        let (path, tag) = match rest[at..].split_once(':') {
            Some((last, tag)) => {
                (&rest[..at + last.len()], Some(tag.parse::<Tag>().ok()?.to_string()))
            }
            None => (rest, None),
        };
        let is_host = |text: &str| {
            text.contains(['.', ':']) || text == "localhost" || text.to_ascii_lowercase() != text
        };
        let (host, path) = match path.split_once('/') {
            Some((host, path)) if is_host(host) => (host, path),
            _ => ("docker.io", path),
        };
        let host: RegistryHost = host.parse().ok()?;
        let path = match host.is_docker_hub() && !path.contains('/') {
            true => format!("library/{path}"),
            false => path.to_owned(),
        };
        let repository: Repository = path.parse().ok()?;
        Some(Self { name: format!("{host}/{repository}"), tag, digest })
    }

    /// The name by which an image is asked for: without a tag it is that of `latest`, and beside a digest no tag counts.
    pub(super) fn of(reference: &Reference) -> Self {
        let digest = reference.digest.map(|digest| digest.to_string());
        let tag = || reference.tag.as_ref().map_or("latest".to_owned(), ToString::to_string);
        Self { name: reference.name(), tag: digest.is_none().then(tag), digest }
    }

    /// Whether it names a repository and none of its images.
    pub(super) fn is_bare(&self) -> bool {
        self.tag.is_none() && self.digest.is_none()
    }
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        match &self.digest {
            Some(digest) => write!(f, "@{digest}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_get_their_whole_form() {
        let hex = "a".repeat(64);
        let digest = format!("q.io/a@sha256:{hex}");
        let both = format!("q.io/a:1@sha256:{hex}");
        for (text, whole) in [
            ("busybox", "docker.io/library/busybox"),
            ("busybox:1", "docker.io/library/busybox:1"),
            ("team/app:1", "docker.io/team/app:1"),
            ("index.docker.io/busybox", "docker.io/library/busybox"),
            ("localhost/app", "localhost/app"),
            ("h:5000/a/b:1", "h:5000/a/b:1"),
            (&digest, &digest),
            (&both, &both),
        ] {
            assert_eq!(
                Named::parse(text).map(|it| it.to_string()).as_deref(),
                Some(whole),
                "{text}"
            );
        }
        for bad in ["", "q.io/", "q.io/A", "q.io/a:", "q.io/a@sha256:x", "q.io/a@", "a b", "/a"] {
            assert_eq!(Named::parse(bad), None, "{bad}");
        }
    }
}
