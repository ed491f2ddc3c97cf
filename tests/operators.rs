//! `mirror.operators` over the whole road: from a catalog at its registry to one that a cluster reads behind the gap.

#![allow(clippy::unwrap_used)]

mod support;

use std::io::Read as _;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use format_spec::Digest;
use fs_err as fs;
use serde_json::{Value, json};

use support::figures;
use support::image::OCI_MANIFEST;
use support::openshift::{data, opm};
use support::operators::{CONFIGS, Catalogs, INDEX};
use support::releases::{listening, resources};
use support::server::fs_write;
use support::{files, free_port, text, tool, tree};

/// The names of the bundles that a catalog offers.
fn bundles(seen: &[(String, Vec<Value>)]) -> Vec<String> {
    let objects = seen.iter().flat_map(|(_, objects)| objects);
    let bundles = objects.filter(|object| object["schema"] == "olm.bundle");
    bundles.map(|bundle| bundle["name"].as_str().unwrap().to_owned()).collect()
}

/// The digest of what stands under a name.
fn digest(catalogs: &Catalogs, repository: &str, tag: &str) -> String {
    let manifest = catalogs.site.target.manifest(repository, tag).unwrap();
    Digest::of(&manifest).to_string()
}

/// Two packages, of which the first has two channels.
fn two(catalogs: &Catalogs) -> Vec<(&'static str, Vec<Value>)> {
    let stable: &[&str] = &["1.2.0", "1.1.0", "1.0.0"];
    let first = catalogs.package("first", &[("stable", stable), ("fast", &["2.0.0", "1.2.0"])]);
    let second = catalogs.package("second", &[("alpha", &["0.2.0", "0.1.0"])]);
    vec![("first", first), ("second", second)]
}

#[test]
fn the_heads_of_a_catalog_arrive_with_their_images() {
    let catalogs = Catalogs::new();
    let site = &catalogs.site;
    catalogs.catalog("v4.18", &two(&catalogs), &["amd64", "arm64"]);
    catalogs.configure("  - catalog: INDEX:v4.18\n");
    catalogs
        .create("media", &["--dry-run"])
        .ok()
        .says("`first`: 2 of 4 bundles, default channel `stable`")
        .says("    ├─ `stable`: its head `first.v1.2.0` 1.2.0, 1 of 3\n")
        .says("  set     7 names of Operator catalogs: `--output json` has all\n");
    let told = "catalog redhat/redhat-operator-index:v4.18 from";
    catalogs.create("media", &[]).ok().says(told).says(": 2 packages, 3 bundles, 6 images");
    site.import("media", &[]).ok();
    for arch in ["amd64", "arm64"] {
        let seen = catalogs.seen(INDEX, "v4.18", arch);
        assert_eq!(bundles(&seen), ["first.v1.2.0", "first.v2.0.0", "second.v0.2.0"]);
        let config = catalogs.unpack(INDEX, "v4.18", arch, &site.path("unpacked"));
        assert_eq!(config["config"]["Cmd"], json!(["serve", "/configs"]));
        assert_eq!(config["config"]["Entrypoint"], json!(["/bin/opm"]));
        assert_eq!(config["architecture"], arch);
        let mut files = tree(&site.path("unpacked"));
        files.retain(|path| site.path("unpacked").join(path).is_file());
        let expected =
            ["bin/opm", "configs/first/catalog.json", "configs/second/catalog.json", "tmp/.keep"];
        assert_eq!(files, expected);
    }
    // Whoever gets the medium sees what is in it.
    let key = site.path("connected/keys/default.pub.pem");
    site.bundle(&["describe", "--from", text(&site.path("media")), "--trust", text(&key)])
        .ok()
        .says(&format!("    {INDEX}:v4.18  from {}/{INDEX}:v4.18\n", site.source.host))
        .says("      2 packages: first, second\n");
    // What the bundles need, and nothing else.
    let mut repositories = site.target.repositories();
    repositories.retain(|name| !name.contains("ledger"));
    assert_eq!(
        repositories,
        ["first/bundle", "first/operator", INDEX, "second/bundle", "second/operator"]
    );
    assert_eq!(site.target.tags("first/operator").len(), 2);
    // Again there is nothing to carry.
    catalogs.create("more", &[]).ok().says("nothing new");
}

#[test]
fn the_same_catalog_and_choice_are_the_same_image() {
    let catalogs = Catalogs::new();
    let site = &catalogs.site;
    catalogs.catalog("v4.18", &two(&catalogs), &["amd64", "s390x"]);
    catalogs.configure("  - catalog: INDEX:v4.18\n    packages: [{name: first}]\n");
    catalogs.create("media", &[]).ok();
    site.import("media", &[]).ok();
    let first = digest(&catalogs, INDEX, "v4.18");
    // Nothing of the first run is there.
    fs::remove_dir_all(site.path("connected/made")).unwrap();
    fs::remove_dir_all(site.path("connected/catalogs")).unwrap();
    catalogs.create("more", &[]).ok().says("nothing new");
    assert_eq!(digest(&catalogs, INDEX, "v4.18"), first);
    // A catalog that moved in what nobody asked for is no news.
    let mut packages = two(&catalogs);
    packages[1].1 = catalogs.package("second", &[("alpha", &["0.3.0", "0.2.0"])]);
    catalogs.catalog("v4.18", &packages, &["amd64", "s390x"]);
    catalogs.create("more", &[]).ok().says("nothing new");
    // And a sequence of before can be written again.
    catalogs.create("again", &["--resend", "1"]).ok();
}

#[test]
fn a_full_catalog_is_carried_untouched() {
    let catalogs = Catalogs::new();
    let site = &catalogs.site;
    let index = catalogs.catalog("v4.18", &two(&catalogs), &["amd64", "arm64"]);
    catalogs.configure("  - catalog: INDEX:v4.18\n    full: true\n");
    catalogs.create("media", &[]).ok().says("as it is, 2 packages, 6 bundles, 12 images");
    site.import("media", &[]).ok();
    assert_eq!(digest(&catalogs, INDEX, "v4.18"), index.digest.to_string());
    assert_eq!(site.target.tags("first/bundle").len(), 4);
}

#[test]
fn what_cannot_be_chosen_is_told_with_its_line_and_what_would_work() {
    let catalogs = Catalogs::new();
    catalogs.catalog("v4.18", &two(&catalogs), &["amd64"]);
    catalogs.configure(
        "  - catalog: INDEX:v4.18\n    packages:\n    - name: frist\n    - name: second\n      minVersion: 7.0.0\n",
    );
    let run = catalogs
        .create("media", &[])
        .refused(&[4])
        .says("imageset.yaml:7: package `frist`: the catalog has no such package")
        .says("did you mean `first`?")
        .says(&format!("--catalog {}/{INDEX}:v4.18` shows its packages", catalogs.site.source.host))
        .says("package `second`")
        .says("no bundle has a version");
    assert!(!run.stdout.contains("sequence 1"), "{run}");
    catalogs.configure("  - catalog: INDEX:v4.19\n");
    catalogs.create("media", &[]).refused(&[4]).says("v4.19");
    // What else there is goes all the same.
    catalogs.site.source.image("team/app", "1", &[b"an app"]);
    let host = &catalogs.site.source.host;
    let more =
        format!("  - catalog: INDEX:v4.19\n  additionalImages:\n  - name: {host}/team/app:1\n");
    catalogs.configure(&more);
    catalogs.create("media", &[]).code(4).says("sequence 1 carries the rest");
}

#[test]
fn a_package_that_misses_an_image_is_left_out_and_never_taken_away() {
    let catalogs = Catalogs::new();
    let site = &catalogs.site;
    let mut packages = two(&catalogs);
    let gone = format!("{}/lost/operator@{}", site.source.host, Digest::of(b"gone"));
    let bundle = packages[1].1.iter_mut().find(|one| one["name"] == "second.v0.2.0").unwrap();
    bundle["relatedImages"].as_array_mut().unwrap().push(json!({"name": "x", "image": gone}));
    catalogs.catalog("v4.18", &packages, &["amd64"]);
    catalogs.configure("  - catalog: INDEX:v4.18\n");
    catalogs
        .create("media", &[])
        .code(4)
        .says("needed by bundle `second.v0.2.0` of package `second`")
        .says("package `second` is left out of the catalog: 1 of its 3 images could not be had")
        .says("1 package, 2 bundles, 4 images")
        .says("without second")
        .says("hint: ")
        .says("run the same command again when they can be had")
        .says("which the package then comes without");
    site.import("media", &[]).ok();
    assert_eq!(bundles(&catalogs.seen(INDEX, "v4.18", "amd64")), ["first.v1.2.0", "first.v2.0.0"]);
    assert!(!site.target.repositories().iter().any(|name| name.starts_with("second/")));

    // What the catalog at the target has stays in it when its update cannot be had.
    let before = digest(&catalogs, INDEX, "v4.18");
    let third = catalogs.package("third", &[("stable", &["3.0.0"])]);
    let mut broken = catalogs.package("first", &[("stable", &["1.3.0"])]);
    broken[2]["image"] = gone.clone().into();
    let moved = vec![("first", broken), ("third", third.clone())];
    catalogs.catalog("v4.18", &moved, &["amd64"]);
    catalogs
        .create("media2", &[])
        .code(4)
        .says("the catalog at the target stays as it is: package `first` is in it")
        .says("blockedImages");
    // A person may say that it does not matter.
    catalogs.configure("  - catalog: INDEX:v4.18\n  blockedImages:\n  - name: lost/operator\n");
    catalogs.create("media3", &[]).ok().says("2 packages, 2 bundles");
    site.import("media3", &[]).ok();
    assert_ne!(digest(&catalogs, INDEX, "v4.18"), before);
    assert_eq!(bundles(&catalogs.seen(INDEX, "v4.18", "amd64")), ["first.v1.3.0", "third.v3.0.0"]);
}

#[test]
fn a_catalog_that_moved_costs_what_is_new() {
    let catalogs = Catalogs::new();
    let site = &catalogs.site;
    catalogs.catalog("v4.18", &two(&catalogs), &["amd64", "arm64"]);
    catalogs.configure("  - catalog: INDEX:v4.18\n");
    catalogs.create("media", &[]).ok();
    site.import("media", &[]).ok();
    let mut packages = two(&catalogs);
    packages[1].1 = catalogs.package("second", &[("alpha", &["0.3.0", "0.2.0"])]);
    catalogs.catalog("v4.18", &packages, &["amd64", "arm64"]);
    let written = catalogs.create("media2", &["--output", "json"]).ok().json();
    // Two images with a configuration and a layer each; of the catalog two configurations and one layer.
    assert_eq!(written["totals"]["references"], 3, "{written}");
    assert_eq!(written["totals"]["blobs"], 2 * 2 + 3, "{written}");
    assert_eq!(written["totals"]["removals"], 2, "{written}");
    site.import("media2", &[]).ok();
    let seen = catalogs.seen(INDEX, "v4.18", "arm64");
    assert_eq!(bundles(&seen), ["first.v1.2.0", "first.v2.0.0", "second.v0.3.0"]);
}

#[test]
fn a_catalog_gets_the_name_that_is_asked_for() {
    let catalogs = Catalogs::new();
    let site = &catalogs.site;
    let index = catalogs.catalog("v4.18", &two(&catalogs), &["amd64"]);
    catalogs.configure(&format!(
        "  - catalog: INDEX:v4.18\n    targetCatalog: our/catalog\n    targetTag: '4.18'\n    packages: [{{name: first}}]\n\
         \x20 - catalog: INDEX@{}\n    packages: [{{name: second}}]\n",
        index.digest
    ));
    catalogs.create("media", &[]).ok();
    site.import("media", &[]).ok();
    let seen = catalogs.seen("our/catalog", "4.18", "amd64");
    assert_eq!(bundles(&seen), ["first.v1.2.0", "first.v2.0.0"]);
    // One that is named by its digest has the digest of what was made of it.
    let tags = site.target.tags(INDEX);
    let made = digest(&catalogs, INDEX, &tags[0]);
    assert_eq!(tags, [made.replace(':', "-")]);
    assert_ne!(made, index.digest.to_string());
    let created = site.path("disconnected/cluster-resources");
    let written = files(&created);
    let host = &site.target.host;
    for (name, image) in [
        ("catalog-4-18", format!("{host}/our/catalog:4.18")),
        (
            &format!("redhat-operator-index-{}", &tags[0][7..19]),
            format!("{host}/{INDEX}:{}", tags[0]),
        ),
    ] {
        let file = |kind: &str| fs::read_to_string(created.join(format!("{kind}-{name}.yaml")));
        let source = file("cs").unwrap_or_else(|error| panic!("{error}: {written:?}"));
        assert!(source.contains(&image), "{source}");
        assert!(file("cc").unwrap().contains(&image));
    }
    // Bundles are looked for at the mirror, catalogs are not.
    let mirrors = fs::read_to_string(created.join("idms-oc-mirror.yaml")).unwrap();
    assert!(mirrors.contains("/second") && !mirrors.contains("redhat"), "{mirrors}");
}

#[test]
fn version_1_takes_what_a_package_needs_with_it() {
    let catalogs = Catalogs::new();
    let site = &catalogs.site;
    let mut packages = two(&catalogs);
    for bundle in &mut packages[0].1 {
        if bundle["schema"] == "olm.bundle" {
            let needs = json!({"type": "olm.package.required",
                "value": {"packageName": "second", "versionRange": "<0.2.0"}});
            bundle["properties"].as_array_mut().unwrap().push(needs);
        }
    }
    catalogs.catalog("v4.18", &packages, &["amd64"]);
    let first = "  - catalog: INDEX:v4.18\n    targetName: small\n    packages: [{name: first, channels: [{name: stable}]}]\n";
    catalogs.configure_v1(first);
    catalogs.create("media", &[]).ok();
    site.import("media", &[]).ok();
    let seen = catalogs.seen("redhat/small", "v4.18", "amd64");
    assert_eq!(bundles(&seen), ["first.v1.2.0", "second.v0.2.0", "second.v0.1.0"]);
    catalogs.configure(&first.replace("targetName: small", "targetCatalog: tiny"));
    catalogs.create("media2", &[]).ok().says("second");
    site.import("media2", &[]).ok();
    assert_eq!(bundles(&catalogs.seen("tiny", "v4.18", "amd64")), ["first.v1.2.0"]);
}

#[test]
fn references_that_are_none_are_named_with_bundle_and_package() {
    let catalogs = Catalogs::new();
    let mut packages = two(&catalogs);
    for (at, image) in [(4, "q.io/no/tag"), (5, "oci://somewhere"), (6, "q.io/UPPER/x:1")] {
        packages[0].1[at]["relatedImages"] = json!([{"name": "x", "image": image}]);
    }
    catalogs.catalog("v4.18", &packages, &["amd64"]);
    catalogs.configure(
        "  - catalog: INDEX:v4.18\n    full: true\n    packages: [{name: first}, {name: second}]\n",
    );
    let run = catalogs
        .create("media", &["--output", "json"])
        .code(4)
        .says("needed by bundle `first.v1.1.0` of package `first`");
    let written = run.json();
    let failures = written["failures"].as_array().unwrap();
    let named = |reference: &str| failures.iter().any(|one| one["reference"] == reference);
    assert!(
        named("q.io/no/tag") && named("oci://somewhere") && named("q.io/UPPER/x:1"),
        "{written}"
    );
    assert_eq!(written["catalogs"][0]["packages"], 1, "{written}");
    assert_eq!(written["catalogs"][0]["leftOut"], json!(["first"]), "{written}");
    let index = catalogs.site.path("media/mirror_seq1.index");
    let index = format_spec::codec::decode(&fs::read(index).unwrap()).unwrap();
    let told = &resources(&index)["catalog/redhat/redhat-operator-index/v4.18"];
    let told: Value = serde_json::from_slice(told).unwrap();
    assert_eq!(told["packages"], json!(["second"]), "{told}");
    assert!(index.references.iter().all(|one| !one.source.contains("first/")));
}

#[test]
fn an_image_that_is_additional_too_is_carried_for_all_platforms_of_both() {
    let catalogs = Catalogs::new();
    let site = &catalogs.site;
    let source = &site.source;
    let children = ["amd64", "arm64"]
        .map(|arch| (source.image_for("first/operator", None, arch, &[arch.as_bytes()]), arch));
    let index = children.each_ref().map(|(child, arch)| (child, *arch));
    let index = source.index("first/operator", None, &index);
    let image = format!("{}/first/operator@{}", source.host, index.digest);
    let mut packages = two(&catalogs);
    for bundle in packages[0].1.iter_mut().filter(|object| object["schema"] == "olm.bundle") {
        bundle["relatedImages"] = json!([{"name": "operator", "image": image}]);
    }
    catalogs.catalog("v4.18", &packages, &["amd64", "arm64"]);
    let platform = |arch: &str| format!("    platforms: [{{os: linux, architecture: {arch}}}]\n");
    let (amd64, arm64) = (platform("amd64"), platform("arm64"));
    let tag = index.digest.to_string().replace(':', "-");
    for (media, additional, operators) in
        [("one", &*amd64, ""), ("two", &*amd64, &*arm64), ("three", "", &*amd64)]
    {
        catalogs.configure(&format!(
            "  - catalog: INDEX:v4.18\n    packages: [{{name: first}}]\n{operators}  additionalImages:\n  - name: {image}\n{additional}"
        ));
        catalogs.create(media, &["--full"]).ok();
        let index = fs::read(only_index(&site.path(media))).unwrap();
        let index = format_spec::codec::decode(&index).unwrap();
        let has = |digest: &Digest| index.manifests.iter().any(|one| one.digest == *digest);
        for (child, arch) in &children {
            assert!(has(&child.digest), "{media} lacks {arch}");
        }
        assert!(
            index
                .references
                .iter()
                .any(|one| { one.tag.as_ref().is_some_and(|own| own.as_str() == tag) })
        );
    }
}

/// The index of the only sequence in a directory.
fn only_index(media: &Path) -> std::path::PathBuf {
    let mut names = files(media).into_iter().filter(|name| name.ends_with(".index"));
    media.join(names.next().unwrap())
}

#[test]
fn one_image_of_two_registries_is_carried_once_and_told() {
    let catalogs = Catalogs::new();
    let site = &catalogs.site;
    let (other, _) = listening(&site.source.host);
    let mut packages = two(&catalogs);
    let moved = packages[0].1.clone().into_iter().map(|mut object| {
        if object["schema"] == "olm.bundle" {
            let text = object.to_string().replace(&site.source.host, &other);
            object = serde_json::from_str(&text).unwrap();
        }
        let text = object.to_string().replace("\"first\"", "\"third\"");
        serde_json::from_str(&text).unwrap()
    });
    packages.push(("third", moved.collect()));
    catalogs.catalog("v4.18", &packages, &["amd64"]);
    catalogs.configure("  - catalog: INDEX:v4.18\n");
    let host = &site.source.host;
    let told =
        format!("`{host}/first/operator` and `{other}/first/operator` have an image in common");
    catalogs.create("media", &["--dry-run"]).ok().says(&told);
    // What one of them is blocked for, the other one may have.
    catalogs.configure(&format!(
        "  - catalog: INDEX:v4.18\n  blockedImages:\n  - name: {host}/first/\n"
    ));
    let run = catalogs.create("media", &[]).ok().says("3 packages");
    assert!(!run.stderr.contains("in common"), "{run}");
    let index = fs::read(only_index(&site.path("media"))).unwrap();
    let index = format_spec::codec::decode(&index).unwrap();
    let from = format!("{other}/first/operator@");
    assert!(index.references.iter().any(|one| one.source.starts_with(&from)));
}

#[test]
fn who_says_another_size_of_a_layer_of_a_catalog_goes_and_the_catalog_stays() {
    let catalogs = Catalogs::new();
    let source = &catalogs.site.source;
    let index = catalogs.catalog("v4.18", &two(&catalogs), &["amd64"]);
    let read = |reference: &str| -> Value {
        serde_json::from_slice(&source.manifest(INDEX, reference).unwrap()).unwrap()
    };
    let child = read(&index.digest.to_string())["manifests"][0]["digest"].clone();
    let mut manifest = read(child.as_str().unwrap());
    let size = manifest["layers"][0]["size"].as_u64().unwrap();
    let liar = catalogs.site.path("liar");
    let put = |bytes: &[u8]| {
        let digest = Digest::of(bytes);
        fs_write(&liar.join("blobs/sha256").join(digest.hex()), bytes);
        json!({"mediaType": OCI_MANIFEST, "digest": digest.to_string(), "size": bytes.len()})
    };
    fs::create_dir_all(liar.join("blobs/sha256")).unwrap();
    fs_write(&liar.join("oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#);
    let config = source.blob(INDEX, manifest["config"]["digest"].as_str().unwrap()).unwrap();
    put(&config);
    let additional = format!("  additionalImages:\n  - name: oci://{}\n", liar.display());
    catalogs.configure(&format!("  - catalog: INDEX:v4.18\n{additional}"));
    // One is found out because they differ, the other because its plan fits nowhere.
    for (size, own) in [(size + 1, false), (1 << 49, true)] {
        if own {
            manifest["layers"][0]["digest"] = put(b"small")["digest"].clone();
        }
        manifest["layers"][0]["size"] = size.into();
        manifest["layers"].as_array_mut().unwrap().truncate(1);
        let index =
            json!({"schemaVersion": 2, "manifests": [put(manifest.to_string().as_bytes())]});
        fs_write(&liar.join("index.json"), index.to_string().as_bytes());
        let run = catalogs.create("media", &["--full"]).code(8).says("liar");
        run.says("2 packages, 3 bundles");
        fs::remove_dir_all(catalogs.site.path("media")).unwrap();
    }
}

#[test]
fn other_images_are_no_catalogs() {
    let catalogs = Catalogs::new();
    let site = &catalogs.site;
    site.source.image(INDEX, "v4.18", &[b"no catalog"]);
    catalogs.configure("  - catalog: INDEX:v4.18\n");
    catalogs.create("media", &[]).refused(&[4]).says(CONFIGS).says("additionalImages");
    catalogs.catalog("v4.18", &two(&catalogs), &["amd64"]);
    let template = site.path("template.yaml");
    fs_write(&template, b"kind: Other\n");
    let key = "targetCatalogSourceTemplate";
    catalogs.configure(&format!("  - catalog: INDEX:v4.18\n    {key}: {}\n", text(&template)));
    catalogs.create("media", &[]).refused(&[4]).says("template.yaml");
}

/// The files of a real catalog, by their paths in its image.
fn real(name: &str) -> Option<Vec<(String, Vec<u8>)>> {
    let root = data(&format!("catalogs/{name}"))?;
    let paths = tree(&root).into_iter().filter(|path| root.join(path).is_file());
    let read = |path: String| {
        let bytes = fs::read(root.join(&path)).unwrap();
        (path, bytes)
    };
    Some(paths.map(read).collect())
}

/// The real server of catalogs starts on these configurations as in a cluster: without a cache.
fn serves(home: &Path, configs: &Path) {
    let Some(opm) = tool("opm") else { return };
    let port = free_port().to_string();
    let words = ["serve", text(configs), "--port", &port, "--pprof-addr=", "--termination-log="];
    let mut opm = Command::new(opm);
    opm.env_clear().env("HOME", home).env("TMPDIR", home).current_dir(home).args(words);
    let mut server = opm.stderr(Stdio::piped()).spawn().unwrap();
    let answers = || TcpStream::connect(("127.0.0.1", port.parse().unwrap())).is_ok();
    while !answers() {
        if server.try_wait().unwrap().is_some() {
            let mut said = String::new();
            server.stderr.take().unwrap().read_to_string(&mut said).unwrap();
            panic!("{said}");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    server.kill().unwrap();
    server.wait().unwrap();
}

/// The images of real bundles are elsewhere.
const BLOCKED: &str = "  blockedImages:\n  - name: (@sha256:|quay.io|docker.io|ghcr.io|gcr.io|registry|icr.io|lscr.io)\n";

#[test]
fn real_catalogs_that_are_rebuilt_are_valid_to_the_real_reader() {
    let catalogs = Catalogs::new();
    let site = &catalogs.site;
    let Some(files) = real("community-v4.18") else { return };
    let files: Vec<_> = files.iter().map(|(path, bytes)| (path.as_str(), &bytes[..])).collect();
    catalogs.catalog_of("v4.18", &files, &["amd64", "arm64"]);
    let asked = [
        "",
        "    packages:\n    - name: rabbitmq-cluster-operator\n    - name: slurm-operator\n      channels: [{name: release-1.0}, {name: alpha}]\n",
        "    full: true\n    packages: [{name: infinispan}, {name: clusterpulse}]\n",
    ];
    for (round, packages) in asked.iter().enumerate() {
        catalogs.configure(&format!("  - catalog: INDEX:v4.18\n{packages}{BLOCKED}"));
        let media = format!("media{round}");
        let told = catalogs.create(&media, &["--output", "json"]).ok().json();
        let told = &told["catalogs"][0];
        site.import(&media, &[]).ok();
        let seen = catalogs.seen(INDEX, "v4.18", "arm64");
        assert_eq!(bundles(&seen).len() as u64, told["bundles"], "{told}");
        let configs = site.path("unpacked/configs");
        let home = site.path("home");
        fs::create_dir_all(&home).unwrap();
        let Some(_) = opm(&home, &["validate", text(&configs)]) else { return };
        serves(&home, &configs);
    }
}

/// Numbers that look random and are the same in each run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % sides as u64).unwrap()
    }
}

/// A package as nobody would write it: entries that replace and skip each other without much sense.
fn wild(catalogs: &Catalogs, dice: &mut Dice, name: &str) -> Vec<Value> {
    let count = 1 + dice.below(5);
    let version = |at: usize| format!("{}.{}.0", at / 3 + 1, at % 3);
    let bundle = |at: usize| format!("{name}.v{}", version(at));
    let channels = ["stable", "fast", "beta"];
    let used = 1 + dice.below(channels.len());
    let mut objects = vec![
        json!({"schema": "olm.package", "name": name, "defaultChannel": channels[dice.below(used)]}),
    ];
    for channel in &channels[..used] {
        let mut entries = Vec::new();
        for at in (0..count).rev() {
            if dice.below(10) == 0 {
                continue;
            }
            let mut entry = json!({"name": bundle(at)});
            match dice.below(16) {
                0 => {}
                1 => entry["replaces"] = bundle(dice.below(count + 1)).into(),
                2 => entry["skips"] = json!([bundle(dice.below(count + 1))]),
                _ if at > 0 => entry["replaces"] = bundle(at - 1).into(),
                _ => {}
            }
            entries.push(entry);
        }
        objects.push(
            json!({"schema": "olm.channel", "package": name, "name": channel, "entries": entries}),
        );
    }
    objects.extend((0..count).map(|at| catalogs.bundle(name, &version(at))));
    objects
}

/// What is asked of it.
fn asked(dice: &mut Dice, name: &str) -> String {
    let mut package = format!("    - name: {name}\n");
    let bounds = |dice: &mut Dice, indent: &str| {
        let mut text = String::new();
        for bound in ["minVersion", "maxVersion"] {
            if dice.below(2) == 0 {
                let (major, minor) = (1 + dice.below(2), dice.below(3));
                text += &format!("{indent}{bound}: {major}.{minor}.0\n");
            }
        }
        text
    };
    match dice.below(4) {
        0 => {}
        1 => package += &bounds(dice, "      "),
        2 => package += "      channels: [{name: stable}]\n      defaultChannel: stable\n",
        _ => {
            package += "      defaultChannel: stable\n      channels:\n      - name: stable\n";
            package += &bounds(dice, "        ");
        }
    }
    package
}

#[test]
fn of_any_catalog_what_is_carried_is_a_catalog_and_all_its_images_or_it_is_refused() {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let (mut carried, mut refused) = (0, 0);
    let home = tempfile::tempdir().unwrap();
    for round in 0..figures::of(14, 1000) {
        let catalogs = Catalogs::in_memory();
        let site = &catalogs.site;
        let packages: Vec<(&str, Vec<Value>)> =
            ["one", "two"].iter().map(|name| (*name, wild(&catalogs, &mut dice, name))).collect();
        catalogs.catalog("v1", &packages, &["amd64"]);
        let (first, second) = (asked(&mut dice, "one"), asked(&mut dice, "two"));
        let full = if dice.below(6) == 0 { "    full: true\n" } else { "" };
        let text = match dice.below(4) {
            0 => String::new(),
            1 => format!("    packages:\n{first}"),
            _ => format!("    packages:\n{first}{second}"),
        };
        let text = format!("  - catalog: INDEX:v1\n{full}{text}");
        let mut run = match dice.below(3) {
            0 => {
                catalogs.configure_v1(&text);
                catalogs.create("media", &[])
            }
            _ => {
                catalogs.configure(&text);
                catalogs.create("media", &[])
            }
        };
        run = run.one_of(&[0, 4, 64]);
        if run.code != 0 {
            // Of a catalog all or nothing: nothing is written, and it is said why.
            assert!(run.stderr.contains("hint:"), "round {round}\n{text}{run}");
            assert!(files(&site.path("media")).is_empty(), "round {round}\n{text}{run}");
            refused += 1;
            continue;
        }
        carried += 1;
        let index = site.path("media/mirror_seq1.index");
        let index = format_spec::codec::decode(&fs::read(index).unwrap()).unwrap();
        let mut sources: Vec<&str> = index.references.iter().map(|one| &*one.source).collect();
        sources.retain(|source| !source.contains(INDEX) && !source.starts_with("oci://"));
        sources.sort_unstable();
        site.import("media", &[]).ok();
        let seen = catalogs.seen(INDEX, "v1", "amd64");
        let mut needed: Vec<&str> = Vec::new();
        for bundle in seen.iter().flat_map(|(_, objects)| objects) {
            needed.extend(bundle["image"].as_str());
            for related in bundle["relatedImages"].as_array().into_iter().flatten() {
                needed.extend(related["image"].as_str().filter(|image| !image.is_empty()));
            }
        }
        needed.sort_unstable();
        needed.dedup();
        assert_eq!(sources, needed, "round {round}\n{text}");
        if !full.is_empty() && !text.contains("packages") {
            // As it is, with the faults that it has.
            continue;
        }
        let _ = opm(home.path(), &["validate", support::text(&site.path("unpacked/configs"))]);
    }
    assert!(carried > 0 && refused > 0, "{carried} carried, {refused} refused");
    println!("{carried} carried, {refused} refused");
}

#[test]
fn catalogs_with_faults_are_refused_with_file_and_package() {
    let catalogs = Catalogs::new();
    let object = |schema: &str, more: Value| {
        let mut object = json!({"schema": schema, "package": "app"});
        for (field, value) in more.as_object().unwrap() {
            object[field] = value.clone();
        }
        object
    };
    let bundle = |version: &str| {
        let name = format!("app.v{version}");
        object(
            "olm.bundle",
            json!({"name": name, "image": "q.io/a/b:1", "properties": [
            {"type": "olm.package", "value": {"packageName": "app", "version": version}}]}),
        )
    };
    let package = json!({"schema": "olm.package", "name": "app", "defaultChannel": "stable"});
    let channel =
        |entries: Value| object("olm.channel", json!({"name": "stable", "entries": entries}));
    let all = |objects: &[Value]| objects.iter().map(ToString::to_string).collect::<String>();
    let two = [bundle("1.0.0"), bundle("2.0.0")];
    let heads = json!([{"name": "app.v1.0.0"}, {"name": "app.v2.0.0"}]);
    let circle = json!([{"name": "app.v1.0.0", "replaces": "app.v2.0.0"},
        {"name": "app.v2.0.0", "replaces": "app.v1.0.0"}]);
    let lone = json!([{"name": "app.v1.0.0"}]);
    let cases = [
        (all(&[&[package.clone(), channel(heads)], &two[..]].concat()), "multiple channel heads"),
        (all(&[&[package.clone(), channel(circle)], &two[..]].concat()), "app.v1.0.0"),
        (all(&[package.clone(), package.clone()]), "twice"),
        (all(&[package.clone(), channel(lone.clone())]), "app.v1.0.0"),
        (
            all(&[package.clone(), channel(json!([{"name": "app.vone"}])), bundle("one")]),
            "usable version",
        ),
        (format!("\u{feff}{}", all(std::slice::from_ref(&package))), "the package has no channel"),
        ("schema: olm.package\nname: [\n".to_owned(), "catalog.json"),
        (format!("{package}\nnot: json\n"), "catalog.json"),
        (
            "{\"schema\":\"olm.package\",\"name\":\"".to_owned() + &"x".repeat(1 << 20),
            "catalog.json",
        ),
        (all(&[channel(lone.clone())]), "package"),
        ("[1, 2]".to_owned(), "catalog.json"),
        ("&a [*a, *a]\n".to_owned(), "catalog.json"),
        ("{\"schema\":".to_owned() + &"[".repeat(100_000), "catalog.json"),
    ];
    for (at, (text, says)) in cases.iter().enumerate() {
        catalogs.catalog_of("v1", &[("configs/app/catalog.json", text.as_bytes())], &["amd64"]);
        catalogs.configure("  - catalog: INDEX:v1\n");
        let run = catalogs.create("media", &[]).refused(&[4]);
        assert!(run.stderr.contains(says), "{at}: {says}\n{run}");
        assert!(run.stderr.contains("app"), "{at}\n{run}");
        assert!(run.stderr.len() < 5000, "{at}: {}", run.stderr.len());
    }
    assert!(files(&catalogs.site.path("media")).is_empty());
}

#[test]
fn a_workspace_that_cannot_take_the_catalog_stops_everything() {
    let catalogs = Catalogs::in_memory();
    let site = &catalogs.site;
    catalogs.catalog("v1", &two(&catalogs), &["amd64"]);
    site.source.image("team/app", "1", &[b"an app"]);
    let host = &site.source.host;
    catalogs.configure(&format!(
        "  - catalog: INDEX:v1\n  additionalImages:\n  - name: {host}/team/app:1\n"
    ));
    // What stands in the way is found while the catalog is read, or when it is rebuilt: no fault of its registry.
    for directory in ["catalogs", "made"] {
        let there = site.path("connected").join(directory);
        let _ = fs::remove_dir_all(&there);
        fs::create_dir_all(site.path("connected")).unwrap();
        fs_write(&there, b"not a directory");
        catalogs.create("media", &[]).one_of(&[1, 73]).says("workspace").says(directory);
        assert!(files(&site.path("media")).is_empty());
        fs::remove_file(&there).unwrap();
    }
    catalogs.create("media", &[]).ok().says("sequence 1");
}

#[test]
fn more_than_a_sequence_can_state_is_refused_before_anything_is_written() {
    let catalogs = Catalogs::in_memory();
    let site = &catalogs.site;
    let objects = |name: &str, images: Value| {
        let bundle = format!("{name}.v1");
        let all = [
            json!({"schema": "olm.package", "name": name, "defaultChannel": "a"}),
            json!({"schema": "olm.channel", "package": name, "name": "a", "entries": [{"name": bundle}]}),
            json!({"schema": "olm.bundle", "package": name, "name": bundle, "relatedImages": images,
                "properties": [{"type": "olm.package", "value": {"packageName": name, "version": "1.0.0"}}]}),
        ];
        all.iter().map(ToString::to_string).collect::<String>()
    };
    catalogs.configure("  - catalog: INDEX:v1\n");
    let many: String =
        (100..400).map(|at| objects(&format!("{}{at}", "x".repeat(1000)), json!([]))).collect();
    catalogs.catalog_of("v1", &[("configs/all.json", many.as_bytes())], &["amd64"]);
    catalogs.create("media", &[]).refused(&[4]).says("at most 262144 are read").says("`packages`");
    assert!(files(&site.path("media")).is_empty());

    // Of very many references that are none some are told, and the others are counted.
    let images: Vec<Value> =
        (0..5000).map(|at| json!({"image": format!("no host {at}")})).collect();
    let both = objects("bad", images.into()) + &objects("good", json!([]));
    catalogs.catalog_of("v1", &[("configs/all.json", both.as_bytes())], &["amd64"]);
    let run = catalogs.create("media", &["--output", "json"]).code(4);
    let answer: Value = serde_json::from_str(&run.stdout).unwrap();
    let failures = answer["failures"].as_array().unwrap();
    assert_eq!(failures.len(), 102, "{run}");
    assert!(run.stdout.contains("4900 more images"), "{run}");
    assert!(run.stdout.contains("5000 of its 5000 images"), "{run}");
}
