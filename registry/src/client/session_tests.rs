//! Wire tests of tokens, redirects and retries, against a scripted server.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::pull_tests::*;
use super::testing::{Reply, Scripted, client, options};
use super::*;

#[tokio::test]
async fn one_token_serves_many_requests_and_carries_the_scope() {
    let server = Scripted::start_with(true, |seen| guarded(seen, "t1", |_| manifest())).await;
    let client = client(&[&server.host]);
    let (repo, one) = (repo(), tag("1"));
    let pulls = (0..8).map(|_| client.get_manifest(&server.host, &repo, &one));
    for pulled in futures_util::future::join_all(pulls).await {
        assert_eq!(pulled.unwrap().digest, Digest::of(MANIFEST.as_bytes()));
    }
    let tokens: Vec<_> =
        server.seen().into_iter().filter(|seen| seen.path.starts_with("/token")).collect();
    assert_eq!(tokens.len(), 1, "{tokens:?}");
    assert_eq!(
        tokens[0].path,
        "/token?service=test&scope=repository%3Ateam%2Fapp%3Apull&account=user"
    );
    assert_eq!(tokens[0].header("authorization"), "Basic dXNlcjpwYXNzd29yZA==");
    client.ping(&server.host).await.unwrap();
}

/// Some registries let everybody in at `/v2/` and ask at the first image: all requests of that moment were refused
/// but the one that learnt the challenge first.
#[tokio::test]
async fn requests_that_are_asked_for_a_login_at_one_time_all_log_in() {
    for basic in [false, true] {
        let server = Scripted::start_with(true, move |seen| match &*seen.path {
            "/v2/" => Reply::new(200),
            _ if !basic => guarded(seen, "t1", |_| manifest()),
            _ if seen.header("authorization").is_empty() => {
                Reply::new(401).with("WWW-Authenticate", "Basic realm=x")
            }
            _ => manifest(),
        })
        .await;
        let client = client(&[&server.host]);
        client.ping(&server.host).await.unwrap();
        let (repo, one) = (repo(), tag("1"));
        let pulls = (0..8).map(|_| client.get_manifest(&server.host, &repo, &one));
        for pulled in futures_util::future::join_all(pulls).await {
            pulled.unwrap();
        }
    }
}

#[tokio::test]
async fn a_token_that_ends_midway_is_replaced() {
    let count = AtomicUsize::new(0);
    let server = Scripted::start_with(true, move |seen| {
        // The third request that is let in meets a registry that has forgotten the token.
        let number = count.load(Ordering::SeqCst);
        guarded(seen, if number < 2 { "t1" } else { "t2" }, |_| {
            count.fetch_add(1, Ordering::SeqCst);
            manifest()
        })
    })
    .await;
    let client = client(&[&server.host]);
    for _ in 0..4 {
        client.get_manifest(&server.host, &repo(), &tag("1")).await.unwrap();
    }
    let lines = server.lines();
    assert_eq!(lines.iter().filter(|line| line.starts_with("GET /token")).count(), 2, "{lines:?}");
}

#[tokio::test]
async fn refused_credentials_name_file_and_key_but_not_the_password() {
    let server =
        Scripted::start_with(true, |_| Reply::new(401).with("WWW-Authenticate", "Basic realm=x"))
            .await;
    let client = client(&[&server.host]);
    let error = client.get_manifest(&server.host, &repo(), &tag("1")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Credentials);
    let text = format!("{error} {error:?} {:?}", error.hint());
    assert!(text.contains("auth.json") && text.contains(server.host.as_str()), "{text}");
    assert!(!text.contains("password\"") && !text.contains("dXNlcjpwYXNzd29yZA"), "{text}");
    assert_eq!(server.lines().len(), 1, "401 is not retried with the same password");
    let error = client.ping(&server.host).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Credentials);
}

#[tokio::test]
async fn an_identity_token_is_traded_by_post() {
    let server = Scripted::start_with(true, |seen| match (&*seen.method, &seen.body) {
        ("POST", None) => Reply::ReadBody,
        ("POST", Some(_)) => Reply::new(200).body(r#"{"access_token":"t1"}"#),
        ("GET", _) if seen.path.starts_with("/token") => Reply::new(400),
        _ => guarded(seen, "t1", |_| manifest()),
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let auth = serde_json::json!({"auths": {server.host.as_str(): {"identitytoken": "a+b&c"}}});
    fs_err::write(dir.path().join("auth.json"), auth.to_string()).unwrap();
    let mut options = options(dir.path());
    options.plain_http = vec![server.host.clone()];
    let client = Client::new(options).unwrap();
    client.get_manifest(&server.host, &repo(), &tag("1")).await.unwrap();
    let post = server.seen().into_iter().find(|seen| seen.method == "POST").unwrap();
    assert_eq!(
        String::from_utf8(post.body.unwrap()).unwrap(),
        "grant_type=refresh_token&client_id=bundle&refresh_token=a%2Bb%26c&service=test&\
         scope=repository%3Ateam%2Fapp%3Apull"
    );
    assert!(!post.path.contains("a%2Bb"), "no secret in a URL");
}

/// CVE-2020-15157, GHSA-vh4v-2xq2-g5cg: nothing secret leaves the registry's origin.
#[tokio::test]
async fn an_unsafe_realm_gets_nothing() {
    let server = Scripted::start_with(true, |_| {
        Reply::new(401).with("WWW-Authenticate", r#"Bearer realm="http://192.0.2.1/token""#)
    })
    .await;
    let client = client(&[&server.host]);
    let error = client.get_manifest(&server.host, &repo(), &tag("1")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol, "{error}");
    assert!(error.to_string().contains("`http://192.0.2.1`"), "{error}");
    assert!(error.to_string().contains("another host by plain HTTP"), "{error}");
    assert!(error.hint().unwrap().contains("https"), "{error}");
}

/// The target of a redirect got no credentials: its 401 or 403 is not about ours, and what it asks for
/// is not given.
#[tokio::test]
async fn a_refusal_by_a_redirects_target_is_its_own() {
    for status in [401, 403] {
        let store = Scripted::start(move |seen| {
            let realm = format!("http://{}/token", seen.header("host"));
            Reply::new(status).with("WWW-Authenticate", format!("Bearer realm=\"{realm}\""))
        })
        .await;
        let target = format!("http://{}/store?signature=s3cret", store.host);
        let server = Scripted::start_with(true, move |seen| {
            guarded(seen, "t1", |seen| match seen.path.contains("/blobs/") {
                true => Reply::new(307).with("Location", &target),
                false => manifest(),
            })
        })
        .await;
        let client = client(&[&server.host]);
        let digest = Digest::of(b"");
        let error = client.get_blob(&server.host, &repo(), &digest, 9, 0).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
        let text = format!("{error} {:?}", error.hint());
        let named = format!("`{}`, where `{}` redirected, refused", store.host, server.host);
        assert!(text.contains(&named) && !text.contains("auth.json"), "{text}");
        assert!(!text.contains("podman login") && !text.contains("s3cret"), "{text}");
        assert_eq!(store.lines(), ["GET /store?signature=s3cret"], "no token is asked for");
        assert_eq!(store.seen()[0].header("authorization"), "");
        // What was known of the registry still holds, its token included.
        client.get_manifest(&server.host, &repo(), &tag("1")).await.unwrap();
        let lines = server.lines();
        assert_eq!(lines.iter().filter(|line| line.contains("/token")).count(), 1, "{lines:?}");
    }
}

#[tokio::test]
async fn a_redirect_over_plain_http_to_another_host_is_refused() {
    let server =
        Scripted::start(|_| Reply::new(307).with("Location", "http://192.0.2.1:9000/x?k=s3")).await;
    let client = client(&[&server.host]);
    let digest = Digest::of(b"");
    let error = client.get_blob(&server.host, &repo(), &digest, 9, 0).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol, "{error}");
    let named = format!("from `http://{}` to `http://192.0.2.1:9000`", server.host);
    assert!(error.to_string().contains(&named) && !error.to_string().contains("s3"), "{error}");
    let hint = error.hint().unwrap();
    assert!(hint.contains("`--plain-http 192.0.2.1:9000`") && hint.contains("https"), "{hint}");
}

/// To the system 0.0.0.0 is this machine, to the rules a host like any other.
#[tokio::test]
async fn a_store_on_plain_http_is_followed_when_it_is_named_and_gets_no_credentials() {
    let proxied = ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"];
    if proxied.iter().any(|name| std::env::var_os(name).is_some()) {
        println!("skipped: a proxy stands before every host that is not loopback");
        return;
    }
    let body = content(1000);
    let served = body.clone();
    let store = Scripted::start(move |_| Reply::new(200).body(served.clone())).await;
    let port = store.host.port().unwrap();
    let target = format!("http://0.0.0.0:{port}/store?signature=s3cret");
    let server = Scripted::start_with(true, move |seen| {
        if seen.header("authorization").is_empty() {
            return Reply::new(401).with("WWW-Authenticate", "Basic");
        }
        Reply::new(307).with("Location", &target)
    })
    .await;
    let digest = Digest::of(&body);
    // Named is the host with its port, not the host.
    for other in ["0.0.0.0", "0.0.0.0:1"] {
        let client = client(&[&server.host, &other.parse().unwrap()]);
        let error = client.get_blob(&server.host, &repo(), &digest, 1000, 0).await.unwrap_err();
        let flag = format!("`--plain-http 0.0.0.0:{port}`");
        assert!(matches!(error.fault(), Fault::Redirect { .. }), "{error}");
        assert!(error.hint().unwrap().contains(&flag), "{:?}", error.hint());
    }
    assert!(store.seen().is_empty());
    let client = client(&[&server.host, &format!("0.0.0.0:{port}").parse().unwrap()]);
    let stream = client.get_blob(&server.host, &repo(), &digest, 1000, 0).await.unwrap();
    assert_eq!(all(stream).await.unwrap(), body);
    let seen = store.seen();
    assert_eq!((seen.len(), seen[0].header("authorization")), (1, ""));
}

#[tokio::test]
async fn a_host_that_is_named_without_a_port_is_spoken_to_by_plain_http_on_every_port() {
    let proxied = ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"];
    if proxied.iter().any(|name| std::env::var_os(name).is_some()) {
        println!("skipped: a proxy stands before every host that is not loopback");
        return;
    }
    let server = Scripted::start(|_| Reply::new(200)).await;
    let port = server.host.port().unwrap();
    let host = format!("0.0.0.0:{port}").parse().unwrap();
    for (named, spoken) in [("0.0.0.0", true), ("0.0.0.0:1", false)] {
        let client = client(&[&named.parse().unwrap()]);
        assert_eq!(client.ping(&host).await.is_ok(), spoken, "{named}");
    }
}

#[tokio::test]
async fn redirects_of_blobs_lose_the_authorization() {
    let body = content(1000);
    let store = Scripted::start({
        let body = body.clone();
        move |_| Reply::new(200).body(body.clone())
    })
    .await;
    let target = format!("http://{}/store?signature=s3cret", store.host);
    let server = Scripted::start_with(true, move |seen| {
        if seen.header("authorization").is_empty() {
            return Reply::new(401).with("WWW-Authenticate", "Basic");
        }
        Reply::new(307).with("Location", &target)
    })
    .await;
    let client = client(&[&server.host, &store.host]);
    let digest = Digest::of(&body);
    let stream = client.get_blob(&server.host, &repo(), &digest, 1000, 0).await.unwrap();
    assert_eq!(all(stream).await.unwrap(), body);
    let seen = store.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].header("authorization"), "");
    assert!(server.seen().iter().any(|seen| !seen.header("authorization").is_empty()));
}

#[tokio::test]
async fn redirects_end_and_do_not_go_round() {
    let server = Scripted::start(|seen| {
        Reply::new(302).with("Location", if seen.path.contains("x") { "y" } else { "x" })
    })
    .await;
    let client = client(&[&server.host]);
    let digest = Digest::of(b"");
    let error = client.get_blob(&server.host, &repo(), &digest, 9, 0).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol);
    assert_eq!(server.seen().len(), crate::limits::REDIRECTS_MAX + 1);
    for bad in ["file:///etc/passwd", "ftp://x/", "http://u:p@127.0.0.1/"] {
        let server = Scripted::start(move |_| Reply::new(302).with("Location", bad)).await;
        let client = testing::client(&[&server.host]);
        let error = client.get_blob(&server.host, &repo(), &digest, 9, 0).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Protocol, "{bad}: {error}");
    }
}

#[tokio::test]
async fn busy_registries_are_asked_again() {
    let count = AtomicUsize::new(0);
    let server = Scripted::start(move |_| match count.fetch_add(1, Ordering::SeqCst) {
        0 => Reply::new(429).with("Retry-After", "0"),
        1 => Reply::new(503),
        2 => Reply::CutAfter(0),
        _ => manifest(),
    })
    .await;
    let client = client(&[&server.host]);
    client.get_manifest(&server.host, &repo(), &tag("1")).await.unwrap();
    assert_eq!(client.counters().totals().retries, 3);
    assert_eq!(server.seen().len(), 4);
}

#[tokio::test]
async fn retries_end_and_are_counted_in_the_error() {
    let server = Scripted::start(|_| Reply::new(502)).await;
    let client = client(&[&server.host]);
    let error = client.get_manifest(&server.host, &repo(), &tag("1")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("tried 4 times"), "{error}");
    let expected = format!("{}/team/app:1", server.host);
    assert!(error.to_string().contains(&expected), "{error}");
}

#[tokio::test]
async fn what_is_refused_is_not_asked_again() {
    for (status, kind) in [
        (403, ErrorKind::Credentials),
        (404, ErrorKind::NotFound),
        (418, ErrorKind::Refused),
        (507, ErrorKind::Full),
        (400, ErrorKind::Refused),
    ] {
        let server = Scripted::start(move |_| {
            Reply::new(status).body(r#"{"errors":[{"code":"DENIED","message":"m"}]}"#)
        })
        .await;
        let client = client(&[&server.host]);
        let error = client.get_manifest(&server.host, &repo(), &tag("1")).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{status}");
        assert_eq!(server.seen().len(), 1, "{status}");
        assert!(error.to_string().contains("DENIED: m"), "{error}");
    }
}

#[tokio::test]
async fn a_faulty_head_is_not_asked_for_again() {
    let digest = Digest::of(b"x");
    for reply in [Reply::new(99), Reply::new(200).with("Content-Length", "5")] {
        let shown = format!("{reply:?}");
        let server = Scripted::start(move |_| reply.clone()).await;
        let client = client(&[&server.host]);
        // One goes straight over its connection, the other one does not.
        let blob = client.get_blob(&server.host, &repo(), &digest, 1, 0).await.unwrap_err();
        let manifest = client.get_manifest(&server.host, &repo(), &tag("1")).await.unwrap_err();
        for error in [blob, manifest] {
            assert_eq!(error.kind(), ErrorKind::Protocol, "{shown}: {error}");
            let named = format!("the head that `{}` sent is faulty: ", server.host);
            assert!(error.to_string().contains(&named), "{error}");
            assert!(error.hint().unwrap().contains("proxy"), "{error}");
        }
        assert_eq!(server.seen().len(), 2, "{shown}");
    }
}
