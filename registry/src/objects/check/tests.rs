//! One bucket for each fault, and what is found in it.

use std::sync::Mutex;

use bytes::Bytes;
use object_store::ObjectStoreExt;
use object_store::path::Path;
use tokio_util::sync::CancellationToken;

use super::super::collect::tests::{
    Aging, DAY, collect, digest, get, has, image, imported, keys_of, name, push, put, replica,
};
use super::super::keys;
use super::*;
use crate::media_type::OCI_MANIFEST;
use crate::progress::Progress;
use crate::store::check::{Cursor, Finding, Slice};

/// A bucket with an image of two blobs under two tags, and a signature that refers to it.
struct Bench {
    store: Arc<Aging>,
    objects: Arc<Objects>,
    layer: ContentDigest,
    image: ContentDigest,
    signature: ContentDigest,
}

async fn check(objects: &Arc<Objects>, read: Option<Slice>, from: Option<Cursor>) -> Report {
    let (progress, cancel) = (&Progress::default(), &CancellationToken::new());
    let how = Check { read, from, rate: None, progress, cancel, keep: &|_| {} };
    objects.check(&how).await.unwrap()
}

impl Bench {
    async fn new() -> Self {
        let store = Aging::new();
        let objects = replica(&store).await;
        push(&objects, "team/app", b"{}").await;
        let layer = push(&objects, "team/app", b"layer").await;
        let text = image(&layer, "");
        let image_digest = put(&objects, "team/app", Some("v1"), &text).await.unwrap();
        put(&objects, "team/app", Some("v2"), &text).await.unwrap();
        let subject = format!(
            r#","subject":{{"mediaType":"{OCI_MANIFEST}","digest":"{image_digest}","size":{}}}"#,
            text.len()
        );
        let signature = put(&objects, "team/app", None, &image(&layer, &subject)).await.unwrap();
        Self { store, objects, layer, image: image_digest, signature }
    }

    async fn found(&self, kinds: &[FindingKind]) -> Vec<Finding> {
        let report = check(&self.objects, Some(Slice::WHOLE), None).await;
        let found: Vec<FindingKind> = report.findings.iter().map(|one| one.kind).collect();
        assert_eq!(found, kinds, "{report:#?}");
        report.findings
    }

    async fn write(&self, key: &str, bytes: &'static [u8]) {
        let path = Path::from(format!("p/{key}"));
        self.store.inner.put(&path, Bytes::from_static(bytes).into()).await.unwrap();
    }

    async fn remove(&self, key: &str) {
        self.store.inner.delete(&Path::from(format!("p/{key}"))).await.unwrap();
    }

    async fn repair(&self, found: &[Finding]) -> Vec<bool> {
        let mut done = Vec::new();
        for one in found {
            done.push(self.objects.repair(one.kind, &one.what).await.unwrap());
        }
        done
    }

    /// A piece of a blob.
    async fn piece(&self, digest: &ContentDigest) -> String {
        let pointer = self.objects.pointer(digest).await.unwrap().unwrap();
        keys::piece(&pointer.data, 0)
    }
}

use crate::store::check::Check;

#[tokio::test]
async fn a_sound_bucket_is_clean_and_nothing_is_written() {
    let bench = Bench::new().await;
    let before: Vec<_> = keys_of(&bench.store).await;
    let report = check(&bench.objects, Some(Slice::WHOLE), None).await;
    assert!(report.is_clean() && report.complete, "{report:#?}");
    assert_eq!((report.repositories, report.tags, report.manifests), (1, 2, 2));
    assert_eq!((report.blobs, report.blobs_read, report.bytes_read), (2, 2, 7));
    let quick = check(&bench.objects, None, None).await;
    assert_eq!((quick.blobs, quick.blobs_read), (2, 0));
    assert_eq!(keys_of(&bench.store).await, before);
}

#[tokio::test]
async fn a_damaged_blob_is_named_moved_aside_and_put_back_by_pushing() {
    let bench = Bench::new().await;
    for damage in [Some(&b"lA"[..]), Some(b"lay"), None] {
        let piece = bench.piece(&bench.layer).await;
        match damage {
            Some(bytes) => bench.write(&piece, bytes).await,
            None => bench.remove(&piece).await,
        }
        let found = bench.found(&[FindingKind::BlobDamaged]).await;
        assert_eq!(found[0].what, bench.layer.to_string());
        assert_eq!(found[0].repositories, ["team/app"]);
        assert_eq!(found[0].tags, ["team/app:v1", "team/app:v2"]);
        assert_eq!(bench.repair(&found).await, [true]);
        assert_eq!(bench.repair(&found).await, [false]);
        assert!(!has(&bench.objects, "team/app", &bench.layer).await);
        bench.found(&[FindingKind::BlobMissing]).await;
        push(&bench.objects, "team/app", b"layer").await;
        bench.found(&[]).await;
    }
    // What was moved aside is not collected.
    bench.store.grow_old();
    let left = keys_of(&bench.store).await;
    collect(&bench.objects, DAY).await;
    assert_eq!(keys_of(&bench.store).await, left);
    assert_eq!(left.iter().filter(|key| key.starts_with("p/quarantine/blob-")).count(), 3);
    // A pointer that cannot be read.
    bench.write(&keys::blob(&bench.layer), b"{").await;
    let found = bench.found(&[FindingKind::BlobDamaged]).await;
    assert_eq!(bench.repair(&found).await, [true]);
    push(&bench.objects, "team/app", b"layer").await;
    bench.found(&[]).await;
}

#[tokio::test]
async fn what_is_missing_or_misplaced_is_named_and_mended() {
    let bench = Bench::new().await;
    let repository = name("team/app");
    bench.remove(&keys::link(&repository, &bench.layer)).await;
    assert_eq!(bench.repair(&bench.found(&[FindingKind::BlobNotLinked]).await).await, [true]);
    let entry = format!("{}/{}", keys::referrers(&repository, &bench.image), bench.signature.hex());
    bench.remove(&entry).await;
    assert_eq!(bench.repair(&bench.found(&[FindingKind::ReferrerMissing]).await).await, [true]);
    let wrong = format!("{}/{}", keys::referrers(&repository, &bench.layer), bench.signature.hex());
    bench.write(&wrong, b"").await;
    assert_eq!(bench.repair(&bench.found(&[FindingKind::ReferrerWrong]).await).await, [true]);
    bench.found(&[]).await;
    bench.write(&keys::manifest(&repository, &bench.image), b"text/plain\nx").await;
    let found = bench.found(&[FindingKind::ManifestDamaged]).await;
    assert_eq!(found[0].tags, ["team/app:v1", "team/app:v2"]);
    assert_eq!(bench.repair(&found).await, [true]);
    assert!(get(&bench.objects, "team/app", &bench.image).await.is_none());
    let dangling = [FindingKind::TagDangling, FindingKind::TagDangling];
    assert_eq!(bench.repair(&bench.found(&dangling).await).await, [false, false]);
    put(&bench.objects, "team/app", Some("v1"), &image(&bench.layer, "")).await.unwrap();
    bench.found(&[]).await;
    bench.write(&keys::tag(&repository, &"v1".parse().unwrap()), b"nothing").await;
    bench.write("repositories/team/app/_blobs/not-a-digest", b"").await;
    bench.write("blobs/sha256/00/not-a-digest", b"").await;
    let kinds = [FindingKind::TagDamaged, FindingKind::Stray, FindingKind::Stray];
    assert_eq!(bench.found(&kinds).await[0].what, "team/app:v1");
    bench.remove(&keys::blob(&bench.layer)).await;
    bench.found(&[&[FindingKind::BlobMissing], &kinds[..]].concat()).await;
}

#[tokio::test]
async fn what_is_far_too_large_is_a_finding_and_reads_as_missing() {
    let bench = Bench::new().await;
    let large: &'static [u8] = Box::leak(vec![b'x'; 6_000_000].into_boxed_slice());
    let (repository, tag) = (name("team/app"), "big".parse().unwrap());
    bench.write(&keys::tag(&repository, &tag), large).await;
    bench.write(&keys::manifest(&repository, &digest(b"none")), large).await;
    bench.write("catalog/BAD NAME!", b"").await;
    bench.write("repositories/team/app/_tags/-odd!-odd", b"").await;
    assert_eq!(bench.objects.resolve_tag(&repository, &tag).await.unwrap(), None);
    assert_eq!(
        bench.objects.get_manifest(&repository, &digest(b"none")).await.unwrap().map(drop),
        None
    );
    assert_eq!(bench.objects.repositories("", 10).await.unwrap().entries, ["team/app"]);
    let tags = bench.objects.tags(&repository, "", 10).await.unwrap().unwrap().entries;
    assert_eq!(tags, ["big", "v1", "v2"]);
    let kinds = [FindingKind::ManifestDamaged, FindingKind::TagDamaged, FindingKind::Stray];
    let found = bench.found(&kinds).await;
    assert_eq!(found[1].what, "team/app:big");
}

#[tokio::test]
async fn slices_are_the_whole_and_a_cursor_goes_on() {
    let bench = Bench::new().await;
    for seed in 0..40_u8 {
        push(&bench.objects, "team/app", &[seed; 9]).await;
    }
    let bad = digest(&[7; 9]);
    bench.write(&bench.piece(&bad).await, b"bad").await;
    let (mut read, mut damaged) = (0, 0);
    for number in 1..=7 {
        let report = check(&bench.objects, Some(Slice { number, of: 7 }), None).await;
        read += report.blobs_read;
        damaged += report.findings.len();
    }
    assert_eq!((read, damaged), (42, 1));
    let cursors = Mutex::new(Vec::new());
    let mut after: Vec<ContentDigest> = (0..40_u8).map(|seed| digest(&[seed; 9])).collect();
    after.sort_unstable();
    let cursor = Cursor { slice: Slice::WHOLE, after: after[20], damaged: vec![bad] };
    cursors.lock().unwrap().push(cursor.clone());
    let report = check(&bench.objects, Some(Slice::WHOLE), Some(cursor)).await;
    assert!(report.blobs_read < 30 && report.findings.len() == 1, "{report:?}");
}

#[tokio::test]
async fn the_part_that_holds_a_good_copy_is_named() {
    let bench = Bench::new().await;
    let index = format_spec::codec::decode(&imported(&bench.objects, &[1, 2]).await).unwrap();
    let lost: ContentDigest = index.blobs[0].digest.into();
    bench.objects.keep(&keys::link(&name("a"), &lost)).await.unwrap();
    let found = bench.found(&[FindingKind::BlobMissing]).await;
    let holder = found[0].holder.as_ref().unwrap();
    assert_eq!((holder.sequence.get(), holder.last), (2, true));
    assert!(holder.part.starts_with("mirror_seq2"), "{holder:?}");
    // A record of which something is missing is dropped, so that an import writes it again.
    let record = digest(&imported(&bench.objects, &[1, 2]).await);
    bench.remove(&keys::blob(&record)).await;
    assert_eq!(bench.objects.drop_broken_records().await.unwrap(), 1);
}
