//! Takes away what a plan says, from one repository of the target.
//!
//! In: a [`Plan`] and what was found. Out: what went and what stays behind, with the reason. What must hold: tags go before
//! manifests; a registry that takes the whole image when it is told to take a tag gets the image back; a registry that
//! does not delete, or not for these credentials, ends nothing but the pruning.

use format_spec::{Digest, Repository, Tag};
use registry::client::{ClientError, Deleted, ErrorKind, Fault};
use registry::reference::ManifestRef;

use super::plan::{Found, Plan};
use crate::error::ImportError;
use crate::paths::Destination;
use crate::report::{Left, Pruned, PrunedRepository};
use crate::survey::answers;

/// What a registry says when it is told to delete.
#[derive(Default)]
pub(crate) struct Remover {
    /// Why it deletes nothing at all, once that is known.
    never: Option<&'static str>,
    /// Whether it deletes by digest only.
    digests_only: bool,
}

enum Answer {
    Gone,
    Unsupported,
    Refused(String),
}

impl Remover {
    /// Carries out a plan.
    pub(crate) async fn carry_out(
        &mut self,
        at: &Destination,
        place: &Repository,
        (plan, found): (&Plan, &Found),
        pruned: &mut Pruned,
    ) -> Result<(), ImportError> {
        let mut gone = PrunedRepository::new(place);
        let mut waiting: Vec<(&Tag, Digest)> = Vec::new();
        let mut left = |name: String, reason: &str| {
            pruned.left.push(Left { name, reason: reason.to_owned() });
        };
        let tagged = |tag: &Tag| format!("{}/{place}:{tag}", at.host());
        for (tag, (digest, stays)) in &plan.tags {
            if let Some(never) = self.never {
                left(tagged(tag), never);
                continue;
            }
            match self.tag(at, place, tag, (digest, *stays), found).await? {
                Answer::Gone => gone.tags.push(tag.clone()),
                Answer::Unsupported if *stays => left(
                    tagged(tag),
                    "the registry deletes no tag by itself, and what this one names is still needed",
                ),
                Answer::Unsupported => waiting.push((tag, *digest)),
                Answer::Refused(reason) => left(tagged(tag), &reason),
            }
        }
        for digest in &plan.manifests {
            let name = format!("{}/{place}@{digest}", at.host());
            if let Some(never) = self.never {
                left(name, never);
                continue;
            }
            match delete(at, place, &(*digest).into()).await? {
                Answer::Gone => gone.manifests.push(*digest),
                Answer::Unsupported => {
                    self.never = Some("the registry does not delete");
                    left(name, "the registry does not delete");
                }
                Answer::Refused(reason) => left(name, &reason),
            }
        }
        for (tag, digest) in waiting {
            // Its tags go with a manifest, where they do not go by themselves.
            if gone.manifests.contains(&digest) {
                gone.tags.push(tag.clone());
            } else {
                left(tagged(tag), self.never.unwrap_or("what it names could not be deleted"));
            }
        }
        pruned.add(gone);
        Ok(())
    }

    /// Takes a tag away, and nothing else.
    async fn tag(
        &mut self,
        at: &Destination,
        place: &Repository,
        tag: &Tag,
        (digest, stays): (&Digest, bool),
        found: &Found,
    ) -> Result<Answer, ImportError> {
        if self.digests_only {
            return Ok(Answer::Unsupported);
        }
        let name = ManifestRef::Tag(tag.clone());
        if !stays {
            let answer = delete(at, place, &name).await?;
            self.digests_only = matches!(answer, Answer::Unsupported);
            return Ok(answer);
        }
        // OCI distribution 1.1 leaves open what a registry takes with a tag.
        let raw = at.client.get_manifest(at.host(), place, &(*digest).into()).await?;
        let answer = delete(at, place, &name).await?;
        match answer {
            Answer::Gone => {}
            Answer::Unsupported => {
                self.digests_only = true;
                return Ok(answer);
            }
            Answer::Refused(_) => return Ok(answer),
        }
        if !answers(at, place, &(*digest).into(), *digest).await? {
            let tags = found.tags.iter().filter(|(other, of)| *other != tag && *of == digest);
            let names = tags.map(|(other, _)| ManifestRef::Tag(other.clone()));
            for name in std::iter::once(ManifestRef::Digest(*digest)).chain(names) {
                let (kind, bytes) = (&raw.media_type, raw.bytes.clone());
                at.client.put_manifest(at.host(), place, &name, kind, bytes).await?;
            }
        }
        Ok(Answer::Gone)
    }
}

async fn delete(
    at: &Destination,
    place: &Repository,
    name: &ManifestRef,
) -> Result<Answer, ImportError> {
    match at.client.delete_manifest(at.host(), place, name).await {
        Ok(Deleted::Done | Deleted::NotFound) => Ok(Answer::Gone),
        Ok(Deleted::Unsupported) => Ok(Answer::Unsupported),
        Err(error) => refusal(error).map(Answer::Refused),
    }
}

/// Why the registry did not delete; what a further run may mend is an error.
fn refusal(error: ClientError) -> Result<String, ImportError> {
    match (error.kind(), error.fault()) {
        (ErrorKind::Credentials, _) => {
            Ok("the registry does not let these credentials delete".to_owned())
        }
        (_, Fault::Refused { .. }) => Ok(error.to_string()),
        _ => Err(error.into()),
    }
}
