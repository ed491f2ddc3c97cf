//! The graph image on a base that stands in a registry.

use std::collections::BTreeMap;
use std::sync::Arc;

use format_spec::limits::PART_MIN;
use format_spec::{Digest, Sequence};
use registry::client::{ClientOptions, RetryPolicy};
use registry::media_type::{
    DOCKER_CONFIG, DOCKER_LAYER_GZIP, DOCKER_MANIFEST, OCI_CONFIG, OCI_INDEX, OCI_LAYER_GZIP,
    OCI_MANIFEST,
};
use registry::reference::RegistryHost;
use registry::server::{Server, ServerConfig};
use tar::EntryType;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::config::ImageSetConfig;
use crate::create::{CreateOptions, Filled, fill};
use crate::history::Known;
use crate::made::base_of;
use crate::plan::{self, Basis, Content};
use crate::release::asked::ReleaseOptions;
use crate::release::graph_data::tests::{CHANNEL, archive};
use crate::release::path::AcceptedRisks;
use crate::release::proven::Trust;
use crate::release::service::ServiceOptions;
use crate::resolve::{self, Resolved, Rules};

/// A registry with base images, and a workspace.
struct Place {
    host: RegistryHost,
    client: Client,
    origins: Origins,
    directory: tempfile::TempDir,
    stop: CancellationToken,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Place {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let any = ([127, 0, 0, 1], 0).into();
        let server =
            Server::bind(ServerConfig::new(directory.path().join("registry"), any)).await.unwrap();
        let host: RegistryHost = server.local_addr().to_string().parse().unwrap();
        let stop = CancellationToken::new();
        tokio::spawn(server.run(stop.clone()));
        let options = ClientOptions {
            plain_http: vec![host.clone()],
            registries_conf: Some("/dev/null".into()),
            retry: RetryPolicy { times: 1, ..RetryPolicy::default() },
            ..ClientOptions::default()
        };
        let client = Client::new(options).unwrap();
        Self { origins: Origins::new(client.clone(), 4), client, host, directory, stop }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn reference(&self, name: &str) -> Reference {
        format!("{}/{name}", self.host).parse().unwrap()
    }

    async fn blob(&self, repository: &str, bytes: &[u8]) -> Value {
        let digest = Digest::of(bytes);
        let source = Arc::new(Bytes::copy_from_slice(bytes));
        let repository = repository.parse().unwrap();
        let size = bytes.len() as u64;
        self.client.push_blob(&self.host, &repository, &digest, size, source, None).await.unwrap();
        json!({ "digest": digest.to_string(), "size": size })
    }

    async fn manifest(&self, repository: &str, name: &str, kind: &str, document: &Value) -> Value {
        let bytes = Bytes::from(document.to_string());
        let digest = Digest::of(&bytes);
        let name =
            if name.is_empty() { digest.into() } else { ManifestRef::Tag(name.parse().unwrap()) };
        let size = bytes.len();
        let repository = repository.parse().unwrap();
        self.client.put_manifest(&self.host, &repository, &name, kind, bytes).await.unwrap();
        json!({ "mediaType": kind, "digest": digest.to_string(), "size": size })
    }

    /// An image of one layer, and its descriptor.
    async fn image(&self, repository: &str, name: &str, architecture: &str, docker: bool) -> Value {
        let kinds = match docker {
            true => (DOCKER_MANIFEST, DOCKER_CONFIG, DOCKER_LAYER_GZIP),
            false => (OCI_MANIFEST, OCI_CONFIG, OCI_LAYER_GZIP),
        };
        let layer = format!("the file system of {architecture}");
        let config = json!({
            "architecture": architecture, "os": "linux", "created": "2026-01-01T00:00:00Z",
            "config": { "Env": ["PATH=/bin"], "Entrypoint": ["/entry"], "Cmd": ["/bin/bash"] },
            "rootfs": { "type": "layers", "diff_ids": [Digest::of(layer.as_bytes()).to_string()] },
            "history": [{ "created_by": "base" }],
        });
        let mut layer = self.blob(repository, layer.as_bytes()).await;
        layer["mediaType"] = kinds.2.into();
        let mut config = self.blob(repository, config.to_string().as_bytes()).await;
        config["mediaType"] = kinds.1.into();
        let manifest = json!({ "schemaVersion": 2, "mediaType": kinds.0, "config": config, "layers": [layer] });
        let mut entry = self.manifest(repository, name, kinds.0, &manifest).await;
        entry["platform"] = json!({ "os": "linux", "architecture": architecture });
        entry
    }

    /// A base of two platforms, with an attestation beside them.
    async fn base(&self) -> Reference {
        let (amd, arm) = (
            self.image("ubi9/ubi", "", "amd64", false).await,
            self.image("ubi9/ubi", "", "arm64", false).await,
        );
        let mut other = self.image("ubi9/ubi", "", "other", false).await;
        other["platform"] = json!({ "os": "unknown", "architecture": "unknown" });
        let index =
            json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [amd, arm, other] });
        self.manifest("ubi9/ubi", "latest", OCI_INDEX, &index).await;
        self.reference("ubi9/ubi:latest")
    }

    async fn make(
        &self,
        base: &Reference,
        archive: &[u8],
        platforms: &[&str],
    ) -> Result<Wish<'static>, GraphImageError> {
        let data = self.path("graph-data.tar.gz");
        fs_err::write(&data, archive).unwrap();
        let graph = GraphOptions { data: Some(GraphData::File(data)), base: base.clone() };
        let architectures = if platforms.is_empty() { &["multi"][..] } else { platforms };
        let text = format!(
            "kind: ImageSetConfiguration\napiVersion: mirror.openshift.io/v2alpha1\nmirror:\n  platform: {{graph: true, \
             architectures: {architectures:?}}}\n"
        );
        let config = ImageSetConfig::parse(&text, "test.yaml").unwrap().config;
        let (stanza, workspace) = (config.platform.unwrap(), self.path("workspace"));
        let graphs: Url = super::super::service::OCP.parse().unwrap();
        make(&self.client, &self.origins, &graph, &graphs, &stanza, &workspace, 0).await
    }

    /// What the layout has under a digest.
    fn made(&self, digest: &str) -> Value {
        let hex = digest.strip_prefix("sha256:").unwrap();
        let path = self.path("workspace/made/graph-image/blobs/sha256").join(hex);
        serde_json::from_slice(&fs_err::read(path).unwrap()).unwrap()
    }
}

fn chosen(wish: &Wish<'_>) -> Digest {
    match &wish.source {
        Source::Made { image: LayoutImage { choice: Choice::Digest(digest), .. }, .. } => *digest,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_the_base_with_one_layer_more() {
    let place = Place::new().await;
    let base = place.base().await;
    let wish = place.make(&base, &archive(&[CHANNEL], 1), &[]).await.unwrap();
    assert_eq!((wish.repository.as_str(), wish.tag.as_ref().unwrap().as_str()), (REPOSITORY, TAG));
    assert_eq!(wish.class, ContentClass::Release);
    let index = place.made(&chosen(&wish).to_string());
    let children = index["manifests"].as_array().unwrap();
    let platforms: Vec<_> =
        children.iter().map(|child| child["platform"]["architecture"].as_str().unwrap()).collect();
    assert_eq!(platforms, ["amd64", "arm64"]);
    let layer = Layer::of(&archive(&[CHANNEL], 1)).unwrap();
    for child in children {
        let manifest = place.made(child["digest"].as_str().unwrap());
        let layers = manifest["layers"].as_array().unwrap();
        assert_eq!((layers.len(), &layers[1]["digest"]), (2, &json!(layer.digest.to_string())));
        assert_eq!(manifest["annotations"][BASE_NAME], base.name());
        let config = place.made(manifest["config"]["digest"].as_str().unwrap());
        assert_eq!(config["rootfs"]["diff_ids"][1], layer.diff_id.to_string());
        assert_eq!(config["config"]["Cmd"], json!(COMMAND));
        assert!(
            config["config"].get("Entrypoint").is_none()
                && config["config"]["Env"][0] == "PATH=/bin"
        );
        assert_eq!(config["history"].as_array().unwrap().len(), 2);
    }
    // The same again, whatever the archive says of times and owners; of other data another one.
    let again = place.make(&base, &archive(&[CHANNEL], 99), &[]).await.unwrap();
    assert_eq!(chosen(&again), chosen(&wish));
    let version = ("version", EntryType::Regular, &b"2"[..]);
    let other = place.make(&base, &archive(&[CHANNEL, version], 1), &[]).await.unwrap();
    assert_ne!(chosen(&other), chosen(&wish));
    // What was made before is still there.
    place.made(&chosen(&wish).to_string());

    // One platform needs no index; the kinds are those of the base.
    let one = place.make(&base, &archive(&[CHANNEL], 1), &["arm64"]).await.unwrap();
    assert_eq!(place.made(&chosen(&one).to_string())["mediaType"], OCI_MANIFEST);
    place.image("old/base", "1", "amd64", true).await;
    let docker = place
        .make(&place.reference("old/base:1"), &archive(&[CHANNEL], 1), &["amd64"])
        .await
        .unwrap();
    let manifest = place.made(&chosen(&docker).to_string());
    assert_eq!(
        (&manifest["mediaType"], &manifest["layers"][1]["mediaType"]),
        (&json!(DOCKER_MANIFEST), &json!(DOCKER_LAYER_GZIP))
    );
    assert!(manifest.get("annotations").is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blobs_of_the_base_come_from_its_registry() {
    let place = Place::new().await;
    let base = place.base().await;
    let wish = place.make(&base, &archive(&[CHANNEL], 1), &[]).await.unwrap();
    let (digest, path) = (chosen(&wish), place.path("workspace/made/graph-image"));
    let options = options(&place);
    let resolved = resolve(&place, &options, wish).await;
    let [image] = &*resolved.images else { panic!("{:?}", resolved.failures) };
    assert!(is_made(image));
    let resource = resource(image);
    let stated: Value = serde_json::from_slice(&resource.content).unwrap();
    assert_eq!(resource.name, "graph-image");
    assert_eq!(
        stated,
        json!({ "repository": REPOSITORY, "tag": TAG, "digest": digest.to_string() })
    );

    let plan = planned(&resolved);
    let blobs = plan.items.iter().filter(|item| matches!(item.content, Content::Blob)).count();
    assert_eq!(blobs, 5, "two configurations, two layers of the base, one of our own");
    assert_eq!(plan.origins[0], Origin::Layout(path.clone()));
    assert_eq!(plan.origins[1], Origin::Registry(base.registry.clone(), base.repository.clone()));
    let plan = Arc::new(plan);
    fs_err::create_dir_all(&options.to).unwrap();
    // Where a run notes what it has.
    fs_err::create_dir_all(options.workspace.join("history")).unwrap();
    let filled = fill(&options, &place.origins, &plan).await.unwrap();
    assert!(matches!(filled, Filled::Complete(..)));

    // To write the sequence again, the layout says where the rest is; nobody else's does.
    let origin = Origin::Registry(base.registry.clone(), base.repository.clone());
    assert_eq!(base_of(&Origin::Layout(path.clone())), Some(origin));
    let elsewhere = place.path("elsewhere");
    fs_err::rename(path, &elsewhere).unwrap();
    assert_eq!(base_of(&Origin::Layout(elsewhere)), None);
    assert_eq!(base_of(&Origin::Layout(place.path("workspace/made/graph-image"))), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_base_that_lacks_something_is_told() {
    let place = Place::new().await;
    let base = place.base().await;
    let good = archive(&[CHANNEL], 1);
    for (reference, platforms, said) in [
        (base.clone(), &["s390x"][..], "no image for linux/s390x"),
        (place.reference("ubi9/ubi:none"), &[], "could not be had"),
        (place.reference("none/none:1"), &[], "could not be had"),
    ] {
        let error = place.make(&reference, &good, platforms).await.unwrap_err();
        assert!(error.to_string().contains(said), "{error}");
        assert!(error.hint().unwrap().contains("--graph-base"));
    }
    let error = place.make(&base, b"<html>", &[]).await.unwrap_err();
    assert!(error.hint().unwrap().contains("--graph-data FILE"), "{error}");
    // An artifact has no root file system.
    let mut empty = place.blob("odd/base", b"{}").await;
    empty["mediaType"] = OCI_CONFIG.into();
    let artifact =
        json!({ "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": empty, "layers": [] });
    place.manifest("odd/base", "1", OCI_MANIFEST, &artifact).await;
    let error = place.make(&place.reference("odd/base:1"), &good, &[]).await.unwrap_err();
    assert!(error.to_string().contains("lists no layers"), "{error}");
    assert!(!place.path("workspace").exists());
}

#[test]
fn the_data_is_an_address_or_a_file() {
    let url = |text: &str| GraphData::Url(text.parse().unwrap());
    let of = |text: &str| text.parse::<GraphData>();
    assert_eq!(of("https://a/b").unwrap(), url("https://a/b"));
    assert_eq!(of("a/b.tar.gz").unwrap(), GraphData::File("a/b.tar.gz".into()));
    assert_eq!(of("file:///a/b").unwrap(), GraphData::File("/a/b".into()));
    for odd in ["", "ftp://a/b", "https://", "file://"] {
        assert!(of(odd).is_err(), "{odd}");
    }
    let beside = |text: &str| GraphData::beside(&text.parse().unwrap());
    assert_eq!(beside(super::super::service::OCP).unwrap(), url(DATA));
    assert_eq!(
        beside("https://own.site:1/x/v1/graph?a=b").unwrap(),
        url("https://own.site:1/x/graph-data")
    );
    assert!(beside("https://own.site/graph").is_err());
}

fn options(place: &Place) -> CreateOptions {
    let text =
        "kind: ImageSetConfiguration\napiVersion: mirror.openshift.io/v2alpha1\nmirror: {}\n";
    CreateOptions {
        config: ImageSetConfig::parse(text, "test.yaml").unwrap().config,
        images: Vec::new(),
        straight: None,
        workspace: place.path("workspace"),
        to: place.path("medium"),
        keys: Arc::new(Vec::new()),
        part_bytes: PART_MIN,
        full: false,
        since: None,
        strict: false,
        remove_signatures: false,
        foreign_layers: false,
        max_nested_paths: 0,
        dry_run: false,
        parallel_images: 2,
        parallel_blobs: 2,
        sums: false,
        read_back: false,
        labels: BTreeMap::new(),
        expires: None,
        next_expected: None,
        releases: ReleaseOptions {
            service: ServiceOptions::from_environment(None).unwrap(),
            risks: AcceptedRisks::Nothing,
            trust: Trust { keys: Vec::new(), stores: Vec::new(), accept_unsigned: false },
            graph: GraphOptions::default(),
        },
        helm: crate::helm::HelmOptions::default(),
        policy: None,
        client: place.client.clone(),
        progress: Arc::default(),
        cancel: CancellationToken::new(),
    }
}

async fn resolve(place: &Place, options: &CreateOptions, wish: Wish<'_>) -> Resolved {
    let rules = Rules { remove_signatures: false, foreign_layers: false, parallel: 2 };
    let known = Known::default();
    resolve::resolve(&options.config, vec![wish], &place.origins, &rules, &known).await.unwrap()
}

fn planned(resolved: &Resolved) -> plan::Plan {
    let known = Known::default();
    let basis = Basis {
        stream: format_spec::StreamId::from_bytes([1; 16]),
        sequence: Sequence::FIRST,
        known: &known,
        standing: &known,
        part_bytes: PART_MIN,
    };
    plan::make(resolved, &basis).unwrap()
}
