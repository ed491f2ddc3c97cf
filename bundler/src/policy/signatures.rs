//! The signatures of one image, from wherever they are.
//!
//! In: an image and the digest that it has. Out: signatures, each with its place; nothing of them is believed yet. In order: beside the
//! registry (`signature-1`, `signature-2` and so on, until there is no more), in a directory beside its manifest, and attached to
//! the image in its own repository. What must hold: a place that cannot be asked is a fault, as it may have the one that counts.

use std::io::{self, Read as _};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use format_spec::{Digest, Tag};
use registry::client::ErrorKind as WireKind;
use registry::manifest::Manifest;
use registry::media_type::essence;

use super::json::Json;
use super::limits::{SIGNATURE_MAX, SIGNATURES_MAX};
use super::lookaside::{Base, Registries};
use super::scope::Subject;
use crate::error::reason;
use crate::origin::{Origin, OriginError, Origins};

/// The type of what sigstore attaches as a signature.
const ATTACHED: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// The annotation with the signature itself.
const ANNOTATION: &str = "dev.cosignproject.cosign/signature";

/// A signature.
#[derive(Debug)]
pub(super) struct Signature {
    /// Where it is, for people.
    pub(super) place: String,
    pub(super) content: Content,
}

/// What it is.
#[derive(Debug)]
pub(super) enum Content {
    /// A message of OpenPGP.
    Simple(Vec<u8>),
    /// What is signed, and the signature in base64.
    Sigstore { payload: Vec<u8>, signature: Option<String> },
    /// Something else.
    Unknown(String),
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Signatures {
    pub(super) all: Vec<Signature>,
    /// Where was looked.
    pub(super) looked: Vec<String>,
    /// Those that may be in the registry were not looked at.
    pub(super) attachments_off: bool,
}

/// Why a place could not be asked.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) kind: Option<WireKind>,
    pub(super) reason: String,
}

impl Signatures {
    /// Looks for the signatures of an image.
    pub(super) async fn of(
        origins: &Origins,
        origin: &Origin,
        registries: &Registries,
        subject: &Subject,
        digest: &Digest,
    ) -> Result<Self, Fault> {
        let mut found = Self::default();
        if let Some(directory) = &subject.directory {
            found.in_directory(directory).map_err(|error| of_io(&error))?;
        }
        if let Some(name) = &subject.name {
            let base = registries.base(name).map_err(|reason| Fault { kind: None, reason })?;
            found.beside(origins, &base, &name.name, digest).await?;
            found.attachments_off = !registries.attachments(name);
            if !found.attachments_off {
                found
                    .attached(origins, origin, digest)
                    .await
                    .map_err(|error| Fault { kind: error.kind(), reason: reason(&error) })?;
            }
        }
        Ok(found)
    }

    fn add(&mut self, place: String, file: &[u8]) {
        self.all.push(Signature { place, content: Content::of(file) });
    }

    fn in_directory(&mut self, directory: &Path) -> io::Result<()> {
        self.looked.push(format!("`{}`", directory.display()));
        for number in 1..=SIGNATURES_MAX {
            let path = directory.join(format!("signature-{number}"));
            let Some(file) = read(&path)? else { break };
            self.add(format!("`{}`", path.display()), &file);
        }
        Ok(())
    }

    async fn beside(
        &mut self,
        origins: &Origins,
        base: &Base,
        name: &str,
        digest: &Digest,
    ) -> Result<(), Fault> {
        let (_, repository) = name.split_once('/').unwrap_or(("", name));
        let below = format!("{repository}@sha256={}", digest.hex());
        match base {
            Base::Directory(base) => {
                self.in_directory(&base.join(&below)).map_err(|error| of_io(&error))
            }
            Base::Web(base) => {
                let mut place = base.clone();
                place.path_segments_mut().expect("checked").pop_if_empty().extend(below.split('/'));
                self.looked.push(format!("`{}`", &place[..url::Position::AfterPath]));
                for number in 1..=SIGNATURES_MAX {
                    let mut url = place.clone();
                    let file = format!("signature-{number}");
                    url.path_segments_mut().expect("checked").push(&file);
                    match origins.client().document(&url, "*/*", SIGNATURE_MAX as u64).await {
                        Ok(document) => {
                            let place = format!("`{}`", &url[..url::Position::AfterPath]);
                            self.add(place, &document.bytes);
                        }
                        Err(error) if error.kind() == WireKind::NotFound => break,
                        Err(error) => {
                            return Err(Fault { kind: Some(error.kind()), reason: reason(&error) });
                        }
                    }
                }
                Ok(())
            }
        }
    }

    async fn attached(
        &mut self,
        origins: &Origins,
        origin: &Origin,
        digest: &Digest,
    ) -> Result<(), OriginError> {
        let tag = format!("sha256-{}.sig", digest.hex());
        self.looked.push(format!("the tag `{tag}`"));
        let tag: Tag = tag.parse().expect("a valid tag");
        let Some(arrived) = origins.tagged(origin, &tag).await? else { return Ok(()) };
        let manifest = match arrived.raw.parse() {
            Ok(Manifest::Image(manifest)) => manifest,
            Ok(Manifest::Index(_)) => {
                let what = "it is an index, and not an image with signatures".to_owned();
                self.all
                    .push(Signature { place: tag.to_string(), content: Content::Unknown(what) });
                return Ok(());
            }
            Err(error) => {
                let content = Content::Unknown(error.to_string());
                self.all.push(Signature { place: tag.to_string(), content });
                return Ok(());
            }
        };
        // Its room goes: what follows may wait for some.
        drop(arrived);
        let layers = manifest.layers.iter().take(SIGNATURES_MAX as usize).enumerate();
        for (at, layer) in layers {
            // Attestations stand there too.
            if essence(&layer.media_type) != ATTACHED {
                continue;
            }
            let place = format!("signature {} of `{tag}`", at + 1);
            let content = if layer.size > SIGNATURE_MAX as u64 {
                Content::Unknown(format!("it is larger than {SIGNATURE_MAX} bytes"))
            } else {
                match origins.document(origin, &layer.digest, layer.size).await? {
                    Some(payload) => Content::Sigstore {
                        payload: payload.into(),
                        signature: layer.annotations.get(ANNOTATION).cloned(),
                    },
                    None => Content::Unknown("it is not what its digest says".to_owned()),
                }
            };
            self.all.push(Signature { place, content });
        }
        Ok(())
    }
}

impl Content {
    /// What a file is. A text of sigstore in a file has a zero before its name.
    pub(super) fn of(file: &[u8]) -> Self {
        if file.len() > SIGNATURE_MAX {
            return Self::Unknown(format!("it is larger than {SIGNATURE_MAX} bytes"));
        }
        match file.strip_prefix(b"\0sigstore-json\n") {
            Some(json) => Self::filed(json).unwrap_or_else(Self::Unknown),
            None if file.first().is_some_and(|first| first & 0x80 != 0) => {
                Self::Simple(file.to_vec())
            }
            None => {
                Self::Unknown("it is neither a message of OpenPGP nor one of sigstore".to_owned())
            }
        }
    }

    fn filed(json: &[u8]) -> Result<Self, String> {
        let [media_type, payload, annotations] =
            Json::parse(json)?.exactly(["mimeType", "payload", "annotations"])?;
        if media_type.text()? != ATTACHED {
            return Err("it is attached as something else than a signature".to_owned());
        }
        let payload = STANDARD.decode(payload.text()?).map_err(|error| error.to_string())?;
        let signature = match annotations {
            Json::Object(members) => members.into_iter().find(|(name, _)| name == ANNOTATION),
            _ => None,
        };
        let signature = signature.map(|(_, value)| value.text()).transpose()?;
        Ok(Self::Sigstore { payload, signature })
    }
}

/// A file of a signature; `None` where there is none.
fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match registry::regular::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(SIGNATURE_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

fn of_io(error: &io::Error) -> Fault {
    Fault { kind: None, reason: reason(error) }
}
