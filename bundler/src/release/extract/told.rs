//! What people are told beside programs: a text in each archive, and what `release.txt` says of the release.

use std::fmt::Write as _;

use super::tools::Tool;
use crate::release::named::Release;
use crate::release::references::References;

/// The text in the archive of a program.
pub(super) fn readme(tool: &Tool, release: &Release) -> String {
    let (title, what) = match tool.command.split('.').next() {
        Some("oc") => (
            "OpenShift client",
            "`oc` works with OpenShift and Kubernetes clusters: `oc login URL` begins, `oc help` says more. Under the name \
             `kubectl` it is that program.",
        ),
        Some("ccoctl") => (
            "Cloud credential utility",
            "`ccoctl` makes the credentials of a cluster outside of it, for clusters whose credentials are managed by hand.",
        ),
        _ => (
            "OpenShift installer",
            "`openshift-install` installs clusters of the release below: `openshift-install help` says more.",
        ),
    };
    let Release { version, image, .. } = release;
    let image = image.as_ref().map(|image| format!(", `{image}`")).unwrap_or_default();
    let file = tool.file();
    format!(
        "# {title}\n\n{what}\n\nPut `{file}` into a directory of your `PATH`.\n\nIt was taken out of release {version}{image}.\n"
    )
}

/// `release.txt`, in which scripts look for `Pull From:`.
pub(super) fn release(release: &Release, created: Option<&str>, references: &References) -> String {
    let mut text = "Client tools for OpenShift\n--------------------------\n\n\
         `sha256sum -c sha256sum.txt` proves the files beside this one. An `openshift-install` among them installs\n\
         this release:\n\n---\n\n"
        .to_owned();
    let Release { version, architecture, digest, image, .. } = release;
    // Writing to a String cannot fail.
    let _ = writeln!(text, "Name:           {version}\nDigest:         {digest}");
    if let Some(created) = created {
        let _ = writeln!(text, "Created:        {}", created.escape_debug());
    }
    let _ = writeln!(text, "OS/Arch:        linux/{architecture}");
    if let Some(image) = image {
        let _ = writeln!(text, "\nPull From: {image}");
    }
    let _ = writeln!(text, "\nRelease Metadata:\n  Version:  {version}\n\nImages:");
    let width = references.components.iter().map(|one| one.name.len()).max().unwrap_or(4);
    let _ = writeln!(text, "  {:width$} DIGEST", "NAME");
    for component in &references.components {
        if let Some(digest) = component.image.digest {
            let _ = writeln!(text, "  {:width$} {digest}", component.name);
        }
    }
    text
}
