//! Any bytes as an update graph: a graph in which every way ends, or an error.
#![no_main]

use bundler::release::graph::Graph;
use bundler::release::path::{self, AcceptedRisks};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(graph) = Graph::parse("stable-4.18", "amd64", data) else { return };
    let Some(last) = graph.nodes().len().checked_sub(1) else { return };
    for risks in [AcceptedRisks::Nothing, AcceptedRisks::All] {
        if path::shortest(&graph, 0, last, &risks).is_none() {
            let _ = path::nearest(&graph, 0, last, &risks);
        }
    }
});
