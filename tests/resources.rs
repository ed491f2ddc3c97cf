//! The files for clusters, through the binary: written by import, and again at any time.

#![allow(clippy::unwrap_used)]

mod support;

use std::path::Path;

use fs_err as fs;
use support::command::Run;
use support::server::fs_write;
use support::site::Site;
use support::{noise, text, tree};

/// Every file of a directory with its bytes.
fn all(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let files = tree(directory).into_iter().filter(|name| directory.join(name).is_file());
    files.map(|name| (name.clone(), fs::read(directory.join(&name)).unwrap())).collect()
}

/// A site whose target has one sequence: an image by tag, one by digest, one without a namespace.
fn site() -> (Site, String) {
    let site = Site::new();
    let source = &site.source.registry;
    source.image("acme/app", "1", &[&noise(1, 5_000)]);
    let by_digest = source.image("acme/pinned", "1", &[&noise(2, 5_000)]);
    source.image("single", "1", &[&noise(3, 5_000)]);
    let pinned = format!("acme/pinned@{}", by_digest.digest);
    site.images(&["acme/app:1", &pinned, "single:1"]);
    site.create("media", &[]).ok();
    let target = format!("{}/team", site.target.host);
    (site, target)
}

#[track_caller]
fn resources(site: &Site, target: &str, to: &str, more: &[&str]) -> Run {
    let workspace = site.path("disconnected");
    let to = site.path(to);
    let target = format!("docker://{target}");
    let fixed = ["resources", &target, "--workspace", text(&workspace), "--to", text(&to)];
    site.bundle(&[&fixed, more].concat())
}

#[test]
fn an_import_writes_them_and_the_command_writes_the_same() {
    let (site, target) = site();
    let directory = site.path("disconnected/cluster-resources");
    let imported = site.import_into(&target, "media", &[]).ok();
    let apply = format!("`oc apply -f {}`", text(&directory));
    assert!(imported.stdout.contains(&apply), "{}", imported.stdout);

    let (from, to) = (&site.source.host, &site.target.host);
    let set = |kind: &str, name: &str, field: &str, pairs: &[(&str, &str)]| {
        let pairs = pairs.iter().map(|(source, mirror)| {
            format!("  - source: \"{from}/{source}\"\n    mirrors:\n    - \"{to}/{mirror}\"\n")
        });
        format!(
            "apiVersion: config.openshift.io/v1\nkind: {kind}\nmetadata:\n  name: {name}-generic-0\nspec:\n  {field}:\n{}",
            pairs.collect::<String>()
        )
    };
    let digests =
        set("ImageDigestMirrorSet", "idms", "imageDigestMirrors", &[("acme", "team/acme")]);
    let pairs = [("acme", "team/acme"), ("single", "team/single")];
    let tags = set("ImageTagMirrorSet", "itms", "imageTagMirrors", &pairs);
    let read = |name: &str| String::from_utf8(fs::read(directory.join(name)).unwrap()).unwrap();
    assert_eq!(read("idms-oc-mirror.yaml"), digests);
    assert_eq!(read("itms-oc-mirror.yaml"), tags);
    assert_eq!(support::files(&directory).len(), 3, "the two and the list of them");

    // The same bytes again: from the target, from the media, by an import that has nothing to do.
    let written = all(&directory);
    resources(&site, &target, "again", &[]).ok();
    assert_eq!(all(&site.path("again")), written);
    let media = site.path("media");
    let trust = site.key();
    resources(&site, &target, "offline", &["--from", text(&media), "--trust", text(&trust)]).ok();
    assert_eq!(all(&site.path("offline")), written);
    fs::remove_dir_all(&directory).unwrap();
    let answer = site.import_into(&target, "media", &["--output", "json"]).ok().json();
    assert_eq!(all(&directory), written);
    assert_eq!(answer["clusterResources"]["directory"], text(&directory));
    let names = serde_json::json!(["idms-oc-mirror.yaml", "itms-oc-mirror.yaml"]);
    assert_eq!(answer["clusterResources"]["files"], names);

    // A dry run writes nothing.
    fs::remove_dir_all(&directory).unwrap();
    site.import_into(&target, "media", &["--dry-run"]).ok();
    assert!(!directory.exists());
}

#[test]
fn what_left_the_configuration_leaves_the_files() {
    let (site, target) = site();
    let directory = site.path("disconnected/cluster-resources");
    site.import_into(&target, "media", &[]).ok();
    fs_write(&directory.join("mine.yaml"), b"mine");
    let source = &site.source.registry;
    let pinned = source.image("other/pinned", "1", &[&noise(4, 5_000)]);
    site.images(&[&format!("other/pinned@{}", pinned.digest)]);
    site.create("media2", &[]).ok();
    site.import_into(&target, "media2", &[]).ok();
    assert_eq!(
        support::files(&directory),
        [".written-by-bundle", "idms-oc-mirror.yaml", "mine.yaml"]
    );
    let digests = fs::read_to_string(directory.join("idms-oc-mirror.yaml")).unwrap();
    assert!(digests.contains("/other\"") && !digests.contains("acme"), "{digests}");

    // A full sequence says all of it again, to a target that stood elsewhere.
    let written = all(&directory);
    site.create("media3", &["--full"]).ok();
    site.import_into(&target, "media3", &[]).ok();
    assert_eq!(all(&directory), written);
    // And what only the target's records know is read from there, in another workspace.
    let elsewhere = site.path("elsewhere");
    let (target, to) = (format!("docker://{target}"), site.path("out"));
    let there = ["resources", &target, "--workspace", text(&elsewhere), "--to", text(&to)];
    site.bundle(&there).ok();
    let same =
        |name: &str| fs::read(to.join(name)).unwrap() == fs::read(directory.join(name)).unwrap();
    assert!(same("idms-oc-mirror.yaml") && same(".written-by-bundle"));
}

#[test]
fn other_forms_and_names() {
    let (site, target) = site();
    site.import_into(&target, "media", &[]).ok();
    resources(&site, &target, "icsp", &["--icsp"]).ok();
    let policy = fs::read_to_string(site.path("icsp/imageContentSourcePolicy.yaml")).unwrap();
    assert!(
        policy.contains("kind: ImageContentSourcePolicy\n") && policy.contains("name: generic-0\n")
    );
    assert!(!site.path("icsp/idms-oc-mirror.yaml").exists());

    let named = ["--as", "docker://mirror.site:8443/clusters"];
    resources(&site, &target, "named", &named).ok();
    let tags = fs::read_to_string(site.path("named/itms-oc-mirror.yaml")).unwrap();
    assert!(tags.contains("    - mirror.site:8443/clusters/single\n"), "{tags}");

    let workspace = site.path("disconnected");
    let target = format!("docker://{target}");
    site.bundle(&["resources", &target, "--workspace", text(&workspace), "--results"]).ok();
    let results = workspace.join("results-1");
    let mapping = fs::read_to_string(results.join("mapping.txt")).unwrap();
    let (host, to) = (&site.source.host, &site.target.host);
    assert!(mapping.starts_with(&format!("{host}/acme/app@sha256:")), "{mapping}");
    assert!(mapping.contains(&format!("={to}/team/acme/app:1\n")), "{mapping}");
    assert!(results.join("imageContentSourcePolicy.yaml").exists());
}

#[test]
fn where_nothing_was_imported_there_is_nothing_to_say() {
    let (site, target) = site();
    resources(&site, &target, "out", &[]).code(64).says("no sequence was imported into docker://");
    // Repositories have other names there: the files would lead nowhere.
    site.import_into(&target, "media", &["--max-nested-paths", "2"]).ok();
    resources(&site, &target, "out", &[]).code(64).says("--max-nested-paths 2");
    assert!(!site.path("out").exists());
    resources(&site, &target, "out", &["--max-nested-paths", "2"]).ok();
    let tags = fs::read_to_string(site.path("out/itms-oc-mirror.yaml")).unwrap();
    assert!(tags.contains("/team/acme-app\"\n"), "{tags}");
    // Without a target the store is filled; its port is not what clusters know.
    let media = site.path("media");
    let (local, key) = (site.path("local"), site.key());
    let own =
        ["import", "--from", text(&media), "--trust", text(&key), "--workspace", text(&local)];
    site.bundle(&own).ok().says("bundle resources docker://HOST:PORT");
    assert!(!local.join("cluster-resources").exists());
}
