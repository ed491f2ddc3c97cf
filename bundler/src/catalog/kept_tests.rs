//! Catalogs in a workspace: kept, damaged, left behind, forgotten.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use registry::manifest::{Manifest, Platform, RawManifest};
use serde_json::json;

use super::super::image::PlatformImage;
use super::super::model::{Bundle, Channel, Entry, Gvk, Package, Place, Requirement};
use super::*;

const OBJECT: &str = r#"{"schema":"olm.package"}"#;

/// An image whose digest depends on `seed`.
fn image(seed: usize) -> Image {
    let descriptor =
        |kind: &str| json!({"mediaType": kind, "digest": Digest::of(b"x").to_string(), "size": 1});
    let manifest = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("c"), "layers": [descriptor("l")], "annotations": {"seed": seed.to_string()}});
    let bytes = Bytes::from(manifest.to_string());
    let media_type = "application/vnd.oci.image.manifest.v1+json".to_owned();
    let raw = RawManifest { digest: Digest::of(&bytes), bytes, media_type };
    let Manifest::Image(manifest) = raw.parse().unwrap() else { panic!() };
    let platform = Platform {
        os: "linux".into(),
        architecture: "amd64".into(),
        variant: None,
        os_version: None,
    };
    let holds =
        vec![Some(Holds { configs: true, parents: vec!["tmp".into()], ..Holds::default() })];
    let config = Bytes::from_static(b"{\"a\":\"\xc3\xa4\"}");
    let platforms = vec![PlatformImage { platform: Some(platform), raw, manifest, config, holds }];
    let directories = Directories { configs: "configs".into(), cache: "tmp/cache".into() };
    Image { index: None, platforms, read: 0, directories }
}

/// The document of a catalog.
fn written(model: &Catalog) -> Vec<u8> {
    let mut document = Vec::new();
    stored::write(&mut document, model, &image(1), &[]).unwrap();
    document
}

fn model(object: Place) -> Catalog {
    let text = |text: &str| -> Arc<str> { text.into() };
    let gvk = Arc::new(Gvk { group: "g".into(), version: "v1".into(), kind: "K".into() });
    let package = |name: &str| Requirement::Package { name: name.into(), range: ">1".into() };
    let requires = vec![
        package("a"),
        Requirement::Gvk(Arc::clone(&gvk)),
        Requirement::All(vec![Requirement::Any(vec![package("b")]), Requirement::Not(Vec::new())]),
        Requirement::Cel("true".into()),
    ];
    let bundle = Bundle { object, version: text("1.0.0"), provides: vec![gvk], requires };
    let entry = Entry {
        name: text("foo.v1"),
        replaces: Some(text("foo.v0")),
        skips: vec![text("foo.v0-1")],
        skip_range: Some(text("<1.0.0")),
    };
    let entries = vec![entry, Entry { name: text("foo.v0"), ..Entry::default() }];
    let channel = Channel { name: "stable".into(), object, priority: Some(-1), entries };
    let foo = Package {
        object,
        default_channel: "stable".into(),
        display_name: Some("Foo".into()),
        channels: vec![channel],
        bundles: BTreeMap::from([(text("foo.v1"), bundle)]),
        deprecations: Some(object),
        others: vec![object],
    };
    let packages = BTreeMap::from([("foo".to_owned(), foo)]);
    Catalog { files: vec!["a/b.json".into()], packages, loose: vec![object] }
}

fn keep(shelf: &Shelf, seed: usize) -> (Catalog, Digest) {
    let (unfinished, mut writer) = shelf.begin().unwrap();
    let place = writer.put(0, OBJECT).unwrap();
    let (model, image) = (model(place), image(seed));
    let frames = writer.finish().unwrap();
    let store = shelf.keep(unfinished, &model, &image, &frames).unwrap();
    assert_eq!(store.object(place).unwrap(), OBJECT);
    (model, image.digest())
}

fn found(shelf: &Shelf, digest: &Digest) -> Option<Found> {
    match shelf.find(digest).unwrap() {
        Look::Found(found) => Some(*found),
        Look::Nothing => None,
        Look::Damaged => panic!("damaged"),
    }
}

fn names(shelf: &Shelf) -> Vec<String> {
    shelf
        .entries()
        .iter()
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        .collect()
}

#[test]
fn a_catalog_comes_back_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let shelf = Shelf::of(dir.path());
    assert!(found(&shelf, &Digest::of(b"none")).is_none());
    let (model, digest) = keep(&shelf, 1);
    let found = found(&shelf, &digest).unwrap();
    assert_eq!(found.model, model);
    assert_eq!(found.store.object(model.loose[0]).unwrap(), OBJECT);
    let (ours, theirs) = (image(1), found.image);
    assert_eq!((theirs.digest(), &theirs.directories), (digest, &ours.directories));
    let (ours, theirs) = (&ours.platforms[0], &theirs.platforms[0]);
    assert_eq!(
        (&ours.manifest, &ours.config, &ours.holds),
        (&theirs.manifest, &theirs.config, &theirs.holds)
    );
    assert_eq!((&ours.platform, &ours.raw.bytes), (&theirs.platform, &theirs.raw.bytes));
    assert_eq!(names(&shelf), [digest.hex()]);
}

#[test]
fn what_is_damaged_does_not_count_and_is_written_again() {
    let dir = tempfile::tempdir().unwrap();
    let shelf = Shelf::of(dir.path());
    let (_, digest) = keep(&shelf, 1);
    let place = shelf.place(&digest);
    let damages: [&dyn Fn(); 6] = [
        &|| fs::remove_file(place.join(MODEL)).unwrap(),
        &|| fs::remove_file(place.join(OBJECTS)).unwrap(),
        &|| fs::write(place.join(OBJECTS), "short").unwrap(),
        &|| {
            let mut bytes = fs::read(place.join(MODEL)).unwrap();
            let last = bytes.len() - 1;
            bytes[last] ^= 1;
            fs::write(place.join(MODEL), bytes).unwrap();
        },
        &|| fs::write(place.join(MODEL), "").unwrap(),
        // Valid, and of another catalog.
        &|| {
            let other = seal(|to| stored::write(to, &Catalog::default(), &image(2), &[]));
            fs::write(place.join(MODEL), other.unwrap()).unwrap();
        },
    ];
    for damage in damages {
        damage();
        assert!(matches!(shelf.find(&digest).unwrap(), Look::Damaged));
        keep(&shelf, 1);
        assert!(found(&shelf, &digest).is_some());
        assert_eq!(names(&shelf), [digest.hex()]);
    }
    // One that a later version wrote is none of ours.
    let text = String::from_utf8(written(&Catalog::default())).unwrap();
    let later = text.replacen("\"version\":1", "\"version\":2", 1);
    fs::write(place.join(MODEL), seal(|to| to.write_all(later.as_bytes())).unwrap()).unwrap();
    assert!(matches!(shelf.find(&digest).unwrap(), Look::Damaged));
}

#[test]
fn numbers_that_lead_nowhere_are_no_panic() {
    let frame = Place { file: 9, frame: 9, offset: 9, length: 9 };
    let document = written(&model(frame));
    let text = String::from_utf8(document).unwrap();
    assert!(stored::read(text.as_bytes()).is_some());
    let emptied = text.replacen("\"texts\":[", "\"texts\":[],\"t\":[", 1);
    assert!(stored::read(emptied.as_bytes()).is_none());
    let emptied = text.replacen("\"gvks\":[", "\"gvks\":[],\"g\":[", 1);
    assert!(stored::read(emptied.as_bytes()).is_none());
    let beyond = text.replacen("\"read\":0", "\"read\":7", 1);
    assert!(stored::read(beyond.as_bytes()).is_none());
}

#[test]
fn two_runs_at_once_do_each_other_no_harm() {
    let dir = tempfile::tempdir().unwrap();
    let shelf = Shelf::of(dir.path());
    let (first, mut first_writer) = shelf.begin().unwrap();
    let (second, mut second_writer) = shelf.begin().unwrap();
    let places = [first_writer.put(0, OBJECT).unwrap(), second_writer.put(0, OBJECT).unwrap()];
    let (model, image) = (model(places[0]), image(1));
    let frames = [first_writer.finish().unwrap(), second_writer.finish().unwrap()];
    let first = shelf.keep(first, &model, &image, &frames[0]).unwrap();
    let second = shelf.keep(second, &model, &image, &frames[1]).unwrap();
    // The one that lost its name is whole for who has it open.
    for store in [&first, &second, &found(&shelf, &image.digest()).unwrap().store] {
        assert_eq!(store.object(places[0]).unwrap(), OBJECT);
    }
    assert_eq!(names(&shelf), [image.digest().hex()]);
}

#[test]
fn what_killed_runs_left_goes_and_what_others_write_stays() {
    let dir = tempfile::tempdir().unwrap();
    let shelf = Shelf::of(dir.path());
    let (alive, _writer) = shelf.begin().unwrap();
    let old = SystemTime::now() - 2 * LEFT_ALONE;
    let age = |path: &Path| fs::File::open(path).unwrap().file().set_modified(old).unwrap();
    age(alive.directory.path());
    let [dead, young] =
        ["dead", "young"].map(|name| shelf.path.join(format!("{UNFINISHED}{name}")));
    for path in [&dead, &young] {
        fs::create_dir(path).unwrap();
        fs::write(path.join(OBJECTS), "x").unwrap();
    }
    age(&dead);
    let (another, _) = shelf.begin().unwrap();
    assert!(alive.directory.path().exists() && young.exists() && !dead.exists());
    drop((alive, another));
    assert_eq!(names(&shelf).len(), 1);
}

#[test]
fn those_used_last_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let shelf = Shelf::of(dir.path());
    let (_, first) = keep(&shelf, 0);
    let age = |digest: &Digest, seconds: u64| {
        let at = SystemTime::now() - Duration::from_secs(seconds);
        let file =
            fs::OpenOptions::new().append(true).open(shelf.place(digest).join(MODEL)).unwrap();
        file.file().set_modified(at).unwrap();
    };
    age(&first, 9000);
    let mut others = Vec::new();
    for seed in 1..KEPT {
        others.push(keep(&shelf, seed).1);
        age(&others[seed - 1], 8000 - seed as u64);
    }
    // The oldest is used, so the next one that has to go is another.
    assert!(found(&shelf, &first).is_some());
    let (_, last) = keep(&shelf, KEPT);
    assert!(found(&shelf, &first).is_some() && found(&shelf, &last).is_some());
    assert!(found(&shelf, &others[0]).is_none() && found(&shelf, &others[1]).is_some());
    assert_eq!(names(&shelf).len(), KEPT);
}

#[test]
fn layers_are_remembered_by_digest_and_directories() {
    let dir = tempfile::tempdir().unwrap();
    let shelf = Shelf::of(dir.path());
    let directories = |configs: &str| Directories { configs: configs.into(), cache: "c".into() };
    let holds = Holds { other: true, ..Holds::default() };
    let digest = |n: usize| Digest::of(&n.to_le_bytes());
    let mut layers = Layers::load(&shelf);
    for n in 0..LAYERS_KEPT {
        layers.add(digest(n), &directories("configs"), &holds);
    }
    assert_eq!(layers.get(&digest(0), &directories("configs")), Some(holds.clone()));
    layers.add(digest(LAYERS_KEPT), &directories("configs"), &holds);
    layers.save(&shelf).unwrap();
    let mut layers = Layers::load(&shelf);
    assert!(layers.get(&digest(0), &directories("configs")).is_some());
    assert!(layers.get(&digest(1), &directories("configs")).is_none());
    assert!(layers.get(&digest(2), &directories("other")).is_none());
    fs::write(shelf.path.join("layers.json"), "{").unwrap();
    assert!(Layers::load(&shelf).layers.is_empty());
}
