//! Creates against the embedded registry: what is carried, what is left out, what is refused.
#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bundler::{CreateError, CreateOptions, Created, ErrorKind, Stream};
use bytes::Bytes;
use format_spec::head::{Head, Kind};
use format_spec::index::Index;
use format_spec::limits::{PART_MAX, PART_MIN};
use format_spec::part::{FileName, padded};
use format_spec::{Digest, Repository, Sequence, codec, seal};
use registry::client::{BlobSource, Client, ClientOptions};
use registry::reference::{ManifestRef, RegistryHost};
use registry::server::{Server, ServerConfig};
use support::{configuration, create, key, written};
use tokio_util::sync::CancellationToken;

/// A registry with images in it, a workspace and a medium.
struct Site {
    directory: tempfile::TempDir,
    host: RegistryHost,
    client: Client,
    _stop: tokio_util::sync::DropGuard,
}

impl Site {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listen = "127.0.0.1:0".parse().unwrap();
        let config = ServerConfig::new(directory.path().join("source"), listen);
        let server = Server::bind(config).await.unwrap();
        let host = server.local_addr().to_string().parse().unwrap();
        let stop = CancellationToken::new();
        tokio::spawn(server.run(stop.clone()));
        let client = Client::new(ClientOptions::default()).unwrap();
        Self { directory, host, client, _stop: stop.drop_guard() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    async fn blob(&self, repository: &Repository, content: &[u8]) -> serde_json::Value {
        let bytes = Bytes::copy_from_slice(content);
        let digest = Digest::of(content);
        let source: Arc<dyn BlobSource> = Arc::new(bytes);
        self.client
            .push_blob(&self.host, repository, &digest, content.len() as u64, source, None)
            .await
            .unwrap();
        serde_json::json!({
            "mediaType": "application/vnd.oci.image.layer.v1.tar",
            "digest": digest.to_string(), "size": content.len(),
        })
    }

    async fn put(
        &self,
        repository: &Repository,
        tag: Option<&str>,
        body: &serde_json::Value,
    ) -> Digest {
        let bytes = serde_json::to_vec(body).unwrap();
        let digest = Digest::of(&bytes);
        let reference = match tag {
            Some(tag) => ManifestRef::Tag(tag.parse().unwrap()),
            None => ManifestRef::Digest(digest),
        };
        let media_type = body["mediaType"].as_str().unwrap();
        self.client
            .put_manifest(&self.host, repository, &reference, media_type, Bytes::from(bytes))
            .await
            .unwrap();
        digest
    }

    /// An image of these layers.
    async fn image(
        &self,
        repository: &str,
        tag: Option<&str>,
        layers: &[&[u8]],
    ) -> (Digest, usize) {
        let repository: Repository = repository.parse().unwrap();
        let mut list = Vec::new();
        for layer in layers {
            list.push(self.blob(&repository, layer).await);
        }
        let mut config =
            self.blob(&repository, format!("{{\"n\":{}}}", layers.len()).as_bytes()).await;
        config["mediaType"] = "application/vnd.oci.image.config.v1+json".into();
        let body = serde_json::json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": config, "layers": list,
        });
        let size = serde_json::to_vec(&body).unwrap().len();
        (self.put(&repository, tag, &body).await, size)
    }

    /// An image whose manifest says that its layer has `size` bytes; of a foreign layer, of which the registry believes it.
    async fn liar(&self, repository: &str, layer: &[u8], size: u64) {
        let repository: Repository = repository.parse().unwrap();
        let mut config = self.blob(&repository, b"{}").await;
        config["mediaType"] = "application/vnd.oci.image.config.v1+json".into();
        let mut layer = self.blob(&repository, layer).await;
        layer["size"] = size.into();
        layer["mediaType"] = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip".into();
        let body = serde_json::json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": config, "layers": [layer],
        });
        self.put(&repository, Some("1"), &body).await;
    }

    fn options(&self, images: &[&str]) -> CreateOptions {
        self.options_of(&configuration(self.host.as_str(), images))
    }

    fn options_of(&self, text: &str) -> CreateOptions {
        support::options(text, self.directory.path(), &self.client)
    }
}

/// Reads a sequence back by the rules of the format and returns its head, index and blobs.
fn read(medium: &Path, sequence: u64) -> (Head, Index, BTreeMap<Digest, Vec<u8>>) {
    let sequence = Sequence::new(sequence).unwrap();
    let file = |name: FileName| fs_err::read(medium.join(name.to_string())).unwrap();
    let bytes = file(FileName::Head(sequence));
    seal::verify(&bytes, &file(FileName::Seal(sequence)), &[key().public()]).unwrap();
    let head = Head::parse(&bytes).unwrap();
    let index = file(FileName::Index(sequence));
    assert_eq!(Digest::of(&index), head.index.digest);
    let index = codec::decode(&index).unwrap();
    index.validate(&head).unwrap();
    let mut blobs: BTreeMap<Digest, Vec<u8>> = BTreeMap::new();
    let mut pieces: BTreeMap<(Digest, Option<usize>), Vec<u8>> = BTreeMap::new();
    for (number, members) in index.members(head.parts.len()).unwrap().into_iter().enumerate() {
        let number = u32::try_from(number).unwrap();
        let part = file(FileName::Part(sequence, number));
        assert_eq!(part.len() as u64, head.parts[number as usize].bytes);
        let layout = format_spec::part::PartLayout { bytes: part.len() as u64 };
        let data = usize::try_from(layout.data_offset().unwrap()).unwrap();
        assert_eq!(Digest::of(&part[..data]), head.parts[number as usize].table);
        let cells: Vec<Digest> = part[data..].chunks(65536).map(Digest::of).collect();
        let table = format_spec::part::table_member(sequence, number, &cells);
        assert_eq!(table, &part[..data]);
        for member in members {
            let at = usize::try_from(member.place.offset).unwrap();
            let size = usize::try_from(member.place.size).unwrap();
            let name = format_spec::part::member_name(&member.digest, member.piece);
            assert_eq!(part[at - 512..at], format_spec::part::header(&name, member.place.size));
            let end = usize::try_from(padded(member.place.size)).unwrap();
            assert!(part[at + size..at + end].iter().all(|byte| *byte == 0));
            pieces.insert((member.digest, member.piece), part[at..at + size].to_vec());
        }
    }
    for ((digest, _), bytes) in pieces {
        blobs.entry(digest).or_default().extend(bytes);
    }
    for (digest, bytes) in &blobs {
        assert_eq!(Digest::of(bytes), *digest);
    }
    (head, index, blobs)
}

fn noise(seed: u64, size: usize) -> Vec<u8> {
    let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..size)
        .map(|_| {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            x.to_le_bytes()[2]
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sequence_holds_what_its_images_need_and_an_increment_only_what_is_new() {
    let site = Site::new().await;
    let base = noise(1, 2_500_000);
    let (first, _) = site.image("app/one", Some("1"), &[&base, &noise(2, 70_000), b""]).await;
    site.image("app/two", Some("1"), &[&base, &noise(3, 10)]).await;
    let made = written(create(site.options(&["app/one:1", "app/two:1"])).await.unwrap());
    assert_eq!(made.kind, Kind::Full);
    let (head, index, blobs) = read(&site.path("medium"), 1);
    assert!(head.parts.len() > 2 && head.parts.iter().all(|part| part.bytes <= PART_MIN));
    assert!(blobs.contains_key(&first));
    // One base in two repositories: carried once.
    assert_eq!(blobs.values().filter(|bytes| **bytes == base).count(), 1);
    let shared = index.blobs.iter().find(|blob| blob.digest == Digest::of(&base)).unwrap();
    assert_eq!(shared.repositories.len(), 2);

    // Nothing new: no sequence.
    let before: Vec<_> = fs_err::read_dir(site.path("medium")).unwrap().collect();
    let again = create(site.options(&["app/one:1", "app/two:1"])).await.unwrap();
    assert!(matches!(again, Created::Nothing(_)), "{again:?}");
    assert_eq!(fs_err::read_dir(site.path("medium")).unwrap().count(), before.len());

    // A new image on the old base: the base is required, not carried.
    site.image("app/one", Some("2"), &[&base, &noise(4, 1000)]).await;
    let made = written(create(site.options(&["app/one:2", "app/two:1"])).await.unwrap());
    assert_eq!((made.sequence.get(), made.kind), (2, Kind::Incremental));
    let (head, index, blobs) = read(&site.path("medium"), 2);
    assert_eq!(head.previous.unwrap().sequence, Sequence::FIRST);
    assert!(!blobs.contains_key(&Digest::of(&base)));
    let required = index.required.iter().find(|r| r.digest == Digest::of(&base)).unwrap();
    assert_eq!(index.repository(required.home).as_str(), "app/one");
    // app/one:1 left the configuration.
    assert_eq!(index.removals.len(), 1);
    assert_eq!(index.removals[0].tag.as_ref().unwrap().as_str(), "1");

    // A full one stands alone.
    let mut options = site.options(&["app/one:2", "app/two:1"]);
    options.full = true;
    let made = written(create(options).await.unwrap());
    assert_eq!(made.kind, Kind::Full);
    let (_, index, blobs) = read(&site.path("medium"), 3);
    assert!(index.required.is_empty() && blobs.contains_key(&Digest::of(&base)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_attached_travels_and_what_is_missing_is_recorded() {
    let site = Site::new().await;
    let repository: Repository = "app/one".parse().unwrap();
    let (image, size) = site.image("app/one", Some("1"), &[b"layer"]).await;
    let (_, _) =
        site.image("app/one", Some(&format!("sha256-{}.sig", image.hex())), &[b"sig"]).await;
    let mut config = site.blob(&repository, b"{}").await;
    config["mediaType"] = "application/vnd.oci.empty.v1+json".into();
    let sbom = site.blob(&repository, b"sbom").await;
    let referrer = site
        .put(
            &repository,
            None,
            &serde_json::json!({
                "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "artifactType": "application/spdx+json", "config": config, "layers": [sbom],
                "subject": {
                    "mediaType": "application/vnd.oci.image.manifest.v1+json",
                    "digest": image.to_string(), "size": size,
                },
            }),
        )
        .await;
    let made = written(create(site.options(&["app/one:1", "no/such:1"])).await.unwrap());
    assert_eq!(made.summary.failures.len(), 1);
    let (head, index, blobs) = read(&site.path("medium"), 1);
    assert!(head.failures[0].reference.ends_with("/no/such:1"));
    assert_eq!(head.failures[0].class.exit_bit(), 8);
    assert!(blobs.contains_key(&referrer) && blobs.contains_key(&Digest::of(b"sig")));
    assert_eq!(index.references.len(), 3);
    // The image first, then what is attached to it.
    assert_eq!(index.references[0].digest, image);

    let mut options = site.options(&["app/one:1"]);
    options.workspace = site.path("other");
    options.to = site.path("other-medium");
    options.remove_signatures = true;
    written(create(options).await.unwrap());
    assert_eq!(read(&site.path("other-medium"), 1).1.references.len(), 1);

    let mut options = site.options(&["app/one:1", "no/such:1"]);
    options.workspace = site.path("third");
    options.strict = true;
    assert!(matches!(create(options).await, Err(CreateError::Content { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_sources_on_one_name_are_refused_before_anything_is_written() {
    let site = Site::new().await;
    let text =
        configuration(site.host.as_str(), &["app/x:1"]) + "  - name: other.example/app/x:1\n";
    let error = create(site.options_of(&text)).await.unwrap_err();
    assert!(matches!(error, CreateError::Collision { .. }), "{error}");
    assert!(!site.path("medium").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_with_a_foreign_sequence_is_left_alone() {
    let site = Site::new().await;
    site.image("app/one", Some("1"), &[b"layer"]).await;
    written(create(site.options(&["app/one:1"])).await.unwrap());
    let head = fs_err::read(site.path("medium").join("mirror_seq1.manifest.json")).unwrap();
    let mut options = site.options(&["app/one:1"]);
    options.workspace = site.path("other");
    // A dry run must not promise what is refused then.
    let other = |to: &str, dry_run| {
        let mut options = site.options(&["app/one:1"]);
        (options.workspace, options.to) = (site.path("other"), site.path(to));
        (options.dry_run, options.full) = (dry_run, true);
        create(options)
    };
    assert!(matches!(other("medium", true).await, Err(CreateError::Occupied { .. })));
    // Under another number nothing would be overwritten, but one stream keep the other out on the other side.
    written(other("elsewhere", false).await.unwrap());
    assert!(matches!(other("medium", false).await, Err(CreateError::OtherStream { .. })));
    let after = fs_err::read(site.path("medium").join("mirror_seq1.manifest.json")).unwrap();
    assert_eq!(head, after);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_whose_last_head_is_not_what_was_signed_ends_there() {
    let site = Site::new().await;
    site.image("app/one", Some("1"), &[b"layer"]).await;
    site.image("app/two", Some("1"), &[b"another"]).await;
    written(create(site.options(&["app/one:1"])).await.unwrap());
    let path = site.path("workspace").join("history/seq1.json");
    let good = fs_err::read_to_string(&path).unwrap();
    let next = || site.options(&["app/one:1", "app/two:1"]);
    // Valid, and another one than the other side has.
    fs_err::write(&path, good.replace("\"created\": \"2", "\"created\": \"1")).unwrap();
    let error = create(next()).await.unwrap_err();
    assert!(matches!(&error, CreateError::History { path: p, .. } if *p == path), "{error}");
    fs_err::remove_file(&path).unwrap();
    let error = create(next()).await.unwrap_err();
    assert!(matches!(&error, CreateError::History { path: p, .. } if *p == path), "{error}");
    fs_err::write(&path, good).unwrap();
    written(create(next()).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_workspaces_do_not_write_on_one_medium_at_a_time() {
    let site = Site::new().await;
    site.image("app/one", Some("1"), &[&noise(1, 1000)]).await;
    fs_err::create_dir(site.path("medium")).unwrap();
    let other = fs_err::File::open(site.path("medium")).unwrap().into_file();
    other.lock().unwrap();
    let error = create(site.options(&["app/one:1"])).await.unwrap_err();
    assert!(matches!(error, CreateError::Busy(_)), "{error}");
    assert_eq!(fs_err::read_dir(site.path("medium")).unwrap().count(), 0);
    drop(other);
    written(create(site.options(&["app/one:1"])).await.unwrap());
    read(&site.path("medium"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_create_goes_on_where_it_was() {
    let site = Site::new().await;
    let layers: Vec<Vec<u8>> = (0..6).map(|n| noise(n, 900_000)).collect();
    let layers: Vec<&[u8]> = layers.iter().map(Vec::as_slice).collect();
    site.image("app/one", Some("1"), &layers).await;
    let mut options = site.options(&["app/one:1"]);
    options.parallel_blobs = 1;
    if stopped_after(options, 2_000_000).await {
        assert!(!site.path("medium").join("mirror_seq1.manifest.json").exists());
        let before = site.client.counters().totals().received;
        written(create(site.options(&["app/one:1"])).await.unwrap());
        let fetched = site.client.counters().totals().received - before;
        assert!(fetched < 5 * 900_000, "fetched {fetched} bytes again");
    }
    read(&site.path("medium"), 1);
}

/// Creates and stops after so many bytes. Says whether it was stopped: a fast machine may be through before.
async fn stopped_after(options: CreateOptions, bytes: u64) -> bool {
    let (progress, cancel) = (Arc::clone(&options.progress), options.cancel.clone());
    let watch = tokio::spawn(async move {
        while progress.snapshot().done < bytes {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        cancel.cancel();
    });
    let made = create(options).await;
    watch.abort();
    match made {
        Err(CreateError::Cancelled) => true,
        other => {
            written(other.unwrap());
            false
        }
    }
}

/// One blob larger than what is noted at a time: it goes on inside, with a range. What stands there is proven, not
/// believed: a changed byte costs the whole blob.
#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_create_goes_on_inside_a_blob() {
    const SIZE: usize = 40_000_000;
    for damaged in [false, true] {
        let site = Site::new().await;
        site.image("app/one", Some("1"), &[&noise(1, SIZE)]).await;
        if stopped_after(site.options(&["app/one:1"]), 25_000_000).await {
            if damaged {
                let part = site.path("medium/mirror_seq1_000003.tar.partial");
                let mut bytes = fs_err::read(&part).unwrap();
                bytes[500_000] ^= 1;
                fs_err::write(&part, &bytes).unwrap();
            }
            let before = site.client.counters().totals().received;
            written(create(site.options(&["app/one:1"])).await.unwrap());
            let fetched = site.client.counters().totals().received - before;
            assert_eq!(fetched > SIZE as u64, damaged, "fetched {fetched} bytes again");
            assert!(damaged || fetched < 24_500_000, "fetched {fetched} bytes again");
        }
        read(&site.path("medium"), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_published_sequence_that_was_not_recorded_is_adopted() {
    let site = Site::new().await;
    site.image("app/one", Some("1"), &[b"layer"]).await;
    written(create(site.options(&["app/one:1"])).await.unwrap());
    // As if the run had ended between the publication and the history.
    let history = site.path("workspace/history");
    let pending = history.join("pending");
    fs_err::create_dir_all(&pending).unwrap();
    for (from, to) in [("seq1.json", "head"), ("seq1.sig", "seal"), ("seq1.index", "index")] {
        fs_err::rename(history.join(from), pending.join(to)).unwrap();
    }
    let medium = fs_err::canonicalize(site.path("medium")).unwrap();
    fs_err::write(pending.join("medium"), medium.to_str().unwrap()).unwrap();
    let again = create(site.options(&["app/one:1"])).await.unwrap();
    assert!(matches!(again, Created::Nothing(_)));
    assert!(history.join("seq1.json").exists() && !pending.exists());

    // The same with a medium that cannot be looked at is not guessed about.
    fs_err::create_dir_all(&pending).unwrap();
    for (from, to) in [("seq1.json", "head"), ("seq1.sig", "seal"), ("seq1.index", "index")] {
        fs_err::rename(history.join(from), pending.join(to)).unwrap();
    }
    fs_err::write(pending.join("medium"), "/nonexistent/medium").unwrap();
    let error = create(site.options(&["app/one:1"])).await.unwrap_err();
    assert!(matches!(error, CreateError::Unsettled { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_history_in_a_registry_makes_a_lost_workspace_again() {
    let site = Site::new().await;
    site.image("app/one", Some("1"), &[b"layer"]).await;
    let text = format!(
        "kind: ImageSetConfiguration\napiVersion: mirror.openshift.io/v1alpha2\nstorageConfig:\n  \
         registry:\n    imageURL: {host}/history/of:us\nmirror:\n  additionalImages:\n  - name: \
         {host}/app/one:1\n",
        host = site.host
    );
    let first = written(create(site.options_of(&text)).await.unwrap());
    fs_err::remove_dir_all(site.path("workspace")).unwrap();
    let options = site.options_of(&text);
    let stream =
        Stream::open(&options.config, &options.workspace, &options.client, &options.progress);
    let standing = stream.await.unwrap().standing().unwrap().unwrap();
    assert_eq!((standing.stream, standing.last), (first.stream, Sequence::FIRST));
    assert_eq!(standing.signers, [key().public().id().to_string()]);
    let again = create(site.options_of(&text)).await.unwrap();
    assert!(matches!(again, Created::Nothing(_)));
    site.image("app/one", Some("2"), &[b"layer 2"]).await;
    let text = text.replace("app/one:1", "app/one:2");
    let second = written(create(site.options_of(&text)).await.unwrap());
    assert_eq!(second.stream, first.stream);
    assert_eq!(second.sequence.get(), 2);
    // Another workspace that wrote its own sequence 1 of another stream is found out.
    let mut options = site.options(&["app/one:1"]);
    options.workspace = site.path("other");
    options.to = site.path("other-medium");
    written(create(options).await.unwrap());
    let mut options = site.options_of(&text);
    options.workspace = site.path("other");
    assert!(matches!(create(options).await, Err(CreateError::Fork { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_input_gives_the_same_parts() {
    let site = Site::new().await;
    site.image("app/one", Some("1"), &[&noise(1, 1_500_000), &noise(2, 100)]).await;
    for name in ["a", "b"] {
        let mut options = site.options(&["app/one:1"]);
        options.workspace = site.path(&format!("workspace-{name}"));
        options.to = site.path(name);
        written(create(options).await.unwrap());
    }
    for number in 0..2 {
        let name = format!("mirror_seq1_{number:06}.tar");
        let read = |side: &str| fs_err::read(site.path(side).join(&name)).unwrap();
        assert_eq!(read("a"), read("b"), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_layout_left_in_a_part_is_gone() {
    let site = Site::new().await;
    let layers = [noise(1, 1_500_001), noise(2, 100), noise(3, 0)];
    let layers: Vec<&[u8]> = layers.iter().map(Vec::as_slice).collect();
    site.image("app/one", Some("1"), &layers).await;
    let medium = site.path("medium");
    fs_err::create_dir(&medium).unwrap();
    for number in 0..2 {
        let name = format!("mirror_seq1_{number:06}.tar.partial");
        fs_err::write(medium.join(name), vec![0xff; 2_000_000]).unwrap();
    }
    written(create(site.options(&["app/one:1"])).await.unwrap());
    read(&medium, 1);
    let last = fs_err::read(medium.join("mirror_seq1_000001.tar")).unwrap();
    assert!(last[last.len() - 1024..].iter().all(|byte| *byte == 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn links_on_the_medium_lead_nowhere() {
    let site = Site::new().await;
    site.image("app/one", Some("1"), &[&noise(1, 1000)]).await;
    let medium = site.path("medium");
    fs_err::create_dir(&medium).unwrap();
    let names = ["_000000.tar", ".index", ".manifest.json", ".manifest.sig", ".TRANSFER.html"];
    for (n, name) in names.into_iter().enumerate() {
        let precious = site.path(&format!("precious{name}"));
        fs_err::write(&precious, "precious").unwrap();
        let link = medium.join(format!("mirror_seq1{name}.partial"));
        if n % 2 == 0 {
            fs_err::hard_link(precious, link).unwrap();
        } else {
            fs_err::os::unix::fs::symlink(precious, link).unwrap();
        }
    }
    written(create(site.options(&["app/one:1"])).await.unwrap());
    read(&medium, 1);
    for name in names {
        let precious = site.path(&format!("precious{name}"));
        assert_eq!(fs_err::read(precious).unwrap(), b"precious", "{name}");
        let made = medium.join(format!("mirror_seq1{name}"));
        assert!(fs_err::symlink_metadata(made).unwrap().is_file(), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_claims_too_much_does_not_keep_the_others_at_home() {
    let site = Site::new().await;
    site.image("app/one", Some("1"), &[&noise(1, 1000)]).await;
    site.liar("app/liar", &noise(2, 1024), 1 << 49).await;
    // Too much for the medium, and too much for parts of this size.
    for part_bytes in [PART_MAX, PART_MIN] {
        let mut options = site.options(&["app/liar:1", "app/one:1"]);
        (options.part_bytes, options.foreign_layers) = (part_bytes, true);
        options.workspace = site.path(&format!("workspace-{part_bytes}"));
        options.to = site.path(&format!("medium-{part_bytes}"));
        let made = written(create(options).await.unwrap());
        assert_eq!((made.summary.images, made.summary.failures.len()), (1, 1));
        let failure = &made.summary.failures[0];
        assert!(failure.reference.ends_with("/app/liar:1"), "{failure:?}");
        assert!(failure.reason.contains(&Digest::of(&noise(2, 1024)).to_string()), "{failure:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_images_that_disagree_about_a_size_the_wrong_one_goes() {
    let site = Site::new().await;
    let layer = noise(1, 1000);
    site.image("app/one", Some("1"), &[&layer]).await;
    site.liar("app/liar", &layer, 999).await;
    for (name, images) in
        [("first", ["app/liar:1", "app/one:1"]), ("last", ["app/one:1", "app/liar:1"])]
    {
        let mut options = site.options(&images);
        options.foreign_layers = true;
        options.workspace = site.path(&format!("workspace-{name}"));
        options.to = site.path(&format!("medium-{name}"));
        let made = written(create(options).await.unwrap());
        assert_eq!(made.summary.images, 1);
        let [failure] = &made.summary.failures[..] else { panic!("{:?}", made.summary.failures) };
        assert!(failure.reference.ends_with("/app/liar:1"), "{failure:?}");
        assert!(failure.reason.contains("/app/one:1` says 1000"), "{failure:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn when_nothing_could_be_had_each_image_has_its_line() {
    let site = Site::new().await;
    let names: Vec<String> = (0..22).map(|n| format!("no/such{n}:1")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let error = create(site.options(&names)).await.unwrap_err();
    let text = error.to_string();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 22, "{text}");
    assert!(lines[1].starts_with(&format!("  `{}/no/such0:1`: ", site.host)), "{text}");
    assert_eq!(lines[21], "  … and 2 more");
    assert!(error.hint().unwrap().ends_with("no sequence was written"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_arrives_damaged_is_looked_for_at_the_source() {
    let site = Site::new().await;
    let layer = noise(1, 1000);
    site.image("app/one", Some("1"), &[&layer]).await;
    let stored = find(&site.path("source"), &layer).unwrap();
    fs_err::remove_file(&stored).unwrap();
    fs_err::write(&stored, noise(2, 1000)).unwrap();
    let (proxy, correct) = ("look for a proxy", "correct what is named above");
    for (images, mixed) in [(&["app/one:1"][..], false), (&["app/one:1", "no/such:1"], true)] {
        let error = create(site.options(images)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Content(8), "{error}");
        let hint = error.hint().unwrap();
        assert!(hint.contains(proxy), "{hint}");
        assert_eq!(hint.contains(correct), mixed, "each cause has its own: {hint}");
    }
}

/// The file below `directory` with this content.
fn find(directory: &Path, content: &[u8]) -> Option<PathBuf> {
    fs_err::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).find_map(|path| {
        if path.is_dir() {
            return find(&path, content);
        }
        (path.is_file() && fs_err::read(&path).unwrap() == content).then_some(path)
    })
}
