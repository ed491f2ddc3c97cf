//! What is settled before the first write: what the media say, where the target stands, and whether one fits the other.

use std::collections::HashSet;
use std::sync::Arc;

use format_spec::{Digest, Repository};

use super::{Known, Prepared, Run};
use crate::error::ImportError;
use crate::images::images_of;
use crate::intake::Media;
use crate::ledger::{self, Record};
use crate::lock::{LocalLock, lock_local};
use crate::order::{self, Arranged, Step, arrange, restore};
use crate::verify::{self, Received, Verified, passed};
use crate::{durable, put_back, readiness, receipt, sparse, survey};

/// What the media and the workspace say, before the target is asked.
struct Intake {
    media: Media,
    arrived: Vec<Verified>,
    /// Sequences before the record of this workspace; not looked at yet.
    past: Vec<Received>,
    /// What is put back needs no other parts than those that hold it.
    lacking: put_back::Lacking,
    local: Vec<Record>,
}

impl Run {
    /// Everything up to the first write.
    pub(super) async fn prepare(&mut self) -> Result<Prepared, ImportError> {
        // The medium alone: nothing has been asked of the target yet.
        self.options.progress.phase("checking signatures");
        let mut intake = self.take_in(None).await?;
        self.wanted = self.written(intake.arrived.iter())?;
        let lock = if self.options.dry_run { None } else { Some(self.lock()?) };

        self.options.progress.phase("asking the target");
        let remote = match ledger::read_remote(&self.at).await {
            Ok(remote) => remote,
            Err(error) => return Err(self.explained(error).await),
        };
        let (records, disagreements) = ledger::merge(&intake.local, &remote.records)?;
        if !self.options.put_back {
            ledger::finished(&self.at, &remote.records)?;
            if let Some(local) = ledger::overruled(&intake.local, &remote.records) {
                intake = self.take_in_again(local).await?;
            }
        }
        let Intake { media, mut arrived, past, lacking, local } = intake;
        self.lacking = lacking;
        ledger::same_names(&records, arrived.iter().map(|one| one.head.stream), self.at.nested)?;
        if self.options.put_back {
            let (at, warnings) = (&self.at, &mut self.warnings);
            warnings.extend(disagreements);
            let had = put_back::had(at, arrived, &records, &remote, warnings).await?;
            self.wanted = self.written(had.iter())?;
            let arranged = order::put_back(had);
            return Ok(Prepared { arranged, known: Known { local, remote }, _lock: lock });
        }
        let new_stream = self.options.new_stream;
        let mut restored = None;
        if !disagreements.is_empty() {
            self.warnings.extend(disagreements);
            // The target lost what this workspace saw imported. When the media have all of it, it is
            // imported again; otherwise the newer record holds.
            let trusted = self.options.trusted.clone();
            let again = move || -> Result<Vec<Verified>, ImportError> {
                past.into_iter().map(|head| head.verify(&media, &trusted, true)).collect()
            };
            match tokio::task::spawn_blocking(again).await? {
                Ok(again) => arrived.extend(again),
                Err(error) => {
                    self.warnings.push(format!("an earlier sequence is no help: {error}"));
                }
            }
            restored = restore(&mut arrived, &remote.records, &local, new_stream);
        }
        let arranged = match restored {
            Some(restored) => restored,
            None => arrange(arrived, &records, new_stream)?,
        };
        self.check_times(&arranged)?;
        let todo = arranged.iter().filter(|one| one.step != Step::Past);
        self.wanted = self.written(todo.map(Arranged::verified))?;
        readiness::of_names(&self.at, self.at.client.product(self.at.host()).await?, &self.wanted)?;
        if let Err(error) = self.check_required(&arranged, &records).await {
            return Err(self.explained(error).await);
        }
        let arranged =
            if self.options.dry_run { arranged } else { self.find_sparse(arranged).await? };
        Ok(Prepared { arranged, known: Known { local, remote }, _lock: lock })
    }

    /// Every repository into which these sequences write, and that of the records.
    fn written<'a>(
        &self,
        sequences: impl Iterator<Item = &'a Verified>,
    ) -> Result<Vec<Repository>, ImportError> {
        let mut wanted = vec![self.at.ledger.clone()];
        for verified in sequences {
            wanted.extend(self.at.written(&verified.index)?);
        }
        wanted.sort_unstable();
        wanted.dedup();
        Ok(wanted)
    }

    /// A question that the target refused: where what is asked for has to be made there first, that is what to say.
    async fn explained(&self, error: ImportError) -> ImportError {
        use registry::client::ErrorKind::{Credentials, NotFound, Refused};
        let ImportError::Registry(refusal) = &error else { return error };
        if self.options.dry_run || !matches!(refusal.kind(), Credentials | NotFound | Refused) {
            return error;
        }
        match readiness::probe(&self.at, &self.wanted).await {
            Err(unready @ ImportError::Unready(_)) => unready,
            _ => error,
        }
    }

    /// Looks for indexes of which children are left out, in the sequences that are to come.
    async fn find_sparse(&mut self, arranged: Vec<Arranged>) -> Result<Vec<Arranged>, ImportError> {
        let at = self.at.clone();
        let look = move || {
            let mut to_come = arranged.iter().filter(|one| one.step == Step::Accept);
            let found = to_come.find_map(|one| sparse::find(one.verified(), &at).transpose());
            found.transpose().map(|found| (arranged, found))
        };
        let (arranged, found) = tokio::task::spawn_blocking(look).await??;
        self.sparse = found;
        Ok(arranged)
    }

    /// Keeps other importers of this workspace out, and takes away what a killed one left half written.
    fn lock(&self) -> Result<LocalLock, ImportError> {
        let lock = lock_local(&self.directory)?;
        durable::sweep(&self.directory)?;
        durable::sweep(&receipt::directory(&self.directory))?;
        Ok(lock)
    }

    /// The target was set back over what this workspace saw, so what came then may come again.
    async fn take_in_again(&mut self, local: Vec<Record>) -> Result<Intake, ImportError> {
        if !self.options.dry_run {
            for record in &local {
                ledger::write_local(&self.directory, record)?;
            }
        }
        self.warnings.clear();
        self.take_in(Some(local)).await
    }

    /// Reads the medium and proves everything but the cells. `local`: the records that hold instead of the workspace's.
    async fn take_in(&mut self, local: Option<Vec<Record>>) -> Result<Intake, ImportError> {
        let from = self.options.from.clone();
        let trusted = self.options.trusted.clone();
        let directory = self.directory.clone();
        let old = self.options.put_back;
        let read = move || {
            let media = Media::open(&from)?;
            let local = local.map_or_else(|| ledger::read_local(&directory), Ok)?;
            // What came before the record of this workspace needs no second look, unless there is
            // nothing else: then the order table shall say so.
            if old {
                let heads = verify::receive(&media)?;
                let (arrived, lacking) = put_back::examine(heads, &media, &trusted)?;
                return Ok(Intake { media, arrived, past: Vec::new(), lacking, local });
            }
            let before: HashSet<Digest> =
                local.iter().flat_map(|r| &r.tail).map(|link| link.digest).collect();
            let (mut past, mut heads): (Vec<_>, Vec<_>) = verify::receive(&media)?
                .into_iter()
                .partition(|head| before.contains(&head.digest));
            if heads.is_empty() {
                heads = std::mem::take(&mut past);
            }
            let mut arrived = Vec::with_capacity(heads.len());
            for head in heads {
                // The parts of a sequence that is at the target are not read unless it lost something.
                let there = local.iter().any(|record| record.digest == head.digest);
                arrived.push(head.verify(&media, &trusted, !there)?);
            }
            let lacking = put_back::Lacking::new();
            Ok::<_, ImportError>(Intake { media, arrived, past, lacking, local })
        };
        let mut intake = tokio::task::spawn_blocking(read).await??;
        self.warnings.append(&mut intake.media.warnings);
        Ok(intake)
    }

    /// Refuses what has expired by this machine's clock, and tells when a next sequence is overdue. A
    /// clock that stands before the sequence was written proves nothing and is only told (threat T15).
    fn check_times(&mut self, arranged: &[Arranged]) -> Result<(), ImportError> {
        for one in arranged.iter().filter(|one| one.step == Step::Accept) {
            one.verified().refuse_expired()?;
            let head = &one.verified().head;
            if !passed(&head.created) {
                self.warnings.push(format!(
                    "sequence {} was written at {}, which is still to come by the clock of this \
                     machine",
                    head.sequence, head.created
                ));
            }
        }
        let last = arranged.last().map(|one| &one.verified().head);
        if let Some((head, next)) = last.and_then(|head| Some((head, head.next_expected.as_ref()?)))
            && passed(next)
        {
            self.warnings.push(format!(
                "the sequence after {} was expected by {next}: ask the connected side for it",
                head.sequence
            ));
        }
        Ok(())
    }

    /// Refuses, before anything is written, when blobs of earlier sequences are missing.
    async fn check_required(
        &self,
        arranged: &[Arranged],
        records: &[Record],
    ) -> Result<(), ImportError> {
        let mut promised: HashSet<Digest> = HashSet::new();
        for one in arranged.iter().filter(|one| one.step != Step::Past) {
            let verified = one.verified();
            let index = &verified.index;
            let places = self.at.places(index)?;
            let missing = survey::missing(&self.at, &places, index, &promised).await?;
            if let Some(first) = missing.first() {
                let (content, index) = (Arc::clone(&verified.content), Arc::clone(index));
                let wanted = missing.clone();
                let name = move || images_of(&content, &index, &wanted);
                let images = tokio::task::spawn_blocking(name).await?;
                return Err(ImportError::RequiredMissing {
                    stands: records
                        .iter()
                        .find(|record| record.stream == verified.head.stream)
                        .map(|record| record.sequence),
                    sequence: verified.head.sequence,
                    missing: missing.len(),
                    first: *first,
                    images,
                });
            }
            promised.extend(index.blobs.iter().map(|blob| blob.digest));
            promised.extend(index.required.iter().map(|required| required.digest));
        }
        Ok(())
    }
}
