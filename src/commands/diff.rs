//! `bundle diff`: what the other side gets when it goes from one sequence to another.
//!
//! An incremental sequence names only what changes, so the names that stand after a sequence are
//! folded from all that are at hand. What an absent earlier one set is not known, and the answer says so.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::PathBuf;

use format_spec::head::Kind;
use format_spec::{Digest, Sequence, StreamId};
use importer::Opened;
use serde::Serialize;

use super::Context;
use super::describe::{self, Name};
use crate::cli;
use crate::failure::{Exit, Failure};
use crate::keyring::Keyring;
use crate::size;
use crate::typed;

/// Show what changes from one sequence to another
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A directory with sequences; alone, its last two are compared
    #[arg(value_name = "OLD", value_parser = cli::directory)]
    old: PathBuf,
    /// A directory with later sequences; the last of each directory are compared
    #[arg(value_name = "NEW", value_parser = cli::directory)]
    new: Option<PathBuf>,
    /// Compare from this sequence
    #[arg(long, value_name = "SEQUENCE")]
    since: Option<u64>,
    /// Compare up to this sequence
    #[arg(long, value_name = "SEQUENCE")]
    until: Option<u64>,
    /// Trust this public key, or the keys in this directory, besides those of the workspace; repeatable
    #[arg(long, value_name = "FILE|DIR")]
    trust: Vec<PathBuf>,
}

/// The answer in JSON.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Difference {
    from: Point,
    to: Point,
    /// `trusted` when the signatures of all sequences that were read are; otherwise `unchecked`.
    signature: &'static str,
    added: Vec<Set>,
    changed: Vec<Change>,
    removed: Vec<String>,
    /// Names that stand as before; not known when a sequence in between is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    unchanged: Option<usize>,
    /// Bytes of manifests and blobs that the sequences in between carry.
    bytes: u64,
    /// A sequence is not at hand: one of `absent`, or one before both.
    incomplete: bool,
    /// Sequences between the two that are not at hand.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    absent: Vec<Absent>,
    /// A sequence before both is not at hand: the names that it set are not known, and count as added.
    #[serde(skip)]
    earlier: bool,
}

/// Sequences in a row that are not at hand, from the first to the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
struct Absent {
    first: u64,
    last: u64,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Point {
    stream: StreamId,
    sequence: Sequence,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Set {
    name: String,
    digest: Digest,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Change {
    name: String,
    old: Digest,
    new: Digest,
}

/// The names that stand after some sequences.
#[derive(Debug, Default)]
struct Standing {
    names: BTreeMap<String, Digest>,
    /// Names that were taken away, also those whose setting was not seen.
    removed: BTreeSet<String>,
    /// Sequences that were not seen and may have said more.
    absent: Vec<Absent>,
}

pub async fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    super::refuse_other_than_directory("--workspace", &context.common.workspace)?;
    let trusted = Keyring::open(&context.common.workspace)?.gather(&args.trust)?;
    let mut all = describe::open(vec![args.old.clone()], trusted.clone()).await?;
    let old_last = last(&all)?;
    let mut new_last = last(&all)?;
    if let Some(new) = &args.new {
        let later = describe::open(vec![new.clone()], trusted).await?;
        new_last = last(&later)?;
        all.extend(later);
    }
    all.sort_by_key(|opened| (opened.head.stream, opened.head.sequence));
    all.dedup_by_key(|opened| opened.digest);

    let named = [Some(&args.old), args.new.as_ref()].into_iter().flatten();
    let named = named.map(|from| format!(" --from {}", typed::quoted(&from.display().to_string())));
    let describe = format!("bundle describe{}", named.collect::<String>());
    let to = match args.until {
        Some(number) => (new_last.0, asked(&all, new_last.0, number, &describe)?),
        None => new_last,
    };
    let from = match (args.since, args.new.is_some()) {
        (Some(number), _) => (old_last.0, asked(&all, old_last.0, number, &describe)?),
        (None, true) => old_last,
        (None, false) => before(&all, to)?,
    };
    if from.0 == to.0 && from.1 > to.1 {
        tracing::warn!(
            "the first one is the newer, sequence {} before {}: what it added is shown as removed; name the older \
             one first",
            from.1,
            to.1
        );
    }
    let difference = compare(&all, from, to);
    context.output.print(&difference, &difference.text())?;
    Ok(Exit::DONE)
}

/// The last sequence, of the last stream.
fn last(all: &[Opened]) -> Result<(StreamId, Sequence), Failure> {
    all.last().map(|opened| (opened.head.stream, opened.head.sequence)).ok_or_else(|| {
        Failure::usage("there is no sequence to compare")
            .with_hint("name a directory with `mirror_seq…` files: `bundle diff DIR`")
    })
}

/// `describe` is the command that lists what was named.
fn asked(
    all: &[Opened],
    stream: StreamId,
    number: u64,
    describe: &str,
) -> Result<Sequence, Failure> {
    let found = all.iter().map(|opened| &opened.head);
    let mut found = found.filter(|head| head.stream == stream).map(|head| head.sequence);
    found.find(|sequence| sequence.get() == number).ok_or_else(|| {
        Failure::usage(format!("there is no sequence {number} in what was named"))
            .with_hint(format!("`{describe}` shows which there are"))
    })
}

fn before(all: &[Opened], to: (StreamId, Sequence)) -> Result<(StreamId, Sequence), Failure> {
    let earlier = all.iter().rev().map(|opened| (opened.head.stream, opened.head.sequence));
    earlier.into_iter().find(|point| point.0 == to.0 && point.1 < to.1).ok_or_else(|| {
        Failure::usage("there is only one sequence, so there is nothing to compare it with")
            .with_hint("name two directories: `bundle diff DIR DIR`")
    })
}

fn compare(all: &[Opened], from: (StreamId, Sequence), to: (StreamId, Sequence)) -> Difference {
    let old = standing(all, from);
    let new = standing(all, to);
    let incomplete = !(old.absent.is_empty() && new.absent.is_empty());
    // The first one may be the newer.
    let (low, low_standing, high_standing) =
        if from.1 <= to.1 { (from.1, &old, &new) } else { (to.1, &new, &old) };
    let (absent, earlier) = if from.0 == to.0 {
        let between = high_standing.absent.iter().filter(|absent| absent.first > low.get());
        (between.copied().collect(), !low_standing.absent.is_empty())
    } else {
        (Vec::new(), incomplete)
    };
    let mut unchanged = 0;
    let mut difference = Difference {
        from: Point { stream: from.0, sequence: from.1 },
        to: Point { stream: to.0, sequence: to.1 },
        signature: "trusted",
        added: Vec::new(),
        changed: Vec::new(),
        removed: Vec::new(),
        unchanged: None,
        bytes: 0,
        incomplete,
        absent,
        earlier,
    };
    for opened in all {
        if opened.signers.is_empty() {
            difference.signature = "unchecked";
        }
        let head = &opened.head;
        let after = head.stream != from.0 || head.sequence > from.1;
        if head.stream == to.0 && head.sequence <= to.1 && after {
            difference.bytes += head.totals.bytes;
        }
    }
    for (name, digest) in &new.names {
        match old.names.get(name) {
            None => difference.added.push(Set { name: name.clone(), digest: *digest }),
            Some(old) if old != digest => {
                difference.changed.push(Change { name: name.clone(), old: *old, new: *digest });
            }
            Some(_) => unchanged += 1,
        }
    }
    difference.unchanged = difference.absent.is_empty().then_some(unchanged);
    let gone = old.names.keys().filter(|name| !new.names.contains_key(*name));
    let taken = new.removed.difference(&old.removed).filter(|name| !old.names.contains_key(*name));
    difference.removed = gone.chain(taken).cloned().collect();
    difference.removed.sort();
    difference
}

/// What stands after a sequence, from all earlier ones of its stream that are at hand.
fn standing(all: &[Opened], (stream, sequence): (StreamId, Sequence)) -> Standing {
    let mut standing = Standing::default();
    let mut seen = 0;
    for opened in all {
        let (head, index) = (&opened.head, &opened.index);
        if head.stream != stream || head.sequence > sequence {
            continue;
        }
        // One made with `--since` says again what those before it said.
        let after = head.base.or(head.previous).map_or(0, |link| link.sequence.get());
        if head.kind == Kind::Full {
            standing = Standing::default();
        } else if after > seen {
            standing.absent.push(Absent { first: seen + 1, last: after });
        }
        seen = head.sequence.get();
        for removal in &index.removals {
            let name = Name::removed(index, removal).text();
            standing.names.remove(&name);
            standing.removed.insert(name);
        }
        for reference in &index.references {
            let name = Name::set(index, reference);
            standing.removed.remove(&name.text());
            standing.names.insert(name.text(), name.digest());
        }
    }
    standing
}

impl Difference {
    fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = self.write(&mut text);
        text
    }

    fn write(&self, text: &mut String) -> std::fmt::Result {
        let (from, to) = (&self.from, &self.to);
        let other = if from.stream == to.stream { "" } else { " of another stream" };
        writeln!(text, "from sequence {} to sequence {}{other}", from.sequence, to.sequence)?;
        if self.signature == "unchecked" {
            writeln!(text, "  signatures NOT CHECKED: name the key with `--trust FILE`")?;
        }
        for Set { name, digest } in &self.added {
            writeln!(text, "  added    {name}  {}", digest.short())?;
        }
        for Change { name, old, new } in &self.changed {
            writeln!(text, "  changed  {name}  {} -> {}", old.short(), new.short())?;
        }
        for name in &self.removed {
            writeln!(text, "  removed  {name}")?;
        }
        let as_before = self.unchanged.map(|names| format!(", {names} as before"));
        writeln!(
            text,
            "  {} added, {} changed, {} removed{}; {} carried",
            self.added.len(),
            self.changed.len(),
            self.removed.len(),
            as_before.unwrap_or_default(),
            size::show(self.bytes)
        )?;
        for Absent { first, last } in &self.absent {
            if first == last {
                writeln!(
                    text,
                    "  sequence {first} is not at hand: what it changed or removed is not shown"
                )?;
            } else {
                writeln!(
                    text,
                    "  sequences {first} to {last} are not at hand: what they changed or removed is not shown"
                )?;
            }
        }
        if self.earlier {
            writeln!(
                text,
                "  an earlier sequence is not at hand: what it set may be shown as added"
            )?;
        }
        Ok(())
    }
}
