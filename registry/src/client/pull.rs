//! Pulls: manifests as they are, and what a registry says of manifests and blobs.
//!
//! In: tags and digests. Out: exactly those bytes, or an error. What must hold: a manifest is hashed
//! whatever the registry says about it (GHSA-qv35-3gw6-8q4j).

use format_spec::limits::MANIFEST_MAX;
use format_spec::{Digest, Repository};
use reqwest::Method;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};

use super::answer::text;
use super::error::{Failed, Fault};
use super::headers::length;
use super::room::{Room, Taken};
use super::session::Session;
use super::token::Scopes;
use super::{Client, ClientError, Core, ErrorKind, ManifestHead, subject};
use crate::manifest::{RawManifest, is_general, own_type};
use crate::media_type::{self, essence};
use crate::reference::{ManifestRef, RegistryHost};

const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

impl Client {
    /// The manifest, exactly as received, with the digest of what arrived. Asked for by digest, any
    /// other content is [`ErrorKind::Damaged`]; asked for by tag, content that the registry's own
    /// `Docker-Content-Digest` does not fit.
    pub async fn get_manifest(
        &self,
        host: &RegistryHost,
        repository: &Repository,
        reference: &ManifestRef,
    ) -> Result<RawManifest, ClientError> {
        self.manifest(host, repository, reference, None).await.map(|(raw, _)| raw)
    }

    /// The same for many at a time: a large one waits, with its answer begun, until `room` has room for it.
    /// It stays taken until the caller is done with the manifest and drops it.
    pub async fn get_manifest_in(
        &self,
        room: &Room,
        host: &RegistryHost,
        repository: &Repository,
        reference: &ManifestRef,
    ) -> Result<(RawManifest, Taken), ClientError> {
        self.manifest(host, repository, reference, Some(room)).await
    }

    async fn manifest(
        &self,
        host: &RegistryHost,
        repository: &Repository,
        reference: &ManifestRef,
        room: Option<&Room>,
    ) -> Result<(RawManifest, Taken), ClientError> {
        let core = &*self.core;
        let by_digest = matches!(reference, ManifestRef::Digest(_));
        let run = async {
            let places = core.places(host, repository, by_digest)?;
            core.at_places(&format!("{host}/{repository}"), places, |session, repository| {
                let reference = reference.clone();
                Box::pin(
                    async move { manifest_at(core, &session, &repository, &reference, room).await },
                )
            })
            .await
        };
        run.await.map_err(|failed| {
            ClientError::new("pull manifest", subject(host, repository, reference), failed)
        })
    }

    /// What the registry says of a manifest; `None` when it has none. Not proof of anything.
    pub async fn head_manifest(
        &self,
        host: &RegistryHost,
        repository: &Repository,
        reference: &ManifestRef,
    ) -> Result<Option<ManifestHead>, ClientError> {
        let core = &*self.core;
        let by_digest = matches!(reference, ManifestRef::Digest(_));
        let run = async {
            let places = core.places(host, repository, by_digest)?;
            core.at_places(&format!("{host}/{repository}"), places, |session, repository| {
                let reference = reference.clone();
                Box::pin(async move { head_at(core, &session, &repository, &reference).await })
            })
            .await
        };
        found(run.await).map_err(|failed| {
            ClientError::new("look up manifest", subject(host, repository, reference), failed)
        })
    }

    /// Whether the registry has a blob (`None`: no), and its size if it says. Not proof.
    pub async fn head_blob(
        &self,
        host: &RegistryHost,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Option<Option<u64>>, ClientError> {
        // For targets, where mirrors do not apply: what is asked is whether this very registry has it.
        let run = async {
            let session = self.core.session(host, false).await?;
            blob_head(&self.core, &session, repository, digest).await
        };
        found(run.await).map_err(|failed| {
            ClientError::new("look up blob", format!("{host}/{repository}@{digest}"), failed)
        })
    }
}

/// Not found is an answer here, not an error.
fn found<T>(result: Result<T, Failed>) -> Result<Option<T>, Failed> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(failed) if failed.fault.kind() == ErrorKind::NotFound => Ok(None),
        Err(failed) => Err(failed),
    }
}

fn accept() -> HeaderMap {
    let mut headers = HeaderMap::new();
    for kind in media_type::ACCEPT {
        headers.append(ACCEPT, HeaderValue::from_static(kind));
    }
    headers
}

pub(super) async fn manifest_at(
    core: &Core,
    session: &Session,
    repository: &Repository,
    reference: &ManifestRef,
    room: Option<&Room>,
) -> Result<(RawManifest, Taken), Failed> {
    let scopes = Scopes::pull(repository);
    let url = session.url(&format!("{repository}/manifests/{reference}"))?;
    let mut request = session.request(core, Method::GET, url, &scopes);
    request.headers = accept();
    request.redirects = true;
    request.room = room;
    let (headers, bytes, taken) = session.fetch(core, &request, MANIFEST_MAX).await?;
    let digest = Digest::of(&bytes);
    let expected = match reference {
        // The body proves itself; a wrong header on good bytes takes nothing from them.
        ManifestRef::Digest(expected) => Some(*expected),
        // Nothing else says what was meant; a body that changed on the way shows only here.
        ManifestRef::Tag(_) => {
            text(&headers, &CONTENT_DIGEST).and_then(|said| said.parse::<Digest>().ok())
        }
    };
    if let Some(expected) = expected
        && expected != digest
    {
        return Err(Fault::Digest { expected, found: digest }.into());
    }
    let said = text(&headers, &CONTENT_TYPE).map(essence).unwrap_or_default();
    let media_type = if is_general(&said) {
        own_type(&bytes).ok_or_else(|| Fault::Protocol("what was sent is not a manifest".into()))?
    } else {
        said
    };
    Ok((RawManifest { bytes, digest, media_type }, taken))
}

async fn head_at(
    core: &Core,
    session: &Session,
    repository: &Repository,
    reference: &ManifestRef,
) -> Result<ManifestHead, Failed> {
    let scopes = Scopes::pull(repository);
    let url = session.url(&format!("{repository}/manifests/{reference}"))?;
    let mut request = session.request(core, Method::HEAD, url, &scopes);
    request.headers = accept();
    request.redirects = true;
    match session.send(core, &request).await {
        Ok(answer) => Ok(ManifestHead {
            digest: text(answer.headers(), &CONTENT_DIGEST).and_then(|text| text.parse().ok()),
            size: length(answer.headers()),
            media_type: text(answer.headers(), &CONTENT_TYPE).map(essence),
        }),
        // HEAD is optional in practice; GET is not.
        Err(Failed { fault: Fault::Refused { status: 400 | 405 | 501, .. }, .. }) => {
            let (raw, _) = manifest_at(core, session, repository, reference, None).await?;
            Ok(ManifestHead {
                digest: Some(raw.digest),
                size: Some(raw.bytes.len() as u64),
                media_type: Some(raw.media_type),
            })
        }
        Err(failed) => Err(failed),
    }
}

pub(super) async fn blob_head(
    core: &Core,
    session: &Session,
    repository: &Repository,
    digest: &Digest,
) -> Result<Option<u64>, Failed> {
    let scopes = Scopes::pull(repository);
    let url = session.url(&format!("{repository}/blobs/{digest}"))?;
    let mut request = session.request(core, Method::HEAD, url, &scopes);
    request.redirects = true;
    let answer = session.send(core, &request).await?;
    Ok(length(answer.headers()))
}
