//! The directory of the files: what is written, and what of an earlier writing goes.
//!
//! In: names and bytes. Out: the files, each the old one or the new one whatever happens. What must hold: what this
//! program did not write is never removed, and not lost when one of its names is needed: it is kept beside the new file.
//! A list in the directory says what was written, with the digest of each; `oc apply` passes over it, as its name has none
//! of the endings that it reads.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{ErrorKind, Read as _};
use std::path::{Component, Path, PathBuf};

use format_spec::Digest;

use super::charts::Charts;
use super::files::Files;
use crate::durable;
use crate::error::ImportError;
use crate::limits::WRITTEN_MAX;

/// The list of what was written.
const LIST: &str = ".written-by-bundle";

/// Names and the digests of their bytes. A name has two while its file is exchanged.
type List = BTreeSet<(PathBuf, Digest)>;

/// Writes `files` and the archives of `charts` into `directory`. Returns the names of all of them and of those that were removed.
pub(super) fn write(
    directory: &Path,
    files: &Files,
    charts: &mut Charts,
    warnings: &mut Vec<String>,
) -> Result<(Vec<PathBuf>, Vec<PathBuf>), ImportError> {
    let before = read_list(directory)?;
    let own = files.iter().map(|(name, bytes)| (name.clone(), Digest::of(bytes)));
    let mut now: List = own.chain(charts.files()).collect();
    if now.is_empty() && before.is_empty() {
        return Ok((Vec::new(), Vec::new()));
    }
    durable::directory(directory)?;
    // Both, for a run that ends in between: the next one knows whose they are.
    let both: List = before.union(&now).cloned().collect();
    let places: BTreeSet<PathBuf> = both
        .iter()
        .filter_map(|(name, _)| Some(directory.join(name).parent()?.to_owned()))
        .collect();
    places.iter().try_for_each(|place| durable::sweep(place))?;
    if both != before {
        write_list(directory, &both)?;
    }
    let mut lacking = BTreeSet::new();
    for (name, digest) in &now {
        let path = directory.join(name);
        let there = found(&path)?;
        if there == Some(*digest) {
            continue;
        }
        let fetched = match files.get(name) {
            Some(_) => None,
            None => match charts.fetch(name) {
                Some(bytes) => Some(bytes),
                None => {
                    lacking.insert((name.clone(), *digest));
                    continue;
                }
            },
        };
        match there {
            // What was written here, and nobody changed.
            Some(digest) if before.contains(&(name.clone(), digest)) => {}
            None if !occupied(&path) => {}
            _ => keep(&path, warnings)?,
        }
        durable::directory(path.parent().unwrap_or(directory))?;
        let bytes = fetched.as_ref().or_else(|| files.get(name));
        durable::write(&path, bytes.map_or(&[][..], |bytes| &**bytes))?;
    }
    now.retain(|entry| !lacking.contains(entry));
    let stay: BTreeSet<&PathBuf> = now.iter().map(|(name, _)| name).collect();
    let mut removed = Vec::new();
    let gone: BTreeSet<&PathBuf> =
        before.iter().map(|(name, _)| name).filter(|name| !stay.contains(name)).collect();
    for name in gone {
        let path = directory.join(name);
        match found(&path)? {
            Some(found) if before.contains(&(name.clone(), found)) => {
                fs_err::remove_file(&path).map_err(|source| durable::write_error(&path, source))?;
                removed.push(name.clone());
            }
            None => {}
            Some(_) => warnings.push(format!(
                "`{}` was changed since it was written and says what no longer stands: look at it before it is applied",
                path.display()
            )),
        }
    }
    write_list(directory, &now)?;
    Ok((now.into_iter().map(|(name, _)| name).collect(), removed))
}

/// Moves somebody else's file out of the way.
fn keep(path: &Path, warnings: &mut Vec<String>) -> Result<(), ImportError> {
    let mut kept = path.as_os_str().to_owned();
    kept.push(".before");
    let kept = PathBuf::from(kept);
    fs_err::rename(path, &kept).map_err(|source| durable::write_error(path, source))?;
    warnings.push(format!(
        "`{}` was not as this program wrote it: it is kept as `{}`",
        path.display(),
        kept.display()
    ));
    Ok(())
}

fn occupied(path: &Path) -> bool {
    fs_err::symlink_metadata(path).is_ok()
}

/// The digest of a regular file; `None` when there is none.
fn found(path: &Path) -> Result<Option<Digest>, ImportError> {
    let unreadable = |source| ImportError::State { path: path.to_owned(), source };
    match fs_err::symlink_metadata(path) {
        Ok(data) if data.is_file() => {}
        _ => return Ok(None),
    }
    let mut file = fs_err::File::open(path).map_err(unreadable)?;
    let mut hasher = format_spec::hash::Hasher::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match file.read(&mut buffer).map_err(unreadable)? {
            0 => return Ok(Some(hasher.finish())),
            read => hasher.update(&buffer[..read]),
        }
    }
}

fn write_list(directory: &Path, list: &List) -> Result<(), ImportError> {
    let mut text = String::new();
    for (name, digest) in list {
        let _ = writeln!(text, "{digest}  {}", name.display());
    }
    durable::write(&directory.join(LIST), text.as_bytes())
}

/// What an earlier run wrote. A line that names a place outside of the directory is none of ours.
fn read_list(directory: &Path) -> Result<List, ImportError> {
    let path = directory.join(LIST);
    let unreadable = |source| ImportError::State { path: path.clone(), source };
    let file = match fs_err::File::open(&path) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(List::new());
        }
        Err(error) => return Err(unreadable(error)),
    };
    let mut text = String::new();
    file.take(WRITTEN_MAX).read_to_string(&mut text).map_err(unreadable)?;
    let line = |line: &str| {
        let (digest, name) = line.split_once("  ")?;
        let name = PathBuf::from(name);
        let inside = name.components().all(|part| matches!(part, Component::Normal(_)));
        Some((name, digest.parse().ok()?)).filter(|_| inside)
    };
    Ok(text.lines().filter_map(line).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(of: &[(&str, &str)]) -> Files {
        of.iter().map(|(name, text)| (name.into(), text.as_bytes().to_vec())).collect()
    }

    fn put(directory: &Path, of: &[(&str, &str)]) -> (usize, usize, usize) {
        let mut warnings = Vec::new();
        let (written, removed) =
            write(directory, &files(of), &mut Charts::new([].into_iter(), None), &mut warnings)
                .unwrap();
        (written.len(), removed.len(), warnings.len())
    }

    #[test]
    fn what_we_wrote_goes_when_it_is_no_more_and_nothing_else() {
        let scratch = tempfile::tempdir().unwrap();
        let directory = scratch.path().join("cluster-resources");
        let there = |name: &str| directory.join(name).exists();
        // Nothing to say makes no directory.
        assert_eq!(put(&directory, &[]), (0, 0, 0));
        assert!(!directory.exists());
        assert_eq!(
            put(&directory, &[("a.yaml", "a"), ("sub/b.yaml", "b"), ("c.yaml", "c")]),
            (3, 0, 0)
        );
        fs_err::write(directory.join("mine.yaml"), "mine").unwrap();
        fs_err::write(directory.join("c.yaml"), "changed").unwrap();
        assert_eq!(put(&directory, &[("a.yaml", "new")]), (1, 1, 1));
        assert!(there("mine.yaml") && there("c.yaml") && !there("sub/b.yaml"));
        assert_eq!(fs_err::read(directory.join("a.yaml")).unwrap(), b"new");
        // It is nobody's now but the person's.
        assert_eq!(put(&directory, &[]), (0, 1, 0));
        assert!(there("c.yaml") && !there("a.yaml"));
    }

    #[test]
    fn what_a_killed_run_left_is_ours() {
        let scratch = tempfile::tempdir().unwrap();
        let directory = scratch.path();
        put(directory, &[("a.yaml", "old"), ("b.yaml", "old")]);
        // Killed after its list, with one file half written: nothing is exchanged yet.
        let both = ["old", "new"].map(|text| {
            let digest = Digest::of(text.as_bytes());
            format!("{digest}  a.yaml\n{digest}  b.yaml\n")
        });
        fs_err::write(directory.join(LIST), both.concat()).unwrap();
        fs_err::write(directory.join(".new-a1B2c3"), "ne").unwrap();
        fs_err::write(directory.join(".new-mine"), "somebody's").unwrap();
        assert_eq!(put(directory, &[("a.yaml", "new")]), (1, 1, 0));
        assert_eq!(fs_err::read(directory.join("a.yaml")).unwrap(), b"new");
        let left = |name: &str| directory.join(name).exists();
        assert!(!left("a.yaml.before") && !left("b.yaml") && !left(".new-a1B2c3"));
        assert!(left(".new-mine"));
    }

    #[test]
    fn a_changed_file_is_kept_beside_the_new_one() {
        let scratch = tempfile::tempdir().unwrap();
        let directory = scratch.path();
        fs_err::write(directory.join("a.yaml"), "mine").unwrap();
        assert_eq!(put(directory, &[("a.yaml", "a")]), (1, 0, 1));
        assert_eq!(fs_err::read(directory.join("a.yaml.before")).unwrap(), b"mine");
        assert_eq!(put(directory, &[("a.yaml", "a")]), (1, 0, 0));
        // A link is not followed.
        fs_err::write(directory.join("elsewhere"), "elsewhere").unwrap();
        fs_err::os::unix::fs::symlink("elsewhere", directory.join("l.yaml")).unwrap();
        assert_eq!(put(directory, &[("l.yaml", "l")]), (1, 1, 1));
        assert_eq!(fs_err::read(directory.join("elsewhere")).unwrap(), b"elsewhere");
        assert_eq!(fs_err::read(directory.join("l.yaml")).unwrap(), b"l");
    }

    #[test]
    fn a_list_that_somebody_wrote_removes_nothing_elsewhere() {
        let scratch = tempfile::tempdir().unwrap();
        let directory = scratch.path().join("d");
        fs_err::create_dir(&directory).unwrap();
        let outside = scratch.path().join("o.yaml");
        fs_err::write(&outside, "o").unwrap();
        let digest = Digest::of(b"o");
        let list = format!("{digest}  ../o.yaml\n{digest}  {}\nnonsense\n", outside.display());
        fs_err::write(directory.join(LIST), list).unwrap();
        assert_eq!(put(&directory, &[("a.yaml", "a")]), (1, 0, 0));
        assert!(outside.exists());
    }
}
