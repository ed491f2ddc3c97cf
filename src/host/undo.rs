//! What an installation made so far, to be taken back when it fails.
//!
//! In: steps, as they are done. Out: nothing of them is left when the value is dropped before [`Undo::keep`]. What must
//! hold: only what this very run made is taken back; what was there before stays, or is put back as it was.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use registry::lasting;

use super::systemctl::Systemctl;

/// One step that can be taken back.
#[derive(Debug)]
enum Step {
    Path(PathBuf),
    File(Before),
    Unit(Systemctl),
    Linger,
}

/// A file as it was.
#[derive(Debug)]
struct Before {
    path: PathBuf,
    bytes: Vec<u8>,
    about: Metadata,
}

impl Before {
    /// Puts it back: bytes, rights and owner.
    fn restore(&self) -> std::io::Result<()> {
        lasting::replace(&self.path, &self.bytes, self.about.mode() & 0o7777)?;
        std::os::unix::fs::chown(&self.path, Some(self.about.uid()), Some(self.about.gid()))
    }
}

/// The steps of this run.
#[derive(Debug, Default)]
pub struct Undo(Vec<Step>);

impl Undo {
    /// A file or directory is about to be made: unless it is there already, it goes again with everything in it.
    pub fn path(&mut self, path: impl Into<PathBuf>) {
        let path = path.into();
        if fs_err::symlink_metadata(&path).is_err() {
            self.0.push(Step::Path(path));
        }
    }

    /// A file is about to be written: what was there before comes back, byte for byte.
    pub fn file(&mut self, path: impl Into<PathBuf>) -> std::io::Result<()> {
        let path = path.into();
        match fs_err::symlink_metadata(&path) {
            Ok(about) if about.is_file() => {
                let bytes = fs_err::read(&path)?;
                self.0.push(Step::File(Before { path, bytes, about }));
            }
            // Whoever writes it says what is wrong with it.
            Ok(_) => {}
            Err(_) => self.0.push(Step::Path(path)),
        }
        Ok(())
    }

    /// The unit is known to systemd, and may run.
    pub fn unit(&mut self, systemctl: &Systemctl) {
        self.0.push(Step::Unit(systemctl.clone()));
    }

    /// Lingering was turned on.
    pub fn linger(&mut self) {
        self.0.push(Step::Linger);
    }

    /// Everything stays: the installation is done.
    pub fn keep(mut self) {
        self.0.clear();
    }
}

impl Drop for Undo {
    fn drop(&mut self) {
        let steps = std::mem::take(&mut self.0);
        if steps.is_empty() {
            return;
        }
        tracing::warn!("the installation failed: what it made is taken back");
        for step in steps.into_iter().rev() {
            let (what, outcome) = match step {
                Step::Path(path) if path.is_dir() => {
                    (path.display().to_string(), fs_err::remove_dir_all(&path))
                }
                Step::File(before) => (before.path.display().to_string(), before.restore()),
                Step::Path(path) => (path.display().to_string(), fs_err::remove_file(&path)),
                Step::Unit(systemctl) => {
                    systemctl.forget();
                    continue;
                }
                Step::Linger => {
                    super::systemctl::linger(false);
                    continue;
                }
            };
            match outcome {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    tracing::warn!(%error, "cannot take back `{what}`");
                }
                _ => {}
            }
        }
    }
}
