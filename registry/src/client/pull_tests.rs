//! Wire tests of manifests, mirrors and first contact, against a scripted server; and what the other wire tests share.

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

pub(super) const MANIFEST: &str = r#"{"schemaVersion":2,"manifests":[]}"#;

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

pub(super) async fn all(mut stream: BlobStream) -> Result<Vec<u8>, ClientError> {
    let (mut body, mut piece) = (Vec::new(), vec![0; 10_000]);
    loop {
        match stream.read(&mut piece).await? {
            0 => return Ok(body),
            read => body.extend_from_slice(&piece[..read]),
        }
    }
}

pub(super) fn content(length: usize) -> Vec<u8> {
    (0..length).map(|n| u8::try_from(n * 7 % 251).unwrap()).collect()
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
async fn an_error_names_the_source_and_the_mirrors_that_were_asked() {
    let empty = Scripted::start(|_| Reply::new(404)).await;
    let dir = tempfile::tempdir().unwrap();
    let mirror = |path: &str| format!("{}/{path}", empty.host);
    let entry = |source: &str, own: &str, more: &str| {
        format!(
            "[[registry]]\nprefix = \"{source}.example.com\"\nlocation = \"{own}\"\n{more}\
             [[registry.mirror]]\nlocation = \"127.0.0.1:1/gone\"\n\
             [[registry.mirror]]\nlocation = \"{}\"\n",
            mirror("m")
        )
    };
    let conf = entry("own", "127.0.0.1:1", "")
        + &entry("inside", "inside.example.com", "blocked = true\n")
        + "[[registry]]\nprefix = \"moved.example.com\"\nlocation = \"127.0.0.1:1/elsewhere\"\n";
    fs_err::write(dir.path().join("registries.conf"), conf).unwrap();
    let client = Client::new(options(dir.path())).unwrap();
    let asked = [
        "its mirror `127.0.0.1:1/gone/team/app`: cannot connect to `127.0.0.1:1`".to_owned(),
        format!("its mirror `{}`: not found", mirror("m/team/app")),
    ];
    let digest = Digest::of(b"nowhere");
    // The first to find out that a mirror is down, and whoever comes after it.
    for _ in 0..2 {
        let host = "own.example.com".parse().unwrap();
        let manifest = client.get_manifest(&host, &repo(), &tag("1")).await.unwrap_err();
        let blob = client.get_blob(&host, &repo(), &digest, 9, 0).await.unwrap_err();
        for error in [manifest, blob] {
            assert_eq!(error.kind(), ErrorKind::Unavailable);
            let text = error.to_string();
            assert!(text.contains("`own.example.com/team/app"), "{text}");
            assert!(text.contains(" from `127.0.0.1:1/team/app`: cannot connect"), "{text}");
            assert!(asked.iter().all(|mirror| text.contains(mirror)), "{text}");
        }
        // Where the source is not asked, the last mirror has the last word.
        let host = "inside.example.com".parse().unwrap();
        let manifest = client.get_manifest(&host, &repo(), &tag("1")).await.unwrap_err();
        let blob = client.get_blob(&host, &repo(), &digest, 9, 0).await.unwrap_err();
        for error in [manifest, blob] {
            assert_eq!(error.kind(), ErrorKind::NotFound);
            let text = error.to_string();
            let at = format!("from `{}`: not found", mirror("m/team/app"));
            assert!(text.contains(&at) && text.contains(&asked[0]), "{text}");
            assert!(!text.contains(&asked[1]), "{text}");
        }
    }
    let moved = "moved.example.com".parse().unwrap();
    let error = client.get_manifest(&moved, &repo(), &tag("1")).await.unwrap_err().to_string();
    assert!(error.contains("from `127.0.0.1:1/elsewhere/team/app`: cannot connect"), "{error}");
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
