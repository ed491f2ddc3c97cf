//! `bundle delete` through the binary: the list, the plan, what goes with it, what stays, and the ways back.

#![allow(clippy::unwrap_used)]

mod support;

use fs_err as fs;
use support::charts::{chart, push_images};
use support::command::Run;
use support::crash::{killed_at, points};
use support::operators::{Catalogs, INDEX};
use support::releases::Releases;
use support::server::{Kind, fs_write};
use support::site::Site;
use support::{noise, text, tree};

const HEADER: &str =
    "apiVersion: mirror.openshift.io/v2alpha1\nkind: DeleteImageSetConfiguration\ndelete:\n";

/// `bundle delete` at a target with the disconnected workspace.
fn delete(site: &Site, target: &str, more: &[&str]) -> Run {
    let (named, workspace) = (format!("docker://{target}"), site.path("disconnected"));
    let fixed = ["delete", &named, "--workspace", text(&workspace)];
    site.bundle(&[&fixed, more].concat())
}

/// Writes a configuration with this text under `delete:`.
fn configure(site: &Site, stanzas: &str) -> String {
    let path = site.path("delete.yaml");
    fs_write(&path, format!("{HEADER}{stanzas}").as_bytes());
    text(&path).to_owned()
}

fn images(site: &Site, names: &[&str]) -> String {
    let host = &site.source.host;
    let names = names.iter().map(|name| format!("  - name: {host}/{name}\n"));
    configure(site, &format!("  additionalImages:\n{}", names.collect::<String>()))
}

fn list(site: &Site, name: &str) -> String {
    text(&site.path(&format!("disconnected/delete/{name}"))).to_owned()
}

#[test]
fn a_list_is_made_read_and_carried_out() {
    let site = Site::new();
    the_whole_way(&site);
}

#[test]
fn the_same_at_another_registry() {
    let Some(site) = Site::with(Kind::Embedded, Kind::Distribution) else { return };
    the_whole_way(&site);
}

fn the_whole_way(site: &Site) {
    let source = &site.source.registry;
    let target = format!("{}/team", site.target.host);
    let base = noise(1, 5_000);
    let app = source.image("acme/app", "1", &[&base, &noise(2, 3_000)]);
    source.referrer_by_tag(&app, "application/vnd.example.signature", b"signed");
    source.image("acme/app", "2", &[&base]);
    source.image("acme/more", "1", &[&noise(3, 4_000)]);
    site.images(&["acme/app:1", "acme/app:2", "acme/more:1"]);
    site.create("one", &[]).ok();
    site.import_into(&target, "one", &[]).ok();
    let at = |repository: &str, name: &str| {
        site.target.manifest(&format!("team/{repository}"), name).is_some()
    };
    // What somebody else pushed beside it.
    site.target.image("team/acme/app", "own", &[&noise(9, 2_000)]);

    let config = images(site, &["acme/app:1", "acme/gone:7"]);
    let generated =
        delete(site, &target, &["--config", &config, "--generate", "--delete-id", "x"]).ok();
    assert!(
        generated.stderr.contains("acme/gone:7`: nothing of it stands"),
        "{}",
        generated.stderr
    );
    let path = list(site, "delete-images-x.yaml");
    let written = fs::read_to_string(&path).unwrap();
    let reference = format!("\"docker://{target}/acme/app:1\"");
    for words in ["kind: DeleteImageList", &reference, "type: \"generic\""] {
        assert!(written.contains(words), "{words}: {written}");
    }
    assert!(generated.stdout.contains("bundle delete --list"), "{}", generated.stdout);

    let planned = delete(site, &target, &["--list", &path]).ok();
    assert!(planned.stdout.contains("1 name to delete"), "{}", planned.stdout);
    assert!(planned.stdout.contains("`--auto-approve`"), "{}", planned.stdout);
    assert!(at("acme/app", "1"));
    let done =
        delete(site, &target, &["--list", &path, "--auto-approve", "--output", "json"]).ok().json();
    assert!(done["names"].as_array().unwrap().len() > 1, "{done}");
    assert!(!at("acme/app", "1") && !at("acme/app", &app.digest.to_string()), "{done}");
    for (repository, name) in [("acme/app", "2"), ("acme/app", "own"), ("acme/more", "1")] {
        assert!(at(repository, name), "{repository}:{name}");
    }
    // Nothing of it is left: also not what was attached.
    let stem = app.tag_stem();
    let left: Vec<_> = site.target.tags("team/acme/app");
    assert!(left.iter().all(|tag| !tag.starts_with(&stem)), "{left:?}");
    let again = delete(site, &target, &["--list", &path, "--auto-approve"]).ok();
    assert!(again.stdout.starts_with("nothing is to be deleted"), "{}", again.stdout);

    // Importing the same again does not bring it back, and what else went missing it does.
    site.target.delete("team/acme/more", "manifests", &source_digest(site, "acme/more", "1"));
    let again = site.import_into(&target, "one", &[]).ok();
    assert!(again.stderr.contains("not brought again: `acme/app:1`, "), "{again}");
    assert!(at("acme/more", "1") && !at("acme/app", "1"));
    site.import_into(&target, "one", &["--dry-run"]).ok();
    let key = site.key();
    let proven = site.bundle(&[
        "verify",
        "--from",
        text(&site.path("one")),
        "--trust",
        text(&key),
        "--against",
        &format!("docker://{target}"),
        "--workspace",
        text(&site.path("disconnected")),
    ]);
    // The image that is not there is not said to be proven.
    proven.ok().says(" 2 manifests, ");
    let prune = site.bundle(&[
        "prune",
        &format!("docker://{target}"),
        "--workspace",
        text(&site.path("disconnected")),
    ]);
    assert!(prune.ok().stdout.starts_with("nothing is to be removed"));

    // A later sequence that does not name it leaves it away.
    source.image("acme/more", "2", &[&noise(4, 4_000)]);
    site.images(&["acme/app:1", "acme/app:2", "acme/more:2"]);
    site.create("two", &[]).ok();
    let told = site.import_into(&target, "two", &[]).ok();
    assert!(told.stderr.contains("not brought again: `acme/app:1`, "), "{told}");
    assert!(!at("acme/app", "1") && at("acme/more", "2"));

    // Back to what the first sequence left, with its media: before anything was deleted.
    site.import_into(&target, "one", &["--put-back"]).ok();
    let workspace = site.path("disconnected");
    let named = format!("docker://{target}");
    let rollback = |to: &str| {
        let fixed = ["rollback", "--to", to, &named, "--auto-approve", "--workspace"];
        site.bundle(&[&fixed[..], &[text(&workspace)]].concat())
    };
    rollback("1").ok();
    assert!(at("acme/app", "1") && at("acme/more", "1"));
    assert!(
        delete(site, &target, &["--config", &config, "--dry-run"])
            .ok()
            .stdout
            .contains("1 name to delete")
    );

    // And deleted at the second one, only that is undone by going to where it stands.
    site.import_into(&target, "two", &[]).ok();
    let config = images(site, &["acme/more:2"]);
    delete(site, &target, &["--config", &config, "--auto-approve"]).ok();
    assert!(!at("acme/more", "2"));
    rollback("2").code(68);
    site.import_into(&target, "two", &["--put-back"]).ok();
    rollback("2").ok();
    assert!(at("acme/more", "2") && at("acme/app", "1"));
    // A full sequence names everything anew.
    delete(site, &target, &["--config", &config, "--auto-approve"]).ok();
    site.create("three", &["--full"]).ok();
    let told = site.import_into(&target, "three", &[]).ok();
    assert!(!told.stderr.contains("not brought again"), "{told}");
    assert!(at("acme/more", "2"));
}

#[test]
fn the_command_that_the_list_names_works_as_it_stands() {
    let site = Site::new();
    site.source.registry.image("acme/app", "1", &[&noise(1, 2_000)]);
    site.images(&["acme/app:1"]);
    site.create("one", &[]).ok();
    let target = format!("{}/some/team", site.target.host);
    site.import_into(&target, "one", &["--max-nested-paths", "2"]).ok();
    let config = images(&site, &["acme/app:1"]);
    let nested = ["--max-nested-paths", "2"];
    let generated =
        delete(&site, &target, &[&["--config", &config, "--generate"], &nested[..]].concat()).ok();
    let (_, line) = generated.stdout.rsplit_once("`bundle ").unwrap();
    let line = line.trim_end().trim_end_matches('`');
    let words: Vec<&str> = line.split(' ').chain(["--auto-approve"]).collect();
    site.bundle(&words).ok().says("1 name deleted");
    assert!(site.target.all_tags().iter().all(|tag| !tag.contains("acme-app")));
}

/// Killed with SIGKILL, it is finished by the same command: at the target and in the files for clusters.
#[test]
fn killed_at_any_point_it_is_finished_by_the_same_command() {
    let site = Site::new();
    let source = &site.source.registry;
    let app = source.image("gone/app", "1", &[&noise(1, 2_000)]);
    source.referrer_by_tag(&app, "application/vnd.example.signature", b"signed");
    source.image("stays/app", "1", &[&noise(2, 2_000)]);
    site.images(&["gone/app:1", "stays/app:1"]);
    site.create("one", &[]).ok();
    let config = images(&site, &["gone/app:1"]);
    let workspace = site.path("disconnected");
    let command = |target: &str| {
        let named = format!("docker://{target}");
        let fixed = ["delete", &named, "--auto-approve", "--config", &config];
        site.command(&[&fixed[..], &["--workspace", text(&workspace)]].concat())
    };
    let fresh = |name: &str| {
        let target = format!("{}/{name}", site.target.host);
        site.import_into(&target, "one", &[]).ok();
        target
    };
    let all = points(&mut command(&fresh("whole")));
    let resources = workspace.join("cluster-resources");
    for n in (1..=all).step_by(3) {
        let namespace = format!("n{n}");
        let target = fresh(&namespace);
        killed_at(&mut command(&target), n);
        Run::of(&mut command(&target)).ok();
        let left = site.target.tags(&format!("{namespace}/gone/app"));
        assert!(left.is_empty(), "killed at {n} of {all}: {left:?}");
        let there = site.target.manifest(&format!("{namespace}/gone/app"), &app.digest.to_string());
        assert!(there.is_none(), "killed at {n} of {all}");
        assert!(site.target.manifest(&format!("{namespace}/stays/app"), "1").is_some());
        for file in tree(&resources) {
            let written = fs::read_to_string(resources.join(&file)).unwrap_or_default();
            assert!(!written.contains("gone"), "killed at {n} of {all}: {file}: {written}");
        }
    }
    let again = Run::of(&mut command(&format!("{}/whole", site.target.host))).ok();
    assert!(again.stdout.contains("deleted before"), "{}", again.stdout);
}

fn source_digest(site: &Site, repository: &str, tag: &str) -> String {
    format_spec::Digest::of(&site.source.manifest(repository, tag).unwrap()).to_string()
}

#[test]
fn a_later_sequence_that_rests_on_it_names_the_media() {
    let Some(site) = Site::with(Kind::Embedded, Kind::Distribution) else { return };
    let source = &site.source.registry;
    let base = noise(1, 5_000);
    source.image("acme/app", "1", &[&base]);
    site.images(&["acme/app:1"]);
    site.create("one", &[]).ok();
    site.import("one", &[]).ok();
    let config = images(&site, &["acme/app:1"]);
    let target = site.target.host.clone();
    delete(&site, &target, &["--config", &config, "--auto-approve"]).ok();
    let digest = format_spec::Digest::of(&base).to_string();
    site.target.delete("acme/app", "blobs", &digest);
    source.image("acme/app", "2", &[&base, &noise(2, 1_000)]);
    site.images(&["acme/app:1", "acme/app:2"]);
    site.create("two", &[]).ok();
    site.import("two", &[]).refused(&[68]).says("--put-back");
    site.import("one", &["--put-back"]).ok();
    site.import("two", &[]).ok();
    assert!(site.target.manifest("acme/app", "2").is_some());
    assert!(site.target.manifest("acme/app", "1").is_none());
}

#[test]
fn a_release_goes_with_its_components_and_the_other_keeps_its_own() {
    let Some(releases) = Releases::new() else { return };
    let site = &releases.site;
    let names: Vec<String> = ["etcd", "cli", "installer"].map(ToOwned::to_owned).into();
    let components = releases.components(&names, "4.10.0");
    let first = releases.release("4.10.0", &components);
    let mut next = components.clone();
    next.splice(..1, releases.components(&names[..1], "4.10.1"));
    let second = releases.release("4.10.1", &next);
    let graph = support::releases::graph(&releases, &[("4.10.0", &first), ("4.10.1", &second)]);
    site.configure(
        "  platform:\n    channels:\n    - name: stable-4.10\n      minVersion: 4.10.0\n      maxVersion: 4.10.1\n",
    );
    let (keys, store) = (site.path("keys.pgp"), site.path("store"));
    let mut command = site.command(&[]);
    command.env("UPDATE_URL_OVERRIDE", &graph).env("OCP_SIGNATURE_VERIFICATION_PK", &keys);
    command.env("OCP_SIGNATURE_URL", format!("file://{}", store.display()));
    command.args(site.create_arguments("media"));
    Run::of(&mut command).ok();
    site.import("media", &[]).ok();
    let target = site.target.host.clone();
    let open = configure(site, "  platform:\n    channels:\n    - name: stable-4.10\n");
    delete(site, &target, &["--config", &open]).refused(&[64]).says("minVersion");
    let config = configure(
        site,
        "  platform:\n    channels:\n    - name: stable-4.10\n      minVersion: 4.10.0\n      maxVersion: 4.10.0\n",
    );
    let done = delete(site, &target, &["--config", &config, "--auto-approve", "--output", "json"]);
    let done = done.ok().json();
    assert_eq!(done["names"].as_array().unwrap().len(), names.len() + 1, "{done}");
    let left = site.target.all_tags();
    assert!(left.iter().all(|tag| !tag.contains("4.10.0")), "{left:?}");
    releases.stands(&second, "4.10.1-x86_64", &next);
    let resources = site.path("disconnected/cluster-resources/signature-configmap.json");
    let signatures = fs::read_to_string(resources).unwrap();
    assert!(!signatures.contains(&first.digest.hex()) && signatures.contains(&second.digest.hex()));
}

#[test]
fn a_catalog_goes_with_the_images_that_no_other_needs() {
    let catalogs = Catalogs::new();
    let site = &catalogs.site;
    let first = || ("first", catalogs.package("first", &[("stable", &["1.0.0"])]));
    let second = ("second", catalogs.package("second", &[("alpha", &["0.1.0"])]));
    catalogs.catalog("v4.17", &[first()], &["amd64"]);
    catalogs.catalog("v4.18", &[first(), second], &["amd64"]);
    catalogs.configure("  - catalog: INDEX:v4.17\n  - catalog: INDEX:v4.18\n");
    catalogs.create("media", &[]).ok();
    site.import("media", &[]).ok();
    let target = site.target.host.clone();
    let catalog = format!("  operators:\n  - catalog: {}/{INDEX}:v4.18\n", site.source.host);
    let package = configure(site, &format!("{catalog}    packages:\n    - name: second\n"));
    delete(site, &target, &["--config", &package]).refused(&[64]).says("would go on to offer it");
    let config = configure(site, &catalog);
    delete(site, &target, &["--config", &config, "--generate"]).ok();
    let written = fs::read_to_string(list(site, "delete-images.yaml")).unwrap();
    assert!(written.contains("operatorCatalog") && written.contains("operatorRelatedImage"));
    assert!(!written.contains("/first/"), "{written}");
    delete(site, &target, &["--config", &config, "--auto-approve"]).ok();
    assert_eq!(site.target.tags(INDEX), ["v4.17"]);
    for (repository, some) in [
        ("first/bundle", true),
        ("first/operator", true),
        ("second/bundle", false),
        ("second/operator", false),
    ] {
        assert_eq!(!site.target.tags(repository).is_empty(), some, "{repository}");
    }
    let resources = tree(&site.path("disconnected/cluster-resources"));
    let sources: Vec<_> = resources.iter().filter(|name| name.starts_with("cs-")).collect();
    assert_eq!(sources.len(), 1, "{resources:?}");
}

#[test]
fn a_chart_goes_and_its_images_are_named_by_themselves() {
    let site = Site::new();
    push_images(&site);
    let archive = site.path("app-1.0.0.tgz");
    fs_write(&archive, &chart(&site, "app", "1.0.0"));
    site.configure(&format!(
        "  helm:\n    local:\n    - name: app\n      path: {}\n",
        text(&archive)
    ));
    site.create("media", &[]).ok();
    site.import("media", &[]).ok();
    let target = site.target.host.clone();
    assert_eq!(site.target.tags("charts/app"), ["1.0.0"]);
    let config = configure(&site, "  helm:\n    local:\n    - name: app\n      path: app.tgz\n");
    delete(&site, &target, &["--config", &config, "--auto-approve"]).ok();
    assert!(site.target.tags("charts/app").is_empty());
    let resources = tree(&site.path("disconnected/cluster-resources"));
    assert!(resources.iter().all(|name| !name.contains("app-1.0.0")), "{resources:?}");
}

#[test]
fn bad_lists_and_targets_are_told_before_anything_is_asked() {
    let site = Site::new();
    let source = &site.source.registry;
    source.image("acme/app", "1", &[&noise(1, 500)]);
    site.images(&["acme/app:1"]);
    site.create("one", &[]).ok();
    let target = format!("{}/team", site.target.host);
    let path = site.path("list.yaml");
    let write = |items: &str| {
        let text = format!(
            "apiVersion: mirror.openshift.io/v2alpha1\nkind: DeleteImageList\nitems:\n{items}"
        );
        fs_write(&path, text.as_bytes());
    };
    let item = |name: &str| format!("- imageReference: docker://{name}\n  type: generic\n");
    write(&item(&format!("{target}/acme/app:1")));
    delete(&site, &target, &["--list", text(&path)]).refused(&[64]).says("import");
    site.import_into(&target, "one", &[]).ok();
    write(&item("elsewhere.example/team/acme/app:1"));
    let other = delete(&site, &target, &["--list", text(&path)]);
    other.refused(&[64]).says("list.yaml:4").says("the list has 1 fault");
    write(&item(&format!("{target}/acme/other:1")));
    let stays = delete(&site, &target, &["--list", text(&path), "--auto-approve"]).ok();
    assert!(stays.stderr.contains("no import brought that"), "{}", stays.stderr);
    let none = delete(&site, &target, &["--list", text(&site.path("none.yaml"))]);
    none.refused(&[64]).says("there is no list").says("--generate");
    delete(&site, &target, &[]).refused(&[64]);
    delete(&site, &target, &["--list", "x", "--config", "y"]).code(64);
    // A create refuses the kind and says which command it is for.
    let config = images(&site, &["acme/app:1"]);
    let create = site.bundle(&["create", "--config", &config, "--to", text(&site.path("x"))]);
    create.refused(&[64]).says("bundle delete");
}
