//! `bundle list updates` with Operator catalogs, through the binary: the bundles that a create would carry and none did.

#![allow(clippy::unwrap_used)]

mod support;

use fs_err as fs;
use serde_json::{Value, json};

use support::command::{Run, sh};
use support::operators::{Catalogs, INDEX};
use support::releases::listening;
use support::{snapshot, text, tree};

/// `bundle list updates`.
fn look(catalogs: &Catalogs, more: &[&str]) -> Run {
    let site = &catalogs.site;
    let (config, workspace) = (site.path("imageset.yaml"), site.path("connected"));
    let line = ["list", "updates", "--config", text(&config), "--workspace", text(&workspace)];
    site.bundle(&[&line, more].concat())
}

/// The answer in JSON.
fn told(catalogs: &Catalogs) -> Value {
    look(catalogs, &["--output", "json"]).ok().json()
}

fn two(catalogs: &Catalogs, second: &[&str]) -> Vec<(&'static str, Vec<Value>)> {
    let stable: &[&str] = &["1.2.0", "1.1.0"];
    let first = catalogs.package("first", &[("stable", stable), ("fast", &["2.0.0", "1.2.0"])]);
    vec![("first", first), ("second", catalogs.package("second", &[("alpha", second)]))]
}

#[test]
fn new_bundles_are_told_with_package_version_and_reason_until_a_create_carried_them() {
    let catalogs = Catalogs::new();
    let site = &catalogs.site;
    let index = catalogs.catalog("v4.18", &two(&catalogs, &["0.1.0"]), &["amd64"]);
    catalogs.configure("  - catalog: INDEX:v4.18\n");
    let from = format!("{}/{INDEX}:v4.18", site.source.host);
    look(&catalogs, &[])
        .ok()
        .says("there is no sequence yet: all of it would be new")
        .says(&format!("catalog {INDEX}:v4.18 from {from}: 3 new bundles\n  first\n"))
        .says("    2.0.0                 first.v2.0.0  fast: the head of the channel\n")
        .says(
            "    1.2.0                 first.v1.2.0  stable: the head of the channel\n  second\n",
        );
    assert!(!site.path("connected").exists());
    let all = told(&catalogs);
    let news = &all["catalogs"][0];
    assert_eq!(all["nothing"], false);
    assert_eq!((&news["catalog"], &news["previous"]), (&json!(from), &json!(null)));
    assert_eq!(news["sourceDigest"], index.digest.to_string());
    assert_eq!((&news["name"], &news["whole"]), (&json!(format!("{INDEX}:v4.18")), &json!(false)));
    assert_eq!(news["packagesAdded"], json!(["first", "second"]));

    catalogs.create("media", &[]).ok();
    let none = told(&catalogs);
    let news = &none["catalogs"][0];
    assert_eq!((&none["nothing"], &news["bundlesKnown"]), (&json!(true), &json!(3)), "{none}");
    assert_eq!((&news["packages"], &news["packagesAdded"]), (&json!([]), &json!([])), "{none}");
    look(&catalogs, &[])
        .ok()
        .says("nothing new since sequence 1")
        .says("  3 bundles known to the other side\n");

    // A package that moved, one that comes and one that goes.
    let mut packages = two(&catalogs, &["0.2.0", "0.1.0"]);
    packages.remove(0);
    packages.push(("third", catalogs.package("third", &[("stable", &["3.0.0"])])));
    catalogs.catalog("v4.18", &packages, &["amd64"]);
    let some = told(&catalogs);
    let news = &some["catalogs"][0];
    assert_eq!(some["nothing"], false);
    assert_eq!(news["packagesAdded"], json!(["third"]));
    assert_eq!(news["packagesRemoved"], json!(["first"]));
    assert_eq!(news["bundlesKnown"], 0, "{news}");
    let bundle = &news["packages"][0]["bundles"][0];
    let image = bundle["image"].as_str().unwrap();
    assert!(image.starts_with(&format!("{}/second/bundle@sha256:", site.source.host)), "{bundle}");
    let expected = json!({"bundle": "second.v0.2.0", "version": "0.2.0", "image": image,
        "channels": ["alpha"], "why": ["the head of the channel"]});
    assert_eq!(*bundle, expected);
    assert_eq!(news["packages"][1]["package"], "third");
    look(&catalogs, &[]).ok().says("not in it any more: first").says("new in it: third");
    catalogs.create("more", &[]).ok();
    assert_eq!(told(&catalogs)["nothing"], true);

    // One that is carried as it is moves with its digest.
    catalogs.configure("  - catalog: INDEX:v4.18\n    full: true\n");
    let whole = told(&catalogs);
    assert_eq!(whole["catalogs"][0]["packages"][0]["bundles"][0]["bundle"], "second.v0.1.0");
    assert_eq!(whole["catalogs"][0]["whole"], true);
    catalogs.create("whole", &[]).ok();
    assert_eq!(told(&catalogs)["nothing"], true);
    packages[0].1.push(json!({"schema": "of.others", "package": "second"}));
    catalogs.catalog("v4.18", &packages, &["amd64"]);
    look(&catalogs, &[]).ok().says("new since sequence 3").says("  changed  sha256:");
}

#[test]
fn a_catalog_of_the_workspace_is_found_there_and_nothing_is_written() {
    let catalogs = Catalogs::new();
    let site = &catalogs.site;
    let (host, all) = listening(&site.source.host);
    catalogs.catalog("v4.18", &two(&catalogs, &["0.1.0"]), &["amd64", "arm64"]);
    site.configure(&format!("  operators:\n  - catalog: {host}/{INDEX}:v4.18\n"));
    catalogs.create("media", &[]).ok();
    let heard = |what: &str| {
        let all = all.lock().unwrap();
        all.iter().any(|one| String::from_utf8_lossy(&one.lock().unwrap()).contains(what))
    };
    let workspace = site.path("connected");
    let state = || {
        let catalogs = workspace.join("catalogs");
        let times = tree(&catalogs)
            .into_iter()
            .map(|path| fs::metadata(catalogs.join(path)).unwrap().modified().unwrap());
        (tree(&workspace), snapshot(&workspace.join("history")), times.collect::<Vec<_>>())
    };
    let before = state();
    all.lock().unwrap().clear();
    assert_eq!(told(&catalogs)["nothing"], true);
    assert!(heard("/manifests/") && !heard("/blobs/"));

    // One that moved is read, and not kept.
    catalogs.catalog("v4.18", &two(&catalogs, &["0.2.0", "0.1.0"]), &["amd64", "arm64"]);
    sh("chmod", &["-R", "a-w", text(&workspace)]);
    look(&catalogs, &[]).ok().says("second.v0.2.0  alpha: the head of the channel");
    sh("chmod", &["-R", "u+w", text(&workspace)]);
    assert!(heard("/blobs/"));
    assert_eq!(state(), before);

    // One that is damaged is read again, and left to the next create.
    catalogs.create("more", &[]).ok();
    let objects = tree(&workspace).into_iter().filter(|path| path.ends_with("objects"));
    for objects in objects {
        let path = workspace.join(objects);
        let mut bytes = fs::read(&path).unwrap();
        bytes[5] ^= 1;
        fs::write(&path, bytes).unwrap();
    }
    let before = state();
    look(&catalogs, &[]).ok().says("damaged").says("read from its origin again");
    assert_eq!(state(), before);
    catalogs.create("again", &[]).ok().says("damaged").says("nothing new");
    assert!(!look(&catalogs, &[]).ok().stderr.contains("damaged"));
}

#[test]
fn what_cannot_be_had_or_is_blocked_is_told_as_by_a_create() {
    let catalogs = Catalogs::new();
    let mut packages = two(&catalogs, &["0.1.0"]);
    packages[1].1[2]["relatedImages"] = json!([{"name": "x", "image": "q.io/no/tag"}]);
    catalogs.catalog("v4.18", &packages, &["amd64"]);
    let compare = |operators: &str, says: &[&str]| {
        catalogs.configure(operators);
        let mut planned = catalogs.create("media", &["--dry-run", "--output", "json"]);
        let mut found = look(&catalogs, &["--output", "json"]);
        assert_eq!(found.code, planned.code, "{planned}\n{found}");
        for says in says {
            (planned, found) = (planned.says(says), found.says(says));
        }
        found.json()
    };
    let fault = "imageset.yaml:7: package `frist`: the catalog has no such package";
    compare(
        "  - catalog: INDEX:v4.18\n    packages:\n    - name: frist\n",
        &[fault, "did you mean `first`?"],
    );
    compare("  - catalog: INDEX:v4.19\n", &["v4.19"]);
    // What else there is is told all the same.
    let reason = "package `second` is left out of the catalog";
    let found = compare(
        "  - catalog: INDEX:v4.18\n  - catalog: INDEX:v4.19\n    targetTag: other\n",
        &["v4.19", reason, "needed by bundle `second.v0.1.0` of package `second`"],
    );
    assert_eq!(found["catalogs"][0]["packages"].as_array().unwrap().len(), 1);
    assert_eq!(found["catalogs"][0]["packagesAdded"], json!(["first"]));
    // Of what is blocked nothing is new, and it is told.
    let blocked = "  - catalog: INDEX:v4.18\n    packages: [{name: first}]\n  blockedImages:\n  - name: first/bundle\n";
    let found = compare(blocked, &[]);
    assert_eq!(found["catalogs"][0]["packages"], json!([]));
    assert_eq!(found["blocked"].as_array().unwrap().len(), 2, "{found}");
    let found =
        compare("  - catalog: INDEX:v4.18\n  blockedImages:\n  - name: operator-index\n", &[]);
    assert_eq!((&found["nothing"], &found["catalogs"]), (&json!(true), &json!(null)));
    assert!(!found["warnings"].to_string().contains("matches no image"), "{found}");
}
