//! `storageConfig` of v1alpha2: where the history of the stream is kept.

use std::path::PathBuf;

use registry::reference::Reference;

use super::ApiVersion;
use super::fields::Fields;
use super::finding::Report;
use super::source::reference;

/// Where the history of the stream is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Storage {
    /// `storageConfig.local.path`: a directory, relative to the current one.
    pub local: Option<PathBuf>,
    /// `storageConfig.registry`: an image.
    pub registry: Option<RegistryStorage>,
}

/// `storageConfig.registry`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryStorage {
    /// The image that holds the history; `latest` when no tag was written.
    pub image: Reference,
    /// Neither check the registry's certificate nor insist on TLS.
    pub skip_tls: bool,
}

pub(super) fn storage(root: &mut Fields<'_>, report: &mut Report, version: ApiVersion) -> Storage {
    const HINT: &str = "remove it and name the directory with --workspace";
    let mut out = Storage::default();
    if !root.went_with_v1(report, version, "storageConfig", HINT) {
        return out;
    }
    let Some(mut fields) = root.map(report, "storageConfig", "local: {path: ./history}") else {
        return out;
    };
    if let Some(mut local) = fields.map(report, "local", "path: ./history") {
        out.local = local.required(report, "path").map(|text| PathBuf::from(text.value));
        local.done(report);
    }
    if let Some(mut stanza) = fields.map(report, "registry", "imageURL: host/namespace/history:tag")
    {
        let url = stanza.required(report, "imageURL");
        // Both versions of oc-mirror's storage write the tag `latest` when none is given.
        let image = url.as_ref().and_then(|text| reference(text, ApiVersion::V1Alpha2, report));
        if let (Some(text), Some(reference)) = (&url, &image)
            && reference.digest.is_some()
        {
            const HINT: &str = "write a tag: the history is written again with every sequence";
            report.error(&text.spot, "names a digest", HINT);
        }
        let skip_tls = stanza.flag(report, "skipTLS");
        stanza.done(report);
        out.registry = image.map(|image| RegistryStorage { image, skip_tls });
    }
    if out.local.is_some()
        && out.registry.is_some()
        && let Some(spot) = fields.key_spot("registry")
    {
        report.error(&spot, "cannot be used together with `local`", "keep one of them");
    }
    fields.done(report);
    out
}
