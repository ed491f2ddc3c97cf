//! `bundle list`: what the update service has, through the binary.

#![allow(clippy::unwrap_used)]

mod support;

use fs_err as fs;
use support::command::Run;
use support::openshift::Cincinnati;
use support::proxy::Proxy;
use support::tls::TlsRelay;

const DIGEST: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

/// A service with `stable-4.1`: 4.1.0 → 4.1.1, and → 4.1.2 with a risk.
fn small() -> Cincinnati {
    let service = Cincinnati::start();
    let payload = |n: u8| format!("quay.io/openshift/release@{}{n}", &DIGEST[..DIGEST.len() - 1]);
    let [a, b, c] = [0, 1, 2].map(payload);
    let releases = [("4.1.2", c.as_str()), ("4.1.0", &a), ("4.1.1", &b)];
    service.graph("amd64/stable-4.1", &releases, &[(1, 2)], &[("4.1.1", "4.1.2", "Hurts")]);
    service
}

#[test]
fn the_releases_of_a_channel() {
    let (service, home) = (small(), tempfile::tempdir().unwrap());
    let run = |more: &[&str]| {
        let line = [&["list", "releases"], more].concat();
        Run::of(&mut service.bundle(home.path(), &line))
    };
    let by_channel = run(&["--channel", "stable-4.1"]).ok();
    let lines: Vec<&str> = by_channel
        .stdout
        .lines()
        .map(|line| line.split("  https").next().unwrap().trim())
        .collect();
    assert_eq!(lines, ["stable-4.1 (amd64): 3", "4.1.0", "4.1.1", "4.1.2"]);
    assert_eq!(run(&["--version", "4.1"]).ok().stdout, by_channel.stdout);
    let json = run(&["--version=4.1", "--output=json"]).ok().json();
    let last = &json["channels"][0]["releases"][2];
    assert_eq!(
        (&last["version"], &last["errata"]),
        (&"4.1.2".into(), &"https://errata.example.com/4.1.2".into())
    );
    assert!(last["payload"].as_str().unwrap().starts_with("quay.io/openshift/release@sha256:aaa"));
    let channels = run(&["--version", "4.1", "--channels"]).ok();
    assert_eq!(channels.stdout, "channels of 4.1 (amd64)\n  stable-4.1\n");
    // One architecture that is not there does not hide the other.
    let two =
        run(&["--channel", "stable-4.1", "--filter-by-archs", "amd64,arm64", "--output", "json"])
            .code(2);
    assert_eq!(
        (
            two.json()["channels"].as_array().unwrap().len(),
            &two.json()["failures"][0]["architecture"]
        ),
        (1, &"arm64".into())
    );
    // To look leaves nothing behind.
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
    assert!(
        service.seen()[0]
            .starts_with("GET /api/upgrades_info/v1/graph?arch=amd64&channel=stable-4.1&id=")
    );
    assert!(service.seen()[0].to_lowercase().contains("accept: application/json"));
}

#[test]
fn an_update_path_with_its_risks() {
    let (service, home) = (small(), tempfile::tempdir().unwrap());
    let run = |more: &[&str]| {
        let line = [&["list", "releases", "--from-version", "4.1.0"], more].concat();
        Run::of(&mut service.bundle(home.path(), &line))
    };
    run(&["--to-version", "4.1.1"])
        .ok()
        .says("4.1.0 -> 4.1.1\n")
        .says("not in: 1, above 4.1.1 (4.1.2)");
    let none = run(&["--channel", "stable-4.1"]).refused(&[2]);
    none.says("no update path leads from 4.1.0 to 4.1.2")
        .says("`--accept-risks Hurts`")
        .says("https://risks.example.com/Hurts");
    for risks in [&["--accept-risks", "Hurts"][..], &["--accept-risks"]] {
        let line = [risks, &["--version", "4.1"]].concat();
        run(&line)
            .ok()
            .says("4.1.0 -> 4.1.1 -> 4.1.2")
            .says("risk on 4.1.1 -> 4.1.2: Hurts, https://risks.example.com/Hurts");
    }
    let json = run(&["--to-version", "4.1.1", "--output", "json"]).ok().json();
    assert_eq!(json["path"]["channels"][0]["chosen"], serde_json::json!(["4.1.0", "4.1.1"]));
    run(&["--to-version", "4.1.7"])
        .refused(&[2])
        .says("release 4.1.7 is not in channel `stable-4.1`")
        .says("nearest releases of the channel are 4.1.0, 4.1.1, 4.1.2");
}

#[test]
fn real_channels() {
    let (service, home) = (Cincinnati::start(), tempfile::tempdir().unwrap());
    let names =
        ["recorded/stable-4.7.amd64", "recorded/stable-4.8.amd64", "recorded/stable-4.9.amd64"];
    if !names.iter().all(|name| service.real(name)) {
        return;
    }
    let run = |line: &str| {
        Run::of(&mut service.bundle(home.path(), &line.split(' ').collect::<Vec<_>>()))
    };
    let all = run("list releases --version 4.9 --output json").ok().json();
    assert_eq!(all["channels"][0]["releases"].as_array().unwrap().len(), 90);
    run("list releases --channel stable-4.9 --from-version 4.8.11 --to-version 4.9.53")
        .ok()
        .says("  4.8.11 -> 4.8.54 -> 4.9.53\n");
    let channels = run("list releases --version 4.9 --channels").ok();
    let listed: Vec<&str> = channels.stdout.lines().skip(1).map(str::trim).collect();
    assert_eq!(listed, ["candidate-4.9", "fast-4.9", "stable-4.9"]);
    // No channel has both: the way goes over several.
    let far = run("list releases --from-version 4.7.30 --to-version 4.9.53").ok();
    far.says("stable-4.7: 4.7.30 -> 4.7.60")
        .says("stable-4.8: 4.7.60 -> 4.8.54")
        .says("stable-4.9: 4.8.54 -> 4.9.53");
}

#[test]
fn what_cannot_be_listed_is_told_with_the_next_step() {
    let (service, home) = (small(), tempfile::tempdir().unwrap());
    let run = |line: &str| {
        Run::of(&mut service.bundle(home.path(), &line.split(' ').collect::<Vec<_>>()))
    };
    run("list releases")
        .refused(&[64])
        .says("--channel stable-4.18")
        .says("--version 4.18 --channels");
    run("list").code(64).says("releases");
    run("list releases --version 4").code(64).says("expected a minor release");
    run("list releases --from-version 4.1.0").refused(&[64]).says("--to-version VERSION");
    run("list releases --channel Stable/4").refused(&[64]).says("stable-4.18");
    run("list releases --channel stable-4.1 --arch x86_64")
        .refused(&[64])
        .says("write one of amd64");
    run("list releases --channel stabel-4.1")
        .refused(&[2])
        .says("channels that it has for amd64: `stable-4.1`");
    service.answer("amd64/page", 200, "<!DOCTYPE html>\n<html>log in</html>");
    run("list releases --channel page")
        .refused(&[1])
        .says("a web page came instead of an update graph: it begins with `<!DOCTYPE html>`");
    service.answer("amd64/odd", 200, r#"{"version":1,"nodes":[{"version":"4.x","payload":""}]}"#);
    let odd = run("list releases --channel odd --output json").refused(&[1]);
    assert!(
        odd.json()["error"]["message"]
            .as_str()
            .unwrap()
            .contains("release 0 of the list has a malformed version, `4.x`"),
        "{odd}"
    );
    let mut wrong = service.bundle(home.path(), &["list", "releases", "--version", "4.1"]);
    let wrong = wrong.env("UPDATE_URL_OVERRIDE", "https://me:s3cret@update.lan/graph");
    let wrong = Run::of(wrong).refused(&[64]).says("UPDATE_URL_OVERRIDE");
    assert!(!wrong.stderr.contains("s3cret"), "{wrong}");
}

#[test]
fn an_outage_is_bridged_by_the_workspace() {
    let (service, home) = (small(), tempfile::tempdir().unwrap());
    let workspace = home.path().join("bundle-workspace");
    let run = |line: &str| {
        Run::of(&mut service.bundle(home.path(), &line.split(' ').collect::<Vec<_>>()))
    };
    run("list releases --version 4.1 --cached-graph")
        .refused(&[1])
        .says("was kept from an earlier run");
    fs::create_dir(&workspace).unwrap();
    let before = run("list releases --version 4.1").ok();
    service.answer("amd64/stable-4.1", 503, "");
    let after = run("list releases --version 4.1").ok().says("from an earlier run: cannot fetch");
    assert_eq!(after.stdout, before.stdout);
    let kept = run("list releases --version 4.1 --cached-graph --output json").ok();
    assert!(kept.json()["channels"][0]["keptSeconds"].is_u64(), "{kept}");
    fs::remove_dir_all(&workspace).unwrap();
    run("list releases --version 4.1")
        .refused(&[75])
        .says("answered 503")
        .says("UPDATE_URL_OVERRIDE=");
}

#[test]
fn over_tls_and_through_a_proxy() {
    let (service, home) = (small(), tempfile::tempdir().unwrap());
    let relay = TlsRelay::start(&service.host, &home.path().join("ca.pem"));
    let run = |more: &[&str], environment: &[(&str, &str)]| {
        let line = [&["list", "releases", "--version", "4.1"], more].concat();
        Run::of(service.bundle(home.path(), &line).envs(environment.iter().copied()))
    };
    let tls = format!("https://{}/graph", relay.host);
    let over = [("UPDATE_URL_OVERRIDE", tls.as_str())];
    run(&[], &over).refused(&[75]).says("unknown authority").says("--ca-file FILE");
    run(&["--ca-file", "ca.pem"], &over).ok().says("4.1.2");
    run(&["--insecure-tls", &relay.host], &over).ok().says("is not checked");
    // Only the proxy knows that host.
    let proxy = Proxy::start(&service.host);
    let named = "http://update.service.test/graph";
    let through =
        [("UPDATE_URL_OVERRIDE", named), ("HTTP_PROXY", &proxy.url), ("http_proxy", &proxy.url)];
    run(&[], &through).ok().says("over plain HTTP");
    assert!(
        proxy.seen()[0].starts_with("GET http://update.service.test/graph?arch=amd64"),
        "{:?}",
        proxy.seen()
    );
}
