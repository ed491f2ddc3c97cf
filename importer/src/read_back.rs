//! What a target says it has, read and hashed: what arrives damaged is sent again like what is missing.
//!
//! In: a sequence, and the work that a survey found by asking. Out: the same work with what is damaged, and after it was done
//! whether the target gives the right bytes now. Some registries keep the bytes that they have, whatever is sent.

use format_spec::Repository;
use format_spec::index::{Index, RepositoryId};
use registry::progress::Progress;

use crate::against::{blob_lack, manifest_lack};
use crate::error::ImportError;
use crate::limits::MANIFEST_PUTS;
use crate::paths::Destination;
use crate::survey::{self, Need, Work, ask};

/// What arrived damaged: numbers in the index, with the repository it was read from.
#[derive(Debug, Default)]
pub(crate) struct Damaged {
    blobs: Vec<(usize, RepositoryId)>,
    manifests: Vec<(usize, RepositoryId)>,
}

/// Reads blobs that the sequence carries, each once, and manifests, each in every repository, and adds what is damaged to
/// the work.
pub(crate) async fn read(
    at: &Destination,
    places: &[Repository],
    index: &Index,
    work: &mut Work,
    (parallel, progress): (usize, &Progress),
) -> Result<Damaged, ImportError> {
    let mut there: Vec<Option<RepositoryId>> =
        index.blobs.iter().map(|blob| blob.repositories.first().copied()).collect();
    for need in &work.blobs {
        there[need.blob] = need.have;
    }
    let there = there.into_iter().enumerate().filter_map(|(n, place)| Some((n, place?)));
    let mut asked: Vec<_> = survey::all_manifests(index);
    asked.retain(|one| !work.manifests.contains(one));
    let damaged = Damaged { blobs: there.collect(), manifests: asked };
    let damaged = damaged.still(at, places, index, (parallel, progress)).await?;
    for (blob, _) in &damaged.blobs {
        let before = work.blobs.len();
        work.blobs.retain(|need| need.blob != *blob);
        // It was counted as there everywhere.
        work.present -= u64::from(work.blobs.len() == before);
        let lack = index.blobs[*blob].repositories.clone();
        work.blobs.push(Need { blob: *blob, have: None, lack });
    }
    work.manifests.extend(&damaged.manifests);
    work.manifests.sort_unstable();
    Ok(damaged)
}

impl Damaged {
    /// Those of it that arrive damaged now.
    async fn still(
        &self,
        at: &Destination,
        places: &[Repository],
        index: &Index,
        (parallel, progress): (usize, &Progress),
    ) -> Result<Self, ImportError> {
        progress.phase("reading what the target has");
        progress.expect(self.blobs.iter().map(|(n, _)| index.blobs[*n].size).sum());
        let blobs = ask(self.blobs.iter().copied(), parallel, |(n, id)| {
            Box::pin(async move {
                let blob = &index.blobs[n];
                let place = &places[id as usize];
                let lack = blob_lack(at, place, blob.digest, blob.size, progress).await?;
                Ok(lack.map(|_| (n, id)))
            })
        });
        let blobs = blobs.await?.into_iter().flatten().collect();
        let manifests = ask(self.manifests.iter().copied(), MANIFEST_PUTS, |(n, id)| {
            Box::pin(async move {
                let lack = manifest_lack(at, &places[id as usize], index.manifests[n].digest);
                Ok(lack.await?.map(|_| (n, id)))
            })
        });
        let manifests = manifests.await?.into_iter().flatten().collect();
        Ok(Self { blobs, manifests })
    }

    /// Refuses to call mended what the target took and did not keep.
    pub(crate) async fn mended(
        &self,
        at: &Destination,
        places: &[Repository],
        index: &Index,
        how: (usize, &Progress),
    ) -> Result<(), ImportError> {
        let left = self.still(at, places, index, how).await?;
        let blobs = left.blobs.iter().map(|(n, id)| (index.blobs[*n].digest, *id));
        let manifests = left.manifests.iter().map(|(n, id)| (index.manifests[*n].digest, *id));
        let mut names: Vec<String> = blobs
            .chain(manifests)
            .map(|(digest, id)| format!("{}/{}@{digest}", at.host(), places[id as usize]))
            .collect();
        names.sort();
        match names.is_empty() {
            true => Ok(()),
            false => Err(ImportError::StillDamaged { names }),
        }
    }
}
