//! Ways through graphs, made and real.

use proptest::prelude::*;

use super::super::testing::{graph, real, version};
use super::*;

fn found(graph: &Graph, from: &str, to: &str, risks: &AcceptedRisks) -> Option<Vec<String>> {
    let place = |text: &str| graph.find(&version(text)).unwrap();
    let path = shortest(graph, place(from), place(to), risks)?;
    Some(path.nodes.iter().map(|at| graph.version(*at).to_string()).collect())
}

#[test]
fn of_paths_of_one_length_that_over_the_highest_versions_is_taken() {
    let graph = graph(
        &["4.1.0", "4.1.1", "4.1.2", "4.1.3", "4.1.4"],
        &[
            ("4.1.0", "4.1.1"),
            ("4.1.0", "4.1.2"),
            ("4.1.0", "4.1.3"),
            ("4.1.1", "4.1.4"),
            ("4.1.2", "4.1.4"),
            ("4.1.3", "4.1.2"),
            // A circle, and a step to itself.
            ("4.1.4", "4.1.0"),
            ("4.1.1", "4.1.1"),
        ],
        &[],
    );
    let path = found(&graph, "4.1.0", "4.1.4", &AcceptedRisks::Nothing).unwrap();
    assert_eq!(path, ["4.1.0", "4.1.2", "4.1.4"]);
    assert_eq!(found(&graph, "4.1.2", "4.1.2", &AcceptedRisks::Nothing).unwrap(), ["4.1.2"]);
    assert_eq!(found(&graph, "4.1.4", "4.1.3", &AcceptedRisks::Nothing).unwrap().len(), 3);
}

#[test]
fn risks_are_taken_only_when_accepted_and_only_where_they_shorten_the_way() {
    let graph = graph(
        &["4.1.0", "4.1.1", "4.1.2", "4.1.3"],
        &[("4.1.0", "4.1.1"), ("4.1.1", "4.1.2")],
        &[("4.1.0", "4.1.2", "Far"), ("4.1.2", "4.1.3", "Near"), ("4.1.0", "4.1.1", "Same")],
    );
    let only = |name: &str| AcceptedRisks::named([name.to_owned()]);
    assert_eq!(found(&graph, "4.1.0", "4.1.3", &AcceptedRisks::Nothing), None);
    assert_eq!(found(&graph, "4.1.0", "4.1.3", &only("Near")), None);
    let both = AcceptedRisks::named(["Near".to_owned(), "Far".to_owned()]);
    assert_eq!(found(&graph, "4.1.0", "4.1.3", &both).unwrap(), ["4.1.0", "4.1.2", "4.1.3"]);
    let path = shortest(&graph, 0, 3, &AcceptedRisks::All).unwrap();
    let names: Vec<_> = path.crossings.iter().map(|c| c.risks[0].name.as_str()).collect();
    assert_eq!(names, ["Far", "Near"]);
    assert_eq!(path.crossings[1].risks[0].url, "https://risks.example.com/Near");
    let none = nearest(&graph, 0, 3, &only("Far"));
    assert_eq!(none.opening.iter().map(|risk| risk.name.as_str()).collect::<Vec<_>>(), ["Near"]);
    assert_eq!(none.targets, [version("4.1.2")]);
    assert_eq!(none.sources, []);
}

#[test]
fn among_paths_of_one_length_that_with_the_fewest_risks_is_taken() {
    let versions = ["4.1.0", "4.1.1", "4.1.2", "4.1.3", "4.1.4"];
    let graph = graph(
        &versions,
        &[("4.1.0", "4.1.1"), ("4.1.0", "4.1.2"), ("4.1.3", "4.1.4")],
        &[
            ("4.1.0", "4.1.3", "A"),
            ("4.1.0", "4.1.3", "B"),
            ("4.1.2", "4.1.4", "C"),
            ("4.1.1", "4.1.4", "A"),
        ],
    );
    let over = |path: &[String]| path[1].clone();
    assert_eq!(over(&found(&graph, "4.1.0", "4.1.4", &AcceptedRisks::All).unwrap()), "4.1.2");
    // What opens a way is counted without what is accepted already.
    let none = nearest(&graph, 0, 4, &AcceptedRisks::named(["B".to_owned()]));
    assert_eq!(none.opening.len(), 1);
    let accepted = AcceptedRisks::named(["A".to_owned(), "B".to_owned()]);
    assert_eq!(over(&found(&graph, "4.1.0", "4.1.4", &accepted).unwrap()), "4.1.1");
}

#[test]
fn a_real_path_that_only_risks_open_names_them() {
    let Some(graph) = real("recorded/stable-4.7.amd64") else { return };
    assert_eq!(found(&graph, "4.6.16", "4.7.4", &AcceptedRisks::Nothing), None);
    let ends = ["4.6.16", "4.7.4"].map(|text| graph.find(&version(text)).unwrap());
    let none = nearest(&graph, ends[0], ends[1], &AcceptedRisks::Nothing);
    let names: Vec<&str> = none.opening.iter().map(|risk| risk.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "VSphereNodeNameChanges",
            "AuthOAuthProxyLeakedConnections",
            "VSphereHW14CrossNodeNetworkingError"
        ]
    );
    assert_eq!(found(&graph, "4.6.16", "4.7.4", &AcceptedRisks::All).unwrap(), ["4.6.16", "4.7.4"]);
    assert!(!none.targets.is_empty());
}

/// Edges of a graph of so many releases, every fourth of them with the risk `R`.
fn random() -> impl Strategy<Value = (usize, Vec<(usize, usize, bool)>)> {
    (2usize..12).prop_flat_map(|count| {
        let edge = (0..count, 0..count, prop::bool::weighted(0.25));
        (Just(count), prop::collection::vec(edge, 0..40))
    })
}

proptest! {
    #[test]
    fn a_path_is_one_and_no_shorter_exists((count, edges) in random(), accept in any::<bool>()) {
        let names: Vec<String> = (0..count).map(|patch| format!("4.1.{patch}")).collect();
        let versions: Vec<&str> = names.iter().map(String::as_str).collect();
        let pick = |risky: bool| edges.iter().filter(move |edge| edge.2 == risky);
        let plain: Vec<_> = pick(false).map(|e| (versions[e.0], versions[e.1])).collect();
        let risky: Vec<_> = pick(true).map(|e| (versions[e.0], versions[e.1], "R")).collect();
        let graph = graph(&versions, &plain, &risky);
        let risks = if accept { AcceptedRisks::All } else { AcceptedRisks::Nothing };
        // What may be gone, said anew: a risk stays with its edge.
        let risky = |from: usize, to: usize| edges.contains(&(from, to, true));
        let open = |from: usize, to: usize| {
            risky(from, to) && accept || edges.contains(&(from, to, false)) && !risky(from, to)
        };
        // Distances by relaxing every pair as often as there are releases.
        let far = count + 1;
        for from in 0..count {
            let mut distance = vec![far; count];
            distance[from] = 0;
            for _ in 0..count {
                for a in 0..count {
                    for b in 0..count {
                        if open(a, b) && distance[a] + 1 < distance[b] {
                            distance[b] = distance[a] + 1;
                        }
                    }
                }
            }
            for (to, far_off) in distance.iter().copied().enumerate() {
                match shortest(&graph, from, to, &risks) {
                    None => prop_assert_eq!(far_off, far),
                    Some(path) => {
                        prop_assert_eq!(path.nodes.len(), far_off + 1);
                        prop_assert_eq!((path.nodes[0], path.nodes[path.nodes.len() - 1]), (from, to));
                        prop_assert!(path.nodes.windows(2).all(|step| open(step[0], step[1])));
                        let crossed = path.nodes.windows(2).filter(|step| risky(step[0], step[1]));
                        prop_assert_eq!(crossed.count(), path.crossings.len());
                    }
                }
                prop_assert_eq!(reachable(&graph, from, &risks)[to], far_off != far);
                let target: Vec<bool> = (0..count).map(|at| at == to).collect();
                prop_assert_eq!(reaching(&graph, &target, &risks)[from], far_off != far);
            }
        }
    }
}
