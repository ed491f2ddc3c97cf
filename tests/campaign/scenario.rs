//! Commands that may end at any moment, each with the state before it and what it must come to.

use std::cell::Cell;
use std::fmt::Write as _;
use std::process::Command;

use format_spec::Digest;
use fs_err as fs;

use crate::support::command::Run;
use crate::support::crash::{killed_at, points};
use crate::support::relay::Relay;
use crate::support::server::{Server, fs_write};
use crate::support::site::Site;
use crate::support::{files, mirror, noise, tree};

/// What is carried, so that parts are small and many calls are made.
const FIRST: [&str; 4] = ["team/a:1", "team/b:1", "lib/c:1", "d:1"];
/// What the next sequence adds.
const SECOND: [&str; 2] = ["team/a:2", "new/e:2"];

/// How large images are: small ones for many runs, larger ones to be met on the way.
#[derive(Clone, Copy)]
pub struct Sizes {
    pub layer: usize,
    pub layers: u64,
    /// Bytes a second on a connection.
    pub rate: u64,
}

/// A command of one site, again and again.
pub struct Scenario {
    site: Site,
    kind: Kind,
    relay: Relay,
    /// How often it was begun: imports go to a namespace of their own each time.
    turn: Cell<u32>,
    /// What an undisturbed run comes to.
    expected: Vec<String>,
}

/// Which command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The first sequence, with a new key and a new stream.
    CreateFirst,
    /// The second sequence.
    CreateIncrement,
    /// A first sequence of several parts.
    CreateParts,
    /// A first sequence whose history is kept in a registry too.
    CreateHistory,
    /// A create after one that was cut while it fetched.
    CreateTakenUp,
    /// A create after one that was cut between two renames of its publication.
    CreateAdopts,
    /// The same, and a part of it is gone.
    CreateDiscards,
    /// The first sequence once more, because its medium was lost.
    CreateAgain,
    /// The first sequence.
    ImportFirst,
    /// The second sequence.
    ImportIncrement,
    /// Two sequences at once.
    ImportSeveral,
    /// An import of what is there, but for a manifest and a blob that the target lost.
    ImportRepair,
    /// Into the store of the workspace's own registry.
    ImportStore,
}

use Kind::{
    CreateAdopts, CreateAgain, CreateDiscards, CreateFirst, CreateHistory, CreateIncrement,
    CreateParts, CreateTakenUp, ImportFirst, ImportIncrement, ImportRepair, ImportSeveral,
    ImportStore,
};

impl Kind {
    /// All of them.
    pub const ALL: [Self; 13] = [
        CreateFirst,
        CreateIncrement,
        CreateParts,
        CreateHistory,
        CreateTakenUp,
        CreateAdopts,
        CreateDiscards,
        CreateAgain,
        ImportFirst,
        ImportIncrement,
        ImportSeveral,
        ImportRepair,
        ImportStore,
    ];

    /// Whether a registry keeps something of the command, which so cannot be had back for a second end.
    pub fn is_told_elsewhere(self) -> bool {
        self == CreateHistory || (self.imports() && self != ImportStore)
    }

    fn imports(self) -> bool {
        matches!(self, ImportFirst | ImportIncrement | ImportSeveral | ImportRepair | ImportStore)
    }
}

impl Scenario {
    /// A site in which the command can be run, and what it comes to when nothing disturbs it.
    pub fn new(kind: Kind, sizes: Sizes) -> Self {
        Self::on(Site::new(), kind, sizes)
    }

    /// The same on a site that there is.
    pub fn on(site: Site, kind: Kind, sizes: Sizes) -> Self {
        let base = noise(1, sizes.layer);
        for (n, image) in (2..).zip(FIRST.iter().chain(&SECOND)) {
            let (repo, tag) = image.split_once(':').unwrap();
            let mut layers = vec![base.clone()];
            layers.extend((0..sizes.layers).map(|layer| noise(n * 100 + layer, sizes.layer)));
            if kind == CreateParts {
                layers.push(noise(n, 700_000));
            }
            site.source.image(repo, tag, &layers.iter().map(Vec::as_slice).collect::<Vec<_>>());
        }
        let to = if kind.imports() { &site.target.host } else { &site.source.host };
        let relay = Relay::start(to, sizes.rate);
        let mut scenario = Self { site, kind, relay, turn: Cell::new(0), expected: Vec::new() };
        scenario.prepare();
        scenario.before();
        let _ = Run::of(&mut scenario.command()).ok();
        scenario.expected = scenario.state();
        scenario
    }

    fn images(&self, images: &[&str]) {
        let host = if self.kind.imports() { &self.site.source.host } else { &self.relay.host };
        self.site.images_at(host, images);
    }

    /// Whether the second sequence is what the command is about.
    fn second(&self) -> bool {
        matches!(self.kind, CreateIncrement | ImportIncrement | ImportSeveral)
    }

    fn all(&self) -> Vec<&'static str> {
        let second: &[&str] = if self.second() { &SECOND } else { &[] };
        FIRST.iter().chain(second).copied().collect()
    }

    fn sequence(&self) -> u64 {
        if self.second() { 2 } else { 1 }
    }

    /// The directory of a medium: that of the second sequence, where there is one.
    fn media(&self) -> &'static str {
        if self.second() && self.kind != ImportSeveral { "second" } else { "first" }
    }

    /// Once: everything before the command, kept as `kept-…` and put back for each run.
    fn prepare(&self) {
        let site = &self.site;
        let create = |media, more: &[&str]| drop(site.create(media, more).ok());
        match self.kind {
            CreateFirst | CreateParts | CreateHistory => {}
            CreateIncrement => {
                self.images(&FIRST);
                create("first", &[]);
            }
            CreateTakenUp => {
                self.images(&FIRST);
                let mut command = self.create();
                let all = points(&mut command);
                for name in ["first", "connected"] {
                    fs::remove_dir_all(site.path(name)).unwrap();
                }
                assert!(killed_at(&mut self.create(), all * 6 / 10));
                assert!(!files(&site.path("first")).is_empty(), "nothing was fetched yet");
            }
            CreateAdopts | CreateDiscards => {
                self.images(&FIRST);
                create("first", &[]);
                site.cut_publication("first", &["mirror_seq1.manifest.json"]);
                if self.kind == CreateDiscards {
                    fs::remove_file(site.path("first/mirror_seq1_000000.tar")).unwrap();
                }
            }
            CreateAgain => {
                self.images(&FIRST);
                create("first", &[]);
                fs::remove_dir_all(site.path("first")).unwrap();
            }
            ImportFirst | ImportRepair | ImportStore => {
                self.images(&FIRST);
                create("first", &[]);
            }
            ImportIncrement | ImportSeveral => {
                self.images(&FIRST);
                create("first", &[]);
                self.images(&self.all());
                create(self.media(), &[]);
            }
        }
        if !self.kind.imports() {
            for name in ["first", "connected"] {
                mirror(&site.path(name), &site.path(&format!("kept-{name}")));
            }
        }
    }

    /// Puts everything back to before the command.
    pub fn before(&self) {
        let site = &self.site;
        self.turn.set(self.turn.get() + 1);
        if !self.kind.imports() {
            for name in ["first", "connected"] {
                mirror(&site.path(&format!("kept-{name}")), &site.path(name));
            }
            let _ = fs::remove_dir_all(site.path("second"));
            self.images(&self.all());
            if self.kind == CreateHistory {
                self.history_in_registry();
            }
            return;
        }
        let _ = fs::remove_dir_all(site.path("disconnected"));
        let target = format!("{}/{}", self.relay.host, self.namespace());
        let import = |media| drop(site.import_into(&target, media, &[]).ok());
        match self.kind {
            ImportIncrement => import("first"),
            ImportRepair => {
                import("first");
                let repository = format!("{}/team/a", self.namespace());
                let manifest = site.target.manifest(&repository, "1").unwrap();
                let value: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
                let layer = value["layers"][1]["digest"].as_str().unwrap();
                site.target.delete(&repository, "manifests", &Digest::of(&manifest).to_string());
                site.target.delete(&repository, "blobs", layer);
            }
            _ => {}
        }
    }

    /// The directories that the command may write to, in the site's directory: media and workspaces.
    pub const DIRECTORIES: &[&str] = &["first", "second", "connected", "disconnected"];

    /// Where they are.
    pub fn site(&self) -> std::path::PathBuf {
        self.site.path("")
    }

    fn namespace(&self) -> String {
        format!("turn{}", self.turn.get())
    }

    /// A configuration that keeps the history in the source's registry, in a place of this turn.
    fn history_in_registry(&self) {
        let path = self.site.path("imageset.yaml");
        let (host, place) = (&self.relay.host, self.namespace());
        let text = fs::read_to_string(&path).unwrap().replace("v2alpha1", "v1alpha2").replace(
            "\nmirror:",
            &format!(
                "\nstorageConfig:\n  registry:\n    imageURL: {host}/state/{place}:latest\nmirror:"
            ),
        );
        fs_write(&path, text.as_bytes());
    }

    /// The command.
    pub fn command(&self) -> Command {
        if !self.kind.imports() {
            return self.create();
        }
        let target = format!("{}/{}", self.relay.host, self.namespace());
        let mut arguments = self.site.import_arguments(self.media(), &target);
        if self.kind == ImportStore {
            arguments.pop();
        }
        arguments.extend(["--parallel-blobs".to_owned(), WORKERS.to_string()]);
        let mut command = self.site.command(&[]);
        command.args(arguments);
        command
    }

    fn create(&self) -> Command {
        let mut command = self.site.command(&[]);
        command.args(self.site.create_arguments(self.media()));
        command.args(["--parallel-blobs", &WORKERS.to_string()]);
        match self.kind {
            CreateParts => drop(command.args(["--size", "1MiB"])),
            CreateAgain => drop(command.args(["--resend", "1"])),
            _ => {}
        }
        command
    }

    /// What was moved over the wire so far, in the direction of the content.
    pub fn moved(&self) -> u64 {
        if self.kind.imports() { self.relay.up() } else { self.relay.down() }
    }

    /// What must hold after a run that ended at any moment.
    pub fn sound(&self) {
        if self.kind.imports() {
            if self.kind == ImportStore {
                return;
            }
            for repo in self.repositories() {
                for tag in self.site.target.tags(&repo) {
                    self.site.target.pull(&repo, &tag);
                }
            }
        } else {
            // A head on the medium is a promise: then everything is there.
            if self.is_named() {
                self.site.verify(&self.site.path(self.media())).ok();
            }
        }
    }

    /// Whether a create has given the head its name.
    fn is_named(&self) -> bool {
        let head = format!("mirror_seq{}.manifest.json", self.sequence());
        self.site.path(self.media()).join(head).exists()
    }

    /// The same command again must come to what an undisturbed run comes to.
    #[track_caller]
    pub fn converges(&self) {
        self.done(|| Run::of(&mut self.command()));
        same(&self.expected, &self.state());
    }

    /// The command, run to its end, says that it is done.
    #[track_caller]
    pub fn done(&self, run: impl FnOnce() -> Run) {
        let there = self.kind == CreateAgain && self.is_named();
        let run = run();
        // What is there already is not written once more.
        let _ = if there { run.refused(&[64]).says("already holds") } else { run.ok() };
    }

    /// After the command said that it is done, nothing need be done again.
    #[track_caller]
    pub fn stands(&self) {
        // A file to lock is empty; who finds none makes one.
        let lasting = |state: &[String]| -> Vec<String> {
            state.iter().filter(|line| !line.ends_with("lock")).cloned().collect()
        };
        same(&lasting(&self.expected), &lasting(&self.state()));
    }

    /// What the command came to, in lines that are the same for each good run.
    fn state(&self) -> Vec<String> {
        if self.kind.imports() { self.arrived() } else { self.made() }
    }

    fn made(&self) -> Vec<String> {
        let (site, sequence) = (&self.site, self.sequence());
        let media = site.path(self.media());
        let mut state = Vec::new();
        for name in files(&media) {
            let bytes = fs::read(media.join(&name)).unwrap();
            let mut line = format!("medium {name}");
            if name.ends_with(".tar") {
                write!(line, " {}", Digest::of(&bytes)).unwrap();
            } else if name.ends_with(".manifest.json") {
                let head: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
                let of = |field: &str| head[field].to_string();
                let fields = ["sequence", "kind", "parts", "totals", "previous", "tail"].map(of);
                write!(line, " {}", fields.join(" ")).unwrap();
            }
            state.push(line);
        }
        site.verify(&media).ok();
        // The history is what was carried, byte for byte.
        for (suffix, name) in
            [("json", "manifest.json"), ("sig", "manifest.sig"), ("index", "index")]
        {
            let kept = fs::read(site.path(&format!("connected/history/seq{sequence}.{suffix}")));
            let carried = fs::read(media.join(format!("mirror_seq{sequence}.{name}")));
            assert_eq!(kept.unwrap(), carried.unwrap(), "{suffix}");
        }
        state.extend(
            tree(&site.path("connected"))
                .iter()
                // A key that a killed run had not given its name: it signed nothing, only its owner reads it.
                .filter(|path| !path.starts_with("keys/.key-"))
                .map(|path| format!("workspace {path}")),
        );
        if self.kind == CreateHistory {
            let place = format!("state/{}", self.namespace());
            state.push(format!("history {:?}", site.source.tags(&place)));
            site.source.pull(&place, "latest");
        }
        state
    }

    /// The repositories of this turn at the target.
    fn repositories(&self) -> Vec<String> {
        let mut names: Vec<String> = self
            .all()
            .iter()
            .map(|image| format!("{}/{}", self.namespace(), image.split_once(':').unwrap().0))
            .collect();
        names.sort();
        names.dedup();
        names
    }

    fn arrived(&self) -> Vec<String> {
        let site = &self.site;
        let mut state: Vec<String> = tree(&site.path("disconnected"))
            .iter()
            // The name of a target's directory names the turn.
            .filter(|path| !path.starts_with("registry"))
            .map(|path| {
                let rest = path.strip_prefix("import/").unwrap_or(path);
                let rest = rest.split_once('/').map_or("", |(_, rest)| rest);
                format!("workspace {rest}")
            })
            .collect();
        let store;
        let (registry, prefix) = if self.kind == ImportStore {
            store = Server::embedded(&site.path("disconnected/registry"));
            (&store.registry, String::new())
        } else {
            (&site.target.registry, format!("{}/", self.namespace()))
        };
        for image in self.all() {
            let (repo, tag) = image.split_once(':').unwrap();
            let repo = format!("{prefix}{repo}");
            let digests = registry.pull(&repo, tag);
            let source = site.source.pull(&repo[prefix.len()..], tag);
            assert_eq!(digests, source, "{repo}:{tag}");
            state.push(format!("target {image} {:?}", registry.tags(&repo)));
        }
        state.push(format!("ledger {:?}", registry.tags(&format!("{prefix}bundle-ledger"))));
        state
    }
}

#[track_caller]
fn same(expected: &[String], state: &[String]) {
    let only = |one: &[String], other: &[String]| -> Vec<String> {
        one.iter().filter(|line| !other.contains(line)).cloned().collect()
    };
    assert!(
        state == expected,
        "it came to another end: missing {:#?}, too much {:#?}",
        only(expected, state),
        only(state, expected)
    );
}

/// Blobs that move at one time.
pub const WORKERS: usize = 2;
