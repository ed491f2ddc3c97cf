//! A place on this machine that holds images by the digests of their manifests and blobs: a medium, a directory.
//!
//! In: digests, and tags where the place has some. Out: manifests, hashed, and sources of blobs, which the caller hashes. Each
//! place proves what it gives out in its own way, and says in an error what to do about what it cannot prove.

use std::fmt::Debug;
use std::io;
use std::path::Path;
use std::sync::Arc;

use format_spec::{Digest, Tag};

use crate::client::BlobSource;
use crate::manifest::{Descriptor, RawManifest};

/// A place that holds images. Its functions block.
pub trait Shelf: Debug + Send + Sync {
    /// What messages call it.
    fn name(&self) -> String;

    /// The transport of containers/image that it is, and its path; `None` when that knows no such place.
    fn transport(&self) -> Option<(&'static str, &Path)> {
        None
    }

    /// A manifest; `None` when it is not there.
    fn manifest(&self, digest: &Digest) -> io::Result<Option<RawManifest>>;

    /// What a tag names; `None` when there is no such tag.
    fn tagged(&self, tag: &Tag) -> io::Result<Option<Digest>>;

    /// The manifests that name `subject` as their subject.
    fn referrers(&self, subject: &Digest) -> io::Result<Vec<Descriptor>>;

    /// The bytes of a blob of `size` bytes; `None` when it is not there.
    fn blob(&self, digest: &Digest, size: u64) -> io::Result<Option<Arc<dyn BlobSource>>>;
}
