//! What each role may do, in every kind of request.

use registry::server::settings::Anonymous;
use registry::server::{Server, ServerConfig, ServerError, Transport};

use super::*;

#[tokio::test]
async fn each_role_may_do_its_part_and_no_more() {
    let registry = guarded(Anonymous::None).await;
    registry.image("team/app", "v1", "hello").await;
    registry.image("other/app", "v1", "hello").await;
    let (blob, none) = (digest("hello"), digest("none"));
    // What is asked, and what nobody, idle, puller, pusher, deleter and root get.
    let users = ["", "idle", "puller", "pusher", "deleter", "root"];
    for (method, path, expected) in [
        ("GET", "/v2/".to_owned(), [401, 200, 200, 200, 200, 200]),
        ("GET", "/v2/team/app/manifests/v1".to_owned(), [401, 403, 200, 200, 200, 200]),
        ("HEAD", "/v2/team/app/manifests/v1".to_owned(), [401, 403, 200, 200, 200, 200]),
        ("GET", format!("/v2/team/app/blobs/{blob}"), [401, 403, 200, 200, 200, 200]),
        ("GET", "/v2/team/app/tags/list".to_owned(), [401, 403, 200, 200, 200, 200]),
        ("GET", format!("/v2/team/app/referrers/{blob}"), [401, 403, 200, 200, 200, 200]),
        ("GET", "/v2/other/app/manifests/v1".to_owned(), [401, 403, 403, 403, 403, 200]),
        ("GET", "/v2/none/at/all/manifests/v1".to_owned(), [401, 403, 403, 403, 403, 404]),
        ("POST", "/v2/team/app/blobs/uploads/".to_owned(), [401, 403, 403, 202, 202, 202]),
        ("POST", "/v2/other/app/blobs/uploads/".to_owned(), [401, 403, 403, 403, 403, 202]),
        ("GET", "/v2/team/app/blobs/uploads/1-2".to_owned(), [401, 403, 403, 404, 404, 404]),
        ("DELETE", "/v2/team/app/blobs/uploads/1-2".to_owned(), [401, 403, 403, 404, 404, 404]),
        ("PUT", "/v2/team/app/manifests/v2".to_owned(), [401, 403, 403, 400, 400, 400]),
        ("DELETE", "/v2/team/app/manifests/none".to_owned(), [401, 403, 403, 403, 404, 404]),
        ("DELETE", format!("/v2/team/app/blobs/{none}"), [401, 403, 403, 403, 404, 404]),
        ("GET", "/v2/_catalog".to_owned(), [401, 200, 200, 200, 200, 200]),
    ] {
        for (user, expected) in users.into_iter().zip(expected) {
            let answer = send_as(&registry, user, method, &path).await;
            assert_eq!(answer.status().as_u16(), expected, "{user} {method} {path}");
            let (told, code) = (challenges(&answer), expected);
            assert_eq!(told.is_empty(), code != 401, "{user} {method} {path}: {told:?}");
            if method != "HEAD" && (code == 401 || code == 403) {
                let wanted = if code == 401 { "UNAUTHORIZED" } else { "DENIED" };
                assert_eq!(refusal(answer).await, (code, wanted.to_owned()));
            }
        }
    }
}

#[tokio::test]
async fn a_list_shows_what_its_reader_may_pull() {
    let registry = guarded(Anonymous::None).await;
    for name in ["other/app", "team/a", "team/b", "zoo"] {
        registry.image(name, "v1", "hello").await;
    }
    for (user, expected) in [
        ("root", &["other/app", "team/a", "team/b", "zoo"][..]),
        ("puller", &["team/a", "team/b"]),
        ("idle", &[]),
    ] {
        let answer = send_as(&registry, user, "GET", "/v2/_catalog").await;
        let body: Value = answer.json().await.unwrap();
        assert_eq!(body["repositories"], serde_json::json!(expected), "{user}");
    }
    let answer = send_as(&registry, "puller", "GET", "/v2/_catalog?n=1").await;
    assert!(field(&answer, "link").contains("last=team%2Fa"));
    let answer = send_as(&registry, "puller", "GET", "/v2/_catalog?n=1&last=team/a").await;
    assert!(answer.headers().get("link").is_none());
}

#[tokio::test]
async fn a_mount_needs_leave_to_read_where_it_comes_from() {
    let registry = guarded(Anonymous::None).await;
    let secret = registry.push("other/app", b"secret").await;
    let open = registry.push("team/app", b"open").await;
    for (digest, from, user, expected) in [
        (secret, "other/app", "pusher", 202),
        (open, "team/app", "pusher", 201),
        (secret, "other/app", "root", 201),
    ] {
        let path = format!("/v2/team/{user}-new/blobs/uploads/?mount={digest}&from={from}");
        let answer = send_as(&registry, user, "POST", &path).await;
        assert_eq!(answer.status(), expected, "{user} {from}");
    }
    // A token has to grant it as well.
    let path = format!("/v2/team/new/blobs/uploads/?mount={open}&from=team/app");
    let into = "repository:team/new:pull,push";
    let alone = token(&registry, "pusher", &[into]).await;
    assert_eq!(send_with(&registry, Some(&alone), "POST", &path).await.status(), 202);
    let both = token(&registry, "pusher", &[into, "repository:team/app:pull"]).await;
    assert_eq!(send_with(&registry, Some(&both), "POST", &path).await.status(), 201);
}

#[tokio::test]
async fn anonymous_pull_is_pull_and_nothing_more() {
    let registry = guarded(Anonymous::Pull).await;
    registry.image("any/thing", "v1", "hello").await;
    for (method, path, expected) in [
        ("GET", "/v2/", 401),
        ("GET", "/v2/_catalog", 401),
        ("GET", "/v2/any/thing/manifests/v1", 200),
        ("POST", "/v2/any/thing/blobs/uploads/", 401),
        ("PUT", "/v2/any/thing/manifests/v2", 401),
        ("DELETE", "/v2/any/thing/manifests/v1", 401),
    ] {
        let answer = send_as(&registry, "", method, path).await;
        assert_eq!(answer.status(), expected, "{method} {path}");
    }
    // Somebody without a role may do no less, but wrong credentials are wrong.
    let path = "/v2/any/thing/manifests/v1";
    assert_eq!(send_as(&registry, "idle", "GET", path).await.status(), 200);
    let wrong = basic("idle", "wrong");
    assert_eq!(send_with(&registry, Some(&wrong), "GET", path).await.status(), 401);
    let answer = send_as(&registry, "", "GET", "/token?scope=repository:any/thing:pull,push").await;
    let body: Value = answer.json().await.unwrap();
    let bearer = format!("Bearer {}", body["token"].as_str().unwrap());
    assert_eq!(send_with(&registry, Some(&bearer), "GET", path).await.status(), 200);
    let push = "/v2/any/thing/blobs/uploads/";
    assert_eq!(send_with(&registry, Some(&bearer), "POST", push).await.status(), 401);
}

#[tokio::test]
async fn without_users_only_this_machine_is_served() {
    let dir = tempfile::tempdir().unwrap();
    let bind = |address: &str, transport: Transport| {
        let mut config = ServerConfig::new(dir.path(), address.parse().unwrap());
        config.transport = transport;
        Server::bind(config)
    };
    let refused = bind("0.0.0.0:0", Transport::Tls).await.err().unwrap();
    assert!(matches!(refused, ServerError::NoUsers { .. }), "{refused}");
    let refused = bind("0.0.0.0:0", Transport::Http).await.err().unwrap();
    assert!(matches!(refused, ServerError::RemoteHttp(_)), "{refused}");
    drop(bind("127.0.0.1:0", Transport::Tls).await.unwrap());
    fs_err::write(dir.path().join("users"), "").unwrap();
    drop(bind("0.0.0.0:0", Transport::Tls).await.unwrap());

    fs_err::write(dir.path().join("users"), "root:plain\n").unwrap();
    let refused = bind("127.0.0.1:0", Transport::Tls).await.err().unwrap().to_string();
    assert!(refused.contains("line 1") && refused.contains("bcrypt"), "{refused}");
    fs_err::write(dir.path().join("users"), "").unwrap();
    fs_err::write(dir.path().join("roles.toml"), "[[grant]]\nto = 3").unwrap();
    let refused = bind("127.0.0.1:0", Transport::Tls).await.err().unwrap().to_string();
    assert!(refused.contains("roles.toml") && refused.contains("line 2"), "{refused}");
}

#[tokio::test]
async fn users_who_come_while_it_runs_close_an_open_registry() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path());
    let nobody = trusting(dir.path(), None);
    let config = config(dir.path());
    let registry = Registry::of(dir, config, nobody).await;
    registry.image("team/app", "v1", "hello").await;
    prepare_users(&registry);
    let path = "/v2/team/app/manifests/v1";
    becomes(&registry, "Basic", path, 401).await;
    assert_eq!(send_as(&registry, "puller", "GET", path).await.status(), 200);

    // Broken, and gone: what was said before holds.
    for break_it in [true, false] {
        let users = registry.dir.path().join("users");
        match break_it {
            true => fs_err::write(&users, "puller:plain\n").unwrap(),
            false => {
                for name in ["users", "robots", "roles.toml"] {
                    fs_err::remove_file(registry.dir.path().join(name)).unwrap();
                }
            }
        }
        tokio::time::sleep(std::time::Duration::from_secs(4)).await;
        assert_eq!(send_as(&registry, "", "GET", path).await.status(), 401);
        assert_eq!(send_as(&registry, "puller", "GET", path).await.status(), 200);
    }
}

fn prepare_users(registry: &Registry) {
    let other = tempfile::tempdir().unwrap();
    prepare(other.path());
    for name in ["roles.toml", "robots", "users"] {
        fs_err::copy(other.path().join(name), registry.dir.path().join(name)).unwrap();
    }
}

#[tokio::test]
async fn one_pusher_does_not_use_up_the_uploads_of_all() {
    let registry = guarded(Anonymous::None).await;
    let pusher = trusting(registry.dir.path(), Some(&basic("pusher", &password("pusher"))));
    let begin = |client: &Client| {
        client.post(format!("{}/v2/team/app/blobs/uploads/", registry.base)).send()
    };
    let mut begun = 0;
    let refused = loop {
        let answer = begin(&pusher).await.unwrap();
        if answer.status() != 202 {
            break answer;
        }
        begun += 1;
    };
    assert!((1000..2000).contains(&begun), "{begun}");
    assert_eq!(refused.status(), 429);
    assert_eq!(field(&refused, "retry-after"), "60");
    let text = refused.text().await.unwrap();
    assert!(text.contains("TOOMANYREQUESTS") && text.contains("1111 at most"), "{text}");
    // Somebody else has another share, from the same address.
    assert_eq!(begin(&registry.client).await.unwrap().status(), 202);
}
