//! What v1 adds for what bundles need.

use super::testing::{bundle, catalog, channel, gvk, package, real, versioned, wanted};
use super::*;
use crate::catalog::model::{Package, Requirement};
use crate::config::ApiVersion::{V1Alpha2 as V1, V2Alpha1 as V2};

fn on(name: &str, range: &str) -> Requirement {
    Requirement::Package { name: name.to_owned(), range: range.to_owned() }
}

/// A package with one channel and one bundle that needs this.
fn needing(requires: Vec<Requirement>) -> Package {
    let mut made = versioned("a", vec![channel("a", &["1.0.0"])]);
    made.bundles.get_mut("1.0.0").unwrap().requires = requires;
    made
}

/// A package that offers an interface in its versions.
fn offering(kind: &str, entries: &[&str]) -> Package {
    let mut made = versioned("a", vec![channel("a", entries)]);
    for bundle in made.bundles.values_mut() {
        bundle.provides.push(gvk(&format!("x.io/v1 {kind}")));
    }
    made
}

fn of_interface(kind: &str) -> Requirement {
    Requirement::Gvk(gvk(&format!("x.io/v1 {kind}")))
}

/// The packages and bundles that come with `app`, each as `name:bundle`, and the warnings.
fn with_app(catalog: &Catalog) -> (Vec<String>, Vec<String>) {
    let selection = select(catalog, &wanted("packages: [{name: app}]", V1), V1).unwrap();
    let mut all = Vec::new();
    for picked in selection.packages.iter().filter(|picked| picked.name != "app") {
        all.extend(picked.bundles.iter().map(|bundle| format!("{}:{bundle}", picked.name)));
    }
    (all, selection.warnings)
}

const CHAIN: [&str; 3] = ["1.0.0", "2.0.0 >1.0.0", "3.0.0 >2.0.0"];

#[test]
fn the_newest_that_satisfies_comes_with_what_updates_it() {
    let lib = || versioned("a", vec![channel("a", &CHAIN)]);
    for (range, expected) in [
        ("", &["lib:3.0.0"][..]),
        ("<3.0.0", &["lib:2.0.0", "lib:3.0.0"]),
        ("1.0.0", &["lib:1.0.0", "lib:2.0.0", "lib:3.0.0"]),
    ] {
        let made = catalog([("app", needing(vec![on("lib", range)])), ("lib", lib())]);
        let (bundles, warnings) = with_app(&made);
        assert_eq!(bundles, expected, "{range}");
        assert!(warnings.is_empty());
    }
    // Nobody satisfies it: that is told, by both versions.
    let made = catalog([("app", needing(vec![on("lib", ">4.0.0")])), ("lib", lib())]);
    for version in [V1, V2] {
        let selection =
            select(&made, &wanted("packages: [{name: app}]", version), version).unwrap();
        assert_eq!(selection.packages.len(), 1);
        assert_eq!(
            selection.warnings,
            [
                "package `app`: `1.0.0` needs package `lib` `>4.0.0`, which nothing in this catalog offers: another one has to"
            ]
        );
    }
    let made = catalog([("app", needing(vec![on("lib", "new")])), ("lib", lib())]);
    let (bundles, warnings) = with_app(&made);
    assert!(bundles.is_empty());
    assert_eq!(
        warnings,
        [
            "package `app`: `1.0.0` needs package `lib` `new`, which is no range of versions; nothing is added for it"
        ]
    );
}

#[test]
fn what_is_added_needs_things_too_and_circles_end() {
    let mut lib = needing(vec![on("base", "")]);
    lib.bundles.get_mut("1.0.0").unwrap().requires.push(on("app", "<9.0.0"));
    let base = needing(vec![on("app", ""), on("lib", "")]);
    let made = catalog([("app", needing(vec![on("lib", "")])), ("base", base), ("lib", lib)]);
    assert_eq!(with_app(&made).0, ["base:1.0.0", "lib:1.0.0"]);
}

#[test]
fn an_interface_is_taken_of_whom_is_carried_else_of_all() {
    let app = || needing(vec![of_interface("Cert")]);
    let made = catalog([
        ("app", app()),
        ("one", offering("Cert", &CHAIN)),
        ("two", offering("Cert", &["1.0.0"])),
        ("other", offering("Key", &["1.0.0"])),
    ]);
    assert_eq!(with_app(&made).0, ["one:3.0.0", "two:1.0.0"]);
    let line = "packages: [{name: app}, {name: two}]";
    let selection = select(&made, &wanted(line, V1), V1).unwrap();
    let names: Vec<&str> = selection.packages.iter().map(|picked| picked.name.as_str()).collect();
    assert_eq!(names, ["app", "two"]);
}

#[test]
fn constraints_are_all_any_not() {
    let made = |requirement| {
        catalog([
            ("app", needing(vec![requirement])),
            ("one", offering("Cert", &["1.0.0"])),
            ("two", offering("Key", &["1.0.0", "2.0.0 >1.0.0"])),
        ])
    };
    let bundles = |requirement| with_app(&made(requirement)).0;
    let (cert, key) = (|| of_interface("Cert"), || of_interface("Key"));
    // One bundle that is all of it, or one for each part.
    assert_eq!(
        bundles(Requirement::All(vec![key(), on("two", "<2.0.0")])),
        ["two:1.0.0", "two:2.0.0"]
    );
    assert_eq!(bundles(Requirement::All(vec![cert(), key()])), ["one:1.0.0", "two:2.0.0"]);
    assert_eq!(
        bundles(Requirement::All(vec![key(), Requirement::Not(vec![on("two", "2.0.0")])])),
        ["two:1.0.0", "two:2.0.0"]
    );
    // The first alternative that there is.
    assert_eq!(bundles(Requirement::Any(vec![on("gone", ""), key(), cert()])), ["two:2.0.0"]);
    assert!(bundles(Requirement::Any(vec![on("gone", "")])).is_empty());
    assert!(bundles(Requirement::Not(vec![cert()])).is_empty());
    let (none, warnings) = with_app(&made(Requirement::Cel("a == b".to_owned())));
    assert!(none.is_empty());
    assert_eq!(
        warnings,
        [
            "package `app`: `1.0.0` needs the expression `a == b`, which is not evaluated; nothing is added for it"
        ]
    );
    // An alternative that is carried is enough.
    let both = made(Requirement::Any(vec![cert(), key()]));
    let line = "packages: [{name: app}, {name: two}]";
    assert_eq!(select(&both, &wanted(line, V1), V1).unwrap().packages.len(), 2);
}

#[test]
fn what_the_head_skips_is_not_added_and_what_no_update_leaves_is_an_error() {
    let lib = versioned("a", vec![channel("a", &["1.0.0", "2.0.0 -1.0.0"])]);
    let made = catalog([("app", needing(vec![on("lib", "<2.0.0")])), ("lib", lib)]);
    let (bundles, warnings) = with_app(&made);
    assert!(bundles.is_empty());
    assert_eq!(
        warnings,
        [
            "package `lib`: `1.0.0` needs `1.0.0`, which the head of its channel skips; it is not added"
        ]
    );
    let lib = versioned("a", vec![channel("a", &["1.0.0", "2.0.0 -1.0.0", "3.0.0 >2.0.0 -2.0.0"])]);
    let made = catalog([("app", needing(vec![on("lib", "<2.0.0")])), ("lib", lib)]);
    let faults = select(&made, &wanted("packages: [{name: app}]", V1), V1).unwrap_err();
    assert_eq!(
        faults[0].to_string(),
        "package `lib`, channel `a`: `1.0.0` needs `1.0.0`, and no update leads from it to `3.0.0`"
    );
    assert!(faults[0].hints()[0].contains("skipDependencies"));
    // Without dependencies it is fine, and v2 has none.
    let line = "skipDependencies: true, packages: [{name: app}]";
    assert_eq!(select(&made, &wanted(line, V1), V1).unwrap().packages.len(), 1);
    assert_eq!(
        select(&made, &wanted("packages: [{name: app}]", V2), V2).unwrap().warnings.len(),
        1
    );
}

#[test]
fn the_only_channel_of_what_is_needed_becomes_its_default() {
    let channels = vec![channel("a", &["9.0.0"]), channel("old", &["1.0.0", "2.0.0 >1.0.0"])];
    let made =
        catalog([("app", needing(vec![on("lib", "<2.0.0")])), ("lib", versioned("a", channels))]);
    let selection = select(&made, &wanted("packages: [{name: app}]", V1), V1).unwrap();
    assert_eq!(selection.packages[1].default_channel, "old");
    assert_eq!(selection.warnings.len(), 1);
    // The same version in several channels: the default one.
    let channels = vec![channel("old", &["1.0.0"]), channel("a", &["1.0.0"])];
    let made = catalog([("app", needing(vec![on("lib", "")])), ("lib", versioned("a", channels))]);
    let selection = select(&made, &wanted("packages: [{name: app}]", V1), V1).unwrap();
    assert_eq!(selection.packages[1].channels[0].name, "a");
}

#[test]
fn packages_that_failed_are_not_mended_by_others() {
    let made = catalog([
        ("app", needing(vec![on("lib", "")])),
        ("lib", package("a", vec![channel("a", &["1.0.0"])], vec![bundle("1.0.0", "1.0.0")])),
    ]);
    let line = "packages: [{name: app}, {name: lib, minVersion: 7.0.0}]";
    let faults = select(&made, &wanted(line, V1), V1).unwrap_err();
    assert_eq!(faults.len(), 1, "{faults:?}");
}

#[test]
fn real_packages_need_each_other() {
    let Some(catalog) = real(&[
        "community-v4.18/configs/rabbitmq-cluster-operator/catalog.yaml",
        "community-v4.18/configs/rabbitmq-messaging-topology-operator/catalog.yaml",
    ]) else {
        return;
    };
    let line = "packages: [{name: rabbitmq-messaging-topology-operator}]";
    let selection = select(&catalog, &wanted(line, V1), V1).unwrap();
    let named: Vec<String> = (selection.packages.iter())
        .flat_map(|picked| picked.bundles.iter().map(ToString::to_string))
        .collect();
    assert_eq!(
        named,
        ["rabbitmq-cluster-operator.v2.22.3", "rabbitmq-messaging-topology-operator.v1.19.3"]
    );
    let selection = select(&catalog, &wanted(line, V2), V2).unwrap();
    assert_eq!(selection.packages.len(), 1);
    assert!(selection.warnings[0].contains("add `rabbitmq-cluster-operator`"));
}
