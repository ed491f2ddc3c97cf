//! Writes real sequences from content in memory, and runs registries, for the tests of the importer.
//! Knows nothing of the code that it tests but the public API.

#![allow(dead_code, unused_imports, reason = "each test file uses a part of it")]
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot be set up has failed, or says why it is skipped"
)]

mod way;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use format_spec::hash::cell_digests;
use format_spec::head::{
    ContentClass, FORMAT_VERSION, HEAD_TYPE, Head, IndexEntry, Kind, Link, Part, Tool, Totals,
};
use format_spec::index::{
    Blob, Encoding, Index, ManifestEntry, ReferenceEntry, Removal, Required, Resource,
};
use format_spec::keys::{PublicKey, SecretKey};
use format_spec::limits::{CELL, PART_DEFAULT};
use format_spec::part::{FileName, Layout, header, member_name, table_member};
use format_spec::{Digest, Repository, Sequence, StreamId, codec, seal};
use importer::{
    DeleteOptions, DeleteReport, ImportError, ImportOptions, Imported, PruneOptions, PruneReport,
    RollbackOptions, RollbackReport,
};
use registry::client::{Client, ClientOptions, RetryPolicy};
use registry::media_type::{OCI_CONFIG, OCI_INDEX, OCI_LAYER_GZIP, OCI_MANIFEST};
use registry::progress::Progress;
use registry::reference::{RegistryHost, Target};
use registry::server::{Server, ServerConfig};
use serde_json::json;
use tokio_util::sync::CancellationToken;
pub use way::{Rule, Way};

/// Bytes that do not repeat.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        bytes.extend_from_slice(&x.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

pub fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

/// A document with a media type.
#[derive(Clone)]
pub struct Document {
    pub bytes: Vec<u8>,
    pub media_type: String,
    pub blobs: Vec<Digest>,
    pub children: Vec<Document>,
}

impl Document {
    pub fn digest(&self) -> Digest {
        Digest::of(&self.bytes)
    }
}

/// What a sequence carries.
#[derive(Clone)]
pub struct Spec {
    pub expires: Option<String>,
    pub stream: StreamId,
    pub sequence: u64,
    pub kind: Kind,
    pub tail: Vec<Link>,
    pub blobs: BTreeMap<Digest, Vec<u8>>,
    pub images: Vec<(String, Option<String>, Document)>,
    /// Blobs that earlier sequences carried: size and home.
    pub earlier: BTreeMap<Digest, (u64, String)>,
    /// Repositories whose tag `1` left the configuration.
    pub removed: Vec<String>,
    /// Further names that left: repository, tag or none, digest.
    pub gone: Vec<(String, Option<String>, Digest)>,
    /// Where images of a repository come from, when it matters.
    pub sources: BTreeMap<String, (String, ContentClass)>,
    pub resources: Vec<Resource>,
    pub limit: u64,
    pub signer: u8,
}

impl Spec {
    pub fn new(sequence: u64) -> Self {
        Self {
            stream: StreamId::from_bytes([7; 16]),
            sequence,
            kind: if sequence == 1 { Kind::Full } else { Kind::Incremental },
            tail: Vec::new(),
            blobs: BTreeMap::new(),
            images: Vec::new(),
            earlier: BTreeMap::new(),
            removed: Vec::new(),
            gone: Vec::new(),
            sources: BTreeMap::new(),
            resources: Vec::new(),
            limit: PART_DEFAULT,
            signer: 1,
            expires: None,
        }
    }

    /// The spec of the sequence after this one, whose blobs are required from it.
    pub fn next(&self, written: &Written) -> Self {
        let mut tail = vec![written.link()];
        tail.extend(self.tail.iter().copied());
        let mut next = Self { tail, ..Self::new(self.sequence + 1) };
        next.stream = self.stream;
        next.earlier = self.earlier.clone();
        for (repository, _, document) in &self.images {
            for digest in blobs_of(document) {
                if let Some(bytes) = self.blobs.get(&digest) {
                    next.earlier
                        .entry(digest)
                        .or_insert_with(|| (bytes.len() as u64, repository.clone()));
                }
            }
        }
        next
    }

    /// An image of layers in this repository.
    pub fn image(&mut self, repository: &str, tag: &str, layers: &[Vec<u8>]) -> Document {
        let document = self.document(layers);
        self.images.push((repository.to_owned(), Some(tag.to_owned()), document.clone()));
        document
    }

    /// An index over images.
    pub fn index_of(&mut self, repository: &str, tag: &str, images: &[Vec<Vec<u8>>]) -> Document {
        let children: Vec<_> = images.iter().map(|layers| self.document(layers)).collect();
        let manifests: Vec<_> = children
            .iter()
            .map(|child| {
                json!({"mediaType": child.media_type, "digest": child.digest().to_string(),
                       "size": child.bytes.len(),
                       "platform": {"os": "linux", "architecture": "amd64"}})
            })
            .collect();
        let bytes =
            json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests}).to_string();
        let document = Document {
            bytes: bytes.into_bytes(),
            media_type: OCI_INDEX.to_owned(),
            blobs: Vec::new(),
            children,
        };
        self.images.push((repository.to_owned(), Some(tag.to_owned()), document.clone()));
        document
    }

    /// An image that is attached to another.
    pub fn attached_to(&mut self, subject: &Document, layer: Vec<u8>) -> Document {
        let mut document = self.document(&[layer]);
        let mut manifest: serde_json::Value = serde_json::from_slice(&document.bytes).unwrap();
        manifest["artifactType"] = "application/vnd.example.sbom".into();
        manifest["subject"] = json!({"mediaType": subject.media_type,
            "digest": subject.digest().to_string(), "size": subject.bytes.len()});
        document.bytes = manifest.to_string().into_bytes();
        document
    }

    /// An index over these.
    pub fn over(children: Vec<Document>) -> Document {
        let manifests: Vec<_> = children
            .iter()
            .map(|child| {
                json!({"mediaType": child.media_type, "digest": child.digest().to_string(),
                       "size": child.bytes.len()})
            })
            .collect();
        let bytes = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests});
        Document {
            bytes: bytes.to_string().into_bytes(),
            media_type: OCI_INDEX.to_owned(),
            blobs: Vec::new(),
            children,
        }
    }

    pub fn document(&mut self, layers: &[Vec<u8>]) -> Document {
        let config = json!({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers",
            "diff_ids": layers.iter().map(|l| Digest::of(l).to_string()).collect::<Vec<_>>()}})
        .to_string()
        .into_bytes();
        let descriptor = |media_type: &str, bytes: &[u8]| {
            json!({"mediaType": media_type, "digest": Digest::of(bytes).to_string(),
                   "size": bytes.len()})
        };
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": descriptor(OCI_CONFIG, &config),
            "layers": layers.iter().map(|l| descriptor(OCI_LAYER_GZIP, l)).collect::<Vec<_>>(),
        });
        let mut blobs = vec![Digest::of(&config)];
        self.blobs.insert(blobs[0], config);
        for layer in layers {
            blobs.push(Digest::of(layer));
            self.blobs.insert(Digest::of(layer), layer.clone());
        }
        Document {
            bytes: manifest.to_string().into_bytes(),
            media_type: OCI_MANIFEST.to_owned(),
            blobs,
            children: Vec::new(),
        }
    }

    /// Writes the sequence into a directory.
    pub fn write(&self, directory: &Path) -> Written {
        let repositories: BTreeSet<&str> = self
            .images
            .iter()
            .map(|(name, _, _)| name.as_str())
            .chain(self.earlier.values().map(|(_, home)| home.as_str()))
            .chain(self.removed.iter().map(String::as_str))
            .chain(self.gone.iter().map(|(name, ..)| name.as_str()))
            .collect();
        let id = |name: &str| {
            u32::try_from(repositories.iter().position(|r| *r == name).unwrap()).unwrap()
        };
        let mut needed: BTreeMap<Digest, BTreeSet<u32>> = BTreeMap::new();
        let mut manifests: Vec<(Document, BTreeSet<u32>)> = Vec::new();
        for (name, _, document) in &self.images {
            for one in document.children.iter().chain([document]) {
                match manifests.iter_mut().find(|(known, _)| known.digest() == one.digest()) {
                    Some((_, repositories)) => {
                        repositories.insert(id(name));
                    }
                    None => manifests.push((one.clone(), BTreeSet::from([id(name)]))),
                }
            }
            for digest in blobs_of(document) {
                needed.entry(digest).or_default().insert(id(name));
            }
        }
        let carried: Vec<&Digest> =
            self.blobs.keys().filter(|digest| !self.earlier.contains_key(digest)).collect();
        let contents: Vec<&[u8]> = manifests
            .iter()
            .map(|(document, _)| document.bytes.as_slice())
            .chain(carried.iter().map(|digest| self.blobs[digest].as_slice()))
            .collect();
        let sizes: Vec<u64> = contents.iter().map(|bytes| bytes.len() as u64).collect();
        let layout = Layout::plan(&sizes, self.limit).unwrap();
        let digests: Vec<Digest> =
            manifests.iter().map(|(d, _)| d.digest()).chain(carried.iter().map(|d| **d)).collect();

        let sequence = Sequence::new(self.sequence).unwrap();
        let mut parts: Vec<Vec<u8>> =
            layout.parts.iter().map(|part| vec![0; usize::try_from(part.bytes).unwrap()]).collect();
        for ((bytes, pieces), digest) in contents.iter().zip(&layout.pieces).zip(&digests) {
            let mut from = 0;
            for (number, piece) in pieces.iter().enumerate() {
                let part = &mut parts[piece.part as usize];
                let at = usize::try_from(piece.offset).unwrap();
                let size = usize::try_from(piece.size).unwrap();
                let name = member_name(digest, (pieces.len() > 1).then_some(number));
                part[at - 512..at].copy_from_slice(&header(&name, piece.size));
                part[at..at + size].copy_from_slice(&bytes[from..from + size]);
                from += size;
            }
        }
        let mut head_parts = Vec::new();
        for (number, (part, layout)) in parts.iter_mut().zip(&layout.parts).enumerate() {
            let number = u32::try_from(number).unwrap();
            let data = usize::try_from(layout.data_offset().unwrap()).unwrap();
            let table = table_member(sequence, number, &cell_digests(&part[data..]));
            part[..data].copy_from_slice(&table);
            let name = FileName::Part(sequence, number).to_string();
            fs_err::write(directory.join(&name), &*part).unwrap();
            head_parts.push(Part { name, bytes: layout.bytes, table: Digest::of(&table) });
        }

        let index = Index {
            stream: self.stream,
            sequence,
            repositories: repositories.iter().map(|r| r.parse().unwrap()).collect(),
            manifests: manifests
                .iter()
                .zip(&layout.pieces)
                .map(|((document, repositories), pieces)| ManifestEntry {
                    digest: document.digest(),
                    size: document.bytes.len() as u64,
                    media_type: document.media_type.clone(),
                    pieces: pieces.clone(),
                    repositories: repositories.iter().copied().collect(),
                })
                .collect(),
            blobs: carried
                .iter()
                .zip(&layout.pieces[manifests.len()..])
                .map(|(digest, pieces)| Blob {
                    digest: **digest,
                    size: self.blobs[digest].len() as u64,
                    encoding: Encoding::Raw,
                    pieces: pieces.clone(),
                    repositories: needed[digest].iter().copied().collect(),
                })
                .collect(),
            required: self
                .earlier
                .iter()
                .filter_map(|(digest, (size, home))| {
                    Some(Required {
                        digest: *digest,
                        size: *size,
                        home: id(home),
                        repositories: needed.get(digest)?.iter().copied().collect(),
                    })
                })
                .collect(),
            references: self
                .images
                .iter()
                .map(|(name, tag, document)| {
                    let usual = || (format!("source.example/{name}"), ContentClass::Additional);
                    let (source, class) = self.sources.get(name).cloned().unwrap_or_else(usual);
                    ReferenceEntry {
                        repository: id(name),
                        tag: tag.as_ref().map(|tag| tag.parse().unwrap()),
                        digest: document.digest(),
                        source,
                        class,
                    }
                })
                .collect(),
            removals: self
                .removed
                .iter()
                .map(|name| Removal {
                    repository: id(name),
                    tag: Some("1".parse().unwrap()),
                    digest: Digest::of(name.as_bytes()),
                })
                .chain(self.gone.iter().map(|(name, tag, digest)| Removal {
                    repository: id(name),
                    tag: tag.as_ref().map(|tag| tag.parse().unwrap()),
                    digest: *digest,
                }))
                .collect(),
            resources: self.resources.clone(),
        };
        let encoded = codec::encode(&index).unwrap();
        let head = Head {
            type_: HEAD_TYPE.to_owned(),
            format_version: FORMAT_VERSION,
            crit: Vec::new(),
            stream: self.stream,
            sequence,
            kind: self.kind,
            previous: self.tail.first().copied(),
            tail: self.tail.clone(),
            base: None,
            created: "2026-01-02T03:04:05Z".to_owned(),
            tool: Tool { name: "test".to_owned(), version: "0".to_owned() },
            cell_bytes: CELL as u64,
            parts: head_parts,
            index: IndexEntry { digest: Digest::of(&encoded), bytes: encoded.len() as u64 },
            totals: Totals::default(),
            failures: Vec::new(),
            labels: BTreeMap::new(),
            expires: self.expires.clone(),
            next_expected: None,
        };
        index.validate(&head).unwrap();
        let bytes = head.to_bytes();
        let put = |name: FileName, bytes: &[u8]| {
            fs_err::write(directory.join(name.to_string()), bytes).unwrap();
        };
        put(FileName::Index(sequence), &encoded);
        put(FileName::Seal(sequence), &seal::sign(&bytes, &[&key(self.signer)]));
        put(FileName::Head(sequence), &bytes);
        Written { digest: Digest::of(&bytes), head, index }
    }
}

pub fn blobs_of(document: &Document) -> Vec<Digest> {
    document.children.iter().flat_map(blobs_of).chain(document.blobs.iter().copied()).collect()
}

/// A sequence on a medium.
pub struct Written {
    pub head: Head,
    pub index: Index,
    pub digest: Digest,
}

impl Written {
    pub fn link(&self) -> Link {
        Link { sequence: self.head.sequence, digest: self.digest }
    }
}

/// A registry of this program, in this process.
pub struct Running {
    pub host: RegistryHost,
    _data: tempfile::TempDir,
    stop: CancellationToken,
}

impl Running {
    pub async fn start() -> Self {
        let data = tempfile::tempdir().unwrap();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let server = Server::bind(ServerConfig::new(data.path(), any)).await.unwrap();
        let host = server.local_addr().to_string().parse().unwrap();
        let stop = CancellationToken::new();
        tokio::spawn(server.run(stop.clone()));
        Self { host, _data: data, stop }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// CNCF distribution, where Debian has put it.
pub struct Distribution {
    process: std::process::Child,
    pub host: RegistryHost,
    _data: tempfile::TempDir,
}

impl Distribution {
    pub fn start(delete: bool) -> Option<Self> {
        let binary = std::path::Path::new("/usr/bin/docker-registry");
        if !binary.exists() {
            println!("skipped: no docker-registry here");
            return None;
        }
        let data = tempfile::tempdir().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = data.path().join("config.yml");
        let root = data.path().join("data");
        let text = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}, \
             delete: {{enabled: {delete}}}}}\nhttp: {{addr: '127.0.0.1:{port}'}}\n",
            root.display()
        );
        fs_err::write(&config, text).unwrap();
        let process = std::process::Command::new(binary)
            .arg("serve")
            .arg(&config)
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let host = format!("127.0.0.1:{port}").parse().unwrap();
        for _ in 0..600 {
            if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        Some(Self { process, host, _data: data })
    }
}

impl Drop for Distribution {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A client that speaks plain HTTP to `host` and does not wait.
pub fn client(host: &RegistryHost) -> Client {
    Client::new(ClientOptions {
        plain_http: vec![host.clone()],
        registries_conf: Some("/dev/null".into()),
        retry: RetryPolicy { times: 1, ..RetryPolicy::default() },
        ..ClientOptions::default()
    })
    .unwrap()
}

/// An importer's place: media, workspace, target.
pub struct Bench {
    pub media: tempfile::TempDir,
    pub workspace: tempfile::TempDir,
    pub host: RegistryHost,
}

impl Bench {
    pub fn new(host: &RegistryHost) -> Self {
        Self {
            media: tempfile::tempdir().unwrap(),
            workspace: tempfile::tempdir().unwrap(),
            host: host.clone(),
        }
    }

    pub fn options(&self) -> ImportOptions {
        ImportOptions {
            from: vec![self.media.path().to_owned()],
            target: target(&self.host),
            workspace: self.workspace.path().to_owned(),
            local_name: None,
            told_as: None,
            trusted: vec![trusted()],
            new_stream: false,
            put_back: false,
            read_back: false,
            skip_pruning: false,
            dry_run: false,
            parallel_blobs: 6,
            max_nested_paths: 0,
            resources: Some(self.workspace.path().join("cluster-resources")),
            client: client(&self.host),
            progress: Arc::new(Progress::default()),
            cancel: CancellationToken::new(),
        }
    }

    pub async fn import(&self) -> Result<Imported, ImportError> {
        importer::import(self.options()).await
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.media.path().join(name)
    }
}

pub fn trusted() -> PublicKey {
    key(1).public()
}

pub fn target(host: &RegistryHost) -> Target {
    format!("docker://{host}/mirror").parse().unwrap()
}

/// The digest under a tag below the namespace `mirror`.
pub async fn tag(host: &RegistryHost, repository: &str, tag: &str) -> Option<Digest> {
    let repository: Repository = format!("mirror/{repository}").parse().unwrap();
    let name = tag.parse::<format_spec::Tag>().unwrap().into();
    client(host).head_manifest(host, &repository, &name).await.unwrap().and_then(|h| h.digest)
}

/// Whether everything that a spec names is at the target, byte for byte.
pub async fn assert_there(host: &RegistryHost, spec: &Spec) {
    let client = client(host);
    for (name, tag, document) in &spec.images {
        let repository: Repository = format!("mirror/{name}").parse().unwrap();
        if let Some(tag) = tag {
            let tag = tag.parse::<format_spec::Tag>().unwrap().into();
            let raw = client.get_manifest(host, &repository, &tag).await.unwrap();
            assert_eq!(raw.digest, document.digest());
            assert_eq!(raw.media_type, document.media_type);
        }
        for one in document.children.iter().chain([document]) {
            let raw = client.get_manifest(host, &repository, &one.digest().into()).await.unwrap();
            assert_eq!(raw.bytes, one.bytes);
        }
        for digest in blobs_of(document) {
            let size = match spec.blobs.get(&digest) {
                Some(bytes) => bytes.len() as u64,
                None => spec.earlier[&digest].0,
            };
            let bytes =
                client.get_blob_bytes(host, &repository, &digest, size, size).await.unwrap();
            assert_eq!(Digest::of(&bytes), digest);
        }
    }
}

/// Every file of a directory: name, content, time of change.
pub fn listing(directory: &Path) -> Vec<(String, Digest, std::time::SystemTime)> {
    let mut files: Vec<_> = fs_err::read_dir(directory)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let changed = entry.metadata().unwrap().modified().unwrap();
            let bytes = fs_err::read(entry.path()).unwrap_or_default();
            (entry.file_name().to_string_lossy().into_owned(), Digest::of(&bytes), changed)
        })
        .collect();
    files.sort();
    files
}

/// Prunes a target.
pub async fn prune(bench: &Bench, dry_run: bool) -> PruneReport {
    importer::prune(PruneOptions {
        target: target(&bench.host),
        workspace: bench.workspace.path().to_owned(),
        dry_run,
        max_nested_paths: 0,
        client: client(&bench.host),
        progress: Arc::new(Progress::default()),
        cancel: CancellationToken::new(),
    })
    .await
    .unwrap()
}

/// Sets a stream of a target back.
pub async fn back(bench: &Bench, stream: StreamId, to: Sequence) -> RollbackReport {
    importer::rollback(RollbackOptions {
        to,
        stream: Some(stream),
        target: target(&bench.host),
        workspace: bench.workspace.path().to_owned(),
        dry_run: false,
        skip_pruning: false,
        max_nested_paths: 0,
        resources: bench.workspace.path().join("cluster-resources"),
        client: client(&bench.host),
        progress: Arc::new(Progress::default()),
        cancel: CancellationToken::new(),
    })
    .await
    .unwrap()
}

/// Deletes names, as `repository:tag` or `repository@digest` below the namespace.
pub async fn delete(bench: &Bench, names: &[String]) -> Result<DeleteReport, ImportError> {
    let full = |name: &String| format!("{}/mirror/{name}", bench.host).parse().unwrap();
    importer::delete(DeleteOptions {
        names: names.iter().map(full).collect(),
        finish: false,
        target: target(&bench.host),
        workspace: bench.workspace.path().to_owned(),
        dry_run: false,
        max_nested_paths: 0,
        resources: bench.workspace.path().join("cluster-resources"),
        client: client(&bench.host),
        progress: Arc::new(Progress::default()),
        cancel: CancellationToken::new(),
    })
    .await
}
