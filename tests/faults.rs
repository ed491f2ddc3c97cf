//! Every fault of a registry at every endpoint, once, three times and for ever, at the source and at the target.
//!
//! A case is a run of `create`, `import` or `mirror` against a registry with one fault. Whatever happens, the run ends within
//! [`LIMIT`], with a documented exit code; success means that the right state is there; what is tagged at the target is
//! whole; no other origin hears a secret; and when the fault is gone, the same command brings the right state.
//! [`rule`] says which faults must not matter.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use support::command::{Run, bundle, memory};
use support::faulty::{CREDENTIALS, Endpoint, Fault, Faulty, Manner, Plot};
use support::server::fs_write;
use support::site::Site;
use support::tls::TlsRelay;
use support::{mirror, noise, text};

/// Which command meets the fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Create,
    Import,
    /// `mirror`, whose source or target has it.
    From,
    Into,
}

/// How often the fault happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Often {
    Once,
    Thrice,
    ForEver,
}

#[derive(Clone, Copy, Debug)]
struct Case {
    side: Side,
    fault: Fault,
    at: Endpoint,
    often: Often,
}

/// A run that takes longer waits for ever, as far as a person can tell.
const LIMIT: Duration = Duration::from_secs(60);

/// Fewer cases than this and the matrix has lost a part.
const CASES: usize = 600;

/// Cases at one time: most of them wait.
const WORKERS: usize = 8;

/// The bar of either command, in KiB. It is that of a build with optimisation; this one takes no more.
const MEMORY: u64 = 64 << 10;

/// A `Retry-After` of a day is cut to five minutes, which the command tells. Nobody waits for them here.
const TOLD: &str = "trying again in 300 s";

/// Cases in which the product is known to be wrong, each with the reason why it is left so.
const KNOWN: &[(Side, Fault, Endpoint, &str)] = &[];

const FAULTS: &[Fault] = &[
    Fault::NoChallenge,
    Fault::Expired,
    Fault::ForeignRealm,
    Fault::Status(403),
    Fault::Status(404),
    Fault::Status(408),
    Fault::Status(409),
    Fault::Status(413),
    Fault::Status(416),
    Fault::Status(500),
    Fault::Status(502),
    Fault::Status(503),
    Fault::Status(504),
    Fault::TooMany(None),
    Fault::TooMany(Some(1)),
    Fault::TooMany(Some(86_400)),
    Fault::ResetBefore,
    Fault::AnswerLost,
    Fault::ResetInBody,
    Fault::Stall,
    Fault::Drip,
    Fault::Short,
    Fault::Long,
    Fault::Changed,
    Fault::ContentType,
    Fault::Html,
    Fault::Twice,
    Fault::NotStored,
    Fault::LocationAway,
    Fault::LocationForeign,
    Fault::RedirectLoop,
    Fault::RedirectAway,
    Fault::RedirectForeign,
    Fault::LocationDowngrade,
    Fault::RedirectDowngrade,
    Fault::MountDeclined,
    Fault::Status(405),
    Fault::NoMonolithic,
    Fault::ChunkLimit,
    Fault::NoRange,
    Fault::WrongOffset,
    Fault::Gzip,
];

const SOURCE: &[Endpoint] = &[
    Endpoint::Ping,
    Endpoint::Token,
    Endpoint::TagGet,
    Endpoint::AttachedGet,
    Endpoint::DigestGet,
    Endpoint::BlobGet,
    Endpoint::Referrers,
    Endpoint::TagList,
];

const TARGET: &[Endpoint] = &[
    Endpoint::Ping,
    Endpoint::Token,
    Endpoint::BlobHead,
    Endpoint::BlobGet,
    Endpoint::Open,
    Endpoint::Mount,
    Endpoint::Patch,
    Endpoint::Commit,
    Endpoint::Status,
    Endpoint::Abandon,
    Endpoint::DigestPut,
    Endpoint::DigestHead,
    Endpoint::TagPut,
    Endpoint::TagHead,
    Endpoint::LedgerList,
    Endpoint::LedgerGet,
    Endpoint::LedgerPut,
    Endpoint::LedgerBlobGet,
    Endpoint::LedgerBlobHead,
    Endpoint::LedgerOpen,
    Endpoint::LedgerCommit,
];

/// Where blobs go straight from one registry to the other, that is to say neither by a create nor by an import.
const STRAIGHT_SOURCE: &[Endpoint] =
    &[Endpoint::Token, Endpoint::TagGet, Endpoint::DigestGet, Endpoint::BlobGet];

const STRAIGHT_TARGET: &[Endpoint] = &[
    Endpoint::Token,
    Endpoint::BlobHead,
    Endpoint::Open,
    Endpoint::Mount,
    Endpoint::Patch,
    Endpoint::Commit,
    Endpoint::Status,
    Endpoint::DigestPut,
];

/// Whether a fault can happen at an endpoint at all.
fn has_meaning(fault: Fault, at: Endpoint) -> bool {
    use Endpoint::{
        Abandon, BlobGet, Commit, LedgerBlobGet, LedgerCommit, LedgerOpen, Mount, Open, Patch,
        Ping, Status, Token,
    };
    let manifest = matches!(
        at,
        Endpoint::TagGet | Endpoint::AttachedGet | Endpoint::DigestGet | Endpoint::LedgerGet
    );
    let head = matches!(at, Endpoint::DigestHead | Endpoint::TagHead);
    match fault {
        // A token that ended is shown only where one is asked for.
        Fault::Expired => !matches!(at, Ping | Token),
        // These two speak of a body that was sent, or a part that was asked for.
        Fault::Status(413) => at.takes_body() || matches!(at, Open | LedgerOpen | Mount),
        Fault::Status(416) => {
            matches!(at, BlobGet | LedgerBlobGet | Patch | Commit | LedgerCommit | Status)
        }
        // A conflict is one of writers.
        Fault::Status(409) => at.takes_body() || matches!(at, Open | LedgerOpen | Mount),
        // To delete is all that a registry may simply not do.
        Fault::Status(405) => at == Abandon,
        // What is only asked can be lost with the question as well.
        Fault::AnswerLost => at.takes_body() || matches!(at, Open | LedgerOpen | Mount),
        Fault::ResetInBody => at.takes_body() || at.answers_body(),
        Fault::Short | Fault::Long | Fault::Gzip => at.answers_body(),
        // A blob of the ledger may be empty; its digest is in no header that is read.
        Fault::Changed => {
            at.answers_body() || head || matches!(at, Endpoint::DigestPut | Endpoint::TagPut)
        }
        Fault::ContentType => {
            manifest || matches!(at, BlobGet | Endpoint::Referrers | Endpoint::TagList)
        }
        Fault::NotStored => at.is_put() || at == Mount,
        Fault::LocationAway | Fault::LocationForeign => {
            matches!(at, Open | Patch | LedgerOpen)
        }
        Fault::LocationDowngrade => matches!(at, Open | Patch),
        Fault::RedirectDowngrade => manifest || at == BlobGet,
        Fault::MountDeclined => at == Mount,
        Fault::NoMonolithic => matches!(at, Commit | LedgerCommit),
        Fault::ChunkLimit => at == Commit,
        Fault::NoRange | Fault::WrongOffset => matches!(at, Patch | Status),
        // The first contact is answered with 401.
        Fault::Twice => at != Ping,
        _ => true,
    }
}

/// What a fault may do.
enum Rule {
    /// It must not matter, however often.
    Harmless,
    /// It passes: once and three times must not matter; for ever ends with one of these codes.
    Passing(&'static [i32]),
    /// Once must not matter; more often may end with one of these codes.
    Learnt(&'static [i32]),
    /// It is an answer, and may be believed: the run succeeds or ends with one of these codes.
    Answer(&'static [i32]),
    /// The wait that is asked for is longer than a test, but bounded, and told.
    Told,
}

/// What must be: a fault that the next try does not meet is not to be seen in the outcome. A registry that says no
/// (401 without a way to log in, 403, 404, 409, 413, 416), and content that is damaged at its only origin, are answers:
/// there the outcome may be a refusal, and everything else of the head of this file still holds.
fn rule(case: Case) -> Rule {
    use Endpoint::{Abandon, BlobGet, BlobHead, DigestGet, DigestHead, TagGet, TagHead};
    let at = case.at;
    let content = matches!(
        at,
        TagGet | DigestGet | Endpoint::AttachedGet | BlobGet | DigestHead | TagHead | BlobHead
    );
    match case.fault {
        // Whoever asks with a token that has ended takes those of all others with it.
        Fault::Expired => Rule::Learnt(&[77]),
        // An upload that nobody ends expires. What its registry says of logins holds for everything.
        _ if at == Abandon && case.fault != Fault::ForeignRealm => Rule::Harmless,
        Fault::MountDeclined | Fault::NoMonolithic | Fault::ChunkLimit | Fault::NoRange => {
            Rule::Harmless
        }
        // A registry behind a proxy that ends TLS does not know better; the client stays with TLS.
        Fault::LocationDowngrade => Rule::Harmless,
        // Object stores are other origins: content comes from there, without credentials.
        Fault::RedirectAway if content => Rule::Harmless,
        Fault::ContentType if at == BlobGet => Rule::Harmless,
        Fault::TooMany(Some(86_400)) => Rule::Told,
        Fault::Status(408 | 500 | 502 | 503 | 504)
        | Fault::TooMany(_)
        | Fault::ResetBefore
        | Fault::ResetInBody
        | Fault::AnswerLost
        | Fault::Stall
        | Fault::Drip
        | Fault::Short => Rule::Passing(&[75]),
        Fault::Twice => Rule::Passing(&[75]),
        Fault::NoChallenge | Fault::Status(403) => Rule::Answer(&[77]),
        Fault::NotStored => Rule::Answer(&[75]),
        Fault::Changed => Rule::Answer(&[1, 65, 75]),
        _ => Rule::Answer(&[1, 65, 75, 77]),
    }
}

/// How the registry must be for the endpoint to be asked.
fn manner(side: Side, at: Endpoint) -> Manner {
    match at {
        Endpoint::Patch | Endpoint::Abandon => Manner::ByPatch,
        Endpoint::Status => Manner::Breaking,
        Endpoint::BlobGet if side == Side::Import => Manner::NoMounts,
        _ => Manner::Plain,
    }
}

fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    for (side, endpoints) in [
        (Side::Create, SOURCE),
        (Side::Import, TARGET),
        (Side::From, STRAIGHT_SOURCE),
        (Side::Into, STRAIGHT_TARGET),
    ] {
        for fault in FAULTS.iter().copied() {
            for at in endpoints.iter().copied().filter(|at| has_meaning(fault, *at)) {
                for often in [Often::Once, Often::Thrice, Often::ForEver] {
                    all.push(Case { side, fault, at, often });
                }
            }
        }
    }
    // An answer that is believed ends the question at once, and is not given three times; only an upload then tries
    // other ways.
    all.retain(|case| {
        case.often != Often::Thrice
            || !matches!(rule(*case), Rule::Answer(_))
            || case.at.is_of_an_upload()
    });
    // The tries are those of a create and of an import.
    all.retain(|case| {
        case.often != Often::Thrice || matches!(case.side, Side::Create | Side::Import)
    });
    // What waits goes first, so that nothing waits alone at the end.
    all.sort_by_key(|case| !matches!(case.fault, Fault::Stall | Fault::Drip | Fault::NotStored));
    all
}

const IMAGES: &[&str] = &["team/base:1", "team/app:1", "team/tool:1", "team/multi:1"];

/// The source with its images, the target, and the media.
struct Lab {
    site: Site,
    /// For each `repository:tag` of the source the digests of all that it needs.
    content: BTreeMap<String, Vec<String>>,
    referrer: String,
}

impl Lab {
    fn new() -> Self {
        let site = Site::in_memory();
        let shared = [noise(2, 3_000), noise(4, 2_000)];
        let source = &site.source;
        source.image("team/base", "1", &[&noise(1, 20_000), &shared[0]]);
        site.images(&IMAGES[..1]);
        site.create("media", &[]).ok();
        let app = source.image("team/app", "1", &[&noise(3, 300_000), &shared[1]]);
        source.image("team/tool", "1", &[&shared[0], &shared[1]]);
        let [a, b] = ["amd64", "arm64"].map(|arch| {
            source.image_for(
                "team/multi",
                None,
                arch,
                &[&noise(u64::from(arch.as_bytes()[1]), 900)],
            )
        });
        source.index("team/multi", Some("1"), &[(&a, "amd64"), (&b, "arm64")]);
        let seal = format!("{}.sig", app.tag_stem());
        source.artifact("team/app", Some(&seal), "application/vnd.test.sig", b"signed", None);
        let referrer =
            source.artifact("team/app", None, "application/vnd.test.sbom", b"bill", Some(&app));
        site.images(IMAGES);
        site.create("media", &[]).ok();
        let pull = |name: String| {
            let (repo, tag) = name.rsplit_once(':').unwrap();
            let content = site.source.pull(repo, tag);
            (name, content)
        };
        let content = site.source.all_tags().into_iter().map(pull).collect();
        Self { referrer: referrer.digest.to_string(), content, site }
    }

    /// Everything is at the target, as at the source.
    fn is_whole(&self, namespace: &str) {
        let wanted: Vec<&String> = self.content.keys().collect();
        assert_eq!(self.is_sound(namespace), wanted);
        let app = format!("{namespace}/team/app");
        self.site.target.pull(&app, &self.referrer);
    }

    /// What has a name at the target is what has it at the source, to the last blob. Gives the names.
    fn is_sound(&self, namespace: &str) -> Vec<&String> {
        let target = &self.site.target;
        let mut names = Vec::new();
        for repo in ["team/app", "team/base", "team/multi", "team/tool"] {
            let place = format!("{namespace}/{repo}");
            for tag in target.tags(&place) {
                let known = self.content.get_key_value(&format!("{repo}:{tag}"));
                let (name, content) = known.unwrap_or_else(|| panic!("{repo}:{tag} is a stranger"));
                assert_eq!(*content, target.pull(&place, &tag), "{name}");
                names.push(name);
            }
        }
        names
    }
}

/// What a run left behind.
struct Ended {
    /// `None` when it did not end by itself.
    code: Option<i32>,
    /// It told that it waits longer than a test, and was stopped.
    told: bool,
    /// The most memory that it had, in KiB.
    most: u64,
    said: String,
}

/// One case after the other, with registries of its own before the shared ones.
struct Worker<'a> {
    lab: &'a Lab,
    dir: PathBuf,
    source: Faulty,
    target: Faulty,
    /// The same two, reached by TLS.
    source_tls: TlsRelay,
    target_tls: TlsRelay,
    /// References that a sound run of `create` carries.
    carried: BTreeSet<String>,
    count: usize,
}

impl<'a> Worker<'a> {
    fn new(lab: &'a Lab, number: usize) -> Self {
        let dir = lab.site.path(&format!("worker-{number}"));
        fs_err::create_dir(&dir).unwrap();
        let source = Faulty::start(&lab.site.source.host);
        let target = Faulty::start(&lab.site.target.host);
        let source_tls = TlsRelay::start(&source.host, &dir.join("source.crt"));
        let target_tls = TlsRelay::start(&target.host, &dir.join("target.crt"));
        let hosts = [&source.host, &target.host, &source_tls.host, &target_tls.host];
        let auths: BTreeMap<_, _> =
            hosts.map(|host| (host, serde_json::json!({"auth": CREDENTIALS}))).into();
        let auth = serde_json::json!({"auths": auths});
        fs_write(&dir.join("auth.json"), auth.to_string().as_bytes());
        let carried = BTreeSet::new();
        let count = 0;
        let mut worker = Self { lab, dir, source, target, source_tls, target_tls, carried, count };
        // The connected side has carried a first sequence.
        worker.configure(&worker.source.host, &IMAGES[..1]);
        let seed = worker.dir.join("seed");
        worker.sound(worker.create(&worker.dir.join("first"), &seed));
        worker.configure(&worker.source.host, IMAGES);
        let (media, workspace) = (worker.dir.join("whole"), worker.dir.join("whole-w"));
        mirror(&seed, &workspace);
        worker.sound(worker.create(&media, &workspace));
        worker.carried = worker.references(&media);
        assert!(worker.carried.len() == 5, "{:?}", worker.carried);
        worker
    }

    fn configure(&self, host: &str, images: &[&str]) {
        let lines: String =
            images.iter().map(|image| format!("    - name: {host}/{image}\n")).collect();
        let text = format!(
            "kind: ImageSetConfiguration\napiVersion: mirror.openshift.io/v2alpha1\nmirror:\n  \
             additionalImages:\n{lines}"
        );
        fs_write(&self.dir.join("imageset.yaml"), text.as_bytes());
    }

    fn common(&self, mut command: Command, fault: Option<Fault>) -> Command {
        let stall = if matches!(fault, Some(Fault::Stall | Fault::Drip)) { "500ms" } else { "20s" };
        command.args(["--authfile", text(&self.dir.join("auth.json")), "--stall-timeout", stall]);
        command.args(["--retry-times", "4", "--retry-delay", "1ms"]);
        for relay in [&self.source_tls, &self.target_tls] {
            command.args(["--ca-file", text(&relay.certificate)]);
        }
        for layer in [&self.source, &self.target] {
            command.args(["--plain-http", &layer.host]);
        }
        command
    }

    fn create(&self, media: &Path, workspace: &Path) -> Command {
        let mut command = bundle(&self.dir);
        command.args(["create", "--config", text(&self.dir.join("imageset.yaml"))]);
        command.args(["--to", text(media), "--workspace", text(workspace)]);
        command
    }

    fn import(&self, host: &str, namespace: &str, workspace: &Path) -> Command {
        let (media, key) = (self.lab.site.path("media"), self.lab.site.key());
        let mut command = bundle(&self.dir);
        command.args(["import", "--from", text(&media), "--trust", text(&key)]);
        command.args(["--workspace", text(workspace)]);
        command.arg(format!("docker://{host}/{namespace}"));
        command
    }

    /// Runs to the end, or to the limit, or until it says that it waits longer.
    fn run(&self, command: Command, fault: Option<Fault>) -> Ended {
        let mut command = self.common(command, fault);
        let log = self.dir.join("log");
        let file = fs_err::File::create(&log).unwrap().into_parts().0;
        command.stdout(file.try_clone().unwrap()).stderr(file);
        let mut child = command.spawn().unwrap();
        let since = Instant::now();
        let (mut told, mut most) = (false, 0);
        let code = loop {
            most = most.max(memory(&child));
            if let Some(status) = child.try_wait().unwrap() {
                break status.code();
            }
            told = fault == Some(Fault::TooMany(Some(86_400)))
                && fs_err::read_to_string(&log).unwrap().contains(TOLD);
            if told || since.elapsed() > LIMIT {
                child.kill().unwrap();
                child.wait().unwrap();
                break None;
            }
            std::thread::sleep(Duration::from_millis(4));
        };
        Ended { code, told, most, said: fs_err::read_to_string(&log).unwrap() }
    }

    /// Runs without a fault; must succeed.
    #[track_caller]
    fn sound(&self, command: Command) {
        let ended = self.run(command, None);
        assert_eq!(ended.code, Some(0), "without a fault: {}", ended.said);
    }

    /// The references on a medium whose bytes are all in order.
    fn references(&self, media: &Path) -> BTreeSet<String> {
        let key = self.dir.join("seed/keys/default.pub.pem");
        let ask = |verb: &str, more: &[&str]| {
            let mut command = bundle(&self.dir);
            command.args([verb, "--from", text(media), "--trust", text(&key)]).args(more);
            Run::of(&mut command).ok()
        };
        ask("verify", &[]);
        let described = ask("describe", &["--output", "json"]).json();
        let references = described["sequences"][0]["references"].as_array().unwrap();
        references
            .iter()
            .map(|one| format!("{}:{}@{}", one["repository"], one["tag"], one["digest"]))
            .collect()
    }

    /// Runs one case and gives its exit code and the memory it took; panics with what is wrong.
    fn case(&mut self, case: Case) -> (Option<i32>, u64) {
        self.count += 1;
        let place = self.dir.join(self.count.to_string());
        fs_err::create_dir(&place).unwrap();
        let left = match case.often {
            Often::Once => 1,
            Often::Thrice => 3,
            Often::ForEver => u32::MAX,
        };
        let fault = Some((case.fault, case.at));
        let plot = Plot { fault, left, manner: manner(case.side, case.at) };
        let ended = match case.side {
            Side::Create => self.create_case(case, plot, &place),
            Side::Import => self.import_case(case, plot, &place),
            Side::From | Side::Into => self.mirror_case(case, plot, &place),
        };
        fs_err::remove_dir_all(&place).unwrap();
        (ended.code, ended.most)
    }

    fn import_case(&self, case: Case, plot: Plot, place: &Path) -> Ended {
        let name = self.dir.file_name().unwrap().to_str().unwrap();
        let namespace = format!("{name}/case-{}", self.count);
        let tls = case.fault.is_of_tls();
        let host = if tls { &self.target_tls.host } else { &self.target.host };
        self.target.reached_at(tls.then(|| format!("https://{host}")));
        let command = || self.import(host, &namespace, &place.join("w"));
        self.target.plot(plot);
        let ended = self.run(command(), Some(case.fault));
        self.judge(case, &self.target, &ended);
        self.refused_in_words(&ended);
        if ended.code == Some(0) {
            self.lab.is_whole(&namespace);
        } else {
            self.lab.is_sound(&namespace);
        }
        if ended.code != Some(0) || case.often == Often::ForEver {
            self.target.plot(Plot::default());
            self.sound(command());
            self.lab.is_whole(&namespace);
        }
        ended
    }

    fn mirror_case(&self, case: Case, plot: Plot, place: &Path) -> Ended {
        let name = self.dir.file_name().unwrap().to_str().unwrap();
        let namespace = format!("{name}/case-{}", self.count);
        // The other side has nothing left of an earlier case.
        self.source.plot(Plot::default());
        self.target.plot(Plot::default());
        let of_source = case.side == Side::From;
        let (faulty, relay) = match of_source {
            true => (&self.source, &self.source_tls),
            false => (&self.target, &self.target_tls),
        };
        let tls = case.fault.is_of_tls();
        let host = if tls { &relay.host } else { &faulty.host };
        faulty.reached_at(tls.then(|| format!("https://{host}")));
        let (from, to) =
            if of_source { (host, &self.target.host) } else { (&self.source.host, host) };
        self.configure(from, IMAGES);
        let command = || {
            let mut command = bundle(&self.dir);
            command.args(["mirror", "--config", text(&self.dir.join("imageset.yaml"))]);
            command.args(["--workspace", text(&place.join("w"))]);
            command.arg(format!("docker://{to}/{namespace}"));
            command
        };
        faulty.plot(plot);
        let ended = self.run(command(), Some(case.fault));
        self.judge(case, faulty, &ended);
        // What a registry lists and then does not have is left out with a warning.
        let unlisted = case.fault == Fault::Status(404)
            && case.at == Endpoint::DigestGet
            && ended.said.contains("is listed but not there");
        if ended.code == Some(0) && !unlisted {
            self.lab.is_whole(&namespace);
        } else {
            self.lab.is_sound(&namespace);
        }
        if ended.code != Some(8) {
            self.refused_in_words(&ended);
        }
        if ended.code != Some(0) {
            faulty.plot(Plot::default());
            self.sound(command());
            self.lab.is_whole(&namespace);
        }
        ended
    }

    fn create_case(&self, case: Case, plot: Plot, place: &Path) -> Ended {
        let workspace = place.join("w");
        mirror(&self.dir.join("seed"), &workspace);
        let (media, again) = (place.join("media"), place.join("again"));
        let tls = case.fault.is_of_tls();
        let host = if tls { &self.source_tls.host } else { &self.source.host };
        self.source.reached_at(tls.then(|| format!("https://{host}")));
        self.configure(host, IMAGES);
        self.source.plot(plot);
        let ended = self.run(self.create(&media, &workspace), Some(case.fault));
        self.judge(case, &self.source, &ended);
        let is_there = |media: &Path| media.join("mirror_seq2.manifest.json").exists();
        let mut had = BTreeSet::new();
        if is_there(&media) {
            had = self.references(&media);
            assert!(had.is_subset(&self.carried), "{had:?} beyond {:?}", self.carried);
        } else {
            self.refused_in_words(&ended);
        }
        if ended.code == Some(0) {
            self.carried_all(case, &had, &ended.said);
        } else {
            self.source.plot(Plot::default());
            self.sound(self.create(&again, &workspace));
            if again.exists() && !support::files(&again).is_empty() {
                had.extend(self.references(&again));
            }
            assert_eq!(had, self.carried);
        }
        ended
    }

    /// A create that succeeds has carried everything. What is attached to an image may stay behind where the registry
    /// said that it is not there, or with a warning where it refused the question.
    fn carried_all(&self, case: Case, had: &BTreeSet<String>, said: &str) {
        let unasked = said.contains("cannot be listed");
        let not_there = case.fault == Fault::Status(404);
        let lost: Vec<&String> = self.carried.difference(had).collect();
        let excused = lost.iter().all(|one| match case.at {
            Endpoint::Referrers => (unasked || not_there) && one.contains(":null@"),
            Endpoint::AttachedGet => not_there && one.contains(":\"sha256-"),
            // The one request that met the fault was that for a referrer.
            Endpoint::DigestGet => {
                not_there && said.contains("is listed but not there") && one.contains(":null@")
            }
            _ => false,
        });
        assert!(excused, "lost without a word: {lost:?}: {said}");
    }

    /// A command that did nothing says why, and what to do next.
    fn refused_in_words(&self, ended: &Ended) {
        let said = &ended.said;
        let in_words = match ended.code {
            Some(0) | None => true,
            // Nothing was left to carry, beside what could not be had.
            Some(8) if said.contains("nothing new") => said.contains("/team/"),
            Some(_) => said.contains("error:") && said.contains("hint:"),
        };
        assert!(in_words, "code {:?}: {said}", ended.code);
    }

    /// What holds for both commands.
    fn judge(&self, case: Case, faulty: &Faulty, ended: &Ended) {
        let said = &ended.said;
        assert!(!said.contains("panicked"), "{said}");
        assert!(ended.most < MEMORY, "{} KiB: {said}", ended.most);
        let leaks = faulty.sink.leaks();
        assert!(leaks.is_empty(), "another origin heard {leaks:?}");
        assert!(faulty.fired() > 0, "the fault did not happen: {:?}\n{said}", faulty.seen());
        let rule = rule(case);
        if ended.told {
            assert!(matches!(rule, Rule::Told), "{said}");
            return;
        }
        let Some(code) = ended.code else { panic!("no end after {LIMIT:?}: {said}") };
        if code == 0 {
            return;
        }
        let allowed = match (rule, case.often) {
            (Rule::Passing(codes), Often::ForEver)
            | (Rule::Learnt(codes), Often::Thrice | Often::ForEver)
            | (Rule::Answer(codes), _) => codes,
            _ => panic!("it must not matter, but code {code}: {said}"),
        };
        // Content that could not be had is a bit of the code of `create`.
        let fits =
            allowed.contains(&code) || matches!(case.side, Side::Create | Side::From) && code == 8;
        assert!(fits, "code {code}, not one of {allowed:?}: {said}");
    }
}

thread_local! {
    /// The last panic of this thread, with its place.
    static PANIC: std::cell::RefCell<String> = const { std::cell::RefCell::new(String::new()) };
}

/// What became of the cases of one fault.
#[derive(Default)]
struct Row {
    cases: usize,
    wrong: usize,
    slowest: Duration,
    /// Exit codes; -1 for a run that was stopped because it told of a long wait.
    codes: BTreeSet<i32>,
    /// The most memory of a run, in KiB.
    most: u64,
}

#[test]
fn faults_of_registries() {
    let of_media = |case: &Case| matches!(case.side, Side::Create | Side::Import);
    run("faults of registries", CASES, of_media);
}

/// With registries of their own: what is left of thousands of cut uploads is more than one may leave.
#[test]
fn faults_between_two_registries() {
    let straight = |case: &Case| matches!(case.side, Side::From | Side::Into);
    run("faults between two registries", CASES, straight);
}

fn run(name: &str, least: usize, is_meant: impl Fn(&Case) -> bool) {
    let lab = Lab::new();
    // `FAULTS_ONLY=Stall` or `FAULTS_ONLY='Create Gzip'` runs the cases in whose description all the words are.
    let only = std::env::var("FAULTS_ONLY").unwrap_or_default();
    let mut cases = cases();
    cases.retain(is_meant);
    cases.retain(|case| only.split_whitespace().all(|word| format!("{case:?}").contains(word)));
    let ran = Mutex::new(Vec::new());
    // What is wrong is told at the end, case by case, and not among the others of its moment.
    std::panic::set_hook(Box::new(|panic| PANIC.set(panic.to_string())));
    let (todo, since) = (Mutex::new(cases.into_iter()), Instant::now());
    std::thread::scope(|scope| {
        for number in 0..WORKERS {
            let (lab, todo, ran) = (&lab, &todo, &ran);
            scope.spawn(move || {
                let mut worker = Worker::new(lab, number);
                loop {
                    let Some(case) = todo.lock().unwrap().next() else { break };
                    let since = Instant::now();
                    let outcome = catch_unwind(AssertUnwindSafe(|| worker.case(case)));
                    let outcome = outcome.map_err(|_| PANIC.take());
                    ran.lock().unwrap().push((case, outcome, since.elapsed()));
                }
            });
        }
    });
    let ran = ran.into_inner().unwrap();
    let mut table: BTreeMap<Fault, Row> = BTreeMap::new();
    let mut wrongs = Vec::new();
    for (case, outcome, took) in &ran {
        let row = table.entry(case.fault).or_default();
        row.cases += 1;
        row.slowest = row.slowest.max(*took);
        let known = KNOWN
            .iter()
            .any(|(side, fault, at, _)| (*side, *fault, *at) == (case.side, case.fault, case.at));
        match outcome {
            Ok((code, most)) => {
                row.codes.insert(code.unwrap_or(-1));
                row.most = row.most.max(*most);
            }
            Err(_) if known => {}
            Err(wrong) => {
                row.wrong += 1;
                let wrong = wrong.trim_end().replace('\n', "\n    ");
                wrongs.push(format!("{case:?}\n    {wrong}"));
            }
        }
    }
    for wrong in &wrongs {
        println!("WRONG {wrong}");
    }
    println!(
        "{:<24} {:>6} {:>6} {:>9} {:>9}  exit codes",
        "fault", "cases", "wrong", "slowest", "memory"
    );
    for (fault, row) in &table {
        let (name, slowest) = (format!("{fault:?}"), row.slowest.as_secs_f64());
        let codes: Vec<String> = row.codes.iter().map(ToString::to_string).collect();
        let codes = codes.join(" ");
        let (cases, wrong, most) = (row.cases, row.wrong, row.most >> 10);
        println!("{name:<24} {cases:>6} {wrong:>6} {slowest:>7.1} s {most:>5} MiB  {codes}");
    }
    for (side, fault, at, why) in KNOWN {
        println!("known: {side:?} {fault:?} {at:?}: {why}");
    }
    println!("{} cases in {:.0} s", ran.len(), since.elapsed().as_secs_f64());
    println!("campaign | {name} | {least} | {} | {}", ran.len(), wrongs.len());
    assert!(wrongs.is_empty(), "{} cases are wrong", wrongs.len());
    assert!(!only.is_empty() || ran.len() >= least, "only {} cases ran", ran.len());
}
