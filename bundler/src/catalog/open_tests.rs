//! Catalogs from their images to the model, and a second time without their layers.

use std::path::PathBuf;

use super::super::testing::{Made, labels, layer, layout, origins, package};
use super::*;
use crate::layout::{Choice, LayoutImage};
use crate::release::layer_testing::{entry, file};
use serde_json::json;

struct Place {
    dir: tempfile::TempDir,
    digest: Digest,
}

impl Place {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), digest: Digest::of(b"") }
    }

    fn image(&mut self, labels: &serde_json::Value, images: &[Made<'_>]) {
        let _ = fs_err::remove_dir_all(self.layout());
        fs_err::create_dir(self.layout()).unwrap();
        self.digest = layout(&self.layout(), labels, images);
    }

    fn layout(&self) -> PathBuf {
        self.dir.path().join("layout")
    }

    fn workspace(&self) -> PathBuf {
        self.dir.path().join("workspace")
    }

    fn source(&self) -> Source<'static> {
        Source::Layout(LayoutImage { path: self.layout(), choice: Choice::Only })
    }

    async fn open(&self) -> Result<Opened, CatalogError> {
        let progress = Arc::default();
        open(&origins(), &self.source(), &self.workspace(), &progress).await
    }

    /// Takes a layer away, so that who reads it fails.
    fn without(&self, layer: &[u8]) {
        let path = self.layout().join("blobs/sha256").join(Digest::of(layer).hex());
        fs_err::remove_file(path).unwrap();
    }
}

fn base(seed: &str) -> Vec<u8> {
    layer(&[entry("tmp", b'5', b""), file("bin/opm", seed)])
}

fn configs(names: &[&str]) -> Vec<u8> {
    let files =
        names.iter().map(|name| file(&format!("configs/{name}/catalog.json"), &package(name)));
    layer(&files.collect::<Vec<_>>())
}

fn cache() -> Vec<u8> {
    layer(&[entry("tmp", b'5', b""), file("tmp/cache/digest", "x")])
}

#[tokio::test]
async fn a_catalog_is_read_once() {
    let mut place = Place::new();
    let (amd, arm) = (
        vec![base("amd"), configs(&["foo", "bar"]), cache()],
        vec![base("arm"), configs(&["foo", "bar"])],
    );
    place.image(&labels(), &[("arm64", arm), ("amd64", amd)]);
    let first = place.open().await.unwrap();
    assert_eq!((first.digest, first.image.read, first.warnings.len()), (place.digest, 1, 0));
    assert_eq!(first.model.packages.keys().collect::<Vec<_>>(), ["bar", "foo"]);
    let foo = &first.model.packages["foo"];
    let object = first.store.object(foo.bundles["foo.v1.9.0"].object).unwrap();
    assert!(package("foo").contains(std::str::from_utf8(&object).unwrap()));
    assert_eq!(first.image.platforms[1].may_be_dropped(), [false, true, true]);
    // Of the other platform the layer is known that both have.
    assert_eq!(first.image.platforms[0].may_be_dropped(), [false, true]);
    assert!(first.image.platforms[0].holds[0].is_none());

    // Now no layer is there any more.
    for layer in [base("amd"), base("arm"), configs(&["foo", "bar"]), cache()] {
        place.without(&layer);
    }
    let second = place.open().await.unwrap();
    assert_eq!((&second.model, second.digest), (&first.model, first.digest));
    assert_eq!(second.store.object(foo.object).unwrap(), first.store.object(foo.object).unwrap());
    assert_eq!(second.image.platforms[1].may_be_dropped(), [false, true, true]);
    assert_eq!(second.image.platforms[1].config, first.image.platforms[1].config);
    assert!(second.image.index.is_some());
}

#[tokio::test]
async fn an_update_reads_no_layer_that_does_not_matter() {
    let mut place = Place::new();
    place.image(&labels(), &[("", vec![base("x"), configs(&["foo"]), cache()])]);
    let first = place.open().await.unwrap();
    assert!(first.image.index.is_none());
    place.image(&labels(), &[("", vec![base("x"), configs(&["foo", "new"]), cache()])]);
    place.without(&base("x"));
    place.without(&cache());
    let second = place.open().await.unwrap();
    assert_eq!(second.model.packages.len(), 2);
    assert_eq!(second.image.platforms[0].may_be_dropped(), [false, true, true]);
    // Below a layer that hides everything nothing is read.
    let hides =
        layer(&[file("configs/.wh..wh..opq", ""), file("configs/only.json", &package("only"))]);
    place.image(&labels(), &[("", vec![base("other"), configs(&["foo"]), hides.clone()])]);
    place.without(&base("other"));
    place.without(&configs(&["foo"]));
    let third = place.open().await.unwrap();
    assert_eq!(third.model.packages.keys().collect::<Vec<_>>(), ["only"]);
    assert_eq!(third.image.platforms[0].may_be_dropped(), [false, true, true]);
}

#[tokio::test]
async fn layers_of_other_platforms_are_sorted_when_it_matters() {
    let mut place = Place::new();
    let other = layer(&[
        file("configs/foo/catalog.json", &package("foo")),
        file("configs/x/.indexignore", ""),
    ]);
    place.image(
        &labels(),
        &[
            ("amd64", vec![base("amd"), configs(&["foo"])]),
            ("s390x", vec![base("s390x"), other.clone()]),
            ("arm64", vec![base("arm"), other.clone()]),
        ],
    );
    let mut opened = place.open().await.unwrap();
    assert_eq!(opened.image.platforms[1].may_be_dropped(), [false, false]);
    // Those of a platform that nobody wants are not read.
    place.without(&base("arm"));
    let wanted = |image: &image::PlatformImage| {
        image.platform.as_ref().is_some_and(|on| on.architecture != "arm64")
    };
    opened.sort_layers(&origins(), &place.source(), &place.workspace(), wanted).await.unwrap();
    assert_eq!(opened.image.platforms[1].may_be_dropped(), [false, true]);
    assert!(opened.image.platforms[2].holds[0].is_none());
    // It is remembered.
    place.without(&base("s390x"));
    place.without(&other);
    let mut again = place.open().await.unwrap();
    again.sort_layers(&origins(), &place.source(), &place.workspace(), wanted).await.unwrap();
    assert_eq!(again.image.platforms[1].may_be_dropped(), [false, true]);
}

#[tokio::test]
async fn a_damaged_workspace_is_mended() {
    let mut place = Place::new();
    place.image(&labels(), &[("", vec![base("x"), configs(&["foo"])])]);
    let first = place.open().await.unwrap();
    let kept = place.workspace().join("catalogs").join(first.digest.hex());
    fs_err::write(kept.join("model"), "nonsense").unwrap();
    let second = place.open().await.unwrap();
    assert!(
        second.warnings[0].contains("is damaged; it is read from its origin again"),
        "{:?}",
        second.warnings
    );
    assert_eq!(second.model, first.model);
    // A frame is looked at when it is read: then the next run mends it.
    let mut bytes = fs_err::read(kept.join("objects")).unwrap();
    bytes[20] ^= 1;
    fs_err::write(kept.join("objects"), bytes).unwrap();
    let third = place.open().await.unwrap();
    assert!(third.warnings.is_empty());
    let error = third.store.object(third.model.packages["foo"].object).unwrap_err();
    assert!(CatalogError::from(error).hint().unwrap().contains("run the command again"));
    let fourth = place.open().await.unwrap();
    assert_eq!(fourth.warnings.len(), 1);
    fourth.store.object(fourth.model.packages["foo"].object).unwrap();
}

#[tokio::test]
async fn what_is_wrong_leaves_nothing() {
    let mut place = Place::new();
    let good = configs(&["foo"]);
    let broken = layer(&[file("configs/a.json", "{\"schema\":")]);
    for (labels, layers, problem) in [
        (json!({}), vec![good.clone()], "no Operator catalog"),
        (
            json!({"operators.operatorframework.io.index.database.v1": "/database/index.db"}),
            vec![good.clone()],
            "a catalog of the old form, a database at `/database/index.db`",
        ),
        (labels(), vec![base("x")], "there is no file in its directory `/configs`"),
        (
            labels(),
            vec![broken],
            "its `/configs/a.json`, object 1 in line 1: the file ends within it",
        ),
        (labels(), vec![good[..good.len() / 2].to_vec()], "its layer sha256:"),
        (labels(), vec![], "there is no file"),
    ] {
        place.image(&labels, &[("", layers)]);
        let error = place.open().await.unwrap_err();
        assert!(error.to_string().contains(problem), "{problem}: {error}");
        let kept = fs_err::read_dir(place.workspace().join("catalogs"));
        let kept: Vec<_> = kept.into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
        assert!(kept.is_empty(), "{kept:?}");
    }
    // Bytes that are not those of the digest.
    place.image(&labels(), &[("", vec![good.clone()])]);
    let path = place.layout().join("blobs/sha256").join(Digest::of(&good).hex());
    let mut other = good.clone();
    let last = other.len() - 1;
    other[last] ^= 1;
    fs_err::write(path, other).unwrap();
    let error = place.open().await.unwrap_err();
    assert_eq!(error.kind(), Some(registry::client::ErrorKind::Damaged), "{error}");
    // An image for nothing that we know is read as any other.
    place.image(&labels(), &[("riscv64", vec![good.clone()]), ("ppc64le", vec![good])]);
    assert_eq!(place.open().await.unwrap().image.read, 0);
}
