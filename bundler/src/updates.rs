//! `bundle list updates`: what a create with a configuration would add now.
//!
//! In: the configuration and a look at the workspace ([`snapshot`](crate::snapshot)). Out: the releases that no earlier
//! sequence carried, what was switched on for those that were, the bundles of Operator catalogs and the charts that none carried,
//! and the names of additional images that are new or stand for something else by now. What must hold: update graphs and manifests are read,
//! blobs are not, but for layers of catalogs that the workspace does not keep; nothing is written. Therefore of a release only
//! the release image counts, of a bundle the name of its image, and of a chart its archive: what they need is read by a create.

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::Arc;

use format_spec::head::{ContentClass, Failure};
use format_spec::{Digest, Sequence, StreamId};
use registry::client::Client;
use registry::progress::Progress;
use registry::reference::Reference;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::catalog::carry;
use crate::catalog::news::CatalogNews;
use crate::config::{ImageSetConfig, ReleaseStanza};
use crate::create::{REQUESTS, Stream};
use crate::error::{CreateError, exit_bits, fit, reason};
use crate::helm::HelmOptions;
use crate::helm::asked::Asked;
use crate::helm::news::{self, NewChart};
use crate::history::{Known, Name};
use crate::origin::{Origins, Source};
use crate::plan::{self, Basis, Plan};
use crate::release::explain::{Chosen, Explanation, Travelled};
use crate::release::more::{self, Carried, More};
use crate::release::path::AcceptedRisks;
use crate::release::proven::Trust;
use crate::release::service::{Service, ServiceOptions};
use crate::release::{self, asked};
use crate::resolve::{self, Resolved, Rules};
use crate::snapshot::Snapshot;
use crate::wish;

/// Everything that it needs to know.
pub struct UpdatesOptions {
    /// What would be carried.
    pub config: ImageSetConfig,
    /// Where this stream's history is.
    pub workspace: PathBuf,
    /// Where update graphs are; what of them is kept is looked for in the workspace.
    pub service: ServiceOptions,
    /// The conditional edges that count.
    pub risks: AcceptedRisks,
    /// Whose signatures of releases count.
    pub trust: Trust,
    /// What is taken of every image.
    pub rules: Rules,
    /// The most path components of a repository at the target; 0 means no limit.
    pub max_nested_paths: usize,
    /// The way to the registries.
    pub client: Client,
    /// Counts for the person who waits.
    pub progress: Arc<Progress>,
    /// Ctrl-C.
    pub cancel: CancellationToken,
}

/// A release that no sequence carried.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NewRelease {
    /// Its version; none when it was named by its image.
    pub version: Option<String>,
    /// Its architecture, likewise.
    pub architecture: Option<String>,
    /// The release image, by digest.
    pub payload: String,
    /// The channels that it was chosen of.
    pub channels: Vec<String>,
    /// Why it would be carried.
    pub why: Vec<String>,
}

/// A name at the target that is new, or stands for something else by now.
#[derive(Debug, Clone, Serialize)]
pub struct NewName {
    /// Where it comes from.
    pub source: String,
    /// The name below the target's namespace.
    pub name: String,
    /// What it stands for at the source.
    pub digest: Digest,
    /// What an earlier sequence set it to; none when it is new.
    pub previous: Option<Digest>,
}

/// What a configuration would add.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Updates {
    /// The stream; none before its first sequence.
    pub stream: Option<StreamId>,
    /// Its last sequence.
    pub last_sequence: Option<Sequence>,
    /// The new releases.
    pub releases: Vec<NewRelease>,
    /// How many of the chosen releases earlier sequences carried.
    pub releases_known: usize,
    /// What those that were carried would get besides.
    pub more: Vec<More>,
    /// What each Operator catalog would add.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub catalogs: Vec<CatalogNews>,
    /// The Helm charts that are new or changed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub charts: Vec<NewChart>,
    /// The additional images that are new or changed, and what is attached to them.
    pub images: Vec<NewName>,
    /// Names of additional images that stand as they are.
    pub images_known: usize,
    /// Bytes of manifests and blobs that the names need and no sequence carried; those of releases are not counted.
    pub image_bytes: u64,
    /// What each channel gives for each architecture.
    pub channels: Vec<Explanation>,
    /// The ways over several channels.
    pub ways: Vec<Travelled>,
    /// What could not be had.
    pub failures: Vec<Failure>,
    /// What can be done about some of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hints: Vec<String>,
    /// What is left out because it is blocked: reference and pattern.
    pub blocked: Vec<(String, String)>,
    /// What a person should know.
    pub warnings: Vec<String>,
}

impl Updates {
    /// Whether a create would carry something of this.
    pub fn is_empty(&self) -> bool {
        let catalogs = self.catalogs.iter().all(CatalogNews::is_empty);
        let charts = self.charts.is_empty();
        self.releases.is_empty()
            && self.more.is_empty()
            && catalogs
            && charts
            && self.images.is_empty()
    }

    /// The exit-code bits of what could not be had.
    pub fn exit_bits(&self) -> u8 {
        exit_bits(&self.failures)
    }
}

/// Looks.
pub async fn updates(options: UpdatesOptions) -> Result<Updates, CreateError> {
    let cancel = options.cancel.clone();
    tokio::select! {
        found = look(options) => found,
        () = cancel.cancelled() => Err(CreateError::Cancelled),
    }
}

async fn look(options: UpdatesOptions) -> Result<Updates, CreateError> {
    let UpdatesOptions { config, workspace, rules, client, progress, .. } = &options;
    let snapshot = Snapshot::of(workspace)?;
    let Stream { history, .. } = Stream::open(config, snapshot.path(), client, progress).await?;
    let known = history.known(None)?;
    let origins = Origins::new(client.clone(), REQUESTS.max(rules.parallel));
    let mut noted = Resolved::default();
    let service =
        ServiceOptions { workspace: Some(snapshot.path().to_owned()), ..options.service.clone() };
    let (wanted, chosen) = match &config.platform {
        None => (Vec::new(), Chosen::default()),
        Some(stanza) => {
            let service = Service::new(client.clone(), service);
            releases(stanza, &service, &options.risks, &origins, &mut noted).await
        }
    };
    let carried = more::carried(known.resources());
    let (mut new, mut standing) = (Vec::new(), Vec::new());
    for (image, release) in wanted {
        let before = image.digest.and_then(|digest| carried.get(&digest));
        if let Some(pattern) = config.blocked_by(&release.payload) {
            noted.blocked.push((release.payload, pattern.pattern().to_owned()));
        } else if let Some(before) = before {
            standing.push((image, before));
        } else {
            new.push(release);
        }
    }
    let mut wishes = wish::additional(config, options.max_nested_paths)?;
    if let Some(stanza) = &config.platform {
        let again = |(image, before): &(Reference, &Carried)| {
            before.wish(image, stanza, options.max_nested_paths)
        };
        wishes.extend(standing.iter().filter_map(again));
    }
    let asked = carry::Asked {
        config,
        workspace: snapshot.path(),
        max_nested_paths: options.max_nested_paths,
        rebuild: false,
        progress,
    };
    let (mut catalogs, bundles) = carry::carry(&asked, &origins).await?;
    // Of releases it is not known here which images they consist of.
    let idle = config.platform.is_none().then(|| {
        let names = wishes.iter().chain(&bundles).map(|wish| &wish.name);
        resolve::idle_patterns(config, names.chain(catalogs.blocked()))
    });
    drop(bundles);
    let mut resolved = resolve::resolve(config, wishes, &origins, rules, &known).await?;
    resolved.warnings.splice(0..0, idle.into_iter().flatten());
    let asked = Asked {
        config,
        workspace: snapshot.path(),
        max_nested_paths: options.max_nested_paths,
        options: &HelmOptions::default(),
        client,
        progress,
    };
    let charts = news::news(&asked, &known, &mut resolved).await;
    let more = further(&options, &standing, &mut resolved, &known).await;
    catalogs.note(&mut resolved);
    let catalogs = catalogs.news(&known, &mut resolved);
    let Resolved { failures, causes, blocked, warnings, hints, .. } = noted;
    resolved.hints.extend(hints);
    resolved.failures.extend(failures);
    resolved.causes.extend(causes);
    resolved.blocked.extend(blocked);
    resolved.warnings.extend(warnings);
    if snapshot.unsettled {
        resolved.warnings.push(
            "a create was interrupted while it published: what it carries counts as not carried here, and the next \
             create settles it"
                .to_owned(),
        );
    }
    if resolved.images.is_empty()
        && new.is_empty()
        && standing.is_empty()
        && catalogs.is_empty()
        && charts.is_empty()
        && !resolved.failures.is_empty()
    {
        let hints = resolved.advice();
        let (failures, causes) = (resolved.failures, resolved.causes);
        return Err(CreateError::Content { failures, causes, hints });
    }
    let stream = history.stream();
    let plan = plan::make(
        &resolved,
        &Basis {
            stream: stream.unwrap_or(StreamId::from_bytes([0; 16])),
            sequence: Sequence::FIRST,
            known: &known,
            // What leaves the configuration is not looked at.
            standing: &Known::default(),
            part_bytes: format_spec::limits::PART_DEFAULT,
        },
    )?;
    let names: usize = resolved.images.iter().map(|image| image.names.len()).sum();
    let images = names_of(&plan, &known);
    let hints = resolved.advice();
    let mut warnings = resolved.warnings;
    warnings.extend(plan.warnings.iter().cloned());
    Ok(Updates {
        stream,
        last_sequence: history.last().map(|link| link.sequence),
        releases: new,
        releases_known: standing.len(),
        more,
        catalogs,
        charts,
        images_known: names.saturating_sub(images.len()),
        images,
        image_bytes: plan.bytes(),
        channels: chosen.channels,
        ways: chosen.ways,
        failures: resolved.failures,
        hints,
        blocked: resolved.blocked,
        warnings,
    })
}

/// What releases that were carried would get besides. Their images are taken out of what was resolved.
async fn further(
    options: &UpdatesOptions,
    standing: &[(Reference, &Carried)],
    resolved: &mut Resolved,
    known: &Known,
) -> Vec<More> {
    let Some(stanza) = &options.config.platform else { return Vec::new() };
    let images: Vec<_> =
        resolved.images.extract_if(.., |image| image.class == ContentClass::Release).collect();
    let mut all = Vec::new();
    for (_, before) in standing {
        let own = images.iter().filter(|image| image.destination.tag == *before.tag());
        all.extend(own.flat_map(|image| before.image(image, known)));
        all.extend(before.boot_images(stanza, known, options.max_nested_paths));
        match before.signature(&options.client, &options.trust).await {
            Ok(signature) => all.extend(signature),
            Err(why) => resolved.warnings.push(why),
        }
    }
    all.extend(more::graph(stanza, known.resources()));
    all
}

/// The releases that the configuration asks for, each with its image.
async fn releases(
    stanza: &ReleaseStanza,
    service: &Service,
    risks: &AcceptedRisks,
    origins: &Origins,
    resolved: &mut Resolved,
) -> (Vec<(Reference, NewRelease)>, Chosen) {
    if let Some(image) = &stanza.release {
        let source = Source::Registry(Cow::Borrowed(image));
        let wanted = match origins.image(&source).await {
            Ok(arrived) => vec![named(image, arrived.raw.digest)],
            Err(error) => {
                let (name, kind) = (image.to_string(), error.kind());
                let reason = fit(&reason(&error));
                resolved.fail(&name, ContentClass::Release, kind, reason);
                Vec::new()
            }
        };
        return (wanted, Chosen::default());
    }
    if stanza.channels.is_empty() {
        return (Vec::new(), Chosen::default());
    }
    let mut chosen = release::choose(stanza, service, risks).await;
    asked::note_channels(resolved, &chosen);
    resolved.warnings.append(&mut chosen.warnings);
    let wanted = chosen.payloads.iter().map(|payload| {
        let release = NewRelease {
            version: Some(payload.version.to_string()),
            architecture: Some(payload.architecture.clone()),
            payload: payload.payload.to_string(),
            channels: payload.channels.clone(),
            why: payload.why.clone(),
        };
        (payload.payload.clone(), release)
    });
    (wanted.collect(), chosen)
}

fn named(image: &Reference, digest: Digest) -> (Reference, NewRelease) {
    let by_digest = Reference { tag: None, digest: Some(digest), ..image.clone() };
    let release = NewRelease {
        version: None,
        architecture: None,
        payload: by_digest.to_string(),
        channels: Vec::new(),
        why: vec!["named by `release`".to_owned()],
    };
    (by_digest, release)
}

fn names_of(plan: &Plan, known: &Known) -> Vec<NewName> {
    let references = plan.index.references.iter();
    let told = references.map(|reference| {
        let repository = plan.index.repository(reference.repository);
        let name = Name::of(reference.tag.as_ref(), reference.digest);
        NewName {
            source: reference.source.clone(),
            name: plan::show(repository, reference.tag.as_ref(), &reference.digest),
            digest: reference.digest,
            previous: known.reference(repository, &name),
        }
    });
    told.collect()
}
