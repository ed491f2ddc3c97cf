//! Wire tests of pulls, tokens and mirrors, against a scripted server.

use std::sync::atomic::{AtomicUsize, Ordering};

use format_spec::{Digest, Repository};

use super::testing::{Reply, Scripted, Seen, client, options};
use super::*;
use crate::media_type::{OCI_INDEX, OCI_MANIFEST};

pub(super) fn repo() -> Repository {
    "team/app".parse().unwrap()
}

pub(super) fn tag(text: &str) -> ManifestRef {
    ManifestRef::Tag(text.parse().unwrap())
}

const MANIFEST: &str = r#"{"schemaVersion":2,"manifests":[]}"#;

pub(super) fn manifest() -> Reply {
    Reply::new(200).with("Content-Type", OCI_INDEX).body(MANIFEST)
}

/// A registry with a token server under `/token` of the same host; `valid` is the token it takes now.
pub(super) fn guarded(seen: &Seen, valid: &str, inner: impl Fn(&Seen) -> Reply) -> Reply {
    if seen.path.starts_with("/token") {
        return Reply::new(200).body(format!(r#"{{"token":"{valid}","expires_in":300}}"#));
    }
    if seen.header("authorization") == format!("Bearer {valid}") {
        return inner(seen);
    }
    let realm = format!(r#"Bearer realm="http://{}/token",service="test""#, seen.header("host"));
    Reply::new(401).with("WWW-Authenticate", realm)
}

async fn all(mut stream: BlobStream) -> Result<Vec<u8>, ClientError> {
    let (mut body, mut piece) = (Vec::new(), vec![0; 10_000]);
    loop {
        match stream.read(&mut piece).await? {
            0 => return Ok(body),
            read => body.extend_from_slice(&piece[..read]),
        }
    }
}

fn content(length: usize) -> Vec<u8> {
    (0..length).map(|n| u8::try_from(n * 7 % 251).unwrap()).collect()
}

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

/// GHSA-qv35-3gw6-8q4j: the registry's word about a digest is worth nothing. By tag, a word that does not
/// fit the bytes says that one of both was changed; by digest, the bytes prove themselves.
#[tokio::test]
async fn manifests_are_hashed_whatever_the_registry_says() {
    let wanted = Digest::of(b"something else");
    let server = Scripted::start(move |_| manifest().with("Docker-Content-Digest", wanted)).await;
    let client = client(&[&server.host]);
    let error = client.get_manifest(&server.host, &repo(), &wanted.into()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Damaged);
    let error = client.get_manifest(&server.host, &repo(), &tag("1")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Damaged);
    let true_one = Digest::of(MANIFEST.as_bytes());
    let raw = client.get_manifest(&server.host, &repo(), &true_one.into()).await.unwrap();
    assert_eq!((raw.digest, &raw.bytes[..]), (true_one, MANIFEST.as_bytes()));
}

#[tokio::test]
async fn a_manifest_needs_no_word_about_its_digest() {
    let server = Scripted::start(|_| manifest()).await;
    let client = client(&[&server.host]);
    let raw = client.get_manifest(&server.host, &repo(), &tag("1")).await.unwrap();
    assert_eq!(raw.digest, Digest::of(MANIFEST.as_bytes()));
    assert_eq!(raw.media_type, OCI_INDEX);
}

#[tokio::test]
async fn manifests_without_a_type_are_looked_at_and_large_ones_refused() {
    let server = Scripted::start(|seen| match &*seen.path {
        "/v2/team/app/manifests/html" => {
            Reply::new(200).with("Content-Type", "text/html").body("<html>")
        }
        "/v2/team/app/manifests/large" => Reply::new(200).announcing(1 << 40),
        "/v2/team/app/manifests/text" => Reply::new(200).body("hello"),
        _ => Reply::new(200)
            .with("Content-Type", "text/plain; charset=utf-8")
            .body(r#"{"schemaVersion":2,"config":{},"layers":[]}"#),
    })
    .await;
    let client = client(&[&server.host]);
    let raw = client.get_manifest(&server.host, &repo(), &tag("1")).await.unwrap();
    assert_eq!(raw.media_type, OCI_MANIFEST);
    let raw = client.get_manifest(&server.host, &repo(), &tag("html")).await.unwrap();
    assert!(raw.parse().is_err());
    for name in ["large", "text"] {
        let error = client.get_manifest(&server.host, &repo(), &tag(name)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Protocol, "{name}: {error}");
    }
}

#[tokio::test]
async fn heads_answer_without_content() {
    let server = Scripted::start(|seen| match (&*seen.method, &*seen.path) {
        ("HEAD", "/v2/team/app/manifests/1") => {
            manifest().with("Docker-Content-Digest", Digest::of(MANIFEST.as_bytes()))
        }
        ("HEAD", "/v2/team/app/manifests/nohead") => Reply::new(405),
        ("GET", "/v2/team/app/manifests/nohead") => manifest(),
        ("HEAD", path) if path.contains("/blobs/") && path.ends_with('5') => {
            Reply::new(200).announcing(77)
        }
        _ => Reply::new(404),
    })
    .await;
    let client = client(&[&server.host]);
    let expected = ManifestHead {
        digest: Some(Digest::of(MANIFEST.as_bytes())),
        size: Some(MANIFEST.len() as u64),
        media_type: Some(OCI_INDEX.into()),
    };
    for name in ["1", "nohead"] {
        let head = client.head_manifest(&server.host, &repo(), &tag(name)).await.unwrap();
        assert_eq!(head.as_ref(), Some(&expected), "{name}");
    }
    assert_eq!(client.head_manifest(&server.host, &repo(), &tag("2")).await.unwrap(), None);
    let there = Digest::of(b"");
    assert!(there.hex().ends_with('5'));
    assert_eq!(client.head_blob(&server.host, &repo(), &there).await.unwrap(), Some(Some(77)));
    let gone = Digest::of(b"x");
    assert!(!gone.hex().ends_with('5'));
    assert_eq!(client.head_blob(&server.host, &repo(), &gone).await.unwrap(), None);
}

/// Serves `body` by ranges, breaking every answer after `step` bytes.
fn breaking(body: Vec<u8>, step: usize, ranges: bool) -> impl Fn(&Seen) -> Reply {
    let count = AtomicUsize::new(0);
    move |seen| {
        let from: usize = seen
            .header("range")
            .strip_prefix("bytes=")
            .and_then(|range| range.strip_suffix('-'))
            .map_or(0, |from| from.parse().unwrap());
        let number = count.fetch_add(1, Ordering::SeqCst);
        let (start, reply) = if from > 0 && ranges {
            let range = format!("bytes {from}-{}/{}", body.len() - 1, body.len());
            (from, Reply::new(206).with("Content-Range", range))
        } else {
            (0, Reply::new(200))
        };
        let end = if ranges { start + step } else { step * (number + 1) };
        let end = end.min(body.len());
        reply.body(&body[start..end]).announcing((body.len() - start) as u64)
    }
}

#[tokio::test]
async fn a_broken_download_goes_on_where_it_stopped() {
    let body = content(100_000);
    let server = Scripted::start(breaking(body.clone(), 7_000, true)).await;
    let client = client(&[&server.host]);
    let digest = Digest::of(&body);
    let size = body.len() as u64;
    // More breaks than tries: progress gives the tries back.
    let stream = client.get_blob(&server.host, &repo(), &digest, size, 0).await.unwrap();
    assert_eq!(all(stream).await.unwrap(), body);
    assert_eq!(client.counters().totals().received, size, "no byte twice");
    let stream = client.get_blob(&server.host, &repo(), &digest, size, 60_000).await.unwrap();
    assert_eq!(all(stream).await.unwrap(), body[60_000..]);
    let stream = client.get_blob(&server.host, &repo(), &digest, size, size).await.unwrap();
    assert_eq!(all(stream).await.unwrap(), b"");
    let whole = client.get_blob_bytes(&server.host, &repo(), &digest, size, size).await.unwrap();
    assert_eq!(whole, body);
}

#[tokio::test]
async fn a_registry_without_ranges_starts_over_unseen() {
    let body = content(50_000);
    let server = Scripted::start(breaking(body.clone(), 20_000, false)).await;
    let client = client(&[&server.host]);
    let digest = Digest::of(&body);
    let stream = client.get_blob(&server.host, &repo(), &digest, 50_000, 0).await.unwrap();
    assert_eq!(all(stream).await.unwrap(), body);
    assert_eq!(server.seen().len(), 3);
}

#[tokio::test]
async fn a_stalled_download_goes_on() {
    let body = content(1000);
    let count = AtomicUsize::new(0);
    let served = body.clone();
    let server = Scripted::start(move |seen| match count.fetch_add(1, Ordering::SeqCst) {
        0 => Reply::Hang(served[..400].to_vec(), 1000),
        _ => breaking(served.clone(), 1000, true)(seen),
    })
    .await;
    let client = stalling(&server, Duration::from_millis(200), 3);
    let digest = Digest::of(&body);
    let stream = client.get_blob(&server.host, &repo(), &digest, 1000, 0).await.unwrap();
    assert_eq!(all(stream).await.unwrap(), body);
    assert_eq!(server.seen()[1].header("range"), "bytes=400-");
}

/// A client with these limits.
fn stalling(server: &Scripted, stall: Duration, times: u32) -> Client {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path());
    options.plain_http = vec![server.host.clone()];
    (options.stall, options.retry.times) = (stall, times);
    Client::new(options).unwrap()
}

/// A byte now and then set the clock back for ever, and each try that brought a byte gave all tries back.
#[tokio::test]
async fn a_drip_is_a_stall_and_its_bytes_do_not_give_the_tries_back() {
    let body = content(100_000);
    let ranges = breaking(body.clone(), body.len(), true);
    let server = Scripted::start(move |seen| {
        let reply = if seen.path.contains("/blobs/") { ranges(seen) } else { manifest() };
        reply.slowly(1, Duration::from_millis(20))
    })
    .await;
    let client = stalling(&server, Duration::from_millis(300), 2);
    let digest = Digest::of(&body);
    let all_of_it = async {
        let stream = client.get_blob(&server.host, &repo(), &digest, 100_000, 0).await.unwrap();
        let blob = all(stream).await.unwrap_err();
        [blob, client.get_manifest(&server.host, &repo(), &tag("1")).await.unwrap_err()]
    };
    let errors = tokio::time::timeout(Duration::from_secs(20), all_of_it).await.unwrap();
    for error in errors {
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        let Fault::Stalled { moved, .. } = error.fault() else { panic!("{error}") };
        assert!((1..100).contains(moved), "{error}");
        assert!(error.to_string().ends_with("(tried 3 times)"), "{error}");
    }
    let lines = server.lines();
    assert_eq!(lines.iter().filter(|line| line.contains("/blobs/")).count(), 3, "{lines:?}");
    assert_eq!(lines.len(), 6, "{lines:?}");
}

/// Longer than the limit as a whole, and never near it within a window.
#[tokio::test]
async fn a_slow_line_and_a_slow_reader_are_no_stall() {
    let body = content(128 * 1024);
    let served = body.clone();
    let server = Scripted::start(move |seen| match seen.path.contains("/blobs/") {
        true => Reply::new(200).body(served.clone()).slowly(8 * 1024, Duration::from_millis(100)),
        // A small body may be slow too, if it ends.
        false => manifest().slowly(8, Duration::from_millis(50)),
    })
    .await;
    let client = stalling(&server, Duration::from_secs(1), 0);
    let (digest, size) = (Digest::of(&body), body.len() as u64);
    let found = client.get_blob_bytes(&server.host, &repo(), &digest, size, size).await.unwrap();
    assert_eq!(found, body);
    client.get_manifest(&server.host, &repo(), &tag("1")).await.unwrap();
    // The reader's own pauses do not count: each is longer than the limit.
    let mut stream = client.get_blob(&server.host, &repo(), &digest, size, 0).await.unwrap();
    let mut got = 0;
    for _ in 0..2 {
        got += stream.read(&mut [0; 8192]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1200)).await;
    }
    assert_eq!(got + all(stream).await.unwrap().len(), body.len());
}

#[tokio::test]
async fn blobs_of_another_size_or_digest_are_damaged() {
    let body = content(1000);
    let digest = Digest::of(&body);
    let page = b"<html>please log in</html>".to_vec();
    for wrong in [page, [body.clone(), vec![0]].concat()] {
        let server = Scripted::start(move |_| Reply::new(200).body(wrong.clone())).await;
        let client = client(&[&server.host]);
        let error = client.get_blob(&server.host, &repo(), &digest, 1000, 0).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Damaged, "{error}");
    }
    let mut other = body.clone();
    other[500] ^= 1;
    let server = Scripted::start(move |_| Reply::new(200).body(other.clone())).await;
    let client = client(&[&server.host]);
    let error = client.get_blob_bytes(&server.host, &repo(), &digest, 1000, 1000).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Damaged);
    let error = client.get_blob_bytes(&server.host, &repo(), &digest, 1000, 999).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Protocol);
}

#[tokio::test]
async fn a_wrong_range_is_not_taken() {
    for range in ["bytes 0-999/1000", "bytes 401-999/1000", "nonsense"] {
        let server = Scripted::start(move |_| {
            Reply::new(206).with("Content-Range", range).body(content(600))
        })
        .await;
        let client = client(&[&server.host]);
        let digest = Digest::of(b"x");
        let error = client.get_blob(&server.host, &repo(), &digest, 1000, 400).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Protocol, "{range}");
    }
}

#[tokio::test]
async fn mirrors_come_first_and_blocked_names_last() {
    let body = content(300);
    let digest = Digest::of(&body);
    let mirror = Scripted::start({
        let body = body.clone();
        move |seen| match &*seen.path {
            path if path.contains("/blobs/") => Reply::new(200).body(body.clone()),
            _ => Reply::new(404),
        }
    })
    .await;
    let server = Scripted::start(|_| manifest()).await;
    let dir = tempfile::tempdir().unwrap();
    let conf = format!(
        "[[registry]]\nprefix = \"source.example.com\"\nlocation = \"{}\"\n\
         [[registry.mirror]]\nlocation = \"127.0.0.1:1/gone\"\n\
         [[registry.mirror]]\nlocation = \"{}/m\"\n\
         [[registry]]\nlocation = \"source.example.com/secret\"\nblocked = true\n",
        server.host, mirror.host
    );
    fs_err::write(dir.path().join("registries.conf"), conf).unwrap();
    let client = Client::new(options(dir.path())).unwrap();
    let host: RegistryHost = "source.example.com".parse().unwrap();
    client.get_manifest(&host, &repo(), &tag("1")).await.unwrap();
    assert_eq!(mirror.lines(), ["GET /v2/m/team/app/manifests/1"]);
    assert_eq!(server.lines(), ["GET /v2/team/app/manifests/1"]);
    let stream = client.get_blob(&host, &repo(), &digest, 300, 0).await.unwrap();
    assert_eq!(all(stream).await.unwrap(), body);
    assert_eq!(server.lines().len(), 1, "the mirror had the blob");
    let secret = "secret/x".parse().unwrap();
    let error = client.get_manifest(&host, &secret, &tag("1")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Blocked);
    assert!(error.to_string().contains("registries.conf"), "{error}");
}

#[tokio::test]
async fn unreachable_hosts_fail_with_their_cause() {
    let dir = tempfile::tempdir().unwrap();
    let client = Client::new(options(dir.path())).unwrap();
    let refused: RegistryHost = "127.0.0.1:1".parse().unwrap();
    let error = client.ping(&refused).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("cannot connect to `127.0.0.1:1`"), "{error}");
    let unknown: RegistryHost = "no-such-host.invalid".parse().unwrap();
    let error = client.ping(&unknown).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("unknown host `no-such-host.invalid`"), "{error}");
    assert!(error.to_string().contains("tried 3 times"), "{error}");
    // What was found out is not found out again for every image.
    let spent = client.counters().totals().requests;
    for _ in 0..5 {
        let again = client.get_manifest(&unknown, &repo(), &tag("1")).await.unwrap_err();
        assert!(again.to_string().contains("unknown host"), "{again}");
    }
    assert_eq!(client.counters().totals().requests, spent);
}

#[tokio::test]
async fn a_loopback_registry_without_tls_is_found() {
    let server = Scripted::start(|_| manifest()).await;
    let dir = tempfile::tempdir().unwrap();
    let client = Client::new(options(dir.path())).unwrap();
    client.get_manifest(&server.host, &repo(), &tag("1")).await.unwrap();
}

#[test]
fn bad_settings_are_told_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x");
    fs_err::write(&path, "not what it should be = [").unwrap();
    let change: [fn(&mut ClientOptions, PathBuf); 3] = [
        |options, path| options.authfile = Some(path),
        |options, path| options.ca_files = vec![path],
        |options, path| options.registries_conf = Some(path),
    ];
    for (number, change) in change.iter().enumerate() {
        for path in [path.clone(), dir.path().join("missing")] {
            let mut options = options(dir.path());
            change(&mut options, path.clone());
            let error = Client::new(options).err().unwrap();
            assert_eq!(error.kind(), ErrorKind::Config, "{number}");
            assert!(error.to_string().contains(&path.display().to_string()), "{error}");
        }
    }
}

/// Others run these in tasks.
#[test]
fn futures_can_move_between_threads() {
    fn check<T: Send>(_: T) {}
    let dir = tempfile::tempdir().unwrap();
    let client = Client::new(options(dir.path())).unwrap();
    let (host, repo, digest) = ("q.io".parse().unwrap(), repo(), Digest::of(b""));
    let source: Arc<dyn BlobSource> = Arc::new(bytes::Bytes::new());
    check(client.get_manifest(&host, &repo, &tag("1")));
    check(client.head_manifest(&host, &repo, &tag("1")));
    check(client.head_blob(&host, &repo, &digest));
    check(client.list_tags(&host, &repo));
    check(client.referrers(&host, &repo, &digest));
    check(client.push_blob(&host, &repo, &digest, 0, source, None));
    check(client.put_manifest(&host, &repo, &tag("1"), "x", bytes::Bytes::new()));
    check(client.delete_manifest(&host, &repo, &tag("1")));
    check(async {
        let mut stream = client.get_blob(&host, &repo, &digest, 1, 0).await.unwrap();
        stream.read(&mut [0; 8]).await.unwrap();
    });
    check(client.get_blob_bytes(&host, &repo, &digest, 1, 1));
}
