//! What is attached to an image: cosign's tags and OCI referrers, and what is attached to those.
//!
//! In: the manifests of an image. Out: more of them, and a name for each, so that they stand at the target
//! as they stood at the source. What must hold: nothing is asked for while requests that were begun
//! before are not looked after: they keep the leave to ask that it waits for.

use std::collections::HashSet;
use std::sync::Mutex;

use format_spec::{Digest, Tag};
use futures_util::future::try_join_all;
use registry::client::ErrorKind as WireKind;
use registry::limits::REFERRERS_MAX;
use registry::reference::ManifestRef;

use crate::history::Name;
use crate::lock;
use crate::node::{Read, Reader};
use crate::origin::Origin;
use crate::resolve::Wanted;
use crate::tree::{ImageError, Tree};

/// How deep referrers of referrers are followed: a signature over an SBOM over an image is 2.
const ATTACHED_DEPTH: usize = 4;

/// Manifests looked at together: those of a usual index.
const SUBJECTS: usize = 8;

impl Tree<'_> {
    /// Finds what is attached to every manifest found so far, and to what is attached.
    pub(crate) async fn attached(
        &mut self,
        names: &mut Vec<Wanted>,
        warnings: &Mutex<Vec<String>>,
    ) -> Result<(), ImageError> {
        let mut subjects: Vec<Digest> = self.manifests.keys().copied().collect();
        for _ in 0..ATTACHED_DEPTH {
            let reader = self.reader;
            let before: HashSet<Digest> = self.manifests.keys().copied().collect();
            for some in subjects.chunks(SUBJECTS) {
                // To their end, before anything else is asked for.
                let looking = some.iter().map(|subject| attached_to(reader, *subject));
                for Attached { subject, tagged, referrers } in try_join_all(looking).await? {
                    for (tag, read) in tagged {
                        names.push(self.wanted(Name::Tag(tag), read.digest));
                        self.add(read, &[]).await?;
                    }
                    match referrers {
                        Ok(list) => self.referrers(subject, &list, names, warnings).await?,
                        Err(refused) => {
                            lock(warnings).push(format!("{}: {refused}", names[0].source));
                        }
                    }
                }
            }
            subjects =
                self.manifests.keys().filter(|digest| !before.contains(digest)).copied().collect();
            if subjects.is_empty() {
                break;
            }
        }
        let deeper = self.deeper(subjects, &names[0].source).await?;
        lock(warnings).extend(deeper);
        let mut seen = HashSet::new();
        names.retain(|wanted| seen.insert(wanted.name.clone()));
        Ok(())
    }

    /// What is attached to `subjects`, the last that are followed, and stays behind: one warning a subject.
    async fn deeper(&self, subjects: Vec<Digest>, image: &str) -> Result<Vec<String>, ImageError> {
        let mut warnings = Vec::new();
        let reader = self.reader;
        for some in subjects.chunks(SUBJECTS) {
            let looking = some.iter().map(|subject| attached_to(reader, *subject));
            for Attached { subject, tagged, referrers } in try_join_all(looking).await? {
                let carried = |digest| self.manifests.contains_key(digest);
                let more = match referrers {
                    Ok(referrers) => referrers.iter().any(|digest| !carried(digest)),
                    Err(refused) => {
                        warnings.push(format!("{image}: {refused}"));
                        false
                    }
                };
                if more || !tagged.is_empty() {
                    let whole = self.wanted(Name::Digest(subject), subject).source;
                    warnings.push(format!(
                        "{image}: what is attached to {subject} is left behind, it is deeper than {ATTACHED_DEPTH} \
                         levels; to carry it, name `{whole}` in `additionalImages` too"
                    ));
                }
            }
        }
        Ok(warnings)
    }

    /// Adds the manifests that name `subject` as theirs. Those that the index under the plain tag names are
    /// there already, as its children.
    async fn referrers(
        &mut self,
        subject: Digest,
        referrers: &[Digest],
        names: &mut Vec<Wanted>,
        warnings: &Mutex<Vec<String>>,
    ) -> Result<(), ImageError> {
        for digest in referrers {
            if !self.manifests.contains_key(digest) {
                let by_digest = ManifestRef::Digest(*digest);
                match self.reader.manifest(&by_digest, &[]).await {
                    Ok(read) => self.add(read, &[]).await?,
                    // A registry may list what it no longer has.
                    Err(ImageError::Origin(error)) if error.is_not_found() => {
                        lock(warnings).push(format!(
                            "{}: a referrer {digest} of {subject} is listed but not there: left behind",
                            names[0].source
                        ));
                        continue;
                    }
                    Err(error) => return Err(error),
                }
            }
            names.push(self.wanted(Name::Digest(*digest), *digest));
        }
        Ok(())
    }

    fn wanted(&self, name: Name, digest: Digest) -> Wanted {
        let place = match self.reader.origin {
            Origin::Registry(host, repository) => format!("{host}/{repository}"),
            Origin::Layout(path) => format!("oci://{}", path.display()),
            Origin::Shelf(held) => held.0.name(),
        };
        let source = match &name {
            Name::Tag(tag) => format!("{place}:{tag}"),
            Name::Digest(digest) => format!("{place}@{digest}"),
        };
        Wanted { name, digest, source }
    }
}

/// What is attached to one manifest.
struct Attached {
    subject: Digest,
    tagged: Vec<(Tag, Read)>,
    /// Their digests, or why they cannot be listed.
    referrers: Result<Vec<Digest>, String>,
}

/// What is attached to one manifest: cosign's tags (`sha256-<hex>.sig`, `.att`, `.sbom`), the
/// referrers tag of OCI distribution 1.1 (`sha256-<hex>`), and what the referrers API lists.
async fn attached_to(reader: Reader<'_>, subject: Digest) -> Result<Attached, ImageError> {
    let tags = [".sig", ".att", ".sbom", ""].map(|suffix| {
        format!("sha256-{}{suffix}", subject.hex()).parse::<Tag>().expect("a valid tag")
    });
    let tags = reader.place.may_hold(reader, &subject, tags).await;
    // All at once: most are not there, and the way to the registry is what takes the time.
    let look = |tag| async move { Ok::<_, ImageError>((reader.tagged(&tag).await?, tag)) };
    let looking = try_join_all(tags.into_iter().map(look));
    let listing = reader.origins.referrers(reader.origin, &subject);
    let (looked, listed) = futures_util::future::join(looking, listing).await;
    let mut tagged = Vec::new();
    for (read, tag) in looked? {
        // An image can be tagged `sha256-<hex>` of itself; that is no referrers index.
        tagged.extend(read.filter(|read| read.digest != subject).map(|read| (tag, read)));
    }
    let referrers = match listed {
        Ok(Some(descriptors)) => Ok(descriptors.iter().map(|d| d.digest).collect()),
        // Without the API, the index under the plain tag names them. It was found above.
        Ok(None) => Ok(fallback(&tagged)),
        Err(error) if error.kind() == Some(WireKind::Refused) => {
            Err(format!("referrers of {subject} cannot be listed: {error}"))
        }
        Err(error) => return Err(error.into()),
    };
    if referrers.as_ref().is_ok_and(|referrers: &Vec<_>| referrers.len() > REFERRERS_MAX) {
        return Err(ImageError::Referrers(subject));
    }
    Ok(Attached { subject, tagged, referrers })
}

/// The referrers that the index under the tag `sha256-<hex>` names. Somebody's image under that name is
/// no list, and has no children.
fn fallback(tagged: &[(Tag, Read)]) -> Vec<Digest> {
    let plain = tagged.iter().find(|(tag, _)| !tag.as_str().contains('.'));
    plain.map(|(_, read)| read.node.children.to_vec()).unwrap_or_default()
}
