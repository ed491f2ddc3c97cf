//! `mirror.helm` over the whole road: charts from a directory, a repository and a registry, with their images, to a target
//! from which the real `helm` takes them.

#![allow(clippy::unwrap_used)]

mod support;

use std::io::Write as _;
use std::path::PathBuf;

use format_spec::Digest;
use fs_err as fs;
use serde_json::{Value, json};

use support::charts::{IMAGES, chart, packed, push_images, run_helm};
use support::openshift::data;
use support::pages::Pages;
use support::server::{Kind, fs_write};
use support::site::Site;
use support::tls::TlsRelay;
use support::{text, tool};

/// The real `helm`; `None` after saying that it is not here.
fn helm() -> Option<PathBuf> {
    tool("helm")
}

/// `bundle create` without any `helm`.
fn without_helm(site: &Site, media: &str, more: &[&str]) -> support::command::Run {
    let arguments = site.create_arguments(media);
    let mut command = site.command(&[]);
    command.args(arguments).args(more).env("PATH", "/nonexistent");
    support::command::Run::of(&mut command)
}

/// The chart at the target: its archive's bytes.
fn archive_at_target(site: &Site, repository: &str, tag: &str) -> Vec<u8> {
    let manifest: Value =
        serde_json::from_slice(&site.target.manifest(repository, tag).unwrap()).unwrap();
    assert_eq!(manifest["config"]["mediaType"], "application/vnd.cncf.helm.config.v1+json");
    let layer = &manifest["layers"][0];
    assert_eq!(layer["mediaType"], "application/vnd.cncf.helm.chart.content.v1.tar+gzip");
    site.target.blob(repository, layer["digest"].as_str().unwrap()).unwrap()
}

fn site() -> Option<Site> {
    Site::with(Kind::Embedded, Kind::Distribution)
}

#[test]
fn a_local_chart_arrives_with_the_images_that_helm_renders() {
    let (Some(site), Some(helm)) = (site(), helm()) else { return };
    push_images(&site);
    let archive = chart(&site, "app", "1.2.3+b1");
    fs_write(&site.path("app.tgz"), &archive);
    site.configure(
        "  helm:\n    local:\n    - name: app\n      path: app.tgz\n      imagePaths:\n      \
         - \"{.spec.template.spec.containers[*].env[*].value}\"\n",
    );
    let host = &site.source.host;
    let dry = site.create("media", &["--dry-run"]).ok();
    let dry = dry.says("chart charts/app:1.2.3_b1 from app.tgz: 6 images\n").says(&format!(
        "{host}/acme/app:1  Deployment/release-name-app .spec.template.spec.containers[0].image in app/templates/deployment.yaml"
    ));
    let dry = dry.says(&format!("{host}/acme/sub:1  Pod/other .spec.containers[0].image in app/charts/other/templates/pod.yaml"));
    dry.says("left out `debug`").says("artifacthub.io/images[0] in app/Chart.yaml");
    let json = site.create("media", &["--dry-run", "--output", "json"]).ok().json();
    let chart = &json["charts"][0];
    assert_eq!(
        (&chart["chart"], &chart["version"], &chart["foundBy"]),
        (&json!("app"), &json!("1.2.3+b1"), &json!("helm"))
    );
    let side = chart["images"]
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["image"] == format!("{host}/acme/side:1"));
    assert_eq!(side.unwrap()["found"][0]["by"], "imagePath");
    site.create("media", &[]).ok().says("chart charts/app:1.2.3_b1 from app.tgz: 6 images\n");
    let written = site.import("media", &[]).ok();
    site.same(&IMAGES.map(|name| format!("{name}:1")).each_ref().map(String::as_str));
    assert!(!site.target.repositories().contains(&"acme/never".to_owned()));
    assert_eq!(archive_at_target(&site, "charts/app", "1.2.3_b1"), archive);
    // The archive is beside the files for clusters, and no cluster is told to look for a chart.
    let resources = site.path("disconnected/cluster-resources");
    let file = resources.join("charts/app-1.2.3+b1.tgz");
    assert_eq!(fs::read(&file).unwrap(), archive, "{written}");
    let tags = fs::read_to_string(resources.join("itms-oc-mirror.yaml")).unwrap();
    assert!(tags.contains("itms-generic-0") && tags.contains(&format!("{host}/acme")), "{tags}");
    assert!(!tags.contains("charts"), "{tags}");
    // `helm` takes it from there, and renders it.
    let target = format!("oci://{}/charts/app", site.target.host);
    let home = site.path("helm-home");
    run_helm(&helm, &home, &["pull", &target, "--version", "1.2.3+b1", "--plain-http"]);
    assert_eq!(fs::read(home.join("app-1.2.3+b1.tgz")).unwrap(), archive);
    let rendered = run_helm(&helm, &home, &["template", "app-1.2.3+b1.tgz"]);
    assert!(rendered.contains("kind: CronJob"), "{rendered}");
    // Again there is nothing to carry, and nothing of Helm's own is left in the user's home.
    site.create("more", &[]).ok().says("nothing new");
    for name in [".cache", ".config", ".local"] {
        assert!(!site.path(name).join("helm").exists(), "{name}");
    }
    // What leaves the configuration leaves the files too.
    site.images(&["acme/app:1"]);
    site.create("next", &[]).ok();
    site.import("next", &[]).ok();
    assert!(!file.exists());
}

#[test]
fn a_directory_and_a_repository_without_helm_bring_what_annotations_list() {
    let Some(site) = site() else { return };
    push_images(&site);
    let pages = Pages::start();
    let archive = chart(&site, "app", "1.2.3");
    let old = chart(&site, "app", "1.1.0");
    let library = packed("lib", &[("Chart.yaml", "name: lib\nversion: 0.1.0\ntype: library\n")]);
    let hex = |bytes: &[u8]| Digest::of(bytes).hex().to_owned();
    let index = format!(
        "apiVersion: v1\nentries:\n  app:\n  - {{version: 1.2.3, urls: [app-1.2.3.tgz], digest: {}}}\n  \
         - {{version: 1.1.0, urls: [\"http://{}/charts/old.tgz\"], digest: \"sha256:{}\"}}\n  \
         - {{version: 2.0.0-rc1, urls: [none.tgz]}}\n  lib:\n  - {{version: 0.1.0, urls: [lib.tgz], type: library}}\n",
        hex(&archive),
        pages.host,
        hex(&old)
    );
    pages.put("/charts/index.yaml", "text/yaml", index.as_bytes());
    pages.put("/charts/app-1.2.3.tgz", "application/gzip", &archive);
    pages.put("/charts/app-1.2.3.tgz.prov", "text/plain", b"signed");
    pages.put("/charts/old.tgz", "application/gzip", &old);
    pages.put("/charts/lib.tgz", "application/gzip", &library);
    let local = site.path("mine/local");
    fs::create_dir_all(local.join("templates")).unwrap();
    fs_write(&local.join("Chart.yaml"), b"apiVersion: v2\nname: local\nversion: v0.1.0\n");
    fs_write(&local.join("templates/x.yaml"), b"kind: X\n");
    let repository =
        format!("    repositories:\n    - name: r\n      url: http://{}/charts\n", pages.host);
    site.configure(&format!(
        "  helm:\n    local:\n    - {{name: local, path: mine/local}}\n{repository}"
    ));
    let run = without_helm(&site, "media", &[]).ok();
    let run = run.says(
        "there is no `helm` here: of `local v0.1.0`, `app 1.2.3`, `app 1.1.0` only the images",
    );
    run.says("charts/app:1.2.3 from")
        .says("1 image, as far as its annotations say\n")
        .says("charts/local:v0.1.0 from mine/local");
    site.import("media", &[]).ok();
    let mut repositories = site.target.repositories();
    repositories.retain(|name| !name.contains("ledger"));
    assert_eq!(repositories, ["acme/extra", "charts/app", "charts/local"]);
    assert_eq!(archive_at_target(&site, "charts/app", "1.1.0"), old);
    let manifest: Value =
        serde_json::from_slice(&site.target.manifest("charts/app", "1.2.3").unwrap()).unwrap();
    assert_eq!(
        manifest["layers"][1]["mediaType"],
        "application/vnd.cncf.helm.chart.provenance.v1.prov"
    );
    assert_eq!(site.target.tags("charts/app"), ["1.1.0", "1.2.3"]);
    // What is new before a create, and after it.
    let look = |more: &[&str]| {
        let (config, workspace) = (site.path("imageset.yaml"), site.path("connected"));
        let line = ["list", "updates", "--config", text(&config), "--workspace", text(&workspace)];
        site.bundle(&[&line, more].concat()).ok()
    };
    assert_eq!(look(&["--output", "json"]).json()["nothing"], true);
    fs_write(&local.join("templates/x.yaml"), b"kind: Y\n");
    look(&[]).says("chart local v0.1.0  from mine/local, carried before with other content\n");
    // The same directory elsewhere, later, in a new workspace: nothing new.
    let first = site.target.manifest("charts/local", "v0.1.0").unwrap();
    fs::remove_dir_all(site.path("connected/made")).unwrap();
    fs_write(&local.join("templates/x.yaml"), b"kind: X\n");
    without_helm(&site, "more", &[]).ok().says("nothing new");
    assert_eq!(site.target.manifest("charts/local", "v0.1.0").unwrap(), first);
    // And the sequence can be written again.
    without_helm(&site, "again", &["--resend", "1"]).ok();
    // A guess finds more.
    site.configure(&format!(
        "  helm:\n{repository}      charts: [{{name: app, version: \"^1.2\"}}]\n"
    ));
    let scan = without_helm(&site, "scan", &["--dry-run", "--helm-scan"]).ok();
    scan.says("guessed from its default values");
}

#[test]
fn charts_of_a_registry_are_carried_as_they_are() {
    let (Some(site), Some(helm)) = (site(), helm()) else { return };
    push_images(&site);
    let home = site.path("helm-home");
    fs::create_dir_all(&home).unwrap();
    let to = format!("oci://{}/team/helm", site.source.host);
    for version in ["1.0.0", "1.1.0+b2", "2.0.0"] {
        fs_write(&home.join("app.tgz"), &chart(&site, "app", version));
        run_helm(&helm, &home, &["push", "app.tgz", &to, "--plain-http"]);
    }
    site.source.image("team/helm/app", "sha256-00.sig", &[b"beside"]);
    site.configure(&format!(
        "  helm:\n    repositories:\n    - name: r\n      url: {to}\n      charts: [{{name: app, version: 1.x}}]\n"
    ));
    site.create("media", &[])
        .ok()
        .says(&format!("chart team/helm/app:1.1.0_b2 from {to}/app:1.1.0_b2: 5 images"));
    site.import("media", &[]).ok();
    assert_eq!(site.target.tags("team/helm/app"), ["1.0.0", "1.1.0_b2"]);
    site.same(&["team/helm/app:1.0.0", "team/helm/app:1.1.0_b2", "acme/sub:1"]);
    assert!(site.path("disconnected/cluster-resources/charts/app-1.0.0.tgz").exists());
    let target = format!("oci://{}/team/helm/app", site.target.host);
    run_helm(&helm, &home, &["pull", &target, "--version", "1.1.0+b2", "--plain-http"]);
    // The address of the chart itself does too; an image is no chart.
    site.configure(&format!("  helm:\n    repositories:\n    - {{name: r, url: {to}/app}}\n"));
    site.create("all", &["--dry-run"]).ok().says("chart team/helm/app:2.0.0");
    site.configure(&format!("  helm:\n    repositories:\n    - {{name: r, url: \"oci://{}/acme\", charts: [{{name: app, version: \"1\"}}]}}\n", site.source.host));
    site.create("none", &[]).refused(&[16]).says("it is no Helm chart");
}

#[test]
fn bad_charts_are_named_and_the_rest_goes_on() {
    let Some(site) = site() else { return };
    push_images(&site);
    let pages = Pages::start();
    let good = chart(&site, "app", "1.2.3");
    fs_write(&site.path("good.tgz"), &good);
    fs_write(&site.path("bad.tgz"), &packed("bad", &[("Chart.yaml", "name: bad\nversion: [\n")]));
    fs_write(
        &site.path("cyclic.tgz"),
        &packed(
            "a",
            &[
                ("Chart.yaml", "name: a\nversion: 1.0.0\n"),
                ("charts/b/Chart.yaml", "name: b\nversion: 1.0.0\n"),
                ("charts/b/charts/a/Chart.yaml", "name: a\nversion: 1.0.0\n"),
            ],
        ),
    );
    let index = format!(
        "apiVersion: v1\nentries:\n  app:\n  - {{version: 1.2.4, urls: [app.tgz], digest: {}}}\n  - {{version: 1.2.3, urls: [same.tgz]}}\n",
        "ab".repeat(32)
    );
    pages.put("/index.yaml", "text/yaml", index.as_bytes());
    pages.put("/app.tgz", "application/gzip", &good);
    pages.put(
        "/same.tgz",
        "application/gzip",
        &packed("app", &[("Chart.yaml", "name: app\nversion: 1.2.3\n")]),
    );
    site.configure(&format!(
        "  helm:\n    local:\n    - {{name: good, path: good.tgz}}\n    - {{name: bad, path: bad.tgz}}\n    - {{name: cyclic, path: cyclic.tgz}}\n    \
         - {{name: none, path: none.tgz}}\n    repositories:\n    - name: r\n      url: http://{}\n      charts:\n      - {{name: app, version: 1.2.4}}\n      \
         - {{name: app, version: 1.2.3}}\n      - {{name: app, version: 9.0.0}}\n      - {{name: other}}\n",
        pages.host
    ));
    let run = without_helm(&site, "media", &["--helm-values", "nobody=imageset.yaml"]).code(16);
    let run = run.says("imageset.yaml:7: `bad/Chart.yaml`: bad YAML in line 3");
    let run =
        run.says("imageset.yaml:8: its sub-charts contain each other: a 1.0.0 > b 1.0.0 > a 1.0.0");
    let run = run.says("imageset.yaml:9: there is no such file or directory");
    let run = run.says("imageset.yaml:14: `index.yaml` says that the archive has the digest abab");
    let run =
        run.says("imageset.yaml:15: it is called app 1.2.3 as another chart is, from good.tgz");
    let run = run
        .says("imageset.yaml:16: the repository has no version `9.0.0` of it; the newest is 1.2.4");
    let run = run.says("imageset.yaml:17: the repository has no chart `other`");
    run.says("`--helm-values nobody=…` is for no chart").says("sequence 1 carries the rest");
    site.import("media", &[]).ok();
    assert_eq!(archive_at_target(&site, "charts/app", "1.2.3"), good);
}

#[test]
fn what_a_chart_needs_to_render_is_given_by_options() {
    let (Some(site), Some(_)) = (site(), helm()) else { return };
    push_images(&site);
    let template = "kind: Pod\nmetadata: {name: p}\nspec: {containers: [{image: {{ required \"say which\" .Values.image }}}]}\n\
                    {{ if .Capabilities.APIVersions.Has \"acme.example.com/v1\" }}\n---\nkind: Pod\nmetadata: {name: q}\n\
                    spec: {containers: [{image: \"{{ .Values.more }}\"}]}\n{{ end }}\n";
    let document = "apiVersion: v2\nname: app\nversion: 1.0.0\nkubeVersion: \">=1.99.0-0\"\n";
    fs_write(
        &site.path("app.tgz"),
        &packed("app", &[("Chart.yaml", document), ("templates/p.yaml", template)]),
    );
    let host = &site.source.host;
    fs_write(&site.path("values.yaml"), format!("image: {host}/acme/app:1\n").as_bytes());
    site.configure("  helm:\n    local:\n    - {name: app, path: app.tgz}\n");
    site.create("media", &[])
        .refused(&[16])
        .says("imageset.yaml:6: `helm template` refuses it: chart requires kubeVersion")
        .says("--helm-kube-version VERSION");
    let kube = ["--helm-kube-version", "1.99.1"];
    site.create("media", &kube).refused(&[16]).says("say which").says("`--helm-values app=FILE`");
    let more = format!("app=more={host}/acme/side:1");
    let options = [&kube[..], &["--helm-values", "app=values.yaml", "--helm-set", &more]].concat();
    site.create("media", &[&options[..], &["--dry-run"]].concat()).ok().says(": 1 image\n");
    let all = [&options[..], &["--helm-api-versions", "acme.example.com/v1"]].concat();
    site.create("media", &all).ok().says(": 2 images\n");
    // The same without one of them takes an image away, which is told.
    let again = site.create("next", &[&all[..], &["--dry-run"]].concat()).ok();
    assert!(!again.stderr.contains("stays as it is"), "{again}");
    site.create("next", &options).ok().says("every chart stays as it is: `acme/side:1`");
    // Where the chart itself is another one, its images may leave with it.
    let template = template.replace("name: q", "name: r");
    let files = [("Chart.yaml", document), ("templates/p.yaml", &template)];
    fs_write(&site.path("app.tgz"), &packed("app", &files));
    site.create("third", &all).ok();
    let template = template.replace("name: r", "name: s");
    let files = [("Chart.yaml", document), ("templates/p.yaml", &template)];
    fs_write(&site.path("app.tgz"), &packed("app", &files));
    let other = site.create("fourth", &options).ok();
    assert!(!other.stderr.contains("stays as it is"), "{other}");
    site.bundle(&["create", "-c", "imageset.yaml", "--to", "x", "--helm", "nowhere"])
        .refused(&[64])
        .says("`nowhere`");
}

/// The real charts, and the images that each needs by its default values.
const REAL: [(&str, &[&str]); 15] = [
    (
        "ingress-nginx-4.12.1",
        &[
            "registry.k8s.io/ingress-nginx/controller:v1.12.1@sha256:d2fbc4ec70d8aa2050dd91a91506e998765e86c96f32cffb56c503c9c34eed5b",
            "registry.k8s.io/ingress-nginx/kube-webhook-certgen:v1.5.2@sha256:e8825994b7a2c7497375a9b945f386506ca6a3eda80b89b74ef2db743f66a5ea",
        ],
    ),
    (
        "my-chart-with-subchart-alias-0.1.0",
        &[
            "docker.io/library/nginx:1.16.0",
            "quay.io/fedora/postgresql-15:latest",
            "quay.io/rhdh-community/rhdh:next",
        ],
    ),
    ("podinfo-5.0.0", &["ghcr.io/stefanprodan/podinfo:5.0.0"]),
    ("podinfo-6.0.0", &["ghcr.io/stefanprodan/podinfo:6.0.0"]),
    (
        "service-binding-operator-1.0.0",
        &[
            "quay.io/redhat-developer/servicebinding-operator@sha256:de1881753e82c51b31e958fcf383cb35b0f70f6ec99d402d42243e595d00c6dd",
        ],
    ),
    (
        "service-binding-operator-1.0.1",
        &[
            "quay.io/redhat-developer/servicebinding-operator@sha256:cc5aab01ddd3744510c480eb4f58b834936a833d36bec5c9c13fb40bbb06c663",
        ],
    ),
    (
        "service-binding-operator-1.0.2",
        &[
            "quay.io/redhat-developer/servicebinding-operator@sha256:69a95c6216ead931e01e4144ae8f4fb7ab35d1f68a14c18f6860a085ccb950f5",
        ],
    ),
    (
        "service-binding-operator-1.1.0",
        &[
            "quay.io/redhat-developer/servicebinding-operator@sha256:f79f6999a15534dbe56e658caf94fc4b7afb5ceeb7b49f32a60ead06fbd7c3fc",
        ],
    ),
    (
        "service-binding-operator-1.3.0",
        &[
            "quay.io/redhat-developer/servicebinding-operator@sha256:e01016cacae84dfb6eaf7a1022130e7d95e2a8489c38d4d46e4f734848e93849",
        ],
    ),
    (
        "service-binding-operator-1.3.1",
        &[
            "quay.io/redhat-developer/servicebinding-operator@sha256:67c2a2502f59fac1e7ded9ed19b59bbd4e50f5559a13978a87ecd2283b81e067",
        ],
    ),
    (
        "service-binding-operator-1.3.2",
        &[
            "quay.io/redhat-developer/servicebinding-operator@sha256:30bf7f0f21024bb2e1e4db901b1f5e89ab56e0f3197a919d2bbb670f3fe5223a",
        ],
    ),
    (
        "service-binding-operator-1.3.3",
        &[
            "quay.io/redhat-developer/servicebinding-operator@sha256:e4259939a496f292a31b5e57760196d63a8182b999164d93a446da48c4ea24eb",
        ],
    ),
    (
        "service-binding-operator-1.4.0",
        &[
            "quay.io/redhat-developer/servicebinding-operator@sha256:ac47f496fb7ecdcbc371f8c809fad2687ec0c35bbc8c522a7ab63b3e5ffd90ea",
        ],
    ),
    (
        "service-binding-operator-1.4.1",
        &[
            "quay.io/redhat-developer/servicebinding-operator@sha256:16286ac84ddd521897d92472dae857a4c18479f255b725dfb683bc72df6e0865",
        ],
    ),
    // The second one stands in an environment variable, where `imagePaths` looks.
    (
        "test-mirror-helm-0.3.0",
        &["quay.io/nginx/nginx-ingress:latest", "quay.io/prometheus/prometheus:latest"],
    ),
];

#[test]
fn real_charts_name_their_images() {
    let (Some(charts), Some(_)) = (data("helm/charts"), helm()) else { return };
    let site = Site::new();
    let local: String = REAL
        .iter()
        .map(|(name, _)| {
            format!("    - {{name: c, path: {}, imagePaths: [\"{{.spec.template.spec.containers[*].env[*].value}}\"]}}\n", text(&charts.join(format!("{name}.tgz"))))
        })
        .collect();
    // The images themselves are nowhere here.
    site.configure(&format!("  helm:\n    local:\n{local}  blockedImages: [{{name: \".\"}}]\n"));
    let answer = site.create("media", &["--dry-run", "--output", "json"]).ok().json();
    let found = answer["charts"].as_array().unwrap();
    assert_eq!(found.len(), REAL.len());
    for (chart, (name, expected)) in found.iter().zip(REAL) {
        let images: Vec<&str> = chart["images"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["image"].as_str().unwrap())
            .collect();
        assert_eq!(images, expected, "{name}");
    }
    assert_eq!(answer["warnings"], json!([]));
}

/// Charts that other tools stumble over: backslashes in paths, a byte order mark, archives in archives.
#[test]
fn odd_real_charts_are_read() {
    let Some(charts) = data("helm/helm-testdata") else { return };
    let site = Site::new();
    let names =
        ["chart-with-compressed-dependencies-2.1.8", "frobnitz-1.2.3", "frobnitz_backslash-1.2.3"];
    let local: String = names
        .iter()
        .map(|name| {
            format!("    - {{name: c, path: {}}}\n", text(&charts.join(format!("{name}.tgz"))))
        })
        .collect();
    site.configure(&format!("  helm:\n    local:\n{local}  blockedImages: [{{name: \".\"}}]\n"));
    let answer = without_helm(&site, "media", &["--dry-run", "--output", "json"]).ok().json();
    let found: Vec<&str> = answer["charts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|chart| chart["name"].as_str().unwrap())
        .collect();
    let expected =
        ["chart-with-compressed-dependencies:2.1.8", "frobnitz:1.2.3", "frobnitz_backslash:1.2.3"];
    assert_eq!(found, expected.map(|name| format!("charts/{name}")));
    // Its `Chart.yaml` begins with a byte order mark, and it has the name of another one of these.
    let marked =
        format!("    - {{name: c, path: {}}}\n", text(&charts.join("frobnitz_with_bom.tgz")));
    site.configure(&format!(
        "  helm:\n    local:\n{local}{marked}  blockedImages: [{{name: \".\"}}]\n"
    ));
    without_helm(&site, "media", &["--dry-run"])
        .code(16)
        .says("it is called frobnitz 1.2.3 as another chart is");
    site.configure(&format!("  helm:\n    local:\n{marked}  blockedImages: [{{name: \".\"}}]\n"));
    without_helm(&site, "media", &["--dry-run"]).ok().says("frobnitz");
}

#[test]
fn a_repository_gets_its_credentials() {
    let site = Site::new();
    let archive = packed("app", &[("Chart.yaml", "apiVersion: v2\nname: app\nversion: 1.0.0\n")]);
    let (listener, host) = support::listener();
    let index = format!(
        "entries: {{app: [{{version: 1.0.0, urls: [app.tgz], digest: {}}}]}}",
        Digest::of(&archive).hex()
    );
    // `user:secret`.
    support::serve(listener, move |mut stream| -> std::io::Result<()> {
        let mut reader = std::io::BufReader::new(stream.try_clone()?);
        let mut line = String::new();
        std::io::BufRead::read_line(&mut reader, &mut line)?;
        let headers = support::wire::read_headers(&mut reader)?;
        let known =
            headers.get("authorization").is_some_and(|proof| proof == "Basic dXNlcjpzZWNyZXQ=");
        let (status, body) = match line.split(' ').nth(1) {
            _ if !known => (401, &b""[..]),
            Some("/private/index.yaml") => (200, index.as_bytes()),
            Some("/private/app.tgz") => (200, &*archive),
            _ => (404, &b""[..]),
        };
        let length = body.len();
        write!(
            stream,
            "HTTP/1.1 {status} X\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
        )?;
        stream.write_all(body)
    });
    site.configure(&format!(
        "  helm:\n    repositories:\n    - {{name: r, url: http://{host}/private}}\n"
    ));
    without_helm(&site, "media", &[]).refused(&[77]).says(&format!("no credentials for `{host}`"));
    let auth = json!({"auths": {host.as_str(): {"auth": "dXNlcjpzZWNyZXQ="}}});
    fs_write(&site.path("auth.json"), auth.to_string().as_bytes());
    let run = without_helm(&site, "media", &["--authfile", text(&site.path("auth.json"))]).ok();
    assert!(!format!("{run}").contains("dXNlcjpzZWNyZXQ"), "{run}");
    run.says("chart charts/app:1.0.0");
}

#[test]
fn a_repository_of_a_private_authority_is_read_with_its_certificate() {
    let Some(site) = site() else { return };
    push_images(&site);
    let pages = Pages::start();
    let archive = chart(&site, "app", "1.2.3");
    let index = format!(
        "apiVersion: v1\nentries:\n  app:\n  - {{version: 1.2.3, urls: [app.tgz], digest: {}}}\n",
        Digest::of(&archive).hex()
    );
    pages.put("/charts/index.yaml", "text/yaml", index.as_bytes());
    pages.put("/charts/app.tgz", "application/gzip", &archive);
    let authority = site.path("authority.crt");
    let relay = TlsRelay::start(&pages.host, &authority);
    let repository =
        format!("    repositories:\n    - name: r\n      url: https://{}/charts\n", relay.host);
    site.configure(&format!("  helm:\n{repository}"));
    without_helm(&site, "media", &[]).refused(&[16, 75]).says("--ca-file");
    without_helm(&site, "media", &["--ca-file", text(&authority)]).ok();
    site.import("media", &[]).ok();
    assert_eq!(archive_at_target(&site, "charts/app", "1.2.3"), archive);
}
