//! What people and programs that look after a registry see of it: health, counters, logs.

use registry::server::settings::LogSettings;
use registry::server::{ServerConfig, Settings};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use crate::support::*;

fn logged(access: &str) -> Settings {
    let log = LogSettings { access: Some(access.to_owned()), audit: None };
    Settings { log, ..Settings::default() }
}

/// A registry with these settings.
async fn with(settings: Settings) -> Registry {
    let dir = tempfile::tempdir().unwrap();
    let mut config = ServerConfig::new(dir.path(), "127.0.0.1:0".parse().unwrap());
    config.settings = settings;
    Registry::of(dir, config, client()).await
}

/// The lines of a log of a registry that has stopped.
fn lines(dir: &tempfile::TempDir, name: &str) -> Vec<Value> {
    let text = fs_err::read_to_string(dir.path().join(name)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The value of a line of the counters.
fn counter(text: &str, line: &str) -> Option<f64> {
    let found = text.lines().find_map(|text| text.strip_prefix(line)?.strip_prefix(' '))?;
    Some(found.parse().unwrap())
}

#[tokio::test]
async fn alive_and_ready_without_a_word_too_many() {
    let registry = Registry::start().await;
    for (path, word) in [("/healthz", "alive"), ("/readyz", "ready")] {
        let answer = registry.send("GET", path).await;
        assert_eq!(answer.status(), 200);
        assert_eq!(field(&answer, "cache-control"), "no-store");
        assert_eq!(answer.json::<Value>().await.unwrap()["status"], word);
        assert_eq!(registry.send("HEAD", path).await.status(), 200);
        assert_eq!(registry.send("POST", path).await.status(), 405);
    }
    let registry = registry.restart(true).await;
    let answer = registry.send("GET", "/readyz").await;
    assert_eq!(answer.json::<Value>().await.unwrap(), json!({"status": "ready", "reasons": []}));
}

#[tokio::test]
async fn counters_follow_the_requests() {
    let registry = Registry::start().await;
    registry.image("a", "v1", "layer of twenty bytes").await;
    for _ in 0..3 {
        let answer = registry.send("GET", "/v2/a/manifests/v1").await;
        answer.bytes().await.unwrap();
    }
    registry.send("GET", "/v2/a/manifests/none").await;
    registry.send("GET", "/nothing/here").await;
    registry.begin("a").await;
    let answer = registry.send("GET", "/metrics").await;
    assert!(field(&answer, "content-type").starts_with("text/plain; version=0.0.4"));
    let text = answer.text().await.unwrap();
    let requests =
        |labels: &str| counter(&text, &format!("bundle_registry_requests_total{labels}"));
    assert_eq!(requests(r#"{kind="manifest",method="GET",code="2xx"}"#), Some(3.0));
    assert_eq!(requests(r#"{kind="manifest",method="GET",code="4xx"}"#), Some(1.0));
    assert_eq!(requests(r#"{kind="manifest",method="PUT",code="2xx"}"#), Some(1.0));
    assert_eq!(requests(r#"{kind="other",method="GET",code="4xx"}"#), Some(1.0));
    let count = r#"bundle_registry_request_duration_seconds_count{kind="manifest"}"#;
    assert_eq!(counter(&text, count), Some(5.0));
    let all = r#"bundle_registry_request_duration_seconds_bucket{kind="manifest",le="+Inf"}"#;
    assert_eq!(counter(&text, all), Some(5.0));
    assert_eq!(counter(&text, "bundle_registry_uploads"), Some(1.0));
    assert_eq!(counter(&text, "bundle_registry_ready"), Some(1.0));
    assert!(counter(&text, "bundle_registry_free_bytes").unwrap() > 0.0);
    assert!(counter(&text, "bundle_registry_connections").unwrap() >= 1.0);
    assert!(counter(&text, "bundle_registry_received_bytes_total").unwrap() > 20.0);
    // Each name is announced once, before its lines.
    let mut announced = Vec::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            announced.push(rest.split(' ').next().unwrap());
        } else if !line.starts_with('#') {
            let name = line.split(['{', ' ']).next().unwrap();
            let last = *announced.last().unwrap();
            assert!(name == last || name.starts_with(&format!("{last}_")), "{line}");
        }
    }
    let mut once = announced.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!(once.len(), announced.len());
}

#[tokio::test]
async fn the_access_log_has_a_line_for_each_request_and_no_secret() {
    let registry = with(logged("log/access.jsonl")).await;
    registry.image("a", "v1", "layer").await;
    let secret = "SECRETSECRET";
    let answer = registry
        .request("GET", &format!("/v2/a/manifests/v1?token={secret}"))
        .header("authorization", format!("Basic {secret}"))
        .header("user-agent", "a \"quoted\" agent\u{e9}")
        .send()
        .await
        .unwrap();
    let length = answer.bytes().await.unwrap().len();
    registry.send("GET", &format!("/v2/{}/tags/list", "n".repeat(5000))).await;
    // A body that breaks off.
    let location = registry.begin("a").await;
    let mut socket = tokio::net::TcpStream::connect(registry.host()).await.unwrap();
    let head = format!("PATCH {location} HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n123");
    socket.write_all(head.as_bytes()).await.unwrap();
    socket.flush().await.unwrap();
    while !received(&registry, &location, 3).await {}
    drop(socket);
    let dir = registry.stop().await;
    let lines = lines(&dir, "log/access.jsonl");
    let text = serde_json::to_string(&lines).unwrap();
    assert!(!text.contains(secret), "{text}");
    let pull = lines.iter().find(|line| line["method"] == "GET").unwrap();
    assert_eq!(pull["path"], "/v2/a/manifests/v1");
    assert_eq!((&pull["status"], &pull["bytesIn"]), (&json!(200), &json!(0)));
    assert_eq!(pull["bytesOut"], length);
    assert_eq!((&pull["remote"], &pull["user"]), (&json!("127.0.0.1"), &json!(null)));
    assert_eq!(pull["agent"], "a \"quoted\" agent\u{e9}");
    assert!(pull["ms"].as_f64().unwrap() >= 0.0);
    pull["time"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    assert!(pull.get("cut").is_none());
    let push = lines.iter().find(|line| line["path"] == "/v2/a/manifests/v1").unwrap();
    assert!(push["bytesIn"].as_u64().unwrap() > 100);
    assert!(lines.iter().all(|line| line["path"].as_str().unwrap().len() <= 1024));
    let broken = lines.iter().find(|line| line["method"] == "PATCH").unwrap();
    assert_eq!(broken["bytesIn"], 3);
}

async fn received(registry: &Registry, location: &str, bytes: u64) -> bool {
    let status = registry.send("GET", location).await;
    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    field(&status, "range") == format!("0-{}", bytes - 1)
}

#[tokio::test]
async fn the_audit_log_has_changes_only() {
    let registry = Registry::start().await;
    let text = registry.image("a/b", "v1", "layer").await;
    registry.send("GET", "/v2/a/b/manifests/v1").await;
    registry.send("DELETE", "/v2/a/b/manifests/v1").await;
    registry.send("DELETE", "/v2/a/b/manifests/v2").await;
    let dir = registry.stop().await;
    let lines = lines(&dir, registry::server::logs::AUDIT);
    let told: Vec<String> = lines
        .iter()
        .map(|line| {
            let text = |key: &str| line[key].as_str().unwrap_or("-").to_owned();
            [text("action"), text("outcome"), text("repository"), text("reference")].join(" ")
        })
        .collect();
    let expected = [
        "start ok - -",
        "push ok a/b v1",
        "delete ok a/b v1",
        "delete failed a/b v2",
        "stop ok - -",
    ];
    assert_eq!(told, expected);
    assert_eq!(lines[1]["digest"], digest(&text).to_string());
    assert_eq!(lines[1]["address"], "127.0.0.1");
    for (number, line) in lines.iter().enumerate() {
        assert_eq!(line["sequence"], number + 1);
    }
}

#[tokio::test]
async fn a_read_only_registry_writes_no_log_unasked() {
    let registry = Registry::start().await;
    let registry = registry.restart(true).await;
    let path = registry.dir.path().join(registry::server::logs::AUDIT);
    let before = fs_err::read(&path).unwrap();
    assert_eq!(registry.send("PUT", "/v2/a/manifests/v1").await.status(), 405);
    let _dir = registry.stop().await;
    assert!(!before.is_empty());
    assert_eq!(fs_err::read(&path).unwrap(), before);
}
