//! The page of a sequence tells nobody of a repository that they may not pull.

use format_spec::head::ContentClass::{Additional, Operator, Release};
use format_spec::head::Failure;
use registry::server::settings::Anonymous;

use super::*;
use crate::sequence_pages::Left;

const SCOPES: [&str; 2] = ["repository:bundle-ledger:pull", "repository:team/app:pull"];

fn left(ledger: &str) -> Left {
    let names = [
        ("secret/app", "v1", Release),
        ("team/app", "v1", Additional),
        ("secret/app", "v2", Operator),
        ("secret/other", "", Additional),
        ("team/app-secret", "v1", Additional),
    ];
    let mut left = Left::new(1, &names);
    left.ledger = ledger.to_owned();
    let class = Operator;
    let reference = "source.example/secret/lost:1".to_owned();
    left.head.failures = vec![Failure { reference, class, reason: "secret reason".to_owned() }];
    left
}

async fn shown(registry: &Registry, authorization: &str, path: &str) -> String {
    let answer = send_with(registry, Some(authorization), "GET", path).await;
    assert_eq!(answer.status(), 200, "{path}");
    answer.text().await.unwrap()
}

#[tokio::test]
async fn a_token_shows_what_it_grants_and_hints_at_nothing_else() {
    let registry = guarded(Anonymous::None).await;
    registry.image("secret/app", "v1", "layer").await;
    registry.image("team/app", "v1", "layer").await;
    let mut left = left("bundle-ledger");
    left.push(&registry).await;

    let root = basic("root", &password("root"));
    let all = shown(&registry, &root, &left.at()).await;
    for told in ["all 5", "release 1", "secret/app", "secret/other", "secret reason", "team/app"] {
        assert!(all.contains(told), "{told} in {all}");
    }
    let scoped = token(&registry, "root", &SCOPES).await;
    for query in
        ["", "?q=secret", "?only=release", "?only=additional&q=secret", "?from=1", "?q=app"]
    {
        let text = shown(&registry, &scoped, &format!("{}{query}", left.at())).await;
        let said = text.replace("value=\"secret\"", "").replace("q=secret", "");
        assert!(!said.contains("secret"), "{query}: {text}");
        assert!(!text.contains("release 1") && !text.contains("operator 1"), "{query}: {text}");
        assert!(text.contains("Left out"), "{text}");
    }
    let text = shown(&registry, &scoped, &left.at()).await;
    assert!(text.contains("all 1") && text.contains("href=\"/ui/repository/team/app\""), "{text}");
    // What is asked for and not granted, and what says nothing of the records.
    for scopes in [&SCOPES[1..], &["repository:bundle-ledger:push"], &[]] {
        let other = token(&registry, "root", scopes).await;
        let answer = send_with(&registry, Some(&other), "GET", &left.at()).await;
        assert_eq!(answer.status(), 404, "{scopes:?}");
        let list = shown(&registry, &other, "/ui/sequences").await;
        assert!(!list.contains("Sequence 1"), "{list}");
    }
    let only = token(&registry, "root", &SCOPES[..1]).await;
    let text = shown(&registry, &only, &left.at()).await;
    assert!(!text.contains("team/app") && !text.contains("all "), "{text}");
    assert_eq!(send_as(&registry, "puller", "GET", &left.at()).await.status(), 404);
    assert_eq!(send_as(&registry, "", "GET", &left.at()).await.status(), 401);
}

#[tokio::test]
async fn who_may_pull_a_namespace_sees_all_of_its_sequences() {
    let registry = guarded(Anonymous::None).await;
    let mut left = left("team/bundle-ledger");
    left.push(&registry).await;
    let puller = basic("puller", &password("puller"));
    let text = shown(&registry, &puller, &left.at()).await;
    assert!(text.contains("all 5") && text.contains("team/secret/app"), "{text}");
    assert!(text.contains("secret reason"), "{text}");
    assert!(shown(&registry, &puller, "/ui/sequences").await.contains(&left.at()));
    assert_eq!(send_as(&registry, "idle", "GET", &left.at()).await.status(), 404);
    // A token is of single repositories, so that nobody knows of which of them a failure speaks.
    let scoped = token(&registry, "puller", &["repository:team/bundle-ledger:pull"]).await;
    assert!(!shown(&registry, &scoped, &left.at()).await.contains("secret reason"));
}

#[tokio::test]
async fn rights_are_those_to_the_names_at_this_registry() {
    let registry = guarded(Anonymous::None).await;
    let mut left = Left::new(1, &[("deep/app", "v1", Additional)]);
    (left.ledger, left.nested) = ("team/bundle-ledger".to_owned(), 2);
    left.push(&registry).await;
    let ledger = "repository:team/bundle-ledger:pull";
    for (scope, seen) in
        [("repository:team/deep-app:pull", true), ("repository:team/deep/app:pull", false)]
    {
        let token = token(&registry, "puller", &[ledger, scope]).await;
        let text = shown(&registry, &token, &left.at()).await;
        assert_eq!(text.contains("deep"), seen, "{scope}: {text}");
    }
}

#[tokio::test]
async fn anybody_sees_all_where_anybody_may_pull() {
    let registry = guarded(Anonymous::Pull).await;
    let mut left = left("bundle-ledger");
    left.push(&registry).await;
    for authorization in [None, Some(basic("idle", &password("idle")))] {
        let answer = send_with(&registry, authorization.as_deref(), "GET", &left.at()).await;
        let text = answer.text().await.unwrap();
        assert!(text.contains("all 5") && text.contains("secret reason"), "{text}");
    }
}
