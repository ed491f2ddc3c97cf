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
    // New to the registry since the files were read again, and so verified again.
    fs_err::write(registry.dir.path().join("robots"), "").unwrap();
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
