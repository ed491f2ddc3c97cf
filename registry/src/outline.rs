//! What a manifest names, and nothing else of it.
//!
//! In: the bytes of one manifest, as of [`crate::manifest`]. Out: digests. What must hold: what is refused there is refused
//! here; what is kept is a small part of the document, whatever it is made of, because many are read at one time.

use crate::content::ContentDigest;
use crate::json::Want;
use crate::manifest::{Descriptor, Document, LAYERS, MANIFESTS, ManifestError, PLATFORM};
use crate::media_type::is_foreign_layer;

/// What is read of a manifest: all that is judged. Texts that nobody asks for are not kept.
static OUTLINE: Want = Want::Fields(&[
    ("schemaVersion", Want::Scalar),
    ("mediaType", Want::Scalar),
    ("artifactType", Want::Scalar),
    ("config", NAMED),
    (LAYERS, Want::Each(LAYERS, &NAMED)),
    (MANIFESTS, Want::Each(MANIFESTS, &NAMED)),
    ("fsLayers", Want::Nothing),
    ("subject", NAMED),
    ("annotations", Want::Texts),
]);

/// What is read of a descriptor.
const NAMED: Want = Want::Fields(&[
    ("mediaType", Want::Scalar),
    ("digest", Want::Scalar),
    ("size", Want::Scalar),
    ("urls", Want::Texts),
    ("platform", PLATFORM),
    ("artifactType", Want::Scalar),
    ("annotations", Want::Texts),
]);

/// What a registry has to know of a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outline {
    /// Its own media type.
    pub(crate) media_type: String,
    /// The manifest it refers to.
    pub(crate) subject: Option<ContentDigest>,
    /// Configuration and layers of an image.
    pub(crate) blobs: Vec<NamedBlob>,
    /// The children of an index.
    pub(crate) children: Vec<ContentDigest>,
}

/// A blob that an image names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NamedBlob {
    pub(crate) digest: ContentDigest,
    /// The size that is stated.
    pub(crate) size: u64,
    /// It may stay where it is (OCI image specification, non-distributable layers).
    pub(crate) foreign: bool,
}

impl NamedBlob {
    fn of(descriptor: &Descriptor<ContentDigest>) -> Self {
        let foreign = is_foreign_layer(&descriptor.media_type);
        Self { digest: descriptor.digest, size: descriptor.size, foreign }
    }
}

impl Outline {
    /// Reads it; errors as of [`Manifest::parse`](crate::manifest::Manifest::parse).
    pub(crate) fn parse(bytes: &[u8], media_type: Option<&str>) -> Result<Self, ManifestError> {
        let document =
            Document::read(bytes, media_type, &OUTLINE, |descriptor| NamedBlob::of(&descriptor))?;
        let Document { media_type, config, list, subject, .. } = document;
        let subject = subject.map(|subject: Descriptor<ContentDigest>| subject.digest);
        Ok(match config {
            Some(config) => {
                let mut blobs = list;
                blobs.insert(0, NamedBlob::of(&config));
                Self { media_type, subject, blobs, children: Vec::new() }
            }
            None => {
                let children = list.into_iter().map(|child| child.digest).collect();
                Self { media_type, subject, blobs: Vec::new(), children }
            }
        })
    }

    /// The blobs that a repository must hold.
    pub(crate) fn needed(&self) -> impl Iterator<Item = &NamedBlob> {
        self.blobs.iter().filter(|blob| !blob.foreign)
    }

    /// Everything it names: configuration, layers or children, and the manifest it refers to.
    pub(crate) fn named(&self) -> impl Iterator<Item = &ContentDigest> {
        let blobs = self.blobs.iter().map(|blob| &blob.digest);
        blobs.chain(&self.children).chain(&self.subject)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::manifest::Manifest;

    /// What the two ways to read make of a document; they must agree.
    fn read(text: &str) -> Result<Outline, String> {
        let whole = Manifest::parse_any(text.as_bytes(), None).map(|manifest| Outline {
            media_type: manifest.media_type().to_owned(),
            subject: manifest.subject().map(|subject| subject.digest),
            blobs: manifest.blobs().into_iter().map(NamedBlob::of).collect(),
            children: manifest.children().iter().map(|child| child.digest).collect(),
        });
        let whole = whole.map_err(|error| error.to_string());
        let outline = Outline::parse(text.as_bytes(), None).map_err(|error| error.to_string());
        assert_eq!(whole, outline, "{text}");
        outline
    }

    fn digest(byte: u8) -> String {
        format!("sha256:{}", format!("{byte:02x}").repeat(32))
    }

    fn descriptor(byte: u8, more: &str) -> String {
        format!(r#"{{"mediaType":"a/b","digest":"{}","size":{byte}{more}}}"#, digest(byte))
    }

    fn image(layers: &str, more: &str) -> String {
        let config = descriptor(0, "");
        format!(r#"{{"schemaVersion":2,"config":{config},"layers":{layers}{more}}}"#)
    }

    #[test]
    fn it_has_what_a_manifest_names() {
        let foreign = descriptor(2, "")
            .replace("a/b", "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip");
        let subject = format!(r#","subject":{},"annotations":{{"a":"b"}}"#, descriptor(9, ""));
        let outline =
            read(&image(&format!("[{},{foreign}]", descriptor(1, "")), &subject)).unwrap();
        let needed: Vec<_> =
            outline.needed().map(|blob| (blob.digest.to_string(), blob.size)).collect();
        assert_eq!(needed, [(digest(0), 0), (digest(1), 1)]);
        let named: Vec<_> = outline.named().map(ToString::to_string).collect();
        assert_eq!(named, [0, 1, 2, 9].map(digest));
        let index = format!(
            r#"{{"schemaVersion":2,"manifests":[{},{}]}}"#,
            descriptor(3, r#","platform":{"os":"linux","architecture":"arm64"}"#),
            descriptor(4, r#","urls":["u"],"annotations":{"k":"v"},"artifactType":"t""#)
        );
        let outline = read(&index).unwrap();
        assert_eq!(
            outline.named().map(ToString::to_string).collect::<Vec<_>>(),
            [3, 4].map(digest)
        );
        assert_eq!(read(&image("null", "")).unwrap().blobs.len(), 1);
    }

    #[test]
    fn what_is_wrong_is_told_in_the_same_words() {
        let first = |more: &str| image(&format!("[{}]", descriptor(1, more)), "");
        for (text, said) in [
            (first(r#","urls":["a",1,2]"#), "urls` is not a list of texts"),
            (first(r#","urls":{"a":1}"#), "urls` is not a list of texts"),
            (
                first(r#","annotations":{"a":"b","c":null}"#),
                "annotations` is not an object of texts",
            ),
            (first(r#","annotations":["a"]"#), "annotations` is not an object"),
            (first(r#","platform":{"os":1}"#), "platform.os"),
            (first(r#","digest":"""#), "stands twice"),
            (image("[]", r#","annotations":{"a":{}}"#), "annotations` is not an object of texts"),
            (image("[]", r#","annotations":{"a":"","a":""}"#), "`a` stands twice"),
            (image("[1]", ""), "a list of objects"),
            (image("{}", ""), "layers` is not a list"),
            (image(r#"[{"mediaType":"a/b"}]"#, ""), "layers[0].digest"),
            (image("[]", r#","manifests":[]"#), "both `manifests` and `layers`"),
            (image(r#"[{}]"#, "").replace(":2,", ":1,"), "schema 1"),
            (image(&format!("[{}]", vec!["{}"; 20_001].join(",")), ""), "20001 descriptors"),
            (image("[{}] x", ""), "not valid JSON"),
        ] {
            let error = read(&text).unwrap_err();
            assert!(error.contains(said), "{error}, not {said}");
        }
    }

    proptest! {
        #[test]
        fn both_ways_to_read_agree(
            keys in proptest::collection::vec("(layers|manifests|config|subject|urls|annotations|digest|size|x)", 0..6),
            values in proptest::collection::vec(r#"(\[\]|\{\}|null|1|"a"|\["a",1\]|\{"a":"b"\}|D|\[D\]|\[D,1\])"#, 6),
        ) {
            let one = descriptor(7, r#","urls":["a"]"#);
            let members = keys.iter().zip(&values).map(|(key, value)| {
                format!(r#","{key}":{}"#, value.replace('D', &one))
            });
            let _ = read(&format!(r#"{{"schemaVersion":2{}}}"#, members.collect::<String>()));
        }
    }
}
