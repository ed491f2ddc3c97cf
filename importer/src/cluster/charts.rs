//! Helm charts beside the files for clusters: whoever installs one wants its archive.
//!
//! In: what a sequence states of charts. Out: their archives, by the digest that it states, from the target. What must hold: no
//! name of a file is made of anything but letters, digits and `._+-`; an archive is never taken by another digest.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use format_spec::{Digest, Repository, Tag};
use serde::Deserialize;
use tokio::runtime::Handle;

use crate::error::some;
use crate::limits::CHART_MAX;
use crate::paths::Destination;

/// The directory of the archives, below that of the other files.
const DIRECTORY: &str = "charts";

/// A chart that stands.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Chart {
    name: String,
    version: String,
    /// Below the target's namespace.
    pub(crate) repository: Repository,
    pub(crate) tag: Tag,
    archive: Archive,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Archive {
    digest: Digest,
    size: u64,
}

impl Chart {
    /// What is wrong with it, under the name of its resource.
    pub(super) fn check(&self, named: &str) -> Result<(), String> {
        let plain = |text: &str| {
            let good = |byte: u8| byte.is_ascii_alphanumeric() || b"._+-".contains(&byte);
            (1..=200).contains(&text.len())
                && text.bytes().all(good)
                && !text.starts_with(['.', '-'])
        };
        if !plain(&self.name) || !plain(&self.version) {
            return Err("its name or version is none that a chart can have".to_owned());
        }
        if named != format!("{}/{}", self.name, self.version) {
            return Err("it is of another chart".to_owned());
        }
        match self.archive.size {
            0..=CHART_MAX => Ok(()),
            size => Err(format!("its archive has {size} bytes, at most {CHART_MAX}")),
        }
    }

    fn file(&self) -> PathBuf {
        Path::new(DIRECTORY).join(format!("{}-{}.tgz", self.name, self.version))
    }
}

/// The archives of the charts that stand, and where they are.
pub(super) struct Charts {
    by_file: BTreeMap<PathBuf, Chart>,
    /// The target; without one, those stay that are there.
    from: Option<(Destination, Handle)>,
    missing: Vec<String>,
}

impl Charts {
    pub(super) fn new<'a>(
        charts: impl Iterator<Item = &'a Chart>,
        from: Option<&Destination>,
    ) -> Self {
        let by_file = charts.map(|chart| (chart.file(), chart.clone())).collect();
        let from = from.map(|at| (at.clone(), Handle::current()));
        Self { by_file, from, missing: Vec::new() }
    }

    /// Names of files, and the digests of what stands there.
    pub(super) fn files(&self) -> impl Iterator<Item = (PathBuf, Digest)> {
        self.by_file.iter().map(|(file, chart)| (file.clone(), chart.archive.digest))
    }

    /// Fetches an archive. On a thread that may wait.
    pub(super) fn fetch(&mut self, file: &Path) -> Option<Vec<u8>> {
        let chart = self.by_file.get(file)?;
        let Some((at, handle)) = &self.from else {
            self.missing.push(format!("`{} {}`", chart.name, chart.version));
            return None;
        };
        let Archive { digest, size } = &chart.archive;
        let fetching = async {
            let place = at.place(&chart.repository).map_err(|error| error.to_string())?;
            let got = at.client.get_blob_bytes(at.host(), &place, digest, *size, CHART_MAX).await;
            got.map_err(|error| error.to_string())
        };
        match handle.block_on(fetching) {
            Ok(bytes) => Some(bytes.into()),
            Err(error) => {
                self.missing.push(format!("`{} {}` ({error})", chart.name, chart.version));
                None
            }
        }
    }

    /// Says which archives are not there.
    pub(super) fn tell(self, warnings: &mut Vec<String>) {
        if !self.missing.is_empty() {
            let why = match self.from {
                Some(_) => "could not be had from the target",
                None => "come from the target, which `--from` does not ask",
            };
            warnings.push(format!("archives of Helm charts {why}: {}", some(self.missing)));
        }
    }
}
