//! What is attached to an image: signatures, attestations, SBOMs.
//!
//! In: a repository and the digest of an image. Out: what names it as its subject, and what cosign keeps under tags
//! made of its digest. What must hold: what is said here is where something lies and what it calls itself; nobody has
//! checked a signature.

use format_spec::{Digest, Repository, Tag};

use super::limits::{GLANCE, REFERRERS};
use crate::store::{Store, StoreError};

/// A thing that is attached.
pub(super) struct Thing {
    /// What it is, for a person.
    pub(super) what: &'static str,
    pub(super) digest: Digest,
    /// Its tag, or the type it calls itself.
    pub(super) told: String,
    pub(super) bytes: Option<u64>,
}

/// Whether there is any of each.
pub(super) struct Attached {
    pub(super) signatures: bool,
    pub(super) sboms: bool,
}

const SIGNATURE: &str = "signature";
const SBOM: &str = "SBOM";
const ATTESTATION: &str = "attestation";

/// What cosign appends to a tag made of the image's digest.
const SUFFIXES: [(&str, &str); 4] =
    [(".sig", SIGNATURE), (".att", ATTESTATION), (".sbom", SBOM), ("", "list of referrers")];

/// Whether a tag is one of these.
pub(super) fn is_attached(tag: &str) -> bool {
    let Some(rest) = tag.strip_prefix("sha256-") else { return false };
    let hex = |c: u8| matches!(c, b'0'..=b'9' | b'a'..=b'f');
    match rest.split_at_checked(64) {
        Some((digits, suffix)) => {
            digits.bytes().all(hex) && SUFFIXES.iter().any(|(known, _)| *known == suffix)
        }
        None => false,
    }
}

/// What an artifact of this type is.
pub(super) fn kind(artifact_type: &str) -> &'static str {
    let kind = artifact_type.to_ascii_lowercase();
    let has = |word: &str| kind.contains(word);
    if has("spdx") || has("cyclonedx") || has("syft") || has("sbom") {
        SBOM
    } else if has("in-toto") || has("attest") || has("dsse") {
        ATTESTATION
    } else if has("signature") || has("cosign") || has("sigstore") || has("notary") {
        SIGNATURE
    } else {
        "artifact"
    }
}

impl Attached {
    /// Whether there is something, from a few looks.
    pub(super) fn glance(
        store: &Store,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Self, StoreError> {
        let things = list(store, repository, digest, GLANCE)?.0;
        let any = |what: &str| things.iter().any(|thing| thing.what == what);
        Ok(Self { signatures: any(SIGNATURE), sboms: any(SBOM) })
    }
}

/// All that is attached, and whether there is more.
pub(super) fn all(
    store: &Store,
    repository: &Repository,
    digest: &Digest,
) -> Result<(Vec<Thing>, bool), StoreError> {
    list(store, repository, digest, REFERRERS)
}

fn list(
    store: &Store,
    repository: &Repository,
    digest: &Digest,
    budget: usize,
) -> Result<(Vec<Thing>, bool), StoreError> {
    let mut things = Vec::new();
    for (suffix, what) in SUFFIXES {
        let tag = format!("sha256-{}{suffix}", digest.hex());
        let Ok(tag) = tag.parse::<Tag>() else { continue };
        if let Some(digest) = store.resolve_tag(repository, &tag)? {
            let told = format!("sha256-…{suffix}");
            things.push(Thing { what, digest, told, bytes: None });
        }
    }
    let page = store.referrers(repository, digest, None, None, budget)?;
    for referrer in page.entries {
        let told = referrer.artifact_type.unwrap_or(referrer.media_type);
        let (what, digest) = (kind(&told), referrer.digest);
        things.push(Thing { what, digest, told, bytes: Some(referrer.size) });
    }
    Ok((things, page.next.is_some()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_of_cosign_are_known_and_no_others() {
        let hex = "0123456789abcdef".repeat(4);
        for suffix in ["", ".sig", ".att", ".sbom"] {
            assert!(is_attached(&format!("sha256-{hex}{suffix}")), "{suffix}");
        }
        for tag in ["v1", "sha256-", "sha256-abc.sig", "sha512-abc"] {
            assert!(!is_attached(tag), "{tag}");
        }
        assert!(!is_attached(&format!("sha256-{hex}.exe")));
        assert!(!is_attached(&format!("sha256-{}é.sig", &hex[..63])));
    }
}
