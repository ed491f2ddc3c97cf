//! From payloads to what is carried: who signed each, what it consists of, what it is called at the target.
//!
//! In: release images that are wanted. Out: wishes for all images of them, and for each release the documents that the other
//! side needs. What must hold: a release that nobody trusted signed, and one that is none, becomes a failure with its reason
//! and nothing of it is wished for; the others go on. Its layers are read after its signature is proven.

use std::borrow::Cow;
use std::collections::HashSet;

use format_spec::head::ContentClass;
use format_spec::index::Resource;
use format_spec::names::NameError;
use format_spec::{Digest, Repository, Tag};
use futures_util::StreamExt;
use registry::client::{Client, ErrorKind as WireKind};
use registry::reference::Reference;
use semver::Version;
use serde::Serialize;

use super::keys;
use super::limits::PAYLOADS;
use super::payload::{Payload, PayloadError};
use super::proven::{Proven, ProvenError, Trust, machine};
use super::signature::Claim;
use super::store::Proof;
use super::whole::Release;
use crate::config::{PlatformFilter, ReleaseStanza};
use crate::destination::{self, Destination};
use crate::error::reason;
use crate::origin::{Origins, Source};
use crate::policy;
use crate::wish::Wish;

/// Where release images stand at the target.
pub(super) const RELEASE_IMAGES: &str = "openshift/release-images";
/// And what they consist of.
pub(super) const RELEASE: &str = "openshift/release";

/// How the tags of boot images begin, behind that of the release.
const BOOT_IMAGE: &str = "kube-virt-container";

/// A release image that is wanted.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Where it is; by digest, unless a person named it by tag.
    pub image: Reference,
    /// The channels that it was chosen from.
    pub channels: Vec<String>,
    /// Whether it is one of OKD.
    pub okd: bool,
    /// What the update graph says it is: version and architecture.
    pub said: Option<(Version, String)>,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Carried<'a> {
    /// All images of all releases.
    pub wishes: Vec<Wish<'a>>,
    /// The releases.
    pub releases: Vec<Release>,
    /// Those that cannot be carried.
    pub failures: Vec<Missed>,
    /// What a person should know.
    pub warnings: Vec<String>,
}

/// What cannot be carried.
#[derive(Debug)]
pub struct Missed {
    /// Its name.
    pub name: String,
    /// The kind of fault.
    pub kind: Option<WireKind>,
    /// What is wrong.
    pub reason: String,
    /// What to do next.
    pub hints: Vec<String>,
}

/// Red Hat's key signs no release of OKD.
const OKD_SIGNS: &str = "OKD's releases are signed by OpenShift's CI, whose keys are in `openshift/cluster-update-keys`: \
    `--release-keys FILE --signature-store https://storage.googleapis.com/openshift-ci-release/releases/signatures/openshift/release`";

/// Why one release is not carried.
#[derive(Debug, thiserror::Error)]
enum ReleaseError {
    #[error(transparent)]
    Payload(PayloadError),
    #[error("{why}")]
    Unsigned { why: String, kind: Option<WireKind>, okd: bool },
    #[error("it has no valid name at the target: {0}")]
    Name(#[from] NameError),
    #[error(
        "the update graph calls it {said}, and it is {is}: either the graph is wrong, or somebody offers another release \
         in its place"
    )]
    OtherVersion { said: Version, is: String },
    #[error(
        "it would become `{}:{}` at the target, and so would another release with other content: neither is carried",
        .0.repository,
        .0.tag
    )]
    Twice(Destination),
}

/// What to do about a release without a valid signature.
fn signed_how(fault: Option<WireKind>) -> &'static str {
    match fault {
        Some(_) => {
            "run the same command again, or name another place with signatures: `--signature-store URL|DIR|FILE`"
        }
        None => {
            "name where its signature is, `--signature-store URL|DIR|FILE`, or whose keys count, `--release-keys FILE`; \
             `--accept-unsigned-releases` carries it all the same"
        }
    }
}

impl ReleaseError {
    fn kind(&self) -> Option<WireKind> {
        match self {
            Self::Payload(error) => error.kind(),
            Self::Unsigned { kind, .. } => *kind,
            Self::Name(_) | Self::OtherVersion { .. } | Self::Twice(_) => None,
        }
    }

    fn hints(&self) -> Vec<String> {
        let hints: &[&str] = match self {
            Self::Unsigned { kind, okd: true, .. } => &[OKD_SIGNS, signed_how(*kind)],
            Self::Unsigned { kind, .. } => &[signed_how(*kind)],
            Self::OtherVersion { .. } => {
                &["`release` in the configuration carries it by its digest"]
            }
            Self::Twice(_) => &["name the one that is meant by `release` in the configuration"],
            Self::Payload(_) | Self::Name(_) => &[],
        };
        hints.iter().map(ToString::to_string).collect()
    }
}

impl From<ProvenError> for ReleaseError {
    fn from(error: ProvenError) -> Self {
        match error {
            ProvenError::Payload(error) => Self::Payload(error),
            ProvenError::Unsigned { why, kind } => Self::Unsigned { why, kind, okd: false },
        }
    }
}

/// The document of a release (`docs/decisions/0012-releases.md`).
#[derive(Serialize)]
struct Told<'a> {
    version: &'a str,
    architecture: &'a str,
    digest: Digest,
    source: &'a str,
    repository: &'a Repository,
    tag: &'a Tag,
    channels: &'a [String],
    signed: bool,
}

/// What all releases of a run share.
struct Demand<'a> {
    origins: &'a Origins,
    client: &'a Client,
    trust: &'a Trust,
    stanza: &'a ReleaseStanza,
    max_nested_paths: usize,
}

/// Looks at all wanted releases, several at a time.
pub async fn carry<'a>(
    origins: &Origins,
    client: &Client,
    wanted: &[Wanted],
    stanza: &'a ReleaseStanza,
    trust: &Trust,
    max_nested_paths: usize,
) -> Carried<'a> {
    let platforms = &stanza.platforms[..];
    let demand = &Demand { origins, client, trust, stanza, max_nested_paths };
    let outcomes: Vec<_> = futures_util::stream::iter(wanted)
        .map(|wanted| async move { (wanted, one(wanted, demand, platforms).await) })
        .buffered(PAYLOADS)
        .collect()
        .await;
    let mut carried = Carried::default();
    // By its own name, and the digest at the end of where it comes from.
    let named = |outcome: &Result<Outcome<'_>, ReleaseError>| {
        let (_, release, _) = outcome.as_ref().ok()?;
        let digest = release.name.rsplit('@').next().unwrap_or_default().to_owned();
        Some((release.members.first()?.1.clone(), digest))
    };
    let all: HashSet<_> = outcomes.iter().filter_map(|(_, outcome)| named(outcome)).collect();
    let twice = |outcome: &Result<Outcome<'_>, ReleaseError>| {
        let (own, _) = named(outcome)?;
        (all.iter().filter(|(other, _)| *other == own).count() > 1).then_some(own)
    };
    for (wanted, outcome) in outcomes {
        let outcome = twice(&outcome).map_or(outcome, |own| Err(ReleaseError::Twice(own)));
        match outcome {
            Ok((wishes, release, warnings)) => {
                carried.wishes.extend(wishes);
                carried.releases.push(release);
                let name = wanted.image.to_string();
                carried.warnings.extend(warnings.into_iter().map(|text| format!("{name}: {text}")));
            }
            Err(error) => {
                carried.failures.push(Missed {
                    name: wanted.image.to_string(),
                    kind: error.kind(),
                    reason: reason(&error),
                    hints: policy::hint(&error).map_or_else(|| error.hints(), |hint| vec![hint]),
                });
            }
        }
    }
    carried
}

type Outcome<'a> = (Vec<Wish<'a>>, Release, Vec<String>);

async fn one<'a>(
    wanted: &Wanted,
    demand: &Demand<'_>,
    platforms: &'a [PlatformFilter],
) -> Result<Outcome<'a>, ReleaseError> {
    let Demand { origins, trust, .. } = demand;
    let source = Source::Registry(Cow::Borrowed(&wanted.image));
    let with_boot = demand.stanza.kubevirt_container;
    let proven = Proven::of(origins, demand.client, &source, trust, with_boot).await;
    let proven = proven.map_err(|error| {
        let mut error = ReleaseError::from(error);
        if let ReleaseError::Unsigned { okd, .. } = &mut error {
            *okd = wanted.okd && trust.keys == [keys::built_in()];
        }
        error
    })?;
    let Proven { image, payload, proof, unsigned } = proven;
    let digest = image.digest;
    let mut warnings = Vec::new();
    warnings.extend(unsigned.map(|why| format!("carried without a valid signature: {why}")));
    warnings.extend(payload.warnings.iter().cloned());
    if let Some((said, architecture)) = &wanted.said {
        let is = &payload.references.version;
        // What a build adds behind `+` says nothing of the release.
        if !is.parse::<Version>().is_ok_and(|is| is.cmp_precedence(said).is_eq()) {
            return Err(ReleaseError::OtherVersion { said: said.clone(), is: is.clone() });
        }
        if *architecture != payload.architecture {
            warnings.push(format!(
                "the update graph for {architecture} names it, and it is for {}",
                payload.architecture
            ));
        }
    }
    let image = Reference { tag: None, digest: Some(digest), ..wanted.image.clone() };
    let tag = tag(&proof, &payload)?;
    let name = |repository: &str, tag: &str| -> Result<Destination, NameError> {
        let repository = destination::nest(&repository.parse()?, demand.max_nested_paths)?;
        Ok(Destination { repository, tag: tag.parse()? })
    };
    let own = name(RELEASE_IMAGES, tag.as_str())?;
    let mut members = vec![(image.clone(), own.clone())];
    for component in &payload.references.components {
        let destination = name(RELEASE, &format!("{tag}-{}", component.name))?;
        members.push((component.image.clone(), destination));
    }
    for (image, end) in boot_images(&payload, demand.stanza, &mut warnings) {
        members.push((image, name(RELEASE, &format!("{tag}-{end}"))?));
    }
    let source = image.to_string();
    let told = Told {
        version: &payload.references.version,
        architecture: &payload.architecture,
        digest,
        source: &source,
        repository: &own.repository,
        tag: &own.tag,
        channels: &wanted.channels,
        signed: !proof.valid.is_empty(),
    };
    let release = Release {
        name: source.clone(),
        tag: own.tag.clone(),
        unsigned: proof.valid.is_empty(),
        resources: resources(&told, &proof),
        members: members.iter().map(|(image, to)| (image.to_string(), to.clone())).collect(),
    };
    let wishes = members.into_iter().map(|(image, destination)| Wish {
        name: image.to_string(),
        source: Source::Registry(Cow::Owned(image)),
        class: ContentClass::Release,
        platforms: Cow::Borrowed(platforms),
        repository: destination.repository,
        tag: Some(destination.tag),
    });
    Ok((wishes.collect(), release, warnings))
}

fn resources(told: &Told<'_>, proof: &Proof) -> Vec<Resource> {
    let document = Resource {
        name: format!("release/{}", told.tag),
        content: serde_json::to_vec(told).unwrap_or_default(),
    };
    let hex = told.digest.hex();
    let signatures = proof.valid.iter().enumerate().map(|(at, (file, _))| Resource {
        name: format!("release-signature/sha256-{hex}-{}", at + 1),
        content: file.clone(),
    });
    std::iter::once(document).chain(signatures).collect()
}

/// The tag under which a release stands at the target: the one that it was signed with, that of its own version before
/// others; without a signature its version and architecture.
fn tag(proof: &Proof, payload: &Payload) -> Result<Tag, NameError> {
    let version = &payload.references.version;
    let own = format!("{version}-{}", machine(&payload.architecture));
    let signed = |(_, claim): &(Vec<u8>, Claim)| {
        claim.reference.parse::<Reference>().ok().and_then(|reference| reference.tag)
    };
    let tags: Vec<Tag> = proof.valid.iter().filter_map(signed).collect();
    let begins = |tag: &&Tag| tag.as_str().starts_with(version.as_str());
    let chosen = tags
        .iter()
        .find(|tag| tag.as_str() == own)
        .or_else(|| tags.iter().find(begins))
        .or_else(|| tags.first());
    chosen.map_or_else(|| own.parse(), |tag| Ok(tag.clone()))
}

/// The architectures whose boot images are asked for, as in tags.
fn boot_architectures(stanza: &ReleaseStanza) -> Vec<String> {
    const BOTH: [&str; 2] = ["x86_64", "s390x"];
    let owned = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
    if !stanza.kubevirt_container {
        return Vec::new();
    }
    if !stanza.platforms.is_empty() {
        let mut known: Vec<&str> =
            stanza.platforms.iter().map(|platform| machine(&platform.architecture)).collect();
        known.retain(|name| BOTH.contains(name));
        known.dedup();
        return owned(if known.is_empty() { &BOTH } else { &known });
    }
    let mut asked: Vec<&str> = stanza.architectures.iter().map(|name| machine(name)).collect();
    if let Some(multi) = asked.iter().position(|name| *name == "multi") {
        asked.remove(multi);
        asked.extend(BOTH.iter().filter(|name| !asked.contains(name)).copied().collect::<Vec<_>>());
    }
    owned(if asked.is_empty() { &BOTH[..1] } else { &asked })
}

/// The architectures whose boot images are wanted of a release for `own`, and how the tags of those end.
pub(super) fn boot_ends(stanza: &ReleaseStanza, own: &str) -> Vec<(String, String)> {
    let asked = boot_architectures(stanza);
    let several = asked.len() > 1;
    let own = machine(own).to_owned();
    let of_this = match own.as_str() {
        "multi" => asked,
        _ if asked.is_empty() => Vec::new(),
        _ => vec![own],
    };
    let end = |architecture: &String| match several {
        true => format!("{BOOT_IMAGE}-{architecture}"),
        false => BOOT_IMAGE.to_owned(),
    };
    of_this.into_iter().map(|architecture| (architecture.clone(), end(&architecture))).collect()
}

/// The boot images that are wanted of a payload, and the ends of their tags.
fn boot_images(
    payload: &Payload,
    stanza: &ReleaseStanza,
    warnings: &mut Vec<String>,
) -> Vec<(Reference, String)> {
    let mut images = Vec::new();
    for (architecture, end) in boot_ends(stanza, &payload.architecture) {
        let found = payload.boot_images.iter().filter(|one| one.architecture == architecture);
        let before = images.len();
        for (at, one) in found.enumerate() {
            // The first is the one that there always was.
            let end = match &one.stream {
                Some(stream) if at > 0 => {
                    end.replacen(BOOT_IMAGE, &format!("{BOOT_IMAGE}-{stream}"), 1)
                }
                _ => end.clone(),
            };
            images.push((one.image.clone(), end));
        }
        if images.len() == before {
            warnings.push(format!("it has no boot image of KubeVirt for {architecture}"));
        }
    }
    images
}

#[cfg(test)]
#[path = "carry_tests.rs"]
mod tests;
