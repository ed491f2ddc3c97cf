//! What an entry takes of a channel: the worked examples on the real graphs, and each rule on a small one.

use super::super::testing::{entry, graph, real, version};
use super::*;

const NOTHING: &AcceptedRisks = &AcceptedRisks::Nothing;

fn chosen(graph: &Graph, selection: &Selection) -> Vec<String> {
    let places = selection.path.as_ref().map_or(&selection.chosen, |path| &path.nodes);
    places.iter().map(|at| graph.version(*at).to_string()).collect()
}

fn of(graph: &Graph, entry: &ReleaseChannel) -> Vec<String> {
    chosen(graph, &select(entry, graph, NOTHING).unwrap())
}

fn path(name: &str, min: &str, max: &str) -> ReleaseChannel {
    ReleaseChannel { shortest_path: true, ..entry(name, min, max) }
}

fn full(name: &str, min: &str, max: &str) -> ReleaseChannel {
    ReleaseChannel { full: true, ..entry(name, min, max) }
}

#[test]
fn the_worked_examples_of_stable_4_9() {
    let Some(graph) = real("recorded/stable-4.9.amd64") else { return };
    let name = "stable-4.9";
    assert_eq!(of(&graph, &entry(name, "-", "-")), ["4.9.53"]);
    assert_eq!(of(&graph, &full(name, "-", "-")).len(), 90);
    let from = of(&graph, &entry(name, "4.9.40", "-"));
    assert_eq!((from.len(), from.contains(&"4.9.44".to_owned())), (13, false));
    let range = of(&graph, &entry(name, "4.9.8", "4.9.21"));
    let expected = [8, 9, 10, 11, 12, 13, 15, 17, 18, 19, 21].map(|patch| format!("4.9.{patch}"));
    assert_eq!(range, expected);
    assert_eq!(of(&graph, &path(name, "4.8.11", "4.9.53")), ["4.8.11", "4.8.54", "4.9.53"]);
    assert_eq!(graph.successors(graph.find(&version("4.8.11")).unwrap()).len(), 39);
    let head = graph.find(&version("4.9.53")).unwrap();
    let before = (0..90).filter(|at| graph.successors(*at).iter().any(|edge| edge.to == head));
    assert_eq!(before.count(), 80);
}

#[test]
fn the_worked_examples_of_other_channels() {
    let Some(eus) = real("assembled-2021/eus-4.8.amd64") else { return };
    let expected = ["4.6.1", "4.6.48", "4.7.36", "4.8.20"];
    assert_eq!(of(&eus, &path("eus-4.8", "4.6.1", "4.8.20")), expected);
    let stable = real("assembled-2021/stable-4.6.amd64").unwrap();
    // The ends need not exist.
    assert_eq!(of(&stable, &entry("stable-4.6", "4.6.0", "4.6.5")), ["4.6.1", "4.6.3", "4.6.4"]);
}

#[test]
fn no_path_is_an_error_that_names_what_there_is() {
    let Some(graph) = real("recorded/stable-4.7.amd64") else { return };
    let entry = path("stable-4.7", "4.6.16", "4.7.4");
    let error = select(&entry, &graph, NOTHING).unwrap_err();
    assert_eq!(
        error.to_string(),
        "no update path leads from 4.6.16 to 4.7.4 in channel `stable-4.7`"
    );
    let hints = error.hints().join("\n");
    for words in [
        "`--accept-risks VSphereNodeNameChanges,AuthOAuthProxyLeakedConnections,",
        "https://",
        "from 4.6.16 there are paths to ",
    ] {
        assert!(hints.contains(words), "{words}: {hints}");
    }
    let selection = select(&entry, &graph, &AcceptedRisks::All).unwrap();
    assert_eq!(chosen(&graph, &selection), ["4.6.16", "4.7.4"]);
    assert_eq!(selection.path.unwrap().crossings[0].risks.len(), 3);
}

#[test]
fn a_maximum_alone_begins_at_its_own_minor_and_says_so() {
    let Some(graph) = real("recorded/stable-4.9.amd64") else { return };
    let selection = select(&entry("stable-4.9", "-", "4.8.20"), &graph, NOTHING).unwrap();
    // Here both are the same: the channel begins in that minor.
    assert_eq!((selection.chosen.len(), selection.warnings.len()), (15, 0));
    let selection = select(&entry("stable-4.9", "-", "4.9.10"), &graph, NOTHING).unwrap();
    let versions = chosen(&graph, &selection);
    assert_eq!((versions[0].as_str(), versions.last().unwrap().as_str()), ("4.9.0", "4.9.10"));
    let warning = &selection.warnings[0];
    assert!(warning.contains("`minVersion: 4.8.2` asks for"), "{warning}");
    // Who writes that the whole channel is meant gets it.
    let all = select(&full("stable-4.9", "-", "4.9.10"), &graph, NOTHING).unwrap();
    assert_eq!((all.warnings.len(), all.from), (1, version("4.8.2")));
    // Only risks lead from 4.8 there.
    assert!(all.warnings[0].contains("no update path leads"), "{}", all.warnings[0]);
    let error = select(&entry("stable-4.9", "-", "4.10.3"), &graph, NOTHING).unwrap_err();
    assert!(error.hints()[0].contains("4.9.53"), "{error} {:?}", error.hints());
}

#[test]
fn what_is_not_there_is_told_with_what_is_next_to_it() {
    let graph = graph(&["4.1.0", "4.1.1", "4.1.3", "4.1.4", "4.2.0"], &[("4.1.0", "4.1.4")], &[]);
    for (entry, words) in [
        (entry("x", "4.1.2", "4.1.2"), "release 4.1.2 is not in channel"),
        (path("x", "4.1.2", "4.1.4"), "release 4.1.2 is not in channel"),
        (path("x", "4.1.0", "4.1.2"), "release 4.1.2 is not in channel"),
        (entry("x", "4.1.5", "4.1.9"), "has no release from 4.1.5 to 4.1.9"),
        (entry("x", "4.3.0", "-"), "has no release from 4.3.0 on: 4.2.0 is the last one"),
        (entry("x", "-", "4.0.9"), "has no release of 4.0 up to 4.0.9"),
    ] {
        let error = select(&entry, &graph, NOTHING).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
        assert!(
            error.hints()[0].starts_with("the nearest releases of the channel are 4."),
            "{error}"
        );
    }
    let empty = Graph::parse("stable-4.1", "arm64", br#"{"version":1,"nodes":[]}"#).unwrap();
    let error = select(&entry("stable-4.1", "-", "-"), &empty, NOTHING).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the update service has no release in channel `stable-4.1` for arm64"
    );
    assert!(!error.hints().is_empty());
}

#[test]
fn builds_of_one_version_are_all_of_it_unless_one_is_named() {
    let graph = graph(&["4.1.0", "4.1.1+a", "4.1.1+b", "4.1.2"], &[], &[]);
    for (entry, chosen) in [
        (entry("x", "4.1.1", "4.1.1"), &["4.1.1+a", "4.1.1+b"][..]),
        (entry("x", "4.1.1+b", "4.1.1+b"), &["4.1.1+b"]),
        (entry("x", "4.1.1+b", "4.1.1+a"), &["4.1.1+a", "4.1.1+b"]),
        (entry("x", "-", "4.1.1"), &["4.1.0", "4.1.1+a", "4.1.1+b"]),
    ] {
        assert_eq!(of(&graph, &entry), chosen, "{entry:?}");
    }
}

#[test]
fn every_release_has_a_reason() {
    let versions = ["4.1.0", "4.1.1", "4.1.2", "4.1.3", "4.1.4"];
    let graph = graph(&versions, &[("4.1.1", "4.1.3")], &[]);
    let selection = select(&path("x", "4.1.1", "4.1.3"), &graph, NOTHING).unwrap();
    assert_eq!(selection.why().to_string(), "on the shortest path from 4.1.1 to 4.1.3");
    let reasons = versions.map(|text| selection.why_not(&graph, &version(text)));
    let [below, first, off, last, above] = reasons.map(|why| why.map(|why| why.to_string()));
    assert_eq!((first, last), (None, None));
    assert_eq!(below.unwrap(), "below 4.1.1");
    assert_eq!(off.unwrap(), "not on the path");
    assert_eq!(above.unwrap(), "above 4.1.3");
    assert_eq!(selection.why_not(&graph, &version("9.9.9")), Some(WhyNot::Absent));
    let head = select(&entry("x", "-", "-"), &graph, NOTHING).unwrap();
    assert_eq!(head.why_not(&graph, &version("4.1.0")), Some(WhyNot::NotHead));
    assert_eq!(select(&path("x", "-", "-"), &graph, NOTHING).unwrap().asked, Asked::Head);
    assert_eq!(select(&entry("x", "4.1.2", "4.1.2"), &graph, NOTHING).unwrap().why(), Why::One);
}

#[test]
fn a_long_range_of_an_eus_channel_is_pointed_at() {
    let Some(graph) = real("assembled-modern/eus-4.14.amd64") else { return };
    let selection = select(&entry("eus-4.14", "4.12.28", "4.14.16"), &graph, NOTHING).unwrap();
    assert!(selection.warnings[0].contains("`shortestPath: true`"), "{:?}", selection.warnings);
    // Nothing leads there without a risk.
    let entry = path("eus-4.14", "4.12.28", "4.14.16");
    assert!(matches!(select(&entry, &graph, NOTHING).unwrap_err(), ReleaseError::NoPath(_)));
    let selection = select(&entry, &graph, &AcceptedRisks::All).unwrap();
    let over = chosen(&graph, &selection);
    assert!(over.len() >= 3 && over[1].starts_with("4.13."), "{over:?}");
}
