//! Everything in one file: a configuration with a release, the update graph, Operators, charts, further and blocked images goes
//! over media, two updates included. After each the target is what a full mirror of that configuration would have been.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::rc::Rc;

use format_spec::Digest;
use fs_err as fs;
use serde_json::{Value, json};
use support::charts::{IMAGES, chart, push_images, run_helm};
use support::command::Run;
use support::image::Pushed;
use support::openshift::{opm, schemas};
use support::operators::{Catalogs, INDEX};
use support::pages::Pages;
use support::releases::{RELEASES, Releases, gzip, tar};
use support::server::{Kind, Server, fs_write};
use support::site::Site;
use support::{text, tool};

struct Whole {
    site: Rc<Site>,
    releases: Releases,
    catalogs: Catalogs,
    pages: Pages,
    /// The target deletes by digest alone, so it keeps a tag while its manifest has other names.
    by_digest: bool,
}

/// What is at the source: two releases and their components.
struct Content {
    first: Pushed,
    second: Pushed,
    old: Vec<(String, Digest)>,
    new: Vec<(String, Digest)>,
}

/// What a configuration asks for.
struct Asked<'a> {
    release: &'a Pushed,
    packages: &'a [&'a str],
    chart: &'a str,
    images: &'a [&'a str],
}

impl Whole {
    fn new(source: Kind, target: Kind) -> Option<Self> {
        let by_digest = matches!(target, Kind::Distribution);
        let site = Rc::new(Site::with(source, target)?);
        let releases = Releases::at(Rc::clone(&site))?;
        let catalogs = Catalogs { site: Rc::clone(&site) };
        push_images(&site);
        let source = &site.source;
        source.image_for("ubi9/ubi", Some("1"), "amd64", &[b"a shell"]);
        source.image("team/app", "1", &[b"base", b"app 1"]);
        source.image("team/app", "2", &[b"base", b"app 2"]);
        source.image("team/blocked", "1", &[b"never"]);
        let [amd, arm] = ["amd64", "arm64"]
            .map(|arch| source.image_for("team/multi", None, arch, &[b"base", arch.as_bytes()]));
        source.index("team/multi", Some("1"), &[(&amd, "amd64"), (&arm, "arm64")]);
        let channel = tar(&[("channels/stable-4.18.yaml", b"name: stable-4.18\n")]);
        fs_write(&site.path("graph-data.tar.gz"), &gzip(&channel));
        let whole = Self { site, releases, catalogs, pages: Pages::start(), by_digest };
        whole.publish_charts();
        Some(whole)
    }

    /// Two versions of a chart in a repository.
    fn publish_charts(&self) {
        let mut index = "apiVersion: v1\nentries:\n  app:\n".to_owned();
        for version in ["1.0.0", "1.1.0"] {
            let archive = chart(&self.site, "app", version);
            let hex = Digest::of(&archive).hex().to_owned();
            index +=
                &format!("  - {{version: {version}, urls: [app-{version}.tgz], digest: {hex}}}\n");
            self.pages.put(&format!("/charts/app-{version}.tgz"), "application/gzip", &archive);
        }
        self.pages.put("/charts/index.yaml", "text/yaml", index.as_bytes());
    }

    /// What the first configuration asks for, and more.
    fn publish(&self) -> Content {
        let releases = &self.releases;
        let shared = releases.components(&["cli".to_owned(), "etcd".to_owned()], "1");
        let [old, new] = ["1", "2"].map(|generation| {
            let mut components = shared.clone();
            components.extend(releases.components(&["kubelet".to_owned()], generation));
            components
        });
        let first = releases.release("4.18.1", &old);
        let second = releases.release("4.18.2", &new);
        self.publish_catalog(&["1.0.0"]);
        Content { first, second, old, new }
    }

    /// A catalog of two packages, the first with these versions.
    fn publish_catalog(&self, versions: &[&str]) {
        let package = |name, versions| self.catalogs.package(name, &[("stable", versions)]);
        let both =
            [("first", package("first", versions)), ("second", package("second", &["0.1.0"]))];
        self.catalogs.catalog("v4.18", &both, &["amd64", "arm64"]);
    }

    fn ask_first(&self, release: &Pushed) {
        self.configure(&Asked {
            release,
            packages: &["first", "second"],
            chart: "1.0.0",
            images: &["team/app:1", "team/multi:1", "team/blocked:1"],
        });
    }

    /// Another release, a new head, a package less, another chart, an image in and one out.
    fn ask_second(&self, release: &Pushed) {
        self.publish_catalog(&["1.1.0", "1.0.0"]);
        self.configure(&Asked {
            release,
            packages: &["first"],
            chart: "1.1.0",
            images: &["team/app:2", "team/multi:1"],
        });
    }

    fn configure(&self, asked: &Asked<'_>) {
        let host = &self.site.source.host;
        let list = |items: &[&str], line: &dyn Fn(&str) -> String| {
            items.iter().map(|item| line(item)).collect::<String>()
        };
        self.site.configure(&format!(
            "  platform:\n    graph: true\n    release: {host}/{RELEASES}@{}\n  \
             operators:\n  - catalog: {host}/{INDEX}:v4.18\n    packages:\n{}  \
             helm:\n    repositories:\n    - name: r\n      url: http://{}/charts\n      \
             charts: [{{name: app, version: {}}}]\n  \
             additionalImages:\n{}  \
             blockedImages:\n  - name: team/blocked\n  - name: acme/hook\n",
            asked.release.digest,
            list(asked.packages, &|name| format!("    - name: {name}\n")),
            self.pages.host,
            asked.chart,
            list(asked.images, &|name| format!("  - name: {host}/{name}\n")),
        ));
    }

    /// `bundle create` or `mirror` with the keys, signatures and graph data of this site.
    fn run(&self, words: &[&str], workspace: &str, more: &[&str]) -> Run {
        let path = |name: &str| text(&self.site.path(name)).to_owned();
        let base = format!("{}/ubi9/ubi:1", self.site.source.host);
        let mut command = self.site.command(words);
        command.args(["--config", &path("imageset.yaml"), "--workspace", &path(workspace)]);
        command.args(["--release-keys", &path("keys.pgp"), "--signature-store", &path("store")]);
        command.args(["--graph-data", &path("graph-data.tar.gz"), "--graph-base", &base]);
        Run::of(command.args(["--retry-delay", "20ms"]).args(more))
    }

    fn create(&self, media: &str, workspace: &str, more: &[&str]) -> Run {
        self.run(&["create", "--to", text(&self.site.path(media))], workspace, more)
    }

    /// The names at a registry and what they stand for, beside those of a full mirror into an empty one.
    #[track_caller]
    fn is_as_a_full_mirror(&self, registry: &Server, number: u32) {
        let (media, workspace) = (format!("full{number}"), format!("other{number}"));
        let fresh =
            Server::start(Kind::Embedded, &self.site.path(&format!("fresh{number}"))).unwrap();
        self.create(&media, &workspace, &[]).ok();
        let key = self.site.path(&workspace).join("keys/default.pub.pem");
        let mut import = self.site.command(&["import", "--from", text(&self.site.path(&media))]);
        import.args(["--trust", text(&key), "--workspace", text(&self.site.path("nobody"))]);
        Run::of(import.arg(format!("docker://{}", fresh.host))).ok();
        let (wanted, found) = (names(&fresh), names(registry));
        for (name, digest) in &wanted {
            assert_eq!(found.get(name), Some(digest), "{name}");
            let (repository, tag) = name.rsplit_once(':').unwrap();
            assert_eq!(fresh.pull(repository, tag), registry.pull(repository, tag), "{name}");
        }
        for (name, digest) in found.iter().filter(|(name, _)| !wanted.contains_key(*name)) {
            let (repository, _) = name.rsplit_once(':').unwrap();
            let needed = wanted.iter().any(|(other, its)| {
                its == digest && other.rsplit_once(':').unwrap().0 == repository
            });
            assert!(needed && self.by_digest, "{name} should have gone");
        }
    }

    /// Content that must not be at the target, by its digest.
    #[track_caller]
    fn is_gone(&self, repository: &str, digest: &str) {
        assert!(self.site.target.manifest(repository, digest).is_none(), "{repository}@{digest}");
    }
}

fn names(registry: &Server) -> BTreeMap<String, Digest> {
    let digest = |name: &String| {
        let (repository, tag) = name.rsplit_once(':').unwrap();
        Digest::of(&registry.manifest(repository, tag).unwrap())
    };
    registry.all_tags().into_iter().map(|name| (name.clone(), digest(&name))).collect()
}

/// The files of a directory for clusters, without the times at which they were written.
fn written(whole: &Whole, directory: &str) -> BTreeMap<String, Vec<String>> {
    let directory = whole.site.path(directory);
    let lines = |name: &String| {
        let bytes = fs::read(directory.join(name)).unwrap();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        text.lines().filter(|line| !line.contains("createdAt")).map(str::to_owned).collect()
    };
    let mut files = support::tree(&directory);
    files.retain(|name| directory.join(name).is_file());
    files.into_iter().map(|name| (name.clone(), lines(&name))).collect()
}

fn over_media_with_two_updates(source: Kind, target: Kind) {
    let Some(whole) = Whole::new(source, target) else { return };
    let (site, releases, catalogs) = (&whole.site, &whole.releases, &whole.catalogs);
    let helm = tool("helm");
    let Content { first, second, old, new } = whole.publish();

    // The first sequence.
    whole.ask_first(&first);
    let plan = whole.create("media1", "connected", &["--dry-run", "--output", "json"]).ok().json();
    assert_eq!(plan["failures"], json!([]), "{plan}");
    assert!(!plan["blocked"].as_array().unwrap().is_empty(), "{plan}");
    let mapping = fs::read_to_string(site.path("connected/dry-run/mapping.txt")).unwrap();
    for name in
        ["openshift/release:4.18.1-x86_64-cli", "first/bundle", "acme/app:1", "team/multi:1"]
    {
        assert!(mapping.contains(name), "{name} in {mapping}");
    }
    assert!(!mapping.contains("team/blocked") && !mapping.contains("acme/hook"), "{mapping}");
    whole.create("media1", "connected", &[]).ok();
    site.verify(&site.path("media1")).ok();
    let key = site.key();
    let told =
        site.bundle(&["describe", "--from", text(&site.path("media1")), "--trust", text(&key)]);
    told.ok().says("4.18.1").says("2 packages: first, second").says("charts/app:1.0.0");
    site.import("media1", &[]).ok();
    releases.stands(&first, "4.18.1-x86_64", &old);
    whole.is_as_a_full_mirror(&site.target, 1);
    let seen = catalogs.seen(INDEX, "v4.18", "amd64");
    assert_eq!(seen.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["first", "second"]);
    let resources = written(&whole, "disconnected/cluster-resources");
    for name in [
        "idms-oc-mirror.yaml",
        "itms-oc-mirror.yaml",
        "updateService.yaml",
        "signature-configmap.json",
        "charts/app-1.0.0.tgz",
    ] {
        assert!(resources.contains_key(name), "{name} in {:?}", resources.keys());
    }
    let bundle = |version: &str| {
        let image = catalogs.image("first/bundle", &format!("first bundle {version}"));
        image.rsplit_once('@').unwrap().1.to_owned()
    };
    let before = bundle("1.0.0");
    assert!(site.target.manifest("first/bundle", &before).is_some());

    // An update.
    whole.ask_second(&second);
    let answer = whole.create("media2", "connected", &["--output", "json"]).ok().json();
    assert_eq!((&answer["sequence"], &answer["kind"]), (&json!(2), &json!("incremental")));
    let dry = site.import("media2", &["--dry-run", "--output", "json"]).ok().json();
    let plan = fs::read_to_string(dry["pruningPlan"].as_str().unwrap()).unwrap();
    assert!(plan.contains("team/app") && plan.contains("second/bundle"), "{plan}");
    assert!(!plan.contains("team/multi"), "{plan}");
    site.import("media2", &[]).ok();
    releases.stands(&second, "4.18.2-x86_64", &new);
    whole.is_as_a_full_mirror(&site.target, 2);
    whole.is_gone("first/bundle", &before);
    whole.is_gone("openshift/release-images", &first.digest.to_string());
    whole.is_gone("openshift/release", &old[2].1.to_string());
    let resources = written(&whole, "disconnected/cluster-resources");
    assert!(resources.contains_key("charts/app-1.1.0.tgz"));
    assert!(!resources.contains_key("charts/app-1.0.0.tgz"));

    // Another, of which the target keeps what left until it is told to.
    whole.configure(&Asked {
        release: &second,
        packages: &["second"],
        chart: "1.1.0",
        images: &["team/app:1"],
    });
    whole.create("media3", "connected", &[]).ok();
    let multi = Digest::of(&site.target.manifest("team/multi", "1").unwrap()).to_string();
    site.import("media3", &["--skip-pruning"]).ok();
    assert!(site.target.manifest("team/multi", &multi).is_some());
    let target = format!("docker://{}", site.target.host);
    let workspace = site.path("disconnected");
    let ours = |words: &[&str]| {
        site.bundle(&[words, &[&target, "--workspace", text(&workspace)]].concat())
    };
    ours(&["prune", "--dry-run"]).ok().says("team/multi");
    assert!(site.target.manifest("team/multi", &multi).is_some());
    ours(&["prune"]).ok();
    whole.is_gone("team/multi", &multi);
    whole.is_as_a_full_mirror(&site.target, 3);

    // The files for clusters are the same when they are asked for, also by who has only the registry.
    let resources = written(&whole, "disconnected/cluster-resources");
    ours(&["resources", "--to", text(&site.path("again"))]).ok();
    assert_eq!(written(&whole, "again"), resources);
    let (nobody, anew) = (site.path("somebody"), site.path("anew"));
    let line = ["resources", &target, "--workspace", text(&nobody), "--to", text(&anew)];
    site.bundle(&line).ok();
    assert_eq!(written(&whole, "anew"), resources);
    schemas(&site.path("again"));

    // What clients make of it.
    let seen = catalogs.seen(INDEX, "v4.18", "arm64");
    assert_eq!(seen.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["second"]);
    let home = site.path("home");
    fs::create_dir_all(&home).unwrap();
    let _ = opm(&home, &["validate", text(&site.path("unpacked/configs"))]);
    if let Some(helm) = helm {
        let images = IMAGES.iter().filter(|name| **name != "acme/hook");
        for name in images {
            assert_eq!(site.source.pull(name, "1"), site.target.pull(name, "1"), "{name}");
        }
        let from = format!("oci://{}/charts/app", site.target.host);
        run_helm(&helm, &home, &["pull", &from, "--version", "1.1.0", "--plain-http"]);
        let rendered = run_helm(&helm, &home, &["template", "app-1.1.0.tgz"]);
        assert!(rendered.contains("kind: CronJob"), "{rendered}");
    }
    assert!(
        !site
            .target
            .repositories()
            .iter()
            .any(|name| name == "team/blocked" || name == "acme/hook")
    );
    // Nothing is new, on either side.
    whole.create("media4", "connected", &[]).ok().says("nothing new");
    let again = site.import("media3", &["--output", "json"]).ok().json();
    assert_eq!(again["sequences"][0]["outcome"], Value::from("known"), "{again}");
}

#[test]
fn everything_at_once_between_two_registries_of_the_field() {
    over_media_with_two_updates(Kind::Distribution, Kind::Distribution);
}

#[test]
fn everything_at_once_into_the_mirror_registry() {
    over_media_with_two_updates(Kind::Embedded, Kind::Embedded);
}

#[test]
fn everything_at_once_straight_from_one_registry_into_another() {
    let Some(whole) = Whole::new(Kind::Distribution, Kind::Distribution) else { return };
    let Content { first, second, .. } = whole.publish();
    let target = format!("docker://{}", whole.site.target.host);
    whole.ask_first(&first);
    let plan = whole.run(&["mirror", &target], "straight", &["--dry-run"]).ok();
    plan.says("charts/app:1.0.0");
    assert!(whole.site.target.repositories().is_empty());
    whole.run(&["mirror", &target], "straight", &[]).ok();
    whole.is_as_a_full_mirror(&whole.site.target, 1);
    whole.ask_second(&second);
    whole.run(&["mirror", &target], "straight", &[]).ok();
    whole.is_as_a_full_mirror(&whole.site.target, 2);
    whole.is_gone("openshift/release-images", &first.digest.to_string());
    assert!(written(&whole, "straight/cluster-resources").contains_key("updateService.yaml"));
    whole.run(&["mirror", &target], "straight", &[]).ok().says("nothing new");
}
