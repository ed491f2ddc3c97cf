//! Pruning where the registry, the way to it or a person gets between.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot be set up has failed, or says why it is skipped"
)]

mod support;

use std::sync::Arc;

use format_spec::{Digest, Repository};
use importer::{ImportOptions, Outcome, PruneOptions, PruneReport};
use registry::progress::Progress;
use registry::reference::RegistryHost;
use support::{Bench, Distribution, Document, Rule, Running, Spec, Way, client, noise, tag};
use tokio_util::sync::CancellationToken;

async fn there(host: &RegistryHost, digest: Digest) -> bool {
    let repository: Repository = "mirror/app".parse().unwrap();
    client(host).head_manifest(host, &repository, &digest.into()).await.unwrap().is_some()
}

async fn prune(bench: &Bench) -> PruneReport {
    importer::prune(PruneOptions {
        target: support::target(&bench.host),
        workspace: bench.workspace.path().to_owned(),
        dry_run: false,
        max_nested_paths: 0,
        client: client(&bench.host),
        progress: Arc::new(Progress::default()),
        cancel: CancellationToken::new(),
    })
    .await
    .unwrap()
}

/// Two sequences, each on its medium. The second takes two names away; one image stays under a further one.
struct Leaving {
    media: [tempfile::TempDir; 2],
    gone: [Document; 2],
    stays: Document,
}

impl Leaving {
    fn new() -> Self {
        let media = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let mut one = Spec::new(1);
        let (alone, stays) = (one.document(&[noise(1, 900)]), one.document(&[noise(2, 900)]));
        let both = Spec::over(vec![alone.clone(), stays.clone()]);
        for (tag, document) in [("leaves", &both), ("also", &stays), ("stays", &stays)] {
            one.images.push(("app".to_owned(), Some(tag.to_owned()), document.clone()));
        }
        let written = one.write(media[0].path());
        let mut two = one.next(&written);
        let new = two.document(&[noise(3, 90)]);
        two.images.push(("app".to_owned(), Some("new".to_owned()), new));
        two.gone.push(("app".to_owned(), Some("leaves".to_owned()), both.digest()));
        two.gone.push(("app".to_owned(), Some("also".to_owned()), stays.digest()));
        two.write(media[1].path());
        Self { media, gone: [both, alone], stays }
    }

    fn options(&self, bench: &Bench, sequence: usize) -> ImportOptions {
        let from = vec![self.media[sequence - 1].path().to_owned()];
        ImportOptions { from, ..bench.options() }
    }

    /// `tags`: whether the registry takes them away by themselves.
    async fn has_left(&self, host: &RegistryHost, tags: bool) {
        for document in &self.gone {
            assert!(!there(host, document.digest()).await);
        }
        assert_eq!(tag(host, "app", "leaves").await, None);
        assert_eq!(tag(host, "app", "also").await.is_some(), !tags);
        assert_eq!(tag(host, "app", "stays").await, Some(self.stays.digest()));
        assert!(tag(host, "app", "new").await.is_some());
    }
}

/// Who may push and not delete keeps what left, and is told so; the import is done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_who_may_not_delete_keeps_it_and_is_told() {
    for (status, reason) in [
        (401, "the registry does not let these credentials delete"),
        (403, "the registry does not let these credentials delete"),
        (405, "the registry does not delete"),
    ] {
        let registry = Running::start().await;
        let (leaving, bench) = (Leaving::new(), Bench::new(&registry.host));
        importer::import(leaving.options(&bench, 1)).await.unwrap();
        let way = Way::with(Rule::Deletes(status), &registry.host).await;
        let through = Bench::new(&way.host);
        let imported = importer::import(leaving.options(&through, 2)).await.unwrap();
        let sequence = imported.sequences.last().unwrap();
        assert_eq!(sequence.outcome, Outcome::Imported, "{status}");
        let pruned = sequence.pruned.as_ref().unwrap();
        assert_eq!((pruned.tags, pruned.manifests), (0, 0), "{status}: {pruned:?}");
        // A registry that deletes nothing can say of a tag only that it does not go by itself.
        let whole = pruned.left.iter().filter(|left| left.name.contains('@'));
        let reasons: Vec<&str> = whole.map(|left| left.reason.as_str()).collect();
        assert_eq!(reasons, [reason; 2], "{status}: {pruned:?}");
        assert!(imported.warnings.iter().any(|told| told.contains("bundle prune docker://")));
        for document in &leaving.gone {
            assert!(there(&registry.host, document.digest()).await);
        }
        // Somebody who may removes it.
        prune(&bench).await;
        leaving.has_left(&registry.host, true).await;
    }
}

/// The way ends after every number of writes of the import that removes; run again, it is as if it had not.
async fn cut(tags: bool, start: impl AsyncFn() -> Option<RegistryHost>) {
    for writes in 0.. {
        let Some(host) = start().await else { return };
        let (leaving, bench) = (Leaving::new(), Bench::new(&host));
        importer::import(leaving.options(&bench, 1)).await.unwrap();
        let way = Way::with(Rule::Writes(writes), &host).await;
        let through = Bench::new(&way.host);
        println!("after {writes} writes");
        let stopped = importer::import(leaving.options(&through, 2)).await.is_err();
        drop(way);
        assert_eq!(tag(&host, "app", "stays").await, Some(leaving.stays.digest()));
        assert!(there(&host, leaving.stays.digest()).await);
        importer::import(leaving.options(&bench, 2)).await.unwrap();
        leaving.has_left(&host, tags).await;
        if !stopped {
            assert!(writes > 8);
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopped_anywhere_the_same_import_goes_on() {
    let running = std::cell::RefCell::new(None);
    cut(true, async || {
        let registry = Running::start().await;
        let host = registry.host.clone();
        running.replace(Some(registry));
        Some(host)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn distribution_stopped_anywhere_the_same_import_goes_on() {
    let running = std::cell::RefCell::new(None);
    cut(false, async || {
        let registry = Distribution::start(true)?;
        let host = registry.host.clone();
        running.replace(Some(registry));
        Some(host)
    })
    .await;
}

/// Content of an older medium comes by digest; the name that left does not, and pruning finds it again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_left_comes_back_by_digest_only() {
    let registry = Running::start().await;
    let host = &registry.host;
    let (leaving, bench) = (Leaving::new(), Bench::new(host));
    importer::import(leaving.options(&bench, 1)).await.unwrap();
    importer::import(leaving.options(&bench, 2)).await.unwrap();
    leaving.has_left(host, true).await;
    let options = ImportOptions { put_back: true, ..leaving.options(&bench, 1) };
    let back = importer::import(options).await.unwrap();
    assert_eq!(back.sequences[0].manifests_put, 2);
    for document in &leaving.gone {
        assert!(there(host, document.digest()).await);
    }
    for name in ["leaves", "also"] {
        assert_eq!(tag(host, "app", name).await, None);
    }
    let pruned = prune(&bench).await.pruned;
    assert_eq!((pruned.tags, pruned.manifests), (0, 2));
    leaving.has_left(host, true).await;
}
