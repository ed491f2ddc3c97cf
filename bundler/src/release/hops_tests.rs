//! Ways over several channels, on real graphs and small ones.

use super::super::testing::{document, real, version};
use super::*;

const NOTHING: &AcceptedRisks = &AcceptedRisks::Nothing;

fn plan(list: &[(&str, &str, &str)]) -> Option<Journey> {
    let versions: Vec<_> = list.iter().map(|(_, min, max)| (version(min), version(max))).collect();
    let bounds: Vec<_> = list
        .iter()
        .zip(&versions)
        .map(|((channel, ..), (min, max))| Bounds { channel, min, max })
        .collect();
    journey(&bounds).unwrap()
}

fn steps(way: &Way) -> Vec<String> {
    let text = |step: &Step| {
        let releases: Vec<String> = step.releases.iter().map(ToString::to_string).collect();
        format!("{} {}", step.channel, releases.join(" "))
    };
    way.steps.iter().map(text).collect()
}

#[test]
fn the_channels_on_the_way() {
    let legs = |source, target| super::legs(source, target).unwrap().join(" ");
    assert_eq!(legs("stable-4.16", "fast-4.16"), "fast-4.16");
    assert_eq!(legs("stable-4.9", "stable-4.11"), "stable-4.9 stable-4.10 stable-4.11");
    assert_eq!(legs("stable-4.12", "eus-4.14"), "stable-4.12 stable-4.13 eus-4.14");
    assert_eq!(legs("eus-4.12", "eus-4.16"), "eus-4.12 eus-4.14 eus-4.16");
    assert_eq!(legs("eus-4.12", "stable-4.15"), "eus-4.12 eus-4.14 stable-4.15");
    assert_eq!(legs("eus-4.12", "stable-4.13"), "eus-4.12 stable-4.13");
    assert_eq!(legs("stable-4.18", "stable-4.17"), "stable-4.17");
    for odd in ["latest", "stable-4", "stable-4.x", "-4.18", "stable-4.99999999999"] {
        assert!(super::legs("stable-4.9", odd).unwrap_err().contains("is not named as"), "{odd}");
    }
    assert!(super::legs("stable-4.9", "stable-4.999").unwrap_err().contains("more than"));
}

#[test]
fn a_channel_with_both_ends_needs_no_way() {
    let tie = [("stable-4.12", "4.12.28", "4.12.28"), ("eus-4.14", "4.12.28", "4.14.16")];
    assert_eq!(plan(&tie), None);
    assert_eq!(plan(&[("stable-4.12", "4.12.28", "4.12.81")]), None);
    assert_eq!(plan(&[]), None);
    // Of two with one end the first is taken, whatever their order in memory.
    let two = [
        ("stable-4.12", "4.12.28", "4.12.30"),
        ("fast-4.12", "4.12.28", "4.12.29"),
        ("stable-4.13", "4.13.1", "4.13.1"),
    ];
    assert_eq!(plan(&two).unwrap().source, "stable-4.12");
}

/// The graphs of stable-4.7, 4.8 and 4.9, and a journey through them to this release.
fn three(to: &str) -> Option<([Graph; 3], Journey)> {
    let seven = real("recorded/stable-4.7.amd64")?;
    let [eight, nine] = ["8", "9"].map(|n| real(&format!("recorded/stable-4.{n}.amd64")).unwrap());
    let list = [
        ("stable-4.7", "4.7.30", "4.7.30"),
        ("stable-4.8", "4.8.20", "4.8.20"),
        ("stable-4.9", to, to),
    ];
    Some(([seven, eight, nine], plan(&list).unwrap()))
}

#[test]
fn channels_are_left_at_their_newest_releases() {
    let Some((graphs, journey)) = three("4.9.53") else { return };
    let way = journey.walk(&graphs.each_ref().map(Some), NOTHING);
    assert_eq!(way.blocked, None);
    assert_eq!(
        steps(&way),
        ["stable-4.7 4.7.30 4.7.60", "stable-4.8 4.7.60 4.8.54", "stable-4.9 4.8.54 4.9.53"]
    );
    assert!(way.warnings.is_empty() && way.risks.is_empty());
}

#[test]
fn where_the_newest_release_leads_no_further_another_is_taken_and_told() {
    let Some((graphs, journey)) = three("4.9.31") else { return };
    // oc-mirror goes over 4.7.60 and 4.8.54, from which no update leads to 4.9.31.
    let nine = &graphs[2];
    let [from, to] = ["4.8.54", "4.9.31"].map(|text| nine.find(&version(text)).unwrap());
    assert_eq!(path::shortest(nine, from, to, NOTHING), None);
    let way = journey.walk(&graphs.each_ref().map(Some), NOTHING);
    assert_eq!(way.blocked, None);
    assert_eq!(
        steps(&way),
        ["stable-4.7 4.7.30 4.7.49", "stable-4.8 4.7.49 4.8.39", "stable-4.9 4.8.39 4.9.31"]
    );
    for (step, graph) in way.steps.iter().zip(&graphs) {
        for pair in step.releases.windows(2) {
            let [from, to] = [&pair[0], &pair[1]].map(|version| graph.find(version).unwrap());
            assert!(graph.successors(from).iter().any(|edge| edge.to == to), "{pair:?}");
        }
    }
    assert_eq!(way.warnings.len(), 2);
    assert!(way.warnings[0].contains("its newest release, 4.7.60, leads no further"), "{way:?}");
    assert!(way.warnings[0].contains("name it to have it too"), "{way:?}");
}

#[test]
fn a_head_from_which_nothing_leads_on_is_carried_and_told() {
    let Some(twelve) = real("assembled-modern/stable-4.12.amd64") else { return };
    let thirteen = real("assembled-modern/stable-4.13.amd64").unwrap();
    let list = [("stable-4.12", "4.12.28", "4.12.28"), ("stable-4.13", "4.13.10", "4.13.10")];
    let graphs = [Some(&twelve), Some(&thirteen)];
    let way = plan(&list).unwrap().walk(&graphs, NOTHING);
    assert_eq!(steps(&way), ["stable-4.12 4.12.28 4.12.81"]);
    let why = way.blocked.unwrap();
    assert!(why.contains("no update path leads on from 4.12.81"), "{why}");
    assert!(why.contains("`--accept-risks AcceleratedNetworkingRace`"), "{why}");
    // With the risk it goes on, and not over the head.
    let risks = AcceptedRisks::named(["AcceleratedNetworkingRace".to_owned()]);
    let way = plan(&list).unwrap().walk(&graphs, &risks);
    assert_eq!(way.blocked, None, "{way:?}");
    assert!(way.warnings[0].contains("its newest release, 4.12.81, leads no further"), "{way:?}");
    assert_eq!(way.risks[0].risks[0].name, "AcceleratedNetworkingRace");
    assert_eq!(way.steps.last().unwrap().releases.last(), Some(&version("4.13.10")));
}

#[test]
fn eus_channels_follow_each_other_by_two() {
    let names = ["eus-4.12", "eus-4.14", "eus-4.16"];
    let Some(graphs) = names
        .map(|name| real(&format!("assembled-modern/{name}.amd64")))
        .into_iter()
        .collect::<Option<Vec<_>>>()
    else {
        return;
    };
    let list = [("eus-4.12", "4.12.60", "4.12.60"), ("eus-4.16", "4.16.30", "4.16.30")];
    let journey = plan(&list).unwrap();
    assert_eq!(journey.legs, names);
    let graphs: Vec<Option<&Graph>> = graphs.iter().map(Some).collect();
    let way = journey.walk(&graphs, &AcceptedRisks::All);
    assert_eq!(way.blocked, None, "{way:?}");
    let all: Vec<&Version> = way.steps.iter().flat_map(|step| &step.releases).collect();
    for minor in 12..=16 {
        assert!(all.iter().any(|version| version.minor == minor), "4.{minor}: {all:?}");
    }
}

#[test]
fn a_channel_or_a_release_that_is_not_there_blocks_the_way() {
    let made = |channel: &str, versions: &[&str], edges: &[(&str, &str)]| {
        Graph::parse(channel, "amd64", &document(versions, edges, &[])).unwrap()
    };
    let stable = made("stable-4.1", &["4.1.0", "4.1.1"], &[("4.1.0", "4.1.1")]);
    let fast = made("fast-4.1", &["4.1.2", "4.1.3"], &[("4.1.2", "4.1.3")]);
    let list = [("stable-4.1", "4.1.0", "4.1.1"), ("fast-4.1", "4.1.3", "4.1.3")];
    let journey = plan(&list).unwrap();
    let way = journey.walk(&[Some(&fast)], NOTHING);
    assert!(way.blocked.unwrap().contains("`fast-4.1` does not have 4.1.0; it has 4.1.2, 4.1.3"));
    let way = journey.walk(&[None], NOTHING);
    assert!(way.blocked.unwrap().contains("channel `fast-4.1` could not be had"));
    let list = [("stable-4.1", "4.1.0", "4.1.0"), ("stable-4.3", "4.3.0", "4.3.0")];
    let journey = plan(&list).unwrap();
    let way = journey.walk(&[Some(&stable), None, None], NOTHING);
    assert_eq!(steps(&way), ["stable-4.1 4.1.0 4.1.1"]);
    assert!(way.blocked.unwrap().contains("channel `stable-4.2` could not be had"));
}
