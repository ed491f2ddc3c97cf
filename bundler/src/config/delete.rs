//! DeleteImageSetConfiguration: what a person wants taken away from a target.
//!
//! In: a file of oc-mirror v2, YAML or JSON. Out: the stanzas under `delete`, which have the shapes of those under `mirror`;
//! or every fault of the file. What must hold: a file of the other kind is never taken for one of this kind.

use std::path::Path;

use super::fields::{Fields, Item};
use super::finding::{ConfigErrors, Finding, Report, quote};
use super::images::{self, AdditionalImage};
use super::operators::{self, OperatorCatalog};
use super::{ApiVersion, HelmStanza, ReleaseStanza, helm, parsed, read, release, samples, version};

const KIND: &str = "DeleteImageSetConfiguration";

/// What is to be deleted, every field checked.
#[derive(Debug, Clone)]
pub struct DeleteImageSetConfig {
    /// The file as it was named.
    pub file: String,
    /// `delete.platform`; `None` when it is missing or an empty mapping.
    pub platform: Option<ReleaseStanza>,
    /// `delete.operators`.
    pub operators: Vec<OperatorCatalog>,
    /// `delete.additionalImages`.
    pub additional_images: Vec<AdditionalImage>,
    /// `delete.helm`.
    pub helm: Option<HelmStanza>,
}

/// What is to be deleted, and what a person should know about the file.
#[derive(Debug, Clone)]
pub struct LoadedDelete {
    /// What is to be deleted.
    pub config: DeleteImageSetConfig,
    /// What oc-mirror accepts in silence and a person may not have meant.
    pub warnings: Vec<Finding>,
}

impl DeleteImageSetConfig {
    /// Reads and checks a file. Errors: unreadable, larger than 8 MiB, or refused content.
    pub fn load(path: &Path) -> Result<LoadedDelete, ConfigErrors> {
        let (bytes, name) = read(path)?;
        Self::parse_bytes(&bytes, &name)
    }

    /// Checks the bytes of a file; `file` is only its name in messages. Errors: as `load`.
    pub fn parse_bytes(bytes: &[u8], file: &str) -> Result<LoadedDelete, ConfigErrors> {
        let (config, warnings) = parsed(bytes, file, |root, report| document(root, report, file))?;
        Ok(LoadedDelete { config, warnings })
    }
}

fn document(root: &Item<'_>, report: &mut Report, file: &str) -> Option<DeleteImageSetConfig> {
    let mut fields = root.fields(report, "kind: DeleteImageSetConfiguration")?;
    let version = header(&mut fields, report)?;
    const MIRROR: &str = "put it into a file of kind ImageSetConfiguration";
    fields.refuse(report, "mirror", "is not allowed in DeleteImageSetConfiguration", MIRROR);
    let Some(delete) = fields.take(report, "delete") else {
        let spot = fields.key_spot("delete").unwrap_or_else(|| fields.below("delete"));
        const HINT: &str = "add `delete:` with what to take away";
        report.error(&spot, "the configuration has no `delete` stanza", HINT);
        fields.done(report);
        return None;
    };
    fields.done(report);
    let mut delete =
        delete.fields(report, "additionalImages: [{name: quay.io/namespace/image:tag}]")?;
    if delete.is_empty() {
        report.warn(&delete.spot, "asks for nothing", "add `additionalImages`");
    }
    let platform = release::stanza(&mut delete, report, version);
    let operators = operators::stanza(&mut delete, report, version);
    let additional_images = images::additional(&mut delete, report, version);
    let helm = helm::stanza(&mut delete, report, version);
    const BLOCKED: &str = "name what is to go; all else stays";
    delete.refuse(report, "blockedImages", "is not allowed under `delete`", BLOCKED);
    samples(&mut delete, report);
    delete.done(report);
    let file = file.to_owned();
    (!report.has_errors()).then_some(DeleteImageSetConfig {
        file,
        platform,
        operators,
        additional_images,
        helm,
    })
}

/// `kind` and `apiVersion`. Without the kind nothing says that the file means to delete.
fn header(fields: &mut Fields<'_>, report: &mut Report) -> Option<ApiVersion> {
    let kind = fields.required(report, "kind")?;
    if kind.value != KIND {
        let problem = format!("the kind {} names nothing to delete", quote(&kind.value));
        report.error(&kind.spot, problem, "write `kind: DeleteImageSetConfiguration`");
        return None;
    }
    let spot = fields.key_spot("apiVersion");
    let version = version(fields, report)?;
    if version == ApiVersion::V1Alpha2 {
        let spot = spot.unwrap_or_else(|| fields.below("apiVersion"));
        const HINT: &str = "write `apiVersion: mirror.openshift.io/v2alpha1`";
        report.error(&spot, "v1alpha2 has no DeleteImageSetConfiguration", HINT);
        return None;
    }
    Some(version)
}
