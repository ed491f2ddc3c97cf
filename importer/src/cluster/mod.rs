//! What a cluster has to be told about a mirror: files for `oc apply`.
//!
//! 1. [`records`] reads from the target which sequences it took; [`replay`] makes of them which images stand;
//!    [`stated`] what they say of releases, signatures and the graph image.
//! 2. [`mirrors`] finds for every image the source and the mirror by which a cluster gets to it.
//! 3. [`objects`] and [`mod@catalogs`] are the API's, [`document`] spells them; [`files`] says which file holds what.
//! 4. [`nodes`] makes of the same pairs the files of single nodes, for their container engines.
//! 5. [`mod@charts`] fetches the archives of Helm charts; [`directory`] writes the files, and takes away those of an earlier writing that are no more.
//!
//! The same state of a target gives the same bytes, whenever and wherever they are written.

mod catalogs;
mod charts;
mod directory;
mod document;
mod files;
mod mirrors;
mod nodes;
mod objects;
pub(crate) mod records;
mod replay;
mod stated;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use format_spec::keys::PublicKey;
use registry::client::Client;
use registry::reference::{RegistryHost, Target};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::error::ImportError;
use crate::intake::Media;
use crate::ledger::{self, Remote};
use crate::paths::Destination;
use crate::verify;
use charts::Charts;
use replay::Standing;
pub(crate) use stated::Stated;
pub use stated::{OfferedCatalog, catalogs};

/// The directory of the files in a workspace.
pub const DIRECTORY: &str = "cluster-resources";

/// For whom files are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Clusters of OpenShift: objects for `oc apply`.
    Openshift,
    /// Nodes of MicroShift.
    Microshift,
    /// Nodes with CRI-O.
    Crio,
    /// Machines with podman, Buildah or skopeo.
    Podman,
    /// Nodes with containerd.
    Containerd,
    /// Nodes of k3s and RKE2.
    K3s,
}

impl Kind {
    /// Its name, which its directory has too.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Openshift => "openshift",
            Self::Microshift => "microshift",
            Self::Crio => "cri-o",
            Self::Podman => "podman",
            Self::Containerd => "containerd",
            Self::K3s => "k3s",
        }
    }
}

/// In which form the files are wanted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Form {
    /// `ImageContentSourcePolicy` instead of `ImageDigestMirrorSet` and `ImageTagMirrorSet`.
    pub policy: bool,
    /// A ConfigMap of its own for the signatures of each release.
    pub by_release: bool,
    /// The files and names of oc-mirror v1.
    pub results: bool,
}

/// What to write, and from where.
pub struct ResourceOptions {
    /// Directories with heads and indexes; with none the target's own records say what stands.
    pub from: Vec<PathBuf>,
    /// The target.
    pub target: Target,
    /// What clusters call it; `None` is the target itself.
    pub told_as: Option<Target>,
    /// The workspace, whose record of the target is held against the target's.
    pub workspace: PathBuf,
    /// Where to; `None` is the workspace's own directory.
    pub to: Option<PathBuf>,
    /// Keys that a person trusts, for media.
    pub trusted: Vec<PublicKey>,
    /// Path components that the target allows; 0 for any number.
    pub max_nested_paths: usize,
    /// For whom the files are.
    pub kinds: BTreeSet<Kind>,
    /// The form of those for clusters.
    pub form: Form,
    /// Files with authorities of the target's certificate, for nodes.
    pub authorities: Vec<PathBuf>,
    /// Registries that speak plain HTTP, for nodes.
    pub plain_http: Vec<RegistryHost>,
    /// The client.
    pub client: Client,
    /// Stops it.
    pub cancel: CancellationToken,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterResources {
    /// The directory.
    pub directory: PathBuf,
    /// The files in it, ascending; without any, nothing is to be told to a cluster.
    pub files: Vec<PathBuf>,
    /// Files of an earlier writing that are no more, and were removed.
    pub removed: Vec<PathBuf>,
    /// What a person should know.
    #[serde(skip)]
    pub warnings: Vec<String>,
}

impl ClusterResources {
    fn nothing(directory: &Path, warnings: Vec<String>) -> Self {
        Self { directory: directory.to_owned(), files: Vec::new(), removed: Vec::new(), warnings }
    }

    /// Writes the files of one kind of nodes into a directory of their own, with a list of their own: what is written for
    /// others stays as it is.
    fn add_nodes(
        &mut self,
        kind: Kind,
        standing: &Standing,
        site: &files::Site,
        access: &nodes::Access,
    ) -> Result<(), ImportError> {
        let mut warnings = Vec::new();
        let made = nodes::make(kind, standing, site, access, &mut warnings)?;
        let below = Path::new(nodes::DIRECTORY).join(kind.as_str());
        let (to, mut none) = (self.directory.join(&below), Charts::new([].iter(), None));
        let (files, removed) = directory::write(&to, &made, &mut none, &mut warnings)?;
        self.files.extend(files.into_iter().map(|name| below.join(name)));
        self.removed.extend(removed.into_iter().map(|name| below.join(name)));
        for warning in warnings {
            // Much is the same for every kind.
            if !self.warnings.contains(&warning) {
                self.warnings.push(warning);
            }
        }
        Ok(())
    }
}

/// Writes the files for what stands at a target, or for what media hold.
pub async fn resources(options: ResourceOptions) -> Result<ClusterResources, ImportError> {
    let cancel = options.cancel.clone();
    tokio::select! {
        () = cancel.cancelled() => Err(ImportError::Cancelled),
        written = from_target_or_media(options) => written,
    }
}

async fn from_target_or_media(options: ResourceOptions) -> Result<ClusterResources, ImportError> {
    let nested = options.max_nested_paths;
    let at = Destination::new(options.client.clone(), options.target.clone(), nested)?;
    let mut warnings = Vec::new();
    let standing = if options.from.is_empty() {
        let remote = ledger::read_remote(&at).await?;
        if remote.records.is_empty() {
            return Err(ImportError::NoRecords(options.target.to_string()));
        }
        let streams = remote.records.iter().map(|record| record.stream);
        ledger::same_names(&remote.records, streams, nested)?;
        ledger::finished(&at, &remote.records)?;
        // Two records of one position that differ are a fork, and a target that was set back is told.
        let local = options.workspace.join("import").join(at.directory_name(None));
        let local = ledger::read_local(&local)?;
        warnings.extend(ledger::merge(&local, &remote.records)?.1);
        records::standing(&at, &remote, &mut warnings).await?
    } else {
        from_media(&options, &mut warnings).await?
    };
    let told = options.told_as.unwrap_or(options.target);
    let to = options.to.unwrap_or_else(|| match options.form.results {
        true => options.workspace.join(files::results_name(&standing)),
        false => options.workspace.join(DIRECTORY),
    });
    let site = files::Site { target: told, nested };
    let mut written = match options.kinds.contains(&Kind::Openshift) {
        true => {
            let from = options.from.is_empty().then_some(at);
            write(&standing, &site, &to, options.form, warnings, from).await?
        }
        false => ClusterResources::nothing(&to, warnings),
    };
    let nodes: Vec<Kind> =
        options.kinds.into_iter().filter(|kind| *kind != Kind::Openshift).collect();
    if !nodes.is_empty() {
        let (files, plain) = (&options.authorities, &options.plain_http);
        let access =
            nodes::Access::new(&site.target.registry, files, plain, &mut written.warnings)?;
        for kind in nodes {
            written.add_nodes(kind, &standing, &site, &access)?;
        }
    }
    Ok(written)
}

async fn from_media(
    options: &ResourceOptions,
    warnings: &mut Vec<String>,
) -> Result<Standing, ImportError> {
    let (from, trusted) = (options.from.clone(), options.trusted.clone());
    let read = move || {
        let media = Media::open(&from)?;
        let mut opened = Vec::new();
        for received in verify::receive(&media)? {
            let (head, _, index, _) = received.describe(&media, Some(&trusted))?;
            opened.push((head, index));
        }
        opened.sort_by_key(|(head, _)| (head.stream, head.sequence));
        let mut warnings = media.warnings;
        let standing = records::of_media(opened.iter().map(|(h, i)| (h, i)), &mut warnings);
        Ok::<_, ImportError>((standing, warnings))
    };
    let (standing, more) = tokio::task::spawn_blocking(read).await??;
    warnings.extend(more);
    Ok(standing)
}

/// Writes the files after an import, from what the target says then.
pub(crate) async fn after_import(
    at: &Destination,
    to: &Path,
) -> Result<ClusterResources, ImportError> {
    let remote: Remote = ledger::read_remote(at).await?;
    let mut warnings = Vec::new();
    let standing = records::standing(at, &remote, &mut warnings).await?;
    let site = files::Site { target: at.target.clone(), nested: at.nested };
    write(&standing, &site, to, Form::default(), warnings, Some(at.clone())).await
}

async fn write(
    standing: &Standing,
    site: &files::Site,
    to: &Path,
    form: Form,
    mut warnings: Vec<String>,
    from: Option<Destination>,
) -> Result<ClusterResources, ImportError> {
    let made = files::make(standing, site, form, &mut warnings)?;
    // What is wrong there was told when the files were made.
    let stated = Stated::standing(standing, &mut Vec::new());
    let mut charts = Charts::new(stated.charts.values(), from.as_ref());
    let directory = to.to_owned();
    let writing = move || {
        let (files, removed) = directory::write(&directory, &made, &mut charts, &mut warnings)?;
        charts.tell(&mut warnings);
        Ok(ClusterResources { directory, files, removed, warnings })
    };
    tokio::task::spawn_blocking(writing).await?
}
