//! DeleteImageList: the names at a target that are to go, as oc-mirror v2 writes and reads them.
//!
//! In: a file of `delete --generate`, ours or oc-mirror's; or items. Out: items with their lines; or the text of such a file.
//! What must hold: a name that is not below the destination is told, before anything is asked to go.

use std::fmt::Write as _;
use std::path::Path;

use registry::reference::{Reference, Target};

use super::fields::{Fields, Item};
use super::finding::{ConfigErrors, Finding, Report, quote};
use super::source::reference;
use super::{ApiVersion, parsed, read};

const API_VERSION: &str = "mirror.openshift.io/v2alpha1";
const KIND: &str = "DeleteImageList";

/// One name that is to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteItem {
    /// `imageName`: where it came from, as it was written; only for people.
    pub name: String,
    /// `imageReference`: where it stands, with a tag or a digest.
    pub reference: Reference,
    /// `type`, as it was written: `generic`, `ocpRelease`, `operatorCatalog` …
    pub kind: String,
    /// Line of `imageReference` in the file, from 1.
    pub line: u32,
}

/// A list of names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteImageList {
    /// The names, in the order of the file.
    pub items: Vec<DeleteItem>,
}

impl DeleteImageList {
    /// Reads and checks a file, with warnings. Errors: unreadable, larger than 8 MiB, or refused content, to which names
    /// belong that are not below the destination. `joined`: where few path components are allowed, a name may be joined to the
    /// destination's own by a dash.
    pub fn load(
        path: &Path,
        target: &Target,
        joined: bool,
    ) -> Result<(Self, Vec<Finding>), ConfigErrors> {
        let (bytes, name) = read(path)?;
        Self::parse_bytes(&bytes, &name, (target, joined))
    }

    /// Checks the bytes of a file; `file` is only its name in messages. Errors: as `load`.
    pub fn parse_bytes(
        bytes: &[u8],
        file: &str,
        target: (&Target, bool),
    ) -> Result<(Self, Vec<Finding>), ConfigErrors> {
        parsed(bytes, file, |root, report| document(root, report, target))
    }

    /// The text of the file.
    pub fn to_yaml(&self) -> String {
        let mut out = format!("apiVersion: {API_VERSION}\nkind: {KIND}\n");
        if self.items.is_empty() {
            out.push_str("items: []\n");
            return out;
        }
        out.push_str("items:\n");
        for item in &self.items {
            // A text in JSON's quotes is one in YAML too. Writing to a String cannot fail.
            let quoted = |text: &str| serde_json::Value::from(text).to_string();
            let reference = quoted(&format!("docker://{}", item.reference));
            let _ = writeln!(out, "- imageName: {}", quoted(&item.name));
            let _ = writeln!(out, "  imageReference: {reference}");
            let _ = writeln!(out, "  type: {}", quoted(&item.kind));
        }
        out
    }
}

fn document(
    root: &Item<'_>,
    report: &mut Report,
    target: (&Target, bool),
) -> Option<DeleteImageList> {
    let mut fields = root.fields(report, "kind: DeleteImageList")?;
    for (name, expected) in [("kind", KIND), ("apiVersion", API_VERSION)] {
        let text = fields.required(report, name)?;
        if text.value != expected {
            let problem = format!("{} is no list of images to delete", quote(&text.value));
            let hint =
                format!("write `{name}: {expected}`, or let `delete --generate` write the list");
            report.error(&text.spot, problem, &hint);
            return None;
        }
    }
    let items = fields.list(report, "items");
    fields.done(report);
    let items = items.iter().filter_map(|item| one(item, report, target)).collect();
    (!report.has_errors()).then_some(DeleteImageList { items })
}

fn one(item: &Item<'_>, report: &mut Report, target: (&Target, bool)) -> Option<DeleteItem> {
    let mut entry: Fields<'_> = item.fields(report, "imageReference: docker://host/path:tag")?;
    let name = entry.text(report, "imageName");
    let text = entry.required(report, "imageReference");
    let kind = entry.required(report, "type");
    entry.done(report);
    let (text, kind) = (text?, kind?);
    let reference = reference(&text, ApiVersion::V2Alpha1, report)?;
    if !below(&reference, target) {
        const HINT: &str =
            "name the destination that the list was made for, or make the list anew for this one";
        let problem = format!("{} is not below {}", quote(&text.value), target.0);
        report.error(&text.spot, problem, HINT);
        return None;
    }
    let name = name.map(|text| text.value).unwrap_or_default();
    Some(DeleteItem { name, reference, kind: kind.value, line: text.spot.at.line })
}

/// Whether a name stands at the target: by whole components, so that `team` has nothing of `team-two`.
fn below(reference: &Reference, (target, joined): (&Target, bool)) -> bool {
    let Some(namespace) = &target.namespace else { return reference.registry == target.registry };
    let rest = reference.repository.as_str().strip_prefix(namespace.as_str());
    reference.registry == target.registry
        && rest.is_some_and(|rest| rest.starts_with('/') || (joined && rest.starts_with('-')))
}
