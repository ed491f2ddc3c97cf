//! Where everything is in the bucket.
//!
//! ```text
//! <prefix>/registry-version                         "bundle registry objects 1"
//! <prefix>/blobs/<algorithm>/<2 hex>/<hex>          a blob's pointer: its size and its pieces
//! <prefix>/data/<id>/<offset>                       the pieces of an upload, and of the blob it became
//! <prefix>/uploads/<id>                             the state of an unfinished upload
//! <prefix>/repositories/<name>/_blobs/<hex>         a word: this repository holds that blob
//! <prefix>/repositories/<name>/_manifests/<hex>     one line with a word and the media type, then the exact bytes
//! <prefix>/repositories/<name>/_tags/<lower>!<tag>  the digest the tag stands for
//! <prefix>/repositories/<name>/_tagged/<hex>/<tag>  empty: the tag stands or stood for that manifest
//! <prefix>/repositories/<name>/_referrers/<hex of subject>/<hex of manifest>   a word
//! <prefix>/catalog/<name>!                          empty: the repository holds a manifest
//! <prefix>/quarantine/<what>-<hex>-<word>           pointers and manifests that a repair took out of the way
//! <prefix>/collector                                who collects garbage, or when the last collection ended
//! <prefix>/clock/<word> probe/<word>                for a moment: what time it is, whether conditions are heeded
//! ```
//!
//! A word is one of chance, so that no two writings of an object are the same (`hold`).
//!
//! What must hold: object stores list in the order of the bytes, and pages of tags go without regard to case;
//! so a tag's key begins with its lower case. `!` sorts before every character of a name, so that `a` comes
//! before `a-b`, and no key is the beginning of another one's directory.

use format_spec::{Repository, Tag};

use crate::content::ContentDigest;

pub(super) const VERSION: &str = "registry-version";
pub(super) const UPLOADS: &str = "uploads";
pub(super) const CATALOG: &str = "catalog";
pub(super) const QUARANTINE: &str = "quarantine";

pub(super) fn blob(digest: &ContentDigest) -> String {
    let hex = digest.hex();
    format!("blobs/{}/{}/{hex}", digest.algorithm().name(), &hex[..2])
}

pub(super) fn data(id: &str) -> String {
    format!("data/{id}")
}

pub(super) fn piece(id: &str, offset: u64) -> String {
    format!("data/{id}/{offset:020}")
}

pub(super) fn upload(id: &str) -> String {
    format!("{UPLOADS}/{id}")
}

pub(super) fn links(repository: &Repository) -> String {
    format!("repositories/{repository}/_blobs")
}

pub(super) fn link(repository: &Repository, digest: &ContentDigest) -> String {
    format!("{}/{}", links(repository), digest.hex())
}

pub(super) fn manifests(repository: &Repository) -> String {
    format!("repositories/{repository}/_manifests")
}

pub(super) fn manifest(repository: &Repository, digest: &ContentDigest) -> String {
    format!("{}/{}", manifests(repository), digest.hex())
}

pub(super) fn tags(repository: &Repository) -> String {
    format!("repositories/{repository}/_tags")
}

pub(super) fn tag(repository: &Repository, tag: &Tag) -> String {
    format!("{}/{}!{tag}", tags(repository), tag.as_str().to_ascii_lowercase())
}

pub(super) fn tagged(repository: &Repository, digest: &ContentDigest) -> String {
    format!("repositories/{repository}/_tagged/{}", digest.hex())
}

pub(super) fn referrers(repository: &Repository, subject: &ContentDigest) -> String {
    format!("repositories/{repository}/_referrers/{}", subject.hex())
}

/// The repository of an entry in the catalog.
pub(super) fn catalog_entry(key: &str) -> Option<Repository> {
    key.strip_prefix(CATALOG)?.strip_prefix('/')?.strip_suffix('!')?.parse().ok()
}

pub(super) fn catalog(repository: &Repository) -> String {
    format!("{CATALOG}/{repository}!")
}
