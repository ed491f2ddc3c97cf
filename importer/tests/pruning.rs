//! What left the configuration is removed from the target, and nothing that anything still reaches.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot be set up has failed, or says why it is skipped"
)]

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;

use format_spec::{Digest, Repository};
use importer::{AgainstOptions, ImportOptions};
use registry::progress::Progress;
use registry::reference::RegistryHost;
use support::{Bench, Distribution, Running, Spec, client, noise, prune, tag};
use tokio_util::sync::CancellationToken;

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
