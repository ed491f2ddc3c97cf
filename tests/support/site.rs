//! Two sides and the gap between them: a source, a target, a workspace for each, media directories.

use std::path::{Path, PathBuf};
use std::process::Command;

use fs_err as fs;

use super::command::{Run, bundle};
use super::server::{Kind, Server, fs_write};
use super::text;

/// A connected and a disconnected side in one temporary directory.
pub struct Site {
    dir: tempfile::TempDir,
    /// The registry with the network.
    pub source: Server,
    /// The registry behind the gap.
    pub target: Server,
}

impl Site {
    /// Registries of these kinds; `None` after saying which is not on this machine.
    pub fn with(source: Kind, target: Kind) -> Option<Self> {
        Self::within(tempfile::tempdir().unwrap(), source, target)
    }

    /// Our own registry on both sides, in memory where the system has a place for it: for hundreds of runs that would
    /// only wait for the disk.
    pub fn in_memory() -> Self {
        let memory = tempfile::tempdir_in("/dev/shm");
        let dir = memory.unwrap_or_else(|_| tempfile::tempdir().unwrap());
        Self::within(dir, Kind::Embedded, Kind::Embedded).unwrap()
    }

    fn within(dir: tempfile::TempDir, source: Kind, target: Kind) -> Option<Self> {
        let source = Server::start(source, &dir.path().join("source"))?;
        let target = Server::start(target, &dir.path().join("target"))?;
        Some(Self { dir, source, target })
    }

    /// Our own registry on both sides: always there.
    pub fn new() -> Self {
        Self::with(Kind::Embedded, Kind::Embedded).unwrap()
    }

    /// A path in the site's directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// `bundle` with arguments, in the site's directory.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = bundle(self.dir.path());
        command.args(arguments);
        command
    }

    /// Runs `bundle`.
    #[must_use]
    pub fn bundle(&self, arguments: &[&str]) -> Run {
        Run::of(&mut self.command(arguments))
    }

    /// Writes a configuration with this text under `mirror:`.
    pub fn configure(&self, mirror: &str) -> PathBuf {
        let path = self.path("imageset.yaml");
        let text = format!(
            "kind: ImageSetConfiguration\napiVersion: mirror.openshift.io/v2alpha1\nmirror:\n{mirror}"
        );
        fs_write(&path, text.as_bytes());
        path
    }

    /// Writes a configuration that names these images of the source, as `repository:tag`.
    pub fn images(&self, images: &[&str]) -> PathBuf {
        self.images_at(&self.source.host, images)
    }

    /// The same through another host, as a relay's.
    pub fn images_at(&self, host: &str, images: &[&str]) -> PathBuf {
        self.configure(&additional(host, images))
    }

    /// Images of the source, and the history in the source's registry.
    pub fn images_with_history(&self, images: &[&str]) {
        let host = &self.source.host;
        let list = additional(host, images);
        let text = format!(
            "kind: ImageSetConfiguration\napiVersion: mirror.openshift.io/v1alpha2\nstorageConfig:\n  registry:\n    \
             imageURL: {host}/state/history:latest\nmirror:\n{list}"
        );
        fs_write(&self.path("imageset.yaml"), text.as_bytes());
    }

    /// The arguments of `bundle create` into `media` with the connected workspace.
    pub fn create_arguments(&self, media: &str) -> Vec<String> {
        let path = |name| text(&self.path(name)).to_owned();
        ["create", "--config", &path("imageset.yaml"), "--to", &path(media), "--workspace"]
            .map(ToOwned::to_owned)
            .into_iter()
            .chain([path("connected"), "--retry-delay".into(), "20ms".into()])
            .collect()
    }

    /// `bundle create` into `media`, with further options.
    #[must_use]
    pub fn create(&self, media: &str, more: &[&str]) -> Run {
        let arguments = self.create_arguments(media);
        let mut command = self.command(&[]);
        Run::of(command.args(arguments).args(more))
    }

    /// The public key of the connected side.
    pub fn key(&self) -> PathBuf {
        self.path("connected/keys/default.pub.pem")
    }

    /// The arguments of `bundle import` from `media` into `host` with the disconnected workspace.
    pub fn import_arguments(&self, media: &str, host: &str) -> Vec<String> {
        let path = |name| text(&self.path(name)).to_owned();
        ["import", "--from", &path(media), "--trust", text(&self.key()), "--workspace"]
            .map(ToOwned::to_owned)
            .into_iter()
            .chain([path("disconnected"), "--retry-delay".into(), "20ms".into()])
            .chain([format!("docker://{host}")])
            .collect()
    }

    /// `bundle import` from `media` into the target.
    #[must_use]
    pub fn import(&self, media: &str, more: &[&str]) -> Run {
        self.import_into(&self.target.host.clone(), media, more)
    }

    /// `bundle import` from `media` into another registry, as a relay.
    #[must_use]
    pub fn import_into(&self, host: &str, media: &str, more: &[&str]) -> Run {
        let arguments = self.import_arguments(media, host);
        let mut command = self.command(&[]);
        Run::of(command.args(arguments).args(more))
    }

    /// `bundle verify` of `media` with the connected side's key.
    #[must_use]
    pub fn verify(&self, media: &Path) -> Run {
        self.bundle(&["verify", "--from", text(media), "--trust", text(&self.key())])
    }

    /// The target must hold what the source holds under these `repository:tag`, digest by digest.
    #[track_caller]
    pub fn same(&self, images: &[&str]) {
        for image in images {
            let (repo, tag) = image.rsplit_once(':').unwrap();
            assert_eq!(self.source.pull(repo, tag), self.target.pull(repo, tag), "{image}");
        }
    }

    /// Puts a finished first sequence on `media` back to where a kill between two renames of its publication leaves it:
    /// the files in `hidden` have their partial names, and the history has the sequence as pending.
    pub fn cut_publication(&self, media: &str, hidden: &[&str]) {
        let (media, history) = (self.path(media), self.path("connected/history"));
        for name in hidden {
            fs::rename(media.join(name), media.join(format!("{name}.partial"))).unwrap();
        }
        fs::create_dir(history.join("pending")).unwrap();
        for (from, to) in [("seq1.json", "head"), ("seq1.sig", "seal"), ("seq1.index", "index")] {
            fs::rename(history.join(from), history.join("pending").join(to)).unwrap();
        }
        fs_write(&history.join("pending/medium"), text(&media).as_bytes());
    }

    /// The signed head of a sequence on a medium, as JSON.
    #[track_caller]
    pub fn head(&self, media: &str, sequence: u64) -> serde_json::Value {
        let path = self.path(media).join(format!("mirror_seq{sequence}.manifest.json"));
        serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
    }
}

/// The stanza of images at a host.
fn additional(host: &str, images: &[&str]) -> String {
    let lines: String =
        images.iter().map(|image| format!("    - name: {host}/{image}\n")).collect();
    format!("  additionalImages:\n{lines}")
}
