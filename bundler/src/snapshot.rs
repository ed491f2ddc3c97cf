//! A workspace to look at, without a trace in the real one.
//!
//! In: a workspace, which need not exist. Out: a temporary directory with links to what it remembers. What must hold: nothing
//! is written into the workspace or onto a medium; what the runs write into the links' directory, as a history that a registry
//! has more of, is gone at the end. A publication that was interrupted is left to the next create.

use std::io;
use std::path::Path;

use fs_err as fs;
use tempfile::TempDir;

use crate::error::CreateError;

/// A workspace for one look.
#[derive(Debug)]
pub struct Snapshot {
    directory: TempDir,
    /// Whether a publication is under way, or was interrupted.
    pub unsettled: bool,
    /// Keeps creates away while it is looked at; released with the snapshot.
    _lock: Option<std::fs::File>,
}

impl Snapshot {
    /// What `workspace` remembers now.
    pub fn of(workspace: &Path) -> Result<Self, CreateError> {
        let file = CreateError::file("look at the workspace");
        let lock = lock(workspace)?;
        let from = std::path::absolute(workspace).map_err(&file)?;
        let link = || -> io::Result<(TempDir, bool)> {
            let to = tempfile::tempdir()?;
            links(&from.join("history"), &to.path().join("history"))?;
            links(&from.join("catalogs"), &to.path().join("catalogs"))?;
            for directory in ["update-graph", "catalogs"] {
                for entry in listed(&from.join(directory))? {
                    // Each file by itself: whoever finds one damaged takes away the link.
                    let below = Path::new(directory).join(entry.file_name());
                    if entry.file_type()?.is_dir() {
                        links(&from.join(&below), &to.path().join(&below))?;
                    }
                }
            }
            Ok((to, from.join("history/pending/medium").exists()))
        };
        let (directory, unsettled) = link().map_err(&file)?;
        Ok(Self { directory, unsettled, _lock: lock })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }
}

/// The lock of the history, when there is one.
fn lock(workspace: &Path) -> Result<Option<std::fs::File>, CreateError> {
    let path = workspace.join("history/lock");
    let open = match fs::File::open(path) {
        Ok(open) => open.into_file(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(CreateError::File { doing: "open the history's lock", source }),
    };
    match open.try_lock_shared() {
        Err(std::fs::TryLockError::WouldBlock) => Err(CreateError::Busy(workspace.to_owned())),
        // Some network file systems cannot lock what is open for reading.
        Ok(()) | Err(std::fs::TryLockError::Error(_)) => Ok(Some(open)),
    }
}

/// Links to the files of a directory, which need not exist; what lies deeper stays out.
fn links(from: &Path, to: &Path) -> io::Result<()> {
    for entry in listed(from)? {
        if entry.file_type()?.is_file() && entry.file_name() != "lock" {
            fs::create_dir_all(to)?;
            fs_err::os::unix::fs::symlink(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}

fn listed(directory: &Path) -> io::Result<Vec<fs::DirEntry>> {
    match fs::read_dir(directory) {
        Ok(entries) => entries.collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}
