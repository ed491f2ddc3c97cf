//! `.indexignore`: which files of a catalog are none of its files.
//!
//! In: the files of this name, each with its directory. Out: whether a path is ignored. They are written as `.gitignore` is and
//! hold for what is below them; the deepest one that says something decides, and in it the last line.

use std::collections::HashMap;
use std::path::Path;

use ignore::gitignore::{Gitignore, GitignoreBuilder};

use super::files::TooMany;
use super::limits::IGNORE_LINES_MAX;

/// The name of such a file.
pub const NAME: &str = ".indexignore";

/// All of them, by directory.
#[derive(Debug, Default)]
pub struct Ignored {
    rules: HashMap<String, Gitignore>,
}

impl Ignored {
    /// From directories and what their files say. A line that is no rule matches nothing, as for servers of catalogs.
    pub fn new<'a>(files: impl Iterator<Item = (&'a str, &'a str)>) -> Result<Self, TooMany> {
        let (mut rules, mut lines) = (HashMap::new(), 0);
        for (directory, text) in files {
            let mut builder = GitignoreBuilder::new("");
            // A file without any takes room too.
            lines += 1 + text.lines().count();
            if lines > IGNORE_LINES_MAX {
                return Err(TooMany);
            }
            for line in text.lines() {
                let _ = builder.add_line(None, line);
            }
            rules.insert(directory.to_owned(), builder.build().map_err(|_| TooMany)?);
        }
        Ok(Self { rules })
    }

    /// Whether a file is ignored.
    pub fn has(&self, path: &str) -> bool {
        if self.rules.is_empty() {
            return false;
        }
        let ends = path.rmatch_indices('/').map(|(at, _)| (&path[..at], &path[at + 1..]));
        for (directory, below) in ends.chain(std::iter::once(("", path))) {
            let Some(rules) = self.rules.get(directory) else { continue };
            let said = rules.matched_path_or_any_parents(Path::new(below), false);
            if !said.is_none() {
                return said.is_ignore();
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deepest_rule_decides_and_the_last_line_of_it() {
        let files = [
            ("", "README.md\n# a comment\n/only-here\n*.txt\ndocs/\n!docs/kept.yaml\na/**/z\n"),
            ("sub", "!note.txt\nown.yaml\n\\#odd\n"),
        ];
        let ignored = Ignored::new(files.into_iter()).unwrap();
        for (path, expected) in [
            ("README.md", true),
            ("pkg/README.md", true),
            ("README.md.yaml", false),
            ("only-here", true),
            ("pkg/only-here", false),
            ("pkg/a.txt", true),
            ("docs/a.yaml", true),
            ("docs/kept.yaml", false),
            ("docs", false),
            ("a/z", true),
            ("a/b/c/z", true),
            ("sub/note.txt", false),
            ("sub/other.txt", true),
            ("sub/own.yaml", true),
            ("sub/deep/own.yaml", true),
            ("own.yaml", false),
            ("sub/#odd", true),
        ] {
            assert_eq!(ignored.has(path), expected, "{path}");
        }
        assert!(!Ignored::default().has("README.md"));
    }

    #[test]
    fn what_is_no_rule_matches_nothing_and_too_many_are_refused() {
        let odd = Ignored::new([("sub", "[z-a]\nx\n")].into_iter()).unwrap();
        assert!(odd.has("sub/x") && !odd.has("sub/z"));
        let many = "x\n".repeat(IGNORE_LINES_MAX + 1);
        assert!(Ignored::new([("", &many[..])].into_iter()).is_err());
    }
}
