//! Wire tests of listings, tags and referrers, against a scripted server.

use format_spec::Digest;

use super::pull_tests::repo;
use super::testing::{Reply, Scripted, client, options};
use super::*;
use crate::media_type::{OCI_INDEX, OCI_MANIFEST};

#[tokio::test]
async fn tags_are_read_page_by_page() {
    let server = Scripted::start(|seen| match &*seen.path {
        "/v2/team/app/tags/list?n=1000" => Reply::new(200)
            .with("Link", r#"</v2/team/app/tags/list?last=b>; rel="next""#)
            .body(r#"{"name":"team/app","tags":["a","b"]}"#),
        "/v2/team/app/tags/list?last=b" => {
            Reply::new(200).body(r#"{"tags":["b","c","not a tag"]}"#)
        }
        "/v2/empty/tags/list?n=1000" => Reply::new(200).body(r#"{"name":"empty","tags":null}"#),
        "/v2/circle/tags/list?n=1000" => {
            Reply::new(200).with("Link", r#"</v2/circle/tags/list?n=1000>; rel="next""#).body("{}")
        }
        "/v2/foreign/tags/list?n=1000" => {
            Reply::new(200).with("Link", r#"<http://192.0.2.1/v2/x>; rel="next""#).body("{}")
        }
        _ => Reply::new(404),
    })
    .await;
    let client = client(&[&server.host]);
    let list = |name: &str| {
        let (client, host, name) = (client.clone(), server.host.clone(), name.parse().unwrap());
        async move { client.list_tags(&host, &name).await }
    };
    let tags: Vec<_> =
        list("team/app").await.unwrap().unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(tags, ["a", "b", "c"]);
    assert_eq!(list("empty").await.unwrap(), Some(vec![]));
    assert_eq!(list("none").await.unwrap(), None);
    for name in ["circle", "foreign"] {
        assert_eq!(list(name).await.unwrap_err().kind(), ErrorKind::Protocol, "{name}");
    }
}

/// A list that is not whole in one short answer of the registry itself counts as none.
#[tokio::test]
async fn few_tags_are_all_or_nothing() {
    let server = Scripted::start(|seen| match &*seen.path {
        "/v2/team/app/tags/list?n=1000" => Reply::new(200).body(r#"{"tags":["a","b"]}"#),
        "/v2/pages/tags/list?n=1000" => Reply::new(200)
            .with("Link", r#"</v2/pages/tags/list?last=b>; rel="next""#)
            .body(r#"{"tags":["a","b"]}"#),
        "/v2/long/tags/list?n=1000" => {
            Reply::new(200).body(format!(r#"{{"tags":["a"],"x":"{}"}}"#, "y".repeat(300_000)))
        }
        "/v2/page/tags/list?n=1000" => Reply::new(200).body("<html>"),
        _ => Reply::new(404),
    })
    .await;
    let list = async |client: &Client, name: &str| {
        client.list_few_tags(&server.host, &name.parse().unwrap()).await
    };
    let direct = client(&[&server.host]);
    let tags = list(&direct, "team/app").await.unwrap();
    assert_eq!(tags.iter().map(ToString::to_string).collect::<Vec<_>>(), ["a", "b"]);
    for name in ["pages", "long", "page", "none"] {
        assert_eq!(list(&direct, name).await, None, "{name}");
    }
    let asked = server.seen().len();
    let dir = tempfile::tempdir().unwrap();
    let conf = format!("[[registry]]\nprefix='{0}/team'\nlocation='{0}/copy'", server.host);
    fs_err::write(dir.path().join("registries.conf"), conf).unwrap();
    let moved = Client::new(options(dir.path())).unwrap();
    assert_eq!(list(&moved, "team/app").await, None);
    assert_eq!(server.seen().len(), asked, "nobody was asked");
}

fn referrer(text: &str) -> String {
    let digest = Digest::of(text.as_bytes());
    format!(r#"{{"mediaType":"{OCI_MANIFEST}","digest":"{digest}","size":3,"artifactType":"a/b"}}"#)
}

#[tokio::test]
async fn referrers_come_from_the_api() {
    let subject = Digest::of(b"subject");
    let server = Scripted::start(move |seen| {
        let first = format!("/v2/team/app/referrers/{subject}");
        let reply = Reply::new(200).with("Content-Type", OCI_INDEX);
        let entry = referrer(if seen.path == first { "one" } else { "two" });
        let reply = reply.body(format!(r#"{{"schemaVersion":2,"manifests":[{entry}]}}"#));
        if seen.path == first {
            reply.with("Link", format!(r#"<{first}?page=2>; rel="next""#))
        } else {
            reply
        }
    })
    .await;
    let client = client(&[&server.host]);
    let list = client.referrers(&server.host, &repo(), &subject).await.unwrap().unwrap();
    assert_eq!(
        list.iter().map(|one| one.digest).collect::<Vec<_>>(),
        [Digest::of(b"one"), Digest::of(b"two")]
    );
    assert_eq!(list[0].artifact_type.as_deref(), Some("a/b"));
}

/// It counted as a registry without the API: what is attached stayed behind without a word.
#[tokio::test]
async fn a_redirect_of_referrers_is_not_their_absence() {
    let server = Scripted::start(|_| Reply::new(307).with("Location", "/login")).await;
    let client = client(&[&server.host]);
    let asked = client.referrers(&server.host, &repo(), &Digest::of(b"one")).await;
    assert_eq!(asked.unwrap_err().kind(), ErrorKind::Refused);
}

#[tokio::test]
async fn a_registry_without_the_referrers_api_is_asked_once() {
    let server = Scripted::start(|_| Reply::new(404).body("404 page not found")).await;
    let client = client(&[&server.host]);
    for subject in [b"one", b"two"] {
        let list = client.referrers(&server.host, &repo(), &Digest::of(subject)).await.unwrap();
        assert!(list.is_none());
    }
    let asked = server.lines().iter().filter(|line| line.contains("/referrers/")).count();
    assert_eq!(asked, 1, "{:?}", server.lines());
}
