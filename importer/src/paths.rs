//! Where things go at the target: the repositories of a sequence, below the target's namespace.
//!
//! In: the target that the person named, and repositories of the index. Out: repositories at the
//! target, no two of them the same.

use std::collections::{HashMap, HashSet};

use format_spec::index::{Index, RepositoryId};
use format_spec::names::NameError;
use format_spec::{Digest, Repository};
use registry::client::Client;
use registry::reference::{RegistryHost, Target};

use crate::error::ImportError;

/// The repository, below the target's namespace, with the records of this program.
pub const LEDGER: &str = "bundle-ledger";

/// A target and the way to it.
#[derive(Clone)]
pub(crate) struct Destination {
    pub(crate) client: Client,
    pub(crate) target: Target,
    /// Path components that the target allows; 0 for any number.
    pub(crate) nested: usize,
    /// The repository with the records.
    pub(crate) ledger: Repository,
}

impl Destination {
    pub(crate) fn new(client: Client, target: Target, nested: usize) -> Result<Self, ImportError> {
        let ledger = LEDGER.parse::<Repository>()?.below(target.namespace.as_ref())?;
        let ledger = nest(&ledger, nested)?;
        Ok(Self { client, target, nested, ledger })
    }

    /// The registry.
    pub(crate) fn host(&self) -> &RegistryHost {
        &self.target.registry
    }

    /// The place of each repository of the index.
    pub(crate) fn places(&self, index: &Index) -> Result<Vec<Repository>, ImportError> {
        // Into a repository that is only named because it left the configuration nothing goes.
        let carried = index.blobs.iter().flat_map(|blob| &blob.repositories);
        let carried = carried.chain(index.manifests.iter().flat_map(|m| &m.repositories));
        let required = index.required.iter().flat_map(|r| r.repositories.iter().chain([&r.home]));
        let used: HashSet<RepositoryId> = carried.chain(required).copied().collect();
        let mut taken = HashMap::from([(self.ledger.clone(), LEDGER)]);
        let mut places = Vec::with_capacity(index.repositories.len());
        for (id, repository) in (0..).zip(&index.repositories) {
            let place = nest(&repository.below(self.target.namespace.as_ref())?, self.nested)?;
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
        let text = name.map_or_else(|| self.target.to_string(), str::to_owned);
        let readable: String = text
            .trim_start_matches("docker://")
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || c == '.' || c == '-' { c } else { '_' })
            .take(80)
            .collect();
        format!("{readable}-{}", &Digest::of(text.as_bytes()).short()[..8])
    }
}

/// `repository` in at most `depth` components: the first `depth` − 1 stay, the rest is joined with
/// `-` (what `--max-nested-paths` means elsewhere: `team/sub/unit/app`, 2 → `team/sub-unit-app`).
fn nest(repository: &Repository, depth: usize) -> Result<Repository, NameError> {
    let components: Vec<_> = repository.components().collect();
    if depth == 0 || components.len() <= depth {
        return Ok(repository.clone());
    }
    let (kept, joined) = components.split_at(depth - 1);
    let mut path = kept.to_vec();
    let joined = joined.join("-");
    path.push(&joined);
    path.join("/").parse()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nesting_keeps_the_first_components() {
        let nested = |text: &str, depth| nest(&text.parse().unwrap(), depth).unwrap().to_string();
        assert_eq!(nested("team/sub/unit/app", 2), "team/sub-unit-app");
        assert_eq!(nested("team/sub/unit/app", 1), "team-sub-unit-app");
        assert_eq!(nested("team/sub/unit/app", 4), "team/sub/unit/app");
        assert_eq!(nested("team/sub/unit/app", 0), "team/sub/unit/app");
    }
}
