//! `bundle create`, from top to bottom.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use format_spec::head::{Head, Kind};
use format_spec::keys::SecretKey;
use format_spec::{Digest, Sequence, StreamId};
use registry::client::Client;
use registry::lasting;
use registry::progress::Progress;
use tokio_util::sync::CancellationToken;

use crate::catalog::settle::Means;
use crate::config::ImageSetConfig;
use crate::dry_run::dry_run;
use crate::durable;
use crate::error::{CreateError, fit};
use crate::fetch::{self, FetchError};
use crate::finding::{self, Found};
use crate::helm::HelmOptions;
use crate::history::{History, Known};
use crate::origin::{Loss, OriginError, Origins};
use crate::plan::{self, Basis, Plan};
use crate::policy::Policy;
use crate::publish::{self, Published, Statement};
use crate::read_back::ReadBack;
use crate::release::asked::ReleaseOptions;
use crate::release::explain::Chosen;
use crate::release::{graph_image, whole};
use crate::remote_history::RemoteHistory;
use crate::report::{Created, File, Summary, Written};
use crate::resolve::{Resolved, Rules};
use crate::slots::Slots;
use crate::space::{self, drop_liars};
use crate::straight::Straight;

/// Manifests asked for at a time, those that are attached to images among them: on a line with a long way, waiting is what
/// takes the time.
pub(crate) const REQUESTS: usize = 32;

/// Who has the keys that sign. They are asked for when a sequence is about to be written: a run with nothing to
/// carry needs none, and must not make one.
pub trait Signers: Send + Sync {
    /// The keys; `None` when they cannot be had. Asked again, they are the same.
    fn keys(&self) -> Option<&[SecretKey]>;
}

impl Signers for Vec<SecretKey> {
    fn keys(&self) -> Option<&[SecretKey]> {
        Some(self)
    }
}

/// Everything that a create needs to know.
pub struct CreateOptions {
    /// What to carry.
    pub config: ImageSetConfig,
    /// Lists, mapping files, directories and archives with more images.
    pub images: Vec<PathBuf>,
    /// Where this stream's history is.
    pub workspace: PathBuf,
    /// The directory that receives the sequence.
    pub to: PathBuf,
    /// The keys that sign.
    pub keys: Arc<dyn Signers>,
    /// The most bytes of a part.
    pub part_bytes: u64,
    /// Carry everything, whatever earlier sequences carried.
    pub full: bool,
    /// Count only what sequences up to this one carried.
    pub since: Option<Sequence>,
    /// Fail when anything cannot be had.
    pub strict: bool,
    /// Leave signatures, attestations and referrers behind.
    pub remove_signatures: bool,
    /// Carry foreign layers.
    pub foreign_layers: bool,
    /// The most path components of a repository at the target; 0 means no limit.
    pub max_nested_paths: usize,
    /// Only say what would be done.
    pub dry_run: bool,
    /// Images resolved at a time.
    pub parallel_images: usize,
    /// Blobs fetched at a time.
    pub parallel_blobs: usize,
    /// Write `SHA256SUMS` too.
    pub sums: bool,
    /// Read the medium again before the sequence is published.
    pub read_back: bool,
    /// Free text for the head.
    pub labels: BTreeMap<String, String>,
    /// Not to be imported after this time, RFC 3339 in UTC.
    pub expires: Option<String>,
    /// When the next sequence can be expected, RFC 3339 in UTC.
    pub next_expected: Option<String>,
    /// Which releases are chosen, and whose signatures of them count.
    pub releases: ReleaseOptions,
    /// How charts are rendered.
    pub helm: HelmOptions,
    /// A target to which blobs go straight; `to` gets the manifests alone.
    pub straight: Option<Straight>,
    /// By what images are judged.
    pub policy: Option<Arc<Policy>>,
    /// The way to the registries.
    pub client: Client,
    /// Counts for the person who waits.
    pub progress: Arc<Progress>,
    /// Ctrl-C.
    pub cancel: CancellationToken,
}

impl CreateOptions {
    pub(crate) fn read_back(&self) -> Option<ReadBack<'_>> {
        self.read_back.then_some(ReadBack { progress: &self.progress, cancel: &self.cancel })
    }
}

/// A stream whose history was read, locked for this run.
pub struct Stream {
    pub(crate) history: History,
    remote: Option<RemoteHistory>,
}

/// Where a stream stands.
#[derive(Debug, Clone)]
pub struct Standing {
    /// The stream.
    pub stream: StreamId,
    /// Its last sequence.
    pub last: Sequence,
    /// The ids of the keys that the signatures of the last sequence name.
    pub signers: Vec<String>,
}

impl Stream {
    /// Reads the history of `workspace`, and what only the registry that `config` names has of it.
    pub async fn open(
        config: &ImageSetConfig,
        workspace: &Path,
        client: &Client,
        progress: &Progress,
    ) -> Result<Self, CreateError> {
        let mut history = History::open(workspace)?;
        let remote = RemoteHistory::of(config, client);
        if let Some(remote) = &remote {
            progress.phase("reading the history");
            remote.pull(&mut history).await?;
        }
        history.refuse_headless()?;
        Ok(Self { history, remote })
    }

    /// Where it stands; `None` before its first sequence.
    pub fn standing(&self) -> Result<Option<Standing>, CreateError> {
        let (Some(stream), Some(last)) = (self.history.stream(), self.history.last()) else {
            return Ok(None);
        };
        let signers = self.history.signers(last.sequence)?;
        Ok(Some(Standing { stream, last: last.sequence, signers }))
    }

    /// The last sequence that was made before a time, by what the heads say.
    pub fn last_before(&self, time: jiff::Timestamp) -> Result<Option<Sequence>, CreateError> {
        let links: Vec<_> = self.history.links().collect();
        for link in links.iter().rev() {
            let head = Head::parse(&self.history.record(link.sequence)?.head);
            let head = head.map_err(|error| CreateError::History {
                path: PathBuf::from(format!("history/seq{}", link.sequence)),
                problem: error.to_string(),
            })?;
            if head.created.parse::<jiff::Timestamp>().is_ok_and(|created| created < time) {
                return Ok(Some(link.sequence));
            }
        }
        Ok(None)
    }
}

/// Makes the next sequence of `stream`, or says that there is nothing new.
pub async fn create(stream: Stream, options: CreateOptions) -> Result<Created, CreateError> {
    let progress = Arc::clone(&options.progress);
    let Stream { mut history, remote } = stream;
    check_since(&options, &history)?;

    let origins = Origins::new(options.client.clone(), REQUESTS.max(options.parallel_images))
        .judged(options.policy.clone());
    let rules = Rules {
        remove_signatures: options.remove_signatures,
        foreign_layers: options.foreign_layers,
        parallel: options.parallel_images,
    };
    let state = State::of(&options, &history)?;
    let finding = finding::find(&options, &origins, &rules, &state.known);
    let Found { mut resolved, releases, mut catalogs, charts } = tokio::select! {
        found = finding => found?,
        () = options.cancel.cancelled() => return Err(CreateError::Cancelled),
    };
    let standing = state.standing.as_ref().unwrap_or(&state.known).resources();
    let means = Means {
        options: &options,
        origins: &origins,
        rules: &rules,
        known: &state.known,
        standing,
    };

    loop {
        tokio::select! {
            settled = catalogs.settle(&means, &mut resolved) => settled?,
            () = options.cancel.cancelled() => return Err(CreateError::Cancelled),
        }
        charts.settle(&mut resolved);
        graph_image::settle(&mut resolved);
        whole::settle(&releases, &mut resolved, standing);
        graph_image::leave_alone_out(&mut resolved, standing);
        refuse_failures(&options, &resolved)?;
        resolved.policy = options.policy.as_ref().map(|policy| policy.verdicts());
        let plan = match state.plan(&resolved, &options) {
            Ok(plan) => plan,
            Err(error) => {
                drop_liars(error, &options, &origins, &state.known, &mut resolved).await?;
                continue;
            }
        };
        let (plan, straight) = match &options.straight {
            Some(straight) => (plan.without_blobs(options.part_bytes)?, Some((straight, plan))),
            None => (plan, None),
        };
        if plan.is_empty() {
            if let Some(remote) = &remote {
                remote.catch_up(&history).await?;
            }
            return Ok(Created::Nothing(summary(&plan, resolved)));
        }
        // Before anything is fetched.
        publish::check(&plan, state.statement(&options, &resolved))?;
        let free = || publish::refuse_occupied(&options.to, plan.index.stream, plan.index.sequence);
        if options.dry_run {
            if options.to.is_dir() {
                free()?;
            }
            if let Some((_, whole)) = &straight {
                return dry_run(&options.workspace, history.stream(), state.kind, whole, resolved);
            }
            // It is a plan: the answer is that it does not fit there.
            let there = std::path::absolute(&options.to).unwrap_or_default();
            let there = there.ancestors().find(|above| above.is_dir()).unwrap_or(&options.to);
            if let Err(CreateError::Space { directory, needed, available, .. }) =
                space::check(there, &plan, &state.known, &resolved)
            {
                resolved.warnings.push(format!(
                    "`{}` has {available} bytes free and {needed} are needed: without `--dry-run` this would be refused",
                    directory.display()
                ));
            }
            return dry_run(&options.workspace, history.stream(), state.kind, &plan, resolved);
        }
        lasting::make(&options.to).map_err(CreateError::file("make the output directory"))?;
        let _medium = lock_medium(&options.to)?;
        free()?;
        if let Err(error) = space::check(&options.to, &plan, &state.known, &resolved) {
            drop_liars(error, &options, &origins, &state.known, &mut resolved).await?;
            continue;
        }
        // Before the hours that fetching may take.
        let keys = options.keys.keys().ok_or(CreateError::Unsigned)?;
        history.prove_last(keys)?;
        if let Some((straight, whole)) = &straight {
            let sending = async {
                let check = straight.check.check(&plan.index, history.last());
                check.await.map_err(CreateError::Target)?;
                straight.send(whole, &origins, &progress).await
            };
            let lost = tokio::select! {
                lost = sending => lost?,
                () = options.cancel.cancelled() => return Err(CreateError::Cancelled),
            };
            if !lost.is_empty() {
                resolved.drop_images(&lost);
                continue;
            }
        }
        let plan = Arc::new(plan);
        let (tables, slots) = match fill(&options, &origins, &plan).await? {
            Filled::Complete(tables, slots) => (tables, slots),
            Filled::Without(lost) => {
                resolved.drop_images(&lost);
                continue;
            }
        };
        progress.phase("publishing");
        let statement = state.statement(&options, &resolved);
        let to = &options.to;
        let published = publish::publish(
            &plan,
            &tables,
            statement,
            keys,
            to,
            options.read_back(),
            &mut history,
        )?;
        // Only now: what keeps a sequence from being published does not cost the download.
        slots.close();
        if let Some(remote) = &remote {
            remote.push(&history).await?;
        }
        return Ok(written(&options, &plan, resolved, published));
    }
}

/// What is known about the target before anything is planned.
struct State {
    stream: StreamId,
    sequence: Sequence,
    kind: Kind,
    known: Known,
    standing: Option<Known>,
    tail: Vec<format_spec::head::Link>,
    base: Option<format_spec::head::Link>,
}

impl State {
    fn of(options: &CreateOptions, history: &History) -> Result<Self, CreateError> {
        let stream = history.stream();
        let sequence = match history.last() {
            None => Sequence::FIRST,
            Some(last) => last
                .sequence
                .next()
                .ok_or_else(|| CreateError::Layout("the stream has no more numbers".to_owned()))?,
        };
        let kind = if options.full || stream.is_none() { Kind::Full } else { Kind::Incremental };
        let (known, standing) = match (kind, options.since) {
            (Kind::Full, _) => (Known::default(), Some(history.known(None)?)),
            (Kind::Incremental, None) => (history.known(None)?, None),
            (Kind::Incremental, since) => (history.known(since)?, Some(history.known(None)?)),
        };
        Ok(Self {
            stream: match stream {
                Some(stream) => stream,
                None => first_stream(&options.workspace)?,
            },
            sequence,
            kind,
            known,
            standing,
            tail: history.tail(),
            base: (kind == Kind::Incremental)
                .then_some(options.since)
                .flatten()
                .and_then(|since| history.links().find(|link| link.sequence == since)),
        })
    }

    fn statement(&self, options: &CreateOptions, resolved: &Resolved) -> Statement {
        Statement {
            kind: self.kind,
            tail: self.tail.clone(),
            base: self.base,
            failures: publish::told(&resolved.failures),
            labels: labels(options, resolved),
            expires: options.expires.clone(),
            next_expected: options.next_expected.clone(),
            sums: options.sums,
            created: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        }
    }

    fn plan(&self, resolved: &Resolved, options: &CreateOptions) -> Result<Plan, CreateError> {
        let basis = Basis {
            stream: self.stream,
            sequence: self.sequence,
            known: &self.known,
            standing: self.standing.as_ref().unwrap_or(&self.known),
            part_bytes: options.part_bytes,
        };
        plan::make(resolved, &basis)
    }
}

/// What is told in the head for people: their own words, and which releases nobody trusted has signed.
fn labels(options: &CreateOptions, resolved: &Resolved) -> BTreeMap<String, String> {
    let mut labels = options.labels.clone();
    let unsigned = resolved.releases.iter().filter(|release| !release.signed);
    let unsigned: Vec<&str> = unsigned.map(|release| release.tag.as_str()).collect();
    if !unsigned.is_empty() {
        labels.insert("unsigned-releases".to_owned(), fit(&unsigned.join(", ")));
    }
    labels
}

/// The id of a stream that has no sequence yet. It is kept, so that an interrupted first create goes
/// on with the same one.
fn first_stream(workspace: &Path) -> Result<StreamId, CreateError> {
    let path = workspace.join("history").join("stream");
    let file = CreateError::file("write the stream's id");
    if let Some(text) = durable::read(&path, 64).map_err(&file)? {
        let text = String::from_utf8_lossy(&text);
        return text.trim().parse().map_err(|error: format_spec::names::NameError| {
            CreateError::History { path: path.clone(), problem: error.to_string() }
        });
    }
    let mut bytes = [0; 16];
    ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut bytes)
        .map_err(|_| CreateError::Layout("the system gives no random bytes".to_owned()))?;
    let stream = StreamId::from_bytes(bytes);
    durable::write(&path, format!("{stream}\n").as_bytes()).map_err(&file)?;
    Ok(stream)
}

fn check_since(options: &CreateOptions, history: &History) -> Result<(), CreateError> {
    let Some(since) = options.since else { return Ok(()) };
    let last = history.last().map_or(0, |link| link.sequence.get());
    if since.get() > last { Err(CreateError::Since { since, last }) } else { Ok(()) }
}

/// With `--strict` any failure is fatal; without it only that everything failed.
fn refuse_failures(options: &CreateOptions, resolved: &Resolved) -> Result<(), CreateError> {
    let fatal = options.strict || resolved.images.is_empty();
    if resolved.failures.is_empty() || !fatal {
        return Ok(());
    }
    let (failures, causes) = (resolved.failures.clone(), resolved.causes.clone());
    Err(CreateError::Content { failures, causes, hints: resolved.advice() })
}

/// How the filling of the parts ended.
pub(crate) enum Filled {
    Complete(Vec<Digest>, Slots),
    Without(BTreeMap<Digest, Loss>),
}

/// Fills the parts of a plan on the medium.
pub(crate) async fn fill(
    options: &CreateOptions,
    origins: &Origins,
    plan: &Arc<Plan>,
) -> Result<Filled, CreateError> {
    options.progress.phase("fetching");
    let to = fs_err::canonicalize(&options.to).map_err(CreateError::file("find the directory"))?;
    let slots = Slots::open(&options.workspace, &to, plan)?;
    let fetching = fetch::fetch(
        Arc::clone(plan),
        origins.clone(),
        &options.to,
        slots,
        options.parallel_blobs,
        Arc::clone(&options.progress),
        options.cancel.clone(),
    );
    let outcome = tokio::select! {
        outcome = fetching => outcome,
        () = options.cancel.cancelled() => Err(FetchError::Cancelled),
    };
    match outcome {
        Ok((tables, slots)) => Ok(Filled::Complete(tables, slots)),
        Err(FetchError::Lost(lost)) => Ok(Filled::Without(lost)),
        Err(FetchError::File(source)) => {
            Err(CreateError::File { doing: "write the parts", source })
        }
        Err(FetchError::Way(OriginError::Wire(error))) => Err(CreateError::Wire(error)),
        Err(FetchError::Way(error)) => Err(CreateError::Layout(error.to_string())),
        Err(FetchError::Cancelled) => Err(CreateError::Cancelled),
    }
}

/// Keeps a create of another workspace, whose files would have the same names, away from the medium
/// for as long as the answer lives. Nothing is written there for it.
pub(crate) fn lock_medium(medium: &Path) -> Result<std::fs::File, CreateError> {
    let open = fs_err::File::open(medium).map_err(CreateError::file("open the directory"))?;
    let directory = open.into_file();
    match directory.try_lock() {
        Err(std::fs::TryLockError::WouldBlock) => Err(CreateError::Busy(medium.to_owned())),
        // Some network file systems cannot lock a directory.
        Ok(()) | Err(std::fs::TryLockError::Error(_)) => Ok(directory),
    }
}

pub(crate) fn summary(plan: &Plan, resolved: Resolved) -> Summary {
    let hints = resolved.advice();
    let mut warnings = resolved.warnings;
    warnings.extend(plan.warnings.iter().cloned());
    Summary {
        images: resolved.images.len(),
        bytes_known: plan.known_bytes,
        failures: resolved.failures,
        hints,
        blocked: resolved.blocked,
        releases: resolved.releases,
        catalogs: resolved.catalogs,
        charts: resolved.charts,
        policy: resolved.policy,
        updates: (resolved.chosen != Chosen::default()).then_some(resolved.chosen),
        warnings,
    }
}

fn written(
    options: &CreateOptions,
    plan: &Plan,
    resolved: Resolved,
    published: Published,
) -> Created {
    Created::Written(Written {
        stream: plan.index.stream,
        sequence: plan.index.sequence,
        kind: published.head.kind,
        digest: published.digest,
        totals: published.head.totals,
        bytes_new: published.head.totals.bytes,
        read_back: options.read_back,
        files: published.files.into_iter().map(|(name, bytes)| File { name, bytes }).collect(),
        summary: summary(plan, resolved),
    })
}
