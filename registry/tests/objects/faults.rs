//! A store that fails at the n-th call, for every n until none is left: what was acknowledged is there, what was
//! not is told so, and the registry goes on as soon as the store does.

use std::fmt::{self, Display, Formatter};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use bytes::Bytes;
use format_spec::Digest;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use registry::media_type::OCI_MANIFEST;

use crate::support::*;

/// Lets a number of calls through and fails the next one, or all further ones.
#[derive(Debug)]
struct Faulty {
    inner: Arc<InMemory>,
    left: AtomicI64,
    for_ever: AtomicBool,
    /// A call that fails has happened all the same: only its answer is lost.
    after: bool,
}

impl Display for Faulty {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("faulty")
    }
}

fn lost() -> Error {
    Error::Generic { store: "faulty", source: "the connection broke".into() }
}

impl Faulty {
    fn fails(&self) -> bool {
        match self.left.fetch_sub(1, Ordering::SeqCst) {
            1.. => false,
            0 => true,
            _ => self.for_ever.load(Ordering::SeqCst),
        }
    }
}

#[async_trait::async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let fails = self.fails();
        if fails && !self.after {
            return Err(lost());
        }
        let done = self.inner.put_opts(location, payload, options).await?;
        if fails { Err(lost()) } else { Ok(done) }
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        if self.fails() {
            return Err(lost());
        }
        self.inner.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.inner.get_ranges(location, ranges).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        match self.fails() {
            true => stream::once(async { Err(lost()) }).boxed(),
            false => self.inner.delete_stream(locations),
        }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.fails() {
            true => stream::once(async { Err(lost()) }).boxed(),
            false => self.inner.list(prefix),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

/// A registry over a store that fails at the call `at` after its start.
async fn faulty(at: i64, for_ever: bool, after: bool) -> (Registry, Arc<Faulty>) {
    let store = Arc::new(Faulty {
        inner: Arc::default(),
        left: AtomicI64::new(i64::MAX),
        for_ever: AtomicBool::new(for_ever),
        after,
    });
    let registry = Registry::over(Some(Arc::clone(&store) as Arc<dyn ObjectStore>)).await;
    // It looks for abandoned uploads at start, in its own time; that takes a few of the calls.
    store.left.store(at, Ordering::SeqCst);
    (registry, store)
}

/// Pushes an image step by step; what was acknowledged, and whether that was all.
async fn push(registry: &Registry, data: &[u8]) -> (Vec<String>, bool) {
    let blob = known(data);
    let text = image(&blob, &blob, "");
    let mut done = vec![];
    let begun = registry.send("POST", "/v2/a/blobs/uploads/").await;
    if begun.status() != 202 {
        told(begun.status().as_u16(), &begun);
        return (done, false);
    }
    let location = field(&begun, "location");
    let half = data.len() / 2;
    for (method, path, part) in [
        ("PATCH", location.clone(), &data[..half]),
        ("PUT", format!("{location}?digest={blob}"), &data[half..]),
    ] {
        let answer = registry.request(method, &path).body(part.to_vec()).send().await.unwrap();
        if !answer.status().is_success() {
            told(answer.status().as_u16(), &answer);
            return (done, false);
        }
    }
    done.push(format!("blobs/{blob}"));
    let answer = registry.put("a", "v1", OCI_MANIFEST, &text).await;
    if answer.status() != 201 {
        told(answer.status().as_u16(), &answer);
        return (done, false);
    }
    done.push("manifests/v1".to_owned());
    done.push(format!("manifests/{}", digest(&text)));
    (done, true)
}

fn told(status: u16, answer: &reqwest::Response) {
    assert_eq!(status, 503, "{answer:?}");
    assert!(answer.headers().contains_key("retry-after"));
}

#[tokio::test]
async fn the_nth_call_fails() {
    let data = noise(1, 200_000);
    for (for_ever, after) in [(false, false), (false, true), (true, false)] {
        let mut refused = 0;
        for at in 0.. {
            let (registry, store) = faulty(at, for_ever, after).await;
            let (done, whole) = push(&registry, &data).await;
            let untouched = store.left.load(Ordering::SeqCst) >= 0;
            // The store is well again.
            store.left.store(i64::MAX, Ordering::SeqCst);
            for path in &done {
                let answer = registry.send("GET", &format!("/v2/a/{path}")).await;
                assert_eq!(answer.status(), 200, "acknowledged {path}, call {at}");
                assert!(!answer.bytes().await.unwrap().is_empty());
            }
            let (_, again) = push(&registry, &data).await;
            assert!(again, "call {at}");
            let answer = registry.send("GET", &format!("/v2/a/blobs/{}", Digest::of(&data))).await;
            assert!(answer.bytes().await.unwrap() == data);
            refused += i32::from(!whole);
            if untouched {
                assert!(whole && at > 10, "call {at}");
                break;
            }
        }
        println!("for ever {for_ever}, answer lost {after}: {refused} pushes were refused");
        assert!(refused > 0 || after);
    }
}

/// A blob that another upload has brought already: what this one brought is given up in the order in which nobody who asks
/// for it finds less than was acknowledged.
#[tokio::test]
async fn an_upload_never_goes_back() {
    let data = noise(2, 100_000);
    let (first, rest) = data.split_at(60_000);
    let blob = known(&data);
    for at in 0.. {
        let (registry, store) = faulty(i64::MAX, true, false).await;
        registry.push("b", &data).await;
        let location = registry.begin("a").await;
        let patch = registry.request("PATCH", &location).body(first.to_vec());
        assert_eq!(patch.send().await.unwrap().status(), 202);
        store.left.store(at, Ordering::SeqCst);
        let put = registry.request("PUT", &format!("{location}?digest={blob}"));
        let put = put.body(rest.to_vec()).send().await.unwrap().status();
        let untouched = store.left.load(Ordering::SeqCst) >= 0;
        // Another replica is asked.
        store.left.store(i64::MAX, Ordering::SeqCst);
        let other = Registry::over(registry.bucket.clone()).await;
        let there = other.send("GET", &location).await;
        if there.status() == 404 {
            let path = format!("/v2/a/blobs/{blob}");
            assert_eq!(other.send("HEAD", &path).await.status(), 200, "call {at}");
        } else {
            let range = field(&there, "range");
            let last: usize = range.strip_prefix("0-").unwrap().parse().unwrap();
            assert!(last + 1 >= first.len(), "call {at}: {range}");
        }
        if untouched {
            assert_eq!(put, 201);
            assert!(at > 10, "call {at}");
            break;
        }
    }
}

#[tokio::test]
async fn a_store_that_is_away_is_told_and_comes_back() {
    let (registry, store) = faulty(i64::MAX, true, false).await;
    let text = registry.image("a", "v1", "layer").await;
    store.left.store(0, Ordering::SeqCst);
    for (method, path) in [
        ("GET", "/v2/a/manifests/v1"),
        ("GET", "/v2/a/tags/list"),
        ("GET", "/v2/_catalog"),
        ("POST", "/v2/a/blobs/uploads/"),
        ("DELETE", "/v2/a/manifests/v1"),
    ] {
        let answer = registry.send(method, path).await;
        told(answer.status().as_u16(), &answer);
        let body = answer.text().await.unwrap();
        assert!(body.contains("object store") && !body.contains("some/registry"), "{body}");
    }
    // Itself it lives.
    assert_eq!(registry.send("GET", "/v2/").await.status(), 200);
    store.left.store(i64::MAX, Ordering::SeqCst);
    let answer = registry.send("GET", "/v2/a/manifests/v1").await;
    assert_eq!(answer.text().await.unwrap(), text);
}

#[tokio::test]
async fn a_store_that_ignores_conditions_is_refused() {
    /// Takes every write.
    #[derive(Debug)]
    struct Careless(InMemory);
    impl Display for Careless {
        fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
            f.write_str("careless")
        }
    }
    #[async_trait::async_trait]
    impl ObjectStore for Careless {
        async fn put_opts(
            &self,
            at: &Path,
            payload: PutPayload,
            _: PutOptions,
        ) -> Result<PutResult> {
            self.0.put_opts(at, payload, PutOptions::default()).await
        }
        async fn put_multipart_opts(
            &self,
            at: &Path,
            options: PutMultipartOptions,
        ) -> Result<Box<dyn MultipartUpload>> {
            self.0.put_multipart_opts(at, options).await
        }
        async fn get_opts(&self, at: &Path, options: GetOptions) -> Result<GetResult> {
            self.0.get_opts(at, options).await
        }
        fn delete_stream(
            &self,
            at: BoxStream<'static, Result<Path>>,
        ) -> BoxStream<'static, Result<Path>> {
            self.0.delete_stream(at)
        }
        fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
            self.0.list(prefix)
        }
        async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
            self.0.list_with_delimiter(prefix).await
        }
        async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
            self.0.copy_opts(from, to, options).await
        }
    }
    let store = Arc::new(Careless(InMemory::new()));
    let refused = registry::objects::Objects::over(store, "", false).await.err().unwrap();
    assert!(refused.to_string().contains("If-None-Match"), "{refused}");
}

#[tokio::test]
async fn a_store_that_is_away_makes_the_registry_not_ready() {
    let (registry, store) = faulty(0, true, false).await;
    let ready = registry.send("GET", "/readyz").await;
    assert_eq!(ready.status(), 503);
    let told: serde_json::Value = ready.json().await.unwrap();
    assert!(told["reasons"][0].as_str().unwrap().contains("object storage"), "{told}");
    let metrics = registry.send("GET", "/metrics").await.text().await.unwrap();
    assert!(metrics.contains("bundle_registry_ready 0"), "{metrics}");
    let status = registry::server::control::ask_status(registry.dir.path()).await.unwrap();
    assert!(status.storage_problem.is_some());
    assert_eq!(registry.send("GET", "/healthz").await.status(), 200);
    // It is back; the answer before holds for a moment.
    store.for_ever.store(false, Ordering::SeqCst);
    while registry.send("GET", "/readyz").await.status() != 200 {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}
