//! A signature policy on every way by which images come: catalogs, releases, charts, mirrors, signatures on a web server.

#![allow(clippy::unwrap_used)]

mod support;

use std::io::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex};

use fs_err as fs;
use serde_json::{Value, json};
use support::command::Run;
use support::operators::{Catalogs, INDEX};
use support::releases::{COMPONENTS, RELEASES, Releases, listening, names};
use support::server::fs_write;
use support::site::Site;
use support::test_key::TestKey;
use support::text;

/// A policy that refuses everything but these scopes.
fn policy(site: &Site, scopes: &Value) -> String {
    let path = site.path("policy.json");
    let policy = json!({"default": [{"type": "reject"}], "transports": {"docker": scopes}});
    fs_write(&path, policy.to_string().as_bytes());
    text(&path).to_owned()
}

fn accept() -> Value {
    json!([{"type": "insecureAcceptAnything"}])
}

/// A server of signatures, and what it was asked for. It has what the closure has.
fn web(
    has: impl Fn(&str) -> Option<Vec<u8>> + Send + Sync + 'static,
) -> (String, Arc<Mutex<Vec<String>>>) {
    let (listener, host) = support::listener();
    let asked = Arc::<Mutex<Vec<String>>>::default();
    let heard = Arc::clone(&asked);
    support::serve(listener, move |mut stream| -> std::io::Result<()> {
        let mut reader = std::io::BufReader::new(stream.try_clone()?);
        let mut line = String::new();
        std::io::BufRead::read_line(&mut reader, &mut line)?;
        support::wire::read_headers(&mut reader)?;
        let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
        let answer = has(&path);
        heard.lock().unwrap().push(path);
        let (status, body) = match &answer {
            Some(body) => (200, &**body),
            None => (404, &b""[..]),
        };
        let length = body.len();
        write!(
            stream,
            "HTTP/1.1 {status} X\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
        )?;
        stream.write_all(body)
    });
    (host, asked)
}

fn registries_d(site: &Site, text_of_it: &str) -> String {
    let directory = site.path("registries.d");
    fs::create_dir_all(&directory).unwrap();
    fs_write(&directory.join("site.yaml"), text_of_it.as_bytes());
    text(&directory).to_owned()
}

#[test]
fn signatures_are_had_from_a_web_server() {
    let Some(key) = TestKey::new() else { return };
    let site = Site::new();
    let host = site.source.host.clone();
    let registry = &site.source.registry;
    let images = ["a", "b", "c"]
        .map(|name| registry.image(&format!("team/{name}"), "1", &[name.as_bytes()]));
    site.images(&["team/a:1", "team/b:1", "team/c:1"]);
    fs_write(&site.path("key.pgp"), &key.public());
    let place = |at: usize| {
        let image = &images[at];
        format!("/store/x/{}@sha256={}/signature-", image.repo, image.digest.hex())
    };
    let sign =
        |at: usize, name: &str| key.sign(&images[at].digest.to_string(), &format!("{host}/{name}"));
    // The first has one that counts behind one that does not, the second one with another tag, the third none.
    let files = [
        (format!("{}1", place(0)), sign(1, "team/a:1")),
        (format!("{}2", place(0)), sign(0, "team/a:1")),
        (format!("{}1", place(1)), sign(1, "team/b:2")),
    ];
    let (server, asked) =
        web(move |path| files.iter().find(|(name, _)| name == path).map(|(_, file)| file.clone()));
    let registries = registries_d(
        &site,
        &format!("docker:\n  {host}:\n    lookaside: http://{server}/store/x/\n"),
    );
    let signed =
        json!([{"type": "signedBy", "keyType": "GPGKeys", "keyPath": site.path("key.pgp")}]);
    let file = policy(&site, &json!({&*host: signed}));
    let run = site
        .create("media", &["--policy", &file, "--registries-d", &registries, "--output", "json"])
        .code(8);
    let answer = run.json();
    let failures = answer["failures"].as_array().unwrap();
    let reason = |at: usize| failures[at]["reason"].as_str().unwrap();
    assert_eq!(failures.len(), 2, "{run}");
    assert!(
        reason(0).contains("team/b:2") && reason(0).contains("matchRepoDigestOrExact"),
        "{run}"
    );
    assert!(reason(1).contains("no such signature") && reason(1).contains(&server), "{run}");
    let asked = asked.lock().unwrap().clone();
    // Until there is no more, and no longer than needed for the one that counts.
    for (at, count) in [(0, 3), (1, 2), (2, 1)] {
        assert_eq!(
            asked.iter().filter(|path| path.starts_with(&place(at))).count(),
            count,
            "{asked:?}"
        );
    }
    site.import("media", &[]).ok();
    site.same(&["team/a:1"]);
    // A place that cannot be asked may have the one that counts.
    let gone =
        registries_d(&site, &format!("docker:\n  {host}:\n    lookaside: http://127.0.0.1:1/x\n"));
    let options =
        ["--policy", &*file, "--registries-d", &gone, "--retry-times", "0", "--full", "--strict"];
    site.create("other", &options).refused(&[75]).says("its signatures cannot be looked for");
}

/// The requests of a create, by method and path.
fn requests(site: &Site, more: &[&str], media: &str) -> Vec<String> {
    let (host, heard) = listening(&site.source.host);
    site.images_at(&host, &["team/app:1", "team/large:1"]);
    let workspace = site.path(&format!("workspace-{media}"));
    let run = site.bundle(
        &[
            &[
                "create",
                "--config",
                text(&site.path("imageset.yaml")),
                "--to",
                text(&site.path(media)),
            ][..],
            &["--workspace", text(&workspace)],
            more,
        ]
        .concat(),
    );
    run.ok();
    let heard = heard.lock().unwrap();
    let all: String = heard
        .iter()
        .map(|one| String::from_utf8_lossy(&one.lock().unwrap()).into_owned())
        .collect();
    let lines = all.lines().filter(|line| line.ends_with("HTTP/1.1"));
    // Behind the greeting of TLS, which has other bytes each time.
    let lines = lines.filter_map(|line| Some(line[line.find("GET /")?..].to_owned()));
    let mut lines: Vec<String> = lines.collect();
    lines.sort();
    lines
}

#[test]
fn what_asks_for_no_signature_costs_no_request() {
    let site = Site::new();
    site.source.registry.image("team/app", "1", &[b"app"]);
    // One that is larger than what is kept while signatures are looked for.
    let layers: Vec<String> = (0..500).map(|number| format!("layer {number}")).collect();
    let layers: Vec<&[u8]> = layers.iter().map(String::as_bytes).collect();
    let large = site.source.registry.image("team/large", "1", &layers);
    assert!(large.size > 64 * 1024);
    let file = policy(&site, &json!({"": accept()}));
    let without = requests(&site, &[], "one");
    assert_eq!(requests(&site, &["--policy", &file], "two"), without);
}

#[test]
fn the_policy_sees_the_name_that_was_written_and_not_the_mirror() {
    let site = Site::new();
    site.source.registry.image("hub/app", "1", &[b"app"]);
    let mirror = &site.source.host;
    let conf = site.path("registries.conf");
    let text_of_it = format!(
        "[[registry]]\nprefix = \"q.example.com/team\"\nlocation = \"{mirror}/hub\"\ninsecure = true\n"
    );
    fs_write(&conf, text_of_it.as_bytes());
    site.images_at("q.example.com", &["team/app:1"]);
    let create = |scope: &str| {
        let file = policy(&site, &json!({scope: accept()}));
        site.create("media", &["--dry-run", "--registries-conf", text(&conf), "--policy", &file])
    };
    create("q.example.com/team/app:1").ok();
    create(mirror).refused(&[8]).says("q.example.com/team/app:1");
}

#[test]
fn catalogs_and_their_images_are_judged() {
    let catalogs = Catalogs::new();
    let site = &catalogs.site;
    let host = &site.source.host;
    let package = |name| catalogs.package(name, &[("stable", &["1.0.0"])]);
    catalogs.catalog(
        "v4.18",
        &[("first", package("first")), ("second", package("second"))],
        &["amd64"],
    );
    catalogs.configure("  - catalog: INDEX:v4.18\n");
    // The catalog by its very tag: it is asked for by digest later, and stays accepted.
    let index = format!("{host}/{INDEX}:v4.18");
    let scopes = json!({&*index: accept(), format!("{host}/first"): accept()});
    let file = policy(site, &scopes);
    let run = catalogs.create("media", &["--policy", &file]).code(4);
    run.says("the policy refuses").says(&format!("{host}/second/"));
    site.import("media", &[]).ok();
    assert!(site.target.manifest("first/operator", "x").is_none());
    let seen = catalogs.seen(INDEX, "v4.18", "amd64");
    assert_eq!(seen.iter().filter(|(path, _)| path.contains("second")).count(), 0);
    // Without the catalog there is nothing, and nothing of it was read.
    let file = policy(site, &json!({format!("{host}/first"): accept()}));
    let run = catalogs.create("other", &["--policy", &file, "--full", "--dry-run"]);
    run.refused(&[4]).says(&index).says("blockedImages");
}

fn mirrored(releases: &Releases, from: &str, policy: &str) -> Run {
    let to = format!("{}/mirror/ocp", releases.site.target.host);
    let store = releases.site.path("store");
    let more = ["--to", &to, "--signature-store", text(&store), "--policy", policy];
    releases.release_command(&["mirror", "--from", from], &more)
}

#[test]
fn releases_are_carried_whole_or_not_at_all() {
    let Some(releases) = Releases::new() else { return };
    let site = &releases.site;
    let host = &site.source.host;
    let components = releases.components(&names()[..3], "4.18.5");
    let payload = releases.release("4.18.5", &components);
    releases.configure(&payload, "");
    let (release, parts) = (format!("{host}/{RELEASES}"), format!("{host}/{COMPONENTS}"));
    let by_digest = format!("{release}@{}", payload.digest);
    // A component is refused, and with it the release.
    let file = policy(site, &json!({&*release: accept()}));
    releases.create("media", &["--policy", &file]).refused(&[2]).says(&parts).says("`reject`");
    mirrored(&releases, &by_digest, &file).refused(&[2]).says(&parts).says("blockedImages");
    // The release image itself.
    let file = policy(site, &json!({&*parts: accept()}));
    releases.create("media", &["--policy", &file]).refused(&[2]).says(&release);
    mirrored(&releases, &by_digest, &file).refused(&[2]).says(&release).says("a scope of its own");
    let file = policy(site, &json!({&*parts: accept(), &*release: accept()}));
    releases.create("media", &["--policy", &file]).ok();
    mirrored(&releases, &by_digest, &file).ok();
    // The keys of a release are asked beside a policy, not in its place.
    let signed =
        json!([{"type": "signedBy", "keyType": "GPGKeys", "keyPath": site.path("keys.pgp")}]);
    let file = policy(site, &json!({&*parts: accept(), &*release: signed}));
    releases
        .create("media", &["--policy", &file, "--full", "--strict"])
        .refused(&[2])
        .says("no such signature");
}

#[test]
fn a_straight_mirror_leaves_behind_what_is_refused() {
    let site = Site::new();
    let (registry, host) = (&site.source.registry, &site.source.host);
    registry.image("team/good", "1", &[b"good"]);
    registry.image("team/bad", "1", &[b"bad"]);
    site.images(&["team/good:1", "team/bad:1"]);
    let file = policy(&site, &json!({format!("{host}/team/good"): accept()}));
    let (config, workspace) = (site.path("imageset.yaml"), site.path("connected"));
    let target = format!("docker://{}/ns", site.target.host);
    site.bundle(&[
        "mirror",
        "--config",
        text(&config),
        "--workspace",
        text(&workspace),
        "--policy",
        &file,
        &target,
    ])
    .code(8)
    .says("team/bad:1");
    assert!(site.target.registry.manifest("ns/team/good", "1").is_some());
    assert!(site.target.registry.manifest("ns/team/bad", "1").is_none());
}

#[test]
fn an_earlier_sequence_is_sent_again_without_a_policy() {
    let site = Site::new();
    let file = policy(&site, &json!({}));
    let run = site.bundle(&["create", "--to", "media", "--resend", "1", "--policy", &file]);
    run.code(64).says("--policy");
    assert!(!Path::new(&site.path("media")).exists());
}
