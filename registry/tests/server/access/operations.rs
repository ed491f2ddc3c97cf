//! Health, counters, the page and the logs of a registry with logins.

use registry::server::logs::AUDIT;
use registry::server::settings::{LogSettings, MetricsSettings};

use super::*;

/// A registry of these tests with an access log.
async fn logging(anonymous_metrics: bool, anonymous: Anonymous) -> Registry {
    let dir = tempfile::tempdir().unwrap();
    prepare(dir.path());
    let mut config = config(dir.path());
    config.settings.log = LogSettings { access: Some("log/access.jsonl".to_owned()), audit: None };
    config.settings.metrics = MetricsSettings { anonymous: anonymous_metrics };
    config.settings.access = Access { anonymous };
    let client = trusting(dir.path(), Some(&basic("root", &password("root"))));
    Registry::of(dir, config, client).await
}

/// The status of an answer to somebody, and its text.
async fn ask(registry: &Registry, user: Option<&str>, path: &str) -> (u16, HeaderMap, String) {
    let login = user.map(|user| basic(user, &password(user)));
    let base = registry.base.replace("http://", "https://");
    let client = trusting(registry.dir.path(), login.as_deref());
    let answer = client.get(format!("{base}{path}")).send().await.unwrap();
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    (status, headers, answer.text().await.unwrap())
}

#[tokio::test]
async fn everybody_sees_what_they_may_pull_and_nobody_more() {
    let mut registry = logging(false, Anonymous::None).await;
    registry.base = registry.base.replace("http://", "https://");
    registry.image("team/app", "v1", "layer").await;
    registry.image("secret/app", "v1", "layer").await;

    for path in ["/healthz", "/readyz"] {
        assert_eq!(ask(&registry, None, path).await.0, 200);
    }
    for path in ["/metrics", "/", "/ui/health", "/ui/repository/team/app"] {
        let (status, headers, _) = ask(&registry, None, path).await;
        assert_eq!(status, 401, "{path}");
        let ways: Vec<_> = headers.get_all("www-authenticate").iter().collect();
        assert!(ways.iter().any(|way| way.to_str().unwrap().starts_with("Basic realm=")));
    }
    let (status, _, text) = ask(&registry, Some("idle"), "/metrics").await;
    assert_eq!(status, 200);
    assert!(text.contains("bundle_registry_certificate_expiry_timestamp_seconds "), "{text}");

    let (_, _, text) = ask(&registry, Some("puller"), "/").await;
    assert!(text.contains("team/app") && !text.contains("secret/app"), "{text}");
    let (_, _, text) = ask(&registry, Some("root"), "/").await;
    assert!(text.contains("team/app") && text.contains("secret/app"), "{text}");
    assert!(!text.contains("tls-verify=false"));
    for path in ["/ui/repository/secret/app", "/ui/image/secret/app:v1"] {
        assert_eq!(ask(&registry, Some("puller"), path).await.0, 404);
        assert_eq!(ask(&registry, Some("idle"), path).await.0, 404);
        assert_eq!(ask(&registry, Some("root"), path).await.0, 200);
    }
    let (_, _, text) = ask(&registry, Some("puller"), "/ui/health").await;
    assert!(text.contains("days left"), "{text}");

    let wrong = basic("puller", "WRONGWRONG");
    let answer = trusting(registry.dir.path(), Some(&wrong))
        .get(format!("{}/v2/", registry.base))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 401);
    let denied = trusting(registry.dir.path(), Some(&basic("puller", &password("puller"))))
        .delete(format!("{}/v2/team/app/manifests/v1", registry.base))
        .send()
        .await
        .unwrap();
    assert_eq!(denied.status(), 403);

    let dir = registry.stop().await;
    let read = |name: &str| fs_err::read_to_string(dir.path().join(name)).unwrap();
    let (access, audit) = (read("log/access.jsonl"), read(AUDIT));
    for text in [&access, &audit] {
        assert!(!text.contains("WRONGWRONG") && !text.contains("secret of"), "{text}");
    }
    assert!(access.contains(r#""user":"root""#) && access.contains(r#""user":null"#), "{access}");
    let lines: Vec<Value> = audit.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told = |action: &str, outcome: &str, user: &str| {
        lines.iter().any(|line| {
            line["action"] == action && line["outcome"] == outcome && line["user"] == user
        })
    };
    assert!(told("login", "ok", "root") && told("login", "refused", "puller"), "{audit}");
    assert!(told("push", "ok", "root") && told("delete", "refused", "puller"), "{audit}");
}

#[tokio::test]
async fn what_the_settings_open_is_open() {
    let mut registry = logging(true, Anonymous::Pull).await;
    registry.base = registry.base.replace("http://", "https://");
    registry.image("team/app", "v1", "layer").await;
    assert_eq!(ask(&registry, None, "/metrics").await.0, 200);
    let (status, _, text) = ask(&registry, None, "/").await;
    assert_eq!(status, 200);
    assert!(text.contains("team/app"), "{text}");
}
