use super::*;
use crate::catalog::select::testing::{bundle, channel, entry, package};

fn names(list: &[&str]) -> Vec<Arc<str>> {
    list.iter().map(|name| Arc::from(*name)).collect()
}

fn graph_faults(entries: &[&str]) -> Vec<GraphFault> {
    let entries: Vec<Entry> = entries.iter().map(|text| entry(text)).collect();
    Graph::of(&entries).faults(|name| !name.starts_with('?'))
}

#[test]
fn a_head_is_what_nothing_updates_whatever_its_version() {
    let entries: Vec<Entry> = ["v9", "v1 >v9", "v5", "v2 >v1 -v5"].map(entry).into();
    let graph = Graph::of(&entries);
    assert_eq!(graph.head().unwrap(), 3);
    assert_eq!(graph.chain(3).unwrap(), [3, 1, 0]);
    assert_eq!(graph.skips(3), [2]);
    assert_eq!(graph.replacers()[0], [1]);
    assert_eq!(graph.find("v5"), Some(2));
    assert!(graph.faults(|_| true).is_empty());
}

#[test]
fn the_last_entry_may_replace_what_is_not_there_and_nothing_need_replace() {
    assert!(graph_faults(&["b >a", "c >b"]).is_empty());
    assert!(graph_faults(&["a", "b", "c -a -b"]).is_empty());
    // A skipped entry needs no chain to it, and the chain ends before a skipped one.
    assert!(graph_faults(&["a", "b >a -a", "c >b -b"]).is_empty());
}

#[test]
fn each_fault_names_its_bundles() {
    let cases: [(&[&str], Vec<GraphFault>); 9] = [
        (&[], vec![GraphFault::Empty]),
        (&["a", "b"], vec![GraphFault::Heads(names(&["a", "b"]))]),
        (&["a >b", "b >a"], vec![GraphFault::Cycle(names(&["a", "b", "a"]))]),
        (&["h", "x >a -h", "a >b", "b >a"], vec![GraphFault::Cycle(names(&["a", "b", "a"]))]),
        (&["a >a"], vec![GraphFault::ReplacesItself("a".into())]),
        (&["a -a"], vec![GraphFault::SkipsItself("a".into())]),
        (&["a", "a", "b >a"], vec![GraphFault::Duplicate("a".into())]),
        (&["?a", "?b >?a"], vec![GraphFault::NoBundle(names(&["?a", "?b"]))]),
        // Nobody skips `low`; `mid`, which replaces it, is skipped, and there the chain ends.
        (&["low", "mid >low", "top >mid -mid"], vec![GraphFault::Stranded(names(&["low"]))]),
    ];
    for (entries, expected) in cases {
        assert_eq!(graph_faults(entries), expected, "{entries:?}");
    }
    assert_eq!(
        GraphFault::Heads(names(&["a", "b"])).to_string(),
        "multiple channel heads: nothing updates `a`, `b`"
    );
}

#[test]
fn a_walk_over_a_circle_ends() {
    let entries: Vec<Entry> = ["h >a", "a >b", "b >a"].map(entry).into();
    let graph = Graph::of(&entries);
    assert_eq!(graph.chain(0), Err(GraphFault::Cycle(names(&["a", "b", "a"]))));
    // Deep chains do not take the stack.
    let entries: Vec<Entry> = (0..100_000).map(|n| entry(&format!("{n} >{}", n + 1))).collect();
    assert!(Graph::of(&entries).faults(|_| true).is_empty());
}

#[test]
fn a_package_names_lost_bundles_and_a_default_channel_that_is_not_there() {
    let mut foo = package(
        "gone",
        vec![channel("stable", &["a", "b"]), channel("fast", &["b >a"])],
        vec![bundle("a", "1.0.0"), bundle("b", "2.0.0"), bundle("lost", "3.0.0")],
    );
    let flaws: Vec<String> = check_package("foo", &foo).iter().map(ToString::to_string).collect();
    assert_eq!(
        flaws,
        [
            "package `foo`, channel `stable`: multiple channel heads: nothing updates `a`, `b`",
            "package `foo`: no channel has bundle `lost`",
            "package `foo`: its default channel `gone` is not there",
        ]
    );
    foo.channels.remove(0);
    foo.bundles.remove("lost");
    foo.default_channel = "fast".to_owned();
    // `a` is gone from the channels now.
    assert_eq!(check_package("foo", &foo).len(), 1);
}
