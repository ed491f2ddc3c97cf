//! A site with releases: payloads as real ones are, signed with a test's own key.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use format_spec::index::Index;
use format_spec::{Digest, codec};
use fs_err as fs;
use serde_json::{Value, json};

use super::command::Run;
use super::image::Pushed;
use super::server::fs_write;
use super::site::Site;
use super::test_key::TestKey;
use super::{listener, serve, skip, text};

pub const COMPONENTS: &str = "openshift-release-dev/ocp-v4.0-art-dev";
pub const RELEASES: &str = "openshift-release-dev/ocp-release";

/// A site whose source has releases.
pub struct Releases {
    pub site: Rc<Site>,
    pub key: TestKey,
}

impl Releases {
    /// `bundle release …` with the keys and signatures of this site.
    pub fn release_command(&self, words: &[&str], more: &[&str]) -> Run {
        let (keys, workspace) = (self.site.path("keys.pgp"), self.site.path("elsewhere"));
        let ours = [
            "--release-keys",
            text(&keys),
            "--workspace",
            text(&workspace),
            "--retry-delay",
            "20ms",
        ];
        let mut command = self.site.command(&["release"]);
        Run::of(command.args(words).args(ours).args(more))
    }

    /// `None` after saying why there is none.
    pub fn new() -> Option<Self> {
        Self::at(Rc::new(Site::new()))
    }

    /// The same at a site that has more.
    pub fn at(site: Rc<Site>) -> Option<Self> {
        let Some(key) = TestKey::new() else {
            skip("`openssl` is not on this machine: no release is signed");
            return None;
        };
        fs_write(&site.path("keys.pgp"), &key.public());
        fs::create_dir_all(site.path("store")).unwrap();
        Some(Self { site, key })
    }

    /// One small image for each name, by digest alone.
    pub fn components(&self, names: &[String], generation: &str) -> Vec<(String, Digest)> {
        let source = &self.site.source;
        let push = |name: &String| {
            let content = format!("{name} of {generation}");
            let image = source.image_for(COMPONENTS, None, "amd64", &[content.as_bytes()]);
            (name.clone(), image.digest)
        };
        names.iter().map(push).collect()
    }

    /// `image-references`: real ones where they are at hand, with the images of this site.
    pub fn references(&self, version: &str, components: &[(String, Digest)]) -> Vec<u8> {
        let host = &self.site.source.host;
        let mut document = real().unwrap_or_else(|| {
            json!({"kind": "ImageStream", "apiVersion": "image.openshift.io/v1", "metadata": {},
                "spec": {"tags": []}})
        });
        document["metadata"]["name"] = json!(version);
        let tag = |(name, digest): &(String, Digest)| {
            let image = format!("{host}/{COMPONENTS}@{digest}");
            json!({"name": name, "from": {"kind": "DockerImage", "name": image},
                "annotations": {"io.openshift.build.commit.id": "1f666fd6"}})
        };
        document["spec"]["tags"] = components.iter().map(tag).collect();
        serde_json::to_vec_pretty(&document).unwrap()
    }

    /// A release image of these files; below its layer lies one that must not count.
    pub fn payload(&self, files: &[(&str, &[u8])]) -> Pushed {
        let below =
            tar(&[("etc/os-release", b"ID=rhcos"), ("release-manifests/image-references", b"old")]);
        let above = tar(files);
        self.site.source.image_for(RELEASES, None, "amd64", &[&below, &above])
    }

    /// A whole release, with its signature in the store.
    pub fn release(&self, version: &str, components: &[(String, Digest)]) -> Pushed {
        let references = self.references(version, components);
        let metadata =
            json!({"kind": "cincinnati-metadata-v0", "version": version, "previous": []});
        let payload = self.payload(&[
            ("release-manifests/image-references", &references),
            ("release-manifests/release-metadata", &serde_json::to_vec(&metadata).unwrap()),
        ]);
        let name = format!("quay.io/{RELEASES}:{version}-x86_64");
        self.store(&payload, 1, &self.key.sign(&payload.digest.to_string(), &name));
        payload
    }

    pub fn store(&self, payload: &Pushed, number: u32, file: &[u8]) {
        let place = self.site.path(&format!("store/sha256={}", payload.digest.hex()));
        fs::create_dir_all(&place).unwrap();
        fs_write(&place.join(format!("signature-{number}")), file);
    }

    pub fn configure(&self, payload: &Pushed, more: &str) {
        let host = &self.site.source.host;
        let digest = payload.digest;
        self.site
            .configure(&format!("  platform:\n    release: {host}/{RELEASES}@{digest}\n{more}"));
    }

    pub fn create(&self, media: &str, more: &[&str]) -> Run {
        let (keys, store) = (self.site.path("keys.pgp"), self.site.path("store"));
        let ours = ["--release-keys", text(&keys), "--signature-store", text(&store)];
        self.site.create(media, &[&ours[..], more].concat())
    }

    /// The release and all its components stand at the target, and a cluster can pull them by digest.
    #[track_caller]
    pub fn stands(&self, payload: &Pushed, tag: &str, components: &[(String, Digest)]) {
        let Site { source, target, .. } = &*self.site;
        let digest = payload.digest.to_string();
        let there = source.pull(RELEASES, &digest);
        assert_eq!(target.pull("openshift/release-images", tag), there);
        assert_eq!(target.pull("openshift/release-images", &digest), there);
        for (name, digest) in components {
            let there = source.pull(COMPONENTS, &digest.to_string());
            assert_eq!(target.pull("openshift/release", &format!("{tag}-{name}")), there, "{name}");
        }
    }

    pub fn index(&self, media: &str, sequence: u64) -> Index {
        let path = self.site.path(media).join(format!("mirror_seq{sequence}.index"));
        codec::decode(&fs::read(path).unwrap()).unwrap()
    }
}

/// The names of the resources of an index, and their contents.
pub fn resources(index: &Index) -> BTreeMap<String, Vec<u8>> {
    index.resources.iter().map(|one| (one.name.clone(), one.content.clone())).collect()
}

pub fn data() -> PathBuf {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/openshift/data");
    std::env::var_os("BUNDLE_OPENSHIFT_DATA").map_or_else(|| default.into(), PathBuf::from)
}

/// The real `image-references` of a release, or `None` after saying that it is not there.
pub fn real() -> Option<Value> {
    let path = data().join("release/4.10/release-manifests/image-references");
    if !path.is_file() {
        skip(&format!("no real data at `{}`: a small release stands in", path.display()));
        return None;
    }
    Some(serde_json::from_slice(&fs::read(path).unwrap()).unwrap())
}

/// The names of the components of that release, or of a few that are made up.
pub fn names() -> Vec<String> {
    let Some(real) = real() else {
        return (0..12).map(|number| format!("component-{number}")).collect();
    };
    let tags = real["spec"]["tags"].as_array().unwrap();
    tags.iter().map(|tag| tag["name"].as_str().unwrap().to_owned()).collect()
}

/// A tar of regular files.
pub fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (path, content) in files {
        let mut header = [0_u8; 512];
        header[..path.len()].copy_from_slice(path.as_bytes());
        header[100..107].copy_from_slice(b"0000644");
        header[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
        header[156] = b'0';
        header[257..265].copy_from_slice(b"ustar\x0000");
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        out.extend(header);
        out.extend(*content);
        out.resize(out.len().next_multiple_of(512), 0);
    }
    out.resize(out.len() + 1024, 0);
    out
}

/// Bytes as `gzip` has them that compresses nothing.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
        }
    }
    let length = u16::try_from(bytes.len()).unwrap();
    let mut out = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255, 1];
    out.extend(length.to_le_bytes());
    out.extend((!length).to_le_bytes());
    out.extend(bytes);
    out.extend((!crc).to_le_bytes());
    out.extend(u32::from(length).to_le_bytes());
    out
}

/// The address of an update service that knows these releases.
pub fn graph(releases: &Releases, nodes: &[(&str, &Pushed)]) -> String {
    let host = &releases.site.source.host;
    let nodes: Vec<Value> = nodes
        .iter()
        .map(|(version, payload)| {
            let payload = format!("{host}/{RELEASES}@{}", payload.digest);
            json!({"version": version, "payload": payload, "metadata": {}})
        })
        .collect();
    let document = json!({"version": 1, "nodes": nodes, "edges": [[0, 1]], "conditionalEdges": []});
    let body = serde_json::to_vec(&document).unwrap();
    let (listener, host) = listener();
    serve(listener, move |mut stream| {
        let mut head = [0; 4096];
        let _ = stream.read(&mut head);
        let length = body.len();
        write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\
             Connection: close\r\n\r\n"
        )?;
        stream.write_all(&body)
    });
    format!("http://{host}/graph")
}

/// A payload for all architectures.
pub struct Multi {
    pub payload: Pushed,
    pub component: Pushed,
    pub boot: Pushed,
}

impl Multi {
    pub fn of(releases: &Releases) -> Self {
        let source = &releases.site.source;
        let host = &source.host;
        let arches = ["arm64", "amd64", "s390x"];
        let multi = |repo: &str, layer: &dyn Fn(&str) -> Vec<u8>| {
            let children: Vec<(Pushed, &str)> = arches
                .iter()
                .map(|arch| (source.image_for(repo, None, arch, &[&layer(arch)]), *arch))
                .collect();
            let children: Vec<(&Pushed, &str)> = children.iter().map(|(c, a)| (c, *a)).collect();
            source.index(repo, None, &children)
        };
        let component = multi(COMPONENTS, &|arch| format!("etcd for {arch}").into_bytes());
        let boot = source.image_for(COMPONENTS, None, "amd64", &[b"a disk"]);
        let stream = json!({"stream": "rhcos", "architectures": {
            "x86_64": {"images": {"kubevirt": {"release": "1", "image": "q.io/x:1",
                "digest-ref": format!("{host}/{COMPONENTS}@{}", boot.digest)}}},
            "aarch64": {"images": {"aws": {}}}}});
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"stream": stream.to_string()}});
        let map = serde_json::to_vec(&map).unwrap();
        let references = releases.references("4.16.0", &[("etcd".to_owned(), component.digest)]);
        let payload = multi(RELEASES, &|arch| {
            let mut files: Vec<(&str, &[u8])> = vec![("etc/arch", arch.as_bytes())];
            // That for amd64 is the one that is read.
            if arch == "amd64" {
                files.push(("./release-manifests/image-references", &references));
                files.push(("release-manifests/0000_50_installer_coreos-bootimages.yaml", &map));
            }
            tar(&files)
        });
        Self { payload, component, boot }
    }
}

/// What came over one connection.
pub type Heard = Arc<Mutex<Vec<u8>>>;

/// A relay that remembers what was asked for.
pub fn listening(to: &str) -> (String, Arc<Mutex<Vec<Heard>>>) {
    let (listener, host) = listener();
    let all = Arc::new(Mutex::new(Vec::new()));
    let (connections, to) = (Arc::clone(&all), to.to_owned());
    serve(listener, move |mut client| {
        let mut server = TcpStream::connect(&to)?;
        let (mut from, mut back) = (server.try_clone()?, client.try_clone()?);
        std::thread::spawn(move || {
            let _ = std::io::copy(&mut from, &mut back);
            let _ = back.shutdown(Shutdown::Both);
        });
        let heard = Heard::default();
        connections.lock().unwrap().push(Arc::clone(&heard));
        let mut buffer = [0; 16 << 10];
        while let Ok(read @ 1..) = client.read(&mut buffer) {
            heard.lock().unwrap().extend_from_slice(&buffer[..read]);
            server.write_all(&buffer[..read])?;
        }
        server.shutdown(Shutdown::Both)
    });
    (host, all)
}
