//! Lists: tags of a repository, repositories, referrers of a manifest.
//!
//! In: where the last page ended and how many are wanted. Out: one page in lexical order, in which case
//! does not count (OCI distribution specification, "Listing Tags"), and whether more follow. What must
//! hold: memory is bounded by the page, not by what is stored (CVE-2023-2253).

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use format_spec::Repository;

use super::blobs::exists;
use super::durable::is_absent;
use super::{Store, StoreError, StoredManifest};
use crate::content::ContentDigest;
use crate::manifest::Manifest;

/// One page of names, in lexical order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// The entries of this page.
    pub entries: Vec<T>,
    /// Whether more follow.
    pub more: bool,
}

/// A manifest that refers to another one.
#[derive(Debug, Clone)]
pub struct Referrer {
    /// Its digest.
    pub digest: ContentDigest,
    /// Its media type.
    pub media_type: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its artifact type, or the media type of its config.
    pub artifact_type: Option<String>,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
}

/// One page of referrers.
#[derive(Debug, Clone, Default)]
pub struct Referrers {
    /// The entries of this page, in the order of their digests.
    pub entries: Vec<Referrer>,
    /// Where the next page goes on, when more may follow.
    pub next: Option<ContentDigest>,
}

/// Manifests read for one page of referrers: a filter may let none of them through.
pub(crate) const REFERRERS_READ: usize = 1000;

/// Bytes of manifests read for one page of referrers, whatever a filter leaves of them: about a third of a second. A thousand
/// signatures have below 2 MiB.
const REFERRERS_BYTES: u64 = 32 * 1024 * 1024;

/// Keeps the `limit` smallest names after `last`.
pub(super) struct Smallest {
    last: Option<Lexical>,
    limit: usize,
    names: BTreeSet<Lexical>,
    more: bool,
}

/// A name as it is sorted: without case first, and by its bytes where that is the same.
pub(crate) type Lexical = (String, String);

pub(crate) fn lexical(name: String) -> Lexical {
    (name.to_ascii_lowercase(), name)
}

impl Smallest {
    pub(super) fn new(last: &str, limit: usize) -> Self {
        let last = (!last.is_empty()).then(|| lexical(last.to_owned()));
        Self { last, limit, names: BTreeSet::new(), more: false }
    }

    pub(super) fn offer(&mut self, name: String) {
        let name = lexical(name);
        if self.last.as_ref().is_some_and(|last| name <= *last) {
            return;
        }
        self.names.insert(name);
        if self.names.len() > self.limit {
            self.names.pop_last();
            self.more = true;
        }
    }

    pub(super) fn page(self) -> Page<String> {
        Page { entries: self.names.into_iter().map(|(_, name)| name).collect(), more: self.more }
    }
}

impl Store {
    /// At most `limit` tags after `last` (empty: from the first); `None` when there is no such
    /// repository.
    ///
    /// # Errors
    /// I/O.
    pub fn tags(
        &self,
        repository: &Repository,
        last: &str,
        limit: usize,
    ) -> Result<Option<Page<String>>, StoreError> {
        let mut smallest = Smallest::new(last, limit);
        for name in names(&self.tags_dir(repository))? {
            smallest.offer(name);
        }
        let page = smallest.page();
        let known = !page.entries.is_empty()
            || exists(fs_err::metadata(self.manifests(repository)))?
            || exists(fs_err::metadata(self.links(repository)))?;
        Ok(known.then_some(page))
    }

    /// At most `limit` repositories after `last` (empty: from the first) that hold a manifest.
    ///
    /// # Errors
    /// I/O.
    pub fn repositories(&self, last: &str, limit: usize) -> Result<Page<String>, StoreError> {
        self.visible_repositories(last, limit, &|_| true)
    }

    /// As [`Self::repositories`], of those that its reader may see.
    ///
    /// # Errors
    /// I/O.
    pub fn visible_repositories(
        &self,
        last: &str,
        limit: usize,
        visible: &dyn Fn(&str) -> bool,
    ) -> Result<Page<String>, StoreError> {
        let mut smallest = Smallest::new(last, limit);
        walk(&self.root.join("repositories"), "", visible, &mut smallest)?;
        Ok(smallest.page())
    }

    /// The manifests that refer to `subject`, after `last`, until their annotations and the like
    /// reach about `budget` bytes or too much was looked at. With `artifact_type` only those of
    /// that type. Ends early when `wanted` says that nobody waits any more.
    ///
    /// # Errors
    /// I/O.
    pub fn referrers(
        &self,
        repository: &Repository,
        subject: &(impl Copy + Into<ContentDigest>),
        artifact_type: Option<&str>,
        last: Option<&ContentDigest>,
        budget: usize,
        wanted: &dyn Fn() -> bool,
    ) -> Result<Referrers, StoreError> {
        let subject: &ContentDigest = &(*subject).into();
        let last = last.map(ContentDigest::hex).unwrap_or_default();
        let mut smallest = Smallest::new(&last, REFERRERS_READ);
        for name in names(&self.referrers_dir(repository, subject))? {
            smallest.offer(name);
        }
        let candidates = smallest.page();
        let mut page = ReferrersPage::new(artifact_type, budget);
        let digests =
            candidates.entries.iter().filter_map(|name| ContentDigest::from_hex(name).ok());
        for digest in digests {
            let stored = self.get_manifest(repository, &digest)?;
            if !page.offer(digest, stored.and_then(Referrer::of)) || !wanted() {
                return Ok(page.cut());
            }
        }
        Ok(if candidates.more { page.cut() } else { page.whole() })
    }
}

impl Referrer {
    /// What a list says of a stored manifest.
    pub(crate) fn of(stored: StoredManifest) -> Option<Self> {
        let size = stored.bytes.len() as u64;
        // One that is empty counts as missing.
        let given = |kind: Option<String>| kind.filter(|kind| !kind.is_empty());
        // It was parsed before it was stored.
        let manifest = Manifest::parse_any(&stored.bytes, Some(&stored.media_type)).ok()?;
        let (artifact_type, annotations) = match manifest {
            Manifest::Image(image) => (
                // OCI distribution specification, "Listing Referrers".
                given(image.artifact_type).or(Some(image.config.media_type)),
                image.annotations,
            ),
            Manifest::Index(index) => (given(index.artifact_type), index.annotations),
        };
        let (digest, media_type) = (stored.digest, stored.media_type);
        Some(Self { digest, media_type, size, artifact_type, annotations })
    }
}

/// One page of referrers as it is filled.
pub(crate) struct ReferrersPage<'a> {
    artifact_type: Option<&'a str>,
    budget: usize,
    spent: usize,
    bytes: u64,
    read: Option<ContentDigest>,
    page: Referrers,
}

impl<'a> ReferrersPage<'a> {
    pub(crate) fn new(artifact_type: Option<&'a str>, budget: usize) -> Self {
        Self { artifact_type, budget, spent: 0, bytes: 0, read: None, page: Referrers::default() }
    }

    /// Takes the next one in the order of digests, `None` when there is no such manifest; `false` when the page
    /// is full without it.
    pub(crate) fn offer(&mut self, digest: ContentDigest, referrer: Option<Referrer>) -> bool {
        // Descriptor without annotations, in JSON.
        const DESCRIPTOR: usize = 512;
        let wanted = |referrer: &Referrer| {
            self.artifact_type.is_none_or(|kind| referrer.artifact_type.as_deref() == Some(kind))
        };
        if self.bytes >= REFERRERS_BYTES {
            return false;
        }
        // What the filter leaves out was read as well.
        self.bytes += referrer.as_ref().map_or(0, |referrer| referrer.size);
        if let Some(referrer) = referrer.filter(wanted) {
            let annotations = referrer.annotations.iter();
            self.spent +=
                DESCRIPTOR + annotations.map(|(k, v)| k.len() + v.len() + 8).sum::<usize>();
            if self.spent > self.budget && !self.page.entries.is_empty() {
                return false;
            }
            self.page.entries.push(referrer);
        }
        self.read = Some(digest);
        true
    }

    /// The page, when more may follow.
    pub(crate) fn cut(self) -> Referrers {
        Referrers { next: self.read, ..self.page }
    }

    /// The page, when it is the last.
    pub(crate) fn whole(self) -> Referrers {
        self.page
    }
}

/// Offers every repository below `dir` that holds a manifest and is to be seen. Names have at most 255 characters, so
/// the depth is bounded.
fn walk(
    dir: &Path,
    prefix: &str,
    visible: &dyn Fn(&str) -> bool,
    smallest: &mut Smallest,
) -> Result<(), StoreError> {
    for name in names(dir)? {
        if name.starts_with('_') {
            continue;
        }
        let full = if prefix.is_empty() { name.clone() } else { format!("{prefix}/{name}") };
        let path = dir.join(&name);
        // A link is nothing of ours, and may lead in a circle.
        if !fs_err::symlink_metadata(&path).is_ok_and(|found| found.is_dir()) {
            continue;
        }
        if visible(&full) && names(&path.join("_manifests"))?.next().is_some() {
            smallest.offer(full.clone());
        }
        walk(&path, &full, visible, smallest)?;
    }
    Ok(())
}

/// The entries of a directory, none when it does not exist. An entry that cannot be read or is not
/// UTF-8 is not ours.
pub(super) fn names(dir: &Path) -> Result<impl Iterator<Item = String>, StoreError> {
    let entries = match fs_err::read_dir(dir) {
        Ok(entries) => Some(entries),
        Err(error) if is_absent(&error) => None,
        Err(error) => return Err(error.into()),
    };
    Ok(entries
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
        .filter_map(|entry| entry.file_name().into_string().ok()))
}
