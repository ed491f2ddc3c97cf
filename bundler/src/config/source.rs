//! Where an image or catalog comes from, and where it goes: references, OCI directories, target paths
//! and tags, platforms. The value checks that several stanzas share.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use format_spec::{Digest, Repository, Tag};
use registry::reference::{Reference, ReferenceError};

use super::ApiVersion;
use super::fields::{Fields, Text};
use super::finding::{Report, quote};
use crate::layout::LayoutImage;

/// Where an image or a catalog comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageSource {
    /// A registry.
    Registry(Reference),
    /// A directory with an OCI image layout, as it was written (relative to the current directory). Which
    /// image of it may stand behind it; only the disk tells whether that belongs to the directory's name.
    OciLayout(PathBuf),
}

impl fmt::Display for ImageSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registry(reference) => reference.fmt(f),
            Self::OciLayout(path) => write!(f, "oci://{}", path.display()),
        }
    }
}

/// One platform to keep of a multi-platform image.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PlatformFilter {
    /// Operating system, e.g. `linux`.
    pub os: String,
    /// Architecture, e.g. `arm64`.
    pub architecture: String,
}

/// Parses a reference or `oci:` directory; a missing tag is `latest` in v1alpha2 and an error in
/// v2alpha1.
pub(super) fn source(text: &Text, version: ApiVersion, report: &mut Report) -> Option<ImageSource> {
    if let Some(rest) = text.value.strip_prefix("oci:") {
        let path = rest.strip_prefix("//").unwrap_or(rest);
        if path.is_empty() || path.contains('\0') {
            let problem = format!("names no directory: {}", quote(&text.value));
            report.error(&text.spot, problem, "write `oci://` and the path of an OCI image layout");
            return None;
        }
        if let Some(digits) = broken_digest(path) {
            let problem = format!("is no digest: {}", quote(&format!("@sha256:{digits}")));
            const HINT: &str = "write `@sha256:` and the 64 digits 0-9 and a-f of a digest in the \
                                layout's `index.json`, or a name of it: `oci:PATH:NAME`";
            report.error(&text.spot, problem, HINT);
            return None;
        }
        return Some(ImageSource::OciLayout(PathBuf::from(path)));
    }
    reference(text, version, report).map(ImageSource::Registry)
}

/// What stands behind `@sha256:` when it is no digest. A directory may have such a name, if it is there.
fn broken_digest(path: &str) -> Option<&str> {
    let (_, digits) = path.rsplit_once("@sha256:")?;
    let broken = format!("sha256:{digits}").parse::<Digest>().is_err();
    (broken && !LayoutImage::of(Path::new(path)).path.exists()).then_some(digits)
}

/// Parses a reference to a registry.
pub(super) fn reference(
    text: &Text,
    version: ApiVersion,
    report: &mut Report,
) -> Option<Reference> {
    if let Some((scheme, _)) = text.value.split_once("://")
        && scheme != "docker"
    {
        let problem = format!("the transport {} is not supported here", quote(scheme));
        report.error(
            &text.spot,
            problem,
            "write `host/path:tag`, with or without `docker://` before it",
        );
        return None;
    }
    let mut reference: Reference = match text.value.parse() {
        Ok(reference) => reference,
        Err(error) => {
            let hint = match &error {
                ReferenceError::NoHost { suggestion, .. } => format!("write `{suggestion}`"),
                _ => "write `host/path:tag` or `host/path@sha256:…`".to_owned(),
            };
            report.error(&text.spot, error.to_string(), &hint);
            return None;
        }
    };
    let host = reference.registry.as_str();
    if !host.contains(['.', ':']) && host != "localhost" {
        // `ubi8/ubi:latest` is read the same way by oc-mirror, and fails there at the first request.
        let problem = format!("`{host}` is taken for the registry's host");
        report.warn(
            &text.spot,
            problem,
            &format!("write `docker.io/{reference}` if that is meant"),
        );
    }
    if reference.tag.is_none() && reference.digest.is_none() {
        if version == ApiVersion::V2Alpha1 {
            let problem = format!("has neither a tag nor a digest: {}", quote(&text.value));
            report.error(
                &text.spot,
                problem,
                &format!("write `{reference}:latest` if that is meant"),
            );
            return None;
        }
        reference.tag = "latest".parse().ok();
    }
    Some(reference)
}

/// Takes a field that replaces the repository path at the destination.
pub(super) fn target_path(
    fields: &mut Fields<'_>,
    report: &mut Report,
    name: &'static str,
) -> Option<Repository> {
    let text = fields.text(report, name)?;
    match text.value.parse() {
        Ok(path) => Some(path),
        Err(error) => {
            let hint = if text.value.contains([':', '@']) {
                "write a path only: without host, tag and digest; the tag goes into `targetTag`"
            } else {
                "write a path like `namespace/name`"
            };
            report.error(&text.spot, format!("{error}"), hint);
            None
        }
    }
}

/// Takes `targetTag`.
pub(super) fn target_tag(fields: &mut Fields<'_>, report: &mut Report) -> Option<Tag> {
    let text = fields.text(report, "targetTag")?;
    match text.value.parse() {
        Ok(tag) => Some(tag),
        Err(error) => {
            report.error(&text.spot, format!("{error}"), "write the tag alone, for example `v1.2`");
            None
        }
    }
}

/// Takes `platforms`.
pub(super) fn platforms(
    fields: &mut Fields<'_>,
    report: &mut Report,
    version: ApiVersion,
) -> Vec<PlatformFilter> {
    fields.came_with_v2(report, version, "platforms");
    let mut out: Vec<PlatformFilter> = Vec::new();
    let mut seen = BTreeSet::new();
    for item in fields.list(report, "platforms") {
        let Some(mut entry) = item.fields(report, "{os: linux, architecture: amd64}") else {
            continue;
        };
        let os = entry.required(report, "os").and_then(|text| word(&text, report));
        let architecture =
            entry.required(report, "architecture").and_then(|text| word(&text, report));
        entry.done(report);
        let (Some(os), Some(architecture)) = (os, architecture) else { continue };
        let filter = PlatformFilter { os, architecture };
        if seen.insert(filter.clone()) {
            out.push(filter);
        } else {
            let problem = format!("`{}/{}` is listed twice", filter.os, filter.architecture);
            report.warn(&item.spot, problem, "remove one of them");
        }
    }
    out
}

/// A word of the OCI image index: lower case, digits, `_`, `.` and `-`.
fn word(text: &Text, report: &mut Report) -> Option<String> {
    let value = &text.value;
    let fine = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || b"_.-".contains(&c);
    if value.len() > 64 || !value.bytes().all(fine) {
        const HINT: &str = "write `os: linux` and `architecture: amd64` as separate fields";
        report.error(&text.spot, format!("not a platform name: {}", quote(value)), HINT);
        return None;
    }
    if let Some(right) = go_name(value) {
        let problem = format!("image indexes never say `{value}`, so nothing would match");
        report.warn(&text.spot, problem, &format!("write `{right}`"));
    }
    Some(value.clone())
}

/// The name that image indexes use for a machine that has another name elsewhere.
pub(super) fn go_name(name: &str) -> Option<&'static str> {
    match name {
        "x86_64" | "x64" => Some("amd64"),
        "aarch64" => Some("arm64"),
        "i386" | "i686" | "x86" => Some("386"),
        "ppc64el" => Some("ppc64le"),
        _ => None,
    }
}
