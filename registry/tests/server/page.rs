//! The web page over plain HTTP: what stands in it, what is kept out of it, and that it needs no script.

use format_spec::Digest;
use registry::media_type::{OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST};
use reqwest::Response;
use serde_json::json;

use crate::support::*;

/// What would run, or leave its place, if it were not escaped.
pub const HOSTILE: &str =
    "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>&lt;\u{0}\u{1b}[2J\u{202e}";

pub async fn page(registry: &Registry, path: &str) -> String {
    let answer = registry.send("GET", path).await;
    assert_eq!(answer.status(), 200, "{path}");
    guarded(&answer);
    text(answer).await
}

pub async fn text(answer: Response) -> String {
    let text = answer.text().await.unwrap();
    // The only script is ours and has its own address; the document has no style and no handler.
    let scripts = text.matches("<script").count();
    assert_eq!(scripts, text.matches("<script src=\"/ui/copy.js\" defer></script>").count());
    assert!(!text.contains(" style=\"") && !text.contains("<style"), "{text}");
    assert!(!text.contains("javascript:"), "{text}");
    let unseen = |c: char| c.is_control() && c != '\n' || c == '\u{202e}';
    assert!(!text.contains(unseen), "{}", text.escape_debug());
    for tag in text.split('<').skip(1).filter_map(|tag| tag.split('>').next()) {
        // Attribute values are quoted and quotes in them escaped, so this sees names only.
        let outside: String = tag.split('"').step_by(2).collect();
        assert!(!outside.contains(" on"), "a handler in <{tag}>");
    }
    assert!(!text.contains("http://") && !text.contains("https://"), "another place: {text}");
    text
}

pub fn guarded(answer: &Response) {
    let policy = field(answer, "content-security-policy");
    assert!(policy.starts_with("default-src 'none';"), "{policy}");
    assert!(!policy.contains("unsafe") && !policy.contains('*'), "{policy}");
    assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
    assert_eq!(field(answer, "x-content-type-options"), "nosniff");
    assert_eq!(field(answer, "referrer-policy"), "no-referrer");
}

/// Pushes an image whose configuration is this.
async fn configured(registry: &Registry, tag: &str, config: &str, more: &str) -> String {
    let layer = registry.push("team/app", b"a layer of the image").await;
    let digest = registry.push("team/app", config.as_bytes()).await;
    let text = format!(
        r#"{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}","config":{{"mediaType":"{OCI_CONFIG}","digest":"{digest}","size":{}}},"layers":[{{"mediaType":"{OCI_LAYER}","digest":"{layer}","size":20}}]{more}}}"#,
        config.len()
    );
    let answer = registry.put("team/app", tag, OCI_MANIFEST, &text).await;
    assert_eq!(answer.status(), 201, "{:?}", answer.text().await);
    text
}

#[tokio::test]
async fn an_empty_registry_says_so() {
    let registry = Registry::start().await;
    assert!(page(&registry, "/").await.contains("Nothing is stored here yet"));
    assert!(page(&registry, "/?q=nginx").await.contains("No repository has this in its name"));
    assert!(page(&registry, "/ui/sequences").await.contains("No sequence was imported"));
    let health = page(&registry, "/ui/health").await;
    assert!(health.contains("Ready.") && health.contains(env!("CARGO_PKG_VERSION")), "{health}");
    let answer = registry.send("HEAD", "/").await;
    assert_eq!(answer.status(), 200);
    guarded(&answer);
}

#[tokio::test]
async fn repositories_tags_and_an_image_with_what_it_is() {
    let registry = Registry::start().await;
    let config = json!({
        "architecture": "arm64", "os": "linux", "variant": "v8", "created": "2026-03-04T05:06:07Z",
        "config": {
            "Entrypoint": ["/bin/app", "--serve"], "Cmd": ["now"], "User": "1001", "WorkingDir": "/srv",
            "Env": ["PATH=/usr/bin", "EMPTY="], "Labels": {"org.example.team": "blue"},
            "ExposedPorts": {"8080/tcp": {}},
        },
        "history": [{"created_by": "FROM scratch", "empty_layer": true}, {"created_by": "COPY app /bin/app"}],
    });
    let text = configured(&registry, "1.0", &config.to_string(), "").await;
    registry.image("other", "v1", "x").await;
    let digest = digest(&text);

    let first = page(&registry, "/").await;
    assert!(first.contains("href=\"/ui/repository/team/app\"") && first.contains("other"));
    let found = page(&registry, "/?q=TEAM").await;
    assert!(found.contains("team/app") && !found.contains(">other<"), "{found}");

    let tags = page(&registry, "/ui/repository/team/app").await;
    assert!(tags.contains("href=\"/ui/image/team/app:1.0\""), "{tags}");
    assert!(tags.contains("linux/arm64/v8") && tags.contains("2026-03-04"), "{tags}");
    assert!(tags.contains(&format!("title=\"{digest}\"")), "{tags}");
    assert!(!tags.contains("signed"), "{tags}");

    for path in [
        "/ui/image/team/app:1.0".to_owned(),
        "/ui/image/team/app%3A1.0".to_owned(),
        format!("/ui/image/team/app@{digest}"),
    ] {
        let image = page(&registry, &path).await;
        for expected in [
            "COPY app /bin/app",
            "/bin/app",
            "--serve",
            "org.example.team",
            "blue",
            "PATH",
            "/usr/bin",
            "8080/tcp",
            "1001",
            "Nothing is attached",
            &digest.to_string(),
            &format!("podman pull --tls-verify=false {}/team/app", registry.host()),
            "skopeo copy --src-tls-verify=false docker://",
            "oc image info --insecure",
        ] {
            let unescaped = image.replace("&quot;", "\"");
            assert!(unescaped.contains(expected), "{expected} in {image}");
        }
    }
}

#[tokio::test]
async fn what_comes_from_an_image_or_an_address_is_text() {
    let registry = Registry::start().await;
    let config = json!({
        "os": HOSTILE, "architecture": HOSTILE, "created": HOSTILE,
        "config": {
            "Entrypoint": [HOSTILE], "Cmd": [HOSTILE, 7], "User": HOSTILE, "WorkingDir": HOSTILE,
            "Env": [HOSTILE, format!("{HOSTILE}={HOSTILE}"), 5], "Labels": {HOSTILE: HOSTILE},
            "ExposedPorts": {HOSTILE: {}}, "Volumes": {HOSTILE: {}},
        },
        "history": [{"created_by": HOSTILE}],
    });
    let annotations = format!(r#","annotations":{}"#, json!({HOSTILE: HOSTILE}));
    let subject = configured(&registry, "v1", &config.to_string(), &annotations).await;
    let config = registry.push("team/app", b"{}").await;
    let referrer = image(
        &config,
        &config,
        &format!(
            r#","artifactType":{},"subject":{}"#,
            json!(HOSTILE),
            descriptor(OCI_MANIFEST, &subject)
        ),
    );
    registry.put("team/app", &digest(&referrer).to_string(), OCI_MANIFEST, &referrer).await;
    let index = json!({
        "schemaVersion": 2, "mediaType": OCI_INDEX,
        "annotations": {HOSTILE: HOSTILE},
        "manifests": [{
            "mediaType": OCI_MANIFEST, "digest": digest(&subject).to_string(), "size": subject.len(),
            "platform": {"os": HOSTILE, "architecture": HOSTILE, "variant": HOSTILE},
        }],
    });
    let answer = registry.put("team/app", "v2", OCI_INDEX, &index.to_string()).await;
    assert_eq!(answer.status(), 201);
    let escaped = "&lt;script&gt;alert(1)&lt;/script&gt;";
    for path in ["/ui/repository/team/app", "/ui/image/team/app:v1", "/ui/image/team/app:v2"] {
        assert!(page(&registry, path).await.contains(escaped), "{path}");
    }
    let query = format!("/?q={}", url(HOSTILE));
    assert!(page(&registry, &query).await.contains(escaped));
    page(&registry, &format!("/ui/repository/team/app?last={}&all=1", url(HOSTILE))).await;
    let answer = registry.request("GET", "/").header("host", "\"><b>").send().await.unwrap();
    assert!(!text(answer).await.contains("<b>"));
}

pub fn url(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[tokio::test]
async fn configurations_that_are_none_are_left_out() {
    let registry = Registry::start().await;
    let large = format!("{{\"os\":\"{}\"}}", "x".repeat(2 << 20));
    let deep = format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000));
    let odd = [
        "",
        "null",
        "[]",
        "7",
        "{\"config\":[]}",
        "{\"config\":{\"Env\":7,\"Labels\":[],\"Cmd\":{}}}",
        "{\"history\":{}}",
        "{\"history\":[7,null]}",
        "{\"created\":\"9999-99-99\"}",
        "\u{0}",
        &large,
        &deep,
    ];
    for (number, config) in odd.into_iter().enumerate() {
        let tag = format!("v{number}");
        configured(&registry, &tag, config, "").await;
        page(&registry, &format!("/ui/image/team/app:{tag}")).await;
    }
    let tags = page(&registry, "/ui/repository/team/app").await;
    assert_eq!(tags.matches("OCI image").count(), odd.len());
}

#[tokio::test]
async fn an_index_shows_its_platforms_and_what_is_not_here() {
    let registry = Registry::start().await;
    let child =
        configured(&registry, "child", r#"{"os":"linux","architecture":"amd64"}"#, "").await;
    let absent = digest("absent");
    let index = json!({
        "schemaVersion": 2, "mediaType": OCI_INDEX,
        "manifests": [
            {"mediaType": OCI_MANIFEST, "digest": digest(&child).to_string(), "size": child.len(),
             "platform": {"os": "linux", "architecture": "amd64"}},
            {"mediaType": OCI_MANIFEST, "digest": absent.to_string(), "size": 5,
             "platform": {"os": "linux", "architecture": "s390x"}},
            {"mediaType": OCI_MANIFEST, "digest": digest("attestation").to_string(), "size": 5,
             "platform": {"os": "unknown", "architecture": "unknown"}},
        ],
    });
    registry.put("team/app", "all", OCI_INDEX, &index.to_string()).await;
    let text = page(&registry, "/ui/image/team/app:all").await;
    assert!(text.contains("linux/s390x") && text.contains("not here"), "{text}");
    assert!(text.contains(">attestation<"), "{text}");
    let link = format!("/ui/image/team/app@{}", digest(&child));
    assert!(text.contains(&link) && !text.contains(&format!("app@{absent}\"")), "{text}");
    assert!(page(&registry, &link).await.contains("Layers"));
    let tags = page(&registry, "/ui/repository/team/app").await;
    assert!(tags.contains("linux/amd64") && tags.contains("linux/s390x"), "{tags}");
    assert!(!tags.contains("unknown"), "{tags}");
}

#[tokio::test]
async fn signatures_and_sboms_are_found_where_they_are() {
    let registry = Registry::start().await;
    let subject = registry.image("a", "v1", "layer").await;
    let plain = registry.image("a", "v2", "other").await;
    let config = digest("{}");
    let beside = format!("sha256-{}.sig", digest(&subject).hex());
    registry.put("a", &beside, OCI_MANIFEST, &image(&config, &config, "")).await;
    let sbom = image(
        &config,
        &config,
        &format!(
            r#","artifactType":"application/spdx+json","subject":{}"#,
            descriptor(OCI_MANIFEST, &subject)
        ),
    );
    registry.put("a", &digest(&sbom).to_string(), OCI_MANIFEST, &sbom).await;

    let tags = page(&registry, "/ui/repository/a").await;
    assert!(tags.contains(">signed<") && tags.contains(">SBOM<"), "{tags}");
    assert_eq!(tags.matches(">signed<").count(), 1);
    assert!(!tags.contains(&beside) && tags.contains("2 tags"), "{tags}");
    let all = page(&registry, "/ui/repository/a?all=1").await;
    assert!(all.contains(&beside) && all.contains("3 tags"), "{all}");

    let one = page(&registry, "/ui/image/a:v1").await;
    assert!(one.contains("application/spdx+json") && one.contains(">signature<"), "{one}");
    assert!(one.contains(&format!("/ui/image/a@{}", digest(&sbom))), "{one}");
    let other = page(&registry, &format!("/ui/image/a@{}", digest(&plain))).await;
    assert!(other.contains("Nothing is attached"), "{other}");
}

#[tokio::test]
async fn long_lists_come_in_pages() {
    let registry = Registry::start().await;
    let text = registry.image("many", "t000", "layer").await;
    for number in 1..60 {
        registry.put("many", &format!("t{number:03}"), OCI_MANIFEST, &text).await;
    }
    let first = page(&registry, "/ui/repository/many").await;
    assert!(first.contains("60 tags") && first.contains("many:t049"), "{first}");
    assert!(!first.contains("many:t050") && first.contains("?last=t049"), "{first}");
    let second = page(&registry, "/ui/repository/many?last=t049").await;
    assert!(second.contains("many:t050") && second.contains("many:t059"), "{second}");
    assert!(!second.contains("More") && second.contains("From the beginning"), "{second}");

    let labels: serde_json::Map<_, _> =
        (0..300).map(|n| (format!("label{n:03}"), json!("x".repeat(5000)))).collect();
    let config = json!({ "config": { "Labels": labels } }).to_string();
    assert!(config.len() > 1 << 20);
    let labels: serde_json::Map<_, _> =
        (0..300).map(|n| (format!("label{n:03}"), json!("x".repeat(2000)))).collect();
    let config = json!({ "config": { "Labels": labels } }).to_string();
    configured(&registry, "labels", &config, "").await;
    let text = page(&registry, "/ui/image/team/app:labels").await;
    assert!(text.contains("label199") && !text.contains("label200"), "cut");
    assert!(text.contains("and 100 more") && !text.contains(&"x".repeat(1001)), "cut");
}

#[tokio::test]
async fn there_is_nothing_else() {
    let registry = Registry::start().await;
    registry.image("a", "v1", "layer").await;
    let unknown = Digest::of(b"unknown");
    for path in [
        "/ui/none",
        "/ui/repository/none",
        "/ui/repository/",
        "/ui/repository/A",
        "/ui/repository/../../x",
        "/ui/image/a",
        "/ui/image/a:v2",
        "/ui/image/a:",
        "/ui/image/:v1",
        "/ui/image/a@sha256:abc",
        &format!("/ui/image/a@{unknown}"),
        "/ui/style.css/x",
    ] {
        let answer = registry.send("GET", path).await;
        assert_eq!(answer.status(), 404, "{path}");
        if path.contains("..") {
            continue;
        }
        guarded(&answer);
        assert!(text(answer).await.contains("There is nothing here"), "{path}");
    }
    for path in ["/", "/ui/health", "/ui/repository/a"] {
        assert_eq!(registry.send("POST", path).await.status(), 405, "{path}");
        assert_eq!(registry.send("DELETE", path).await.status(), 405, "{path}");
    }
    let assets =
        [("style.css", "text/css"), ("copy.js", "text/javascript"), ("icon.svg", "image/svg+xml")];
    for (name, kind) in assets {
        let answer = registry.send("GET", &format!("/ui/{name}")).await;
        assert!(field(&answer, "content-type").starts_with(kind));
        guarded(&answer);
        assert!(!answer.text().await.unwrap().contains("http:") || name == "icon.svg");
    }
}

#[tokio::test]
async fn sizes_that_are_more_than_there_are_numbers_for_are_shown() {
    let registry = Registry::over(None).await;
    let config = registry.push("a", b"{}").await;
    let text = image(&config, &config, "");
    let (before, layer) = text.split_once(r#""layers":["#).unwrap();
    let foreign = registry::media_type::DOCKER_FOREIGN_LAYER;
    let layer = layer.replace("application/vnd.oci.image.layer.v1.tar", foreign);
    let layer =
        layer.strip_suffix("]}").unwrap().replace(r#""size":2"#, r#""size":1125899906842624"#);
    let text = format!(r#"{before}"layers":[{}{layer}]}}"#, format!("{layer},").repeat(17_000));
    assert_eq!(registry.put("a", "v1", OCI_MANIFEST, &text).await.status(), 201);
    let child = descriptor(OCI_MANIFEST, &text);
    let index = format!(r#"{{"schemaVersion":2,"manifests":[{child},{child}]}}"#);
    let kind = registry::media_type::OCI_INDEX;
    assert_eq!(registry.put("a", "v2", kind, &index).await.status(), 201);
    for path in ["/", "/ui/repository/a", "/ui/image/a:v1", "/ui/image/a:v2"] {
        page(&registry, path).await;
    }
}
