//! Rebuilt catalogs: what is left of the original, and that no name of a package leads anywhere.

use std::collections::BTreeMap;
use std::io::Read as _;

use registry::layout::Layout;
use registry::manifest::Manifest;

use super::super::open::open;
use super::super::select::select;
use super::super::testing::{Made as Image, labels, layer, layout, origins, package};
use super::*;
use crate::config::{ApiVersion, ImageSetConfig};
use crate::layout::{Choice, LayoutImage};
use crate::origin::Source;
use crate::release::layer_testing::{entry, file};
use crate::release::tarball::Tarball;

/// What is chosen of the catalog in these images, rebuilt: the layout, and the image.
async fn rebuilt(images: &[Image<'_>], asked: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let original = dir.path().join("original");
    fs_err::create_dir(&original).unwrap();
    layout(&original, &labels(), images);
    let source = Source::Layout(LayoutImage { path: original, choice: Choice::Only });
    let (origins, workspace) = (origins(), dir.path().join("workspace"));
    let mut opened = open(&origins, &source, &workspace, &std::sync::Arc::default()).await.unwrap();
    opened.sort_layers(&origins, &source, &workspace, |_| true).await.unwrap();
    let text = format!(
        "kind: ImageSetConfiguration\napiVersion: mirror.openshift.io/v2alpha1\nmirror:\n  operators:\n  - catalog: q.io/a/b:1\n{asked}"
    );
    let config = ImageSetConfig::parse(&text, "file").unwrap().config;
    let selection = select(&opened.model, &config.operators[0], ApiVersion::V2Alpha1).unwrap();
    let to = dir.path().join("made");
    let digest = rebuild(&opened, &selection, &BTreeSet::new(), "q.io/a/b", &to).unwrap();
    assert_eq!(rebuild(&opened, &selection, &BTreeSet::new(), "q.io/a/b", &to).unwrap(), digest);
    dir
}

/// The entries of the layers that were made, from the lowest up, and how many stayed.
fn layers(dir: &tempfile::TempDir) -> (usize, Vec<Vec<(String, String)>>) {
    let made = Layout::open(&dir.path().join("made")).unwrap();
    let mut raw = made.read_manifest(&made.index().manifests[0]).unwrap();
    if let Manifest::Index(index) = raw.parse().unwrap() {
        raw = made.read_manifest(&index.manifests[0]).unwrap();
    }
    let Manifest::Image(image) = raw.parse().unwrap() else { panic!() };
    let (mut kept, mut found) = (0, Vec::new());
    for layer in &image.layers {
        let path = dir.path().join("made/blobs/sha256").join(layer.digest.hex());
        let Ok(file) = fs_err::File::open(path) else {
            kept += 1;
            continue;
        };
        let mut bytes = Vec::new();
        flate2::read::GzDecoder::new(file).read_to_end(&mut bytes).unwrap();
        let mut tar = Tarball::new(&bytes[..]);
        let mut entries = Vec::new();
        while let Some(entry) = tar.entry().unwrap() {
            let mut content = vec![0; usize::try_from(entry.size).unwrap()];
            let mut at = 0;
            while at < content.len() {
                at += tar.read(&mut content[at..]).unwrap();
            }
            let name = String::from_utf8(entry.path.clone()).unwrap();
            entries.push((name, String::from_utf8(content).unwrap()));
        }
        found.push(entries);
    }
    (kept, found)
}

fn names(layer: &[(String, String)]) -> Vec<&str> {
    layer.iter().map(|(name, _)| name.as_str()).collect()
}

#[tokio::test]
async fn what_a_layer_shows_besides_the_new_catalog_is_hidden() {
    let system = layer(&[entry("tmp", b'5', b""), file("bin/opm", "x")]);
    let configs = layer(&[file("configs/one/catalog.json", &package("one"))]);
    let mixed = layer(&[
        file("configs/two/catalog.json", &package("two")),
        file("etc/other", "not of the catalog"),
    ]);
    let cache = layer(&[file("tmp/cache/db", "x")]);
    let alone = [("amd64", vec![system.clone(), configs.clone(), cache.clone()])];
    let dir = rebuilt(&alone, "    packages: [{name: one}]\n").await;
    let (kept, made) = layers(&dir);
    assert_eq!((kept, made.len()), (1, 2));
    assert_eq!(names(&made[0]), [".wh.configs"]);
    assert_eq!(names(&made[1]), ["configs/", "configs/one/", "configs/one/catalog.json"]);

    let cached = layer(&[file("tmp/cache/db", "x"), file("etc/more", "y")]);
    for (cache, hidden) in
        [(cache, &[".wh.configs"][..]), (cached, &[".wh.configs", "tmp/.wh.cache"])]
    {
        let layered = vec![system.clone(), mixed.clone(), configs.clone(), cache];
        let dir = rebuilt(&[("amd64", layered)], "    packages: [{name: one}]\n").await;
        let (kept, made) = layers(&dir);
        assert_eq!((kept, made.len()), (1 + hidden.len(), 2));
        assert_eq!(names(&made[0]), hidden);
        assert_eq!(made[1][2].1.matches("olm.bundle").count(), 1);
    }
}

#[tokio::test]
async fn what_others_may_take_for_configurations_is_hidden() {
    // Paths that mean nothing here lead into the directory for who joins them with it.
    let odd = layer(&[
        entry("etc/../configs/two/catalog.json", b'0', package("two").as_bytes()),
        file("bin/opm", "x"),
    ]);
    let configs = layer(&[file("configs/one/catalog.json", &package("one"))]);
    let dir = rebuilt(&[("amd64", vec![odd, configs.clone()])], "").await;
    let (kept, made) = layers(&dir);
    assert_eq!((kept, names(&made[0])), (1, vec![".wh.configs"]));
    // Where nothing stays there is nothing to hide.
    let dir = rebuilt(&[("amd64", vec![configs])], "").await;
    let (kept, made) = layers(&dir);
    assert_eq!((kept, made.len()), (0, 1));
}

#[tokio::test]
async fn no_two_packages_share_a_directory() {
    let names = ["odd!", "package-5b6f5b4e0b2d2ad1c7cb1c8fc63d6a1d", "Plain", "plain"];
    let renamed = |name: &str| format!("package-{}", &Digest::of(name.as_bytes()).hex()[..32]);
    let mut packages: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    packages.push(renamed("odd!"));
    let files: Vec<_> = (packages.iter().enumerate())
        .map(|(at, name)| file(&format!("configs/{at}.json"), &package(name)))
        .collect();
    let dir = rebuilt(&[("", vec![layer(&files)])], "").await;
    let (_, made) = layers(&dir);
    let files = made[0].iter().filter(|(name, _)| !name.ends_with('/'));
    let different: std::collections::BTreeSet<String> =
        files.map(|(name, _)| name.to_lowercase()).collect();
    assert_eq!(different.len(), packages.len(), "{different:?}");
}

#[tokio::test]
async fn names_of_packages_lead_nowhere() {
    let odd = ["../../etc", ".wh.x", "a/b", "catalog.json", "ü", &"long".repeat(40)];
    let mut files = vec![file("configs/plain.json", &package("plain"))];
    for (at, name) in odd.iter().enumerate() {
        files.push(file(&format!("configs/{at}.json"), &package(name)));
    }
    files.push(file("configs/loose.json", r#"{"schema":"site.note","text":"for everybody"}"#));
    let dir = rebuilt(&[("", vec![layer(&files)])], "").await;
    let (_, made) = layers(&dir);
    let mut found: BTreeMap<&str, &str> =
        made[0].iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    assert!(found.remove("configs/catalog.json").unwrap().contains("for everybody"));
    assert!(found.remove("configs/plain/catalog.json").is_some());
    for name in names(&made[0]) {
        let parts: Vec<&str> = name.trim_end_matches('/').split('/').collect();
        assert!(parts.len() <= 3 && parts[0] == "configs", "{name}");
        assert!(!parts.iter().any(|part| part.starts_with('.')) && name.len() <= 100, "{name}");
    }
    assert_eq!(found.keys().filter(|name| name.starts_with("configs/package-")).count(), 12);
}

#[test]
fn it_serves_its_configurations_without_a_cache() {
    let served = |entrypoint: Value, cmd: Value| {
        let mut inner = json!({"Entrypoint": entrypoint, "Cmd": cmd, "User": "1001"});
        serve(&mut inner, "configs");
        assert_eq!(inner["Labels"][CONFIGS], "/configs");
        assert_eq!(inner["User"], "1001");
        (inner["Entrypoint"].clone(), inner["Cmd"].clone())
    };
    let usual = json!(["serve", "/configs"]);
    for (entrypoint, cmd, left, expected) in [
        (
            json!(["/bin/opm"]),
            json!(["serve", "/configs", "--cache-dir=/c"]),
            json!(["/bin/opm"]),
            usual.clone(),
        ),
        (json!(["/bin/opm", "serve"]), json!(["/configs"]), json!(["/bin/opm"]), usual.clone()),
        (
            Value::Null,
            json!(["/bin/opm", "serve", "/x"]),
            Value::Null,
            json!(["/bin/opm", "serve", "/configs"]),
        ),
        (json!(["/bin/opm"]), Value::Null, json!(["/bin/opm"]), usual.clone()),
        (json!(["serve"]), Value::Null, Value::Null, usual.clone()),
    ] {
        assert_eq!(served(entrypoint, cmd), (left, expected));
    }
    let mut none = json!({});
    serve(&mut none, "configs");
    assert_eq!(none["Cmd"], usual);
}

#[test]
fn the_history_tells_of_every_layer_or_there_is_none() {
    let told = |history: Value, dropped: &[bool]| {
        let mut config = json!({"history": history});
        super::history(&mut config, dropped, 1);
        config["history"].as_array().map(Vec::len)
    };
    let layer = || json!({"created_by": "x"});
    let empty = || json!({"created_by": "y", "empty_layer": true});
    assert_eq!(told(json!([layer(), empty(), layer()]), &[false, true]), Some(3));
    assert_eq!(told(json!([layer()]), &[false, true]), None);
    assert_eq!(told(json!([layer(), layer(), layer()]), &[false, true]), None);
    assert_eq!(told(Value::Null, &[false]), None);
}
