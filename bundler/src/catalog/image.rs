//! The image that a catalog is in.
//!
//! In: an image at its origin. Out: its platforms with their manifests, configurations and layers, which of them is read, and
//! where in it the configurations are. What must hold: an image that is no catalog, or one of the old form, is refused by name
//! before any layer is read.

use std::collections::BTreeMap;

use bytes::Bytes;
use format_spec::Digest;
use format_spec::limits::MANIFEST_MAX;
use registry::manifest::{Descriptor, ImageManifest, Manifest, Platform, RawManifest};
use registry::media_type;
use registry::reference::ManifestRef;
use serde::Deserialize;

use super::error::CatalogError;
use super::files::{Directories, Holds};
use super::limits::{DOCUMENTS_MAX, PLATFORMS_MAX};
use crate::origin::{Origin, Origins, Source};
use crate::release::image::{ReadError, parse};
use crate::release::layer::plain;

/// The label that names the directory of the configurations.
pub const CONFIGS: &str = "operators.operatorframework.io.index.configs.v1";

/// The label of a catalog of the old form.
const DATABASE: &str = "operators.operatorframework.io.index.database.v1";

/// Where the server of a catalog keeps what it made of it, when its command does not say.
const CACHE: &str = "tmp/cache";

/// The image of a catalog.
#[derive(Debug, Clone)]
pub struct Image {
    /// The index; none when the image is for one platform.
    pub index: Option<RawManifest>,
    /// The images of the platforms, in the order of the index.
    pub platforms: Vec<PlatformImage>,
    /// Which of them was read.
    pub read: usize,
    /// Where the configurations and their cache are.
    pub directories: Directories,
}

/// The image of one platform.
#[derive(Debug, Clone)]
pub struct PlatformImage {
    /// What the index says it runs on.
    pub platform: Option<Platform>,
    /// Its manifest.
    pub raw: RawManifest,
    /// The same, understood.
    pub manifest: ImageManifest,
    /// Its configuration.
    pub config: Bytes,
    /// What each of its layers holds; `None` is not known.
    pub holds: Vec<Option<Holds>>,
}

impl Image {
    /// The digest of the whole.
    pub fn digest(&self) -> Digest {
        self.index.as_ref().map_or_else(|| self.platforms[self.read].raw.digest, |raw| raw.digest)
    }
}

impl PlatformImage {
    /// Which layers hold nothing that a catalog with other configurations and no cache needs. One of which nothing is known
    /// is needed, and so is the only one that has a directory which the others' content is in.
    pub fn may_be_dropped(&self) -> Vec<bool> {
        let only = |holds: &Option<Holds>| holds.as_ref().is_some_and(Holds::only_the_catalog);
        let mut dropped: Vec<bool> = self.holds.iter().map(only).collect();
        let is_kept = |dropped: &[bool], parent: &String| {
            let layers = self.holds.iter().zip(dropped);
            layers.filter(|(_, dropped)| !**dropped).any(|(holds, _)| {
                holds.as_ref().is_some_and(|holds| holds.parents.contains(parent))
            })
        };
        for at in 0..dropped.len() {
            let parents = self.holds[at].as_ref().map_or(&[][..], |holds| &holds.parents);
            if dropped[at] && !parents.iter().all(|parent| is_kept(&dropped, parent)) {
                dropped[at] = false;
            }
        }
        dropped
    }
}

/// Reads the manifests and configurations of an image.
pub async fn read(
    origins: &Origins,
    source: &Source<'_>,
    raw: RawManifest,
) -> Result<Image, CatalogError> {
    let origin = source.origin();
    let mut platforms = Vec::new();
    let index = match parse(&raw)? {
        Manifest::Image(image) => {
            platforms.push(platform(origins, &origin, None, raw, image).await?);
            None
        }
        Manifest::Index(index) => {
            if index.manifests.len() > PLATFORMS_MAX {
                return Err(CatalogError::TooMuch("more images in its index"));
            }
            for child in index.manifests.iter().filter(|child| is_image(child)) {
                let by = ManifestRef::Digest(child.digest);
                let raw = origins.manifest(&origin, &by).await?.raw;
                origins.keep(&origin, &raw);
                let Manifest::Image(image) = parse(&raw)? else {
                    return Err(ReadError::NoImage.into());
                };
                let on = child.platform.clone();
                platforms.push(platform(origins, &origin, on, raw, image).await?);
                let bytes = |image: &PlatformImage| image.raw.bytes.len() + image.config.len();
                if platforms.iter().map(bytes).sum::<usize>() > DOCUMENTS_MAX {
                    return Err(CatalogError::TooMuch("larger manifests and configurations"));
                }
            }
            Some(raw)
        }
    };
    let usual = |image: &PlatformImage| {
        image.platform.as_ref().is_some_and(|on| on.os == "linux" && on.architecture == "amd64")
    };
    let read = platforms.iter().position(usual).unwrap_or(0);
    let chosen = platforms.get(read).ok_or(ReadError::NoImage)?;
    let directories = directories(&chosen.raw.digest, &chosen.config)?;
    Ok(Image { index, platforms, read, directories })
}

/// Whether a child of an index is an image; attestations call their platform `unknown`.
fn is_image(child: &Descriptor) -> bool {
    !media_type::is_index(&child.media_type)
        && child.platform.as_ref().is_none_or(|on| on.os != "unknown")
}

async fn platform(
    origins: &Origins,
    origin: &Origin,
    platform: Option<Platform>,
    raw: RawManifest,
    manifest: ImageManifest,
) -> Result<PlatformImage, CatalogError> {
    let wrong = |problem: String| CatalogError::Config { digest: raw.digest, problem };
    let Descriptor { digest, size, .. } = manifest.config;
    if size > MANIFEST_MAX {
        return Err(wrong(format!("it has {size} bytes, at most {MANIFEST_MAX} are read")));
    }
    let config = origins.document(origin, &digest, size).await?;
    let config = config.ok_or_else(|| wrong(format!("it arrived otherwise than as {digest}")))?;
    if std::str::from_utf8(&config).is_err() {
        return Err(wrong("it is not valid UTF-8".to_owned()));
    }
    let holds = vec![None; manifest.layers.len()];
    Ok(PlatformImage { platform, raw, manifest, config, holds })
}

/// What the configuration of an image says of its directories.
fn directories(image: &Digest, config: &[u8]) -> Result<Directories, CatalogError> {
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "PascalCase", default)]
    struct Inner {
        labels: Option<BTreeMap<String, Option<String>>>,
        entrypoint: Option<Vec<String>>,
        cmd: Option<Vec<String>>,
    }
    #[derive(Deserialize)]
    struct Config {
        config: Option<Inner>,
    }
    let wrong = |problem: String| CatalogError::Config { digest: *image, problem };
    let config: Config =
        serde_json::from_slice(config).map_err(|error| wrong(error.to_string()))?;
    let inner = config.config.unwrap_or_default();
    let labels = inner.labels.unwrap_or_default();
    let label = |name: &str| labels.get(name).cloned().flatten();
    let Some(written) = label(CONFIGS) else {
        return Err(match label(DATABASE) {
            Some(path) => CatalogError::Database(path),
            None => CatalogError::NoCatalog,
        });
    };
    let configs = plain(written.as_bytes()).filter(|_| written.starts_with('/'));
    let configs = configs.ok_or(CatalogError::Directory(written))?;
    let (entrypoint, cmd) = (inner.entrypoint.unwrap_or_default(), inner.cmd.unwrap_or_default());
    let command: Vec<&str> = entrypoint.iter().chain(&cmd).map(String::as_str).collect();
    let cache = cache(&command).and_then(|path| plain(path.as_bytes()));
    Ok(Directories { configs, cache: cache.unwrap_or_else(|| CACHE.to_owned()) })
}

/// The directory that `--cache-dir` names.
fn cache<'a>(command: &[&'a str]) -> Option<&'a str> {
    let at = command.iter().position(|word| word.starts_with("--cache-dir"))?;
    match command[at].strip_prefix("--cache-dir=") {
        Some(path) => Some(path),
        None => command.get(at + 1).copied(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(config: &serde_json::Value) -> Result<Directories, CatalogError> {
        directories(&Digest::of(b"image"), config.to_string().as_bytes())
    }

    #[test]
    fn labels_and_command_say_where_everything_is() {
        let labelled = |path: &str, cmd: &[&str]| {
            of(&json!({"config": {"Labels": {CONFIGS: path, "x": null}, "Cmd": cmd}}))
        };
        let found = |configs: &str, cache: &str| Directories {
            configs: configs.to_owned(),
            cache: cache.to_owned(),
        };
        let plain = labelled("/configs", &["serve", "/configs"]).unwrap();
        assert_eq!(plain, found("configs", "tmp/cache"));
        let both = ["serve", "/configs", "--cache-dir", "/var/cache/opm/", "--x"];
        assert_eq!(labelled("/a//b/", &both).unwrap(), found("a/b", "var/cache/opm"));
        let one = labelled("/configs", &["serve", "--cache-dir=/c"]).unwrap();
        assert_eq!(one, found("configs", "c"));
        for wrong in ["", "/", "configs", "/a/../b"] {
            let error = labelled(wrong, &[]).unwrap_err();
            assert!(matches!(error, CatalogError::Directory(_)), "{wrong}: {error}");
        }
    }

    #[test]
    fn other_images_are_refused_by_name() {
        let old = of(&json!({"config": {"Labels": {DATABASE: "/database/index.db"}}})).unwrap_err();
        assert!(old.to_string().contains("/database/index.db"), "{old}");
        assert!(old.hint().unwrap().contains("opm"), "{:?}", old.hint());
        for config in [json!({"config": {"Labels": {"a": "b"}}}), json!({"config": {}}), json!({})]
        {
            let error = of(&config).unwrap_err();
            assert!(error.to_string().contains(CONFIGS), "{error}");
        }
        let error = of(&json!([])).unwrap_err();
        assert!(matches!(error, CatalogError::Config { .. }), "{error}");
    }

    #[test]
    fn layers_of_the_catalog_alone_may_be_dropped() {
        let holds = |configs, cache, other, parents: &[&str]| {
            let parents = parents.iter().map(|parent| (*parent).to_owned()).collect();
            Some(Holds { configs, cache, other, parents })
        };
        let dropped = |holds: Vec<Option<Holds>>| {
            let config = Descriptor {
                media_type: String::new(),
                digest: Digest::of(b"x"),
                size: 1,
                platform: None,
                urls: Vec::new(),
                artifact_type: None,
                annotations: BTreeMap::new(),
            };
            let manifest = ImageManifest {
                media_type: String::new(),
                config,
                layers: Vec::new(),
                subject: None,
                artifact_type: None,
                annotations: BTreeMap::new(),
            };
            let raw = RawManifest {
                bytes: Bytes::new(),
                digest: Digest::of(b"x"),
                media_type: String::new(),
            };
            let image =
                PlatformImage { platform: None, raw, manifest, config: Bytes::new(), holds };
            image.may_be_dropped()
        };
        let base = || holds(false, false, true, &["tmp"]);
        let configs = || holds(true, false, false, &[]);
        let cache = || holds(false, true, false, &["tmp"]);
        assert_eq!(dropped(vec![base(), configs(), cache()]), [false, true, true]);
        // Nothing else has the directory that the cache is in; of two such layers one stays.
        let bare = holds(false, false, true, &[]);
        assert_eq!(dropped(vec![bare, cache(), configs()]), [false, false, true]);
        assert_eq!(dropped(vec![cache(), cache()]), [false, true]);
        assert_eq!(dropped(vec![None, holds(true, true, true, &[])]), [false, false]);
        assert_eq!(dropped(vec![holds(false, false, false, &[])]), [false]);
    }
}
