//! The store by itself, without HTTP.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use format_spec::{Digest, Repository, Tag};

use super::*;
use crate::content::Algorithm;

const INDEX: &[u8] =
    br#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;

pub(super) fn open() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    (dir, store)
}

pub(super) fn name(text: &str) -> Repository {
    text.parse().unwrap()
}

pub(super) fn tag(text: &str) -> Tag {
    text.parse().unwrap()
}

pub(super) async fn push(store: &Store, repository: &Repository, data: &[u8]) -> Digest {
    let digest = known(data);
    let upload = store.begin_upload(repository).unwrap();
    let mut appender = upload.append().await.unwrap();
    for chunk in data.chunks(7) {
        appender.write(chunk).unwrap();
    }
    assert_eq!(store.finish_upload(repository, appender, &digest).unwrap(), data.len() as u64);
    digest
}

/// A digest, with the size in the manifests of these tests.
pub(super) fn known(data: &[u8]) -> Digest {
    let digest = Digest::of(data);
    SIZES.lock().unwrap().insert(digest, data.len());
    digest
}

/// Of what was pushed, for the manifests that name it.
static SIZES: LazyLock<Mutex<HashMap<Digest, usize>>> = LazyLock::new(Mutex::default);

pub(super) fn image(config: &Digest, layer: &Digest) -> String {
    let size = |digest: &Digest| SIZES.lock().unwrap().get(digest).copied().unwrap_or(4);
    let (config_size, size) = (size(config), size(layer));
    format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{config}","size":{config_size}}},"layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"{layer}","size":{size}}}]}}"#
    )
}

#[tokio::test]
async fn a_blob_belongs_to_the_repositories_that_link_it() {
    let (_dir, store) = open();
    let (a, b) = (name("a"), name("a/b/c"));
    let digest = push(&store, &a, b"hello").await;
    assert_eq!(store.has_blob(&a, &digest).unwrap(), Some(5));
    assert_eq!(store.has_blob(&b, &digest).unwrap(), None);
    assert!(!store.mount_blob(&b, &a, &digest).unwrap());
    assert!(store.mount_blob(&a, &b, &digest).unwrap());
    assert!(store.delete_blob(&a, &digest).unwrap());
    assert!(!store.delete_blob(&a, &digest).unwrap());
    assert_eq!(store.has_blob(&a, &digest).unwrap(), None);
    assert_eq!(store.has_blob(&b, &digest).unwrap(), Some(5));
    assert!(store.open_blob(&a, &digest).unwrap().is_none());
}

#[tokio::test]
async fn wrong_content_leaves_nothing() {
    let (dir, store) = open();
    let repository = name("a");
    let expected = Digest::of(b"other");
    let upload = store.begin_upload(&repository).unwrap();
    let mut appender = upload.append().await.unwrap();
    appender.write(b"hello").unwrap();
    let error = store.finish_upload(&repository, appender, &expected).unwrap_err();
    assert!(matches!(error, StoreError::Mismatch { .. }), "{error}");
    assert!(store.has_blob(&repository, &expected).unwrap().is_none());
    assert!(store.blob_size(&Digest::of(b"hello")).unwrap().is_none());
    assert!(store.find_upload(upload.id()).unwrap().is_none());
    assert_eq!(fs_err::read_dir(dir.path().join("uploads")).unwrap().count(), 0);
}

#[tokio::test]
async fn an_upload_goes_on_after_a_restart() {
    let (dir, store) = open();
    let repository = name("a");
    let upload = store.begin_upload(&repository).unwrap();
    let id = upload.id().clone();
    let mut appender = upload.append().await.unwrap();
    appender.write(b"hel").unwrap();
    drop((appender, upload, store));

    let store = Store::open(dir.path()).unwrap();
    assert!(UploadId::parse(id.as_str(), &name("other")).is_none());
    assert_eq!(store.upload_offset(&id).unwrap(), Some(3));
    let upload = store.find_upload(&id).unwrap().unwrap();
    let mut appender = upload.append().await.unwrap();
    assert_eq!(appender.offset(), 3);
    appender.write(b"lo").unwrap();
    store.finish_upload(&repository, appender, &Digest::of(b"hello")).unwrap();
    assert_eq!(store.has_blob(&repository, &Digest::of(b"hello")).unwrap(), Some(5));
}

#[tokio::test]
async fn bytes_of_a_write_that_failed_half_way_are_not_part_of_the_blob() {
    let (_dir, store) = open();
    let repository = name("a");
    let upload = store.begin_upload(&repository).unwrap();
    let mut appender = upload.append().await.unwrap();
    appender.write(b"hello").unwrap();
    fs_err::write(store.root.join("uploads").join(upload.id().as_str()), b"hello half a").unwrap();
    store.finish_upload(&repository, appender, &Digest::of(b"hello")).unwrap();
    let (file, size) = store.open_blob(&repository, &Digest::of(b"hello")).unwrap().unwrap();
    assert_eq!((size, file.metadata().unwrap().len()), (5, 5));
}

#[tokio::test]
async fn a_finished_upload_is_not_found_and_cannot_be_written() {
    let (_dir, store) = open();
    let repository = name("a");
    let upload = store.begin_upload(&repository).unwrap();
    let mut appender = upload.append().await.unwrap();
    appender.write(b"hello").unwrap();
    let late = tokio::spawn({
        let upload = Arc::clone(&upload);
        async move { upload.append().await.err() }
    });
    appender.interrupted().cancelled().await;
    store.finish_upload(&repository, appender, &Digest::of(b"hello")).unwrap();
    assert!(matches!(late.await.unwrap(), Some(StoreError::UploadUnknown)));
    assert!(store.find_upload(upload.id()).unwrap().is_none());
    assert_eq!(store.upload_offset(upload.id()).unwrap(), None);
}

#[tokio::test]
async fn a_second_writer_interrupts_the_first() {
    let (_dir, store) = open();
    let upload = store.begin_upload(&name("a")).unwrap();
    let first = upload.append().await.unwrap();
    let second = tokio::spawn({
        let upload = Arc::clone(&upload);
        async move { upload.append().await.map(|appender| appender.offset()) }
    });
    first.interrupted().cancelled().await;
    drop(first);
    assert_eq!(second.await.unwrap().unwrap(), 0);
}

#[tokio::test]
async fn old_uploads_expire_and_busy_ones_do_not() {
    let (_dir, store) = open();
    let busy = store.begin_upload(&name("a")).unwrap();
    let appender = busy.append().await.unwrap();
    let idle = store.begin_upload(&name("a")).unwrap().id().clone();
    assert_eq!(store.expire_uploads(Duration::from_secs(3600)).unwrap(), 0);
    assert_eq!(store.expire_uploads(Duration::ZERO).unwrap(), 1);
    assert!(store.find_upload(&idle).unwrap().is_none());
    store.finish_upload(&name("a"), appender, &Digest::of(b"")).unwrap();
}

#[test]
fn nobody_uses_up_the_uploads_of_all() {
    let (dir, store) = open();
    let begin = |store: &Store, who: &str| {
        store.begin_upload_by(&name("a"), Algorithm::Sha256, who).map(|upload| upload.id().clone())
    };
    let fill = |store: &Store, who: &str| {
        let mut count = 0;
        loop {
            match begin(store, who) {
                Ok(_) => count += 1,
                Err(StoreError::UploadsShare { limit }) => {
                    assert!(limit <= PENDING_MAX / 8, "{limit}");
                    return count;
                }
                Err(error) => panic!("{error}"),
            }
        }
    };
    let first = fill(&store, "user one");
    assert!((PENDING_MAX / 10..=PENDING_MAX / 8).contains(&first), "{first}");
    let others: Vec<usize> = (0..10).map(|n| fill(&store, &format!("user {n}"))).collect();
    assert!(others.iter().all(|share| *share > 300), "{others:?}");
    // It holds after a restart, and what ends is free again.
    drop(store);
    let store = Store::open(dir.path()).unwrap();
    assert!(matches!(begin(&store, "user one"), Err(StoreError::UploadsShare { .. })));
    let id = begin(&store, "user new").unwrap();
    assert_eq!(UploadId::parse(id.as_str(), &name("a")), Some(id.clone()));
    assert_eq!(UploadId::parse(id.as_str(), &name("b")), None);
    assert!(store.begin_upload(&name("a")).is_ok());
    assert!(store.expire_uploads(Duration::ZERO).unwrap() > first);
    assert_eq!(store.pending_uploads(), 0);
    assert!(begin(&store, "user one").is_ok());
}

#[tokio::test]
async fn what_is_no_file_is_not_waited_for() {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    let (dir, store) = open();
    let repository = name("a");
    let layer = push(&store, &repository, b"layer").await;
    let manifest = store.put_manifest(&repository, None, &[], None, INDEX).unwrap();
    let pipe = |path: &Path| {
        fs_err::remove_file(path).unwrap();
        mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    };
    let blob = store.blob_dir(&layer.into()).join(layer.hex());
    pipe(&blob);
    assert_eq!(store.has_blob(&repository, &layer).unwrap(), None);
    assert!(store.open_blob(&repository, &layer).unwrap().is_none());
    push(&store, &repository, b"layer").await;
    assert_eq!(store.has_blob(&repository, &layer).unwrap(), Some(5));
    pipe(&store.manifests(&repository).join(manifest.digest.hex()));
    assert!(store.get_manifest(&repository, &manifest.digest).unwrap().is_none());
    drop(store);
    pipe(&dir.path().join("lock"));
    let error = Store::open(dir.path()).err().unwrap().to_string();
    assert!(error.contains("lock` is a pipe, not a regular file"), "{error}");
}

#[test]
fn links_between_repositories_are_not_followed() {
    use std::os::unix::fs::symlink;
    let (dir, store) = open();
    let (repository, below) = (name("a/b"), dir.path().join("repositories/a/b"));
    store.put_manifest(&repository, None, &[], None, INDEX).unwrap();
    symlink("..", below.join("up")).unwrap();
    symlink("/", dir.path().join("repositories/root")).unwrap();
    symlink(below, dir.path().join("repositories/again")).unwrap();
    assert_eq!(store.repositories("", 100).unwrap().entries, ["a/b"]);
    let mut strays = Vec::new();
    let mut found = Vec::new();
    store
        .each_repository(
            &mut |repository| {
                found.push(repository.to_string());
                Ok(())
            },
            &mut |path| strays.push(path),
        )
        .unwrap();
    assert_eq!(found, ["a/b"]);
    assert_eq!(strays.len(), 3, "{strays:?}");
}

#[tokio::test]
async fn pending_uploads_are_bounded() {
    let (dir, store) = open();
    drop(store);
    for n in 0..3 {
        fs_err::File::create(dir.path().join("uploads").join(n.to_string())).unwrap();
    }
    let store = Store::open(dir.path()).unwrap();
    store.uploads.pending.fetch_add(PENDING_MAX - 4, Ordering::AcqRel);
    let upload = store.begin_upload(&name("a")).unwrap();
    assert!(matches!(store.begin_upload(&name("a")), Err(StoreError::UploadsFull { .. })));
    assert_eq!(store.expire_uploads(Duration::from_secs(0)).unwrap(), 3);
    assert!(store.cancel_upload(upload.id()).await.unwrap());
    assert!(!store.cancel_upload(upload.id()).await.unwrap());
    for _ in 0..4 {
        store.begin_upload(&name("a")).unwrap();
    }
    assert!(store.begin_upload(&name("a")).is_err());
}

#[tokio::test]
async fn manifests_need_their_blobs_and_keep_their_bytes() {
    let (_dir, store) = open();
    let repository = name("a/b");
    let config = push(&store, &repository, b"{}").await;
    let layer = Digest::of(b"layer");
    let text = image(&config, &layer);
    let error =
        store.put_manifest(&repository, None, &[tag("v1")], None, text.as_bytes()).unwrap_err();
    assert!(matches!(error, StoreError::BlobUnknown(missing) if missing == layer), "{error}");
    assert!(store.resolve_tag(&repository, &tag("v1")).unwrap().is_none());

    push(&store, &repository, b"layer").await;
    let pushed =
        store.put_manifest(&repository, None, &[tag("v1")], None, text.as_bytes()).unwrap();
    assert_eq!(pushed.digest, Digest::of(text.as_bytes()));
    assert_eq!(store.resolve_tag(&repository, &tag("v1")).unwrap(), Some(pushed.digest));
    let stored = store.get_manifest(&repository, &pushed.digest).unwrap().unwrap();
    assert_eq!(stored.bytes, text.as_bytes());
    assert_eq!(stored.media_type, crate::media_type::OCI_MANIFEST);

    assert!(store.delete_manifest(&repository, &pushed.digest).unwrap());
    assert!(store.resolve_tag(&repository, &tag("v1")).unwrap().is_none());
    assert!(!store.delete_manifest(&repository, &pushed.digest).unwrap());
}

#[tokio::test]
async fn a_rotten_manifest_counts_as_missing_and_is_repaired_by_a_push() {
    let (dir, store) = open();
    let repository = name("a");
    let config = push(&store, &repository, b"{}").await;
    let text = image(&config, &config);
    let put = || store.put_manifest(&repository, None, &[], None, text.as_bytes()).unwrap();
    let digest = put().digest;
    let path = dir.path().join("repositories/a/_manifests").join(digest.hex());
    let mut bytes = fs_err::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs_err::write(&path, bytes).unwrap();
    assert!(store.get_manifest(&repository, &digest).unwrap().is_none());
    put();
    assert!(store.get_manifest(&repository, &digest).unwrap().is_some());
}

#[tokio::test]
async fn a_rotten_blob_is_repaired_by_a_push() {
    let (_dir, store) = open();
    let repository = name("a");
    let digest = push(&store, &repository, b"hello").await;
    let path = store.blob_dir(&digest.into()).join(digest.hex());
    fs_err::write(&path, b"rotten").unwrap();
    push(&store, &repository, b"hello").await;
    assert_eq!(fs_err::read(&path).unwrap(), b"hello");
}

#[test]
fn one_process_owns_a_store_and_a_foreign_directory_is_refused() {
    let (dir, store) = open();
    assert!(matches!(Store::open(dir.path()), Err(StoreError::Locked { .. })));
    let reader = Store::open_read_only(dir.path()).unwrap();
    assert!(matches!(reader.begin_upload(&name("a")), Err(StoreError::ReadOnly)));
    drop(store);
    fs_err::write(dir.path().join("store-version"), "bundle registry store 2\n").unwrap();
    assert!(matches!(Store::open(dir.path()), Err(StoreError::Version { .. })));

    let other = tempfile::tempdir().unwrap();
    fs_err::write(other.path().join("thesis.odt"), "").unwrap();
    assert!(matches!(Store::open(other.path()), Err(StoreError::NotAStore { .. })));
    assert!(matches!(Store::open_read_only(other.path()), Err(StoreError::NotAStore { .. })));
}

#[tokio::test]
async fn lists_are_paged_in_byte_order() {
    let (_dir, store) = open();
    for repository in ["b", "a/x", "a-b", "a"] {
        let repository = name(repository);
        let config = push(&store, &repository, b"{}").await;
        let text = image(&config, &config);
        let tags = [tag("b"), tag("B"), tag("a"), tag("10")];
        store.put_manifest(&repository, None, &tags, None, text.as_bytes()).unwrap();
    }
    push(&store, &name("blobs-only"), b"x").await;
    let page = |last, limit| store.repositories(last, limit).unwrap();
    assert_eq!(page("", 10).entries, ["a", "a-b", "a/x", "b"]);
    assert_eq!(page("", 2), Page { entries: vec!["a".into(), "a-b".into()], more: true });
    assert_eq!(page("a-b", 2), Page { entries: vec!["a/x".into(), "b".into()], more: false });

    let tags = |last, limit| store.tags(&name("a"), last, limit).unwrap().unwrap();
    assert_eq!(tags("", 10).entries, ["10", "a", "B", "b"]);
    assert_eq!(tags("a", 1), Page { entries: vec!["B".into()], more: true });
    assert_eq!(tags("", 0), Page { entries: vec![], more: true });
    assert_eq!(tags("b", 5), Page { entries: vec![], more: false });
    assert_eq!(store.tags(&name("none"), "", 1).unwrap(), None);
    assert!(store.tags(&name("blobs-only"), "", 1).unwrap().unwrap().entries.is_empty());
}

#[tokio::test]
async fn a_tag_that_is_no_pointer_stops_nothing() {
    let (dir, store) = open();
    let a = name("a");
    let config = push(&store, &a, b"{}").await;
    let text = image(&config, &config);
    let pushed = store.put_manifest(&a, None, &[tag("good")], None, text.as_bytes()).unwrap();
    let tags = dir.path().join("repositories/a/_tags");
    fs_err::write(tags.join("long"), [b'x'; 200]).unwrap();
    fs_err::create_dir(tags.join("directory")).unwrap();
    let pipe = std::process::Command::new("mkfifo").arg(tags.join("pipe")).status().unwrap();
    assert!(pipe.success());
    for odd in ["long", "directory", "pipe"] {
        assert_eq!(store.resolve_tag(&a, &tag(odd)).unwrap(), None, "{odd}");
    }
    assert!(store.delete_manifest(&a, &pushed.digest).unwrap());
    assert_eq!(store.resolve_tag(&a, &tag("good")).unwrap(), None);
}

#[test]
fn a_directory_that_was_there_is_closed_to_others() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    fs_err::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    drop(Store::open(dir.path()).unwrap());
    let mode = fs_err::metadata(dir.path()).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o700);
}

#[test]
fn a_large_manifest_stays_in_its_file_and_is_hashed() {
    let (_dir, store) = open();
    let text = [INDEX, &b" ".repeat(300_000)].concat();
    let pushed = store.put_manifest(&name("a"), None, &[], None, &text).unwrap();
    let opened = store.open_manifest(&name("a"), &pushed.digest).unwrap().unwrap();
    assert_eq!(opened.size, text.len() as u64);
    let path = opened.file.path().to_owned();
    let stored = fs_err::read(&path).unwrap();
    assert_eq!(stored[usize::try_from(opened.at).unwrap()..], text);
    // Rotten, without an end of its first line, and too long.
    let mut rotten = stored.clone();
    *rotten.last_mut().unwrap() ^= 1;
    for bad in [rotten, vec![b'x'; 1000], vec![], vec![b'\n'; 5 << 20]] {
        fs_err::write(&path, &bad).unwrap();
        assert!(store.open_manifest(&name("a"), &pushed.digest).unwrap().is_none());
    }
    assert!(store.open_manifest(&name("b"), &pushed.digest).unwrap().is_none());
}

#[test]
fn a_list_that_nobody_waits_for_ends_early() {
    let (_dir, store) = open();
    let subject = ContentDigest::of(Algorithm::Sha256, b"subject");
    for n in 0..3 {
        let text = format!(
            r#"{{"schemaVersion":2,"manifests":[],"annotations":{{"n":"{n}"}},"subject":{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{subject}","size":7}}}}"#
        );
        store.put_manifest(&name("a"), None, &[], None, text.as_bytes()).unwrap();
    }
    let list = |wanted: &dyn Fn() -> bool| {
        store.referrers(&name("a"), &subject, None, None, 100_000, wanted).unwrap()
    };
    assert_eq!(list(&|| true).entries.len(), 3);
    let cut = list(&|| false);
    assert!(cut.entries.len() == 1 && cut.next.is_some());
}
