//! What left the configuration is removed from the target, and nothing that anything still reaches.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot be set up has failed, or says why it is skipped"
)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use format_spec::head::{Kind, Link};
use format_spec::{Digest, Repository, Sequence, StreamId};
use importer::{
    AgainstOptions, ImportOptions, PruneOptions, PruneReport, RollbackOptions, RollbackReport,
};
use registry::client::Client;
use registry::progress::Progress;
use registry::reference::{ManifestRef, RegistryHost};
use support::{
    Bench, Distribution, Document, Running, Spec, Written, blobs_of, client, noise, tag,
};
use tokio_util::sync::CancellationToken;

async fn prune(bench: &Bench, dry_run: bool) -> PruneReport {
    importer::prune(PruneOptions {
        target: support::target(&bench.host),
        workspace: bench.workspace.path().to_owned(),
        dry_run,
        max_nested_paths: 0,
        client: client(&bench.host),
        progress: Arc::new(Progress::default()),
        cancel: CancellationToken::new(),
    })
    .await
    .unwrap()
}

async fn back(bench: &Bench, stream: StreamId, to: Sequence) -> RollbackReport {
    importer::rollback(RollbackOptions {
        to,
        stream: Some(stream),
        target: support::target(&bench.host),
        workspace: bench.workspace.path().to_owned(),
        dry_run: false,
        skip_pruning: false,
        max_nested_paths: 0,
        resources: bench.workspace.path().join("cluster-resources"),
        client: client(&bench.host),
        progress: Arc::new(Progress::default()),
        cancel: CancellationToken::new(),
    })
    .await
    .unwrap()
}

async fn there(host: &RegistryHost, repository: &str, digest: Digest) -> bool {
    let repository: Repository = format!("mirror/{repository}").parse().unwrap();
    client(host).head_manifest(host, &repository, &digest.into()).await.unwrap().is_some()
}

/// What was typed twice by hand: an index that leaves, of which one child is another tag; a tag that moves.
async fn by_hand(host: &RegistryHost, deletes: bool) {
    let bench = Bench::new(host);
    let mut one = Spec::new(1);
    let (a, b) = (one.document(&[noise(1, 900)]), one.document(&[noise(2, 900)]));
    let both = Spec::over(vec![a.clone(), b.clone()]);
    let old = one.document(&[noise(3, 900)]);
    for (name, document) in [("1", &both), ("a", &a), ("moves", &old)] {
        one.images.push(("app".to_owned(), Some(name.to_owned()), document.clone()));
    }
    let written = one.write(bench.media.path());
    bench.import().await.unwrap();
    let mut two = one.next(&written);
    let new = two.document(&[noise(1, 900), noise(4, 90)]);
    two.images.push(("app".to_owned(), Some("moves".to_owned()), new.clone()));
    two.gone.push(("app".to_owned(), Some("1".to_owned()), both.digest()));
    two.write(bench.media.path());
    let plan = bench.workspace.path().join("dry-run/pruning-plan.json");
    let dry = importer::import(ImportOptions { dry_run: true, ..bench.options() }).await.unwrap();
    assert_eq!(dry.pruning_plan.as_ref(), Some(&plan));
    let text: serde_json::Value = serde_json::from_slice(&fs_err::read(&plan).unwrap()).unwrap();
    assert_eq!(text["registry"], host.to_string());
    assert_eq!(text["repositories"][0]["name"], "mirror/app");
    assert_eq!(text["repositories"][0]["tags"], serde_json::json!(["1"]));
    let would: BTreeSet<String> = text["repositories"][0]["manifests"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one.as_str().unwrap().to_owned())
        .collect();
    let expected = [both.digest(), b.digest(), old.digest()].map(|one| one.to_string());
    assert_eq!(would, BTreeSet::from(expected));
    assert_eq!(tag(host, "app", "1").await, Some(both.digest()), "a dry run removes nothing");
    let imported = bench.import().await.unwrap();
    let sequence = &imported.sequences.last().unwrap();
    let pruned = sequence.pruned.as_ref().unwrap();
    assert_eq!(tag(host, "app", "a").await, Some(a.digest()));
    assert_eq!(tag(host, "app", "moves").await, Some(new.digest()));
    if !deletes {
        assert_eq!((pruned.tags, pruned.manifests, pruned.left.len()), (0, 0, 4), "{pruned:?}");
        let warning = imported.warnings.join("\n");
        assert!(warning.contains("bundle prune docker://"), "{warning}");
        assert_eq!(tag(host, "app", "1").await, Some(both.digest()));
        return;
    }
    assert_eq!((pruned.tags, pruned.manifests), (1, 3), "{pruned:?}");
    assert!(pruned.left.is_empty(), "{pruned:?}");
    assert_eq!(tag(host, "app", "1").await, None);
    for (digest, stays) in [
        (both.digest(), false),
        (b.digest(), false),
        (old.digest(), false),
        (a.digest(), true),
        (new.digest(), true),
    ] {
        assert_eq!(there(host, "app", digest).await, stays, "{digest}");
    }
    let receipt = fs_err::read_to_string(sequence.receipt.as_ref().unwrap()).unwrap();
    assert!(receipt.contains("\"pruned\"") && receipt.contains(&b.digest().to_string()));
    let again = prune(&bench, false).await;
    assert!(again.pruned.is_nothing(), "{again:?}");
    // What was removed is no lack of a target that took both.
    let against = || async {
        let options = AgainstOptions {
            from: vec![bench.media.path().to_owned()],
            target: support::target(host),
            trusted: vec![support::trusted()],
            parallel_blobs: 2,
            max_nested_paths: 0,
            client: client(host),
            progress: Arc::new(Progress::default()),
            cancel: CancellationToken::new(),
        };
        importer::against(options).await.unwrap()
    };
    assert_eq!(against().await.lacks, []);
    let repository: Repository = "mirror/app".parse().unwrap();
    let named = new.digest().into();
    client(host).delete_manifest(host, &repository, &named).await.unwrap();
    let lacks: Vec<String> = against().await.lacks.into_iter().map(|lack| lack.name).collect();
    let lost = format!("{host}/mirror/app@{}", new.digest());
    assert!(lacks.contains(&lost), "{lacks:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_left_is_removed_and_what_is_shared_stays() {
    by_hand(&Running::start().await.host, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn distribution_loses_what_left() {
    let Some(registry) = Distribution::start(true) else { return };
    by_hand(&registry.host, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_that_does_not_delete_keeps_it_and_the_import_goes_on() {
    let Some(registry) = Distribution::start(false) else { return };
    by_hand(&registry.host, false).await;
}

/// Numbers that do not repeat soon.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 16).unwrap() % limit
    }

    fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }
}

type Name = (String, Option<String>);
/// What a configuration names, with what is attached.
type Names = BTreeMap<(String, ManifestRef), usize>;

/// The images of a history, some of which share children and layers, or are attached to others.
struct Pool {
    spec: Spec,
    documents: Vec<Document>,
    /// For an image the number of its signature and of its referrer.
    attached: BTreeMap<usize, (usize, usize)>,
    images: usize,
}

impl Pool {
    fn new() -> Self {
        let mut spec = Spec::new(1);
        let mut documents: Vec<Document> = (0..6)
            .map(|n| spec.document(&[noise(100 + n % 3, 300), noise(200 + n, 200)]))
            .collect();
        for children in [vec![0, 1], vec![1, 2, 3], vec![3, 4], vec![5, 0]] {
            documents.push(Spec::over(children.iter().map(|n| documents[*n].clone()).collect()));
        }
        let images = documents.len();
        let mut attached = BTreeMap::new();
        for n in [0, 2, 6, 7] {
            let subject = documents[n].clone();
            let signature = spec.document(&[noise(300 + n as u64, 90)]);
            let referrer = spec.attached_to(&subject, noise(400 + n as u64, 90));
            attached.insert(n, (documents.len(), documents.len() + 1));
            documents.extend([signature, referrer]);
        }
        Self { spec, documents, attached, images }
    }

    fn digest(&self, number: usize) -> Digest {
        self.documents[number].digest()
    }

    /// A configuration's names with those of what is attached.
    fn names(&self, config: &BTreeMap<(String, String), usize>) -> Names {
        let mut names = Names::new();
        for ((repository, tag), number) in config {
            names.insert((repository.clone(), ManifestRef::Tag(tag.parse().unwrap())), *number);
            if let Some((signature, referrer)) = self.attached.get(number) {
                let tag = format!("sha256-{}.sig", self.digest(*number).hex());
                let tag = ManifestRef::Tag(tag.parse().unwrap());
                names.insert((repository.clone(), tag), *signature);
                let by_digest = ManifestRef::Digest(self.digest(*referrer));
                names.insert((repository.clone(), by_digest), *referrer);
            }
        }
        names
    }

    fn closure(&self, number: usize) -> Vec<Digest> {
        let document = &self.documents[number];
        document.children.iter().chain([document]).map(Document::digest).collect()
    }
}

/// The connected side of one stream.
#[derive(Clone)]
struct Sender {
    stream: StreamId,
    repositories: Vec<&'static str>,
    config: BTreeMap<(String, String), usize>,
    known: Names,
    tail: Vec<Link>,
    carried: BTreeMap<Digest, (u64, String)>,
}

impl Sender {
    fn new(number: u8, repositories: &[&'static str]) -> Self {
        Self {
            stream: StreamId::from_bytes([number; 16]),
            repositories: repositories.to_vec(),
            config: BTreeMap::new(),
            known: Names::new(),
            tail: Vec::new(),
            carried: BTreeMap::new(),
        }
    }

    fn change(&mut self, dice: &mut Dice, pool: &Pool) {
        for _ in 0..=dice.below(4) {
            let repository = self.repositories[dice.below(self.repositories.len())].to_owned();
            let tag =
                format!("s{}-{}", self.stream.to_string().chars().next().unwrap(), dice.below(4));
            match dice.below(3) {
                0 => drop(self.config.remove(&(repository, tag))),
                _ => drop(self.config.insert((repository, tag), dice.below(pool.images))),
            }
        }
    }

    /// Writes the next sequence; nothing when nothing is new.
    fn write(&mut self, pool: &Pool, full: bool, to: &std::path::Path) -> Option<Written> {
        let names = pool.names(&self.config);
        if names == self.known || names.is_empty() {
            return None;
        }
        let full = full || self.tail.is_empty();
        let mut spec = Spec::new(self.tail.len() as u64 + 1);
        spec.stream = self.stream;
        spec.tail = self.tail.clone();
        spec.kind = if full { Kind::Full } else { Kind::Incremental };
        for ((repository, name), number) in &names {
            if full || self.known.get(&(repository.clone(), name.clone())) != Some(number) {
                let (repository, tag) = named(repository, name);
                spec.images.push((repository, tag, pool.documents[*number].clone()));
            }
        }
        for ((repository, name), number) in &self.known {
            if !names.contains_key(&(repository.clone(), name.clone())) {
                let (repository, tag) = named(repository, name);
                spec.gone.push((repository, tag, pool.digest(*number)));
            }
        }
        if full {
            self.carried.clear();
        }
        spec.earlier = self.carried.clone();
        for (repository, _, document) in &spec.images {
            for digest in blobs_of(document) {
                let bytes = pool.spec.blobs[&digest].clone();
                self.carried.entry(digest).or_insert((bytes.len() as u64, repository.clone()));
                spec.blobs.insert(digest, bytes);
            }
        }
        let written = spec.write(to);
        self.tail.insert(0, written.link());
        self.known = names;
        Some(written)
    }
}

fn named(repository: &str, name: &ManifestRef) -> Name {
    let tag = match name {
        ManifestRef::Tag(tag) => Some(tag.to_string()),
        ManifestRef::Digest(_) => None,
    };
    (repository.to_owned(), tag)
}

const REPOSITORIES: [&str; 3] = ["app", "base", "tools/x"];

/// What somebody else tagged.
type Foreign = BTreeMap<(String, String), usize>;

/// What the target has: by repository its tags, and which documents of the pool.
async fn listing(
    client: &Client,
    host: &RegistryHost,
    pool: &Pool,
) -> BTreeMap<String, (BTreeMap<String, Digest>, BTreeSet<Digest>)> {
    let mut all = BTreeMap::new();
    for name in REPOSITORIES {
        let repository: Repository = format!("mirror/{name}").parse().unwrap();
        let mut tags = BTreeMap::new();
        for tag in client.list_tags(host, &repository).await.unwrap().unwrap_or_default() {
            let head = client.head_manifest(host, &repository, &tag.clone().into()).await.unwrap();
            tags.insert(tag.to_string(), head.unwrap().digest.unwrap());
        }
        let mut there = BTreeSet::new();
        for document in &pool.documents {
            let digest = document.digest();
            if client.head_manifest(host, &repository, &digest.into()).await.unwrap().is_some() {
                there.insert(digest);
            }
        }
        all.insert(name.to_owned(), (tags, there));
    }
    all
}

/// Holds the target against what full mirrors of the configurations, and others, would have made of it. `exactly`: nothing
/// else is there, but tags that were said to stay as they name what is needed.
async fn compare(
    client: &Client,
    host: &RegistryHost,
    pool: &Pool,
    (senders, foreign): (&[Sender], &Foreign),
    exactly: Option<&BTreeSet<String>>,
    history: &str,
) {
    let found = listing(client, host, pool).await;
    for repository in REPOSITORIES {
        let (tags, there) = &found[repository];
        let (mut want, mut needed, mut allowed) =
            (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
        for ((_, name), number) in
            senders.iter().flat_map(|one| &one.known).filter(|((of, _), _)| of == repository)
        {
            if let ManifestRef::Tag(tag) = name {
                want.insert(tag.to_string(), pool.digest(*number));
            }
            needed.extend(pool.closure(*number));
        }
        for ((_, tag), number) in foreign.iter().filter(|((of, _), _)| of == repository) {
            want.insert(tag.clone(), pool.digest(*number));
            needed.extend(pool.closure(*number));
        }
        // What is attached to what only others hold may stay, and where they hold an index, to its children too.
        let held = foreign.iter().filter(|((of, _), _)| of == repository);
        let held: BTreeSet<Digest> = held.flat_map(|(_, number)| pool.closure(*number)).collect();
        let mut allowed_tags = BTreeSet::new();
        for (number, (signature, referrer)) in &pool.attached {
            if held.contains(&pool.digest(*number)) {
                allowed.extend([pool.digest(*signature), pool.digest(*referrer)]);
                allowed_tags.insert(format!("sha256-{}.sig", pool.digest(*number).hex()));
            }
            // The list of referrers at registries that keep none.
            if want.values().any(|_| true) {
                allowed_tags.insert(format!("sha256-{}", pool.digest(*number).hex()));
            }
        }
        for (tag, digest) in &want {
            assert_eq!(tags.get(tag), Some(digest), "{repository}:{tag} of {history}");
        }
        for digest in &needed {
            assert!(there.contains(digest), "{repository}@{digest} of {history} is lost");
        }
        if let Some(said) = exactly {
            for (tag, digest) in tags {
                let said = said.contains(&format!("{host}/mirror/{repository}:{tag}"));
                let known = want.contains_key(tag)
                    || allowed_tags.contains(tag)
                    || said && (needed.contains(digest) || allowed.contains(digest));
                assert!(known, "{repository}:{tag} of {history} stays");
            }
            for digest in there {
                let known = needed.contains(digest) || allowed.contains(digest);
                assert!(known, "{repository}@{digest} of {history} stays");
            }
        }
    }
}

async fn history(host: &RegistryHost, seed: u64, by_digest_only: bool) -> (u64, u64) {
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let pool = Pool::new();
    let client = client(host);
    let bench = Bench::new(host);
    let mut senders = [Sender::new(0x11, &REPOSITORIES), Sender::new(0x22, &REPOSITORIES[..2])];
    let mut foreign = Foreign::new();
    let (mut exactly, mut removed) = (true, (0, 0));
    // Of each stream what was sent: the sender after it, and its medium.
    let mut sent: [Vec<(Sender, tempfile::TempDir)>; 2] = Default::default();
    for step in 0..8 {
        let told = format!("history {seed}, step {step}");
        let stream = usize::from(dice.once_in(3));
        if dice.once_in(4) && sent[stream].len() > 1 {
            let to = 1 + dice.below(sent[stream].len() - 1);
            let again = dice.once_in(2);
            let whole =
                set_back(&bench, (&mut senders[stream], &mut sent[stream]), to, again).await;
            // A medium brings back more than what was missing.
            exactly &= whole && !by_digest_only;
            let (state, none) = ((&senders[..], &foreign), BTreeSet::new());
            compare(&client, host, &pool, state, exactly.then_some(&none), &told).await;
        }
        if dice.once_in(4) {
            // What another tag held before left long ago.
            let moved = tag_something(&mut dice, (&client, host), &pool, &mut foreign).await;
            exactly &= !moved;
        }
        let sender = &mut senders[stream];
        sender.change(&mut dice, &pool);
        let full = dice.once_in(6);
        let medium = tempfile::tempdir().unwrap();
        if sender.write(&pool, full, medium.path()).is_none() {
            continue;
        }
        let from = vec![medium.path().to_owned()];
        sent[stream].push((sender.clone(), medium));
        let skip_pruning = dice.once_in(6);
        let options = ImportOptions { from, skip_pruning, new_stream: true, ..bench.options() };
        let imported = importer::import(options).await.unwrap();
        if let Some(pruned) = imported.sequences.last().and_then(|one| one.pruned.as_ref()) {
            removed = (removed.0 + pruned.tags, removed.1 + pruned.manifests);
            // Distribution deletes no tag by itself; what stays holds what it names in later imports.
            assert!(by_digest_only || pruned.left.is_empty(), "{told}: {pruned:?}");
            exactly &= pruned.left.is_empty();
        }
        exactly &= !skip_pruning;
        let none = BTreeSet::new();
        let state = (&senders[..], &foreign);
        compare(&client, host, &pool, state, exactly.then_some(&none), &told).await;
        if !exactly && dice.once_in(2) {
            let left = prune(&bench, false).await.pruned.left;
            assert!(by_digest_only || left.is_empty(), "{told}: {left:?}");
            exactly = left.is_empty();
            let said = left.into_iter().map(|one| one.name).collect();
            compare(&client, host, &pool, state, Some(&said), &told).await;
        }
    }
    removed
}

/// Sets one stream back; then what came later comes again, or something else in its place. Says whether nothing had to be
/// put back for it.
async fn set_back(
    bench: &Bench,
    (sender, sent): (&mut Sender, &mut Vec<(Sender, tempfile::TempDir)>),
    to: usize,
    again: bool,
) -> bool {
    let sequence = Sequence::new(to as u64).unwrap();
    let options = |numbers: Vec<usize>, put_back| {
        let from = numbers.iter().map(|n| sent[n - 1].1.path().to_owned()).collect();
        ImportOptions { from, put_back, new_stream: !put_back, ..bench.options() }
    };
    let mut report = back(bench, sender.stream, sequence).await;
    let whole = report.missing.is_empty();
    if !whole {
        let numbers: Vec<usize> =
            report.media.iter().map(|one| usize::try_from(one.get()).unwrap()).collect();
        importer::import(options(numbers, true)).await.unwrap();
        report = back(bench, sender.stream, sequence).await;
    }
    assert!(report.missing.is_empty(), "{report:?}");
    assert!(!report.dry_run && report.to == sequence);
    if again {
        let numbers: Vec<usize> = (to + 1..=sent.len()).collect();
        importer::import(options(numbers, false)).await.unwrap();
    } else {
        sent.truncate(to);
        *sender = sent[to - 1].0.clone();
    }
    whole
}

/// Somebody gives something that is there a tag, or takes that back.
async fn tag_something(
    dice: &mut Dice,
    (client, host): (&Client, &RegistryHost),
    pool: &Pool,
    foreign: &mut Foreign,
) -> bool {
    let name = REPOSITORIES[dice.below(REPOSITORIES.len())];
    let number = dice.below(pool.images);
    let document = &pool.documents[number];
    let repository: Repository = format!("mirror/{name}").parse().unwrap();
    let digest = document.digest();
    if client.head_manifest(host, &repository, &digest.into()).await.unwrap().is_none() {
        return false;
    }
    let tag = format!("prod-{}", dice.below(2));
    let reference = ManifestRef::Tag(tag.parse().unwrap());
    let bytes = bytes::Bytes::from(document.bytes.clone());
    client.put_manifest(host, &repository, &reference, &document.media_type, bytes).await.unwrap();
    foreign.insert((name.to_owned(), tag), number).is_some()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_every_sequence_the_target_is_what_a_full_mirror_would_be() {
    let histories: u64 =
        std::env::var("BUNDLE_PRUNING_HISTORIES").ok().map_or(32, |text| text.parse().unwrap());
    let mut removed = (0, 0);
    let mut seeds = 1..=histories;
    loop {
        // Each waits for its disk most of the time.
        let some: Vec<_> = seeds
            .by_ref()
            .take(8)
            .map(|seed| {
                tokio::spawn(async move {
                    let registry = Running::start().await;
                    history(&registry.host, seed, false).await
                })
            })
            .collect();
        if some.is_empty() {
            break;
        }
        for one in some {
            let (tags, manifests) = one.await.unwrap();
            removed = (removed.0 + tags, removed.1 + manifests);
        }
    }
    println!("{histories} histories, {} tags and {} manifests removed", removed.0, removed.1);
    assert!(removed.0 > histories && removed.1 > histories);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn distribution_is_what_a_full_mirror_would_be() {
    for seed in 1001..=1004 {
        let Some(registry) = Distribution::start(true) else { return };
        history(&registry.host, seed, true).await;
    }
}
