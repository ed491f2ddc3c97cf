//! The storage over a bucket in memory: what expires, what stays, and how much memory uploads take.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use format_spec::Repository;
use futures_util::TryStreamExt;
use object_store::memory::InMemory;

use super::state::State;
use super::{Objects, buffer, keys};
use crate::content::{Algorithm, ContentDigest};
use crate::store::{StoreError, UploadId};

const NOW: Duration = Duration::ZERO;
const LONG: Duration = Duration::from_secs(3600);

fn name() -> Repository {
    "a/b".parse().unwrap()
}

fn digest(data: &[u8]) -> ContentDigest {
    ContentDigest::of(Algorithm::Sha256, data)
}

async fn objects() -> Arc<Objects> {
    Arc::new(Objects::over(Arc::new(InMemory::new()), "p", false).await.unwrap())
}

async fn content(objects: &Objects, digest: &ContentDigest) -> Option<Vec<u8>> {
    let blob = objects.open_blob(&name(), digest).await.unwrap()?;
    let bytes: Vec<Bytes> = blob.read(0..blob.size()).await.unwrap()?.try_collect().await.unwrap();
    Some(bytes.concat())
}

async fn begin(objects: &Arc<Objects>, data: &[u8]) -> UploadId {
    let id = objects.begin_upload(&name(), Algorithm::Sha256).await.unwrap();
    let mut appender = objects.append(&id).await.unwrap();
    appender.write(data).await.unwrap();
    appender.flush().await.unwrap();
    id
}

async fn finish(objects: &Arc<Objects>, id: &UploadId, data: &[u8]) -> Result<u64, StoreError> {
    let appender = objects.append(id).await?;
    objects.finish_upload(&name(), appender, &digest(data)).await
}

#[tokio::test]
async fn what_is_silent_expires_and_a_blob_does_not() {
    let objects = objects().await;
    let (kept, left) = (vec![7; 100_000], vec![8; 100_000]);
    let blob = begin(&objects, &kept).await;
    assert_eq!(finish(&objects, &blob, &kept).await.unwrap(), 100_000);
    let open = begin(&objects, &left).await;
    assert_eq!(objects.expire_uploads(LONG).await.unwrap(), 0);
    assert_eq!(objects.upload_offset(&open).await.unwrap(), Some(100_000));

    // A process that was killed between the pointer and the end leaves this.
    let state = State::Finishing(digest(&kept)).to_bytes().unwrap();
    let key = keys::upload(blob.as_str());
    objects.bucket.put(&key, state.into()).await.unwrap();
    assert_eq!(objects.expire_uploads(NOW).await.unwrap(), 1);
    assert_eq!(objects.upload_offset(&open).await.unwrap(), None);
    assert!(objects.bucket.head(&key).await.unwrap().is_none());
    assert!(objects.pieces(open.as_str()).await.unwrap().0.is_empty());
    assert_eq!(content(&objects, &digest(&kept)).await.unwrap(), kept);

    // And this one was killed while it expired the first of these.
    let state = State::Expired(Some(digest(&kept))).to_bytes().unwrap();
    objects.bucket.put(&key, state.into()).await.unwrap();
    assert_eq!(objects.expire_uploads(NOW).await.unwrap(), 0);
    assert_eq!(content(&objects, &digest(&kept)).await.unwrap(), kept);
}

#[tokio::test]
async fn an_upload_that_expires_under_a_writer_is_not_finished() {
    let objects = objects().await;
    let data = vec![9; 50_000];
    let id = begin(&objects, &data).await;
    let appender = objects.append(&id).await.unwrap();
    assert_eq!(objects.expire_uploads(NOW).await.unwrap(), 1);
    let outcome = objects.finish_upload(&name(), appender, &digest(&data)).await;
    assert!(outcome.is_err());
    assert!(content(&objects, &digest(&data)).await.is_none());
    let gone = objects.append(&id).await.err().unwrap();
    assert!(matches!(gone, StoreError::UploadUnknown), "{gone}");
}

#[tokio::test]
async fn the_hash_is_made_up_for_by_whoever_did_not_see_the_bytes() {
    let store = Arc::new(InMemory::new());
    let open =
        || async { Arc::new(Objects::over(Arc::clone(&store) as _, "", false).await.unwrap()) };
    let (one, two) = (open().await, open().await);
    let data: Vec<u8> = (0..300_000_u32).map(|n| n.to_le_bytes()[1]).collect();
    // By SHA-512 nobody has a running hash that helps.
    for algorithm in Algorithm::ALL {
        let id = begin(&one, &data[..100_000]).await;
        for (objects, part) in [(&two, 100_000..200_000), (&one, 200_000..300_000)] {
            let mut appender = objects.append(&id).await.unwrap();
            assert_eq!(appender.offset(), part.start as u64);
            appender.write(&data[part]).await.unwrap();
            appender.flush().await.unwrap();
        }
        let digest = ContentDigest::of(algorithm, &data);
        let appender = two.append(&id).await.unwrap();
        assert_eq!(two.finish_upload(&name(), appender, &digest).await.unwrap(), 300_000);
        assert_eq!(content(&one, &digest).await.unwrap(), data);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_uploads_share_few_blocks() {
    let store = Arc::new(InMemory::new());
    let mut objects = Objects::over(store, "", false).await.unwrap();
    objects.blocks = buffer::Blocks::new(4);
    let objects = Arc::new(objects);
    let pushes = (0..20_u8).map(|n| {
        let objects = Arc::clone(&objects);
        tokio::spawn(async move {
            let data = vec![n; 3_000_000];
            let id = objects.begin_upload(&name(), Algorithm::Sha256).await.unwrap();
            let mut appender = objects.append(&id).await.unwrap();
            for part in data.chunks(70_000) {
                appender.write(part).await.unwrap();
                tokio::task::yield_now().await;
            }
            objects.finish_upload(&name(), appender, &digest(&data)).await.unwrap();
            assert_eq!(content(&objects, &digest(&data)).await.unwrap(), data);
        })
    });
    for push in pushes.collect::<Vec<_>>() {
        push.await.unwrap();
    }
    assert_eq!(objects.blocks.left.available_permits(), 4);
}
