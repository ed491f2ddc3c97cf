//! Imports into a registry, from first to last: what arrives, what is refused, what a stop leaves.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot be set up has failed, or says why it is skipped"
)]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use format_spec::head::Kind;
use format_spec::{Digest, Repository, StreamId};
use importer::{ErrorKind, ImportError, ImportOptions, Outcome, Problem};
use registry::client::{Deleted, Totals};
use registry::progress::Progress;
use registry::reference::{ManifestRef, RegistryHost};
use support::{
    Bench, Distribution, Running, Spec, Written, assert_there, client, listing, noise, tag, trusted,
};

/// Three repositories that share a layer, and an index of two images.
fn first() -> Spec {
    let mut spec = Spec::new(1);
    let shared = noise(1, 200_000);
    spec.image("app", "1", &[shared.clone(), noise(2, 70_000)]);
    spec.image("team/tool", "1", &[shared.clone(), noise(3, 300)]);
    spec.index_of("multi", "1", &[vec![shared, noise(4, 2_500_000)], vec![noise(5, 0)]]);
    spec
}

/// The next sequence: a new layer on an old one, in an old and in a new repository.
fn second(first: &Spec, written: &Written) -> Spec {
    let mut spec = first.next(written);
    spec.image("app", "2", &[noise(1, 200_000), noise(6, 90_000)]);
    spec.image("new/app", "2", &[noise(1, 200_000), noise(6, 90_000)]);
    spec
}

async fn refused(options: ImportOptions) -> (ImportError, Totals) {
    let client = options.client.clone();
    let error = importer::import(options).await.unwrap_err();
    (error, client.counters().totals())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_sequence_arrives_whole_and_once() {
    let registry = Running::start().await;
    let bench = Bench::new(&registry.host);
    let mut spec = first();
    spec.limit = 1 << 20;
    let written = spec.write(bench.media.path());
    assert!(written.head.parts.len() > 2);
    let before = listing(bench.media.path());
    let options = bench.options();
    let wire = options.client.clone();
    let imported = importer::import(options).await.unwrap();
    assert_there(&registry.host, &spec).await;
    let report = &imported.sequences[0];
    assert_eq!(report.outcome, Outcome::Imported);
    assert_eq!(report.blobs_pushed, written.index.blobs.len() as u64);
    let needed: usize = written.index.blobs.iter().map(|blob| blob.repositories.len()).sum();
    assert_eq!(report.blobs_mounted, (needed - written.index.blobs.len()) as u64);
    assert!(report.blobs_mounted >= 2);
    // Blobs once; manifests by digest and by tag; the records.
    let unique: u64 = written.index.blobs.iter().map(|blob| blob.size).sum();
    let manifests: u64 = written.index.manifests.iter().map(|m| m.size).sum();
    let sent = wire.counters().totals().sent;
    let lists: u64 = ["manifest.json", "index"]
        .map(|name| fs_err::metadata(bench.path(&format!("mirror_seq1.{name}"))).unwrap().len())
        .iter()
        .sum();
    let most = unique + 2 * manifests + lists + 8192;
    assert!(sent >= unique && sent <= most, "{sent} for {unique}");
    assert_eq!(listing(bench.media.path()), before, "the medium is never changed");
    assert!(report.receipt.as_ref().is_some_and(|path| path.exists()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_expired_is_refused_and_nothing_is_pushed() {
    let registry = Running::start().await;
    let bench = Bench::new(&registry.host);
    let mut spec = first();
    spec.expires = Some("2026-01-31T00:00:00Z".to_owned());
    spec.write(bench.media.path());
    let (error, totals) = refused(bench.options()).await;
    assert_eq!(error.exit(), ErrorKind::Stale, "{error}");
    assert_eq!(totals.sent, 0);
    let from = [bench.media.path().to_owned()];
    let verified = importer::verify(&from, &[trusted()], &Progress::default()).unwrap();
    assert!(verified.is_intact());
    assert_eq!(verified.sequences[0].expired, spec.expires, "verify says so before the journey");
    // No day of any calendar: an end that cannot be read is not none.
    spec.expires = Some("2200-02-30T00:00:00Z".to_owned());
    spec.write(bench.media.path());
    let (error, totals) = refused(bench.options()).await;
    assert_eq!((error.exit(), totals.sent), (ErrorKind::Stale, 0), "{error}");
    spec.expires = Some("2200-01-31T00:00:00Z".to_owned());
    spec.write(bench.media.path());
    importer::import(bench.options()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn importing_again_moves_nothing() {
    let registry = Running::start().await;
    let bench = Bench::new(&registry.host);
    let spec = first();
    spec.write(bench.media.path());
    bench.import().await.unwrap();
    // The parts are not read: one that changed since, and kept its size, is not even noticed.
    let part = bench.path("mirror_seq1_000000.tar");
    let size = fs_err::metadata(&part).unwrap().len();
    fs_err::write(&part, vec![0; usize::try_from(size).unwrap()]).unwrap();
    let options = bench.options();
    let wire = options.client.clone();
    let again = importer::import(options).await.unwrap();
    assert_eq!(again.sequences[0].outcome, Outcome::Known);
    assert_eq!(again.sequences[0].blobs_pushed, 0);
    assert_eq!(wire.counters().totals().sent, 0);

    // Another workspace learns it from the target.
    spec.write(bench.media.path());
    let other = Bench { workspace: tempfile::tempdir().unwrap(), ..bench };
    let options = other.options();
    let wire = options.client.clone();
    let again = importer::import(options).await.unwrap();
    assert_eq!(again.sequences[0].outcome, Outcome::Known);
    assert_eq!(wire.counters().totals().sent, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sequences_follow_each_other() {
    let registry = Running::start().await;
    let bench = Bench::new(&registry.host);
    let one = first();
    let two = second(&one, &one.write(bench.media.path()));
    bench.import().await.unwrap();
    let next = Bench { media: tempfile::tempdir().unwrap(), ..bench };
    let written = two.write(next.media.path());
    assert!(written.head.kind == Kind::Incremental && !written.index.required.is_empty());
    let imported = next.import().await.unwrap();
    let report = &imported.sequences[0];
    assert_eq!(report.blobs_pushed, written.index.blobs.len() as u64);
    assert_there(&registry.host, &two).await;
    assert_there(&registry.host, &one).await;
    // The old one alone is stale now.
    let old = Bench { media: tempfile::tempdir().unwrap(), ..next };
    one.write(old.media.path());
    let (error, totals) = refused(old.options()).await;
    assert_eq!((error.exit(), totals.sent), (ErrorKind::Stale, 0), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_in_one_directory_are_taken_in_order() {
    let registry = Running::start().await;
    let bench = Bench::new(&registry.host);
    let one = first();
    let two = second(&one, &one.write(bench.media.path()));
    let written = two.write(bench.media.path());
    let three = second(&two, &written);
    let outcomes = |imported: importer::Imported| {
        imported.sequences.iter().map(|s| (s.sequence.get(), s.outcome)).collect::<Vec<_>>()
    };
    let (new, known) = (Outcome::Imported, Outcome::Known);
    assert_eq!(outcomes(bench.import().await.unwrap()), [(1, new), (2, new)]);
    assert_there(&registry.host, &two).await;
    three.write(bench.media.path());
    // What is in the workspace's record is not looked at again.
    assert_eq!(outcomes(bench.import().await.unwrap()), [(2, known), (3, new)]);
    let other = Bench { workspace: tempfile::tempdir().unwrap(), ..bench };
    assert_eq!(outcomes(other.import().await.unwrap()), [(1, known), (2, known), (3, known)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_order_table_pushes_nothing_when_it_refuses() {
    let registry = Running::start().await;
    let base = Bench::new(&registry.host);
    let one = first();
    let written = one.write(base.media.path());
    let two = second(&one, &written);
    let fresh = |spec: &Spec| {
        let bench = Bench::new(&registry.host);
        spec.write(bench.media.path());
        bench
    };
    // A gap at a target that has nothing.
    let (error, totals) = refused(fresh(&two).options()).await;
    assert_eq!((error.exit(), totals.sent), (ErrorKind::Gap, 0), "{error}");
    assert!(error.hint().unwrap().contains("sequence 1"), "{:?}", error.hint());
    base.import().await.unwrap();

    let mut fork = one.clone();
    fork.image("app", "other", &[noise(9, 10)]);
    let mut foreign = one.clone();
    foreign.stream = StreamId::from_bytes([8; 16]);
    let mut other_history = second(&one, &written);
    other_history.tail[0].digest = Digest::of(b"another");
    let mut gap = second(&two, &two.write(tempfile::tempdir().unwrap().path()));
    gap.earlier = BTreeMap::new();
    for (spec, kind) in [
        (&fork, ErrorKind::ForkOrForeign),
        (&foreign, ErrorKind::ForkOrForeign),
        (&other_history, ErrorKind::ForkOrForeign),
        (&gap, ErrorKind::Gap),
    ] {
        let (error, totals) = refused(fresh(spec).options()).await;
        assert_eq!((error.exit(), totals.sent), (kind, 0), "{error}");
        assert!(error.hint().is_some());
    }
    let allowed = fresh(&foreign);
    let imported = importer::import(ImportOptions { new_stream: true, ..allowed.options() }).await;
    assert_eq!(imported.unwrap().sequences[0].outcome, Outcome::Imported);
    // Both streams go on.
    assert_eq!(fresh(&two).import().await.unwrap().sequences[0].outcome, Outcome::Imported);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn missing_required_blobs_are_a_gap() {
    let registry = Running::start().await;
    let bench = Bench::new(&registry.host);
    let one = first();
    let mut two = second(&one, &one.write(bench.media.path()));
    bench.import().await.unwrap();
    // A layer that no sequence ever brought.
    let ghost = noise(77, 500);
    two.image("app", "3", std::slice::from_ref(&ghost));
    two.earlier.insert(Digest::of(&ghost), (500, "app".to_owned()));
    let next = Bench { media: tempfile::tempdir().unwrap(), ..bench };
    two.write(next.media.path());
    let (error, totals) = refused(next.options()).await;
    assert_eq!((error.exit(), totals.sent), (ErrorKind::Gap, 0), "{error}");
    let text = error.to_string();
    assert!(text.contains("app:3") && text.contains(&Digest::of(&ghost).to_string()), "{text}");
    assert!(error.hint().unwrap().contains("--full"));
    assert_eq!(tag(&registry.host, "app", "2").await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_anywhere_moves_no_tag() {
    let registry = Running::start().await;
    let bench = Bench::new(&registry.host);
    let spec = first();
    let written = spec.write(bench.media.path());
    let part = bench.path("mirror_seq1_000000.tar");
    let good = fs_err::read(&part).unwrap();
    let large = written.index.blobs.iter().max_by_key(|blob| blob.size).unwrap();
    let middle = usize::try_from(large.pieces[0].offset + large.size / 2).unwrap();
    let header = usize::try_from(written.index.blobs[0].pieces[0].offset - 300).unwrap();
    let manifest = usize::try_from(written.index.manifests[0].pieces[0].offset + 5).unwrap();
    for at in [middle, header, manifest, good.len() - 1, 600, 20] {
        let mut bad = good.clone();
        bad[at] ^= 0x40;
        fs_err::write(&part, &bad).unwrap();
        let error = bench.import().await.unwrap_err();
        assert_eq!(error.exit(), ErrorKind::Damaged, "byte {at}: {error}");
        let ImportError::Damage(damage) = &error else { panic!("byte {at}: {error}") };
        assert_eq!(damage.part, "mirror_seq1_000000.tar");
        assert!((damage.from..damage.to).contains(&(at as u64)), "byte {at}: {error}");
        assert!(!damage.images.is_empty(), "byte {at}: {error}");
        if at == middle {
            assert_eq!(
                (damage.problem, damage.images.as_slice()),
                (Problem::Changed, &["multi:1".to_owned()][..])
            );
        }
        for (name, _, _) in &spec.images {
            assert_eq!(tag(&registry.host, name, "1").await, None, "byte {at}");
        }
    }
    // The part is copied again: what was sent before is not sent again.
    fs_err::write(&part, &good).unwrap();
    let imported = bench.import().await.unwrap();
    assert_eq!(imported.sequences[0].outcome, Outcome::Imported);
    assert!(imported.sequences[0].blobs_present > 0);
    assert_there(&registry.host, &spec).await;
}

#[tokio::test]
async fn a_bad_medium_is_refused_before_the_first_request() {
    let host: RegistryHost = "127.0.0.1:1".parse().unwrap();
    let bench = Bench::new(&host);
    let mut spec = first();
    spec.limit = 1 << 20;
    spec.write(bench.media.path());
    let foreign = tempfile::tempdir().unwrap();
    let mut other = spec.clone();
    other.stream = StreamId::from_bytes([9; 16]);
    other.blobs.clear();
    other.images.clear();
    let mut seed = 50;
    for (name, _, _) in &spec.images {
        seed += 1;
        other.image(name, "1", &[noise(seed, 1_000_000)]);
    }
    other.write(foreign.path());
    let part = bench.path("mirror_seq1_000000.tar");
    let good = fs_err::read(&part).unwrap();
    let mut alien = fs_err::read(foreign.path().join("mirror_seq1_000000.tar")).unwrap();
    alien.resize(good.len(), 0);
    let mut short = good.clone();
    short.truncate(good.len() - 512);
    for (content, kind) in [
        (None, ErrorKind::Incomplete),
        (Some(short), ErrorKind::Damaged),
        (Some(alien), ErrorKind::Damaged),
    ] {
        match content {
            Some(bytes) => fs_err::write(&part, bytes).unwrap(),
            None => fs_err::remove_file(&part).unwrap(),
        }
        let (error, totals) = refused(bench.options()).await;
        assert_eq!((error.exit(), totals.requests), (kind, 0), "{error}");
        assert!(error.to_string().contains("mirror_seq1_000000.tar"), "{error}");
    }
    fs_err::write(&part, good).unwrap();
    let (error, _) = refused(bench.options()).await;
    assert_eq!(error.exit(), ErrorKind::Unavailable, "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dry_run_writes_nothing() {
    let registry = Running::start().await;
    let bench = Bench::new(&registry.host);
    let spec = first();
    let written = spec.write(bench.media.path());
    let options = ImportOptions { dry_run: true, ..bench.options() };
    let wire = options.client.clone();
    let planned = importer::import(options).await.unwrap();
    let report = &planned.sequences[0];
    assert_eq!(report.outcome, Outcome::Planned);
    assert_eq!(report.blobs_pushed, written.index.blobs.len() as u64);
    assert!(report.blobs_mounted >= 2);
    assert_eq!(wire.counters().totals().sent, 0);
    assert_eq!(fs_err::read_dir(bench.workspace.path()).unwrap().count(), 0);
    let done = bench.import().await.unwrap();
    assert_eq!(done.sequences[0].blobs_pushed, report.blobs_pushed);
    assert_eq!(done.sequences[0].blobs_mounted, report.blobs_mounted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn media_may_be_read_only() {
    use std::os::unix::fs::PermissionsExt;
    let registry = Running::start().await;
    let bench = Bench::new(&registry.host);
    let spec = first();
    spec.write(bench.media.path());
    let mode = |mode| fs_err::set_permissions(bench.media.path(), PermissionsExt::from_mode(mode));
    mode(0o555).unwrap();
    let before = listing(bench.media.path());
    let imported = bench.import().await;
    assert_eq!(listing(bench.media.path()), before);
    mode(0o755).unwrap();
    imported.unwrap();
    assert_there(&registry.host, &spec).await;
}

/// A sequence large enough to be met while it is under way.
fn large() -> Spec {
    let mut spec = Spec::new(1);
    for n in 0..6 {
        spec.image(&format!("big{n}"), "1", &[noise(100 + n, 6 << 20)]);
    }
    spec
}

/// Waits until bytes of blobs are moving.
async fn under_way(options: &ImportOptions) {
    for _ in 0..6000 {
        if options.progress.snapshot().done > 1 << 20 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("nothing moves: {:?}", options.progress.snapshot());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_that_dies_is_taken_up_again() {
    let registry = Running::start().await;
    let bench = Bench::new(&registry.host);
    let spec = large();
    let written = spec.write(bench.media.path());
    let options = ImportOptions { parallel_blobs: 2, ..bench.options() };
    let task = tokio::spawn(importer::import(options.clone()));
    under_way(&options).await;
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    assert_eq!(tag(&registry.host, "big0", "1").await, None);
    // From another workspace, so that only the lease at the target tells of the dead one.
    let other = Bench { workspace: tempfile::tempdir().unwrap(), ..bench };
    let imported = other.import().await.unwrap();
    assert_there(&registry.host, &spec).await;
    let report = &imported.sequences[0];
    assert_eq!(report.blobs_pushed + report.blobs_present, written.index.blobs.len() as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_importer_is_refused_and_a_stopped_one_gives_way() {
    let registry = Running::start().await;
    let bench = Bench::new(&registry.host);
    let spec = large();
    spec.write(bench.media.path());
    let options = ImportOptions { parallel_blobs: 1, ..bench.options() };
    let task = tokio::spawn(importer::import(options.clone()));
    under_way(&options).await;
    let (error, totals) = refused(bench.options()).await;
    assert_eq!((error.exit(), totals.requests), (ErrorKind::Busy, 0), "{error}");
    let other = Bench { workspace: tempfile::tempdir().unwrap(), ..bench };
    let (error, totals) =
        refused(ImportOptions { from: options.from.clone(), ..other.options() }).await;
    assert_eq!((error.exit(), totals.sent), (ErrorKind::Busy, 0), "{error}");
    assert!(error.hint().is_some());
    options.cancel.cancel();
    assert!(matches!(task.await.unwrap(), Err(ImportError::Cancelled)));
    assert_eq!(tag(&registry.host, "big0", "1").await, None);
    other.import().await.unwrap();
    assert_there(&registry.host, &spec).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_target_lost_is_put_back() {
    let registry = Running::start().await;
    let bench = Bench::new(&registry.host);
    let spec = first();
    spec.write(bench.media.path());
    bench.import().await.unwrap();
    let host = &registry.host;
    let repository: Repository = "mirror/app".parse().unwrap();
    let name = ManifestRef::Digest(tag(host, "app", "1").await.unwrap());
    let deleted = client(host).delete_manifest(host, &repository, &name).await.unwrap();
    assert_eq!(deleted, Deleted::Done);
    assert_eq!(tag(host, "app", "1").await, None);
    let again = bench.import().await.unwrap();
    assert_eq!(again.sequences[0].outcome, Outcome::Known);
    assert_eq!(again.sequences[0].blobs_pushed, 0);
    assert_there(host, &spec).await;
    // A target that was replaced by an empty one: told, and filled again.
    let empty = Running::start().await;
    let moved = Bench { host: empty.host.clone(), ..bench };
    let named =
        |target: &Bench| ImportOptions { local_name: Some("site".to_owned()), ..target.options() };
    let set_back = Running::start().await;
    importer::import(named(&moved)).await.unwrap();
    let moved = Bench { host: set_back.host.clone(), ..moved };
    let again = importer::import(named(&moved)).await.unwrap();
    assert_eq!(again.sequences[0].outcome, Outcome::Imported);
    assert!(again.sequences[0].blobs_pushed > 0);
    assert!(again.warnings.iter().any(|w| w.contains("set back")), "{:?}", again.warnings);
    assert_there(&set_back.host, &spec).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sequence_further_back_than_the_record_reaches_is_put_back_and_no_other() {
    let registry = Running::start().await;
    let host = &registry.host;
    let bench = Bench::new(host);
    let one = first();
    let mut written = one.write(bench.media.path());
    bench.import().await.unwrap();
    let mut last = one.clone();
    // One more than the record of a stream names.
    for number in 2..=34 {
        last = last.next(&written);
        last.tail.truncate(32);
        last.image("app", "latest", &[noise(number, 100)]);
        let step = Bench::new(host);
        written = last.write(step.media.path());
        step.import().await.unwrap();
    }
    let put_back =
        |bench: &Bench| importer::import(ImportOptions { put_back: true, ..bench.options() });
    let fresh = |spec: &Spec| {
        let bench = Bench::new(host);
        spec.write(bench.media.path());
        bench
    };
    let digest = tag(host, "app", "1").await.unwrap();
    let repository: Repository = "mirror/app".parse().unwrap();
    let name = ManifestRef::Digest(digest);
    client(host).delete_manifest(host, &repository, &name).await.unwrap();
    let again = put_back(&bench).await.unwrap();
    let report = &again.sequences[0];
    assert_eq!((report.outcome, report.manifests_put, report.tags_put), (Outcome::Known, 1, 0));
    assert!(client(host).head_manifest(host, &repository, &name).await.unwrap().is_some());
    // The tag went with its manifest, and is not for an old sequence to set.
    assert_eq!(tag(host, "app", "1").await, None);
    let newest = tag(host, "app", "latest").await;
    assert!(newest.is_some());
    assert!(!put_back(&bench).await.unwrap().sequences[0].moves());

    // Another sequence of that number, one that comes next, another stream.
    let mut fork = one.clone();
    fork.image("app", "latest", &[noise(99, 10)]);
    let mut next = last.next(&written);
    next.tail.truncate(32);
    next.image("app", "latest", &[noise(98, 10)]);
    let mut foreign = one.clone();
    foreign.stream = StreamId::from_bytes([8; 16]);
    for (spec, kind) in
        [(&fork, ErrorKind::ForkOrForeign), (&next, ErrorKind::Usage), (&foreign, ErrorKind::Usage)]
    {
        let bench = fresh(spec);
        let (error, totals) = refused(ImportOptions { put_back: true, ..bench.options() }).await;
        assert_eq!((error.exit(), totals.sent), (kind, 0), "{error}");
        assert!(error.hint().is_some());
    }
    assert_eq!(tag(host, "app", "latest").await, newest);
    // And the order goes on.
    fresh(&next).import().await.unwrap();
}

/// The record of the first sequence: artifact type and layers.
async fn record(bench: &Bench) -> Option<(Option<String>, Vec<(String, Vec<u8>)>)> {
    let (wire, host) = (client(&bench.host), &bench.host);
    let ledger: Repository = "mirror/bundle-ledger".parse().unwrap();
    let tags = wire.list_tags(host, &ledger).await.unwrap().unwrap();
    let tag = tags.into_iter().find(|tag| tag.as_str().starts_with("sequence-"))?;
    let raw = wire.get_manifest(host, &ledger, &ManifestRef::Tag(tag)).await.unwrap();
    let registry::manifest::Manifest::Image(image) = raw.parse().unwrap() else { panic!() };
    let mut layers = Vec::new();
    for layer in image.layers {
        let bytes = wire.get_blob_bytes(host, &ledger, &layer.digest, layer.size, 1 << 20).await;
        layers.push((layer.media_type, bytes.unwrap().to_vec()));
    }
    Some((image.artifact_type, layers))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_target_keeps_what_the_sequence_brought() {
    let registry = Running::start().await;
    let bench = Bench::new(&registry.host);
    let written = first().write(bench.media.path());
    bench.import().await.unwrap();
    let file = |name: &str| fs_err::read(bench.path(&format!("mirror_seq1.{name}"))).unwrap();
    let kept = record(&bench).await;
    let expected = vec![
        (format_spec::head::HEAD_TYPE.to_owned(), file("manifest.json")),
        (registry::record::INDEX.to_owned(), file("index")),
    ];
    assert_eq!(kept, Some((Some(registry::record::SEQUENCE.to_owned()), expected)));

    // Again: not one request more than the target's own record costs.
    let requests = async || {
        // The files for clusters are made from the records, which is asked for beside it.
        let options = ImportOptions { resources: None, ..bench.options() };
        let wire = options.client.clone();
        importer::import(options).await.unwrap();
        wire.counters().totals().requests
    };
    let quiet = requests().await;
    let looked_at = written.index.blobs.iter().map(|blob| blob.repositories.len());
    let looked_at = looked_at.chain(written.index.manifests.iter().map(|m| m.repositories.len()));
    let tags = written.index.references.iter().filter(|one| one.tag.is_some()).count();
    let asked = looked_at.sum::<usize>() + tags;
    assert!(quiet <= asked as u64 + 4, "{quiet} requests for {asked} questions");

    // A record that went missing comes back, and nothing else moves.
    let (wire, host) = (client(&bench.host), &bench.host);
    let ledger: Repository = "mirror/bundle-ledger".parse().unwrap();
    let tag = registry::record::sequence_tag(written.head.stream, written.head.sequence);
    let reference = ManifestRef::Tag(tag);
    let there = wire.head_manifest(host, &ledger, &reference).await.unwrap().unwrap();
    wire.delete_manifest(host, &ledger, &there.digest.unwrap().into()).await.unwrap();
    assert_eq!(record(&bench).await, None);
    let again = bench.import().await.unwrap();
    assert_eq!(again.sequences[0].outcome, Outcome::Known);
    assert_eq!((again.sequences[0].blobs_pushed, again.sequences[0].tags_put), (0, 0));
    assert!(record(&bench).await.is_some());
    assert_eq!(requests().await, quiet);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replaced_target_is_filled_again_from_all_media() {
    let registry = Running::start().await;
    let mut bench = Bench::new(&registry.host);
    let one = first();
    let two = second(&one, &one.write(bench.media.path()));
    two.write(bench.media.path());
    let named =
        |bench: &Bench| ImportOptions { local_name: Some("site".to_owned()), ..bench.options() };
    importer::import(named(&bench)).await.unwrap();
    let empty = Running::start().await;
    bench.host = empty.host.clone();
    // The last alone does not do, and the first alone would take the target back.
    let alone = |spec: &Spec| {
        let media = tempfile::tempdir().unwrap();
        spec.write(media.path());
        media
    };
    for (spec, kind) in [(&one, ErrorKind::Stale), (&two, ErrorKind::Gap)] {
        let media = alone(spec);
        let options = ImportOptions { from: vec![media.path().to_owned()], ..named(&bench) };
        let (error, totals) = refused(options).await;
        assert_eq!((error.exit(), totals.sent), (kind, 0), "{error}");
    }
    let again = importer::import(named(&bench)).await.unwrap();
    let outcomes: Vec<_> = again.sequences.iter().map(|s| s.outcome).collect();
    assert_eq!(outcomes, [Outcome::Imported; 2]);
    assert!(again.warnings.iter().any(|w| w.contains("set back")), "{:?}", again.warnings);
    assert_there(&empty.host, &one).await;
    assert_there(&empty.host, &two).await;
    let known = importer::import(named(&bench)).await.unwrap();
    assert!(known.warnings.is_empty(), "{:?}", known.warnings);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paths_fit_the_target_or_are_refused() {
    let registry = Running::start().await;
    let bench = Bench::new(&registry.host);
    let mut spec = Spec::new(1);
    spec.image("a/b/c", "1", &[noise(1, 100)]);
    spec.write(bench.media.path());
    let nested = |bench: &Bench| ImportOptions { max_nested_paths: 2, ..bench.options() };
    importer::import(nested(&bench)).await.unwrap();
    assert!(tag(&registry.host, "a-b-c", "1").await.is_some());
    // What only left the configuration takes no place.
    let bench = Bench::new(&registry.host);
    let mut left = spec.clone();
    left.stream = format_spec::StreamId::from_bytes([8; 16]);
    left.removed = vec!["a-b/c".to_owned(), "a-b-c".to_owned()];
    left.write(bench.media.path());
    importer::import(ImportOptions { new_stream: true, dry_run: true, ..nested(&bench) })
        .await
        .unwrap();
    let bench = Bench::new(&registry.host);
    spec.image("a-b/c", "1", &[noise(2, 100)]);
    spec.write(bench.media.path());
    let (error, totals) = refused(nested(&bench)).await;
    assert_eq!((error.exit(), totals.requests), (ErrorKind::Usage, 0), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_small_blobs_share_their_cells() {
    let registry = Running::start().await;
    let bench = Bench::new(&registry.host);
    let mut spec = Spec::new(1);
    for n in 0..60 {
        spec.image(
            "small",
            &format!("t{n}"),
            &[noise(1000 + n, 100 + usize::try_from(n).unwrap())],
        );
    }
    spec.write(bench.media.path());
    bench.import().await.unwrap();
    assert_there(&registry.host, &spec).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn distribution_takes_it_all() {
    let Some(registry) = Distribution::start(true) else { return };
    let bench = Bench::new(&registry.host);
    let one = first();
    let written = one.write(bench.media.path());
    let two = second(&one, &written);
    let imported = bench.import().await.unwrap();
    assert_eq!(imported.sequences[0].blobs_pushed, written.index.blobs.len() as u64);
    assert!(imported.sequences[0].blobs_mounted >= 2);
    two.write(bench.media.path());
    let options = bench.options();
    let progress = Arc::clone(&options.progress);
    importer::import(options).await.unwrap();
    let end = progress.snapshot();
    assert_eq!(end.done, end.total, "progress ends at its end");
    assert_there(&registry.host, &one).await;
    assert_there(&registry.host, &two).await;
    let options = bench.options();
    let wire = options.client.clone();
    let again = importer::import(options).await.unwrap();
    assert_eq!(again.sequences.last().unwrap().outcome, Outcome::Known);
    assert_eq!(wire.counters().totals().sent, 0);
}
