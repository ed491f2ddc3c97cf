//! `mirror.platform`: which releases are carried, and why; what each consists of and who signed it.
//!
//! 1. [`service`] asks the update service for the graphs of channels; [`graph`] reads them.
//! 2. [`mod@choose`] takes the versions that one entry asks for, [`path`] finds ways through one graph, [`hops`] the
//!    way over several channels; [`gaps`] says where what was chosen cannot be walked, [`explain`] what came of it.
//! 3. [`store`] fetches the signatures of a payload, [`signature`] verifies them with [`openpgp`] and the keys of [`keys`].
//! 4. [`payload`] reads what a payload consists of out of its layers (`layer`, `tarball`), [`references`] understands it.
//! 5. [`carry`] makes wishes of all that; [`whole`] sees to it that a release is carried whole or not at all.
//!
//! [`asked`] is what a create calls; [`more`] says what a configuration would add to releases that were carried. Beside it [`graph_data`] and [`graph_image`] make the image that an update service reads the graph's data from.
//!
//! In: the stanza of the configuration. Out: payloads by digest, each with the reason why it is in, and for each
//! channel why a version is not. What must hold: only `service`, `store`, `payload` and `graph_image` ask the network; everything that decides works on
//! bytes alone; a channel that fails stops no other one.

pub mod asked;
pub mod carry;
pub mod choose;
pub mod config_map;
pub mod explain;
pub mod extract;
pub mod fault;
pub mod gaps;
pub mod graph;
pub mod graph_data;
pub mod graph_image;
pub mod hops;
pub mod image;
pub mod keys;
pub mod layer;
pub mod limits;
pub mod mirror;
pub mod mirror_sets;
pub mod more;
pub mod named;
pub mod openpgp;
pub mod path;
pub mod payload;
pub mod proven;
pub mod references;
pub mod service;
pub mod signature;
pub mod store;
pub mod tarball;
pub mod whole;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use format_spec::Digest;
use futures_util::future::join_all;
pub use semver::Version;

use crate::config::{ReleaseChannel, ReleaseStanza};
use explain::{ChannelFailure, Chosen, Explanation, Payload, Travelled};
use fault::{ChannelName, ReleaseError};
use graph::{Graph, Node};
use hops::{Bounds, Journey};
use path::AcceptedRisks;
use service::{Fetched, Service};

/// Everything that the channels of a stanza ask for. Each channel that fails is told; the others count.
pub async fn choose(stanza: &ReleaseStanza, service: &Service, risks: &AcceptedRisks) -> Chosen {
    let mut chosen = Chosen::default();
    if stanza.release.is_some() {
        // One payload is named, which overrides the channels.
        return chosen;
    }
    let architectures = architectures(stanza);
    // All at once, so that no answer waits for the one before; the service bounds how many are under way.
    let asked = architectures.iter().flat_map(|architecture| {
        let channels = stanza.channels.iter();
        channels.map(move |entry| service.graph(&entry.name, architecture, entry.okd))
    });
    let answers = join_all(asked).await;
    chosen.warnings.extend(unknown_risks(risks, answers.iter().flatten()));
    let mut payloads = Payloads::new();
    for architecture in &architectures {
        let mut work = Work { architecture, service, risks, payloads: &mut payloads };
        let explained = work.channels(&stanza.channels, &mut chosen).await;
        work.travel(&explained, &mut chosen).await;
    }
    let known = chosen.warnings.clone();
    let mut place = 0..;
    chosen.warnings.retain(|warning| {
        let at = place.next().unwrap_or_default();
        !known[..at].contains(warning)
    });
    chosen.payloads = payloads.into_values().collect();
    chosen.payloads.sort_by(|a, b| {
        a.version.cmp(&b.version).then_with(|| a.architecture.cmp(&b.architecture))
    });
    chosen
}

/// What the update service is asked for.
pub fn architectures(stanza: &ReleaseStanza) -> Vec<String> {
    if !stanza.platforms.is_empty() {
        return vec!["multi".to_owned()];
    }
    if stanza.architectures.is_empty() {
        return vec!["amd64".to_owned()];
    }
    stanza.architectures.clone()
}

/// A word about each accepted risk that no update carries: a name that is misspelt accepts nothing.
fn unknown_risks<'a>(
    risks: &AcceptedRisks,
    answers: impl Iterator<Item = &'a Arc<Fetched>>,
) -> Vec<String> {
    let AcceptedRisks::Named(names) = risks else { return Vec::new() };
    let mut unknown: Vec<&String> = names.iter().collect();
    for fetched in answers {
        unknown.retain(|name| !fetched.graph.all_risks().iter().any(|risk| risk.name == **name));
    }
    let told = unknown.into_iter().map(|name| {
        format!("`--accept-risks {name}`: no update in the channels that were asked for carries a risk of this name")
    });
    told.collect()
}

/// The payloads so far, by digest and architecture. What is one payload is one release.
type Payloads = HashMap<(Option<Digest>, String), Payload>;

/// What is done for one architecture.
struct Work<'a> {
    architecture: &'a str,
    service: &'a Service,
    risks: &'a AcceptedRisks,
    payloads: &'a mut Payloads,
}

impl Work<'_> {
    /// Each channel by itself. What was chosen of OpenShift's is the answer.
    async fn channels(
        &mut self,
        channels: &[ReleaseChannel],
        chosen: &mut Chosen,
    ) -> Vec<Explanation> {
        let mut explained: Vec<Explanation> = Vec::new();
        for entry in channels {
            match self.channel(entry, chosen).await {
                Ok(explanation) => {
                    if !entry.okd {
                        explained.push(explanation.clone());
                    }
                    chosen.channels.push(explanation);
                }
                Err(error) => {
                    let failure = ChannelFailure::of(&entry.name, self.architecture, &error);
                    chosen.failures.push(failure);
                }
            }
        }
        explained
    }

    async fn channel(
        &mut self,
        entry: &ReleaseChannel,
        chosen: &mut Chosen,
    ) -> Result<Explanation, Arc<ReleaseError>> {
        let fetched = self.service.graph(&entry.name, self.architecture, entry.okd).await?;
        chosen.warnings.extend(fetched.warning.clone());
        let graph = &fetched.graph;
        let selection = match choose::select(entry, graph, self.risks) {
            Ok(selection) => selection,
            Err(ReleaseError::Empty { channel, architecture, .. }) if !entry.okd => {
                let known = neighbours(self.service, &channel, &architecture).await;
                return Err(Arc::new(ReleaseError::Empty { channel, architecture, known }));
            }
            Err(error) => return Err(Arc::new(error)),
        };
        chosen.warnings.extend(selection.warnings.iter().cloned());
        let why = selection.why().to_string();
        for at in &selection.chosen {
            self.add(graph, &graph.nodes()[*at], &why).okd |= entry.okd;
        }
        let mut explanation = Explanation::of(graph, &selection);
        explanation.kept_seconds = fetched.age.map(|age| age.as_secs());
        Ok(explanation)
    }

    /// The way over several channels, when the ends are in different ones.
    async fn travel(&mut self, explained: &[Explanation], chosen: &mut Chosen) {
        let bounds = explained.iter().filter_map(|explained| {
            let min = explained.chosen.iter().min()?;
            let max = explained.chosen.iter().max()?;
            Some(Bounds { channel: &explained.channel, min, max })
        });
        let journey = match hops::journey(&bounds.collect::<Vec<_>>()) {
            Ok(Some(journey)) => journey,
            Ok(None) => return,
            Err(why) => {
                chosen.warnings.push(why);
                return;
            }
        };
        let fetched = self.legs(&journey, chosen).await;
        let graphs: Vec<Option<&Graph>> =
            fetched.iter().map(|fetched| fetched.as_ref().map(|fetched| &fetched.graph)).collect();
        let way = journey.walk(&graphs, self.risks);
        let (from, to) = (journey.from, journey.to);
        let why = choose::Why::Hop { from: from.clone(), to: to.clone() }.to_string();
        for step in &way.steps {
            let graph = graphs.iter().flatten().find(|graph| graph.channel == step.channel);
            let Some(graph) = graph else { continue };
            for at in step.releases.iter().filter_map(|version| graph.find(version)) {
                self.add(graph, &graph.nodes()[at], &why);
            }
        }
        chosen.warnings.extend(way.warnings.iter().cloned());
        chosen.warnings.extend(way.blocked.clone());
        chosen.ways.push(Travelled { architecture: self.architecture.to_owned(), from, to, way });
    }

    /// The graphs of the channels on the way; `None` is one that could not be had.
    async fn legs(&self, journey: &Journey, chosen: &mut Chosen) -> Vec<Option<Arc<Fetched>>> {
        let asked =
            journey.legs.iter().map(|leg| self.service.graph(leg, self.architecture, false));
        let mut fetched: Vec<Option<Arc<Fetched>>> = Vec::new();
        for (leg, answer) in journey.legs.iter().zip(join_all(asked).await) {
            match answer {
                Ok(answer) => {
                    chosen.warnings.extend(answer.warning.clone());
                    fetched.push((!answer.graph.nodes().is_empty()).then_some(answer));
                }
                Err(error) => {
                    let failure = ChannelFailure::of(leg, self.architecture, &error);
                    if !chosen.failures.contains(&failure) {
                        chosen.failures.push(failure);
                    }
                    fetched.push(None);
                }
            }
        }
        fetched
    }

    /// Adds a release, or one more reason for it.
    fn add(&mut self, graph: &Graph, node: &Node, why: &str) -> &mut Payload {
        let key = (node.payload.digest, self.architecture.to_owned());
        let payload = self.payloads.entry(key).or_insert_with(|| Payload {
            version: node.version.clone(),
            architecture: self.architecture.to_owned(),
            payload: node.payload.clone(),
            channels: Vec::new(),
            why: Vec::new(),
            okd: false,
        });
        if !payload.channels.contains(&graph.channel) {
            payload.channels.push(graph.channel.clone());
        }
        if !payload.why.iter().any(|told| told == why) {
            payload.why.push(why.to_owned());
        }
        payload
    }
}

/// The channels of a minor release that the update service has, as the releases of its usual channels say.
pub async fn channels_of(
    service: &Service,
    (major, minor): (u32, u32),
    architecture: &str,
) -> Result<Vec<String>, Arc<ReleaseError>> {
    let asked = ["candidate", "stable"].map(|prefix| format!("{prefix}-{major}.{minor}"));
    let answers = asked.iter().map(|channel| service.graph(channel, architecture, false));
    let mut names = BTreeSet::new();
    for answer in join_all(answers).await {
        let graph = &answer?.graph;
        if !graph.nodes().is_empty() {
            names.insert(graph.channel.clone());
        }
        let of_minor = |name: &&String| {
            ChannelName::of(name).is_some_and(|name| (name.major, name.minor) == (major, minor))
        };
        let said = graph.nodes().iter().flat_map(|node| &node.channels);
        names.extend(said.filter(of_minor).cloned());
    }
    Ok(names.into_iter().collect())
}

/// The channels that there are instead of one that has no release: those of its minor release, or of the one before. None
/// when that cannot be said.
pub async fn neighbours(service: &Service, channel: &str, architecture: &str) -> Vec<String> {
    let Some(name) = ChannelName::of(channel) else { return Vec::new() };
    let mut known = Vec::new();
    for minor in (name.minor.saturating_sub(1)..=name.minor).rev() {
        if known.is_empty() {
            let of_minor = channels_of(service, (name.major, minor), architecture).await;
            known = of_minor.unwrap_or_default();
        }
    }
    known
}

#[cfg(test)]
pub(crate) mod layer_testing;
#[cfg(test)]
mod platform_tests;
#[cfg(test)]
mod test_key;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
