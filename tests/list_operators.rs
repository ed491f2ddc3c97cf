//! `bundle list operators` through the binary: catalogs, packages, channels and bundles.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod support;

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};

use fs_err as fs;
use serde_json::{Value, json};
use support::catalogs::{layout, package, push};
use support::command::{Run, bundle};
use support::openshift::data;
use support::releases::listening;
use support::server::{Kind, Server};
use support::tls::TlsRelay;
use support::{listener, serve, text};
use tempfile::TempDir;

/// A catalog with a package as they should be, `lamp`, and one with flaws, `odd`.
fn files() -> Vec<(String, String)> {
    let mut lamp = package(
        "lamp",
        "stable",
        &["1.0.0", "1.1.0", "1.1.1", "1.10.0", "2.0.0-rc1"],
        &[
            (
                "stable",
                json!([
                    {"name": "lamp.v1.0.0", "replaces": "lamp.v0.9.0"},
                    {"name": "lamp.v1.1.0", "replaces": "lamp.v1.0.0"},
                    {"name": "lamp.v1.1.1", "replaces": "lamp.v1.0.0", "skips": ["lamp.v1.1.0"]},
                    {"name": "lamp.v1.10.0", "replaces": "lamp.v1.1.1", "skipRange": ">=1.0.0 <1.10.0"},
                ]),
            ),
            ("preview", json!([{"name": "lamp.v2.0.0-rc1"}])),
        ],
    );
    let reference = |schema: &str, name: &str| json!({"schema": schema, "name": name});
    let deprecations = json!({"schema": "olm.deprecations", "package": "lamp", "entries": [
        {"reference": {"schema": "olm.package"}, "message": "buy a torch"},
        {"reference": reference("olm.channel", "preview"), "message": "nothing to see"},
        {"reference": reference("olm.bundle", "lamp.v1.0.0"), "message": "too dim\u{1b}[2J\nerror: x"}]});
    lamp += &deprecations.to_string();
    let odd = package(
        "odd",
        "gone",
        &["1.0.0", "2.0.0"],
        &[("two-heads", json!([{"name": "odd.v1.0.0"}, {"name": "odd.v2.0.0"}]))],
    );
    vec![("lamp/catalog.json".to_owned(), lamp), ("odd/catalog.json".to_owned(), odd)]
}

fn bytes(files: &[(String, String)]) -> Vec<(&str, &[u8])> {
    files.iter().map(|(path, text)| (path.as_str(), text.as_bytes())).collect()
}

/// A layout with the catalog, and how to ask about it.
struct Home(TempDir);

impl Home {
    fn new() -> Self {
        let home = Self(tempfile::tempdir().unwrap());
        layout(&home.0.path().join("layout"), &bytes(&files()));
        home
    }

    fn run(&self, catalog: &str, more: &[&str]) -> Run {
        let line = [&["list", "operators", "--catalog", catalog], more].concat();
        Run::of(bundle(self.0.path()).args(line))
    }

    /// Of the layout.
    fn ask(&self, more: &[&str]) -> Run {
        self.run("oci://layout", more)
    }
}

#[test]
fn well_known_catalogs_are_named_without_asking() {
    let home = tempfile::tempdir().unwrap();
    let run = |line: &str| {
        Run::of(bundle(home.path()).args(["list", "operators"]).args(line.split_whitespace()))
    };
    run("--catalogs --version 4.18")
        .ok()
        .says("of OpenShift 4.18")
        .says("\n  registry.redhat.io/redhat/redhat-operator-index:v4.18\n")
        .says("\n  registry.redhat.io/redhat/certified-operator-index:v4.18\n");
    let json = run("--catalogs --version 4.9 --output json").ok().json();
    assert_eq!(json["version"], "4.9");
    assert_eq!(json["catalogs"].as_array().unwrap().len(), 4);
    assert!(json["catalogs"][2].as_str().unwrap().ends_with("/community-operator-index:v4.9"));
    const NEXT: &str = "`bundle list operators --catalogs --version 4.18`";
    for line in ["", "--catalogs", "--version 4.18", "--catalog oci://x --version 4.18"] {
        run(line).refused(&[64]).says(NEXT);
    }
    run("--catalogs --version four").code(64).says("expected a minor release");
    run("--catalogs --catalog x").code(64);
    run("--catalog oci://x --channel stable").refused(&[64]).says("`--package NAME`");
    run("--catalog index:v1").refused(&[64]).says("`oci://DIR`");
    run("--catalog host.example.com/index").refused(&[64]).says("neither a tag nor a digest");
    run("--catalog ./layout").refused(&[64]).says("`--catalog oci://./layout`");
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
}

#[test]
fn packages_channels_and_bundles() {
    let home = Home::new();
    let packages = home.ask(&[]).ok();
    assert_eq!(
        packages.stdout,
        "oci://layout: 2 packages\n  \
         PACKAGE  DEFAULT CHANNEL  DISPLAY NAME\n  \
         lamp     stable           The lamp      deprecated\n  \
         odd      gone             The odd       1 channel at fault, at fault\n"
    );
    let channels = home.ask(&["--package", "lamp"]).ok();
    assert_eq!(
        channels.stdout,
        "lamp: 2 channels (The lamp)\n  deprecated: buy a torch\n  \
         CHANNEL  HEAD            VERSION    BUNDLES\n  \
         stable   lamp.v1.10.0    1.10.0     4        default\n  \
         preview  lamp.v2.0.0-rc1  2.0.0-rc1  1        deprecated: nothing to see\n"
            .replace("HEAD            ", "HEAD             ")
            .replace("lamp.v1.10.0    ", "lamp.v1.10.0     ")
    );
    let bundles = home.ask(&["--package", "lamp", "--channel", "stable"]).ok();
    assert_eq!(
        bundles.stdout,
        "lamp: channel stable (default), 4 bundles (The lamp)\n  deprecated: buy a torch\n  \
         lamp.v1.10.0     1.10.0  head; replaces lamp.v1.1.1; skipRange >=1.0.0 <1.10.0\n  \
         lamp.v1.1.1      1.1.1   replaces lamp.v1.0.0; skips those below\n  \
         └─ lamp.v1.1.0   1.1.0   skipped; replaces lamp.v1.0.0\n  \
         lamp.v1.0.0      1.0.0   replaces lamp.v0.9.0; deprecated: too dim\\u{1b}[2J\\nerror: x\n"
    );
}

#[test]
fn the_same_in_json() {
    let home = Home::new();
    let ask = |more: &[&str]| home.ask(&[&["--output", "json"], more].concat()).ok().json();
    let all = ask(&[]);
    assert_eq!(all["catalog"], "oci://layout");
    assert!(all["digest"].as_str().unwrap().starts_with("sha256:"));
    assert_eq!((&all["failures"], &all["warnings"]), (&json!([]), &json!([])));
    let stable =
        json!({"name": "stable", "head": "lamp.v1.10.0", "version": "1.10.0", "bundles": 4});
    let preview = json!({"name": "preview", "head": "lamp.v2.0.0-rc1", "version": "2.0.0-rc1", "bundles": 1,
        "deprecated": "nothing to see"});
    let lamp = json!({"name": "lamp", "displayName": "The lamp", "defaultChannel": "stable", "bundles": 5,
        "deprecated": "buy a torch", "channels": [stable, preview]});
    assert_eq!(all["packages"][0], lamp);
    // A flaw of a channel is shown.
    let odd = json!({"name": "odd", "displayName": "The odd", "defaultChannel": "gone", "bundles": 2,
        "faults": ["its default channel `gone` is not there"], "channels": [
            {"name": "two-heads", "head": null, "version": null, "bundles": 2,
                "faults": ["multiple channel heads: nothing updates `odd.v1.0.0`, `odd.v2.0.0`"]}]});
    assert_eq!(all["packages"][1], odd);
    let both = ask(&["--package", "odd,lamp"]);
    assert_eq!(both["packages"], json!([odd, lamp]));
    assert_eq!(ask(&["--package", "odd", "--package", "lamp"])["packages"], both["packages"]);

    let channel = ask(&["--package", "lamp", "--channel", "stable"]);
    let channels = channel["packages"][0]["channels"].as_array().unwrap();
    assert_eq!(channels.len(), 1);
    assert_eq!(
        channels[0]["entries"],
        json!([
            {"name": "lamp.v1.10.0", "version": "1.10.0", "head": true, "replaces": "lamp.v1.1.1",
                "skipRange": ">=1.0.0 <1.10.0"},
            {"name": "lamp.v1.1.1", "version": "1.1.1", "head": false, "replaces": "lamp.v1.0.0",
                "skips": ["lamp.v1.1.0"]},
            {"name": "lamp.v1.1.0", "version": "1.1.0", "head": false, "replaces": "lamp.v1.0.0",
                "skippedBy": "lamp.v1.1.1"},
            {"name": "lamp.v1.0.0", "version": "1.0.0", "head": false, "replaces": "lamp.v0.9.0",
                "deprecated": "too dim\u{1b}[2J\nerror: x"},
        ])
    );
    let odd = ask(&["--package", "odd", "--channel", "two-heads"]);
    let entries = odd["packages"][0]["channels"][0]["entries"].as_array().unwrap();
    let heads: Vec<&Value> = entries.iter().map(|entry| &entry["head"]).collect();
    assert_eq!(heads, [true, true]);
}

#[test]
fn what_is_not_there_is_told_with_the_nearest_names() {
    let home = Home::new();
    home.ask(&["--package", "lmap"])
        .refused(&[4])
        .says("package `lmap`: the catalog has no such package")
        .says("did you mean `lamp`?")
        .says("`bundle list operators --catalog oci://layout` shows its packages");
    home.ask(&["--package", "lamp", "--channel", "stabel"])
        .refused(&[4])
        .says("package `lamp`, channel `stabel`: the package has no such channel")
        .says("did you mean `stable`?")
        .says("its channels are `stable`, `preview`");
    // One that is there is shown all the same.
    let some = home.ask(&["--package", "lamp,lmap", "--output", "json"]).code(4).says("lamp");
    let some = some.json();
    assert_eq!(some["packages"].as_array().unwrap().len(), 1);
    let failure = &some["failures"][0];
    assert_eq!((&failure["package"], failure.get("channel")), (&json!("lmap"), None));
    assert_eq!(failure["hints"][0], "did you mean `lamp`?");
    let none = home.ask(&["--package", "x", "--output", "json"]).refused(&[4]).json();
    assert_eq!((&none["error"]["kind"], &none["error"]["exit"]), (&json!("content"), &json!(4)));
}

#[test]
fn a_catalog_of_a_registry_is_read_once() {
    let dir = tempfile::tempdir().unwrap();
    for (kind, name) in [(Kind::Embedded, "embedded"), (Kind::Distribution, "distribution")] {
        let Some(registry) = Server::start(kind, &dir.path().join(name)) else { continue };
        let home = Home::new();
        let catalog = push(&registry, "redhat/index", "v4.18", &bytes(&files()));
        let (host, heard) = listening(&registry.host);
        let image = format!("{host}/redhat/index:v4.18");
        let ask = |more: &[&str]| {
            heard.lock().unwrap().clear();
            let run = home.run(&image, more);
            let said: Vec<u8> =
                heard.lock().unwrap().iter().flat_map(|one| one.lock().unwrap().clone()).collect();
            // The first words of a client may be TLS.
            let blobs = String::from_utf8_lossy(&said).matches("/blobs/").count();
            (run.ok(), blobs)
        };
        let (first, blobs) = ask(&["--output", "json"]);
        assert_eq!(first.json()["digest"], catalog.digest.to_string());
        assert!(blobs > 0);
        assert!(home.0.path().join("bundle-workspace/catalogs").is_dir());
        for more in [
            &["--output", "json"][..],
            &["--package", "lamp"],
            &["--package", "lamp", "--channel", "stable"],
        ] {
            let (_, blobs) = ask(more);
            assert_eq!(blobs, 0, "{more:?}");
        }
        assert_eq!(ask(&["--output", "json"]).0.json(), first.json());
        // The tag moves: the new one is read.
        let other = package(
            "torch",
            "stable",
            &["1.0.0"],
            &[("stable", json!([{"name": "torch.v1.0.0"}]))],
        );
        push(&registry, "redhat/index", "v4.18", &[("torch.json", other.as_bytes())]);
        let (moved, blobs) = ask(&[]);
        assert!(blobs > 0);
        moved.says("torch    stable           The torch");
        // By digest the old one is still there, and a workspace elsewhere begins anew.
        let by_digest = format!("docker://{host}/redhat/index@{}", catalog.digest);
        home.run(&by_digest, &["--workspace", "other"]).ok().says("lamp");
        assert!(home.0.path().join("other/catalogs").is_dir());
    }
}

#[test]
fn a_catalog_that_cannot_be_read_has_its_own_exit_code() {
    let home = Home::new();
    home.run("oci://nowhere", &[])
        .refused(&[4])
        .says("catalog `oci://nowhere`: not an OCI image layout")
        .says("`oci://DIR`");
    let broken = home.0.path().join("broken");
    layout(&broken, &[("lamp.json", b"{\"schema\":")]);
    home.run("oci://broken", &[])
        .refused(&[4])
        .says("`/configs/lamp.json`, object 1 in line 1")
        .says("`opm validate`");
    // A layer with other bytes than its digest.
    layout(&broken, &bytes(&files()));
    let blobs = fs::read_dir(broken.join("blobs/sha256")).unwrap();
    let layer = blobs
        .map(|blob| blob.unwrap().path())
        .max_by_key(|path| fs::metadata(path).unwrap().len())
        .unwrap();
    let mut bytes_of = fs::read(&layer).unwrap();
    bytes_of[600] ^= 1;
    fs::write(&layer, bytes_of).unwrap();
    home.run("oci://broken", &[]).refused(&[65]).says("catalog `oci://broken`: ");

    let dir = tempfile::tempdir().unwrap();
    let registry = Server::embedded(&dir.path().join("registry"));
    registry.image("team/app", "1", &[b"app"]);
    home.run(&format!("{}/team/app:1", registry.host), &[])
        .refused(&[4])
        .says("it is no Operator catalog")
        .says("additionalImages");
    home.run(&format!("{}/team/index:v4.18", registry.host), &[]).refused(&[4]).says("hint: ");
    // Nobody there, and somebody who wants other credentials.
    let gone = listener().1;
    home.run(&format!("{gone}/redhat/index:v1"), &["--retry-times", "0"]).refused(&[75]);
    let (listener, host) = listener();
    serve(listener, |mut stream| -> std::io::Result<()> {
        let _ = stream.read(&mut [0; 4096])?;
        write!(
            stream,
            "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )
    });
    home.run(&format!("{host}/redhat/index:v1"), &[]).refused(&[77]).says("podman login");
    // The workspace cannot be made.
    fs::write(home.0.path().join("file"), "").unwrap();
    home.ask(&["--workspace", "file"]).refused(&[73]).says("--workspace DIR");
}

#[test]
fn over_tls_with_an_authority() {
    let dir = tempfile::tempdir().unwrap();
    let registry = Server::embedded(&dir.path().join("registry"));
    push(&registry, "redhat/index", "v4.18", &bytes(&files()));
    let home = Home::new();
    let certificate = home.0.path().join("ca.pem");
    let relay = TlsRelay::start(&registry.host, &certificate);
    let image = format!("{}/redhat/index:v4.18", relay.host);
    home.run(&image, &[]).refused(&[75]);
    home.run(&image, &["--ca-file", text(&certificate)]).ok().says("lamp");
    home.run(&image, &["--insecure-tls", &relay.host]).ok().says("lamp");
}

#[test]
fn real_catalogs() {
    let home = Home::new();
    let dir = home.0.path().join("real");
    let real = |below: &str, path: &str| {
        let bytes = fs::read(data(&format!("catalogs/{below}"))?).unwrap();
        layout(&dir, &[(path, &bytes)]);
        Some(())
    };
    let ask = |more: &[&str]| home.run("oci://real", more).ok();
    if real("community-assisted/configs/assisted-service-operator/catalog.json", "a/catalog.json")
        .is_some()
    {
        let line = ["--package", "assisted-service-operator", "--channel", "alpha"];
        let json = ask(&[&line[..], &["--output", "json"]].concat()).json();
        let entries = json["packages"][0]["channels"][0]["entries"].as_array().unwrap().clone();
        assert_eq!(entries.len(), 93);
        // Each stands there once, though most skip all before them.
        let names: BTreeSet<&str> =
            entries.iter().map(|entry| entry["name"].as_str().unwrap()).collect();
        assert_eq!(names.len(), 93);
        let heads: Vec<usize> = (0..93).filter(|at| entries[*at]["head"] == true).collect();
        assert_eq!(heads, [0]);
    }
    if real("redhat-sample/configs/jaeger-product/catalog.json", "jaeger/catalog.json").is_some() {
        let json = ask(&["--output", "json"]).json();
        let jaeger = &json["packages"][0];
        assert_eq!(jaeger["name"], "jaeger-product");
        assert!(
            jaeger["channels"]
                .as_array()
                .unwrap()
                .iter()
                .all(|channel| channel["head"].is_string())
        );
        ask(&["--package", "jaeger-product"]).says("default");
    }
}
