//! Each rule of what stays and what goes, with a clock that the test sets.

use std::cell::Cell;
use std::path::{Path, PathBuf};

use format_spec::{Digest, Repository, Tag};

use super::super::clock::by_hand::Hand;
use super::super::manifests::{Stored, read_stored};
use super::super::sequences::tests::imported;
use super::super::tests::{image, known, name, open, push, tag};
use super::*;
use crate::content::{Algorithm, ContentDigest};
use crate::media_type::{OCI_INDEX, OCI_MANIFEST};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const HOUR: Duration = Duration::from_secs(60 * 60);

const HOW: Collect = Collect { grace: DAY, untagged: false, dry_run: false, beside: true };
const UNTAGGED: Collect = Collect { untagged: true, ..HOW };

/// A store whose time passes when the test says so.
fn store() -> (tempfile::TempDir, Store, Hand) {
    let (dir, mut store) = open();
    let (hand, clock) = Hand::new();
    store.clock = clock;
    (dir, store, hand)
}

fn collect(store: &Store, how: &Collect) -> Collected {
    let done = store.collect(how, &|| true).unwrap();
    assert!(done.complete);
    done
}

/// An image of these blobs, tagged or not; returns its digest.
async fn put(store: &Store, at: &Repository, tags: &[Tag], layer: &str) -> Digest {
    let config = push(store, at, b"{}").await;
    let layer = push(store, at, layer.as_bytes()).await;
    let text = image(&config, &layer);
    store.put_manifest(at, None, tags, None, text.as_bytes()).unwrap();
    Digest::of(text.as_bytes())
}

fn index(children: &[Digest], subject: Option<&Digest>) -> String {
    let child = |digest: &Digest| {
        format!(r#"{{"mediaType":"{OCI_MANIFEST}","digest":"{digest}","size":5}}"#)
    };
    let children = children.iter().map(child).collect::<Vec<_>>().join(",");
    let subject = subject.map(|subject| format!(r#","subject":{}"#, child(subject)));
    format!(
        r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[{children}]{}}}"#,
        subject.unwrap_or_default()
    )
}

fn put_index(store: &Store, at: &Repository, tags: &[Tag], text: &str) -> Digest {
    store.put_manifest(at, None, tags, None, text.as_bytes()).unwrap();
    Digest::of(text.as_bytes())
}

/// Looks without touching.
fn stands(store: &Store, at: &Repository, digest: impl Into<ContentDigest>) -> bool {
    store.links(at).join(digest.into().hex()).exists()
}

fn bytes_stand(store: &Store, digest: impl Into<ContentDigest>) -> bool {
    let digest = digest.into();
    store.blob_dir(&digest).join(digest.hex()).exists()
}

fn manifest_stands(store: &Store, at: &Repository, digest: impl Into<ContentDigest>) -> bool {
    store.manifests(at).join(digest.into().hex()).exists()
}

#[tokio::test]
async fn what_nothing_names_goes_after_the_grace_and_the_rest_stays() {
    let (_dir, store, hand) = store();
    let (a, b) = (name("a"), name("team/b"));
    put(&store, &a, &[tag("v1")], "layer").await;
    let lost = push(&store, &a, b"lost").await;
    let shared = push(&store, &b, b"layer").await;
    hand.pass(DAY);
    // The limit leaves room for the times that are not moved on at each look.
    assert_eq!(collect(&store, &HOW).links.removed, 0);
    hand.pass(HOUR);
    let young = push(&store, &a, b"young").await;

    let plan = collect(&store, &Collect { dry_run: true, ..HOW });
    assert!(stands(&store, &a, lost) && plan.dry_run);
    let done = collect(&store, &HOW);
    assert_eq!(Collected { dry_run: true, leftovers: 0, ..done.clone() }, plan);
    assert!(!stands(&store, &a, lost) && !bytes_stand(&store, lost));
    assert!(!stands(&store, &b, shared), "no manifest of `b` names it");
    assert!(bytes_stand(&store, shared), "`a` has it");
    assert!(stands(&store, &a, young));
    assert_eq!((done.blobs.removed, done.blobs.removed_bytes), (1, 4));
    assert_eq!((done.links.removed, done.links.kept.named, done.links.kept.young), (2, 2, 1));
    assert_eq!(done.repositories.len(), 2);
    assert_eq!(done.repositories[0].repository, "team/b");

    // Nothing goes twice.
    assert_eq!(collect(&store, &HOW).links.removed, 0);
    store.delete_manifest(&a, &Digest::of(image(&Digest::of(b"{}"), &shared).as_bytes())).unwrap();
    hand.pass(DAY + HOUR);
    assert_eq!(collect(&store, &HOW).blobs.removed, 3);
}

#[tokio::test]
async fn every_look_keeps_for_another_grace() {
    let (_dir, store, hand) = store();
    let (a, b) = (name("a"), name("b"));
    let digest = push(&store, &a, b"hello").await;
    let text = image(&digest, &digest);
    let looks: [&dyn Fn(); 4] = [
        &|| assert_eq!(store.has_blob(&a, &digest).unwrap(), Some(5)),
        &|| assert!(store.mount_blob(&a, &b, &digest).unwrap()),
        &|| assert!(store.link_blob(&a, &digest).unwrap()),
        &|| {
            let put = store.put_manifest(&a, None, &[], None, text.as_bytes()).unwrap();
            assert!(store.delete_manifest(&a, &put.digest).unwrap());
        },
    ];
    for look in looks {
        hand.pass(DAY - HOUR);
        look();
        hand.pass(DAY - HOUR);
        collect(&store, &HOW);
        assert!(stands(&store, &a, digest) && bytes_stand(&store, digest));
    }
    hand.pass(HOUR);
    push(&store, &a, b"hello").await;
    hand.pass(DAY - HOUR);
    collect(&store, &HOW);
    assert!(stands(&store, &a, digest));
    hand.pass(2 * HOUR);
    collect(&store, &HOW);
    assert!(!stands(&store, &a, digest) && !bytes_stand(&store, digest));
}

#[tokio::test]
async fn what_a_tag_leads_to_stays_and_other_manifests_go_when_asked() {
    let (_dir, store, hand) = store();
    let a = name("a");
    let child = put(&store, &a, &[], "child").await;
    let tagged = put_index(&store, &a, &[tag("v1")], &index(&[child], None));
    let signature = put_index(&store, &a, &[], &index(&[], Some(&tagged)));
    let of_signature = put_index(&store, &a, &[], &index(&[], Some(&signature)));
    let signed = put(&store, &a, &[], "signed").await;
    let tagged_signature = put_index(&store, &a, &[tag("sig")], &index(&[], Some(&signed)));
    let lost_child = put(&store, &a, &[], "lost").await;
    let lost = put_index(&store, &a, &[], &index(&[lost_child], None));
    let lost_signature = put_index(&store, &a, &[], &index(&[], Some(&lost)));
    // Each leads to the other.
    let circle = put_index(&store, &a, &[], &index(&[lost], Some(&lost)));
    hand.pass(DAY + HOUR);
    collect(&store, &HOW);
    assert!(manifest_stands(&store, &a, lost), "nobody asked");

    let plan = collect(&store, &Collect { dry_run: true, ..UNTAGGED });
    let done = collect(&store, &UNTAGGED);
    assert_eq!((plan.manifests, plan.links, plan.blobs), (done.manifests, done.links, done.blobs));
    for kept in [&child, &tagged, &signature, &of_signature, &signed, &tagged_signature] {
        assert!(manifest_stands(&store, &a, kept), "{kept}");
    }
    for gone in [&lost_child, &lost, &lost_signature, &circle] {
        assert!(!manifest_stands(&store, &a, gone), "{gone}");
    }
    assert_eq!((done.manifests.removed, done.manifests.kept.named), (4, 6));
    assert!(!bytes_stand(&store, Digest::of(b"lost")) && bytes_stand(&store, Digest::of(b"child")));
    assert!(store.referrers(&a, &lost, None, None, 1000, &|| true).unwrap().entries.is_empty());
    assert!(!store.referrers_dir(&a, &lost.into()).join(lost_signature.hex()).exists());
}

#[tokio::test]
async fn a_manifest_that_is_looked_at_keeps_everything_it_names() {
    let (_dir, store, hand) = store();
    let a = name("a");
    let child = put(&store, &a, &[], "child").await;
    let inner = put_index(&store, &a, &[], &index(&[child], None));
    let outer = put_index(&store, &a, &[], &index(&[inner], None));
    hand.pass(DAY);
    assert!(store.get_manifest(&a, &outer).unwrap().is_some());
    hand.pass(HOUR);
    collect(&store, &UNTAGGED);
    assert!(manifest_stands(&store, &a, child) && bytes_stand(&store, Digest::of(b"child")));

    // The look comes at every moment of the collection: what is there then is there afterwards, whole.
    for moment in 0.. {
        hand.pass(DAY + HOUR);
        let (count, seen) = (Cell::new(0), Cell::new(None));
        let done = store.collect(&UNTAGGED, &|| {
            if count.replace(count.get() + 1) == moment {
                seen.set(Some(store.get_manifest(&a, &outer).unwrap().is_some()));
            }
            true
        });
        let whole = manifest_stands(&store, &a, outer)
            && manifest_stands(&store, &a, inner)
            && manifest_stands(&store, &a, child)
            && stands(&store, &a, Digest::of(b"child"))
            && bytes_stand(&store, Digest::of(b"child"));
        assert!(done.unwrap().complete);
        match seen.get() {
            Some(there) => assert_eq!(there, whole, "at {moment}"),
            None => {
                assert!(!whole && moment > 5);
                break;
            }
        }
        if !whole {
            let child = put(&store, &a, &[], "child").await;
            let inner = put_index(&store, &a, &[], &index(&[child], None));
            put_index(&store, &a, &[], &index(&[inner], None));
        }
    }
}

#[tokio::test]
async fn a_push_at_any_moment_of_a_collection_is_whole() {
    let (_dir, store, hand) = store();
    let a = name("a");
    let text = image(&known(b"{}"), &known(b"layer"));
    for moment in 0.. {
        push(&store, &a, b"{}").await;
        let layer = push(&store, &a, b"layer").await;
        hand.pass(DAY + HOUR);
        let (count, pushed) = (Cell::new(0), Cell::new(None));
        let done = store.collect(&HOW, &|| {
            if count.replace(count.get() + 1) == moment {
                // As a client: what is there is not sent.
                let there = store.has_blob(&a, &layer).unwrap().is_some()
                    && store.has_blob(&a, &Digest::of(b"{}")).unwrap().is_some();
                let put = store.put_manifest(&a, None, &[tag("v1")], None, text.as_bytes());
                assert_eq!(put.is_ok(), there, "at {moment}: {put:?}");
                pushed.set(Some(there));
            }
            true
        });
        assert!(done.unwrap().complete);
        let whole = stands(&store, &a, layer) && bytes_stand(&store, layer);
        match pushed.get() {
            Some(true) => assert!(whole, "at {moment}"),
            Some(false) => {}
            None => {
                assert!(!whole && moment > 3);
                break;
            }
        }
        store.delete_manifest(&a, &Digest::of(text.as_bytes())).unwrap();
    }
}

#[tokio::test]
async fn a_collection_that_ends_anywhere_leaves_a_whole_store() {
    for moment in 0.. {
        let (_dir, store, hand) = store();
        let (a, b) = (name("a"), name("b"));
        let kept = put(&store, &a, &[tag("v1")], "kept").await;
        let child = put(&store, &a, &[], "child").await;
        put_index(&store, &a, &[], &index(&[child], None));
        push(&store, &b, b"lost").await;
        push(&store, &b, b"kept").await;
        hand.pass(DAY + HOUR);
        let left = Cell::new(moment);
        let done = store.collect(&UNTAGGED, &|| left.replace(left.get() - 1) > 0).unwrap();
        whole(&store, &a);
        assert!(manifest_stands(&store, &a, kept));
        let complete = done.complete;
        let rest = collect(&store, &UNTAGGED);
        assert_eq!(done.blobs.removed + rest.blobs.removed, 2, "{done:?} {rest:?}");
        assert_eq!(done.links.removed + rest.links.removed, 3);
        whole(&store, &a);
        if complete {
            assert!(moment > 10);
            break;
        }
    }
}

/// Every manifest has its children and blobs, and every link its bytes.
fn whole(store: &Store, at: &Repository) {
    for file in files(&store.manifests(at)) {
        let digest = ContentDigest::from_hex(file.file_name().unwrap().to_str().unwrap()).unwrap();
        let Stored::Whole(stored) = read_stored(&file, &digest).unwrap() else { panic!() };
        let manifest = crate::manifest::Manifest::parse_any(&stored.bytes, None).unwrap();
        assert!(manifest.blobs().iter().all(|blob| stands(store, at, blob.digest)));
        assert!(manifest.children().iter().all(|child| manifest_stands(store, at, child.digest)));
    }
    for repository in files(&store.root.join("repositories")) {
        for link in files(&repository.join("_blobs")) {
            let digest =
                ContentDigest::from_hex(link.file_name().unwrap().to_str().unwrap()).unwrap();
            assert!(bytes_stand(store, digest));
        }
    }
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs_err::read_dir(directory) else { return Vec::new() };
    entries.map(|entry| entry.unwrap().path()).collect()
}

#[tokio::test]
async fn a_clock_that_jumps_costs_nothing() {
    let (_dir, store, hand) = store();
    let a = name("a");
    let digest = push(&store, &a, b"hello").await;
    hand.pass(HOUR);
    hand.forward(1000 * DAY);
    assert_eq!(collect(&store, &HOW).links.removed, 0);
    hand.back(2000 * DAY);
    let meanwhile = push(&store, &a, b"meanwhile").await;
    assert_eq!(collect(&store, &HOW).links.removed, 0);
    hand.forward(1000 * DAY);
    hand.pass(DAY - HOUR);
    store.has_blob(&a, &digest).unwrap();
    hand.pass(HOUR);
    assert_eq!(collect(&store, &HOW).links.removed, 0);
    hand.pass(DAY + HOUR);
    assert_eq!(collect(&store, &HOW).links.removed, 2, "the clock is right again");
    assert!(!stands(&store, &a, meanwhile));
}

#[tokio::test]
async fn a_registry_that_has_just_started_lets_go_of_nothing() {
    let (_dir, store, hand) = store();
    push(&store, &name("a"), b"hello").await;
    let early = store.collect(&HOW, &|| true).unwrap_err();
    assert!(matches!(early, StoreError::TooEarly { .. }), "{early}");
    collect(&store, &Collect { dry_run: true, ..HOW });
    let alone = Collect { grace: Duration::ZERO, beside: false, ..HOW };
    hand.pass(Duration::from_secs(5));
    assert_eq!(collect(&store, &alone).blobs.removed, 1);
}

#[tokio::test]
async fn a_repository_that_cannot_be_read_loses_nothing() {
    let (_dir, store, hand) = store();
    let (a, b) = (name("a"), name("b"));
    let digest = put(&store, &a, &[tag("v1")], "layer").await;
    let lost = push(&store, &a, b"lost").await;
    let other = push(&store, &b, b"other").await;
    hand.pass(DAY + HOUR);
    let path = store.manifests(&a).join(digest.hex());
    let bytes = fs_err::read(&path).unwrap();
    fs_err::write(&path, b"rotten").unwrap();
    let done = collect(&store, &HOW);
    assert!(stands(&store, &a, lost) && stands(&store, &a, Digest::of(b"layer")));
    assert!(!bytes_stand(&store, other), "the others are as they were");
    assert_eq!((done.unreadable.len(), done.links.kept.unknown), (1, 3), "{done:?}");

    // A tag: it may have stood for any of them.
    fs_err::write(&path, bytes).unwrap();
    let untagged = put(&store, &a, &[], "untagged").await;
    hand.pass(DAY + HOUR);
    fs_err::write(store.tags_dir(&a).join("v2"), b"rotten").unwrap();
    assert_eq!(collect(&store, &UNTAGGED).manifests.removed, 0);
    assert!(manifest_stands(&store, &a, untagged));

    // Links that cannot be listed: no bytes go anywhere.
    push(&store, &b, b"other").await;
    hand.pass(DAY + HOUR);
    let links = store.links(&name("c/d"));
    fs_err::create_dir_all(links.parent().unwrap()).unwrap();
    std::os::unix::fs::symlink(&links, &links).unwrap();
    let done = collect(&store, &HOW);
    assert_eq!((done.blobs.removed, done.blobs.kept.named), (0, 0), "{done:?}");
    assert!(!stands(&store, &b, other) && bytes_stand(&store, other));
}

#[tokio::test]
async fn what_is_not_ours_stays_and_is_no_obstacle() {
    let (_dir, store, hand) = store();
    let a = name("a");
    push(&store, &a, b"lost").await;
    let strange = store.root.join("blobs/sha256/00/notes.txt");
    fs_err::write(&strange, "mine").unwrap();
    fs_err::write(store.root.join("repositories/README"), "mine").unwrap();
    // What no request can name, somebody has put there for a reason.
    let kept = push(&store, &a, b"kept").await;
    let odd = store.root.join("repositories/Not A Name/_blobs");
    fs_err::create_dir_all(&odd).unwrap();
    fs_err::write(odd.join(kept.hex()), "").unwrap();
    hand.pass(DAY + HOUR);
    let done = collect(&store, &HOW);
    assert_eq!((done.blobs.removed, done.blobs.kept.unknown), (1, 1), "{done:?}");
    assert!(strange.exists() && bytes_stand(&store, kept) && odd.exists());
}

#[tokio::test]
async fn empty_directories_go_and_can_be_used_again() {
    let (_dir, store, hand) = store();
    let (above, below) = (name("team"), name("team/app"));
    let digest = put(&store, &below, &[tag("v1")], "layer").await;
    let referrer = put_index(&store, &below, &[], &index(&[], Some(&digest)));
    store.delete_manifest(&below, &digest).unwrap();
    store.delete_manifest(&below, &referrer).unwrap();
    // A referrer link whose manifest never came, as after a crash.
    fs_err::write(store.referrers_dir(&below, &digest.into()).join(digest.hex()), "").unwrap();
    for _ in 0..8 {
        // A directory is as old as the last change in it.
        hand.pass(DAY + HOUR);
        collect(&store, &HOW);
    }
    assert!(!store.repository(&above).exists());
    assert!(store.root.join("repositories").exists());
    put(&store, &below, &[tag("v1")], "layer").await;
    put(&store, &above, &[tag("v1")], "layer").await;
    assert_eq!(store.repositories("", 10).unwrap().entries, ["team", "team/app"]);
}

#[tokio::test]
async fn one_at_a_time_and_never_without_times() {
    let (_dir, store, hand) = store();
    push(&store, &name("a"), b"lost").await;
    hand.pass(DAY + HOUR);
    let second = Cell::new(false);
    collect_with(&store, &|| {
        let error = store.collect(&HOW, &|| true).unwrap_err();
        second.set(matches!(error, StoreError::Collecting));
        false
    });
    assert!(second.get());
    store.untouchable.store(true, Ordering::Release);
    let refused = store.collect(&HOW, &|| true).unwrap_err();
    assert!(matches!(refused, StoreError::Untouchable), "{refused}");
}

fn collect_with(store: &Store, step: &dyn Fn() -> bool) {
    assert!(!store.collect(&HOW, step).unwrap().complete);
}

#[tokio::test]
async fn what_imported_sequences_gave_stays_in_their_namespace_whatever_the_tags_say() {
    let (_dir, store, hand) = store();
    let (a, other) = (name("site/a"), name("other/a"));
    let lost = push(&store, &a, b"lost").await;
    let (ledger, _) = imported(&store, &[1, 2]).await;
    // Their layers stand for what the indexes name: a blob that no manifest of these names.
    let mut pinned = Vec::new();
    store.pinned(|_, digest| pinned.push(digest)).unwrap();
    for repository in [&a, &other] {
        store.durable.make_dirs(&store.root, &store.links(repository)).unwrap();
        store.durable.mark(&store.links(repository), &pinned[0].hex()).unwrap();
    }
    store.durable.make_dirs(&store.root, &store.blob_dir(&pinned[0].into())).unwrap();
    store.durable.mark(&store.blob_dir(&pinned[0].into()), &pinned[0].hex()).unwrap();
    hand.pass(DAY + HOUR);
    let done = collect(&store, &UNTAGGED);
    // The bytes of the first blob are in the store for nothing but that link.
    assert_eq!((done.links.kept.pinned, done.blobs.kept.pinned), (1, 1), "{done:?}");
    assert!(!store.links(&other).join(pinned[0].hex()).exists(), "not its namespace");
    assert!(!bytes_stand(&store, lost) && done.unreadable.is_empty());
    assert_eq!(done.sequences.len(), 1);
    assert_eq!((done.sequences[0].from.get(), done.sequences[0].to.get()), (1, 2));

    // One record less, and it is not known what the others left out.
    let mine = push(&store, &other, b"mine").await;
    push(&store, &a, b"lost").await;
    hand.pass(DAY + HOUR);
    let tags = store.tags_dir(&ledger);
    let first = files(&tags).into_iter().find(|tag| {
        let name = tag.file_name().unwrap().to_str().unwrap();
        name.starts_with("sequence-") && name.ends_with("-1")
    });
    fs_err::remove_file(first.unwrap()).unwrap();
    let done = collect(&store, &UNTAGGED);
    assert!(done.unreadable[0].contains("no record of sequence 1"), "{done:?}");
    assert!(bytes_stand(&store, lost), "the namespace keeps everything");
    assert!(!bytes_stand(&store, mine), "and nobody else has to");
}

#[tokio::test]
async fn records_that_anybody_pushes_stop_no_collection_elsewhere() {
    let (_dir, store, hand) = store();
    let (a, evil, ledger) = (name("a"), name("evil/app"), name("evil/bundle-ledger"));
    let config = push(&store, &ledger, b"{}").await;
    let layer = push(&store, &ledger, b"x").await;
    let text = image(&config, &layer);
    let stream = "ab".repeat(16);
    for of in
        [format!("stream-{stream}"), format!("sequence-{stream}-1"), format!("sequence-{stream}-5")]
    {
        store.put_manifest(&ledger, None, &[tag(&of)], None, text.as_bytes()).unwrap();
    }
    let (lost, kept) = (push(&store, &a, b"lost").await, push(&store, &evil, b"kept").await);
    hand.pass(DAY + HOUR);
    let done = collect(&store, &UNTAGGED);
    assert!(done.complete && done.unreadable[0].contains("`evil/bundle-ledger`"), "{done:?}");
    assert!(!bytes_stand(&store, lost) && bytes_stand(&store, kept));
}

#[tokio::test]
async fn what_only_an_imported_sequence_keeps_is_told_so() {
    let (_dir, store, hand) = store();
    let (a, b) = (name("a"), name("b"));
    let digest = put(&store, &a, &[tag("v1")], "layer").await;
    let given = [digest, Digest::of(b"{}"), Digest::of(b"layer")];
    let given = Pins::everywhere(given.iter().map(|digest| Key::of(&digest.into())));
    let collect = || Run::new(&store, &UNTAGGED, &|| true, &given).all().unwrap().blobs;
    hand.pass(DAY + HOUR);
    let kept = collect();
    assert_eq!((kept.kept.named, kept.kept.pinned, kept.pinned_bytes), (2, 0, 0));
    store.delete_tag(&a, &tag("v1")).unwrap();
    let kept = collect();
    assert_eq!((kept.kept.named, kept.kept.pinned, kept.pinned_bytes), (0, 2, 7));
    store.delete_manifest(&a, &digest).unwrap();
    hand.pass(DAY + HOUR);
    let kept = collect();
    assert_eq!((kept.kept.named, kept.kept.pinned, kept.removed), (0, 2, 0));
    // Another repository has an image with the same layer.
    put(&store, &b, &[tag("v1")], "layer").await;
    let kept = collect();
    assert_eq!((kept.kept.named, kept.kept.pinned), (2, 0));
}

#[tokio::test]
async fn names_by_sha512_follow_the_same_rules() {
    let (_dir, store, hand) = store();
    let a = name("a");
    let long = |data: &[u8]| ContentDigest::of(Algorithm::Sha512, data);
    for data in [b"kept".as_slice(), b"lost"] {
        let upload = store.begin_upload(&a).unwrap();
        let mut appender = upload.append().await.unwrap();
        appender.write(data).unwrap();
        store.finish_upload(&a, appender, &long(data)).unwrap();
    }
    let text = image(&Digest::of(b""), &Digest::of(b""))
        .replace(&Digest::of(b"").to_string(), &long(b"kept").to_string());
    let digest = long(text.as_bytes());
    store.put_manifest(&a, Some(&digest), &[tag("v1")], None, text.as_bytes()).unwrap();
    hand.pass(DAY + HOUR);
    let done = collect(&store, &UNTAGGED);
    assert_eq!((done.links.removed, done.blobs.removed, done.manifests.removed), (1, 1, 0));
    assert!(bytes_stand(&store, long(b"kept")) && !bytes_stand(&store, long(b"lost")));
    store.delete_tag(&a, &tag("v1")).unwrap();
    hand.pass(DAY + HOUR);
    assert_eq!(collect(&store, &UNTAGGED).blobs.removed, 1);
}
