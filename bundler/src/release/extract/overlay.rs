//! Which files of an image's layers count, from the uppermost layer down.
//!
//! In: the entries of each layer. Out: for each whether it is one that is wanted and that no layer above has or hides. What
//! must hold: a whiteout hides what is below its own layer and nothing in it; what is not wanted takes no memory.

use std::collections::HashSet;

use crate::release::layer::{Hidden, below, hidden_by};
use crate::release::tarball::Kind;

/// What is wanted of an image's files.
#[derive(Debug, Clone)]
pub(super) enum Wanted {
    /// What lies directly in this directory.
    Directory(&'static str),
    /// These files.
    Files(Vec<String>),
}

impl Wanted {
    fn is(&self, path: &str) -> bool {
        match self {
            Self::Directory(directory) => is_directly_in(path, directory),
            Self::Files(files) => files.iter().any(|file| file == path),
        }
    }

    /// Whether what is hidden may be wanted.
    fn concerns(&self, hidden: &Hidden) -> bool {
        match self {
            Self::Directory(directory) => {
                let within = match hidden {
                    Hidden::Path(path) | Hidden::Below(path) => {
                        path == directory || below(path, directory)
                    }
                };
                within || hidden.hides(directory)
            }
            Self::Files(files) => files.iter().any(|file| hidden.hides(file)),
        }
    }
}

/// Whether a path names an entry of this directory itself.
fn is_directly_in(path: &str, directory: &str) -> bool {
    path.rsplit_once('/').is_some_and(|(above, _)| above == directory)
}

/// What the layers so far have said.
#[derive(Debug)]
pub(super) struct Overlay {
    wanted: Wanted,
    /// What the layers above have, and what they hide.
    decided: HashSet<String>,
    hidden: HashSet<Hidden>,
    /// The same of the layer that is read.
    here: (HashSet<String>, HashSet<Hidden>),
}

impl Overlay {
    pub(super) fn new(wanted: Wanted) -> Self {
        let (decided, hidden) = (HashSet::new(), HashSet::new());
        Self { wanted, decided, hidden, here: (HashSet::new(), HashSet::new()) }
    }

    /// Looks at an entry of the layer that is read. Whether it is one that counts.
    pub(super) fn counts(&mut self, path: &str, kind: Kind) -> bool {
        if let Some(hidden) = hidden_by(path, kind)
            && self.wanted.concerns(&hidden)
        {
            self.here.1.insert(hidden);
        }
        let is_whiteout = path.rsplit('/').next().is_some_and(|name| name.starts_with(".wh."));
        let counts = !is_whiteout
            && self.wanted.is(path)
            && !self.decided.contains(path)
            && !self.is_hidden(path);
        if counts && !self.here.0.contains(path) {
            self.here.0.insert(path.to_owned());
        }
        counts
    }

    fn is_hidden(&self, path: &str) -> bool {
        self.hidden.iter().any(|hidden| hidden.hides(path))
    }

    /// The layer is read; the next one lies below it.
    pub(super) fn descend(&mut self) {
        self.decided.extend(self.here.0.drain());
        self.hidden.extend(self.here.1.drain());
    }

    /// Whether no layer below can say anything more.
    pub(super) fn is_done(&self) -> bool {
        match &self.wanted {
            Wanted::Directory(directory) => {
                // Any name would do.
                self.is_hidden(&format!("{directory}/."))
            }
            Wanted::Files(files) => {
                files.iter().all(|file| self.decided.contains(file) || self.is_hidden(file))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What counts of layers, the uppermost first, and whether all is said then.
    fn counted(wanted: Wanted, layers: &[&[&str]]) -> (Vec<String>, bool) {
        let mut overlay = Overlay::new(wanted);
        let mut all = Vec::new();
        for layer in layers {
            for path in *layer {
                let (path, kind) = match path.strip_suffix('/') {
                    Some(path) => (path, Kind::Directory),
                    None => (*path, Kind::File),
                };
                if overlay.counts(path, kind) {
                    all.push(path.to_owned());
                }
            }
            overlay.descend();
        }
        (all, overlay.is_done())
    }

    #[test]
    fn upper_layers_have_and_hide() {
        let m = || Wanted::Directory("m");
        let is = |layers: &[&[&str]], all: &[&str], done: bool| {
            let counted = counted(m(), layers);
            assert_eq!(
                (counted.0.iter().map(String::as_str).collect::<Vec<_>>(), counted.1),
                (all.to_vec(), done),
                "{layers:?}"
            );
        };
        is(&[&["m/", "m/a", "m/b/", "m/b/c", "ma", "x/m/a"]], &["m/a", "m/b"], false);
        is(&[&["m/a"], &["m/a", "m/b"]], &["m/a", "m/b"], false);
        is(&[&["m/.wh.a"], &["m/a", "m/b"]], &["m/b"], false);
        // Of its own layer a whiteout hides nothing, in whatever order they stand.
        is(&[&["m/.wh.a", "m/a"], &["m/a"]], &["m/a"], false);
        is(&[&["m/a", "m/.wh..wh..opq"], &["m/b"]], &["m/a"], true);
        is(&[&[".wh.m", "m/a"], &["m/b"]], &["m/a"], true);
        is(&[&[".wh..wh..opq"], &["m/b"]], &[], true);
        // What was a directory is a file now.
        is(&[&["m"], &["m/b"]], &[], true);
        is(&[&["x/.wh.m", ".wh.mm", ".wh.x"], &["m/b"]], &["m/b"], false);
    }

    #[test]
    fn files_end_the_reading_when_all_are_found() {
        let files = || Wanted::Files(vec!["usr/bin/oc".to_owned(), "usr/bin/x".to_owned()]);
        let all = |layers: &[&[&str]]| counted(files(), layers);
        assert_eq!(all(&[&["usr/bin/oc"]]), (vec!["usr/bin/oc".to_owned()], false));
        assert!(all(&[&["usr/bin/oc"], &["usr/bin/x"]]).1);
        assert!(all(&[&["usr/bin/oc", "usr/.wh.bin"]]).1);
        assert!(all(&[&["usr"]]).1);
        assert_eq!(all(&[&["usr/.wh.bin"], &["usr/bin/oc"]]).0, Vec::<String>::new());
        let two = all(&[&["usr/bin/oc", "usr/bin/oc"]]);
        assert_eq!(two.0.len(), 2, "the last one of a layer stands");
    }
}
