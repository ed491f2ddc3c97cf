//! The token endpoint, as docker, podman and containerd use it, and what tokens are good for.

use registry::server::settings::Anonymous;

use super::*;

#[tokio::test]
async fn challenges_lead_to_the_token_endpoint() {
    let registry = guarded(Anonymous::None).await;
    let host = registry.host().to_owned();
    let answer = send_as(&registry, "", "GET", "/v2/").await;
    assert_eq!(
        challenges(&answer),
        [
            format!(r#"Bearer realm="https://{host}/token",service="bundle-registry""#),
            r#"Basic realm="bundle-registry""#.to_owned()
        ]
    );
    assert_eq!(field(&answer, "docker-distribution-api-version"), "registry/2.0");
    for (method, path, scope) in [
        ("GET", "/v2/a/b/manifests/x", "repository:a/b:pull"),
        ("POST", "/v2/a/b/blobs/uploads/", "repository:a/b:pull,push"),
        ("DELETE", "/v2/a/b/manifests/x", "repository:a/b:pull,delete"),
        ("GET", "/v2/_catalog", "registry:catalog:*"),
    ] {
        let answer = send_as(&registry, "", method, path).await;
        assert!(challenges(&answer)[0].contains(&format!("scope=\"{scope}\"")), "{method} {path}");
    }
    // The name that the client uses is the one it gets; what is no name is not sent back.
    for (said, realm) in
        [("mirror.example:8443", "mirror.example:8443"), ("a\"b", &*host), ("a/b", &*host)]
    {
        let request = trusting(registry.dir.path(), None).get(format!("{}/v2/", registry.base));
        let answer = request.header("host", said).send().await.unwrap();
        let found = challenges(&answer).join(" ");
        assert!(found.contains(&format!("realm=\"https://{realm}/token\"")), "{said}: {found}");
    }
}

#[tokio::test]
async fn a_token_grants_what_was_asked_for_and_may_be_had() {
    let registry = guarded(Anonymous::None).await;
    registry.image("team/app", "v1", "hello").await;
    registry.image("other/app", "v1", "hello").await;
    let (team, other) = ("/v2/team/app/manifests/v1", "/v2/other/app/manifests/v1");
    let push = "/v2/team/app/blobs/uploads/";
    let pull =
        token(&registry, "pusher", &["repository:team/app:pull", "repository:other/app:pull"])
            .await;
    assert_eq!(send_with(&registry, Some(&pull), "GET", team).await.status(), 200);
    assert_eq!(send_with(&registry, Some(&pull), "GET", "/v2/").await.status(), 200);
    // It may not, whatever the token says.
    assert_eq!(send_with(&registry, Some(&pull), "GET", other).await.status(), 403);
    // It may, and has to ask for it.
    let answer = send_with(&registry, Some(&pull), "POST", push).await;
    assert_eq!(answer.status(), 401);
    let challenge = &challenges(&answer)[0];
    assert!(challenge.contains(r#"scope="repository:team/app:pull,push""#), "{challenge}");
    assert!(challenge.contains(r#"error="insufficient_scope""#), "{challenge}");
    let more =
        token(&registry, "pusher", &["repository:team/app:pull,push repository:x:pull"]).await;
    assert_eq!(send_with(&registry, Some(&more), "POST", push).await.status(), 202);
    // The words of docker for everything.
    let all = token(&registry, "deleter", &["repository:team/app:*"]).await;
    let delete = "/v2/team/app/manifests/none";
    assert_eq!(send_with(&registry, Some(&all), "DELETE", delete).await.status(), 404);
    let list = token(&registry, "puller", &["registry:catalog:*"]).await;
    assert_eq!(send_with(&registry, Some(&list), "GET", "/v2/_catalog").await.status(), 200);
    assert_eq!(send_with(&registry, Some(&pull), "GET", "/v2/_catalog").await.status(), 401);

    // The web page is no way around it.
    let (page, image) = ("/ui/repository/team/app", "/ui/image/team/app:v1");
    let one = token(&registry, "puller", &["repository:team/app:pull"]).await;
    let elsewhere = token(&registry, "puller", &["repository:x:pull"]).await;
    let none = token(&registry, "puller", &[]).await;
    for (bearer, status) in [(&one, 200), (&elsewhere, 404), (&none, 404), (&list, 404)] {
        for path in [page, image] {
            let answer = send_with(&registry, Some(bearer), "GET", path).await;
            assert_eq!(answer.status(), status, "{path}");
        }
        let answer = send_with(&registry, Some(bearer), "GET", "/").await;
        let shown = answer.text().await.unwrap().contains("team/app");
        assert_eq!(shown, status == 200);
    }
    assert_eq!(send_as(&registry, "puller", "GET", page).await.status(), 200);

    for bad in ["Bearer x", "Bearer a.b.c", &format!("{pull}x"), "Negotiate x", "Basic", "Basic ?"]
    {
        let answer = send_with(&registry, Some(bad), "GET", team).await;
        assert_eq!(refusal(answer).await, (401, "UNAUTHORIZED".to_owned()), "{bad}");
    }
}

#[tokio::test]
async fn the_endpoint_takes_forms_and_robots() {
    let registry = guarded(Anonymous::None).await;
    registry.image("team/app", "v1", "hello").await;
    let path = "/v2/team/app/manifests/v1";
    let post = |pairs: &[(&str, &str)]| {
        let form =
            url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        let request = trusting(registry.dir.path(), None).post(format!("{}/token", registry.base));
        request.header("content-type", "application/x-www-form-urlencoded").body(form).send()
    };
    let pair = |user| [("username", user), ("grant_type", "password"), ("client_id", "containerd")];
    let asked = ("scope", "repository:team/app:pull repository:team/b:pull");
    for (user, password, expected) in [
        ("puller", &*password("puller"), 200),
        ("robot", "robot token", 200),
        ("puller", "wrong", 401),
        ("robot", "wrong", 401),
        ("ended", "ended token", 401),
        ("nobody", "x", 401),
        ("", "", 401),
    ] {
        let [a, b, c] = pair(user);
        let answer = post(&[a, b, c, ("password", password), asked]).await.unwrap();
        assert_eq!(answer.status().as_u16(), expected, "{user}");
        if expected == 200 {
            let body: Value = answer.json().await.unwrap();
            let bearer = format!("Bearer {}", body["access_token"].as_str().unwrap());
            assert_eq!(send_with(&registry, Some(&bearer), "GET", path).await.status(), 200);
        }
    }
    let refresh = [("grant_type", "refresh_token"), ("refresh_token", "x")];
    assert_eq!(post(&refresh).await.unwrap().status(), 401);
    assert_eq!(post(&[("grant_type", "other")]).await.unwrap().status(), 400);
    let long = "x".repeat(100_000);
    assert_eq!(post(&[("grant_type", &long)]).await.unwrap().status(), 400);
    assert_eq!(send_as(&registry, "", "GET", "/token").await.status(), 401);
    assert_eq!(send_with(&registry, Some("Bearer x"), "GET", "/token").await.status(), 401);
    let put = send_as(&registry, "puller", "PUT", "/token").await;
    assert_eq!((put.status().as_u16(), field(&put, "allow")), (405, "GET, HEAD, POST".into()));
    // A robot without the endpoint.
    let basic_robot = basic("robot", "robot token");
    assert_eq!(send_with(&registry, Some(&basic_robot), "GET", path).await.status(), 200);
    let ended = basic("ended", "ended token");
    assert_eq!(send_with(&registry, Some(&ended), "GET", "/v2/").await.status(), 401);
}

#[tokio::test]
async fn what_is_taken_away_ends_at_once_for_tokens_too() {
    let registry = guarded(Anonymous::None).await;
    registry.image("team/app", "v1", "hello").await;
    let path = "/v2/team/app/manifests/v1";
    let scope = ["repository:team/app:pull"];
    let (puller, pusher) =
        (token(&registry, "puller", &scope).await, token(&registry, "pusher", &scope).await);
    let data = registry.dir.path();
    let users = fs_err::read_to_string(data.join("users")).unwrap();
    let others: String = users
        .lines()
        .filter(|line| !line.starts_with("puller:"))
        .map(|line| format!("{line}\n"))
        .collect();
    fs_err::write(data.join("users"), others + &line("puller", "another secret")).unwrap();
    becomes(&registry, &puller, path, 401).await;
    assert_eq!(send_as(&registry, "puller", "GET", path).await.status(), 401);
    let new = basic("puller", "another secret");
    assert_eq!(send_with(&registry, Some(&new), "GET", path).await.status(), 200);
    assert_eq!(send_with(&registry, Some(&pusher), "GET", path).await.status(), 200);

    fs_err::write(data.join("roles.toml"), ROLES.replace("\"pusher\"", "\"nobody\"")).unwrap();
    becomes(&registry, &pusher, path, 403).await;
}
