//! A target is set back to what an earlier sequence left there, wholly or not at all, and goes on from there.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot be set up has failed, or says why it is skipped"
)]

mod support;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use format_spec::chain::OrderError;
use format_spec::{Digest, Repository, Sequence};
use importer::{
    ImportError, ImportOptions, Outcome, RollbackError, RollbackOptions, RollbackReport,
};
use registry::progress::Progress;
use registry::reference::RegistryHost;
use support::{Bench, Distribution, Document, Rule, Running, Spec, Way, client, noise, tag};
use tokio_util::sync::CancellationToken;

fn number(number: u64) -> Sequence {
    Sequence::new(number).unwrap()
}

fn options(bench: &Bench, to: u64) -> RollbackOptions {
    RollbackOptions {
        to: number(to),
        stream: None,
        target: support::target(&bench.host),
        workspace: bench.workspace.path().to_owned(),
        dry_run: false,
        skip_pruning: false,
        max_nested_paths: 0,
        resources: bench.workspace.path().join("cluster-resources"),
        client: client(&bench.host),
        progress: Arc::new(Progress::default()),
        cancel: CancellationToken::new(),
    }
}

async fn back(bench: &Bench, to: u64) -> Result<RollbackReport, ImportError> {
    importer::rollback(options(bench, to)).await
}

async fn there(host: &RegistryHost, repository: &str, digest: Digest) -> bool {
    let repository: Repository = format!("mirror/{repository}").parse().unwrap();
    client(host).head_manifest(host, &repository, &digest.into()).await.unwrap().is_some()
}

/// What the target gives under each tag of two repositories.
async fn tags(host: &RegistryHost) -> BTreeMap<String, Digest> {
    let mut all = BTreeMap::new();
    for name in ["app", "more"] {
        let repository: Repository = format!("mirror/{name}").parse().unwrap();
        for one in client(host).list_tags(host, &repository).await.unwrap().unwrap_or_default() {
            if let Some(digest) = tag(host, name, one.as_str()).await {
                all.insert(format!("{name}:{one}"), digest);
            }
        }
    }
    all
}

/// Three sequences, each on its own medium: a tag that moves twice, one that comes, one that leaves.
struct History {
    media: Vec<tempfile::TempDir>,
    images: BTreeMap<&'static str, Document>,
    last: (Spec, support::Written),
}

impl History {
    fn new() -> Self {
        let media: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
        let mut images = BTreeMap::new();
        let mut one = Spec::new(1);
        let mut image = |spec: &mut Spec, name, layers: &[Vec<u8>]| {
            let document = spec.document(layers);
            images.insert(name, document.clone());
            document
        };
        let old = image(&mut one, "old", &[noise(1, 900), noise(2, 300)]);
        let leaves = image(&mut one, "leaves", &[noise(3, 900)]);
        let both = Spec::over(vec![old.clone(), leaves.clone()]);
        for (tag, document) in [("moves", &old), ("leaves", &leaves), ("both", &both)] {
            one.images.push(("app".to_owned(), Some(tag.to_owned()), document.clone()));
        }
        let first = one.write(media[0].path());
        let mut two = one.next(&first);
        let new = image(&mut two, "new", &[noise(1, 900), noise(4, 300)]);
        let comes = image(&mut two, "comes", &[noise(5, 900)]);
        two.images.push(("app".to_owned(), Some("moves".to_owned()), new));
        two.images.push(("more".to_owned(), Some("comes".to_owned()), comes));
        // The same image under a further name.
        two.images.push(("app".to_owned(), Some("again".to_owned()), leaves.clone()));
        let second = two.write(media[1].path());
        let mut three = two.next(&second);
        let newest = image(&mut three, "newest", &[noise(1, 900), noise(6, 300)]);
        three.images.push(("app".to_owned(), Some("moves".to_owned()), newest));
        three.gone.push(("app".to_owned(), Some("leaves".to_owned()), leaves.digest()));
        three.gone.push(("app".to_owned(), Some("both".to_owned()), both.digest()));
        images.insert("both", both);
        let third = three.write(media[2].path());
        Self { media, images, last: (three, third) }
    }

    fn digest(&self, name: &str) -> Digest {
        self.images[name].digest()
    }

    fn from(&self, sequences: &[usize]) -> Vec<PathBuf> {
        sequences.iter().map(|number| self.media[number - 1].path().to_owned()).collect()
    }

    async fn import(
        &self,
        bench: &Bench,
        sequences: &[usize],
    ) -> Result<importer::Imported, ImportError> {
        importer::import(ImportOptions { from: self.from(sequences), ..bench.options() }).await
    }
}

fn gap(result: &Result<importer::Imported, ImportError>) -> bool {
    matches!(result, Err(ImportError::Order { error: OrderError::Gap { .. }, .. }))
}

/// Sequences whose imports removed nothing, so that everything is there still.
async fn by_hand(host: &RegistryHost, deletes_tags: bool) {
    let (history, bench) = (History::new(), Bench::new(host));
    history.import(&bench, &[1]).await.unwrap();
    let first = tags(host).await;
    let resources = bench.workspace.path().join("cluster-resources");
    let files = || -> Vec<(String, Digest)> {
        support::listing(&resources).into_iter().map(|(name, digest, _)| (name, digest)).collect()
    };
    let of_first = files();
    for sequence in [2, 3] {
        let from = history.from(&[sequence]);
        let options = ImportOptions { from, skip_pruning: true, ..bench.options() };
        importer::import(options).await.unwrap();
    }
    let last = tags(host).await;
    assert_ne!(of_first, files());

    let dry = importer::rollback(RollbackOptions { dry_run: true, ..options(&bench, 1) }).await;
    let dry = dry.unwrap();
    assert!(dry.dry_run && dry.missing.is_empty() && !dry.is_nothing(), "{dry:?}");
    assert_eq!(tags(host).await, last, "a dry run changes nothing");
    let done = back(&bench, 1).await.unwrap();
    assert_eq!((done.from, done.to, done.dry_run), (number(3), number(1), false));
    let set: Vec<_> = done.tags_back.iter().map(|tag| (tag.from, tag.to)).collect();
    assert_eq!(set, [(Some(history.digest("newest")), history.digest("old"))]);
    assert!(done.bytes_removed >= 900 + 300 + 300 && done.bytes_removed == dry.bytes_removed);
    // What only a tag that cannot go by itself names stays, and is told.
    let mut expected = first.clone();
    if deletes_tags {
        assert_eq!(done.removed, dry.removed);
        assert!(done.removed.left.is_empty(), "{done:?}");
    } else {
        expected.insert("app:again".to_owned(), history.digest("leaves"));
        assert_eq!(done.removed.left.len(), 1, "{done:?}");
    }
    assert_eq!(tags(host).await, expected);
    for (name, stays) in
        [("old", true), ("leaves", true), ("both", true), ("new", false), ("newest", false)]
    {
        assert_eq!(there(host, "app", history.digest(name)).await, stays, "{name}");
    }
    assert!(!there(host, "more", history.digest("comes")).await);
    assert_eq!(files(), of_first, "the files for clusters are those of the first sequence");
    assert!(done.receipt.as_ref().unwrap().exists());
    let again = back(&bench, 1).await.unwrap();
    assert!(again.tags_back.is_empty() && again.from == number(1), "{again:?}");
    assert_eq!(again.is_nothing(), deletes_tags);

    // From here on in order.
    assert!(gap(&history.import(&bench, &[3]).await));
    let (spec, written) = &history.last;
    let four = tempfile::tempdir().unwrap();
    let mut next = spec.next(written);
    let more = next.document(&[noise(9, 90)]);
    next.images.push(("more".to_owned(), Some("more".to_owned()), more));
    next.write(four.path());
    let from = vec![four.path().to_owned()];
    assert!(gap(&importer::import(ImportOptions { from, ..bench.options() }).await));
    let known = history.import(&bench, &[1]).await.unwrap();
    assert_eq!(known.sequences[0].outcome, Outcome::Known);
    let ahead = back(&bench, 3).await.unwrap_err();
    assert!(matches!(ahead, ImportError::Rollback(RollbackError::Ahead { .. })), "{ahead}");

    // Another workspace that has not heard of it imports the same media again.
    let imported = history.import(&bench, &[1, 2]).await.unwrap();
    assert_eq!(imported.sequences.last().unwrap().outcome, Outcome::Imported);
    history.import(&bench, &[2, 3]).await.unwrap();
    let from = vec![four.path().to_owned()];
    importer::import(ImportOptions { from, ..bench.options() }).await.unwrap();
    let mut at_last = last;
    at_last.retain(|name, _| name != "app:leaves" && name != "app:both");
    let mut found = tags(host).await;
    assert!(found.remove("more:more").is_some());
    if !deletes_tags {
        found.remove("app:leaves");
    }
    assert_eq!(found, at_last);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_is_what_an_earlier_sequence_left() {
    by_hand(&Running::start().await.host, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn distribution_is_what_an_earlier_sequence_left() {
    let Some(registry) = Distribution::start(true) else { return };
    by_hand(&registry.host, false).await;
}

/// What was removed since is named with its sequence, and nothing is begun before it is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_removed_since_comes_from_its_medium_first() {
    let registry = Running::start().await;
    let (history, bench) = (History::new(), Bench::new(&registry.host));
    history.import(&bench, &[1]).await.unwrap();
    let first = tags(&bench.host).await;
    history.import(&bench, &[2, 3]).await.unwrap();
    let last = tags(&bench.host).await;
    let refused = back(&bench, 1).await.unwrap();
    assert!(refused.dry_run && refused.media == [number(1)], "{refused:?}");
    let name = format!("{}/mirror/app@{}", bench.host, history.digest("old"));
    assert!(refused.missing.iter().any(|gone| gone.name == name), "{refused:?}");
    assert_eq!(tags(&bench.host).await, last);
    let from = history.from(&[1]);
    importer::import(ImportOptions { from, put_back: true, ..bench.options() }).await.unwrap();
    let done = back(&bench, 1).await.unwrap();
    assert!(!done.dry_run && done.missing.is_empty());
    assert_eq!(tags(&bench.host).await, first);
    // Content of what it left behind may be put back too; it moves nothing.
    let from = history.from(&[3]);
    importer::import(ImportOptions { from, put_back: true, ..bench.options() }).await.unwrap();
    assert_eq!(tags(&bench.host).await, first);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_is_said() {
    let registry = Running::start().await;
    let (history, bench) = (History::new(), Bench::new(&registry.host));
    let nothing = back(&bench, 1).await.unwrap_err();
    assert!(matches!(nothing, ImportError::NothingImported(_)), "{nothing}");
    history.import(&bench, &[1, 2]).await.unwrap();
    let ledger: Repository = "mirror/bundle-ledger".parse().unwrap();
    let stream = history.last.0.stream;
    let record = format!("sequence-{stream}-1").parse::<format_spec::Tag>().unwrap();
    client(&bench.host).delete_manifest(&bench.host, &ledger, &record.into()).await.unwrap();
    let unknown = back(&bench, 1).await.unwrap_err();
    let ImportError::Rollback(RollbackError::NoState { reason, .. }) = &unknown else {
        panic!("{unknown}")
    };
    assert!(reason.contains("on record are 2"), "{reason}");
    assert!(unknown.hint().unwrap().contains("bundle import --put-back --from DIR docker://"));
}

/// Two workspaces, and a target that is set back to before a rollback.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_copy_of_a_record_undoes_it_in_silence() {
    let registry = Running::start().await;
    let host = &registry.host;
    let (history, bench, other) = (History::new(), Bench::new(host), Bench::new(host));
    for sequence in 1..=3 {
        let from = history.from(&[sequence]);
        let options = ImportOptions { from, skip_pruning: true, ..bench.options() };
        importer::import(options).await.unwrap();
    }
    let stream = history.last.0.stream;
    let ledger: Repository = "mirror/bundle-ledger".parse().unwrap();
    let record = format!("stream-{stream}").parse::<format_spec::Tag>().unwrap().into();
    let before = client(host).get_manifest(host, &ledger, &record).await.unwrap();
    // By somebody else, over what the first workspace saw.
    back(&other, 2).await.unwrap();
    let imported = history.import(&bench, &[3, 2, 1]).await.unwrap();
    assert_eq!(imported.warnings, [""; 0]);
    let outcomes: Vec<_> = imported.sequences.iter().map(|one| one.outcome).collect();
    assert_eq!(outcomes, [Outcome::Known, Outcome::Imported]);
    // The second one has not heard of that; both know of the rollback.
    back(&other, 2).await.unwrap();
    // A target from before it is refused until somebody decides.
    let kind = before.media_type.clone();
    client(host).put_manifest(host, &ledger, &record, &kind, before.bytes).await.unwrap();
    for result in [
        history.import(&bench, &[3]).await.map(drop),
        importer::prune(importer::PruneOptions {
            target: support::target(host),
            workspace: bench.workspace.path().to_owned(),
            dry_run: true,
            max_nested_paths: 0,
            client: client(host),
            progress: Arc::new(Progress::default()),
            cancel: CancellationToken::new(),
        })
        .await
        .map(drop),
    ] {
        let Err(ImportError::Rollback(error @ RollbackError::Undone { .. })) = result else {
            panic!("{result:?}")
        };
        assert!(ImportError::from(error).hint().unwrap().contains("bundle rollback --to 3"));
    }
    // It is right as it is.
    back(&bench, 3).await.unwrap();
    assert_eq!(tag(host, "app", "moves").await, Some(history.digest("newest")));
    assert_eq!(history.import(&bench, &[3]).await.unwrap().sequences.len(), 1);
}

/// The way to the registry ends after every number of writes; the same command finishes what was begun, and until then
/// nothing else is done to the target.
async fn cut(host: impl AsyncFn() -> Option<RegistryHost>) {
    let mut begun = 0;
    for writes in 0.. {
        let Some(host) = host().await else { return };
        let (history, bench) = (History::new(), Bench::new(&host));
        history.import(&bench, &[1]).await.unwrap();
        let first = tags(&host).await;
        for sequence in [2, 3] {
            let from = history.from(&[sequence]);
            let options = ImportOptions { from, skip_pruning: true, ..bench.options() };
            importer::import(options).await.unwrap();
        }
        let last = tags(&host).await;
        let cut = Way::with(Rule::Writes(writes), &host).await;
        let through = Bench::new(&cut.host);
        let stopped = back(&through, 1).await.is_err();
        drop(cut);
        let now = tags(&host).await;
        match history.import(&bench, &[3]).await {
            Err(ImportError::Rollback(error @ RollbackError::Unfinished { .. })) => {
                let hint = ImportError::from(error).hint().unwrap();
                assert!(hint.contains("bundle rollback --to 1 --stream"), "{hint}");
                begun += 1;
            }
            // It had ended but for the files.
            Err(ImportError::Order { error: OrderError::Gap { .. }, .. }) => {}
            // It had not begun.
            Ok(_) => assert_eq!(now, last),
            Err(other) => panic!("{other}"),
        }
        back(&bench, 1).await.unwrap();
        let mut found = tags(&host).await;
        found.remove("app:again");
        assert_eq!(found, first, "after {writes} writes");
        history.import(&bench, &[2]).await.unwrap();
        if !stopped {
            println!("{writes} writes, {begun} of them between begin and end");
            break;
        }
    }
    assert!(begun >= 3, "{begun}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ended_anywhere_the_same_command_finishes() {
    // Held until the end of each round.
    let running = std::cell::RefCell::new(None);
    cut(async || {
        let registry = Running::start().await;
        let host = registry.host.clone();
        running.replace(Some(registry));
        Some(host)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn distribution_ended_anywhere_the_same_command_finishes() {
    let running = std::cell::RefCell::new(None);
    cut(async || {
        let registry = Distribution::start(true)?;
        let host = registry.host.clone();
        running.replace(Some(registry));
        Some(host)
    })
    .await;
}
