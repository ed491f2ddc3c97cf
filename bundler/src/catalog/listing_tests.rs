//! Listings of catalogs made by hand.

use super::*;
use crate::catalog::select::testing::{catalog, channel, versioned};

/// The order of a channel: `name` on the way, `name<above` below the one that skips it.
fn ordered(entries: &[&str]) -> Vec<String> {
    let package = versioned("c", vec![channel("c", entries)]);
    let graph = Graph::of(&package.channels[0].entries);
    let name = |place: usize| graph.entry(place).name.to_string();
    let shown = order(&graph, &package).into_iter().map(|(place, above)| match above {
        Some(above) => format!("{}<{}", name(place), name(above)),
        None => name(place),
    });
    shown.collect()
}

#[test]
fn a_channel_is_in_the_order_of_its_updates() {
    for (entries, expected) in [
        // Whatever the catalog's order is.
        (&["1.0.0", "3.0.0 >2.0.0", "2.0.0 >1.0.0"][..], "3.0.0 2.0.0 1.0.0"),
        // What is skipped stands below the one that skips it, the newest first.
        (
            &["1.0.0", "1.2.0", "1.10.0", "2.0.0 >1.0.0 -1.2.0 -1.10.0"],
            "2.0.0 1.10.0<2.0.0 1.2.0<2.0.0 1.0.0",
        ),
        // What is on the way too is there alone.
        (&["1.0.0", "2.0.0 >1.0.0 -1.0.0", "3.0.0 >2.0.0 -2.0.0"], "3.0.0 2.0.0 1.0.0"),
        // Two heads, and an entry that both lead to.
        (&["1.0.0", "2.0.0 >1.0.0", "3.0.0 >1.0.0"], "3.0.0 1.0.0 2.0.0"),
        // Circles, with a head and without.
        (&["1.0.0 >2.0.0", "2.0.0 >1.0.0"], "2.0.0 1.0.0"),
        (&["1.0.0 >2.0.0", "2.0.0 >1.0.0", "3.0.0 >2.0.0"], "3.0.0 2.0.0 1.0.0"),
        // No head leads to the circle.
        (&["1.0.0 >0.9.0", "0.9.0 >1.0.0", "2.0.0", "3.0.0 >2.0.0"], "3.0.0 2.0.0 1.0.0 0.9.0"),
        // Twice of one name.
        (&["1.0.0", "1.0.0", "2.0.0 >1.0.0"], "2.0.0 1.0.0 1.0.0"),
        (&[], ""),
    ] {
        assert_eq!(ordered(entries).join(" "), expected, "{entries:?}");
    }
}

#[test]
fn what_is_not_there_is_told_with_the_nearest() {
    let package = versioned("stable", vec![channel("stable", &["1.0.0"])]);
    let catalog = catalog([("web-terminal", package)]);
    let nothing = find(&catalog, "web-terminl", Some("x")).unwrap_err();
    assert_eq!(nothing.to_string(), "package `web-terminl`: the catalog has no such package");
    assert_eq!(nothing.hints()[0], "did you mean `web-terminal`?");
    let channel = find(&catalog, "web-terminal", Some("stabel")).unwrap_err();
    assert_eq!(channel.hints(), ["did you mean `stable`?", "its channels are `stable`"]);
    assert!(find(&catalog, "web-terminal", Some("stable")).unwrap().1.is_some());
    assert!(find(&catalog, "web-terminal", None).unwrap().1.is_none());
}
