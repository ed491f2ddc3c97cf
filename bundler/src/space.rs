//! Whether a sequence finds its place, and who is to blame when it does not.
//!
//! In: a plan and the medium. Out: nothing, or what is missing with the largest blobs and whose they are; and a
//! configuration without the images that are wrong about the sizes of theirs.

use std::collections::BTreeMap;
use std::path::Path;

use format_spec::Digest;
use format_spec::part::FileName;

use crate::create::CreateOptions;
use crate::durable;
use crate::error::{CreateError, Large};
use crate::history::Known;
use crate::origin::{Loss, Origins};
use crate::plan::{self, Plan};
use crate::resolve::{Image, Resolved};

/// Bytes that stay free on the medium beside the sequence: directories and the small files.
const SPARE: u64 = 4 * 1024 * 1024;

/// Blobs named when the medium is too small.
const NAMED: usize = 5;

/// Blobs asked for at their origins when a plan is too large.
const ASKED: usize = 16;

/// Compares what the sequence needs with what is free, less what an earlier run already took.
pub(crate) fn check(
    medium: &Path,
    plan: &Plan,
    known: &Known,
    resolved: &Resolved,
) -> Result<(), CreateError> {
    let file = CreateError::file("look at the free space");
    let stat = rustix::fs::statvfs(medium).map_err(|error| file(error.into()))?;
    let available = stat.f_bavail.saturating_mul(stat.f_frsize);
    let mut taken = 0;
    for number in 0..plan.parts.len() {
        let number = u32::try_from(number).expect("bounded by PARTS_MAX");
        let path = medium.join(FileName::Part(plan.index.sequence, number).to_string());
        if let Ok(found) = fs_err::metadata(durable::partial(&path)) {
            taken += std::os::unix::fs::MetadataExt::blocks(&found) * 512;
        }
    }
    let index = 200 * (plan.items.len() + plan.index.required.len()) as u64;
    let needed = (plan.part_bytes() + index + SPARE).saturating_sub(taken);
    if needed > available {
        let largest = largest(known, resolved, NAMED);
        return Err(CreateError::Space {
            directory: medium.to_owned(),
            needed,
            available,
            largest,
        });
    }
    Ok(())
}

/// After a plan that is too large: takes out the images whose manifests are wrong about their largest
/// blobs, so that one of them does not keep all the others from being carried. Without such an image the
/// error stands.
pub(crate) async fn drop_liars(
    error: CreateError,
    options: &CreateOptions,
    origins: &Origins,
    known: &Known,
    resolved: &mut Resolved,
) -> Result<(), CreateError> {
    if !matches!(error, CreateError::Space { .. } | CreateError::Layout(_)) {
        return Err(error);
    }
    options.progress.phase("asking for the largest blobs");
    let asking = lies(origins, resolved, largest(known, resolved, ASKED));
    let lies = tokio::select! {
        lies = asking => lies,
        () = options.cancel.cancelled() => return Err(CreateError::Cancelled),
    };
    if lies.is_empty() {
        return Err(error);
    }
    resolved.drop_images(&lies);
    Ok(())
}

/// Those of `blobs` that no image's origin has in the size that the manifests say, and why.
async fn lies(origins: &Origins, resolved: &Resolved, blobs: Vec<Large>) -> BTreeMap<Digest, Loss> {
    let mut lies = BTreeMap::new();
    for Large { digest, size, .. } in blobs {
        let holders = resolved.images.iter().filter(|i| i.blobs().any(|(d, _)| d == digest));
        let mut refused = None;
        for image in holders.take(plan::ORIGINS_MAX) {
            match image.has(origins, &digest, size).await {
                Err(error) if !error.is_of_the_way() => refused = Some(error),
                // It is there, or nobody can tell now.
                _ => {
                    refused = None;
                    break;
                }
            }
        }
        if let Some(error) = refused {
            lies.insert(digest, error.into());
        }
    }
    lies
}

/// The largest blobs that are new to the target.
fn largest(known: &Known, resolved: &Resolved, count: usize) -> Vec<Large> {
    let mut blobs = BTreeMap::new();
    for image in &resolved.images {
        for (digest, size) in image.blobs().filter(|(digest, _)| known.home(digest).is_none()) {
            blobs.entry(digest).or_insert((size, image));
        }
    }
    let mut blobs: Vec<_> = blobs.into_iter().collect();
    blobs.sort_by_key(|(_, (size, _))| std::cmp::Reverse(*size));
    let large = |(digest, (size, image)): (Digest, (u64, &Image))| {
        let image = image.source.clone();
        Large { digest, size, image }
    };
    blobs.into_iter().take(count).map(large).collect()
}
