//! Which image of an OCI layout is meant: `PATH`, `PATH:NAME` or `PATH@sha256:…`.
//!
//! In: what a configuration has after `oci:`. Out: a directory and a choice among its images. A path
//! that exists as it is written wins, for the name of a directory may hold `:` and `@`.

use std::path::{Path, PathBuf};

use format_spec::Digest;

/// One of the images of a layout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// The only one, or that named `latest`.
    Only,
    /// The one whose `org.opencontainers.image.ref.name` is this.
    Name(String),
    /// The manifest of this digest.
    Digest(Digest),
}

/// A directory and one of its images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayoutImage {
    /// The directory.
    pub path: PathBuf,
    /// Which of its images.
    pub choice: Choice,
}

impl LayoutImage {
    /// What is meant by this text, on this machine.
    pub fn of(written: &Path) -> Self {
        Self::split(written, Path::exists)
    }

    fn split(written: &Path, exists: impl Fn(&Path) -> bool) -> Self {
        let chosen = |path: &str, choice| Self { path: path.into(), choice };
        let whole = || Self { path: written.to_owned(), choice: Choice::Only };
        if exists(written) {
            return whole();
        }
        let Some(text) = written.to_str() else { return whole() };
        if let Some((path, digest)) = text.rsplit_once('@')
            && !path.is_empty()
            && let Ok(digest) = digest.parse()
        {
            return chosen(path, Choice::Digest(digest));
        }
        // For skopeo the name begins after the first colon. Here a directory with colons counts, if it is there.
        let splits = || {
            let all = text.match_indices(':').map(|(at, _)| (&text[..at], &text[at + 1..]));
            all.filter(|(path, name)| !path.is_empty() && !name.is_empty())
        };
        let there = splits().filter(|(path, _)| exists(Path::new(path))).last();
        match there.or_else(|| splits().next()) {
            Some((path, name)) => chosen(path, Choice::Name(name.to_owned())),
            None => whole(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_exists_wins_and_the_rest_chooses() {
        let digest = Digest::of(b"x");
        let by_digest = format!("/srv/app@{digest}");
        let name = |name: &str| Choice::Name(name.to_owned());
        for (written, path, choice) in [
            ("/srv/app", "/srv/app", Choice::Only),
            ("/srv/app:1.0", "/srv/app", name("1.0")),
            (&by_digest, "/srv/app", Choice::Digest(digest)),
            ("/srv/app@sha256:12", "/srv/app@sha256", name("12")),
            ("/srv/a:b", "/srv/a:b", Choice::Only),
            ("/srv/a:b:1", "/srv/a:b", name("1")),
            ("/srv/app:host/x:1", "/srv/app", name("host/x:1")),
            ("missing:x:1", "missing", name("x:1")),
            ("missing:", "missing:", Choice::Only),
            (":x", ":x", Choice::Only),
        ] {
            let there = |path: &Path| {
                ["/srv/app", "/srv/a", "/srv/a:b"].iter().any(|known| path == Path::new(known))
            };
            let expected = LayoutImage { path: path.into(), choice };
            assert_eq!(LayoutImage::split(Path::new(written), there), expected, "{written}");
        }
    }
}
