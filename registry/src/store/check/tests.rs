//! One store for each fault, and what is found in it.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Mutex;

use format_spec::{Digest, Tag};
use tokio_util::sync::CancellationToken;

use super::super::sequences::tests::put_blob;
use super::*;
use crate::content::Algorithm;

const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";

/// A store with an image of two blobs under two tags, a signature that refers to it, and an index of it.
struct Bench {
    dir: tempfile::TempDir,
    store: Store,
    repository: Repository,
    layer: ContentDigest,
    image: ContentDigest,
    signature: ContentDigest,
}

impl Bench {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let repository: Repository = "team/app".parse().unwrap();
        let config = put_blob(&store, &repository, b"{}").await;
        let layer = put_blob(&store, &repository, b"layer").await.into();
        let image = format!(
            r#"{{"schemaVersion":2,"mediaType":"{IMAGE}","config":{{"mediaType":"a/b","digest":"{config}","size":2}},"layers":[{{"mediaType":"a/b","digest":"{layer}","size":5}}]}}"#
        );
        let tags: [Tag; 2] = ["1", "latest"].map(|tag| tag.parse().unwrap());
        let put = |tags: &[Tag], text: &str| {
            store.put_manifest(&repository, None, tags, None, text.as_bytes()).unwrap().digest
        };
        let size = image.len();
        let image = put(&tags, &image);
        let signature = put(
            &[],
            &format!(
                r#"{{"schemaVersion":2,"mediaType":"{IMAGE}","config":{{"mediaType":"a/b","digest":"{config}","size":2}},"layers":[],"subject":{{"mediaType":"{IMAGE}","digest":"{image}","size":{size}}}}}"#
            ),
        );
        put(
            &["multi".parse().unwrap()],
            &format!(
                r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{{"mediaType":"{IMAGE}","digest":"{image}","size":{size}}}]}}"#
            ),
        );
        Self { dir, store, repository, layer, image, signature }
    }

    fn blob(&self, digest: &ContentDigest) -> PathBuf {
        let (hex, algorithm) = (digest.hex(), digest.algorithm().name());
        self.dir.path().join("blobs").join(algorithm).join(&hex[..2]).join(hex)
    }

    fn inner(&self, path: &str) -> PathBuf {
        self.dir.path().join("repositories/team/app").join(path)
    }

    fn check(&self) -> Report {
        self.check_slice(Some(Slice::WHOLE), None)
    }

    fn check_slice(&self, read: Option<Slice>, from: Option<Cursor>) -> Report {
        let how = Check {
            read,
            from,
            rate: None,
            progress: &Progress::default(),
            cancel: &CancellationToken::new(),
            keep: &|_| {},
        };
        self.store.check(&how).unwrap()
    }

    /// Exactly these are found; then they are repaired, where something can be done.
    #[track_caller]
    fn found(&self, kinds: &[FindingKind]) -> Vec<Finding> {
        let report = self.check();
        let found: Vec<FindingKind> = report.findings.iter().map(|one| one.kind).collect();
        assert_eq!(found, kinds, "{:#?}", report.findings);
        assert_eq!(report.is_clean(), kinds.iter().all(|kind| !kind.is_damage()));
        report.findings
    }

    fn repair(&self, findings: &[Finding]) -> Vec<bool> {
        findings.iter().map(|one| self.store.repair(one.kind, &one.what).unwrap()).collect()
    }

    fn quarantined(&self) -> usize {
        fs_err::read_dir(self.dir.path().join("quarantine")).map_or(0, Iterator::count)
    }
}

#[tokio::test]
async fn an_intact_store_is_clean() {
    let bench = Bench::new().await;
    let report = bench.check();
    assert!(report.is_clean() && report.complete, "{report:?}");
    assert_eq!((report.repositories, report.tags, report.manifests), (1, 3, 3));
    assert_eq!((report.blobs, report.blobs_read, report.bytes_read), (2, 2, 7));
    let quick = bench.check_slice(None, None);
    assert_eq!((quick.blobs, quick.blobs_read), (2, 0));
}

#[tokio::test]
async fn a_damaged_blob_names_its_tags_and_reads_as_missing_after_the_repair() {
    let bench = Bench::new().await;
    let good = fs_err::read(bench.blob(&bench.layer)).unwrap();
    fs_err::write(bench.blob(&bench.layer), b"lAyer").unwrap();
    let quick = bench.check_slice(None, None);
    assert!(quick.is_clean(), "its size is right: {quick:?}");
    let findings = bench.found(&[FindingKind::BlobDamaged]);
    assert_eq!(findings[0].digest, Some(bench.layer));
    assert_eq!(findings[0].repositories, ["team/app"]);
    let tags: BTreeSet<&str> = findings[0].tags.iter().map(String::as_str).collect();
    assert_eq!(tags, ["team/app:1", "team/app:latest", "team/app:multi"].into());
    assert_eq!(bench.repair(&findings), [true]);
    assert_eq!(bench.quarantined(), 1);
    assert_eq!(bench.store.has_blob(&bench.repository, &bench.layer).unwrap(), None);
    assert!(bench.store.open_blob(&bench.repository, &bench.layer).unwrap().is_none());
    assert_eq!(bench.repair(&findings), [false], "there is nothing more to move");
    let findings = bench.found(&[FindingKind::BlobMissing]);
    assert_eq!((findings[0].repository_count, findings[0].tag_count), (1, 3));
    // A push repairs it, and what was moved is kept.
    put_blob(&bench.store, &bench.repository, &good).await;
    bench.found(&[]);
    assert_eq!(bench.quarantined(), 1);
    // A finding of before moves nothing that is good by now.
    assert!(!bench.store.quarantine_blob(&bench.layer).unwrap());
    bench.found(&[]);
}

#[tokio::test]
async fn a_manifest_that_states_a_wrong_size_is_no_damage() {
    let bench = Bench::new().await;
    let layer = bench.layer;
    let lying = format!(
        r#"{{"schemaVersion":2,"mediaType":"{IMAGE}","config":{{"mediaType":"a/b","digest":"{layer}","size":5}},"layers":[{{"mediaType":"a/b","digest":"{layer}","size":7}}]}}"#
    );
    let put = bench.store.put_manifest(&bench.repository, None, &[], None, lying.as_bytes());
    let refused = put.unwrap_err().to_string();
    assert_eq!(refused, format!("the manifest says that {layer} has 7 bytes, and it has 5"));
    // One that an earlier version took.
    let digest = ContentDigest::of(Algorithm::Sha256, lying.as_bytes());
    let file = bench.inner(&format!("_manifests/{}", digest.hex()));
    fs_err::write(file, format!("{IMAGE}\n{lying}")).unwrap();
    let findings = bench.found(&[FindingKind::BlobSize]);
    assert_eq!(findings[0].what, format!("team/app@{digest}"));
    assert_eq!(findings[0].detail, format!("of {layer}: 7, and it has 5"));
    assert!(bench.check_slice(None, None).is_clean());
    // The same with a blob that is cut: that is damage, and none of the manifest's.
    fs_err::write(bench.blob(&layer), b"lay").unwrap();
    bench.found(&[FindingKind::BlobDamaged]);
}

#[tokio::test]
async fn every_fault_has_its_name() {
    let bench = Bench::new().await;
    let (layer, image) = (bench.layer, bench.image);
    // A blob that is cut: its size tells even a quick look.
    fs_err::write(bench.blob(&layer), b"lay").unwrap();
    assert_eq!(bench.check_slice(None, None).findings[0].kind, FindingKind::BlobDamaged);
    bench.found(&[FindingKind::BlobDamaged]);
    fs_err::write(bench.blob(&layer), b"layer").unwrap();

    // A link that is lost.
    fs_err::remove_file(bench.inner(&format!("_blobs/{}", layer.hex()))).unwrap();
    let findings = bench.found(&[FindingKind::BlobNotLinked]);
    assert_eq!(bench.repair(&findings), [true]);
    bench.found(&[]);

    // Referrer links.
    let hex = bench.signature.hex();
    let link = bench.inner(&format!("_referrers/{}/{hex}", image.hex()));
    fs_err::remove_file(&link).unwrap();
    let findings = bench.found(&[FindingKind::ReferrerMissing]);
    assert_eq!(bench.repair(&findings), [true]);
    assert!(link.exists());
    let other = bench.inner(&format!("_referrers/{}", layer.hex()));
    fs_err::create_dir(&other).unwrap();
    fs_err::write(other.join(&hex), b"").unwrap();
    let findings = bench.found(&[FindingKind::ReferrerWrong]);
    assert_eq!(bench.repair(&findings), [true]);
    assert!(link.exists());
    bench.found(&[]);

    // Tags.
    fs_err::write(bench.inner("_tags/1"), b"no digest").unwrap();
    let findings = bench.found(&[FindingKind::TagDamaged]);
    assert_eq!(bench.repair(&findings), [true]);
    bench.found(&[]);
    let none = ContentDigest::from(Digest::of(b"none"));
    fs_err::write(bench.inner("_tags/1"), format!("{none}\n")).unwrap();
    let findings = bench.found(&[FindingKind::TagDangling]);
    assert_eq!((findings[0].what.as_str(), findings[0].digest), ("team/app:1", Some(none)));
    assert_eq!(bench.repair(&findings), [false]);
    fs_err::remove_file(bench.inner("_tags/1")).unwrap();

    // A manifest of which one byte turned; its tags and the index lead to it.
    let path = bench.inner(&format!("_manifests/{}", image.hex()));
    let mut bytes = fs_err::read(&path).unwrap();
    *bytes.last_mut().unwrap() = b'!';
    fs_err::write(&path, &bytes).unwrap();
    let findings = bench.found(&[FindingKind::ManifestDamaged]);
    let tags: BTreeSet<&str> = findings[0].tags.iter().map(String::as_str).collect();
    assert_eq!(tags, ["team/app:latest", "team/app:multi"].into());
    assert_eq!(bench.repair(&findings), [true]);
    bench.found(&[FindingKind::TagDangling]);
    fs_err::remove_file(bench.inner("_tags/latest")).unwrap();
    bench.found(&[]);

    // What is nothing of a store is told, and is no damage.
    fs_err::write(bench.dir.path().join("blobs/sha256/00/notes.txt"), b"").unwrap();
    fs_err::write(bench.dir.path().join("repositories/team/README"), b"").unwrap();
    fs_err::write(bench.inner("_tags/-"), b"").unwrap();
    let findings = bench.found(&[FindingKind::Stray; 3]);
    let named: Vec<&str> = findings.iter().map(|one| one.what.as_str()).collect();
    let expected =
        ["blobs/sha256/00/notes.txt", "repositories/team/README", "repositories/team/app/_tags/-"];
    assert_eq!(named, expected);
}

#[tokio::test]
async fn content_by_sha512_is_checked_and_repaired_as_well() {
    let bench = Bench::new().await;
    let (store, repository) = (&bench.store, &bench.repository);
    let long = |data: &[u8]| ContentDigest::of(Algorithm::Sha512, data);
    let layer = long(b"long");
    let push = async || {
        let upload = store.begin_upload_by(repository, Algorithm::Sha512, "").unwrap();
        let mut appender = upload.append().await.unwrap();
        appender.write(b"long").unwrap();
        store.finish_upload(repository, appender, &layer).unwrap();
    };
    push().await;
    let image = format!(
        r#"{{"schemaVersion":2,"mediaType":"{IMAGE}","config":{{"mediaType":"a/b","digest":"{layer}","size":4}},"layers":[]}}"#
    );
    let digest = long(image.as_bytes());
    let tags = ["long".parse::<Tag>().unwrap()];
    store.put_manifest(repository, Some(&digest), &tags, None, image.as_bytes()).unwrap();
    let report = bench.check();
    assert!(report.is_clean(), "{report:?}");
    assert_eq!((report.manifests, report.blobs, report.blobs_read), (4, 3, 3));
    let parts = (1..=5).map(|number| bench.check_slice(Some(Slice { number, of: 5 }), None));
    assert_eq!(parts.map(|part| part.blobs_read).sum::<u64>(), 3);
    // It comes after everything by SHA-256.
    let from = Cursor { slice: Slice::WHOLE, after: bench.layer, damaged: vec![] };
    assert!(bench.check_slice(Some(Slice::WHOLE), Some(from)).blobs_read >= 1);

    fs_err::write(bench.blob(&layer), b"lOng").unwrap();
    let findings = bench.found(&[FindingKind::BlobDamaged]);
    assert_eq!((findings[0].digest, findings[0].holder.as_ref()), (Some(layer), None));
    assert_eq!(findings[0].tags, ["team/app:long"]);
    assert_eq!(bench.repair(&findings), [true]);
    assert_eq!(bench.found(&[FindingKind::BlobMissing])[0].tags, ["team/app:long"]);
    push().await;
    bench.found(&[]);

    fs_err::remove_file(bench.inner(&format!("_blobs/{}", layer.hex()))).unwrap();
    assert_eq!(bench.repair(&bench.found(&[FindingKind::BlobNotLinked])), [true]);
    fs_err::write(bench.inner(&format!("_manifests/{}", digest.hex())), b"x").unwrap();
    assert_eq!(bench.repair(&bench.found(&[FindingKind::ManifestDamaged])), [true]);
    // A name of one algorithm among those of the other is nothing of a store.
    let misplaced = bench.dir.path().join("blobs/sha256/00").join("00".repeat(64));
    fs_err::write(misplaced, b"").unwrap();
    bench.found(&[FindingKind::TagDangling, FindingKind::Stray]);
}

#[tokio::test]
async fn slices_are_the_whole_and_a_cursor_goes_on() {
    let bench = Bench::new().await;
    let mut all: Vec<ContentDigest> = Vec::new();
    for seed in 0..40_u8 {
        all.push(put_blob(&bench.store, &bench.repository, &[seed; 9]).await.into());
    }
    let blobs = 42;
    for of in [1, 3, 7] {
        let read =
            (1..=of).map(|number| bench.check_slice(Some(Slice { number, of }), None).blobs_read);
        assert_eq!(read.sum::<u64>(), blobs, "{of} slices");
    }
    all.sort_unstable();
    let (bad, after) = (all[3], all[20]);
    fs_err::write(bench.blob(&bad), b"bad").unwrap();
    let slice = Slice::WHOLE;
    let from = Cursor { slice, after, damaged: vec![bad] };
    let report = bench.check_slice(Some(slice), Some(from.clone()));
    assert!(report.blobs_read < blobs && report.blobs_read > 10, "{}", report.blobs_read);
    assert_eq!(report.findings.len(), 1, "what was found before is not forgotten");
    // A cursor of another slice is none.
    let report = bench.check_slice(Some(Slice { number: 1, of: 1_000 }), Some(from));
    assert!(report.blobs_read <= 2);
}

#[tokio::test]
async fn a_list_of_findings_is_bounded_and_counts_on() {
    let bench = Bench::new().await;
    let kept = Mutex::new(0);
    for number in 0..FINDINGS_MAX + 5 {
        fs_err::write(bench.inner(&format!("_tags/t{number}")), b"x").unwrap();
    }
    // What is found last, of another kind, is not crowded out.
    fs_err::write(bench.blob(&bench.layer), b"rotte").unwrap();
    let how = Check {
        read: Some(Slice::WHOLE),
        from: None,
        rate: Some(1 << 40),
        progress: &Progress::default(),
        cancel: &CancellationToken::new(),
        keep: &|_| *kept.lock().unwrap() += 1,
    };
    let report = bench.store.check(&how).unwrap();
    assert_eq!((report.findings.len(), report.more_findings), (FINDINGS_MAX + 1, 5));
    let rotten = |finding: &&Finding| finding.what.contains(&bench.layer.to_string());
    assert_eq!(report.findings.iter().filter(rotten).count(), 1);
    assert!(!report.is_clean());
    how.cancel.cancel();
    assert!(!bench.store.check(&how).unwrap().complete);
}
