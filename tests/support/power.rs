//! A disk whose power fails: what was written and not synced is lost, torn or reordered.
//!
//! In: the directories of a site before a run, taken as durable, and the record of the run's calls. Out: the directories as
//! a loss of power may leave them. Everything is one list of changes in the order in which they came about; a sync marks those
//! that it makes durable, and a loss plays back the durable ones with those of the others that it keeps.
//!
//! - A sync of a file covers its bytes and length, as of when the sync began. It covers no name.
//! - A sync of a directory covers the names in it. Not what they stand for, not the directory's own name: one that was
//!   never synced is lost with everything below it.
//! - A rename is one change, durable with either of its directories.
//! - Everything else may be lost by itself, whatever came after it; of a write, each block of 512 bytes.
//!
//! This is harsher than any file system of today, most of which make more durable than they were asked to. Rights and times are
//! not modelled: a file comes back with those it had, or for its owner only.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use fs_err as fs;

use super::loss::{Change, Content, Loss, Node, Place, ROOT, Tree, apply, state};
use super::strace::{Call, Moment, Record};
use super::{text, tree};

/// The directories of a site, as they are and as they are durable.
pub struct Disk {
    root: PathBuf,
    /// The names in `root` that it speaks of.
    names: &'static [&'static str],
    /// What was there before.
    before: Vec<Content>,
    /// What is there now.
    now: Vec<Content>,
    /// What happened between the two, and whether it is durable.
    changes: Vec<(Change, bool)>,
}

impl Disk {
    /// Takes what is there under these names of a directory as durable.
    pub fn load(root: &Path, names: &'static [&'static str]) -> Self {
        let mut disk = Self {
            root: fs::canonicalize(root).unwrap(),
            names,
            before: vec![Content::Directory(BTreeMap::new())],
            now: vec![Content::Directory(BTreeMap::new())],
            changes: Vec::new(),
        };
        for (path, bytes) in disk.found() {
            let content = bytes.map_or_else(|| Content::Directory(BTreeMap::new()), Content::File);
            let place = disk.place(&disk.root.join(path)).unwrap();
            let what = disk.new_node(content);
            apply(&mut disk.now, &Change::Enter { at: place, what });
        }
        disk.before.clone_from(&disk.now);
        disk
    }

    /// What really is there.
    fn found(&self) -> Tree {
        let mut found = Tree::new();
        for name in self.names {
            let top = self.root.join(name);
            if !top.exists() {
                continue;
            }
            found.insert(PathBuf::from(name), None);
            for path in tree(&top) {
                let full = top.join(&path);
                let bytes = full.is_file().then(|| fs::read(&full).unwrap());
                found.insert(Path::new(name).join(path), bytes);
            }
        }
        found
    }

    /// Puts a state in the place of what really is there.
    pub fn put(&self, state: &Tree) {
        let mut rights = HashMap::new();
        for path in self.found().into_keys() {
            let found = fs::metadata(self.root.join(&path)).unwrap().permissions();
            rights.insert(path, found);
        }
        for name in self.names {
            let _ = fs::remove_dir_all(self.root.join(name));
        }
        for (path, bytes) in state {
            let full = self.root.join(path);
            match bytes {
                None => fs::create_dir(&full).unwrap(),
                Some(bytes) => super::server::fs_write(&full, bytes),
            }
            let own = if bytes.is_some() { 0o600 } else { 0o700 };
            let right = rights.remove(path);
            let right = right.unwrap_or_else(|| std::fs::Permissions::from_mode(own));
            fs::set_permissions(&full, right).unwrap();
        }
    }

    /// Takes in what a run did. What it was doing when it ended is taken as far as the disk shows it; then the disk must
    /// be what the model says, so that no call is missed.
    #[track_caller]
    pub fn follow(&mut self, record: &Record, here: &Path) {
        let mut files = Files::default();
        // A sync covers what was there when it began.
        let mut syncs: HashMap<usize, (Option<Node>, usize)> = HashMap::new();
        for moment in &record.moments {
            match *moment {
                Moment::Begins(number) => {
                    let call = &record.calls[number];
                    let node = match &*call.name {
                        "fsync" | "fdatasync" => call.file(0).and_then(|path| self.node(&path)),
                        "sync" | "syncfs" => None,
                        _ => continue,
                    };
                    if node.is_some() || call.name.starts_with("sync") {
                        syncs.insert(number, (node, self.changes.len()));
                    }
                }
                Moment::Ends(number) => {
                    let call = &record.calls[number];
                    if !call.succeeded() {
                        continue;
                    }
                    if let Some((node, until)) = syncs.remove(&number) {
                        for (change, durable) in &mut self.changes[..until] {
                            *durable |= node.is_none_or(|node| change.is_covered_by(node));
                        }
                    }
                    for change in self.changes_of(call, here, &mut files) {
                        self.change(change);
                    }
                }
            }
        }
        let found = self.found();
        for call in record.under_way() {
            for change in self.changes_of(call, here, &mut files) {
                self.change_as_found(change, &found);
            }
        }
        let modelled = self.after(Loss::Nothing);
        for path in modelled.keys().chain(found.keys()).collect::<BTreeSet<_>>() {
            let (modelled, found) = (modelled.get(path), found.get(path));
            let told = |content: Option<&Option<Vec<u8>>>| {
                content.map(|bytes| bytes.as_ref().map(Vec::len))
            };
            assert!(
                modelled == found,
                "the model missed something: `{}` is {:?}, it says {:?}; under way: {:.2000?}",
                path.display(),
                told(found),
                told(modelled),
                record.under_way().map(Call::brief).collect::<Vec<_>>()
            );
        }
    }

    fn change(&mut self, change: Change) {
        apply(&mut self.now, &change);
        self.changes.push((change, false));
    }

    /// What a call that was under way did, as far as the disk shows it.
    fn change_as_found(&mut self, change: Change, found: &Tree) {
        let mut trial = self.now.clone();
        apply(&mut trial, &change);
        let trial = state(&trial);
        match change {
            Change::Bytes { file, at, mut bytes } => {
                let paths =
                    trial.iter().filter(|(path, _)| self.node(&self.root.join(path)) == Some(file));
                let there = paths.filter_map(|(path, _)| found.get(path)?.as_ref()).next();
                let there = there.and_then(|there| there.get(at..)).unwrap_or_default();
                let same = bytes.iter().zip(there).take_while(|(a, b)| a == b).count();
                bytes.truncate(same);
                if same > 0 {
                    self.change(Change::Bytes { file, at, bytes });
                }
            }
            Change::Length { file, .. } | Change::AtLeast { file, .. } => {
                let length = |state: &Tree| {
                    let mut paths =
                        trial.keys().filter(|path| self.node(&self.root.join(path)) == Some(file));
                    paths.next().and_then(|path| state.get(path)?.as_ref().map(Vec::len))
                };
                if length(&trial) == length(found) {
                    self.change(change);
                }
            }
            Change::Enter { .. } | Change::Leave { .. } | Change::Move { .. } => {
                let names = |state: &Tree| state.keys().cloned().collect::<BTreeSet<_>>();
                let far = |state: &Tree| names(state).symmetric_difference(&names(found)).count();
                if far(&trial) < far(&state(&self.now)) {
                    self.change(change);
                }
            }
        }
    }

    /// What a loss of power leaves.
    pub fn after(&self, loss: Loss) -> Tree {
        let mut left = state(&loss.of(&self.before, &self.changes));
        left.retain(|path, _| self.speaks_of(path));
        left
    }

    fn speaks_of(&self, path: &Path) -> bool {
        self.names.iter().any(|name| path.starts_with(name))
    }

    fn new_node(&mut self, content: Content) -> Node {
        // Empty before, and there in every state: whether a name leads to it is another matter.
        let empty = match content {
            Content::File(_) => Content::File(Vec::new()),
            Content::Directory(_) => Content::Directory(BTreeMap::new()),
        };
        self.before.push(empty);
        self.now.push(content);
        self.now.len() - 1
    }

    fn entry(&self, (directory, name): &Place) -> Option<Node> {
        match &self.now[*directory] {
            Content::Directory(names) => names.get(name).copied(),
            Content::File(_) => None,
        }
    }

    /// The directory and the name of a path that it speaks of.
    fn place(&self, path: &Path) -> Option<Place> {
        let path = path.strip_prefix(&self.root).ok().filter(|path| self.speaks_of(path))?;
        let name = text(Path::new(path.file_name()?)).to_owned();
        let mut directory = ROOT;
        for component in path.parent()?.components() {
            let name = text(component.as_ref()).to_owned();
            directory = self.entry(&(directory, name))?;
        }
        Some((directory, name))
    }

    fn node(&self, path: &Path) -> Option<Node> {
        if path == self.root { Some(ROOT) } else { self.entry(&self.place(path)?) }
    }

    fn length(&self, file: Node) -> usize {
        match &self.now[file] {
            Content::File(bytes) => bytes.len(),
            Content::Directory(_) => 0,
        }
    }

    /// What a call does to files and names that are spoken of here.
    #[track_caller]
    fn changes_of(&mut self, call: &Call, here: &Path, files: &mut Files) -> Vec<Change> {
        let size = |argument: usize| usize::try_from(call.number(argument)).unwrap();
        match &*call.name {
            "open" | "creat" => self.opened(call, &call.path(None, 0, here), 1, files),
            "openat" | "openat2" => self.opened(call, &call.path(Some(0), 1, here), 2, files),
            "write" | "writev" | "pwrite64" | "pwritev" | "pwritev2" => self.written(call, files),
            "lseek" => {
                if let Some(to) = call.result {
                    files.at.insert(call.number(0), usize::try_from(to).unwrap());
                }
                Vec::new()
            }
            "ftruncate" => match self.file(call) {
                Some(file) => vec![Change::Length { file, length: size(1) }],
                None => Vec::new(),
            },
            "fallocate" => match self.file(call) {
                Some(file) => {
                    assert_eq!(call.text(1), "0", "a way of allocating that is not modelled");
                    vec![Change::AtLeast { file, length: size(2) + size(3) }]
                }
                None => Vec::new(),
            },
            "mkdir" => self.made(&call.path(None, 0, here)),
            "mkdirat" => self.made(&call.path(Some(0), 1, here)),
            "unlink" | "rmdir" => self.left(&call.path(None, 0, here)),
            "unlinkat" => self.left(&call.path(Some(0), 1, here)),
            "rename" => self.moved(&call.path(None, 0, here), &call.path(None, 1, here)),
            "renameat" | "renameat2" => {
                // Nothing is exchanged; where `RENAME_NOREPLACE` refuses, the call failed.
                assert!(call.name == "renameat" || !call.text(4).contains("EXCHANGE"));
                self.moved(&call.path(Some(0), 1, here), &call.path(Some(2), 3, here))
            }
            "link" => self.linked(&call.path(None, 0, here), &call.path(None, 1, here)),
            "linkat" => self.linked(&call.path(Some(0), 1, here), &call.path(Some(2), 3, here)),
            // Syncs were looked at; this one promises nothing after a loss of power.
            "fsync" | "fdatasync" | "syncfs" | "sync" | "sync_file_range" => Vec::new(),
            _ => {
                let touched = (0..4).any(|n| {
                    call.has(n) && call.file(n).and_then(|path| self.node(&path)).is_some()
                });
                assert!(!touched, "a call that is not modelled: {call:?}");
                Vec::new()
            }
        }
    }

    /// The file that a call names with its first argument.
    fn file(&self, call: &Call) -> Option<Node> {
        self.node(&call.file(0)?)
    }

    fn opened(&mut self, call: &Call, path: &Path, flags: usize, files: &mut Files) -> Vec<Change> {
        let flags = if call.name == "creat" { "O_CREAT|O_TRUNC" } else { call.text(flags) };
        let Some(at) = self.place(path) else { return Vec::new() };
        assert!(!flags.contains("SYNC") && !flags.contains("TMPFILE"), "not modelled: {call:?}");
        if let Some(number) = call.result {
            files.at.insert(number, 0);
            files.appended.remove(&number);
            if flags.contains("O_APPEND") {
                files.appended.insert(number);
            }
        }
        match self.entry(&at) {
            None if flags.contains("O_CREAT") => {
                let what = self.new_node(Content::File(Vec::new()));
                vec![Change::Enter { at, what }]
            }
            Some(file) if flags.contains("O_TRUNC") && self.length(file) > 0 => {
                vec![Change::Length { file, length: 0 }]
            }
            _ => Vec::new(),
        }
    }

    fn written(&self, call: &Call, files: &mut Files) -> Vec<Change> {
        let Some(file) = self.file(call) else { return Vec::new() };
        let mut bytes = call.bytes(1);
        if let Some(result) = call.result {
            bytes.truncate(usize::try_from(result).unwrap());
        }
        let number = call.number(0);
        let at = if call.name.starts_with('p') {
            usize::try_from(call.number(3)).unwrap()
        } else {
            let at = if files.appended.contains(&number) {
                self.length(file)
            } else {
                files.at[&number]
            };
            files.at.insert(number, at + bytes.len());
            at
        };
        if bytes.is_empty() { Vec::new() } else { vec![Change::Bytes { file, at, bytes }] }
    }

    fn made(&mut self, path: &Path) -> Vec<Change> {
        let Some(at) = self.place(path) else { return Vec::new() };
        let what = self.new_node(Content::Directory(BTreeMap::new()));
        vec![Change::Enter { at, what }]
    }

    fn left(&self, path: &Path) -> Vec<Change> {
        let at = self.place(path);
        let left = at.and_then(|at| Some(Change::Leave { what: self.entry(&at)?, at }));
        left.into_iter().collect()
    }

    fn moved(&self, from: &Path, to: &Path) -> Vec<Change> {
        match (self.place(from), self.place(to)) {
            (Some(from), Some(to)) => {
                let what = self.entry(&from);
                what.map(|what| Change::Move { from, to, what }).into_iter().collect()
            }
            (None, None) => Vec::new(),
            _ => panic!("renamed into or out of what is modelled: {from:?}, {to:?}"),
        }
    }

    fn linked(&self, from: &Path, to: &Path) -> Vec<Change> {
        let linked =
            self.place(to).and_then(|at| Some(Change::Enter { at, what: self.node(from)? }));
        linked.into_iter().collect()
    }
}

/// Where the next write through an open file goes.
#[derive(Default)]
struct Files {
    at: HashMap<i64, usize>,
    appended: BTreeSet<i64>,
}
