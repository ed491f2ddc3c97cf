//! A whole stanza against an update service of this machine.

use registry::reference::Reference;

use super::testing::{Cincinnati, document, entry, payload, real};
use super::*;
use crate::config::PlatformFilter;
use service::Kept;

fn stanza(channels: Vec<ReleaseChannel>) -> ReleaseStanza {
    ReleaseStanza {
        graph: false,
        channels,
        architectures: Vec::new(),
        platforms: Vec::new(),
        release: None,
        kubevirt_container: false,
        at: crate::config::Position { line: 1, column: 1 },
    }
}

fn versions(chosen: &Chosen) -> Vec<String> {
    chosen.payloads.iter().map(|payload| payload.version.to_string()).collect()
}

#[tokio::test]
async fn the_worked_example_with_its_way() {
    let server = Cincinnati::start();
    let names = ["7", "8", "9"].map(|n| format!("recorded/stable-4.{n}.amd64"));
    if !server.serve(&names.each_ref().map(String::as_str)) {
        return;
    }
    let service = server.service(None, Kept::Never);
    let stanza = stanza(vec![
        entry("stable-4.7", "4.7.30", "4.7.30"),
        entry("stable-4.8", "4.8.20", "4.8.20"),
        entry("stable-4.9", "4.9.53", "4.9.53"),
    ]);
    let chosen = choose(&stanza, &service, &AcceptedRisks::Nothing).await;
    assert_eq!(versions(&chosen), ["4.7.30", "4.7.60", "4.8.20", "4.8.54", "4.9.53"]);
    assert!(chosen.failures.is_empty() && chosen.warnings.is_empty(), "{chosen:?}");
    let over = &chosen.payloads[1];
    assert_eq!(over.channels, ["stable-4.7", "stable-4.8"]);
    assert_eq!(over.why, ["on the way from 4.7.30 to 4.9.53 over several channels"]);
    assert_eq!(chosen.payloads[0].why.len(), 2);
    let text = chosen.to_string();
    assert!(text.contains("stable-4.9 (amd64): 1 of 90, named"), "{text}");
    assert!(text.contains("  stable-4.8: 4.7.60 -> 4.8.54\n"), "{text}");
    let json = serde_json::to_value(&chosen).unwrap();
    assert_eq!(json["ways"][0]["steps"][1]["releases"][1], "4.8.54");
    assert_eq!(json["channels"][0]["leftOut"][0]["why"], "below 4.7.30");
    let nine = real("recorded/stable-4.9.amd64").unwrap();
    let node = &nine.nodes()[nine.find(&"4.9.53".parse().unwrap()).unwrap()];
    assert_eq!(json["releases"][4]["payload"], node.payload.to_string());
    assert_eq!(server.asked.lock().unwrap().len(), 3);
}

#[tokio::test]
async fn each_architecture_is_asked_for_and_platforms_mean_all() {
    let server = Cincinnati::start();
    for architecture in ["amd64", "s390x", "multi"] {
        let body = document(&["4.1.0"], &[], &[]);
        let body = String::from_utf8(body).unwrap();
        // Payloads of architectures differ.
        let own = body.replace(&payload("4.1.0"), &payload(architecture));
        server.answer(&format!("{architecture}/stable-4.1"), 200, own);
    }
    let service = server.service(None, Kept::Never);
    let mut stanza = stanza(vec![entry("stable-4.1", "-", "-")]);
    stanza.architectures = vec!["s390x".into(), "amd64".into(), "arm64".into()];
    let chosen = choose(&stanza, &service, &AcceptedRisks::Nothing).await;
    let found: Vec<&str> = chosen.payloads.iter().map(|one| one.architecture.as_str()).collect();
    assert_eq!(found, ["amd64", "s390x"]);
    assert_eq!(chosen.payloads[0].payload, payload("amd64").parse::<Reference>().unwrap());
    assert_eq!((chosen.failures.len(), chosen.failures[0].architecture.as_str()), (1, "arm64"));
    stanza.architectures.clear();
    let platform = PlatformFilter { os: "linux".into(), architecture: "arm64".into() };
    stanza.platforms = vec![platform];
    let chosen = choose(&stanza, &service, &AcceptedRisks::Nothing).await;
    assert_eq!(chosen.payloads[0].architecture, "multi");
    stanza.release = Some(payload("x").parse().unwrap());
    let chosen = choose(&stanza, &service, &AcceptedRisks::Nothing).await;
    assert_eq!(chosen, Chosen::default());
}

#[tokio::test]
async fn a_channel_that_fails_stops_no_other() {
    let server = Cincinnati::start();
    server.answer("amd64/stable-4.1", 200, document(&["4.1.0"], &[], &[]));
    server.answer("amd64/stable-4.2", 200, "<html>");
    let mut other = document(&["4.3.0"], &[], &[]);
    other = String::from_utf8(other).unwrap().replace("\"metadata\":{}", r#""metadata":{"io.openshift.upgrades.graph.release.channels":"candidate-4.3,fast-4.3,candidate-4.4"}"#).into_bytes();
    server.answer("amd64/candidate-4.3", 200, other);
    let service = server.service(None, Kept::Never);
    let names = ["stable-4.1", "stable-4.2", "stable-4.3", "Bad"];
    let stanza = stanza(names.map(|name| entry(name, "-", "-")).to_vec());
    let chosen = choose(&stanza, &service, &AcceptedRisks::Nothing).await;
    assert_eq!(versions(&chosen), ["4.1.0"]);
    let failed: Vec<&str> = chosen.failures.iter().map(|f| f.channel.as_str()).collect();
    assert_eq!(failed, ["stable-4.2", "stable-4.3", "Bad"]);
    // What there is of the minor release is named.
    let hint = &chosen.failures[1].hints[0];
    assert_eq!(hint, "channels that it has for amd64: `candidate-4.3`, `fast-4.3`");
    assert!(chosen.failures.iter().all(|failure| !failure.hints.is_empty()));
    // Of the one before, when there is nothing of it.
    let names = neighbours(&service, "stable-4.5", "amd64").await;
    assert_eq!(names, Vec::<String>::new());
    assert_eq!(neighbours(&service, "stable-4.4", "amd64").await, ["candidate-4.3", "fast-4.3"]);
}

#[tokio::test]
async fn okd_is_another_service_and_takes_no_part_in_ways() {
    let server = Cincinnati::start();
    server.answer(
        "amd64/stable-4.1",
        200,
        document(&["4.1.0", "4.1.1"], &[("4.1.0", "4.1.1")], &[]),
    );
    server.answer("amd64/stable-4", 200, document(&["4.9.0-0.okd-2022-01-01-000000"], &[], &[]));
    let service = server.service(None, Kept::Never);
    let mut okd = entry("stable-4", "-", "-");
    okd.okd = true;
    let stanza = stanza(vec![entry("stable-4.1", "4.1.0", "4.1.0"), okd]);
    let chosen = choose(&stanza, &service, &AcceptedRisks::Nothing).await;
    assert_eq!(versions(&chosen), ["4.1.0", "4.9.0-0.okd-2022-01-01-000000"]);
    assert!(chosen.ways.is_empty() && chosen.warnings.is_empty(), "{chosen:?}");
}

#[tokio::test]
async fn a_thousand_channels_are_asked_for_and_a_risk_that_nobody_knows_is_told() {
    let server = Cincinnati::start();
    for number in 0..1000 {
        server.answer(&format!("amd64/c{number}"), 200, document(&["4.1.0"], &[], &[]));
    }
    let service = server.service(None, Kept::Never);
    let stanza = stanza((0..1000).map(|number| entry(&format!("c{number}"), "-", "-")).collect());
    let risks = AcceptedRisks::named(["Misspelt".to_owned()]);
    let chosen = choose(&stanza, &service, &risks).await;
    assert_eq!((chosen.payloads.len(), chosen.channels.len(), chosen.failures.len()), (1, 1000, 0));
    assert_eq!(chosen.payloads[0].channels.len(), 1000);
    assert!(chosen.warnings[0].contains("`--accept-risks Misspelt`"), "{:?}", chosen.warnings);
    assert_eq!(server.asked.lock().unwrap().len(), 1000);
}

/// All releases from 4.10 to 4.18, of real graphs, as one channel would have them.
fn joined() -> Option<Vec<u8>> {
    use serde_json::{Value, json};
    let mut places: HashMap<String, usize> = HashMap::new();
    let (mut nodes, mut edges, mut conditional) = (Vec::new(), Vec::new(), Vec::new());
    for name in ["eus-4.12", "eus-4.14", "eus-4.16", "candidate-4.18"] {
        let path = super::testing::data(&format!("cincinnati/assembled-modern/{name}.amd64.json"))?;
        let mut document: Value = serde_json::from_slice(&fs_err::read(path).unwrap()).unwrap();
        let own: Vec<usize> = document["nodes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|node| {
                *places.entry(node["version"].to_string()).or_insert_with(|| {
                    nodes.push(node.clone());
                    nodes.len() - 1
                })
            })
            .collect();
        let pairs: Vec<[usize; 2]> = serde_json::from_value(document["edges"].take()).unwrap();
        edges.extend(pairs.iter().map(|pair| pair.map(|at| own[at])));
        conditional.extend(document["conditionalEdges"].as_array().unwrap().iter().cloned());
    }
    let all =
        json!({"version": 1, "nodes": nodes, "edges": edges, "conditionalEdges": conditional});
    Some(serde_json::to_vec(&all).unwrap())
}

/// `cargo test --workspace --lib release::tests::how_long -- --nocapture` says how long it takes; a figure for people.
#[test]
fn how_long_the_largest_graphs_take() {
    use std::time::Instant;
    let real = |name: &str| {
        let path = super::testing::data(&format!("cincinnati/assembled-modern/{name}.amd64.json"))?;
        Some(fs_err::read(path).unwrap())
    };
    let largest = [
        ("candidate-4.18", real("candidate-4.18")),
        ("eus-4.14", real("eus-4.14")),
        ("all of 4.10 to 4.18", joined()),
    ];
    for (name, bytes) in largest {
        let Some(bytes) = bytes else { return };
        let begin = Instant::now();
        let graph = Graph::parse("eus-4.14", "amd64", &bytes).unwrap();
        let read = begin.elapsed();
        let count = graph.nodes().len();
        let [first, last] = [0, count - 1].map(|at| graph.version(at).to_string());
        let entry = ReleaseChannel { shortest_path: true, ..entry("eus-4.14", &first, &last) };
        let begin = Instant::now();
        let selection = choose::select(&entry, &graph, &AcceptedRisks::All).unwrap();
        let explained = Explanation::of(&graph, &selection).to_string();
        println!(
            "{name}: {count} releases, {} KiB: read in {read:?}, path found and explained in {:?}",
            bytes.len() / 1024,
            begin.elapsed()
        );
        assert!(explained.contains(" -> "), "{explained}");
    }
}
