//! A site with Operator catalogs: file-based ones, as real images of them are built.

use std::rc::Rc;

use format_spec::Digest;
use fs_err as fs;
use serde_json::{Value, json};

use super::command::Run;
use super::image::{OCI_CONFIG, OCI_LAYER, OCI_MANIFEST, Pushed};
use super::releases::tar;
use super::server::fs_write;
use super::site::Site;

/// The label that names the directory of the configurations.
pub const CONFIGS: &str = "operators.operatorframework.io.index.configs.v1";

/// Where the catalogs are.
pub const INDEX: &str = "redhat/redhat-operator-index";

/// A site whose source has bundles and catalogs of them.
pub struct Catalogs {
    pub site: Rc<Site>,
}

/// A channel: its name, and its bundles from the head down, each of which replaces the next.
pub type Channel<'a> = (&'a str, &'a [&'a str]);

impl Catalogs {
    pub fn new() -> Self {
        Self { site: Rc::new(Site::new()) }
    }

    /// The same for many runs.
    pub fn in_memory() -> Self {
        Self { site: Rc::new(Site::in_memory()) }
    }

    /// The reference of an image of a bundle or an operator. The image is pushed.
    pub fn image(&self, repository: &str, content: &str) -> String {
        let source = &self.site.source;
        let image = source.image_for(repository, None, "amd64", &[content.as_bytes()]);
        format!("{}/{repository}@{}", source.host, image.digest)
    }

    /// A package whose channels have bundles of these versions; the image of each bundle and one related image are pushed.
    /// The first channel is the default one.
    pub fn package(&self, name: &str, channels: &[Channel<'_>]) -> Vec<Value> {
        let mut objects =
            vec![json!({"schema": "olm.package", "name": name, "defaultChannel": channels[0].0})];
        let mut versions: Vec<&str> = Vec::new();
        for (channel, bundles) in channels {
            let entries: Vec<Value> = (0..bundles.len())
                .map(|at| {
                    let mut entry = json!({"name": format!("{name}.v{}", bundles[at])});
                    if let Some(next) = bundles.get(at + 1) {
                        entry["replaces"] = format!("{name}.v{next}").into();
                    }
                    entry
                })
                .collect();
            objects.push(
                json!({"schema": "olm.channel", "package": name, "name": channel, "entries": entries}),
            );
            versions
                .extend(bundles.iter().filter(|one| !versions.contains(one)).collect::<Vec<_>>());
        }
        objects.extend(versions.iter().map(|version| self.bundle(name, version)));
        objects
    }

    /// A bundle of a version, with its images.
    pub fn bundle(&self, name: &str, version: &str) -> Value {
        let own = self.image(&format!("{name}/bundle"), &format!("{name} bundle {version}"));
        let operator = self.image(&format!("{name}/operator"), &format!("{name} {version}"));
        json!({"schema": "olm.bundle", "package": name, "name": format!("{name}.v{version}"),
            "image": own,
            "properties": [
                {"type": "olm.package", "value": {"packageName": name, "version": version}},
                {"type": "olm.csv.metadata", "value": {"displayName": format!("The {name}")}}],
            "relatedImages": [{"name": "operator", "image": operator}, {"name": "", "image": own},
                {"name": "nothing", "image": ""}]})
    }

    /// A catalog image for each architecture, under a tag. Its layers: a system, the configurations, a cache.
    pub fn catalog(
        &self,
        tag: &str,
        packages: &[(&str, Vec<Value>)],
        architectures: &[&str],
    ) -> Pushed {
        let files: Vec<(String, String)> = packages
            .iter()
            .map(|(name, objects)| {
                let text: String = objects.iter().map(|object| format!("{object:#}\n")).collect();
                (format!("configs/{name}/catalog.json"), text)
            })
            .collect();
        let files: Vec<(&str, &[u8])> =
            files.iter().map(|(path, text)| (path.as_str(), text.as_bytes())).collect();
        self.catalog_of(tag, &files, architectures)
    }

    /// The same of files, by their paths in the image.
    pub fn catalog_of(&self, tag: &str, files: &[(&str, &[u8])], architectures: &[&str]) -> Pushed {
        let children: Vec<(Pushed, &str)> = architectures
            .iter()
            .map(|arch| {
                let system =
                    tar(&[("bin/opm", format!("opm for {arch}").as_bytes()), ("tmp/.keep", b"")]);
                let cache =
                    tar(&[("tmp/cache/pogreb.v1/db", format!("cache {tag} {arch}").as_bytes())]);
                (self.image_of(arch, &[&system, &tar(files), &cache]), *arch)
            })
            .collect();
        let children: Vec<(&Pushed, &str)> =
            children.iter().map(|(child, arch)| (child, *arch)).collect();
        self.site.source.index(INDEX, Some(tag), &children)
    }

    fn image_of(&self, arch: &str, layers: &[&[u8]]) -> Pushed {
        let source = &self.site.source;
        let diffs: Vec<String> = layers.iter().map(|layer| Digest::of(layer).to_string()).collect();
        let config = json!({"architecture": arch, "os": "linux",
            "config": {"Labels": {CONFIGS: "/configs"}, "Entrypoint": ["/bin/opm"],
                "Cmd": ["serve", "/configs", "--cache-dir=/tmp/cache", "--cache-enforce-integrity"]},
            "history": [{"created_by": "system"}, {"created_by": "nothing", "empty_layer": true},
                {"created_by": "configs"}, {"created_by": "cache"}],
            "rootfs": {"type": "layers", "diff_ids": diffs}});
        let config = config.to_string();
        let blob = |kind: &str, bytes: &[u8]| {
            let digest = source.put_blob(INDEX, bytes);
            json!({"mediaType": kind, "digest": digest.to_string(), "size": bytes.len()})
        };
        let layers: Vec<Value> = layers.iter().map(|layer| blob(OCI_LAYER, layer)).collect();
        let manifest = json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST,
            "config": blob(OCI_CONFIG, config.as_bytes()), "layers": layers});
        source.document(INDEX, None, OCI_MANIFEST, &manifest)
    }

    /// A configuration of version 2 with this below `operators:`, where `INDEX` is the name of the catalog.
    pub fn configure(&self, operators: &str) {
        let index = format!("{}/{INDEX}", self.site.source.host);
        self.site.configure(&format!("  operators:\n{}", operators.replace("INDEX", &index)));
    }

    /// The same of version 1.
    pub fn configure_v1(&self, operators: &str) {
        let index = format!("{}/{INDEX}", self.site.source.host);
        let text = format!(
            "kind: ImageSetConfiguration\napiVersion: mirror.openshift.io/v1alpha2\nmirror:\n  operators:\n{}",
            operators.replace("INDEX", &index)
        );
        fs_write(&self.site.path("imageset.yaml"), text.as_bytes());
    }

    /// `bundle create` into `media`.
    pub fn create(&self, media: &str, more: &[&str]) -> Run {
        self.site.create(media, more)
    }

    /// The objects of a catalog at the target, by package, as who unpacks its image for an architecture sees them.
    #[track_caller]
    pub fn seen(&self, repository: &str, tag: &str, arch: &str) -> Vec<(String, Vec<Value>)> {
        let directory = self.site.path("unpacked");
        let _ = fs::remove_dir_all(&directory);
        self.unpack(repository, tag, arch, &directory);
        let mut found = Vec::new();
        for package in super::tree(&directory.join("configs")) {
            if !package.ends_with("catalog.json") {
                continue;
            }
            let text = fs::read(directory.join("configs").join(&package)).unwrap();
            let objects = serde_json::Deserializer::from_slice(&text).into_iter::<Value>();
            let name = package.trim_end_matches("/catalog.json").to_owned();
            found.push((name, objects.map(Result::unwrap).collect()));
        }
        found
    }

    /// Unpacks the image of an architecture, whiteouts and all.
    #[track_caller]
    pub fn unpack(&self, repository: &str, tag: &str, arch: &str, to: &std::path::Path) -> Value {
        let target = &self.site.target;
        let read = |reference: &str| -> Value {
            serde_json::from_slice(&target.manifest(repository, reference).unwrap()).unwrap()
        };
        let mut manifest = read(tag);
        if let Some(children) = manifest["manifests"].as_array() {
            let is = |child: &&Value| child["platform"]["architecture"] == arch;
            let child = children.iter().find(is).unwrap();
            manifest = read(child["digest"].as_str().unwrap());
        }
        let blob = |descriptor: &Value| {
            let bytes = target.blob(repository, descriptor["digest"].as_str().unwrap()).unwrap();
            assert_eq!(descriptor["size"].as_u64().unwrap(), bytes.len() as u64);
            bytes
        };
        let config: Value = serde_json::from_slice(&blob(&manifest["config"])).unwrap();
        let layers = manifest["layers"].as_array().unwrap();
        let diffs = config["rootfs"]["diff_ids"].as_array().unwrap();
        assert_eq!(layers.len(), diffs.len(), "{config}");
        fs::create_dir_all(to).unwrap();
        for (layer, diff) in layers.iter().zip(diffs) {
            let path = self.site.path("layer");
            fs_write(&path, &blob(layer));
            let path = path.to_str().unwrap();
            let unpacked = std::process::Command::new("sh")
                .args([
                    "-c",
                    "if gzip -t \"$0\" 2>/dev/null; then gzip -dc \"$0\"; else cat \"$0\"; fi",
                    path,
                ])
                .output()
                .unwrap()
                .stdout;
            assert_eq!(Digest::of(&unpacked).to_string(), diff.as_str().unwrap());
            let own = self.site.path("own");
            let _ = fs::remove_dir_all(&own);
            fs::create_dir_all(&own).unwrap();
            fs_write(&self.site.path("layer.tar"), &unpacked);
            super::command::sh(
                "tar",
                &[
                    "-xf",
                    self.site.path("layer.tar").to_str().unwrap(),
                    "-C",
                    own.to_str().unwrap(),
                ],
            );
            // What it hides goes before what it has comes.
            for file in super::tree(&own) {
                let (above, name) = file.rsplit_once('/').unwrap_or(("", &file));
                let Some(hidden) = name.strip_prefix(".wh.") else { continue };
                let hidden = to.join(above).join(hidden);
                let _ = fs::remove_dir_all(&hidden);
                let _ = fs::remove_file(&hidden);
                fs::remove_file(own.join(&file)).unwrap();
            }
            super::command::sh(
                "cp",
                &["-a", &format!("{}/.", own.display()), to.to_str().unwrap()],
            );
        }
        config
    }
}
