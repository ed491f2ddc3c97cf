//! A registry in this process, and the steps that most tests begin with.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex, Once};

use format_spec::{Digest, digest::to_hex};
use futures_util::StreamExt;
use object_store::ObjectStore;
use registry::media_type::{OCI_CONFIG, OCI_LAYER, OCI_MANIFEST};
use registry::objects::Objects;
use registry::server::{Server, ServerConfig};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// An object store, when the registries of these tests are over one.
pub type Bucket = Option<Arc<dyn ObjectStore>>;

/// What the keys in it begin with.
pub const PREFIX: &str = "some/registry";

pub struct Registry {
    pub base: String,
    pub dir: TempDir,
    pub bucket: Bucket,
    pub client: Client,
    stop: CancellationToken,
    running: JoinHandle<()>,
}

pub fn client() -> Client {
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| {
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
    Client::builder().no_proxy().build().unwrap()
}

/// A server over the bucket, or over files when there is none.
pub async fn bind(config: ServerConfig, bucket: &Bucket) -> Server {
    let Some(store) = bucket else { return Server::bind(config).await.unwrap() };
    let objects = Objects::over(Arc::clone(store), PREFIX, config.read_only).await.unwrap();
    Server::bind_over(config, Arc::new(objects)).await.unwrap()
}

/// How many uploads are unfinished.
pub async fn uploads(dir: &Path, bucket: &Bucket) -> usize {
    match bucket {
        None => fs_err::read_dir(dir.join("uploads")).unwrap().count(),
        Some(store) => {
            let prefix = object_store::path::Path::from(format!("{PREFIX}/uploads"));
            store.list(Some(&prefix)).count().await
        }
    }
}

async fn run(config: ServerConfig, bucket: &Bucket) -> (String, CancellationToken, JoinHandle<()>) {
    go(bind(config, bucket).await)
}

fn go(server: Server) -> (String, CancellationToken, JoinHandle<()>) {
    let scheme = if server.ca().is_some() { "https" } else { "http" };
    let base = format!("{scheme}://{}", server.local_addr());
    let stop = CancellationToken::new();
    let running = tokio::spawn({
        let stop = stop.clone();
        async move { server.run(stop).await.unwrap() }
    });
    (base, stop, running)
}

impl Registry {
    pub async fn start() -> Self {
        Self::over(crate::bucket()).await
    }

    pub async fn over(bucket: Bucket) -> Self {
        Self::start_with(tempfile::tempdir().unwrap(), bucket).await
    }

    /// Starts on data that is there.
    pub async fn start_in(dir: TempDir) -> Self {
        Self::start_with(dir, crate::bucket()).await
    }

    async fn start_with(dir: TempDir, bucket: Bucket) -> Self {
        let config = ServerConfig::new(dir.path(), "127.0.0.1:0".parse().unwrap());
        let (base, stop, running) = run(config, &bucket).await;
        Self { base, dir, bucket, client: client(), stop, running }
    }

    /// One with this configuration, spoken to by this client.
    pub async fn of(dir: TempDir, config: ServerConfig, client: Client) -> Self {
        let (base, stop, running) = run(config, &None).await;
        Self { base, dir, bucket: None, client, stop, running }
    }

    /// One over these objects, in a bucket that others may be over too.
    #[allow(dead_code)] // not every program of tests needs one
    pub async fn over_objects(objects: Objects) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = ServerConfig::new(dir.path(), "127.0.0.1:0".parse().unwrap());
        let server = Server::bind_over(config, Arc::new(objects)).await.unwrap();
        let (base, stop, running) = go(server);
        Self { base, dir, bucket: None, client: client(), stop, running }
    }

    /// Stops, and starts again on the same data and another port.
    pub async fn restart(self, read_only: bool) -> Self {
        let bucket = self.bucket.clone();
        let dir = self.stop().await;
        let mut config = ServerConfig::new(dir.path(), "127.0.0.1:0".parse().unwrap());
        config.read_only = read_only;
        let (base, stop, running) = run(config, &bucket).await;
        Self { base, dir, bucket, client: client(), stop, running }
    }

    pub async fn stop(self) -> TempDir {
        self.stop.cancel();
        drop(self.client);
        self.running.await.unwrap();
        self.dir
    }

    /// How many uploads are unfinished.
    pub async fn uploads(&self) -> usize {
        uploads(self.dir.path(), &self.bucket).await
    }

    pub fn host(&self) -> &str {
        self.base.split_once("://").unwrap().1
    }

    pub fn request(&self, method: &str, path: &str) -> RequestBuilder {
        let url = match path.starts_with("http") {
            true => path.to_owned(),
            false => format!("{}{path}", self.base),
        };
        self.client.request(Method::from_bytes(method.as_bytes()).unwrap(), url)
    }

    pub async fn send(&self, method: &str, path: &str) -> Response {
        self.request(method, path).send().await.unwrap()
    }

    /// Starts an upload and returns its location.
    pub async fn begin(&self, repository: &str) -> String {
        let answer = self.send("POST", &format!("/v2/{repository}/blobs/uploads/")).await;
        assert_eq!(answer.status(), StatusCode::ACCEPTED);
        field(&answer, "location")
    }

    /// POST and PUT.
    pub async fn push(&self, repository: &str, data: &[u8]) -> Digest {
        let digest = known(data);
        let location = self.begin(repository).await;
        let put = self.request("PUT", &format!("{location}?digest={digest}"));
        let answer = put.body(data.to_vec()).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::CREATED);
        digest
    }

    pub async fn put(&self, repository: &str, reference: &str, kind: &str, body: &str) -> Response {
        self.request("PUT", &format!("/v2/{repository}/manifests/{reference}"))
            .header("content-type", kind)
            .body(body.to_owned())
            .send()
            .await
            .unwrap()
    }

    /// Pushes an image of one layer under a tag; returns its manifest.
    pub async fn image(&self, repository: &str, tag: &str, layer: &str) -> String {
        let text = image(
            &self.push(repository, b"{}").await,
            &self.push(repository, layer.as_bytes()).await,
            "",
        );
        assert_eq!(
            self.put(repository, tag, OCI_MANIFEST, &text).await.status(),
            StatusCode::CREATED
        );
        text
    }
}

/// The digest of this content, whose size the manifests of these tests state.
pub fn known(data: &[u8]) -> Digest {
    let digest = Digest::of(data);
    SIZES.lock().unwrap().insert(digest, data.len());
    digest
}

static SIZES: LazyLock<Mutex<HashMap<Digest, usize>>> = LazyLock::new(Mutex::default);

/// An image manifest; `more` are further fields, each after a comma.
pub fn image(config: &Digest, layer: &Digest, more: &str) -> String {
    let size = |digest: &Digest| SIZES.lock().unwrap().get(digest).copied().unwrap_or(5);
    let (config_size, size) = (size(config), size(layer));
    format!(
        r#"{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}","config":{{"mediaType":"{OCI_CONFIG}","digest":"{config}","size":{config_size}}},"layers":[{{"mediaType":"{OCI_LAYER}","digest":"{layer}","size":{size}}}]{more}}}"#
    )
}

/// A descriptor of this content.
pub fn descriptor(kind: &str, content: &str) -> String {
    let digest = Digest::of(content.as_bytes());
    format!(r#"{{"mediaType":"{kind}","digest":"{digest}","size":{}}}"#, content.len())
}

pub fn digest(text: &str) -> Digest {
    known(text.as_bytes())
}

pub fn field(answer: &Response, name: &str) -> String {
    match answer.headers().get(name) {
        Some(value) => value.to_str().unwrap().to_owned(),
        None => panic!("no `{name}` in {answer:?}"),
    }
}

/// The status and the error code of an answer.
pub async fn refusal(answer: Response) -> (u16, String) {
    let status = answer.status().as_u16();
    let body: serde_json::Value = answer.json().await.unwrap();
    (status, body["errors"][0]["code"].as_str().unwrap().to_owned())
}

/// Bytes that do not compress and differ for each seed.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut data = Vec::with_capacity(length + 8);
    while data.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        data.extend_from_slice(&state.to_le_bytes());
    }
    data.truncate(length);
    data
}

/// A name that no other test uses.
#[allow(dead_code)] // not every program of tests needs one
pub fn unique(seed: u64) -> String {
    to_hex(&seed.to_be_bytes())
}
