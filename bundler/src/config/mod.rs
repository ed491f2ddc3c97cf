//! The configuration: what a person wants carried.
//!
//! In: an ImageSetConfiguration file of oc-mirror, `mirror.openshift.io/v1alpha2` or `v2alpha1`, YAML or
//! JSON. Out: one `ImageSetConfig` for both versions, with warnings; or every fault of the file with its
//! line, column and field. What must hold: nothing here touches a network, nothing is skipped in silence,
//! and no text of the file is used before it has its type.
//!
//! 1. `load` reads the file, bounded; 2. `tree` makes a tree with positions of it; 3. `fields` asks the
//!    tree for the known fields; 4. the stanzas (`images`, `release`, `operators`, `helm`, `storage`)
//!    check their values.

mod delete;
mod delete_list;
pub(crate) mod document;
mod fields;
mod finding;
mod helm;
mod images;
mod limits;
mod operators;
mod release;
mod scalar;
mod source;
mod storage;
mod tree;
mod versions;

#[cfg(test)]
mod schema;
#[cfg(test)]
mod tests;

use std::io::Read as _;
use std::path::Path;

use format_spec::Digest;

pub use delete::{DeleteImageSetConfig, LoadedDelete};
pub use delete_list::{DeleteImageList, DeleteItem};
use fields::{Fields, Item};
pub use finding::{ConfigErrors, Finding};
use finding::{Report, Spot, quote};
pub use helm::{HelmChart, HelmRepository, HelmStanza, LocalChart};
pub use images::{AdditionalImage, Blocked};
use limits::FILE_MAX;
pub use operators::{OperatorCatalog, OperatorChannel, OperatorPackage, SelectedBundle};
pub(crate) use release::ARCHITECTURES;
pub use release::{ReleaseChannel, ReleaseStanza};
pub use source::{ImageSource, PlatformFilter};
pub use storage::{RegistryStorage, Storage};
pub use tree::Position;
pub use versions::VersionRange;

/// The version a file declares. It decides what a missing tag means and which older fields exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApiVersion {
    /// `mirror.openshift.io/v1alpha2`, of oc-mirror v1.
    V1Alpha2,
    /// `mirror.openshift.io/v2alpha1`, of oc-mirror v2.
    V2Alpha1,
}

impl ApiVersion {
    /// The text in the file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V1Alpha2 => "mirror.openshift.io/v1alpha2",
            Self::V2Alpha1 => "mirror.openshift.io/v2alpha1",
        }
    }
}

/// A configuration whose every field has been checked.
#[derive(Debug, Clone)]
pub struct ImageSetConfig {
    /// The file as it was named.
    pub file: String,
    /// The version it declares.
    pub api_version: ApiVersion,
    /// `archiveSize`: largest part in GiB, at least 1; its bytes fit into an `i64`.
    pub archive_size: Option<u64>,
    /// `storageConfig` (v1alpha2).
    pub storage: Storage,
    /// `mirror.additionalImages`.
    pub additional_images: Vec<AdditionalImage>,
    /// `mirror.blockedImages`.
    pub blocked: Vec<Blocked>,
    /// `mirror.platform`; `None` when it is missing or an empty mapping.
    pub platform: Option<ReleaseStanza>,
    /// `mirror.operators`.
    pub operators: Vec<OperatorCatalog>,
    /// `mirror.helm`.
    pub helm: Option<HelmStanza>,
    fingerprint: Digest,
}

/// A configuration, and what a person should know about it.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The configuration.
    pub config: ImageSetConfig,
    /// What oc-mirror accepts in silence and a person may not have meant.
    pub warnings: Vec<Finding>,
}

impl ImageSetConfig {
    /// Reads and checks a file. Errors: unreadable, larger than 8 MiB, or refused content.
    pub fn load(path: &Path) -> Result<Loaded, ConfigErrors> {
        let (bytes, name) = read(path)?;
        Self::parse_bytes(&bytes, &name)
    }

    /// A configuration that asks for nothing, where none is needed.
    pub fn nothing() -> Self {
        Self {
            file: String::new(),
            api_version: ApiVersion::V2Alpha1,
            archive_size: None,
            storage: Storage::default(),
            additional_images: Vec::new(),
            blocked: Vec::new(),
            platform: None,
            operators: Vec::new(),
            helm: None,
            fingerprint: Digest::of(b""),
        }
    }

    /// Checks the text of a file; `file` is only its name in messages. Errors: refused content.
    pub fn parse(text: &str, file: &str) -> Result<Loaded, ConfigErrors> {
        Self::parse_bytes(text.as_bytes(), file)
    }

    /// Checks the bytes of a file; `file` is only its name in messages. Errors: as `load`.
    pub fn parse_bytes(bytes: &[u8], file: &str) -> Result<Loaded, ConfigErrors> {
        let (config, warnings) =
            parsed(bytes, file, |root, report| document(root, report, file, Digest::of(bytes)))?;
        Ok(Loaded { config, warnings })
    }

    /// SHA-256 of the file's bytes.
    pub fn fingerprint(&self) -> Digest {
        self.fingerprint
    }

    /// The first pattern that blocks an image of this origin (a reference, with or without transport).
    pub fn blocked_by(&self, origin: &str) -> Option<&Blocked> {
        self.blocked.iter().find(|blocked| blocked.blocks(origin))
    }
}

/// The commented configuration that `bundle init` prints.
pub fn template() -> &'static str {
    include_str!("template.yaml")
}

/// The bytes of a file, at most one more than are allowed, and its name in messages.
fn read(path: &Path) -> Result<(Vec<u8>, String), ConfigErrors> {
    let name = path.display().to_string();
    let mut bytes = Vec::new();
    let read = fs_err::File::open(path)
        .and_then(|file| file.take(FILE_MAX + 1).read_to_end(&mut bytes).map(drop));
    match read {
        Ok(()) => Ok((bytes, name)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(ConfigErrors::Missing { file: name })
        }
        Err(source) => Err(ConfigErrors::Read { source }),
    }
}

/// What `document` makes of a file, with its warnings. `document` leaves an error in the report when it makes nothing.
fn parsed<T>(
    bytes: &[u8],
    file: &str,
    document: impl FnOnce(&Item<'_>, &mut Report) -> Option<T>,
) -> Result<(T, Vec<Finding>), ConfigErrors> {
    if u64::try_from(bytes.len()).map_or(true, |n| n > FILE_MAX) {
        return Err(ConfigErrors::TooLarge { file: file.to_owned(), max: FILE_MAX });
    }
    let mut report = Report::new(file);
    let made = text_of(bytes, &mut report)
        .and_then(|text| tree::read(text, &mut report))
        .and_then(|root| document(&Item::root(&root), &mut report));
    let warnings = report.finish()?;
    Ok((made.expect("a document that is missing left an error in the report"), warnings))
}

/// The file as text. Editors on some systems put a byte order mark before UTF-8; the YAML reader takes it
/// for a character of the first line, which would shift the columns.
fn text_of<'a>(bytes: &'a [u8], report: &mut Report) -> Option<&'a str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Some(text.strip_prefix('\u{feff}').unwrap_or(text)),
        Err(error) => {
            let good = &bytes[..error.valid_up_to()];
            let line = 1 + good.iter().filter(|byte| **byte == b'\n').count();
            let start = good.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            let column = 1 + String::from_utf8_lossy(&good[start..]).chars().count();
            let small = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
            let at = Position { line: small(line), column: small(column) };
            let hint = if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
                "the file is UTF-16; save it as UTF-8"
            } else {
                "save the file as UTF-8"
            };
            report.error(&Spot { at, field: String::new() }, "the file is not UTF-8 text", hint);
            None
        }
    }
}

fn document(
    root: &Item<'_>,
    report: &mut Report,
    file: &str,
    fingerprint: Digest,
) -> Option<ImageSetConfig> {
    let mut fields = root.fields(report, "kind: ImageSetConfiguration")?;
    let api_version = header(&mut fields, report)?;
    let archive_size = fields.gib(report, "archiveSize");
    let storage = storage::storage(&mut fields, report, api_version);
    const DELETE: &str = "put it into a file of kind DeleteImageSetConfiguration";
    fields.refuse(report, "delete", "is not allowed in ImageSetConfiguration", DELETE);
    let Some(mirror) = fields.take(report, "mirror") else {
        let spot = fields.key_spot("mirror").unwrap_or_else(|| fields.below("mirror"));
        const HINT: &str = "add `mirror:` with what to carry; `bundle init` prints an example";
        report.error(&spot, "the configuration has no `mirror` stanza", HINT);
        fields.done(report);
        return None;
    };
    fields.done(report);
    let mut mirror =
        mirror.fields(report, "additionalImages: [{name: quay.io/namespace/image:tag}]")?;
    if mirror.is_empty() {
        report.warn(&mirror.spot, "asks for nothing", "add `additionalImages`");
    }
    let platform = release::stanza(&mut mirror, report, api_version);
    let operators = operators::stanza(&mut mirror, report, api_version);
    let additional_images = images::additional(&mut mirror, report, api_version);
    let helm = helm::stanza(&mut mirror, report, api_version);
    let blocked = images::blocked(&mut mirror, report);
    samples(&mut mirror, report);
    mirror.done(report);
    (!report.has_errors()).then(|| ImageSetConfig {
        file: file.to_owned(),
        api_version,
        archive_size,
        storage,
        additional_images,
        blocked,
        platform,
        operators,
        helm,
        fingerprint,
    })
}

/// `kind` and `apiVersion`; after another kind nothing else in the file means anything to us.
fn header(fields: &mut Fields<'_>, report: &mut Report) -> Option<ApiVersion> {
    let kind = fields.required(report, "kind");
    match kind.as_ref().map(|text| text.value.as_str()) {
        Some("ImageSetConfiguration") => {}
        Some("DeleteImageSetConfiguration") => {
            const HINT: &str = "`bundle delete --config FILE docker://HOST/NAMESPACE` takes away from a target what it names; \
                here, take it out of the file of kind ImageSetConfiguration";
            let problem =
                "a `DeleteImageSetConfiguration` says what is to be deleted, and not what to carry";
            report.error(&kind?.spot, problem, HINT);
            return None;
        }
        Some(other) => {
            let problem = format!("the kind {} is not supported", quote(other));
            report.error(&kind.as_ref()?.spot, problem, "write `kind: ImageSetConfiguration`");
            return None;
        }
        // The rest of the file is still worth checking.
        None => {}
    }
    version(fields, report)
}

/// `apiVersion`.
fn version(fields: &mut Fields<'_>, report: &mut Report) -> Option<ApiVersion> {
    match fields.text(report, "apiVersion") {
        None => {
            // oc-mirror v2 never looks at it.
            if !fields.has("apiVersion") {
                const HINT: &str = "add `apiVersion: mirror.openshift.io/v2alpha1`";
                report.warn(&fields.below("apiVersion"), "is missing, read as v2alpha1", HINT);
            }
            Some(ApiVersion::V2Alpha1)
        }
        Some(text) => {
            let known = [ApiVersion::V1Alpha2, ApiVersion::V2Alpha1];
            let version = known.into_iter().find(|version| version.as_str() == text.value);
            if version.is_none() {
                const HINT: &str =
                    "write `mirror.openshift.io/v2alpha1` or `mirror.openshift.io/v1alpha2`";
                let problem = format!("the version {} is not known", quote(&text.value));
                report.error(&text.spot, problem, HINT);
            }
            version
        }
    }
}

/// `mirror.samples`: oc-mirror reads it and does nothing with it.
fn samples(mirror: &mut Fields<'_>, report: &mut Report) {
    let spot = mirror.key_spot("samples");
    let mut any = false;
    for item in mirror.list(report, "samples") {
        let Some(mut entry) = item.fields(report, "name: ruby") else { continue };
        entry.required(report, "name");
        entry.done(report);
        any = true;
    }
    if let Some(spot) = spot
        && any
    {
        const HINT: &str = "remove it, or name the images under `additionalImages`";
        report.warn(&spot, "has never had an effect; no sample is carried", HINT);
    }
}
