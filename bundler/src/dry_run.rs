//! The answer of a create that only looks: the plan, `mapping.txt` and `missing.txt`.

use std::path::Path;

use format_spec::StreamId;
use format_spec::head::Kind;
use format_spec::part::FileName;
use registry::lasting;

use crate::create::summary;
use crate::error::CreateError;
use crate::plan::{self, Plan};
use crate::report::{Created, File, Planned, PlannedReference};
use crate::resolve::Resolved;
use crate::{durable, publish, transfer};

/// Writes what would be carried into the workspace, and answers with the plan.
pub(crate) fn dry_run(
    workspace: &Path,
    stream: Option<StreamId>,
    kind: Kind,
    plan: &Plan,
    resolved: Resolved,
) -> Result<Created, CreateError> {
    let directory = workspace.join("dry-run");
    let write = || -> std::io::Result<()> {
        lasting::make(&directory)?;
        let images = resolved.images.iter();
        let mapping = transfer::mapping(images.map(|i| (i.source.as_str(), &i.destination)));
        durable::write(&directory.join("mapping.txt"), mapping.as_bytes())?;
        let missing = directory.join("missing.txt");
        if resolved.failures.is_empty() {
            match fs_err::remove_file(&missing) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
                _ => return Ok(()),
            }
        }
        let text: String = resolved
            .failures
            .iter()
            .map(|f| transfer::with_transport(&f.reference) + "\n")
            .collect();
        durable::write(&missing, text.as_bytes())
    };
    write().map_err(CreateError::file("write the mapping"))?;
    let references = plan
        .index
        .references
        .iter()
        .map(|reference| PlannedReference {
            source: reference.source.clone(),
            class: reference.class,
            name: plan::show(
                plan.index.repository(reference.repository),
                reference.tag.as_ref(),
                &reference.digest,
            ),
            digest: reference.digest,
        })
        .collect();
    let removals = plan
        .index
        .removals
        .iter()
        .map(|removal| {
            let repository = plan.index.repository(removal.repository);
            plan::show(repository, removal.tag.as_ref(), &removal.digest)
        })
        .collect();
    let parts = plan
        .parts
        .iter()
        .enumerate()
        .map(|(number, part)| File {
            name: FileName::Part(
                plan.index.sequence,
                u32::try_from(number).expect("bounded by PARTS_MAX"),
            )
            .to_string(),
            bytes: part.bytes,
        })
        .collect();
    Ok(Created::Planned(Planned {
        stream,
        sequence: plan.index.sequence,
        kind,
        totals: publish::totals(plan),
        references,
        removals,
        parts,
        mapping: directory.join("mapping.txt").display().to_string(),
        summary: summary(plan, resolved),
    }))
}
