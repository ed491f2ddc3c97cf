//! Documents of update services, real and hostile.

use super::super::testing::{data, document, graph, payload, real, version};
use super::*;

fn parse(text: &str) -> Result<Graph, GraphError> {
    Graph::parse("stable-4.1", "amd64", text.as_bytes())
}

fn node(version: &str) -> String {
    format!(r#"{{"version":"{version}","payload":"{}"}}"#, payload(version))
}

#[test]
fn every_real_graph_is_read() {
    let Some(dir) = data("cincinnati") else { return };
    let mut read = 0;
    for below in ["recorded", "assembled-2021", "assembled-modern"] {
        for file in fs_err::read_dir(dir.join(below)).unwrap() {
            let bytes = fs_err::read(file.unwrap().path()).unwrap();
            let graph = Graph::parse("stable-4.1", "amd64", &bytes).unwrap();
            assert!(graph.nodes().is_sorted_by(|a, b| a.version < b.version));
            assert!(graph.nodes().iter().all(|node| node.payload.digest.is_some()));
            read += 1;
        }
    }
    assert_eq!(read, 30);
}

#[test]
fn a_real_graph_has_what_the_service_said() {
    let Some(graph) = real("recorded/stable-4.9.amd64") else { return };
    let edges: usize = (0..graph.nodes().len()).map(|at| graph.successors(at).len()).sum();
    assert_eq!((graph.nodes().len(), edges), (90, 2544));
    assert_eq!((graph.version(0), graph.version(89)), (&version("4.8.2"), &version("4.9.53")));
    let head = graph.nodes().last().unwrap();
    assert!(head.channels.iter().any(|channel| channel == "stable-4.9"));
    // Hotfixes sort below what they fix.
    let Some(graph) = real("assembled-2021/stable-4.6.amd64") else { return };
    assert_eq!(graph.version(0), &version("4.5.0-0.hotfix-2020-08-24-185832"));
}

#[test]
fn releases_stand_in_the_order_of_their_versions() {
    let graph = graph(
        &["4.1.10", "4.1.9", "4.1.0-rc.2", "4.1.0-rc.10", "4.1.0"],
        &[("4.1.9", "4.1.10")],
        &[],
    );
    let order: Vec<String> = graph.nodes().iter().map(|node| node.version.to_string()).collect();
    assert_eq!(order, ["4.1.0-rc.2", "4.1.0-rc.10", "4.1.0", "4.1.9", "4.1.10"]);
    assert_eq!(graph.successors(3).iter().map(|edge| edge.to).collect::<Vec<_>>(), [4]);
    assert_eq!(graph.find(&version("4.1.9+build")), Some(3));
    assert_eq!(graph.find(&version("4.1.8")), None);
    let near: Vec<String> =
        graph.nearest(&version("4.1.8"), 1).iter().map(ToString::to_string).collect();
    assert_eq!(near, ["4.1.0", "4.1.9"]);
    assert_eq!(graph.nearest(&version("9.0.0"), 2).len(), 2);
}

#[test]
fn what_is_no_graph_is_named() {
    let page = parse("\u{feff} \n<!DOCTYPE html><html>Log in</html>").unwrap_err();
    assert_eq!(page, GraphError::Page("<!DOCTYPE html><html>Log in</html>".into()));
    for text in
        ["", "  ", "not json", "[1]", "{}", r#"{"version":1,"nodes":{}}"#, "{\"nodes\":[", "\u{0}"]
    {
        let error = parse(text).unwrap_err();
        assert!(matches!(error, GraphError::Shape(_)), "{text}: {error:?}");
    }
    let refused =
        r#"{"kind":"missing_params","value":"mandatory client parameters missing: channel"}"#;
    let error = parse(refused).unwrap_err().to_string();
    assert!(error.contains("missing_params: mandatory client parameters missing"), "{error}");
    assert_eq!(parse(r#"{"version":2,"nodes":[]}"#).unwrap_err(), GraphError::Format(2));
    // As Go writes lists without entries.
    let nothing = r#"{"version":1,"nodes":null,"edges":null,"conditionalEdges":null}"#;
    assert_eq!(parse(nothing).unwrap().nodes().len(), 0);
    // What is not read may be as deep as it likes.
    let (open, close) = ("[".repeat(9999), "]".repeat(9999));
    let deep = parse(&format!(r#"{{"version":1,"nodes":[],"x":{open}{close}}}"#));
    assert_eq!(deep.unwrap().nodes().len(), 0);
    let deep = parse(&format!(r#"{{"version":1,"nodes":{open}{close}}}"#));
    assert!(matches!(deep.unwrap_err(), GraphError::Shape(_)));
}

#[test]
fn an_edge_out_of_range_is_refused() {
    for (edges, bad) in [("[[0,1],[1,2]]", (1, 1, 2)), ("[[4294967295,0]]", (0, u32::MAX, 0))] {
        let text = format!(
            r#"{{"version":1,"nodes":[{},{}],"edges":{edges}}}"#,
            node("4.1.0"),
            node("4.1.1")
        );
        let (edge, from, to) = bad;
        assert_eq!(parse(&text).unwrap_err(), GraphError::Edge { edge, from, to, nodes: 2 });
    }
    for edges in
        ["[[-1,0]]", "[[4294967296,0]]", "[[0]]", "[[0,1,1]]", "[[0.5,1]]", r#"[["0","1"]]"#]
    {
        let text = format!(
            r#"{{"version":1,"nodes":[{},{}],"edges":{edges}}}"#,
            node("4.1.0"),
            node("4.1.1")
        );
        assert!(matches!(parse(&text).unwrap_err(), GraphError::Shape(_)), "{edges}");
    }
}

#[test]
fn a_malformed_release_is_named_with_its_place() {
    for bad in
        ["4.1", "v4.1.0", "", "4.1.x", "04.1.0", "4.1.0 ", "99999999999999999999.0.0", "\\u001b[2J"]
    {
        let text = format!(
            r#"{{"version":1,"nodes":[{},{{"version":"{bad}","payload":"{}"}}]}}"#,
            node("4.1.0"),
            payload("x")
        );
        let error = parse(&text).unwrap_err();
        assert!(matches!(error, GraphError::Version { node: 1, .. }), "{bad}: {error:?}");
        assert!(!error.to_string().contains('\u{1b}'), "{error}");
    }
    let long = "4.1.".repeat(10_000);
    let text = format!(r#"{{"version":1,"nodes":[{{"version":"{long}","payload":"x"}}]}}"#);
    assert!(parse(&text).unwrap_err().to_string().len() < 400);
    for bad in ["", "quay.io/x/y:4.1.0", "quay.io/x/y@sha256:12", "/etc/passwd", "sha256:x"] {
        let text = format!(r#"{{"version":1,"nodes":[{{"version":"4.1.0","payload":"{bad}"}}]}}"#);
        let error = parse(&text).unwrap_err();
        assert!(matches!(error, GraphError::Payload { .. }), "{bad}: {error:?}");
    }
}

#[test]
fn a_release_twice_is_one_or_an_error() {
    let text = format!(
        r#"{{"version":1,"nodes":[{0},{1},{0}],"edges":[[2,1],[0,1]]}}"#,
        node("4.1.0"),
        node("4.1.1")
    );
    let graph = parse(&text).unwrap();
    assert_eq!((graph.nodes().len(), graph.successors(0).len()), (2, 1));
    let other = format!(r#"{{"version":"4.1.0","payload":"{}"}}"#, payload("other"));
    let text = format!(r#"{{"version":1,"nodes":[{},{other}]}}"#, node("4.1.0"));
    assert!(matches!(parse(&text).unwrap_err(), GraphError::Duplicate { .. }));
}

#[test]
fn conditional_edges_keep_all_their_risks() {
    let graph = graph(
        &["4.1.0", "4.1.1", "4.1.2"],
        // Also among the others: its risk stays.
        &[("4.1.0", "4.1.1"), ("4.1.1", "4.1.2")],
        &[
            ("4.1.0", "4.1.1", "One"),
            ("4.1.0", "4.1.1", "Two"),
            ("4.1.0", "4.1.1", "One"),
            ("9.9.9", "4.1.1", "Stray"),
        ],
    );
    let names = |at: usize| -> Vec<&str> {
        graph.risks(&graph.successors(at)[0]).iter().map(|risk| risk.name.as_str()).collect()
    };
    assert_eq!((names(0), names(1)), (vec!["One", "Two"], vec![]));
    let weight = |names: &[&str]| {
        let passable =
            graph.passable(|risk| names.contains(&risk.name.as_str()), |risk| risk.name == "One");
        [0, 1].map(|at| passable.weight(&graph.successors(at)[0]))
    };
    assert_eq!(weight(&["One"]), [None, Some(0)]);
    assert_eq!(weight(&["One", "Two"]), [Some(1), Some(0)]);
    // A condition without a word about itself is one.
    let bare = format!(
        r#"{{"nodes":[{},{}],"version":1,"conditionalEdges":[{{"edges":[{{"from":"4.1.0","to":"4.1.1"}}]}}]}}"#,
        node("4.1.0"),
        node("4.1.1")
    );
    let bare = parse(&bare).unwrap();
    assert!(bare.is_conditional(&bare.successors(0)[0]));
    let passable = bare.passable(|risk| !risk.name.is_empty(), |_| false);
    assert_eq!(passable.weight(&bare.successors(0)[0]), None);
}

#[test]
fn what_is_too_much_is_not_read() {
    let nodes = vec![node("4.1.0"); NODES_MAX + 1].join(",");
    let error = parse(&format!(r#"{{"version":1,"nodes":[{nodes}]}}"#)).unwrap_err();
    assert!(matches!(error, GraphError::TooMany { what: "releases", .. }));
    let edges = vec!["[0,0]"; EDGES_MAX + 1].join(",");
    let error = parse(&format!(r#"{{"version":1,"nodes":[{}],"edges":[{edges}]}}"#, node("4.1.0")))
        .unwrap_err();
    assert!(matches!(error, GraphError::TooMany { what: "edges", .. }));
}

proptest::proptest! {
    #[test]
    fn whatever_comes_is_a_graph_or_an_error(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
        let _ = Graph::parse("stable-4.1", "amd64", &bytes);
    }

    #[test]
    fn a_damaged_graph_is_a_graph_or_an_error(at in 0usize..1000, byte in proptest::num::u8::ANY) {
        let mut bytes = document(&["4.1.0", "4.1.1", "4.1.2"], &[("4.1.0", "4.1.1")], &[("4.1.1", "4.1.2", "Risk")]);
        let at = at % bytes.len();
        bytes[at] = byte;
        let _ = Graph::parse("stable-4.1", "amd64", &bytes);
    }
}
