//! Names are deleted at a target wholly, however often the way there ends, and nothing goes that another name needs.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot be set up has failed, or says why it is skipped"
)]

mod support;

use format_spec::{Digest, Repository};
use importer::{DeleteReport, ImportError, ImportOptions, RollbackError};
use registry::reference::RegistryHost;
use support::{
    Bench, Distribution, Document, Rule, Running, Spec, Way, client, delete, noise, prune, tag,
};

/// One sequence: an index and one of its children under names of their own, and something beside them.
struct Brought {
    medium: tempfile::TempDir,
    child: Document,
    index: Document,
    signature: Document,
    beside: Document,
}

impl Brought {
    fn new() -> Self {
        let medium = tempfile::tempdir().unwrap();
        let mut spec = Spec::new(1);
        let child = spec.document(&[noise(1, 900), noise(2, 300)]);
        let other = spec.document(&[noise(1, 900), noise(3, 300)]);
        let index = Spec::over(vec![child.clone(), other]);
        let signature = spec.document(&[noise(4, 90)]);
        let beside = spec.document(&[noise(5, 900)]);
        let of_index = format!("sha256-{}.sig", index.digest().hex());
        for (name, document) in
            [("child", &child), ("index", &index), (&of_index, &signature), ("beside", &beside)]
        {
            spec.images.push(("app".to_owned(), Some(name.to_owned()), document.clone()));
        }
        spec.write(medium.path());
        Self { medium, child, index, signature, beside }
    }

    async fn import(&self, bench: &Bench) -> Result<importer::Imported, ImportError> {
        let from = vec![self.medium.path().to_owned()];
        importer::import(ImportOptions { from, ..bench.options() }).await
    }
}

async fn there(host: &RegistryHost, digest: Digest) -> bool {
    let repository: Repository = "mirror/app".parse().unwrap();
    client(host).head_manifest(host, &repository, &digest.into()).await.unwrap().is_some()
}

async fn index(bench: &Bench) -> Result<DeleteReport, ImportError> {
    delete(bench, &["app:index".to_owned()]).await
}

/// What stands after the index is deleted.
async fn without_index(host: &RegistryHost, brought: &Brought, tags: bool) {
    assert!(!there(host, brought.index.digest()).await);
    assert!(!there(host, brought.signature.digest()).await);
    assert!(!there(host, brought.index.children[1].digest()).await);
    for (name, document) in [("child", &brought.child), ("beside", &brought.beside)] {
        assert_eq!(tag(host, "app", name).await, Some(document.digest()));
    }
    if tags {
        let repository: Repository = "mirror/app".parse().unwrap();
        let tags = client(host).list_tags(host, &repository).await.unwrap().unwrap();
        let tags: Vec<&str> = tags.iter().map(format_spec::Tag::as_str).collect();
        assert_eq!(tags, ["beside", "child"]);
    }
}

/// The way to the registry ends after every number of writes; the same command finishes.
async fn cut(tags: bool, host: impl AsyncFn() -> Option<RegistryHost>) {
    for writes in 0.. {
        let Some(host) = host().await else { return };
        let (brought, bench) = (Brought::new(), Bench::new(&host));
        brought.import(&bench).await.unwrap();
        let cut = Way::with(Rule::Writes(writes), &host).await;
        let through = Bench::new(&cut.host);
        let stopped = index(&through).await.is_err();
        drop(cut);
        // An import of the same in between brings nothing back that is written down as deleted.
        brought.import(&bench).await.unwrap();
        index(&bench).await.unwrap();
        without_index(&host, &brought, tags).await;
        assert!(index(&bench).await.unwrap().is_nothing());
        assert!(prune(&bench, false).await.pruned.is_nothing());
        if !stopped {
            println!("{writes} writes");
            assert!(writes > 3, "{writes}");
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ended_anywhere_the_same_command_finishes() {
    // Held until the end of each round.
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
async fn distribution_ended_anywhere_the_same_command_finishes() {
    let running = std::cell::RefCell::new(None);
    cut(false, async || {
        let registry = Distribution::start(true)?;
        let host = registry.host.clone();
        running.replace(Some(registry));
        Some(host)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_that_does_not_delete_keeps_it_and_the_names_are_gone() {
    let Some(registry) = Distribution::start(false) else { return };
    let (brought, bench) = (Brought::new(), Bench::new(&registry.host));
    brought.import(&bench).await.unwrap();
    let report = index(&bench).await.unwrap();
    assert!(!report.removed.left.is_empty() && report.names.len() == 2, "{report:?}");
    assert!(report.warnings.iter().any(|told| told.contains("bundle prune")), "{report:?}");
    assert!(there(&registry.host, brought.index.digest()).await);
    let again = index(&bench).await.unwrap();
    assert!(again.names.is_empty() && again.gone_before.len() == 1, "{again:?}");
}

/// Who may not list tags is told by some registries that there is no repository: tags of others may be there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_tags_are_hidden_nothing_is_removed() {
    let registry = Running::start().await;
    let (brought, bench) = (Brought::new(), Bench::new(&registry.host));
    brought.import(&bench).await.unwrap();
    let hiding = Way::with(Rule::Lists(404), &registry.host).await;
    let beside = ["app:beside".to_owned()];
    let report = delete(&Bench::new(&hiding.host), &beside).await.unwrap();
    assert!(report.names.len() == 1 && report.removed.is_nothing(), "{report:?}");
    assert!(report.warnings.iter().any(|told| told.contains("nothing is removed")), "{report:?}");
    assert!(there(&registry.host, brought.beside.digest()).await);
    let report = delete(&bench, &beside).await.unwrap();
    assert_eq!((report.removed.tags, report.removed.manifests), (1, 1), "{report:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_two_streams_named_goes_of_both_and_what_one_needs_stays() {
    let registry = Running::start().await;
    let host = &registry.host;
    let (brought, bench) = (Brought::new(), Bench::new(host));
    brought.import(&bench).await.unwrap();
    let medium = tempfile::tempdir().unwrap();
    let mut spec = Spec::new(1);
    spec.stream = format_spec::StreamId::from_bytes([9; 16]);
    let child = spec.document(&[noise(1, 900), noise(2, 300)]);
    assert_eq!(child.digest(), brought.child.digest());
    for name in ["child", "mine"] {
        spec.images.push(("app".to_owned(), Some(name.to_owned()), child.clone()));
    }
    spec.write(medium.path());
    let from = vec![medium.path().to_owned()];
    importer::import(ImportOptions { from, new_stream: true, ..bench.options() }).await.unwrap();
    let report = delete(&bench, &["app:child".to_owned()]).await.unwrap();
    assert_eq!((report.removed.tags, report.removed.manifests), (1, 0), "{report:?}");
    assert_eq!(tag(host, "app", "child").await, None);
    assert_eq!(tag(host, "app", "mine").await, Some(child.digest()));
    // By its digest every name that stands for it is meant.
    let by_digest = format!("app@{}", child.digest());
    let report = delete(&bench, &[by_digest]).await.unwrap();
    assert_eq!(report.removed.tags, 1, "{report:?}");
    // The index still needs it.
    assert!(there(host, child.digest()).await);
    // Somebody else's tag, and another digest than was said, stay.
    let other = format!("app:beside@{}", child.digest());
    let report = delete(&bench, &["app:own".to_owned(), other]).await.unwrap();
    assert!(report.is_nothing() && report.not_here.len() == 2, "{report:?}");
    assert!(tag(host, "app", "beside").await.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_cannot_be_read_stops_everything() {
    let registry = Running::start().await;
    let (brought, bench) = (Brought::new(), Bench::new(&registry.host));
    let nothing = index(&bench).await.unwrap_err();
    assert!(matches!(nothing, ImportError::NothingImported(_)), "{nothing}");
    brought.import(&bench).await.unwrap();
    index(&bench).await.unwrap();
    // What somebody wrote into its place.
    let (client, host) = (client(&registry.host), &registry.host);
    let ledger: Repository = "mirror/bundle-ledger".parse().unwrap();
    let tags = client.list_tags(host, &ledger).await.unwrap().unwrap();
    let of =
        |prefix: &str| tags.iter().find(|tag| tag.as_str().starts_with(prefix)).unwrap().clone();
    let raw = client.get_manifest(host, &ledger, &of("stream-").into()).await.unwrap();
    let (kind, bytes) = (&raw.media_type, raw.bytes.clone());
    client.put_manifest(host, &ledger, &of("deleted-").into(), kind, bytes).await.unwrap();
    for result in [index(&bench).await.map(drop), brought.import(&bench).await.map(drop)] {
        let error = result.unwrap_err();
        assert!(matches!(error, ImportError::Record { .. }), "{error}");
        assert!(!matches!(error, ImportError::Rollback(RollbackError::Undone { .. })));
    }
}
