//! Guessing: it is slow for who guesses, and only for them.

use std::net::IpAddr;
use std::time::Duration;

use registry::server::settings::Anonymous;

use super::*;

/// A client at another address of this machine.
fn at(registry: &Registry, last: u8, authorization: &str) -> reqwest::RequestBuilder {
    let ca = fs_err::read(registry.dir.path().join("tls/ca.crt")).unwrap();
    let client = Client::builder()
        .no_proxy()
        .local_address(IpAddr::from([127, 0, 0, last]))
        .tls_certs_only([reqwest::Certificate::from_pem(&ca).unwrap()])
        .build()
        .unwrap();
    client.get(format!("{}/v2/", registry.base)).header("authorization", authorization)
}

async fn try_at(registry: &Registry, last: u8, user: &str, password: &str) -> u16 {
    at(registry, last, &basic(user, password)).send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn who_guesses_has_to_wait_and_nobody_else() {
    let registry = guarded(Anonymous::None).await;
    let right = password("puller");
    // Verified before: not even looked at again.
    assert_eq!(try_at(&registry, 2, "pusher", &password("pusher")).await, 200);
    let mut answers = Vec::new();
    for n in 0..12 {
        answers.push(try_at(&registry, 2, "puller", &format!("guess {n}")).await);
    }
    assert_eq!(answers[..10], [401; 10]);
    assert!(answers[10..].contains(&429), "{answers:?}");
    let answer = at(&registry, 2, &basic("idle", "x")).send().await.unwrap();
    assert!(field(&answer, "retry-after").parse::<u64>().unwrap() >= 1);
    assert_eq!(refusal(answer).await, (429, "TOOMANYREQUESTS".to_owned()));
    assert_eq!(try_at(&registry, 2, "pusher", &password("pusher")).await, 200);
    assert_eq!(try_at(&registry, 3, "puller", &right).await, 200);
    // The endpoint for tokens has the same memory.
    let request = at(&registry, 2, &basic("idle", "y"));
    let (client, request) = request.build_split();
    let mut request = request.unwrap();
    request.url_mut().set_path("/token");
    assert_eq!(client.execute(request).await.unwrap().status(), 429);
}

#[tokio::test]
async fn a_name_that_many_guess_at_still_lets_its_owner_in() {
    let registry = guarded(Anonymous::None).await;
    let right = password("puller");
    assert_eq!(try_at(&registry, 2, "puller", &right).await, 200);
    for n in 0..25 {
        let status = try_at(&registry, 10 + n, "puller", "guess").await;
        assert!(status == 401 || status == 429, "{status}");
    }
    // Another hash of the same password, and so it is verified again.
    let data = registry.dir.path();
    let users = fs_err::read_to_string(data.join("users")).unwrap();
    let others = users
        .lines()
        .filter(|line| !line.starts_with("puller:"))
        .fold(String::new(), |text, line| text + line + "\n");
    fs_err::write(data.join("users"), others + &line("puller", &right)).unwrap();
    fs_err::write(data.join("robots"), format!("robot:{}\n", digest("another").hex())).unwrap();
    becomes(&registry, &basic("robot", "robot token"), "/v2/", 401).await;
    assert_eq!(try_at(&registry, 2, "puller", &right).await, 200);
    // From an address that was never seen: after a wait of seconds.
    let mut status = 0;
    for _ in 0..40 {
        status = try_at(&registry, 99, "puller", &right).await;
        if status != 429 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    assert_eq!(status, 200);
}

#[tokio::test]
async fn a_users_file_that_is_gone_locks_nobody_out() {
    let registry = guarded(Anonymous::None).await;
    let data = registry.dir.path();
    fs_err::rename(data.join("users"), data.join("users.new")).unwrap();
    // The other files are read while it is gone, which shows that it was looked at.
    fs_err::write(data.join("robots"), format!("robot:{}\n", digest("another").hex())).unwrap();
    becomes(&registry, &basic("robot", "another"), "/v2/", 200).await;
    assert_eq!(send_as(&registry, "puller", "GET", "/v2/").await.status(), 200);
    let status = registry::server::control::ask_status(data).await.unwrap();
    let problem = status.access_problem.unwrap();
    assert!(problem.contains("users` is gone"), "{problem}");
    let metrics = send_as(&registry, "root", "GET", "/metrics").await.text().await.unwrap();
    assert!(metrics.contains("bundle_registry_access_files_held 1\n"), "{metrics}");
    fs_err::rename(data.join("users.new"), data.join("users")).unwrap();
    for _ in 0..150 {
        let status = registry::server::control::ask_status(data).await.unwrap();
        if status.access_problem.is_none() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the file that came back was not read");
}

#[tokio::test]
async fn a_pipe_is_no_users_file() {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    let dir = tempfile::tempdir().unwrap();
    prepare(dir.path());
    fs_err::remove_file(dir.path().join("users")).unwrap();
    let path = dir.path().join("users");
    mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    let refused = registry::server::Server::bind(config(dir.path())).await.err().unwrap();
    assert!(refused.to_string().contains("users` is a pipe, not a regular file"), "{refused}");
}
