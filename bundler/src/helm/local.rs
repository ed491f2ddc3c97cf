//! Charts on this machine: an archive, or a directory that is packed here.
//!
//! In: a path. Out: an archive, and the signature file beside it. What must hold: the same directory gives the same bytes,
//! whoever owns its files and whenever they were written.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use flate2::{Compression, GzBuilder};
use fs_err as fs;
use ignore::gitignore::{Gitignore, GitignoreBuilder};

use super::chart::{self, ChartError};
use super::limits::{CHART_MAX, FILES_MAX, PROVENANCE_MAX, UNPACKED_MAX};
use crate::durable;

/// Why there is no archive.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// It cannot be read.
    #[error("it cannot be read")]
    Read(#[source] io::Error),
    /// There is nothing.
    #[error("there is no such file or directory")]
    Absent,
    /// It is larger than a chart.
    #[error("it is larger than a chart can be")]
    TooLarge,
    /// A link in it leads to a directory that it is in.
    #[error("`{0}` leads to a directory that it lies in")]
    Cycle(PathBuf),
    /// A pipe, a device or the like is in it, which Helm refuses too.
    #[error("`{0}` is no regular file")]
    NoFile(PathBuf),
    /// Its `Chart.yaml`.
    #[error(transparent)]
    Chart(#[from] ChartError),
}

/// An archive, and the signature file beside it.
pub(super) struct Packed {
    pub(super) archive: Vec<u8>,
    pub(super) provenance: Option<Vec<u8>>,
}

/// Reads or packs what is at `path`.
pub(super) fn read(path: &Path) -> Result<Packed, LocalError> {
    let found = match fs::metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(LocalError::Absent),
        Err(error) => return Err(LocalError::Read(error)),
    };
    if found.is_dir() {
        return Ok(Packed { archive: pack(path)?, provenance: None });
    }
    if found.len() > CHART_MAX {
        return Err(LocalError::TooLarge);
    }
    let whole = |path: &Path, max| durable::read(path, max).map_err(LocalError::Read);
    let archive = whole(path, CHART_MAX)?.ok_or(LocalError::Absent)?;
    let mut beside = path.as_os_str().to_owned();
    beside.push(".prov");
    Ok(Packed { archive, provenance: whole(Path::new(&beside), PROVENANCE_MAX)? })
}

/// Files by their paths in the archive.
type Files = BTreeMap<String, Vec<u8>>;

/// The archive of a directory, without what its `.helmignore` leaves out.
fn pack(directory: &Path) -> Result<Vec<u8>, LocalError> {
    let read = |error: io::Error| LocalError::Read(error);
    let chart = directory.join("Chart.yaml");
    let shown = chart.display().to_string();
    let Some(bytes) = durable::read(&chart, super::limits::FILE_MAX).map_err(read)? else {
        let problem = "it is missing".to_owned();
        return Err(ChartError::Document { file: shown, problem }.into());
    };
    let metadata = chart::mapping(&shown, &bytes)?;
    let name = metadata.get("name").and_then(|name| name.as_str()).unwrap_or_default();
    if name.is_empty() || name.contains(['/', '\\']) || name.starts_with('.') {
        let problem = "it has no `name` that a directory can have".to_owned();
        return Err(ChartError::Document { file: shown, problem }.into());
    }
    let mut walk = Walk {
        ignored: ignored(directory).map_err(read)?,
        files: Files::new(),
        bytes: 0,
        above: Vec::new(),
    };
    walk.directory(directory, "")?;
    archive(name, &walk.files).map_err(read)
}

/// The rules of `.helmignore`, and the one that Helm has itself.
fn ignored(directory: &Path) -> io::Result<Gitignore> {
    let mut builder = GitignoreBuilder::new("");
    let bytes = durable::read(&directory.join(".helmignore"), 64 * 1024)?.unwrap_or_default();
    let own = String::from_utf8_lossy(&bytes).into_owned();
    for line in own.lines().chain(["templates/.?*"]) {
        let _ = builder.add_line(None, line);
    }
    builder.build().map_err(io::Error::other)
}

struct Walk {
    ignored: Gitignore,
    files: Files,
    bytes: u64,
    /// The directories that it is in, as the system knows them.
    above: Vec<PathBuf>,
}

impl Walk {
    fn directory(&mut self, directory: &Path, below: &str) -> Result<(), LocalError> {
        let own = fs::canonicalize(directory).map_err(LocalError::Read)?;
        if self.above.contains(&own) {
            return Err(LocalError::Cycle(directory.to_owned()));
        }
        self.above.push(own);
        for entry in fs::read_dir(directory).map_err(LocalError::Read)? {
            let path = entry.map_err(LocalError::Read)?.path();
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
            let inside = format!("{below}{name}");
            // Links are followed, as Helm does.
            let found = fs::metadata(&path).map_err(LocalError::Read)?;
            if self.ignored.matched(&inside, found.is_dir()).is_ignore() {
                continue;
            }
            if found.is_dir() {
                self.directory(&path, &format!("{inside}/"))?;
            } else if found.is_file() {
                self.bytes = self.bytes.saturating_add(found.len());
                if self.bytes > UNPACKED_MAX || self.files.len() >= FILES_MAX {
                    return Err(LocalError::TooLarge);
                }
                let bytes = durable::read(&path, UNPACKED_MAX).map_err(LocalError::Read)?;
                self.files.insert(inside, bytes.unwrap_or_default());
            } else {
                return Err(LocalError::NoFile(path));
            }
        }
        self.above.pop();
        Ok(())
    }
}

fn archive(name: &str, files: &Files) -> io::Result<Vec<u8>> {
    let gzip = GzBuilder::new().mtime(0).write(Vec::new(), Compression::new(9));
    let mut tar = tar::Builder::new(gzip);
    // Whoever reads it from the front learns at once what it is.
    let first = files.get_key_value("Chart.yaml");
    let others = files.iter().filter(|(path, _)| *path != "Chart.yaml");
    for (path, bytes) in first.into_iter().chain(others) {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        tar.append_data(&mut header, format!("{name}/{path}"), &**bytes)?;
    }
    let mut gzip = tar.into_inner()?;
    gzip.flush()?;
    gzip.finish()
}

#[cfg(test)]
mod tests {
    use super::super::chart::Chart;
    use super::*;

    #[test]
    fn a_directory_is_packed_the_same_each_time() {
        let scratch = tempfile::tempdir().unwrap();
        let make = |name: &str| {
            let root = scratch.path().join(name);
            for (path, text) in [
                ("Chart.yaml", "name: app\nversion: 1.0.0\n"),
                ("values.yaml", "a: 1\n"),
                ("templates/a.yaml", "kind: X\n"),
                ("templates/.swp", "x"),
                ("charts/sub/Chart.yaml", "name: sub\nversion: 1.0.0\n"),
                ("notes.bak", "x"),
                (".helmignore", "*.bak\n"),
            ] {
                let path = root.join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            root
        };
        let (one, two) = (make("one"), make("two"));
        let packed = read(&one).unwrap().archive;
        assert_eq!(packed, read(&two).unwrap().archive);
        let chart = Chart::read(&packed).unwrap();
        assert_eq!((chart.all().len(), chart.file.as_str()), (2, "app/Chart.yaml"));
        let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(&*packed));
        let paths: Vec<String> = (tar.entries().unwrap())
            .map(|entry| entry.unwrap().path().unwrap().display().to_string())
            .collect();
        let expected = [
            "app/Chart.yaml",
            "app/.helmignore",
            "app/charts/sub/Chart.yaml",
            "app/templates/a.yaml",
            "app/values.yaml",
        ];
        assert_eq!(paths, expected);
        // A link to where it is would never end.
        fs::os::unix::fs::symlink(&one, one.join("charts/self")).unwrap();
        assert!(matches!(read(&one), Err(LocalError::Cycle(_))));
        fs::remove_file(one.join("charts/self")).unwrap();
        let socket = one.join("templates/socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        assert!(matches!(read(&one), Err(LocalError::NoFile(path)) if path == socket));
        assert!(matches!(read(&scratch.path().join("none")), Err(LocalError::Absent)));
        fs::remove_file(two.join("Chart.yaml")).unwrap();
        let Err(error) = read(&two) else { panic!() };
        assert!(error.to_string().contains("two/Chart.yaml`: it is missing"), "{error}");
    }
}
