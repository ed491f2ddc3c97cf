//! `bundle resources`: the files that clusters and nodes are given about a mirror, again at any time.
//!
//! 1. what stands at the target: from the records that imports left there, or from media; 2. `importer` makes the files;
//!    3. which there are, and what to do with them.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use ::registry::reference::Target;
use clap::ValueEnum;
use importer::{ClusterResources, Form, Kind, ResourceOptions};

use super::Context;
use crate::cli;
use crate::failure::{Exit, Failure};
use crate::output::plain;
use crate::typed::quoted;
use crate::wire::{self, Side};

/// Write the files that clusters and nodes are given about a mirror: mirror configuration, update service, release signatures
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The registry and the namespace of the import, as `docker://HOST[:PORT][/NAMESPACE]`
    #[arg(value_name = "TARGET")]
    target: Target,
    /// Do not ask the target; take what the sequences in this directory say, from their heads and indexes; repeatable
    #[arg(long, value_name = "DIR", value_parser = cli::directory)]
    from: Vec<PathBuf>,
    /// Trust this public key, or the keys in this directory, besides those of the workspace; repeatable
    #[arg(long, value_name = "FILE|DIR", requires = "from")]
    trust: Vec<PathBuf>,
    /// What clusters call the target, when they know it under another name
    #[arg(long = "as", value_name = "TARGET")]
    told_as: Option<Target>,
    /// Write into this directory [default: `cluster-resources` in the workspace]
    #[arg(long, value_name = "DIR", value_parser = cli::directory)]
    to: Option<PathBuf>,
    /// For whom: objects for clusters, or configuration of nodes by their container engine; several with commas, or repeatable
    #[arg(
        long = "for",
        value_name = "KIND",
        value_enum,
        value_delimiter = ',',
        default_value = "openshift"
    )]
    kinds: Vec<Whom>,
    /// `ImageContentSourcePolicy` instead of `ImageDigestMirrorSet` and `ImageTagMirrorSet`, for OpenShift before 4.13
    #[arg(long)]
    icsp: bool,
    /// A ConfigMap of its own for the signatures of each release, as `oc adm release mirror` makes them
    #[arg(long)]
    signatures_by_release: bool,
    /// The files that oc-mirror v1 wrote, into `results-N` in the workspace, with N the last sequence
    #[arg(long, conflicts_with = "signatures_by_release")]
    results: bool,
    /// What the import was given: the most components of a repository's path at the target; 0 is no limit
    #[arg(long, value_name = "N", default_value = "0")]
    max_nested_paths: usize,
}

/// For whom the files are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Whom {
    /// Objects for `oc apply`
    Openshift,
    /// `registries.conf.d` for MicroShift, trust anchors
    Microshift,
    /// `registries.conf.d` for CRI-O, trust anchors
    #[value(name = "cri-o", alias = "crio")]
    Crio,
    /// `registries.conf.d` and `certs.d` for podman, Buildah and skopeo
    Podman,
    /// `certs.d` with a `hosts.toml` for each registry
    Containerd,
    /// `registries.yaml` for k3s and RKE2
    #[value(alias = "rke2")]
    K3s,
}

impl From<Whom> for Kind {
    fn from(whom: Whom) -> Self {
        match whom {
            Whom::Openshift => Self::Openshift,
            Whom::Microshift => Self::Microshift,
            Whom::Crio => Self::Crio,
            Whom::Podman => Self::Podman,
            Whom::Containerd => Self::Containerd,
            Whom::K3s => Self::K3s,
        }
    }
}

/// An option that none of the kinds has a use for is refused.
fn kinds(args: &Args) -> Result<BTreeSet<Kind>, Failure> {
    let kinds: BTreeSet<Kind> = args.kinds.iter().map(|whom| Kind::from(*whom)).collect();
    let forms = [
        ("--icsp", args.icsp),
        ("--signatures-by-release", args.signatures_by_release),
        ("--results", args.results),
    ];
    match forms.into_iter().find(|(_, given)| *given) {
        Some((form, _)) if !kinds.contains(&Kind::Openshift) => Err(Failure::usage(format!(
            "`{form}` is about the files for clusters, which `--for` leaves out"
        ))
        .or_hint(&format!("without `{form}`, or with `openshift` in `--for`"))),
        _ => Ok(kinds),
    }
}

pub async fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    let workspace = context.common.workspace.clone();
    super::refuse_other_than_directory("--workspace", &workspace)?;
    if let Some(to) = &args.to {
        super::refuse_other_than_directory("--to", to)?;
    }
    let kinds = kinds(&args)?;
    let trusted = match args.from.is_empty() {
        true => Vec::new(),
        false => super::trusted(context, &args.from, &args.trust).await?,
    };
    let written = importer::resources(ResourceOptions {
        from: args.from,
        target: args.target,
        told_as: args.told_as,
        workspace,
        to: args.to,
        trusted,
        max_nested_paths: args.max_nested_paths,
        form: Form {
            policy: args.icsp,
            by_release: args.signatures_by_release,
            results: args.results,
        },
        kinds,
        authorities: context.common.ca_file.clone(),
        plain_http: context.common.plain_http.clone(),
        client: wire::client(&context.common, Side::Target)?,
        cancel: context.cancel.clone(),
    })
    .await?;
    for warning in &written.warnings {
        tracing::warn!("{}", plain(warning));
    }
    context.output.print(&written, &text(&written))?;
    Ok(Exit::DONE)
}

fn text(written: &ClusterResources) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    for name in &written.files {
        let _ = writeln!(text, "{}", written.directory.join(name).display());
    }
    for name in &written.removed {
        let _ = writeln!(text, "removed {}", written.directory.join(name).display());
    }
    text.push_str(&next(written));
    text
}

/// What to do with the files.
pub fn next(written: &ClusterResources) -> String {
    let directory = &written.directory;
    // What lies deeper is for the installer, or of the form of oc-mirror v1.
    let applied = |name: &&PathBuf| {
        let kinds = ["yaml", "json"].map(std::ffi::OsStr::new);
        name.extension().is_some_and(|kind| kinds.contains(&kind)) && is_on_top(name)
    };
    if written.files.is_empty() {
        return "nothing of what stands there is for a cluster or a node to know: no file is needed\n"
            .to_owned();
    }
    let mut text = String::new();
    if written.files.iter().any(|name| applied(&name)) {
        let _ = writeln!(
            text,
            "files for clusters are in {}: look at them, then `oc apply -f {}`",
            directory.display(),
            quoted(&directory.display().to_string())
        );
    }
    // `oc apply` does not look into directories below.
    if written.files.iter().any(|name| name.starts_with("release-signatures")) {
        let below = directory.join("release-signatures").display().to_string();
        let _ =
            writeln!(text, "signatures of releases are below it: `oc apply -f {}`", quoted(&below));
    }
    if let Some(name) = written.files.iter().find(|name| name.starts_with("install-config")) {
        let _ = writeln!(
            text,
            "for a cluster that is yet to be installed: {} belongs into its `install-config.yaml`",
            directory.join(name).display()
        );
    }
    if written.files.iter().any(|name| name.starts_with("charts")) {
        let below = directory.join("charts");
        let _ = writeln!(
            text,
            "archives of Helm charts are in {}: `helm install NAME FILE`; at the target they are for `helm pull oci://…`",
            below.display()
        );
    }
    let readme = |name: &&PathBuf| name.starts_with("nodes") && name.ends_with("README.txt");
    for name in written.files.iter().filter(readme) {
        let directory = directory.join(name);
        let directory = directory.parent().unwrap_or(&directory).display();
        let _ = writeln!(
            text,
            "configuration of nodes is in {directory}: its README.txt says what to do with it"
        );
    }
    text
}

fn is_on_top(name: &Path) -> bool {
    name.components().count() == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_below_are_applied_by_themselves() {
        let files = ["imageContentSourcePolicy.yaml", "release-signatures/signature-sha256-0.json"];
        let written = ClusterResources {
            directory: "ws/results-1".into(),
            files: files.map(PathBuf::from).to_vec(),
            removed: Vec::new(),
            warnings: Vec::new(),
        };
        let text = next(&written);
        assert!(text.contains("`oc apply -f ws/results-1`\n"), "{text}");
        assert!(text.contains("`oc apply -f ws/results-1/release-signatures`\n"), "{text}");
    }
}
