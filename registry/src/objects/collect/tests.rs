//! Collections of a bucket in memory: what goes, what stays, races with pushes, and a collection that dies.

use std::collections::HashMap;
use std::fmt::{self, Display, Formatter};
use std::ops::Range;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{LazyLock, Mutex};
use std::time::Duration;

use bytes::Bytes;
use format_spec::{Repository, Tag};
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectStore,
    ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult,
};

use super::super::keys;
use super::*;
use crate::content::{Algorithm, ContentDigest};
use crate::media_type::{OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST};
use crate::store::StoredManifest;

/// A store whose objects grow old when a test says so, and that fails for ever from a number of changes on.
#[derive(Debug)]
pub(in crate::objects) struct Aging {
    pub(in crate::objects) inner: InMemory,
    /// Seconds that all objects written before a moment are older than they are: the moment, and how much.
    before: Arc<AtomicI64>,
    changes: AtomicI64,
}

impl Display for Aging {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("aging")
    }
}

/// How much older things get.
const AGES: Duration = Duration::from_secs(1000 * 3600);

fn aged(before: &AtomicI64, mut meta: ObjectMeta) -> ObjectMeta {
    if meta.last_modified.timestamp_micros() <= before.load(Ordering::SeqCst) {
        meta.last_modified -= AGES;
    }
    meta
}

impl Aging {
    pub(in crate::objects) fn new() -> Arc<Self> {
        let (before, changes) = (Arc::default(), AtomicI64::new(i64::MAX));
        Arc::new(Self { inner: InMemory::new(), before, changes })
    }

    /// What is there now gets old.
    pub(in crate::objects) fn grow_old(&self) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        self.before.store(i64::try_from(now.as_micros()).unwrap(), Ordering::SeqCst);
        // Times are told apart by less than this.
        std::thread::sleep(Duration::from_millis(2));
    }

    fn change(&self) -> object_store::Result<()> {
        match self.changes.fetch_sub(1, Ordering::SeqCst) {
            1.. => Ok(()),
            _ => Err(Error::Generic { store: "aging", source: "killed".into() }),
        }
    }
}

#[async_trait::async_trait]
impl ObjectStore for Aging {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> object_store::Result<PutResult> {
        self.change()?;
        self.inner.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(
        &self,
        location: &Path,
        options: GetOptions,
    ) -> object_store::Result<GetResult> {
        let mut got = self.inner.get_opts(location, options).await?;
        got.meta = aged(&self.before, got.meta);
        // Whoever else runs gets a turn between any two requests.
        tokio::task::yield_now().await;
        Ok(got)
    }

    async fn get_ranges(
        &self,
        location: &Path,
        ranges: &[Range<u64>],
    ) -> object_store::Result<Vec<Bytes>> {
        self.inner.get_ranges(location, ranges).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        match self.change() {
            Ok(()) => self.inner.delete_stream(locations),
            Err(error) => stream::once(async { Err(error) }).boxed(),
        }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        let before = Arc::clone(&self.before);
        self.inner.list(prefix).map_ok(move |meta| aged(&before, meta)).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(
        &self,
        from: &Path,
        to: &Path,
        options: CopyOptions,
    ) -> object_store::Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

pub(in crate::objects) async fn replica(store: &Arc<Aging>) -> Arc<Objects> {
    let store: Arc<dyn ObjectStore> = Arc::<Aging>::clone(store);
    Arc::new(Objects::over(store, "p", false).await.unwrap())
}

pub(in crate::objects) fn name(text: &str) -> Repository {
    text.parse().unwrap()
}

pub(in crate::objects) fn digest(data: &[u8]) -> ContentDigest {
    ContentDigest::of(Algorithm::Sha256, data)
}

pub(in crate::objects) const DAY: Collect = Collect {
    grace: Duration::from_secs(24 * 3600),
    untagged: false,
    dry_run: false,
    beside: true,
};

pub(in crate::objects) async fn collect(objects: &Arc<Objects>, how: Collect) -> Collected {
    objects.collect(&how, &CancellationToken::new()).await.unwrap()
}

/// The sizes of what was pushed, which manifests state.
static SIZES: LazyLock<Mutex<HashMap<ContentDigest, usize>>> = LazyLock::new(Mutex::default);

pub(in crate::objects) async fn push(
    objects: &Arc<Objects>,
    repository: &str,
    data: &[u8],
) -> ContentDigest {
    let id = objects.begin_upload(&name(repository), Algorithm::Sha256).await.unwrap();
    let mut appender = objects.append(&id).await.unwrap();
    // Three pieces, however small.
    for part in data.chunks(data.len().div_ceil(3).max(1)) {
        appender.write(part).await.unwrap();
        appender.flush().await.unwrap();
    }
    objects.finish_upload(&name(repository), appender, &digest(data)).await.unwrap();
    SIZES.lock().unwrap().insert(digest(data), data.len());
    digest(data)
}

pub(in crate::objects) async fn has(
    objects: &Arc<Objects>,
    repository: &str,
    digest: &ContentDigest,
) -> bool {
    objects.has_blob(&name(repository), digest).await.unwrap().is_some()
}

pub(in crate::objects) fn image(layer: &ContentDigest, more: &str) -> Bytes {
    let (config, size) = (digest(b"{}"), SIZES.lock().unwrap()[layer]);
    Bytes::from(format!(
        r#"{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}","config":{{"mediaType":"{OCI_CONFIG}","digest":"{config}","size":2}},"layers":[{{"mediaType":"{OCI_LAYER}","digest":"{layer}","size":{size}}}]{more}}}"#
    ))
}

pub(in crate::objects) async fn put(
    objects: &Arc<Objects>,
    repository: &str,
    tag: Option<&str>,
    text: &Bytes,
) -> Result<ContentDigest, StoreError> {
    let tags: Vec<Tag> = tag.iter().map(|tag| tag.parse().unwrap()).collect();
    let pushed = objects.put_manifest(&name(repository), None, &tags, None, text).await?;
    Ok(pushed.digest)
}

pub(in crate::objects) async fn get(
    objects: &Arc<Objects>,
    repository: &str,
    digest: &ContentDigest,
) -> Option<StoredManifest> {
    objects.get_manifest(&name(repository), digest).await.unwrap()
}

/// The keys of the bucket, without what is written anew at each look.
pub(in crate::objects) async fn keys_of(store: &Arc<Aging>) -> Vec<String> {
    let all = store.inner.list(None).map(|meta| meta.unwrap().location.to_string());
    let mut all: Vec<String> =
        all.collect::<Vec<_>>().await.into_iter().filter(|key| key != "p/collector").collect();
    all.sort_unstable();
    all
}

#[tokio::test]
async fn what_nothing_names_goes_after_the_grace_with_its_bytes() {
    let store = Aging::new();
    let (one, two) = (replica(&store).await, replica(&store).await);
    push(&one, "a", b"{}").await;
    let layer = push(&one, "a", b"layer").await;
    put(&one, "a", Some("v1"), &image(&layer, "")).await.unwrap();
    let before = keys_of(&store).await;
    let lost = push(&one, "a", b"nobody").await;
    assert!(one.mount_blob(&name("a"), &name("b"), &lost).await.unwrap());
    let young = push(&two, "c", b"young").await;

    // Within the grace everything stays.
    let done = collect(&one, DAY).await;
    assert!(done.complete && done.blobs.removed == 0 && done.links.removed == 0, "{done:?}");
    assert_eq!(done.blobs.kept_bytes, 2 + 5 + 6 + 5);

    store.grow_old();
    assert!(has(&two, "c", &young).await);
    let all = keys_of(&store).await;
    let dry = collect(&two, Collect { dry_run: true, ..DAY }).await;
    assert_eq!((dry.blobs.removed, dry.blobs.removed_bytes), (1, 6));
    assert_eq!((dry.links.removed, dry.blobs.kept_bytes), (2, 12));
    assert_eq!(keys_of(&store).await, all);
    let done = collect(&one, DAY).await;
    assert_eq!(Collected { dry_run: true, ..done.clone() }, dry);
    assert_eq!(done.blobs.kept.named, 3);
    assert_eq!(done.links.kept.young, 1);
    assert!(!has(&two, "a", &lost).await && !has(&two, "b", &lost).await);
    store.grow_old();
    assert_eq!(collect(&two, DAY).await.blobs.removed_bytes, 5);
    assert_eq!(keys_of(&store).await, before);
    // And it can be pushed again.
    push(&two, "a", b"nobody").await;
    assert!(has(&one, "a", &lost).await);
}

#[tokio::test]
async fn every_look_keeps() {
    let store = Aging::new();
    let (one, two) = (replica(&store).await, replica(&store).await);
    push(&one, "a", b"{}").await;
    let blob = push(&one, "a", b"layer").await;
    for look in 0..4 {
        store.grow_old();
        match look {
            0 => assert!(has(&two, "a", &blob).await),
            1 => assert!(two.open_blob(&name("a"), &blob).await.unwrap().is_some()),
            2 => assert!(two.mount_blob(&name("a"), &name("b"), &blob).await.unwrap()),
            _ => drop(push(&two, "a", b"layer").await),
        }
        collect(&one, DAY).await;
        assert!(has(&one, "a", &blob).await, "look {look}");
    }
    // One without rights to write keeps nothing, and changes nothing.
    store.grow_old();
    let handle: Arc<dyn ObjectStore> = Arc::<Aging>::clone(&store);
    let reader = Arc::new(Objects::over(handle, "p", true).await.unwrap());
    assert!(has(&reader, "a", &blob).await);
    assert_eq!(collect(&one, DAY).await.blobs.removed, 1);
}

#[tokio::test]
async fn untagged_manifests_go_before_what_they_name() {
    let store = Aging::new();
    let one = replica(&store).await;
    push(&one, "a", b"{}").await;
    let layer = push(&one, "a", b"layer").await;
    let child = put(&one, "a", None, &image(&layer, "")).await.unwrap();
    let subject = format!(
        r#","subject":{{"mediaType":"{OCI_MANIFEST}","digest":"{child}","size":{}}}"#,
        image(&layer, "").len()
    );
    let signature = put(&one, "a", None, &image(&layer, &subject)).await.unwrap();
    let index = Bytes::from(format!(
        r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[{{"mediaType":"{OCI_MANIFEST}","digest":"{child}","size":{}}}]}}"#,
        image(&layer, "").len()
    ));
    let index = put(&one, "a", Some("v1"), &index).await.unwrap();
    let untagged = Collect { untagged: true, ..DAY };
    store.grow_old();
    let done = collect(&one, untagged).await;
    assert_eq!((done.manifests.removed, done.manifests.kept.named), (0, 3));
    // The tag goes; a look at the signature keeps all that it leads to.
    store.grow_old();
    one.delete_tag(&name("a"), &"v1".parse().unwrap()).await.unwrap();
    assert!(get(&one, "a", &signature).await.is_some());
    let done = collect(&one, untagged).await;
    assert_eq!((done.manifests.removed, done.blobs.removed), (1, 0), "{done:?}");
    assert!(get(&one, "a", &index).await.is_none());
    store.grow_old();
    let done = collect(&one, untagged).await;
    assert_eq!((done.manifests.removed, done.blobs.removed), (2, 2), "{done:?}");
    store.grow_old();
    assert!(collect(&one, untagged).await.complete);
    assert_eq!(keys_of(&store).await, ["p/registry-version"]);
}

#[tokio::test]
async fn what_cannot_be_read_keeps_what_it_may_need() {
    let store = Aging::new();
    let one = replica(&store).await;
    let blob = push(&one, "a", b"layer").await;
    let broken = Path::from(format!("p/repositories/a/_manifests/{}", digest(b"x").hex()));
    store.inner.put(&broken, "text/plain\ny".into()).await.unwrap();
    store.grow_old();
    let done = collect(&one, DAY).await;
    assert_eq!((done.links.kept.unknown, done.blobs.removed), (1, 0));
    assert!(done.unreadable[0].contains("_manifests"), "{done:?}");
    store.inner.delete(&broken).await.unwrap();
    assert_eq!(collect(&one, DAY).await.blobs.removed, 1);
    assert!(!has(&one, "a", &blob).await);
}

/// What the sequences of the golden vectors brought, with the records that an import leaves of them.
pub(in crate::objects) async fn imported(objects: &Arc<Objects>, numbers: &[u64]) -> Bytes {
    let media = concat!(env!("CARGO_MANIFEST_DIR"), "/../format-spec/vectors/media");
    let file = |name: String| fs_err::read(format!("{media}/{name}")).unwrap();
    let mut last = Vec::new();
    for number in numbers {
        let head = file(format!("mirror_seq{number}.manifest.json"));
        let index = file(format!("mirror_seq{number}.index"));
        let parsed = format_spec::head::Head::parse(&head).unwrap();
        let standing = format!(r#"{{"stream":"{}","sequence":{number}}}"#, parsed.stream);
        let record = crate::record::sequence_tag(parsed.stream, parsed.sequence).to_string();
        let stream = format!("{}{}", crate::record::STREAM_PREFIX, parsed.stream);
        for (tag, layers) in
            [(record, vec![head, index.clone()]), (stream, vec![standing.into_bytes()])]
        {
            push(objects, "site/bundle-ledger", b"{}").await;
            let mut shown = Vec::new();
            for layer in &layers {
                let (digest, size) =
                    (push(objects, "site/bundle-ledger", layer).await, layer.len());
                shown.push(format!(r#"{{"mediaType":"a/b","digest":"{digest}","size":{size}}}"#));
            }
            let config = digest(b"{}");
            let text = format!(
                r#"{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}","config":{{"mediaType":"a/b","digest":"{config}","size":2}},"layers":[{}]}}"#,
                shown.join(",")
            );
            put(objects, "site/bundle-ledger", Some(&tag), &Bytes::from(text)).await.unwrap();
        }
        last = index;
    }
    last.into()
}

#[tokio::test]
async fn what_imported_sequences_gave_stays_and_a_gap_keeps_its_namespace() {
    let store = Aging::new();
    let one = replica(&store).await;
    let index = imported(&one, &[1, 2]).await;
    let index = format_spec::codec::decode(&index).unwrap();
    let needed: ContentDigest = index.blobs[0].digest.into();
    // Linked by nothing but an old link; and something that nobody needs.
    for of in ["site/a", "other/a"] {
        one.keep(&keys::link(&name(of), &needed)).await.unwrap();
    }
    push(&one, "site/a", b"nobody").await;
    store.grow_old();
    let done = collect(&one, DAY).await;
    assert_eq!((done.links.kept.pinned, done.links.removed, done.blobs.removed), (1, 2, 1));
    let nobody = push(&one, "site/a", b"nobody").await;
    let mine = push(&one, "other/a", b"mine").await;
    store.grow_old();
    let tag = one.tags(&name("site/bundle-ledger"), "", 10).await.unwrap().unwrap().entries;
    let first = tag.iter().find(|tag| tag.ends_with("-1")).unwrap().parse().unwrap();
    one.delete_tag(&name("site/bundle-ledger"), &first).await.unwrap();
    let done = collect(&one, DAY).await;
    assert!(done.unreadable[0].contains("no record of sequence 1"), "{done:?}");
    assert!(has(&one, "site/a", &nobody).await && !has(&one, "other/a", &mine).await);
}

#[tokio::test]
async fn one_collects_at_a_time_and_a_dead_one_is_replaced() {
    let store = Aging::new();
    let (one, two) = (replica(&store).await, replica(&store).await);
    assert!(!one.collected_within(Duration::from_secs(60)).await.unwrap());
    let lease = Lease::take(&one).await.unwrap();
    let refused = two.collect(&DAY, &CancellationToken::new()).await.unwrap_err();
    assert!(matches!(refused, StoreError::Collecting), "{refused}");
    // Looking is free.
    assert!(collect(&two, Collect { dry_run: true, ..DAY }).await.complete);
    drop(lease);
    store.grow_old();
    assert!(collect(&two, DAY).await.complete);
    assert!(one.collected_within(Duration::from_secs(60)).await.unwrap());
}

#[tokio::test]
async fn pieces_without_a_pointer_go_and_those_of_uploads_stay() {
    let store = Aging::new();
    let one = replica(&store).await;
    let blob = push(&one, "a", b"kept").await;
    let open = one.begin_upload(&name("a"), Algorithm::Sha256).await.unwrap();
    let mut appender = one.append(&open).await.unwrap();
    appender.write(b"unfinished").await.unwrap();
    appender.flush().await.unwrap();
    drop(appender);
    let lost = Path::from("p/data/00ff-aa/00000000000000000000");
    store.inner.put(&lost, vec![0; 1000].into()).await.unwrap();
    assert_eq!(collect(&one, DAY).await.leftovers, 0);
    store.grow_old();
    assert!(has(&one, "a", &blob).await);
    let done = collect(&one, DAY).await;
    assert_eq!((done.leftovers, done.blobs.removed_bytes, done.blobs.kept_bytes), (1, 1000, 14));
    assert_eq!(one.upload_offset(&open).await.unwrap(), Some(10));
    assert!(store.inner.head(&lost).await.is_err());
    let blob = one.open_blob(&name("a"), &blob).await.unwrap().unwrap();
    assert!(blob.read(0..4).await.unwrap().is_some());
}

/// Killed at every change in turn, the next collection ends what was begun, and nothing that is needed is gone.
#[tokio::test]
async fn a_collection_that_is_killed_is_ended_by_the_next() {
    let mut killed = 0;
    for at in 0.. {
        let store = Aging::new();
        let one = replica(&store).await;
        push(&one, "a", b"{}").await;
        let layer = push(&one, "a", b"layer").await;
        let kept = put(&one, "a", Some("v1"), &image(&layer, "")).await.unwrap();
        let before = keys_of(&store).await;
        let lost = push(&one, "a", &[7; 1000]).await;
        one.mount_blob(&name("a"), &name("b"), &lost).await.unwrap();
        put(&one, "b/c", None, &image(&push(&one, "b/c", b"old").await, "")).await.unwrap_err();
        push(&one, "b/c", b"{}").await;
        put(&one, "b/c", None, &image(&push(&one, "b/c", b"old").await, "")).await.unwrap();
        store.grow_old();
        let untagged = Collect { untagged: true, ..DAY };
        store.changes.store(at, Ordering::SeqCst);
        let outcome = one.collect(&untagged, &CancellationToken::new()).await;
        let through = store.changes.swap(i64::MAX, Ordering::SeqCst) > 0;
        killed += i32::from(outcome.is_err());
        let two = replica(&store).await;
        assert!(get(&two, "a", &kept).await.is_some());
        assert!(has(&two, "a", &layer).await, "killed at {at}");
        // Whatever is half gone reads as missing.
        store.grow_old();
        assert!(collect(&two, untagged).await.complete);
        store.grow_old();
        assert!(collect(&two, untagged).await.complete);
        assert_eq!(keys_of(&store).await, before, "killed at {at}");
        push(&two, "a", &[7; 1000]).await;
        assert!(has(&two, "a", &lost).await);
        if through {
            assert!(outcome.is_ok() && killed > 10, "{killed}");
            return;
        }
    }
}

/// Two replicas push the same few blobs again and again while a third collects without any grace at all: a client may
/// be told that a blob is missing, but a manifest that was taken has all of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_manifest_is_taken_without_its_blobs_whatever_the_grace() {
    let store = Aging::new();
    let open = |store: Arc<dyn ObjectStore>| async move {
        Arc::new(Objects::over(store, "p", false).await.unwrap().touching(Duration::ZERO))
    };
    let stop = CancellationToken::new();
    let collector = open(Arc::<Aging>::clone(&store)).await;
    let collecting = tokio::spawn({
        let (store, stop) = (Arc::clone(&store), stop.clone());
        async move {
            let mut removed = 0;
            while !stop.is_cancelled() {
                store.grow_old();
                let how = Collect { untagged: true, ..DAY };
                let done = collector.collect(&how, &CancellationToken::new()).await.unwrap();
                removed += done.blobs.removed;
            }
            removed
        }
    });
    let mut pushing = Vec::new();
    for n in 0..4_u8 {
        let objects = open(Arc::<Aging>::clone(&store)).await;
        pushing.push(tokio::spawn(async move {
            let (mut taken, mut refused) = (0, 0);
            let repository = format!("r{}", n % 2);
            for round in 0..400_u32 {
                let data = vec![n % 2, u8::try_from(round % 3).unwrap()];
                let outcome = async {
                    push(&objects, &repository, b"{}").await;
                    let layer = push(&objects, &repository, &data).await;
                    let note = format!(r#","annotations":{{"n":"{n}-{round}"}}"#);
                    let tag = format!("t{n}");
                    put(&objects, &repository, Some(&tag), &image(&layer, &note)).await
                };
                match outcome.await {
                    Ok(manifest) => {
                        taken += 1;
                        // The tag leads to it, so nobody may take anything of it.
                        for blob in [&b"{}"[..], &data] {
                            assert!(has(&objects, &repository, &digest(blob)).await);
                        }
                        assert!(get(&objects, &repository, &manifest).await.is_some());
                    }
                    Err(StoreError::BlobUnknown(_) | StoreError::Objects(_)) => refused += 1,
                    Err(error) => panic!("{error}"),
                }
            }
            (taken, refused)
        }));
    }
    let mut taken = 0;
    for push in pushing {
        let (ok, refused) = push.await.unwrap();
        println!("{ok} taken, {refused} told to send it again");
        taken += ok;
    }
    stop.cancel();
    let removed = collecting.await.unwrap();
    println!("{removed} blobs collected meanwhile");
    assert!(taken > 100 && removed > 0);
}

/// A manifest is removed while its tag moves to another one, at each moment between two requests of the removal: where the
/// tag leads that was answered for stays.
#[tokio::test]
async fn a_tag_that_moves_while_its_manifest_is_removed_stays() {
    let mut waited = 0;
    for moment in 0.. {
        let store = Aging::new();
        let (one, two) = (replica(&store).await, replica(&store).await);
        push(&one, "a", b"{}").await;
        let layer = push(&one, "a", b"layer").await;
        let (first, second) = (image(&layer, ""), image(&layer, r#","annotations":{}"#));
        let (removed, kept) = (put(&one, "a", Some("t"), &first).await.unwrap(), digest(&second));
        let repository = name("a");
        let mut removal = Box::pin(one.delete_manifest(&repository, &removed));
        let mut through = false;
        for _ in 0..moment {
            through = through || futures_util::poll!(removal.as_mut()).is_ready();
        }
        let mut moving = Box::pin(put(&two, "a", Some("t"), &second));
        let began = std::time::Instant::now();
        let mut moved = false;
        while !moved && began.elapsed() < Duration::from_millis(100) {
            moved = tokio::time::timeout(Duration::from_millis(30), moving.as_mut()).await.is_ok();
        }
        if !through {
            assert!(removal.await.unwrap(), "moment {moment}");
        }
        if !moved {
            waited += 1;
            moving.await.unwrap();
        }
        let tag: Tag = "t".parse().unwrap();
        assert_eq!(
            two.resolve_tag(&repository, &tag).await.unwrap(),
            Some(kept),
            "moment {moment}"
        );
        assert_eq!(one.tags(&repository, "", 9).await.unwrap().unwrap().entries, ["t"]);
        if through {
            assert!(moment > 3);
            break;
        }
    }
    println!("{waited} times it waited for the removal");
}

/// A process that died between the two steps of a tag's removal: it reads as missing, a push is told to come again, and a
/// quarter of an hour later the next one, or a collection, ends it.
#[tokio::test]
async fn a_tag_that_was_left_half_removed_is_missing_and_comes_back() {
    let store = Aging::new();
    let one = replica(&store).await;
    push(&one, "a", b"{}").await;
    let layer = push(&one, "a", b"layer").await;
    let text = image(&layer, "");
    let key = |tag: &str| keys::tag(&name("a"), &tag.parse().unwrap());
    for tag in ["t", "u"] {
        put(&one, "a", Some(tag), &text).await.unwrap();
        let (_, meta) = one.bucket.get_with_meta(&key(tag), 1024).await.unwrap().unwrap();
        assert!(one.begin_removal(&key(tag), &meta).await.unwrap().is_some());
    }
    let tag: Tag = "t".parse().unwrap();
    assert_eq!(one.resolve_tag(&name("a"), &tag).await.unwrap(), None);
    assert!(!one.delete_tag(&name("a"), &tag).await.unwrap());
    assert!(one.tags(&name("a"), "", 9).await.unwrap().unwrap().entries.is_empty());
    store.grow_old();
    put(&one, "a", Some("t"), &text).await.unwrap();
    assert_eq!(one.resolve_tag(&name("a"), &tag).await.unwrap(), Some(digest(&text)));
    let done = collect(&one, Collect { untagged: true, ..DAY }).await;
    assert_eq!((done.leftovers, done.manifests.kept.named, done.unreadable.len()), (1, 1, 0));
    assert!(one.bucket.get(&key("u"), 1024).await.unwrap().is_none());
}
