//! Random histories of a target: imports, rollbacks, deletes, what somebody else does; after every step it is what full mirrors
//! would be.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot be set up has failed, or says why it is skipped"
)]

mod support;

use std::collections::{BTreeMap, BTreeSet};

use format_spec::head::{Kind, Link};
use format_spec::{Digest, Repository, Sequence, StreamId};
use importer::ImportOptions;
use registry::client::Client;
use registry::reference::{ManifestRef, RegistryHost};
use support::{
    Bench, Distribution, Document, Running, Spec, Written, back, blobs_of, client, delete, noise,
    prune,
};

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

/// A sequence that was sent.
struct Sent {
    /// The sender after it.
    after: Sender,
    full: bool,
    medium: tempfile::TempDir,
}

/// The connected side of one stream.
#[derive(Clone)]
struct Sender {
    stream: StreamId,
    repositories: Vec<&'static str>,
    config: BTreeMap<(String, String), usize>,
    known: Names,
    /// Of what is known, what a person deleted at the target.
    gone: BTreeSet<(String, ManifestRef)>,
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
            gone: BTreeSet::new(),
            tail: Vec::new(),
            carried: BTreeMap::new(),
        }
    }

    /// The names that stand at the target.
    fn standing(&self) -> impl Iterator<Item = (&(String, ManifestRef), &usize)> {
        self.known.iter().filter(|(name, _)| !self.gone.contains(name))
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
        self.gone = repeated(&self.gone, &self.known, &names, full);
        self.known = names;
        Some(written)
    }
}

/// What stays deleted after a further sequence: what it does not set.
fn repeated(
    gone: &BTreeSet<(String, ManifestRef)>,
    known: &Names,
    names: &Names,
    full: bool,
) -> BTreeSet<(String, ManifestRef)> {
    let same = |name: &&(String, ManifestRef)| !full && known.get(*name) == names.get(*name);
    gone.iter().filter(same).cloned().collect()
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
            senders.iter().flat_map(Sender::standing).filter(|((of, _), _)| of == repository)
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
    let mut sent: [Vec<Sent>; 2] = Default::default();
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
        if dice.once_in(3) {
            let left = take_away(&mut dice, &bench, &pool, &mut senders).await;
            assert!(by_digest_only || left.is_none_or(|left| left == 0), "{told}");
            exactly &= left.is_none_or(|left| left == 0);
            let none = BTreeSet::new();
            let state = (&senders[..], &foreign);
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
        let full = full || sender.tail.len() == 1;
        sent[stream].push(Sent { after: sender.clone(), full, medium });
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
    (sender, sent): (&mut Sender, &mut Vec<Sent>),
    to: usize,
    again: bool,
) -> bool {
    let sequence = Sequence::new(to as u64).unwrap();
    let options = |numbers: Vec<usize>, put_back| {
        let from = numbers.iter().map(|n| sent[n - 1].medium.path().to_owned()).collect();
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
        // Nothing was deleted between them this time.
        for n in to..sent.len() {
            let (before, one) = (&sent[n - 1].after, &sent[n]);
            let gone = repeated(&before.gone, &before.known, &one.after.known, one.full);
            sent[n].after.gone = gone;
        }
        sender.gone.clone_from(&sent[sent.len() - 1].after.gone);
    } else {
        sent.truncate(to);
        *sender = sent[to - 1].after.clone();
    }
    whole
}

/// Somebody deletes a name, of whichever stream; how much could not be removed.
async fn take_away(
    dice: &mut Dice,
    bench: &Bench,
    pool: &Pool,
    senders: &mut [Sender],
) -> Option<usize> {
    let is_image = |(_, name): &&(String, ManifestRef)| matches!(name, ManifestRef::Tag(tag) if !tag.as_str().starts_with("sha256-"));
    let all = senders.iter().flat_map(|one| one.standing().map(|(name, _)| name));
    let all: Vec<_> = all.filter(is_image).cloned().collect();
    if all.is_empty() {
        return None;
    }
    let wanted = all[dice.below(all.len())].clone();
    let (repository, name) = &wanted;
    let report = delete(bench, &[format!("{repository}:{name}")]).await.unwrap();
    assert!(report.names.iter().any(|one| one.name.ends_with(&format!("{repository}:{name}"))));
    let closure = |numbers: Vec<usize>| -> BTreeSet<Digest> {
        numbers.into_iter().flat_map(|number| pool.closure(number)).collect()
    };
    let here = |one: &Sender, go: bool| -> Vec<usize> {
        let names = one.standing().filter(|(other, _)| {
            other.0 == *repository && (**other == wanted) == go && is_image(other)
        });
        names.map(|(_, number)| *number).collect()
    };
    let goes = closure(senders.iter().flat_map(|one| here(one, true)).collect());
    let stays = closure(senders.iter().flat_map(|one| here(one, false)).collect());
    for sender in senders {
        let attached = pool.attached.iter().filter(|(subject, _)| {
            let subject = pool.digest(**subject);
            goes.contains(&subject) && !stays.contains(&subject)
        });
        let attached: BTreeSet<usize> =
            attached.flat_map(|(_, (signature, referrer))| [*signature, *referrer]).collect();
        let gone = sender.known.iter().filter(|(other, number)| {
            **other == wanted || (other.0 == *repository && attached.contains(number))
        });
        let gone: Vec<_> = gone.map(|(name, _)| name.clone()).collect();
        sender.gone.extend(gone);
    }
    Some(report.removed.left.len())
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
