//! Helpers of this crate's tests.

use std::path::{Path, PathBuf};

/// A directory of the shared test data, or `None` (and a line that says so).
pub(crate) fn shared(below: &str) -> Option<PathBuf> {
    let named = std::env::var_os("BUNDLE_SHARED").map(PathBuf::from);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .map(|dir| dir.join("../shared"))
        .collect::<Vec<_>>();
    let found = named.into_iter().chain(beside).map(|dir| dir.join(below)).find(|dir| dir.is_dir());
    if found.is_none() {
        println!("skipped: no shared data `{below}` (set BUNDLE_SHARED)");
    }
    found
}
