//! Tests of the credential search: the containers-auth order and keys, on real files where they are.

use super::*;
use crate::client::testing::shared;
use proptest::prelude::*;

fn file(text: &str) -> Credentials {
    file_at("auth.json", text.as_bytes(), false)
}

fn file_at(path: &str, bytes: &[u8], legacy: bool) -> Credentials {
    Credentials {
        files: vec![AuthFile::parse(path, bytes, legacy).unwrap()],
        searched: vec![path.into()],
        programs: Vec::new(),
        answers: Mutex::default(),
    }
}

async fn look(credentials: &Credentials, name: &str) -> Option<String> {
    let (host, repository) = match name.split_once('/') {
        Some((host, repository)) => (host, Some(repository.parse::<Repository>().unwrap())),
        None => (name, None),
    };
    let found = credentials.find(&host.parse().unwrap(), repository.as_ref()).await.unwrap()?;
    Some(match found.credential {
        Credential::Basic { user, password } => format!("{user}:{}", password.reveal()),
        Credential::Identity(token) => format!("<token>:{}", token.reveal()),
    })
}

#[tokio::test]
async fn the_longest_key_wins() {
    let encode = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
    let text = format!(
        r#"{{"auths":{{"q.io":{{"auth":"{}"}},"q.io/a":{{"auth":"{}"}},"q.io/a/b":{{"auth":"{}"}}}}}}"#,
        encode("host:1"),
        encode("ns:2"),
        encode("repo:3"),
    );
    let credentials = file(&text);
    for (name, expected) in [
        ("q.io/a/b", "repo:3"),
        ("q.io/a/b/c", "repo:3"),
        ("q.io/a/bc", "ns:2"),
        ("q.io/ab", "host:1"),
        ("q.io", "host:1"),
    ] {
        assert_eq!(look(&credentials, name).await.as_deref(), Some(expected), "{name}");
    }
    for name in ["q.io:5000/a", "sub.q.io/a", "q.i/o"] {
        assert_eq!(look(&credentials, name).await, None, "{name}");
    }
}

#[tokio::test]
async fn entries_of_every_shape() {
    let credentials = file(
        r#"{"auths":{
            "https://index.docker.io/v1/":{"auth":"aHViOnB3"},
            "plain.io":{"username":"u","password":"p"},
            "empty.io":{},
            "token.io":{"auth":"MDowCg==","identitytoken":"it"},
            "pad.io":{"auth":"dTpwAAAA"}
        }}"#,
    );
    assert_eq!(look(&credentials, "docker.io/library/redis").await.as_deref(), Some("hub:pw"));
    assert_eq!(look(&credentials, "plain.io/x").await.as_deref(), Some("u:p"));
    assert_eq!(look(&credentials, "empty.io/x").await, None);
    assert_eq!(look(&credentials, "token.io/x").await.as_deref(), Some("<token>:it"));
    assert_eq!(look(&credentials, "pad.io").await.as_deref(), Some("u:p"));
}

#[tokio::test]
async fn broken_entries_name_file_and_key_but_no_secret() {
    for auth in ["%%%", "c2VjcmV0d2l0aG91dGNvbG9u", "/////w=="] {
        let credentials = file(&format!(r#"{{"auths":{{"q.io":{{"auth":"{auth}"}}}}}}"#));
        let fault = credentials.find(&"q.io".parse().unwrap(), None).await.unwrap_err();
        let text = fault.to_string();
        assert!(text.contains("auth.json") && text.contains("`q.io`"), "{text}");
        assert!(!text.contains("secretwithoutcolon") && !text.contains(auth), "{text}");
    }
    let fault = AuthFile::parse("a.json", br#"{"auths":{"x":{"auth":42}}}"#, false).unwrap_err();
    assert!(!fault.to_string().contains("42"), "{fault}");
}

#[tokio::test]
async fn an_explicit_file_must_exist() {
    let path = std::path::PathBuf::from("/nonexistent/auth.json");
    let fault = Credentials::load(Some(&path), Vec::new()).unwrap_err();
    assert!(fault.to_string().contains("/nonexistent/auth.json"), "{fault}");
}

#[tokio::test]
async fn helper_names_are_not_paths_and_absence_is_told() {
    for name in ["../x", "", "a b", "x;y"] {
        assert!(helper::get(name, "q.io").await.is_err(), "{name}");
    }
    let fault = helper::get("surely-not-installed", "q.io").await.unwrap_err();
    assert!(fault.to_string().contains(helper::ABSENT), "{fault}");
    // An absent store falls through to the entries, an absent helper of this very host does not.
    let store = file(r#"{"credsStore":"surely-not-installed","auths":{"q.io":{"auth":"dTpw"}}}"#);
    assert_eq!(look(&store, "q.io/a").await.as_deref(), Some("u:p"));
    let own = file(r#"{"credHelpers":{"q.io":"surely-not-installed"}}"#);
    assert!(own.find(&"q.io".parse().unwrap(), None).await.is_err());
}

#[tokio::test]
async fn real_files_give_what_containers_image_gives() {
    let Some(dir) = shared("openshift/data/auth") else { return };
    let read = |name: &str| fs_err::read(dir.join(name)).unwrap();
    let full = file_at("full.json", &read("full.json"), false);
    for (name, expected) in [
        ("example.org", Some("example:org")),
        ("docker.io", Some("docker:io")),
        ("localhost", Some("local:host")),
        ("localhost:5000", Some("local:host-5000")),
        ("localhost:5001", None),
        ("10.10.30.45", Some("10.10:30.45")),
        ("10.10.30.45:5000", Some("10.10:30.45-5000")),
        ("normalize.example.org", Some("normalize:example")),
        ("none.example.org", None),
    ] {
        assert_eq!(look(&full, name).await.as_deref(), expected, "full {name}");
    }
    let odd = file_at("abnormal.json", &read("abnormal.json"), false);
    for (name, expected) in [
        ("docker.io/library/x", Some("index:docker.io")),
        ("127.0.0.1:5000", Some("127.0:0.1-5000")),
        ("localhost", Some("local:host")),
        ("localhost:5001", Some("local:host-5001")),
    ] {
        assert_eq!(look(&odd, name).await.as_deref(), expected, "abnormal {name}");
    }
    let legacy = file_at(".dockercfg", &read("legacy.json"), true);
    assert_eq!(look(&legacy, "docker.io/a/b").await.as_deref(), Some("docker:io-legacy"));
    assert_eq!(look(&legacy, "localhost/a").await.as_deref(), Some("local:host-legacy"));
    let paths = file_at("refpath.json", &read("refpath.json"), false);
    for (name, expected) in [
        ("example.org/repo", "example:org"),
        ("example.org/repo/image", "example:org"),
        ("example.org/notrepo", "local:host"),
        ("docker.io/vendor/product", "first:level"),
        ("docker.io/other/product", "top:level"),
        ("docker.io/library/busybox", "library:busybox"),
        ("docker.io/library/other", "library:other"),
    ] {
        assert_eq!(look(&paths, name).await.as_deref(), Some(expected), "refpath {name}");
    }
    let token = file_at("t.json", &read("example_identitytoken.json"), false);
    assert_eq!(
        look(&token, "example.org").await.as_deref(),
        Some("<token>:some very long identity token")
    );
    assert_eq!(look(&file_at("e.json", &read("empty.json"), false), "example.org").await, None);
}

proptest! {
    #[test]
    fn no_file_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = AuthFile::parse("x", &bytes, false);
        let _ = AuthFile::parse("x", &bytes, true);
    }

    #[test]
    fn a_key_matches_its_host_only(key in "[a-z:/.0-9]{1,30}") {
        let text = serde_json::json!({"auths": {key.clone(): {"auth": "dTpw"}}}).to_string();
        let file = AuthFile::parse("x", text.as_bytes(), false).unwrap();
        let host: RegistryHost = "registry.example.org".parse().unwrap();
        if file.lookup(&host, Some(&"a/b".parse().unwrap())).unwrap().is_some() {
            prop_assert!(key.contains("registry.example.org"), "{}", key);
        }
    }
}
