//! Logins, roles and TLS, through real connections.

mod clients;
mod logins;
mod operations;
mod roles;
mod sequences;
mod tls;
mod tokens;

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use registry::server::settings::{Access, Anonymous};
use registry::server::{ServerConfig, Transport, certificate};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Client, Response};
use serde_json::Value;

use crate::support::*;

/// `root` may do everything, `pusher` and `puller` their part in `team/**`, `deleter` all there, `idle` nothing.
pub const ROLES: &str = r#"
[[grant]]
to = ["root"]
admin = true
[[grant]]
to = ["puller", "robot"]
allow = ["pull"]
repositories = ["team/**"]
[[grant]]
to = ["pusher"]
allow = ["pull", "push"]
repositories = ["team/**"]
[[grant]]
to = ["deleter"]
allow = ["pull", "push", "delete"]
repositories = ["team/**"]
"#;

/// The password of a user of these tests.
pub fn password(user: &str) -> String {
    format!("secret of {user}")
}

pub fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

/// A cheap hash: these tests are about other things.
pub fn line(user: &str, password: &str) -> String {
    format!("{user}:{}\n", bcrypt::hash(password, 4).unwrap())
}

/// The users, roles and certificate of these tests in a new data directory.
pub fn prepare(data: &Path) {
    let users = ["root", "puller", "pusher", "deleter", "idle"];
    let text: String = users.iter().map(|user| line(user, &password(user))).collect();
    fs_err::write(data.join("users"), text).unwrap();
    let robot = digest("robot token").hex();
    let ended = digest("ended token").hex();
    let text = format!("robot:{robot}\nended:{ended}:2020-01-01T00:00:00Z\n");
    fs_err::write(data.join("robots"), text).unwrap();
    fs_err::write(data.join("roles.toml"), ROLES).unwrap();
    make(data);
}

/// A certificate for clients that are made before the registry runs.
pub fn make(data: &Path) {
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    certificate::make(&certificate::directory(data), &names).unwrap();
}

/// A client that trusts the registry's authority and sends these credentials.
pub fn trusting(data: &Path, authorization: Option<&str>) -> Client {
    let _ = client();
    let mut headers = HeaderMap::new();
    if let Some(value) = authorization {
        headers.insert(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
    }
    let ca = fs_err::read(data.join("tls/ca.crt")).unwrap();
    Client::builder()
        .no_proxy()
        .default_headers(headers)
        .tls_certs_only([reqwest::Certificate::from_pem(&ca).unwrap()])
        .build()
        .unwrap()
}

pub fn config(data: &Path) -> ServerConfig {
    let mut config = ServerConfig::new(data, "127.0.0.1:0".parse().unwrap());
    config.transport = Transport::Tls;
    config
}

/// A registry with users; its client is `root`.
pub async fn guarded(anonymous: Anonymous) -> Registry {
    let dir = tempfile::tempdir().unwrap();
    prepare(dir.path());
    let mut config = config(dir.path());
    config.settings.access = Access { anonymous };
    let root = trusting(dir.path(), Some(&basic("root", &password("root"))));
    Registry::of(dir, config, root).await
}

/// Sends a request as somebody; `""` is nobody.
pub async fn send_as(registry: &Registry, user: &str, method: &str, path: &str) -> Response {
    let authorization = match user {
        "" => None,
        user => Some(basic(user, &password(user))),
    };
    send_with(registry, authorization.as_deref(), method, path).await
}

/// Sends a request with this `Authorization`.
pub async fn send_with(
    registry: &Registry,
    authorization: Option<&str>,
    method: &str,
    path: &str,
) -> Response {
    let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
    trusting(registry.dir.path(), authorization)
        .request(method, format!("{}{path}", registry.base))
        .send()
        .await
        .unwrap()
}

/// All challenges of an answer.
pub fn challenges(answer: &Response) -> Vec<String> {
    let found = answer.headers().get_all("www-authenticate").iter();
    found.map(|value| value.to_str().unwrap().to_owned()).collect()
}

/// Asks for a token; the header to use it with.
pub async fn token(registry: &Registry, user: &str, scopes: &[&str]) -> String {
    let query = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("service", "bundle-registry")
        .append_pair("account", user)
        .extend_pairs(scopes.iter().map(|scope| ("scope", scope)))
        .finish();
    let answer = send_as(registry, user, "GET", &format!("/token?{query}")).await;
    assert_eq!(answer.status(), 200);
    let body: Value = answer.json().await.unwrap();
    assert_eq!(body["token"], body["access_token"]);
    assert_eq!(body["expires_in"], 600);
    format!("Bearer {}", body["token"].as_str().unwrap())
}

/// Asks again until the answer is this one: changed files are looked at every few seconds.
pub async fn becomes(registry: &Registry, authorization: &str, path: &str, status: u16) {
    for _ in 0..150 {
        let answer = send_with(registry, Some(authorization), "GET", path).await;
        if answer.status().as_u16() == status {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("{path} never became {status}");
}
