//! A manifest that the target refuses under its name: there already, kept by a rule, or of a kind that is not taken.
//!
//! In: a refusal. Out: nothing when the target has exactly this under this name (immutable tags refuse that too), or
//! the refusal with what it concerns.

use format_spec::{Digest, Repository};
use registry::client::{ClientError, Fault};
use registry::manifest::Manifest;
use registry::media_type::{DOCKER_CONFIG, OCI_CONFIG};
use registry::reference::ManifestRef;

use crate::error::ImportError;
use crate::paths::Destination;
use crate::survey::answers;

/// What a refusal of `name` means.
pub(crate) async fn settle(
    at: &Destination,
    place: &Repository,
    name: &ManifestRef,
    digest: Digest,
    error: ClientError,
) -> Result<(), ImportError> {
    // What it lacks has to come first, whatever is there under the name.
    if is_of_a_blob(&error) {
        return Err(error.into());
    }
    let said = match error.fault() {
        Fault::Refused { detail, .. } | Fault::Unauthorized { status: 403, detail, .. } => {
            detail.clone()
        }
        _ => return Err(error.into()),
    };
    match answers(at, place, name, digest).await {
        Ok(true) => {
            tracing::debug!(%place, %digest, "refused, and it is there already");
            return Ok(());
        }
        Ok(false) => {}
        // The refusal is the better reason.
        Err(_) => return Err(error.into()),
    }
    if let ManifestRef::Tag(tag) = name
        && is_of_a_rule(error.fault(), &said)
    {
        return Err(ImportError::Kept {
            place: format!("{}/{place}:{tag}", at.host()),
            digest,
            said,
            records: *place == at.ledger,
        });
    }
    Err(error.into())
}

/// Whether a rule of the registry keeps a tag where it is: ECR (400, `TAG_INVALID`), Harbor (412), others in words.
fn is_of_a_rule(fault: &Fault, said: &str) -> bool {
    let said = said.to_ascii_lowercase();
    matches!(fault, Fault::Refused { status: 409 | 412, .. })
        || ["immutable", "cannot be overwritten"].iter().any(|words| said.contains(words))
}

/// Whether the registry misses what a manifest names.
pub(crate) fn is_of_a_blob(error: &ClientError) -> bool {
    ["MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN"].iter().any(|code| error.has_code(code))
}

/// Whether the registry does not take a document of this kind (Artifactory with cosign's artifacts, cosign#1994).
pub(crate) fn is_of_a_kind(error: &ClientError) -> bool {
    ["MANIFEST_INVALID", "UNSUPPORTED"].iter().any(|code| error.has_code(code))
        || matches!(error.fault(), Fault::Refused { status: 415, .. })
}

/// What kind of artifact this is; `None` for an image or an index of images.
pub(crate) fn artifact_kind(bytes: &[u8], media_type: &str) -> Option<String> {
    let manifest = Manifest::parse(bytes, Some(media_type)).ok()?;
    match &manifest {
        Manifest::Image(image) => {
            let config = &image.config.media_type;
            let of_layer = image.layers.first().map(|layer| &layer.media_type);
            // cosign: the configuration of an image, and layers of its own.
            let of_layer = of_layer.filter(|kind| !kind.contains(".image."));
            let other = (config != OCI_CONFIG && config != DOCKER_CONFIG).then_some(config);
            let kind = image.artifact_type.as_ref().or(other).or(of_layer);
            kind.or(image.subject.is_some().then_some(config)).cloned()
        }
        Manifest::Index(index) => index.artifact_type.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn artifacts_are_told_from_images() {
        let of = |config: &str, layer: &str| {
            let one = |kind: &str| {
                serde_json::json!({"mediaType": kind, "size": 1,
                "digest": Digest::of(b"x").to_string()})
            };
            let document = serde_json::json!({"schemaVersion": 2, "mediaType":
                registry::media_type::OCI_MANIFEST, "config": one(config), "layers": [one(layer)]});
            artifact_kind(document.to_string().as_bytes(), registry::media_type::OCI_MANIFEST)
        };
        let layer = registry::media_type::OCI_LAYER_GZIP;
        assert_eq!(of(OCI_CONFIG, layer), None);
        assert_eq!(of(DOCKER_CONFIG, registry::media_type::DOCKER_LAYER_GZIP), None);
        let seal = "application/vnd.dev.cosign.simplesigning.v1+json";
        assert_eq!(of(OCI_CONFIG, seal).as_deref(), Some(seal));
        let chart = "application/vnd.cncf.helm.config.v1+json";
        assert_eq!(of(chart, layer).as_deref(), Some(chart));
    }
}
