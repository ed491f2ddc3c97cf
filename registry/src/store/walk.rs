//! Everything in a store, one after another, for who must look at all of it.
//!
//! In: a store that may be in use. Out: its repositories and the names of files in their directories. What must hold:
//! memory does not grow with what is stored but by the entries of one directory level; what vanishes meanwhile is none.

use std::path::{Path, PathBuf};

use format_spec::Repository;

use super::lists::names;
use super::{Store, StoreError};

impl Store {
    /// Calls `visit` for every repository of which there is a directory with something of ours in it, and `stray` for
    /// what is no part of a store.
    pub(super) fn each_repository(
        &self,
        visit: &mut dyn FnMut(&Repository) -> Result<(), StoreError>,
        stray: &mut dyn FnMut(PathBuf),
    ) -> Result<(), StoreError> {
        below(&self.root.join("repositories"), "", visit, stray)
    }
}

/// Names have at most 255 characters, so the depth is bounded.
fn below(
    dir: &Path,
    prefix: &str,
    visit: &mut dyn FnMut(&Repository) -> Result<(), StoreError>,
    stray: &mut dyn FnMut(PathBuf),
) -> Result<(), StoreError> {
    let (mut ours, mut others) = (false, Vec::new());
    for name in names(dir)? {
        match name.as_str() {
            "_blobs" | "_manifests" | "_tags" | "_referrers" => ours = true,
            _ => others.push(name),
        }
    }
    if ours {
        match prefix.parse::<Repository>() {
            Ok(repository) => visit(&repository)?,
            Err(_) => stray(dir.to_owned()),
        }
    }
    for name in others {
        let path = dir.join(&name);
        let full = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
        // A link is nothing of ours, and may lead in a circle.
        let directory = fs_err::symlink_metadata(&path).is_ok_and(|found| found.is_dir());
        match full.parse::<Repository>() {
            Ok(_) if directory => below(&path, &full, visit, stray)?,
            _ => stray(path),
        }
    }
    Ok(())
}
