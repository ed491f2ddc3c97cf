//! Where things go at the target: the repositories of a sequence, below the target's namespace.
//!
//! In: the target that the person named, and repositories of the index. Out: repositories at the
//! target, no two of them the same.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use format_spec::index::{Index, RepositoryId};
use format_spec::names::NameError;
use format_spec::{Digest, Repository};
use registry::client::Client;
use registry::record::LEDGER;
pub(crate) use registry::record::nest;
use registry::reference::{RegistryHost, Target};

use crate::error::ImportError;

/// A target and the way to it.
#[derive(Clone)]
pub(crate) struct Destination {
    pub(crate) client: Client,
    pub(crate) target: Target,
    /// Path components that the target allows; 0 for any number.
    pub(crate) nested: usize,
    /// The repository with the records.
    pub(crate) ledger: Repository,
    /// Repositories in which something was found: they are there.
    seen: Arc<Mutex<HashSet<Repository>>>,
    /// Whether the target takes the records only in the form of an image.
    pub(crate) plain: Arc<AtomicBool>,
}

impl Destination {
    pub(crate) fn new(client: Client, target: Target, nested: usize) -> Result<Self, ImportError> {
        let ledger = LEDGER.parse::<Repository>()?.below(target.namespace.as_ref())?;
        let ledger = nest(&ledger, nested)?;
        let (seen, plain) = (Arc::default(), Arc::default());
        Ok(Self { client, target, nested, ledger, seen, plain })
    }

    /// The same for repositories that were given names of at most `nested` components there.
    pub(crate) fn nested(&self, nested: usize) -> Self {
        Self { nested, ..self.clone() }
    }

    /// The registry.
    pub(crate) fn host(&self) -> &RegistryHost {
        &self.target.registry
    }

    /// Something was found in this repository.
    pub(crate) fn saw(&self, place: &Repository) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if !seen.contains(place) {
            seen.insert(place.clone());
        }
    }

    /// Whether something was found in this repository.
    pub(crate) fn has_seen(&self, place: &Repository) -> bool {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).contains(place)
    }

    /// The places into which a sequence writes, each once.
    pub(crate) fn written(&self, index: &Index) -> Result<Vec<Repository>, ImportError> {
        let places = self.places(index)?;
        let required = index.required.iter().flat_map(|r| &r.repositories);
        let mut used = vec![false; places.len()];
        for id in carried(index).chain(required) {
            used[*id as usize] = true;
        }
        let used = places.into_iter().zip(used).filter(|(_, used)| *used);
        Ok(used.map(|(place, _)| place).collect())
    }

    /// The place of a repository.
    pub(crate) fn place(&self, repository: &Repository) -> Result<Repository, NameError> {
        nest(&repository.below(self.target.namespace.as_ref())?, self.nested)
    }

    /// The place of each repository of the index.
    pub(crate) fn places(&self, index: &Index) -> Result<Vec<Repository>, ImportError> {
        // Into a repository that is only named because it left the configuration nothing goes.
        let required = index.required.iter().flat_map(|r| r.repositories.iter().chain([&r.home]));
        let used: HashSet<RepositoryId> = carried(index).chain(required).copied().collect();
        let mut taken = HashMap::from([(self.ledger.clone(), LEDGER)]);
        let mut places = Vec::with_capacity(index.repositories.len());
        for (id, repository) in (0..).zip(&index.repositories) {
            let place = self.place(repository)?;
            if used.contains(&id)
                && let Some(other) = taken.insert(place.clone(), repository.as_str())
            {
                return Err(ImportError::Collision {
                    one: other.to_owned(),
                    other: repository.to_string(),
                    place: place.to_string(),
                });
            }
            places.push(place);
        }
        Ok(places)
    }

    /// A directory name for the target: readable, and different for different targets.
    pub(crate) fn directory_name(&self, name: Option<&str>) -> String {
        name.map_or_else(|| directory_name(&self.target.to_string()), directory_name)
    }
}

/// A directory name for what is called so.
pub(crate) fn directory_name(text: &str) -> String {
    let readable: String = text
        .trim_start_matches("docker://")
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '.' || c == '-' { c } else { '_' })
        .take(80)
        .collect();
    format!("{readable}-{}", &Digest::of(text.as_bytes()).short()[..8])
}

/// The repositories into which blobs and manifests of the parts go.
fn carried(index: &Index) -> impl Iterator<Item = &RepositoryId> {
    let blobs = index.blobs.iter().flat_map(|blob| &blob.repositories);
    blobs.chain(index.manifests.iter().flat_map(|manifest| &manifest.repositories))
}
