//! What a loss of power leaves of a list of changes.
//!
//! In: what was there before, and what happened since, in the order in which it came about, each change durable or not. Out:
//! what is there afterwards. The durable changes are played back, with those of the others that the loss keeps.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::noise;

/// What a drive writes as a whole.
const SECTOR: usize = 512;

/// Files with their bytes and directories, by their path.
pub type Tree = BTreeMap<PathBuf, Option<Vec<u8>>>;

/// A file or a directory, whatever it is called.
pub type Node = usize;

/// Where everything begins.
pub const ROOT: Node = 0;

#[derive(Clone)]
pub enum Content {
    File(Vec<u8>),
    Directory(BTreeMap<String, Node>),
}

/// A name in a directory.
pub type Place = (Node, String);

/// One thing that a call did.
#[derive(Clone)]
pub enum Change {
    Bytes { file: Node, at: usize, bytes: Vec<u8> },
    Length { file: Node, length: usize },
    AtLeast { file: Node, length: usize },
    Enter { at: Place, what: Node },
    Leave { at: Place, what: Node },
    Move { from: Place, to: Place, what: Node },
}

impl Change {
    /// Whether it is one of names.
    fn is_of_names(&self) -> bool {
        matches!(self, Self::Enter { .. } | Self::Leave { .. } | Self::Move { .. })
    }

    /// Whether a sync of a file or directory makes it durable.
    pub fn is_covered_by(&self, synced: Node) -> bool {
        match self {
            Self::Bytes { file, .. } | Self::Length { file, .. } | Self::AtLeast { file, .. } => {
                *file == synced
            }
            Self::Enter { at, .. } | Self::Leave { at, .. } => at.0 == synced,
            Self::Move { from, to, .. } => from.0 == synced || to.0 == synced,
        }
    }
}

/// Which of the changes that no sync covers are lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// None: the process died, and the kernel lived.
    Nothing,
    /// All of them.
    Everything,
    /// Bytes. Names are kept, and lengths.
    Bytes,
    /// Bytes and lengths. Names are kept: of empty files.
    Lengths,
    /// Names. Bytes are kept.
    Names,
    /// Those after a moment.
    Since(u64),
    /// Each by itself, and writes in part.
    Some(u64),
}

impl Loss {
    /// All that leave something out, so many times those that are drawn.
    pub fn all(seed: u64, drawn: u64) -> Vec<Self> {
        let mut all = vec![Self::Everything, Self::Bytes, Self::Lengths, Self::Names];
        for number in 0..drawn {
            all.extend([Self::Some(seed * 1000 + number), Self::Since(seed * 1000 + number)]);
        }
        all
    }

    /// What is left when the power goes after these changes, of which some are durable.
    pub fn of(self, before: &[Content], changes: &[(Change, bool)]) -> Vec<Content> {
        let mut chance = Chance::of(self);
        let open = changes.iter().filter(|(_, durable)| !durable).count();
        let mut before_moment =
            if matches!(self, Self::Since(_)) { chance.below(open + 1) } else { 0 };
        let mut nodes = before.to_vec();
        for (change, durable) in changes {
            if *durable {
                apply(&mut nodes, change);
                continue;
            }
            for kept in self.kept(change, before_moment > 0, &mut chance) {
                apply(&mut nodes, &kept);
            }
            before_moment = before_moment.saturating_sub(1);
        }
        nodes
    }

    /// What is kept of a change that no sync covers.
    fn kept(self, change: &Change, before_moment: bool, chance: &mut Chance) -> Vec<Change> {
        let whole = match self {
            Self::Nothing => true,
            Self::Everything => false,
            Self::Names => !change.is_of_names(),
            Self::Lengths => change.is_of_names(),
            Self::Since(_) => before_moment,
            Self::Bytes => match change {
                Change::Bytes { file, at, bytes } => {
                    return vec![Change::AtLeast { file: *file, length: at + bytes.len() }];
                }
                _ => true,
            },
            Self::Some(_) => match change {
                Change::Bytes { file, at, bytes } if chance.half() => {
                    return torn(*file, *at, bytes).filter(|_| chance.half()).collect();
                }
                _ => chance.half(),
            },
        };
        whole.then(|| change.clone()).into_iter().collect()
    }
}

/// A write as a drive makes it, sector by sector.
fn torn(file: Node, at: usize, bytes: &[u8]) -> impl Iterator<Item = Change> {
    let end = at + bytes.len();
    let sectors = at / SECTOR..end.div_ceil(SECTOR);
    sectors.map(move |sector| {
        let (from, to) = (at.max(sector * SECTOR), end.min((sector + 1) * SECTOR));
        Change::Bytes { file, at: from, bytes: bytes[from - at..to - at].to_vec() }
    })
}

/// Makes a change to what is there.
pub fn apply(nodes: &mut [Content], change: &Change) {
    match change {
        Change::Bytes { file, at, bytes } => {
            let Content::File(content) = &mut nodes[*file] else { return };
            content.resize(content.len().max(at + bytes.len()), 0);
            content[*at..at + bytes.len()].copy_from_slice(bytes);
        }
        Change::Length { file, length } => {
            let Content::File(content) = &mut nodes[*file] else { return };
            content.resize(*length, 0);
        }
        Change::AtLeast { file, length } => {
            let Content::File(content) = &mut nodes[*file] else { return };
            content.resize(content.len().max(*length), 0);
        }
        Change::Enter { at, what } => {
            let Content::Directory(names) = &mut nodes[at.0] else { return };
            names.insert(at.1.clone(), *what);
        }
        Change::Leave { at, what } => {
            let Content::Directory(names) = &mut nodes[at.0] else { return };
            // After a loss it may stand for something else.
            if names.get(&at.1) == Some(what) {
                names.remove(&at.1);
            }
        }
        Change::Move { from, to, what } => {
            apply(nodes, &Change::Leave { at: from.clone(), what: *what });
            apply(nodes, &Change::Enter { at: to.clone(), what: *what });
        }
    }
}

/// What the names lead to.
pub fn state(nodes: &[Content]) -> Tree {
    fn walk(nodes: &[Content], directory: Node, path: &Path, found: &mut Tree) {
        let Content::Directory(names) = &nodes[directory] else { return };
        for (name, node) in names {
            let path = path.join(name);
            match &nodes[*node] {
                Content::File(bytes) => drop(found.insert(path, Some(bytes.clone()))),
                Content::Directory(_) => {
                    walk(nodes, *node, &path, found);
                    found.insert(path, None);
                }
            }
        }
    }
    let mut found = Tree::new();
    walk(nodes, ROOT, Path::new(""), &mut found);
    found
}

/// Coins that fall the same way for the same seed.
struct Chance {
    bytes: std::vec::IntoIter<u8>,
    seed: u64,
}

impl Chance {
    fn of(loss: Loss) -> Self {
        let seed = match loss {
            Loss::Since(seed) | Loss::Some(seed) => seed,
            _ => 0,
        };
        Self { bytes: Vec::new().into_iter(), seed: 1 + seed }
    }

    fn next(&mut self) -> usize {
        loop {
            if let Some(byte) = self.bytes.next() {
                return usize::from(byte);
            }
            self.seed = self.seed.wrapping_mul(3);
            self.bytes = noise(self.seed, 4096).into_iter();
        }
    }

    fn half(&mut self) -> bool {
        self.next() < 128
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() * 256 + self.next()) % end
    }
}
