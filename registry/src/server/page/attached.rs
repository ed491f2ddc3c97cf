//! What is attached to an image: signatures, attestations, SBOMs.
//!
//! In: a repository and the digest of an image. Out: what names it as its subject, and what cosign keeps under tags
//! made of its digest. What must hold: what is said here is where something lies and what it calls itself; nobody has
//! checked a signature.

use format_spec::{Repository, Tag};

use super::limits::{GLANCE, REFERRERS};
use crate::content::{Algorithm, ContentDigest};
use crate::store::{Store, StoreError};

/// A thing that is attached.
pub(super) struct Thing {
    /// What it is, for a person.
    pub(super) what: &'static str,
    pub(super) digest: ContentDigest,
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
const SUFFIXES: [(&str, &str); 3] = [(".sig", SIGNATURE), (".att", ATTESTATION), (".sbom", SBOM)];

/// What lies under the tag of the digest alone, where clients keep it themselves ("Referrers Tag Schema").
const LIST: &str = "list of referrers";

/// Digits of a digest in that tag: a longer one is cut there.
const DIGITS: usize = 64;

/// The tag of a digest, to which cosign appends. It cuts nothing, so for SHA-512 its tags would be longer than tags are.
fn tag_of(digest: &ContentDigest) -> String {
    let hex = digest.hex();
    format!("{}-{}", digest.algorithm().name(), hex.get(..DIGITS).unwrap_or(&hex))
}

/// Whether a tag is one of these.
pub(super) fn is_attached(tag: &str) -> bool {
    let hex = |c: u8| matches!(c, b'0'..=b'9' | b'a'..=b'f');
    let known = |algorithm: Algorithm, suffix: &str| {
        let cosign = SUFFIXES.iter().any(|(known, _)| *known == suffix);
        suffix.is_empty() || (cosign && algorithm == Algorithm::Sha256)
    };
    Algorithm::ALL.into_iter().any(|algorithm| {
        let rest = tag.strip_prefix(algorithm.name()).and_then(|rest| rest.strip_prefix('-'));
        rest.and_then(|rest| rest.split_at_checked(DIGITS))
            .is_some_and(|(digits, suffix)| digits.bytes().all(hex) && known(algorithm, suffix))
    })
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
        digest: &ContentDigest,
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
    digest: &ContentDigest,
) -> Result<(Vec<Thing>, bool), StoreError> {
    list(store, repository, digest, REFERRERS)
}

fn list(
    store: &Store,
    repository: &Repository,
    digest: &ContentDigest,
    budget: usize,
) -> Result<(Vec<Thing>, bool), StoreError> {
    let mut things = Vec::new();
    let name = tag_of(digest);
    let cosign = SUFFIXES.iter().filter(|_| digest.algorithm() == Algorithm::Sha256);
    for (suffix, what) in cosign.copied().chain([("", LIST)]) {
        let Ok(tag) = format!("{name}{suffix}").parse::<Tag>() else { continue };
        if let Some(found) = store.resolve_tag(repository, &tag)? {
            let told = format!("{}-…{suffix}", digest.algorithm().name());
            things.push(Thing { what, digest: found, told, bytes: None });
        }
    }
    let page = store.referrers(repository, digest, None, None, budget, &|| true)?;
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
    fn tags_made_of_a_digest_are_known_and_no_others() {
        let hex = "0123456789abcdef".repeat(4);
        for suffix in ["", ".sig", ".att", ".sbom"] {
            assert!(is_attached(&format!("sha256-{hex}{suffix}")), "{suffix}");
        }
        assert!(is_attached(&format!("sha512-{hex}")));
        for algorithm in Algorithm::ALL {
            let tag = tag_of(&ContentDigest::of(algorithm, b"x"));
            assert!(is_attached(&tag) && tag.parse::<Tag>().is_ok(), "{tag}");
        }
        // Nobody can push this one whole, so it is a person's.
        assert!(!is_attached(&format!("sha512-{hex}.sig")));
        for tag in ["v1", "sha256-", "sha256-abc.sig", "sha512-abc"] {
            assert!(!is_attached(tag), "{tag}");
        }
        assert!(!is_attached(&format!("sha256-{hex}.exe")));
        assert!(!is_attached(&format!("sha256-{}é.sig", &hex[..63])));
    }
}
