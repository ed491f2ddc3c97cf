//! A real S3 server: credentials, conditions, lists and ranges as they go over the wire.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use format_spec::Digest;
use registry::objects::{ObjectsError, ObjectsSettings};
use registry::server::{Server, ServerConfig, ServerError, Settings, serve};
use registry::store::StoreError;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::s3::{Gateway, SECRET};
use crate::support::*;

const CHILD: &str = "REGISTRY_OBJECTS_CHILD";

/// The data directory of a replica, beside its keys.
fn config(gateway: &Gateway, dir: &TempDir) -> ServerConfig {
    let mut config = ServerConfig::new(dir.path().join("data"), "127.0.0.1:0".parse().unwrap());
    config.settings = gateway.settings(dir.path());
    config
}

pub async fn replica(gateway: &Gateway) -> Registry {
    let dir = tempfile::tempdir().unwrap();
    let config = config(gateway, &dir);
    Registry::of(dir, config, client()).await
}

#[tokio::test]
async fn two_replicas_over_a_real_server() {
    let Some(gateway) = Gateway::start() else { return };
    let (one, two) = tokio::join!(replica(&gateway), replica(&gateway));

    // Two and a half pieces, read whole and in ranges over their borders.
    let data = noise(1, 20 << 20);
    let blob = one.push("a/b", &data).await;
    let path = format!("/v2/a/b/blobs/{blob}");
    let got = two.send("GET", &path).await;
    assert_eq!(field(&got, "content-length"), data.len().to_string());
    assert!(got.bytes().await.unwrap() == data);
    for (from, to) in
        [(0, 1), (8_388_607, 8_388_609), (8_388_608, 16_777_216), (20_971_519, 20_971_520)]
    {
        let range = format!("bytes={from}-{}", to - 1);
        let part = two.request("GET", &path).header("range", range).send().await.unwrap();
        assert_eq!(part.status(), 206);
        assert!(part.bytes().await.unwrap() == data[from..to]);
    }
    let answer = two.send("POST", &format!("/v2/c/blobs/uploads/?mount={blob}&from=a/b")).await;
    assert_eq!(answer.status(), 201);
    assert_eq!(one.send("HEAD", &format!("/v2/c/blobs/{blob}")).await.status(), 200);
    assert_eq!(one.send("HEAD", &format!("/v2/d/blobs/{blob}")).await.status(), 404);

    // An upload that goes round, with both at it.
    let small = noise(2, 300_000);
    let location = one.begin("a/b").await;
    for (n, chunk) in small.chunks(100_000).enumerate() {
        let registry = if n % 2 == 0 { &one } else { &two };
        let at = n * 100_000;
        let range = format!("{at}-{}", at + chunk.len() - 1);
        let patch = registry.request("PATCH", &location).header("content-range", range);
        assert_eq!(patch.body(chunk.to_vec()).send().await.unwrap().status(), 202);
    }
    let again = one.request("PATCH", &location).header("content-range", "0-99999");
    assert_eq!(again.body(small[..100_000].to_vec()).send().await.unwrap().status(), 416);
    let put = format!("{location}?digest={}", Digest::of(&small));
    let (first, second) = tokio::join!(one.send("PUT", &put), two.send("PUT", &put));
    let mut statuses = [first.status().as_u16(), second.status().as_u16()];
    statuses.sort_unstable();
    assert!(statuses[0] == 201 && [404, 409].contains(&statuses[1]), "{statuses:?}");

    // Lists: the order is the server's, the pages are ours.
    for repository in ["a", "a-b", "a/x/y", "a/b"] {
        one.image(repository, "v1", "layer").await;
    }
    let text = one.image("a/b", "V2", "layer").await;
    two.image("a/b", "v10", "layer").await;
    let list = two.send("GET", "/v2/_catalog?n=3").await;
    assert!(field(&list, "link").contains("last=a%2Fb"));
    let list: serde_json::Value = list.json().await.unwrap();
    assert_eq!(list["repositories"], serde_json::json!(["a", "a-b", "a/b"]));
    let list = two.send("GET", "/v2/_catalog?n=3&last=a%2Fb").await;
    let list: serde_json::Value = list.json().await.unwrap();
    assert_eq!(list["repositories"], serde_json::json!(["a/x/y"]));
    let list: serde_json::Value =
        two.send("GET", "/v2/a/b/tags/list?n=2&last=v1").await.json().await.unwrap();
    assert_eq!(list["tags"], serde_json::json!(["v10", "V2"]));

    // Referrers and removal.
    use registry::media_type::OCI_MANIFEST;
    let config = digest("{}");
    let subject = format!(r#","subject":{}"#, descriptor(OCI_MANIFEST, &text));
    let signature = image(&config, &config, &subject);
    let put = one.put("a/b", &digest(&signature).to_string(), OCI_MANIFEST, &signature).await;
    assert_eq!(put.status(), 201);
    let path = format!("/v2/a/b/referrers/{}", digest(&text));
    let list: serde_json::Value = two.send("GET", &path).await.json().await.unwrap();
    assert_eq!(list["manifests"][0]["digest"], digest(&signature).to_string());
    let path = format!("/v2/a/b/manifests/{}", digest(&text));
    assert_eq!(two.send("DELETE", &path).await.status(), 202);
    for tag in ["v1", "V2", "v10"] {
        assert_eq!(one.send("GET", &format!("/v2/a/b/manifests/{tag}")).await.status(), 404);
    }
    assert_eq!(two.send("DELETE", &format!("/v2/c/blobs/{blob}")).await.status(), 202);
    assert_eq!(one.send("GET", &format!("/v2/c/blobs/{blob}")).await.status(), 404);
}

#[tokio::test]
async fn skopeo_over_a_real_server() {
    let Some(gateway) = Gateway::start() else { return };
    if Command::new("skopeo").arg("--version").output().is_err() {
        println!("skipped: skopeo is not installed");
        return;
    }
    crate::interop::there_and_back(&replica(&gateway).await).await;
}

/// Not a test by itself: the replica that is killed.
#[tokio::test]
async fn child_replica() {
    let Ok(dir) = std::env::var(CHILD) else { return };
    let mut config = ServerConfig::new(&dir, "127.0.0.1:0".parse().unwrap());
    config.settings = Settings::load(Path::new(&dir)).unwrap().unwrap();
    client();
    serve(config, CancellationToken::new(), |address| println!("listening on {address}"))
        .await
        .unwrap();
}

#[tokio::test]
async fn another_replica_goes_on_after_kill_9() {
    let Some(gateway) = Gateway::start() else { return };
    let other = replica(&gateway).await;
    for round in 0..3_u64 {
        let dir = tempfile::tempdir().unwrap();
        let data_dir = dir.path().join("data");
        fs_err::create_dir(&data_dir).unwrap();
        let settings = gateway.settings(dir.path());
        fs_err::write(data_dir.join("registry.toml"), settings.to_text()).unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "gateway::child_replica", "--nocapture"])
            .env(CHILD, &data_dir)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let address = BufReader::new(child.stdout.take().unwrap())
            .lines()
            .map_while(Result::ok)
            .find_map(|line| line.split_once("listening on ").map(|(_, at)| at.to_owned()))
            .unwrap();
        let base = format!("http://{address}");
        let client = client();
        let whole = noise(round + 50, 100_000);
        let url = format!("{base}/v2/k/blobs/uploads/?digest={}", Digest::of(&whole));
        let pushed = client.post(url).body(whole.clone()).send().await.unwrap();
        assert_eq!(pushed.status(), 201);
        let data = noise(round, 24 << 20);
        let begun = client.post(format!("{base}/v2/k/blobs/uploads/")).send().await.unwrap();
        let location = field(&begun, "location");
        let body = data.clone();
        let patch = tokio::spawn({
            let url = format!("{base}{location}");
            async move { client.patch(url).body(body).send().await.is_ok_and(|a| a.status() == 202) }
        });
        // Somewhere in the middle.
        tokio::time::sleep(Duration::from_millis(60 + 90 * round)).await;
        child.kill().unwrap();
        child.wait().unwrap();
        let acknowledged = patch.await.unwrap();
        let mut first = true;
        loop {
            let status = other.send("GET", &location).await;
            assert_eq!(status.status(), 204);
            let range = field(&status, "range");
            let last: usize = range.strip_prefix("0-").unwrap().parse().unwrap();
            let at = if last == 0 { 0 } else { last + 1 };
            assert!(!acknowledged || at == data.len(), "{at}");
            println!("killed with {at} of {} bytes stored", data.len());
            let put = format!("{location}?digest={}", Digest::of(&data));
            let mut put = other.request("PUT", &put);
            if at < data.len() {
                put = put
                    .header("content-range", format!("{at}-{}", data.len() - 1))
                    .body(data[at..].to_vec());
            }
            let answer = put.send().await.unwrap().status();
            // The S3 server may still have taken a last piece of the one that was killed.
            if !first || !matches!(answer.as_u16(), 409 | 416) {
                assert_eq!(answer, 201);
                break;
            }
            first = false;
        }
        for blob in [&whole, &data] {
            let got = other.send("GET", &format!("/v2/k/blobs/{}", Digest::of(blob))).await;
            assert!(got.bytes().await.unwrap() == *blob);
        }
    }
}

async fn refused(config: ServerConfig) -> ServerError {
    Server::bind(config).await.err().unwrap()
}

#[tokio::test]
async fn what_is_wrong_at_start_is_named() {
    let Some(mut gateway) = Gateway::start() else { return };
    client();
    let dir = tempfile::tempdir().unwrap();
    let at_start = |change: &dyn Fn(&mut ObjectsSettings)| {
        let mut config = config(&gateway, &dir);
        change(config.settings.objects.as_mut().unwrap());
        config
    };
    let no_bucket = refused(at_start(&|objects| objects.bucket = "other".to_owned())).await;
    assert!(
        matches!(
            &no_bucket,
            ServerError::Store(StoreError::Objects(ObjectsError::NoBucket { .. }))
        ),
        "{no_bucket:?}"
    );
    fs_err::write(dir.path().join("wrong"), "wrong").unwrap();
    for change in [
        &(|objects: &mut ObjectsSettings| objects.secret_key_file = Some("../wrong".into()))
            as &dyn Fn(&mut ObjectsSettings),
        &|objects| objects.access_key_file = Some("../wrong".into()),
    ] {
        let wrong = refused(at_start(change)).await;
        assert!(
            matches!(&wrong, ServerError::Store(StoreError::Objects(ObjectsError::Refused { .. }))),
            "{wrong:?}"
        );
        let text = wrong.to_string();
        assert!(!text.contains(SECRET) && !text.contains("AWS4"), "{text}");
    }
    let none = refused(at_start(&|objects| objects.access_key_file = Some("../none".into()))).await;
    assert!(none.to_string().contains("none"), "{none}");

    let right = at_start(&|_| {});
    let registry = Registry::of(dir, right, client()).await;
    let text = registry.image("a", "v1", "layer").await;
    gateway.stop();
    let away = registry.send("GET", "/v2/a/manifests/v1").await;
    assert_eq!(away.status(), 503);
    assert!(away.headers().contains_key("retry-after"));
    gateway.start_again();
    let back = registry.send("GET", "/v2/a/manifests/v1").await;
    assert_eq!(back.text().await.unwrap(), text);
}
