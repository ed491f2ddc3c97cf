//! The traps one by one, on catalogs made for them, and what faults say.

use super::testing::{catalog, channel, channels, ok, package, refused, take, versioned, whys};
use super::*;
use crate::catalog::graph::GraphFault;
use crate::config::ApiVersion::{V1Alpha2 as V1, V2Alpha1 as V2};

/// A channel 1.0.0 … 1.4.0, with a second one, and a package of another name.
fn small() -> Catalog {
    let stable = ["1.0.0", "1.1.0 >1.0.0", "1.2.0 >1.1.0", "1.3.0 >1.2.0 -1.2.1", "1.2.1 >1.1.0"];
    let foo = versioned("stable", vec![channel("stable", &stable), channel("old", &["1.0.0"])]);
    catalog([("foo", foo), ("food", versioned("a", vec![channel("a", &["1.0.0"])]))])
}

#[test]
fn unknown_names_are_errors_that_offer_the_nearest() {
    let small = small();
    for version in [V1, V2] {
        let (problem, hints) = refused(&small, "packages: [{name: fooo}, {name: foo}]", version);
        assert_eq!(problem, "package `fooo`: the catalog has no such package");
        assert_eq!(hints[0], "did you mean `foo`, `food`?");
        let rest = "packages: [{name: foo, channels: [{name: stabel}, {name: stable}]}]";
        assert_eq!(
            refused(&small, rest, version),
            (
                "package `foo`, channel `stabel`: the package has no such channel".to_owned(),
                vec![
                    "did you mean `stable`?".to_owned(),
                    "its channels are `stable`, `old`".to_owned()
                ]
            )
        );
    }
}

#[test]
fn faults_of_one_package_do_not_hide_those_of_others() {
    let rest = "packages: [{name: foo, channels: [{name: x}, {name: stable, minVersion: 7.0.0}]}, {name: bar}, {name: food, minVersion: 2.0.0}]";
    let faults = take(&small(), rest, V2).unwrap_err();
    let texts: Vec<String> = faults.iter().map(ToString::to_string).collect();
    assert_eq!(
        texts,
        [
            "package `foo`, channel `x`: the package has no such channel",
            "package `bar`: the catalog has no such package",
            "package `food`, channel `a`: no bundle has a version from 2.0.0 on",
        ]
    );
    // Each with its place in the file.
    let columns: Vec<u32> = faults.iter().map(|fault| fault.at.unwrap().column).collect();
    assert!(columns.is_sorted() && faults.iter().all(|fault| fault.at.unwrap().line == 5));
    assert_eq!(faults[0].kind(), crate::ErrorKind::Content(4));
}

#[test]
fn full_takes_everything() {
    let small = small();
    let selection = ok(&small, "full: true", V2);
    assert!(selection.whole && selection.packages.iter().all(|picked| picked.unchanged));
    let selection = ok(&small, "full: true, packages: [{name: foo}]", V2);
    assert!(!selection.whole && selection.packages[0].unchanged);
    let selection =
        ok(&small, "full: true, packages: [{name: foo, channels: [{name: stable}]}]", V1);
    assert_eq!(channels(&small, &selection, "foo"), ["stable: 1.0.0 1.1.0 1.2.0 1.3.0 1.2.1"]);
    assert!(!selection.packages[0].unchanged);
    assert_eq!(selection.packages[0].dropped, [(1, Dropped::NotNamed)]);
}

#[test]
fn a_bundle_in_no_channel_is_left_out_and_said() {
    let mut catalog = small();
    let foo = catalog.packages.get_mut("foo").unwrap();
    foo.bundles.insert("lost".into(), testing::bundle("lost", "0.0.1").1);
    let selection = ok(&catalog, "full: true, packages: [{name: foo}]", V2);
    assert!(!selection.packages[0].unchanged && !selection.packages[0].bundles.contains("lost"));
    let view = explain::Explanation::of(&catalog, &selection);
    assert_eq!(view.packages[0].left_out[0].why, "bundles in no channel");
    let (problem, _) = refused(&catalog, "packages: [{name: foo, bundles: [{name: lost}]}]", V2);
    assert_eq!(
        problem,
        "package `foo`: the catalog itself is at fault: no channel has bundle `lost`"
    );
}

#[test]
fn an_override_of_the_default_channel_wins_and_must_be_kept() {
    let small = small();
    for version in [V1, V2] {
        let rest =
            "packages: [{name: foo, defaultChannel: old, channels: [{name: stable}, {name: old}]}]";
        assert_eq!(ok(&small, rest, version).packages[0].default_channel, "old");
        let rest = "packages: [{name: foo, defaultChannel: odl}]";
        assert_eq!(
            refused(&small, rest, version),
            (
                "package `foo`: its `defaultChannel`, `odl`, is not carried".to_owned(),
                vec![
                    "did you mean `old`?".to_owned(),
                    "the channels that are carried are `stable`, `old`".to_owned()
                ]
            )
        );
    }
    // The catalog's default channel may be empty where another one is named.
    let foo = versioned("new", vec![channel("old", &["1.0.0"]), channel("new", &["2.0.0"])]);
    let two = catalog([("foo", foo)]);
    let rest = "packages: [{name: foo, defaultChannel: old, maxVersion: 1.5.0}]";
    assert_eq!(channels(&two, &ok(&two, rest, V2), "foo"), ["old: 1.0.0"]);
    let (problem, hints) = refused(&two, "packages: [{name: foo, maxVersion: 1.5.0}]", V2);
    assert_eq!(problem, "package `foo`, channel `new`: no bundle has a version up to 1.5.0");
    assert_eq!(
        hints,
        [
            "this works: `maxVersion: 2.0.0`",
            "the nearest versions are 2.0.0",
            "the range has bundles in `old`: name one of them in `channels` and as `defaultChannel`"
        ]
    );
}

#[test]
fn in_v1_the_priority_chooses_another_default_channel() {
    let mut channels = vec![
        channel("a", &["1.0.0"]),
        channel("b", &["1.0.0"]),
        channel("c", &["1.0.0"]),
        channel("d", &["2.0.0"]),
    ];
    let rest = "packages: [{name: foo, maxVersion: 1.0.0}]";
    let without = catalog([("foo", versioned("d", channels.clone()))]);
    assert_eq!(
        refused(&without, rest, V1).1,
        ["add `defaultChannel:` to the package, one of `a`, `b`, `c`"]
    );
    for (at, priority) in [(0, 1), (1, 7), (2, 7), (3, 9)] {
        channels[at].priority = Some(priority);
    }
    let with = catalog([("foo", versioned("d", channels))]);
    assert_eq!(ok(&with, rest, V1).packages[0].default_channel, "b");
    // v2 asks.
    let rest = "packages: [{name: foo, channels: [{name: a}, {name: b}]}]";
    assert!(refused(&with, rest, V2).0.ends_with("its default channel `d` is not carried"));
}

#[test]
fn a_catalog_without_a_default_channel_gets_the_only_one() {
    let one = catalog([("foo", versioned("", vec![channel("a", &["1.0.0"])]))]);
    let selection = ok(&one, "", V2);
    assert_eq!(selection.packages[0].default_channel, "a");
    assert!(!selection.packages[0].unchanged);
}

#[test]
fn empty_channels_vanish_and_named_ones_with_a_word() {
    let small = small();
    let rest = "packages: [{name: foo, channels: [{name: stable, minVersion: 1.2.0}, {name: old, minVersion: 1.2.0}]}]";
    let selection = ok(&small, rest, V2);
    assert_eq!(channels(&small, &selection, "foo"), ["stable: 1.2.0 1.3.0 1.2.1"]);
    assert_eq!(
        selection.warnings,
        ["package `foo`, channel `old`: nothing is from 1.2.0 on, so it is not carried"]
    );
    // In v1 a lower bound that a named channel does not have is an error.
    let (problem, hints) = refused(&small, rest, V1);
    assert_eq!(problem, "package `foo`, channel `old`: no bundle has version 1.2.0");
    assert_eq!(hints, ["the nearest versions are 1.0.0"]);
    // At the package it passes the channel over.
    let selection = ok(&small, "packages: [{name: foo, minVersion: 1.2.0}]", V1);
    assert_eq!(channels(&small, &selection, "foo"), ["stable: 1.2.0 1.3.0"]);
}

#[test]
fn a_lower_bound_of_v1_can_be_a_bundle() {
    let small = small();
    let rest =
        |more: &str| format!("packages: [{{name: foo, channels: [{{name: stable, {more}}}]}}]");
    let lines = |more: &str| channels(&small, &ok(&small, &rest(more), V1), "foo");
    assert_eq!(lines("minBundle: 1.1.0"), ["stable: 1.1.0 1.2.0 1.3.0 1.2.1"]);
    // The bound is skipped by the head and meets its chain below.
    assert_eq!(lines("minBundle: 1.2.1"), ["stable: 1.2.0 1.3.0 1.2.1"]);
    assert_eq!(lines("minBundle: 1.1.0, maxVersion: 1.2.0"), ["stable: 1.1.0 1.2.0"]);
    let (problem, hints) = refused(&small, &rest("minBundle: 1.1.9"), V1);
    assert_eq!(problem, "package `foo`, channel `stable`: there is no bundle `1.1.9`");
    assert_eq!(hints[0], "did you mean `1.1.0`, `1.0.0`, `1.2.0`?");
    // At the package: channels without it are passed over, a name that is nowhere is an error.
    let selection = ok(&small, "packages: [{name: foo, minBundle: 1.2.0}]", V1);
    assert_eq!(channels(&small, &selection, "foo"), ["stable: 1.2.0 1.3.0"]);
    let (problem, _) = refused(&small, "packages: [{name: foo, minBundle: nope}]", V1);
    assert_eq!(problem, "package `foo`: there is no bundle `nope`");
}

#[test]
fn bounds_of_the_package_hold_in_the_channels_that_are_named() {
    let small = small();
    let rest =
        "packages: [{name: foo, minVersion: 1.1.0, maxVersion: 1.2.0, channels: [{name: stable}]}]";
    for version in [V1, V2] {
        let selection = ok(&small, rest, version);
        assert_eq!(channels(&small, &selection, "foo"), ["stable: 1.1.0 1.2.0"]);
    }
}

#[test]
fn a_chain_that_was_cut_off_still_joins_at_the_bundle_that_is_gone() {
    let stable = ["2.0.0 >1.9.0", "2.0.1 >1.9.0 -2.0.0"];
    let cut = catalog([("foo", versioned("stable", vec![channel("stable", &stable)]))]);
    let selection = ok(&cut, "packages: [{name: foo, minVersion: 2.0.0}]", V1);
    assert_eq!(channels(&cut, &selection, "foo"), ["stable: 2.0.0 2.0.1"]);
}

#[test]
fn what_a_lower_bound_itself_updates_is_not_on_its_way() {
    let stable = ["1.0.0", "1.0.1 >1.0.0", "1.0.2 >1.0.1", "2.0.0 >1.0.0 -1.0.1 -1.0.2"];
    let side = catalog([("foo", versioned("stable", vec![channel("stable", &stable)]))]);
    let selection = ok(&side, "packages: [{name: foo, minVersion: 1.0.2}]", V1);
    assert_eq!(channels(&side, &selection, "foo"), ["stable: 1.0.2 2.0.0"]);
}

#[test]
fn bundles_by_name_must_be_a_channel() {
    let small = small();
    let rest = |names: &str| format!("packages: [{{name: foo, bundles: [{names}]}}]");
    let selection = ok(&small, &rest("{name: 1.0.0}, {name: 1.1.0}"), V2);
    assert_eq!(channels(&small, &selection, "foo"), ["stable: 1.0.0 1.1.0", "old: 1.0.0"]);
    assert_eq!(whys(&selection, 0, 0), ["named", "named"]);
    let (problem, hints) = refused(&small, &rest("{name: 1.0.0}, {name: 1.3.0}"), V2);
    assert_eq!(
        problem,
        "package `foo`, channel `stable`: `1.0.0`, `1.3.0` cannot be a channel of its own: multiple channel heads: \
         nothing updates `1.0.0`, `1.3.0`"
    );
    assert_eq!(hints, ["add what is between them: `1.1.0`, `1.2.0`"]);
    let (problem, hints) = refused(&small, &rest("{name: 1.3.1}"), V2);
    assert_eq!(problem, "package `foo`: there is no bundle `1.3.1`");
    assert!(hints[0].starts_with("did you mean `1.2.1`, `1.3.0`"), "{hints:?}");
    let only_old = catalog([(
        "foo",
        versioned("new", vec![channel("old", &["1.0.0"]), channel("new", &["2.0.0 >1.0.0"])]),
    )]);
    assert_eq!(
        refused(&only_old, &rest("{name: 1.0.0}"), V2).1,
        ["add `defaultChannel: old` to the package"]
    );
}

#[test]
fn a_version_that_is_none_is_a_fault_of_its_bundle() {
    let mut catalog = small();
    let foo = catalog.packages.get_mut("foo").unwrap();
    foo.bundles.get_mut("1.1.0").unwrap().version = "v1.1".into();
    // It does not matter where nobody asks for it.
    ok(&catalog, "", V2);
    for rest in
        ["packages: [{name: foo, minVersion: 1.2.0}]", "full: true, packages: [{name: foo}]"]
    {
        let (problem, _) = refused(&catalog, rest, V2);
        assert!(
            problem.starts_with("package `foo`: bundle `1.1.0` has no usable version, `v1.1`: "),
            "{problem}"
        );
    }
}

#[test]
fn a_channel_that_is_none_in_the_catalog_is_its_fault() {
    let foo = versioned("a", vec![channel("a", &["1.0.0", "2.0.0"]), channel("b", &["1.0.0"])]);
    let bad = catalog([("foo", foo), ("good", versioned("a", vec![channel("a", &["1.0.0"])]))]);
    for rest in [
        "",
        "packages: [{name: foo}]",
        "full: true, packages: [{name: foo}]",
        "packages: [{name: foo, minVersion: 1.0.0}]",
    ] {
        let (problem, _) = refused(&bad, rest, V2);
        assert_eq!(
            problem,
            "package `foo`, channel `a`: the catalog itself is at fault: multiple channel heads: nothing updates `1.0.0`, `2.0.0`",
            "{rest}"
        );
    }
    ok(&bad, "packages: [{name: foo, defaultChannel: b, channels: [{name: b}]}, {name: good}]", V2);
    // One version of it is a channel of its own.
    let rest = "packages: [{name: foo, minVersion: 2.0.0, maxVersion: 2.0.0}]";
    assert_eq!(channels(&bad, &ok(&bad, rest, V2), "foo"), ["a: 2.0.0"]);
    let circle = versioned("a", vec![channel("a", &["1.0.0 >2.0.0", "2.0.0 >1.0.0"])]);
    let circle = catalog([("foo", circle)]);
    assert!(
        refused(&circle, "", V2)
            .0
            .contains("its updates go in a circle: `1.0.0`, `2.0.0`, `1.0.0`")
    );
    let faults =
        take(&catalog([("foo", package("a", vec![channel("a", &["x"])], Vec::new()))]), "", V2);
    let no_bundle = GraphFault::NoBundle(vec!["x".into()]);
    assert_eq!(faults.unwrap_err()[0].reason, Reason::Flaw(no_bundle));
}

#[test]
fn deprecations_stay_where_their_object_does() {
    let selection = ok(&small(), "packages: [{name: foo, channels: [{name: stable}]}]", V2);
    let picked = &selection.packages[0];
    assert!(picked.keeps("olm.package", "") && picked.keeps("olm.channel", "stable"));
    assert!(!picked.keeps("olm.channel", "old"));
    assert!(picked.keeps("olm.bundle", "1.3.0") && !picked.keeps("olm.bundle", "1.0.0"));
}

#[test]
fn the_plan_says_of_each_bundle_why() {
    let small = small();
    let rest =
        "packages: [{name: foo, channels: [{name: stable, minVersion: 1.1.0, maxVersion: 1.2.1}]}]";
    let selection = ok(&small, rest, V2);
    let view = explain::Explanation::of(&small, &selection);
    assert_eq!(
        view.to_string(),
        "\
1 of 2 packages, 4 bundles
`foo`: 4 of 5 bundles, default channel `stable`
├─ `stable`: from 1.1.0 to 1.2.1, 4 of 5
│  ├─ `1.3.0` 1.3.0: outside the range, and updates in it lead over it
│  ├─ `1.2.1` 1.2.1: in the range, skipped by `1.3.0`
│  ├─ `1.2.0` 1.2.0: in the range
│  ├─ `1.1.0` 1.1.0: in the range
│  └─ not in: 1, below the range (`1.0.0`)
└─ not in: 1, channels that are not asked for (`old`)
warning: package `foo`, channel `stable`: not from 1.1.0 to 1.2.1 and carried all the same, because updates lead over it: `1.3.0`
"
    );
    let json = serde_json::to_value(&view).unwrap();
    assert_eq!(json["packagesInCatalog"], 2);
    assert_eq!(json["packages"][0]["bundlesInCatalog"], 5);
    assert_eq!(json["packages"][0]["channels"][0]["leftOut"][0]["count"], 1);
    assert_eq!(json["packages"][0].get("defaultChannelWas"), None);
    let whole = ok(&small, "full: true", V2);
    assert_eq!(
        explain::Explanation::of(&small, &whole).to_string(),
        "the whole catalog as it is: 6 bundles in 2 packages\n"
    );
}
