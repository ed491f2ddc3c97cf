//! Catalogs out of layers: the real ones, and those that are wrong.

use super::super::testing::{package, real};
use super::*;
use crate::release::layer_testing::{entry, file, tar};

/// The catalog in these layers, the uppermost first.
fn read(layers: &[&[Vec<u8>]]) -> Result<Catalog, CatalogError> {
    let dir = tempfile::tempdir().unwrap();
    let directories = Directories { configs: "configs".into(), cache: "tmp/cache".into() };
    let writer = Writer::new(&dir.path().join("objects")).unwrap();
    let mut reading = Reading::new(directories, writer);
    for layer in layers {
        let layer = tar(layer);
        reading.layer(&layer[..], &Digest::of(&layer), &mut (1 << 30))?;
    }
    Ok(reading.finish()?.0)
}

fn said(layers: &[&[Vec<u8>]]) -> String {
    read(layers).map_or_else(|error| error.to_string(), |catalog| format!("{catalog:?}"))
}

fn configs(files: &[(&str, &str)]) -> Vec<Vec<u8>> {
    files.iter().map(|(path, text)| file(&format!("configs/{path}"), text)).collect()
}

#[test]
fn all_real_catalogs_are_read() {
    for below in [
        "community-v4.17/configs",
        "community-v4.18/configs",
        "community-assisted/configs",
        "redhat-sample/configs",
        "oc-test/declcfg",
        "operator-registry/latest",
        "operator-registry/old",
        "operator-registry/list-index",
    ] {
        let Some(layer) = real(below) else { return };
        let catalog = read(&[&layer]).unwrap_or_else(|error| panic!("{below}: {error}"));
        let text: Vec<u8> = layer.concat();
        let text = String::from_utf8_lossy(&text);
        let count = |schema: &str| {
            let yaml = format!("\nschema: {schema}\n");
            text.matches(&yaml).count() + text.matches(&format!("\"schema\": \"{schema}\"")).count()
        };
        let packages = || catalog.packages.values();
        assert_eq!(packages().count(), count("olm.package"), "{below}");
        assert_eq!(
            packages().map(|it| it.channels.len()).sum::<usize>(),
            count("olm.channel"),
            "{below}"
        );
        assert_eq!(
            packages().map(|it| it.bundles.len()).sum::<usize>(),
            count("olm.bundle"),
            "{below}"
        );
        // Every entry has its bundle, every bundle an entry; but one has no channels at all.
        if below == "oc-test/declcfg" {
            assert_eq!(catalog.files, ["index.yaml"]);
            continue;
        }
        for (name, package) in &catalog.packages {
            let entries = || package.channels.iter().flat_map(|channel| &channel.entries);
            for entry in entries() {
                assert!(package.bundles.contains_key(&entry.name), "{name}: {}", entry.name);
            }
            for bundle in package.bundles.keys() {
                assert!(entries().any(|entry| entry.name == *bundle), "{name}: {bundle}");
            }
            assert!(package.channels.iter().any(|it| it.name == package.default_channel), "{name}");
        }
    }
}

#[test]
fn the_counts_are_those_of_the_worked_example() {
    let Some(layer) = real("community-v4.17/configs") else { return };
    let catalog = read(&[&layer]).unwrap();
    let package = &catalog.packages["sailoperator"];
    assert_eq!((package.bundles.len(), package.default_channel.as_str()), (32, "stable"));
    let entries = |name: &str| {
        let channel = package.channels.iter().find(|channel| channel.name == name);
        channel.unwrap_or_else(|| panic!("{name}")).entries.len()
    };
    let expected = [
        ("1.31-nightly", 9),
        ("candidates", 2),
        ("stable", 20),
        ("stable-1.0", 1),
        ("stable-1.25", 3),
    ];
    for (name, count) in expected {
        assert_eq!(entries(name), count, "{name}");
    }
    assert_eq!(package.channels.len(), 10);
    assert!(package.display_name.is_some(), "{:?}", package.display_name);

    let Some(layer) = real("community-assisted/configs") else { return };
    let catalog = read(&[&layer]).unwrap();
    let channels = &catalog.packages["assisted-service-operator"].channels;
    let alpha = channels.iter().find(|channel| channel.name == "alpha").unwrap();
    assert_eq!(alpha.entries.len(), 93);
    let last = alpha.entries.iter().max_by_key(|entry| entry.skips.len()).unwrap();
    assert_eq!((&*last.name, last.skips.len()), ("assisted-service-operator.v0.7.71", 267));

    let Some(layer) = real("operator-registry/latest") else { return };
    let catalog = read(&[&layer]).unwrap();
    let requires: Vec<_> =
        catalog.packages["foo"].bundles.values().flat_map(|bundle| &bundle.requires).collect();
    let bar =
        super::super::model::Requirement::Package { name: "bar".into(), range: "<0.2.0".into() };
    assert!(requires.contains(&&bar), "{requires:?}");
}

#[test]
fn packages_of_several_files_and_layers_come_together() {
    let foo = package("foo");
    let (first, rest) = foo.split_at(foo.find("}{").unwrap() + 1);
    let upper = configs(&[("z/package.json", first)]);
    let lower = configs(&[
        ("a/rest.yaml", rest),
        ("z/package.json", "<html>"),
        ("bar.json", &package("bar")),
        (
            "more",
            r#"{"schema":"x.y","package":"foo"}{"schema":"x.y"}{"schema":"x.y","package":"gone"}{"schema":"olm.deprecations","package":"foo","entries":[]}"#,
        ),
    ]);
    let catalog = read(&[&upper, &lower]).unwrap();
    assert_eq!(catalog.files, ["a/rest.yaml", "bar.json", "more", "z/package.json"]);
    let foo = &catalog.packages["foo"];
    assert_eq!((foo.object.file, foo.channels[0].object.file, foo.bundles.len()), (3, 0, 2));
    assert_eq!(foo.display_name.as_deref(), Some("The foo 1.10.0"));
    assert_eq!((foo.others.len(), catalog.loose.len()), (1, 2));
    assert_eq!(foo.deprecations.unwrap().file, 2);
    assert_eq!(catalog.packages.len(), 2);
}

#[test]
fn files_that_are_ignored_may_be_anything() {
    let wrong = "<html>";
    let foo = package("foo");
    let files =
        [("foo.json", &foo[..]), ("README.md", wrong), ("docs/a", wrong), ("docs/b", wrong)];
    assert!(
        said(&[&configs(&files)]).contains("`/configs/README.md`, object 1 in line 1: a web page")
    );
    // The rules come after the files, and from another layer.
    let rules = configs(&[(".indexignore", "README.md\n"), ("docs/.indexignore", "*\n!b\n")]);
    let both = [configs(&files), rules.clone()].concat();
    for layers in [&[&both[..]][..], &[&configs(&files), &rules], &[&rules, &configs(&files)]] {
        assert!(said(layers).contains("`/configs/docs/b`"), "{}", said(layers));
    }
    let rules = configs(&[(".indexignore", "README.md\ndocs/\n")]);
    let link = vec![entry("configs/docs/link", b'2', b"")];
    let catalog = read(&[&rules, &link, &configs(&files)]).unwrap();
    assert_eq!(catalog.files, ["foo.json"]);
    // A link that counts is refused by name, and so is a directory of configurations that is none.
    let link = vec![entry("configs/link", b'2', b"")];
    assert!(
        said(&[&rules, &link, &configs(&files)]).contains("`/configs/link` is a link or a device")
    );
    let link = vec![entry("configs", b'2', b"")];
    assert!(said(&[&link, &configs(&files)]).contains("`/configs` is a link or a device"));
    let many = configs(&[(
        ".indexignore",
        &"x
"
        .repeat(2000),
    )]);
    assert_eq!(said(&[&many, &configs(&files)]), "it has more files or rules than any catalog");
    // Nor are they held when there are many files of them, or long ones.
    let long = "#".repeat(1000);
    let paths: Vec<String> = (0..1001).map(|at| format!("{at}/.indexignore")).collect();
    for (count, text) in [(1001, ""), (100, &long[..])] {
        let many: Vec<_> = paths[..count].iter().map(|path| (path.as_str(), text)).collect();
        let told = said(&[&configs(&many), &configs(&files)]);
        assert_eq!(told, "it has more files or rules than any catalog");
    }
    let all = configs(&[(".indexignore", "*\n")]);
    assert!(
        said(&[&all, &configs(&files)]).contains("there is no file in its directory `/configs`")
    );
    assert!(said(&[&[file("etc/x", "")]]).contains("there is no file in its directory `/configs`"));
}

#[test]
fn what_contradicts_itself_is_told_with_its_files() {
    let foo = package("foo");
    let twice = |more: &str| said(&[&configs(&[("a.json", &foo), ("b.json", more)])]);
    let objects: Vec<String> = foo_objects();
    for (at, what) in [
        (0, "`olm.package` `foo`"),
        (1, "`olm.channel` `stable` of package `foo`"),
        (2, "`olm.bundle` `foo.v1.10.0` of package `foo`"),
    ] {
        let expected =
            format!("{what} is there twice: in its `/configs/a.json` and in its `/configs/b.json`");
        assert_eq!(twice(&objects[at]), expected);
    }
    let deprecations = r#"{"schema":"olm.deprecations","package":"foo"}"#;
    assert!(twice(&deprecations.repeat(2)).starts_with(
        "`olm.deprecations` of package `foo` is there twice: in its `/configs/b.json` and"
    ));
    for (object, what) in [
        (
            r#"{"schema":"olm.channel","name":"x","package":"none","entries":[]}"#,
            "`olm.channel` `x`",
        ),
        (r#"{"schema":"olm.deprecations","package":"none"}"#, "`olm.deprecations`"),
        (
            r#"{"schema":"olm.bundle","name":"x","package":"none","properties":[{"type":"olm.package","value":{"packageName":"none","version":"1.0.0"}}]}"#,
            "`olm.bundle` `x`",
        ),
    ] {
        let expected = format!(
            "its `/configs/b.json`, object 2 in line 2: {what} is of package `none`, which no `olm.package` describes"
        );
        assert_eq!(twice(&format!("{{\"schema\":\"x\"}}\n{object}")), expected);
    }
    let cut = twice("{\"schema\":\"x\"}\n\n{\"schema\":");
    assert_eq!(cut, "its `/configs/b.json`, object 2 in line 3: the file ends within it");
    let two = objects[2].replace("\"properties\":[", "\"properties\":[{\"type\":\"olm.package\",\"value\":{\"packageName\":\"foo\",\"version\":\"1.0.0\"}},");
    let two = two.replace("foo.v1.10.0", "foo.v2");
    assert_eq!(
        twice(&two),
        "its `/configs/b.json`, object 1 in line 1: `olm.bundle` `foo.v2` of package `foo`: it has more than one property `olm.package`"
    );
}

fn foo_objects() -> Vec<String> {
    let foo = package("foo");
    let mut objects = Objects::new(foo.as_bytes());
    let mut all = Vec::new();
    while let Some(object) = objects.next().unwrap() {
        all.push(object.json.to_owned());
    }
    all
}
