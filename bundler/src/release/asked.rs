//! What a configuration asks for of releases, on the way of a create.
//!
//! In: the stanza, and what stands beside it in the options. Out: wishes, and what could not be had as failures. What must
//! hold: a channel or release that fails stops no other content.

use format_spec::head::ContentClass;

use super::carry::{self, Carried, Missed, Wanted};
use super::explain::Chosen;
use super::graph_image::{self, GraphImageError, GraphOptions};
use super::path::AcceptedRisks;
use super::proven::Trust;
use super::service::{Service, ServiceOptions};
use super::whole;
use crate::create::CreateOptions;
use crate::error::fit;
use crate::origin::Origins;
use crate::resolve::Resolved;
use crate::wish::Wish;

/// What a configuration does not say about releases.
pub struct ReleaseOptions {
    /// Where update graphs are.
    pub service: ServiceOptions,
    /// The conditional edges that count.
    pub risks: AcceptedRisks,
    /// Whose signatures count.
    pub trust: Trust,
    /// What the graph image is made of.
    pub graph: GraphOptions,
}

/// The releases that the configuration asks for, and why those.
pub(crate) async fn releases<'a>(
    options: &'a CreateOptions,
    origins: &Origins,
) -> (Carried<'a>, Chosen) {
    let mut chosen = Chosen::default();
    let Some(stanza) = &options.config.platform else { return (Carried::default(), chosen) };
    let (client, trust) = (&options.client, &options.releases.trust);
    let mut wanted: Vec<Wanted> = Vec::new();
    if let Some(image) = &stanza.release {
        wanted.push(Wanted { image: image.clone(), channels: Vec::new(), okd: false, said: None });
    } else if !stanza.channels.is_empty() {
        options.progress.phase("asking for update graphs");
        let service = Service::new(client.clone(), options.releases.service.clone());
        chosen = super::choose(stanza, &service, &options.releases.risks).await;
        wanted.extend(chosen.payloads.iter().map(|payload| Wanted {
            image: payload.payload.clone(),
            channels: payload.channels.clone(),
            okd: payload.okd,
            said: Some((payload.version.clone(), payload.architecture.clone())),
        }));
    }
    if wanted.is_empty() {
        return (Carried::default(), chosen);
    }
    options.progress.phase("reading releases");
    let nested = options.max_nested_paths;
    (carry::carry(origins, client, &wanted, stanza, trust, nested).await, chosen)
}

/// The graph image, when the configuration asks for it.
pub(crate) async fn graph(
    options: &CreateOptions,
    origins: &Origins,
) -> Result<Option<Wish<'static>>, GraphImageError> {
    let Some(stanza) = options.config.platform.as_ref().filter(|stanza| stanza.graph) else {
        return Ok(None);
    };
    options.progress.phase("making the graph image");
    let ReleaseOptions { service, graph, .. } = &options.releases;
    let (workspace, nested) = (&options.workspace, options.max_nested_paths);
    graph_image::make(&options.client, origins, graph, &service.ocp, stanza, workspace, nested)
        .await
        .map(Some)
}

/// Notes channels and releases that cannot be had, and what there is to be told of them.
pub(crate) fn note(
    resolved: &mut Resolved,
    carried: Carried<'_>,
    chosen: Chosen,
) -> Vec<whole::Release> {
    note_channels(resolved, &chosen);
    for Missed { name, kind, reason, hints } in carried.failures {
        resolved.fail(&name, ContentClass::Release, kind, reason);
        resolved.advise(&name, hints);
    }
    resolved.warnings.extend(chosen.warnings.iter().cloned());
    resolved.warnings.extend(carried.warnings);
    resolved.chosen = chosen;
    carried.releases
}

/// Notes the channels that cannot be had.
pub(crate) fn note_channels(resolved: &mut Resolved, chosen: &Chosen) {
    for failure in &chosen.failures {
        let name = format!("{} ({})", failure.channel, failure.architecture);
        resolved.fail(&name, ContentClass::Release, failure.wire, fit(&failure.reason));
        resolved.advise(&name, failure.hints.iter().cloned());
    }
}
