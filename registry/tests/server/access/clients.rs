//! Other people's clients, and ours, log in and move an image.

use std::process::Command;
use std::sync::Arc;

use bytes::Bytes;
use format_spec::{Digest, Repository, Tag};
use registry::client::{Client, ClientOptions, ErrorKind, Pushed};
use registry::reference::{ManifestRef, RegistryHost};
use registry::server::settings::Anonymous;

use super::*;

/// Runs skopeo; what it said, when it failed.
async fn skopeo(arguments: Vec<String>, stdin: &str) -> Result<(), String> {
    let input = tempfile::NamedTempFile::new().unwrap();
    fs_err::write(input.path(), stdin).unwrap();
    let mut command = Command::new("skopeo");
    command.args(arguments).stdin(fs_err::File::open(input.path()).unwrap().into_parts().0);
    let outcome = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    match outcome.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&outcome.stderr).into_owned()),
    }
}

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

#[tokio::test]
async fn skopeo_logs_in_and_copies() {
    if Command::new("skopeo").arg("--version").output().is_err() {
        println!("skipped: skopeo is not installed");
        return;
    }
    let registry = guarded(Anonymous::None).await;
    registry.image("team/app", "v1", "hello").await;
    let dir = tempfile::tempdir().unwrap();
    let certs = dir.path().join("certs");
    fs_err::create_dir(&certs).unwrap();
    fs_err::copy(registry.dir.path().join("tls/ca.crt"), certs.join("ca.crt")).unwrap();
    let (host, certs) = (registry.host(), certs.display());
    let auth = |user: &str| dir.path().join(user).display().to_string();
    for user in ["pusher", "puller", "robot"] {
        let secret = match user {
            "robot" => "robot token".to_owned(),
            user => password(user),
        };
        let line = format!(
            "login --authfile {} --cert-dir {certs} -u {user} --password-stdin {host}",
            auth(user)
        );
        skopeo(words(&line), &secret).await.unwrap();
    }
    let line = format!(
        "login --authfile {} --cert-dir {certs} -u puller --password-stdin {host}",
        auth("x")
    );
    let refused = skopeo(words(&line), "wrong").await.unwrap_err();
    assert!(
        refused.contains("invalid username/password") || refused.contains("unauthorized"),
        "{refused}"
    );

    let copy = |user: &str, from: &str, to: &str| {
        words(&format!(
            "--insecure-policy copy --preserve-digests --src-authfile {0} --dest-authfile {0} --src-cert-dir {certs} \
             --dest-cert-dir {certs} {from} {to}",
            auth(user)
        ))
    };
    let (old, new) =
        (format!("docker://{host}/team/app:v1"), format!("docker://{host}/team/new:v1"));
    let store = format!("dir:{}", dir.path().join("image").display());
    for user in ["puller", "robot", "pusher"] {
        skopeo(copy(user, &old, &store), "").await.unwrap();
    }
    skopeo(copy("pusher", &old, &new), "").await.unwrap();
    skopeo(copy("pusher", &store, &new), "").await.unwrap();
    let refused = skopeo(copy("puller", &store, &format!("{new}2")), "").await.unwrap_err();
    assert!(refused.contains("denied"), "{refused}");
    let other = format!("docker://{host}/other/app:v1");
    let refused = skopeo(copy("pusher", &store, &other), "").await.unwrap_err();
    // Asked with HEAD, whose answer has no body.
    assert!(refused.contains("403"), "{refused}");
}

fn ours(registry: &Registry, dir: &std::path::Path, user: &str) -> (Client, RegistryHost) {
    use base64::Engine as _;
    let auth = STANDARD.encode(format!("{user}:{}", password(user)));
    let file = dir.join(format!("{user}.json"));
    let text = serde_json::json!({ "auths": { registry.host(): { "auth": auth } } });
    fs_err::write(&file, text.to_string()).unwrap();
    let ca_files = vec![registry.dir.path().join("tls/ca.crt")];
    let mut options = ClientOptions { authfile: Some(file), ca_files, ..Default::default() };
    options.retry.times = 0;
    (Client::new(options).unwrap(), registry.host().parse().unwrap())
}

#[tokio::test]
async fn our_client_pushes_pulls_and_is_refused() {
    let registry = guarded(Anonymous::None).await;
    let dir = tempfile::tempdir().unwrap();
    let (pusher, host) = ours(&registry, dir.path(), "pusher");
    pusher.ping(&host).await.unwrap();
    let team: Repository = "team/app".parse().unwrap();
    let data = Bytes::from(noise(7, 3_000_000));
    let (blob, size) = (Digest::of(&data), data.len() as u64);
    let source: Arc<Bytes> = Arc::new(data);
    let pushed = pusher.push_blob(&host, &team, &blob, size, source.clone(), None).await.unwrap();
    assert_eq!(pushed, Pushed::Uploaded);
    let new: Repository = "team/new".parse().unwrap();
    let pushed =
        pusher.push_blob(&host, &new, &blob, size, source.clone(), Some(&team)).await.unwrap();
    assert_eq!(pushed, Pushed::Mounted);

    registry.image("team/app", "v1", "hello").await;
    let (puller, _) = ours(&registry, dir.path(), "puller");
    let tag = ManifestRef::from("v1".parse::<Tag>().unwrap());
    puller.get_manifest(&host, &team, &tag).await.unwrap();
    let unknown = digest("new");
    let refused =
        puller.push_blob(&host, &team, &unknown, 3, Arc::new(Bytes::from_static(b"new")), None);
    let refused = refused.await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Credentials, "{refused}");
}
